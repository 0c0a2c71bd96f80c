//! Rekor v1 of a running instance: every endpoint and kind, open and sealed.

mod entries;
mod refusals;
mod search;
mod wire;

use super::oracles::assert_included;
use super::{ALICE, Answer, Home, Up, certificate_request, certificates, p256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::crypto::{HashAlgorithm, PublicKey};
use waxseal_formats::envelope::pae;
use waxseal_formats::merkle::{Hash, leaf_hash};
use waxseal_formats::note::spki_key_id;
use waxseal_io::signer::{KeyPair, Signer as _};
use waxseal_io::system;

const ENTRIES: &str = "/api/v1/log/entries";
const RETRIEVE: &str = "/api/v1/log/entries/retrieve";
const SEARCH: &str = "/api/v1/index/retrieve";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An instance and what its clients know of its Rekor v1 log.
struct Log {
    home: Home,
    up: Up,
    key: PublicKey,
    tree: String,
}

/// An entry as it was answered, checked as a client checks it.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    id: String,
    index: u64,
    time: u64,
    body: String,
    size: u64,
}

impl Log {
    async fn start(privacy: &str) -> Self {
        let home = Home::new();
        let up = Up::start_with(&home, "127.0.0.1:0", &["--privacy", privacy]);
        Self::of(home, up).await
    }

    /// An instance whose log takes signatures of anybody.
    async fn of_anybody(privacy: &str) -> Self {
        let home = Home::new();
        let up = Up::start_writing(&home, "writes: any", &["--privacy", privacy]);
        Self::of(home, up).await
    }

    async fn of(home: Home, up: Up) -> Self {
        // The key comes from the trusted root and never from the log itself.
        let root = up.get("/trust-config.json").await.json()["trustedRoot"].clone();
        let logs = root["tlogs"].as_array().expect("a list").iter();
        let v1 = logs.filter(|log| log["publicKey"]["keyDetails"] == "PKIX_ECDSA_P256_SHA_256");
        let keys: Vec<_> = v1.map(|log| bytes(&log["publicKey"]["rawBytes"])).collect();
        let [spki] = keys.as_slice() else { panic!("one Rekor v1 log in {root}") };
        let key = PublicKey::from_spki_der(spki).expect("a key");
        let tree = up.get("/api/v1/log").await.json()["treeID"].as_str().expect("text").to_owned();
        Self { home, up, key, tree }
    }

    /// A certificate of the instance for a new key, PEM.
    async fn certificate(&self, email: &str) -> (KeyPair, String) {
        let key = p256();
        let request = certificate_request(&key, email, &self.up.signed(&self.up.claims(email)));
        let certificate = self.up.post("/api/v2/signingCert", request.to_string()).await;
        let pem = certificates(&certificate).remove(0).to_pem();
        (key, pem)
    }

    /// A request of alice's to log a signature over `message`.
    async fn signed(&self, message: &[u8]) -> Value {
        let (key, pem) = self.certificate(ALICE).await;
        hashedrekord(&key, &pem, message)
    }

    async fn create(&self, request: &Value) -> Answer {
        self.up.post(ENTRIES, request.to_string()).await
    }

    /// Logs something and checks the answer.
    async fn created(&self, request: &Value) -> Entry {
        let answer = self.create(request).await;
        assert_eq!((answer.status, answer.media_type()), (201, "application/json"), "{}", answer.text());
        let entry = self.checked(&answer.json());
        // What Go's clients look the entry up by: bare, and the same as the key.
        assert_eq!(answer.header("etag"), entry.id);
        assert_eq!(answer.header("location"), format!("{ENTRIES}/{}", entry.id));
        entry
    }

