//! `waxseal log`: the logs of a data directory.

pub mod freeze;
pub mod fsck;
pub mod order;
pub mod shard;

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
    /// Let a log take no more entries, for good. What it has stays readable and verifiable.
    Freeze(freeze::FreezeArgs),
    /// Put a new shard with a new key in the place of the Rekor v2 log, without a gap, and freeze the one before.
    Shard(shard::ShardArgs),
    /// Check every file of the logs of a stopped instance, and change none.
    Fsck(fsck::FsckArgs),
}

/// Runs the command.
///
/// # Errors
/// As its subcommand.
pub async fn run(args: LogArgs, output: Output) -> Result<(), Failure> {
    match args.command {
        LogCommand::Freeze(args) => freeze::run(args, output).await,
        LogCommand::Shard(args) => shard::run(args, output).await,
        LogCommand::Fsck(args) => fsck::run(args, output).await,
    }
}
