//! Clients that sign and log without end, and write down what they are told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::crypto::{KeyKind, sha256};
use waxseal_formats::leaf::{SignedEntry, TimestampedEntry};
use waxseal_formats::merkle::{Hash, leaf_hash};
use waxseal_formats::sct::{SignedCertificateTimestamp, leaf_index};
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::{KeyPair, Signer};

use super::acknowledged::{Acknowledged, Log};
use super::instance::IDENTITY;

/// Clients at the same time.
const CLIENTS: usize = 6;
/// Entries that a client logs with one certificate.
const ENTRIES: usize = 8;
const DEADLINE: Duration = Duration::from_secs(20);

/// What was written down, and what must not have been said at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    noted: Arc<Mutex<Acknowledged>>,
    wrong: Arc<Mutex<Option<String>>>,
}

impl Notes {
    pub(crate) fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    ///
    /// The first thing that must not have been said.
    pub(crate) fn all_right(&self) -> anyhow::Result<()> {
        match self.wrong.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(wrong) => bail!("a client was told: {wrong}"),
            None => Ok(()),
        }
    }

    fn wrong(&self, error: &anyhow::Error) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| format!("{error:#}"));
    }

    /// Waits until `count` entries are acknowledged.
    ///
    /// # Errors
    ///
    /// When that takes too long.
    pub(crate) fn wait_for(&self, count: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.acknowledged().total() < count {
            self.all_right()?;
            ensure!(begun.elapsed() < DEADLINE, "nothing is acknowledged");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// A client of an instance on loopback.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().timeout(DEADLINE).build()?)
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    tasks: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Lets clients work against the instance at `url` until it is gone, or they are stopped.
    pub(crate) fn start(runtime: &Runtime, url: &str, token: &str, notes: &Notes) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for _ in 0..CLIENTS {
            let worker = Worker {
                client: client()?,
                url: url.to_owned(),
                token: token.to_owned(),
                notes: notes.clone(),
                stop: Arc::clone(&stop),
            };
            tasks.push(runtime.spawn(worker.work()));
        }
        let (client, url, notes, stopped) = (client()?, url.to_owned(), notes.clone(), Arc::clone(&stop));
        tasks.push(runtime.spawn(async move { watch(&client, &url, &notes, &stopped).await }));
        Ok(Self { tasks, stop })
    }

    /// Waits until the clients have noticed that the instance is gone, or that they are to stop.
    pub(crate) fn end(self, runtime: &Runtime) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            runtime.block_on(task)?;
        }
        Ok(())
    }
}

