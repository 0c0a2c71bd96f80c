//! The log behind its routes, without a running instance.

use super::issuers::Issuers;
use super::submissions::MAX_BODY_LEN;
use super::{CtLog, routes};
use crate::server::audit::Audit;
use crate::server::drive::{Log, Settings};
use crate::server::fulcio::CertificateLog as _;
use crate::server::gateway;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;
use waxseal_authority::audit::Names;
use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyKind, sha256};
use waxseal_formats::json::encode_base64;
use waxseal_formats::leaf::{SignedEntry, TileLeaf};
use waxseal_formats::merkle::{Hash, leaf_hash};
use waxseal_formats::sct::{self, SignedCertificateTimestamp};
use waxseal_formats::tile::{TileId, TileKind};
use waxseal_formats::x509::Certificate;
use waxseal_io::disk::OsDisk;
use waxseal_io::signer::{KeyPair, Signer as _};
use waxseal_log::profile::{Bodies, Face, Profile};
use waxseal_testkit::vectors;

struct Instance {
    log: Log,
    key: Arc<KeyPair>,
    profile: Profile,
    issuers: Vec<Certificate>,
    ct: CtLog,
    router: Router,
    // Behind the log: what it still writes must not be missing its directory.
    directory: tempfile::TempDir,
}

impl Instance {
    fn new(issuers: Vec<Certificate>) -> Self {
        Self::with(issuers, Bodies::Kept, Settings::default())
    }

    fn with(issuers: Vec<Certificate>, bodies: Bodies, settings: Settings) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let key = Arc::new(KeyPair::generate(KeyKind::EcdsaP256).expect("key"));
        let origin = "log.example/ctlog".to_owned();
        let profile = Profile { origin, key: key.public_key().clone(), face: Face::StaticCt, bodies };
        Log::create(directory.path(), &profile, &settings).expect("created");
        let log = Log::open(directory.path(), profile.clone(), key.clone(), settings).expect("opened");
        let ct = Self::ct(&directory, &log, &key, &issuers);
        Self { directory, log, key, profile, issuers, router: routes(ct.clone()).fallback(gateway::not_found), ct }
    }

    fn ct(directory: &tempfile::TempDir, log: &Log, key: &Arc<KeyPair>, issuers: &[Certificate]) -> CtLog {
        let kept = Issuers::open(Arc::new(OsDisk), &directory.path().join("public")).expect("issuers");
        CtLog::new(log.handle(), key.clone(), issuers, Vec::new(), kept, Audit::new(log.handle(), Names::Plain))
            .expect("issuers kept")
    }

    fn restart(mut self) -> Self {
        self.log.close();
        let (profile, key) = (self.profile.clone(), self.key.clone());
        self.log = Log::open(self.directory.path(), profile, key, Settings::default()).expect("opened");
        self.ct = Self::ct(&self.directory, &self.log, &self.key, &self.issuers);
        self.router = routes(self.ct.clone()).fallback(gateway::not_found);
        self
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let request = Request::builder().method(method).uri(path).body(body.into()).expect("request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, axum::body::to_bytes(response.into_body(), 1 << 24).await.expect("body").to_vec())
    }

    async fn read(&self, path: &str) -> (StatusCode, String, Vec<u8>) {
        let (status, headers, body) = self.ask(Method::GET, path, Body::empty()).await;
        (status, headers[header::CONTENT_TYPE].to_str().expect("text").to_owned(), body)
    }

    async fn json(&self, path: &str) -> Value {
        let (status, kind, body) = self.read(path).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"), "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }

    /// A refusal's status and reason code.
    async fn refused(&self, path: &str) -> (u16, String) {
        let (status, kind, body) = self.read(path).await;
        assert_eq!(kind, "text/plain; charset=utf-8");
        let text = String::from_utf8(body).expect("text");
        let code = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).expect("a code").0;
        (status.as_u16(), code.to_owned())
    }

    async fn add(&self, path: &str, chain: &[&[u8]]) -> (StatusCode, HeaderMap, Vec<u8>) {
        let chain: Vec<_> = chain.iter().map(|der| encode_base64(der)).collect();
        self.ask(Method::POST, path, json!({ "chain": chain }).to_string()).await
    }

    async fn published(&self) -> SignedCheckpoint {
        while self.log.handle().published().size < self.log.handle().head().size {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (status, kind, note) = self.read("/ctlog/checkpoint").await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/plain; charset=utf-8"));
        SignedCheckpoint::parse(&String::from_utf8(note).expect("text")).expect("checkpoint")
    }
}

