//! The JSON that is written, field by field in the order of the protobuf messages.

use super::{Content, MediaType, VerificationMaterial};
use crate::envelope::Envelope;
use crate::json::encode_base64;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bundle<'a> {
    media_type: &'static str,
    verification_material: Material<'a>,
    #[serde(flatten)]
    content: WireContent<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Material<'a> {
    #[serde(flatten)]
    signer: Signer<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tlog_entries: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Signer<'a> {
    Certificate(RawBytes),
    X509CertificateChain { certificates: Vec<RawBytes> },
    PublicKey { hint: &'a str },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RawBytes {
    raw_bytes: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timestamps {
    rfc3161_timestamps: Vec<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timestamp {
    signed_timestamp: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum WireContent<'a> {
    #[serde(rename_all = "camelCase")]
    MessageSignature {
        #[serde(skip_serializing_if = "Option::is_none")]
        message_digest: Option<HashOutput>,
        signature: String,
    },
    DsseEnvelope(&'a Envelope),
}

#[derive(Serialize)]
struct HashOutput {
    algorithm: &'static str,
    digest: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<'a> {
    log_index: String,
    log_id: LogId,
    kind_version: KindVersion<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    integrated_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inclusion_promise: Option<Promise>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inclusion_proof: Option<Proof<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canonicalized_body: Option<String>,
}

/// [`Entry`] with its defaults spelled out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    log_index: String,
    log_id: LogId,
    kind_version: KindVersion<'a>,
    integrated_time: String,
    inclusion_promise: Option<Promise>,
    inclusion_proof: Option<Proof<'a>>,
    canonicalized_body: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: String,
}

#[derive(Serialize)]
struct KindVersion<'a> {
    kind: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Promise {
    signed_entry_timestamp: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Proof<'a> {
    log_index: String,
    root_hash: String,
    tree_size: String,
    hashes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Checkpoint<'a>>,
}

#[derive(Serialize)]
struct Checkpoint<'a> {
    envelope: &'a str,
}

fn raw_bytes(der: &[u8]) -> RawBytes {
    RawBytes { raw_bytes: encode_base64(der) }
}

impl<'a> From<&'a super::Bundle> for Bundle<'a> {
    fn from(bundle: &'a super::Bundle) -> Self {
        let signer = match &bundle.material {
            VerificationMaterial::Certificate { leaf, chain }
                if chain.is_empty() && bundle.media_type == MediaType::V0_3 =>
            {
                Signer::Certificate(raw_bytes(leaf))
            }
            VerificationMaterial::Certificate { leaf, chain } => {
                let all = std::iter::once(leaf).chain(chain);
                Signer::X509CertificateChain { certificates: all.map(|der| raw_bytes(der)).collect() }
            }
            VerificationMaterial::PublicKey { hint } => Signer::PublicKey { hint },
        };
        let timestamps = bundle.timestamps.iter();
        let timestamps: Vec<_> = timestamps.map(|token| Timestamp { signed_timestamp: encode_base64(token) }).collect();
        let content = match &bundle.content {
            Content::MessageSignature { digest, signature } => WireContent::MessageSignature {
                message_digest: digest.as_ref().map(|digest| HashOutput {
                    algorithm: digest.algorithm().protobuf_name(),
                    digest: encode_base64(digest.as_bytes()),
                }),
                signature: encode_base64(signature),
            },
            Content::Envelope(envelope) => WireContent::DsseEnvelope(envelope),
        };
        Self {
            media_type: bundle.media_type.as_str(),
            verification_material: Material {
                signer,
                tlog_entries: bundle.entries.iter().map(Entry::from).collect(),
                timestamp_verification_data: (!timestamps.is_empty())
                    .then_some(Timestamps { rfc3161_timestamps: timestamps }),
            },
            content,
        }
    }
}

impl<'a> From<&'a super::InclusionProof> for Proof<'a> {
    fn from(proof: &'a super::InclusionProof) -> Self {
        Self {
            log_index: proof.log_index.to_string(),
            root_hash: encode_base64(&proof.root_hash),
            tree_size: proof.tree_size.to_string(),
            hashes: proof.hashes.iter().map(|hash| encode_base64(hash)).collect(),
            checkpoint: proof.checkpoint.as_deref().map(|envelope| Checkpoint { envelope }),
        }
    }
}

impl<'a> From<&'a super::LogEntry> for Answer<'a> {
    fn from(entry: &'a super::LogEntry) -> Self {
        Self {
            log_index: entry.log_index.to_string(),
            log_id: LogId { key_id: encode_base64(&entry.log_id) },
            kind_version: KindVersion { kind: &entry.kind, version: &entry.version },
            integrated_time: entry.integrated_time.unwrap_or(0).to_string(),
            inclusion_promise: entry.set.as_ref().map(|set| Promise { signed_entry_timestamp: encode_base64(set) }),
            inclusion_proof: entry.proof.as_ref().map(Proof::from),
            canonicalized_body: encode_base64(entry.canonicalized_body.as_deref().unwrap_or_default()),
        }
    }
}

impl<'a> From<&'a super::LogEntry> for Entry<'a> {
    fn from(entry: &'a super::LogEntry) -> Self {
        let Answer { log_index, log_id, kind_version, inclusion_promise, inclusion_proof, .. } = Answer::from(entry);
        Self {
            log_index,
            log_id,
            kind_version,
            integrated_time: entry.integrated_time.map(|time| time.to_string()),
            inclusion_promise,
            inclusion_proof,
            canonicalized_body: entry.canonicalized_body.as_deref().map(encode_base64),
        }
    }
}
