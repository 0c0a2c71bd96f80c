//! The demo identity provider of `up`: two OpenID issuers in this process, so that a first signature needs no login
//! service, and interactive clients have something to log in at. Never part of a production instance.
//!
//! Its keys vouch for anybody, so its guards are: it answers to loopback names and its own origin only (a web page whose
//! name was rebound to 127.0.0.1 has another `Host`), it sends no CORS headers, and every token costs the owner secret.

pub mod claims;
mod grants;
mod oauth;
mod pages;
pub mod secret;

use crate::server::gateway::read_body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use claims::{IssuerKind, MintError, MintRequest};
use grants::Grants;
use secret::SecretError;
use serde_json::json;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use url::{Host, Url};
use waxseal_authority::rules::{IssuerType, RulesError};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyKind, Secret};
use waxseal_formats::jwt::{Jwk, JwkMaterial, JwkSet, assemble, signing_input};
use waxseal_io::signer::{KeyPair, Signer, SignerError};
use waxseal_io::system;

/// The signing key's file in the data directory.
pub const KEY_FILE: &str = "keys/idp.pem";
/// What a data directory that was whole once has to have for it.
pub const FILES: [&str; 2] = [KEY_FILE, secret::FILE];
/// Path of the endpoint that makes tokens, below the origin.
pub const MINT_PATH: &str = "/idp/mint";
/// Longest request for a token, in bytes.
pub const MAX_REQUEST_LEN: usize = 64 * 1024;
/// cosign takes other tokens for file names.
const ALGORITHM: &str = "RS256";

/// The provider.
pub struct Idp {
    origin: String,
    key: KeyPair,
    key_id: String,
    keys: JwkSet,
    secret: Secret<String>,
    grants: Grants,
}

/// Why the provider cannot start.
#[derive(Debug, thiserror::Error)]
pub enum IdpError {
    /// The signing key.
    #[error("the demo provider's key: {0}")]
    Key(#[from] SignerError),
    /// The owner secret.
    #[error("the owner secret: {0}")]
    Secret(#[from] SecretError),
}

impl IdpError {
    /// Always `input.unreadable`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::INPUT_UNREADABLE
    }
}

fn issuer(origin: &str, kind: IssuerKind) -> String {
    format!("{origin}{}", kind.path())
}

/// The issuers of the provider at `origin`, with their types: what rules may name without describing it.
///
/// # Errors
/// [`RulesError`] if the CI provider's description cannot be read.
pub fn issuers(origin: &str) -> Result<Vec<(String, IssuerType)>, RulesError> {
    Ok(vec![
        (issuer(origin, IssuerKind::Email), IssuerType::Email),
        (issuer(origin, IssuerKind::Github), IssuerType::ci("github-workflow")?),
    ])
}

impl Idp {
    /// Opens the provider of a data directory; key and secret are made when they are not there. `origin` is scheme, host
    /// and port of the instance, without a slash at its end.
    ///
    /// # Errors
    /// [`IdpError`].
    pub fn open(data_dir: &Path, origin: &str) -> Result<Self, IdpError> {
        let key_file = data_dir.join(KEY_FILE);
        if let Some(folder) = key_file.parent() {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            created.map_err(|source| SignerError::File { path: folder.display().to_string(), source })?;
        }
        let key = KeyPair::load_or_create(&key_file, KeyKind::Rsa { bits: 2048 })?;
        let key_id = hex::encode(key.public_key().spki_sha256()).chars().take(16).collect::<String>();
        let material = JwkMaterial::of(key.public_key()).map_err(|error| SignerError::Key(error.to_string()))?;
        let keys =
            JwkSet::new(vec![Jwk { key_id: Some(key_id.clone()), algorithm: Some(ALGORITHM.to_owned()), material }]);
        let secret = secret::load_or_create(data_dir)?;
        Ok(Self { origin: origin.to_owned(), key, key_id, keys, secret, grants: Grants::default() })
    }

    /// The URL of one of the issuers.
    #[must_use]
    pub fn issuer(&self, kind: IssuerKind) -> String {
        issuer(&self.origin, kind)
    }

