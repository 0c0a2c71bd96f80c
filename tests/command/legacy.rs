//! What cosign 2 left beside images, through the binary: the recorded verdicts, and what somebody who stores a layout could change.

use super::{assert_refused, last_line, waxseal};
use crate::layout::{IMAGE, LayoutCopy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use waxseal_testkit::{ExpectedVerdict, Signer, Vectors, vectors};

const ALICE: &str = "alice@corp.example";
const ISSUER: &str = "http://127.0.0.1:7480/idp";
/// Rows of old bundles and detached signatures of files: `verify-blob` judges them, in its own tests.
const OF_FILES: usize = 10;

fn verify(vectors: &Vectors, verb: &[&str], layout: &Path, identity: &str, issuer: &str) -> Output {
    let home = tempfile::tempdir().expect("directory");
    let root = vectors.path("private-instance/trusted_root.json").display().to_string();
    let layout = layout.display().to_string();
    let mut arguments = verb.to_vec();
    arguments.extend(["--local-image", "--trusted-root", &root, "--certificate-identity", identity]);
    arguments.extend(["--certificate-oidc-issuer", issuer, &layout]);
    waxseal(home.path(), &arguments)
}

#[test]
fn every_recorded_layout_gets_its_verdict_and_its_reason() {
    let Some(vectors) = vectors() else { return };
    let (mut judged, mut of_files) = (0, 0);
    for case in vectors.private_instance() {
        of_files += usize::from(case.file.starts_with("private-instance/legacy/"));
        if !case.file.starts_with("private-instance/oci/") {
            continue;
        }
        judged += 1;
        let Some(Signer::Keyless { identity, issuer }) = &case.signer else { panic!("{case:?}") };
        let issuer = issuer.as_deref().expect("an issuer");
        for verb in [&["verify"][..], &["verify-attestation", "--type", "slsaprovenance1"]] {
            let output = verify(&vectors, verb, &vectors.path(&case.file), identity, issuer);
            match case.verdict {
                ExpectedVerdict::Ok => assert!(output.status.success(), "{}: {}", case.file, last_line(&output)),
                _ => assert_refused(&output, 12, case.reason.as_deref().expect("a reason")),
            }
        }
    }
    assert_eq!((judged, of_files), (2, OF_FILES));
}

/// Changes the JSON in an annotation.
fn entry(layer: &mut Value, edit: impl FnOnce(&mut Value)) {
    let annotation = &mut layer["annotations"]["dev.sigstore.cosign/bundle"];
    let mut entry: Value = serde_json::from_str(annotation.as_str().expect("text")).expect("JSON");
    edit(&mut entry);
    *annotation = entry.to_string().into();
}

/// Changes the last byte of what stands in base64.
fn flip(value: &mut Value) {
    let mut bytes = STANDARD.decode(value.as_str().expect("text")).expect("base64");
    *bytes.last_mut().expect("a byte") ^= 1;
    *value = STANDARD.encode(bytes).into();
}

type Edit = fn(&LayoutCopy, &mut Value);

/// The same changes that the recorded old bundles of files have, and those that only a layout can have.
#[test]
fn changed_layers_of_cosign_2_are_refused_for_what_was_changed() {
    let Some(vectors) = vectors() else { return };
    let both: [(&str, Edit, &str); 5] = [
        ("set", |_, layer| entry(layer, |entry| flip(&mut entry["SignedEntryTimestamp"])), "log.set-invalid"),
        (
            "time",
            |_, layer| {
                entry(layer, |entry| {
                    let time = entry["Payload"]["integratedTime"].as_i64().expect("a time");
                    entry["Payload"]["integratedTime"] = (time + 1).into();
                });
            },
            "log.set-invalid",
        ),
        ("index", |_, layer| entry(layer, |entry| entry["Payload"]["logIndex"] = 7.into()), "log.set-invalid"),
        (
            "no entry",
            |_, layer| drop(layer["annotations"].as_object_mut().expect("object").remove("dev.sigstore.cosign/bundle")),
            "log.proof-missing",
        ),
        (
            "no certificate",
            |_, layer| {
                drop(layer["annotations"].as_object_mut().expect("object").remove("dev.sigstore.cosign/certificate"));
            },
            "signature.key-missing",
        ),
    ];
    let signatures: [(&str, Edit, &str); 3] = [
        (
            "signature",
            |_, layer| flip(&mut layer["annotations"]["dev.cosignproject.cosign/signature"]),
            "signature.invalid",
        ),
        (
            "no signature",
            |_, layer| layer["annotations"]["dev.cosignproject.cosign/signature"] = "".into(),
            "bundle.missing-material",
        ),
        (
            "payload",
            |copy, layer| {
                copy.exchange(layer, |payload| {
                    let text = String::from_utf8(payload.clone()).expect("text");
                    *payload = text.replace("acda8f81", "bcda8f81").into_bytes();
                });
            },
            "signature.invalid",
        ),
    ];
    let attestations: [(&str, Edit, &str); 2] = [
        ("payload", |copy, layer| envelope(copy, layer, "/payload"), "signature.invalid"),
        ("signature", |copy, layer| envelope(copy, layer, "/signatures/0/sig"), "signature.invalid"),
    ];
    let signed = both.iter().chain(&signatures).map(|case| (".sig", &["verify"][..], case));
    let attested = both
        .iter()
        .chain(&attestations)
        .map(|case| (".att", &["verify-attestation", "--type", "slsaprovenance1"][..], case));
    for (suffix, verb, (what, edit, code)) in signed.chain(attested) {
        let copy = LayoutCopy::of(&vectors, "cosign2-legacy-rekor1");
        copy.change(copy.place(Some(suffix)), |_, manifest| edit(&copy, &mut manifest["layers"][0]));
        let output = verify(&vectors, verb, copy.path(), ALICE, ISSUER);
        let line = last_line(&output);
        assert!(line.starts_with(&format!("error[{code}]: ")), "{what} of {suffix}: {line}");
        let exit = if *code == "signature.key-missing" { 13 } else { 12 };
        assert_eq!(output.status.code(), Some(exit), "{what} of {suffix}: {line}");
    }
}

/// Changes the last byte of a part of an envelope.
fn envelope(copy: &LayoutCopy, layer: &mut Value, pointer: &str) {
    copy.exchange(layer, |content| {
        let mut envelope: Value = serde_json::from_slice(content).expect("JSON");
        flip(envelope.pointer_mut(pointer).expect(pointer));
        *content = envelope.to_string().into_bytes();
    });
}

/// Row 27: a genuine signature, moved to where another image's would be.
#[test]
fn row_27_signatures_of_another_image_do_not_count() {
    let Some(vectors) = vectors() else { return };
    for layout in ["cosign2-legacy-rekor1", "app-referrers", "app-fallback-tag"] {
        let copy = LayoutCopy::of(&vectors, layout);
        // The image gets another digest, and everything about it is made to name that one.
        let was = IMAGE.strip_prefix("sha256:").expect("a digest");
        copy.change(copy.place(Some("v1")), |_, manifest| {
            manifest["annotations"] = serde_json::json!({"another": "image"});
        });
        let index = copy.index();
        let image = index["manifests"][copy.place(Some("v1"))].clone();
        let now = image["digest"].as_str().expect("a digest").strip_prefix("sha256:").expect("a digest");
        for place in 0..index["manifests"].as_array().expect("a list").len() {
            if place == copy.place(Some("v1")) {
                continue;
            }
            copy.change(place, |entry, manifest| {
                if let Some(name) = entry["annotations"]["org.opencontainers.image.ref.name"].as_str() {
                    entry["annotations"]["org.opencontainers.image.ref.name"] = name.replace(was, now).into();
                }
                if let Some(subject) = manifest.get_mut("subject") {
                    subject["digest"] = image["digest"].clone();
                    subject["size"] = image["size"].clone();
                }
            });
        }
        assert_refused(&verify(&vectors, &["verify"], copy.path(), ALICE, ISSUER), 12, "statement.subject");
    }
}

/// An index may list what belongs to another image: it is not counted as the signature of this one.
#[test]
fn a_referrer_that_names_another_subject_is_none() {
    let Some(vectors) = vectors() else { return };
    let copy = LayoutCopy::of(&vectors, "app-referrers");
    let index = copy.index();
    for place in 0..index["manifests"].as_array().expect("a list").len() {
        copy.change(place, |_, manifest| {
            if let Some(subject) = manifest.get_mut("subject") {
                subject["digest"] = format!("sha256:{}", "7".repeat(64)).into();
            }
        });
    }
    assert_refused(&verify(&vectors, &["verify"], copy.path(), ALICE, ISSUER), 10, "artifact.unsigned");
}
