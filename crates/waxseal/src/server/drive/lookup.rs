//! Finding entries: by leaf hash, by what they can be searched by, by index; and repeated ones that the window has forgotten.
//!
//! The driver tells the index of each record before it answers for it, so a look-up sees every entry that was acknowledged
//! before. When the log is opened, or the index has to be made again, the same records are read from the segments.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use waxseal_formats::leaf::TileLeaf;
use waxseal_formats::merkle::{Hash, NodeId};
use waxseal_formats::tile::{TILE_WIDTH, TileError, TileId, TileKind, parse_bundle};
use waxseal_io::disk::Disk;
use waxseal_io::index::{Batch, Index, IndexError, Kind, key_of};
use waxseal_io::store::segments;
use waxseal_log::UnixMillis;
use waxseal_log::dedup::Original;
use waxseal_log::profile::{Bodies, Face};
use waxseal_log::rows::{self, SearchKey};
use waxseal_log::scan::{Scan, Scope};
use waxseal_log::sequencer::NewEntry;
use waxseal_log::state::StateError;
use waxseal_log::wal::{Record, WalError};

use super::records::Records;
use super::tree::Nodes;
use super::{DriveError, LogHandle, Sequenced, Shared, TreeError};

/// Longest time that a reader waits for the publication of an entry that is committed.
const PUBLICATION: Duration = Duration::from_secs(2);
/// How often it looks.
const GLANCE: Duration = Duration::from_millis(5);

impl LogHandle {
    /// The entry with this leaf hash, anywhere in the committed tree.
    ///
    /// # Errors
    /// [`TreeError`]; [`TreeError::Unindexed`] for a Rekor v2 log.
    pub async fn find_leaf(&self, hash: &Hash) -> Result<Option<Original>, TreeError> {
        let hash = *hash;
        self.indexed(move |shared, index| {
            let candidates = index.leaves(&hash)?;
            // The index has only the beginning of the hash: the tree decides.
            let mut nodes = Nodes::new(shared);
            for candidate in candidates {
                if nodes.node(NodeId { level: 0, index: candidate })? == hash {
                    return original(index, candidate).map(Some);
                }
            }
            Ok(None)
        })
        .await
    }

    /// The indices of the entries that are found by `key`, ascending: of all that were acknowledged before the call.
    ///
    /// # Errors
    /// [`TreeError::Sealed`] if the log keeps nothing to search; otherwise as [`LogHandle::find_leaf`].
    pub async fn search(&self, key: &SearchKey) -> Result<Vec<u64>, TreeError> {
        if self.profile().bodies == Bodies::Sealed {
            return Err(TreeError::Sealed);
        }
        let key = *key.as_bytes();
        self.indexed(move |_, index| Ok(index.find(Kind::Search, &key)?)).await
    }

    /// When an entry was sequenced; `None` if there is no such entry.
    ///
    /// # Errors
    /// As [`LogHandle::find_leaf`].
    pub async fn time_of(&self, index: u64) -> Result<Option<UnixMillis>, TreeError> {
        self.indexed(move |_, view| Ok(view.time(index)?.map(UnixMillis))).await
    }

    /// The entries from `first` to `last` as they are stored, or fewer: those of one bundle at most, at least one. Waits for the
    /// publication of an entry that is committed.
    ///
    /// # Errors
    /// [`TreeError::Outside`] if there is no entry `first`, or `last` is smaller; [`TreeError::Sealed`] if the log keeps none.
    pub async fn entries(&self, first: u64, last: u64) -> Result<Vec<Vec<u8>>, TreeError> {
        if self.profile().bodies == Bodies::Sealed {
            return Err(TreeError::Sealed);
        }
        if last < first {
            return Err(TreeError::Outside(last));
        }
        let size = self.published_beyond(first).await?;
        let kind = self.profile().entries();
        let bundle = TileId::in_tree(kind, first / TILE_WIDTH, size).ok_or(TreeError::Outside(first))?;
        let file = self.tile(bundle).await?.ok_or(TreeError::Missing(bundle))?;
        let all = split(&bundle, &file.bytes).ok_or_else(|| {
            let error = TileError::Bundle { width: bundle.width };
            TreeError::Damaged { id: bundle, error }
        })?;
        let count = last.saturating_sub(first).saturating_add(1).min(TILE_WIDTH);
        Ok(all.into_iter().skip((first % TILE_WIDTH) as usize).take(count as usize).map(<[u8]>::to_vec).collect())
    }

