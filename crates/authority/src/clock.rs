//! Whether a clock may be trusted with timestamps.
//!
//! A timestamp says when something was there, to people who were not. A clock that is doubtful attests nothing: it is better to
//! refuse for a while than to be wrong for ever.

use formats::code::Code;
use jiff::{SignedDuration, Timestamp};
use waxseal_formats as formats;

/// What is known about the time besides what the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What the clock says.
    pub wall: Timestamp,
    /// What it should say, by a clock that nobody sets.
    pub steady: Timestamp,
    /// The newest time that was written down durably.
    pub newest: Timestamp,
    /// How far the clock is ahead of the time servers, negative if it is behind, if they are asked.
    pub reference: Reference,
}

/// What the time servers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// None are to be asked.
    Unasked,
    /// None has answered lately.
    Silent,
    /// The clock is so far ahead of most of them.
    Ahead(SignedDuration),
}

/// Why a clock is doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It was set.
    #[error("the clock was set: it is {0:#} off from where it should be by now")]
    Step(SignedDuration),
    /// It is earlier than something that happened.
    #[error("the clock is behind: an entry was logged at {0}")]
    Behind(Timestamp),
    /// It differs from the time servers.
    #[error("the clock is {0:#} off from the time servers")]
    Reference(SignedDuration),
    /// There is nothing to compare it with.
    #[error("no time server answers")]
    Silent,
}

impl Doubt {
    /// Always `time.clock-doubtful`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::TIME_CLOCK_DOUBTFUL
    }
}

/// Judges a clock that may differ by `allowed`.
///
/// # Errors
/// The first [`Doubt`], that of the time servers first, since they know.
pub fn judge(seen: &Seen, allowed: SignedDuration) -> Result<(), Doubt> {
    let off = |difference: SignedDuration| difference.unsigned_abs() > allowed.unsigned_abs();
    match seen.reference {
        Reference::Ahead(difference) if off(difference) => return Err(Doubt::Reference(difference)),
        Reference::Silent => return Err(Doubt::Silent),
        Reference::Ahead(_) | Reference::Unasked => {}
    }
    // The log's own time never goes back: what is a little later there was rounded, or waited for its turn.
    if seen.newest.duration_since(seen.wall) > allowed {
        return Err(Doubt::Behind(seen.newest));
    }
    // Whoever has time servers need not wonder about a step.
    let difference = seen.wall.duration_since(seen.steady);
    if seen.reference == Reference::Unasked && off(difference) {
        return Err(Doubt::Step(difference));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Doubt, Reference, Seen, judge};
    use jiff::{SignedDuration, Timestamp};
    use waxseal_formats::code::Code;

    const ALLOWED: SignedDuration = SignedDuration::from_secs(1);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).expect("a time")
    }

    fn good() -> Seen {
        Seen { wall: at(0), steady: at(0), newest: at(-5000), reference: Reference::Unasked }
    }

    #[test]
    fn a_clock_that_agrees_with_everything_is_trusted() {
        for seen in [
            good(),
            Seen { steady: at(1000), ..good() },
            Seen { steady: at(-1000), newest: at(1000), ..good() },
            Seen { reference: Reference::Ahead(SignedDuration::from_millis(-1000)), ..good() },
            // The servers know better than a clock that was not set.
            Seen { steady: at(3_600_000), reference: Reference::Ahead(SignedDuration::ZERO), ..good() },
        ] {
            assert_eq!(judge(&seen, ALLOWED), Ok(()), "{seen:?}");
        }
    }

    #[test]
    fn a_clock_that_differs_is_doubtful() {
        let hour = SignedDuration::from_hours(1);
        for (seen, doubt) in [
            (Seen { steady: at(1001), ..good() }, Doubt::Step(SignedDuration::from_millis(-1001))),
            (Seen { steady: at(-3_600_000), ..good() }, Doubt::Step(hour)),
            (Seen { newest: at(1001), ..good() }, Doubt::Behind(at(1001))),
            (Seen { reference: Reference::Ahead(hour), ..good() }, Doubt::Reference(hour)),
            (Seen { reference: Reference::Ahead(-hour), ..good() }, Doubt::Reference(-hour)),
            (Seen { reference: Reference::Silent, ..good() }, Doubt::Silent),
            (
                Seen { newest: at(1001), reference: Reference::Ahead(SignedDuration::ZERO), ..good() },
                Doubt::Behind(at(1001)),
            ),
        ] {
            assert_eq!(judge(&seen, ALLOWED), Err(doubt), "{seen:?}");
            assert_eq!(doubt.code(), Code::TIME_CLOCK_DOUBTFUL);
        }
    }
}
