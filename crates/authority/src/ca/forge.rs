//! Keys and authorities for tests, made on the spot.

use super::{CaIssuer, Issuance, Precertificate, SubordinateKind, root, subordinate};
use crate::challenge::{ProvenKey, verify_public_key_proof};
use crate::oidc::forge::Forge;
use crate::rules::{Grant, IssuerType, Rules};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use formats::crypto::{KeyKind, PublicKey};
use formats::sct::{SignedCertificateTimestamp, leaf_index_extension, signed_input};
use formats::x509::{Certificate, DistinguishedName};
use jiff::Timestamp;
use serde_json::{Value, json};
use waxseal_formats as formats;
use waxseal_testkit::clock::{EPOCH, at};

/// A private key with its public half.
pub(crate) struct TestKey {
    key: Private,
    pub(crate) public: PublicKey,
}

enum Private {
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl TestKey {
    pub(crate) fn generate(kind: KeyKind) -> Self {
        let (key, spki) = match kind {
            KeyKind::Rsa { .. } => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
                let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).expect("DER");
                (Private::Rsa(Box::new(key)), spki)
            }
            KeyKind::Ed25519 => {
                let key = Ed25519KeyPair::generate().expect("a key");
                let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).expect("DER");
                (Private::Ed25519(key), spki)
            }
            curve => {
                let key = EcdsaKeyPair::generate(match curve {
                    KeyKind::EcdsaP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
                    KeyKind::EcdsaP521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
                    _ => &ECDSA_P256_SHA256_ASN1_SIGNING,
                })
                .expect("a key");
                let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).expect("DER");
                (Private::Ecdsa(key), spki)
            }
        };
        Self { key, public: PublicKey::from_spki_der(spki.as_ref()).expect("a key") }
    }

    #[expect(clippy::disallowed_methods, reason = "a test signs with a key of its own")]
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Private::Ecdsa(key) => key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec(),
            Private::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
                signature
            }
            Private::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

pub(crate) fn name(common_name: &str) -> DistinguishedName {
    DistinguishedName { organization: "corp.example".into(), common_name: common_name.into() }
}

pub(crate) fn now() -> Timestamp {
    at(EPOCH)
}

/// A key and a certificate of `kind` that a root of the same kind of key signed, with that root.
pub(crate) fn authority(key_kind: KeyKind, kind: SubordinateKind) -> (TestKey, Vec<Certificate>) {
    let (root_key, key) = (TestKey::generate(key_kind), TestKey::generate(key_kind));
    let unsigned = root(&name("root"), &root_key.public, [0xf1; 20], now()).expect("a root");
    let root = unsigned.finish(&root_key.sign(unsigned.message())).expect("a root");
    let unsigned = subordinate(kind, &name("issuing"), &key.public, &root, [0xf2; 20], now()).expect("a certificate");
    let certificate = unsigned.finish(&root_key.sign(unsigned.message())).expect("a certificate");
    (key, vec![certificate, root])
}

/// An authority for leaves.
pub(crate) fn issuer(kind: KeyKind) -> (TestKey, CaIssuer) {
    let (key, chain) = authority(kind, SubordinateKind::FulcioIntermediate);
    (key, CaIssuer::new(chain).expect("an authority"))
}

const GITHUB: &str = "http://127.0.0.1:7480/idp/github";

/// What rules that admit everyone make of these claims.
pub(crate) fn grant(claims: Value) -> Grant {
    let claims = Forge::es256().claims(claims);
    let rules = format!("rules: [{{name: all, issuer: '{}', match: {{sub: '**'}}}}]", claims.issuer());
    let github = (GITHUB.to_owned(), IssuerType::ci("github-workflow").expect("a provider"));
    Rules::from_yaml(&rules, &[github]).expect("rules").decide(&claims).expect("admitted")
}

pub(crate) fn alice() -> Grant {
    grant(json!({"email": "alice@corp.example", "email_verified": true}))
}

pub(crate) fn proven(grant: &Grant, key: &TestKey) -> ProvenKey {
    let proof = key.sign(grant.challenge_names()[0].as_bytes());
    verify_public_key_proof(grant, key.public.clone(), &proof).expect("proven")
}

/// A precertificate for alice and a new key of this kind.
pub(crate) fn precertificate<'a>(ca: &TestKey, issuer: &'a CaIssuer, kind: KeyKind) -> Precertificate<'a> {
    let grant = alice();
    let key = proven(&grant, &TestKey::generate(kind));
    let issuance = Issuance::new(issuer, &grant, &key, now(), [0xff; 20]).expect("issuance");
    let signature = ca.sign(issuance.message());
    issuance.finish(&signature).expect("precertificate")
}

/// A log's promise about it.
pub(crate) fn sct(log: &TestKey, precertificate: &Precertificate<'_>) -> SignedCertificateTimestamp {
    let extensions = leaf_index_extension(7).expect("fits");
    let input = signed_input(1_795_531_070_295, &precertificate.entry(), &extensions).expect("input");
    SignedCertificateTimestamp {
        log_id: log.public.spki_sha256(),
        timestamp_ms: 1_795_531_070_295,
        extensions,
        algorithm: log.public.default_algorithm(),
        signature: log.sign(&input),
    }
}

/// A certificate as clients get it: alice's, from this authority, for a new key.
pub(crate) fn leaf(ca: &TestKey, issuer: &CaIssuer) -> Certificate {
    let log = TestKey::generate(KeyKind::EcdsaP256);
    let precertificate = precertificate(ca, issuer, KeyKind::EcdsaP256);
    let promise = sct(&log, &precertificate);
    let unsigned = precertificate.embed(&promise, &log.public).expect("final");
    unsigned.finish(&ca.sign(unsigned.message())).expect("certificate")
}
