//! Requests to Rekor v1 (rekor `ProposedEntry`): what clients send to have it logged, or to look for it.
//!
//! ```json
//! {"apiVersion":"0.0.1","kind":"hashedrekord","spec":{
//!   "data":{"hash":{"algorithm":"sha256","value":"<hex>"}},
//!   "signature":{"content":"<base64>","publicKey":{"content":"<base64 of PEM>"}}}}
//! ```
//!
//! The leaf is the canonical JSON (RFC 8785) of the same three members, with keys re-encoded and content replaced by digests.

mod content;
mod envelope;

pub use content::{MAX_TSR_LEN, ProposedHashedRekord, ProposedRekord, ProposedRfc3161};
pub use envelope::{IntotoSignature, ProposedDsse, ProposedIntoto, ProposedIntoto001};

use super::{EntryError, PemVerifier, Verifier};
use crate::code::Code;
use crate::envelope::EnvelopeError;
use crate::json::{self, JsonError, Node};
use crate::tsp::TokenError;
use crate::x509::CertificateError;
use serde_json::Value;

/// A request may be this long, in bytes: an envelope or an artifact is sent whole and logged by its digest.
pub const MAX_PROPOSED_LEN: usize = 4 << 20;

/// What is to be logged, or looked for. Well-formed; nothing is verified yet.
#[derive(Debug, Clone)]
pub enum ProposedEntry {
    /// `hashedrekord` 0.0.1.
    HashedRekord(ProposedHashedRekord),
    /// `dsse` 0.0.1.
    Dsse(ProposedDsse),
    /// `intoto` 0.0.2.
    Intoto(ProposedIntoto),
    /// `intoto` 0.0.1, which cosign still looks for and nothing writes any more.
    Intoto001(ProposedIntoto001),
    /// `rekord` 0.0.1.
    Rekord(ProposedRekord),
    /// `rfc3161` 0.0.1.
    Rfc3161(ProposedRfc3161),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposedError {
    /// It is no JSON, or too long.
    #[error(transparent)]
    Json(JsonError),
    /// It is JSON without the members that every proposed entry has.
    #[error("no proposed entry: {0}")]
    Schema(JsonError),
    /// Entries of this kind and version are not logged.
    #[error("entries of kind {kind} {version} are not logged here{hint}")]
    Kind {
        /// The request's `kind`.
        kind: String,
        /// The request's `apiVersion`.
        version: String,
        /// What to do instead; empty, or it begins with a colon.
        hint: &'static str,
    },
    /// A part of `spec` is missing or has a value that it cannot have.
    #[error("{0}")]
    Entry(EntryError),
    /// A key or certificate cannot be used.
    #[error("the verifier is refused: {0}")]
    Verifier(#[from] CertificateError),
    /// The envelope cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The timestamp cannot be read, or was not granted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The timestamp is too long.
    #[error("a timestamp of {len} bytes, {MAX_TSR_LEN} are allowed")]
    TokenTooLarge {
        /// Its length, in bytes.
        len: usize,
    },
    /// The envelope or the list of verifiers has no members, or too many.
    #[error("1 to {limit} {0} are allowed", limit = super::request::MAX_DSSE_SIGNATURES)]
    Count(&'static str),
    /// The client also stated what the log computes.
    #[error("envelopeHash, payloadHash and signatures are for the log to compute")]
    Computed,
    /// The artifact has another digest than stated.
    #[error("the artifact has another digest than data.hash says")]
    Digest,
    /// The signature is in a format that is not supported.
    #[error("signatures of format {format:?} are not logged here: use format x509")]
    Format {
        /// The format stated.
        format: String,
    },
}

impl From<EntryError> for ProposedError {
    fn from(error: EntryError) -> Self {
        Self::Entry(error)
    }
}

impl From<JsonError> for ProposedError {
    fn from(error: JsonError) -> Self {
        Self::Entry(error.into())
    }
}

impl ProposedError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Json(JsonError::TooLarge { .. }) | Self::TokenTooLarge { .. } => Code::INPUT_TOO_LARGE,
            Self::Json(_) | Self::Schema(_) | Self::Entry(_) | Self::Count(_) | Self::Computed => {
                Code::LOG_ENTRY_MALFORMED
            }
            Self::Kind { .. } => Code::LOG_ENTRY_KIND,
            Self::Verifier(error) => error.code(),
            Self::Envelope(error) => error.code(),
            Self::Token(error) => error.code(),
            Self::Digest => Code::SIGNATURE_DIGEST_MISMATCH,
            Self::Format { .. } => Code::KEY_UNSUPPORTED,
        }
    }
}

