//! What the endpoints refuse: with the peer's status and shape, our reason in the message, and nothing stored.
//!
//! Tests are named after the classes of vulnerabilities that they carry.

use super::{
    ALICE, Answer, Home, Up, ask, assert_refused, certificate_request, certified_entry, client, object, p256, raw,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use waxseal_formats::crypto::{KeyKind, SignatureAlgorithm};
use waxseal_formats::jwt;
use waxseal_io::signer::{KeyPair, Signer};

pub(super) const SIGNING: &str = "/api/v2/signingCert";
const ENTRIES: &str = "/api/v2/log/entries";
const TIMESTAMP: &str = "/api/v1/timestamp";

/// Asserts a refusal in the shape of grpc-gateway: 400 or another status, a gRPC code, our reason.
pub(super) fn assert_gateway(answer: &Answer, (status, grpc): (u16, u8), reason: &str, what: &str) {
    assert_eq!((answer.status, answer.media_type()), (status, "application/json"), "{what}: {}", answer.text());
    let members = object(answer.json());
    assert_eq!(members.keys().map(String::as_str).collect::<BTreeSet<_>>(), ["code", "details", "message"].into());
    assert_eq!((&members["code"], &members["details"]), (&json!(grpc), &json!([])), "{what}");
    assert_eq!(answer.code(), reason, "{what}: {}", answer.text());
}

/// A certificate request with this token and a good key and proof.
async fn with_token(up: &Up, token: &str) -> Answer {
    up.post(SIGNING, certificate_request(&p256(), ALICE, token).to_string()).await
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The claims of a good token with some of them replaced; `null` takes one away.
fn changed(up: &Up, changes: Value) -> Map<String, Value> {
    let mut claims = up.claims(ALICE);
    for (name, value) in object(changes) {
        match value {
            Value::Null => claims.remove(&name),
            value => claims.insert(name, value),
        };
    }
    claims
}

/// Asserts that a test's refusals stored nothing: indices go on where they were.
async fn assert_nothing_stored(up: &Up, before: (u64, u64)) {
    assert_eq!(up.mark().await, (before.0 + 1, before.1 + 1));
}

/// Row 14 of the classes: algorithm confusion, keys from the token, unchecked claims, duplicate keys.
#[tokio::test]
async fn forged_and_unfit_tokens_get_no_certificate() {
    let home = Home::new();
    let up = Up::start(&home);
    let before = up.mark().await;
    let now = waxseal_io::system::now().as_second();
    let key_id = up.provider_key_id();
    let key = up.provider_key();
    let good = up.signed(&up.claims(ALICE));
    let signed_part = |header: Value, claims: &str| {
        let input = format!("{}.{}", encoded(&header), URL_SAFE_NO_PAD.encode(claims));
        jwt::assemble(&input, &key.sign(input.as_bytes()).expect("signature"))
    };
    let claims_text = json!(up.claims(ALICE)).to_string();
    let header = |more: Value| {
        let mut header = object(json!({"alg": "RS256", "typ": "JWT", "kid": key_id}));
        header.extend(object(more));
        json!(header)
    };
    let other = KeyPair::generate(KeyKind::Rsa { bits: 2048 }).expect("key");
    let by_other = {
        let input = jwt::signing_input("RS256", &key_id, &up.claims(ALICE));
        jwt::assemble(&input, &other.sign(input.as_bytes()).expect("signature"))
    };
    let mut parts: Vec<&str> = good.split('.').collect();
    let truncated = parts[..2].join(".");
    let unsigned = format!("{truncated}.");
    parts[2] = "AQAB";
    let short_signature = parts.join(".");
    let mut swapped = up.claims("mallory@corp.example");
    swapped.insert("email".into(), "mallory@corp.example".into());
    let (good_parts, payload) = (good.split('.').collect::<Vec<_>>(), encoded(&json!(swapped)));
    let other_claims = format!("{}.{payload}.{}", good_parts[0], good_parts[2]);
    let es256 = {
        let input = jwt::signing_input("ES256", &key_id, &up.claims(ALICE));
        jwt::assemble(&input, &p256().sign(input.as_bytes()).expect("signature"))
    };
    let of = |changes: Value| up.signed(&changed(&up, changes));
    let tokens = [
        ("empty", String::new(), "token.malformed"),
        ("no token", "nonsense".into(), "token.malformed"),
        ("truncated", truncated, "token.malformed"),
        ("four parts", format!("{good}.AQAB"), "token.malformed"),
        ("padding", format!("{good}="), "token.malformed"),
        ("white space", format!("{good} "), "token.malformed"),
        ("no signature", unsigned, "token.signature"),
        ("a short signature", short_signature, "token.signature"),
        ("other claims under the signature", other_claims, "token.signature"),
        ("another key under the same kid", by_other, "token.signature"),
        (
            "alg none",
            format!("{}.{}.", encoded(&header(json!({"alg": "none"}))), URL_SAFE_NO_PAD.encode(&claims_text)),
            "token.signature",
        ),
        ("alg None", signed_part(header(json!({"alg": "None"})), &claims_text), "token.signature"),
        ("HS256", signed_part(header(json!({"alg": "HS256"})), &claims_text), "token.signature"),
        ("ES256 for an RSA key", es256, "token.signature"),
        (
            "RS512 header over an RS256 signature",
            signed_part(header(json!({"alg": "RS512"})), &claims_text),
            "token.signature",
        ),
        ("jwk", signed_part(header(json!({"jwk": {"kty": "RSA"}})), &claims_text), "token.malformed"),
        ("jku", signed_part(header(json!({"jku": "http://127.0.0.1:1/keys"})), &claims_text), "token.malformed"),
        ("crit", signed_part(header(json!({"crit": ["exp"]})), &claims_text), "token.malformed"),
        (
            "duplicate keys",
            signed_part(header(json!({})), &claims_text.replacen('{', "{\"email\":\"root@corp.example\",", 1)),
            "token.malformed",
        ),
        ("claims that are a list", signed_part(header(json!({})), "[]"), "token.malformed"),
        ("another audience", of(json!({"aud": "github"})), "token.audience"),
        ("an audience that starts alike", of(json!({"aud": "sigstore.evil"})), "token.audience"),
        ("other audiences", of(json!({"aud": ["a", "b"]})), "token.audience"),
        ("no audience", of(json!({"aud": null})), "token.claim"),
        ("no expiry", of(json!({"exp": null})), "token.claim"),
        ("expired", of(json!({"exp": now - 1, "iat": now - 3600, "nbf": now - 3600})), "token.expired"),
        ("not yet", of(json!({"nbf": now + 3000})), "token.expired"),
        ("made in the future", of(json!({"iat": now + 3000})), "token.expired"),
        ("another issuer", of(json!({"iss": "https://idp.example"})), "token.issuer"),
        ("an issuer with a slash", of(json!({"iss": format!("{}/idp/", up.url)})), "token.issuer"),
        ("an issuer of link-local", of(json!({"iss": "http://169.254.169.254"})), "token.issuer"),
        ("no issuer", of(json!({"iss": null})), "token.claim"),
        ("no subject", of(json!({"sub": null})), "token.claim"),
        ("an empty subject", of(json!({"sub": ""})), "token.claim"),
        ("no e-mail", of(json!({"email": null})), "token.claim"),
        ("no address", of(json!({"email": "alice"})), "token.claim"),
        ("two lines", of(json!({"email": "alice@corp.example\nroot@corp.example"})), "token.claim"),
        ("not verified", of(json!({"email_verified": false})), "token.claim"),
        ("verified unknown", of(json!({"email_verified": null})), "token.claim"),
        ("verified in a way", of(json!({"email_verified": 1})), "token.claim"),
    ];
    for (what, token, reason) in &tokens {
        assert_gateway(&with_token(&up, token).await, (400, 3), reason, what);
        // The second place where a token may stand is no second door. What stands around a header's value is not part of it.
        if *what != "white space" {
            let mut request = object(certificate_request(&p256(), ALICE, ""));
            request.remove("credentials");
            let by_header = client().post(format!("{}{SIGNING}", up.url)).bearer_auth(token);
            assert_gateway(&ask(by_header.body(json!(request).to_string())).await, (400, 3), reason, what);
        }
    }
    assert_eq!(with_token(&up, &good).await.status, 200);
    assert_nothing_stored(&up, (before.0 + 1, before.1)).await;
}

/// Rows 15 and 17: a token of one kind of issuer says nothing at the other one.
#[tokio::test]
async fn a_token_counts_at_its_own_issuer_only() {
    let home = Home::new();
    let up = Up::start(&home);
    let before = up.mark().await;
    // Claims of a person under the issuer of workflows, and the other way round: what the certificate would say is missing.
    let token = up.signed(&changed(&up, json!({"iss": format!("{}/idp/github", up.url)})));
    assert_gateway(&with_token(&up, &token).await, (400, 3), "token.claim", "a person as a workflow");
    let github = up.token(&home, &["--issuer", "github", "--identity", "repo:acme/widgets:ref:refs/heads/main"]);
    let claims = github.split('.').nth(1).expect("claims");
    let mut claims = object(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON"));
    claims.insert("iss".into(), format!("{}/idp", up.url).into());
    assert_gateway(&with_token(&up, &up.signed(&claims)).await, (400, 3), "token.claim", "a workflow as a person");
    assert_nothing_stored(&up, before).await;
}

/// Resident memory of a process, in KiB, and the most it ever was.
fn memory(process: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("in KiB");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    (value("VmRSS:"), value("VmHWM:"))
}

/// Row 16: a token of dots once cost Fulcio gigabytes (CVE-2025-66506).
#[tokio::test]
async fn ten_megabytes_of_dots_are_refused_before_they_are_taken_apart() {
    let home = Home::new();
    let up = Up::start(&home);
    let before = up.mark().await;
    let dots = ".".repeat(10 << 20);
    let body = certificate_request(&p256(), ALICE, &dots).to_string();
    let (resident, _) = memory(up.child.id());
    for path in [SIGNING, ENTRIES].repeat(6) {
        // Whoever sends it may still be writing when the answer comes.
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        let (address, request) = (up.address(), head + &body);
        let answer = tokio::task::spawn_blocking(move || raw(&address, request.as_bytes())).await.expect("answer");
        assert_eq!((answer.status, answer.code().as_str()), (413, "input.too-large"), "{path}");
    }
    // As many as the body may have.
    let many = certificate_request(&p256(), ALICE, &".".repeat(60 << 10)).to_string();
    assert_gateway(&up.post(SIGNING, many).await, (400, 3), "token.malformed", "60 KiB of dots");
    let (_, most) = memory(up.child.id());
    // One request has 10 MiB, of which nothing is kept: a few buffers of connections at most.
    assert!(most < resident + (4 << 10), "{resident} KiB became {most} KiB");
    assert_nothing_stored(&up, before).await;
}

/// Oversized bodies are refused by what they announce, before they are sent, or as soon as they are too long.
#[tokio::test]
async fn oversized_bodies_are_refused_announced_and_chunked() {
    let home = Home::new();
    let up = Up::start(&home);
    let before = up.mark().await;
    let address = up.address();
    let secret = std::fs::read_to_string(up.data_dir.join("owner-secret")).expect("secret");
    for (path, limit, content_type) in [
        (SIGNING, 64 << 10, "application/json"),
        (ENTRIES, 4 << 20, "application/json"),
        (TIMESTAMP, 64 << 10, "application/timestamp-query"),
        (TIMESTAMP, 64 << 10, "application/json"),
        ("/idp/mint", 64 << 10, "application/json"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
             authorization: Bearer {}\r\n",
            secret.trim()
        );
        // Announced: the answer comes though nothing follows.
        let announced = format!("{head}content-length: {}\r\n\r\n", limit + 1);
        let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, " ".repeat(64 << 10));
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(limit / (64 << 10) + 1));
        for request in [announced, chunked] {
            let address = address.clone();
            let answer = tokio::task::spawn_blocking(move || raw(&address, request.as_bytes())).await.expect("answer");
            assert_eq!(answer.status, 413, "{path} {content_type}");
            assert!(answer.text().contains("input.too-large"), "{path}: {}", answer.text());
        }
    }
    assert_nothing_stored(&up, before).await;
}

/// Row 30: empty optional fields, wrong types, deep nesting. The process survives.
#[tokio::test]
async fn malformed_requests_are_refused_and_the_process_goes_on() {
    let home = Home::new();
    let up = Up::start(&home);
    let before = up.mark().await;
    let token = up.signed(&up.claims(ALICE));
    let key = p256();
    let good = certificate_request(&key, ALICE, &token);
    let with = |pointer: &str, value: Value| {
        let mut request = good.clone();
        *request.pointer_mut(pointer).expect("a member") = value;
        request.to_string()
    };
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let duplicate = good.to_string().replacen('{', "{\"credentials\":{\"oidcIdentityToken\":\"x\"},", 1);
    for (what, body, reason) in [
        ("not JSON", "{".to_owned(), "input.malformed"),
        ("a list", "[]".into(), "input.malformed"),
        ("null", "null".into(), "input.malformed"),
        ("not UTF-8", String::from_utf8_lossy(b"{\"a\":\"\xff\"}").into_owned() + "\u{0}", "input.malformed"),
        ("deep", deep.clone(), "input.malformed"),
        ("a key twice", duplicate, "input.malformed"),
        ("trailing text", format!("{good} x"), "input.malformed"),
        ("a number for a token", with("/credentials/oidcIdentityToken", json!(1)), "input.malformed"),
        ("a list for credentials", with("/credentials", json!([])), "input.malformed"),
        ("a text for a key", with("/publicKeyRequest", json!("x")), "input.malformed"),
        ("no base64", with("/publicKeyRequest/proofOfPossession", json!("***")), "input.malformed"),
        ("no key", with("/publicKeyRequest/publicKey", Value::Null), "key.unsupported"),
        ("an empty key", with("/publicKeyRequest/publicKey/content", json!("")), "key.unsupported"),
        ("no arm", with("/publicKeyRequest", Value::Null), "key.unsupported"),
        ("no proof", with("/publicKeyRequest/proofOfPossession", json!("")), "challenge.failed"),
        ("nothing", "{}".into(), "token.malformed"),
    ] {
        assert_gateway(&up.post(SIGNING, body).await, (400, 3), reason, what);
    }
    let good = certified_entry(&key, &up.certificate(&key).await, b"message");
    // That certificate is one more in its log.
    let before = (before.0 + 1, before.1);
    let at = |rest: &str| format!("/hashedRekordRequestV002{rest}");
    let with = |pointer: &str, value: Value| {
        let mut request = good.clone();
        *request.pointer_mut(&at(pointer)).expect("a member") = value;
        request.to_string()
    };
    for (what, body) in [
        ("not JSON", "{".to_owned()),
        ("a list", "[]".into()),
        ("deep", deep),
        ("nothing", "{}".into()),
        ("an unknown kind", json!({"intotoV002": {}}).to_string()),
        ("an empty request", json!({"hashedRekordRequestV002": {}}).to_string()),
        ("no digest", with("/digest", json!(""))),
        ("a long digest", with("/digest", json!(STANDARD.encode([0; 64])))),
        ("another digest", with("/digest", json!(STANDARD.encode([0; 32])))),
        ("no signature", with("/signature/content", json!(""))),
        (
            "a foreign signature",
            with("/signature/content", json!(STANDARD.encode(p256().sign(b"message").expect("signature")))),
        ),
        ("no verifier", with("/signature/verifier", Value::Null)),
        ("an empty verifier", with("/signature/verifier", json!({}))),
        ("another algorithm", with("/signature/verifier/keyDetails", json!("PKIX_ECDSA_P384_SHA_384"))),
        ("an unknown algorithm", with("/signature/verifier/keyDetails", json!("MD5"))),
    ] {
        let answer = up.post(ENTRIES, body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(3)), "{what}: {}", answer.text());
        assert!(!answer.code().is_empty(), "{what}: {}", answer.text());
    }
    for body in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", &[0x30; 4096]] {
        for content_type in ["application/timestamp-query", "application/json"] {
            let request = client().post(format!("{}{TIMESTAMP}", up.url)).header("content-type", content_type);
            let answer = ask(request.body(body.to_vec())).await;
            assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(400)), "{}", answer.text());
            assert!(!answer.code().is_empty());
        }
    }
    assert_eq!(up.get("/readyz").await.status, 200);
    assert_nothing_stored(&up, before).await;
}

