//! Our logs before Tessera's fsck, which reads a whole tile log, and rekor-cli, which knows Rekor v1's own API. Both need
//! an open log: a sealed one has no entries to show.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use waxseal_formats::{
    crypto::{KeyKind, sha256},
    envelope::Envelope,
};
use waxseal_io::signer::{KeyPair, Signer};

use super::{
    certificate::certificate,
    command::{Outcome, Site, Variables, Words},
    http::Http,
    parts::Program,
};

/// What rekor-cli is asked, in this order, and what it has to say.
struct Question {
    name: &'static str,
    words: Words,
    /// A part of what it prints; in a refusal, of the reason.
    says: &'static str,
    accepted: Accepted,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Accepted {
    Yes,
    No,
}

const fn asked(name: &'static str, words: Words, says: &'static str) -> Question {
    Question { name, words, says, accepted: Accepted::Yes }
}

const fn refused(name: &'static str, words: Words, says: &'static str) -> Question {
    Question { name, words, says, accepted: Accepted::No }
}

/// The log's state is kept between the first question and the last, so that the last one proves consistency.
const QUESTIONS: &[Question] = &[
    asked("loginfo", "--rekor_server {origin} loginfo", "Verification Successful!"),
    asked(
        "upload hashedrekord",
        "--rekor_server {origin} upload --type hashedrekord --artifact {signed} --signature {signature} \
            --public-key {certificate}",
        "Created entry at index",
    ),
    asked(
        "upload again",
        "--rekor_server {origin} upload --type hashedrekord --artifact {signed} --signature {signature} \
            --public-key {certificate}",
        "Entry already exists",
    ),
    refused(
        "upload another artifact",
        "--rekor_server {origin} upload --type hashedrekord --artifact {changed} --signature {signature} \
            --public-key {certificate}",
        "invalid signature",
    ),
    asked(
        "upload rekord",
        "--rekor_server {origin} upload --type rekord --artifact {signed} --signature {signature} \
            --public-key {certificate}",
        "Created entry at index",
    ),
    asked(
        "upload intoto 0.0.2",
        "--rekor_server {origin} upload --type intoto:0.0.2 --artifact {envelope} --public-key {certificate}",
        "Created entry at index",
    ),
    asked(
        "upload dsse",
        "--rekor_server {origin} upload --type dsse --artifact {envelope} --public-key {certificate}",
        "Created entry at index",
    ),
    asked("get by UUID", "--rekor_server {origin} get --uuid {uuid}", "{digest}"),
    asked("get by index", "--rekor_server {origin} get --log-index {index}", "{digest}"),
    refused("get an index that is not there", "--rekor_server {origin} get --log-index 1000000", "[404]"),
    asked("search by file", "--rekor_server {origin} search --artifact {signed}", "{uuid}"),
    asked("search by digest", "--rekor_server {origin} search --sha sha256:{digest}", "{uuid}"),
    asked("search by email", "--rekor_server {origin} search --email {identity}", "{uuid}"),
    asked("search by certificate", "--rekor_server {origin} search --public-key {certificate}", "{uuid}"),
    refused("search for what is not there", "--rekor_server {origin} search --artifact {changed}", "no matching"),
    asked(
        "verify",
        "--rekor_server {origin} verify --artifact {signed} --signature {signature} --public-key {certificate}",
        "Computed Root Hash",
    ),
    refused(
        "verify another artifact",
        "--rekor_server {origin} verify --artifact {changed} --signature {signature} --public-key {certificate}",
        "invalid signature",
    ),
    asked("logproof", "--rekor_server {origin} logproof --last-size 4", "Hashes: ["),
    asked("loginfo again", "--rekor_server {origin} loginfo", "Verification Successful!"),
];

/// Asks everything that can be asked; returns a line a judge, and the reports of what went wrong.
pub(crate) fn run(site: &Site, http: &Http, variables: &Variables) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    if site.has(Program::RekorCli) {
        let faults = rekor_cli(site, http, variables)?;
        let said = if faults.is_empty() { "ok" } else { "WRONG" };
        lines.push(format!("rekor-cli, {} questions: {said}", QUESTIONS.len()));
        wrong.extend(faults);
    }
    // The last: it is shown a damaged log as well.
    if site.has(Program::TesseraFsck) {
        let faults = fsck(site, variables)?;
        let said = if faults.is_empty() { "ok" } else { "WRONG" };
        lines.push(format!("tessera fsck of the Rekor v2 log, whole and with one bit flipped: {said}"));
        wrong.extend(faults);
    }
    Ok((lines, wrong))
}

