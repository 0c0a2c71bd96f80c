//! Our verifier beside sigstore-verify's: the same bundles, the same trusted roots, the same signers.
//!
//! `verdicts` changes bundles by a seed and compares what both say; every class of disagreement is explained in `explained`, and one that
//! is not ends in a failure. `times` measures both on the same bundles, warm and in this process.

mod cases;
mod explained;
mod times;
mod verdicts;

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(vectors) = waxseal_testkit::vectors() else { return ExitCode::SUCCESS };
    match std::env::args().nth(1).as_deref() {
        Some("verdicts") => verdicts::run(&vectors),
        Some("times") => times::run(&vectors),
        _ => {
            eprintln!("usage: waxseal-differential verdicts | times");
            ExitCode::from(2)
        }
    }
}
