//! The header of a write-ahead segment: the state of the log at its beginning, so that replay can start there.
//!
//! ```text
//! "waxseal wal 1\n" | u32 header length | u64 segment length | salt (16) | key ID (32)
//! | u64 sequence | chain (32) | u64 time (ms) | u64 tree size
//! | u16 length, origin | u32 length, checkpoint note (empty for the empty tree) | tail hashes | SHA-256 of all this
//! ```

use waxseal_formats::crypto::digest::sha256;
use waxseal_formats::merkle::{EMPTY_ROOT, Hash};
use waxseal_formats::note::KeyId;

use crate::UnixMillis;
use crate::tail::Tail;
use crate::wal::{ALIGN, MAX_NOTE, WalError};

const MAGIC: &[u8; 14] = b"waxseal wal 1\n";
/// Largest segment header, in bytes: the tail of a tree has at most 8 × 255 hashes.
pub const MAX_HEADER: usize = 128 << 10;

/// The state of a log before the first record of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Bytes of the segment file.
    pub length: u64,
    /// Secret of this segment's record digests.
    pub salt: [u8; 16],
    /// Origin of the log.
    pub origin: String,
    /// Key ID of the log, which a directory must not be opened without.
    pub key_id: KeyId,
    /// Number of the first record.
    pub sequence: u64,
    /// Digest of the record before it ([`EMPTY_ROOT`] before the first one).
    pub chain: Hash,
    /// Time of the last batch.
    pub time: UnixMillis,
    /// Leaves before the first record.
    pub size: u64,
    /// Signed checkpoint of that size; empty if it is 0.
    pub note: String,
    /// Hashes of the unfinished tiles at that size.
    pub tail: Tail,
}

impl SegmentHeader {
    /// The first segment of a new log.
    pub fn first(origin: &str, key_id: KeyId, salt: [u8; 16], length: u64) -> Self {
        Self {
            length,
            salt,
            origin: origin.to_owned(),
            key_id,
            sequence: 0,
            chain: EMPTY_ROOT,
            time: UnixMillis(0),
            size: 0,
            note: String::new(),
            tail: Tail::new(),
        }
    }

    /// Writes the header, padded with zeros to a multiple of [`ALIGN`].
    pub fn encode(&self) -> Result<Vec<u8>, WalError> {
        let too_large = WalError::Segment("it is too large");
        let origin = u16::try_from(self.origin.len()).map_err(|_| too_large.clone())?;
        let note = u32::try_from(self.note.len()).ok().filter(|n| *n <= MAX_NOTE).ok_or(too_large.clone())?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&self.length.to_be_bytes());
        header.extend_from_slice(&self.salt);
        header.extend_from_slice(&self.key_id);
        header.extend_from_slice(&self.sequence.to_be_bytes());
        header.extend_from_slice(&self.chain);
        header.extend_from_slice(&self.time.0.to_be_bytes());
        header.extend_from_slice(&self.size.to_be_bytes());
        header.extend_from_slice(&origin.to_be_bytes());
        header.extend_from_slice(self.origin.as_bytes());
        header.extend_from_slice(&note.to_be_bytes());
        header.extend_from_slice(self.note.as_bytes());
        header.extend_from_slice(self.tail.unfinished().concat().as_flattened());
        let length = u32::try_from(header.len().saturating_add(32)).map_err(|_| too_large.clone())?;
        if let Some(place) = header.get_mut(MAGIC.len()..MAGIC.len() + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        let digest = sha256(&header);
        header.extend_from_slice(&digest);
        header.resize(header.len().next_multiple_of(ALIGN as usize), 0);
        if header.len() > MAX_HEADER { Err(too_large) } else { Ok(header) }
    }

