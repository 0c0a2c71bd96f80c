//! The write-ahead file: segments of preallocated zeros that are overwritten record by record, each with one `fdatasync`.
//!
//! Writing into blocks that exist already needs no journal of the file system, so a commit costs one flush of the disk and
//! cannot fail for lack of space. What the records mean is not known here.
//!
//! ```text
//! DIRECTORY/lock                     held as long as a process uses the log
//! DIRECTORY/wal/0000000000000000     segment, named by the number of its first record in hexadecimal
//! DIRECTORY/wal/prepared-…           zeros for the next segment
//! ```

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use waxseal_formats::code::Code;

use crate::disk::{Disk, DiskFile, Held, Open, is_full};

/// Largest segment file, in bytes.
pub const MAX_SEGMENT: u64 = 256 << 20;

/// How much zeros are written at once.
const ZEROS: usize = 1 << 20;
const PREPARED: &str = "prepared-";

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another part of this one, uses the directory.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// There is no log in the directory.
    #[error("{} holds no log", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// There is a log in the directory already: it is not written over.
    #[error("{} holds a log already", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A file is not one of the store's.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no space for the next segment. Nothing was written; trying again is allowed.
    #[error("{}: no space left", path.display())]
    Full {
        /// The file that could not be made.
        path: PathBuf,
    },
    /// The system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: Error,
    },
    /// Writing a record, or a sync, failed. What is on the disk is unknown, and a second `fsync` would say nothing about it:
    /// the process has to end, and what is there is found out by recovery.
    #[error("{}: it could not be made durable: {source}", path.display())]
    NotDurable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: Error,
    },
}

impl StoreError {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Locked { .. } => Code::LOG_STORE_LOCKED,
            Self::Damaged { .. } => Code::LOG_STORE_CORRUPT,
            Self::Full { .. } => Code::LOG_BUSY,
            Self::Missing { .. } | Self::Exists { .. } | Self::Io { .. } | Self::NotDurable { .. } => {
                Code::LOG_STORE_FAILED
            }
        }
    }

    fn io(path: &Path) -> impl FnOnce(Error) -> Self + '_ {
        move |source| {
            let path = path.to_owned();
            if is_full(&source) { Self::Full { path } } else { Self::Io { path, source } }
        }
    }
}

/// Holds a directory for one user at a time, until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _held: Box<dyn Held>,
}

impl DirectoryLock {
    /// Locks an existing directory.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if someone else holds it.
    pub fn acquire(disk: &dyn Disk, directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("lock");
        let held = disk.lock(&path).map_err(StoreError::io(&path))?;
        Ok(Self { _held: held.ok_or_else(|| StoreError::Locked { path: directory.to_owned() })? })
    }
}

/// A segment that is read.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl Segment {
    /// Opens the segment whose first record has this number.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(disk: &dyn Disk, directory: &Path, sequence: u64) -> Result<Self, StoreError> {
        let path = segment_path(directory, sequence);
        let file = disk.open(&path, Open::Read).map_err(StoreError::io(&path))?;
        Ok(Self { path, file })
    }

    /// Fills `buffer` from `offset` on; behind the end of the file there are zeros.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            match self.file.read_at(rest, at) {
                Ok(0) => {
                    rest.fill(0);
                    break;
                }
                Ok(read) => {
                    at = at.saturating_add(read as u64);
                    rest = rest.get_mut(read..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(StoreError::Io { path: self.path.clone(), source }),
            }
        }
        Ok(())
    }

    /// The file, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Zeros on the disk that will be a segment.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    length: u64,
}

impl Prepared {
    /// Writes and syncs a file of `length` zeros beside the segments. Takes its time: not for the thread that commits.
    ///
    /// The sync is there for the time that it takes, and for the error: a file system that finds the place for what was written
    /// only when it is synced has to say here that there is none. For durability alone the sync of the header would do.
    ///
    /// # Errors
    /// [`StoreError::Full`] leaves nothing behind.
    pub fn new(disk: &dyn Disk, directory: &Path, length: u64) -> Result<Self, StoreError> {
        let wal = directory.join("wal");
        let mut number = 0u32;
        let (path, file) = loop {
            let path = wal.join(format!("{PREPARED}{number}"));
            match disk.open(&path, Open::New) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number = number.saturating_add(1),
                Err(source) => return Err(StoreError::io(&path)(source)),
            }
        };
        let prepared = Self { path, file, length };
        let filled = write_zeros(&*prepared.file, 0, length.min(MAX_SEGMENT)).and_then(|()| prepared.file.sync_all());
        match filled {
            Ok(()) => Ok(prepared),
            Err(source) => Err(prepared.give_up(disk, source)),
        }
    }

    /// Removes the file, which will be no segment.
    pub fn discard(self, disk: &dyn Disk) {
        // What stays is removed when the log is opened the next time.
        drop(disk.remove(&self.path));
    }

    /// Removes the file: what is half there would only take the space that is missing.
    fn give_up(self, disk: &dyn Disk, source: Error) -> StoreError {
        drop(disk.remove(&self.path));
        StoreError::io(&self.path)(source)
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }
}

