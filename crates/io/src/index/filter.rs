//! Whether a run may have a key, without reading it: a Bloom filter of which a look-up touches one cache line.
//!
//! Most submissions are new, so most look-ups find nothing: they have to be told so for less than the price of a system call.

use waxseal_formats::crypto::digest::sha256;

use super::Key;

/// Bits of a block: one cache line.
const BLOCK_BITS: u64 = 512;
/// Bits for each key: one look-up in about a thousand is sent to the run in vain.
const BITS_PER_KEY: u64 = 16;

/// A set of keys that may say yes by mistake, and never no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    blocks: Vec<[u64; 8]>,
}

impl Filter {
    /// An empty filter for up to `keys` keys.
    pub(super) fn new(keys: u64) -> Self {
        let blocks = keys.saturating_mul(BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1);
        Self { blocks: vec![[0; 8]; usize::try_from(blocks).unwrap_or(1)] }
    }

    /// Adds a key.
    pub(super) fn insert(&mut self, key: &Key) {
        let (block, bits) = self.place(key);
        if let Some(block) = self.blocks.get_mut(block) {
            block.iter_mut().zip(masks(bits)).for_each(|(word, mask)| *word |= mask);
        }
    }

    /// Whether the key may have been added.
    pub(super) fn may_have(&self, key: &Key) -> bool {
        let (block, bits) = self.place(key);
        self.blocks.get(block).is_none_or(|block| block.iter().zip(masks(bits)).all(|(word, mask)| word & mask != 0))
    }

    /// Bytes that it takes in memory.
    pub(super) fn len(&self) -> usize {
        self.blocks.len().saturating_mul(64)
    }

    /// Its form in the file: the blocks and a digest, since a bit that got lost would deny a key.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.blocks.as_flattened().iter().flat_map(|word| word.to_le_bytes()).collect();
        let digest = sha256(&bytes);
        bytes.extend_from_slice(&digest);
        bytes
    }

    /// Reads what [`Filter::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, digest) = bytes.split_last_chunk::<32>()?;
        if sha256(bytes) != *digest {
            return None;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (blocks, odd) = words.as_chunks::<8>();
        (rest.is_empty() && odd.is_empty() && !blocks.is_empty()).then(|| Self { blocks: blocks.to_vec() })
    }

    /// The block of a key, and what chooses its bits there. Keys are hashes, so their own bits are random enough.
    fn place(&self, key: &Key) -> (usize, u64) {
        let (high, low) = key.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let block = (u128::from(word(high)) * self.blocks.len() as u128) >> 64;
        (block as usize, word(low))
    }
}

/// One bit in each word of a block.
fn masks(bits: u64) -> impl Iterator<Item = u64> {
    (0..8u32).map(move |word| 1 << (bits >> (6 * word) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        *sha256(&n.to_be_bytes()).first_chunk().expect("sixteen bytes")
    }

    #[test]
    fn it_never_denies_what_was_added_and_seldom_confirms_what_was_not() {
        let mut filter = Filter::new(10_000);
        (0..10_000).for_each(|n| filter.insert(&key(n)));
        assert!((0..10_000).all(|n| filter.may_have(&key(n))));
        let mistaken = (10_000..110_000).filter(|n| filter.may_have(&key(*n))).count();
        assert!(mistaken < 500, "{mistaken} of 100,000");
        assert_eq!(Filter::decode(&filter.encode()), Some(filter));
    }

    #[test]
    fn foreign_bytes_are_no_filter() {
        let mut bad = Filter::new(1).encode();
        bad[7] ^= 1;
        assert_eq!(Filter::decode(&bad), None);
        for length in [0, 1, 63, 65, 72] {
            assert_eq!(Filter::decode(&vec![0; length]), None);
        }
        assert!(!Filter::new(0).may_have(&key(1)));
    }
}
