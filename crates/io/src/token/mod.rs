//! Where identity tokens come from when a command needs one: what the user gave, else what the environment offers.
//!
//! A source of ambient tokens is one file in this folder and one row in [`AMBIENT`].

mod buildkite;
mod circleci;
mod environment;
mod file;
mod github_actions;
mod google;

use crate::transport::{Transport, TransportError};
use formats::code::Code;
use formats::crypto::Secret;
use formats::jwt::{Jws, JwtError, MAX_TOKEN_LEN, looks_like_token};
use std::io::Read as _;
use std::path::PathBuf;
use std::pin::Pin;
use waxseal_formats as formats;

/// The audience that an instance wants unless its rules say otherwise.
pub const AUDIENCE: &str = "sigstore";

/// Reads one environment variable.
pub type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Send + Sync);

/// The environment of this process.
#[must_use]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What comes of asking a source.
type Pending<'a> = Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send + 'a>>;

/// A source that offers tokens by itself.
pub struct AmbientSource {
    /// Its name on the command line, cosign's.
    pub id: &'static str,
    /// Its name in messages.
    pub name: &'static str,
    /// What it is, for help.
    pub about: &'static str,
    /// Is it there?
    detect: fn(Variables<'_>) -> bool,
    /// Asks it for a token for that audience.
    fetch: for<'a> fn(Variables<'a>, &'a dyn Transport, &'a str) -> Pending<'a>,
}

/// The sources, in the order in which they are looked for. GitLab's jobs are among the first one's users.
pub const AMBIENT: [AmbientSource; 7] = [
    environment::SOURCE,
    github_actions::SOURCE,
    buildkite::SOURCE,
    circleci::SOURCE,
    file::SOURCE,
    google::IMPERSONATION,
    google::IDENTITY,
];

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing was given and nothing is offered.
    #[error(
        "no identity token: none was given, and there is neither SIGSTORE_ID_TOKEN nor a CI job or machine that offers one"
    )]
    None,
    /// No source is called so.
    #[error("no source of identity tokens is called {name:?}: there are {}", AMBIENT.map(|source| source.id).join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("the identity token file {path} cannot be read: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// What was found is no token.
    #[error("what {origin} holds is no identity token: {source}")]
    Malformed {
        /// Where it was found.
        origin: String,
        /// What is wrong.
        source: JwtError,
    },
    /// The source cannot be reached.
    #[error("{name} gives no identity token: {source}")]
    Transport {
        /// The source.
        name: &'static str,
        /// Why not.
        source: TransportError,
    },
    /// The source refuses or is not set up.
    #[error("{name} gives no identity token: {reason}")]
    Refused {
        /// The source.
        name: &'static str,
        /// What it says.
        reason: String,
    },
}

impl TokenError {
    /// `usage`, `input.unreadable`, `token.malformed`, `network.refused` or a code of [`TransportError`].
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::None | Self::Unknown { .. } => Code::USAGE,
            Self::File { .. } => Code::INPUT_UNREADABLE,
            Self::Malformed { .. } => Code::TOKEN_MALFORMED,
            Self::Transport { source, .. } => source.code(),
            Self::Refused { .. } => Code::NETWORK_REFUSED,
        }
    }
}

/// Where a token is looked for.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// A token, or the name of a file that holds one.
    pub given: Option<&'a str>,
    /// The one source to ask, by its [id](AmbientSource::id).
    pub source: Option<&'a str>,
}

/// The token to use: the given one, else that of the first ambient source that is there, for `audience`.
///
/// # Errors
/// [`TokenError`].
pub async fn identity_token(
    wanted: Wanted<'_>,
    variables: Variables<'_>,
    transport: &dyn Transport,
    audience: &str,
) -> Result<Secret<String>, TokenError> {
    if let Some(given) = wanted.given {
        return explicit(given);
    }
    let source = match wanted.source {
        Some(name) => {
            let named = AMBIENT.iter().find(|source| source.id == name);
            named.ok_or_else(|| TokenError::Unknown { name: name.to_owned() })?
        }
        None => AMBIENT.iter().find(|source| (source.detect)(variables)).ok_or(TokenError::None)?,
    };
    checked(source.name, (source.fetch)(variables, transport, audience).await?)
}

