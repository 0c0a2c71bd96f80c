//! Entries of logs that are made here, with one part wrong at a time.

use super::{InclusionError, LogEvidence, LogProtocol, SigningKey, host_of, verify};
use crate::signature::{Artifact, Signed, SignedContent};
use jiff::Timestamp;
use rcgen::{KeyPair, SigningKey as _};
use waxseal_formats::bundle::{InclusionProof, LogEntry, MediaType};
use waxseal_formats::checkpoint::Checkpoint;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{HashAlgorithm, KeyDetails, PublicKey};
use waxseal_formats::entry::{Verifier, canonical_hashedrekord_002};
use waxseal_formats::json::encode_base64;
use waxseal_formats::merkle::leaf_hash;
use waxseal_formats::note::{Note, NoteSignature, key_id, spki_key_id};
use waxseal_formats::trusted_root::{TransparencyLog, Validity};

#[test]
fn only_the_host_of_a_log_is_its_origin() {
    for (url, host) in [
        ("https://log2025-1.rekor.sigstore.dev", "log2025-1.rekor.sigstore.dev"),
        ("http://127.0.0.1:7480/shard/1", "127.0.0.1"),
        ("http://[::1]:7480", "::1"),
        ("https://user@host:1/x", "host"),
        ("host/path", "host"),
    ] {
        assert_eq!(host_of(url), host);
    }
}

const HOST: &str = "log.example";
const TIME: i64 = 1_795_532_400;

struct Pair {
    pair: KeyPair,
    key: PublicKey,
}

fn pair() -> Pair {
    let pair = KeyPair::generate().expect("a key");
    let key = PublicKey::from_pem(&pair.public_key_pem()).expect("a public key");
    Pair { pair, key }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

/// A log with one entry, about a signature with a bare key over one artifact.
struct Forged {
    log: Pair,
    signer: Pair,
    artifact: Artifact,
    signature: Vec<u8>,
    trusted: TransparencyLog,
}

impl Forged {
    fn new() -> Self {
        let (log, signer) = (pair(), pair());
        let signature = signer.pair.sign(b"artifact").expect("a signature");
        let trusted = TransparencyLog {
            base_url: format!("https://{HOST}"),
            public_key: log.key.clone(),
            key_details: KeyDetails::PkixEcdsaP256Sha256,
            valid_for: Validity::from(at(TIME - 1000)),
            log_id: log.key.spki_sha256().to_vec(),
            checkpoint_key_id: None,
            operator: None,
        };
        Self { log, signer, artifact: Artifact::from_bytes(b"artifact"), signature, trusted }
    }

    /// A checkpoint of the tree of this one leaf, and the proof to it.
    fn proof(&self, body: &[u8], origin: &str, name: &str) -> InclusionProof {
        let root = leaf_hash(body);
        let text = Checkpoint::new(origin, 1, root).body();
        let signature = self.log.pair.sign(text.as_bytes()).expect("a signature");
        let signature = NoteSignature::new(name, &key_id(name, &self.log.key), signature);
        InclusionProof {
            log_index: 0,
            root_hash: root.to_vec(),
            tree_size: 1,
            hashes: Vec::new(),
            checkpoint: Some(Note { text, signatures: vec![signature] }.format()),
        }
    }

    fn entry(&self, version: &str, body: Vec<u8>, origin: &str) -> LogEntry {
        LogEntry {
            log_index: 0,
            log_id: self.trusted.log_id.clone(),
            kind: "hashedrekord".into(),
            version: version.into(),
            integrated_time: None,
            set: None,
            proof: Some(self.proof(&body, origin, HOST)),
            canonicalized_body: Some(body),
        }
    }

    fn v2(&self, key: &PublicKey, details: KeyDetails) -> LogEntry {
        let digest = HashAlgorithm::Sha256.digest(b"artifact");
        let verifier = Verifier::PublicKey(key.spki_der().to_vec());
        self.entry("0.0.2", canonical_hashedrekord_002(&digest, &self.signature, details, &verifier), HOST)
    }

    fn v1(&self, key: &PublicKey) -> LogEntry {
        let digest = HashAlgorithm::Sha256.digest(b"artifact").to_hex();
        let body = serde_json::json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": digest}},
                "signature": {
                    "content": encode_base64(&self.signature),
                    "publicKey": {"content": encode_base64(key.to_pem().as_bytes())},
                },
            },
        });
        self.entry("0.0.1", body.to_string().into_bytes(), &format!("{HOST} - 1"))
    }

    /// With a signed entry timestamp of that time.
    fn promised(&self, mut entry: LogEntry, seconds: i64) -> LogEntry {
        let payload = format!(
            r#"{{"body":"{}","integratedTime":{seconds},"logID":"{}","logIndex":{}}}"#,
            encode_base64(entry.canonicalized_body.as_deref().unwrap_or_default()),
            hex::encode(&entry.log_id),
            entry.log_index
        );
        entry.set = Some(self.log.pair.sign(payload.as_bytes()).expect("a signature"));
        entry.integrated_time = Some(seconds);
        entry
    }

    fn verify(&self, entry: &LogEntry, media_type: MediaType) -> Result<LogEvidence, InclusionError> {
        let signed = Signed { signature: &self.signature, content: SignedContent::Artifact(&self.artifact) };
        let logs = std::slice::from_ref(&self.trusted);
        verify(entry, media_type, signed, SigningKey::Key(&self.signer.key), logs, at(TIME))
    }

    fn refusal(&self, entry: &LogEntry) -> Code {
        self.verify(entry, MediaType::V0_3).expect_err("refused").code()
    }
}

