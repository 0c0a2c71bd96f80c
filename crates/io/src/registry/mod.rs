//! Registries of images (distribution-spec 1.1), many at once.
//!
//! Ours and not `oci-client`'s because of what a hostile registry may learn: credentials follow neither redirects nor the address that
//! an upload is sent to, and go to no realm that has nothing to do with the registry; besides, that library knows neither identity
//! tokens nor whether a registry took note of what a manifest refers to. Whatever is fetched is hashed before anybody sees it.

mod auth;
mod client;
mod error;
mod keychain;
pub mod login;
mod pull;
mod push;
#[cfg(test)]
mod tests;

pub use error::RegistryError;
pub use pull::{BlobStream, Resolved};
pub use push::{Merged, Pushed};

use auth::Tokens;
use formats::crypto::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use waxseal_formats as formats;

/// How long a request may take that moves no blob.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a blob may stand still.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests at the same time.
const PARALLEL: usize = 32;

/// How registries are spoken to.
#[derive(Clone, Debug, Default)]
pub struct RegistrySettings {
    /// Whether plain http is spoken to registries that are not on this machine, where they do not speak https.
    pub plain_http: bool,
    /// Whether any TLS certificate will do.
    pub any_certificate: bool,
    /// Certificate authorities (PEM) to trust instead of the system's.
    pub authorities: Option<String>,
    /// A client certificate and its private key (PEM).
    pub client: Option<(String, Secret<String>)>,
    /// Who asks.
    pub credentials: Credentials,
    /// Hosts that may be sent a registry's credentials although they do not belong to it.
    pub token_hosts: Vec<String>,
}

/// Who asks a registry.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// Whoever docker's or podman's configuration says.
    #[default]
    Keychain,
    /// Nobody.
    Anonymous,
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret<String>,
    },
    /// The bearer of a token of the registry.
    Token(Secret<String>),
}

/// A client of registries. Clones share connections and tokens.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RegistrySettings,
    general: reqwest::Client,
    /// No proxy stands before this machine.
    loopback: reqwest::Client,
    tokens: Tokens,
    permits: Semaphore,
}

impl Registry {
    /// A client. No connection is made yet.
    ///
    /// # Errors
    /// [`RegistryError::Settings`] for certificates or a key that cannot be used.
    pub fn new(settings: RegistrySettings) -> Result<Self, RegistryError> {
        let general = client::build(&settings, |builder| builder)?;
        let loopback = client::build(&settings, reqwest::ClientBuilder::no_proxy)?;
        let (tokens, permits) = (Tokens::default(), Semaphore::new(PARALLEL));
        Ok(Self { inner: Arc::new(Inner { settings, general, loopback, tokens, permits }) })
    }
}
