//! `waxseal verify`: an image, and who has to have signed it.

use crate::cli::flags::{ProofArgs, SignerArgs, TrustArgs};
use crate::cli::registry_flags::{EXIT_NOT_FOUND, EXIT_UNSIGNED, RegistryArgs, failure, find, reference};
use crate::cli::verify_blob::summary;
use crate::cli::{Failure, Output, OutputFormat};
use crate::client::image::attached::Wanted;
use crate::client::image::copy::image_in;
use crate::client::image::verify::{Demand, ImageRefusal, VerifiedImage, VerifiedSignature, verify};
use crate::client::image::{Place, Stored};
use crate::client::policy::Policies;
use clap::Args;
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::pin::pin;
use waxseal_formats::code::Code;
use waxseal_formats::statement::COSIGN_SIGN;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_io::layout::Layout;
use waxseal_io::registry::Registry;
use waxseal_io::system;
use waxseal_verify::bundle::{Policy, SignerEvidence};

/// Exit status when no signature is one of those who have to sign, as in cosign.
const EXIT_NO_MATCH: u8 = 12;
/// Exit status when a signature has no certificate and one was asked for, as in cosign.
const EXIT_NO_CERTIFICATE: u8 = 13;

/// Verify images in a registry, or in a folder that `save` wrote. Only the registry is asked; all else is in the signatures and in the
/// trusted root.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    demand: DemandArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Statements of this type count as signatures too: what they say is not judged, only that they are about the image.
    #[arg(long, value_name = "URI")]
    accept_predicate_type: Vec<String>,
    /// The images; with --local-image the folders.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// What is demanded beside the signer.
#[derive(Debug, Clone, Args)]
pub struct DemandArgs {
    /// An annotation that the signature has to have.
    #[arg(long, short = 'a', value_name = "KEY=VALUE", value_parser = annotation)]
    pub annotations: Vec<(String, String)>,
    /// How many different signers there have to be.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub signers: u8,
    /// Verify an image in a folder that `waxseal save` or `cosign save` wrote. No socket is opened.
    #[arg(long)]
    pub local_image: bool,
    /// What has to be proven.
    #[command(flatten)]
    pub proof: ProofArgs,
    /// As --output, which cosign's users abbreviate.
    #[arg(short = 'o', value_name = "FORMAT", hide = true, value_enum)]
    pub short_output: Option<OutputFormat>,
    /// Accepted for cosign's sake: that a signature is about the image is always checked.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub check_claims: Option<bool>,
    /// How many images are verified at the same time.
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub max_workers: u8,
}

impl DemandArgs {
    /// How to answer: as `-o` says, else as `--output` does.
    #[must_use]
    pub fn output(&self, output: Output) -> Output {
        self.short_output.map_or(output, Output::from)
    }
}

/// `key=value`.
///
/// # Errors
/// A sentence for clap.
pub fn annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("an annotation is KEY=VALUE".to_owned()),
    }
}

/// Everything that images are verified with.
pub struct Verifier<'a> {
    policy: Policy,
    root: TrustedRoot,
    demand: &'a DemandArgs,
    policies: Option<Policies>,
    /// How registries are spoken to: one pool of connections for all images.
    registry: Registry,
    flags: &'a RegistryArgs,
}

impl<'a> Verifier<'a> {
    /// What the flags say.
    ///
    /// # Errors
    /// `usage`, `input.*`, `trusted-root.*`.
    pub async fn new(
        signer: &SignerArgs,
        trust: &TrustArgs,
        demand: &'a DemandArgs,
        registry: &'a RegistryArgs,
    ) -> Result<Self, Failure> {
        if demand.check_claims == Some(false) {
            return Err(Failure::usage("a signature that need not be about the image proves nothing about it"));
        }
        demand.proof.check()?;
        let (policy, root) = (signer.policy()?, trust.trusted_root()?);
        Ok(Self { policy, root, demand, policies: None, registry: registry.registry()?, flags: registry })
    }

    /// Has policies judge the statements as well.
    #[must_use]
    pub fn with_policies(self, policies: Option<Policies>) -> Self {
        Self { policies, ..self }
    }

