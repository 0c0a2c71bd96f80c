//! `waxseal serve`: a signing instance in production, as its configuration file says.

use crate::cli::up::{kept, say_ready, stop_signal};
use crate::cli::{Failure, Output};
use crate::server::config::{Config, ConfigError, Tls};
use crate::server::instance::{Instance, StartError};
use crate::server::telemetry::start_logging;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use waxseal_formats::code::Code;
use waxseal_io::token::process_environment;

/// Run the instance that `waxseal init` made, until it is interrupted or told to terminate.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration file: `waxseal.yaml` in the data directory, unless it was moved.
    #[arg(long, value_name = "FILE", env = "WAXSEAL_CONFIG")]
    config: PathBuf,
}

/// Runs the instance.
///
/// # Errors
/// Why it cannot start: the configuration, an address or data directory in use, keys that cannot be opened, a damaged store.
pub async fn run(args: ServeArgs, output: Output) -> Result<(), Failure> {
    let config = Config::read(&args.config).map_err(|error| refused(&error))?;
    start_logging(config.log.format, &config.log.level);
    // The signals are taken before the start: a SIGHUP that comes early would end the process.
    let interrupted = stop_signal()?;
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("no signal handler: {error}")))?;
    let keys = config.keys.open(process_environment).map_err(|error| refused(&error))?;
    let settings = config.settings.clone();
    let instance = Instance::start(settings, keys).await.map_err(|error| not_started(&error))?;
    say_ready(output, &instance, &config.settings.data_dir, &greeting(&config, &instance))?;
    let reloader = Arc::new(instance.reloader(config));
    let watching = tokio::spawn(reloader.watch(async move || {
        if hangup.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }));
    instance.serve(interrupted).await;
    watching.abort();
    Ok(())
}

fn greeting(config: &Config, instance: &Instance) -> Vec<String> {
    let settings = &config.settings;
    let how = match settings.tls {
        Tls::Files { .. } => "with TLS",
        Tls::None => "without TLS",
    };
    vec![
        format!("waxseal serves {}", instance.url()),
        format!("  listening on   {} {how}", settings.listen),
        format!("  root checksum  {}", instance.root_checksum()),
        format!("  data directory {}", settings.data_dir.display()),
        kept(instance.privacy()).to_owned(),
    ]
}

/// What is wrong with a configuration, and what to do next.
pub(super) fn refused(error: &ConfigError) -> Failure {
    let failure = Failure::new(error.code(), error.to_string());
    match error {
        ConfigError::Malformed { .. } => failure.hint("docs/operate.md lists every key"),
        ConfigError::Variable { name } => failure.hint(format!("export {name}, or name a `passphrase_file`")),
        _ => failure,
    }
}

fn not_started(error: &StartError) -> Failure {
    let failure = Failure::new(error.code(), error.to_string());
    match error {
        StartError::NoInstance { path } => {
            failure.hint(format!("waxseal init --data-dir {} --public-url URL", path.display()))
        }
        _ if error.code() == Code::KEY_PASSPHRASE => {
            failure.hint("`keys:` in the configuration says where the passphrase comes from")
        }
        _ => failure,
    }
}
