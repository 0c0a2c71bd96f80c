//! Who is accepted as the signer of a certificate: subject, issuer and other extensions.

use waxseal_formats::code::Code;
use waxseal_formats::extension::{FulcioExtensions, FulcioOid, SubjectAltName};
use waxseal_formats::pattern::Pattern;

/// One accepted identity. A certificate is accepted when subject, issuer and every listed extension match.
#[derive(Clone, Debug)]
pub struct IdentityPolicy {
    /// What the one subject alternative name has to match.
    pub subject: Pattern,
    /// What the token issuer (extension .8, else .1) has to match.
    pub issuer: Pattern,
    /// Further extensions and what they have to match; an absent extension never matches.
    pub extensions: Vec<(FulcioOid, Pattern)>,
}

/// Why a certificate's identity is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No identity was given to accept: an empty policy accepts nobody.
    #[error("no accepted identity was given")]
    NoPolicy,
    /// The subject is another one.
    #[error("the certificate is for {found:?}, which is not an accepted identity")]
    Subject {
        /// The certificate's subject.
        found: String,
    },
    /// The subject is accepted and its issuer is not.
    #[error("the certificate's identity was vouched for by {found:?}, which is not the accepted issuer")]
    Issuer {
        /// The certificate's token issuer, empty if it names none.
        found: String,
    },
    /// Subject and issuer are accepted and an extension is not.
    #[error("the certificate's {name} is {found:?}, which is not accepted")]
    Extension {
        /// The extension's friendly name.
        name: &'static str,
        /// Its value, if there is one.
        found: Option<String>,
    },
}

impl IdentityError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NoPolicy => Code::POLICY_MISSING,
            Self::Subject { .. } => Code::CERTIFICATE_IDENTITY,
            Self::Issuer { .. } => Code::CERTIFICATE_ISSUER,
            Self::Extension { .. } => Code::CERTIFICATE_EXTENSION,
        }
    }

    /// How much of an identity matched: the rejection that came furthest is the one worth telling.
    const fn depth(&self) -> u8 {
        match self {
            Self::NoPolicy => 0,
            Self::Subject { .. } => 1,
            Self::Issuer { .. } => 2,
            Self::Extension { .. } => 3,
        }
    }
}

/// Checks that one of `accepted` matches.
///
/// # Errors
/// The rejection of the identity that matched furthest; [`IdentityError::NoPolicy`] if `accepted` is empty.
pub fn check(
    accepted: &[IdentityPolicy],
    subject: &SubjectAltName,
    extensions: &FulcioExtensions,
) -> Result<(), IdentityError> {
    let mut nearest = IdentityError::NoPolicy;
    for identity in accepted {
        match identity.check(subject, extensions) {
            Ok(()) => return Ok(()),
            Err(error) if error.depth() > nearest.depth() => nearest = error,
            Err(_) => {}
        }
    }
    Err(nearest)
}

impl IdentityPolicy {
    fn check(&self, subject: &SubjectAltName, extensions: &FulcioExtensions) -> Result<(), IdentityError> {
        if !self.subject.matches(subject.as_str()) {
            return Err(IdentityError::Subject { found: subject.as_str().to_owned() });
        }
        let issuer = extensions.issuer();
        if !issuer.is_some_and(|issuer| self.issuer.matches(issuer)) {
            return Err(IdentityError::Issuer { found: issuer.unwrap_or_default().to_owned() });
        }
        for (oid, pattern) in &self.extensions {
            let found = extensions.get(*oid);
            if !found.is_some_and(|value| pattern.matches(value)) {
                return Err(IdentityError::Extension { name: oid.name(), found: found.map(str::to_owned) });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{IdentityError, IdentityPolicy, check};
    use waxseal_formats::code::Code;
    use waxseal_formats::extension::{FulcioExtensions, FulcioOid, SubjectAltName};
    use waxseal_formats::pattern::Pattern;

    const ISSUER: &str = "https://token.actions.githubusercontent.com";

    fn accepted(subject: Pattern) -> Vec<IdentityPolicy> {
        vec![IdentityPolicy {
            subject,
            issuer: Pattern::exact(ISSUER),
            extensions: vec![(FulcioOid::SourceRepositoryRef, Pattern::exact("refs/heads/main"))],
        }]
    }

    fn extensions(issuer: &str, reference: Option<&str>) -> FulcioExtensions {
        let mut extensions = FulcioExtensions::default();
        extensions.set(FulcioOid::IssuerV2, issuer.to_owned());
        if let Some(reference) = reference {
            extensions.set(FulcioOid::SourceRepositoryRef, reference.to_owned());
        }
        extensions
    }

    fn subject(text: &str) -> SubjectAltName {
        SubjectAltName::Uri(text.to_owned())
    }

    #[test]
    fn an_empty_policy_is_refused() {
        let error = check(&[], &subject("x"), &extensions(ISSUER, None)).expect_err("refused");
        assert_eq!(error.code(), Code::POLICY_MISSING);
    }

    #[test]
    fn each_part_is_compared_and_named() {
        let accepted = accepted(Pattern::exact("https://good/x"));
        let good = extensions(ISSUER, Some("refs/heads/main"));
        assert_eq!(check(&accepted, &subject("https://good/x"), &good), Ok(()));
        let code = |subject_text: &str, extensions: &FulcioExtensions| {
            check(&accepted, &subject(subject_text), extensions).expect_err("refused").code()
        };
        assert_eq!(code("https://good/y", &good), Code::CERTIFICATE_IDENTITY);
        assert_eq!(
            code("https://good/x", &extensions("https://evil", Some("refs/heads/main"))),
            Code::CERTIFICATE_ISSUER
        );
        assert_eq!(code("https://good/x", &FulcioExtensions::default()), Code::CERTIFICATE_ISSUER);
        assert_eq!(code("https://good/x", &extensions(ISSUER, Some("refs/heads/x"))), Code::CERTIFICATE_EXTENSION);
        assert_eq!(code("https://good/x", &extensions(ISSUER, None)), Code::CERTIFICATE_EXTENSION);
    }

    /// CVE-2022-35929 and CVE-2026-22772: a substring of the identity was enough.
    #[test]
    fn cve_2026_22772_unanchored_identity() {
        let accepted = accepted(Pattern::regex("https://good/.*").expect("regex"));
        let good = extensions(ISSUER, Some("refs/heads/main"));
        for evil in
            ["https://evil?https://good/x", "https://good.evil/x", "xhttps://good/x", "https://good/x\nhttps://evil"]
        {
            assert_eq!(
                check(&accepted, &subject(evil), &good),
                Err(IdentityError::Subject { found: evil.to_owned() }),
                "{evil}"
            );
        }
        assert_eq!(check(&accepted, &subject("https://good/x"), &good), Ok(()));
    }
}
