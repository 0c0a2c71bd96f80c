//! The state of a log, and the one transition that changes it: a record.
//!
//! A live commit and recovery both end in [`LogState::apply`], with the bytes of the record. So what was answered and what
//! comes back after a crash is the same by construction, and a hash that was corrupted in memory before it was signed is
//! noticed before anyone sees the signature.

use std::sync::Arc;

use waxseal_formats::checkpoint::{CheckpointError, SignedCheckpoint};
use waxseal_formats::code::Code;
use waxseal_formats::merkle::{CompactRange, Hash, LeafRange, NodeId, audit_path, node_hash};

use crate::UnixMillis;
use crate::dedup::Window;
use crate::profile::{Bodies, Profile};
use crate::segment::SegmentHeader;
use crate::tail::Tail;
use crate::wal::Record;

/// A record, segment or published checkpoint that contradicts the rest of the log: its store is damaged, or not of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The segment belongs to another origin or key.
    #[error("the store belongs to the log {found:?} or to another key of it, not to {expected:?}")]
    OtherLog {
        /// Origin of the log that was to be opened.
        expected: String,
        /// Origin in the store.
        found: String,
    },
    /// The state that a segment header gives contradicts its checkpoint.
    #[error("the write-ahead segment for record {0} contradicts its checkpoint")]
    Segment(u64),
    /// The record's first index is not the tree's size, or its time is earlier than the one before.
    #[error("record {0} does not continue the log")]
    Order(u64),
    /// The record's checkpoint cannot be read or is not signed by the log.
    #[error("the checkpoint of record {sequence} is refused: {error}")]
    Checkpoint {
        /// Number of the record.
        sequence: u64,
        /// What is wrong with it.
        error: CheckpointError,
    },
    /// The record's checkpoint is not that of the tree with the record's leaves.
    #[error("the checkpoint of record {0} does not cover its entries")]
    Root(u64),
    /// An entry does not have the leaf hash that stands beside it.
    #[error("entry {0} does not have its leaf hash")]
    Leaf(u64),
    /// The log once published a checkpoint that its store does not reach, or that contradicts it.
    #[error(
        "the store holds {size} entries and contradicts the published checkpoint of {published}: it lost entries, or is an old copy"
    )]
    Behind {
        /// Leaves in the store.
        size: u64,
        /// Size of the published checkpoint.
        published: u64,
    },
}

impl StateError {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        match self {
            Self::Behind { .. } => Code::LOG_STORE_BEHIND,
            _ => Code::LOG_STORE_CORRUPT,
        }
    }
}

/// Everything that the next batch depends on.
#[derive(Clone, Debug)]
pub struct LogState {
    profile: Arc<Profile>,
    sequence: u64,
    chain: Hash,
    time: UnixMillis,
    edge: CompactRange,
    /// Root of the edge, as the last checkpoint has it.
    root: Hash,
    window: Window,
}

impl LogState {
    /// The state at the beginning of a segment. `window` covers the entries before it, as far as they are known.
    pub fn at_segment(profile: Arc<Profile>, segment: &SegmentHeader, window: Window) -> Result<Self, StateError> {
        if segment.origin != profile.origin || segment.key_id != profile.key_id() {
            return Err(StateError::OtherLog { expected: profile.origin.clone(), found: segment.origin.clone() });
        }
        let wrong = || StateError::Segment(segment.sequence);
        let peaks = CompactRange::peak_ids(segment.size).into_iter().map(|id| segment.tail.node(id));
        let peaks = peaks.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        let edge = CompactRange::from_peaks(segment.size, peaks).ok_or_else(wrong)?;
        if segment.size > 0 {
            let signed = SignedCheckpoint::parse(&segment.note).map_err(|_| wrong())?;
            if (signed.checkpoint.size, signed.checkpoint.root) != (edge.size(), edge.root()) {
                return Err(wrong());
            }
        }
        let (sequence, chain, time, root) = (segment.sequence, segment.chain, segment.time, edge.root());
        Ok(Self { profile, sequence, chain, time, edge, root, window })
    }

