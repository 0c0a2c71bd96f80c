//! What a demo token says.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use waxseal_formats::crypto::sha256;

/// How long a token is good for, in seconds.
pub const LIFETIME: i64 = 60 * 60;
/// Longest identity and audience, in bytes.
pub const MAX_TEXT_LEN: usize = 1024;
/// Claims that only the provider itself sets.
const OURS: [&str; 3] = ["iss", "aud", "exp"];
/// Where GitHub's workflows are at home.
const GITHUB: &str = "https://github.com/";
/// The workflow of an identity that names none.
const WORKFLOW: &str = ".github/workflows/release.yml";

/// Which of the two issuers signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerKind {
    /// `<origin>/idp`: people with e-mail addresses.
    Email,
    /// `<origin>/idp/github`: workflows with the claims of GitHub Actions.
    Github,
}

impl IssuerKind {
    /// The issuer's path below the origin.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Email => "/idp",
            Self::Github => "/idp/github",
        }
    }
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintRequest {
    /// Who signs it.
    pub issuer: IssuerKind,
    /// Whom it is about: for people `sub` and `email`; for workflows see [`claims`].
    pub identity: String,
    /// Whom it is for.
    pub audience: String,
    /// Further claims; they take the place of those that follow from the identity.
    #[serde(default)]
    pub claims: Map<String, Value>,
}

/// Why no token is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// Identity or audience is empty, too long or has control characters.
    #[error("the {0} has to be a text of 1 to {MAX_TEXT_LEN} bytes without control characters")]
    Text(&'static str),
    /// A claim that only the provider sets.
    #[error("the claim `{0}` is the provider's own and cannot be given")]
    Claim(String),
}

/// The claims of a token, made at `now` (Unix seconds).
///
/// A workflow is named by its URL `https://github.com/OWNER/REPO/PATH@REF` (what the certificate will say), or by
/// GitHub's subject `repo:OWNER/REPO:ref:REF`, `repo:OWNER/REPO:environment:NAME` or `repo:OWNER/REPO:pull_request`. The
/// other claims are made up to fit, the same each time; any other identity is the `sub` of the repository `demo/demo`.
///
/// # Errors
/// [`MintError`].
pub fn claims(origin: &str, request: &MintRequest, now: i64) -> Result<Map<String, Value>, MintError> {
    for (what, text) in [("identity", &request.identity), ("audience", &request.audience)] {
        if text.is_empty() || text.len() > MAX_TEXT_LEN || text.chars().any(char::is_control) {
            return Err(MintError::Text(what));
        }
    }
    if let Some(name) = request.claims.keys().find(|name| OURS.contains(&name.as_str())) {
        return Err(MintError::Claim(name.clone()));
    }
    let mut claims = match request.issuer {
        IssuerKind::Email => person(&request.identity),
        IssuerKind::Github => workflow(&request.identity, now),
    };
    let mut set = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    set("iat", now.into());
    set("nbf", now.into());
    for (name, value) in &request.claims {
        set(name, value.clone());
    }
    set("iss", format!("{origin}{}", request.issuer.path()).into());
    set("aud", request.audience.clone().into());
    set("exp", now.saturating_add(LIFETIME).into());
    Ok(claims)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn person(identity: &str) -> Map<String, Value> {
    object(json!({ "sub": identity, "email": identity, "email_verified": true }))
}

/// What an identity says about a workflow, with something in the place of what it leaves open.
struct Workflow<'a> {
    subject: String,
    repository: &'a str,
    path: &'a str,
    git_ref: &'a str,
    event: &'static str,
    environment: Option<&'a str>,
}

impl<'a> Workflow<'a> {
    fn of(identity: &'a str) -> Self {
        let repository_only = |repository, subject: &str| Self {
            subject: subject.to_owned(),
            repository,
            path: WORKFLOW,
            git_ref: "refs/heads/main",
            event: "push",
            environment: None,
        };
        if let Some((repository, path, git_ref)) = file_of(identity.strip_prefix(GITHUB).unwrap_or(identity)) {
            let subject = format!("repo:{repository}:ref:{git_ref}");
            return Self { path, git_ref, ..repository_only(repository, &subject) };
        }
        let named = identity.strip_prefix("repo:").and_then(|rest| rest.split_once(':'));
        let Some((repository, what)) = named.filter(|(repository, _)| repository.contains('/')) else {
            return repository_only("demo/demo", identity);
        };
        let workflow = repository_only(repository, identity);
        match what.split_once(':') {
            Some(("ref", git_ref)) => Self { git_ref, ..workflow },
            Some(("environment", name)) => Self { environment: Some(name), ..workflow },
            None if what == "pull_request" => Self { git_ref: "refs/pull/1/merge", event: "pull_request", ..workflow },
            _ => workflow,
        }
    }
}

/// `OWNER/REPO/PATH@REF`.
fn file_of(text: &str) -> Option<(&str, &str, &str)> {
    let (file, git_ref) = text.split_once('@')?;
    let (split, _) = file.match_indices('/').nth(1)?;
    let (repository, path) = file.split_at(split);
    let path = path.strip_prefix('/')?;
    (git_ref.starts_with("refs/") && !path.is_empty()).then_some((repository, path, git_ref))
}

