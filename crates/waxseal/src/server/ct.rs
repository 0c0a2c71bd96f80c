//! The certificate log: the CA's precertificates in this process, and static-ct tiles for readers.

use crate::server::drive::{AppendError, LogHandle};
use crate::server::fulcio::{self, CertificateLog, SubmissionError};
use crate::server::{gateway, tiles};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use std::sync::Arc;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{PublicKey, sha256};
use waxseal_formats::json::encode_base64;
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
        let input = sct::signed_input(appended.time.0, &entry, &extensions)?;
        // Where blocking is allowed: the signer may be a device or a service.
        let signer = Arc::clone(&self.signer);
        let signed = tokio::task::spawn_blocking(move || signer.sign(&input)).await;
        let signature = signed.map_err(|_| SubmitError::Stopped)??;
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
        .route("/ct/v1/get-roots", get(roots))
        .with_state(log);
    Router::new().nest(PATH, readers)
}

/// The root certificates of the chains that the log takes (RFC 6962 §4.7).
async fn roots(State(ct): State<CtLog>) -> Response {
    let roots = ct.issuers.iter().filter(|issuer| issuer.is_self_issued());
    let roots: Vec<_> = roots.map(|root| encode_base64(root.der())).collect();
    gateway::json_answer(StatusCode::OK, json!({ "certificates": roots }).to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::drive::{Log, Settings};
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;
    use waxseal_formats::checkpoint::SignedCheckpoint;
    use waxseal_formats::crypto::KeyKind;
    use waxseal_formats::leaf::TileLeaf;
    use waxseal_formats::merkle::leaf_hash;
    use waxseal_formats::tile::{TileId, TileKind};
    use waxseal_io::signer::KeyPair;
    use waxseal_log::profile::{Bodies, Face, Profile};
    use waxseal_testkit::vectors;

    struct Instance {
        log: Log,
        key: Arc<KeyPair>,
        profile: Profile,
        ct: CtLog,
        router: Router,
        // Behind the log: what it still writes must not be missing its directory.
        directory: tempfile::TempDir,
    }

    impl Instance {
        fn new(issuers: Vec<Certificate>) -> Self {
            let directory = tempfile::tempdir().expect("directory");
            let key = Arc::new(KeyPair::generate(KeyKind::EcdsaP256).expect("key"));
            let origin = "log.example/ctlog".to_owned();
            let profile = Profile { origin, key: key.public_key().clone(), face: Face::StaticCt, bodies: Bodies::Kept };
            Log::create(directory.path(), &profile, &Settings::default()).expect("created");
            let log = Self::open(&directory, &profile, &key);
            let ct = CtLog::new(log.handle(), key.clone(), issuers);
            Self { directory, log, key, profile, router: routes(ct.clone()).fallback(gateway::not_found), ct }
        }

        fn open(directory: &tempfile::TempDir, profile: &Profile, key: &Arc<KeyPair>) -> Log {
            Log::open(directory.path(), profile.clone(), key.clone(), Settings::default()).expect("opened")
        }

        async fn read(&self, path: &str) -> (StatusCode, String, Vec<u8>) {
            let request = Request::get(path).body(Body::empty()).expect("request");
            let response = self.router.clone().oneshot(request).await.expect("infallible");
            let status = response.status();
            let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
            (status, kind, axum::body::to_bytes(response.into_body(), 1 << 24).await.expect("body").to_vec())
        }

        async fn published(&self) -> SignedCheckpoint {
            while self.log.handle().published().size < self.log.handle().head().size {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let (status, kind, note) = self.read("/ctlog/checkpoint").await;
            assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/plain; charset=utf-8"));
            SignedCheckpoint::parse(&String::from_utf8(note).expect("text")).expect("checkpoint")
        }
    }

    /// The entries and issuers of the recorded log.
    fn recorded() -> Option<(Vec<TileLeaf>, Vec<Certificate>)> {
        let vectors = vectors()?;
        let tile = vectors.read("private-instance/ct-log/tile/data/001.p/184");
        let mut entries = Vec::new();
        let mut rest = tile.as_slice();
        while !rest.is_empty() {
            let (entry, tail) = TileLeaf::decode(rest).expect("recorded entry");
            entries.push(entry);
            rest = tail;
        }
        let issuers = entries[0].chain_fingerprints.iter().map(|fingerprint| {
            let der = vectors.read(&format!("private-instance/ct-log/issuer/{}", hex::encode(fingerprint)));
            Certificate::from_der(&der).expect("recorded issuer")
        });
        let issuers = issuers.collect();
        Some((entries, issuers))
    }

    async fn submit(instance: &Instance, entry: &TileLeaf) -> SignedCertificateTimestamp {
        let SignedEntry::Precertificate { issuer_key_hash, tbs } = &entry.timestamped.entry else { panic!() };
        let precertificate = entry.precertificate.clone().expect("precertificate");
        let issuers = instance.ct.issuers.clone();
        let submitted = instance.ct.submit_precertificate(*issuer_key_hash, tbs.clone(), precertificate, &issuers);
        let sct = submitted.await.expect("logged");
        sct.verify(instance.key.public_key(), &entry.timestamped.entry).expect("SCT");
        assert_eq!(sct.log_id, instance.key.public_key().spki_sha256());
        sct
    }

    #[tokio::test]
    async fn precertificates_get_timestamps_whose_entries_are_in_the_tree() {
        let Some((entries, issuers)) = recorded() else { return };
        let instance = Instance::new(issuers);
        assert_eq!(instance.published().await.checkpoint.size, 0);
        let mut scts = Vec::new();
        for (index, entry) in entries.iter().take(5).enumerate() {
            let sct = submit(&instance, entry).await;
            assert_eq!(sct::leaf_index(&sct.extensions), Ok(index as u64));
            scts.push(sct);
        }
        let signed = instance.published().await;
        assert!(signed.checkpoint.extensions.is_empty());
        let time = signed.verify_ct("log.example/ctlog", instance.key.public_key()).expect("signature");
        assert!(scts.iter().all(|sct| sct.timestamp_ms <= time));
        assert_eq!(signed.checkpoint.size, 5);

        let id = TileId::in_tree(TileKind::Data, 0, 5).expect("in the tree");
        let (status, kind, data) = instance.read(&format!("/ctlog/{id}")).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/octet-stream"));
        let hashes = instance.read(&format!("/ctlog/{}", TileId { kind: TileKind::Hash(0), ..id })).await.2;
        let mut rest = data.as_slice();
        for ((entry, sct), hash) in entries.iter().zip(&scts).zip(hashes.chunks(32)) {
            let (stored, tail) = TileLeaf::decode(rest).expect("stored entry");
            // What the SCT promises is what is logged: its time and its extensions.
            assert_eq!(stored.timestamped.timestamp_ms, sct.timestamp_ms);
            assert_eq!(stored.timestamped.extensions, sct.extensions);
            assert_eq!(stored.timestamped.entry, entry.timestamped.entry);
            assert_eq!(stored.precertificate, entry.precertificate);
            assert_eq!(stored.chain_fingerprints, entry.chain_fingerprints);
            assert_eq!(leaf_hash(&stored.timestamped.merkle_tree_leaf().expect("leaf")), hash);
            rest = tail;
        }
        assert!(rest.is_empty());
        assert_eq!(instance.read("/ctlog/tile/entries/000.p/5").await.0, StatusCode::NOT_FOUND);
    }

    /// RFC 6962 §3: a log may return the same SCT; a second entry would be one certificate with two.
    #[tokio::test]
    async fn a_repeated_precertificate_gets_the_original_time_and_index() {
        let Some((entries, issuers)) = recorded() else { return };
        let mut instance = Instance::new(issuers);
        let first = submit(&instance, &entries[0]).await;
        submit(&instance, &entries[1]).await;
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        let again = submit(&instance, &entries[0]).await;
        assert_eq!((again.timestamp_ms, &again.extensions), (first.timestamp_ms, &first.extensions));
        // After a restart as well.
        instance.log.close();
        instance.log = Instance::open(&instance.directory, &instance.profile, &instance.key);
        instance.ct = CtLog::new(instance.log.handle(), instance.key.clone(), instance.ct.issuers.to_vec());
        let again = submit(&instance, &entries[0]).await;
        assert_eq!((again.timestamp_ms, again.extensions), (first.timestamp_ms, first.extensions));
        assert_eq!(instance.log.handle().head().size, 2);
    }

    #[tokio::test]
    async fn issuers_and_roots_are_served() {
        let Some((_, issuers)) = recorded() else { return };
        let instance = Instance::new(issuers.clone());
        for issuer in &issuers {
            let fingerprint = hex::encode(sha256(issuer.der()));
            let (status, kind, der) = instance.read(&format!("/ctlog/issuer/{fingerprint}")).await;
            assert_eq!(
                (status, kind.as_str(), der.as_slice()),
                (StatusCode::OK, "application/pkix-cert", issuer.der())
            );
        }
        for unknown in ["00", "../checkpoint", &"0".repeat(64)] {
            assert_eq!(instance.read(&format!("/ctlog/issuer/{unknown}")).await.0, StatusCode::NOT_FOUND);
        }
        let (_, kind, roots) = instance.read("/ctlog/ct/v1/get-roots").await;
        assert_eq!(kind, "application/json");
        let root = issuers.iter().find(|issuer| issuer.is_self_issued()).expect("root");
        let expected = json!({"certificates": [encode_base64(root.der())]});
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&roots).expect("JSON"), expected);
    }

    #[tokio::test]
    async fn an_oversized_precertificate_is_refused_and_not_logged() {
        let instance = Instance::new(Vec::new());
        let submitted = instance.ct.submit_precertificate([0; 32], Vec::new(), vec![0; 70_000], &[]).await;
        assert_eq!(submitted.expect_err("refused").code, Code::INPUT_TOO_LARGE);
        assert_eq!(instance.log.handle().head().size, 0);
    }
}
