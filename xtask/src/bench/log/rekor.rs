//! Entries with a signature each, into Rekor v1 and v2 of an instance as users start it.
//!
//! The entries are signed before the clock starts, and each is another one. Some of the answers are checked: the proof
//! has to lead to the root that the checkpoint names.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use waxseal_formats::{
    bundle::LogEntry,
    checkpoint::SignedCheckpoint,
    crypto::{KeyKind, sha256},
    merkle::{leaf_hash, verify_inclusion},
    x509::Certificate,
};
use waxseal_io::signer::{KeyPair, Signer};

use super::CONNECTIONS;
use crate::{
    bench::{
        figures::{Ratio, Row, Target, cores},
        loader::{self, Answered, Load, cpu_of},
        primitives::{Primitive, Primitives},
    },
    interop::{self, Http, Options, Variables},
};

/// Signers that take turns.
const SIGNERS: usize = 64;
/// Requests that ask by the clock, and how far apart.
const SPORADIC: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Which API.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Version {
    V1,
    V2,
}

impl Version {
    pub(super) const ALL: [Self; 2] = [Self::V1, Self::V2];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V1 => "rekor-v1",
            Self::V2 => "rekor-v2",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::V1 => "/api/v1/log/entries",
            Self::V2 => "/api/v2/log/entries",
        }
    }

    /// What one entry alone cannot do without.
    const fn alone(self) -> &'static [Primitive] {
        match self {
            // The checkpoint and the promise are signed.
            Self::V1 => &[Primitive::Fdatasync, Primitive::P256Verify, Primitive::P256Sign, Primitive::P256Sign],
            Self::V2 => &[Primitive::Fdatasync, Primitive::P256Verify, Primitive::Ed25519Sign],
        }
    }

    /// The request to log a signature by `signer` over `digest`.
    fn request(self, signer: &Author, digest: &[u8; 32], signature: &[u8]) -> Value {
        let signature = STANDARD.encode(signature);
        match self {
            Self::V1 => json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": hex::encode(digest)}},
                "signature": {"content": signature, "publicKey": {"content": STANDARD.encode(signer.pem())}},
            }}),
            Self::V2 => json!({"hashedRekordRequestV002": {
                "digest": STANDARD.encode(digest),
                "signature": {"content": signature, "verifier": signer.verifier()},
            }}),
        }
    }

    /// Checks that the proof in an answer leads to the root of its checkpoint.
    fn check(self, answer: &[u8]) -> anyhow::Result<()> {
        let (body, index, size, hashes, note) = match self {
            Self::V1 => {
                let answer: Value = serde_json::from_slice(answer)?;
                let entry = answer.as_object().and_then(|entries| entries.values().next()).context("no entry")?;
                let proof = entry.pointer("/verification/inclusionProof").context("no proof")?;
                let number = |name: &str| proof.get(name).and_then(Value::as_u64).with_context(|| name.to_owned());
                let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned).context("no text");
                let hashes = proof.get("hashes").and_then(Value::as_array).context("hashes")?;
                let hashes: anyhow::Result<Vec<[u8; 32]>> = hashes
                    .iter()
                    .map(|hash| {
                        let bytes = hex::decode(text(Some(hash))?)?;
                        bytes.try_into().map_err(|_| anyhow::anyhow!("not a hash"))
                    })
                    .collect();
                let body = STANDARD.decode(text(entry.get("body"))?)?;
                (body, number("logIndex")?, number("treeSize")?, hashes?, text(proof.get("checkpoint"))?)
            }
            Self::V2 => {
                let entry = LogEntry::from_json(answer)?;
                let proof = entry.proof.context("no proof")?;
                let body = entry.canonicalized_body.context("no body")?;
                (body, entry.log_index, proof.tree_size, proof.hashes, proof.checkpoint.context("no checkpoint")?)
            }
        };
        let checkpoint = SignedCheckpoint::parse(&note)?.checkpoint;
        ensure!(checkpoint.size == size, "the proof is for a tree of {size}, the checkpoint of {}", checkpoint.size);
        Ok(verify_inclusion(index, size, &leaf_hash(&body), &hashes, &checkpoint.root)?)
    }
}

/// Who may write.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Writers {
    /// Everybody: the entries are by bare keys.
    Any,
    /// The default, whom the instance gave a certificate: the entries are by certificates.
    Certified,
}

impl Writers {
    const ALL: [Self; 2] = [Self::Any, Self::Certified];

    const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Certified => "own certificates",
        }
    }

    /// What the rules file says; `None` where it says nothing.
    const fn rule(self) -> Option<&'static str> {
        match self {
            Self::Any => Some("any"),
            Self::Certified => None,
        }
    }
}

/// Who signs entries.
struct Author {
    key: KeyPair,
    certificate: Option<Certificate>,
}

