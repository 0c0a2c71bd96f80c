//! Recorded requests of real clients, their tokens signed anew by an issuer of ours, and what they were answered.

use super::{CertificateLog, Fulcio, MAX_BODY_LEN, OtherKey, Parts, Submission, SubmissionError, routes};
use crate::server::audit::tests::Audited;
use crate::server::rules::CurrentRules;
use crate::server::telemetry::Metrics;
use crate::server::writers::Admission;
use crate::server::writers::tests::{admission, authority};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tower::ServiceExt;
use waxseal_authority::ca::CaIssuer;
use waxseal_authority::rules::{IssuerType, Rules};
use waxseal_authority::writers::Writers;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyKind, PublicKey};
use waxseal_formats::entry::Verifier;
use waxseal_formats::jwt::{Jwk, JwkMaterial, JwkSet, assemble, signing_input};
use waxseal_formats::leaf::SignedEntry;
use waxseal_formats::sct::{SignedCertificateTimestamp, leaf_index_extension, signed_input};
use waxseal_formats::x509::Certificate;
use waxseal_io::jwks::Jwks;
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_io::system;
use waxseal_io::transport::replay::Replay;
use waxseal_testkit::{Exchange, FULCIO_REFUSALS};

const EMAIL_ISSUER: &str = "http://127.0.0.1:7480/idp";
const GITHUB_ISSUER: &str = "http://127.0.0.1:7480/idp/github";
const PATH: &str = "/api/v2/signingCert";

fn key(kind: KeyKind) -> KeyPair {
    KeyPair::generate(kind).expect("a key")
}

/// A log that promises everything, or refuses everything.
struct TestLog {
    key: KeyPair,
    refuses: bool,
    submissions: AtomicUsize,
}

impl CertificateLog for TestLog {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn submit_precertificate<'a>(
        &'a self,
        issuer_key_hash: [u8; 32],
        tbs: Vec<u8>,
        precertificate: Vec<u8>,
        chain: &'a [Certificate],
        audit: Vec<u8>,
    ) -> Submission<'a> {
        let row: Value = serde_json::from_slice(&audit).expect("JSON");
        assert_eq!((&row["event"], row["serial"].is_string()), (&json!("issued"), true));
        let index = self.submissions.fetch_add(1, Ordering::SeqCst);
        assert!(Certificate::from_der(&precertificate).is_ok() && chain.len() == 2);
        let outcome = if self.refuses {
            Err(SubmissionError { code: Code::LOG_BUSY, message: "the disk is full".into() })
        } else {
            let timestamp_ms = u64::try_from(system::now().as_millisecond()).expect("after 1970");
            let extensions = leaf_index_extension(index as u64).expect("fits");
            let entry = SignedEntry::Precertificate { issuer_key_hash, tbs };
            let input = signed_input(timestamp_ms, &entry, &extensions).expect("input");
            Ok(SignedCertificateTimestamp {
                log_id: self.key.public_key().spki_sha256(),
                timestamp_ms,
                extensions,
                algorithm: self.key.algorithm(),
                signature: self.key.sign(&input).expect("a signature"),
            })
        };
        Box::pin(async move { outcome })
    }
}

/// A served authority with an issuer that it trusts.
struct Served {
    router: Router,
    issuer: CaIssuer,
    log: Arc<TestLog>,
    admission: Arc<Admission>,
    rules: Arc<CurrentRules>,
    metrics: Arc<Metrics>,
    idp: KeyPair,
    _audited: Audited,
}

fn rules() -> Arc<CurrentRules> {
    let rules = format!(
        "issuers:\n- {{issuer: '{EMAIL_ISSUER}', type: email, email_verified: text}}\n\
         rules:\n- {{name: people, issuer: '{EMAIL_ISSUER}', match: {{email: '*@corp.example'}}}}\n\
         - {{name: builds, issuer: '{GITHUB_ISSUER}', match: {{repository: acme/widgets}}}}\n"
    );
    let github = (GITHUB_ISSUER.to_owned(), IssuerType::ci("github-workflow").expect("a provider"));
    Arc::new(CurrentRules::new(Rules::from_yaml(&rules, &[github]).expect("rules"), None))
}

