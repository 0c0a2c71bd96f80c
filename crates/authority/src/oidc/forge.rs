//! Tokens for tests, signed with keys made on the spot.

use super::{Claims, Issuer, UnverifiedToken};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use formats::jwt::{Jwk, JwkMaterial, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use waxseal_formats as formats;
use waxseal_testkit::clock::{EPOCH, at};

/// An issuer that signs whatever it is asked to.
pub(crate) struct Forge {
    name: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
    public: Jwk,
}

impl Forge {
    pub(crate) fn es256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self::ecdsa("ES256", Algorithm::ES256, "P-256", &pair)
    }

    pub(crate) fn es384() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        Self::ecdsa("ES384", Algorithm::ES384, "P-384", &pair)
    }

    fn ecdsa(name: &'static str, algorithm: Algorithm, curve: &str, pair: &EcdsaKeyPair) -> Self {
        let pkcs8 = pair.to_pkcs8v1().expect("DER");
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(point.len() / 2);
        let material = JwkMaterial::Ec { curve: curve.to_owned(), x: x.to_vec(), y: y.to_vec() };
        let public = Jwk { key_id: None, algorithm: Some(name.to_owned()), material };
        Self { name, algorithm, key: EncodingKey::from_ec_der(pkcs8.as_ref()), public }
    }

    pub(crate) fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let pkcs8 = pair.to_pkcs8v1().expect("DER");
        let material = JwkMaterial::Ed25519 { x: pair.public_key().as_ref().to_vec() };
        let public = Jwk { key_id: None, algorithm: None, material };
        Self { name: "EdDSA", algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(pkcs8.as_ref()), public }
    }

    pub(crate) fn keys(&self) -> JwkSet {
        JwkSet::new(vec![self.public.clone()])
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with_header(&json!({ "alg": self.name, "typ": "JWT" }), claims)
    }

    pub(crate) fn token_with_header(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &self.key, self.algorithm).expect("a signature");
        format!("{input}.{signature}")
    }

    /// What a token with these claims says after verification; those that every token needs are filled in.
    pub(crate) fn claims(&self, claims: Value) -> Claims {
        let mut all = json!({ "iss": "https://idp.example", "sub": "alice", "aud": "sigstore", "exp": at(EPOCH).as_second() + 60 });
        let Value::Object(claims) = claims else { unreachable!("claims are an object") };
        all.as_object_mut().expect("an object").extend(claims);
        let token = self.token(&all);
        let token = UnverifiedToken::parse(&token).expect("a token");
        let issuer = Issuer::new(token.issuer(), vec![all["aud"].as_str().expect("an audience").to_owned()]);
        token.verify(&issuer, &self.keys(), at(EPOCH)).expect("claims")
    }
}