    /// Waits until the published tree has an entry that is committed; returns its size.
    async fn published_beyond(&self, index: u64) -> Result<u64, TreeError> {
        let started = Instant::now();
        loop {
            let size = self.published().size;
            if index < size {
                return Ok(size);
            }
            if index >= self.head().size {
                return Err(TreeError::Outside(index));
            }
            if started.elapsed() > PUBLICATION {
                return Err(TreeError::Unpublished(index));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// The entry that this one repeats, if the window may have forgotten it.
    ///
    /// Nothing is missed: what was committed before this look-up stands in the index, and what is committed between it and the
    /// turn of this entry is in the window then, since the queue and the batch at work are far shorter than half of it. Entries
    /// in the newer half of the window are not looked for, for the same reason.
    pub(super) async fn older(&self, entry: &NewEntry) -> Option<Sequenced> {
        let index = self.0.index.as_ref()?;
        let size = self.0.committed_size.load(Ordering::Acquire);
        let forgotten = size.checked_sub(self.0.settings.window as u64 / 2).filter(|forgotten| *forgotten > 0)?;
        let hash = *entry.identity()?;
        let kind = match self.profile().face {
            Face::StaticCt => Kind::Identity,
            Face::RekorV1 | Face::RekorV2 => Kind::Leaf,
        };
        if !index.may_have_before(forgotten, kind, &key_of(&hash)).ok()? {
            return None;
        }
        let found = match kind {
            Kind::Leaf => self.find_leaf(&hash).await,
            // Sixteen bytes tell identities as in the window.
            Kind::Identity | Kind::Search => {
                self.indexed(move |_, index| {
                    let first = index.find(kind, &key_of(&hash))?.first().copied();
                    first.map(|first| original(index, first)).transpose()
                })
                .await
            }
        };
        // An index that does not answer does not stop the log: then only the window tells.
        let Original { index, time } = found.ok().flatten()?;
        Some(Sequenced { index, time, head: self.head(), batch: None, repeated: true })
    }

    async fn indexed<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Shared, &Index) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<T, TreeError> {
        self.reading(move |shared| {
            let found = look(shared, shared.index.as_ref().ok_or(TreeError::Unindexed)?);
            if let Err(TreeError::Index(error)) = &found {
                tracing::warn!(%error, "the log's index does not answer");
                // The publisher makes it again.
                shared.grown.notify_one();
            }
            found
        })
        .await
    }
}

fn original(index: &Index, entry: u64) -> Result<Original, TreeError> {
    let time = index.time(entry)?.ok_or(TreeError::Outside(entry))?;
    Ok(Original { index: entry, time: UnixMillis(time) })
}

/// The entries of a bundle or data tile; `None` if it is damaged.
fn split<'a>(id: &TileId, file: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    if id.kind != TileKind::Data {
        return parse_bundle(id, file).ok();
    }
    let mut rest = file;
    let mut entries = Vec::new();
    for _ in 0..id.width {
        let (_, behind) = TileLeaf::decode(rest).ok()?;
        entries.push(rest.get(..rest.len().checked_sub(behind.len())?)?);
        rest = behind;
    }
    Some(entries)
}

/// Gives a record to `take` in the form of the index.
pub(super) fn with_batch<T>(record: &Record<'_>, take: impl FnOnce(&Batch<'_>) -> T) -> Result<T, StateError> {
    let rows = rows::decode(record.rows, record.leaf_hashes.len()).ok_or(StateError::Order(record.sequence))?;
    let search: Vec<_> = rows.iter().map(|row| (row.leaf, *row.key.as_bytes())).collect();
    let Record { first, time_ms, leaf_hashes, identities, .. } = *record;
    Ok(take(&Batch { first, time_ms, leaf_hashes, identities, search: &search }))
}

