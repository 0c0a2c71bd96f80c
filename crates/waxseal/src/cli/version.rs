//! `waxseal version`.

use crate::cli::{Failure, Output};
use clap::Args;
use serde_json::json;

/// Print version and platform.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// As JSON, as in cosign: the same as --output json.
    #[arg(long)]
    json: bool,
}

/// Prints the version. In JSON `gitVersion` and `platform` are there under cosign's names too.
///
/// # Errors
/// `input.unreadable` if stdout is closed.
pub fn run(args: &VersionArgs, output: Output) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let described = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": version,
        "gitVersion": format!("v{version}"),
        "platform": format!("{}/{}", std::env::consts::OS, architecture(std::env::consts::ARCH)),
    });
    let output = if args.json { Output::Json } else { output };
    output.data(&format!("waxseal {version}"), &described)
}

/// What Go calls a processor, which is what readers of cosign's answer expect.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
