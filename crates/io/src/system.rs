//! The clock and the operating system's randomness: the only places where they are read.

use jiff::Timestamp;

/// The current time of the system clock.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Fresh random bytes.
///
/// # Panics
/// If the operating system has no randomness to give: nothing that signs may go on then.
#[must_use]
#[expect(clippy::expect_used, reason = "signing without randomness would be worse than stopping")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system provides randomness");
    bytes
}

/// The time since the machine was started, suspension included: a clock that nobody sets.
#[must_use]
pub fn since_boot() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    std::time::Duration::try_from(time).unwrap_or_default()
}

/// Lets the process have as many open files as it may, and returns how many that is; `None` if that is not known.
pub fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        return limit.maximum;
    }
    limit.current
}
