//! People log in at the demo provider: in a browser, which is a script here, and on another device.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    command::Site,
    http::Http,
    instance::{Instance, Options},
    matrix::{SETUP, Who},
    parts::Program,
    questions::{Ends, Question, ask, ours, theirs},
};

const VERIFIED: &str = "verify-blob --instance {origin} --bundle {bundle} {signer} {artifact}";

const QUESTIONS: &[Question] = &[
    theirs(
        "sigstore-python logs in in a browser",
        Program::SigstorePython,
        "--instance {origin}/tuf sign --bundle {bundle} --overwrite {artifact}",
        Ends::Well,
    ),
    ours("ours verifies it", VERIFIED, Ends::Well),
    ours("ours logs in in a browser", "sign-blob --instance {origin} --bundle {bundle} {artifact}", Ends::Well),
    ours("ours verifies its own", VERIFIED, Ends::Well),
    ours(
        "ours refuses another identity",
        "verify-blob --instance {origin} --bundle {bundle} {stranger} {artifact}",
        Ends::With(1, "certificate.identity"),
    ),
    theirs(
        "ours logs in on another device",
        Program::Shell,
        "{device} {browser} {issuer}/device {waxseal} sign-blob --instance {origin} --fulcio-auth-flow device --bundle {bundle} \
            {artifact}",
        Ends::Well,
    ),
    theirs("cosign 3 verifies it", Program::Cosign, "verify-blob --bundle {bundle} {signer} {artifact}", Ends::Well),
    ours(
        "somebody without a browser or terminal is told so",
        "sign-blob --instance {origin} --fulcio-auth-flow token --bundle {bundle} {artifact}",
        Ends::With(2, "no identity token"),
    ),
    ours(
        "a workflow logs in at the other issuer",
        "sign-blob --instance {origin} --oidc-issuer {origin}/idp/github --bundle {bundle} {artifact}",
        Ends::Well,
    ),
];

/// cosign 3 and 2, which have no browser without a terminal.
const ON_DEVICES: &[(Program, &str)] =
    &[(Program::Cosign, ""), (Program::Cosign2, "--new-bundle-format --use-signing-config")];

/// Runs everything; returns a line for each question and the reports of what was wrong.
pub(crate) fn run(site: &Site) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let http = Http::new()?;
    let instance = Instance::start(site, &http, &Options::default())?;
    let variables = instance.trust_material(site, &http)?;
    for (program, words) in SETUP.iter().filter(|(program, _)| site.has(*program)) {
        site.run(*program, words, &variables)?.demand()?;
    }
    let who = Who::Person;
    let folder = site.folder();
    let artifact = folder.join("artifact.txt");
    fs::write(&artifact, "signed by whoever logs in\n")?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let page = folder.join("login.mjs");
    fs::write(&page, include_str!("login.mjs"))?;
    let browser = program(
        folder.join("browser"),
        &format!(
            "#!/bin/sh\nexec node {} {}/owner-secret {} \"$1\"\n",
            text(&page),
            variables.value("data").unwrap_or_default(),
            who.identity()
        ),
    )?;
    let device = program(folder.join("device.sh"), include_str!("device.sh"))?;
    let issuer = format!("{}{}", variables.value("origin").unwrap_or_default(), who.issuer_path());
    let variables = variables
        .with("identity", who.identity())
        .with("other_identity", who.other_identity())
        .with("issuer", issuer)
        .with("artifact", text(&artifact))
        .with("bundle", text(&folder.join("bundle.json")))
        .with("browser", text(&browser))
        .with("$BROWSER", text(&browser))
        .with("device", text(&device))
        .with("waxseal", text(site.path(Program::Waxseal).unwrap_or(Path::new(""))));
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    ask(site, "logins", QUESTIONS, &variables, &mut lines, &mut wrong)?;
    for (client, flags) in ON_DEVICES {
        let Some(path) = site.path(*client) else {
            lines.push(format!("logins: {client:?} on another device: not asked, a part is missing"));
            continue;
        };
        // It is at home where it was initialized.
        let home = folder.join("home").join(format!("{client:?}").to_lowercase());
        let words = format!(
            "{{device}} {{browser}} {{issuer}}/device env HOME={home} TUF_ROOT={home}/tuf {} sign-blob --yes {flags} \
             --bundle {{bundle}} {{artifact}}",
            path.display(),
            home = home.display(),
        );
        let outcome = site.run(Program::Shell, &words, &variables)?;
        let verified =
            site.run(Program::Waxseal, &VERIFIED.replace("{signer}", super::questions::WHOM[0].1), &variables)?;
        let right = outcome.accepted() && verified.accepted();
        lines.push(format!(
            "logins: {client:?} on another device, ours verifies: {}",
            if right { "ok" } else { "WRONG" }
        ));
        if !right {
            wrong.push(format!("{client:?} on another device\n{}\n{}", outcome.report(), verified.report()));
        }
    }
    Ok((lines, wrong))
}

fn program(path: PathBuf, text: &str) -> anyhow::Result<PathBuf> {
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
