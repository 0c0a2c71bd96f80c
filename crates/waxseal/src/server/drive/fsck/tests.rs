//! Damage of every kind, and what is no damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use waxseal_formats::code::Code;
use waxseal_formats::crypto::KeyKind;
use waxseal_io::disk::OsDisk;
use waxseal_io::index::Options;
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_io::store::DirectoryLock;
use waxseal_log::ct::Submission;
use waxseal_log::profile::{Bodies, Face, Profile};
use waxseal_log::rows::SearchKey;
use waxseal_log::sequencer::NewEntry;

use super::{LogReport, check};
use crate::server::drive::{Log, Settings};

const SEED: u64 = 0x0f5c_c0de;

/// xorshift64: not for secrets.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// A data directory with a Rekor log and a CT log.
struct Fixture {
    directory: tempfile::TempDir,
    bodies: Bodies,
}

impl Fixture {
    fn new(bodies: Bodies) -> Self {
        let fixture = Self { directory: tempfile::tempdir().expect("directory"), bodies };
        fs::create_dir(fixture.path("keys")).expect("keys");
        let privacy = if bodies == Bodies::Kept { "open" } else { "sealed" };
        let manifest =
            format!(r#"{{"format":2,"created":"2026-11-24T15:00:00Z","host":"log.example","privacy":"{privacy}"}}"#);
        fs::write(fixture.path("instance.json"), manifest).expect("manifest");
        for name in ["rekor", "rekor-v1", "ct"] {
            let (profile, _) = fixture.profile(name);
            Log::create(&fixture.path("logs").join(name), &profile, &settings()).expect("created");
        }
        fixture
    }

    /// One with several segments, full tiles and unfinished ones, closed as it should be.
    async fn filled(bodies: Bodies) -> Self {
        let fixture = Self::new(bodies);
        fixture.append("rekor", 0..270).await;
        fixture.append("rekor-v1", 0..5).await;
        fixture.append("ct", 0..40).await;
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn profile(&self, name: &str) -> (Profile, Arc<KeyPair>) {
        let (kind, face, origin) = match name {
            "ct" => (KeyKind::EcdsaP256, Face::StaticCt, "log.example/ctlog"),
            "rekor-v1" => (KeyKind::EcdsaP256, Face::RekorV1, "log.example - 42"),
            _ => (KeyKind::Ed25519, Face::RekorV2, "log.example"),
        };
        let key = KeyPair::load_or_create(&self.path("keys").join(format!("{name}.pem")), kind).expect("key");
        let profile = Profile { origin: origin.into(), key: key.public_key().clone(), face, bodies: self.bodies };
        (profile, Arc::new(key))
    }

    fn open(&self, name: &str) -> Log {
        let (profile, key) = self.profile(name);
        Log::open(&self.path("logs").join(name), profile, key, settings()).expect("opened")
    }

    async fn append(&self, name: &str, numbers: std::ops::Range<u32>) {
        let log = self.open(name);
        for number in numbers {
            let body = format!("entry {number:0300}").into_bytes();
            let entry = if name == "ct" {
                let mut issuer = [0; 32];
                issuer[..4].copy_from_slice(&number.to_be_bytes());
                let issued = Submission::precertificate(issuer, body, vec![7; 900], vec![[1; 32]]);
                NewEntry::Ct(issued.expect("an entry"))
            } else {
                NewEntry::searchable(body, vec![SearchKey::of(&format!("{number}@corp.example"))]).expect("an entry")
            };
            log.handle().append(entry).await.expect("logged");
        }
        log.close();
    }

    fn check(&self) -> Vec<LogReport> {
        check(self.directory.path(), &|_| ()).expect("checked")
    }

    fn assert_clean(&self) {
        for report in self.check() {
            assert!(report.is_clean(), "{:?}", report.faults);
            assert_eq!((report.not_durable, report.unfinished), (0, false), "{report:?}");
        }
    }

    /// Asserts that a fault with this code is told, and that it is the file's at `path`.
    #[track_caller]
    fn assert_fault(&self, path: &Path, code: Code) {
        let faults: Vec<_> = self.check().into_iter().flat_map(|report| report.faults).collect();
        assert!(faults.iter().any(|fault| fault.file == path && fault.code == code), "{}: {faults:?}", path.display());
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.path("logs"))
    }

    /// The segments of a log, in order.
    fn segments(&self, name: &str) -> Vec<PathBuf> {
        let named = self.path("logs").join(name).join("wal/0");
        let files = self.files().into_keys();
        files.filter(|path| path.to_string_lossy().starts_with(&*named.to_string_lossy())).collect()
    }

    fn public(&self, log: &str, name: &str) -> PathBuf {
        self.path("logs").join(log).join("public").join(name)
    }
}

fn settings() -> Settings {
    Settings {
        publish_interval: Duration::from_millis(2),
        first_segment: 64 << 10,
        max_segment: 128 << 10,
        index: Options { chunk: 4 },
        ..Settings::default()
    }
}

/// All files but those of an index, which is a view and not checked.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).expect("readable"));
            }
        }
    }
    found
}

