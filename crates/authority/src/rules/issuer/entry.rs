//! From an entry of `issuers:` to the issuers that it describes.

use super::accepted::{AcceptedIssuer, CaSource, ChallengeClaim, IssuerLimits, IssuerType, KeySource};
use super::check::{
    check_ca, check_claim_path, check_pattern, check_trust_domain, check_url, domains, is_loopback, key_set,
    subject_domain,
};
use super::form::{EmailVerifiedEntry, IssuerEntry, Texts};
use super::preset::Preset;
use super::{DEFAULT_AUDIENCE, MAX_RULES};
use crate::oidc::{EmailVerified, Issuer};
use crate::provider::Provider;
use crate::rules::RulesError;
use formats::pattern::Pattern;
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;
use waxseal_formats as formats;

/// Most texts of one list in an entry.
const MAX_TEXTS: usize = 64;
/// Claims that are what the token itself is judged by: they are never read from others.
const OWN_CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// What an entry may refer to.
pub(super) struct Reader<'a> {
    pub providers: &'a [Arc<Provider>],
    pub presets: &'a [Preset],
    /// Issuers in this process.
    pub known: &'a [(String, IssuerType)],
}

impl Reader<'_> {
    /// The issuers, or patterns of issuers, that an entry describes.
    pub(super) fn read(&self, entry: IssuerEntry) -> Result<Vec<AcceptedIssuer>, RulesError> {
        let name = entry.name().to_owned();
        self.entry(entry).map_err(|reason| RulesError::Issuer { issuer: name, reason })
    }

    /// An issuer that a rule names and no entry describes: that of a provider or preset that is known under its URL, else
    /// one of people with e-mail addresses.
    pub(super) fn undescribed(&self, url: &str) -> Result<AcceptedIssuer, RulesError> {
        let entry = match self.presets.iter().find(|preset| preset.recognises(url)) {
            // Named without its URL a preset has more to say about its own issuer, such as where its files are.
            Some(preset) if preset.entry.issuer.as_deref() == Some(url) => {
                IssuerEntry { preset: Some(preset.name().to_owned()), ..IssuerEntry::default() }
            }
            Some(preset) => IssuerEntry {
                preset: Some(preset.name().to_owned()),
                issuer: Some(url.to_owned()),
                ..IssuerEntry::default()
            },
            None => IssuerEntry {
                issuer: Some(url.to_owned()),
                kind: self.provider_of(url).is_none().then(|| IssuerType::EMAIL.to_owned()),
                ..IssuerEntry::default()
            },
        };
        let fault = |reason: String| RulesError::Issuer { issuer: url.to_owned(), reason };
        let issuers = self.entry(entry).map_err(fault)?;
        issuers.into_iter().next().ok_or_else(|| fault("is described by no entry".to_owned()))
    }

    fn provider_of(&self, issuer: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| provider.recognises(issuer))
    }

    fn entry(&self, entry: IssuerEntry) -> Result<Vec<AcceptedIssuer>, String> {
        let entry = match &entry.preset {
            None => entry,
            Some(name) => {
                let preset = self.presets.iter().find(|preset| preset.name() == name);
                let names = || self.presets.iter().map(Preset::name).collect::<Vec<_>>().join(", ");
                let preset = preset.ok_or_else(|| format!("`{name}` is no preset, known are {}", names()))?;
                preset.complete(entry)?
            }
        };
        match (&entry.issuer, &entry.issuer_pattern) {
            (Some(_), Some(_)) => Err("an entry has `issuer` or `issuer_pattern`, not both".to_owned()),
            (None, None) => Err("an entry needs `issuer`, `issuer_pattern` or a `preset` that has one".to_owned()),
            (Some(issuer), None) => Ok(vec![self.issuer(&entry, issuer, None)?]),
            (None, Some(Texts(patterns))) => {
                if patterns.is_empty() || patterns.len() > MAX_TEXTS {
                    return Err(format!("`issuer_pattern` has between 1 and {MAX_TEXTS} patterns"));
                }
                let one = |text: &String| {
                    let pattern = Pattern::labels(text).map_err(|error| error.to_string())?;
                    match pattern.as_exact() {
                        Some(issuer) => self.issuer(&entry, issuer, None),
                        None => self.issuer(&entry, text, Some(pattern.clone())),
                    }
                };
                patterns.iter().map(one).collect()
            }
        }
    }

    fn issuer(&self, entry: &IssuerEntry, name: &str, pattern: Option<Pattern>) -> Result<AcceptedIssuer, String> {
        let own = self.known.iter().any(|(known, _)| known == name);
        match &pattern {
            // Issuers in this process are not asked for their keys.
            None if own => {}
            None => check_url(name)?,
            Some(_) => check_pattern(name)?,
        }
        let kind = self.kind(entry, name, pattern.is_some())?;
        let is_email = kind == IssuerType::Email;
        for (key, given, fits) in [
            ("email_verified", entry.email_verified.is_some(), is_email),
            ("issuer_claim", entry.issuer_claim.is_some(), is_email),
            ("aliases", entry.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()), pattern.is_none()),
        ] {
            if given && !fits {
                let to = if key == "aliases" { "a pattern".to_owned() } else { format!("the type `{}`", kind.name()) };
                return Err(format!("`{key}` means nothing to {to}"));
            }
        }
        let vouched = matches!(entry.email_verified, Some(EmailVerifiedEntry::NotRequiredFor(_)));
        if is_email && !vouched && entry.claims.contains_key("email") && !entry.claims.contains_key("email_verified") {
            let hint = "name the domains with `email_verified: {not_required_for: [..]}`";
            return Err(format!(
                "`email_verified` is about the token's own `email` and not the one read instead; {hint}"
            ));
        }
        if let Some(claim) = &entry.issuer_claim {
            check_claim_path(claim)?;
        }
        let aliases = entry.aliases.clone().unwrap_or_default();
        if aliases.len() > MAX_TEXTS || aliases.iter().any(|alias| alias.is_empty() || alias.contains(char::is_control))
        {
            return Err(format!("`aliases` are at most {MAX_TEXTS} other values of `iss`, none of them empty"));
        }
        let issuer = Issuer::new(name, Vec::new()).also_called(aliases).reading(mapping(&entry.claims)?);
        Ok(AcceptedIssuer {
            issuer,
            keys: keys(entry, own, pattern.is_some())?,
            pattern,
            own_audiences: audiences(entry.audience.as_ref())?,
            email_verified: email_verified(entry.email_verified.as_ref())?,
            issuer_claim: entry.issuer_claim.clone(),
            challenge_claim: challenge_claim(entry.challenge_claim.as_deref())?,
            subject_extension: entry.subject_extension.unwrap_or(true),
            single_use: entry.single_use.unwrap_or(false),
            limits: IssuerLimits {
                certificates_per_minute: entry.limits.and_then(|limits| limits.certificates_per_minute),
            },
            kind,
        })
    }

    fn kind(&self, entry: &IssuerEntry, name: &str, is_pattern: bool) -> Result<IssuerType, String> {
        let wanted = |key: &str, text: &Option<String>| text.clone().ok_or_else(|| format!("the type needs `{key}:`"));
        let kind = match entry.kind.as_deref() {
            Some(IssuerType::EMAIL) => IssuerType::Email,
            Some(IssuerType::KUBERNETES) => IssuerType::Kubernetes,
            Some(IssuerType::CHAINGUARD) => IssuerType::Chainguard,
            Some(IssuerType::USERNAME) => {
                let domain = wanted("subject_domain", &entry.subject_domain)?;
                IssuerType::Username { domain: subject_domain(&domain, name, false)? }
            }
            Some(IssuerType::URI) => {
                let domain = wanted("subject_domain", &entry.subject_domain)?;
                IssuerType::Uri { domain: subject_domain(&domain, name, true)? }
            }
            Some(IssuerType::SPIFFE) => {
                if is_pattern {
                    return Err("the type `spiffe` is for one issuer: a trust domain has one".to_owned());
                }
                let trust_domain = wanted("spiffe_trust_domain", &entry.spiffe_trust_domain)?;
                check_trust_domain(&trust_domain)?;
                IssuerType::Spiffe { trust_domain }
            }
            Some(IssuerType::CI_PROVIDER) => {
                let provider = wanted("provider", &entry.provider)?;
                return self.ci(entry, name, is_pattern, &provider);
            }
            Some(provider) => return self.ci(entry, name, is_pattern, provider),
            None => match (&entry.provider, self.provider_of(name)) {
                (Some(provider), _) => return self.ci(entry, name, is_pattern, provider),
                (None, Some(provider)) => return self.ci(entry, name, is_pattern, provider.name()),
                (None, None) => return Err(format!("needs `type:` or `preset:`; types are {}", self.types())),
            },
        };
        let takes_domain = matches!(kind, IssuerType::Username { .. } | IssuerType::Uri { .. });
        for (key, given) in [
            ("url", entry.url.is_some()),
            ("provider", entry.provider.is_some()),
            ("subject_domain", entry.subject_domain.is_some() && !takes_domain),
            ("spiffe_trust_domain", entry.spiffe_trust_domain.is_some() && !matches!(kind, IssuerType::Spiffe { .. })),
        ] {
            if given {
                return Err(format!("`{key}` means nothing to the type `{}`", kind.name()));
            }
        }
        Ok(kind)
    }

    /// A CI provider, with the web address of the one instance; empty for a pattern, each of whose issuers has its own.
    fn ci(&self, entry: &IssuerEntry, name: &str, is_pattern: bool, provider: &str) -> Result<IssuerType, String> {
        let found = self.providers.iter().find(|known| known.name() == provider);
        let provider = found.ok_or_else(|| format!("`{provider}` is no type of issuer, known are {}", self.types()))?;
        if entry.provider.as_ref().is_some_and(|named| named != provider.name()) {
            return Err(format!("`type` and `provider` are two providers; write `type: {}`", IssuerType::CI_PROVIDER));
        }
        for (key, given) in [
            ("subject_domain", entry.subject_domain.is_some()),
            ("spiffe_trust_domain", entry.spiffe_trust_domain.is_some()),
        ] {
            if given {
                return Err(format!("`{key}` means nothing to the type `{}`", provider.name()));
            }
        }
        let missing =
            || format!("where `{}` is on the web does not follow from the issuer; say it with `url:`", provider.name());
        let url = match &entry.url {
            Some(url) => url.clone(),
            // Every issuer of the pattern has a web address if one of them has.
            None if is_pattern => {
                provider.url_of(&name.replace('*', "x")).map(|_| String::new()).ok_or_else(missing)?
            }
            // One on this machine, the demo provider's among them, stands in for the public one.
            None => provider
                .url_of(name)
                .or_else(|| Some(provider.public_url()).filter(|url| is_loopback(name) && !url.is_empty()))
                .ok_or_else(missing)?,
        };
        let web = Url::parse(&url).ok().filter(|web| matches!(web.scheme(), "https" | "http") && web.has_host());
        if !url.is_empty() && (web.is_none() || url.ends_with('/')) || entry.url.as_ref().is_some_and(String::is_empty)
        {
            return Err(format!("`url: {url}` is no web address without a slash at its end"));
        }
        Ok(IssuerType::Ci { provider: Arc::clone(provider), url })
    }

    /// The names of all types, for messages.
    pub(super) fn types(&self) -> String {
        let mut names = vec![
            IssuerType::EMAIL,
            IssuerType::USERNAME,
            IssuerType::URI,
            IssuerType::SPIFFE,
            IssuerType::KUBERNETES,
            IssuerType::CHAINGUARD,
            IssuerType::CI_PROVIDER,
        ];
        names.extend(self.providers.iter().map(|provider| provider.name()));
        names.join(", ")
    }
}

