//! What a verified signature says of an image: only some statements are signatures, and all of them have to be about this image.

use crate::predicate::{self, PredicateTypeError};
use serde::Serialize;
use serde_json::{Map, Value};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Digest;
use waxseal_formats::simple_signing::{IMAGE_SIGNATURE, SimpleSigning, SimpleSigningError};
use waxseal_formats::statement::Statement;

/// What is said of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageClaim {
    /// The predicate's type, or of a signature of cosign 2 [`IMAGE_SIGNATURE`].
    pub kind: String,
    /// How the signer called the image. Nobody has to believe it.
    pub docker_reference: Option<String>,
    /// Annotations of the signature.
    pub annotations: Map<String, Value>,
}

/// Why a verified signature does not count for an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageRejection {
    /// It is over a file.
    #[error("the signature is over a file: it says nothing of an image")]
    NoStatement,
    /// The payload of cosign 2 cannot be read.
    #[error(transparent)]
    Payload(#[from] SimpleSigningError),
    /// It is about another image.
    #[error("the signature is about {found}, not about {image}")]
    Image {
        /// What it is about.
        found: String,
        /// The image.
        image: String,
    },
    /// It is a statement of another type than those that count.
    #[error(transparent)]
    PredicateType(#[from] PredicateTypeError),
    /// An annotation is missing or has another value.
    #[error("annotation {key} is {}, not {demanded:?}", found.as_deref().map_or("missing".to_owned(), |found| format!("{found:?}")))]
    Annotation {
        /// Its name.
        key: String,
        /// Its value.
        found: Option<String>,
        /// What it has to be.
        demanded: String,
    },
}

impl ImageRejection {
    /// `statement.subject`, `statement.predicate-type`, `signature.envelope` or `policy.denied`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NoStatement => Code::STATEMENT_PREDICATE_TYPE,
            Self::PredicateType(error) => error.code(),
            Self::Payload(error) => error.code(),
            Self::Image { .. } => Code::STATEMENT_SUBJECT,
            Self::Annotation { .. } => Code::POLICY_DENIED,
        }
    }
}

/// What a statement says of `image`, if it is of one of the `accepted` types (of any, if nothing is said) and has the `demanded`
/// annotations.
///
/// # Errors
/// [`ImageRejection`].
pub fn claim_of_statement(
    statement: &Statement,
    image: &Digest,
    accepted: Option<&[String]>,
    demanded: &[(String, String)],
) -> Result<ImageClaim, ImageRejection> {
    if let Some(accepted) = accepted {
        predicate::check(statement, accepted)?;
    }
    let subject = statement.subjects.iter().find(|subject| subject.digests.contains(image));
    let subject = subject.ok_or_else(|| {
        let found = statement.subjects.iter().flat_map(|subject| &subject.digests).next();
        let found = found.map_or_else(|| "no image".to_owned(), ToString::to_string);
        ImageRejection::Image { found, image: image.to_string() }
    })?;
    check(&subject.annotations, demanded)?;
    Ok(ImageClaim {
        kind: statement.predicate_type.clone(),
        docker_reference: subject.name.clone(),
        annotations: subject.annotations.clone(),
    })
}

/// What a payload of cosign 2 says of `image`.
///
/// # Errors
/// [`ImageRejection`].
pub fn claim_of_payload(
    payload: &[u8],
    image: &Digest,
    demanded: &[(String, String)],
) -> Result<ImageClaim, ImageRejection> {
    let payload = SimpleSigning::from_json(payload)?;
    if payload.kind != IMAGE_SIGNATURE {
        return Err(PredicateTypeError { found: payload.kind, accepted: vec![IMAGE_SIGNATURE.to_owned()] }.into());
    }
    if payload.manifest_digest != *image {
        return Err(ImageRejection::Image { found: payload.manifest_digest.to_string(), image: image.to_string() });
    }
    check(&payload.optional, demanded)?;
    let (kind, docker_reference) = (payload.kind, Some(payload.docker_reference));
    Ok(ImageClaim { kind, docker_reference, annotations: payload.optional })
}

