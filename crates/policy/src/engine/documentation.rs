//! The examples of docs/policies.md are policies, and say what the page says they do.

use super::{Compiled, Language, Verdict};
use crate::input::Input;
use serde_json::json;

const PAGE: &str = include_str!("../../../../docs/policies.md");

fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    PAGE.match_indices(&fence).map(|(at, _)| PAGE[at + fence.len()..].split("```").next().unwrap()).collect()
}

#[test]
fn every_example_allows_the_attestation_and_denies_an_empty_one() {
    let statement = serde_json::from_str(blocks("json")[0]).unwrap();
    let signer = json!({
        "identity": "https://github.com/acme/widgets/.github/workflows/release.yml@refs/heads/main",
        "issuer": "https://token.actions.githubusercontent.com",
        "extensions": {"runnerEnvironment": "github-hosted"},
    });
    let input = Input::facts(statement, signer).unwrap();
    let empty = Input::facts(json!({"predicate": {}}), json!({"key": "00"})).unwrap();
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    for (language, expected) in [("rego", 4), ("cel", 1)] {
        let examples = blocks(language);
        assert_eq!(examples.len(), expected);
        for example in examples {
            let policy = Compiled::compile(Language::named(language).unwrap(), example).expect(example);
            assert!(
                matches!(policy.evaluate(&input, now), Verdict::Allowed(_)),
                "{example}: {:?}",
                policy.evaluate(&input, now)
            );
            assert!(matches!(policy.evaluate(&empty, now), Verdict::Denied(_)), "{example}");
        }
    }
}
