//! Command lines as cosign's users have them, completion scripts, manual pages and the version.

use super::{assert_refused, command, waxseal};
use serde_json::Value;

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn flags_come_from_cosigns_variables_and_the_command_line_is_stronger() {
    let home = tempfile::tempdir().expect("directory");
    let bundle = home.path().join("missing.json").display().to_string();
    let verify = |arguments: &[&str]| {
        let mut command = command(home.path(), &[&["verify-blob"], arguments, &["file"]].concat());
        command.env("COSIGN_BUNDLE", &bundle).env("COSIGN_CERTIFICATE_IDENTITY", "alice");
        command.env("COSIGN_CERTIFICATE_OIDC_ISSUER", "https://issuer").env("COSIGN_KEY", "");
        command.output().expect("waxseal runs")
    };
    let output = verify(&[]);
    assert_refused(&output, 1, "input.unreadable");
    assert!(stderr(&output).contains("missing.json"));
    let output = verify(&["--bundle", "other.json"]);
    assert!(stderr(&output).contains("other.json"));
}

#[test]
fn help_shows_no_value_of_a_variable() {
    let home = tempfile::tempdir().expect("directory");
    for help in ["--help", "-h"] {
        let mut command = command(home.path(), &["sign-blob", help]);
        command.env("COSIGN_IDENTITY_TOKEN", "eyJzZWNyZXQ").env("COSIGN_KEY", "eyJzZWNyZXQ");
        let output = command.output().expect("waxseal runs");
        assert!(output.status.success() && !output.stdout.is_empty());
        assert!(!String::from_utf8_lossy(&output.stdout).contains("eyJzZWNyZXQ"));
    }
}

#[test]
fn commands_that_cosign_has_not_do_not_listen_to_its_variables() {
    let home = tempfile::tempdir().expect("directory");
    let mut command = command(home.path(), &["client-setup", "cosign", "--instance", "http://127.0.0.1:1"]);
    let output = command.env("COSIGN_INSTANCE", "http://127.0.0.1:2").output().expect("waxseal runs");
    assert!(!stderr(&output).contains("127.0.0.1:2"));
}

#[test]
fn one_dash_is_corrected_and_retired_flags_are_told_of() {
    let home = tempfile::tempdir().expect("directory");
    let output = waxseal(home.path(), &["verify-blob", "-bundle", "b", "-key=k", "--private-infrastructure", "f"]);
    let said = stderr(&output);
    assert!(said.contains("warning: -bundle is taken for --bundle"), "{said}");
    assert!(said.contains("warning: --private-infrastructure changes nothing"), "{said}");
    let output = waxseal(home.path(), &["verify-blob", "--bundle", "b", "--ca-roots", "r", "--key", "k", "f"]);
    assert_refused(&output, 2, "usage");
    assert!(stderr(&output).contains("--trusted-root"));
}

#[test]
fn every_shell_gets_a_script_and_man_gets_pages() {
    let home = tempfile::tempdir().expect("directory");
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output = waxseal(home.path(), &["completion", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("verify-blob"), "{shell}");
    }
    assert_refused(&waxseal(home.path(), &["completion", "tcsh"]), 2, "usage");
    let pages = home.path().join("man");
    assert!(waxseal(home.path(), &["man", "--dir", &pages.display().to_string()]).status.success());
    let page = std::fs::read_to_string(pages.join("waxseal-sign-blob.1")).expect("page");
    assert!(page.contains("\\-\\-bundle"));
}

#[test]
fn the_version_is_told_under_cosigns_names_too() {
    let home = tempfile::tempdir().expect("directory");
    for arguments in [&["version", "--json"] as &[&str], &["version", "--output", "json"]] {
        let output = waxseal(home.path(), arguments);
        let version: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(version["gitVersion"], format!("v{}", version["version"].as_str().expect("text")));
        assert!(version["platform"].as_str().is_some_and(|platform| platform.contains('/')));
    }
}

#[test]
fn what_is_attested_is_checked_before_anybody_is_asked() {
    let home = tempfile::tempdir().expect("directory");
    let path = |name: &str| home.path().join(name).display().to_string();
    std::fs::write(path("file"), "file").expect("written");
    std::fs::write(path("p.json"), "{}").expect("written");
    std::fs::write(path("broken"), "{").expect("written");
    let other = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"H"}}],"predicateType":"p"}"#;
    std::fs::write(path("s.json"), other.replace('H', &"0".repeat(64))).expect("written");
    let (file, predicate, statement, bundle) = (path("file"), path("p.json"), path("s.json"), path("b.json"));
    let attest =
        |arguments: &[&str]| waxseal(home.path(), &[&["attest-blob", "--bundle", &bundle, "-y"], arguments].concat());
    assert_refused(&attest(&[&file]), 2, "usage");
    assert_refused(&attest(&["--predicate", &predicate]), 2, "usage");
    assert_refused(&attest(&["--predicate", &predicate, "--statement", &statement, &file]), 2, "usage");
    assert_refused(&attest(&["--predicate", &predicate, "--hash", "00", &file]), 2, "usage");
    assert_refused(&attest(&["--predicate", &path("broken"), "--type", "spdx", &file]), 1, "input.malformed");
    assert_refused(&attest(&["--statement", &predicate]), 1, "signature.envelope");
    assert_refused(&attest(&["--statement", &statement, &file]), 1, "statement.subject");
    // All is well but for who signs.
    assert_refused(&attest(&["--predicate", &predicate, &file]), 2, "usage");
    assert!(!home.path().join("b.json").exists());
}

/// As GitLab's documentation and many scripts have it.
#[test]
fn trust_files_are_made_of_keys_chains_and_services() {
    let home = tempfile::tempdir().expect("directory");
    let out = home.path().join("config.json").display().to_string();
    let service = "url=https://log.example,api-version=2,operator=corp,start-time=2026-01-01T00:00:00Z";
    let arguments = ["signing-config", "create", "--rekor", service, "--rekor-config=ANY", "--out", &out];
    assert!(waxseal(home.path(), &arguments).status.success());
    let config: Value = serde_json::from_slice(&std::fs::read(&out).expect("file")).expect("JSON");
    assert_eq!(config["rekorTlogUrls"][0]["url"], "https://log.example");
    assert_eq!(config["rekorTlogConfig"]["selector"], "ANY");
    let output = waxseal(home.path(), &["trusted-root", "create", "--with-default-services"]);
    let root: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(root["mediaType"], "application/vnd.dev.sigstore.trustedroot+json;version=0.1");
    assert_refused(&waxseal(home.path(), &["trusted-root", "create", "--rekor", "url=https://a"]), 2, "usage");
    let missing = "url=https://a.example,public-key=/nowhere";
    assert_refused(&waxseal(home.path(), &["trusted-root", "create", "--ctfe", missing]), 1, "input.unreadable");
}
