//! Small files that are read whole, and replaced so that a crash leaves the old contents or the new.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Write};
use std::path::Path;

/// Reads a file of at most `max` bytes; `None` if there is none.
///
/// # Errors
/// What the system says; [`ErrorKind::FileTooLarge`] for a longer file.
pub fn read(path: &Path, max: usize) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long from one that fits.
    file.take(u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("longer than {max} bytes")));
    }
    Ok(Some(bytes))
}

/// Replaces a file, or makes it, durably: the new contents are written beside it and synced, then renamed over it,
/// then the directory is synced. One writer at a time.
///
/// # Errors
/// What the system says; the old contents are still there then.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let directory = path.parent().ok_or_else(|| Error::from(ErrorKind::InvalidInput))?;
    let mut name = path.file_name().ok_or_else(|| Error::from(ErrorKind::InvalidInput))?.to_os_string();
    name.push(".new");
    let temporary = directory.join(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
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
