//! The driver of a log: carries out what the engine decides.
//!
//! One thread for each log takes whatever is queued, without timers: Plan → signature → one record → one `fdatasync` → answers.
//! What arrives meanwhile is the next batch. A second thread publishes tiles, entry bundles and the checkpoint from the records.
//! An answer is given only for what is durable; a caller that goes away changes nothing about a Plan.

pub mod audit;
#[cfg(test)]
mod crash;
mod error;
mod freeze;
pub mod fsck;
mod lookup;
mod open;
mod publisher;
mod records;
mod space;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use waxseal_formats::merkle::{Hash, verify_inclusion};
use waxseal_formats::note::KeyId;
use waxseal_io::disk::{Disk, OsDisk};
use waxseal_io::index::{self, Index};
use waxseal_io::objects::FileObjects;
use waxseal_io::signer::Signer;
use waxseal_io::store::{DirectoryLock, Prepared, StoreError, WalFile};
use waxseal_io::system;
use waxseal_log::UnixMillis;
use waxseal_log::dedup::WINDOW;
use waxseal_log::pool::{Limits, Pool};
use waxseal_log::profile::Profile;
use waxseal_log::sequencer::{NewEntry, Outcome, Plan};
use waxseal_log::state::{Batch, LogState, StateError};
use waxseal_log::tail::Tail;
use waxseal_log::wal::Record;

pub use error::{AppendError, DriveError};
pub use freeze::FreezeError;
pub use open::Reading;
use space::Space;
pub use tree::{PublishedTile, TreeError};

/// How a log is driven. The default is meant for production.
#[derive(Clone)]
pub struct Settings {
    /// Bounds of the queue.
    pub limits: Limits,
    /// Entries that may be committed and not yet published; beyond them the log pushes back.
    pub unpublished: u64,
    /// Shortest time between two published checkpoints.
    pub publish_interval: Duration,
    /// Bytes of the first segment; each later one is four times as long as the one before.
    pub first_segment: u64,
    /// Bytes of the longest segments.
    pub max_segment: u64,
    /// Bytes of the file system that the log leaves free: when there are fewer, it takes no entries until there are again.
    pub reserve: u64,
    /// How often at most it is looked how much is free.
    pub space_interval: Duration,
    /// Where the log is kept.
    pub disk: Arc<dyn Disk>,
    /// The clock.
    pub now: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    /// Last entries that are held in memory to find repeated ones; far more than can wait in the queue.
    pub window: usize,
    /// How the index is kept, if the log has one.
    pub index: index::Options,
    /// Called when the log cannot go on: by default the process ends, and recovery finds out what is on the disk.
    pub on_failure: Arc<dyn Fn(&DriveError) + Send + Sync>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            unpublished: 1 << 18,
            publish_interval: Duration::from_millis(200),
            first_segment: 1 << 20,
            max_segment: 64 << 20,
            reserve: 64 << 20,
            space_interval: Duration::from_millis(250),
            disk: Arc::new(OsDisk),
            now: Arc::new(|| UnixMillis::from(system::now())),
            window: WINDOW,
            index: index::Options::default(),
            on_failure: Arc::new(|error| {
                tracing::error!(code = %error.code(), %error, "the log cannot go on");
                eprintln!("error[{}]: {error}", error.code());
                std::process::exit(1);
            }),
        }
    }
}

/// An entry that is durably logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its index.
    pub index: u64,
    /// When it was sequenced; for a repeated submission, when it was the first time.
    pub time: UnixMillis,
    /// Its leaf hash.
    pub leaf_hash: Hash,
    /// Its audit path to `head`.
    pub proof: Vec<Hash>,
    /// The signed tree that contains it.
    pub head: Head,
    /// Whether it was there before: nothing new was logged.
    pub repeated: bool,
}

/// A signed tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of leaves.
    pub size: u64,
    /// Root hash.
    pub root: Hash,
    /// When it was signed.
    pub time: UnixMillis,
    /// The signed checkpoint; empty for the tree without leaves.
    pub note: Arc<str>,
}

