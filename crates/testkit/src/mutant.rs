//! Changed bundles: one change to something that a signature, a hash or a comparison covers, drawn from a seed.
//!
//! What is covered by nothing (media types, hints without a meaning, unsigned attributes, the bits of base64 that mean nothing) is never
//! changed: a verifier may accept that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::ops::Range;

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A byte of the file that was signed.
    Artifact,
    /// The signature over it, or over the envelope.
    Signature,
    /// The digest that stands beside the signature.
    MessageDigest,
    /// The envelope's payload.
    Payload,
    /// The envelope's payload type.
    PayloadType,
    /// The signer's certificate.
    Certificate,
    /// The hash of the signer's key.
    KeyHint,
    /// The logged body.
    Body,
    /// One hash of the inclusion proof.
    ProofHash,
    /// The proof's root hash.
    RootHash,
    /// The proof's tree size.
    TreeSize,
    /// The index that the proof is about.
    ProofIndex,
    /// The entry's index.
    LogIndex,
    /// The log's name.
    LogId,
    /// The entry's kind or its version.
    Kind,
    /// The time in the log's promise.
    IntegratedTime,
    /// The promise's signature.
    Promise,
    /// The checkpoint's text.
    CheckpointText,
    /// The checkpoint's signature.
    CheckpointSignature,
    /// What a timestamp says.
    TimestampInfo,
    /// The hash of that, which is what is signed.
    TimestampDigest,
    /// The timestamp's signature.
    TimestampSignature,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Artifact,
        Self::Signature,
        Self::MessageDigest,
        Self::Payload,
        Self::PayloadType,
        Self::Certificate,
        Self::KeyHint,
        Self::Body,
        Self::ProofHash,
        Self::RootHash,
        Self::TreeSize,
        Self::ProofIndex,
        Self::LogIndex,
        Self::LogId,
        Self::Kind,
        Self::IntegratedTime,
        Self::Promise,
        Self::CheckpointText,
        Self::CheckpointSignature,
        Self::TimestampInfo,
        Self::TimestampDigest,
        Self::TimestampSignature,
    ];
}

/// Numbers from a seed (SplitMix64): the same ones in every run.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The numbers of a seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound.max(1) as u64).unwrap_or_default()
    }
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
const TOKEN: &str = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
/// `id-ct-TSTInfo` and `messageDigest`, as they stand in DER.
const TST_INFO: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x04";
const MESSAGE_DIGEST: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04";

