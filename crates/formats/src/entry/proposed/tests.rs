use super::{MAX_PROPOSED_LEN, MAX_TSR_LEN, ProposedDsse, ProposedEntry, ProposedError};
use crate::bundle::{Bundle, Content};
use crate::code::Code;
use crate::crypto::HashAlgorithm;
use crate::entry::request::MAX_DSSE_SIGNATURES;
use crate::entry::{Entry, PemVerifier};
use crate::json::{JsonError, decode_base64, encode_base64};
use serde_json::{Value, json};
use waxseal_testkit::{Exchange, vectors};

const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPZmcO7irmYRcpyu92s9c0pkG8m3j\nmsUIDh/vBN4h6dBU6tzyC0jUzFqLPhqz1Q4o77kYhGZinhxhX06zw6FVEQ==\n-----END PUBLIC KEY-----\n";

fn parse(value: &Value) -> Result<ProposedEntry, ProposedError> {
    ProposedEntry::from_json(value.to_string().as_bytes())
}

/// Requests to create an entry, and the bodies that were answered.
fn recorded() -> Vec<(Exchange, Vec<u8>)> {
    let Some(vectors) = vectors() else { return Vec::new() };
    let files = ["cosign-3.1.3", "cosign-2.6.1", "gitsign-034927d", "sigstore-python-4.5.1", "sigstore-js-cli-0.10.3"];
    let exchanges = files.iter().flat_map(|file| vectors.wire(file));
    let creations = exchanges.filter(|e| e.service == "rekor1-standin" && e.path == "/api/v1/log/entries");
    creations
        .map(|exchange| {
            let answer = exchange.response_json();
            let entry = answer.as_object().and_then(|entries| entries.values().next()).cloned().unwrap();
            (exchange, decode_base64(entry["body"].as_str().unwrap()).unwrap())
        })
        .collect()
}

/// The leaf of a request whose signatures are all taken to be by the first verifier.
fn canonical(entry: &ProposedEntry) -> Vec<u8> {
    match entry {
        ProposedEntry::HashedRekord(entry) => entry.canonical_body(),
        ProposedEntry::Dsse(entry) => entry
            .canonical_body(&entry.envelope.signatures.iter().map(|s| (s, &entry.verifiers[0])).collect::<Vec<_>>()),
        ProposedEntry::Intoto(entry) => entry.canonical_body(),
        ProposedEntry::Intoto001(entry) => entry.canonical_body(),
        ProposedEntry::Rekord(entry) => entry.canonical_body(),
        ProposedEntry::Rfc3161(entry) => entry.canonical_body(),
    }
}

#[test]
fn recorded_requests_become_the_recorded_bodies() {
    let recorded = recorded();
    for (exchange, body) in &recorded {
        let entry = ProposedEntry::from_json(exchange.request_body.as_deref().unwrap()).unwrap();
        assert_eq!(String::from_utf8(canonical(&entry)).unwrap(), String::from_utf8_lossy(body), "{}", exchange.step);
    }
    assert!(vectors().is_none() || recorded.len() > 15, "{}", recorded.len());
}

