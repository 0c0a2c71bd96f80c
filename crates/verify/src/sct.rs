//! Signed certificate timestamps embedded in a certificate (RFC 6962 §3.2, §3.3).

use jiff::Timestamp;
use serde::Serialize;
use waxseal_formats::code::Code;
use waxseal_formats::leaf::SignedEntry;
use waxseal_formats::sct::SignedCertificateTimestamp;
use waxseal_formats::trusted_root::TransparencyLog;
use waxseal_formats::x509::Certificate;

/// Proof that a trusted CT log has promised to include the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SctEvidence {
    /// Base URL of the log in the trusted root.
    pub log: String,
    /// When the log made the promise.
    pub time: Timestamp,
}

/// Why the certificate's timestamps are not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SctError {
    /// The certificate has no list of timestamps, or an empty one.
    #[error("the certificate carries no signed certificate timestamp")]
    Missing,
    /// The list, or the certificate around it, is malformed.
    #[error("the certificate's signed certificate timestamps are malformed")]
    Malformed,
    /// None of the timestamps is from a log that was trusted at its time.
    #[error("the certificate was logged in {log_id} at {time}, which is not a trusted CT log at that time")]
    UntrustedLog {
        /// The log id in hexadecimal.
        log_id: String,
        /// The timestamp's time.
        time: Timestamp,
    },
    /// A timestamp of a trusted log does not verify.
    #[error("the signed certificate timestamp of CT log {log} does not verify")]
    Invalid {
        /// Base URL of the log.
        log: String,
    },
}

impl SctError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Missing => Code::SCT_MISSING,
            Self::UntrustedLog { .. } => Code::SCT_UNTRUSTED_LOG,
            Self::Malformed | Self::Invalid { .. } => Code::SCT_INVALID,
        }
    }
}

/// Verifies the timestamps of `leaf`, which was issued by `issuer`.
///
/// Timestamps of unknown logs prove nothing and are passed over; every one of a trusted log has to verify, and there has to be
/// at least one. A log's window has to cover the timestamp's time. The evidence names each log once.
///
/// # Errors
/// [`SctError`].
pub fn verify(
    leaf: &Certificate,
    issuer: &Certificate,
    logs: &[TransparencyLog],
) -> Result<Vec<SctEvidence>, SctError> {
    let list = SignedCertificateTimestamp::parse_list(leaf.sct_list().ok_or(SctError::Missing)?)
        .map_err(|_| SctError::Malformed)?;
    let tbs = leaf.precertificate_tbs().map_err(|_| SctError::Malformed)?;
    let issuer_key_hash = issuer.public_key().map_err(|_| SctError::Malformed)?.spki_sha256();
    let entry = SignedEntry::Precertificate { issuer_key_hash, tbs };
    let mut evidence: Vec<SctEvidence> = Vec::new();
    let mut untrusted = SctError::Missing;
    for timestamp in &list {
        let time = time_of(timestamp)?;
        let known = logs.iter().find(|log| log.log_id == timestamp.log_id && log.valid_for.contains(time));
        let Some(log) = known else {
            untrusted = SctError::UntrustedLog { log_id: hex::encode(timestamp.log_id), time };
            continue;
        };
        timestamp.verify(&log.public_key, &entry).map_err(|_| SctError::Invalid { log: log.base_url.clone() })?;
        if !evidence.iter().any(|seen| seen.log == log.base_url) {
            evidence.push(SctEvidence { log: log.base_url.clone(), time });
        }
    }
    if evidence.is_empty() { Err(untrusted) } else { Ok(evidence) }
}

fn time_of(timestamp: &SignedCertificateTimestamp) -> Result<Timestamp, SctError> {
    let milliseconds = i64::try_from(timestamp.timestamp_ms).map_err(|_| SctError::Malformed)?;
    Timestamp::from_millisecond(milliseconds).map_err(|_| SctError::Malformed)
}
