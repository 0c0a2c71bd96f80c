//! What cosign 2 writes to files: old bundles, and signatures beside their certificates. Ours verifies it, and makes present bundles
//! of it, which cosign 3 verifies.

use std::fs;

use serde_json::json;

use super::{
    command::Site,
    http::Http,
    instance::{Instance, Options},
    matrix::{SETUP, Who},
    parts::Program,
    questions::{Ends, Question, ask, ours, theirs},
};

const QUESTIONS: &[Question] = &[
    theirs(
        "cosign 2 writes an old bundle, and the parts beside it",
        Program::Cosign2,
        "sign-blob --yes --fulcio-url {origin} --rekor-url {origin} --identity-token {token} --bundle {folder}/old.bundle \
            --output-signature {folder}/old.sig --output-certificate {folder}/old.crt {artifact}",
        Ends::Well,
    ),
    ours(
        "ours verifies the old bundle",
        "verify-blob --instance {origin} --bundle {folder}/old.bundle {signer} {artifact}",
        Ends::Well,
    ),
    ours(
        "ours refuses another identity",
        "verify-blob --instance {origin} --bundle {folder}/old.bundle {stranger} {artifact}",
        Ends::With(1, "certificate.identity"),
    ),
    ours(
        "ours refuses another file",
        "verify-blob --instance {origin} --bundle {folder}/old.bundle {signer} {predicate}",
        Ends::With(1, "signature.invalid"),
    ),
    ours(
        "ours misses the log entry of the parts",
        "verify-blob --instance {origin} --signature {folder}/old.sig --certificate {folder}/old.crt {signer} {artifact}",
        Ends::With(1, "log.proof-missing"),
    ),
    ours(
        "ours shows what is in an old bundle",
        "bundle inspect {folder}/old.bundle",
        Ends::Saying("alice@corp.example"),
    ),
    ours(
        "ours makes a present bundle of the old one",
        "bundle upgrade --instance {origin} --out {folder}/upgraded.json {folder}/old.bundle",
        Ends::Well,
    ),
    theirs(
        "cosign 3 verifies it",
        Program::Cosign,
        "verify-blob --bundle {folder}/upgraded.json {signer} {artifact}",
        Ends::Well,
    ),
    ours(
        "ours verifies it",
        "verify-blob --instance {origin} --bundle {folder}/upgraded.json {signer} {artifact}",
        Ends::Well,
    ),
    ours(
        "ours looks the entry of the parts up",
        "bundle create --instance {origin} --rekor-url {origin} --signature {folder}/old.sig --certificate {folder}/old.crt \
            --artifact {artifact} --out {folder}/created.json",
        Ends::Well,
    ),
    ours(
        "ours does not ask for a signature that is not over the file",
        "bundle create --instance {origin} --rekor-url {origin} --signature {folder}/old.sig --certificate {folder}/old.crt \
            --artifact {predicate} --out {folder}/none.json",
        Ends::With(1, "signature.invalid"),
    ),
    theirs(
        "cosign 3 verifies what was put together",
        Program::Cosign,
        "verify-blob --bundle {folder}/created.json {signer} {artifact}",
        Ends::Well,
    ),
    ours(
        "ours verifies what was put together",
        "verify-blob --instance {origin} --bundle {folder}/created.json {signer} {artifact}",
        Ends::Well,
    ),
    theirs(
        "cosign 2 attests to an old bundle",
        Program::Cosign2,
        "attest-blob --yes --fulcio-url {origin} --rekor-url {origin} --identity-token {token} --predicate {predicate} \
            --type slsaprovenance1 --bundle {folder}/old-att.bundle {artifact}",
        Ends::Well,
    ),
    ours(
        "ours verifies the old attestation",
        "verify-blob-attestation --instance {origin} --bundle {folder}/old-att.bundle --type slsaprovenance1 {signer} {artifact}",
        Ends::Well,
    ),
    ours(
        "ours refuses it for another type",
        "verify-blob-attestation --instance {origin} --bundle {folder}/old-att.bundle --type spdx {signer} {artifact}",
        Ends::With(1, "statement.predicate-type"),
    ),
    ours(
        "ours makes a present attestation of it",
        "bundle upgrade --instance {origin} --out {folder}/upgraded-att.json {folder}/old-att.bundle",
        Ends::Well,
    ),
    theirs(
        "cosign 3 verifies the present attestation",
        Program::Cosign,
        "verify-blob-attestation --bundle {folder}/upgraded-att.json --type slsaprovenance1 {signer} {artifact}",
        Ends::Well,
    ),
    // A key instead of an identity.
    ours("ours makes a key", "generate-key-pair --output-key-prefix {folder}/k", Ends::Well),
    theirs(
        "cosign 2 signs with it",
        Program::Cosign2,
        "sign-blob --yes --key {folder}/k.key --rekor-url {origin} --bundle {folder}/keyed.bundle \
            --output-signature {folder}/keyed.sig {artifact}",
        Ends::Well,
    ),
    ours(
        "ours verifies by the key",
        "verify-blob --instance {origin} --key {folder}/k.pub --bundle {folder}/keyed.bundle {artifact}",
        Ends::Well,
    ),
    ours(
        "ours looks its entry up",
        "bundle create --instance {origin} --rekor-url {origin} --signature {folder}/keyed.sig --key {folder}/k.pub \
            --artifact {artifact} --out {folder}/keyed.json",
        Ends::Well,
    ),
    theirs(
        "cosign 3 verifies by the key",
        Program::Cosign,
        "verify-blob --bundle {folder}/keyed.json --key {folder}/k.pub {artifact}",
        Ends::Well,
    ),
];

/// Runs everything; returns a line for each question and the reports of what was wrong.
pub(crate) fn run(site: &Site) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let http = Http::new()?;
    // A sealed log keeps no entries that could be looked up.
    let options = Options { up: vec!["--privacy".to_owned(), "open".to_owned()], writes: Some("any") };
    let instance = Instance::start(site, &http, &options)?;
    let variables = instance.trust_material(site, &http)?;
    for (program, words) in SETUP.iter().filter(|(program, _)| site.has(*program)) {
        site.run(*program, words, &variables)?.demand()?;
    }
    let who = Who::Person;
    let variables = variables.with("identity", who.identity());
    let token = site.run(Program::Waxseal, who.token(), &variables)?.demand()?;
    let issuer = format!("{}{}", variables.value("origin").unwrap_or_default(), who.issuer_path());
    let artifact = site.folder().join("artifact.txt");
    fs::write(&artifact, "signed years ago\n")?;
    let predicate = site.folder().join("predicate.json");
    fs::write(&predicate, json!({"buildDefinition": {}, "runDetails": {}}).to_string())?;
    let variables = variables
        .with("token", token.stdout.trim())
        .with("issuer", issuer)
        .with("other_identity", who.other_identity())
        .with("artifact", artifact.to_string_lossy())
        .with("predicate", predicate.to_string_lossy())
        .with("passphrase", "correct horse")
        .with("folder", site.folder().to_string_lossy());
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    ask(site, "files", QUESTIONS, &variables, &mut lines, &mut wrong)?;
    Ok((lines, wrong))
}