#[tokio::test]
async fn a_log_is_clean_when_it_is_new_and_when_it_was_closed_open_or_sealed() {
    for bodies in [Bodies::Kept, Bodies::Sealed] {
        let fixture = Fixture::new(bodies);
        fixture.assert_clean();
        fixture.append("rekor", 0..0).await;
        fixture.assert_clean();
        fixture.append("rekor", 0..270).await;
        fixture.append("ct", 0..5).await;
        let before = fixture.files();
        fixture.assert_clean();
        let reports = fixture.check();
        let [ct, rekor, _] = reports.as_slice() else { panic!("three logs") };
        assert_eq!((ct.name.as_str(), ct.entries, ct.origin.as_deref()), ("ct", 5, Some("log.example/ctlog")));
        assert_eq!((rekor.name.as_str(), rekor.entries, rekor.records), ("rekor", 270, 270));
        assert!(rekor.segments > 1, "{rekor:?}");
        // One full tile and one with 14 hashes below one with the hash of the full one.
        assert_eq!((rekor.tiles, rekor.bundles), (3, if bodies == Bodies::Kept { 2 } else { 0 }));
        assert!(before == fixture.files(), "a check changes nothing");
        // Without private keys, as somebody may have who looks at a backup, and without lock files.
        for name in ["ct", "rekor", "rekor-v1"] {
            let path = fixture.path("keys").join(format!("{name}.pem"));
            let public = KeyPair::load(&path).expect("key").public_key().to_pem();
            fs::write(path, public).expect("written");
            fs::remove_file(fixture.path("logs").join(name).join("lock")).expect("removed");
        }
        fixture.assert_clean();
    }
}

#[tokio::test]
async fn one_flipped_bit_anywhere_is_found_and_its_file_is_named() {
    for bodies in [Bodies::Kept, Bodies::Sealed] {
        let fixture = Fixture::filled(bodies).await;
        fixture.assert_clean();
        let mut random = Random(SEED);
        for (path, whole) in fixture.files() {
            // A bit that SQLite does not use may change in an index; its rows are another test.
            if whole.is_empty() || path.to_string_lossy().contains("index.sqlite") {
                continue;
            }
            let is_segment = path.to_string_lossy().contains("/wal/");
            let mut places = vec![0, whole.len() - 1];
            places.extend((0..if is_segment { 5 } else { 2 }).map(|_| random.below(whole.len())));
            if is_segment && whole.iter().any(|byte| *byte != 0) {
                // In the last record, in its padding if it has any, and right behind it.
                let end = whole.iter().rposition(|byte| *byte != 0).expect("a record");
                places.extend([end, end / 2, end - 40, (end + 1).min(whole.len() - 1)]);
                places.push((end + 1).next_multiple_of(512).min(whole.len() - 1));
            }
            for at in places {
                let mut bad = whole.clone();
                bad[at] ^= 1 << random.below(8);
                fs::write(&path, &bad).expect("written");
                let faults: Vec<_> = fixture.check().into_iter().flat_map(|report| report.faults).collect();
                let named = faults.iter().any(|fault| fault.file == path && fault.code == Code::LOG_STORE_CORRUPT);
                assert!(named, "{} at {at} of {}: {faults:?}", path.display(), whole.len());
            }
            fs::write(&path, &whole).expect("written");
        }
        fixture.assert_clean();
    }
}

