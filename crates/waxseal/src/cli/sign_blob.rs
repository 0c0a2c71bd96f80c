//! `waxseal sign-blob`: a file becomes a file and its bundle.

use crate::cli::flags::{LoginAt, TrustArgs};
use crate::cli::identity_token::TokenArgs;
use crate::cli::keys;
use crate::cli::verify_blob::summary;
use crate::cli::{Failure, Output};
use crate::client::blob::BundleFile;
use crate::client::key;
use crate::client::sign::{Ceremony, Services, SignError, SignWith, Signed, SigningAlgorithm, ToSign};
use crate::client::verify;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::signing_config::{MAX_CONFIG_LEN, SigningConfig};
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_io::system;
use waxseal_io::token::AUDIENCE;
use waxseal_io::transport::{Http, PlainHttp};

/// Sign a file with an identity (or a key): the signature, its certificate, timestamp and log entry go into one bundle.
/// Only the file's digest leaves this machine.
#[derive(Debug, Args)]
pub struct SignBlobArgs {
    /// Where the bundle is written, with mode 0600; an existing file is replaced.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    services: ServiceArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    token: TokenArgs,
    /// A private key to sign with instead of an identity: a PEM file (cosign's included), env://NAME, hashivault://KEY,
    /// openbao://KEY, a pkcs11: URI, or SCHEME://KEY of a plugin.
    #[arg(long, value_name = "KEY", conflicts_with = "signing_algorithm")]
    key: Option<String>,
    /// The kind of key to make for this signature.
    #[arg(long, value_name = "NAME", value_parser = algorithm, default_value = "ecdsa-sha2-256-nistp256", help = algorithm_help())]
    signing_algorithm: SigningAlgorithm,
    /// Accepted for cosign's sake: there is nothing to confirm.
    #[arg(long, short = 'y', num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    yes: Option<bool>,
    /// The file.
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
}

/// Which services sign.
#[derive(Debug, Clone, Default, Args)]
pub struct ServiceArgs {
    /// A signing config that names the services.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["fulcio_url", "rekor_url", "timestamp_server_url", "instance"])]
    pub signing_config: Option<PathBuf>,
    /// The certificate authority, instead of a signing config.
    #[arg(long, value_name = "URL", conflicts_with = "instance")]
    pub fulcio_url: Option<Url>,
    /// The Rekor log, instead of a signing config.
    #[arg(long, value_name = "URL", conflicts_with = "instance")]
    pub rekor_url: Option<Url>,
    /// Of which kind the log of --rekor-url is.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub rekor_version: u8,
    /// The timestamp authority (the whole URL that requests go to), instead of a signing config.
    #[arg(long, value_name = "URL", conflicts_with = "instance")]
    pub timestamp_server_url: Option<Url>,
    /// Accepted for cosign's sake: a signing config is used if there is one.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, hide = true)]
    pub use_signing_config: Option<bool>,
    /// Speak plain http to other machines too.
    #[arg(long)]
    pub allow_http: bool,
}

/// Whether a certificate is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To sign with an identity.
    Identity,
    /// To sign with a managed key.
    Key,
}

/// Where a signature is made: an instance, or services and trust material given one by one.
pub struct Setup {
    /// The services.
    pub services: Services,
    /// What the new signature is verified against.
    pub root: TrustedRoot,
    /// The audience that identity tokens must have.
    pub audience: String,
    /// Where people log in, if the instance says so.
    pub login: Option<LoginAt>,
    /// How the services are reached.
    pub transport: Http,
}

impl ServiceArgs {
    /// What the flags say. No instance is assumed: signing at the public one publishes the identity, so it has to be
    /// asked for. A pinned one is refreshed.
    ///
    /// # Errors
    /// `usage` if something is missing; `input.*` and `trusted-root.*` for the files and the pinned instance.
    pub async fn setup(&self, trust: &TrustArgs, purpose: Purpose) -> Result<Setup, Failure> {
        let allowed = if self.allow_http { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly };
        let named = self.signing_config.is_some()
            || [&self.fulcio_url, &self.rekor_url, &self.timestamp_server_url].iter().any(|url| url.is_some());
        // Flags are stronger than the variable that names an instance.
        if let Some(pinned) = if named { None } else { trust.fresh().await? } {
            let config = pinned.signing_config.ok_or_else(|| {
                Failure::new(Code::INPUT_MALFORMED, format!("{} publishes no signing config", pinned.url))
            })?;
            let login = pinned
                .client
                .as_ref()
                .filter(|client| !client.oidc_issuer.is_empty())
                .map(|client| LoginAt { issuer: client.oidc_issuer.clone(), client_id: client.client_id.clone() });
            return Ok(Setup {
                services: purpose.services(&config)?,
                login: login.or_else(|| login_at(&config)),
                root: pinned.trusted_root,
                audience: pinned.client.map_or_else(|| AUDIENCE.to_owned(), |client| client.audience),
                transport: Http::new(if self.allow_http { allowed } else { pinned.plain_http }),
            });
        }
        let (services, login) = match &self.signing_config {
            Some(path) => {
                let document = verify::read_bounded(path, MAX_CONFIG_LEN)
                    .map_err(|error| Failure::new(error.code(), error.to_string()))?;
                let config = SigningConfig::from_json(&document)
                    .map_err(|error| Failure::new(error.code(), format!("{}: {error}", path.display())))?;
                (purpose.services(&config)?, login_at(&config))
            }
            None => (self.services(purpose)?, None),
        };
        let root = trusted_root(trust, &services)?;
        Ok(Setup { services, root, audience: AUDIENCE.to_owned(), login, transport: Http::new(allowed) })
    }

