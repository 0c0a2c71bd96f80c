//! The write-ahead log: one record for each batch, in preallocated segment files.
//!
//! A record is everything that an acknowledged batch is: leaf hashes, and apart from them the bodies (absent when the log is
//! sealed), the signed checkpoint, rows for the index and audit views. It is written with one call, synced once, and only then
//! are the waiters answered. Tiles, entry bundles and views follow from the records and can be made again.
//!
//! ```text
//! segment   header | record | record | … | zeros          header and records begin at multiples of 512 bytes
//! record    head (160 bytes) | checkpoint note | leaf hashes | identities | rows | audit | bodies
//! head       0  "WXR1"          36  u32 note length        64  chain: digest of the record before
//!            4  u32 flags       40  u64 rows length        96  SHA-256(bodies)
//!            8  u64 sequence    48  u64 bodies length     128  digest: SHA-256(salt ‖ head[..128] ‖ note ‖ leaf hashes
//!           16  u64 time (ms)   56  u64 audit length           ‖ identities ‖ rows ‖ audit)
//!           24  u64 first index
//!           32  u32 leaves                                all integers big-endian
//! ```
//!
//! A record may have audit rows and no leaves: then its checkpoint is that of the tree as it was.
//!
//! The salt is random and stays in the segment header, so a body cannot be made to look like a record. Each record chains to
//! the one before it: replay notices a record that is missing, repeated or from elsewhere.

use waxseal_formats::crypto::digest::{sha256, sha256_concat};
use waxseal_formats::merkle::Hash;

/// Segment headers and records begin at multiples of this.
pub const ALIGN: u64 = 512;
/// Largest record, in bytes.
pub const MAX_RECORD: u64 = 48 << 20;
/// Most leaves of a record.
pub const MAX_LEAVES: u32 = 1 << 16;
/// Largest checkpoint note of a record, in bytes.
pub const MAX_NOTE: u32 = 16 << 10;

pub(crate) const MAGIC: &[u8; 4] = b"WXR1";
pub(crate) const HEAD_LEN: usize = 160;
/// Part of the head that the digest covers.
const HEAD_SIGNED: usize = 128;
const FLAG_IDENTITIES: u32 = 1;
const FLAG_BODIES: u32 = 2;

/// Why the write-ahead log cannot be used. Nothing of it is ever skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// A record is longer than the format allows.
    #[error("a batch is too large for one record")]
    TooLarge,
    /// A record does not follow the one before it.
    #[error("record {sequence} at byte {offset} does not follow the record before it")]
    Chain {
        /// Where it begins in its segment.
        offset: u64,
        /// The number it should have.
        sequence: u64,
    },
    /// A record is damaged although others stand behind it.
    #[error("record {sequence} at byte {offset} is damaged, and intact records follow it")]
    Damaged {
        /// Where it begins in its segment.
        offset: u64,
        /// The number it should have.
        sequence: u64,
    },
    /// The bodies of a record do not have the digest in its head.
    #[error("the entries of record {sequence} at byte {offset} are damaged")]
    Bodies {
        /// Where the record begins in its segment.
        offset: u64,
        /// Its number.
        sequence: u64,
    },
    /// A segment header is damaged, or of another log.
    #[error("the header of a write-ahead segment is damaged: {0}")]
    Segment(&'static str),
}

/// The parts of a record that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Number of the record, counted from 0.
    pub sequence: u64,
    /// Digest of the record before it.
    pub chain: &'a Hash,
    /// Time of the batch, in milliseconds since 1970.
    pub time_ms: u64,
    /// Index of the first leaf.
    pub first: u64,
    /// The signed checkpoint that covers the batch.
    pub note: &'a str,
    /// The leaf hashes, in order.
    pub leaf_hashes: &'a [Hash],
    /// What tells repeated submissions, one for each leaf; `None` where it is the leaf hash itself.
    pub identities: Option<&'a [Hash]>,
    /// Rows for the views, in a form of their own.
    pub rows: &'a [u8],
    /// Rows of the audit log, in a form of their own.
    pub audit: &'a [u8],
    /// The entries, one for each leaf; `None` for a sealed log.
    pub bodies: Option<&'a [Vec<u8>]>,
}

