//! The runs in their SQLite file: one writer, a few readers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use waxseal_formats::merkle::Hash;

use super::filter::Filter;
use super::fresh::Chunk;
use super::run::{self, MAX_BITS, Place, Row};
use super::{IndexError, KINDS, Key, Kind, times};

/// Says that a file is an index, in SQLite's own field for that ("wxsi").
const APPLICATION: i32 = 0x7778_7369;
/// Version of the tables. Files of another version are made again.
const VERSION: i32 = 1;
/// So many runs as they came are merged into one.
const MERGED: usize = 16;
/// Connections that read.
const READERS: usize = 4;
/// Bytes of filters that are held in memory; older runs than fit are looked into instead: 128 million leaves.
const MAX_FILTERS: usize = 256 << 20;

const TABLES: &str = "
    CREATE TABLE meta (log BLOB NOT NULL, size INTEGER NOT NULL, last BLOB NOT NULL);
    CREATE TABLE time (first INTEGER PRIMARY KEY, batches BLOB NOT NULL);
    CREATE TABLE run (
        id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, merged INTEGER NOT NULL, first INTEGER NOT NULL,
        leaves INTEGER NOT NULL, bits INTEGER NOT NULL, filter BLOB
    );
    CREATE TABLE part (id INTEGER PRIMARY KEY, rows BLOB NOT NULL);
";

/// A run that stands in the file. Its parts have the numbers from `id << 16` on.
#[derive(Debug)]
pub(super) struct Run {
    id: i64,
    pub(super) kind: Kind,
    merged: bool,
    pub(super) first: u64,
    leaves: u64,
    pub(super) bits: u8,
    filter: Option<Filter>,
}

impl Run {
    pub(super) fn place(&self, part: u64) -> Place {
        Place { kind: self.kind, first: self.first, bits: self.bits, part }
    }

    fn part_id(&self, part: u64) -> i64 {
        (self.id << MAX_BITS) | i64::try_from(part).unwrap_or(0)
    }

    pub(super) fn may_have(&self, kind: Kind, key: &Key) -> bool {
        self.kind == kind && self.filter.as_ref().is_none_or(|filter| filter.may_have(key))
    }
}

/// The file of an index, open.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Vec<Mutex<Connection>>,
    turn: AtomicUsize,
    /// The runs, by their first leaf. Replaced as a whole, after the file.
    runs: RwLock<Arc<Vec<Arc<Run>>>>,
    size: AtomicU64,
    last: Mutex<Hash>,
}

/// The files that SQLite keeps for one database.
pub(super) fn files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_os_string();
        name.push(suffix);
        name.into()
    })
}

