//! What a certificate log takes from anybody: a certificate or precertificate whose chain leads to an accepted root
//! (RFC 6962 §3.1).
//!
//! ```text
//! [entry, issuer, …, root]     each signed by the next; the root is accepted
//! [entry, issuer, …]           the same, the accepted root left out
//! ```
//!
//! An accepted root is any certificate at which the operator lets a chain end; it need not be self-signed. What a submission
//! has above it is dropped: a CA elsewhere sends its whole chain, and perhaps its issuing certificate alone is accepted.
//!
//! Names, signatures, basicConstraints with their path lengths and keyUsage are checked. Validity is **not**: the log is there
//! to show what an authority signed, whether or not it should have, and so takes what is expired or not yet valid (RFC 6962 §3.1
//! leaves that to the log). Neither extended key usage nor name constraints are judged, for the same reason: whoever relies on
//! a certificate judges them. What keeps strangers out is the signature of an accepted authority.

use waxseal_formats::code::Code;
use waxseal_formats::crypto::digest::sha256;
use waxseal_formats::leaf;
use waxseal_formats::x509::{Certificate, CertificateError, Critical};

use super::{CtError, Submission};

/// Largest number of certificates in a submitted chain, the entry itself included; the root may come on top of them.
pub const MAX_CHAIN: usize = 10;

const _: () = assert!(MAX_CHAIN <= leaf::MAX_CHAIN_LEN, "every accepted chain fits into a leaf");

/// What is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A final certificate: add-chain.
    Certificate,
    /// A precertificate: add-pre-chain.
    Precertificate,
}

/// Why a chain is refused. Positions count from 0, the entry itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No certificate at all.
    #[error("the chain is empty")]
    Empty,
    /// More than [`MAX_CHAIN`].
    #[error("the chain has {0} certificates, more than {MAX_CHAIN}")]
    TooLong(usize),
    /// A certificate cannot be read.
    #[error("certificate {position} of the chain: {error}")]
    Certificate {
        /// Which one.
        position: usize,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// The chain does not end at an accepted root, nor did one sign its last certificate.
    #[error("the chain does not lead to a root that this log accepts: see get-roots")]
    UnknownRoot,
    /// A certificate is not signed by the next one.
    #[error("certificate {0} of the chain is not signed by the one after it")]
    NotSigned(usize),
    /// An issuer may not issue certificates, or not at that place: basicConstraints, its path length or keyUsage forbid it.
    #[error("certificate {0} of the chain may not issue the one before it")]
    NotAuthority(usize),
    /// The issuer signs precertificates and nothing else: with such a one the issuer's name would have to be rewritten
    /// (RFC 6962 §3.2), which no Fulcio does.
    #[error("certificate {0} of the chain is a precertificate signing certificate, which this log does not take")]
    PrecertificateSigner(usize),
    /// What should be a precertificate has no poison.
    #[error("the precertificate has no critical poison extension")]
    NoPoison,
    /// A precertificate where a certificate has to be.
    #[error("certificate {0} of the chain is a precertificate")]
    Poison(usize),
    /// A precertificate has a list of timestamps already.
    #[error("the precertificate has signed certificate timestamps in it")]
    Timestamps,
    /// A precertificate without an issuer.
    #[error("the precertificate has no issuer")]
    NoIssuer,
}

impl ChainError {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        match self {
            Self::Empty => Code::INPUT_MALFORMED,
            Self::TooLong(_) => Code::INPUT_TOO_LARGE,
            Self::Certificate { error, .. } => error.code(),
            Self::UnknownRoot | Self::NotSigned(_) | Self::NoIssuer => Code::CERTIFICATE_CHAIN,
            Self::NotAuthority(_) | Self::PrecertificateSigner(_) => Code::CERTIFICATE_USAGE,
            Self::NoPoison | Self::Poison(_) | Self::Timestamps => Code::CERTIFICATE_EXTENSION,
        }
    }
}

/// A certificate or precertificate that leads to an accepted root. There is no other way to one than [`Chain::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    kind: Kind,
    entry: Certificate,
    issuers: Vec<Certificate>,
}

