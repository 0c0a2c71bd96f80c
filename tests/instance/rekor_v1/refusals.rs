//! What is not logged, with the reason that every client shows.

use super::super::raw;
use super::*;

#[tokio::test]
async fn entries_that_do_not_hold_are_refused_and_nothing_is_logged() {
    let log = Log::start("open").await;
    let good = log.signed(b"artifact").await;
    let (key, pem) = log.certificate(ALICE).await;
    let (_, other) = log.certificate(ALICE).await;
    let edited = |mut request: Value, path: &str, value: Value| {
        *request.pointer_mut(path).expect("there") = value;
        request
    };
    let other = json!(STANDARD.encode(other));
    let zeros = json!("00".repeat(32));
    let key_of = "/spec/signature/publicKey/content";
    let payload = "/spec/content/envelope/payload";
    for (request, status, code) in [
        (json!({}), 422, "log.entry-malformed"),
        (edited(good.clone(), "/spec", Value::Null), 422, "log.entry-malformed"),
        (edited(good.clone(), "/kind", json!("thing")), 400, "log.entry-kind"),
        (edited(good.clone(), "/apiVersion", json!("0.0.9")), 400, "log.entry-kind"),
        (edited(good.clone(), "/spec/data", Value::Null), 400, "log.entry-malformed"),
        (edited(good.clone(), "/spec/signature/content", json!("*")), 400, "log.entry-malformed"),
        // security.md row 1: parts of other entries.
        (edited(good.clone(), "/spec/data/hash/value", zeros), 400, "signature.invalid"),
        (edited(good.clone(), key_of, other.clone()), 400, "signature.invalid"),
        (edited(rekord(&key, &pem, b"a"), "/spec/data/content", json!("AQ==")), 400, "signature.invalid"),
        (edited(rekord(&key, &pem, b"a"), "/spec/signature/format", json!("pgp")), 400, "key.unsupported"),
        (edited(dsse(&key, &pem, b"{}"), "/spec/proposedContent/verifiers/0", other), 400, "signature.envelope"),
        (edited(dsse(&key, &pem, b"{}"), "/spec/proposedContent/verifiers", json!([])), 400, "log.entry-malformed"),
        (edited(dsse(&key, &pem, b"{}"), "/spec/proposedContent/envelope", json!("{}")), 400, "log.entry-malformed"),
        (edited(intoto(&key, &pem, b"{}"), payload, json!(STANDARD.encode("AQ=="))), 400, "signature.envelope"),
        (edited(intoto(&key, &pem, b"{}"), payload, Value::Null), 400, "log.entry-malformed"),
    ] {
        let answer = log.create(&request).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{request}: {}", answer.text());
        refused(&answer, status, code);
    }
    refused(&log.up.post(ENTRIES, "").await, 400, "log.entry-malformed");
    refused(&log.up.post(ENTRIES, "not JSON").await, 400, "log.entry-malformed");
    assert_eq!(log.created(&good).await.index, 1, "what was refused is not stored");
}

/// security.md row 33: the second door to the same log asks the same question, before a signature is verified.
#[tokio::test]
async fn only_the_instances_own_certificates_write_unless_the_rules_say_otherwise() {
    let log = Log::start("open").await;
    let key = p256();
    let pem = key.public_key().to_pem();
    let stamp = json!({"artifactHash": STANDARD.encode([1; 32]), "hashAlgorithm": "sha256", "certificates": true});
    let stamp = log.up.post("/api/v1/timestamp", stamp.to_string()).await.body;
    let rfc3161 = json!({"tsr": {"content": STANDARD.encode(stamp)}});
    for request in [
        hashedrekord(&key, &pem, b"a"),
        dsse(&key, &pem, b"{}"),
        intoto(&key, &pem, b"{}"),
        rekord(&key, &pem, b"a"),
        json!({"apiVersion": "0.0.1", "kind": "rfc3161", "spec": rfc3161}),
    ] {
        refused(&log.create(&request).await, 403, "rule.writer");
        assert!(log.retrieved(json!({"entries": [request]})).await.is_empty());
    }
    let (_, own) = log.certificate(ALICE).await;
    let mut both = dsse(&key, &pem, b"{}");
    both["spec"]["proposedContent"]["verifiers"] = json!([STANDARD.encode(own), STANDARD.encode(&pem)]);
    refused(&log.create(&both).await, 403, "rule.writer");
    let anybody = Log::of_anybody("open").await;
    anybody.created(&hashedrekord(&key, &pem, b"a")).await;
}

/// A body of more than 65,535 bytes does not fit into an entry bundle.
#[tokio::test]
async fn an_entry_that_fits_into_no_bundle_is_refused() {
    let log = Log::start("sealed").await;
    let (key, pem) = log.certificate(ALICE).await;
    let mut request = intoto(&key, &pem, b"{}");
    request["spec"]["content"]["envelope"]["signatures"][0]["keyid"] = "k".repeat(70_000).into();
    refused(&log.create(&request).await, 400, "input.too-large");
}

