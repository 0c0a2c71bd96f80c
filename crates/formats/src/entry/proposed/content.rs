//! Proposed entries about an artifact, its digest, or a timestamp: `hashedrekord`, `rekord`, `rfc3161`, each 0.0.1.

use super::{ProposedError, canonical, hash_value};
use crate::asn1::Elements;
use crate::crypto::{Digest, HashAlgorithm};
use crate::entry::pem_verifier::PemVerifier;
use crate::entry::{EntryError, hash, nonempty};
use crate::json::{Node, encode_base64};
use crate::tsp::TimeStampToken;
use crate::x509::Certificate;
use der::{Tag, Tagged};
use serde_json::json;

/// A timestamp may be this long, in bytes.
pub const MAX_TSR_LEN: usize = 10 * 1024;

/// A signature over something with this digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedHashedRekord {
    /// The digest.
    pub digest: Digest,
    /// The signature; never empty.
    pub signature: Vec<u8>,
    /// What verifies it.
    pub verifier: PemVerifier,
}

impl ProposedHashedRekord {
    pub(super) fn from_node(spec: &Node<'_>) -> Result<Self, ProposedError> {
        let signature = spec.required("signature")?;
        let pem = nonempty(&signature.required("publicKey")?.required("content")?)?;
        Ok(Self {
            digest: hash(&spec.required("data")?.required("hash")?)?,
            signature: nonempty(&signature.required("content")?)?,
            verifier: PemVerifier::from_pem(&pem)?,
        })
    }

    /// The leaf that this request becomes.
    #[must_use]
    pub fn canonical_body(&self) -> Vec<u8> {
        let spec = json!({
            "data": {"hash": hash_value(&self.digest)},
            "signature": {
                "content": encode_base64(&self.signature),
                "publicKey": {"content": encode_base64(self.verifier.to_pem().as_bytes())},
            },
        });
        canonical("hashedrekord", "0.0.1", spec)
    }
}

/// An artifact with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedRekord {
    /// The artifact; never empty.
    pub artifact: Vec<u8>,
    /// Its SHA-256 digest.
    pub digest: Digest,
    /// The signature; never empty.
    pub signature: Vec<u8>,
    /// What verifies it.
    pub verifier: PemVerifier,
}

impl ProposedRekord {
    pub(super) fn from_node(spec: &Node<'_>) -> Result<Self, ProposedError> {
        let signature = spec.required("signature")?;
        let format = signature.required("format")?.string()?;
        if format != "x509" {
            return Err(ProposedError::Format { format: format.to_owned() });
        }
        let data = spec.required("data")?;
        let artifact = nonempty(&data.required("content")?)?;
        let digest = HashAlgorithm::Sha256.digest(&artifact);
        if let Some(stated) = data.field("hash")? {
            let stated_digest = hash(&stated)?;
            if stated_digest.algorithm() != HashAlgorithm::Sha256 {
                return Err(EntryError::field(&stated, "not sha256").into());
            }
            if stated_digest != digest {
                return Err(ProposedError::Digest);
            }
        }
        let pem = nonempty(&signature.required("publicKey")?.required("content")?)?;
        let verifier = PemVerifier::from_pem(&pem)?;
        Ok(Self { artifact, digest, signature: nonempty(&signature.required("content")?)?, verifier })
    }

    /// The leaf that this request becomes: the artifact is left out.
    #[must_use]
    pub fn canonical_body(&self) -> Vec<u8> {
        let spec = json!({
            "data": {"hash": hash_value(&self.digest)},
            "signature": {
                "content": encode_base64(&self.signature),
                "format": "x509",
                "publicKey": {"content": encode_base64(self.verifier.to_pem().as_bytes())},
            },
        });
        canonical("rekord", "0.0.1", spec)
    }
}

/// An answer of a timestamp authority.
#[derive(Debug, Clone)]
pub struct ProposedRfc3161 {
    /// The TimeStampResp, DER, at most [`MAX_TSR_LEN`] bytes.
    pub response: Vec<u8>,
    /// The token in it; its signature is not verified yet.
    pub token: Box<TimeStampToken>,
}

impl ProposedRfc3161 {
    pub(super) fn from_node(spec: &Node<'_>) -> Result<Self, ProposedError> {
        let content = spec.required("tsr")?.required("content")?;
        let response = nonempty(&content)?;
        if response.len() > MAX_TSR_LEN {
            return Err(ProposedError::TokenTooLarge { len: response.len() });
        }
        // The parser also takes a token without the answer around it; that says nothing about having been granted.
        let first = Elements::of_sequence(&response).and_then(|mut parts| parts.next());
        if first.is_none_or(|first| first.tag() != Tag::Sequence) {
            return Err(EntryError::field(&content, "no TimeStampResp").into());
        }
        let token = Box::new(TimeStampToken::parse(&response)?);
        Ok(Self { response, token })
    }

    /// The certificate that the token names as its signer's, if it carries it.
    #[must_use]
    pub fn signer(&self) -> Option<Certificate> {
        let mut embedded = self.token.embedded_certificates().iter().filter_map(|der| Certificate::from_der(der).ok());
        embedded.find(|certificate| self.token.signer_matches(certificate))
    }

    /// The leaf that this request becomes.
    #[must_use]
    pub fn canonical_body(&self) -> Vec<u8> {
        canonical("rfc3161", "0.0.1", json!({"tsr": {"content": encode_base64(&self.response)}}))
    }
}
