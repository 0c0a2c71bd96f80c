//! `kill -9` of the binary under load: nothing that a client saw acknowledged is lost, and no signed tree is contradicted.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::command::command;
use serde_json::Value;
use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::crypto::{HashAlgorithm, KeyDetails, KeyKind};
use waxseal_formats::entry::Verifier;
use waxseal_formats::entry::request::HashedRekordRequest;
use waxseal_formats::json::decode_base64;
use waxseal_formats::merkle::{CompactRange, Hash, leaf_hash};
use waxseal_formats::tile::{TileId, TileKind, parse_bundle};
use waxseal_io::signer::{KeyPair, Signer as _};

/// How often the process is killed. `cargo xtask crash` is for more.
const KILLS: u32 = 4;
const CLIENTS: usize = 4;

/// What a client was told.
#[derive(Debug)]
struct Acknowledged {
    index: u64,
    body: Vec<u8>,
    checkpoint: String,
}

fn start(home: &Path, port: u16) -> Child {
    let data = home.join("data");
    let arguments = ["up", "--listen", &format!("127.0.0.1:{port}"), "--data-dir", data.to_str().expect("UTF-8")];
    let mut up = command(home, &arguments);
    let mut child = up.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("waxseal runs");
    // It says something once it is ready. The rest is read so that the pipe does not fill.
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert!(!first.starts_with("error["), "{first}");
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}

fn request(key: &KeyPair, message: &str) -> String {
    let request = HashedRekordRequest {
        digest: HashAlgorithm::Sha256.digest(message.as_bytes()),
        signature: key.sign(message.as_bytes()).expect("signed"),
        key_details: KeyDetails::PkixEcdsaP256Sha256,
        verifier: Verifier::PublicKey(key.public_key().spki_der().to_vec()),
    };
    request.to_json()
}

/// Logs entries until the instance is gone.
async fn load(url: String, client: usize, round: u32, acknowledged: Arc<Mutex<Vec<Acknowledged>>>) {
    let http = reqwest::Client::new();
    let key = KeyPair::generate(KeyKind::EcdsaP256).expect("key");
    for n in 0.. {
        let body = request(&key, &format!("round {round} client {client} entry {n}"));
        let Ok(answer) = http.post(format!("{url}/api/v2/log/entries")).body(body).send().await else { return };
        let status = answer.status();
        let Ok(bytes) = answer.bytes().await else { return };
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&bytes));
        let entry: Value = serde_json::from_slice(&bytes).expect("JSON");
        let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).expect("string").to_owned();
        acknowledged.lock().expect("lock").push(Acknowledged {
            index: text("/logIndex").parse().expect("number"),
            body: decode_base64(&text("/canonicalizedBody")).expect("base64"),
            checkpoint: text("/inclusionProof/checkpoint/envelope"),
        });
    }
}

async fn read(http: &reqwest::Client, url: &str, path: &str) -> Vec<u8> {
    let answer = http.get(format!("{url}/{path}")).send().await.expect("answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer.bytes().await.expect("body").to_vec()
}

/// All entries of the published log, and its root at every size.
async fn published(url: &str) -> (Vec<Vec<u8>>, Vec<Hash>) {
    let http = reqwest::Client::new();
    let note = String::from_utf8(read(&http, url, "checkpoint").await).expect("text");
    let checkpoint = SignedCheckpoint::parse(&note).expect("checkpoint").checkpoint;
    let (mut entries, mut edge) = (Vec::new(), CompactRange::new());
    let mut roots = vec![edge.root()];
    for id in (0..).map_while(|index| TileId::in_tree(TileKind::Entries, index, checkpoint.size)) {
        for entry in parse_bundle(&id, &read(&http, url, &id.to_string()).await).expect("bundle") {
            edge.append(leaf_hash(entry), |_, _| ()).expect("room");
            roots.push(edge.root());
            entries.push(entry.to_vec());
        }
    }
    assert_eq!((edge.size(), edge.root()), (checkpoint.size, checkpoint.root));
    (entries, roots)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_entry_survives_kill_9() {
    let home = tempfile::tempdir().expect("directory");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let url = format!("http://127.0.0.1:{port}");
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut before = BTreeMap::new();
    for round in 0..KILLS {
        let mut child = start(home.path(), port);
        let clients: Vec<_> =
            (0..CLIENTS).map(|client| tokio::spawn(load(url.clone(), client, round, acknowledged.clone()))).collect();
        // Not at a round time: the publisher works in fifths of a second.
        tokio::time::sleep(Duration::from_millis(170 + 130 * u64::from(round))).await;
        child.kill().expect("killed");
        child.wait().expect("gone");
        for client in clients {
            client.await.expect("client");
        }

        let mut child = start(home.path(), port);
        let (entries, roots) = published(&url).await;
        let acknowledged = acknowledged.lock().expect("lock");
        assert!(acknowledged.len() > round as usize, "the load did nothing");
        for entry in acknowledged.iter() {
            let stored = usize::try_from(entry.index).ok().and_then(|index| entries.get(index));
            assert_eq!(stored, Some(&entry.body), "entry {} of round {round} is lost", entry.index);
            let checkpoint = SignedCheckpoint::parse(&entry.checkpoint).expect("checkpoint").checkpoint;
            let root = usize::try_from(checkpoint.size).ok().and_then(|size| roots.get(size));
            assert_eq!(root, Some(&checkpoint.root), "a signed tree of {} entries is contradicted", checkpoint.size);
            if let Some(other) = before.insert(entry.index, entry.body.clone()) {
                assert_eq!(other, entry.body, "index {} was given twice", entry.index);
            }
        }
        drop(acknowledged);
        child.kill().expect("killed");
        child.wait().expect("gone");
    }
}
