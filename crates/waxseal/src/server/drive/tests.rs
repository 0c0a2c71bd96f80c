//! The driver on real files.

mod freeze;
mod lookup;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::KeyKind;
use waxseal_formats::merkle::{self, leaf_hash, verify_consistency, verify_inclusion};
use waxseal_formats::tile::{TileId, TileKind, parse_bundle};
use waxseal_io::disk::OsDisk;
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_log::pool::Limits;
use waxseal_log::profile::{Bodies, Face, Profile};
use waxseal_log::sequencer::NewEntry;

use super::{AppendError, Appended, Log, LogHandle, Settings};

struct Fixture {
    face: Face,
    bodies: Bodies,
    directory: tempfile::TempDir,
    key: Arc<KeyPair>,
    settings: Settings,
    failures: Arc<AtomicUsize>,
}

impl Fixture {
    /// How often the log said that it cannot go on, once it has: whoever waited is let go a moment before.
    async fn failures(&self) -> usize {
        for _ in 0..2000 {
            if self.failures.load(Ordering::SeqCst) > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.failures.load(Ordering::SeqCst)
    }

    fn new() -> Self {
        Self::of(Face::RekorV2, Bodies::Kept, |_| ())
    }

    fn of(face: Face, bodies: Bodies, change: impl FnOnce(&mut Settings)) -> Self {
        let failures = Arc::new(AtomicUsize::new(0));
        let count = failures.clone();
        let mut settings = Settings {
            publish_interval: Duration::from_millis(5),
            // Small, so that tests see several segments.
            first_segment: 16 << 10,
            max_segment: 64 << 10,
            on_failure: Arc::new(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            }),
            ..Settings::default()
        };
        change(&mut settings);
        let kind = if face == Face::RekorV2 { KeyKind::Ed25519 } else { KeyKind::EcdsaP256 };
        let fixture = Self {
            face,
            bodies,
            directory: tempfile::tempdir().expect("directory"),
            key: Arc::new(KeyPair::generate(kind).expect("key")),
            settings,
            failures,
        };
        Log::create(fixture.path(), &fixture.profile(), &fixture.settings).expect("created");
        fixture
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn profile(&self) -> Profile {
        Profile {
            origin: "log.example".into(),
            key: self.key.public_key().clone(),
            face: self.face,
            bodies: self.bodies,
        }
    }

    fn open(&self) -> Log {
        self.open_at(self.path()).expect("opened")
    }

    fn open_at(&self, path: &Path) -> Result<Log, super::DriveError> {
        Log::open(path, self.profile(), self.key.clone(), self.settings.clone())
    }

    fn refused(&self) -> super::DriveError {
        self.open_at(self.path()).map(|_| ()).expect_err("refused")
    }

    fn segments(&self) -> Vec<std::path::PathBuf> {
        let numbers = waxseal_io::store::segments(&OsDisk, self.path()).expect("segments");
        numbers.iter().map(|number| self.path().join("wal").join(format!("{number:016x}"))).collect()
    }
}

fn entry(text: &str) -> NewEntry {
    NewEntry::leaf(text.as_bytes().to_vec()).expect("fits")
}

/// Appends and checks everything that an answer promises.
async fn append(fixture: &Fixture, log: &LogHandle, text: &str) -> Appended {
    let appended = log.append(entry(text)).await.expect("logged");
    assert_eq!(appended.leaf_hash, leaf_hash(text.as_bytes()));
    let head = &appended.head;
    verify_inclusion(appended.index, head.size, &appended.leaf_hash, &appended.proof, &head.root).expect("proof");
    let signed = SignedCheckpoint::parse(&head.note).expect("checkpoint");
    fixture.profile().verify(&signed).expect("signature");
    assert_eq!((signed.checkpoint.size, signed.checkpoint.root), (head.size, head.root));
    appended
}

async fn append_all(fixture: &Fixture, log: &LogHandle, texts: impl Iterator<Item = String>) -> BTreeMap<u64, String> {
    let mut entries = BTreeMap::new();
    for text in texts {
        let appended = append(fixture, log, &text).await;
        assert_eq!(entries.insert(appended.index, text), None);
    }
    entries
}

/// Waits until everything that is committed is published.
async fn published(log: &LogHandle) {
    for _ in 0..2000 {
        if log.published().size == log.head().size {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("not published within four seconds");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("directory");
    for item in fs::read_dir(from).expect("directory").map(|item| item.expect("item")) {
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy(&item.path(), &target);
        } else {
            match fs::copy(item.path(), target) {
                // Published files come and go while the log runs.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                result => drop(result.expect("copied")),
            }
        }
    }
}

#[tokio::test]
async fn an_entry_is_answered_with_a_proof_and_a_signed_checkpoint() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let handle = log.handle();
    assert_eq!(handle.head().size, 0);
    let entries = append_all(&fixture, &handle, (0..20).map(|n| format!("entry {n}"))).await;
    assert_eq!(entries.keys().copied().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert_eq!(handle.head().size, 20);
    log.close();
    assert!(matches!(handle.append(entry("late")).await, Err(AppendError::Stopped)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_entries_get_different_indices_and_survive() {
    let fixture = Arc::new(Fixture::new());
    let log = fixture.open();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (fixture, handle) = (fixture.clone(), log.handle());
            let texts = (0..100).map(move |n| format!("task {task} entry {n}"));
            tokio::spawn(async move { append_all(&fixture, &handle, texts).await })
        })
        .collect();
    let mut entries = BTreeMap::new();
    for task in tasks {
        for (index, text) in task.await.expect("task") {
            assert_eq!(entries.insert(index, text), None);
        }
    }
    assert_eq!(entries.keys().copied().collect::<Vec<_>>(), (0..800).collect::<Vec<_>>());
    log.close();
    assert!(fixture.segments().len() > 2);

    let log = fixture.open();
    let handle = log.handle();
    assert_eq!(handle.head().size, 800);
    // Submitted again: the original index, a proof out of the published tiles.
    for (index, text) in &entries {
        let again = append(&fixture, &handle, text).await;
        assert_eq!((again.index, again.head.size), (*index, 800));
    }
    append(&fixture, &handle, "another").await;
    assert_eq!(append(&fixture, &handle, &entries[&3]).await.head.size, 801);
}

#[tokio::test]
async fn a_repeated_entry_keeps_its_time() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let first = append(&fixture, &log.handle(), "a").await;
    append(&fixture, &log.handle(), "b").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let again = append(&fixture, &log.handle(), "a").await;
    assert_eq!((again.index, again.time, again.head.size), (0, first.time, 2));
}

#[tokio::test]
async fn an_abandoned_request_is_logged_all_the_same() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let handle = log.handle();
    // Polled once, so that the entry is queued, then dropped.
    let abandoned = tokio::time::timeout(Duration::ZERO, handle.append(entry("abandoned"))).await;
    drop(abandoned);
    append(&fixture, &handle, "next").await;
    assert_eq!(append(&fixture, &handle, "abandoned").await.index, 0);
    assert_eq!(handle.head().size, 2);
}

#[tokio::test]
async fn a_full_queue_pushes_back() {
    let mut fixture = Fixture::new();
    fixture.settings.limits = Limits { entries: 0, ..Limits::default() };
    let log = fixture.open();
    let error = log.handle().append(entry("a")).await.expect_err("busy");
    assert_eq!(error.code(), Code::LOG_BUSY);
    drop(log);
    fixture.settings.limits = Limits::default();
    fixture.settings.unpublished = 0;
    fixture.settings.publish_interval = Duration::from_secs(60);
    let log = fixture.open();
    append(&fixture, &log.handle(), "a").await;
    published(&log.handle()).await;
    // The publisher rests for a minute, so the next entry stays unpublished, and the one after it is refused.
    append(&fixture, &log.handle(), "b").await;
    let error = log.handle().append(entry("c")).await.expect_err("late merges are not promised");
    assert_eq!(error.code(), Code::LOG_BUSY);
}

#[tokio::test]
async fn what_is_published_is_the_tree() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let handle = log.handle();
    let mut entries = BTreeMap::new();
    let mut earlier = Vec::new();
    for step in [1, 3, 250, 3, 260] {
        let texts = (0..step).map(|n| format!("entry {} of {step}", entries.len() as u64 + n)).collect::<Vec<_>>();
        entries.extend(append_all(&fixture, &handle, texts.into_iter()).await);
        published(&handle).await;
        let head = handle.published();
        let signed = SignedCheckpoint::parse(&head.note).expect("checkpoint");
        fixture.profile().verify(&signed).expect("signature");
        for index in (0..).take_while(|index| TileId::in_tree(TileKind::Entries, *index, head.size).is_some()) {
            // At every width that some earlier checkpoint could have asked for.
            let widest = TileId::in_tree(TileKind::Entries, index, head.size).expect("in the tree");
            for width in [1, widest.width / 2, widest.width] {
                let id = TileId { width: width.max(1), ..widest };
                let file = handle.tile(id).await.expect("read").expect("published");
                assert_eq!(file.full, id.is_full());
                let stored = parse_bundle(&id, &file.bytes).expect("bundle");
                let hashes = handle.tile(TileId { kind: TileKind::Hash(0), ..id }).await.expect("read").expect("there");
                for (at, entry) in stored.iter().enumerate() {
                    let expected = &entries[&(index * 256 + at as u64)];
                    assert_eq!(*entry, expected.as_bytes());
                    assert_eq!(hashes.bytes[at * 32..][..32], leaf_hash(entry));
                }
            }
        }
        let node = |id| earlier_node(&entries, id);
        assert_eq!(merkle::root(head.size, node), Ok(head.root));
        for (size, root) in &earlier {
            let proof = handle.consistency(*size, head.size).await.expect("proof");
            verify_consistency(*size, head.size, &proof, root, &head.root).expect("consistent");
        }
        earlier.push((head.size, head.root));
    }
    let size = handle.published().size;
    for beyond in [
        TileId { kind: TileKind::Entries, index: size / 256, width: (size % 256) as u16 + 1 },
        TileId::full(TileKind::Entries, size / 256 + 1),
        TileId { kind: TileKind::Hash(2), index: 0, width: 1 },
        TileId { kind: TileKind::Data, index: 0, width: 1 },
    ] {
        assert_eq!(handle.tile(beyond).await.expect("read"), None);
    }
    // The narrower files are gone, the full ones stay.
    let names: Vec<_> = fs::read_dir(fixture.path().join("public/tile/entries")).expect("directory").collect();
    assert_eq!(names.len(), 3);
}