impl Database {
    /// Opens the index of a log, or makes an empty one if there is no file.
    pub(super) fn open(path: &Path, log: &Hash) -> Result<Self, IndexError> {
        let failed = IndexError::sqlite(path);
        let mut writer = connect(path).map_err(&failed)?;
        let tables = writer.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
        if tables.map_err(&failed)? == 0 {
            create(&mut writer, log).map_err(&failed)?;
        }
        let Meta { size, last, mut runs } = meta(path, log, &writer)?;
        limit(&mut runs);
        let readers = (0..READERS).map(|_| connect(path).map(Mutex::new));
        let readers = readers.collect::<Result<Vec<_>, _>>().map_err(&failed)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers,
            turn: AtomicUsize::new(0),
            runs: RwLock::new(Arc::new(runs.into_iter().map(Arc::new).collect())),
            size: AtomicU64::new(size),
            last: Mutex::new(last),
        })
    }

    /// Leaves that the file covers.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Hash of the last leaf that the file covers.
    pub(super) fn last(&self) -> Hash {
        *lock(&self.last)
    }

    /// Adds the leaves of a chunk, which begins where the file ends, in one transaction.
    pub(super) fn write(&self, chunk: &Chunk) -> Result<(), IndexError> {
        if chunk.first != self.size() {
            return Err(IndexError::Gap { size: self.size(), first: chunk.first });
        }
        let failed = IndexError::sqlite(&self.path);
        let mut writer = lock(&self.writer);
        let transaction = writer.transaction().map_err(&failed)?;
        let mut runs = Vec::new();
        for kind in KINDS {
            let rows = chunk.rows(kind);
            if !rows.is_empty() {
                let run =
                    NewRun { kind, merged: false, first: chunk.first, leaves: chunk.len(), rows: rows.len() as u64 };
                let mut sink = run.begin(&transaction, 0).map_err(&failed)?;
                rows.iter().try_for_each(|row| sink.push(row)).map_err(&failed)?;
                runs.push(sink.finish().map_err(&failed)?);
            }
        }
        {
            let mut insert =
                transaction.prepare_cached("INSERT INTO time (first, batches) VALUES (?1, ?2)").map_err(&failed)?;
            for (first, batches) in times::encode(chunk.first, chunk.end, &chunk.times) {
                insert.execute(params![signed(first), batches]).map_err(&failed)?;
            }
        }
        let update =
            transaction.execute("UPDATE meta SET size = ?1, last = ?2", params![signed(chunk.end), chunk.last]);
        update.map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        self.replace(|all| all.extend(runs.drain(..).map(Arc::new)));
        *lock(&self.last) = chunk.last;
        self.size.store(chunk.end, Ordering::Release);
        Ok(())
    }

    /// Whether enough runs stand as they came to [merge](Database::merge) them.
    pub(super) fn wants_merging(&self) -> bool {
        let runs = self.runs();
        KINDS.iter().any(|kind| runs.iter().filter(|run| run.kind == *kind && !run.merged).count() >= MERGED)
    }

    /// Merges runs where enough of them stand as they came: the number of runs that a look-up may have to read stays small.
    pub(super) fn merge(&self) -> Result<(), IndexError> {
        for kind in KINDS {
            loop {
                let small: Vec<_> =
                    self.runs().iter().filter(|run| run.kind == kind && !run.merged).take(MERGED).cloned().collect();
                if small.len() < MERGED {
                    break;
                }
                self.merge_runs(kind, &small)?;
            }
        }
        Ok(())
    }

    fn merge_runs(&self, kind: Kind, small: &[Arc<Run>]) -> Result<(), IndexError> {
        let mut writer = lock(&self.writer);
        let merged = self.merge_in(&mut writer, kind, small)?;
        self.list_merged(small, merged);
        Ok(())
    }

    /// Has the list of runs say what the file says.
    fn list_merged(&self, small: &[Arc<Run>], merged: Run) {
        self.replace(|all| {
            all.retain(|run| small.iter().all(|old| old.id != run.id));
            all.push(Arc::new(merged));
        });
    }

    /// Merges the runs in the file.
    fn merge_in(&self, writer: &mut Connection, kind: Kind, small: &[Arc<Run>]) -> Result<Run, IndexError> {
        let failed = IndexError::sqlite(&self.path);
        let first = small.iter().map(|run| run.first).min().unwrap_or(0);
        let end = small.iter().map(|run| run.first.saturating_add(run.leaves)).max().unwrap_or(first);
        // Prefixes of this length choose whole parts in each of the runs.
        let coarse = small.iter().map(|run| run.bits).min().unwrap_or(0);
        let transaction = writer.transaction().map_err(&failed)?;
        let mut count = 0u64;
        for run in small {
            let bytes = transaction.query_row(
                "SELECT sum(length(rows)) FROM part WHERE id BETWEEN ?1 AND ?2",
                params![run.part_id(0), run.part_id((1 << run.bits) - 1)],
                |row| row.get::<_, Option<i64>>(0),
            );
            // The digests count as rows: a little too many does no harm, the number only decides how the run is cut.
            count = count.saturating_add(bytes.map_err(&failed)?.map_or(0, i64::unsigned_abs) / 20);
        }
        let run = NewRun { kind, merged: true, first, leaves: end.saturating_sub(first), rows: count };
        let mut sink = run.begin(&transaction, coarse).map_err(&failed)?;
        let mut rows: Vec<Row> = Vec::new();
        for prefix in 0..1u64 << coarse {
            rows.clear();
            for run in small {
                let finer = run.bits.saturating_sub(coarse);
                for part in prefix << finer..(prefix.saturating_add(1)) << finer {
                    let bytes = read_part(&transaction, run, part).map_err(&failed)?;
                    let found = bytes.and_then(|bytes| run.place(part).decode(&bytes));
                    rows.extend(found.ok_or_else(|| self.damaged_part(run, part))?);
                }
            }
            rows.sort_unstable();
            rows.iter().try_for_each(|row| sink.push(row)).map_err(&failed)?;
        }
        let merged = sink.finish().map_err(&failed)?;
        for run in small {
            let parts = params![run.part_id(0), run.part_id((1 << run.bits) - 1)];
            transaction.execute("DELETE FROM part WHERE id BETWEEN ?1 AND ?2", parts).map_err(&failed)?;
            transaction.execute("DELETE FROM run WHERE id = ?1", [run.id]).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)?;
        Ok(merged)
    }

    /// Whether a look-up has to read the file at all: `false` means that no entry has the key.
    pub(super) fn may_have(&self, kind: Kind, key: &Key) -> bool {
        self.runs().iter().any(|run| run.may_have(kind, key))
    }

    /// The indices of the entries with this key, in no order.
    pub(super) fn find(&self, kind: Kind, key: &Key) -> Result<Vec<u64>, IndexError> {
        loop {
            let runs = self.runs();
            match self.find_in(&runs, kind, key) {
                // A run that was merged away meanwhile; what it had stands in another one now. The file knows of a merge before
                // the list of runs does: whoever merges holds the writer until both do.
                Ok(None) => {
                    let _merged = lock(&self.writer);
                    if Arc::ptr_eq(&runs, &self.runs()) {
                        return Err(self.damaged("a part of it is missing"));
                    }
                }
                Ok(Some(found)) => return Ok(found),
                Err(error) => return Err(error),
            }
        }
    }

    /// `None` if a part is missing.
    fn find_in(&self, runs: &[Arc<Run>], kind: Kind, key: &Key) -> Result<Option<Vec<u64>>, IndexError> {
        let reader = self.reader();
        let mut found = Vec::new();
        for run in runs.iter().filter(|run| run.may_have(kind, key)) {
            let part = run::part(key, run.bits);
            let bytes = read_part(&reader, run, part).map_err(IndexError::sqlite(&self.path))?;
            let Some(bytes) = bytes else { return Ok(None) };
            found.extend(run.place(part).find(&bytes, key).ok_or_else(|| self.damaged_part(run, part))?);
        }
        Ok(Some(found))
    }

    /// When an entry was sequenced; `None` if the file does not cover it.
    pub(super) fn time(&self, index: u64) -> Result<Option<u64>, IndexError> {
        if index >= self.size() {
            return Ok(None);
        }
        let reader = self.reader();
        let group = reader
            .prepare_cached("SELECT first, batches FROM time WHERE first <= ?1 ORDER BY first DESC LIMIT 1")
            .and_then(|mut select| {
                let group =
                    select.query_row([signed(index)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
                group.optional()
            });
        let group = group.map_err(IndexError::sqlite(&self.path))?;
        let time = group.and_then(|(first, batches)| times::find(first.unsigned_abs(), &batches, index));
        time.map(Some).ok_or_else(|| self.damaged(&format!("the time of entry {index} is damaged")))
    }

    /// How many runs there are, and rows of a kind: for tests.
    #[cfg(test)]
    pub(super) fn count(&self, kind: Kind) -> (usize, usize) {
        let runs = self.runs();
        let runs: Vec<_> = runs.iter().filter(|run| run.kind == kind).collect();
        let rows = runs.iter().map(|run| {
            let parts = (0..1u64 << run.bits).map(|part| {
                let bytes = read_part(&self.reader(), run, part).expect("read").expect("there");
                run.place(part).decode(&bytes).expect("intact").len()
            });
            parts.sum::<usize>()
        });
        (runs.len(), rows.sum())
    }

    /// Lets the file grow to so many pages and no further: for tests.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: i64) {
        let limit = format!("PRAGMA max_page_count = {pages}");
        lock(&self.writer).query_row(&limit, [], |row| row.get::<_, i64>(0)).expect("set");
    }

    fn runs(&self) -> Arc<Vec<Arc<Run>>> {
        self.runs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, change: impl FnOnce(&mut Vec<Arc<Run>>)) {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = runs.as_ref().clone();
        change(&mut all);
        all.sort_by_key(|run| run.first);
        *runs = Arc::new(all);
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let free = self.readers.iter().find_map(|reader| reader.try_lock().ok());
        // All are busy: wait for one, each caller for another.
        free.or_else(|| self.readers.get(turn % READERS).map(lock)).unwrap_or_else(|| lock(&self.writer))
    }

    fn damaged(&self, problem: &str) -> IndexError {
        IndexError::Damaged { path: self.path.clone(), problem: problem.to_owned() }
    }

    fn damaged_part(&self, run: &Run, part: u64) -> IndexError {
        self.damaged(&format!("part {part} of the run from entry {} on is damaged", run.first))
    }
}

