//! An instance as an organisation runs it: made by `init`, run by `serve` over TLS, and identity providers that nobody here
//! wrote vouch for its signers: one that says what it is told, and OpenBao behind a TLS authority of its own.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    command::{Outcome, Site, Variables, Words},
    parts::Program,
    server::{OpenBao, Providers, Server},
    setup,
};

/// Whom the rules admit.
const ADMITTED: &str = "alice@corp.example";
/// Whom the same provider vouches for, and no rule admits.
const STRANGER: &str = "eve@elsewhere.example";
/// The variable with OpenBao's token for [`ADMITTED`].
const OPENBAO: &str = "openbao";

/// What is asked of the instance besides the lines of `client-setup`.
struct Question {
    name: &'static str,
    /// Whose token is `{token}`.
    who: &'static str,
    program: Program,
    words: Words,
    /// What a refusal says, if it has to be one.
    refusal: Option<&'static str>,
}

const PIN: Words = "initialize --mirror {origin}/tuf --root {data}/tuf/1.root.json";

/// cosign 2 with URLs and without a signing config speaks Fulcio's version 1.
const QUESTIONS: &[Question] = &[
    asks("cosign 2 pins it", Program::Cosign2, PIN),
    asks(
        "cosign 2 signs by URL",
        Program::Cosign2,
        "sign-blob --yes --fulcio-url {origin} --rekor-url {origin} --identity-token {token} --bundle {folder}/v1.json {artifact}",
    ),
    asks(
        "cosign 2 verifies it",
        Program::Cosign2,
        "verify-blob --bundle {folder}/v1.json --certificate-identity {identity} --certificate-oidc-issuer {issuer} {artifact}",
    ),
    asks("cosign 3 pins it", Program::Cosign, PIN),
    by_openbao(
        "cosign 3 signs with a token of OpenBao",
        // On its command line cosign takes tokens with ES256 for names of files.
        "sign-blob --yes --identity-token {folder}/openbao.token --bundle {folder}/openbao.json {artifact}",
    ),
    by_openbao(
        "cosign 3 verifies it",
        "verify-blob --bundle {folder}/openbao.json --certificate-identity {identity} --certificate-oidc-issuer {openbao_issuer} {artifact}",
    ),
    stranger(Program::Cosign, "sign-blob --yes --identity-token {token} --bundle {folder}/eve.json {artifact}"),
    stranger(
        Program::Waxseal,
        "sign-blob --instance {origin} --identity-token {token} --bundle {folder}/eve.json {artifact}",
    ),
    asks("doctor", Program::Waxseal, "doctor --config {config} --identity-token {token}"),
    asks("audit verify", Program::Waxseal, "audit verify --data-dir {data}"),
];

const fn asks(name: &'static str, program: Program, words: Words) -> Question {
    Question { name, who: "alice", program, words, refusal: None }
}

const fn by_openbao(name: &'static str, words: Words) -> Question {
    Question { name, who: OPENBAO, program: Program::Cosign, words, refusal: None }
}

const fn stranger(program: Program, words: Words) -> Question {
    Question {
        name: "a stranger is told that no rule admits him",
        who: "eve",
        program,
        words,
        refusal: Some("rule.denied"),
    }
}

/// Makes and starts both, and asks; returns a line for each question and the reports of what was wrong.
pub(crate) fn run(site: Site) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    if !site.has(Program::IdentityProvider) {
        return Ok((vec!["not asked: there is no identity provider".to_owned()], Vec::new()));
    }
    let authority = site.folder().join("tls-ca.pem");
    let site = site.believing(authority.clone());
    certify(&authority, site.folder())?;
    let (provider, variables) = identity_provider(&site)?;
    let openbao = site.has(Program::OpenBao).then(|| OpenBao::start(&site, ADMITTED)).transpose()?;
    let (instance, variables) = instance(&site, openbao.as_ref(), variables)?;
    let (mut lines, mut wrong) = setup::run(&site, &variables)?;
    for question in QUESTIONS {
        let token = variables.value(question.who).filter(|_| site.has(question.program));
        let Some(token) = token else {
            lines.push(format!("{} ({:?}): not asked, a part is missing", question.name, question.program));
            continue;
        };
        let variables = variables.clone().with("token", token);
        let outcome = site.run(question.program, question.words, &variables)?;
        let right = as_expected(&outcome, question.refusal);
        lines.push(format!("{} ({:?}): {}", question.name, question.program, if right { "ok" } else { "WRONG" }));
        if !right {
            wrong.push(format!("{}\n{}", question.name, outcome.report()));
        }
    }
    drop((instance, provider, openbao));
    site.run(Program::Waxseal, "log fsck --data-dir {data}", &variables)?.demand()?;
    Ok((lines, wrong))
}