type Answer = Result<Sequenced, AppendError>;

/// How often the driver lets others go first before it takes a batch.
const MAX_YIELDS: usize = 32;

/// Where an entry ended up, before its proof is made: that is done by whoever asked, not by the driver.
struct Sequenced {
    index: u64,
    time: UnixMillis,
    head: Head,
    batch: Option<Arc<Batch>>,
    repeated: bool,
}

/// Entries with whoever waits for each.
type Waiting = Vec<(NewEntry, oneshot::Sender<Answer>)>;

struct Queue {
    pool: Pool<oneshot::Sender<Answer>>,
    open: bool,
    /// Nothing more is queued, ever; what is queued is finished.
    frozen: bool,
    /// The driver waits and nobody has woken it yet: only then an entry has to.
    idle: bool,
}

impl Queue {
    fn accepts(&self) -> Result<(), AppendError> {
        match self {
            Self { frozen: true, .. } => Err(AppendError::Frozen),
            Self { open: false, .. } => Err(AppendError::Stopped),
            _ => Ok(()),
        }
    }
}

/// What is durable.
struct Committed {
    head: Head,
    batch: Option<Arc<Batch>>,
    tail: Tail,
}

/// What a log is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It takes entries.
    Running,
    /// What was queued is durable, and is being published for the last time.
    Freezing,
    /// Its marker is durable.
    Frozen,
    /// It is being stopped.
    Stopping,
    /// It cannot go on.
    Failed,
}

/// What readers may know of.
struct Published {
    head: Head,
    phase: Phase,
    /// The publisher waits for the tree to grow, and nobody has woken it yet. While it pauses it is left alone: waking it for
    /// each batch would cost a switch of threads a batch.
    idle: bool,
}

struct Shared {
    directory: PathBuf,
    profile: Arc<Profile>,
    settings: Settings,
    objects: FileObjects,
    index: Option<Index>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    committed: RwLock<Committed>,
    published: Mutex<Published>,
    grown: Condvar,
    space: Space,
    committed_size: AtomicU64,
    published_size: AtomicU64,
    published_time: AtomicU64,
    /// Zeros for the next segment, made by the publisher ahead of need.
    prepared: Mutex<Option<Prepared>>,
    /// Length of the segment that the driver will want next; 0 while there is room.
    wanted: AtomicU64,
    /// Tells the publisher that a segment is complete.
    rolled: AtomicBool,
}

/// A poisoned lock means that a thread died in the middle; the log's own threads end the process then, so readers may go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running log. Dropping it finishes what is queued, publishes, and stops its threads.
pub struct Log {
    handle: LogHandle,
    threads: Vec<JoinHandle<()>>,
    /// Released when the threads have stopped, whoever still holds a handle.
    _lock: DirectoryLock,
}

/// Access to a running log; cheap to clone.
#[derive(Clone)]
pub struct LogHandle(Arc<Shared>);

impl Log {
    /// Access to the log.
    #[must_use]
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }

    /// Finishes what is queued, publishes it and stops. Afterwards every append is refused.
    pub fn close(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let shared = &self.handle.0;
        lock(&shared.queue).open = false;
        shared.arrived.notify_all();
        let mut threads = self.threads.drain(..);
        let join = |thread: Option<JoinHandle<()>>| thread.is_some_and(|thread| thread.join().is_err());
        // The driver first: the publisher then has everything to publish.
        if join(threads.next()) {
            tracing::error!("the log's driver died");
        }
        shared.enter(Phase::Stopping);
        if join(threads.next()) {
            tracing::error!("the log's publisher died");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop();
    }
}

