//! Recorded requests of clients and probes, sent to our instance: the answers have the recorded shape.
//!
//! Compared are status, media type, JSON keys and kinds of values, never bytes. Where we decide otherwise than the recorded
//! servers, the test says so.

use super::{ALICE, Answer, Home, Up, ask, certificates, certificates_in, client, media_type, object};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use waxseal_formats::crypto::{KeyKind, sha256};
use waxseal_formats::jwt;
use waxseal_formats::tsp::TimeStampToken;
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_io::system;
use waxseal_testkit::{Exchange, FULCIO_REFUSALS, vectors};

const ORIGIN: &str = "http://127.0.0.1:7480";
const CLIENTS: [&str; 4] = ["cosign-3.1.3", "cosign-2.6.1", "sigstore-python-4.5.1", "sigstore-js-cli-0.10.3"];

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Asserts that two documents have the same keys and kinds of values; lists are compared by their first members.
pub(super) fn same_shape(at: &str, ours: &Value, recorded: &Value) {
    assert_eq!(kind(ours), kind(recorded), "{at}: {ours} for {recorded}");
    match (ours, recorded) {
        (Value::Object(ours), Value::Object(recorded)) => {
            let names = |members: &Map<String, Value>| members.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(names(ours), names(recorded), "{at}");
            for (name, value) in ours {
                same_shape(&format!("{at}.{name}"), value, &recorded[name]);
            }
        }
        (Value::Array(ours), Value::Array(recorded)) => {
            if let Some(recorded) = recorded.first() {
                ours.iter().for_each(|one| same_shape(&format!("{at}[]"), one, recorded));
            }
        }
        _ => {}
    }
}

fn same_answer(ours: &Answer, recorded: &Exchange) {
    let at = format!("{} {} (line {})", recorded.client, recorded.step, recorded.line);
    assert_eq!(ours.status, recorded.status, "{at}: {}", ours.text());
    let expected = media_type(recorded.response_header("content-type").unwrap_or_default());
    assert_eq!(ours.media_type(), expected, "{at}");
    if expected == "application/json" {
        same_shape(&at, &ours.json(), &recorded.response_json());
    }
}

/// Sends the recorded request, with another body if one is given.
pub(super) async fn replay(up: &Up, exchange: &Exchange, body: Option<Vec<u8>>, token: Option<&str>) -> Answer {
    let method = exchange.method.parse().expect("a method");
    let mut request = client().request(method, format!("{}{}", up.url, exchange.path));
    for name in ["content-type", "accept", "user-agent"] {
        if let Some(value) = exchange.request_header(name) {
            request = request.header(name, value);
        }
    }
    if let (Some(token), Some(header)) = (token, exchange.request_header("authorization")) {
        let scheme = header.split(' ').next().unwrap_or_default();
        request = request.header("authorization", format!("{scheme} {token}"));
    }
    if let Some(body) = body.or_else(|| exchange.request_body.clone()) {
        request = request.body(body);
    }
    ask(request).await
}

/// When the recorded answer was given.
fn recorded_at(exchange: &Exchange) -> i64 {
    let date = exchange.response_header("date").expect("a date");
    jiff::fmt::rfc2822::parse(date).expect("a date").timestamp().as_second()
}

/// The recorded token, made anew: its claims moved to our issuer and to now, and signed with our provider's key. Its own
/// signature was taken out of the recording.
fn renewed(up: &Up, exchange: &Exchange, recorded: &str) -> String {
    let mut parts = recorded.split('.');
    let mut part = || URL_SAFE_NO_PAD.decode(parts.next().unwrap_or_default()).ok();
    let json = |bytes: Option<Vec<u8>>| serde_json::from_slice::<Value>(&bytes?).ok();
    let (Some(header), Some(claims)) = (json(part()), json(part())) else { return recorded.to_owned() };
    let mut claims = object(claims);
    let moved = system::now().as_second() - recorded_at(exchange);
    for (name, value) in &mut claims {
        match value {
            Value::String(text) if name == "iss" => *text = text.replace(ORIGIN, &up.url),
            Value::Number(number) if ["iat", "nbf", "exp"].contains(&name.as_str()) => {
                *value = json!(number.as_i64().expect("seconds") + moved);
            }
            _ => {}
        }
    }
    let algorithm = header["alg"].as_str().unwrap_or("RS256");
    let input = jwt::signing_input(algorithm, &up.provider_key_id(), &claims);
    match (algorithm, exchange.step.as_str()) {
        ("none", _) => format!("{input}."),
        (_, "f2-bad-signature") => {
            let other = KeyPair::generate(KeyKind::Rsa { bits: 2048 }).expect("key");
            jwt::assemble(&input, &other.sign(input.as_bytes()).expect("signature"))
        }
        _ => up.signed(&claims),
    }
}

