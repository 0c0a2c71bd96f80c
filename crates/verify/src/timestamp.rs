//! RFC 3161 timestamps over a signature, from the authorities of a trusted root.

use crate::chain::{self, ChainError, Usage};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use waxseal_formats::code::Code;
use waxseal_formats::trusted_root::CertificateAuthority;
use waxseal_formats::tsp::TimeStampToken;

/// How far a proven time may lie ahead of our own clock.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A time that a trusted authority vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimestampEvidence {
    /// URI of the authority in the trusted root.
    pub authority: String,
    /// The token's genTime.
    pub time: Timestamp,
}

/// Why a timestamp proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// The token is malformed, or its signature does not verify.
    #[error("the timestamp token is not valid: {0}")]
    Invalid(String),
    /// The token is about another signature.
    #[error("the timestamp token is about another signature")]
    Mismatch,
    /// No authority of the trusted root made the token.
    #[error("the timestamp comes from an authority that is not in the trusted root")]
    Untrusted,
    /// The authority, or one of its certificates, was not valid at the token's time.
    #[error("the timestamp of {time} lies outside the validity of timestamp authority {authority}")]
    Window {
        /// URI of the authority.
        authority: String,
        /// The token's genTime.
        time: Timestamp,
    },
    /// The token's time has not come yet.
    #[error("the timestamp of {time} lies in the future")]
    Future {
        /// The token's genTime.
        time: Timestamp,
    },
}

impl TimestampError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::TIME_TOKEN_INVALID,
            Self::Mismatch => Code::TIME_TOKEN_MISMATCH,
            Self::Untrusted => Code::TIME_AUTHORITY_UNTRUSTED,
            Self::Window { .. } => Code::TIME_AUTHORITY_WINDOW,
            Self::Future { .. } => Code::TIME_FUTURE,
        }
    }
}

/// Verifies that `token` (a TimeStampResp, or the token alone) stamps `signature` and comes from one of `authorities`.
///
/// The signer has to be the first certificate of an authority's chain, byte for byte: certificates inside the token are
/// never trusted.
///
/// # Errors
/// [`TimestampError`].
pub fn verify(
    token: &[u8],
    signature: &[u8],
    authorities: &[CertificateAuthority],
    now: Timestamp,
) -> Result<TimestampEvidence, TimestampError> {
    let token = TimeStampToken::parse(token).map_err(|error| TimestampError::Invalid(error.to_string()))?;
    let mut reason = TimestampError::Untrusted;
    for authority in authorities {
        let Some((signer, above)) = authority.chain.split_first() else { continue };
        if !token.signer_matches(signer) {
            continue;
        }
        token.verify(signer).map_err(|error| TimestampError::Invalid(error.to_string()))?;
        if *token.imprint() != token.imprint().algorithm().digest(signature) {
            return Err(TimestampError::Mismatch);
        }
        let time = token.gen_time();
        if time > now.checked_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX) {
            return Err(TimestampError::Future { time });
        }
        let window = || TimestampError::Window { authority: authority.uri.clone(), time };
        if !authority.valid_for.contains(time) {
            reason = window();
            continue;
        }
        if !signer.has_time_stamping_eku_only_critical() {
            continue;
        }
        let mut issuing = authority.clone();
        issuing.chain = if above.is_empty() { vec![signer.clone()] } else { above.to_vec() };
        match chain::issuer_of(signer, &[], &[issuing], Usage::TimeStamping, time) {
            Ok(_) => return Ok(TimestampEvidence { authority: authority.uri.clone(), time }),
            Err(ChainError::OutsideLeaf { .. } | ChainError::AuthorityExpired { .. }) => reason = window(),
            Err(_) => {}
        }
    }
    Err(reason)
}
