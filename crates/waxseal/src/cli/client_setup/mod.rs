//! `waxseal client-setup`: the lines that make another client use an instance, ready to be pasted into a shell.

mod cosign;
mod gitsign;
mod kubernetes;
mod own;
mod sigstore_js;
mod sigstore_python;

use crate::cli::token::origin;
use crate::cli::{Failure, Output};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use url::Url;
use waxseal_formats::client_config::ClientConfig;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyDetails, sha256};
use waxseal_formats::signing_config::ClientTrustConfig;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_formats::tuf::MAX_ROOT_LEN;
use waxseal_io::transport::{Http, PlainHttp, Request, Transport};

/// Largest trust material that is read, in bytes.
const MAX_CONFIG_LEN: usize = 4 << 20;

/// Arguments of `waxseal client-setup`.
#[derive(Debug, Clone, Args)]
pub struct ClientSetupArgs {
    /// The client.
    #[arg(value_enum, value_name = "NAME")]
    client: Client,
    /// The instance.
    #[arg(long, value_name = "URL")]
    instance: String,
    /// Whose signature the example makes and verifies.
    #[arg(long, value_name = "ID", default_value = "you@example.com")]
    identity: String,
    /// The issuer of that identity [default: the one that the instance names].
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Where files are written for clients that need some [default: waxseal-gitsign].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Speak plain http to an instance on another machine.
    #[arg(long)]
    allow_http: bool,
}

/// A client for which there are lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    /// cosign 3.
    Cosign,
    /// cosign 2.
    Cosign2,
    /// gitsign; writes the keys that it needs into files.
    Gitsign,
    /// sigstore-python 4.
    SigstorePython,
    /// sigstore-js, @sigstore/cli.
    SigstoreJs,
    /// Sigstore's policy-controller: a TrustRoot and a ClusterImagePolicy.
    PolicyController,
    /// Kyverno: a ClusterPolicy.
    Kyverno,
    /// This one.
    Waxseal,
}

/// One line with what it is for.
struct Step {
    about: &'static str,
    command: String,
}

/// What the lines are about.
struct Setup<'a> {
    instance: &'a str,
    root_sha256: &'a str,
    identity: &'a str,
    issuer: String,
    client_id: String,
    /// Whom tokens have to be meant for.
    audience: String,
    /// The instance has a demo provider.
    demo: bool,
}

/// What the instance serves for clients.
struct Fetched {
    root: Vec<u8>,
    client: ClientConfig,
    trusted_root: TrustedRoot,
}

/// Prints the lines, or the document that the client takes.
///
/// # Errors
/// `network.unreachable` if the instance does not serve its root, `usage`.
pub async fn run(args: ClientSetupArgs, output: Output) -> Result<(), Failure> {
    let instance = origin(&args.instance)?;
    let plain_http = if args.allow_http { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly };
    let fetched = Fetched::from(&Http::new(plain_http), &instance).await?;
    let root_sha256 = hex::encode(sha256(&fetched.root));
    let named = Some(fetched.client.oidc_issuer.clone()).filter(|issuer| !issuer.is_empty());
    let demo = named.as_deref() == Some(&format!("{instance}/idp"));
    let issuer = args.issuer.or(named).unwrap_or_else(|| "https://issuer.example".to_owned());
    let client_id = fetched.client.client_id.clone();
    let audience = fetched.client.audience.clone();
    let (identity, root_sha256) = (&*args.identity, &*root_sha256);
    let setup = Setup { instance: &instance, root_sha256, identity, issuer, client_id, audience, demo };
    output.say(
        "The checksum is that of the root which the instance serves now: compare it with one that you have from its operator.",
    );
    let document = |text: String| {
        let value = json!({"instance": instance, "rootSha256": root_sha256, "document": text});
        output.data(text.trim_end(), &value)
    };
    let steps = match args.client {
        Client::Cosign => cosign::steps(&setup),
        Client::Cosign2 => cosign::steps_of_version_2(&setup),
        Client::SigstorePython => sigstore_python::steps(&setup),
        Client::SigstoreJs => sigstore_js::steps(&setup),
        Client::Waxseal => own::steps(&setup),
        Client::PolicyController => return document(kubernetes::policy_controller(&setup, &fetched)),
        Client::Kyverno => return document(kubernetes::kyverno(&setup, &fetched)?),
        Client::Gitsign => {
            let directory = args.dir.unwrap_or_else(|| PathBuf::from("waxseal-gitsign"));
            let directory = std::path::absolute(&directory).map_err(|error| Failure::file(&directory, &error))?;
            gitsign::write(&setup, &fetched, &directory)?;
            output.say(&format!("the keys that gitsign needs, and its environment, are in {}", directory.display()));
            gitsign::steps(&setup, &directory)
        }
    };
    let text: Vec<String> = steps.iter().map(|Step { about, command }| format!("# {about}\n{command}")).collect();
    let steps: Vec<_> =
        steps.iter().map(|Step { about, command }| json!({ "about": about, "command": command })).collect();
    output.data(&text.join("\n"), &json!({ "instance": instance, "rootSha256": root_sha256, "steps": steps }))
}

