//! The index of a log: which entries have a key, and when each was sequenced.
//!
//! It is a view over the write-ahead records and can be made again from them at any time. So its file may lose its last
//! transactions in a power cut, and a file that is missing, damaged, of another log or of another version is dropped with a
//! warning; the log goes on.
//!
//! Keys are hashes, so they come in random order, and one tree of them on the disk would cost more for each entry the larger
//! it is. Here a leaf is first held in memory; [`Options::chunk`] leaves at a time become a *run*, sorted and written once, and
//! runs are merged once. What an entry costs does not depend on the size of the log.
//!
//! ```text
//! push (each batch) → chunk in memory → spill → run of 2^16 leaves → sixteen of them: run of 2^20 leaves
//! ```

mod check;
mod file;
mod filter;
mod fresh;
mod run;
mod times;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::ErrorCode;
use waxseal_formats::code::Code;
use waxseal_formats::merkle::Hash;

pub use check::Check;
use file::Database;
use fresh::Chunk;

/// Sixteen bytes of a hash. Two different entries share them by chance once in 2^64 entries, and on purpose only for whoever
/// computes as many hashes.
pub type Key = [u8; 16];

/// What a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The leaf hash. Two entries may share the key, so whoever asks compares the hash in the tree.
    Leaf = 0,
    /// What tells repeated submissions, where that is not the leaf hash (CT).
    Identity = 1,
    /// What an entry can be searched by.
    Search = 2,
}

const KINDS: [Kind; 3] = [Kind::Leaf, Kind::Identity, Kind::Search];

/// Full chunks that wait in memory while there is no file to write them to; beyond them the oldest is dropped, as the
/// records have it.
const MAX_WAITING: usize = 8;

/// The key that stands for a hash.
#[must_use]
pub fn key_of(hash: &Hash) -> Key {
    hash.first_chunk().copied().unwrap_or_default()
}

/// What an index takes from one record.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Index of the first leaf.
    pub first: u64,
    /// When it was sequenced, in milliseconds since 1970.
    pub time_ms: u64,
    /// The leaf hashes, in order.
    pub leaf_hashes: &'a [Hash],
    /// What tells repeated submissions, one for each leaf; `None` where it is the leaf hash.
    pub identities: Option<&'a [Hash]>,
    /// What the entries can be searched by: the offset of the leaf in the batch, and a key.
    pub search: &'a [(u32, Key)],
}

/// How an index is kept. The default is meant for production.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Leaves that are held in memory before they become a run: at least 1.
    pub chunk: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { chunk: 1 << 16 }
    }
}

/// Why the index does not answer. The log does not need it to go on.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file is not an intact index of this log: it has to be made again.
    #[error("the index {}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The disk is full. Trying again is allowed.
    #[error("{}: no space left for the index", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// SQLite or the system failed.
    #[error("the index {}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The index is being made again from the records.
    #[error("the log's index is being made again; try again later")]
    Remaking,
    /// The batch does not follow what the index has.
    #[error("a batch from entry {first} on does not follow an index of {size}")]
    Gap {
        /// Leaves of the index.
        size: u64,
        /// First leaf of the batch.
        first: u64,
    },
}

impl IndexError {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Damaged { .. } | Self::Gap { .. } => Code::LOG_STORE_CORRUPT,
            Self::Full { .. } | Self::Remaking => Code::LOG_BUSY,
            Self::Sqlite { .. } => Code::LOG_STORE_FAILED,
        }
    }

    fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            let path = path.clone();
            match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Self::Full { path },
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    Self::Damaged { path, problem: source.to_string() }
                }
                _ => Self::Sqlite { path, source },
            }
        }
    }
}

/// The leaves that no file has yet.
#[derive(Debug)]
struct Fresh {
    full: VecDeque<Arc<Chunk>>,
    open: Chunk,
}

impl Fresh {
    /// Index of the first leaf that is held here.
    fn first(&self) -> u64 {
        self.full.front().map_or(self.open.first, |chunk| chunk.first)
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.full.iter().map(AsRef::as_ref).chain([&self.open])
    }
}

/// The index of a log. One thread [pushes](Index::push), one [spills](Index::spill), any look things up; look-ups may read
/// files, so they belong where blocking is allowed.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    log: Hash,
    options: Options,
    fresh: RwLock<Fresh>,
    /// `None` while the file has to be made again.
    file: RwLock<Option<Arc<Database>>>,
    /// Held by whoever writes to the file.
    writing: Mutex<()>,
}

