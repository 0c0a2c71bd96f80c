//! Giving an order to an instance: through its socket while it runs, on its directory while it does not.

use crate::cli::{Failure, Output};
use crate::server::admin::{Answer, AskError, Connection};
use crate::server::config::{default_data_dir, keys_of};
use crate::server::instance::Instance;
use crate::server::operate::{Done, Order};
use std::path::PathBuf;
use waxseal_formats::code::Code;
use waxseal_io::token::process_environment;

/// Has an order carried out, by whoever holds the data directory.
pub(super) async fn give(data_dir: Option<PathBuf>, order: Order, output: Output) -> Result<Done, Failure> {
    let data_dir = match data_dir {
        Some(directory) => directory,
        None => default_data_dir(process_environment).map_err(|error| Failure::new(error.code(), error.to_string()))?,
    };
    let failed = |error: AskError| Failure::new(error.code(), error.to_string());
    let Some(connection) = Connection::to(&data_dir).await.map_err(failed)? else {
        return offline(data_dir, order).await;
    };
    if let Order::Shard { settle } = order
        && settle > 0
    {
        output.say(&format!("the instance runs: it publishes the new shard now and uses it {settle} seconds later"));
    }
    match connection.give(order).await.map_err(failed)? {
        Answer::Done(done) => Ok(done),
        Answer::Refused { code, message } => {
            let known = Code::ALL.iter().find(|(known, _)| known.as_str() == code);
            let known = known.map_or(Code::INPUT_MALFORMED, |(known, _)| *known);
            Err(Failure::new(known, message).hint("the log of the instance says more; the order can be given again"))
        }
    }
}

async fn offline(data_dir: PathBuf, order: Order) -> Result<Done, Failure> {
    let keys =
        keys_of(&data_dir, process_environment).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let opened = Instance::offline(data_dir, keys).await.map_err(|error| {
        let failure = Failure::new(error.code(), error.to_string());
        match error.code() {
            Code::LOG_STORE_LOCKED => failure.hint("the instance is starting or stopping; try again in a moment"),
            Code::INPUT_UNREADABLE => failure.hint("pass --data-dir with the data directory of an instance"),
            _ => failure,
        }
    })?;
    let (operator, lock) = opened;
    // Nobody signs meanwhile.
    let order = match order {
        Order::Shard { .. } => Order::Shard { settle: 0 },
        order @ Order::Freeze { .. } => order,
    };
    let carried_out = tokio::task::spawn_blocking(move || {
        let done = operator.carry_out(order);
        operator.close();
        done
    });
    let done = carried_out.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    drop(lock);
    done.map_err(|error| Failure::new(error.code(), error.to_string()).hint("the order can be given again"))
}

/// Prints what was done as JSON, if that was asked for; the sentences were said.
pub(super) fn print(output: Output, done: &Done) -> Result<(), Failure> {
    output.data("", done)
}

/// The instance did something else than it was told to.
pub(super) fn another_answer() -> Failure {
    Failure::new(
        Code::INPUT_MALFORMED,
        "the running instance answered another question; its version may be another one",
    )
}
