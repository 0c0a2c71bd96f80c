//! The keys of token issuers: discovery (OpenID Connect Discovery 1.0 §4), fetched once for many tokens.
//!
//! Whoever sends a token can make us ask its issuer, so asking is bounded: an issuer is asked by one task at a time, not
//! again within [`MIN_INTERVAL`] however many unknown key ids arrive, and what it answers is bounded and leads nowhere
//! else. While an issuer is down its last keys serve for [`MAX_STALE`].

use crate::transport::{Reach, Request, Transport, TransportError, is_loopback};
use formats::code::Code;
use formats::jwt::{JwkSet, JwtError, MAX_KEY_SET_LEN};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use waxseal_formats as formats;

/// How long keys serve before their issuer is asked again.
pub const TTL: Duration = Duration::from_secs(10 * 60);
/// Shortest time between two requests to one issuer, whether for unknown keys or after a failure.
pub const MIN_INTERVAL: Duration = Duration::from_secs(10);
/// How long keys serve while their issuer cannot be asked.
pub const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long one request to an issuer may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest discovery document, in bytes.
pub const MAX_DISCOVERY_LEN: usize = 64 * 1024;
/// Most issuers whose keys are kept.
pub const MAX_ISSUERS: usize = 1024;

/// Why an issuer's keys are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It cannot be asked.
    #[error("the keys of the issuer {issuer} cannot be fetched: {source}")]
    Transport {
        /// The issuer.
        issuer: String,
        /// Why not.
        source: TransportError,
    },
    /// It answers with an error.
    #[error("the issuer {issuer} answers {status} for {url}")]
    Status {
        /// The issuer.
        issuer: String,
        /// What was asked for.
        url: String,
        /// Its answer.
        status: u16,
    },
    /// Its discovery document or key set is malformed, or is that of another issuer.
    #[error("the issuer {issuer} cannot be used: {reason}")]
    Malformed {
        /// The issuer.
        issuer: String,
        /// What is wrong.
        reason: String,
    },
    /// Its discovery document leads to where keys are not fetched from.
    #[error("the issuer {issuer} keeps its keys at {jwks_uri}: {reason}")]
    KeyUrl {
        /// The issuer.
        issuer: String,
        /// Its `jwks_uri`.
        jwks_uri: String,
        /// Why they are not fetched from there.
        reason: &'static str,
    },
    /// More issuers than [`MAX_ISSUERS`].
    #[error("there are more than {MAX_ISSUERS} issuers")]
    TooMany,
}

impl JwksError {
    /// `network.unreachable` if it may pass by itself, else `token.issuer`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Transport { .. } | Self::Status { .. } => Code::NETWORK_UNREACHABLE,
            Self::Malformed { .. } | Self::KeyUrl { .. } | Self::TooMany => Code::TOKEN_ISSUER,
        }
    }
}

/// The keys of every issuer that was asked, and those that are known without asking.
pub struct Jwks {
    transport: Arc<dyn Transport>,
    own: HashMap<String, Arc<JwkSet>>,
    issuers: Mutex<HashMap<String, Arc<Slot>>>,
}

/// What is known of one issuer.
#[derive(Default)]
struct Slot {
    /// Held while the issuer is asked, so that a thousand tokens ask once.
    asking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    keys: Option<(Arc<JwkSet>, Instant)>,
    asked: Option<Instant>,
    failure: Option<JwksError>,
}

