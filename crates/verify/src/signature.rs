//! What was signed, with which key: the artifact's digest or a DSSE envelope over a statement about it.

use serde::Serialize;
use waxseal_formats::bundle::Content;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, HashAlgorithm, KeyKind, PublicKey, SignatureAlgorithm};
use waxseal_formats::envelope::{Envelope, pae};
use waxseal_formats::statement::{Statement, StatementError};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The artifact that a signature is claimed to be about: its digests, and its bytes where a scheme needs them.
#[derive(Clone, Debug, Default)]
pub struct Artifact {
    digests: Vec<Digest>,
    message: Option<Vec<u8>>,
}

impl Artifact {
    /// An artifact known by digests, at most one of each algorithm.
    #[must_use]
    pub const fn from_digests(digests: Vec<Digest>) -> Self {
        Self { digests, message: None }
    }

    /// An artifact held in memory.
    #[must_use]
    pub fn from_bytes(message: &[u8]) -> Self {
        let digests = HashAlgorithm::ALL.into_iter().map(|algorithm| algorithm.digest(message)).collect();
        Self { digests, message: Some(message.to_vec()) }
    }

    /// The digest by `algorithm`, if it is known.
    #[must_use]
    pub fn digest(&self, algorithm: HashAlgorithm) -> Option<&Digest> {
        self.digests.iter().find(|digest| digest.algorithm() == algorithm)
    }

    /// All known digests.
    #[must_use]
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }
}

/// What the log entry and the timestamp have to be about.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The raw signature.
    pub signature: &'a [u8],
    /// The signed content.
    pub content: SignedContent<'a>,
}

/// The content under the signature.
#[derive(Clone, Copy, Debug)]
pub enum SignedContent<'a> {
    /// An artifact, by its digests.
    Artifact(&'a Artifact),
    /// A DSSE envelope.
    Envelope(&'a Envelope),
}

/// What the signature was over.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContentEvidence {
    /// The artifact itself, with the digest that was compared.
    Artifact(Digest),
    /// A statement about the artifact.
    Statement(Statement),
}

/// Why a signature is not one over the artifact by the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature does not verify.
    #[error("the signature does not verify with the key of the signer")]
    Invalid,
    /// The digest in the bundle is not the artifact's.
    #[error("the artifact has digest {artifact}, but the bundle was made for {bundle}")]
    DigestMismatch {
        /// The artifact's digest.
        artifact: Digest,
        /// The digest in the bundle.
        bundle: Digest,
    },
    /// The artifact is known by a digest of another algorithm than the signature needs.
    #[error(
        "the signature is over the artifact's {needed} digest, which is not known: give the file instead of a digest"
    )]
    DigestUnknown {
        /// The algorithm that the signature needs.
        needed: &'static str,
    },
    /// The artifact's bytes are needed.
    #[error("an Ed25519 signature is over the artifact itself: give the file instead of a digest")]
    MessageNeeded,
    /// The envelope has another payload type than statements have.
    #[error("the envelope's payload is of type {found:?}, not {IN_TOTO:?}")]
    PayloadType {
        /// The payload type.
        found: String,
    },
    /// The envelope does not have exactly one signature.
    #[error("the envelope has {0} signatures, exactly one is allowed")]
    SignatureCount(usize),
    /// The envelope's payload is not an acceptable statement.
    #[error("the envelope's payload is not an in-toto statement: {0}")]
    Statement(StatementError),
    /// The statement is about other artifacts.
    #[error("no subject of the statement has a digest of the artifact")]
    Subject,
}

impl SignatureError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid => Code::SIGNATURE_INVALID,
            Self::DigestMismatch { .. } => Code::SIGNATURE_DIGEST_MISMATCH,
            Self::DigestUnknown { .. } | Self::MessageNeeded => Code::KEY_UNSUPPORTED,
            Self::PayloadType { .. } | Self::SignatureCount(_) => Code::SIGNATURE_ENVELOPE,
            Self::Statement(error) => error.code(),
            Self::Subject => Code::STATEMENT_SUBJECT,
        }
    }
}