fn serve(refuses: bool) -> Served {
    let idp = key(KeyKind::Ed25519);
    let public =
        Jwk { key_id: Some("r1".into()), algorithm: None, material: JwkMaterial::of(idp.public_key()).expect("a key") };
    let keys = JwkSet::new(vec![public]);
    let own = [EMAIL_ISSUER, GITHUB_ISSUER].map(|issuer| (issuer.to_owned(), keys.clone()));
    let jwks = Arc::new(Jwks::new(Arc::new(Replay::new()), own));
    let (ca_key, issuer) = authority();
    let log = Arc::new(TestLog { key: key(KeyKind::EcdsaP256), refuses, submissions: AtomicUsize::new(0) });
    let certificate_log: Arc<dyn CertificateLog> = log.clone();
    // Of another authority: it admits what it was told of and nothing else.
    let admission = admission(Writers::default());
    let told = Arc::clone(&admission);
    let (rules, metrics, audited) = (rules(), Arc::new(Metrics::new(|_| {})), Audited::new());
    let fulcio = Fulcio::new(Parts {
        issuer: issuer.clone(),
        signer: Arc::new(ca_key),
        rules: Arc::clone(&rules),
        jwks,
        log: certificate_log,
        admission: told,
        metrics: Arc::clone(&metrics),
        audit: Arc::clone(&audited.audit),
        per_identity: None,
    });
    Served {
        router: routes(Arc::new(fulcio.expect("an authority"))),
        issuer,
        log,
        admission,
        rules,
        metrics,
        idp,
        _audited: audited,
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl Answer {
    fn code(&self) -> &str {
        let message = self.json["message"].as_str().expect("a message");
        message.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(code, _)| code)
    }

    fn chain(&self) -> Vec<Certificate> {
        let list = &self.json["signedCertificateEmbeddedSct"]["chain"]["certificates"];
        let pem = |one: &Value| Certificate::from_pem(one.as_str().expect("PEM")).expect("a certificate");
        list.as_array().expect("a chain").iter().map(pem).collect()
    }
}

impl Served {
    async fn ask(&self, request: Request) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let json = serde_json::from_slice(&body).expect("JSON");
        Answer { status: parts.status, headers: parts.headers, json }
    }

    async fn post(&self, body: impl Into<Body>) -> Answer {
        self.ask(Request::post(PATH).body(body.into()).expect("a request")).await
    }

    fn submissions(&self) -> usize {
        self.log.submissions.load(Ordering::SeqCst)
    }

    fn token(&self, idp: &KeyPair, claims: &Map<String, Value>) -> String {
        let input = signing_input("EdDSA", "r1", claims);
        let signature = idp.sign(input.as_bytes()).expect("a signature");
        assert!(self.idp.public_key().kind() == KeyKind::Ed25519);
        assemble(&input, &signature)
    }

    /// The recorded token with the same claims, its times moved to today, signed by the issuer of this test. Tokens that
    /// were not signed with RS256 are left as they are.
    fn token_again(&self, recorded: &str, idp: &KeyPair) -> String {
        let parts: Vec<&str> = recorded.split('.').collect();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let (Some(header), Some(claims)) = (decode(parts[0]), decode(parts[1])) else { return recorded.to_owned() };
        let (header, mut claims): (Value, Map<String, Value>) =
            (header, serde_json::from_value(claims).expect("an object"));
        if header["alg"] != "RS256" && header["alg"] != "ES256" {
            return recorded.to_owned();
        }
        let recorded_at = claims.get("iat").and_then(Value::as_i64).unwrap_or(1_795_531_584);
        let moved = system::now().as_second() - recorded_at;
        for claim in ["iat", "nbf", "exp"] {
            if let Some(time) = claims.get(claim).and_then(Value::as_i64) {
                claims.insert(claim.into(), json!(time + moved));
            }
        }
        self.token(idp, &claims)
    }

    /// A recorded request with its token signed again.
    fn again(&self, exchange: &Exchange, idp: &KeyPair) -> Request {
        let mut request = Request::builder().method(exchange.method.as_str()).uri(&exchange.path);
        for (name, value) in &exchange.request_headers {
            // The length changes with the token.
            if name.eq_ignore_ascii_case("content-length") {
                continue;
            }
            request = match value.split_once(' ') {
                Some((scheme, token)) if name.eq_ignore_ascii_case("authorization") => {
                    request.header(name, format!("{scheme} {}", self.token_again(token, idp)))
                }
                _ => request.header(name, value),
            };
        }
        let body = exchange.request_body.clone().unwrap_or_default();
        let body = match serde_json::from_slice::<Value>(&body) {
            Ok(mut message) => {
                for name in ["oidcIdentityToken", "oidc_identity_token"] {
                    if let Some(token) = message["credentials"][name].as_str().map(|token| self.token_again(token, idp))
                    {
                        message["credentials"][name] = json!(token);
                    }
                }
                message.to_string().into_bytes()
            }
            Err(_) => body,
        };
        request.body(body.into()).expect("a request")
    }

    fn claims(&self) -> Map<String, Value> {
        let now = system::now().as_second();
        let claims = json!({
            "iss": EMAIL_ISSUER, "sub": "alice@corp.example", "aud": "sigstore", "iat": now, "exp": now + 3600,
            "email": "alice@corp.example", "email_verified": true,
        });
        claims.as_object().expect("an object").clone()
    }

    /// A good request of ours: alice, P-256.
    fn good(&self) -> Value {
        let leaf = key(KeyKind::EcdsaP256);
        let proof = leaf.sign(b"alice@corp.example").expect("a signature");
        json!({
            "credentials": {"oidcIdentityToken": self.token(&self.idp, &self.claims())},
            "publicKeyRequest": {
                "publicKey": {"algorithm": "ECDSA", "content": leaf.public_key().to_pem()},
                "proofOfPossession": waxseal_formats::json::encode_base64(&proof),
            },
        })
    }
}

