//! Requests for a certificate, in the two versions of Fulcio's API.

use super::super::gateway::Refusal;
use serde_json::json;
use waxseal_authority::challenge::{ProvenKey, verify_csr, verify_public_key_proof};
use waxseal_authority::rules::Grant;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::PublicKey;
use waxseal_formats::json::{self, Node};

/// Largest request body, in bytes: a token of 16 KiB, a certificate request of 16 KiB in base64, and room. Requests of
/// real clients stay under 4 KiB; Fulcio itself reads up to 4 MiB.
pub const MAX_BODY_LEN: usize = 64 * 1024;

/// A decoded request.
pub(super) struct SigningRequest {
    pub(super) token: String,
    pub(super) key: KeyRequest,
}

/// Which key shall be certified, and the proof that its holder asks.
pub(super) enum KeyRequest {
    /// A key, PEM or DER, and a signature over the identity's name.
    PublicKey { key: Vec<u8>, proof: Vec<u8> },
    /// `certificateSigningRequest`: a PEM PKCS#10 request.
    Csr(Vec<u8>),
    /// Neither.
    Missing,
}

impl SigningRequest {
    /// Decodes a body of version 2; an empty one is the empty message. Unknown fields are ignored, as is the key's `algorithm`,
    /// in which clients write what the enumeration does not have. The body's token wins over the header's.
    pub(super) fn parse(body: &[u8], header_token: Option<String>) -> Result<Self, Refusal> {
        let document = document(body)?;
        let root = Node::root(&document);
        let body_token = match root.field("credentials")? {
            Some(credentials) => credentials.string_field("oidcIdentityToken")?,
            None => "",
        };
        let token = Some(body_token.to_owned()).filter(|token| !token.is_empty()).or(header_token);
        let key = match (root.field("publicKeyRequest")?, root.field("certificateSigningRequest")?) {
            (Some(_), Some(_)) => return Err(both("publicKeyRequest")),
            (Some(request), None) => KeyRequest::PublicKey {
                key: match request.field("publicKey")? {
                    Some(key) => key.string_field("content")?.as_bytes().to_vec(),
                    None => Vec::new(),
                },
                proof: request.bytes_field("proofOfPossession")?,
            },
            (None, Some(request)) => KeyRequest::Csr(request.bytes()?),
            (None, None) => KeyRequest::Missing,
        };
        Ok(Self { token: token.ok_or_else(no_token)?, key })
    }

    /// Decodes a body of version 1, whose token comes in the header alone.
    pub(super) fn parse_v1(body: &[u8], header_token: Option<String>) -> Result<Self, Refusal> {
        let document = document(body)?;
        let root = Node::root(&document);
        let key = match (root.field("publicKey")?, root.field("certificateSigningRequest")?) {
            (Some(_), Some(_)) => return Err(both("publicKey")),
            (Some(key), None) => KeyRequest::PublicKey {
                key: key.bytes_field("content")?,
                proof: root.bytes_field("signedEmailAddress")?,
            },
            (None, Some(request)) => KeyRequest::Csr(request.bytes()?),
            (None, None) => KeyRequest::Missing,
        };
        Ok(Self { token: header_token.ok_or_else(no_token)?, key })
    }
}

fn document(body: &[u8]) -> Result<serde_json::Value, Refusal> {
    if body.is_empty() { Ok(json!({})) } else { Ok(json::parse(body, MAX_BODY_LEN)?) }
}

fn no_token() -> Refusal {
    Refusal::invalid(Code::TOKEN_MALFORMED, "the request has no identity token")
}

fn both(name: &str) -> Refusal {
    Refusal::invalid(Code::INPUT_MALFORMED, format!("{name} and certificateSigningRequest are both set"))
}

impl KeyRequest {
    pub(super) fn prove(self, grant: &Grant) -> Result<ProvenKey, Refusal> {
        match self {
            Self::PublicKey { key, proof } => Ok(verify_public_key_proof(grant, public_key(&key)?, &proof)?),
            Self::Csr(pem) => Ok(verify_csr(grant, &pem)?),
            Self::Missing => {
                Err(Refusal::invalid(Code::KEY_UNSUPPORTED, "the request has no key and no certificate request"))
            }
        }
    }
}

/// A SubjectPublicKeyInfo in PEM, or in DER as gitsign sends it.
fn public_key(key: &[u8]) -> Result<PublicKey, Refusal> {
    // A DER SEQUENCE; nothing that is text begins with it and its length.
    let der = key.first() == Some(&0x30) && key.get(1).is_some_and(|length| !length.is_ascii_graphic());
    match std::str::from_utf8(key) {
        Ok(pem) if !der => Ok(PublicKey::from_pem(pem)?),
        _ => Ok(PublicKey::from_spki_der(key)?),
    }
}