    /// Checks a one-key object: promise, proof and checkpoint, by the key of the trusted root.
    fn checked(&self, answer: &Value) -> Entry {
        let members = answer.as_object().expect("an object");
        assert_eq!(members.len(), 1, "{answer}");
        let (id, entry) = members.iter().next().expect("one");
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number in {entry}"));
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text in {entry}")).to_owned();
        let hash = |value: &Value| Hash::try_from(hex::decode(text(value)).expect("hex")).expect("32 bytes");
        let body = bytes(&entry["body"]);
        let (index, time) = (number(&entry["logIndex"]), number(&entry["integratedTime"]));
        assert_ne!(index, 0, "no client's entry gets index 0");
        let log_id = hex::encode(self.key.spki_sha256());
        assert_eq!(entry["logID"], log_id.as_str());
        let promised = json!({"body": entry["body"], "integratedTime": time, "logID": log_id, "logIndex": index});
        let verification = &entry["verification"];
        let promise = bytes(&verification["signedEntryTimestamp"]);
        let canonical = promised.to_string();
        self.key.verify(self.key.default_algorithm(), canonical.as_bytes(), &promise).expect("the promise is signed");
        let proof = &verification["inclusionProof"];
        let signed = SignedCheckpoint::parse(&text(&proof["checkpoint"])).expect("a checkpoint");
        let host = "127.0.0.1";
        assert_eq!(signed.checkpoint.origin, format!("{host} - {}", self.tree));
        signed.verify(host, &spki_key_id(self.key.spki_der()), &self.key).expect("the checkpoint is signed");
        let checkpoint = signed.checkpoint;
        assert_eq!((number(&proof["treeSize"]), hash(&proof["rootHash"])), (checkpoint.size, checkpoint.root));
        assert_eq!(number(&proof["logIndex"]), index);
        let hashes: Vec<Hash> = proof["hashes"].as_array().expect("a list").iter().map(hash).collect();
        assert_included(&body, index, checkpoint.size, &hashes, &checkpoint.root);
        let tree: u64 = self.tree.parse().expect("a number");
        assert_eq!(*id, format!("{tree:016x}{}", hex::encode(leaf_hash(&body))));
        let now = system::now().as_second().unsigned_abs();
        assert!(now.abs_diff(time) < 60, "{time} is not now");
        Entry { id: id.clone(), index, time, body: String::from_utf8(body).expect("text"), size: checkpoint.size }
    }

    /// What `retrieve` finds.
    async fn retrieved(&self, query: Value) -> Vec<Entry> {
        let answer = self.up.post(RETRIEVE, query.to_string()).await;
        assert_eq!((answer.status, answer.media_type()), (200, "application/json"), "{}", answer.text());
        answer.json().as_array().expect("a list").iter().map(|entry| self.checked(entry)).collect()
    }
}

impl Entry {
    /// The same entry, whatever size the tree had when it was asked for.
    fn same(&self, other: &Self) -> bool {
        Self { size: 0, ..self.clone() } == Self { size: 0, ..other.clone() }
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_else(|| panic!("no text: {value}"))).expect("base64")
}

/// Asserts a refusal in Rekor v1's own form.
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.media_type()), (status, "application/json"), "{}", answer.text());
    let body = answer.json();
    assert_eq!(body.as_object().expect("an object").keys().collect::<Vec<_>>(), ["code", "message"]);
    assert_eq!(body["code"], status);
    assert_eq!(answer.code(), code, "{}", answer.text());
}

pub(super) fn hashedrekord(key: &KeyPair, pem: &str, message: &[u8]) -> Value {
    let digest = HashAlgorithm::Sha256.digest(message).to_hex();
    json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": digest}},
        "signature": {
            "content": STANDARD.encode(key.sign(message).expect("signature")),
            "publicKey": {"content": STANDARD.encode(pem)},
        },
    }})
}

fn dsse(key: &KeyPair, pem: &str, payload: &[u8]) -> Value {
    let signature = STANDARD.encode(key.sign(&pae(IN_TOTO, payload)).expect("signature"));
    let envelope =
        json!({"payload": STANDARD.encode(payload), "payloadType": IN_TOTO, "signatures": [{"sig": signature}]});
    json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": {
        "envelope": envelope.to_string(), "verifiers": [STANDARD.encode(pem)],
    }}})
}

fn intoto(key: &KeyPair, pem: &str, payload: &[u8]) -> Value {
    let twice = |bytes: &[u8]| STANDARD.encode(STANDARD.encode(bytes));
    let signature = key.sign(&pae(IN_TOTO, payload)).expect("signature");
    json!({"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": {
        "envelope": {"payloadType": IN_TOTO, "payload": twice(payload), "signatures": [
            {"sig": twice(&signature), "publicKey": STANDARD.encode(pem)},
        ]},
        "hash": {"algorithm": "sha256", "value": HashAlgorithm::Sha256.digest(b"the envelope").to_hex()},
    }}})
}

fn rekord(key: &KeyPair, pem: &str, artifact: &[u8]) -> Value {
    json!({"apiVersion": "0.0.1", "kind": "rekord", "spec": {
        "data": {"content": STANDARD.encode(artifact)},
        "signature": {
            "format": "x509",
            "content": STANDARD.encode(key.sign(artifact).expect("signature")),
            "publicKey": {"content": STANDARD.encode(pem)},
        },
    }})
}
