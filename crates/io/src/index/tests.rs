use super::*;
use std::collections::BTreeMap;
use std::fs;

use waxseal_formats::crypto::digest::sha256;

pub(super) const LOG: Hash = [7; 32];
pub(super) const SMALL: Options = Options { chunk: 8 };

/// A log of batches of growing length. Every entry can be searched by its number's last digit; the leaf hash of entry `n` is
/// that of the text `n`.
pub(super) struct Entries {
    batches: Vec<Recorded>,
    pub(super) size: u64,
}

/// First leaf, leaf hashes, search rows.
type Recorded = (u64, Vec<Hash>, Vec<(u32, Key)>);

fn leaf(n: u64) -> Hash {
    sha256(n.to_string().as_bytes())
}

fn identity(n: u64) -> Hash {
    sha256(format!("identity {n}").as_bytes())
}

fn digit(n: u64) -> Key {
    key_of(&sha256(&[(n % 10) as u8]))
}

impl Entries {
    pub(super) fn new(size: u64) -> Self {
        let mut batches = Vec::new();
        let mut first = 0;
        while first < size {
            let end = (first + 1 + batches.len() as u64 % 13).min(size);
            let search = (first..end).map(|n| ((n - first) as u32, digit(n))).collect();
            batches.push((first, (first..end).map(leaf).collect(), search));
            first = end;
        }
        Self { batches, size }
    }

    pub(super) fn each(&self, mut take: impl FnMut(&Batch<'_>)) {
        for (first, hashes, search) in &self.batches {
            let identities: Vec<_> = (0..hashes.len() as u64).map(|n| identity(first + n)).collect();
            let batch = Batch {
                first: *first,
                time_ms: 1000 + first,
                leaf_hashes: hashes,
                identities: Some(&identities),
                search,
            };
            take(&batch);
        }
    }

    pub(super) fn push(&self, index: &Index) {
        self.each(|batch| index.push(batch).expect("follows"));
    }

    /// Everything that an index of these entries says.
    fn check(&self, index: &Index) {
        assert_eq!(index.size(), self.size);
        for n in 0..self.size {
            assert_eq!(index.leaves(&leaf(n)).expect("read"), [n]);
            assert_eq!(index.find(Kind::Identity, &key_of(&identity(n))).expect("read"), [n]);
            assert!(index.may_have_before(self.size, Kind::Identity, &key_of(&identity(n))).expect("there"));
            let first = self.batches.iter().rfind(|(first, ..)| *first <= n).expect("a batch").0;
            assert_eq!(index.time(n).expect("read"), Some(1000 + first));
        }
        for n in 0..10 {
            let expected: Vec<_> = (n..self.size).step_by(10).collect();
            assert_eq!(index.find(Kind::Search, &digit(n)).expect("read"), expected);
        }
        assert_eq!(index.leaves(&leaf(self.size)).expect("read"), [0u64; 0]);
        assert_eq!(index.time(self.size).expect("read"), None);
    }
}

fn counts(index: &Index) -> BTreeMap<u8, (usize, usize)> {
    let file = index.file().expect("a file");
    KINDS.iter().map(|kind| (*kind as u8, file.count(*kind))).collect()
}

#[test]
fn entries_are_found_in_memory_in_runs_and_in_merged_runs() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("index.sqlite");
    let entries = Entries::new(16 * 8 * 2 + 8 * 3 + 5);
    let index = Index::open(&path, &LOG, SMALL);
    entries.each(|batch| {
        index.push(batch).expect("follows");
        index.spill().expect("written");
        index.merge().expect("merged");
    });
    entries.check(&index);
    // Two merged runs and three that are not; five leaves are in memory.
    assert_eq!(counts(&index)[&0], (5, 280));
    assert_eq!(index.last_in_file(), Some((280, leaf(279))));
    drop(index);

