//! Proposed entries about a DSSE envelope: `dsse` 0.0.1 and `intoto` 0.0.1 and 0.0.2.

use super::{ProposedError, canonical, hash_value};
use crate::crypto::{Digest, HashAlgorithm};
use crate::entry::pem_verifier::PemVerifier;
use crate::entry::request::MAX_DSSE_SIGNATURES;
use crate::entry::{EntryError, hash, nonempty};
use crate::envelope::{Envelope, EnvelopeError, EnvelopeSignature, MAX_ENVELOPE_LEN};
use crate::json::{self, Node, encode_base64};
use serde_json::{Value, json};

fn bounded(what: &'static str, len: usize) -> Result<(), ProposedError> {
    if (1..=MAX_DSSE_SIGNATURES).contains(&len) { Ok(()) } else { Err(ProposedError::Count(what)) }
}

/// An envelope that is sent as text, with 1 to [`MAX_DSSE_SIGNATURES`] signatures, none of them empty.
fn envelope(node: &Node<'_>) -> Result<(Envelope, Digest), ProposedError> {
    let text = node.string()?;
    let document = json::parse(text.as_bytes(), MAX_ENVELOPE_LEN).map_err(EnvelopeError::Json)?;
    let envelope = Envelope::from_node(&Node::root(&document))?;
    bounded("signatures", envelope.signatures.len())?;
    if envelope.signatures.iter().any(|signature| signature.sig.is_empty()) {
        return Err(EntryError::field(node, "a signature is empty").into());
    }
    // Over the very text: two writers of the same envelope differ in white space and order.
    Ok((envelope, HashAlgorithm::Sha256.digest(text.as_bytes())))
}

/// An envelope with what verifies its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedDsse {
    /// The envelope, with 1 to [`MAX_DSSE_SIGNATURES`] signatures.
    pub envelope: Envelope,
    /// SHA-256 of the envelope's text as it was sent.
    pub envelope_hash: Digest,
    /// 1 to [`MAX_DSSE_SIGNATURES`] keys or certificates.
    pub verifiers: Vec<PemVerifier>,
}

impl ProposedDsse {
    pub(super) fn from_node(spec: &Node<'_>) -> Result<Self, ProposedError> {
        let content = spec.required("proposedContent")?;
        for computed in ["envelopeHash", "payloadHash", "signatures"] {
            if spec.field(computed)?.is_some() {
                return Err(ProposedError::Computed);
            }
        }
        let (envelope, envelope_hash) = envelope(&content.required("envelope")?)?;
        let nodes = content.repeated("verifiers")?;
        bounded("verifiers", nodes.len())?;
        let read = |node: &Node<'_>| Ok::<_, ProposedError>(PemVerifier::from_pem(&nonempty(node)?)?);
        Ok(Self { envelope, envelope_hash, verifiers: nodes.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// SHA-256 of the payload.
    #[must_use]
    pub fn payload_hash(&self) -> Digest {
        HashAlgorithm::Sha256.digest(&self.envelope.payload)
    }

    /// The leaf of this envelope, given which verifier made which of its signatures: ordered by the signatures' base64, and a
    /// signature that stands in the envelope twice, once.
    #[must_use]
    pub fn canonical_body(&self, signatures: &[(&EnvelopeSignature, &PemVerifier)]) -> Vec<u8> {
        let mut sorted: Vec<(String, &PemVerifier)> =
            signatures.iter().map(|(signature, verifier)| (encode_base64(&signature.sig), *verifier)).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|a, b| a.0 == b.0);
        let signatures: Vec<Value> = sorted
            .into_iter()
            .map(|(signature, verifier)| {
                json!({"signature": signature, "verifier": encode_base64(verifier.to_pem().as_bytes())})
            })
            .collect();
        let spec = json!({
            "envelopeHash": hash_value(&self.envelope_hash),
            "payloadHash": hash_value(&self.payload_hash()),
            "signatures": signatures,
        });
        canonical("dsse", "0.0.1", spec)
    }
}

/// An envelope whose signatures carry their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedIntoto {
    /// The envelope's payload type.
    pub payload_type: String,
    /// The payload, decoded twice; never empty: without it there is nothing that the signatures could be checked against.
    pub payload: Vec<u8>,
    /// The digest of the envelope, as the client states it.
    pub envelope_hash: Digest,
    /// 1 to [`MAX_DSSE_SIGNATURES`].
    pub signatures: Vec<IntotoSignature>,
}

/// One signature of an `intoto` 0.0.2 entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntotoSignature {
    /// The signature; never empty.
    pub signature: Vec<u8>,
    /// What verifies it.
    pub verifier: PemVerifier,
    /// The signature's base64, as it was sent.
    text: Vec<u8>,
    /// The PEM, as it was sent: upstream does not re-encode it here.
    pem: Vec<u8>,
    keyid: String,
}

