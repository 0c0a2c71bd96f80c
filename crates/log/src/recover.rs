//! Recovery: the records of the write-ahead segments, applied in order, are the log.

use std::sync::Arc;

use waxseal_formats::checkpoint::Checkpoint;

use crate::dedup::Window;
use crate::profile::Profile;
use crate::segment::SegmentHeader;
use crate::state::{Batch, LogState, StateError};
use crate::tail::Tail;
use crate::wal::Record;

/// Which segment replay starts with: the last one from which on everything is replayed that is needed, namely the records after
/// the first `synced` leaves (their tiles may be missing) and the last `window` leaves (their identities).
///
/// `sizes` are the tree sizes at the beginning of the segments, in order.
pub fn first_segment(sizes: &[u64], synced: u64, window: u64) -> usize {
    let needed = synced.min(sizes.last().copied().unwrap_or(0).saturating_sub(window));
    sizes.iter().rposition(|size| *size <= needed).unwrap_or(0)
}

/// A log that is being replayed.
#[derive(Debug)]
pub struct Replay {
    state: LogState,
    tail: Tail,
    last: Option<Batch>,
    published: Option<Checkpoint>,
    note: String,
}

/// A log as its records left it.
#[derive(Debug)]
pub struct Recovered {
    /// The state for the next batch.
    pub state: LogState,
    /// The hash tiles from the first replayed leaf on.
    pub tail: Tail,
    /// The last batch, if one was replayed.
    pub last: Option<Batch>,
    /// The last signed checkpoint; empty for the empty tree.
    pub note: String,
}

impl Replay {
    /// Starts at a segment. `published` is the checkpoint that the log last published, if any: the store must not be behind it.
    pub fn new(
        profile: Arc<Profile>,
        segment: &SegmentHeader,
        window: Window,
        published: Option<Checkpoint>,
    ) -> Result<Self, StateError> {
        let state = LogState::at_segment(profile, segment, window)?;
        let mut replay = Self { state, tail: segment.tail.clone(), last: None, published, note: segment.note.clone() };
        // A checkpoint from before the replayed part cannot be compared with it, and need not be: the tree only grows.
        let before = |published: &Checkpoint| published.size < segment.size;
        replay.published.take_if(|published| before(published));
        replay.compare()?;
        Ok(replay)
    }

    /// Applies the next record.
    pub fn record(&mut self, record: &Record<'_>) -> Result<&Batch, StateError> {
        let batch = self.state.apply(record)?;
        batch.extend(&mut self.tail);
        self.note = batch.note().to_owned();
        let batch = self.last.insert(batch);
        if let Some(published) = self.published.take_if(|published| published.size == batch.size)
            && published.root != batch.root
        {
            return Err(StateError::Behind { size: batch.size, published: published.size });
        }
        Ok(batch)
    }

    /// Goes on to the next segment, which has to begin where the records before it ended.
    pub fn segment(&mut self, segment: &SegmentHeader) -> Result<(), StateError> {
        let expected = self.state.segment(segment.length, segment.salt, &self.tail, &self.note);
        if *segment == expected { Ok(()) } else { Err(StateError::Segment(segment.sequence)) }
    }

    /// The log after its last record.
    pub fn finish(self) -> Result<Recovered, StateError> {
        let size = self.state.edge().size();
        if let Some(published) = self.published {
            return Err(StateError::Behind { size, published: published.size });
        }
        if let Some(batch) = &self.last {
            self.state.check_signature(batch)?;
        }
        Ok(Recovered { state: self.state, tail: self.tail, last: self.last, note: self.note })
    }

    /// Number of leaves so far.
    pub fn size(&self) -> u64 {
        self.state.edge().size()
    }

    /// The state so far.
    pub fn state(&self) -> &LogState {
        &self.state
    }

    fn compare(&mut self) -> Result<(), StateError> {
        let edge = self.state.edge();
        if let Some(published) = self.published.take_if(|published| published.size == edge.size())
            && published.root != edge.root()
        {
            return Err(StateError::Behind { size: edge.size(), published: published.size });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Failure, MemoryLog, entry};
    use waxseal_formats::checkpoint::SignedCheckpoint;
    use waxseal_formats::code::Code;

    fn log() -> (MemoryLog, Vec<Checkpoint>) {
        let mut log = MemoryLog::new(1 << 16);
        let mut checkpoints = Vec::new();
        for n in 0..3 {
            log.commit(vec![entry(&n.to_string())], n);
            checkpoints.push(SignedCheckpoint::parse(&log.note).unwrap().checkpoint);
        }
        (log, checkpoints)
    }

    #[test]
    fn replay_starts_where_tiles_or_identities_may_be_missing() {
        let sizes = [0, 100, 200, 300];
        assert_eq!(first_segment(&sizes, 300, 0), 3);
        assert_eq!(first_segment(&sizes, 299, 0), 2);
        assert_eq!(first_segment(&sizes, 1000, 0), 3);
        assert_eq!(first_segment(&sizes, 1000, 150), 1);
        assert_eq!(first_segment(&sizes, 1000, 1000), 0);
        assert_eq!(first_segment(&sizes, 0, 0), 0);
        assert_eq!(first_segment(&[], 5, 5), 0);
    }

    #[test]
    fn a_published_checkpoint_is_found_in_the_records() {
        let (mut log, checkpoints) = log();
        for checkpoint in checkpoints {
            log.published = Some(checkpoint);
            log.recover(0).unwrap();
        }
        log.published = Some(Checkpoint::new("log.example", 0, waxseal_formats::merkle::EMPTY_ROOT));
        log.recover(0).unwrap();
    }

    #[test]
    fn a_store_behind_or_beside_its_published_checkpoint_does_not_sign() {
        let (log, checkpoints) = log();
        let behind = |log: MemoryLog, size, published| {
            let error = log.recover(0).unwrap_err();
            assert_eq!(error, Failure::State(StateError::Behind { size, published }));
            assert_eq!(StateError::Behind { size, published }.code(), Code::LOG_STORE_BEHIND);
        };
        // An old copy of the store.
        let mut old = MemoryLog::new(1 << 16);
        old.commit(vec![entry("0")], 0);
        old.published = Some(checkpoints[2].clone());
        behind(old, 1, 3);
        // A fork of the same size, and one that went on.
        let mut fork = log.clone();
        fork.published = Some(Checkpoint { root: [1; 32], ..checkpoints[2].clone() });
        behind(fork, 3, 3);
        let mut fork = log.clone();
        fork.published = Some(Checkpoint { root: [1; 32], ..checkpoints[1].clone() });
        behind(fork, 2, 2);
        // No record ever had this size.
        let mut between = MemoryLog::new(1 << 16);
        between.commit(vec![entry("0"), entry("1"), entry("2")], 0);
        between.published = Some(checkpoints[1].clone());
        behind(between, 3, 2);
    }
}
