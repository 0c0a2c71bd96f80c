//! `cargo xtask bench log`: the logs under load, beside what the same server, disk and processor can do at best.
//!
//! The load comes from the same two cores as the server, so a rate here is what one machine does all by itself.

mod bare;
mod growth;
mod rekor;

use std::path::{Path, PathBuf};

use super::{built, figures::Row, loader::Answered, primitives::Primitives};

/// `cargo xtask bench log`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How large the large log is; the whole comparison takes 10000000, some minutes and 4 GB
    #[arg(long, value_name = "ENTRIES", default_value_t = 1_000_000)]
    pub(crate) entries: u64,
    /// Only the parts whose name contains this: append, rekor-v1, rekor-v2, growth
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) only: String,
    /// The waxseal to measure [default: what `cargo build --release` makes]
    #[arg(long, value_name = "FILE")]
    pub(crate) waxseal: Option<PathBuf>,
}

/// How many connections ask at once.
pub(super) const CONNECTIONS: [usize; 3] = [1, 64, 256];

/// Measures the parts that are wanted.
///
/// # Errors
///
/// When something could not be done at all, or an answer was wrong.
pub(super) fn measure(
    root: &Path,
    folder: &Path,
    arguments: &Arguments,
    primitives: &Primitives,
) -> anyhow::Result<Vec<Row>> {
    let waxseal = built(root, arguments.waxseal.as_ref())?;
    let wanted = |name: &str| name.contains(&arguments.only);
    let mut rows = Vec::new();
    if wanted("append") {
        rows.extend(bare::measure(&folder.join("append"))?);
    }
    for version in rekor::Version::ALL {
        if wanted(version.name()) {
            rows.extend(rekor::measure(&waxseal, &folder.join(version.name()), version, primitives)?);
        }
    }
    if wanted("growth") {
        rows.extend(growth::measure(&folder.join("growth"), arguments.entries)?);
    }
    Ok(rows)
}

/// The run whose `key` is the median one.
fn median(mut runs: Vec<Answered>, key: impl Fn(&Answered) -> f64) -> Option<Answered> {
    runs.sort_by(|one, other| key(one).total_cmp(&key(other)));
    let middle = runs.len() / 2;
    (middle < runs.len()).then(|| runs.swap_remove(middle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Micros;

    #[test]
    fn the_median_run_is_in_the_middle() {
        let answered =
            |rate| Answered { rate, p50: Micros(1.0), p99: Micros(2.0), cpu: Micros(3.0), bodies: Vec::new() };
        let runs = [3.0, 1.0, 2.0].map(answered).to_vec();
        assert!(median(runs, |run| run.rate).is_some_and(|run| run.rate.total_cmp(&2.0).is_eq()));
        assert!(median(Vec::new(), |run| run.rate).is_none());
    }
}
