//! What is attached to an image: bundles that refer to it, and what cosign 2 keeps under tags named after the digest.

use super::{ImageError, Place, tag_of};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeMap;
use waxseal_formats::bundle::{Bundle, MAX_BUNDLE_LEN};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Digest;
use waxseal_formats::legacy::LegacySignature;
use waxseal_formats::oci::{Descriptor, Manifest};

/// The artifact type of a bundle that refers to an image, without its version.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle";
/// What a bundle's manifest says its predicate is (cosign 3).
pub const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// Media type of a signature of cosign 2.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Media type of an attestation of cosign 2.
pub const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
/// Most signatures and attestations of one image that are looked at, as in cosign.
pub const MAX_ATTACHED: usize = 1000;
/// Largest attestation or payload of cosign 2, in bytes.
pub const MAX_ATTACHMENT_LEN: u64 = 128 << 20;
/// Requests that wait for answers at the same time.
const PARALLEL: usize = 8;

/// One signature or attestation that lies beside an image. Nothing of it is proven yet.
#[derive(Debug)]
pub struct Attached {
    /// Where it was found.
    pub source: Source,
    /// What it holds.
    pub payload: Result<Payload, Unreadable>,
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A manifest that refers to the image, by its digest.
    Referrer(String),
    /// A layer under the tag `….sig`, by its digest.
    SignatureTag(String),
    /// A layer under the tag `….att`, by its digest.
    AttestationTag(String),
}

/// What is attached.
#[derive(Debug)]
pub enum Payload {
    /// A bundle.
    Bundle(Box<Bundle>),
    /// A signature of cosign 2 over a payload that names the image.
    SimpleSigning {
        /// The signed payload.
        payload: Vec<u8>,
        /// Signature, certificate, log entry and timestamp.
        signature: Box<LegacySignature>,
    },
    /// A DSSE envelope of cosign 2.
    Envelope {
        /// The envelope.
        envelope: Vec<u8>,
        /// Certificate, log entry and timestamp.
        signature: Box<LegacySignature>,
    },
}

/// Something attached that cannot be read: it is told, not skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The reason code.
    pub code: Code,
    /// What is wrong.
    pub message: String,
}

/// What somebody looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Everything.
    All,
    /// Signatures: of cosign 2, and statements of these predicate types.
    Signatures(&'a [String]),
    /// Attestations: of cosign 2, and statements of these predicate types.
    Attestations(&'a [String]),
}

impl Wanted<'_> {
    /// Whether a bundle that says this of itself can be meant. One that says nothing can.
    fn may_be(self, annotations: &BTreeMap<String, String>) -> bool {
        match (self, annotations.get(PREDICATE_TYPE)) {
            (Self::Signatures(types) | Self::Attestations(types), Some(stated)) => types.contains(stated),
            (Self::All, _) | (_, None) => true,
        }
    }
}

/// Everything wanted that is attached to `image`, and how many other attestations there are.
///
/// # Errors
/// [`ImageError`] if the registry cannot be read: what cannot be reached is not the same as nothing.
pub async fn attached(place: &Place, image: &Digest, wanted: Wanted<'_>) -> Result<(Vec<Attached>, usize), ImageError> {
    let layers = |suffix: &'static str, media_type: &'static str, wanted: bool| async move {
        if wanted { legacy_layers(place, &tag_of(image, suffix), media_type).await } else { Ok(Vec::new()) }
    };
    let signatures = layers(".sig", SIMPLE_SIGNING, !matches!(wanted, Wanted::Attestations(_)));
    let attestations = layers(".att", DSSE, !matches!(wanted, Wanted::Signatures(_)));
    let (bundles, signatures, attestations) =
        tokio::try_join!(bundles(place, image, wanted), signatures, attestations)?;
    let (mut found, others) = bundles;
    found.extend(signatures);
    found.extend(attestations);
    if found.len() > MAX_ATTACHED {
        return Err(ImageError::TooMany { image: image.to_string(), found: found.len(), limit: MAX_ATTACHED });
    }
    Ok((found, others))
}

