//! How many requests an address may make.

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// After so many requests, addresses that have been quiet are forgotten.
const SWEEP: u32 = 1 << 14;

/// A bucket for each address. Hosts with IPv6 have a network each, so its first 64 bits are what counts.
pub struct RequestLimit {
    buckets: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    clock: DefaultClock,
    since_sweep: AtomicU32,
}

impl RequestLimit {
    /// So many a second, and so many at once after a pause.
    #[must_use]
    pub fn per_second(requests: NonZeroU32) -> Self {
        let clock = DefaultClock::default();
        let buckets = RateLimiter::new(Quota::per_second(requests), HashMapStateStore::default(), clock.clone());
        Self { buckets, clock, since_sweep: AtomicU32::new(0) }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long the address has to wait.
    pub fn count(&self, address: IpAddr) -> Result<(), Duration> {
        if self.since_sweep.fetch_add(1, Ordering::Relaxed) >= SWEEP {
            self.since_sweep.store(0, Ordering::Relaxed);
            self.buckets.retain_recent();
        }
        self.buckets.check_key(&network(address)).map_err(|early| early.wait_time_from(self.clock.now()))
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::{RequestLimit, SWEEP, network};
    use std::net::{IpAddr, Ipv4Addr};
    use std::num::NonZeroU32;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_address_has_its_own_bucket_and_a_network_of_ipv6_one() {
        let limit = RequestLimit::per_second(NonZeroU32::MIN);
        for (first, same, other) in
            [("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")]
        {
            assert!(limit.count(address(first)).is_ok());
            let wait = limit.count(address(same)).expect_err("limited");
            assert!(!wait.is_zero());
            assert!(limit.count(address(other)).is_ok());
        }
        assert_eq!(network(address("2001:db8:1:2:3:4:5:6")), address("2001:db8:1:2::"));
    }

    #[test]
    fn quiet_addresses_are_forgotten() {
        let limit = RequestLimit::per_second(NonZeroU32::new(u32::MAX).expect("not zero"));
        for number in 0..=SWEEP {
            let _ = limit.count(Ipv4Addr::from_bits(number).into());
        }
        assert!(limit.buckets.len() < 1000, "{}", limit.buckets.len());
    }
}
