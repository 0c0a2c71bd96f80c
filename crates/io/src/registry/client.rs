//! Sending requests: which client, who asks, and what is tried again.

use super::auth::{Action, Challenge};
use super::{IDLE_TIMEOUT, Registry, RegistryError, RegistrySettings, TIMEOUT};
use crate::transport::{CONNECT_TIMEOUT, is_loopback};
use bytes::{Bytes, BytesMut};
use formats::json::{self, Node};
use formats::oci::Repository;
use reqwest::{Method, RequestBuilder, Response, header};
use std::error::Error as _;
use std::time::Duration;
use url::Url;
use waxseal_formats as formats;

/// How often a request is sent that does no harm twice.
const ATTEMPTS: u32 = 4;
/// How long is waited before the second time; twice as long before the next.
const BACK_OFF: Duration = Duration::from_millis(200);
/// Longest wait that a registry may ask for.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Most of an error that is read, in bytes.
const MAX_ERROR_LEN: u64 = 64 << 10;
/// Docker Hub, and where it listens.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A request to a registry.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) repository: &'a Repository,
    pub(super) action: Action,
    pub(super) url: Url,
    pub(super) headers: Vec<(header::HeaderName, String)>,
    pub(super) body: Body,
    /// Whether a blob moves: it may take as long as it moves.
    pub(super) moves_blob: bool,
}

/// What is sent.
pub(super) enum Body {
    Bytes(Bytes),
    /// Something that can be sent once.
    Stream(reqwest::Body),
}

