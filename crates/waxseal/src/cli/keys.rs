//! `waxseal generate-key-pair`, `import-key-pair` and `public-key`: keys for those who cannot do without.

use crate::cli::sign_blob::{algorithm, algorithm_help};
use crate::cli::{Failure, Output};
use crate::client::key::{self, KeyError, PASSPHRASE};
use crate::client::sign::SigningAlgorithm;
use clap::Args;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{PublicKey, Secret};
use waxseal_io::signer::{KeyPair, Signer as _, SignerError, private_pem};
use waxseal_io::terminal::Terminal;

/// Make a key pair: the private key, under a passphrase, and the public key in files that cosign reads too.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Make the key where it stays: hashivault://KEY, openbao://KEY, or SCHEME://KEY of a plugin. The public key is written to PREFIX.pub.
    #[arg(long, value_name = "KEY")]
    kms: Option<String>,
    /// The kind of key to make.
    #[arg(long, value_name = "NAME", value_parser = algorithm, default_value = "ecdsa-sha2-256-nistp256", help = algorithm_help())]
    signing_algorithm: SigningAlgorithm,
}

/// Put a private key of another tool (PKCS#8, SEC1 or PKCS#1 PEM) under a passphrase, in files that cosign reads too.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The private key.
    #[arg(long, short = 'k', value_name = "FILE")]
    key: String,
    #[command(flatten)]
    files: FileArgs,
}

/// Where the keys go.
#[derive(Debug, Clone, Args)]
struct FileArgs {
    /// How the files begin: PREFIX.key and PREFIX.pub.
    #[arg(long, short = 'o', value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: PathBuf,
    /// Replace files that exist.
    #[arg(long, short = 'y')]
    yes: bool,
}

/// Print the public key of a key.
#[derive(Debug, Args)]
pub struct PublicKeyArgs {
    /// The key: a file, env://NAME, hashivault://KEY, openbao://KEY, a pkcs11: URI, or SCHEME://KEY of a plugin.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Write it to a file instead.
    #[arg(long, value_name = "FILE")]
    outfile: Option<PathBuf>,
}

/// Runs `generate-key-pair`.
///
/// # Errors
/// `input.unreadable` if a file exists or cannot be written, `key.passphrase` without a passphrase.
pub fn generate(args: &GenerateArgs, output: Output) -> Result<(), Failure> {
    if let Some(reference) = &args.kms {
        let public = key::create(reference, args.signing_algorithm.key_kind()).map_err(|error| failure(&error))?;
        return args.files.write_public(&public, reference, output);
    }
    let pair = KeyPair::generate(args.signing_algorithm.key_kind())
        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
    args.files.write(&pair, output)
}

/// Runs `import-key-pair`.
///
/// # Errors
/// As [`generate`], and `key.unsupported` for what is no private key.
pub fn import(args: &ImportArgs, output: Output) -> Result<(), Failure> {
    let pair = key::open_local(&args.key).map_err(|error| failure(&error))?;
    args.files.write(&pair, output)
}

/// Runs `public-key`.
///
/// # Errors
/// Why the key cannot be read.
pub fn public(args: &PublicKeyArgs, output: Output) -> Result<(), Failure> {
    let public = key::public_key(&args.key).map_err(|error| failure(&error))?;
    let pem = public.to_pem();
    if let Some(path) = &args.outfile {
        write(path, &pem, 0o644, true).map_err(|error| Failure::file(path, &error))?;
        output.say(&format!("Wrote {}", path.display()));
    }
    let text = if args.outfile.is_some() { "" } else { pem.trim_end() };
    output.data(text, &json!({"publicKey": pem, "kind": public.kind().to_string(), "file": args.outfile}))
}

/// A failure about a key, with what to do about it.
#[must_use]
pub fn failure(error: &KeyError) -> Failure {
    let failure = Failure::new(error.code(), error.to_string());
    match error.code() {
        Code::KEY_PASSPHRASE if matches!(error, KeyError::Signer(SignerError::Pin { .. })) => {
            failure.hint("the PIN comes from pin-value in the URI, COSIGN_PKCS11_PIN, or the terminal")
        }
        Code::KEY_PASSPHRASE => failure.hint(format!("set {PASSPHRASE} to the passphrase (it may be empty)")),
        _ => failure,
    }
}

impl FileArgs {
    fn named(&self, suffix: &str) -> Result<PathBuf, Failure> {
        let mut name = self.output_key_prefix.clone().into_os_string();
        name.push(suffix);
        let path = PathBuf::from(name);
        if path.exists() && !self.yes {
            let failure = Failure::new(Code::INPUT_UNREADABLE, format!("{} exists already", path.display()));
            return Err(
                failure.hint("another --output-key-prefix, or -y to replace it: a private key cannot be had back")
            );
        }
        Ok(path)
    }

    /// The public half of a key that is kept elsewhere.
    fn write_public(&self, key: &PublicKey, reference: &str, output: Output) -> Result<(), Failure> {
        let public = self.named(".pub")?;
        write(&public, &key.to_pem(), 0o644, self.yes).map_err(|error| Failure::file(&public, &error))?;
        output.say(&format!("Public key of {reference} written to {}", public.display()));
        output.data("", &json!({"publicKey": public, "key": reference, "kind": key.kind().to_string()}))
    }

    fn write(&self, pair: &KeyPair, output: Output) -> Result<(), Failure> {
        let (private, public) = (self.named(".key")?, self.named(".pub")?);
        let passphrase = new_passphrase()?;
        let sealed =
            private_pem::seal(pair, &passphrase).map_err(|error| Failure::new(error.code(), error.to_string()))?;
        write(&private, &sealed, 0o600, self.yes).map_err(|error| Failure::file(&private, &error))?;
        write(&public, &pair.public_key().to_pem(), 0o644, self.yes).map_err(|error| Failure::file(&public, &error))?;
        output.say(&format!("Private key written to {}", private.display()));
        output.say(&format!("Public key written to {}", public.display()));
        if passphrase.expose().is_empty() {
            output.say("warning: its passphrase is empty: whoever reads the file has the key");
        }
        output.data(
            "",
            &json!({"privateKey": private, "publicKey": public, "kind": pair.public_key().kind().to_string()}),
        )
    }
}

/// The passphrase of a new key, asked for twice.
fn new_passphrase() -> Result<Secret<String>, Failure> {
    if let Ok(passphrase) = std::env::var(PASSPHRASE) {
        return Ok(Secret::new(passphrase));
    }
    let missing = || {
        Failure::new(Code::KEY_PASSPHRASE, "there is no terminal to ask for a passphrase")
            .hint(format!("set {PASSPHRASE} to the passphrase (it may be empty)"))
    };
    let terminal = Terminal::open().ok_or_else(missing)?;
    let ask = |question| terminal.ask_secret(question).map_err(|_| missing());
    let (first, second) = (ask("Passphrase for the private key: ")?, ask("The same again: ")?);
    if first.expose() == second.expose() {
        return Ok(first);
    }
    Err(Failure::new(Code::KEY_PASSPHRASE, "the two passphrases differ"))
}

/// Writes a file with this mode, whole or not at all.
fn write(path: &Path, text: &str, mode: u32, replace: bool) -> io::Result<()> {
    if !replace && path.exists() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
