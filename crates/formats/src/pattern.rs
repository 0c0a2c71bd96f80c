//! Patterns for identities and claims: exact texts, globs and regular expressions, anchored at both ends.
//!
//! ```text
//! alice@corp.example                      exact: nothing but this text
//! https://github.com/acme/*/.github/**    glob: `*` stays within one path segment, `**` crosses `/`
//! ^https://github\.com/acme/.*$           regular expression: always matched against the whole text
//! ```
//! An unanchored match once let `https://evil.example/?https://good.example` pass (CVE-2026-22772), so no
//! pattern here can be made to match a part of a text.

use regex::{Regex, RegexBuilder};
use std::fmt;

/// Longest pattern, in bytes.
pub const MAX_PATTERN_LEN: usize = 2048;
/// Largest compiled regular expression, in bytes of memory.
pub const MAX_COMPILED_LEN: usize = 1 << 20;
/// Deepest nesting of a regular expression.
pub const MAX_NESTING: u32 = 64;

/// What a text has to look like. Equal if kind and source text are.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Exact,
    Glob(Regex),
    Labels(Regex),
    Regex(Regex),
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than [`MAX_PATTERN_LEN`].
    #[error("the pattern is longer than {MAX_PATTERN_LEN} bytes")]
    TooLong,
    /// Not a regular expression, or one that needs too much memory.
    #[error("the pattern is not a usable regular expression: {0}")]
    Regex(String),
    /// Three or more stars in a row have no meaning.
    #[error("`***` in a pattern has no meaning: `*` stays within one path segment, `**` crosses `/`")]
    Stars,
    /// `*` stands for one label, so there is none beside it.
    #[error("`**` has no meaning here: `*` stands for letters, digits, `-` and `_`")]
    TwoStars,
}

impl Pattern {
    /// Matches `text` and nothing else.
    #[must_use]
    pub fn exact(text: impl Into<String>) -> Self {
        Self { source: text.into(), kind: Kind::Exact }
    }

    /// A glob: `*` matches any run of characters without `/`, `**` any run. Every other character stands for itself,
    /// and a text without `*` is [`Pattern::exact`]. Neither wildcard matches control characters.
    ///
    /// # Errors
    /// [`PatternError::TooLong`], [`PatternError::Stars`].
    pub fn glob(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_LEN {
            return Err(PatternError::TooLong);
        }
        if !text.contains('*') {
            return Ok(Self::exact(text));
        }
        if text.contains("***") {
            return Err(PatternError::Stars);
        }
        let crossing: Vec<String> = text
            .split("**")
            .map(|part| part.split('*').map(regex::escape).collect::<Vec<_>>().join(r"[^/\p{Cc}]*"))
            .collect();
        let regex = compile(&format!("^(?:{})$", crossing.join(r"[^\p{Cc}]*")))?;
        Ok(Self { source: text.to_owned(), kind: Kind::Glob(regex) })
    }

    /// A pattern for URLs of issuers: `*` matches one or more ASCII letters, digits, `-` and `_`, and so never leaves its
    /// host label or path segment. Every other character stands for itself, and a text without `*` is [`Pattern::exact`].
    ///
    /// # Errors
    /// [`PatternError::TooLong`], [`PatternError::TwoStars`].
    pub fn labels(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_LEN {
            return Err(PatternError::TooLong);
        }
        if !text.contains('*') {
            return Ok(Self::exact(text));
        }
        if text.contains("**") {
            return Err(PatternError::TwoStars);
        }
        let parts: Vec<String> = text.split('*').map(regex::escape).collect();
        let regex = compile(&format!("^(?:{})$", parts.join("[A-Za-z0-9_-]+")))?;
        Ok(Self { source: text.to_owned(), kind: Kind::Labels(regex) })
    }

    /// A regular expression that has to match the whole text, whether or not it says `^` and `$` itself.
    ///
    /// # Errors
    /// [`PatternError::TooLong`], [`PatternError::Regex`].
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_LEN {
            return Err(PatternError::TooLong);
        }
        // On its own first: `a)|(?:b` is no expression, and yet would be one between our parentheses, unanchored.
        compile(text)?;
        let regex = compile(&format!("^(?:{text})$"))?;
        Ok(Self { source: text.to_owned(), kind: Kind::Regex(regex) })
    }

    /// Does the whole of `text` match?
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.kind {
            Kind::Exact => self.source == text,
            Kind::Glob(regex) | Kind::Labels(regex) | Kind::Regex(regex) => regex.is_match(text),
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The one text that matches, if there is only one.
    #[must_use]
    pub const fn as_exact(&self) -> Option<&str> {
        match self.kind {
            Kind::Exact => Some(self.source.as_str()),
            Kind::Glob(_) | Kind::Labels(_) | Kind::Regex(_) => None,
        }
    }

    const fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Exact => "exact",
            Kind::Glob(_) => "glob",
            Kind::Labels(_) => "labels",
            Kind::Regex(_) => "regex",
        }
    }
}