/// security.md row 16: ten megabytes of separators.
#[tokio::test]
async fn requests_are_bounded() {
    let log = Log::start("open").await;
    for path in [ENTRIES, RETRIEVE, SEARCH] {
        for separator in [".", ",", "["] {
            let body = separator.repeat(10 << 20);
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let answer = raw(&log.up.address(), &[head.as_bytes(), body.as_bytes()].concat());
            assert_eq!((answer.status, answer.code().as_str()), (413, "input.too-large"), "{path}");
        }
    }
    let ids = vec!["00".repeat(32); 11];
    let answer = log.up.post(RETRIEVE, json!({"entryUUIDs": ids}).to_string()).await;
    refused(&answer, 422, "input.malformed");
    assert!(log.retrieved(json!({"entryUUIDs": ids[1..]})).await.is_empty());
    let mixed = json!({"entryUUIDs": ids[..5], "logIndexes": [1, 2, 3], "entries": [1, 2, 3]});
    refused(&log.up.post(RETRIEVE, mixed.to_string()).await, 422, "input.malformed");
}

/// security.md row 29: an archive is never unpacked, so it cannot be a bomb.
#[tokio::test]
async fn archives_are_refused_unread() {
    let log = Log::start("open").await;
    for kind in ["alpine", "helm", "jar", "rpm", "tuf", "cose"] {
        let spec = json!({"archive": {"content": "H4sIAAAAAAAAA"}, "package": {"content": "H4sIAAAAAAAAA"}});
        let answer = log.create(&json!({"apiVersion": "0.0.1", "kind": kind, "spec": spec})).await;
        refused(&answer, 400, "log.entry-kind");
        assert!(answer.json()["message"].as_str().expect("text").contains("hashedrekord"));
    }
}

/// security.md row 30: empty optional fields made upstream panic (CVE-2023-33199, CVE-2026-23831).
#[tokio::test]
async fn empty_fields_are_refused_and_the_process_lives() {
    let log = Log::start("open").await;
    let (key, pem) = log.certificate(ALICE).await;
    let tsr = json!({"apiVersion": "0.0.1", "kind": "rfc3161", "spec": {"tsr": {"content": "AA=="}}});
    for request in [
        hashedrekord(&key, &pem, b"a"),
        dsse(&key, &pem, b"{}"),
        intoto(&key, &pem, b"{}"),
        rekord(&key, &pem, b"a"),
        tsr,
    ] {
        let mut paths = vec![String::new()];
        while let Some(path) = paths.pop() {
            match request.pointer(&path).expect("there") {
                Value::Object(members) => paths.extend(members.keys().map(|name| format!("{path}/{name}"))),
                Value::Array(members) => paths.extend((0..members.len()).map(|place| format!("{path}/{place}"))),
                _ => {}
            }
            for value in [Value::Null, json!(""), json!([]), json!({}), json!([null])] {
                let mut edited = request.clone();
                *edited.pointer_mut(&path).expect("there") = value.clone();
                for (path, body) in [(ENTRIES, edited.clone()), (RETRIEVE, json!({"entries": [edited]}))] {
                    let answer = log.up.post(path, body.to_string()).await;
                    assert!([400, 422].contains(&answer.status), "{body}: {}", answer.text());
                    assert!(!answer.code().is_empty(), "{body}: {}", answer.text());
                }
            }
        }
    }
    log.created(&hashedrekord(&key, &pem, b"a")).await;
}

#[tokio::test]
async fn malformed_ids_indices_paths_and_methods_are_refused_as_json() {
    let log = Log::start("open").await;
    for id in ["0", "xyz", &"0".repeat(63), &"0".repeat(79), &"0".repeat(81), &"g".repeat(64), "%2e%2e%2f"] {
        refused(&log.up.get(&format!("{ENTRIES}/{id}")).await, 400, "input.malformed");
    }
    for query in
        ["", "?logIndex=", "?logIndex=-1", "?logIndex=x", "?logIndex=1&logIndex=2", "?logIndex=99999999999999999999"]
    {
        refused(&log.up.get(&format!("{ENTRIES}{query}")).await, 422, "input.malformed");
    }
    for query in
        [json!({"entryUUIDs": [7]}), json!({"logIndexes": [-1]}), json!({"logIndexes": ["x"]}), json!({"entries": {}})]
    {
        refused(&log.up.post(RETRIEVE, query.to_string()).await, 422, "input.malformed");
    }
    for path in ["/api/v1/log/nothing", "/api/v1/index/nothing"] {
        let answer = log.up.get(path).await;
        refused(&answer, 404, "");
    }
    for path in ["/api/v1/log", "/api/v1/log/proof", "/api/v1/log/publicKey"] {
        refused(&log.up.post(path, "{}").await, 405, "");
    }
    for path in [SEARCH, RETRIEVE] {
        let answer = log.up.get(path).await;
        assert_eq!((answer.status, answer.media_type()), (405, "application/json"), "{path}");
    }
}