impl Parts<'_> {
    /// Writes the record, padded with zeros to a multiple of [`ALIGN`].
    pub fn encode(&self, salt: &[u8; 16]) -> Result<Vec<u8>, WalError> {
        let leaves =
            u32::try_from(self.leaf_hashes.len()).ok().filter(|n| *n <= MAX_LEAVES).ok_or(WalError::TooLarge)?;
        let note = u32::try_from(self.note.len()).ok().filter(|n| *n <= MAX_NOTE).ok_or(WalError::TooLarge)?;
        let counts = [self.identities.map(<[Hash]>::len), self.bodies.map(<[Vec<u8>]>::len)];
        if counts.into_iter().flatten().any(|count| count != self.leaf_hashes.len()) {
            return Err(WalError::TooLarge);
        }
        let mut flags = 0;
        if self.identities.is_some() {
            flags |= FLAG_IDENTITIES;
        }
        let mut bodies = Vec::new();
        if let Some(entries) = self.bodies {
            flags |= FLAG_BODIES;
            for entry in entries {
                let length = u32::try_from(entry.len()).map_err(|_| WalError::TooLarge)?;
                bodies.extend_from_slice(&length.to_be_bytes());
                bodies.extend_from_slice(entry);
            }
        }
        let identities = self.identities.unwrap_or_default().as_flattened();
        let sections = [self.note.as_bytes(), self.leaf_hashes.as_flattened(), identities, self.rows, self.audit];

        let mut record = Vec::with_capacity(HEAD_LEN + bodies.len());
        record.extend_from_slice(MAGIC);
        record.extend_from_slice(&u32::to_be_bytes(flags));
        record.extend_from_slice(&self.sequence.to_be_bytes());
        record.extend_from_slice(&self.time_ms.to_be_bytes());
        record.extend_from_slice(&self.first.to_be_bytes());
        record.extend_from_slice(&leaves.to_be_bytes());
        record.extend_from_slice(&note.to_be_bytes());
        record.extend_from_slice(&(self.rows.len() as u64).to_be_bytes());
        record.extend_from_slice(&(bodies.len() as u64).to_be_bytes());
        record.extend_from_slice(&(self.audit.len() as u64).to_be_bytes());
        record.extend_from_slice(self.chain);
        record.extend_from_slice(&sha256(&bodies));
        let [a, b, c, d, e] = sections;
        let digest = sha256_concat(&[salt, &record, a, b, c, d, e]);
        record.extend_from_slice(&digest);
        sections.iter().for_each(|section| record.extend_from_slice(section));
        record.extend_from_slice(&bodies);
        record.resize(record.len().next_multiple_of(ALIGN as usize), 0);
        if record.len() as u64 > MAX_RECORD { Err(WalError::TooLarge) } else { Ok(record) }
    }
}

/// A record that was read: its digest fits, and its bodies' too if they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of the record, counted from 0.
    pub sequence: u64,
    /// Time of the batch, in milliseconds since 1970.
    pub time_ms: u64,
    /// Index of the first leaf.
    pub first: u64,
    /// The signed checkpoint that covers the batch.
    pub note: &'a str,
    /// The leaf hashes, in order.
    pub leaf_hashes: &'a [Hash],
    /// What tells repeated submissions; `None` where it is the leaf hash itself.
    pub identities: Option<&'a [Hash]>,
    /// Rows for the views.
    pub rows: &'a [u8],
    /// Rows of the audit log.
    pub audit: &'a [u8],
    /// The bodies section; `None` if the log is sealed or the scan left bodies out.
    bodies: Option<&'a [u8]>,
    /// Digest of the record before it.
    pub chain: Hash,
    /// Digest of this record, to which the next one chains.
    pub digest: Hash,
    /// Bytes of the record in its segment, padding included.
    pub length: u64,
}

