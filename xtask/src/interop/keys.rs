//! Keys that something else keeps: OpenBao and SoftHSM, used by ours and by cosign.

use std::{fs, net::TcpListener, path::Path};

use anyhow::Context;

use super::{
    command::{Site, Variables},
    http::Http,
    instance::{Instance, Options},
    matrix::SETUP,
    parts::Program,
    questions::{Ends, Question, ask, ours, theirs},
    server::Server,
};

const IN_OPENBAO: &[Question] = &[
    theirs("there is a transit engine", Program::OpenBao, "secrets enable transit", Ends::Well),
    ours("ours makes a key", "generate-key-pair --kms openbao://p256 --output-key-prefix {folder}/p256", Ends::Well),
    ours(
        "ours makes a key of another kind",
        "generate-key-pair --kms hashivault://p384 --signing-algorithm ecdsa-sha2-384-nistp384 --output-key-prefix {folder}/p384",
        Ends::Well,
    ),
    ours(
        "ours makes one with RSA",
        "generate-key-pair --kms openbao://rsa --signing-algorithm rsa-sign-pkcs1-3072-sha256 --output-key-prefix {folder}/rsa",
        Ends::Well,
    ),
    ours(
        "ours makes none twice",
        "generate-key-pair --kms openbao://p256 --output-key-prefix {folder}/again",
        Ends::With(1, "key.unsupported"),
    ),
    ours(
        "ours signs",
        "sign-blob --instance {origin} --key openbao://p256 --bundle {folder}/a.json {artifact}",
        Ends::Well,
    ),
    ours(
        "ours verifies by the kept key",
        "verify-blob --instance {origin} --key openbao://p256 --bundle {folder}/a.json {artifact}",
        Ends::Well,
    ),
    ours(
        "ours refuses another key",
        "verify-blob --instance {origin} --key openbao://rsa --bundle {folder}/a.json {artifact}",
        Ends::With(1, "signature.key-mismatch"),
    ),
    theirs(
        "cosign 3 verifies by the file",
        Program::Cosign,
        "verify-blob --key {folder}/p256.pub --bundle {folder}/a.json {artifact}",
        Ends::Well,
    ),
    theirs(
        "cosign 3 verifies by the kept key",
        Program::Cosign,
        "verify-blob --key hashivault://p256 --bundle {folder}/a.json {artifact}",
        Ends::Well,
    ),
    ours(
        "ours signs with P-384",
        "sign-blob --instance {origin} --key openbao://p384 --bundle {folder}/b.json {artifact}",
        Ends::Well,
    ),
    ours(
        "ours verifies P-384",
        "verify-blob --instance {origin} --key {folder}/p384.pub --bundle {folder}/b.json {artifact}",
        Ends::Well,
    ),
    ours(
        "ours attests with RSA",
        "attest-blob --instance {origin} --key openbao://rsa --predicate {predicate} --type slsaprovenance1 --bundle {folder}/c.json \
            {artifact}",
        Ends::Well,
    ),
    theirs(
        "cosign 3 verifies the attestation",
        Program::Cosign,
        "verify-blob-attestation --key {folder}/rsa.pub --type slsaprovenance1 --bundle {folder}/c.json {artifact}",
        Ends::Well,
    ),
    theirs(
        "cosign 3 signs",
        Program::Cosign,
        "sign-blob --yes --key hashivault://p256 --bundle {folder}/d.json {artifact}",
        Ends::Well,
    ),
    ours(
        "ours verifies what cosign 3 signed",
        "verify-blob --instance {origin} --key openbao://p256 --bundle {folder}/d.json {artifact}",
        Ends::Well,
    ),
    ours(
        "a key that is not there is told of",
        "sign-blob --instance {origin} --key openbao://none --bundle {folder}/e.json {artifact}",
        Ends::With(1, "key.unavailable"),
    ),
];

