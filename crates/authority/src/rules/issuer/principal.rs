//! What a certificate says about the holder of a verified token.

use super::accepted::ChallengeClaim;
use super::{AcceptedIssuer, IssuerType};
use crate::oidc::{ClaimError, Claims};
use formats::extension::{FulcioExtensions, FulcioOid, SubjectAltName};
use url::Url;
use waxseal_formats as formats;

/// Longest name, in bytes. A SPIFFE ID may have as many (SPIFFE ID §2.3).
const MAX_NAME_LEN: usize = 2048;

/// The holder of a token, as its issuer's type says.
pub(in crate::rules) struct Principal {
    /// The certificate's one name.
    pub subject_alt_name: SubjectAltName,
    /// Its extensions of Fulcio's arc.
    pub extensions: FulcioExtensions,
    /// The texts of which one has to be signed to prove that the key is there.
    pub challenge_names: Vec<String>,
}

impl AcceptedIssuer {
    pub(in crate::rules) fn principal(&self, claims: &Claims) -> Result<Principal, ClaimError> {
        let (subject_alt_name, mut extensions) = self.named(claims)?;
        let issuer = match &self.issuer_claim {
            None => claims.issuer().to_owned(),
            Some(claim) => {
                let issuer = claims.text(claim)?;
                if issuer.len() > MAX_NAME_LEN || issuer.contains(char::is_control) {
                    return Err(ClaimError::not(claim, "the name of an issuer"));
                }
                issuer
            }
        };
        extensions.set(FulcioOid::Issuer, issuer.as_str());
        extensions.set(FulcioOid::IssuerV2, issuer);
        if claims.subject().contains(char::is_control) {
            return Err(ClaimError::not("sub", "free of control characters"));
        }
        if self.subject_extension {
            extensions.set(FulcioOid::TokenSubject, claims.subject());
        }
        let challenge_names = self.challenge_names(&subject_alt_name, claims);
        Ok(Principal { subject_alt_name, extensions, challenge_names })
    }

    fn named(&self, claims: &Claims) -> Result<(SubjectAltName, FulcioExtensions), ClaimError> {
        let subject = claims.subject();
        let name = match &self.kind {
            IssuerType::Ci { provider, url } => return provider.principal(claims, url),
            IssuerType::Email => SubjectAltName::Email(claims.email(&self.email_verified)?.to_owned()),
            IssuerType::Username { domain } => username(subject, domain)?,
            IssuerType::Uri { domain } => {
                let below = subject.strip_prefix(domain.as_str());
                if !below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                    return Err(ClaimError::not("sub", "a URI below the issuer's `subject_domain`"));
                }
                uri("sub", subject.to_owned())?
            }
            IssuerType::Spiffe { trust_domain } => {
                if !is_spiffe_id(subject, trust_domain) {
                    return Err(ClaimError::not("sub", "a SPIFFE ID of the issuer's trust domain"));
                }
                uri("sub", subject.to_owned())?
            }
            IssuerType::Kubernetes => {
                let namespace = kubernetes_name(claims, "/kubernetes.io/namespace")?;
                let account = kubernetes_name(claims, "/kubernetes.io/serviceaccount/name")?;
                let name = format!("https://kubernetes.io/namespaces/{namespace}/serviceaccounts/{account}");
                uri("/kubernetes.io/namespace", name)?
            }
            // `..` would climb out of the issuer when somebody cleans the path.
            IssuerType::Chainguard => {
                if subject.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
                    return Err(ClaimError::not("sub", "a path below the issuer"));
                }
                uri("sub", format!("{}/{subject}", claims.issuer().trim_end_matches('/')))?
            }
        };
        Ok((name, FulcioExtensions::default()))
    }

    fn challenge_names(&self, name: &SubjectAltName, claims: &Claims) -> Vec<String> {
        let by_type = match (name, &self.kind) {
            (SubjectAltName::Email(email), _) => email.as_str(),
            (_, IssuerType::Chainguard) => claims.client_name(),
            (SubjectAltName::Uri(_) | SubjectAltName::Username(_), _) => claims.subject(),
        };
        let by_entry = match self.challenge_claim {
            Some(ChallengeClaim::Email) => claims.email(&self.email_verified).ok(),
            Some(ChallengeClaim::Subject) => Some(claims.subject()),
            None => None,
        };
        let mut names = Vec::new();
        for name in by_entry.into_iter().chain([by_type, claims.client_name()]) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

fn username(subject: &str, domain: &str) -> Result<SubjectAltName, ClaimError> {
    if subject.contains('@') {
        return Err(ClaimError::not("sub", "a user name, which has no `@`"));
    }
    if subject.contains('!') {
        return Err(ClaimError::not("sub", "a user name, which has no `!`"));
    }
    if subject.contains(char::is_control) || subject.len() > MAX_NAME_LEN {
        return Err(ClaimError::not("sub", "a user name"));
    }
    Ok(SubjectAltName::Username(format!("{subject}!{domain}")))
}

/// A name that IA5String can hold and that no reader takes for two.
fn uri(claim: &str, name: String) -> Result<SubjectAltName, ClaimError> {
    let plain = name.len() <= MAX_NAME_LEN && name.bytes().all(|b| b.is_ascii_graphic());
    match Url::parse(&name) {
        Ok(url) if plain && url.username().is_empty() && url.password().is_none() => Ok(SubjectAltName::Uri(name)),
        _ => Err(ClaimError::not(claim, "a part of a URI")),
    }
}

/// A workload's ID (SPIFFE ID §2): `spiffe://`, the trust domain and a path without empty, `.` and `..` segments.
fn is_spiffe_id(id: &str, trust_domain: &str) -> bool {
    let path = id.strip_prefix("spiffe://").and_then(|rest| rest.strip_prefix(trust_domain));
    let Some(path) = path.and_then(|path| path.strip_prefix('/')) else { return false };
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..") && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    id.len() <= MAX_NAME_LEN && path.split('/').all(segment)
}

/// A namespace or service account (RFC 1123 names, as Kubernetes has them).
fn kubernetes_name(claims: &Claims, path: &str) -> Result<String, ClaimError> {
    let name = claims.text(path)?;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if name.len() > 253 || !name.bytes().all(allowed) || name.split('.').any(|label| label.is_empty()) {
        return Err(ClaimError::not(path, "a name of Kubernetes"));
    }
    Ok(name)
}