impl Author {
    fn new(writers: Writers, variables: &Variables, http: &Http) -> anyhow::Result<Self> {
        let key = KeyPair::generate(KeyKind::EcdsaP256)?;
        let certificate = match writers {
            Writers::Any => None,
            Writers::Certified => Some(interop::certificate(&key, variables, http)?),
        };
        Ok(Self { key, certificate })
    }

    /// As Rekor v1 wants it.
    fn pem(&self) -> String {
        self.certificate.as_ref().map_or_else(|| self.key.public_key().to_pem(), Certificate::to_pem)
    }

    /// As Rekor v2 wants it.
    fn verifier(&self) -> Value {
        let (name, der) = match &self.certificate {
            Some(certificate) => ("x509Certificate", certificate.der()),
            None => ("publicKey", self.key.public_key().spki_der()),
        };
        json!({name: {"rawBytes": STANDARD.encode(der)}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"})
    }
}

/// How many requests are timed, after how many others.
const fn counts(connections: usize) -> (usize, usize) {
    if connections == 1 { (200, 3000) } else { (2000, 20_000) }
}

/// Each kind of writer with each number of connections.
pub(super) fn measure(
    waxseal: &Path,
    folder: &Path,
    version: Version,
    primitives: &Primitives,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for writers in Writers::ALL {
        let folder = folder.join(writers.name().replace(' ', "-"));
        std::fs::create_dir_all(&folder)?;
        let options = Options { up: Vec::new(), writes: writers.rule() };
        rows.extend(interop::with_instance(waxseal, &folder, &options, |variables| {
            at_instance(variables, version, writers, primitives)
        })?);
    }
    Ok(rows)
}

fn at_instance(
    variables: &Variables,
    version: Version,
    writers: Writers,
    primitives: &Primitives,
) -> anyhow::Result<Vec<Row>> {
    let http = Http::new()?;
    let authors: anyhow::Result<Vec<Author>> = (0..SIGNERS).map(|_| Author::new(writers, variables, &http)).collect();
    let origin = variables.value("origin").context("origin")?;
    let address: SocketAddr = origin.trim_start_matches("http://").parse()?;
    let process: u32 = variables.value("process").context("process")?.parse()?;
    let server_cpu = || cpu_of(process);
    let mut requests = Requests { version, address, authors: authors?, first: 0 };
    let verify = primitives.cost(Primitive::P256Verify).0;
    let mut rows = Vec::new();
    let name = |how: String| format!("{} create, {}, {how}", version.name(), writers.name());
    for connections in CONNECTIONS {
        let (warm_up, count) = counts(connections);
        let signed = requests.sign(warm_up + count + connections)?;
        let load = Load {
            address,
            connections,
            warm_up,
            count,
            request: &|number, into| into.extend_from_slice(signed.get(number).map_or(&[], Vec::as_slice)),
            status: 201,
            server_cpu: &server_cpu,
        };
        let answered = loader::load(&load)?;
        check(version, &answered)?;
        let ratio = if connections == 1 {
            let sum: f64 = version.alone().iter().map(|primitive| primitives.cost(*primitive).0).sum();
            Ratio::new("p50, of one fdatasync, verification and signing", answered.p50.0 / sum, Target::AtMost(2.5))
        } else {
            let share = answered.rate * verify / 1e6 / cores();
            Ratio::new("of cores / (1 P-256 verification)", share, Target::AtLeast(0.6))
        };
        rows.push(Row { name: name(connections.to_string()), answered, ratios: vec![ratio] });
    }
    let signed = requests.sign(SPORADIC + 1)?;
    let load = Load {
        address,
        connections: 1,
        warm_up: 1,
        count: SPORADIC,
        request: &|number, into| into.extend_from_slice(signed.get(number).map_or(&[], Vec::as_slice)),
        status: 201,
        server_cpu: &server_cpu,
    };
    let answered = loader::paced(&load, PAUSE)?;
    rows.push(Row { name: name(format!("every {} ms", PAUSE.as_millis())), answered, ratios: Vec::new() });
    Ok(rows)
}

fn check(version: Version, answered: &Answered) -> anyhow::Result<()> {
    if answered.bodies.is_empty() {
        bail!("no answer was kept");
    }
    for body in &answered.bodies {
        version.check(body).with_context(|| String::from_utf8_lossy(body).into_owned())?;
    }
    Ok(())
}

/// Makes requests, none of them twice.
struct Requests {
    version: Version,
    address: SocketAddr,
    authors: Vec<Author>,
    first: usize,
}

impl Requests {
    /// The next `count` requests, signed by the authors in turn.
    fn sign(&mut self, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let first = self.first;
        self.first += count;
        let authors = self.authors.iter().cycle();
        (first..self.first)
            .zip(authors)
            .map(|(number, author)| {
                let artifact = format!("artifact {number}");
                let signature = author.key.sign(artifact.as_bytes())?;
                let request = self.version.request(author, &sha256(artifact.as_bytes()), &signature);
                let body = request.to_string();
                Ok(loader::post(self.version.path(), self.address, "application/json", body.as_bytes()))
            })
            .collect()
    }
}