impl Jwks {
    /// Asks issuers through `transport`. `own` are the keys of issuers in this very process, which are never asked.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, own: impl IntoIterator<Item = (String, JwkSet)>) -> Self {
        let own = own.into_iter().map(|(issuer, keys)| (issuer, Arc::new(keys))).collect();
        Self { transport, own, issuers: Mutex::default() }
    }

    /// The keys of an issuer, which the caller has checked to be one that is accepted. An unknown `key_id` makes it be
    /// asked again, because issuers rotate their keys; it is no error if it stays unknown.
    ///
    /// # Errors
    /// [`JwksError`] if there are no keys, not even stale ones.
    pub async fn keys(&self, issuer: &str, key_id: Option<&str>) -> Result<Arc<JwkSet>, JwksError> {
        if let Some(keys) = self.own.get(issuer) {
            return Ok(Arc::clone(keys));
        }
        let slot = self.slot(issuer)?;
        if let Some(answer) = slot.answer(key_id) {
            return answer;
        }
        // Held across the request on purpose: the others wait for its outcome instead of asking too. A caller that goes
        // away lets go of it, and the next one asks.
        let _asking = slot.asking.lock().await;
        if let Some(answer) = slot.answer(key_id) {
            return answer;
        }
        let outcome = self.fetch(issuer).await;
        if let Err(error) = &outcome {
            tracing::warn!(issuer, error = %error, "issuer keys not refreshed");
        }
        slot.record(outcome)
    }

    fn slot(&self, issuer: &str) -> Result<Arc<Slot>, JwksError> {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if !issuers.contains_key(issuer) && issuers.len() >= MAX_ISSUERS {
            return Err(JwksError::TooMany);
        }
        Ok(Arc::clone(issuers.entry(issuer.to_owned()).or_default()))
    }

    async fn fetch(&self, issuer: &str) -> Result<JwkSet, JwksError> {
        let malformed = |reason: String| JwksError::Malformed { issuer: issuer.to_owned(), reason };
        let issuer_url = Url::parse(issuer).map_err(|error| malformed(error.to_string()))?;
        let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery = Url::parse(&discovery).map_err(|error| malformed(error.to_string()))?;
        let document = self.get(issuer, Request::get(discovery).max_body_len(MAX_DISCOVERY_LEN)).await?;
        let document: Discovery = serde_json::from_slice(&document)
            .map_err(|error| malformed(format!("its discovery document is malformed: {error}")))?;
        if document.issuer != issuer {
            return Err(malformed(format!("its discovery document is that of {:?}", document.issuer)));
        }
        let (jwks_uri, reach) = key_url(issuer, &issuer_url, &document.jwks_uri)?;
        let keys = self.get(issuer, Request::get(jwks_uri).max_body_len(MAX_KEY_SET_LEN).reach(reach)).await?;
        JwkSet::from_json(&keys).map_err(|error: JwtError| malformed(error.to_string()))
    }

    async fn get(&self, issuer: &str, request: Request) -> Result<bytes::Bytes, JwksError> {
        let url = request.url().to_string();
        let answer = self.transport.send(request.timeout(TIMEOUT)).await;
        let answer = answer.map_err(|source| JwksError::Transport { issuer: issuer.to_owned(), source })?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(JwksError::Status { issuer: issuer.to_owned(), url, status: answer.status })
        }
    }
}

