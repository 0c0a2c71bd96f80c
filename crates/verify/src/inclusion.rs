//! Transparency-log entries of a bundle: about this signature, promised or included by a trusted log (Rekor v1 and v2).

use crate::signature::{Signed, SignedContent};
use crate::timestamp::CLOCK_SKEW;
use jiff::Timestamp;
use serde::Serialize;
use waxseal_formats::bundle::{InclusionProof, LogEntry, MediaType};
use waxseal_formats::checkpoint::{CheckpointError, SignedCheckpoint};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, PublicKey};
use waxseal_formats::entry::{Entry, EntryError, EntrySignature, Verifier};
use waxseal_formats::envelope::pae;
use waxseal_formats::json::encode_base64;
use waxseal_formats::merkle;
use waxseal_formats::note;
use waxseal_formats::trusted_root::TransparencyLog;
use waxseal_formats::x509::Certificate;

/// Which of the two Rekor protocols an entry follows: told by its log's checkpoint, never by `kindVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogProtocol {
    /// Rekor v1: signed entry timestamps, origins `host - tree id`.
    RekorV1,
    /// Rekor v2: tile logs, no time of their own.
    RekorV2,
}

/// What one log entry proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogEvidence {
    /// Base URL of the log in the trusted root.
    pub log: String,
    /// The log's id, in hexadecimal: several logs may share a base URL.
    pub log_id: String,
    /// The log's protocol.
    pub protocol: LogProtocol,
    /// The entry's index, over all shards of a Rekor v1 log.
    pub index: u64,
    /// When the log integrated the entry: only if a verified signed entry timestamp says so.
    pub integrated_time: Option<Timestamp>,
    /// Size of the checkpoint that includes the entry; `None` where the log only promised inclusion (bundles v0.1).
    pub tree_size: Option<u64>,
}

/// Why a log entry proves nothing about the signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InclusionError {
    /// No log entry, or one with neither proof nor promise.
    #[error("the bundle has no proof that the signature was logged")]
    ProofMissing,
    /// The log is not in the trusted root.
    #[error("the entry is from log {log_id}, which is not in the trusted root")]
    UnknownLog {
        /// The log id in base64.
        log_id: String,
    },
    /// The entry's body is of another kind than it says, or of one that is not supported.
    #[error("the log entry is not usable: {0}")]
    Kind(EntryError),
    /// The entry's body cannot be read, so it says nothing about this signature.
    #[error("the log entry cannot be read: {0}")]
    Unreadable(EntryError),
    /// The entry's kind does not belong to its log's protocol.
    #[error("a {protocol:?} log holds no entries of kind {kind} {version}")]
    KindOfProtocol {
        /// The log's protocol.
        protocol: LogProtocol,
        /// The entry's kind.
        kind: String,
        /// The kind's version.
        version: String,
    },
    /// The entry is about another signature, key or content.
    #[error("the log entry's {part} is not the one of the bundle")]
    Mismatch {
        /// The part that differs.
        part: &'static str,
    },
    /// The entry's two indices differ.
    #[error("the entry says index {entry}, its proof {proof}")]
    Index {
        /// `logIndex` of the entry.
        entry: u64,
        /// `logIndex` of the proof.
        proof: u64,
    },
    /// The signed entry timestamp does not verify.
    #[error("the signed entry timestamp of log {log} does not verify")]
    SetInvalid {
        /// Base URL of the log.
        log: String,
    },
    /// The log's key was not valid at that time.
    #[error("the key of log {log} was not valid at {time}")]
    KeyWindow {
        /// Base URL of the log.
        log: String,
        /// The entry's time.
        time: Timestamp,
    },
    /// The integrated time has not come yet.
    #[error("the entry's integrated time {time} lies in the future")]
    Future {
        /// The integrated time.
        time: Timestamp,
    },
    /// The checkpoint is malformed or not signed by the log.
    #[error("the checkpoint is not acceptable: {0}")]
    Checkpoint(CheckpointError),
    /// The checkpoint names another origin than the log's host.
    #[error("the checkpoint is of {origin:?}, the log's host is {host:?}")]
    Origin {
        /// The checkpoint's origin.
        origin: String,
        /// The host of the log's base URL.
        host: String,
    },
    /// The proof's root hash or tree size is not the checkpoint's.
    #[error("the proof's {part} is not the one of the checkpoint")]
    CheckpointRoot {
        /// `root hash` or `tree size`.
        part: &'static str,
    },
    /// The proof's hashes do not lead from the entry to the root.
    #[error("the inclusion proof does not lead from the entry to the root")]
    ProofInvalid,
}

