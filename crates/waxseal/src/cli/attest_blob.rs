//! `waxseal attest-blob`: something is said about a file, signed, and written to a bundle.

use crate::cli::attest::PredicateArgs;
use crate::cli::flags::TrustArgs;
use crate::cli::identity_token::TokenArgs;
use crate::cli::keys;
use crate::cli::sign_blob::{self, Purpose, ServiceArgs, Setup};
use crate::cli::verify_blob::summary;
use crate::cli::{Failure, Output};
use crate::client::blob::BundleFile;
use crate::client::image::sign::Say;
use crate::client::key;
use crate::client::sign::{Ceremony, SignWith, Signed, SigningAlgorithm, ToSign};
use crate::client::verify::hash_file;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, HashAlgorithm};
use waxseal_formats::statement::{Statement, statement_about};

/// Say something about a file: a statement with its digest and a predicate is signed and written to a bundle.
/// The statement is not sent anywhere; only its digest is.
#[derive(Debug, Args)]
pub struct AttestBlobArgs {
    /// Where the bundle is written, with mode 0600; an existing file is replaced.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    predicate: PredicateArgs,
    /// The SHA-256 of the file in hexadecimal: the file itself is not read then, and only its name is taken.
    #[arg(long, value_name = "HEX", value_parser = sha256, requires = "artifact")]
    hash: Option<Digest>,
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
    #[arg(long, value_name = "NAME", value_parser = sign_blob::algorithm, default_value = "ecdsa-sha2-256-nistp256", help = sign_blob::algorithm_help())]
    signing_algorithm: SigningAlgorithm,
    /// Accepted for cosign's sake: there is nothing to confirm.
    #[arg(long, short = 'y', num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    yes: Option<bool>,
    /// The file. A statement may stand without it; else it has to be about it.
    #[arg(value_name = "FILE", required_unless_present = "statement")]
    artifact: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Why nothing was signed.
pub async fn run(args: AttestBlobArgs, output: Output) -> Result<(), Failure> {
    let digest = match (&args.hash, &args.artifact) {
        (Some(digest), _) => Some(digest.clone()),
        (None, Some(path)) => hash_file(path, &[HashAlgorithm::Sha256])
            .map_err(|error| Failure::new(error.code(), error.to_string()))?
            .into_iter()
            .next(),
        (None, None) => None,
    };
    let statement = statement(args.predicate.say()?, args.artifact.as_deref(), digest.as_ref())?;
    let purpose = if args.key.is_some() { Purpose::Key } else { Purpose::Identity };
    let Setup { services, root, audience, login, transport } = args.services.setup(&args.trust, purpose).await?;
    let file = BundleFile::open(&args.bundle).map_err(|error| Failure::file(&args.bundle, &error))?;
    let ceremony = Ceremony { transport: &transport, services: &services, root: &root };
    let what = ToSign::Statement(statement);
    let signed = if let Some(reference) = &args.key {
        let key = key::open(reference).map_err(|error| keys::failure(&error))?;
        ceremony.sign(SignWith::Key(key.as_ref()), &what).await
    } else {
        let token = args.token.token(&transport, &audience, login.as_ref()).await?;
        ceremony.sign(SignWith::Identity { token: &token, algorithm: args.signing_algorithm }, &what).await
    };
    let Signed { bundle, evidence, .. } = signed.map_err(|error| sign_blob::failure(&error))?;
    file.write(&bundle.to_json()).map_err(|error| Failure::file(&args.bundle, &error))?;
    output.say(&format!("Wrote {}", args.bundle.display()));
    if output == Output::Text {
        summary(&evidence).iter().for_each(|line| output.say(line));
    }
    output.data("", &json!({"bundle": args.bundle, "evidence": evidence}))
}

/// The statement that is signed, byte for byte.
fn statement(say: Say, artifact: Option<&Path>, digest: Option<&Digest>) -> Result<Vec<u8>, Failure> {
    match (say, artifact, digest) {
        (Say::Predicate { predicate_type, predicate }, Some(artifact), Some(digest)) => {
            // sigstore-python takes no subject without a name.
            let name = artifact.file_name().unwrap_or(artifact.as_os_str()).to_string_lossy();
            Ok(statement_about(&name, digest, &predicate_type, &predicate))
        }
        (Say::Statement(statement), artifact, digest) => {
            let parsed = Statement::from_json(&statement)
                .map_err(|error| Failure::new(error.code(), format!("--statement: {error}")))?;
            match (artifact, digest) {
                (Some(artifact), Some(digest)) if !parsed.is_about(digest) => {
                    let message = format!("the statement is not about {}, which is {digest}", artifact.display());
                    Err(Failure::new(Code::STATEMENT_SUBJECT, message))
                }
                _ => Ok(statement),
            }
        }
        (Say::Predicate { .. } | Say::Signature { .. }, ..) => {
            Err(Failure::usage("which file the predicate is about is not said"))
        }
    }
}

fn sha256(text: &str) -> Result<Digest, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    Digest::parse(&format!("sha256:{hex}")).ok_or_else(|| "a SHA-256 has 64 hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{sha256, statement};
    use crate::client::image::sign::Say;
    use serde_json::json;
    use std::path::Path;
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::HashAlgorithm;
    use waxseal_formats::statement::{Statement, StatementVersion};

    #[test]
    fn the_subject_has_the_files_name_and_digest() {
        let digest = HashAlgorithm::Sha256.digest(b"a");
        let say = Say::Predicate { predicate_type: "https://p".into(), predicate: json!({"a": 1}) };
        let document = statement(say.clone(), Some(Path::new("out/a.tar")), Some(&digest)).expect("statement");
        let parsed = Statement::from_json(&document).expect("parsed");
        assert_eq!((parsed.version, parsed.predicate_type.as_str()), (StatementVersion::V1, "https://p"));
        assert_eq!(parsed.subjects[0].name.as_deref(), Some("a.tar"));
        assert!(parsed.is_about(&digest));
        assert_eq!(statement(say, None, None).expect_err("refused").code, Code::USAGE);
    }

    #[test]
    fn a_statement_has_to_be_about_the_file() {
        let digest = HashAlgorithm::Sha256.digest(b"a");
        let document = waxseal_formats::statement::statement_about("a", &digest, "p", &json!({}));
        let say = || Say::Statement(document.clone());
        assert_eq!(statement(say(), None, None).expect("as it is"), document);
        assert_eq!(statement(say(), Some(Path::new("b")), Some(&digest)).expect("as it is"), document);
        let other = HashAlgorithm::Sha256.digest(b"b");
        let failure = statement(say(), Some(Path::new("b")), Some(&other)).expect_err("refused");
        assert_eq!(failure.code, Code::STATEMENT_SUBJECT);
    }

    #[test]
    fn a_hash_is_a_sha256() {
        let digest = HashAlgorithm::Sha256.digest(b"a");
        assert_eq!(sha256(&digest.to_hex()), Ok(digest.clone()));
        assert_eq!(sha256(&digest.to_string()), Ok(digest));
        assert!(sha256("00").is_err() && sha256("sha512:00").is_err());
    }
}