#[test]
fn an_entry_of_each_protocol_is_evidence() {
    let forged = Forged::new();
    let v2 = forged.v2(&forged.signer.key, KeyDetails::PkixEcdsaP256Sha256);
    let found = forged.verify(&v2, MediaType::V0_3).expect("verified");
    assert_eq!((found.protocol, found.integrated_time, found.tree_size), (LogProtocol::RekorV2, None, Some(1)));
    let v1 = forged.v1(&forged.signer.key);
    let found = forged.verify(&v1, MediaType::V0_3).expect("verified");
    assert_eq!((found.protocol, found.integrated_time), (LogProtocol::RekorV1, None), "no promise, no time");
    let found = forged.verify(&forged.promised(v1, TIME), MediaType::V0_3).expect("verified");
    assert_eq!(found.integrated_time, Some(at(TIME)));
    // Rekor v2 makes no promises; what looks like one is not read.
    let found = forged.verify(&forged.promised(v2, TIME), MediaType::V0_3).expect("verified");
    assert_eq!(found.integrated_time, None);
}

#[test]
fn an_entry_by_another_key_is_refused() {
    let forged = Forged::new();
    let stranger = pair().key;
    assert_eq!(forged.refusal(&forged.v1(&stranger)), Code::LOG_ENTRY_MISMATCH);
    assert_eq!(forged.refusal(&forged.v2(&stranger, KeyDetails::PkixEcdsaP256Sha256)), Code::LOG_ENTRY_MISMATCH);
    let details = KeyDetails::PkixEcdsaP384Sha384;
    assert_eq!(forged.refusal(&forged.v2(&forged.signer.key, details)), Code::LOG_ENTRY_MISMATCH);
}

#[test]
fn a_checkpoint_signed_by_the_log_for_another_origin_is_refused() {
    let forged = Forged::new();
    let mut entry = forged.v2(&forged.signer.key, KeyDetails::PkixEcdsaP256Sha256);
    let body = entry.canonicalized_body.clone().expect("a body");
    entry.proof = Some(forged.proof(&body, "other.example", HOST));
    assert_eq!(
        forged.verify(&entry, MediaType::V0_3),
        Err(InclusionError::Origin { origin: "other.example".into(), host: HOST.into() })
    );
    entry.proof = Some(forged.proof(&body, HOST, "other.example"));
    assert_eq!(forged.refusal(&entry), Code::LOG_CHECKPOINT_SIGNATURE);
    let stranger = Forged::new();
    entry.proof = Some(stranger.proof(&body, HOST, HOST));
    assert_eq!(forged.refusal(&entry), Code::LOG_CHECKPOINT_SIGNATURE);
    assert_eq!(spki_key_id(forged.log.key.spki_der()).to_vec(), entry.log_id);
}