/// What stands behind the last record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The zeros that it was made of.
    Zeros,
    /// A record that was never finished.
    Torn,
}

/// A segment as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Number of its first record.
    pub sequence: u64,
    /// Where its last record begins; [`Extent::end`] if it has none.
    pub last: u64,
    /// Where its last record ends.
    pub end: u64,
    /// Bytes that it ought to have.
    pub length: u64,
    /// What stands behind the last record.
    pub behind: Behind,
}

/// The segment that is written.
#[derive(Debug)]
pub struct WalFile {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    end: u64,
    length: u64,
}

impl WalFile {
    /// Makes the first segment of a new log in an existing directory; `header` is what it begins with.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is a log already.
    pub fn create(disk: Arc<dyn Disk>, directory: &Path, header: &[u8], length: u64) -> Result<Self, StoreError> {
        let wal = directory.join("wal");
        disk.create_directories(&wal).map_err(StoreError::io(&wal))?;
        if !segments(&*disk, directory)?.is_empty() {
            return Err(StoreError::Exists { path: directory.to_owned() });
        }
        sync_directory(&*disk, directory)?;
        let prepared = Prepared::new(&*disk, directory, length)?;
        Self::begin(disk, directory, prepared, 0, header)
    }

    /// Goes on in a segment behind its last record. What was found behind that is overwritten with zeros first.
    ///
    /// The process before this one may have been killed between writing the last record, or naming the segment, and making
    /// that durable; or its `fsync` failed, after which the record can be read and is not on the disk. Whoever is told of the
    /// record now has to find it after a power cut, so it is written once more and synced.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for impossible lengths, [`StoreError::Io`], and [`StoreError::NotDurable`].
    pub fn resume(disk: Arc<dyn Disk>, directory: &Path, found: Extent) -> Result<Self, StoreError> {
        let Extent { sequence, last, end, length, behind } = found;
        let path = segment_path(directory, sequence);
        let record = end.checked_sub(last).filter(|_| length <= MAX_SEGMENT && end <= length);
        let Some(record) = record.and_then(|record| usize::try_from(record).ok()) else {
            return Err(StoreError::Damaged { path, problem: "the segment has an impossible length" });
        };
        let mut record = vec![0; record];
        Segment::open(&*disk, directory, sequence)?.read(last, &mut record)?;
        let file = disk.open(&path, Open::Write).map_err(StoreError::io(&path))?;
        let found = file.len().map_err(StoreError::io(&path))?;
        if behind == Behind::Torn || found != length {
            let cleared = file.set_len(length).and_then(|()| write_zeros(&*file, end, length));
            cleared.map_err(StoreError::io(&path))?;
        }
        let written = file.write_at(&record, last).and_then(|()| file.sync_all());
        let synced = written.and_then(|()| disk.sync_directory(&directory.join("wal")));
        synced.map_err(|source| StoreError::NotDurable { path: path.clone(), source })?;
        for left_over in prepared_files(&*disk, directory)? {
            disk.remove(&left_over).map_err(StoreError::io(&left_over))?;
        }
        Ok(Self { disk, directory: directory.to_owned(), path, file, end, length })
    }

    /// Bytes that fit into the segment.
    #[must_use]
    pub const fn room(&self) -> u64 {
        self.length.saturating_sub(self.end)
    }

    /// Bytes of the segment.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Where the next record begins.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Writes a record behind the last one and makes it durable. When this returns, the record survives a power cut.
    ///
    /// # Errors
    /// [`StoreError::NotDurable`]: the process has to end. [`StoreError::Damaged`] if the record does not fit.
    pub fn append(&mut self, record: &[u8]) -> Result<(), StoreError> {
        if record.len() as u64 > self.room() {
            return Err(StoreError::Damaged { path: self.path.clone(), problem: "the record does not fit" });
        }
        let written = self.file.write_at(record, self.end).and_then(|()| self.file.sync_data());
        written.map_err(|source| StoreError::NotDurable { path: self.path.clone(), source })?;
        self.end = self.end.saturating_add(record.len() as u64);
        Ok(())
    }

    /// Starts the next segment, whose first record will have this number.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::Io`], after which the old segment stays the one that is written;
    /// [`StoreError::NotDurable`]: the process has to end.
    pub fn roll(&mut self, prepared: Prepared, sequence: u64, header: &[u8]) -> Result<(), StoreError> {
        *self = Self::begin(Arc::clone(&self.disk), &self.directory, prepared, sequence, header)?;
        Ok(())
    }

