//! Where a registry may lead us: redirects, places for uploads, and realms.

use super::{Registry, RegistryError};
use crate::transport::is_loopback;
use std::net::IpAddr;
use url::Url;

/// Domains below which everybody can have a name: neighbours there are strangers.
const SHARED: [&str; 36] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "appspot.com",
    "azure.com",
    "azurecontainer.io",
    "azurecr.cn",
    "azurecr.io",
    "azurecr.us",
    "azurewebsites.net",
    "b-cdn.net",
    "cloudfront.net",
    "digitaloceanspaces.com",
    "duckdns.org",
    "dyndns.org",
    "fastly.net",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "googleapis.com",
    "googleusercontent.com",
    "herokuapp.com",
    "jfrog.io",
    "netlify.app",
    "ngrok.io",
    "nip.io",
    "no-ip.org",
    "onrender.com",
    "pages.dev",
    "pkg.dev",
    "r2.dev",
    "run.app",
    "sslip.io",
    "vercel.app",
    "web.app",
    "windows.net",
    "workers.dev",
];
/// Second labels under which countries register: `co.uk`, `com.au`.
const REGISTERED_BELOW: [&str; 24] = [
    "ac", "asn", "asso", "co", "com", "edu", "firm", "gen", "go", "gob", "gouv", "gov", "gv", "id", "ind", "ltd", "me",
    "mil", "ne", "net", "nom", "or", "org", "plc",
];

impl Registry {
    /// Whether plain http may be spoken there.
    pub(super) fn may_be_plain(&self, url: &Url) -> bool {
        is_loopback(url) || self.inner.settings.plain_http
    }

    /// Why `from` may not lead us to `to`. What began with TLS goes on with it, nobody sends us to this machine who is not on it (what
    /// listens here alone is not for strangers), and credentials of others are none of ours.
    pub(super) fn leads_astray(&self, from: &Url, to: &Url) -> Option<&'static str> {
        match to.scheme() {
            "https" => {}
            "http" if from.scheme() == "http" && self.may_be_plain(to) => {}
            "http" => return Some("which is plain http"),
            _ => return Some("which is neither http nor https"),
        }
        if is_loopback(to) && !is_loopback(from) {
            return Some("which is this machine");
        }
        if !to.username().is_empty() || to.password().is_some() {
            return Some("which carries credentials");
        }
        None
    }

    /// As [`Registry::leads_astray`], for somewhere that a request would go.
    pub(super) fn follow(&self, from: &Url, to: &Url) -> Result<(), RegistryError> {
        match self.leads_astray(from, to) {
            None => Ok(()),
            Some(why) => {
                Err(RegistryError::Answer { url: shown(from), problem: format!("it leads to {}, {why}", shown(to)) })
            }
        }
    }
}

/// An address for messages: the queries of uploads and of storage are credentials.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// Whether whoever makes tokens at `realm` belongs to `registry`: the same host, or hosts of one domain that one owner registered, such
/// as `registry.gitlab.com` and `gitlab.com`, or Docker Hub's two. Others do not hear the credentials (CVE-2025-27403, CVE-2026-48978).
pub(super) fn belongs(realm: &Url, registry: &str) -> bool {
    let Some(realm) = realm.host_str().map(normal) else { return false };
    // `[::1]:5000`: the colons of an address in brackets begin no port.
    let registry = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => normal(host),
        _ => normal(registry),
    };
    if realm == registry {
        return true;
    }
    if is_address(&realm) || is_address(&registry) {
        return false;
    }
    if SHARED.iter().any(|domain| realm.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))) {
        return false;
    }
    let common = realm.rsplit('.').zip(registry.rsplit('.')).take_while(|(one, other)| one == other);
    match common.map(|(label, _)| label).collect::<Vec<_>>().as_slice() {
        [] | [_] => false,
        [country, second] => !(country.len() == 2 && (second.len() <= 2 || REGISTERED_BELOW.contains(second))),
        _ => true,
    }
}

fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_address(host: &str) -> bool {
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{belongs, shown};
    use url::Url;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    /// Row 18: a registry that names somebody else as its realm gets no credentials sent there.
    #[test]
    fn row_18_which_realms_belong_to_a_registry() {
        for (realm, registry) in [
            ("https://auth.docker.io/token", "docker.io"),
            ("https://gitlab.com/jwt/auth", "registry.gitlab.com"),
            ("https://registry.gitlab.com/jwt/auth", "gitlab.com"),
            ("https://GHCR.io./token", "ghcr.io"),
            ("https://icr.io/oauth/token", "us.icr.io"),
            ("https://team.azurecr.io/oauth2/token", "team.azurecr.io"),
            ("https://r.example/token", "r.example"),
            ("https://r.example/token", "r.example:5000"),
            ("https://auth.corp.co.uk/token", "registry.corp.co.uk"),
            ("http://127.0.0.1:9/token", "127.0.0.1:5000"),
            ("http://[::1]:9/token", "[::1]:5000"),
            ("http://[::1]:9/token", "[::1]"),
            ("http://localhost:9/token", "localhost:5000"),
        ] {
            assert!(belongs(&url(realm), registry), "{realm} of {registry}");
        }
        for (realm, registry) in [
            ("https://evil.example/token", "r.good.example"),
            ("https://evil.com/token", "good.com"),
            ("https://good.com.evil.net/token", "good.com"),
            ("https://evilgood.com/token", "good.com"),
            ("https://evil.co.uk/token", "good.co.uk"),
            ("https://evil.com.au/token", "good.com.au"),
            ("https://evil.gouv.fr/token", "good.gouv.fr"),
            ("https://evil.azurecr.io/token", "good.azurecr.io"),
            ("https://evil.workers.dev/token", "good.workers.dev"),
            ("https://2.dkr.ecr.eu-west-1.amazonaws.com/", "1.dkr.ecr.eu-west-1.amazonaws.com"),
            ("https://10.0.0.2/token", "10.0.0.1"),
            ("https://11.0.0.1/token", "10.0.0.1"),
            ("https://127.0.0.10/token", "127.0.0.1:5000"),
            ("http://localhost:5000/token", "127.0.0.1:5000"),
            ("http://[::2]:9/token", "[::1]:5000"),
            ("https://com/token", "good.com"),
            ("https://evil.registry/", "registry"),
        ] {
            assert!(!belongs(&url(realm), registry), "{realm} of {registry}");
        }
    }

    #[test]
    fn what_is_shown_of_an_address_holds_no_credentials() {
        assert_eq!(shown(&url("https://a:b@s.example/bucket?signature=1#f")), "https://s.example/bucket");
    }
}
