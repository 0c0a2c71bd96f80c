//! The presentation language of TLS (RFC 8446 §3) as far as Certificate Transparency uses it: big-endian
//! integers of one to eight bytes and vectors with their length in front.

/// Reads a structure from the front of a slice. Every method answers `None` when the bytes do not suffice.
pub(crate) struct TlsReader<'a>(&'a [u8]);

impl<'a> TlsReader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    /// An unsigned integer of `width` bytes, at most eight.
    pub(crate) fn uint(&mut self, width: usize) -> Option<u64> {
        Some(self.bytes(width)?.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// A vector whose length stands in front of it in `width` bytes.
    pub(crate) fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let len = usize::try_from(self.uint(width)?).ok()?;
        self.bytes(len)
    }
}

/// Appends the low `width` bytes of `value`, or nothing and `None` if it does not fit.
pub(crate) fn put_uint(out: &mut Vec<u8>, width: usize, value: u64) -> Option<()> {
    let bytes = value.to_be_bytes();
    let (high, low) = bytes.split_at_checked(bytes.len().checked_sub(width)?)?;
    if high.iter().any(|byte| *byte != 0) {
        return None;
    }
    out.extend_from_slice(low);
    Some(())
}

/// Appends a vector with its length in `width` bytes in front.
pub(crate) fn put_vector(out: &mut Vec<u8>, width: usize, contents: &[u8]) -> Option<()> {
    put_uint(out, width, u64::try_from(contents.len()).ok()?)?;
    out.extend_from_slice(contents);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{TlsReader, put_uint, put_vector};

    #[test]
    fn integers_and_vectors_round_trip_and_never_read_past_the_end() {
        let mut out = Vec::new();
        put_uint(&mut out, 5, 908_820).expect("fits");
        put_vector(&mut out, 3, b"abc").expect("fits");
        assert_eq!(hex::encode(&out), "00000dde14000003616263");
        let mut reader = TlsReader::new(&out);
        assert_eq!(reader.uint(5), Some(908_820));
        assert_eq!(reader.vector(3), Some(&b"abc"[..]));
        assert!(reader.is_empty());
        assert_eq!(reader.uint(1), None);
        assert_eq!(TlsReader::new(b"\x00\x02a").vector(2), None);
        assert_eq!(put_uint(&mut out, 1, 256), None);
        assert_eq!(put_vector(&mut out, 1, &[0; 256]), None);
        assert_eq!(out.len(), 11);
    }
}
