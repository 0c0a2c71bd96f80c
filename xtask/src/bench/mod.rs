//! `cargo xtask bench`: what this machine's primitives cost, and what we do as a ratio to the sum of them.
//!
//! Both are measured in the same run, so that a ratio means the same on another machine and on a busy day. Nothing
//! here fails on a time.

mod figures;
mod images;
mod issue;
mod loader;
mod log;
mod measure;
mod primitives;
mod rows;
mod sign;
mod stamp;
mod verify;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::ensure;
use serde_json::json;

use crate::interop;
use measure::Micros;
use primitives::{Primitive, Primitives};

/// `cargo xtask bench`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How the numbers are printed
    #[arg(long, value_enum, default_value_t, global = true)]
    output: Output,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// The logs under load
    Log(log::Arguments),
    /// Certificates under load
    Issue(Binary),
    /// Timestamps under load
    Stamp(Binary),
    /// One signature from end to end, the first one of a new instance, and the memory of an idle one
    Sign(Binary),
    /// Fifty images of one registry that is far away
    Images(Binary),
    /// Verdicts, warm beside sigstore-verify and cold beside a process that does nothing
    Verify(Binary),
}

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
struct Binary {
    /// The waxseal to measure [default: what `cargo build --release` makes]
    #[arg(long, value_name = "FILE")]
    waxseal: Option<PathBuf>,
}

impl What {
    /// Measures one of the authorities.
    fn measure(&self, root: &Path, folder: &Path, primitives: &Primitives) -> anyhow::Result<Vec<figures::Row>> {
        let (binary, measure): (_, fn(&Path, &Path, &Primitives) -> _) = match self {
            Self::Log(arguments) => return log::measure(root, folder, arguments, primitives),
            Self::Issue(binary) => (binary, issue::measure),
            Self::Stamp(binary) => (binary, stamp::measure),
            Self::Sign(binary) => (binary, sign::measure),
            Self::Images(binary) => (binary, images::measure),
            Self::Verify(binary) => (binary, verify::measure),
        };
        measure(&built(root, binary.waxseal.as_ref())?, folder, primitives)
    }
}

/// The given waxseal, or a release build of this checkout.
fn built(root: &Path, given: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    given.map_or_else(|| interop::build(root), |file| Ok(file.clone()))
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    /// A table
    #[default]
    Table,
    /// One JSON object
    Json,
}

/// Something that we do, and what it cannot be done without.
struct Row {
    name: &'static str,
    /// Each primitive, how often, and for what.
    floor: &'static [(Primitive, u32, &'static str)],
    measured: Micros,
}

impl Row {
    fn sum(&self, primitives: &Primitives) -> Micros {
        Micros(self.floor.iter().map(|(primitive, times, _)| primitives.cost(*primitive).0 * f64::from(*times)).sum())
    }

    fn ratio(&self, primitives: &Primitives) -> f64 {
        self.measured.0 / self.sum(primitives).0
    }
}

/// Measures, and prints what was measured.
///
/// # Errors
///
/// When something could not be done at all.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        return again_in_release(root);
    }
    let folder = tempfile::Builder::new().prefix("waxseal-bench-").tempdir_in(durable_folder(root))?;
    let primitives = Primitives::measure(folder.path())?;
    if let Some(what) = &arguments.what {
        let rows = what.measure(root, folder.path(), &primitives)?;
        match arguments.output {
            Output::Table => println!("{}", figures::table(&primitives, &rows)),
            Output::Json => println!("{}", figures::as_json(&primitives, &rows)),
        }
        return Ok(());
    }
    let rows =
        interop::with_instance(&interop::build(root)?, folder.path(), &interop::Options::default(), rows::measure)?;
    match arguments.output {
        Output::Table => println!("{}", table(&primitives, &rows)),
        Output::Json => println!("{}", as_json(&primitives, &rows)),
    }
    Ok(())
}

/// Where files are really written: /tmp may be memory.
fn durable_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// `cargo xtask` is a debug build; its numbers would be about the compiler.
fn again_in_release(root: &Path) -> anyhow::Result<()> {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "--package", "xtask", "--"])
        .args(std::env::args_os().skip(1))
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "the release build of xtask: {status}");
    Ok(())
}

fn table(primitives: &Primitives, rows: &[Row]) -> String {
    let mut table = format!("{:<40}{:>12}", "primitive", "median µs");
    for (primitive, cost) in &primitives.costs {
        table.push_str(&format!("\n{:<40}{:>12.2}", primitive.name(), cost.0));
    }
    table.push_str(&format!("\n{:<40}{:>12.2}", "  its 99th percentile", primitives.fdatasync_p99.0));
    table.push_str(&format!("\n\n{:<40}{:>12}{:>12}{:>8}", "what we do", "median µs", "sum µs", "ratio"));
    for row in rows {
        let (sum, ratio) = (row.sum(primitives).0, row.ratio(primitives));
        table.push_str(&format!("\n{:<40}{:>12.1}{sum:>12.1}{ratio:>8.2}", row.name, row.measured.0));
        for (primitive, times, what) in row.floor {
            table.push_str(&format!("\n  {times} × {}: {what}", primitive.name()));
        }
    }
    table
}

fn as_json(primitives: &Primitives, rows: &[Row]) -> serde_json::Value {
    let costs: serde_json::Map<_, _> =
        primitives.costs.iter().map(|(primitive, cost)| (primitive.name().to_owned(), json!(cost.0))).collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "measured": row.measured.0,
                "sum": row.sum(primitives).0,
                "ratio": row.ratio(primitives),
            })
        })
        .collect();
    json!({"unit": "µs", "primitives": costs, "fdatasync_p99": primitives.fdatasync_p99.0, "rows": rows})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_to_the_sum_of_what_is_needed() {
        let primitives = Primitives {
            costs: vec![(Primitive::P256Verify, Micros(60.0)), (Primitive::Ed25519Verify, Micros(40.0))],
            fdatasync_p99: Micros(1.0),
        };
        let row = Row {
            name: "verify",
            floor: &[(Primitive::P256Verify, 3, "leaf, SCT, artifact"), (Primitive::Ed25519Verify, 1, "checkpoint")],
            measured: Micros(330.0),
        };
        assert!((row.sum(&primitives).0 - 220.0).abs() < 1e-9);
        assert!((row.ratio(&primitives) - 1.5).abs() < 1e-9);
        assert!(table(&primitives, &[row]).contains("3 × P-256 verify: leaf, SCT, artifact"));
    }

    #[test]
    fn a_primitive_that_was_not_measured_gives_no_ratio() {
        let primitives = Primitives { costs: Vec::new(), fdatasync_p99: Micros(1.0) };
        let row = Row { name: "sign", floor: &[(Primitive::P256Sign, 1, "artifact")], measured: Micros(1.0) };
        assert!(row.ratio(&primitives).is_nan());
    }
}
