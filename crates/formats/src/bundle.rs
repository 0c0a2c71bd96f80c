//! Sigstore bundles, versions 0.1 to 0.3 (protobuf-specs `sigstore_bundle.proto`, `sigstore_rekor.proto`).
//!
//! Reading checks the shape: versions, arms of a `oneof`, bounds, duplicates. Whether a proof, a time or a signature
//! is there and holds is for the verifier to say.

use crate::code::Code;
use crate::crypto::{Digest, HashAlgorithm};
use crate::envelope::{Envelope, EnvelopeError};
use crate::json::{self, JsonError, Node};
use crate::x509::{Certificate, CertificateError};
use std::collections::BTreeSet;

mod log_entry;
mod wire;

pub use log_entry::{InclusionProof, LogEntry, MAX_PROOF_HASHES};

/// A bundle may be this long, in bytes.
pub const MAX_BUNDLE_LEN: usize = 10 << 20;
/// A bundle may hold this many log entries.
pub const MAX_ENTRIES: usize = 32;
/// A bundle may hold this many timestamps.
pub const MAX_TIMESTAMPS: usize = 32;
/// A certificate chain may be this long.
pub const MAX_CHAIN: usize = 16;

/// Version of a bundle, as its media type names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// `application/vnd.dev.sigstore.bundle+json;version=0.1`.
    V0_1,
    /// `application/vnd.dev.sigstore.bundle+json;version=0.2`.
    V0_2,
    /// `application/vnd.dev.sigstore.bundle.v0.3+json`; the older spelling with `version=0.3` is read too.
    V0_3,
}

impl MediaType {
    /// The media type to write.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1 => "application/vnd.dev.sigstore.bundle+json;version=0.1",
            Self::V0_2 => "application/vnd.dev.sigstore.bundle+json;version=0.2",
            Self::V0_3 => "application/vnd.dev.sigstore.bundle.v0.3+json",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "application/vnd.dev.sigstore.bundle+json;version=0.1" => Some(Self::V0_1),
            "application/vnd.dev.sigstore.bundle+json;version=0.2" => Some(Self::V0_2),
            "application/vnd.dev.sigstore.bundle.v0.3+json"
            | "application/vnd.dev.sigstore.bundle+json;version=0.3" => Some(Self::V0_3),
            _ => None,
        }
    }
}

/// A signature with everything needed to verify it offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The version.
    pub media_type: MediaType,
    /// Whose signature this claims to be.
    pub material: VerificationMaterial,
    /// What was signed, with the signature; never empty.
    pub content: Content,
    /// Log entries, at most [`MAX_ENTRIES`], each log's index once.
    pub entries: Vec<LogEntry>,
    /// RFC 3161 timestamp responses or tokens in DER, at most [`MAX_TIMESTAMPS`].
    pub timestamps: Vec<Vec<u8>>,
}

/// What the signature is to be verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerificationMaterial {
    /// A signing certificate.
    Certificate {
        /// The signer's certificate, DER.
        leaf: Vec<u8>,
        /// Intermediates after the leaf, DER; empty in v0.3, and never with a self-issued one.
        chain: Vec<Vec<u8>>,
    },
    /// A key that the verifier has to have.
    PublicKey {
        /// Which one: cosign writes base64 of SHA-256 of the SPKI.
        hint: String,
    },
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A signature over the artifact itself.
    MessageSignature {
        /// The artifact's digest as the signer states it: a hint, unauthenticated.
        digest: Option<Digest>,
        /// The signature; never empty.
        signature: Vec<u8>,
    },
    /// A DSSE envelope with exactly one signature, which is not empty.
    Envelope(Envelope),
}

impl Content {
    /// The signature's bytes.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        match self {
            Self::MessageSignature { signature, .. } => signature,
            Self::Envelope(envelope) => envelope.signatures.first().map_or(&[], |signature| &signature.sig),
        }
    }
}