pub(super) fn build(
    settings: &RegistrySettings,
    finish: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, RegistryError> {
    let failed =
        |error: reqwest::Error| RegistryError::Settings(format!("the registry's TLS settings: {}", cause(&error)));
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("waxseal/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(authorities) = &settings.authorities {
        let certificates = reqwest::Certificate::from_pem_bundle(authorities.as_bytes()).map_err(failed)?;
        builder = builder.tls_certs_only(certificates);
    }
    if let Some((certificate, key)) = &settings.client {
        let both = zeroize::Zeroizing::new(format!("{certificate}\n{}", key.expose()));
        builder = builder.identity(reqwest::Identity::from_pem(both.as_bytes()).map_err(failed)?);
    }
    if settings.any_certificate {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    finish(builder).build().map_err(failed)
}

impl Registry {
    pub(super) fn client(&self, url: &Url) -> &reqwest::Client {
        if is_loopback(url) { &self.inner.loopback } else { &self.inner.general }
    }

    /// Whether plain http may be spoken there.
    pub(super) fn may_be_plain(&self, url: &Url) -> bool {
        is_loopback(url) || self.inner.settings.plain_http
    }

    /// The address of something in a repository: `/v2/<name>/<path>`.
    pub(super) async fn address(&self, repository: &Repository, path: &str) -> Result<Url, RegistryError> {
        self.base(repository.registry(), &format!("{}/{path}", repository.name())).await
    }

    pub(super) async fn base(&self, registry: &str, path: &str) -> Result<Url, RegistryError> {
        let host = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry };
        let at = |scheme: &str, path: &str| {
            Url::parse(&format!("{scheme}://{host}/v2/{path}"))
                .map_err(|error| RegistryError::Settings(format!("{host:?} is no registry: {error}")))
        };
        let plain = at("http", path)?;
        if is_loopback(&plain) {
            return Ok(plain);
        }
        // Where plain http was allowed, https is still better.
        if self.inner.settings.plain_http && self.inner.tokens.is_plain(host, || at("https", ""), self).await? {
            return Ok(plain);
        }
        at("https", path)
    }

    /// Sends a request, with credentials if the registry asks for them, and again if that may help.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Response, RegistryError> {
        let permit = self.inner.permits.acquire().await;
        let _permit = permit.map_err(|error| RegistryError::File(error.to_string()))?;
        let (registry, name) = (ask.repository.registry(), ask.repository.name());
        let mut said = self.known(registry, name, ask.action).await;
        let mut once = Some(ask.body);
        let mut attempt = 0;
        loop {
            let mut request = self.client(&ask.url).request(ask.method.clone(), ask.url.clone());
            if !ask.moves_blob {
                request = request.timeout(TIMEOUT);
            }
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            if let Some(said) = &said {
                request = request.header(header::AUTHORIZATION, said.expose());
            }
            let again = match once.take() {
                Some(Body::Bytes(bytes)) => {
                    request = request.body(bytes.clone());
                    Some(Body::Bytes(bytes))
                }
                Some(Body::Stream(stream)) => {
                    request = request.body(stream);
                    None
                }
                None => None,
            };
            attempt = u32::saturating_add(attempt, 1);
            let outcome = send(request, ask.url.as_str()).await;
            let may_try_again = again.is_some() && attempt < ATTEMPTS;
            once = again;
            let wait = BACK_OFF.saturating_mul(1 << attempt.saturating_sub(1).min(8)).saturating_add(jitter());
            match outcome {
                Ok(response) if response.status().as_u16() == 401 && may_try_again => {
                    let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
                    let headers: Vec<_> = headers.iter().filter_map(|value| value.to_str().ok()).collect();
                    let Some(challenge) = Challenge::parse(&headers) else { return Ok(response) };
                    let refused = said.take();
                    said = Some(self.authorize(registry, name, ask.action, &challenge, refused.as_ref()).await?);
                }
                Ok(response) if matches!(response.status().as_u16(), 429 | 500 | 502..=504) && may_try_again => {
                    let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                    let asked = asked.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
                    tokio::time::sleep(asked.unwrap_or(wait).min(MAX_WAIT)).await;
                }
                Err(RegistryError::Unreachable { .. }) if may_try_again && idempotent(&ask.method) && attempt < 3 => {
                    tokio::time::sleep(wait).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// As [`Registry::ask`], for an answer that has to be one of these; errors say `what` was asked for.
    pub(super) async fn demand(&self, ask: Ask<'_>, what: &str, good: &[u16]) -> Result<Response, RegistryError> {
        let registry = ask.repository.registry().to_owned();
        let response = self.ask(ask).await?;
        let status = response.status().as_u16();
        if good.contains(&status) {
            return Ok(response);
        }
        let url = response.url().to_string();
        let body = body(response, &url, MAX_ERROR_LEN).await.unwrap_or_default();
        let message = message(&body);
        match status {
            404 => Err(RegistryError::NotFound { what: what.to_owned() }),
            401 | 403 => {
                Err(RegistryError::Unauthorized { registry, reason: Some(message).filter(|said| !said.is_empty()) })
            }
            500..=599 | 429 => {
                Err(RegistryError::Unreachable { url, reason: format!("it answers {status}: {message}") })
            }
            _ => Err(RegistryError::Refused { url, status, message }),
        }
    }
}

const fn idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT)
}

/// Two who were told to wait shall not come back at the same time.
pub(super) fn jitter() -> Duration {
    let now = crate::system::now().as_nanosecond();
    Duration::from_millis(u64::try_from(now.rem_euclid(97)).unwrap_or_default())
}

pub(super) async fn send(request: RequestBuilder, url: &str) -> Result<Response, RegistryError> {
    request.send().await.map_err(|error| unreachable(&error, url))
}

pub(super) fn unreachable(error: &reqwest::Error, url: &str) -> RegistryError {
    let reason = if error.is_timeout() { "it takes too long".to_owned() } else { cause(error) };
    RegistryError::Unreachable { url: url.to_owned(), reason }
}

/// The innermost cause, without the URL that is said anyway.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.source().is_none() { "the request cannot be sent".to_owned() } else { innermost.to_string() }
}

/// The whole body, of at most `limit` bytes.
pub(super) async fn body(mut response: Response, what: &str, limit: u64) -> Result<Bytes, RegistryError> {
    let url = response.url().to_string();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error, &url))? {
        if (body.len() as u64).saturating_add(chunk.len() as u64) > limit {
            return Err(RegistryError::TooLarge { what: what.to_owned(), limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What an error of a registry says (distribution-spec "Error Codes"), in one line.
pub(super) fn message(body: &[u8]) -> String {
    const MAX_CHARS: usize = 300;
    let stated = json::parse(body, body.len()).ok().and_then(|document| {
        let errors = Node::root(&document).repeated("errors").ok()?;
        let first = errors.first()?;
        let text = |name: &str| first.string_field(name).unwrap_or_default().to_owned();
        let (code, message) = (text("code"), text("message"));
        Some(if message.is_empty() { code } else { format!("{code}: {message}") })
    });
    let text = stated.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Whether a host sends us to this machine without being on it: what listens here alone is not for strangers.
pub(super) fn loopback_of_another(from: &Url, to: &Url) -> bool {
    is_loopback(to) && !is_loopback(from)
}
