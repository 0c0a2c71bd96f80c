//! The certificates that this instance issued lately, by fingerprint.

use super::GRACE;
use formats::crypto::sha256;
use formats::x509::Certificate;
use jiff::Timestamp;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use waxseal_formats as formats;

/// Most certificates that are remembered, at some 100 bytes each: those of ten minutes at 430 a second. With more the oldest
/// ones are forgotten, and cost a signature check if they write after all.
pub const MAX_LIVE: usize = 1 << 18;

/// SHA-256 of a DER certificate.
type Fingerprint = [u8; 32];

/// Certificates that this instance issued and that may still write to its log. A view that is lost with the process: who is not
/// found here is checked.
///
/// Shared by the one that issues and the one that logs; it is locked for a look-up, never for a check.
#[derive(Debug, Default)]
pub struct LiveCertificates(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// All of them.
    found: BTreeSet<(Fingerprint, Timestamp)>,
    /// The same in the order of issuance, which is that of their ends: all live equally long.
    order: VecDeque<(Fingerprint, Timestamp)>,
}

impl LiveCertificates {
    /// Remembers a certificate that was issued just now, and forgets those whose time is over.
    pub fn insert(&self, certificate: &Certificate, now: Timestamp) {
        let fingerprint = sha256(certificate.der());
        let mut known = self.lock();
        known.prune(now);
        let entry = (fingerprint, certificate.not_after());
        if known.found.insert(entry) {
            known.order.push_back(entry);
        }
    }

    /// Whether this DER certificate is one of them, and its time not over for more than [`GRACE`].
    #[must_use]
    pub fn contains(&self, der: &[u8], now: Timestamp) -> bool {
        let fingerprint = sha256(der);
        let known = self.lock();
        let of_this = (fingerprint, Timestamp::MIN)..=(fingerprint, Timestamp::MAX);
        known.found.range(of_this).any(|(_, not_after)| !over(*not_after, now))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked while holding it had changed a cache: what is missing in it is checked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Drops what is over at the front, and the oldest ones for room.
    fn prune(&mut self, now: Timestamp) {
        while let Some(oldest) = self.order.front().copied() {
            if !over(oldest.1, now) && self.order.len() < MAX_LIVE {
                break;
            }
            self.order.pop_front();
            self.found.remove(&oldest);
        }
    }
}

fn over(not_after: Timestamp, now: Timestamp) -> bool {
    now.duration_since(not_after) > GRACE
}

#[cfg(test)]
mod tests {
    use super::{GRACE, Known, LiveCertificates, MAX_LIVE};
    use crate::ca::forge::{issuer, leaf};
    use formats::crypto::KeyKind;
    use formats::x509::Certificate;
    use jiff::{SignedDuration, Timestamp};
    use waxseal_formats as formats;

    fn one() -> Certificate {
        let (ca, issuer) = issuer(KeyKind::EcdsaP256);
        leaf(&ca, &issuer)
    }

    #[test]
    fn a_certificate_is_found_until_its_time_is_over() {
        let (live, certificate) = (LiveCertificates::default(), one());
        let end = certificate.not_after();
        assert!(!live.contains(certificate.der(), end), "nothing was issued");
        live.insert(&certificate, certificate.not_before());
        live.insert(&certificate, certificate.not_before());
        for (time, found) in [(certificate.not_before(), true), (end, true), (end + GRACE, true)] {
            assert_eq!(live.contains(certificate.der(), time), found);
        }
        assert!(!live.contains(certificate.der(), end + GRACE + SignedDuration::from_secs(1)));
        assert!(!live.contains(certificate.tbs_der(), end), "another one");
        assert_eq!(live.lock().order.len(), 1, "once");
    }

    #[test]
    fn what_is_over_is_forgotten_and_memory_is_bounded() {
        let (live, certificate) = (LiveCertificates::default(), one());
        live.insert(&certificate, certificate.not_before());
        let mut known = live.lock();
        known.prune(certificate.not_after() + GRACE);
        assert_eq!(known.found.len(), 1);
        known.prune(certificate.not_after() + GRACE + SignedDuration::from_secs(1));
        assert!(known.found.is_empty() && known.order.is_empty());

        let mut known = Known::default();
        let entry = |number: usize| {
            let mut fingerprint = [0; 32];
            fingerprint[..8].copy_from_slice(&number.to_be_bytes());
            (fingerprint, Timestamp::UNIX_EPOCH)
        };
        for number in 0..=MAX_LIVE {
            known.prune(Timestamp::UNIX_EPOCH);
            known.found.insert(entry(number));
            known.order.push_back(entry(number));
        }
        assert_eq!((known.found.len(), known.order.len()), (MAX_LIVE, MAX_LIVE));
        assert!(!known.found.contains(&entry(0)) && known.found.contains(&entry(MAX_LIVE)));
    }
}
