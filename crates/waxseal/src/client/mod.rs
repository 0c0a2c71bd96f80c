//! The client: sign, verify, trust.

pub mod blob;
pub mod image;
pub mod key;
pub mod login;
pub mod material;
pub mod policy;
pub mod sign;
pub mod trust;
pub mod tuf;
pub mod upgrade;
pub mod verify;

/// The trusted root of the public-good Sigstore instance (see `data/README.md`).
pub const PUBLIC_GOOD_TRUSTED_ROOT: &[u8] = include_bytes!("../../data/public-good-trusted-root.json");