fn rekor_cli(site: &Site, http: &Http, variables: &Variables) -> anyhow::Result<Vec<String>> {
    let mut variables = material(site.folder(), http, variables)?;
    let mut faults = Vec::new();
    for question in QUESTIONS {
        let outcome = site.run(Program::RekorCli, question.words, &variables)?;
        if !is_right(question, &outcome, &variables)? {
            faults.push(format!("rekor-cli: {}\n{}", question.name, outcome.report()));
        }
        if question.name == "upload hashedrekord" {
            let (index, uuid) = created(&outcome.stdout).context("rekor-cli does not say where the entry is")?;
            variables = variables.with("index", index).with("uuid", uuid);
        }
    }
    Ok(faults)
}

fn is_right(question: &Question, outcome: &Outcome, variables: &Variables) -> anyhow::Result<bool> {
    let says = variables.expand(question.says)?.join(" ");
    let said = outcome.stdout.contains(&says) || outcome.stderr.contains(&says);
    let answered = match question.accepted {
        Accepted::Yes => outcome.accepted(),
        Accepted::No => outcome.refused(),
    };
    Ok(said && answered)
}

/// Index and UUID in `Created entry at index 11, available at: http://…/log/entries/UUID`.
fn created(said: &str) -> Option<(String, String)> {
    let (_, rest) = said.split_once("Created entry at index ")?;
    let (index, rest) = rest.split_once(',')?;
    let (_, uuid) = rest.trim_end().rsplit_once('/')?;
    Some((index.to_owned(), uuid.to_owned()))
}

/// An artifact of its own, its signature and an envelope, both by a certificate of the instance.
fn material(folder: &Path, http: &Http, variables: &Variables) -> anyhow::Result<Variables> {
    let save = |name: &str, bytes: &[u8]| -> anyhow::Result<String> {
        let path = folder.join(name);
        fs::write(&path, bytes)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let key = KeyPair::generate(KeyKind::EcdsaP256)?;
    let certificate = certificate(&key, variables, http)?;
    let artifact = b"what rekor-cli is shown\n";
    let statement = fs::read(variables.value("statement").context("statement")?)?;
    let mut envelope = Envelope {
        payload_type: "application/vnd.in-toto+json".to_owned(),
        payload: statement,
        signatures: Vec::new(),
    };
    let signature = STANDARD.encode(key.sign(&envelope.pae())?);
    let payload = STANDARD.encode(std::mem::take(&mut envelope.payload));
    let envelope = json!({
        "payloadType": envelope.payload_type, "payload": payload, "signatures": [{"sig": signature, "keyid": ""}],
    });
    Ok(variables
        .clone()
        .with("digest", hex::encode(sha256(artifact)))
        .with("signed", save("rekor-cli.txt", artifact)?)
        .with("signature", save("rekor-cli.sig", &key.sign(artifact)?)?)
        .with("certificate", save("rekor-cli.pem", certificate.to_pem().as_bytes())?)
        .with("envelope", save("rekor-cli.dsse.json", envelope.to_string().as_bytes())?))
}

const FSCK: Words = "-storage_url {origin}/ -public_key {verifier} -ui=false";

/// What it says of a whole log. Without its screen it exits with 0 whatever it found, so only its words count.
const WHOLE: &str = "Successfully fsck'd log";

/// The log as it is has to be accepted, and refused with one bit of an entry flipped and for another key.
fn fsck(site: &Site, variables: &Variables) -> anyhow::Result<Vec<String>> {
    let root: Value = serde_json::from_slice(&fs::read(variables.value("trusted_root").context("trusted_root")?)?)?;
    let key = ed25519_key(&root)?;
    let name = origin(site, variables)?;
    let save = |file: &str, key: &[u8]| -> anyhow::Result<Variables> {
        let path = site.folder().join(file);
        fs::write(&path, verifier_key(&name, key))?;
        Ok(variables.clone().with("verifier", path.to_string_lossy()))
    };
    let genuine = save("rekor-v2.vkey", &key)?;
    let mut faults = Vec::new();
    let whole = site.run(Program::TesseraFsck, FSCK, &genuine)?;
    if !whole.accepted() || !whole.stderr.contains(WHOLE) {
        faults.push(format!("tessera fsck refuses the log\n{}", whole.report()));
    }
    let mut flipped = key;
    *flipped.first_mut().context("the key is empty")? ^= 1;
    let other = site.run(Program::TesseraFsck, FSCK, &save("other.vkey", &flipped)?)?;
    if !finds(&other, "note has no verifiable signatures") {
        faults.push(format!("tessera fsck accepts another key\n{}", other.report()));
    }
    let bundles = Path::new(variables.value("data").context("data")?).join("logs/rekor/public/tile/entries/000.p");
    // While one width is written the narrower one is still there.
    let widest = fs::read_dir(&bundles)?
        .filter_map(Result::ok)
        .max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u16>().unwrap_or_default());
    let bundle = widest.with_context(|| bundles.display().to_string())?.path();
    let mut bytes = fs::read(&bundle)?;
    *bytes.last_mut().context("the bundle is empty")? ^= 1;
    fs::write(&bundle, bytes)?;
    let damaged = site.run(Program::TesseraFsck, FSCK, &genuine)?;
    if !finds(&damaged, "log has:") {
        faults.push(format!("tessera fsck accepts a flipped bit\n{}", damaged.report()));
    }
    Ok(faults)
}

