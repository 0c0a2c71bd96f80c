//! Issuers of several types at a running instance, with keys that stand beside the rules; one that is broken stops nobody else.

use super::refusals::{SIGNING, assert_gateway};
use super::{Home, Up, certificate_request, certificates, object, p256};
use serde_json::{Value, json};
use waxseal_formats::crypto::KeyKind;
use waxseal_formats::jwt::{self, Jwk, JwkMaterial, JwkSet};
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_io::system;

const RULES: &str = "
issuers:
  - {preset: gitlab, issuer: 'https://git.corp.example', jwks_file: keys.json}
  - {preset: kubernetes, issuer: 'https://kubernetes.default.svc', aliases: ['https://kubernetes.default.svc.cluster.local'], jwks_file: keys.json, audience: [cluster, sigstore]}
  - {issuer: 'https://spire.corp.example', type: spiffe, spiffe_trust_domain: corp.example, jwks_file: keys.json}
  - {issuer: 'https://names.corp.example', type: username, subject_domain: corp.example, jwks_file: keys.json}
  - {issuer: 'https://users.corp.example', type: uri, subject_domain: 'https://corp.example', jwks_file: keys.json}
  - {issuer: 'https://broken.corp.example', type: email, jwks_file: missing.json}
  - {preset: eks}
rules:
  - {name: gitlab, issuer: 'https://git.corp.example', match: {project_path: acme/*}}
  - {name: cluster, issuer: 'https://kubernetes.default.svc', match: {sub: 'system:serviceaccount:ci:*'}}
  - {name: spire, issuer: 'https://spire.corp.example', match: {sub: 'spiffe://corp.example/**'}}
  - {name: names, issuer: 'https://names.corp.example', match: {sub: '**'}}
  - {name: users, issuer: 'https://users.corp.example', match: {sub: '**'}}
  - {name: broken, issuer: 'https://broken.corp.example', match: {sub: '**'}}
";

fn pipeline() -> Value {
    let sample: Value =
        serde_json::from_str(include_str!("../../crates/authority/testdata/provider/gitlab-pipeline.json"))
            .expect("JSON");
    let mut claims = sample["claims"].clone();
    claims["ci_config_ref_uri"] = json!("git.corp.example/acme/widgets//.gitlab-ci.yml@refs/heads/main");
    claims
}

#[tokio::test]
async fn every_type_of_issuer_names_its_holders_and_a_broken_one_stops_nobody() {
    let home = Home::new();
    let idp = KeyPair::generate(KeyKind::Ed25519).expect("a key");
    let material = JwkMaterial::of(idp.public_key()).expect("a key");
    let keys = JwkSet::new(vec![Jwk { key_id: Some("k".to_owned()), algorithm: None, material }]);
    home.write("keys.json", keys.to_json().to_string());
    let rules = home.write("rules.yaml", RULES);
    let up = Up::start_with(&home, "127.0.0.1:0", &["--rules", &rules]);
    let request = async |issuer: &str, more: Value| {
        let now = system::now().as_second();
        let mut claims = object(json!({"iss": issuer, "aud": "sigstore", "sub": "alice", "exp": now + 600}));
        claims.extend(object(more));
        let input = jwt::signing_input("EdDSA", "k", &claims);
        let token = jwt::assemble(&input, &idp.sign(input.as_bytes()).expect("a signature"));
        let subject = claims["sub"].as_str().expect("text").to_owned();
        up.post(SIGNING, certificate_request(&p256(), &subject, &token).to_string()).await
    };
    let account = json!({"sub": "system:serviceaccount:ci:builder", "aud": ["cluster"],
        "kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "builder"}}});
    let cluster = "https://kubernetes.io/namespaces/ci/serviceaccounts/builder";
    for (issuer, claims, name, called) in [
        (
            "https://git.corp.example",
            pipeline(),
            "https://git.corp.example/acme/widgets//.gitlab-ci.yml@refs/heads/main",
            "https://git.corp.example",
        ),
        ("https://kubernetes.default.svc", account.clone(), cluster, "https://kubernetes.default.svc"),
        ("https://kubernetes.default.svc.cluster.local", account, cluster, "https://kubernetes.default.svc"),
        (
            "https://spire.corp.example",
            json!({"sub": "spiffe://corp.example/build"}),
            "spiffe://corp.example/build",
            "https://spire.corp.example",
        ),
        ("https://names.corp.example", json!({}), "alice!corp.example", "https://names.corp.example"),
        (
            "https://users.corp.example",
            json!({"sub": "https://corp.example/alice"}),
            "https://corp.example/alice",
            "https://users.corp.example",
        ),
    ] {
        let answer = request(issuer, claims).await;
        assert_eq!(answer.status, 200, "{issuer}: {}", answer.text());
        let certificate = &certificates(&answer)[0];
        assert_eq!(certificate.subject_alt_name().expect("a name").as_str(), name);
        assert_eq!(certificate.extensions().issuer(), Some(called));
    }
    for (issuer, claims, code) in [
        ("https://broken.corp.example", json!({}), "token.issuer"),
        ("https://other.corp.example", json!({}), "token.issuer"),
        ("https://git.corp.example/", pipeline(), "token.issuer"),
        ("https://kubernetes.default.svc", json!({"aud": "other"}), "token.audience"),
        ("https://kubernetes.default.svc", json!({}), "token.claim"),
        ("https://spire.corp.example", json!({"sub": "spiffe://evil.example/build"}), "token.claim"),
        ("https://names.corp.example", json!({"sub": "alice!evil.example"}), "token.claim"),
        ("https://users.corp.example", json!({"sub": "https://corp.example.evil/alice"}), "token.claim"),
        ("http://localhost?https://oidc.eks.eu-west-1.amazonaws.com/id/A", json!({}), "token.issuer"),
    ] {
        assert_gateway(&request(issuer, claims).await, (400, 3), code, issuer);
    }
    let configuration = up.get("/api/v2/configuration").await.json();
    let issuers = configuration["issuers"].as_array().expect("a list");
    let of = |key: &str, url: &str| issuers.iter().find(|one| one[key] == url).cloned().expect("an issuer");
    let spire = of("issuerUrl", "https://spire.corp.example");
    assert_eq!((&spire["issuerType"], &spire["spiffeTrustDomain"]), (&json!("spiffe"), &json!("corp.example")));
    let eks = of("wildcardIssuerUrl", "https://oidc.eks.*.amazonaws.com/id/*");
    assert_eq!((&eks["issuerType"], &eks["challengeClaim"]), (&json!("kubernetes"), &json!("sub")));
}
