//! Checkpoints (C2SP tlog-checkpoint): the note text in which a log commits to its size and root hash.
//!
//! ```text
//! log.example                                     origin: Rekor v1 writes `rekor.example - 2605736670972794746`
//! 255                                             tree size, decimal
//! FddjrBrVlaAnIgRgHHdugN17YskkCMlwtUaIoHUYCVc=    root hash, base64
//! Timestamp: 1689177396617352539                  extension lines, if any
//! ```
//!
//! A static-CT log signs its checkpoint as an RFC 6962 tree head: [`CtSignature`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::code::Code;
use crate::crypto::algorithm::SignatureAlgorithm;
use crate::crypto::key::PublicKey;
use crate::merkle::Hash;
use crate::note::{self, KeyId, Note, NoteError};

/// Most extension lines that are read.
pub const MAX_EXTENSIONS: usize = 16;

/// Why a checkpoint was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it was refused.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text has fewer than three lines, or does not end in a newline.
    #[error("a checkpoint has at least three lines: origin, tree size and root hash")]
    Lines,
    /// The origin is empty.
    #[error("the checkpoint's origin line is empty")]
    Origin,
    /// The size is not a decimal number without sign and leading zeros, or exceeds 2^63 − 1.
    #[error("the checkpoint's tree size is not a decimal number")]
    Size,
    /// The root hash is not the base64 of 32 bytes.
    #[error("the checkpoint's root hash is not the base64 of 32 bytes")]
    Root,
    /// An extension line is empty, or there are more than [`MAX_EXTENSIONS`].
    #[error("the checkpoint's extension lines are malformed")]
    Extension,
    /// A static-CT checkpoint has extension lines, or its signature is not a timestamp and a SHA-256 ECDSA or RSA signature.
    #[error("the checkpoint is not a static-CT one")]
    Ct,
}

impl CheckpointError {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        match self {
            Self::Note(error) => error.code(),
            _ => Code::LOG_CHECKPOINT_MALFORMED,
        }
    }
}

/// The text of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, the first line. Not empty.
    pub origin: String,
    /// Number of leaves, at most 2^63 − 1.
    pub size: u64,
    /// Root hash of the tree of that size.
    pub root: Hash,
    /// Lines after the root hash: not empty, without newlines.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: &str, size: u64, root: Hash) -> Self {
        Self { origin: origin.to_owned(), size, root, extensions: Vec::new() }
    }

    /// Parses the text of a note, exactly: size without sign and leading zeros, root hash in padded standard base64, no blank
    /// line (C2SP tlog-checkpoint, "Note text").
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Lines);
        };
        if origin.is_empty() {
            return Err(CheckpointError::Origin);
        }
        let size = parse_size(size).ok_or(CheckpointError::Size)?;
        let root = STANDARD.decode(root).ok().and_then(|r| Hash::try_from(r).ok()).ok_or(CheckpointError::Root)?;
        let extensions: Vec<String> = lines.take(MAX_EXTENSIONS + 1).map(str::to_owned).collect();
        if extensions.len() > MAX_EXTENSIONS || extensions.iter().any(String::is_empty) {
            return Err(CheckpointError::Extension);
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions })
    }

    /// The text that is signed.
    pub fn body(&self) -> String {
        let mut body = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root));
        for line in &self.extensions {
            body.push_str(line);
            body.push('\n');
        }
        body
    }

    /// Whether the origin is that of a Rekor v1 log, `… - <digits>`: this, and never `kindVersion`, tells v1 from v2.
    pub fn is_rekor_v1_origin(&self) -> bool {
        is_rekor_v1_origin(&self.origin)
    }
}

/// Whether `origin` has the form `<host> - <tree ID, decimal digits>` of Rekor v1.
pub fn is_rekor_v1_origin(origin: &str) -> bool {
    origin
        .rsplit_once(" - ")
        .is_some_and(|(_, tree_id)| !tree_id.is_empty() && tree_id.bytes().all(|b| b.is_ascii_digit()))
}

/// A decimal number without sign and leading zeros, at most 2^63 − 1 (the sizes of the protocols are signed there).
fn parse_size(text: &str) -> Option<u64> {
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if !canonical {
        return None;
    }
    text.parse::<i64>().ok().and_then(|size| u64::try_from(size).ok())
}

/// A note whose text is a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// The note with its signatures.
    pub note: Note,
    /// What its text says.
    pub checkpoint: Checkpoint,
}

