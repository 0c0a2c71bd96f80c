//! Rekor entries: the canonical bodies that are the leaves of a log (rekor `pkg/types`, rekor-tiles `entry.proto`).
//!
//! ```json
//! {"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{
//!   "data":{"algorithm":"SHA2_256","digest":"<base64>"},
//!   "signature":{"content":"<base64>","verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256","x509Certificate":{"rawBytes":"<base64>"}}}}}}
//! ```

pub mod answer;
mod pem_verifier;
pub mod proposed;
pub mod request;

pub use pem_verifier::{MAX_VERIFIER_CHAIN, PemVerifier};

use crate::code::Code;
use crate::crypto::{Digest, HashAlgorithm, KeyDetails, PublicKey};
use crate::json::{self, JsonError, Node, encode_base64};
use crate::x509::{Certificate, CertificateError};
use serde::Serialize;

/// A body may be this long, in bytes; old in-toto entries carry the whole statement.
pub const MAX_BODY_LEN: usize = 10 << 20;
/// A DSSE or in-toto entry may have this many signatures.
pub const MAX_SIGNATURES: usize = 32;

/// The content of a log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// `hashedrekord` 0.0.1 of Rekor v1.
    HashedRekord001 {
        /// Digest of the artifact.
        digest: Digest,
        /// Signature over the artifact.
        signature: Vec<u8>,
        /// The certificate or public key, PEM.
        public_key_pem: Vec<u8>,
    },
    /// `hashedrekord` 0.0.2 of Rekor v2, the only kind there.
    HashedRekord002 {
        /// Digest of the artifact, or of the [pre-authentication encoding](crate::envelope::pae) of an envelope.
        digest: Digest,
        /// The signature.
        signature: Vec<u8>,
        /// Kind of key and hash.
        key_details: KeyDetails,
        /// What verifies the signature.
        verifier: Verifier,
    },
    /// `dsse` 0.0.1 of Rekor v1.
    Dsse001 {
        /// Digest of the envelope's JSON as it was sent, which a bundle does not preserve.
        envelope_hash: Digest,
        /// Digest of the payload.
        payload_hash: Digest,
        /// The envelope's signatures, at least one.
        signatures: Vec<EntrySignature>,
    },
    /// `intoto` 0.0.2 of Rekor v1.
    Intoto002 {
        /// Digest of the envelope as the client stated it; Rekor does not check it.
        envelope_hash: Digest,
        /// Digest of the payload.
        payload_hash: Digest,
        /// The envelope's payload type.
        payload_type: String,
        /// The envelope's signatures, at least one.
        signatures: Vec<EntrySignature>,
    },
}

/// A signature in a DSSE or in-toto entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntrySignature {
    /// The signature.
    pub signature: Vec<u8>,
    /// The certificate or public key, PEM.
    pub verifier_pem: Vec<u8>,
}

/// What verifies a signature of Rekor v2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verifier {
    /// A certificate, DER.
    Certificate(Vec<u8>),
    /// A public key, DER SubjectPublicKeyInfo.
    PublicKey(Vec<u8>),
}

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The kind and version are not supported.
    #[error("log entries of kind {kind} {version} are not supported")]
    Unsupported {
        /// The kind stated beside the body.
        kind: String,
        /// The version stated beside the body.
        version: String,
    },
    /// The body is of another kind or version than stated beside it.
    #[error("the log entry is stated to be {stated} and is {found}")]
    Kind {
        /// What is stated beside the body.
        stated: String,
        /// What the body says.
        found: String,
    },
    /// The body is no JSON of its kind.
    #[error("log entry: {0}")]
    Json(#[from] JsonError),
    /// A field has a value that it cannot have.
    #[error("log entry: {path}: {problem}")]
    Field {
        /// Where.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl EntryError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unsupported { .. } | Self::Kind { .. } => Code::LOG_ENTRY_KIND,
            Self::Json(_) | Self::Field { .. } => Code::LOG_ENTRY_MALFORMED,
        }
    }

    fn field(node: &Node<'_>, problem: &'static str) -> Self {
        Self::Field { path: node.path().to_owned(), problem }
    }
}

impl Entry {
    /// Parses a canonical body that is stated to be of `kind` and `version`.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(kind: &str, version: &str, body: &[u8]) -> Result<Self, EntryError> {
        let spec: fn(&Node<'_>) -> Result<Self, EntryError> = match (kind, version) {
            ("hashedrekord", "0.0.1") => hashed_rekord_001,
            ("hashedrekord", "0.0.2") => hashed_rekord_002,
            ("dsse", "0.0.1") => dsse_001,
            ("intoto", "0.0.2") => intoto_002,
            _ => return Err(EntryError::Unsupported { kind: kind.to_owned(), version: version.to_owned() }),
        };
        let document = json::parse(body, MAX_BODY_LEN)?;
        let root = Node::root(&document);
        let found = (root.string_field("kind")?, root.string_field("apiVersion")?);
        if found != (kind, version) {
            let stated = format!("{kind} {version}");
            return Err(EntryError::Kind { stated, found: format!("{} {}", found.0, found.1) });
        }
        spec(&root.required("spec")?)
    }
}