/// Changes one part of a bundle or of the artifact beside it, and says how. Nothing if there is no such part, or if other parts make up
/// for it, as a second log entry does.
#[must_use]
pub fn mutate(bundle: &mut Value, artifact: &mut Vec<u8>, part: Part, draw: &mut Draw) -> Option<String> {
    let entry = |field: &str| format!("{ENTRY}/{field}");
    let count = |list: &str| bundle.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
    let entries = count("/verificationMaterial/tlogEntries");
    let tokens = count("/verificationMaterial/timestampVerificationData/rfc3161Timestamps");
    let promised = bundle.pointer(&entry("inclusionPromise")).is_some();
    match part {
        Part::Artifact if artifact.is_empty() => None,
        Part::Artifact => Some(change(artifact, draw)),
        Part::Signature => {
            let of_message = base64_at(bundle, "/messageSignature/signature", draw);
            of_message.or_else(|| base64_at(bundle, "/dsseEnvelope/signatures/0/sig", draw))
        }
        Part::MessageDigest => within(bundle, "/messageSignature/messageDigest/digest", draw),
        Part::Payload => base64_at(bundle, "/dsseEnvelope/payload", draw),
        Part::PayloadType => text_at(bundle, "/dsseEnvelope/payloadType", draw),
        Part::Certificate => {
            let alone = base64_at(bundle, "/verificationMaterial/certificate/rawBytes", draw);
            let leaf = "/verificationMaterial/x509CertificateChain/certificates/0/rawBytes";
            alone.or_else(|| base64_at(bundle, leaf, draw))
        }
        Part::KeyHint => within(bundle, "/verificationMaterial/publicKey/hint", draw),
        Part::TimestampInfo | Part::TimestampDigest | Part::TimestampSignature if tokens == 1 => {
            token(bundle, part, draw)
        }
        _ if entries != 1 => None,
        Part::Body => base64_at(bundle, &entry("canonicalizedBody"), draw),
        Part::ProofHash => {
            let hashes = bundle.pointer(&entry("inclusionProof/hashes"))?.as_array()?.len();
            let which = if hashes == 0 { return None } else { draw.below(hashes) };
            base64_at(bundle, &entry(&format!("inclusionProof/hashes/{which}")), draw)
        }
        Part::RootHash => base64_at(bundle, &entry("inclusionProof/rootHash"), draw),
        Part::TreeSize => number_at(bundle, &entry("inclusionProof/treeSize"), draw),
        Part::ProofIndex => number_at(bundle, &entry("inclusionProof/logIndex"), draw),
        Part::LogIndex => number_at(bundle, &entry("logIndex"), draw),
        Part::LogId => within(bundle, &entry("logId/keyId"), draw),
        Part::Kind => {
            let field = ["kindVersion/kind", "kindVersion/version"][draw.below(2)];
            text_at(bundle, &entry(field), draw)
        }
        // Without a promise nobody signed that time.
        Part::IntegratedTime if promised => number_at(bundle, &entry("integratedTime"), draw),
        Part::Promise => base64_at(bundle, &entry("inclusionPromise/signedEntryTimestamp"), draw),
        Part::CheckpointText | Part::CheckpointSignature => checkpoint(bundle, part, draw),
        _ => None,
    }
}

/// Changes anything at all in a JSON document, covered or not, and says where and how: for comparing readers and verifiers with each
/// other.
#[must_use]
pub fn disturb(document: &mut Value, draw: &mut Draw) -> (String, &'static str) {
    let mut places = Vec::new();
    pointers(document, String::new(), &mut places);
    loop {
        let place = &places[draw.below(places.len())];
        let (parent, name) = place.rsplit_once('/').unwrap_or_default();
        let how = match draw.below(5) {
            0 => document.pointer_mut(parent).and_then(|parent| remove(parent, name)).map(|()| "removed"),
            1 => document.pointer_mut(place).map(|value| {
                *value = Value::Null;
                "null"
            }),
            2 => document.pointer_mut(place).and_then(|value| match value {
                Value::Array(list) => {
                    list.push(list.first()?.clone());
                    Some("its first once more")
                }
                Value::String(text) => {
                    *value = text.parse::<i64>().ok()?.into();
                    Some("a number instead of text")
                }
                _ => None,
            }),
            3 => document.pointer_mut(place).and_then(|value| match value {
                Value::Object(object) => {
                    object.insert("unknown".to_owned(), 7.into()).is_none().then_some("one more field")
                }
                Value::Array(list) => {
                    list.clear();
                    Some("emptied")
                }
                Value::String(text) => {
                    text.clear();
                    Some("emptied")
                }
                _ => None,
            }),
            _ => text_at(document, place, draw).map(|_| "another character"),
        };
        if let Some(how) = how {
            return (place.clone(), how);
        }
    }
}

/// Every place in a document but its root.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    let mut below = |name: &str, value: &Value| {
        let place = format!("{at}/{name}");
        found.push(place.clone());
        pointers(value, place, found);
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(list) => list.iter().enumerate().for_each(|(place, value)| below(&place.to_string(), value)),
        _ => {}
    }
}

fn remove(parent: &mut Value, name: &str) -> Option<()> {
    match parent {
        Value::Object(object) => object.remove(name).map(drop),
        Value::Array(list) => {
            list.remove(name.parse().ok()?);
            Some(())
        }
        _ => None,
    }
}

