//! How long both take for the same bundles, warm and in this process: from the bundle's bytes to the verdict, with the trusted root read
//! before.

use crate::cases;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use waxseal_testkit::Vectors;

/// One bundle for each log, signed by the same client: logged in Rekor v1, and in Rekor v2.
const BUNDLES: [(&str, &str); 2] = [("v1", "c2-r1-new.sigstore.json"), ("v2", "c2-sc.sigstore.json")];
/// Verifications between two looks at the clock, and how often.
const BATCH: u32 = 20;
const ROUNDS: usize = 101;

pub(crate) fn run(vectors: &Vectors) -> ExitCode {
    let cases = cases::all(vectors);
    let mut rows = serde_json::Map::new();
    for (log, name) in BUNDLES {
        let found = cases
            .iter()
            .find(|case| case.name.starts_with(name) && case.prepare().ours(&case.bundle, &case.artifact).is_ok());
        let Some(case) = found else {
            eprintln!("{name} is not there, or is no longer accepted");
            return ExitCode::FAILURE;
        };
        let prepared = case.prepare();
        if let Err(reason) = prepared.theirs(&case.bundle, &case.artifact) {
            eprintln!("{name} is not accepted by sigstore-verify: {reason}");
            return ExitCode::FAILURE;
        }
        // By turns, so that a busy machine is busy for both.
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(timed(|| prepared.ours(&case.bundle, &case.artifact).is_ok()));
            theirs.push(timed(|| prepared.theirs(&case.bundle, &case.artifact).is_ok()));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        rows.insert(log.to_owned(), serde_json::json!({"ours": ours, "theirs": theirs, "ratio": ours / theirs}));
    }
    println!("{}", serde_json::Value::Object(rows));
    ExitCode::SUCCESS
}

/// How long one takes.
fn timed(verify: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    for _ in 0..BATCH {
        assert!(black_box(verify()));
    }
    start.elapsed() / BATCH
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}