/// The recorded exchanges with Fulcio's API version 2 in `file`.
fn recorded(file: &str) -> Vec<Exchange> {
    of_version(file, "/api/v2/")
}

fn of_version(file: &str, prefix: &str) -> Vec<Exchange> {
    let Some(vectors) = waxseal_testkit::vectors() else { return Vec::new() };
    let all = vectors.wire(file).into_iter();
    all.filter(|exchange| exchange.service == "fulcio" && exchange.path.starts_with(prefix)).collect()
}

#[tokio::test]
async fn recorded_probes_get_the_recorded_status_and_a_reason() {
    let served = serve(false);
    let (mut issued, mut refused) = (0, Vec::new());
    for exchange in recorded("server-probes") {
        let stranger = key(KeyKind::Ed25519);
        let idp = if exchange.step == "f2-bad-signature" { &stranger } else { &served.idp };
        let answer = served.ask(served.again(&exchange, idp)).await;
        assert_eq!(answer.status.as_u16(), exchange.status, "{}: {}", exchange.step, answer.json);
        assert_eq!(answer.headers["content-type"], "application/json", "{}", exchange.step);
        if exchange.status >= 400 {
            let theirs = exchange.response_json();
            assert_eq!(answer.json["code"], theirs["code"], "{}", exchange.step);
            assert_eq!(answer.json["details"], json!([]), "{}", exchange.step);
        }
        if exchange.status == 400 {
            refused.push((exchange.step.clone(), answer.code().to_owned()));
        }
        issued += usize::from(exchange.path == PATH && exchange.status == 200);
        assert_eq!(served.submissions(), issued, "{}: a refused request was logged", exchange.step);
    }
    if !refused.is_empty() {
        let expected = FULCIO_REFUSALS.map(|(step, code)| (step.to_owned(), code.to_owned()));
        assert_eq!(refused, expected);
        assert_eq!(issued, 17);
    }
}

