//! A log in memory: what the shell does with files, with vectors.

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use waxseal_formats::checkpoint::Checkpoint;
use waxseal_formats::crypto::key::PublicKey;

use crate::UnixMillis;
use crate::dedup::{WINDOW, Window};
use crate::profile::{Bodies, Face, Profile};
use crate::recover::{Recovered, Replay};
use crate::scan::{Scan, Scanner, Scope};
use crate::segment::{MAX_HEADER, SegmentHeader};
use crate::sequencer::{NewEntry, Outcome, Plan};
use crate::state::{Batch, LogState, StateError};
use crate::tail::Tail;
use crate::wal::{Record, WalError};

pub(crate) const SALT: [u8; 16] = [9; 16];
/// Beginning of an Ed25519 SubjectPublicKeyInfo.
const SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

pub(crate) fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

pub(crate) fn profile(face: Face) -> Arc<Profile> {
    let spki = [SPKI, key().public_key().as_ref()].concat();
    let key = PublicKey::from_spki_der(&spki).unwrap();
    Arc::new(Profile { origin: "log.example".into(), key, face, bodies: Bodies::Kept })
}

pub(crate) fn entry(text: &str) -> NewEntry {
    NewEntry::leaf(text.as_bytes().to_vec()).unwrap()
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Wal(WalError),
    State(StateError),
}

impl From<WalError> for Failure {
    fn from(error: WalError) -> Self {
        Self::Wal(error)
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

/// A log whose segments are vectors.
#[derive(Clone)]
pub(crate) struct MemoryLog {
    pub(crate) state: LogState,
    pub(crate) tail: Tail,
    pub(crate) segments: Vec<Vec<u8>>,
    pub(crate) end: usize,
    pub(crate) note: String,
    pub(crate) published: Option<Checkpoint>,
    pub(crate) published_time: UnixMillis,
}

impl MemoryLog {
    pub(crate) fn new(length: u64) -> Self {
        let profile = profile(Face::RekorV2);
        let header = SegmentHeader::first(&profile.origin, profile.key_id(), SALT, length);
        let mut segment = header.encode().unwrap();
        let end = segment.len();
        segment.resize(length as usize, 0);
        Self {
            state: LogState::at_segment(profile, &header, Window::new(WINDOW, 0, 1)).unwrap(),
            tail: Tail::new(),
            segments: vec![segment],
            end,
            note: String::new(),
            published: None,
            published_time: UnixMillis(0),
        }
    }

    /// Plans, signs, writes, applies. Returns what became of the entries, and the batch if there was anything new.
    pub(crate) fn commit(&mut self, entries: Vec<NewEntry>, now: u64) -> (Vec<Outcome>, Option<Batch>) {
        let plan = Plan::new(&self.state, entries, UnixMillis(now), self.published_time);
        if plan.is_empty() {
            return (plan.outcomes, None);
        }
        let signature = key().sign(&plan.to_sign(self.state.profile())).as_ref().to_vec();
        let bytes = plan.record(&self.state, &SALT, signature).unwrap();
        assert!(bytes.len() as u64 <= plan.record_bound());
        let segment = self.segments.last_mut().unwrap();
        segment[self.end..self.end + bytes.len()].copy_from_slice(&bytes);
        self.end += bytes.len();
        let record = Record::parse(&bytes, &SALT).unwrap();
        plan.check(self.state.profile(), &record).unwrap();
        let batch = self.state.apply(&record).unwrap();
        batch.extend(&mut self.tail);
        self.note = batch.note().to_owned();
        (plan.outcomes, Some(batch))
    }

    /// Starts a new segment.
    pub(crate) fn roll(&mut self, length: u64) {
        let header = self.state.segment(length, SALT, &self.tail, &self.note);
        let mut segment = header.encode().unwrap();
        assert_eq!(segment.len() as u64, header.first_record());
        self.end = segment.len();
        segment.resize(length as usize, 0);
        self.segments.push(segment);
    }

    /// Starts again from the segments alone. The flag says whether the last record was torn.
    pub(crate) fn recover(&self, from: usize) -> Result<(Recovered, bool), Failure> {
        let profile = self.state.profile().clone();
        let mut replay: Option<Replay> = None;
        let mut torn = false;
        for segment in &self.segments[from..] {
            let header = SegmentHeader::parse(&segment[..segment.len().min(MAX_HEADER)])?;
            let replay = match &mut replay {
                Some(replay) => {
                    assert!(!torn, "only the last segment may be torn");
                    replay.segment(&header)?;
                    replay
                }
                None => {
                    let window = Window::new(WINDOW, header.size, 1);
                    replay.insert(Replay::new(profile.clone(), &header, window, self.published.clone())?)
                }
            };
            let mut scanner = Scanner::new(&header);
            let mut buffer = Vec::new();
            let mut read = |offset: u64, part: &mut [u8]| -> Result<(), Failure> {
                let stored = segment.get(offset as usize..).unwrap_or_default();
                let length = stored.len().min(part.len());
                part[..length].copy_from_slice(&stored[..length]);
                part[length..].fill(0);
                Ok(())
            };
            loop {
                match scanner.next(Scope::Bodies, &mut read, &mut buffer)? {
                    Scan::Record(record) => {
                        replay.record(&record)?;
                    }
                    Scan::End => break,
                    Scan::Torn => {
                        torn = true;
                        break;
                    }
                }
            }
        }
        Ok((replay.unwrap().finish()?, torn))
    }
}
