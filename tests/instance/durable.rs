//! What an instance keeps: through SIGKILL under load, beside a second one, and when its directory is damaged.

use super::oracles::{assert_consistent, assert_included};
use super::{
    ALICE, DEADLINE, Home, Up, assert_refused, certificate_request, certificates_in, certified_entry, client, files,
    p256, try_ask,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use waxseal_formats::checkpoint::{Checkpoint, SignedCheckpoint};
use waxseal_formats::merkle::{Hash, NodeId, consistency_proof, leaf_hash};
use waxseal_formats::sct::{SignedCertificateTimestamp, leaf_index};
use waxseal_formats::tile::{HashTile, TileId, TileKind};

const ROUNDS: usize = 6;
/// Tasks that post at the same time, and the most that each posts before the process is killed.
const TASKS: u64 = 4;
const REQUESTS: u64 = 400;
/// Makes the moments of the kills random and the same in each run, as far as a scheduler lets them.
const SEED: u64 = 0x5eed_cafe;

/// xorshift64: not for secrets.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What the instance has acknowledged: it may never be gone.
#[derive(Default)]
struct Acknowledged {
    /// Rekor entries by index: the leaf hash, and the proof with its checkpoint.
    entries: BTreeMap<u64, Entry>,
    /// Indices in the certificate log.
    certificates: Vec<u64>,
}

#[derive(Clone)]
struct Entry {
    leaf: Hash,
    proof: Vec<Hash>,
    checkpoint: Checkpoint,
    log_id: String,
}

fn hash(value: &Value) -> Hash {
    STANDARD.decode(value.as_str().expect("text")).expect("base64").try_into().expect("32 bytes")
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).expect("a number")
}

impl Entry {
    /// Reads an answer of the log and checks that it proves what it says.
    fn read(answer: &Value) -> (u64, Self) {
        let index = number(&answer["logIndex"]);
        let note = answer["inclusionProof"]["checkpoint"]["envelope"].as_str().expect("text");
        let checkpoint = SignedCheckpoint::parse(note).expect("a checkpoint").checkpoint;
        let body = STANDARD.decode(answer["canonicalizedBody"].as_str().expect("text")).expect("base64");
        let proof: Vec<Hash> =
            answer["inclusionProof"]["hashes"].as_array().expect("a list").iter().map(hash).collect();
        let leaf = leaf_hash(&body);
        assert_included(&body, index, checkpoint.size, &proof, &checkpoint.root);
        let log_id = answer["logId"]["keyId"].as_str().expect("text").to_owned();
        (index, Self { leaf, proof, checkpoint, log_id })
    }
}

/// The tiles of a published log, as its readers get them.
struct Tree {
    checkpoint: Checkpoint,
    level_zero: Vec<Hash>,
}

impl Tree {
    /// Fetches the checkpoint and every hash tile of the lowest level, and checks that the one follows from the others.
    async fn fetch(up: &Up, log: &str) -> Self {
        let checkpoint = up.checkpoint(log).await.checkpoint;
        let mut level_zero = Vec::new();
        for index in 0..checkpoint.size.div_ceil(256) {
            let id = TileId::in_tree(TileKind::Hash(0), index, checkpoint.size).expect("a tile");
            let answer = up.get(&format!("{log}/{id}")).await;
            assert_eq!(answer.status, 200, "{id}");
            level_zero.extend_from_slice(HashTile::parse(&id, &answer.body).expect("a tile").hashes());
        }
        let tree = Self { checkpoint, level_zero };
        assert_eq!(tree.level_zero.len() as u64, tree.checkpoint.size);
        let root = waxseal_formats::merkle::root(tree.checkpoint.size, |node| tree.node(node)).expect("computed");
        assert_eq!(root, tree.checkpoint.root, "{log}: the tiles are not those of the checkpoint");
        tree
    }

