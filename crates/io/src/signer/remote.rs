//! Keys that are not in this process. Whatever keeps one says what it signed, and what comes back is verified before anybody sees it.

pub mod pkcs11;
pub mod plugin;
pub mod vault;

use super::{Signer, SignerError};
use formats::crypto::{Digest, KeyKind, PublicKey};
use waxseal_formats as formats;

/// What keeps a key.
pub(super) trait Keeper: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// Signs the message with this digest. ECDSA signatures are ASN.1 DER, RSA's are PKCS#1 v1.5.
    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError>;

    /// Signs a message whole, as Ed25519 wants it.
    fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// A key that something else keeps.
pub struct RemoteKey {
    public: PublicKey,
    keeper: Box<dyn Keeper>,
}

impl std::fmt::Debug for RemoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteKey({}, {:?})", self.keeper.name(), self.public)
    }
}

impl RemoteKey {
    pub(super) fn new(public: PublicKey, keeper: impl Keeper + 'static) -> Self {
        Self { public, keeper: Box::new(keeper) }
    }

    fn wrong(&self) -> SignerError {
        SignerError::Remote {
            key: self.keeper.name(),
            reason: "its signature does not verify under its public key".into(),
        }
    }
}

impl Signer for RemoteKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        match (self.public.kind(), self.algorithm().hash()) {
            (KeyKind::Ed25519, _) | (_, None) => {
                let signature = self.keeper.sign_message(message)?;
                let verified = self.public.verify(self.algorithm(), message, &signature);
                verified.map(|()| signature).map_err(|_| self.wrong())
            }
            (_, Some(hash)) => self.sign_digest(&hash.digest(message)),
        }
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        if self.algorithm().hash() != Some(digest.algorithm()) || self.public.kind() == KeyKind::Ed25519 {
            return Err(SignerError::Sign);
        }
        let signature = self.keeper.sign_digest(digest)?;
        self.public.verify_digest(digest, &signature).map_err(|_| self.wrong())?;
        Ok(signature)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Keeper, RemoteKey};
    use crate::signer::{KeyPair, Signer, SignerError};
    use formats::code::Code;
    use formats::crypto::{Digest, HashAlgorithm, KeyKind, PublicKey};
    use waxseal_formats as formats;

    /// What every keeper of a key has to do.
    pub(in crate::signer::remote) fn contract(key: &dyn Signer) {
        let message = b"what is signed";
        let signature = key.sign(message).expect("signed");
        key.public_key().verify(key.algorithm(), message, &signature).expect("verified");
        let Some(hash) = key.algorithm().hash().filter(|_| key.public_key().kind() != KeyKind::Ed25519) else {
            assert!(key.sign_digest(&HashAlgorithm::Sha512.digest(message)).is_err());
            return;
        };
        let digest = hash.digest(message);
        let signature = key.sign_digest(&digest).expect("signed");
        key.public_key().verify_digest(&digest, &signature).expect("verified");
        let other = HashAlgorithm::ALL.into_iter().find(|other| *other != hash).expect("another hash");
        assert!(key.sign_digest(&other.digest(message)).is_err(), "with the hash of the key alone");
    }

    /// Keeps a key in this process, or lies.
    struct Local {
        key: KeyPair,
        lies: bool,
    }

    impl Keeper for Local {
        fn name(&self) -> String {
            "local".to_owned()
        }

        fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
            let other = digest.algorithm().digest(b"other");
            self.key.sign_digest(if self.lies { &other } else { digest })
        }

        fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
            self.key.sign(if self.lies { b"other" } else { message })
        }
    }

    #[test]
    fn what_comes_back_is_verified() {
        for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Rsa { bits: 2048 }, KeyKind::Ed25519] {
            let key = |lies| {
                let key = KeyPair::generate(kind).expect("a key");
                let public: PublicKey = key.public_key().clone();
                RemoteKey::new(public, Local { key, lies })
            };
            contract(&key(false));
            let error = key(true).sign(b"message").expect_err("refused");
            assert_eq!(error.code(), Code::KEY_UNAVAILABLE, "{kind}");
        }
    }
}