impl Fetched {
    async fn from(transport: &dyn Transport, instance: &str) -> Result<Self, Failure> {
        let malformed = |path: &str, error: &dyn std::fmt::Display| {
            Failure::new(Code::INPUT_MALFORMED, format!("{instance}{path}: {error}"))
        };
        let root = fetch(transport, instance, "/tuf/1.root.json", MAX_ROOT_LEN).await?;
        let client = fetch(transport, instance, "/client.json", MAX_CONFIG_LEN).await?;
        let client = ClientConfig::from_json(&client).map_err(|error| malformed("/client.json", &error))?;
        let config = fetch(transport, instance, "/trust-config.json", MAX_CONFIG_LEN).await?;
        let config = ClientTrustConfig::from_json(&config).map_err(|error| malformed("/trust-config.json", &error))?;
        Ok(Self { root, client, trusted_root: config.trusted_root })
    }
}

impl Setup<'_> {
    /// The keys of the logs that sign now, in PEM: of Rekor v1 and of certificates.
    ///
    /// # Errors
    /// `trusted-root.malformed` if there is none.
    fn log_keys(&self, root: &TrustedRoot) -> Result<(String, String), Failure> {
        let v1 = root.tlogs.iter().rev().find(|log| log.key_details == KeyDetails::PkixEcdsaP256Sha256);
        let v1 = v1.ok_or_else(|| self.missing("Rekor v1 log"))?;
        let ct = root.ctlogs.last().ok_or_else(|| self.missing("certificate log"))?;
        Ok((v1.public_key.to_pem(), ct.public_key.to_pem()))
    }

    fn missing(&self, what: &str) -> Failure {
        Failure::new(Code::TRUSTED_ROOT_MALFORMED, format!("the trusted root of {} has no {what}", self.instance))
    }
}

async fn fetch(transport: &dyn Transport, instance: &str, path: &str, max: usize) -> Result<Vec<u8>, Failure> {
    let url = Url::parse(&format!("{instance}{path}")).map_err(|error| Failure::usage(error.to_string()))?;
    let answer = transport.send(Request::get(url.clone()).max_body_len(max)).await;
    let answer = answer.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    if answer.status != 200 {
        return Err(Failure::new(Code::NETWORK_UNREACHABLE, format!("{url} answers {}", answer.status))
            .hint("is this the URL of an instance?"));
    }
    Ok(answer.body.to_vec())
}

/// For clients that want the root as a file.
fn fetch_root(setup: &Setup<'_>) -> Step {
    let Setup { instance, root_sha256, .. } = setup;
    Step {
        about: "Once: fetch the root and check it.",
        command: format!(
            "curl -fsS -o root.json {instance}/tuf/1.root.json && echo \"{root_sha256}  root.json\" | sha256sum -c -"
        ),
    }
}