/// The entries and issuers of the recorded log.
fn recorded() -> Option<(Vec<TileLeaf>, Vec<Certificate>)> {
    let vectors = vectors()?;
    let mut entries = Vec::new();
    for name in ["000", "001.p/184"] {
        let tile = vectors.read(&format!("private-instance/ct-log/tile/data/{name}"));
        let mut rest = tile.as_slice();
        while !rest.is_empty() {
            let (entry, tail) = TileLeaf::decode(rest).expect("recorded entry");
            entries.push(entry);
            rest = tail;
        }
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
    let issuers = instance.issuers.clone();
    let submitted =
        instance.ct.submit_precertificate(*issuer_key_hash, tbs.clone(), precertificate, &issuers, b"{}".to_vec());
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
    let instance = Instance::new(issuers);
    let first = submit(&instance, &entries[0]).await;
    submit(&instance, &entries[1]).await;
    tokio::time::sleep(Duration::from_millis(3)).await;
    let again = submit(&instance, &entries[0]).await;
    assert_eq!((again.timestamp_ms, &again.extensions), (first.timestamp_ms, &first.extensions));
    // After a restart as well.
    let instance = instance.restart();
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
        assert_eq!((status, kind.as_str(), der.as_slice()), (StatusCode::OK, "application/pkix-cert", issuer.der()));
    }
    for unknown in ["00", "../checkpoint", &"0".repeat(64)] {
        assert_eq!(instance.read(&format!("/ctlog/issuer/{unknown}")).await.0, StatusCode::NOT_FOUND);
    }
    let (_, kind, roots) = instance.read("/ctlog/ct/v1/get-roots").await;
    assert_eq!(kind, "application/json");
    let root = issuers.iter().find(|issuer| issuer.is_self_issued()).expect("root");
    let expected = json!({"certificates": [encode_base64(root.der())]});
    assert_eq!(serde_json::from_slice::<Value>(&roots).expect("JSON"), expected);
}

#[tokio::test]
async fn an_oversized_precertificate_is_refused_and_not_logged() {
    let instance = Instance::new(Vec::new());
    let submitted = instance.ct.submit_precertificate([0; 32], Vec::new(), vec![0; 70_000], &[], Vec::new()).await;
    assert_eq!(submitted.expect_err("refused").code, Code::INPUT_TOO_LARGE);
    assert_eq!(instance.log.handle().head().size, 0);
}

const ADD_PRE_CHAIN: &str = "/ctlog/ct/v1/add-pre-chain";
const DAMAGED: (u16, &str) = (500, "log.store-corrupt");

fn code((status, code): &(u16, String)) -> (u16, &str) {
    (*status, code)
}

/// A Fulcio elsewhere sends precertificate, intermediate and root; the root may be left out.
#[tokio::test]
async fn a_chain_over_http_is_the_same_submission_as_in_this_process() {
    let Some((entries, issuers)) = recorded() else { return };
    let instance = Instance::new(issuers.clone());
    let first = submit(&instance, &entries[0]).await;
    for above in [&issuers[..], &issuers[..issuers.len() - 1]] {
        let precertificate = entries[0].precertificate.as_deref().expect("precertificate");
        let chain: Vec<&[u8]> = [precertificate].into_iter().chain(above.iter().map(Certificate::der)).collect();
        let (status, headers, body) = instance.add(ADD_PRE_CHAIN, &chain).await;
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            (status, &headers[header::CONTENT_TYPE]),
            (StatusCode::OK, &"application/json".parse().expect("type"))
        );
        assert_eq!(answer["timestamp"], json!(first.timestamp_ms));
        assert_eq!(answer["extensions"], json!(encode_base64(&first.extensions)));
        assert_eq!(answer["id"], json!(encode_base64(&instance.key.public_key().spki_sha256())));
    }
    assert_eq!(instance.log.handle().head().size, 1);
}