    // After a restart the file has what it had; the records bring the rest, from wherever they are read.
    let index = Index::open(&path, &LOG, SMALL);
    assert_eq!((index.size(), index.last_in_file()), (280, Some((280, leaf(279)))));
    entries.push(&index);
    entries.check(&index);
    index.spill().expect("nothing to write");
    // Another size of chunks is no obstacle.
    drop(index);
    let index = Index::open(&path, &LOG, Options { chunk: 2 });
    entries.push(&index);
    index.spill().expect("written");
    entries.check(&index);
}

#[test]
fn replay_equals_live() {
    let directory = tempfile::tempdir().expect("directory");
    let entries = Entries::new(1000);
    let live = Index::open(&directory.path().join("live"), &LOG, SMALL);
    entries.each(|batch| {
        live.push(batch).expect("follows");
        live.spill().expect("written");
        live.merge().expect("merged");
    });
    let replayed = Index::open(&directory.path().join("replayed"), &LOG, SMALL);
    entries.push(&replayed);
    replayed.spill().expect("written");
    replayed.merge().expect("merged");
    assert_eq!(counts(&live), counts(&replayed));
    entries.check(&live);
    entries.check(&replayed);
}

#[test]
fn what_was_pushed_is_found_at_any_moment() {
    let directory = tempfile::tempdir().expect("directory");
    let index = Index::open(&directory.path().join("index"), &LOG, Options { chunk: 4 });
    let entries = Entries::new(1500);
    let done = std::sync::atomic::AtomicBool::new(false);
    let busy = || !done.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        // Spills and merges go on as the publisher has them done.
        scope.spawn(|| {
            while busy() {
                index.spill().expect("written");
            }
        });
        scope.spawn(|| {
            while busy() {
                index.merge().expect("merged");
            }
        });
        for step in [1, 7, 61] {
            let (index, busy) = (&index, &busy);
            scope.spawn(move || {
                let mut n = step;
                while busy() {
                    let size = index.size();
                    if size > 0 {
                        n = (n * 31 + step) % size;
                        assert_eq!(index.leaves(&leaf(n)).expect("read"), [n]);
                        assert!(index.may_have_before(size, Kind::Identity, &key_of(&identity(n))).expect("there"));
                        assert!(index.time(n).expect("read").is_some());
                    }
                }
            });
        }
        entries.each(|batch| {
            index.push(batch).expect("follows");
            std::thread::sleep(std::time::Duration::from_millis(2));
        });
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    index.spill().expect("written");
    entries.check(&index);
}

#[test]
fn leaves_that_share_their_key_are_all_candidates() {
    let directory = tempfile::tempdir().expect("directory");
    let index = Index::open(&directory.path().join("index"), &LOG, Options { chunk: 2 });
    let mut other = leaf(1);
    other[31] ^= 1;
    let hashes = [leaf(0), leaf(1), other, leaf(3)];
    index.push(&Batch { first: 0, time_ms: 1, leaf_hashes: &hashes, identities: None, search: &[] }).expect("follows");
    assert_eq!(index.leaves(&leaf(1)).expect("read"), [1, 2]);
    index.spill().expect("written");
    assert_eq!(index.leaves(&other).expect("read"), [1, 2]);
    // Nothing to search by, no run.
    assert_eq!(counts(&index)[&(Kind::Search as u8)], (0, 0));
}

#[test]
fn a_gap_is_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let index = Index::open(&directory.path().join("index"), &LOG, SMALL);
    let batch = Batch { first: 1, time_ms: 1, leaf_hashes: &[LOG], identities: None, search: &[] };
    let error = index.push(&batch).expect_err("a gap");
    assert_eq!(error.code(), Code::LOG_STORE_CORRUPT);
    assert!(matches!(error, IndexError::Gap { size: 0, first: 1 }));
}

