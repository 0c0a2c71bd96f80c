//! Private keys in memory and in PKCS#8 PEM files (RFC 5958) that only their owner can read.

use super::{Signer, SignerError};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as provider, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair};
use der::{Decode, pem};
use pkcs8::PrivateKeyInfoRef;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use waxseal_formats::crypto::{Digest, HashAlgorithm, KeyKind, PublicKey, Secret};
use zeroize::Zeroizing;

/// Largest private key file, in bytes: RSA-8192 in PEM needs about 6,400.
const MAX_KEY_FILE_LEN: u64 = 16 * 1024;

/// A private key held by this process.
pub struct KeyPair {
    key: PrivateKey,
    pub(super) public: PublicKey,
    pub(super) pkcs8: Zeroizing<Vec<u8>>,
}

enum PrivateKey {
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl KeyPair {
    /// A fresh key.
    ///
    /// # Errors
    /// [`SignerError::Key`] for RSA sizes other than 2048, 3072 and 4096 bits.
    pub fn generate(kind: KeyKind) -> Result<Self, SignerError> {
        let failed = |_| SignerError::Key(format!("no {kind} key can be made"));
        let pkcs8 = match kind {
            KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => {
                let algorithm = ecdsa(kind).ok_or(SignerError::Sign)?;
                EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(failed)?.as_ref().to_vec()
            }
            KeyKind::Rsa { bits } => {
                let size = match bits {
                    2048 => KeySize::Rsa2048,
                    3072 => KeySize::Rsa3072,
                    4096 => KeySize::Rsa4096,
                    _ => return Err(SignerError::Key(format!("RSA-{bits}: choose 2048, 3072 or 4096 bits"))),
                };
                let key = RsaKeyPair::generate(size).map_err(failed)?;
                AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).map_err(failed)?.as_ref().to_vec()
            }
            KeyKind::Ed25519 => Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?.as_ref().to_vec(),
        };
        Self::from_pkcs8_der(&pkcs8)
    }

