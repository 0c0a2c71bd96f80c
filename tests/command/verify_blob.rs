//! `waxseal verify-blob`: verdicts, bad input, wrong usage.

use super::{assert_refused, last_line, waxseal};
use waxseal_testkit::vectors;

const ALICE: [&str; 4] =
    ["--certificate-identity", "alice@corp.example", "--certificate-oidc-issuer", "http://127.0.0.1:7480/idp"];

/// Paths into the recorded instance.
struct Recorded {
    home: tempfile::TempDir,
    root: String,
    bundle: String,
    artifact: String,
}

fn recorded() -> Option<Recorded> {
    let vectors = vectors()?;
    let path = |name: &str| vectors.path(&format!("private-instance/{name}")).display().to_string();
    Some(Recorded {
        home: tempfile::tempdir().expect("directory"),
        root: path("trusted_root.json"),
        bundle: path("bundles/c3-blob-files.sigstore.json"),
        artifact: path("artifacts/cosign3-2.txt"),
    })
}

impl Recorded {
    fn verify(&self, bundle: &str, artifact: &str, signer: &[&str]) -> std::process::Output {
        let mut arguments = vec!["verify-blob", "--trusted-root", &self.root, "--bundle", bundle];
        arguments.extend(signer);
        arguments.push(artifact);
        waxseal(self.home.path(), &arguments)
    }
}

#[test]
fn a_good_bundle_is_verified_by_path_and_by_digest() {
    let Some(case) = recorded() else { return };
    let output = case.verify(&case.bundle, &case.artifact, &ALICE);
    assert!(output.status.success(), "{}", last_line(&output));
    assert!(output.stdout.is_empty(), "data goes to stdout only when there is some");
    let content = std::fs::read(&case.artifact).expect("artifact");
    let digest = waxseal_formats::crypto::HashAlgorithm::Sha256.digest(&content).to_string();
    let mut arguments = vec!["--output", "json"];
    arguments.extend(ALICE);
    let output = case.verify(&case.bundle, &digest, &arguments);
    assert!(output.status.success(), "{}", last_line(&output));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(answer["verdict"], "verified");
    assert_eq!(answer["evidence"]["signer"]["certificate"]["subject"]["email"], "alice@corp.example");
}

#[test]
fn refusals_carry_the_code_on_stderr_and_in_json() {
    let Some(case) = recorded() else { return };
    let mallory = ["--certificate-identity", "mallory@corp.example", ALICE[2], ALICE[3], "--output", "json"];
    let output = case.verify(&case.bundle, &case.artifact, &mallory);
    assert_refused(&output, 1, "certificate.identity");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(answer["code"], "certificate.identity");
}

#[test]
fn bad_files_get_one_clear_line() {
    let Some(case) = recorded() else { return };
    let directory = case.home.path().display().to_string();
    let file = |name: &str, content: &[u8]| {
        let path = case.home.path().join(name);
        std::fs::write(&path, content).expect("write");
        path.display().to_string()
    };
    let whole = std::fs::read(&case.bundle).expect("bundle");
    let truncated = file("truncated.json", &whole[..whole.len() / 2]);
    let garbage = file("garbage.json", b"\x00\xff not a bundle");
    let large = file("large.json", &vec![b' '; 33 << 20]);
    for (bundle, artifact, code) in [
        (truncated.as_str(), case.artifact.as_str(), "bundle.malformed"),
        (&garbage, &case.artifact, "bundle.malformed"),
        (&large, &case.artifact, "input.too-large"),
        (&directory, &case.artifact, "input.unreadable"),
        ("/nonexistent/bundle", &case.artifact, "input.unreadable"),
        (&case.bundle, &directory, "input.unreadable"),
        (&case.bundle, "/nonexistent/artifact", "input.unreadable"),
    ] {
        let output = case.verify(bundle, artifact, &ALICE);
        assert_refused(&output, 1, code);
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{bundle} {artifact}");
    }
    let root = file("root.json", b"{}");
    let output = waxseal(
        case.home.path(),
        &[&["verify-blob", "--trusted-root", &root, "--bundle", &case.bundle][..], &ALICE, &[&case.artifact]].concat(),
    );
    assert_refused(&output, 1, "trusted-root.malformed");
}

/// A signature by anybody proves nothing: who is accepted has to be said.
#[test]
fn an_empty_policy_is_wrong_usage() {
    let Some(case) = recorded() else { return };
    assert_refused(&case.verify(&case.bundle, &case.artifact, &[]), 2, "usage");
    assert_refused(&case.verify(&case.bundle, &case.artifact, &ALICE[..2]), 2, "usage");
    assert_refused(&case.verify(&case.bundle, &case.artifact, &ALICE[2..]), 2, "usage");
    let both = [&ALICE[..], &["--key", "/nonexistent"]].concat();
    assert_refused(&case.verify(&case.bundle, &case.artifact, &both), 2, "usage");
}

/// Regular expressions have to match the whole identity, and a broken one is wrong usage.
#[test]
fn identity_expressions_are_anchored() {
    let Some(case) = recorded() else { return };
    let with = |expression| ["--certificate-identity-regexp", expression, ALICE[2], ALICE[3]];
    assert!(case.verify(&case.bundle, &case.artifact, &with(".*@corp\\.example")).status.success());
    assert_refused(&case.verify(&case.bundle, &case.artifact, &with("alice")), 1, "certificate.identity");
    assert_refused(&case.verify(&case.bundle, &case.artifact, &with("(")), 2, "usage");
}

#[test]
fn a_key_signature_needs_its_key() {
    let Some(case) = recorded() else { return };
    let vectors = vectors().expect("seen before");
    let path = |name: &str| vectors.path(&format!("private-instance/{name}")).display().to_string();
    let bundle = path("bundles/c3-key-blob.sigstore.json");
    let key = path("keys/throwaway.pub");
    assert!(case.verify(&bundle, &case.artifact, &["--key", &key]).status.success());
    assert_refused(&case.verify(&bundle, &case.artifact, &ALICE), 1, "signature.key-missing");
    assert_refused(&case.verify(&case.bundle, &case.artifact, &["--key", &key]), 1, "signature.key-mismatch");
    let other = case.home.path().join("other.pub");
    let pair = waxseal_io::signer::KeyPair::generate(waxseal_formats::crypto::KeyKind::EcdsaP256).expect("key");
    std::fs::write(&other, waxseal_io::signer::Signer::public_key(&pair).to_pem()).expect("write");
    let other = other.display().to_string();
    assert_refused(&case.verify(&bundle, &case.artifact, &["--key", &other]), 1, "signature.key-mismatch");
    assert_refused(&case.verify(&bundle, &case.artifact, &["--key", &case.artifact]), 1, "key.unsupported");
}