fn keys(entry: &IssuerEntry, own: bool, is_pattern: bool) -> Result<KeySource, String> {
    let given = |key: &'static str, given: bool| given.then_some(key);
    let sets = [given("jwks", entry.jwks.is_some()), given("jwks_file", entry.jwks_file.is_some())];
    let authorities = [given("ca", entry.ca.is_some()), given("ca_file", entry.ca_file.is_some())];
    let token = given("token_file", entry.token_file.is_some());
    let sets: Vec<_> = sets.into_iter().flatten().collect();
    let asked: Vec<_> = authorities.into_iter().flatten().chain(token).collect();
    if let Some(key) = sets.iter().chain(&asked).find(|_| own) {
        return Err(format!("`{key}` means nothing to an issuer of this very instance"));
    }
    if let (Some(set), Some(other)) = (sets.first(), sets.get(1).or(asked.first())) {
        return Err(format!("`{set}` are all its keys, so `{other}` means nothing beside it"));
    }
    if entry.ca.is_some() && entry.ca_file.is_some() {
        return Err("`ca` and `ca_file` are two places for the same thing".to_owned());
    }
    if let Some(key) = sets.first().or(token.as_ref()).filter(|_| is_pattern) {
        return Err(format!("`{key}` is for one issuer and never for all of a pattern"));
    }
    if own {
        return Ok(KeySource::Own);
    }
    if let Some(set) = &entry.jwks {
        return key_set(set).map(KeySource::Static);
    }
    if let Some(path) = &entry.jwks_file {
        return Ok(KeySource::File(path.clone()));
    }
    if let Some(Err(error)) = entry.ca.as_deref().map(check_ca) {
        return Err(format!("`ca` is {error}"));
    }
    let inline = entry.ca.clone().map(CaSource::Inline);
    let ca = inline.or_else(|| entry.ca_file.clone().map(CaSource::File));
    Ok(KeySource::Discovery { ca, token_file: entry.token_file.clone() })
}

