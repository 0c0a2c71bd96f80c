//! `waxseal demo`: the main job end to end, with the very parts that `up`, `sign-blob` and `verify-blob` are made of.

use crate::cli::{Failure, Output, token};
use crate::client::sign::{Ceremony, Services, SignError, SignWith, SigningAlgorithm, ToSign};
use crate::client::trust::{NewInstance, RootPin, TrustStore};
use crate::client::verify::{self, ArtifactSource, VerifyError};
use crate::server::config::{ConfigError, UpSettings};
use crate::server::idp::claims::{IssuerKind, MintRequest};
use crate::server::idp::secret;
use crate::server::instance::Instance;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Secret;
use waxseal_formats::pattern::Pattern;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_io::signer::KeyFiles;
use waxseal_io::system;
use waxseal_io::token::AUDIENCE;
use waxseal_io::transport::{Http, PlainHttp};
use waxseal_verify::bundle::{Evidence, Policy};
use waxseal_verify::identity::IdentityPolicy;

const SIGNER: &str = "alice@corp.example";
const IMPOSTOR: &str = "mallory@corp.example";
const OUTSIDER: &str = "eve@elsewhere.example";

/// Run the main job end to end in a temporary directory.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the directory with the instance, the file and its bundle, and say where it is.
    #[arg(long)]
    keep: bool,
}

/// What the demo shows, in order.
#[derive(Serialize)]
struct Shown {
    instance: String,
    root_sha256: String,
    evidence: Evidence,
    refused: Vec<Refused>,
    seconds: f64,
}

/// Something that has to be refused, and was.
#[derive(Serialize)]
struct Refused {
    what: &'static str,
    code: Code,
    reason: String,
}

/// Runs the command.
///
/// # Errors
/// What went wrong; also if something was accepted that has to be refused, or refused for another reason.
pub async fn run(args: DemoArgs, output: Output) -> Result<(), Failure> {
    let directory = tempfile::Builder::new()
        .prefix("waxseal-demo-")
        .tempdir()
        .map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("no temporary directory: {error}")))?;
    let shown = show(directory.path(), output).await?;
    if args.keep {
        output.say(&format!("Everything is kept in {}", directory.keep().display()));
    }
    output.say(&format!("Done in {:.1} s. Keep an instance running with `waxseal up`.", shown.seconds));
    output.data("", &shown)
}

async fn show(directory: &Path, output: Output) -> Result<Shown, Failure> {
    let start = Instant::now();
    let stage = Stage::set(directory).await?;
    let shown = stage.show(directory, start, output).await;
    // The instance writes into the directory until it has stopped.
    stage.stop().await;
    shown
}

