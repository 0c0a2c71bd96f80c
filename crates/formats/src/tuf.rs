//! Metadata of The Update Framework (specification 1.0.x, §4): root, timestamp, snapshot and targets.
//!
//! ```json
//! {"signatures": [{"keyid": "6f01…", "sig": "3045…"}],
//!  "signed": {"_type": "timestamp", "spec_version": "1.0.31", "version": 7, "expires": "2026-12-01T00:00:00Z",
//!             "meta": {"snapshot.json": {"version": 7}}}}
//! ```
//!
//! A signature covers the canonical form of the `signed` value *as it was received*, fields that we do not know
//! included; the typed form is read from the same value, so that nothing is believed that was not signed.

pub mod canonical;
mod key;
mod metadata;
mod name;
mod targets;

pub use key::{Key, key_id};
pub use metadata::{
    FileMeta, MAX_ROLE_KEYS, MAX_SIGNATURES, Metadata, Role, RoleKeys, Root, Signature, Snapshot, Timestamp,
    format_time, parse_time,
};
pub use name::{
    MAX_NAME_LEN, TopLevel, metadata_file, percent_encode, role_file, role_name_is_acceptable,
    target_path_is_acceptable,
};
pub use targets::{DelegatedRole, Delegations, MAX_DELEGATED_ROLES, SuccinctRoles, Target, Targets};

use crate::code::Code;

/// Largest root metadata file, in bytes.
pub const MAX_ROOT_LEN: usize = 512 * 1024;
/// Largest timestamp metadata file, in bytes.
pub const MAX_TIMESTAMP_LEN: usize = 16 * 1024;
/// Largest snapshot metadata file, in bytes.
pub const MAX_SNAPSHOT_LEN: usize = 2 * 1024 * 1024;
/// Largest targets metadata file, in bytes; delegated ones too.
pub const MAX_TARGETS_LEN: usize = 5 * 1024 * 1024;

/// Why bytes are not TUF metadata of the wanted role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TufError {
    /// The file is longer than metadata of this role may be.
    #[error("{len} bytes of TUF metadata, at most {max} are allowed")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// Not JSON that TUF can canonicalise: a syntax error, a duplicate key, or a number that is not an integer.
    #[error("TUF metadata is not acceptable JSON: {0}")]
    Json(String),
    /// A field is missing, of another type or has an impossible value.
    #[error("TUF metadata: `{field}` {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The `_type` is another role's.
    #[error("TUF metadata is of type {found:?}, expected {expected:?}")]
    Type {
        /// The wanted type.
        expected: &'static str,
        /// What `_type` says.
        found: String,
    },
    /// A specification version that is not 1.x.
    #[error("TUF specification version {0:?} is not 1.x")]
    SpecVersion(String),
    /// A role or target name that must not become part of a path.
    #[error("TUF metadata has the unacceptable name {0:?}")]
    Name(String),
    /// The same key id twice, in a role or among the signatures.
    #[error("TUF metadata names the key id {0:?} twice")]
    DuplicateKeyId(String),
}

impl TufError {
    /// `input.too-large` or `trusted-root.malformed`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::INPUT_TOO_LARGE,
            _ => Code::TRUSTED_ROOT_MALFORMED,
        }
    }
}
