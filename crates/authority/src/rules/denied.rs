//! Why nobody may have a certificate, told to the operator whole and to the one who asked in part.

use crate::oidc::{ClaimError, Shown};
use formats::code::Code;
use formats::pattern::Pattern;
use std::fmt;
use waxseal_formats as formats;

/// How much whoever is refused is told: `explain:` of the rules file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Explain {
    /// Which claims failed and what they are in the own token. What would have been accepted is the business of those who wrote
    /// the rules.
    #[default]
    Refused,
    /// What would have been accepted as well.
    Full,
}

/// Why nobody may have a certificate for a token, although it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The token does not name a holder that a certificate could name.
    Claim(ClaimError),
    /// No rule admits.
    NoRule {
        /// Its `iss`.
        issuer: String,
        /// The name that the certificate would have had.
        subject_alt_name: String,
        /// Every rule, in their order, with what it did not like.
        mismatches: Vec<Mismatch>,
        /// How much of it is displayed.
        explain: Explain,
    },
}

/// Why one rule does not admit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The rule's name.
    pub rule: String,
    /// What it did not like; never empty.
    pub reasons: Vec<MismatchReason>,
}

/// What a rule did not like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MismatchReason {
    /// It is about another issuer.
    Issuer {
        /// The rule's issuer.
        wanted: String,
    },
    /// It is about another audience.
    Audience {
        /// The rule's audience.
        wanted: String,
    },
    /// A claim is missing or has another value.
    Claim {
        /// The claim.
        claim: String,
        /// Its value as JSON, if it is there.
        actual: Option<String>,
        /// One of these would have matched.
        wanted: Vec<Pattern>,
    },
    /// Its condition does not hold, or could not be judged.
    Condition {
        /// The condition.
        text: String,
        /// Why it could not be judged, such as a claim that is missing.
        error: Option<String>,
    },
}

impl Denied {
    /// `token.claim` or `rule.denied`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Claim(error) => error.code(),
            Self::NoRule { .. } => Code::RULE_DENIED,
        }
    }

    /// The rules about the token's issuer, those first that liked most of it. Rules about other issuers are none of them.
    #[must_use]
    pub fn nearest(&self) -> Vec<&Mismatch> {
        let Self::NoRule { mismatches, .. } = self else { return Vec::new() };
        let about = |mismatch: &&Mismatch| {
            !mismatch.reasons.iter().any(|reason| matches!(reason, MismatchReason::Issuer { .. }))
        };
        let mut nearest: Vec<&Mismatch> = mismatches.iter().filter(about).collect();
        nearest.sort_by_key(|mismatch| mismatch.reasons.len());
        nearest
    }
}

/// Names the nearest rules about this issuer and what each of them did not like, with the token's own values.
impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_SHOWN: usize = 3;
        let (issuer, name, explain) = match self {
            Self::Claim(error) => return error.fmt(f),
            Self::NoRule { issuer, subject_alt_name, explain, .. } => (issuer, subject_alt_name, *explain),
        };
        write!(f, "no signing rule admits {} of the issuer {}", Shown(name), Shown(issuer))?;
        let nearest = self.nearest();
        for (index, Mismatch { rule, reasons }) in nearest.iter().take(MAX_SHOWN).enumerate() {
            write!(f, "{}rule `{rule}` wants ", if index == 0 { ": " } else { "; " })?;
            for (index, reason) in reasons.iter().take(MAX_SHOWN).enumerate() {
                f.write_str(if index == 0 { "" } else { " and " })?;
                Told { reason, explain }.fmt(f)?;
            }
        }
        if nearest.len() > MAX_SHOWN {
            f.write_str("; and so on")?;
        }
        Ok(())
    }
}

impl std::error::Error for Denied {}

/// A reason as it is told.
struct Told<'a> {
    reason: &'a MismatchReason,
    explain: Explain,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let full = self.explain == Explain::Full;
        match self.reason {
            MismatchReason::Issuer { .. } => f.write_str("another issuer"),
            MismatchReason::Audience { wanted } if full => write!(f, "the audience {wanted}"),
            MismatchReason::Audience { .. } => f.write_str("another audience"),
            MismatchReason::Claim { claim, actual, wanted } => {
                match actual {
                    None => write!(f, "a `{claim}`, which the token does not have")?,
                    // A value that JSON has quoted already.
                    Some(actual) => write!(f, "another `{claim}` (yours is {})", cut(actual))?,
                }
                let wanted: Vec<&str> = wanted.iter().take(5).map(Pattern::as_str).collect();
                if full { write!(f, ", namely {}", wanted.join(" or ")) } else { Ok(()) }
            }
            MismatchReason::Condition { text, error: None } if full => write!(f, "that {text}"),
            MismatchReason::Condition { text, error: Some(error) } if full => write!(f, "that {text} ({error})"),
            MismatchReason::Condition { .. } => f.write_str("a condition to hold that does not"),
        }
    }
}

/// The beginning of a value.
fn cut(value: &str) -> &str {
    const MAX_CHARS: usize = 200;
    value.char_indices().nth(MAX_CHARS).and_then(|(end, _)| value.get(..end)).unwrap_or(value)
}