impl SignedCheckpoint {
    /// Parses a note and its text; no signature is checked.
    pub fn parse(note: &str) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        Ok(Self { note, checkpoint })
    }

    /// Checks the log's signature: by `key`, under the name `name`, with the hint of `key_id` (see [`Note::verify`]).
    pub fn verify(&self, name: &str, key_id: &KeyId, key: &PublicKey) -> Result<(), CheckpointError> {
        Ok(self.note.verify(name, key_id, key)?)
    }

    /// Checks a static-CT log's signature over the tree head and returns its time in milliseconds since 1970
    /// (C2SP static-ct-api, "Checkpoints"). The origin has to be `name`; extension lines are refused: they would be unsigned.
    pub fn verify_ct(&self, name: &str, key: &PublicKey) -> Result<u64, CheckpointError> {
        if !self.checkpoint.extensions.is_empty() {
            return Err(CheckpointError::Ct);
        }
        let line = self.note.signature_by(name, &note::ct_key_id(name, &key.spki_sha256()))?;
        let signature = CtSignature::parse(&line.signature).ok_or(CheckpointError::Ct)?;
        let input = tree_head_input(signature.timestamp_ms, self.checkpoint.size, &self.checkpoint.root);
        let invalid = || NoteError::SignatureInvalid { name: name.to_owned() };
        // The text is signed only through the tree head, which has no origin: compare it here.
        if self.checkpoint.origin != name {
            return Err(invalid().into());
        }
        key.verify(signature.algorithm, &input, &signature.signature).map_err(|_| invalid())?;
        Ok(signature.timestamp_ms)
    }
}

/// The bytes of a signature line of type 0x05: u64 time ‖ DigitallySigned (C2SP static-ct-api, RFC 5246 §4.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtSignature {
    /// Time of the tree head, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// ECDSA or RSA PKCS#1 with SHA-256.
    pub algorithm: SignatureAlgorithm,
    /// The signature; ECDSA as ASN.1 DER.
    pub signature: Vec<u8>,
}

const HASH_SHA256: u8 = 4;
const SIGNATURE_RSA: u8 = 1;
const SIGNATURE_ECDSA: u8 = 3;

impl CtSignature {
    /// Parses the bytes behind the key hint; `None` unless they are exactly one such structure.
    pub fn parse(blob: &[u8]) -> Option<Self> {
        let (timestamp, rest) = blob.split_first_chunk::<8>()?;
        let ([hash, algorithm, high, low], signature) = rest.split_first_chunk::<4>()?;
        let algorithm = match (*hash, *algorithm) {
            (HASH_SHA256, SIGNATURE_ECDSA) => SignatureAlgorithm::EcdsaSha256,
            (HASH_SHA256, SIGNATURE_RSA) => SignatureAlgorithm::RsaPkcs1Sha256,
            _ => return None,
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        (signature.len() == length).then(|| Self {
            timestamp_ms: u64::from_be_bytes(*timestamp),
            algorithm,
            signature: signature.to_vec(),
        })
    }

    /// The bytes; `None` for another algorithm than the two, or a signature of more than 65,535 bytes.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let algorithm = match self.algorithm {
            SignatureAlgorithm::EcdsaSha256 => SIGNATURE_ECDSA,
            SignatureAlgorithm::RsaPkcs1Sha256 => SIGNATURE_RSA,
            _ => return None,
        };
        let length = u16::try_from(self.signature.len()).ok()?;
        let mut blob = self.timestamp_ms.to_be_bytes().to_vec();
        blob.extend_from_slice(&[HASH_SHA256, algorithm]);
        blob.extend_from_slice(&length.to_be_bytes());
        blob.extend_from_slice(&self.signature);
        Some(blob)
    }
}