    /// Applies a record: the log has grown by its leaves. On an error the state is unchanged, and useless: the store is damaged.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<Batch, StateError> {
        let sequence = record.sequence;
        let follows = record.sequence == self.sequence && record.chain == self.chain;
        if !follows || record.first != self.edge.size() || record.time_ms < self.time.0 {
            return Err(StateError::Order(sequence));
        }
        // Without leaves it is there for its audit rows, in a log that has a checkpoint to stand on.
        if record.leaf_hashes.is_empty() && (record.audit.is_empty() || self.edge.size() == 0) {
            return Err(StateError::Order(sequence));
        }
        let signed =
            SignedCheckpoint::parse(record.note).map_err(|error| StateError::Checkpoint { sequence, error })?;
        let mut batch = Batch::before(&self.edge, UnixMillis(record.time_ms), record.note);
        // A hash of the edge that changed in memory would make a tree that does not extend the last one.
        if batch.root != self.root {
            return Err(StateError::Root(sequence));
        }
        let mut edge = self.edge.clone();
        for hash in record.leaf_hashes {
            edge.append(*hash, |node, hash| batch.completed(node, hash)).ok_or(StateError::Order(sequence))?;
        }
        batch.after(&edge);
        let checkpoint = &signed.checkpoint;
        let matches = checkpoint.size == edge.size() && checkpoint.root == edge.root();
        if !matches || checkpoint.origin != self.profile.origin || !checkpoint.extensions.is_empty() {
            return Err(StateError::Root(sequence));
        }
        for identity in record.identities() {
            self.window.push(identity, batch.time);
        }
        self.edge = edge;
        self.root = batch.root;
        self.sequence = sequence.saturating_add(1);
        self.chain = record.digest;
        self.time = batch.time;
        Ok(batch)
    }

    /// Checks that the entries of a record have the leaf hashes that stand beside them; those of a sealed log have none.
    pub fn check_bodies(&self, record: &Record<'_>) -> Result<(), StateError> {
        if self.profile.bodies == Bodies::Sealed {
            return Ok(());
        }
        let bodies = record.bodies().ok_or(StateError::Leaf(record.first))?;
        for (index, (body, hash)) in (record.first..).zip(bodies.iter().zip(record.leaf_hashes)) {
            if self.profile.leaf_hash(body) != Some(*hash) {
                return Err(StateError::Leaf(index));
            }
        }
        Ok(())
    }

    /// Checks the signature of the checkpoint of a batch: done once after replay, for the last one.
    pub fn check_signature(&self, batch: &Batch) -> Result<(), StateError> {
        let sequence = self.sequence.saturating_sub(1);
        SignedCheckpoint::parse(batch.note())
            .and_then(|signed| self.profile.verify(&signed))
            .map_err(|error| StateError::Checkpoint { sequence, error })
    }

    /// The header of a segment that begins here.
    pub fn segment(&self, length: u64, salt: [u8; 16], tail: &Tail, note: &str) -> SegmentHeader {
        let mut tail = tail.clone();
        tail.trim(tail.size());
        SegmentHeader {
            length,
            salt,
            origin: self.profile.origin.clone(),
            key_id: self.profile.key_id(),
            sequence: self.sequence,
            chain: self.chain,
            time: self.time,
            size: self.edge.size(),
            note: note.to_owned(),
            tail,
        }
    }

    /// Which log it is.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// Number of the next record.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Digest of the last record.
    pub fn chain(&self) -> Hash {
        self.chain
    }

    /// Time of the last batch.
    pub fn time(&self) -> UnixMillis {
        self.time
    }

    /// The right edge of the tree.
    pub fn edge(&self) -> &CompactRange {
        &self.edge
    }

    /// The last identities.
    pub fn window(&self) -> &Window {
        &self.window
    }
}

/// The nodes of one level that a batch touched, from the left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    first: u64,
    hashes: Vec<Hash>,
}

