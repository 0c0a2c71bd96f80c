//! An issuer whose tokens are looked at: whom it vouches for, and where its keys come from.

use crate::oidc::{EmailVerified, Issuer};
use crate::provider::Provider;
use crate::rules::RulesError;
use formats::jwt::JwkSet;
use formats::pattern::Pattern;
use serde::Serialize;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use waxseal_formats as formats;

/// An issuer with the kind of identities that it vouches for, or all issuers of one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedIssuer {
    pub(super) issuer: Issuer,
    pub(super) pattern: Option<Pattern>,
    pub(super) own_audiences: Vec<String>,
    pub(super) kind: IssuerType,
    pub(super) keys: KeySource,
    pub(super) email_verified: EmailVerified,
    pub(super) issuer_claim: Option<String>,
    pub(super) challenge_claim: Option<ChallengeClaim>,
    pub(super) subject_extension: bool,
    pub(super) single_use: bool,
    pub(super) limits: IssuerLimits,
}

/// What an issuer's tokens stand for, and so what a certificate calls their holders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerType {
    /// People: the certificate has their verified e-mail address.
    Email,
    /// People or services with a name: `sub` and a domain, as otherName.
    Username {
        /// What stands behind the `!`.
        domain: String,
    },
    /// Holders whose `sub` is a URI below one of the issuer's own.
    Uri {
        /// Scheme and host, without a slash at the end.
        domain: String,
    },
    /// Workloads whose `sub` is a SPIFFE ID.
    Spiffe {
        /// The one trust domain that the issuer speaks for.
        trust_domain: String,
    },
    /// Service accounts of a Kubernetes cluster.
    Kubernetes,
    /// Identities of Chainguard: issuer and `sub`.
    Chainguard,
    /// Workflows of a CI provider.
    Ci {
        /// Which claims they have and what becomes of them.
        provider: Arc<Provider>,
        /// The web address of this provider's instance, without a slash at its end.
        url: String,
    },
}

/// Types that Fulcio calls by the provider's name; it calls the others `ci-provider`.
const NAMED_BY_FULCIO: [&str; 4] = ["github-workflow", "gitlab-pipeline", "buildkite-job", "codefresh-workflow"];

impl IssuerType {
    /// The name of the type for people.
    pub const EMAIL: &'static str = "email";
    /// The type for names that are no addresses.
    pub const USERNAME: &'static str = "username";
    /// The type for URIs.
    pub const URI: &'static str = "uri";
    /// The type for SPIFFE IDs.
    pub const SPIFFE: &'static str = "spiffe";
    /// The type for service accounts of Kubernetes.
    pub const KUBERNETES: &'static str = "kubernetes";
    /// The type for Chainguard's identities.
    pub const CHAINGUARD: &'static str = "chainguard-identity";
    /// The type of every CI provider that is named beside it.
    pub const CI_PROVIDER: &'static str = "ci-provider";

    /// A built-in CI provider, at its usual web address.
    ///
    /// # Errors
    /// [`RulesError::Issuer`] if there is none of that name.
    pub fn ci(name: &str) -> Result<Self, RulesError> {
        let provider = Provider::built_in()?.into_iter().find(|provider| provider.name() == name);
        let fault = || RulesError::Issuer { issuer: name.to_owned(), reason: "no type of issuer".to_owned() };
        provider.map(|provider| Self::Ci { url: provider.public_url(), provider }).ok_or_else(fault)
    }

    /// `email`, or the provider's name such as `github-workflow`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Email => Self::EMAIL,
            Self::Username { .. } => Self::USERNAME,
            Self::Uri { .. } => Self::URI,
            Self::Spiffe { .. } => Self::SPIFFE,
            Self::Kubernetes => Self::KUBERNETES,
            Self::Chainguard => Self::CHAINGUARD,
            Self::Ci { provider, .. } => provider.name(),
        }
    }

    /// The claim whose text a client signs to prove that it has the key, unless the issuer's entry names another.
    #[must_use]
    pub const fn challenge_claim(&self) -> &'static str {
        match self {
            Self::Email => ChallengeClaim::Email.name(),
            _ => ChallengeClaim::Subject.name(),
        }
    }
}

/// Which claim clients sign to prove that they have the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChallengeClaim {
    Email,
    Subject,
}

impl ChallengeClaim {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Subject => "sub",
        }
    }
}

/// Where the keys of an issuer come from. Files are named, not read: that is for whoever has a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// From this very process.
    Own,
    /// From the rules file.
    Static(JwkSet),
    /// From a file with a JSON Web Key Set.
    File(PathBuf),
    /// From the issuer, by OpenID Connect Discovery.
    Discovery {
        /// Which certificate authorities to trust for it instead of the system's.
        ca: Option<CaSource>,
        /// A file with a bearer token that the issuer wants to see before it says what its keys are. It is for the
        /// issuer's own host and port, and for nobody else.
        token_file: Option<PathBuf>,
    },
}

