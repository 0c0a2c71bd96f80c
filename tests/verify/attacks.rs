//! What an attacker would edit, on real bundles: one test for each class of advisory that a bundle's verifier has had.

use super::{identity, judge};
use serde_json::Value;
use waxseal_testkit::{Vectors, vectors};
use waxseal_verify::bundle::Policy;
use waxseal_verify::signature::Artifact;

const NOW: &str = "2026-11-25T00:00:00Z";

struct Signed {
    bundle: Value,
    artifact: Artifact,
}

fn signed(vectors: &Vectors, bundle: &str, artifact: &str) -> Signed {
    let bundle = vectors.read(&format!("private-instance/bundles/{bundle}.sigstore.json"));
    Signed {
        bundle: serde_json::from_slice(&bundle).expect("JSON"),
        artifact: Artifact::from_bytes(&vectors.read(&format!("private-instance/artifacts/{artifact}.txt"))),
    }
}

fn root(vectors: &Vectors) -> Value {
    serde_json::from_slice(&vectors.read("private-instance/trusted_root.json")).expect("JSON")
}

fn alice() -> Policy {
    identity("alice@corp.example", "http://127.0.0.1:7480/idp")
}

fn verdict(signed: &Signed, root: &Value, now: &str) -> Result<(), &'static str> {
    let now = now.parse().expect("a time");
    judge(signed.bundle.to_string().as_bytes(), &signed.artifact, root.to_string().as_bytes(), &alice(), now)
        .map(|_| ())
}

fn set(value: &mut Value, pointer: &str, new: Value) {
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = new;
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
const TOKENS: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";

/// CVE-2022-23649, CVE-2022-36056, CVE-2026-22703, CVE-2024-51746: a genuine entry for something else was accepted.
#[test]
fn cve_2022_36056_any_one_part_of_another_valid_bundle() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    // Rekor v2 and v1, messages and envelopes; each pair by the same identity.
    for (one, other) in [
        (("c3-blob-files", "cosign3-2"), ("py-sign", "sigstore-python-1")),
        (("py-r1", "sigstore-python-3"), ("c2-r1-new", "cosign2-2")),
        (("py-attest", "sigstore-python-1"), ("c3-attest-blob", "cosign3-1")),
        (("js-r1-att", "sigstore-js-1"), ("py-r1-att", "sigstore-python-3")),
    ] {
        let one = signed(&vectors, one.0, one.1);
        let other = signed(&vectors, other.0, other.1);
        assert_eq!(verdict(&one, &root, NOW), Ok(()));
        assert_eq!(verdict(&other, &root, NOW), Ok(()));
        for pointer in [
            "/verificationMaterial/certificate/rawBytes",
            "/verificationMaterial/tlogEntries",
            "/verificationMaterial/tlogEntries/0/canonicalizedBody",
            "/verificationMaterial/tlogEntries/0/inclusionProof",
            "/verificationMaterial/tlogEntries/0/kindVersion",
            "/messageSignature/signature",
            "/messageSignature",
            "/dsseEnvelope/signatures",
            "/dsseEnvelope",
        ] {
            let (Some(was), Some(new)) = (one.bundle.pointer(pointer), other.bundle.pointer(pointer)) else { continue };
            if was == new {
                continue;
            }
            let mut swapped = Signed { bundle: one.bundle.clone(), artifact: one.artifact.clone() };
            set(&mut swapped.bundle, pointer, new.clone());
            let code = verdict(&swapped, &root, NOW).expect_err(pointer);
            assert!(
                code.starts_with("log.") || code.starts_with("signature.") || code == "statement.subject",
                "{pointer}: {code}"
            );
        }
    }
}

/// jans PR 14636: an unsigned media type chose the strictness; relabelled as v0.1, the proof could be dropped.
#[test]
fn relabelled_as_v0_1_without_a_proof() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let mut edited = signed(&vectors, "c3-blob-files", "cosign3-2");
    let leaf = edited.bundle["verificationMaterial"]["certificate"].clone();
    edited.bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    let material = edited.bundle["verificationMaterial"].as_object_mut().expect("object");
    material.remove("certificate");
    material.insert("x509CertificateChain".into(), serde_json::json!({"certificates": [leaf]}));
    assert_eq!(verdict(&edited, &root, NOW), Ok(()), "the older form of the same bundle");
    edited.bundle.pointer_mut(ENTRY).and_then(Value::as_object_mut).expect("entry").remove("inclusionProof");
    assert_eq!(verdict(&edited, &root, NOW), Err("log.proof-missing"));
}

