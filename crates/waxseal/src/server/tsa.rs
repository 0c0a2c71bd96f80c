//! The timestamp authority over HTTP: `/api/v1/timestamp` and `/api/v1/timestamp/certchain`, as Sigstore's own answers them.
//!
//! A request is DER (RFC 3161) or JSON; the answer is DER in both cases. A refusal is an HTTP error with a JSON body and not a
//! PKIStatus, because that is what clients show.

use super::clock::Clock;
use super::gateway::{Status, read_body};
use super::signing;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use std::sync::Arc;
use waxseal_authority::clock::Doubt;
use waxseal_authority::tsa::{TimestampAuthority, TsaError};
use waxseal_formats::code::Code;
use waxseal_formats::tsp::{RequestError, TimeStampReq};
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::{Signer, SignerError};
use waxseal_io::system;

/// Largest request body, in bytes.
pub const MAX_BODY_LEN: usize = 64 * 1024;

const QUERY: &str = "application/timestamp-query";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const REPLY: HeaderValue = HeaderValue::from_static("application/timestamp-reply");
const CHAIN: HeaderValue = HeaderValue::from_static("application/pem-certificate-chain");
/// A time that a cache answers is a wrong time.
const NO_STORE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
const ONE_DAY: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));

/// The timestamp authority of an instance.
pub struct Tsa {
    authority: TimestampAuthority,
    signer: Arc<dyn Signer>,
    clock: Arc<Clock>,
    chain_pem: String,
}

/// Why the authority cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TsaSetupError {
    /// Its certificates do not make an authority.
    #[error(transparent)]
    Authority(#[from] TsaError),
    /// The key is not the one of the signer's certificate.
    #[error("the timestamp key is not the one of its certificate")]
    OtherKey,
}

impl Tsa {
    /// The authority of these certificates, the signer's first and the root last, with the signer's key.
    ///
    /// # Errors
    /// [`TsaSetupError`].
    pub fn new(chain: Vec<Certificate>, signer: Arc<dyn Signer>, clock: Arc<Clock>) -> Result<Self, TsaSetupError> {
        let authority = TimestampAuthority::new(chain)?;
        if signer.public_key() != authority.key() || signer.algorithm() != authority.algorithm() {
            return Err(TsaSetupError::OtherKey);
        }
        let chain_pem = authority.chain().iter().map(Certificate::to_pem).collect();
        Ok(Self { authority, signer, clock, chain_pem })
    }
}

/// The routes of the authority.
pub fn routes(tsa: Arc<Tsa>) -> Router {
    let only = |allowed: &'static str| move |method: Method| async move { Failure::method(&method, allowed) };
    Router::new()
        .route("/api/v1/timestamp", post(timestamp).fallback(only("POST")))
        .route("/api/v1/timestamp/certchain", get(certificate_chain).fallback(only("GET")))
        .with_state(tsa)
}

async fn timestamp(State(tsa): State<Arc<Tsa>>, request: Request) -> Response {
    match stamp(tsa, request).await {
        Ok(answer) => ([NO_STORE, (header::CONTENT_TYPE, REPLY)], answer).into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn certificate_chain(State(tsa): State<Arc<Tsa>>) -> Response {
    ([ONE_DAY, (header::CONTENT_TYPE, CHAIN)], tsa.chain_pem.clone()).into_response()
}

async fn stamp(tsa: Arc<Tsa>, request: Request) -> Result<Vec<u8>, Failure> {
    let parse = match media_type(request.headers()).as_deref() {
        Some(QUERY) => TimeStampReq::from_der,
        Some("application/json") => TimeStampReq::from_json,
        other => return Err(Failure::media_type(other.unwrap_or_default())),
    };
    let body = read_body(request, MAX_BODY_LEN).await.map_err(|refusal| match refusal.status {
        Status::TooLarge => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Code::INPUT_TOO_LARGE, refusal.message),
        _ => Failure::new(StatusCode::BAD_REQUEST, Code::INPUT_UNREADABLE, refusal.message),
    })?;
    let request = parse(&body)?;
    let unsigned = tsa.authority.stamp(&request, tsa.clock.now()?, system::random())?;
    let signature = signing::sign(&tsa.signer, unsigned.message().to_vec()).await?;
    Ok(unsigned.finish(&signature)?)
}

/// The media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

/// A refused request, in the shape of Sigstore's authority: the body's code is the HTTP status.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    code: Code,
    message: String,
    allowed: Option<&'static str>,
}

