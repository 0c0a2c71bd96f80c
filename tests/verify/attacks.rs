//! What an attacker would edit, on real bundles: one test for each class of advisory that a bundle's verifier has had.

use super::{identity, judge, key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use waxseal::server::material::Material;
use waxseal_authority::tsa::TimestampAuthority;
use waxseal_formats::crypto::HashAlgorithm;
use waxseal_formats::tsp::{CertReq, TimeStampReq};
use waxseal_io::signer::Signer;
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

/// As the older form of the same bundle: a chain of one certificate, media type v0.1.
fn relabelled(mut signed: Signed) -> Signed {
    let leaf = signed.bundle["verificationMaterial"]["certificate"].clone();
    signed.bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    let material = signed.bundle["verificationMaterial"].as_object_mut().expect("object");
    material.remove("certificate");
    material.insert("x509CertificateChain".into(), serde_json::json!({"certificates": [leaf]}));
    signed
}

fn remove(signed: &mut Signed, field: &str) {
    signed.bundle.pointer_mut(ENTRY).and_then(Value::as_object_mut).expect("entry").remove(field);
}

/// The trusted root with another end of every `validFor` in the list `of`.
fn closed(root: &Value, of: &str, end: &str) -> Value {
    let mut closed = root.clone();
    for one in closed[of].as_array_mut().expect("a list") {
        let key = if one.get("publicKey").is_some() { &mut one["publicKey"] } else { one };
        key["validFor"]["end"] = end.into();
    }
    closed
}

fn set(value: &mut Value, pointer: &str, new: Value) {
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = new;
}

fn body(bundle: &Value) -> Value {
    let body = bundle.pointer(&format!("{ENTRY}/canonicalizedBody")).and_then(Value::as_str).expect("body");
    serde_json::from_slice(&STANDARD.decode(body).expect("base64")).expect("JSON")
}

fn set_body(bundle: &mut Value, body: &Value) {
    set(bundle, &format!("{ENTRY}/canonicalizedBody"), STANDARD.encode(body.to_string()).into());
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
    let mut edited = relabelled(signed(&vectors, "c3-blob-files", "cosign3-2"));
    assert_eq!(verdict(&edited, &root, NOW), Ok(()), "the older form of the same bundle");
    remove(&mut edited, "inclusionProof");
    assert_eq!(verdict(&edited, &root, NOW), Err("log.proof-missing"));
}

/// In bundles v0.1 a promise suffices, so it has to be one: without the time that it signs, anything stood for a log entry.
#[test]
fn relabelled_as_v0_1_with_a_promise_of_nothing() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let mut edited = relabelled(signed(&vectors, "py-r1", "sigstore-python-3"));
    remove(&mut edited, "inclusionProof");
    assert_eq!(verdict(&edited, &root, NOW), Ok(()), "a promise alone, as old clients wrote it");
    remove(&mut edited, "integratedTime");
    assert_eq!(verdict(&edited, &root, NOW), Err("log.set-invalid"));
    set(&mut edited.bundle, &format!("{ENTRY}/inclusionPromise/signedEntryTimestamp"), "AAAA".into());
    assert_eq!(verdict(&edited, &root, NOW), Err("log.set-invalid"));
    remove(&mut edited, "inclusionPromise");
    assert_eq!(verdict(&edited, &root, NOW), Err("log.proof-missing"));
}

/// The unsigned root hash of a proof without a checkpoint proves nothing, and still may not contradict the entry.
#[test]
fn a_proof_without_a_checkpoint_that_leads_elsewhere() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let mut edited = relabelled(signed(&vectors, "py-r1", "sigstore-python-3"));
    let proof = edited.bundle.pointer_mut(&format!("{ENTRY}/inclusionProof")).and_then(Value::as_object_mut);
    proof.expect("proof").remove("checkpoint");
    assert_eq!(verdict(&edited, &root, NOW), Ok(()), "the promise suffices");
    set(&mut edited.bundle, &format!("{ENTRY}/inclusionProof/rootHash"), STANDARD.encode([7; 32]).into());
    assert_eq!(verdict(&edited, &root, NOW), Err("log.proof-invalid"));
}

