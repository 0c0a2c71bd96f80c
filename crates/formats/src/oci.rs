//! Images and what refers to them: references, descriptors and manifests (OCI image-spec 1.1, distribution-spec 1.1).

mod manifest;
mod reference;

pub use manifest::{ImageIndex, ImageManifest, Manifest};
pub use reference::{Reference, Repository};

use crate::code::Code;
use crate::crypto::{Digest, HashAlgorithm};
use crate::json::{JsonError, Node};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Media type of an image's manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index of manifests.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's media type of a manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's media type of an index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of an image's configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of [`EMPTY_CONFIG`] (image-spec `manifest.md`, "Guidance for an Empty Descriptor").
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The configuration of what has none.
pub const EMPTY_CONFIG: &[u8] = b"{}";
/// Largest manifest, in bytes, which is also what registries take at most.
pub const MAX_MANIFEST_LEN: usize = 4 << 20;
/// Most descriptors of a manifest or an index.
pub const MAX_DESCRIPTORS: usize = 20_000;
/// Most annotations of a descriptor or a manifest.
pub const MAX_ANNOTATIONS: usize = 1000;

/// Why a reference or a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OciError {
    /// A reference is none.
    #[error("{problem}")]
    Reference {
        /// What is wrong with it.
        problem: String,
    },
    /// A manifest is no JSON of one.
    #[error("manifest: {0}")]
    Json(#[from] JsonError),
    /// A manifest is of a type that is not known.
    #[error("a manifest of type {found:?} is not supported")]
    MediaType {
        /// Its type.
        found: String,
    },
    /// A manifest says something else of itself than whoever hands it out (GHSA-mc8v-mgrf-8f4m).
    #[error("the manifest says that it is {inside:?} and was handed out as {outside:?}")]
    Ambiguous {
        /// The type in it.
        inside: String,
        /// The type that it came with.
        outside: String,
    },
    /// A manifest is an image and an index at once, or neither (GHSA-77vh-xpmg-72qh).
    #[error("the manifest has {0}")]
    Shape(&'static str),
    /// A manifest lists too much.
    #[error("the manifest lists {found} things, {limit} are allowed")]
    TooMany {
        /// How many it lists.
        found: usize,
        /// How many it may.
        limit: usize,
    },
    /// A digest is none, or by an algorithm that is not used.
    #[error("{path} is no digest by sha256, sha384 or sha512: {found:?}")]
    Digest {
        /// Where it stands.
        path: String,
        /// What stands there.
        found: String,
    },
}

impl OciError {
    /// `input.malformed`, or `input.too-large`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooMany { .. } | Self::Json(JsonError::TooLarge { .. }) => Code::INPUT_TOO_LARGE,
            _ => Code::INPUT_MALFORMED,
        }
    }
}

/// What a manifest says of another document (image-spec `descriptor.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length, in bytes.
    pub size: u64,
    /// Of a manifest, what it is for.
    pub artifact_type: Option<String>,
    /// What else is said of it.
    pub annotations: BTreeMap<String, String>,
    /// In an index, what it runs on.
    pub platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `arm64`.
    pub architecture: String,
    /// Such as `v8`; empty if there is none.
    pub variant: String,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl Descriptor {
    /// The descriptor of `document`, by SHA-256.
    #[must_use]
    pub fn of(media_type: &str, document: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: HashAlgorithm::Sha256.digest(document),
            size: document.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }

    fn from_node(node: &Node<'_>) -> Result<Self, OciError> {
        let text = node.required("digest")?.string()?;
        let digest = Digest::parse(text).ok_or_else(|| OciError::Digest {
            path: node.path().to_owned(),
            found: text.chars().take(200).collect(),
        })?;
        let platform = node.field("platform")?.map(|platform| Platform::from_node(&platform)).transpose()?;
        Ok(Self {
            media_type: node.required("mediaType")?.string()?.to_owned(),
            digest,
            size: node.index_field("size")?,
            artifact_type: optional(node, "artifactType")?,
            annotations: annotations(node)?,
            platform,
        })
    }

    fn to_value(&self) -> Value {
        let mut object = Map::new();
        object.insert("mediaType".to_owned(), json!(self.media_type));
        object.insert("digest".to_owned(), json!(self.digest));
        object.insert("size".to_owned(), json!(self.size));
        insert(&mut object, "artifactType", self.artifact_type.as_deref());
        insert_annotations(&mut object, &self.annotations);
        if let Some(platform) = &self.platform {
            let mut value = Map::new();
            value.insert("architecture".to_owned(), json!(platform.architecture));
            value.insert("os".to_owned(), json!(platform.os));
            insert(&mut value, "variant", Some(platform.variant.as_str()).filter(|variant| !variant.is_empty()));
            object.insert("platform".to_owned(), value.into());
        }
        object.into()
    }
}

impl Platform {
    fn from_node(node: &Node<'_>) -> Result<Self, OciError> {
        Ok(Self {
            os: node.string_field("os")?.to_owned(),
            architecture: node.string_field("architecture")?.to_owned(),
            variant: node.string_field("variant")?.to_owned(),
        })
    }
}

fn optional(node: &Node<'_>, name: &str) -> Result<Option<String>, JsonError> {
    let text = node.string_field(name)?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn annotations(node: &Node<'_>) -> Result<BTreeMap<String, String>, OciError> {
    let Some(node) = node.field("annotations")? else { return Ok(BTreeMap::new()) };
    let wrong = || JsonError::Mismatch { path: node.path().to_owned(), expected: "an object of strings" };
    let object = node.value().as_object().ok_or_else(wrong)?;
    if object.len() > MAX_ANNOTATIONS {
        return Err(OciError::TooMany { found: object.len(), limit: MAX_ANNOTATIONS });
    }
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    object.iter().map(text).collect::<Option<_>>().ok_or_else(|| wrong().into())
}

fn insert(object: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), json!(value));
    }
}

fn insert_annotations(object: &mut Map<String, Value>, annotations: &BTreeMap<String, String>) {
    if !annotations.is_empty() {
        object.insert("annotations".to_owned(), json!(annotations));
    }
}
