//! Issuers by pattern and by alias.

use super::*;

#[test]
fn an_alias_is_the_same_issuer_everywhere() {
    let rules =
        described(&entry("type: kubernetes, aliases: ['https://kubernetes.default.svc', kubernetes/serviceaccount]"));
    let account = json!({"kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "builder"}}});
    for iss in [IDP, "https://kubernetes.default.svc", "kubernetes/serviceaccount"] {
        let claims = claims(&rules, iss, account.clone()).expect("claims");
        let grant = rules.decide(&claims).expect("a grant");
        assert_eq!((grant.issuer(), grant.extensions().issuer()), (IDP, Some(IDP)), "{iss}");
    }
    assert_eq!(claims(&rules, "https://kubernetes.default.svc/", account), Err(Code::TOKEN_ISSUER));
    let alias = "https://other.example";
    let with = |more: &str| read(&format!("issuers: [{{issuer: '{IDP}', type: email, aliases: ['{alias}']}}{more}\n"));
    assert!(with("]\nrules: []").is_ok());
    assert!(matches!(
        with(&format!(", {{issuer: '{alias}', type: email}}]\nrules: []")),
        Err(RulesError::Twice { what: "issuer", .. })
    ));
    let named = with(&format!("]\nrules: [{{name: a, issuer: '{alias}', match: {{sub: x}}}}]")).expect_err("refused");
    assert!(named.to_string().contains(IDP), "it says what to write: {named}");
    assert!(read(&text(&entry("type: email, aliases: ['']"))).is_err());
    assert!(read(&text(&entry("type: email, aliases: ['http://127.0.0.1:7480/idp']"))).is_err());
}

/// GHSA-59jp-pj84-45mr, row 12 of the classes: patterns of issuers are anchored, and `*` stays in its label.
#[test]
fn issuers_of_a_pattern_are_accepted_and_nobody_else() {
    let rules = described(CLUSTERS);
    let cluster = "https://oidc.eks.us-west-2.amazonaws.com/id/B02C93B6";
    let accepted = rules.accepted(cluster).expect("accepted");
    assert_eq!((accepted.issuer().url(), accepted.kind()), (cluster, &IssuerType::Kubernetes));
    assert_eq!(accepted.issuer().audiences(), ["sigstore"]);
    for issuer in [
        "http://localhost:3000?https://oidc.eks.us-west-2.amazonaws.com/id/B02C93B6",
        "https://evil.example/?https://oidc.eks.us-west-2.amazonaws.com/id/B02C93B6",
        "https://oidc.eks.us-west-2.amazonaws.com/id/B02C93B6/",
        "https://oidc.eks.us-west-2.amazonaws.com/id/B02C93B6/evil",
        "https://oidc.eks.us-west-2.amazonaws.com/id/B02C?x",
        "https://oidc.eks.us-west-2.amazonaws.com.evil.example/id/x",
        "https://oidc.eks.evil.example/.amazonaws.com/id/x",
        "https://oidc.eks.us-west-2.amazonaws.com/id/x\n",
        "https://oidc.eks.*.amazonaws.com/id/*",
    ] {
        assert!(rules.accepted(issuer).is_none(), "{issuer:?}");
        assert_eq!(claims(&rules, issuer, json!({})), Err(Code::TOKEN_ISSUER), "{issuer:?}");
    }
    // Accepted is not admitted: that takes a rule.
    let account = json!({"kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "builder"}}});
    let claims = claims(&rules, cluster, account).expect("claims");
    assert_eq!(rules.decide(&claims).expect_err("no rule").code(), Code::RULE_DENIED);
}

#[test]
fn an_issuer_by_its_url_goes_before_a_pattern() {
    let cluster = "https://oidc.eks.us-west-2.amazonaws.com/id/B02C";
    let rules = read(&format!(
        "issuers:
  - {{{CLUSTERS}, audience: clusters, ca_file: ca.pem}}
  - {{issuer: '{cluster}', type: email, audience: one, aliases: ['https://oidc.eks.x.amazonaws.com/id/alias']}}
rules:
  - {{name: a, issuer: '{cluster}', match: {{sub: x}}}}
  - {{name: b, issuer: 'https://oidc.eks.us-west-2.amazonaws.com/id/OTHER', match: {{sub: x}}}}
  - {{name: c, issuer: 'https://oidc.eks.us-west-2.amazonaws.com/id/THIRD', audience: mine, match: {{sub: x}}}}
"
    ))
    .expect("rules");
    let seen = |url: &str| {
        let accepted = rules.accepted(url).expect("accepted");
        (accepted.issuer().url().to_owned(), accepted.kind().name().to_owned(), accepted.issuer().audiences().join(" "))
    };
    let is = |url: &str, kind: &str, audience: &str| (url.to_owned(), kind.to_owned(), audience.to_owned());
    assert_eq!(seen(cluster), is(cluster, "email", "one"));
    assert_eq!(seen("https://oidc.eks.x.amazonaws.com/id/alias"), is(cluster, "email", "one"));
    for (id, audience) in [("OTHER", "clusters"), ("THIRD", "mine"), ("unnamed", "clusters")] {
        let url = format!("https://oidc.eks.us-west-2.amazonaws.com/id/{id}");
        assert_eq!(seen(&url), is(&url, "kubernetes", audience));
        let keys = KeySource::Discovery { ca: Some(CaSource::File("ca.pem".into())), token_file: None };
        assert_eq!(rules.accepted(&url).expect("accepted").keys(), &keys);
    }
}

#[test]
fn every_issuer_of_a_pattern_of_ci_instances_has_its_own_web_address() {
    let rules = described("issuer_pattern: 'https://git-*.corp.example', type: gitlab-pipeline");
    let accepted = rules.accepted("https://git-eu.corp.example").expect("accepted");
    assert!(matches!(accepted.kind(), IssuerType::Ci { url, .. } if url == "https://git-eu.corp.example"));
    let fixed =
        described("issuer_pattern: 'https://ci-*.corp.example', type: buildkite-job, url: 'https://bk.example'");
    let accepted = fixed.accepted("https://ci-1.corp.example").expect("accepted");
    assert!(matches!(accepted.kind(), IssuerType::Ci { url, .. } if url == "https://bk.example"));
    assert!(reason(&text("issuer_pattern: 'https://ci-*.corp.example', type: buildkite-job")).contains("`url:`"));
}

#[test]
fn patterns_name_the_domain_of_their_issuers() {
    for pattern in [
        "http://oidc.*.corp.example",
        "https://*",
        "https://*.example",
        "https://*.example:8443/x",
        "https://corp.example*",
        "https://corp.*",
        "https://x.corp.example:*",
        "https://**.corp.example",
        "https://*.corp.example?x=*",
        "https://u@*.corp.example",
        "https://10.0.0.*",
        "https://*.corp..example",
        "*",
        "",
    ] {
        let why = reason(&text(&format!("issuer_pattern: '{pattern}', type: email")));
        assert!(!why.is_empty(), "{pattern}");
    }
    for more in [
        "type: spiffe, spiffe_trust_domain: corp.example",
        "type: kubernetes, token_file: /token",
        "type: kubernetes, jwks_file: /keys",
        "type: kubernetes, jwks: '{}'",
        "type: email, aliases: [x]",
        "type: email, issuer: 'https://a.example'",
    ] {
        assert!(!reason(&text(&format!("issuer_pattern: 'https://*.corp.example', {more}"))).is_empty(), "{more}");
    }
    assert!(reason(&text("issuer_pattern: [], type: email")).contains("between 1"));
    assert!(read(&text("issuer_pattern: ['https://*.a.corp.example', 'https://b.corp.example'], type: email")).is_ok());
}
