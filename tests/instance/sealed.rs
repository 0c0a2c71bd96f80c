//! A sealed instance stores nothing of what is signed with it, nor by whom: a thousand signatures, and then every byte that it
//! wrote is searched for them.

use super::refusals::assert_gateway;
use super::{Home, Up, certificate_request, certificates, certified_entry, files, p256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use waxseal_formats::crypto::sha256;
use waxseal_formats::jwt;
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_io::system;

/// Signatures of the sealed instance, and of the open one that shows what the search finds.
const SEALED: usize = 1000;
const OPEN: usize = 20;
/// Signed at the same time.
const TASKS: usize = 8;
/// Length of what is searched for, in bytes: 64 bits of something random even where it is written in hexadecimal.
const PIECE: usize = 16;
/// Bits of the filter before the look-up.
const FILTER: u32 = 22;

/// What one signature is known by, by name: each is random enough to be found nowhere else.
type Traces = Vec<(&'static str, Vec<u8>)>;

/// Who signs with an instance, with tokens that the test mints itself.
struct Signers {
    up: Up,
    key: KeyPair,
    key_id: String,
}

impl Signers {
    fn of(up: Up) -> Arc<Self> {
        Arc::new(Self { key: up.provider_key(), key_id: up.provider_key_id(), up })
    }

    fn token(&self, claims: &Map<String, Value>) -> String {
        let input = jwt::signing_input("RS256", &self.key_id, claims);
        jwt::assemble(&input, &self.key.sign(input.as_bytes()).expect("signature"))
    }

    /// A signature as clients make it, by somebody of whom nobody has heard over something that nobody has seen.
    async fn sign(&self) -> Traces {
        let name = hex::encode(system::random::<PIECE>());
        let identity = format!("{name}@corp.example");
        let artifact = system::random::<64>();
        let key = p256();
        let token = self.token(&self.up.claims(&identity));
        let request = certificate_request(&key, &identity, &token);
        let leaf = certificates(&self.up.post("/api/v2/signingCert", request.to_string()).await).remove(0);
        let entry = certified_entry(&key, &leaf, &artifact);
        let signature = entry["hashedRekordRequestV002"]["signature"]["content"].as_str().expect("text");
        let signature = STANDARD.decode(signature).expect("base64");
        let query = json!({"artifactHash": STANDARD.encode(sha256(&signature)), "hashAlgorithm": "sha256"});
        let stamped = self.up.post("/api/v1/timestamp", query.to_string()).await;
        assert!([200, 201].contains(&stamped.status), "{}", stamped.text());
        let logged = self.up.post("/api/v2/log/entries", entry.to_string()).await;
        assert_eq!(logged.status, 201, "{}", logged.text());
        let repeated = self.up.post("/api/v2/log/entries", entry.to_string()).await;
        assert_eq!((repeated.status, &repeated.json()["logIndex"]), (201, &logged.json()["logIndex"]));
        let v1 = json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hex::encode(sha256(&artifact))}},
            "signature": {
                "content": STANDARD.encode(&signature),
                "publicKey": {"content": STANDARD.encode(leaf.to_pem())},
            },
        }});
        let logged = self.up.post("/api/v1/log/entries", v1.to_string()).await;
        assert_eq!(logged.status, 201, "{}", logged.text());
        let found = self.up.post("/api/v1/log/entries/retrieve", json!({"entries": [v1]}).to_string()).await;
        assert_eq!(found.json()[0].as_object().map(Map::len), Some(1), "{}", found.text());
        self.be_refused(&identity, &artifact).await;
        traces(&name, &identity, &artifact, &signature, &token, &leaf)
    }

    /// Requests with the same names in them that fail: what is refused is not written down either.
    async fn be_refused(&self, identity: &str, artifact: &[u8]) {
        let up = &self.up;
        let digest = hex::encode(sha256(artifact));
        let mut claims = up.claims(identity);
        claims.insert("iss".into(), format!("https://{identity}.example/{digest}").into());
        let token = self.token(&claims);
        let refused = up.post("/api/v2/signingCert", certificate_request(&p256(), identity, &token).to_string()).await;
        assert_gateway(&refused, (400, 3), "token.issuer", identity);
        let refused = up.post("/api/v2/log/entries", json!({identity: digest}).to_string()).await;
        assert_gateway(&refused, (400, 3), "log.entry-malformed", identity);
        let refused = up.post("/api/v2/log/entries", super::entry_request(&p256(), artifact).to_string()).await;
        assert_gateway(&refused, (403, 7), "rule.writer", identity);
        for path in [format!("/{identity}"), format!("/tile/{identity}")] {
            assert_eq!(up.get(&path).await.status, 404, "{path}");
        }
        // 403 if it is sealed, which says no more.
        let unknown = up.get(&format!("/api/v1/log/entries/{digest}")).await.status;
        assert!([403, 404].contains(&unknown), "{unknown}");
        for query in [json!({"email": identity}), json!({"hash": digest, "operator": identity})] {
            let searched = up.post("/api/v1/index/retrieve", query.to_string()).await.status;
            assert!([200, 403, 422].contains(&searched), "{searched}");
        }
    }
}