impl Failure {
    fn new(status: StatusCode, code: Code, message: impl ToString) -> Self {
        Self { status, code, message: message.to_string(), allowed: None }
    }

    fn media_type(given: &str) -> Self {
        let given: String = given.chars().take(100).collect();
        let message = format!("media type {given:?} is not one of [{QUERY} application/json]");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::USAGE, message)
    }

    fn method(method: &Method, allowed: &'static str) -> Self {
        let message = format!("method {method} is not allowed, only {allowed} is");
        Self { allowed: Some(allowed), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::USAGE, message) }
    }

    fn internal(message: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::KEY_UNAVAILABLE, message)
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.code(), error)
    }
}

impl From<TsaError> for Failure {
    fn from(error: TsaError) -> Self {
        let status = match error {
            TsaError::Policy { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.code(), error)
    }
}

impl From<Doubt> for Failure {
    fn from(doubt: Doubt) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, doubt.code(), doubt)
    }
}

impl From<SignerError> for Failure {
    fn from(error: SignerError) -> Self {
        tracing::error!(%error, "the timestamp key cannot be used");
        Self::internal("the timestamp key cannot be used")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        // Sigstore's authority sends the JSON of a refused request under the type of an answer; clients look at the status.
        let content_type = if self.status == StatusCode::BAD_REQUEST { REPLY } else { JSON };
        let body = json!({"code": self.status.as_u16(), "message": format!("[{}] {}", self.code, self.message)});
        let headers = [NO_STORE, (header::CONTENT_TYPE, content_type)];
        let mut response = (self.status, headers, body.to_string()).into_response();
        response.extensions_mut().insert(self.code);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        if let Some(allowed) = self.allowed {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BODY_LEN, Tsa, TsaSetupError, routes};
    use crate::server::audit::tests::Audited;
    use crate::server::clock::Clock;
    use crate::server::clock::tests::{doubtful, trusted};
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::http::header::HeaderMap;
    use http_body_util::BodyExt;
    use serde_json::Value;
    use std::process::Command;
    use std::sync::Arc;
    use tower::ServiceExt;
    use waxseal_authority::ca::{SubordinateKind, root, subordinate};
    use waxseal_formats::crypto::{HashAlgorithm, KeyKind};
    use waxseal_formats::tsp::{CertReq, Integer, TimeStampReq, TimeStampToken};
    use waxseal_formats::x509::{Certificate, DistinguishedName};
    use waxseal_io::signer::{KeyPair, Signer};
    use waxseal_io::system;

    fn chain(key: &KeyPair) -> Vec<Certificate> {
        let name = |common_name: &str| DistinguishedName {
            organization: "corp.example".into(),
            common_name: common_name.into(),
        };
        let now = system::now();
        let root_key = KeyPair::generate(KeyKind::EcdsaP256).expect("key");
        let unsigned = root(&name("root"), root_key.public_key(), system::random(), now).expect("root");
        let root = unsigned.finish(&root_key.sign(unsigned.message()).expect("signature")).expect("root");
        let kind = SubordinateKind::TimestampSigner;
        let unsigned =
            subordinate(kind, &name("tsa"), key.public_key(), &root, system::random(), now).expect("certificate");
        let signer = unsigned.finish(&root_key.sign(unsigned.message()).expect("signature")).expect("certificate");
        vec![signer, root]
    }

    fn served() -> (Router, Vec<Certificate>) {
        served_by(trusted(&Audited::new()))
    }

    fn served_by(clock: Arc<Clock>) -> (Router, Vec<Certificate>) {
        let key = KeyPair::generate(KeyKind::EcdsaP256).expect("key");
        let chain = chain(&key);
        (routes(Arc::new(Tsa::new(chain.clone(), Arc::new(key), clock).expect("authority"))), chain)
    }

    struct Answer {
        status: StatusCode,
        headers: HeaderMap,
        body: Vec<u8>,
    }

    impl Answer {
        fn header(&self, name: &str) -> &str {
            self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
        }

        fn message(&self) -> String {
            let value: Value = serde_json::from_slice(&self.body).expect("JSON");
            assert_eq!(value["code"], self.status.as_u16());
            value["message"].as_str().expect("text").to_owned()
        }
    }

    async fn ask(router: &Router, request: Request) -> Answer {
        let response = router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.expect("a body").to_bytes().to_vec(),
        }
    }