fn compile(text: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(text)
        .size_limit(MAX_COMPILED_LEN)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|error| PatternError::Regex(error.to_string()))
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.kind_name() == other.kind_name() && self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.kind_name(), self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_PATTERN_LEN, Pattern, PatternError};

    fn glob(text: &str) -> Pattern {
        Pattern::glob(text).expect("a glob")
    }

    fn regex(text: &str) -> Pattern {
        Pattern::regex(text).expect("a regular expression")
    }

    #[test]
    fn one_star_stays_within_a_segment_and_two_cross() {
        let workflow = glob("https://github.com/acme/*/.github/workflows/*.yml@refs/heads/**");
        assert!(workflow.matches("https://github.com/acme/widgets/.github/workflows/ci.yml@refs/heads/main"));
        assert!(workflow.matches("https://github.com/acme/widgets/.github/workflows/ci.yml@refs/heads/a/b"));
        assert!(!workflow.matches("https://github.com/acme/a/b/.github/workflows/ci.yml@refs/heads/main"));
        assert!(!workflow.matches("https://github.com/acme/widgets/.github/workflows/ci.yml@refs/tags/v1"));
        assert!(glob("*@corp.example").matches("alice@corp.example"));
        assert!(glob("**").matches("") && glob("**").matches("a/b"));
        assert!(glob("a*b").matches("ab") && glob("a*b").matches("aaabbb") && !glob("a*b").matches("a/b"));
        // Everything but the star stands for itself.
        assert!(glob("a.[b]?*").matches("a.[b]?c") && !glob("a.[b]?*").matches("axbc"));
        assert_eq!(glob("plain").as_exact(), Some("plain"));
        assert_eq!(Pattern::glob("a***b"), Err(PatternError::Stars));
    }

    #[test]
    fn cve_2026_22772_a_part_of_the_text_is_no_match() {
        let good = "https://good.example/x";
        for pattern in [Pattern::exact(good), glob("https://good.example/*"), regex(r"https://good\.example/\w+")] {
            assert!(pattern.matches(good), "{pattern:?}");
            for evil in [
                "https://evil.example/?https://good.example/x",
                "evil?https://good.example/x",
                "https://good.example/x.evil/",
                "https://good.example/x\n",
                "\nhttps://good.example/x",
                "evil\nhttps://good.example/x\nevil",
                "https://good.example/x\r\n",
                "HTTPS://good.example/x",
                "https://gооd.example/x", // Cyrillic letters
            ] {
                assert!(!pattern.matches(evil), "{pattern:?} {evil:?}");
            }
        }
        assert!(!glob("a**").matches("a\0"));
        assert!(!glob("a*").matches("a\u{85}"));
    }

    /// GHSA-59jp-pj84-45mr: a pattern for issuers that was not anchored.
    #[test]
    fn a_star_for_issuers_is_one_label() {
        let clusters = Pattern::labels("https://oidc.eks.*.amazonaws.com/id/*").expect("a pattern");
        assert!(clusters.matches("https://oidc.eks.us-west-2.amazonaws.com/id/B02C93B6_a"));
        for issuer in [
            "http://localhost:3000?https://oidc.eks.us-west-2.amazonaws.com/id/B02C",
            "https://oidc.eks.us-west-2.amazonaws.com/id/B02C?x",
            "https://oidc.eks.us-west-2.amazonaws.com/id/B02C/",
            "https://oidc.eks.us-west-2.amazonaws.com/id/",
            "https://oidc.eks.evil.example/.amazonaws.com/id/x",
            "https://oidc.eks.a.b.amazonaws.com/id/x",
            "https://oidc.eks..amazonaws.com/id/x",
            "https://oidc.eks.us-west-2.amazonaws.com.evil.example/id/x",
            "https://oidc.eks.us-west-2.amazonaws.com/id/x\n",
            "https://oidc.eks.\u{430}.amazonaws.com/id/x",
            "https://oidcxeks.us.amazonaws.com/id/x",
            "https://oidc.eks.*.amazonaws.com/id/x",
        ] {
            assert!(!clusters.matches(issuer), "{issuer:?}");
        }
        assert_eq!(Pattern::labels("https://a.example").expect("a pattern").as_exact(), Some("https://a.example"));
        assert_eq!(Pattern::labels("https://**.example"), Err(PatternError::TwoStars));
        assert_eq!(Pattern::labels(&"a".repeat(MAX_PATTERN_LEN + 1)), Err(PatternError::TooLong));
    }

    #[test]
    fn a_regular_expression_cannot_break_out_of_its_anchors() {
        assert!(matches!(Pattern::regex("a)|(?:b"), Err(PatternError::Regex(_))));
        assert!(!regex("a|b").matches("ab"));
        assert!(!regex("(?m)a$").matches("a\nb"));
        assert!(matches!(Pattern::regex("(?x)a # comment"), Err(PatternError::Regex(_))));
        assert!(regex("^a.*$").matches("abc"));
    }

    #[test]
    fn patterns_are_bounded() {
        let long = "a".repeat(MAX_PATTERN_LEN + 1);
        assert_eq!(Pattern::glob(&long), Err(PatternError::TooLong));
        assert_eq!(Pattern::regex(&long), Err(PatternError::TooLong));
        assert!(matches!(Pattern::regex("(?:a{1000}){1000}"), Err(PatternError::Regex(_))));
        assert!(matches!(Pattern::regex(&"(".repeat(500)), Err(PatternError::Regex(_))));
        // Many stars and a text that almost matches: linear all the same.
        assert!(!glob(&"*a".repeat(500)).matches(&"ab".repeat(5_000)));
    }
}
