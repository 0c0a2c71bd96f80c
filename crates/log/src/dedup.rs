//! Which of the last entries has this identity: a view over the write-ahead records, rebuilt from them.
//!
//! A repeated submission has to be answered with the original entry, before it is sequenced a second time. The window covers
//! the last [`WINDOW`] entries in 32 bytes each; older duplicates are the index's business.

use crate::{Identity, UnixMillis};

/// Entries that the window covers.
pub const WINDOW: usize = 1 << 20;

/// A table slot without an entry.
const FREE: u32 = u32::MAX;

/// Sixteen bytes of an identity: two different entries share them with a probability of 2^-88 for a full window, and only
/// someone who computes 2^64 hashes can make two of *their own* entries share them.
type Key = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Key,
    time: UnixMillis,
}

/// The earlier entry that a submission repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its index in the log.
    pub index: u64,
    /// When it was sequenced.
    pub time: UnixMillis,
}

/// The identities of the last entries of a log.
#[derive(Clone, Debug)]
pub struct Window {
    capacity: u64,
    seed: u64,
    /// Index of the first entry that was ever taken in.
    first: u64,
    /// Entries that were ever taken in.
    count: u64,
    /// The `n`-th entry, counted from 0, stands at `n % capacity`.
    ring: Vec<Slot>,
    /// Open addressing with linear probing: positions in the ring. A power of two long, at most half full.
    table: Vec<u32>,
}

impl Window {
    /// An empty window over up to `capacity` entries (1 to 2^30), of which the first will have index `first`.
    ///
    /// `seed` is random: it keeps whoever can choose identities from piling them up in one place of the table.
    pub fn new(capacity: usize, first: u64, seed: u64) -> Self {
        let capacity = capacity.clamp(1, 1 << 30) as u64;
        Self { capacity, seed, first, count: 0, ring: Vec::new(), table: vec![FREE; 16] }
    }

    /// The earlier entry with this identity, if it is among the last ones.
    pub fn find(&self, identity: &Identity) -> Option<Original> {
        let key = key(identity);
        let mut place = self.home(&key);
        while let Some(slot) = self.slot_at(place) {
            if slot.key == key {
                let position = u64::from(*self.table.get(place)?);
                return Some(Original { index: self.index_at(position)?, time: slot.time });
            }
            place = self.after(place);
        }
        None
    }

    /// Takes in the next entry; beyond the capacity it replaces the oldest one.
    ///
    /// Entries come in the order of their indices, none of them twice: [`Window::find`] did not know the identity.
    pub fn push(&mut self, identity: &Identity, time: UnixMillis) {
        let slot = Slot { key: key(identity), time };
        let position = (self.count % self.capacity) as u32;
        if self.count >= self.capacity {
            self.unlink(position);
        }
        match self.ring.get_mut(position as usize) {
            Some(old) => *old = slot,
            None => self.ring.push(slot),
        }
        self.count = self.count.saturating_add(1);
        if self.ring.len() > self.table.len() / 2 {
            self.table = vec![FREE; self.table.len().saturating_mul(2)];
            (0..self.ring.len() as u32).for_each(|position| self.link(position));
        } else {
            self.link(position);
        }
    }

    /// Entries that the window holds.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether the window holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// The index of the entry at `position`: the last one that fell there.
    fn index_at(&self, position: u64) -> Option<u64> {
        let newest = self.count.checked_sub(1)?;
        let age = newest.checked_sub(position)? % self.capacity;
        self.first.checked_add(newest.checked_sub(age)?)
    }

    fn slot_at(&self, place: usize) -> Option<&Slot> {
        let position = *self.table.get(place)?;
        if position == FREE { None } else { self.ring.get(position as usize) }
    }

    /// Where the search for a key begins.
    fn home(&self, key: &Key) -> usize {
        // One round of a keyed multiply-and-fold: the seed is secret, so places cannot be aimed at.
        let (low, high) = key.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let product =
            u128::from(word(low) ^ self.seed).wrapping_mul(u128::from(word(high) ^ self.seed.rotate_left(32) | 1));
        ((product >> 64) as u64 ^ product as u64) as usize & self.mask()
    }

    fn mask(&self) -> usize {
        self.table.len().saturating_sub(1)
    }

    fn after(&self, place: usize) -> usize {
        place.wrapping_add(1) & self.mask()
    }

    fn link(&mut self, position: u32) {
        let Some(mut place) = self.ring.get(position as usize).map(|slot| self.home(&slot.key)) else { return };
        while self.slot_at(place).is_some() {
            place = self.after(place);
        }
        if let Some(free) = self.table.get_mut(place) {
            *free = position;
        }
    }

    /// Takes `position` out of the table and closes the gap, so that no search stops early.
    fn unlink(&mut self, position: u32) {
        let Some(mut gap) = self.ring.get(position as usize).map(|slot| self.home(&slot.key)) else { return };
        while self.table.get(gap).is_some_and(|at| *at != position && *at != FREE) {
            gap = self.after(gap);
        }
        let mut place = self.after(gap);
        while let Some(home) = self.slot_at(place).map(|slot| self.home(&slot.key)) {
            // What stands here may move into the gap unless its search begins behind the gap.
            let from_home = place.wrapping_sub(home) & self.mask();
            let from_gap = place.wrapping_sub(gap) & self.mask();
            if from_home >= from_gap {
                self.table.swap(gap, place);
                gap = place;
            }
            place = self.after(place);
        }
        if let Some(free) = self.table.get_mut(gap) {
            *free = FREE;
        }
    }
}

fn key(identity: &Identity) -> Key {
    let (key, _) = identity.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    *key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn identity(n: u16) -> Identity {
        let mut identity = [0; 32];
        identity[..2].copy_from_slice(&n.to_be_bytes());
        identity
    }

    #[test]
    fn the_original_is_found_with_index_and_time_until_it_falls_out() {
        let mut window = Window::new(3, 100, 7);
        for n in 0..4u16 {
            assert_eq!(window.find(&identity(n)), None);
            window.push(&identity(n), UnixMillis(u64::from(n)));
        }
        assert_eq!(window.find(&identity(0)), None);
        assert_eq!(window.find(&identity(1)), Some(Original { index: 101, time: UnixMillis(1) }));
        assert_eq!(window.find(&identity(3)), Some(Original { index: 103, time: UnixMillis(3) }));
        assert_eq!(window.len(), 3);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(
            capacity in 1usize..40, seed: u64, first in 0u64..1000, entries in prop::collection::vec(0u16..60, 0..400)
        ) {
            let mut window = Window::new(capacity, first, seed);
            let mut list = VecDeque::new();
            let mut next = first;
            for (at, n) in entries.into_iter().enumerate() {
                let found = window.find(&identity(n));
                let expected = list.iter().find(|(m, _)| *m == n).map(|(_, original)| *original);
                prop_assert_eq!(found, expected);
                if found.is_none() {
                    let time = UnixMillis(at as u64);
                    window.push(&identity(n), time);
                    list.push_back((n, Original { index: next, time }));
                    next += 1;
                    if list.len() > capacity {
                        list.pop_front();
                    }
                }
            }
            prop_assert_eq!(window.len(), list.len());
        }
    }
}
