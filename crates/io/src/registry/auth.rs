//! Who may ask: challenges of registries and tokens for them (RFC 7235; distribution `docs/spec/auth/token.md`, `oauth.md`).

use super::keychain::{Login, login};
use super::{Registry, RegistryError, client};
use formats::crypto::Secret;
use formats::json::{self, Node, encode_base64};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use url::{Host, Url};
use waxseal_formats as formats;

/// Longest answer of whoever makes tokens, in bytes.
const MAX_ANSWER_LEN: usize = 256 << 10;
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

/// A registry, a repository, and what is to be done there.
type Purpose = (String, String, Action);

/// What is known of registries. While one asks, those who want the same wait for what it gets: that is why the locks are held.
#[derive(Default)]
pub(super) struct Tokens {
    /// What to say in `Authorization`, and until when.
    known: Mutex<HashMap<Purpose, (Secret<String>, Instant)>>,
    /// Whom to be.
    logins: Mutex<HashMap<String, Login>>,
    /// Which hosts do not speak https.
    plain: Mutex<HashMap<String, bool>>,
}

impl Tokens {
    /// Whether a host does not speak https, which `https` is asked for once.
    pub(super) async fn is_plain(
        &self,
        host: &str,
        https: impl FnOnce() -> Result<Url, RegistryError>,
        registry: &Registry,
    ) -> Result<bool, RegistryError> {
        let mut plain = self.plain.lock().await;
        if let Some(known) = plain.get(host) {
            return Ok(*known);
        }
        let url = https()?;
        let asked = client::send(registry.client(&url).get(url.clone()).timeout(super::TIMEOUT), url.as_str()).await;
        plain.insert(host.to_owned(), asked.is_err());
        Ok(asked.is_err())
    }
}

/// What a registry wants (`WWW-Authenticate`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