#[test]
fn requests_made_again_from_logged_entries_become_the_same_bodies() {
    let Some(vectors) = vectors() else { return };
    let own = vectors.private_instance().into_iter().filter(|case| case.file.contains("/bundles/"));
    let texts = own.map(|case| (vectors.read(&case.file), case.file));
    let texts = texts.chain(vectors.conformance().into_iter().map(|case| (case.bundle, case.name)));
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for (text, name) in texts {
        let Ok(bundle) = Bundle::from_json(&text) else { continue };
        for entry in &bundle.entries {
            let Some(body) = entry.canonicalized_body.clone() else { continue };
            let made = match Entry::parse(&entry.kind, &entry.version, &body) {
                Ok(Entry::HashedRekord001 { .. }) => {
                    canonical(&ProposedEntry::from_json(&body).unwrap_or_else(|error| panic!("{name}: {error}")))
                }
                Ok(Entry::Dsse001 { envelope_hash, signatures, payload_hash }) => {
                    let Content::Envelope(envelope) = bundle.content.clone() else { continue };
                    let verifiers =
                        signatures.iter().map(|s| PemVerifier::from_pem(&s.verifier_pem).unwrap()).collect();
                    let proposed = ProposedDsse { envelope, envelope_hash, verifiers };
                    // Negative cases have another envelope or another signature than the log.
                    if proposed.payload_hash() != payload_hash
                        || proposed.envelope.signatures[0].sig != signatures[0].signature
                    {
                        continue;
                    }
                    canonical(&ProposedEntry::Dsse(proposed))
                }
                Ok(Entry::Intoto002 { payload_hash, .. }) => {
                    let Content::Envelope(envelope) = &bundle.content else { continue };
                    let mut request: Value = serde_json::from_slice(&body).unwrap();
                    let content = &mut request["spec"]["content"];
                    // Rekor does not keep the payload. The entries of some cases were made by hand and have it.
                    if content["envelope"].get("payload").is_some()
                        || payload_hash != HashAlgorithm::Sha256.digest(&envelope.payload)
                    {
                        continue;
                    }
                    let payload = encode_base64(encode_base64(&envelope.payload).as_bytes());
                    content["envelope"]["payload"] = payload.into();
                    canonical(&parse(&request).unwrap())
                }
                _ => continue,
            };
            // Negative cases with edited bodies are not canonical: what is left of them still has to parse.
            if serde_json_canonicalizer::to_vec(&serde_json::from_slice::<Value>(&body).unwrap()).unwrap() == body {
                assert_eq!(String::from_utf8_lossy(&made), String::from_utf8_lossy(&body), "{name}");
                *seen.entry(entry.kind.clone()).or_default() += 1;
            }
        }
    }
    assert!(seen["hashedrekord"] > 30 && seen["dsse"] >= 3, "{seen:?}");
}

fn hashedrekord() -> Value {
    json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": "01".repeat(32)}},
        "signature": {"content": "AQ==", "publicKey": {"content": encode_base64(KEY.as_bytes())}},
    }})
}

fn dsse(signatures: usize, verifiers: usize) -> Value {
    let envelope =
        json!({"payload": "AQ==", "payloadType": "t", "signatures": vec![json!({"sig": "AQ=="}); signatures]});
    json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": {
        "envelope": envelope.to_string(), "verifiers": vec![encode_base64(KEY.as_bytes()); verifiers],
    }}})
}

fn intoto() -> Value {
    json!({"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": {
        "envelope": {"payloadType": "t", "payload": encode_base64(b"AQ=="), "signatures": [
            {"sig": encode_base64(b"AQ=="), "publicKey": encode_base64(KEY.as_bytes())},
        ]},
        "hash": {"algorithm": "sha256", "value": "01".repeat(32)},
    }}})
}

fn rekord() -> Value {
    json!({"apiVersion": "0.0.1", "kind": "rekord", "spec": {
        "data": {"content": encode_base64(b"artifact")},
        "signature": {"format": "x509", "content": "AQ==", "publicKey": {"content": encode_base64(KEY.as_bytes())}},
    }})
}

/// The error after a member was replaced; `Null` takes it away.
fn edited(mut request: Value, path: &str, value: Value) -> ProposedError {
    let (parent, name) = path.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap()[name] = value;
    parse(&request).unwrap_err()
}

