//! A disk: what a log needs of a file system, and nothing else, so that one in memory can fail in every way a real one can.
//!
//! The rules are those of POSIX, taken at their word. What was written may be lost, wholly or by sectors, until the file is
//! synced; a name that was made, changed or removed may come back until its directory is synced. After a sync that failed
//! nothing is known about what it was to make durable, and a second one that succeeds says nothing about it.

#[cfg(test)]
mod contract;
#[cfg(any(test, feature = "simulation"))]
pub mod memory;
pub mod os;

use std::fmt::Debug;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

pub use os::OsDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// To be read; it has to be there.
    Read,
    /// To be written; it has to be there.
    Write,
    /// To be written, made new: [`ErrorKind::AlreadyExists`] if it is there.
    New,
    /// To be written from nothing; what was there is cut off.
    Replace,
}

/// A file system. Every error is the system's.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::AlreadyExists`], and what the system says.
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, Error>;

    /// Gives a file another name; a file that has it already is replaced in the same moment.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such file or no directory for the new name, and what the system says.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and what the system says.
    fn remove(&self, path: &Path) -> Result<(), Error>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`ErrorKind::DirectoryNotEmpty`], [`ErrorKind::NotFound`], and what the system says.
    fn remove_directory(&self, path: &Path) -> Result<(), Error>;

    /// Makes a directory in one that is there.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::NotFound`], and what the system says.
    fn create_directory(&self, path: &Path) -> Result<(), Error>;

    /// What is in a directory, as paths, in any order.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and what the system says.
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, Error>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says: nothing is known about the names then.
    fn sync_directory(&self, directory: &Path) -> Result<(), Error>;

    /// Makes everything durable in the file system that holds `path`.
    ///
    /// # Errors
    /// What the system says: nothing is known about what was written then.
    fn sync_file_system(&self, path: &Path) -> Result<(), Error>;

    /// Locks a file, which is made if need be, until the lock is dropped or the process ends. `None` if someone else holds it.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Held>>, Error>;

    /// Bytes that may still be written in the file system that holds `path`.
    ///
    /// # Errors
    /// What the system says.
    fn free_space(&self, path: &Path) -> Result<u64, Error>;

    /// Reads a file of at most `max` bytes; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::FileTooLarge`] for a longer one, and what the system says.
    fn read(&self, path: &Path, max: usize) -> Result<Option<Vec<u8>>, Error> {
        let file = match self.open(path, Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // One byte more than is allowed tells a file that is too long from one that fits; the length is only a hint, for a
        // file may grow meanwhile.
        let bound = max.saturating_add(1);
        let hint = usize::try_from(file.len()?).unwrap_or(usize::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        let mut filled = 0usize;
        loop {
            bytes.resize(hint.max(filled.saturating_add(4096)).min(bound), 0);
            let part = bytes.get_mut(filled..).unwrap_or_default();
            if part.is_empty() {
                return Err(Error::new(ErrorKind::FileTooLarge, format!("longer than {max} bytes")));
            }
            match file.read_at(part, filled as u64) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(Some(bytes))
    }

    /// Makes a directory and those above it that are missing. What is made is not durable yet.
    ///
    /// # Errors
    /// What the system says. It is no error if the directory is there.
    fn create_directories(&self, path: &Path) -> Result<(), Error> {
        match self.create_directory(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            result => return result,
        }
        let parent = path.parent().ok_or(ErrorKind::NotFound)?;
        self.create_directories(parent)?;
        match self.create_directory(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }
}

/// An open file. It stays the same file when its name is changed.
#[expect(clippy::len_without_is_empty, reason = "asked of the system, which may fail")]
pub trait DiskFile: Debug + Send + Sync {
    /// Reads into `buffer` from `offset` on, as much as the system likes; 0 at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says; any part of it may have been written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error>;

    /// Cuts the file off, or lengthens it with zeros.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, length: u64) -> Result<(), Error>;

    /// Makes the contents durable, and of the rest what is needed to read them (`fdatasync`).
    ///
    /// # Errors
    /// What the system says: nothing is known about the contents then, and never will be without reading them back after a
    /// restart of the machine.
    fn sync_data(&self) -> Result<(), Error>;

    /// Makes the contents and everything about the file but its name durable (`fsync`).
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> Result<(), Error>;

    /// Bytes of the file.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> Result<u64, Error>;
}

/// A lock that is held until it is dropped.
pub trait Held: Debug + Send + Sync {}

/// Whether an error says that the disk, or what one may use of it, is full.
#[must_use]
pub fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