impl LogHandle {
    /// Logs an entry. When this returns `Ok`, the entry is durable. Dropping the future does not take the entry back.
    ///
    /// # Errors
    /// [`AppendError`]; after [`AppendError::Tree`] the entry is logged all the same.
    pub async fn append(&self, entry: NewEntry) -> Result<Appended, AppendError> {
        if let Some(original) = self.older(&entry).await {
            return self.appended(original).await;
        }
        let answer = self.0.enqueue(entry)?;
        let sequenced = answer.await.map_err(|_| AppendError::Stopped)??;
        self.appended(sequenced).await
    }

    /// Puts a row into the audit log, with no entry beside it, behind those that were put before. When what this returns is `Ok`, it is
    /// durable.
    ///
    /// # Errors
    /// [`AppendError`]; [`AppendError::Empty`] as long as the log has no leaf.
    pub fn note(&self, row: Vec<u8>) -> impl Future<Output = Result<(), AppendError>> + Send + use<> {
        let queued = self.0.enqueue(NewEntry::Audit(row));
        async move { queued?.await.map_err(|_| AppendError::Stopped)?.map(drop) }
    }

    async fn appended(&self, sequenced: Sequenced) -> Result<Appended, AppendError> {
        let Sequenced { index, time, head, batch, repeated } = sequenced;
        let in_batch = batch.filter(|batch| batch.size == head.size).and_then(|batch| {
            let proof = batch.inclusion_proof(index)?;
            Some((batch.leaf_hash(index)?, proof))
        });
        let (leaf_hash, proof) = match in_batch {
            Some(found) => found,
            // An older entry, submitted again: its hashes may have to be read.
            None => self.inclusion(index, head.size).await?,
        };
        verify_inclusion(index, head.size, &leaf_hash, &proof, &head.root).map_err(TreeError::Proof)?;
        Ok(Appended { index, time, leaf_hash, proof, head, repeated })
    }

    /// Whether it would take an entry now.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), AppendError> {
        self.0.has_room()?;
        lock(&self.0.queue).accepts()
    }

    /// How many entries wait to be written.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        lock(&self.0.queue).pool.len() as u64
    }

    /// Which log it is.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// The ID of the log's key in checkpoints; for Rekor v2 the `logId`.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.0.profile.key_id()
    }

    /// The last published checkpoint. What it covers can be read.
    #[must_use]
    pub fn published(&self) -> Head {
        lock(&self.0.published).head.clone()
    }

    /// The last durable tree; it may be ahead of the published one.
    #[must_use]
    pub fn head(&self) -> Head {
        self.0.committed.read().unwrap_or_else(PoisonError::into_inner).head.clone()
    }
}

impl Shared {
    fn has_room(&self) -> Result<(), AppendError> {
        // Accepting faster than publishing would end in late merges (RFC 6962 §3: within the maximum merge delay).
        let behind =
            self.committed_size.load(Ordering::Relaxed).saturating_sub(self.published_size.load(Ordering::Relaxed));
        if behind > self.settings.unpublished {
            return Err(AppendError::Busy);
        }
        if self.space.is_low(&self.directory, &self.settings) {
            return Err(AppendError::Full);
        }
        Ok(())
    }

    fn enqueue(&self, entry: NewEntry) -> Result<oneshot::Receiver<Answer>, AppendError> {
        self.has_room()?;
        let (sender, receiver) = oneshot::channel();
        let mut queue = lock(&self.queue);
        queue.accepts()?;
        queue.pool.push(entry, sender).map_err(|_| AppendError::Busy)?;
        let idle = std::mem::take(&mut queue.idle);
        drop(queue);
        if idle {
            self.arrived.notify_one();
        }
        Ok(receiver)
    }