    async fn post(router: &Router, content_type: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post("/api/v1/timestamp").header("content-type", content_type).body(body.into());
        ask(router, request.expect("a request")).await
    }

    /// The recorded requests of `client` to the timestamp authority.
    fn recorded(client: &str) -> Vec<waxseal_testkit::Exchange> {
        let Some(vectors) = waxseal_testkit::vectors() else { return Vec::new() };
        vectors.wire(client).into_iter().filter(|exchange| exchange.service == "tsa").collect()
    }

    #[tokio::test]
    async fn recorded_requests_get_the_recorded_status_type_and_allowance() {
        let (router, chain) = served();
        for client in [
            "openssl-ts-3.0.19",
            "cosign-3.1.3",
            "cosign-2.6.1",
            "gitsign-034927d",
            "sigstore-python-4.5.1",
            "sigstore-js-cli-0.10.3",
        ] {
            for exchange in recorded(client) {
                let mut request = Request::builder().method(exchange.method.as_str()).uri(&exchange.path);
                for (name, value) in &exchange.request_headers {
                    request = request.header(name, value);
                }
                let body = exchange.request_body.clone().unwrap_or_default();
                let answer = ask(&router, request.body(body.into()).expect("a request")).await;
                let what = format!("{client} line {} ({})", exchange.line, exchange.step);
                assert_eq!(answer.status.as_u16(), exchange.status, "{what}");
                assert_eq!(
                    answer.header("content-type"),
                    exchange.response_header("content-type").unwrap_or(""),
                    "{what}"
                );
                assert_eq!(answer.header("allow"), exchange.response_header("allow").unwrap_or(""), "{what}");
                if exchange.path == "/api/v1/timestamp" && exchange.status == 200 {
                    let ours = TimeStampToken::parse(&answer.body).expect("token");
                    let theirs = TimeStampToken::parse(&exchange.response_body.expect("a body")).expect("token");
                    assert_eq!(ours.imprint(), theirs.imprint(), "{what}");
                    assert_eq!(ours.nonce(), theirs.nonce(), "{what}");
                    assert_eq!(ours.embedded_certificates().len(), theirs.embedded_certificates().len(), "{what}");
                    assert_eq!(ours.verify(&chain[0]), Ok(()), "{what}");
                    assert_ne!(ours.info().serial, theirs.info().serial, "{what}");
                }
            }
        }
    }