impl Drop for Database {
    /// Leaves one file that is whole: whoever copies or replaces it need not know of SQLite's others.
    fn drop(&mut self) {
        let checkpoint = lock(&self.writer).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::debug!(%error, "the log's index is not checkpointed: that is done when it is opened");
        }
    }
}

/// A run that is being written.
struct NewRun {
    kind: Kind,
    merged: bool,
    first: u64,
    leaves: u64,
    /// Rows, about.
    rows: u64,
}

impl NewRun {
    /// Starts writing; keys will be cut into parts by at least `bits` of their bits.
    fn begin<'a>(self, transaction: &'a Transaction<'_>, bits: u8) -> rusqlite::Result<Sink<'a>> {
        let Self { kind, merged, first, leaves, rows } = self;
        let bits = run::bits(rows).max(bits);
        let mut insert = transaction.prepare_cached(
            "INSERT INTO run (kind, merged, first, leaves, bits) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
        )?;
        let id =
            insert.query_row(params![kind as u8, merged, signed(first), signed(leaves), bits], |row| row.get(0))?;
        // Search keys repeat and are seldom asked for.
        let filter = (kind != Kind::Search).then(|| Filter::new(rows));
        let run = Run { id, kind, merged, first, leaves, bits, filter };
        Ok(Sink { transaction, run, part: 0, rows: Vec::new() })
    }
}

