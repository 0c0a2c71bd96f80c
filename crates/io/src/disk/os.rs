//! The disk of the operating system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Error;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Disk, DiskFile, Held, Open};

/// The file system that the process sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn DiskFile>, Error> {
        let mut options = OpenOptions::new();
        match how {
            Open::Read => options.read(true),
            Open::Write => options.write(true),
            Open::New => options.write(true).create_new(true),
            Open::Replace => options.write(true).create(true).truncate(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> Result<(), Error> {
        fs::remove_dir(path)
    }

    fn create_directory(&self, path: &Path) -> Result<(), Error> {
        fs::create_dir(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, Error> {
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    fn sync_directory(&self, directory: &Path) -> Result<(), Error> {
        File::open(directory)?.sync_all()
    }

    fn sync_file_system(&self, path: &Path) -> Result<(), Error> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }

    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Held>>, Error> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_space(&self, path: &Path) -> Result<u64, Error> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        Self::set_len(self, length)
    }

    fn sync_data(&self) -> Result<(), Error> {
        Self::sync_data(self)
    }

    fn sync_all(&self) -> Result<(), Error> {
        Self::sync_all(self)
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(self.metadata()?.len())
    }
}

/// The system lets go of the lock when the file is closed.
impl Held for File {}
