//! A clock that stands still until it is told to move.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// 2026-11-24T15:00:00Z: within the validity of the vectors' trust material.
pub const EPOCH: &str = "2026-11-24T15:00:00Z";

/// `text` as a time.
///
/// # Panics
///
/// When `text` is not RFC 3339.
#[must_use]
pub fn at(text: &str) -> Timestamp {
    match text.parse() {
        Ok(time) => time,
        Err(error) => panic!("not a time: {text:?}: {error}"),
    }
}

/// A clock for what runs over time: it starts at [`EPOCH`], and only a test moves it.
#[derive(Debug)]
pub struct Clock {
    millis: AtomicI64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::starting(at(EPOCH))
    }
}

impl Clock {
    /// A clock that shows `now`, to the millisecond.
    #[must_use]
    pub fn starting(now: Timestamp) -> Self {
        Self { millis: AtomicI64::new(now.as_millisecond()) }
    }

    /// The time it shows.
    ///
    /// # Panics
    ///
    /// When it was moved out of the range of years that [`Timestamp`] has.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.millis.load(Ordering::SeqCst)).expect("the clock is within the years of jiff")
    }

    /// Moves the clock: forward, or back when `by` is negative.
    ///
    /// # Panics
    ///
    /// When `by` is more milliseconds than an `i64` holds.
    pub fn advance(&self, by: SignedDuration) {
        let millis = i64::try_from(by.as_millis()).expect("a step that a test would take");
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_when_told() {
        let clock = Clock::default();
        assert_eq!(clock.now(), at(EPOCH));
        assert_eq!(clock.now(), at(EPOCH));
        clock.advance(SignedDuration::from_mins(11));
        assert_eq!(clock.now(), at("2026-11-24T15:11:00Z"));
        clock.advance(SignedDuration::from_mins(-11));
        assert_eq!(clock.now(), at(EPOCH));
    }
}