/// A key gets a certificate when its holder proves to have it, and when it is of a kind that is worth one.
#[tokio::test]
async fn bad_keys_and_proofs_get_no_certificate() {
    let home = Home::new();
    let up = Up::start(&home);
    let before = up.mark().await;
    let token = up.signed(&up.claims(ALICE));
    let (key, other) = (p256(), p256());
    let proof = |key: &KeyPair, message: &str| STANDARD.encode(key.sign(message.as_bytes()).expect("signature"));
    let request = |pem: &str, proof: &str| {
        json!({
            "credentials": {"oidcIdentityToken": token},
            "publicKeyRequest": {"publicKey": {"algorithm": "ECDSA", "content": pem}, "proofOfPossession": proof},
        })
        .to_string()
    };
    let pem = key.public_key().to_pem();
    for (what, proof) in [
        ("over another name", proof(&key, "mallory@corp.example")),
        ("over nothing", proof(&key, "")),
        ("over the token", proof(&key, &token)),
        ("with another key", proof(&other, ALICE)),
        ("zeros", STANDARD.encode([0; 64])),
        ("very long", STANDARD.encode([0; 4096])),
    ] {
        assert_gateway(&up.post(SIGNING, request(&pem, &proof)).await, (400, 3), "challenge.failed", what);
    }
    let small = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMRjc0T2VvTzEbYbKQXBP5LFWxrTlZ0Y\n-----END PUBLIC KEY-----\n";
    for (what, pem) in [
        ("garbage", "nonsense"),
        ("an empty block", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"),
        ("cut off", small),
        ("a private key's label", "-----BEGIN PRIVATE KEY-----\nAQAB\n-----END PRIVATE KEY-----\n"),
    ] {
        assert_gateway(&up.post(SIGNING, request(pem, &proof(&key, ALICE))).await, (400, 3), "key.unsupported", what);
    }
    assert_nothing_stored(&up, before).await;
    assert_eq!(key.algorithm(), SignatureAlgorithm::EcdsaSha256);
}

/// Row 33: no route is a second door. What a token opens is closed without one; what is open changes nothing.
#[tokio::test]
async fn every_route_without_a_token_gives_nothing_away() {
    let home = Home::new();
    let up = Up::start(&home);
    let before = up.mark().await;
    let routes = [
        SIGNING,
        "/api/v2/trustBundle",
        "/api/v2/configuration",
        ENTRIES,
        "/checkpoint",
        "/api/v2/checkpoint",
        "/tile/0/000.p/1",
        "/api/v2/tile/0/000.p/1",
        TIMESTAMP,
        "/api/v1/timestamp/certchain",
        "/api/v1/log",
        "/api/v1/log/entries",
        "/api/v1/index/retrieve",
        "/ctlog/checkpoint",
        "/ctlog/tile/0/000.p/1",
        "/ctlog/ct/v1/add-pre-chain",
        "/ctlog/ct/v1/add-chain",
        "/tuf/1.root.json",
        "/tuf/timestamp.json",
        "/trust-config.json",
        "/client.json",
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/idp/mint",
        "/idp/.well-known/openid-configuration",
        "/idp/keys",
        "/idp/github/keys",
        "/api/v1/signingCert",
        "/tuf/../keys/ca.pem",
        "/tuf/%2e%2e/keys/ca.pem",
        "/keys/ca.pem",
        "/owner-secret",
        "/instance.json",
    ];
    for path in routes {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            for token in [None, Some("Bearer nonsense"), Some("Basic c2lnc3RvcmU6")] {
                let mut request = client().request(method.parse().expect("a method"), format!("{}{path}", up.url));
                request = request.header("content-type", "application/json").header("origin", "https://evil.example");
                if let Some(token) = token {
                    request = request.header("authorization", token);
                }
                let body = if method == "GET" { String::new() } else { "{}".to_owned() };
                let answer = ask(request.body(body)).await;
                let at = format!("{method} {path} {token:?}: {} {}", answer.status, answer.text());
                assert!(answer.status < 500 || answer.status == 501, "{at}");
                assert!(answer.header("access-control-allow-origin").is_empty(), "{at}");
                assert!(!answer.text().contains("PRIVATE KEY"), "{at}");
                if method != "GET" && method != "OPTIONS" {
                    assert!(answer.status >= 400, "{at}");
                }
                if path == SIGNING || path == ENTRIES {
                    let expected = if method == "POST" { 400 } else { 501 };
                    assert_eq!(answer.status, expected, "{at}");
                    assert_eq!(answer.json()["code"], if method == "POST" { 3 } else { 12 }, "{at}");
                }
                if path == TIMESTAMP && method != "POST" {
                    assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{at}");
                }
                if path == "/idp/mint" && method == "POST" {
                    assert_eq!(answer.status, 401, "{at}");
                }
            }
        }
    }
    assert_nothing_stored(&up, before).await;
}