    /// The key of a DER PKCS#8 structure.
    ///
    /// # Errors
    /// [`SignerError::Key`] if it is malformed or of an unsupported kind.
    pub fn from_pkcs8_der(pkcs8: &[u8]) -> Result<Self, SignerError> {
        let malformed = || SignerError::Key("not a PKCS#8 private key".into());
        let info = PrivateKeyInfoRef::from_der(pkcs8).map_err(|_| malformed())?;
        let (key, spki) = match info.algorithm.oid {
            pkcs8_oid::EC => {
                let curve = info.algorithm.parameters_oid().map_err(|_| malformed())?;
                let kind = match curve {
                    pkcs8_oid::P256 => KeyKind::EcdsaP256,
                    pkcs8_oid::P384 => KeyKind::EcdsaP384,
                    pkcs8_oid::P521 => KeyKind::EcdsaP521,
                    other => return Err(SignerError::Key(format!("unsupported EC curve {other}"))),
                };
                let key =
                    EcdsaKeyPair::from_pkcs8(ecdsa(kind).ok_or_else(malformed)?, pkcs8).map_err(|_| malformed())?;
                let spki = spki_of(provider::KeyPair::public_key(&key))?;
                (PrivateKey::Ecdsa(key), spki)
            }
            pkcs8_oid::RSA => {
                let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| malformed())?;
                let spki = spki_of(provider::KeyPair::public_key(&key))?;
                (PrivateKey::Rsa(Box::new(key)), spki)
            }
            pkcs8_oid::ED25519 => {
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| malformed())?;
                let spki = spki_of(provider::KeyPair::public_key(&key))?;
                (PrivateKey::Ed25519(key), spki)
            }
            other => return Err(SignerError::Key(format!("unsupported private key algorithm {other}"))),
        };
        let public = PublicKey::from_spki_der(&spki).map_err(|error| SignerError::Key(error.to_string()))?;
        Ok(Self { key, public, pkcs8: Zeroizing::new(pkcs8.to_vec()) })
    }

    /// The key of a PEM block `PRIVATE KEY`.
    ///
    /// # Errors
    /// [`SignerError::Key`] if it is not one.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, SignerError> {
        let (label, der) =
            pem::decode_vec(text.trim().as_bytes()).map_err(|_| SignerError::Key("not a PEM private key".into()))?;
        let der = Zeroizing::new(der);
        if label != "PRIVATE KEY" {
            return Err(SignerError::Key(format!("the PEM label is {label:?}, expected \"PRIVATE KEY\" (PKCS#8)")));
        }
        Self::from_pkcs8_der(&der)
    }

    /// The key as PKCS#8 PEM.
    ///
    /// # Errors
    /// [`SignerError::Key`] if it cannot be encoded.
    pub fn to_pkcs8_pem(&self) -> Result<Secret<String>, SignerError> {
        pem::encode_string("PRIVATE KEY", pem::LineEnding::LF, &self.pkcs8)
            .map(Secret::new)
            .map_err(|_| SignerError::Key("the private key cannot be encoded".into()))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`SignerError::File`] or [`SignerError::Key`], naming the file.
    pub fn load(path: &Path) -> Result<Self, SignerError> {
        let failed = |source| SignerError::File { path: path.display().to_string(), source };
        let mut text = Zeroizing::new(String::new());
        File::open(path).map_err(failed)?.take(MAX_KEY_FILE_LEN).read_to_string(&mut text).map_err(failed)?;
        Self::from_pkcs8_pem(&text).map_err(|error| SignerError::Key(format!("{}: {error}", path.display())))
    }

    /// Reads a key file, or makes a fresh key of `kind` and writes it, with mode 0600 and durably, if there is none.
    ///
    /// # Errors
    /// As [`KeyPair::load`]; also if the file holds a key of another kind.
    pub fn load_or_create(path: &Path, kind: KeyKind) -> Result<Self, SignerError> {
        match Self::load(path) {
            Ok(pair) if pair.public.kind() == kind => Ok(pair),
            Ok(pair) => Err(SignerError::Key(format!(
                "{}: holds a key of kind {}, not {kind}",
                path.display(),
                pair.public.kind()
            ))),
            Err(SignerError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let pair = Self::generate(kind)?;
                pair.store(path)?;
                Ok(pair)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the key to a new file with mode 0600 and syncs it and its directory.
    ///
    /// The file appears under its name only when it is whole, and never replaces another one.
    ///
    /// # Errors
    /// [`SignerError::File`], also when the file exists.
    pub fn store(&self, path: &Path) -> Result<(), SignerError> {
        write_new(path, self.to_pkcs8_pem()?.expose().as_bytes())
    }
}

impl Signer for KeyPair {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Of the kinds here RSA alone takes its time.
    fn is_quick(&self) -> bool {
        !matches!(self.key, PrivateKey::Rsa(_))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        match &self.key {
            PrivateKey::Ecdsa(key) => key
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignerError::Sign),
            PrivateKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&provider::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| SignerError::Sign)?;
                Ok(signature)
            }
            PrivateKey::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        if Some(digest.algorithm()) != self.algorithm().hash() {
            return Err(SignerError::Key(format!(
                "a {} key does not sign {}",
                self.public.kind(),
                digest.algorithm().name()
            )));
        }
        let algorithm = match digest.algorithm() {
            HashAlgorithm::Sha256 => &aws_lc_rs::digest::SHA256,
            HashAlgorithm::Sha384 => &aws_lc_rs::digest::SHA384,
            HashAlgorithm::Sha512 => &aws_lc_rs::digest::SHA512,
        };
        let digest =
            aws_lc_rs::digest::Digest::import_less_safe(digest.as_bytes(), algorithm).map_err(|_| SignerError::Sign)?;
        match &self.key {
            PrivateKey::Ecdsa(key) => {
                key.sign_digest(&digest).map(|signature| signature.as_ref().to_vec()).map_err(|_| SignerError::Sign)
            }
            PrivateKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign_digest(&provider::RSA_PKCS1_SHA256, &digest, &mut signature).map_err(|_| SignerError::Sign)?;
                Ok(signature)
            }
            PrivateKey::Ed25519(_) => Err(SignerError::Sign),
        }
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair({:?})", self.public)
    }
}