/// Takes the rows of a run in their order.
struct Sink<'a> {
    transaction: &'a Transaction<'a>,
    run: Run,
    part: u64,
    rows: Vec<Row>,
}

impl Sink<'_> {
    fn push(&mut self, row: &Row) -> rusqlite::Result<()> {
        let part = run::part(&row.0, self.run.bits);
        while self.part < part {
            self.end_part()?;
        }
        if let Some(filter) = &mut self.run.filter {
            filter.insert(&row.0);
        }
        self.rows.push(*row);
        Ok(())
    }

    /// Every part is written, an empty one too: so a missing one is noticed.
    fn end_part(&mut self) -> rusqlite::Result<()> {
        let outside = rusqlite::Error::IntegralValueOutOfRange(0, 0);
        let bytes = self.run.place(self.part).encode(&self.rows).ok_or(outside)?;
        let mut insert = self.transaction.prepare_cached("INSERT INTO part (id, rows) VALUES (?1, ?2)")?;
        insert.execute(params![self.run.part_id(self.part), bytes])?;
        self.part = self.part.saturating_add(1);
        self.rows.clear();
        Ok(())
    }

    fn finish(mut self) -> rusqlite::Result<Run> {
        while self.part < 1 << self.run.bits {
            self.end_part()?;
        }
        if let Some(filter) = &self.run.filter {
            let update = "UPDATE run SET filter = ?1 WHERE id = ?2";
            self.transaction.execute(update, params![filter.encode(), self.run.id])?;
        }
        Ok(self.run)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    // The last connection would remove the write-ahead file by its name on closing: by then it may be that of a new index.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A power cut may take the last transactions from the view, and never leaves half of one: the records have them all.
    connection.execute_batch(
        "PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         PRAGMA journal_size_limit = 16777216; PRAGMA cell_size_check = ON;",
    )?;
    Ok(connection)
}

fn create(writer: &mut Connection, log: &Hash) -> rusqlite::Result<()> {
    let transaction = writer.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO meta (log, size, last) VALUES (?1, 0, ?2)", params![log, Hash::default()])?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// What a file says of itself.
pub(super) struct Meta {
    /// Leaves that it covers.
    pub(super) size: u64,
    /// Hash of the last one.
    pub(super) last: Hash,
    /// Its runs, by their first leaf.
    pub(super) runs: Vec<Run>,
}

/// Reads what a file says of itself, if it is the index of this log.
pub(super) fn meta(path: &Path, log: &Hash, connection: &Connection) -> Result<Meta, IndexError> {
    let failed = IndexError::sqlite(path);
    let damaged = |problem: &str| IndexError::Damaged { path: path.to_owned(), problem: problem.to_owned() };
    let number = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
    let found = (number("application_id").map_err(&failed)?, number("user_version").map_err(&failed)?);
    if found != (APPLICATION, VERSION) {
        return Err(damaged("it is no index, or one of another version"));
    }
    let meta = connection.query_row("SELECT log, size, last FROM meta", [], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?, row.get::<_, [u8; 32]>(2)?))
    });
    let (found, size, last) = meta.optional().map_err(&failed)?.ok_or_else(|| damaged("it has no beginning"))?;
    if found != log {
        return Err(damaged("it belongs to another log"));
    }
    let size = u64::try_from(size).map_err(|_| damaged("its size is negative"))?;
    let runs = load(connection).map_err(&failed)?.ok_or_else(|| damaged("its list of runs is damaged"))?;
    if !covers(&runs, size) {
        return Err(damaged("its runs do not cover its leaves"));
    }
    Ok(Meta { size, last, runs })
}

