//! Keys that users bring along: cosign's files under a passphrase, those of other tools, and keys that something else keeps.
//!
//! ```text
//! FILE · env://NAME · hashivault://KEY · openbao://KEY · pkcs11:token=…;object=… · SCHEME://KEY of a plugin
//! ```

use std::path::Path;
use std::sync::Arc;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyKind, PublicKey, Secret};
use waxseal_io::signer::private_pem::{self, MAX_PRIVATE_PEM_LEN};
use waxseal_io::signer::remote::RemoteKey;
use waxseal_io::signer::remote::pkcs11::{self, Uri};
use waxseal_io::signer::remote::plugin::Plugin;
use waxseal_io::signer::remote::vault::{self, Vault};
use waxseal_io::signer::{KeyPair, Signer, SignerError};
use waxseal_io::terminal::Terminal;
use waxseal_io::transport::{Http, PlainHttp};
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
}

impl KeyError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::File(error) => error.code(),
            Self::Signer(error) => error.code(),
            Self::Variable { .. } => Code::INPUT_UNREADABLE,
        }
    }
}

/// Opens a private key.
///
/// # Errors
/// [`KeyError`].
pub fn open(reference: &str) -> Result<Box<dyn Signer>, KeyError> {
    match kept(reference)? {
        Some(kept) => Ok(Box::new(kept.open()?)),
        None => Ok(Box::new(open_local(reference)?)),
    }
}

/// Opens a private key that is in a PEM file or a variable.
///
/// # Errors
/// [`KeyError`].
pub fn open_local(reference: &str) -> Result<KeyPair, KeyError> {
    if is_kept(reference) {
        return Err(SignerError::Key(format!("{reference}: a key that is kept elsewhere is not given out")).into());
    }
    let text = text(reference)?;
    Ok(private_pem::parse(&text, reference, || passphrase(&format!("Passphrase of {reference}: ")))?)
}

/// The public key of a PEM file with it, or of a private key.
///
/// # Errors
/// [`KeyError`].
pub fn public_key(reference: &str) -> Result<PublicKey, KeyError> {
    if let Some(kept) = kept(reference)? {
        return Ok(kept.open()?.public_key().clone());
    }
    let text = text(reference)?;
    if !text.contains("PRIVATE KEY") {
        let wrong = |error: waxseal_formats::crypto::KeyError| SignerError::Key(format!("{reference}: {error}"));
        return Ok(PublicKey::from_pem(&text).map_err(wrong)?);
    }
    Ok(open_local(reference)?.public_key().clone())
}

/// Has whatever `reference` names make a key, and returns its public half. A plugin chooses the kind itself.
///
/// # Errors
/// [`KeyError`]; tokens make their keys with their own tools.
pub fn create(reference: &str, kind: KeyKind) -> Result<PublicKey, KeyError> {
    let made = match kept(reference)? {
        Some(Kept::Vault(vault)) => vault.create(kind)?,
        Some(Kept::Plugin(plugin)) => plugin.create()?,
        Some(Kept::Token(_)) | None => {
            return Err(SignerError::Key(format!(
                "{reference}: keys are made in hashivault://, openbao:// and by plugins"
            ))
            .into());
        }
    };
    Ok(made.public_key().clone())
}

/// What keeps a key.
enum Kept {
    Vault(Vault),
    Token(Uri),
    Plugin(Plugin),
}

impl Kept {
    fn open(self) -> Result<RemoteKey, SignerError> {
        match self {
            Self::Vault(vault) => vault.open(),
            Self::Token(uri) => uri.open(&variable, || Terminal::open()?.ask_secret("PIN of the token: ").ok()),
            Self::Plugin(plugin) => plugin.open(),
        }
    }
}

/// Whether a reference names neither file nor variable.
fn is_kept(reference: &str) -> bool {
    reference.starts_with(pkcs11::SCHEME) || reference.contains("://") && !reference.starts_with(IN_VARIABLE)
}

/// What keeps the key that `reference` names; nothing if that is a file or a variable.
fn kept(reference: &str) -> Result<Option<Kept>, SignerError> {
    if reference.starts_with(pkcs11::SCHEME) {
        return Uri::parse(reference).map(|uri| Some(Kept::Token(uri)));
    }
    let Some((scheme, _)) = reference.split_once("://").filter(|_| is_kept(reference)) else { return Ok(None) };
    if vault::SCHEMES.iter().any(|(known, _)| *known == scheme) {
        let transport = Arc::new(Http::new(PlainHttp::LoopbackOnly));
        return Vault::new(reference, &variable, transport).map(|vault| Some(Kept::Vault(vault)));
    }
    Plugin::find(reference, &variable("PATH").unwrap_or_default()).map(|plugin| Some(Kept::Plugin(plugin)))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
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
    let bytes = Zeroizing::new(read_bounded(Path::new(reference), MAX_PRIVATE_PEM_LEN)?);
    let wrong = |_| SignerError::Key(format!("{reference}: not a PEM key"));
    Ok(Zeroizing::new(std::str::from_utf8(&bytes).map_err(wrong)?.to_owned()))
}
