//! `cargo xtask bench verify`: how long a verdict takes, warm beside sigstore-verify and cold beside a process that does nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    figures::{Ratio, Row, Target, once},
    measure::{Micros, each, quantile},
    primitives::Primitives,
};
use crate::differential;

/// Processes of each kind, by turns in small groups.
const GROUPS: usize = 40;
const GROUP: usize = 5;
/// A recorded bundle and what it is about.
const BUNDLE: &str = "bundles/c3-blob-files.sigstore.json";
const ARTIFACT: &str = "artifacts/cosign3-2.txt";
const SIGNER: [&str; 4] =
    ["--certificate-identity", "alice@corp.example", "--certificate-oidc-issuer", "http://127.0.0.1:7480/idp"];

/// Warm, cold, and how much there is to be loaded.
pub(super) fn measure(waxseal: &Path, folder: &Path, _primitives: &Primitives) -> anyhow::Result<Vec<Row>> {
    let root = crate::root();
    let times = Command::new(differential::build(&root)?).arg("times").stderr(Stdio::inherit()).output()?;
    ensure!(times.status.success(), "differential times: {}", times.status);
    let times: Value = serde_json::from_slice(&times.stdout).context("there are no vectors to verify")?;
    let mut rows = Vec::new();
    for (log, name, target) in
        [("v1", "verify, warm, logged in Rekor v1", 0.8), ("v2", "verify, warm, logged in Rekor v2", 0.75)]
    {
        let number = |what: &str| times[log][what].as_f64().with_context(|| format!("no {what} of {log}"));
        let ratio = Ratio::new("of sigstore-verify's time", number("ratio")?, Target::AtMost(target));
        rows.push(Row { ratios: vec![ratio], ..once(name, Micros(number("ours")?), None) });
    }
    let (cold, empty) = cold(waxseal, folder, &root)?;
    let over = cold.saturating_sub(empty).as_secs_f64() * 1e3;
    rows.push(Row {
        ratios: vec![Ratio::new("ms over an empty process", over, Target::AtMost(2.0))],
        ..once("waxseal verify-blob, cold", cold.into(), None)
    });
    rows.push(once("an empty process", empty.into(), None));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    let size = fs::metadata(waxseal)?.len() as f64 / 1e6;
    rows.push(Row {
        ratios: vec![Ratio { what: "MB, the binary", value: size, target: None }],
        ..once("waxseal", Micros(f64::NAN), None)
    });
    Ok(rows)
}

/// The median of a verdict from a new process, and of a process that does nothing.
fn cold(waxseal: &Path, home: &Path, root: &Path) -> anyhow::Result<(Duration, Duration)> {
    let vectors = std::env::var_os("WAXSEAL_VECTORS").map_or_else(|| root.join("../shared/vectors"), PathBuf::from);
    let recorded = vectors.join("private-instance");
    let run = |program: &Path, arguments: &[&Path]| {
        let status = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| program.display().to_string())?;
        ensure!(status.success(), "{}: {status}", program.display());
        Ok(())
    };
    let (trusted, bundle, artifact) =
        (recorded.join("trusted_root.json"), recorded.join(BUNDLE), recorded.join(ARTIFACT));
    let mut verify: Vec<&Path> = ["verify-blob", "--trusted-root"].map(Path::new).to_vec();
    verify.extend([trusted.as_path(), Path::new("--bundle"), bundle.as_path()]);
    verify.extend(SIGNER.map(Path::new));
    verify.push(&artifact);
    let (mut ours, mut empty) = (Vec::new(), Vec::new());
    // By turns, so that a busy machine is busy for both.
    for _ in 0..GROUPS {
        ours.extend(each(GROUP, || run(waxseal, &verify))?);
        empty.extend(each(GROUP, || run(Path::new("/bin/true"), &[]))?);
    }
    Ok((quantile(ours, 0.5), quantile(empty, 0.5)))
}
