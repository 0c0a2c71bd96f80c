//! How many certificates a rule or an identity may have in a minute.

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use waxseal_formats::crypto::sha256_concat;

/// Fewest buckets that are looked through for those that are full again, which are forgotten.
const SWEEP: usize = 1 << 12;

/// Buckets that are filled alike.
struct Buckets {
    limiter: RateLimiter<[u8; 32], HashMapStateStore<[u8; 32]>, DefaultClock>,
    /// When there are more than this they are looked through: twice as many as the last time left, so that a look at each is
    /// paid for by as many new ones.
    sweep: AtomicUsize,
}

/// More than allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who} may have {allowed} certificates a minute and has had them: try again in {} s", self.retry_after())]
pub(super) struct Exceeded {
    /// `this identity` or the rule.
    pub who: String,
    /// How many.
    pub allowed: NonZeroU32,
    /// Until there is one again.
    pub wait: Duration,
}

impl Exceeded {
    /// Whole seconds after which there is one again.
    pub(super) const fn retry_after(&self) -> u64 {
        self.wait.as_secs().saturating_add(1)
    }
}

/// Counts certificates. A limit that is changed begins anew.
pub(super) struct Limits {
    /// Of every identity, whatever its issuer says.
    identity: Option<NonZeroU32>,
    /// What counts alike is together.
    buckets: Mutex<HashMap<NonZeroU32, Arc<Buckets>>>,
    clock: DefaultClock,
}

impl Limits {
    /// So many certificates a minute for each identity, if there is such a limit.
    pub(super) fn new(identity: Option<NonZeroU32>) -> Self {
        Self { identity, buckets: Mutex::default(), clock: DefaultClock::default() }
    }

    /// Counts a certificate for an identity of an issuer, which may have a limit for its identities, and for the rule that
    /// admits it, which may have one for all whom it admits.
    pub(super) fn count(
        &self,
        (issuer, identity): (&str, &str),
        of_issuer: Option<NonZeroU32>,
        (rule, of_rule): (&str, Option<NonZeroU32>),
    ) -> Result<(), Exceeded> {
        // The identity comes first: whoever asks too often uses up nothing of what others may have by the same rule.
        if let Some(allowed) = of_issuer.into_iter().chain(self.identity).min() {
            let name = sha256_concat(&[b"identity\0", issuer.as_bytes(), b"\0", identity.as_bytes()]);
            self.take(allowed, name).map_err(|wait| Exceeded { who: "this identity".into(), allowed, wait })?;
        }
        let Some(allowed) = of_rule else { return Ok(()) };
        let taken = self.take(allowed, sha256_concat(&[b"rule\0", rule.as_bytes()]));
        taken.map_err(|wait| Exceeded { who: format!("all whom the rule `{rule}` admits"), allowed, wait })
    }

    fn take(&self, allowed: NonZeroU32, name: [u8; 32]) -> Result<(), Duration> {
        let buckets = {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(buckets.entry(allowed).or_insert_with(|| {
                let (quota, store) = (Quota::per_minute(allowed), HashMapStateStore::default());
                let limiter = RateLimiter::new(quota, store, self.clock.clone());
                Arc::new(Buckets { limiter, sweep: AtomicUsize::new(SWEEP) })
            }))
        };
        if buckets.limiter.len() > buckets.sweep.load(Ordering::Relaxed) {
            buckets.limiter.retain_recent();
            buckets.sweep.store(buckets.limiter.len().saturating_mul(2).max(SWEEP), Ordering::Relaxed);
        }
        buckets.limiter.check_key(&name).map_err(|early| early.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, SWEEP};
    use std::num::NonZeroU32;

    const ISSUER: &str = "https://issuer.example";
    const NONE: (&str, Option<NonZeroU32>) = ("rule", None);

    fn allowed(number: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(number)
    }

    #[test]
    fn nothing_is_limited_unless_asked_for() {
        let limits = Limits::new(None);
        for _ in 0..10_000 {
            assert!(limits.count((ISSUER, "alice"), None, NONE).is_ok());
        }
    }

    #[test]
    fn identities_have_limits_of_their_own() {
        let limits = Limits::new(allowed(2));
        let count = |issuer: &str, identity: &str| limits.count((issuer, identity), None, NONE);
        assert!(count(ISSUER, "alice").is_ok() && count(ISSUER, "alice").is_ok());
        let exceeded = count(ISSUER, "alice").expect_err("limited");
        assert!(exceeded.to_string().starts_with("this identity may have 2 certificates a minute"), "{exceeded}");
        assert!(!exceeded.wait.is_zero());
        assert!(count(ISSUER, "bob").is_ok(), "another identity");
        assert!(count("https://other.example", "alice").is_ok(), "of another issuer");
    }

    #[test]
    fn the_stricter_of_an_issuers_limit_and_the_general_one_holds() {
        for (general, of_issuer) in [(None, allowed(1)), (allowed(5), allowed(1)), (allowed(1), allowed(5))] {
            let limits = Limits::new(general);
            assert!(limits.count((ISSUER, "alice"), of_issuer, NONE).is_ok());
            assert_eq!(limits.count((ISSUER, "alice"), of_issuer, NONE).expect_err("limited").allowed, NonZeroU32::MIN);
        }
    }

    /// Many at once are all remembered, and each keeps its limit.
    #[test]
    fn nobody_is_forgotten_while_he_has_used_something_up() {
        let limits = Limits::new(allowed(1));
        let names: Vec<String> = (0..3 * SWEEP).map(|number| format!("job-{number}")).collect();
        for name in &names {
            assert!(limits.count((ISSUER, name), None, NONE).is_ok());
        }
        assert!(names.iter().all(|name| limits.count((ISSUER, name), None, NONE).is_err()));
        let refused = |limit| limits.count((ISSUER, "one"), None, ("shared", allowed(limit)));
        assert!(refused(2).is_ok() && refused(2).is_err());
        assert!(limits.count((ISSUER, "two"), None, ("shared", allowed(2))).is_ok(), "the first used up one alone");
    }

    #[test]
    fn a_rule_has_its_limit_for_all_whom_it_admits() {
        let limits = Limits::new(None);
        assert!(limits.count((ISSUER, "alice"), None, ("builds", allowed(1))).is_ok());
        let exceeded = limits.count((ISSUER, "bob"), None, ("builds", allowed(1))).expect_err("limited");
        assert!(exceeded.to_string().contains("rule `builds`"), "{exceeded}");
        assert!(limits.count((ISSUER, "bob"), None, ("people", allowed(1))).is_ok(), "another rule");
        assert!(limits.count((ISSUER, "bob"), None, ("builds", None)).is_ok(), "a limit that was taken away");
    }
}