/// An authority elsewhere whose root the operator accepts: its chains are taken, and get-roots says so.
#[tokio::test]
async fn chains_of_a_configured_root_are_taken() {
    let Some((entries, issuers)) = recorded() else { return };
    let precertificate = entries[0].precertificate.as_deref().expect("precertificate");
    let chain: Vec<&[u8]> = [precertificate].into_iter().chain(issuers.iter().map(Certificate::der)).collect();
    let mut instance = Instance::new(Vec::new());
    let (status, _, body) = instance.add(ADD_PRE_CHAIN, &chain).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.starts_with(b"[certificate.chain] "));

    let kept = Issuers::open(Arc::new(OsDisk), &instance.directory.path().join("public")).expect("issuers");
    let roots = issuers.last().cloned().into_iter().collect();
    instance.ct = CtLog::new(
        instance.log.handle(),
        instance.key.clone(),
        &[],
        roots,
        kept,
        Audit::new(instance.log.handle(), Names::Plain),
    )
    .expect("issuers kept");
    instance.router = routes(instance.ct.clone());
    assert_eq!(instance.add(ADD_PRE_CHAIN, &chain).await.0, StatusCode::OK);
    let accepted = instance.json("/ctlog/ct/v1/get-roots").await;
    assert_eq!(accepted, json!({"certificates": [encode_base64(issuers[issuers.len() - 1].der())]}));
    for issuer in &issuers {
        let fingerprint = hex::encode(sha256(issuer.der()));
        assert_eq!(instance.read(&format!("/ctlog/issuer/{fingerprint}")).await.2, issuer.der());
    }
}

/// Security row 44: accepting faster than publishing ends in late merges, so the log pushes back.
#[tokio::test]
async fn row_44_a_log_that_publishes_too_slowly_answers_429() {
    let Some((entries, issuers)) = recorded() else { return };
    let slow = Settings { unpublished: 0, publish_interval: Duration::from_secs(3600), ..Settings::default() };
    let instance = Instance::with(issuers.clone(), Bodies::Kept, slow);
    let mut refused = None;
    for entry in entries.iter().take(3) {
        let precertificate = entry.precertificate.as_deref().expect("precertificate");
        let chain: Vec<&[u8]> = [precertificate].into_iter().chain(issuers.iter().map(Certificate::der)).collect();
        let (status, headers, body) = instance.add(ADD_PRE_CHAIN, &chain).await;
        if status != StatusCode::OK {
            refused = Some((status, headers, String::from_utf8(body).expect("text")));
            break;
        }
    }
    let (status, headers, text) = refused.expect("the second or third is too many");
    assert_eq!((status, &headers[header::RETRY_AFTER]), (StatusCode::TOO_MANY_REQUESTS, &"1".parse().expect("header")));
    assert!(text.starts_with("[log.busy] "), "{text}");
}

