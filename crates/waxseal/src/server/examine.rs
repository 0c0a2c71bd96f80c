//! Looking at an instance from inside, without changing anything: its directory, its keys and certificates, what clients are told,
//! its TLS certificate, and the issuers that it listens to. What is found names the fact, and how to mend it.

pub mod directory;
pub mod issuers;
pub mod keys;
pub mod tls;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use waxseal_formats::code::Code;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work, or is not safe.
    Failed,
    /// It was not looked at.
    Skipped,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub state: State,
    /// The reason code of a warning or failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// What was found.
    pub found: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn good(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { subject: subject.into(), state: State::Good, code: None, found: found.into(), mend: None }
    }

    /// Not looked at, and why.
    pub fn skipped(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { state: State::Skipped, ..Self::good(subject, found) }
    }

    /// It does not work.
    pub fn failed(subject: impl Into<String>, code: Code, found: impl Into<String>) -> Self {
        Self { state: State::Failed, code: Some(code), ..Self::good(subject, found) }
    }

    /// It works, still.
    pub fn warning(subject: impl Into<String>, code: Code, found: impl Into<String>) -> Self {
        Self { state: State::Warning, code: Some(code), ..Self::good(subject, found) }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

/// How something is that expires: a warning from `early` on.
#[must_use]
pub fn expiry(subject: &str, code: Code, expires: Timestamp, early: SignedDuration, now: Timestamp) -> Finding {
    let left = expires.duration_since(now);
    let (day, days) = (expires.strftime("%Y-%m-%d"), left.as_hours() / 24);
    if left <= SignedDuration::ZERO {
        Finding::failed(subject, code, format!("expired on {day}"))
    } else if left < early {
        Finding::warning(subject, code, format!("expires on {day}, in {days} days"))
    } else {
        Finding::good(subject, format!("valid until {day}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_is_warned_of_before() {
        let at = |day: i64| Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_hours(24 * day)).expect("a time");
        let state =
            |now| expiry("it", Code::CERTIFICATE_EXPIRED, at(100), SignedDuration::from_hours(24 * 60), at(now)).state;
        assert_eq!(
            [state(0), state(40), state(41), state(99)].map(|state| state == State::Warning),
            [false, false, true, true]
        );
        assert_eq!((state(40), state(100), state(101)), (State::Good, State::Failed, State::Failed));
    }
}
