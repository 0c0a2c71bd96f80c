//! The rules file: YAML as people write it, read into [`Rules`].
//!
//! ```yaml
//! issuers:                          # see [`super::issuer`]
//!   - preset: keycloak
//!     issuer: https://idp.corp.example/realms/staff
//!   - issuer: https://github.corp.example/_services/token
//!     type: github-workflow
//! providers: []                     # CI providers that are not built in, see [`crate::provider`]
//! rules:
//!   - name: releases
//!     issuer: https://token.actions.githubusercontent.com
//!     audience: sigstore            # the issuer's own unless it is said
//!     match:                        # every claim named here has to match one of its values
//!       repository_id: 1001
//!       job_workflow_ref: acme/widgets/.github/workflows/release.yml@refs/tags/*
//!       event_name: [push, workflow_dispatch]
//!     when: size(claims.ref) < 100  # CEL, see [`super::when`]
//!     artifacts: {images: [ghcr.io/acme/app], repositories: [github.com/acme/app]}
//!     limits: {certificates_per_minute: 60}
//! explain: refused                  # or full: what the refused are told
//! writes: own                       # whose signatures the log takes, see [`crate::writers`]
//! ```

use super::artifacts::Artifacts;
use super::denied::Explain;
use super::issuer::{About, IssuerEntry, IssuerType, Issuers};
use super::when::When;
use super::{Rule, Rules};
use crate::provider::{ProviderEntry, ProviderError};
use crate::writers::Writers;
use formats::code::Code;
use formats::crypto::sha256;
use formats::pattern::{Pattern, PatternError};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde_saphyr::DuplicateKeyPolicy;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use waxseal_formats as formats;

/// Longest rules file, in bytes.
pub const MAX_RULES_LEN: usize = 1 << 20;
/// Most rules, and most issuers, in a file.
pub const MAX_RULES: usize = 1000;
/// Most claims of one rule, and most values of one claim.
pub const MAX_VALUES: usize = 256;

