//! An issuer and the kind of identities that it vouches for.

use crate::oidc::Issuer;
use crate::provider::Provider;
use crate::rules::RulesError;
use std::sync::Arc;

/// An issuer with the kind of identities that it vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedIssuer {
    pub(super) issuer: Issuer,
    pub(super) own_audiences: Vec<String>,
    pub(super) kind: IssuerType,
}

/// What an issuer's tokens stand for, and so what a certificate calls their holders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerType {
    /// People: the certificate has their verified e-mail address.
    Email,
    /// Workflows of a CI provider.
    Ci {
        /// Which claims they have and what becomes of them.
        provider: Arc<Provider>,
        /// The web address of this provider's instance, without a slash at its end.
        url: String,
    },
}

impl IssuerType {
    /// The name of the type for people.
    pub const EMAIL: &'static str = "email";

    /// A built-in CI provider, at its usual web address.
    ///
    /// # Errors
    /// [`RulesError::Issuer`] if there is none of that name.
    pub fn ci(name: &str) -> Result<Self, RulesError> {
        let provider = Provider::built_in()?.into_iter().find(|provider| provider.name() == name);
        let fault = || RulesError::Issuer { issuer: name.to_owned(), reason: "no type of issuer".to_owned() };
        provider.map(|provider| Self::Ci { url: provider.url().to_owned(), provider }).ok_or_else(fault)
    }

    /// `email`, or the provider's name such as `github-workflow`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Email => Self::EMAIL,
            Self::Ci { provider, .. } => provider.name(),
        }
    }

    /// The claim whose text a client signs to prove that it has the key.
    #[must_use]
    pub const fn challenge_claim(&self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Ci { .. } => "sub",
        }
    }
}

impl AcceptedIssuer {
    /// What its tokens have to say to be accepted.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The audiences that a rule means which names none.
    #[must_use]
    pub fn own_audiences(&self) -> &[String] {
        &self.own_audiences
    }

    /// Whom it vouches for.
    #[must_use]
    pub const fn kind(&self) -> &IssuerType {
        &self.kind
    }
}
