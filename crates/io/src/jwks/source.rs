//! Where the keys of which issuer come from.

use formats::jwt::JwkSet;
use formats::pattern::Pattern;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use waxseal_formats as formats;

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// They are known and the issuer is never asked.
    Static(Arc<JwkSet>),
    /// From the issuer.
    Discovery(Discovery),
    /// From nowhere, for this reason: what its entry names cannot be used.
    Unusable(String),
}

/// How an issuer is asked: at its URL, with the system's certificate authorities and without credentials, unless this says
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// What its discovery document may call it besides its URL.
    pub aliases: Vec<String>,
    /// PEM of the certificate authorities to trust for its host instead of the system's.
    pub authorities: Option<Arc<str>>,
    /// A file with a bearer token for its host, read anew each time: Kubernetes exchanges it every hour.
    pub token_file: Option<PathBuf>,
}

impl Default for Source {
    fn default() -> Self {
        Self::Discovery(Discovery::default())
    }
}

/// The sources of all issuers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    named: HashMap<String, Source>,
    patterns: Vec<(Pattern, Source)>,
}

impl Sources {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the source of one issuer.
    pub fn issuer(&mut self, url: impl Into<String>, source: Source) {
        self.named.insert(url.into(), source);
    }

    /// Adds the source of the issuers whose URL matches and that have none by their URL. The first pattern that matches
    /// counts.
    pub fn pattern(&mut self, pattern: Pattern, source: Source) {
        self.patterns.push((pattern, source));
    }

    pub(super) fn find(&self, issuer: &str) -> Option<Source> {
        let by_pattern = || self.patterns.iter().find(|(pattern, _)| pattern.matches(issuer)).map(|(_, source)| source);
        self.named.get(issuer).or_else(by_pattern).cloned()
    }

    pub(super) fn names(&self, issuer: &str) -> bool {
        self.named.contains_key(issuer)
    }

    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.named.iter().map(|(issuer, source)| (issuer.as_str(), source))
    }
}
