//! What is on the disk in memory, what is only in its caches, and what a power cut makes of the two.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Fault, Operation};

/// What a disk writes wholly or not at all, in bytes.
const SECTOR: usize = 512;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Directory,
}

/// A change of names that may not be durable yet.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Link(PathBuf, Node),
    Unlink(PathBuf),
    UnlinkDirectory(PathBuf),
    /// A file gets the second name instead of the first.
    Rename(PathBuf, PathBuf, u64),
}

impl NameChange {
    /// Whether the names of this directory are concerned.
    fn is_in(&self, directory: &Path) -> bool {
        match self {
            Self::Link(path, _) | Self::Unlink(path) | Self::UnlinkDirectory(path) => path.parent() == Some(directory),
            Self::Rename(from, to, _) => from.parent() == Some(directory) || to.parent() == Some(directory),
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Link(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::UnlinkDirectory(path) => {
                // What was to be removed before it may have come back.
                if children(names, path).is_empty() {
                    names.remove(path);
                }
            }
            Self::Rename(from, to, file) => {
                if names.get(from) == Some(&Node::File(*file)) {
                    names.remove(from);
                }
                names.insert(to.clone(), Node::File(*file));
            }
        }
    }
}

/// A change of a file that may not be durable yet.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Change {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => write(contents, *offset as usize, bytes),
            Self::Length(length) => contents.resize(*length as usize, 0),
        }
    }

    /// Applies what a power cut leaves of it.
    fn apply_torn(&self, contents: &mut Vec<u8>, random: &mut Random) {
        let Self::Write(offset, bytes) = self else {
            if random.coin() {
                self.apply(contents);
            }
            return;
        };
        let (start, end) = (*offset as usize, (*offset as usize).saturating_add(bytes.len()));
        // The length may be there before what it is the length of.
        if end > contents.len() && random.coin() {
            contents.resize(end, 0);
        }
        let in_order = random.coin();
        let mut at = start;
        while at < end {
            let next = (at / SECTOR).saturating_add(1).saturating_mul(SECTOR).min(end);
            if random.coin() {
                let sector = bytes.get(at.saturating_sub(start)..next.saturating_sub(start)).unwrap_or_default();
                write(contents, at, sector);
            } else if in_order {
                break;
            }
            at = next;
        }
    }
}

fn write(contents: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset.saturating_add(bytes.len());
    if contents.len() < end {
        contents.resize(end, 0);
    }
    if let Some(place) = contents.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl File {
    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }
}

type Names = BTreeMap<PathBuf, Node>;

fn children(names: &Names, directory: &Path) -> Vec<PathBuf> {
    names.keys().filter(|path| path.parent() == Some(directory)).cloned().collect()
}

/// splitmix64: the same choices for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

/// Which syncs do nothing.
pub(super) type Ignored = Arc<dyn Fn(Operation, &Path) -> bool + Send + Sync>;

