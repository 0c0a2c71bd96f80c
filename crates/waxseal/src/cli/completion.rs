//! `waxseal completion` and `man`: what shells and `man` know of the command line, from its own definition.

use crate::cli::{Failure, Output};
use clap::{Args, Command};
use clap_complete::Shell;
use serde_json::json;
use std::path::PathBuf;
use waxseal_formats::code::Code;

/// Print a script that makes a shell complete commands and flags.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell.
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Write the manual pages.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder that gets them; it is made if need be.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Prints the completion script for `command`.
///
/// # Errors
/// `input.unreadable` if stdout is closed.
pub fn completion(args: &CompletionArgs, mut command: Command, output: Output) -> Result<(), Failure> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let script = String::from_utf8_lossy(&script);
    output.data(script.trim_end(), &json!({"shell": args.shell.to_string(), "script": script}))
}

/// Writes a page for `command` and for each of its subcommands that help shows.
///
/// # Errors
/// `input.unreadable` if the folder cannot be written.
pub fn man(args: &ManArgs, command: Command, output: Output) -> Result<(), Failure> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).map_err(|error| Failure::file(dir, &error))?;
    clap_mangen::generate_to(command, dir)
        .map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("{}: {error}", dir.display())))?;
    output.say(&format!("Wrote the manual pages to {}", dir.display()));
    output.data("", &json!({"dir": dir}))
}