/// A committed batch: its checkpoint, and all hashes that the inclusion proofs of its entries need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Index of its first entry.
    pub first: u64,
    /// Leaves of the tree with it.
    pub size: u64,
    /// Root hash of that tree.
    pub root: Hash,
    /// Its time.
    pub time: UnixMillis,
    note: Arc<str>,
    /// By level: the peak of the tree before the batch, if there is one, and the subtrees that the batch completed.
    rows: Vec<Row>,
    /// The ragged right sides of the tree: where each begins, and its hash.
    ragged: Vec<(u64, Hash)>,
}

impl Batch {
    fn before(edge: &CompactRange, time: UnixMillis, note: &str) -> Self {
        let size = edge.size();
        let mut rows: Vec<Row> = Vec::new();
        for (peak, hash) in CompactRange::peak_ids(size).iter().zip(edge.peaks()) {
            let level = usize::from(peak.level);
            if rows.len() <= level {
                rows.resize(level.saturating_add(1), Row::default());
            }
            if let Some(row) = rows.get_mut(level) {
                *row = Row { first: peak.index, hashes: vec![*hash] };
            }
        }
        Self { first: size, size, root: edge.root(), time, note: note.into(), rows, ragged: Vec::new() }
    }

    fn completed(&mut self, node: NodeId, hash: &Hash) {
        let level = usize::from(node.level);
        if self.rows.len() <= level {
            self.rows.resize(level.saturating_add(1), Row::default());
        }
        if let Some(row) = self.rows.get_mut(level) {
            if row.hashes.is_empty() {
                row.first = node.index;
            }
            row.hashes.push(*hash);
        }
    }

    fn after(&mut self, edge: &CompactRange) {
        self.size = edge.size();
        self.root = edge.root();
        let mut side: Option<Hash> = None;
        for (peak, hash) in CompactRange::peak_ids(self.size).iter().zip(edge.peaks()).rev() {
            let joined = side.map_or(*hash, |right| node_hash(hash, &right));
            self.ragged.push((peak.index << peak.level, joined));
            side = Some(joined);
        }
    }

    /// The signed checkpoint that covers the batch.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The signed checkpoint, to be kept.
    pub fn shared_note(&self) -> Arc<str> {
        self.note.clone()
    }

    /// The leaf hash of an entry of the batch.
    pub fn leaf_hash(&self, index: u64) -> Option<Hash> {
        if index < self.first { None } else { self.node(NodeId { level: 0, index }) }
    }

    /// The audit path of an entry of the batch to [`Batch::root`]; `None` if `index` is not in the batch.
    pub fn inclusion_proof(&self, index: u64) -> Option<Vec<Hash>> {
        if index < self.first {
            return None;
        }
        audit_path(index, self.size)?.into_iter().map(|range| self.range(range)).collect()
    }

    /// The hash of a perfect subtree that the batch touched.
    pub fn node(&self, node: NodeId) -> Option<Hash> {
        let row = self.rows.get(usize::from(node.level))?;
        row.hashes.get(usize::try_from(node.index.checked_sub(row.first)?).ok()?).copied()
    }

    fn range(&self, range: LeafRange) -> Option<Hash> {
        if range.end == self.size {
            return self.ragged.iter().find(|(start, _)| *start == range.start).map(|(_, hash)| *hash).or_else(|| {
                // A perfect subtree inside the last peak.
                self.perfect(range)
            });
        }
        self.perfect(range)
    }

    fn perfect(&self, range: LeafRange) -> Option<Hash> {
        let mut subtrees = range.perfect_subtrees();
        let node = subtrees.next()?;
        if subtrees.next().is_some() { None } else { self.node(node) }
    }

