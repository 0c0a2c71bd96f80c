//! Entries of every kind, answered and found again, and bundles made of them.

use super::*;
use crate::instance::oracles::assert_consistent;

#[tokio::test]
async fn every_kind_is_logged_with_promise_proof_and_identifiers() {
    for privacy in ["sealed", "open"] {
        let log = Log::start(privacy).await;
        let (key, pem) = log.certificate(ALICE).await;
        let requests = [
            hashedrekord(&key, &pem, b"artifact"),
            dsse(&key, &pem, b"{}"),
            intoto(&key, &pem, b"{}"),
            rekord(&key, &pem, b"artifact"),
        ];
        for (place, request) in (1..).zip(&requests) {
            let entry = log.created(request).await;
            assert_eq!((entry.index, entry.size), (place, place + 1), "{privacy}");
            let body: Value = serde_json::from_str(&entry.body).expect("JSON");
            assert_eq!((&body["kind"], &body["apiVersion"]), (&request["kind"], &request["apiVersion"]));
            // What is not logged stands nowhere in the body.
            for content in ["artifact", "{}"] {
                assert!(!entry.body.contains(&STANDARD.encode(content)), "{}", entry.body);
            }
            let found = log.retrieved(json!({"entries": [request]})).await;
            assert!(matches!(found.as_slice(), [one] if one.same(&entry)), "{privacy}: {found:?}");
        }
    }
}

/// A timestamp is signed by the timestamp authority, so it is taken where anybody may write.
#[tokio::test]
async fn a_timestamp_is_logged_as_it_is() {
    let log = Log::of_anybody("open").await;
    let query = json!({"artifactHash": STANDARD.encode([1; 32]), "hashAlgorithm": "sha256", "certificates": true});
    let stamp = log.up.post("/api/v1/timestamp", query.to_string()).await;
    let content = STANDARD.encode(&stamp.body);
    let request = json!({"apiVersion": "0.0.1", "kind": "rfc3161", "spec": {"tsr": {"content": content}}});
    let entry = log.created(&request).await;
    assert_eq!(entry.body, request.to_string());
    let hash = HashAlgorithm::Sha256.digest(&stamp.body).to_string();
    let found = log.up.post(SEARCH, json!({"hash": hash}).to_string()).await;
    assert_eq!(found.json(), json!([entry.id]));
}

#[tokio::test]
async fn a_repeated_entry_is_a_conflict_if_it_can_be_read_and_else_the_entry_there_is() {
    let open = Log::start("open").await;
    let request = open.signed(b"artifact").await;
    let entry = open.created(&request).await;
    let answer = open.create(&request).await;
    refused(&answer, 409, "log.entry-exists");
    assert_eq!(answer.header("location"), format!("{ENTRIES}/{}", entry.id));
    assert!(answer.json()["message"].as_str().expect("text").ends_with(&format!("UUID {}", entry.id)));
    // As gitsign and sigstore-js do then.
    let there = open.up.get(answer.header("location")).await;
    assert!(open.checked(&there.json()).same(&entry));

    let sealed = Log::start("sealed").await;
    let request = sealed.signed(b"artifact").await;
    let entry = sealed.created(&request).await;
    sealed.created(&sealed.signed(b"another").await).await;
    let again = sealed.created(&request).await;
    assert!(again.same(&entry), "{again:?} for {entry:?}");
    assert_eq!((entry.size, again.size), (2, 3), "proven against the tree of now");
}