impl Index {
    /// Opens the index at `path` of the log with this key ID; a file that is not one is replaced by an empty one.
    ///
    /// This does not fail: without a file the index [has to be made again](Index::is_broken), and answers so.
    #[must_use]
    pub fn open(path: &Path, log: &Hash, options: Options) -> Self {
        let file = Database::open(path, log).or_else(|error| {
            tracing::warn!(%error, "the log's index cannot be used: it is made again from the records");
            Self::recreate(path, log)
        });
        let file = file.map(Arc::new).map_err(|error| tracing::error!(%error, "the log goes on without its index"));
        let size = file.as_ref().map_or(0, |file| file.size());
        Self {
            path: path.to_owned(),
            log: *log,
            options,
            fresh: RwLock::new(Fresh { full: VecDeque::new(), open: Chunk::at(size) }),
            file: RwLock::new(file.ok()),
            writing: Mutex::new(()),
        }
    }

    /// Drops the file and what is in memory: the index is empty.
    ///
    /// # Errors
    /// [`IndexError`] if no new file can be made.
    pub fn clear(&mut self) -> Result<(), IndexError> {
        *self = Self {
            fresh: RwLock::new(Fresh { full: VecDeque::new(), open: Chunk::at(0) }),
            file: RwLock::new(None),
            writing: Mutex::new(()),
            path: std::mem::take(&mut self.path),
            ..*self
        };
        let file = Self::recreate(&self.path, &self.log)?;
        *write(&self.file) = Some(Arc::new(file));
        Ok(())
    }

    fn recreate(path: &Path, log: &Hash) -> Result<Database, IndexError> {
        for path in file::files(path) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a damaged index could not be removed");
                }
                _ => {}
            }
        }
        Database::open(path, log)
    }

    /// The hash of the last leaf that stands in the file, and how many there are: whoever has the tree can tell whether the
    /// file belongs to it.
    #[must_use]
    pub fn last_in_file(&self) -> Option<(u64, Hash)> {
        let file = read(&self.file).clone()?;
        let size = file.size();
        (size > 0).then(|| (size, file.last()))
    }

    /// Leaves that the index has, in the file and in memory: the next batch begins there.
    #[must_use]
    pub fn size(&self) -> u64 {
        read(&self.fresh).open.end
    }

    /// Takes in a batch; of one that it has in part, the rest.
    ///
    /// # Errors
    /// [`IndexError::Gap`].
    pub fn push(&self, batch: &Batch<'_>) -> Result<(), IndexError> {
        let end = batch.first.saturating_add(batch.leaf_hashes.len() as u64);
        let without_file = read(&self.file).is_none();
        let mut fresh = write(&self.fresh);
        while fresh.open.end < end {
            let size = fresh.open.end;
            fresh.open.push(batch, self.options.chunk.max(1)).ok_or(IndexError::Gap { size, first: batch.first })?;
            if fresh.open.len() >= self.options.chunk {
                let next = Chunk::at(fresh.open.end);
                let full = std::mem::replace(&mut fresh.open, next);
                fresh.full.push_back(Arc::new(full));
                if without_file && fresh.full.len() > MAX_WAITING {
                    fresh.full.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Writes what is complete to the file. After an error it can be tried again; while runs are merged it does nothing.
    ///
    /// # Errors
    /// [`IndexError`]; after any but [`IndexError::Full`] the file has to be [made again](Index::remake).
    pub fn spill(&self) -> Result<(), IndexError> {
        let file = self.file()?;
        let Ok(_writing) = self.writing.try_lock() else { return Ok(()) };
        let spilled = self.spill_to(&file);
        if !matches!(spilled, Ok(()) | Err(IndexError::Full { .. })) {
            self.give_up(&file);
        }
        spilled
    }

    fn spill_to(&self, file: &Database) -> Result<(), IndexError> {
        while let Some(chunk) = self.next_full() {
            file.write(&chunk)?;
            // Only now: a look-up that finds it here no longer, finds it there.
            write(&self.fresh).full.pop_front();
        }
        Ok(())
    }

    /// Whether there are enough small runs to [merge](Index::merge).
    #[must_use]
    pub fn wants_merging(&self) -> bool {
        read(&self.file).as_ref().is_some_and(|file| file.wants_merging())
    }

    /// Merges small runs, if there are enough of them. That may take a second; look-ups go on meanwhile. After an error it can
    /// be tried again.
    ///
    /// # Errors
    /// As [`Index::spill`].
    pub fn merge(&self) -> Result<(), IndexError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = read(&self.file).clone() else { return Ok(()) };
        let merged = file.merge();
        if !matches!(merged, Ok(()) | Err(IndexError::Full { .. })) {
            self.give_up(&file);
        }
        merged
    }

    fn next_full(&self) -> Option<Arc<Chunk>> {
        read(&self.fresh).full.front().cloned()
    }

    /// Whether the file has to be made again. Look-ups are refused until then.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        read(&self.file).is_none()
    }

    /// Makes a new file. It has to be given all batches from the first leaf on, and [finished](Remaking::finish).
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn remake(&self) -> Result<Remaking<'_>, IndexError> {
        *write(&self.file) = None;
        let file = Self::recreate(&self.path, &self.log)?;
        Ok(Remaking { index: self, file, chunk: Chunk::at(0) })
    }

    /// Indices of the entries that may have this leaf hash, ascending: those whose hash begins with the same bytes.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn leaves(&self, hash: &Hash) -> Result<Vec<u64>, IndexError> {
        self.find(Kind::Leaf, &key_of(hash))
    }

    /// Indices of the entries with this key, ascending.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn find(&self, kind: Kind, key: &Key) -> Result<Vec<u64>, IndexError> {
        // Memory first: what is spilled meanwhile is found in both, never in neither.
        let file = self.file()?;
        let mut found: Vec<u64> = read(&self.fresh).chunks().flat_map(|chunk| chunk.find(kind, key)).collect();
        found.extend(file.find(kind, key).inspect_err(|error| self.found_damage(&file, error))?);
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Whether an entry before `end` may have this key. Reads no file, and is seldom wrong: most new submissions need no look-up.
    ///
    /// # Errors
    /// [`IndexError::Remaking`].
    pub fn may_have_before(&self, end: u64, kind: Kind, key: &Key) -> Result<bool, IndexError> {
        let file = self.file()?;
        let fresh = || read(&self.fresh).chunks().any(|chunk| chunk.find(kind, key).next().is_some());
        // Memory first, as in a look-up, and only if it can have what is asked for.
        Ok(file.size() < end && fresh() || file.may_have(kind, key))
    }

    /// When an entry was sequenced, in milliseconds since 1970; `None` if the index does not have it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn time(&self, index: u64) -> Result<Option<u64>, IndexError> {
        let fresh = read(&self.fresh).chunks().find_map(|chunk| chunk.time(index));
        if fresh.is_some() {
            return Ok(fresh);
        }
        let file = self.file()?;
        file.time(index).inspect_err(|error| self.found_damage(&file, error))
    }

    fn file(&self) -> Result<Arc<Database>, IndexError> {
        read(&self.file).clone().ok_or(IndexError::Remaking)
    }

    fn found_damage(&self, file: &Arc<Database>, error: &IndexError) {
        if matches!(error, IndexError::Damaged { .. }) {
            tracing::warn!(%error, "the log's index is damaged: it is made again from the records");
            self.give_up(file);
        }
    }

    /// From here on the file is not used, unless another one took its place.
    fn give_up(&self, file: &Arc<Database>) {
        let mut current = write(&self.file);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, file)) {
            *current = None;
        }
    }
}