    #[tokio::test]
    async fn the_chain_is_served_leaf_first_and_may_be_kept_for_a_day() {
        let (router, chain) = served();
        let request = Request::get("/api/v1/timestamp/certchain").body(Body::empty()).expect("a request");
        let answer = ask(&router, request).await;
        assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "public, max-age=86400"));
        let text = String::from_utf8(answer.body).expect("PEM");
        assert_eq!(Certificate::chain_from_pem(&text).expect("chain"), chain);
    }

    /// No time is attested that may be wrong.
    #[tokio::test]
    async fn a_doubtful_clock_stamps_nothing_and_its_chain_is_served_on() {
        let (router, _) = served_by(doubtful(&Audited::new()));
        let body = r#"{"artifactHash":"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=","hashAlgorithm":"sha256"}"#;
        let answer = post(&router, "application/json", body).await;
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "60"));
        assert!(answer.message().starts_with("[time.clock-doubtful]"), "{}", answer.message());
        let request = Request::get("/api/v1/timestamp/certchain").body(Body::empty()).expect("a request");
        assert_eq!(ask(&router, request).await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn refusals_name_their_reason() {
        let (router, _) = served();
        let hash = r#""artifactHash":"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=""#;
        for (content_type, body, status, reason) in [
            ("text/plain", "x".into(), 415, "[usage]"),
            ("application/timestamp-query", "garbage".to_owned(), 400, "[time.request-malformed]"),
            ("application/json", "garbage".into(), 400, "[time.request-malformed]"),
            ("application/json", format!(r#"{{{hash},"hashAlgorithm":"sha1"}}"#), 400, "[time.request-hash]"),
            ("application/json", format!(r#"{{{hash},"hashAlgorithm":"sha512"}}"#), 400, "[time.request-hash]"),
            (
                "application/json; charset=utf-8",
                format!(r#"{{{hash},"hashAlgorithm":"sha256","tsaPolicyOID":"1.2.3.4"}}"#),
                400,
                "[time.request-policy]",
            ),
            ("application/json", " ".repeat(1025), 400, "[input.too-large]"),
            ("application/timestamp-query", " ".repeat(MAX_BODY_LEN + 1), 413, "[input.too-large]"),
        ] {
            let answer = post(&router, content_type, body).await;
            assert_eq!(answer.status.as_u16(), status, "{reason}");
            assert!(answer.message().starts_with(reason), "{}", answer.message());
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        let nothing = Request::post("/api/v1/timestamp").body(Body::empty()).expect("a request");
        assert_eq!(ask(&router, nothing).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_refused() {
        let (key, other) =
            (KeyPair::generate(KeyKind::EcdsaP256).expect("key"), KeyPair::generate(KeyKind::EcdsaP256).expect("key"));
        assert!(matches!(
            Tsa::new(chain(&key), Arc::new(other), trusted(&Audited::new())),
            Err(TsaSetupError::OtherKey)
        ));
    }

    /// OpenSSL's verifier accepts our tokens and those of its own queries' hashes.
    #[tokio::test]
    async fn openssl_verifies_our_tokens() {
        if Command::new("openssl").arg("version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "openssl is needed");
            println!("skipped: there is no openssl");
            return;
        }
        let (router, chain) = served();
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("signer.pem"), chain[0].to_pem()).expect("written");
        std::fs::write(path("root.pem"), chain[1].to_pem()).expect("written");
        for (hash, certificates) in [
            (HashAlgorithm::Sha256, CertReq::SigningCertificate),
            (HashAlgorithm::Sha384, CertReq::SigningCertificate),
            (HashAlgorithm::Sha512, CertReq::Without),
        ] {
            let request = TimeStampReq {
                imprint: hash.digest(b"signature"),
                policy: None,
                nonce: Some(Integer::from_unsigned(&[0xfe; 8])),
                certificates,
            };
            let query = request.to_der().expect("DER");
            let answer = post(&router, "application/timestamp-query", query.clone()).await;
            std::fs::write(path("query"), query).expect("written");
            std::fs::write(path("reply"), answer.body).expect("written");
            let output = Command::new("openssl")
                .args(["ts", "-verify", "-queryfile", &path("query"), "-in", &path("reply")])
                .args(["-CAfile", &path("root.pem"), "-untrusted", &path("signer.pem")])
                .output()
                .expect("openssl runs");
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.contains("Verification: OK"), "{said}");
        }
    }
}