#[test]
fn a_proof_of_another_index_size_root_or_leaf_is_refused() {
    let forged = Forged::new();
    let good = forged.v2(&forged.signer.key, KeyDetails::PkixEcdsaP256Sha256);
    let edited = |edit: &dyn Fn(&mut LogEntry, &mut InclusionProof)| {
        let mut entry = good.clone();
        let mut proof = entry.proof.take().expect("a proof");
        edit(&mut entry, &mut proof);
        entry.proof = Some(proof);
        forged.refusal(&entry)
    };
    assert_eq!(edited(&|_, proof| proof.root_hash = vec![7; 32]), Code::LOG_CHECKPOINT_ROOT);
    assert_eq!(edited(&|_, proof| proof.tree_size = 2), Code::LOG_CHECKPOINT_ROOT);
    assert_eq!(edited(&|entry, _| entry.log_index = 1), Code::LOG_INDEX);
    assert_eq!(edited(&|_, proof| proof.hashes = vec![[7; 32]]), Code::LOG_PROOF_INVALID);
    let both = |entry: &mut LogEntry, proof: &mut InclusionProof| (entry.log_index, proof.log_index) = (1, 1);
    assert_eq!(edited(&both), Code::LOG_PROOF_INVALID);
    assert_eq!(edited(&|_, proof| proof.checkpoint = None), Code::LOG_PROOF_MISSING);
    assert_eq!(edited(&|_, proof| proof.checkpoint = Some("x".into())), Code::LOG_CHECKPOINT_MALFORMED);
    assert_eq!(edited(&|entry, _| entry.log_id = vec![7; 32]), Code::LOG_UNKNOWN);
    assert_eq!(edited(&|entry, _| entry.canonicalized_body = None), Code::LOG_PROOF_MISSING);
    assert_eq!(edited(&|entry, _| entry.version = "0.0.1".into()), Code::LOG_ENTRY_KIND);
}

/// An unsigned time beside a promise, a promise beside no time, a promise of another time or by another log.
#[test]
fn a_promise_is_one_of_this_entry_at_this_time_by_this_log() {
    let forged = Forged::new();
    let unproven = LogEntry { proof: None, ..forged.v1(&forged.signer.key) };
    let good = forged.promised(unproven.clone(), TIME);
    assert!(forged.verify(&good, MediaType::V0_1).is_ok());
    assert_eq!(forged.refusal(&good), Code::LOG_PROOF_MISSING, "since v0.2 there has to be a proof");
    let code = |entry: &LogEntry| forged.verify(entry, MediaType::V0_1).expect_err("refused").code();
    assert_eq!(code(&unproven), Code::LOG_PROOF_MISSING);
    assert_eq!(code(&LogEntry { integrated_time: None, ..good.clone() }), Code::LOG_SET_INVALID);
    assert_eq!(code(&LogEntry { integrated_time: Some(TIME - 1), ..good.clone() }), Code::LOG_SET_INVALID);
    assert_eq!(code(&LogEntry { log_index: 1, ..good.clone() }), Code::LOG_SET_INVALID);
    assert_eq!(code(&LogEntry { set: Some(vec![0]), ..good }), Code::LOG_SET_INVALID);
    let stranger = Forged::new().promised(unproven.clone(), TIME);
    assert_eq!(code(&stranger), Code::LOG_SET_INVALID);
    assert_eq!(code(&forged.promised(unproven.clone(), TIME + 301)), Code::TIME_FUTURE);
    assert_eq!(code(&forged.promised(unproven, TIME - 1001)), Code::LOG_KEY_WINDOW);
}
