//! `waxseal tree`: what is attached to an image. Nothing of it is verified.

use crate::cli::registry_flags::{RegistryArgs, failure, find, reference};
use crate::cli::{Failure, Output};
use crate::client::image::Place;
use crate::client::image::tree::{Branch, tree};
use clap::Args;
use serde_json::json;

/// Show the signatures and attestations of an image, and all else that refers to it. Nothing is verified.
#[derive(Debug, Args)]
pub struct TreeArgs {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Accepted for cosign's sake: whatever refers to the image is shown.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    experimental_oci11: Option<bool>,
    /// The image.
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Runs the command.
///
/// # Errors
/// Why the image cannot be looked at.
pub async fn run(args: TreeArgs, output: Output) -> Result<(), Failure> {
    let image = reference(&args.image)?;
    let registry = args.registry.registry()?;
    let stored = find(&registry, &image).await?;
    let place = Place::Registry { registry, repository: args.registry.signatures_of(&image)? };
    let root = tree(&place, &stored).await.map_err(|error| failure(&error))?;
    let mut text = format!("{image}\n{}", root.digest);
    draw(&root, "", &mut text);
    if root.attached.is_empty() && root.images.is_empty() {
        output.say("nothing is attached to it");
    }
    output.data(&text, &json!({"image": image.to_string(), "tree": root}))
}

fn draw(branch: &Branch, indent: &str, text: &mut String) {
    let below: Vec<&Branch> = branch.attached.iter().chain(&branch.images).collect();
    for (number, child) in below.iter().enumerate() {
        let last = number.saturating_add(1) == below.len();
        let (fork, next) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        text.push_str(&format!("\n{indent}{fork}{}: {}", child.what, child.digest));
        draw(child, &format!("{indent}{next}"), text);
    }
}
