//! The signature of a token: an algorithm from our list, made with a key of the issuer that is meant for it.

use super::TokenError;
use crate::weak_rsa;
use formats::jwt::{Jwk, JwkMaterial, JwkSet, Jws};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use waxseal_formats as formats;

pub(super) fn verify_signature(jws: &Jws<'_>, keys: &JwkSet) -> Result<(), TokenError> {
    let algorithm =
        algorithm(jws.algorithm()).ok_or_else(|| TokenError::Algorithm { algorithm: jws.algorithm().to_owned() })?;
    let mut refusal =
        TokenError::NoKey { key_id: jws.key_id().map(str::to_owned), algorithm: jws.algorithm().to_owned() };
    for key in keys.candidates(jws.key_id()) {
        let Some(decoding_key) = decoding_key(key, jws.algorithm(), algorithm) else { continue };
        if let JwkMaterial::Rsa { n, e } = &key.material
            && let Err(weakness) = weak_rsa::check(n, e)
        {
            refusal = TokenError::WeakKey(weakness);
            continue;
        }
        if crypto::verify(jws.signature(), jws.signing_input().as_bytes(), &decoding_key, algorithm) == Ok(true) {
            return Ok(());
        }
        refusal = TokenError::Signature;
    }
    Err(refusal)
}