fn traces(name: &str, identity: &str, artifact: &[u8], signature: &[u8], token: &str, leaf: &Certificate) -> Traces {
    let digest = sha256(artifact);
    // Behind the first bytes of an ASN.1 signature, which many have.
    let signature_part = signature.get(6..).expect("long").to_vec();
    let key = leaf.public_key().expect("a key").raw().get(1..).expect("a point").to_vec();
    let certificate_signature = leaf.der().get(leaf.der().len() - 32..).expect("long").to_vec();
    let key_of = |text: &str| sha256(text.to_lowercase().as_bytes())[..PIECE].to_vec();
    vec![
        ("identity", name.as_bytes().to_vec()),
        ("artifact", artifact.to_vec()),
        ("digest", digest.to_vec()),
        ("signature", signature_part),
        ("digest of the signature", sha256(signature).to_vec()),
        ("certificate", certificate_signature),
        ("serial", leaf.serial().get(1..).expect("long").to_vec()),
        ("fingerprint", sha256(leaf.der()).to_vec()),
        ("key", key),
        ("digest of the key", sha256(leaf.public_key().expect("a key").spki_der()).to_vec()),
        ("token", token.rsplit('.').next().expect("a signature").as_bytes().to_vec()),
        // By which a log is searched: whoever has a name or a digest in mind could look whether they are there.
        ("digest of the identity", key_of(identity)),
        ("digest of the digest", key_of(&format!("sha256:{}", hex::encode(digest)))),
        ("digest of the bare digest", key_of(&hex::encode(digest))),
    ]
}

/// How something may be written: as it is, in hexadecimal, in both alphabets of base64 wherever it begins in what is encoded.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![bytes.to_vec(), hex::encode(bytes).into_bytes(), hex::encode_upper(bytes).into_bytes()];
    for before in 0..3 {
        // Up to the last whole group of three bytes, from the first: what stands around it changes the other digits.
        let skipped = (3 - before) % 3;
        let whole = bytes.get(skipped..).unwrap_or_default();
        let whole = whole.get(..whole.len() / 3 * 3).unwrap_or_default();
        all.extend([STANDARD_NO_PAD.encode(whole).into_bytes(), URL_SAFE_NO_PAD.encode(whole).into_bytes()]);
    }
    all
}

/// Pieces to be searched for, all at once.
struct Search {
    pieces: HashMap<[u8; PIECE], (usize, &'static str)>,
    filter: Vec<bool>,
}

impl Search {
    fn of(signed: &[Traces]) -> Self {
        let mut pieces = HashMap::new();
        for (number, traces) in signed.iter().enumerate() {
            for (what, bytes) in traces {
                for spelling in spellings(bytes) {
                    let found =
                        spelling.chunks_exact(PIECE).map(|piece| <[u8; PIECE]>::try_from(piece).expect("whole"));
                    pieces.extend(found.map(|piece| (piece, (number, *what))));
                }
            }
        }
        let mut filter = vec![false; 1 << FILTER];
        pieces.keys().for_each(|piece| filter[filter_place(piece)] = true);
        Self { pieces, filter }
    }

    /// Which traces of which signatures are in these bytes.
    fn find(&self, content: &[u8]) -> BTreeSet<(usize, &'static str)> {
        let mut found = BTreeSet::new();
        let mut at = 0;
        while let Some(window) = content.get(at..at + PIECE) {
            // Files are made long before they are written to: most of them is zeros.
            if window == [0; PIECE] {
                at += PIECE;
                // A piece may begin among them, not before the last.
                while content.get(at..at + PIECE) == Some(&[0; PIECE]) {
                    at += PIECE;
                }
                at -= PIECE - 1;
                continue;
            }
            if self.filter[filter_place(window)]
                && let Some(trace) = self.pieces.get(window)
            {
                found.insert(*trace);
            }
            at += 1;
        }
        found
    }
}

fn filter_place(window: &[u8]) -> usize {
    let word = u32::from_le_bytes([window[2], window[5], window[9], window[14]]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - FILTER)) as usize
}

