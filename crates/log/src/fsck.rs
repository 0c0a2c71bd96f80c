//! What recovery need not look at and a check of the whole store must: padding, and what stands behind the last record.
//!
//! A segment is preallocated zeros. A record that was cut off leaves whole sectors of itself in them, since a disk writes a
//! sector or does not. Everything else that is not zero there is damage.

use crate::scan::Scanner;
use crate::segment::SegmentHeader;
use crate::wal::{ALIGN, HEAD_LEN, Head, MAX_RECORD};

/// How much is read at once.
const STEP: u64 = 1 << 20;
/// What says how long a record is, in its head: flags and lengths.
const LENGTHS: [std::ops::Range<usize>; 2] = [4..8, 32..64];

/// What stands behind the last record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The zeros that the segment was made of.
    Zeros,
    /// Sectors of a record that was never finished. Nobody was answered for it.
    Torn,
    /// At this offset something that no unfinished record explains.
    Damaged(u64),
}

/// The place of the first byte of a record's padding that is not zero; `bytes` are the whole record.
pub fn record_padding(bytes: &[u8]) -> Option<u64> {
    let head = Head::parse(bytes)?;
    first_set(bytes, content(&head)?)
}

/// The place of the first byte between a segment's header and its first record that is not zero; `bytes` are the beginning of
/// the segment, of which the header was parsed.
pub fn header_padding(bytes: &[u8], header: &SegmentHeader) -> Option<u64> {
    let end = usize::try_from(header.first_record()).ok()?;
    first_set(bytes.get(..end)?, SegmentHeader::length(bytes)?)
}

fn first_set(bytes: &[u8], from: usize) -> Option<u64> {
    let at = bytes.get(from..)?.iter().position(|byte| *byte != 0)?;
    Some(from.saturating_add(at) as u64)
}

/// Bytes of a record without its padding.
fn content(head: &Head) -> Option<usize> {
    head.front()?.checked_add(head.bodies())
}