/// A file that is being made again while the log goes on.
#[derive(Debug)]
pub struct Remaking<'a> {
    index: &'a Index,
    file: Database,
    chunk: Chunk,
}

impl Remaking<'_> {
    /// Leaves that the new file needs: the others are held in memory.
    #[must_use]
    pub fn needs(&self) -> u64 {
        read(&self.index.fresh).first()
    }

    /// Takes in a batch, as far as it is [needed](Remaking::needs).
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn push(&mut self, batch: &Batch<'_>) -> Result<(), IndexError> {
        let end = batch.first.saturating_add(batch.leaf_hashes.len() as u64).min(self.needs());
        while self.chunk.end < end {
            let size = self.chunk.end;
            let room = self.index.options.chunk.max(1).min(self.needs().saturating_sub(self.chunk.first));
            self.chunk.push(batch, room).ok_or(IndexError::Gap { size, first: batch.first })?;
            if self.chunk.len() >= room {
                self.file.write(&self.chunk)?;
                self.file.merge()?;
                self.chunk = Chunk::at(self.chunk.end);
            }
        }
        Ok(())
    }

    /// Uses the new file.
    ///
    /// # Errors
    /// [`IndexError::Gap`] if it does not reach what is in memory.
    pub fn finish(self) -> Result<(), IndexError> {
        let first = self.needs();
        if self.file.size() != first {
            return Err(IndexError::Gap { size: self.file.size(), first });
        }
        *write(&self.index.file) = Some(Arc::new(self.file));
        Ok(())
    }
}

/// A poisoned lock means that a thread died in the middle; nothing here is left half done.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