/// A log whose first tile is full, so that its hashes are read from files.
async fn two_tiles(bodies: Bodies) -> Option<(Instance, Vec<Hash>)> {
    let (entries, issuers) = recorded()?;
    let instance = Instance::with(issuers, bodies, Settings::default());
    let appends = entries.into_iter().map(|entry| {
        let (ct, issuers) = (instance.ct.clone(), instance.issuers.clone());
        tokio::spawn(async move {
            let SignedEntry::Precertificate { issuer_key_hash, tbs } = entry.timestamped.entry else { panic!() };
            let precertificate = entry.precertificate.expect("precertificate");
            ct.submit_precertificate(issuer_key_hash, tbs, precertificate, &issuers, b"{}".to_vec())
                .await
                .expect("logged")
        })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.expect("logged");
    }
    assert_eq!(instance.published().await.checkpoint.size, 440);
    // Only what an earlier process published is not in memory any more.
    let instance = instance.restart();
    instance.published().await;
    let tiles = [instance.read("/ctlog/tile/0/000").await.2, instance.read("/ctlog/tile/0/001.p/184").await.2].concat();
    Some((instance, tiles.as_chunks::<32>().0.to_vec()))
}

fn proof_by_hash(hash: &Hash, size: u64) -> String {
    let hash = encode_base64(hash).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("/ctlog/ct/v1/get-proof-by-hash?hash={hash}&tree_size={size}")
}

/// Security row 9 (CVE-2026-56864, CVE-2026-56865): tiles that were not checked against their parents, stray hashes believed.
#[tokio::test]
async fn row_9_forged_tiles_yield_no_proof() {
    let Some((instance, hashes)) = two_tiles(Bodies::Kept).await else { return };
    let tile = instance.directory.path().join("public/tile/0/000");
    let genuine = std::fs::read(&tile).expect("tile");
    let consistency = "/ctlog/ct/v1/get-sth-consistency?first=77&second=440";
    let entry = "/ctlog/ct/v1/get-entry-and-proof?leaf_index=3&tree_size=440";
    assert_eq!(instance.json(&proof_by_hash(&hashes[3], 440)).await["leaf_index"], 3);
    instance.json(consistency).await;
    instance.json(entry).await;
    let mut flipped = genuine.clone();
    flipped[32 * 2] ^= 1;
    let stray = [genuine.clone(), vec![7; 32]].concat();
    let short = genuine[..genuine.len() - 32].to_vec();
    for forged in [flipped, stray, short] {
        std::fs::write(&tile, forged).expect("written");
        for path in [&proof_by_hash(&hashes[3], 440), &proof_by_hash(&hashes[3], 100), entry, consistency] {
            assert_eq!(code(&instance.refused(path).await), DAMAGED, "{path}");
        }
    }
    // A whole tile of other hashes: every one of them would be believed if only the tile were looked at.
    std::fs::write(&tile, vec![7; genuine.len()]).expect("written");
    for path in [consistency, entry] {
        assert_eq!(code(&instance.refused(path).await), DAMAGED, "{path}");
    }
    std::fs::write(&tile, &genuine).expect("written");
    instance.json(consistency).await;

    // An entry that is not the one of its leaf hash is not shown.
    let data = instance.directory.path().join("public/tile/data/000");
    let mut forged = std::fs::read(&data).expect("tile");
    forged[7] ^= 1;
    std::fs::write(&data, forged).expect("written");
    for path in
        ["/ctlog/ct/v1/get-entries?start=0&end=9", "/ctlog/ct/v1/get-entry-and-proof?leaf_index=0&tree_size=440"]
    {
        assert_eq!(code(&instance.refused(path).await), DAMAGED, "{path}");
    }
    assert_eq!(
        instance.json("/ctlog/ct/v1/get-entries?start=1&end=1").await["entries"].as_array().map(Vec::len),
        Some(1)
    );
}

/// Security row 46 (TrustAsia 2026): a cache that left queries out served the proof of another leaf.
#[tokio::test]
async fn row_46_only_what_is_named_by_its_contents_may_be_cached() {
    let Some((instance, hashes)) = two_tiles(Bodies::Kept).await else { return };
    let fingerprint = hex::encode(sha256(instance.issuers[0].der()));
    for (path, cached) in [
        ("/ctlog/tile/0/000".to_owned(), true),
        ("/ctlog/tile/0/001.p/184".to_owned(), true),
        ("/ctlog/tile/1/000.p/1".to_owned(), true),
        ("/ctlog/tile/data/000".to_owned(), true),
        (format!("/ctlog/issuer/{fingerprint}"), true),
        ("/ctlog/tile/0/000?x=1".to_owned(), false),
        (format!("/ctlog/issuer/{fingerprint}?x=1"), false),
        ("/ctlog/tile/0/001".to_owned(), false),
        (format!("/ctlog/issuer/{}", "0".repeat(64)), false),
        ("/ctlog/checkpoint".to_owned(), false),
        ("/ctlog/ct/v1/get-sth".to_owned(), false),
        ("/ctlog/ct/v1/get-roots".to_owned(), false),
        (proof_by_hash(&hashes[0], 440), false),
        ("/ctlog/ct/v1/get-sth-consistency?first=1&second=2".to_owned(), false),
        ("/ctlog/ct/v1/get-entries?start=0&end=0".to_owned(), false),
        ("/ctlog/ct/v1/get-entry-and-proof?leaf_index=0&tree_size=1".to_owned(), false),
        (proof_by_hash(&[0; 32], 440), false),
    ] {
        let (_, headers, _) = instance.ask(Method::GET, &path, Body::empty()).await;
        let expected = if cached { "public, max-age=604800, immutable" } else { "no-store" };
        assert_eq!(headers[header::CACHE_CONTROL], expected, "{path}");
    }
}

#[tokio::test]
async fn get_entries_answers_no_more_than_it_may() {
    let Some((instance, hashes)) = two_tiles(Bodies::Kept).await else { return };
    let document = instance.json("/ctlog/ct/v1/get-entries?start=250&end=100000").await;
    let entries = document["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 190);
    for (entry, hash) in entries.iter().zip(&hashes[250..]) {
        let input = waxseal_formats::json::decode_base64(entry["leaf_input"].as_str().expect("text")).expect("base64");
        assert_eq!(leaf_hash(&input), *hash);
    }
}

/// An attacker's body is not read to its end.
#[tokio::test]
async fn a_large_body_is_refused() {
    let instance = Instance::new(Vec::new());
    let (status, headers, body) = instance.ask(Method::POST, ADD_PRE_CHAIN, vec![b' '; MAX_BODY_LEN + 1]).await;
    assert_eq!((status, headers[header::CACHE_CONTROL].as_bytes()), (StatusCode::PAYLOAD_TOO_LARGE, &b"no-store"[..]));
    assert!(body.starts_with(b"[input.too-large] "));
}

#[tokio::test]
async fn a_sealed_log_proves_and_shows_no_entries() {
    let Some((instance, hashes)) = two_tiles(Bodies::Sealed).await else { return };
    for path in [
        "/ctlog/ct/v1/get-entries?start=0&end=0",
        "/ctlog/ct/v1/get-entries",
        "/ctlog/ct/v1/get-entry-and-proof?leaf_index=0&tree_size=1",
        "/ctlog/tile/data/000",
        "/ctlog/tile/data/001.p/184",
        "/ctlog/tile/data/999",
    ] {
        assert_eq!(code(&instance.refused(path).await), (403, "log.sealed"), "{path}");
    }
    for (index, hash) in hashes.iter().enumerate().step_by(37) {
        assert_eq!(instance.json(&proof_by_hash(hash, 440)).await["leaf_index"], index);
    }
    assert!(!instance.directory.path().join("public/tile/data").exists());
}

#[tokio::test]
async fn a_frozen_log_takes_nothing_more_and_is_read_as_before() {
    let Some((entries, issuers)) = recorded() else { return };
    let instance = Instance::new(issuers.clone());
    submit(&instance, &entries[0]).await;
    let log = instance.log.handle();
    tokio::task::spawn_blocking(move || log.freeze()).await.expect("ended").expect("frozen");
    let precertificate = entries[1].precertificate.as_deref().expect("precertificate");
    let chain: Vec<&[u8]> = [precertificate].into_iter().chain(issuers.iter().map(Certificate::der)).collect();
    let (status, _, body) = instance.add(ADD_PRE_CHAIN, &chain).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.starts_with(b"[log.frozen] "), "{}", String::from_utf8_lossy(&body));
    assert_eq!(instance.json("/ctlog/ct/v1/get-sth").await["tree_size"], 1);
    assert_eq!(
        instance.json("/ctlog/ct/v1/get-entries?start=0&end=0").await["entries"].as_array().map(Vec::len),
        Some(1)
    );
}
