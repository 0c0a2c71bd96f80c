//! The sequencer: a batch of entries and `now` become a [`Plan`], in which each entry has its index, its leaf hash and, for CT,
//! its time, and which ends in the checkpoint to be signed.
//!
//! A Plan changes nothing. The shell signs it, writes the record that [`Plan::record`] returns, and only then hands the same
//! bytes to [`LogState::apply`](crate::state::LogState::apply), as recovery does.

use std::collections::HashMap;

use waxseal_formats::checkpoint::Checkpoint;
use waxseal_formats::code::Code;
use waxseal_formats::merkle::{Hash, leaf_hash};
use waxseal_formats::tile::MAX_ENTRY;

use crate::audit;
use crate::ct::{CtError, Submission};
use crate::dedup::Original;
use crate::profile::{Bodies, Profile};
use crate::rows::{self, MAX_KEYS, Row, SearchKey};
use crate::state::{LogState, StateError};
use crate::wal::{Parts, Record, WalError};
use crate::{Identity, UnixMillis};

/// An entry that does not fit into an entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log entry has {0} bytes, more than {MAX_ENTRY}")]
pub struct EntryTooLarge(pub usize);

impl EntryTooLarge {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        Code::INPUT_TOO_LARGE
    }
}

/// An entry on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewEntry {
    /// The leaf is known (Rekor): hashed by whoever checked it, not by the sequencer.
    Leaf {
        /// Leaf hash of `body`.
        hash: Hash,
        /// The leaf, at most [`MAX_ENTRY`] bytes.
        body: Vec<u8>,
        /// What it can be found by, if the log keeps its entries; at most [`MAX_KEYS`].
        keys: Vec<SearchKey>,
    },
    /// The leaf depends on time and index (CT).
    Ct(Submission),
    /// No leaf: a row of the audit log alone, of at most [`audit::MAX_ROW`] bytes.
    Audit(Vec<u8>),
}

impl NewEntry {
    /// The entry whose leaf is `body`.
    pub fn leaf(body: Vec<u8>) -> Result<Self, EntryTooLarge> {
        Self::searchable(body, Vec::new())
    }

    /// The entry whose leaf is `body`, and which is found by `keys`; those beyond [`MAX_KEYS`] are left out.
    pub fn searchable(body: Vec<u8>, mut keys: Vec<SearchKey>) -> Result<Self, EntryTooLarge> {
        if body.len() > MAX_ENTRY {
            return Err(EntryTooLarge(body.len()));
        }
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(MAX_KEYS);
        Ok(Self::Leaf { hash: leaf_hash(&body), body, keys })
    }

    /// Bytes of the entry, about.
    pub fn len(&self) -> usize {
        match self {
            Self::Leaf { body, keys, .. } => body.len().saturating_add(keys.len().saturating_mul(20)),
            Self::Ct(submission) => submission.len(),
            Self::Audit(row) => row.len(),
        }
    }

    /// Whether the entry has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a repeated submission of it has in common with it; `None` if it becomes no leaf.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Leaf { hash, .. } => Some(hash),
            Self::Ct(submission) => Some(submission.identity()),
            Self::Audit(_) => None,
        }
    }
}

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It gets this index and the time of the batch.
    New(u64),
    /// It was logged before, or stands in this batch already.
    Repeats(Original),
    /// It cannot become a leaf.
    Refused(CtError),
    /// It is a row of the audit log.
    Noted,
    /// It is a row of the audit log, and there is no leaf yet: a log without leaves has no record that could hold it.
    TooEarly,
}

/// A batch that is ready to be signed and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Time of the batch: never earlier than the one before, always later than the last published checkpoint.
    pub time: UnixMillis,
    /// What becomes of each entry, in their order.
    pub outcomes: Vec<Outcome>,
    /// The checkpoint over the tree with the new leaves.
    pub checkpoint: Checkpoint,
    first: u64,
    leaf_hashes: Vec<Hash>,
    identities: Vec<Identity>,
    rows: Vec<Row>,
    audit: Vec<u8>,
    bodies: Vec<Vec<u8>>,
}

