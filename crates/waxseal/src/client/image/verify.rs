//! Verifying an image: what is attached to it, judged one by one, until enough of those who have to sign did.

use super::attached::{Attached, Payload, Source, Unreadable, Wanted, attached};
use super::{ImageError, Place, Stored};
use crate::client::policy::Policies;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;
use waxseal_formats::bundle::{Bundle, Content};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Digest;
use waxseal_formats::envelope::Envelope;
use waxseal_formats::oci::Manifest;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_verify::bundle::{self, Evidence, Policy, Rejection, Requirements, SignerEvidence};
use waxseal_verify::image::{ImageClaim, ImageRejection, claim_of_payload, claim_of_statement};
use waxseal_verify::signature::{Artifact, ContentEvidence};

/// Most images of an index that are verified one by one.
pub const MAX_CHILDREN: usize = 128;

/// What an image has to have.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    /// Signatures or attestations, and of which predicate types.
    pub wanted: Wanted<'a>,
    /// Who has to have signed.
    pub policy: &'a Policy,
    /// What has to be proven beside.
    pub requirements: Requirements,
    /// What attestations have to state.
    pub policies: Option<&'a Policies>,
    /// What the signature has to say beside: annotations with their values.
    pub annotations: &'a [(String, String)],
    /// How many different signers there have to be: at least one.
    pub signers: usize,
    /// Whose certificates, logs and timestamps are trusted.
    pub root: &'a TrustedRoot,
    /// Now.
    pub now: Timestamp,
}

/// An image of which everything that was demanded is proven.
#[derive(Debug, Serialize)]
pub struct VerifiedImage {
    /// Its digest.
    pub digest: String,
    /// The signatures or attestations that verify; if the images of an index are signed instead of the index, those of all of them.
    pub signatures: Vec<VerifiedSignature>,
}

/// A signature or attestation that verifies.
#[derive(Debug, Serialize)]
pub struct VerifiedSignature {
    /// The image that it is about, by its digest.
    pub image: String,
    /// Where it lies.
    pub source: Source,
    /// What it says of the image.
    pub claim: ImageClaim,
    /// What is proven.
    pub evidence: Evidence,
    /// The envelope, of an attestation.
    #[serde(skip)]
    pub envelope: Option<Envelope>,
}

/// Something that is attached and does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Where it lies.
    pub source: Source,
    /// The reason code.
    pub code: Code,
    /// The reason.
    pub message: String,
}

/// Why an image is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ImageRefusal {
    /// It cannot be said.
    #[error(transparent)]
    Unknown(#[from] ImageError),
    /// There is nothing of that kind.
    #[error("{image} has no {what}{}", besides(*others))]
    Unsigned {
        /// The image.
        image: String,
        /// What was looked for.
        what: &'static str,
        /// Statements of other types that are attached to it.
        others: usize,
    },
    /// Nothing of what is attached counts. The one that came furthest is told.
    #[error("{image}: {}{}", nearest.message, beside(refused.len()))]
    NoMatch {
        /// The image.
        image: String,
        /// The reason worth telling.
        nearest: Refused,
        /// All of them.
        refused: Vec<Refused>,
    },
    /// Too few different signers.
    #[error("{image} is signed by {found} of the accepted signers, and {demanded} have to have signed")]
    TooFew {
        /// The image.
        image: String,
        /// How many signed.
        found: usize,
        /// How many have to.
        demanded: usize,
    },
    /// An index is unsigned, and so is one of its images.
    #[error("the index {index} has no {what}, and so not all of its images do: {child}")]
    Child {
        /// The index.
        index: String,
        /// What was looked for.
        what: &'static str,
        /// Why the first of its images is refused.
        child: Box<Self>,
    },
}

fn besides(number: usize) -> String {
    match number {
        0 => String::new(),
        1 => " (something else is attached to it: see `waxseal tree`)".to_owned(),
        more => format!(" ({more} other things are attached to it: see `waxseal tree`)"),
    }
}

