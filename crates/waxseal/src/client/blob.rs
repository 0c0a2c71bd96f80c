//! The bundle file beside a signed blob.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A bundle file that appears, with mode 0600, when its contents are complete.
///
/// It is opened before anything is signed: a signature that nobody can store must not be logged.
#[derive(Debug)]
pub struct BundleFile {
    path: PathBuf,
    file: File,
    /// `None` for what cannot be replaced, such as a terminal or a pipe: it is written to.
    temporary: Option<PathBuf>,
}

impl BundleFile {
    /// Makes sure that `path` can be written. An existing file is kept until [`BundleFile::write`].
    ///
    /// # Errors
    /// What the system says; also if `path` is a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(Self { path: path.to_owned(), file, temporary: None });
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_os_string();
        name.push(format!(".{}.new", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { path: path.to_owned(), file, temporary: Some(temporary) })
    }

    /// Writes the bundle and puts it in its place.
    ///
    /// # Errors
    /// What the system says; an existing file is untouched then.
    pub fn write(mut self, bundle: &str) -> io::Result<()> {
        self.file.write_all(bundle.as_bytes())?;
        self.file.write_all(b"\n")?;
        if let Some(temporary) = &self.temporary {
            self.file.sync_all()?;
            fs::rename(temporary, &self.path)?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for BundleFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BundleFile;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_appears_whole_private_and_alone() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("a.json");
        for contents in ["{}", "{\"a\":1}"] {
            let file = BundleFile::open(&path).expect("writable");
            file.write(contents).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("{contents}\n"));
        }
        assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).expect("directory").count(), 1);
    }

    #[test]
    fn a_signature_that_fails_leaves_nothing_and_keeps_the_old_file() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("a.json");
        drop(BundleFile::open(&path).expect("writable"));
        assert_eq!(std::fs::read_dir(directory.path()).expect("directory").count(), 0);
        std::fs::write(&path, "old").expect("written");
        drop(BundleFile::open(&path).expect("writable"));
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "old");
    }

    #[test]
    fn what_cannot_be_written_is_known_before_signing() {
        let directory = tempfile::tempdir().expect("directory");
        let error = BundleFile::open(directory.path()).expect_err("a directory");
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        let error = BundleFile::open(&directory.path().join("none/a.json")).expect_err("no such directory");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
