//! What a certificate calls the holder of a token, by the type of its issuer.

use super::*;

#[test]
fn a_person_may_be_named_by_another_claim_than_email() {
    let rules =
        described(&entry("type: email, claims: {email: /org/upn}, email_verified: {not_required_for: [corp.example]}"));
    let grant =
        decide(&rules, json!({"org": {"upn": "alice@corp.example"}, "email": "ceo@corp.example"})).expect("a grant");
    assert_eq!(grant.subject_alt_name(), &SubjectAltName::Email("alice@corp.example".to_owned()));
    // A client knows nothing of the mapping: without a verified `email` of its own it signs `sub`.
    assert_eq!(grant.challenge_names(), ["alice@corp.example", "alice"]);
    // Row 15 of the classes, nOAuth: what somebody typed in as `email` is no identity.
    assert_eq!(refused(&rules, json!({"email": "ceo@corp.example", "email_verified": true})), "email");
    // And what is said about it says nothing about the other.
    let stranger = json!({"org": {"upn": "x@evil.example"}, "email": "ceo@corp.example", "email_verified": true});
    assert_eq!(refused(&rules, stranger), "email_verified");
    let denied = json!({"org": {"upn": "alice@corp.example"}, "email_verified": false});
    assert_eq!(refused(&rules, denied), "email_verified");
}

#[test]
fn the_issuer_extension_may_come_from_a_claim() {
    let rules =
        described(&entry("type: email, issuer_claim: /federated_claims/connector_id, subject_extension: false"));
    let person = |connector: Value| json!({"email": "alice@corp.example", "email_verified": true, "federated_claims": {"connector_id": connector}});
    let grant = decide(&rules, person(json!("https://github.com/login/oauth"))).expect("a grant");
    let extensions: Vec<_> = grant.extensions().iter().map(|(oid, text)| (oid.number(), text)).collect();
    let connector = "https://github.com/login/oauth";
    assert_eq!(extensions, [(1, connector), (8, connector)], "and no token subject (24)");
    for bad in [json!(null), json!(""), json!(["x"]), json!("a\nb")] {
        assert_eq!(refused(&rules, person(bad)), "/federated_claims/connector_id");
    }
}

#[test]
fn a_user_name_is_sub_and_the_issuers_domain() {
    let rules = described(&entry("type: username, subject_domain: corp.example"));
    let grant = decide(&rules, json!({"sub": "Alice B."})).expect("a grant");
    assert_eq!(grant.subject_alt_name(), &SubjectAltName::Username("Alice B.!corp.example".to_owned()));
    assert_eq!(grant.challenge_names(), ["Alice B."]);
    for subject in ["a!b", "alice@corp.example", "älice@x", "a\nb", &"x".repeat(3000)] {
        assert_eq!(refused(&rules, json!({"sub": subject})), "sub", "{subject}");
    }
}

/// Row 12 of the classes: nothing that only begins like the domain, and nothing that a parser would put right.
#[test]
fn a_uri_is_below_the_issuers_domain() {
    let rules = described(&entry("type: uri, subject_domain: 'https://users.corp.example'"));
    for subject in
        ["https://users.corp.example/alice", "https://users.corp.example", "https://users.corp.example/a?b#c"]
    {
        let grant = decide(&rules, json!({"sub": subject})).expect("a grant");
        assert_eq!(grant.subject_alt_name(), &SubjectAltName::Uri(subject.to_owned()));
        assert_eq!(grant.challenge_names(), [subject]);
    }
    for subject in [
        "https://users.corp.example.evil/alice",
        "https://users.corp.example@evil.example/alice",
        "https://users.corp.example:443/alice",
        "https://alice@users.corp.example/",
        "http://users.corp.example/alice",
        "https:users.corp.example/alice",
        "https:\\\\users.corp.example/alice",
        "HTTPS://users.corp.example/alice",
        "https://users.corp.example/a b",
        "https://users.corp.example/\u{430}",
        "https://corp.example/alice",
        "alice@corp.example",
        "evil?https://users.corp.example/alice",
    ] {
        assert_eq!(refused(&rules, json!({"sub": subject})), "sub", "{subject}");
    }
}

#[test]
fn a_spiffe_id_is_of_the_issuers_trust_domain() {
    let rules = described(&entry("type: spiffe, spiffe_trust_domain: corp.example"));
    let grant = decide(&rules, json!({"sub": "spiffe://corp.example/ns/prod/sa/Build_1.0"})).expect("a grant");
    assert_eq!(grant.subject_alt_name().as_str(), "spiffe://corp.example/ns/prod/sa/Build_1.0");
    for subject in [
        "spiffe://corp.example",
        "spiffe://corp.example/",
        "spiffe://corp.example.evil/x",
        "spiffe://evil.example/x",
        "spiffe://corp.example//x",
        "spiffe://corp.example/x/",
        "spiffe://corp.example/x/../y",
        "spiffe://corp.example/./y",
        "spiffe://corp.example/x?y",
        "spiffe://corp.example/x%2fy",
        "spiffe://CORP.example/x",
        "SPIFFE://corp.example/x",
        "https://corp.example/x",
        &format!("spiffe://corp.example/{}", "x".repeat(3000)),
    ] {
        assert_eq!(refused(&rules, json!({"sub": subject})), "sub", "{subject}");
    }
}

