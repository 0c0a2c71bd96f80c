//! What other rules would decide otherwise.

use super::{Denied, Grant, Rules};
use crate::oidc::Claims;
use formats::code::Code;
use waxseal_formats as formats;

/// How candidate rules differ about one token. Nothing follows from it: what is enforced decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// They would admit whom the enforced ones deny.
    Admits {
        /// The candidate's rule.
        rule: String,
    },
    /// They would deny whom the enforced ones admit.
    Denies {
        /// The enforced rule.
        rule: String,
        /// Why.
        code: Code,
    },
    /// They would admit as well, and give another certificate or by another rule.
    Otherwise {
        /// The enforced rule.
        enforced: String,
        /// The candidate's rule.
        candidate: String,
    },
}

/// Compares what was decided with what the candidate would decide; None if it is the same.
#[must_use]
pub fn compare(decided: &Result<Grant, Denied>, candidate: &Rules, claims: &Claims) -> Option<Difference> {
    match (decided, candidate.decide(claims)) {
        (Err(_), Err(_)) => None,
        (Err(_), Ok(grant)) => Some(Difference::Admits { rule: grant.rule }),
        (Ok(grant), Err(denied)) => Some(Difference::Denies { rule: grant.rule.clone(), code: denied.code() }),
        (Ok(enforced), Ok(candidate)) => {
            let same = enforced.rule == candidate.rule
                && enforced.subject_alt_name == candidate.subject_alt_name
                && enforced.extensions == candidate.extensions;
            let difference =
                || Difference::Otherwise { enforced: enforced.rule.clone(), candidate: candidate.rule.clone() };
            (!same).then(difference)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Difference, compare};
    use crate::oidc::forge::Forge;
    use crate::rules::Rules;
    use formats::code::Code;
    use serde_json::json;
    use waxseal_formats as formats;

    fn rules(name: &str, email: &str) -> Rules {
        let text = format!("rules: [{{name: {name}, issuer: https://idp.example, match: {{email: '{email}'}}}}]");
        Rules::from_yaml(&text, &[]).expect("rules")
    }

    #[test]
    fn differences_are_told_and_sameness_is_not() {
        let claims = Forge::es256().claims(json!({"email": "alice@corp.example", "email_verified": true}));
        let (alice, bob) = ("alice@corp.example", "bob@corp.example");
        let difference = |enforced: Rules, candidate: &Rules| compare(&enforced.decide(&claims), candidate, &claims);
        assert_eq!(difference(rules("a", alice), &rules("a", "*@corp.example")), None);
        assert_eq!(difference(rules("a", bob), &rules("b", bob)), None);
        assert_eq!(difference(rules("a", bob), &rules("b", alice)), Some(Difference::Admits { rule: "b".into() }));
        assert_eq!(
            difference(rules("a", alice), &rules("b", bob)),
            Some(Difference::Denies { rule: "a".into(), code: Code::RULE_DENIED })
        );
        assert_eq!(
            difference(rules("a", alice), &rules("b", alice)),
            Some(Difference::Otherwise { enforced: "a".into(), candidate: "b".into() })
        );
    }
}
