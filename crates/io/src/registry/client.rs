//! Sending requests: which client, who asks, and what is tried again.

use super::auth::{Action, Challenge, Challenged, header as sensitive};
use super::home::Home;
use super::parts::{self, Outgoing};
use super::reach::shown;
use super::{Registry, RegistryError, RegistrySettings};
use crate::transport::{CONNECT_TIMEOUT, is_loopback};
use bytes::{Bytes, BytesMut};
use formats::json::{self, Node};
use formats::oci::Repository;
use reqwest::{Method, RequestBuilder, Response, header};
use std::error::Error as _;
use std::time::Duration;
use url::Url;
use waxseal_formats as formats;

/// How often a request is sent that did not reach anybody.
const CONNECT_ATTEMPTS: u32 = 3;
/// How often a challenge is answered: what is known may be outdated, and so may what somebody else got meanwhile.
const MAX_CHALLENGES: usize = 2;
/// Most redirects of a request.
const MAX_REDIRECTS: usize = 5;
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
    Stream(Outgoing),
    /// It was sent.
    Gone,
}

impl Body {
    /// What is to be sent now. It stays if it can be sent again.
    pub(super) fn take(&mut self) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Self::Stream(_) | Self::Gone => std::mem::replace(self, Self::Gone),
        }
    }
}

/// HTTP clients. No proxy stands before this machine, and our certificate is shown to registries alone.
pub(super) struct Clients {
    home: Pair,
    elsewhere: Pair,
}

#[derive(Clone)]
struct Pair {
    general: reqwest::Client,
    loopback: reqwest::Client,
}

impl Clients {
    pub(super) fn new(settings: &RegistrySettings) -> Result<Self, RegistryError> {
        let pair = |certificate: bool| {
            let general = build(settings, certificate, |builder| builder)?;
            let loopback = build(settings, certificate, reqwest::ClientBuilder::no_proxy)?;
            Ok::<_, RegistryError>(Pair { general, loopback })
        };
        let home = pair(true)?;
        let elsewhere = if settings.client.is_some() { pair(false)? } else { home.clone() };
        Ok(Self { home, elsewhere })
    }
}

