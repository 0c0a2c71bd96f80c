//! The first entry of a Rekor log is its own: no client's entry gets index 0, which protobuf JSON leaves out and
//! sigstore-python then misses.

use crate::server::drive::AppendError;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, HashAlgorithm, KeyKind, PublicKey};
use waxseal_io::signer::{KeyPair, Signer, SignerError};
use waxseal_log::rekor::RekorError;

/// Why a log cannot be given its first entry.
#[derive(Debug, thiserror::Error)]
pub enum FirstEntryError {
    /// It cannot be made.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// It is refused.
    #[error(transparent)]
    Entry(#[from] RekorError),
    /// It cannot be logged.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl FirstEntryError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Signer(_) => Code::KEY_UNSUPPORTED,
            Self::Entry(error) => error.code(),
            Self::Append(error) => error.code(),
        }
    }
}

/// The log's name, genuinely signed with a key that is used for nothing else.
pub(super) struct SignedName {
    /// SHA-256 of what is signed.
    pub(super) digest: Digest,
    pub(super) signature: Vec<u8>,
    /// P-256.
    pub(super) key: PublicKey,
}

impl SignedName {
    pub(super) fn of(origin: &str) -> Result<Self, SignerError> {
        let key = KeyPair::generate(KeyKind::EcdsaP256)?;
        let message = format!("The first entry of the log {origin}\n");
        let digest = HashAlgorithm::Sha256.digest(message.as_bytes());
        Ok(Self { digest, signature: key.sign(message.as_bytes())?, key: key.public_key().clone() })
    }
}
