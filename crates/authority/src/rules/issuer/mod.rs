//! The issuers that an instance listens to: what the rules file says under `issuers:`, and those that rules name.

mod accepted;
mod entry;
mod principal;

use super::file::{MAX_RULES, RulesError, unique};
use formats::pattern::Pattern;
use std::borrow::Cow;
use std::collections::BTreeMap;
use waxseal_formats as formats;

pub use accepted::{AcceptedIssuer, IssuerType};
pub(super) use entry::IssuerEntry;
pub(super) use principal::Principal;

/// The audience that every Sigstore client asks for.
pub const DEFAULT_AUDIENCE: &str = "sigstore";

/// The issuers whose tokens are looked at.
#[derive(Clone, Debug)]
pub(super) struct Issuers {
    exact: BTreeMap<String, AcceptedIssuer>,
}

/// What one rule says about issuers.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The issuers that it is about.
    pub issuer: &'a Pattern,
    /// The audience that it wants; None for the issuer's own.
    pub audience: Option<&'a str>,
}

impl Issuers {
    /// Reads the entries of a rules file. `known` are accepted besides; `rules` name others.
    pub(super) fn read(
        entries: Vec<IssuerEntry>,
        known: &[(String, IssuerType)],
        rules: &[About<'_>],
    ) -> Result<Self, RulesError> {
        if entries.len() > MAX_RULES {
            return Err(RulesError::TooMany("issuers"));
        }
        unique("issuer", entries.iter().map(IssuerEntry::name))?;
        let exact = entry::read(entries, known, rules)?;
        Ok(Self { exact })
    }

    pub(super) fn accepted(&self, issuer: &str) -> Option<Cow<'_, AcceptedIssuer>> {
        self.exact.get(issuer).map(Cow::Borrowed)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &AcceptedIssuer> {
        self.exact.values()
    }
}
