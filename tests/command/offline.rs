//! Verification opens no socket: a process that tries to is ended by the kernel.

use super::{command, last_line};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;
use waxseal_testkit::vectors;

/// `socket(2)`.
const SOCKET: i64 = if cfg!(target_arch = "aarch64") { 198 } else { 41 };
/// The signal that ends a process for a system call it may not make.
const SIGSYS: i32 = 31;

/// Runs waxseal where `socket` ends it. The filter is on a thread of its own, and what that thread starts has it too.
fn without_sockets(home: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = command(home, arguments);
    std::thread::spawn(move || {
        let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a known machine");
        let rules = BTreeMap::from([(SOCKET, Vec::new())]);
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, arch).expect("a filter");
        let program: BpfProgram = filter.try_into().expect("a program");
        seccompiler::apply_filter(&program).expect("applied");
        command.output().expect("waxseal runs")
    })
    .join()
    .expect("no panic")
}

#[test]
fn verification_opens_no_socket() {
    let Some(vectors) = vectors() else { return };
    let home = tempfile::tempdir().expect("directory");
    let path = |name: &str| vectors.path(&format!("private-instance/{name}")).display().to_string();
    let root = path("trusted_root.json");
    let (identity, issuer) = ("alice@corp.example", "http://127.0.0.1:7480/idp");
    let verified = |verb: &[&str], what: &str| {
        let mut arguments = verb.to_vec();
        arguments.extend(["--trusted-root", &root, "--certificate-identity", identity]);
        arguments.extend(["--certificate-oidc-issuer", issuer, what]);
        let output = without_sockets(home.path(), &arguments);
        assert!(output.status.success(), "{verb:?}: {:?} {}", output.status, last_line(&output));
    };
    let bundle = path("bundles/c3-blob-files.sigstore.json");
    verified(&["verify-blob", "--bundle", &bundle], &path("artifacts/cosign3-2.txt"));
    let old = path("legacy/c2-r1-att.bundle");
    let attested = ["verify-blob-attestation", "--type", "slsaprovenance1", "--bundle", &old];
    verified(&attested, &path("artifacts/cosign2-3.txt"));
    for layout in ["oci/app-referrers", "oci/app-fallback-tag", "oci/cosign2-legacy-rekor1"] {
        verified(&["verify", "--local-image"], &path(layout));
    }
    // What lies in a registry cannot be had without one, so that this shows the filter at work.
    let output = without_sockets(
        home.path(),
        &[
            "verify",
            "--trusted-root",
            &root,
            "--certificate-identity",
            identity,
            "--certificate-oidc-issuer",
            issuer,
            "127.0.0.1:9/a/b",
        ],
    );
    assert_eq!(output.status.signal(), Some(SIGSYS), "{:?}", output.status);
}
