//! Identity tokens that were seen before: verified ones need not be verified again, and spent ones are refused.

use jiff::{SignedDuration, Timestamp};
use moka::sync::Cache;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use waxseal_authority::oidc::Claims;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{sha256, sha256_concat};

/// Most verified tokens that are remembered.
const MAX_VERIFIED: u64 = 10_000;
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

/// Claims of tokens that were verified lately.
pub(super) struct Verified(Cache<(u64, TokenHash), Arc<Claims>>);

impl Default for Verified {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_VERIFIED).time_to_live(VERIFIED_TIME).build())
    }
}

impl Verified {
    /// What a token says if it was verified under these rules and has not expired.
    pub(super) fn find(&self, generation: u64, token: TokenHash, now: Timestamp) -> Option<Arc<Claims>> {
        self.0.get(&(generation, token)).filter(|claims| now < claims.expires_at())
    }

    pub(super) fn insert(&self, generation: u64, token: TokenHash, claims: Arc<Claims>) {
        self.0.insert((generation, token), claims);
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
    /// Spends a token: by its `jti`, which its issuer gives to one token, else by itself.
    ///
    /// # Errors
    /// [`SpentError`].
    pub(super) fn spend(&self, claims: &Claims, token: TokenHash, now: Timestamp) -> Result<(), SpentError> {
        let name = match claims.text("jti") {
            Ok(id) => sha256_concat(&[claims.issuer().as_bytes(), &[0], id.as_bytes()]),
            Err(_) => token,
        };
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
