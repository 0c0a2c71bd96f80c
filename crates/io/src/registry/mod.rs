//! Registries of images (distribution-spec 1.1), many at once.
//!
//! Ours and not `oci-client`'s because of what a hostile registry may learn: credentials follow neither redirects nor the address that
//! an upload is sent to, and go to no realm that has nothing to do with the registry; besides, that library knows neither identity
//! tokens nor whether a registry took note of what a manifest refers to. Whatever is fetched is hashed before anybody sees it.

mod auth;
mod client;
mod error;
mod home;
mod keychain;
pub mod login;
mod parts;
mod pull;
mod push;
mod reach;
#[cfg(test)]
mod tests;

pub use error::RegistryError;
pub use pull::{BlobStream, Resolved};
pub use push::{Merged, Pushed};

use formats::crypto::Secret;
use home::Homes;
use std::sync::Arc;
use std::time::Duration;
use waxseal_formats as formats;

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
    /// How long things may take.
    pub pace: Pace,
}

/// How long things may take. A registry that is slow is told from one that keeps us busy (CVE-2023-33957 and its like).
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A request that moves no blob, with its answer.
    pub request: Duration,
    /// In each stretch of this length that we wait …
    pub window: Duration,
    /// … so many bytes of a blob have to come, or some have to go.
    pub min_len: u64,
    /// How often a request is sent that does no harm twice.
    pub attempts: u32,
    /// How long is waited before the second time; twice as long before the next.
    pub back_off: Duration,
    /// Longest wait that a registry may ask for. Who asks for more is not asked again.
    pub max_wait: Duration,
    /// Shortest time after which a tag is read again that was written.
    pub settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            window: Duration::from_secs(30),
            min_len: 32 << 10,
            attempts: 4,
            back_off: Duration::from_millis(200),
            max_wait: Duration::from_secs(20),
            settle: Duration::from_millis(100),
        }
    }
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
    clients: client::Clients,
    homes: Homes,
}

impl Registry {
    /// A client. No connection is made yet.
    ///
    /// # Errors
    /// [`RegistryError::Settings`] for certificates or a key that cannot be used.
    pub fn new(settings: RegistrySettings) -> Result<Self, RegistryError> {
        let clients = client::Clients::new(&settings)?;
        Ok(Self { inner: Arc::new(Inner { settings, clients, homes: Homes::default() }) })
    }
}
