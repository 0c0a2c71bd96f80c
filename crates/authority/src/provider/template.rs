//! Text with claims in it, and which of several texts applies.

use super::{MAX_VALUE_LEN, ProviderError};
use crate::oidc::{ClaimError, ClaimProblem, Claims, scalar_text};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Most alternatives of one text.
const MAX_ALTERNATIVES: usize = 16;

/// Where the braces of a template get their values from.
pub(super) struct Context<'a> {
    pub claims: &'a Claims,
    /// The web address of the provider's instance.
    pub url: &'a str,
    pub defaults: &'a BTreeMap<String, Template>,
}

impl Context<'_> {
    /// A claim of the token as text, or what is said when the token has none.
    pub(super) fn value(&self, name: &str) -> Result<String, ClaimError> {
        match (self.claims.text(name), self.defaults.get(name)) {
            (Err(ClaimError { problem: ClaimProblem::Missing, .. }), Some(default)) => default.render(self),
            (outcome, _) => outcome,
        }
    }

    fn host(&self) -> &str {
        self.url.split_once("://").map_or(self.url, |(_, host)| host)
    }
}

/// Text with claims in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Url,
    Host,
    Claim(String),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, ProviderError> {
        let malformed = || ProviderError::Template(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(malformed)?;
            if before.contains('}') || name.is_empty() || name.contains('{') {
                return Err(malformed());
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "url" => Part::Url,
                "host" => Part::Host,
                _ => Part::Claim(name.to_owned()),
            });
            rest = behind;
        }
        if rest.contains('}') || text.len() > MAX_VALUE_LEN {
            return Err(malformed());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Claim(name) => Some(name.as_str()),
            Part::Text(_) | Part::Url | Part::Host => None,
        })
    }

    /// The claim that is named when the whole text is not acceptable.
    pub(super) fn last_claim(&self) -> &str {
        self.claims().last().unwrap_or("iss")
    }

    pub(super) fn render(&self, context: &Context<'_>) -> Result<String, ClaimError> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Url => text.push_str(context.url),
                Part::Host => text.push_str(context.host()),
                Part::Claim(name) => {
                    let value = context.value(name)?;
                    if value.chars().any(char::is_control) {
                        return Err(ClaimError::not(name, "free of control characters"));
                    }
                    text.push_str(&value);
                }
            }
        }
        if text.len() > MAX_VALUE_LEN {
            return Err(ClaimError::not(self.last_claim(), "short enough for a certificate"));
        }
        Ok(text)
    }
}

/// One text, or the first of several whose condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice(Vec<Alternative>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Alternative {
    when: BTreeMap<String, String>,
    value: Template,
}

impl Choice {
    pub(super) fn parse(entry: &ChoiceEntry) -> Result<Self, ProviderError> {
        let one = |entry: &AlternativeEntry| {
            Template::parse(&entry.value).map(|value| Alternative { when: entry.when.clone(), value })
        };
        match entry.0.len() {
            0 => Err(ProviderError::Template("[]".to_owned())),
            1..=MAX_ALTERNATIVES => entry.0.iter().map(one).collect::<Result<_, _>>().map(Self),
            _ => Err(ProviderError::TooMany("alternatives")),
        }
    }

    /// Every claim that a text of it has, or that decides between them.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|one| one.value.claims().chain(one.when.keys().map(String::as_str)))
    }

    /// The text; None if no alternative holds, or the one that does needs a claim that is missing.
    pub(super) fn render(&self, context: &Context<'_>) -> Result<Option<String>, ClaimError> {
        let holds = |one: &&Alternative| {
            one.when.iter().all(|(claim, wanted)| {
                context.claims.lookup(claim).and_then(scalar_text).is_some_and(|value| value == *wanted)
            })
        };
        match self.0.iter().find(holds).map(|one| one.value.render(context)) {
            None | Some(Err(ClaimError { problem: ClaimProblem::Missing, .. })) => Ok(None),
            Some(outcome) => outcome.map(Some),
        }
    }
}

/// A [`Choice`] as it is written: one template, or a list of them with conditions.
pub(super) struct ChoiceEntry(Vec<AlternativeEntry>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlternativeEntry {
    #[serde(default)]
    when: BTreeMap<String, String>,
    value: String,
}

struct ChoiceVisitor;

impl<'de> Deserialize<'de> for ChoiceEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor)
    }
}

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = ChoiceEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a template in quotes, or a list of {when: {claim: value}, value: template}")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<ChoiceEntry, E> {
        Ok(ChoiceEntry(vec![AlternativeEntry { when: BTreeMap::new(), value: value.to_owned() }]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<ChoiceEntry, A::Error> {
        let mut alternatives = Vec::new();
        while let Some(one) = sequence.next_element()? {
            alternatives.push(one);
        }
        Ok(ChoiceEntry(alternatives))
    }
}
