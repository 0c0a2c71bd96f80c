//! Logins as clients and attackers ask for them.

use super::super::grants::MAX_WAITING;
use super::Idp;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use tempfile::TempDir;
use tower::ServiceExt as _;
use url::{Url, form_urlencoded};
use waxseal_authority::oidc::UnverifiedToken;
use waxseal_formats::crypto::sha256;
use waxseal_formats::json::{encode_base64, encode_base64url};

const ORIGIN: &str = "http://127.0.0.1:7480";
const BACK: &str = "http://localhost:49152/auth/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

struct Provider {
    _folder: TempDir,
    idp: Arc<Idp>,
}

/// An answer, its body as JSON if it is some.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
    json: Value,
}

fn pairs<'a>(pairs: &[(&'a str, &'a str)], changes: &[(&'a str, &'a str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        let value = changes.iter().find(|(changed, _)| changed == name).map_or(*value, |(_, value)| *value);
        form.append_pair(name, value);
    }
    for (name, value) in changes.iter().filter(|(name, _)| pairs.iter().all(|(known, _)| known != name)) {
        form.append_pair(name, value);
    }
    form.finish()
}

impl Provider {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let idp = Arc::new(Idp::open(folder.path(), ORIGIN).expect("a provider"));
        Self { _folder: folder, idp }
    }

    fn secret(&self) -> String {
        self.idp.secret.expose().clone()
    }

    async fn ask(&self, request: Request<Body>) -> Answer {
        let response = Arc::clone(&self.idp).routes().oneshot(request).await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        assert_eq!(headers["cache-control"], "no-store");
        assert!(!headers.contains_key("access-control-allow-origin"));
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("text");
        let json = serde_json::from_str(&text).unwrap_or_default();
        Answer { status, headers, text, json }
    }

    async fn get(&self, path: &str, query: &str) -> Answer {
        let request = Request::get(format!("{path}?{query}")).header("host", "127.0.0.1:7480");
        self.ask(request.body(Body::empty()).expect("a request")).await
    }

    async fn post(&self, path: &str, form: String, authorization: Option<&str>) -> Answer {
        let mut request = Request::post(path)
            .header("host", "127.0.0.1:7480")
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        self.ask(request.body(Body::from(form)).expect("a request")).await
    }

    /// A request of a client that follows the rules, with changes.
    fn request(changes: &[(&str, &str)]) -> String {
        let challenge = encode_base64url(&sha256(VERIFIER.as_bytes()));
        let request = [
            ("response_type", "code"),
            ("client_id", "sigstore"),
            ("redirect_uri", BACK),
            ("scope", "openid email"),
            ("state", "s t&a=te"),
            ("nonce", "n-1"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        pairs(&request, changes)
    }

    /// Logs in, and returns what the client is sent.
    async fn log_in(&self, path: &str, changes: &[(&str, &str)]) -> Url {
        let secret = self.secret();
        let changes = [&[("login_hint", "alice@corp.example"), ("owner_secret", secret.as_str())], changes].concat();
        let answer = self.get(path, &Self::request(&changes)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        Url::parse(answer.headers["location"].to_str().expect("text")).expect("a URL")
    }

    async fn code(&self) -> String {
        value(&self.log_in("/idp/auth", &[]).await, "code")
    }

    async fn exchange(&self, code: &str, changes: &[(&str, &str)]) -> Answer {
        let request = [
            ("grant_type", "authorization_code"),
            ("client_id", "sigstore"),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
            ("code", code),
        ];
        self.post("/idp/token", pairs(&request, changes), None).await
    }
}

fn value(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn claims(token: &Value) -> serde_json::Map<String, Value> {
    let token = token.as_str().expect("a token");
    assert_eq!(UnverifiedToken::parse(token).expect("a token").issuer(), format!("{ORIGIN}/idp"));
    let payload = token.split('.').nth(1).expect("three parts");
    let decoded = waxseal_formats::json::decode_base64(payload).expect("base64");
    serde_json::from_slice(&decoded).expect("claims")
}

#[tokio::test]
async fn a_code_becomes_tokens_once() {
    let provider = Provider::new();
    let back = provider.log_in("/idp/auth", &[]).await;
    assert!(back.as_str().starts_with(BACK));
    assert_eq!((value(&back, "state"), value(&back, "iss")), ("s t&a=te".to_owned(), format!("{ORIGIN}/idp")));
    let code = value(&back, "code");
    let answer = provider.exchange(&code, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json["token_type"], "Bearer");
    let (id, access) = (claims(&answer.json["id_token"]), claims(&answer.json["access_token"]));
    for claims in [&id, &access] {
        assert_eq!((&claims["sub"], &claims["aud"]), (&"alice@corp.example".into(), &"sigstore".into()));
    }
    assert_eq!((id["nonce"].as_str(), access.get("nonce")), (Some("n-1"), None));
    let again = provider.exchange(&code, &[]).await;
    assert_eq!((again.status, again.json["error"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_grant")));
}

#[tokio::test]
async fn a_person_types_the_owner_secret_into_a_page() {
    let provider = Provider::new();
    let hostile = "<script>alert(1)</script>\"'&";
    let page = provider.get("/idp/auth", &Provider::request(&[("login_hint", hostile), ("state", hostile)])).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("owner_secret") && page.text.contains("&lt;script&gt;"), "{}", page.text);
    assert!(!page.text.contains("<script") && !page.text.contains(&provider.secret()));
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.headers["x-frame-options"], "DENY");

    let typed = |secret: &str| Provider::request(&[("login_hint", "alice@corp.example"), ("owner_secret", secret)]);
    for secret in ["", "x", &provider.secret()[1..]] {
        let answer = provider.post("/idp/auth", typed(secret), None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(!answer.headers.contains_key("location"));
    }
    let answer = provider.post("/idp/auth", typed(&provider.secret()), None).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    // Without an address to come back to the page shows the code.
    let secret = provider.secret();
    let shown = Provider::request(&[
        ("redirect_uri", "urn:ietf:wg:oauth:2.0:oob"),
        ("login_hint", "alice@corp.example"),
        ("owner_secret", &secret),
    ]);
    let answer = provider.get("/idp/auth", &shown).await;
    assert_eq!(answer.status, StatusCode::OK);
    let code = answer.text.split("<pre>").nth(1).and_then(|rest| rest.split("</pre>").next()).expect("a code");
    let redeemed = provider.exchange(code, &[("redirect_uri", "urn:ietf:wg:oauth:2.0:oob")]).await;
    assert_eq!(redeemed.status, StatusCode::OK, "{}", redeemed.text);
}

/// Row 17 of the classes: codes that are somebody else's, or were asked for by somebody else.
#[tokio::test]
async fn a_code_is_good_for_its_own_request_alone() {
    let provider = Provider::new();
    for changes in [
        &[("code_verifier", "another-verifier-of-more-than-forty-three-letters")][..],
        &[("code_verifier", "")],
        &[("redirect_uri", "http://localhost:49153/auth/callback")],
        &[("code", "guessed")],
    ] {
        let code = provider.code().await;
        let answer = provider.exchange(&code, changes).await;
        assert_eq!((answer.status, answer.json["error"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_grant")));
        // What was tried in vain is spent.
        if changes[0].0 != "code" {
            assert_eq!(provider.exchange(&code, &[]).await.json["error"], "invalid_grant");
        }
    }
    // A code of one issuer is none of the other's.
    let code = provider.code().await;
    let form = pairs(
        &[
            ("grant_type", "authorization_code"),
            ("client_id", "sigstore"),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
            ("code", &code),
        ],
        &[],
    );
    assert_eq!(provider.post("/idp/github/token", form, None).await.json["error"], "invalid_grant");
}

#[tokio::test]
async fn nobody_is_sent_to_another_machine() {
    let provider = Provider::new();
    let secret = provider.secret();
    for redirect in [
        "https://evil.example/",
        "http://evil.example/",
        "http://localhost.evil.example/",
        "http://localhost@evil.example/",
        "http://evil@localhost/",
        "http://localhost:1/#x",
        "https://localhost/",
        "javascript:alert(1)",
        "//localhost/",
        "http://0.0.0.0/",
        "",
    ] {
        let asked = Provider::request(&[
            ("redirect_uri", redirect),
            ("login_hint", "alice@corp.example"),
            ("owner_secret", secret.as_str()),
        ]);
        let answer = provider.get("/idp/auth", &asked).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{redirect}");
        assert!(!answer.headers.contains_key("location"), "{redirect}");
    }
    for good in ["http://127.0.0.1:1/", "http://[::1]:65535/x?y=z", "http://localhost/"] {
        let back = provider.log_in("/idp/auth", &[("redirect_uri", good)]).await;
        assert!(!value(&back, "code").is_empty(), "{good}");
    }
    let other = Provider::request(&[("client_id", "other")]);
    assert_eq!(provider.get("/idp/auth", &other).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn wrong_requests_are_told_to_the_client() {
    let provider = Provider::new();
    for (changes, error) in [
        (&[("response_type", "token")][..], "unsupported_response_type"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
    ] {
        let answer = provider.get("/idp/auth", &Provider::request(changes)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{changes:?}");
        let back = Url::parse(answer.headers["location"].to_str().expect("text")).expect("a URL");
        assert_eq!((value(&back, "error"), value(&back, "state")), (error.to_owned(), "s t&a=te".to_owned()));
        assert!(value(&back, "code").is_empty());
    }
    let twice = format!("{}&state=other", Provider::request(&[]));
    assert_eq!(provider.get("/idp/auth", &twice).await.status, StatusCode::BAD_REQUEST);
    let code = provider.code().await;
    for (changes, error) in [
        (&[("grant_type", "password")][..], "unsupported_grant_type"),
        (&[("grant_type", "")], "invalid_request"),
        (&[("client_id", "other")], "invalid_client"),
        (&[("client_id", "")], "invalid_client"),
        (&[("client_secret", "guess")], "invalid_client"),
    ] {
        let answer = provider.exchange(&code, changes).await;
        assert_eq!(answer.json["error"], error, "{changes:?}");
        assert_eq!(answer.status.as_u16(), if error == "invalid_client" { 401 } else { 400 });
    }
    let long = pairs(&[("grant_type", "x")], &[("code", &"x".repeat(20_000))]);
    assert_eq!(provider.post("/idp/token", long, None).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn clients_name_themselves_in_the_header_too() {
    let provider = Provider::new();
    let basic = |text: &str| format!("Basic {}", encode_base64(text.as_bytes()));
    for (credentials, status) in [
        (basic("sigstore:"), StatusCode::OK),
        (basic("sigstore:secret"), StatusCode::UNAUTHORIZED),
        (basic("other:"), StatusCode::UNAUTHORIZED),
    ] {
        let code = provider.code().await;
        let form = pairs(
            &[
                ("grant_type", "authorization_code"),
                ("redirect_uri", BACK),
                ("code_verifier", VERIFIER),
                ("code", &code),
            ],
            &[],
        );
        let answer = provider.post("/idp/token", form, Some(&credentials)).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_device_waits_for_its_person() {
    let provider = Provider::new();
    let challenge = encode_base64url(&sha256(VERIFIER.as_bytes()));
    let begin = pairs(
        &[
            ("client_id", "sigstore"),
            ("scope", "openid email"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ],
        &[],
    );
    let begun = provider.post("/idp/device/code", begin, None).await;
    assert_eq!(begun.status, StatusCode::OK, "{}", begun.text);
    let (device, user) =
        (begun.json["device_code"].as_str().expect("a code"), begun.json["user_code"].as_str().expect("a code"));
    assert_eq!(begun.json["verification_uri"], format!("{ORIGIN}/idp/device"));
    let poll = |verifier: &'static str| {
        let form = pairs(
            &[
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("client_id", "sigstore"),
                ("device_code", device),
                ("code_verifier", verifier),
            ],
            &[],
        );
        provider.post("/idp/token", form, None)
    };
    assert_eq!(poll(VERIFIER).await.json["error"], "authorization_pending");
    assert_eq!(poll(VERIFIER).await.json["error"], "slow_down");
    assert_eq!(poll("wrong").await.json["error"], "invalid_grant");

    let page = provider.get("/idp/device", &format!("user_code={user}")).await;
    assert!(page.status == StatusCode::OK && page.text.contains(user) && page.text.contains("owner_secret"));
    let secret = provider.secret();
    let approve = |code: &str, secret: &str| {
        pairs(&[("user_code", code), ("login_hint", "alice@corp.example"), ("owner_secret", secret)], &[])
    };
    assert_eq!(provider.post("/idp/device", approve(user, "x"), None).await.status, StatusCode::UNAUTHORIZED);
    let unknown = provider.post("/idp/device", approve("BBBB-BBBB", &secret), None).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    let foreign = provider.post("/idp/github/device", approve(user, &secret), None).await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST, "another issuer's");
    assert_eq!(poll(VERIFIER).await.json["error"], "slow_down", "nothing was approved");
    // However it was typed.
    let typed = user.to_ascii_lowercase().replace('-', " ");
    assert_eq!(provider.get("/idp/device", &approve(&typed, &secret)).await.status, StatusCode::OK);
    let answer = poll(VERIFIER).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(claims(&answer.json["id_token"])["email"], "alice@corp.example");
    assert_eq!(poll(VERIFIER).await.json["error"], "expired_token", "once");
}

#[tokio::test]
async fn only_so_many_logins_wait() {
    let provider = Provider::new();
    let begin = || pairs(&[("client_id", "sigstore")], &[]);
    for _ in 0..MAX_WAITING {
        assert_eq!(provider.post("/idp/device/code", begin(), None).await.status, StatusCode::OK);
    }
    let full = provider.post("/idp/device/code", begin(), None).await;
    assert_eq!(
        (full.status, full.json["error"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("temporarily_unavailable"))
    );
    // Those who have a browser are not concerned.
    provider.code().await;
}