impl Stage {
    async fn show(&self, directory: &Path, start: Instant, output: Output) -> Result<Shown, Failure> {
        output.say(&format!("1. A signing instance runs at {}: certificates, logs, timestamps, trust root.", self.url));
        output.say("   Its one rule admits *@corp.example of its demo identity provider.");

        let pinned = self.pin().await?;
        output.say(&format!("2. Trust is pinned by the checksum of its TUF root: {}", self.root_sha256));

        let file = directory.join("release.txt");
        std::fs::write(&file, "waxseal 0.1.0\n").map_err(|error| Failure::file(&file, &error))?;
        let bundle = directory.join("release.txt.sigstore.json");
        let signed =
            self.sign(SIGNER, &file, &pinned).await?.map_err(|error| Failure::new(error.code(), error.to_string()))?;
        std::fs::write(&bundle, signed).map_err(|error| Failure::file(&bundle, &error))?;
        output.say(&format!(
            "3. {SIGNER} signed {} without a key of their own: a ten-minute certificate,",
            file_name(&file)
        ));
        output.say("   a timestamp and a log entry went into the bundle.");

        let root = &pinned.trusted_root;
        let check = |artifact: &Path, identity: &str| self.verify(&bundle, artifact, identity, root);
        let evidence = check(&file, SIGNER).map_err(|error| Failure::new(error.code(), error.to_string()))?;
        output.say("4. Verified, offline:");
        for line in crate::cli::verify_blob::summary(&evidence) {
            output.say(&format!(" {line}"));
        }

        output.say("5. Refused, as it has to be:");
        let changed = directory.join("changed.txt");
        std::fs::write(&changed, "waxseal 0.1.0 and a little more\n")
            .map_err(|error| Failure::file(&changed, &error))?;
        let outsider = self.sign(OUTSIDER, &file, &pinned).await?.map(drop);
        let refused = vec![
            refused(
                "the same signature, claimed to be by mallory@corp.example",
                Code::CERTIFICATE_IDENTITY,
                check(&file, IMPOSTOR).map(drop).map_err(|error| (error.code(), error.to_string())),
            )?,
            refused(
                "the same signature over a changed file",
                Code::SIGNATURE_DIGEST_MISMATCH,
                check(&changed, SIGNER).map(drop).map_err(|error| (error.code(), error.to_string())),
            )?,
            refused(
                "a certificate for eve@elsewhere.example, whom no rule admits",
                Code::RULE_DENIED,
                outsider.map_err(|error| (error.code(), error.to_string())),
            )?,
        ];
        for Refused { what, code, reason } in &refused {
            output.say(&format!("   - {what}:\n     {code}: {reason}"));
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok(Shown { instance: self.url.clone(), root_sha256: self.root_sha256.clone(), evidence, refused, seconds })
    }
}

fn refused(what: &'static str, expected: Code, outcome: Result<(), (Code, String)>) -> Result<Refused, Failure> {
    match outcome {
        Err((code, reason)) if code == expected => Ok(Refused { what, code, reason }),
        Err((code, reason)) => {
            Err(Failure::new(code, format!("{what} was refused for another reason than {expected}: {reason}")))
        }
        Ok(()) => Err(Failure::new(expected, format!("{what} was accepted"))),
    }
}

/// The rules file of the demo: one rule, which admits one company's people.
fn rules_for(issuer: &str) -> String {
    format!(
        "rules:\n  - name: corp\n    issuer: {issuer}\n    audience: {AUDIENCE}\n    match: {{email: \"*@corp.example\"}}\n"
    )
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A running instance and a client of it.
struct Stage {
    url: String,
    root_sha256: String,
    data_dir: PathBuf,
    trust: TrustStore,
    transport: Http,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Stage {
    async fn set(directory: &Path) -> Result<Self, Failure> {
        let listening = |error: std::io::Error| Failure::new(Code::NETWORK_LISTEN, format!("127.0.0.1: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(listening)?;
        let listen = listener.local_addr().map_err(listening)?;
        let rules = directory.join("rules.yaml");
        std::fs::write(&rules, rules_for(&format!("http://{listen}/idp")))
            .map_err(|error| Failure::file(&rules, &error))?;
        let data_dir = directory.join("instance");
        let settings =
            UpSettings { data_dir: data_dir.clone(), listen, public_url: None, rules: Some(rules), privacy: None };
        let failed = |error: ConfigError| Failure::new(error.code(), error.to_string());
        let instance = Instance::start_on(listener, settings.check().map_err(failed)?, KeyFiles::plain())
            .await
            .map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let (url, root_sha256) = (instance.url().to_owned(), instance.root_checksum());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(instance.serve(async move { drop(stopped.await) }));
        let transport = Http::new(PlainHttp::LoopbackOnly);
        Ok(Self {
            url,
            root_sha256,
            data_dir,
            trust: TrustStore::at(directory.join("trust")),
            transport,
            stop,
            serving,
        })
    }

    async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the instance died");
        }
    }

    async fn pin(&self) -> Result<crate::client::trust::Pinned, Failure> {
        let mut checksum = [0; 32];
        hex::decode_to_slice(&self.root_sha256, &mut checksum)
            .map_err(|error| Failure::new(Code::TRUSTED_ROOT_MALFORMED, format!("the root's checksum: {error}")))?;
        let new = NewInstance {
            url: self.url.clone(),
            mirror: None,
            name: Some("demo".into()),
            root: RootPin::Sha256(checksum),
            plain_http: PlainHttp::LoopbackOnly,
        };
        let pinned = self.trust.add(&self.transport, new, system::now()).await;
        pinned.map_err(|error| Failure::new(error.code(), error.to_string()))
    }

    /// Gets a token for `identity` and signs with it; the inner result is the outcome of signing.
    async fn sign(
        &self,
        identity: &str,
        file: &Path,
        pinned: &crate::client::trust::Pinned,
    ) -> Result<Result<String, SignError>, Failure> {
        let secret = secret::load(&self.data_dir)
            .map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("the owner secret: {error}")))?;
        let request = MintRequest {
            issuer: IssuerKind::Email,
            identity: identity.to_owned(),
            audience: AUDIENCE.to_owned(),
            claims: serde_json::Map::new(),
        };
        let token = Secret::new(token::mint(&self.transport, &self.url, &secret, &request).await?);
        let config = pinned.signing_config.as_ref();
        let config = config.ok_or_else(|| Failure::new(Code::INPUT_MALFORMED, "the instance has no signing config"))?;
        let services = Services::for_identity(config, system::now())
            .map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let ceremony = Ceremony { transport: &self.transport, services: &services, root: &pinned.trusted_root };
        let with = SignWith::Identity { token: &token, algorithm: SigningAlgorithm::default() };
        Ok(ceremony.sign(with, &ToSign::Blob(file.to_owned())).await.map(|signed| signed.bundle.to_json()))
    }

    fn verify(
        &self,
        bundle: &Path,
        artifact: &Path,
        identity: &str,
        root: &TrustedRoot,
    ) -> Result<Evidence, VerifyError> {
        let policy = Policy::Identities(vec![IdentityPolicy {
            subject: Pattern::exact(identity),
            issuer: Pattern::exact(format!("{}/idp", self.url)),
            extensions: Vec::new(),
        }]);
        verify::verify_blob(bundle, &ArtifactSource::Path(artifact.to_owned()), root, &policy, system::now())
    }
}
