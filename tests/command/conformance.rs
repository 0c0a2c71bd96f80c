//! `waxseal conformance`: the sigstore-conformance suite's own cases through the suite's own command line.

use super::{assert_refused, last_line, waxseal};
use waxseal_formats::crypto::HashAlgorithm;
use waxseal_testkit::vectors;

/// The suite looks at the exit status only; which reason stands behind it is asserted in `verify`.
#[test]
fn every_case_of_the_suite_has_its_verdict_by_path_and_by_digest() {
    let Some(vectors) = vectors() else { return };
    let home = tempfile::tempdir().expect("directory");
    let text = |path: &std::path::Path| path.display().to_string();
    let key = home.path().join("key.pub");
    let root = home.path().join("trusted_root.json");
    let mut counts = (0, 0);
    for case in vectors.conformance() {
        let mut arguments = vec!["conformance".to_owned(), "verify-bundle".into(), "--bundle".into()];
        arguments.push(text(&case.bundle_path));
        if let Some(pem) = &case.key {
            std::fs::write(&key, pem).expect("written");
            arguments.extend(["--key".into(), text(&key)]);
        } else {
            arguments.extend(["--certificate-identity".into(), case.identity.clone()]);
            arguments.extend(["--certificate-oidc-issuer".into(), case.issuer.clone()]);
        }
        if let Some(json) = &case.trusted_root {
            std::fs::write(&root, json).expect("written");
            arguments.extend(["--trusted-root".into(), text(&root)]);
        }
        let digest = HashAlgorithm::Sha256.digest(&case.artifact).to_string();
        for artifact in [text(&case.artifact_path), digest] {
            let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            arguments.push(&artifact);
            let output = waxseal(home.path(), &arguments);
            let expected = Some(i32::from(!case.positive));
            assert_eq!(output.status.code(), expected, "{} {artifact}: {}", case.name, last_line(&output));
            if case.positive { counts.0 += 1 } else { counts.1 += 1 }
        }
    }
    assert_eq!(counts, (42, 98));
}

#[test]
fn the_staging_instance_needs_its_trust_material() {
    let home = tempfile::tempdir().expect("directory");
    let identity = ["--certificate-identity", "a@b", "--certificate-oidc-issuer", "https://i"];
    let mut verify = vec!["conformance", "verify-bundle", "--staging", "--bundle", "b"];
    verify.extend(identity);
    verify.push("file");
    let output = waxseal(home.path(), &verify);
    assert_refused(&output, 2, "usage");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--trusted-root"));
    let sign = ["conformance", "sign-bundle", "--staging", "--identity-token", "t", "--bundle", "b", "file"];
    let output = waxseal(home.path(), &sign);
    assert_refused(&output, 2, "usage");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--signing-config"));
}

#[test]
fn signing_needs_a_signing_config() {
    let home = tempfile::tempdir().expect("directory");
    let sign = ["conformance", "sign-bundle", "--identity-token", "t", "--bundle", "b", "file"];
    assert_refused(&waxseal(home.path(), &sign), 2, "usage");
}
