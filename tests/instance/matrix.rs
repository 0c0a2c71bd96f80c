//! Our client at our instance: every kind of key and content, every source of a token, and what has to be refused.

use super::{ALICE, Home, Up, assert_refused};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Output;
use waxseal_formats::crypto::{HashAlgorithm, KeyKind};
use waxseal_io::signer::{KeyPair, Signer};

const WORKFLOW: &str = "https://github.com/acme/widgets/.github/workflows/release.yml@refs/heads/main";

/// An instance, a user who has pinned it, and a file.
struct Bench {
    up: Up,
    home: Home,
    artifact: String,
    bundle: String,
}

impl Bench {
    fn new() -> Self {
        Self::with(Up::start)
    }

    fn with(start: impl FnOnce(&Home) -> Up) -> Self {
        let home = Home::new();
        let up = start(&home);
        up.pin(&home);
        let artifact = home.write("release.tar", b"what is released\x00\xff\r\n");
        Self { artifact, bundle: home.text("bundle.json"), up, home }
    }

    fn sign(&self, arguments: &[&str]) -> Output {
        let fixed = ["sign-blob", "--instance", &self.up.url, "--bundle", &self.bundle];
        self.home.run(&[&fixed[..], arguments, &[&self.artifact]].concat())
    }

    fn verify(&self, signer: &[&str], artifact: &str) -> Output {
        let fixed = ["verify-blob", "--instance", &self.up.url, "--bundle", &self.bundle];
        self.home.run(&[&fixed[..], signer, &[artifact]].concat())
    }

    fn verify_attestation(&self, predicate_type: &str, signer: &[&str], artifact: &str) -> Output {
        let fixed =
            ["verify-blob-attestation", "--instance", &self.up.url, "--bundle", &self.bundle, "--type", predicate_type];
        self.home.run(&[&fixed[..], signer, &[artifact]].concat())
    }

    fn issuer(&self, path: &str) -> String {
        format!("{}{path}", self.up.url)
    }

