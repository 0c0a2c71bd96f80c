//! Ranges of IP addresses, as configurations write them: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`.

use serde::de::{Deserialize, Deserializer, Error as _};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    address: IpAddr,
    bits: u8,
}

/// What is wrong with a text that should be a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no IP address, and no range such as 10.0.0.0/8")]
pub struct RangeError(String);

impl AddressRange {
    /// Whether an address is in the range. An IPv4 address that came over IPv6 (`::ffff:192.0.2.7`) is what it stands for.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(u32::from(own).into(), u32::from(other).into(), 32, self.bits),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.into(), other.into(), 128, self.bits),
            _ => false,
        }
    }
}

fn same(own: u128, other: u128, length: u32, bits: u8) -> bool {
    let beyond = length.saturating_sub(u32::from(bits));
    (own ^ other).checked_shr(beyond).unwrap_or(0) == 0
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let fault = || RangeError(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let length = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => length,
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().map_err(|_| fault())?,
            Some(_) => return Err(fault()),
        };
        if bits > length { Err(fault()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::AddressRange;

    fn contains(range: &str, address: &str) -> bool {
        range.parse::<AddressRange>().expect("a range").contains(address.parse().expect("an address"))
    }

    #[test]
    fn a_range_has_the_addresses_that_begin_like_it() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
        ] {
            assert!(contains(range, inside), "{range}");
            assert!(!contains(range, outside), "{range}");
        }
        assert!(contains("0.0.0.0/0", "203.0.113.9") && contains("::/0", "2001:db8::1"));
        // An address family is not the other one, but a mapped address is what it stands for.
        assert!(!contains("0.0.0.0/0", "::1") && !contains("::/0", "127.0.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "corp", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0/8"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }
}