#[test]
fn a_service_account_is_named_by_its_namespace_and_name() {
    let rules = described(&entry("type: kubernetes"));
    let account = |namespace: Value, name: Value| {
        let inner = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": "1"}, "pod": {"name": "p"}});
        json!({"sub": "system:serviceaccount:ci:builder", "kubernetes.io": inner})
    };
    let grant = decide(&rules, account(json!("ci"), json!("builder"))).expect("a grant");
    let name = "https://kubernetes.io/namespaces/ci/serviceaccounts/builder";
    assert_eq!(grant.subject_alt_name(), &SubjectAltName::Uri(name.to_owned()));
    assert_eq!(grant.challenge_names(), ["system:serviceaccount:ci:builder"]);
    let (namespace, name) = ("/kubernetes.io/namespace", "/kubernetes.io/serviceaccount/name");
    for bad in [json!(""), json!(null), json!("a/b"), json!("../x"), json!(".."), json!("A"), json!("a?"), json!(["a"])]
    {
        assert_eq!(refused(&rules, account(bad.clone(), json!("builder"))), namespace, "{bad}");
        assert_eq!(refused(&rules, account(json!("ci"), bad.clone())), name, "{bad}");
    }
    assert_eq!(refused(&rules, json!({})), namespace);
}

#[test]
fn an_identity_of_chainguard_is_a_path_below_its_issuer() {
    let rules = described(&entry("type: chainguard-identity"));
    let grant = decide(&rules, json!({"sub": "org/group/id"})).expect("a grant");
    assert_eq!(grant.subject_alt_name(), &SubjectAltName::Uri(format!("{IDP}/org/group/id")));
    assert_eq!(grant.challenge_names(), ["org/group/id"]);
    let person = json!({"sub": "org/id", "email": "alice@corp.example", "email_verified": true});
    assert_eq!(decide(&rules, person).expect("a grant").challenge_names(), ["alice@corp.example"]);
    for subject in ["/x", "a/../../x", "..", ".", "a//b", "a/", "a b", "\u{430}"] {
        assert_eq!(refused(&rules, json!({"sub": subject})), "sub", "{subject}");
    }
}

#[test]
fn a_ci_provider_may_be_described_in_the_file() {
    let text = "providers:
  - name: forge
    instances: [{issuer: '{base}/oidc', url: '{base}'}]
    required: [project]
    subject_alternative_name: '{url}/{project}'
    extensions: {build-trigger: '{/event/name}'}
issuers: [{issuer: 'https://forge.corp.example/oidc', type: ci-provider, provider: forge}]
rules: [{name: all, issuer: 'https://forge.corp.example/oidc', match: {sub: '**'}}]
";
    let rules = read(text).expect("rules");
    let claims =
        claims(&rules, "https://forge.corp.example/oidc", json!({"project": "acme/x", "event": {"name": "push"}}));
    let grant = rules.decide(&claims.expect("claims")).expect("a grant");
    assert_eq!(grant.subject_alt_name().as_str(), "https://forge.corp.example/acme/x");
    assert_eq!(grant.extensions().get(FulcioOid::BuildTrigger), Some("push"));
    let configuration = serde_json::to_value(rules.configuration()).expect("JSON");
    assert_eq!(configuration[1]["issuerType"], "ci-provider");
    for name in ["github-workflow", "''"] {
        let error = read(&text.replace("name: forge", &format!("name: {name}"))).expect_err("refused");
        assert!(matches!(error, RulesError::Provider(_)), "{error}");
    }
    assert!(reason(&text.replace("provider: forge", "provider: anvil")).contains("forge"), "it says which there are");
    let elsewhere = text.replace("'https://forge.corp.example/oidc', type", "'https://forge.corp.example/x', type");
    assert!(reason(&elsewhere).contains("url:"));
}

/// Fulcio issue 2445: certificates of a GitLab of one's own named gitlab.com.
#[test]
fn an_instance_of_ones_own_is_never_taken_for_the_public_one() {
    let web = |entry: &str| match described(entry).accepted(IDP).map(|accepted| accepted.kind().clone()) {
        Some(IssuerType::Ci { url, .. }) => url,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(web(&entry("type: gitlab-pipeline")), IDP);
    assert_eq!(web(&entry("preset: gitlab")), IDP);
    assert_eq!(
        web(&entry("type: ci-provider, provider: github-workflow, url: 'https://x.example'")),
        "https://x.example"
    );
    for kind in
        ["type: github-workflow", "preset: github", "type: buildkite-job", "type: ci-provider, provider: circleci-job"]
    {
        assert!(reason(&text(&entry(kind))).contains("`url:`"), "{kind}");
    }
}
