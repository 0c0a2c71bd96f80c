//! Whether there is space for more entries.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::Settings;

/// What is known of the free space. Whoever brings an entry looks, if it is time to: so the commit never waits for it, and a
/// log that is full finds out by itself that it is no longer.
pub(super) struct Space {
    start: Instant,
    /// Milliseconds from the start to when it is to be looked again.
    next: AtomicU64,
    low: AtomicBool,
}

impl Space {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), next: AtomicU64::new(0), low: AtomicBool::new(false) }
    }

    /// Whether less is free than the reserve.
    pub(super) fn is_low(&self, directory: &Path, settings: &Settings) -> bool {
        let elapsed = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (now, next) = (elapsed(self.start.elapsed()), self.next.load(Ordering::Relaxed));
        if now >= next {
            let after = now.saturating_add(elapsed(settings.space_interval));
            // One looks, the others go by what was seen last.
            if self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                self.look(directory, settings);
            }
        }
        self.low.load(Ordering::Relaxed)
    }

    fn look(&self, directory: &Path, settings: &Settings) {
        let free = match settings.disk.free_space(directory) {
            Ok(free) => free,
            Err(error) => return tracing::warn!(%error, "how much space is left for the log cannot be told"),
        };
        let low = free < settings.reserve;
        if self.low.swap(low, Ordering::Relaxed) != low {
            if low {
                tracing::error!(free, reserve = settings.reserve, "no space left for the log: entries are refused");
            } else {
                tracing::info!(free, "there is space for the log again: entries are taken");
            }
        }
    }
}
