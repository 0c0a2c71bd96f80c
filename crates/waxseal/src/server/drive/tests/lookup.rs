//! Look-ups, and the index behind them: replayed, dropped, damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use waxseal_formats::code::Code;
use waxseal_formats::merkle::leaf_hash;
use waxseal_io::index;
use waxseal_log::UnixMillis;
use waxseal_log::ct::Submission;
use waxseal_log::profile::{Bodies, Face};
use waxseal_log::rows::SearchKey;
use waxseal_log::sequencer::NewEntry;

use super::super::{Appended, Log, LogHandle, Settings, TreeError};
use super::{Fixture, copy, published};

/// Few enough that a test sees files, merged runs and entries that the window has forgotten.
fn small(settings: &mut Settings) {
    settings.window = 8;
    settings.index = index::Options { chunk: 4 };
}

fn fixture(bodies: Bodies) -> Fixture {
    Fixture::of(Face::RekorV1, bodies, small)
}

fn text(n: u64) -> String {
    format!("entry {n}")
}

/// Entries can be searched by their last digit, and by their number.
fn searchable(n: u64) -> NewEntry {
    let keys = vec![SearchKey::of(&format!("digit {}", n % 10)), SearchKey::of(&format!("number {n}"))];
    NewEntry::searchable(text(n).into_bytes(), keys).expect("fits")
}

async fn append(log: &LogHandle, n: u64) -> Appended {
    let appended = log.append(searchable(n)).await.expect("logged");
    assert_eq!(appended.leaf_hash, leaf_hash(text(n).as_bytes()));
    appended
}

/// Appends entries `from..to`; returns when each was sequenced.
async fn fill(log: &LogHandle, from: u64, to: u64) -> BTreeMap<u64, UnixMillis> {
    let mut times = BTreeMap::new();
    for n in from..to {
        let appended = append(log, n).await;
        assert_eq!((appended.index, appended.repeated), (n, false));
        times.insert(n, appended.time);
    }
    times
}

/// Everything that can be looked up.
async fn check(log: &LogHandle, times: &BTreeMap<u64, UnixMillis>) {
    let size = times.len() as u64;
    assert_eq!(log.head().size, size);
    for (n, time) in times {
        let original = log.find_leaf(&leaf_hash(text(*n).as_bytes())).await.expect("read").expect("found");
        assert_eq!((original.index, original.time), (*n, *time));
        assert_eq!(log.time_of(*n).await.expect("read"), Some(*time));
    }
    assert_eq!(log.find_leaf(&leaf_hash(b"another")).await.expect("read"), None);
    assert_eq!(log.time_of(size).await.expect("read"), None);
    if log.profile().bodies == Bodies::Kept {
        for digit in 0..10.min(size) {
            let expected: Vec<_> = (digit..size).step_by(10).collect();
            assert_eq!(log.search(&SearchKey::of(&format!("DIGIT {digit}"))).await.expect("read"), expected);
        }
        assert_eq!(log.search(&SearchKey::of("another")).await.expect("read"), [0u64; 0]);
    }
}

/// The files of the index.
fn index_files(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).expect("directory").map(|file| file.expect("file").path());
    files.filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("index."))).collect()
}

fn drop_index(directory: &Path) {
    index_files(directory).iter().for_each(|file| fs::remove_file(file).expect("removed"));
}

fn copy_index(from: &Path, to: &Path) {
    for file in index_files(from) {
        fs::copy(&file, to.join(file.file_name().expect("name"))).expect("copied");
    }
}

#[tokio::test]
async fn an_entry_is_found_as_soon_as_it_is_acknowledged() {
    let mut fixture = fixture(Bodies::Kept);
    // Nothing is published while the test looks.
    fixture.settings.publish_interval = Duration::from_secs(60);
    let log = fixture.open();
    let handle = log.handle();
    let mut times = fill(&handle, 0, 1).await;
    published(&handle).await;
    for n in 1..100 {
        times.insert(n, append(&handle, n).await.time);
        assert_eq!(handle.search(&SearchKey::of(&format!("number {n}"))).await.expect("read"), [n]);
        let original = handle.find_leaf(&leaf_hash(text(n).as_bytes())).await.expect("read").expect("found");
        assert_eq!((original.index, original.time), (n, times[&n]));
    }
    assert_eq!(handle.published().size, 1);
    check(&handle, &times).await;
}

