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
/// Issuers of clusters that are not one's own, of each service where clusters have issuers of one form.
const STRANGERS_CLUSTERS: [&str; 3] = [
    "https://oidc.eks.us-east-1.amazonaws.com/id/00000000000000000000000000000000",
    "https://container.googleapis.com/v1/projects/strangers/locations/us-east1/clusters/strangers",
    "https://eastus.oic.prod-aks.azure.com/00000000-0000-0000-0000-000000000000/00000000-0000-0000-0000-000000000000/",
];
/// Claims whose values anybody's token may have: they say what ran and where, not whose it is. A commit is in every fork.
const OF_NOBODY: [&str; 40] = [
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "nonce",
    "acr",
    "amr",
    "azp",
    "auth_time",
    "email_verified",
    "event_name",
    "ref",
    "ref_type",
    "ref_protected",
    "ref_path",
    "base_ref",
    "head_ref",
    "sha",
    "workflow",
    "workflow_sha",
    "job_workflow_sha",
    "run_attempt",
    "run_number",
    "runner_environment",
    "repository_visibility",
    "environment",
    "environment_protected",
    "environment_action",
    "deployment_tier",
    "pipeline_source",
    "project_visibility",
    "ci_config_sha",
    "pipeline_slug",
    "build_branch",
    "build_commit",
    "build_tag",
    "build_source",
    "step_key",
    "platform_url",
];
/// Claims that begin with the owner, or with what kind of owner it is.
const OWNER_FIRST: [&str; 10] = [
    "sub",
    "repository",
    "repository_owner",
    "job_workflow_ref",
    "workflow_ref",
    "project_path",
    "namespace_path",
    "job_project_path",
    "job_namespace_path",
    "ci_config_ref_uri",
];
/// What stands before the owner where no colon does.
const BEFORE_OWNER: [&str; 2] = ["org/", "gitlab.com/"];
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
    let is_exact = rule.issuer.as_exact().is_some();
    if let Some(cluster) = STRANGERS_CLUSTERS.iter().find(|cluster| !is_exact && rule.issuer.matches(cluster)) {
        return Some(format!(
            "it admits whoever has a cluster there, such as {cluster}: tokens of clusters say nothing about whose they are, so name yours by `issuer`"
        ));
    }
    let shared = MULTI_TENANT.iter().find(|issuer| rule.issuer.matches(issuer));
    let issuer = match (shared, is_exact) {
        (Some(issuer), _) => issuer,
        // A pattern is for issuers that strangers may have as well.
        (None, false) => rule.issuer.as_str(),
        (None, true) => return None,
    };
    let named = rule.claims.iter().any(|(claim, wanted)| wanted.iter().all(|one| names_a_holder(claim, one)));
    let judged = rule.when.as_ref().is_some_and(|when| is_about_a_holder(when.text()));
    (!named && !judged).then(|| {
        format!("it admits whoever has an account at {issuer}: match a claim that only your own tokens have, such as `repository_owner_id`")
    })
}

/// Whether strangers' tokens do not have such a value, as far as that is easy to say.
fn names_a_holder(claim: &str, wanted: &Pattern) -> bool {
    let claim = plain_name(claim);
    if OF_NOBODY.contains(&claim) {
        return false;
    }
    if wanted.as_exact().is_some() {
        return true;
    }
    let text = wanted.as_str();
    if !OWNER_FIRST.contains(&claim) {
        return text.contains(char::is_alphanumeric);
    }
    // `repo:acme/**`: the owner has to be there whole, for names that only begin like it are free to take.
    let before = text.split('*').next().unwrap_or_default();
    let owner = match before.split_once(':') {
        Some((kind, rest)) if !kind.contains('/') => rest,
        _ => BEFORE_OWNER.iter().find_map(|prefix| before.strip_prefix(prefix)).unwrap_or(before),
    };
    owner.find(['/', ':']).is_some_and(|end| end > 0)
}

