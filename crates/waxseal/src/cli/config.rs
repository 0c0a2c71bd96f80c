//! `waxseal config`: what a configuration file means, without starting anything.

use crate::cli::serve::refused;
use crate::cli::{Failure, Output};
use crate::server::config::{Config, rules};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use waxseal_formats::code::Code;

/// Look at a configuration file.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say what is wrong with a configuration file and the rules that it names, if anything is.
    Check(FileArgs),
    /// Print every setting that is in force, the defaults too. Secrets are not among them.
    Print(FileArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The configuration file.
    #[arg(value_name = "FILE", env = "WAXSEAL_CONFIG")]
    file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// `input.config`, `input.unreadable`, `network.plain-http` or `policy.malformed`.
pub async fn run(args: ConfigArgs, output: Output) -> Result<(), Failure> {
    match args.command {
        ConfigCommand::Check(FileArgs { file }) => {
            let config = Config::read(&file).map_err(|error| refused(&error))?;
            let settings = &config.settings;
            for path in settings.rules.iter().chain(&settings.candidate) {
                let rules = rules(Some(path), &[]).map_err(|error| refused(&error))?;
                super::rules::warn(output, &rules);
            }
            output.say(&format!("{} is good", config.path.display()));
            output.data("", &json!({"config": config.path, "rules": settings.rules, "candidate": settings.candidate}))
        }
        ConfigCommand::Print(FileArgs { file }) => {
            let config = Config::read(&file).map_err(|error| refused(&error))?;
            let value = config.to_json();
            output.data(&yaml(&value)?, &value)
        }
    }
}

/// The same keys and values as the file has them.
fn yaml(value: &Value) -> Result<String, Failure> {
    let failed = |error| Failure::new(Code::INPUT_MALFORMED, format!("the settings cannot be written: {error}"));
    let text = serde_saphyr::to_string(value).map_err(failed)?;
    Ok(text.trim_end().to_owned())
}