    /// Gives prepared zeros a header and then their name: a segment with a name has an intact header.
    fn begin(
        disk: Arc<dyn Disk>,
        directory: &Path,
        prepared: Prepared,
        sequence: u64,
        header: &[u8],
    ) -> Result<Self, StoreError> {
        let path = segment_path(directory, sequence);
        if header.len() as u64 > prepared.length {
            return Err(StoreError::Damaged { path, problem: "the header does not fit" });
        }
        let written = prepared.file.write_at(header, 0).and_then(|()| prepared.file.sync_data());
        if let Err(source) = written.and_then(|()| disk.rename(&prepared.path, &path)) {
            return Err(prepared.give_up(&*disk, source));
        }
        // The name is there and may not last, so going on in the old segment would make two of the same record.
        let named = disk.sync_directory(&directory.join("wal"));
        named.map_err(|source| StoreError::NotDurable { path: path.clone(), source })?;
        let Prepared { file, length, .. } = prepared;
        Ok(Self { disk, directory: directory.to_owned(), path, file, end: header.len() as u64, length })
    }
}

/// The segments of a log by the number of their first record, in order. Empty if there is no log.
///
/// # Errors
/// [`StoreError::Damaged`] for a file with another name than a segment has.
pub fn segments(disk: &dyn Disk, directory: &Path) -> Result<Vec<u64>, StoreError> {
    let mut numbers = Vec::new();
    for path in files(disk, directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(PREPARED) {
            continue;
        }
        let number = u64::from_str_radix(name, 16).ok().filter(|number| segment_name(*number) == name);
        numbers.push(number.ok_or(StoreError::Damaged { path, problem: "not a segment of the write-ahead log" })?);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn prepared_files(disk: &dyn Disk, directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = files(disk, directory)?;
    files.retain(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREPARED.as_bytes())));
    Ok(files)
}

fn files(disk: &dyn Disk, directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let wal = directory.join("wal");
    match disk.list(&wal) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        files => files.map_err(StoreError::io(&wal)),
    }
}

fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}")
}

fn segment_path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join("wal").join(segment_name(sequence))
}

fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> Result<(), Error> {
    let zeros = vec![0; ZEROS];
    let mut at = from;
    while at < to {
        let length = to.saturating_sub(at).min(ZEROS as u64);
        file.write_at(zeros.get(..length as usize).unwrap_or_default(), at)?;
        at = at.saturating_add(length);
    }
    Ok(())
}

/// Makes the names in a directory durable.
///
/// # Errors
/// [`StoreError::Io`].
pub fn sync_directory(disk: &dyn Disk, directory: &Path) -> Result<(), StoreError> {
    disk.sync_directory(directory).map_err(StoreError::io(directory))
}

