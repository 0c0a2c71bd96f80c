//! `cargo xtask powercut`: the disk of a running instance is frozen at random instants, and everything that a client had been
//! told before has to be on it.
//!
//! The unmodified binary works on ext4 in a file on XFS ([`disk`]); clients load it and write down the answers, as for
//! `cargo xtask crash`. After each cut `waxseal log fsck` has to be clean on what was left, the records have to have what had been
//! acknowledged, and now and then an instance is started on it. This tells whether the syncs are where they have to be. It does
//! not tell what a disk does that lies about them.
//!
//! All of it runs in namespaces of its own: whatever ends it, the mounts and processes end with it.

mod disk;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::crash::{
    Load, Log, Notes, Privacy, Random, Site, Start, Tally, binary, client, free_address, recorded, runtime, served,
};
use disk::Disk;

/// Cuts of one data directory.
const CUTS_A_DIRECTORY: u32 = 20;
/// Of so many cuts one is followed by a start.
const STARTS: u32 = 4;
/// Longest time between two cuts.
const LONGEST: Duration = Duration::from_millis(120);
/// Cuts of a writer that does not sync: some have to lose something, or this sees nothing.
const BLIND_CUTS: u32 = 6;

/// `cargo xtask powercut`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often the power is cut
    #[arg(long, value_name = "N", default_value_t = 60)]
    cuts: u32,
    /// Decides the moments
    #[arg(long, value_name = "N", default_value_t = 0x5eed_cafe)]
    seed: u64,
    /// The waxseal to cut off [default: what `cargo build --release` made]
    #[arg(long, value_name = "FILE")]
    waxseal: Option<PathBuf>,
    /// Where the disk is made; given by the process that waits outside of the namespaces
    #[arg(long, value_name = "DIR", hide = true, requires = "waxseal")]
    inside: Option<PathBuf>,
}

/// What the process inside answers when this machine cannot do it.
const UNABLE: u8 = 77;

/// Why this machine cannot do it.
#[derive(Debug)]
struct Unable(String);

impl std::error::Error for Unable {}

impl std::fmt::Display for Unable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Cuts, and compares. A machine where that is not possible is told, and is no error.
///
/// # Errors
///
/// The first thing that was lost, or is damaged.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.inside {
        return match inside(folder, arguments) {
            Err(error) if error.is::<Unable>() => {
                eprintln!("powercut: {error}");
                std::process::exit(UNABLE.into());
            }
            done => done,
        };
    }
    let unable = |reason: &str| {
        println!("powercut: NOT RUN, this machine cannot: {reason}");
        Ok(())
    };
    if !is_root() {
        return unable("it takes root to mount a disk");
    }
    let binary = binary(root, arguments.waxseal.as_deref())?;
    let folder = tempfile::Builder::new().prefix("waxseal-powercut-").tempdir()?;
    let (cuts, seed) = (arguments.cuts.to_string(), arguments.seed.to_string());
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe()?)
        .args(["powercut", "--cuts", &cuts, "--seed", &seed, "--waxseal"])
        .arg(&binary)
        .arg("--inside")
        .arg(folder.path())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if status.code() == Some(UNABLE.into()) => unable("see above"),
        Ok(status) => bail!("powercut: {status}"),
        Err(error) => unable(&format!("unshare: {error}")),
    }
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

