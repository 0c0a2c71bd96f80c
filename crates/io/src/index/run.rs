//! A run: the rows of one kind for a range of leaves, sorted and cut into parts by the first bits of their keys.
//!
//! A look-up reads one part of a run. Parts carry a digest, so that a damaged file is noticed and not believed.
//!
//! ```text
//! part   row | row | … | digest (16)      sorted by key, then by index
//! row    key (16) | index less the run's first (4, big-endian)
//! ```

use waxseal_formats::crypto::digest::sha256_concat;

use super::{Key, Kind};

/// A key and the index of an entry that has it.
pub(super) type Row = (Key, u64);

/// Bytes of a row.
const ROW: usize = 20;
const DIGEST: usize = 16;
/// Rows of a part, about: four kilobytes.
const ROWS_PER_PART: u64 = 256;
/// A run has at most two to the power of this many parts.
pub(super) const MAX_BITS: u8 = 16;

/// Which part of which run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    /// Index of the run's first leaf.
    pub(super) first: u64,
    /// Bits of a key that choose the part.
    pub(super) bits: u8,
    pub(super) part: u64,
}

impl Place {
    /// Writes the rows, which are sorted. `None` if one does not belong to the run.
    pub(super) fn encode(&self, rows: &[Row]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(rows.len().saturating_mul(ROW).saturating_add(DIGEST));
        for (key, index) in rows {
            let offset = u32::try_from(index.checked_sub(self.first)?).ok()?;
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        let digest = self.digest(&bytes);
        bytes.extend_from_slice(&digest);
        Some(bytes)
    }

    /// All rows; `None` if the part is damaged.
    pub(super) fn decode(&self, part: &[u8]) -> Option<Vec<Row>> {
        self.rows(part)?.iter().map(|row| self.row(row)).collect()
    }

    /// The indices of the entries with this key, ascending; `None` if the part is damaged.
    pub(super) fn find(&self, part: &[u8], key: &Key) -> Option<Vec<u64>> {
        let rows = self.rows(part)?;
        let start = rows.partition_point(|row| row.as_slice() < key.as_slice());
        let same = rows.iter().skip(start).take_while(|row| row.starts_with(key));
        same.map(|row| self.row(row).map(|(_, index)| index)).collect()
    }

    fn rows<'a>(&self, part: &'a [u8]) -> Option<&'a [[u8; ROW]]> {
        let (bytes, digest) = part.split_last_chunk::<DIGEST>()?;
        let (rows, rest) = bytes.as_chunks::<ROW>();
        (rest.is_empty() && self.digest(bytes) == *digest).then_some(rows)
    }

    fn row(&self, row: &[u8; ROW]) -> Option<Row> {
        let (key, offset) = row.split_first_chunk::<16>()?;
        let offset = u32::from_be_bytes(*offset.first_chunk()?);
        Some((*key, self.first.checked_add(u64::from(offset))?))
    }

    /// A part of another run, or another part of this one, has another digest even with the same rows.
    fn digest(&self, rows: &[u8]) -> [u8; DIGEST] {
        let place = [u64::from(self.kind as u8), self.first, u64::from(self.bits), self.part].map(u64::to_be_bytes);
        let digest = sha256_concat(&[place.as_flattened(), rows]);
        digest.first_chunk().copied().unwrap_or_default()
    }
}

/// How many bits of a key choose the part in a run of so many rows.
pub(super) fn bits(rows: u64) -> u8 {
    let parts = rows / ROWS_PER_PART;
    parts.checked_ilog2().map_or(0, |bits| MAX_BITS.min(bits as u8))
}

/// The part of a run that has the key.
pub(super) fn part(key: &Key, bits: u8) -> u64 {
    let [a, b, ..] = *key;
    u64::from(u16::from_be_bytes([a, b])) >> (16 - u32::from(bits.min(MAX_BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { kind: Kind::Search, first: 1000, bits: 3, part: 5 };

    fn rows() -> Vec<Row> {
        vec![([1; 16], 1000), ([2; 16], 1001), ([2; 16], 1007), ([3; 16], 1002)]
    }

    #[test]
    fn rows_are_found_by_their_key() {
        let part = PLACE.encode(&rows()).expect("encoded");
        assert_eq!(PLACE.decode(&part), Some(rows()));
        assert_eq!(PLACE.find(&part, &[2; 16]), Some(vec![1001, 1007]));
        for absent in [[0; 16], [4; 16]] {
            assert_eq!(PLACE.find(&part, &absent), Some(Vec::new()));
        }
        assert_eq!(PLACE.encode(&[([1; 16], 999)]), None);
        assert_eq!(PLACE.encode(&[([1; 16], 1000 + (1 << 32))]), None);
    }

    #[test]
    fn every_flipped_bit_and_every_other_place_is_noticed() {
        let part = PLACE.encode(&rows()).expect("encoded");
        for bit in 0..part.len() * 8 {
            let mut bad = part.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(PLACE.find(&bad, &[2; 16]), None, "bit {bit}");
        }
        for place in [
            Place { kind: Kind::Leaf, ..PLACE },
            Place { first: 0, ..PLACE },
            Place { bits: 4, ..PLACE },
            Place { part: 6, ..PLACE },
        ] {
            assert_eq!(place.decode(&part), None);
        }
        for length in 0..part.len() {
            assert_eq!(PLACE.decode(&part[..length]), None);
        }
    }

    #[test]
    fn parts_follow_the_order_of_the_keys() {
        assert_eq!([0, 255, 512, 1 << 16, u64::MAX].map(bits), [0, 0, 1, 8, 16]);
        let key = |byte: u8| [byte; 16];
        assert_eq!([0x00, 0x7f, 0x80, 0xff].map(|byte| part(&key(byte), 1)), [0, 0, 1, 1]);
        assert_eq!([part(&key(0xff), 0), part(&key(0xff), 8), part(&key(0xff), 16)], [0, 255, 65_535]);
    }
}