impl InclusionError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ProofMissing => Code::LOG_PROOF_MISSING,
            Self::UnknownLog { .. } => Code::LOG_UNKNOWN,
            Self::Kind(error) => error.code(),
            Self::KindOfProtocol { .. } => Code::LOG_ENTRY_KIND,
            Self::Mismatch { .. } | Self::Unreadable(_) => Code::LOG_ENTRY_MISMATCH,
            Self::Index { .. } => Code::LOG_INDEX,
            Self::SetInvalid { .. } => Code::LOG_SET_INVALID,
            Self::KeyWindow { .. } => Code::LOG_KEY_WINDOW,
            Self::Future { .. } => Code::TIME_FUTURE,
            Self::Checkpoint(error) => error.code(),
            Self::Origin { .. } => Code::LOG_CHECKPOINT_SIGNATURE,
            Self::CheckpointRoot { .. } => Code::LOG_CHECKPOINT_ROOT,
            Self::ProofInvalid => Code::LOG_PROOF_INVALID,
        }
    }
}

/// With what the signature was made, as the log names it.
#[derive(Clone, Copy, Debug)]
pub enum SigningKey<'a> {
    /// A certificate.
    Certificate(&'a Certificate),
    /// A bare key.
    Key(&'a PublicKey),
}

/// Verifies that `entry` is about `signed` and is included in, or promised by, one of `logs`.
///
/// The checks, in order: known log; proof or promise there; the checkpoint agrees with the loose fields; kind; the body is about
/// this signature, key and content; signed entry timestamp and key window; index; inclusion; the checkpoint's signature.
/// Since bundle v0.2 a promise without a proof does not suffice (`media_type`).
///
/// # Errors
/// [`InclusionError`].
pub fn verify(
    entry: &LogEntry,
    media_type: MediaType,
    signed: Signed<'_>,
    key: SigningKey<'_>,
    logs: &[TransparencyLog],
    now: Timestamp,
) -> Result<LogEvidence, InclusionError> {
    let log = logs
        .iter()
        .find(|log| log.log_id == entry.log_id)
        .ok_or_else(|| InclusionError::UnknownLog { log_id: encode_base64(&entry.log_id) })?;
    let body = entry.canonicalized_body.as_deref().ok_or(InclusionError::ProofMissing)?;
    let checkpoint = match &entry.proof {
        Some(InclusionProof { checkpoint: Some(text), .. }) => {
            Some(SignedCheckpoint::parse(text).map_err(InclusionError::Checkpoint)?)
        }
        _ => None,
    };
    let proven = match (&entry.proof, &checkpoint) {
        (Some(proof), Some(checkpoint)) => {
            agrees(proof, checkpoint)?;
            true
        }
        (Some(proof), None) => {
            leads_to(proof, body, proof.tree_size, &proof.root_hash)?;
            false
        }
        (None, _) => false,
    };
    if !proven && (media_type != MediaType::V0_1 || entry.set.is_none()) {
        return Err(InclusionError::ProofMissing);
    }
    let protocol = match &checkpoint {
        Some(signed) if !signed.checkpoint.is_rekor_v1_origin() => LogProtocol::RekorV2,
        _ => LogProtocol::RekorV1,
    };
    let parsed = Entry::parse(&entry.kind, &entry.version, body).map_err(|error| match error {
        EntryError::Kind { .. } | EntryError::Unsupported { .. } => InclusionError::Kind(error),
        _ => InclusionError::Unreadable(error),
    })?;
    if matches!(parsed, Entry::HashedRekord002 { .. }) != (protocol == LogProtocol::RekorV2) {
        return Err(InclusionError::KindOfProtocol {
            protocol,
            kind: entry.kind.clone(),
            version: entry.version.clone(),
        });
    }
    about(&parsed, signed, key)?;
    let integrated_time = match protocol {
        LogProtocol::RekorV1 => promised(entry, body, log, now)?,
        LogProtocol::RekorV2 => None,
    };
    let tree_size = match (&entry.proof, &checkpoint) {
        (Some(proof), Some(checkpoint)) => {
            included(entry, proof, checkpoint, protocol, body, log)?;
            Some(checkpoint.checkpoint.size)
        }
        _ => None,
    };
    Ok(LogEvidence {
        log: log.base_url.clone(),
        log_id: hex::encode(&log.log_id),
        protocol,
        index: entry.log_index,
        integrated_time,
        tree_size,
    })
}

/// Compares every part of the body with what the bundle holds (CVE-2022-36056 and its kin).
fn about(entry: &Entry, signed: Signed<'_>, key: SigningKey<'_>) -> Result<(), InclusionError> {
    let mismatch = |part| Err(InclusionError::Mismatch { part });
    match (entry, signed.content) {
        (Entry::HashedRekord001 { digest, signature, public_key_pem }, SignedContent::Artifact(artifact)) => {
            if artifact.digest(digest.algorithm()) != Some(digest) {
                return mismatch("digest");
            }
            if signature != signed.signature {
                return mismatch("signature");
            }
            same_pem(public_key_pem, key)
        }
        (Entry::HashedRekord002 { digest, signature, key_details, verifier }, content) => {
            if !same_digest(digest, content) {
                return mismatch("digest");
            }
            if signature != signed.signature {
                return mismatch("signature");
            }
            let same = match (verifier, key) {
                (Verifier::Certificate(der), SigningKey::Certificate(certificate)) => der == certificate.der(),
                (Verifier::PublicKey(spki), SigningKey::Key(key)) => spki == key.spki_der(),
                _ => false,
            };
            let kind = match key {
                SigningKey::Certificate(certificate) => certificate.public_key().ok().map(PublicKey::kind),
                SigningKey::Key(key) => Some(key.kind()),
            };
            if same && kind.is_some_and(|kind| key_details.fits(kind)) { Ok(()) } else { mismatch("key") }
        }
        (Entry::Dsse001 { payload_hash, signatures, .. }, SignedContent::Envelope(envelope)) => {
            if payload_hash.as_bytes() != payload_hash.algorithm().digest(&envelope.payload).as_bytes() {
                return mismatch("payload");
            }
            same_signature(signatures, signed, key)
        }
        (Entry::Intoto002 { payload_hash, signatures, payload_type, .. }, SignedContent::Envelope(envelope)) => {
            if payload_hash.as_bytes() != payload_hash.algorithm().digest(&envelope.payload).as_bytes()
                || *payload_type != envelope.payload_type
            {
                return mismatch("payload");
            }
            same_signature(signatures, signed, key)
        }
        _ => mismatch("content"),
    }
}

/// Bodies of envelopes hold a list: ours has exactly one signature.
fn same_signature(logged: &[EntrySignature], signed: Signed<'_>, key: SigningKey<'_>) -> Result<(), InclusionError> {
    let [logged] = logged else { return Err(InclusionError::Mismatch { part: "number of signatures" }) };
    if logged.signature != signed.signature {
        return Err(InclusionError::Mismatch { part: "signature" });
    }
    same_pem(&logged.verifier_pem, key)
}

fn same_digest(digest: &Digest, content: SignedContent<'_>) -> bool {
    match content {
        SignedContent::Artifact(artifact) => artifact.digest(digest.algorithm()) == Some(digest),
        SignedContent::Envelope(envelope) => {
            digest.algorithm().digest(&pae(&envelope.payload_type, &envelope.payload)) == *digest
        }
    }
}

/// Rekor v1 bodies hold the key or certificate as PEM.
fn same_pem(pem: &[u8], key: SigningKey<'_>) -> Result<(), InclusionError> {
    let text = std::str::from_utf8(pem).unwrap_or_default();
    let same = match key {
        SigningKey::Certificate(certificate) => {
            Certificate::from_pem(text).is_ok_and(|logged| logged.der() == certificate.der())
        }
        SigningKey::Key(key) => PublicKey::from_pem(text).is_ok_and(|logged| logged == *key),
    };
    if same { Ok(()) } else { Err(InclusionError::Mismatch { part: "key" }) }
}

/// The signed entry timestamp of Rekor v1, if there is one: a signature over canonical JSON of body, time, log id and index.
///
/// One that is there has to verify, with or without a time beside it: in bundles v0.1 it may be all that proves the entry.
fn promised(
    entry: &LogEntry,
    body: &[u8],
    log: &TransparencyLog,
    now: Timestamp,
) -> Result<Option<Timestamp>, InclusionError> {
    let Some(set) = &entry.set else { return Ok(None) };
    let invalid = || InclusionError::SetInvalid { log: log.base_url.clone() };
    let seconds = entry.integrated_time.ok_or_else(invalid)?;
    let log_id = hex::encode(&entry.log_id);
    // RFC 8785: these four keys in this order, no white space; base64 and hex need no escapes.
    let payload = format!(
        r#"{{"body":"{}","integratedTime":{seconds},"logID":"{log_id}","logIndex":{}}}"#,
        encode_base64(body),
        entry.log_index
    );
    log.public_key.verify(log.public_key.default_algorithm(), payload.as_bytes(), set).map_err(|_| invalid())?;
    let time = Timestamp::from_second(seconds).map_err(|_| invalid())?;
    if time > now.checked_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX) {
        return Err(InclusionError::Future { time });
    }
    if !log.valid_for.contains(time) {
        return Err(InclusionError::KeyWindow { log: log.base_url.clone(), time });
    }
    Ok(Some(time))
}

