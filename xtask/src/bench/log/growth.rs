//! What a large log costs beside a small one, and how long it takes to start.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use waxseal::server::drive::LogHandle;

use super::{
    bare::{Bare, Server, fill},
    median,
};
use crate::bench::{
    figures::{Ratio, Row, Target, once},
    loader::Answered,
};

/// Entries of the small log.
const SMALL: u64 = 10_000;
/// Entries of the log that is started again.
const RESTARTED: u64 = 1_000_000;
const CONNECTIONS: usize = 64;
/// Requests of a round, after as many for warming up.
const REQUESTS: usize = 5000;
const ROUNDS: usize = 7;

/// Appends to a log of [`SMALL`] entries and to one of `entries`, by turns; and starting one of [`RESTARTED`].
pub(super) fn measure(folder: &Path, entries: u64) -> anyhow::Result<Vec<Row>> {
    compare(folder, entries, REQUESTS)
}

fn compare(folder: &Path, entries: u64, requests: usize) -> anyhow::Result<Vec<Row>> {
    let small = Bare::create(folder.join("small"))?;
    let large = Bare::create(folder.join("large"))?;
    let (small_log, mut large_log) = (small.open()?, large.open()?);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(fill(&small_log.handle(), 0, SMALL))?;
    let mut rows = Vec::new();
    let first = entries.min(RESTARTED);
    runtime.block_on(fill(&large_log.handle(), 0, first))?;
    wait_until_published(&large_log.handle());

    // What the disk holds now is what it would hold if the process were killed: starting has records to replay.
    let killed = folder.join("killed");
    copy_at_rest(large.directory(), &killed)?;
    let start = Instant::now();
    let log = large.open_at(&killed)?;
    let took = start.elapsed();
    anyhow::ensure!(log.handle().head().size == first, "the log was not whole after a crash");
    log.close();
    fs::remove_dir_all(killed)?;
    let target = (first == RESTARTED).then_some(Target::AtMost(2.0));
    rows.push(once(&format!("start of {first} entries after a crash"), took.into(), target));
    large_log.close();
    let start = Instant::now();
    large_log = large.open()?;
    rows.push(once(&format!("start of {first} entries"), start.elapsed().into(), target));

    runtime.block_on(fill(&large_log.handle(), first, entries))?;
    drop(runtime);
    wait_until_published(&large_log.handle());
    let server = Server::start(&[small_log.handle(), large_log.handle()])?;
    let (mut at_small, mut at_large, mut number) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        at_small.push(server.load("/add/0", CONNECTIONS, requests, requests, number)?);
        at_large.push(server.load("/add/1", CONNECTIONS, requests, requests, number)?);
        number += 2 * requests + CONNECTIONS;
    }
    let ratio = |what, key: fn(&Answered) -> f64| {
        let mut ratios: Vec<f64> =
            at_small.iter().zip(&at_large).map(|(small, large)| key(large) / key(small)).collect();
        ratios.sort_by(f64::total_cmp);
        let value = ratios.get(ROUNDS / 2).copied().unwrap_or(f64::NAN);
        Ratio::new(what, value, Target::AtMost(1.15))
    };
    let ratios = vec![
        ratio("CPU, of that of the small log", |run| run.cpu.0),
        ratio("p50, of that of the small log", |run| run.p50.0),
    ];
    let middle = |runs| median(runs, |run| run.cpu.0).context("no rounds");
    let name = |size| format!("append 1 KiB to {size} entries, {CONNECTIONS}");
    rows.push(Row { name: name(SMALL), answered: middle(at_small.clone())?, ratios: Vec::new() });
    rows.push(Row { name: name(entries), answered: middle(at_large.clone())?, ratios });
    drop(server);
    small_log.close();
    large_log.close();
    Ok(rows)
}

fn wait_until_published(log: &LogHandle) {
    while log.published().size < log.head().size {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Copies the directory of a log that runs, as soon as it lies still: what publishing replaced is still being
/// removed when the last entry is published.
fn copy_at_rest(from: &Path, to: &Path) -> anyhow::Result<()> {
    let attempt = || -> io::Result<bool> {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        let before = files(from)?;
        copy(from, to)?;
        Ok(before == files(from)?)
    };
    for _ in 0..500 {
        match attempt() {
            Ok(true) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(false) | Err(_) => {}
        }
        thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("{} did not come to rest", from.display())
}

/// Copies a directory with everything below it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Every file below a directory with its length and the time of its last change.
fn files(directory: &Path) -> io::Result<BTreeMap<PathBuf, (u64, SystemTime)>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            found.append(&mut files(&entry.path())?);
        } else {
            found.insert(entry.path(), (about.len(), about.modified()?));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_log_is_grown_restarted_and_compared() {
        let folder = tempfile::tempdir().unwrap();
        let rows = compare(folder.path(), 20_000, 100).unwrap();
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names[0], "start of 20000 entries after a crash");
        assert_eq!(names[3], "append 1 KiB to 20000 entries, 64");
        assert!(rows[3].ratios.iter().all(|ratio| ratio.value > 0.0));
    }
}
