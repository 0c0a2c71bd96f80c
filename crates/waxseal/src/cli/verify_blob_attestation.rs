//! `waxseal verify-blob-attestation`: a file, and what somebody has to have said about it.

use crate::cli::flags::{PolicyArgs, ProofArgs, SignerArgs, TrustArgs};
use crate::cli::verify_blob::{MaterialArgs, material_failure, refused, summary};
use crate::cli::{Failure, Output};
use crate::client::verify::{self, ArtifactSource};
use clap::Args;
use serde_json::json;
use waxseal_formats::bundle::Content;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Digest;
use waxseal_formats::statement::predicate_type_of_alias;
use waxseal_io::system;
use waxseal_verify::predicate;
use waxseal_verify::signature::ContentEvidence;

/// Verify a statement about a file. Nothing is fetched.
#[derive(Debug, Args)]
pub struct VerifyBlobAttestationArgs {
    #[command(flatten)]
    material: MaterialArgs,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    proof: ProofArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// The type of the predicate: a URI, or slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln,
    /// openvex, custom.
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    predicate_type: String,
    /// The file's digest in hexadecimal, instead of the file.
    #[arg(long, value_name = "HEX", conflicts_with = "artifact")]
    digest: Option<String>,
    /// The algorithm of --digest.
    #[arg(long = "digestAlg", alias = "digest-alg", value_name = "NAME", default_value = "sha256", value_parser = ["sha256", "sha384", "sha512"])]
    digest_algorithm: String,
    /// Accepted for cosign's sake: that a statement is about the file is always checked.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    check_claims: Option<bool>,
    /// The file, or its digest as `sha256:<hex>`.
    #[arg(value_name = "FILE|DIGEST", required_unless_present = "digest")]
    artifact: Option<String>,
}

impl VerifyBlobAttestationArgs {
    fn artifact(&self) -> Result<ArtifactSource, Failure> {
        match (&self.digest, &self.artifact) {
            (None, Some(artifact)) => Ok(ArtifactSource::from_argument(artifact)),
            (digest, _) => {
                let digest = digest.as_deref().unwrap_or_default();
                let parsed = Digest::parse(&format!("{}:{digest}", self.digest_algorithm));
                let wrong = || Failure::usage(format!("--digest {digest:?} is no {} digest", self.digest_algorithm));
                parsed.map(ArtifactSource::Digest).ok_or_else(wrong)
            }
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The verifier's rejection, `statement.predicate-type`, `policy.denied`.
pub async fn run(args: VerifyBlobAttestationArgs, output: Output) -> Result<(), Failure> {
    args.proof.check()?;
    if args.check_claims == Some(false) {
        return Err(Failure::usage("a statement that need not be about the file proves nothing about it"));
    }
    let policies = args.policy.policies()?;
    let policy = args.signer.policy()?;
    let root = args.trust.trusted_root()?;
    let bundle = args.material.material().read().map_err(|error| material_failure(&error))?;
    let (artifact, now) = (args.artifact()?, system::now());
    let Content::Envelope(envelope) = &bundle.content else {
        let message = "the signature is over the file itself, and states nothing about it";
        return Err(Failure::new(Code::STATEMENT_PREDICATE_TYPE, message).hint("`waxseal verify-blob` verifies it"));
    };
    let evidence = verify::verify_material(&bundle, &artifact, &root, &policy, args.proof.requirements(), now)
        .map_err(|error| refused(error.code(), error.to_string()))?;
    if let ContentEvidence::Statement(statement) = evidence.content() {
        let accepted = [predicate_type_of_alias(&args.predicate_type).to_owned()];
        predicate::check(statement, &accepted)
            .map_err(|error| Failure::new(error.code(), error.to_string()).hint("--type names another type"))?;
    }
    if let Some(policies) = policies {
        policies
            .check(&envelope.payload, &evidence, now)
            .map_err(|refusal| Failure::new(refusal.code, refusal.to_string()))?;
    }
    output.say("Verified OK");
    if output == Output::Text {
        summary(&evidence).iter().for_each(|line| output.say(line));
    }
    output.data("", &json!({"verdict": "verified", "evidence": evidence}))
}
