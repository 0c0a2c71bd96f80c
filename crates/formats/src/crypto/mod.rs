//! Digests, public keys, signature algorithms and secrets, over the one crypto provider.

pub mod algorithm;
pub mod digest;
pub mod key;
pub mod sealed_key;
pub mod secret;

pub use algorithm::{KeyDetails, SignatureAlgorithm};
pub use digest::{Digest, HashAlgorithm, hmac_sha256, sha256, sha256_concat};
pub use key::{KeyError, KeyKind, PublicKey, SignatureInvalid};
pub use secret::Secret;
