//! Signing rules: which of those whom an issuer vouches for may have a certificate, and what it says about them.
//!
//! Nobody may unless a rule says so: rules are tried in their order, and the first that matches admits. What was decided says
//! why: a [`Grant`] has the claims that matched, a [`Denied`] what every rule did not like.

mod artifacts;
mod candidate;
#[cfg(test)]
mod decisions;
mod denied;
mod file;
mod issuer;
mod lint;
mod rule;
mod when;

use crate::oidc::Claims;
use crate::writers::Writers;
use formats::extension::{FulcioExtensions, SubjectAltName};
use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;
use waxseal_formats as formats;

use issuer::{Issuers, Principal};
use rule::Rule;

pub use artifacts::Artifacts;
pub use candidate::{Difference, compare};
pub use denied::{Denied, Explain, Mismatch, MismatchReason};
pub use lint::{Finding, Level, lint};
pub use rule::Matched;
pub use when::{MAX_CONDITION_LEN, WhenError};

pub use file::{MAX_RULES, MAX_RULES_LEN, MAX_VALUES, RulesError};
pub use issuer::{
    AcceptedIssuer, CaSource, DEFAULT_AUDIENCE, IssuerConfiguration, IssuerLimits, IssuerType, KeySource, Preset,
    presets,
};

/// The signing rules of an instance and the issuers that it listens to.
#[derive(Clone, Debug)]
pub struct Rules {
    issuers: Issuers,
    rules: Vec<Rule>,
    writers: Writers,
    explain: Explain,
    digest: [u8; 32],
}

/// Permission to have a certificate, and what it will say. Comes only from [`Rules::decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    rule: String,
    issuer: String,
    subject: String,
    subject_alt_name: SubjectAltName,
    extensions: FulcioExtensions,
    challenge_names: Vec<String>,
    matched: Vec<Matched>,
    artifacts: Arc<Artifacts>,
    certificates_per_minute: Option<NonZeroU32>,
}

impl Grant {
    /// The rule that admitted.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The token's `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The token's `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The certificate's one name.
    #[must_use]
    pub const fn subject_alt_name(&self) -> &SubjectAltName {
        &self.subject_alt_name
    }

    /// The certificate's extensions of Fulcio's arc.
    #[must_use]
    pub const fn extensions(&self) -> &FulcioExtensions {
        &self.extensions
    }

    /// The texts of which a client may sign any to prove that it has the key: the one that the issuer's type says, and
    /// the one that clients derive from the token by themselves (its verified `email`, else its `sub`).
    #[must_use]
    pub fn challenge_names(&self) -> &[String] {
        &self.challenge_names
    }

    /// What the rule wanted and found, in the order of the claims' names.
    #[must_use]
    pub fn matched(&self) -> &[Matched] {
        &self.matched
    }

    /// What may be signed with the certificate, as far as the rule says: the gates read it.
    #[must_use]
    pub fn artifacts(&self) -> &Artifacts {
        &self.artifacts
    }

    /// How many certificates a minute all those may have whom the rule admits; None for as many as they like.
    #[must_use]
    pub const fn certificates_per_minute(&self) -> Option<NonZeroU32> {
        self.certificates_per_minute
    }
}

