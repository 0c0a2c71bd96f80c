//! A check of everything that the logs of a data directory consist of, without changing any of it.
//!
//! ```text
//! logs/NAME/wal/…       every segment: header, records, signatures, padding, and what stands behind the end
//! logs/NAME/public/…    every file held against what follows from the records, byte for byte
//! logs/NAME/synced      how much of it has to be there
//! ```
//!
//! The records are read once, from the first to the last, and every file is looked at when the records that it follows from have
//! been read: memory does not depend on the log's size. Behind a damaged record the check goes on with the next segment, whose
//! header has the state of the log at its beginning.

mod public;
mod records;
mod signatures;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use waxseal_formats::checkpoint::is_rekor_v1_origin;
use waxseal_formats::client_config::Privacy;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::key::PublicKey;
use waxseal_io::signer::key_files;
use waxseal_io::store::StoreError;
use waxseal_log::profile::{Bodies, Face, Profile};
use waxseal_log::segment::SegmentHeader;

use crate::server::material;

/// Most faults of one log that are told; the others are counted.
pub const MAX_FAULTS: usize = 100;

/// Something that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `log.store-corrupt`, `log.store-behind`, or `log.store-failed` where the system cannot read.
    pub code: Code,
    /// The file.
    pub file: PathBuf,
    /// The byte in it, where one can be told.
    pub offset: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

/// What was found in one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Name of its directory.
    pub name: String,
    /// Origin of its checkpoints, if that could be told.
    pub origin: Option<String>,
    /// Entries in the records.
    pub entries: u64,
    /// Records.
    pub records: u64,
    /// Segments of the write-ahead file.
    pub segments: u64,
    /// Published hash tiles.
    pub tiles: u64,
    /// Published entry bundles or data tiles.
    pub bundles: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Whether a last record was cut off: nobody was answered for it, and the next start drops it.
    pub unfinished: bool,
    /// Published files that a power cut may take and the next start makes again, and that are not there.
    pub not_durable: u64,
    /// Faults, at most [`MAX_FAULTS`].
    pub faults: Vec<Fault>,
    /// Faults beyond those.
    pub more_faults: u64,
}

impl LogReport {
    fn fault(&mut self, file: &Path, offset: Option<u64>, problem: impl Into<String>) {
        self.fault_of(Code::LOG_STORE_CORRUPT, file, offset, problem);
    }

    fn fault_of(&mut self, code: Code, file: &Path, offset: Option<u64>, problem: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { code, file: file.to_owned(), offset, problem: problem.into() });
        } else {
            self.more_faults = self.more_faults.saturating_add(1);
        }
    }

    fn unreadable(&mut self, file: &Path, error: &std::io::Error) {
        self.fault_of(Code::LOG_STORE_FAILED, file, None, error.to_string());
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

/// How far the check of a log is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Name of the log's directory.
    pub log: &'a str,
    /// Entries that were checked.
    pub entries: u64,
    /// Segments that were begun, and those that there are.
    pub segments: (u64, u64),
}

/// Checks every log below `data_dir`/logs. `progress` is called now and then.
///
/// Nothing is written, not even a lock file. No private key is used: of `keys/*.pem` only the public part is, and a file there
/// may just as well be a public key.
///
/// # Errors
/// [`StoreError::Locked`] if an instance uses the directory, [`StoreError::Missing`] if it has no logs.
pub fn check(data_dir: &Path, progress: &dyn Fn(Progress<'_>)) -> Result<Vec<LogReport>, StoreError> {
    let logs = data_dir.join("logs");
    let entries = match fs::read_dir(&logs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(StoreError::Missing { path: data_dir.to_owned() });
        }
        Err(source) => return Err(StoreError::Io { path: logs, source }),
    };
    let _instance = hold(data_dir)?;
    let instance = Instance::read(data_dir);
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    if let Ok(paths) = &mut paths {
        paths.sort();
    }
    let mut reports = Vec::new();
    for path in paths.map_err(|source| StoreError::Io { path: logs, source })? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !path.is_dir() {
            let mut report = LogReport { name, ..LogReport::default() };
            report.fault(&path, None, "not a log's directory");
            reports.push(report);
            continue;
        }
        let _log = hold(&path)?;
        let mut report = records::check_log(&path, &name, &instance, progress);
        report.faults.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        reports.push(report);
    }
    Ok(reports)
}

/// Keeps an instance from using the directory as long as it is held. There is nothing to hold in a copy without its lock file.
fn hold(directory: &Path) -> Result<Option<File>, StoreError> {
    let path = directory.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Io { path, source }),
    };
    // Shared, since several checks do not disturb each other.
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
    }
}

/// What the logs of a data directory have to fit.
struct Instance {
    /// Its public keys, by the names of their files.
    keys: Vec<(String, PublicKey)>,
    /// What its logs keep, if it says so.
    bodies: Option<Bodies>,
    /// Whether it was made to the end. Until then nobody was answered, and a log may have no segment yet.
    whole: bool,
}

impl Instance {
    /// Reads what can be read: a log whose key is missing is reported when its turn comes.
    fn read(data_dir: &Path) -> Self {
        let mut keys = Vec::new();
        for entry in fs::read_dir(data_dir.join("keys")).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "pem") {
                continue;
            }
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            keys.extend(key_files::public_key(&path).map(|key| (name, key)));
        }
        let manifest = material::privacy_of(data_dir);
        let bodies = manifest.as_ref().ok().and_then(|privacy| *privacy).map(|privacy| match privacy {
            Privacy::Open => Bodies::Kept,
            Privacy::Sealed => Bodies::Sealed,
        });
        Self { keys, bodies, whole: !matches!(manifest, Ok(None)) }
    }

    /// The log that a segment header belongs to: the face and key for which its key ID comes out. The log in the directory
    /// `name` has the key of that name, if there is one.
    fn profile(&self, name: &str, header: &SegmentHeader, bodies: Bodies) -> Option<Arc<Profile>> {
        let own = self.keys.iter().any(|(key, _)| key == name);
        let keys = self.keys.iter().filter(|(key, _)| !own || key == name);
        // The key IDs of the two Rekors are the same for a P-256 key; their origins are not.
        let v1 = is_rekor_v1_origin(&header.origin);
        let faces: &[Face] = if v1 { &[Face::RekorV1] } else { &[Face::RekorV2, Face::StaticCt] };
        let mut profiles = keys.flat_map(|(_, key)| {
            let profile = |face| Profile { origin: header.origin.clone(), key: key.clone(), face, bodies };
            faces.iter().copied().map(profile)
        });
        profiles.find(|profile| profile.key_id() == header.key_id).map(Arc::new)
    }
}