/// CVE-2022-36056, field by field: a body of its own right form about something else, for each kind of entry.
#[test]
fn cve_2022_36056_any_one_field_of_the_logged_body() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let digest = || Value::from("0".repeat(64));
    let bytes = || Value::from(STANDARD.encode("something else"));
    let other = |bundle: &str, pointer: &str| {
        let bundle = vectors.read(&format!("private-instance/bundles/{bundle}.sigstore.json"));
        body(&serde_json::from_slice(&bundle).expect("JSON")).pointer(pointer).expect(pointer).clone()
    };
    let key = "/spec/signature/publicKey/content";
    let verifier = "/spec/signatures/0/verifier";
    let signer = "/spec/content/envelope/signatures/0/publicKey";
    let v2 = "/spec/hashedRekordV002";
    let certificate = format!("{v2}/signature/verifier/x509Certificate/rawBytes");
    for (bundle, artifact, pointer, value) in [
        ("py-r1", "sigstore-python-3", "/spec/data/hash/value", digest()),
        ("py-r1", "sigstore-python-3", "/spec/signature/content", bytes()),
        ("py-r1", "sigstore-python-3", key, other("c3-v1only", key)),
        ("py-r1-att", "sigstore-python-3", "/spec/payloadHash/value", digest()),
        ("py-r1-att", "sigstore-python-3", "/spec/signatures/0/signature", bytes()),
        ("py-r1-att", "sigstore-python-3", verifier, other("c3-v1only-att", verifier)),
        ("js-r1-att", "sigstore-js-1", "/spec/content/payloadHash/value", digest()),
        ("js-r1-att", "sigstore-js-1", "/spec/content/envelope/payloadType", "text/plain".into()),
        ("js-r1-att", "sigstore-js-1", "/spec/content/envelope/signatures/0/sig", STANDARD.encode("QUFB").into()),
        ("js-r1-att", "sigstore-js-1", signer, other("py-r1-att", verifier)),
        ("c3-blob-files", "cosign3-2", &format!("{v2}/data/digest"), STANDARD.encode([7; 32]).into()),
        ("c3-blob-files", "cosign3-2", &format!("{v2}/signature/content"), bytes()),
        ("c3-blob-files", "cosign3-2", &certificate, other("py-sign", &certificate)),
        (
            "c3-blob-files",
            "cosign3-2",
            &format!("{v2}/signature/verifier/keyDetails"),
            "PKIX_ECDSA_P384_SHA_384".into(),
        ),
    ] {
        let mut edited = signed(&vectors, bundle, artifact);
        let mut changed = body(&edited.bundle);
        assert_ne!(changed.pointer(pointer), Some(&value), "{bundle} {pointer}");
        set(&mut changed, pointer, value);
        set_body(&mut edited.bundle, &changed);
        let code = verdict(&edited, &root, NOW).expect_err(pointer);
        assert_eq!(code, "log.entry-mismatch", "{bundle} {pointer}");
    }
}

/// The lists of signatures in logged envelopes: one, the bundle's, and no second one beside it.
#[test]
fn a_logged_envelope_with_a_second_signature() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    for (bundle, artifact, pointer) in [
        ("py-r1-att", "sigstore-python-3", "/spec/signatures"),
        ("js-r1-att", "sigstore-js-1", "/spec/content/envelope/signatures"),
    ] {
        let mut edited = signed(&vectors, bundle, artifact);
        let mut changed = body(&edited.bundle);
        let list = changed.pointer_mut(pointer).and_then(Value::as_array_mut).expect("list");
        let first = list.first().cloned().expect("one");
        list.push(first);
        set_body(&mut edited.bundle, &changed);
        assert_eq!(verdict(&edited, &root, NOW), Err("log.entry-mismatch"), "{bundle}");
    }
}

