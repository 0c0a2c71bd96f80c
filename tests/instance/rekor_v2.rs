//! Every answer of Rekor v2: what is logged and under which entry, and what is refused for which reason.

use super::oracles::assert_included;
use super::refusals::assert_gateway;
use super::{Answer, Home, Up, ask, client, entry_request, p256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::crypto::{HashAlgorithm, KeyDetails, KeyKind};
use waxseal_formats::envelope::pae;
use waxseal_formats::merkle::Hash;
use waxseal_io::signer::{KeyPair, Signer};

const ENTRIES: &str = "/api/v2/log/entries";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// An instance that logs everybody's signatures.
fn open_to_all(home: &Home) -> Up {
    Up::start_writing(home, "writes: any", &[])
}

fn key(kind: KeyKind) -> KeyPair {
    KeyPair::generate(kind).expect("key")
}

fn verifier(key: &KeyPair) -> Value {
    let details = KeyDetails::for_key(key.public_key()).expect("a kind of key").name();
    json!({"publicKey": {"rawBytes": STANDARD.encode(key.public_key().spki_der())}, "keyDetails": details})
}

/// A genuine signature of any kind of key over `message`.
fn request(key: &KeyPair, message: &[u8]) -> Value {
    let hash = key.algorithm().hash().unwrap_or(HashAlgorithm::Sha512);
    json!({"hashedRekordRequestV002": {
        "digest": STANDARD.encode(hash.digest(message).as_bytes()),
        "signature": {
            "content": STANDARD.encode(key.sign(message).expect("signature")),
            "verifier": verifier(key),
        },
    }})
}

/// An envelope that these have signed, in this order, with these verifiers.
fn dsse(payload: &[u8], signers: &[&KeyPair], verifiers: &[&KeyPair]) -> Value {
    let message = pae(PAYLOAD_TYPE, payload);
    let sign = |key: &&KeyPair| json!({"sig": STANDARD.encode(key.sign(&message).expect("signature")), "keyid": ""});
    json!({"dsseRequestV002": {
        "envelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": signers.iter().map(sign).collect::<Vec<_>>(),
        },
        "verifiers": verifiers.iter().map(|key| verifier(key)).collect::<Vec<_>>(),
    }})
}

async fn create(up: &Up, request: &Value) -> Answer {
    up.post(ENTRIES, request.to_string()).await
}

/// The entry's index and its body, after its proof was checked.
fn logged(answer: &Answer) -> (u64, Value) {
    assert_eq!((answer.status, answer.media_type()), (201, "application/json"), "{}", answer.text());
    let entry = answer.json();
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).expect("a number");
    let bytes = |value: &Value| STANDARD.decode(value.as_str().expect("text")).expect("base64");
    assert_eq!(entry["kindVersion"], json!({"kind": "hashedrekord", "version": "0.0.2"}));
    // No time and no promise: the strict clients refuse entries of a v2 log that have one.
    assert_eq!((&entry["integratedTime"], &entry["inclusionPromise"]), (&json!("0"), &Value::Null));
    assert_eq!(bytes(&entry["logId"]["keyId"]).len(), 32);
    let (proof, body) = (&entry["inclusionProof"], bytes(&entry["canonicalizedBody"]));
    let hash = |value: &Value| Hash::try_from(bytes(value)).expect("a hash");
    let hashes: Vec<Hash> = proof["hashes"].as_array().expect("a list").iter().map(hash).collect();
    let note = proof["checkpoint"]["envelope"].as_str().expect("text");
    let checkpoint = SignedCheckpoint::parse(note).expect("a checkpoint").checkpoint;
    let (index, size) = (number(&entry["logIndex"]), number(&proof["treeSize"]));
    assert_eq!((index, size, hash(&proof["rootHash"])), (number(&proof["logIndex"]), checkpoint.size, checkpoint.root));
    assert_included(&body, index, size, &hashes, &checkpoint.root);
    (index, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test]
