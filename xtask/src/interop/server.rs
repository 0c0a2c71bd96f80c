//! Servers besides the instance, each with a log.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{command::Site, http::Http, parts::Program};

/// Much longer than a server needs to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Server(Child);

impl Server {
    /// Starts one that writes a line when it is ready, and returns the line.
    ///
    /// # Errors
    ///
    /// When it does not; with its log.
    pub(crate) fn with_line(mut command: Command, log: &Path) -> anyhow::Result<(Self, String)> {
        let child = command.stdout(Stdio::piped()).stderr(File::create(log)?).spawn()?;
        let mut server = Self(child);
        let stdout = server.0.stdout.take().context("standard output")?;
        let reader = thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        wait(&command, log, || Ok(reader.is_finished()))?;
        let line = reader.join().ok().and_then(Result::ok).unwrap_or_default().trim().to_owned();
        if line.is_empty() {
            bail!("{command:?} ended:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        Ok((server, line))
    }

    /// Starts one that is ready when `url` answers.
    ///
    /// # Errors
    ///
    /// When it does not; with its log.
    pub(crate) fn with_url(mut command: Command, log: &Path, http: &Http, url: &str) -> anyhow::Result<Self> {
        let output = File::create(log)?;
        let mut server = Self(command.stdout(output.try_clone()?).stderr(output).spawn()?);
        wait(&command, log, || {
            if let Some(ended) = server.0.try_wait()? {
                bail!("{ended}");
            }
            Ok(http.answers(url))
        })?;
        Ok(server)
    }
}

fn wait(command: &Command, log: &Path, mut ready: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    let shown = || format!("{command:?} is not ready:\n{}", fs::read_to_string(log).unwrap_or_default());
    while !ready().with_context(shown)? {
        if start.elapsed() > PATIENCE {
            bail!("{}", shown());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; there is nothing to say about that here.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Identity providers that nobody here wrote.
#[derive(Debug)]
pub(crate) struct Providers {
    pub(crate) server: Server,
    urls: BTreeMap<String, String>,
}

impl Providers {
    /// One for each of `issuers`, which has the claims of each of its tokens: `{issuer: {token: claims}}`.
    ///
    /// # Errors
    ///
    /// When they do not start.
    pub(crate) fn start(site: &Site, issuers: &Value) -> anyhow::Result<Self> {
        let script = site.folder().join("issuer.mjs");
        fs::write(&script, include_str!("issuer.mjs"))?;
        let binary = site.path(Program::IdentityProvider).context("an identity provider")?;
        let modules = binary.ancestors().nth(2).context("a folder of modules")?;
        let mut command = site.command(Program::Node)?;
        command.arg(script).arg(modules.join("oauth2-mock-server/dist/index.mjs"));
        command.arg(site.folder()).arg(issuers.to_string());
        let (server, line) = Server::with_line(command, &site.folder().join("logs/provider.log"))?;
        Ok(Self { server, urls: serde_json::from_str(&line)? })
    }

    /// Where an issuer is, and how it calls itself.
    pub(crate) fn url(&self, issuer: &str) -> anyhow::Result<&str> {
        self.urls.get(issuer).map(String::as_str).with_context(|| issuer.to_owned())
    }

    /// One of their tokens.
    pub(crate) fn token(site: &Site, name: &str) -> anyhow::Result<String> {
        Ok(fs::read_to_string(site.folder().join(format!("{name}.token")))?)
    }
}
