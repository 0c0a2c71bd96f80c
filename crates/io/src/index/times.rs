//! When entries were sequenced: the times of the batches, in groups of leaves that each stand for themselves.
//!
//! ```text
//! group  batch | batch | … | digest (16)
//! batch  its first leaf less the group's (4) | milliseconds since 1970 (8)      integers big-endian
//! ```

use waxseal_formats::crypto::digest::sha256_concat;

/// Leaves of a group.
const LEAVES: u64 = 256;
const BATCH: usize = 12;
const DIGEST: usize = 16;

/// The groups of the leaves `first..end`; `batches` are the first leaf and time of each batch, of which the first is at `first`.
pub(super) fn encode(first: u64, end: u64, batches: &[(u64, u64)]) -> Vec<(u64, Vec<u8>)> {
    let mut groups = Vec::new();
    let mut rest = batches;
    let mut before = 0;
    let mut start = first;
    while start < end {
        let next = start.saturating_add(LEAVES);
        let (here, behind) = rest.split_at(rest.partition_point(|(first, _)| *first < next));
        // A batch that began before the group goes on in it.
        let goes_on = here.first().is_none_or(|(first, _)| *first > start).then_some((start, before));
        let mut bytes = Vec::new();
        for (first, time) in goes_on.iter().chain(here) {
            bytes.extend_from_slice(&u32::try_from(first.saturating_sub(start)).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(&time.to_be_bytes());
            before = *time;
        }
        let digest = digest(start, &bytes);
        bytes.extend_from_slice(&digest);
        groups.push((start, bytes));
        (rest, start) = (behind, next);
    }
    groups
}

/// The time of an entry of the group that begins at `first`; `None` if the group is damaged.
pub(super) fn find(first: u64, group: &[u8], index: u64) -> Option<u64> {
    let (bytes, found) = group.split_last_chunk::<DIGEST>()?;
    let (batches, rest) = bytes.as_chunks::<BATCH>();
    if !rest.is_empty() || digest(first, bytes) != *found {
        return None;
    }
    let offset = u32::try_from(index.checked_sub(first)?).ok()?;
    let behind =
        batches.partition_point(|batch| batch.first_chunk().is_some_and(|at| u32::from_be_bytes(*at) <= offset));
    batches.get(behind.checked_sub(1)?)?.last_chunk().map(|time| u64::from_be_bytes(*time))
}

/// The first leaf and time of each batch of the group that begins at `first`; `None` if the group is damaged.
pub(super) fn batches(first: u64, group: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (bytes, found) = group.split_last_chunk::<DIGEST>()?;
    let (batches, rest) = bytes.as_chunks::<BATCH>();
    if !rest.is_empty() || digest(first, bytes) != *found {
        return None;
    }
    let batch = |batch: &[u8; BATCH]| {
        let (offset, time) = batch.split_first_chunk::<4>()?;
        let begin = first.checked_add(u64::from(u32::from_be_bytes(*offset)))?;
        Some((begin, u64::from_be_bytes(*time.first_chunk()?)))
    };
    batches.iter().map(batch).collect()
}

fn digest(first: u64, batches: &[u8]) -> [u8; DIGEST] {
    sha256_concat(&[&first.to_be_bytes(), batches]).first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_knows_the_times_of_its_leaves() {
        let batches = [(1000, 7), (1001, 8), (1255, 9), (1600, 10)];
        let groups = encode(1000, 1700, &batches);
        assert_eq!(groups.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [1000, 1256, 1512]);
        for index in 1000..1700 {
            let (first, group) = groups.iter().rfind(|(first, _)| *first <= index).expect("covered");
            let expected = batches.iter().rfind(|(first, _)| *first <= index).expect("covered").1;
            assert_eq!(find(*first, group, index), Some(expected), "{index}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_group_is_noticed() {
        let (first, group) = encode(5, 9, &[(5, 1), (7, 2)]).remove(0);
        for bit in 0..group.len() * 8 {
            let mut bad = group.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(find(first, &bad, 8), None, "bit {bit}");
        }
        assert_eq!(find(6, &group, 8), None);
    }
}
