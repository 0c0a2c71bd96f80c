//! Copying an image with everything that is attached to it: between registries, into a layout and out of one.
//!
//! Blobs stream through; nothing of an image is ever in memory whole but its manifests.

use super::attached::each;
use super::{ImageError, Place, Stored, tag_of};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use waxseal_formats::crypto::{Digest, HashAlgorithm};
use waxseal_formats::oci::{Descriptor, Manifest};
use waxseal_io::layout::{Layout, LayoutError, REF_NAME};
use waxseal_io::registry::Registry;

/// Deepest nesting of indexes and of things attached to things attached.
const MAX_DEPTH: usize = 8;
/// Most manifests that one copy takes along.
pub const MAX_MANIFESTS: usize = 10_000;
/// The tags under which cosign 2 keeps what belongs to an image.
pub const TAGS: [&str; 3] = [".sig", ".att", ".sbom"];

/// What goes along with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Signatures, attestations and all else that refers to it.
    Everything,
    /// Nothing.
    Nothing,
}

/// One thing to copy: a manifest, and the name that it gets.
#[derive(Clone, Debug)]
struct Item {
    stored: Stored,
    tag: Option<String>,
    /// What it refers to, if it was found so.
    subject: bool,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Copied {
    /// Manifests, the image's own included.
    pub manifests: usize,
    /// Of them, those that are attached to the image or to one of its parts.
    pub attached: usize,
    /// Blobs, in bytes; those that were there already do not count.
    pub bytes: u64,
}

/// Where things are copied to.
#[derive(Clone)]
pub enum Target {
    /// A repository.
    Registry {
        /// How it is spoken to.
        registry: Registry,
        /// The repository.
        repository: waxseal_formats::oci::Repository,
    },
    /// A folder.
    Layout(Layout),
}

/// Copies `image` and, if asked to, what is attached to it and to its parts. `progress` hears of each blob.
///
/// # Errors
/// [`ImageError`]. What was copied stays; doing it again goes on where it ended.
pub async fn copy(
    from: &Place,
    image: &Stored,
    name: Option<String>,
    along: Along,
    to: &Target,
    progress: &(dyn Fn(&Descriptor) + Send + Sync),
) -> Result<Copied, ImageError> {
    let mut plan = Plan { from, along, items: Vec::new(), seen: BTreeSet::new() };
    plan.add(image.clone(), name, false, 0).await?;
    let mut copied = Copied::default();
    for item in plan.items {
        copied.bytes = copied.bytes.saturating_add(blobs(from, &item.stored, to, progress).await?);
        put(&item, to).await?;
        copied.manifests = copied.manifests.saturating_add(1);
        copied.attached = copied.attached.saturating_add(usize::from(item.subject));
    }
    Ok(copied)
}

/// What is to be copied, parts before the whole: a registry refuses an index whose images it does not have.
struct Plan<'a> {
    from: &'a Place,
    along: Along,
    items: Vec<Item>,
    seen: BTreeSet<(String, Option<String>)>,
}

