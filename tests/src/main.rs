//! The waxseal binary, built beside the tests so that they can start it as users do.

use std::process::ExitCode;

fn main() -> ExitCode {
    waxseal::cli::main()
}
