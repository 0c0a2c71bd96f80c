//! DSSE envelopes (<https://github.com/secure-systems-lab/dsse>, protocol and envelope 1.0.2).
//!
//! ```json
//! {"payload":"<base64>","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"<base64>","keyid":""}]}
//! ```

use crate::code::Code;
use crate::json::{self, JsonError, Node};
use serde::Serialize;

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// An envelope file may be this long, in bytes.
pub const MAX_ENVELOPE_LEN: usize = 10 << 20;
/// An envelope may carry this many signatures.
pub const MAX_SIGNATURES: usize = 32;

/// A DSSE envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The media type of the payload; part of what is signed.
    pub payload_type: String,
    /// The payload, decoded.
    pub payload: Vec<u8>,
    /// The signatures, each over [`pae`].
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// The signature, decoded.
    pub sig: Vec<u8>,
    /// The signer's hint at the key, unauthenticated; often empty.
    pub keyid: String,
}

/// Why an envelope cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is no DSSE JSON.
    #[error("envelope: {0}")]
    Json(#[from] JsonError),
    /// It carries more signatures than allowed.
    #[error("the envelope carries {count} signatures, {MAX_SIGNATURES} are allowed")]
    TooManySignatures {
        /// How many there are.
        count: usize,
    },
}

impl EnvelopeError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::SIGNATURE_ENVELOPE
    }
}

/// The pre-authentication encoding: the bytes that a DSSE signature is over (DSSE protocol, "Signature definition").
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

impl Envelope {
    /// Parses an envelope that stands alone, of at most [`MAX_ENVELOPE_LEN`] bytes.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn from_json(document: &[u8]) -> Result<Self, EnvelopeError> {
        Self::from_node(&Node::root(&json::parse(document, MAX_ENVELOPE_LEN)?))
    }

    /// Reads an envelope inside another document. How many signatures it needs is the caller's question.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn from_node(node: &Node<'_>) -> Result<Self, EnvelopeError> {
        let signatures = node.repeated("signatures")?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::TooManySignatures { count: signatures.len() });
        }
        let signatures = signatures
            .iter()
            .map(|node| {
                Ok(EnvelopeSignature { sig: node.bytes_field("sig")?, keyid: node.string_field("keyid")?.to_owned() })
            })
            .collect::<Result<_, JsonError>>()?;
        Ok(Self {
            payload_type: node.string_field("payloadType")?.to_owned(),
            payload: node.bytes_field("payload")?,
            signatures,
        })
    }

    /// The bytes that the signatures are over.
    #[must_use]
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }
}

impl Serialize for Envelope {
    /// As JSON with standard base64; an empty `keyid` is left out.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            payload: String,
            payload_type: &'a str,
            signatures: Vec<WireSignature<'a>>,
        }
        #[derive(Serialize)]
        struct WireSignature<'a> {
            sig: String,
            #[serde(skip_serializing_if = "str::is_empty")]
            keyid: &'a str,
        }
        let signatures = self.signatures.iter();
        Wire {
            payload: json::encode_base64(&self.payload),
            payload_type: &self.payload_type,
            signatures: signatures
                .map(|signature| WireSignature { sig: json::encode_base64(&signature.sig), keyid: &signature.keyid })
                .collect(),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::{Envelope, EnvelopeError, MAX_SIGNATURES, pae};
    use crate::code::Code;

    #[test]
    fn pae_of_the_specification_example() {
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
        // Lengths are of bytes, not of characters.
        assert_eq!(pae("\u{e9}", b""), "DSSEv1 2 \u{e9} 0 ".as_bytes());
    }

    #[test]
    fn json_round_trips() {
        let text = r#"{"payload":"aGVsbG8gd29ybGQ=","payloadType":"t","signatures":[{"sig":"AQ=="},{"sig":"Ag==","keyid":"k"}]}"#;
        let envelope = Envelope::from_json(text.as_bytes()).unwrap();
        assert_eq!(envelope.payload, b"hello world");
        assert_eq!(envelope.pae(), b"DSSEv1 1 t 11 hello world");
        assert_eq!(serde_json::to_string(&envelope).unwrap(), text);
    }

    #[test]
    fn malformed_and_oversized_envelopes_are_refused() {
        let many = format!(r#"{{"signatures":[{}{{}}]}}"#, "{},".repeat(MAX_SIGNATURES));
        let error = Envelope::from_json(many.as_bytes()).unwrap_err();
        assert_eq!(error, EnvelopeError::TooManySignatures { count: MAX_SIGNATURES + 1 });
        assert_eq!(error.code(), Code::SIGNATURE_ENVELOPE);
        for text in [r#"{"payload":"*"}"#, r#"{"signatures":{}}"#, r#"{"payload":"","payload":""}"#, "[]"] {
            assert_eq!(Envelope::from_json(text.as_bytes()).unwrap_err().code(), Code::SIGNATURE_ENVELOPE, "{text}");
        }
    }
}
