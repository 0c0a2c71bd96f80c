//! Putting signatures where verifiers look for them: as manifests that refer to the image, and, when asked to, under the tags of
//! cosign 2.

use super::attached::{DSSE, PREDICATE_TYPE, SIMPLE_SIGNING};
use super::{ImageError, tag_of};
use bytes::Bytes;
use std::collections::BTreeMap;
use waxseal_formats::bundle::Bundle;
use waxseal_formats::crypto::Digest;
use waxseal_formats::oci::{CONFIG, Descriptor, EMPTY_CONFIG, ImageManifest, Manifest, Repository};
use waxseal_io::registry::{Merged, Registry};

/// Where the signatures of an image go.
#[derive(Clone)]
pub struct Destination {
    /// How the registry is spoken to.
    pub registry: Registry,
    /// The image's repository, or the one that COSIGN_REPOSITORY names.
    pub repository: Repository,
}

/// A signature in the form of cosign 2.
#[derive(Clone, Debug)]
pub struct LegacyLayer {
    /// Which tag it goes under.
    pub kind: LegacyKind,
    /// The payload that was signed, or the envelope.
    pub payload: Vec<u8>,
    /// The material beside it.
    pub annotations: BTreeMap<String, String>,
}

/// The tags of cosign 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyKind {
    /// `….sig`.
    Signature,
    /// `….att`.
    Attestation,
}

impl LegacyKind {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Signature => ".sig",
            Self::Attestation => ".att",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Signature => SIMPLE_SIGNING,
            Self::Attestation => DSSE,
        }
    }
}

impl Destination {
    /// Attaches a bundle to an image. Returns the digest of the manifest that refers to it.
    ///
    /// # Errors
    /// [`ImageError`].
    pub async fn attach(
        &self,
        image: &Descriptor,
        bundle: &Bundle,
        predicate_type: &str,
        created: jiff::Timestamp,
    ) -> Result<Digest, ImageError> {
        let document = bundle.to_json();
        let layer = Descriptor::of(bundle.media_type.as_str(), document.as_bytes());
        self.registry.push_blob(&self.repository, document.into_bytes().into()).await?;
        let annotations = BTreeMap::from([
            ("dev.sigstore.bundle.content".to_owned(), "dsse-envelope".to_owned()),
            (PREDICATE_TYPE.to_owned(), predicate_type.to_owned()),
            ("org.opencontainers.image.created".to_owned(), seconds(created)),
        ]);
        let manifest = ImageManifest::referrer(bundle.media_type.as_str(), layer, subject(image), annotations);
        self.registry.push_blob(&self.repository, Bytes::from_static(EMPTY_CONFIG)).await?;
        Ok(self.registry.attach(&self.repository, &manifest).await?)
    }

    /// Adds a layer under the tag of cosign 2, beside those that are there. Returns its digest.
    ///
    /// # Errors
    /// [`ImageError`].
    pub async fn add_legacy(&self, image: &Digest, layer: &LegacyLayer) -> Result<Digest, ImageError> {
        let mut described = Descriptor::of(layer.kind.media_type(), &layer.payload);
        described.annotations.clone_from(&layer.annotations);
        self.registry.push_blob(&self.repository, layer.payload.clone().into()).await?;
        let merge = |current: Option<&Manifest>| {
            let mut layers = match current {
                Some(Manifest::Image(manifest)) => manifest.layers.clone(),
                _ => Vec::new(),
            };
            if layers.contains(&described) {
                return None;
            }
            layers.push(described.clone());
            let config = Bytes::from(config(&layers));
            let manifest = ImageManifest::of_layers(Descriptor::of(CONFIG, &config), layers);
            Some(Merged { manifest: Manifest::Image(manifest), blobs: vec![config] })
        };
        self.registry.merge_tag(&self.repository, &tag_of(image, layer.kind.suffix()), merge).await?;
        Ok(described.digest)
    }
}

/// What a subject is named by: type, digest and size, nothing else.
fn subject(image: &Descriptor) -> Descriptor {
    Descriptor { annotations: BTreeMap::new(), artifact_type: None, platform: None, ..image.clone() }
}

/// An image configuration for layers that are no file systems, as go-containerregistry makes it: readers take its layers' digests for
/// what they are.
fn config(layers: &[Descriptor]) -> String {
    let ids: Vec<_> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    serde_json::json!({
        "architecture": "",
        "config": {},
        "created": "0001-01-01T00:00:00Z",
        "history": vec![serde_json::json!({"created": "0001-01-01T00:00:00Z"}); layers.len()],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": ids},
    })
    .to_string()
}

fn seconds(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