#[tokio::test]
async fn an_open_log_gives_entries_by_index_id_and_uuid() {
    let log = Log::start("open").await;
    let request = log.signed(b"artifact").await;
    let entry = log.created(&request).await;
    let other = log.created(&log.signed(b"another").await).await;
    let uuid = entry.id.get(16..).expect("80 digits").to_owned();
    for path in [
        format!("{ENTRIES}?logIndex={}", entry.index),
        format!("{ENTRIES}/{}", entry.id),
        format!("{ENTRIES}/{uuid}"),
        format!("{ENTRIES}/{}", uuid.to_uppercase()),
    ] {
        let answer = log.up.get(&path).await;
        assert_eq!((answer.status, answer.media_type()), (200, "application/json"), "{path}: {}", answer.text());
        assert!(answer.header("cache-control").contains("no-cache"), "{path}");
        assert!(log.checked(&answer.json()).same(&entry), "{path}");
    }
    let query = json!({"entryUUIDs": [entry.id, uuid], "logIndexes": [other.index], "entries": null});
    let found = log.retrieved(query).await;
    assert!(matches!(found.as_slice(), [a, b, c] if a.same(&entry) && b.same(&entry) && c.same(&other)), "{found:?}");
    // With the slash of sigstore-python.
    let answer = log.up.post(&format!("{RETRIEVE}/"), json!({"entries": [request]}).to_string()).await;
    assert!(log.checked(&answer.json()[0]).same(&entry));
    // What is not there is left out of a list, and 404 by itself.
    let missing = format!("{:016x}{}", log.tree.parse::<u64>().expect("a number"), "00".repeat(32));
    let foreign = format!("{}{}", "01".repeat(8), "00".repeat(32));
    assert!(log.retrieved(json!({"entryUUIDs": [missing, foreign], "logIndexes": [99]})).await.is_empty());
    assert!(log.retrieved(json!({})).await.is_empty());
    for path in [format!("{ENTRIES}/{missing}"), format!("{ENTRIES}/{foreign}"), format!("{ENTRIES}?logIndex=99")] {
        refused(&log.up.get(&path).await, 404, "log.entry-missing");
    }
    // The log's own entry is one like any other, and nobody's.
    let own = log.up.get(&format!("{ENTRIES}?logIndex=0")).await.json();
    assert!(own.as_object().expect("an object").values().all(|own| own["logIndex"] == 0));
}

#[tokio::test]
async fn a_sealed_log_says_what_it_does_not_keep_and_what_to_do() {
    let log = Log::start("sealed").await;
    let request = log.signed(b"artifact").await;
    let entry = log.created(&request).await;
    let answers = [
        log.up.get(&format!("{ENTRIES}?logIndex=1")).await,
        log.up.get(&format!("{ENTRIES}/{}", entry.id)).await,
        log.up.post(RETRIEVE, json!({"entryUUIDs": [entry.id]}).to_string()).await,
        log.up.post(RETRIEVE, json!({"logIndexes": [1]}).to_string()).await,
        log.up.post(SEARCH, json!({"email": ALICE}).to_string()).await,
    ];
    for answer in answers {
        refused(&answer, 403, "log.sealed");
        let message = answer.json()["message"].as_str().expect("text").to_owned();
        assert!(message.contains("bundle") && message.contains("--privacy open"), "{message}");
    }
    assert!(log.retrieved(json!({"entries": [log.signed(b"never logged").await]})).await.is_empty());
    // The body came along: a verifier without a bundle has its proof.
    let found = log.retrieved(json!({"entryUUIDs": null, "logIndexes": null, "entries": [request]})).await;
    assert!(matches!(found.as_slice(), [one] if one.same(&entry)), "{found:?}");
}

#[tokio::test]
async fn size_key_and_consistency_are_told_open_and_sealed() {
    for privacy in ["open", "sealed"] {
        let log = Log::start(privacy).await;
        let info = async |query: &str| {
            let answer = log.up.get(&format!("/api/v1/log{query}")).await;
            assert_eq!((answer.status, answer.media_type()), (200, "application/json"), "{}", answer.text());
            assert!(answer.header("cache-control").contains("no-cache"));
            let info = answer.json();
            let signed = SignedCheckpoint::parse(info["signedTreeHead"].as_str().expect("text")).expect("a checkpoint");
            signed.verify("127.0.0.1", &spki_key_id(log.key.spki_der()), &log.key).expect("signed");
            assert_eq!(info["treeSize"], signed.checkpoint.size);
            assert_eq!(info["rootHash"], hex::encode(signed.checkpoint.root));
            assert_eq!((&info["treeID"], &info["inactiveShards"]), (&json!(log.tree), &json!([])));
            signed.checkpoint
        };
        let first = info("").await;
        assert_eq!(first.size, 1, "never empty");
        for number in 0..5_u8 {
            log.created(&log.signed(&[number]).await).await;
        }
        let last = info("").await;
        assert_eq!(last.size, 6);
        assert!((1..=6).contains(&info("?stable=true").await.size));
        let proof = log.up.get(&format!("/api/v1/log/proof?lastSize=6&treeID={}", log.tree)).await.json();
        let hashes = proof["hashes"].as_array().expect("a list").iter();
        let hashes: Vec<Hash> = hashes
            .map(|hash| hex::decode(hash.as_str().expect("text")).expect("hex").try_into().expect("32"))
            .collect();
        assert_consistent(1, 6, &hashes, &first.root, &last.root);
        let same = log.up.get("/api/v1/log/proof?firstSize=6&lastSize=6").await.json();
        assert_eq!(same, json!({"hashes": [], "rootHash": hex::encode(last.root)}));
        for (query, status, code) in [
            ("firstSize=3&lastSize=2", 400, "log.index"),
            ("lastSize=7", 400, "log.index"),
            ("firstSize=1", 422, "input.malformed"),
            ("firstSize=0&lastSize=2", 422, "input.malformed"),
            ("firstSize=-1&lastSize=2", 422, "input.malformed"),
            ("lastSize=2&lastSize=3", 422, "input.malformed"),
            ("lastSize=2&treeID=1", 400, "input.malformed"),
        ] {
            refused(&log.up.get(&format!("/api/v1/log/proof?{query}")).await, status, code);
        }
        let key = log.up.get("/api/v1/log/publicKey").await;
        assert_eq!((key.status, key.media_type()), (200, "application/x-pem-file"));
        assert_eq!(PublicKey::from_pem(&key.text()).expect("a key"), log.key);
        refused(&log.up.get("/api/v1/log/publicKey?treeID=1").await, 400, "input.malformed");
        assert_eq!(log.up.get("/ping").await.status, 200);
        assert!(log.up.get("/api/v1/version").await.json()["version"].is_string());
    }
}

