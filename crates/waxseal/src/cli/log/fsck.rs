//! `waxseal log fsck`: is everything as it was written?

use crate::cli::{Failure, Output};
use crate::server::config::default_data_dir;
use crate::server::drive::fsck::{self, Fault, LogReport, Progress};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use waxseal_formats::code::Code;
use waxseal_io::token::process_environment;

/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(2);

/// Check every file of the logs of a stopped instance: each record of the write-ahead files with its signature, each tile and
/// entry bundle against the records, the published checkpoint, and what stands where nothing should. Nothing is changed.
#[derive(Debug, Args)]
pub struct FsckArgs {
    /// The data directory of the instance [default: $XDG_DATA_HOME/waxseal/up].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs the check.
///
/// # Errors
/// `log.store-corrupt` or `log.store-behind` if something is wrong, `log.store-locked` if the instance runs,
/// `log.store-failed` if there is no log or the system cannot read.
pub async fn run(args: FsckArgs, output: Output) -> Result<(), Failure> {
    let data_dir = match args.data_dir {
        Some(directory) => directory,
        None => default_data_dir(process_environment).map_err(|error| Failure::new(error.code(), error.to_string()))?,
    };
    let told = Mutex::new(Instant::now());
    let progress = move |progress: Progress<'_>| {
        let Ok(mut told) = told.lock() else { return };
        if told.elapsed() >= INTERVAL {
            *told = Instant::now();
            let Progress { log, entries, segments: (at, of) } = progress;
            output.say(&format!("{log}: {entries} entries, segment {at} of {of}"));
        }
    };
    let directory = data_dir.clone();
    let checked = tokio::task::spawn_blocking(move || fsck::check(&directory, &progress)).await;
    let checked = checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let reports = checked.map_err(|error| {
        let failure = Failure::new(error.code(), error.to_string());
        if error.code() == Code::LOG_STORE_LOCKED {
            failure.hint("stop the instance, or check a copy")
        } else {
            failure
        }
    })?;
    let value = json!({"logs": reports.iter().map(|report| describe(&data_dir, report)).collect::<Vec<_>>()});
    let Some(failure) = failure(&data_dir, &reports) else {
        return output.data(&lines(&data_dir, &reports), &value);
    };
    if output == Output::Text {
        output.data(&lines(&data_dir, &reports), &value)?;
    }
    Err(failure.details(value))
}

/// What the command fails with if anything is wrong. Damage is told before what is only behind.
fn failure(data_dir: &Path, reports: &[LogReport]) -> Option<Failure> {
    let faults = || reports.iter().flat_map(|report| &report.faults);
    let of = |code| faults().find(|fault| fault.code == code);
    let first = of(Code::LOG_STORE_CORRUPT).or_else(|| of(Code::LOG_STORE_BEHIND)).or_else(|| faults().next())?;
    let count = reports.iter().fold(faults().count() as u64, |sum, report| sum.saturating_add(report.more_faults));
    let message = match count {
        1 => sentence(data_dir, first),
        _ => format!("{count} faults; one of them: {}", sentence(data_dir, first)),
    };
    let failure = Failure::new(first.code, message);
    Some(failure.hint("keep a copy of the directory as it is, and restore it from a backup"))
}

fn sentence(data_dir: &Path, fault: &Fault) -> String {
    let file = shown(data_dir, &fault.file);
    match fault.offset {
        Some(offset) => format!("{file} at byte {offset}: {}", fault.problem),
        None => format!("{file}: {}", fault.problem),
    }
}

/// A file by its name in the data directory.
fn shown(data_dir: &Path, file: &Path) -> String {
    file.strip_prefix(data_dir).unwrap_or(file).display().to_string()
}

/// A line a log, and one a fault.
fn lines(data_dir: &Path, reports: &[LogReport]) -> String {
    let mut lines = Vec::new();
    for report in reports {
        let LogReport { name, entries, segments, tiles, bundles, bytes, .. } = report;
        let count = (report.faults.len() as u64).saturating_add(report.more_faults);
        let mut line = format!("{name}: {entries} entries, {segments} segments, {tiles} tiles, ");
        if *bundles > 0 {
            line.push_str(&format!("{bundles} bundles, "));
        }
        line.push_str(&size(*bytes));
        if report.unfinished {
            line.push_str(", a last record that was cut off");
        }
        if report.not_durable > 0 {
            line.push_str(&format!(", {} files to be made again by the next start", report.not_durable));
        }
        line.push_str(&if count == 0 { ": clean".to_owned() } else { format!(": {count} faults") });
        lines.push(line);
        let told = report.faults.iter();
        lines.extend(told.map(|fault| format!("  {} [{}]", sentence(data_dir, fault), fault.code)));
        if report.more_faults > 0 {
            lines.push(format!("  and {} more", report.more_faults));
        }
    }
    lines.join("\n")
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 0x10_0000),
    }
}

fn describe(data_dir: &Path, report: &LogReport) -> Value {
    let fault = |fault: &Fault| {
        let file = shown(data_dir, &fault.file);
        json!({"code": fault.code, "file": file, "offset": fault.offset, "problem": fault.problem})
    };
    json!({
        "name": report.name,
        "origin": report.origin,
        "entries": report.entries,
        "records": report.records,
        "segments": report.segments,
        "tiles": report.tiles,
        "bundles": report.bundles,
        "bytes": report.bytes,
        "unfinished": report.unfinished,
        "notDurable": report.not_durable,
        "faults": report.faults.iter().map(fault).collect::<Vec<_>>(),
        "moreFaults": report.more_faults,
    })
}

#[cfg(test)]
mod tests {
    use super::{failure, lines, size};
    use crate::server::drive::fsck::{Fault, LogReport};
    use std::path::Path;
    use waxseal_formats::code::Code;

    fn fault(code: Code, file: &str) -> Fault {
        Fault { code, file: file.into(), offset: Some(7), problem: "wrong".into() }
    }

    #[test]
    fn the_exit_names_a_file_and_damage_comes_first() {
        let mut report = LogReport { name: "ct".into(), entries: 3, ..LogReport::default() };
        let data_dir = Path::new("/d");
        assert!(failure(data_dir, std::slice::from_ref(&report)).is_none());
        assert_eq!(lines(data_dir, std::slice::from_ref(&report)), "ct: 3 entries, 0 segments, 0 tiles, 0 B: clean");
        report.faults.push(fault(Code::LOG_STORE_BEHIND, "/d/logs/ct/public/checkpoint"));
        let behind = failure(data_dir, std::slice::from_ref(&report)).expect("fails");
        assert_eq!((behind.code, behind.exit), (Code::LOG_STORE_BEHIND, 1));
        report.faults.push(fault(Code::LOG_STORE_CORRUPT, "/d/logs/ct/wal/0000000000000000"));
        report.more_faults = 2;
        let corrupt = failure(data_dir, std::slice::from_ref(&report)).expect("fails");
        assert_eq!(corrupt.code, Code::LOG_STORE_CORRUPT);
        assert_eq!(corrupt.message, "4 faults; one of them: logs/ct/wal/0000000000000000 at byte 7: wrong");
        let lines = lines(data_dir, &[report]);
        assert!(lines.contains("\n  logs/ct/public/checkpoint at byte 7: wrong [log.store-behind]\n"), "{lines}");
        assert!(lines.ends_with("\n  and 2 more"), "{lines}");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(9), size(4096), size(64 << 20)], ["9 B", "4 KiB", "64 MiB"]);
    }
}
