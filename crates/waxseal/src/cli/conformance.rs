//! `waxseal conformance`: the client protocols of the sigstore-conformance suite
//! (<https://github.com/sigstore/sigstore-conformance>, `docs/cli_protocol.md`) and of tuf-conformance.

use crate::cli::flags::{SignerArgs, TrustArgs};
use crate::cli::sign_blob::{Purpose, ServiceArgs, Setup, failure};
use crate::cli::{Failure, Output};
use crate::client::blob::BundleFile;
use crate::client::sign::{Ceremony, SignWith, SigningAlgorithm, ToSign};
use crate::client::tuf::{MAX_TARGET_LEN, Repository, TufError};
use crate::client::verify::{self, ArtifactSource};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use url::Url;
use waxseal_formats::statement::MAX_STATEMENT_LEN;
use waxseal_formats::tuf::{MAX_ROOT_LEN, percent_encode};
use waxseal_io::token::{Wanted, identity_token};
use waxseal_io::transport::{Http, PlainHttp};
use waxseal_io::{file, system};
use waxseal_verify::tuf::TufError as VerifyTufError;

/// A command of the suite's protocol.
#[derive(Debug, Subcommand)]
pub enum ConformanceCommand {
    /// Sign a file.
    SignBundle(SignBundleArgs),
    /// Verify a file or digest.
    VerifyBundle(Box<VerifyBundleArgs>),
    /// The client protocol of tuf-conformance.
    Tuf(TufArgs),
}

/// A TUF client (<https://github.com/theupdateframework/tuf-conformance>, `CLIENT-CLI.md`).
#[derive(Debug, Args)]
pub struct TufArgs {
    /// Where trusted metadata is kept.
    #[arg(long, value_name = "DIR")]
    metadata_dir: PathBuf,
    /// Where the repository's metadata is.
    #[arg(long, value_name = "URL")]
    metadata_url: Option<String>,
    /// A target to download.
    #[arg(long, value_name = "PATH")]
    target_name: Vec<String>,
    /// Where the repository's target files are.
    #[arg(long, value_name = "URL")]
    target_base_url: Option<String>,
    /// Where target files are put.
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: TufCommand,
}

#[derive(Debug, Subcommand)]
enum TufCommand {
    /// Trust a root.
    Init {
        /// The root.
        #[arg(value_name = "ROOT")]
        root: PathBuf,
    },
    /// Refresh the metadata.
    Refresh,
    /// Refresh the metadata and download targets.
    Download,
}

/// Sign a file, or a statement. The public instance's own signing config names a Rekor v1 log only, so that one with a
/// Rekor v2 log has to be given.
#[derive(Debug, Args)]
pub struct SignBundleArgs {
    /// At the staging instance, whose trust material has to be given.
    #[arg(long, requires_all = ["trusted_root", "signing_config"])]
    staging: bool,
    /// The file is an in-toto statement and is signed in a DSSE envelope, byte for byte.
    #[arg(long)]
    in_toto: bool,
    /// The identity token.
    #[arg(long, value_name = "TOKEN")]
    identity_token: String,
    /// Where the bundle is written.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// A signing config that names the services.
    #[arg(long, value_name = "FILE", requires = "trusted_root")]
    signing_config: Option<PathBuf>,
    /// The file.
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
}

/// Verify a bundle against the public instance's root or the given one.
#[derive(Debug, Args)]
pub struct VerifyBundleArgs {
    /// Against the staging instance, whose trusted root has to be given.
    #[arg(long, requires = "trusted_root")]
    staging: bool,
    /// The bundle.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// The file, or its digest as `sha256:<hex>`.
    #[arg(value_name = "FILE|DIGEST")]
    artifact: String,
}

/// Runs the command.
///
/// # Errors
/// Why nothing was signed, or the verifier's rejection.
pub async fn run(command: ConformanceCommand, output: Output) -> Result<(), Failure> {
    match command {
        ConformanceCommand::SignBundle(args) => sign_bundle(args, output).await,
        ConformanceCommand::VerifyBundle(args) => verify_bundle(&args, output),
        // The protocol knows no other status of a failure.
        ConformanceCommand::Tuf(args) => tuf(args).await.map_err(|failure| Failure { exit: 1, ..failure }),
    }
}

