//! `waxseal up`: a signing instance for development, kept running on this machine.

use crate::cli::{Failure, Output};
use crate::server::config::{DEFAULT_LISTEN, UpSettings, default_data_dir};
use crate::server::instance::Instance;
use crate::server::record::{self, Record};
use crate::server::telemetry::{LogFormat, start_logging};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use waxseal_formats::client_config::Privacy;
use waxseal_formats::code::Code;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrivacyArg {
    Open,
    Sealed,
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
        privacy: args.privacy.map(|privacy| match privacy {
            PrivacyArg::Open => Privacy::Open,
            PrivacyArg::Sealed => Privacy::Sealed,
        }),
    };
    let instance = Instance::start(settings).await.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let interrupted = stop_signal()?;
    let (url, checksum) = (instance.url().to_owned(), instance.root_checksum());
    for line in greeting(&url, &checksum, &data_dir, instance.privacy()) {
        output.say(&line);
    }
    let ready = json!({"url": url, "root_sha256": checksum, "data_dir": data_dir});
    if output == Output::Json {
        output.data("", &ready)?;
    }
    let record = Record { url, data_dir };
    let folder = record::folder(process_environment);
    if let Some(Err(error)) = folder.as_deref().map(|folder| record.write(folder)) {
        tracing::warn!(%error, "other commands will need --data-dir: the instance's record cannot be written");
    }
    let served = instance.serve(interrupted).await;
    if let Some(folder) = &folder {
        record.remove(folder);
    }
    served.map_err(|error| Failure::new(Code::NETWORK_LISTEN, format!("the listener failed: {error}")))
}

fn greeting(url: &str, checksum: &str, data_dir: &std::path::Path, privacy: Privacy) -> Vec<String> {
    let keep = match privacy {
        Privacy::Sealed => "  logs are sealed: they keep hashes, and nothing of what is signed or by whom",
        Privacy::Open => "  logs are open: entries are kept and served",
    };
    vec![
        format!("waxseal is up at {url}"),
        format!("  root checksum  {checksum}"),
        format!("  data directory {} (whoever can read it can sign as anybody)", data_dir.display()),
        keep.to_owned(),
        "In another terminal:".to_owned(),
        format!("  waxseal trust add {url} --root-sha256 {checksum}"),
        format!("  export SIGSTORE_ID_TOKEN=$(waxseal token --instance {url} --identity you@example.com)"),
        format!("  waxseal sign-blob --instance {url} --bundle FILE.sigstore.json FILE"),
        "  waxseal client-setup cosign".to_owned() + &format!(" --instance {url}"),
    ]
}

/// Done at the first interrupt or termination signal.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
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
