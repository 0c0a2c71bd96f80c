//! What cosign 2 signs of an image: "simple signing" (containers/image `docs/atomic-signature.md`, with cosign's type).

use crate::code::Code;
use crate::crypto::Digest;
use crate::json::{self, JsonError, Node};
use serde_json::{Map, Value, json};

/// The type of a signature of an image.
pub const IMAGE_SIGNATURE: &str = "cosign container image signature";
/// Largest payload, in bytes.
pub const MAX_PAYLOAD_LEN: usize = 1 << 20;

/// The payload of a signature of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct SimpleSigning {
    /// How the signer called the image's repository. Nobody has to believe it.
    pub docker_reference: String,
    /// The digest of the image's manifest.
    pub manifest_digest: Digest,
    /// [`IMAGE_SIGNATURE`].
    pub kind: String,
    /// Annotations.
    pub optional: Map<String, Value>,
}

/// Why a payload is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimpleSigningError {
    /// It is no JSON of one.
    #[error("the signed payload: {0}")]
    Json(#[from] JsonError),
    /// Its digest is none.
    #[error("the signed payload names no digest of a manifest: {found:?}")]
    Digest {
        /// What it names.
        found: String,
    },
}

impl SimpleSigningError {
    /// `signature.envelope`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::SIGNATURE_ENVELOPE
    }
}

impl SimpleSigning {
    /// The payload of a signature of an image.
    #[must_use]
    pub fn of_image(docker_reference: &str, manifest_digest: Digest, optional: Map<String, Value>) -> Self {
        let (docker_reference, kind) = (docker_reference.to_owned(), IMAGE_SIGNATURE.to_owned());
        Self { docker_reference, manifest_digest, kind, optional }
    }

    /// Parses a payload of at most [`MAX_PAYLOAD_LEN`] bytes.
    ///
    /// # Errors
    /// [`SimpleSigningError`].
    pub fn from_json(document: &[u8]) -> Result<Self, SimpleSigningError> {
        let document = json::parse(document, MAX_PAYLOAD_LEN)?;
        let root = Node::root(&document);
        // These names are no protobuf's: only the ones that cosign reads are theirs.
        let part = |node: &Node<'_>, name: &str| -> Result<Value, JsonError> {
            let missing = || JsonError::Missing { path: format!("{}.{name}", node.path()) };
            node.value().get(name).cloned().ok_or_else(missing)
        };
        let critical = part(&root, "critical")?;
        let text = |of: &str, name: &str| -> Result<String, JsonError> {
            let object = part(&Node::root(&critical), of)?;
            let value = part(&Node::root(&object), name)?;
            let wrong = || JsonError::Mismatch { path: format!("critical.{of}.{name}"), expected: "a string" };
            value.as_str().map(ToOwned::to_owned).ok_or_else(wrong)
        };
        let found = text("image", "docker-manifest-digest")?;
        let manifest_digest = Digest::parse(&found).ok_or(SimpleSigningError::Digest { found })?;
        let kind = Node::root(&critical).string_field("type")?.to_owned();
        let optional = match root.value().get("optional") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(optional)) => optional.clone(),
            Some(_) => {
                return Err(JsonError::Mismatch { path: "optional".into(), expected: "an object" }.into());
            }
        };
        Ok(Self { docker_reference: text("identity", "docker-reference")?, manifest_digest, kind, optional })
    }

    /// The payload as cosign writes it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let optional = if self.optional.is_empty() { Value::Null } else { Value::Object(self.optional.clone()) };
        json!({
            "critical": {
                "identity": {"docker-reference": self.docker_reference},
                "image": {"docker-manifest-digest": self.manifest_digest},
                "type": self.kind,
            },
            "optional": optional,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::SimpleSigning;
    use crate::code::Code;

    const COSIGN: &str = concat!(
        r#"{"critical":{"identity":{"docker-reference":"127.0.0.1:7485/acme/r1"},"image":{"docker-manifest-digest":"#,
        r#""sha256:acda8f81fd9734e19664683a6886b03e205813f73ce10745af31b6ea1ac7cbf3"},"type":"cosign container image signature"},"#,
        r#""optional":null}"#
    );

    #[test]
    fn what_cosign_wrote_is_read_and_written_alike() {
        let payload = SimpleSigning::from_json(COSIGN.as_bytes()).expect("read");
        assert_eq!(payload.docker_reference, "127.0.0.1:7485/acme/r1");
        assert_eq!(payload.to_json(), COSIGN);
        let annotated = COSIGN.replace("null", r#"{"a":"b"}"#);
        assert_eq!(SimpleSigning::from_json(annotated.as_bytes()).expect("read").to_json(), annotated);
    }

    #[test]
    fn payloads_that_name_no_image_are_refused() {
        for (from, to) in [
            ("sha256:acda", "sha256:zzzz"),
            ("docker-manifest-digest", "docker_manifest_digest"),
            (r#""critical""#, r#""other""#),
            ("null", "7"),
            (r#""127.0.0.1:7485/acme/r1""#, "7"),
            (r#"{"critical""#, r#"{"critical":{},"critical""#),
        ] {
            let document = COSIGN.replacen(from, to, 1);
            assert_eq!(SimpleSigning::from_json(document.as_bytes()).expect_err(to).code(), Code::SIGNATURE_ENVELOPE);
        }
        assert_eq!(SimpleSigning::from_json(&[b' '; 2 << 20]).expect_err("endless").code(), Code::SIGNATURE_ENVELOPE);
    }
}
