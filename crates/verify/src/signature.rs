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

#[cfg(test)]
mod tests {
    use super::{Artifact, ContentEvidence, IN_TOTO, SignatureError, verify};
    use rcgen::{KeyPair, SigningKey};
    use waxseal_formats::bundle::Content;
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::{HashAlgorithm, PublicKey};
    use waxseal_formats::envelope::{Envelope, EnvelopeSignature, pae};

    struct Signer {
        pair: KeyPair,
        key: PublicKey,
    }

    fn signer() -> Signer {
        let pair = KeyPair::generate().expect("a key");
        let key = PublicKey::from_pem(&pair.public_key_pem()).expect("a public key");
        Signer { pair, key }
    }

    impl Signer {
        fn message(&self, signed: &[u8], stated: Option<&[u8]>) -> Content {
            Content::MessageSignature {
                digest: stated.map(|stated| HashAlgorithm::Sha256.digest(stated)),
                signature: self.pair.sign(signed).expect("a signature"),
            }
        }

        fn envelope(&self, payload_type: &str, payload: &str) -> Envelope {
            let sig = self.pair.sign(&pae(payload_type, payload.as_bytes())).expect("a signature");
            Envelope {
                payload_type: payload_type.to_owned(),
                payload: payload.as_bytes().to_vec(),
                signatures: vec![EnvelopeSignature { sig, keyid: String::new() }],
            }
        }

        fn judge(&self, content: &Content, artifact: &Artifact) -> Result<ContentEvidence, Code> {
            verify(content, &self.key, artifact).map_err(|error: SignatureError| error.code())
        }
    }

    fn statement(artifact: &[u8]) -> String {
        let digest = HashAlgorithm::Sha256.digest(artifact).to_hex();
        serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "a", "digest": {"sha256": digest}}],
            "predicateType": "https://example.com/p",
            "predicate": {},
        })
        .to_string()
    }

    #[test]
    fn a_message_is_the_artifact_and_the_stated_digest_is_its_own() {
        let signer = signer();
        let artifact = Artifact::from_bytes(b"a");
        for stated in [None, Some(&b"a"[..])] {
            assert!(signer.judge(&signer.message(b"a", stated), &artifact).is_ok());
        }
        let stated = signer.message(b"a", Some(b"b"));
        assert_eq!(signer.judge(&stated, &artifact), Err(Code::SIGNATURE_DIGEST_MISMATCH));
        for stated in [None, Some(&b"a"[..])] {
            let other = signer.message(b"b", stated);
            assert_eq!(signer.judge(&other, &artifact), Err(Code::SIGNATURE_INVALID));
        }
        let content = signer.message(b"a", None);
        assert_eq!(self::signer().judge(&content, &artifact), Err(Code::SIGNATURE_INVALID), "another key");
        let known = Artifact::from_digests(vec![HashAlgorithm::Sha512.digest(b"a")]);
        assert_eq!(signer.judge(&content, &known), Err(Code::KEY_UNSUPPORTED), "by another hash");
    }

    #[test]
    fn an_envelope_holds_one_signed_statement_about_the_artifact() {
        let signer = signer();
        let artifact = Artifact::from_bytes(b"a");
        let judge = |envelope: Envelope| signer.judge(&Content::Envelope(envelope), &artifact);
        let good = || signer.envelope(IN_TOTO, &statement(b"a"));
        assert!(judge(good()).is_ok());

        let other_type = signer.envelope("application/json", &statement(b"a"));
        assert_eq!(judge(other_type), Err(Code::SIGNATURE_ENVELOPE));
        let mut relabelled = good();
        relabelled.payload_type = "application/json".into();
        assert_eq!(judge(relabelled), Err(Code::SIGNATURE_INVALID), "the type is signed");
        let mut changed = good();
        changed.payload = statement(b"b").into_bytes();
        assert_eq!(judge(changed), Err(Code::SIGNATURE_INVALID));

        // CVE-2022-35929: one good signature does not vouch for what else is there; none is not success.
        let mut two = good();
        two.signatures.push(EnvelopeSignature { sig: vec![1], keyid: String::new() });
        assert_eq!(judge(two), Err(Code::SIGNATURE_ENVELOPE));
        let mut none = good();
        none.signatures.clear();
        assert_eq!(judge(none), Err(Code::SIGNATURE_ENVELOPE));

        assert_eq!(judge(signer.envelope(IN_TOTO, &statement(b"b"))), Err(Code::STATEMENT_SUBJECT));
        assert_eq!(self::signer().judge(&Content::Envelope(good()), &artifact), Err(Code::SIGNATURE_INVALID));
        assert_eq!(
            signer.judge(&Content::Envelope(good()), &Artifact::default()),
            Err(Code::STATEMENT_SUBJECT),
            "an artifact of which nothing is known"
        );
    }
}
