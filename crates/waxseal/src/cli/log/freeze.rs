//! `waxseal log freeze`: a log takes no more entries.

use super::order;
use crate::cli::{Failure, Output};
use crate::server::operate::{Done, Name, Order};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Let a log take no more entries, for good: what is queued is finished, the last checkpoint is published, and the trusted root
/// says until when the log's key signed. The log stays readable and what is in it verifies. This cannot be undone.
///
/// For the Rekor v2 log `waxseal log shard` makes a successor, before or afterwards. The Rekor v1 log and the certificate log have none; when
/// the certificate log is frozen, no certificate is issued any more.
///
/// Works on an instance that runs on this machine as well as on a stopped one.
#[derive(Debug, Args)]
pub struct FreezeArgs {
    /// The data directory of the instance [default: $XDG_DATA_HOME/waxseal/up].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Which log.
    #[arg(long, value_enum, default_value_t = LogName::Rekor, value_name = "LOG")]
    log: LogName,
    /// Freeze the certificate log, although no certificate is issued afterwards.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogName {
    /// The Rekor v2 log: the shard that takes the entries.
    Rekor,
    /// The Rekor v1 log.
    RekorV1,
    /// The certificate log.
    Ct,
}

/// Freezes a log.
///
/// # Errors
/// `usage` for the certificate log without `--yes`; whatever the log refuses.
pub async fn run(args: FreezeArgs, output: Output) -> Result<(), Failure> {
    if args.log == LogName::Ct && !args.yes {
        let failure =
            Failure::usage("without its certificate log the instance issues no certificate any more, for good");
        return Err(failure.hint("pass --yes if that is meant"));
    }
    let log = match args.log {
        LogName::Rekor => Name::Rekor,
        LogName::RekorV1 => Name::RekorV1,
        LogName::Ct => Name::Ct,
    };
    let done = order::give(args.data_dir, Order::Freeze { log }, output).await?;
    let Done::Frozen { log: state, already } = &done else { return Err(order::another_answer()) };
    let again = if *already { " (it was before)" } else { "" };
    output.say(&format!("{} is frozen{again}: {} entries, log id {}", state.name, state.entries, state.log_id));
    match log {
        Name::Rekor => output.say("Rekor v2 takes no entries until there is a new shard: `waxseal log shard`"),
        Name::RekorV1 => output.say("clients of Rekor v1 get the answer that the log is frozen"),
        Name::Ct => output.say("no certificate is issued any more"),
    }
    order::print(output, &done)
}
