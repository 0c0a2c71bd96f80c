//! The publisher: writes what follows from the records, the checkpoint last.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use waxseal_formats::tile::{TileId, TileKind};
use waxseal_io::file;
use waxseal_io::store::{Prepared, Segment, StoreError};
use waxseal_log::profile::Bodies;
use waxseal_log::publish::{self, Bundler};
use waxseal_log::scan::{Scan, Scanner, Scope};
use waxseal_log::segment::{MAX_HEADER, SegmentHeader};
use waxseal_log::wal::WalError;

use super::{DriveError, Head, Shared, lock};

/// Name of the published checkpoint.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// Entries after which what was published is synced, so that recovery need not write it again.
const SYNC_ENTRIES: u64 = 1 << 16;

/// Reads the records of a log over all its segments.
pub(super) struct Records {
    /// Number of the first record of the segment.
    pub(super) first: u64,
    pub(super) segment: Segment,
    pub(super) scanner: Scanner,
}

impl Records {
    /// Starts at the beginning of a segment.
    pub(super) fn open(directory: &Path, sequence: u64) -> Result<(Self, SegmentHeader), DriveError> {
        let segment = Segment::open(directory, sequence)?;
        let mut bytes = vec![0; MAX_HEADER];
        segment.read(0, &mut bytes)?;
        let damaged = |error| DriveError::Segment { path: segment.path().to_owned(), error };
        let header = SegmentHeader::parse(&bytes).map_err(damaged)?;
        if header.sequence != sequence {
            return Err(damaged(WalError::Segment("its name is that of another record")));
        }
        let scanner = Scanner::new(&header);
        Ok((Self { first: sequence, segment, scanner }, header))
    }

    /// Reads the next record of the segment.
    pub(super) fn next<'b>(&mut self, scope: Scope, buffer: &'b mut Vec<u8>) -> Result<Scan<'b>, DriveError> {
        let segment = &self.segment;
        let mut read = |offset: u64, part: &mut [u8]| segment.read(offset, part).map_err(DriveError::from);
        self.scanner.next(scope, &mut read, buffer).map_err(|error| match error {
            DriveError::Wal(error) => DriveError::Segment { path: segment.path().to_owned(), error },
            other => other,
        })
    }
}

/// What only the publisher thread touches.
pub(super) struct Publisher {
    pub(super) shared: Arc<Shared>,
    pub(super) records: Records,
    pub(super) bundler: Bundler,
    /// Leaves whose tiles survive a power cut.
    pub(super) synced: u64,
}

impl Publisher {
    /// Publishes until the log is stopped.
    pub(super) fn run(mut self) {
        loop {
            let stop = self.wait();
            let started = Instant::now();
            match self.publish() {
                Ok(()) => self.prepare_segment(),
                // Nothing is lost: the records are durable, and readers stay with the last checkpoint.
                Err(error) if error.is_full() => {
                    tracing::error!(%error, "no space left to publish the log: trying again");
                }
                Err(error) => return self.shared.fail(&error),
            }
            if stop {
                if let Err(error) = self.sync() {
                    tracing::warn!(%error, "what was published could not be synced: it will be published again");
                }
                return;
            }
            let rest = self.shared.settings.publish_interval.saturating_sub(started.elapsed());
            let published = lock(&self.shared.published);
            // Only the order to stop cuts the pause short.
            drop(self.shared.grown.wait_timeout_while(published, rest, |published| !published.stop));
        }
    }