async fn bundles(place: &Place, image: &Digest, wanted: Wanted<'_>) -> Result<(Vec<Attached>, usize), ImageError> {
    let mut referrers = place.referrers(image, None).await?;
    // Registries differ in what they call the type: a manifest is opened unless it is surely something else.
    referrers.retain(|descriptor| {
        descriptor
            .artifact_type
            .as_deref()
            .is_none_or(|kind| kind.starts_with(BUNDLE_TYPE) || kind == waxseal_formats::oci::EMPTY)
    });
    if referrers.len() > MAX_ATTACHED {
        return Err(ImageError::TooMany { image: image.to_string(), found: referrers.len(), limit: MAX_ATTACHED });
    }
    let (meant, others): (Vec<_>, Vec<_>) =
        referrers.into_iter().partition(|descriptor| wanted.may_be(&descriptor.annotations));
    let read = each(meant, |descriptor| bundle(place, image, descriptor)).await?;
    let mut found = Vec::new();
    let mut others = others.len();
    for (annotations, attached) in read.into_iter().flatten() {
        if wanted.may_be(&annotations) {
            found.push(attached);
        } else {
            others = others.saturating_add(1);
        }
    }
    Ok((found, others))
}

/// One referrer, if it is a bundle.
async fn bundle(
    place: &Place,
    image: &Digest,
    descriptor: Descriptor,
) -> Result<Option<(BTreeMap<String, String>, Attached)>, ImageError> {
    let stored = match place.manifest(&descriptor.digest).await {
        Ok(stored) => stored,
        // Listed and gone: somebody removed it.
        Err(error) if error.code() == Code::ARTIFACT_NOT_FOUND => return Ok(None),
        Err(error) => return Err(error),
    };
    let Manifest::Image(manifest) = stored.manifest else { return Ok(None) };
    let [layer] = manifest.layers.as_slice() else { return Ok(None) };
    // An index that somebody else wrote may list what belongs to another image.
    let about_image = manifest.subject.as_ref().is_some_and(|subject| subject.digest == *image);
    if !about_image || !layer.media_type.starts_with(BUNDLE_TYPE) {
        return Ok(None);
    }
    let payload = match small(place, layer, MAX_BUNDLE_LEN as u64).await? {
        Ok(document) => Bundle::from_json(&document)
            .map(|bundle| Payload::Bundle(Box::new(bundle)))
            .map_err(|error| Unreadable { code: error.code(), message: error.to_string() }),
        Err(unreadable) => Err(unreadable),
    };
    Ok(Some((manifest.annotations, Attached { source: Source::Referrer(descriptor.digest.to_string()), payload })))
}

/// The layers of that type under a tag.
async fn legacy_layers(place: &Place, tag: &str, media_type: &str) -> Result<Vec<Attached>, ImageError> {
    let Some(stored) = place.tagged(tag).await? else { return Ok(Vec::new()) };
    let Manifest::Image(manifest) = stored.manifest else { return Ok(Vec::new()) };
    if manifest.layers.len() > MAX_ATTACHED {
        return Err(ImageError::TooMany { image: tag.to_owned(), found: manifest.layers.len(), limit: MAX_ATTACHED });
    }
    let layers: Vec<_> = manifest.layers.into_iter().filter(|layer| layer.media_type == media_type).collect();
    each(layers, |layer| async move {
        let digest = layer.digest.to_string();
        let read = small(place, &layer, MAX_ATTACHMENT_LEN).await?;
        let signature = LegacySignature::from_annotations(&layer.annotations)
            .map(Box::new)
            .map_err(|error| Unreadable { code: error.code(), message: error.to_string() });
        let (source, payload) = if layer.media_type == SIMPLE_SIGNING {
            let payload = read.and_then(|payload| Ok(Payload::SimpleSigning { payload, signature: signature? }));
            (Source::SignatureTag(digest), payload)
        } else {
            let payload = read.and_then(|envelope| Ok(Payload::Envelope { envelope, signature: signature? }));
            (Source::AttestationTag(digest), payload)
        };
        Ok(Attached { source, payload })
    })
    .await
}

/// A blob, unless it is too large: one that is must not hide the others.
async fn small(place: &Place, layer: &Descriptor, limit: u64) -> Result<Result<Vec<u8>, Unreadable>, ImageError> {
    match place.blob(layer, limit).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error) if matches!(error.code(), Code::NETWORK_UNREACHABLE | Code::REGISTRY_UNAUTHORIZED) => Err(error),
        Err(error) => Ok(Err(Unreadable { code: error.code(), message: error.to_string() })),
    }
}

/// Does it for each, some at a time; results are in the order of the items.
pub(super) async fn each<I, T, F>(items: Vec<I>, work: impl Fn(I) -> F) -> Result<Vec<T>, ImageError>
where
    F: Future<Output = Result<T, ImageError>>,
{
    stream::iter(items.into_iter().map(work)).buffered(PARALLEL).try_collect().await
}
