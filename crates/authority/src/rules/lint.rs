//! What is probably not meant, in rules that can be read.

use super::Rules;
use super::issuer::{AcceptedIssuer, IssuerType};
use super::rule::Rule;
use formats::pattern::Pattern;
use waxseal_formats as formats;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It works, and somebody should look at it.
    Warning,
    /// It admits strangers.
    Error,
}

/// Something about one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What kind it is: `everyone`, `everything`, `unreachable`, `never-sent`, `mutable`.
    pub kind: &'static str,
    /// The rule's name.
    pub rule: String,
    /// A sentence.
    pub message: String,
}

/// Issuers that vouch for customers of a service: whoever opens an account there is one.
const MULTI_TENANT: [&str; 9] = [
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
    "https://agent.buildkite.com",
    "https://oidc.circleci.com",
    "https://oidc.codefresh.io",
    "https://accounts.google.com",
    "https://login.microsoftonline.com/common/v2.0",
    "https://api.buddy.works",
    "https://oauth2.sigstore.dev/auth",
];
/// Claims that somebody can give away or take over, each with the one that stays.
const MUTABLE: [(&str, &str); 6] = [
    ("repository", "repository_id"),
    ("repository_owner", "repository_owner_id"),
    ("actor", "actor_id"),
    ("project_path", "project_id"),
    ("namespace_path", "namespace_id"),
    ("user_login", "user_id"),
];
/// Claims that every token may have (RFC 7519 §4.1, OpenID Connect Core §2).
const COMMON: [&str; 13] =
    ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "auth_time", "nonce", "acr", "amr", "email"];

/// Looks at every rule. In the order of the rules.
#[must_use]
pub fn lint(rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, rule) in rules.rules.iter().enumerate() {
        let before = rules.rules.get(..place).unwrap_or_default();
        let found = [
            (Level::Error, "everyone", admits_everyone(rule)),
            (Level::Warning, "everything", matches_everything(rule)),
            (Level::Warning, "unreachable", unreachable(rule, before)),
            (Level::Warning, "never-sent", never_sent(rule, rules)),
            (Level::Warning, "mutable", mutable(rule)),
        ];
        findings.extend(found.into_iter().filter_map(|(level, kind, message)| {
            Some(Finding { level, kind, rule: rule.name.clone(), message: message? })
        }));
    }
    findings
}

/// A pattern that says nothing about who it is.
fn is_open(pattern: &Pattern) -> bool {
    matches!(pattern.as_str(), "*" | "**")
}

fn admits_everyone(rule: &Rule) -> Option<String> {
    let shared = MULTI_TENANT.iter().find(|issuer| rule.issuer.matches(issuer));
    let issuer = match (shared, rule.issuer.as_exact()) {
        (Some(issuer), _) => issuer,
        // A pattern is for issuers that strangers may have as well.
        (None, None) => rule.issuer.as_str(),
        (None, Some(_)) => return None,
    };
    let open = rule.when.is_none() && rule.claims.values().all(|wanted| wanted.iter().any(is_open));
    open.then(|| {
        format!("it admits whoever has an account at {issuer}: match a claim that only your own tokens have, such as `repository_owner_id`")
    })
}

fn matches_everything(rule: &Rule) -> Option<String> {
    let mut open = rule.claims.iter().filter(|(_, wanted)| wanted.iter().any(is_open)).map(|(claim, _)| claim);
    let claim = open.next()?;
    Some(format!("`{claim}` matches every value: it only has to be there"))
}

/// Whether whoever the later rule admits was admitted by an earlier one.
fn unreachable(rule: &Rule, before: &[Rule]) -> Option<String> {
    let covering = before.iter().find(|earlier| covers(earlier, rule))?;
    Some(format!("it is never reached: the rule `{}` before it admits everyone whom it would", covering.name))
}

fn covers(earlier: &Rule, later: &Rule) -> bool {
    let issuer = covers_pattern(&earlier.issuer, &later.issuer);
    let audience = earlier.audience == later.audience;
    let condition = earlier.when.is_none() || earlier.when == later.when;
    issuer
        && audience
        && condition
        && earlier.claims.iter().all(|(claim, wide)| {
            let narrow = later.claims.get(claim);
            narrow.is_some_and(|narrow| narrow.iter().all(|one| wide.iter().any(|wide| covers_pattern(wide, one))))
        })
}

/// Whether everything that `narrow` matches is matched by `wide`, as far as that is easy to say.
fn covers_pattern(wide: &Pattern, narrow: &Pattern) -> bool {
    wide == narrow || wide.as_str() == "**" || narrow.as_exact().is_some_and(|text| wide.matches(text))
}

fn never_sent(rule: &Rule, rules: &Rules) -> Option<String> {
    let accepted = rule.issuer.as_exact().and_then(|issuer| rules.accepted(issuer))?;
    let IssuerType::Ci { provider, .. } = AcceptedIssuer::kind(&accepted) else { return None };
    let sent = provider.claims();
    let missing = rule.claims.keys().find(|claim| {
        let name = claim.trim_start_matches('/').split('/').next().unwrap_or_default();
        !sent.contains(name) && !COMMON.contains(&name) && !KNOWN_OF_CI.contains(&name)
    })?;
    Some(format!("tokens of {} are not known to have a claim `{missing}`: the rule may never match", provider.name()))
}

