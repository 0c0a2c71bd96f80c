//! SHA-2 digests and their textual form `sha256:<hex>`.

use aws_lc_rs::digest as provider;
use aws_lc_rs::hmac;
use serde::{Serialize, Serializer};
use std::fmt;

/// A hash function that signatures and logs here may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

#[expect(clippy::len_without_is_empty, reason = "a digest length is never zero")]
impl HashAlgorithm {
    /// All of them, in order of length.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Length of the digest, in bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The name that in-toto, Rekor v1 and OCI use: `sha256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The name of the Sigstore protobuf enumeration: `SHA2_256`.
    #[must_use]
    pub const fn protobuf_name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA2_256",
            Self::Sha384 => "SHA2_384",
            Self::Sha512 => "SHA2_512",
        }
    }

    /// The algorithm of a [`HashAlgorithm::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The algorithm of a [`HashAlgorithm::protobuf_name`].
    #[must_use]
    pub fn from_protobuf_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.protobuf_name() == name)
    }

    /// The digest of `data`.
    #[must_use]
    pub fn digest(self, data: &[u8]) -> Digest {
        let mut hasher = self.hasher();
        hasher.update(data);
        hasher.finish()
    }

    /// A digest computed piece by piece.
    #[must_use]
    pub fn hasher(self) -> Hasher {
        Hasher { algorithm: self, context: provider::Context::new(self.provider()) }
    }

    pub(crate) fn provider(self) -> &'static provider::Algorithm {
        match self {
            Self::Sha256 => &provider::SHA256,
            Self::Sha384 => &provider::SHA384,
            Self::Sha512 => &provider::SHA512,
        }
    }
}

/// A digest under construction.
pub struct Hasher {
    algorithm: HashAlgorithm,
    context: provider::Context,
}

impl Hasher {
    /// Takes in more of the message.
    pub fn update(&mut self, data: &[u8]) {
        self.context.update(data);
    }

    /// The digest of everything taken in.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest { algorithm: self.algorithm, bytes: self.context.finish().as_ref().to_vec() }
    }
}

/// A digest together with its algorithm; its length always fits the algorithm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    bytes: Vec<u8>,
}

impl Digest {
    /// A digest computed elsewhere; `None` if the length does not fit.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.len()).then(|| Self { algorithm, bytes: bytes.to_vec() })
    }

    /// Parses `sha256:<64 lower- or upper-case hex digits>` and the longer algorithms alike.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, hexadecimal) = text.split_once(':')?;
        Self::new(HashAlgorithm::from_name(name)?, &hex::decode(hexadecimal).ok()?)
    }

    /// The hash function.
    #[must_use]
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The digest's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Lower-case hexadecimal, without the algorithm's name.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(&self.bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.to_hex())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// SHA-256 of `data`.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    sha256_concat(&[data])
}

/// SHA-256 of the concatenation of `parts`.
#[must_use]
pub fn sha256_concat(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = provider::Context::new(&provider::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// HMAC-SHA-256 of `data` under `key` (RFC 2104).
#[must_use]
pub fn hmac_sha256(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, data).as_ref());
    out
}

/// SHA-1, for what old specifications name by it: key identifiers (RFC 5280 §4.2.1.2) and the signing
/// certificate of CMS (RFC 2634 §5.4). Nothing is trusted because such a value matches.
pub(crate) fn sha1_for_identifiers(data: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    for (to, from) in out.iter_mut().zip(provider::digest(&provider::SHA1_FOR_LEGACY_USE_ONLY, data).as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Digest, HashAlgorithm, hmac_sha256, sha256};

    /// RFC 4231 §4.3 has a key of 4 bytes, which zeros pad to any length up to a block.
    #[test]
    fn hmac_is_that_of_the_rfc() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = hmac_sha256(&key, b"what do ya want for nothing?");
        assert_eq!(hex::encode(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn textual_form_round_trips() {
        for algorithm in HashAlgorithm::ALL {
            let digest = algorithm.digest(b"abc");
            assert_eq!(digest.as_bytes().len(), algorithm.len());
            assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
            assert_eq!(HashAlgorithm::from_protobuf_name(algorithm.protobuf_name()), Some(algorithm));
        }
        assert_eq!(hex::encode(sha256(b"")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn wrong_lengths_and_names_are_refused() {
        assert_eq!(Digest::new(HashAlgorithm::Sha384, &[0; 32]), None);
        assert_eq!(Digest::parse("sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"), None);
        assert_eq!(Digest::parse("sha256:00"), None);
        assert_eq!(Digest::parse("e3b0c442"), None);
    }
}
