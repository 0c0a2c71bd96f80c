//! The publisher: writes what follows from the records, the checkpoint last.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use waxseal_formats::tile::{TILE_WIDTH, TileId, TileKind};
use waxseal_io::disk::Disk;
use waxseal_io::file;
use waxseal_io::index::{Index, IndexError};
use waxseal_io::store::StoreError;
use waxseal_log::profile::Bodies;
use waxseal_log::publish::{self, Bundler};
use waxseal_log::scan::{Scan, Scope};
use waxseal_log::synced;
use waxseal_log::wal::WalError;

use super::records::{Position, Records};
use super::{DriveError, Head, Phase, Shared, lock, lookup};

/// Name of the published checkpoint.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// Entries after which what was published is synced, so that recovery need not write it again.
const SYNC_ENTRIES: u64 = 1 << 16;
/// Time after which an index is made again that could not be made.
const MENDING_PAUSE: Duration = Duration::from_secs(60);

/// What only the publisher thread touches.
pub(super) struct Publisher {
    pub(super) shared: Arc<Shared>,
    /// The next entry for a bundle.
    position: Position,
    /// `None` for a sealed log, which has no bundles.
    bundler: Option<Bundler>,
    /// Leaves whose tiles are written.
    written: u64,
    /// Leaves whose tiles survive a power cut.
    synced: u64,
    /// Tiles for which there are wider ones, to be removed.
    replaced: Vec<TileId>,
    /// When the index was last made again.
    mended: Option<Instant>,
    /// The thread that merges runs of the index, if there was something to merge.
    merging: Option<JoinHandle<()>>,
}

impl Drop for Publisher {
    /// Nothing writes to the directory once the log is closed.
    fn drop(&mut self) {
        if self.merging.take().is_some_and(|merging| merging.join().is_err()) {
            tracing::error!("the thread that merges the log's index died");
        }
    }
}

impl Publisher {
    /// Goes on with a log of which the tiles of `synced` leaves are durable; `position` is that of the first entry of the
    /// bundle that is unfinished at that size.
    pub(super) fn new(shared: Arc<Shared>, position: Position, synced: u64) -> Result<Self, DriveError> {
        let bundled = synced.saturating_sub(synced % TILE_WIDTH);
        let bundler = match shared.profile.bodies {
            Bodies::Kept => Some(Bundler::resume(shared.profile.entries(), bundled, Vec::new())?),
            Bodies::Sealed => None,
        };
        Ok(Self {
            shared,
            position,
            bundler,
            written: synced,
            synced,
            replaced: Vec::new(),
            mended: None,
            merging: None,
        })
    }

    /// Publishes until the log is stopped or frozen.
    pub(super) fn run(mut self) {
        loop {
            let phase = self.wait();
            let started = Instant::now();
            self.mend_index();
            if self.step().is_break() {
                return;
            }
            match phase {
                Phase::Running => {}
                Phase::Freezing => {
                    if self.freeze().is_break() {
                        return;
                    }
                }
                Phase::Stopping | Phase::Frozen | Phase::Failed => {
                    return self.finish();
                }
            }
            let rest = self.shared.settings.publish_interval.saturating_sub(started.elapsed());
            let published = lock(&self.shared.published);
            // Only the order to stop or to freeze cuts the pause short.
            drop(self.shared.grown.wait_timeout_while(published, rest, |published| published.phase == phase));
        }
    }