    /// The keys of the issuers: the instance does not ask itself for them.
    #[must_use]
    pub fn keys(&self) -> Vec<(String, JwkSet)> {
        [IssuerKind::Email, IssuerKind::Github].map(|kind| (self.issuer(kind), self.keys.clone())).into()
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`MintRefusal`].
    pub fn mint(&self, request: &MintRequest) -> Result<String, MintRefusal> {
        let claims = claims::claims(&self.origin, request, system::now().as_second())?;
        let input = signing_input(ALGORITHM, &self.key_id, &claims);
        let token = assemble(&input, &self.key.sign(input.as_bytes())?);
        // Not for whom: the log of the process names no signer.
        tracing::info!(issuer = self.issuer(request.issuer), "token minted");
        Ok(token)
    }

    /// The endpoints, below the origin.
    pub fn routes(self: Arc<Self>) -> Router {
        let mut routes = Router::new().route(MINT_PATH, post(mint));
        for kind in [IssuerKind::Email, IssuerKind::Github] {
            let path = kind.path();
            let discovery = move |State(idp): State<Arc<Self>>| async move { Json(idp.discovery(kind)) };
            let keys = |State(idp): State<Arc<Self>>| async move { Json(idp.keys.to_json()) };
            routes = routes
                .route(&format!("{path}/.well-known/openid-configuration"), get(discovery))
                .route(&format!("{path}/keys"), get(keys))
                .merge(oauth::routes(kind));
        }
        let guarded = routes.layer(middleware::from_fn_with_state(Arc::clone(&self), guard));
        guarded.with_state(self)
    }

    /// OpenID Connect Discovery 1.0 §3.
    fn discovery(&self, kind: IssuerKind) -> serde_json::Value {
        let issuer = self.issuer(kind);
        let mut discovery = oauth::metadata(&issuer);
        let general = json!({
            "jwks_uri": format!("{issuer}/keys"),
            "issuer": issuer,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf", "email", "email_verified", "nonce"],
        });
        discovery.extend(general.as_object().cloned().unwrap_or_default());
        discovery.into()
    }

