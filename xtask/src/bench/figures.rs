//! Figures under load, each with what it has to reach, and how they are printed.

use serde_json::{Value, json};

use super::{
    loader::Answered,
    measure::Micros,
    primitives::{Primitive, Primitives},
};

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
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
pub(super) struct Ratio {
    pub what: &'static str,
    pub value: f64,
    /// `None` where there is nothing to reach, only to know.
    pub target: Option<Target>,
}

impl Ratio {
    pub(super) const fn new(what: &'static str, value: f64, target: Target) -> Self {
        Self { what, value, target: Some(target) }
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub name: String,
    pub answered: Answered,
    pub ratios: Vec<Ratio>,
}

/// The primitives that the rows are compared with.
const SHOWN: [Primitive; 5] = [
    Primitive::P256Sign,
    Primitive::P256Verify,
    Primitive::Ed25519Sign,
    Primitive::Rsa2048Verify,
    Primitive::Fdatasync,
];

/// Cores that this process may use.
pub(super) fn cores() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).map_or(1.0, f64::from)
}

pub(super) fn table(primitives: &Primitives, rows: &[Row]) -> String {
    let mut table = format!("{} cores, the loader on the same; µs", cores());
    for primitive in SHOWN {
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

pub(super) fn as_json(primitives: &Primitives, rows: &[Row]) -> Value {
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

/// A row that is one time.
pub(super) fn once(name: &str, took: Micros, target: Option<Target>) -> Row {
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
}
