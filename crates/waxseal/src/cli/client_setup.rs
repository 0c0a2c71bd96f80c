//! `waxseal client-setup`: the lines that make another client use an instance, ready to be pasted into a shell.

use crate::cli::token::origin;
use crate::cli::{Failure, Output};
use clap::{Args, ValueEnum};
use serde_json::json;
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::sha256;
use waxseal_formats::tuf::MAX_ROOT_LEN;
use waxseal_io::transport::{Http, PlainHttp, Request, Transport};

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
    /// Speak plain http to an instance on another machine.
    #[arg(long)]
    allow_http: bool,
}

/// A client for which there are lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    /// sigstore-python 4.
    SigstorePython,
    /// cosign 3.
    Cosign,
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
}

/// Prints the lines.
///
/// # Errors
/// `network.unreachable` if the instance does not serve its root, `usage`.
pub async fn run(args: ClientSetupArgs, output: Output) -> Result<(), Failure> {
    let instance = origin(&args.instance)?;
    let plain_http = if args.allow_http { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly };
    let root_sha256 = root_sha256(&Http::new(plain_http), &instance).await?;
    let setup = Setup { instance: &instance, root_sha256: &root_sha256, identity: &args.identity };
    let steps = match args.client {
        Client::SigstorePython => sigstore_python(&setup),
        Client::Cosign => cosign(&setup),
    };
    output.say(
        "The checksum is that of the root which the instance serves now: compare it with one that you have from its operator.",
    );
    let text: Vec<String> = steps.iter().map(|Step { about, command }| format!("# {about}\n{command}")).collect();
    let steps: Vec<_> =
        steps.iter().map(|Step { about, command }| json!({ "about": about, "command": command })).collect();
    output.data(&text.join("\n"), &json!({ "instance": instance, "rootSha256": root_sha256, "steps": steps }))
}

/// The checksum of the first root, by which every client pins the instance.
async fn root_sha256(transport: &dyn Transport, instance: &str) -> Result<String, Failure> {
    let url = Url::parse(&format!("{instance}/tuf/1.root.json")).map_err(|error| Failure::usage(error.to_string()))?;
    let answer = transport.send(Request::get(url.clone()).max_body_len(MAX_ROOT_LEN)).await;
    let answer = answer.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    if answer.status != 200 {
        return Err(Failure::new(Code::NETWORK_UNREACHABLE, format!("{url} answers {}", answer.status))
            .hint("is this the URL of an instance?"));
    }
    Ok(hex::encode(sha256(&answer.body)))
}

/// cosign 3 takes services and keys from the instance's TUF repository, so no line names a service.
fn cosign(setup: &Setup<'_>) -> Vec<Step> {
    let Setup { instance, root_sha256, .. } = setup;
    let (identity, issuer) = (quoted(setup.identity), issuer(setup));
    vec![
        Step {
            about: "Once: pin the instance by its root.",
            command: format!(
                "cosign initialize --mirror {instance}/tuf --root {instance}/tuf/1.root.json --root-checksum {root_sha256}"
            ),
        },
        token(setup),
        Step {
            about: "Sign a file.",
            command: "cosign sign-blob --yes --identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact"
                .to_owned(),
        },
        Step {
            about: "Verify it.",
            command: format!(
                "cosign verify-blob --bundle artifact.sigstore.json --certificate-identity {identity} --certificate-oidc-issuer {issuer} artifact"
            ),
        },
    ]
}