    fn services(&self, purpose: Purpose) -> Result<Services, Failure> {
        let missing = match (purpose, &self.fulcio_url, &self.rekor_url, &self.timestamp_server_url) {
            (_, None, None, None) => {
                return Err(Failure::usage("which instance signs is not said").hint(
                    "pass --instance URL of a pinned instance, or --signing-config FILE and --trusted-root FILE",
                ));
            }
            (Purpose::Identity, None, ..) => "--fulcio-url",
            (_, _, None, _) => "--rekor-url",
            (Purpose::Identity, _, _, None) if self.rekor_version != 1 => "--timestamp-server-url",
            _ => {
                let logs: Vec<Url> = self.rekor_url.iter().cloned().collect();
                let (logs, rekor_v1) = if self.rekor_version == 1 { (Vec::new(), logs) } else { (logs, Vec::new()) };
                return Ok(Services {
                    fulcio: self.fulcio_url.clone(),
                    timestamp_authorities: self.timestamp_server_url.iter().cloned().collect(),
                    logs,
                    rekor_v1,
                });
            }
        };
        Err(Failure::usage(format!("{missing} is missing: signing needs every service, or a --signing-config")))
    }
}

/// Where a signing config has people log in: it has no place for a client id.
fn login_at(config: &SigningConfig) -> Option<LoginAt> {
    let service = config.oidc(system::now()).ok()?;
    Some(LoginAt { issuer: service.url.clone(), client_id: AUDIENCE.to_owned() })
}

impl Purpose {
    fn services(self, config: &SigningConfig) -> Result<Services, Failure> {
        match self {
            Self::Identity => Services::for_identity(config, system::now()),
            Self::Key => Services::for_key(config, system::now()),
        }
        .map_err(|error| failure(&error))
    }
}

/// A signing failure with what to do about it.
pub fn failure(error: &SignError) -> Failure {
    let failure = Failure::new(error.code(), error.to_string());
    match error {
        SignError::OwnOutput(_) => failure.hint(
            "nothing was written; is --trusted-root the one of the instance that signed? the entry stays in its log",
        ),
        SignError::TokenExpired { .. } => failure.hint("get a new identity token"),
        _ => failure,
    }
}

/// Runs the command.
///
/// # Errors
/// Why nothing was signed.
pub async fn run(args: SignBlobArgs, output: Output) -> Result<(), Failure> {
    let purpose = if args.key.is_some() { Purpose::Key } else { Purpose::Identity };
    let Setup { services, root, audience, login, transport } = args.services.setup(&args.trust, purpose).await?;
    let file = BundleFile::open(&args.bundle).map_err(|error| Failure::file(&args.bundle, &error))?;
    let ceremony = Ceremony { transport: &transport, services: &services, root: &root };
    let what = ToSign::Blob(args.artifact);
    let signed = if let Some(reference) = &args.key {
        let key = key::open(reference).map_err(|error| keys::failure(&error))?;
        ceremony.sign(SignWith::Key(key.as_ref()), &what).await
    } else {
        let token = args.token.token(&transport, &audience, login.as_ref()).await?;
        ceremony.sign(SignWith::Identity { token: &token, algorithm: args.signing_algorithm }, &what).await
    };
    let Signed { bundle, evidence, .. } = signed.map_err(|error| failure(&error))?;
    file.write(&bundle.to_json()).map_err(|error| Failure::file(&args.bundle, &error))?;
    output.say(&format!("Wrote {}", args.bundle.display()));
    if output == Output::Text {
        for line in summary(&evidence) {
            output.say(&line);
        }
    }
    output.data("", &json!({"bundle": args.bundle, "evidence": evidence}))
}

/// What the new signature is verified against. The public instance's root is of no use for another one.
fn trusted_root(trust: &TrustArgs, services: &Services) -> Result<TrustedRoot, Failure> {
    let root = trust.trusted_root()?;
    let host = |url: &str| Url::parse(url).ok().and_then(|url| url.host_str().map(ToOwned::to_owned));
    let known = |log: &Url| root.tlogs.iter().any(|tlog| host(&tlog.base_url).as_deref() == log.host_str());
    if trust.trusted_root.is_none() && !services.logs.iter().chain(&services.rekor_v1).all(known) {
        return Err(Failure::usage("--trusted-root is missing: new signatures are verified before they are written")
            .hint("pass the trusted root of the instance that signs"));
    }
    Ok(root)
}

/// The kind of key of that name.
///
/// # Errors
/// The names, for clap.
pub fn algorithm(name: &str) -> Result<SigningAlgorithm, String> {
    SigningAlgorithm::from_name(name).ok_or_else(algorithm_help)
}

/// What `--signing-algorithm` takes.
#[must_use]
pub fn algorithm_help() -> String {
    let names: Vec<_> = SigningAlgorithm::NAMES.iter().map(|(_, name)| *name).collect();
    format!("the kind of key to make for this signature: {}", names.join(", "))
}