impl Rules {
    /// What a token that names this issuer has to say to be accepted; None if no token of it is. The issuer may be one of a
    /// pattern, and the name one of its aliases.
    #[must_use]
    pub fn accepted(&self, issuer: &str) -> Option<Cow<'_, AcceptedIssuer>> {
        self.issuers.accepted(issuer)
    }

    /// The issuers that the instance listens to in the order of their URLs, and then the patterns.
    pub fn issuers(&self) -> impl Iterator<Item = &AcceptedIssuer> {
        self.issuers.iter()
    }

    /// What Fulcio's `configuration` says about all of them.
    #[must_use]
    pub fn configuration(&self) -> Vec<IssuerConfiguration> {
        self.issuers().flat_map(AcceptedIssuer::configuration).collect()
    }

    /// Whose signatures the transparency log takes.
    #[must_use]
    pub const fn writers(&self) -> &Writers {
        &self.writers
    }

    /// How much whoever is refused is told.
    #[must_use]
    pub const fn explain(&self) -> Explain {
        self.explain
    }

    /// SHA-256 of the file that they were read from.
    #[must_use]
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Decides about the holder of a verified token: the first rule that matches admits.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn decide(&self, claims: &Claims) -> Result<Grant, Denied> {
        let denied = |subject_alt_name: &str, mismatches| Denied::NoRule {
            issuer: claims.issuer().to_owned(),
            subject_alt_name: subject_alt_name.to_owned(),
            mismatches,
            explain: self.explain,
        };
        let Some(accepted) = self.accepted(claims.issuer()) else {
            return Err(denied(claims.subject(), self.rules.iter().map(Rule::about_another_issuer).collect()));
        };
        let principal = accepted.principal(claims).map_err(Denied::Claim)?;
        let Principal { subject_alt_name, extensions, challenge_names } = principal;
        let mut mismatches = Vec::new();
        for rule in &self.rules {
            match rule.judge(&accepted, claims) {
                Err(reasons) => mismatches.push(Mismatch { rule: rule.name.clone(), reasons }),
                Ok(matched) => {
                    return Ok(Grant {
                        rule: rule.name.clone(),
                        issuer: claims.issuer().to_owned(),
                        subject: claims.subject().to_owned(),
                        subject_alt_name,
                        extensions,
                        challenge_names,
                        matched,
                        artifacts: Arc::clone(&rule.artifacts),
                        certificates_per_minute: rule.certificates_per_minute,
                    });
                }
            }
        }
        Err(denied(subject_alt_name.as_str(), mismatches))
    }
}

#[cfg(test)]
mod tests {
    use super::{Denied, Grant, IssuerType, MismatchReason, Rules};
    use crate::oidc::forge::Forge;
    use formats::code::Code;
    use formats::extension::{FulcioOid, SubjectAltName};
    use serde_json::{Value, json};
    use waxseal_formats as formats;

    const GITHUB: &str = "https://token.actions.githubusercontent.com";

    fn decide(rules: &str, claims: Value) -> Result<Grant, Denied> {
        let claims = Forge::es256().claims(claims);
        Rules::from_yaml(rules, &[]).expect("rules").decide(&claims)
    }

    fn person(email: &str) -> Value {
        json!({ "sub": "4711", "email": email, "email_verified": true, "groups": ["dev", "ops"], "level": 3, "admin": false })
    }

    fn people(wanted: &str) -> String {
        format!("rules: [{{name: people, issuer: https://idp.example, match: {wanted}}}]")
    }

    /// The claims of the recorded token `f2-pop-over-sub-github` of ../shared/vectors/wire.
    fn workflow() -> Value {
        json!({
            "iss": GITHUB, "sub": "repo:acme/widgets:ref:refs/heads/main",
            "job_workflow_ref": "acme/widgets/.github/workflows/release.yml@refs/heads/main", "job_workflow_sha": "aaaa",
            "sha": "bbbb", "event_name": "push", "repository": "acme/widgets", "repository_id": "1001",
            "repository_owner": "acme", "repository_owner_id": "2002", "repository_visibility": "private",
            "workflow": "release", "workflow_ref": "acme/widgets/.github/workflows/release.yml@refs/heads/main",
            "workflow_sha": "cccc", "ref": "refs/heads/main", "runner_environment": "github-hosted", "run_id": "3003",
            "run_attempt": "1",
        })
    }

    fn releases(wanted: &str) -> String {
        format!("rules: [{{name: releases, issuer: {GITHUB}, match: {wanted}}}]")
    }

    fn without(name: &str) -> Value {
        let mut claims = workflow();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    }

    #[test]
    fn a_person_is_named_by_e_mail_address() {
        let grant = decide(&people("{email: '*@corp.example'}"), person("alice@corp.example")).expect("admitted");
        assert_eq!((grant.rule(), grant.issuer(), grant.subject()), ("people", "https://idp.example", "4711"));
        assert_eq!(grant.subject_alt_name(), &SubjectAltName::Email("alice@corp.example".to_owned()));
        let extensions: Vec<_> = grant.extensions().iter().map(|(oid, text)| (oid.number(), text)).collect();
        assert_eq!(extensions, [(1, "https://idp.example"), (8, "https://idp.example"), (24, "4711")]);
        assert_eq!(grant.challenge_names(), ["alice@corp.example"]);
    }

