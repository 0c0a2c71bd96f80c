//! `waxseal verify-blob`: a file, its bundle, and who has to have signed it.

use crate::cli::flags::{SignerArgs, TrustArgs};
use crate::cli::{Failure, Output};
use crate::client::verify::{self, ArtifactSource};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use waxseal_io::system;
use waxseal_verify::bundle::{Evidence, SignerEvidence};

/// Verify a file against its bundle. Nothing is fetched: the bundle and the trusted root hold all that is needed.
#[derive(Debug, Args)]
pub struct VerifyBlobArgs {
    /// The bundle that `sign-blob` wrote.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Accepted for cosign's sake: verification never asks a log or any other service.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    offline: Option<bool>,
    /// Accepted for cosign's sake: timestamps in the bundle are always verified.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    use_signed_timestamps: Option<bool>,
    /// The file, or its digest as `sha256:<hex>`.
    #[arg(value_name = "FILE|DIGEST")]
    artifact: String,
}

/// Runs the command.
///
/// # Errors
/// The verifier's rejection, with its reason code.
pub async fn run(args: VerifyBlobArgs, output: Output) -> Result<(), Failure> {
    if args.offline == Some(false) || args.use_signed_timestamps == Some(false) {
        return Err(Failure::usage("verification is always offline and always checks the timestamps in the bundle"));
    }
    let policy = args.signer.policy()?;
    let root = args.trust.trusted_root()?;
    let artifact = ArtifactSource::from_argument(&args.artifact);
    let evidence = verify::verify_blob(&args.bundle, &artifact, &root, &policy, system::now())
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    output.say("Verified OK");
    if output == Output::Text {
        for line in summary(&evidence) {
            output.say(&line);
        }
    }
    output.data("", &json!({"verdict": "verified", "evidence": evidence}))
}

/// The evidence in sentences.
#[must_use]
pub fn summary(evidence: &Evidence) -> Vec<String> {
    let mut lines = Vec::new();
    match evidence.signer() {
        SignerEvidence::Certificate { subject, extensions, .. } => {
            lines.push(format!("  signer: {}", subject.as_str()));
            lines.push(format!("  issuer: {}", extensions.issuer().unwrap_or_default()));
        }
        SignerEvidence::Key { spki_sha256 } => lines.push(format!("  signer: key sha256:{spki_sha256}")),
    }
    lines.extend(evidence.proven_times().next().map(|time| format!("  signed: {time}")));
    lines.extend(evidence.log().iter().map(|entry| format!("  logged: {} index {}", entry.log, entry.index)));
    lines
}