/// Sends a recorded certificate request with its own key and proof, and its token made anew.
async fn replay_certificate_request(up: &Up, exchange: &Exchange) -> Answer {
    let header = exchange.request_header("authorization");
    let token = header.and_then(|value| value.split_once(' ')).map(|(_, token)| renewed(up, exchange, token));
    let body = exchange.request_body.clone().unwrap_or_default();
    let Ok(mut document) = serde_json::from_slice::<Value>(&body) else {
        return replay(up, exchange, Some(body), token.as_deref()).await;
    };
    for (outer, inner) in [("credentials", "oidcIdentityToken"), ("credentials", "oidc_identity_token")] {
        let Some(Value::String(text)) = document.get_mut(outer).and_then(|outer| outer.get_mut(inner)) else {
            continue;
        };
        *text = renewed(up, exchange, text);
    }
    replay(up, exchange, Some(document.to_string().into_bytes()), token.as_deref()).await
}

#[tokio::test]
async fn certificate_requests_of_every_client_are_answered_as_they_know_it() {
    let Some(vectors) = vectors() else { return };
    let home = Home::new();
    let up = Up::start(&home);
    let mut answered = 0;
    for name in CLIENTS {
        for exchange in vectors.wire(name).iter().filter(|exchange| exchange.path == "/api/v2/signingCert") {
            let answer = replay_certificate_request(&up, exchange).await;
            same_answer(&answer, exchange);
            let (chain, recorded) = (certificates(&answer), certificates_in(&exchange.response_json()));
            assert_eq!(chain.len(), recorded.len());
            // The same key, the same name and the same statements about it; only the issuer's URL is ours.
            assert_eq!(chain[0].public_key(), recorded[0].public_key());
            assert_eq!(chain[0].subject_alt_name(), recorded[0].subject_alt_name());
            for (oid, value) in recorded[0].extensions().iter() {
                assert_eq!(chain[0].extensions().get(oid), Some(value.replace(ORIGIN, &up.url).as_str()), "{oid:?}");
            }
            assert!(chain[0].sct_list().is_some());
            answered += 1;
        }
    }
    assert!(answered >= 40, "{answered}");
}

/// Fulcio has one sentence for every fault of a token; we give the reason (clients-observed.md, fact 27). Status and shape are
/// Fulcio's.
#[tokio::test]
async fn probes_of_fulcio_get_its_answers_with_our_reasons() {
    let Some(vectors) = vectors() else { return };
    let home = Home::new();
    let up = Up::start(&home);
    let mut refused = BTreeSet::new();
    let mut logged = up.size("/ctlog").await;
    for exchange in vectors.wire("server-probes").iter().filter(|exchange| exchange.step.starts_with("f2-")) {
        let answer = replay_certificate_request(&up, exchange).await;
        if ["/api/v2/configuration", "/api/v2/trustBundle"].contains(&exchange.path.as_str()) {
            continue; // compared below
        }
        if exchange.step == "f2-email-verified-string" {
            // Row 15 of the classes: a text is no truth value, unless the issuer's entry takes it for one.
            assert_eq!((answer.status, answer.code().as_str()), (400, "token.claim"));
            continue;
        }
        same_answer(&answer, exchange);
        logged += u64::from(answer.status == 200);
        assert_eq!(up.size_reaching("/ctlog", logged).await, logged, "{}", exchange.step);
        if exchange.status == 400 {
            let reason = FULCIO_REFUSALS.iter().find(|(step, _)| *step == exchange.step);
            assert_eq!(Some(answer.code().as_str()), reason.map(|(_, code)| *code), "{}", exchange.step);
            refused.insert(exchange.step.clone());
        }
        if exchange.status >= 400 {
            assert_eq!(answer.json()["code"], exchange.response_json()["code"], "{}", exchange.step);
        }
    }
    assert_eq!(refused.len(), FULCIO_REFUSALS.len());
    assert_eq!(up.mark().await.0, logged, "what was refused is not stored");
}

