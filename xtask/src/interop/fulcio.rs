//! Certificates beside those that Fulcio itself issues for the same token and the same key.

use std::{collections::BTreeMap, fs, net::TcpListener, path::Path};

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use waxseal_formats::{crypto::KeyKind, x509::Certificate};
use waxseal_io::signer::{KeyPair, Signer as _};

use super::{
    command::{Site, Variables},
    http::Http,
    instance::{Instance, Options},
    parts::Program,
    server::{Providers, Server},
};

/// The types of issuers that both know, with what else their entries say: ours and Fulcio's. For CI providers Fulcio has the
/// templates of the public instance. CircleCI is not among them: its template has two faults that ours has not.
const KINDS: &[(&str, &str, &str)] = &[
    ("email", "", r#""type": "email""#),
    ("spiffe", ", spiffe_trust_domain: corp.example", r#""type": "spiffe", "spiffe-trust-domain": "corp.example""#),
    ("kubernetes", "", r#""type": "kubernetes""#),
    ("username", ", subject_domain: localhost", r#""type": "username", "subject-domain": "localhost""#),
    ("uri", ", subject_domain: 'http://localhost'", r#""type": "uri", "subject-domain": "http://localhost""#),
    ("github-workflow", "", r#""type": "ci-provider", "ci-provider": "github-workflow""#),
    ("gitlab-pipeline", ", url: 'https://gitlab.com'", r#""type": "ci-provider", "ci-provider": "gitlab-pipeline""#),
    ("buildkite-job", "", r#""type": "ci-provider", "ci-provider": "buildkite-job""#),
    ("codefresh-workflow", "", r#""type": "ci-provider", "ci-provider": "codefresh-workflow""#),
];

/// Whom the token of type `email` is of.
const EMAIL: &str = "alice@corp.example";

/// The list of signed timestamps (RFC 6962 §3.3): this Fulcio has no certificate log.
const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";

/// Starts both and compares; returns a line for each type, and the reports of what differs.
pub(crate) fn run(root: &Path, site: &Site) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    if !site.has(Program::IdentityProvider) || !site.has(Program::Fulcio) {
        return Ok((vec!["not asked: there is no identity provider, or no Fulcio".to_owned()], Vec::new()));
    }
    let http = Http::new()?;
    let mut claims = BTreeMap::new();
    for (kind, ..) in KINDS {
        claims.insert(*kind, claims_of(root, kind)?);
    }
    let tokens: Map<String, Value> =
        claims.iter().map(|(kind, claims)| ((*kind).to_owned(), json!({ *kind: claims }))).collect();
    let providers = Providers::start(site, &Value::Object(tokens))?;
    let (fulcio, theirs) = fulcio(site, &http, &providers)?;
    let ours = instance(site, &http, &providers)?;
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for (kind, claims) in &claims {
        let request = request(&Providers::token(site, kind)?, claims)?;
        let [theirs, ours] = [&theirs, &ours.origin].map(|origin| certificate(&http, origin, &request));
        let (theirs, ours) = (fields(&theirs?)?, fields(&ours?)?);
        let same = theirs == ours;
        lines.push(format!("{kind}: {} fields {}", ours.len(), if same { "alike" } else { "DIFFER" }));
        if !same {
            wrong.push(format!("{kind}: {}", differences(&theirs, &ours)));
        }
    }
    if site.has(Program::FulcioClient) {
        let variables = Variables::default()
            .with("origin", &ours.origin)
            .with("token", Providers::token(site, "email")?)
            .with("subject", EMAIL);
        let printed = site.run(Program::FulcioClient, "{origin} {token} {subject}", &variables)?.demand()?;
        ensure!(Certificate::from_pem(&printed.stdout)?.subject_alt_names() == [EMAIL], "{}", printed.report());
        lines.push("fulcio/pkg/api, version 1 with a key in DER: ok".to_owned());
    }
    drop((fulcio, ours, providers));
    Ok((lines, wrong))
}

/// What a token of this type says, besides issuer, audience and times.
fn claims_of(root: &Path, kind: &str) -> anyhow::Result<Value> {
    match kind {
        "email" => Ok(json!({"sub": "1234", "email": EMAIL, "email_verified": true})),
        "kubernetes" => Ok(json!({"sub": "system:serviceaccount:ci:builder", "kubernetes.io": {"namespace": "ci",
            "pod": {"name": "builder-0", "uid": "5"}, "serviceaccount": {"name": "builder", "uid": "6"}}})),
        "username" => Ok(json!({"sub": "alice"})),
        "uri" => Ok(json!({"sub": "http://localhost/alice"})),
        "spiffe" => Ok(json!({"sub": "spiffe://corp.example/build/7"})),
        _ => {
            let file = root.join(format!("crates/authority/testdata/provider/{kind}.json"));
            let sample: Value = serde_json::from_slice(&fs::read(&file).with_context(|| file.display().to_string())?)?;
            sample.get("claims").cloned().with_context(|| file.display().to_string())
        }
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Fulcio with an authority of its own and no certificate log, and its URL.
fn fulcio(site: &Site, http: &Http, providers: &Providers) -> anyhow::Result<(Server, String)> {
    let mut issuers = String::new();
    for (kind, _, theirs) in KINDS {
        let url = providers.url(kind)?;
        issuers.push_str(&format!("  '{url}': {{\"issuer-url\": '{url}', \"client-id\": sigstore, {theirs}}}\n"));
    }
    let binary = site.path(Program::Fulcio).context("Fulcio")?;
    let public =
        fs::read_to_string(binary.with_file_name("config.yaml")).context("the public instance's configuration")?;
    let before = public.split_once("\noidc-issuers:\n").context("oidc-issuers")?.0;
    let after = public.split_once("\nci-issuer-metadata:\n").context("ci-issuer-metadata")?.1;
    let config = site.folder().join("fulcio.yaml");
    fs::write(&config, format!("{before}\noidc-issuers:\n{issuers}ci-issuer-metadata:\n{after}"))?;
    let (port, grpc, metrics) = (free_port()?, free_port()?, free_port()?);
    let mut command = site.command(Program::Fulcio)?;
    command.args([
        "serve",
        "--ca",
        "ephemeralca",
        "--ct-log-url",
        "",
        "--host",
        "127.0.0.1",
        "--grpc-host",
        "127.0.0.1",
    ]);
    command.args(["--port", &port.to_string(), "--grpc-port", &grpc.to_string()]);
    command.args(["--metrics-port", &metrics.to_string(), "--config-path"]).arg(config);
    command.arg("--legacy-unix-domain-socket").arg(site.folder().join("fulcio.sock"));
    let url = format!("http://127.0.0.1:{port}");
    let log = site.folder().join("logs/fulcio.log");
    Ok((Server::when(command, &log, || Ok(http.answers(&format!("{url}/healthz"))))?, url))
}

/// An instance that listens to the same issuers and admits everybody.
fn instance(site: &Site, http: &Http, providers: &Providers) -> anyhow::Result<Instance> {
    let (mut issuers, mut rules) = (String::new(), String::new());
    for (kind, ours, _) in KINDS {
        let url = providers.url(kind)?;
        issuers.push_str(&format!("  - {{issuer: '{url}', type: {kind}{ours}}}\n"));
        rules.push_str(&format!("  - {{name: {kind}, issuer: '{url}', match: {{sub: '**'}}}}\n"));
    }
    let file = site.folder().join("rules.yaml");
    fs::write(&file, format!("issuers:\n{issuers}rules:\n{rules}"))?;
    let up = vec!["--rules".to_owned(), file.to_string_lossy().into_owned()];
    Instance::start(site, http, &Options { up, writes: None })
}

/// A request for a certificate, with a new key.
fn request(token: &str, claims: &Value) -> anyhow::Result<Vec<u8>> {
    let key = KeyPair::generate(KeyKind::EcdsaP256)?;
    let challenge = claims.get("email").or_else(|| claims.get("sub")).and_then(Value::as_str).context("a subject")?;
    let request = json!({
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": key.public_key().to_pem()},
            "proofOfPossession": STANDARD.encode(key.sign(challenge.as_bytes())?),
        },
    });
    Ok(request.to_string().into_bytes())
}

fn certificate(http: &Http, origin: &str, request: &[u8]) -> anyhow::Result<Certificate> {
    let answer = http.post(&format!("{origin}/api/v2/signingCert"), "application/json", request.to_vec())?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let kinds = ["signedCertificateEmbeddedSct", "signedCertificateDetachedSct"];
    let chain = kinds.iter().find_map(|kind| answer.get(kind)).context("a certificate")?;
    let leaf = chain.pointer("/chain/certificates/0").and_then(Value::as_str).context("a chain")?;
    Ok(Certificate::from_pem(leaf)?)
}

/// Everything in a certificate but what its issuer, its log and chance decide.
fn fields(certificate: &Certificate) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let mut oids: Vec<String> = certificate
        .extension_oids()
        .iter()
        .map(|(oid, critical)| format!("{oid} {critical:?}"))
        .filter(|shown| !shown.starts_with(SCT_LIST))
        .collect();
    oids.sort();
    ensure!(certificate.serial().len() <= 20, "a serial number of {} bytes", certificate.serial().len());
    let lifetime = certificate.not_after().duration_since(certificate.not_before());
    Ok(BTreeMap::from([
        ("subject", hex::encode(certificate.subject_der())),
        ("subjectAltName", format!("{:?}", certificate.subject_alt_name())),
        ("public key", certificate.public_key()?.to_pem()),
        ("subjectKeyIdentifier", certificate.subject_key_identifier().map(hex::encode).unwrap_or_default()),
        ("basicConstraints", format!("{:?}", certificate.basic_constraints())),
        ("keyUsage", format!("{:?}", certificate.key_usage())),
        ("extKeyUsage", format!("{:?}", certificate.extended_key_usage())),
        ("lifetime", lifetime.to_string()),
        ("extensions", oids.join(", ")),
        ("values of Fulcio's extensions", format!("{:#?}", certificate.extensions())),
    ]))
}

fn differences(theirs: &BTreeMap<&'static str, String>, ours: &BTreeMap<&'static str, String>) -> String {
    let differing = theirs.iter().filter(|(name, value)| ours.get(*name) != Some(value));
    let shown = |(name, value): (&&str, &String)| {
        format!("{name}\n  Fulcio: {value}\n  ours:   {}\n", ours.get(*name).map_or("", String::as_str))
    };
    differing.map(shown).collect()
}
