//! A waxseal instance for one run of the matrix.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{
    command::{Site, Variables},
    http::Http,
    parts::Program,
};

/// Much longer than an instance needs to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an instance is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// More arguments of `waxseal up`.
    pub up: Vec<String>,
    /// Who may write to the Rekor logs, as the rules file says it: `any`. Unless told, the default.
    pub writes: Option<&'static str>,
}

/// A running `waxseal up`; it is stopped when dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub origin: String,
}

impl Instance {
    /// Starts `waxseal up` in a new data directory of `site`, on a free port, and waits until it is ready.
    pub(crate) fn start(site: &Site, http: &Http, options: &Options) -> anyhow::Result<Self> {
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let log = site.folder().join("logs/up.log");
        let output = File::create(&log)?;
        let mut command = site.command(Program::Waxseal)?;
        command
            .args(["up", "--listen", &listen, "--data-dir"])
            .arg(site.folder().join("data"))
            .args(&options.up)
            .stdout(output.try_clone()?)
            .stderr(output);
        if let Some(writes) = options.writes {
            let rules = site.folder().join("rules.yaml");
            fs::write(&rules, rules_with(&listen, writes))?;
            command.arg("--rules").arg(rules);
        }
        let mut instance = Self { child: command.spawn().context("waxseal up")?, origin: format!("http://{listen}") };
        instance.wait_until_ready(http, &log)?;
        Ok(instance)
    }

    fn wait_until_ready(&mut self, http: &Http, log: &Path) -> anyhow::Result<()> {
        let start = Instant::now();
        let ready = format!("{}/readyz", self.origin);
        while !http.answers(&ready) {
            let ended = self.child.try_wait()?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                bail!("waxseal up is not ready ({ended:?}):\n{}", fs::read_to_string(log).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Saves what clients are given by hand, and returns the variables that name it.
    pub(crate) fn trust_material(&self, site: &Site, http: &Http) -> anyhow::Result<Variables> {
        let origin = &self.origin;
        let folder = site.folder();
        let save = |name: &str, bytes: &[u8]| -> anyhow::Result<String> {
            let path = folder.join(name);
            fs::write(&path, bytes)?;
            Ok(path.to_string_lossy().into_owned())
        };
        let config: Value = serde_json::from_slice(&http.fetch(&format!("{origin}/trust-config.json"))?)?;
        let part = |name: &str| config.get(name).map(Value::to_string).with_context(|| name.to_owned());
        Ok(Variables::default()
            .with("origin", origin)
            .with("process", self.child.id().to_string())
            .with("data", folder.join("data").to_string_lossy())
            .with("cache", folder.join("tuf-cache").to_string_lossy())
            .with("root", save("1.root.json", &http.fetch(&format!("{origin}/tuf/1.root.json"))?)?)
            .with("trusted_root", save("trusted_root.json", part("trustedRoot")?.as_bytes())?)
            .with("signing_config", save("signing_config.json", part("signingConfig")?.as_bytes())?)
            .with("signing_config_v1", save("signing_config_v1.json", &only_rekor_v1(&config)?)?))
    }
}

/// The default rules, and who may write.
fn rules_with(listen: &str, writes: &str) -> String {
    let rule = |name: &str, path: &str| {
        format!("  - {{name: {name}, issuer: 'http://{listen}{path}', match: {{sub: \"**\"}}}}\n")
    };
    format!("rules:\n{}{}writes: {writes}\n", rule("people", "/idp"), rule("workflows", "/idp/github"))
}

/// The signing config with the log of Rekor v1 alone.
fn only_rekor_v1(config: &Value) -> anyhow::Result<Vec<u8>> {
    let mut signing = config.get("signingConfig").context("signingConfig")?.clone();
    let logs = signing.get_mut("rekorTlogUrls").and_then(Value::as_array_mut).context("rekorTlogUrls")?;
    logs.retain(|log| log.get("majorApiVersion").and_then(Value::as_u64) == Some(1));
    Ok(signing.to_string().into_bytes())
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended already; there is nothing to say about that here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
