//! `waxseal sign` and `attest`: images in registries get signatures and attestations.

use crate::cli::flags::TrustArgs;
use crate::cli::identity_token::TokenArgs;
use crate::cli::keys;
use crate::cli::registry_flags::{RegistryArgs, failure, find, reference};
use crate::cli::sign_blob::{self, Purpose, ServiceArgs, Setup};
use crate::cli::verify::annotation;
use crate::cli::{Failure, Output};
use crate::client::blob::BundleFile;
use crate::client::image::Place;
use crate::client::image::publish::Destination;
use crate::client::image::sign::{Forms, Image, ImageSignError, Say, SignedImage, publish, sign};
use crate::client::key;
use crate::client::sign::{Ceremony, SignWith, SigningAlgorithm};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;
use waxseal_formats::crypto::Digest;
use waxseal_formats::oci::{Manifest, Reference};

/// Sign images: a statement with the image's digest is signed and put beside it in the registry.
#[derive(Debug, Args)]
pub struct SignArgs {
    #[command(flatten)]
    image: ImageSignArgs,
    /// An annotation that the signature carries.
    #[arg(long, short = 'a', value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    /// The images; a digest is safer than a tag.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// What signing and attesting images share.
#[derive(Debug, Args)]
pub struct ImageSignArgs {
    /// Which services sign.
    #[command(flatten)]
    pub services: ServiceArgs,
    /// Whose instance it is.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Whose signature it becomes.
    #[command(flatten)]
    pub token: TokenArgs,
    /// A private key to sign with instead of an identity: a PEM file (cosign's included), env://NAME, hashivault://KEY,
    /// openbao://KEY, a pkcs11: URI, or SCHEME://KEY of a plugin.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["identity_token", "signing_algorithm"])]
    pub key: Option<String>,
    /// The kind of key to make for these signatures.
    #[arg(long, value_name = "NAME", value_parser = sign_blob::algorithm, default_value = "ecdsa-sha2-256-nistp256", help = sign_blob::algorithm_help())]
    pub signing_algorithm: SigningAlgorithm,
    /// Sign the images of an index as well.
    #[arg(long, short = 'r')]
    pub recursive: bool,
    /// How signatures are written: as bundles that refer to the image, under cosign 2's tags (which podman, skopeo and older Kyverno
    /// read; it needs a Rekor v1 log), or both, with one certificate.
    #[arg(long, value_name = "FORM", value_enum, value_delimiter = ',', default_values_t = [Form::Bundle])]
    pub format: Vec<Form>,
    /// Whether to write to the registry.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_name = "BOOL", action = clap::ArgAction::Set)]
    pub upload: bool,
    /// Accepted for cosign's sake: there is nothing to confirm.
    #[arg(long, short = 'y', num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub yes: Option<bool>,
    /// A file that gets the bundle too, with mode 0600. It can only be one image then.
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// How the registry is spoken to.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// A form of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A bundle that refers to the image.
    Bundle,
    /// A layer under a tag.
    Legacy,
}

/// Runs `sign`.
///
/// # Errors
/// Why an image is not signed; nothing is written for any of them then, unless the registry ends in the middle.
pub async fn run(args: SignArgs, output: Output) -> Result<(), Failure> {
    let say = Say::Signature { annotations: args.annotations };
    sign_images(args.image, &args.images, &say, output).await
}

/// Signs what is said of images, and puts it beside them.
///
/// # Errors
/// As [`run`].
pub async fn sign_images(args: ImageSignArgs, names: &[String], say: &Say, output: Output) -> Result<(), Failure> {
    let forms = Forms { bundle: args.format.contains(&Form::Bundle), legacy: args.format.contains(&Form::Legacy) };
    let references = names.iter().map(|name| reference(name)).collect::<Result<Vec<_>, _>>()?;
    let purpose = if args.key.is_some() { Purpose::Key } else { Purpose::Identity };
    // What can fail without anybody seeing it comes first: the images, then the services, then the token.
    let registry = args.registry.registry()?;
    let mut images: Vec<(Image, Reference)> = Vec::new();
    for image in &references {
        if image.digest().is_none() {
            output.say(&format!(
                "warning: {image} is a tag, which may name another image tomorrow: its digest is signed"
            ));
        }
        let stored = find(&registry, image).await?;
        let mut all = vec![stored.clone()];
        if let (true, Manifest::Index(index)) = (args.recursive, &stored.manifest) {
            let place = Place::of(&registry, image);
            for child in &index.manifests {
                all.push(place.manifest(&child.digest).await.map_err(|error| failure(&error))?);
            }
        }
        images.extend(all.iter().map(|stored| (Image::new(image, stored), image.clone())));
    }
    if args.bundle.is_some() && (images.len() != 1 || !forms.bundle) {
        return Err(Failure::usage(format!("--bundle takes the bundle of one image, and {} are signed", images.len())));
    }
    let Setup { services, root, audience, login, transport } = args.services.setup(&args.trust, purpose).await?;
    let file = args.bundle.as_deref().map(BundleFile::open).transpose();
    let file = file.map_err(|error| Failure::file(args.bundle.as_deref().unwrap_or_else(|| "".as_ref()), &error))?;
    let ceremony = Ceremony { transport: &transport, services: &services, root: &root };
    let to_sign = images.iter().map(|(image, _)| image.clone()).collect();
    let signed = if let Some(reference) = &args.key {
        let key = key::open(reference).map_err(|error| keys::failure(&error))?;
        sign(&ceremony, SignWith::Key(key.as_ref()), to_sign, say, forms).await
    } else {
        let token = args.token.token(&transport, &audience, login.as_ref()).await?;
        let with = SignWith::Identity { token: &token, algorithm: args.signing_algorithm };
        sign(&ceremony, with, to_sign, say, forms).await
    };
    let signed = signed.map_err(|error| refused(&error))?;
    if let (Some(file), Some(bundle)) = (file, signed.first().and_then(|one| one.signed.as_ref())) {
        file.write(&bundle.bundle.to_json())
            .map_err(|error| Failure::file(args.bundle.as_deref().unwrap_or_else(|| "".as_ref()), &error))?;
    }
    let mut written = Vec::new();
    for (signed, (_, image)) in signed.iter().zip(&images) {
        let manifests = if args.upload {
            let to = Destination { registry: registry.clone(), repository: args.registry.signatures_of(image)? };
            publish(signed, &to).await.map_err(|error| failure(&error))?
        } else {
            Vec::new()
        };
        output.say(&format!("Signed {}", signed.image.name));
        if let (Output::Text, Some(signed)) = (output, &signed.signed) {
            crate::cli::verify_blob::summary(&signed.evidence).iter().for_each(|line| output.say(line));
        }
        written.push(described(signed, &manifests));
    }
    output.data("", &json!({"signed": written}))
}

fn described(signed: &SignedImage, manifests: &[Digest]) -> Value {
    json!({
        "image": signed.image.name,
        "digest": signed.image.descriptor.digest.to_string(),
        "predicateType": signed.predicate_type,
        "manifests": manifests.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "evidence": signed.signed.as_ref().map(|signed| &signed.evidence),
    })
}

fn refused(error: &ImageSignError) -> Failure {
    match error {
        ImageSignError::Sign(error) => sign_blob::failure(error),
        ImageSignError::Image(error) => failure(error),
        ImageSignError::Subject { .. } => Failure::new(error.code(), error.to_string())
            .hint("--statement takes a statement about the image that is attested"),
        ImageSignError::Legacy(_) => Failure::new(error.code(), error.to_string())
            .hint("the form of cosign 2 needs a Rekor v1 log in the signing config"),
    }
}