/// Why a bundle is refused for its shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It is larger than [`MAX_BUNDLE_LEN`], or has more parts of a kind than allowed.
    #[error("{count} {what}, {limit} are allowed")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// It is no bundle JSON, or a field has the wrong type.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field has a value that it cannot have.
    #[error("{path}: {problem}")]
    Field {
        /// Where.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The media type is unknown.
    #[error("media type {found:?} is not supported")]
    UnsupportedVersion {
        /// The media type found.
        found: String,
    },
    /// There is a chain without certificates.
    #[error("the certificate chain is empty")]
    EmptyChain,
    /// There is a self-issued certificate: trust comes from the trusted root, never from the bundle.
    #[error("certificate {index} of the bundle is self-issued")]
    RootInChain {
        /// Which one; 0 is the leaf.
        index: usize,
    },
    /// There is a chain in a version that has a single certificate.
    #[error("a v0.3 bundle holds a single certificate, this one has a chain of {len}")]
    ChainInV03 {
        /// Length of the chain.
        len: usize,
    },
    /// Material, content or signature is missing, or stands there in two forms.
    #[error("{0}")]
    MissingMaterial(&'static str),
    /// The same entry stands there twice.
    #[error("log entry {log_index} of log {log_id} stands in the bundle twice")]
    DuplicateEntry {
        /// Index in the log.
        log_index: u64,
        /// The log, in hexadecimal.
        log_id: String,
    },
    /// The envelope cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The envelope has not exactly one signature.
    #[error("the envelope has {count} signatures instead of one")]
    EnvelopeSignatures {
        /// How many it has.
        count: usize,
    },
}

impl BundleError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Limit { .. } | Self::Json(JsonError::TooLarge { .. }) => Code::BUNDLE_LIMITS,
            Self::Json(_) | Self::Field { .. } => Code::BUNDLE_MALFORMED,
            Self::UnsupportedVersion { .. } => Code::BUNDLE_UNSUPPORTED_VERSION,
            Self::EmptyChain => Code::BUNDLE_EMPTY_CHAIN,
            Self::RootInChain { .. } | Self::ChainInV03 { .. } => Code::BUNDLE_ROOT_IN_CHAIN,
            Self::MissingMaterial(_) => Code::BUNDLE_MISSING_MATERIAL,
            Self::DuplicateEntry { .. } => Code::BUNDLE_DUPLICATE_ENTRY,
            Self::EnvelopeSignatures { .. } => Code::SIGNATURE_ENVELOPE,
            // Base64 that does not decode is a broken bundle wherever it stands.
            Self::Envelope(EnvelopeError::Json(_)) => Code::BUNDLE_MALFORMED,
            Self::Envelope(error) => error.code(),
        }
    }

    fn certificate(path: &str, error: &CertificateError) -> Self {
        Self::Field { path: path.to_owned(), problem: error.to_string() }
    }
}

/// Refuses `count` of `what` over `limit`.
const fn bound(what: &'static str, count: usize, limit: usize) -> Result<(), BundleError> {
    if count > limit { Err(BundleError::Limit { what, count, limit }) } else { Ok(()) }
}

impl Bundle {
    /// Parses a bundle and checks its shape. Unknown fields are ignored, duplicate keys are not.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn from_json(document: &[u8]) -> Result<Self, BundleError> {
        let document = json::parse(document, MAX_BUNDLE_LEN)?;
        let root = Node::root(&document);
        let media_type = root.required("mediaType")?.string()?;
        let media_type = MediaType::parse(media_type)
            .ok_or_else(|| BundleError::UnsupportedVersion { found: media_type.to_owned() })?;
        let material = root
            .field("verificationMaterial")?
            .ok_or(BundleError::MissingMaterial("the bundle has no verification material"))?;
        Ok(Self {
            media_type,
            entries: entries(&material)?,
            timestamps: timestamps(&material)?,
            material: VerificationMaterial::from_node(&material, media_type)?,
            content: Content::from_node(&root)?,
        })
    }

    /// Writes the bundle as cosign does, on one line, except that a log index of 0 and an empty list of proof hashes
    /// are spelled out: sigstore-python cannot load a bundle without them.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&wire::Bundle::from(self)).unwrap_or_default()
    }
}