impl Plan {
    /// Makes a Plan of `entries` for the log in this state.
    ///
    /// `published` is the time of the last published checkpoint. A clock that was set back stops the log's time, it does not
    /// turn it back; each published checkpoint is later than the one before (RFC 6962 §3.5).
    pub fn new(state: &LogState, entries: Vec<NewEntry>, now: UnixMillis, published: UnixMillis) -> Self {
        let time = now.max(state.time()).max(UnixMillis(published.0.saturating_add(1)));
        let mut edge = state.edge().clone();
        let mut plan = Self {
            time,
            outcomes: Vec::with_capacity(entries.len()),
            checkpoint: Checkpoint::new(&state.profile().origin, edge.size(), edge.root()),
            first: edge.size(),
            leaf_hashes: Vec::with_capacity(entries.len()),
            identities: Vec::new(),
            rows: Vec::new(),
            audit: Vec::new(),
            bodies: Vec::with_capacity(entries.len()),
        };
        let mut in_batch: HashMap<Identity, u64> = HashMap::new();
        for entry in entries {
            let Some(identity) = entry.identity().copied() else {
                plan.note(&entry, edge.size());
                continue;
            };
            let repeated = in_batch.get(&identity).map(|index| Original { index: *index, time });
            if let Some(original) = repeated.or_else(|| state.window().find(&identity)) {
                plan.outcomes.push(Outcome::Repeats(original));
                continue;
            }
            let index = edge.size();
            let leaf = plan.leaf_hashes.len() as u32;
            let (hash, body) = match entry {
                NewEntry::Leaf { hash, body, keys } => {
                    if state.profile().bodies == Bodies::Kept {
                        plan.rows.extend(keys.into_iter().map(|key| Row { leaf, key }));
                    }
                    (hash, body)
                }
                NewEntry::Ct(submission) => match submission.leaf(index, time) {
                    Ok(made) => {
                        plan.identities.push(identity);
                        if let Some(row) = submission.audit() {
                            audit::push(&mut plan.audit, Some(leaf), row);
                        }
                        (made.hash, made.body)
                    }
                    Err(error) => {
                        plan.outcomes.push(Outcome::Refused(error));
                        continue;
                    }
                },
                // It has no identity.
                NewEntry::Audit(_) => continue,
            };
            // The tree cannot be full: that would take 2^64 appends.
            if edge.append(hash, |_, _| ()).is_some() {
                in_batch.insert(identity, index);
                plan.leaf_hashes.push(hash);
                plan.bodies.push(body);
                plan.outcomes.push(Outcome::New(index));
            }
        }
        plan.checkpoint.size = edge.size();
        plan.checkpoint.root = edge.root();
        plan
    }

    /// Takes a row of the audit log into a tree of `size` leaves.
    fn note(&mut self, entry: &NewEntry, size: u64) {
        let NewEntry::Audit(row) = entry else { return };
        if size == 0 {
            return self.outcomes.push(Outcome::TooEarly);
        }
        audit::push(&mut self.audit, None, row);
        self.outcomes.push(Outcome::Noted);
    }

    /// Whether nothing is new: then there is nothing to sign and to write, and the last checkpoint answers for all.
    pub fn is_empty(&self) -> bool {
        self.leaf_hashes.is_empty() && self.audit.is_empty()
    }

    /// Whether the tree grows. If not, there are audit rows alone: nothing is to be signed, and the record carries the checkpoint
    /// that the tree has.
    pub fn grows(&self) -> bool {
        !self.leaf_hashes.is_empty()
    }

    /// The bytes to be signed with the log's key.
    pub fn to_sign(&self, profile: &Profile) -> Vec<u8> {
        profile.to_sign(&self.checkpoint, self.time)
    }

    /// The record to be written, with the signature over [`Plan::to_sign`]. It has no bodies if the log is sealed.
    pub fn record(&self, state: &LogState, salt: &[u8; 16], signature: Vec<u8>) -> Result<Vec<u8>, WalError> {
        let note = state.profile().note(&self.checkpoint, self.time, signature).ok_or(WalError::TooLarge)?;
        self.record_under(state, salt, &note)
    }

