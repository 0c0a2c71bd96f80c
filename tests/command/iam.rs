//! `waxseal iam test` and `waxseal rules check`.

use super::{assert_refused, command, waxseal};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use waxseal_formats::crypto::KeyKind;
use waxseal_formats::jwt::{assemble, signing_input};
use waxseal_io::signer::{KeyPair, Signer as _};
use waxseal_io::system;

const RULES: &str = "rules:
  - name: staff
    issuer: https://idp.example
    match: {email: '*@corp.example', groups: release}
    when: claims.level > 2
    artifacts: {images: [ghcr.io/acme/app]}
    limits: {certificates_per_minute: 60}
";

fn token(email: &str, level: i64) -> String {
    let now = system::now().as_second();
    let claims = json!({
        "iss": "https://idp.example", "sub": "1001", "aud": "sigstore", "iat": now, "exp": now + 600, "email": email,
        "email_verified": true, "groups": ["dev", "release"], "level": level,
    });
    let key = KeyPair::generate(KeyKind::Ed25519).expect("a key");
    let input = signing_input("EdDSA", "k1", claims.as_object().expect("an object"));
    assemble(&input, &key.sign(input.as_bytes()).expect("a signature"))
}

fn ask(home: &Path, token: &str, more: &[&str]) -> Output {
    let rules = home.join("rules.yaml");
    std::fs::write(&rules, RULES).expect("written");
    let rules = rules.to_string_lossy().into_owned();
    let arguments = [&["iam", "test", "--token", "-", "--rules", &rules], more].concat();
    let mut child = command(home, &arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("waxseal runs");
    child.stdin.take().expect("stdin").write_all(token.as_bytes()).expect("written");
    child.wait_with_output().expect("waxseal ends")
}

#[test]
fn an_admission_is_explained() {
    let home = tempfile::tempdir().expect("a folder");
    let output = ask(home.path(), &token("alice@corp.example", 3), &["--unverified", "--output", "json"]);
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&answer["decision"], &answer["rule"]), (&json!("admitted"), &json!("staff")));
    assert_eq!(answer["subjectAlternativeName"], json!({"type": "email", "value": "alice@corp.example"}));
    assert_eq!(answer["signature"], "not checked");
    let matched = json!([{"claim": "email", "value": "alice@corp.example"}, {"claim": "groups", "value": "release"}]);
    assert_eq!(answer["matched"], matched);
    assert_eq!(
        (&answer["artifacts"]["images"], &answer["certificatesPerMinute"]),
        (&json!(["ghcr.io/acme/app"]), &json!(60))
    );
}

#[test]
fn a_denial_names_what_was_expected_and_found() {
    let home = tempfile::tempdir().expect("a folder");
    let output = ask(home.path(), &token("alice@evil.example", 1), &["--unverified", "--output", "json"]);
    assert_refused(&output, 1, "rule.denied");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let reasons = &answer["nearest"][0]["reasons"];
    let claim =
        json!({"kind": "claim", "claim": "email", "actual": "alice@evil.example", "expected": ["*@corp.example"]});
    assert_eq!(reasons[0], claim);
    assert_eq!((&reasons[1]["kind"], &reasons[1]["error"]), (&json!("when"), &Value::Null));
    let output = ask(home.path(), &token("alice@evil.example", 1), &["--unverified"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("email: expected *@corp.example, found \"alice@evil.example\""), "{words}");
}

#[test]
fn a_token_is_verified_unless_it_shall_be_believed() {
    let home = tempfile::tempdir().expect("a folder");
    let token = token("alice@corp.example", 3);
    // A key set with a key that did not sign.
    let keys = home.path().join("keys.json");
    std::fs::write(
        &keys,
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    )
    .expect("written");
    let keys = keys.to_string_lossy().into_owned();
    assert_refused(&ask(home.path(), &token, &["--keys", &keys]), 1, "token.signature");
    assert_refused(&ask(home.path(), "not a token", &["--unverified"]), 1, "token.malformed");
    assert_refused(&ask(home.path(), &token, &["--unverified", "--at", "2099-01-01T00:00:00Z"]), 1, "token.expired");
    assert_refused(&ask(home.path(), &token, &["--unverified", "--keys", &keys]), 2, "usage");
}

#[test]
fn rules_are_linted_and_only_errors_fail() {
    let home = tempfile::tempdir().expect("a folder");
    let check = |text: &str| {
        let file = home.path().join("rules.yaml");
        std::fs::write(&file, text).expect("written");
        waxseal(home.path(), &["rules", "check", &file.to_string_lossy(), "--output", "json"])
    };
    let kinds = |output: &Output| {
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = answer["findings"].as_array().expect("findings").clone();
        findings.iter().map(|finding| finding["kind"].as_str().expect("a kind").to_owned()).collect::<Vec<_>>()
    };
    let good = check(RULES);
    assert!(good.status.success() && kinds(&good).is_empty(), "{good:?}");
    let github = "issuer: https://token.actions.githubusercontent.com";
    let warned = check(&format!("rules: [{{name: a, {github}, match: {{repository: acme/app}}}}]"));
    assert!(warned.status.success(), "{warned:?}");
    assert_eq!(kinds(&warned), ["mutable"]);
    let strangers = check(&format!("rules: [{{name: a, {github}, match: {{sub: '**'}}}}]"));
    assert_refused(&strangers, 1, "policy.strangers");
    assert_eq!(kinds(&strangers), ["everyone", "everything"]);
    assert_refused(&check("rules: [{name: a}]"), 1, "policy.malformed");
    assert_refused(
        &check("rules: [{name: a, issuer: https://a.example, match: {sub: x}, when: 'sub == 1'}]"),
        1,
        "policy.malformed",
    );
}