/// Looks at everything from the place where the scanner found no record to the end of the segment. `read` as for
/// [`Scanner::next`].
///
/// A record that was written whole and then damaged is told from one that was cut off: of the latter, a sector is missing.
pub fn rest<E>(scanner: &Scanner, read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<Rest, E> {
    let (start, end) = (scanner.offset, scanner.end);
    let mut first = vec![0; ALIGN.min(end.saturating_sub(start)) as usize];
    read(start, &mut first)?;
    let mut head = None;
    if let Some(at) = first_set(&first, 0) {
        // The sector with the head is there, so the head is what was written: that of the next record.
        let next = |head: &Head| {
            let follows = head.sequence() == scanner.sequence && *head.chain() == scanner.chain;
            follows && head.padded().is_some_and(|length| length <= end.saturating_sub(start))
        };
        head = Head::parse(&first).filter(next);
        if head.is_none() {
            return Ok(Rest::Damaged(start.saturating_add(at)));
        }
    }
    let length = head.as_ref().and_then(Head::padded).unwrap_or(MAX_RECORD);
    let limit = start.saturating_add(length);
    let sectors = sectors(start, end, limit, read)?;
    if let Some(at) = sectors.damaged {
        return Ok(Rest::Damaged(at));
    }
    let Some(head) = head else {
        return Ok(if sectors.written { Rest::Torn } else { Rest::Zeros });
    };
    if !sectors.missing || length_changed(scanner, &head, &first, read)? {
        return Ok(Rest::Damaged(start));
    }
    Ok(Rest::Torn)
}

/// What the sectors behind the last record are.
struct Sectors {
    /// Some are not zero.
    written: bool,
    /// Some below the limit are zero.
    missing: bool,
    /// The first byte that is not zero behind the limit, or alone in its sector with a single bit.
    damaged: Option<u64>,
}

fn sectors<E>(
    start: u64,
    end: u64,
    limit: u64,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Sectors, E> {
    let mut found = Sectors { written: false, missing: false, damaged: None };
    let mut block = Vec::new();
    let mut offset = start;
    while offset < end {
        let length = STEP.min(end.saturating_sub(offset));
        block.resize(length as usize, 0);
        read(offset, &mut block)?;
        if offset >= limit && block.iter().all(|byte| *byte == 0) {
            offset = offset.saturating_add(length);
            continue;
        }
        for (number, sector) in block.chunks(ALIGN as usize).enumerate() {
            let place = offset.saturating_add((number as u64).saturating_mul(ALIGN));
            let Some(at) = first_set(sector, 0) else {
                found.missing |= place < limit;
                continue;
            };
            found.written = true;
            // No sector of a record has a single bit: that one was not written, it changed.
            if place >= limit || sector.iter().map(|byte| byte.count_ones()).sum::<u32>() == 1 {
                found.damaged.get_or_insert(place.saturating_add(at));
            }
        }
        offset = offset.saturating_add(length);
    }
    Ok(found)
}

/// Whether the record at the scanner's place is intact but for one bit of what its head says about its length. Only then can a whole
/// record seem to lack a sector.
fn length_changed<E>(
    scanner: &Scanner,
    found: &Head,
    sector: &[u8],
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<bool, E> {
    let room = scanner.end.saturating_sub(scanner.offset);
    let mut bytes = Vec::new();
    for bit in LENGTHS.into_iter().flatten().flat_map(|byte| byte * 8..byte * 8 + 8) {
        let Some(mut changed) = sector.get(..HEAD_LEN).map(<[u8]>::to_vec) else { return Ok(false) };
        if let Some(byte) = changed.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        // What was written was not longer than what the head says now, or nothing would seem to be missing.
        let Some(head) = Head::parse(&changed).filter(|head| content(head) < content(found)) else { continue };
        let (Some(front), Some(padded)) = (head.front(), head.padded()) else { continue };
        if padded > room {
            continue;
        }
        bytes.resize(front, 0);
        read(scanner.offset, &mut bytes)?;
        if let Some(place) = bytes.get_mut(..HEAD_LEN) {
            place.copy_from_slice(&changed);
        }
        if head.record(&bytes, &scanner.salt).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is wrong with a file of zeros that is to be a segment, if anything: its header may be there already, whole or in part.
/// Returns the place.
pub fn prepared<E>(length: u64, read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<Option<u64>, E> {
    let limit = crate::segment::MAX_HEADER as u64;
    let sectors = sectors(0, length, limit, read)?;
    if sectors.damaged.is_some() || !sectors.written {
        return Ok(sectors.damaged);
    }
    let mut bytes = vec![0; limit.min(length) as usize];
    read(0, &mut bytes)?;
    let sector = bytes.get(..ALIGN as usize).unwrap_or_default();
    if sector.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    // The first sector has been written: it says how long the header is. Behind that there is nothing.
    let Some(end) = SegmentHeader::length(&bytes) else { return Ok(Some(0)) };
    if let Some(at) = first_set(&bytes, end) {
        return Ok(Some(at));
    }
    let whole = SegmentHeader::parse(&bytes).is_ok();
    let cut = bytes.get(..end).unwrap_or(&bytes).chunks(ALIGN as usize).any(|part| part.iter().all(|byte| *byte == 0));
    Ok(if whole || cut { None } else { Some(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{MemoryLog, SALT, entry};
    use crate::scan::{Scan, Scope};
    use crate::segment::MAX_HEADER;
    use crate::wal::WalError;

    const LENGTH: u64 = 1 << 15;

    /// A log with one record, then one that fills several sectors; returns where the second begins and ends.
    fn log() -> (MemoryLog, usize, usize) {
        let mut log = MemoryLog::new(LENGTH);
        log.commit(vec![entry("a")], 1);
        let start = log.end;
        log.commit((0..30).map(|n| entry(&format!("entry {n:090}"))).collect(), 2);
        let end = log.end;
        assert!(end - start > 6 * ALIGN as usize);
        (log, start, end)
    }

    fn look(segment: &[u8]) -> Rest {
        let header = SegmentHeader::parse(&segment[..MAX_HEADER.min(segment.len())]).unwrap();
        let mut scanner = Scanner::new(&header);
        let mut buffer = Vec::new();
        let mut read = |offset: u64, part: &mut [u8]| -> Result<(), WalError> {
            part.copy_from_slice(&segment[offset as usize..offset as usize + part.len()]);
            Ok(())
        };
        while let Scan::Record(_) = scanner.next(Scope::Bodies, &mut read, &mut buffer).unwrap() {}
        rest(&scanner, &mut read).unwrap()
    }

    #[test]
    fn every_flipped_bit_behind_the_last_record_is_found() {
        let (log, _, end) = log();
        let segment = &log.segments[0];
        assert_eq!(look(segment), Rest::Zeros);
        for at in (end..segment.len()).step_by(211).chain([end, segment.len() - 1]) {
            let mut bad = segment.clone();
            bad[at] ^= 1 << (at % 8);
            assert_eq!(look(&bad), Rest::Damaged(at as u64));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_whole_last_record_is_found() {
        let (log, start, end) = log();
        let segment = &log.segments[0];
        let padding = segment[start..end].iter().rev().take_while(|byte| **byte == 0).count();
        let (head, sections) = (start * 8..(start + HEAD_LEN) * 8, ((start + HEAD_LEN) * 8..(end - padding) * 8));
        for bit in head.chain(sections.step_by(61)) {
            let mut bad = segment.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(look(&bad), Rest::Damaged(_)), "bit {bit} of {start}..{end}");
        }
        // The padding is no part of what makes a record; it is looked at when the record is read.
        for at in end - padding..end {
            let mut bad = segment[start..end].to_vec();
            bad[at - start] = 1;
            assert_eq!(record_padding(&bad), Some((at - start) as u64));
        }
        assert_eq!(record_padding(&segment[start..end]), None);
    }

    #[test]
    fn a_record_that_lacks_any_of_its_sectors_was_cut_off() {
        let (log, start, end) = log();
        let sectors: Vec<_> = (start..end).step_by(ALIGN as usize).collect();
        for kept in (1..(1u32 << sectors.len()) - 1).step_by(5) {
            let mut torn = log.segments[0].clone();
            for (_, at) in sectors.iter().enumerate().filter(|(number, _)| kept >> number & 1 == 0) {
                torn[*at..*at + ALIGN as usize].fill(0);
            }
            assert_eq!(look(&torn), Rest::Torn, "{kept:b}");
            // A bit that is set behind it is still found.
            let last = torn.len() - 5;
            torn[last] ^= 4;
            assert_eq!(look(&torn), Rest::Damaged(last as u64), "{kept:b}");
        }
    }

    #[test]
    fn bytes_that_are_no_record_were_not_cut_off() {
        let (log, _, end) = log();
        let mut bad = log.segments[0].clone();
        bad[end + 8..end + 100].fill(0xaa);
        assert_eq!(look(&bad), Rest::Damaged(end as u64 + 8));
        // Nor is an older record: the first one, once more.
        let first = SegmentHeader::parse(&bad[..MAX_HEADER.min(bad.len())]).unwrap().first_record() as usize;
        let mut bad = log.segments[0].clone();
        bad.copy_within(first..first + ALIGN as usize, end);
        let mut scanner = Scanner::new(&SegmentHeader::parse(&bad[..]).unwrap());
        scanner.offset = end as u64;
        scanner.sequence = 2;
        let mut read = |offset: u64, part: &mut [u8]| -> Result<(), WalError> {
            part.copy_from_slice(&bad[offset as usize..offset as usize + part.len()]);
            Ok(())
        };
        assert_eq!(rest(&scanner, &mut read).unwrap(), Rest::Damaged(end as u64));
    }

    #[test]
    fn padding_of_a_header_is_zeros() {
        let (log, ..) = log();
        let segment = &log.segments[0];
        let header = SegmentHeader::parse(segment).unwrap();
        assert_eq!(header_padding(segment, &header), None);
        let last = header.first_record() as usize - 1;
        let mut bad = segment.clone();
        bad[last] = 0x10;
        assert_eq!(header_padding(&bad, &header), Some(last as u64));
    }

    #[test]
    fn a_prepared_file_is_zeros_with_a_header_at_most() {
        let header = MemoryLog::new(LENGTH).segments[0].clone();
        let look = |file: &[u8]| {
            let mut read = |offset: u64, part: &mut [u8]| -> Result<(), ()> {
                part.copy_from_slice(&file[offset as usize..offset as usize + part.len()]);
                Ok(())
            };
            prepared(file.len() as u64, &mut read).unwrap()
        };
        assert_eq!(look(&[]), None);
        assert_eq!(look(&vec![0; 300_000]), None);
        assert_eq!(look(&header), None);
        for at in (0..header.len()).step_by(13) {
            for file in [&header, &vec![0; 300_000]] {
                let mut bad = file.clone();
                bad[at] ^= 2;
                assert!(look(&bad).is_some(), "byte {at}");
            }
        }
        let (log, _, end) = log();
        let mut bad = log.segments[0][..end].to_vec();
        bad.resize(300_000, 0);
        assert!(look(&bad).is_some());
        assert_eq!(SALT.len(), 16);
    }
}
