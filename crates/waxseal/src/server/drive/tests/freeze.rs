//! Freezing, and the crashes around its marker.

use super::*;
use crate::server::drive::open::Assembled;
use crate::server::drive::{DriveError, Reading, lock};
use waxseal_formats::crypto::{Digest, PublicKey};
use waxseal_io::disk::memory::MemoryDisk;
use waxseal_io::signer::SignerError;

/// A signer that must not be asked.
struct Mute(PublicKey);

impl Signer for Mute {
    fn public_key(&self) -> &PublicKey {
        &self.0
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignerError> {
        panic!("a frozen log signs")
    }

    fn sign_digest(&self, _: &Digest) -> Result<Vec<u8>, SignerError> {
        panic!("a frozen log signs")
    }
}

impl Fixture {
    /// Opens the log with a key that cannot sign.
    fn open_mute(&self) -> Log {
        let key = Arc::new(Mute(self.key.public_key().clone()));
        Log::open(self.path(), self.profile(), key, self.settings.clone()).expect("opened")
    }

    fn marker(&self) -> std::path::PathBuf {
        self.path().join("frozen")
    }
}

/// Where blocking is allowed.
async fn freeze(log: &LogHandle) -> crate::server::drive::Head {
    let log = log.clone();
    tokio::task::spawn_blocking(move || log.freeze()).await.expect("task").expect("frozen")
}

/// A frozen log refuses, and serves everything else.
async fn is_frozen(fixture: &Fixture, log: &LogHandle, entries: &BTreeMap<u64, String>) {
    assert!(log.is_frozen());
    let error = log.append(entry("late")).await.expect_err("refused");
    assert!(matches!(error, AppendError::Frozen));
    assert_eq!(error.code(), Code::LOG_FROZEN);
    let head = log.published();
    assert_eq!((head.size, &head), (entries.len() as u64, &log.head()));
    let signed = SignedCheckpoint::parse(&head.note).expect("checkpoint");
    fixture.profile().verify(&signed).expect("signature");
    assert_eq!((signed.checkpoint.size, signed.checkpoint.root), (head.size, head.root));
    for (index, text) in entries {
        let (leaf, proof) = log.inclusion(*index, head.size).await.expect("proof");
        assert_eq!(leaf, leaf_hash(text.as_bytes()));
        verify_inclusion(*index, head.size, &leaf, &proof, &head.root).expect("included");
        let tile = TileId::in_tree(TileKind::Entries, index / 256, head.size).expect("a tile");
        assert!(log.tile(tile).await.expect("readable").is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_queued_is_finished_and_nothing_follows() {
    let fixture = Arc::new(Fixture::new());
    let log = fixture.open();
    let handle = log.handle();
    let appending: Vec<_> = (0..600)
        .map(|n| {
            let handle = handle.clone();
            tokio::spawn(async move { (n, handle.append(entry(&format!("entry {n}"))).await) })
        })
        .collect();
    while handle.head().size == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let head = freeze(&handle).await;
    let mut entries = BTreeMap::new();
    for task in appending {
        match task.await.expect("task") {
            (n, Ok(appended)) => assert_eq!(entries.insert(appended.index, format!("entry {n}")), None),
            (_, Err(error)) => assert_eq!(error.code(), Code::LOG_FROZEN),
        }
    }
    // Every acknowledged entry is in the last tree, and no other one.
    assert_eq!(head.size, entries.len() as u64);
    is_frozen(&fixture, &handle, &entries).await;
    assert_eq!(fs::read_to_string(fixture.marker()).expect("marker"), &*head.note);
    assert_eq!(fs::read_to_string(fixture.path().join("public/checkpoint")).expect("checkpoint"), &*head.note);
    assert_eq!(freeze(&handle).await, head, "freezing again changes nothing");
    drop(log);

    let log = fixture.open_mute();
    is_frozen(&fixture, &log.handle(), &entries).await;
    assert_eq!(freeze(&log.handle()).await, head);
    log.close();
}

#[tokio::test]
async fn a_log_without_entries_keeps_its_first_checkpoint() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let head = freeze(&log.handle()).await;
    assert_eq!(head.size, 0);
    drop(log);
    let log = fixture.open_mute();
    is_frozen(&fixture, &log.handle(), &BTreeMap::new()).await;
    assert_eq!(log.handle().published().note, head.note);
}

#[tokio::test]
async fn a_crash_before_the_marker_leaves_a_log_that_runs_and_one_after_it_a_frozen_one() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let mut entries = append_all(&fixture, &log.handle(), (0..300).map(|n| format!("entry {n}"))).await;
    published(&log.handle()).await;
    freeze(&log.handle()).await;
    drop(log);
    // The marker was written beside its name and never renamed: that is no marker.
    fs::rename(fixture.marker(), fixture.path().join("frozen.new")).expect("renamed");
    let log = fixture.open();
    assert!(!log.handle().is_frozen());
    let appended = append(&fixture, &log.handle(), "one more").await;
    entries.insert(appended.index, "one more".into());
    freeze(&log.handle()).await;
    drop(log);
    // What readers are given is there again although its files were lost together with the directory's cache.
    fs::remove_file(fixture.path().join("public/checkpoint")).expect("removed");
    let log = fixture.open_mute();
    is_frozen(&fixture, &log.handle(), &entries).await;
    assert!(fixture.path().join("public/checkpoint").exists());
}

#[tokio::test]
async fn a_log_that_grew_behind_its_marker_is_refused() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append_all(&fixture, &log.handle(), (0..10).map(|n| format!("entry {n}"))).await;
    freeze(&log.handle()).await;
    drop(log);
    let marker = fs::read(fixture.marker()).expect("marker");
    fs::remove_file(fixture.marker()).expect("removed");
    let log = fixture.open();
    append(&fixture, &log.handle(), "forbidden").await;
    log.close();
    let refused = || {
        let error = fixture.refused();
        assert!(matches!(&error, DriveError::Object { name, .. } if name.ends_with("frozen")), "{error}");
        assert_eq!(error.code(), Code::LOG_STORE_CORRUPT);
    };
    for content in [&marker[..], b"", b"garbage", &marker[..marker.len() - 1]] {
        fs::write(fixture.marker(), content).expect("written");
        refused();
    }
    let other = String::from_utf8(marker).expect("text").replacen("\n10\n", "\n11\n", 1);
    fs::write(fixture.marker(), other).expect("written");
    refused();
}

#[tokio::test]
async fn a_stopped_log_is_not_frozen() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let handle = log.handle();
    drop(log);
    let stopped = handle.clone();
    let error = tokio::task::spawn_blocking(move || stopped.freeze()).await.expect("task").expect_err("stopped");
    assert_eq!(error.code(), Code::LOG_STORE_FAILED);
    assert!(!handle.is_frozen() && !fixture.marker().exists());
}