fn audiences(given: Option<&Texts>) -> Result<Vec<String>, String> {
    match given {
        None => Ok(vec![DEFAULT_AUDIENCE.to_owned()]),
        Some(Texts(texts)) if texts.is_empty() || texts.len() > MAX_TEXTS || texts.iter().any(String::is_empty) => {
            Err(format!("`audience` is a text or a list of up to {MAX_TEXTS} of them, none of them empty"))
        }
        Some(Texts(texts)) => Ok(texts.clone()),
    }
}

fn email_verified(given: Option<&EmailVerifiedEntry>) -> Result<EmailVerified, String> {
    match given {
        None | Some(EmailVerifiedEntry::Required) => Ok(EmailVerified::Required),
        Some(EmailVerifiedEntry::Text) => Ok(EmailVerified::Text),
        Some(EmailVerifiedEntry::NotRequiredFor(list)) => domains(list, MAX_RULES).map(EmailVerified::NotRequiredFor),
    }
}

fn challenge_claim(given: Option<&str>) -> Result<Option<ChallengeClaim>, String> {
    match given {
        None => Ok(None),
        Some("email") => Ok(Some(ChallengeClaim::Email)),
        Some("sub") => Ok(Some(ChallengeClaim::Subject)),
        Some(other) => Err(format!("`challenge_claim` is `email` or `sub`, not `{other}`")),
    }
}

fn mapping(claims: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    if claims.len() > MAX_TEXTS {
        return Err(format!("`claims` has more than {MAX_TEXTS} members"));
    }
    for (name, from) in claims {
        if name.is_empty() || name.starts_with('/') || OWN_CLAIMS.contains(&name.as_str()) {
            return Err(format!("`claims`: `{name}` cannot be read from another claim"));
        }
        check_claim_path(from)?;
    }
    Ok(claims.clone())
}
