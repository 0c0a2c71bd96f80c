//! `waxseal log`: the logs of a data directory.

pub mod fsck;

use crate::cli::{Failure, Output};
use clap::{Args, Subcommand};

/// Look after the logs of an instance.
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Check every file of the logs of a stopped instance, and change none.
    Fsck(fsck::FsckArgs),
}

/// Runs the command.
///
/// # Errors
/// As its subcommand.
pub async fn run(args: LogArgs, output: Output) -> Result<(), Failure> {
    match args.command {
        LogCommand::Fsck(args) => fsck::run(args, output).await,
    }
}