/// The leaf of a `hashedrekord` 0.0.2 entry (JCS, RFC 8785).
#[must_use]
pub fn canonical_hashedrekord_002(
    digest: &Digest,
    signature: &[u8],
    key_details: KeyDetails,
    verifier: &Verifier,
) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        api_version: &'a str,
        kind: &'a str,
        spec: Spec<'a>,
    }
    #[derive(Serialize)]
    struct Spec<'a> {
        #[serde(rename = "hashedRekordV002")]
        hashed_rekord: HashedRekord<'a>,
    }
    #[derive(Serialize)]
    struct HashedRekord<'a> {
        data: Data<'a>,
        signature: Signature<'a>,
    }
    #[derive(Serialize)]
    struct Data<'a> {
        algorithm: &'a str,
        digest: String,
    }
    #[derive(Serialize)]
    struct Signature<'a> {
        content: String,
        verifier: LeafVerifier<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct LeafVerifier<'a> {
        key_details: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        public_key: Option<Raw>,
        #[serde(skip_serializing_if = "Option::is_none")]
        x509_certificate: Option<Raw>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        raw_bytes: String,
    }
    let (public_key, x509_certificate) = match verifier {
        Verifier::PublicKey(spki) => (Some(Raw { raw_bytes: encode_base64(spki) }), None),
        Verifier::Certificate(der) => (None, Some(Raw { raw_bytes: encode_base64(der) })),
    };
    let body = Body {
        api_version: "0.0.2",
        kind: "hashedrekord",
        spec: Spec {
            hashed_rekord: HashedRekord {
                data: Data { algorithm: digest.algorithm().protobuf_name(), digest: encode_base64(digest.as_bytes()) },
                signature: Signature {
                    content: encode_base64(signature),
                    verifier: LeafVerifier { key_details: key_details.name(), public_key, x509_certificate },
                },
            },
        },
    };
    // JCS without a canonicalizer, which takes longer than hashing the entry: the fields above stand in the order of their names,
    // and base64 and names of algorithms have nothing to escape.
    serde_json::to_vec(&body).unwrap_or_default()
}

impl Verifier {
    /// The public key.
    ///
    /// # Errors
    /// If certificate or key is malformed or of an unsupported kind.
    pub fn public_key(&self) -> Result<PublicKey, CertificateError> {
        match self {
            Self::Certificate(der) => Ok(Certificate::from_der(der)?.public_key()?.clone()),
            Self::PublicKey(spki) => Ok(PublicKey::from_spki_der(spki)?),
        }
    }

    /// Reads `Verifier`: key details and one arm of the `oneof`.
    fn from_node(node: &Node<'_>) -> Result<(KeyDetails, Self), EntryError> {
        let details = node
            .enumeration_field("keyDetails", KeyDetails::from_name, KeyDetails::from_number)?
            .ok_or_else(|| EntryError::field(node, "keyDetails is missing"))?;
        let verifier = match (node.field("x509Certificate")?, node.field("publicKey")?) {
            (Some(certificate), None) => Self::Certificate(nonempty(&certificate.required("rawBytes")?)?),
            (None, Some(key)) => Self::PublicKey(nonempty(&key.required("rawBytes")?)?),
            _ => return Err(EntryError::field(node, "exactly one of x509Certificate and publicKey is needed")),
        };
        Ok((details, verifier))
    }
}

fn nonempty(node: &Node<'_>) -> Result<Vec<u8>, EntryError> {
    let bytes = node.bytes()?;
    if bytes.is_empty() { Err(EntryError::field(node, "empty")) } else { Ok(bytes) }
}

/// `{"algorithm":"sha256","value":"<hex>"}` of Rekor v1.
fn hash(node: &Node<'_>) -> Result<Digest, EntryError> {
    let (algorithm, value) = (node.string_field("algorithm")?, node.string_field("value")?);
    Digest::parse(&format!("{algorithm}:{value}")).ok_or_else(|| EntryError::field(node, "no digest in hexadecimal"))
}

fn hashed_rekord_001(spec: &Node<'_>) -> Result<Entry, EntryError> {
    let signature = spec.required("signature")?;
    Ok(Entry::HashedRekord001 {
        digest: hash(&spec.required("data")?.required("hash")?)?,
        signature: nonempty(&signature.required("content")?)?,
        public_key_pem: nonempty(&signature.required("publicKey")?.required("content")?)?,
    })
}

