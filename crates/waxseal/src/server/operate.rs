//! What an operator does with the logs of an instance that runs: freezing one, and putting a new shard in the place of the
//! Rekor v2 log.
//!
//! A change of shards has no gap for those who write, and none for those who verify:
//!
//! 1. the new shard is made and runs, with an entry of its own;
//! 2. trusted root and signing config that name both are published;
//! 3. after a while, in which clients that fetched the old ones finish, `instance.json` lists the new shard: from here on it counts;
//! 4. the handle is exchanged, and requests go to the new shard; those under way finish where they are;
//! 5. the old shard is frozen.
//!
//! A crash before 3 leaves the old state, and a shard that the next try takes up; a crash after it the new state, and the old
//! shard is frozen at the next start.

use crate::server::describe::{describe, shard_url};
use crate::server::drive::{Log, LogHandle};
use crate::server::first_entry::FirstEntryError;
use crate::server::logs::{LogError, Logs, open_next};
use crate::server::material::{Frozen, Material, MaterialError, Shard};
use crate::server::rekor_v2::RekorV2;
use crate::server::tuf::{self, RootKey, Tuf, TufError};
use crate::server::writers::Admission;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use waxseal_authority::trusted_root::TrustedRootError;
use waxseal_formats::client_config::ClientConfig;
use waxseal_formats::code::Code;
use waxseal_io::system;
use waxseal_log::profile::Face;

/// Longest time between the publication of a new shard and its use.
pub const MAX_SETTLE: Duration = Duration::from_secs(600);
/// How long the first entry of a new shard may take to be published.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A log, as operators name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// The Rekor v2 log: its active shard.
    Rekor,
    /// The Rekor v1 log.
    RekorV1,
    /// The certificate log.
    Ct,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// The log takes no more entries, and nothing comes in its place.
    Freeze {
        /// Which one.
        log: Name,
    },
    /// A new shard takes the entries of the Rekor v2 log from now on.
    Shard {
        /// Seconds between the publication of the new shard and its use, at most [`MAX_SETTLE`].
        settle: u64,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// The log is frozen.
    Frozen {
        /// As it stays.
        log: State,
        /// Whether it was before.
        already: bool,
    },
    /// There is a new shard.
    Sharded {
        /// The shard before, frozen.
        former: State,
        /// The new one.
        active: State,
    },
}

/// A log, told to an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its directory below `logs/`.
    pub name: String,
    /// Its number, if it is a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
    /// Where it is read.
    pub url: String,
    /// The ID by which trusted roots and bundles name it, in hexadecimal.
    pub log_id: String,
    /// Its published entries.
    pub entries: u64,
    /// Its root hash, in hexadecimal.
    pub root: String,
    /// Whether it takes no more entries.
    pub frozen: bool,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The instance is being stopped.
    #[error("the instance is being stopped; nothing was changed")]
    Stopping,
    /// The waiting time is too long.
    #[error("--settle: at most {} seconds", MAX_SETTLE.as_secs())]
    Settle,
    /// Keys or `instance.json`.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// A log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The new shard's first entry.
    #[error("the Rekor log's first entry: {0}")]
    Rekor(#[from] FirstEntryError),
    /// The new shard's first entry is not published.
    #[error("the first entry of the new shard was not published within {} seconds", PUBLISHED_WITHIN.as_secs())]
    Unpublished,
    /// What clients are to be told.
    #[error(transparent)]
    Description(#[from] TrustedRootError),
    /// The TUF repository.
    #[error("TUF repository: {0}")]
    Tuf(#[from] TufError),
}

impl OperateError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Stopping => Code::LOG_STORE_FAILED,
            Self::Settle => Code::USAGE,
            Self::Material(error) => error.code(),
            Self::Log(error) => error.code(),
            Self::Rekor(error) => error.code(),
            Self::Unpublished => Code::LOG_BUSY,
            Self::Description(error) => error.code(),
            Self::Tuf(error) => error.code(),
        }
    }
}