/// What every client does with the answer: certificate, signature, promise and proof become a bundle.
#[tokio::test]
async fn a_bundle_made_of_an_answer_is_verified() {
    for privacy in ["sealed", "open"] {
        let log = Log::start(privacy).await;
        let (key, pem) = log.certificate(ALICE).await;
        let entry = log.create(&hashedrekord(&key, &pem, b"artifact")).await.json();
        let entry = entry.as_object().and_then(|entries| entries.values().next()).expect("one").clone();
        let certificate = waxseal_formats::x509::Certificate::from_pem(&pem).expect("PEM");
        let hex_to_base64 = |value: &Value| STANDARD.encode(hex::decode(value.as_str().expect("text")).expect("hex"));
        let proof = &entry["verification"]["inclusionProof"];
        let hashes: Vec<_> = proof["hashes"].as_array().expect("a list").iter().map(hex_to_base64).collect();
        let body: Value = serde_json::from_slice(&bytes(&entry["body"])).expect("JSON");
        let bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": STANDARD.encode(certificate.der())},
                "tlogEntries": [{
                    "logIndex": entry["logIndex"].to_string(),
                    "logId": {"keyId": hex_to_base64(&entry["logID"])},
                    "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
                    "integratedTime": entry["integratedTime"].to_string(),
                    "inclusionPromise": {"signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"]},
                    "inclusionProof": {
                        "logIndex": proof["logIndex"].to_string(),
                        "rootHash": hex_to_base64(&proof["rootHash"]),
                        "treeSize": proof["treeSize"].to_string(),
                        "hashes": hashes,
                        "checkpoint": {"envelope": proof["checkpoint"]},
                    },
                    "canonicalizedBody": entry["body"],
                }],
            },
            "messageSignature": {
                "messageDigest": {
                    "algorithm": "SHA2_256",
                    "digest": STANDARD.encode(HashAlgorithm::Sha256.digest(b"artifact").as_bytes()),
                },
                "signature": body["spec"]["signature"]["content"],
            },
        });
        log.up.pin(&log.home);
        let issuer = format!("{}/idp", log.up.url);
        let verify = |bundle: &Value, artifact: &str| {
            let (file, artifact) = (log.home.write("bundle", bundle.to_string()), log.home.write("artifact", artifact));
            let signer = ["--certificate-identity", ALICE, "--certificate-oidc-issuer", &issuer];
            log.home.run(
                &[&["verify-blob", "--instance", &log.up.url, "--bundle", &file], &signer[..], &[&artifact]].concat(),
            )
        };
        let output = verify(&bundle, "artifact");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        super::super::assert_refused(&verify(&bundle, "another"), 1, "signature.digest-mismatch");
        // security.md rows 1 and 8: the entry of another signature, and a promise or proof that is left out.
        let edited = |path: &str, value: Value| {
            let mut bundle = bundle.clone();
            *bundle.pointer_mut(&format!("/verificationMaterial/tlogEntries/0/{path}")).expect("there") = value;
            verify(&bundle, "artifact")
        };
        let other = log.create(&log.signed(b"artifact").await).await.json();
        let other = other.as_object().and_then(|entries| entries.values().next()).expect("one")["body"].clone();
        super::super::assert_refused(&edited("canonicalizedBody", other), 1, "log.entry-mismatch");
        super::super::assert_refused(&edited("inclusionPromise", Value::Null), 1, "time.missing");
        super::super::assert_refused(&edited("integratedTime", json!("1")), 1, "log.set-invalid");
        super::super::assert_refused(&edited("inclusionProof", Value::Null), 1, "log.proof-missing");
    }
}