#[tokio::test]
async fn what_fulcio_says_of_itself_has_its_shape() {
    let Some(vectors) = vectors() else { return };
    let home = Home::new();
    let up = Up::start(&home);
    let probes = vectors.wire("server-probes");
    let probe = |path: &str| probes.iter().find(|exchange| exchange.path == path).expect("recorded");
    let bundle = probe("/api/v2/trustBundle");
    let answer = replay(&up, bundle, None, None).await;
    same_answer(&answer, bundle);
    for pem in answer.json()["chains"][0]["certificates"].as_array().expect("a list") {
        Certificate::from_pem(pem.as_str().expect("text")).expect("PEM");
    }
    let configuration = probe("/api/v2/configuration");
    let answer = replay(&up, configuration, None, None).await;
    same_answer(&answer, configuration);
    // Both issuers, with what the holder of a key has to sign.
    let by_issuer = |document: &Value| {
        let issuers = document["issuers"].as_array().expect("a list").iter();
        let issuers = issuers.map(|issuer| {
            let url = issuer["issuerUrl"].as_str().expect("text").replace(ORIGIN, &up.url);
            (url, issuer["challengeClaim"].to_string(), issuer["audience"].to_string())
        });
        issuers.collect::<BTreeSet<_>>()
    };
    assert_eq!(by_issuer(&answer.json()), by_issuer(&configuration.response_json()));
}

#[tokio::test]
async fn timestamp_requests_are_answered_as_recorded() {
    let Some(vectors) = vectors() else { return };
    let home = Home::new();
    let up = Up::start(&home);
    let mut counts = (0, 0);
    for name in CLIENTS.iter().chain(&["openssl-ts-3.0.19", "gitsign-034927d"]) {
        for exchange in vectors.wire(name).iter().filter(|exchange| exchange.service == "tsa") {
            let answer = replay(&up, exchange, None, None).await;
            let at = format!("{name} {}", exchange.step);
            same_answer(&answer, exchange);
            if exchange.status == 200 && exchange.method == "POST" {
                let ours = TimeStampToken::parse(&answer.body).expect(&at);
                let recorded = exchange.response_body.as_deref().expect("a token");
                let recorded = TimeStampToken::parse(recorded).expect(&at);
                assert_eq!(ours.imprint(), recorded.imprint(), "{at}");
                assert_eq!(ours.nonce(), recorded.nonce(), "{at}");
                assert_eq!(ours.embedded_certificates().len(), recorded.embedded_certificates().len(), "{at}");
                counts.0 += 1;
            } else if exchange.status >= 400 {
                // JSON, whatever type it is sent as.
                same_shape(&at, &answer.json(), &exchange.response_json());
                assert_eq!(answer.json()["code"], exchange.status, "{at}");
                assert!(!answer.code().is_empty(), "{at}");
                assert_eq!(answer.header("allow"), exchange.response_header("allow").unwrap_or_default(), "{at}");
                counts.1 += 1;
            } else {
                assert_eq!(Certificate::chain_from_pem(&answer.text()).expect("PEM").len(), 2);
            }
            if exchange.method == "POST" {
                assert!(answer.header("cache-control").contains("no-store"), "{at}");
            }
        }
    }
    assert!(counts.0 > 40 && counts.1 == 5, "{counts:?}");
}

/// The recorded signatures are genuine, so the requests go in as they are and the log writes the same canonical body.
#[tokio::test]
async fn entries_of_every_client_are_logged_under_the_same_body() {
    let Some(vectors) = vectors() else { return };
    let home = Home::new();
    let up = Up::start_writing(&home, "writes: any", &[]);
    let mut counts = (0, 0);
    for name in CLIENTS.iter().chain(&["gitsign-034927d"]) {
        for exchange in vectors.wire(name).iter().filter(|exchange| exchange.service == "rekor2") {
            let answer = replay(&up, exchange, None, None).await;
            let at = format!("{name} {} line {}", exchange.step, exchange.line);
            assert_eq!(answer.status, 201, "{at}: {}", answer.text());
            // No client's entry gets index 0 (fact 5): protobuf JSON would leave it out.
            assert_ne!(answer.json()["logIndex"], "0", "{at}");
            if exchange.status == 201 {
                same_answer(&answer, exchange);
                let recorded = exchange.response_json();
                assert_eq!(answer.json()["canonicalizedBody"], recorded["canonicalizedBody"], "{at}");
                assert_eq!(answer.json()["kindVersion"], recorded["kindVersion"], "{at}");
                counts.0 += 1;
            } else {
                // rekor-tiles refuses dsseRequestV002, which two current clients still send; here it becomes a hashedrekord
                // 0.0.2 over the PAE (fact 4).
                assert!(exchange.request_json().get("dsseRequestV002").is_some(), "{at}");
                assert_eq!(answer.json()["kindVersion"], json!({"kind": "hashedrekord", "version": "0.0.2"}), "{at}");
                counts.1 += 1;
            }
        }
    }
    assert!(counts.0 >= 29 && counts.1 == 6, "{counts:?}");
}