/// The loose root hash and size have to be the signed ones.
fn agrees(proof: &InclusionProof, signed: &SignedCheckpoint) -> Result<(), InclusionError> {
    if proof.root_hash != signed.checkpoint.root {
        return Err(InclusionError::CheckpointRoot { part: "root hash" });
    }
    if proof.tree_size != signed.checkpoint.size {
        return Err(InclusionError::CheckpointRoot { part: "tree size" });
    }
    Ok(())
}

fn leads_to(proof: &InclusionProof, body: &[u8], size: u64, root: &[u8]) -> Result<(), InclusionError> {
    let root = root.try_into().map_err(|_| InclusionError::ProofInvalid)?;
    merkle::verify_inclusion(proof.log_index, size, &merkle::leaf_hash(body), &proof.hashes, root)
        .map_err(|_| InclusionError::ProofInvalid)
}

fn included(
    entry: &LogEntry,
    proof: &InclusionProof,
    signed: &SignedCheckpoint,
    protocol: LogProtocol,
    body: &[u8],
    log: &TransparencyLog,
) -> Result<(), InclusionError> {
    if protocol == LogProtocol::RekorV2 && entry.log_index != proof.log_index {
        return Err(InclusionError::Index { entry: entry.log_index, proof: proof.log_index });
    }
    let checkpoint = &signed.checkpoint;
    leads_to(proof, body, checkpoint.size, &checkpoint.root)?;
    let (name, key_id) = match protocol {
        // The name on the signature line is the origin without ` - <tree id>`; the hint is the log id's, for any kind of key.
        LogProtocol::RekorV1 => {
            let name = checkpoint.origin.rsplit_once(" - ").map_or(checkpoint.origin.as_str(), |(host, _)| host);
            (name, note::spki_key_id(log.public_key.spki_der()))
        }
        LogProtocol::RekorV2 => {
            let host = host_of(&log.base_url);
            if checkpoint.origin != host {
                return Err(InclusionError::Origin { origin: checkpoint.origin.clone(), host: host.to_owned() });
            }
            (host, note::key_id(host, &log.public_key))
        }
    };
    signed.verify(name, &key_id, &log.public_key).map_err(InclusionError::Checkpoint)
}

/// The host of a URL, without user, port and the brackets of IPv6: what a Rekor v2 log has as its origin.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[').and_then(|bracketed| bracketed.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
