//! Time servers (SNTP, RFC 4330).

use jiff::SignedDuration;
use rsntp::{Config, SntpClient};
use std::time::Duration;

/// How long a server may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How far this machine's clock is ahead of a server's, negative if it is behind. Blocks.
///
/// # Errors
/// Why the server did not answer, in a sentence.
pub fn ahead_of(server: &str) -> Result<SignedDuration, String> {
    let client = SntpClient::with_config(Config::default().timeout(TIMEOUT));
    let answer = client.synchronize(server).map_err(|error| format!("{server}: {error}"))?;
    // The offset is what has to be added to this clock.
    SignedDuration::try_from_secs_f64(-answer.clock_offset().as_secs_f64())
        .map_err(|error| format!("{server}: {error}"))
}