impl Chain {
    /// Checks a submitted chain, DER certificates from the entry upwards, against the accepted `roots`.
    ///
    /// Whether the chain leads to an accepted root is asked by name before any signature is verified, so that a stranger's
    /// chain costs next to nothing.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn verify(kind: Kind, chain: &[Vec<u8>], roots: &[Certificate]) -> Result<Self, ChainError> {
        if chain.len() > MAX_CHAIN {
            return Err(ChainError::TooLong(chain.len()));
        }
        let parse = |(position, der): (usize, &Vec<u8>)| {
            Certificate::from_der(der).map_err(|error| ChainError::Certificate { position, error })
        };
        let mut path = chain.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        complete(&mut path, roots)?;
        check_links(&path)?;
        let mut path = path.into_iter();
        let entry = path.next().ok_or(ChainError::Empty)?;
        let chain = Self { kind, entry, issuers: path.collect() };
        match kind {
            Kind::Certificate if chain.entry.poison().is_some() => Err(ChainError::Poison(0)),
            Kind::Certificate => Ok(chain),
            Kind::Precertificate => chain.check_precertificate(),
        }
    }

    /// RFC 6962 §3.1: the poison makes sure that the precertificate cannot be used, so it has to be critical.
    fn check_precertificate(self) -> Result<Self, ChainError> {
        if self.entry.poison() != Some(Critical::Yes) {
            return Err(ChainError::NoPoison);
        }
        if self.entry.sct_list().is_some() {
            return Err(ChainError::Timestamps);
        }
        match self.issuers.first() {
            None => Err(ChainError::NoIssuer),
            Some(issuer) if issuer.has_precertificate_signing_eku() => Err(ChainError::PrecertificateSigner(1)),
            Some(_) => Ok(self),
        }
    }

    /// The certificates above the entry, which are authorities, the accepted root last; empty if the entry is an accepted root itself.
    pub fn issuers(&self) -> &[Certificate] {
        &self.issuers
    }

    /// What the log makes a leaf of.
    ///
    /// # Errors
    /// [`CtError`] for what does not fit into a leaf.
    pub fn submission(&self) -> Result<Submission, CtError> {
        let fingerprints = self.issuers.iter().map(|issuer| sha256(issuer.der())).collect();
        let der = self.entry.der().to_vec();
        match (self.kind, self.issuers.first()) {
            (Kind::Certificate, _) | (_, None) => Submission::certificate(der, fingerprints),
            (Kind::Precertificate, Some(issuer)) => {
                let key = issuer.public_key()?;
                Submission::precertificate(key.spki_sha256(), self.entry.tbs_without_poison()?, der, fingerprints)
            }
        }
    }
}

/// Ends the path at an accepted root, which may have been left out.
fn complete(path: &mut Vec<Certificate>, roots: &[Certificate]) -> Result<(), ChainError> {
    if let Some(root) = path.iter().position(|certificate| roots.contains(certificate)) {
        // What stands above it proves nothing more: it is neither checked nor kept.
        path.truncate(root.saturating_add(1));
        return Ok(());
    }
    let last = path.last().ok_or(ChainError::Empty)?;
    // Several roots may have the same name, after a change of keys.
    let signed_by = |root: &&Certificate| {
        root.subject_der() == last.issuer_der() && root.public_key().is_ok_and(|key| last.verify_signature(key).is_ok())
    };
    let root = roots.iter().find(signed_by).ok_or(ChainError::UnknownRoot)?.clone();
    path.push(root);
    Ok(())
}

/// Each certificate is signed by the next one, and that one may do so.
fn check_links(path: &[Certificate]) -> Result<(), ChainError> {
    // Certificates between the entry and the issuer in question that count for its path length (RFC 5280 §4.2.1.9).
    let mut below = 0usize;
    for (position, (subject, issuer)) in path.iter().zip(path.iter().skip(1)).enumerate() {
        let above = position.saturating_add(1);
        if issuer.poison().is_some() {
            return Err(ChainError::Poison(above));
        }
        let length = issuer.basic_constraints().and_then(|constraints| constraints.path_len_constraint);
        if !issuer.may_issue() || length.is_some_and(|length| usize::from(length) < below) {
            return Err(ChainError::NotAuthority(above));
        }
        if subject.issuer_der() != issuer.subject_der() {
            return Err(ChainError::NotSigned(position));
        }
        let key = issuer.public_key().map_err(|error| ChainError::Certificate { position: above, error })?;
        subject.verify_signature(key).map_err(|_| ChainError::NotSigned(position))?;
        if !issuer.is_self_issued() {
            below = below.saturating_add(1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
