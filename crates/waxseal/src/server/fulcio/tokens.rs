//! Identity tokens that were seen before: verified ones need not be verified again, and spent ones are refused.

use jiff::{SignedDuration, Timestamp};
use moka::sync::Cache;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use waxseal_authority::oidc::Claims;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{sha256, sha256_concat};

/// Most bytes of verified tokens that are remembered: some 10,000 of the usual length. Their claims take a few times that.
const MAX_VERIFIED_LEN: u64 = 16 << 20;
/// How long a verified token is: within it its issuer may take back the key, and that is noticed late.
const VERIFIED_TIME: Duration = Duration::from_secs(5 * 60);
/// Most spent tokens that are remembered, at some 150 bytes each. When there are more unexpired ones, no further single-use
/// token is taken until some expire: forgetting one would let it be used again.
const MAX_SPENT: usize = 1 << 20;

/// SHA-256 of a token.
pub(super) type TokenHash = [u8; 32];

/// A token as it is known by.
pub(super) fn hash(token: &str) -> TokenHash {
    sha256(token.as_bytes())
}

/// A token as it is spent by, so that there is one name for all that its issuer signed once: its `jti`, which the issuer gives
/// to one token, else what is signed. Its signature has no part in it: from one by ECDSA everybody can make another.
pub(super) fn spent_name(issuer: &str, jti: Option<&str>, token: &str) -> TokenHash {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    match jti {
        Some(id) => sha256_concat(&[b"jti\0", issuer.as_bytes(), &[0], id.as_bytes()]),
        None => sha256_concat(&[b"signed\0", signed.as_bytes()]),
    }
}

/// Claims of tokens that were verified lately, with the tokens' lengths.
pub(super) struct Verified(Cache<(u64, TokenHash), (Arc<Claims>, u32)>);

impl Default for Verified {
    fn default() -> Self {
        let cache = Cache::builder().weigher(|_, (_, length): &(Arc<Claims>, u32)| *length);
        Self(cache.max_capacity(MAX_VERIFIED_LEN).time_to_live(VERIFIED_TIME).build())
    }
}

impl Verified {
    /// What a token says if it was verified under these rules and has not expired.
    pub(super) fn find(&self, generation: u64, token: TokenHash, now: Timestamp) -> Option<Arc<Claims>> {
        let (claims, _) = self.0.get(&(generation, token))?;
        (now < claims.expires_at()).then_some(claims)
    }

    /// `length` is the token's, in bytes.
    pub(super) fn insert(&self, generation: u64, token: TokenHash, claims: Arc<Claims>, length: usize) {
        self.0.insert((generation, token), (claims, u32::try_from(length).unwrap_or(u32::MAX)));
    }
}

/// Why a token is not taken although it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpentError {
    /// It was used before.
    #[error(
        "the identity token has been used: tokens of this issuer are good for one certificate, so ask for a new one"
    )]
    Used,
    /// There are [`MAX_SPENT`] of them.
    #[error("too many single-use tokens have been used lately; try again in a few minutes")]
    Full,
}

impl SpentError {
    /// `token.used` or `log.busy`.
    #[must_use]
    pub(super) const fn code(self) -> Code {
        match self {
            Self::Used => Code::TOKEN_USED,
            Self::Full => Code::LOG_BUSY,
        }
    }
}

/// Tokens that may not be used again. They are known to this process: one that is used just before a restart can be used again
/// after it, within the rest of its time.
#[derive(Default)]
pub(super) struct Spent(Mutex<Known>);

#[derive(Default)]
struct Known {
    until: HashMap<TokenHash, Timestamp>,
    order: BTreeSet<(Timestamp, TokenHash)>,
}

impl Spent {
    /// Whether a token was spent, by its [`spent_name`].
    ///
    /// # Errors
    /// [`SpentError::Used`].
    pub(super) fn check(&self, name: TokenHash) -> Result<(), SpentError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.until.contains_key(&name) { Err(SpentError::Used) } else { Ok(()) }
    }

    /// Spends a token, by its [`spent_name`].
    ///
    /// # Errors
    /// [`SpentError`].
    pub(super) fn spend(&self, name: TokenHash, claims: &Claims, now: Timestamp) -> Result<(), SpentError> {
        // A second more than it is accepted for.
        let until = claims.expires_at().saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((expired, name)) = known.order.first().copied().filter(|(until, _)| *until <= now) {
            known.order.remove(&(expired, name));
            known.until.remove(&name);
        }
        if known.until.contains_key(&name) {
            return Err(SpentError::Used);
        }
        if known.until.len() >= MAX_SPENT {
            return Err(SpentError::Full);
        }
        known.until.insert(name, until);
        known.order.insert((until, name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::spent_name;

    #[test]
    fn another_signature_of_the_same_claims_is_the_same_token() {
        let name = |issuer, jti, token| spent_name(issuer, jti, token);
        let first = name("https://a.example", None, "header.payload.signature");
        assert_eq!(first, name("https://a.example", None, "header.payload.another"));
        assert_ne!(first, name("https://a.example", None, "header.other.signature"));
        let identified = name("https://a.example", Some("1"), "header.payload.signature");
        assert_eq!(identified, name("https://a.example", Some("1"), "header.other.another"));
        assert_ne!(identified, name("https://b.example", Some("1"), "header.payload.signature"));
        assert_ne!(identified, name("https://a.example", Some("2"), "header.payload.signature"));
    }
}
