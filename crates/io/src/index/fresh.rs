//! The newest leaves, in memory: they become a run once there are enough of them.
//!
//! Rows come in the random order of their keys. Kept in one tree on the disk, each would change a page of its own, and
//! the larger the log the more of them; gathered here, they are written in order and never touched again.

use std::collections::BTreeSet;

use waxseal_formats::merkle::Hash;

use super::run::Row;
use super::{Batch, Key, Kind, key_of};

/// The rows of a range of leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    /// Index of the first leaf.
    pub(super) first: u64,
    /// Index behind the last leaf.
    pub(super) end: u64,
    /// Hash of the last leaf.
    pub(super) last: Hash,
    /// Where batches begin, and when they were sequenced, in milliseconds since 1970.
    pub(super) times: Vec<(u64, u64)>,
    leaves: BTreeSet<Row>,
    identities: BTreeSet<Row>,
    search: BTreeSet<Row>,
}

impl Chunk {
    /// A chunk that begins at a leaf.
    pub(super) fn at(first: u64) -> Self {
        Self { first, end: first, ..Self::default() }
    }

    /// Leaves of the chunk.
    pub(super) fn len(&self) -> u64 {
        self.end.saturating_sub(self.first)
    }

    /// The rows of a kind, sorted.
    pub(super) fn rows(&self, kind: Kind) -> &BTreeSet<Row> {
        match kind {
            Kind::Leaf => &self.leaves,
            Kind::Identity => &self.identities,
            Kind::Search => &self.search,
        }
    }

    /// Takes in the leaves of a batch from the chunk's end on, up to `max` leaves in the chunk. `None` if the batch begins
    /// behind the chunk's end, or is not whole.
    pub(super) fn push(&mut self, batch: &Batch<'_>, max: u64) -> Option<()> {
        let from = usize::try_from(self.end.checked_sub(batch.first)?).ok()?;
        let room = usize::try_from(max.checked_sub(self.len())?).ok()?;
        let to = batch.leaf_hashes.len().min(from.checked_add(room)?);
        let row = |hash: &Hash, offset: usize| Some((key_of(hash), batch.first.checked_add(offset as u64)?));
        for (offset, hash) in batch.leaf_hashes.get(from..to)?.iter().enumerate() {
            self.leaves.insert(row(hash, from.checked_add(offset)?)?);
            self.last = *hash;
        }
        if let Some(identities) = batch.identities {
            for (offset, hash) in identities.get(from..to)?.iter().enumerate() {
                self.identities.insert(row(hash, from.checked_add(offset)?)?);
            }
        }
        for (offset, key) in batch.search.iter().filter(|(offset, _)| (from..to).contains(&(*offset as usize))) {
            self.search.insert((*key, batch.first.checked_add(u64::from(*offset))?));
        }
        self.times.push((self.end, batch.time_ms));
        self.end = batch.first.checked_add(to as u64)?;
        Some(())
    }

    /// The indices of the entries with this key, ascending.
    pub(super) fn find<'a>(&'a self, kind: Kind, key: &'a Key) -> impl Iterator<Item = u64> + 'a {
        self.rows(kind).range((*key, 0)..=(*key, u64::MAX)).map(|(_, index)| *index)
    }

    /// When an entry was sequenced; `None` if it is not in the chunk.
    pub(super) fn time(&self, index: u64) -> Option<u64> {
        let behind = self.times.partition_point(|(first, _)| *first <= index);
        self.times.get(behind.checked_sub(1)?).filter(|_| index < self.end).map(|(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_where_the_chunk_is_full() {
        let hashes = [[1; 32], [2; 32], [3; 32]];
        let search = [(0, [9; 16]), (2, [9; 16])];
        let batch = Batch { first: 10, time_ms: 5, leaf_hashes: &hashes, identities: Some(&hashes), search: &search };
        let mut chunk = Chunk::at(10);
        chunk.push(&batch, 2).expect("follows");
        assert_eq!((chunk.end, chunk.last, chunk.rows(Kind::Search).len()), (12, [2; 32], 1));
        let mut next = Chunk::at(12);
        next.push(&batch, 2).expect("follows");
        assert_eq!((next.end, next.last), (13, [3; 32]));
        assert_eq!(next.find(Kind::Search, &[9; 16]).collect::<Vec<_>>(), [12]);
        assert_eq!(next.find(Kind::Identity, &[3; 16]).collect::<Vec<_>>(), [12]);
        assert_eq!([9, 10, 11, 12].map(|index| chunk.time(index)), [None, Some(5), Some(5), None]);
        assert_eq!(next.time(12), Some(5));
        // A gap is not bridged.
        assert_eq!(Chunk::at(9).push(&batch, 2), None);
    }
}