async fn signatures_of_every_kind_of_key_are_logged() {
    let home = Home::new();
    let up = open_to_all(&home);
    for (kind, details, algorithm) in [
        (KeyKind::EcdsaP256, "PKIX_ECDSA_P256_SHA_256", "SHA2_256"),
        (KeyKind::EcdsaP384, "PKIX_ECDSA_P384_SHA_384", "SHA2_384"),
        (KeyKind::EcdsaP521, "PKIX_ECDSA_P521_SHA_512", "SHA2_512"),
        (KeyKind::Rsa { bits: 2048 }, "PKIX_RSA_PKCS1V15_2048_SHA256", "SHA2_256"),
        (KeyKind::Rsa { bits: 3072 }, "PKIX_RSA_PKCS1V15_3072_SHA256", "SHA2_256"),
        (KeyKind::Rsa { bits: 4096 }, "PKIX_RSA_PKCS1V15_4096_SHA256", "SHA2_256"),
    ] {
        let key = key(kind);
        let request = request(&key, b"artifact");
        assert_eq!(request["hashedRekordRequestV002"]["signature"]["verifier"]["keyDetails"], details);
        let (_, body) = logged(&create(&up, &request).await);
        let entry = &body["spec"]["hashedRekordV002"];
        assert_eq!(entry["data"]["algorithm"], algorithm, "{details}");
        assert_eq!(entry["data"]["digest"], request["hashedRekordRequestV002"]["digest"]);
        assert_eq!(entry["signature"], request["hashedRekordRequestV002"]["signature"]);
    }
    // The log never sees the artifact that Ed25519 signs, and the provider has no Ed25519ph.
    for details in ["PKIX_ED25519", "PKIX_ED25519_PH"] {
        let mut request = request(&key(KeyKind::Ed25519), b"artifact");
        request["hashedRekordRequestV002"]["signature"]["verifier"]["keyDetails"] = details.into();
        assert_gateway(&create(&up, &request).await, (400, 3), "key.unsupported", details);
    }
}

