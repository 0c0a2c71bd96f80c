//! Reading the records of a segment in order, and telling a record that was never finished from one that was damaged.

use waxseal_formats::merkle::Hash;

use crate::segment::SegmentHeader;
use crate::wal::{ALIGN, HEAD_LEN, Head, MAGIC, Record, WalError};

/// How much is read at once in the search for records behind the end.
const SEARCH_STEP: u64 = 1 << 20;

/// Which parts of the records a scan reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything but the bodies: enough to rebuild the tree and the views.
    Leaves,
    /// Bodies too, checked against their digest.
    Bodies,
}

/// What a scan came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan<'a> {
    /// The next record, which follows the one before it.
    Record(Record<'a>),
    /// Nothing but zeros, up to the end of the segment.
    End,
    /// A record that was being written when the process or machine stopped: it was never acknowledged. Nothing valid follows;
    /// the bytes up to the end of the segment have to be cleared before it is written on.
    Torn,
}

/// Reads the records of one segment in order.
#[derive(Clone, Debug)]
pub struct Scanner {
    pub(crate) salt: [u8; 16],
    /// Where the next record begins.
    pub offset: u64,
    /// Length of the segment.
    pub(crate) end: u64,
    /// Number of the next record.
    pub sequence: u64,
    /// Digest of the record before the next one.
    pub chain: Hash,
}

impl Scanner {
    /// A scan from the first record of a segment on.
    pub fn new(segment: &SegmentHeader) -> Self {
        Self {
            salt: segment.salt,
            offset: segment.first_record(),
            end: segment.length,
            sequence: segment.sequence,
            chain: segment.chain,
        }
    }

