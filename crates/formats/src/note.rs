//! Signed notes (C2SP signed-note): a text, a blank line, and lines of signatures over the text.
//!
//! ```text
//! log.example            ┐
//! 255                    │ text, signed up to and including its last newline
//! FddjrBrVlaAnIg…CVc=    ┘
//!                          blank line
//! — log.example EDyft…XQI= signature: em dash, key name, base64(4-byte key hint ‖ signature)
//! ```
//!
//! The key hint is the beginning of the *key ID*, for which there are four rules: [`ed25519_key_id`] and [`rsa_key_id`] bind
//! the name, [`spki_key_id`] (ECDSA, and every key of Rekor v1) does not, and [`ct_key_id`] is the static-CT signature type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::code::Code;
use crate::crypto::digest::{sha256, sha256_concat};
use crate::crypto::key::{KeyKind, PublicKey};

/// Largest note that is read, in bytes: a checkpoint with [`MAX_SIGNATURES`] post-quantum cosignatures fits.
pub const MAX_NOTE: usize = 256 * 1024;
/// Most signature lines that are read.
pub const MAX_SIGNATURES: usize = 64;
/// Longest key name, in bytes.
pub const MAX_NAME: usize = 1024;

const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// A key ID; the first four bytes are the key hint of a signature line, Rekor v2's `logId` has all of them.
pub type KeyId = [u8; 32];
/// The first four bytes of a [`KeyId`], as they stand in a signature line.
pub type KeyHint = [u8; 4];

/// The key ID of an Ed25519 key: SHA-256(`name` ‖ 0x0A ‖ 0x01 ‖ key) (C2SP signed-note).
pub fn ed25519_key_id(name: &str, key: &[u8; 32]) -> KeyId {
    sha256_concat(&[name.as_bytes(), b"\n\x01", key])
}

/// The key ID of an ECDSA key, and of any key of a Rekor v1 log: SHA-256 of its SubjectPublicKeyInfo. The name is not bound.
pub fn spki_key_id(spki_der: &[u8]) -> KeyId {
    sha256(spki_der)
}

/// The key ID that sigstore gives an RSA key: SHA-256(`name` ‖ 0x0A ‖ 0xFF ‖ "PKIX-RSA-PKCS#1v1.5" ‖ SubjectPublicKeyInfo).
pub fn rsa_key_id(name: &str, spki_der: &[u8]) -> KeyId {
    sha256_concat(&[name.as_bytes(), b"\n\xffPKIX-RSA-PKCS#1v1.5", spki_der])
}

/// The key ID of a CT log's checkpoint signature: SHA-256(`name` ‖ 0x0A ‖ 0x05 ‖ log ID) (C2SP static-ct-api).
pub fn ct_key_id(name: &str, log_id: &[u8; 32]) -> KeyId {
    sha256_concat(&[name.as_bytes(), b"\n\x05", log_id])
}

/// The key ID of a tile log with this key (Rekor v2): by the name for Ed25519 and RSA, by the key alone for ECDSA.
pub fn key_id(name: &str, key: &PublicKey) -> KeyId {
    match (key.ed25519_raw(), key.kind()) {
        (Some(raw), _) => ed25519_key_id(name, raw),
        (None, KeyKind::Rsa { .. }) => rsa_key_id(name, key.spki_der()),
        (None, _) => spki_key_id(key.spki_der()),
    }
}

/// The beginning of `id` that stands in a signature line.
pub fn key_hint(id: &KeyId) -> KeyHint {
    let [a, b, c, d, ..] = *id;
    [a, b, c, d]
}

/// Why a note was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The note is larger than [`MAX_NOTE`].
    #[error("the note has {0} bytes, more than {MAX_NOTE}")]
    TooLarge(usize),
    /// The note has more than [`MAX_SIGNATURES`] signature lines.
    #[error("the note has more than {MAX_SIGNATURES} signature lines")]
    TooManySignatures,
    /// The text has a control character, does not end in a newline, or no blank line follows it.
    #[error("the note is not a text, a blank line and signature lines")]
    Text,
    /// A signature line does not have the form `— name base64`.
    #[error("signature line {0} of the note is malformed")]
    SignatureLine(usize),
    /// No signature line follows the text.
    #[error("the note has no signature")]
    Unsigned,
    /// No signature line has the key's name and hint.
    #[error("the note has no signature by {name}, key hint {}", hex::encode(hint))]
    NoSignatureBy {
        /// Name that was looked for.
        name: String,
        /// Key hint that was looked for.
        hint: KeyHint,
    },
    /// A signature line has the key's name and hint, but its signature does not verify.
    #[error("the signature of {name} on the note is invalid")]
    SignatureInvalid {
        /// Name on the signature line.
        name: String,
    },
}

impl NoteError {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        match self {
            Self::TooLarge(_) | Self::TooManySignatures | Self::Text | Self::SignatureLine(_) => {
                Code::LOG_CHECKPOINT_MALFORMED
            }
            Self::Unsigned | Self::NoSignatureBy { .. } | Self::SignatureInvalid { .. } => {
                Code::LOG_CHECKPOINT_SIGNATURE
            }
        }
    }
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Key name: not empty, without white space and `+`.
    pub name: String,
    /// Beginning of the key ID.
    pub key_hint: KeyHint,
    /// The signature, its form depending on the key; not empty.
    pub signature: Vec<u8>,
}

