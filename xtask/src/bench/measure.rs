//! Timing: medians of many short runs, so that one interruption does not count.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// How long one primitive is measured.
const SPAN: Duration = Duration::from_millis(400);
/// How long a batch takes, at least: far above the clock's resolution.
const BATCH: Duration = Duration::from_millis(1);

/// Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, serde::Serialize)]
pub(crate) struct Micros(pub f64);

impl From<Duration> for Micros {
    fn from(duration: Duration) -> Self {
        Self(duration.as_secs_f64() * 1e6)
    }
}

/// What one call of `work` takes: the median over batches of calls.
pub(crate) fn per_call<T>(mut work: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<Micros> {
    let mut calls = 1_u32;
    loop {
        let start = Instant::now();
        for _ in 0..calls {
            black_box(work()?);
        }
        if start.elapsed() >= BATCH {
            break;
        }
        calls = calls.saturating_mul(2);
    }
    let (start, mut batches) = (Instant::now(), Vec::new());
    while start.elapsed() < SPAN || batches.is_empty() {
        let batch = Instant::now();
        for _ in 0..calls {
            black_box(work()?);
        }
        batches.push(batch.elapsed() / calls);
    }
    Ok(quantile(batches, 0.5).into())
}

/// What each of `count` calls of `work` takes.
pub(crate) fn each(count: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Vec<Duration>> {
    (0..count)
        .map(|_| {
            let start = Instant::now();
            work()?;
            Ok(start.elapsed())
        })
        .collect()
}

/// The time below which `share` of `times` lie; zero of none.
pub(crate) fn quantile(mut times: Vec<Duration>, share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a list that fits in memory"
    )]
    let at = (last as f64 * share).round() as usize;
    times.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let times: Vec<Duration> = [5, 1, 4, 2, 3].map(Duration::from_millis).to_vec();
        assert_eq!(quantile(times.clone(), 0.5), Duration::from_millis(3));
        assert_eq!(quantile(times.clone(), 0.0), Duration::from_millis(1));
        assert_eq!(quantile(times, 1.0), Duration::from_millis(5));
        assert_eq!(quantile(Vec::new(), 0.5), Duration::ZERO);
    }

    #[test]
    fn failed_work_is_not_timed() {
        assert!(per_call(|| -> anyhow::Result<()> { anyhow::bail!("no") }).is_err());
        assert!(each(2, || anyhow::bail!("no")).is_err());
        assert_eq!(each(3, || Ok(())).unwrap().len(), 3);
    }
}