    /// The record to be written under a checkpoint that is signed already: that of the tree, which does not [grow](Plan::grows).
    pub fn record_under(&self, state: &LogState, salt: &[u8; 16], note: &str) -> Result<Vec<u8>, WalError> {
        let rows = rows::encode(&self.rows);
        let parts = Parts {
            sequence: state.sequence(),
            chain: &state.chain(),
            time_ms: self.time.0,
            first: self.first,
            note,
            leaf_hashes: &self.leaf_hashes,
            identities: (!self.identities.is_empty()).then_some(self.identities.as_slice()),
            rows: &rows,
            audit: &self.audit,
            bodies: (state.profile().bodies == Bodies::Kept).then_some(self.bodies.as_slice()),
        };
        parts.encode(salt)
    }

    /// Checks that the leaf hashes in the record are those of the entries that were planned, whether their bodies stand in the
    /// record or not: a hash that changed in memory must not be signed into the log.
    pub fn check(&self, profile: &Profile, record: &Record<'_>) -> Result<(), StateError> {
        let wrong = (self.first..).zip(&self.bodies).zip(record.leaf_hashes);
        let wrong = wrong.into_iter().find(|((_, body), hash)| profile.leaf_hash(body) != Some(**hash));
        if let Some(((index, _), _)) = wrong {
            return Err(StateError::Leaf(index));
        }
        if self.bodies.len() == record.leaf_hashes.len() { Ok(()) } else { Err(StateError::Leaf(self.first)) }
    }

