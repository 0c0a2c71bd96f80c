//! `waxseal doctor`: is this instance well, and if not, what is to be done?

mod client;

use crate::cli::serve::refused;
use crate::cli::{Failure, Output};
use crate::client::trust::RootPin;
use crate::server::admin::Connection;
use crate::server::config::file::FILE;
use crate::server::config::{Config, Tls, rules};
use crate::server::examine::{Finding, State, directory, issuers, keys, tls};
use crate::server::idp::{self, secret};
use crate::server::issuer_keys;
use crate::server::tuf;
use clap::Args;
use client::{Reached, Signer};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::Url;
use waxseal_authority::rules::Rules;
use waxseal_formats::code::Code;
use waxseal_io::jwks::Jwks;
use waxseal_io::signer::KeyFiles;
use waxseal_io::system;
use waxseal_io::token::process_environment;
use waxseal_io::transport::{Http, PlainHttp};

/// Look at an instance from inside (`--config`, `--data-dir`) or as its clients do (`--instance`): directory, keys, certificates,
/// expiries, issuers, TLS, clock, and a signature made and verified if there is a token for it. Says what is wrong and how to
/// mend it; changes nothing.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").args(["config", "data_dir", "instance"]))]
pub struct DoctorArgs {
    /// The configuration file of the instance [default: the one in the variable WAXSEAL_CONFIG].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory of the instance.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A pinned instance, from any machine.
    #[arg(long, value_name = "URL|NAME")]
    instance: Option<String>,
    /// An identity token to sign with, or a file that holds one [default: an ambient one, or one of the demo provider].
    #[arg(long, value_name = "TOKEN|FILE", env = "SIGSTORE_ID_TOKEN", hide_env_values = true)]
    identity_token: Option<String>,
}

/// Looks at everything.
///
/// # Errors
/// The code of the first thing that failed, with exit status 1; `input.config` and the like for a configuration that cannot be
/// read.
pub async fn run(args: DoctorArgs, output: Output) -> Result<(), Failure> {
    let token = args.identity_token;
    // The variable does not stand against the flags.
    let named = args.config.is_some() || args.data_dir.is_some();
    let set = || process_environment("WAXSEAL_CONFIG").filter(|path| !named && !path.is_empty()).map(PathBuf::from);
    let findings = match (args.instance, args.config.or_else(set), args.data_dir) {
        (Some(instance), _, _) => client::pinned(&instance, token).await?,
        (None, None, None) => {
            return Err(Failure::usage("which instance is not said: pass --config, --data-dir or --instance"));
        }
        (None, Some(path), _) => {
            let config = Config::read(&path).map_err(|error| refused(&error))?;
            let good = Finding::good("configuration", config.path.display().to_string());
            let data_dir = config.settings.data_dir.clone();
            [vec![good], local(&data_dir, Some(config), token).await].concat()
        }
        (None, None, Some(data_dir)) => {
            let data_dir = std::path::absolute(data_dir)
                .map_err(|error| Failure::new(Code::INPUT_UNREADABLE, error.to_string()))?;
            let path = data_dir.join(FILE);
            let config = if path.exists() { Some(Config::read(&path).map_err(|error| refused(&error))?) } else { None };
            local(&data_dir, config, token).await
        }
    };
    report(output, &findings)
}

/// Prints what was found.
fn report(output: Output, findings: &[Finding]) -> Result<(), Failure> {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (failed, warnings) = (count(State::Failed), count(State::Warning));
    let value = json!({"findings": findings, "failed": failed, "warnings": warnings});
    let lines = findings.iter().map(line).collect::<Vec<_>>().join("\n");
    let first = findings.iter().find(|finding| finding.state == State::Failed);
    let Some(first) = first else {
        output.data(&lines, &value)?;
        let warned = if warnings == 0 { String::new() } else { format!(", with {warnings} warnings") };
        output.say(&format!("the instance is well{warned}"));
        return Ok(());
    };
    if output == Output::Text {
        output.data(&lines, &value)?;
    }
    let message = match failed {
        1 => format!("{}: {}", first.subject, first.found),
        _ => format!("{failed} things are wrong; the first: {}: {}", first.subject, first.found),
    };
    let mut failure = Failure::new(first.code.unwrap_or(Code::INPUT_MALFORMED), message).details(value);
    failure.exit = crate::cli::failure::EXIT_FAILED;
    failure.hint.clone_from(&first.mend);
    Err(failure)
}

fn line(finding: &Finding) -> String {
    let mark = match finding.state {
        State::Good => "good   ",
        State::Warning => "warning",
        State::Failed => "FAILED ",
        State::Skipped => "skipped",
    };
    let code = finding.code.map_or_else(String::new, |code| format!(" [{code}]"));
    let mend = finding.mend.as_ref().map_or_else(String::new, |mend| format!("\n          {mend}"));
    format!("{mark}  {}: {}{code}{mend}", finding.subject, finding.found)
}

