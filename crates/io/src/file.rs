//! Small files that are read whole, and replaced so that a crash leaves the old contents or the new.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _};
use std::path::Path;

use crate::disk::{Disk, Open, OsDisk};

/// Reads a file of at most `max` bytes; `None` if there is none. It may be a pipe, such as a shell's `<(command)`.
///
/// # Errors
/// What the system says; [`ErrorKind::FileTooLarge`] for a longer file.
pub fn read(path: &Path, max: usize) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // One byte more than is allowed tells a file that is too long from one that fits.
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("longer than {max} bytes")));
    }
    Ok(Some(bytes))
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
    use std::io::{ErrorKind, Write as _};
    use std::os::fd::AsRawFd as _;

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
    fn a_pipe_is_read_to_its_end() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"12345").expect("written");
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert_eq!(read(path.as_ref(), 5).expect("read"), Some(b"12345".to_vec()));
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
