//! `waxseal copy`, `save` and `load`: an image and what is attached to it, to another place.

use crate::cli::flags::TrustArgs;
use crate::cli::registry_flags::{RegistryArgs, failure, find, reference};
use crate::cli::{Failure, Output};
use crate::client::image::copy::{Along, Copied, Target, copy, image_in};
use crate::client::image::{ImageError, Place};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use waxseal_formats::oci::Descriptor;
use waxseal_io::layout::Layout;

/// The file in a saved folder with the trusted root that its signatures verify against.
const TRUSTED_ROOT: &str = "trusted_root.json";

/// Copy an image with its signatures and attestations, and all else that refers to it, to another repository.
#[derive(Debug, Args)]
pub struct CopyArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Copy the image alone.
    #[arg(long)]
    image_only: bool,
    /// Accepted for cosign's sake: what is there already is not copied again.
    #[arg(long, short = 'f', hide = true)]
    force: bool,
    /// The image.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where it goes: another repository, with or without a tag.
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

/// Save an image with its signatures and attestations in a folder (an OCI image layout), to be carried to where there is no network.
#[derive(Debug, Args)]
pub struct SaveArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// The folder.
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// The image.
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Load an image that `save` wrote into a registry, signatures and attestations included.
#[derive(Debug, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The folder.
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// Where the image goes.
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Runs `copy`.
///
/// # Errors
/// Why it is not copied, or not whole.
pub async fn run(args: CopyArgs, output: Output) -> Result<(), Failure> {
    let (source, destination) = (reference(&args.source)?, reference(&args.destination)?);
    let registry = args.registry.registry()?;
    let stored = find(&registry, &source).await?;
    let from = Place::of(&registry, &source);
    let to = Target::Registry { registry, repository: destination.repository().clone() };
    let along = if args.image_only { Along::Nothing } else { Along::Everything };
    let tag = destination.tag().map(ToOwned::to_owned);
    let copied = copy(&from, &stored, tag, along, &to, &progress(output)).await;
    told(copied, &format!("{source} to {destination}"), &stored.descriptor, output)
}

/// Runs `save`.
///
/// # Errors
/// Why it is not saved, or not whole.
pub async fn save(args: SaveArgs, output: Output) -> Result<(), Failure> {
    let source = reference(&args.image)?;
    // What is carried along to verify with is read first: a folder without it is of no use where there is no network.
    let root = if args.trust.is_given() { Some(args.trust.trusted_root()?) } else { None };
    let registry = args.registry.registry()?;
    let stored = find(&registry, &source).await?;
    let layout = Layout::open_or_create(&args.dir).map_err(|error| failure(&error.into()))?;
    let from = Place::of(&registry, &source);
    let tag = source.tag().map_or_else(|| stored.descriptor.digest.to_string(), ToOwned::to_owned);
    let copied = copy(&from, &stored, Some(tag), Along::Everything, &Target::Layout(layout), &progress(output)).await;
    if let (Ok(_), Some(root)) = (&copied, root) {
        let path = args.dir.join(TRUSTED_ROOT);
        std::fs::write(&path, root.to_json()).map_err(|error| Failure::file(&path, &error))?;
        output.say(&format!("The trusted root is in {}", path.display()));
    }
    told(copied, &format!("{source} to {}", args.dir.display()), &stored.descriptor, output)
}

/// Runs `load`.
///
/// # Errors
/// Why it is not loaded, or not whole.
pub async fn load(args: LoadArgs, output: Output) -> Result<(), Failure> {
    let destination = reference(&args.image)?;
    let layout = Layout::open(&args.dir).map_err(|error| failure(&error.into()))?;
    let digest = image_in(&layout, None).map_err(|error| failure(&error))?;
    let from = Place::Layout(layout);
    let stored = from.manifest(&digest).await.map_err(|error| failure(&error))?;
    let registry = args.registry.registry()?;
    let to = Target::Registry { registry, repository: destination.repository().clone() };
    let tag = destination.tag().map(ToOwned::to_owned);
    let copied = copy(&from, &stored, tag, Along::Everything, &to, &progress(output)).await;
    told(copied, &format!("{} to {destination}", args.dir.display()), &stored.descriptor, output)
}

/// One line for each blob that is worth waiting for.
fn progress(output: Output) -> impl Fn(&Descriptor) + Send + Sync {
    const WORTH_WAITING: u64 = 1 << 20;
    move |blob| {
        if blob.size >= WORTH_WAITING {
            output.say(&format!("  {} ({} MiB)", blob.digest, blob.size >> 20));
        }
    }
}

fn told(copied: Result<Copied, ImageError>, what: &str, image: &Descriptor, output: Output) -> Result<(), Failure> {
    let copied = copied.map_err(|error| failure(&error))?;
    output.say(&format!(
        "Copied {what}: {} manifests, {} of them attached to the image, {} bytes",
        copied.manifests, copied.attached, copied.bytes
    ));
    output.data(&image.digest.to_string(), &json!({"digest": image.digest.to_string(), "copied": copied}))
}
