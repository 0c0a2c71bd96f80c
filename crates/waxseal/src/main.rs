//! The waxseal binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    waxseal::cli::main()
}