    /// Is this the `Host` of a request that was meant for us?
    fn answers_to(&self, host: &str) -> bool {
        let Ok(asked) = Url::parse(&format!("http://{host}/")) else { return false };
        if asked.path() != "/" || asked.query().is_some() || !asked.username().is_empty() || asked.fragment().is_some()
        {
            return false;
        }
        match asked.host() {
            Some(Host::Ipv4(address)) if address.is_loopback() => true,
            Some(Host::Ipv6(address)) if address.is_loopback() => true,
            Some(Host::Domain("localhost")) => true,
            _ => self.origin.split_once("://").is_some_and(|(_, own)| own.eq_ignore_ascii_case(host)),
        }
    }
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintRefusal {
    /// The request cannot be granted.
    #[error(transparent)]
    Request(#[from] MintError),
    /// The key cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

fn refusal(status: StatusCode, code: Code, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}

/// The guards of every endpoint.
async fn guard(State(idp): State<Arc<Idp>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str));
    let mut response = if host.is_some_and(|host| idp.answers_to(host)) {
        next.run(request).await
    } else {
        tracing::warn!(host, "request for another host refused");
        refusal(
            StatusCode::FORBIDDEN,
            Code::USAGE,
            "the demo provider answers to loopback names and its own origin only",
        )
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn mint(State(idp): State<Arc<Idp>>, request: Request) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if !secret::is(&idp.secret, given) {
        tracing::warn!("token refused: the owner secret is missing or wrong");
        return refusal(StatusCode::UNAUTHORIZED, Code::USAGE, "a token needs the owner secret as a bearer token");
    }
    let body = match read_body(request, MAX_REQUEST_LEN).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let request: MintRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            return refusal(
                StatusCode::BAD_REQUEST,
                Code::INPUT_MALFORMED,
                &format!("the request is malformed: {error}"),
            );
        }
    };
    match idp.mint(&request) {
        Ok(token) => Json(json!({ "token": token })).into_response(),
        Err(MintRefusal::Request(error)) => refusal(StatusCode::BAD_REQUEST, Code::TOKEN_CLAIM, &error.to_string()),
        Err(MintRefusal::Signer(error)) => {
            tracing::error!(%error, "token not signed");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, Code::TOKEN_SIGNATURE, "the token cannot be signed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::claims::IssuerKind;
    use super::{Idp, MAX_REQUEST_LEN, MINT_PATH};
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use tempfile::TempDir;
    use tower::ServiceExt as _;
    use waxseal_authority::oidc::UnverifiedToken;
    use waxseal_authority::rules::Rules;
    use waxseal_formats::jwt::JwkSet;
    use waxseal_io::system;

    const ORIGIN: &str = "http://127.0.0.1:7480";
    const HOST: &str = "127.0.0.1:7480";

    fn provider() -> (TempDir, Arc<Idp>) {
        let folder = tempfile::tempdir().expect("a folder");
        let idp = Arc::new(Idp::open(folder.path(), ORIGIN).expect("a provider"));
        (folder, idp)
    }

    async fn ask(idp: &Arc<Idp>, request: Request<Body>) -> (StatusCode, Value) {
        let response = Arc::clone(idp).routes().oneshot(request).await.expect("an answer");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(!response.headers().contains_key("access-control-allow-origin"));
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn get(path: &str, host: &str) -> Request<Body> {
        Request::get(path)
            .header("host", host)
            .header("origin", "http://evil.example")
            .body(Body::empty())
            .expect("a request")
    }

    fn post(secret: Option<&str>, body: impl Into<Body>) -> Request<Body> {
        let request = Request::post(MINT_PATH).header("host", HOST).header("content-type", "application/json");
        let request = match secret {
            Some(secret) => request.header("authorization", format!("Bearer {secret}")),
            None => request,
        };
        request.body(body.into()).expect("a request")
    }

    fn alice() -> Value {
        json!({ "issuer": "email", "identity": "alice@corp.example", "audience": "sigstore" })
    }

    #[tokio::test]
    async fn its_tokens_are_verified_with_its_published_keys() {
        let (_folder, idp) = provider();
        let secret = idp.secret.expose().clone();
        let rules = format!(
            "rules:\n  - {{name: a, issuer: {ORIGIN}/idp, match: {{email: alice@corp.example}}}}\n  - {{name: b, issuer: {ORIGIN}/idp/github, match: {{repository: acme/widgets}}}}\n"
        );
        let rules = Rules::from_yaml(&rules, &super::issuers(ORIGIN).expect("issuers")).expect("rules");
        for (kind, identity, name) in [
            ("email", "alice@corp.example", "alice@corp.example"),
            (
                "github",
                "repo:acme/widgets:ref:refs/heads/main",
                "https://github.com/acme/widgets/.github/workflows/release.yml@refs/heads/main",
            ),
        ] {
            let request = json!({ "issuer": kind, "identity": identity, "audience": "sigstore" });
            let (status, answer) = ask(&idp, post(Some(&secret), request.to_string())).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            let token = UnverifiedToken::parse(answer["token"].as_str().expect("a token")).expect("a token");
            let path = token.issuer().strip_prefix(ORIGIN).expect("ours").to_owned();

            let (status, discovery) = ask(&idp, get(&format!("{path}/.well-known/openid-configuration"), HOST)).await;
            assert_eq!((status, discovery["issuer"].as_str()), (StatusCode::OK, Some(token.issuer())));
            for endpoint in ["authorization_endpoint", "token_endpoint", "device_authorization_endpoint"] {
                assert!(discovery[endpoint].as_str().is_some_and(|url| url.starts_with(token.issuer())), "{discovery}");
            }
            let keys = discovery["jwks_uri"].as_str().expect("a URL").strip_prefix(ORIGIN).expect("ours");
            let (_, keys) = ask(&idp, get(keys, HOST)).await;
            assert_eq!(
                (keys["keys"][0]["kty"].as_str(), keys["keys"][0]["alg"].as_str()),
                (Some("RSA"), Some("RS256"))
            );
            let keys = JwkSet::from_json(keys.to_string().as_bytes()).expect("keys");
            assert!(idp.keys().contains(&(token.issuer().to_owned(), keys.clone())), "the same without asking");

            let accepted = rules.accepted(token.issuer()).expect("accepted").into_owned();
            let claims = token.verify(accepted.issuer(), &keys, system::now()).expect("claims");
            assert_eq!(rules.decide(&claims).expect("admitted").subject_alt_name().as_str(), name);
        }
    }

    #[tokio::test]
    async fn key_and_secret_survive_a_restart() {
        let (folder, idp) = provider();
        let again = Idp::open(folder.path(), "http://localhost:1").expect("a provider");
        assert_eq!((&again.keys, again.secret.expose()), (&idp.keys, idp.secret.expose()));
        assert_eq!(again.issuer(IssuerKind::Github), "http://localhost:1/idp/github");
    }

    #[tokio::test]
    async fn no_token_without_the_owner_secret() {
        let (_folder, idp) = provider();
        for secret in [None, Some(""), Some("x"), Some(&idp.secret.expose()[1..])] {
            let (status, answer) = ask(&idp, post(secret, alice().to_string())).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert!(answer.get("token").is_none());
        }
        // Not even a look at the body.
        let (status, _) = ask(&idp, post(None, vec![b' '; 2 * MAX_REQUEST_LEN])).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let (status, _) = ask(&idp, get(MINT_PATH, HOST)).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn requests_for_tokens_are_bounded_and_strict() {
        let (_folder, idp) = provider();
        let secret = idp.secret.expose().clone();
        let (status, _) = ask(&idp, post(Some(&secret), vec![b' '; MAX_REQUEST_LEN + 1])).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        for name in ["iss", "aud", "exp"] {
            let mut request = alice();
            request["claims"] = json!({ name: 1 });
            let (status, answer) = ask(&idp, post(Some(&secret), request.to_string())).await;
            assert_eq!((status, answer["code"].as_str()), (StatusCode::BAD_REQUEST, Some("token.claim")));
            assert!(
                answer["message"].as_str().is_some_and(|message| message.contains(&format!("`{name}`"))),
                "{answer}"
            );
        }
        for body in [
            "",
            "{}",
            "[]",
            r#"{"issuer":"other","identity":"a","audience":"b"}"#,
            r#"{"issuer":"email","identity":"a","audience":"b","sub":"c"}"#,
        ] {
            let (status, answer) = ask(&idp, post(Some(&secret), body)).await;
            assert_eq!((status, answer["code"].as_str()), (StatusCode::BAD_REQUEST, Some("input.malformed")), "{body}");
        }
    }

    /// Row 13 of the classes: a page at evil.example whose name now leads to 127.0.0.1.
    #[tokio::test]
    async fn a_rebound_name_gets_no_answer() {
        let (_folder, idp) = provider();
        let secret = idp.secret.expose().clone();
        for host in ["127.0.0.1:7480", "localhost:7480", "LOCALHOST:7480", "[::1]:7480", "127.0.0.1", "localhost:9999"]
        {
            let (status, _) = ask(&idp, get("/idp/keys", host)).await;
            assert_eq!(status, StatusCode::OK, "{host}");
        }
        for host in [
            "evil.example:7480",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil@127.0.0.1:7480",
            "127.0.0.1:7480/x",
            "127.0.0.1:7480?x",
            "169.254.169.254",
            "0.0.0.0:7480",
            "",
            "evil.example#127.0.0.1",
        ] {
            for path in ["/idp/keys", "/idp/.well-known/openid-configuration", "/idp/github/keys"] {
                let (status, _) = ask(&idp, get(path, host)).await;
                assert_eq!(status, StatusCode::FORBIDDEN, "{host}");
            }
            let mut request = post(Some(&secret), alice().to_string());
            request.headers_mut().insert("host", host.parse().expect("a value"));
            assert_eq!(ask(&idp, request).await.0, StatusCode::FORBIDDEN, "{host}");
        }
        let without = Request::get("/idp/keys").body(Body::empty()).expect("a request");
        assert_eq!(ask(&idp, without).await.0, StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn it_answers_to_its_own_origin() {
        let folder = tempfile::tempdir().expect("a folder");
        let idp = Arc::new(Idp::open(folder.path(), "https://sign.corp.example:8443").expect("a provider"));
        assert_eq!(ask(&idp, get("/idp/keys", "sign.corp.example:8443")).await.0, StatusCode::OK);
        assert_eq!(ask(&idp, get("/idp/keys", "Sign.corp.example:8443")).await.0, StatusCode::OK);
        for host in ["sign.corp.example", "sign.corp.example:1", "corp.example:8443"] {
            assert_eq!(ask(&idp, get("/idp/keys", host)).await.0, StatusCode::FORBIDDEN, "{host}");
        }
    }
}
