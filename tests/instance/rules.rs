//! Who gets a certificate is what the rules file says, and a faulty one admits nobody.

use super::refusals::{SIGNING, assert_gateway};
use super::{ALICE, Home, Up, assert_refused, certificate_request, certificates, p256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

const RULES: &str = "rules:
  - name: releases
    issuer: ORIGIN/idp/github
    match:
      repository: acme/widgets
      ref: refs/tags/v*
";

/// The rules decide: one workflow is admitted and nobody else.
#[tokio::test]
async fn a_rules_file_admits_one_workflow_only() {
    let home = Home::new();
    // The rules name the issuer by its URL, so the address is chosen first.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("address").to_string();
    drop(listener);
    let rules = home.write("rules.yaml", RULES.replace("ORIGIN", &format!("http://{address}")));
    let up = Up::start_with(&home, &address, &["--rules", &rules]);
    let workflow = |identity: &str| up.token(&home, &["--issuer", "github", "--identity", identity]);
    let request = async |token: String| {
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims")).expect("base64");
        let claims: Value = serde_json::from_slice(&claims).expect("JSON");
        let request = certificate_request(&p256(), claims["sub"].as_str().expect("text"), &token);
        up.post(SIGNING, request.to_string()).await
    };
    let admitted = request(workflow("repo:acme/widgets:ref:refs/tags/v1")).await;
    let name = certificates(&admitted)[0].subject_alt_name().expect("a name").as_str().to_owned();
    assert_eq!(name, "https://github.com/acme/widgets/.github/workflows/release.yml@refs/tags/v1");
    let size = up.size_reaching("/ctlog", 1).await;
    for (what, token) in [
        ("another branch", workflow("repo:acme/widgets:ref:refs/heads/main")),
        ("another repository", workflow("repo:acme/gadgets:ref:refs/tags/v1")),
        ("one that ends alike", workflow("repo:evil-acme/widgets:ref:refs/tags/v1")),
        ("one that starts alike", workflow("repo:acme/widgets-evil:ref:refs/tags/v1")),
        ("a tag below", workflow("repo:acme/widgets:ref:refs/tags/v1/evil")),
        ("a pull request", workflow("repo:acme/widgets:pull_request")),
        ("a person", up.token(&home, &["--identity", ALICE])),
    ] {
        assert_gateway(&request(token).await, (400, 3), "rule.denied", what);
    }
    assert_eq!(request(workflow("repo:acme/widgets:ref:refs/tags/v2")).await.status, 200);
    assert_eq!(up.size_reaching("/ctlog", size + 1).await, size + 1);
}

#[test]
fn a_faulty_rules_file_admits_nobody() {
    for (text, position) in [
        ("rules:\n  - name: a\n    issuer: https://i\n    matches: {sub: x}\n", Some("line 4, column 5")),
        ("rules:\n  - name: a\n    name: b\n    issuer: https://i\n    match: {sub: x}\n", Some("line 3")),
        ("rules: [\n", Some("line ")),
        ("rules:\n  - name: a\n    issuer: https://i\n    match: {}\n", None),
        ("", Some("line ")),
    ] {
        let home = Home::new();
        let rules = home.write("rules.yaml", text);
        let Err(output) = Up::try_start(&home, "127.0.0.1:0", &["--rules", &rules]) else { panic!("taken: {text}") };
        assert_refused(&output, 1, "policy.malformed");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("rules.yaml: "), "{error}");
        assert!(position.is_none_or(|position| error.contains(position)), "{error}");
        assert!(
            !std::path::Path::new(&home.text("instance")).exists(),
            "a faulty rules file left a data directory behind"
        );
    }
    let home = Home::new();
    for path in [home.text("missing.yaml"), home.text("")] {
        let Err(output) = Up::try_start(&home, "127.0.0.1:0", &["--rules", &path]) else { panic!("taken: {path}") };
        assert_refused(&output, 1, "input.unreadable");
    }
}
