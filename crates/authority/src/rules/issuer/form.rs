//! An entry of `issuers:` as it is written.

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// An issuer, or the issuers of a pattern, as they are described in the rules file or by a preset.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::rules) struct IssuerEntry {
    pub(super) issuer: Option<String>,
    pub(super) issuer_pattern: Option<Texts>,
    pub(super) preset: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) url: Option<String>,
    #[serde(alias = "audiences")]
    pub(super) audience: Option<Texts>,
    pub(super) aliases: Option<Vec<String>>,
    pub(super) ca: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) jwks: Option<serde_json::Value>,
    pub(super) jwks_file: Option<PathBuf>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) claims: BTreeMap<String, String>,
    pub(super) issuer_claim: Option<String>,
    pub(super) subject_domain: Option<String>,
    pub(super) spiffe_trust_domain: Option<String>,
    pub(super) challenge_claim: Option<String>,
    pub(super) email_verified: Option<EmailVerifiedEntry>,
    pub(super) subject_extension: Option<bool>,
    pub(super) single_use: Option<bool>,
    pub(super) limits: Option<LimitsEntry>,
}

/// `limits:` of an issuer.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsEntry {
    pub(super) certificates_per_minute: Option<NonZeroU32>,
}

impl IssuerEntry {
    /// What is to be called faulty when something in it is.
    pub(super) fn name(&self) -> &str {
        let pattern = self.issuer_pattern.as_ref().and_then(|texts| texts.0.first());
        self.issuer.as_ref().or(pattern).or(self.preset.as_ref()).map_or("", String::as_str)
    }

    /// This entry, and where it says nothing, what the other one says. The other's files belong to its own issuer: they are
    /// not for one that is named here, nor for keys that are given here.
    pub(super) fn over(self, other: Self) -> Self {
        let named_here = self.issuer.is_some() || self.issuer_pattern.is_some();
        let keys_here = self.jwks.is_some() || self.jwks_file.is_some() || self.ca.is_some() || self.ca_file.is_some();
        let (issuer, issuer_pattern, aliases) = if named_here {
            (self.issuer, self.issuer_pattern, self.aliases)
        } else {
            (other.issuer, other.issuer_pattern, self.aliases.or(other.aliases))
        };
        let theirs = !named_here && !keys_here;
        let mut claims = other.claims;
        claims.extend(self.claims);
        Self {
            issuer,
            issuer_pattern,
            preset: self.preset,
            kind: self.kind.or(other.kind),
            provider: self.provider.or(other.provider),
            url: self.url.or(other.url),
            audience: self.audience.or(other.audience),
            aliases,
            ca: self.ca.or(other.ca.filter(|_| theirs)),
            ca_file: self.ca_file.or(other.ca_file.filter(|_| theirs)),
            jwks: self.jwks,
            jwks_file: self.jwks_file,
            token_file: self.token_file.or(other.token_file.filter(|_| theirs)),
            claims,
            issuer_claim: self.issuer_claim.or(other.issuer_claim),
            subject_domain: self.subject_domain.or(other.subject_domain),
            spiffe_trust_domain: self.spiffe_trust_domain.or(other.spiffe_trust_domain),
            challenge_claim: self.challenge_claim.or(other.challenge_claim),
            email_verified: self.email_verified.or(other.email_verified),
            subject_extension: self.subject_extension.or(other.subject_extension),
            single_use: self.single_use.or(other.single_use),
            limits: self.limits.or(other.limits),
        }
    }
}

/// One text or a list of them.
#[derive(Clone)]
pub(super) struct Texts(pub(super) Vec<String>);

struct TextsVisitor;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Texts, E> {
        Ok(Texts(vec![value.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = sequence.next_element()? {
            texts.push(text);
        }
        Ok(Texts(texts))
    }
}

/// `email_verified:` of an issuer.
#[derive(Clone)]
pub(super) enum EmailVerifiedEntry {
    Required,
    Text,
    NotRequiredFor(Vec<String>),
}

struct EmailVerifiedVisitor;

impl<'de> Deserialize<'de> for EmailVerifiedEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EmailVerifiedVisitor)
    }
}

impl<'de> Visitor<'de> for EmailVerifiedVisitor {
    type Value = EmailVerifiedEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`required`, `text` or {not_required_for: [domains]}")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<EmailVerifiedEntry, E> {
        match value {
            "required" => Ok(EmailVerifiedEntry::Required),
            "text" => Ok(EmailVerifiedEntry::Text),
            _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EmailVerifiedEntry, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Exception {
            not_required_for: Vec<String>,
        }
        let exception = Exception::deserialize(MapAccessDeserializer::new(map))?;
        Ok(EmailVerifiedEntry::NotRequiredFor(exception.not_required_for))
    }
}