#[tokio::test]
async fn an_index_that_is_dropped_or_damaged_is_replayed_and_says_the_same() {
    let fixture = fixture(Bodies::Kept);
    let log = fixture.open();
    let times = fill(&log.handle(), 0, 150).await;
    check(&log.handle(), &times).await;
    log.close();
    let path = fixture.path().join("index.sqlite");
    let spoil: [(&str, &dyn Fn()); 6] = [
        ("nothing", &|| ()),
        ("dropped", &|| drop_index(fixture.path())),
        ("emptied", &|| fs::write(&path, b"").expect("written")),
        ("garbage", &|| fs::write(&path, vec![0x5a; 100_000]).expect("written")),
        ("cut off", &|| {
            let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
            file.set_len(16_384).expect("cut");
        }),
        ("a directory", &|| {
            drop_index(fixture.path());
            fs::create_dir(&path).expect("made");
        }),
    ];
    for (what, spoil) in spoil {
        spoil();
        let log = fixture.open();
        if what == "a directory" {
            // Nothing can be done about that but to go on without an index.
            assert_eq!(log.handle().time_of(3).await.expect_err("refused").code(), Code::LOG_BUSY);
            assert_eq!(append(&log.handle(), 150).await.index, 150);
        } else {
            check(&log.handle(), &times).await;
        }
        log.close();
    }
    assert_eq!(fixture.failures.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_index_that_a_crash_left_behind_the_tiles_catches_up() {
    let fixture = fixture(Bodies::Kept);
    let earlier = tempfile::tempdir().expect("directory");
    let log = fixture.open();
    let mut times = fill(&log.handle(), 0, 70).await;
    log.close();
    copy_index(fixture.path(), earlier.path());
    let log = fixture.open();
    times.extend(fill(&log.handle(), 70, 150).await);
    // Stopping syncs the tiles up to the last entry.
    log.close();
    drop_index(fixture.path());
    copy_index(earlier.path(), fixture.path());
    let log = fixture.open();
    check(&log.handle(), &times).await;
    times.extend(fill(&log.handle(), 150, 170).await);
    check(&log.handle(), &times).await;
}

#[tokio::test]
async fn an_index_of_another_or_a_longer_log_is_not_believed() {
    let fixture = fixture(Bodies::Kept);
    let older = tempfile::tempdir().expect("directory");
    let log = fixture.open();
    let times = fill(&log.handle(), 0, 60).await;
    published(&log.handle()).await;
    log.close();
    copy(&fixture.path().join("wal"), &older.path().join("wal"));
    let log = fixture.open();
    fill(&log.handle(), 60, 150).await;
    log.close();
    // The index is newer than the log: the log's directory was restored, the index was not.
    copy_index(fixture.path(), older.path());
    let log = fixture.open_at(older.path()).expect("opened");
    check(&log.handle(), &times).await;
    log.close();

    // The log went another way than the one that the index is of, under the same key.
    drop_index(older.path());
    let log = fixture.open_at(older.path()).expect("opened");
    let times = {
        let mut times = times;
        for n in 60..150 {
            times.insert(n, append(&log.handle(), n + 1000).await.time);
        }
        times
    };
    log.close();
    drop_index(older.path());
    copy_index(fixture.path(), older.path());
    let log = fixture.open_at(older.path()).expect("opened");
    let found = log.handle().find_leaf(&leaf_hash(text(1100).as_bytes())).await.expect("read").expect("found");
    assert_eq!((found.index, found.time), (100, times[&100]));
    assert_eq!(log.handle().find_leaf(&leaf_hash(text(100).as_bytes())).await.expect("read"), None);
    log.close();

    // The index of a log with another key.
    let other = Fixture::of(Face::RekorV1, Bodies::Kept, small);
    let log = other.open();
    let times = fill(&log.handle(), 0, 100).await;
    log.close();
    drop_index(other.path());
    copy_index(fixture.path(), other.path());
    let log = other.open();
    check(&log.handle(), &times).await;
}

#[tokio::test]
async fn damage_that_a_look_up_finds_is_repaired_while_the_log_runs() {
    let fixture = fixture(Bodies::Kept);
    let log = fixture.open();
    let handle = log.handle();
    let times = fill(&handle, 0, 150).await;
    published(&handle).await;
    // Behind SQLite's back: what its connections have not read yet is gone.
    for file in index_files(fixture.path()).into_iter().filter(|file| !file.to_string_lossy().ends_with("-shm")) {
        let length = fs::metadata(&file).expect("file").len();
        if length > 0 {
            let spoilt = fs::OpenOptions::new().write(true).open(&file).expect("opened");
            spoilt.set_len(0).expect("cut");
            spoilt.set_len(length).expect("zeros");
        }
    }
    let mut refused = 0;
    for n in 0..150 {
        let hash = leaf_hash(text(n).as_bytes());
        let mut tries = 0;
        let found = loop {
            match handle.find_leaf(&hash).await {
                Ok(found) => break found,
                Err(error) => {
                    assert!([Code::LOG_STORE_CORRUPT, Code::LOG_BUSY].contains(&error.code()), "{error}");
                    refused += 1;
                    tries += 1;
                    assert!(tries < 500, "{error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        assert_eq!(found.map(|found| found.index), Some(n));
    }
    assert!(refused > 0);
    check(&handle, &times).await;
}

#[tokio::test]
async fn a_sealed_log_has_nothing_to_search_and_writes_no_search_rows() {
    let fixture = fixture(Bodies::Sealed);
    let log = fixture.open();
    let times = fill(&log.handle(), 0, 100).await;
    check(&log.handle(), &times).await;
    let error = log.handle().search(&SearchKey::of("digit 1")).await.expect_err("sealed");
    assert_eq!(error.code(), Code::LOG_SEALED);
    assert_eq!(log.handle().entries(0, 0).await.expect_err("sealed").code(), Code::LOG_SEALED);
    // Repeated entries are found all the same.
    let again = append(&log.handle(), 3).await;
    assert_eq!((again.index, again.time, again.repeated, again.head.size), (3, times[&3], true, 100));
    log.close();
    let key = *SearchKey::of("digit 1").as_bytes();
    let mut read = 0;
    for file in index_files(fixture.path()).into_iter().chain(fixture.segments()) {
        let bytes = fs::read(file).expect("read");
        assert!(!bytes.windows(16).any(|window| window == key));
        read += 1;
    }
    assert!(read > 2);
}

#[tokio::test]
async fn repeated_entries_are_found_however_old_they_are() {
    let fixture = fixture(Bodies::Kept);
    let log = fixture.open();
    let times = fill(&log.handle(), 0, 120).await;
    log.close();
    let log = fixture.open();
    for (n, time) in &times {
        let again = append(&log.handle(), *n).await;
        assert_eq!((again.index, again.time, again.repeated), (*n, *time, true));
        assert_eq!(again.head.size, 120);
    }
    assert!(!append(&log.handle(), 120).await.repeated);
}

fn submission(n: u64) -> NewEntry {
    let der = text(n).into_bytes();
    let submission = Submission::precertificate([1; 32], der.clone(), der, vec![[2; 32]]).expect("submission");
    NewEntry::Ct(submission)
}

#[tokio::test]
async fn repeated_certificates_are_found_however_old_they_are() {
    for bodies in [Bodies::Kept, Bodies::Sealed] {
        let fixture = Fixture::of(Face::StaticCt, bodies, small);
        let log = fixture.open();
        let handle = log.handle();
        let mut first = Vec::new();
        for n in 0..60 {
            first.push(handle.append(submission(n)).await.expect("logged"));
        }
        for (n, first) in (0..).zip(&first) {
            let again = handle.append(submission(n)).await.expect("answered");
            assert_eq!((again.index, again.time, again.leaf_hash), (first.index, first.time, first.leaf_hash));
            assert!(again.repeated && !first.repeated);
            assert_eq!(again.head.size, 60);
            let found = handle.find_leaf(&first.leaf_hash).await.expect("read").expect("found");
            assert_eq!((found.index, found.time), (first.index, first.time));
        }
    }
}

#[tokio::test]
async fn entries_are_read_a_bundle_at_a_time_and_once_they_are_published() {
    let mut fixture = fixture(Bodies::Kept);
    fixture.settings.publish_interval = Duration::from_millis(50);
    let log = fixture.open();
    let handle = log.handle();
    fill(&handle, 0, 300).await;
    let texts = |range: std::ops::Range<u64>| range.map(|n| text(n).into_bytes()).collect::<Vec<_>>();
    // The last one may not be published yet.
    assert_eq!(handle.entries(299, 299).await.expect("read"), texts(299..300));
    assert_eq!(handle.entries(0, 0).await.expect("read"), texts(0..1));
    assert_eq!(handle.entries(250, 260).await.expect("read"), texts(250..256));
    assert_eq!(handle.entries(256, u64::MAX).await.expect("read"), texts(256..300));
    for (first, last) in [(300, 300), (u64::MAX, u64::MAX), (5, 4)] {
        assert_eq!(handle.entries(first, last).await.expect_err("outside").code(), Code::LOG_INDEX);
    }

    let fixture = Fixture::of(Face::StaticCt, Bodies::Kept, small);
    let log = fixture.open();
    for n in 0..20 {
        log.handle().append(submission(n)).await.expect("logged");
    }
    published(&log.handle()).await;
    let leaves = log.handle().entries(3, 18).await.expect("read");
    assert_eq!(leaves.len(), 16);
    for (n, leaf) in (3..).zip(leaves) {
        let hash = log.handle().profile().leaf_hash(&leaf).expect("a leaf");
        assert_eq!(log.handle().find_leaf(&hash).await.expect("read").expect("found").index, n);
    }
}

#[tokio::test]
async fn an_entry_that_is_not_published_in_time_is_asked_for_again() {
    let mut fixture = fixture(Bodies::Kept);
    fixture.settings.publish_interval = Duration::from_secs(60);
    let log = fixture.open();
    fill(&log.handle(), 0, 1).await;
    published(&log.handle()).await;
    fill(&log.handle(), 1, 2).await;
    assert_eq!(log.handle().entries(1, 1).await.expect_err("not published").code(), Code::LOG_BUSY);
}

#[tokio::test]
async fn a_rekor_v2_log_has_no_index() {
    let fixture = Fixture::new();
    let log = fixture.open();
    super::append(&fixture, &log.handle(), "a").await;
    let error = log.handle().time_of(0).await.expect_err("no index");
    assert!(matches!(error, TreeError::Unindexed));
    assert_eq!(error.code(), Code::LOG_STORE_FAILED);
    log.close();
    assert!(index_files(fixture.path()).is_empty());
    assert!(Log::exists(fixture.path(), &fixture.settings).expect("read"));
}