    #[test]
    fn a_workflow_is_named_by_its_file_and_ref() {
        let grant = decide(&releases("{repository: acme/widgets}"), workflow()).expect("admitted");
        let file = "https://github.com/acme/widgets/.github/workflows/release.yml@refs/heads/main";
        assert_eq!(grant.subject_alt_name(), &SubjectAltName::Uri(file.to_owned()));
        let extensions: Vec<_> = grant.extensions().iter().map(|(oid, text)| (oid.number(), text)).collect();
        assert_eq!(
            extensions,
            [
                (1, GITHUB),
                (2, "push"),
                (3, "bbbb"),
                (4, "release"),
                (5, "acme/widgets"),
                (6, "refs/heads/main"),
                (8, GITHUB),
                (9, file),
                (10, "aaaa"),
                (11, "github-hosted"),
                (12, "https://github.com/acme/widgets"),
                (13, "bbbb"),
                (14, "refs/heads/main"),
                (15, "1001"),
                (16, "https://github.com/acme"),
                (17, "2002"),
                (18, file),
                (19, "cccc"),
                (20, "push"),
                (21, "https://github.com/acme/widgets/actions/runs/3003/attempts/1"),
                (22, "private"),
                (24, "repo:acme/widgets:ref:refs/heads/main"),
            ]
        );
        assert_eq!(grant.challenge_names(), ["repo:acme/widgets:ref:refs/heads/main"]);

        let mut claims = workflow();
        claims["environment"] = json!("production");
        claims["run_id"] = json!(3003);
        let grant = decide(&releases("{run_id: 3003}"), claims).expect("admitted");
        assert_eq!(grant.extensions().get(FulcioOid::DeploymentEnvironment), Some("production"));
    }

    #[test]
    fn a_github_of_ones_own_has_its_own_web_address() {
        let rules = format!(
            "issuers: [{{issuer: {GITHUB}, type: github-workflow, url: https://github.corp.example}}]\n{}",
            releases("{sub: '**'}")
        );
        let grant = decide(&rules, workflow()).expect("admitted");
        let file = "https://github.corp.example/acme/widgets/.github/workflows/release.yml@refs/heads/main";
        assert_eq!(grant.subject_alt_name().as_str(), file);
        assert_eq!(
            grant.extensions().get(FulcioOid::SourceRepositoryOwnerUri),
            Some("https://github.corp.example/acme")
        );
    }

    #[test]
    fn a_workflow_without_one_of_its_claims_is_refused() {
        for claim in
            workflow().as_object().expect("an object").keys().filter(|name| !["iss", "sub"].contains(&name.as_str()))
        {
            let denied = decide(&releases("{sub: '**'}"), without(claim)).expect_err("refused");
            assert_eq!(denied.code(), Code::TOKEN_CLAIM, "{claim}");
            assert!(denied.to_string().contains(claim.as_str()), "{denied}");
        }
        for (claim, value) in [
            ("job_workflow_ref", "acme/widgets/ x"),
            ("job_workflow_ref", "acme/\u{430}"),
            ("job_workflow_ref", "acme/\nx"),
            ("repository", "acme/\0x"),
            ("sub", "repo:acme\n"),
        ] {
            let mut claims = workflow();
            claims[claim] = json!(value);
            let denied = decide(&releases("{run_id: '**'}"), claims).expect_err("refused");
            assert_eq!(denied.code(), Code::TOKEN_CLAIM, "{claim} {value:?}");
        }
    }

    #[test]
    fn rules_match_exactly_by_glob_and_by_any_element_of_a_list() {
        for wanted in [
            "{sub: 4711}",
            "{email: alice@corp.example}",
            "{email: [bob@corp.example, 'alice@*']}",
            "{groups: ops}",
            "{groups: [x, 'd*']}",
            "{level: 3, admin: false}",
            "{aud: sigstore}",
        ] {
            assert!(decide(&people(wanted), person("alice@corp.example")).is_ok(), "{wanted}");
        }
        for wanted in [
            "{sub: 471}",
            "{sub: 47111}",
            "{email: 'alice@corp'}",
            "{email: '*@corp'}",
            "{email: ALICE@corp.example}",
            "{groups: root}",
            "{groups: 'dev,ops'}",
            "{level: 4}",
            "{admin: true}",
            "{missing: '**'}",
            "{email: '**', groups: root}",
        ] {
            let denied = decide(&people(wanted), person("alice@corp.example")).expect_err(wanted);
            assert_eq!(denied.code(), Code::RULE_DENIED);
        }
        let mut nested = person("alice@corp.example");
        nested["groups"] = json!([["ops"], { "a": "ops" }, null]);
        assert!(decide(&people("{groups: '**'}"), nested).is_err());
    }