#[tokio::test]
async fn missing_extra_and_swapped_tiles_are_found() {
    let fixture = Fixture::filled(Bodies::Kept).await;
    for name in ["tile/0/000", "tile/0/001.p/14", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/14"] {
        let path = fixture.public("rekor", name);
        let whole = fs::read(&path).expect(name);
        fs::remove_file(&path).expect("removed");
        fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
        fs::write(&path, &whole[..whole.len() - 1]).expect("written");
        fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
        fs::write(&path, [&whole[..], b"x"].concat()).expect("written");
        fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
        fs::write(&path, whole).expect("written");
    }
    let (one, other) = (fixture.public("rekor", "tile/0/001.p/14"), fixture.public("rekor", "tile/1/000.p/1"));
    for (path, whole) in [(&one, fs::read(&other)), (&other, fs::read(&one))] {
        let before = fs::read(path).expect("read");
        fs::write(path, whole.expect("read")).expect("written");
        fixture.assert_fault(path, Code::LOG_STORE_CORRUPT);
        fs::write(path, before).expect("written");
    }
    let tile = fs::read(fixture.public("rekor", "tile/0/000")).expect("read");
    let extra =
        ["tile/0/001", "tile/0/002", "tile/1/000", "tile/0/001.p/15", "tile/2/000.p/1", "tile/data/000", "tile/0/01"];
    for name in extra {
        let path = fixture.public("rekor", name);
        fs::create_dir_all(path.parent().expect("parent")).expect("made");
        fs::write(&path, &tile).expect("written");
        fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
        fs::remove_file(&path).expect("removed");
    }
    // A narrower form that a crash left behind is none, as long as it is right.
    let left = fixture.public("rekor", "tile/0/000.p/3");
    fs::create_dir_all(left.parent().expect("parent")).expect("made");
    fs::write(&left, &tile[..96]).expect("written");
    fixture.assert_clean();
    fs::write(&left, b"").expect("written");
    fixture.assert_clean();
    fs::write(&left, &tile[32..128]).expect("written");
    fixture.assert_fault(&left, Code::LOG_STORE_CORRUPT);
    fs::remove_file(&left).expect("removed");
    for name in
        ["logs/stray", "logs/rekor/stray", "logs/rekor/wal/1", "logs/rekor/public/stray", "logs/ct/public/issuer/00"]
    {
        let path = fixture.path(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("made");
        fs::write(&path, "stray").expect("written");
        fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
        fs::remove_file(&path).expect("removed");
    }
    // An issuer that was being written when the process died.
    fs::write(fixture.path("logs/ct/public/issuer/00.new"), "unfinished").expect("written");
    fixture.assert_clean();
}

#[tokio::test]
async fn a_sealed_log_has_no_entries() {
    let fixture = Fixture::filled(Bodies::Sealed).await;
    let path = fixture.public("rekor", "tile/entries/000.p/1");
    fs::create_dir_all(path.parent().expect("parent")).expect("made");
    fs::write(&path, b"\x00\x01x").expect("written");
    fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
    // The same log in a directory that says that it keeps its entries: they are missing.
    let open = r#"{"format":2,"created":"2026-11-24T15:00:00Z","host":"log.example","privacy":"open"}"#;
    fs::write(fixture.path("instance.json"), open).expect("written");
    fixture.assert_fault(&fixture.segments("rekor")[0], Code::LOG_STORE_CORRUPT);
    let kept = Fixture::filled(Bodies::Kept).await;
    fs::write(kept.path("instance.json"), open.replace("open", "sealed")).expect("written");
    kept.assert_fault(&kept.segments("rekor")[0], Code::LOG_STORE_CORRUPT);
}

#[tokio::test]
async fn segments_that_are_cut_missing_or_of_another_log_are_found() {
    let fixture = Fixture::filled(Bodies::Kept).await;
    let segments = fixture.segments("rekor");
    assert!(segments.len() > 2);
    for path in &segments {
        let whole = fs::read(path).expect("read");
        for length in [0, 100, 4096, whole.len() - 1] {
            fs::write(path, &whole[..length]).expect("written");
            fixture.assert_fault(path, Code::LOG_STORE_CORRUPT);
        }
        fs::write(path, [&whole[..], &[0]].concat()).expect("written");
        fixture.assert_fault(path, Code::LOG_STORE_CORRUPT);
        fs::write(path, &whole).expect("written");
    }
    // A whole segment is gone: the one behind it does not continue the log.
    let whole = fs::read(&segments[1]).expect("read");
    fs::remove_file(&segments[1]).expect("removed");
    fixture.assert_fault(&segments[2], Code::LOG_STORE_CORRUPT);
    fs::write(&segments[1], whole).expect("written");
    let whole = fs::read(&segments[0]).expect("read");
    fs::remove_file(&segments[0]).expect("removed");
    fixture.assert_fault(&fixture.path("logs/rekor/wal"), Code::LOG_STORE_CORRUPT);
    fs::write(&segments[0], &whole).expect("written");
    // Two logs changed places.
    fs::write(&segments[0], fs::read(&fixture.segments("ct")[0]).expect("read")).expect("written");
    fixture.assert_fault(&segments[0], Code::LOG_STORE_CORRUPT);
    fs::write(&segments[0], whole).expect("written");
    fixture.assert_clean();
    let logs = |name: &str| fixture.path("logs").join(name);
    fs::rename(logs("ct"), logs("aside")).expect("renamed");
    fs::rename(logs("rekor"), logs("ct")).expect("renamed");
    fs::rename(logs("aside"), logs("rekor")).expect("renamed");
    fixture.assert_fault(&fixture.segments("ct")[0], Code::LOG_STORE_CORRUPT);
}

#[tokio::test]
async fn a_checkpoint_of_another_log_or_time_is_found() {
    let fixture = Fixture::filled(Bodies::Kept).await;
    let path = fixture.public("rekor", "checkpoint");
    let latest = fs::read(&path).expect("read");
    fs::copy(fixture.public("ct", "checkpoint"), &path).expect("copied");
    fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
    fs::write(&path, b"").expect("written");
    fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
    fs::remove_file(&path).expect("removed");
    fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
    fs::write(&path, &latest).expect("written");
    let mark = fixture.path("logs/rekor/synced");
    for (text, code) in
        [(waxseal_log::synced::encode(271), Code::LOG_STORE_BEHIND), ("x".into(), Code::LOG_STORE_CORRUPT)]
    {
        fs::write(&mark, text).expect("written");
        fixture.assert_fault(&mark, code);
    }
    fs::write(&mark, waxseal_log::synced::encode(270)).expect("written");
    fixture.assert_clean();

    // The log goes on. An old copy of its checkpoint is older than the mark, and one of its records lacks entries.
    let segments: BTreeMap<_, _> =
        fixture.segments("rekor").into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect();
    fixture.append("rekor", 270..280).await;
    let newest = fs::read(&path).expect("read");
    fs::write(&path, latest).expect("written");
    fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
    fs::write(&path, newest).expect("written");
    fixture.assert_clean();
    for path in fixture.segments("rekor") {
        match segments.get(&path) {
            Some(old) => fs::write(&path, old).expect("written"),
            None => fs::remove_file(&path).expect("removed"),
        }
    }
    fixture.assert_fault(&path, Code::LOG_STORE_BEHIND);
}

/// As a crash leaves it, and as a power cut does: what is not durable may be gone, and what is there has to be right.
#[tokio::test]
async fn what_a_crash_leaves_is_no_damage() {
    let fixture = Fixture::filled(Bodies::Kept).await;
    let before = fixture.files();
    fixture.append("rekor", 270..300).await;
    let segment = fixture.segments("rekor").pop().expect("one");
    let new = fs::read(&segment).expect("read");
    // Everything but the records is as it was, so nothing of the new ones was published.
    for (path, _) in fixture.files() {
        match before.get(&path) {
            _ if path.to_string_lossy().contains("/wal/") => {}
            Some(bytes) => fs::write(&path, bytes).expect("written"),
            None => fs::remove_file(&path).expect("removed"),
        }
    }
    for (path, bytes) in before.iter().filter(|(path, _)| !path.exists()) {
        fs::create_dir_all(path.parent().expect("parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }
    let rekor = |fixture: &Fixture| fixture.check().remove(1);
    let report = rekor(&fixture);
    assert!(report.is_clean() && report.entries == 300, "{report:?}");

    // The last record was not finished: one of its sectors is missing.
    let end = new.iter().rposition(|byte| *byte != 0).expect("a record").next_multiple_of(512);
    let start = (0..end).step_by(512).rfind(|at| new[*at..].starts_with(b"WXR1")).expect("a record");
    for lacking in 0..(end - start) / 512 {
        let mut torn = new.clone();
        torn[start + lacking * 512..start + (lacking + 1) * 512].fill(0);
        fs::write(&segment, &torn).expect("written");
        let report = rekor(&fixture);
        assert!(report.is_clean() && report.unfinished && report.entries == 299, "{lacking}: {report:?}");
    }
    // It was finished, and somebody may have been answered: then it is damage.
    let mut bad = new.clone();
    bad[start + 600] ^= 1;
    fs::write(&segment, &bad).expect("written");
    fixture.assert_fault(&segment, Code::LOG_STORE_CORRUPT);
    fs::write(&segment, &new).expect("written");

    // Published, and not yet durable: gone, empty, or lacking sectors.
    fixture.open("rekor").close();
    let mark = fixture.path("logs/rekor/synced");
    fs::write(&mark, waxseal_log::synced::encode(256)).expect("written");
    let tile = fixture.public("rekor", "tile/entries/001.p/44");
    let whole = fs::read(&tile).expect("read");
    let mut holes = whole.clone();
    holes[1024..2048].fill(0);
    for bytes in [Some(holes), Some(Vec::new()), Some(whole[..512].to_vec()), None] {
        match bytes {
            Some(bytes) => fs::write(&tile, bytes).expect("written"),
            None => fs::remove_file(&tile).expect("removed"),
        }
        let report = rekor(&fixture);
        assert!(report.is_clean() && report.not_durable == 1, "{report:?}");
    }
    let mut bad = whole.clone();
    bad[1030] ^= 4;
    fs::write(&tile, bad).expect("written");
    fixture.assert_fault(&tile, Code::LOG_STORE_CORRUPT);
    fs::write(&tile, whole).expect("written");
    let durable = fixture.public("rekor", "tile/entries/000");
    fs::write(&durable, b"").expect("written");
    fixture.assert_fault(&durable, Code::LOG_STORE_CORRUPT);
}

/// An index is a view: where it is missing it is made again, and where it is there it has what the records have.
#[tokio::test]
async fn an_index_has_the_rows_of_the_records() {
    for bodies in [Bodies::Kept, Bodies::Sealed] {
        let fixture = Fixture::filled(bodies).await;
        let path = fixture.path("logs/rekor-v1/index.sqlite");
        let before = fixture.files();
        assert!(before.contains_key(&path));
        let view =
            |log: &str| ["", "-wal", "-shm"].map(|suffix| fixture.path(&format!("logs/{log}/index.sqlite{suffix}")));
        let contents = |log: &str| view(log).map(|path| fs::read(path).ok());
        let replace = |contents: &[Option<Vec<u8>>; 3]| {
            for (path, bytes) in view("rekor-v1").iter().zip(contents) {
                match bytes {
                    Some(bytes) => fs::write(path, bytes).expect("written"),
                    None => drop(fs::remove_file(path)),
                }
            }
        };
        // That of another log, of another time, and none at all.
        replace(&contents("ct"));
        fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
        replace(&[Some(b"no index".to_vec()), None, None]);
        fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
        replace(&[None, None, None]);
        fixture.assert_clean();
        fixture.append("rekor-v1", 5..30).await;
        fixture.assert_clean();
        let newer = contents("rekor-v1");
        for (path, bytes) in before.iter().filter(|(path, _)| path.starts_with(fixture.path("logs/rekor-v1"))) {
            fs::write(path, bytes).expect("written");
        }
        for path in fixture.files().into_keys().filter(|path| !before.contains_key(path)) {
            fs::remove_file(path).expect("removed");
        }
        fixture.assert_clean();
        replace(&newer);
        fixture.assert_fault(&path, Code::LOG_STORE_CORRUPT);
    }
}

#[tokio::test]
async fn a_directory_in_use_is_left_alone() {
    let fixture = Fixture::new(Bodies::Kept);
    let log = fixture.open("rekor");
    let refused = |fixture: &Fixture| check(fixture.directory.path(), &|_| ()).expect_err("refused").code();
    assert_eq!(refused(&fixture), Code::LOG_STORE_LOCKED);
    log.close();
    let lock = DirectoryLock::acquire(&OsDisk, fixture.directory.path()).expect("free");
    assert_eq!(refused(&fixture), Code::LOG_STORE_LOCKED);
    drop(lock);
    fixture.assert_clean();
    fs::rename(fixture.path("logs"), fixture.path("aside")).expect("renamed");
    assert_eq!(refused(&fixture), Code::LOG_STORE_FAILED);
}