fn check(annotations: &Map<String, Value>, demanded: &[(String, String)]) -> Result<(), ImageRejection> {
    for (key, demanded) in demanded {
        let found = annotations.get(key);
        if found.and_then(Value::as_str) != Some(demanded) {
            let found = found.map(|found| found.as_str().map_or_else(|| found.to_string(), ToOwned::to_owned));
            return Err(ImageRejection::Annotation { key: key.clone(), found, demanded: demanded.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{claim_of_payload, claim_of_statement};
    use serde_json::{Map, json};
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::{Digest, HashAlgorithm};
    use waxseal_formats::simple_signing::SimpleSigning;
    use waxseal_formats::statement::{COSIGN_SIGN, Statement};

    fn digest(text: &str) -> Digest {
        HashAlgorithm::Sha256.digest(text.as_bytes())
    }

    fn demanded(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    fn statement(predicate_type: &str) -> Statement {
        let text = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "r/a", "digest": {"sha256": digest("image").to_hex()}, "annotations": {"team": "platform", "n": 7}}],
            "predicateType": predicate_type,
            "predicate": {},
        });
        Statement::from_json(text.to_string().as_bytes()).expect("a statement")
    }

    /// Security Profiles Operator 3449, GHSA-w6c6-c85g-mmv6: any attestation passed for a signature.
    #[test]
    fn row_2_an_attestation_is_no_signature() {
        let accepted = [COSIGN_SIGN.to_owned()];
        let claim =
            claim_of_statement(&statement(COSIGN_SIGN), &digest("image"), Some(&accepted), &[]).expect("counts");
        assert_eq!((claim.kind.as_str(), claim.docker_reference.as_deref()), (COSIGN_SIGN, Some("r/a")));
        let other = statement("https://slsa.dev/provenance/v1");
        let error = claim_of_statement(&other, &digest("image"), Some(&accepted), &[]).expect_err("refused");
        assert_eq!(error.code(), Code::STATEMENT_PREDICATE_TYPE);
        assert!(claim_of_statement(&other, &digest("image"), None, &[]).is_ok());
        assert!(claim_of_statement(&other, &digest("image"), Some(&[]), &[]).is_err(), "nothing counts");
    }

    /// GHSA-5j5w-g665-5m35 and its like: a signature is moved to another image.
    #[test]
    fn row_27_a_signature_of_another_image_is_refused() {
        let error = claim_of_statement(&statement(COSIGN_SIGN), &digest("evil"), None, &[]).expect_err("refused");
        assert_eq!(error.code(), Code::STATEMENT_SUBJECT);
        let payload = SimpleSigning::of_image("r/a", digest("image"), Map::new()).to_json();
        assert!(claim_of_payload(payload.as_bytes(), &digest("image"), &[]).is_ok());
        let error = claim_of_payload(payload.as_bytes(), &digest("evil"), &[]).expect_err("refused");
        assert_eq!(error.code(), Code::STATEMENT_SUBJECT);
        let other = payload.replace("cosign container image signature", "atomic container signature");
        let error = claim_of_payload(other.as_bytes(), &digest("image"), &[]).expect_err("refused");
        assert_eq!(error.code(), Code::STATEMENT_PREDICATE_TYPE);
        let error = claim_of_payload(b"{}", &digest("image"), &[]).expect_err("refused");
        assert_eq!(error.code(), Code::SIGNATURE_ENVELOPE);
    }

    #[test]
    fn annotations_have_to_be_there_and_equal() {
        let image = digest("image");
        let optional = Map::from_iter([("team".to_owned(), json!("platform")), ("n".to_owned(), json!(7))]);
        let payload = SimpleSigning::of_image("r/a", image.clone(), optional).to_json();
        for (key, value, counts) in
            [("team", "platform", true), ("team", "Platform", false), ("other", "platform", false), ("n", "7", false)]
        {
            let demanded = demanded(key, value);
            let statement = claim_of_statement(&statement(COSIGN_SIGN), &image, None, &demanded);
            let payload = claim_of_payload(payload.as_bytes(), &image, &demanded);
            if counts {
                assert!(statement.is_ok() && payload.is_ok());
            } else {
                assert_eq!(statement.expect_err(key).code(), Code::POLICY_DENIED);
                assert_eq!(payload.expect_err(key).code(), Code::POLICY_DENIED);
            }
        }
    }
}
