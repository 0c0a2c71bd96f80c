//! Who may ask: challenges of registries and tokens for them (RFC 7235; distribution `docs/spec/auth/token.md`, `oauth.md`).

use super::home::Home;
use super::keychain::{Login, login};
use super::reach::{belongs, shown};
use super::{Registry, RegistryError, client};
use formats::crypto::Secret;
use formats::json::{self, Node, encode_base64};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use url::Url;
use waxseal_formats as formats;

/// Longest answer of whoever makes tokens, in bytes.
pub(super) const MAX_ANSWER_LEN: usize = 64 << 10;
/// Longest challenge that is read, in bytes.
const MAX_CHALLENGE_LEN: usize = 4096;
/// How long a token is used that does not say how long it may be.
const LIFETIME: Duration = Duration::from_secs(60);
/// How much earlier than it ends a token is no longer used.
const MARGIN: Duration = Duration::from_secs(10);

/// What is to be done in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Pull,
    Push,
}

impl Action {
    const fn words(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// What a registry wants (`WWW-Authenticate`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

impl Challenge {
    /// Parses the challenges that are understood, and takes a realm rather than sending a password to the registry itself.
    pub(super) fn parse(headers: &[&str]) -> Option<Self> {
        let mut found: Vec<_> = Self::all(headers).collect();
        let realm = found.iter().position(|challenge| matches!(challenge, Self::Bearer { .. })).unwrap_or_default();
        (!found.is_empty()).then(|| found.swap_remove(realm))
    }

    fn all(headers: &[&str]) -> impl Iterator<Item = Self> {
        headers.iter().filter(|header| header.len() <= MAX_CHALLENGE_LEN).filter_map(|header| {
            let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if scheme.eq_ignore_ascii_case("basic") {
                return Some(Self::Basic);
            }
            if !scheme.eq_ignore_ascii_case("bearer") {
                return None;
            }
            let parameters = parameters(rest);
            let value = |name: &str| parameters.get(name).cloned().unwrap_or_default();
            let realm = value("realm");
            (!realm.is_empty()).then(|| Self::Bearer { realm, service: value("service"), scope: value("scope") })
        })
    }
}

/// `name="value"` pairs, separated by commas that do not stand in quotes.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut pairs = HashMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([',', ' ', '\t']).to_ascii_lowercase();
        let (value, remaining) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        pairs.insert(name, value.trim().to_owned());
        rest = remaining;
    }
    pairs
}

/// A request that a challenge is the answer to.
pub(super) struct Challenged<'a> {
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
    pub(super) action: Action,
    /// Where it went.
    pub(super) url: &'a Url,
    /// What it said in `Authorization`.
    pub(super) refused: Option<Secret<String>>,
}

impl Home {
    /// What to say in `Authorization`, if that is known already.
    pub(super) async fn known(&self, repository: &str, action: Action) -> Option<Secret<String>> {
        let tokens = self.tokens.lock().await;
        // Who may push may pull.
        [action, Action::Push].into_iter().find_map(|action| tokens.known(repository, action))
    }
}

impl Registry {
    /// Answers a challenge.
    pub(super) async fn authorize(
        &self,
        home: &Home,
        challenged: &Challenged<'_>,
        challenge: &Challenge,
    ) -> Result<Secret<String>, RegistryError> {
        let Challenged { registry, repository, action, refused, .. } = challenged;
        let is_refused =
            |value: &Secret<String>| refused.as_ref().is_some_and(|refused| refused.expose() == value.expose());
        // One asks, the others wait and take what it got: somebody else may have a newer one than what was refused.
        let mut tokens = home.tokens.lock().await;
        if let Some(value) = tokens.known(repository, *action).filter(|value| !is_refused(value)) {
            return Ok(value);
        }
        let login = home.login.get_or_try_init(|| self.login(registry)).await?;
        let unauthorized = |reason: &str| RegistryError::Unauthorized {
            registry: (*registry).to_owned(),
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
        };
        let (value, lifetime) = match (challenge, login) {
            (_, Login::Token(token)) => (bearer(token), Duration::from_secs(3600)),
            (Challenge::Basic, Login::Password { user, password }) => {
                (basic(user, password), Duration::from_secs(3600))
            }
            (Challenge::Basic, Login::Anonymous) => return Err(unauthorized("nobody is logged in")),
            (Challenge::Basic, Login::Refresh(_)) => return Err(unauthorized("it takes no identity token")),
            (Challenge::Bearer { realm, service, scope }, login) => {
                let wanted = format!("repository:{repository}:{}", action.words());
                let scope = if repository.is_empty() { scope } else { &wanted };
                self.token(challenged, realm, service, scope, login).await?
            }
        };
        if is_refused(&value) {
            return Err(unauthorized("it does not take the credentials"));
        }
        if header(&value).is_none() {
            return Err(unauthorized("the credentials cannot stand in a header"));
        }
        let now = Instant::now();
        let until = now.checked_add(lifetime.saturating_sub(MARGIN)).unwrap_or(now);
        tokens.keep(repository, *action, value.clone(), until);
        Ok(value)
    }