/// What a CT log signs as its tree head: version v1, type tree_hash, time in milliseconds, size, root (RFC 6962 §3.5).
pub fn tree_head_input(timestamp_ms: u64, size: u64, root: &Hash) -> Vec<u8> {
    let mut input = vec![0, 1];
    input.extend_from_slice(&timestamp_ms.to_be_bytes());
    input.extend_from_slice(&size.to_be_bytes());
    input.extend_from_slice(root);
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "127.0.0.1\n255\nFddjrBrVlaAnIgRgHHdugN17YskkCMlwtUaIoHUYCVc=\n";
    /// The recorded CT log of `vectors/private-instance`.
    const CT: &str = "127.0.0.1/ctlog\n440\n8dlbtysnYHSuGSwD6+OHCDJdHfoDf7bwY3CAsTmct6Q=\n\n\
        — 127.0.0.1/ctlog t9bwpAAAAaIOHNohBAMARzBFAiB0xqEBXll49euBZ7i7iTTVrHo5D0aUfY1AXzs0Md4pVAIhAOEoYdj5paY84GRX8WSeBEKGuR5VmWK1B3LaDu6j11LP\n";
    const CT_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEleKW2SGJOnKupJrLuRtwkTvInqo9s3Z5dt+jCctZGIyLgStO2/OiK4FCx/a2QIZNYfzTj7RDenmeRcOTBHWqOg==";

    fn ct_key() -> PublicKey {
        PublicKey::from_spki_der(&STANDARD.decode(CT_KEY).unwrap()).unwrap()
    }

    #[test]
    fn a_recorded_text_is_read_and_written() {
        let checkpoint = Checkpoint::parse(BODY).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("127.0.0.1", 255));
        assert_eq!(checkpoint.body(), BODY);
        assert!(!checkpoint.is_rekor_v1_origin());
        let extended = format!("{BODY}Timestamp: 1689177396617352539\n");
        let checkpoint = Checkpoint::parse(&extended).unwrap();
        assert_eq!(checkpoint.extensions, ["Timestamp: 1689177396617352539"]);
        assert_eq!(checkpoint.body(), extended);
    }

    #[test]
    fn malformed_texts_are_refused() {
        let refused = |text: &str, expected: CheckpointError| {
            let error = Checkpoint::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text:?}");
            assert_eq!(error.code(), Code::LOG_CHECKPOINT_MALFORMED);
        };
        let root = "FddjrBrVlaAnIgRgHHdugN17YskkCMlwtUaIoHUYCVc=";
        for text in ["", "log", "log\n1\n", &format!("log\n1\n{root}")] {
            refused(text, CheckpointError::Lines);
        }
        refused(&format!("\n1\n{root}\n"), CheckpointError::Origin);
        for size in ["", "-1", "+1", "01", "00", "1 ", "0x1", "1\r", "9223372036854775808", "99999999999999999999", "١"]
        {
            refused(&format!("log\n{size}\n{root}\n"), CheckpointError::Size);
        }
        assert_eq!(Checkpoint::parse(&format!("log\n9223372036854775807\n{root}\n")).unwrap().size, i64::MAX as u64);
        for root in ["", "AAAA", &root[..43], &format!("{root}="), &format!("{root} "), "15d763ac1ad5"] {
            refused(&format!("log\n1\n{root}\n"), CheckpointError::Root);
        }
        // Trailing bits that a lax decoder drops.
        refused("log\n1\nFddjrBrVlaAnIgRgHHdugN17YskkCMlwtUaIoHUYCVd=\n", CheckpointError::Root);
        refused(&format!("log\n1\n{root}\n\n"), CheckpointError::Extension);
        refused(&format!("log\n1\n{root}\na\n\nb\n"), CheckpointError::Extension);
        refused(&format!("log\n1\n{root}\n{}", "x\n".repeat(MAX_EXTENSIONS + 1)), CheckpointError::Extension);
    }

    #[test]
    fn rekor_v1_is_told_by_its_origin() {
        assert!(is_rekor_v1_origin("rekor.sigstore.dev - 2605736670972794746"));
        for v2 in ["log2025-1.rekor.sigstore.dev", "a - ", "a - 12x", "a -12", "a - 1 2", "- 1"] {
            assert!(!is_rekor_v1_origin(v2), "{v2}");
        }
    }

    #[test]
    fn a_recorded_ct_checkpoint_verifies() {
        let signed = SignedCheckpoint::parse(CT).unwrap();
        let name = "127.0.0.1/ctlog";
        assert_eq!(signed.verify_ct(name, &ct_key()).unwrap(), 1_795_533_101_601);
        let blob = &signed.note.signatures[0].signature;
        assert_eq!(&CtSignature::parse(blob).unwrap().encode().unwrap(), blob);
    }

    #[test]
    fn ct_checkpoint_with_changed_size_origin_extension_or_signature_is_refused() {
        let refused =
            |text: &str, name: &str| SignedCheckpoint::parse(text).unwrap().verify_ct(name, &ct_key()).unwrap_err();
        let name = "127.0.0.1/ctlog";
        let invalid = CheckpointError::Note(NoteError::SignatureInvalid { name: name.into() });
        assert_eq!(invalid.code(), Code::LOG_CHECKPOINT_SIGNATURE);
        assert_eq!(refused(&CT.replace("440", "441"), name), invalid);
        assert_eq!(refused(&CT.replacen("127.0.0.1", "127.0.0.2", 1), name), invalid);
        assert_eq!(refused(CT, "127.0.0.2/ctlog").code(), Code::LOG_CHECKPOINT_SIGNATURE);
        assert_eq!(refused(&CT.replace("\n\n", "\nextension\n\n"), name), CheckpointError::Ct);
        let short = CT.replace("U9XSz\n", "U9U=\n").replace("6j11LP\n", "6j11I=\n");
        assert_eq!(refused(&short, name), CheckpointError::Ct);
        assert_eq!(CheckpointError::Ct.code(), Code::LOG_CHECKPOINT_MALFORMED);
    }

    #[test]
    fn ct_signatures_of_another_shape_are_refused() {
        let good = CtSignature { timestamp_ms: 7, algorithm: SignatureAlgorithm::EcdsaSha256, signature: vec![1, 2] };
        let blob = good.encode().unwrap();
        assert_eq!(CtSignature::parse(&blob), Some(good.clone()));
        assert_eq!(CtSignature::parse(&blob[..blob.len() - 1]), None);
        assert_eq!(CtSignature::parse(&[blob.as_slice(), &[0]].concat()), None);
        assert_eq!(CtSignature::parse(&blob[..11]), None);
        for (at, value) in [(8, 2), (8, 5), (9, 2), (9, 7)] {
            let mut bad = blob.clone();
            bad[at] = value;
            assert_eq!(CtSignature::parse(&bad), None);
        }
        assert_eq!(CtSignature { algorithm: SignatureAlgorithm::Ed25519, ..good.clone() }.encode(), None);
        assert_eq!(CtSignature { signature: vec![0; 65_536], ..good }.encode(), None);
    }
}
