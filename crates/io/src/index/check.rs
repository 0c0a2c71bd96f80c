//! Holding the file of an index against the records, without changing it.
//!
//! Rows come in the order of their keys and records in that of their entries. So each side is added up: a sum of digests over
//! the rows of a kind is the same for the same rows in any order, and differs when one is missing, more, or another.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use waxseal_formats::crypto::digest::sha256_concat;
use waxseal_formats::merkle::Hash;

use super::file::{self, Run};
use super::{Batch, IndexError, KINDS, Key, Kind, key_of, times};

/// Stands beside the kinds of rows for the times of entries.
const TIMES: u8 = 255;

/// The sum of digests over rows in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum(u128);

impl Sum {
    fn add(&mut self, kind: u8, key: &[u8], index: u64) {
        let [digest @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            sha256_concat(&[&[kind], &index.to_be_bytes(), key]);
        self.0 = self.0.wrapping_add(u128::from_be_bytes(digest));
    }
}

/// What the rows of each kind and the times add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    rows: [Sum; KINDS.len()],
    times: Sum,
}

impl Sums {
    fn row(&mut self, kind: Kind, key: &Key, index: u64) {
        if let Some(sum) = self.rows.get_mut(usize::from(kind as u8)) {
            sum.add(kind as u8, key, index);
        }
    }

    fn time(&mut self, index: u64, time_ms: u64) {
        self.times.add(TIMES, &time_ms.to_be_bytes(), index);
    }
}

/// The file of an index that is being checked.
#[derive(Debug)]
pub struct Check {
    path: PathBuf,
    size: u64,
    last: Hash,
    found: Sums,
    /// What the records say, as far as they were read.
    expected: Sums,
    read: u64,
    last_read: Hash,
}

impl Check {
    /// Reads all rows of the file at `path`, which has to be the index of the log with this key ID. `None` if there is no file,
    /// or one in which nothing was written yet.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] if the file is no intact index of the log; [`IndexError::Sqlite`] if it cannot be read.
    pub fn open(path: &Path, log: &Hash) -> Result<Option<Self>, IndexError> {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |data| data.len());
        let mut journal = path.as_os_str().to_os_string();
        journal.push("-journal");
        // A journal besides the log is there only while the file is being made.
        if length(path) == 0 || length(Path::new(&journal)) > 0 {
            return Ok(None);
        }
        let failed = IndexError::sqlite(path);
        let connection = connect(path).map_err(&failed)?;
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
        if tables.map_err(&failed)? == 0 {
            return Ok(None);
        }
        Self::read(path, log, &connection).map(Some)
    }

    fn read(path: &Path, log: &Hash, connection: &Connection) -> Result<Self, IndexError> {
        let failed = IndexError::sqlite(path);
        let damaged = |problem: String| IndexError::Damaged { path: path.to_owned(), problem };
        let whole: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(&failed)?;
        if whole != "ok" {
            return Err(damaged(whole));
        }
        let file::Meta { size, last, runs } = file::meta(path, log, connection)?;
        let mut found = Sums::default();
        for run in &runs {
            read_run(connection, run, &mut found).map_err(&failed)?.map_err(damaged)?;
        }
        read_times(connection, size, &mut found).map_err(&failed)?.map_err(damaged)?;
        Ok(Self {
            path: path.to_owned(),
            size,
            last,
            found,
            expected: Sums::default(),
            read: 0,
            last_read: Hash::default(),
        })
    }

    /// Takes in the next batch of the log, as its record has it.
    pub fn push(&mut self, batch: &Batch<'_>) {
        let end = batch.first.saturating_add(batch.leaf_hashes.len() as u64);
        if batch.first >= self.size {
            self.read = end;
            return;
        }
        let size = self.size;
        for (index, hash) in (batch.first..size).zip(batch.leaf_hashes) {
            self.expected.row(Kind::Leaf, &key_of(hash), index);
            self.expected.time(index, batch.time_ms);
            self.last_read = *hash;
        }
        for (index, hash) in (batch.first..size).zip(batch.identities.unwrap_or_default()) {
            self.expected.row(Kind::Identity, &key_of(hash), index);
        }
        // An entry has a key once, however often it was given.
        let mut search = batch.search.to_vec();
        search.sort_unstable();
        search.dedup();
        for (offset, key) in search {
            let index = batch.first.saturating_add(u64::from(offset));
            if index < size {
                self.expected.row(Kind::Search, &key, index);
            }
        }
        self.read = end;
    }

    /// Leaves that the file covers: the others are held in memory by a running log.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Compares, when all batches of the log were taken in.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] if the file does not have the rows of the records.
    pub fn finish(self) -> Result<(), IndexError> {
        let damaged = |problem: String| Err(IndexError::Damaged { path: self.path.clone(), problem });
        if self.size > self.read {
            return damaged(format!("it covers {} entries, and the records have {}", self.size, self.read));
        }
        if self.size > 0 && self.last != self.last_read {
            return damaged("its last entry is another one".to_owned());
        }
        for (kind, (found, expected)) in KINDS.iter().zip(self.found.rows.iter().zip(&self.expected.rows)) {
            if found != expected {
                return damaged(format!("its rows by {kind:?} are not those of the records"));
            }
        }
        if self.found.times != self.expected.times {
            return damaged("its times are not those of the records".to_owned());
        }
        Ok(())
    }
}

