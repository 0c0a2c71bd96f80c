//! The table of `testdata/decisions.yaml`: every token under every rule set.

use super::Rules;
use crate::oidc::forge::Forge;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    tokens: BTreeMap<String, Map<String, Value>>,
    sets: Vec<Set>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    about: String,
    rules: String,
    admitted: BTreeMap<String, String>,
    #[serde(default)]
    refused: BTreeMap<String, String>,
}

#[test]
fn every_token_gets_what_the_table_says() {
    let table: Table = serde_saphyr::from_str(include_str!("../../testdata/decisions.yaml")).expect("a table");
    assert_eq!(table.sets.len(), 20);
    for Set { about, rules, admitted, refused } in &table.sets {
        let rules = Rules::from_yaml(rules, &[]).unwrap_or_else(|error| panic!("{about}: {error}"));
        for (name, claims) in &table.tokens {
            let decided = rules.decide(&Forge::es256().claims(Value::Object(claims.clone())));
            let by = decided.as_ref().ok().map(|grant| grant.rule().to_owned());
            assert_eq!(by.as_ref(), admitted.get(name), "{about}: {name}: {decided:?}");
            if let (Err(denied), Some(code)) = (&decided, refused.get(name)) {
                assert_eq!(denied.code().as_str(), code, "{about}: {name}");
            }
        }
        let known = |name: &String| table.tokens.contains_key(name);
        assert!(admitted.keys().chain(refused.keys()).all(known), "{about}: a token that there is not");
    }
}
