//! How cosign 2 keeps what belongs to a signature: in annotations of a layer, in files of its own, or in its old bundle. All of it
//! becomes a [`Bundle`] of version 0.1, whose log entry may have a promise alone, so that one verifier judges everything.

use crate::bundle::{Bundle, Content, LogEntry, MAX_CHAIN, MediaType, VerificationMaterial};
use crate::code::Code;
use crate::envelope::{Envelope, EnvelopeError};
use crate::json::{self, JsonError, Node, encode_base64};
use crate::x509::{Certificate, CertificateError};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The signature, in base64; empty where the layer is an envelope.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The certificate, in PEM.
pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// The certificates above it, in PEM.
pub const CHAIN: &str = "dev.sigstore.cosign/chain";
/// The entry in Rekor v1 with its promise.
pub const BUNDLE: &str = "dev.sigstore.cosign/bundle";
/// The timestamp.
pub const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
/// Largest JSON and PEM of it, in bytes.
pub const MAX_LEGACY_LEN: usize = 10 << 20;
/// Largest body of a log entry, in bytes, of which only the kind is read here.
const MAX_BODY_LEN: usize = 4 << 20;

/// Why something of cosign 2 is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    /// It is no JSON of one.
    #[error("{what}: {source}")]
    Json {
        /// Which part.
        what: &'static str,
        /// What is wrong.
        source: JsonError,
    },
    /// A part is no base64.
    #[error("{what} is no base64")]
    Base64 {
        /// Which part.
        what: &'static str,
    },
    /// A certificate cannot be read.
    #[error("{what}: {source}")]
    Certificate {
        /// Which part.
        what: &'static str,
        /// What is wrong.
        source: CertificateError,
    },
    /// The envelope cannot be used.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// There is no signature.
    #[error("there is no signature")]
    NoSignature,
    /// The envelope has no or several signatures.
    #[error("the envelope has {0} signatures, exactly one is allowed")]
    SignatureCount(usize),
    /// What has to be an envelope is none.
    #[error("what is attested is no DSSE envelope")]
    NoEnvelope,
    /// The log entry has no promise, without which nobody who reads this form believes it.
    #[error("the signature has no entry in a Rekor v1 log, whose signed timestamp this form needs")]
    NoPromise,
}

impl LegacyError {
    /// `bundle.malformed`, `bundle.missing-material`, `certificate.malformed`, `signature.envelope` or `log.set-invalid`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Json { .. } | Self::Base64 { .. } => Code::BUNDLE_MALFORMED,
            Self::Certificate { source, .. } => source.code(),
            Self::Envelope(error) => error.code(),
            Self::NoSignature => Code::BUNDLE_MISSING_MATERIAL,
            Self::SignatureCount(_) | Self::NoEnvelope => Code::SIGNATURE_ENVELOPE,
            Self::NoPromise => Code::LOG_SET_INVALID,
        }
    }
}

/// A signature as cosign 2 keeps it, without what was signed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LegacySignature {
    /// The signature; empty where an envelope has it.
    pub signature: Vec<u8>,
    /// The signer's certificate, DER; nothing if it is a key's.
    pub certificate: Option<Vec<u8>>,
    /// The certificates above it, DER.
    pub chain: Vec<Vec<u8>>,
    /// The entry in the log.
    pub entry: Option<LogEntry>,
    /// The timestamp, DER.
    pub timestamp: Option<Vec<u8>>,
}

impl LegacySignature {
    /// Reads the annotations of a layer.
    ///
    /// # Errors
    /// [`LegacyError`].
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, LegacyError> {
        let text = |name: &str| annotations.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let signature = base64("the signature", text(SIGNATURE).unwrap_or_default())?;
        let certificate = text(CERTIFICATE).map(|pem| certificate("the certificate", pem)).transpose()?;
        let chain = text(CHAIN).map_or_else(|| Ok(Vec::new()), chain)?;
        let entry = text(BUNDLE).map(|document| rekor_bundle(document.as_bytes())).transpose()?;
        let timestamp = text(TIMESTAMP).map(|document| timestamp(document.as_bytes())).transpose()?.flatten();
        Ok(Self { signature, certificate, chain, entry, timestamp })
    }

    /// The bundle of a signature over a payload, or over a file.
    ///
    /// # Errors
    /// [`LegacyError::NoSignature`].
    pub fn into_signature(self) -> Result<Bundle, LegacyError> {
        if self.signature.is_empty() {
            return Err(LegacyError::NoSignature);
        }
        let content = Content::MessageSignature { digest: None, signature: self.signature.clone() };
        Ok(self.into_bundle(content))
    }

