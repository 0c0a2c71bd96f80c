//! An adversary's disk, in memory: it loses whatever it may lose.
//!
//! Everything is volatile until the fitting sync. A [power cut](MemoryDisk::power_cut) keeps what was durable and a seeded
//! choice of the rest, files sector by sector. A single machine at a time uses it; what was opened before a crash fails after it.
//!
//! One thing is taken for granted, as every journalling file system gives it: a rename happens wholly or not at all.

mod state;

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Held, Open};
use state::{Change, NameChange, Node, State, gone};

/// What a disk was asked to do, of the things that change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A file was made, or cut off to be written anew.
    Create,
    /// A directory was made.
    CreateDirectory,
    /// Bytes were written.
    Write,
    /// The length was set.
    SetLen,
    /// A name was changed.
    Rename,
    /// A file was removed.
    Remove,
    /// A directory was removed.
    RemoveDirectory,
    /// `fdatasync`.
    SyncData,
    /// `fsync` of a file.
    SyncAll,
    /// `fsync` of a directory.
    SyncDirectory,
    /// `syncfs`.
    SyncFileSystem,
}

impl Operation {
    /// Whether it makes something durable.
    #[must_use]
    pub const fn is_sync(self) -> bool {
        matches!(self, Self::SyncData | Self::SyncAll | Self::SyncDirectory | Self::SyncFileSystem)
    }
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`. The sync of a file has lost what it was to make durable, although it can still be read; after the sync of a
    /// directory everything fails, as when a journal is given up.
    Io,
    /// `EIO`, and it happened all the same.
    IoAfterwards,
    /// `ENOSPC`, with what [`Fault::Io`] does to a sync.
    NoSpace,
    /// `ENOSPC` after the first half of the bytes was written.
    ShortWrite,
}

/// The disk. A clone is the same one; [`MemoryDisk::copy`] makes another.
#[derive(Clone)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryDisk")
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty disk without bounds.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State::new())))
    }

    /// A second disk that is as this one is now, what is not durable included. No lock is held on it, nothing is to fail, and
    /// every sync counts.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut state = self.state().clone();
        state.restart();
        state.ignore = None;
        Self(Arc::new(Mutex::new(state)))
    }

    /// Bounds the bytes that files may have; `None` lifts the bound.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// How many operations have changed the disk.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The syncs that were made so far, each once.
    #[must_use]
    pub fn syncs(&self) -> BTreeSet<(Operation, PathBuf)> {
        self.state().syncs.clone()
    }

    /// The machine is gone with the `n`-th operation that changes the disk, counted from now from 1: a write has happened, a
    /// sync has not, and everything from there on fails.
    pub fn stop_at(&self, n: u64) {
        let mut state = self.state();
        state.stop = Some(state.operations.saturating_add(n));
    }

    /// The `n`-th operation that changes the disk, counted from now from 1, fails; those after it do not.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations.saturating_add(n), fault));
    }

    /// The operation that was to stop or to fail, once it has.
    #[must_use]
    pub fn failure(&self) -> Option<(Operation, PathBuf)> {
        self.state().failure.clone()
    }

    /// Makes some syncs do nothing and say that they did. How many there were is counted in [`MemoryDisk::ignored`].
    pub fn ignore(&self, which: impl Fn(Operation, &Path) -> bool + Send + Sync + 'static) {
        self.state().ignore = Some(Arc::new(which));
    }

    /// How many syncs did nothing.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.state().ignored
    }

    /// The process is gone, the machine goes on: what was written is all there, and no more durable than it was. What was to
    /// stop or to fail is forgotten.
    pub fn kill(&self) {
        self.state().restart();
    }

    /// The power is gone: of what was not durable, a choice that follows from `seed` is left. What was to stop or to fail is
    /// forgotten.
    pub fn power_cut(&self, seed: u64) {
        self.state().power_cut(seed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, Error> {
        let mut state = self.state();
        state.alive()?;
        let found = state.resolve(path)?;
        let file = match (found, how) {
            (Some(Node::Directory), Open::Read | Open::Write | Open::Replace) => {
                return Err(ErrorKind::IsADirectory.into());
            }
            (Some(_), Open::New) => return Err(ErrorKind::AlreadyExists.into()),
            (None, Open::Read | Open::Write) => return Err(ErrorKind::NotFound.into()),
            (Some(Node::File(file)), Open::Read | Open::Write) => file,
            (Some(Node::File(file)), Open::Replace) => {
                state.operation(
                    Operation::Create,
                    path,
                    |state| state.change_file(file, Change::Length(0)),
                    |_, _| (),
                )?;
                file
            }
            (None, Open::New | Open::Replace) => {
                state.directory(path.parent().unwrap_or(path))?;
                let file = state.new_file();
                let link = NameChange::Link(path.to_owned(), Node::File(file));
                state.operation(Operation::Create, path, |state| state.change_name(link), |_, _| ())?;
                file
            }
        };
        let generation = state.generation;
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_owned(), file, generation, how }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.alive()?;
        let Some(Node::File(file)) = state.resolve(from)? else { return Err(ErrorKind::NotFound.into()) };
        let parent = to.parent().map(|parent| state.resolve(parent)).transpose()?.flatten();
        match (parent, state.resolve(to)?) {
            (Some(Node::Directory), Some(Node::File(_)) | None) => {}
            (Some(Node::Directory), Some(Node::Directory)) => return Err(ErrorKind::IsADirectory.into()),
            _ => return Err(ErrorKind::NotFound.into()),
        }
        let change = NameChange::Rename(from.to_owned(), to.to_owned(), file);
        state.operation(Operation::Rename, to, |state| state.change_name(change), |_, _| ())
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.alive()?;
        match state.resolve(path)? {
            Some(Node::File(_)) => {}
            Some(Node::Directory) => return Err(ErrorKind::IsADirectory.into()),
            None => return Err(ErrorKind::NotFound.into()),
        }
        let change = NameChange::Unlink(path.to_owned());
        state.operation(Operation::Remove, path, |state| state.change_name(change), |_, _| ())
    }

    fn remove_directory(&self, path: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.directory(path)?;
        if !state.children(path).is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let change = NameChange::UnlinkDirectory(path.to_owned());
        state.operation(Operation::RemoveDirectory, path, |state| state.change_name(change), |_, _| ())
    }

    fn create_directory(&self, path: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.alive()?;
        if state.resolve(path)?.is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.directory(path.parent().unwrap_or(path))?;
        let change = NameChange::Link(path.to_owned(), Node::Directory);
        state.operation(Operation::CreateDirectory, path, |state| state.change_name(change), |_, _| ())
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, Error> {
        let state = self.state();
        state.directory(directory)?;
        Ok(state.children(directory))
    }

    fn sync_directory(&self, directory: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.directory(directory)?;
        let sync = |state: &mut State| {
            state.sync_names(directory);
            Ok(())
        };
        state.operation(Operation::SyncDirectory, directory, sync, |state, _| state.lose_journal())
    }

    fn sync_file_system(&self, path: &Path) -> Result<(), Error> {
        let mut state = self.state();
        state.directory(path)?;
        let sync = |state: &mut State| {
            state.sync_everything();
            Ok(())
        };
        state.operation(Operation::SyncFileSystem, path, sync, |state, _| state.lose_everything())
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Held>>, Error> {
        match self.open(path, Open::New) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        let generation = state.generation;
        drop(state);
        Ok(Some(Box::new(MemoryLock { disk: self.clone(), path: path.to_owned(), generation })))
    }

    fn free_space(&self, _: &Path) -> Result<u64, Error> {
        let state = self.state();
        state.alive()?;
        Ok(state.free_space())
    }
}

/// An open file of one process.
#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    file: u64,
    generation: u64,
    how: Open,
}

impl MemoryFile {
    fn state(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.disk.state();
        state.alive()?;
        if state.generation == self.generation { Ok(state) } else { Err(gone()) }
    }

    fn path(&self, state: &State) -> PathBuf {
        state.name(self.file).unwrap_or_else(|| self.path.clone())
    }

    fn sync(&self, operation: Operation) -> Result<(), Error> {
        let sync = |state: &mut State| state.sync_file(self.file);
        let mut state = self.state()?;
        let path = self.path(&state);
        state.operation(operation, &path, sync, |state, _| state.lose_file(self.file))
    }

    fn change(&self, operation: Operation, change: Change, half: Option<Change>) -> Result<(), Error> {
        if self.how == Open::Read {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let apply = |state: &mut State| state.change_file(self.file, change);
        let lose = |state: &mut State, fault| {
            if let Some(half) = half.filter(|_| fault == Fault::ShortWrite) {
                drop(state.change_file(self.file, half));
            }
        };
        let mut state = self.state()?;
        let path = self.path(&state);
        state.operation(operation, &path, apply, lose)
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        let state = self.state()?;
        let contents = &state.file(self.file)?.cached;
        let rest = usize::try_from(offset).ok().and_then(|offset| contents.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let change = Change::Write(offset, bytes.to_vec());
        self.change(Operation::Write, change, Some(Change::Write(offset, half.to_vec())))
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        self.change(Operation::SetLen, Change::Length(length), None)
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.sync(Operation::SyncData)
    }

    fn sync_all(&self) -> Result<(), Error> {
        self.sync(Operation::SyncAll)
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(self.state()?.file(self.file)?.cached.len() as u64)
    }
}

/// A lock of one process.
#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
    generation: u64,
}

impl Held for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // Another process may hold it by now.
        if state.generation == self.generation {
            state.locks.remove(&self.path);
        }
    }
}