/// An envelope's entry is no entry for a blob's signature, and the other way round.
#[test]
fn an_entry_of_the_other_content() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    for (one, other) in [(("py-r1", "sigstore-python-3"), "py-r1-att"), (("py-r1-att", "sigstore-python-3"), "py-r1")] {
        let mut edited = signed(&vectors, one.0, one.1);
        let entry = signed(&vectors, other, one.1).bundle.pointer(ENTRY).expect("entry").clone();
        set(&mut edited.bundle, ENTRY, entry);
        assert_eq!(verdict(&edited, &root, NOW), Err("log.entry-mismatch"), "{other}");
    }
}

/// The protocol follows from the checkpoint: an entry of Rekor v1 under a checkpoint of Rekor v2 would need no promise.
#[test]
fn an_entry_of_rekor_v1_under_a_checkpoint_of_rekor_v2() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let mut edited = signed(&vectors, "py-r1", "sigstore-python-3");
    let proof = format!("{ENTRY}/inclusionProof");
    let other = signed(&vectors, "c3-blob-files", "cosign3-2").bundle.pointer(&proof).expect("proof").clone();
    set(&mut edited.bundle, &proof, other);
    assert_eq!(verdict(&edited, &root, NOW), Err("log.entry-kind"));
}

/// Material that does not verify is not passed over because other material does.
#[test]
fn good_material_does_not_excuse_bad_material_beside_it() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let one = signed(&vectors, "c3-blob-files", "cosign3-2");
    let other = signed(&vectors, "py-sign", "sigstore-python-1");
    for (list, code) in [("/verificationMaterial/tlogEntries", "log.entry-mismatch"), (TOKENS, "time.token-mismatch")] {
        let mut edited = Signed { bundle: one.bundle.clone(), artifact: one.artifact.clone() };
        let foreign = other.bundle.pointer(list).and_then(Value::as_array).expect(list).clone();
        edited.bundle.pointer_mut(list).and_then(Value::as_array_mut).expect(list).extend(foreign);
        assert_eq!(verdict(&edited, &root, NOW), Err(code), "{list}");
    }
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

/// A Rekor v1 entry without its promise has no time of its own either.
#[test]
fn a_rekor_v1_key_without_a_promise_has_to_be_valid_at_the_proven_time() {
    let Some(vectors) = vectors() else { return };
    let mut edited = signed(&vectors, "py-r1", "sigstore-python-3");
    remove(&mut edited, "inclusionPromise");
    let root = root(&vectors);
    assert_eq!(verdict(&edited, &root, NOW), Ok(()));
    assert_eq!(verdict(&edited, &closed(&root, "tlogs", "2026-11-02T00:00:00Z"), NOW), Err("log.key-window"));
}

/// A retired log's key may have leaked: what it signs counts only with a time that somebody else proves.
#[test]
fn a_bare_key_does_not_lift_the_window_of_the_logs_key() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors);
    let pem = vectors.read("private-instance/keys/throwaway.pub");
    let policy = key(std::str::from_utf8(&pem).expect("PEM")).expect("a key");
    let now: jiff::Timestamp = NOW.parse().expect("a time");
    let judged = |signed: &Signed, root: &Value| {
        let (bundle, root) = (signed.bundle.to_string(), root.to_string());
        judge(bundle.as_bytes(), &signed.artifact, root.as_bytes(), &policy, now).map(|_| ())
    };
    let mut case = signed(&vectors, "c3-key-blob", "cosign3-2");
    let (before, after) =
        (closed(&root, "tlogs", "2026-11-02T00:00:00Z"), closed(&root, "tlogs", "2026-11-24T20:00:00Z"));
    assert_eq!(judged(&case, &before), Err("log.key-window"));
    assert_eq!(judged(&case, &after), Ok(()), "a timestamp proves that the key was still in use");
    set(&mut case.bundle, TOKENS, Value::Array(Vec::new()));
    assert_eq!(judged(&case, &root), Ok(()), "a bare key needs no time");
    assert_eq!(judged(&case, &after), Err("log.key-window"));
}