/// A token, or the name of a file. Whatever has the form of a token is one: cosign takes ES256 tokens for file names.
fn explicit(given: &str) -> Result<Secret<String>, TokenError> {
    let trimmed = given.trim();
    if looks_like_token(trimmed) {
        return checked("--identity-token", trimmed.to_owned());
    }
    let unreadable = |reason: std::io::Error| TokenError::File {
        path: given.chars().take(200).collect(),
        reason: reason.to_string(),
    };
    let mut text = String::new();
    let limit = u64::try_from(MAX_TOKEN_LEN).unwrap_or(u64::MAX).saturating_add(2);
    let file = std::fs::File::open(PathBuf::from(given)).map_err(unreadable)?;
    file.take(limit).read_to_string(&mut text).map_err(unreadable)?;
    checked(given, text.trim().to_owned())
}

fn checked(origin: &str, token: String) -> Result<Secret<String>, TokenError> {
    let token = Secret::new(token);
    match Jws::parse(token.expose()) {
        Ok(_) => Ok(token),
        Err(source) => Err(TokenError::Malformed { origin: origin.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::{AMBIENT, AUDIENCE, TokenError, Wanted, identity_token};
    use crate::transport::replay::Replay;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use formats::code::Code;
    use std::collections::HashMap;
    use std::io::Write as _;
    use waxseal_formats as formats;

    fn token(algorithm: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}"}}"#));
        format!("{header}.{}.{}", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode([7; 64]))
    }

    async fn find(given: Option<&str>, variables: &[(&str, &str)], replay: &Replay) -> Result<String, TokenError> {
        let variables: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let wanted = Wanted { given, source: None };
        let found = identity_token(wanted, &|name| variables.get(name).cloned(), replay, AUDIENCE).await;
        found.map(|token| token.expose().clone())
    }

    const ACTIONS: [(&str, &str); 2] = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://actions.example/token?api-version=2"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token"),
    ];
    const ACTIONS_URL: &str = "https://actions.example/token?api-version=2&audience=sigstore";

    #[tokio::test]
    async fn what_looks_like_a_token_is_one_and_all_else_a_file_name() {
        let none = Replay::new();
        for algorithm in ["RS256", "ES256"] {
            let token = token(algorithm);
            assert_eq!(find(Some(&token), &[], &none).await, Ok(token.clone()));
            assert_eq!(find(Some(&format!(" {token}\n")), &[], &none).await, Ok(token.clone()));
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            writeln!(file, "{token}").expect("written");
            assert_eq!(find(file.path().to_str(), &[], &none).await, Ok(token));
        }
    }

    #[tokio::test]
    async fn files_that_hold_no_token_are_refused_with_their_name() {
        let none = Replay::new();
        let folder = tempfile::tempdir().expect("a folder");
        for (content, code) in [
            (&b""[..], Code::TOKEN_MALFORMED),
            (b"hello", Code::TOKEN_MALFORMED),
            (&[0xff; 8], Code::INPUT_UNREADABLE),
            (&[b'a'; 100_000], Code::TOKEN_MALFORMED),
        ] {
            let path = folder.path().join("t");
            std::fs::write(&path, content).expect("written");
            let error = find(path.to_str(), &[], &none).await.expect_err("refused");
            assert_eq!(error.code(), code);
            assert!(error.to_string().contains(path.to_str().expect("a name")), "{error}");
        }
        for name in [folder.path().to_str().expect("a name"), "/nowhere/at all", "a.b.c", ""] {
            let error = find(Some(name), &[], &none).await.expect_err("refused");
            assert_eq!(error.code(), Code::INPUT_UNREADABLE, "{name}");
        }
    }

    #[tokio::test]
    async fn the_environment_comes_before_the_ci_job_and_both_after_what_was_given() {
        let replay = Replay::new();
        replay.answer("GET", ACTIONS_URL, 200, format!(r#"{{"value":"{}","count":1}}"#, token("RS256")));
        let (es, rs) = (token("ES256"), token("RS256"));
        let both = [("SIGSTORE_ID_TOKEN", es.as_str()), ACTIONS[0], ACTIONS[1]];
        assert_eq!(find(Some(&rs), &both, &replay).await, Ok(rs.clone()));
        assert_eq!(find(None, &both, &replay).await, Ok(es));
        assert!(replay.asked().is_empty());
        assert_eq!(find(None, &ACTIONS, &replay).await, Ok(rs));
        let asked = replay.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].header_value("authorization"), Some("Bearer request-token"));
        assert_eq!(find(None, &[], &replay).await, Err(TokenError::None));
    }

    #[tokio::test]
    async fn an_ambient_token_is_checked_like_any_other() {
        let none = Replay::new();
        let error = find(None, &[("SIGSTORE_ID_TOKEN", "/etc/passwd")], &none).await.expect_err("no file name here");
        assert_eq!(error.code(), Code::TOKEN_MALFORMED);
        assert!(error.to_string().contains("SIGSTORE_ID_TOKEN"), "{error}");
    }

    #[tokio::test]
    async fn github_that_refuses_is_quoted() {
        for (status, body) in [(403, "no permission"), (200, "{}"), (200, r#"{"value":7}"#), (200, "<html>")] {
            let replay = Replay::new();
            replay.answer("GET", ACTIONS_URL, status, body);
            let error = find(None, &ACTIONS, &replay).await.expect_err("refused");
            assert_eq!(error.code(), Code::NETWORK_REFUSED, "{body}");
            assert!(!error.to_string().contains("request-token"));
        }
        let error = find(None, &ACTIONS, &Replay::new()).await.expect_err("down");
        assert!(matches!(error, TokenError::Transport { .. }));
        let error = find(None, &[("GITHUB_ACTIONS", "true")], &Replay::new()).await.expect_err("not set up");
        assert!(error.to_string().contains("id-token: write"), "{error}");
        for url in ["nonsense", "ftp://x.example/"] {
            let error = find(None, &[("ACTIONS_ID_TOKEN_REQUEST_URL", url), ACTIONS[1]], &Replay::new()).await;
            assert!(error.is_err(), "{url}");
        }
    }

    async fn of(source: &str, variables: &[(&str, &str)], replay: &Replay) -> Result<String, TokenError> {
        let variables: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let wanted = Wanted { given: None, source: Some(source) };
        let found = identity_token(wanted, &|name| variables.get(name).cloned(), replay, AUDIENCE).await;
        found.map(|token| token.expose().clone())
    }

    #[tokio::test]
    async fn a_source_can_be_named() {
        let none = Replay::new();
        let es = token("ES256");
        assert_eq!(of("envvar", &[("SIGSTORE_ID_TOKEN", &es)], &none).await, Ok(es.clone()));
        // The others are not looked at, and one that is not there says so.
        let error = of("github-actions", &[("SIGSTORE_ID_TOKEN", &es)], &none).await.expect_err("no job");
        assert_eq!(error.code(), Code::NETWORK_REFUSED);
        let error = of("nobody", &[], &none).await.expect_err("unknown");
        assert_eq!(error.code(), Code::USAGE);
        assert!(AMBIENT.iter().all(|source| error.to_string().contains(source.id)), "{error}");
    }

    #[tokio::test]
    async fn buildkites_agent_is_asked_for_the_job() {
        const URL: &str = "https://agent.buildkite.example/v3/jobs/1/oidc/tokens";
        let job = [
            ("BUILDKITE_AGENT_ACCESS_TOKEN", "agent-token"),
            ("BUILDKITE_AGENT_ENDPOINT", "https://agent.buildkite.example/v3/"),
            ("BUILDKITE_JOB_ID", "1"),
        ];
        let replay = Replay::new();
        replay.answer("POST", URL, 200, format!(r#"{{"token":"{}"}}"#, token("RS256")));
        assert_eq!(find(None, &job, &replay).await, Ok(token("RS256")));
        let asked = replay.asked();
        assert_eq!(asked[0].header_value("authorization"), Some("Token agent-token"));
        for (status, body) in [(401, "no"), (200, "{}"), (200, "<html>")] {
            let replay = Replay::new();
            replay.answer("POST", URL, status, body);
            let error = find(None, &job, &replay).await.expect_err("refused");
            assert_eq!(error.code(), Code::NETWORK_REFUSED);
            assert!(!error.to_string().contains("agent-token"));
        }
        let error = of("buildkite-agent", &job[..1], &Replay::new()).await.expect_err("no job");
        assert!(error.to_string().contains("BUILDKITE_JOB_ID"), "{error}");
    }

    #[tokio::test]
    async fn googles_metadata_service_vouches_for_its_machine() {
        const IDENTITY: &str = "http://metadata.example/computeMetadata/v1/instance/service-accounts/default/identity?audience=sigstore&format=full";
        const ACCESS: &str = "http://metadata.example/computeMetadata/v1/instance/service-accounts/default/token";
        const ACCOUNT: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/robot@p.iam.gserviceaccount.com:generateIdToken";
        let machine = [("GCE_METADATA_HOST", "metadata.example")];
        let replay = Replay::new();
        replay.answer("GET", IDENTITY, 200, format!("{}\n", token("RS256")));
        assert_eq!(find(None, &machine, &replay).await, Ok(token("RS256")));
        assert_eq!(replay.asked()[0].header_value("metadata-flavor"), Some("Google"));

        let as_robot = [machine[0], ("GOOGLE_SERVICE_ACCOUNT_NAME", "robot@p.iam.gserviceaccount.com")];
        replay.answer("GET", ACCESS, 200, r#"{"access_token":"access","expires_in":9}"#);
        replay.answer("POST", ACCOUNT, 200, format!(r#"{{"token":"{}"}}"#, token("ES256")));
        assert_eq!(find(None, &as_robot, &replay).await, Ok(token("ES256")));
        let asked = replay.asked();
        assert_eq!(asked[2].header_value("authorization"), Some("Bearer access"));

        let down = find(None, &machine, &Replay::new()).await.expect_err("down");
        assert_eq!(down.code(), Code::NETWORK_UNREACHABLE);
        let replay = Replay::new();
        replay.answer("GET", IDENTITY, 404, "no account");
        assert_eq!(find(None, &machine, &replay).await.expect_err("refused").code(), Code::NETWORK_REFUSED);
        let foreign = [machine[0], ("GOOGLE_SERVICE_ACCOUNT_NAME", "../x")];
        assert_eq!(find(None, &foreign, &replay).await.expect_err("refused").code(), Code::NETWORK_REFUSED);
    }

    #[tokio::test]
    async fn a_program_of_circleci_is_run_within_bounds() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("circleci");
        let path = folder.path().to_str().expect("text");
        let job = [("CIRCLECI", "true"), ("PATH", path)];
        for (body, code) in [
            (format!("test \"$3\" = get && echo {}", token("RS256")), None),
            ("exit 3".to_owned(), Some(Code::NETWORK_REFUSED)),
            ("echo hello".to_owned(), Some(Code::TOKEN_MALFORMED)),
            (
                "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done".to_owned(),
                Some(Code::NETWORK_REFUSED),
            ),
        ] {
            std::fs::write(&script, format!("#!/bin/sh\n{body}\n")).expect("written");
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("set");
            let found = of("circleci", &job, &Replay::new()).await;
            assert_eq!(found.as_ref().err().map(TokenError::code), code, "{body}: {found:?}");
        }
        std::fs::remove_file(&script).expect("removed");
        assert_eq!(of("circleci", &job, &Replay::new()).await.expect_err("none").code(), Code::NETWORK_REFUSED);
    }
}