#[tokio::test]
async fn every_recorded_client_gets_the_certificate_that_it_asked_for() {
    let served = serve(false);
    for client in ["cosign-3.1.3", "cosign-2.6.1", "sigstore-python-4.5.1", "sigstore-js-cli-0.10.3"] {
        for exchange in recorded(client) {
            let what = format!("{client} line {} ({})", exchange.line, exchange.step);
            let answer = served.ask(served.again(&exchange, &served.idp)).await;
            assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.json);
            let theirs = Answer { status: answer.status, headers: HeaderMap::new(), json: exchange.response_json() };
            let (ours, theirs) = (answer.chain(), theirs.chain());
            assert_eq!(ours[1..], *served.issuer.chain(), "{what}");
            assert_eq!(ours[0].subject_alt_name(), theirs[0].subject_alt_name(), "{what}");
            assert_eq!(ours[0].extensions(), theirs[0].extensions(), "{what}");
            assert_eq!(ours[0].extension_oids(), theirs[0].extension_oids(), "{what}");
            assert_eq!(ours[0].public_key(), theirs[0].public_key(), "{what}");
            verifies(&ours[0], &served, &what);
        }
    }
}

fn verifies(leaf: &Certificate, served: &Served, what: &str) {
    let issuer = served.issuer.key();
    assert_eq!(leaf.verify_signature(issuer), Ok(()), "{what}");
    let tbs = leaf.precertificate_tbs().expect("an SCT");
    let entry = SignedEntry::Precertificate { issuer_key_hash: issuer.spki_sha256(), tbs };
    let scts = SignedCertificateTimestamp::parse_list(leaf.sct_list().expect("a list")).expect("SCTs");
    assert_eq!(scts[0].verify(served.log.public_key(), &entry), Ok(()), "{what}");
}

#[tokio::test]
async fn the_bundle_and_the_configuration_have_the_recorded_shape() {
    let served = serve(false);
    for exchange in recorded("server-probes") {
        if exchange.step != "f2-trust-bundle" && exchange.step != "f2-configuration" {
            continue;
        }
        let ours = served.ask(served.again(&exchange, &served.idp)).await.json;
        let theirs = exchange.response_json();
        assert_eq!(shape(&ours), shape(&theirs));
    }
    let request = || Request::get("/api/v2/configuration").body(Body::empty()).expect("a request");
    let issuers = served.ask(request()).await.json["issuers"].clone();
    assert_eq!((&issuers[0]["issuerUrl"], &issuers[0]["challengeClaim"]), (&json!(EMAIL_ISSUER), &json!("email")));
    assert_eq!((&issuers[1]["issuerUrl"], &issuers[1]["challengeClaim"]), (&json!(GITHUB_ISSUER), &json!("sub")));
}

/// The members' names and the kinds of their values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => json!("text"),
        other => other.clone(),
    }
}

#[tokio::test]
async fn the_bodys_token_wins_over_the_headers() {
    let served = serve(false);
    let good = served.good();
    let with_header = |token: &str, body: &Value| {
        let request = Request::post(PATH).header("authorization", format!("Bearer {token}"));
        request.body(Body::from(body.to_string())).expect("a request")
    };
    assert_eq!(served.ask(with_header("garbage", &good)).await.status, StatusCode::OK);
    let token = good["credentials"]["oidcIdentityToken"].as_str().expect("a token").to_owned();
    let mut garbage = good.clone();
    garbage["credentials"]["oidcIdentityToken"] = json!("garbage");
    assert_eq!(served.ask(with_header(&token, &garbage)).await.code(), "token.malformed");
    garbage["credentials"] = Value::Null;
    assert_eq!(served.ask(with_header(&token, &garbage)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_rule_that_does_not_admit_denies_and_says_which() {
    let served = serve(false);
    let mut claims = served.claims();
    claims.insert("email".into(), json!("mallory@evil.example"));
    let mut request = served.good();
    request["credentials"]["oidcIdentityToken"] = json!(served.token(&served.idp, &claims));
    let answer = served.post(request.to_string()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "rule.denied"));
    assert!(answer.json["message"].as_str().is_some_and(|text| text.contains("rule `people`")), "{}", answer.json);
    assert_eq!(served.submissions(), 0);
}

#[tokio::test]
async fn bodies_are_bounded_before_they_are_parsed() {
    let served = serve(false);
    let answer = served.post(vec![b'['; MAX_BODY_LEN + 1]).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::PAYLOAD_TOO_LARGE, "input.too-large"));
    let deep = served.post(vec![b'['; MAX_BODY_LEN]).await;
    assert_eq!((deep.status, deep.code()), (StatusCode::BAD_REQUEST, "input.malformed"));
    // CVE-2025-66506: a token of separators alone.
    let dots = served.post(json!({"credentials": {"oidcIdentityToken": ".".repeat(60_000)}}).to_string()).await;
    assert_eq!((dots.status, dots.code()), (StatusCode::BAD_REQUEST, "token.malformed"));
    assert_eq!(served.submissions(), 0);
}

