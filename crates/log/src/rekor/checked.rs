//! What the kinds of Rekor v1 entries have in common: a signer's key, a message that is verified, and what comes of it.

use waxseal_formats::crypto::{Digest, HashAlgorithm, KeyKind, PublicKey, SignatureAlgorithm};
use waxseal_formats::entry::PemVerifier;

use super::RekorError;
use crate::rows::SearchKey;
use crate::sequencer::NewEntry;

/// A proposed entry whose signatures verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The canonical body: the leaf.
    pub body: Vec<u8>,
    /// What it is found by, in no particular case.
    pub keys: Vec<String>,
}

impl Checked {
    /// The entry for the log.
    ///
    /// # Errors
    /// If the body is too large for one.
    pub fn into_entry(self) -> Result<NewEntry, RekorError> {
        Ok(NewEntry::searchable(self.body, self.keys.iter().map(|key| SearchKey::of(key)).collect())?)
    }
}

/// The signer's key, if the certificates that came with it are a chain: each is issued by the next one, all of them valid
/// when the first one began to be.
pub(super) fn signer_key(verifier: &PemVerifier) -> Result<&PublicKey, RekorError> {
    let chain = verifier.chain();
    let began = chain.first().map(waxseal_formats::x509::Certificate::not_before);
    for (place, (subject, issuer)) in chain.iter().zip(chain.iter().skip(1)).enumerate() {
        let issued = subject.issuer_der() == issuer.subject_der()
            && issuer.is_ca()
            && began.is_some_and(|began| issuer.valid_at(began))
            && issuer.public_key().is_ok_and(|key| subject.verify_signature(key).is_ok());
        if !issued {
            return Err(RekorError::Chain(place));
        }
    }
    Ok(verifier.public_key()?)
}

/// A message with its digests, each computed once.
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    sha256: Digest,
}

impl<'a> Message<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, sha256: HashAlgorithm::Sha256.digest(bytes) }
    }

    /// Whether `key` made the signature: with SHA-256, as upstream has it for keys of all kinds, or with the hash that goes
    /// with the key.
    pub(super) fn is_signed_by(&self, key: &PublicKey, signature: &[u8]) -> bool {
        if key.kind() == KeyKind::Ed25519 {
            return key.verify(SignatureAlgorithm::Ed25519, self.bytes, signature).is_ok();
        }
        let own = key.default_algorithm();
        key.verify_digest(&self.sha256, signature).is_ok()
            || (own.hash() != Some(HashAlgorithm::Sha256) && key.verify(own, self.bytes, signature).is_ok())
    }
}