/// What protobuf JSON allows: names in either case, enumerations as numbers, both alphabets of base64, padded or not, null for
/// what is absent, no content type. One request, and so one entry.
#[tokio::test]
async fn requests_are_read_as_protobuf_json() {
    let home = Home::new();
    let up = open_to_all(&home);
    // A digest whose base64 needs the letters in which the alphabets differ.
    let message = (0_u32..)
        .map(|number| number.to_be_bytes())
        .find(|message| STANDARD.encode(HashAlgorithm::Sha256.digest(message).as_bytes()).contains('+'))
        .expect("one of them");
    let key = p256();
    let plain = request(&key, &message);
    let inner = &plain["hashedRekordRequestV002"];
    let expected = logged(&create(&up, &plain).await);
    let urlsafe = |value: &Value| {
        let bytes = STANDARD.decode(value.as_str().expect("text")).expect("base64");
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let spki = &inner["signature"]["verifier"]["publicKey"]["rawBytes"];
    let content = &inner["signature"]["content"];
    let snake = json!({"hashed_rekord_request_v002": {
        "digest": inner["digest"],
        "signature": {"content": content, "verifier": {
            "public_key": {"raw_bytes": spki}, "key_details": "PKIX_ECDSA_P256_SHA_256",
        }},
    }});
    let other_alphabet = json!({"hashedRekordRequestV002": {
        "digest": urlsafe(&inner["digest"]),
        "signature": {"content": urlsafe(content), "verifier": {
            "publicKey": {"rawBytes": urlsafe(spki)}, "keyDetails": 5, "x509Certificate": null,
        }},
        },
        "dsseRequestV002": null,
    });
    for (what, request) in [("snake case", snake), ("numbers and base64url", other_alphabet)] {
        assert_eq!(logged(&create(&up, &request).await), expected, "{what}");
    }
    let bare = client().post(format!("{}{ENTRIES}", up.url)).body(format!(" {plain}\n"));
    assert_eq!(logged(&ask(bare).await), expected, "no content type");
    // The next entry has the next index: nothing of the above was logged twice.
    let (index, _) = logged(&create(&up, &request(&key, b"another")).await);
    assert_eq!(index, expected.0 + 1);
}

/// rekor-tiles answers a repeated request with 409; here it gets its entry, with a proof to the log as it is now.
#[tokio::test]
async fn a_repeated_request_gets_the_original_entry_and_a_later_proof() {
    let home = Home::new();
    let up = open_to_all(&home);
    let (key, first) = (p256(), entry_request(&p256(), b"first"));
    let before = create(&up, &first).await;
    for number in 0..5_u8 {
        logged(&create(&up, &entry_request(&key, &[number])).await);
    }
    let after = create(&up, &first).await;
    assert_eq!(logged(&after), logged(&before));
    let size = |answer: &Answer| answer.json()["inclusionProof"]["treeSize"].as_str().map(str::to_owned);
    assert_eq!((size(&before).as_deref(), size(&after).as_deref()), (Some("2"), Some("7")));
    // Another signature over the same artifact is another entry.
    assert_eq!(logged(&create(&up, &entry_request(&key, b"first")).await).0, 7);
}

#[tokio::test]
async fn an_envelope_is_logged_by_its_first_signature_and_all_have_to_verify() {
    let home = Home::new();
    let up = open_to_all(&home);
    let (one, two, other) = (p256(), key(KeyKind::EcdsaP384), p256());
    let payload = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;
    for (what, signers, verifiers, first) in [
        ("one", &[&one][..], &[&one][..], &one),
        ("two", &[&one, &two], &[&one, &two], &one),
        ("verifiers in another order", &[&two, &one], &[&one, &two], &two),
        ("a verifier of nothing", &[&one], &[&other, &one], &one),
        ("two signatures of one key", &[&one, &one], &[&one], &one),
    ] {
        let request = dsse(payload, signers, verifiers);
        let (_, body) = logged(&create(&up, &request).await);
        let (entry, message) = (&body["spec"]["hashedRekordV002"], pae(PAYLOAD_TYPE, payload));
        let digest = first.algorithm().hash().expect("a hash").digest(&message);
        assert_eq!(entry["data"]["digest"], STANDARD.encode(digest.as_bytes()), "{what}");
        assert_eq!(entry["signature"]["verifier"], verifier(first), "{what}");
        let signature = &request["dsseRequestV002"]["envelope"]["signatures"][0]["sig"];
        assert_eq!(&entry["signature"]["content"], signature, "{what}");
    }
    let ten: Vec<KeyPair> = (0..10).map(|_| p256()).collect();
    let ten: Vec<&KeyPair> = ten.iter().collect();
    let eleven: Vec<&KeyPair> = ten.iter().copied().chain([&other]).collect();
    logged(&create(&up, &dsse(payload, &ten, &ten)).await);
    let signed_by = |payload: &[u8], key: &KeyPair| {
        dsse(payload, &[key], &[&one])["dsseRequestV002"]["envelope"]["signatures"].clone()
    };
    let with = |pointer: &str, value: Value| {
        let mut request = dsse(payload, &[&one], &[&one]);
        *request.pointer_mut(&format!("/dsseRequestV002{pointer}")).expect("a member") = value;
        request
    };
    for (what, request, code) in [
        ("eleven signatures", dsse(payload, &eleven, &ten), "log.entry-malformed"),
        ("eleven verifiers", dsse(payload, &ten, &eleven), "log.entry-malformed"),
        ("no signature", dsse(payload, &[], &[&one]), "log.entry-malformed"),
        ("no verifier", dsse(payload, &[&one], &[]), "log.entry-malformed"),
        ("a verifier twice", dsse(payload, &[&one], &[&one, &one]), "log.entry-malformed"),
        ("another's verifier", dsse(payload, &[&one], &[&other]), "signature.envelope"),
        ("a second signature of nobody's", dsse(payload, &[&one, &other], &[&one]), "signature.envelope"),
        ("another payload", with("/envelope/payload", STANDARD.encode("{}").into()), "signature.envelope"),
        ("another payload's type", with("/envelope/payloadType", "text/plain".into()), "signature.envelope"),
        ("another payload's signature", with("/envelope/signatures", signed_by(b"{}", &one)), "signature.envelope"),
        ("Ed25519ph", with("/verifiers/0/keyDetails", "PKIX_ED25519_PH".into()), "key.unsupported"),
        ("another kind of key", with("/verifiers/0/keyDetails", "PKIX_ECDSA_P384_SHA_384".into()), "key.unsupported"),
        ("no envelope", with("/envelope", Value::Null), "log.entry-malformed"),
        ("a field too many", with("/envelope/signatures/0", json!({"sig": "AA==", "x": 1})), "log.entry-malformed"),
    ] {
        assert_gateway(&create(&up, &request).await, (400, 3), code, what);
    }
}

/// Every verifier of an envelope has to be one that may write.
#[tokio::test]
async fn an_envelope_that_names_a_stranger_is_not_logged() {
    let home = Home::new();
    let up = Up::start(&home);
    let (mine, stranger) = (p256(), p256());
    let leaf = up.certificate(&mine).await;
    let certified = json!({
        "x509Certificate": {"rawBytes": STANDARD.encode(leaf.der())}, "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    });
    let mut request = dsse(b"{}", &[&mine, &stranger], &[&mine, &stranger]);
    request["dsseRequestV002"]["verifiers"][0] = certified.clone();
    assert_gateway(&create(&up, &request).await, (403, 7), "rule.writer", "a stranger's key beside a certificate");
    // Nor does a signature that would not verify: who may write is asked first.
    let mut request = dsse(b"{}", &[&mine], &[&stranger]);
    assert_gateway(&create(&up, &request).await, (403, 7), "rule.writer", "a stranger's key");
    request["dsseRequestV002"]["verifiers"][0] = certified;
    logged(&create(&up, &request).await);
    // The key of a certificate is not the certificate.
    assert_gateway(&create(&up, &dsse(b"{}", &[&mine], &[&mine])).await, (403, 7), "rule.writer", "its bare key");
}

/// A restart forgets what was issued: the certificate's own signature is checked then.
#[tokio::test]
async fn a_certificate_writes_after_a_restart() {
    let home = Home::new();
    let mut up = Up::start(&home);
    let key = p256();
    let leaf = up.certificate(&key).await;
    up.kill();
    let up = Up::start(&home);
    logged(&create(&up, &super::certified_entry(&key, &leaf, b"artifact")).await);
    let mut forged = leaf.der().to_vec();
    *forged.last_mut().expect("a signature") ^= 1;
    let mut request = super::certified_entry(&key, &leaf, b"another");
    request["hashedRekordRequestV002"]["signature"]["verifier"]["x509Certificate"]["rawBytes"] =
        STANDARD.encode(forged).into();
    assert_gateway(&create(&up, &request).await, (403, 7), "rule.writer", "a forged certificate");
}

#[tokio::test]
async fn what_is_no_entry_is_refused_for_its_reason() {
    let home = Home::new();
    let up = open_to_all(&home);
    let key = p256();
    let good = entry_request(&key, b"message");
    let with = |pointer: &str, value: Value| {
        let mut request = good.clone();
        *request.pointer_mut(&format!("/hashedRekordRequestV002{pointer}")).expect("a member") = value;
        request.to_string()
    };
    let more = |pointer: &str| {
        let mut request = good.clone();
        request.pointer_mut(pointer).expect("a member")["zzz"] = json!(1);
        request.to_string()
    };
    let malformed = "log.entry-malformed";
    let foreign = STANDARD.encode(p256().sign(b"message").expect("signature"));
    let pem = STANDARD.encode(key.public_key().to_pem());
    let both = json!({
        "hashedRekordRequestV002": good["hashedRekordRequestV002"],
        "dsseRequestV002": dsse(b"{}", &[&key], &[&key])["dsseRequestV002"],
    });
    let verifier = "/hashedRekordRequestV002/signature/verifier";
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let twice = good.to_string().replacen("\"digest\":", "\"digest\":\"AA==\",\"digest\":", 1);
    for (what, body, code) in [
        ("nothing", String::new(), malformed),
        ("not JSON", "{".into(), malformed),
        ("a list", "[]".into(), malformed),
        ("deep", deep, malformed),
        ("trailing text", format!("{good} x"), malformed),
        ("a key twice", twice, malformed),
        ("an empty message", "{}".into(), "log.entry-kind"),
        ("both kinds", both.to_string(), "log.entry-kind"),
        ("an unknown kind", json!({"intotoRequestV002": {}}).to_string(), malformed),
        ("an unknown field", more(""), malformed),
        ("an unknown field within", more("/hashedRekordRequestV002/signature"), malformed),
        ("an unknown field of a verifier", more(verifier), malformed),
        ("an empty request", json!({"hashedRekordRequestV002": {}}).to_string(), malformed),
        ("no digest", with("/digest", json!("")), malformed),
        ("a short digest", with("/digest", json!(STANDARD.encode([0; 20]))), malformed),
        ("a digest of another hash", with("/digest", json!(STANDARD.encode([0; 48]))), malformed),
        ("no base64", with("/digest", json!("***")), malformed),
        ("no signature", with("/signature/content", json!("")), malformed),
        ("no verifier", with("/signature/verifier", Value::Null), malformed),
        ("an empty verifier", with("/signature/verifier", json!({})), malformed),
        ("no kind of key", with("/signature/verifier/keyDetails", Value::Null), malformed),
        ("an unknown kind of key", with("/signature/verifier/keyDetails", json!("MD5")), malformed),
        ("an unknown number of a kind", with("/signature/verifier/keyDetails", json!(4711)), malformed),
        ("the kind of a curve that it is not", with("/signature/verifier/keyDetails", json!(12)), malformed),
        ("a kind that no log takes", with("/signature/verifier/keyDetails", json!("PKIX_ED25519")), "key.unsupported"),
        ("a garbled key", with("/signature/verifier/publicKey/rawBytes", json!("AQAB")), "key.unsupported"),
        ("a PEM key", with("/signature/verifier/publicKey/rawBytes", json!(pem)), "key.unsupported"),
        ("another's signature", with("/signature/content", json!(foreign)), "signature.invalid"),
        ("another's digest", with("/digest", json!(STANDARD.encode([0; 32]))), "signature.invalid"),
    ] {
        assert_gateway(&up.post(ENTRIES, body).await, (400, 3), code, what);
    }
    // One is logged, the log's own, and the next is the second.
    assert_eq!(logged(&create(&up, &good).await).0, 1);
}

/// The entry of an envelope has its digest alone: the envelope may have all the room that a request has.
#[tokio::test]
async fn an_envelope_may_be_larger_than_any_entry() {
    let home = Home::new();
    let up = open_to_all(&home);
    let key = p256();
    logged(&create(&up, &dsse(&vec![b' '; 3_000_000], &[&key], &[&key])).await);
}

#[tokio::test]
async fn paths_and_methods_are_those_of_rekor_tiles() {
    let home = Home::new();
    let up = Up::start_writing(&home, "writes: any", &["--privacy", "open"]);
    logged(&create(&up, &entry_request(&p256(), b"message")).await);
    let size = up.size_reaching("", 2).await;
    for prefix in ["", "/api/v2"] {
        let checkpoint = up.get(&format!("{prefix}/checkpoint")).await;
        assert_eq!((checkpoint.status, checkpoint.header("content-type")), (200, "text/plain; charset=utf-8"));
        assert!(checkpoint.header("cache-control").contains("no-store"));
        for tile in [format!("tile/0/000.p/{size}"), format!("tile/entries/000.p/{size}")] {
            let answer = up.get(&format!("{prefix}/{tile}")).await;
            assert_eq!((answer.status, answer.media_type()), (200, "application/octet-stream"), "{tile}");
        }
        for missing in
            ["tile/0/000", "tile/0/001.p/1", "tile/entries/001.p/1", "tile/data/000.p/1", "tile/x", "tile/0/0"]
        {
            assert_gateway(&up.get(&format!("{prefix}/{missing}")).await, (404, 5), "", missing);
        }
        let post = client().post(format!("{}{prefix}/checkpoint", up.url));
        assert_gateway(&ask(post).await, (501, 12), "", "a checkpoint that is posted");
    }
    assert_gateway(&up.get(ENTRIES).await, (501, 12), "", "entries that are read");
    assert_gateway(&up.get("/api/v2/log").await, (404, 5), "", "no such path");
    assert_gateway(&up.post("/api/v2/log/entries/", "{}").await, (404, 5), "", "a slash at the end");
    assert_eq!(up.get("/healthz").await.status, 200);
}