/// Changes a byte, or takes one away, or adds one.
fn change(bytes: &mut Vec<u8>, draw: &mut Draw) -> String {
    let place = draw.below(bytes.len());
    match draw.below(8) {
        0 if bytes.len() > 1 => {
            bytes.remove(place);
            format!("without byte {place}")
        }
        1 => {
            bytes.insert(place, u8::try_from(draw.below(256)).unwrap_or_default());
            format!("with one more byte at {place}")
        }
        _ => change_in(bytes, place..place + 1, draw),
    }
}

/// Changes a byte to another one.
fn change_in(bytes: &mut [u8], range: Range<usize>, draw: &mut Draw) -> String {
    let place = range.start + draw.below(range.len());
    let by = match draw.below(2) {
        0 => 1 << draw.below(8),
        _ => u8::try_from(1 + draw.below(255)).unwrap_or(1),
    };
    bytes[place] ^= by;
    format!("byte {place} ^ {by:#04x}")
}

fn decoded(bundle: &Value, pointer: &str) -> Option<Vec<u8>> {
    STANDARD.decode(bundle.pointer(pointer)?.as_str()?).ok().filter(|bytes| !bytes.is_empty())
}

fn set(bundle: &mut Value, pointer: &str, value: impl Into<Value>) -> Option<()> {
    *bundle.pointer_mut(pointer)? = value.into();
    Some(())
}

fn base64_at(bundle: &mut Value, pointer: &str, draw: &mut Draw) -> Option<String> {
    let mut bytes = decoded(bundle, pointer)?;
    // An inserted byte may be equal to its neighbour: then the same byte was doubled, which is a change as well.
    let how = change(&mut bytes, draw);
    set(bundle, pointer, STANDARD.encode(bytes))?;
    Some(how)
}

/// As [`base64_at`], for what means something only at its own length.
fn within(bundle: &mut Value, pointer: &str, draw: &mut Draw) -> Option<String> {
    let mut bytes = decoded(bundle, pointer)?;
    let all = 0..bytes.len();
    let how = change_in(&mut bytes, all, draw);
    set(bundle, pointer, STANDARD.encode(bytes))?;
    Some(how)
}

fn text_at(bundle: &mut Value, pointer: &str, draw: &mut Draw) -> Option<String> {
    let mut bytes = bundle.pointer(pointer)?.as_str()?.as_bytes().to_vec();
    if !bytes.iter().any(u8::is_ascii) {
        return None;
    }
    let all = 0..bytes.len();
    let how = printable(&mut bytes, all, draw);
    set(bundle, pointer, String::from_utf8(bytes).ok()?)?;
    Some(how)
}

/// Changes an ASCII character to another printable one.
fn printable(bytes: &mut [u8], range: Range<usize>, draw: &mut Draw) -> String {
    loop {
        let place = range.start + draw.below(range.len());
        let new = u8::try_from(0x21 + draw.below(0x5e)).unwrap_or(b'x');
        if bytes[place].is_ascii() && bytes[place] != new {
            let was = std::mem::replace(&mut bytes[place], new);
            return format!("character {place}: {:?} is {:?}", char::from(was), char::from(new));
        }
    }
}

/// Changes a number, which protobuf's JSON writes as text.
fn number_at(bundle: &mut Value, pointer: &str, draw: &mut Draw) -> Option<String> {
    let was: i64 = bundle.pointer(pointer)?.as_str()?.parse().ok()?;
    let by = [1, -1, 2, 256, 1 << 32][draw.below(5)];
    let new = if was + by < 0 { was + 1 } else { was + by };
    set(bundle, pointer, new.to_string())?;
    Some(format!("{was} is {new}"))
}

