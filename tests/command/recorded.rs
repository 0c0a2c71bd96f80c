//! Every bundle and every old signature of the recorded private instance, through the binary.

use super::{command, last_line, waxseal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_formats::x509::Certificate;
use waxseal_testkit::{Artifact, ExpectedCase, ExpectedVerdict, Signer, Vectors, vectors};

/// The predicate type of what the file holds, if it is an attestation.
fn predicate_type(document: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let decoded = |text: &Value| serde_json::from_slice::<Value>(&STANDARD.decode(text.as_str()?).ok()?).ok();
    let envelope = match document.get("dsseEnvelope") {
        Some(envelope) => envelope.clone(),
        None => decoded(document.get("base64Signature")?)?,
    };
    let statement = decoded(envelope.get("payload")?);
    let stated = statement.and_then(|statement| Some(statement.get("predicateType")?.as_str()?.to_owned()));
    Some(stated.unwrap_or_else(|| "https://unreadable.example".to_owned()))
}

fn arguments(vectors: &Vectors, case: &ExpectedCase) -> Vec<String> {
    let path = |name: &str| vectors.path(name).display().to_string();
    let predicate_type = predicate_type(&vectors.read(&case.file));
    let verb = if predicate_type.is_some() { "verify-blob-attestation" } else { "verify-blob" };
    let root = case.trusted_root.as_deref().expect("a trusted root");
    let mut arguments = vec![verb.to_owned(), "--trusted-root".to_owned(), path(root)];
    if let Some(predicate_type) = predicate_type {
        arguments.extend(["--type".to_owned(), predicate_type]);
    }
    match case.file.strip_suffix(".sig") {
        Some(name) => {
            let certificate = path(&format!("{name}.crt"));
            arguments.extend(["--signature".to_owned(), path(&case.file), "--certificate".to_owned(), certificate]);
        }
        None => arguments.extend(["--bundle".to_owned(), path(&case.file)]),
    }
    match case.signer.as_ref().expect("a signer") {
        Signer::Keyless { identity, issuer } => {
            arguments.extend(["--certificate-identity".to_owned(), identity.clone()]);
            arguments.extend(["--certificate-oidc-issuer".to_owned(), issuer.clone().expect("an issuer")]);
        }
        Signer::Key(key) => arguments.extend(["--key".to_owned(), path(key)]),
    }
    arguments.push(match &case.artifact {
        Artifact::File(file) => path(file),
        Artifact::Digest(digest) => digest.clone(),
        Artifact::Attached => panic!("{} has no artifact", case.file),
    });
    arguments
}

#[test]
fn every_recorded_bundle_and_old_signature_gets_its_verdict() {
    let Some(vectors) = vectors() else { return };
    let home = tempfile::tempdir().expect("directory");
    let (mut bundles, mut old, mut wrong) = (0, 0, Vec::new());
    for case in vectors.private_instance() {
        if case.file.starts_with("private-instance/bundles/") {
            bundles += 1;
        } else if case.file.starts_with("private-instance/legacy/") {
            old += 1;
        } else {
            continue;
        }
        let arguments = arguments(&vectors, &case);
        let output = waxseal(home.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let line = last_line(&output);
        let found = line.strip_prefix("error[").and_then(|rest| rest.split_once(']')).map(|(code, _)| code);
        let expected = match case.verdict {
            ExpectedVerdict::Ok => None,
            ExpectedVerdict::Fail | ExpectedVerdict::Online => case.reason.as_deref(),
        };
        let exit = if expected.is_some() { 1 } else { 0 };
        // The note names other reasons that are right too.
        let right = found == expected || expected.is_some() && found.is_some_and(|code| case.note.contains(code));
        if !right || output.status.code() != Some(exit) {
            wrong.push(format!("{}: {line}, expected {expected:?}", case.file));
        }
    }
    assert_eq!((bundles, old), (99, 10), "cases in expected.tsv");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Old signatures without log entry need permission, and then their timestamp still proves when they were made.
#[test]
fn an_old_signature_that_was_not_logged_verifies_by_its_timestamp_if_that_is_allowed() {
    let Some(vectors) = vectors() else { return };
    let home = tempfile::tempdir().expect("directory");
    let path = |name: &str| vectors.path(&format!("private-instance/{name}")).display().to_string();
    let (root, artifact, stamp) =
        (path("trusted_root.json"), path("artifacts/cosign2-1.txt"), path("legacy/c2-notlog.tsr.json"));
    let (bundle, signature, certificate) =
        (path("legacy/c2-notlog.bundle"), path("legacy/c2-notlog.sig"), path("legacy/c2-notlog.crt"));
    let code = |more: &[&str]| {
        let mut arguments =
            vec!["verify-blob", "--trusted-root", &root, "--certificate-identity", "alice@corp.example"];
        arguments.extend(["--certificate-oidc-issuer", "http://127.0.0.1:7480/idp"]);
        arguments.extend(more);
        arguments.push(&artifact);
        let output = waxseal(home.path(), &arguments);
        let line = last_line(&output);
        if output.status.success() {
            "ok".to_owned()
        } else {
            line.split([' ', ':']).next().unwrap_or_default().to_owned()
        }
    };
    let (ignoring, stamped) = ("--insecure-ignore-tlog", ["--rfc3161-timestamp", stamp.as_str()]);
    for material in [&["--bundle", bundle.as_str()][..], &["--signature", &signature, "--certificate", &certificate]] {
        let with = |more: &[&str]| code(&[material, more].concat());
        assert_eq!(with(&[&stamped[..], &[ignoring]].concat()), "ok");
        assert_eq!(with(&stamped), "error[log.proof-missing]");
        assert_eq!(with(&[ignoring]), "error[time.missing]");
        assert_eq!(with(&[ignoring, "--rfc3161-timestamp", &certificate]), "error[bundle.malformed]");
    }
    assert_eq!(code(&[]), "error[usage]");
    assert_eq!(code(&["--signature", &signature, "--bundle", &bundle]), "error[usage]");
}

#[test]
fn a_bundle_is_shown_whole() {
    let Some(vectors) = vectors() else { return };
    let home = tempfile::tempdir().expect("directory");
    for (name, says) in [
        ("bundles/c3-blob-files.sigstore.json", "subject"),
        ("legacy/c2-r1-att.bundle", "predicateType"),
        ("legacy/c2-notlog.bundle", "mediaType"),
    ] {
        let path = vectors.path(&format!("private-instance/{name}")).display().to_string();
        let text = waxseal(home.path(), &["bundle", "inspect", &path]);
        assert!(text.status.success(), "{}", last_line(&text));
        assert!(String::from_utf8_lossy(&text.stdout).contains(says));
        let output = waxseal(home.path(), &["bundle", "inspect", "--output", "json", &path]);
        let shown: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert!(shown["mediaType"].is_string() && shown["signer"].is_object() && shown["logEntries"].is_array());
    }
}

#[test]
fn a_statement_counts_for_what_it_says_only() {
    let Some(vectors) = vectors() else { return };
    let home = tempfile::tempdir().expect("directory");
    let path = |name: &str| vectors.path(&format!("private-instance/{name}")).display().to_string();
    let (root, artifact, bundle) =
        (path("trusted_root.json"), path("artifacts/cosign2-3.txt"), path("legacy/c2-r1-att.bundle"));
    let predicate_type =
        predicate_type(&vectors.read("private-instance/legacy/c2-r1-att.bundle")).expect("an attestation");
    let policy = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let allow = policy("allow.rego", "package signature\nallow { count(input.subject) == 1 }");
    let deny = policy("deny.cel", "predicateType == 'https://other.example'");
    let cue = policy("policy.cue", "predicateType: string");
    let code = |verb: &str, more: &[&str]| {
        let mut arguments = vec![verb, "--trusted-root", &root, "--certificate-identity", "alice@corp.example"];
        arguments.extend(["--certificate-oidc-issuer", "http://127.0.0.1:7480/idp", "--bundle", &bundle]);
        arguments.extend(more);
        if !more.contains(&"--digest") {
            arguments.push(&artifact);
        }
        let output = waxseal(home.path(), &arguments);
        let line = last_line(&output);
        if output.status.success() {
            "ok".to_owned()
        } else {
            line.split([' ', ':']).next().unwrap_or_default().to_owned()
        }
    };
    let attested =
        |more: &[&str]| code("verify-blob-attestation", &[&["--type", predicate_type.as_str()], more].concat());
    assert_eq!(attested(&[]), "ok");
    assert_eq!(code("verify-blob-attestation", &["--type", "spdx"]), "error[statement.predicate-type]");
    assert_eq!(code("verify-blob", &[]), "error[statement.predicate-type]");
    assert_eq!(code("verify-blob", &["--accept-predicate-type", &predicate_type]), "ok");
    assert_eq!(attested(&["--policy", &allow]), "ok");
    assert_eq!(attested(&["--policy", &allow, "--policy", &deny]), "error[policy.denied]");
    assert_eq!(attested(&["--policy", &cue]), "error[policy.malformed]");
    assert_eq!(attested(&["--check-claims=false"]), "error[usage]");
    assert_eq!(attested(&["--digest", "00"]), "error[usage]");
    assert_eq!(attested(&["--digest", &"0".repeat(64)]), "error[statement.subject]");
    // A signature over the file is no statement about it.
    let signed = path("bundles/c3-blob-files.sigstore.json");
    let signed_file = path("artifacts/cosign3-2.txt");
    let output = waxseal(
        home.path(),
        &[
            "verify-blob-attestation",
            "--trusted-root",
            &root,
            "--bundle",
            &signed,
            "--certificate-identity",
            "alice@corp.example",
            "--certificate-oidc-issuer",
            "http://127.0.0.1:7480/idp",
            &signed_file,
        ],
    );
    super::assert_refused(&output, 1, "statement.predicate-type");
}

#[test]
fn cosigns_variables_say_whom_to_trust() {
    let Some(vectors) = vectors() else { return };
    let home = tempfile::tempdir().expect("directory");
    let path = |name: &str| vectors.path(&format!("private-instance/{name}")).display().to_string();
    let root = TrustedRoot::from_json(&vectors.read("private-instance/trusted_root.json")).expect("root");
    let file = |name: &str, text: String| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let (bundle, artifact) = (path("legacy/c2-r1-old.bundle"), path("artifacts/cosign2-1.txt"));
    let verify = |variables: &[(&str, std::path::PathBuf)]| {
        let mut command = command(
            home.path(),
            &[
                "verify-blob",
                "--certificate-identity",
                "alice@corp.example",
                "--certificate-oidc-issuer",
                "http://127.0.0.1:7480/idp",
                "--bundle",
                &bundle,
                &artifact,
            ],
        );
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.output().expect("waxseal runs")
    };
    let authorities = file("ca.pem", root.certificate_authorities[0].chain.iter().map(Certificate::to_pem).collect());
    let entry: Value = serde_json::from_slice(&vectors.read("private-instance/legacy/c2-r1-old.bundle")).expect("JSON");
    let log_id = entry["rekorBundle"]["Payload"]["logID"].as_str().expect("a log");
    let log = root.tlogs.iter().find(|log| hex::encode(&log.log_id) == log_id).expect("the log");
    let variables = [
        ("SIGSTORE_ROOT_FILE", authorities),
        ("SIGSTORE_REKOR_PUBLIC_KEY", file("rekor.pub", log.public_key.to_pem())),
        ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", file("ct.pub", root.ctlogs[0].public_key.to_pem())),
    ];
    let output = verify(&variables);
    assert!(output.status.success(), "{}", last_line(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("warning: SIGSTORE_ROOT_FILE replaces"));
    super::assert_refused(&verify(&variables[1..]), 1, "certificate.chain");
    super::assert_refused(&verify(&variables[..1]), 1, "log.unknown");
    super::assert_refused(&verify(&variables[..2]), 1, "sct.untrusted-log");
    let unpinned = verify(&[("TUF_MIRROR", "http://127.0.0.1:9/tuf".into())]);
    super::assert_refused(&unpinned, 1, "trusted-root.unpinned");
}