fn inside(folder: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let begun = Instant::now();
    let disk = Disk::new(folder).map_err(|error| Unable(format!("{error:#}")))?;
    let home = folder.join("home");
    fs::create_dir(&home)?;
    let site = Site { binary: arguments.waxseal.clone().context("--waxseal")?, home };
    let mut random = Random::new(arguments.seed);
    let lost = blind(&disk, &mut random)?;
    let (mut tally, mut done, mut directories) = (Tally::default(), 0, 0u32);
    while done < arguments.cuts {
        let cuts = CUTS_A_DIRECTORY.min(arguments.cuts - done);
        let privacy = if directories.is_multiple_of(2) { Privacy::Open } else { Privacy::Sealed };
        cut(&site, &disk, directories, privacy, cuts, &mut random, &mut tally)
            .with_context(|| format!("directory {directories}, {privacy:?}, seed {:#x}", arguments.seed))?;
        done += cuts;
        directories += 1;
    }
    println!(
        "powercut: {done} cuts, {directories} directories, {}; a writer without syncs lost something in {lost} of \
         {BLIND_CUTS} cuts; {:.0} s",
        tally.describe(),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// One data directory through its cuts.
fn cut(
    site: &Site,
    disk: &Disk,
    number: u32,
    privacy: Privacy,
    cuts: u32,
    random: &mut Random,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let name = format!("data-{number}");
    let data_dir = disk.path().join(&name);
    let runtime = runtime()?;
    let (mut up, took) = site.start(&Start { data_dir: &data_dir, listen: free_address()?, url: None, privacy })?;
    tally.started(took);
    let url = up.url.clone();
    let token = site.token(&url, &data_dir)?;
    let notes = Notes::default();
    let load = Load::start(&runtime, &url, &token, &notes)?;
    notes.wait_for(1)?;
    for at in 0..cuts {
        thread::sleep(Duration::from_micros(random.below(u64::try_from(LONGEST.as_micros())?)));
        notes.all_right()?;
        // What was said before the cut has to survive it; what is said while it is made need not.
        let mut said = notes.acknowledged().clone();
        let copy = disk.cut()?;
        let left = copy.path().join(&name);
        site.fsck(&left).with_context(|| format!("cut {at}"))?;
        tally.checked += 1;
        for log in Log::ALL {
            said.hold_against(log, &recorded(&left, log)?).with_context(|| format!("cut {at}"))?;
        }
        if at % STARTS == STARTS - 1 {
            let start = Start { data_dir: &left, listen: free_address()?, url: Some(&url), privacy };
            let listen = format!("http://{}", start.listen);
            let (again, took) = site.start(&start).with_context(|| format!("cut {at}"))?;
            tally.started(took);
            let client = client()?;
            for log in Log::ALL {
                if said.count(log) == 0 {
                    continue;
                }
                if let Some(leaves) = runtime.block_on(served(&client, &listen, log, &mut said))? {
                    said.hold_against(log, &leaves).with_context(|| format!("cut {at}, started again"))?;
                }
            }
            again.stop()?;
            site.fsck(&left).with_context(|| format!("cut {at}, started again and stopped"))?;
            tally.checked += 1;
        }
    }
    up.kill();
    load.end(&runtime)?;
    notes.all_right()?;
    tally.add(&notes.acknowledged());
    fs::remove_dir_all(&data_dir)?;
    Ok(())
}

/// A writer that says that a line is safe without having synced it: says in how many cuts it lied.
fn blind(disk: &Disk, random: &mut Random) -> anyhow::Result<u32> {
    let path = disk.path().join("unsynced");
    let mut file = OpenOptions::new().create_new(true).append(true).open(&path)?;
    fs::File::open(disk.path())?.sync_all()?;
    let (said, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let lost = thread::scope(|scope| -> anyhow::Result<u32> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) && writeln!(file, "{:08}", said.load(Ordering::Relaxed) + 1).is_ok() {
                said.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(500));
            }
        });
        let lost = (0..BLIND_CUTS).map(|_| {
            thread::sleep(Duration::from_millis(10 + random.below(20)));
            let before = said.load(Ordering::Relaxed);
            let copy = disk.cut()?;
            let found = fs::metadata(copy.path().join("unsynced")).map_or(0, |data| data.len() / 9);
            Ok(u32::from(found < before))
        });
        let lost = lost.sum();
        stop.store(true, Ordering::Relaxed);
        lost
    })?;
    fs::remove_file(&path)?;
    ensure!(lost > 0, "a writer without syncs lost nothing: this sees no power cut");
    Ok(lost)
}