/// Makes a directory and those above it that are missing, durably: what is made durable in a directory is lost with the
/// directory's own name. Names that are there are synced too: whoever made them may have been killed before that.
///
/// # Errors
/// [`StoreError::Io`] and [`StoreError::Full`].
pub fn create_directories(disk: &dyn Disk, directory: &Path) -> Result<(), StoreError> {
    disk.create_directories(directory).map_err(StoreError::io(directory))?;
    for parent in directory.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match disk.sync_directory(parent) {
            // Above what is ours; it was there before us.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
            result => result.map_err(StoreError::io(parent))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;
    use std::fs::{self, OpenOptions};

    const HEADER: [u8; 512] = [7; 512];
    const LENGTH: u64 = 1 << 16;

    fn read(directory: &Path, sequence: u64, offset: u64, length: usize) -> Vec<u8> {
        let mut buffer = vec![0xaa; length];
        Segment::open(&OsDisk, directory, sequence).expect("segment").read(offset, &mut buffer).expect("read");
        buffer
    }

    #[test]
    fn records_stand_one_behind_the_other_in_preallocated_zeros() {
        let directory = tempfile::tempdir().expect("directory");
        let mut wal = WalFile::create(Arc::new(OsDisk), directory.path(), &HEADER, LENGTH).expect("created");
        assert_eq!(fs::metadata(directory.path().join("wal/0000000000000000")).expect("file").len(), LENGTH);
        wal.append(&[1; 512]).expect("durable");
        wal.append(&[2; 1024]).expect("durable");
        assert_eq!((wal.end(), wal.room()), (2048, LENGTH - 2048));
        let all = read(directory.path(), 0, 0, LENGTH as usize + 100);
        assert_eq!((&all[..512], &all[512..1024], &all[1024..2048]), (&HEADER[..], &[1; 512][..], &[2; 1024][..]));
        assert!(all[2048..].iter().all(|byte| *byte == 0));
        assert_eq!(fs::metadata(directory.path().join("wal/0000000000000000")).expect("file").len(), LENGTH);
    }

    #[test]
    fn a_resumed_segment_is_cleared_behind_its_last_record() {
        let directory = tempfile::tempdir().expect("directory");
        let mut wal = WalFile::create(Arc::new(OsDisk), directory.path(), &HEADER, LENGTH).expect("created");
        wal.append(&[1; 512]).expect("durable");
        wal.append(&[2; 512]).expect("durable");
        drop(wal);
        drop(Prepared::new(&OsDisk, directory.path(), 4096).expect("prepared"));
        // The file was cut off as well: its zeros come back.
        let path = directory.path().join("wal/0000000000000000");
        OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(1300)).expect("cut");
        let resume = |last, end, behind| {
            let found = Extent { sequence: 0, last, end, length: LENGTH, behind };
            WalFile::resume(Arc::new(OsDisk), directory.path(), found).expect("resumed")
        };
        let mut wal = resume(512, 1024, Behind::Torn);
        assert_eq!(fs::metadata(&path).expect("file").len(), LENGTH);
        assert!(read(directory.path(), 0, 1024, LENGTH as usize - 1024).iter().all(|byte| *byte == 0));
        wal.append(&[3; 512]).expect("durable");
        drop(wal);
        let end = resume(1024, 1536, Behind::Zeros).end();
        assert_eq!(end, 1536);
        assert_eq!(read(directory.path(), 0, 512, 1024), [[1; 512], [3; 512]].concat());
        assert_eq!(segments(&OsDisk, directory.path()).expect("segments"), [0]);
        assert_eq!(fs::read_dir(directory.path().join("wal")).expect("directory").count(), 1);
    }

    #[test]
    fn segments_follow_each_other() {
        let directory = tempfile::tempdir().expect("directory");
        let mut wal = WalFile::create(Arc::new(OsDisk), directory.path(), &HEADER, 1024).expect("created");
        let refused = wal.append(&[1; 1024]).expect_err("too large");
        assert_eq!((refused.code(), wal.end()), (Code::LOG_STORE_CORRUPT, 512));
        let prepared = Prepared::new(&OsDisk, directory.path(), 2048).expect("prepared");
        assert_eq!(prepared.length(), 2048);
        wal.roll(prepared, 0x1f, &HEADER).expect("rolled");
        wal.append(&[1; 1024]).expect("durable");
        assert_eq!(segments(&OsDisk, directory.path()).expect("segments"), [0, 0x1f]);
        assert_eq!(read(directory.path(), 0x1f, 512, 1024), [1; 1024]);
    }

    #[test]
    fn a_log_is_never_made_a_second_time() {
        let directory = tempfile::tempdir().expect("directory");
        drop(WalFile::create(Arc::new(OsDisk), directory.path(), &HEADER, LENGTH).expect("created"));
        let error = WalFile::create(Arc::new(OsDisk), directory.path(), &[8; 512], LENGTH).expect_err("refused");
        assert!(matches!(error, StoreError::Exists { .. }));
        assert_eq!(error.code(), Code::LOG_STORE_FAILED);
        assert_eq!(read(directory.path(), 0, 0, 512), HEADER);
    }

    #[test]
    fn two_users_of_one_directory_are_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let lock = DirectoryLock::acquire(&OsDisk, directory.path()).expect("free");
        let error = DirectoryLock::acquire(&OsDisk, directory.path()).expect_err("held");
        assert_eq!(error.code(), Code::LOG_STORE_LOCKED);
        assert_eq!(error.to_string(), format!("{} is in use by another process", directory.path().display()));
        drop(lock);
        DirectoryLock::acquire(&OsDisk, directory.path()).expect("free again");
    }

    #[test]
    fn foreign_files_and_impossible_lengths_are_refused() {
        let directory = tempfile::tempdir().expect("directory");
        drop(WalFile::create(Arc::new(OsDisk), directory.path(), &HEADER, LENGTH).expect("created"));
        for (last, end, length) in [(0, 0, MAX_SEGMENT + 1), (0, LENGTH + 1, LENGTH), (513, 512, LENGTH)] {
            let found = Extent { sequence: 0, last, end, length, behind: Behind::Zeros };
            let error = WalFile::resume(Arc::new(OsDisk), directory.path(), found).expect_err("refused");
            assert_eq!(error.code(), Code::LOG_STORE_CORRUPT);
        }
        for name in ["1", "000000000000000g", "000000000000000A", "0000000000000001.bak"] {
            let path = directory.path().join("wal").join(name);
            fs::write(&path, b"").expect("written");
            assert_eq!(segments(&OsDisk, directory.path()).expect_err(name).code(), Code::LOG_STORE_CORRUPT);
            fs::remove_file(path).expect("removed");
        }
        let error = Segment::open(&OsDisk, directory.path(), 9).expect_err("no such segment");
        assert_eq!(error.code(), Code::LOG_STORE_FAILED);
    }
}