    #[test]
    fn nobody_is_admitted_without_a_rule_about_issuer_and_audience() {
        let code = |rules: &str| decide(rules, person("alice@corp.example")).expect_err("refused").code();
        assert_eq!(code("rules: []"), Code::RULE_DENIED);
        assert_eq!(code("rules: [{name: a, issuer: https://other.example, match: {sub: '**'}}]"), Code::RULE_DENIED);
        assert_eq!(code("rules: [{name: a, issuer: https://idp.example/, match: {sub: '**'}}]"), Code::RULE_DENIED);
        assert_eq!(
            code("rules: [{name: a, issuer: https://idp.example, audience: x, match: {sub: '**'}}]"),
            Code::RULE_DENIED
        );
    }

    #[test]
    fn a_denial_says_what_each_rule_did_not_like() {
        let rules = "rules:
  - {name: other, issuer: https://other.example, match: {sub: '**'}}
  - {name: audience, issuer: https://idp.example, audience: x, match: {sub: '**'}}
  - {name: ops, issuer: https://idp.example, match: {groups: root, sub: '**'}}
  - {name: vips, issuer: https://idp.example, match: {vip: true}}
";
        let denied = decide(rules, person("alice@corp.example")).expect_err("refused");
        let Denied::NoRule { mismatches, .. } = &denied else { unreachable!("{denied:?}") };
        assert_eq!(mismatches.len(), 4);
        assert_eq!(mismatches[0].reasons, [MismatchReason::Issuer { wanted: "https://other.example".to_owned() }]);
        assert_eq!(mismatches[1].reasons, [MismatchReason::Audience { wanted: "x".to_owned() }]);
        let (rule, [MismatchReason::Claim { claim, actual, wanted }]) =
            (&mismatches[2].rule, &mismatches[2].reasons[..])
        else {
            unreachable!("{:?}", mismatches[2])
        };
        assert_eq!((rule.as_str(), claim.as_str(), actual.as_deref()), ("ops", "groups", Some(r#"["dev","ops"]"#)));
        assert_eq!(wanted[0].as_str(), "root");
        assert_eq!(
            denied.to_string(),
            "no signing rule admits \"alice@corp.example\" of the issuer \"https://idp.example\": rule `audience` \
             wants another audience; rule `ops` wants another `groups` (yours is [\"dev\",\"ops\"]); rule `vips` wants a `vip`, \
             which the token does not have"
        );
    }

    #[test]
    fn an_unverified_e_mail_address_is_nobodys() {
        let mut claims = person("alice@corp.example");
        claims["email_verified"] = json!(false);
        assert_eq!(decide(&people("{sub: '**'}"), claims).expect_err("refused").code(), Code::TOKEN_CLAIM);
        assert_eq!(decide(&people("{sub: '**'}"), json!({})).expect_err("refused").code(), Code::TOKEN_CLAIM);
    }

    #[test]
    fn a_client_may_sign_the_name_that_it_derives_itself() {
        let mut claims = workflow();
        claims["email"] = json!("bot@acme.example");
        claims["email_verified"] = json!(true);
        let grant = decide(&releases("{sub: '**'}"), claims.clone()).expect("admitted");
        assert_eq!(grant.challenge_names(), ["repo:acme/widgets:ref:refs/heads/main", "bot@acme.example"]);
        claims["email_verified"] = json!(false);
        let grant = decide(&releases("{sub: '**'}"), claims).expect("admitted");
        assert_eq!(grant.challenge_names(), ["repo:acme/widgets:ref:refs/heads/main"]);
    }

    #[test]
    fn issuer_types_are_known_by_name() {
        let github = IssuerType::ci("github-workflow").expect("GitHub");
        assert_eq!((github.name(), github.challenge_claim()), ("github-workflow", "sub"));
        assert_eq!((IssuerType::Email.name(), IssuerType::Email.challenge_claim()), ("email", "email"));
        assert!(IssuerType::ci("dex").is_err());
    }
}