/// Claims that providers send and no certificate shows.
const KNOWN_OF_CI: [&str; 26] = [
    "actor",
    "actor_id",
    "base_ref",
    "head_ref",
    "ref_type",
    "ref_protected",
    "environment",
    "repository_owner_id",
    "enterprise",
    "enterprise_id",
    "job_workflow_ref",
    "check_run_id",
    "environment_node_id",
    "user_id",
    "user_login",
    "user_email",
    "environment_protected",
    "deployment_tier",
    "environment_action",
    "groups_direct",
    "job_project_id",
    "job_project_path",
    "job_namespace_id",
    "job_namespace_path",
    "runner_id",
    "organization_id",
];

fn mutable(rule: &Rule) -> Option<String> {
    let (claim, stays) =
        MUTABLE.iter().find(|(claim, stays)| rule.claims.contains_key(*claim) && !rule.claims.contains_key(*stays))?;
    Some(format!("`{claim}` can be renamed or taken over: match `{stays}` as well, which cannot"))
}

#[cfg(test)]
mod tests {
    use super::{Level, lint};
    use crate::rules::Rules;

    const GITHUB: &str = "https://token.actions.githubusercontent.com";

    fn kinds(rules: &str) -> Vec<(Level, &'static str, String)> {
        let rules = Rules::from_yaml(&format!("rules:\n{rules}"), &[]).expect("rules");
        lint(&rules).into_iter().map(|finding| (finding.level, finding.kind, finding.rule)).collect()
    }

    fn warning(kind: &'static str, rule: &str) -> (Level, &'static str, String) {
        (Level::Warning, kind, rule.to_owned())
    }

    #[test]
    fn good_rules_have_no_findings() {
        let rules = format!(
            "  - {{name: a, issuer: {GITHUB}, match: {{repository_id: 1, repository: acme/app, environment: [production]}}}}\n  - {{name: b, issuer: https://idp.example, match: {{email: '*@corp.example'}}}}\n"
        );
        assert_eq!(kinds(&rules), []);
    }

    #[test]
    fn everyone_of_a_shared_issuer_is_an_error() {
        let everyone = |issuer: &str, wanted: &str| kinds(&format!("  - {{name: a, {issuer}, match: {wanted}}}\n"));
        let error = (Level::Error, "everyone", "a".to_owned());
        for issuer in [format!("issuer: {GITHUB}"), "issuer: https://accounts.google.com".to_owned()] {
            assert!(everyone(&issuer, "{sub: '**'}").contains(&error), "{issuer}");
        }
        assert!(everyone(&format!("issuer: {GITHUB}"), "{sub: '*', run_id: '**'}").contains(&error));
        assert!(!everyone(&format!("issuer: {GITHUB}"), "{repository_owner_id: 7}").contains(&error));
        // One's own issuer vouches for one's own people.
        assert_eq!(everyone("issuer: https://idp.example", "{sub: '**'}"), [warning("everything", "a")]);
        let condition = format!("issuer: {GITHUB}, when: \"claims.repository_owner_id == '7'\"");
        assert_eq!(everyone(&condition, "{sub: '**'}"), [warning("everything", "a")]);
    }

    #[test]
    fn a_rule_behind_a_wider_one_is_never_reached() {
        let rule = |name: &str, more: &str| format!("  - {{name: {name}, issuer: https://idp.example, {more}}}\n");
        let behind = |first: &str, second: &str| {
            kinds(&format!("{}{}", rule("a", first), rule("b", second))).contains(&warning("unreachable", "b"))
        };
        let narrow = "match: {email: alice@corp.example, groups: ops}";
        assert!(behind("match: {email: '*@corp.example'}", narrow));
        assert!(behind(narrow, narrow));
        assert!(behind("match: {email: '**'}", "match: {email: 'a*'}"));
        for first in [
            "match: {email: '*@corp.example', level: 3}",
            "match: {email: '*@other.example'}",
            "audience: x, match: {email: '*@corp.example'}",
            "match: {email: '*@corp.example'}, when: claims.admin",
        ] {
            assert!(!behind(first, narrow), "{first}");
        }
    }

    #[test]
    fn claims_that_never_come_and_names_that_change_are_told() {
        let rule = |wanted: &str| kinds(&format!("  - {{name: a, issuer: {GITHUB}, match: {wanted}}}\n"));
        assert_eq!(rule("{repository_id: 1, branch: main}"), [warning("never-sent", "a")]);
        assert_eq!(rule("{repository_id: 1, actor_id: 7, sub: x}"), []);
        assert_eq!(rule("{repository: acme/app}"), [warning("mutable", "a")]);
        assert_eq!(rule("{repository_owner: acme, repository_id: 1}"), [warning("mutable", "a")]);
    }
}
