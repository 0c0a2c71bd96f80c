//! What a verifier has to refuse: one change each to what it is shown.

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// One change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// None: it has to be accepted.
    None,
    /// A byte is added to the artifact.
    Artifact,
    /// One bit of the signature is another.
    Signature,
    /// Somebody else is expected to have signed.
    Identity,
}

impl Change {
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Artifact, Self::Signature, Self::Identity];
}

/// `bundle` with the lowest bit of the signature's last byte flipped, so that it stays well-formed DER.
///
/// # Errors
///
/// When it is not a bundle with one signature.
pub(crate) fn flip_signature(bundle: &str) -> anyhow::Result<String> {
    let mut bundle: Value = serde_json::from_str(bundle).context("the bundle")?;
    let blob = bundle.pointer("/messageSignature/signature").is_some();
    let pointer = if blob { "/messageSignature/signature" } else { "/dsseEnvelope/signatures/0/sig" };
    let Some(Value::String(text)) = bundle.pointer_mut(pointer) else {
        bail!("the bundle has no signature at {pointer}")
    };
    let mut signature = STANDARD.decode(text.as_bytes()).context("the signature")?;
    let last = signature.last_mut().context("the signature is empty")?;
    *last ^= 1;
    *text = STANDARD.encode(signature);
    Ok(bundle.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_bit_of_either_kind_of_signature_is_flipped() {
        let blob = json!({"messageSignature": {"signature": STANDARD.encode([1, 2, 3])}, "x": 1});
        let flipped = flip_signature(&blob.to_string()).unwrap();
        let expected = json!({"messageSignature": {"signature": STANDARD.encode([1, 2, 2])}, "x": 1});
        assert_eq!(serde_json::from_str::<Value>(&flipped).unwrap(), expected);

        let statement = json!({"dsseEnvelope": {"signatures": [{"sig": STANDARD.encode([8])}]}});
        let flipped = flip_signature(&statement.to_string()).unwrap();
        assert!(flipped.contains(&STANDARD.encode([9])));
    }

    #[test]
    fn what_has_no_signature_cannot_be_flipped() {
        assert!(flip_signature("{}").is_err());
        assert!(flip_signature("not JSON").is_err());
        assert!(flip_signature(r#"{"messageSignature":{"signature":""}}"#).is_err());
    }
}