impl<'a> Record<'a> {
    /// Reads one whole record that was encoded with this salt, bodies included.
    pub fn parse(bytes: &'a [u8], salt: &[u8; 16]) -> Option<Self> {
        let head = Head::parse(bytes)?;
        let record = head.record(bytes.get(..usize::try_from(head.padded()?).ok()?)?, salt)?;
        head.bodies_are_intact(bytes).then_some(record)
    }

    /// The entries, one for each leaf hash. `None` if they are not there or do not match the number of leaves.
    pub fn bodies(&self) -> Option<Vec<&'a [u8]>> {
        let mut rest = self.bodies?;
        let mut bodies = Vec::with_capacity(self.leaf_hashes.len());
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (body, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            bodies.push(body);
            rest = tail;
        }
        (rest.is_empty() && bodies.len() == self.leaf_hashes.len()).then_some(bodies)
    }

    /// The identities of the leaves.
    pub fn identities(&self) -> &'a [Hash] {
        self.identities.unwrap_or(self.leaf_hashes)
    }
}

/// The fixed beginning of a record.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    flags: u32,
    sequence: u64,
    time_ms: u64,
    first: u64,
    leaves: usize,
    note: usize,
    rows: usize,
    audit: usize,
    bodies: usize,
    chain: Hash,
    bodies_digest: Hash,
    digest: Hash,
}

