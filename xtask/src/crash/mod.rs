//! `cargo xtask crash`: the real binary is killed under load, again and again, and nothing that a client was told may be gone.
//!
//! Clients get certificates and log signatures over several connections, and write down every answer. At a moment that a seed
//! decides the process gets SIGKILL: in the middle of its work, or while it is starting. Then `waxseal log fsck` has to be clean,
//! the records have to have every entry where a client was told it is, and every checkpoint that was ever seen has to be that of
//! a beginning of the log. The next process goes on in the same directory.

mod acknowledged;
mod instance;
mod load;
mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

pub(crate) use acknowledged::{Acknowledged, Log};
pub(crate) use instance::{Privacy, Site, Start, free_address};
pub(crate) use load::{Load, Notes, client};
pub(crate) use tree::{recorded, served};

use crate::interop;

/// Kills of one data directory.
const KILLS_A_DIRECTORY: u32 = 20;
/// Of so many kills one comes before the instance is ready.
const EARLY: u64 = 5;
/// Most entries that are acknowledged between two kills, besides those of the last moment.
const MOST: u64 = 400;

/// `cargo xtask crash`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often the process is killed
    #[arg(long, value_name = "N", default_value_t = 100)]
    kills: u32,
    /// Decides the moments
    #[arg(long, value_name = "N", default_value_t = 0x5eed_cafe)]
    seed: u64,
    /// The waxseal to kill [default: what `cargo build --release` made]
    #[arg(long, value_name = "FILE")]
    waxseal: Option<PathBuf>,
}

/// xorshift64: not for secrets.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// The binary to be tried.
pub(crate) fn binary(root: &Path, given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => interop::build(root)?,
    };
    path.canonicalize().with_context(|| path.display().to_string())
}

pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) entries: [usize; 3],
    pub(crate) checked: u32,
    pub(crate) early: u32,
    pub(crate) longest_start: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, said: &Acknowledged) {
        for (sum, log) in self.entries.iter_mut().zip(Log::ALL) {
            *sum += said.count(log);
        }
    }

    pub(crate) fn started(&mut self, took: Duration) {
        self.longest_start = self.longest_start.max(took);
    }

    pub(crate) fn describe(&self) -> String {
        let [v2, v1, ct] = self.entries;
        format!(
            "{} acknowledged entries (Rekor v2 {v2}, Rekor v1 {v1}, CT {ct}): 0 lost, 0 forks; fsck clean {} times; \
             longest start {} ms",
            v2 + v1 + ct,
            self.checked,
            self.longest_start.as_millis()
        )
    }
}

/// Kills, and compares.
///
/// # Errors
///
/// The first thing that was lost, or is damaged.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let begun = Instant::now();
    let binary = binary(root, arguments.waxseal.as_deref())?;
    let home = tempfile::Builder::new().prefix("waxseal-crash-").tempdir()?;
    let site = Site { binary, home: home.path().to_owned() };
    let runtime = runtime()?;
    let mut random = Random::new(arguments.seed);
    let (mut tally, mut done, mut directories) = (Tally::default(), 0, 0u32);
    while done < arguments.kills {
        let kills = KILLS_A_DIRECTORY.min(arguments.kills - done);
        let privacy = if directories.is_multiple_of(2) { Privacy::Sealed } else { Privacy::Open };
        let data_dir = home.path().join(format!("data-{directories}"));
        let ended = Directory::new(&site, &runtime, &data_dir, privacy)?.kill(kills, &mut random, &mut tally);
        if ended.is_err() {
            let kept = home.keep();
            eprintln!("seed {:#x}; everything is kept in {}", arguments.seed, kept.display());
            return ended;
        }
        std::fs::remove_dir_all(&data_dir)?;
        done += kills;
        directories += 1;
    }
    println!(
        "crash: {done} kills ({} before it was ready), {directories} directories, {}; {:.0} s",
        tally.early,
        tally.describe(),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// One data directory through its kills.
struct Directory<'a> {
    site: &'a Site,
    runtime: &'a Runtime,
    data_dir: &'a Path,
    listen: String,
    privacy: Privacy,
    notes: Notes,
}

impl<'a> Directory<'a> {
    fn new(site: &'a Site, runtime: &'a Runtime, data_dir: &'a Path, privacy: Privacy) -> anyhow::Result<Self> {
        Ok(Self { site, runtime, data_dir, listen: free_address()?, privacy, notes: Notes::default() })
    }

    fn start(&self) -> Start<'a> {
        Start { data_dir: self.data_dir, listen: self.listen.clone(), url: None, privacy: self.privacy }
    }

    fn kill(&self, kills: u32, random: &mut Random, tally: &mut Tally) -> anyhow::Result<()> {
        let mut token = None;
        for _ in 0..kills {
            if random.below(EARLY) == 0 {
                let mut up = self.site.spawn(&self.start())?;
                std::thread::sleep(Duration::from_micros(random.below(60_000)));
                up.kill();
                tally.early += 1;
            } else {
                let (mut up, took) = self.site.start(&self.start())?;
                tally.started(took);
                self.compare_served(&up.url)?;
                if token.is_none() {
                    token = Some(self.site.token(&up.url, self.data_dir)?);
                }
                let load = Load::start(self.runtime, &up.url, token.as_deref().unwrap_or_default(), &self.notes)?;
                // The moment is a number of answers, so that every round has some, and a little more.
                let before = self.notes.acknowledged().total();
                self.notes.wait_for(before + 1 + usize::try_from(random.below(MOST))?)?;
                std::thread::sleep(Duration::from_micros(random.below(20_000)));
                up.kill();
                load.end(self.runtime)?;
            }
            self.compare_recorded(tally)?;
        }
        // And once more as an operator would: started, stopped, and all of it durable.
        let (up, took) = self.site.start(&self.start())?;
        tally.started(took);
        self.compare_served(&up.url)?;
        up.stop()?;
        self.compare_recorded(tally)?;
        tally.add(&self.notes.acknowledged());
        Ok(())
    }

    /// The directory as the kill left it.
    fn compare_recorded(&self, tally: &mut Tally) -> anyhow::Result<()> {
        self.notes.all_right()?;
        // Killed before it had made its logs: nobody was answered.
        if self.data_dir.join("logs").exists() {
            self.site.fsck(self.data_dir)?;
            tally.checked += 1;
        }
        for log in Log::ALL {
            self.notes.acknowledged().hold_against(log, &recorded(self.data_dir, log)?)?;
        }
        Ok(())
    }

    /// What the next process tells its readers.
    fn compare_served(&self, url: &str) -> anyhow::Result<()> {
        let client = client()?;
        for log in Log::ALL {
            let said = &mut self.notes.acknowledged();
            if said.count(log) == 0 {
                continue;
            }
            if let Some(leaves) = self.runtime.block_on(served(&client, url, log, said))? {
                said.hold_against(log, &leaves)?;
            }
        }
        Ok(())
    }
}