fn token(setup: &Setup<'_>) -> Step {
    if setup.demo {
        return Step {
            about: "A token of the demo provider of `waxseal up`, good for one hour.",
            command: format!(
                "TOKEN=$(waxseal token --instance {} --identity {})",
                setup.instance,
                quoted(setup.identity)
            ),
        };
    }
    Step {
        about: "A token of your identity provider; CI systems have one in the environment, or give one for this audience.",
        command: format!(
            "TOKEN=${{SIGSTORE_ID_TOKEN:?{}}}",
            quoted(&format!("has to be a token with the audience {}", setup.audience))
        ),
    }
}

/// A word for a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fetched, Setup, cosign, quoted, sigstore_python};
    use waxseal_formats::code::Code;
    use waxseal_io::transport::replay::Replay;

    const ROOT: &str = "http://127.0.0.1:7480/tuf/1.root.json";

    #[tokio::test]
    async fn what_is_no_instance_is_told_from_one_that_cannot_be_reached() {
        let replay = Replay::new();
        replay.answer("GET", ROOT, 404, "");
        let failure = Fetched::from(&replay, "http://127.0.0.1:7480").await.err().expect("no root");
        assert_eq!((failure.code, failure.exit), (Code::NETWORK_UNREACHABLE, 20));
        replay.forget("GET", ROOT);
        replay.answer("GET", ROOT, 200, "{}");
        replay.answer("GET", "http://127.0.0.1:7480/client.json", 200, "nonsense");
        let failure = Fetched::from(&replay, "http://127.0.0.1:7480").await.err().expect("no configuration");
        assert_eq!(failure.code, Code::INPUT_MALFORMED);
    }

    #[test]
    fn the_lines_are_those_that_were_seen_to_work() {
        let setup = Setup {
            instance: "http://127.0.0.1:7480",
            root_sha256: "ab12",
            identity: "alice@corp.example",
            issuer: "http://127.0.0.1:7480/idp".to_owned(),
            client_id: "sigstore".to_owned(),
            audience: "sigstore".to_owned(),
            demo: true,
        };
        let lines = |steps: Vec<super::Step>| steps.into_iter().map(|step| step.command).collect::<Vec<_>>();
        assert_eq!(
            lines(cosign::steps(&setup)),
            [
                "cosign initialize --mirror http://127.0.0.1:7480/tuf --root http://127.0.0.1:7480/tuf/1.root.json --root-checksum ab12",
                "TOKEN=$(waxseal token --instance http://127.0.0.1:7480 --identity alice@corp.example)",
                "cosign sign-blob --yes --identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact",
                "cosign verify-blob --bundle artifact.sigstore.json --certificate-identity alice@corp.example --certificate-oidc-issuer http://127.0.0.1:7480/idp artifact",
            ]
        );
        assert_eq!(
            lines(sigstore_python::steps(&setup)),
            [
                "curl -fsS -o root.json http://127.0.0.1:7480/tuf/1.root.json && echo \"ab12  root.json\" | sha256sum -c -",
                "sigstore --instance http://127.0.0.1:7480/tuf trust-instance root.json",
                "TOKEN=$(waxseal token --instance http://127.0.0.1:7480 --identity alice@corp.example)",
                "sigstore --instance http://127.0.0.1:7480/tuf sign --identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact",
                "sigstore --instance http://127.0.0.1:7480/tuf verify identity --bundle artifact.sigstore.json --cert-identity alice@corp.example --cert-oidc-issuer http://127.0.0.1:7480/idp artifact",
            ]
        );
        // What an instance says about itself is no part of a command.
        let setup = Setup { audience: "'$(touch x)}`id`".to_owned(), demo: false, ..setup };
        let asked = r"TOKEN=${SIGSTORE_ID_TOKEN:?'has to be a token with the audience '\''$(touch x)}`id`'}";
        assert_eq!(lines(vec![super::token(&setup)]), [asked]);
    }

    #[test]
    fn an_identity_is_one_word_of_the_shell() {
        assert_eq!(quoted("alice@corp.example"), "alice@corp.example");
        assert_eq!(quoted("a b'; rm -rf ~"), r"'a b'\''; rm -rf ~'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }
}
