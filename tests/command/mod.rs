//! The binary as users run it.

mod conformance;
mod cosign_compat;
mod iam;
mod images;
mod keys;
mod legacy;
mod offline;
mod recorded;
mod sign_blob;
mod verify_blob;

use std::path::Path;
use std::process::{Command, Output};

/// Runs waxseal with an environment of its own and returns what it printed.
fn waxseal(home: &Path, arguments: &[&str]) -> Output {
    command(home, arguments).output().expect("waxseal runs")
}

pub(crate) fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waxseal-under-test"));
    command.args(arguments).env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// The last line on stderr, which says how a failed command ended.
fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// Asserts the exit status and the reason code of a failed command.
fn assert_refused(output: &Output, exit: i32, code: &str) {
    let line = last_line(output);
    assert_eq!(output.status.code(), Some(exit), "{line}");
    assert!(line.starts_with(&format!("error[{code}]: ")), "{line}");
}
