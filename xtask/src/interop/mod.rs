//! `cargo xtask interop`: what we make before the eyes of clients that nobody here wrote, and what they make before
//! ours.
//!
//! A table of signers by verifiers ([`matrix`]): each bundle has to be accepted as it is, and refused with another
//! artifact, with another signature byte, and for another identity. The clients are unmodified, pinned, and run as
//! subprocesses in homes of their own.

mod certificate;
pub(crate) mod command;
mod edit;
mod files;
mod fulcio;
mod http;
mod images;
mod instance;
mod keys;
mod logins;
mod logs;
mod matrix;
pub(crate) mod parts;
mod production;
mod questions;
mod registries;
mod server;
mod setup;
mod timestamps;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use anyhow::{Context, bail};
use serde_json::json;

pub(crate) use certificate::certificate;
pub(crate) use command::Variables;
use command::{Outcome, Site};
use edit::Change;
pub(crate) use http::Http;
use instance::Instance;
pub(crate) use instance::Options;
use matrix::{SETUP, SIGNERS, Signer, VERIFIERS, Verifier, Who, reasons, unable};
use parts::{Parts, Program};

/// `cargo xtask interop`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The folder of the other clients [default: ~/.cache/waxseal/parts]
    #[arg(long, env = "WAXSEAL_PARTS", value_name = "DIR")]
    parts: Option<PathBuf>,
    /// The waxseal to judge [default: what `cargo build --release` made]
    #[arg(long, value_name = "FILE")]
    waxseal: Option<PathBuf>,
    /// Only the signers and judges whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Keep the folder of the run, with the log of every command
    #[arg(long)]
    keep: bool,
}

/// Installs the parts, starts an instance and fills in the matrix.
///
/// # Errors
///
/// When a part cannot be had, or a cell is wrong; the commands that were wrong have been shown.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let start = Instant::now();
    let ci = env::var_os("CI").is_some_and(|value| value == "true");
    let mut parts = Parts::ready(&parts_folder(arguments.parts.as_deref())?, ci)?;
    let waxseal = match &arguments.waxseal {
        Some(path) => path.clone(),
        None => build(root)?,
    };
    parts.insert(Program::Waxseal, waxseal.canonicalize().with_context(|| waxseal.display().to_string())?);
    let folder = tempfile::Builder::new().prefix("waxseal-interop-").tempdir()?;
    let path = folder.path().to_owned();
    if arguments.keep {
        let kept = folder.keep();
        eprintln!("keeping {}", kept.display());
    }
    let mut wrong = Vec::new();
    for run in Run::ALL {
        println!("\nup --privacy {}", run.privacy());
        let site = Site::new(path.join(run.privacy()), parts.clone())?;
        wrong.extend(fill(&site, run, &arguments.only)?);
    }
    if "images".contains(&arguments.only) {
        println!("\nimages in registries");
        let (lines, faults) = images::run(&Site::new(path.join("images"), parts.clone())?)?;
        lines.iter().for_each(|line| println!("{line}"));
        wrong.extend(faults);
    }
    if "files".contains(&arguments.only) {
        println!("\nwhat cosign 2 writes to files");
        let (lines, faults) = files::run(&Site::new(path.join("files"), parts.clone())?)?;
        lines.iter().for_each(|line| println!("{line}"));
        wrong.extend(faults);
    }
    if "logins".contains(&arguments.only) {
        println!("\nlogins at the demo provider");
        let (lines, faults) = logins::run(&Site::new(path.join("logins"), parts.clone())?)?;
        lines.iter().for_each(|line| println!("{line}"));
        wrong.extend(faults);
    }
    if "keys".contains(&arguments.only) {
        println!("\nkeys that something else keeps");
        let (lines, faults) = keys::run(&Site::new(path.join("keys"), parts.clone())?)?;
        lines.iter().for_each(|line| println!("{line}"));
        wrong.extend(faults);
    }
    if "production".contains(&arguments.only) {
        println!("\ninit and serve, with TLS and an identity provider of its own");
        let site = Site::new(path.join("production"), parts.clone())?;
        let (lines, faults) = production::run(site)?;
        lines.iter().for_each(|line| println!("{line}"));
        wrong.extend(faults);
    }
    if "fulcio".contains(&arguments.only) {
        println!("\ncertificates beside those of Fulcio");
        let (lines, faults) = fulcio::run(root, &Site::new(path.join("fulcio"), parts)?)?;
        lines.iter().for_each(|line| println!("{line}"));
        wrong.extend(faults);
    }
    eprintln!("\ninterop took {:.0} s", start.elapsed().as_secs_f64());
    if wrong.is_empty() {
        return Ok(());
    }
    for report in &wrong {
        eprintln!("\n{report}");
    }
    bail!("{} wrong", wrong.len())
}