/// Writes a new file with mode 0600, whole or not at all, and syncs it and its directory.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), SignerError> {
    let failed = |source| SignerError::File { path: path.display().to_string(), source };
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::hard_link(&temporary, path).map_err(failed)?;
    std::fs::remove_file(&temporary).map_err(failed)?;
    if let Some(directory) = path.parent() {
        File::open(directory).and_then(|handle| handle.sync_all()).map_err(failed)?;
    }
    Ok(())
}

fn ecdsa(kind: KeyKind) -> Option<&'static EcdsaSigningAlgorithm> {
    match kind {
        KeyKind::EcdsaP256 => Some(&provider::ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyKind::EcdsaP384 => Some(&provider::ECDSA_P384_SHA384_ASN1_SIGNING),
        KeyKind::EcdsaP521 => Some(&provider::ECDSA_P521_SHA512_ASN1_SIGNING),
        KeyKind::Rsa { .. } | KeyKind::Ed25519 => None,
    }
}

fn spki_of<'a, K: AsDer<aws_lc_rs::encoding::PublicKeyX509Der<'a>>>(key: &K) -> Result<Vec<u8>, SignerError> {
    Ok(key.as_der().map_err(|_| SignerError::Key("the public half cannot be encoded".into()))?.as_ref().to_vec())
}

/// Algorithm identifiers of PKCS#8 (RFC 5480, RFC 8017, RFC 8410).
mod pkcs8_oid {
    use der::asn1::ObjectIdentifier;

    pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    pub(super) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    pub(super) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    pub(super) const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
    pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
}

#[cfg(test)]
mod tests {
    use super::{KeyPair, Signer, SignerError};
    use std::os::unix::fs::PermissionsExt;
    use waxseal_formats::crypto::{HashAlgorithm, KeyKind};

    #[test]
    fn every_kind_signs_verifies_and_survives_its_file() {
        let directory = tempfile::tempdir().expect("directory");
        for (number, kind) in
            [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::EcdsaP521, KeyKind::Rsa { bits: 2048 }, KeyKind::Ed25519]
                .into_iter()
                .enumerate()
        {
            let path = directory.path().join(format!("{number}.pem"));
            let made = KeyPair::load_or_create(&path, kind).expect("made");
            let read = KeyPair::load_or_create(&path, kind).expect("read");
            assert_eq!(made.public_key(), read.public_key());
            assert_eq!(made.public_key().kind(), kind);
            let signature = read.sign(b"message").expect("signature");
            assert_eq!(made.public_key().verify(made.algorithm(), b"message", &signature), Ok(()));
            assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
            assert!(!format!("{made:?}").contains("PRIVATE"));
        }
    }

    #[test]
    fn a_digest_is_signed_like_its_message_and_only_with_the_hash_of_the_key() {
        for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::EcdsaP521, KeyKind::Rsa { bits: 2048 }] {
            let pair = KeyPair::generate(kind).expect("made");
            for hash in HashAlgorithm::ALL {
                let signature = pair.sign_digest(&hash.digest(b"message"));
                if Some(hash) == pair.algorithm().hash() {
                    let signature = signature.expect("signature");
                    assert_eq!(pair.public_key().verify(pair.algorithm(), b"message", &signature), Ok(()), "{kind}");
                } else {
                    assert!(matches!(signature, Err(SignerError::Key(_))), "{kind} {}", hash.name());
                }
            }
        }
        let pair = KeyPair::generate(KeyKind::Ed25519).expect("made");
        assert!(matches!(pair.sign_digest(&HashAlgorithm::Sha512.digest(b"message")), Err(SignerError::Key(_))));
    }

    #[test]
    fn a_key_of_another_kind_a_foreign_label_and_an_existing_file_are_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("key.pem");
        let pair = KeyPair::load_or_create(&path, KeyKind::EcdsaP256).expect("made");
        assert!(matches!(KeyPair::load_or_create(&path, KeyKind::Ed25519), Err(SignerError::Key(_))));
        assert!(matches!(pair.store(&path), Err(SignerError::File { .. })));
        assert!(matches!(KeyPair::from_pkcs8_pem(&pair.public_key().to_pem()), Err(SignerError::Key(_))));
        std::fs::write(&path, "garbage").expect("write");
        assert!(matches!(KeyPair::load_or_create(&path, KeyKind::EcdsaP256), Err(SignerError::Key(_))));
    }
}
