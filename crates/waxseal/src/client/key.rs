//! Keys that users bring along: cosign's files under a passphrase, and those of other tools.

use std::path::Path;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{PublicKey, Secret};
use waxseal_io::signer::private_pem::{self, MAX_PRIVATE_PEM_LEN};
use waxseal_io::signer::{KeyPair, Signer as _, SignerError};
use waxseal_io::terminal::Terminal;
use zeroize::Zeroizing;

use super::verify::{VerifyError, read_bounded};

/// The variable with the passphrase of a key, cosign's. It may be empty.
pub const PASSPHRASE: &str = "COSIGN_PASSWORD";
/// A key in a variable is named by this and the variable's name, as in cosign.
const IN_VARIABLE: &str = "env://";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] VerifyError),
    /// The key cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The variable is not set.
    #[error("the variable {name} with the key is not set")]
    Variable {
        /// Its name.
        name: String,
    },
    /// Keys of that kind are kept where nothing here can reach.
    #[error("{reference}: keys of {scheme} cannot be used yet; a file or env://NAME can")]
    Scheme {
        /// What was given.
        reference: String,
        /// Its scheme.
        scheme: String,
    },
}

impl KeyError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::File(error) => error.code(),
            Self::Signer(error) => error.code(),
            Self::Variable { .. } => Code::INPUT_UNREADABLE,
            Self::Scheme { .. } => Code::KEY_UNSUPPORTED,
        }
    }
}

/// Opens a private key: a PEM file, or `env://NAME`.
///
/// # Errors
/// [`KeyError`].
pub fn open(reference: &str) -> Result<KeyPair, KeyError> {
    let text = text(reference)?;
    Ok(private_pem::parse(&text, reference, || passphrase(&format!("Passphrase of {reference}: ")))?)
}

/// The public key of a PEM file with it, or of a private key.
///
/// # Errors
/// [`KeyError`].
pub fn public_key(reference: &str) -> Result<PublicKey, KeyError> {
    let text = text(reference)?;
    if !text.contains("PRIVATE KEY") {
        let wrong = |error: waxseal_formats::crypto::KeyError| SignerError::Key(format!("{reference}: {error}"));
        return Ok(PublicKey::from_pem(&text).map_err(wrong)?);
    }
    Ok(open(reference)?.public_key().clone())
}

/// The passphrase from the environment, or from the person at the terminal.
#[must_use]
pub fn passphrase(question: &str) -> Option<Secret<String>> {
    // An empty one is one: that is how cosign users say that there is none.
    if let Ok(passphrase) = std::env::var(PASSPHRASE) {
        return Some(Secret::new(passphrase));
    }
    Terminal::open().and_then(|terminal| terminal.ask_secret(question).ok())
}

fn text(reference: &str) -> Result<Zeroizing<String>, KeyError> {
    if let Some(name) = reference.strip_prefix(IN_VARIABLE) {
        let value = std::env::var(name).map_err(|_| KeyError::Variable { name: name.to_owned() })?;
        return Ok(Zeroizing::new(value));
    }
    if let Some((scheme, _)) = reference.split_once("://") {
        return Err(KeyError::Scheme { reference: reference.to_owned(), scheme: scheme.to_owned() });
    }
    let bytes = Zeroizing::new(read_bounded(Path::new(reference), MAX_PRIVATE_PEM_LEN)?);
    let wrong = |_| SignerError::Key(format!("{reference}: not a PEM key"));
    Ok(Zeroizing::new(std::str::from_utf8(&bytes).map_err(wrong)?.to_owned()))
}
