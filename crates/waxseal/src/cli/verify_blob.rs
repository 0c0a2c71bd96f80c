//! `waxseal verify-blob`: a file, its signature, and who has to have signed it.

use crate::cli::flags::{ProofArgs, SignerArgs, TrustArgs};
use crate::cli::{Failure, Output};
use crate::client::material::{Material, MaterialError};
use crate::client::verify::{self, ArtifactSource};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use waxseal_formats::code::Code;
use waxseal_formats::statement::COSIGN_SIGN;
use waxseal_io::system;
use waxseal_verify::bundle::{Evidence, SignerEvidence};
use waxseal_verify::predicate;
use waxseal_verify::signature::ContentEvidence;

/// Verify a file against its bundle. Nothing is fetched: the bundle and the trusted root hold all that is needed.
#[derive(Debug, Args)]
pub struct VerifyBlobArgs {
    #[command(flatten)]
    material: MaterialArgs,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    proof: ProofArgs,
    /// Statements of this type count as signatures too: what they say is not judged, only that they are about the file.
    #[arg(long, value_name = "URI")]
    accept_predicate_type: Vec<String>,
    /// The file, or its digest as `sha256:<hex>`.
    #[arg(value_name = "FILE|DIGEST")]
    artifact: String,
}

/// What stands for the signature.
#[derive(Debug, Clone, Args)]
pub struct MaterialArgs {
    /// The bundle, new or old.
    #[arg(long, value_name = "FILE", required_unless_present = "signature", conflicts_with = "signature")]
    bundle: Option<PathBuf>,
    /// The signature (of an attestation the envelope) that cosign 2 wrote without a bundle: a file, or base64.
    #[arg(long, value_name = "FILE|BASE64")]
    signature: Option<String>,
    /// The signer's certificate, beside a signature or old bundle.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The certificates above it. A root among them is not trusted: those are in the trusted root.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_chain: Option<PathBuf>,
    /// The RFC 3161 timestamp, beside a signature or old bundle.
    #[arg(long, value_name = "FILE")]
    rfc3161_timestamp: Option<PathBuf>,
}

impl MaterialArgs {
    /// Where the parts are.
    #[must_use]
    pub fn material(&self) -> Material {
        Material {
            bundle: self.bundle.clone(),
            signature: self.signature.clone(),
            certificate: self.certificate.clone(),
            chain: self.certificate_chain.clone(),
            timestamp: self.rfc3161_timestamp.clone(),
        }
    }
}

/// A failure to read what stands for a signature.
#[must_use]
pub fn material_failure(error: &MaterialError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

/// A refusal with what to do about it.
#[must_use]
pub fn refused(code: Code, message: String) -> Failure {
    let failure = Failure::new(code, message);
    match code {
        Code::SIGNATURE_KEY_MISSING => failure.hint("it is signed with a key: pass --key FILE"),
        Code::LOG_PROOF_MISSING => failure.hint(
            "old signatures have their log entry elsewhere: `waxseal bundle create --rekor-url URL` looks it up; \
             --insecure-ignore-tlog does without",
        ),
        _ => failure,
    }
}

/// Runs the command.
///
/// # Errors
/// The verifier's rejection, with its reason code.
pub async fn run(args: VerifyBlobArgs, output: Output) -> Result<(), Failure> {
    args.proof.check()?;
    let policy = args.signer.policy()?;
    let root = args.trust.trusted_root()?;
    let bundle = args.material.material().read().map_err(|error| material_failure(&error))?;
    let artifact = ArtifactSource::from_argument(&args.artifact);
    let evidence =
        verify::verify_material(&bundle, &artifact, &root, &policy, args.proof.requirements(), system::now())
            .map_err(|error| refused(error.code(), error.to_string()))?;
    if let ContentEvidence::Statement(statement) = evidence.content() {
        let mut accepted = vec![COSIGN_SIGN.to_owned()];
        accepted.extend(args.accept_predicate_type);
        predicate::check(statement, &accepted).map_err(|error| {
            Failure::new(error.code(), error.to_string())
                .hint("an attestation is no signature: `waxseal verify-blob-attestation --type TYPE` verifies it")
        })?;
    }
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