impl Challenge {
    /// Parses the first challenge that is understood.
    pub(super) fn parse(headers: &[&str]) -> Option<Self> {
        headers.iter().find_map(|header| {
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

impl Registry {
    /// What to say in `Authorization`, if that is known already.
    pub(super) async fn known(&self, registry: &str, repository: &str, action: Action) -> Option<Secret<String>> {
        let known = self.inner.tokens.known.lock().await;
        // Who may push may pull.
        [action, Action::Push].iter().find_map(|action| {
            let (value, until) = known.get(&(registry.to_owned(), repository.to_owned(), *action))?;
            (Instant::now() < *until).then(|| value.clone())
        })
    }

    /// Answers a challenge. `refused` is what did not do: somebody else may have got a newer one meanwhile.
    pub(super) async fn authorize(
        &self,
        registry: &str,
        repository: &str,
        action: Action,
        challenge: &Challenge,
        refused: Option<&Secret<String>>,
    ) -> Result<Secret<String>, RegistryError> {
        // One asks, the others wait and take what it got.
        let mut known = self.inner.tokens.known.lock().await;
        let key = (registry.to_owned(), repository.to_owned(), action);
        if let Some((value, until)) = known.get(&key)
            && Instant::now() < *until
            && refused.is_none_or(|refused| refused.expose() != value.expose())
        {
            return Ok(value.clone());
        }
        let login = self.login(registry).await?;
        let unauthorized = |reason: &str| RegistryError::Unauthorized {
            registry: registry.to_owned(),
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
        };
        let (value, lifetime) = match (challenge, &login) {
            (_, Login::Token(token)) => (bearer(token), Duration::from_secs(3600)),
            (Challenge::Basic, Login::Password { user, password }) => {
                (basic(user, password), Duration::from_secs(3600))
            }
            (Challenge::Basic, Login::Anonymous) => return Err(unauthorized("nobody is logged in")),
            (Challenge::Basic, Login::Refresh(_)) => return Err(unauthorized("it takes no identity token")),
            (Challenge::Bearer { realm, service, scope }, login) => {
                let wanted = format!("repository:{repository}:{}", action.words());
                let scope = if repository.is_empty() { scope } else { &wanted };
                self.token(registry, realm, service, scope, login).await?
            }
        };
        if refused.is_some_and(|refused| refused.expose() == value.expose()) {
            return Err(unauthorized("it does not take the credentials"));
        }
        known.insert(key, (value.clone(), Instant::now() + lifetime.saturating_sub(MARGIN)));
        Ok(value)
    }

    async fn login(&self, registry: &str) -> Result<Login, RegistryError> {
        let mut logins = self.inner.tokens.logins.lock().await;
        if let Some(login) = logins.get(registry) {
            return Ok(login.clone());
        }
        let (credentials, name) = (self.inner.settings.credentials.clone(), registry.to_owned());
        let found = tokio::task::spawn_blocking(move || login(&credentials, &name)).await;
        let found = found.map_err(|error| RegistryError::File(error.to_string()))??;
        logins.insert(registry.to_owned(), found.clone());
        Ok(found)
    }

    /// Has a token made. Credentials go to realms of the registry only.
    async fn token(
        &self,
        registry: &str,
        realm: &str,
        service: &str,
        scope: &str,
        login: &Login,
    ) -> Result<(Secret<String>, Duration), RegistryError> {
        let foreign = || RegistryError::ForeignRealm { registry: registry.to_owned(), realm: realm.to_owned() };
        let url = Url::parse(realm).map_err(|_| foreign())?;
        let anonymous = matches!(login, Login::Anonymous);
        let belongs =
            self.inner.settings.token_hosts.iter().any(|host| url.host_str() == Some(host)) || belongs(&url, registry);
        // Even a request without credentials is not sent wherever a registry likes (CVE-2026-49478 and its kin).
        let secure = url.scheme() == "https" || self.may_be_plain(&url);
        if !secure || !(belongs || anonymous) {
            return Err(foreign());
        }
        let client = self.client(&url);
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
                    Login::Password { user, password } => {
                        request.header("authorization", basic(user, password).expose())
                    }
                    _ => request,
                }
            }
        };
        let response = client::send(request.timeout(super::TIMEOUT), url.as_str()).await?;
        let status = response.status().as_u16();
        let body = client::body(response, url.as_str(), MAX_ANSWER_LEN as u64).await?;
        if matches!(status, 400..=403) {
            let reason = client::message(&body);
            return Err(RegistryError::Unauthorized { registry: registry.to_owned(), reason: Some(reason) });
        }
        let unusable = |problem: &str| RegistryError::Answer { url: url.to_string(), problem: problem.to_owned() };
        if status != 200 {
            return Err(RegistryError::Refused { url: url.to_string(), status, message: client::message(&body) });
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

/// Whether whoever makes tokens at `realm` belongs to `registry`: the same host, or hosts of one domain that is no mere ending, such as
/// `registry.gitlab.com` and `gitlab.com`, or Docker Hub's two.
fn belongs(realm: &Url, registry: &str) -> bool {
    let Some(Host::Domain(realm)) = realm.host() else {
        return realm.host_str().is_some_and(|host| registry == host || registry.starts_with(&format!("{host}:")));
    };
    let registry = registry.rsplit_once(':').map_or(registry, |(host, _)| host).to_ascii_lowercase();
    if realm == registry {
        return true;
    }
    let labels = |host: &str| host.rsplit('.').map(ToOwned::to_owned).collect::<Vec<_>>();
    let (a, b) = (labels(realm), labels(&registry));
    let shared = a.iter().zip(&b).take_while(|(one, other)| one == other).count();
    // `co.uk`, `com.au`: two short labels at the end are shared by strangers.
    let ending = |labels: &[String]| {
        matches!(labels, [last, before, ..] if last.len() == 2 && before.len() <= 3) && labels.len() >= 2
    };
    let needed = if ending(&a) { 3 } else { 2 };
    // Where anybody gets a name, neighbours are strangers.
    let shared_hosting = ["github.io", "azurewebsites.net", "herokuapp.com", "amazonaws.com", "run.app", "azurecr.io"];
    let neighbours = shared_hosting.iter().any(|domain| registry.ends_with(&format!(".{domain}")));
    shared >= needed && !neighbours
}

#[cfg(test)]
mod tests {
    use super::{Challenge, belongs};
    use url::Url;

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
        for nothing in ["", "Bearer", r#"Bearer service="s""#, "Digest realm=x", r#"Bearer realm=""#] {
            assert_eq!(Challenge::parse(&[nothing]), None, "{nothing}");
        }
    }

    /// Row 18: a registry that names somebody else as its realm gets no credentials sent there.
    #[test]
    fn row_18_which_realms_belong_to_a_registry() {
        let at = |realm: &str, registry: &str| belongs(&Url::parse(realm).expect("a URL"), registry);
        for (realm, registry) in [
            ("https://auth.docker.io/token", "docker.io"),
            ("https://gitlab.com/jwt/auth", "registry.gitlab.com"),
            ("https://r.example/token", "r.example"),
            ("https://r.example/token", "r.example:5000"),
            ("https://auth.corp.co.uk/token", "registry.corp.co.uk"),
            ("http://127.0.0.1:9/token", "127.0.0.1:5000"),
            ("http://localhost:9/token", "localhost:5000"),
        ] {
            assert!(at(realm, registry), "{realm} of {registry}");
        }
        for (realm, registry) in [
            ("https://evil.example/token", "r.good.example"),
            ("https://evil.com/token", "good.com"),
            ("https://good.com.evil.net/token", "good.com"),
            ("https://evilgood.com/token", "good.com"),
            ("https://evil.co.uk/token", "good.co.uk"),
            ("https://evil.azurecr.io/token", "good.azurecr.io"),
            ("https://10.0.0.2/token", "10.0.0.1"),
            ("https://127.0.0.10/token", "127.0.0.1:5000"),
            ("https://com/token", "good.com"),
        ] {
            assert!(!at(realm, registry), "{realm} of {registry}");
        }
    }
}