#[test]
fn bodies_are_canonical_json_without_what_is_not_logged() {
    let text = |request: &Value| String::from_utf8(canonical(&parse(request).unwrap())).unwrap();
    let pem = encode_base64(KEY.as_bytes());
    let hash = format!(r#"{{"algorithm":"sha256","value":"{}"}}"#, "01".repeat(32));
    let payload = HashAlgorithm::Sha256.digest(&[1]).to_hex();
    let body = |kind: &str, spec: &str| format!(r#"{{"apiVersion":"0.0.1","kind":"{kind}","spec":{spec}}}"#);
    let spec =
        format!(r#"{{"data":{{"hash":{hash}}},"signature":{{"content":"AQ==","publicKey":{{"content":"{pem}"}}}}}}"#);
    assert_eq!(text(&hashedrekord()), body("hashedrekord", &spec));
    let digest = HashAlgorithm::Sha256.digest(b"artifact").to_hex();
    let spec = format!(
        r#"{{"data":{{"hash":{{"algorithm":"sha256","value":"{digest}"}}}},"signature":{{"content":"AQ==","format":"x509","publicKey":{{"content":"{pem}"}}}}}}"#
    );
    assert_eq!(text(&rekord()), body("rekord", &spec));
    let spec = format!(
        r#"{{"content":{{"envelope":{{"payloadType":"t","signatures":[{{"keyid":"k","publicKey":"{pem}","sig":"QVE9PQ=="}}]}},"hash":{hash},"payloadHash":{{"algorithm":"sha256","value":"{payload}"}}}}}}"#
    );
    let mut request = intoto();
    request["spec"]["content"]["envelope"]["signatures"][0]["keyid"] = "k".into();
    assert_eq!(text(&request), body("intoto", &spec).replace("0.0.1", "0.0.2"));
    // A signature that stands there twice is one.
    let envelope = dsse(2, 1)["spec"]["proposedContent"]["envelope"].as_str().unwrap().to_owned();
    let spec = format!(
        r#"{{"envelopeHash":{{"algorithm":"sha256","value":"{}"}},"payloadHash":{{"algorithm":"sha256","value":"{payload}"}},"signatures":[{{"signature":"AQ==","verifier":"{pem}"}}]}}"#,
        HashAlgorithm::Sha256.digest(envelope.as_bytes()).to_hex()
    );
    assert_eq!(text(&dsse(2, 1)), body("dsse", &spec));
    let old =
        json!({"apiVersion": "0.0.1", "kind": "intoto", "spec": {"content": {"envelope": envelope}, "publicKey": pem}});
    assert!(text(&old).starts_with(r#"{"apiVersion":"0.0.1","kind":"intoto","spec":{"content":{"hash":"#));
}

#[test]
fn the_envelope_is_hashed_as_it_was_sent() {
    let mut request = dsse(1, 1);
    let text = request["spec"]["proposedContent"]["envelope"].as_str().unwrap().replace(':', " :  ");
    request["spec"]["proposedContent"]["envelope"] = text.clone().into();
    let ProposedEntry::Dsse(entry) = parse(&request).unwrap() else { panic!() };
    assert_eq!(entry.envelope_hash, HashAlgorithm::Sha256.digest(text.as_bytes()));
}

#[test]
fn kinds_that_are_not_logged_are_named() {
    for (kind, version) in [("hashedrekord", "0.0.2"), ("dsse", "0.0.2"), ("intoto", "0.0.3"), ("thing", "0.0.1")] {
        let request = json!({"apiVersion": version, "kind": kind, "spec": {}});
        let error = parse(&request).unwrap_err();
        assert_eq!(error, ProposedError::Kind { kind: kind.into(), version: version.into(), hint: "" });
        assert_eq!(error.code(), Code::LOG_ENTRY_KIND);
    }
}

/// security.md row 29: nothing is ever unpacked for a log entry.
#[test]
fn archives_and_packages_are_refused_unread() {
    for kind in ["alpine", "helm", "jar", "rpm", "cose", "tuf"] {
        let request = json!({"apiVersion": "0.0.1", "kind": kind, "spec": {"archive": {"content": "H4sIAAAAAAAA"}}});
        let error = parse(&request).unwrap_err();
        assert_eq!(error.code(), Code::LOG_ENTRY_KIND, "{kind}");
        assert!(error.to_string().ends_with("log a hashedrekord 0.0.1 instead"), "{error}");
    }
}

/// security.md row 30 (CVE-2023-33199, CVE-2026-23831): members that are missing, null, empty or of another type.
#[test]
fn every_member_may_be_missing_null_empty_or_something_else() {
    fn paths(at: String, value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| paths(format!("{at}/{name}"), value, into));
            }
            Value::Array(members) => {
                members.iter().enumerate().for_each(|(place, value)| paths(format!("{at}/{place}"), value, into));
            }
            _ => {}
        }
        if !at.is_empty() {
            into.push(at);
        }
    }
    let tsr = json!({"apiVersion": "0.0.1", "kind": "rfc3161", "spec": {"tsr": {"content": "AQ=="}}});
    for request in [hashedrekord(), dsse(1, 1), intoto(), rekord(), tsr] {
        let mut all = Vec::new();
        paths(String::new(), &request, &mut all);
        for path in all {
            for value in
                [Value::Null, json!(""), json!([]), json!({}), json!([null]), json!(7), json!("AA=="), json!("*")]
            {
                let mut edited = request.clone();
                *edited.pointer_mut(&path).unwrap() = value.clone();
                if let Err(error) = parse(&edited) {
                    assert!(!error.code().as_str().is_empty(), "{path} {value}");
                }
            }
        }
    }
    for text in ["", "null", "[]", "{}", "7", r#"{"kind":null}"#, r#"{"kind":"dsse","apiVersion":"0.0.1","spec":null}"#]
    {
        let error = ProposedEntry::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(error.code(), Code::LOG_ENTRY_MALFORMED, "{text}");
        assert!(text.is_empty() || matches!(error, ProposedError::Schema(_)), "{text}: {error}");
    }
    // An empty payload would leave the signatures unchecked, as upstream does.
    assert_eq!(edited(intoto(), "/spec/content/envelope/payload", json!("")).code(), Code::LOG_ENTRY_MALFORMED);
}

#[test]
fn malformed_parts_are_refused_for_their_reason() {
    let key = "/spec/signature/publicKey/content";
    let hash = "/spec/data/hash";
    for (request, path, value, code) in [
        (hashedrekord(), hash, json!({"algorithm": "sha1", "value": "01".repeat(20)}), Code::LOG_ENTRY_MALFORMED),
        (hashedrekord(), hash, json!({"algorithm": "sha512", "value": "01".repeat(32)}), Code::LOG_ENTRY_MALFORMED),
        (hashedrekord(), key, json!(encode_base64(b"no PEM")), Code::KEY_UNSUPPORTED),
        (hashedrekord(), key, json!("%"), Code::LOG_ENTRY_MALFORMED),
        (rekord(), "/spec/signature/format", json!("pgp"), Code::KEY_UNSUPPORTED),
        (rekord(), "/spec/signature/format", json!("minisign"), Code::KEY_UNSUPPORTED),
        (rekord(), hash, json!({"algorithm": "sha256", "value": "01".repeat(32)}), Code::SIGNATURE_DIGEST_MISMATCH),
        (rekord(), hash, json!({"algorithm": "sha512", "value": "01".repeat(64)}), Code::LOG_ENTRY_MALFORMED),
        (dsse(1, 1), "/spec/signatures", json!([]), Code::LOG_ENTRY_MALFORMED),
        (dsse(1, 1), "/spec/proposedContent/envelope", json!("{"), Code::SIGNATURE_ENVELOPE),
        (
            dsse(1, 1),
            "/spec/proposedContent/envelope",
            json!(r#"{"signatures":[{"sig":""}]}"#),
            Code::LOG_ENTRY_MALFORMED,
        ),
        (intoto(), "/spec/content/envelope/payload", json!(encode_base64(b"*")), Code::LOG_ENTRY_MALFORMED),
        (intoto(), "/spec/content/hash", Value::Null, Code::LOG_ENTRY_MALFORMED),
    ] {
        let error = edited(request, path, value.clone());
        assert_eq!(error.code(), code, "{path} {value}: {error}");
    }
    assert_eq!(edited(dsse(1, 1), "/spec/payloadHash", json!({})), ProposedError::Computed);
    let format = edited(rekord(), "/spec/signature/format", json!("pgp")).to_string();
    assert_eq!(format, r#"signatures of format "pgp" are not logged here: use format x509"#);
}

#[test]
fn signatures_and_verifiers_are_bounded() {
    assert!(parse(&dsse(MAX_DSSE_SIGNATURES, MAX_DSSE_SIGNATURES)).is_ok());
    for (signatures, verifiers) in [(0, 1), (1, 0), (MAX_DSSE_SIGNATURES + 1, 1), (1, MAX_DSSE_SIGNATURES + 1)] {
        let error = parse(&dsse(signatures, verifiers)).unwrap_err();
        assert!(matches!(error, ProposedError::Count(_)), "{error}");
        assert_eq!(error.code(), Code::LOG_ENTRY_MALFORMED);
    }
    let signature = intoto()["spec"]["content"]["envelope"]["signatures"][0].clone();
    let many = json!(vec![signature; MAX_DSSE_SIGNATURES + 1]);
    assert_eq!(edited(intoto(), "/spec/content/envelope/signatures", many), ProposedError::Count("signatures"));
}

/// security.md row 16: ten megabytes of separators cost no more than reading them.
#[test]
fn ten_megabytes_of_separators_are_refused_by_their_length() {
    for separator in [b".", b",", b"[", b"\n"] {
        let error = ProposedEntry::from_json(&separator.repeat(10 << 20)).unwrap_err();
        assert_eq!(error, ProposedError::Json(JsonError::TooLarge { len: 10 << 20, limit: MAX_PROPOSED_LEN }));
        assert_eq!(error.code(), Code::INPUT_TOO_LARGE);
    }
    let pem = encode_base64(&b"-----BEGIN CERTIFICATE-----".repeat(100_000));
    let error = edited(hashedrekord(), "/spec/signature/publicKey/content", json!(pem));
    assert_eq!(error.code(), Code::INPUT_TOO_LARGE);
}

#[test]
fn a_timestamp_has_to_be_a_granted_answer_of_ten_kilobytes_at_most() {
    let request = |content: &[u8]| {
        let spec = json!({"tsr": {"content": encode_base64(content)}});
        parse(&json!({"apiVersion": "0.0.1", "kind": "rfc3161", "spec": spec}))
    };
    let error = request(&[0x30; MAX_TSR_LEN + 1]).unwrap_err();
    assert_eq!((error.code(), error), (Code::INPUT_TOO_LARGE, ProposedError::TokenTooLarge { len: MAX_TSR_LEN + 1 }));
    // PKIStatusInfo with status rejection (2) and no token.
    assert_eq!(request(&[0x30, 5, 0x30, 3, 2, 1, 2]).unwrap_err().code(), Code::TIME_TOKEN_INVALID);
    assert_eq!(request(b"garbage").unwrap_err().code(), Code::LOG_ENTRY_MALFORMED);
    let Some(vectors) = vectors() else { return };
    let stamp = vectors.wire("openssl-ts-3.0.19").into_iter().find(|exchange| exchange.status == 200).unwrap();
    let response = stamp.response_body.unwrap();
    let Ok(ProposedEntry::Rfc3161(entry)) = request(&response) else { panic!() };
    assert_eq!(entry.response, response);
    let body = format!(
        r#"{{"apiVersion":"0.0.1","kind":"rfc3161","spec":{{"tsr":{{"content":"{}"}}}}}}"#,
        encode_base64(&response)
    );
    assert_eq!(String::from_utf8(entry.canonical_body()).unwrap(), body);
}
