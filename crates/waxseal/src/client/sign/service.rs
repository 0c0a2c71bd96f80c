//! Which services a signature needs, where they are, and what they say when they refuse.

use super::SignError;
use jiff::Timestamp;
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::KeyKind;
use waxseal_formats::json::{self, Node};
use waxseal_formats::signing_config::SigningConfig;
use waxseal_io::transport::{Request, Response, Transport};

/// The kinds of key that sign, with cosign's names for `--signing-algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SigningAlgorithm {
    /// `ecdsa-sha2-256-nistp256`.
    #[default]
    EcdsaP256,
    /// `ecdsa-sha2-384-nistp384`.
    EcdsaP384,
    /// `ecdsa-sha2-512-nistp521`.
    EcdsaP521,
    /// `rsa-sign-pkcs1-2048-sha256`.
    Rsa2048,
    /// `rsa-sign-pkcs1-3072-sha256`.
    Rsa3072,
    /// `rsa-sign-pkcs1-4096-sha256`.
    Rsa4096,
    /// `ed25519`, which no log of the second kind takes: it never sees the artifact.
    Ed25519,
}

impl SigningAlgorithm {
    /// All of them with their names.
    pub const NAMES: [(Self, &'static str); 7] = [
        (Self::EcdsaP256, "ecdsa-sha2-256-nistp256"),
        (Self::EcdsaP384, "ecdsa-sha2-384-nistp384"),
        (Self::EcdsaP521, "ecdsa-sha2-512-nistp521"),
        (Self::Rsa2048, "rsa-sign-pkcs1-2048-sha256"),
        (Self::Rsa3072, "rsa-sign-pkcs1-3072-sha256"),
        (Self::Rsa4096, "rsa-sign-pkcs1-4096-sha256"),
        (Self::Ed25519, "ed25519"),
    ];

    /// The algorithm of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm)
    }

    /// The kind of key.
    #[must_use]
    pub const fn key_kind(self) -> KeyKind {
        match self {
            Self::EcdsaP256 => KeyKind::EcdsaP256,
            Self::EcdsaP384 => KeyKind::EcdsaP384,
            Self::EcdsaP521 => KeyKind::EcdsaP521,
            Self::Rsa2048 => KeyKind::Rsa { bits: 2048 },
            Self::Rsa3072 => KeyKind::Rsa { bits: 3072 },
            Self::Rsa4096 => KeyKind::Rsa { bits: 4096 },
            Self::Ed25519 => KeyKind::Ed25519,
        }
    }
}

/// The services that take part in a signature.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Services {
    /// Fulcio, without a path; only a signature with an identity needs it.
    pub fulcio: Option<Url>,
    /// Timestamp authorities, each by the whole URL that requests go to.
    pub timestamp_authorities: Vec<Url>,
    /// Rekor v2 logs.
    pub logs: Vec<Url>,
    /// Rekor v1 logs: for signatures in the form of cosign 2, and for all where there is no log of the second kind.
    pub rekor_v1: Vec<Url>,
}

impl Services {
    /// The services for a signature with an identity token, which needs a certificate and a trusted time.
    ///
    /// # Errors
    /// [`SignError::Services`] if one is not offered now, [`SignError::Url`].
    pub fn for_identity(config: &SigningConfig, now: Timestamp) -> Result<Self, SignError> {
        let (logs, rekor_v1) = logs(config, now)?;
        // The signed timestamp of an entry in Rekor v1 is a trusted time as well.
        let without = logs.is_empty() && config.tsa_urls.is_empty();
        let authorities = if without { Vec::new() } else { config.tsas(now)? };
        Ok(Self {
            fulcio: Some(parse(&config.ca(now)?.url)?),
            timestamp_authorities: authorities.iter().map(|s| parse(&s.url)).collect::<Result<_, _>>()?,
            logs,
            rekor_v1,
        })
    }

    /// The services for a signature with a managed key, which can do without a trusted time.
    ///
    /// # Errors
    /// [`SignError::Services`] if no log is offered now, [`SignError::Url`].
    pub fn for_key(config: &SigningConfig, now: Timestamp) -> Result<Self, SignError> {
        let authorities = if config.tsa_urls.is_empty() { Vec::new() } else { config.tsas(now)? };
        let (logs, rekor_v1) = logs(config, now)?;
        Ok(Self {
            fulcio: None,
            timestamp_authorities: authorities.iter().map(|s| parse(&s.url)).collect::<Result<_, _>>()?,
            logs,
            rekor_v1,
        })
    }
}

/// The Rekor logs of both kinds that are offered: there has to be one of either.
fn logs(config: &SigningConfig, now: Timestamp) -> Result<(Vec<Url>, Vec<Url>), SignError> {
    let urls = |version: u32| -> Result<Vec<Url>, SignError> {
        config.rekor_tlogs(&[version], now)?.iter().map(|service| parse(&service.url)).collect()
    };
    match (urls(2), urls(1)) {
        (Ok(logs), v1) => Ok((logs, v1.unwrap_or_default())),
        (Err(_), Ok(v1)) => Ok((Vec::new(), v1)),
        (Err(error), Err(_)) => Err(error),
    }
}

fn parse(text: &str) -> Result<Url, SignError> {
    let failed = |problem: String| SignError::Url { url: text.to_owned(), problem };
    let url = Url::parse(text).map_err(|error| failed(error.to_string()))?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(failed("neither http nor https".into())) }
}

/// A path below a service's address, which may itself have a path and a slash at its end.
pub(super) fn below(base: &Url, path: &str) -> Result<Url, SignError> {
    parse(&format!("{}{path}", base.as_str().trim_end_matches('/')))
}

/// Asks a service and returns its answer if the status is 200 or 201.
pub(super) async fn ask(
    transport: &dyn Transport,
    service: &'static str,
    request: Request,
) -> Result<Response, SignError> {
    let url = request.url().clone();
    let response = transport.send(request).await.map_err(|source| SignError::Transport { service, source })?;
    if matches!(response.status, 200 | 201) {
        return Ok(response);
    }
    let message = reason(&response);
    let code = stated_code(&message).unwrap_or(match response.status {
        429 | 500.. => Code::NETWORK_UNREACHABLE,
        _ => Code::NETWORK_REFUSED,
    });
    Err(SignError::Refused { service, url: url.into(), status: response.status, message, code })
}

/// The `message` of the error JSON that Fulcio, Rekor and the timestamp authority answer with, else the body.
fn reason(response: &Response) -> String {
    const MAX_ERROR_LEN: usize = 64 << 10;
    let message = json::parse(&response.body, MAX_ERROR_LEN).ok().and_then(|document| {
        let message = Node::root(&document).field("message").ok()??.string().ok()?.to_owned();
        Some(message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect::<String>())
    });
    message.unwrap_or_else(|| response.excerpt())
}

/// Our own services begin their messages with the reason code in brackets.
fn stated_code(message: &str) -> Option<Code> {
    let (stated, _) = message.strip_prefix('[')?.split_once(']')?;
    Code::ALL.iter().map(|(code, _)| *code).find(|code| code.as_str() == stated)
}