    /// Reads the header at the beginning of `bytes`, the first [`MAX_HEADER`] bytes of a segment (or all of a shorter one).
    pub fn parse(bytes: &[u8]) -> Result<Self, WalError> {
        let short = || WalError::Segment("it ends too early");
        let rest = bytes.strip_prefix(MAGIC).ok_or(WalError::Segment("it does not begin with the format's name"))?;
        let (length, _) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let length = u32::from_be_bytes(*length) as usize;
        let whole = bytes.get(..length).filter(|_| length <= MAX_HEADER).ok_or_else(short)?;
        let (content, digest) = whole.split_last_chunk::<32>().ok_or_else(short)?;
        if sha256(content) != *digest {
            return Err(WalError::Segment("its checksum does not fit"));
        }
        let mut reader = Reader(content.get(MAGIC.len().saturating_add(4)..).ok_or_else(short)?);
        Self::read(&mut reader).ok_or_else(short)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let length = reader.u64()?;
        let (salt, key_id) = (reader.array()?, reader.array()?);
        let sequence = reader.u64()?;
        let chain = reader.array()?;
        let (time, size) = (reader.u64()?, reader.u64()?);
        let origin = u16::from_be_bytes(reader.array()?);
        let origin = reader.text(usize::from(origin))?;
        let note = u32::from_be_bytes(reader.array()?);
        let note = reader.text(usize::try_from(note).ok()?)?;
        let (hashes, rest) = reader.0.as_chunks::<32>();
        let tail = Tail::from_unfinished(size, hashes).filter(|_| rest.is_empty())?;
        Some(Self { length, salt, origin, key_id, sequence, chain, time: UnixMillis(time), size, note, tail })
    }

    /// Bytes of the header at the beginning of `bytes`, without its padding. `None` if there is none.
    pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
        let (length, _) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length <= MAX_HEADER)
    }

    /// Where the first record begins.
    pub fn first_record(&self) -> u64 {
        let hashes = self.tail.unfinished().iter().map(Vec::len).fold(0usize, usize::saturating_add);
        let fixed = MAGIC.len() + 4 + 8 + 16 + 32 + 8 + 32 + 8 + 8 + 2 + 4 + 32;
        let length = fixed
            .saturating_add(self.origin.len())
            .saturating_add(self.note.len())
            .saturating_add(hashes.saturating_mul(32));
        (length as u64).next_multiple_of(ALIGN)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (part, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*part)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(part.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Failure, MemoryLog, entry};
    use crate::state::StateError;
    use waxseal_formats::code::Code;

    fn log() -> MemoryLog {
        let mut log = MemoryLog::new(1 << 17);
        log.commit((0..300).map(|n| entry(&n.to_string())).collect(), 5);
        log.roll(1 << 16);
        log.commit(vec![entry("x")], 6);
        log
    }

    #[test]
    fn a_header_comes_back_whatever_the_size() {
        let mut log = MemoryLog::new(1 << 17);
        for size in [0, 1, 256, 300] {
            log.commit((log.tail.size()..size).map(|n| entry(&n.to_string())).collect(), size);
            let header = log.state.segment(1 << 16, [3; 16], &log.tail, &log.note);
            let bytes = header.encode().unwrap();
            assert_eq!(bytes.len() as u64, header.first_record());
            assert_eq!(SegmentHeader::parse(&bytes).unwrap(), header);
        }
    }

    #[test]
    fn replay_starts_at_any_segment() {
        let log = log();
        for from in [0, 1] {
            let (recovered, _) = log.recover(from).unwrap();
            assert_eq!(recovered.state.edge(), log.state.edge());
            assert_eq!(recovered.state.chain(), log.state.chain());
            let mut tail = log.tail.clone();
            tail.trim(if from == 0 { 0 } else { 300 });
            assert_eq!(recovered.tail, tail);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let log = log();
        let length = SegmentHeader::parse(&log.segments[1]).unwrap().encode().unwrap();
        let used = length.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for byte in 0..used {
            let mut bad = log.clone();
            bad.segments[1][byte] ^= 4;
            assert!(matches!(bad.recover(0).unwrap_err(), Failure::Wal(WalError::Segment(_))), "byte {byte}");
        }
        for length in [0, 14, 18, used - 1] {
            assert!(SegmentHeader::parse(&log.segments[1][..length]).is_err());
        }
    }

    #[test]
    fn a_missing_or_foreign_segment_is_an_error() {
        let mut log = log();
        log.roll(1 << 16);
        log.commit(vec![entry("y")], 7);
        let mut bad = log.clone();
        bad.segments.remove(1);
        assert_eq!(bad.recover(0).unwrap_err(), Failure::State(StateError::Segment(2)));
        let mut other = MemoryLog::new(1 << 17);
        other.commit((0..300).map(|n| entry(&format!("other {n}"))).collect(), 5);
        other.roll(1 << 16);
        let mut bad = log.clone();
        bad.segments.truncate(1);
        bad.segments.push(other.segments[1].clone());
        let error = bad.recover(0).unwrap_err();
        assert_eq!(error, Failure::State(StateError::Segment(1)));
        assert_eq!(StateError::Segment(1).code(), Code::LOG_STORE_CORRUPT);
    }
}
