//! Signature algorithms: X.509 object identifiers and the names of Sigstore's `PublicKeyDetails`.

use super::digest::HashAlgorithm;
use super::key::{KeyKind, PublicKey};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use const_oid::db::rfc8410::ID_ED_25519;
use der::Any;
use spki::AlgorithmIdentifierOwned;

/// A signature scheme: what a certificate's or CMS signer's algorithm identifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA over SHA-256, ASN.1 DER signatures; on any curve.
    EcdsaSha256,
    /// ECDSA over SHA-384.
    EcdsaSha384,
    /// ECDSA over SHA-512.
    EcdsaSha512,
    /// RSA PKCS#1 v1.5 over SHA-256.
    RsaPkcs1Sha256,
    /// RSA PKCS#1 v1.5 over SHA-384.
    RsaPkcs1Sha384,
    /// RSA PKCS#1 v1.5 over SHA-512.
    RsaPkcs1Sha512,
    /// Pure Ed25519 (RFC 8032).
    Ed25519,
}

impl SignatureAlgorithm {
    const OIDS: [(Self, ObjectIdentifier); 7] = [
        (Self::EcdsaSha256, rfc5912::ECDSA_WITH_SHA_256),
        (Self::EcdsaSha384, rfc5912::ECDSA_WITH_SHA_384),
        (Self::EcdsaSha512, rfc5912::ECDSA_WITH_SHA_512),
        (Self::RsaPkcs1Sha256, rfc5912::SHA_256_WITH_RSA_ENCRYPTION),
        (Self::RsaPkcs1Sha384, rfc5912::SHA_384_WITH_RSA_ENCRYPTION),
        (Self::RsaPkcs1Sha512, rfc5912::SHA_512_WITH_RSA_ENCRYPTION),
        (Self::Ed25519, ID_ED_25519),
    ];

    /// The hash of the message, where the scheme has a separate one.
    #[must_use]
    pub const fn hash(self) -> Option<HashAlgorithm> {
        match self {
            Self::EcdsaSha256 | Self::RsaPkcs1Sha256 => Some(HashAlgorithm::Sha256),
            Self::EcdsaSha384 | Self::RsaPkcs1Sha384 => Some(HashAlgorithm::Sha384),
            Self::EcdsaSha512 | Self::RsaPkcs1Sha512 => Some(HashAlgorithm::Sha512),
            Self::Ed25519 => None,
        }
    }

    /// The scheme of an X.509 signature algorithm identifier (RFC 5758, RFC 4055, RFC 8410).
    #[must_use]
    pub fn from_oid(oid: &ObjectIdentifier) -> Option<Self> {
        Self::OIDS.iter().find(|(_, known)| known == oid).map(|(algorithm, _)| *algorithm)
    }

    /// The scheme of a key with `hash`: ECDSA or RSA PKCS#1 v1.5; Ed25519 has none to choose.
    #[must_use]
    pub const fn of_key(kind: KeyKind, hash: HashAlgorithm) -> Self {
        match (kind, hash) {
            (KeyKind::Ed25519, _) => Self::Ed25519,
            (KeyKind::Rsa { .. }, HashAlgorithm::Sha256) => Self::RsaPkcs1Sha256,
            (KeyKind::Rsa { .. }, HashAlgorithm::Sha384) => Self::RsaPkcs1Sha384,
            (KeyKind::Rsa { .. }, HashAlgorithm::Sha512) => Self::RsaPkcs1Sha512,
            (_, HashAlgorithm::Sha256) => Self::EcdsaSha256,
            (_, HashAlgorithm::Sha384) => Self::EcdsaSha384,
            (_, HashAlgorithm::Sha512) => Self::EcdsaSha512,
        }
    }

    /// The object identifier of X.509.
    #[must_use]
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::EcdsaSha256 => rfc5912::ECDSA_WITH_SHA_256,
            Self::EcdsaSha384 => rfc5912::ECDSA_WITH_SHA_384,
            Self::EcdsaSha512 => rfc5912::ECDSA_WITH_SHA_512,
            Self::RsaPkcs1Sha256 => rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
            Self::RsaPkcs1Sha384 => rfc5912::SHA_384_WITH_RSA_ENCRYPTION,
            Self::RsaPkcs1Sha512 => rfc5912::SHA_512_WITH_RSA_ENCRYPTION,
            Self::Ed25519 => ID_ED_25519,
        }
    }

    /// The algorithm identifier as certificates write it: RSA with NULL parameters, the others with none.
    #[must_use]
    pub fn identifier(self) -> AlgorithmIdentifierOwned {
        let parameters = match self {
            Self::RsaPkcs1Sha256 | Self::RsaPkcs1Sha384 | Self::RsaPkcs1Sha512 => Some(Any::null()),
            _ => None,
        };
        AlgorithmIdentifierOwned { oid: self.oid(), parameters }
    }
}

/// Sigstore's `PublicKeyDetails`: a key kind and the hash that goes with it, as logs and trusted roots name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyDetails {
    /// `PKCS1_RSA_PKCS1V5`: an old trusted-root name of an RSA key in PKCS#1.
    Pkcs1RsaPkcs1v5,
    /// `PKIX_RSA_PKCS1V15_2048_SHA256`.
    PkixRsaPkcs1v15_2048Sha256,
    /// `PKIX_RSA_PKCS1V15_3072_SHA256`.
    PkixRsaPkcs1v15_3072Sha256,
    /// `PKIX_RSA_PKCS1V15_4096_SHA256`.
    PkixRsaPkcs1v15_4096Sha256,
    /// `PKIX_ECDSA_P256_SHA_256`.
    PkixEcdsaP256Sha256,
    /// `PKIX_ECDSA_P384_SHA_384`.
    PkixEcdsaP384Sha384,
    /// `PKIX_ECDSA_P521_SHA_512`.
    PkixEcdsaP521Sha512,
    /// `PKIX_ED25519`.
    PkixEd25519,
    /// `PKIX_ED25519_PH`.
    PkixEd25519Ph,
}

