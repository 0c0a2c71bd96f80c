//! Freezing and sharding: what was logged stays verifiable, who writes meets no gap, and a crash leaves the old state or the new.

use super::oracles::assert_included;
use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use waxseal_formats::json::decode_base64;
use waxseal_formats::merkle::Hash;
use waxseal_formats::signing_config::ClientTrustConfig;
use waxseal_formats::trusted_root::TrustedRoot;

/// Clients that post at the same time.
const CLIENTS: usize = 6;

/// Runs `waxseal log` on the instance's directory.
fn log(home: &Home, data_dir: &Path, arguments: &[&str]) -> Output {
    let directory = data_dir.display().to_string();
    home.run(&[&["--output", "json", "log", arguments[0], "--data-dir", &directory], &arguments[1..]].concat())
}

/// As [`log`], and what it answers.
fn ordered(home: &Home, data_dir: &Path, arguments: &[&str]) -> Value {
    let output = log(home, data_dir, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn trust(up: &Up) -> ClientTrustConfig {
    ClientTrustConfig::from_json(&up.get("/trust-config.json").await.body).expect("a config")
}

/// Checks an answer as a verifier does that has nothing but the trusted root; returns the log and the index.
fn verified(root: &TrustedRoot, host: &str, answer: &Value) -> (Vec<u8>, u64) {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let bytes = |value: &Value| decode_base64(&text(value)).expect("base64");
    let number = |value: &Value| text(value).parse::<u64>().expect("a number");
    let log_id = bytes(&answer["logId"]["keyId"]);
    let log = root.tlogs.iter().find(|log| log.log_id == log_id).expect("a log of the trusted root");
    let proof = &answer["inclusionProof"];
    let signed = SignedCheckpoint::parse(&text(&proof["checkpoint"]["envelope"])).expect("a checkpoint");
    let key_id = log_id.clone().try_into().expect("32 bytes");
    signed.verify(host, &key_id, &log.public_key).expect("signed by that log");
    let hashes: Vec<Hash> = proof["hashes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|hash| bytes(hash).try_into().expect("a hash"))
        .collect();
    let (index, body) = (number(&answer["logIndex"]), bytes(&answer["canonicalizedBody"]));
    let checkpoint = signed.checkpoint;
    assert_included(&body, index, checkpoint.size, &hashes, &checkpoint.root);
    (log_id, index)
}

/// Starts an instance again that takes entries from anybody.
fn again(home: &Home, up: &Up) -> Up {
    Up::start_with(home, &up.address(), &["--rules", &home.text("rules.yaml")])
}

/// Posts entries until it is told to stop; every answer has to be the one that clients take.
async fn write(url: String, client: usize, stop: Arc<AtomicBool>) -> Vec<Value> {
    let key = p256();
    let mut answers = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let entry = entry_request(&key, format!("client {client} entry {number}").as_bytes());
        let request = super::client().post(format!("{url}/api/v2/log/entries")).body(entry.to_string());
        let answer = ask(request.header("content-type", "application/json")).await;
        assert_eq!(answer.status, 201, "client {client} entry {number}: {}", answer.text());
        answers.push(answer.json());
    }
    answers
}

struct Signed {
    artifact: String,
    bundle: String,
}

impl Signed {
    fn new(home: &Home, up: &Up, name: &str) -> Self {
        let token = up.token(home, &["--identity", ALICE]);
        let signed = Self { artifact: home.write(name, name), bundle: home.text(&format!("{name}.json")) };
        let fixed = ["sign-blob", "--instance", &up.url, "--bundle", &signed.bundle, "--identity-token", &token];
        let output = home.run(&[&fixed[..], &[&signed.artifact]].concat());
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        signed
    }

    fn verify(&self, home: &Home, up: &Up) {
        let issuer = format!("{}/idp", up.url);
        let alice = ["--certificate-identity", ALICE, "--certificate-oidc-issuer", &issuer];
        let fixed = ["verify-blob", "--instance", &up.url, "--bundle", &self.bundle];
        let output = home.run(&[&fixed[..], &alice, &[&self.artifact]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn log_id(&self) -> Vec<u8> {
        let bundle: Value = serde_json::from_slice(&std::fs::read(&self.bundle).expect("bundle")).expect("JSON");
        let id = &bundle["verificationMaterial"]["tlogEntries"][0]["logId"]["keyId"];
        decode_base64(id.as_str().expect("text")).expect("base64")
    }
}

fn hex_bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hexadecimal")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_shard_takes_over_under_load_and_everything_verifies_with_one_trusted_root() {
    let home = Arc::new(Home::new());
    let mut up = Up::start_writing(&home, "writes: any", &[]);
    up.pin(&home);
    let before = Signed::new(&home, &up, "before");
    let timestamp = up.get("/tuf/timestamp.json").await.json()["signed"]["version"].as_u64().expect("a version");
    assert_eq!(std::fs::metadata(up.data_dir.join("admin.sock")).expect("socket").permissions().mode() & 0o777, 0o600);

    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..CLIENTS).map(|client| tokio::spawn(write(up.url.clone(), client, Arc::clone(&stop)))).collect();
    let (ordering, data_dir) = (Arc::clone(&home), up.data_dir.clone());
    let done = tokio::task::spawn_blocking(move || ordered(&ordering, &data_dir, &["shard", "--settle", "2"]));
    // Our own client signs meanwhile; it may be asked before and after the exchange.
    let mut during = Vec::new();
    while !done.is_finished() {
        during.push(tokio::task::block_in_place(|| Signed::new(&home, &up, &format!("during-{}", during.len()))));
    }
    let done = done.await.expect("task")["sharded"].clone();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut answers = Vec::new();
    for writer in writers {
        answers.extend(writer.await.expect("a client that never failed"));
    }
    let after = Signed::new(&home, &up, "after");

    // Every entry verifies against what is published now, whichever shard has it.
    let config = trust(&up).await;
    let root = &config.trusted_root;
    let (old, new) = (hex_bytes(&done["former"]["log_id"]), hex_bytes(&done["active"]["log_id"]));
    let mut indices: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
    for answer in &answers {
        let (log_id, index) = verified(root, "127.0.0.1", answer);
        indices.entry(log_id).or_default().push(index);
    }
    assert_eq!(indices.keys().collect::<std::collections::BTreeSet<_>>(), [&old, &new].into_iter().collect());
    let last = indices[&old].iter().max().expect("entries before");
    assert!(done["former"]["entries"].as_u64().expect("a number") > *last, "{done}");
    // Entry 0 of the new shard is its own (fact 5).
    assert!(indices.values().all(|indices| !indices.contains(&0)));
    assert_eq!((before.log_id(), after.log_id()), (old.clone(), new.clone()));
    for signed in [&before, &after].into_iter().chain(&during) {
        signed.verify(&home, &up);
    }

    // What clients are told: one log to write to, all of them to verify with.
    let v2: Vec<_> = config.signing_config.rekor_tlog_urls.iter().filter(|log| log.major_api_version == 2).collect();
    let v1: Vec<_> = config.signing_config.rekor_tlog_urls.iter().filter(|log| log.major_api_version == 1).collect();
    assert_eq!((v2.len(), v1.len(), &v2[0].url), (1, 1, &up.url));
    assert!(v2[0].valid_for.start > v1[0].valid_for.start, "sigstore-js takes the one that began last");
    let log = |id: &[u8]| root.tlogs.iter().find(|log| log.log_id == id).expect("listed");
    let (frozen, active) = (log(&old), log(&new));
    assert_eq!((&frozen.base_url, &active.base_url), (&format!("{}/shard/1", up.url), &up.url));
    assert!(frozen.valid_for.end.is_some() && active.valid_for.end.is_none());
    assert!(up.get("/tuf/timestamp.json").await.json()["signed"]["version"].as_u64().expect("a version") > timestamp);

    addresses(&up, &done).await;

    // A crash changes nothing of it.
    up.kill();
    let up = again(&home, &up);
    let restarted = trust(&up).await;
    assert_eq!(restarted, config);
    for signed in [&before, &after] {
        signed.verify(&home, &up);
    }
    addresses(&up, &done).await;
    let answer = up.post("/api/v2/log/entries", entry_request(&p256(), b"later").to_string()).await;
    assert_eq!(verified(&restarted.trusted_root, "127.0.0.1", &answer.json()).0, new);
}

/// Where the shards are read, and where nothing is written any more.
async fn addresses(up: &Up, done: &Value) {
    let last = up.checkpoint("/shard/1").await;
    assert_eq!(Some(last.checkpoint.size), done["former"]["entries"].as_u64());
    assert_eq!(hex::encode(last.checkpoint.root), done["former"]["root"].as_str().expect("text"));
    for path in ["/shard/1/checkpoint", "/shard/1/api/v2/checkpoint"] {
        assert_eq!(SignedCheckpoint::parse(&up.get(path).await.text()).expect("a checkpoint"), last);
    }
    let size = up.size_reaching("", 1).await;
    assert!(up.checkpoint("/shard/2").await.checkpoint.size >= size);
    for path in ["/shard/1/tile/0/000", "/shard/1/api/v2/tile/0/000"] {
        let width = last.checkpoint.size.min(256);
        let path = if width < 256 { format!("{path}.p/{width}") } else { path.to_owned() };
        let tile = up.get(&path).await;
        assert_eq!((tile.status, tile.body.len() as u64), (200, 32 * width), "{path}");
        assert!(tile.header("cache-control").contains("immutable"), "{path}");
    }
    // At `/` another tree was served yesterday.
    let size = size.min(256);
    let tile = up.get(&if size < 256 { format!("/tile/0/000.p/{size}") } else { "/tile/0/000".to_owned() }).await;
    assert_eq!((tile.status, tile.header("cache-control")), (200, "no-cache"));
    for path in ["/shard/0", "/shard/3", "/shard/01", "/shard/+1", "/shard/one", "/shard/4294967297"] {
        assert_eq!(up.get(&format!("{path}/checkpoint")).await.status, 404, "{path}");
        assert_eq!(up.post(&format!("{path}/api/v2/log/entries"), "{}").await.status, 404, "{path}");
    }
    let entry = entry_request(&p256(), b"too late").to_string();
    let refused = up.post("/shard/1/api/v2/log/entries", entry).await;
    assert_eq!((refused.status, refused.code(), refused.json()["code"].as_u64()), (405, "log.frozen".into(), Some(12)));
    assert_eq!((refused.media_type(), refused.headers.contains_key("allow")), ("application/json", true));
    assert!(refused.json()["message"].as_str().expect("text").contains("newest"), "{}", refused.text());
    assert_eq!(up.get("/shard/1/api/v2/log/entries").await.status, 501);
}

#[tokio::test]
async fn a_stopped_instance_is_frozen_and_sharded_too() {
    let home = Home::new();
    let mut up = Up::start_writing(&home, "writes: any", &[]);
    up.pin(&home);
    let before = Signed::new(&home, &up, "before");
    up.kill();
    let frozen = ordered(&home, &up.data_dir, &["freeze"])["frozen"].clone();
    assert_eq!((frozen["already"].as_bool(), frozen["log"]["frozen"].as_bool()), (Some(false), Some(true)), "{frozen}");
    assert_eq!(frozen["log"]["url"], json!(up.url));
    assert_eq!(ordered(&home, &up.data_dir, &["freeze"])["frozen"]["already"], json!(true));

    let mut up = again(&home, &up);
    let entry = entry_request(&p256(), b"entry").to_string();
    let refused = up.post("/api/v2/log/entries", entry.clone()).await;
    assert_eq!((refused.status, refused.code()), (405, "log.frozen".to_owned()));
    assert!(refused.json()["message"].as_str().expect("text").contains("newest log"), "{}", refused.text());
    let offered = trust(&up).await.signing_config.rekor_tlog_urls;
    assert_eq!(offered.iter().map(|log| log.major_api_version).collect::<Vec<_>>(), [1], "clients are sent to v1");
    before.verify(&home, &up);

    up.kill();
    let done = ordered(&home, &up.data_dir, &["shard"])["sharded"].clone();
    assert_eq!((done["former"]["shard"].as_u64(), done["active"]["shard"].as_u64()), (Some(1), Some(2)), "{done}");
    assert_eq!(done["former"]["log_id"], frozen["log"]["log_id"]);
    ordered(&home, &up.data_dir, &["fsck"]);
    let marker = up.data_dir.join("logs/rekor/frozen");
    let content = std::fs::read_to_string(&marker).expect("the marker");
    std::fs::write(&marker, content.replacen("127.0.0.1", "127.0.0.2", 1)).expect("written");
    assert_refused(&log(&home, &up.data_dir, &["fsck"]), 1, "log.store-corrupt");
    std::fs::write(&marker, content).expect("written");
    let up = again(&home, &up);
    let answer = up.post("/api/v2/log/entries", entry).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let root = trust(&up).await.trusted_root;
    assert_eq!(verified(&root, "127.0.0.1", &answer.json()), (hex_bytes(&done["active"]["log_id"]), 1));
    before.verify(&home, &up);
}

/// The order breaks off at its two sides: before `instance.json` lists the new shard, and after it.
#[tokio::test]
async fn a_crash_leaves_the_old_shard_or_the_new_one() {
    let home = Home::new();
    let mut up = Up::start_writing(&home, "writes: any", &[]);
    let before = trust(&up).await;
    let directory = up.data_dir.display().to_string();
    let mut ordering = home.command(&["log", "shard", "--data-dir", &directory, "--settle", "600"]);
    let mut ordering = ordering.stderr(Stdio::null()).spawn().expect("waxseal runs");
    // Published, and not yet in use.
    for _ in 0..POLLS {
        if trust(&up).await != before {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let announced = trust(&up).await.trusted_root;
    assert_eq!(announced.tlogs.len(), before.trusted_root.tlogs.len() + 1);
    up.kill();
    assert!(!ordering.wait().expect("ended").success());

    let up2 = again(&home, &up);
    assert_eq!(trust(&up2).await, before, "as if nothing had been ordered");
    assert_eq!(up2.get("/shard/2/checkpoint").await.status, 404);
    up = up2;
    // What was left of the shard is taken up.
    let done = ordered(&home, &up.data_dir, &["shard", "--settle", "0"])["sharded"].clone();
    let id = hex_bytes(&done["active"]["log_id"]);
    assert!(announced.tlogs.iter().any(|log| log.log_id == id), "{done}");
    let answer = up.post("/api/v2/log/entries", entry_request(&p256(), b"entry").to_string()).await;
    let root = trust(&up).await.trusted_root;
    assert_eq!(verified(&root, "127.0.0.1", &answer.json()), (id, 1));
    up.kill();

    // `instance.json` lists the new shard, and the process died before the old one was frozen.
    let marker = up.data_dir.join("logs/rekor/frozen");
    let content = std::fs::read(&marker).expect("the marker");
    std::fs::remove_file(&marker).expect("removed");
    let up = again(&home, &up);
    assert_eq!(std::fs::read(&marker).expect("frozen at the start"), content);
    addresses(&up, &done).await;
}

#[tokio::test]
async fn the_certificate_log_and_rekor_v1_are_frozen_on_demand() {
    let home = Home::new();
    let up = Up::start(&home);
    up.pin(&home);
    let signed = Signed::new(&home, &up, "before");
    let key = p256();
    let request = certificate_request(&key, ALICE, &up.signed(&up.claims(ALICE)));
    let chain = certificates(&up.post("/api/v2/signingCert", request.to_string()).await);
    let entry = rekor_v1::hashedrekord(&key, &chain[0].to_pem(), b"too late").to_string();
    let chain = json!({"chain": chain.iter().map(|one| STANDARD.encode(one.der())).collect::<Vec<_>>()}).to_string();
    assert_refused(&log(&home, &up.data_dir, &["freeze", "--log", "ct"]), 2, "usage");
    assert_eq!(up.get("/readyz").await.status, 200);
    let done = ordered(&home, &up.data_dir, &["freeze", "--log", "ct", "--yes"])["frozen"]["log"].clone();
    assert_eq!((done["name"].as_str(), done["frozen"].as_bool()), (Some("ct"), Some(true)), "{done}");
    assert_eq!(Some(up.checkpoint("/ctlog").await.checkpoint.size), done["entries"].as_u64());
    let request = certificate_request(&key, ALICE, &up.signed(&up.claims(ALICE)));
    let refused = up.post("/api/v2/signingCert", request.to_string()).await;
    assert_eq!((refused.status, refused.code()), (500, "log.frozen".to_owned()), "{}", refused.text());
    assert!(refused.text().contains("no certificates"), "{}", refused.text());
    let ready = up.get("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert_eq!(object(ready.json()["failed"].clone()).keys().collect::<Vec<_>>(), ["certificate log"]);
    // Only the precertificate was logged so far.
    let refused = up.post("/ctlog/ct/v1/add-chain", chain).await;
    assert_eq!((refused.status, refused.media_type()), (403, "text/plain"), "{}", refused.text());
    assert!(refused.text().starts_with("[log.frozen] "), "{}", refused.text());

    let done = ordered(&home, &up.data_dir, &["freeze", "--log", "rekor-v1"])["frozen"]["log"].clone();
    assert_eq!(done["name"].as_str(), Some("rekor-v1"), "{done}");
    let refused = up.post("/api/v1/log/entries", entry).await;
    assert_eq!(
        (refused.status, refused.code(), refused.json()["code"].as_u64()),
        (405, "log.frozen".into(), Some(405))
    );
    assert_eq!(up.get("/api/v1/log").await.json()["treeSize"], done["entries"]);
    let config = trust(&up).await;
    assert!(config.trusted_root.ctlogs[0].valid_for.end.is_some());
    assert_eq!(config.signing_config.rekor_tlog_urls.len(), 1);
    signed.verify(&home, &up);
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let home = Home::new();
    let nowhere = home.path("nowhere");
    assert_refused(&log(&home, &nowhere, &["shard"]), 1, "input.unreadable");
    std::fs::create_dir(&nowhere).expect("made");
    assert_refused(&log(&home, &nowhere, &["freeze"]), 1, "input.unreadable");
    assert_eq!(std::fs::read_dir(&nowhere).expect("directory").count(), 0, "nothing was made");
    for wrong in [&["freeze", "--log", "tuf"][..], &["shard", "--log", "ct"], &["shard", "--settle", "601"], &["thaw"]]
    {
        assert_refused(&log(&home, &nowhere, wrong), 2, "usage");
    }
}