    /// The bundle of an envelope, which has its signature in it.
    ///
    /// # Errors
    /// [`LegacyError`] if it is none, or not of one signature.
    pub fn into_attestation(self, envelope: &[u8]) -> Result<Bundle, LegacyError> {
        let envelope = Envelope::from_json(envelope)?;
        match envelope.signatures.as_slice() {
            [one] if one.sig.is_empty() => Err(LegacyError::NoSignature),
            [_] => Ok(self.into_bundle(Content::Envelope(envelope))),
            several => Err(LegacyError::SignatureCount(several.len())),
        }
    }

    fn into_bundle(self, content: Content) -> Bundle {
        let material = match self.certificate {
            // A root that stands in the chain is nothing that a bundle may bring along.
            Some(leaf) => VerificationMaterial::Certificate { leaf, chain: intermediates(&self.chain) },
            None => VerificationMaterial::PublicKey { hint: String::new() },
        };
        Bundle {
            media_type: MediaType::V0_1,
            material,
            content,
            entries: self.entry.into_iter().collect(),
            timestamps: self.timestamp.into_iter().collect(),
        }
    }
}

/// Reads an old bundle of cosign (`{"base64Signature", "cert", "rekorBundle"}`).
///
/// # Errors
/// [`LegacyError`].
pub fn from_old_bundle(document: &[u8]) -> Result<Bundle, LegacyError> {
    let what = "the old bundle";
    let document = parse(what, document)?;
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    let signature = base64("base64Signature", text("base64Signature"))?;
    let pem = String::from_utf8(base64("cert", text("cert"))?).map_err(|_| LegacyError::Base64 { what: "cert" })?;
    // A key stands there as well; which one it has to be the verifier is told.
    let certificate = if pem.contains("CERTIFICATE") { Some(certificate("cert", &pem)?) } else { None };
    let entry = match document.get("rekorBundle") {
        None | Some(Value::Null) => None,
        Some(bundle) => Some(entry(bundle)?),
    };
    let material = LegacySignature { signature: Vec::new(), certificate, chain: Vec::new(), entry, timestamp: None };
    // Over an envelope the whole of it stands where the signature would.
    if signature.first() == Some(&b'{') {
        return material.into_attestation(&signature);
    }
    LegacySignature { signature, ..material }.into_signature()
}

/// Whether a document is an old bundle of cosign, by its keys.
#[must_use]
pub fn is_old_bundle(document: &[u8]) -> bool {
    json::parse(document, MAX_LEGACY_LEN).is_ok_and(|document| document.get("base64Signature").is_some())
}

/// The annotations of a layer that holds what `bundle` signs. `chain` is the certificates above the signer's, the root last.
///
/// # Errors
/// [`LegacyError::NoPromise`] if no entry of the bundle has one.
pub fn annotations(bundle: &Bundle, chain: &[Certificate]) -> Result<BTreeMap<String, String>, LegacyError> {
    let promised = |entry: &&LogEntry| entry.set.is_some();
    let entry = bundle.entries.iter().find(promised).ok_or(LegacyError::NoPromise)?;
    let mut annotations = BTreeMap::new();
    let signature = match &bundle.content {
        Content::MessageSignature { signature, .. } => encode_base64(signature),
        Content::Envelope(_) => String::new(),
    };
    annotations.insert(SIGNATURE.to_owned(), signature);
    annotations.insert(BUNDLE.to_owned(), rekor_bundle_of(entry).to_string());
    if let VerificationMaterial::Certificate { leaf, .. } = &bundle.material {
        let read = Certificate::from_der(leaf)
            .map_err(|source| LegacyError::Certificate { what: "the certificate", source })?;
        annotations.insert(CERTIFICATE.to_owned(), read.to_pem());
        annotations.insert(CHAIN.to_owned(), chain.iter().map(Certificate::to_pem).collect());
    }
    if let Some(timestamp) = bundle.timestamps.first() {
        annotations.insert(TIMESTAMP.to_owned(), timestamp_of(timestamp).to_string());
    }
    Ok(annotations)
}

/// A log entry as cosign 2 keeps it.
#[must_use]
pub fn rekor_bundle_of(entry: &LogEntry) -> Value {
    json!({
        "SignedEntryTimestamp": encode_base64(entry.set.as_deref().unwrap_or_default()),
        "Payload": {
            "body": encode_base64(entry.canonicalized_body.as_deref().unwrap_or_default()),
            "integratedTime": entry.integrated_time.unwrap_or_default(),
            "logIndex": entry.log_index,
            "logID": hex::encode(&entry.log_id),
        },
    })
}

/// A timestamp as cosign 2 keeps it.
#[must_use]
pub fn timestamp_of(timestamp: &[u8]) -> Value {
    json!({"SignedRFC3161Timestamp": encode_base64(timestamp)})
}

