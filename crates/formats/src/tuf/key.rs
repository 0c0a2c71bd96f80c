//! Keys as TUF metadata carries them (§4.2), and their ids.

use super::metadata::{field, text};
use super::{TufError, canonical};
use crate::crypto::{HashAlgorithm, KeyKind, PublicKey, SignatureAlgorithm, SignatureInvalid, sha256};
use aws_lc_rs::signature as provider;
use serde_json::{Value, json};

/// SubjectPublicKeyInfo of a P-256 key up to its 65 bytes of uncompressed point.
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// SubjectPublicKeyInfo of an Ed25519 key up to its 32 bytes.
const ED25519_SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key of root or delegating metadata. Two keys are equal if they verify the same signatures, whatever their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Option<(PublicKey, Scheme)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Plain(SignatureAlgorithm),
    /// RSASSA-PSS with SHA-256, the specification's scheme for RSA.
    RsaPss,
}

impl Key {
    /// Reads `{"keytype", "scheme", "keyval": {"public"}}`.
    ///
    /// Understood are `ecdsa` (also spelt `ecdsa-sha2-nistp256` or `…384`), `ed25519` and `rsa`; the public part is
    /// PEM, or for P-256 and Ed25519 the hexadecimal point. A key of another type, or one that does not parse, is
    /// kept as one that never verifies: metadata may carry keys for newer clients.
    ///
    /// # Errors
    /// [`TufError::Field`] when a field is absent or no string.
    pub fn from_value(value: &Value) -> Result<Self, TufError> {
        let keytype = text(value, "keytype")?;
        let scheme = text(value, "scheme")?;
        let public = text(field(value, "keyval")?, "public")?;
        Ok(Self(
            public_key(keytype, public)
                .and_then(|key| Some((scheme_of(keytype, scheme, &key)?, key)))
                .map(|(scheme, key)| (key, scheme)),
        ))
    }

    /// Verifies a signature over `payload`. ECDSA signatures are ASN.1 DER.
    ///
    /// # Errors
    /// [`SignatureInvalid`], also for keys that we cannot use.
    pub fn verify(&self, payload: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        match &self.0 {
            Some((key, Scheme::Plain(algorithm))) => key.verify(*algorithm, payload, signature),
            Some((key, Scheme::RsaPss)) => {
                provider::UnparsedPublicKey::new(&provider::RSA_PSS_2048_8192_SHA256, key.raw())
                    .verify(payload, signature)
                    .map_err(|_| SignatureInvalid)
            }
            None => Err(SignatureInvalid),
        }
    }

    /// The public key, if it is one that we can use.
    #[must_use]
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.0.as_ref().map(|(key, _)| key)
    }
}

fn public_key(keytype: &str, public: &str) -> Option<PublicKey> {
    if public.starts_with("-----BEGIN") {
        return PublicKey::from_pem(public).ok();
    }
    let raw = hex::decode(public).ok()?;
    let prefix: &[u8] = match (keytype, raw.len()) {
        ("ed25519", 32) => &ED25519_SPKI_PREFIX,
        ("ecdsa" | "ecdsa-sha2-nistp256", 65) => &P256_SPKI_PREFIX,
        _ => return None,
    };
    PublicKey::from_spki_der(&[prefix, &raw].concat()).ok()
}

fn scheme_of(keytype: &str, scheme: &str, key: &PublicKey) -> Option<Scheme> {
    let algorithm = match (keytype, scheme, key.kind()) {
        ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", KeyKind::EcdsaP256)
        | ("ecdsa" | "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384", KeyKind::EcdsaP384)
        | ("ed25519", "ed25519", KeyKind::Ed25519) => key.default_algorithm(),
        ("rsa", "rsassa-pss-sha256", KeyKind::Rsa { .. }) => return Some(Scheme::RsaPss),
        ("rsa", "rsa-pkcs1v15-sha256", kind @ KeyKind::Rsa { .. }) => {
            SignatureAlgorithm::of_key(kind, HashAlgorithm::Sha256)
        }
        _ => return None,
    };
    Some(Scheme::Plain(algorithm))
}

/// The metadata form of a P-256, P-384 or Ed25519 key with its id: SHA-256 of the canonical form, in hexadecimal.
/// `None` for other keys, which we do not put into metadata.
///
/// Readers may not depend on how an id is made (TAP 12), but older ones compute it.
#[must_use]
pub fn key_id(key: &PublicKey) -> Option<(String, Value)> {
    let (keytype, scheme, public) = match key.kind() {
        KeyKind::EcdsaP256 => ("ecdsa", "ecdsa-sha2-nistp256", key.to_pem()),
        KeyKind::EcdsaP384 => ("ecdsa", "ecdsa-sha2-nistp384", key.to_pem()),
        KeyKind::Ed25519 => ("ed25519", "ed25519", hex::encode(key.ed25519_raw()?)),
        KeyKind::EcdsaP521 | KeyKind::Rsa { .. } => return None,
    };
    let value = json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": public}});
    let id = hex::encode(sha256(&canonical::encode(&value).ok()?));
    Some((id, value))
}

#[cfg(test)]
mod tests {
    use super::{Key, key_id};
    use serde_json::json;

    /// A key of a repository that cosign, sigstore-python and sigstore-js accepted.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXIKGEhPudMVga6GaO8JVJel2x5/C\nvoUKrJjrOJex6MoHuqb3Xmypiog0tVL9sfhJpWLqaRGqyvaYl3uK7v11CQ==\n-----END PUBLIC KEY-----\n";
    const ID: &str = "48c5aaa27f72282a7848278561965992a4e0a3c414802a001fc53276620315fb";

    #[test]
    fn the_id_is_the_one_that_other_implementations_compute() {
        let value = json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": PEM}});
        let key = Key::from_value(&value).expect("key");
        let (id, again) = key_id(key.public_key().expect("usable")).expect("id");
        assert_eq!((id.as_str(), again), (ID, value));
    }

    #[test]
    fn a_hexadecimal_point_is_the_same_key_as_its_pem() {
        let pem =
            Key::from_value(&json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": PEM}}))
                .expect("key");
        let point = hex::encode(pem.public_key().expect("usable").raw());
        let hex = Key::from_value(
            &json!({"keytype": "ecdsa-sha2-nistp256", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": point}}),
        )
        .expect("key");
        assert_eq!(pem, hex);
    }

    #[test]
    fn a_key_that_we_cannot_use_never_verifies() {
        for value in [
            json!({"keytype": "sphincs", "scheme": "sphincs", "keyval": {"public": "00"}}),
            json!({"keytype": "ed25519", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": PEM}}),
            json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp384", "keyval": {"public": PEM}}),
            json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": PEM}}),
            json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": "zz"}}),
        ] {
            let key = Key::from_value(&value).expect("kept");
            assert!(key.public_key().is_none(), "{value}");
            assert!(key.verify(b"", b"").is_err());
        }
        assert!(Key::from_value(&json!({"keytype": "ecdsa", "scheme": "x", "keyval": {}})).is_err());
    }
}
