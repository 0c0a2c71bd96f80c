//! Against answers from memory.

use super::{Discovery, IssuerHealth, Jwks, JwksError, MAX_STALE, MAX_UNNAMED, MIN_INTERVAL, Source, Sources, TTL};
use crate::transport::replay::Replay;
use crate::transport::{Http, PlainHttp};
use formats::code::Code;
use formats::jwt::{Jwk, JwkMaterial, JwkSet, MAX_KEY_SET_LEN};
use formats::pattern::Pattern;
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

fn sources(issuers: impl IntoIterator<Item = (&'static str, Source)>) -> Sources {
    let mut sources = Sources::new();
    for (issuer, source) in issuers {
        sources.issuer(issuer, source);
    }
    sources
}

#[tokio::test]
async fn keys_that_are_given_are_never_asked_for() {
    let replay = Arc::new(Replay::new());
    let jwks = Jwks::new(Arc::clone(&replay) as Arc<_>, []);
    jwks.replace_sources(sources([(ISSUER, Source::Static(Arc::new(set(&["given"]))))]));
    assert_eq!(*jwks.keys(ISSUER, Some("unknown")).await.expect("keys"), set(&["given"]));
    assert!(replay.asked().is_empty());
}

#[tokio::test]
async fn an_issuer_whose_entry_is_broken_is_the_only_one_that_does_not_work() {
    let (_, jwks) = issuer_with(&["a"]);
    jwks.replace_sources(sources([
        (ISSUER, Source::default()),
        ("https://broken.example", Source::Unusable("its file keys.json cannot be read".to_owned())),
    ]));
    let error = jwks.keys("https://broken.example", None).await.expect_err("refused");
    assert_eq!(error.code(), Code::TOKEN_ISSUER);
    assert_eq!(
        error.to_string(),
        "the issuer https://broken.example cannot be used: its file keys.json cannot be read"
    );
    assert!(jwks.keys(ISSUER, None).await.is_ok());
}

/// Row 18 of the classes: a credential that follows wherever a server points.
#[tokio::test]
async fn a_token_is_for_the_issuers_own_host_and_for_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "t0p").expect("written");
    let issuer = Source::Discovery(Discovery { token_file: Some(token_file), ..Discovery::default() });
    for (uri, asked) in [
        ("https://idp.example/keys", "https://idp.example/keys"),
        ("https://evil.example/keys?a=b", "https://idp.example/keys?a=b"),
        ("https://idp.example:8443/keys", "https://idp.example/keys"),
        ("http://idp.example/keys", "https://idp.example/keys"),
        ("https://169.254.169.254/keys", "https://idp.example/keys"),
    ] {
        let replay = Arc::new(Replay::new());
        replay.answer("GET", DISCOVERY, 200, discovery(ISSUER, uri));
        replay.answer("GET", asked, 200, set(&["a"]).to_json().to_string());
        let jwks = Jwks::new(Arc::clone(&replay) as Arc<_>, []);
        jwks.replace_sources(sources([(ISSUER, issuer.clone())]));
        assert!(jwks.keys(ISSUER, None).await.is_ok(), "{uri}");
        for request in replay.asked() {
            assert_eq!(request.url().host_str(), Some("idp.example"), "{uri}");
            assert_eq!(request.header_value("authorization"), Some("Bearer t0p"));
        }
        // Another issuer of the same instance gets to see nothing.
        let replay = Arc::new(Replay::new());
        replay.answer("GET", DISCOVERY, 200, discovery(ISSUER, "https://idp.example/realm/keys"));
        replay.answer("GET", KEYS, 200, set(&["a"]).to_json().to_string());
        let jwks = Jwks::new(Arc::clone(&replay) as Arc<_>, []);
        jwks.replace_sources(sources([("https://other.example", issuer.clone())]));
        assert!(jwks.keys(ISSUER, None).await.is_ok());
        assert!(replay.asked().iter().all(|request| request.header_value("authorization").is_none()));
    }
}

#[tokio::test]
async fn a_private_authority_is_believed_about_the_issuers_host_only() {
    let authorities: Arc<str> = "PEM".into();
    let issuer = Source::Discovery(Discovery { authorities: Some(authorities), ..Discovery::default() });
    for (uri, believed) in [(KEYS, true), ("https://idp.example:8443/keys", true), ("https://keys.example/x", false)] {
        let replay = Arc::new(Replay::new());
        replay.answer("GET", DISCOVERY, 200, discovery(ISSUER, uri));
        replay.answer("GET", uri, 200, set(&["a"]).to_json().to_string());
        let jwks = Jwks::new(Arc::clone(&replay) as Arc<_>, []);
        jwks.replace_sources(sources([(ISSUER, issuer.clone())]));
        assert!(jwks.keys(ISSUER, None).await.is_ok(), "{uri}");
        let seen: Vec<bool> = replay.asked().iter().map(|request| request.authorities().is_some()).collect();
        assert_eq!(seen, [true, believed], "{uri}");
    }
}