/// A refusal has to say why.
fn as_expected(outcome: &Outcome, refusal: Option<&str>) -> bool {
    match refusal {
        None => outcome.accepted(),
        Some(code) => outcome.refused() && outcome.stderr.contains(code),
    }
}

/// A TLS authority, and in `folder` what it issued for this machine.
fn certify(authority: &Path, folder: &Path) -> anyhow::Result<()> {
    let (key, leaf_key) = (rcgen::KeyPair::generate()?, rcgen::KeyPair::generate()?);
    let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    fs::write(authority, parameters.self_signed(&key)?.pem())?;
    let issuer = rcgen::Issuer::new(parameters, key);
    let mut leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    leaf.use_authority_key_identifier_extension = true;
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    fs::write(folder.join("tls.pem"), leaf.signed_by(&leaf_key, &issuer)?.pem())?;
    secret(&folder.join("tls.key"), &leaf_key.serialize_pem())
}

/// A file that its owner alone can read.
fn secret(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// The provider, and variables with a token for each of its people.
fn identity_provider(site: &Site) -> anyhow::Result<(Server, Variables)> {
    let person = |name: &str, email: &str| json!({"sub": name, "email": email, "email_verified": true});
    let people = json!({"people": {"alice": person("alice", ADMITTED), "eve": person("eve", STRANGER)}});
    let providers = Providers::start(site, &people)?;
    let variables = Variables::default()
        .with("issuer", providers.url("people")?)
        .with("identity", ADMITTED)
        .with("alice", Providers::token(site, "alice")?)
        .with("token", Providers::token(site, "alice")?)
        .with("eve", Providers::token(site, "eve")?);
    Ok((providers.server, variables))
}

/// The instance, and where it is.
fn instance(site: &Site, openbao: Option<&OpenBao>, variables: Variables) -> anyhow::Result<(Server, Variables)> {
    let issuer = variables.value("issuer").unwrap_or_default().to_owned();
    let rules = site.folder().join("rules.yaml");
    let mut issuers = vec![json!({"issuer": issuer, "type": "email"})];
    let mut admitted = vec![json!({"name": "people", "issuer": issuer, "match": {"email": "*@corp.example"}})];
    if let Some(OpenBao { issuer, authority, .. }) = openbao {
        issuers.push(json!({"issuer": issuer, "type": "email", "ca_file": authority}));
        admitted.push(json!({"name": "people-of-openbao", "issuer": issuer, "match": {"email": ADMITTED}}));
    }
    // JSON is YAML.
    fs::write(&rules, json!({"issuers": issuers, "rules": admitted}).to_string())?;
    let variables = match openbao {
        Some(OpenBao { issuer, token, .. }) => {
            fs::write(site.folder().join("openbao.token"), token)?;
            variables.with(OPENBAO, token.clone()).with("openbao_issuer", issuer.clone())
        }
        None => variables,
    };
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let artifact = site.folder().join("artifact.txt");
    fs::write(&artifact, "what a release would be\n")?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let data = site.folder().join("data");
    let variables = variables
        .with("origin", format!("https://localhost:{port}"))
        .with("config", text(data.join("waxseal.yaml")))
        .with("data", text(data))
        .with("rules", text(rules))
        .with("artifact", text(artifact))
        .with("folder", text(site.folder().to_owned()));
    site.run(
        Program::Waxseal,
        "init --yes --data-dir {data} --public-url {origin} --rules {rules} --login-issuer {issuer} \
         --tls-certificate {folder}/tls.pem --tls-key {folder}/tls.key",
        &variables,
    )?
    .demand()?;
    let mut command = site.command(Program::Waxseal)?;
    command.args(variables.expand("--output json serve --config {config}")?);
    let (server, _) = Server::with_line(command, &site.folder().join("logs/serve.log"))?;
    Ok((server, variables))
}
