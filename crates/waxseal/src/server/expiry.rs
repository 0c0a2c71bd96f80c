//! What expires, and who is told in time.

use crate::server::front::tls::Tls;
use crate::server::tuf::Tuf;
use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use waxseal_formats::tuf::TopLevel;
use waxseal_formats::x509::Certificate;
use waxseal_io::system;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Days before the end from which on somebody is told each day; at each of them it gets more urgent.
const WARNINGS: [i64; 3] = [60, 30, 7];
/// What renews itself is worth a word when it should have done so long ago.
const OVERDUE: SignedDuration = SignedDuration::from_hours(24);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhatLabel {
    what: &'static str,
}

/// The things that expire.
pub struct Expiry {
    tuf: Arc<Tuf>,
    tls: Option<Arc<Tls>>,
    certificates: Vec<(&'static str, Timestamp)>,
    seconds: Family<WhatLabel, Gauge>,
}

/// Something that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thing {
    what: &'static str,
    at: Timestamp,
    /// It is renewed without anybody.
    by_itself: bool,
}

/// How near an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Over,
    /// Within so many days.
    Days(i64),
    Far,
}

impl Expiry {
    /// The metadata of `tuf`, the certificates of these chains, the own one first, and the listener's.
    #[must_use]
    pub fn new(tuf: Arc<Tuf>, ca: &[Certificate], tsa: &[Certificate], tls: Option<Arc<Tls>>) -> Arc<Self> {
        let named = |names: [&'static str; 2], chain: &[Certificate]| {
            let ends = [chain.first(), chain.last()];
            names.into_iter().zip(ends).filter_map(|(name, end)| Some((name, end?.not_after()))).collect::<Vec<_>>()
        };
        let mut certificates = named(["ca", "ca-root"], ca);
        certificates.extend(named(["tsa", "tsa-root"], tsa));
        Arc::new(Self { tuf, tls, certificates, seconds: Family::default() })
    }

    /// Registers the metric.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("expiry_seconds", "Seconds until something expires", self.seconds.clone());
        self.measure(system::now());
    }

    fn things(&self) -> Vec<Thing> {
        let mut things: Vec<Thing> =
            self.certificates.iter().map(|(what, at)| Thing { what, at: *at, by_itself: false }).collect();
        things.extend(self.tuf.expiries().into_iter().map(|(role, at)| match role {
            TopLevel::Root => Thing { what: "tuf-root", at, by_itself: self.tuf.renews_root() },
            TopLevel::Targets => Thing { what: "tuf-targets", at, by_itself: true },
            TopLevel::Snapshot => Thing { what: "tuf-snapshot", at, by_itself: true },
            TopLevel::Timestamp => Thing { what: "tuf-timestamp", at, by_itself: true },
        }));
        let tls = self.tls.as_ref().and_then(|tls| tls.expires());
        things.extend(tls.map(|at| Thing { what: "tls", at, by_itself: false }));
        things
    }

    fn measure(&self, now: Timestamp) {
        for Thing { what, at, .. } in self.things() {
            self.seconds.get_or_create(&WhatLabel { what }).set(at.duration_since(now).as_secs());
        }
    }

    /// When everything expires, and what does soon, for `/readyz`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (mut all, mut soon) = (Map::new(), Vec::new());
        let now = system::now();
        for thing in self.things() {
            all.insert(thing.what.to_owned(), json!(thing.at.to_string()));
            if thing.nearness(now) != Nearness::Far {
                soon.push(thing.what);
            }
        }
        json!({"at": all, "soon": soon})
    }

    /// Measures every hour and tells what expires soon, once a day, for as long as the process runs.
    pub async fn watch(self: Arc<Self>) {
        let mut told: Vec<(&'static str, Nearness, Timestamp)> = Vec::new();
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            let now = system::now();
            self.measure(now);
            for thing in self.things() {
                let nearness = thing.nearness(now);
                let last = told.iter().position(|(what, ..)| *what == thing.what);
                let before = last.and_then(|place| told.get(place)).map(|(_, nearness, at)| (*nearness, *at));
                if is_due(nearness, before, now) {
                    thing.tell(nearness);
                    if let Some(place) = last {
                        told.swap_remove(place);
                    }
                    told.push((thing.what, nearness, now));
                }
            }
        }
    }
}

impl Thing {
    fn nearness(&self, now: Timestamp) -> Nearness {
        let left = self.at.duration_since(now);
        if left <= SignedDuration::ZERO {
            return Nearness::Over;
        }
        if self.by_itself {
            return if left < OVERDUE { Nearness::Days(1) } else { Nearness::Far };
        }
        let near = WARNINGS.into_iter().rev().find(|days| left <= SignedDuration::from_hours(days.saturating_mul(24)));
        near.map_or(Nearness::Far, Nearness::Days)
    }

    fn tell(&self, nearness: Nearness) {
        let (what, at) = (self.what, self.at);
        match nearness {
            Nearness::Over => tracing::error!(what, %at, "expired: clients refuse what depends on it"),
            Nearness::Days(days) if days <= 7 => tracing::error!(what, %at, "expires within {days} days"),
            Nearness::Days(days) => tracing::warn!(what, %at, "expires within {days} days"),
            Nearness::Far => {}
        }
    }
}

/// Whether something is to be told, which was told last with that nearness at that time: whenever it gets nearer, and each day.
fn is_due(nearness: Nearness, before: Option<(Nearness, Timestamp)>, now: Timestamp) -> bool {
    nearness != Nearness::Far
        && before
            .is_none_or(|(before, at)| nearness < before || now.duration_since(at) >= SignedDuration::from_hours(24))
}

#[cfg(test)]
mod tests {
    use super::{Nearness, Thing, is_due};
    use jiff::{SignedDuration, Timestamp};

    fn days(days: i64) -> SignedDuration {
        SignedDuration::from_hours(24 * days)
    }

    #[test]
    fn the_end_is_told_60_30_and_7_days_ahead_and_daily() {
        let at = Timestamp::UNIX_EPOCH + days(1000);
        let thing = Thing { what: "ca", at, by_itself: false };
        let (mut told, mut days_told) = (None, Vec::new());
        for day in (0..=70).rev() {
            let now = at - days(day);
            let nearness = thing.nearness(now);
            if is_due(nearness, told, now) {
                told = Some((nearness, now));
                days_told.push((day, nearness));
            }
        }
        assert_eq!(days_told[0], (60, Nearness::Days(60)));
        assert!(days_told.contains(&(30, Nearness::Days(30))) && days_told.contains(&(7, Nearness::Days(7))));
        assert_eq!(days_told.last(), Some(&(0, Nearness::Over)));
        assert_eq!(days_told.len(), 61, "each day");
        let hour = at - days(60) + SignedDuration::from_hours(1);
        assert!(!is_due(Nearness::Days(60), Some((Nearness::Days(60), at - days(60))), hour), "once a day");
        assert!(is_due(Nearness::Days(30), Some((Nearness::Days(60), hour)), hour), "and when it gets nearer");
    }

    #[test]
    fn what_renews_itself_is_told_when_it_did_not() {
        let at = Timestamp::UNIX_EPOCH + days(1000);
        let thing = Thing { what: "tuf-timestamp", at, by_itself: true };
        assert_eq!(thing.nearness(at - days(6)), Nearness::Far);
        assert_eq!(thing.nearness(at - SignedDuration::from_hours(5)), Nearness::Days(1));
        assert_eq!(thing.nearness(at), Nearness::Over);
    }
}
