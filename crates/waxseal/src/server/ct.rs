//! The certificate log: the CA's precertificates in this process, and static-ct tiles for readers.

use crate::server::drive::{AppendError, LogHandle};
use crate::server::fulcio::{self, CertificateLog, SubmissionError};
use crate::server::{gateway, tiles};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{PublicKey, sha256};
use waxseal_formats::leaf::{LeafError, SignedEntry};
use waxseal_formats::sct::{self, SctError, SignedCertificateTimestamp};
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::{Signer, SignerError};
use waxseal_log::ct::{CtError, Submission};
use waxseal_log::sequencer::NewEntry;

/// The path of the certificate log, below the origin.
pub const PATH: &str = "/ctlog";
const CERTIFICATE: HeaderValue = HeaderValue::from_static("application/pkix-cert");
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=604800, immutable");

/// The certificate log of one authority; cheap to clone.
#[derive(Clone)]
pub struct CtLog {
    log: LogHandle,
    signer: Arc<dyn Signer>,
    /// The authority's certificates, the issuing one first.
    issuers: Arc<[Certificate]>,
}

/// Why a precertificate got no timestamp.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It cannot become a leaf.
    #[error(transparent)]
    Submission(#[from] CtError),
    /// The log does not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It is logged and its timestamp cannot be written.
    #[error(transparent)]
    Sct(#[from] SctError),
    /// It is logged and its timestamp cannot be written.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// It is logged and the log's key cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl SubmitError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Submission(error) => error.code(),
            Self::Append(error) => error.code(),
            Self::Sct(error) => error.code(),
            Self::Leaf(error) => error.code(),
            Self::Signer(_) => Code::LOG_STORE_FAILED,
        }
    }
}

impl CtLog {
    /// The log behind `log`, whose key `signer` holds, for certificates of the authority with the chain `issuers`.
    #[must_use]
    pub fn new(log: LogHandle, signer: Arc<dyn Signer>, issuers: Vec<Certificate>) -> Self {
        Self { log, signer, issuers: issuers.into() }
    }

    /// Logs a precertificate: the entry that the log signs, the precertificate itself and the chain above it. Returns the log's
    /// timestamp, whose extension names the index (C2SP static-ct-api), once the entry is durable.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(
        &self,
        issuer_key_hash: [u8; 32],
        tbs: Vec<u8>,
        precertificate: Vec<u8>,
        chain: &[Certificate],
    ) -> Result<SignedCertificateTimestamp, SubmitError> {
        let entry = SignedEntry::Precertificate { issuer_key_hash, tbs: tbs.clone() };
        let fingerprints = chain.iter().map(|issuer| sha256(issuer.der())).collect();
        let submission = Submission::precertificate(issuer_key_hash, tbs, precertificate, fingerprints)?;
        let appended = self.log.append(NewEntry::Ct(submission)).await?;
        let extensions = sct::leaf_index_extension(appended.index)?;
        let signature = self.signer.sign(&sct::signed_input(appended.time.0, &entry, &extensions)?)?;
        Ok(SignedCertificateTimestamp {
            log_id: self.signer.public_key().spki_sha256(),
            timestamp_ms: appended.time.0,
            extensions,
            algorithm: self.signer.algorithm(),
            signature,
        })
    }
}

impl CertificateLog for CtLog {
    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    fn submit_precertificate<'a>(
        &'a self,
        issuer_key_hash: [u8; 32],
        tbs: Vec<u8>,
        precertificate: Vec<u8>,
        chain: &'a [Certificate],
    ) -> fulcio::Submission<'a> {
        Box::pin(async move {
            let submitted = self.submit(issuer_key_hash, tbs, precertificate, chain).await;
            submitted.map_err(|error| SubmissionError { code: error.code(), message: error.to_string() })
        })
    }
}

/// The routes of the log's readers.
pub fn routes(log: CtLog) -> Router {
    let readers = Router::new()
        .route("/checkpoint", get(|State(ct): State<CtLog>| async move { tiles::checkpoint(&ct.log).await }))
        .route(
            "/tile/{*path}",
            get(|State(ct): State<CtLog>, Path(path): Path<String>| async move { tiles::tile(&ct.log, &path).await }),
        )
        .route("/issuer/{fingerprint}", get(issuer))
        .with_state(log);
    Router::new().nest(PATH, readers)
}

/// A certificate above the leaves, by the SHA-256 of its DER in lower-case hexadecimal.
async fn issuer(State(ct): State<CtLog>, Path(fingerprint): Path<String>) -> Response {
    let named = ct.issuers.iter().find(|issuer| hex::encode(sha256(issuer.der())) == fingerprint);
    match named {
        Some(issuer) => {
            let headers = [(header::CONTENT_TYPE, CERTIFICATE), (header::CACHE_CONTROL, IMMUTABLE)];
            (headers, issuer.der().to_vec()).into_response()
        }
        None => gateway::not_found().await.into_response(),
    }
}