fn beside(number: usize) -> String {
    if number > 1 { format!(" (and {} more do not count)", number.saturating_sub(1)) } else { String::new() }
}

impl ImageRefusal {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unknown(error) => error.code(),
            Self::Unsigned { .. } => Code::ARTIFACT_UNSIGNED,
            Self::NoMatch { nearest, .. } => nearest.code,
            Self::TooFew { .. } => Code::POLICY_DENIED,
            Self::Child { child, .. } => child.code(),
        }
    }
}

impl Demand<'_> {
    const fn what(&self) -> &'static str {
        match self.wanted {
            Wanted::Attestations(_) => "attestations of that type",
            Wanted::Signatures(_) | Wanted::All => "signatures",
        }
    }
}

/// Verifies an image. An index has to be signed itself, or each of its images has to be.
///
/// # Errors
/// [`ImageRefusal`].
pub async fn verify(place: &Place, image: &Stored, demand: &Demand<'_>) -> Result<VerifiedImage, ImageRefusal> {
    let digest = &image.descriptor.digest;
    match verify_one(place, digest, demand).await {
        Ok(signatures) => Ok(VerifiedImage { digest: digest.to_string(), signatures }),
        Err(ImageRefusal::Unsigned { .. }) if matches!(&image.manifest, Manifest::Index(index) if !index.manifests.is_empty()) =>
        {
            let signatures = verify_children(place, image, demand).await?;
            Ok(VerifiedImage { digest: digest.to_string(), signatures })
        }
        Err(refusal) => Err(refusal),
    }
}

async fn verify_children(
    place: &Place,
    index: &Stored,
    demand: &Demand<'_>,
) -> Result<Vec<VerifiedSignature>, ImageRefusal> {
    let Manifest::Index(manifest) = &index.manifest else { return Ok(Vec::new()) };
    let name = index.descriptor.digest.to_string();
    let found = manifest.manifests.len();
    if found > MAX_CHILDREN {
        return Err(ImageError::TooMany { image: name, found, limit: MAX_CHILDREN }.into());
    }
    let mut signatures = Vec::new();
    for child in &manifest.manifests {
        let verified = verify_one(place, &child.digest, demand).await.map_err(|child| match child {
            ImageRefusal::Unsigned { .. } if signatures.is_empty() => {
                ImageRefusal::Unsigned { image: name.clone(), what: demand.what(), others: 0 }
            }
            child => ImageRefusal::Child { index: name.clone(), what: demand.what(), child: Box::new(child) },
        })?;
        signatures.extend(verified);
    }
    Ok(signatures)
}

async fn verify_one(
    place: &Place,
    image: &Digest,
    demand: &Demand<'_>,
) -> Result<Vec<VerifiedSignature>, ImageRefusal> {
    let (found, others) = attached(place, image, demand.wanted).await?;
    if found.is_empty() {
        return Err(ImageRefusal::Unsigned { image: image.to_string(), what: demand.what(), others });
    }
    let mut verified = Vec::new();
    let mut refused = Vec::new();
    for attached in found {
        let source = attached.source.clone();
        match judge(attached, image, demand) {
            Ok(signature) => verified.push(signature),
            Err(Unreadable { code, message }) => refused.push(Refused { source, code, message }),
        }
    }
    if let Some(policies) = demand.policies {
        // All that an accepted signer stated has to be allowed, as in cosign: an old statement does not outweigh a new one.
        for attestation in &verified {
            let payload = attestation.envelope.as_ref().map_or(&[][..], |envelope| &envelope.payload);
            if let Err(refusal) = policies.check(payload, &attestation.evidence, demand.now) {
                let source = attestation.source.clone();
                let nearest = Refused { source, code: refusal.code, message: refusal.to_string() };
                refused.push(nearest.clone());
                return Err(ImageRefusal::NoMatch { image: image.to_string(), nearest, refused });
            }
        }
    }
    let signers: BTreeSet<String> = verified.iter().map(|signature| signer(&signature.evidence)).collect();
    let demanded = demand.signers.max(1);
    if signers.len() >= demanded {
        return Ok(verified);
    }
    match refused.iter().max_by_key(|refused| progress(refused.code)).cloned() {
        Some(nearest) if verified.is_empty() => {
            Err(ImageRefusal::NoMatch { image: image.to_string(), nearest, refused })
        }
        _ => Err(ImageRefusal::TooFew { image: image.to_string(), found: signers.len(), demanded }),
    }
}

