//! Taking up a changed configuration without a restart: everything new is built first, and exchanged only if all of it is good.
//!
//! A reload is asked for by SIGHUP, or by a file whose contents changed: the configuration, the rules, or what they name. A change
//! is acted upon when it has stayed the same for a while, since half a file can be a valid one that admits more. A bad
//! configuration changes nothing: the old one stays in force, and why is logged, counted and told by `/readyz`.

pub mod rules;
mod status;

pub use status::Status;

use crate::server::config::{Config, ConfigError, Settings, Tls};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::sha256_concat;
use waxseal_io::{file, system};

/// How often the files are looked at. A change that is the same twice is taken up.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// Longest file that is watched, in bytes.
const MAX_FILE_LEN: usize = 4 << 20;

/// What exchanges a part: nothing can go wrong in it. Returns the settings of the part that need a restart.
pub type Exchange = Box<dyn FnOnce() -> Vec<&'static str> + Send>;

/// A part of a running instance that can take up another configuration.
pub trait Part: Send + Sync {
    /// Builds what a configuration asks for, and changes nothing.
    ///
    /// # Errors
    /// [`Refused`] if it cannot be used; the part goes on with what it has.
    fn prepare(&self, config: &Config) -> Result<Exchange, Refused>;

    /// The files that decide, besides the configuration.
    fn files(&self, config: &Config) -> Vec<PathBuf>;
}

/// Why a configuration is not taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The reason.
    pub code: Code,
    /// A sentence about it, with the file and the place.
    pub message: String,
}

impl From<ConfigError> for Refused {
    fn from(error: ConfigError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

/// What became of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The new configuration is in force, but for these settings, which need a restart.
    InForce {
        /// Their names.
        restart: Vec<&'static str>,
    },
    /// The old one is, and this is why.
    Kept(Refused),
}

/// Takes up changed configurations.
pub struct Reloader {
    path: PathBuf,
    parts: Vec<Box<dyn Part>>,
    status: Arc<Status>,
    state: Mutex<State>,
}

struct State {
    /// What the instance was started with: settings that need a restart are compared with these.
    started: Settings,
    /// The configuration that names the files to watch.
    named: Config,
    /// What the files had when they were acted upon.
    acted: [u8; 32],
    /// What they had when they were looked at last.
    seen: [u8; 32],
}

impl Reloader {
    /// Of an instance that was started with `config` and consists of these parts.
    #[must_use]
    pub fn new(config: Config, parts: Vec<Box<dyn Part>>, status: Arc<Status>) -> Self {
        let digest = digest(&config, &parts);
        let path = config.path.clone();
        let state = State { started: config.settings.clone(), named: config, acted: digest, seen: digest };
        Self { path, parts, status, state: Mutex::new(state) }
    }

    /// Reads the configuration, and takes it up if all of it is good. Blocks.
    pub fn reload(&self) -> Outcome {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.reload_with(&mut state)
    }

    /// Looks at the files, and reloads if they changed and have been as they are since the last look. Blocks.
    pub fn look(&self) -> Option<Outcome> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = digest(&state.named, &self.parts);
        let settled = now == std::mem::replace(&mut state.seen, now);
        (settled && now != state.acted).then(|| self.reload_with(&mut state))
    }

    fn reload_with(&self, state: &mut State) -> Outcome {
        let outcome = match self.prepared() {
            Ok((config, exchanges)) => {
                let mut restart = fixed(&state.started, &config.settings);
                restart.extend(exchanges.into_iter().flat_map(|exchange| exchange()));
                state.named = config;
                Outcome::InForce { restart }
            }
            Err(refused) => Outcome::Kept(refused),
        };
        // Also what is bad was acted upon: it is tried again when it changes, or on SIGHUP.
        state.acted = digest(&state.named, &self.parts);
        state.seen = state.acted;
        tell(&self.path, &outcome);
        self.status.record(&outcome, system::now());
        outcome
    }

    fn prepared(&self) -> Result<(Config, Vec<Exchange>), Refused> {
        let config = Config::read(&self.path)?;
        let exchanges = self.parts.iter().map(|part| part.prepare(&config)).collect::<Result<_, _>>()?;
        Ok((config, exchanges))
    }

    /// Reloads whenever `asked` says so, and when files change, for as long as the process runs.
    pub async fn watch(self: Arc<Self>, mut asked: impl AsyncFnMut()) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let by_signal = tokio::select! {
                () = asked() => true,
                _ = ticks.tick() => false,
            };
            let reloader = Arc::clone(&self);
            let work = move || if by_signal { Some(reloader.reload()) } else { reloader.look() };
            if let Err(error) = tokio::task::spawn_blocking(work).await {
                tracing::error!(%error, "a reload of the configuration broke off");
            }
        }
    }
}

/// Settings that differ and cannot change while the instance runs.
fn fixed(started: &Settings, wanted: &Settings) -> Vec<&'static str> {
    let differences = [
        ("public_url", started.public_url != wanted.public_url),
        ("data_dir", started.data_dir != wanted.data_dir),
        ("listen", started.listen != wanted.listen),
        ("operations_listen", started.operations_listen != wanted.operations_listen),
        ("privacy", started.privacy != wanted.privacy),
        // Other files are taken up; speaking TLS or not is not.
        ("tls", (started.tls == Tls::None) != (wanted.tls == Tls::None)),
        ("login", started.provider != wanted.provider),
        ("audit", started.audit != wanted.audit),
        ("limits", started.limits != wanted.limits),
        ("timestamps", started.timestamps != wanted.timestamps),
        ("trusted_proxies", started.trusted_proxies != wanted.trusted_proxies),
    ];
    differences.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn tell(path: &Path, outcome: &Outcome) {
    let config = path.display();
    match outcome {
        Outcome::InForce { restart } if restart.is_empty() => tracing::info!(%config, "the configuration is reloaded"),
        Outcome::InForce { restart } => {
            tracing::warn!(%config, ?restart, "the configuration is reloaded, but these settings need a restart");
        }
        Outcome::Kept(Refused { code, message }) => {
            tracing::error!(%config, %code, error = message, "the configuration is refused, the old one stays in force");
        }
    }
}

/// What the files have that decide. One that cannot be read is told from one that is empty.
fn digest(config: &Config, parts: &[Box<dyn Part>]) -> [u8; 32] {
    let named = parts.iter().flat_map(|part| part.files(config));
    let mut digests = Vec::new();
    for path in std::iter::once(config.path.clone()).chain(named) {
        let contents = match file::read(&path, MAX_FILE_LEN) {
            Ok(Some(contents)) => contents,
            Ok(None) => b"missing".to_vec(),
            Err(error) => error.kind().to_string().into_bytes(),
        };
        let length = contents.len().to_be_bytes();
        digests.extend(sha256_concat(&[path.as_os_str().as_encoded_bytes(), &[0], &length, &contents]));
    }
    sha256_concat(&[&digests])
}

/// The times of reloads, for those who ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// When the configuration in force was taken up, if it was not at the start.
    taken_up: Option<Timestamp>,
    /// What needs a restart.
    restart: Vec<&'static str>,
    /// The newest configuration if it is not in force, and since when.
    refused: Option<(Timestamp, Refused)>,
}

#[cfg(test)]
mod tests;
