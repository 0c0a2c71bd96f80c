//! What every disk does, run on each.

use std::io::ErrorKind;
use std::path::Path;

use super::memory::{Fault, MemoryDisk, Operation};
use super::{Disk, DiskFile, Open, OsDisk, is_full};

/// Runs a test on an empty directory of either disk.
fn on_each(test: impl Fn(&dyn Disk, &Path)) {
    let directory = tempfile::tempdir().expect("directory");
    test(&OsDisk, directory.path());
    let disk = MemoryDisk::new();
    disk.create_directories(Path::new("/a/b")).expect("made");
    test(&disk, Path::new("/a/b"));
}

fn contents(file: &dyn DiskFile, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = vec![0xaa; length];
    let read = file.read_at(&mut buffer, offset).expect("read");
    buffer.truncate(read);
    buffer
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    disk.open(path, Open::Replace).and_then(|file| file.write_at(bytes, 0)).expect("written");
}

#[test]
fn files_are_made_written_cut_and_read() {
    on_each(|disk, root| {
        let path = root.join("file");
        for how in [Open::Read, Open::Write] {
            assert_eq!(disk.open(&path, how).expect_err("none").kind(), ErrorKind::NotFound);
        }
        let file = disk.open(&path, Open::New).expect("made");
        assert_eq!(disk.open(&path, Open::New).expect_err("there").kind(), ErrorKind::AlreadyExists);
        file.write_at(b"hello", 3).expect("written");
        file.sync_data().expect("synced");
        let reader = disk.open(&path, Open::Read).expect("opened");
        assert_eq!(contents(&*reader, 0, 20), b"\0\0\0hello");
        assert_eq!(contents(&*reader, 6, 1), b"l");
        assert_eq!(contents(&*reader, 8, 9), b"");
        assert!(reader.write_at(b"x", 0).is_err());
        file.set_len(5).expect("cut");
        file.set_len(7).expect("lengthened");
        file.sync_all().expect("synced");
        assert_eq!((contents(&*reader, 0, 20).as_slice(), reader.len().expect("length")), (&b"\0\0\0he\0\0"[..], 7));
        disk.open(&path, Open::Write).and_then(|again| again.write_at(b"!", 0)).expect("written");
        assert_eq!(disk.read(&path, 7).expect("read").as_deref(), Some(&b"!\0\0he\0\0"[..]));
        assert_eq!(disk.read(&path, 6).expect_err("long").kind(), ErrorKind::FileTooLarge);
        drop(disk.open(&path, Open::Replace).expect("emptied"));
        assert_eq!(disk.read(&path, 0).expect("read").as_deref(), Some(&b""[..]));
    });
}