    /// Publishes what there is and gets the next segment ready, or says that the log cannot go on.
    pub(super) fn step(&mut self) -> ControlFlow<()> {
        match self.publish() {
            Ok(()) => self.prepare_segment(),
            // Nothing is lost: the records are durable, and readers stay with the last checkpoint.
            Err(error) if error.is_full() => {
                tracing::error!(%error, "no space left to publish the log: trying again");
            }
            Err(error) => {
                self.shared.fail(&error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Leaves as little as possible to the next opening.
    pub(super) fn finish(&mut self) {
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "what was published could not be synced: it will be published again");
        }
    }

    /// Waits until there is something to publish, or the log is no longer to run; tells which.
    fn wait(&self) -> Phase {
        let mut published = lock(&self.shared.published);
        loop {
            let grown = self.shared.committed_size.load(Ordering::Acquire) > published.head.size;
            if grown || published.phase != Phase::Running || self.broken_index().is_some() {
                published.idle = false;
                return published.phase;
            }
            published.idle = true;
            published = self.shared.grown.wait(published).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Publishes everything that is committed. After an error for lack of space it can be tried again.
    pub(super) fn publish(&mut self) -> Result<(), DriveError> {
        let head = self.shared.committed.read().unwrap_or_else(PoisonError::into_inner).head.clone();
        let (from, to) = (self.written, head.size);
        self.write_entries(to)?;
        self.write_hashes(from, to)?;
        // Before the announcement: should there be no space for the index, the log pushes back as it does for tiles.
        self.spill_index()?;
        if !head.note.is_empty() {
            self.write(CHECKPOINT, head.note.as_bytes())?;
        }
        self.announce(head);
        self.written = to;
        self.merge_index();
        // Only now may the narrower tiles go: no checkpoint that is served needs them.
        self.replaced.extend(publish::replaced(self.entries(), from, to));
        while let Some(id) = self.replaced.last() {
            self.shared.objects.remove(&id.to_string()).map_err(|source| self.io(&id.to_string(), source))?;
            self.replaced.pop();
        }
        let rolled = self.shared.rolled.swap(false, Ordering::AcqRel);
        if rolled || to.saturating_sub(self.synced) >= SYNC_ENTRIES {
            self.sync().inspect_err(|_| self.shared.rolled.store(true, Ordering::Release))?;
        }
        Ok(())
    }

    /// Writes the bundles with the entries up to `to`, from the records. After an error it can be tried again.
    fn write_entries(&mut self, to: u64) -> Result<(), DriveError> {
        let Some(mut bundler) = self.bundler.clone() else { return Ok(()) };
        let mut position = self.position.clone();
        write_bundles(&self.shared, &mut position, &mut bundler, to)?;
        (self.position, self.bundler) = (position, Some(bundler));
        Ok(())
    }

    /// The tiles of entries that the log has.
    fn entries(&self) -> Option<TileKind> {
        (self.shared.profile.bodies == Bodies::Kept).then(|| self.shared.profile.entries())
    }

    /// Writes what the index holds in memory, once that is enough. Only a full disk is a reason to wait.
    fn spill_index(&self) -> Result<(), DriveError> {
        match self.shared.index.as_ref().map(Index::spill) {
            Some(Err(error @ IndexError::Full { .. })) => Err(error.into()),
            Some(Err(IndexError::Remaking)) | Some(Ok(())) | None => Ok(()),
            Some(Err(error)) => {
                tracing::warn!(%error, "the log's index cannot be written: it is made again from the records");
                Ok(())
            }
        }
    }

    /// Has runs of the index merged where enough of them are: apart from this thread, since publishing does not wait for it.
    fn merge_index(&mut self) {
        let busy = self.merging.as_ref().is_some_and(|merging| !merging.is_finished());
        if busy || !self.shared.index.as_ref().is_some_and(Index::wants_merging) {
            return;
        }
        let shared = self.shared.clone();
        let merge = move || {
            if let Some(Err(error)) = shared.index.as_ref().map(Index::merge) {
                tracing::warn!(%error, "the log's index could not be merged");
            }
        };
        match std::thread::Builder::new().name("log-index".into()).spawn(merge) {
            Ok(merging) => self.merging = Some(merging),
            Err(error) => tracing::warn!(%error, "the log's index could not be merged"),
        }
    }

    /// The index, if it has to be made again and that was not just tried.
    fn broken_index(&self) -> Option<&Index> {
        let rested = self.mended.is_none_or(|mended| mended.elapsed() > MENDING_PAUSE);
        self.shared.index.as_ref().filter(|index| rested && index.is_broken())
    }

    /// Makes the index again if it was found damaged. Readers and writers go on meanwhile, without it.
    fn mend_index(&mut self) {
        let Some(index) = self.broken_index() else { return };
        match lookup::remake(index, &*self.shared.settings.disk, &self.shared.directory) {
            Ok(()) => tracing::info!("the log's index was made again"),
            Err(error) => tracing::error!(%error, "the log's index could not be made again"),
        }
        self.mended = Some(Instant::now());
    }

    /// Writes the hash tiles that a tree of `to` leaves has and one of `from` leaves has not.
    fn write_hashes(&self, from: u64, to: u64) -> Result<(), DriveError> {
        for id in publish::hash_tiles(from, to) {
            let committed = self.shared.committed.read().unwrap_or_else(PoisonError::into_inner);
            let tile = committed.tail.tile(&id);
            drop(committed);
            let missing = || DriveError::Object { name: id.to_string(), problem: "its hashes are gone".into() };
            self.write(&id.to_string(), tile.ok_or_else(missing)?.hashes().as_flattened())?;
        }
        Ok(())
    }

    /// From here on the checkpoint is served, and full tiles are read from their files.
    fn announce(&self, head: Head) {
        let size = head.size;
        self.shared.published_time.store(head.time.0, Ordering::Release);
        lock(&self.shared.published).head = head;
        self.shared.published_size.store(size, Ordering::Release);
        self.shared.committed.write().unwrap_or_else(PoisonError::into_inner).tail.trim(size);
    }

    /// Makes durable what was published, and remembers how far that goes.
    pub(super) fn sync(&mut self) -> Result<(), DriveError> {
        let size = self.written;
        if size == self.synced {
            return Ok(());
        }
        // A second sync would succeed and say nothing about what this one lost.
        let lost = |source| StoreError::NotDurable { path: self.shared.directory.join("public"), source };
        self.shared.objects.sync().map_err(lost)?;
        write_synced(&*self.shared.settings.disk, &self.shared.directory, size)?;
        self.synced = size;
        Ok(())
    }

    /// Makes the next segment ahead of need: the driver then only has to name it. Nothing depends on a segment that could not
    /// be made; the driver tries again if it comes to that.
    fn prepare_segment(&self) {
        let wanted = self.shared.wanted.load(Ordering::Acquire);
        if wanted == 0 || lock(&self.shared.prepared).is_some() {
            return;
        }
        match self.shared.prepare(wanted) {
            Ok(prepared) => *lock(&self.shared.prepared) = Some(prepared),
            Err(StoreError::Full { path }) => {
                tracing::error!(path = %path.display(), "no space left for the next segment of the log");
            }
            Err(error) => tracing::error!(%error, "the next segment of the log could not be prepared"),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DriveError> {
        write(&self.shared, name, bytes)
    }

    fn io(&self, name: &str, source: std::io::Error) -> DriveError {
        DriveError::Io { path: self.shared.directory.join("public").join(name), source }
    }
}

fn write(shared: &Shared, name: &str, bytes: &[u8]) -> Result<(), DriveError> {
    let path = || shared.directory.join("public").join(name);
    shared.objects.write(name, bytes).map_err(|source| DriveError::Io { path: path(), source })
}

/// Puts the entries up to `to` into bundles.
fn write_bundles(shared: &Shared, position: &mut Position, bundler: &mut Bundler, to: u64) -> Result<(), DriveError> {
    let Position { records, skip } = position;
    let mut buffer = Vec::new();
    while bundler.size() < to {
        let record = match records.next(Scope::Bodies, &mut buffer)? {
            Scan::Record(record) => record,
            Scan::End => {
                let next = records.scanner.sequence;
                *records = Records::open(&*shared.settings.disk, &shared.directory, next)?.0;
                continue;
            }
            Scan::Torn => {
                let (offset, sequence) = (records.scanner.offset, records.scanner.sequence);
                let error = WalError::Bodies { offset, sequence };
                return Err(DriveError::Segment { path: records.segment.path().to_owned(), error });
            }
        };
        let missing = || WalError::Bodies { offset: 0, sequence: record.sequence };
        for body in record.bodies().ok_or_else(missing)? {
            if *skip > 0 {
                *skip = skip.saturating_sub(1);
            } else if let Some((id, bundle)) = bundler.push(body)? {
                write(shared, &id.to_string(), &bundle)?;
            }
        }
    }
    match bundler.partial() {
        Some((id, bundle)) => write(shared, &id.to_string(), bundle),
        None => Ok(()),
    }
}

/// Reads how many leaves have tiles that survive a power cut.
pub(super) fn read_synced(disk: &dyn Disk, directory: &Path) -> Result<u64, DriveError> {
    let path = directory.join("synced");
    let found = disk.read(&path, synced::MAX_MARK).map_err(|source| DriveError::Io { path: path.clone(), source })?;
    let Some(mark) = found else { return Ok(0) };
    synced::parse(&mark)
        .ok_or_else(|| DriveError::Object { name: path.display().to_string(), problem: "not a mark".into() })
}

/// The name is not synced: if the number of before comes back, more is published again than need be.
fn write_synced(disk: &dyn Disk, directory: &Path, size: u64) -> Result<(), DriveError> {
    let path = directory.join("synced");
    file::exchange(disk, &path, synced::encode(size).as_bytes()).map_err(|source| DriveError::Io { path, source })
}