impl Head {
    /// Reads a head whose lengths are within the bounds; its digest is not checked.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..HEAD_LEN)?.strip_prefix(MAGIC)?;
        let mut u32 = || take::<4>(&mut rest).map(u32::from_be_bytes);
        let flags = u32()?;
        let mut u64 = || take::<8>(&mut rest).map(u64::from_be_bytes);
        let (sequence, time_ms, first) = (u64()?, u64()?, u64()?);
        let mut u32 = || take::<4>(&mut rest).map(u32::from_be_bytes);
        let (leaves, note) = (u32()?, u32()?);
        let mut u64 = || take::<8>(&mut rest).map(u64::from_be_bytes);
        let (rows, bodies, audit) = (u64()?, u64()?, u64()?);
        let (chain, bodies_digest, digest) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
        let short = [rows, audit, bodies].into_iter().all(|length| length <= MAX_RECORD);
        let bounded = leaves <= MAX_LEAVES && note <= MAX_NOTE && short;
        if !bounded || flags & !(FLAG_IDENTITIES | FLAG_BODIES) != 0 {
            return None;
        }
        let head = Self {
            flags,
            sequence,
            time_ms,
            first,
            leaves: leaves as usize,
            note: note as usize,
            rows: usize::try_from(rows).ok()?,
            audit: usize::try_from(audit).ok()?,
            bodies: usize::try_from(bodies).ok()?,
            chain,
            bodies_digest,
            digest,
        };
        head.padded().filter(|length| *length <= MAX_RECORD).map(|_| head)
    }

    /// Number of the record.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Digest of the record before it.
    pub(crate) fn chain(&self) -> &Hash {
        &self.chain
    }

    /// Bytes of the bodies.
    pub(crate) fn bodies(&self) -> usize {
        self.bodies
    }

    /// Bytes before the bodies.
    pub(crate) fn front(&self) -> Option<usize> {
        let hashes = if self.flags & FLAG_IDENTITIES == 0 { 32 } else { 64 };
        let sections = HEAD_LEN.checked_add(self.note)?.checked_add(self.leaves.checked_mul(hashes)?)?;
        sections.checked_add(self.rows)?.checked_add(self.audit)
    }

    /// Bytes of the record with its padding.
    pub(crate) fn padded(&self) -> Option<u64> {
        (self.front()?.checked_add(self.bodies)? as u64).checked_next_multiple_of(ALIGN)
    }

    /// The record in `bytes`, of which at least [`Head::front`] are there, if its digest fits.
    pub(crate) fn record<'a>(&self, bytes: &'a [u8], salt: &[u8; 16]) -> Option<Record<'a>> {
        let signed = bytes.get(..HEAD_SIGNED)?;
        let front = self.front()?;
        let sections = bytes.get(HEAD_LEN..front)?;
        if sha256_concat(&[salt, signed, sections]) != self.digest {
            return None;
        }
        let (note, rest) = sections.split_at_checked(self.note)?;
        let (leaf_hashes, rest) = rest.split_at_checked(self.leaves.checked_mul(32)?)?;
        let (rest, audit) = rest.split_at_checked(rest.len().checked_sub(self.audit)?)?;
        let (identities, rows) = rest.split_at_checked(rest.len().checked_sub(self.rows)?)?;
        let bodies = bytes.get(front..front.checked_add(self.bodies)?).filter(|_| self.flags & FLAG_BODIES != 0);
        Some(Record {
            sequence: self.sequence,
            time_ms: self.time_ms,
            first: self.first,
            note: std::str::from_utf8(note).ok()?,
            leaf_hashes: leaf_hashes.as_chunks::<32>().0,
            identities: (self.flags & FLAG_IDENTITIES != 0).then_some(identities.as_chunks::<32>().0),
            rows,
            audit,
            bodies,
            chain: self.chain,
            digest: self.digest,
            length: self.padded()?,
        })
    }

    /// Whether the bodies in `bytes`, the whole record, are those that were written.
    pub(crate) fn bodies_are_intact(&self, bytes: &[u8]) -> bool {
        let bodies = self.front().and_then(|front| bytes.get(front..front.checked_add(self.bodies)?));
        bodies.is_some_and(|bodies| sha256(bodies) == self.bodies_digest)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (part, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::SALT;

    fn parts<'a>(leaf_hashes: &'a [Hash], bodies: Option<&'a [Vec<u8>]>) -> Parts<'a> {
        Parts {
            sequence: 3,
            chain: &[4; 32],
            time_ms: 5,
            first: 6,
            note: "note",
            leaf_hashes,
            identities: None,
            rows: b"rows",
            audit: b"audit",
            bodies,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let (hashes, identities) = ([[1; 32], [2; 32]], [[3; 32], [4; 32]]);
        let bodies = [b"one".to_vec(), Vec::new()];
        let parts = Parts { identities: Some(&identities), ..parts(&hashes, Some(&bodies)) };
        let bytes = parts.encode(&SALT).unwrap();
        assert_eq!(bytes.len() as u64 % ALIGN, 0);
        let record = Record::parse(&bytes, &SALT).unwrap();
        assert_eq!((record.sequence, record.chain, record.time_ms, record.first), (3, [4; 32], 5, 6));
        assert_eq!((record.note, record.rows, record.audit), ("note", b"rows".as_slice(), b"audit".as_slice()));
        assert_eq!((record.leaf_hashes, record.identities()), (hashes.as_slice(), identities.as_slice()));
        assert_eq!(record.bodies().unwrap(), [b"one".as_slice(), b""]);
        assert_eq!(record.length, bytes.len() as u64);
    }

    #[test]
    fn a_sealed_record_has_no_bodies() {
        let bytes = parts(&[[1; 32]], None).encode(&SALT).unwrap();
        let record = Record::parse(&bytes, &SALT).unwrap();
        assert_eq!((record.bodies(), record.identities()), (None, [[1; 32]].as_slice()));
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let bodies = [b"one".to_vec()];
        let bytes = parts(&[[1; 32]], Some(&bodies)).encode(&SALT).unwrap();
        let used = HEAD_LEN + 4 + 32 + 4 + 5 + 4 + 3;
        for bit in 0..used * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::parse(&bad, &SALT), None, "bit {bit}");
        }
        assert_eq!(Record::parse(&bytes, &[0; 16]), None);
        for length in 0..used {
            assert_eq!(Record::parse(&bytes[..length], &SALT), None);
        }
    }

    #[test]
    fn records_beyond_the_bounds_are_not_written() {
        let too_large = |parts: Parts<'_>| assert_eq!(parts.encode(&SALT), Err(WalError::TooLarge));
        too_large(Parts { note: &"n".repeat(MAX_NOTE as usize + 1), ..parts(&[], None) });
        too_large(parts(&vec![[0; 32]; MAX_LEAVES as usize + 1], None));
        too_large(parts(&[[0; 32]], Some(&[])));
        too_large(parts(&[], Some(&[vec![0; MAX_RECORD as usize]])));
    }
}