/// The hash functions by which an artifact has to be known to verify `content` with a key of kind `kind`.
///
/// A statement may name its subject by any of them; SHA-256 is the rule.
#[must_use]
pub fn hashes_needed(content: &Content, kind: Option<KeyKind>) -> Vec<HashAlgorithm> {
    match (content, kind) {
        (Content::MessageSignature { digest: Some(digest), .. }, _) => vec![digest.algorithm()],
        (Content::MessageSignature { digest: None, .. }, Some(kind)) => default_hash(kind).into_iter().collect(),
        (Content::MessageSignature { .. }, None) => HashAlgorithm::ALL.to_vec(),
        (Content::Envelope(_), _) => HashAlgorithm::ALL.to_vec(),
    }
}

/// The hash that goes with a key where the bundle names none.
fn default_hash(kind: KeyKind) -> Option<HashAlgorithm> {
    match kind {
        KeyKind::EcdsaP256 | KeyKind::Rsa { .. } => Some(HashAlgorithm::Sha256),
        KeyKind::EcdsaP384 => Some(HashAlgorithm::Sha384),
        KeyKind::EcdsaP521 => Some(HashAlgorithm::Sha512),
        KeyKind::Ed25519 => None,
    }
}

/// Verifies that `content` is a signature by `key` over `artifact`, or over a statement about it.
///
/// The digest in the bundle is only a hint, but one that has to be right. It also names the hash: old clients signed with
/// P-384 and P-521 keys over SHA-256, so the bundle's choice stands where it names one.
///
/// # Errors
/// [`SignatureError`].
pub fn verify(content: &Content, key: &PublicKey, artifact: &Artifact) -> Result<ContentEvidence, SignatureError> {
    match content {
        Content::MessageSignature { digest: hint, signature } => message(hint.as_ref(), signature, key, artifact),
        Content::Envelope(envelope) => statement(envelope, key, artifact).map(ContentEvidence::Statement),
    }
}

fn message(
    hint: Option<&Digest>,
    signature: &[u8],
    key: &PublicKey,
    artifact: &Artifact,
) -> Result<ContentEvidence, SignatureError> {
    let algorithm = hint.map(Digest::algorithm).or_else(|| default_hash(key.kind())).unwrap_or(HashAlgorithm::Sha512);
    let digest = artifact.digest(algorithm).ok_or(SignatureError::DigestUnknown { needed: algorithm.name() })?;
    if let Some(bundle) = hint.filter(|bundle| *bundle != digest) {
        return Err(SignatureError::DigestMismatch { artifact: digest.clone(), bundle: bundle.clone() });
    }
    let verified = if key.kind() == KeyKind::Ed25519 {
        let message = artifact.message.as_ref().ok_or(SignatureError::MessageNeeded)?;
        key.verify(SignatureAlgorithm::Ed25519, message, signature)
    } else {
        key.verify_digest(digest, signature)
    };
    verified.map_err(|_| SignatureError::Invalid)?;
    Ok(ContentEvidence::Artifact(digest.clone()))
}

fn statement(envelope: &Envelope, key: &PublicKey, artifact: &Artifact) -> Result<Statement, SignatureError> {
    let [signature] = envelope.signatures.as_slice() else {
        return Err(SignatureError::SignatureCount(envelope.signatures.len()));
    };
    envelope_signature(envelope, &signature.sig, key)?;
    if envelope.payload_type != IN_TOTO {
        return Err(SignatureError::PayloadType { found: envelope.payload_type.clone() });
    }
    let statement = Statement::from_json(&envelope.payload).map_err(SignatureError::Statement)?;
    let about_artifact = artifact.digests().iter().any(|digest| statement.is_about(digest));
    if about_artifact { Ok(statement) } else { Err(SignatureError::Subject) }
}

/// P-384 and P-521 keys of older clients sign the envelope over SHA-256, which nothing in the envelope tells.
fn envelope_signature(envelope: &Envelope, signature: &[u8], key: &PublicKey) -> Result<(), SignatureError> {
    let message = pae(&envelope.payload_type, &envelope.payload);
    let default = key.default_algorithm();
    let older = SignatureAlgorithm::of_key(key.kind(), HashAlgorithm::Sha256);
    key.verify(default, &message, signature)
        .or_else(|invalid| if older == default { Err(invalid) } else { key.verify(older, &message, signature) })
        .map_err(|_| SignatureError::Invalid)
}