/// A hint that is the hash of a key is not another key's.
#[test]
fn the_hint_of_another_key() {
    let Some(vectors) = vectors() else { return };
    let root = root(&vectors).to_string();
    let pem = vectors.read("private-instance/keys/throwaway.pub");
    let policy = key(std::str::from_utf8(&pem).expect("PEM")).expect("a key");
    let now: jiff::Timestamp = NOW.parse().expect("a time");
    let mut case = signed(&vectors, "c3-key-blob", "cosign3-2");
    for (hint, verdict) in
        [(STANDARD.encode([7; 32]), Err("signature.key-mismatch")), ("the release key".to_owned(), Ok(()))]
    {
        set(&mut case.bundle, "/verificationMaterial/publicKey/hint", hint.into());
        let bundle = case.bundle.to_string();
        let found = judge(bundle.as_bytes(), &case.artifact, root.as_bytes(), &policy, now).map(|_| ());
        assert_eq!(found, verdict);
    }
    // And the two kinds of signers are not taken for one another.
    let case = signed(&vectors, "c3-blob-files", "cosign3-2");
    let bundle = case.bundle.to_string();
    let found = judge(bundle.as_bytes(), &case.artifact, root.as_bytes(), &policy, now).err();
    assert_eq!(found, Some("signature.key-mismatch"));
}

/// Every proven time counts, not the first alone: a second authority stamps after the certificate has expired.
#[test]
fn a_later_time_outside_the_certificate() {
    let Some(vectors) = vectors() else { return };
    let mut root = root(&vectors);
    let directory = tempfile::tempdir().expect("a directory");
    let created = "2026-11-24T10:00:00Z".parse().expect("a time");
    let keys = std::sync::Arc::new(waxseal_io::signer::KeyFiles::plain());
    let second = Material::open(directory.path(), "tsa.example", None, &keys, created).expect("material");
    let chain: Vec<Value> = second
        .tsa_chain
        .iter()
        .map(|certificate| serde_json::json!({"rawBytes": STANDARD.encode(certificate.der())}))
        .collect();
    let mut authority = root["timestampAuthorities"][0].clone();
    authority["certChain"]["certificates"] = chain.into();
    root["timestampAuthorities"].as_array_mut().expect("a list").push(authority);

    let authority = TimestampAuthority::new(second.tsa_chain.clone()).expect("an authority");
    let case = signed(&vectors, "c3-blob-files", "cosign3-2");
    let signature = case.bundle["messageSignature"]["signature"].as_str().expect("a signature");
    let request = TimeStampReq {
        imprint: HashAlgorithm::Sha256.digest(&STANDARD.decode(signature).expect("base64")),
        policy: None,
        nonce: None,
        certificates: CertReq::Without,
    };
    // The certificate is valid from 14:37:50 for ten minutes.
    for (time, expected) in [
        ("2026-11-24T14:40:00Z", Ok(())),
        ("2026-11-24T15:00:00Z", Err("time.outside-certificate")),
        ("2026-11-24T14:00:00Z", Err("time.outside-certificate")),
    ] {
        let token = authority.stamp(&request, time.parse().expect("a time"), [1; 20]).expect("a token");
        let token = token.finish(&second.tsa_signer.sign(token.message()).expect("a signature")).expect("a token");
        for first in [0, 1] {
            let mut edited = Signed { bundle: case.bundle.clone(), artifact: case.artifact.clone() };
            let tokens = edited.bundle.pointer_mut(TOKENS).and_then(Value::as_array_mut).expect("tokens");
            tokens.insert(first, serde_json::json!({"signedTimestamp": STANDARD.encode(&token)}));
            assert_eq!(verdict(&edited, &root, NOW), expected, "{time}");
        }
    }
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
