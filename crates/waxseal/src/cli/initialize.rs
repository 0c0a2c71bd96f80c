//! `waxseal initialize`: `waxseal trust add` in cosign's spelling. It fills our store, not cosign's.

use crate::cli::trust::{add, allow, failure, parse_sha256, parse_url, read_root};
use crate::cli::{Failure, Output};
use crate::client::trust::{NewInstance, RootPin, TrustStore};
use clap::Args;
use std::path::Path;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::sha256;

/// Pin an instance by its TUF repository, with the flags of `cosign initialize`.
#[derive(Debug, Args)]
pub struct InitializeArgs {
    /// The TUF repository, such as https://sign.corp/tuf.
    #[arg(long, value_name = "URL")]
    mirror: String,
    /// The root metadata: a file, or a URL together with --root-checksum.
    #[arg(long, value_name = "FILE|URL", required_unless_present = "root_checksum")]
    root: Option<String>,
    /// SHA-256 of the root metadata; without --root, of the mirror's 1.root.json.
    #[arg(long, value_name = "HEX")]
    root_checksum: Option<String>,
    /// What to call the instance here; the host otherwise.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Speak plain http to it although it is on another machine.
    #[arg(long)]
    allow_http: bool,
}

/// Runs the command.
///
/// # Errors
/// As `waxseal trust add`.
pub async fn run(args: InitializeArgs, output: Output) -> Result<(), Failure> {
    let store = TrustStore::of_user().map_err(failure)?;
    let root = root_pin(args.root.as_deref(), args.root_checksum.as_deref())?;
    let mirror = args.mirror.trim_end_matches('/');
    let new = NewInstance {
        url: mirror.strip_suffix("/tuf").unwrap_or(mirror).to_owned(),
        mirror: Some(mirror.to_owned()),
        name: args.name,
        root,
        plain_http: allow(args.allow_http),
    };
    add(&store, new, output).await
}

fn root_pin(root: Option<&str>, checksum: Option<&str>) -> Result<RootPin, Failure> {
    let digest = checksum.map(parse_sha256).transpose()?;
    match (root.map(|root| (root, parse_url(root))), digest) {
        (None, Some(digest)) => Ok(RootPin::Sha256(digest)),
        (Some((_, Some(url))), Some(digest)) => Ok(RootPin::At(url, digest)),
        (Some((_, Some(_))), None) => {
            Err(Failure::usage("a root from a URL is trusted only together with --root-checksum"))
        }
        (Some((path, None)), digest) => {
            let bytes = read_root(Path::new(path))?;
            let found = sha256(&bytes);
            match digest {
                Some(expected) if expected != found => {
                    let message =
                        format!("{path} has SHA-256 {}, expected {}", hex::encode(found), hex::encode(expected));
                    Err(Failure::new(Code::TRUSTED_ROOT_PIN, message))
                }
                _ => Ok(RootPin::Bytes(bytes)),
            }
        }
        (None, None) => Err(Failure::usage("--root or --root-checksum is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::root_pin;
    use crate::client::trust::RootPin;
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::sha256;

    #[test]
    fn a_root_from_the_network_needs_its_checksum() {
        let url = "http://127.0.0.1:7480/tuf/1.root.json";
        let digest = "ab".repeat(32);
        assert_eq!(root_pin(Some(url), None).expect_err("refused").code, Code::USAGE);
        assert_eq!(root_pin(None, None).expect_err("refused").code, Code::USAGE);
        assert!(matches!(root_pin(Some(url), Some(&digest)), Ok(RootPin::At(..))));
        assert!(matches!(root_pin(None, Some(&digest)), Ok(RootPin::Sha256(_))));
    }

    #[test]
    fn a_root_file_with_another_checksum_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("root.json");
        std::fs::write(&path, "root").expect("written");
        let path = path.to_str().expect("text");
        let right = hex::encode(sha256(b"root"));
        assert!(matches!(root_pin(Some(path), None), Ok(RootPin::Bytes(_))));
        assert!(matches!(root_pin(Some(path), Some(&right)), Ok(RootPin::Bytes(_))));
        let failure = root_pin(Some(path), Some(&"ab".repeat(32))).expect_err("refused");
        assert_eq!(failure.code, Code::TRUSTED_ROOT_PIN);
    }
}
