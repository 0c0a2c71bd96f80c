//! The index: what an entry is found by from the moment that it was answered.

use super::*;

/// What the index finds.
async fn found(log: &Log, query: Value) -> Vec<String> {
    let answer = log.up.post(SEARCH, query.to_string()).await;
    assert_eq!((answer.status, answer.media_type()), (200, "application/json"), "{query}: {}", answer.text());
    let ids = answer.json();
    ids.as_array().expect("a list").iter().map(|id| id.as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn entries_are_found_by_digest_name_and_key_as_soon_as_they_are_answered() {
    let log = Log::start("open").await;
    let (key, pem) = log.certificate("Alice@Corp.example").await;
    let digest = HashAlgorithm::Sha256.digest(b"artifact").to_hex();
    let one = log.created(&hashedrekord(&key, &pem, b"artifact")).await.id;
    let public_key = json!({"format": "x509", "content": STANDARD.encode(&pem)});
    let key_hash = HashAlgorithm::Sha256.digest(pem.as_bytes()).to_hex();
    for query in [
        json!({"hash": digest}),
        json!({"hash": format!("sha256:{digest}")}),
        json!({"hash": digest.to_uppercase()}),
        json!({"email": "alice@corp.example"}),
        json!({"email": "ALICE@corp.example"}),
        json!({"subject": "alice@corp.example"}),
        json!({"publicKey": public_key}),
        json!({"hash": key_hash}),
        json!({"email": "alice@corp.example", "hash": digest, "operator": "and"}),
    ] {
        assert_eq!(found(&log, query.clone()).await, [one.as_str()], "{query}");
    }
    for query in [
        json!({}),
        json!({"email": "bob@corp.example"}),
        json!({"email": "lice@corp.example"}),
        json!({"hash": "00".repeat(32)}),
        json!({"email": "bob@corp.example", "hash": digest, "operator": "and"}),
    ] {
        assert!(found(&log, query.clone()).await.is_empty(), "{query}");
    }
    let two = log.created(&log.signed(b"another").await).await.id;
    let both = json!({"email": "alice@corp.example", "hash": digest, "operator": "or"});
    assert_eq!(found(&log, both).await, [one, two]);
}

#[tokio::test]
async fn attestations_are_found_by_subject_material_payload_and_envelope() {
    let log = Log::start("open").await;
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": "file", "digest": {"sha256": "AB".repeat(32), "sha1": "cd".repeat(20)}}],
        "predicate": {"materials": [{"uri": "git", "digest": {"sha1": "ef".repeat(20)}}]},
    });
    let statement = statement.to_string();
    let payload = HashAlgorithm::Sha256.digest(statement.as_bytes()).to_hex();
    let (key, pem) = log.certificate(ALICE).await;
    let request = dsse(&key, &pem, statement.as_bytes());
    let envelope = request["spec"]["proposedContent"]["envelope"].as_str().expect("text").to_owned();
    let one = log.created(&request).await.id;
    let two = log.created(&intoto(&key, &pem, statement.as_bytes())).await.id;
    for hash in ["ab".repeat(32), "cd".repeat(20), "ef".repeat(20), payload] {
        assert_eq!(found(&log, json!({"hash": hash})).await, [one.as_str(), &two], "{hash}");
    }
    let key_hash = json!({"publicKey": {"format": "x509", "content": STANDARD.encode(&pem)}});
    assert_eq!(found(&log, key_hash).await, [one.as_str(), &two]);
    let envelope = HashAlgorithm::Sha256.digest(envelope.as_bytes()).to_hex();
    assert_eq!(found(&log, json!({"hash": envelope})).await, [one]);
    // Whoever sends an intoto entry may state any hash of the envelope: nothing is found by it.
    let stated = HashAlgorithm::Sha256.digest(b"the envelope").to_hex();
    assert!(found(&log, json!({"hash": stated})).await.is_empty());
}

/// gitsign's online verification: the certificate's key, then the entry by its bare UUID.
#[tokio::test]
async fn gitsign_finds_the_entry_of_a_commit() {
    let log = Log::start("open").await;
    let (key, pem) = log.certificate(ALICE).await;
    let entry = log.created(&hashedrekord(&key, &pem, b"commit")).await;
    let ids = found(&log, json!({"publicKey": {"content": STANDARD.encode(&pem), "format": "x509"}})).await;
    assert_eq!(ids, [entry.id.as_str()]);
    let uuid = ids[0].get(16..).expect("80 digits");
    assert!(log.checked(&log.up.get(&format!("{ENTRIES}/{uuid}")).await.json()).same(&entry));
}

#[tokio::test]
async fn malformed_questions_are_refused() {
    let log = Log::start("open").await;
    let pem = STANDARD.encode(p256().public_key().to_pem());
    for (query, status, code) in [
        (json!({"hash": "abc"}), 422, "input.malformed"),
        (json!({"hash": "zz".repeat(32)}), 422, "input.malformed"),
        (json!({"hash": 7}), 422, "input.malformed"),
        (json!({"operator": "xor"}), 422, "input.malformed"),
        (json!([]), 422, "input.malformed"),
        (json!({"publicKey": {"format": "pgp", "content": pem}}), 400, "key.unsupported"),
        (json!({"publicKey": {"format": "x509", "content": "AQ=="}}), 400, "key.unsupported"),
        // Never fetched (security.md row 13).
        (json!({"publicKey": {"format": "x509", "url": "http://169.254.169.254/"}}), 422, "input.malformed"),
        (json!({"publicKey": {}}), 400, "key.unsupported"),
    ] {
        let answer = log.up.post(SEARCH, query.to_string()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{query}: {}", answer.text());
        refused(&answer, status, code);
    }
    refused(&log.up.post(SEARCH, "{").await, 400, "input.malformed");
}
