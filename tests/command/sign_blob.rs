//! `waxseal sign-blob`: wrong usage and bad input. Signing itself is shown at a running instance.

use super::{assert_refused, waxseal};
use std::path::PathBuf;
use std::process::Output;
use waxseal_testkit::vectors;

/// A token that no authority accepts and every client can read: `sub` is `alice`.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.AQAB";

struct Folder {
    home: tempfile::TempDir,
    artifact: String,
    bundle: String,
}

fn folder() -> Folder {
    let home = tempfile::tempdir().expect("directory");
    let path = |name: &str| home.path().join(name).display().to_string();
    let (artifact, bundle) = (path("file"), path("bundle.json"));
    std::fs::write(&artifact, "what is signed").expect("written");
    Folder { artifact, bundle, home }
}

impl Folder {
    fn sign(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["sign-blob", "--bundle", &self.bundle];
        all.extend(arguments);
        all.push(&self.artifact);
        waxseal(self.home.path(), &all)
    }

    /// The names beside the artifact: a refused signature leaves nothing.
    fn others(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.home.path()).expect("directory");
        entries.map(|entry| entry.expect("entry").path()).filter(|path| !path.ends_with("file")).collect()
    }
}

#[test]
fn no_instance_is_assumed() {
    let folder = folder();
    let output = folder.sign(&["--identity-token", TOKEN]);
    assert_refused(&output, 2, "usage");
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: pass --instance"));
    assert_refused(&folder.sign(&["--fulcio-url", "http://127.0.0.1:1", "--identity-token", TOKEN]), 2, "usage");
}

#[test]
fn an_instance_that_is_not_pinned_is_not_trusted_on_first_use() {
    let folder = folder();
    let output = folder.sign(&["--instance", "http://127.0.0.1:1", "--identity-token", TOKEN]);
    assert_refused(&output, 1, "trusted-root.unpinned");
    assert!(String::from_utf8_lossy(&output.stderr).contains("waxseal trust add http://127.0.0.1:1"));
    assert!(folder.others().is_empty());
}

#[test]
fn flags_that_contradict_each_other_are_wrong_usage() {
    let folder = folder();
    for arguments in [
        &["--key", "k", "--identity-token", "t"] as &[&str],
        &["--key", "k", "--signing-algorithm", "ed25519"],
        &["--signing-config", "c", "--rekor-url", "http://127.0.0.1:1"],
        &["--signing-config", "c", "--instance", "corp"],
        &["--fulcio-url", "http://127.0.0.1:1", "--instance", "corp"],
        &["--signing-algorithm", "md5"],
        &["--rekor-url", "not a URL"],
        &["--tlog-upload=false", "--signing-config", "c"],
        &["--new-bundle-format=false", "--signing-config", "c"],
    ] {
        assert_refused(&folder.sign(arguments), 2, "usage");
    }
    assert!(folder.others().is_empty());
}

#[test]
fn another_instance_than_the_public_one_needs_its_root() {
    let Some(vectors) = vectors() else { return };
    let folder = folder();
    let config = vectors.path("private-instance/signing_config.v0.2.json").display().to_string();
    let output = folder.sign(&["--signing-config", &config, "--identity-token", TOKEN]);
    assert_refused(&output, 2, "usage");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--trusted-root"));
}

#[test]
fn a_service_that_is_down_exits_20_and_leaves_nothing() {
    let Some(vectors) = vectors() else { return };
    let folder = folder();
    let root = vectors.path("private-instance/trusted_root.json").display().to_string();
    // Nothing listens on port 1.
    let services = ["--fulcio-url", "http://127.0.0.1:1", "--rekor-url", "http://127.0.0.1:1"];
    let mut arguments = vec!["--trusted-root", &root, "--timestamp-server-url", "http://127.0.0.1:1/api/v1/timestamp"];
    arguments.extend(services);
    let with = |more: &[&'static str]| arguments.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    assert_refused(&folder.sign(&with(&["-y", "--identity-token", TOKEN])), 20, "network.unreachable");
    // No token is a mistake of the caller, and an expired or garbled one is not sent.
    assert_refused(&folder.sign(&with(&[])), 2, "usage");
    assert_refused(&folder.sign(&with(&["--identity-token", "/nowhere"])), 1, "input.unreadable");
    assert_refused(&folder.sign(&with(&["--identity-token", "Cargo.toml"])), 1, "token.malformed");
    assert_refused(
        &folder.sign(&with(&["--signing-algorithm", "ed25519", "--identity-token", TOKEN])),
        1,
        "key.unsupported",
    );
    assert_refused(&folder.sign(&with(&["--key", "/nowhere"])), 1, "input.unreadable");
    assert_refused(&folder.sign(&with(&["--key", "Cargo.toml"])), 1, "key.unsupported");
    assert!(folder.others().is_empty());
}

#[test]
fn files_that_cannot_be_read_or_written_are_named_first() {
    let Some(vectors) = vectors() else { return };
    let mut folder = folder();
    let path = |name: &str| vectors.path(&format!("private-instance/{name}")).display().to_string();
    let (config, root) = (path("signing_config.v0.2.json"), path("trusted_root.json"));
    let arguments = ["--signing-config", &config, "--trusted-root", &root, "--identity-token", TOKEN];
    let sign = |folder: &Folder| folder.sign(&arguments);
    folder.bundle = folder.home.path().display().to_string();
    assert_refused(&sign(&folder), 1, "input.unreadable");
    folder.bundle = folder.home.path().join("none/bundle.json").display().to_string();
    assert_refused(&sign(&folder), 1, "input.unreadable");
    folder.bundle = folder.home.path().join("bundle.json").display().to_string();
    folder.artifact = folder.home.path().display().to_string();
    assert_refused(&sign(&folder), 1, "input.unreadable");
    assert_refused(&folder.sign(&["--signing-config", &root, "--identity-token", TOKEN]), 1, "input.malformed");
    assert_refused(&folder.sign(&["--signing-config", "/", "--identity-token", TOKEN]), 1, "input.unreadable");
}