/// A web page whose name was made to point here must not reach the provider that vouches for anybody.
#[tokio::test]
async fn the_demo_provider_answers_to_its_own_names_only() {
    let home = Home::new();
    let up = Up::start(&home);
    let secret = std::fs::read_to_string(up.data_dir.join("owner-secret")).expect("secret");
    let body = json!({"issuer": "email", "identity": ALICE, "audience": "sigstore"}).to_string();
    let (_, port) = up.url.rsplit_once(':').expect("a port");
    for (host, open) in [
        (up.address(), true),
        (format!("localhost:{port}"), true),
        ("evil.example".to_owned(), false),
        (format!("127.0.0.1.evil.example:{port}"), false),
        (format!("evil.example:{port}"), false),
        (format!("localhost.evil.example:{port}"), false),
        (format!("192.168.1.1:{port}"), false),
    ] {
        for (method, path) in
            [("POST", "/idp/mint"), ("GET", "/idp/keys"), ("GET", "/idp/.well-known/openid-configuration")]
        {
            let request = client().request(method.parse().expect("a method"), format!("{}{path}", up.url));
            let request = request.header("host", &host).header("authorization", format!("Bearer {}", secret.trim()));
            let answer = ask(request.body(if method == "POST" { body.clone() } else { String::new() })).await;
            assert_eq!(answer.status, if open { 200 } else { 403 }, "{host} {path}: {}", answer.text());
            assert!(open || !answer.text().contains("token\":"), "{host}");
        }
    }
}