#[test]
fn names_are_changed_removed_and_listed() {
    on_each(|disk, root| {
        let (old, new, below) = (root.join("old"), root.join("new"), root.join("x/y"));
        write(disk, &new, b"to be replaced");
        let file = disk.open(&old, Open::New).expect("made");
        disk.rename(&old, &new).expect("renamed");
        // The open file is the one with the new name.
        file.write_at(b"moved", 0).expect("written");
        assert_eq!(disk.read(&new, 99).expect("read").as_deref(), Some(&b"moved"[..]));
        assert_eq!(disk.read(&old, 99).expect("read"), None);
        assert_eq!(disk.rename(&old, &new).expect_err("none").kind(), ErrorKind::NotFound);
        assert_eq!(disk.rename(&new, &below.join("z")).expect_err("nowhere").kind(), ErrorKind::NotFound);
        assert_eq!(disk.create_directory(&below).expect_err("nowhere").kind(), ErrorKind::NotFound);
        disk.create_directories(&below).expect("made");
        disk.create_directories(&below).expect("there already");
        assert_eq!(disk.create_directory(&below).expect_err("there").kind(), ErrorKind::AlreadyExists);
        disk.rename(&new, &below.join("z")).expect("moved");
        assert_eq!(disk.list(&below).expect("listed"), [below.join("z")]);
        assert_eq!(disk.list(root).expect("listed"), [root.join("x")]);
        assert_eq!(disk.list(&below.join("w")).expect_err("none").kind(), ErrorKind::NotFound);
        assert_eq!(disk.remove_directory(&below).expect_err("full").kind(), ErrorKind::DirectoryNotEmpty);
        // A directory is no file, and nothing is below a file.
        assert_eq!(disk.read(&below, 99).expect_err("a directory").kind(), ErrorKind::IsADirectory);
        assert_eq!(disk.read(&below.join("z/a"), 99).expect_err("below a file").kind(), ErrorKind::NotADirectory);
        disk.remove(&below.join("z")).expect("removed");
        assert_eq!(disk.remove(&below.join("z")).expect_err("gone").kind(), ErrorKind::NotFound);
        disk.remove_directory(&below).expect("removed");
        disk.sync_directory(root).expect("synced");
        disk.sync_file_system(root).expect("synced");
        assert_eq!(disk.sync_directory(&below).expect_err("gone").kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_lock_has_one_holder() {
    on_each(|disk, root| {
        let path = root.join("lock");
        let held = disk.lock(&path).expect("locked").expect("free");
        assert!(disk.lock(&path).expect("asked").is_none());
        drop(held);
        assert!(disk.lock(&path).expect("asked").is_some());
        assert!(disk.free_space(root).expect("told") > 0);
    });
}

const ROOT: &str = "/log";

/// A disk with a durable directory and in it a durable file of four sectors of ones.
fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_directory(Path::new(ROOT)).expect("made");
    write(&disk, &Path::new(ROOT).join("file"), &[1; 2048]);
    disk.sync_file_system(Path::new(ROOT)).expect("synced");
    disk
}

fn after_cut(disk: &MemoryDisk, seed: u64, name: &str) -> Option<Vec<u8>> {
    let disk = disk.copy();
    disk.power_cut(seed);
    disk.read(&Path::new(ROOT).join(name), 1 << 20).expect("read")
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    let disk = disk();
    let (file, renamed) = (Path::new(ROOT).join("file"), Path::new(ROOT).join("renamed"));
    disk.open(&file, Open::Write)
        .and_then(|file| file.write_at(&[2; 1024], 512).and_then(|()| file.sync_data()))
        .unwrap();
    disk.rename(&file, &renamed).expect("renamed");
    disk.sync_directory(Path::new(ROOT)).expect("synced");
    for seed in 0..64 {
        let expected = [[1; 512], [2; 512], [2; 512], [1; 512]].concat();
        assert_eq!(after_cut(&disk, seed, "renamed"), Some(expected), "{seed}");
        assert_eq!(after_cut(&disk, seed, "file"), None, "{seed}");
    }
}

#[test]
fn what_was_not_synced_is_lost_by_sectors_and_names() {
    let disk = disk();
    let (file, other) = (Path::new(ROOT).join("file"), Path::new(ROOT).join("other"));
    disk.open(&file, Open::Write).and_then(|file| file.write_at(&[2; 1100], 600)).expect("written");
    write(&disk, &other, &[3; 1024]);
    // The contents are synced, the name is not.
    disk.open(&other, Open::Write).and_then(|file| file.sync_all()).expect("synced");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..256 {
        let left = after_cut(&disk, seed, "file").expect("its name is durable");
        assert_eq!((left.len(), &left[..600], &left[1700..]), (2048, &[1; 600][..], &[1; 348][..]));
        let sectors: Vec<u8> = [600, 1024, 1536].iter().map(|at| left[*at]).collect();
        // Whole sectors, old or new.
        assert!(left[600..1024].iter().all(|byte| *byte == sectors[0]));
        assert!(left[1024..1536].iter().all(|byte| *byte == sectors[1]));
        let other = after_cut(&disk, seed, "other");
        assert!(other.as_ref().is_none_or(|other| other == &[3; 1024]), "{seed}");
        seen.insert((sectors, other.is_some()));
    }
    assert_eq!(seen.len(), 16, "every choice is made by some seed");
}

#[test]
fn a_failed_sync_has_lost_what_a_second_one_seems_to_keep() {
    let disk = disk();
    let file = disk.open(&Path::new(ROOT).join("file"), Open::Write).expect("opened");
    file.write_at(&[2; 2048], 0).expect("written");
    disk.fail_at(1, Fault::Io);
    assert!(file.sync_data().is_err() && disk.failure().is_some());
    file.sync_data().expect("as if nothing had happened");
    assert_eq!(disk.read(&Path::new(ROOT).join("file"), 4096).expect("read"), Some(vec![2; 2048]));
    assert_eq!(after_cut(&disk, 1, "file"), Some(vec![1; 2048]));
}

#[test]
fn it_stops_fails_and_fills_up_when_told() {
    let disk = disk();
    let path = Path::new(ROOT).join("file");
    let file = disk.open(&path, Open::Write).expect("opened");
    disk.fail_at(2, Fault::ShortWrite);
    file.write_at(&[2; 512], 0).expect("the first one");
    assert!(is_full(&file.write_at(&[3; 512], 0).expect_err("the second one")));
    let read = |disk: &MemoryDisk| disk.read(&path, 4096).expect("read").expect("there");
    assert_eq!(read(&disk)[..512], [[3; 256], [2; 256]].concat());
    disk.set_capacity(Some(2560));
    assert_eq!(disk.free_space(&path).expect("told"), 512);
    assert!(is_full(&file.write_at(&[4; 1024], 2048).expect_err("full")));
    assert_eq!(file.len().expect("length"), 2560);
    file.write_at(&[5; 512], 0).expect("what is there can be overwritten");
    disk.stop_at(2);
    let operations = disk.operations();
    file.write_at(&[6; 512], 0).expect("the last one");
    assert!(file.write_at(&[7; 512], 0).is_err() && disk.read(&path, 4096).is_err() && disk.free_space(&path).is_err());
    assert_eq!((disk.operations(), disk.failure()), (operations + 2, Some((Operation::Write, path.clone()))));
    disk.kill();
    // What the dead process had opened is closed, what it had written is there.
    assert!(file.write_at(&[8; 512], 0).is_err());
    assert_eq!(read(&disk)[..512], [7; 512]);
}

#[test]
fn an_ignored_sync_does_nothing() {
    let disk = disk();
    let path = Path::new(ROOT).join("file");
    disk.ignore(|operation, path| operation == Operation::SyncData && path.ends_with("file"));
    let file = disk.open(&path, Open::Write).expect("opened");
    file.write_at(&[2; 512], 0).and_then(|()| file.sync_data()).expect("written");
    assert_eq!(disk.ignored(), 1);
    assert_eq!(after_cut(&disk, 0, "file"), Some(vec![1; 2048]));
    file.sync_all().expect("synced");
    assert_eq!(after_cut(&disk, 0, "file").expect("there")[..512], [2; 512]);
    assert!(disk.syncs().contains(&(Operation::SyncData, path)));
}
