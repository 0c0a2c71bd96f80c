//! Small files that are read whole, and replaced so that a crash leaves the old contents or the new.

use std::io::{Error, ErrorKind};
use std::path::Path;

use crate::disk::{Disk, Open, OsDisk};

/// Reads a file of at most `max` bytes; `None` if there is none.
///
/// # Errors
/// What the system says; [`ErrorKind::FileTooLarge`] for a longer file.
pub fn read(path: &Path, max: usize) -> Result<Option<Vec<u8>>, Error> {
    OsDisk.read(path, max)
}

/// Replaces a file, or makes it, durably: what [`exchange`] does, then the directory is synced. One writer at a time.
///
/// # Errors
/// What the system says; the old contents are still there then.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    exchange(&OsDisk, path, bytes)?;
    OsDisk.sync_directory(path.parent().ok_or(ErrorKind::InvalidInput)?)
}

/// Replaces a file, or makes it: the new contents are written beside it and synced, then renamed over it. After a power cut
/// the file has the new contents or still the old ones. One writer at a time.
///
/// # Errors
/// What the system says; the old contents are still there then.
pub fn exchange(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_os_string();
    name.push(".new");
    let temporary = directory.join(name);
    let file = disk.open(&temporary, Open::Replace)?;
    file.write_at(bytes, 0)?;
    file.sync_all()?;
    disk.rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::{read, replace};
    use std::io::ErrorKind;

    #[test]
    fn a_replaced_file_is_whole_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("a.json");
        assert_eq!(read(&path, 10).expect("no file"), None);
        for contents in [b"first" as &[u8], b"second", b""] {
            replace(&path, contents).expect("replaced");
            assert_eq!(read(&path, 6).expect("read").as_deref(), Some(contents));
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("directory").count(), 1);
    }

    #[test]
    fn a_longer_file_is_refused_and_not_read_whole() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("a");
        replace(&path, b"12345").expect("replaced");
        assert_eq!(read(&path, 4).expect_err("long").kind(), ErrorKind::FileTooLarge);
        assert_eq!(read(&path, 5).expect("fits"), Some(b"12345".to_vec()));
    }
}