#[tokio::test]
async fn probes_of_rekor_get_its_answers_but_for_what_we_decided() {
    let Some(vectors) = vectors() else { return };
    let home = Home::new();
    let up = Up::start_writing(&home, "writes: any", &[]);
    let mut first = Value::Null;
    let mut logged = up.size("").await;
    let probes = vectors.wire("server-probes");
    for exchange in probes.iter().filter(|exchange| exchange.step.starts_with("r2-") && exchange.service == "rekor2") {
        let answer = replay(&up, exchange, None, None).await;
        let step = exchange.step.as_str();
        match step {
            // A repeated request is answered with the entry there is: sigstore-js retries, and gives up on a 409 (fact 11).
            "r2-duplicate" => {
                assert_eq!(answer.status, 201);
                assert_eq!(answer.json()["logIndex"], first["logIndex"]);
                assert_eq!(answer.json()["canonicalizedBody"], first["canonicalizedBody"]);
            }
            // An envelope becomes a hashedrekord (fact 4): the digest of its PAE, its first signature, its first verifier.
            "r2-dsse" => {
                assert_eq!(answer.status, 201, "{}", answer.text());
                let body = STANDARD.decode(answer.json()["canonicalizedBody"].as_str().expect("text")).expect("base64");
                let body: Value = serde_json::from_slice(&body).expect("JSON");
                let envelope = exchange.request_json()["dsseRequestV002"]["envelope"].clone();
                let payload = STANDARD.decode(envelope["payload"].as_str().expect("text")).expect("base64");
                let pae = waxseal_formats::envelope::pae(envelope["payloadType"].as_str().expect("text"), &payload);
                let data = &body["spec"]["hashedRekordV002"]["data"];
                assert_eq!(data["digest"], STANDARD.encode(sha256(&pae)));
                assert_eq!(body["spec"]["hashedRekordV002"]["signature"]["content"], envelope["signatures"][0]["sig"]);
                logged += 1;
            }
            _ => {
                same_answer(&answer, exchange);
                if exchange.status == 201 {
                    logged += 1;
                    let recorded = exchange.response_json();
                    assert_eq!(answer.json()["canonicalizedBody"], recorded["canonicalizedBody"], "{step}");
                } else {
                    assert_eq!(answer.json()["code"], exchange.response_json()["code"], "{step}");
                }
                if exchange.status == 400 {
                    assert!(!answer.code().is_empty(), "{step}: {}", answer.text());
                }
            }
        }
        if step == "r2-ok" {
            first = answer.json();
        }
        assert_eq!(up.size_reaching("", logged).await, logged, "{step}");
    }
    assert_eq!(up.mark().await.1, logged, "what was refused is not stored");
}

/// A reader finds the checkpoint and the tiles where rekor-tiles has them, and below /api/v2 as its documentation says.
#[tokio::test]
async fn readers_of_the_logs_find_checkpoint_and_tiles() {
    let Some(vectors) = vectors() else { return };
    let home = Home::new();
    let up = Up::start_writing(&home, "writes: any", &["--privacy", "open"]);
    let probes = vectors.wire("server-probes");
    let request = probes.iter().find(|exchange| exchange.step == "r2-ok").expect("recorded");
    replay(&up, request, None, None).await;
    let certificate = probes.iter().find(|exchange| exchange.step == "f2-ok").expect("recorded");
    assert_eq!(replay_certificate_request(&up, certificate).await.status, 200);
    up.size_reaching("/ctlog", 1).await;
    for step in ["r2-checkpoint", "r2-checkpoint-v2path", "ct-checkpoint"] {
        let exchange = probes.iter().find(|exchange| exchange.step == step).expect("recorded");
        let answer = replay(&up, exchange, None, None).await;
        assert_eq!((answer.status, answer.media_type()), (200, "text/plain"), "{step}");
        // Rekor's checkpoint has an em dash that must not be read as Latin-1 (fact 6).
        assert!(answer.header("content-type").to_lowercase().contains("charset=utf-8"), "{step}");
    }
    let size = up.size_reaching("", 2).await;
    for tile in [format!("/tile/0/000.p/{size}"), format!("/tile/entries/000.p/{size}")] {
        for path in [tile.clone(), format!("/api/v2{tile}")] {
            let answer = up.get(&path).await;
            assert_eq!((answer.status, answer.media_type()), (200, "application/octet-stream"), "{path}");
            // After a change of shards another tree is there; at /shard/1 it stays.
            assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
            let answer = up.get(&format!("/shard/1{path}")).await;
            assert_eq!((answer.status, answer.media_type()), (200, "application/octet-stream"), "{path}");
            assert!(answer.header("cache-control").contains("immutable"), "{path}");
        }
    }
    for path in
        ["/tile/0/001", "/tile/0/000.p/300", "/tile/0/../../keys/ca.pem", "/tile/9/000", "/ctlog/tile/0/x000/000"]
    {
        let answer = up.get(path).await;
        assert_eq!((answer.status, answer.media_type()), (404, "application/json"), "{path}");
    }
}

