//! `cargo xtask differential`: our verifier and sigstore-verify's before the same changed bundles. Every class of disagreement is explained
//! in `differential/src/explained.rs`; another one fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;

/// Compares the verdicts.
///
/// # Errors
///
/// When a disagreement is not explained, or it cannot be built.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let status = Command::new(build(root)?).arg("verdicts").status()?;
    ensure!(status.success(), "the verifiers disagree: {status}");
    Ok(())
}

/// Builds the package, which is a workspace of its own: the first time takes minutes.
pub(crate) fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path", "differential/Cargo.toml"])
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "the build of differential: {status}");
    Ok(target.join("release/waxseal-differential"))
}
