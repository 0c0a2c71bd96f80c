//! `waxseal init`: makes an instance for production.

mod passphrase;

use crate::cli::serve::refused;
use crate::cli::up::PrivacyArg;
use crate::cli::{Failure, Output};
use crate::server::config::file::{FILE, RULES_FILE};
use crate::server::config::settings::DEFAULT_CLIENT_ID;
use crate::server::config::template::Template;
use crate::server::config::{self, Config, Keys, Login, Tls};
use crate::server::instance::{self, Instance};
use crate::server::material::MANIFEST;
use clap::Args;
use passphrase::{Chosen, Source, choose};
use serde_json::json;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use waxseal_formats::client_config::Privacy;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::KeyKind;
use waxseal_io::file;
use waxseal_io::signer::SignerError;
use waxseal_io::terminal::Terminal;

/// The key that signs the TUF root, below the data directory until it is taken elsewhere.
pub(super) const ROOT_KEY: &str = "offline/tuf-root.pem";

/// Make a signing instance for production: its keys, certificates, logs and trust root, one configuration file with remarks, and
/// rules that admit nobody yet. Asks for what the flags do not say, unless there is --yes.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where keys, logs and configuration are to be.
    #[arg(long, value_name = "DIR", env = "WAXSEAL_DATA_DIR")]
    data_dir: PathBuf,
    /// The URL by which clients reach the instance: an origin. Its host cannot change later.
    #[arg(long, value_name = "URL", env = "WAXSEAL_PUBLIC_URL")]
    public_url: Option<String>,
    /// What the logs keep: `sealed` keeps hashes alone, `open` keeps what is logged. It cannot change later.
    #[arg(long, value_enum, value_name = "MODE", env = "WAXSEAL_PRIVACY")]
    privacy: Option<PrivacyArg>,
    /// The address to listen on [default: that of a public URL on loopback, else 0.0.0.0:443 with TLS, 127.0.0.1:7480 without].
    #[arg(long, value_name = "ADDRESS", env = "WAXSEAL_LISTEN")]
    listen: Option<SocketAddr>,
    /// An address for health and metrics besides.
    #[arg(long, value_name = "ADDRESS", env = "WAXSEAL_OPERATIONS_LISTEN")]
    operations_listen: Option<SocketAddr>,
    /// The TLS certificate chain, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "WAXSEAL_TLS_CERTIFICATE")]
    tls_certificate: Option<PathBuf>,
    /// The key of the TLS certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate", env = "WAXSEAL_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Serve plain HTTP to everybody who reaches the address: for a proxy on another machine.
    #[arg(long, conflicts_with = "tls_certificate", env = "WAXSEAL_TLS_NONE")]
    tls_none: bool,
    /// The OpenID issuer at which people log in.
    #[arg(long, value_name = "URL", env = "WAXSEAL_LOGIN_ISSUER")]
    login_issuer: Option<String>,
    /// The client id to log in with.
    #[arg(long, value_name = "ID", requires = "login_issuer", env = "WAXSEAL_LOGIN_CLIENT_ID")]
    login_client_id: Option<String>,
    /// Signing rules to begin with; a copy is taken [default: rules that admit nobody].
    #[arg(long, value_name = "FILE", env = "WAXSEAL_RULES")]
    rules: Option<PathBuf>,
    /// Do not encrypt the private keys.
    #[arg(long, env = "WAXSEAL_UNENCRYPTED_KEYS", conflicts_with_all = ["passphrase_file", "passphrase_env", "root_passphrase_file", "root_passphrase_env"])]
    unencrypted_keys: bool,
    /// A file whose first line is the passphrase of the keys. `serve` reads it at every start.
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_env", env = "WAXSEAL_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
    /// A variable that has the passphrase of the keys. `serve` reads it at every start.
    #[arg(long, value_name = "NAME", env = "WAXSEAL_PASSPHRASE_ENV")]
    passphrase_env: Option<String>,
    /// A file whose first line is the passphrase of the TUF root's key, which `serve` does not need.
    #[arg(long, value_name = "FILE", conflicts_with = "root_passphrase_env", env = "WAXSEAL_ROOT_PASSPHRASE_FILE")]
    root_passphrase_file: Option<PathBuf>,
    /// A variable that has the passphrase of the TUF root's key.
    #[arg(long, value_name = "NAME", env = "WAXSEAL_ROOT_PASSPHRASE_ENV")]
    root_passphrase_env: Option<String>,
    /// Ask nothing: take the defaults, and make up the passphrases that are not given.
    #[arg(long, env = "WAXSEAL_YES")]
    yes: bool,
}