const ON_A_TOKEN: &[Question] = &[
    theirs(
        "there is a token",
        Program::SoftHsm,
        "--module {module} --init-token --free --label release --so-pin 12345678 --pin 5678",
        Ends::Well,
    ),
    theirs(
        "there is a P-256 key",
        Program::Openssl,
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {folder}/ec.pem",
        Ends::Well,
    ),
    theirs(
        "and its public half",
        Program::Openssl,
        "pkey -in {folder}/ec.pem -pubout -out {folder}/ec.pub",
        Ends::Well,
    ),
    theirs(
        "it is put on the token",
        Program::SoftHsm,
        "--module {module} --import {folder}/ec.pem --token release --label ec --id 01 --pin 5678",
        Ends::Well,
    ),
    theirs(
        "there is an RSA key",
        Program::Openssl,
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {folder}/rsa.pem",
        Ends::Well,
    ),
    theirs(
        "and its public half too",
        Program::Openssl,
        "pkey -in {folder}/rsa.pem -pubout -out {folder}/rsa-token.pub",
        Ends::Well,
    ),
    theirs(
        "it is put on the token as well",
        Program::SoftHsm,
        "--module {module} --import {folder}/rsa.pem --token release --label rsa --id 02 --pin 5678",
        Ends::Well,
    ),
    ours(
        "ours prints the public half",
        "public-key --key {token_uri};object=ec{library}&pin-value=5678",
        Ends::Saying("BEGIN PUBLIC KEY"),
    ),
    ours(
        "ours signs on the token",
        "sign-blob --instance {origin} --key {token_uri};object=ec{library}&pin-value=5678 --bundle {folder}/f.json {artifact}",
        Ends::Well,
    ),
    theirs(
        "cosign 3 verifies by OpenSSL's public key",
        Program::Cosign,
        "verify-blob --key {folder}/ec.pub --bundle {folder}/f.json {artifact}",
        Ends::Well,
    ),
    ours(
        "ours signs with RSA on the token, found by its id",
        "sign-blob --instance {origin} --key {token_uri};id=%02{library}&pin-value=5678 --bundle {folder}/g.json {artifact}",
        Ends::Well,
    ),
    theirs(
        "cosign 3 verifies RSA",
        Program::Cosign,
        "verify-blob --key {folder}/rsa-token.pub --bundle {folder}/g.json {artifact}",
        Ends::Well,
    ),
    ours(
        "ours verifies by the key on the token",
        "verify-blob --instance {origin} --key {token_uri};object=rsa{library}&pin-value=5678 --bundle {folder}/g.json {artifact}",
        Ends::Well,
    ),
    ours(
        "a wrong PIN is told of",
        "public-key --key {token_uri};object=ec{library}&pin-value=0000",
        Ends::With(1, "key.passphrase"),
    ),
    ours(
        "a key that is not there is told of",
        "public-key --key {token_uri};object=none{library}&pin-value=5678",
        Ends::With(1, "key.unavailable"),
    ),
];

/// Runs everything; returns a line for each question and the reports of what was wrong.
pub(crate) fn run(site: &Site) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let http = Http::new()?;
    // Keys are nobody's that the instance knows: whoever signs with one may write.
    let instance = Instance::start(site, &http, &Options { writes: Some("any"), ..Options::default() })?;
    let variables = instance.trust_material(site, &http)?;
    for (program, words) in SETUP.iter().filter(|(program, _)| site.has(*program)) {
        site.run(*program, words, &variables)?.demand()?;
    }
    let folder = site.folder();
    let (artifact, predicate) = (folder.join("artifact.txt"), folder.join("predicate.json"));
    fs::write(&artifact, "signed with a key that nobody can copy\n")?;
    fs::write(&predicate, r#"{"buildDefinition": {}, "runDetails": {}}"#)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let variables = variables
        .with("folder", text(folder))
        .with("artifact", text(&artifact))
        .with("predicate", text(&predicate))
        .with("passphrase", "");
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    if site.has(Program::OpenBao) {
        let (_server, variables) = openbao(site, &variables)?;
        ask(site, "OpenBao", IN_OPENBAO, &variables, &mut lines, &mut wrong)?;
        let stranger = variables.with("$BAO_TOKEN", "stranger");
        let refused =
            [ours("a wrong token is told of", "public-key --key openbao://p256", Ends::With(1, "key.unavailable"))];
        ask(site, "OpenBao", &refused, &stranger, &mut lines, &mut wrong)?;
    } else {
        lines.push("OpenBao: not asked, a part is missing".to_owned());
    }
    if let Some(util) = site.path(Program::SoftHsm) {
        let module = util.ancestors().nth(2).context("a folder")?.join("lib/softhsm/libsofthsm2.so");
        let config = folder.join("softhsm2.conf");
        let tokens = folder.join("tokens");
        fs::create_dir_all(&tokens)?;
        fs::write(
            &config,
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display()),
        )?;
        let variables = variables
            .clone()
            .with("$SOFTHSM2_CONF", text(&config))
            .with("module", text(&module))
            .with("token_uri", "pkcs11:token=release")
            .with("library", format!("?module-path={}", module.display()));
        ask(site, "SoftHSM", ON_A_TOKEN, &variables, &mut lines, &mut wrong)?;
    } else {
        lines.push("SoftHSM: not asked, a part is missing".to_owned());
    }
    Ok((lines, wrong))
}

/// An OpenBao that forgets everything when it ends, and how to reach it.
fn openbao(site: &Site, variables: &Variables) -> anyhow::Result<(Server, Variables)> {
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let variables = variables
        .clone()
        .with("listen", listen.clone())
        .with("$BAO_ADDR", format!("http://{listen}"))
        .with("$BAO_TOKEN", "root");
    let words = "server -dev -dev-no-store-token -dev-root-token-id=root -dev-listen-address={listen}";
    let mut command = site.command(Program::OpenBao)?;
    command.args(variables.expand(words)?);
    let server = Server::when(command, &site.folder().join("logs/openbao.log"), || {
        Ok(site.run(Program::OpenBao, "status", &variables)?.accepted())
    })?;
    Ok((server, variables))
}
