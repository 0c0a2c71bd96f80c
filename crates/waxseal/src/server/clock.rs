//! The clock of the timestamp authority, watched.

use crate::server::config::settings::Timestamps;
use crate::server::drive::LogHandle;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use waxseal_authority::clock::{Doubt, Reference, Seen, judge};
use waxseal_io::{ntp, system};

/// How often time servers are asked.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long their last answer counts.
const LASTING: Duration = Duration::from_secs(15 * 60);
/// How long nothing is stamped after the clock was set, if no time server says that it is right now.
const SETTLING: Duration = Duration::from_secs(60);

/// What the clock is compared with.
pub struct Clock {
    settings: Timestamps,
    log: LogHandle,
    known: Mutex<Known>,
}

struct Known {
    /// A time of the clock, and of one that nobody sets, at the same moment.
    base: (Timestamp, Duration),
    /// How far the clock is ahead of that, and since when, by the one that nobody sets.
    stepped: Option<(SignedDuration, Duration)>,
    /// What the time servers said last, and when.
    reference: Option<(SignedDuration, Duration)>,
    /// What was told last.
    doubt: Option<Doubt>,
}

impl Clock {
    /// The clock from now on; `log` knows how late it has been.
    #[must_use]
    pub fn new(settings: Timestamps, log: LogHandle) -> Arc<Self> {
        let base = (system::now(), system::since_boot());
        let known = Known { base, stepped: None, reference: None, doubt: None };
        Arc::new(Self { settings, log, known: Mutex::new(known) })
    }