/// Makes the instance.
///
/// # Errors
/// `usage` for a directory that has one and for what the flags leave open, `input.config` for what they say, `input.unreadable`
/// for files.
pub async fn run(args: InitArgs, output: Output) -> Result<(), Failure> {
    let data_dir = std::path::absolute(&args.data_dir).map_err(|error| Failure::file(&args.data_dir, &error))?;
    if data_dir.join(MANIFEST).exists() {
        let failure = Failure::usage(format!("{} holds an instance already", data_dir.display()));
        return Err(failure.hint("`waxseal serve` runs it; another one needs another directory"));
    }
    let terminal = if args.yes { None } else { Terminal::open() };
    let answers = answers(&args, terminal.as_ref())?;
    // Everything that was said is judged before anything is made.
    let rules = match &args.rules {
        Some(path) => {
            config::rules(Some(path), &[]).map_err(|error| refused(&error))?;
            let rules = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            Some(rules)
        }
        None => None,
    };
    let path = data_dir.join(FILE);
    let written = |template: &Template| {
        template.config(&data_dir).map_err(|_| Failure::new(Code::INPUT_CONFIG, "the configuration cannot be written"))
    };
    Config::parse(&path, &written(&answers)?).map_err(|error| refused(&error))?;

    instance::make_directory(&data_dir).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let (keys, root) = passphrases(&args, &data_dir, terminal.as_ref())?;
    let template = Template { keys: keys.keys.clone(), ..answers };
    replace(&path, &written(&template)?)?;
    let rules_path = data_dir.join(RULES_FILE);
    if rules.is_some() || !rules_path.exists() {
        replace(&rules_path, &rules.unwrap_or_else(|| template.rules()))?;
    }
    let config = Config::read(&path).map_err(|error| refused(&error))?;

    let failed = |error: SignerError| Failure::new(error.code(), error.to_string());
    let root_path = data_dir.join(ROOT_KEY);
    let root_key = root.files.load_or_create(&root_path, KeyKind::EcdsaP256).map_err(failed)?;
    let checksum = Instance::make(config.settings.clone(), keys.files, root_key).await;
    let checksum = checksum.map_err(|error| Failure::new(error.code(), error.to_string()))?;

    let made = Made { config: &config, checksum: &checksum, keys: &keys.source, root: &root.source };
    for line in made.sentences() {
        output.say(&line);
    }
    output.data("", &made.value())
}

/// What the flags say, and what the person in front of the terminal adds.
fn answers(args: &InitArgs, terminal: Option<&Terminal>) -> Result<Template, Failure> {
    let ask = |question: &str| match terminal {
        Some(terminal) => asked(terminal.ask(question)),
        None => Ok(None),
    };
    let public_url = match &args.public_url {
        Some(url) => url.clone(),
        None => ask("URL by which clients will reach the instance, such as https://sign.corp.example: ")?.ok_or_else(
            || Failure::usage("--public-url is missing").hint("give it, or its variable WAXSEAL_PUBLIC_URL"),
        )?,
    };
    let tls = match (&args.tls_certificate, &args.tls_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        _ if args.tls_none || !public_url.starts_with("https:") => None,
        _ => match ask("TLS certificate chain, a PEM file (empty: a proxy on this machine has it): ")? {
            Some(certificate) => {
                let key = ask("Its key, a PEM file: ")?.ok_or_else(|| Failure::usage("--tls-key is missing"))?;
                Some((certificate.into(), key.into()))
            }
            None => None,
        },
    };
    let files = |(certificate, key): (PathBuf, PathBuf)| {
        let absolute = |path: &Path| std::path::absolute(path).map_err(|error| Failure::file(path, &error));
        Ok::<_, Failure>(Tls::Files { certificate: absolute(&certificate)?, key: absolute(&key)? })
    };
    let issuer = match &args.login_issuer {
        Some(issuer) => Some(issuer.clone()),
        None => ask("OpenID issuer at which people log in (empty: only machines sign): ")?,
    };
    let client_id = match (&issuer, &args.login_client_id) {
        (_, Some(id)) => Some(id.clone()),
        (Some(_), None) => ask(&format!("Client id at that issuer (empty: {DEFAULT_CLIENT_ID}): "))?,
        (None, None) => None,
    };
    let client_id = client_id.unwrap_or_else(|| DEFAULT_CLIENT_ID.to_owned());
    Ok(Template {
        public_url,
        listen: args.listen,
        operations_listen: args.operations_listen,
        privacy: args.privacy.map_or(Privacy::Sealed, Privacy::from),
        tls: match tls {
            Some(tls) => Some(files(tls)?),
            None => args.tls_none.then_some(Tls::None),
        },
        login: issuer.map(|issuer| Login { issuer, client_id }),
        keys: Keys::Plain,
    })
}

