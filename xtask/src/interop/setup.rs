//! `waxseal client-setup`: the lines that it prints, run as they stand.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::{
    command::{Outcome, Site, Variables},
    parts::Program,
};

/// The clients that it knows.
const CLIENTS: &[(&str, Program)] = &[
    ("cosign", Program::Cosign),
    ("cosign2", Program::Cosign2),
    ("sigstore-python", Program::SigstorePython),
    ("sigstore-js", Program::SigstoreJs),
    ("waxseal", Program::Waxseal),
];

/// Runs the lines for each client; returns a line a client, and the reports of what went wrong.
pub(crate) fn run(site: &Site, variables: &Variables) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for (client, program) in CLIENTS.iter().filter(|(_, program)| site.has(*program)) {
        let variables = variables.clone().with("client", *client);
        let printed = site
            .run(Program::Waxseal, "client-setup {client} --instance {origin} --identity {identity}", &variables)?
            .demand()?;
        let outcome = script(site, client, *program, &printed.stdout, &variables)?;
        lines.push(format!("client-setup {client}: {}", if outcome.accepted() { "ok" } else { "WRONG" }));
        if !outcome.accepted() {
            wrong.push(format!("client-setup {client}\n{}\n{}", printed.stdout, outcome.report()));
        }
    }
    Ok((lines, wrong))
}

/// Runs `lines` where there is a file called `artifact`, with the clients on PATH and the token, if there is one, in the
/// environment.
fn script(site: &Site, client: &str, program: Program, lines: &str, variables: &Variables) -> anyhow::Result<Outcome> {
    let folder = site.folder().join(format!("setup-{client}"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("artifact"), "what is signed\n")?;
    let text = format!("set -eu\ncd '{}'\nPATH='{}'\n{lines}", folder.display(), path(site, program)?);
    let file = folder.join("script");
    fs::write(&file, text)?;
    site.run(Program::Shell, "{script}", &variables.clone().with("script", file.to_string_lossy()))
}

/// PATH with the folders of the client and of waxseal before the rest, each under the name that its user knows.
fn path(site: &Site, program: Program) -> anyhow::Result<String> {
    let programs = [program, Program::Waxseal];
    let mut folders: Vec<PathBuf> =
        programs.iter().filter_map(|program| site.path(*program)?.parent().map(Path::to_owned)).collect();
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    Ok(env::join_paths(folders)?.to_string_lossy().into_owned())
}