/// Does what an operator orders, one thing at a time.
pub struct Operator {
    data_dir: PathBuf,
    url: String,
    client: ClientConfig,
    rekor_v2: Arc<RekorV2>,
    tuf: Arc<Tuf>,
    runtime: Handle,
    /// `None` once the instance is stopped.
    held: Mutex<Option<Held>>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

/// What an order changes.
struct Held {
    material: Material,
    logs: Logs,
}

impl Operator {
    /// The operator of the logs in `data_dir`. To be made within a runtime, which runs what the logs have to do.
    ///
    /// # Errors
    /// [`FirstEntryError`] for the first entry of a new instance; what cannot be told to clients, and [`TufError`].
    pub async fn new(
        data_dir: PathBuf,
        url: String,
        client: ClientConfig,
        mut material: Material,
        logs: Logs,
        admission: Arc<Admission>,
        root: RootKey,
    ) -> Result<Self, OperateError> {
        let handles: Vec<LogHandle> = logs.shards.iter().map(Log::handle).collect();
        let (active, former) = handles.split_last().ok_or_else(|| material.no_shard())?;
        let rekor_v2 = RekorV2::with_former(former.to_vec(), active.clone(), admission).await?;
        let config = describe(&url, &material, (&material.shards, material.frozen), &client).client_trust_config()?;
        let targets = tuf::targets(&config, &client, &url);
        let (directory, keys) = (data_dir.clone(), material.keys());
        let opening = tokio::task::spawn_blocking(move || Tuf::open(&directory, (&keys, root), targets, system::now()));
        let tuf = opening.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        if !material.is_whole() {
            material.complete()?;
        }
        Ok(Self {
            data_dir,
            url,
            client,
            rekor_v2,
            tuf: Arc::new(tuf),
            runtime: Handle::current(),
            held: Mutex::new(Some(Held { material, logs })),
            stopping: Mutex::new(false),
            stop: Condvar::new(),
        })
    }

    /// The Rekor v2 log.
    #[must_use]
    pub fn rekor_v2(&self) -> Arc<RekorV2> {
        Arc::clone(&self.rekor_v2)
    }

    /// The TUF repository.
    #[must_use]
    pub fn tuf(&self) -> Arc<Tuf> {
        Arc::clone(&self.tuf)
    }

    /// Carries out an order. Blocks until it is done, also while another one is; not for a thread that runs tasks.
    ///
    /// # Errors
    /// [`OperateError`].
    pub fn carry_out(&self, order: Order) -> Result<Done, OperateError> {
        let mut held = lock(&self.held);
        let held = held.as_mut().ok_or(OperateError::Stopping)?;
        match order {
            Order::Freeze { log } => self.freeze(held, log),
            Order::Shard { settle } => self.shard(held, Duration::from_secs(settle)),
        }
    }

    /// Lets an order that is being carried out come to an end, and closes the logs. Blocks.
    pub fn close(&self) {
        *lock(&self.stopping) = true;
        self.stop.notify_all();
        drop(lock(&self.held).take());
    }

    fn freeze(&self, held: &mut Held, name: Name) -> Result<Done, OperateError> {
        let before = self.state(held, name)?;
        let mut shards = held.material.shards.clone();
        let mut frozen = held.material.frozen;
        let since = match name {
            Name::Ct => &mut frozen.ct,
            Name::RekorV1 => &mut frozen.rekor_v1,
            Name::Rekor => &mut shards.last_mut().ok_or_else(|| held.material.no_shard())?.frozen,
        };
        if since.is_none() {
            *since = Some(system::now());
            // First: a crash after it is followed by freezing at the next start.
            held.material.relist(shards, frozen)?;
        }
        held.logs.finish_freezing(&held.material)?;
        self.publish(&held.material, &held.material.shards, held.material.frozen)?;
        Ok(Done::Frozen { log: self.state(held, name)?, already: before.frozen })
    }

