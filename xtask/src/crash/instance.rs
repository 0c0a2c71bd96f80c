//! The real binary as a process that is not treated well.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// Much longer than an instance needs to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Whom the tokens name.
pub(crate) const IDENTITY: &str = "load@corp.example";

/// What the logs of an instance keep.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Privacy {
    Sealed,
    Open,
}

/// The binary, and the home that its processes have.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) binary: PathBuf,
    pub(crate) home: PathBuf,
}

impl Site {
    /// A command of the binary, apart from this user's settings.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).env("HOME", &self.home);
        command.stdin(Stdio::null());
        command
    }

    /// `waxseal log fsck`.
    ///
    /// # Errors
    ///
    /// Its report, when it is not clean.
    pub(crate) fn fsck(&self, data_dir: &Path) -> anyhow::Result<String> {
        let output = self.command().args(["log", "fsck", "--data-dir"]).arg(data_dir).output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(output.status.success(), "waxseal log fsck: {}\n{said}", output.status);
        Ok(said)
    }

    /// A token of the demo provider.
    pub(crate) fn token(&self, url: &str, data_dir: &Path) -> anyhow::Result<String> {
        let arguments = ["token", "--instance", url, "--identity", IDENTITY, "--data-dir"];
        let output = self.command().args(arguments).arg(data_dir).output()?;
        ensure!(output.status.success(), "waxseal token: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Starts `waxseal up` without waiting for it.
    pub(crate) fn spawn(&self, start: &Start<'_>) -> anyhow::Result<Up> {
        let log = fs::File::options().create(true).append(true).open(self.home.join("up.log"))?;
        let mut command = self.command();
        command.args(["--output", "json", "up", "--listen", &start.listen, "--data-dir"]).arg(start.data_dir);
        if let Some(url) = start.url {
            command.args(["--public-url", url]);
        }
        if let Privacy::Open = start.privacy {
            command.args(["--privacy", "open"]);
        }
        let child = command.stdout(Stdio::piped()).stderr(log).spawn().context("waxseal up")?;
        let url = start.url.map_or_else(|| format!("http://{}", start.listen), str::to_owned);
        Ok(Up { child, url, begun: Instant::now() })
    }

    /// Starts `waxseal up` and waits until it is ready; says how long that took.
    ///
    /// # Errors
    ///
    /// What it said, when it ends or takes too long.
    pub(crate) fn start(&self, start: &Start<'_>) -> anyhow::Result<(Up, Duration)> {
        let mut up = self.spawn(start)?;
        let waited = up.wait_until_ready().with_context(|| {
            let log = fs::read_to_string(self.home.join("up.log")).unwrap_or_default();
            let last = log.lines().rev().take(20).collect::<Vec<_>>();
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        })?;
        Ok((up, waited))
    }
}

/// How an instance is started.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) listen: String,
    /// The URL that clients know, if it is another.
    pub(crate) url: Option<&'a str>,
    pub(crate) privacy: Privacy,
}

/// An address that is free now.
pub(crate) fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// A running `waxseal up`; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Up {
    child: Child,
    pub(crate) url: String,
    begun: Instant,
}

impl Up {
    fn wait_until_ready(&mut self) -> anyhow::Result<Duration> {
        let stdout = self.child.stdout.take().context("stdout")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            // An end without a line is told as one.
            drop(BufReader::new(stdout).read_line(&mut line));
            drop(sender.send(line));
        });
        let Ok(line) = receiver.recv_timeout(PATIENCE) else { bail!("waxseal up is not ready") };
        let ready: Option<Value> = serde_json::from_str(&line).ok();
        if ready.is_none_or(|ready| ready.get("root_sha256").is_none()) {
            bail!("waxseal up ended: {:?} {line}", self.child.wait());
        }
        Ok(self.begun.elapsed())
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM, as an operator stops it.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let status = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(status.success(), "kill: {status}");
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "waxseal up ended with {status}");
                return Ok(());
            }
            thread::sleep(Duration::from_millis(2));
        }
        bail!("waxseal up does not stop")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.kill();
    }
}
