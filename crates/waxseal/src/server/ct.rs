//! The certificate log: the CA's precertificates in this process, anybody's chains over HTTP (RFC 6962 §4), and for readers both
//! RFC 6962 and static-ct tiles of the same tree.
//!
//! `submissions` and `readers` are the two halves of the HTTP interface, `answer` is how it refuses. `issuers` keeps what stands
//! above the leaves, `tree` proves, `lookup` finds.

mod answer;
pub mod issuers;
mod lookup;
pub mod readers;
pub mod submissions;
#[cfg(test)]
mod tests;
mod tree;

use self::issuers::{Fingerprint, Issuers, IssuersError};
use crate::server::audit::Audit;
use crate::server::drive::{AppendError, LogHandle};
use crate::server::fulcio::{self, CertificateLog, SubmissionError};
use crate::server::signing;
use crate::server::{gateway, tiles};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use std::sync::Arc;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{PublicKey, sha256};
use waxseal_formats::leaf::LeafError;
use waxseal_formats::sct::{self, SctError, SignedCertificateTimestamp};
use waxseal_formats::tile::{TileId, TileKind};
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
    /// The certificates at which a chain may end.
    roots: Arc<[Certificate]>,
    issuers: Arc<Issuers>,
    audit: Arc<Audit>,
}

/// Why a certificate or precertificate got no timestamp.
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
    /// It is logged, and the instance is being stopped before its timestamp is signed.
    #[error("the log has stopped")]
    Stopped,
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
            Self::Signer(_) => Code::KEY_UNAVAILABLE,
            Self::Stopped => Code::LOG_STORE_FAILED,
        }
    }
}

impl CtLog {
    /// The log behind `log`, whose key `signer` holds, for certificates of the authority with the chain `authority` and for chains
    /// that lead to one of `roots`; `audit` is told of what others submit. The authority's own certificates are kept in `issuers` from now on. It blocks.
    ///
    /// # Errors
    /// [`IssuersError`] if they cannot be.
    pub fn new(
        log: LogHandle,
        signer: Arc<dyn Signer>,
        authority: &[Certificate],
        roots: Vec<Certificate>,
        issuers: Issuers,
        audit: Arc<Audit>,
    ) -> Result<Self, IssuersError> {
        issuers.keep(authority)?;
        let mut accepted: Vec<Certificate> = Vec::new();
        for root in authority.last().cloned().into_iter().chain(roots) {
            if !accepted.contains(&root) {
                accepted.push(root);
            }
        }
        Ok(Self { log, signer, roots: accepted.into(), issuers: Arc::new(issuers), audit })
    }

    /// Logs a precertificate of the own authority: the entry that the log signs, the precertificate itself and the chain above
    /// it, none of which is checked again, and what the audit log says about it. Returns the log's timestamp once all that is
    /// durable.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn submit(
        &self,
        issuer_key_hash: [u8; 32],
        tbs: Vec<u8>,
        precertificate: Vec<u8>,
        chain: &[Certificate],
        audit: Vec<u8>,
    ) -> Result<SignedCertificateTimestamp, SubmitError> {
        let fingerprints = chain.iter().map(|issuer| sha256(issuer.der())).collect();
        let submission = Submission::precertificate(issuer_key_hash, tbs, precertificate, fingerprints)?;
        self.promise(submission.with_audit(audit)).await
    }

    /// Logs a checked submission. Returns the log's timestamp, whose extension names the index (C2SP static-ct-api), once the
    /// entry is durable; for a repeated submission that of the first time.
    async fn promise(&self, submission: Submission) -> Result<SignedCertificateTimestamp, SubmitError> {
        let entry = submission.entry().clone();
        let appended = self.log.append(NewEntry::Ct(submission)).await?;
        let extensions = sct::leaf_index_extension(appended.index)?;
        let input = sct::signed_input(appended.time.0, &entry, &extensions)?;
        let signature = signing::sign(&self.signer, input).await?;
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
        audit: Vec<u8>,
    ) -> fulcio::Submission<'a> {
        Box::pin(async move {
            let submitted = self.submit(issuer_key_hash, tbs, precertificate, chain, audit).await;
            submitted.map_err(|error| SubmissionError { code: error.code(), message: error.to_string() })
        })
    }
}

/// The routes of the log.
pub fn routes(log: CtLog) -> Router {
    use answer::wrong_method;
    let api = Router::new()
        .route("/add-chain", post(submissions::add_chain).fallback(wrong_method))
        .route("/add-pre-chain", post(submissions::add_pre_chain).fallback(wrong_method))
        .route("/get-sth", get(readers::tree_head).fallback(wrong_method))
        .route("/get-sth-consistency", get(readers::consistency).fallback(wrong_method))
        .route("/get-proof-by-hash", get(readers::proof_by_hash).fallback(wrong_method))
        .route("/get-entries", get(readers::entries).fallback(wrong_method))
        .route("/get-entry-and-proof", get(readers::entry_and_proof).fallback(wrong_method))
        .route("/get-roots", get(readers::roots).fallback(wrong_method));
    let checkpoint = get(|State(ct): State<CtLog>| async move { tiles::checkpoint(&ct.log).await });
    let all = Router::new()
        .nest("/ct/v1", api)
        .route("/checkpoint", checkpoint.fallback(wrong_method))
        .route("/tile/{*path}", get(tile).fallback(wrong_method))
        .route("/issuer/{fingerprint}", get(issuer).fallback(wrong_method))
        .layer(middleware::from_fn(answer::no_store))
        .with_state(log);
    Router::new().nest(PATH, all)
}

/// A tile; of a sealed log those with hashes alone.
async fn tile(State(ct): State<CtLog>, Path(path): Path<String>) -> Response {
    let entries = TileId::parse(&format!("tile/{path}")).is_some_and(|id| id.kind == TileKind::Data);
    match readers::kept(&ct) {
        Err(refusal) if entries => refusal.into_response(),
        _ => tiles::tile(&ct.log, &path).await,
    }
}

/// A certificate above the leaves, by the SHA-256 of its DER in lower-case hexadecimal.
async fn issuer(State(ct): State<CtLog>, Path(name): Path<String>) -> Response {
    let mut fingerprint = Fingerprint::default();
    // Upper-case digits are another address: one certificate has one.
    if hex::decode_to_slice(&name, &mut fingerprint).is_err() || hex::encode(fingerprint) != name {
        return gateway::not_found().await.into_response();
    }
    match readers::blocking(&ct, move |issuers| Ok(issuers.find(&fingerprint)?)).await {
        Ok(Some(der)) => {
            let headers = [(header::CONTENT_TYPE, CERTIFICATE), (header::CACHE_CONTROL, IMMUTABLE)];
            (headers, der.to_vec()).into_response()
        }
        Ok(None) => gateway::not_found().await.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}