    async fn login(&self, registry: &str) -> Result<Login, RegistryError> {
        let (credentials, name) = (self.inner.settings.credentials.clone(), registry.to_owned());
        let found = tokio::task::spawn_blocking(move || login(&credentials, &name)).await;
        found.map_err(|error| RegistryError::File(error.to_string()))?
    }

    /// Has a token made. Credentials go to realms of the registry only.
    async fn token(
        &self,
        challenged: &Challenged<'_>,
        realm: &str,
        service: &str,
        scope: &str,
        login: &Login,
    ) -> Result<(Secret<String>, Duration), RegistryError> {
        let registry = challenged.registry;
        let foreign = || RegistryError::ForeignRealm {
            registry: registry.to_owned(),
            realm: Url::parse(realm).map_or_else(|_| realm.to_owned(), |realm| shown(&realm)),
        };
        let url = Url::parse(realm).map_err(|_| foreign())?;
        let anonymous = matches!(login, Login::Anonymous);
        let named = |host: &String| url.host_str().is_some_and(|found| host.eq_ignore_ascii_case(found));
        let belongs = self.inner.settings.token_hosts.iter().any(named) || belongs(&url, registry);
        // Even a request without credentials is not sent wherever a registry likes (CVE-2026-49478 and its kin).
        if self.leads_astray(challenged.url, &url).is_some() || !(belongs || anonymous) {
            return Err(foreign());
        }
        let client = self.client_for(challenged.url, &url);
        let request = match login {
            Login::Refresh(token) => client.post(url.clone()).form(&[
                ("grant_type", "refresh_token"),
                ("service", service),
                ("client_id", "waxseal"),
                ("scope", scope),
                ("refresh_token", token.expose()),
            ]),
            _ => {
                let mut url = url.clone();
                url.query_pairs_mut().append_pair("service", service).append_pair("scope", scope);
                let request = client.get(url);
                match login {
                    Login::Password { user, password } => match header(&basic(user, password)) {
                        Some(value) => request.header(AUTHORIZATION, value),
                        None => return Err(foreign()),
                    },
                    _ => request,
                }
            }
        };
        let response = client::send(request.timeout(self.inner.settings.pace.request), &url).await?;
        let status = response.status().as_u16();
        let what = format!("the answer of {}", shown(&url));
        let body = client::body(response, &what, MAX_ANSWER_LEN as u64).await?;
        if matches!(status, 400..=403) {
            let reason = client::message(&body);
            return Err(RegistryError::Unauthorized { registry: registry.to_owned(), reason: Some(reason) });
        }
        let unusable = |problem: &str| RegistryError::Answer { url: shown(&url), problem: problem.to_owned() };
        if status != 200 {
            return Err(RegistryError::Refused { url: shown(&url), status, message: client::message(&body) });
        }
        let document = json::parse(&body, MAX_ANSWER_LEN).map_err(|error| unusable(&error.to_string()))?;
        let node = Node::root(&document);
        let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
        let token =
            text("token").or_else(|| text("access_token")).ok_or_else(|| unusable("there is no token in it"))?;
        let lifetime = node.index_field("expires_in").ok().filter(|seconds| *seconds > 0);
        let lifetime = lifetime.map_or(LIFETIME, |seconds| Duration::from_secs(seconds.min(3600)));
        Ok((bearer(&Secret::new(token.to_owned())), lifetime))
    }
}

fn bearer(token: &Secret<String>) -> Secret<String> {
    Secret::new(format!("Bearer {}", token.expose()))
}

fn basic(user: &str, password: &Secret<String>) -> Secret<String> {
    let both = Secret::new(format!("{user}:{}", password.expose()));
    Secret::new(format!("Basic {}", encode_base64(both.expose().as_bytes())))
}

/// As the value of a header that is never printed.
pub(super) fn header(value: &Secret<String>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value.expose()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::Challenge;

    #[test]
    fn challenges_are_read() {
        let bearer = |text: &str| Challenge::parse(&[text]);
        assert_eq!(
            bearer(r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: "r.example".into(),
                scope: "repository:a/b:pull,push".into(),
            })
        );
        assert_eq!(
            bearer("bearer Realm=https://a/t, service=s"),
            Some(Challenge::Bearer { realm: "https://a/t".into(), service: "s".into(), scope: String::new() })
        );
        assert_eq!(Challenge::parse(&["Negotiate", r#"Basic realm="x""#]), Some(Challenge::Basic));
        // Where both are offered, the password goes to whoever makes tokens.
        let both = Challenge::parse(&[r#"Basic realm="x""#, r#"Bearer realm="https://a/t""#]);
        assert!(matches!(both, Some(Challenge::Bearer { .. })));
        let long = format!(r#"Bearer realm="https://a/{}""#, "t".repeat(5000));
        assert_eq!(Challenge::parse(&[&long]), None);
        for nothing in ["", "Bearer", r#"Bearer service="s""#, "Digest realm=x", r#"Bearer realm=""#] {
            assert_eq!(Challenge::parse(&[nothing]), None, "{nothing}");
        }
    }
}