/// Row 31: a path that a client makes up is never a label (CVE-2026-49835).
#[tokio::test]
async fn made_up_paths_and_methods_are_one_series() {
    let home = Home::new();
    let up = Up::start(&home);
    let probe = async |number: u32| {
        for path in [
            format!("/{number:x}"),
            format!("/api/v2/{number}"),
            format!("/tuf/{number}.root.json"),
            format!("/tile/0/{number}"),
            format!("/ctlog/issuer/{number}"),
            format!("/api/v1/log/entries/{number}"),
            format!("/idp/{number}"),
        ] {
            let method = format!("M{number}").parse().expect("a method");
            ask(client().request(method, format!("{}{path}", up.url))).await;
            up.get(&format!("{path}?{number}")).await;
        }
    };
    let series = async || {
        let text = up.get("/metrics").await.text();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').expect("a value").0.to_owned())
            .collect::<BTreeSet<_>>()
    };
    up.get("/metrics").await;
    probe(900_000_001).await;
    let before = series().await;
    for number in 0..40 {
        probe(1_000_000_000 + number).await;
    }
    assert_eq!(series().await, before);
    assert!(!before.iter().any(|one| one.contains("900000001")));
}

/// Row 32: accepting goes on after the process had no file descriptor left.
#[tokio::test]
async fn descriptors_that_run_out_end_nothing() {
    let home = Home::new();
    let up = Up::start(&home);
    // It raises its limit before it accepts, and not again.
    assert_eq!(up.get("/healthz").await.status, 200);
    let process = i32::try_from(up.child.id()).ok().and_then(Pid::from_raw);
    let open = std::fs::read_dir(format!("/proc/{}/fd", up.child.id())).expect("descriptors").count();
    let before = getrlimit(Resource::Nofile);
    let limit = |current: Option<u64>| {
        let limit = Rlimit { current, maximum: before.maximum };
        prlimit(process, Resource::Nofile, limit).map(|_| ()).expect("a limit");
    };
    limit(Some(open as u64 + 8));
    let address = up.url.strip_prefix("http://").expect("an address").to_owned();
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(tokio::net::TcpStream::connect(&address).await.expect("the backlog takes it"));
    }
    // The first are served; the last waits, and waiting is all that happens to it.
    let mut answers = 0;
    for connection in &mut held {
        let asked = b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(connection, asked).await.expect("sent");
        let mut first = [0; 12];
        let read = tokio::io::AsyncReadExt::read_exact(connection, &mut first);
        if tokio::time::timeout(std::time::Duration::from_millis(500), read).await.is_err() {
            break;
        }
        assert_eq!(&first, b"HTTP/1.1 200");
        answers += 1;
    }
    assert!((1..32).contains(&answers), "{answers} of 32 were served");
    drop(held);
    assert_eq!(up.get("/healthz").await.status, 200);
    limit(before.current);
    assert_eq!(with_token(&up, &up.token(&home, &["--identity", ALICE])).await.status, 200);
}

/// The provider gives tokens to the owner of the data directory only, and never another issuer, audience or expiry.
#[test]
fn tokens_are_minted_for_the_owner_only() {
    let home = Home::new();
    let up = Up::start(&home);
    let directory = up.data_dir.display().to_string();
    let stranger = Home::new();
    let token = ["token", "--instance", &up.url, "--identity", ALICE];
    assert_refused(&stranger.run(&token), 1, "input.unreadable");
    // The user who started it finds it without being told where.
    assert!(home.run(&token).status.success());
    for claim in ["iss", "aud", "exp"] {
        let claims = home.write("claims.json", json!({claim: "x"}).to_string());
        let with = [&token[..], &["--data-dir", &directory, "--claims", &claims]].concat();
        assert_refused(&home.run(&with), 1, "token.claim");
    }
    let claims = home.write("claims.json", "[]");
    let with = [&token[..], &["--data-dir", &directory, "--claims", &claims]].concat();
    assert_refused(&home.run(&with), 1, "input.malformed");
}