    /// Waits until there is something to publish; `true` if the log is to stop.
    fn wait(&self) -> bool {
        let mut published = lock(&self.shared.published);
        loop {
            if published.stop {
                return true;
            }
            if self.shared.committed_size.load(Ordering::Acquire) > published.head.size {
                return false;
            }
            published = self.shared.grown.wait(published).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Publishes everything that is committed. After an error it can be tried again.
    pub(super) fn publish(&mut self) -> Result<(), DriveError> {
        let (bundler, first, scanner) = (self.bundler.clone(), self.records.first, self.records.scanner.clone());
        let published = self.publish_from_here();
        if published.is_err() {
            if self.records.first != first {
                self.records = Records::open(&self.shared.directory, first)?.0;
            }
            self.records.scanner = scanner;
            self.bundler = bundler;
        }
        published
    }

    fn publish_from_here(&mut self) -> Result<(), DriveError> {
        let head = self.shared.committed.read().unwrap_or_else(PoisonError::into_inner).head.clone();
        let (from, to) = (self.bundler.size(), head.size);
        if from < to {
            match self.shared.profile.bodies {
                Bodies::Kept => self.write_entries(to)?,
                Bodies::Sealed => self.bundler.skip(to),
            }
        }
        self.write_hashes(from, to)?;
        if !head.note.is_empty() {
            self.write(CHECKPOINT, head.note.as_bytes())?;
        }
        self.announce(head);
        // Only now may the narrower tiles go: no checkpoint that is served needs them.
        for id in publish::replaced(self.entries(), from, to) {
            self.shared.objects.remove(&id.to_string()).map_err(|source| self.io(&id.to_string(), source))?;
        }
        let rolled = self.shared.rolled.swap(false, Ordering::AcqRel);
        if rolled || to.saturating_sub(self.synced) >= SYNC_ENTRIES {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes the bundles with the entries up to `to`, from the records.
    fn write_entries(&mut self, to: u64) -> Result<(), DriveError> {
        let mut buffer = Vec::new();
        while self.bundler.size() < to {
            let Scan::Record(record) = self.records.next(Scope::Bodies, &mut buffer)? else {
                let next = self.records.scanner.sequence;
                self.records = Records::open(&self.shared.directory, next)?.0;
                continue;
            };
            let missing = || WalError::Bodies { offset: 0, sequence: record.sequence };
            for body in record.bodies().ok_or_else(missing)? {
                if let Some((id, bundle)) = self.bundler.push(body)? {
                    write(&self.shared, &id.to_string(), &bundle)?;
                }
            }
        }
        if let Some((id, bundle)) = self.bundler.partial() {
            write(&self.shared, &id.to_string(), bundle)?;
        }
        Ok(())
    }

    /// The tiles of entries that the log has.
    fn entries(&self) -> Option<TileKind> {
        (self.shared.profile.bodies == Bodies::Kept).then(|| self.shared.profile.entries())
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
    fn sync(&mut self) -> Result<(), DriveError> {
        let size = self.bundler.size();
        if size == self.synced {
            return Ok(());
        }
        self.shared.objects.sync().map_err(|source| self.io("", source))?;
        write_synced(&self.shared.directory, size)?;
        self.synced = size;
        Ok(())
    }

    /// Makes the next segment ahead of need: the driver then only has to name it.
    fn prepare_segment(&self) {
        let wanted = self.shared.wanted.load(Ordering::Acquire);
        if wanted == 0 || lock(&self.shared.prepared).is_some() {
            return;
        }
        match Prepared::new(&self.shared.directory, wanted) {
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

/// Reads how many leaves have tiles that survive a power cut.
pub(super) fn read_synced(directory: &Path) -> Result<u64, DriveError> {
    let path = directory.join("synced");
    let Some(text) = file::read(&path, 32).map_err(|source| DriveError::Io { path: path.clone(), source })? else {
        return Ok(0);
    };
    let size = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
    size.ok_or_else(|| DriveError::Object { name: path.display().to_string(), problem: "not a number".into() })
}

fn write_synced(directory: &Path, size: u64) -> Result<(), DriveError> {
    let path = directory.join("synced");
    file::replace(&path, format!("{size}\n").as_bytes()).map_err(|source| DriveError::Io { path, source })
}

/// The file of the unfinished bundle in a published tree of `size` leaves.
pub(super) fn partial_bundle(shared: &Shared, size: u64) -> Result<Bundler, DriveError> {
    let kind = shared.profile.entries();
    if shared.profile.bodies == Bodies::Sealed {
        return Ok(Bundler::sealed(kind, size));
    }
    let index = size / waxseal_formats::tile::TILE_WIDTH;
    let Some(id) = TileId::in_tree(kind, index, size) else {
        return Ok(Bundler::resume(kind, size, Vec::new())?);
    };
    let name = id.to_string();
    let path = || shared.directory.join("public").join(&name);
    let max = usize::from(id.width).saturating_mul(256 * 1024);
    let file = shared.objects.read(&name, max).map_err(|source| DriveError::Io { path: path(), source })?;
    let file = file.ok_or_else(|| DriveError::Object { name: name.clone(), problem: "it is missing".into() })?;
    Ok(Bundler::resume(kind, size, file)?)
}