#[tokio::test]
async fn a_key_that_stands_twice_is_refused() {
    let served = serve(false);
    let text = served.good().to_string();
    let twice = text.replacen("\"credentials\"", "\"credentials\":{},\"credentials\"", 1);
    assert_eq!(served.post(twice).await.code(), "input.malformed");
    let both = text.replacen("\"credentials\"", "\"public_key_request\":{},\"credentials\"", 1);
    assert_eq!(served.post(both).await.code(), "input.malformed");
    assert_eq!(served.submissions(), 0);
}

#[tokio::test]
async fn a_request_without_a_key_is_refused() {
    let served = serve(false);
    let mut request = served.good();
    request["publicKeyRequest"] = Value::Null;
    let answer = served.post(request.to_string()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "key.unsupported"));
}

/// What is issued may write at the price of a look-up: the log is told of it, not of what it could check itself.
#[tokio::test]
async fn the_log_is_told_of_every_certificate() {
    let served = serve(false);
    let answer = served.post(served.good().to_string()).await;
    let verifiers: Vec<_> = answer.chain().iter().map(|one| Verifier::Certificate(one.der().to_vec())).collect();
    assert_eq!(served.admission.admit(&verifiers[..1]), Ok(()));
    for other in &verifiers[1..] {
        assert_eq!(served.admission.admit([other]).expect_err("not issued").code(), Code::RULE_WRITER);
    }
}

#[tokio::test]
async fn without_the_logs_promise_there_is_no_certificate() {
    let served = serve(true);
    let answer = served.post(served.good().to_string()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::INTERNAL_SERVER_ERROR, "log.busy"));
    assert_eq!(answer.json["code"], 13);
    // What the log said is for the operator.
    assert!(!answer.json.to_string().contains("disk"), "{}", answer.json);
}

#[tokio::test]
async fn other_methods_are_unimplemented_and_a_trailing_slash_is_another_path() {
    let served = serve(false);
    for (method, path) in
        [("GET", PATH), ("PUT", PATH), ("POST", "/api/v2/trustBundle"), ("POST", "/api/v2/configuration")]
    {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        let answer = served.ask(request).await;
        assert_eq!((answer.status, &answer.json["code"]), (StatusCode::NOT_IMPLEMENTED, &json!(12)), "{method} {path}");
    }
    let request = Request::post(format!("{PATH}/")).body(Body::empty()).expect("a request");
    let response = served.router.clone().fallback(super::super::gateway::not_found).oneshot(request).await;
    assert_eq!(response.expect("an answer").status(), StatusCode::NOT_FOUND);
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let (_, issuer) = authority();
    let admission = admission(Writers::Any);
    let log = TestLog { key: key(KeyKind::EcdsaP256), refuses: false, submissions: AtomicUsize::new(0) };
    let jwks = Jwks::new(Arc::new(Replay::new()), []);
    let other = Arc::new(key(KeyKind::EcdsaP256));
    let parts = Parts {
        issuer,
        signer: other,
        rules: rules(),
        jwks: Arc::new(jwks),
        log: Arc::new(log),
        admission,
        metrics: Arc::new(Metrics::new(|_| {})),
        audit: Audited::new().audit,
        per_identity: None,
    };
    assert_eq!(Fulcio::new(parts).err(), Some(OtherKey));
}

mod v1;