/// Who signed, in one word: the same signer counts once, however often he signs.
fn signer(evidence: &Evidence) -> String {
    match evidence.signer() {
        SignerEvidence::Certificate { subject, extensions, .. } => {
            format!("{} {}", extensions.issuer().unwrap_or_default(), subject.as_str())
        }
        SignerEvidence::Key { spki_sha256 } => spki_sha256.clone(),
    }
}

/// How far verification came before this reason: the reason of the signature that nearly counted is the one worth telling.
fn progress(code: Code) -> u8 {
    match code {
        Code::POLICY_DENIED => 9,
        Code::STATEMENT_PREDICATE_TYPE => 8,
        Code::CERTIFICATE_EXTENSION => 7,
        Code::CERTIFICATE_ISSUER => 6,
        Code::CERTIFICATE_IDENTITY => 5,
        Code::SIGNATURE_KEY_MISSING | Code::SIGNATURE_KEY_MISMATCH => 1,
        code => match code.class() {
            "sct" | "certificate" => 4,
            "time" => 3,
            "log" => 2,
            _ => 0,
        },
    }
}

/// Judges one thing that is attached.
fn judge(attached: Attached, image: &Digest, demand: &Demand<'_>) -> Result<VerifiedSignature, Unreadable> {
    let (bundle, payload) = match attached.payload? {
        Payload::Bundle(bundle) => (*bundle, None),
        Payload::Envelope { envelope, signature } => {
            (signature.into_attestation(&envelope).map_err(|error| told(error.code(), &error))?, None)
        }
        Payload::SimpleSigning { payload, signature } => {
            (signature.into_signature().map_err(|error| told(error.code(), &error))?, Some(payload))
        }
    };
    let artifact = match &payload {
        Some(payload) => Artifact::from_bytes(payload),
        None => Artifact::from_digests(vec![image.clone()]),
    };
    let evidence = bundle::verify_with(&bundle, &artifact, demand.root, demand.policy, demand.requirements, demand.now)
        .map_err(|rejection: Rejection| told(rejection.code(), &rejection))?;
    let claim =
        claim(&evidence, payload.as_deref(), image, demand).map_err(|rejection| told(rejection.code(), &rejection))?;
    let Bundle { content, .. } = bundle;
    let envelope = match content {
        Content::Envelope(envelope) => Some(envelope),
        Content::MessageSignature { .. } => None,
    };
    Ok(VerifiedSignature { image: image.to_string(), source: attached.source, claim, evidence, envelope })
}

fn claim(
    evidence: &Evidence,
    payload: Option<&[u8]>,
    image: &Digest,
    demand: &Demand<'_>,
) -> Result<ImageClaim, ImageRejection> {
    let types = match demand.wanted {
        Wanted::Signatures(types) | Wanted::Attestations(types) => Some(types),
        Wanted::All => None,
    };
    match (payload, evidence.content()) {
        (Some(payload), _) => claim_of_payload(payload, image, demand.annotations),
        (None, ContentEvidence::Statement(statement)) => {
            claim_of_statement(statement, image, types, demand.annotations)
        }
        // Somebody attached a signature over a file, which says nothing of an image.
        (None, ContentEvidence::Artifact(_)) => Err(ImageRejection::NoStatement),
    }
}

fn told(code: Code, error: &dyn std::fmt::Display) -> Unreadable {
    Unreadable { code, message: error.to_string() }
}