/// How the `spec` of one kind is read.
type Read = fn(&Node<'_>) -> Result<ProposedEntry, ProposedError>;

/// The kinds that are read.
const KINDS: [(&str, &str, Read); 6] = [
    ("hashedrekord", "0.0.1", |spec| ProposedHashedRekord::from_node(spec).map(ProposedEntry::HashedRekord)),
    ("dsse", "0.0.1", |spec| ProposedDsse::from_node(spec).map(ProposedEntry::Dsse)),
    ("intoto", "0.0.2", |spec| ProposedIntoto::from_node(spec).map(ProposedEntry::Intoto)),
    ("intoto", "0.0.1", |spec| ProposedIntoto001::from_node(spec).map(ProposedEntry::Intoto001)),
    ("rekord", "0.0.1", |spec| ProposedRekord::from_node(spec).map(ProposedEntry::Rekord)),
    ("rfc3161", "0.0.1", |spec| ProposedRfc3161::from_node(spec).map(ProposedEntry::Rfc3161)),
];

/// Kinds of upstream that unpack archives or parse whole package formats: each was a way to exhaust the log
/// (CVE-2023-30551, CVE-2026-48702), and no current client sends one.
const PACKAGES: [&str; 6] = ["alpine", "cose", "helm", "jar", "rpm", "tuf"];

impl ProposedEntry {
    /// Parses a request of at most [`MAX_PROPOSED_LEN`] bytes.
    ///
    /// # Errors
    /// [`ProposedError`].
    pub fn from_json(document: &[u8]) -> Result<Self, ProposedError> {
        let document = json::parse(document, MAX_PROPOSED_LEN).map_err(ProposedError::Json)?;
        Self::from_node(&Node::root(&document))
    }

    /// Reads a proposed entry inside another document.
    ///
    /// # Errors
    /// [`ProposedError`].
    pub fn from_node(node: &Node<'_>) -> Result<Self, ProposedError> {
        let text = |name: &str| node.required(name)?.string();
        let kind = text("kind").map_err(ProposedError::Schema)?;
        let version = text("apiVersion").map_err(ProposedError::Schema)?;
        let spec = node.required("spec").map_err(ProposedError::Schema)?;
        let Some((.., read)) = KINDS.iter().find(|(k, v, _)| (*k, *v) == (kind, version)) else {
            let hint =
                if PACKAGES.contains(&kind) { ": sign the file and log a hashedrekord 0.0.1 instead" } else { "" };
            return Err(ProposedError::Kind { kind: kind.to_owned(), version: version.to_owned(), hint });
        };
        read(&spec)
    }
}

impl ProposedEntry {
    /// What is said to verify its signatures: who may write is decided by them, before anything is verified.
    #[must_use]
    pub fn verifiers(&self) -> Vec<Verifier> {
        match self {
            Self::HashedRekord(entry) => vec![entry.verifier.signer()],
            Self::Dsse(entry) => entry.verifiers.iter().map(PemVerifier::signer).collect(),
            Self::Intoto(entry) => entry.signatures.iter().map(|signature| signature.verifier.signer()).collect(),
            Self::Intoto001(entry) => vec![entry.verifier.signer()],
            Self::Rekord(entry) => vec![entry.verifier.signer()],
            Self::Rfc3161(entry) => {
                entry.signer().map(|signer| Verifier::Certificate(signer.der().to_vec())).into_iter().collect()
            }
        }
    }
}

/// The canonical JSON of an entry.
fn canonical(kind: &str, version: &str, spec: Value) -> Vec<u8> {
    let body = serde_json::json!({"apiVersion": version, "kind": kind, "spec": spec});
    serde_json_canonicalizer::to_vec(&body).unwrap_or_default()
}

/// `{"algorithm":"sha256","value":"<hex>"}`.
fn hash_value(digest: &crate::crypto::Digest) -> Value {
    serde_json::json!({"algorithm": digest.algorithm().name(), "value": digest.to_hex()})
}

#[cfg(test)]
mod tests;