fn checkpoint(bundle: &mut Value, part: Part, draw: &mut Draw) -> Option<String> {
    let pointer = format!("{ENTRY}/inclusionProof/checkpoint/envelope");
    let envelope = bundle.pointer(&pointer)?.as_str()?.to_owned();
    let (text, signatures) = envelope.split_once("\n\n")?;
    let (changed, how) = if part == Part::CheckpointText {
        let mut bytes = text.as_bytes().to_vec();
        let all = 0..bytes.len();
        let how = printable(&mut bytes, all, draw);
        (format!("{}\n\n{signatures}", String::from_utf8(bytes).ok()?), how)
    } else {
        // With witnesses there are several, and one of them may be missing.
        let line = signatures.strip_suffix('\n').filter(|line| !line.contains('\n'))?;
        let (name, signature) = line.rsplit_once(' ')?;
        let mut bytes = STANDARD.decode(signature).ok()?;
        let how = change(&mut bytes, draw);
        (format!("{text}\n\n{name} {}\n", STANDARD.encode(bytes)), how)
    };
    set(bundle, &pointer, changed)?;
    Some(how)
}

fn token(bundle: &mut Value, part: Part, draw: &mut Draw) -> Option<String> {
    let mut bytes = decoded(bundle, TOKEN)?;
    let behind = |found: &[u8]| {
        let place = bytes.windows(found.len()).position(|window| window == found)?;
        Some(place + found.len())
    };
    let range = match part {
        // [0] { OCTET STRING { TSTInfo } } follows the name.
        Part::TimestampInfo => {
            let (_, explicit) = element(&bytes, behind(TST_INFO)?)?;
            element(&bytes, explicit.start)?.1
        }
        // SET { OCTET STRING { digest } } follows the name.
        Part::TimestampDigest => {
            let (_, values) = element(&bytes, behind(MESSAGE_DIGEST)?)?;
            element(&bytes, values.start)?.1
        }
        // The signature is what stands last, where nothing unsigned follows it.
        _ => bytes.len() - 16..bytes.len(),
    };
    let how = change_in(&mut bytes, range, draw);
    set(bundle, TOKEN, STANDARD.encode(bytes))?;
    Some(how)
}

/// The tag and the content of the DER element at `start`.
fn element(der: &[u8], start: usize) -> Option<(u8, Range<usize>)> {
    let (tag, first) = (*der.get(start)?, usize::from(*der.get(start + 1)?));
    let (len, content) = match first {
        0..0x80 => (first, start + 2),
        _ => {
            let digits = der.get(start + 2..start + 2 + (first - 0x80))?;
            (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), start + 2 + digits.len())
        }
    };
    Some((tag, content..content + len))
}

#[cfg(test)]
mod tests {
    use super::{Draw, Part, mutate};
    use serde_json::json;

    #[test]
    fn a_seed_gives_the_same_changes_and_another_gives_others() {
        let made = |seed| {
            let (mut bundle, mut artifact) =
                (json!({"messageSignature": {"signature": "AAAAAAAAAAAAAAAA"}}), vec![7; 99]);
            let mut draw = Draw::seeded(seed);
            let said: Vec<_> =
                Part::ALL.iter().filter_map(|part| mutate(&mut bundle, &mut artifact, *part, &mut draw)).collect();
            (said, bundle.to_string(), artifact)
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        assert_eq!(made(1).0.len(), 2, "only what is there is changed");
    }

    #[test]
    fn anything_may_be_disturbed_and_something_always_is() {
        let document = json!({"a": "7", "b": ["x", null], "c": {"d": "text"}});
        let mut draw = Draw::seeded(4);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut disturbed = document.clone();
            let (place, how) = super::disturb(&mut disturbed, &mut draw);
            seen.insert(how);
            assert!(document.pointer(&place).is_some(), "{place}");
            assert!(disturbed != document || how == "null", "{place} {how}");
        }
        assert_eq!(seen.len(), 7, "{seen:?}");
    }

    #[test]
    fn what_is_drawn_is_below_its_bound() {
        let mut draw = Draw::seeded(3);
        let drawn: Vec<_> = (0..200).map(|_| draw.below(5)).collect();
        assert!((0..5).all(|number| drawn.contains(&number)) && drawn.iter().all(|number| *number < 5));
    }
}
