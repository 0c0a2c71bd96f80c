//! Where an image and what is attached to it lie: in a registry, or in a layout on this disk.

use super::ImageError;
use std::path::Path;
use waxseal_formats::crypto::Digest;
use waxseal_formats::oci::{Descriptor, MAX_MANIFEST_LEN, Manifest, Reference, Repository};
use waxseal_io::layout::{Layout, REF_NAME};
use waxseal_io::registry::{Registry, RegistryError};

/// A repository, or a layout that stands for one.
#[derive(Clone)]
pub enum Place {
    /// In a registry.
    Registry {
        /// How it is spoken to.
        registry: Registry,
        /// The repository.
        repository: Repository,
    },
    /// In a folder.
    Layout(Layout),
}

/// A manifest as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What it is: type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What they say.
    pub manifest: Manifest,
}

impl Place {
    /// The repository of a reference.
    #[must_use]
    pub fn of(registry: &Registry, reference: &Reference) -> Self {
        Self::Registry { registry: registry.clone(), repository: reference.repository().clone() }
    }

    /// The layout in a folder.
    ///
    /// # Errors
    /// [`ImageError::Layout`].
    pub fn layout(directory: &Path) -> Result<Self, ImageError> {
        Ok(Self::Layout(Layout::open(directory)?))
    }

    /// The manifest of a digest.
    ///
    /// # Errors
    /// [`ImageError`].
    pub async fn manifest(&self, digest: &Digest) -> Result<Stored, ImageError> {
        match self {
            Self::Registry { registry, repository } => {
                Ok(Stored::of(registry.resolve(&repository.with_digest(digest)).await?))
            }
            Self::Layout(layout) => {
                let entry = layout.entries()?.into_iter().find(|entry| entry.digest == *digest);
                stored(layout, digest, entry)
            }
        }
    }

    /// The manifest of a tag, if there is one.
    ///
    /// # Errors
    /// [`ImageError`], but not for a tag that does not exist.
    pub async fn tagged(&self, tag: &str) -> Result<Option<Stored>, ImageError> {
        match self {
            Self::Registry { registry, repository } => match registry.resolve(&repository.with_tag(tag)?).await {
                Ok(resolved) => Ok(Some(Stored::of(resolved))),
                Err(RegistryError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::Layout(layout) => {
                let entries = layout.entries()?;
                let named = entries.into_iter().find(|entry| entry.annotations.get(REF_NAME).is_some_and(|n| n == tag));
                named.map(|entry| stored(layout, &entry.digest.clone(), Some(entry))).transpose()
            }
        }
    }

    /// The manifests that may name `subject` as theirs and be of that type.
    ///
    /// # Errors
    /// [`ImageError`].
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ImageError> {
        match self {
            Self::Registry { registry, repository } => {
                Ok(registry.referrers(repository, subject, artifact_type).await?)
            }
            Self::Layout(layout) => Ok(layout.referrers(subject)?),
        }
    }

    /// A blob of at most `limit` bytes.
    ///
    /// # Errors
    /// [`ImageError`].
    pub async fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Registry { registry, repository } => Ok(registry.blob(repository, descriptor, limit).await?.to_vec()),
            Self::Layout(layout) => Ok(layout.blob(&descriptor.digest, limit.min(descriptor.size))?),
        }
    }
}

impl Stored {
    fn of(resolved: waxseal_io::registry::Resolved) -> Self {
        Self { descriptor: resolved.descriptor, bytes: resolved.bytes.to_vec(), manifest: resolved.manifest }
    }
}

fn stored(layout: &Layout, digest: &Digest, entry: Option<Descriptor>) -> Result<Stored, ImageError> {
    let bytes = layout.blob(digest, MAX_MANIFEST_LEN as u64)?;
    let manifest = Manifest::from_json(&bytes, entry.as_ref().map(|entry| entry.media_type.as_str()))?;
    let descriptor = Descriptor::of(manifest.media_type(), &bytes);
    Ok(Stored { descriptor, bytes, manifest })
}
