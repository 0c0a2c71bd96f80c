//! The queue before the sequencer: bounded, in order of arrival, without waiting.

use std::collections::VecDeque;

use waxseal_formats::code::Code;

use crate::sequencer::NewEntry;

/// How much may wait, and how much of it makes one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries that may wait.
    pub entries: usize,
    /// Bytes of entries that may wait.
    pub bytes: usize,
    /// Entries of one batch.
    pub batch_entries: usize,
    /// Bytes of one batch (but a batch has at least one entry).
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 16_384, bytes: 32 << 20, batch_entries: 4096, batch_bytes: 8 << 20 }
    }
}

/// The queue is full: the caller should come again later. Nothing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log's queue is full")]
pub struct PoolFull;

impl PoolFull {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        Code::LOG_BUSY
    }
}

/// Entries that wait to be sequenced, each with whoever waits for the answer.
#[derive(Debug)]
pub struct Pool<W> {
    limits: Limits,
    waiting: VecDeque<(NewEntry, W)>,
    bytes: usize,
}

impl<W> Pool<W> {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self { limits, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Puts an entry at the end of the queue.
    pub fn push(&mut self, entry: NewEntry, waiter: W) -> Result<(), PoolFull> {
        let bytes = self.bytes.saturating_add(entry.len());
        if self.waiting.len() >= self.limits.entries || bytes > self.limits.bytes {
            return Err(PoolFull);
        }
        self.bytes = bytes;
        self.waiting.push_back((entry, waiter));
        Ok(())
    }

    /// Takes everything that waits, up to the size of a batch, in order of arrival.
    pub fn take(&mut self) -> Vec<(NewEntry, W)> {
        let mut bytes = 0usize;
        let count = self
            .waiting
            .iter()
            .take(self.limits.batch_entries)
            .take_while(|(entry, _)| {
                let first = bytes == 0;
                bytes = bytes.saturating_add(entry.len().max(1));
                first || bytes <= self.limits.batch_bytes
            })
            .count();
        let batch: Vec<_> = self.waiting.drain(..count).collect();
        self.bytes = batch.iter().fold(self.bytes, |left, (entry, _)| left.saturating_sub(entry.len()));
        batch
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { entries: 4, bytes: 100, batch_entries: 3, batch_bytes: 50 };

    fn entry(len: usize) -> NewEntry {
        NewEntry::leaf(vec![0; len]).unwrap()
    }

    fn taken(pool: &mut Pool<u8>) -> Vec<u8> {
        pool.take().into_iter().map(|(_, waiter)| waiter).collect()
    }

    #[test]
    fn entries_leave_in_order_and_in_batches() {
        let mut pool = Pool::new(LIMITS);
        for waiter in 0..4 {
            pool.push(entry(1), waiter).unwrap();
        }
        assert_eq!(taken(&mut pool), [0, 1, 2]);
        assert_eq!(taken(&mut pool), [3]);
        assert_eq!(taken(&mut pool), [0u8; 0]);
        assert!(pool.is_empty());
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_but_never_empty() {
        let mut pool = Pool::new(LIMITS);
        for (waiter, len) in [(0, 60), (1, 20), (2, 20)] {
            pool.push(entry(len), waiter).unwrap();
        }
        assert_eq!(taken(&mut pool), [0]);
        assert_eq!(taken(&mut pool), [1, 2]);
    }

    #[test]
    fn a_full_queue_pushes_back_and_takes_up_again() {
        let mut pool = Pool::new(LIMITS);
        for waiter in 0..4 {
            pool.push(entry(1), waiter).unwrap();
        }
        let error = pool.push(entry(1), 4).unwrap_err();
        assert_eq!(error.code(), Code::LOG_BUSY);
        pool.take();
        pool.push(entry(60), 5).unwrap();
        assert_eq!(pool.push(entry(40), 6).unwrap_err(), PoolFull);
        assert_eq!(pool.len(), 2);
        pool.take();
        pool.take();
        pool.push(entry(100), 7).unwrap();
        assert_eq!(taken(&mut pool), [7]);
    }
}