impl ProposedIntoto {
    pub(super) fn from_node(spec: &Node<'_>) -> Result<Self, ProposedError> {
        let content = spec.required("content")?;
        let envelope = content.required("envelope")?;
        let signatures = envelope.repeated("signatures")?;
        bounded("signatures", signatures.len())?;
        Ok(Self {
            payload_type: envelope.required("payloadType")?.string()?.to_owned(),
            payload: twice(&envelope.required("payload")?)?.1,
            envelope_hash: hash(&content.required("hash")?)?,
            signatures: signatures.iter().map(IntotoSignature::from_node).collect::<Result<_, _>>()?,
        })
    }

    /// SHA-256 of the payload.
    #[must_use]
    pub fn payload_hash(&self) -> Digest {
        HashAlgorithm::Sha256.digest(&self.payload)
    }

    /// The leaf that this request becomes: the payload is left out.
    #[must_use]
    pub fn canonical_body(&self) -> Vec<u8> {
        let signatures: Vec<Value> = self.signatures.iter().map(IntotoSignature::to_value).collect();
        let spec = json!({"content": {
            "envelope": {"payloadType": self.payload_type, "signatures": signatures},
            "hash": hash_value(&self.envelope_hash),
            "payloadHash": hash_value(&self.payload_hash()),
        }});
        canonical("intoto", "0.0.2", spec)
    }
}

impl IntotoSignature {
    fn from_node(node: &Node<'_>) -> Result<Self, ProposedError> {
        let (text, signature) = twice(&node.required("sig")?)?;
        let pem = nonempty(&node.required("publicKey")?)?;
        let verifier = PemVerifier::from_pem(&pem)?;
        Ok(Self { signature, verifier, text, pem, keyid: node.string_field("keyid")?.to_owned() })
    }

    fn to_value(&self) -> Value {
        let mut value = json!({"publicKey": encode_base64(&self.pem), "sig": encode_base64(&self.text)});
        if let (false, Some(members)) = (self.keyid.is_empty(), value.as_object_mut()) {
            members.insert("keyid".into(), self.keyid.clone().into());
        }
        value
    }
}

/// Base64 of base64, as clients encode the fields of an envelope once more: the inner text and what it stands for.
fn twice(node: &Node<'_>) -> Result<(Vec<u8>, Vec<u8>), ProposedError> {
    let text = nonempty(node)?;
    let inner = std::str::from_utf8(&text).ok().and_then(json::decode_base64).filter(|inner| !inner.is_empty());
    let inner = inner.ok_or_else(|| EntryError::field(node, "not base64 twice"))?;
    Ok((text, inner))
}

/// An envelope with one key, as entries were until 2022. It can be looked for and not be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedIntoto001 {
    /// The envelope.
    pub envelope: Envelope,
    /// SHA-256 of the envelope's text as it was sent.
    pub envelope_hash: Digest,
    /// What verifies its signatures.
    pub verifier: PemVerifier,
}

impl ProposedIntoto001 {
    pub(super) fn from_node(spec: &Node<'_>) -> Result<Self, ProposedError> {
        let (envelope, envelope_hash) = envelope(&spec.required("content")?.required("envelope")?)?;
        let verifier = PemVerifier::from_pem(&nonempty(&spec.required("publicKey")?)?)?;
        Ok(Self { envelope, envelope_hash, verifier })
    }

    /// The leaf that stands for this envelope in old logs.
    #[must_use]
    pub fn canonical_body(&self) -> Vec<u8> {
        let spec = json!({
            "content": {
                "hash": hash_value(&self.envelope_hash),
                "payloadHash": hash_value(&HashAlgorithm::Sha256.digest(&self.envelope.payload)),
            },
            "publicKey": encode_base64(self.verifier.to_pem().as_bytes()),
        });
        canonical("intoto", "0.0.1", spec)
    }
}