    /// Verifies images, many at a time; each outcome comes as soon as those before it are there.
    pub fn verify_all<'s>(
        &'s self,
        names: &'s [String],
        wanted: Wanted<'s>,
    ) -> impl Stream<Item = (&'s String, Result<VerifiedImage, Failure>)> {
        stream::iter(names)
            .map(move |name| async move { (name, self.verify(name, wanted).await) })
            .buffered(usize::from(self.demand.max_workers))
    }

    /// Verifies one image, by its name or, of local ones, its folder.
    ///
    /// # Errors
    /// Why it is refused, with cosign's exit statuses.
    async fn verify(&self, name: &str, wanted: Wanted<'_>) -> Result<VerifiedImage, Failure> {
        let (place, stored) = self.image(name).await?;
        let demand = Demand {
            wanted,
            policy: &self.policy,
            requirements: self.demand.proof.requirements(),
            policies: self.policies.as_ref(),
            annotations: &self.demand.annotations,
            signers: usize::from(self.demand.signers),
            root: &self.root,
            now: system::now(),
        };
        verify(&place, &stored, &demand).await.map_err(|refusal| refused(name, &refusal))
    }

    async fn image(&self, name: &str) -> Result<(Place, Stored), Failure> {
        if self.demand.local_image {
            let layout = Layout::open(Path::new(name)).map_err(|error| failure(&error.into()))?;
            let digest = image_in(&layout, None).map_err(|error| failure(&error))?;
            let place = Place::Layout(layout);
            let stored = place.manifest(&digest).await.map_err(|error| failure(&error))?;
            return Ok((place, stored));
        }
        let image = reference(name)?;
        let stored = find(&self.registry, &image).await?;
        let repository = self.flags.signatures_of(&image)?;
        Ok((Place::Registry { registry: self.registry.clone(), repository }, stored))
    }
}

fn refused(name: &str, refusal: &ImageRefusal) -> Failure {
    if let ImageRefusal::Unknown(error) = refusal {
        return failure(error);
    }
    let code = refusal.code();
    let exit = match code {
        Code::ARTIFACT_UNSIGNED => EXIT_UNSIGNED,
        Code::ARTIFACT_NOT_FOUND => EXIT_NOT_FOUND,
        Code::SIGNATURE_KEY_MISSING => EXIT_NO_CERTIFICATE,
        _ => EXIT_NO_MATCH,
    };
    let details = match refusal {
        ImageRefusal::NoMatch { refused, .. } => json!({"image": name, "refused": refused}),
        _ => json!({"image": name}),
    };
    let failure = Failure { exit, ..Failure::new(code, refusal.to_string()) }.details(details);
    match code {
        Code::ARTIFACT_UNSIGNED => {
            failure.hint(format!("sign it with `waxseal sign {name}`, or see what it has with `waxseal tree {name}`"))
        }
        Code::SIGNATURE_KEY_MISSING => failure.hint("it is signed with a key: pass --key FILE"),
        Code::LOG_UNKNOWN | Code::CERTIFICATE_CHAIN | Code::TIME_AUTHORITY_UNTRUSTED => failure
            .hint("it was signed at another instance: pass --instance or --trusted-root of the one that is trusted"),
        _ => failure,
    }
}

/// Runs the command.
///
/// # Errors
/// Why the first image that is refused is.
pub async fn run(args: VerifyArgs, output: Output) -> Result<(), Failure> {
    let output = args.demand.output(output);
    let verifier = Verifier::new(&args.signer, &args.trust, &args.demand, &args.registry).await?;
    let mut types = vec![COSIGN_SIGN.to_owned()];
    types.extend(args.accept_predicate_type);
    let mut outcomes = pin!(verifier.verify_all(&args.images, Wanted::Signatures(&types)));
    while let Some((name, verified)) = outcomes.next().await {
        let verified = verified?;
        output.say(&format!("Verified OK: {name} is {}", verified.digest));
        let described: Vec<Value> = verified.signatures.iter().map(|one| described(name, one, output)).collect();
        if output == Output::Text {
            for line in verified.signatures.iter().flat_map(|one| summary(&one.evidence)) {
                output.say(&line);
            }
        }
        let array = Value::Array(described);
        // cosign prints an empty line before it, and scripts take the last line.
        output.data(&format!("\n{array}"), &array)?;
    }
    Ok(())
}

/// A signature as cosign prints it; in JSON with what is proven of it.
fn described(name: &str, signature: &VerifiedSignature, output: Output) -> Value {
    let mut optional: Map<String, Value> =
        signature.claim.annotations.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    if let SignerEvidence::Certificate { subject, extensions, .. } = signature.evidence.signer() {
        optional.insert("Subject".to_owned(), json!(subject.as_str()));
        optional.insert("Issuer".to_owned(), json!(extensions.issuer()));
        for (oid, value) in extensions.iter() {
            optional.insert(oid.name().to_owned(), json!(value));
        }
    }
    let mut described = json!({
        "critical": {
            "identity": {"docker-reference": signature.claim.docker_reference.as_deref().unwrap_or(name)},
            "image": {"docker-manifest-digest": signature.image},
            "type": signature.claim.kind,
        },
        "optional": optional,
    });
    if let (Output::Json, Some(object)) = (output, described.as_object_mut()) {
        object.insert("source".to_owned(), json!(signature.source));
        object.insert("evidence".to_owned(), json!(signature.evidence));
    }
    described
}