/// A signed note. Parsing checks no signature: [`Note::verify`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text that is signed, with its last newline.
    pub text: String,
    /// The signature lines in the order in which they stand.
    pub signatures: Vec<NoteSignature>,
}

impl Note {
    /// Parses a note of at most [`MAX_NOTE`] bytes and [`MAX_SIGNATURES`] signature lines (C2SP signed-note, "Format").
    ///
    /// The last blank line separates text and signatures; the text has no control characters but newlines.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::TooLarge(note.len()));
        }
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::Text);
        }
        let (head, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Text)?;
        let text = format!("{head}\n");
        if lines.is_empty() {
            return Err(NoteError::Unsigned);
        }
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Text)?;
        let mut signatures = Vec::new();
        for (number, line) in (1..).zip(lines.split('\n')) {
            if number > MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::SignatureLine(number))?);
        }
        Ok(Self { text, signatures })
    }

    /// As [`Note::parse`], from bytes that need not be UTF-8.
    pub fn from_bytes(note: &[u8]) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::TooLarge(note.len()));
        }
        Self::parse(std::str::from_utf8(note).map_err(|_| NoteError::Text)?)
    }

    /// The first signature line with this name and key hint: later ones with the same pair are ignored, as by other verifiers.
    pub fn signature_by(&self, name: &str, key_id: &KeyId) -> Result<&NoteSignature, NoteError> {
        let hint = key_hint(key_id);
        self.signatures
            .iter()
            .find(|s| s.name == name && s.key_hint == hint)
            .ok_or_else(|| NoteError::NoSignatureBy { name: name.to_owned(), hint })
    }

    /// Checks that `key` signed the text, under the name `name` and with the hint of `key_id` (one of this module's rules).
    ///
    /// The signature is over the text itself: not for [`ct_key_id`], whose signatures are over a tree head.
    pub fn verify(&self, name: &str, key_id: &KeyId, key: &PublicKey) -> Result<(), NoteError> {
        let line = self.signature_by(name, key_id)?;
        key.verify(key.default_algorithm(), self.text.as_bytes(), &line.signature)
            .map_err(|_| NoteError::SignatureInvalid { name: name.to_owned() })
    }

    /// The note as text, signature lines included.
    pub fn format(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            note.push_str(&signature.format());
        }
        note
    }
}

impl NoteSignature {
    /// A signature line by the key with this name and ID.
    pub fn new(name: &str, key_id: &KeyId, signature: Vec<u8>) -> Self {
        Self { name: name.to_owned(), key_hint: key_hint(key_id), signature }
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        if !is_key_name(name) {
            return None;
        }
        let blob = STANDARD.decode(encoded).ok()?;
        let (hint, signature) = blob.split_first_chunk::<4>()?;
        (!signature.is_empty()).then(|| Self { name: name.to_owned(), key_hint: *hint, signature: signature.to_vec() })
    }

    /// The line, with its newline.
    pub fn format(&self) -> String {
        let blob = [self.key_hint.as_slice(), &self.signature].concat();
        format!("{SIGNATURE_PREFIX}{} {}\n", self.name, STANDARD.encode(blob))
    }
}

/// Whether `name` may stand in a signature line: not empty, at most [`MAX_NAME`] bytes, without white space and `+`.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

#[cfg(test)]
mod tests {
    use super::*;

    // server-protocols.md, appendix B and §4.5.
    const KEY: [u8; 32] = {
        let mut key = [0; 32];
        let mut i = 0;
        while i < 32 {
            key[i] = i as u8;
            i += 1;
        }
        key
    };

    /// The recorded Rekor v2 log of `vectors/private-instance`.
    const SPKI: &str = "MCowBQYDK2VwAyEASNsDFgy/xJWWaDSPcU6p3BaZArGpX+2yqEchEwVx3CI=";
    const CHECKPOINT: &str = "127.0.0.1\n255\nFddjrBrVlaAnIgRgHHdugN17YskkCMlwtUaIoHUYCVc=\n\n\
        — 127.0.0.1 EDyftQUcHGuLpyemAMFLAb1VNQc+4eiyfQho74Hz7h57aefsLRELKoI5sqLQHtmvh1aAhVQfY6cUsX3EbeYsTBPmXQI=\n";

    fn key() -> PublicKey {
        PublicKey::from_spki_der(&STANDARD.decode(SPKI).unwrap()).unwrap()
    }

    fn refused(note: &str) -> NoteError {
        let error = Note::parse(note).unwrap_err();
        assert_eq!(error.code(), Code::LOG_CHECKPOINT_MALFORMED, "{error}");
        error
    }

