//! `waxseal log shard`: a new shard takes the entries of the Rekor v2 log.

use super::order;
use crate::cli::{Failure, Output};
use crate::server::operate::{Done, MAX_SETTLE, Order, State};
use clap::Args;
use std::path::PathBuf;

/// Put a new shard with a new key in the place of the Rekor v2 log, and freeze the one before. Nobody who writes meets a gap: the new shard
/// runs and is published before it is used. The frozen one stays readable at /shard/N, and what is in it verifies with the new
/// trusted root.
///
/// Only the Rekor v2 log has shards; the Rekor v1 log and the certificate log can be frozen, no more.
///
/// Works on an instance that runs on this machine as well as on a stopped one.
#[derive(Debug, Args)]
pub struct ShardArgs {
    /// The data directory of the instance [default: $XDG_DATA_HOME/waxseal/up].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Between the publication of the new shard and its use: time for clients that fetched the former trusted root to finish signing. A
    /// stopped instance does not wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=MAX_SETTLE.as_secs()))]
    settle: u64,
}

/// Makes a shard.
///
/// # Errors
/// What the new shard, the one before or the TUF repository refuses.
pub async fn run(args: ShardArgs, output: Output) -> Result<(), Failure> {
    let done = order::give(args.data_dir, Order::Shard { settle: args.settle }, output).await?;
    let Done::Sharded { former, active } = &done else { return Err(order::another_answer()) };
    for (what, State { name, shard, url, log_id, entries, .. }) in [("frozen", former), ("active", active)] {
        let number = shard.map(|number| format!("shard {number} ")).unwrap_or_default();
        output.say(&format!("{what}: {number}({name}) at {url}, {entries} entries, log id {log_id}"));
    }
    output.say("trusted root and signing config name both; clients fetch them when they sign or verify next");
    order::print(output, &done)
}