/// Why a rules file is refused. A file with a fault anywhere admits nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Longer than [`MAX_RULES_LEN`].
    #[error("the rules are longer than {MAX_RULES_LEN} bytes")]
    TooLong,
    /// More rules, issuers, claims or values than allowed.
    #[error("there are more {0} than allowed")]
    TooMany(&'static str),
    /// Not YAML, an unknown key, a key twice, a value of the wrong type.
    #[error("line {line}, column {column}: {reason}")]
    Yaml {
        /// Counted from 1.
        line: u64,
        /// Counted from 1.
        column: u64,
        /// What is wrong, with the key's name.
        reason: String,
    },
    /// Two rules, or two issuers, of one name.
    #[error("{what} `{name}` is there twice")]
    Twice {
        /// `rule` or `issuer`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A text that may not be empty.
    #[error("rule `{rule}`: `{key}` is empty")]
    Empty {
        /// The rule's name.
        rule: String,
        /// The key.
        key: String,
    },
    /// A rule that would admit everyone whom the issuer knows, without saying so.
    #[error("rule `{rule}` has no claims to match; to admit everyone of this issuer write `match: {{sub: \"**\"}}`")]
    MatchesEveryone {
        /// The rule's name.
        rule: String,
    },
    /// A rule is about one issuer, or about those of one pattern.
    #[error("rule `{rule}` has to have either `issuer` or `issuer_pattern`")]
    OneIssuer {
        /// The rule's name.
        rule: String,
    },
    /// A `when` that is no usable condition.
    #[error("rule `{rule}`: `when`: {reason}")]
    Condition {
        /// The rule's name.
        rule: String,
        /// What is wrong.
        reason: String,
    },
    /// A value that is no usable glob.
    #[error("rule `{rule}`: claim `{claim}`: {source}")]
    Pattern {
        /// The rule's name.
        rule: String,
        /// The claim.
        claim: String,
        /// What is wrong.
        source: PatternError,
    },
    /// An issuer that is no URL to fetch keys from.
    #[error("issuer `{issuer}`: {reason}")]
    Issuer {
        /// Its URL.
        issuer: String,
        /// What is wrong.
        reason: String,
    },
    /// A built-in provider cannot be read.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

impl RulesError {
    /// Always `policy.malformed`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::POLICY_MALFORMED
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    issuers: Vec<IssuerEntry>,
    #[serde(default)]
    providers: Vec<ProviderEntry>,
    rules: Vec<RuleEntry>,
    #[serde(default)]
    writes: Writers,
    #[serde(default)]
    explain: Explain,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    name: String,
    issuer: Option<String>,
    issuer_pattern: Option<String>,
    audience: Option<String>,
    #[serde(rename = "match")]
    claims: BTreeMap<String, Values>,
    when: Option<String>,
    #[serde(default)]
    artifacts: ArtifactsEntry,
    #[serde(default)]
    limits: LimitsEntry,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtifactsEntry {
    #[serde(default)]
    images: Vec<String>,
    #[serde(default)]
    repositories: Vec<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsEntry {
    certificates_per_minute: Option<NonZeroU32>,
}

impl Rules {
    /// Reads a rules file. `known` are issuers that are accepted besides those of the file, such as those of the demo
    /// provider; their tokens still need a rule.
    ///
    /// An issuer named by a rule and described nowhere is taken for the provider that is known under that URL, else for
    /// one of people with e-mail addresses.
    ///
    /// # Errors
    /// [`RulesError`], the first in the file.
    pub fn from_yaml(text: &str, known: &[(String, IssuerType)]) -> Result<Self, RulesError> {
        if text.len() > MAX_RULES_LEN {
            return Err(RulesError::TooLong);
        }
        let file = parse(text)?;
        if file.rules.len() > MAX_RULES || file.issuers.len() > MAX_RULES {
            return Err(RulesError::TooMany("rules or issuers"));
        }
        let rules = file.rules.into_iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        unique("rule", rules.iter().map(|rule| rule.name.as_str()))?;
        let about: Vec<About<'_>> =
            rules.iter().map(|rule| About { issuer: &rule.issuer, audience: rule.audience.as_deref() }).collect();
        let issuers = Issuers::read(file.issuers, file.providers, known, &about)?;
        let digest = sha256(text.as_bytes());
        Ok(Self { issuers, rules, writers: file.writes, explain: file.explain, digest })
    }
}

fn parse(text: &str) -> Result<File, RulesError> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        // YAML 1.2: `on` is an event of GitHub's, not a truth value; 007 and 1_000 are what they look like.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error.location().map_or((0, 0), |location| (location.line(), location.column()));
        let reason = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        RulesError::Yaml {
            line,
            column,
            reason: reason.trim_end_matches(&format!(" at line {line}, column {column}")).to_owned(),
        }
    })
}

fn rule(mut entry: RuleEntry) -> Result<Rule, RulesError> {
    let texts = [
        ("name", Some(&entry.name)),
        ("issuer", entry.issuer.as_ref()),
        ("issuer_pattern", entry.issuer_pattern.as_ref()),
        ("audience", entry.audience.as_ref()),
        ("when", entry.when.as_ref()),
    ];
    for (key, text) in texts {
        if text.is_some_and(|text| text.trim().is_empty()) {
            return Err(RulesError::Empty { rule: entry.name.clone(), key: key.to_owned() });
        }
    }
    if entry.claims.is_empty() {
        return Err(RulesError::MatchesEveryone { rule: entry.name });
    }
    if entry.claims.len() > MAX_VALUES || entry.claims.values().any(|values| values.0.len() > MAX_VALUES) {
        return Err(RulesError::TooMany("claims or values"));
    }
    let mut claims = BTreeMap::new();
    for (claim, values) in std::mem::take(&mut entry.claims) {
        if values.0.is_empty() || claim.is_empty() {
            return Err(RulesError::Empty { rule: entry.name, key: claim });
        }
        let patterns = values.0.iter().map(|value| Pattern::glob(value)).collect::<Result<Vec<_>, _>>();
        let patterns = patterns.map_err(|source| RulesError::Pattern {
            rule: entry.name.clone(),
            claim: claim.clone(),
            source,
        })?;
        claims.insert(claim, patterns);
    }
    let issuer = issuer(&entry)?;
    let fault = |reason: String| RulesError::Condition { rule: entry.name.clone(), reason };
    let when = entry.when.as_deref().map(|text| When::compile(text).map_err(|error| fault(error.to_string())));
    let artifacts = artifacts(&entry)?;
    Ok(Rule {
        issuer,
        when: when.transpose()?,
        artifacts: Arc::new(artifacts),
        certificates_per_minute: entry.limits.certificates_per_minute,
        name: entry.name,
        audience: entry.audience,
        claims,
    })
}

/// One issuer, or a pattern whose `*` stays within a label of the host or a segment of the path.
fn issuer(entry: &RuleEntry) -> Result<Pattern, RulesError> {
    match (&entry.issuer, &entry.issuer_pattern) {
        (Some(issuer), None) => Ok(Pattern::exact(issuer.as_str())),
        (None, Some(pattern)) => Pattern::labels(pattern).map_err(|source| RulesError::Pattern {
            rule: entry.name.clone(),
            claim: "issuer_pattern".to_owned(),
            source,
        }),
        _ => Err(RulesError::OneIssuer { rule: entry.name.clone() }),
    }
}

fn artifacts(entry: &RuleEntry) -> Result<Artifacts, RulesError> {
    let read = |key: &str, texts: &[String]| {
        if texts.len() > MAX_VALUES {
            return Err(RulesError::TooMany("artifacts"));
        }
        let pattern = |text: &String| {
            if text.is_empty() {
                return Err(RulesError::Empty { rule: entry.name.clone(), key: key.to_owned() });
            }
            Pattern::glob(text).map_err(|source| RulesError::Pattern {
                rule: entry.name.clone(),
                claim: key.to_owned(),
                source,
            })
        };
        texts.iter().map(pattern).collect::<Result<Vec<_>, _>>()
    };
    Ok(Artifacts {
        images: read("artifacts.images", &entry.artifacts.images)?,
        repositories: read("artifacts.repositories", &entry.artifacts.repositories)?,
    })
}

pub(super) fn unique<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), RulesError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(RulesError::Twice { what, name: name.to_owned() });
        }
    }
    Ok(())
}

