//! The issuers that an instance listens to: what the rules file says under `issuers:`, and those that rules name.
//!
//! An issuer is described by an entry, by a preset, or by nothing but its URL if that is known to be a provider's. An entry
//! may be about all issuers of a pattern; one that is named by its URL goes before.

mod accepted;
mod check;
mod entry;
mod form;
mod preset;
mod principal;
#[cfg(test)]
mod tests;

use super::file::{MAX_RULES, RulesError, unique};
use crate::oidc::Issuer;
use crate::provider::{Provider, ProviderEntry};
use formats::pattern::Pattern;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use waxseal_formats as formats;

pub use accepted::{AcceptedIssuer, CaSource, IssuerConfiguration, IssuerLimits, IssuerType, KeySource};
pub(super) use form::IssuerEntry;
pub use preset::{Preset, presets};
pub(super) use principal::Principal;

/// The audience that every Sigstore client asks for.
pub const DEFAULT_AUDIENCE: &str = "sigstore";

/// The issuers whose tokens are looked at.
#[derive(Clone, Debug)]
pub(super) struct Issuers {
    exact: BTreeMap<String, AcceptedIssuer>,
    /// From a name that is not its URL to an issuer's URL.
    aliases: BTreeMap<String, String>,
    patterns: Vec<AcceptedIssuer>,
    /// What every rule says about issuers and audiences.
    about: Vec<(Pattern, Option<String>)>,
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
    /// Reads the entries of a rules file and the providers that they may name. `known` are accepted besides; `rules` name
    /// others.
    pub(super) fn read(
        entries: Vec<IssuerEntry>,
        providers: Vec<ProviderEntry>,
        known: &[(String, IssuerType)],
        rules: &[About<'_>],
    ) -> Result<Self, RulesError> {
        if entries.len() > MAX_RULES || providers.len() > MAX_RULES {
            return Err(RulesError::TooMany("issuers or providers"));
        }
        let providers = Provider::all(providers)?;
        let presets = presets()?;
        let mut issuers = Self {
            exact: BTreeMap::new(),
            aliases: BTreeMap::new(),
            patterns: Vec::new(),
            about: rules.iter().map(|rule| (rule.issuer.clone(), rule.audience.map(str::to_owned))).collect(),
        };
        let reader = entry::Reader { providers: &providers, presets: &presets, known };
        let mut described = Vec::new();
        for entry in entries {
            described.extend(reader.read(entry)?);
        }
        unique("issuer", described.iter().flat_map(names))?;
        for (url, kind) in known {
            issuers.add(AcceptedIssuer::plain(url, kind.clone(), KeySource::Own));
        }
        for issuer in described {
            issuers.add(issuer);
        }
        for (alias, url) in &issuers.aliases {
            let named = rules.iter().any(|rule| rule.issuer.as_exact() == Some(alias.as_str()));
            if named || issuers.exact.contains_key(alias) {
                let reason = format!("is another name of {url}, so rules and entries name that");
                return Err(RulesError::Issuer { issuer: alias.clone(), reason });
            }
        }
        for url in rules.iter().filter_map(|rule| rule.issuer.as_exact()) {
            if issuers.accepted(url).is_none() {
                issuers.add(reader.undescribed(url)?);
            }
        }
        Ok(issuers)
    }

    fn add(&mut self, mut issuer: AcceptedIssuer) {
        if issuer.pattern.is_some() {
            self.patterns.push(issuer);
            return;
        }
        let url = issuer.issuer.url().to_owned();
        let audiences = self.audiences(&url, &issuer.own_audiences);
        issuer.issuer = Issuer::new(url.as_str(), audiences)
            .also_called(issuer.issuer.aliases().to_vec())
            .reading(issuer.issuer.claims().clone());
        self.aliases.extend(issuer.issuer.aliases().iter().map(|alias| (alias.clone(), url.clone())));
        self.exact.insert(url, issuer);
    }

    /// The audiences that some rule about the issuer wants; its own if there is no such rule.
    fn audiences(&self, url: &str, own: &[String]) -> Vec<String> {
        let about = self.about.iter().filter(|(issuer, _)| issuer.matches(url));
        let wanted: BTreeSet<&String> =
            about.flat_map(|(_, audience)| audience.as_ref().map_or(own, std::slice::from_ref)).collect();
        if wanted.is_empty() { own.to_vec() } else { wanted.into_iter().cloned().collect() }
    }

    pub(super) fn accepted(&self, issuer: &str) -> Option<Cow<'_, AcceptedIssuer>> {
        let url = self.aliases.get(issuer).map_or(issuer, String::as_str);
        if let Some(found) = self.exact.get(url) {
            return Some(Cow::Borrowed(found));
        }
        let found = self.patterns.iter().find(|one| one.pattern.as_ref().is_some_and(|form| form.matches(issuer)))?;
        let mut one = found.clone();
        if let IssuerType::Ci { provider, url } = &mut one.kind
            && url.is_empty()
        {
            *url = provider.url_of(issuer)?;
        }
        let audiences = self.audiences(issuer, &one.own_audiences);
        one.issuer = Issuer::new(issuer, audiences).reading(one.issuer.claims().clone());
        Some(Cow::Owned(one))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &AcceptedIssuer> {
        self.exact.values().chain(&self.patterns)
    }
}

/// The names under which an entry is found: no two entries may have one in common.
fn names(issuer: &AcceptedIssuer) -> impl Iterator<Item = &str> {
    std::iter::once(issuer.issuer.url()).chain(issuer.issuer.aliases().iter().map(String::as_str))
}
