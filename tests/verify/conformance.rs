//! The bundle cases of sigstore-conformance, by path and by digest, each negative for the reason that its README or name states.

use super::{by_digest, identity, judge, key};
use waxseal_testkit::vectors;
use waxseal_verify::signature::Artifact;

/// The reason code of every negative case.
const REASONS: [(&str, &str); 49] = [
    ("bundle-empty-certificate-chain_fail", "bundle.empty-chain"),
    // A bundle of the staging instance: the first thing that production does not know is its log.
    ("bundle-from-wrong-instance_fail", "log.unknown"),
    ("bundle-invalid-base64-signature_fail", "bundle.malformed"),
    ("bundle-malformed-json_fail", "bundle.malformed"),
    ("bundle-negative-log-index_fail", "bundle.malformed"),
    ("bundle-unknown-version_fail", "bundle.unsupported-version"),
    ("bundle-with-root-cert_fail", "bundle.root-in-chain"),
    ("checkpoint-bad-keyhint_fail", "log.checkpoint-signature"),
    ("checkpoint-wrong-roothash_fail", "log.checkpoint-root"),
    ("dsse-invalid-sig_fail", "signature.invalid"),
    ("dsse-mismatch-envelope_fail", "log.entry-mismatch"),
    ("dsse-mismatch-sig_fail", "log.entry-mismatch"),
    ("inclusion-proof-corrupted-hash_fail", "log.proof-invalid"),
    ("incorrect-public-key_fail", "log.entry-mismatch"),
    ("integrated-time-in-future_fail", "time.outside-certificate"),
    // Logged in 2023 with a certificate that is valid in 2030.
    ("intoto-expired-certificate_fail", "time.outside-certificate"),
    ("intoto-log-entry-mismatch_fail", "log.entry-mismatch"),
    ("intoto-missing-inclusion-proof_fail", "log.proof-missing"),
    ("intoto-set-outside-signing-cert-validity_fail", "time.outside-certificate"),
    ("intoto-tsa-timestamp-outside-cert-validity_fail", "time.outside-certificate"),
    ("invalid-checkpoint-signature_fail", "log.checkpoint-signature"),
    // The root lists the CT logs of staging, under their own ids.
    ("invalid-ct-key_fail", "sct.untrusted-log"),
    ("invalid-inclusion-proof_fail", "log.proof-invalid"),
    ("managed-key-no-key_fail", "signature.key-missing"),
    // The wrong key of this case is not a key at all: no point of the curve. A well-formed wrong key is tested elsewhere.
    ("managed-key-wrong-key_fail", "key.unsupported"),
    ("message-digest-mismatch_fail", "signature.digest-mismatch"),
    ("rekor2-checkpoint-missing-log-signature_fail", "log.checkpoint-signature"),
    ("rekor2-checkpoint-missing-origin_fail", "log.checkpoint-malformed"),
    ("rekor2-checkpoint-missing-root-hash_fail", "log.checkpoint-malformed"),
    ("rekor2-checkpoint-missing-size_fail", "log.checkpoint-malformed"),
    ("rekor2-checkpoint-no-matching-signature_fail", "log.checkpoint-signature"),
    ("rekor2-dsse-invalid-sig_fail", "signature.invalid"),
    ("rekor2-dsse-mismatch-envelope_fail", "log.entry-mismatch"),
    ("rekor2-dsse-mismatch-sig_fail", "log.entry-mismatch"),
    ("rekor2-no-inclusion-proof_fail", "log.proof-missing"),
    ("rekor2-no-timestamp_fail", "time.missing"),
    ("rekor2-timestamp-outside-trust-root-tsa-validity_fail", "time.authority-window"),
    ("rekor2-timestamp-outside-tsa-cert-validity_fail", "time.authority-window"),
    ("rekor2-timestamp-payload-mismatch_fail", "time.token-mismatch"),
    ("rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail", "time.authority-untrusted"),
    ("rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail", "time.authority-untrusted"),
    ("rekor2-timestamp-with-incorrect-time_fail", "time.outside-certificate"),
    ("set-invalid-signature_fail", "log.set-invalid"),
    ("signature-mismatch_fail", "signature.invalid"),
    ("trust-root-tlog-missing-validity-start_fail", "trusted-root.malformed"),
    ("wrong-hashedrekord-artifact_fail", "log.entry-mismatch"),
    ("wrong-hashedrekord-cert-and-sig_fail", "log.entry-mismatch"),
    ("wrong-hashedrekord-entry_fail", "log.entry-mismatch"),
    ("wrong-material_fail", "signature.digest-mismatch"),
];

#[test]
fn every_case_by_path_and_by_digest() {
    let Some(vectors) = vectors() else { return };
    let now = "2026-11-24T00:00:00Z".parse().expect("a time");
    let (mut positives, mut negatives, mut wrong) = (0, 0, Vec::new());
    for case in vectors.conformance() {
        let expected = if case.positive {
            None
        } else {
            Some(REASONS.iter().find(|(name, _)| *name == case.name).expect("a reason in the table").1)
        };
        let root = case.trusted_root.as_deref().unwrap_or(waxseal::client::PUBLIC_GOOD_TRUSTED_ROOT);
        let policy = match &case.key {
            None => Some(identity(&case.identity, &case.issuer)),
            Some(pem) => key(pem),
        };
        for (way, artifact) in [("path", Artifact::from_bytes(&case.artifact)), ("digest", by_digest(&case.artifact))] {
            let found = match &policy {
                Some(policy) => judge(&case.bundle, &artifact, root, policy, now).err(),
                None => Some("key.unsupported"),
            };
            if found == expected {
                if case.positive { positives += 1 } else { negatives += 1 }
            } else {
                wrong.push(format!("{} by {way}: {found:?}, expected {expected:?}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((positives, negatives), (42, 98));
}
