//! A TUF client as a state machine (specification 1.0.x, §5): it says what to read or fetch, is given bytes, and says
//! what to keep. It touches neither files nor sockets.
//!
//! ```text
//! let mut refresh = Refresh::new(&root_json, now)?;          // the root that is already trusted
//! loop {
//!     match refresh.need() {
//!         Need::Local { file } => refresh.supply(read(file))?,             // kept earlier, or None
//!         Need::Remote { path, max_len } => {
//!             let bytes = get(path, max_len)?;                             // None for 404
//!             if let Some(file) = refresh.supply(bytes.as_deref())? { keep(file, bytes) }
//!         }
//!         Need::Done => break,
//!     }
//! }
//! let trusted = refresh.finish()?;
//! ```
//!
//! What `supply` names must be kept before the next step, even if that step fails: a root that was followed, or a
//! timestamp that was seen, is what protects the next refresh from a rollback.
//!
//! Local files are only ever hints: they are verified again with the keys of the newest root, so that a timestamp or
//! snapshot signed by keys since replaced is forgotten (recovery from a fast-forward attack, §5.3.11).

mod refresh;
mod search;
#[cfg(test)]
mod tests;

pub use refresh::{MAX_ROOT_ROTATIONS, Refresh, Trusted};
pub use search::{Found, MAX_DELEGATIONS, Search};

use jiff::Timestamp as Time;
use std::collections::BTreeMap;
use waxseal_formats::code::Code;
use waxseal_formats::tuf::{Key, Metadata, Role, RoleKeys, TufError as FormatError, format_time};

/// What the state machine wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// The file of this name that was kept earlier, or `None`. The name is one path segment.
    Local {
        /// The file name.
        file: String,
    },
    /// The file at this path below the repository's URL, or `None` if the repository says that there is none.
    Remote {
        /// Percent-encoded, one segment.
        path: String,
        /// Read no more than this many bytes.
        max_len: u64,
    },
    /// Nothing more: take the result.
    Done,
}

/// Why trust metadata is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TufError {
    /// A file cannot be parsed.
    #[error("{role}: {source}")]
    Malformed {
        /// The role of the file.
        role: String,
        /// What is wrong.
        source: FormatError,
    },
    /// Too few distinct keys of the role signed.
    #[error("{role} metadata carries {found} valid signatures of its keys, {threshold} are needed")]
    Threshold {
        /// The role.
        role: String,
        /// How many distinct keys signed.
        found: usize,
        /// How many have to.
        threshold: u64,
    },
    /// A version lower than one that was trusted before, or a file that vanished from the snapshot.
    #[error("the repository offers {file} version {offered}, version {trusted} was trusted before")]
    Rollback {
        /// What is older.
        file: String,
        /// The version now; 0 if it vanished.
        offered: u64,
        /// The version before.
        trusted: u64,
    },
    /// Past its expiry.
    #[error("{role} metadata version {version} expired at {}", format_time(*expires))]
    Expired {
        /// The role.
        role: String,
        /// Its version.
        version: u64,
        /// When.
        expires: Time,
    },
    /// Another length or digest than the metadata above says.
    #[error("{file} has another length or digest than its metadata says")]
    Hash {
        /// The file.
        file: String,
    },
    /// Another version than the one that was asked for.
    #[error("{role} metadata has version {found}, expected {expected}")]
    Version {
        /// The role.
        role: String,
        /// The version in the file.
        found: u64,
        /// The version that the metadata above, or the file's name, says.
        expected: u64,
    },
    /// A file that the repository must have is not there.
    #[error("the repository has no {0}")]
    Missing(String),
    /// More new roots than [`MAX_ROOT_ROTATIONS`], or more delegations than [`MAX_DELEGATIONS`].
    #[error("the repository has more than {bound} {what}")]
    Limits {
        /// Of what there are too many.
        what: &'static str,
        /// The bound.
        bound: usize,
    },
    /// The shell asked for a result before the last step, or supplied what was not asked for.
    #[error("the metadata is not complete")]
    Incomplete,
}

impl TufError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed { source, .. } => source.code(),
            Self::Threshold { .. } => Code::TRUSTED_ROOT_THRESHOLD,
            Self::Rollback { .. } => Code::TRUSTED_ROOT_ROLLBACK,
            Self::Expired { .. } => Code::TRUSTED_ROOT_EXPIRED,
            Self::Hash { .. } => Code::TRUSTED_ROOT_HASH,
            Self::Version { .. } => Code::TRUSTED_ROOT_VERSION,
            Self::Missing(_) | Self::Incomplete => Code::TRUSTED_ROOT_MISSING,
            Self::Limits { .. } => Code::TRUSTED_ROOT_LIMITS,
        }
    }
}

/// Parses metadata and checks that `role_keys.threshold` distinct keys signed it.
fn parse_signed<R: Role>(
    role: &str,
    bytes: &[u8],
    keys: &BTreeMap<String, Key>,
    role_keys: &RoleKeys,
) -> Result<Metadata<R>, TufError> {
    let metadata = parse(role, bytes)?;
    check_threshold(role, &metadata, keys, role_keys)?;
    Ok(metadata)
}

fn parse<R: Role>(role: &str, bytes: &[u8]) -> Result<Metadata<R>, TufError> {
    Metadata::from_json(bytes).map_err(|source| TufError::Malformed { role: role.to_owned(), source })
}

/// §4.2.1 and §5.2.3: counts keys, not signatures and not key ids, since one key may have several ids.
fn check_threshold<R: Role>(
    role: &str,
    metadata: &Metadata<R>,
    keys: &BTreeMap<String, Key>,
    role_keys: &RoleKeys,
) -> Result<(), TufError> {
    let mut signers: Vec<&Key> = Vec::new();
    for signature in metadata.signatures() {
        if !role_keys.key_ids.contains(&signature.key_id) {
            continue;
        }
        let Some(key) = keys.get(&signature.key_id) else { continue };
        if !signers.contains(&key) && key.verify(metadata.payload(), &signature.signature).is_ok() {
            signers.push(key);
        }
    }
    let found = signers.len();
    if u64::try_from(found).is_ok_and(|found| found >= role_keys.threshold) {
        return Ok(());
    }
    Err(TufError::Threshold { role: role.to_owned(), found, threshold: role_keys.threshold })
}

fn check_fresh<R: Role>(role: &str, metadata: &Metadata<R>, now: Time) -> Result<(), TufError> {
    if metadata.is_expired(now) {
        return Err(TufError::Expired {
            role: role.to_owned(),
            version: metadata.version(),
            expires: metadata.expires(),
        });
    }
    Ok(())
}
