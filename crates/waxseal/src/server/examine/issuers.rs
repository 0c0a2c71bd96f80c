//! The issuers that the rules listen to: whether the keys of each can be had, now.

use super::Finding;
use std::sync::Arc;
use tokio::task::JoinSet;
use waxseal_authority::rules::Rules;
use waxseal_io::jwks::Jwks;

/// Asks every issuer at once.
pub async fn examine(rules: &Rules, jwks: Arc<Jwks>) -> Vec<Finding> {
    let mut asking = JoinSet::new();
    // A pattern is no issuer that could be asked.
    for accepted in rules.issuers().filter(|accepted| accepted.pattern().is_none()) {
        let (issuer, jwks) = (accepted.issuer().url().to_owned(), Arc::clone(&jwks));
        asking.spawn(async move {
            let subject = format!("issuer {issuer}");
            match jwks.keys(&issuer, None).await {
                Ok(keys) => Finding::good(subject, format!("{} keys", keys.candidates(None).count())),
                Err(error) => Finding::failed(subject, error.code(), error.to_string()).mend(
                    "until it answers, its tokens are refused; is its URL right, and its certificate known here?",
                ),
            }
        });
    }
    if asking.is_empty() {
        return vec![Finding::skipped("issuers", "the rules name none: nobody can sign")];
    }
    let mut findings = asking.join_all().await;
    findings.sort_by(|one, other| one.subject.cmp(&other.subject));
    findings
}

#[cfg(test)]
mod tests {
    use super::examine;
    use crate::server::examine::State;
    use std::sync::Arc;
    use waxseal_authority::rules::Rules;
    use waxseal_formats::code::Code;
    use waxseal_io::jwks::Jwks;
    use waxseal_io::transport::replay::Replay;

    #[tokio::test]
    async fn an_issuer_that_does_not_answer_is_named() {
        let rule = |name: &str, issuer: &str| format!("  - {{name: {name}, issuer: '{issuer}', match: {{sub: a}}}}\n");
        let text = format!(
            "issuers: [{{preset: eks}}]\nrules:\n{}{}",
            rule("a", "https://good.example"),
            rule("b", "https://gone.example")
        );
        let rules = Rules::from_yaml(&text, &[]).expect("rules");
        let replay = Replay::new();
        let discovery = r#"{"issuer": "https://good.example", "jwks_uri": "https://good.example/keys"}"#;
        replay.answer("GET", "https://good.example/.well-known/openid-configuration", 200, discovery);
        let keys = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}]}"#;
        replay.answer("GET", "https://good.example/keys", 200, keys);
        replay.answer("GET", "https://gone.example/.well-known/openid-configuration", 503, "");
        let findings = examine(&rules, Arc::new(Jwks::new(Arc::new(replay), []))).await;
        let [gone, good] = findings.try_into().expect("two findings");
        assert_eq!((good.state, good.found.as_str()), (State::Good, "1 keys"));
        assert_eq!((gone.state, gone.code), (State::Failed, Some(Code::NETWORK_UNREACHABLE)));
        assert!(gone.subject.ends_with("https://gone.example"), "{gone:?}");
        let nobody = examine(
            &Rules::from_yaml("rules: []", &[]).expect("rules"),
            Arc::new(Jwks::new(Arc::new(Replay::new()), [])),
        )
        .await;
        assert_eq!(nobody[0].state, State::Skipped);
    }
}
