//! Rekor v2: signatures into the log, each answered with its proof; tiles for readers.
//!
//! Walk 2: decode and bound → who may write → check and canonicalise → the log → answer. A success is exactly 201: Go clients take nothing else.

mod shards;

pub use shards::PATH as SHARD_PATH;

use crate::server::drive::{AppendError, Appended, LogHandle};
use crate::server::first_entry::{FirstEntryError, SignedName};
use crate::server::gateway::{Refusal, Status, json_answer, method_not_allowed, read_body};
use crate::server::tiles;
use crate::server::writers::Admission;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use shards::Shards;
use std::sync::{Arc, RwLock};
use waxseal_formats::bundle::{InclusionProof, LogEntry};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::KeyDetails;
use waxseal_formats::entry::Verifier;
use waxseal_formats::entry::request::{CreateEntryRequest, HashedRekordRequest, RequestError};
use waxseal_io::signer::SignerError;
use waxseal_log::rekor::{RekorError, admit};
use waxseal_log::sequencer::NewEntry;

/// Largest request, in bytes. An entry has at most 65,535; an envelope, which is sent whole and logged by its digest, may have
/// more, and upstream takes as much as this.
pub const MAX_BODY_LEN: usize = 4 << 20;

/// The Rekor v2 log of an instance: a shard that takes the entries, and those that did before.
pub struct RekorV2 {
    /// Never held across an await.
    shards: RwLock<Shards>,
    admission: Arc<Admission>,
}

impl RekorV2 {
    /// Takes the log into service; it needs a [first entry](RekorV2::begin), which it gets here.
    ///
    /// # Errors
    /// [`FirstEntryError`].
    pub async fn open(log: LogHandle, admission: Arc<Admission>) -> Result<Arc<Self>, FirstEntryError> {
        Self::with_former(Vec::new(), log, admission).await
    }

    /// As [`RekorV2::open`], behind the shards that took the entries before, in the order of their creation.
    ///
    /// # Errors
    /// [`FirstEntryError`].
    pub async fn with_former(
        former: Vec<LogHandle>,
        active: LogHandle,
        admission: Arc<Admission>,
    ) -> Result<Arc<Self>, FirstEntryError> {
        Self::begin(&active).await?;
        Ok(Arc::new(Self { shards: RwLock::new(Shards { former, active }), admission }))
    }

    /// The first entry of a new log is its own: no client's entry gets index 0, which protobuf JSON leaves out and
    /// sigstore-python then misses.
    ///
    /// # Errors
    /// [`FirstEntryError`].
    pub async fn begin(log: &LogHandle) -> Result<(), FirstEntryError> {
        if log.head().size == 0 && !log.is_frozen() {
            let first = admit(&own_entry(&log.profile().origin)?)?;
            log.append(first).await?;
        }
        Ok(())
    }

    async fn create(&self, body: &[u8]) -> Result<(u64, String), Refusal> {
        let request = CreateEntryRequest::from_json(body)?;
        self.admission.admit(request.verifiers())?;
        let entry = admit(&request)?;
        let canonical = match &entry {
            NewEntry::Leaf { body, .. } => body.clone(),
            NewEntry::Ct(_) | NewEntry::Audit(_) => {
                return Err(Refusal::plain(Status::Internal, "a Rekor entry became a certificate"));
            }
        };
        let (log, appended) = self.append(entry).await?;
        Ok((appended.index, answer(&log, appended, canonical)))
    }
}