/// A text, or a number or truth value as it is written.
struct Scalar(String);

struct ScalarVisitor;

/// One [`Scalar`] or a list of them.
struct Values(Vec<String>);

struct ValuesVisitor;

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number, true or false; anything else in quotes")
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar(value.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(value.to_string()))
    }
}

impl From<Scalar> for Values {
    fn from(value: Scalar) -> Self {
        Self(vec![value.0])
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value (a text, a whole number, true or false; anything else in quotes) or a list of values")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Values, E> {
        ScalarVisitor.visit_str(value).map(Values::from)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Values, E> {
        ScalarVisitor.visit_bool(value).map(Values::from)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Values, E> {
        ScalarVisitor.visit_i64(value).map(Values::from)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Values, E> {
        ScalarVisitor.visit_u64(value).map(Values::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Values, A::Error> {
        let mut values = Vec::new();
        while let Some(Scalar(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Values(values))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_RULES, MAX_RULES_LEN, MAX_VALUES, Rules, RulesError};
    use crate::rules::IssuerType;
    use formats::code::Code;
    use waxseal_formats as formats;

    fn read(text: &str) -> Result<Rules, RulesError> {
        let rules = Rules::from_yaml(text, &[("http://127.0.0.1:7480/idp".to_owned(), IssuerType::Email)]);
        if let Err(error) = &rules {
            assert_eq!(error.code(), Code::POLICY_MALFORMED);
        }
        rules
    }

    fn message(text: &str) -> String {
        read(text).expect_err("refused").to_string()
    }

    const RULE: &str = "rules: [{name: a, issuer: 'https://idp.example', match: {sub: x}}]";

    #[test]
    fn unknown_keys_are_refused_by_name_and_place() {
        let text = "rules:\n  - name: a\n    issuer: https://idp.example\n    subject: x\n    match: {sub: x}\n";
        let error = read(text).expect_err("refused");
        let RulesError::Yaml { line: 4, column: 5, reason } = &error else { unreachable!("{error:?}") };
        assert!(reason.contains("subject"), "{reason}");
        for (text, name) in [
            ("rulez: []", "rulez"),
            ("rules: []\ndefaults: {}", "defaults"),
            ("rules: []\nissuers: [{issuer: https://a.example, type: email, color: x}]", "color"),
            ("rules: [{name: a, issuer: https://a.example}]", "match"),
            ("{}", "rules"),
            ("rules: [{name: a, name: b, issuer: https://a.example, match: {sub: x}}]", "name"),
            ("rules: [{name: a, issuer: https://a.example, match: {sub: x, sub: y}}]", "sub"),
        ] {
            assert!(message(text).contains(name), "{}", message(text));
        }
        for text in ["", "rules: 7", "rules: [7]", "- a", "rules: [", "\t", "rules: [{name: a, issuer: b, match: [x]}]"]
        {
            assert!(matches!(read(text), Err(RulesError::Yaml { .. })), "{text}");
        }
    }

    #[test]
    fn values_are_what_they_look_like() {
        let rule = |value: &str| {
            let rules = read(&format!("rules: [{{name: a, issuer: https://a.example, match: {{c: {value}}}}}]"))?;
            let patterns = rules.rules.first().and_then(|rule| rule.claims.get("c")).expect("patterns");
            Ok::<_, RulesError>(patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (yaml, text) in [
            ("x", "x"),
            ("'1'", "1"),
            ("1", "1"),
            ("true", "true"),
            ("on", "on"),
            ("yes", "yes"),
            ("0123", "0123"),
            ("1_000", "1_000"),
            ("[a, 2, false]", "a 2 false"),
            ("18446744073709551615", "18446744073709551615"),
            ("'*@x'", "*@x"),
            ("'null'", "null"),
            ("''", ""),
        ] {
            assert_eq!(rule(yaml).as_deref(), Ok(text), "{yaml}");
        }
        for yaml in ["1.5", "1e5", "null", "~", "{a: b}", "[[a]]", "99999999999999999999"] {
            assert!(matches!(rule(yaml), Err(RulesError::Yaml { .. })), "{yaml}: {:?}", rule(yaml));
        }
        assert!(matches!(rule("[]"), Err(RulesError::Empty { .. })));
        assert!(matches!(rule("'a***'"), Err(RulesError::Pattern { .. })));
    }

    #[test]
    fn a_rule_admits_everyone_only_if_it_says_so() {
        let rule = |claims: &str| format!("rules: [{{name: a, issuer: https://a.example, match: {claims}}}]");
        assert!(matches!(read(&rule("{}")), Err(RulesError::MatchesEveryone { .. })));
        assert!(message(&rule("{}")).contains("match: {sub: \"**\"}"));
        assert!(read(&rule("{sub: \"**\"}")).is_ok());
        assert!(read("rules: []").is_ok(), "nobody is admitted");
    }

    #[test]
    fn texts_that_say_nothing_are_refused() {
        for entry in [
            "name: '', issuer: https://a.example, match: {sub: x}",
            "name: a, issuer: '', match: {sub: x}",
            "name: a, issuer: https://a.example, audience: '', match: {sub: x}",
            "name: a, issuer: https://a.example, match: {sub: []}",
        ] {
            assert!(matches!(read(&format!("rules: [{{{entry}}}]")), Err(RulesError::Empty { .. })), "{entry}");
        }
    }

    #[test]
    fn names_are_unique_and_files_bounded() {
        assert!(read(RULE).is_ok());
        let twice = format!("rules: [{0}, {0}]", "{name: a, issuer: https://a.example, match: {sub: x}}");
        assert!(matches!(read(&twice), Err(RulesError::Twice { what: "rule", .. })));
        let issuer = "{issuer: https://a.example, type: email}";
        let twice = format!("rules: []\nissuers: [{issuer}, {issuer}]");
        assert!(matches!(read(&twice), Err(RulesError::Twice { what: "issuer", .. })));
        assert_eq!(read(&" ".repeat(MAX_RULES_LEN + 1)).expect_err("long"), RulesError::TooLong);
        let many: String = (0..=MAX_RULES)
            .map(|n| format!("  - {{name: r{n}, issuer: https://a.example, match: {{sub: x}}}}\n"))
            .collect();
        assert!(matches!(read(&format!("rules:\n{many}")), Err(RulesError::TooMany(_))));
        let many: String =
            (0..=MAX_RULES).map(|n| format!("  - {{issuer: https://i{n}.example, type: email}}\n")).collect();
        assert!(matches!(read(&format!("rules: []\nissuers:\n{many}")), Err(RulesError::TooMany(_))));
        let rule =
            |claims: String| read(&format!("rules: [{{name: a, issuer: https://a.example, match: {{{claims}}}}}]"));
        let claims = |count: usize| (0..count).map(|n| format!("c{n}: x")).collect::<Vec<_>>().join(", ");
        let values = |count: usize| format!("sub: [{}]", vec!["x"; count].join(", "));
        for of in [claims, values] as [fn(usize) -> String; 2] {
            assert!(rule(of(MAX_VALUES)).is_ok());
            assert_eq!(rule(of(MAX_VALUES + 1)).expect_err("many"), RulesError::TooMany("claims or values"));
        }
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b]\nrules: []\n";
        assert!(matches!(read(bomb), Err(RulesError::Yaml { .. })));
        assert!(matches!(read(&"[".repeat(10_000)), Err(RulesError::Yaml { .. })));
    }
}