    /// Hashes below a node of the tree, from the leaves up.
    fn node(&self, node: NodeId) -> Result<Hash, String> {
        let missing = || format!("{node:?} is not in the tree");
        let first = usize::try_from(node.index << node.level).expect("small");
        let mut row = self.level_zero.get(first..first + (1 << node.level)).ok_or_else(missing)?.to_vec();
        while row.len() > 1 {
            row = row.chunks(2).map(|pair| waxseal_formats::merkle::node_hash(&pair[0], &pair[1])).collect();
        }
        Ok(row[0])
    }

    fn leaf(&self, index: u64) -> Option<&Hash> {
        self.level_zero.get(usize::try_from(index).expect("small"))
    }

    /// Asserts that this tree extends the one of an older checkpoint.
    fn assert_extends(&self, older: &Checkpoint) {
        let proof = consistency_proof(older.size, self.checkpoint.size, |node| self.node(node)).expect("computed");
        let proof = proof.expect("the tree has not shrunk");
        assert_consistent(older.size, self.checkpoint.size, &proof, &older.root, &self.checkpoint.root);
    }
}

/// Posts entries and certificate requests until the instance is gone, and notes every success.
async fn load(url: String, token: String, task: u64, round: usize, noted: Arc<Mutex<Acknowledged>>) {
    let key = p256();
    let post = |path: &str, body: Value| {
        let request = client().post(format!("{url}{path}")).header("content-type", "application/json");
        try_ask(request.body(body.to_string()))
    };
    let Ok(answer) = post("/api/v2/signingCert", certificate_request(&key, ALICE, &token)).await else { return };
    let leaf = certificates_in(&answer.json()).remove(0);
    for request in 0..REQUESTS {
        if request % 5 == 4 {
            let Ok(answer) = post("/api/v2/signingCert", certificate_request(&key, ALICE, &token)).await else {
                return;
            };
            if answer.status == 200 {
                let leaf = certificates_in(&answer.json()).remove(0);
                let scts = SignedCertificateTimestamp::parse_list(leaf.sct_list().expect("SCTs")).expect("SCTs");
                let index = leaf_index(&scts[0].extensions).expect("an index");
                noted.lock().expect("lock").certificates.push(index);
            }
        } else {
            let message = format!("round {round}, task {task}, request {request}");
            let entry = certified_entry(&key, &leaf, message.as_bytes());
            let Ok(answer) = post("/api/v2/log/entries", entry).await else { return };
            if answer.status == 201 {
                let (index, entry) = Entry::read(&answer.json());
                let before = noted.lock().expect("lock").entries.insert(index, entry);
                assert!(before.is_none(), "index {index} was given out twice");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let home = Home::new();
    let mut up = Up::start(&home);
    up.pin(&home);
    let (address, root) = (up.address(), up.get("/tuf/1.root.json").await.body);
    let token = up.token(&home, &["--identity", ALICE]);
    let (artifact, bundle) = (home.write("file", b"signed before it was killed"), home.text("bundle.json"));
    let url = up.url.clone();
    let sign = ["sign-blob", "--instance", &url, "--bundle", &bundle, "--identity-token", &token, &artifact];
    assert!(home.run(&sign).status.success());

    let noted = Arc::new(Mutex::new(Acknowledged::default()));
    let mut random = Random(SEED);
    let (mut rekor, mut ct) = (Tree::fetch(&up, "").await.checkpoint, None::<Checkpoint>);
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| tokio::spawn(load(up.url.clone(), token.clone(), task, round, Arc::clone(&noted))))
            .collect();
        // The moment is a number of answers, so that every round has some, and a little more.
        let target = acknowledged + 1 + usize::try_from(random.below(40)).expect("small");
        let counted = || noted.lock().expect("lock").entries.len();
        tokio::time::timeout(DEADLINE, async {
            while counted() < target {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("entries are acknowledged");
        tokio::time::sleep(std::time::Duration::from_micros(random.below(20_000))).await;
        up.kill();
        for task in tasks {
            task.await.expect("no task has failed");
        }
        acknowledged = counted();

        up = Up::start_with(&home, &address, &[]);
        let (entries, certificates) = {
            let noted = noted.lock().expect("lock");
            (noted.entries.clone(), noted.certificates.clone())
        };
        let tree = Tree::fetch(&up, "").await;
        assert!(tree.checkpoint.size >= rekor.size);
        tree.assert_extends(&rekor);
        for (index, entry) in &entries {
            assert_eq!(tree.leaf(*index), Some(&entry.leaf), "round {round}: entry {index} is not where it was");
            tree.assert_extends(&entry.checkpoint);
            assert_eq!(entry.log_id, entries[entries.keys().next().expect("one")].log_id, "one log, one key");
            assert!(entry.proof.len() <= 64);
        }
        rekor = tree.checkpoint;
        let tree = Tree::fetch(&up, "/ctlog").await;
        if let Some(older) = &ct {
            assert!(tree.checkpoint.size >= older.size);
            tree.assert_extends(older);
        }
        for index in &certificates {
            assert!(tree.leaf(*index).is_some(), "round {round}: certificate {index} is gone");
        }
        ct = Some(tree.checkpoint);
        assert_eq!(up.get("/tuf/1.root.json").await.body, root);
    }
    let noted = noted.lock().expect("lock");
    assert!(noted.entries.len() > ROUNDS && !noted.certificates.is_empty());
    let mut indices = noted.certificates.clone();
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), noted.certificates.len(), "an index of the certificate log was given out twice");

    // The user notices nothing of it.
    let issuer = format!("{}/idp", up.url);
    let alice = ["--certificate-identity", ALICE, "--certificate-oidc-issuer", &issuer];
    let verify = [&["verify-blob", "--instance", &up.url, "--bundle", &bundle], &alice[..], &[&artifact]].concat();
    assert!(home.run(&verify).status.success());
    let refreshed = home.run(&["trust", "refresh"]);
    assert!(refreshed.status.success(), "{}", String::from_utf8_lossy(&refreshed.stderr));
    assert!(home.run(&sign).status.success());
}

/// A request that was recorded before a crash gets its entry after it, and not a second one.
#[tokio::test]
async fn a_repeated_request_finds_its_entry_after_a_crash() {
    let home = Home::new();
    let mut up = Up::start(&home);
    let key = p256();
    let request = certified_entry(&key, &up.certificate(&key).await, b"once").to_string();
    let first = up.post("/api/v2/log/entries", request.clone()).await;
    assert_eq!(first.status, 201);
    up.kill();
    let up = Up::start(&home);
    let second = up.post("/api/v2/log/entries", request).await;
    assert_eq!(second.status, 201);
    for name in ["logIndex", "canonicalizedBody", "logId"] {
        assert_eq!(second.json()[name], first.json()[name], "{name}");
    }
    assert_eq!(up.mark().await.1, 2);
}

#[tokio::test]
async fn a_second_instance_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let up = Up::start(&home);
    let before = up.mark().await;
    let Err(output) = Up::try_start(&home, "127.0.0.1:0", &[]) else { panic!("two instances, one directory") };
    assert_refused(&output, 1, "log.store-locked");
    assert_eq!(up.get("/readyz").await.status, 200);
    assert_eq!(up.mark().await, (before.0 + 1, before.1 + 1));
}

#[test]
fn a_port_in_use_is_refused_before_anything_is_made() {
    let (first, second) = (Home::new(), Home::new());
    let up = Up::start(&first);
    let Err(output) = Up::try_start(&second, &up.address(), &[]) else { panic!("two instances, one port") };
    assert_refused(&output, 1, "network.listen");
    assert!(!second.path("instance").exists());
}

/// Asserts that an instance is refused for this reason and that its directory stays as it is, to the byte.
fn refused_and_unchanged(home: &Home, data_dir: &Path, more: &[&str], (exit, code): (i32, &str)) {
    let before = files(data_dir);
    let Err(output) = Up::try_start(home, "127.0.0.1:0", more) else { panic!("not refused: {code}") };
    assert_refused(&output, exit, code);
    let after = files(data_dir);
    let paths = before.keys().chain(after.keys()).collect::<BTreeSet<_>>();
    let changed: Vec<_> = paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "{code}, and these were changed: {changed:?}");
}

