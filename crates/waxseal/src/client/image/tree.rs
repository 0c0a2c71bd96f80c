//! What is attached to an image, and to what is attached to it.

use super::{ImageError, Place, Stored, tag_of};
use serde::Serialize;
use std::future::Future;
use std::pin::Pin;
use waxseal_formats::oci::Manifest;

/// Deepest nesting that is shown.
const MAX_DEPTH: usize = 4;
/// Most things that are shown.
const MAX_BRANCHES: usize = 1000;

/// A manifest and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// What it is, in a word: of a bundle its predicate's type, else its artifact type or its tag's kind.
    pub what: String,
    /// Its digest.
    pub digest: String,
    /// What refers to it.
    pub attached: Vec<Branch>,
    /// The images of an index, as far as something is attached to them.
    pub images: Vec<Branch>,
}

/// What is attached to `image`.
///
/// # Errors
/// [`ImageError`].
pub async fn tree(place: &Place, image: &Stored) -> Result<Branch, ImageError> {
    let mut left = MAX_BRANCHES;
    branch(place, image.clone(), "image".to_owned(), 0, &mut left).await
}

fn branch<'a>(
    place: &'a Place,
    stored: Stored,
    what: String,
    depth: usize,
    left: &'a mut usize,
) -> Pin<Box<dyn Future<Output = Result<Branch, ImageError>> + Send + 'a>> {
    Box::pin(async move {
        let digest = stored.descriptor.digest.clone();
        let mut found = Branch { what, digest: digest.to_string(), attached: Vec::new(), images: Vec::new() };
        if depth >= MAX_DEPTH {
            return Ok(found);
        }
        let below = depth.saturating_add(1);
        for referrer in place.referrers(&digest, None).await? {
            let child = place.manifest(&referrer.digest).await?;
            take(left, &digest)?;
            let what = described(&child.manifest);
            found.attached.push(branch(place, child, what, below, left).await?);
        }
        for (suffix, what) in
            [(".sig", "signatures of cosign 2"), (".att", "attestations of cosign 2"), (".sbom", "SBOM of cosign")]
        {
            if let Some(child) = place.tagged(&tag_of(&digest, suffix)).await? {
                take(left, &digest)?;
                found.attached.push(branch(place, child, what.to_owned(), below, left).await?);
            }
        }
        if let Manifest::Index(index) = &stored.manifest {
            for child in &index.manifests {
                take(left, &digest)?;
                let what = child.platform.as_ref().map_or_else(|| "image".to_owned(), ToString::to_string);
                let child = place.manifest(&child.digest).await?;
                let image = branch(place, child, what, below, left).await?;
                if !image.attached.is_empty() || !image.images.is_empty() {
                    found.images.push(image);
                }
            }
        }
        Ok(found)
    })
}

fn take(left: &mut usize, image: &waxseal_formats::crypto::Digest) -> Result<(), ImageError> {
    let found = MAX_BRANCHES.saturating_add(1);
    *left = left.checked_sub(1).ok_or_else(|| ImageError::TooMany {
        image: image.to_string(),
        found,
        limit: MAX_BRANCHES,
    })?;
    Ok(())
}

fn described(manifest: &Manifest) -> String {
    let stated = manifest.annotations().get(super::attached::PREDICATE_TYPE);
    stated.map(String::as_str).or(manifest.artifact_type()).unwrap_or(manifest.media_type()).to_owned()
}