/// The whole disk.
#[derive(Clone)]
pub(super) struct State {
    files: BTreeMap<u64, File>,
    names: Names,
    durable: Names,
    pending: Vec<NameChange>,
    next_file: u64,
    /// Counts processes: what one opened is closed for the next.
    pub(super) generation: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) capacity: Option<u64>,
    pub(super) operations: u64,
    pub(super) last: Option<(Operation, PathBuf)>,
    pub(super) syncs: BTreeSet<(Operation, PathBuf)>,
    pub(super) stop: Option<u64>,
    pub(super) fault: Option<(u64, Fault)>,
    pub(super) failure: Option<(Operation, PathBuf)>,
    stopped: bool,
    pub(super) ignore: Option<Ignored>,
    pub(super) ignored: u64,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            names: Names::new(),
            durable: Names::new(),
            pending: Vec::new(),
            next_file: 0,
            generation: 0,
            locks: BTreeSet::new(),
            capacity: None,
            operations: 0,
            last: None,
            syncs: BTreeSet::new(),
            stop: None,
            fault: None,
            failure: None,
            stopped: false,
            ignore: None,
            ignored: 0,
        }
    }

    /// Fails once the machine is gone.
    pub(super) fn alive(&self) -> Result<(), Error> {
        if self.stopped { Err(gone()) } else { Ok(()) }
    }

    /// Carries out an operation that changes the disk, unless it is the one to stop at or to fail. `lose` is what a failure
    /// does to the disk.
    pub(super) fn operation(
        &mut self,
        operation: Operation,
        path: &Path,
        apply: impl FnOnce(&mut Self) -> Result<(), Error>,
        lose: impl FnOnce(&mut Self, Fault),
    ) -> Result<(), Error> {
        self.alive()?;
        self.operations = self.operations.saturating_add(1);
        self.last = Some((operation, path.to_owned()));
        if operation.is_sync() {
            self.syncs.insert((operation, path.to_owned()));
        }
        if self.stop == Some(self.operations) {
            self.stopped = true;
            self.failure.clone_from(&self.last);
            if !operation.is_sync() {
                apply(self)?;
            }
            return Err(gone());
        }
        if let Some((_, fault)) = self.fault.take_if(|(at, _)| *at == self.operations) {
            self.failure.clone_from(&self.last);
            return match fault {
                Fault::Io => {
                    lose(self, fault);
                    Err(Error::from_raw_os_error(EIO))
                }
                Fault::IoAfterwards => apply(self).and(Err(Error::from_raw_os_error(EIO))),
                Fault::NoSpace | Fault::ShortWrite => {
                    lose(self, fault);
                    Err(ErrorKind::StorageFull.into())
                }
            };
        }
        if operation.is_sync() && self.ignore.as_ref().is_some_and(|ignored| ignored(operation, path)) {
            self.ignored = self.ignored.saturating_add(1);
            return Ok(());
        }
        apply(self)
    }

    /// What a name stands for.
    pub(super) fn resolve(&self, path: &Path) -> Result<Option<Node>, Error> {
        // The root, or where relative paths begin.
        if path.parent().is_none() {
            return Ok(Some(Node::Directory));
        }
        match path.parent().map(|parent| self.resolve(parent)).transpose()?.flatten() {
            Some(Node::Directory) => Ok(self.names.get(path).copied()),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Ok(None),
        }
    }

    /// Fails if there is no such directory.
    pub(super) fn directory(&self, path: &Path) -> Result<(), Error> {
        self.alive()?;
        match self.resolve(path)? {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn children(&self, directory: &Path) -> Vec<PathBuf> {
        children(&self.names, directory)
    }

    /// The name that a file has now, whatever it was opened as.
    pub(super) fn name(&self, file: u64) -> Option<PathBuf> {
        let named = self.names.iter().find(|(_, node)| **node == Node::File(file));
        named.map(|(path, _)| path.clone())
    }

    pub(super) fn new_file(&mut self) -> u64 {
        let file = self.next_file;
        self.next_file = file.saturating_add(1);
        self.files.insert(file, File::default());
        file
    }

    pub(super) fn change_name(&mut self, change: NameChange) -> Result<(), Error> {
        change.apply(&mut self.names);
        self.pending.push(change);
        Ok(())
    }

    pub(super) fn file(&self, file: u64) -> Result<&File, Error> {
        self.files.get(&file).ok_or_else(gone)
    }

    /// Changes a file as far as there is space for it.
    pub(super) fn change_file(&mut self, file: u64, change: Change) -> Result<(), Error> {
        let free = self.free_space();
        let found = self.files.get_mut(&file).ok_or_else(gone)?;
        let end = match &change {
            Change::Write(offset, bytes) => offset.saturating_add(bytes.len() as u64),
            Change::Length(length) => *length,
        };
        let room = (found.cached.len() as u64).saturating_add(free);
        let (change, result) = match change {
            Change::Write(offset, mut bytes) if end > room => {
                bytes.truncate(usize::try_from(room.saturating_sub(offset)).unwrap_or(usize::MAX));
                (Change::Write(offset, bytes), Err(ErrorKind::StorageFull.into()))
            }
            change => (change, Ok(())),
        };
        change.apply(&mut found.cached);
        found.pending.push(change);
        result
    }

    pub(super) fn free_space(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let files = self.names.values().filter_map(|node| match node {
            Node::File(file) => self.files.get(file),
            Node::Directory => None,
        });
        files.fold(capacity, |free, file| free.saturating_sub(file.cached.len().next_multiple_of(SECTOR) as u64))
    }

    pub(super) fn sync_file(&mut self, file: u64) -> Result<(), Error> {
        self.files.get_mut(&file).ok_or_else(gone)?.sync();
        Ok(())
    }

    /// The contents that were to be synced can still be read, and will never be written.
    pub(super) fn lose_file(&mut self, file: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.pending.clear();
        }
    }

    pub(super) fn sync_names(&mut self, directory: &Path) {
        let (here, elsewhere) = self.pending.drain(..).partition::<Vec<_>, _>(|change| change.is_in(directory));
        here.iter().for_each(|change| change.apply(&mut self.durable));
        self.pending = elsewhere;
    }

    /// A journal that cannot be written ends the file system: nothing more is accepted from there on.
    pub(super) fn lose_journal(&mut self) {
        self.stopped = true;
    }

    pub(super) fn sync_everything(&mut self) {
        self.pending.drain(..).for_each(|change| change.apply(&mut self.durable));
        self.files.values_mut().for_each(File::sync);
        self.forget_unnamed();
    }

    pub(super) fn lose_everything(&mut self) {
        self.files.values_mut().for_each(|file| file.pending.clear());
    }

    /// A new process uses the disk.
    pub(super) fn restart(&mut self) {
        self.generation = self.generation.saturating_add(1);
        self.locks.clear();
        (self.stop, self.fault, self.failure, self.stopped) = (None, None, None, false);
    }

    pub(super) fn power_cut(&mut self, seed: u64) {
        let mut random = Random(seed);
        match seed % 4 {
            // Nothing that was not durable is there.
            0 => {}
            // All of it is.
            1 => self.sync_everything(),
            // As a journal has it: the names up to some moment.
            2 => {
                let kept = random.next() % (self.pending.len() as u64).saturating_add(1);
                self.pending.iter().take(kept as usize).for_each(|change| change.apply(&mut self.durable));
            }
            _ => {
                for change in &self.pending {
                    if random.coin() {
                        change.apply(&mut self.durable);
                    }
                }
            }
        }
        if !seed.is_multiple_of(4) {
            for file in self.files.values_mut() {
                for change in &file.pending {
                    change.apply_torn(&mut file.durable, &mut random);
                }
            }
        }
        self.pending.clear();
        // A name in a directory that is not there is not there.
        let durable = std::mem::take(&mut self.durable);
        self.names.clear();
        for (path, node) in durable {
            if self.resolve(path.parent().unwrap_or(Path::new(""))).is_ok_and(|found| found == Some(Node::Directory)) {
                self.names.insert(path, node);
            }
        }
        self.durable.clone_from(&self.names);
        for file in self.files.values_mut() {
            file.pending.clear();
            file.cached.clone_from(&file.durable);
        }
        self.forget_unnamed();
        self.restart();
    }

    fn forget_unnamed(&mut self) {
        let named = |file: &u64| self.names.values().any(|node| *node == Node::File(*file));
        let unnamed: Vec<u64> = self.files.keys().filter(|file| !named(file)).copied().collect();
        for file in unnamed {
            self.files.remove(&file);
        }
    }
}

const EIO: i32 = 5;

/// What everything says once the machine is gone, and what a file says that an earlier process opened.
pub(super) fn gone() -> Error {
    Error::other("the machine is gone")
}
