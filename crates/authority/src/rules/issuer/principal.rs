//! What a certificate says about the holder of a verified token.

use super::{AcceptedIssuer, IssuerType};
use crate::oidc::{ClaimError, Claims};
use formats::extension::{FulcioExtensions, FulcioOid, SubjectAltName};
use waxseal_formats as formats;

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
        let (subject_alt_name, extensions) = principal(&self.kind, claims)?;
        let challenge_names = challenge_names(&subject_alt_name, claims);
        Ok(Principal { subject_alt_name, extensions, challenge_names })
    }
}

/// The certificate's name and extensions.
fn principal(kind: &IssuerType, claims: &Claims) -> Result<(SubjectAltName, FulcioExtensions), ClaimError> {
    let (name, mut extensions) = match kind {
        IssuerType::Email => (SubjectAltName::Email(claims.verified_email()?.to_owned()), FulcioExtensions::default()),
        IssuerType::Ci { provider, url } => provider.principal(claims, url)?,
    };
    extensions.set(FulcioOid::Issuer, claims.issuer());
    extensions.set(FulcioOid::IssuerV2, claims.issuer());
    if claims.subject().chars().any(char::is_control) {
        return Err(ClaimError::not("sub", "free of control characters"));
    }
    extensions.set(FulcioOid::TokenSubject, claims.subject());
    Ok((name, extensions))
}

fn challenge_names(name: &SubjectAltName, claims: &Claims) -> Vec<String> {
    let configured = match name {
        SubjectAltName::Email(email) => email.as_str(),
        SubjectAltName::Uri(_) | SubjectAltName::Username(_) => claims.subject(),
    };
    let derived = claims.verified_email().unwrap_or_else(|_| claims.subject());
    let mut names = vec![configured.to_owned()];
    if derived != configured {
        names.push(derived.to_owned());
    }
    names
}