/// The segments of a log's WAL that hold something.
fn segments(data_dir: &Path, log: &str) -> Vec<PathBuf> {
    let all = files(&data_dir.join("logs").join(log));
    all.into_keys().filter(|path| path.to_string_lossy().contains("wal")).collect()
}

#[tokio::test]
async fn a_flipped_byte_in_the_middle_of_the_wal_is_found_and_nothing_is_changed() {
    for log in ["rekor", "ct"] {
        let home = Home::new();
        let mut up = Up::start(&home);
        for _ in 0..6 {
            up.mark().await;
        }
        up.kill();
        let segments = segments(&up.data_dir, log);
        assert!(!segments.is_empty(), "{:?}", files(&up.data_dir).keys());
        let path = segments.last().expect("one");
        let whole = std::fs::read(path).expect("segment");
        // In the middle of what was written, and in a record: it is padded with zeros, of which nothing depends.
        let end = whole.iter().rposition(|byte| *byte != 0).expect("records");
        let middle = (end / 2..end).find(|place| whole[*place] != 0).expect("a record");
        let mut damaged = whole.clone();
        damaged[middle] ^= 0x40;
        std::fs::write(path, &damaged).expect("written");
        refused_and_unchanged(&home, &up.data_dir, &[], (1, "log.store-corrupt"));
        // It was that byte and nothing else.
        std::fs::write(path, &whole).expect("written");
        let up = Up::start(&home);
        assert_eq!(up.mark().await, (6, 7));
    }
}