/// Has so many people sign, then stops the instance: everything that it has written, its own log included.
async fn written(home: &Home, privacy: &str, signatures: usize) -> (Vec<Traces>, Vec<(PathBuf, Vec<u8>)>) {
    let signers = Signers::of(Up::start_with(home, "127.0.0.1:0", &["--privacy", privacy]));
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let signers = Arc::clone(&signers);
        tasks.push(tokio::spawn(async move {
            let mut signed = Vec::new();
            for _ in 0..signatures.div_ceil(TASKS) {
                signed.push(signers.sign().await);
            }
            signed
        }));
    }
    let mut signed = Vec::new();
    for task in tasks {
        signed.extend(task.await.expect("signed"));
    }
    // What is published is written as well.
    let expected = u64::try_from(signed.len()).expect("small");
    signers.up.size_reaching("", expected + 1).await;
    signers.up.size_reaching("/ctlog", expected).await;
    let Ok(mut signers) = Arc::try_unwrap(signers) else { panic!("a task goes on") };
    signers.up.stop();
    let mut content: Vec<_> = files(&signers.up.data_dir).into_iter().collect();
    let log = home.path("up.log");
    content.push((log.clone(), std::fs::read(&log).expect("log")));
    (signed, content)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_instance_writes_down_nothing_of_a_thousand_signatures() {
    let home = Home::new();
    let (signed, content) = written(&home, "sealed", SEALED).await;
    assert!(signed.len() >= SEALED);
    let search = Search::of(&signed);
    for (path, content) in &content {
        let found = search.find(content);
        assert!(found.is_empty(), "{}: {} traces, such as {:?}", path.display(), found.len(), found.first());
    }
    // It was there to be found: the log of the process has a line a request, and the logs have the hashes.
    let (_, log) = content.last().expect("the log");
    let lines = String::from_utf8_lossy(log).lines().filter(|line| line.contains("/api/v2/log/entries")).count();
    assert!(lines >= 4 * signed.len(), "{lines} lines");
    assert!(content.iter().any(|(path, _)| path.to_string_lossy().contains("logs/rekor/public/tile")));
}

/// The same search where bodies are kept: it is not blind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_finds_everything_in_an_open_instance() {
    let home = Home::new();
    let (signed, content) = written(&home, "open", OPEN).await;
    let search = Search::of(&signed);
    let mut found = BTreeSet::new();
    for (path, content) in &content {
        let here = search.find(content);
        // The log of the process names nobody in any mode.
        assert!(!path.ends_with("up.log") || here.is_empty(), "{here:?}");
        found.extend(here);
    }
    for number in 0..signed.len() {
        for what in ["identity", "digest", "signature", "certificate", "serial", "key"] {
            assert!(found.contains(&(number, what)), "{what} of {number}");
        }
        // What is nowhere at all.
        for what in ["artifact", "token"] {
            assert!(!found.contains(&(number, what)), "{what} of {number}");
        }
    }
}

/// Each spelling is found wherever it stands.
#[test]
fn the_search_knows_every_spelling() {
    let secret: Vec<u8> = system::random::<32>().to_vec();
    let search = Search::of(&[vec![("secret", secret.clone())]]);
    let found = |content: &[u8]| !search.find(content).is_empty();
    for before in 0..40 {
        let placed = |secret: &[u8]| [&vec![0; before], secret, &[0; 17]].concat();
        assert!(found(&placed(&secret)), "raw at {before}");
        assert!(found(&placed(hex::encode(&secret).as_bytes())), "hex at {before}");
        assert!(found(&placed(hex::encode_upper(&secret).as_bytes())), "HEX at {before}");
        assert!(found(STANDARD.encode(placed(&secret)).as_bytes()), "base64 at {before}");
        assert!(found(URL_SAFE_NO_PAD.encode(placed(&secret)).as_bytes()), "base64url at {before}");
    }
    assert!(!found(&vec![0; 1000]) && !found(&system::random::<1000>()));
}

/// What a sealed instance answers instead.
#[tokio::test]
async fn a_sealed_log_gives_out_proofs_and_no_entries() {
    let home = Home::new();
    let up = Up::start(&home);
    assert_eq!(up.get("/client.json").await.json()["privacy"], "sealed");
    let (_, index) = up.mark().await;
    let size = up.size_reaching("", index + 1).await;
    for prefix in ["", "/api/v2"] {
        assert_eq!(up.get(&format!("{prefix}/checkpoint")).await.status, 200);
        assert_eq!(up.get(&format!("{prefix}/tile/0/000.p/{size}")).await.status, 200);
        for path in [format!("{prefix}/tile/entries/000.p/{size}"), format!("{prefix}/tile/entries/000")] {
            assert_gateway(&up.get(&path).await, (403, 7), "log.sealed", &path);
        }
    }
    up.size_reaching("/ctlog", 1).await;
    let data = up.get("/ctlog/tile/data/000.p/1").await;
    assert_eq!(data.status, 403);
    assert!(data.text().starts_with("[log.sealed] "), "{}", data.text());
}