    fn bundle(&self) -> Value {
        serde_json::from_slice(&std::fs::read(&self.bundle).expect("bundle")).expect("JSON")
    }
}

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_file_is_signed_with_every_kind_of_key_and_verified_by_path_and_by_digest() {
    let bench = Bench::new();
    let token = bench.up.token(&bench.home, &["--identity", ALICE]);
    let issuer = bench.issuer("/idp");
    let content = std::fs::read(&bench.artifact).expect("artifact");
    let digest = |algorithm: HashAlgorithm, content: &[u8]| algorithm.digest(content).to_string();
    for (algorithm, hash) in [
        ("ecdsa-sha2-256-nistp256", HashAlgorithm::Sha256),
        ("ecdsa-sha2-384-nistp384", HashAlgorithm::Sha384),
        ("ecdsa-sha2-512-nistp521", HashAlgorithm::Sha512),
        ("rsa-sign-pkcs1-2048-sha256", HashAlgorithm::Sha256),
    ] {
        assert_done(&bench.sign(&["--signing-algorithm", algorithm, "--identity-token", &token]));
        let alice = ["--certificate-identity", ALICE, "--certificate-oidc-issuer", &issuer];
        for artifact in [bench.artifact.clone(), digest(hash, &content)] {
            assert_done(&bench.verify(&alice, &artifact));
        }
        let mallory = ["--certificate-identity", "mallory@corp.example", "--certificate-oidc-issuer", &issuer];
        assert_refused(&bench.verify(&mallory, &bench.artifact), 1, "certificate.identity");
        let elsewhere = ["--certificate-identity", ALICE, "--certificate-oidc-issuer", "https://idp.example"];
        assert_refused(&bench.verify(&elsewhere, &bench.artifact), 1, "certificate.issuer");
        let changed = bench.home.write("changed", b"what is released\x00\xff\n");
        for artifact in [changed, digest(hash, b"something else")] {
            assert_refused(&bench.verify(&alice, &artifact), 1, "signature.digest-mismatch");
        }
        // A signature byte: of the signature itself, since not every digit of its base64 is one.
        let whole = bench.bundle();
        let mut document = whole.clone();
        let text = document["messageSignature"]["signature"].as_str().expect("text");
        let mut signature = STANDARD.decode(text).expect("base64");
        *signature.last_mut().expect("bytes") ^= 1;
        document["messageSignature"]["signature"] = STANDARD.encode(signature).into();
        std::fs::write(&bench.bundle, document.to_string()).expect("written");
        assert_refused(&bench.verify(&alice, &bench.artifact), 1, "signature.invalid");
        // No client's entry has index 0, and only the bundle's own fields are in it.
        assert_ne!(whole["verificationMaterial"]["tlogEntries"][0]["logIndex"], "0");
        assert_eq!(whole["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json");
    }
}

#[test]
fn what_is_said_of_a_file_is_signed_and_verified_with_it() {
    let bench = Bench::new();
    let token = bench.up.token(&bench.home, &["--identity", ALICE]);
    let issuer = bench.issuer("/idp");
    let predicate = bench.home.write("predicate.json", br#"{"buildDefinition":{}}"#);
    let attest = |arguments: &[&str]| {
        let fixed = ["attest-blob", "--instance", &bench.up.url, "--bundle", &bench.bundle, "--identity-token", &token];
        bench.home.run(&[&fixed[..], arguments].concat())
    };
    let alice = ["--certificate-identity", ALICE, "--certificate-oidc-issuer", &issuer];
    assert_done(&attest(&["--predicate", &predicate, "--type", "slsaprovenance1", &bench.artifact]));
    let envelope = bench.bundle()["dsseEnvelope"].clone();
    let payload = STANDARD.decode(envelope["payload"].as_str().expect("text")).expect("base64");
    let statement: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["predicate"], json!({"buildDefinition": {}}));
    let digest = HashAlgorithm::Sha256.digest(&std::fs::read(&bench.artifact).expect("artifact"));
    assert_eq!(statement["subject"], json!([{"name": "release.tar", "digest": {"sha256": digest.to_hex()}}]));
    assert_done(&bench.verify_attestation("slsaprovenance1", &alice, &bench.artifact));
    assert_refused(&bench.verify(&alice, &bench.artifact), 1, "statement.predicate-type");
    assert_refused(&bench.verify_attestation("spdx", &alice, &bench.artifact), 1, "statement.predicate-type");
    let changed = bench.home.write("changed", b"something else");
    assert_refused(&bench.verify_attestation("slsaprovenance1", &alice, &changed), 1, "statement.subject");
    // A statement is signed byte for byte; a file that is elsewhere is known by its digest.
    let whole = bench.home.write("statement.json", &payload);
    assert_done(&attest(&["--statement", &whole]));
    assert_eq!(bench.bundle()["dsseEnvelope"]["payload"], envelope["payload"]);
    assert_done(&attest(&["--predicate", &predicate, "--hash", &digest.to_hex(), "elsewhere/release.tar"]));
    assert_done(&bench.verify_attestation("custom", &alice, &bench.artifact));
}

#[test]
fn a_managed_key_signs_where_the_log_takes_it_and_nothing_else_opens_its_bundle() {
    let bench = Bench::with(|home| Up::start_writing(home, "writes: any", &[]));
    let issuer = bench.issuer("/idp");
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384] {
        let key = KeyPair::generate(kind).expect("key");
        let private = bench.home.write("key.pem", key.to_pkcs8_pem().expect("PEM").expose());
        let public = bench.home.write("key.pub", key.public_key().to_pem());
        let other = KeyPair::generate(kind).expect("key");
        let other = bench.home.write("other.pub", other.public_key().to_pem());
        assert_done(&bench.sign(&["--key", &private]));
        assert_done(&bench.verify(&["--key", &public], &bench.artifact));
        let digest = key.algorithm().hash().expect("a hash").digest(&std::fs::read(&bench.artifact).expect("artifact"));
        assert_done(&bench.verify(&["--key", &public], &digest.to_string()));
        assert_eq!(bench.verify(&["--key", &other], &bench.artifact).status.code(), Some(1));
        let alice = ["--certificate-identity", ALICE, "--certificate-oidc-issuer", &issuer];
        assert_refused(&bench.verify(&alice, &bench.artifact), 1, "signature.key-missing");
    }
}

/// The log takes what was signed with the instance's certificates, unless its rules list more.
#[test]
fn a_managed_key_is_not_logged_unless_it_is_listed() {
    let (listed, other) = (KeyPair::generate(KeyKind::EcdsaP256), KeyPair::generate(KeyKind::EcdsaP256));
    let (listed, other) = (listed.expect("key"), other.expect("key"));
    let pem = |key: &KeyPair| key.to_pkcs8_pem().expect("PEM").expose().clone();
    let bench = Bench::new();
    let output = bench.sign(&["--key", &bench.home.write("key.pem", pem(&listed))]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("[rule.writer] "), "{message}");
    for told in ["signed by this key", "certificates of this instance", "`writes:` in the rules file"] {
        assert!(message.contains(told), "{message}");
    }
    assert!(!std::path::Path::new(&bench.bundle).exists());

    let public: String = listed.public_key().to_pem().lines().map(|line| format!("      {line}\n")).collect();
    let bench = Bench::with(|home| Up::start_writing(home, &format!("writes:\n  - own\n  - key: |\n{public}"), &[]));
    assert_done(&bench.sign(&["--key", &bench.home.write("key.pem", pem(&listed))]));
    let output = bench.sign(&["--key", &bench.home.write("other.pem", pem(&other))]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("those of a listed key"));
    assert!(!output.status.success());
    let token = bench.up.token(&bench.home, &["--identity", ALICE]);
    assert_done(&bench.sign(&["--identity-token", &token]));
}

