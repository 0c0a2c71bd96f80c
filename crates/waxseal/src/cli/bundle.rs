//! `waxseal bundle inspect|upgrade|create`: what is in a bundle, and bundles of what older versions wrote.

use crate::cli::flags::TrustArgs;
use crate::cli::trusted_root::write;
use crate::cli::verify_blob::material_failure;
use crate::cli::{Failure, Output, keys};
use crate::client::key;
use crate::client::material::Material;
use crate::client::upgrade::{UpgradeError, find_entries, upgrade};
use crate::client::verify::hash_file;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use url::Url;
use waxseal_formats::bundle::{Bundle, Content, LogEntry, VerificationMaterial};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, HashAlgorithm, PublicKey};
use waxseal_formats::json::encode_base64;
use waxseal_formats::statement::Statement;
use waxseal_formats::tsp::{TimeStampToken, granted};
use waxseal_formats::tuf::format_time;
use waxseal_formats::x509::Certificate;
use waxseal_io::transport::{Http, PlainHttp};

/// Look into bundles, and make bundles of what older versions wrote.
#[derive(Debug, Args)]
pub struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Show what is in a bundle. Nothing of it is verified.
    Inspect(InspectArgs),
    /// Make a bundle of the present version of an older one.
    Upgrade(UpgradeArgs),
    /// Make a bundle of a signature and what belongs to it.
    Create(Box<CreateArgs>),
}

/// Show what is in a bundle. Nothing of it is verified.
#[derive(Debug, Args)]
struct InspectArgs {
    /// The bundle, new or old.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
}

/// Where logs are asked, and where the bundle goes.
#[derive(Debug, Clone, Args)]
struct LogArgs {
    /// The Rekor v1 log that has the entry; else the trusted root says where it is.
    #[arg(long, value_name = "URL")]
    rekor_url: Option<Url>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Speak plain http to other machines too.
    #[arg(long)]
    allow_http: bool,
    /// Where the bundle is written, instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Make a bundle of the present version of an older one: the log is asked for the inclusion proof.
#[derive(Debug, Args)]
struct UpgradeArgs {
    #[command(flatten)]
    log: LogArgs,
    /// The bundle: of version 0.1 or 0.2, or an old one of cosign.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
}

/// Make a bundle of a signature and what belongs to it. Verify the result: nothing is verified here.
#[derive(Debug, Args)]
struct CreateArgs {
    /// The file that was signed.
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
    /// An old bundle of cosign.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate", "signature", "attestation"])]
    bundle: Option<PathBuf>,
    /// The signature: a file, or base64.
    #[arg(long, value_name = "FILE|BASE64", required_unless_present_any = ["bundle", "attestation"])]
    signature: Option<String>,
    /// The signed envelope, instead of a signature.
    #[arg(long, value_name = "FILE", conflicts_with = "signature")]
    attestation: Option<String>,
    /// The signer's certificate.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The signer's public key, if there is no certificate.
    #[arg(long, value_name = "KEY", conflicts_with = "certificate")]
    key: Option<String>,
    /// The RFC 3161 timestamp.
    #[arg(long, value_name = "FILE")]
    rfc3161_timestamp: Option<PathBuf>,
    /// Make a bundle without a log entry.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    ignore_tlog: bool,
    #[command(flatten)]
    log: LogArgs,
}

/// Runs the command.
///
/// # Errors
/// Why the bundle cannot be read, or the log not be asked.
pub async fn run(args: BundleArgs, output: Output) -> Result<(), Failure> {
    match args.command {
        BundleCommand::Inspect(args) => {
            let inspected = inspect(&read(args.bundle)?);
            output.say("Nothing of this is verified:");
            let mut text = String::new();
            tree(&inspected, 0, &mut text);
            output.data(text.trim_end(), &inspected)
        }
        BundleCommand::Upgrade(args) => {
            let bundle = read(args.bundle)?;
            args.log.finish(bundle, output).await
        }
        BundleCommand::Create(args) => create(*args, output).await,
    }
}

fn read(bundle: PathBuf) -> Result<Bundle, Failure> {
    let material = Material { bundle: Some(bundle), ..Material::default() };
    material.read().map_err(|error| material_failure(&error))
}

async fn create(args: CreateArgs, output: Output) -> Result<(), Failure> {
    let material = Material {
        bundle: args.bundle,
        signature: args.signature.or(args.attestation),
        certificate: args.certificate,
        chain: None,
        timestamp: args.rfc3161_timestamp,
    };
    let mut bundle = material.read().map_err(|error| material_failure(&error))?;
    let key = args.key.as_deref().map(key::public_key).transpose().map_err(|error| keys::failure(&error))?;
    if let (VerificationMaterial::PublicKey { hint }, Some(key)) = (&mut bundle.material, &key) {
        *hint = encode_base64(&key.spki_sha256());
    }
    let digest = args.artifact.as_deref().map(|path| hash_file(path, &[HashAlgorithm::Sha256]));
    let digest = digest.transpose().map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let signed = digest.and_then(|digests| digests.into_iter().next());
    if let (Content::MessageSignature { digest, .. }, Some(signed)) = (&mut bundle.content, &signed) {
        *digest = Some(signed.clone());
    }
    if bundle.entries.is_empty() && !args.ignore_tlog {
        bundle.entries = args.log.entries(&bundle, signed.as_ref(), key.as_ref()).await?;
    }
    args.log.finish(bundle, output).await
}

impl LogArgs {
    fn transport(&self) -> Http {
        Http::new(if self.allow_http { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly })
    }