/// An answer that is not empty.
fn asked(answer: std::io::Result<String>) -> Result<Option<String>, Failure> {
    let answer = answer.map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("the terminal: {error}")))?;
    Ok(Some(answer).filter(|answer| !answer.is_empty()))
}

/// The passphrases of the instance's keys and of the root's.
fn passphrases(args: &InitArgs, data_dir: &Path, terminal: Option<&Terminal>) -> Result<(Chosen, Chosen), Failure> {
    for folder in ["secrets", "offline"] {
        let path = data_dir.join(folder);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| Failure::file(&path, &error))?;
    }
    if args.unencrypted_keys {
        return Ok((Chosen::plain(), Chosen::plain()));
    }
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|error| Failure::file(path, &error));
    let source = |file: Option<&PathBuf>, variable: Option<&String>, made: &str| {
        Ok::<_, Failure>(match (file, variable) {
            (Some(file), _) => Source::File(absolute(file)?),
            (None, Some(name)) => Source::Variable(name.clone()),
            (None, None) => Source::Open(data_dir.join(made)),
        })
    };
    let keys = source(args.passphrase_file.as_ref(), args.passphrase_env.as_ref(), "secrets/passphrase")?;
    let root =
        source(args.root_passphrase_file.as_ref(), args.root_passphrase_env.as_ref(), "offline/tuf-root.passphrase")?;
    Ok((choose(keys, "the instance's keys", terminal)?, choose(root, "the key of the trust root", terminal)?))
}

fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    file::replace(path, text.as_bytes()).map_err(|error| Failure::file(path, &error))
}

/// What there is now.
struct Made<'a> {
    config: &'a Config,
    checksum: &'a str,
    keys: &'a Source,
    root: &'a Source,
}

impl Made<'_> {
    fn root_key(&self) -> PathBuf {
        self.config.settings.data_dir.join(ROOT_KEY)
    }

    fn next(&self) -> String {
        format!("waxseal serve --config {}", self.config.path.display())
    }

    fn sentences(&self) -> Vec<String> {
        let settings = &self.config.settings;
        let url = settings.public_url.as_deref().unwrap_or_default();
        let mut lines = vec![
            format!("An instance for {url} is made in {}", settings.data_dir.display()),
            format!("  root checksum  {}", self.checksum),
            format!("  configuration  {}", self.config.path.display()),
        ];
        if let Some(rules) = &settings.rules {
            lines.push(format!("  signing rules  {}", rules.display()));
        }
        lines.push(format!("  keys           {}", self.keys.sentence()));
        lines.push(format!("  root key       {}: {}", self.root_key().display(), self.root.sentence()));
        lines.push(
            "The root's key signs who may speak for this instance, and `serve` does not need it: take the folder"
                .to_owned(),
        );
        lines.push(format!(
            "{} to a safe place, with its passphrase at another one.",
            settings.data_dir.join("offline").display()
        ));
        lines.push("Next:".to_owned());
        lines.push(format!("  {}", self.next()));
        lines.push(format!("  waxseal trust add {url} --root-sha256 {}", self.checksum));
        lines
    }

    fn value(&self) -> serde_json::Value {
        let settings = &self.config.settings;
        json!({
            "url": settings.public_url,
            "root_sha256": self.checksum,
            "data_dir": settings.data_dir,
            "config": self.config.path,
            "rules": settings.rules,
            "root_key": self.root_key(),
            "passphrase_file": self.keys.file(),
            "root_passphrase_file": self.root.file(),
            "next": self.next(),
        })
    }
}
