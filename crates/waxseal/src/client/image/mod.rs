//! Images: their signatures and attestations in registries and layouts.
//!
//! An image is looked up once, by whatever the user typed, and from then on it is its digest: what is verified is what is told,
//! copied and signed (CVE-2023-47630 and its like).

pub mod attached;
pub mod copy;
pub mod place;
pub mod publish;
pub mod sign;
pub mod tree;
pub mod verify;

pub use attached::{Attached, Payload, Source};
pub use place::{Place, Stored};

use waxseal_formats::code::Code;
use waxseal_formats::oci::OciError;
use waxseal_io::layout::LayoutError;
use waxseal_io::registry::RegistryError;

/// Why an image or what is attached to it cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A manifest or a reference is not what it should be.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// More is attached to the image than is looked at.
    #[error("{found} signatures and attestations are attached to {image}, {limit} are looked at")]
    TooMany {
        /// The image.
        image: String,
        /// How many there are.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The layout holds several images, or none.
    #[error("{path} holds {found} images: say which with its name or digest")]
    Which {
        /// The layout.
        path: String,
        /// How many it holds.
        found: usize,
    },
}

impl ImageError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Registry(error) => error.code(),
            Self::Layout(error) => error.code(),
            Self::Oci(error) => error.code(),
            Self::TooMany { .. } => Code::INPUT_TOO_LARGE,
            Self::Which { .. } => Code::ARTIFACT_NOT_FOUND,
        }
    }
}

/// The tag under which cosign keeps what belongs to an image: `sha256-<hex>.sig`.
#[must_use]
pub fn tag_of(image: &waxseal_formats::crypto::Digest, suffix: &str) -> String {
    format!("{}-{}{suffix}", image.algorithm().name(), image.to_hex())
}