#[test]
fn a_statement_is_signed_in_an_envelope_and_verified_by_its_subject() {
    const TESTED: &str = "https://example.com/tested/v1";
    let bench = Bench::new();
    let token = bench.up.token(&bench.home, &["--identity", ALICE]);
    let content = std::fs::read(&bench.artifact).expect("artifact");
    let digest = HashAlgorithm::Sha256.digest(&content);
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "release.tar", "digest": {"sha256": digest.to_hex()}}],
        "predicateType": TESTED,
        "predicate": {"passed": true},
    });
    let statement = bench.home.write("statement.json", statement.to_string());
    let signed = bench.home.run(&[
        "conformance",
        "sign-bundle",
        "--in-toto",
        "--instance",
        &bench.up.url,
        "--identity-token",
        &token,
        "--bundle",
        &bench.bundle,
        &statement,
    ]);
    assert_done(&signed);
    let issuer = bench.issuer("/idp");
    let alice = ["--certificate-identity", ALICE, "--certificate-oidc-issuer", &issuer];
    assert!(bench.bundle()["dsseEnvelope"]["payload"].is_string());
    assert_done(&bench.verify_attestation(TESTED, &alice, &bench.artifact));
    assert_done(&bench.verify_attestation(TESTED, &alice, &digest.to_string()));
    let changed = bench.home.write("changed", b"something else");
    assert_refused(&bench.verify_attestation(TESTED, &alice, &changed), 1, "statement.subject");
    let mallory = ["--certificate-identity", "mallory@corp.example", "--certificate-oidc-issuer", &issuer];
    assert_refused(&bench.verify_attestation(TESTED, &mallory, &bench.artifact), 1, "certificate.identity");
}

#[test]
fn a_workflow_signs_and_its_statements_about_itself_are_held_against_it() {
    let bench = Bench::new();
    let token = bench.up.token(&bench.home, &["--identity", WORKFLOW, "--issuer", "github"]);
    assert_done(&bench.sign(&["--identity-token", &token]));
    let issuer = bench.issuer("/idp/github");
    let workflow = ["--certificate-identity", WORKFLOW, "--certificate-oidc-issuer", &issuer];
    assert_done(&bench.verify(&workflow, &bench.artifact));
    let with = |flag: &str, value: &str| bench.verify(&[&workflow[..], &[flag, value]].concat(), &bench.artifact);
    for (flag, right) in [
        ("--certificate-github-workflow-repository", "acme/widgets"),
        ("--certificate-github-workflow-ref", "refs/heads/main"),
        ("--certificate-github-workflow-name", "release"),
        ("--certificate-github-workflow-trigger", "push"),
    ] {
        assert_done(&with(flag, right));
        assert_refused(&with(flag, "another"), 1, "certificate.extension");
    }
    // The same name from the issuer for people is somebody else.
    let people = bench.issuer("/idp");
    let person = ["--certificate-identity", WORKFLOW, "--certificate-oidc-issuer", &people];
    assert_refused(&bench.verify(&person, &bench.artifact), 1, "certificate.issuer");
}

#[test]
fn tokens_come_from_the_environment() {
    let bench = Bench::new();
    let issuer = bench.issuer("/idp");
    let signed_by = |bench: &Bench, who: &str| {
        assert_done(
            &bench.verify(&["--certificate-identity", who, "--certificate-oidc-issuer", &issuer], &bench.artifact),
        );
        std::fs::remove_file(&bench.bundle).expect("removed");
    };
    let arguments =
        ["sign-blob", "--instance", &bench.up.url, "--bundle", &bench.bundle, &bench.artifact].map(ToOwned::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let token = |who: &str| bench.up.token(&bench.home, &["--identity", who]);

    let output = bench.home.run(&arguments);
    assert_refused(&output, 2, "usage");
    let output =
        bench.home.command(&arguments).env("SIGSTORE_ID_TOKEN", token("bob@corp.example")).output().expect("runs");
    assert_done(&output);
    signed_by(&bench, "bob@corp.example");
    // A file with a token, and a line end.
    let file = bench.home.write("token", format!("{}\n", token("carol@corp.example")));
    assert_done(&bench.sign(&["--identity-token", &file]));
    signed_by(&bench, "carol@corp.example");

    // GitHub's runner hands out tokens to whom it gave the request token.
    let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
    let runner = format!("http://{}/token?api-version=2.0", listener.local_addr().expect("address"));
    let minted = token("dave@corp.example");
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("connected");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("read") == 1 {
            head.extend_from_slice(&byte);
        }
        let body = json!({"count": 1, "value": minted}).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).expect("written");
        String::from_utf8(head).expect("text").to_lowercase()
    });
    let mut job = bench.home.command(&arguments);
    job.env("ACTIONS_ID_TOKEN_REQUEST_URL", runner).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "the-jobs-own");
    assert_done(&job.output().expect("runs"));
    signed_by(&bench, "dave@corp.example");
    let asked = asked.join().expect("asked");
    assert!(asked.starts_with("get /token?api-version=2.0&audience=sigstore "), "{asked}");
    assert!(asked.contains("\r\nauthorization: bearer the-jobs-own\r\n"), "{asked}");
    // A job without the permission is told so.
    let output = bench.home.command(&arguments).env("GITHUB_ACTIONS", "true").output().expect("runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("id-token: write"));
    assert!(!output.status.success());
}