#[tokio::test]
async fn a_discovery_document_may_say_an_alias() {
    let aliases = vec!["https://kubernetes.default.svc.cluster.local".to_owned()];
    let issuer = Source::Discovery(Discovery { aliases, ..Discovery::default() });
    for (says, good) in
        [("https://kubernetes.default.svc.cluster.local", true), (ISSUER, true), ("https://x.example", false)]
    {
        let replay = Arc::new(Replay::new());
        replay.answer("GET", DISCOVERY, 200, discovery(says, KEYS));
        replay.answer("GET", KEYS, 200, set(&["a"]).to_json().to_string());
        let jwks = Jwks::new(replay, []);
        jwks.replace_sources(sources([(ISSUER, issuer.clone())]));
        assert_eq!(jwks.keys(ISSUER, None).await.is_ok(), good, "{says}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_is_known_of_issuers_that_stay_the_same() {
    let (replay, jwks) = issuer_with(&["a"]);
    let same = || sources([(ISSUER, Source::default())]);
    jwks.replace_sources(same());
    assert!(jwks.keys(ISSUER, None).await.is_ok());
    assert_eq!(replay.asked().len(), 2);
    jwks.replace_sources(same());
    assert!(jwks.keys(ISSUER, None).await.is_ok());
    assert_eq!(replay.asked().len(), 2, "not asked again");
    let other = Discovery { aliases: vec!["x".to_owned()], ..Discovery::default() };
    jwks.replace_sources(sources([(ISSUER, Source::Discovery(other))]));
    assert!(jwks.keys(ISSUER, None).await.is_ok());
    assert_eq!(replay.asked().len(), 4, "asked as its entry now says");
    jwks.replace_sources(sources([(ISSUER, Source::Static(Arc::new(set(&["given"]))))]));
    assert_eq!(*jwks.keys(ISSUER, None).await.expect("keys"), set(&["given"]), "the keys of before are gone");
}

/// Anybody can be an issuer of a pattern: neither memory nor the issuers that have a name suffer from it.
#[tokio::test(start_paused = true)]
async fn a_flood_of_issuers_of_a_pattern_is_bounded() {
    let (replay, jwks) = issuer_with(&["a"]);
    let mut all = sources([(ISSUER, Source::default())]);
    all.pattern(Pattern::labels("https://*.clusters.example").expect("a pattern"), Source::default());
    jwks.replace_sources(all);
    assert!(jwks.keys(ISSUER, None).await.is_ok());
    for n in 0..MAX_UNNAMED + 50 {
        assert!(jwks.keys(&format!("https://c{n}.clusters.example"), None).await.is_err());
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(jwks.health().len(), MAX_UNNAMED + 1);
    let asked = replay.asked().len();
    assert!(jwks.keys(ISSUER, None).await.is_ok());
    assert_eq!(replay.asked().len(), asked, "its keys are there still");
    assert!(!jwks.health().iter().any(|one| one.issuer == "https://c0.clusters.example"), "the oldest made room");
}

#[tokio::test(start_paused = true)]
async fn health_tells_of_every_issuer() {
    let (replay, jwks) = issuer_with(&["a", "b"]);
    let jwks = Arc::new(jwks);
    jwks.replace_sources(sources([
        (ISSUER, Source::default()),
        ("https://broken.example", Source::Unusable("why".to_owned())),
        ("https://down.example", Source::default()),
        ("https://given.example", Source::Static(Arc::new(set(&["a"])))),
    ]));
    let health = |issuer: &str, keys, fetched, failure: Option<&str>| IssuerHealth {
        issuer: issuer.to_owned(),
        keys,
        fetched,
        failure: failure.map(str::to_owned),
    };
    let broken = health("https://broken.example", 0, None, Some("why"));
    let given = health("https://given.example", 1, None, None);
    assert_eq!(
        jwks.health(),
        [broken.clone(), health("https://down.example", 0, None, None), given.clone(), health(ISSUER, 0, None, None)],
        "before anybody is asked"
    );
    jwks.ask_all().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let seen = jwks.health();
    assert_eq!((&seen[0], &seen[2]), (&broken, &given));
    assert_eq!(seen[3], health(ISSUER, 2, Some(Duration::from_secs(60)), None));
    assert!(seen[1].failure.as_deref().is_some_and(|failure| failure.contains("down.example")), "{:?}", seen[1]);
    replay.forget("GET", DISCOVERY);
    tokio::time::advance(TTL).await;
    jwks.ask_all().await;
    let seen = jwks.health();
    assert_eq!(seen[3].keys, 2, "the old keys serve");
    assert!(seen[3].failure.is_some(), "and what failed is told");
}
