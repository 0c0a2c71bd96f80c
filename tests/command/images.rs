//! Images in folders, through the binary: what cosign 3 and cosign 2 attached to them.

use super::{assert_refused, command, last_line, waxseal};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use waxseal_testkit::vectors;

const ALICE: &str = "alice@corp.example";
const ISSUER: &str = "http://127.0.0.1:7480/idp";
const IMAGE: &str = "sha256:acda8f81fd9734e19664683a6886b03e205813f73ce10745af31b6ea1ac7cbf3";
const WORKFLOW: (&str, &str) = (
    "https://github.com/acme/widgets/.github/workflows/release.yml@refs/heads/main",
    "http://127.0.0.1:7480/idp/github",
);
/// Layouts whose signature and attestation verify, the type that the signature says it has, and who attested.
const GOOD: [(&str, &str, (&str, &str)); 3] = [
    ("app-referrers", "https://sigstore.dev/cosign/sign/v1", WORKFLOW),
    ("app-fallback-tag", "https://sigstore.dev/cosign/sign/v1", (ALICE, ISSUER)),
    ("cosign2-legacy-rekor1", "cosign container image signature", (ALICE, ISSUER)),
];

/// Runs `verify` or `verify-attestation` on a folder.
fn verify(verb: &str, layout: &Path, root: &Path, identity: &str, more: &[&str]) -> Output {
    verify_from(verb, layout, root, (identity, ISSUER), more)
}

fn verify_from(verb: &str, layout: &Path, root: &Path, (identity, issuer): (&str, &str), more: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("directory");
    let text = |path: &Path| path.display().to_string();
    let (layout, root) = (text(layout), text(root));
    let mut arguments = vec![verb, "--local-image", "--trusted-root", &root, "--certificate-identity", identity];
    arguments.extend(["--certificate-oidc-issuer", issuer]);
    arguments.extend(more);
    arguments.push(&layout);
    waxseal(home.path(), &arguments)
}

#[test]
fn what_both_cosigns_attached_to_an_image_verifies_in_its_folder() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.path("private-instance");
    let root = folder.join("trusted_root.json");
    for (layout, kind, attester) in GOOD {
        let layout = folder.join("oci").join(layout);
        let output = verify("verify", &layout, &root, ALICE, &[]);
        assert!(output.status.success(), "{}: {}", layout.display(), last_line(&output));
        // As cosign prints it: an empty line, then one array.
        let printed = String::from_utf8(output.stdout).expect("text");
        assert!(printed.starts_with("\n["), "{printed}");
        let array: Value = serde_json::from_str(&printed).expect("JSON");
        let critical = &array[0]["critical"];
        assert_eq!(critical["image"]["docker-manifest-digest"], IMAGE);
        assert_eq!(critical["type"], kind);
        assert_eq!(
            (&array[0]["optional"]["Subject"], &array[0]["optional"]["Issuer"]),
            (&ALICE.into(), &ISSUER.into())
        );
        assert_eq!(array[0].get("evidence"), None);

        let output = verify("verify", &layout, &root, ALICE, &["--output", "json"]);
        let array: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(array[0]["evidence"]["signer"].is_object() && array[0]["source"].is_object(), "{array}");

        let output = verify_from("verify-attestation", &layout, &root, attester, &["--type", "slsaprovenance1"]);
        assert!(output.status.success(), "{}: {}", layout.display(), last_line(&output));
        let envelope: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    }
}

#[test]
fn an_image_is_refused_with_cosigns_exit_statuses() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.path("private-instance");
    let root = folder.join("trusted_root.json");
    for (layout, ..) in GOOD {
        let layout = folder.join("oci").join(layout);
        let refused = |verb: &str, identity: &str, more: &[&str], exit: i32, code: &str| {
            assert_refused(&verify(verb, &layout, &root, identity, more), exit, code);
        };
        refused("verify", "mallory@corp.example", &[], 12, "certificate.identity");
        refused("verify", ALICE, &["-a", "team=platform"], 12, "policy.denied");
        refused("verify", ALICE, &["--signers", "2"], 12, "policy.denied");
        refused("verify", ALICE, &["--check-claims=false"], 2, "usage");
        refused(
            "verify-attestation",
            "mallory@corp.example",
            &["--type", "slsaprovenance1"],
            12,
            "certificate.identity",
        );
        let other = verify("verify-attestation", &layout, &root, ALICE, &["--type", "spdx"]);
        // cosign 2's layers are looked at whatever they say of themselves.
        let expected = if layout.ends_with("cosign2-legacy-rekor1") {
            (12, "statement.predicate-type")
        } else {
            (10, "artifact.unsigned")
        };
        assert_refused(&other, expected.0, expected.1);
        // A key was given, and the signatures have certificates.
        let key = folder.join("keys/throwaway.pub").display().to_string();
        let home = tempfile::tempdir().expect("directory");
        let (root, layout) = (root.display().to_string(), layout.display().to_string());
        let with_key = ["verify", "--local-image", "--trusted-root", &root, "--key", &key, &layout];
        assert_refused(&waxseal(home.path(), &with_key), 12, "signature.key-mismatch");
    }
    let unlogged = folder.join("oci/cosign2-legacy-notlog");
    assert_refused(&verify("verify", &unlogged, &root, ALICE, &[]), 12, "log.proof-missing");
    let accepted = verify("verify", &unlogged, &root, ALICE, &["--insecure-ignore-tlog"]);
    assert!(accepted.status.success(), "{}", last_line(&accepted));
    let nobody = verify("verify", &unlogged, &root, "mallory@corp.example", &["--insecure-ignore-tlog"]);
    assert_refused(&nobody, 12, "certificate.identity");
}

