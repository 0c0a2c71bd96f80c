//! `cargo xtask tuf-conformance`: the suite of the TUF project judges our client. The suite is no package: whoever runs it has a
//! checkout of it (<https://github.com/theupdateframework/tuf-conformance>). Tests of the same cases are in `verify/tuf`.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::interop::{
    build,
    parts::{debian, python_with},
    parts_folder,
};

/// `cargo xtask tuf-conformance`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The checkout of the suite
    #[arg(long, value_name = "DIR")]
    suite: PathBuf,
    /// The folder of other programs [default: ~/.cache/waxseal/parts]
    #[arg(long, env = "WAXSEAL_PARTS", value_name = "DIR")]
    parts: Option<PathBuf>,
    /// The waxseal to judge [default: what `cargo build --release` made]
    #[arg(long, value_name = "FILE")]
    waxseal: Option<PathBuf>,
    /// Only the tests whose name matches this (pytest's -k)
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// What the suite's pyproject.toml names, and a runner for several processors.
const REQUIREMENTS: &str =
    "securesystemslib[crypto]==1.4.0 tuf==7.0.0 pytest==9.1.1 pytest-json-report==1.5.0 pytest-xdist==3.8.0";

/// Runs the suite.
///
/// # Errors
///
/// When a test fails, or the suite cannot be run.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let waxseal = match &arguments.waxseal {
        Some(path) => path.clone(),
        None => build(root)?,
    };
    let waxseal = waxseal.canonicalize().with_context(|| waxseal.display().to_string())?;
    let suite = arguments.suite.canonicalize().with_context(|| arguments.suite.display().to_string())?;
    let folder = parts_folder(arguments.parts.as_deref())?;
    fs::create_dir_all(&folder)?;
    let venv = folder.join("tuf-conformance");
    if !venv.join("bin/pytest").exists() {
        eprintln!("installing the suite's requirements in {}", venv.display());
        python_with(&venv, REQUIREMENTS)?;
    }
    let mut path = vec![faketime(&folder)?];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let status = Command::new(venv.join("bin/pytest"))
        .args(["-q", "-n", "2", "-k", &arguments.only, "tuf_conformance", "--entrypoint"])
        .arg(format!("{} conformance tuf", waxseal.display()))
        .current_dir(&suite)
        .env("PATH", env::join_paths(path)?)
        .status()?;
    ensure!(status.success(), "tuf-conformance: {status}");
    Ok(())
}

/// A folder with a `faketime` that finds its library: Debian's looks for it where its package would have put it.
fn faketime(folder: &Path) -> anyhow::Result<PathBuf> {
    let home = folder.join("faketime");
    let library = home.join(format!("usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", env::consts::ARCH));
    if !library.exists() {
        eprintln!("installing libfaketime in {}", home.display());
        debian(&home, &["libfaketime"])?;
    }
    let bin = home.join("bin");
    fs::create_dir_all(&bin)?;
    let script = bin.join("faketime");
    let text = format!(
        "#!/bin/sh\nFAKETIME=\"@$(date -d \"$1\" '+%Y-%m-%d %H:%M:%S')\"\nexport FAKETIME\nshift\n\
         LD_PRELOAD={} exec \"$@\"\n",
        library.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(bin)
}
