//! Rekor v2: signatures into the log, each answered with its proof; tiles for readers.
//!
//! Walk 2: decode and bound → check and canonicalise → the log → answer. A success is exactly 201: Go clients take nothing else.

use crate::server::drive::{AppendError, Appended, LogHandle};
use crate::server::gateway::{Refusal, Status, json_answer, method_not_allowed, read_body};
use crate::server::tiles;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get, post};
use serde_json::json;
use std::sync::Arc;
use waxseal_formats::bundle::{InclusionProof, LogEntry};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{HashAlgorithm, KeyDetails, KeyKind};
use waxseal_formats::entry::Verifier;
use waxseal_formats::entry::request::{CreateEntryRequest, HashedRekordRequest, RequestError};
use waxseal_io::signer::{KeyPair, Signer, SignerError};
use waxseal_log::rekor::{RekorError, admit};
use waxseal_log::sequencer::NewEntry;

/// Largest request, in bytes. An entry has at most 65,535; an envelope, which is sent whole and logged by its digest, may have
/// more, and upstream takes as much as this.
pub const MAX_BODY_LEN: usize = 4 << 20;

/// The Rekor v2 log of an instance.
pub struct RekorV2 {
    log: LogHandle,
}

/// Why the log cannot be taken into service.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log's own entry cannot be made.
    #[error("the Rekor log's first entry: {0}")]
    Signer(#[from] SignerError),
    /// The log's own entry is refused.
    #[error("the Rekor log's first entry: {0}")]
    Entry(#[from] RekorError),
    /// The log's own entry cannot be logged.
    #[error("the Rekor log's first entry: {0}")]
    Append(#[from] AppendError),
}

impl OpenError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Signer(_) => Code::KEY_UNSUPPORTED,
            Self::Entry(error) => error.code(),
            Self::Append(error) => error.code(),
        }
    }
}

impl RekorV2 {
    /// Takes the log into service. The first entry of a new log is its own: no client's entry gets index 0, which protobuf
    /// JSON leaves out and sigstore-python then misses.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(log: LogHandle) -> Result<Arc<Self>, OpenError> {
        if log.head().size == 0 {
            let first = admit(&own_entry(&log.profile().origin)?)?;
            log.append(first).await?;
        }
        Ok(Arc::new(Self { log }))
    }

    async fn create(&self, body: &[u8]) -> Result<(u64, String), Refusal> {
        let entry = admit(&CreateEntryRequest::from_json(body)?)?;
        let canonical = match &entry {
            NewEntry::Leaf { body, .. } => body.clone(),
            NewEntry::Ct(_) => return Err(Refusal::plain(Status::Internal, "a Rekor entry became a certificate")),
        };
        let appended = self.log.append(entry).await?;
        Ok((appended.index, self.answer(appended, canonical)))
    }

    /// The entry as clients put it into their bundles.
    fn answer(&self, appended: Appended, canonicalized_body: Vec<u8>) -> String {
        let Appended { index, proof, head, .. } = appended;
        let entry = LogEntry {
            log_index: index,
            log_id: self.log.key_id().to_vec(),
            kind: "hashedrekord".into(),
            version: "0.0.2".into(),
            integrated_time: None,
            set: None,
            proof: Some(InclusionProof {
                log_index: index,
                root_hash: head.root.to_vec(),
                tree_size: head.size,
                hashes: proof,
                checkpoint: Some(head.note.to_string()),
            }),
            canonicalized_body: Some(canonicalized_body),
        };
        entry.to_answer_json()
    }
}

/// A genuine entry over the log's name, signed with a key that is used for nothing else.
fn own_entry(origin: &str) -> Result<CreateEntryRequest, SignerError> {
    let key = KeyPair::generate(KeyKind::EcdsaP256)?;
    let message = format!("The first entry of the log {origin}\n");
    Ok(CreateEntryRequest::HashedRekord(HashedRekordRequest {
        digest: HashAlgorithm::Sha256.digest(message.as_bytes()),
        signature: key.sign(message.as_bytes())?,
        key_details: KeyDetails::PkixEcdsaP256Sha256,
        verifier: Verifier::PublicKey(key.public_key().spki_der().to_vec()),
    }))
}

/// The routes of Rekor v2, and those of Rekor v1 while it is off.
pub fn routes(rekor: Arc<RekorV2>) -> Router {
    let checkpoint = get(|State(rekor): State<Arc<RekorV2>>| async move { tiles::checkpoint(&rekor.log).await });
    let tile = get(|State(rekor): State<Arc<RekorV2>>, Path(path): Path<String>| async move {
        tiles::tile(&rekor.log, &path).await
    });
    Router::new()
        .route("/api/v2/log/entries", post(create_entry).fallback(method_not_allowed))
        // Upstream documents the paths below /api/v2 and its readers ask without it.
        .route("/api/v2/checkpoint", checkpoint.clone())
        .route("/checkpoint", checkpoint)
        .route("/api/v2/tile/{*path}", tile.clone())
        .route("/tile/{*path}", tile)
        .route("/api/v1/log", any(rekor_v1))
        .route("/api/v1/log/{*path}", any(rekor_v1))
        .route("/api/v1/index/retrieve", any(rekor_v1))
        .with_state(rekor)
}

async fn create_entry(State(rekor): State<Arc<RekorV2>>, request: Request) -> Result<Response, Refusal> {
    let body = read_body(request, MAX_BODY_LEN).await?;
    match rekor.create(&body).await {
        Ok((index, answer)) => {
            tracing::info!(index, "entry logged");
            Ok(json_answer(StatusCode::CREATED, answer))
        }
        Err(refusal) => {
            let code = refusal.code.map_or("", Code::as_str);
            if refusal.status == Status::InvalidArgument {
                tracing::info!(code, reason = refusal.message, "entry refused");
            } else {
                tracing::error!(code, reason = refusal.message, "entry not logged");
            }
            Err(refusal)
        }
    }
}

/// JSON, never text: Go's v1 client shows it word for word.
async fn rekor_v1() -> Response {
    let message = "this instance has no Rekor v1 API: use a client of Rekor v2, such as cosign 3";
    json_answer(StatusCode::NOT_FOUND, json!({"code": 404, "message": message}).to_string())
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::invalid(error.code(), error)
    }
}

impl From<RekorError> for Refusal {
    fn from(error: RekorError) -> Self {
        Self::invalid(error.code(), error)
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let status = match &error {
            AppendError::Busy => Status::Exhausted,
            AppendError::Full | AppendError::Stopped => Status::Unavailable,
            AppendError::Entry(_) => Status::InvalidArgument,
            AppendError::Signer(_) | AppendError::Tree(_) => Status::Internal,
        };
        Self { status, code: Some(error.code()), message: error.to_string() }
    }
}
