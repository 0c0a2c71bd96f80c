//! Rows for the search view: they stand in the record with their entries, so that the view cannot drift from the log.
//!
//! ```text
//! row   u32 leaf (offset within the batch) | search key (16)        all rows of a record one after another
//! ```

use waxseal_formats::crypto::digest::sha256;

/// Most keys by which one entry can be found; a statement may have many subjects.
pub const MAX_KEYS: usize = 256;
const ROW_LEN: usize = 20;

/// What an entry is found by: sixteen bytes of the hash of a text such as an e-mail address or `sha256:…`, in lower case.
///
/// The view has no use for the text, and all keys have the same length. Two texts share a key with a probability of 2^-128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchKey([u8; 16]);

impl SearchKey {
    /// The key of a text; its case is ignored.
    pub fn of(text: &str) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = sha256(text.to_lowercase().as_bytes());
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// One entry is found by one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which leaf of the batch, counted from 0.
    pub leaf: u32,
    /// By what it is found.
    pub key: SearchKey,
}

/// Writes the rows section of a record.
pub fn encode(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len().saturating_mul(ROW_LEN));
    for row in rows {
        bytes.extend_from_slice(&row.leaf.to_be_bytes());
        bytes.extend_from_slice(&row.key.0);
    }
    bytes
}

/// Reads the rows section of a record of `leaves` leaves. `None` if it is malformed, or names a leaf that is not there.
pub fn decode(bytes: &[u8], leaves: usize) -> Option<Vec<Row>> {
    let (rows, rest) = bytes.as_chunks::<ROW_LEN>();
    if !rest.is_empty() {
        return None;
    }
    let row = |bytes: &[u8; ROW_LEN]| {
        let (leaf, key) = bytes.split_first_chunk::<4>()?;
        let leaf = u32::from_be_bytes(*leaf);
        ((leaf as usize) < leaves).then_some(Row { leaf, key: SearchKey(key.try_into().ok()?) })
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rows = [Row { leaf: 0, key: SearchKey::of("a") }, Row { leaf: 7, key: SearchKey::of("b") }];
        assert_eq!(decode(&encode(&rows), 8), Some(rows.to_vec()));
        assert_eq!(decode(&[], 0), Some(Vec::new()));
        assert_eq!(decode(&encode(&rows), 7), None, "a leaf outside the batch");
        assert_eq!(decode(&encode(&rows)[..39], 8), None, "cut off");
    }

    #[test]
    fn case_makes_no_difference() {
        assert_eq!(SearchKey::of("Alice@Corp.Example"), SearchKey::of("alice@corp.example"));
        assert_ne!(SearchKey::of("alice"), SearchKey::of("bob"));
    }
}