/// Certificate authorities for an issuer's TLS certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaSource {
    /// PEM, known to hold certificates.
    Inline(String),
    /// A file with PEM.
    File(PathBuf),
}

impl CaSource {
    /// Longest PEM, in bytes.
    pub const MAX_LEN: usize = super::check::MAX_CA_LEN;

    /// Can a TLS client trust what is in this PEM? There has to be a certificate, and no faulty one.
    ///
    /// # Errors
    /// What it is instead.
    pub fn check(pem: &str) -> Result<(), String> {
        super::check::check_ca(pem)
    }
}

impl KeySource {
    /// The file that it names and that is read when the rules are. The token is read each time that it is sent.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Discovery { ca: Some(CaSource::File(path)), .. } => Some(path),
            Self::Own | Self::Static(_) | Self::Discovery { .. } => None,
        }
    }
}

/// What the identities of an issuer may ask for. Nothing is limited unless it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IssuerLimits {
    /// Most certificates a minute for one identity.
    pub certificates_per_minute: Option<NonZeroU32>,
}

/// What Fulcio's `configuration` says about one issuer and audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerConfiguration {
    /// The issuer's URL; None for a pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
    /// The pattern of its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wildcard_issuer_url: Option<String>,
    /// An audience that its tokens may have.
    pub audience: String,
    /// `email` or `sub`.
    pub challenge_claim: String,
    /// For the type `spiffe`, else empty.
    pub spiffe_trust_domain: String,
    /// The type as Fulcio calls it.
    pub issuer_type: String,
    /// For the types `uri` and `username`, else empty.
    pub subject_domain: String,
    /// Some addresses count without `email_verified`.
    pub skip_email_verification: bool,
}

impl AcceptedIssuer {
    /// An issuer of that type about which nothing else is said.
    pub(super) fn plain(url: &str, kind: IssuerType, keys: KeySource) -> Self {
        Self {
            issuer: Issuer::new(url, Vec::new()),
            pattern: None,
            own_audiences: vec![super::DEFAULT_AUDIENCE.to_owned()],
            kind,
            keys,
            email_verified: EmailVerified::Required,
            issuer_claim: None,
            challenge_claim: None,
            subject_extension: true,
            single_use: false,
            limits: IssuerLimits::default(),
        }
    }

    /// What its tokens have to say to be accepted. For a pattern that [`super::Rules::issuers`] lists, the URL is the
    /// pattern; the one that [`super::Rules::accepted`] returns for a token is always one issuer.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The pattern that its URL matches, if it is known by one.
    #[must_use]
    pub const fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
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

    /// Where its keys come from.
    #[must_use]
    pub const fn keys(&self) -> &KeySource {
        &self.keys
    }

    /// Each of its tokens is good for one certificate.
    #[must_use]
    pub const fn single_use(&self) -> bool {
        self.single_use
    }

    /// What its identities may ask for.
    #[must_use]
    pub const fn limits(&self) -> IssuerLimits {
        self.limits
    }

    /// The claim whose text clients sign.
    #[must_use]
    pub const fn challenge_claim(&self) -> &'static str {
        match self.challenge_claim {
            Some(claim) => claim.name(),
            None => self.kind.challenge_claim(),
        }
    }

    /// What Fulcio's `configuration` says about it, once for each audience.
    #[must_use]
    pub fn configuration(&self) -> Vec<IssuerConfiguration> {
        let audiences = if self.issuer.audiences().is_empty() { &self.own_audiences } else { self.issuer.audiences() };
        let name = Some(self.issuer.url().to_owned());
        let (issuer_url, wildcard_issuer_url) = if self.pattern.is_some() { (None, name) } else { (name, None) };
        let (trust_domain, subject_domain) = match &self.kind {
            IssuerType::Spiffe { trust_domain } => (trust_domain.as_str(), ""),
            IssuerType::Username { domain } | IssuerType::Uri { domain } => ("", domain.as_str()),
            _ => ("", ""),
        };
        let issuer_type = match &self.kind {
            IssuerType::Ci { provider, .. } if !NAMED_BY_FULCIO.contains(&provider.name()) => IssuerType::CI_PROVIDER,
            kind => kind.name(),
        };
        let one = |audience: &String| IssuerConfiguration {
            issuer_url: issuer_url.clone(),
            wildcard_issuer_url: wildcard_issuer_url.clone(),
            audience: audience.clone(),
            challenge_claim: self.challenge_claim().to_owned(),
            spiffe_trust_domain: trust_domain.to_owned(),
            issuer_type: issuer_type.to_owned(),
            subject_domain: subject_domain.to_owned(),
            skip_email_verification: matches!(self.email_verified, EmailVerified::NotRequiredFor(_)),
        };
        audiences.iter().map(one).collect()
    }
}