fn finds(outcome: &Outcome, fault: &str) -> bool {
    outcome.stderr.contains("fsck failed") && outcome.stderr.contains(fault) && !outcome.stderr.contains(WHOLE)
}

/// The first line of the published checkpoint.
fn origin(site: &Site, variables: &Variables) -> anyhow::Result<String> {
    let data = Path::new(variables.value("data").context("data")?);
    let checkpoint = fs::read_to_string(data.join("logs/rekor/public/checkpoint"))
        .with_context(|| format!("the checkpoint of {}", site.folder().display()))?;
    Ok(checkpoint.lines().next().context("the checkpoint is empty")?.to_owned())
}

/// The key of the Rekor v2 log, without what X.509 puts around it.
fn ed25519_key(root: &Value) -> anyhow::Result<Vec<u8>> {
    let logs = root.get("tlogs").and_then(Value::as_array).context("tlogs")?;
    let key = logs
        .iter()
        .filter_map(|log| log.get("publicKey"))
        .find(|key| key.get("keyDetails").and_then(Value::as_str) == Some("PKIX_ED25519"));
    let spki = key.and_then(|key| key.get("rawBytes")).and_then(Value::as_str).context("no Ed25519 log")?;
    let spki = STANDARD.decode(spki)?;
    ensure!(spki.len() == 44, "{} bytes are not the SubjectPublicKeyInfo of an Ed25519 key", spki.len());
    Ok(spki[12..].to_vec())
}

/// `NAME+HASH+KEY` (C2SP signed-note, verifier keys).
fn verifier_key(name: &str, key: &[u8]) -> String {
    const ED25519: u8 = 1;
    let key = [&[ED25519], key].concat();
    let hash = sha256(&[name.as_bytes(), b"\n", &key].concat());
    format!("{name}+{}+{}", hex::encode(&hash[..4]), STANDARD.encode(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_names_only_variables_that_exist() {
        let names = ["origin", "signed", "signature", "certificate", "changed", "envelope", "uuid", "index"];
        let variables = names
            .into_iter()
            .chain(["digest", "identity"])
            .fold(Variables::default(), |variables, name| variables.with(name, name));
        for question in QUESTIONS {
            variables.expand(question.words).unwrap();
            variables.expand(question.says).unwrap();
        }
    }

    #[test]
    fn where_an_entry_is_is_read_from_what_rekor_cli_prints() {
        let said = "Created entry at index 11, available at: http://h/api/v1/log/entries/130b2a\n";
        assert_eq!(created(said), Some(("11".to_owned(), "130b2a".to_owned())));
        assert_eq!(created("Entry already exists; available at: http://h/x"), None);
    }

    /// The example of C2SP signed-note.
    #[test]
    fn a_verifier_key_is_that_of_the_specification() {
        let key = STANDARD.decode("AeVW/2FzXpL5W2WEoXUmdaVtTtXJK3bzgm0oJC2NKFpb").map(|key| key[1..].to_vec());
        let text = verifier_key("example.com/foo", &key.unwrap());
        assert!(
            text.starts_with("example.com/foo+") && text.ends_with("+AeVW/2FzXpL5W2WEoXUmdaVtTtXJK3bzgm0oJC2NKFpb")
        );
    }
}