impl VerificationMaterial {
    fn from_node(node: &Node<'_>, media_type: MediaType) -> Result<Self, BundleError> {
        match (node.field("certificate")?, node.field("x509CertificateChain")?, node.field("publicKey")?) {
            (Some(certificate), None, None) => Self::certificates(&[certificate]),
            (None, Some(chain), None) => {
                let chain = chain.repeated("certificates")?;
                if chain.is_empty() {
                    return Err(BundleError::EmptyChain);
                }
                if media_type == MediaType::V0_3 {
                    return Err(BundleError::ChainInV03 { len: chain.len() });
                }
                Self::certificates(&chain)
            }
            (None, None, Some(key)) => Ok(Self::PublicKey { hint: key.string_field("hint")?.to_owned() }),
            (None, None, None) => Err(BundleError::MissingMaterial("the bundle names neither certificate nor key")),
            _ => Err(BundleError::MissingMaterial("the bundle names its certificate or key in two forms")),
        }
    }

    fn certificates(nodes: &[Node<'_>]) -> Result<Self, BundleError> {
        bound("certificates", nodes.len(), MAX_CHAIN)?;
        let mut certificates = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let der = node.required("rawBytes")?.bytes()?;
            let certificate =
                Certificate::from_der(&der).map_err(|error| BundleError::certificate(node.path(), &error))?;
            if certificate.is_self_issued() {
                return Err(BundleError::RootInChain { index });
            }
            certificates.push(der);
        }
        let mut certificates = certificates.into_iter();
        let leaf = certificates.next().ok_or(BundleError::EmptyChain)?;
        Ok(Self::Certificate { leaf, chain: certificates.collect() })
    }
}

impl Content {
    fn from_node(root: &Node<'_>) -> Result<Self, BundleError> {
        let content = match (root.field("messageSignature")?, root.field("dsseEnvelope")?) {
            (Some(message), None) => {
                let digest = message.field("messageDigest")?.map_or(Ok(None), |node| digest(&node))?;
                Self::MessageSignature { digest, signature: message.bytes_field("signature")? }
            }
            (None, Some(envelope)) => {
                let envelope = Envelope::from_node(&envelope)?;
                if envelope.signatures.len() != 1 {
                    return Err(BundleError::EnvelopeSignatures { count: envelope.signatures.len() });
                }
                Self::Envelope(envelope)
            }
            (None, None) => {
                return Err(BundleError::MissingMaterial("the bundle has neither message signature nor envelope"));
            }
            (Some(_), Some(_)) => {
                return Err(BundleError::MissingMaterial("the bundle has a message signature and an envelope"));
            }
        };
        if content.signature().is_empty() {
            return Err(BundleError::MissingMaterial("the bundle has no signature"));
        }
        Ok(content)
    }
}

/// `HashOutput`: `None` if it says nothing.
fn digest(node: &Node<'_>) -> Result<Option<Digest>, BundleError> {
    let bytes = node.bytes_field("digest")?;
    let algorithm =
        node.enumeration_field("algorithm", HashAlgorithm::from_protobuf_name, hash_algorithm_from_number)?;
    match algorithm {
        None if bytes.is_empty() => Ok(None),
        None => Err(JsonError::Missing { path: format!("{}.algorithm", node.path()) }.into()),
        Some(algorithm) => Digest::new(algorithm, &bytes).map(Some).ok_or_else(|| BundleError::Field {
            path: node.path().to_owned(),
            problem: format!("{} bytes are no {} digest", bytes.len(), algorithm.name()),
        }),
    }
}

/// The protobuf number of a hash algorithm (`sigstore_common.proto`, `HashAlgorithm`).
pub(crate) const fn hash_algorithm_from_number(number: i64) -> Option<HashAlgorithm> {
    match number {
        1 => Some(HashAlgorithm::Sha256),
        2 => Some(HashAlgorithm::Sha384),
        3 => Some(HashAlgorithm::Sha512),
        _ => None,
    }
}

