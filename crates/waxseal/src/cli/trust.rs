//! `waxseal trust`: which instances this machine trusts.

use crate::cli::{Failure, Output};
use crate::client::trust::{Freshness, NewInstance, Pinned, RootPin, TrustError, TrustStore};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::tuf::{MAX_ROOT_LEN, format_time};
use waxseal_io::transport::{Http, PlainHttp};
use waxseal_io::{file, system};

/// Pin instances, and forget them.
#[derive(Debug, Args)]
pub struct TrustArgs {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    /// Pin an instance by its TUF root, or by the SHA-256 of its 1.root.json.
    Add(AddArgs),
    /// List the pinned instances.
    List,
    /// Forget a pinned instance.
    Remove {
        /// Its URL or name.
        #[arg(value_name = "URL|NAME")]
        instance: String,
    },
    /// Ask pinned instances for newer trust material.
    Refresh {
        /// One instance, by URL or name; all of them without it.
        #[arg(value_name = "URL|NAME")]
        instance: Option<String>,
    },
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Its URL.
    #[arg(value_name = "URL")]
    url: String,
    /// Its root metadata, from someone you trust.
    #[arg(long, value_name = "FILE", required_unless_present = "root_sha256")]
    root: Option<PathBuf>,
    /// SHA-256 of its 1.root.json, from someone you trust.
    #[arg(long, value_name = "HEX", conflicts_with = "root")]
    root_sha256: Option<String>,
    /// What to call it here; the host otherwise.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Speak plain http to it although it is on another machine.
    #[arg(long)]
    allow_http: bool,
}

/// Runs the command.
///
/// # Errors
/// `trusted-root.*`, `network.unreachable`, `input.*`, `usage`.
pub async fn run(args: TrustArgs, output: Output) -> Result<(), Failure> {
    let store = TrustStore::of_user().map_err(failure)?;
    match args.command {
        TrustCommand::Add(args) => {
            let root = match (&args.root, &args.root_sha256) {
                (Some(path), _) => RootPin::Bytes(read_root(path)?),
                (None, Some(digest)) => RootPin::Sha256(parse_sha256(digest)?),
                (None, None) => return Err(Failure::usage("--root or --root-sha256 is missing")),
            };
            let new =
                NewInstance { url: args.url, mirror: None, name: args.name, root, plain_http: allow(args.allow_http) };
            add(&store, new, output).await
        }
        TrustCommand::List => list(&store, output),
        TrustCommand::Remove { instance } => {
            let name = store.remove(&instance).map_err(failure)?;
            output.say(&format!("{name} is no longer trusted"));
            output.data("", &json!({"removed": name}))
        }
        TrustCommand::Refresh { instance } => {
            let instances = match instance {
                Some(instance) => vec![instance],
                None => store.names().map_err(failure)?,
            };
            let mut refreshed = Vec::new();
            for instance in instances {
                let transport = Http::new(store.plain_http(&instance).map_err(failure)?);
                let pinned = store.refresh(&transport, &instance, system::now()).await.map_err(failure)?;
                output.say(&format!("{} is up to date", pinned.name));
                refreshed.push(describe(&pinned));
            }
            output.data("", &json!({"refreshed": refreshed}))
        }
    }
}

/// Pins an instance and says what is trusted now.
pub(super) async fn add(store: &TrustStore, new: NewInstance, output: Output) -> Result<(), Failure> {
    let transport = Http::new(new.plain_http);
    let pinned = store.add(&transport, new, system::now()).await.map_err(failure)?;
    output.say(&format!("{} is trusted as {}, root SHA-256 {}", pinned.url, pinned.name, pinned.root_sha256));
    output.data("", &describe(&pinned))
}

fn list(store: &TrustStore, output: Output) -> Result<(), Failure> {
    let now = system::now();
    let (mut lines, mut values) = (Vec::new(), Vec::new());
    for name in store.names().map_err(failure)? {
        // One that is expired or damaged must not hide the others.
        match store.pinned(&name, now) {
            Ok(pinned) => {
                let state = match pinned.freshness {
                    Freshness::Fresh => "fresh".to_owned(),
                    Freshness::StaleSince(time) => format!("stale since {}", format_time(time)),
                };
                lines.push(format!("{name}\t{}\t{}\t{state}", pinned.url, pinned.root_sha256));
                values.push(describe(&pinned));
            }
            Err(error) => {
                lines.push(format!("{name}\t-\t-\t{}: {error}", error.code()));
                values.push(json!({"name": name, "code": error.code(), "message": error.to_string()}));
            }
        }
    }
    output.data(&lines.join("\n"), &json!({"instances": values}))
}

fn describe(pinned: &Pinned) -> Value {
    json!({
        "name": pinned.name,
        "url": pinned.url,
        "mirror": pinned.mirror,
        "rootSha256": pinned.root_sha256,
        "refreshed": format_time(pinned.refreshed),
        "fresh": pinned.freshness == Freshness::Fresh,
    })
}

/// A failure with its hint.
pub(super) fn failure(error: TrustError) -> Failure {
    let failure = Failure::new(error.code(), error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

pub(super) const fn allow(allow_http: bool) -> PlainHttp {
    if allow_http { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly }
}

pub(super) fn read_root(path: &Path) -> Result<Vec<u8>, Failure> {
    match file::read(path, MAX_ROOT_LEN) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Failure::new(Code::INPUT_UNREADABLE, format!("{}: there is no such file", path.display()))),
        Err(error) => Err(Failure::file(path, &error)),
    }
}

/// 64 hexadecimal digits, `sha256:` before them or not.
pub(super) fn parse_sha256(text: &str) -> Result<[u8; 32], Failure> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let mut digest = [0; 32];
    hex::decode_to_slice(digits, &mut digest)
        .map_err(|_| Failure::usage(format!("{text:?} is not a SHA-256 of 64 hexadecimal digits")))?;
    Ok(digest)
}

pub(super) fn parse_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::{TrustArgs, parse_sha256, read_root};
    use clap::{CommandFactory, FromArgMatches, Parser};
    use waxseal_formats::code::Code;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: TrustArgs,
    }

    #[test]
    fn an_instance_is_not_added_without_its_root() {
        Cli::command().debug_assert();
        let parse = |line: &str| {
            let matches = Cli::command().try_get_matches_from(line.split(' '))?;
            Cli::from_arg_matches(&matches)
        };
        assert!(parse("trust add https://sign.corp").is_err());
        assert!(parse("trust add https://sign.corp --root a --root-sha256 b").is_err());
        assert!(parse("trust add https://sign.corp --root a --name corp").is_ok());
        assert!(parse("trust refresh").is_ok());
    }

    #[test]
    fn a_digest_has_64_digits() {
        let digits = "a".repeat(64);
        assert_eq!(parse_sha256(&digits).expect("digest"), [0xaa; 32]);
        assert_eq!(parse_sha256(&format!("sha256:{}", digits.to_uppercase())).expect("digest"), [0xaa; 32]);
        for text in ["", "aa", "sha512:aa", &"g".repeat(64), &"a".repeat(66)] {
            assert_eq!(parse_sha256(text).expect_err(text).code, Code::USAGE);
        }
        let failure = read_root(std::path::Path::new("/nonexistent/root.json")).expect_err("none");
        assert_eq!(failure.code, Code::INPUT_UNREADABLE);
    }
}
