//! Old signatures become bundles of the present version: what they lack is asked of the log that has their entry.

use super::sign::{SignError, rekor};
use url::Url;
use waxseal_formats::bundle::{Bundle, LogEntry, MediaType, VerificationMaterial};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, PublicKey};
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_formats::x509::Certificate;
use waxseal_io::transport::Transport;

/// Why no present bundle can be made.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The log cannot be asked, or answers something unusable.
    #[error(transparent)]
    Log(#[from] SignError),
    /// Nobody knows where the log is.
    #[error(
        "the entry {index} of log {log} has no inclusion proof, and the trusted root does not say where that log is"
    )]
    UnknownLog {
        /// Its ID in hexadecimal.
        log: String,
        /// The entry.
        index: u64,
    },
    /// The log's address in the trusted root is none.
    #[error("the trusted root says that a log is at {url:?}, which is no URL")]
    Address {
        /// What it says.
        url: String,
    },
    /// The log has another entry there.
    #[error("the log at {url} has another entry at index {index}")]
    AnotherEntry {
        /// Where the log is.
        url: Url,
        /// The entry.
        index: u64,
    },
    /// The log has the entry and gives no proof of it.
    #[error("the log at {url} gives no inclusion proof of entry {index}")]
    NoProof {
        /// Where the log is.
        url: Url,
        /// The entry.
        index: u64,
    },
    /// The log has no entry of the signature.
    #[error("the log at {url} has no entry of this signature")]
    NotLogged {
        /// Where the log is.
        url: Url,
    },
    /// The certificate cannot be read.
    #[error("the certificate: {0}")]
    Certificate(#[from] waxseal_formats::x509::CertificateError),
    /// There is neither certificate nor key.
    #[error("whose signature it is is not said")]
    Nobody,
}

impl UpgradeError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Log(error) => error.code(),
            Self::UnknownLog { .. } => Code::LOG_UNKNOWN,
            Self::Address { .. } => Code::TRUSTED_ROOT_MALFORMED,
            Self::AnotherEntry { .. } => Code::LOG_ENTRY_MISMATCH,
            Self::NoProof { .. } | Self::NotLogged { .. } => Code::LOG_PROOF_MISSING,
            Self::Certificate(error) => error.code(),
            Self::Nobody => Code::SIGNATURE_KEY_MISSING,
        }
    }
}

/// Looks for the log entries of a signature over `digest`, whose bundle has none. Nothing of them is verified.
///
/// # Errors
/// [`UpgradeError`].
pub async fn find_entries(
    transport: &dyn Transport,
    log: &Url,
    bundle: &Bundle,
    digest: &Digest,
    key: Option<&PublicKey>,
) -> Result<Vec<LogEntry>, UpgradeError> {
    let pem = match (&bundle.material, key) {
        (VerificationMaterial::Certificate { leaf, .. }, _) => Certificate::from_der(leaf)?.to_pem(),
        (VerificationMaterial::PublicKey { .. }, Some(key)) => key.to_pem(),
        (VerificationMaterial::PublicKey { .. }, None) => return Err(UpgradeError::Nobody),
    };
    let mut found = rekor::find_v1(transport, log, &bundle.content, digest, &pem).await?;
    // Readers refuse a bundle with two entries of one log about the same; the first one is the oldest.
    found.truncate(1);
    if found.is_empty() { Err(UpgradeError::NotLogged { url: log.clone() }) } else { Ok(found) }
}

/// Makes a bundle of version 0.3. Inclusion proofs that entries lack are asked for at `log`, or where `root` says that their log is.
/// What the result is worth verification says.
///
/// # Errors
/// [`UpgradeError`].
pub async fn upgrade(
    transport: &dyn Transport,
    mut bundle: Bundle,
    log: Option<&Url>,
    root: &TrustedRoot,
) -> Result<Bundle, UpgradeError> {
    for entry in &mut bundle.entries {
        if entry.proof.is_some() {
            continue;
        }
        let (index, url) = (entry.log_index, log.cloned().map_or_else(|| address(root, entry), Ok)?);
        let found = rekor::entry_v1(transport, &url, index).await?;
        let same = found.log_id == entry.log_id
            && found.canonicalized_body == entry.canonicalized_body
            && found.integrated_time == entry.integrated_time;
        match found.proof {
            _ if !same => return Err(UpgradeError::AnotherEntry { url, index }),
            None => return Err(UpgradeError::NoProof { url, index }),
            proof => entry.proof = proof,
        }
    }
    if let VerificationMaterial::Certificate { chain, .. } = &mut bundle.material {
        // This version has the signer's certificate alone: the others are in trusted roots.
        chain.clear();
    }
    Ok(Bundle { media_type: MediaType::V0_3, ..bundle })
}

fn address(root: &TrustedRoot, entry: &LogEntry) -> Result<Url, UpgradeError> {
    let known = root.tlogs.iter().find(|log| log.log_id == entry.log_id);
    let known =
        known.ok_or_else(|| UpgradeError::UnknownLog { log: hex::encode(&entry.log_id), index: entry.log_index })?;
    Url::parse(&known.base_url).map_err(|_| UpgradeError::Address { url: known.base_url.clone() })
}
