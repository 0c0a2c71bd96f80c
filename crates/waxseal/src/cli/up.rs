//! `waxseal up`: a signing instance for development, kept running on this machine.

use crate::cli::{Failure, Output};
use crate::server::config::{DEFAULT_LISTEN, UpSettings, default_data_dir};
use crate::server::instance::Instance;
use crate::server::record::{self, Record};
use crate::server::telemetry::{LogFormat, start_logging};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};
use waxseal_formats::client_config::Privacy;
use waxseal_formats::code::Code;
use waxseal_io::signer::KeyFiles;
use waxseal_io::token::process_environment;

/// Run a signing instance for development on this machine, with a demo identity provider that vouches for anybody whom the
/// owner of the data directory names. Keys and logs are kept across restarts.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where keys and logs are kept [default: $XDG_DATA_HOME/waxseal/up].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The loopback address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// The URL by which clients reach the instance, if it is not the address it listens on.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The signing rules (see docs/rules.md) [default: everybody whom the demo provider vouches for].
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// What the logs keep: `sealed` keeps hashes alone, `open` keeps what is logged, to be read and searched [default: what
    /// the data directory was made with, `sealed` for a new one].
    #[arg(long, value_enum, value_name = "MODE")]
    privacy: Option<PrivacyArg>,
    /// How the instance logs.
    #[arg(long, value_enum, default_value_t = LogFormatArg::Text, value_name = "FORMAT")]
    log_format: LogFormatArg,
}

/// `open` or `sealed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PrivacyArg {
    Open,
    Sealed,
}

impl From<PrivacyArg> for Privacy {
    fn from(argument: PrivacyArg) -> Self {
        match argument {
            PrivacyArg::Open => Self::Open,
            PrivacyArg::Sealed => Self::Sealed,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

/// Runs the instance until it is interrupted or told to terminate.
///
/// # Errors
/// Why it cannot start: wrong options, an address or a data directory in use, a damaged store.
pub async fn run(args: UpArgs, output: Output) -> Result<(), Failure> {
    start_logging(
        match args.log_format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        },
        "info",
    );
    let data_dir = match args.data_dir {
        Some(directory) => std::path::absolute(&directory).map_err(|error| Failure::file(&directory, &error))?,
        None => default_data_dir(process_environment).map_err(|error| Failure::new(error.code(), error.to_string()))?,
    };
    let settings = UpSettings {
        data_dir: data_dir.clone(),
        listen: args.listen,
        public_url: args.public_url,
        rules: args.rules,
        privacy: args.privacy.map(Privacy::from),
    };
    let settings = settings.check().map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let started = Instance::start(settings, KeyFiles::plain()).await;
    let instance = started.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let interrupted = stop_signal()?;
    let (url, checksum) = (instance.url().to_owned(), instance.root_checksum());
    say_ready(output, &instance, &data_dir, &greeting(&url, &checksum, &data_dir, instance.privacy()))?;
    let record = Record { url, data_dir };
    let folder = record::folder(process_environment);
    if let Some(Err(error)) = folder.as_deref().map(|folder| record.write(folder)) {
        tracing::warn!(%error, "other commands will need --data-dir: the instance's record cannot be written");
    }
    instance.serve(interrupted).await;
    if let Some(folder) = &folder {
        record.remove(folder);
    }
    Ok(())
}

/// Tells that the instance is ready: in these sentences, or in one JSON object.
pub(super) fn say_ready(
    output: Output,
    instance: &Instance,
    data_dir: &Path,
    sentences: &[String],
) -> Result<(), Failure> {
    for line in sentences {
        output.say(line);
    }
    output.data("", &json!({"url": instance.url(), "root_sha256": instance.root_checksum(), "data_dir": data_dir}))
}

fn greeting(url: &str, checksum: &str, data_dir: &Path, privacy: Privacy) -> Vec<String> {
    vec![
        format!("waxseal is up at {url}"),
        format!("  root checksum  {checksum}"),
        format!("  data directory {} (whoever can read it can sign as anybody)", data_dir.display()),
        kept(privacy).to_owned(),
        "In another terminal:".to_owned(),
        format!("  waxseal trust add {url} --root-sha256 {checksum}"),
        format!("  export SIGSTORE_ID_TOKEN=$(waxseal token --instance {url} --identity you@example.com)"),
        format!("  waxseal sign-blob --instance {url} --bundle FILE.sigstore.json FILE"),
        "  waxseal client-setup cosign".to_owned() + &format!(" --instance {url}"),
    ]
}

/// What the logs keep, in a sentence.
pub(super) const fn kept(privacy: Privacy) -> &'static str {
    match privacy {
        Privacy::Sealed => "  logs are sealed: they keep hashes, and nothing of what is signed or by whom",
        Privacy::Open => "  logs are open: entries are kept and served",
    }
}

/// Done at the first interrupt or termination signal.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let failed = |error: std::io::Error| Failure::new(Code::INPUT_UNREADABLE, format!("no signal handler: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
    })
}
