//! What an entry's texts have to be.

use formats::jwt::JwkSet;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use url::{Host, Url};
use waxseal_formats as formats;

/// Longest PEM of certificate authorities, in bytes.
pub(super) const MAX_CA_LEN: usize = 512 * 1024;

/// An issuer is compared as text and fetched as a URL: https, or http for one on this machine.
pub(super) fn check_url(issuer: &str) -> Result<(), String> {
    let fault = |reason: &str| Err(reason.to_owned());
    let Ok(url) = Url::parse(issuer) else { return fault("not a URL") };
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return fault("a URL with a query, a fragment or a user");
    }
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Ok(()),
        ("http", Some(_)) if is_loopback(issuer) => Ok(()),
        ("http", _) => fault("plain http is accepted on loopback only"),
        _ => fault("not an https URL"),
    }
}

/// The issuer is on this machine.
pub(super) fn is_loopback(issuer: &str) -> bool {
    match Url::parse(issuer).as_ref().map(Url::host) {
        Ok(Some(Host::Ipv4(address))) => address.is_loopback(),
        Ok(Some(Host::Ipv6(address))) => address.is_loopback(),
        Ok(Some(Host::Domain(name))) => name == "localhost",
        _ => false,
    }
}

/// A pattern is https, and says which domain its issuers are in: its last two host labels are written out.
pub(super) fn check_pattern(pattern: &str) -> Result<(), String> {
    let fault = |reason: &str| Err(format!("`issuer_pattern`: {reason}"));
    let Some(rest) = pattern.strip_prefix("https://") else { return fault("not an https URL") };
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let mut labels = host.rsplit('.');
    let literal = |label: Option<&str>| label.is_some_and(|label| !label.is_empty() && !label.contains('*'));
    if !(literal(labels.next()) && literal(labels.next())) || port.contains('*') {
        return fault("the last two labels of its host have to be written out, and its port");
    }
    check_url(&pattern.replace('*', "x")).map_err(|reason| format!("`issuer_pattern`: {reason}"))
}

/// The domain behind the names of an issuer (types `uri`, with its scheme, and `username`, without): the issuer has to be of
/// the same one, so that nobody is named for somebody else's (Fulcio's rule: the last two labels).
pub(super) fn subject_domain(domain: &str, issuer: &str, with_scheme: bool) -> Result<String, String> {
    let fault = |reason: &str| Err(format!("`subject_domain: {domain}` {reason}"));
    let Ok(issuer) = Url::parse(&issuer.replace('*', "x")) else { return fault("has no issuer that is a URL") };
    let text = if with_scheme { domain.to_owned() } else { format!("https://{domain}") };
    let Some(url) = Url::parse(&text).ok().filter(Url::has_host) else {
        return fault(if with_scheme { "is no scheme and host" } else { "is no host name" });
    };
    // Nothing but what was written: no path, no port for a name, nothing that a parser has put right.
    let origin = url.origin().ascii_serialization();
    if origin != text || (!with_scheme && url.port().is_some()) {
        return fault(if with_scheme { "is not only scheme and host" } else { "is not only a host name" });
    }
    if with_scheme && url.scheme() != issuer.scheme() {
        return fault("has another scheme than the issuer");
    }
    if !same_domain(&url, &issuer) {
        return fault("is of another domain than the issuer");
    }
    Ok(domain.to_owned())
}

fn same_domain(one: &Url, other: &Url) -> bool {
    match (one.host(), other.host()) {
        (Some(Host::Domain(one)), Some(Host::Domain(other))) => {
            let last_two = |name: &str| {
                let mut labels = name.rsplit('.');
                Some((labels.next()?.to_owned(), labels.next()?.to_owned()))
            };
            one == other || last_two(one).is_some_and(|labels| last_two(other) == Some(labels))
        }
        (one, other) => one.is_some() && one == other,
    }
}

/// A trust domain (SPIFFE ID §2.1).
pub(super) fn check_trust_domain(name: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    if name.is_empty() || name.len() > 255 || !name.bytes().all(allowed) {
        return Err(format!("`spiffe_trust_domain: {name}` has something else than a-z, 0-9, `-`, `.` and `_`"));
    }
    Ok(())
}

/// The name of a claim, or a JSON Pointer to a value inside one.
pub(super) fn check_claim_path(path: &str) -> Result<(), String> {
    if let Some(dotted) = path.strip_prefix("$.") {
        return Err(format!("`{path}` is a JSONPath; write it as JSON Pointer: `/{}`", dotted.replace('.', "/")));
    }
    let pointer = path.starts_with('/');
    let escapes = path.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    if path.is_empty() || path == "/" || path.contains(char::is_control) || (pointer && !escapes) {
        return Err(format!("`{path}` is neither the name of a claim nor a JSON Pointer such as `/a/b`"));
    }
    Ok(())
}

pub(super) fn domains(list: &[String], most: usize) -> Result<Vec<String>, String> {
    let is_domain = |name: &String| {
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && label.len() <= 63
        };
        name.split('.').all(label)
    };
    if list.is_empty() || list.len() > most {
        return Err("`not_required_for` needs the domains whose addresses count without `email_verified`".to_owned());
    }
    match list.iter().find(|name| !is_domain(name)) {
        Some(other) => Err(format!("`not_required_for`: `{other}` is no domain; each is written out")),
        None => Ok(list.to_vec()),
    }
}

/// PEM of certificate authorities that a TLS client can trust: one at least, and all of them.
pub(super) fn check_ca(pem: &str) -> Result<(), String> {
    if pem.len() > MAX_CA_LEN {
        return Err(format!("longer than {MAX_CA_LEN} bytes"));
    }
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("no PEM of certificates: {error}"))?;
        webpki::anchor_from_trusted_cert(&certificate).map_err(|error| format!("no PEM of certificates: {error}"))?;
        count = count.saturating_add(1);
    }
    if count == 0 { Err("no PEM of certificates".to_owned()) } else { Ok(()) }
}

/// A key set as JSON in a text, or as YAML.
pub(super) fn key_set(value: &Value) -> Result<JwkSet, String> {
    let json = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let keys = JwkSet::from_json(json.as_bytes()).map_err(|error| format!("`jwks`: {error}"))?;
    if keys.keys().is_empty() { Err("`jwks` has no key that can verify a signature".to_owned()) } else { Ok(keys) }
}
