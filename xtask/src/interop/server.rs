//! Servers besides the instance, each with a log.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{
    command::{Site, Variables},
    parts::Program,
};

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

    /// Starts one that is ready when `ready` says so.
    ///
    /// # Errors
    ///
    /// When it does not become ready; with its log.
    pub(crate) fn when(
        mut command: Command,
        log: &Path,
        mut ready: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Self> {
        let output = File::create(log)?;
        let mut server = Self(command.stdout(output.try_clone()?).stderr(output).spawn()?);
        wait(&command, log, || {
            if let Some(ended) = server.0.try_wait()? {
                bail!("{ended}");
            }
            ready()
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

/// OpenBao, whose tokens for services of others are those of a real issuer behind TLS.
#[derive(Debug)]
pub(crate) struct OpenBao {
    /// Kept for its end.
    _server: Server,
    /// How it calls itself in tokens.
    pub(crate) issuer: String,
    /// The authority of its TLS certificate.
    pub(crate) authority: PathBuf,
    /// A token for whoever it was made to vouch for.
    pub(crate) token: String,
}

impl OpenBao {
    /// One that vouches for the person with this address.
    ///
    /// # Errors
    ///
    /// When it does not start, or does not.
    pub(crate) fn start(site: &Site, email: &str) -> anyhow::Result<Self> {
        let tls = site.folder().join("openbao");
        fs::create_dir_all(&tls)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let origin = format!("https://127.0.0.1:{port}");
        let variables = Variables::default()
            .with("tls", tls.to_string_lossy())
            .with("authority", tls.join("vault-ca.pem").to_string_lossy())
            .with("bao", site.path(Program::OpenBao).context("OpenBao")?.to_string_lossy())
            .with("address", origin.clone())
            .with("listen", format!("127.0.0.1:{port}"))
            .with("email", email)
            .with("script", tls.join("openbao.sh").to_string_lossy());
        fs::write(tls.join("openbao.sh"), include_str!("openbao.sh"))?;
        let words = "server -dev -dev-tls -dev-tls-cert-dir={tls} -dev-no-store-token -dev-root-token-id=root \
                     -dev-listen-address={listen}";
        let mut command = site.command(Program::OpenBao)?;
        command.args(variables.expand(words)?);
        let server = Server::when(command, &site.folder().join("logs/openbao.log"), || {
            let status = "status -address={address} -ca-cert={authority}";
            Ok(tls.join("vault-ca.pem").exists() && site.run(Program::OpenBao, status, &variables)?.accepted())
        })?;
        let said = site.run(Program::Shell, "{script} {bao} {address} {authority} {email}", &variables)?.demand()?;
        Ok(Self {
            _server: server,
            issuer: format!("{origin}/v1/identity/oidc"),
            authority: tls.join("vault-ca.pem"),
            token: said.stdout.trim().to_owned(),
        })
    }
}
