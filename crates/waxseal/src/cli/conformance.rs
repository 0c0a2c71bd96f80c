//! `waxseal conformance`: the client protocol of the sigstore-conformance suite
//! (<https://github.com/sigstore/sigstore-conformance>, `docs/cli_protocol.md`).

use crate::cli::flags::{SignerArgs, TrustArgs};
use crate::cli::sign_blob::{Purpose, ServiceArgs, Setup, failure};
use crate::cli::{Failure, Output};
use crate::client::blob::BundleFile;
use crate::client::sign::{Ceremony, SignWith, SigningAlgorithm, ToSign};
use crate::client::verify::{self, ArtifactSource};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use waxseal_formats::statement::MAX_STATEMENT_LEN;
use waxseal_io::system;
use waxseal_io::token::identity_token;

/// A command of the suite's protocol.
#[derive(Debug, Subcommand)]
pub enum ConformanceCommand {
    /// Sign a file.
    SignBundle(SignBundleArgs),
    /// Verify a file or digest.
    VerifyBundle(Box<VerifyBundleArgs>),
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
    }
}

async fn sign_bundle(args: SignBundleArgs, output: Output) -> Result<(), Failure> {
    let services = ServiceArgs { signing_config: args.signing_config, ..ServiceArgs::default() };
    let Setup { services, root, audience, transport } = services.setup(&args.trust, Purpose::Identity).await?;
    let what = if args.in_toto {
        let statement = verify::read_bounded(&args.artifact, MAX_STATEMENT_LEN)
            .map_err(|error| Failure::new(error.code(), error.to_string()))?;
        ToSign::Statement(statement)
    } else {
        ToSign::Blob(args.artifact)
    };
    let file = BundleFile::open(&args.bundle).map_err(|error| Failure::file(&args.bundle, &error))?;
    let token = identity_token(Some(&args.identity_token), &|_| None, &transport, &audience)
        .await
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let ceremony = Ceremony { transport: &transport, services: &services, root: &root };
    let with = SignWith::Identity { token: &token, algorithm: SigningAlgorithm::default() };
    let signed = ceremony.sign(with, &what).await.map_err(|error| failure(&error))?;
    file.write(&signed.bundle.to_json()).map_err(|error| Failure::file(&args.bundle, &error))?;
    output.say(&format!("Wrote {}", args.bundle.display()));
    Ok(())
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