    /// Reads the next record into `buffer`. `read` fills a slice from the segment, with zeros behind the end of its file.
    ///
    /// A damaged record is [`Scan::Torn`] only when no intact record stands behind it: the next one is not written before this
    /// one is durable. Otherwise it is an error, as is an intact record that does not follow the one before it.
    pub fn next<'b, E: From<WalError>>(
        &mut self,
        scope: Scope,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Scan<'b>, E> {
        let (offset, sequence) = (self.offset, self.sequence);
        let Some((head, intact)) = self.read_at(offset, scope, read, buffer)? else {
            return self.end_at(read);
        };
        let Some(record) = head.record(buffer, &self.salt).filter(|_| intact) else {
            return self.end_at(read);
        };
        if record.sequence != sequence || record.chain != self.chain {
            return Err(WalError::Chain { offset, sequence }.into());
        }
        self.offset = offset.saturating_add(record.length);
        self.sequence = sequence.saturating_add(1);
        self.chain = record.digest;
        Ok(Scan::Record(record))
    }

    /// Reads what may be a record at `offset`: `None` if its head is not one or its digest does not fit. The flag says whether
    /// the bodies are intact, as far as the scope wants them.
    fn read_at<E>(
        &self,
        offset: u64,
        scope: Scope,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<(Head, bool)>, E> {
        let room = self.end.saturating_sub(offset);
        if room < ALIGN {
            return Ok(None);
        }
        buffer.clear();
        buffer.resize(HEAD_LEN, 0);
        read(offset, buffer)?;
        let Some(head) = Head::parse(buffer) else { return Ok(None) };
        let (Some(front), Some(padded)) = (head.front(), head.padded()) else { return Ok(None) };
        if padded > room {
            return Ok(None);
        }
        let wanted = if scope == Scope::Bodies { padded as usize } else { front };
        buffer.resize(wanted, 0);
        read(offset, buffer)?;
        if head.record(buffer, &self.salt).is_none() {
            return Ok(None);
        }
        let intact = scope == Scope::Leaves || head.bodies_are_intact(buffer);
        Ok(Some((head, intact)))
    }

    /// Decides what the absence of a record at the offset means.
    fn end_at<E: From<WalError>>(
        &self,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Scan<'static>, E> {
        let mut clean = true;
        let mut block = Vec::new();
        let mut candidate = Vec::new();
        let mut offset = self.offset;
        while offset < self.end {
            let length = SEARCH_STEP.min(self.end.saturating_sub(offset));
            block.clear();
            block.resize(length as usize, 0);
            read(offset, &mut block)?;
            clean &= block.iter().all(|byte| *byte == 0);
            for (at, sector) in block.chunks(ALIGN as usize).enumerate() {
                let place = offset.saturating_add((at as u64).saturating_mul(ALIGN));
                if place == self.offset || !sector.starts_with(MAGIC) {
                    continue;
                }
                if self.read_at(place, Scope::Leaves, read, &mut candidate)?.is_some() {
                    return Err(WalError::Damaged { offset: self.offset, sequence: self.sequence }.into());
                }
            }
            offset = offset.saturating_add(length);
        }
        Ok(if clean { Scan::End } else { Scan::Torn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Failure, MemoryLog, SALT, entry};
    use crate::state::StateError;
    use crate::wal::Parts;

    const LENGTH: u64 = 1 << 16;

    /// A log of three batches with two, one and three entries; returns where its records begin, and the end.
    fn three_records() -> (MemoryLog, [usize; 4]) {
        let mut log = MemoryLog::new(LENGTH);
        let mut at = [log.end, 0, 0, 0];
        for (n, texts) in [["a", "b"].as_slice(), &["c"], &["d", "e", "f"]].into_iter().enumerate() {
            log.commit(texts.iter().map(|text| entry(text)).collect(), 1000 + n as u64);
            at[n + 1] = log.end;
        }
        (log, at)
    }

    /// A record of the right form that was never written.
    fn forged(salt: &[u8; 16]) -> Vec<u8> {
        let parts = Parts {
            sequence: 3,
            chain: &[4; 32],
            time_ms: 5,
            first: 6,
            note: "note",
            leaf_hashes: &[[1; 32]],
            identities: None,
            rows: &[],
            audit: &[],
            bodies: None,
        };
        parts.encode(salt).unwrap()
    }

    #[test]
    fn replay_gives_the_state_of_the_live_log() {
        let (log, _) = three_records();
        let (recovered, torn) = log.recover(0).unwrap();
        assert!(!torn);
        assert_eq!(recovered.state.edge(), log.state.edge());
        assert_eq!((recovered.state.chain(), recovered.state.sequence()), (log.state.chain(), 3));
        assert_eq!((recovered.tail, recovered.note), (log.tail, log.note));
    }

    #[test]
    fn a_record_cut_off_at_any_byte_was_never_acknowledged() {
        let (log, [_, _, last, end]) = three_records();
        for cut in last..=end {
            let mut cut_log = log.clone();
            cut_log.segments[0].truncate(cut);
            let (recovered, torn) = cut_log.recover(0).unwrap();
            let whole = recovered.state.sequence() == 3;
            // Only the padding may be missing from a whole record.
            assert_eq!(whole, log.segments[0][cut..end].iter().all(|byte| *byte == 0), "{cut}");
            assert_eq!(torn, !whole && cut > last, "{cut}");
            assert_eq!(recovered.state.edge().size(), if whole { 6 } else { 3 });
        }
    }

    #[test]
    fn a_record_whose_sectors_reached_the_disk_in_any_order_is_torn() {
        let mut log = MemoryLog::new(LENGTH);
        log.commit(vec![entry("a")], 1);
        let last = log.end;
        log.commit((0..40).map(|n| entry(&format!("entry {n:0100}"))).collect(), 2);
        let sectors = (log.end - last) / ALIGN as usize;
        assert!(sectors > 6);
        for missing in 0..sectors {
            let mut torn = log.clone();
            let at = last + missing * ALIGN as usize;
            torn.segments[0][at..at + ALIGN as usize].fill(0);
            let (recovered, is_torn) = torn.recover(0).unwrap();
            assert_eq!((recovered.state.sequence(), is_torn), (1, true), "sector {missing}");
        }
    }

    #[test]
    fn damage_before_the_last_record_is_an_error_and_never_skipped() {
        let (log, [first, second, last, _]) = three_records();
        for (start, end, sequence) in [(first, second, 0), (second, last, 1)] {
            let padding = log.segments[0][start..end].iter().rev().take_while(|byte| **byte == 0).count();
            for at in start..end - padding {
                let mut bad = log.clone();
                bad.segments[0][at] ^= 0x10;
                let error = bad.recover(0).unwrap_err();
                assert_eq!(error, Failure::Wal(WalError::Damaged { offset: start as u64, sequence }), "byte {at}");
            }
            let mut bad = log.clone();
            bad.segments[0][start..end].fill(0);
            assert_eq!(bad.recover(0).unwrap_err(), Failure::Wal(WalError::Damaged { offset: start as u64, sequence }));
        }
    }

    #[test]
    fn a_record_that_does_not_chain_is_an_error() {
        let (log, [first, second, last, end]) = three_records();
        // The second record is left out, as if two versions of a file had been put together.
        let mut bad = log.clone();
        bad.segments[0].copy_within(last..end, second);
        assert_eq!(bad.recover(0).unwrap_err(), Failure::Wal(WalError::Chain { offset: second as u64, sequence: 1 }));
        // The first one is repeated.
        let mut bad = log.clone();
        bad.segments[0].copy_within(first..second, second);
        assert_eq!(bad.recover(0).unwrap_err(), Failure::Wal(WalError::Chain { offset: second as u64, sequence: 1 }));
    }

    #[test]
    fn an_entry_cannot_pose_as_a_record() {
        let mut log = MemoryLog::new(LENGTH);
        log.commit(vec![entry("a")], 1);
        // A record of the right form, made without the salt, at a multiple of 512 in a torn record.
        let posing = forged(&[0; 16]);
        let end = log.end;
        log.segments[0][end..end + 100].fill(0xff);
        log.segments[0][end + 512..end + 512 + posing.len()].copy_from_slice(&posing);
        let (recovered, torn) = log.recover(0).unwrap();
        assert_eq!((recovered.state.sequence(), torn), (1, true));
        // The same with the salt is a record that was written: the one before it got lost.
        let genuine = forged(&SALT);
        log.segments[0][end + 512..end + 512 + genuine.len()].copy_from_slice(&genuine);
        assert_eq!(log.recover(0).unwrap_err(), Failure::Wal(WalError::Damaged { offset: end as u64, sequence: 1 }));
    }

    #[test]
    fn bodies_of_an_intact_head_are_checked() {
        let (log, [.., last, end]) = three_records();
        let mut bad = log.clone();
        let body = bad.segments[0][last..end].iter().rposition(|byte| *byte == b'f').unwrap();
        bad.segments[0][last + body] = b'g';
        let (recovered, torn) = bad.recover(0).unwrap();
        assert_eq!((recovered.state.sequence(), torn), (2, true));
        // It had been published, so it is not dropped.
        bad.published = Some(waxseal_formats::checkpoint::SignedCheckpoint::parse(&log.note).unwrap().checkpoint);
        let error = bad.recover(0).unwrap_err();
        assert_eq!(error, Failure::State(StateError::Behind { size: 3, published: 6 }));
    }
}