    /// The time, if the clock may be trusted with it.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn now(&self) -> Result<Timestamp, Doubt> {
        self.judge(system::now(), system::since_boot())
    }

    fn judge(&self, wall: Timestamp, steady: Duration) -> Result<Timestamp, Doubt> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (base, since) = known.base;
        let expected = base.saturating_add(steady.saturating_sub(since)).unwrap_or(Timestamp::MAX);
        let newest = i64::try_from(self.log.head().time.0).ok().and_then(|time| Timestamp::from_millisecond(time).ok());
        let seen = Seen {
            wall,
            steady: expected,
            newest: newest.unwrap_or(Timestamp::MIN),
            reference: self.reference(&known, steady),
        };
        let mut judged = judge(&seen, self.settings.max_difference);
        if let Err(Doubt::Step(_)) = judged {
            let offset = wall.duration_since(expected);
            // Set once more, it has to settle once more.
            let same = |(former, _): &(SignedDuration, Duration)| {
                former.saturating_sub(offset).abs() <= self.settings.max_difference
            };
            let (_, stepped) = *known.stepped.filter(same).get_or_insert((offset, steady));
            known.stepped = Some((offset, stepped));
            // Nobody will ever know which of the two was right; it has been steady since.
            if steady.saturating_sub(stepped) >= SETTLING {
                tracing::warn!(from = %expected, to = %wall, "the clock was set; timestamps go on with it");
                known.base = (wall, steady);
                known.stepped = None;
                judged = Ok(());
            }
        } else {
            known.stepped = None;
            if judged.is_ok() && seen.reference != Reference::Unasked {
                known.base = (wall, steady);
            }
        }
        let doubt = judged.err();
        if doubt.is_some() != known.doubt.is_some() {
            match &doubt {
                Some(doubt) => tracing::error!(code = %doubt.code(), %doubt, "no timestamps are given"),
                None => tracing::info!("the clock is trusted again"),
            }
        }
        known.doubt = doubt;
        judged.map(|()| wall)
    }

    fn reference(&self, known: &Known, steady: Duration) -> Reference {
        match known.reference {
            _ if self.settings.ntp.is_empty() => Reference::Unasked,
            Some((ahead, asked)) if steady.saturating_sub(asked) <= LASTING => Reference::Ahead(ahead),
            _ => Reference::Silent,
        }
    }

    /// Asks the time servers again and again, for as long as the process runs.
    pub async fn watch(self: Arc<Self>) {
        if self.settings.ntp.is_empty() {
            return;
        }
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            let servers = self.settings.ntp.clone();
            let asked = tokio::task::spawn_blocking(move || {
                servers.iter().map(|server| ntp::ahead_of(server)).collect::<Vec<_>>()
            });
            let Ok(answers) = asked.await else { continue };
            self.heard(answers, system::since_boot());
        }
    }

    /// Takes what the servers said: the median, so that one of three may be wrong.
    fn heard(&self, answers: Vec<Result<SignedDuration, String>>, steady: Duration) {
        let mut ahead = Vec::new();
        for answer in answers {
            match answer {
                Ok(difference) => ahead.push(difference),
                Err(error) => tracing::warn!(error, "a time server does not answer"),
            }
        }
        ahead.sort_unstable();
        if let Some(median) = ahead.get(ahead.len() / 2) {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).reference = Some((*median, steady));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Clock, LASTING, SETTLING};
    use crate::server::audit::tests::Audited;
    use crate::server::config::settings::Timestamps;
    use jiff::{SignedDuration, Timestamp};
    use std::sync::Arc;
    use std::time::Duration;
    use waxseal_authority::clock::Doubt;
    use waxseal_io::system;

    /// A clock that agrees with itself.
    pub(crate) fn trusted(audited: &Audited) -> Arc<Clock> {
        Clock::new(Timestamps::default(), audited.log.handle())
    }

    /// A clock that nobody has confirmed.
    pub(crate) fn doubtful(audited: &Audited) -> Arc<Clock> {
        let settings = Timestamps { ntp: vec!["ntp.example".into()], ..Timestamps::default() };
        Clock::new(settings, audited.log.handle())
    }

    fn later(time: Timestamp, seconds: i64) -> Timestamp {
        time + SignedDuration::from_secs(seconds)
    }

    #[tokio::test]
    async fn a_clock_that_was_set_attests_nothing_until_it_has_been_steady() {
        let audited = Audited::new();
        let clock = trusted(&audited);
        let (wall, steady) = (system::now(), system::since_boot());
        assert_eq!(clock.judge(wall, steady), Ok(wall));
        for offset in [3600, -3600 * 24] {
            let base = later(wall, offset);
            assert!(matches!(clock.judge(base, steady), Err(Doubt::Step(_) | Doubt::Behind(_))), "{offset}");
        }
        let clock = trusted(&audited);
        let (wall, steady) = (later(system::now(), 3600), system::since_boot());
        assert!(matches!(clock.judge(wall, steady), Err(Doubt::Step(_))));
        let half = SETTLING / 2;
        assert!(clock.judge(later(wall, 30), steady + half).is_err());
        assert!(clock.judge(later(wall, 60), steady + SETTLING).is_ok(), "it has been steady");
        assert!(clock.judge(later(wall, 61), steady + SETTLING + Duration::from_secs(1)).is_ok());
        let again = trusted(&audited);
        assert!(again.judge(wall, steady).is_err());
        assert!(again.judge(later(wall, 3600), steady + half).is_err(), "set once more");
        assert!(again.judge(later(wall, 3630), steady + SETTLING).is_err(), "that was half a minute ago");
        assert!(again.judge(later(wall, 3660), steady + half + SETTLING).is_ok());
        // Set back and forth, it settles anew.
        assert!(clock.judge(later(wall, -3000), steady + SETTLING + Duration::from_secs(2)).is_err());
    }

    #[tokio::test]
    async fn time_servers_decide_where_there_are_some_and_have_to_answer() {
        let audited = Audited::new();
        let clock = doubtful(&audited);
        let (wall, steady) = (system::now(), system::since_boot());
        assert_eq!(clock.judge(wall, steady), Err(Doubt::Silent));
        let seconds = |seconds| Ok(SignedDuration::from_secs(seconds));
        clock.heard(vec![seconds(3600), seconds(0), Err("down".into()), seconds(0)], steady);
        assert_eq!(clock.judge(wall, steady), Ok(wall), "one of three may be wrong");
        // Set, and right: there is nothing to wait for.
        assert!(clock.judge(later(wall, 3600), steady).is_ok());
        clock.heard(vec![seconds(2)], steady);
        assert_eq!(clock.judge(wall, steady), Err(Doubt::Reference(SignedDuration::from_secs(2))));
        clock.heard(vec![seconds(0)], steady);
        assert_eq!(clock.judge(wall, steady + LASTING + Duration::from_secs(1)), Err(Doubt::Silent));
    }
}