    #[test]
    fn key_ids_match_published_values() {
        let expected = "5d23591edd0b8273349efd4f5c999993f0be211c4da15cdb007d6c09b7cbdbb1";
        assert_eq!(hex::encode(ed25519_key_id("log.example", &KEY)), expected);
        let public = STANDARD.decode("MCowBQYDK2VwAyEAt8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=").unwrap();
        let id = key_id("log2025-1.rekor.sigstore.dev", &PublicKey::from_spki_der(&public).unwrap());
        assert_eq!(STANDARD.encode(id), "zxGZFVvd0FEmjR8WrFwMdcAJ9vtaY/QXf44Y1wUeP6A=");
        assert_eq!(STANDARD.encode(key_id("127.0.0.1", &key())), "EDyftV6cK2Pi7GT6hTUX+Nwtucn0Tkvp+59HFc0EYrY=");
    }

    #[test]
    fn a_recorded_checkpoint_is_read_verified_and_written() {
        let note = Note::parse(CHECKPOINT).unwrap();
        assert_eq!(note.text, "127.0.0.1\n255\nFddjrBrVlaAnIgRgHHdugN17YskkCMlwtUaIoHUYCVc=\n");
        assert_eq!(note.format(), CHECKPOINT);
        let key = key();
        note.verify("127.0.0.1", &key_id("127.0.0.1", &key), &key).unwrap();
        assert_eq!(Note::from_bytes(CHECKPOINT.as_bytes()).unwrap(), note);
    }

    #[test]
    fn signature_of_another_key_name_or_text_is_refused() {
        let key = key();
        let id = key_id("127.0.0.1", &key);
        let code = |note: &str, name: &str, id: &KeyId| {
            let error = Note::parse(note).unwrap().verify(name, id, &key).unwrap_err();
            assert_eq!(error.code(), Code::LOG_CHECKPOINT_SIGNATURE);
            error
        };
        let nobody = |name: &str, id| NoteError::NoSignatureBy { name: name.into(), hint: key_hint(id) };
        assert_eq!(code(CHECKPOINT, "localhost", &id), nobody("localhost", &id));
        let other = ed25519_key_id("127.0.0.1", &KEY);
        assert_eq!(code(CHECKPOINT, "127.0.0.1", &other), nobody("127.0.0.1", &other));
        let invalid = NoteError::SignatureInvalid { name: "127.0.0.1".into() };
        assert_eq!(code(&CHECKPOINT.replace("255", "256"), "127.0.0.1", &id), invalid);
        assert_eq!(code(&CHECKPOINT.replacen("127.0.0.1", "127.0.0.2", 1), "127.0.0.1", &id), invalid);
        // A second line cannot repair the first one of the same name and hint.
        let (text, line) = CHECKPOINT.split_once("\n\n").unwrap();
        let twice = format!("{text}\n\n{}{line}", line.replace("TBPmXQI=", "TBPmXQA="));
        assert_eq!(code(&twice, "127.0.0.1", &id), invalid);
        assert!(Note::parse(&format!("{CHECKPOINT}{line}")).unwrap().verify("127.0.0.1", &id, &key).is_ok());
    }

    #[test]
    fn note_without_a_signature_is_refused() {
        let error = Note::parse("log\n1\nroot\n\n").unwrap_err();
        assert_eq!((&error, error.code()), (&NoteError::Unsigned, Code::LOG_CHECKPOINT_SIGNATURE));
    }

    #[test]
    fn malformed_notes_are_refused() {
        for text in
            ["", "log\n", "log\n1\n", "log\n— log AAAAAAA=\n", "log\n\n— log AAAAAAA=", "lo\tg\n\n— log AAAAAAA=\n"]
        {
            assert_eq!(refused(text), NoteError::Text, "{text:?}");
        }
        assert_eq!(Note::from_bytes(b"log\xff\n\n").unwrap_err(), NoteError::Text);
        for line in [
            "- log AAAAAAA=",
            "—log AAAAAAA=",
            "— log",
            "—  AAAAAAA=",
            "— log AAAAAAA",
            "— log AAAAAAA= ",
            "— log AAAA-AA=",
            "— log AAAAAA==",
            "— log AAAAAB==",
            "— lo+g AAAAAAA=",
            "— lo\u{a0}g AAAAAAA=",
        ] {
            let error = refused(&format!("log\n\n— log AAAAAAA=\n{line}\n— log AAAAAAA=\n"));
            assert_eq!(error, NoteError::SignatureLine(2), "{line:?}");
        }
    }

    #[test]
    fn endless_notes_are_refused() {
        let lines = "— log AAAAAAA=\n".repeat(MAX_SIGNATURES);
        assert_eq!(Note::parse(&format!("log\n\n{lines}")).unwrap().signatures.len(), MAX_SIGNATURES);
        assert_eq!(refused(&format!("log\n\n{lines}— log AAAAAAA=\n")), NoteError::TooManySignatures);
        assert_eq!(refused(&"x".repeat(MAX_NOTE + 1)), NoteError::TooLarge(MAX_NOTE + 1));
        assert_eq!(Note::from_bytes(&vec![255; MAX_NOTE + 1]).unwrap_err(), NoteError::TooLarge(MAX_NOTE + 1));
        let name = "n".repeat(MAX_NAME + 1);
        assert_eq!(refused(&format!("log\n\n— {name} AAAAAAA=\n")), NoteError::SignatureLine(1));
    }
}
