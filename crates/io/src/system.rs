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