/// An instance on this machine.
async fn local(data_dir: &Path, config: Option<Config>, token: Option<String>) -> Vec<Finding> {
    let now = system::now();
    let mut findings = vec![directory::instance(data_dir, config.is_some())];
    if findings.iter().any(|finding| finding.code == Some(Code::INPUT_UNREADABLE)) {
        return findings;
    }
    findings.extend(directory::permissions(data_dir));
    findings.push(directory::space(data_dir));
    let files = config.as_ref().map_or_else(|| Ok(KeyFiles::plain()), |config| config.keys.open(process_environment));
    match files {
        Ok(files) => {
            let (directory, files) = (data_dir.to_owned(), Arc::new(files));
            let examined = tokio::task::spawn_blocking(move || keys::examine(&directory, &files, now)).await;
            findings.extend(examined.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())));
        }
        Err(error) => {
            let finding = Finding::failed("keys", error.code(), error.to_string());
            findings.push(finding.mend("`keys:` in the configuration says where the passphrase comes from"));
        }
    }
    let url = tuf::published(data_dir).ok().flatten().map(|told| told.url);
    if let Some(config) = &config {
        findings.push(directory::root_key(data_dir));
        let host = config.settings.public_url.as_deref().and_then(|url| Url::parse(url).ok());
        let host = host.as_ref().and_then(Url::host_str).unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if let Tls::Files { certificate, key } = &config.settings.tls {
            findings.extend(tls::examine(certificate, key, &host, now));
        }
        findings.extend(signing_rules(config).await);
    }
    findings.extend(running(data_dir, url, token).await);
    findings
}

/// The rules, and the issuers that they name.
async fn signing_rules(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let settings = &config.settings;
    let mut in_force: Option<Rules> = None;
    for (subject, path) in [("rules", &settings.rules), ("candidate", &settings.candidate)] {
        let Some(path) = path else { continue };
        match rules(Some(path), &[]) {
            Ok(read) => {
                findings.push(Finding::good(subject, path.display().to_string()));
                in_force.get_or_insert(read);
            }
            Err(error) => findings.push(
                Finding::failed(subject, error.code(), error.to_string())
                    .mend("the instance goes on with the rules that it has, and does not start with these"),
            ),
        }
    }
    if let Some(rules) = in_force {
        let jwks = Jwks::new(Arc::new(Http::new(PlainHttp::LoopbackOnly)), []);
        jwks.replace_sources(issuer_keys::sources(&rules, settings.rules.as_deref()));
        findings.extend(issuers::examine(&rules, Arc::new(jwks)).await);
    }
    findings
}

/// The instance of a directory as its clients see it, if it runs.
async fn running(data_dir: &Path, url: Option<String>, token: Option<String>) -> Vec<Finding> {
    const SUBJECT: &str = "running instance";
    let Some(url) = url else { return Vec::new() };
    match Connection::to(data_dir).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            return vec![Finding::skipped(SUBJECT, "it does not run: nothing was asked of it, and nothing signed")];
        }
        Err(error) => return vec![Finding::failed(SUBJECT, error.code(), error.to_string())],
    }
    let root = data_dir.join("tuf/1.root.json");
    let pin = match std::fs::read(&root) {
        Ok(bytes) => RootPin::Bytes(bytes),
        Err(error) => {
            return vec![Finding::failed(SUBJECT, Code::INPUT_UNREADABLE, format!("{}: {error}", root.display()))];
        }
    };
    let signer = match token {
        Some(token) => Signer::Given(token),
        None => match secret::load(data_dir) {
            Ok(secret) if data_dir.join(idp::KEY_FILE).exists() => Signer::Demo(secret),
            _ => Signer::Ambient,
        },
    };
    match Reached::of(&url, pin).await {
        Ok(reached) => reached.examine(signer).await,
        Err(findings) => findings,
    }
}

#[cfg(test)]
mod tests {
    use super::{line, report};
    use crate::cli::Output;
    use crate::server::examine::Finding;
    use waxseal_formats::code::Code;

    #[test]
    fn a_failure_is_told_with_its_code_and_a_warning_is_none() {
        let good = Finding::good("disk", "5 MiB free");
        let warning = Finding::warning("owner", Code::INPUT_UNREADABLE, "another one").mend("become it");
        let failed = Finding::failed("tls", Code::CERTIFICATE_EXPIRED, "expired").mend("renew it");
        assert!(report(Output::Json, &[good.clone(), warning.clone()]).is_ok());
        let failure = report(Output::Json, &[good, warning.clone(), failed.clone(), failed]).expect_err("fails");
        assert_eq!((failure.code, failure.exit), (Code::CERTIFICATE_EXPIRED, 1));
        assert_eq!(failure.hint.as_deref(), Some("renew it"));
        assert_eq!(failure.message, "2 things are wrong; the first: tls: expired");
        assert_eq!(failure.details.expect("details")["warnings"], 1);
        assert_eq!(line(&warning), "warning  owner: another one [input.unreadable]\n          become it");
        let unreachable = Finding::failed("it", Code::NETWORK_UNREACHABLE, "gone");
        assert_eq!(report(Output::Json, &[unreachable]).expect_err("fails").exit, 1);
    }
}