    async fn entries(
        &self,
        bundle: &Bundle,
        signed: Option<&Digest>,
        key: Option<&PublicKey>,
    ) -> Result<Vec<LogEntry>, Failure> {
        let Some(log) = &self.rekor_url else {
            return Err(Failure::new(Code::LOG_PROOF_MISSING, "the signature comes without its log entry")
                .hint("--rekor-url URL looks for it; --ignore-tlog makes a bundle without one"));
        };
        let of_envelope;
        let digest = match (&bundle.content, signed) {
            (Content::MessageSignature { .. }, Some(digest)) => digest,
            (Content::MessageSignature { .. }, None) => {
                return Err(Failure::usage("--artifact is missing: log entries are found by what was signed"));
            }
            (Content::Envelope(envelope), _) => {
                of_envelope = HashAlgorithm::Sha256.digest(&envelope.payload);
                &of_envelope
            }
        };
        find_entries(&self.transport(), log, bundle, digest, key).await.map_err(|error| failure(&error))
    }

    async fn finish(&self, bundle: Bundle, output: Output) -> Result<(), Failure> {
        let root = self.trust.trusted_root()?;
        let bundle = upgrade(&self.transport(), bundle, self.rekor_url.as_ref(), &root).await;
        write(&bundle.map_err(|error| failure(&error))?.to_json(), self.out.as_deref(), output)
    }
}

fn failure(error: &UpgradeError) -> Failure {
    let failure = Failure::new(error.code(), error.to_string());
    match error {
        UpgradeError::UnknownLog { .. } => failure.hint("pass --rekor-url URL, or --trusted-root of its instance"),
        UpgradeError::Nobody => failure.hint("pass --certificate FILE or --key FILE"),
        _ => failure,
    }
}

/// What a bundle says.
fn inspect(bundle: &Bundle) -> Value {
    let signer = match &bundle.material {
        VerificationMaterial::Certificate { leaf, chain } => {
            json!({"certificate": certificate(leaf), "chain": chain.iter().map(|der| certificate(der)).collect::<Vec<_>>()})
        }
        VerificationMaterial::PublicKey { hint } => json!({"publicKeyHint": hint}),
    };
    let content = match &bundle.content {
        Content::MessageSignature { digest, signature } => {
            json!({"messageDigest": digest.as_ref().map(ToString::to_string), "signature": encode_base64(signature)})
        }
        Content::Envelope(envelope) => {
            let statement = Statement::from_json(&envelope.payload).ok();
            let subjects = statement.iter().flat_map(|statement| &statement.subjects).map(|subject| {
                let digests: Vec<_> = subject.digests.iter().map(ToString::to_string).collect();
                json!({"name": subject.name, "digests": digests})
            });
            json!({
                "payloadType": envelope.payload_type,
                "predicateType": statement.as_ref().map(|statement| &statement.predicate_type),
                "subjects": subjects.collect::<Vec<_>>(),
            })
        }
    };
    json!({
        "mediaType": bundle.media_type.as_str(),
        "signer": signer,
        "content": content,
        "logEntries": bundle.entries.iter().map(entry).collect::<Vec<_>>(),
        "timestamps": bundle.timestamps.iter().map(|der| timestamp(der)).collect::<Vec<_>>(),
    })
}

fn certificate(der: &[u8]) -> Value {
    let certificate = match Certificate::from_der(der) {
        Ok(certificate) => certificate,
        Err(error) => return json!({"unreadable": error.to_string()}),
    };
    let extensions: Map<String, Value> =
        certificate.extensions().iter().map(|(oid, value)| (oid.name().to_owned(), json!(value))).collect();
    json!({
        "subject": certificate.subject_alt_names(),
        "issuer": certificate.extensions().issuer(),
        "notBefore": format_time(certificate.not_before()),
        "notAfter": format_time(certificate.not_after()),
        "serial": hex::encode(certificate.serial()),
        "key": certificate.public_key().map(|key| key.kind().to_string()).ok(),
        "extensions": extensions,
    })
}

fn entry(entry: &LogEntry) -> Value {
    let time = entry.integrated_time.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    json!({
        "logId": hex::encode(&entry.log_id),
        "logIndex": entry.log_index,
        "kind": format!("{} {}", entry.kind, entry.version),
        "integratedTime": time.map(format_time),
        "signedEntryTimestamp": entry.set.is_some(),
        "inclusionProof": entry.proof.as_ref().map(|proof| {
            json!({"logIndex": proof.log_index, "treeSize": proof.tree_size, "checkpoint": proof.checkpoint})
        }),
    })
}

fn timestamp(der: &[u8]) -> Value {
    let token = granted(der).and_then(|token| TimeStampToken::parse(&token)).or_else(|_| TimeStampToken::parse(der));
    match token {
        Ok(token) => json!({"time": format_time(token.gen_time()), "imprint": token.imprint().to_string()}),
        Err(error) => json!({"unreadable": error.to_string()}),
    }
}

/// JSON for people: a line for each value, lists numbered from zero.
fn tree(value: &Value, depth: usize, text: &mut String) {
    let pairs: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, value)| (format!("[{index}]"), value)).collect()
        }
        _ => Vec::new(),
    };
    for (key, value) in pairs {
        let indent = "  ".repeat(depth);
        match value {
            Value::Null => {}
            Value::Object(_) | Value::Array(_) => {
                text.push_str(&format!("{indent}{key}:\n"));
                tree(value, depth.saturating_add(1), text);
            }
            Value::String(line) => {
                // What strangers wrote cannot move the cursor or look like another line.
                let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                text.push_str(&format!("{indent}{key}: {line}\n"));
            }
            other => text.push_str(&format!("{indent}{key}: {other}\n")),
        }
    }
}
