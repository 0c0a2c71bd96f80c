//! `waxseal download`: what is attached to an image, as it is. Nothing of it is verified.

use crate::cli::registry_flags::{EXIT_UNSIGNED, RegistryArgs, failure, find, reference};
use crate::cli::{Failure, Output};
use crate::client::image::attached::{Wanted, attached};
use crate::client::image::{Payload, Place, Source};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use waxseal_formats::bundle::Content;
use waxseal_formats::code::Code;
use waxseal_formats::envelope::Envelope;
use waxseal_formats::json::encode_base64;
use waxseal_formats::legacy::{rekor_bundle_of, timestamp_of};
use waxseal_formats::statement::{COSIGN_SIGN, Statement, predicate_type_of_alias};
use waxseal_formats::x509::Certificate;

/// Print what is attached to an image, one JSON document a line. Nothing is verified.
#[derive(Debug, Args)]
pub struct DownloadArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print its signatures: bundles, and those of cosign 2 with their payload.
    Signature(SignatureArgs),
    /// Print the envelopes of its attestations.
    Attestation(AttestationArgs),
}

#[derive(Debug, Args)]
struct SignatureArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The image.
    #[arg(value_name = "IMAGE")]
    image: String,
}

#[derive(Debug, Args)]
struct AttestationArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Only those of this type: a URI or a short name as in `verify-attestation`.
    #[arg(long, value_name = "TYPE")]
    predicate_type: Option<String>,
    /// The image.
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Runs the command.
///
/// # Errors
/// `artifact.unsigned` with exit status 10 if there is nothing.
pub async fn run(args: DownloadArgs, output: Output) -> Result<(), Failure> {
    let (registry_args, name) = match &args.what {
        What::Signature(args) => (&args.registry, &args.image),
        What::Attestation(args) => (&args.registry, &args.image),
    };
    let image = reference(name)?;
    let registry = registry_args.registry()?;
    let stored = find(&registry, &image).await?;
    let place = Place::Registry { registry, repository: registry_args.signatures_of(&image)? };
    let (found, _) = attached(&place, &stored.descriptor.digest, Wanted::All).await.map_err(|error| failure(&error))?;
    let mut printed = 0_usize;
    for attached in found {
        let payload = match attached.payload {
            Ok(payload) => payload,
            Err(unreadable) => {
                output.say(&format!("warning: {}: {}", source(&attached.source), unreadable.message));
                continue;
            }
        };
        let document = match &args.what {
            What::Signature(_) => signature(&payload),
            What::Attestation(args) => attestation(&payload, args.predicate_type.as_deref()),
        };
        if let Some(document) = document {
            output.data(&document.to_string(), &document)?;
            printed = printed.saturating_add(1);
        }
    }
    if printed == 0 {
        let what = if matches!(args.what, What::Signature(_)) { "signatures" } else { "attestations of that type" };
        let failure = Failure::new(Code::ARTIFACT_UNSIGNED, format!("{image} has no {what}"));
        return Err(
            Failure { exit: EXIT_UNSIGNED, ..failure }.hint(format!("see what it has with `waxseal tree {name}`"))
        );
    }
    Ok(())
}

fn source(source: &Source) -> &str {
    match source {
        Source::Referrer(digest) | Source::SignatureTag(digest) | Source::AttestationTag(digest) => digest,
    }
}

fn predicate_type(envelope: &Envelope) -> Option<String> {
    Statement::from_json(&envelope.payload).ok().map(|statement| statement.predicate_type)
}

/// A signature: a bundle as it is, one of cosign 2 with cosign's keys.
fn signature(payload: &Payload) -> Option<Value> {
    match payload {
        Payload::Bundle(bundle) => {
            let attests = matches!(&bundle.content, Content::Envelope(envelope)
                if predicate_type(envelope).is_some_and(|kind| kind != COSIGN_SIGN));
            if attests { None } else { serde_json::from_str(&bundle.to_json()).ok() }
        }
        Payload::SimpleSigning { payload, signature } => Some(json!({
            "Base64Signature": encode_base64(&signature.signature),
            "Payload": encode_base64(payload),
            "Cert": signature.certificate.as_deref().and_then(pem),
            "Chain": signature.chain.iter().filter_map(|der| pem(der)).collect::<Vec<_>>(),
            "Bundle": signature.entry.as_ref().map(rekor_bundle_of),
            "RFC3161Timestamp": signature.timestamp.as_deref().map(timestamp_of),
        })),
        Payload::Envelope { .. } => None,
    }
}

fn pem(der: &[u8]) -> Option<String> {
    Certificate::from_der(der).ok().map(|certificate| certificate.to_pem())
}

fn attestation(payload: &Payload, wanted: Option<&str>) -> Option<Value> {
    let envelope = match payload {
        Payload::Bundle(bundle) => match &bundle.content {
            Content::Envelope(envelope) => envelope.clone(),
            Content::MessageSignature { .. } => return None,
        },
        Payload::Envelope { envelope, .. } => Envelope::from_json(envelope).ok()?,
        Payload::SimpleSigning { .. } => return None,
    };
    let kind = predicate_type(&envelope)?;
    let meant = wanted.map_or(kind != COSIGN_SIGN, |wanted| kind == predicate_type_of_alias(wanted));
    meant.then(|| json!(envelope))
}