/// CVE-2026-54787: an integrated time counted although nothing signed it.
#[test]
fn cve_2026_54787_an_integrated_time_without_its_signature_is_no_time() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let mut edited = signed(&vectors, "py-r1", "sigstore-python-3");
    edited.bundle.pointer_mut(ENTRY).and_then(Value::as_object_mut).expect("entry").remove("inclusionPromise");
    if edited.bundle.pointer(TOKENS).is_some() {
        set(&mut edited.bundle, TOKENS, Value::Array(Vec::new()));
    }
    assert_eq!(verdict(&edited, &root, NOW), Err("time.missing"));
    // Rekor v2 has no signed entry timestamps: a time in its entries is ignored.
    let mut edited = signed(&vectors, "c3-blob-files", "cosign3-2");
    let entry = edited.bundle.pointer_mut(ENTRY).and_then(Value::as_object_mut).expect("entry");
    entry.insert("integratedTime".into(), "1795531070".into());
    set(&mut edited.bundle, TOKENS, Value::Array(Vec::new()));
    assert_eq!(verdict(&edited, &root, NOW), Err("time.missing"));
}

/// sigstore-go CVE-2026-54787 and cosign CVE-2026-24122: a key outside its window.
#[test]
fn a_rekor_v2_key_has_to_be_valid_at_the_proven_time() {
    let Some(vectors) = vectors() else { return };
    let case = signed(&vectors, "c3-blob-files", "cosign3-2");
    let mut edited = root(&vectors);
    for log in edited["tlogs"].as_array_mut().expect("tlogs") {
        log["publicKey"]["validFor"]["end"] = "2026-11-02T00:00:00Z".into();
    }
    assert_eq!(verdict(&case, &edited, NOW), Err("log.key-window"));
}

/// A clock that is behind, or a token from tomorrow.
#[test]
fn a_proven_time_in_the_future() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let before = "2026-11-24T00:00:00Z";
    assert_eq!(verdict(&signed(&vectors, "c3-blob-files", "cosign3-2"), &root, before), Err("time.future"));
    let mut v1 = signed(&vectors, "py-r1", "sigstore-python-3");
    if v1.bundle.pointer(TOKENS).is_some() {
        set(&mut v1.bundle, TOKENS, Value::Array(Vec::new()));
    }
    assert_eq!(verdict(&v1, &root, before), Err("time.future"));
}

/// cosign CVE-2024-29902, sigstore-go CVE-2024-45395: endless entries and timestamps.
#[test]
fn cve_2024_45395_endless_material() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    for pointer in ["/verificationMaterial/tlogEntries", TOKENS] {
        let mut edited = signed(&vectors, "c3-blob-files", "cosign3-2");
        let list = edited.bundle.pointer_mut(pointer).and_then(Value::as_array_mut).expect(pointer);
        let first = list.first().cloned().expect("one");
        for number in 0..40_u32 {
            let mut copy = first.clone();
            if let Some(entry) = copy.as_object_mut().filter(|entry| entry.contains_key("logIndex")) {
                entry.insert("logIndex".into(), (1000 + number).to_string().into());
            }
            list.push(copy);
        }
        assert_eq!(verdict(&edited, &root, NOW), Err("bundle.limits"), "{pointer}");
    }
}

/// sigstore-go CVE-2026-49834: what is there twice must not count twice; here it is not accepted at all.
#[test]
fn cve_2026_49834_the_same_entry_twice() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let mut edited = signed(&vectors, "c3-blob-files", "cosign3-2");
    let list =
        edited.bundle.pointer_mut("/verificationMaterial/tlogEntries").and_then(Value::as_array_mut).expect("list");
    let first = list.first().cloned().expect("one");
    list.push(first);
    assert_eq!(verdict(&edited, &root, NOW), Err("bundle.duplicate-entry"));
}

/// Evidence names what it rests on.
#[test]
fn evidence_says_who_when_and_where() {
    let Some(vectors) = vectors() else { return };
    let case = signed(&vectors, "c3-blob-files", "cosign3-2");
    let root = root(&vectors).to_string();
    let now = NOW.parse().expect("a time");
    let bundle = case.bundle.to_string();
    let evidence = judge(bundle.as_bytes(), &case.artifact, root.as_bytes(), &alice(), now).expect("verified");
    assert_eq!(evidence.log().len(), 1);
    assert_eq!(evidence.times().len(), 1);
    assert_eq!(evidence.proven_times().count(), 1, "a Rekor v2 entry adds no time");
    let json = serde_json::to_value(&evidence).expect("JSON");
    assert_eq!(json["log"][0]["protocol"], "rekorv2");
    assert!(json["content"]["artifact"].as_str().expect("digest").starts_with("sha256:"));
}

/// A certificate that no CT log has seen.
#[test]
fn a_certificate_without_a_signed_certificate_timestamp() {
    let Some(vectors) = vectors() else { return };
    let root = vectors.read("private-instance/trusted_root.json");
    let root = waxseal_formats::trusted_root::TrustedRoot::from_json(&root).expect("trusted root");
    let [issuing, issuer] = root.certificate_authorities[0].chain.as_slice() else { panic!("two certificates") };
    let found = waxseal_verify::sct::verify(issuing, issuer, &root.ctlogs).map_err(|error| error.code().as_str());
    assert_eq!(found, Err("sct.missing"));
}
