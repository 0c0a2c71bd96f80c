//! The mark that says how many leaves have tiles that survive a power cut.
//!
//! ```text
//! 65536 6bb63a1d          the number, and the first four bytes of its SHA-256 in hexadecimal
//! ```
//!
//! Recovery skips what the mark covers. So a digit that changed must not look like another number.

use waxseal_formats::crypto::digest::sha256;

/// Longest mark, in bytes.
pub const MAX_MARK: usize = 32;

/// Writes the mark for `size` leaves.
pub fn encode(size: u64) -> String {
    format!("{size} {}\n", check(&size.to_string()))
}

/// Reads a mark: the one way in which it is written, or the bare number of the first format. `None` for anything else.
pub fn parse(bytes: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let (digits, sum) = line.split_once(' ').unwrap_or((line, ""));
    let size: u64 = digits.parse().ok()?;
    let intact = line == digits || sum == check(digits);
    (intact && size.to_string() == digits).then_some(size)
}

fn check(digits: &str) -> String {
    sha256(digits.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{MAX_MARK, encode, parse};

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for size in [0, 7, 65_536, u64::MAX] {
            let mark = encode(size);
            assert!(mark.len() <= MAX_MARK);
            assert_eq!(parse(mark.as_bytes()), Some(size));
        }
        assert_eq!(parse(b"65536\n"), Some(65_536));
        for wrong in ["", "\n", "65536", "065536\n", "+5\n", " 5\n", "5 \n", "5\n\n", "5 00000000\n", "-1\n"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_mark_is_noticed() {
        for size in [0, 9, 1234, 65_536] {
            let mark = encode(size).into_bytes();
            for bit in 0..mark.len() * 8 {
                let mut bad = mark.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(parse(&bad), None, "{size}, bit {bit}");
            }
        }
    }
}