impl Plan<'_> {
    fn add<'a>(
        &'a mut self,
        stored: Stored,
        tag: Option<String>,
        subject: bool,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = Result<(), ImageError>> + Send + 'a>> {
        Box::pin(async move {
            let digest = stored.descriptor.digest.clone();
            if !self.seen.insert((digest.to_string(), tag.clone())) {
                return Ok(());
            }
            if depth > MAX_DEPTH || self.seen.len() > MAX_MANIFESTS {
                let (found, limit) = (self.seen.len(), MAX_MANIFESTS);
                return Err(ImageError::TooMany { image: digest.to_string(), found, limit });
            }
            if let Manifest::Index(index) = &stored.manifest {
                for child in index.manifests.clone() {
                    let child = self.from.manifest(&child.digest).await?;
                    self.add(child, None, false, depth.saturating_add(1)).await?;
                }
            }
            self.items.push(Item { stored, tag, subject });
            if self.along == Along::Everything {
                for referrer in self.from.referrers(&digest, None).await? {
                    let referrer = self.from.manifest(&referrer.digest).await?;
                    self.add(referrer, None, true, depth.saturating_add(1)).await?;
                }
                for suffix in TAGS {
                    let tag = tag_of(&digest, suffix);
                    if let Some(stored) = self.from.tagged(&tag).await? {
                        self.add(stored, Some(tag), true, depth.saturating_add(1)).await?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// Copies the blobs of a manifest. Returns how many bytes were moved.
async fn blobs(
    from: &Place,
    stored: &Stored,
    to: &Target,
    progress: &(dyn Fn(&Descriptor) + Send + Sync),
) -> Result<u64, ImageError> {
    let Manifest::Image(manifest) = &stored.manifest else { return Ok(0) };
    let mut wanted: Vec<Descriptor> = Vec::new();
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        if !wanted.iter().any(|known| known.digest == blob.digest) {
            wanted.push(blob.clone());
        }
    }
    for blob in &wanted {
        progress(blob);
    }
    let moved = each(wanted, |blob| async move { self::blob(from, &blob, to).await }).await?;
    Ok(moved.into_iter().fold(0, u64::saturating_add))
}

async fn blob(from: &Place, blob: &Descriptor, to: &Target) -> Result<u64, ImageError> {
    match (from, to) {
        (Place::Registry { registry, repository }, Target::Registry { registry: target, repository: into }) => {
            if target.blob_exists(into, &blob.digest).await?
                || target.mount_blob(into, repository, &blob.digest).await?
            {
                return Ok(0);
            }
            let stream = registry.blob_stream(repository, blob).await?;
            target.push_stream(into, blob, stream).await?;
        }
        (Place::Registry { registry, repository }, Target::Layout(layout)) => {
            if layout.has(&blob.digest) {
                return Ok(0);
            }
            let mut file = layout.new_blob(&blob.digest)?;
            registry.blob_to(repository, blob, file.file()).await?;
            file.keep()?;
        }
        (Place::Layout(layout), Target::Registry { registry: target, repository: into }) => {
            if target.blob_exists(into, &blob.digest).await? {
                return Ok(0);
            }
            check(layout, blob)?;
            target.push_file(into, blob, layout.open_blob(&blob.digest)?).await?;
        }
        (Place::Layout(source), Target::Layout(layout)) => {
            if layout.has(&blob.digest) {
                return Ok(0);
            }
            check(source, blob)?;
            let mut file = layout.new_blob(&blob.digest)?;
            let failed = |source| LayoutError::File { path: layout.directory().to_owned(), source };
            std::io::copy(&mut source.open_blob(&blob.digest)?, file.file()).map_err(failed)?;
            file.keep()?;
        }
    }
    Ok(blob.size)
}

/// Hashes a blob of a layout: what was changed on the way is not passed on.
fn check(layout: &Layout, blob: &Descriptor) -> Result<(), ImageError> {
    let mut file = layout.open_blob(&blob.digest)?;
    let mut hasher = blob.digest.algorithm().hasher();
    let path = || layout.directory().join("blobs").join(blob.digest.algorithm().name()).join(blob.digest.to_hex());
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read =
            std::io::Read::read(&mut file, &mut buffer).map_err(|source| LayoutError::File { path: path(), source })?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        hasher.update(part);
    }
    let found = hasher.finish();
    if found == blob.digest { Ok(()) } else { Err(LayoutError::Digest { path: path(), found }.into()) }
}

async fn put(item: &Item, to: &Target) -> Result<(), ImageError> {
    let stored = &item.stored;
    match to {
        Target::Registry { registry, repository } => {
            let name = item.tag.clone().unwrap_or_else(|| stored.descriptor.digest.to_string());
            if item.subject && item.tag.is_none() {
                registry.attach_bytes(repository, &stored.manifest, stored.bytes.clone().into()).await?;
            } else {
                let media_type = &stored.descriptor.media_type;
                registry.push_manifest(repository, &name, media_type, stored.bytes.clone().into()).await?;
            }
        }
        Target::Layout(layout) => {
            let digest = layout.write_blob(&stored.bytes)?;
            if digest != stored.descriptor.digest && stored.descriptor.digest.algorithm() == HashAlgorithm::Sha256 {
                return Err(LayoutError::Digest { path: layout.directory().to_owned(), found: digest }.into());
            }
            let mut listed = stored.descriptor.clone();
            listed.annotations.clear();
            if let Some(tag) = &item.tag {
                listed.annotations.insert(REF_NAME.to_owned(), tag.clone());
            }
            // The parts of an index are found through it; all else only through the list.
            if item.tag.is_some() || item.subject {
                layout.list(listed)?;
            }
        }
    }
    Ok(())
}

/// The digest of the one image in a layout, or of the one with this name or digest.
///
/// # Errors
/// [`ImageError::Which`] if there are several and no name was given, or none of that name.
pub fn image_in(layout: &Layout, name: Option<&str>) -> Result<Digest, ImageError> {
    let entries = layout.entries()?;
    // Signatures of cosign 2, and the index of a registry without the referrers API.
    let belongs = |entry: &Descriptor| {
        let tag = entry.annotations.get(REF_NAME).and_then(|tag| tag.strip_prefix("sha256-"));
        let hex = tag.and_then(|tag| tag.get(..64));
        hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let mut candidates = Vec::new();
    for entry in entries.iter().filter(|entry| !belongs(entry)) {
        let matches = name.is_none_or(|name| {
            entry.annotations.get(REF_NAME).is_some_and(|tag| tag == name) || entry.digest.to_string() == name
        });
        if matches && !refers(layout, entry)? && !candidates.contains(&entry.digest) {
            candidates.push(entry.digest.clone());
        }
    }
    match candidates.as_slice() {
        [one] => Ok(one.clone()),
        several => Err(ImageError::Which { path: layout.directory().display().to_string(), found: several.len() }),
    }
}

fn refers(layout: &Layout, entry: &Descriptor) -> Result<bool, ImageError> {
    let document = layout.blob(&entry.digest, waxseal_formats::oci::MAX_MANIFEST_LEN as u64)?;
    Ok(Manifest::from_json(&document, None)?.subject().is_some())
}