async fn sign_bundle(args: SignBundleArgs, output: Output) -> Result<(), Failure> {
    let services = ServiceArgs { signing_config: args.signing_config, ..ServiceArgs::default() };
    let Setup { services, root, audience, transport, .. } = services.setup(&args.trust, Purpose::Identity).await?;
    let what = if args.in_toto {
        let statement = verify::read_bounded(&args.artifact, MAX_STATEMENT_LEN)
            .map_err(|error| Failure::new(error.code(), error.to_string()))?;
        ToSign::Statement(statement)
    } else {
        ToSign::Blob(args.artifact)
    };
    let file = BundleFile::open(&args.bundle).map_err(|error| Failure::file(&args.bundle, &error))?;
    let wanted = Wanted { given: Some(&args.identity_token), source: None };
    let token = identity_token(wanted, &|_| None, &transport, &audience)
        .await
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let ceremony = Ceremony { transport: &transport, services: &services, root: &root };
    let with = SignWith::Identity { token: &token, algorithm: SigningAlgorithm::default() };
    let signed = ceremony.sign(with, &what).await.map_err(|error| failure(&error))?;
    file.write(&signed.bundle.to_json()).map_err(|error| Failure::file(&args.bundle, &error))?;
    output.say(&format!("Wrote {}", args.bundle.display()));
    Ok(())
}

async fn tuf(args: TufArgs) -> Result<(), Failure> {
    if let TufCommand::Init { root } = &args.command {
        let document =
            verify::read_bounded(root, MAX_ROOT_LEN).map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let path = args.metadata_dir.join("root.json");
        return file::replace(&path, &document).map_err(|error| Failure::file(&path, &error));
    }
    let refused = |error: TufError| Failure::new(error.code(), error.to_string());
    let transport = Http::new(PlainHttp::LoopbackOnly);
    let repository = Repository {
        transport: &transport,
        metadata: directory("--metadata-url", args.metadata_url.as_deref())?,
        targets: match args.command {
            TufCommand::Download => directory("--target-base-url", args.target_base_url.as_deref())?,
            _ => directory("--metadata-url", args.metadata_url.as_deref())?,
        },
        directory: args.metadata_dir,
        now: system::now(),
    };
    let trusted = repository.refresh().await.map_err(refused)?;
    if matches!(args.command, TufCommand::Refresh) {
        return Ok(());
    }
    let directory = args.target_dir.ok_or_else(|| Failure::usage("--target-dir is missing"))?;
    for name in &args.target_name {
        let found = repository.search(&trusted, name).await.map_err(refused)?;
        let found = found.ok_or_else(|| refused(VerifyTufError::Missing(name.clone()).into()))?;
        let path = directory.join(percent_encode(name));
        let kept = file::read(&path, MAX_TARGET_LEN).map_err(|error| Failure::file(&path, &error))?;
        if kept.is_some_and(|kept| found.target.matches(&kept)) {
            continue;
        }
        let bytes = repository.target(&trusted, name, &found.target).await.map_err(refused)?;
        file::replace(&path, &bytes).map_err(|error| Failure::file(&path, &error))?;
    }
    Ok(())
}

/// A URL that other names are joined to.
fn directory(flag: &str, url: Option<&str>) -> Result<Url, Failure> {
    let url = url.ok_or_else(|| Failure::usage(format!("{flag} is missing")))?;
    let with_slash = format!("{}/", url.trim_end_matches('/'));
    Url::parse(&with_slash).map_err(|error| Failure::usage(format!("{flag} {url:?}: {error}")))
}

fn verify_bundle(args: &VerifyBundleArgs, output: Output) -> Result<(), Failure> {
    let policy = args.signer.policy()?;
    let root = args.trust.trusted_root()?;
    let artifact = ArtifactSource::from_argument(&args.artifact);
    verify::verify_blob(&args.bundle, &artifact, &root, &policy, system::now())
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    output.say("Verified OK");
    Ok(())
}
