//! Signing images: a statement about each, all with one certificate, put where verifiers look.

use super::publish::{Destination, LegacyKind, LegacyLayer};
use super::{ImageError, Stored};
use crate::client::sign::{Ceremony, LogChoice, SignError, SignWith, Signed, ToSign};
use serde_json::{Map, Value, json};
use waxseal_formats::bundle::Bundle;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Digest;
use waxseal_formats::envelope::{Envelope, IN_TOTO};
use waxseal_formats::legacy::{self, LegacyError};
use waxseal_formats::oci::Descriptor;
use waxseal_formats::simple_signing::SimpleSigning;
use waxseal_formats::statement::{COSIGN_SIGN, STATEMENT_V1, Statement};
use waxseal_io::system;

/// The forms in which a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forms {
    /// A bundle that refers to the image (cosign 3).
    pub bundle: bool,
    /// A layer under a tag named after the image (cosign 2, podman, skopeo).
    pub legacy: bool,
}

/// What is said of an image.
#[derive(Clone, Debug)]
pub enum Say {
    /// That it is what was built: a signature, with annotations.
    Signature {
        /// `key=value` that the signature carries.
        annotations: Vec<(String, String)>,
    },
    /// A predicate.
    Predicate {
        /// Its type.
        predicate_type: String,
        /// The predicate.
        predicate: Value,
    },
    /// A statement that somebody wrote whole: it has to be about the image.
    Statement(Vec<u8>),
}

/// One image that is signed.
#[derive(Clone, Debug)]
pub struct Image {
    /// How the user called it, with its digest: `registry/repository@sha256:…`.
    pub name: String,
    /// Its repository, as cosign calls it in `docker-reference`.
    pub repository: String,
    /// The manifest.
    pub descriptor: Descriptor,
}

impl Image {
    /// An image that was looked up.
    #[must_use]
    pub fn new(reference: &waxseal_formats::oci::Reference, stored: &Stored) -> Self {
        Self {
            name: format!("{}@{}", reference.repository().context(), stored.descriptor.digest),
            repository: reference.repository().context(),
            descriptor: stored.descriptor.clone(),
        }
    }
}

/// A signature of an image, in every form that was asked for.
#[derive(Debug)]
pub struct SignedImage {
    /// The image.
    pub image: Image,
    /// The type of the statement's predicate.
    pub predicate_type: String,
    /// The signature as a bundle.
    pub signed: Option<Signed>,
    /// The signature in the form of cosign 2.
    pub legacy: Option<LegacyLayer>,
}

/// Why an image is not signed.
#[derive(Debug, thiserror::Error)]
pub enum ImageSignError {
    /// The signature cannot be made.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The signature cannot be written in the form of cosign 2.
    #[error("the signature cannot be written as cosign 2 does: {0}")]
    Legacy(#[from] LegacyError),
    /// The registry.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The statement that somebody wrote is about something else.
    #[error("no subject of the statement has the digest of {image}")]
    Subject {
        /// The image.
        image: String,
    },
}

impl ImageSignError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Sign(error) => error.code(),
            Self::Legacy(error) => error.code(),
            Self::Image(error) => error.code(),
            Self::Subject { .. } => Code::STATEMENT_SUBJECT,
        }
    }
}

/// Signs every image in every form, with one certificate. Nothing is written yet.
///
/// # Errors
/// [`ImageSignError`].
pub async fn sign(
    ceremony: &Ceremony<'_>,
    with: SignWith<'_>,
    images: Vec<Image>,
    say: &Say,
    forms: Forms,
) -> Result<Vec<SignedImage>, ImageSignError> {
    let mut payloads = Vec::new();
    for image in &images {
        let statement = statement(image, say);
        let about = Statement::from_json(&statement).map_err(SignError::Statement)?;
        if !about.is_about(&image.descriptor.digest) {
            return Err(ImageSignError::Subject { image: image.name.clone() });
        }
        if forms.bundle {
            payloads.push((ToSign::Statement(statement.clone()), LogChoice::Configured));
        }
        if forms.legacy {
            let payload = match say {
                Say::Signature { annotations } => ToSign::Message(simple_signing(image, annotations)),
                Say::Predicate { .. } | Say::Statement(_) => ToSign::Statement(statement),
            };
            payloads.push((payload, LogChoice::RekorV1));
        }
    }
    let mut signed = ceremony.sign_all(with, &payloads).await?.into_iter();
    let mut results = Vec::new();
    let mut messages = payloads.into_iter();
    for image in images {
        let predicate_type = predicate_type(say);
        let bundle = if forms.bundle {
            let _ = messages.next();
            signed.next()
        } else {
            None
        };
        let legacy = if forms.legacy {
            match (messages.next(), signed.next()) {
                (Some((what, _)), Some(signed)) => Some(legacy_layer(what, &signed)?),
                _ => None,
            }
        } else {
            None
        };
        results.push(SignedImage { image, predicate_type, signed: bundle, legacy });
    }
    Ok(results)
}

