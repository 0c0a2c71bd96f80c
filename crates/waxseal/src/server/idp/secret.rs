//! The owner secret: whoever can read it in the data directory may have tokens of the demo provider.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use waxseal_formats::crypto::{Secret, sha256};
use waxseal_io::system;

/// Its name in the data directory.
pub const FILE: &str = "owner-secret";
/// Longest secret, in bytes.
const MAX_LEN: u64 = 1024;
/// Shortest secret, in bytes: one that was cut off by a full disk must not open anything.
const MIN_LEN: usize = 32;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others can read the file.
    #[error("{path} can be read by others (mode {mode:o}): whoever could may have a token for any identity")]
    Exposed {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// The file is too short, too long or not text.
    #[error("{path} holds no secret")]
    Malformed {
        /// The file.
        path: String,
    },
}

/// Reads the secret of a data directory.
///
/// # Errors
/// [`SecretError`].
pub fn load(data_dir: &Path) -> Result<Secret<String>, SecretError> {
    let path = data_dir.join(FILE);
    let shown = || path.display().to_string();
    let failed = |source| SecretError::File { path: shown(), source };
    let file = File::open(&path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: shown(), mode });
    }
    let mut text = String::new();
    file.take(MAX_LEN).read_to_string(&mut text).map_err(|_| SecretError::Malformed { path: shown() })?;
    let text = Secret::new(text);
    let trimmed = text.expose().trim_end();
    if trimmed.len() < MIN_LEN || !trimmed.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SecretError::Malformed { path: shown() });
    }
    Ok(Secret::new(trimmed.to_owned()))
}

/// Reads the secret of a data directory, or makes one with 256 random bits. It appears under its name only when it is whole.
///
/// # Errors
/// [`SecretError`].
pub fn load_or_create(data_dir: &Path) -> Result<Secret<String>, SecretError> {
    let path = data_dir.join(FILE);
    match create(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        created => created.map_err(|source| SecretError::File { path: path.display().to_string(), source })?,
    }
    load(data_dir)
}

fn create(path: &Path) -> std::io::Result<()> {
    if path.try_exists()? {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let secret = Secret::new(hex::encode(system::random::<32>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{}", secret.expose())?;
    file.sync_all()?;
    std::fs::hard_link(&temporary, path)?;
    std::fs::remove_file(&temporary)
}

/// Is `given` the secret? Takes the same time whatever differs: digests are compared, all of their bytes.
#[must_use]
pub fn is(secret: &Secret<String>, given: &str) -> bool {
    let (ours, theirs) = (sha256(secret.expose().as_bytes()), sha256(given.as_bytes()));
    ours.iter().zip(theirs).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::{FILE, SecretError, is, load, load_or_create};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_secret_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(load(folder.path()), Err(SecretError::File { .. })));
        let first = load_or_create(folder.path()).expect("a secret");
        let again = load_or_create(folder.path()).expect("a secret");
        assert_eq!(first.expose(), again.expose());
        assert_eq!(first.expose().len(), 64);
        let mode = std::fs::metadata(folder.path().join(FILE)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(is(&first, again.expose()));
        for wrong in ["", "x", &first.expose()[1..], &format!("{}x", first.expose()), "0"] {
            assert!(!is(&first, wrong), "{wrong}");
        }
    }

    #[test]
    fn a_secret_that_others_can_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let write = |content: &str, mode| {
            std::fs::write(&path, content).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        };
        let secret = "0123456789abcdef0123456789abcdef";
        write(secret, 0o640);
        assert!(matches!(load_or_create(folder.path()), Err(SecretError::Exposed { mode: 0o640, .. })));
        for content in ["", "short", &format!("{secret} {secret}"), &"x".repeat(5000).replace("xxxx", "xx\nx")] {
            write(content, 0o600);
            assert!(matches!(load_or_create(folder.path()), Err(SecretError::Malformed { .. })), "{content}");
        }
        write(&format!("{secret}\n"), 0o600);
        assert_eq!(load(folder.path()).expect("a secret").expose(), secret);
    }
}
