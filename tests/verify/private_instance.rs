//! The bundles of a private instance, made by cosign, sigstore-python and sigstore-js, and byte edits of them.

use super::{by_digest, identity, judge, key, parsed_digest};
use waxseal_testkit::{Artifact as Given, ExpectedVerdict, Signer, vectors};
use waxseal_verify::signature::Artifact;

/// The day on which the bundles were made, later than all of them.
fn now() -> jiff::Timestamp {
    "2026-11-25T00:00:00Z".parse().expect("a time")
}

#[test]
fn every_bundle_gets_its_verdict_and_its_reason() {
    let Some(vectors) = vectors() else { return };
    let mut judged = 0;
    let mut wrong = Vec::new();
    for case in vectors.private_instance() {
        if !case.file.starts_with("private-instance/bundles/") {
            continue;
        }
        judged += 1;
        let bundle = vectors.read(&case.file);
        let artifact = match &case.artifact {
            Given::File(path) => Artifact::from_bytes(&vectors.read(path)),
            Given::Digest(digest) => parsed_digest(digest),
            Given::Attached => Artifact::default(),
        };
        let policy = match case.signer.as_ref().expect("a signer") {
            Signer::Keyless { identity: subject, issuer } => identity(subject, issuer.as_deref().unwrap_or_default()),
            Signer::Key(path) => key(std::str::from_utf8(&vectors.read(path)).expect("PEM")).expect("a public key"),
        };
        let root = vectors.read(case.trusted_root.as_deref().expect("a trusted root"));
        let found = judge(&bundle, &artifact, &root, &policy, now()).err();
        let expected = match case.verdict {
            ExpectedVerdict::Ok => None,
            ExpectedVerdict::Fail | ExpectedVerdict::Online => case.reason.as_deref(),
        };
        // The note names other reasons that are right too.
        if found != expected && !(expected.is_some() && found.is_some_and(|code| case.note.contains(code))) {
            wrong.push(format!(
                "{} [{}]: {found:?}, expected {expected:?}",
                case.file,
                case.trusted_root.unwrap_or_default()
            ));
        }
    }
    assert_eq!(judged, 99, "bundle cases in expected.tsv");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn artifacts_known_by_digest_alone_get_the_same_verdict() {
    let Some(vectors) = vectors() else { return };
    let root = vectors.read("private-instance/trusted_root.json");
    let policy = identity("alice@corp.example", "http://127.0.0.1:7480/idp");
    let bundle = vectors.read("private-instance/bundles/c3-blob-files.sigstore.json");
    let right = by_digest(&vectors.read("private-instance/artifacts/cosign3-2.txt"));
    let wrong = by_digest(&vectors.read("private-instance/artifacts/cosign3-1.txt"));
    assert!(judge(&bundle, &right, &root, &policy, now()).is_ok());
    assert_eq!(judge(&bundle, &wrong, &root, &policy, now()).err(), Some("signature.digest-mismatch"));
    // A signature over the SHA-384 digest cannot be checked from the SHA-256 one.
    let bundle = vectors.read("private-instance/bundles/c3-blob-ecdsa-sha2-384-nistp384.sigstore.json");
    let artifact = by_digest(&vectors.read("private-instance/artifacts/cosign3-3.txt"));
    assert_eq!(judge(&bundle, &artifact, &root, &policy, now()).err(), Some("key.unsupported"));
}