/// Writes a signed image's signatures beside it. Returns the digests of the manifests that were written.
///
/// # Errors
/// [`ImageError`].
pub async fn publish(signed: &SignedImage, to: &Destination) -> Result<Vec<Digest>, ImageError> {
    let mut written = Vec::new();
    if let Some(Signed { bundle, .. }) = &signed.signed {
        written.push(to.attach(&signed.image.descriptor, bundle, &signed.predicate_type, system::now()).await?);
    }
    if let Some(layer) = &signed.legacy {
        written.push(to.add_legacy(&signed.image.descriptor.digest, layer).await?);
    }
    Ok(written)
}

fn predicate_type(say: &Say) -> String {
    match say {
        Say::Signature { .. } => COSIGN_SIGN.to_owned(),
        Say::Predicate { predicate_type, .. } => predicate_type.clone(),
        Say::Statement(statement) => {
            Statement::from_json(statement).map(|statement| statement.predicate_type).unwrap_or_default()
        }
    }
}

/// The statement about an image. Its subject has a name, which sigstore-python demands.
fn statement(image: &Image, say: &Say) -> Vec<u8> {
    let digest = &image.descriptor.digest;
    let mut subject = json!({"name": image.repository, "digest": {digest.algorithm().name(): digest.to_hex()}});
    let (predicate_type, predicate) = match say {
        Say::Signature { annotations } => {
            if let (false, Some(subject)) = (annotations.is_empty(), subject.as_object_mut()) {
                subject.insert("annotations".to_owned(), map(annotations).into());
            }
            (COSIGN_SIGN, json!({}))
        }
        Say::Predicate { predicate_type, predicate } => (predicate_type.as_str(), predicate.clone()),
        Say::Statement(statement) => return statement.clone(),
    };
    let statement =
        json!({"_type": STATEMENT_V1, "subject": [subject], "predicateType": predicate_type, "predicate": predicate});
    statement.to_string().into_bytes()
}

/// What cosign 2 signs.
fn simple_signing(image: &Image, annotations: &[(String, String)]) -> Vec<u8> {
    let payload = SimpleSigning::of_image(&image.repository, image.descriptor.digest.clone(), map(annotations));
    payload.to_json().into_bytes()
}

fn map(annotations: &[(String, String)]) -> Map<String, Value> {
    annotations.iter().map(|(key, value)| (key.clone(), json!(value))).collect()
}

/// The layer of cosign 2 with the material of a signature that was logged for it.
fn legacy_layer(what: ToSign, signed: &Signed) -> Result<LegacyLayer, LegacyError> {
    let Bundle { content, .. } = &signed.bundle;
    let annotations = legacy::annotations(&signed.bundle, &signed.chain)?;
    match (what, content) {
        (ToSign::Message(payload), _) => Ok(LegacyLayer { kind: LegacyKind::Signature, payload, annotations }),
        (_, waxseal_formats::bundle::Content::Envelope(envelope)) => {
            Ok(LegacyLayer { kind: LegacyKind::Attestation, payload: envelope_json(envelope), annotations })
        }
        (_, waxseal_formats::bundle::Content::MessageSignature { .. }) => Err(LegacyError::NoEnvelope),
    }
}

fn envelope_json(envelope: &Envelope) -> Vec<u8> {
    debug_assert_eq!(envelope.payload_type, IN_TOTO);
    json!(envelope).to_string().into_bytes()
}