    /// Waits for entries; an empty batch means that the log is to stop, or to freeze.
    fn next_batch(&self) -> Waiting {
        let mut queue = lock(&self.queue);
        while queue.open && !queue.frozen && queue.pool.is_empty() {
            queue.idle = true;
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle = false;
        // A batch costs a signature and a sync however many entries it has. On a busy machine those who are about to bring
        // more are runnable and wait for a processor: they get this one, for as long as it brings something.
        for _ in 0..MAX_YIELDS {
            let waiting = queue.pool.len();
            drop(queue);
            std::thread::yield_now();
            queue = lock(&self.queue);
            if queue.pool.len() == waiting {
                break;
            }
        }
        queue.pool.take()
    }

    /// Makes zeros for a segment, unless they would take what is to be left free.
    fn prepare(&self, length: u64) -> Result<Prepared, StoreError> {
        let (disk, path) = (&*self.settings.disk, self.directory.clone());
        match disk.free_space(&path) {
            Ok(free) if free < self.settings.reserve.saturating_add(length) => Err(StoreError::Full { path }),
            Ok(_) => Prepared::new(disk, &path, length),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// The log cannot go on: nobody waits any longer, nothing is accepted.
    fn fail(&self, error: &DriveError) {
        let mut queue = lock(&self.queue);
        queue.open = false;
        while !queue.pool.is_empty() {
            drop(queue.pool.take());
        }
        drop(queue);
        self.enter(Phase::Failed);
        (self.settings.on_failure)(error);
    }
}

/// The part of a log that only its driver thread touches.
struct Driver {
    shared: Arc<Shared>,
    signer: Arc<dyn Signer>,
    state: LogState,
    wal: WalFile,
    salt: [u8; 16],
}

impl Driver {
    fn run(mut self) {
        loop {
            let batch = self.shared.next_batch();
            if batch.is_empty() {
                return self.shared.finish_freezing();
            }
            if self.step(batch).is_break() {
                return;
            }
        }
    }

    /// Commits a batch, or says that the log cannot go on.
    fn step(&mut self, batch: Waiting) -> ControlFlow<()> {
        match self.commit(batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.shared.fail(&error);
                ControlFlow::Break(())
            }
        }
    }

    /// Commits a batch and answers its waiters. `Err` means that the log cannot go on.
    fn commit(&mut self, batch: Waiting) -> Result<(), DriveError> {
        let (entries, waiters): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let now = (self.shared.settings.now)();
        let published = UnixMillis(self.shared.published_time.load(Ordering::Acquire));
        let plan = Plan::new(&self.state, entries, now, published);
        if plan.is_empty() {
            self.answer(&plan, waiters, None);
            return Ok(());
        }
        if let Err(error) = self.make_room(plan.record_bound()) {
            let StoreError::Full { .. } = error else { return Err(error.into()) };
            tracing::error!(%error, "no space left for the log: entries are refused until there is");
            self.answer(&plan, waiters, Some(&|| AppendError::Full));
            return Ok(());
        }
        let bytes = if plan.grows() {
            match self.signer.sign(&plan.to_sign(&self.shared.profile)) {
                Ok(signature) => plan.record(&self.state, &self.salt, signature)?,
                Err(error) => {
                    tracing::error!(%error, "the log's checkpoint could not be signed");
                    let error = Arc::new(error);
                    self.answer(&plan, waiters, Some(&|| AppendError::Signer(error.clone())));
                    return Ok(());
                }
            }
        } else {
            let note = self.shared.committed.read().unwrap_or_else(PoisonError::into_inner).head.note.clone();
            plan.record_under(&self.state, &self.salt, &note)?
        };
        // From here on as in recovery: what counts is what the bytes say. A hash that changed in memory since it was computed
        // is found here, before anyone sees the signature.
        let record = Record::parse(&bytes, &self.salt).ok_or(StateError::Order(self.state.sequence()))?;
        plan.check(&self.shared.profile, &record)?;
        let batch = Arc::new(self.state.apply(&record)?);
        self.wal.append(&bytes)?;

        if plan.grows() {
            self.commit_tree(batch);
        }
        // Before anyone is answered: what was acknowledged is found.
        self.shared.take_in(&record)?;
        self.shared.committed_size.store(plan.checkpoint.size, Ordering::Release);
        self.answer(&plan, waiters, None);
        self.ask_for_segment();
        // Under the lock the publisher is either waiting, or will look before it waits. All are woken: whoever waits for the
        // log to freeze waits here as well.
        if std::mem::take(&mut lock(&self.shared.published).idle) {
            self.shared.grown.notify_all();
        }
        Ok(())
    }

    /// The tree with a batch whose record is durable.
    fn commit_tree(&self, batch: Arc<Batch>) {
        let head = Head { size: batch.size, root: batch.root, time: batch.time, note: batch.shared_note() };
        let mut committed = self.shared.committed.write().unwrap_or_else(PoisonError::into_inner);
        batch.extend(&mut committed.tail);
        committed.head = head;
        committed.batch = Some(batch);
        drop(committed);
    }

    /// Answers everyone; new entries with `refusal`, if there is one.
    fn answer(&self, plan: &Plan, waiters: Vec<oneshot::Sender<Answer>>, refusal: Option<&dyn Fn() -> AppendError>) {
        let committed = self.shared.committed.read().unwrap_or_else(PoisonError::into_inner);
        let (head, batch) = (committed.head.clone(), committed.batch.clone());
        drop(committed);
        let sequenced =
            |index, time, repeated| Sequenced { index, time, head: head.clone(), batch: batch.clone(), repeated };
        for (outcome, waiter) in plan.outcomes.iter().zip(waiters) {
            let answer = match (outcome, refusal) {
                (Outcome::New(_), Some(refusal)) => Err(refusal()),
                // Within a batch that was refused, what repeats one of its entries was not logged either.
                (Outcome::Repeats(original), Some(refusal)) if original.index >= head.size => Err(refusal()),
                (Outcome::New(index), None) => Ok(sequenced(*index, plan.time, false)),
                (Outcome::Repeats(original), _) => Ok(sequenced(original.index, original.time, true)),
                (Outcome::Refused(error), _) => Err(error.clone().into()),
                (Outcome::Noted, Some(refusal)) => Err(refusal()),
                (Outcome::Noted, None) => Ok(sequenced(head.size, plan.time, false)),
                (Outcome::TooEarly, _) => Err(AppendError::Empty),
            };
            // Whoever asked may be gone; the entry stays.
            drop(waiter.send(answer));
        }
    }

    /// Makes sure that a record of `bytes` fits, in a new segment if need be.
    fn make_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        if self.wal.room() >= bytes {
            return Ok(());
        }
        let salt = system::random();
        let committed = self.shared.committed.read().unwrap_or_else(PoisonError::into_inner);
        // The tree without leaves has a checkpoint that no record holds.
        let note = if committed.head.size == 0 { "" } else { &*committed.head.note };
        let mut header = self.state.segment(0, salt, &committed.tail, note);
        drop(committed);
        let needed = bytes.saturating_add(header.first_record());
        let ready = lock(&self.shared.prepared).take();
        let ready = match ready {
            Some(ready) if ready.length() >= needed => ready,
            too_short => {
                if let Some(prepared) = too_short {
                    prepared.discard(&*self.shared.settings.disk);
                }
                self.shared.prepare(self.next_length().max(needed))?
            }
        };
        header.length = ready.length();
        let damaged =
            |_| StoreError::Damaged { path: self.shared.directory.clone(), problem: "no segment header fits" };
        self.wal.roll(ready, self.state.sequence(), &header.encode().map_err(damaged)?)?;
        self.salt = salt;
        self.shared.rolled.store(true, Ordering::Release);
        Ok(())
    }

    fn next_length(&self) -> u64 {
        self.wal.length().saturating_mul(4).clamp(self.shared.settings.first_segment, self.shared.settings.max_segment)
    }

    fn ask_for_segment(&self) {
        let low = self.wal.room() < self.wal.length() / 2;
        self.shared.wanted.store(if low { self.next_length() } else { 0 }, Ordering::Release);
    }
}