/// Recorded is an issuer with login pages; ours come later, so their endpoints are not named, and the rest is the same.
#[tokio::test]
async fn discovery_and_keys_have_the_recorded_shape() {
    let Some(vectors) = vectors() else { return };
    let home = Home::new();
    let up = Up::start(&home);
    let recorded = vectors.wire("cosign-3.1.3");
    let recorded = |path: &str| recorded.iter().find(|exchange| exchange.path == path).expect("recorded").clone();
    let discovery = recorded("/idp/.well-known/openid-configuration");
    for issuer in ["/idp", "/idp/github"] {
        let answer = up.get(&format!("{issuer}/.well-known/openid-configuration")).await;
        assert_eq!((answer.status, answer.media_type()), (200, "application/json"));
        assert_eq!(answer.json()["issuer"], format!("{}{issuer}", up.url));
        assert_eq!(answer.json()["jwks_uri"], format!("{}{issuer}/keys", up.url));
        // Without it the Go clients refuse to log in.
        assert_eq!(answer.json()["code_challenge_methods_supported"], json!(["S256"]));
        for (name, value) in object(answer.json()) {
            // The recorded issuer did not say that it names itself when a browser comes back (RFC 9207), nor how it sends one.
            let more = ["authorization_response_iss_parameter_supported", "response_modes_supported"];
            if !more.contains(&name.as_str()) {
                same_shape(&name, &value, &discovery.response_json()[&name]);
            }
        }
        assert!(answer.header("access-control-allow-origin").is_empty());
        let keys = up.get(&format!("{issuer}/keys")).await;
        assert_eq!((keys.status, keys.media_type()), (200, "application/json"));
        same_shape("keys", &keys.json(), &json!({"keys": [recorded("/idp/keys").response_json()["keys"][0]]}));
    }
}

