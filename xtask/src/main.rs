//! `cargo xtask`: what a contributor and CI run.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a developer's tool on the repository's own files: a panic is a failed check"
)]

mod bench;
mod crash;
mod differential;
mod interop;
mod powercut;
mod tidy;
mod tuf_conformance;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What a contributor and CI run")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the architecture's rules on the sources and the dependency graph
    Tidy,
    /// Have the other clients verify what waxseal signs, and waxseal what they sign
    Interop(interop::Arguments),
    /// Have tuf-conformance judge the TUF client
    TufConformance(tuf_conformance::Arguments),
    /// Have our verifier and sigstore-verify's judge the same changed bundles
    Differential,
    /// Measure what we do against the sum of the primitives that it needs
    Bench(bench::Arguments),
    /// Kill a loaded instance again and again, and find everything that it has acknowledged
    Crash(crash::Arguments),
    /// Freeze the disk of a loaded instance again and again, and find everything that it had acknowledged
    Powercut(powercut::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Tidy => tidy::run(&root()),
        Task::Interop(arguments) => interop::run(&root(), &arguments),
        Task::TufConformance(arguments) => tuf_conformance::run(&root(), &arguments),
        Task::Differential => differential::run(&root()),
        Task::Bench(arguments) => bench::run(&root(), &arguments),
        Task::Crash(arguments) => crash::run(&root(), &arguments),
        Task::Powercut(arguments) => powercut::run(&root(), &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root, as cargo says when this runs: two checkouts may share a target directory, and then this program may
/// have been compiled in the other one.
fn root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    xtask.parent().unwrap_or(&xtask).to_owned()
}