fn entries(material: &Node<'_>) -> Result<Vec<LogEntry>, BundleError> {
    let nodes = material.repeated("tlogEntries")?;
    bound("log entries", nodes.len(), MAX_ENTRIES)?;
    let mut seen = BTreeSet::new();
    let mut entries = Vec::with_capacity(nodes.len());
    for node in nodes {
        let entry = LogEntry::from_node(&node)?;
        if !seen.insert((entry.log_id.clone(), entry.log_index)) {
            let log_id = hex::encode(&entry.log_id);
            return Err(BundleError::DuplicateEntry { log_index: entry.log_index, log_id });
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn timestamps(material: &Node<'_>) -> Result<Vec<Vec<u8>>, BundleError> {
    let Some(data) = material.field("timestampVerificationData")? else { return Ok(Vec::new()) };
    let nodes = data.repeated("rfc3161Timestamps")?;
    bound("timestamps", nodes.len(), MAX_TIMESTAMPS)?;
    Ok(nodes.iter().map(|node| node.required("signedTimestamp")?.bytes()).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::{Bundle, Content, MAX_ENTRIES, MAX_TIMESTAMPS, MediaType, VerificationMaterial};
    use crate::code::Code;
    use serde_json::{Value, json};
    use waxseal_testkit::{ExpectedVerdict, vectors};

    /// Codes that reading the shape gives; every other one belongs to the verifier.
    fn is_shape(code: &str) -> bool {
        code.starts_with("bundle.") || code == "signature.envelope"
    }

    #[test]
    fn every_recorded_bundle_parses_or_has_the_expected_fault_of_shape() {
        let Some(vectors) = vectors() else { return };
        for case in vectors.private_instance().iter().filter(|case| case.file.contains("/bundles/")) {
            let found = Bundle::from_json(&vectors.read(&case.file)).err().map(|error| error.code().as_str());
            let expected = case.reason.as_deref().filter(|reason| is_shape(reason));
            assert_eq!(found, expected, "{}", case.file);
        }
    }

    #[test]
    fn conformance_cases_parse_or_have_the_fault_that_their_readme_states() {
        let Some(vectors) = vectors() else { return };
        let faults = [
            ("bundle-empty-certificate-chain_fail", Code::BUNDLE_EMPTY_CHAIN),
            ("bundle-invalid-base64-signature_fail", Code::BUNDLE_MALFORMED),
            ("bundle-malformed-json_fail", Code::BUNDLE_MALFORMED),
            ("bundle-negative-log-index_fail", Code::BUNDLE_MALFORMED),
            ("bundle-unknown-version_fail", Code::BUNDLE_UNSUPPORTED_VERSION),
            ("bundle-with-root-cert_fail", Code::BUNDLE_ROOT_IN_CHAIN),
        ];
        for case in vectors.conformance() {
            let expected = faults.iter().find(|(name, _)| *name == case.name).map(|(_, code)| *code);
            let found = Bundle::from_json(&case.bundle).err();
            assert_eq!(found.as_ref().map(super::BundleError::code), expected, "{}: {found:?}", case.name);
        }
    }

    #[test]
    fn cosigns_bundles_are_written_back_byte_for_byte() {
        let Some(vectors) = vectors() else { return };
        let mut seen = 0;
        for case in vectors.private_instance() {
            // Index 0 and no hashes are spelled out on purpose.
            if case.verdict != ExpectedVerdict::Ok
                || !case.file.contains("/bundles/c3-")
                || case.file.contains("c3-blob-tuf")
                || case.file.contains("-both")
            {
                continue;
            }
            let text = vectors.text(&case.file);
            let written = Bundle::from_json(text.as_bytes()).unwrap().to_json();
            assert_eq!(written, text.trim_end(), "{}", case.file);
            seen += 1;
        }
        assert!(seen >= 10, "{seen}");
        let text = vectors.text("private-instance/bundles/c3-blob-tuf.sigstore.json");
        let written = Bundle::from_json(text.as_bytes()).unwrap().to_json();
        assert!(
            !text.contains(r#""hashes""#)
                && written.contains(r#""logIndex":"0""#)
                && written.contains(r#""hashes":[]"#)
        );
    }

    #[test]
    fn every_bundle_survives_being_written() {
        let Some(vectors) = vectors() else { return };
        let cases = vectors.conformance().into_iter().filter(|case| case.positive);
        for case in cases {
            let bundle = Bundle::from_json(&case.bundle).unwrap();
            assert_eq!(Bundle::from_json(bundle.to_json().as_bytes()).as_ref(), Ok(&bundle), "{}", case.name);
        }
    }

    fn entry(index: u64) -> Value {
        json!({
            "logIndex": index.to_string(),
            "logId": {"keyId": "AQ=="},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": {"logIndex": 1, "rootHash": "AQ==", "treeSize": "2", "checkpoint": {"envelope": "c"}},
            "canonicalizedBody": "AQ=="
        })
    }

    fn bundle() -> Value {
        json!({
            "mediaType": MediaType::V0_3.as_str(),
            "verificationMaterial": {"publicKey": {"hint": "h"}, "tlogEntries": [entry(1)]},
            "messageSignature": {"signature": "AQ=="}
        })
    }

    fn parse(value: &Value) -> Result<Bundle, super::BundleError> {
        Bundle::from_json(value.to_string().as_bytes())
    }

    fn code_after(edit: impl FnOnce(&mut Value)) -> Option<Code> {
        let mut value = bundle();
        edit(&mut value);
        parse(&value).err().map(|error| error.code())
    }

    #[test]
    fn defaults_that_writers_leave_out_are_filled_in() {
        let mut value = bundle();
        value["verificationMaterial"]["tlogEntries"][0] = json!({
            "logIndex": null, "integratedTime": "0", "inclusionPromise": {}, "logId": {},
            "kindVersion": {}, "inclusionProof": {"rootHash": "AQ", "tree_size": 1, "hashes": null},
            "unknown": {"field": 1}
        });
        let bundle = parse(&value).unwrap();
        assert_eq!(bundle.material, VerificationMaterial::PublicKey { hint: "h".into() });
        assert_eq!(bundle.content, Content::MessageSignature { digest: None, signature: vec![1] });
        let entry = &bundle.entries[0];
        assert_eq!(
            (entry.log_index, entry.integrated_time, &entry.set, &entry.canonicalized_body),
            (0, None, &None, &None)
        );
        let proof = entry.proof.as_ref().unwrap();
        assert_eq!((proof.log_index, proof.tree_size, proof.hashes.len(), &proof.checkpoint), (0, 1, 0, &None));
    }

    #[test]
    fn parts_are_bounded() {
        let material =
            |name: &'static str, part: Value| move |value: &mut Value| value["verificationMaterial"][name] = part;
        let entries = |n: usize| Value::from((0..n as u64).map(entry).collect::<Vec<_>>());
        assert_eq!(code_after(material("tlogEntries", entries(MAX_ENTRIES))), None);
        assert_eq!(code_after(material("tlogEntries", entries(MAX_ENTRIES + 1))), Some(Code::BUNDLE_LIMITS));
        let timestamps = |n: usize| json!({"rfc3161Timestamps": vec![json!({"signedTimestamp": "AQ=="}); n]});
        assert_eq!(code_after(material("timestampVerificationData", timestamps(MAX_TIMESTAMPS))), None);
        let too_many = material("timestampVerificationData", timestamps(MAX_TIMESTAMPS + 1));
        assert_eq!(code_after(too_many), Some(Code::BUNDLE_LIMITS));
        let hashes = json!(vec![crate::json::encode_base64(&[0; 32]); 65]);
        let proof =
            |value: &mut Value| value["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"] = hashes;
        assert_eq!(code_after(proof), Some(Code::BUNDLE_LIMITS));
        let large = Bundle::from_json(&vec![b' '; super::MAX_BUNDLE_LEN + 1]).unwrap_err();
        assert_eq!(large.code(), Code::BUNDLE_LIMITS);
    }

    #[test]
    fn an_entry_that_stands_there_twice_is_refused() {
        let twice =
            |value: &mut Value| value["verificationMaterial"]["tlogEntries"] = json!([entry(1), entry(2), entry(1)]);
        assert_eq!(code_after(twice), Some(Code::BUNDLE_DUPLICATE_ENTRY));
    }

    #[test]
    fn exactly_one_material_one_content_and_a_signature() {
        let missing = Some(Code::BUNDLE_MISSING_MATERIAL);
        assert_eq!(code_after(|value| value["verificationMaterial"] = Value::Null), missing);
        assert_eq!(code_after(|value| value["verificationMaterial"]["publicKey"] = Value::Null), missing);
        assert_eq!(
            code_after(|value| value["verificationMaterial"]["certificate"] = json!({"rawBytes": "AQ=="})),
            missing
        );
        assert_eq!(code_after(|value| value["messageSignature"] = Value::Null), missing);
        assert_eq!(code_after(|value| value["messageSignature"]["signature"] = json!("")), missing);
        let envelope = json!({"payload": "", "payloadType": "t", "signatures": [{"sig": "AQ=="}]});
        assert_eq!(code_after(|value| value["dsseEnvelope"] = envelope.clone()), missing);
        let only_envelope = |envelope: Value| {
            move |value: &mut Value| {
                value["messageSignature"] = Value::Null;
                value["dsseEnvelope"] = envelope;
            }
        };
        assert_eq!(code_after(only_envelope(envelope)), None);
        assert_eq!(code_after(only_envelope(json!({"signatures": [{}]}))), missing);
        assert_eq!(code_after(only_envelope(json!({"signatures": []}))), Some(Code::SIGNATURE_ENVELOPE));
        assert_eq!(
            code_after(only_envelope(json!({"payload": "*", "signatures": [{}]}))),
            Some(Code::BUNDLE_MALFORMED)
        );
    }

    #[test]
    fn fields_of_the_wrong_type_or_value_are_malformed() {
        let malformed = Some(Code::BUNDLE_MALFORMED);
        let entry_field = |name: &'static str, field: Value| {
            move |value: &mut Value| value["verificationMaterial"]["tlogEntries"][0][name] = field
        };
        for (name, field) in [
            ("logIndex", json!("-1")),
            ("logIndex", json!(1.5)),
            ("logId", Value::Null),
            ("logId", json!({"keyId": "*"})),
            ("kindVersion", Value::Null),
            ("integratedTime", json!("-5")),
            ("inclusionProof", json!({"treeSize": 1})),
            ("inclusionProof", json!({"rootHash": "AQ=="})),
            ("inclusionProof", json!({"rootHash": "AQ==", "treeSize": -1})),
            ("inclusionProof", json!({"rootHash": "AQ==", "treeSize": 1, "hashes": ["AQ=="]})),
        ] {
            assert_eq!(code_after(entry_field(name, field.clone())), malformed, "{name} {field}");
        }
        assert_eq!(code_after(|value| value["mediaType"] = Value::Null), malformed);
        assert_eq!(
            code_after(|value| value["mediaType"] = json!("application/json")),
            Some(Code::BUNDLE_UNSUPPORTED_VERSION)
        );
        let message = |digest: Value| move |value: &mut Value| value["messageSignature"]["messageDigest"] = digest;
        assert_eq!(code_after(message(json!({"algorithm": "SHA2_256", "digest": "AQ=="}))), malformed);
        assert_eq!(code_after(message(json!({"algorithm": "MD5", "digest": "AQ=="}))), malformed);
        assert_eq!(code_after(message(json!({"digest": "AQ=="}))), malformed);
        assert_eq!(code_after(message(json!({"algorithm": 1, "digest": crate::json::encode_base64(&[0; 32])}))), None);
        let certificate =
            |value: &mut Value| value["verificationMaterial"] = json!({"certificate": {"rawBytes": "AQ=="}});
        assert_eq!(code_after(certificate), malformed);
        let twice = bundle().to_string().replacen(r#"{"#, r#"{"mediaType":"x","#, 1);
        assert_eq!(Bundle::from_json(twice.as_bytes()).unwrap_err().code(), Code::BUNDLE_MALFORMED);
    }
}
