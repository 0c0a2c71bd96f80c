//! What an entry says, and what it may not say.

use super::*;

#[test]
fn issuers_get_their_type_from_the_file_from_their_url_or_are_of_people() {
    let rules = read(
        "issuers:
  - {issuer: https://github.corp.example/_services/token, type: github-workflow}
  - {issuer: https://git.corp.example, type: gitlab-pipeline, audience: [a, b]}
  - {issuer: https://quiet.example, type: email}
rules:
  - {name: a, issuer: https://token.actions.githubusercontent.com, match: {repository: acme/*}}
  - {name: b, issuer: https://idp.example, audience: other, match: {sub: x}}
  - {name: c, issuer: https://idp.example, match: {sub: x}}
  - {name: d, issuer: https://oidc.eks.eu-west-1.amazonaws.com/id/AB, match: {sub: x}}
  - {name: e, issuer: https://gitlab.com, audience: other, match: {sub: x}}
",
    )
    .expect("rules");
    for (url, kind, audiences) in [
        ("https://github.corp.example/_services/token", "github-workflow", "sigstore"),
        ("https://token.actions.githubusercontent.com", "github-workflow", "sigstore"),
        ("https://git.corp.example", "gitlab-pipeline", "a b"),
        ("https://gitlab.com", "gitlab-pipeline", "other"),
        ("https://idp.example", "email", "other sigstore"),
        ("https://quiet.example", "email", "sigstore"),
        ("http://127.0.0.1:7480/idp", "email", "sigstore"),
        ("https://oidc.eks.eu-west-1.amazonaws.com/id/AB", "kubernetes", "sigstore"),
    ] {
        let accepted = rules.accepted(url).expect(url);
        assert_eq!(
            (accepted.kind().name(), accepted.issuer().audiences().join(" ").as_str()),
            (kind, audiences),
            "{url}"
        );
    }
    assert!(rules.accepted("https://idp.example/").is_none(), "a trailing slash makes another issuer");
    assert!(rules.accepted("https://oidc.eks.eu-west-1.amazonaws.com/id/CD").is_none(), "nobody named it");
}

#[test]
fn issuers_are_urls_to_fetch_keys_from() {
    let rule = |issuer: &str| read(&format!("rules: [{{name: a, issuer: '{issuer}', match: {{sub: x}}}}]"));
    for issuer in
        ["https://a.example", "https://a.example:8443/x/", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"]
    {
        assert!(rule(issuer).is_ok(), "{issuer}");
    }
    for issuer in [
        "a.example",
        "http://a.example",
        "http://127.0.0.1.evil.example",
        "file:///etc/passwd",
        "https://a.example?x",
        "https://u:p@a.example",
        "https://a.example/#x",
        "http://169.254.169.254",
        "https://",
        "*",
    ] {
        assert!(matches!(rule(issuer), Err(RulesError::Issuer { .. })), "{issuer}");
    }
}

#[test]
fn presets_say_what_an_operator_would_have_to() {
    let rules = described("preset: kubernetes");
    let accepted = rules.accepted("https://kubernetes.default.svc.cluster.local").expect("accepted");
    assert_eq!((accepted.issuer().url(), accepted.kind()), ("https://kubernetes.default.svc", &IssuerType::Kubernetes));
    let folder = Path::new("/var/run/secrets/kubernetes.io/serviceaccount");
    let keys = KeySource::Discovery {
        ca: Some(CaSource::File(folder.join("ca.crt"))),
        token_file: Some(folder.join("token")),
    };
    assert_eq!((accepted.keys(), accepted.keys().file()), (&keys, Some(folder.join("ca.crt").as_path())));
    // The pod's token is for its own cluster: another issuer of the same preset does not get it.
    let other = described(&entry("preset: kubernetes"));
    let other = other.accepted(IDP).expect("accepted");
    assert_eq!(other.keys(), &KeySource::Discovery { ca: None, token_file: None });
    assert_eq!(other.issuer().aliases(), [""; 0]);
    let known = described("preset: kubernetes, jwks_file: keys.json");
    assert_eq!(
        known.accepted("https://kubernetes.default.svc").expect("accepted").keys(),
        &KeySource::File("keys.json".into())
    );
    // A rule that names the issuer is enough.
    let named = read("rules: [{name: a, issuer: 'https://kubernetes.default.svc', match: {sub: x}}]").expect("rules");
    let named = named.accepted("https://kubernetes.default.svc.cluster.local").expect("accepted").into_owned();
    assert_eq!(named.keys(), &keys);

    let entra = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0";
    let entra_with = |more: &str| format!("issuers: [{{preset: entra, issuer: '{entra}'{more}}}]\nrules: []");
    assert!(reason(&entra_with("")).contains("not_required_for"), "the domains are the operator's to name");
    let rules = read(&entra_with(", email_verified: {not_required_for: [corp.example]}")).expect("rules");
    assert_eq!(
        rules.accepted(entra).expect("accepted").issuer().claims().get("email").map(String::as_str),
        Some("upn")
    );
    for issuer in ["https://login.microsoftonline.com/v2.0", "https://login.microsoftonline.com/x/y/v2.0", IDP] {
        let text = format!(
            "issuers: [{{preset: entra, issuer: '{issuer}', email_verified: {{not_required_for: [corp.example]}}}}]\nrules: []"
        );
        assert!(reason(&text).contains("look like"), "{issuer}");
    }
    assert!(reason(&text("preset: okta")).contains("needs `issuer:`"));
    assert!(reason(&text("preset: gogle")).contains("google"), "it says which there are");
    assert!(reason(&text("type: email")).contains("needs `issuer`"));
    assert!(reason(&text(&entry("single_use: true"))).contains("needs `type:`"));
    // What is known by its URL needs no type.
    let known = read("issuers: [{issuer: 'https://gitlab.com', single_use: true}]\nrules: []").expect("rules");
    assert!(known.accepted("https://gitlab.com").is_some_and(|accepted| accepted.single_use()));
}

#[test]
fn keys_come_from_one_place() {
    let forge = Forge::es256();
    let set = forge.keys().to_json().to_string();
    let (_, chain) = authority(KeyKind::EcdsaP256, SubordinateKind::FulcioIntermediate);
    let ca: String = chain.iter().map(formats::x509::Certificate::to_pem).collect();
    let keys = |more: &str| described(&entry(more)).accepted(IDP).expect("accepted").keys().clone();
    assert_eq!(keys(&format!("type: email, jwks: '{set}'")), KeySource::Static(forge.keys()));
    assert_eq!(keys(&format!("type: email, jwks: {set}")), KeySource::Static(forge.keys()), "as YAML");
    let file = keys("type: email, jwks_file: keys.json");
    assert_eq!((&file, file.file()), (&KeySource::File("keys.json".into()), Some(Path::new("keys.json"))));
    assert_eq!(keys("type: email").file(), None);
    let quoted = serde_json::to_string(&ca).expect("JSON");
    assert_eq!(
        keys(&format!("type: email, ca: {quoted}, token_file: t")),
        KeySource::Discovery { ca: Some(CaSource::Inline(ca)), token_file: Some("t".into()) }
    );
    for more in [
        "jwks: '{}'",
        "jwks: '{\"keys\": []}'",
        "jwks: {keys: []}",
        "jwks: 7",
        "ca: x",
        "ca: ''",
        "ca_file: a, ca: b",
        "jwks_file: a, ca_file: b",
        "jwks_file: a, token_file: b",
        "jwks_file: a, jwks: '{}'",
    ] {
        assert!(!reason(&text(&entry(&format!("type: email, {more}")))).is_empty(), "{more}");
    }
    let own = "issuers: [{issuer: 'http://127.0.0.1:7480/idp', type: email, MORE}]\nrules: []";
    for more in ["jwks_file: a", "ca_file: a", "token_file: a"] {
        assert!(reason(&own.replace("MORE", more)).contains("very instance"), "{more}");
    }
    let rules = read(&own.replace("MORE", "single_use: true")).expect("rules");
    let own = rules.accepted("http://127.0.0.1:7480/idp").expect("accepted");
    assert_eq!((own.keys(), own.single_use()), (&KeySource::Own, true));
}

#[test]
fn keys_that_mean_nothing_to_a_type_or_make_no_sense_are_refused() {
    for more in [
        "type: uri",
        "type: uri, subject_domain: corp.example",
        "type: uri, subject_domain: 'https://corp.example/'",
        "type: uri, subject_domain: 'https://corp.example/x'",
        "type: uri, subject_domain: 'http://corp.example'",
        "type: uri, subject_domain: 'https://CORP.example'",
        "type: uri, subject_domain: 'https://other.example'",
        "type: uri, subject_domain: 'https://u@corp.example'",
        "type: username",
        "type: username, subject_domain: 'https://corp.example'",
        "type: username, subject_domain: 'corp.example:8443'",
        "type: username, subject_domain: 'corp.example/x'",
        "type: username, subject_domain: other.example",
        "type: username, subject_domain: example",
        "type: spiffe",
        "type: spiffe, spiffe_trust_domain: 'spiffe://corp.example'",
        "type: spiffe, spiffe_trust_domain: CORP.example",
        "type: spiffe, spiffe_trust_domain: ''",
        "type: email, url: 'https://x.example'",
        "type: email, provider: github-workflow",
        "type: email, subject_domain: corp.example",
        "type: email, spiffe_trust_domain: corp.example",
        "type: kubernetes, email_verified: text",
        "type: kubernetes, issuer_claim: x",
        "type: email, issuer_claim: $.federated_claims.connector_id",
        "type: email, issuer_claim: /a~2",
        "type: email, issuer_claim: ''",
        "type: email, challenge_claim: name",
        "type: email, claims: {email: upn}",
        "type: email, claims: {sub: upn}",
        "type: email, claims: {iss: upn}",
        "type: email, claims: {jti: upn}",
        "type: email, claims: {/a: upn}",
        "type: email, claims: {name: ''}",
        "type: email, email_verified: {not_required_for: []}",
        "type: email, email_verified: {not_required_for: ['*.corp.example']}",
        "type: email, email_verified: {not_required_for: ['@corp.example']}",
        "type: email, audience: ''",
        "type: email, audiences: []",
        "type: github-workflow, url: 'https://x/'",
        "type: github-workflow, url: x",
        "type: github-workflow, url: ''",
        "type: github-workflow, url: 'https://x.example', subject_domain: x.example",
        "type: github-workflow, url: 'https://x.example', provider: gitlab-pipeline",
        "type: ci-provider",
        "type: nothing",
    ] {
        assert!(!reason(&text(&entry(more))).is_empty(), "{more}");
    }
    for more in [
        "email_verified: false",
        "email_verified: {not_required: [x]}",
        "audience: {a: b}",
        "limits: {certificates_per_minute: 0}",
        "limits: {certificates_per_hour: 1}",
        "color: red",
        "single_use: maybe",
    ] {
        let error = read(&text(&entry(&format!("type: email, {more}")))).expect_err(more);
        assert!(matches!(error, RulesError::Yaml { line: 1, .. }), "{more}: {error}");
    }
    assert!(reason(&text(&entry("type: email, issuer_claim: $.a.b"))).contains("`/a/b`"), "it says what to write");
}

#[test]
fn what_is_said_of_an_issuer_reaches_its_configuration() {
    let seen = |text: &str| {
        let all = serde_json::to_value(described(text).configuration()).expect("JSON");
        all.as_array().expect("a list").iter().skip(1).cloned().collect::<Vec<_>>()
    };
    let plain = json!({"issuerUrl": IDP, "audience": "sigstore", "challengeClaim": "email", "spiffeTrustDomain": "",
        "issuerType": "email", "subjectDomain": "", "skipEmailVerification": false});
    let with = |members: Value| {
        let mut all = plain.clone();
        all.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        vec![all]
    };
    assert_eq!(seen(&entry("type: email")), with(json!({})));
    assert_eq!(
        seen(&entry("type: email, email_verified: {not_required_for: [a.example]}, challenge_claim: sub")),
        with(json!({"skipEmailVerification": true, "challengeClaim": "sub"}))
    );
    assert_eq!(
        seen(&entry("type: spiffe, spiffe_trust_domain: corp.example")),
        with(json!({"issuerType": "spiffe", "spiffeTrustDomain": "corp.example", "challengeClaim": "sub"}))
    );
    assert_eq!(
        seen(&entry("type: username, subject_domain: corp.example")),
        with(json!({"issuerType": "username", "subjectDomain": "corp.example", "challengeClaim": "sub"}))
    );
    assert_eq!(seen(&entry("preset: gitlab")), with(json!({"issuerType": "gitlab-pipeline", "challengeClaim": "sub"})));
    let audiences: Vec<_> =
        seen(&entry("type: email, audiences: [a, b]")).iter().map(|one| one["audience"].clone()).collect();
    assert_eq!(audiences, ["a", "b"]);
    let clusters = seen(&format!("{CLUSTERS}, audience: x"));
    let clusters = clusters.last().expect("a pattern");
    assert_eq!(clusters["wildcardIssuerUrl"], "https://oidc.eks.*.amazonaws.com/id/*");
    assert_eq!((clusters.get("issuerUrl"), &clusters["audience"]), (None, &json!("x")));
}

#[test]
fn single_use_limits_and_the_challenge_are_the_entrys_word() {
    let rules = described(&entry(
        "type: kubernetes, single_use: true, limits: {certificates_per_minute: 60}, challenge_claim: email",
    ));
    let accepted = rules.accepted(IDP).expect("accepted");
    assert!(accepted.single_use());
    assert_eq!(accepted.limits().certificates_per_minute.map(std::num::NonZero::get), Some(60));
    let account = |email: Value| json!({"kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "b"}}, "email": "a@b.example", "email_verified": email});
    assert_eq!(decide(&rules, account(json!(true))).expect("a grant").challenge_names(), ["a@b.example", "alice"]);
    assert_eq!(decide(&rules, account(json!(false))).expect("a grant").challenge_names(), ["alice"]);
    let plain = described(&entry("type: kubernetes"));
    let plain = plain.accepted(IDP).expect("accepted");
    assert!(!plain.single_use() && plain.limits().certificates_per_minute.is_none());
}
