mod instance;

use self::instance::Instance;
use super::{Ceremony, Services, SignError, SignWith, Signed, SigningAlgorithm, ToSign};
use crate::client::verify::{self, ArtifactSource};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tempfile::TempDir;
use url::Url;
use waxseal_formats::bundle::{Bundle, Content, InclusionProof, LogEntry, VerificationMaterial};
use waxseal_formats::checkpoint::Checkpoint;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyDetails, KeyKind, Secret};
use waxseal_formats::entry::request::CreateEntryRequest;
use waxseal_formats::json::{encode_base64, parse};
use waxseal_formats::merkle::leaf_hash;
use waxseal_formats::note::{Note, NoteSignature, ed25519_key_id};
use waxseal_formats::pattern::Pattern;
use waxseal_formats::trusted_root::{TransparencyLog, TrustedRoot, Validity};
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_io::system;
use waxseal_io::transport::replay::Replay;
use waxseal_io::transport::{Pending, Request, Response, Transport};
use waxseal_verify::bundle::Policy;
use waxseal_verify::identity::IdentityPolicy;

const ORIGIN: &str = "log.example";
const LOG: &str = "http://log.example/shard/1/";

/// Changes an answer before it is sent.
type Edit = fn(&mut LogEntry);

/// A Rekor v2 log that holds nothing but the last entry.
struct OneEntryLog {
    key: KeyPair,
    edit: Edit,
    asked: Mutex<Vec<String>>,
}

impl OneEntryLog {
    fn new(edit: Edit) -> Self {
        Self { key: KeyPair::generate(KeyKind::Ed25519).expect("key"), edit, asked: Mutex::default() }
    }

    fn id(&self) -> [u8; 32] {
        ed25519_key_id(ORIGIN, self.key.public_key().ed25519_raw().expect("Ed25519"))
    }

    fn root(&self) -> TrustedRoot {
        let log = TransparencyLog {
            base_url: LOG.to_owned(),
            public_key: self.key.public_key().clone(),
            key_details: KeyDetails::PkixEd25519,
            valid_for: Validity::from("2026-01-01T00:00:00Z".parse().expect("time")),
            log_id: self.id().to_vec(),
            checkpoint_key_id: None,
            operator: None,
        };
        TrustedRoot { tlogs: vec![log], ..TrustedRoot::default() }
    }

    fn entry(&self, request: &[u8]) -> LogEntry {
        let Ok(CreateEntryRequest::HashedRekord(request)) = CreateEntryRequest::from_json(request) else {
            panic!("not a request for a hashedrekord")
        };
        let body = request.canonical_body();
        let root = leaf_hash(&body);
        let text = Checkpoint::new(ORIGIN, 1, root).body();
        let signature = self.key.sign(text.as_bytes()).expect("signature");
        let signatures = vec![NoteSignature::new(ORIGIN, &self.id(), signature)];
        LogEntry {
            log_index: 0,
            log_id: self.id().to_vec(),
            kind: "hashedrekord".into(),
            version: "0.0.2".into(),
            integrated_time: None,
            set: None,
            proof: Some(InclusionProof {
                log_index: 0,
                root_hash: root.to_vec(),
                tree_size: 1,
                hashes: Vec::new(),
                checkpoint: Some(Note { text, signatures }.format()),
            }),
            canonicalized_body: Some(body),
        }
    }
}

impl Transport for OneEntryLog {
    fn send(&self, request: Request) -> Pending<'_> {
        self.asked.lock().expect("lock").push(request.url().to_string());
        let mut entry = self.entry(request.body());
        (self.edit)(&mut entry);
        let response = Response { status: 201, headers: Vec::new(), body: entry.to_answer_json().into_bytes().into() };
        Box::pin(async move { Ok(response) })
    }
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("URL")
}

fn blob() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("artifact");
    std::fs::write(&path, "what is signed").expect("written");
    (directory, path)
}

async fn sign_with_key(log: &OneEntryLog, key: &KeyPair, what: &ToSign) -> Result<Signed, SignError> {
    let services = Services { logs: vec![url(LOG)], ..Services::default() };
    let ceremony = Ceremony { transport: log, services: &services, root: &log.root() };
    ceremony.sign(SignWith::Key(key), what).await
}