fn hashed_rekord_002(spec: &Node<'_>) -> Result<Entry, EntryError> {
    let hashed_rekord = spec.required("hashedRekordV002")?;
    let data = hashed_rekord.required("data")?;
    let algorithm = data
        .enumeration_field("algorithm", HashAlgorithm::from_protobuf_name, crate::bundle::hash_algorithm_from_number)?
        .ok_or_else(|| EntryError::field(&data, "algorithm is missing"))?;
    let digest = Digest::new(algorithm, &data.bytes_field("digest")?)
        .ok_or_else(|| EntryError::field(&data, "the digest's length does not fit its algorithm"))?;
    let signature = hashed_rekord.required("signature")?;
    let (key_details, verifier) = Verifier::from_node(&signature.required("verifier")?)?;
    Ok(Entry::HashedRekord002 { digest, signature: nonempty(&signature.required("content")?)?, key_details, verifier })
}

fn signatures(
    node: &Node<'_>,
    read: impl Fn(&Node<'_>) -> Result<EntrySignature, EntryError>,
) -> Result<Vec<EntrySignature>, EntryError> {
    let signatures = node.repeated("signatures")?;
    if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
        return Err(EntryError::field(node, "no signatures, or too many"));
    }
    signatures.iter().map(read).collect()
}

fn dsse_001(spec: &Node<'_>) -> Result<Entry, EntryError> {
    Ok(Entry::Dsse001 {
        envelope_hash: hash(&spec.required("envelopeHash")?)?,
        payload_hash: hash(&spec.required("payloadHash")?)?,
        signatures: signatures(spec, |node| {
            Ok(EntrySignature {
                signature: nonempty(&node.required("signature")?)?,
                verifier_pem: nonempty(&node.required("verifier")?)?,
            })
        })?,
    })
}