/// Reads `{"SignedRFC3161Timestamp": base64}`; nothing if it holds none.
///
/// # Errors
/// [`LegacyError`].
pub fn timestamp(document: &[u8]) -> Result<Option<Vec<u8>>, LegacyError> {
    let what = "the RFC 3161 timestamp";
    let document = parse(what, document)?;
    let text = document.get("SignedRFC3161Timestamp").and_then(Value::as_str).unwrap_or_default();
    let timestamp = base64(what, text)?;
    Ok((!timestamp.is_empty()).then_some(timestamp))
}

/// Reads one PEM certificate, or the base64 of one, as cosign 2 writes it to files. Returns DER.
///
/// # Errors
/// [`LegacyError`].
pub fn certificate(what: &'static str, text: &str) -> Result<Vec<u8>, LegacyError> {
    let decoded;
    let pem = if text.contains("-----BEGIN") {
        text
    } else {
        decoded = String::from_utf8(base64(what, text.trim())?).map_err(|_| LegacyError::Base64 { what })?;
        &decoded
    };
    let certificate = Certificate::from_pem(pem).map_err(|source| LegacyError::Certificate { what, source })?;
    Ok(certificate.der().to_vec())
}

/// Reads PEM certificates, at most [`MAX_CHAIN`]. Returns DER.
///
/// # Errors
/// [`LegacyError`].
pub fn chain(text: &str) -> Result<Vec<Vec<u8>>, LegacyError> {
    let what = "the certificate chain";
    let chain = Certificate::chain_from_pem(text).map_err(|source| LegacyError::Certificate { what, source })?;
    Ok(chain.iter().take(MAX_CHAIN).map(|certificate| certificate.der().to_vec()).collect())
}

/// Reads PEM certificates above a signer's; roots among them are left out. Returns DER.
///
/// # Errors
/// [`LegacyError`].
pub fn intermediates_of(text: &str) -> Result<Vec<Vec<u8>>, LegacyError> {
    chain(text).map(|chain| intermediates(&chain))
}

/// Those of a chain that are signed by another: a bundle may not bring its own root.
fn intermediates(chain: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let is_root = |der: &Vec<u8>| Certificate::from_der(der).is_ok_and(|one| one.is_self_issued());
    chain.iter().filter(|der| !is_root(der)).cloned().collect()
}

fn rekor_bundle(document: &[u8]) -> Result<LogEntry, LegacyError> {
    entry(&parse("the Rekor bundle", document)?)
}

fn entry(bundle: &Value) -> Result<LogEntry, LegacyError> {
    let what = "the Rekor bundle";
    let failed = |source| LegacyError::Json { what, source };
    let missing = |path: &str| failed(JsonError::Missing { path: path.to_owned() });
    let mismatch = |path: &str, expected| failed(JsonError::Mismatch { path: path.to_owned(), expected });
    let payload = bundle.get("Payload").ok_or_else(|| missing("Payload"))?;
    // The names are Go's, not protobuf's: they are taken as they are.
    let text = |of: &Value, name: &str| -> Result<String, LegacyError> {
        let value = of.get(name).ok_or_else(|| missing(name))?;
        value.as_str().map(ToOwned::to_owned).ok_or_else(|| mismatch(name, "a string"))
    };
    let number = |name: &str| payload.get(name).and_then(Value::as_i64).ok_or_else(|| mismatch(name, "a number"));
    let body = base64("the log entry's body", &text(payload, "body")?)?;
    let set = base64("SignedEntryTimestamp", &text(bundle, "SignedEntryTimestamp")?)?;
    let parsed = json::parse(&body, MAX_BODY_LEN).map_err(failed)?;
    let of_body = Node::root(&parsed);
    let integrated_time = number("integratedTime")?;
    Ok(LogEntry {
        log_index: u64::try_from(number("logIndex")?).map_err(|_| mismatch("logIndex", "a non-negative number"))?,
        log_id: hex::decode(text(payload, "logID")?).map_err(|_| mismatch("logID", "hexadecimal"))?,
        kind: of_body.string_field("kind").map_err(failed)?.to_owned(),
        version: of_body.string_field("apiVersion").map_err(failed)?.to_owned(),
        integrated_time: (integrated_time != 0).then_some(integrated_time),
        set: (!set.is_empty()).then_some(set),
        proof: None,
        canonicalized_body: (!body.is_empty()).then_some(body),
    })
}

fn parse(what: &'static str, document: &[u8]) -> Result<Value, LegacyError> {
    json::parse(document, MAX_LEGACY_LEN).map_err(|source| LegacyError::Json { what, source })
}

fn base64(what: &'static str, text: &str) -> Result<Vec<u8>, LegacyError> {
    json::decode_base64(text.trim()).ok_or(LegacyError::Base64 { what })
}

#[cfg(test)]
mod tests {
    use super::{BUNDLE, CERTIFICATE, LegacySignature, SIGNATURE, TIMESTAMP, from_old_bundle, is_old_bundle};
    use crate::bundle::{Content, VerificationMaterial};
    use crate::code::Code;
    use std::collections::BTreeMap;