fn write(directory: &TempDir, bundle: &Bundle) -> PathBuf {
    let path = directory.path().join("bundle.json");
    std::fs::write(&path, bundle.to_json()).expect("written");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_signed_with_a_key_of_each_kind_verifies_from_its_bundle_file() {
    let (directory, path) = blob();
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::EcdsaP521, KeyKind::Rsa { bits: 2048 }] {
        let log = OneEntryLog::new(|_| ());
        let key = KeyPair::generate(kind).expect("key");
        let signed = sign_with_key(&log, &key, &ToSign::Blob(path.clone())).await.expect("signed");
        let hint = encode_base64(&key.public_key().spki_sha256());
        assert_eq!(signed.bundle.material, VerificationMaterial::PublicKey { hint });
        let bundle = write(&directory, &signed.bundle);
        let policy = Policy::Key(key.public_key().clone());
        let artifact = ArtifactSource::Path(path.clone());
        let evidence = verify::verify_blob(&bundle, &artifact, &log.root(), &policy, system::now());
        assert_eq!(evidence.expect("verified").log().len(), 1, "{kind}");
        // A path before the service's own and a slash after it are both kept apart from it.
        assert_eq!(*log.asked.lock().expect("lock"), ["http://log.example/shard/1/api/v2/log/entries"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_signed_with_an_identity_verifies_for_that_identity_alone() {
    let (directory, path) = blob();
    let instance = Instance::new();
    let (services, root) = (Instance::services(), instance.root());
    let ceremony = Ceremony { transport: &instance, services: &services, root: &root };
    let token = instance.token("alice@corp.example");
    for algorithm in [SigningAlgorithm::EcdsaP256, SigningAlgorithm::EcdsaP384, SigningAlgorithm::Rsa2048] {
        let with = SignWith::Identity { token: &token, algorithm };
        let signed = ceremony.sign(with, &ToSign::Blob(path.clone())).await.expect("signed");
        assert!(matches!(&signed.bundle.material, VerificationMaterial::Certificate { chain, .. } if chain.is_empty()));
        assert_eq!((signed.bundle.timestamps.len(), signed.bundle.entries.len()), (1, 1));
        let bundle = write(&directory, &signed.bundle);
        let verified = |subject: &str, issuer: &str, path: &Path| {
            let (subject, issuer) = (Pattern::exact(subject), Pattern::exact(issuer));
            let policy = Policy::Identities(vec![IdentityPolicy { subject, issuer, extensions: Vec::new() }]);
            let artifact = ArtifactSource::Path(path.to_owned());
            verify::verify_blob(&bundle, &artifact, &root, &policy, system::now()).map_err(|error| error.code())
        };
        assert!(verified("alice@corp.example", "https://idp.example", &path).is_ok());
        let mallory = verified("mallory@corp.example", "https://idp.example", &path);
        assert_eq!(mallory.err(), Some(Code::CERTIFICATE_IDENTITY));
        let elsewhere = verified("alice@corp.example", "https://other.example", &path);
        assert_eq!(elsewhere.err(), Some(Code::CERTIFICATE_ISSUER));
        let other_file = verified("alice@corp.example", "https://idp.example", &bundle);
        assert_eq!(other_file.err(), Some(Code::SIGNATURE_DIGEST_MISMATCH));
    }
}

#[tokio::test]
async fn a_signature_without_trusted_time_or_by_an_unknown_authority_is_thrown_away() {
    let (_directory, path) = blob();
    let instance = Instance::new();
    let token = instance.token("alice@corp.example");
    let with = SignWith::Identity { token: &token, algorithm: SigningAlgorithm::EcdsaP256 };
    let sign = async |services: Services, root: TrustedRoot| {
        let ceremony = Ceremony { transport: &instance, services: &services, root: &root };
        let error = ceremony.sign(with, &ToSign::Blob(path.clone())).await.expect_err("refused");
        assert!(matches!(error, SignError::OwnOutput(_)), "{error}");
        error.code()
    };
    let no_time = Services { timestamp_authorities: Vec::new(), ..Instance::services() };
    assert_eq!(sign(no_time, instance.root()).await, Code::TIME_MISSING);
    let no_authority = TrustedRoot { certificate_authorities: Vec::new(), ..instance.root() };
    assert_eq!(sign(Instance::services(), no_authority).await, Code::CERTIFICATE_CHAIN);
    let no_ct_log = TrustedRoot { ctlogs: Vec::new(), ..instance.root() };
    assert_eq!(sign(Instance::services(), no_ct_log).await, Code::SCT_UNTRUSTED_LOG);
}

#[tokio::test]
async fn a_statement_is_signed_byte_for_byte() {
    let (directory, path) = blob();
    let digest = waxseal_formats::crypto::HashAlgorithm::Sha256.digest(b"what is signed").to_hex();
    let statement = format!(
        "{{ \"_type\":\"https://in-toto.io/Statement/v1\",\n\"subject\":[{{\"name\":\"a\",\"digest\":{{\"sha256\":\"{digest}\"}}}}],\"predicateType\":\"p\"}}\n"
    );
    let log = OneEntryLog::new(|_| ());
    let key = KeyPair::generate(KeyKind::EcdsaP384).expect("key");
    let signed = sign_with_key(&log, &key, &ToSign::Statement(statement.clone().into_bytes())).await.expect("signed");
    let Content::Envelope(envelope) = &signed.bundle.content else { panic!("no envelope") };
    assert_eq!(envelope.payload, statement.as_bytes());
    let bundle = write(&directory, &signed.bundle);
    let policy = Policy::Key(key.public_key().clone());
    let verified = |path: &Path| {
        let artifact = ArtifactSource::Path(path.to_owned());
        verify::verify_blob(&bundle, &artifact, &log.root(), &policy, system::now()).map_err(|error| error.code())
    };
    assert!(verified(&path).is_ok());
    assert_eq!(verified(&bundle).err(), Some(Code::STATEMENT_SUBJECT));
}

#[tokio::test]
async fn a_log_that_does_not_prove_what_it_was_given_yields_no_signature() {
    let (_directory, path) = blob();
    let edits: [(Edit, Code); 5] = [
        (|entry| entry.canonicalized_body = Some(b"{}".to_vec()), Code::LOG_ENTRY_MISMATCH),
        (|entry| entry.canonicalized_body = None, Code::LOG_ENTRY_MISMATCH),
        (|entry| entry.proof = None, Code::LOG_PROOF_MISSING),
        (|entry| entry.log_id = vec![1; 32], Code::LOG_UNKNOWN),
        (
            |entry| {
                let proof = entry.proof.as_mut().expect("proof");
                proof.checkpoint = proof.checkpoint.as_ref().map(|text| text.replacen(ORIGIN, "other.example", 1));
            },
            Code::LOG_CHECKPOINT_SIGNATURE,
        ),
    ];
    for (edit, code) in edits {
        let key = KeyPair::generate(KeyKind::EcdsaP256).expect("key");
        let error = sign_with_key(&OneEntryLog::new(edit), &key, &ToSign::Blob(path.clone())).await;
        assert_eq!(error.expect_err("refused").code(), code);
    }
}

#[tokio::test]
async fn what_cannot_be_signed_is_known_before_anybody_is_asked() {
    let (directory, path) = blob();
    let replay = Replay::new();
    let services = Services { fulcio: Some(url("http://ca.example")), ..Services::default() };
    let ceremony = Ceremony { transport: &replay, services: &services, root: &TrustedRoot::default() };
    let token = token(&json!({"sub": "s"}));
    let sign = async |algorithm, what: ToSign| {
        ceremony.sign(SignWith::Identity { token: &token, algorithm }, &what).await.expect_err("refused").code()
    };
    let p256 = SigningAlgorithm::EcdsaP256;
    assert_eq!(sign(SigningAlgorithm::Ed25519, ToSign::Blob(path)).await, Code::KEY_UNSUPPORTED);
    assert_eq!(sign(p256, ToSign::Blob(directory.path().into())).await, Code::INPUT_UNREADABLE);
    assert_eq!(sign(p256, ToSign::Blob(directory.path().join("none"))).await, Code::INPUT_UNREADABLE);
    assert_eq!(sign(p256, ToSign::Statement(b"{}".to_vec())).await, Code::SIGNATURE_ENVELOPE);
    let nothing =
        br#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"gitCommit":"00"}}],"predicateType":"p"}"#;
    assert_eq!(sign(p256, ToSign::Statement(nothing.to_vec())).await, Code::STATEMENT_SUBJECT);
    assert!(replay.asked().is_empty());
}

fn token(claims: &Value) -> Secret<String> {
    let part = |bytes: &[u8]| encode_base64(bytes).replace('+', "-").replace('/', "_").replace('=', "");
    let claims = claims.to_string();
    Secret::new(format!("{}.{}.{}", part(br#"{"alg":"RS256"}"#), part(claims.as_bytes()), part(&[1; 256])))
}

const FULCIO: &str = "http://ca.example/api/v2/signingCert";

/// Signs with a token at a certificate authority that gives this answer.
async fn sign_with_identity(claims: &Value, status: u16, answer: &str) -> (SignError, Vec<Request>) {
    let (_directory, path) = blob();
    let replay = Replay::new();
    replay.answer("POST", FULCIO, status, answer);
    let services = Services { fulcio: Some(url("http://ca.example/")), ..Services::default() };
    let ceremony = Ceremony { transport: &replay, services: &services, root: &TrustedRoot::default() };
    let with = SignWith::Identity { token: &token(claims), algorithm: SigningAlgorithm::EcdsaP256 };
    let error = ceremony.sign(with, &ToSign::Blob(path)).await.expect_err("refused");
    (error, replay.asked())
}

#[tokio::test]
async fn the_certificate_request_is_the_one_that_cosign_sends() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let recorded = vectors.text("wire/cosign-3.1.3.jsonl");
    let recorded: Value = recorded
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .find(|line: &Value| line["path"] == "/api/v2/signingCert")
        .expect("recorded");
    let recorded: Value = serde_json::from_str(recorded["request_body"]["text"].as_str().expect("text")).expect("JSON");
    let (_, asked) = sign_with_identity(&json!({"sub": "s"}), 400, "").await;
    let sent = parse(asked[0].body(), 4096).expect("JSON");
    let shape = |value: &Value| {
        let request = &value["publicKeyRequest"];
        let pem = request["publicKey"]["content"].as_str().expect("PEM").lines().next().map(ToOwned::to_owned);
        let keys = |value: &Value| value.as_object().expect("object").keys().cloned().collect::<Vec<_>>();
        (keys(value), keys(request), keys(&request["publicKey"]), request["publicKey"]["algorithm"].clone(), pem)
    };
    assert_eq!(shape(&sent), shape(&recorded));
    assert!(asked[0].header_value("authorization").expect("header").starts_with("Bearer eyJ"));
}

#[tokio::test]
async fn possession_is_proven_over_the_email_or_else_the_subject() {
    for (claims, name) in [
        (json!({"sub": "s", "email": "alice@corp.example"}), "alice@corp.example"),
        (json!({"sub": "repo:acme/widgets"}), "repo:acme/widgets"),
        (json!({"sub": "s", "email": ""}), "s"),
    ] {
        let (_, asked) = sign_with_identity(&claims, 400, "").await;
        let sent: Value = serde_json::from_slice(asked[0].body()).expect("JSON");
        let request = &sent["publicKeyRequest"];
        let pem = request["publicKey"]["content"].as_str().expect("PEM");
        let key = waxseal_formats::crypto::PublicKey::from_pem(pem).expect("key");
        let proof =
            request["proofOfPossession"].as_str().and_then(waxseal_formats::json::decode_base64).expect("proof");
        assert_eq!(key.verify(key.default_algorithm(), name.as_bytes(), &proof), Ok(()), "{name}");
    }
}

#[tokio::test]
async fn a_useless_token_is_not_sent() {
    for (claims, code) in [
        (json!({}), Code::TOKEN_CLAIM),
        (json!({"sub": 7}), Code::TOKEN_CLAIM),
        (json!({"sub": "s", "exp": 1_700_000_000}), Code::TOKEN_EXPIRED),
    ] {
        let (error, asked) = sign_with_identity(&claims, 200, "{}").await;
        assert_eq!((error.code(), asked.len()), (code, 0), "{claims}");
    }
}

#[tokio::test]
async fn refusals_carry_the_services_own_reason() {
    let sub = json!({"sub": "s"});
    for (status, answer, code) in [
        (400, r#"{"code":3,"message":"[rule.denied] no rule admits you","details":[]}"#, Code::RULE_DENIED),
        (400, r#"{"code":3,"message":"[made.up] no","details":[]}"#, Code::NETWORK_REFUSED),
        (403, "nothing to see", Code::NETWORK_REFUSED),
        (404, "", Code::NETWORK_REFUSED),
        (500, "", Code::NETWORK_UNREACHABLE),
        (503, r#"{"message":7}"#, Code::NETWORK_UNREACHABLE),
        (429, "", Code::NETWORK_UNREACHABLE),
    ] {
        let (error, _) = sign_with_identity(&sub, status, answer).await;
        assert!(matches!(error, SignError::Refused { .. }), "{error}");
        assert_eq!(error.code(), code, "{status} {answer}");
    }
    let (error, _) = sign_with_identity(&sub, 400, r#"{"message":"no rule\nadmits you"}"#).await;
    assert!(error.to_string().ends_with("no rule admits you"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_not_for_our_key_or_without_sct_is_not_used() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let recorded = vectors.text("wire/cosign-3.1.3.jsonl");
    let other: Value = recorded
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .find(|line: &Value| line["path"] == "/api/v2/signingCert")
        .expect("recorded");
    let other = other["response_body"]["text"].as_str().expect("text").to_owned();
    let embedded = r#"{"signedCertificateEmbeddedSct":"#;
    let cases = [
        (other.as_str(), Code::SIGNATURE_KEY_MISMATCH),
        (r#"{"signedCertificateDetachedSct":{"chain":{"certificates":[]}}}"#, Code::SCT_MISSING),
        (&format!("{embedded}{{}}}}"), Code::CERTIFICATE_MALFORMED),
        (&format!("{embedded}{{\"chain\":{{\"certificates\":[]}}}}}}"), Code::CERTIFICATE_MALFORMED),
        (&format!("{embedded}{{\"chain\":{{\"certificates\":[\"x\"]}}}}}}"), Code::CERTIFICATE_MALFORMED),
        ("<html>", Code::CERTIFICATE_MALFORMED),
    ];
    for (answer, code) in cases {
        let (error, _) = sign_with_identity(&json!({"sub": "s"}), 200, answer).await;
        assert_eq!(error.code(), code, "{answer}");
    }
}

#[tokio::test]
async fn a_timestamp_of_another_signature_or_an_old_one_is_not_used() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let (_directory, path) = blob();
    let key = KeyPair::generate(KeyKind::EcdsaP256).expect("key");
    let tsa = "http://tsa.example/api/v1/timestamp";
    for (answer, code) in [
        (vectors.read("private-instance/timestamps/nocert.tsr"), Code::TIME_TOKEN_MISMATCH),
        (b"no token".to_vec(), Code::TIME_TOKEN_INVALID),
    ] {
        let replay = Replay::new();
        replay.answer("POST", tsa, 200, answer);
        let services = Services { timestamp_authorities: vec![url(tsa)], ..Services::default() };
        let ceremony = Ceremony { transport: &replay, services: &services, root: &TrustedRoot::default() };
        let error = ceremony.sign(SignWith::Key(&key), &ToSign::Blob(path.clone())).await.expect_err("refused");
        assert_eq!(error.code(), code);
        assert_eq!(replay.asked()[0].header_value("content-type"), Some("application/timestamp-query"));
    }
}

#[tokio::test]
async fn a_service_that_is_down_is_told_from_one_that_refuses() {
    let (_directory, path) = blob();
    let key = KeyPair::generate(KeyKind::EcdsaP256).expect("key");
    let services = Services { logs: vec![url(LOG)], ..Services::default() };
    let replay = Replay::new();
    let ceremony = Ceremony { transport: &replay, services: &services, root: &TrustedRoot::default() };
    let error = ceremony.sign(SignWith::Key(&key), &ToSign::Blob(path)).await.expect_err("down");
    assert!(matches!(error, SignError::Transport { service: "the transparency log", .. }), "{error}");
    assert_eq!(error.code(), Code::NETWORK_UNREACHABLE);
}

#[test]
fn services_are_those_of_the_signing_config() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let text = vectors.read("private-instance/signing_config.v0.2.json");
    let config = waxseal_formats::signing_config::SigningConfig::from_json(&text).expect("config");
    let now = "2026-11-24T00:00:00Z".parse().expect("time");
    let services = Services::for_identity(&config, now).expect("services");
    assert_eq!(services.fulcio, Some(url("http://127.0.0.1:7480")));
    assert_eq!(services.logs, [url("http://127.0.0.1:7480")]);
    assert_eq!(services.timestamp_authorities, [url("http://127.0.0.1:7480/api/v1/timestamp")]);
    let mut without = config.clone();
    without.tsa_urls.clear();
    assert_eq!(Services::for_identity(&without, now).expect_err("no time").code(), Code::INPUT_MALFORMED);
    assert!(Services::for_key(&without, now).expect("no time needed").timestamp_authorities.is_empty());
    assert_eq!(services.rekor_v1, [url("http://127.0.0.1:7480")]);
    let mut only_v1 = config.clone();
    only_v1.rekor_tlog_urls.retain(|service| service.major_api_version == 1);
    let old = Services::for_key(&only_v1, now).expect("a log of the first kind does");
    assert_eq!((old.logs.len(), old.rekor_v1.len()), (0, 1));
    // Its entries have a trusted time.
    only_v1.tsa_urls.clear();
    assert!(Services::for_identity(&only_v1, now).is_ok());
    let mut no_log = config.clone();
    no_log.rekor_tlog_urls.clear();
    assert_eq!(Services::for_key(&no_log, now).expect_err("no log").code(), Code::INPUT_MALFORMED);
    let mut no_url = config;
    no_url.ca_urls[0].url = "ca.example".into();
    assert_eq!(Services::for_identity(&no_url, now).expect_err("no URL").code(), Code::INPUT_MALFORMED);
}