fn intoto_002(spec: &Node<'_>) -> Result<Entry, EntryError> {
    let content = spec.required("content")?;
    let envelope = content.required("envelope")?;
    Ok(Entry::Intoto002 {
        envelope_hash: hash(&content.required("hash")?)?,
        payload_hash: hash(&content.required("payloadHash")?)?,
        payload_type: envelope.string_field("payloadType")?.to_owned(),
        signatures: signatures(&envelope, |node| {
            // Clients encode the envelope's base64 once more, and Rekor keeps that.
            let sig = node.required("sig")?;
            let inner = String::from_utf8(nonempty(&sig)?).ok();
            let signature = inner
                .and_then(|text| json::decode_base64(&text))
                .ok_or_else(|| EntryError::field(&sig, "not base64 twice"))?;
            Ok(EntrySignature { signature, verifier_pem: nonempty(&node.required("publicKey")?)? })
        })?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Entry, EntryError, canonical_hashedrekord_002};
    use crate::bundle::{Bundle, Content, LogEntry, VerificationMaterial};
    use crate::code::Code;
    use crate::crypto::{HashAlgorithm, KeyDetails};
    use serde_json::{Value, json};
    use waxseal_testkit::{ExpectedVerdict, vectors};

    /// Every positive bundle of the vectors.
    fn bundles() -> Vec<(String, Bundle)> {
        let Some(vectors) = vectors() else { return Vec::new() };
        let own = vectors
            .private_instance()
            .into_iter()
            .filter(|case| case.verdict == ExpectedVerdict::Ok && case.file.contains("/bundles/"))
            .map(|case| (vectors.read(&case.file), case.file));
        let conformance = vectors.conformance().into_iter().filter(|case| case.positive);
        own.chain(conformance.map(|case| (case.bundle, case.name)))
            .map(|(text, name)| (name, Bundle::from_json(&text).unwrap()))
            .collect()
    }

    fn parse(entry: &LogEntry) -> Entry {
        Entry::parse(&entry.kind, &entry.version, entry.canonicalized_body.as_deref().unwrap()).unwrap()
    }

    #[test]
    fn the_entries_of_every_recorded_bundle_name_its_signature() {
        let mut kinds = std::collections::BTreeMap::<String, usize>::new();
        for (name, bundle) in bundles() {
            for entry in &bundle.entries {
                *kinds.entry(format!("{} {}", entry.kind, entry.version)).or_default() += 1;
                let signature = match parse(entry) {
                    Entry::HashedRekord001 { signature, .. } | Entry::HashedRekord002 { signature, .. } => signature,
                    Entry::Dsse001 { signatures, payload_hash, .. }
                    | Entry::Intoto002 { signatures, payload_hash, .. } => {
                        let Content::Envelope(envelope) = &bundle.content else { panic!("{name}") };
                        assert_eq!(payload_hash, HashAlgorithm::Sha256.digest(&envelope.payload), "{name}");
                        signatures[0].signature.clone()
                    }
                };
                assert_eq!(signature, bundle.content.signature(), "{name}");
            }
        }
        if vectors().is_some() {
            assert_eq!(kinds.len(), 4, "{kinds:?}");
        }
    }

    #[test]
    fn hashedrekord_002_is_rebuilt_byte_for_byte() {
        let mut seen = 0;
        for (name, bundle) in bundles() {
            for entry in &bundle.entries {
                let Entry::HashedRekord002 { digest, signature, key_details, verifier } = parse(entry) else {
                    continue;
                };
                let rebuilt = canonical_hashedrekord_002(&digest, &signature, key_details, &verifier);
                assert_eq!(Some(&rebuilt), entry.canonicalized_body.as_ref(), "{name}");
                let key = verifier.public_key().unwrap();
                assert!(key_details.fits(key.kind()), "{name}");
                if let VerificationMaterial::Certificate { leaf, .. } = &bundle.material {
                    assert_eq!(verifier, super::Verifier::Certificate(leaf.clone()), "{name}");
                }
                seen += 1;
            }
        }
        assert!(vectors().is_none() || seen > 20, "{seen}");
    }

    fn hashedrekord() -> Value {
        json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
            "data": {"algorithm": "SHA2_256", "digest": crate::json::encode_base64(&[1; 32])},
            "signature": {"content": "AQ==", "verifier": {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": {"rawBytes": "AQ=="}}},
        }}})
    }

    fn code_after(path: &str, value: Value) -> Option<Code> {
        let mut body = hashedrekord();
        *body.pointer_mut(path).unwrap() = value;
        Entry::parse("hashedrekord", "0.0.2", body.to_string().as_bytes()).err().map(|error| error.code())
    }

    #[test]
    fn an_entry_of_another_kind_than_stated_is_refused() {
        let body = hashedrekord().to_string();
        let parse = |kind, version| Entry::parse(kind, version, body.as_bytes());
        assert!(matches!(
            parse("hashedrekord", "0.0.2"),
            Ok(Entry::HashedRekord002 { key_details: KeyDetails::PkixEcdsaP256Sha256, .. })
        ));
        assert!(matches!(parse("hashedrekord", "0.0.1"), Err(EntryError::Kind { .. })));
        assert!(matches!(parse("dsse", "0.0.1"), Err(EntryError::Kind { .. })));
        for (kind, version) in [("dsse", "0.0.2"), ("hashedrekord", "0.0.3"), ("rekord", "0.0.1"), ("", "")] {
            let error = parse(kind, version).unwrap_err();
            assert!(matches!(error, EntryError::Unsupported { .. }), "{kind} {version}");
            assert_eq!(error.code(), Code::LOG_ENTRY_KIND);
        }
        assert_eq!(code_after("/kind", json!("dsse")), Some(Code::LOG_ENTRY_KIND));
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let spec = "/spec/hashedRekordV002";
        let edits = [
            ("/spec", Value::Null),
            ("/data/algorithm", json!("SHA2_384")),
            ("/data/algorithm", Value::Null),
            ("/data/digest", json!("AQ==")),
            ("/signature/content", json!("")),
            ("/signature/verifier", Value::Null),
            ("/signature/verifier", json!({"keyDetails": 5})),
            ("/signature/verifier/keyDetails", json!("PKIX_NONE")),
            ("/signature/verifier/publicKey", Value::Null),
            (
                "/signature/verifier",
                json!({"keyDetails": 5, "publicKey": {"rawBytes": "AQ"}, "x509Certificate": {"rawBytes": "AQ"}}),
            ),
        ];
        for (path, value) in edits {
            let path = if path == "/spec" { path.to_owned() } else { format!("{spec}{path}") };
            assert_eq!(code_after(&path, value.clone()), Some(Code::LOG_ENTRY_MALFORMED), "{path} {value}");
        }
        let error = Entry::parse("hashedrekord", "0.0.1", b"{").unwrap_err();
        assert_eq!(error.code(), Code::LOG_ENTRY_MALFORMED);
    }

    #[test]
    fn signatures_of_an_entry_are_bounded() {
        let hash = json!({"algorithm": "sha256", "value": "00".repeat(32)});
        let body = |n: usize| {
            json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {"envelopeHash": hash, "payloadHash": hash,
                "signatures": vec![json!({"signature": "AQ==", "verifier": "AQ=="}); n]}})
            .to_string()
        };
        let parse = |n| Entry::parse("dsse", "0.0.1", body(n).as_bytes()).map_err(|error| error.code());
        assert!(parse(1).is_ok() && parse(super::MAX_SIGNATURES).is_ok());
        assert_eq!(parse(0), Err(Code::LOG_ENTRY_MALFORMED));
        assert_eq!(parse(super::MAX_SIGNATURES + 1), Err(Code::LOG_ENTRY_MALFORMED));
    }
}