/// Does `work` at a fresh instance of `waxseal` in `folder`: its variables name the trust material, an artifact, and a token with
/// its identity and issuer.
pub(crate) fn with_instance<T>(
    waxseal: &Path,
    folder: &Path,
    options: &Options,
    work: impl FnOnce(&Variables) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut parts = Parts::default();
    parts.insert(Program::Waxseal, waxseal.canonicalize().with_context(|| waxseal.display().to_string())?);
    let site = Site::new(folder.to_owned(), parts)?;
    let http = Http::new()?;
    let instance = Instance::start(&site, &http, options)?;
    let who = Who::Person;
    let variables = artifacts(site.folder(), instance.trust_material(&site, &http)?)?
        .with("identity", who.identity())
        .with("issuer", format!("{}{}", instance.origin, who.issuer_path()));
    let token = site.run(Program::Waxseal, who.token(), &variables)?.demand()?;
    work(&variables.with("token", token.stdout.trim()))
}

/// An instance that takes anybody's entries, and a registry, for who measures.
pub(crate) struct Registries {
    pub site: Site,
    /// What is trusted, and where the instance is.
    pub variables: Variables,
    pub registry: registries::Place,
    /// Kept for its end.
    pub _instance: Instance,
}

impl Registries {
    pub(crate) fn start(waxseal: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut parts = Parts::ready(&parts_folder(None)?, false)?;
        parts.insert(Program::Waxseal, waxseal.canonicalize().with_context(|| waxseal.display().to_string())?);
        let site = Site::new(folder.to_owned(), parts)?;
        let http = Http::new()?;
        let instance = Instance::start(&site, &http, &Options { writes: Some("any"), ..Options::default() })?;
        let variables = instance.trust_material(&site, &http)?;
        site.run(Program::Waxseal, "trust add {origin} --root {root}", &variables)?.demand()?;
        let registry = registries::referrers_registry(&site)?;
        Ok(Self { site, variables, registry, _instance: instance })
    }
}

/// The folder of the other programs: the one that was named, or one in the home directory.
pub(crate) fn parts_folder(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    match named {
        Some(folder) => Ok(folder.to_owned()),
        None => {
            let home = env::home_dir().context("no home directory; name the folder with WAXSEAL_PARTS")?;
            Ok(home.join(".cache/waxseal/parts"))
        }
    }
}

/// The release build of this checkout.
pub(crate) fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let status = std::process::Command::new(env!("CARGO"))
        .args(["build", "--release", "--package", "waxseal", "--locked"])
        .current_dir(root)
        .status()?;
    anyhow::ensure!(status.success(), "cargo build: {status}");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    Ok(target.join("release/waxseal"))
}

/// One instance and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Run {
    /// As users start it: every signer.
    Sealed,
    /// The chosen signers, and the judges that read the logs.
    Open,
}

impl Run {
    const ALL: [Self; 2] = [Self::Sealed, Self::Open];

    const fn privacy(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Open => "open",
        }
    }

    /// The judges of what is no bundle.
    const fn others(self) -> &'static str {
        match self {
            Self::Sealed => "client-setup, openssl ts",
            Self::Open => "rekor-cli, tessera fsck",
        }
    }

    fn asks(self, signer: &Signer) -> bool {
        self == Self::Sealed || signer.is_chosen()
    }
}

/// A bundle that a signer made.
struct Made {
    signer: &'static Signer,
    variables: Variables,
}

/// One cell: a signer's bundle before a verifier.
struct Cell {
    signer: &'static str,
    verifier: &'static str,
    /// What the table shows.
    shown: String,
    /// The reports of what was wrong, and what was not asked.
    wrong: Vec<String>,
    skipped: BTreeSet<&'static str>,
}

