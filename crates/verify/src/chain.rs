//! From a certificate to an authority of the trusted root, at a proven time (RFC 5280 §6, Fulcio's hybrid model).
//!
//! Every certificate of the path, the root included, has to be valid at that time, and the authority's window in the trusted
//! root has to cover it. Path building is webpki's; windows and the root's own validity, which webpki anchors do not carry, are
//! checked here.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use waxseal_formats::code::Code;
use waxseal_formats::trusted_root::CertificateAuthority;
use waxseal_formats::x509::Certificate;
use webpki::{EndEntityCert, Error as PathError, KeyUsage, anchor_from_trusted_cert};

/// id-kp-codeSigning, 1.3.6.1.5.5.7.3.3, without tag and length.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// id-kp-timeStamping, 1.3.6.1.5.5.7.3.8.
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// What a certificate is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Signing artifacts: extended key usage codeSigning.
    CodeSigning,
    /// Signing RFC 3161 tokens: extended key usage timeStamping.
    TimeStamping,
}

/// Why a certificate has no valid path at a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The proven time lies outside the leaf's own validity.
    #[error("signed at {at}, but the certificate was valid from {not_before} to {not_after} only")]
    OutsideLeaf {
        /// The proven time.
        at: Timestamp,
        /// Start of the leaf's validity.
        not_before: Timestamp,
        /// Its end, inclusive.
        not_after: Timestamp,
    },
    /// An intermediate or root was not valid at the proven time.
    #[error("a certificate of the authority was not valid at {at}")]
    AuthorityExpired {
        /// The proven time.
        at: Timestamp,
    },
    /// The path is there and the certificate may not be used so.
    #[error("the certificate is not meant for this use")]
    Usage,
    /// No authority of the trusted root whose window covers the time issued the certificate.
    #[error("no trusted authority that was valid at {at} issued the certificate")]
    NoPath {
        /// The proven time.
        at: Timestamp,
    },
}

impl ChainError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::OutsideLeaf { .. } => Code::TIME_OUTSIDE_CERTIFICATE,
            Self::AuthorityExpired { .. } => Code::CERTIFICATE_EXPIRED,
            Self::Usage => Code::CERTIFICATE_USAGE,
            Self::NoPath { .. } => Code::CERTIFICATE_CHAIN,
        }
    }
}

/// Finds the path of `leaf` to one of `authorities` at `at` and returns the issuer's certificate.
///
/// `intermediates` are untrusted certificates that came with the leaf (bundles before v0.3).
///
/// # Errors
/// The most telling [`ChainError`] over all authorities.
pub fn issuer_of(
    leaf: &Certificate,
    intermediates: &[Certificate],
    authorities: &[CertificateAuthority],
    usage: Usage,
    at: Timestamp,
) -> Result<Certificate, ChainError> {
    if at < leaf.not_before() || at > leaf.not_after() {
        return Err(ChainError::OutsideLeaf { at, not_before: leaf.not_before(), not_after: leaf.not_after() });
    }
    let mut reason = ChainError::NoPath { at };
    for authority in authorities.iter().filter(|authority| authority.valid_for.contains(at)) {
        match path_to(authority, leaf, intermediates, usage, at) {
            Ok(issuer) => return Ok(issuer),
            Err(error @ (ChainError::AuthorityExpired { .. } | ChainError::Usage)) => reason = error,
            Err(_) => {}
        }
    }
    Err(reason)
}

/// One authority: its self-issued certificate is the anchor, or the last one if it lists no root; the others are intermediates.
fn path_to(
    authority: &CertificateAuthority,
    leaf: &Certificate,
    intermediates: &[Certificate],
    usage: Usage,
    at: Timestamp,
) -> Result<Certificate, ChainError> {
    let no_path = || ChainError::NoPath { at };
    let root = authority.chain.iter().find(|certificate| certificate.is_self_issued());
    let anchor = root.or_else(|| authority.chain.last()).ok_or_else(no_path)?;
    let anchor_der = CertificateDer::from(anchor.der());
    let anchors = [anchor_from_trusted_cert(&anchor_der).map_err(|_| no_path())?];
    let candidates: Vec<&Certificate> = authority
        .chain
        .iter()
        .chain(intermediates)
        .filter(|certificate| *certificate != anchor && *certificate != leaf)
        .collect();
    let candidates_der: Vec<_> = candidates.iter().map(|certificate| CertificateDer::from(certificate.der())).collect();
    let leaf_der = CertificateDer::from(leaf.der());
    let end_entity = EndEntityCert::try_from(&leaf_der).map_err(|_| no_path())?;
    let seconds = u64::try_from(at.as_second()).map_err(|_| no_path())?;
    let path = end_entity
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &candidates_der,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            KeyUsage::required(match usage {
                Usage::CodeSigning => CODE_SIGNING,
                Usage::TimeStamping => TIME_STAMPING,
            }),
            None,
            None,
        )
        .map_err(|error| match error {
            PathError::CertExpired { .. } | PathError::CertNotValidYet { .. } => ChainError::AuthorityExpired { at },
            PathError::RequiredEkuNotFoundContext(_) => ChainError::Usage,
            _ => no_path(),
        })?;
    if at < anchor.not_before() || at > anchor.not_after() {
        return Err(ChainError::AuthorityExpired { at });
    }
    match path.intermediate_certificates().next() {
        None => Ok(anchor.clone()),
        Some(issuer) => {
            let der = issuer.der();
            let found = candidates.iter().find(|certificate| certificate.der() == der.as_ref());
            found.map(|certificate| (*certificate).clone()).ok_or_else(no_path)
        }
    }
}