/// sigstore-python wants the root as a file.
fn sigstore_python(setup: &Setup<'_>) -> Vec<Step> {
    let Setup { instance, root_sha256, .. } = setup;
    let (identity, issuer) = (quoted(setup.identity), issuer(setup));
    vec![
        Step {
            about: "Once: fetch the root and check it.",
            command: format!(
                "curl -fsS -o root.json {instance}/tuf/1.root.json && echo \"{root_sha256}  root.json\" | sha256sum -c -"
            ),
        },
        Step {
            about: "Once: pin the instance by it.",
            command: format!("sigstore --instance {instance}/tuf trust-instance root.json"),
        },
        token(setup),
        Step {
            about: "Sign a file.",
            command: format!(
                "sigstore --instance {instance}/tuf sign --identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact"
            ),
        },
        Step {
            about: "Verify it.",
            command: format!(
                "sigstore --instance {instance}/tuf verify identity --bundle artifact.sigstore.json --cert-identity {identity} --cert-oidc-issuer {issuer} artifact"
            ),
        },
    ]
}

fn token(setup: &Setup<'_>) -> Step {
    Step {
        about: "A token of the demo provider of `waxseal up`, good for one hour; elsewhere one of your identity provider.",
        command: format!("TOKEN=$(waxseal token --instance {} --identity {})", setup.instance, quoted(setup.identity)),
    }
}

fn issuer(setup: &Setup<'_>) -> String {
    format!("{}/idp", setup.instance)
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
    use super::{Setup, cosign, quoted, root_sha256, sigstore_python};
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::sha256;
    use waxseal_io::transport::replay::Replay;

    const ROOT: &str = "http://127.0.0.1:7480/tuf/1.root.json";

    #[tokio::test]
    async fn the_checksum_is_that_of_the_root_that_is_served() {
        let replay = Replay::new();
        replay.answer("GET", ROOT, 200, "{}");
        assert_eq!(
            root_sha256(&replay, "http://127.0.0.1:7480").await.expect("a checksum"),
            hex::encode(sha256(b"{}"))
        );
        replay.forget("GET", ROOT);
        replay.answer("GET", ROOT, 404, "");
        let failure = root_sha256(&replay, "http://127.0.0.1:7480").await.expect_err("no root");
        assert_eq!((failure.code, failure.exit), (Code::NETWORK_UNREACHABLE, 20));
    }

    #[test]
    fn the_lines_are_those_that_were_seen_to_work() {
        let setup = Setup { instance: "http://127.0.0.1:7480", root_sha256: "ab12", identity: "alice@corp.example" };
        let lines = |steps: Vec<super::Step>| steps.into_iter().map(|step| step.command).collect::<Vec<_>>();
        assert_eq!(
            lines(cosign(&setup)),
            [
                "cosign initialize --mirror http://127.0.0.1:7480/tuf --root http://127.0.0.1:7480/tuf/1.root.json --root-checksum ab12",
                "TOKEN=$(waxseal token --instance http://127.0.0.1:7480 --identity alice@corp.example)",
                "cosign sign-blob --yes --identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact",
                "cosign verify-blob --bundle artifact.sigstore.json --certificate-identity alice@corp.example --certificate-oidc-issuer http://127.0.0.1:7480/idp artifact",
            ]
        );
        assert_eq!(
            lines(sigstore_python(&setup)),
            [
                "curl -fsS -o root.json http://127.0.0.1:7480/tuf/1.root.json && echo \"ab12  root.json\" | sha256sum -c -",
                "sigstore --instance http://127.0.0.1:7480/tuf trust-instance root.json",
                "TOKEN=$(waxseal token --instance http://127.0.0.1:7480 --identity alice@corp.example)",
                "sigstore --instance http://127.0.0.1:7480/tuf sign --identity-token \"$TOKEN\" --bundle artifact.sigstore.json artifact",
                "sigstore --instance http://127.0.0.1:7480/tuf verify identity --bundle artifact.sigstore.json --cert-identity alice@corp.example --cert-oidc-issuer http://127.0.0.1:7480/idp artifact",
            ]
        );
    }

    #[test]
    fn an_identity_is_one_word_of_the_shell() {
        assert_eq!(quoted("alice@corp.example"), "alice@corp.example");
        assert_eq!(quoted("a b'; rm -rf ~"), r"'a b'\''; rm -rf ~'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }
}