    /// Bytes that the record will need at most.
    pub fn record_bound(&self) -> u64 {
        let bodies = self.bodies.iter().fold(0usize, |sum, body| sum.saturating_add(body.len()).saturating_add(4));
        let hashes = self.leaf_hashes.len().saturating_mul(64).saturating_add(self.rows.len().saturating_mul(20));
        // Head, checkpoint note and padding.
        let rest = 160 + 4096 + crate::wal::ALIGN as usize;
        bodies.saturating_add(hashes).saturating_add(self.audit.len()).saturating_add(rest) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::Window;
    use crate::fixture::{MemoryLog, SALT, entry, profile};
    use crate::profile::Face;
    use crate::segment::SegmentHeader;
    use crate::wal::Record;
    use waxseal_formats::leaf::{SignedEntry, TileLeaf, TimestampedEntry};
    use waxseal_formats::sct::leaf_index_extension;

    const LENGTH: u64 = 1 << 17;

    fn outcomes(log: &mut MemoryLog, texts: &[&str], now: u64) -> Vec<Outcome> {
        log.commit(texts.iter().map(|text| entry(text)).collect(), now).0
    }

    fn original(index: u64, time: u64) -> Outcome {
        Outcome::Repeats(Original { index, time: UnixMillis(time) })
    }

    #[test]
    fn indices_follow_the_order_of_arrival() {
        let mut log = MemoryLog::new(LENGTH);
        assert_eq!(outcomes(&mut log, &["a", "b"], 10), [Outcome::New(0), Outcome::New(1)]);
        assert_eq!(outcomes(&mut log, &["c"], 11), [Outcome::New(2)]);
        assert_eq!(log.state.edge().size(), 3);
    }

    #[test]
    fn a_repeated_entry_gets_the_original_index_and_time() {
        let mut log = MemoryLog::new(LENGTH);
        assert_eq!(outcomes(&mut log, &["a", "b", "a"], 10), [Outcome::New(0), Outcome::New(1), original(0, 10)]);
        assert_eq!(outcomes(&mut log, &["c", "b"], 20), [Outcome::New(2), original(1, 10)]);
        // A batch of repetitions writes nothing.
        let end = log.end;
        assert_eq!(outcomes(&mut log, &["a", "c"], 30), [original(0, 10), original(2, 20)]);
        assert_eq!((log.end, log.state.sequence()), (end, 2));
        // So it is after a restart.
        let mut again = log.clone();
        again.state = log.recover(0).unwrap().0.state;
        assert_eq!(outcomes(&mut again, &["c", "d"], 40), [original(2, 20), Outcome::New(3)]);
    }

    #[test]
    fn a_clock_set_back_never_turns_time_back() {
        let mut log = MemoryLog::new(LENGTH);
        let time = |log: &mut MemoryLog, text: &str, now| log.commit(vec![entry(text)], now).1.unwrap().time.0;
        assert_eq!(time(&mut log, "a", 1000), 1000);
        assert_eq!(time(&mut log, "b", 400), 1000);
        log.published_time = UnixMillis(1000);
        assert_eq!(time(&mut log, "c", 400), 1001);
        assert_eq!(time(&mut log, "d", 2000), 2000);
        let mut again = log.clone();
        again.state = log.recover(0).unwrap().0.state;
        assert_eq!(time(&mut again, "e", 5), 2000);
    }

    #[test]
    fn a_ct_leaf_carries_its_index_and_the_time_of_its_batch() {
        let profile = profile(Face::StaticCt);
        let header = SegmentHeader::first("log.example", profile.key_id(), SALT, LENGTH);
        let mut state = LogState::at_segment(profile.clone(), &header, Window::new(8, 0, 0)).unwrap();
        let submission = |n: u8| Submission::precertificate([n; 32], vec![n; 5], vec![n; 9], vec![[1; 32]]).unwrap();
        let entries = vec![NewEntry::Ct(submission(1)), NewEntry::Ct(submission(2)), NewEntry::Ct(submission(1))];
        let plan = Plan::new(&state, entries, UnixMillis(77), UnixMillis(0));
        assert_eq!(plan.outcomes, [Outcome::New(0), Outcome::New(1), original(0, 77)]);
        let bytes = plan.record(&state, &SALT, vec![0; 8]).unwrap_err();
        // An Ed25519 key makes no RFC 6962 signature; the record is made by hand for it.
        assert_eq!(bytes, WalError::TooLarge);
        let expected = TimestampedEntry {
            timestamp_ms: 77,
            entry: SignedEntry::Precertificate { issuer_key_hash: [2; 32], tbs: vec![2; 5] },
            extensions: leaf_index_extension(1).unwrap(),
        };
        assert_eq!(plan.leaf_hashes[1], leaf_hash(&expected.merkle_tree_leaf().unwrap()));
        let body = TileLeaf::decode(&plan.bodies[1]).unwrap().0;
        assert_eq!((body.timestamped, body.precertificate), (expected, Some(vec![2; 9])));
        assert_eq!(profile.leaf_hash(&plan.bodies[1]), Some(plan.leaf_hashes[1]));

        let note = format!("{}\n— log.example AAAAAAA=\n", plan.checkpoint.body());
        let parts = Parts {
            sequence: 0,
            chain: &state.chain(),
            time_ms: 77,
            first: 0,
            note: &note,
            leaf_hashes: &plan.leaf_hashes,
            identities: Some(&plan.identities),
            rows: &[],
            audit: &[],
            bodies: Some(&plan.bodies),
        };
        let bytes = parts.encode(&SALT).unwrap();
        let record = Record::parse(&bytes, &SALT).unwrap();
        state.check_bodies(&record).unwrap();
        state.apply(&record).unwrap();
        let again = Plan::new(&state, vec![NewEntry::Ct(submission(2))], UnixMillis(99), UnixMillis(0));
        assert_eq!(again.outcomes, [original(1, 77)]);
        assert!(again.is_empty());
    }

    #[test]
    fn entries_beyond_a_bundle_are_refused() {
        let error = NewEntry::leaf(vec![0; MAX_ENTRY + 1]).unwrap_err();
        assert_eq!((error, error.code()), (EntryTooLarge(65_536), Code::INPUT_TOO_LARGE));
        assert!(NewEntry::leaf(vec![0; MAX_ENTRY]).is_ok());
    }
}