/// Whether a condition reads a claim that tells holders apart; what it makes of it is not judged.
fn is_about_a_holder(condition: &str) -> bool {
    let mut read = condition.split("claims").skip(1).filter_map(|rest| {
        let name = rest.strip_prefix('.').or_else(|| rest.strip_prefix("['")).or_else(|| rest.strip_prefix("[\""))?;
        name.split(['.', '\'', '"', ' ', ')', ',', '=', '!', '<', '>', '[', ']', '&', '|', '?', '+']).next()
    });
    read.any(|claim| !OF_NOBODY.contains(&claim))
}

/// A claim at the top by its name, even if the rule has it as JSON Pointer.
fn plain_name(claim: &str) -> &str {
    claim.strip_prefix('/').filter(|name| !name.contains('/')).unwrap_or(claim)
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
    let has = |name: &str| rule.claims.keys().any(|claim| plain_name(claim) == name);
    let (claim, stays) = MUTABLE.iter().find(|(claim, stays)| has(claim) && !has(stays))?;
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

    /// Row 12: a pattern that is not tied to an owner is everybody's.
    #[test]
    fn claims_of_nobody_and_patterns_without_an_owner_admit_everyone() {
        let is_error = |issuer: &str, rest: &str| {
            let found = kinds(&format!("  - {{name: a, {issuer}, {rest}}}\n"));
            found.contains(&(Level::Error, "everyone", "a".to_owned()))
        };
        let github = format!("issuer: {GITHUB}");
        for open in [
            "match: {aud: sigstore}",
            "match: {iss: 'https://token.actions.githubusercontent.com'}",
            "match: {event_name: push, ref: refs/heads/main, environment: production}",
            "match: {/workflow: release}",
            "match: {sub: '**:**'}",
            "match: {sub: 'repo:**'}",
            "match: {sub: 'repo:*/app:**'}",
            "match: {sub: 'repo:acme*/app:**'}",
            "match: {repository: '*/app'}",
            "match: {job_workflow_ref: '*/*/.github/workflows/release.yml@*'}",
            "match: {repository_id: [1, '**']}",
            "match: {sub: '**'}, when: 'true'",
            "match: {sub: '**'}, when: \"claims.event_name == 'push' && claims['ref'] == 'refs/heads/main'\"",
        ] {
            assert!(is_error(&github, open), "{open}");
        }
        for owned in [
            "match: {sub: 'repo:acme/**'}",
            "match: {sub: 'repo:acme/app:ref:refs/heads/main'}",
            "match: {repository: 'acme/*'}",
            "match: {job_workflow_ref: 'acme/ci/.github/workflows/release.yml@refs/tags/v*'}",
            "match: {event_name: push, repository_owner_id: 7}",
            "match: {/repository_id: 1}",
            "match: {sub: '**'}, when: \"claims['repository_owner_id'] == '7'\"",
            "match: {event_name: push}, when: \"claims.event_name == 'push' && claims.repository_id in ['1', '2']\"",
        ] {
            assert!(!is_error(&github, owned), "{owned}");
        }
        let google = "issuer: https://accounts.google.com";
        assert!(!is_error(google, "match: {email: '*@corp.example'}"));
        assert!(is_error(google, "match: {email: '*@*'}"));
        assert!(!is_error("issuer: https://gitlab.com", "match: {ci_config_ref_uri: 'gitlab.com/acme/**'}"));
        assert!(is_error("issuer: https://gitlab.com", "match: {ci_config_ref_uri: 'gitlab.com/**'}"));
        let namespace = "match: {/kubernetes.io/namespace: prod}";
        let eks = "oidc.eks.us-east-1.amazonaws.com/id";
        assert!(is_error(&format!("issuer_pattern: 'https://{eks}/*'"), namespace));
        assert!(!is_error(&format!("issuer: https://{eks}/0123456789ABCDEF0123456789ABCDEF"), namespace));
        let gke = |project: &str| {
            format!("issuer_pattern: 'https://container.googleapis.com/v1/projects/{project}/locations/*/clusters/*'")
        };
        assert!(is_error(&gke("*"), namespace));
        assert!(!is_error(&gke("acme"), namespace));
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
        assert_eq!(rule("{/repository: acme/app}"), [warning("mutable", "a")]);
        assert_eq!(rule("{repository_owner: acme, repository_id: 1}"), [warning("mutable", "a")]);
    }
}