    fn shard(&self, held: &mut Held, settle: Duration) -> Result<Done, OperateError> {
        if settle > MAX_SETTLE {
            return Err(OperateError::Settle);
        }
        // An earlier order may have been interrupted in the middle of freezing.
        held.logs.finish_freezing(&held.material)?;
        let now = system::now();
        let shard = held.material.next_shard(now)?;
        let log = open_next(&self.data_dir, &held.material, &shard)?;
        self.runtime.block_on(RekorV2::begin(&log.handle()))?;
        first_published(&log.handle())?;

        let mut shards = held.material.shards.clone();
        if let Some(before) = shards.last_mut() {
            let switched =
                SignedDuration::try_from(settle).map_or(now, |settle| now.saturating_add(settle).unwrap_or(now));
            before.frozen.get_or_insert(switched);
        }
        shards.push(shard);
        self.publish(&held.material, &shards, held.material.frozen)?;
        let listed = if self.stopped_within(settle) {
            Err(OperateError::Stopping)
        } else {
            held.material.relist(shards, held.material.frozen).map_err(OperateError::from)
        };
        if let Err(error) = listed {
            // Clients know of a shard that stays without entries: harmless, and corrected as far as possible.
            if let Err(error) = self.publish(&held.material, &held.material.shards, held.material.frozen) {
                tracing::warn!(code = %error.code(), %error, "the former trust material cannot be published again");
            }
            return Err(error);
        }
        let switched = self.runtime.block_on(self.rekor_v2.switch(log.handle()));
        held.logs.shards.push(log);
        switched?;
        held.logs.finish_freezing(&held.material)?;
        let [.., former, active] = &held.material.shards[..] else { return Err(held.material.no_shard().into()) };
        Ok(Done::Sharded { former: self.shard_state(held, former)?, active: self.shard_state(held, active)? })
    }

    /// Tells clients of these shards and frozen logs, at once.
    fn publish(&self, material: &Material, shards: &[Shard], frozen: Frozen) -> Result<(), OperateError> {
        let config = describe(&self.url, material, (shards, frozen), &self.client).client_trust_config()?;
        self.tuf.publish(tuf::targets(&config, &self.client, &self.url), system::now())?;
        Ok(())
    }

    /// Waits; `true` if the instance is to be stopped before the time is over.
    fn stopped_within(&self, time: Duration) -> bool {
        let stopping = lock(&self.stopping);
        let waited = self.stop.wait_timeout_while(stopping, time, |stopping| !*stopping);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn state(&self, held: &Held, name: Name) -> Result<State, OperateError> {
        let url = &self.url;
        Ok(match name {
            Name::Rekor => self.shard_state(held, held.material.active_shard()?)?,
            Name::RekorV1 => State::of("rekor-v1".into(), None, url.clone(), &held.logs.rekor_v1.handle()),
            Name::Ct => State::of("ct".into(), None, format!("{url}/ctlog"), &held.logs.ct.handle()),
        })
    }

    fn shard_state(&self, held: &Held, shard: &Shard) -> Result<State, OperateError> {
        let place = usize::try_from(shard.number.saturating_sub(1)).unwrap_or(usize::MAX);
        let log = held.logs.shards.get(place).ok_or_else(|| held.material.no_shard())?;
        let url = shard_url(&self.url, &held.material.shards, shard);
        Ok(State::of(shard.name(), Some(shard.number), url, &log.handle()))
    }
}

impl State {
    fn of(name: String, shard: Option<u32>, url: String, log: &LogHandle) -> Self {
        let (head, profile) = (log.published(), log.profile());
        let id = match profile.face {
            Face::RekorV2 => profile.key_id(),
            Face::RekorV1 | Face::StaticCt => profile.log_id(),
        };
        Self {
            name,
            shard,
            url,
            log_id: hex::encode(id),
            entries: head.size,
            root: hex::encode(head.root),
            frozen: log.is_frozen(),
        }
    }
}

/// Waits until readers find the first entry of a new log.
fn first_published(log: &LogHandle) -> Result<(), OperateError> {
    let started = Instant::now();
    while log.published().size == 0 {
        if started.elapsed() > PUBLISHED_WITHIN {
            return Err(OperateError::Unpublished);
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
