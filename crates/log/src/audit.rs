//! Rows of the audit log: they stand in the record with the entries that they are about, so that neither is durable without the
//! other, and share its place in the chain of digests.
//!
//! ```text
//! row   u32 leaf (offset within the batch; 2^32 - 1: about none) | u32 length | text        all rows one after another
//! ```
//!
//! What the text says is not the log's business.

/// Longest text of a row, in bytes.
pub const MAX_ROW: usize = 16 << 10;
const NONE: u32 = u32::MAX;

/// A row of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditRow<'a> {
    /// Which leaf of the batch it is about, counted from 0.
    pub leaf: Option<u32>,
    /// What it says.
    pub text: &'a [u8],
}

/// Adds a row to the audit section of a record.
pub(crate) fn push(section: &mut Vec<u8>, leaf: Option<u32>, text: &[u8]) {
    // Longer ones are not taken in the first place.
    let text = text.get(..MAX_ROW).unwrap_or(text);
    section.extend_from_slice(&leaf.unwrap_or(NONE).to_be_bytes());
    section.extend_from_slice(&(text.len() as u32).to_be_bytes());
    section.extend_from_slice(text);
}

/// Reads the audit section of a record of `leaves` leaves. `None` if it is malformed, or names a leaf that is not there.
pub fn decode(mut section: &[u8], leaves: usize) -> Option<Vec<AuditRow<'_>>> {
    let mut rows = Vec::new();
    while !section.is_empty() {
        let (leaf, rest) = section.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).filter(|_| length <= MAX_ROW)?;
        let leaf = Some(u32::from_be_bytes(*leaf)).filter(|leaf| *leaf != NONE);
        if leaf.is_some_and(|leaf| leaf as usize >= leaves) {
            return None;
        }
        rows.push(AuditRow { leaf, text });
        section = rest;
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let mut section = Vec::new();
        push(&mut section, Some(1), b"issued");
        push(&mut section, None, b"");
        let rows = [AuditRow { leaf: Some(1), text: b"issued" }, AuditRow { leaf: None, text: b"" }];
        assert_eq!(decode(&section, 2), Some(rows.to_vec()));
        assert_eq!(decode(&[], 0), Some(Vec::new()));
        assert_eq!(decode(&section, 1), None, "a leaf outside the batch");
        for length in 1..section.len() {
            assert!(decode(&section[..length], 2).is_none_or(|rows| rows.len() < 2), "cut off at {length}");
        }
        let mut long = Vec::new();
        push(&mut long, None, &[7; MAX_ROW + 1]);
        assert_eq!(decode(&long, 0).map(|rows| rows[0].text.len()), Some(MAX_ROW));
    }
}