/// A log in memory that is frozen with one entry in its queue, step by step; whether the entry was acknowledged, and whether the
/// freezing was.
fn freeze_in_memory(fixture: &Fixture, disk: &MemoryDisk) -> (bool, bool) {
    let Ok(assembled) = in_memory(fixture, disk).assemble() else { return (false, false) };
    let Assembled { handle, mut driver, mut publisher, .. } = assembled;
    let mut answer = handle.0.enqueue(entry("queued")).expect("queued");
    lock(&handle.0.queue).frozen = true;
    let batch = handle.0.next_batch();
    if driver.step(batch).is_break() {
        return (false, false);
    }
    let acknowledged = matches!(answer.try_recv(), Ok(Ok(_)));
    assert!(handle.0.next_batch().is_empty());
    handle.0.finish_freezing();
    if publisher.step().is_continue() {
        assert!(publisher.freeze().is_break(), "frozen, or failed for good");
    }
    (acknowledged, handle.is_frozen())
}

fn in_memory(fixture: &Fixture, disk: &MemoryDisk) -> Reading {
    let settings = Settings { disk: Arc::new(disk.clone()), ..fixture.settings.clone() };
    Log::read(Path::new("/log"), fixture.profile(), fixture.key.clone(), settings).expect("readable")
}

/// A log in memory with two entries, closed.
fn disk_in_memory(fixture: &Fixture) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let settings = Settings { disk: Arc::new(disk.clone()), ..fixture.settings.clone() };
    Log::create(Path::new("/log"), &fixture.profile(), &settings).expect("created");
    let Assembled { handle, mut driver, mut publisher, .. } = in_memory(fixture, &disk).assemble().expect("opened");
    for text in ["one", "two"] {
        drop(handle.0.enqueue(entry(text)).expect("queued"));
        assert!(driver.step(handle.0.next_batch()).is_continue());
    }
    assert!(publisher.step().is_continue());
    disk
}

#[test]
fn a_power_cut_after_every_operation_leaves_a_log_that_is_frozen_or_runs() {
    let fixture = Fixture::new();
    let made = disk_in_memory(&fixture);
    let mut seen = [0, 0];
    for seed in 0..10 {
        for n in 1.. {
            let disk = made.copy();
            disk.stop_at(n);
            let (acknowledged, frozen) = freeze_in_memory(&fixture, &disk);
            let done = disk.failure().is_none();
            disk.power_cut(seed);
            let Assembled { handle, .. } = in_memory(&fixture, &disk).assemble().expect("opened");
            assert!(handle.is_frozen() || !frozen, "{n}, {seed}: it was frozen");
            assert!(handle.head().size == 3 || !acknowledged && !frozen, "{n}, {seed}: an entry is lost");
            assert!(handle.head().size == 3 || !handle.is_frozen());
            assert_eq!(handle.published(), handle.head());
            seen[usize::from(handle.is_frozen())] += 1;
            if done {
                assert!(acknowledged && frozen);
                break;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn the_marker_needs_its_syncs() {
    let fixture = Fixture::new();
    let made = disk_in_memory(&fixture);
    let syncs = [Path::new("/log/frozen.new"), Path::new("/log")];
    for path in syncs {
        let lost = (0..50).any(|seed| {
            let disk = made.copy();
            disk.ignore(move |_, at| at == path);
            let (_, frozen) = freeze_in_memory(&fixture, &disk);
            assert!(frozen && disk.ignored() > 0, "{}", path.display());
            disk.power_cut(seed);
            let settings = Settings { disk: Arc::new(disk), ..fixture.settings.clone() };
            let read = Log::read(Path::new("/log"), fixture.profile(), fixture.key.clone(), settings);
            read.and_then(Reading::assemble).map_or(true, |opened| !opened.handle.is_frozen())
        });
        assert!(lost, "without the sync of {} nothing is lost", path.display());
    }
}
