//! A disk whose contents can be frozen at any instant: ext4 in a file on XFS, both in loop mounts.
//!
//! `cp --reflink=always` of that file is what ext4 had sent to its disk when it began. Mounting the copy replays ext4's journal,
//! as after a power cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Bytes of the two file systems; the files have holes.
const HOST: &str = "4G";
const GUEST: &str = "1536M";

/// The disk, and where it is mounted.
#[derive(Debug)]
pub(crate) struct Disk {
    host: PathBuf,
    guest: PathBuf,
    copy: PathBuf,
}

impl Disk {
    /// Makes the disk in a folder.
    ///
    /// # Errors
    ///
    /// When this machine cannot: no root, no loop mounts, no XFS.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        install("mkfs.xfs", "xfsprogs")?;
        install("mkfs.ext4", "e2fsprogs")?;
        let disk = Self { host: folder.join("host"), guest: folder.join("guest"), copy: folder.join("copy") };
        for directory in [&disk.host, &disk.guest, &disk.copy] {
            fs::create_dir(directory)?;
        }
        let image = folder.join("host.img");
        run(Command::new("truncate").args(["-s", HOST]).arg(&image))?;
        run(Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&image))?;
        mount(&image, &disk.host)?;
        let image = disk.host.join("guest.img");
        run(Command::new("truncate").args(["-s", GUEST]).arg(&image))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        mount(&image, &disk.guest)?;
        Ok(disk)
    }

    /// The file system that is written.
    pub(crate) fn path(&self) -> &Path {
        &self.guest
    }

    /// Freezes the disk and mounts what was on it.
    pub(crate) fn cut(&self) -> anyhow::Result<Copy<'_>> {
        let frozen = self.host.join("copy.img");
        run(Command::new("cp").arg("--reflink=always").arg(self.host.join("guest.img")).arg(&frozen))?;
        mount(&frozen, &self.copy)?;
        Ok(Copy { path: &self.copy })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for mounted in [&self.copy, &self.guest, &self.host] {
            unmount(mounted);
        }
    }
}

/// The disk as a power cut left it, mounted until this is dropped.
#[derive(Debug)]
pub(crate) struct Copy<'a> {
    path: &'a Path,
}

impl Copy<'_> {
    pub(crate) fn path(&self) -> &Path {
        self.path
    }
}

impl Drop for Copy<'_> {
    fn drop(&mut self) {
        unmount(self.path);
    }
}

fn mount(image: &Path, directory: &Path) -> anyhow::Result<()> {
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(directory))
}

fn unmount(directory: &Path) {
    let quiet = |command: &mut Command| command.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    // A process that was just killed may still hold a file for a moment.
    if !quiet(Command::new("umount").arg(directory)) {
        quiet(Command::new("umount").arg("-l").arg(directory));
    }
}

/// Installs a package when its program is missing.
fn install(program: &str, package: &str) -> anyhow::Result<()> {
    let is_there = || Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if is_there() {
        return Ok(());
    }
    eprintln!("powercut: installing {package}");
    let apt =
        |arguments: &[&str]| run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"));
    let install = ["install", "-y", "-q", "--no-install-recommends", package];
    if apt(&install).is_err() {
        apt(&["update", "-q"]).and_then(|()| apt(&install)).with_context(|| format!("{program} is missing"))?;
    }
    if is_there() { Ok(()) } else { bail!("{program} is missing") }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}
