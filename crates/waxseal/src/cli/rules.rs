//! `waxseal rules`: what is probably not meant in a rules file.

use crate::cli::{Failure, Output};
use crate::server::config;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use waxseal_authority::rules::{Finding, Level, Rules, lint};
use waxseal_formats::code::Code;

/// Look at signing rules.
#[derive(Debug, Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Say what is wrong with a rules file: faults, rules that admit strangers, rules that are never reached, claims that can
    /// change hands. Warnings alone exit 0.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The rules file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// `policy.malformed` if the file cannot be used, `policy.strangers` if a rule admits strangers, `input.unreadable`.
pub async fn run(args: RulesArgs, output: Output) -> Result<(), Failure> {
    let RulesCommand::Check(CheckArgs { file }) = args.command;
    let rules =
        config::rules(Some(&file), &[]).map_err(|error| Failure::new(error.code(), error.to_string()).hint(DOCS))?;
    let findings = lint(&rules);
    say(output, &findings);
    let value = json!({"file": file, "findings": findings.iter().map(to_json).collect::<Vec<_>>()});
    let errors = errors(&findings);
    if errors.is_empty() {
        output.say(&format!("{} is good, with {} warnings", file.display(), findings.len()));
        return output.data("", &value);
    }
    let named: Vec<String> = errors.iter().map(|finding| format!("`{}`", finding.rule)).collect();
    Err(Failure::new(Code::POLICY_STRANGERS, format!("rules that admit strangers: {}", named.join(", ")))
        .details(value))
}

const DOCS: &str = "docs/rules.md lists every key";

/// The findings that make a file unfit.
fn errors(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.level == Level::Error).collect()
}

/// Warns about the rules of a file that is being looked at for another reason.
pub(super) fn warn(output: Output, rules: &Rules) {
    say(output, &lint(rules));
}

fn say(output: Output, findings: &[Finding]) {
    for Finding { level, kind, rule, message } in findings {
        output.say(&format!("{}[{kind}]: rule `{rule}`: {message}", name(*level)));
    }
}

fn to_json(finding: &Finding) -> Value {
    json!({"level": name(finding.level), "kind": finding.kind, "rule": finding.rule, "message": finding.message})
}

const fn name(level: Level) -> &'static str {
    match level {
        Level::Warning => "warning",
        Level::Error => "error",
    }
}
