//! `cargo xtask bench log`: the logs under load, beside what the same server, disk and processor can do at best.
//!
//! The load comes from the same two cores as the server, so a rate here is what one machine does all by itself.

mod bare;
mod growth;
mod rekor;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    Output,
    loader::Answered,
    measure::Micros,
    primitives::{Primitive, Primitives},
};
use crate::interop;

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
const CONNECTIONS: [usize; 3] = [1, 64, 256];

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(formatter, "≥ {bound}"),
            Self::AtMost(bound) => write!(formatter, "≤ {bound}"),
        }
    }
}

/// A figure as a ratio to what it cannot exceed, or as it is.
#[derive(Clone, Debug, PartialEq)]
struct Ratio {
    what: &'static str,
    value: f64,
    /// `None` where there is nothing to reach, only to know.
    target: Option<Target>,
}

impl Ratio {
    const fn new(what: &'static str, value: f64, target: Target) -> Self {
        Self { what, value, target: Some(target) }
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    answered: Answered,
    ratios: Vec<Ratio>,
}

/// Measures, and prints what was measured.
///
/// # Errors
///
/// When something could not be done at all, or an answer was wrong.
pub(super) fn run(root: &Path, folder: &Path, arguments: &Arguments, output: Output) -> anyhow::Result<()> {
    let primitives = Primitives::measure(folder)?;
    let waxseal = match &arguments.waxseal {
        Some(file) => file.clone(),
        None => interop::build(root)?,
    };
    let wanted = |name: &str| name.contains(&arguments.only);
    let mut rows = Vec::new();
    if wanted("append") {
        rows.extend(bare::measure(&folder.join("append"))?);
    }
    for version in rekor::Version::ALL {
        if wanted(version.name()) {
            rows.extend(rekor::measure(&waxseal, &folder.join(version.name()), version, &primitives)?);
        }
    }
    if wanted("growth") {
        rows.extend(growth::measure(&folder.join("growth"), arguments.entries)?);
    }
    match output {
        Output::Table => println!("{}", table(&primitives, &rows)),
        Output::Json => println!("{}", as_json(&primitives, &rows)),
    }
    Ok(())
}

/// Cores that this process may use.
fn cores() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).map_or(1.0, f64::from)
}

fn table(primitives: &Primitives, rows: &[Row]) -> String {
    let mut table = format!("{} cores, the loader on the same; µs", cores());
    for primitive in [Primitive::P256Sign, Primitive::P256Verify, Primitive::Ed25519Sign, Primitive::Fdatasync] {
        table.push_str(&format!("\n{:<44}{:>10.1}", primitive.name(), primitives.cost(primitive).0));
    }
    table.push_str(&format!("\n{:<44}{:>10.1}", "  its 99th percentile", primitives.fdatasync_p99.0));
    table.push_str(&format!("\n\n{:<44}{:>10}{:>10}{:>10}{:>10}", "", "a second", "p50 µs", "p99 µs", "CPU µs"));
    for Row { name, answered, ratios } in rows {
        let Answered { rate, p50, p99, cpu, .. } = answered;
        table.push_str(&format!("\n{name:<44}{rate:>10.0}{:>10.1}{:>10.1}{:>10.1}", p50.0, p99.0, cpu.0));
        for Ratio { what, value, target } in ratios {
            table.push_str(&format!("\n    {what}: {value:.2}"));
            if let Some(target) = target {
                let said = if target.is_met(*value) { "" } else { ", missed" };
                table.push_str(&format!(" ({target}{said})"));
            }
        }
    }
    table
}

fn as_json(primitives: &Primitives, rows: &[Row]) -> Value {
    let costs: serde_json::Map<_, _> =
        primitives.costs.iter().map(|(primitive, cost)| (primitive.name().to_owned(), json!(cost.0))).collect();
    let row = |Row { name, answered, ratios }: &Row| {
        let ratios: Vec<_> = ratios
            .iter()
            .map(|ratio| {
                let target = ratio.target.map(|target| target.to_string());
                json!({"what": ratio.what, "value": ratio.value, "target": target})
            })
            .collect();
        let Answered { rate, p50, p99, cpu, .. } = answered;
        json!({"name": name, "rate": rate, "p50": p50, "p99": p99, "cpu": cpu, "ratios": ratios})
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    json!({
        "unit": "µs", "cores": cores(), "primitives": costs, "fdatasync_p99": primitives.fdatasync_p99.0, "rows": rows,
    })
}

/// The run whose `key` is the median one.
fn median(mut runs: Vec<Answered>, key: impl Fn(&Answered) -> f64) -> Option<Answered> {
    runs.sort_by(|one, other| key(one).total_cmp(&key(other)));
    let middle = runs.len() / 2;
    (middle < runs.len()).then(|| runs.swap_remove(middle))
}

/// A row that is one time.
fn once(name: &str, took: Micros, target: Option<Target>) -> Row {
    let answered = Answered { rate: f64::NAN, p50: took, p99: took, cpu: Micros(f64::NAN), bodies: Vec::new() };
    let ratios = target.map(|target| Ratio::new("seconds", took.0 / 1e6, target)).into_iter().collect();
    Row { name: name.to_owned(), answered, ratios }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(rate: f64) -> Answered {
        Answered { rate, p50: Micros(1.0), p99: Micros(2.0), cpu: Micros(3.0), bodies: Vec::new() }
    }

    #[test]
    fn a_target_that_is_missed_is_said() {
        let primitives = Primitives { costs: Vec::new(), fdatasync_p99: Micros(1.0) };
        let row = |value| Row {
            name: "append".into(),
            answered: answered(1.0),
            ratios: vec![Ratio::new("to discard", value, Target::AtLeast(0.45))],
        };
        assert!(table(&primitives, &[row(0.44)]).contains("to discard: 0.44 (≥ 0.45, missed)"));
        assert!(table(&primitives, &[row(0.46)]).contains("to discard: 0.46 (≥ 0.45)"));
        assert!(!Target::AtMost(2.5).is_met(2.6) && Target::AtMost(2.5).is_met(2.5));
        let json = as_json(&primitives, &[row(0.46)]);
        assert_eq!(json.pointer("/rows/0/ratios/0/target"), Some(&json!("≥ 0.45")));
    }

    #[test]
    fn the_median_run_is_in_the_middle() {
        let runs = [3.0, 1.0, 2.0].map(answered).to_vec();
        assert!(median(runs, |run| run.rate).is_some_and(|run| run.rate.total_cmp(&2.0).is_eq()));
        assert!(median(Vec::new(), |run| run.rate).is_none());
    }
}