fn workflow(identity: &str, now: i64) -> Map<String, Value> {
    let Workflow { subject, repository, path, git_ref, event, environment } = Workflow::of(identity);
    let owner = repository.split_once('/').map_or(repository, |(owner, _)| owner);
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let name = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let file = format!("{repository}/{path}@{git_ref}");
    let ref_type = if git_ref.starts_with("refs/tags/") { "tag" } else { "branch" };
    let mut claims = object(json!({
        "sub": subject,
        "repository": repository,
        "repository_id": number(repository),
        "repository_owner": owner,
        "repository_owner_id": number(owner),
        "repository_visibility": "private",
        "ref": git_ref,
        "ref_type": ref_type,
        "sha": digest(&format!("{repository}@{git_ref}")),
        "workflow": name,
        "workflow_ref": file,
        "workflow_sha": digest(&file),
        "job_workflow_ref": file,
        "job_workflow_sha": digest(&file),
        "event_name": event,
        "runner_environment": "github-hosted",
        "run_id": now.to_string(),
        "run_number": "1",
        "run_attempt": "1",
        "actor": owner,
        "actor_id": number(owner),
    }));
    if let Some(environment) = environment {
        claims.insert("environment".to_owned(), environment.into());
    }
    claims
}

/// A made-up identifier: always the same for one name.
fn number(name: &str) -> String {
    let [a, b, c, ..] = sha256(name.as_bytes());
    u32::from_be_bytes([0, a, b, c]).to_string()
}

/// A made-up commit: 40 hexadecimal digits, always the same for one name.
fn digest(name: &str) -> String {
    hex::encode(sha256(name.as_bytes())).chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::{IssuerKind, LIFETIME, MintError, MintRequest, claims};
    use serde_json::{Map, Value, json};

    const ORIGIN: &str = "http://127.0.0.1:7480";
    const NOW: i64 = 1_795_531_584;

    fn mint(issuer: IssuerKind, identity: &str, more: Value) -> Result<Map<String, Value>, MintError> {
        let Value::Object(more) = more else { panic!("an object") };
        let request =
            MintRequest { issuer, identity: identity.to_owned(), audience: "sigstore".to_owned(), claims: more };
        claims(ORIGIN, &request, NOW)
    }

    #[test]
    fn a_person_is_subject_and_verified_address() {
        let claims = mint(IssuerKind::Email, "alice@corp.example", json!({})).expect("claims");
        let expected = json!({
            "iss": "http://127.0.0.1:7480/idp", "sub": "alice@corp.example", "email": "alice@corp.example",
            "email_verified": true, "aud": "sigstore", "iat": NOW, "nbf": NOW, "exp": NOW + LIFETIME,
        });
        assert_eq!(Value::Object(claims), expected);
    }

    #[test]
    fn a_workflow_is_named_by_url_or_subject() {
        for (identity, subject, file, event) in [
            (
                "https://github.com/acme/widgets/.github/workflows/ci.yml@refs/tags/v1",
                "repo:acme/widgets:ref:refs/tags/v1",
                "acme/widgets/.github/workflows/ci.yml@refs/tags/v1",
                "push",
            ),
            (
                "acme/widgets/.github/workflows/ci.yml@refs/heads/a@b",
                "repo:acme/widgets:ref:refs/heads/a@b",
                "acme/widgets/.github/workflows/ci.yml@refs/heads/a@b",
                "push",
            ),
            (
                "repo:acme/widgets:ref:refs/heads/dev",
                "repo:acme/widgets:ref:refs/heads/dev",
                "acme/widgets/.github/workflows/release.yml@refs/heads/dev",
                "push",
            ),
            (
                "repo:acme/widgets:pull_request",
                "repo:acme/widgets:pull_request",
                "acme/widgets/.github/workflows/release.yml@refs/pull/1/merge",
                "pull_request",
            ),
            (
                "repo:acme/widgets:environment:production",
                "repo:acme/widgets:environment:production",
                "acme/widgets/.github/workflows/release.yml@refs/heads/main",
                "push",
            ),
            ("somebody", "somebody", "demo/demo/.github/workflows/release.yml@refs/heads/main", "push"),
        ] {
            let claims = mint(IssuerKind::Github, identity, json!({})).expect("claims");
            assert_eq!(claims["iss"], "http://127.0.0.1:7480/idp/github");
            assert_eq!(claims["sub"], subject, "{identity}");
            assert_eq!(claims["job_workflow_ref"], file, "{identity}");
            assert_eq!(claims["event_name"], event, "{identity}");
            assert_eq!(claims.get("environment").is_some(), identity.contains(":environment:"));
            assert!(!claims.contains_key("email"));
        }
    }

    #[test]
    fn given_claims_take_the_place_of_made_up_ones() {
        let more =
            json!({ "repository_id": "1001", "email": "bot@acme.example", "groups": ["a"], "sub": "x", "nbf": 1 });
        let claims = mint(IssuerKind::Github, "repo:acme/widgets:ref:refs/heads/main", more.clone()).expect("claims");
        for (name, value) in more.as_object().expect("an object") {
            assert_eq!(&claims[name], value);
        }
    }

    #[test]
    fn issuer_audience_and_expiry_cannot_be_given() {
        for name in ["iss", "aud", "exp"] {
            let error = mint(IssuerKind::Email, "a@b", json!({ name: "x" })).expect_err("refused");
            assert_eq!(error, MintError::Claim(name.to_owned()));
            assert!(error.to_string().contains(name));
        }
        for identity in ["", "a\nb", &"x".repeat(2000)] {
            assert_eq!(mint(IssuerKind::Email, identity, json!({})), Err(MintError::Text("identity")));
        }
    }
}