/// The runs of a file; `None` if one of them cannot be.
fn load(connection: &Connection) -> rusqlite::Result<Option<Vec<Run>>> {
    let mut select =
        connection.prepare("SELECT id, kind, merged, first, leaves, bits, filter FROM run ORDER BY first")?;
    let runs = select.query_map([], |row| {
        let filter = row.get::<_, Option<Vec<u8>>>(6)?;
        let numbers = (row.get::<_, i64>(3)?, row.get::<_, i64>(4)?);
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?, numbers, row.get::<_, i64>(5)?, filter))
    })?;
    let run = |(id, kind, merged, (first, leaves), bits, filter): (_, _, _, _, _, Option<Vec<u8>>)| {
        let kind = *KINDS.iter().find(|known| **known as i64 == kind)?;
        let bits = u8::try_from(bits).ok().filter(|bits| *bits <= MAX_BITS)?;
        let filter = match filter {
            Some(bytes) => Some(Filter::decode(&bytes)?),
            None => None,
        };
        Some(Run {
            id,
            kind,
            merged,
            first: u64::try_from(first).ok()?,
            leaves: u64::try_from(leaves).ok()?,
            bits,
            filter,
        })
    };
    runs.map(|row| row.map(run)).collect()
}

/// Whether each leaf of the first `size` stands in exactly one run of leaves.
fn covers(runs: &[Run], size: u64) -> bool {
    let mut leaves = runs.iter().filter(|run| run.kind == Kind::Leaf);
    let end = leaves.try_fold(0u64, |end, run| if run.first == end { end.checked_add(run.leaves) } else { None });
    end == Some(size)
}

/// Keeps the filters of the newest runs, as far as they fit.
fn limit(runs: &mut [Run]) {
    let mut bytes = 0usize;
    for run in runs.iter_mut().rev() {
        bytes = bytes.saturating_add(run.filter.as_ref().map_or(0, Filter::len));
        if bytes > MAX_FILTERS {
            run.filter = None;
        }
    }
}

pub(super) fn read_part(connection: &Connection, run: &Run, part: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut select = connection.prepare_cached("SELECT rows FROM part WHERE id = ?1")?;
    select.query_row([run.part_id(part)], |row| row.get(0)).optional()
}

/// SQLite's integers have a sign. Neither a log nor the time reaches the numbers that do not fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A poisoned lock means that a thread died in the middle of a transaction, which SQLite then rolled back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Database, MERGED, lock};
    use crate::index::tests::{Entries, LOG, SMALL};
    use crate::index::{Index, Kind, key_of};
    use waxseal_formats::crypto::digest::sha256;

    #[test]
    fn a_look_up_between_a_merge_and_the_list_of_it_waits_for_the_list() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("index");
        let index = Index::open(&path, &LOG, SMALL);
        Entries::new(200).push(&index);
        index.spill().expect("written");
        drop(index);
        let file = Database::open(&path, &LOG).expect("opened");
        let key = key_of(&sha256(b"3"));
        let mut writer = lock(&file.writer);
        let small: Vec<_> = file.runs().iter().filter(|run| run.kind == Kind::Leaf).take(MERGED).cloned().collect();
        let merged = file.merge_in(&mut writer, Kind::Leaf, &small).expect("merged");
        std::thread::scope(|scope| {
            let (asked, asks) = std::sync::mpsc::channel();
            let found = scope.spawn({
                let (file, key) = (&file, &key);
                move || {
                    // The parts of these runs are gone already.
                    assert!(file.find_in(&file.runs(), Kind::Leaf, key).expect("read").is_none());
                    asked.send(()).expect("waited for");
                    file.find(Kind::Leaf, key)
                }
            });
            asks.recv().expect("asked");
            std::thread::sleep(std::time::Duration::from_millis(50));
            file.list_merged(&small, merged);
            drop(writer);
            assert_eq!(found.join().expect("no panic").expect("no damage"), [3]);
        });
    }
}
