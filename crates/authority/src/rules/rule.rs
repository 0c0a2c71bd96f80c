//! One rule, and how it judges a token.

use super::artifacts::Artifacts;
use super::denied::{Mismatch, MismatchReason};
use super::issuer::AcceptedIssuer;
use super::when::When;
use crate::oidc::{Claims, scalar_text};
use formats::pattern::Pattern;
use serde_json::Value;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use waxseal_formats as formats;

/// A rule as it was read.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) issuer: Pattern,
    /// None: one of the issuer's own.
    pub(super) audience: Option<String>,
    /// By name, or by JSON Pointer (RFC 6901).
    pub(super) claims: BTreeMap<String, Vec<Pattern>>,
    pub(super) when: Option<When>,
    pub(super) artifacts: Arc<Artifacts>,
    pub(super) certificates_per_minute: Option<NonZeroU32>,
}

/// A claim that a rule wanted, as it found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Its name, or where it is.
    pub claim: String,
    /// The value that matched; of a list that one.
    pub value: String,
}

impl Rule {
    /// What the rule says about tokens of issuers that nobody listens to.
    pub(super) fn about_another_issuer(&self) -> Mismatch {
        let wanted = self.issuer.as_str().to_owned();
        Mismatch { rule: self.name.clone(), reasons: vec![MismatchReason::Issuer { wanted }] }
    }

    /// What matched, or everything that did not.
    ///
    /// # Errors
    /// The reasons, at least one.
    pub(super) fn judge(
        &self,
        accepted: &AcceptedIssuer,
        claims: &Claims,
    ) -> Result<Vec<Matched>, Vec<MismatchReason>> {
        if !self.issuer.matches(claims.issuer()) {
            return Err(vec![MismatchReason::Issuer { wanted: self.issuer.as_str().to_owned() }]);
        }
        let (mut matched, mut reasons) = (Vec::new(), Vec::new());
        let wanted = self.audience.as_ref().map_or_else(|| accepted.own_audiences(), std::slice::from_ref);
        if !claims.audience().iter().any(|audience| wanted.contains(audience)) {
            reasons.push(MismatchReason::Audience { wanted: wanted.join(" or ") });
        }
        for (claim, wanted) in &self.claims {
            let actual = claims.lookup(claim);
            match actual.and_then(|actual| first_match(actual, wanted)) {
                Some(value) => matched.push(Matched { claim: claim.clone(), value }),
                None => reasons.push(MismatchReason::Claim {
                    claim: claim.clone(),
                    actual: actual.map(Value::to_string),
                    wanted: wanted.clone(),
                }),
            }
        }
        if let Some(when) = &self.when {
            let failed = |error| MismatchReason::Condition { text: when.text().to_owned(), error };
            match when.holds(claims) {
                Ok(true) => {}
                Ok(false) => reasons.push(failed(None)),
                Err(error) => reasons.push(failed(Some(error.to_string()))),
            }
        }
        if reasons.is_empty() { Ok(matched) } else { Err(reasons) }
    }
}

/// The value, or the first element of a list, that one of the patterns matches. Numbers and truth values are what JSON writes
/// for them; an object or a list in a list matches nothing.
fn first_match(actual: &Value, wanted: &[Pattern]) -> Option<String> {
    let one = |value: &Value| scalar_text(value).filter(|text| wanted.iter().any(|pattern| pattern.matches(text)));
    match actual {
        Value::Array(values) => values.iter().find_map(one),
        value => one(value),
    }
}