    const REKOR: &str = concat!(
        r#"{"SignedEntryTimestamp":"AQ==","Payload":{"body":"eyJraW5kIjoiaGFzaGVkcmVrb3JkIiwiYXBpVmVyc2lvbiI6IjAuMC4xIn0=","#,
        r#""integratedTime":7,"logIndex":3,"logID":"0e"}}"#
    );

    fn annotated(pairs: &[(&str, &str)]) -> Result<LegacySignature, Code> {
        let pairs: BTreeMap<_, _> = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        LegacySignature::from_annotations(&pairs).map_err(|error| error.code())
    }

    #[test]
    fn annotations_become_a_bundle_whose_entry_has_a_promise_alone() {
        let read = annotated(&[(SIGNATURE, "Ag=="), (BUNDLE, REKOR)]).expect("read");
        let bundle = read.into_signature().expect("bundle");
        let [entry] = bundle.entries.as_slice() else { panic!("one entry") };
        assert_eq!((entry.kind.as_str(), entry.version.as_str(), entry.log_index), ("hashedrekord", "0.0.1", 3));
        assert_eq!((&entry.set, entry.integrated_time, &entry.proof), (&Some(vec![1]), Some(7), &None));
        assert_eq!(bundle.content, Content::MessageSignature { digest: None, signature: vec![2] });
        assert_eq!(bundle.material, VerificationMaterial::PublicKey { hint: String::new() });
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_not_left_out() {
        for (name, value, code) in [
            (SIGNATURE, "***", Code::BUNDLE_MALFORMED),
            (
                CERTIFICATE,
                "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
                Code::CERTIFICATE_MALFORMED,
            ),
            (BUNDLE, "{}", Code::BUNDLE_MALFORMED),
            (BUNDLE, "7", Code::BUNDLE_MALFORMED),
            (TIMESTAMP, r#"{"SignedRFC3161Timestamp":"*"}"#, Code::BUNDLE_MALFORMED),
        ] {
            assert_eq!(annotated(&[(SIGNATURE, "Ag=="), (name, value)]), Err(code), "{name} {value}");
        }
        for (from, to) in
            [(r#""0e""#, r#""xx""#), ("7", r#""7""#), (r#""logIndex":3"#, r#""logIndex":-3"#), ("eyJr", "fyJr")]
        {
            let changed = REKOR.replacen(from, to, 1);
            assert_eq!(annotated(&[(BUNDLE, &changed)]), Err(Code::BUNDLE_MALFORMED), "{changed}");
        }
    }

    #[test]
    fn nothing_signed_is_no_signature() {
        let nothing = annotated(&[(BUNDLE, REKOR)]).expect("read");
        assert_eq!(nothing.clone().into_signature().expect_err("refused").code(), Code::BUNDLE_MISSING_MATERIAL);
        let envelope = |signatures: &str| {
            let document = format!(r#"{{"payloadType":"t","payload":"AQ==","signatures":[{signatures}]}}"#);
            nothing.clone().into_attestation(document.as_bytes()).map(drop).map_err(|error| error.code())
        };
        assert_eq!(envelope(r#"{"sig":"Ag=="}"#), Ok(()));
        assert_eq!(envelope(r#"{"sig":""}"#), Err(Code::BUNDLE_MISSING_MATERIAL));
        assert_eq!(envelope(""), Err(Code::SIGNATURE_ENVELOPE));
        assert_eq!(envelope(r#"{"sig":"Ag=="},{"sig":"Ag=="}"#), Err(Code::SIGNATURE_ENVELOPE));
    }

    #[test]
    fn old_bundles_are_told_by_their_keys() {
        let old = format!(r#"{{"base64Signature":"Ag==","cert":"","rekorBundle":{REKOR}}}"#);
        assert!(is_old_bundle(old.as_bytes()) && !is_old_bundle(br#"{"mediaType":"x"}"#));
        assert_eq!(from_old_bundle(old.as_bytes()).expect("read").entries.len(), 1);
        let bare = from_old_bundle(br#"{"base64Signature":"Ag=="}"#).expect("read");
        assert!(bare.entries.is_empty());
        for (document, code) in [
            (&br#"{"base64Signature":""}"#[..], Code::BUNDLE_MISSING_MATERIAL),
            (br#"{"base64Signature":"***"}"#, Code::BUNDLE_MALFORMED),
            (br#"{"base64Signature":"Ag==","base64Signature":"Ag=="}"#, Code::BUNDLE_MALFORMED),
            (br#"{"base64Signature":"Ag==","rekorBundle":{}}"#, Code::BUNDLE_MALFORMED),
        ] {
            assert_eq!(from_old_bundle(document).expect_err("refused").code(), code);
        }
    }
}
