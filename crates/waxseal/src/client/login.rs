//! Logging in at an OpenID provider, for whoever has no token yet: authorization code with PKCE (RFC 6749 §4.1, RFC 7636, RFC 8252),
//! or on another device (RFC 8628).

mod browser;
mod callback;
mod device;
mod provider;

pub use browser::PATIENCE;
pub use provider::Endpoints;

use std::time::Duration;
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Secret, sha256};
use waxseal_formats::json::encode_base64url;
use waxseal_formats::jwt::JwtError;
use waxseal_io::system;
use waxseal_io::transport::{Transport, TransportError};

/// Where somebody logs in, and as which client.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The issuer.
    pub issuer: String,
    /// The client id.
    pub client_id: String,
    /// The client's secret, if it has one.
    pub client_secret: Option<Secret<String>>,
    /// Where the provider sends the browser back to, if that cannot be any port: http on this machine.
    pub redirect: Option<Url>,
}

/// How somebody logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// In a browser here; without one, on another device; else a person carries the code over.
    Normal,
    /// On another device.
    Device,
}

/// The person who logs in.
pub trait Person: Send + Sync {
    /// Tells something.
    fn say(&self, sentence: &str);
    /// Opens a page. `false` if that cannot be done here.
    fn open(&self, page: &Url) -> bool;
    /// Asks for something; nothing if nobody can be asked.
    fn ask(&self, question: &str) -> Option<String>;
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The provider cannot be reached.
    #[error("the identity provider: {0}")]
    Transport(#[from] TransportError),
    /// What it says of itself is of no use.
    #[error("the identity provider {issuer}: {problem}")]
    Provider {
        /// The issuer.
        issuer: String,
        /// What is wrong.
        problem: String,
    },
    /// It refuses.
    #[error("the identity provider {issuer} refuses: {reason}")]
    Refused {
        /// The issuer.
        issuer: String,
        /// Its reason.
        reason: String,
    },
    /// Its token is none.
    #[error("the identity provider {issuer} gives no usable token: {source}")]
    Malformed {
        /// The issuer.
        issuer: String,
        /// What is wrong.
        source: JwtError,
    },
    /// Its token is not the one that was asked for.
    #[error("the identity provider {issuer} gives a token with another {claim} than was asked for")]
    AnotherToken {
        /// The issuer.
        issuer: String,
        /// What is another.
        claim: &'static str,
    },
    /// What came back from the browser is not the answer to our question.
    #[error("what came back from the browser does not belong to this login ({0})")]
    Mixed(&'static str),
    /// Nobody logged in.
    #[error("nobody has logged in within {} s", .0.as_secs())]
    TimeOut(Duration),
    /// This machine cannot wait for the browser.
    #[error("cannot listen for the browser: {0}")]
    Listen(String),
    /// There is neither browser, device flow nor terminal.
    #[error("there is no browser to open, the provider has no device flow, and no terminal to ask at")]
    NoWay,
}

impl LoginError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Transport(error) => error.code(),
            Self::Provider { .. } | Self::Refused { .. } => Code::NETWORK_REFUSED,
            Self::Malformed { .. } => Code::TOKEN_MALFORMED,
            Self::AnotherToken { .. } | Self::Mixed(_) => Code::TOKEN_CLAIM,
            Self::TimeOut(_) => Code::NETWORK_UNREACHABLE,
            Self::Listen(_) => Code::INPUT_UNREADABLE,
            Self::NoWay => Code::USAGE,
        }
    }
}

/// Has a person log in, and returns the ID token.
///
/// # Errors
/// [`LoginError`].
pub async fn log_in(
    transport: &dyn Transport,
    provider: &Provider,
    flow: Flow,
    person: &dyn Person,
) -> Result<Secret<String>, LoginError> {
    let endpoints = Endpoints::discover(transport, &provider.issuer).await?;
    match flow {
        Flow::Normal => browser::log_in(transport, provider, &endpoints, person).await,
        Flow::Device => device::log_in(transport, provider, &endpoints, person).await,
    }
}

/// Something that nobody guesses: 256 bits in base64url.
fn unguessable() -> Secret<String> {
    Secret::new(encode_base64url(&system::random::<32>()))
}

/// A verifier and its challenge (RFC 7636 §4.1 and §4.2).
struct Pkce {
    verifier: Secret<String>,
    challenge: String,
}

impl Pkce {
    fn new() -> Self {
        let verifier = unguessable();
        let challenge = encode_base64url(&sha256(verifier.expose().as_bytes()));
        Self { verifier, challenge }
    }
}

#[cfg(test)]
mod tests;