    /// Adds the subtrees that the batch completed to the tail of the hash tiles.
    pub fn extend(&self, tail: &mut Tail) {
        for (level, row) in (0u8..64).zip(&self.rows) {
            // What was there before the batch, the old peak, comes first in the row.
            let fresh = self.first >> level;
            let old = usize::try_from(fresh.saturating_sub(row.first)).unwrap_or(usize::MAX);
            for (index, hash) in (fresh..).zip(row.hashes.iter().skip(old)) {
                tail.push(NodeId { level, index }, hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{MemoryLog, SALT, entry, key};
    use crate::sequencer::Plan;
    use crate::wal::Parts;
    use proptest::prelude::*;
    use waxseal_formats::crypto::digest::sha256;
    use waxseal_formats::merkle::{leaf_hash, verify_inclusion};

    /// A record for the log's next batch, before and after someone interfered with its parts.
    fn record(log: &MemoryLog, change: impl FnOnce(&mut Parts<'_>)) -> Vec<u8> {
        with_note(log, None, change)
    }

    fn with_note(log: &MemoryLog, note: Option<&str>, change: impl FnOnce(&mut Parts<'_>)) -> Vec<u8> {
        let text = "x";
        let plan = Plan::new(&log.state, vec![entry(text)], UnixMillis(50), UnixMillis(0));
        let signature = key().sign(&plan.to_sign(log.state.profile())).as_ref().to_vec();
        let signed = log.state.profile().note(&plan.checkpoint, plan.time, signature).unwrap();
        let chain = log.state.chain();
        let (hashes, bodies) = ([leaf_hash(text.as_bytes())], [text.as_bytes().to_vec()]);
        let mut parts = Parts {
            sequence: log.state.sequence(),
            chain: &chain,
            time_ms: plan.time.0,
            first: log.state.edge().size(),
            note: note.unwrap_or(&signed),
            leaf_hashes: &hashes,
            identities: None,
            rows: &[],
            audit: &[],
            bodies: Some(&bodies),
        };
        change(&mut parts);
        parts.encode(&SALT).unwrap()
    }

    fn refused(log: &MemoryLog, bytes: &[u8]) -> StateError {
        let record = Record::parse(bytes, &SALT).unwrap();
        let mut state = log.state.clone();
        let error = state.check_bodies(&record).and_then(|()| state.apply(&record)).unwrap_err();
        assert_eq!(error.code(), Code::LOG_STORE_CORRUPT);
        assert_eq!(state.edge(), log.state.edge());
        error
    }

    fn log() -> MemoryLog {
        let mut log = MemoryLog::new(1 << 17);
        log.commit(vec![entry("a"), entry("b"), entry("c")], 40);
        log
    }

    #[test]
    fn hash_corrupted_before_signing_is_noticed() {
        let log = log();
        let bytes = record(&log, |parts| parts.leaf_hashes = &[[1; 32]]);
        assert_eq!(refused(&log, &bytes), StateError::Leaf(3));
        // The same with the body gone: then the checkpoint tells.
        let bytes = record(&log, |parts| parts.leaf_hashes = &[[1; 32]]);
        let mut state = log.state.clone();
        assert_eq!(state.apply(&Record::parse(&bytes, &SALT).unwrap()).unwrap_err(), StateError::Root(1));
    }

    #[test]
    fn an_edge_corrupted_before_signing_is_noticed() {
        let log = log();
        // Every bit of every hash that the next root is made of, in a log that plans and signs with what it holds.
        let peaks = log.state.edge().peaks().to_vec();
        for bit in 0..peaks.len() * 256 {
            let mut flipped = peaks.clone();
            flipped[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            let mut state = log.state.clone();
            state.edge = CompactRange::from_peaks(state.edge.size(), flipped).unwrap();
            let plan = Plan::new(&state, vec![entry("next")], UnixMillis(50), UnixMillis(0));
            let signature = key().sign(&plan.to_sign(state.profile())).as_ref().to_vec();
            let bytes = plan.record(&state, &SALT, signature).unwrap();
            let error = state.apply(&Record::parse(&bytes, &SALT).unwrap()).unwrap_err();
            assert_eq!(error, StateError::Root(1), "bit {bit}");
        }
    }

    #[test]
    fn records_that_do_not_continue_the_log_are_refused() {
        let log = log();
        let changes: [fn(&mut Parts<'_>); 4] =
            [|p| p.sequence = 2, |p| p.chain = &[0; 32], |p| p.first = 2, |p| p.time_ms = 39];
        for change in changes {
            let bytes = record(&log, change);
            assert!(matches!(refused(&log, &bytes), StateError::Order(_)));
        }
        let bytes = record(&log, |p| (p.leaf_hashes, p.bodies) = (&[], Some(&[] as &[Vec<u8>])));
        assert_eq!(refused(&log, &bytes), StateError::Order(1));
    }

    #[test]
    fn checkpoints_of_another_log_size_or_form_are_refused() {
        let log = log();
        for (from, to) in [("log.example\n", "log.other\n"), ("\n4\n", "\n5\n")] {
            let note = log_note(&log).replacen(from, to, 1);
            let bytes = with_note(&log, Some(&note), |_| ());
            assert_eq!(refused(&log, &bytes), StateError::Root(1));
        }
        let bytes = with_note(&log, Some("nonsense"), |_| ());
        assert!(matches!(refused(&log, &bytes), StateError::Checkpoint { sequence: 1, .. }));
    }

    fn log_note(log: &MemoryLog) -> String {
        let bytes = record(log, |_| ());
        Record::parse(&bytes, &SALT).unwrap().note.to_owned()
    }

    #[test]
    fn a_checkpoint_signed_with_another_key_is_noticed_after_replay() {
        let log = log();
        let mut state = log.state.clone();
        let note = log_note(&log);
        let checkpoint = SignedCheckpoint::parse(&note).unwrap().checkpoint;
        let other = key().sign(b"something else").as_ref().to_vec();
        let forged = state.profile().note(&checkpoint, UnixMillis(50), other).unwrap();
        let bytes = with_note(&log, Some(&forged), |_| ());
        let batch = state.apply(&Record::parse(&bytes, &SALT).unwrap()).unwrap();
        let error = state.check_signature(&batch).unwrap_err();
        assert!(matches!(error, StateError::Checkpoint { sequence: 1, .. }));
    }

    #[test]
    fn a_store_of_another_log_is_refused() {
        let log = log();
        let header = log.state.segment(1 << 16, SALT, &log.tail, &log.note);
        let window = || Window::new(1, 3, 0);
        let profile = log.state.profile().clone();
        let error =
            LogState::at_segment(profile.clone(), &SegmentHeader { origin: "x".into(), ..header.clone() }, window());
        assert!(matches!(error.unwrap_err(), StateError::OtherLog { .. }));
        let error =
            LogState::at_segment(profile.clone(), &SegmentHeader { key_id: [0; 32], ..header.clone() }, window());
        assert!(matches!(error.unwrap_err(), StateError::OtherLog { .. }));
        let wrong_note = log.note.replacen("\n3\n", "\n2\n", 1);
        let error = LogState::at_segment(profile, &SegmentHeader { note: wrong_note, ..header }, window());
        assert_eq!(error.unwrap_err(), StateError::Segment(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn proofs_of_every_entry_lead_to_the_signed_root(batches in prop::collection::vec(1usize..90, 1..8)) {
            let mut log = MemoryLog::new(1 << 20);
            let mut count = 0u64;
            for size in batches {
                let texts: Vec<_> = (count..count + size as u64).map(|n| n.to_string()).collect();
                let (_, batch) = log.commit(texts.iter().map(|text| entry(text)).collect(), 1);
                let batch = batch.unwrap();
                prop_assert_eq!((batch.first, batch.size), (count, count + size as u64));
                prop_assert_eq!(batch.inclusion_proof(batch.size), None);
                prop_assert_eq!(count.checked_sub(1).and_then(|index| batch.inclusion_proof(index)), None);
                let signed = SignedCheckpoint::parse(batch.note()).unwrap();
                log.state.profile().verify(&signed).unwrap();
                prop_assert_eq!(signed.checkpoint.root, batch.root);
                for (index, text) in (count..).zip(&texts) {
                    let hash = leaf_hash(text.as_bytes());
                    prop_assert_eq!(batch.leaf_hash(index), Some(hash));
                    let proof = batch.inclusion_proof(index).unwrap();
                    verify_inclusion(index, batch.size, &hash, &proof, &batch.root).unwrap();
                }
                count = batch.size;
            }
            prop_assert_eq!(log.tail.size(), count);
            prop_assert_ne!(sha256(log.note.as_bytes()), sha256(b""));
        }
    }
}
