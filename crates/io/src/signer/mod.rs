//! Signers: what holds a private key and signs messages with it.
//!
//! A signer is one file in this folder. Engines return bytes to be signed; only the shells hold signers.

pub mod file;
pub mod key_files;
pub mod private_pem;
pub mod remote;

use crate::transport::TransportError;
use formats::code::Code;
use formats::crypto::sealed_key::SealedKeyError;
use formats::crypto::{Digest, PublicKey, SignatureAlgorithm};
use waxseal_formats as formats;

pub use file::KeyPair;
pub use key_files::KeyFiles;

/// Holds one private key. Implementations may block (a token, a network service) unless they are [quick](Signer::is_quick):
/// call them where blocking is allowed.
///
/// What it returns verifies under [`Signer::public_key`]: engines rely on it and do not verify again what was signed for them,
/// which would cost three times what the signature did. A key in this process is trusted to do so; an implementation whose key is
/// elsewhere verifies what comes back before it returns it.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// The scheme of every signature made here.
    fn algorithm(&self) -> SignatureAlgorithm {
        self.public_key().default_algorithm()
    }

    /// Whether a signature takes well under a millisecond and waits for nothing, so that handing it to another thread would cost
    /// more than it does.
    fn is_quick(&self) -> bool {
        false
    }

    /// Signs `message` (not its digest). ECDSA signatures are ASN.1 DER.
    ///
    /// # Errors
    /// [`SignerError`] if the key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;

    /// Signs the message that has this digest, so that a large one need not be in memory.
    ///
    /// # Errors
    /// [`SignerError`] if the key cannot be used, or not with this hash; Ed25519 needs the whole message.
    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError>;
}

/// Why a signer cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The key file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others can read a file that holds a secret.
    #[error("{path} can be read by others (mode {mode:o}): run `chmod 600 {path}`, and ask who read it")]
    Exposed {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// The key is sealed, and there is no passphrase, or it does not open it.
    #[error("{path}: {}", source.as_ref().map_or("the private key is encrypted, and no passphrase was given".to_owned(), ToString::to_string))]
    Sealed {
        /// The file.
        path: String,
        /// What is wrong; nothing if there is no passphrase.
        source: Option<SealedKeyError>,
    },
    /// The private key is malformed or of a kind that cannot sign here.
    #[error("{0}")]
    Key(String),
    /// The key is there and the signature failed.
    #[error("signing failed")]
    Sign,
    /// A token's PIN is missing or wrong.
    #[error("{key}: the PIN is missing or wrong; after a few tries a token locks itself")]
    Pin {
        /// The key.
        key: String,
    },
    /// Whatever keeps the key gives nothing usable.
    #[error("{key}: {reason}")]
    Remote {
        /// The key.
        key: String,
        /// Why not.
        reason: String,
    },
    /// Whatever keeps the key cannot be reached.
    #[error("{key}: {source}")]
    Unreachable {
        /// The key.
        key: String,
        /// Why not.
        source: TransportError,
    },
}

impl SignerError {
    /// `input.unreadable`, `key.permissions`, `key.passphrase`, `key.unsupported`, `key.unavailable`, or a code of [`TransportError`].
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::File { .. } => Code::INPUT_UNREADABLE,
            Self::Exposed { .. } => Code::KEY_PERMISSIONS,
            Self::Sealed { .. } | Self::Pin { .. } => Code::KEY_PASSPHRASE,
            Self::Key(_) | Self::Sign => Code::KEY_UNSUPPORTED,
            Self::Remote { .. } => Code::KEY_UNAVAILABLE,
            Self::Unreachable { source, .. } => source.code(),
        }
    }
}
