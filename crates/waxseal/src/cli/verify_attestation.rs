//! `waxseal verify-attestation`: an image, and what somebody has to have said about it.

use crate::cli::flags::{PolicyArgs, SignerArgs, TrustArgs};
use crate::cli::registry_flags::RegistryArgs;
use crate::cli::verify::{DemandArgs, Verifier};
use crate::cli::verify_blob::summary;
use crate::cli::{Failure, Output};
use crate::client::image::attached::Wanted;
use clap::Args;
use futures_util::stream::StreamExt as _;
use serde_json::json;
use std::pin::pin;
use waxseal_formats::statement::predicate_type_of_alias;

/// Verify attestations of images. The statements' envelopes are printed, one a line.
#[derive(Debug, Args)]
pub struct VerifyAttestationArgs {
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    demand: DemandArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// The type of the predicate: a URI, or slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln,
    /// openvex, custom.
    #[arg(long = "type", value_name = "TYPE", default_value = "custom")]
    predicate_type: String,
    /// The images; with --local-image the folders.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// Why the first image that is refused is.
pub async fn run(args: VerifyAttestationArgs, output: Output) -> Result<(), Failure> {
    let output = args.demand.output(output);
    let policies = args.policy.policies()?;
    let verifier = Verifier::new(&args.signer, &args.trust, &args.demand, &args.registry).await?;
    let verifier = verifier.with_policies(policies);
    let types = [predicate_type_of_alias(&args.predicate_type).to_owned()];
    let mut outcomes = pin!(verifier.verify_all(&args.images, Wanted::Attestations(&types)));
    while let Some((name, verified)) = outcomes.next().await {
        let verified = verified?;
        output.say(&format!("Verified OK: {name} is {}", verified.digest));
        for attestation in &verified.signatures {
            let envelope = json!(attestation.envelope);
            let mut described = envelope.clone();
            if let Some(object) = described.as_object_mut() {
                object.insert("source".to_owned(), json!(attestation.source));
                object.insert("evidence".to_owned(), json!(attestation.evidence));
            }
            if output == Output::Text {
                summary(&attestation.evidence).iter().for_each(|line| output.say(line));
            }
            output.data(&envelope.to_string(), &described)?;
        }
    }
    Ok(())
}