#[test]
fn what_is_no_index_of_the_log_is_dropped() {
    let entries = Entries::new(100);
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 6] = [
        ("removed", |path| fs::remove_file(path).expect("removed")),
        ("emptied", |path| fs::write(path, b"").expect("written")),
        ("not SQLite", |path| fs::write(path, b"something else altogether").expect("written")),
        ("cut off", |path| {
            let file = fs::OpenOptions::new().write(true).open(path).expect("opened");
            file.set_len(20_000).expect("cut");
        }),
        ("another version", |path| {
            let file = rusqlite::Connection::open(path).expect("opened");
            file.pragma_update(None, "user_version", 99).expect("written");
        }),
        ("a run is missing", |path| {
            let file = rusqlite::Connection::open(path).expect("opened");
            file.execute("DELETE FROM run WHERE first = 8", []).expect("deleted");
        }),
    ];
    for (what, spoil) in spoil {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("index");
        let index = Index::open(&path, &LOG, SMALL);
        entries.push(&index);
        index.spill().expect("written");
        drop(index);
        spoil(&path);
        let index = Index::open(&path, &LOG, SMALL);
        assert_eq!((index.size(), index.is_broken()), (0, false), "{what}");
        entries.push(&index);
        index.spill().expect("written");
        entries.check(&index);
    }
    // The index of another log.
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("index");
    let index = Index::open(&path, &LOG, SMALL);
    entries.push(&index);
    index.spill().expect("written");
    drop(index);
    assert_eq!(Index::open(&path, &[8; 32], SMALL).size(), 0);
}

#[test]
fn damage_that_is_found_later_is_not_believed_and_repaired() {
    let entries = Entries::new(300);
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("index");
    let index = Index::open(&path, &LOG, SMALL);
    entries.push(&index);
    index.spill().expect("written");
    for statement in [
        "UPDATE part SET rows = zeroblob(length(rows))",
        "DELETE FROM part",
        "UPDATE time SET batches = zeroblob(length(batches))",
    ] {
        rusqlite::Connection::open(&path).and_then(|file| file.execute(statement, [])).expect("spoilt");
        let error = if statement.contains("time") {
            index.time(3).map(|_| ()).expect_err("damaged")
        } else {
            index.leaves(&leaf(3)).map(|_| ()).expect_err("damaged")
        };
        assert_eq!(error.code(), Code::LOG_STORE_CORRUPT, "{statement}");
        // From here on the index says that it cannot answer, until it has been made again.
        assert!(index.is_broken());
        assert_eq!(index.leaves(&leaf(299)).expect_err("refused").code(), Code::LOG_BUSY);
        assert_eq!(index.spill().expect_err("refused").code(), Code::LOG_BUSY);
        let mut remaking = index.remake().expect("a new file");
        entries.each(|batch| remaking.push(batch).expect("written"));
        remaking.finish().expect("complete");
        entries.check(&index);
    }
    // A new file that lacks entries is not used.
    let remaking = index.remake().expect("a new file");
    assert_eq!(remaking.finish().expect_err("incomplete").code(), Code::LOG_STORE_CORRUPT);
    assert!(index.is_broken());
}

#[test]
fn without_a_file_memory_stays_bounded() {
    let directory = tempfile::tempdir().expect("directory");
    // The directory is missing, so no file can be made.
    let index = Index::open(&directory.path().join("missing/index"), &LOG, SMALL);
    assert!(index.is_broken());
    let entries = Entries::new(500);
    entries.push(&index);
    assert_eq!(read(&index.fresh).full.len(), MAX_WAITING);
    assert_eq!(index.remake().map(|_| ()).expect_err("no directory").code(), Code::LOG_STORE_FAILED);
    fs::create_dir(directory.path().join("missing")).expect("made");
    let mut remaking = index.remake().expect("a new file");
    entries.each(|batch| remaking.push(batch).expect("written"));
    remaking.finish().expect("complete");
    entries.check(&index);
}

#[test]
fn a_full_disk_is_told_from_damage() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("index");
    let index = Index::open(&path, &LOG, Options { chunk: 1000 });
    let limit = |pages: i64| {
        let file = index.file().expect("a file");
        file.limit_pages(pages);
    };
    limit(1);
    let entries = Entries::new(2100);
    entries.push(&index);
    let error = index.spill().expect_err("full");
    assert_eq!((error.code(), index.is_broken()), (Code::LOG_BUSY, false));
    // Meanwhile everything is answered from memory; with space it goes on.
    entries.check(&index);
    limit(1 << 20);
    index.spill().expect("written");
    entries.check(&index);
}