/// Brings an index that was just opened to the size of the log, and drops it first if it is not of this log.
pub(super) fn catch_up(index: &mut Index, disk: &dyn Disk, directory: &Path, size: u64) -> Result<(), DriveError> {
    // From the record on that has the last leaf of the file, so that the two can be compared.
    let start = index.last_in_file().map_or(0, |(size, _)| size.saturating_sub(1));
    if start < size && replay(index, disk, directory, start, size)? {
        return Ok(());
    }
    if size > 0 || start > 0 {
        tracing::warn!("the log's index does not belong to its records: it is made again from them");
    }
    if let Err(error) = index.clear() {
        tracing::warn!(%error, "the log's index could not be made: the log goes on without it");
    }
    replay(index, disk, directory, 0, size)?;
    Ok(())
}

/// Gives the records from leaf `start` on to the index; `false` if one of them contradicts its file.
fn replay(index: &Index, disk: &dyn Disk, directory: &Path, start: u64, size: u64) -> Result<bool, DriveError> {
    let known = index.last_in_file();
    let mut fits = true;
    each_record(disk, directory, start, size, |record| {
        if let Some((size, last)) = known
            && let Some(at) = size.checked_sub(1).and_then(|at| at.checked_sub(record.first))
            && let Some(hash) = record.leaf_hashes.get(at as usize)
        {
            fits &= *hash == last;
        }
        if record.first.saturating_add(record.leaf_hashes.len() as u64) > index.size() && fits {
            with_batch(record, |batch| index.push(batch))??;
            // What cannot be written now is written by the publisher, or made again by it.
            drop(index.spill().and_then(|()| index.merge()));
        }
        Ok(())
    })?;
    Ok(fits)
}

/// Makes the file of an index again that was found damaged while the log runs.
pub(super) fn remake(index: &Index, disk: &dyn Disk, directory: &Path) -> Result<(), DriveError> {
    let mut remaking = index.remake()?;
    each_record(disk, directory, 0, remaking.needs(), |record| Ok(with_batch(record, |batch| remaking.push(batch))??))?;
    Ok(remaking.finish()?)
}

/// Reads the records that have the leaves from `start` up to `end`, which are durable.
fn each_record(
    disk: &dyn Disk,
    directory: &Path,
    start: u64,
    end: u64,
    mut take: impl FnMut(&Record<'_>) -> Result<(), DriveError>,
) -> Result<(), DriveError> {
    let mut records = None;
    for number in segments(disk, directory)?.into_iter().rev() {
        let (segment, header) = Records::open(disk, directory, number)?;
        records = Some((segment, header.size, number));
        if header.size <= start {
            break;
        }
    }
    let Some((mut records, mut size, mut segment)) = records else { return Ok(()) };
    let mut buffer = Vec::new();
    while size < end {
        if let Scan::Record(record) = records.next(Scope::Leaves, &mut buffer)? {
            size = record.first.saturating_add(record.leaf_hashes.len() as u64);
            if size > start {
                take(&record)?;
            }
            continue;
        }
        let next = records.scanner.sequence;
        if next == segment {
            let error = WalError::Damaged { offset: records.scanner.offset, sequence: next };
            return Err(DriveError::Segment { path: records.segment.path().to_owned(), error });
        }
        records = Records::open(disk, directory, next)?.0;
        segment = next;
    }
    Ok(())
}

impl From<IndexError> for TreeError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl Shared {
    /// Tells the index of a record that has just become durable.
    pub(super) fn take_in(&self, record: &Record<'_>) -> Result<(), DriveError> {
        let Some(index) = &self.index else { return Ok(()) };
        Ok(with_batch(record, |batch| index.push(batch))??)
    }
}
