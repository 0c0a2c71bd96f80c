//! Objects in a directory.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::is_name;
use crate::disk::{Disk, Open};

/// Name of the file that is renamed to an object once it is whole. No object has it.
const TEMPORARY: &str = ".new";

/// A directory of objects, with one writer and any number of readers.
#[derive(Clone, Debug)]
pub struct FileObjects {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl FileObjects {
    /// Opens a directory, and makes it if need be.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, Error> {
        disk.create_directories(root)?;
        match disk.remove(&root.join(TEMPORARY)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self { disk, root: root.to_owned() })
    }

    /// Writes an object, or replaces it: a reader meets the old one, none, or the whole new one. It is durable only after
    /// [`FileObjects::sync`].
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::InvalidInput`] for something that [is no name](super::is_name).
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(name)?;
        let temporary = self.root.join(TEMPORARY);
        self.disk.open(&temporary, Open::Replace)?.write_at(bytes, 0)?;
        match self.disk.rename(&temporary, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.disk.create_directories(path.parent().unwrap_or(&self.root))?;
                self.disk.rename(&temporary, &path)
            }
            result => result,
        }
    }

    /// Reads an object of at most `max` bytes; `None` if there is none.
    ///
    /// # Errors
    /// As [`FileObjects::write`]; [`ErrorKind::FileTooLarge`] for a longer one.
    pub fn read(&self, name: &str, max: usize) -> Result<Option<Vec<u8>>, Error> {
        match self.disk.read(&self.path(name)?, max) {
            // A partial tile's directory, or a file where the name has a directory.
            Err(error) if matches!(error.kind(), ErrorKind::IsADirectory | ErrorKind::NotADirectory) => Ok(None),
            result => result,
        }
    }

    /// Removes an object, and its directory if that is empty then. It is no error if there is none.
    ///
    /// # Errors
    /// As [`FileObjects::write`].
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        match self.disk.remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Fails for one that is not empty; that is meant.
        path.parent().filter(|parent| *parent != self.root).map_or(Ok(()), |parent| {
            match self.disk.remove_directory(parent) {
                Err(error) if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// Makes everything durable that was written before: one call for the whole file system.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> Result<(), Error> {
        self.disk.sync_file_system(&self.root)
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        if is_name(name) { Ok(self.root.join(name)) } else { Err(ErrorKind::InvalidInput.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;
    use std::fs;

    fn open(root: &Path) -> FileObjects {
        FileObjects::open(Arc::new(OsDisk), root).expect("opened")
    }

    #[test]
    fn objects_are_written_replaced_read_and_removed() {
        let directory = tempfile::tempdir().expect("directory");
        let objects = open(&directory.path().join("public"));
        assert_eq!(objects.read("tile/0/000.p/1", 9).expect("nothing"), None);
        for bytes in [b"one", b"two"] {
            objects.write("tile/0/000.p/1", bytes).expect("written");
            assert_eq!(objects.read("tile/0/000.p/1", 3).expect("read").as_deref(), Some(bytes.as_slice()));
        }
        objects.write("tile/0/000", b"full").expect("written");
        assert_eq!(objects.read("tile/0/000.p", 9).expect("a directory"), None);
        assert_eq!(objects.read("tile/0/000/1", 9).expect("below a file"), None);
        assert_eq!(objects.read("tile/0/000", 3).expect_err("long").kind(), ErrorKind::FileTooLarge);
        objects.sync().expect("synced");
        objects.remove("tile/0/000.p/1").expect("removed");
        objects.remove("tile/0/000.p/1").expect("removed already");
        assert!(!directory.path().join("public/tile/0/000.p").exists());
        assert_eq!(objects.read("tile/0/000", 4).expect("read").as_deref(), Some(b"full".as_slice()));
    }

    #[test]
    fn a_name_outside_the_directory_touches_nothing() {
        let directory = tempfile::tempdir().expect("directory");
        fs::write(directory.path().join("secret"), b"secret").expect("written");
        let objects = open(&directory.path().join("public"));
        for name in ["../secret", "/etc/hostname", "a/../../secret", "", ".new"] {
            assert_eq!(objects.read(name, 99).expect_err(name).kind(), ErrorKind::InvalidInput);
            assert_eq!(objects.write(name, b"x").expect_err(name).kind(), ErrorKind::InvalidInput);
            assert_eq!(objects.remove(name).expect_err(name).kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(fs::read(directory.path().join("secret")).expect("read"), b"secret");
    }
}