/// Reads the public checkpoints again and again.
async fn watch(client: &reqwest::Client, url: &str, notes: &Notes, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for log in Log::ALL {
            let Some(prefix) = log.tiles() else { continue };
            let Ok(answer) = client.get(format!("{url}{prefix}/checkpoint")).send().await else { return };
            // A log without entries may have none.
            let Ok(answer) = answer.error_for_status() else { continue };
            let Ok(note) = answer.text().await else { return };
            let noted = SignedCheckpoint::parse(&note)
                .map_err(anyhow::Error::from)
                .and_then(|signed| notes.acknowledged().checkpoint(log, &signed.checkpoint));
            if let Err(error) = noted {
                notes.wrong(&error);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What came back for a request.
enum Answer {
    /// An answer of success.
    Done(Value),
    /// The instance has too much to do, and says so.
    Later,
    /// The instance does not do such a thing.
    Unknown,
    /// There was no whole answer: the instance is gone. Nothing was acknowledged.
    Gone,
}

struct Worker {
    client: reqwest::Client,
    url: String,
    token: String,
    notes: Notes,
    stop: Arc<AtomicBool>,
}

impl Worker {
    async fn work(self) {
        let mut v1 = true;
        while !self.stop.load(Ordering::Relaxed) {
            match self.sign_and_log(&mut v1).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.notes.wrong(&error),
            }
        }
    }

    /// Gets a certificate and logs a few signatures; false when the instance is gone.
    async fn sign_and_log(&self, v1: &mut bool) -> anyhow::Result<bool> {
        let key = KeyPair::generate(KeyKind::EcdsaP256)?;
        let request = certificate_request(&key, &self.token)?;
        let certificate = match self.post("/api/v2/signingCert", &request).await? {
            Answer::Done(answer) => self.certificate(&answer)?,
            Answer::Later => return Ok(true),
            Answer::Unknown => bail!("no certificates are to be had"),
            Answer::Gone => return Ok(false),
        };
        for number in 0..ENTRIES {
            let message = [certificate.serial(), &number.to_be_bytes()].concat();
            let log = if *v1 && number % 2 == 1 { Log::RekorV1 } else { Log::RekorV2 };
            let (path, request) = match log {
                Log::RekorV1 => ("/api/v1/log/entries", request_v1(&key, &certificate, &message)?),
                _ => ("/api/v2/log/entries", request_v2(&key, &certificate, &message)?),
            };
            match self.post(path, &request).await? {
                Answer::Done(answer) => self.entry(log, &answer)?,
                Answer::Later => {}
                Answer::Unknown if log == Log::RekorV1 => *v1 = false,
                Answer::Unknown => bail!("entries are not taken"),
                Answer::Gone => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let Ok(answer) = self.client.post(format!("{}{path}", self.url)).json(body).send().await else {
            return Ok(Answer::Gone);
        };
        let status = answer.status();
        let Ok(body) = answer.bytes().await else { return Ok(Answer::Gone) };
        match status.as_u16() {
            200 | 201 => Ok(Answer::Done(serde_json::from_slice(&body)?)),
            429 | 503 => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(Answer::Later)
            }
            404 => Ok(Answer::Unknown),
            _ => bail!("{path}: {status}: {}", String::from_utf8_lossy(&body)),
        }
    }

    /// Notes that the certificate log has the certificate, which is what its timestamp says.
    fn certificate(&self, answer: &Value) -> anyhow::Result<Certificate> {
        let chain = answer.pointer("/signedCertificateEmbeddedSct/chain/certificates").and_then(Value::as_array);
        let chain =
            chain.context("a chain")?.iter().map(|pem| Ok(Certificate::from_pem(pem.as_str().context("PEM")?)?));
        let chain = chain.collect::<anyhow::Result<Vec<_>>>()?;
        let [certificate, issuer, ..] = chain.as_slice() else { bail!("a chain of {}", chain.len()) };
        let scts = SignedCertificateTimestamp::parse_list(certificate.sct_list().context("timestamps")?)?;
        let sct = scts.first().context("a timestamp")?;
        let leaf = TimestampedEntry {
            timestamp_ms: sct.timestamp_ms,
            entry: SignedEntry::Precertificate {
                issuer_key_hash: issuer.public_key()?.spki_sha256(),
                tbs: certificate.precertificate_tbs()?,
            },
            extensions: sct.extensions.clone(),
        };
        let leaf = leaf_hash(&leaf.merkle_tree_leaf()?);
        self.notes.acknowledged().entry(Log::Ct, leaf_index(&sct.extensions)?, leaf)?;
        Ok(certificate.clone())
    }

    /// Notes an entry of a Rekor log with its proof.
    fn entry(&self, log: Log, answer: &Value) -> anyhow::Result<()> {
        let text = |value: &Value, path: &str| -> anyhow::Result<String> {
            Ok(value.pointer(path).and_then(Value::as_str).with_context(|| path.to_owned())?.to_owned())
        };
        let (index, body, note, hashes) = match log {
            Log::RekorV1 => {
                let entry = answer.as_object().and_then(|entries| entries.values().next()).context("an entry")?;
                let proof = entry.pointer("/verification/inclusionProof").context("a proof")?;
                let index = proof.get("logIndex").and_then(Value::as_u64).context("an index")?;
                (index, text(entry, "/body")?, text(proof, "/checkpoint")?, proof.get("hashes"))
            }
            _ => {
                let index = text(answer, "/inclusionProof/logIndex")?.parse()?;
                let note = text(answer, "/inclusionProof/checkpoint/envelope")?;
                (index, text(answer, "/canonicalizedBody")?, note, answer.pointer("/inclusionProof/hashes"))
            }
        };
        // The proof of the only leaf has no hashes, and JSON of protobuf leaves out what is empty.
        let hashes = hashes.and_then(Value::as_array).into_iter().flatten();
        let proof = hashes.map(|hash| self::hash(log, hash.as_str().context("a hash")?));
        let proof = proof.collect::<anyhow::Result<Vec<Hash>>>()?;
        let leaf = leaf_hash(&STANDARD.decode(body)?);
        self.notes.acknowledged().proven(log, index, leaf, &proof, &note)
    }
}

fn hash(log: Log, text: &str) -> anyhow::Result<Hash> {
    let bytes = if log == Log::RekorV1 { hex::decode(text)? } else { STANDARD.decode(text)? };
    bytes.try_into().map_err(|_| anyhow::anyhow!("{text} is no hash"))
}

fn certificate_request(key: &KeyPair, token: &str) -> anyhow::Result<Value> {
    Ok(json!({
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": key.public_key().to_pem()},
            "proofOfPossession": STANDARD.encode(key.sign(IDENTITY.as_bytes())?),
        },
    }))
}

fn request_v2(key: &KeyPair, certificate: &Certificate, message: &[u8]) -> anyhow::Result<Value> {
    Ok(json!({"hashedRekordRequestV002": {
        "digest": STANDARD.encode(sha256(message)),
        "signature": {
            "content": STANDARD.encode(key.sign(message)?),
            "verifier": {
                "x509Certificate": {"rawBytes": STANDARD.encode(certificate.der())},
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    }}))
}

fn request_v1(key: &KeyPair, certificate: &Certificate, message: &[u8]) -> anyhow::Result<Value> {
    Ok(json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": {"hash": {"algorithm": "sha256", "value": hex::encode(sha256(message))}},
        "signature": {
            "content": STANDARD.encode(key.sign(message)?),
            "publicKey": {"content": STANDARD.encode(certificate.to_pem())},
        },
    }}))
}