#[tokio::test]
async fn the_tuf_repository_is_where_clients_look_for_it() {
    let Some(vectors) = vectors() else { return };
    let home = Home::new();
    let up = Up::start(&home);
    // What a client asks, in its order, and no number but those that our metadata names.
    let missing = up.get("/tuf/2.root.json").await;
    // JSON, where the recorded file server had text: no client may take the answer for metadata.
    assert_eq!((missing.status, missing.media_type()), (404, "application/json"));
    let exchanges = vectors.wire("cosign-3.1.3");
    let recorded = |name: &str| {
        let found = exchanges.iter().find(|exchange| exchange.service == "tuf" && exchange.path.ends_with(name));
        found.expect("recorded").response_json()
    };
    let root = up.get("/tuf/1.root.json").await;
    assert_eq!(hex::encode(sha256(&root.body)), up.root_sha256);
    let mut expected = object(recorded("/root.json")["signed"].clone());
    let mut ours = object(root.json()["signed"].clone());
    // Names of keys are data.
    for signed in [&mut ours, &mut expected] {
        let keys = object(signed.remove("keys").expect("keys")).into_iter().map(|(_, key)| key).collect::<Vec<_>>();
        signed.insert("key_list".into(), json!(keys));
    }
    same_shape("root", &json!(ours), &json!(expected));

    let timestamp = up.get("/tuf/timestamp.json").await;
    let version =
        |document: &Value, name: &str| document["signed"]["meta"][name]["version"].as_u64().expect("a version");
    let snapshot_version = version(&timestamp.json(), "snapshot.json");
    let snapshot = up.get(&format!("/tuf/{snapshot_version}.snapshot.json")).await;
    let targets_version = version(&snapshot.json(), "targets.json");
    let targets = up.get(&format!("/tuf/{targets_version}.targets.json")).await;
    for (answer, name) in [(&timestamp, "/timestamp.json"), (&snapshot, ".snapshot.json"), (&targets, ".targets.json")]
    {
        assert_eq!((answer.status, answer.media_type()), (200, "application/json"), "{name}");
        let recorded = recorded(name);
        assert_eq!(answer.json()["signed"]["_type"], recorded["signed"]["_type"]);
        same_shape(name, &answer.json()["signatures"], &recorded["signatures"]);
        for member in ["expires", "spec_version", "version"] {
            same_shape(member, &answer.json()["signed"][member], &recorded["signed"][member]);
        }
    }
    let targets = targets.json();
    for (name, target) in targets["signed"]["targets"].as_object().expect("targets") {
        let digest = target["hashes"]["sha256"].as_str().expect("text");
        let answer = up.get(&format!("/tuf/targets/{digest}.{name}")).await;
        assert_eq!((answer.status, answer.media_type()), (200, "application/json"), "{name}");
        assert_eq!(hex::encode(sha256(&answer.body)), digest);
        assert_eq!(target["length"], answer.body.len());
    }
    // No extra key anywhere in the two files that clients read strictly (fact 8), and none missing that one of them needs.
    let file = |name: &'static str| {
        let digest = targets["signed"]["targets"][name]["hashes"]["sha256"].as_str().expect("text").to_owned();
        let path = format!("/tuf/targets/{digest}.{name}");
        let up = &up;
        async move { up.get(&path).await.json() }
    };
    let trusted_root = file("trusted_root.json").await;
    let mut expected = recorded("trusted_root.json");
    for authority in ["certificateAuthorities", "timestampAuthorities"] {
        assert!(trusted_root[authority][0]["validFor"]["start"].is_string());
        // Recorded without them in part; all clients take both.
        for optional in ["operator", "uri"] {
            if let Some(value) = trusted_root[authority][0].get(optional) {
                expected[authority][0][optional] = value.clone();
            }
        }
    }
    for log in ["tlogs", "ctlogs"] {
        for optional in ["operator", "checkpointKeyId"] {
            if let Some(value) = trusted_root[log][0].get(optional) {
                expected[log][0][optional] = value.clone();
            }
        }
    }
    same_shape("trusted root", &trusted_root, &expected);
    let signing_config = file("signing_config.v0.2.json").await;
    same_shape("signing config", &signing_config, &recorded("signing_config.v0.2.json"));

    let both = up.get("/trust-config.json").await;
    assert_eq!(both.media_type(), "application/json");
    let both = object(both.json());
    assert_eq!(
        both.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        ["mediaType", "signingConfig", "trustedRoot"].into()
    );
    assert_eq!((&both["trustedRoot"], &both["signingConfig"]), (&trusted_root, &signing_config));
    let client = up.get("/client.json").await;
    let expected = json!({
        "oidcIssuer": format!("{}/idp", up.url), "clientId": "sigstore", "audience": "sigstore", "privacy": "sealed",
    });
    same_shape("client", &client.json(), &expected);
    assert_eq!(client.json()["privacy"], "sealed");
}

/// What a path does not have: Fulcio's and Rekor's own answers.
#[tokio::test]
async fn unknown_paths_are_json_everywhere() {
    let home = Home::new();
    let up = Up::start(&home);
    for path in
        ["/nowhere", "/api/v2/nowhere", "/api/v2/signingCert/", "/tuf/nowhere", "/idp/nowhere", "/ctlog/ct/v1/nowhere"]
    {
        let answer = up.get(path).await;
        assert_eq!((answer.status, answer.media_type()), (404, "application/json"), "{path}");
    }
}

/// The token of `waxseal token` opens the door, and its key is one of those published.
#[tokio::test]
async fn a_minted_token_gets_a_certificate() {
    let home = Home::new();
    let up = Up::start(&home);
    let token = up.token(&home, &["--identity", ALICE]);
    let key = super::p256();
    let answer = up.post("/api/v2/signingCert", super::certificate_request(&key, ALICE, &token).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let chain = certificates(&answer);
    assert_eq!(chain[0].public_key().expect("a key"), key.public_key());
}
