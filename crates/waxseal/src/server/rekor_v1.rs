//! Rekor v1: signatures into the log, each answered with a signed time and a proof; the same entries found again.
//!
//! Walk 2: decode and bound → who may write → check and canonicalise → the log → answer. What every client depends on:
//! - a success is exactly 201, `ETag` is the bare entry ID and the key of the one object that is answered: Go clients take
//!   nothing else, and those that miss it panic;
//! - every answer is `application/json`, refusals too: Go's client cannot read anything else and hides the reason.

mod answer;
mod failure;
mod find;
mod info;

use crate::server::drive::LogHandle;
use crate::server::first_entry::{FirstEntryError, SignedName};
use crate::server::gateway::{json_answer, read_body};
use crate::server::writers::Admission;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get, post};
use failure::Failure;
use std::sync::Arc;
use waxseal_formats::entry::PemVerifier;
use waxseal_formats::entry::proposed::{MAX_PROPOSED_LEN, ProposedEntry, ProposedHashedRekord};
use waxseal_formats::merkle::Hash;
use waxseal_io::signer::{KeyPair, SignerError};
use waxseal_log::UnixMillis;
use waxseal_log::profile::{Bodies, rekor_v1_tree_id};
use waxseal_log::rekor::v1;

/// The Rekor v1 log of an instance.
pub struct RekorV1 {
    log: LogHandle,
    signer: Arc<KeyPair>,
    tree_id: u64,
    admission: Arc<Admission>,
}

/// An entry in the log.
struct Logged {
    index: u64,
    time: UnixMillis,
    body: Vec<u8>,
}

impl RekorV1 {
    /// Takes the log into service. The first entry of a new log is its own: no client's entry gets index 0, which protobuf
    /// JSON leaves out and sigstore-python then misses, and no client ever sees an empty tree, which the API cannot express.
    ///
    /// # Errors
    /// [`FirstEntryError`].
    pub async fn open(
        log: LogHandle,
        signer: Arc<KeyPair>,
        admission: Arc<Admission>,
    ) -> Result<Arc<Self>, FirstEntryError> {
        if log.head().size == 0 && !log.is_frozen() {
            let first = v1::admit(&own_entry(&log.profile().origin)?)?.into_entry()?;
            log.append(first).await?;
        }
        let tree_id = rekor_v1_tree_id(&log.profile().key);
        Ok(Arc::new(Self { log, signer, tree_id, admission }))
    }

    /// The ID of an entry: 16 hexadecimal digits of the tree's, 64 of the leaf hash.
    fn entry_id(&self, leaf: &Hash) -> String {
        format!("{:016x}{}", self.tree_id, hex::encode(leaf))
    }

    fn sealed(&self) -> bool {
        self.log.profile().bodies == Bodies::Sealed
    }

    async fn create(&self, request: &[u8]) -> Result<Response, Failure> {
        let proposed = ProposedEntry::from_json(request)?;
        self.admission.admit(&proposed.verifiers())?;
        let checked = v1::admit(&proposed)?;
        let body = checked.body.clone();
        let appended = self.log.append(checked.into_entry()?).await?;
        let id = self.entry_id(&appended.leaf_hash);
        let location = format!("/api/v1/log/entries/{id}");
        // A client that is told of the earlier entry asks for it next: a sealed log has to give it at once.
        if appended.repeated && !self.sealed() {
            return Err(Failure::exists(&id, location));
        }
        tracing::debug!(index = appended.index, "entry logged");
        let logged = Logged { index: appended.index, time: appended.time, body };
        let answer = self.answer(&logged, &appended.proof, &appended.head)?;
        let mut response = json_answer(StatusCode::CREATED, serde_json::json!({ &id: answer }).to_string());
        for (name, value) in [(header::ETAG, id), (header::LOCATION, location)] {
            // Hexadecimal digits and slashes are always a header's value.
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }
}

/// A genuine entry over the log's name, signed with a key that is used for nothing else.
fn own_entry(origin: &str) -> Result<ProposedEntry, SignerError> {
    let SignedName { digest, signature, key } = SignedName::of(origin)?;
    Ok(ProposedEntry::HashedRekord(ProposedHashedRekord { digest, signature, verifier: PemVerifier::Key(key) }))
}

/// The routes of Rekor v1.
pub fn routes(rekor: Arc<RekorV1>) -> Router {
    let method = failure::method_not_allowed;
    let retrieve = post(find::retrieve).fallback(method);
    let search = post(find::search).fallback(method);
    Router::new()
        .route("/api/v1/log/entries", post(create_entry).get(find::by_index).fallback(method))
        .route("/api/v1/log/entries/{id}", get(find::by_id).fallback(method))
        .route("/api/v1/log/entries/retrieve", retrieve.clone())
        // sigstore-python asks with a slash at the end.
        .route("/api/v1/log/entries/retrieve/", retrieve)
        .route("/api/v1/index/retrieve", search.clone())
        .route("/api/v1/index/retrieve/", search)
        .route("/api/v1/log", get(info::log).fallback(method))
        .route("/api/v1/log/publicKey", get(info::public_key).fallback(method))
        .route("/api/v1/log/proof", get(info::proof).fallback(method))
        .route("/api/v1/version", get(info::version).fallback(method))
        .route("/api/v1/log/{*path}", any(failure::not_found))
        .route("/api/v1/index/{*path}", any(failure::not_found))
        .route("/ping", get(info::ping))
        .layer(axum::middleware::map_response(no_cache))
        .with_state(rekor)
}

/// What is true of a log now need not be true later (rekor `middleware.NoCache`).
async fn no_cache(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

async fn create_entry(State(rekor): State<Arc<RekorV1>>, request: Request) -> Result<Response, Failure> {
    let body = read_body(request, MAX_PROPOSED_LEN).await?;
    rekor.create(&body).await.inspect_err(Failure::log)
}