/// Runs everything on a fresh instance; prints the tables and returns the reports of what was wrong.
fn fill(site: &Site, run: Run, only: &str) -> anyhow::Result<Vec<String>> {
    let http = Http::new()?;
    let options = Options { up: vec!["--privacy".to_owned(), run.privacy().to_owned()], writes: None };
    let instance = Instance::start(site, &http, &options)?;
    let variables = artifacts(site.folder(), instance.trust_material(site, &http)?)?;
    for (program, words) in SETUP.iter().filter(|(program, _)| site.has(*program)) {
        site.run(*program, words, &variables)?.demand()?;
    }
    let asked = |signer: &&Signer| run.asks(signer) && site.has(signer.program) && signer.name.contains(only);
    let signers: Vec<&'static Signer> = SIGNERS.iter().filter(asked).collect();
    let mut wrong = Vec::new();
    let (made, refused) = sign(site, &variables, &signers)?;
    wrong.extend(refused);
    let cells = verify(site, &made)?;
    println!("{}", table(&signers, &cells));
    let skipped = cells.iter().flat_map(|cell| cell.skipped.iter().map(|why| (cell.verifier, why)));
    for (verifier, why) in skipped.collect::<BTreeSet<_>>() {
        println!("not asked: {verifier} {why}");
    }
    wrong.extend(cells.into_iter().flat_map(|cell| cell.wrong));
    if run.others().contains(only) {
        for (lines, faults) in others(site, &http, run, &variables)? {
            lines.iter().for_each(|line| println!("{line}"));
            wrong.extend(faults);
        }
    }
    Ok(wrong)
}

/// What is no bundle.
fn others(
    site: &Site,
    http: &Http,
    run: Run,
    variables: &Variables,
) -> anyhow::Result<Vec<(Vec<String>, Vec<String>)>> {
    let who = Who::Person;
    let person = variables.clone().with("identity", who.identity());
    match run {
        Run::Sealed => {
            let mut done = vec![setup::run(site, &person)?];
            if site.has(Program::Openssl) {
                done.push(timestamps::run(site, http, variables)?);
            }
            Ok(done)
        }
        Run::Open => {
            let token = site.run(Program::Waxseal, who.token(), &person)?.demand()?;
            Ok(vec![logs::run(site, http, &person.with("token", token.stdout.trim()))?])
        }
    }
}

/// Writes what is signed, and what a verifier is shown in its place.
fn artifacts(folder: &Path, variables: Variables) -> anyhow::Result<Variables> {
    let artifact = b"what a release would be\n";
    let digest = hex::encode(waxseal_formats::crypto::digest::sha256(artifact));
    let predicate = json!({
        "buildDefinition": {"buildType": "https://example.com/build", "externalParameters": {}},
        "runDetails": {"builder": {"id": "https://example.com/builder"}},
    });
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "artifact.txt", "digest": {"sha256": digest}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": predicate,
    });
    let save = |name: &str, bytes: &[u8]| -> anyhow::Result<String> {
        let path = folder.join(name);
        fs::write(&path, bytes)?;
        Ok(path.to_string_lossy().into_owned())
    };
    Ok(variables
        .with("artifact", save("artifact.txt", artifact)?)
        .with("changed", save("changed.txt", &[artifact, &b"!"[..]].concat())?)
        .with("sign_js", save("sign.cjs", include_bytes!("sign.cjs"))?)
        .with("predicate", save("predicate.json", predicate.to_string().as_bytes())?)
        .with("statement", save("statement.json", statement.to_string().as_bytes())?))
}