/// A node computed from the entries alone.
fn earlier_node(entries: &BTreeMap<u64, String>, id: merkle::NodeId) -> Result<merkle::Hash, ()> {
    if id.level == 0 {
        return Ok(leaf_hash(entries[&id.index].as_bytes()));
    }
    let child = |side| merkle::NodeId { level: id.level - 1, index: id.index * 2 + side };
    Ok(merkle::node_hash(&earlier_node(entries, child(0))?, &earlier_node(entries, child(1))?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_files_at_any_moment_has_all_that_was_acknowledged() {
    let fixture = Arc::new(Fixture::new());
    let log = fixture.open();
    let (handle, writer) = (log.handle(), fixture.clone());
    let acknowledged = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    let record = acknowledged.clone();
    let load = tokio::spawn(async move {
        for n in 0..800 {
            let appended = append(&writer, &handle, &format!("entry {n}")).await;
            record.lock().expect("lock").insert(n, appended.index);
        }
    });
    let mut copies = Vec::new();
    while !load.is_finished() {
        let before = acknowledged.lock().expect("lock").clone();
        let copied = tempfile::tempdir().expect("directory");
        // The records only, and in the order in which a crash could leave them: the later segment last.
        copy(&fixture.path().join("wal"), &copied.path().join("wal"));
        copies.push((copied, before));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    load.await.expect("load");
    assert!(copies.len() > 3);
    for (copied, before) in copies {
        // A file that is copied while it is written may hold half of the last record, as after a power cut; but a copy that
        // missed a segment altogether is no state of a disk.
        let log = fixture.open_at(copied.path()).expect("recovered");
        assert!(log.handle().head().size >= before.len() as u64);
        for (n, index) in before.iter().step_by(17) {
            assert_eq!(append(&fixture, &log.handle(), &format!("entry {n}")).await.index, *index);
        }
    }
    assert_eq!(fixture.failures.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_last_record_cut_off_at_any_byte_is_dropped_and_the_log_goes_on() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append_all(&fixture, &log.handle(), (0..3).map(|n| format!("entry {n}"))).await;
    log.close();
    let intact = fs::read(&fixture.segments()[0]).expect("segment");
    let end = intact.iter().rposition(|byte| *byte != 0).expect("records") + 1;
    // The third record: from its head to its last byte.
    let start = (end - 1) / 512 * 512;
    assert!(intact[start..].starts_with(b"WXR1"));
    for cut in (start..=end).step_by(13).chain([end]) {
        let copied = tempfile::tempdir().expect("directory");
        fs::create_dir(copied.path().join("wal")).expect("directory");
        fs::write(copied.path().join("wal/0000000000000000"), &intact[..cut]).expect("written");
        let log = fixture.open_at(copied.path()).expect("recovered");
        let kept = if cut == end { 3 } else { 2 };
        assert_eq!(log.handle().head().size, kept, "cut at {cut}");
        let next = append(&fixture, &log.handle(), "next").await;
        assert_eq!((next.index, next.head.size), (kept, kept + 1));
        drop(log);
        let log = fixture.open_at(copied.path()).expect("again");
        assert_eq!(log.handle().head().size, kept + 1);
    }
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append_all(&fixture, &log.handle(), (0..40).map(|n| format!("entry {n}"))).await;
    log.close();
    assert!(fixture.segments().len() > 1);
    let path = &fixture.segments()[0];
    let intact = fs::read(path).expect("segment");
    let records = intact.windows(4).position(|bytes| bytes == b"WXR1").expect("record");
    for at in [0, 20, 100, records, records + 10, records + 200, records + 600] {
        let mut bad = intact.clone();
        bad[at] ^= 1;
        fs::write(path, &bad).expect("written");
        let error = fixture.refused();
        assert_eq!(error.code(), Code::LOG_STORE_CORRUPT, "byte {at}: {error}");
        assert!(error.to_string().contains("wal/0000000000000000"), "{error}");
        assert_eq!(fs::read(path).expect("segment"), bad);
    }
    fs::remove_file(path).expect("removed");
    assert_eq!(fixture.refused().code(), Code::LOG_STORE_CORRUPT);
    fs::write(path, intact).expect("written");
    fixture.open();
}

#[tokio::test]
async fn a_store_behind_its_published_checkpoint_does_not_open() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append(&fixture, &log.handle(), "a").await;
    log.close();
    let old = tempfile::tempdir().expect("directory");
    copy(&fixture.path().join("wal"), old.path());
    let log = fixture.open();
    append(&fixture, &log.handle(), "b").await;
    log.close();
    fs::remove_dir_all(fixture.path().join("wal")).expect("removed");
    copy(old.path(), &fixture.path().join("wal"));
    assert_eq!(fixture.refused().code(), Code::LOG_STORE_BEHIND);
    // Whoever takes the checkpoint away as well is still told by the mark of what was synced.
    fs::remove_file(fixture.path().join("public/checkpoint")).expect("removed");
    assert_eq!(fixture.refused().code(), Code::LOG_STORE_BEHIND);
}

#[tokio::test]
async fn lost_and_spoiled_tiles_are_written_again() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append_all(&fixture, &log.handle(), (0..300).map(|n| format!("entry {n}"))).await;
    published(&log.handle()).await;
    // As after a power cut: nothing that was published is there, and nothing of it was synced.
    let crashed = tempfile::tempdir().expect("directory");
    copy(&fixture.path().join("wal"), &crashed.path().join("wal"));
    log.close();
    let log = fixture.open_at(crashed.path()).expect("recovered");
    assert_eq!(log.handle().published().size, 300);
    let whole = |path: &Path| fs::read(path.join("public/tile/entries/001.p/44")).expect("bundle");
    assert_eq!(whole(crashed.path()), whole(fixture.path()));
    drop(log);
    // A tile that was synced and is damaged is noticed when a proof is made of it.
    let tile = fixture.path().join("public/tile/0/000");
    let mut bytes = fs::read(&tile).expect("tile");
    bytes[40] ^= 1;
    fs::write(&tile, bytes).expect("written");
    let log = fixture.open();
    let error = log.handle().append(entry("entry 0")).await.expect_err("damaged");
    assert_eq!(error.code(), Code::LOG_STORE_CORRUPT);
    append(&fixture, &log.handle(), "entry 290").await;
}

#[tokio::test]
async fn a_log_that_cannot_go_on_says_so_once_and_takes_nothing_more() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append(&fixture, &log.handle(), "a").await;
    published(&log.handle()).await;
    // The directory of published files is gone: that is no full disk, which would pass.
    fs::remove_dir_all(fixture.path().join("public")).expect("removed");
    append(&fixture, &log.handle(), "b").await;
    assert_eq!(fixture.failures().await, 1);
    let error = log.handle().append(entry("c")).await.expect_err("stopped");
    assert_eq!(error.code(), Code::LOG_STORE_FAILED);
    log.close();
    let log = fixture.open();
    assert_eq!(append(&fixture, &log.handle(), "b").await.index, 1);
}

#[tokio::test]
async fn a_hash_that_changed_in_memory_ends_the_log_before_it_is_written() {
    let fixture = Fixture::new();
    let log = fixture.open();
    append(&fixture, &log.handle(), "a").await;
    let body = b"b".to_vec();
    let mut hash = leaf_hash(&body);
    hash[7] ^= 1;
    let error = log.handle().append(NewEntry::Leaf { hash, body, keys: Vec::new() }).await.expect_err("stopped");
    assert_eq!(error.code(), Code::LOG_STORE_FAILED);
    assert_eq!(fixture.failures().await, 1);
    assert_eq!(log.handle().head().size, 1);
    log.close();
    let log = fixture.open();
    assert_eq!(append(&fixture, &log.handle(), "b").await.index, 1);
}

#[test]
fn two_processes_on_one_directory_are_refused() {
    let fixture = Fixture::new();
    let log = fixture.open();
    assert_eq!(fixture.refused().code(), Code::LOG_STORE_LOCKED);
    drop(log);
    fixture.open();
}

#[test]
fn a_log_is_never_made_by_mistake() {
    let fixture = Fixture::new();
    assert!(Log::exists(fixture.path(), &fixture.settings).expect("told"));
    let error = Log::create(fixture.path(), &fixture.profile(), &fixture.settings).expect_err("exists");
    assert_eq!(error.code(), Code::LOG_STORE_FAILED);
    let empty = tempfile::tempdir().expect("directory");
    assert!(!Log::exists(empty.path(), &fixture.settings).expect("told"));
    let error = fixture.open_at(empty.path()).map(|_| ()).expect_err("nothing to open");
    assert_eq!(error.code(), Code::LOG_STORE_FAILED);
    assert_eq!(fs::read_dir(empty.path()).expect("directory").count(), 0);
}

#[test]
fn another_key_or_origin_is_refused() {
    let fixture = Fixture::new();
    let open = |profile: Profile, key: Arc<KeyPair>| {
        let opened = Log::open(fixture.path(), profile, key, fixture.settings.clone());
        opened.map(|_| ()).expect_err("refused").code()
    };
    let other = Arc::new(KeyPair::generate(KeyKind::Ed25519).expect("key"));
    assert_eq!(open(fixture.profile(), other.clone()), Code::LOG_STORE_CORRUPT);
    let profile = Profile { key: other.public_key().clone(), ..fixture.profile() };
    assert_eq!(open(profile, other), Code::LOG_STORE_CORRUPT);
    let profile = Profile { origin: "log.other".into(), ..fixture.profile() };
    assert_eq!(open(profile, fixture.key.clone()), Code::LOG_STORE_CORRUPT);
}

#[tokio::test]
async fn a_new_log_serves_the_signed_empty_tree() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let head = log.handle().published();
    let signed = SignedCheckpoint::parse(&head.note).expect("checkpoint");
    fixture.profile().verify(&signed).expect("signature");
    assert_eq!((signed.checkpoint.size, signed.checkpoint.root), (0, merkle::EMPTY_ROOT));
    // Its first batch may be larger than its first segment.
    let appended = append(&fixture, &log.handle(), &"x".repeat(60_000)).await;
    assert_eq!(appended.index, 0);
    log.close();
    assert_eq!(fixture.open().handle().head().size, 1);
}