#[test]
fn a_refusal_lists_what_did_not_count() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.path("private-instance");
    let layout = folder.join("oci/app-referrers");
    let output =
        verify("verify", &layout, &folder.join("trusted_root.json"), "mallory@corp.example", &["--output", "json"]);
    let object: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(object["code"], "certificate.identity");
    assert_eq!(object["refused"][0]["code"], "certificate.identity");
    assert!(object["refused"][0]["source"]["referrer"].is_string(), "{object}");
}

/// One byte of whatever is in the folder is another: the image is refused, whatever it was.
#[test]
fn a_folder_that_was_changed_is_refused() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.path("private-instance");
    let root = folder.join("trusted_root.json");
    let layout = folder.join("oci/app-referrers");
    let copy = tempfile::tempdir().expect("directory");
    let blobs = copy.path().join("blobs/sha256");
    let restore = || {
        std::fs::create_dir_all(&blobs).expect("directory");
        for name in ["index.json", "oci-layout"] {
            std::fs::copy(layout.join(name), copy.path().join(name)).expect("copied");
        }
        for blob in std::fs::read_dir(layout.join("blobs/sha256")).expect("blobs") {
            let blob = blob.expect("blob");
            std::fs::copy(blob.path(), blobs.join(blob.file_name())).expect("copied");
        }
    };
    restore();
    assert!(verify("verify", copy.path(), &root, ALICE, &[]).status.success());
    // The image, the signature's manifest and the bundle itself.
    for blob in [
        "acda8f81fd9734e19664683a6886b03e205813f73ce10745af31b6ea1ac7cbf3",
        "ad0b27799bdfb62708368db428c1c6ec3b4f2a3e90bc59f123fd2f897c1dd77b",
        "641454c8541331c35a8c9086cc291b8b0499b53408aa20b62bb765b7320cf2dd",
    ] {
        restore();
        let path = blobs.join(blob);
        let mut bytes = std::fs::read(&path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        let output = verify("verify", copy.path(), &root, ALICE, &[]);
        assert_ne!(output.status.code(), Some(0), "{blob}");
        assert!(last_line(&output).starts_with("error[signature.digest-mismatch]: "), "{blob}: {}", last_line(&output));
        std::fs::remove_file(&path).expect("removed");
        assert_ne!(verify("verify", copy.path(), &root, ALICE, &[]).status.code(), Some(0), "{blob} is missing");
    }
}

#[test]
fn what_is_no_image_is_told_so() {
    let home = tempfile::tempdir().expect("directory");
    let identity = ["--certificate-identity", "a@b", "--certificate-oidc-issuer", "https://i"];
    let run = |arguments: &[&str]| {
        let mut all = vec!["verify"];
        all.extend(identity);
        all.extend(arguments);
        waxseal(home.path(), &all)
    };
    assert_refused(&run(&["Not An Image"]), 2, "usage");
    assert_refused(&run(&["--local-image", "/nowhere"]), 1, "input.malformed");
    // Nobody listens there: that is not the same as no signature.
    assert_refused(&run(&["127.0.0.1:1/acme/app:v1"]), 20, "network.unreachable");
    let nobody = command(home.path(), &["verify", "127.0.0.1:1/acme/app:v1"]).output().expect("waxseal runs");
    assert_refused(&nobody, 2, "usage");
}

#[test]
fn policies_judge_what_is_attested_to_an_image() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.path("private-instance");
    let root = folder.join("trusted_root.json");
    let home = tempfile::tempdir().expect("directory");
    let policy = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let allow = policy("allow.cel", "predicateType == 'https://slsa.dev/provenance/v1'");
    let deny = policy("deny.rego", "package signature\nallow { input.predicateType == \"https://other.example\" }");
    let cue = policy("policy.cue", "predicateType: string");
    for (layout, _, attester) in GOOD {
        let layout = folder.join("oci").join(layout);
        let judged = |more: &[&str]| {
            let more = [&["--type", "slsaprovenance1"], more].concat();
            verify_from("verify-attestation", &layout, &root, attester, &more)
        };
        let allowed = judged(&["--policy", &allow]);
        assert!(allowed.status.success(), "{}", last_line(&allowed));
        assert_refused(&judged(&["--policy", &allow, "--policy", &deny]), 12, "policy.denied");
        assert_refused(&judged(&["--policy", &cue]), 1, "policy.malformed");
    }
}