impl Slot {
    /// What can be said without asking.
    fn answer(&self, key_id: Option<&str>) -> Option<Result<Arc<JwkSet>, JwksError>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked_lately = state.asked.is_some_and(|asked| asked.elapsed() < MIN_INTERVAL);
        match (state.keys, state.failure) {
            (Some((keys, fetched)), failure) => {
                let known = key_id.is_none() || keys.candidates(key_id).next().is_some();
                let fresh = fetched.elapsed() < TTL && known;
                let stale = asked_lately && (failure.is_none() || fetched.elapsed() < MAX_STALE);
                (fresh || stale).then_some(Ok(keys))
            }
            (None, Some(failure)) if asked_lately => Some(Err(failure)),
            (None, _) => None,
        }
    }

    fn record(&self, outcome: Result<JwkSet, JwksError>) -> Result<Arc<JwkSet>, JwksError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.asked = Some(now);
        match outcome {
            Ok(keys) => {
                let keys = Arc::new(keys);
                state.keys = Some((Arc::clone(&keys), now));
                state.failure = None;
                Ok(keys)
            }
            Err(error) => {
                state.keys = state.keys.take().filter(|(_, fetched)| fetched.elapsed() < MAX_STALE);
                state.failure = Some(error.clone());
                state.keys.as_ref().map(|(keys, _)| Arc::clone(keys)).ok_or(error)
            }
        }
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Where an issuer's keys are fetched from, as its discovery document says: from its own host as that was configured, or
/// over https from another host with a public address (large providers do that). Never over http from elsewhere.
fn key_url(issuer: &str, issuer_url: &Url, jwks_uri: &str) -> Result<(Url, Reach), JwksError> {
    let refused = |reason| JwksError::KeyUrl {
        issuer: issuer.to_owned(),
        jwks_uri: jwks_uri.chars().take(200).collect(),
        reason,
    };
    let url = Url::parse(jwks_uri).map_err(|_| refused("that is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("that is a URL with a user"));
    }
    match url.scheme() {
        "https" | "http" if url.origin() == issuer_url.origin() => {
            if url.scheme() == "https" || is_loopback(&url) {
                Ok((url, Reach::Anywhere))
            } else {
                Err(refused("that is plain http"))
            }
        }
        "https" if url.host() == issuer_url.host() => Ok((url, Reach::Anywhere)),
        "https" => Ok((url, Reach::Public)),
        _ => Err(refused("keys are fetched over https, or over http on loopback from the issuer itself")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Jwks, JwksError, MAX_STALE, MIN_INTERVAL, TTL};
    use crate::transport::replay::Replay;
    use crate::transport::{Http, PlainHttp};
    use formats::code::Code;
    use formats::jwt::{Jwk, JwkMaterial, JwkSet, MAX_KEY_SET_LEN};
    use serde_json::json;
    use std::sync::Arc;
    use std::time::Duration;
    use waxseal_formats as formats;

    const ISSUER: &str = "https://idp.example/realm";
    const DISCOVERY: &str = "https://idp.example/realm/.well-known/openid-configuration";
    const KEYS: &str = "https://idp.example/realm/keys";

    fn set(key_ids: &[&str]) -> JwkSet {
        let key = |id: &&str| Jwk {
            key_id: Some((*id).to_owned()),
            algorithm: None,
            material: JwkMaterial::Ed25519 { x: vec![7; 32] },
        };
        JwkSet::new(key_ids.iter().map(key).collect())
    }

    fn discovery(issuer: &str, jwks_uri: &str) -> String {
        json!({ "issuer": issuer, "jwks_uri": jwks_uri, "more": [1] }).to_string()
    }

    fn issuer_with(key_ids: &[&str]) -> (Arc<Replay>, Jwks) {
        let replay = Arc::new(Replay::new());
        replay.answer("GET", DISCOVERY, 200, discovery(ISSUER, KEYS));
        replay.answer("GET", KEYS, 200, set(key_ids).to_json().to_string());
        (Arc::clone(&replay), Jwks::new(replay, []))
    }

    async fn refusal(document: &str, keys: Option<&str>) -> JwksError {
        let replay = Replay::new();
        replay.answer("GET", DISCOVERY, 200, document);
        if let Some(keys) = keys {
            replay.answer("GET", KEYS, 200, keys);
        }
        Jwks::new(Arc::new(replay), []).keys(ISSUER, None).await.expect_err("refused")
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_once_for_many_tokens() {
        let (replay, jwks) = issuer_with(&["a"]);
        for _ in 0..5 {
            assert_eq!(*jwks.keys(ISSUER, Some("a")).await.expect("keys"), set(&["a"]));
        }
        assert_eq!(replay.asked().len(), 2);
        tokio::time::advance(TTL).await;
        assert!(jwks.keys(ISSUER, None).await.is_ok());
        assert_eq!(replay.asked().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_that_arrive_together_ask_once() {
        let (replay, jwks) = issuer_with(&["a"]);
        let jwks = Arc::new(jwks);
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let jwks = Arc::clone(&jwks);
                tokio::spawn(async move { jwks.keys(ISSUER, Some("a")).await.map(|keys| keys.keys().len()) })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("a task"), Ok(1));
        }
        assert_eq!(replay.asked().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_id_asks_again_but_not_all_the_time() {
        let (replay, jwks) = issuer_with(&["a"]);
        replay.answer("GET", KEYS, 200, set(&["a", "b"]).to_json().to_string());
        assert_eq!(*jwks.keys(ISSUER, Some("b")).await.expect("keys"), set(&["a"]));
        for id in 0..100 {
            assert!(jwks.keys(ISSUER, Some(&id.to_string())).await.is_ok());
        }
        assert_eq!(replay.asked().len(), 2, "a flood of made-up key ids");
        tokio::time::advance(MIN_INTERVAL).await;
        assert_eq!(*jwks.keys(ISSUER, Some("b")).await.expect("keys"), set(&["a", "b"]));
        assert_eq!(replay.asked().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn old_keys_serve_while_their_issuer_is_down() {
        let (replay, jwks) = issuer_with(&["a"]);
        assert!(jwks.keys(ISSUER, None).await.is_ok());
        replay.forget("GET", DISCOVERY);
        tokio::time::advance(TTL).await;
        assert_eq!(*jwks.keys(ISSUER, Some("a")).await.expect("stale keys"), set(&["a"]));
        assert_eq!(replay.asked().len(), 3);
        assert!(jwks.keys(ISSUER, Some("a")).await.is_ok());
        assert_eq!(replay.asked().len(), 3, "not asked again at once");
        tokio::time::advance(MAX_STALE).await;
        let error = jwks.keys(ISSUER, Some("a")).await.expect_err("too old");
        assert_eq!(error.code(), Code::NETWORK_UNREACHABLE);
        assert_eq!(replay.asked().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_remembered_for_a_moment() {
        let replay = Arc::new(Replay::new());
        let jwks = Jwks::new(Arc::clone(&replay) as Arc<_>, []);
        for _ in 0..5 {
            assert!(matches!(jwks.keys(ISSUER, None).await, Err(JwksError::Transport { .. })));
        }
        assert_eq!(replay.asked().len(), 1);
        tokio::time::advance(MIN_INTERVAL + Duration::from_secs(1)).await;
        replay.answer("GET", DISCOVERY, 503, "");
        assert!(matches!(jwks.keys(ISSUER, None).await, Err(JwksError::Status { status: 503, .. })));
    }

    #[tokio::test]
    async fn the_discovery_document_has_to_be_the_issuers_own() {
        for other in ["https://idp.example/realm/", "https://idp.example", "https://evil.example", ""] {
            let error = refusal(&discovery(other, KEYS), None).await;
            assert!(matches!(error, JwksError::Malformed { .. }), "{other}");
            assert_eq!(error.code(), Code::TOKEN_ISSUER);
        }
        for document in ["", "{}", "<html>", r#"{"issuer":"https://idp.example/realm"}"#] {
            assert!(matches!(refusal(document, None).await, JwksError::Malformed { .. }), "{document}");
        }
        let document = discovery(ISSUER, KEYS);
        for keys in ["", "{}", "[]"] {
            assert!(matches!(refusal(&document, Some(keys)).await, JwksError::Malformed { .. }), "{keys}");
        }
        for (document, keys) in [(" ".repeat(100_000), String::new()), (document, " ".repeat(MAX_KEY_SET_LEN + 1))] {
            let error = refusal(&document, Some(&keys)).await;
            assert!(error.to_string().contains("longer than"), "{error}");
        }
    }

    /// Row 13 of the classes: Fulcio CVE-2026-49478, octo-sts CVE-2025-52477.
    #[tokio::test]
    async fn a_foreign_jwks_uri_is_asked_over_https_and_in_public_only() {
        for uri in [
            "http://idp.example/realm/keys",
            "http://169.254.169.254/keys",
            "http://127.0.0.1/keys",
            "file:///etc/passwd",
            "https://user:pw@idp.example/keys",
            "keys",
            "gopher://idp.example/",
            "",
        ] {
            let error = refusal(&discovery(ISSUER, uri), None).await;
            assert!(matches!(error, JwksError::KeyUrl { .. }), "{uri}: {error}");
            assert_eq!(error.code(), Code::TOKEN_ISSUER);
        }
        // Through the real client: addresses inside are not asked, whatever their spelling.
        for uri in [
            "https://169.254.169.254/keys",
            "https://[::1]/keys",
            "https://10.0.0.1/keys",
            "https://localhost/keys",
            "https://2130706433/",
        ] {
            let replay = Replay::new();
            replay.answer("GET", DISCOVERY, 200, discovery(ISSUER, uri));
            let jwks = Jwks::new(Arc::new(TwoFaced { discovery: replay, keys: Http::new(PlainHttp::Allowed) }), []);
            let error = jwks.keys(ISSUER, None).await.expect_err("refused");
            assert!(error.to_string().contains("public"), "{uri}: {error}");
        }
    }

    /// Discovery from memory, keys from the network.
    struct TwoFaced {
        discovery: Replay,
        keys: Http,
    }

    impl crate::transport::Transport for TwoFaced {
        fn send(&self, request: crate::transport::Request) -> crate::transport::Pending<'_> {
            if request.url().as_str() == DISCOVERY { self.discovery.send(request) } else { self.keys.send(request) }
        }
    }

    #[tokio::test]
    async fn issuers_of_this_process_are_not_asked() {
        let replay = Arc::new(Replay::new());
        let jwks = Jwks::new(Arc::clone(&replay) as Arc<_>, [("http://127.0.0.1:7480/idp".to_owned(), set(&["own"]))]);
        assert_eq!(*jwks.keys("http://127.0.0.1:7480/idp", Some("other")).await.expect("keys"), set(&["own"]));
        assert!(replay.asked().is_empty());
    }

    #[tokio::test]
    async fn recorded_discovery_can_be_read() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let replay = Replay::new();
        let wire = vectors.wire("fulcio-1.8.8-outgoing");
        for exchange in wire.iter().filter(|exchange| exchange.service == "oidc") {
            let body = exchange.response_body.clone().unwrap_or_default();
            replay.answer("GET", &format!("http://127.0.0.1:7480{}", exchange.path), exchange.status, body);
        }
        let keys = Jwks::new(Arc::new(replay), []).keys("http://127.0.0.1:7480/idp", Some("e1")).await.expect("keys");
        let ids: Vec<_> = keys.keys().iter().filter_map(|key| key.key_id.as_deref()).collect();
        assert_eq!(ids, ["r1", "e1"]);
    }
}