/// The whole list: asymmetric algorithms that the library has.
fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// The key, if it is one for this algorithm.
fn decoding_key(key: &Jwk, name: &str, algorithm: Algorithm) -> Option<DecodingKey> {
    use Algorithm as A;
    if key.algorithm.as_deref().is_some_and(|meant| meant != name) {
        return None;
    }
    match (&key.material, algorithm) {
        (JwkMaterial::Rsa { n, e }, A::RS256 | A::RS384 | A::RS512 | A::PS256 | A::PS384 | A::PS512) => {
            Some(DecodingKey::from_rsa_raw_components(n, e))
        }
        (JwkMaterial::Ec { curve, x, y }, A::ES256 | A::ES384) => {
            let (expected, len) = if algorithm == A::ES256 { ("P-256", 32) } else { ("P-384", 48) };
            (curve == expected && x.len() == len && y.len() == len)
                .then(|| DecodingKey::from_ec_der(&[&[4][..], x, y].concat()))
        }
        (JwkMaterial::Ed25519 { x }, A::EdDSA) => Some(DecodingKey::from_ed_der(x)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::verify_signature;
    use crate::oidc::TokenError;
    use crate::oidc::forge::Forge;
    use crate::weak_rsa::Weakness;
    use formats::code::Code;
    use formats::jwt::{JwkSet, Jws};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use waxseal_formats as formats;

    fn check(token: &str, keys: &JwkSet) -> Result<(), TokenError> {
        verify_signature(&Jws::parse(token)?, keys)
    }

    fn set(keys: &[&Value]) -> JwkSet {
        JwkSet::from_json(json!({ "keys": keys }).to_string().as_bytes()).expect("a key set")
    }

    /// Wycheproof marks two PS384 signatures of a PS256 key as valid (RFC 7520 §4.2 has such a pair) and some of HS256
    /// and ES512: by our rules a key signs with its own algorithm, and that has to be on the list.
    fn ours(group: &Value, jws: &str) -> bool {
        let Ok(jws) = Jws::parse(jws) else { return false };
        let key_algorithm = group["public"]["alg"].as_str();
        super::algorithm(jws.algorithm()).is_some() && key_algorithm.is_none_or(|meant| meant == jws.algorithm())
    }

    #[test]
    fn wycheproof_jose() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
        for file in ["json_web_signature_test.json", "json_web_crypto_test.json"] {
            let tests: Value = serde_json::from_slice(&vectors.read(&format!("wycheproof-jose/{file}"))).expect("JSON");
            for group in tests["testGroups"].as_array().expect("groups") {
                let key = group.get("public").unwrap_or(&group["private"]);
                let keys = match key.get("keys") {
                    Some(several) => set(&several.as_array().expect("keys").iter().collect::<Vec<_>>()),
                    None => set(&[key]),
                };
                for test in group["tests"].as_array().expect("tests") {
                    let Some(jws) = test["jws"].as_str() else { continue };
                    let verdict = check(jws, &keys);
                    let expected = test["result"] == "valid" && ours(group, jws);
                    assert_eq!(verdict.is_ok(), expected, "{file} {} {}: {verdict:?}", test["tcId"], test["comment"]);
                    if verdict.is_ok() {
                        let algorithm = Jws::parse(jws).expect("parsed").algorithm().to_owned();
                        *accepted.entry(algorithm).or_default() += 1;
                    }
                }
            }
        }
        let algorithms: Vec<&str> = accepted.keys().map(String::as_str).collect();
        assert_eq!(algorithms, ["ES256", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"]);
    }

    #[test]
    fn cve_2017_15361_a_key_of_the_faulty_generator_verifies_nothing() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let file = vectors.read("wycheproof-jose/json_web_crypto_test.json");
        let tests: Value = serde_json::from_slice(&file).expect("JSON");
        let groups = tests["testGroups"].as_array().expect("groups");
        let group = groups.iter().find(|group| group["comment"] == "jws_rsa_roca_key").expect("the group");
        let verdict = check(group["tests"][0]["jws"].as_str().expect("a token"), &set(&[&group["public"]]));
        assert_eq!(verdict, Err(TokenError::WeakKey(Weakness::Roca)));
    }

    /// Row 14 of the classes: `none`, HMAC with the public key as secret, and every other algorithm of the token's choice.
    #[test]
    fn the_token_does_not_choose_how_it_is_verified() {
        let forge = Forge::es256();
        for algorithm in
            ["none", "None", "nOnE", "", "HS256", "HS384", "HS512", "ES512", "ES256K", "es256", "dir", "A128KW"]
        {
            let token = forge.token_with_header(&json!({ "alg": algorithm }), &json!({}));
            let error = check(&token, &forge.keys()).expect_err("refused");
            assert_eq!(error, TokenError::Algorithm { algorithm: algorithm.to_owned() });
            assert_eq!(error.code(), Code::TOKEN_SIGNATURE);
        }
        // The key is there, and for another algorithm.
        for algorithm in ["RS256", "PS256", "ES384", "EdDSA"] {
            let token = forge.token_with_header(&json!({ "alg": algorithm }), &json!({}));
            let error = check(&token, &forge.keys()).expect_err("refused");
            assert!(matches!(error, TokenError::NoKey { .. }), "{algorithm}");
            assert_eq!(error.code(), Code::TOKEN_SIGNATURE);
        }
    }

    #[test]
    fn the_key_is_found_by_its_id() {
        let (first, second) = (Forge::es256(), Forge::es256());
        let mut both = first.keys().keys().to_vec();
        both[0].key_id = Some("first".to_owned());
        both.extend(second.keys().keys().to_vec());
        both[1].key_id = Some("second".to_owned());
        let both = JwkSet::new(both);
        let token = |key_id: Option<&str>| {
            let header = key_id.map_or_else(|| json!({ "alg": "ES256" }), |kid| json!({ "alg": "ES256", "kid": kid }));
            second.token_with_header(&header, &json!({}))
        };
        assert_eq!(check(&token(Some("second")), &both), Ok(()));
        assert_eq!(check(&token(None), &both), Ok(()), "without an id all are tried");
        assert_eq!(check(&token(Some("first")), &both), Err(TokenError::Signature));
        assert!(matches!(check(&token(Some("third")), &both), Err(TokenError::NoKey { .. })));
        assert_eq!(check(&token(None), &first.keys()), Err(TokenError::Signature));
        assert!(matches!(check(&token(None), &JwkSet::default()), Err(TokenError::NoKey { .. })));
    }
}