/// The entry as clients put it into their bundles.
fn answer(log: &LogHandle, appended: Appended, canonicalized_body: Vec<u8>) -> String {
    let Appended { index, proof, head, .. } = appended;
    let entry = LogEntry {
        log_index: index,
        log_id: log.key_id().to_vec(),
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

/// A genuine entry over the log's name, signed with a key that is used for nothing else.
fn own_entry(origin: &str) -> Result<CreateEntryRequest, SignerError> {
    let SignedName { digest, signature, key } = SignedName::of(origin)?;
    Ok(CreateEntryRequest::HashedRekord(HashedRekordRequest {
        digest,
        signature,
        key_details: KeyDetails::PkixEcdsaP256Sha256,
        verifier: Verifier::PublicKey(key.spki_der().to_vec()),
    }))
}

/// The routes of Rekor v2.
pub fn routes(rekor: Arc<RekorV2>) -> Router {
    let checkpoint = get(|State(rekor): State<Arc<RekorV2>>| async move { tiles::checkpoint(&rekor.active()).await });
    let tile = get(shards::tile_for_now);
    Router::new()
        .route("/api/v2/log/entries", post(create_entry).fallback(method_not_allowed))
        // Upstream documents the paths below /api/v2 and its readers ask without it.
        .route("/api/v2/checkpoint", checkpoint.clone())
        .route("/checkpoint", checkpoint)
        .route("/api/v2/tile/{*path}", tile.clone())
        .route("/tile/{*path}", tile)
        .merge(shards::routes())
        .with_state(rekor)
}

async fn create_entry(State(rekor): State<Arc<RekorV2>>, request: Request) -> Result<Response, Refusal> {
    let body = read_body(request, MAX_BODY_LEN).await?;
    match rekor.create(&body).await {
        Ok((index, answer)) => {
            // The request has its line already.
            tracing::debug!(index, "entry logged");
            Ok(json_answer(StatusCode::CREATED, answer))
        }
        Err(refusal) => {
            let code = refusal.code.map_or("", Code::as_str);
            match refusal.status {
                // The message stays in the answer: it repeats words of the request.
                Status::InvalidArgument | Status::Forbidden | Status::Exhausted { .. } => {
                    tracing::info!(code, "entry refused")
                }
                _ => tracing::error!(code, reason = refusal.message, "entry not logged"),
            }
            Err(refusal)
        }
    }
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
            AppendError::Busy => Status::Exhausted { retry_after: 1 },
            AppendError::Frozen => Status::Frozen,
            AppendError::Full | AppendError::Stopped | AppendError::Empty => Status::Unavailable,
            AppendError::Entry(_) => Status::InvalidArgument,
            AppendError::Signer(_) | AppendError::Tree(_) => Status::Internal,
        };
        let code = Some(error.code());
        let mut message = error.to_string();
        if status == Status::Frozen {
            message.push_str("; fetch the trust material again and switch to the newest log");
        }
        Self { status, code, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::drive::{Log, Settings};
    use crate::server::gateway;
    use crate::server::writers::tests::admission;
    use axum::body::Body;
    use axum::http::{HeaderMap, Method, header};
    use serde_json::{Value, json};
    use std::collections::BTreeSet;
    use tower::ServiceExt as _;
    use waxseal_authority::writers::Writers;
    use waxseal_formats::checkpoint::SignedCheckpoint;
    use waxseal_formats::crypto::KeyKind;
    use waxseal_formats::entry::Entry;
    use waxseal_formats::json::decode_base64;
    use waxseal_formats::merkle::{leaf_hash, verify_inclusion};
    use waxseal_formats::tile::{TileId, TileKind, parse_bundle};
    use waxseal_io::signer::{KeyPair, Signer as _};
    use waxseal_log::pool::Limits;
    use waxseal_log::profile::{Bodies, Face, Profile};
    use waxseal_testkit::{Exchange, vectors};

    struct Instance {
        handle: LogHandle,
        router: Router,
        log: Option<Log>,
        // Behind the log: what it still writes must not be missing its directory.
        _directory: tempfile::TempDir,
    }

    struct Answer {
        status: StatusCode,
        headers: HeaderMap,
        body: Vec<u8>,
    }

    impl Answer {
        fn json(&self) -> Value {
            assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
            serde_json::from_slice(&self.body).expect("JSON")
        }

        /// Status and gRPC code of a refusal, whose message begins with our code.
        fn refusal(&self) -> (u16, u64, String) {
            let body = self.json();
            assert_eq!(body.as_object().expect("object").keys().collect::<Vec<_>>(), ["code", "details", "message"]);
            let message = body["message"].as_str().expect("message").to_owned();
            (self.status.as_u16(), body["code"].as_u64().expect("code"), message)
        }

        fn refused_for(&self, status: u16, grpc: u64, code: Code) {
            let (found_status, found_grpc, message) = self.refusal();
            assert_eq!((found_status, found_grpc), (status, grpc), "{message}");
            assert!(message.starts_with(&format!("[{code}] ")), "{message}");
        }
    }

    impl Instance {
        async fn new(limits: Limits) -> Self {
            Self::taking(Writers::Any, limits).await
        }

        async fn taking(writers: Writers, limits: Limits) -> Self {
            let directory = tempfile::tempdir().expect("directory");
            let key = Arc::new(KeyPair::generate(KeyKind::Ed25519).expect("key"));
            let origin = "log.example".to_owned();
            let profile = Profile { origin, key: key.public_key().clone(), face: Face::RekorV2, bodies: Bodies::Kept };
            let settings = Settings::default();
            Log::create(directory.path(), &profile, &settings).expect("created");
            let log = Log::open(directory.path(), profile.clone(), key.clone(), settings).expect("opened");
            drop(RekorV2::open(log.handle(), admission(Writers::Any)).await.expect("in service"));
            drop(log);
            let settings = Settings { limits, ..Settings::default() };
            let log = Log::open(directory.path(), profile, key, settings).expect("opened again");
            let handle = log.handle();
            let router = routes(RekorV2::open(handle.clone(), admission(writers)).await.expect("in service"))
                .fallback(gateway::not_found)
                .method_not_allowed_fallback(method_not_allowed);
            Self { handle, router, log: Some(log), _directory: directory }
        }

        async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
            let request = Request::builder().method(method).uri(path).body(body.into()).expect("request");
            self.send(request).await
        }

        async fn send(&self, request: Request) -> Answer {
            let response = self.router.clone().oneshot(request).await.expect("infallible");
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, 16 << 20).await.expect("body").to_vec();
            Answer { status: parts.status, headers: parts.headers, body }
        }

        async fn create(&self, body: &[u8]) -> Answer {
            self.ask(Method::POST, "/api/v2/log/entries", body.to_vec()).await
        }

        async fn published(&self) {
            while self.handle.published().size < self.handle.head().size {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }

    /// The recorded requests to create an entry.
    fn recorded() -> Vec<Exchange> {
        let Some(vectors) = vectors() else { return Vec::new() };
        let files =
            ["cosign-3.1.3", "cosign-2.6.1", "sigstore-python-4.5.1", "sigstore-js-cli-0.10.3", "server-probes"];
        let exchanges = files.iter().flat_map(|file| vectors.wire(file));
        exchanges.filter(|e| e.service == "rekor2" && e.path == "/api/v2/log/entries" && e.method == "POST").collect()
    }

    fn probe(step: &str) -> Option<Vec<u8>> {
        recorded().into_iter().find(|exchange| exchange.step == step).and_then(|exchange| exchange.request_body)
    }

    fn keys(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        if let Value::Object(fields) = value {
            for (name, value) in fields {
                let kind = match value {
                    Value::Null => "null",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                    Value::Number(_) => "number",
                    Value::Bool(_) => "bool",
                };
                into.insert(format!("{path}.{name}: {kind}"));
                keys(value, &format!("{path}.{name}"), into);
            }
        }
    }

    fn shape(value: &Value) -> BTreeSet<String> {
        let mut shape = BTreeSet::new();
        keys(value, "", &mut shape);
        shape
    }

    /// Checks an answer as a client does that puts it into a bundle.
    fn checked(instance: &Instance, answer: &Answer) -> (u64, Vec<u8>) {
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
        let entry = answer.json();
        let text = |value: &Value| value.as_str().expect("string").to_owned();
        let bytes = |value: &Value| decode_base64(&text(value)).expect("base64");
        let number = |value: &Value| text(value).parse::<u64>().expect("number");
        let proof = &entry["inclusionProof"];
        let index = number(&entry["logIndex"]);
        assert_eq!(number(&proof["logIndex"]), index);
        assert_eq!(bytes(&entry["logId"]["keyId"]), instance.handle.key_id());
        let body = bytes(&entry["canonicalizedBody"]);
        let hashes = proof["hashes"].as_array().expect("array").iter();
        let hashes: Vec<_> = hashes.map(|hash| bytes(hash).try_into().expect("32 bytes")).collect();
        let signed = SignedCheckpoint::parse(&text(&proof["checkpoint"]["envelope"])).expect("checkpoint");
        instance.handle.profile().verify(&signed).expect("signature");
        let checkpoint = signed.checkpoint;
        assert_eq!(
            (number(&proof["treeSize"]), bytes(&proof["rootHash"])),
            (checkpoint.size, checkpoint.root.to_vec())
        );
        verify_inclusion(index, checkpoint.size, &leaf_hash(&body), &hashes, &checkpoint.root).expect("included");
        Entry::parse("hashedrekord", "0.0.2", &body).expect("a hashedrekord");
        (index, body)
    }

    #[tokio::test]
    async fn recorded_requests_get_answers_of_the_recorded_shape() {
        let instance = Instance::new(Limits::default()).await;
        // Entry 0 is the log's own, made once although the log was opened twice.
        for (expected, exchange) in (1..).zip(recorded().iter().filter(|exchange| exchange.status == 201)) {
            let answer = instance.create(exchange.request_body.as_deref().unwrap_or_default()).await;
            let (index, body) = checked(&instance, &answer);
            let recorded = exchange.response_json();
            assert_eq!(shape(&answer.json()), shape(&recorded), "{}", exchange.step);
            assert_eq!(decode_base64(recorded["canonicalizedBody"].as_str().expect("body")), Some(body));
            assert_eq!(index, expected, "{}", exchange.step);
        }
    }

    /// Upstream answers 409; sigstore-js, which repeats a request after 503, gives up then (clients-observed, fact 11).
    #[tokio::test]
    async fn a_repeated_request_is_answered_with_the_original_entry() {
        let (Some(first), Some(other)) = (probe("r2-ok"), probe("r2-snake-case")) else { return };
        let instance = Instance::new(Limits::default()).await;
        let (index, body) = checked(&instance, &instance.create(&first).await);
        checked(&instance, &instance.create(&other).await);
        assert_eq!(checked(&instance, &instance.create(&first).await), (index, body));
        assert_eq!(instance.handle.head().size, 3);
    }

    /// Upstream refuses it since v2.3.0; cosign 2 and sigstore-js still send it (clients-observed, fact 4).
    #[tokio::test]
    async fn a_dsse_request_becomes_a_hashedrekord() {
        let Some(request) = probe("r2-dsse") else { return };
        let instance = Instance::new(Limits::default()).await;
        let answer = instance.create(&request).await;
        checked(&instance, &answer);
        assert_eq!(answer.json()["kindVersion"], json!({"kind": "hashedrekord", "version": "0.0.2"}));
    }

    #[tokio::test]
    async fn refused_requests_name_their_reason_and_store_nothing() {
        let instance = Instance::new(Limits::default()).await;
        let expected = [
            ("r2-unknown-field", Code::LOG_ENTRY_MALFORMED),
            ("r2-missing-keydetails", Code::LOG_ENTRY_MALFORMED),
            ("r2-short-digest", Code::LOG_ENTRY_MALFORMED),
            ("r2-not-json", Code::LOG_ENTRY_MALFORMED),
            ("r2-wrong-keydetails", Code::LOG_ENTRY_MALFORMED),
            ("r2-bad-signature", Code::SIGNATURE_INVALID),
            ("r2-ed25519-pure", Code::KEY_UNSUPPORTED),
            ("r2-key-pem", Code::KEY_UNSUPPORTED),
            ("r2-empty-object", Code::LOG_ENTRY_KIND),
        ];
        for (step, code) in expected {
            let Some(request) = probe(step) else { return };
            instance.create(&request).await.refused_for(400, 3, code);
        }
        instance.create(b"").await.refused_for(400, 3, Code::LOG_ENTRY_MALFORMED);
        instance.create(&[b'['; 100_000]).await.refused_for(400, 3, Code::LOG_ENTRY_MALFORMED);
        assert_eq!(instance.handle.head().size, 1);
    }

    /// Whoever may not write is told so before a signature is checked, and after the request was read.
    #[tokio::test]
    async fn writers_are_admitted_between_parsing_and_verification() {
        let instance = Instance::taking(Writers::default(), Limits::default()).await;
        // The certificates and keys of the recorded instance are none of this one's.
        for step in ["r2-ok", "r2-dsse", "r2-bad-signature"] {
            let Some(request) = probe(step) else { return };
            let answer = instance.create(&request).await;
            answer.refused_for(403, 7, Code::RULE_WRITER);
            let (_, _, message) = answer.refusal();
            assert!(message.contains("`writes:` in the rules file"), "{message}");
        }
        let Some(request) = probe("r2-unknown-field") else { return };
        instance.create(&request).await.refused_for(400, 3, Code::LOG_ENTRY_MALFORMED);
        assert_eq!(instance.handle.head().size, 1);
    }

    #[tokio::test]
    async fn an_oversized_body_is_refused_before_it_is_read() {
        let instance = Instance::new(Limits::default()).await;
        // Announced and never sent: nothing waits for it.
        let announced = Request::post("/api/v2/log/entries")
            .header(header::CONTENT_LENGTH, MAX_BODY_LEN + 1)
            .body(Body::empty())
            .expect("request");
        instance.send(announced).await.refused_for(413, 3, Code::INPUT_TOO_LARGE);
        instance.create(&vec![b' '; MAX_BODY_LEN + 1]).await.refused_for(413, 3, Code::INPUT_TOO_LARGE);
        assert_eq!(instance.handle.head().size, 1);
    }

    #[tokio::test]
    async fn wrong_methods_and_paths_are_answered_as_by_the_gateway() {
        let instance = Instance::new(Limits::default()).await;
        for (method, path) in [
            (Method::GET, "/api/v2/log/entries"),
            (Method::PUT, "/api/v2/log/entries"),
            (Method::POST, "/checkpoint"),
            (Method::DELETE, "/api/v2/tile/0/000.p/1"),
        ] {
            let (status, grpc, _) = instance.ask(method, path, "").await.refusal();
            assert_eq!((status, grpc), (501, 12), "{path}");
        }
        for (method, path) in [(Method::POST, "/api/v2/log/entries/"), (Method::GET, "/api/v2/log")] {
            let (status, grpc, message) = instance.ask(method, path, "").await.refusal();
            assert_eq!((status, grpc, message.as_str()), (404, 5, "Not Found"), "{path}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_asks_to_come_again() {
        let Some(request) = probe("r2-ok") else { return };
        let instance = Instance::new(Limits { entries: 0, ..Limits::default() }).await;
        let answer = instance.create(&request).await;
        answer.refused_for(429, 8, Code::LOG_BUSY);
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn a_log_that_has_stopped_asks_to_come_again() {
        let Some(request) = probe("r2-ok") else { return };
        let mut instance = Instance::new(Limits::default()).await;
        instance.log.take().expect("open").close();
        let answer = instance.create(&request).await;
        assert_eq!((answer.refusal().0, answer.refusal().1), (503, 14));
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn readers_find_checkpoint_and_tiles_under_both_paths() {
        let instance = Instance::new(Limits::default()).await;
        for exchange in recorded().iter().filter(|exchange| exchange.status == 201).take(5) {
            checked(&instance, &instance.create(exchange.request_body.as_deref().unwrap_or_default()).await);
        }
        instance.published().await;
        for prefix in ["", "/api/v2"] {
            let answer = instance.ask(Method::GET, &format!("{prefix}/checkpoint"), "").await;
            assert_eq!((answer.status, &answer.headers[header::CONTENT_TYPE]), (StatusCode::OK, &text_plain()));
            assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
            let note = String::from_utf8(answer.body).expect("text");
            let signed = SignedCheckpoint::parse(&note).expect("checkpoint");
            instance.handle.profile().verify(&signed).expect("signature");
            let size = signed.checkpoint.size;

            let id = TileId::in_tree(TileKind::Entries, 0, size).expect("in the tree");
            let bundle = instance.ask(Method::GET, &format!("{prefix}/{id}"), "").await;
            assert_eq!(bundle.headers[header::CONTENT_TYPE], "application/octet-stream");
            assert_eq!(bundle.headers[header::CACHE_CONTROL], "no-cache");
            let entries = parse_bundle(&id, &bundle.body).expect("bundle");
            let hashes: Vec<_> = entries.iter().flat_map(|entry| leaf_hash(entry)).collect();
            let tile = TileId { kind: TileKind::Hash(0), ..id };
            assert_eq!(instance.ask(Method::GET, &format!("{prefix}/{tile}"), "").await.body, hashes);
            let head = instance.ask(Method::HEAD, &format!("{prefix}/{tile}"), "").await;
            assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));

            for path in [
                "tile/0/000",
                "tile/0/000.p/99",
                "tile/0/001.p/1",
                "tile/data/000.p/1",
                "tile/1/000.p/1",
                "tile/0/../../wal/0000000000000000",
                "tile/0/%2e%2e/%2e%2e/checkpoint",
                "tile/0/000.p/0",
                "tile/",
            ] {
                let (status, grpc, _) = instance.ask(Method::GET, &format!("{prefix}/{path}"), "").await.refusal();
                assert_eq!((status, grpc), (404, 5), "{prefix}/{path}");
            }
        }
    }

    fn text_plain() -> axum::http::HeaderValue {
        axum::http::HeaderValue::from_static("text/plain; charset=utf-8")
    }
}