/// Has each signer sign, those of one program after another and the programs side by side.
fn sign(site: &Site, variables: &Variables, signers: &[&'static Signer]) -> anyhow::Result<(Vec<Made>, Vec<String>)> {
    let mut tokens = Vec::new();
    for who in Who::ALL {
        let variables = variables.clone().with("identity", who.identity());
        let token = site.run(Program::Waxseal, who.token(), &variables)?.demand()?;
        tokens.push((who, token.stdout.trim().to_owned()));
    }
    let token = |who: Who| {
        let found = tokens.iter().find(|(of, _)| *of == who);
        found.map_or_else(String::new, |(_, token)| token.clone())
    };
    let origin = variables.value("origin").unwrap_or_default();
    let jobs: Vec<(Program, (&'static Signer, Variables))> = signers
        .iter()
        .map(|signer| {
            let bundle = site.folder().join(format!("{}.sigstore.json", signer.name.replace([' ', ','], "-")));
            let variables = variables
                .clone()
                .with("token", token(signer.who))
                .with("issuer", format!("{origin}{}", signer.who.issuer_path()))
                .with("kind", signer.who.kind())
                .with("bundle", bundle.to_string_lossy());
            (signer.program, (*signer, variables))
        })
        .collect();
    let (mut made, mut wrong) = (Vec::new(), Vec::new());
    let outcomes = side_by_side(jobs, |(signer, variables)| {
        let outcome = site.run(signer.program, signer.words, &variables)?;
        Ok((signer, variables, outcome))
    })?;
    for (signer, variables, outcome) in outcomes {
        if outcome.accepted() {
            made.push(Made { signer, variables });
        } else {
            wrong.push(format!("{} does not sign\n{}", signer.name, outcome.report()));
        }
    }
    Ok((made, wrong))
}

/// Shows each bundle to each verifier.
fn verify(site: &Site, made: &[Made]) -> anyhow::Result<Vec<Cell>> {
    let mut jobs = Vec::new();
    for verifier in VERIFIERS.iter().filter(|verifier| site.has(verifier.program)) {
        jobs.extend(made.iter().map(|made| (verifier.program, (made, verifier))));
    }
    side_by_side(jobs, |(made, verifier)| cell(site, made, verifier))
}

fn cell(site: &Site, made: &Made, verifier: &'static Verifier) -> anyhow::Result<Cell> {
    let signer = made.signer;
    let mut cell = Cell {
        signer: signer.name,
        verifier: verifier.name,
        shown: "ok".to_owned(),
        wrong: Vec::new(),
        skipped: BTreeSet::new(),
    };
    let Some(words) = verifier.words(signer.content) else {
        cell.shown = "-".to_owned();
        return Ok(cell);
    };
    for change in Change::ALL {
        if let Some(why) = unable(verifier, signer, change) {
            cell.skipped.insert(why);
            cell.shown = if change == Change::None { "-" } else { "ok*" }.to_owned();
            if change == Change::None {
                return Ok(cell);
            }
            continue;
        }
        let outcome = site.run(verifier.program, words, &changed(made, change)?)?;
        let right = is_right(verifier.program, change, &outcome);
        if !right {
            cell.shown = "WRONG".to_owned();
            cell.wrong.push(format!("{} by {}, changed: {change:?}\n{}", signer.name, verifier.name, outcome.report()));
        }
    }
    Ok(cell)
}

/// Whether a verifier said what it has to say, and for the reason that it has to give.
fn is_right(program: Program, change: Change, outcome: &Outcome) -> bool {
    match change {
        Change::None => outcome.accepted(),
        _ => outcome.refused() && reasons(program, change).iter().any(|reason| outcome.stderr.contains(reason)),
    }
}

/// What the verifier is shown after `change`.
fn changed(made: &Made, change: Change) -> anyhow::Result<Variables> {
    let who = made.signer.who;
    let variables = made.variables.clone().with("identity", who.identity());
    let value = |name: &str| made.variables.value(name).with_context(|| name.to_owned());
    Ok(match change {
        Change::None => variables,
        Change::Identity => variables.with("identity", who.other_identity()),
        Change::Artifact => variables.with("artifact", value("changed")?),
        Change::Signature => {
            let bundle = value("bundle")?;
            let flipped = edit::flip_signature(&fs::read_to_string(bundle)?)?;
            let path = bundle.replace(".sigstore.json", ".flipped.sigstore.json");
            // Written anew for each verifier, always the same: by renaming, so that none reads half of it.
            let mut file = tempfile::NamedTempFile::new_in(Path::new(bundle).parent().unwrap_or(Path::new(".")))?;
            std::io::Write::write_all(&mut file, flipped.as_bytes())?;
            file.persist(&path)?;
            variables.with("bundle", path)
        }
    })
}

/// Does the jobs of each program in order, and the programs side by side: a client's own cache sees one run at a
/// time.
fn side_by_side<J: Send, T: Send>(
    jobs: Vec<(Program, J)>,
    work: impl Fn(J) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let mut programs: Vec<(Program, Vec<J>)> = Vec::new();
    for (program, job) in jobs {
        match programs.iter_mut().find(|(found, _)| *found == program) {
            Some((_, jobs)) => jobs.push(job),
            None => programs.push((program, vec![job])),
        }
    }
    thread::scope(|scope| {
        let threads: Vec<_> = programs
            .into_iter()
            .map(|(_, jobs)| scope.spawn(|| jobs.into_iter().map(&work).collect::<anyhow::Result<Vec<T>>>()))
            .collect();
        let mut results = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(done) => results.extend(done?),
                Err(_) => bail!("a worker of the matrix panicked"),
            }
        }
        Ok(results)
    })
}

/// The table, a line a signer and a column a verifier.
fn table(signers: &[&'static Signer], cells: &[Cell]) -> String {
    let width = signers.iter().map(|signer| signer.name.len()).max().unwrap_or_default();
    let mut table = format!("{:width$}", "signed by \\ verified by");
    let width = table.len().max(width);
    table = format!("{table:width$}");
    for verifier in VERIFIERS {
        table.push_str(&format!("  {}", verifier.name));
    }
    for signer in signers {
        table.push_str(&format!("\n{:width$}", signer.name));
        for verifier in VERIFIERS {
            let cell = cells.iter().find(|cell| cell.signer == signer.name && cell.verifier == verifier.name);
            let shown = cell.map_or("absent", |cell| cell.shown.as_str());
            table.push_str(&format!("  {shown:column$}", column = verifier.name.len()));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_run_side_by_side_and_their_jobs_in_order() {
        let jobs = vec![(Program::Cosign, 1), (Program::Waxseal, 10), (Program::Cosign, 2), (Program::Waxseal, 20)];
        let mut done = side_by_side(jobs, |job| Ok(job * 2)).unwrap();
        assert!(done.iter().position(|job| *job == 2) < done.iter().position(|job| *job == 4));
        done.sort_unstable();
        assert_eq!(done, [2, 4, 20, 40]);
    }

    #[test]
    fn a_changed_signature_has_to_be_refused_for_its_own_reason() {
        let ended = |status, stderr: &str| Outcome {
            line: String::new(),
            status,
            stdout: String::new(),
            stderr: stderr.to_owned(),
        };
        let ours = |change, outcome| is_right(Program::Waxseal, change, &outcome);
        assert!(ours(Change::None, ended(Some(0), "")));
        assert!(!ours(Change::None, ended(Some(1), "error[signature.invalid]: x")));
        assert!(ours(Change::Signature, ended(Some(1), "error[signature.invalid]: x")));
        assert!(!ours(Change::Signature, ended(Some(1), "error[network.unreachable]: x")));
        assert!(!ours(Change::Signature, ended(Some(0), "")));
        let theirs = |change, outcome| is_right(Program::Cosign, change, &outcome);
        assert!(theirs(Change::Identity, ended(Some(1), "no matching CertificateIdentity found")));
        assert!(!theirs(Change::Identity, ended(Some(1), "cannot reach the mirror")));
        assert!(!theirs(Change::Identity, ended(None, "panic")));
        assert!(!theirs(Change::Identity, ended(Some(0), "")));
    }

    #[test]
    fn one_failed_job_fails_all() {
        let jobs = vec![(Program::Cosign, 1), (Program::Waxseal, 2)];
        let done = side_by_side(jobs, |job| if job == 2 { bail!("no") } else { Ok(job) });
        assert!(done.is_err());
    }

    #[test]
    fn the_table_shows_what_is_absent() {
        let signer = &SIGNERS[0];
        let cells = [Cell {
            signer: signer.name,
            verifier: VERIFIERS[0].name,
            shown: "WRONG".to_owned(),
            wrong: Vec::new(),
            skipped: BTreeSet::new(),
        }];
        let table = table(&[signer], &cells);
        assert!(table.contains("WRONG") && table.contains("absent"), "{table}");
        assert_eq!(table.lines().count(), 2);
    }
}