/// Opens a file so that nothing is written, neither to it nor beside it.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let [_, wal, _] = file::files(path);
    if std::fs::metadata(wal).map_or(0, |data| data.len()) == 0 {
        let mut uri = String::from("file:");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => uri.push(char::from(*byte)),
                _ => uri.push_str(&format!("%{byte:02X}")),
            }
        }
        uri.push_str("?immutable=1");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        return Connection::open_with_flags(uri, flags);
    }
    // Transactions stand in the log beside the file. Alone with it, SQLite needs no shared memory to read them, and told so it
    // does not move them on closing.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON;")?;
    Ok(connection)
}

/// Adds up the rows of a run; the inner error says what is wrong with it.
fn read_run(connection: &Connection, run: &Run, found: &mut Sums) -> rusqlite::Result<Result<(), String>> {
    for part in 0..1u64 << run.bits {
        let bytes = file::read_part(connection, run, part)?;
        let Some(rows) = bytes.and_then(|bytes| run.place(part).decode(&bytes)) else {
            return Ok(Err(format!("part {part} of the run from entry {} on is damaged", run.first)));
        };
        for (key, index) in rows {
            if !run.may_have(run.kind, &key) {
                return Ok(Err(format!("the filter of the run from entry {} on denies a key", run.first)));
            }
            found.row(run.kind, &key, index);
        }
    }
    Ok(Ok(()))
}

fn read_times(connection: &Connection, size: u64, found: &mut Sums) -> rusqlite::Result<Result<(), String>> {
    let mut select = connection.prepare("SELECT first, batches FROM time ORDER BY first DESC")?;
    let mut rows = select.query([])?;
    // From the last group to the first: a group ends where the next one begins.
    let mut end = size;
    while let Some(row) = rows.next()? {
        let (first, bytes) = (row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, Vec<u8>>(1)?);
        let batches = times::batches(first, &bytes).filter(|_| first < end);
        let Some(batches) = batches else { return Ok(Err(format!("the times from entry {first} on are damaged"))) };
        let mut batches = batches.into_iter().peekable();
        while let Some((begin, time)) = batches.next() {
            let behind = batches.peek().map_or(end, |(next, _)| *next).min(end);
            (begin..behind).for_each(|index| found.time(index, time));
        }
        end = first;
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::Check;
    use crate::index::tests::{Entries, LOG, SMALL};
    use crate::index::{Index, IndexError};
    use rusqlite::Connection;
    use std::fs;
    use std::path::Path;
    use waxseal_formats::code::Code;

    fn check(path: &Path, entries: &Entries) -> Result<(), IndexError> {
        let Some(mut check) = Check::open(path, &LOG)? else { return Ok(()) };
        entries.each(|batch| check.push(batch));
        check.finish()
    }

    fn files(directory: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .expect("directory")
            .map(|entry| entry.expect("entry"))
            .map(|entry| (entry.file_name(), fs::read(entry.path()).expect("read")))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_file_has_the_rows_of_the_records_and_is_not_changed() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("index ?#%.sqlite");
        let entries = Entries::new(300);
        assert!(check(&path, &entries).is_ok(), "there is none");
        assert_eq!(files(directory.path()), []);
        let index = Index::open(&path, &LOG, SMALL);
        entries.push(&index);
        index.spill().expect("written");
        index.merge().expect("merged");
        // As a killed process leaves it: what was written last stands beside the file.
        let killed = tempfile::tempdir().expect("directory");
        for (name, bytes) in files(directory.path()) {
            fs::write(killed.path().join(name), bytes).expect("copied");
        }
        drop(index);
        for directory in [killed.path(), directory.path()] {
            let path = directory.join("index ?#%.sqlite");
            let before = files(directory);
            check(&path, &entries).expect("the same rows");
            assert!(before == files(directory), "it was changed");
            assert!(Check::open(&path, &LOG).expect("read").expect("a file").size() > 200);
            for other in [Entries::new(200), Entries::new(299)] {
                let is_whole = check(&path, &other).is_ok();
                assert_eq!(is_whole, other.size > 296, "{}", other.size);
            }
            assert_eq!(Check::open(&path, &[8; 32]).expect_err("of another log").code(), Code::LOG_STORE_CORRUPT);
        }
    }

    #[test]
    fn rows_that_are_missing_or_others_are_found() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("index.sqlite");
        let entries = Entries::new(300);
        let index = Index::open(&path, &LOG, SMALL);
        entries.push(&index);
        index.spill().expect("written");
        drop(index);
        check(&path, &entries).expect("whole");
        let whole = fs::read(&path).expect("read");
        for change in [
            "DELETE FROM time WHERE first = 8",
            "UPDATE time SET first = first + 1 WHERE first = 8",
            "DELETE FROM part WHERE id = (SELECT max(id) FROM part)",
            "UPDATE part SET rows = (SELECT rows FROM part ORDER BY id LIMIT 1)",
            "DELETE FROM run WHERE kind = 2 AND first = 0",
            "DELETE FROM run WHERE kind = 1 AND first = 0",
            "UPDATE run SET first = first + 1 WHERE kind = 0",
            "UPDATE meta SET size = size - 8",
            "UPDATE meta SET last = zeroblob(32)",
        ] {
            let connection = Connection::open(&path).expect("opened");
            connection.execute(change, []).expect(change);
            connection.close().expect("closed");
            assert_eq!(check(&path, &entries).expect_err(change).code(), Code::LOG_STORE_CORRUPT);
            fs::write(&path, &whole).expect("written");
        }
        check(&path, &entries).expect("whole again");
        fs::write(&path, &whole[..whole.len() / 2]).expect("written");
        assert_eq!(check(&path, &entries).expect_err("cut").code(), Code::LOG_STORE_CORRUPT);
        fs::write(&path, "no index").expect("written");
        assert_eq!(check(&path, &entries).expect_err("none").code(), Code::LOG_STORE_CORRUPT);
    }
}