#[test]
fn what_is_missing_is_not_made_anew() {
    let home = Home::new();
    let mut up = Up::start(&home);
    up.kill();
    let keys = [
        "ca",
        "ca-root",
        "tsa",
        "tsa-root",
        "ct",
        "rekor",
        "rekor-v1",
        "idp",
        "tuf-timestamp",
        "tuf-snapshot",
        "tuf-targets",
    ];
    let keys = keys.map(|name| up.data_dir.join(format!("keys/{name}.pem")));
    let others = ["owner-secret", "tuf/1.root.json"].map(|name| up.data_dir.join(name));
    for path in keys.into_iter().chain(others).chain(files(&up.data_dir.join("certificates")).into_keys()) {
        let aside = home.path("aside");
        std::fs::rename(&path, &aside).expect("moved");
        refused_and_unchanged(&home, &up.data_dir, &[], (1, "input.malformed"));
        std::fs::rename(&aside, &path).expect("moved back");
    }
    Up::start(&home);
}

#[test]
fn a_whole_directory_without_its_logs_is_refused() {
    let home = Home::new();
    let mut up = Up::start(&home);
    up.kill();
    for log in ["ct", "rekor", "rekor-v1"] {
        let (path, aside) = (up.data_dir.join("logs").join(log), home.path("aside"));
        std::fs::rename(&path, &aside).expect("moved");
        refused_and_unchanged(&home, &up.data_dir, &[], (1, "log.store-failed"));
        std::fs::rename(&aside, &path).expect("moved back");
    }
    Up::start(&home);
}

#[test]
fn what_up_does_not_do_is_wrong_usage() {
    for (listen, more) in [
        ("0.0.0.0:0", &[][..]),
        ("[::]:0", &[]),
        ("192.0.2.1:7480", &[]),
        ("127.0.0.1:0", &["--public-url", "https://sign.example/below"]),
        ("127.0.0.1:0", &["--privacy", "none"]),
        ("nowhere", &[]),
    ] {
        let home = Home::new();
        let Err(output) = Up::try_start(&home, listen, more) else { panic!("{listen} {more:?}") };
        assert_refused(&output, 2, "usage");
        assert!(!home.path("instance").exists());
    }
}

/// The instance's host is the name of its logs: it cannot be moved to another one by accident.
#[test]
fn a_directory_belongs_to_its_host() {
    let home = Home::new();
    let mut up = Up::start(&home);
    up.kill();
    let url = ["--public-url", "http://sign.example"];
    refused_and_unchanged(&home, &up.data_dir, &url, (2, "usage"));
    // What was sealed has nothing to open.
    refused_and_unchanged(&home, &up.data_dir, &["--privacy", "open"], (2, "usage"));
}