impl KeyDetails {
    /// Name and number of the protobuf enumeration (sigstore_common.proto, `PublicKeyDetails`).
    const TABLE: [(Self, &'static str, i64); 9] = [
        (Self::Pkcs1RsaPkcs1v5, "PKCS1_RSA_PKCS1V5", 1),
        (Self::PkixRsaPkcs1v15_2048Sha256, "PKIX_RSA_PKCS1V15_2048_SHA256", 9),
        (Self::PkixRsaPkcs1v15_3072Sha256, "PKIX_RSA_PKCS1V15_3072_SHA256", 10),
        (Self::PkixRsaPkcs1v15_4096Sha256, "PKIX_RSA_PKCS1V15_4096_SHA256", 11),
        (Self::PkixEcdsaP256Sha256, "PKIX_ECDSA_P256_SHA_256", 5),
        (Self::PkixEcdsaP384Sha384, "PKIX_ECDSA_P384_SHA_384", 12),
        (Self::PkixEcdsaP521Sha512, "PKIX_ECDSA_P521_SHA_512", 13),
        (Self::PkixEd25519, "PKIX_ED25519", 7),
        (Self::PkixEd25519Ph, "PKIX_ED25519_PH", 8),
    ];

    /// The name in protobuf JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::TABLE.iter().find(|(details, ..)| *details == self).map_or("", |(_, name, _)| name)
    }

    /// The value of a name in protobuf JSON.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|(_, known, _)| *known == name).map(|(details, ..)| *details)
    }

    /// The value of a number in protobuf JSON.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::TABLE.iter().find(|(.., known)| *known == number).map(|(details, ..)| *details)
    }

    /// What a log or trusted root calls `key`; `None` for RSA sizes without a name.
    #[must_use]
    pub fn for_key(key: &PublicKey) -> Option<Self> {
        match key.kind() {
            KeyKind::EcdsaP256 => Some(Self::PkixEcdsaP256Sha256),
            KeyKind::EcdsaP384 => Some(Self::PkixEcdsaP384Sha384),
            KeyKind::EcdsaP521 => Some(Self::PkixEcdsaP521Sha512),
            KeyKind::Rsa { bits: 2048 } => Some(Self::PkixRsaPkcs1v15_2048Sha256),
            KeyKind::Rsa { bits: 3072 } => Some(Self::PkixRsaPkcs1v15_3072Sha256),
            KeyKind::Rsa { bits: 4096 } => Some(Self::PkixRsaPkcs1v15_4096Sha256),
            KeyKind::Rsa { .. } => None,
            KeyKind::Ed25519 => Some(Self::PkixEd25519),
        }
    }

    /// The hash of the signed message; `None` for pure Ed25519.
    #[must_use]
    pub const fn hash(self) -> Option<HashAlgorithm> {
        match self {
            Self::PkixEcdsaP384Sha384 => Some(HashAlgorithm::Sha384),
            Self::PkixEcdsaP521Sha512 | Self::PkixEd25519Ph => Some(HashAlgorithm::Sha512),
            Self::PkixEd25519 => None,
            _ => Some(HashAlgorithm::Sha256),
        }
    }

    /// Whether a key of `kind` may be described so.
    #[must_use]
    pub const fn fits(self, kind: KeyKind) -> bool {
        match self {
            Self::Pkcs1RsaPkcs1v5 => matches!(kind, KeyKind::Rsa { .. }),
            Self::PkixRsaPkcs1v15_2048Sha256 => matches!(kind, KeyKind::Rsa { bits: 2048 }),
            Self::PkixRsaPkcs1v15_3072Sha256 => matches!(kind, KeyKind::Rsa { bits: 3072 }),
            Self::PkixRsaPkcs1v15_4096Sha256 => matches!(kind, KeyKind::Rsa { bits: 4096 }),
            Self::PkixEcdsaP256Sha256 => matches!(kind, KeyKind::EcdsaP256),
            Self::PkixEcdsaP384Sha384 => matches!(kind, KeyKind::EcdsaP384),
            Self::PkixEcdsaP521Sha512 => matches!(kind, KeyKind::EcdsaP521),
            Self::PkixEd25519 | Self::PkixEd25519Ph => matches!(kind, KeyKind::Ed25519),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyDetails, SignatureAlgorithm};

    #[test]
    fn names_numbers_and_oids_round_trip() {
        for (details, name, number) in KeyDetails::TABLE {
            assert_eq!(KeyDetails::from_name(name), Some(details));
            assert_eq!(KeyDetails::from_number(number), Some(details));
            assert_eq!(details.name(), name);
        }
        for (algorithm, oid) in SignatureAlgorithm::OIDS {
            assert_eq!(algorithm.oid(), oid);
            assert_eq!(SignatureAlgorithm::from_oid(&oid), Some(algorithm));
        }
        assert_eq!(KeyDetails::from_name("PKIX_ECDSA_P256_SHA_512"), None);
    }
}