fn build(
    settings: &RegistrySettings,
    certificate: bool,
    finish: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, RegistryError> {
    let failed =
        |error: reqwest::Error| RegistryError::Settings(format!("the registry's TLS settings: {}", cause(&error)));
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("waxseal/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(authorities) = &settings.authorities {
        let certificates = reqwest::Certificate::from_pem_bundle(authorities.as_bytes()).map_err(failed)?;
        builder = builder.tls_certs_only(certificates);
    }
    if let Some((certificate, key)) = settings.client.as_ref().filter(|_| certificate) {
        let both = zeroize::Zeroizing::new(format!("{certificate}\n{}", key.expose()));
        builder = builder.identity(reqwest::Identity::from_pem(both.as_bytes()).map_err(failed)?);
    }
    if settings.any_certificate {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    finish(builder).build().map_err(failed)
}

impl Registry {
    /// The client for what a registry at `base` has or names.
    pub(super) fn client_for(&self, base: &Url, url: &Url) -> &reqwest::Client {
        let clients = &self.inner.clients;
        let pair = if url.origin() == base.origin() { &clients.home } else { &clients.elsewhere };
        if is_loopback(url) { &pair.loopback } else { &pair.general }
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
        let (plain, tls) = (at("http", path)?, at("https", path)?);
        let settings = &self.inner.settings;
        // On this machine plain http is as good, unless something was said about certificates.
        let wants_tls = settings.any_certificate || settings.authorities.is_some() || settings.client.is_some();
        let unsure = if is_loopback(&plain) { wants_tls } else { settings.plain_http };
        let is_plain = if unsure {
            // Where both are allowed, https is better.
            *self.inner.homes.of(registry).plain.get_or_init(|| async { !self.speaks(&tls).await }).await
        } else {
            is_loopback(&plain)
        };
        Ok(if is_plain { plain } else { tls })
    }

    /// Whether somebody answers there, whatever that is.
    async fn speaks(&self, url: &Url) -> bool {
        let request = self.client_for(url, url).get(url.clone()).timeout(self.inner.settings.pace.request);
        send(request, url).await.is_ok()
    }

    /// Sends a request, with credentials if the registry asks for them, to where it leads, and again if that may help.
    pub(super) async fn ask(&self, mut ask: Ask<'_>) -> Result<Response, RegistryError> {
        let home = self.inner.homes.of(ask.repository.registry());
        let permit = home.permits.acquire().await;
        let _permit = permit.map_err(|error| RegistryError::File(error.to_string()))?;
        let pace = self.inner.settings.pace;
        let mut attempt = 1_u32;
        loop {
            let outcome = self.attempt(&home, &mut ask).await;
            let asked = match &outcome {
                Ok(response) if passes(response.status().as_u16()) => {
                    let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                    after.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs)
                }
                Err(RegistryError::Unreachable { .. }) if idempotent(&ask.method) && attempt < CONNECT_ATTEMPTS => None,
                _ => return outcome,
            };
            let gone = matches!(ask.body, Body::Gone);
            if gone || attempt >= pace.attempts || asked.is_some_and(|wait| wait > pace.max_wait) {
                return outcome;
            }
            let doubled = pace.back_off.saturating_mul(1 << attempt.saturating_sub(1).min(8)).min(pace.max_wait);
            tokio::time::sleep(asked.unwrap_or(doubled).saturating_add(jitter(doubled))).await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// Sends a request once, answers the registry's challenge, and follows to where it keeps what is asked for. The credentials stay
    /// here, and do not come back once they were left behind: whoever is in between chose the path (CVE-2026-48978 and its like).
    async fn attempt(&self, home: &Home, ask: &mut Ask<'_>) -> Result<Response, RegistryError> {
        let (registry, repository, action) = (ask.repository.registry(), ask.repository.name(), ask.action);
        let mut said = home.known(repository, action).await;
        let (mut url, mut at_home) = (ask.url.clone(), true);
        let (mut challenges, mut redirects) = (0_usize, 0_usize);
        loop {
            let mut request = self.client_for(&ask.url, &url).request(ask.method.clone(), url.clone());
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            if let Some(said) = said.as_ref().filter(|_| at_home).and_then(sensitive) {
                request = request.header(header::AUTHORIZATION, said);
            }
            let body = ask.body.take();
            let response = self.dispatch(request, body, &url, ask.moves_blob).await?;
            let status = response.status().as_u16();
            let gone = matches!(ask.body, Body::Gone);
            if status == 401 && at_home && challenges < MAX_CHALLENGES && !gone {
                let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
                let headers: Vec<_> = headers.iter().filter_map(|value| value.to_str().ok()).collect();
                let Some(challenge) = Challenge::parse(&headers) else { return Ok(response) };
                let challenged = Challenged { registry, repository, action, url: &ask.url, refused: said.take() };
                said = Some(self.authorize(home, &challenged, &challenge).await?);
                challenges = challenges.saturating_add(1);
            } else if ask.method == Method::GET && matches!(status, 301..=303 | 307 | 308) {
                let unusable = |problem: &str| RegistryError::Answer { url: shown(&url), problem: problem.to_owned() };
                let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                let location = location.and_then(|location| url.join(location).ok());
                let location = location.ok_or_else(|| unusable("it redirects to nowhere"))?;
                redirects = redirects.saturating_add(1);
                if redirects > MAX_REDIRECTS {
                    return Err(unusable("it redirects without end"));
                }
                self.follow(&url, &location)?;
                at_home = at_home && location.origin() == ask.url.origin();
                url = location;
            } else {
                return Ok(response);
            }
        }
    }

    /// Sends what was built, and waits for the head of the answer: for a small request as long as such a one may take, for a blob as
    /// long as it moves.
    pub(super) async fn dispatch(
        &self,
        request: RequestBuilder,
        body: Body,
        url: &Url,
        moves_blob: bool,
    ) -> Result<Response, RegistryError> {
        let pace = &self.inner.settings.pace;
        match body {
            Body::Bytes(bytes) if moves_blob && !bytes.is_empty() => {
                parts::watch(request, parts::outgoing(bytes), pace, url).await
            }
            Body::Stream(parts) => parts::watch(request, parts, pace, url).await,
            _ if moves_blob => parts::head(request, pace, url).await,
            Body::Bytes(bytes) => send(request.timeout(pace.request).body(bytes), url).await,
            Body::Gone => send(request.timeout(pace.request), url).await,
        }
    }

    /// As [`Registry::ask`], for an answer that has to be one of these; errors say `what` was asked for.
    pub(super) async fn demand(&self, ask: Ask<'_>, what: &str, good: &[u16]) -> Result<Response, RegistryError> {
        let registry = ask.repository.registry().to_owned();
        let response = self.ask(ask).await?;
        if good.contains(&response.status().as_u16()) {
            Ok(response)
        } else {
            Err(refusal(response, registry, what).await)
        }
    }
}

/// What an answer is that is none of the good ones.
pub(super) async fn refusal(response: Response, registry: String, what: &str) -> RegistryError {
    let (status, url) = (response.status().as_u16(), shown(response.url()));
    let body = body(response, &url, MAX_ERROR_LEN).await.unwrap_or_default();
    let message = message(&body);
    match status {
        404 => RegistryError::NotFound { what: what.to_owned() },
        401 | 403 => RegistryError::Unauthorized { registry, reason: Some(message).filter(|said| !said.is_empty()) },
        500..=599 | 429 => RegistryError::Unreachable { url, reason: format!("it answers {status}: {message}") },
        _ => RegistryError::Refused { url, status, message },
    }
}

/// Whether the same may be answered otherwise in a moment.
const fn passes(status: u16) -> bool {
    matches!(status, 429 | 500 | 502..=504)
}

const fn idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT)
}

/// Up to half of a wait: two who were told to wait shall not come back at the same time.
pub(super) fn jitter(wait: Duration) -> Duration {
    let [draw] = crate::system::random::<1>();
    wait.checked_div(512).unwrap_or_default().saturating_mul(u32::from(draw))
}

pub(super) async fn send(request: RequestBuilder, url: &Url) -> Result<Response, RegistryError> {
    request.send().await.map_err(|error| unreachable(&error, url))
}

/// What a failed request means. If what was to be sent could not be read, that is the reason.
pub(super) fn unreachable(error: &reqwest::Error, url: &Url) -> RegistryError {
    let mut source: Option<&dyn std::error::Error> = error.source();
    while let Some(error) = source {
        if let Some(reason) = error.downcast_ref::<RegistryError>() {
            return reason.clone();
        }
        source = error.source();
    }
    if error.is_timeout() && !error.is_connect() {
        return parts::slow(url);
    }
    RegistryError::Unreachable { url: shown(url), reason: cause(error) }
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
    let url = response.url().clone();
    if response.content_length().is_some_and(|len| len > limit) {
        return Err(RegistryError::TooLarge { what: what.to_owned(), limit });
    }
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
