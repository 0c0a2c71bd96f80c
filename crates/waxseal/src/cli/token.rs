//! `waxseal token`: an identity token from the demo provider of a running `up`.

use crate::cli::{Failure, Output};
use crate::server::config::{DEFAULT_LISTEN, default_data_dir};
use crate::server::idp::claims::{IssuerKind, MintRequest};
use crate::server::idp::{MAX_REQUEST_LEN, MINT_PATH, secret};
use crate::server::record::{self, Record};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Secret;
use waxseal_io::file;
use waxseal_io::token::{AUDIENCE, process_environment};
use waxseal_io::transport::{Http, PlainHttp, Request, Transport};

/// Arguments of `waxseal token`.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// The instance, started with `waxseal up`.
    #[arg(long, value_name = "URL", default_value_t = format!("http://{DEFAULT_LISTEN}"))]
    instance: String,
    /// Whom the token is about. For `--issuer email` it is `sub` and `email`; for `--issuer github` a workflow's URL,
    /// `https://github.com/OWNER/REPO/.github/workflows/FILE@REF`, or GitHub's subject `repo:OWNER/REPO:ref:REF`.
    #[arg(long, value_name = "ID")]
    identity: String,
    /// Which of the two issuers signs it.
    #[arg(long, value_enum, default_value_t = Issuer::Email)]
    issuer: Issuer,
    /// A file with a JSON object of further claims, which replace those that follow from the identity; never `iss`,
    /// `aud` or `exp`.
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// Whom the token is for.
    #[arg(long, value_name = "AUDIENCE", default_value = AUDIENCE)]
    audience: String,
    /// The instance's data directory, where the owner secret is. By default that of the running instance, else that of
    /// `up`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Issuer {
    /// `<instance>/idp`: people with e-mail addresses.
    Email,
    /// `<instance>/idp/github`: workflows with the claims of GitHub Actions.
    Github,
}

#[derive(Deserialize)]
struct Minted {
    token: String,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
}

/// Prints a token.
///
/// # Errors
/// `input.unreadable` without the owner secret or the claims file, `network.unreachable` without the instance,
/// `token.claim` for what the provider refuses.
pub async fn run(args: TokenArgs, output: Output) -> Result<(), Failure> {
    let instance = origin(&args.instance)?;
    let data_dir = data_dir(&args, &instance)?;
    let secret = secret::load(&data_dir).map_err(|error| {
        Failure::new(Code::INPUT_UNREADABLE, format!("the owner secret: {error}"))
            .hint("pass --data-dir with the data directory that `waxseal up` uses")
    })?;
    let claims = args.claims.as_deref().map_or_else(|| Ok(Map::new()), read_claims)?;
    let issuer = match args.issuer {
        Issuer::Email => IssuerKind::Email,
        Issuer::Github => IssuerKind::Github,
    };
    let request = MintRequest { issuer, identity: args.identity, audience: args.audience, claims };
    let token = mint(&Http::new(PlainHttp::LoopbackOnly), &instance, &secret, &request).await?;
    output.data(&token, &json!({ "token": token }))
}

/// Scheme, host and port of an instance's URL, without a slash at its end.
pub(crate) fn origin(text: &str) -> Result<String, Failure> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.path() == "/");
    let url = url.ok_or_else(|| Failure::usage(format!("--instance {text:?} is not the URL of an instance")));
    url.map(|url| url.origin().ascii_serialization())
}

fn data_dir(args: &TokenArgs, instance: &str) -> Result<PathBuf, Failure> {
    if let Some(given) = &args.data_dir {
        return Ok(given.clone());
    }
    let running = record::folder(process_environment).and_then(|folder| Record::find(&folder, instance));
    match running {
        Some(record) => Ok(record.data_dir),
        None => default_data_dir(process_environment).map_err(|error| Failure::new(error.code(), error.to_string())),
    }
}

fn read_claims(path: &Path) -> Result<Map<String, Value>, Failure> {
    let unreadable = |reason: &str| Failure::new(Code::INPUT_UNREADABLE, format!("{}: {reason}", path.display()));
    let malformed = |reason: &str| Failure::new(Code::INPUT_MALFORMED, format!("{}: {reason}", path.display()));
    let bytes = file::read(path, MAX_REQUEST_LEN).map_err(|error| unreadable(&error.to_string()))?;
    let bytes = bytes.ok_or_else(|| unreadable("there is no such file"))?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err(malformed("not a JSON object")),
        Err(error) => Err(malformed(&format!("not JSON: {error}"))),
    }
}

pub(crate) async fn mint(
    transport: &dyn Transport,
    instance: &str,
    secret: &Secret<String>,
    request: &MintRequest,
) -> Result<String, Failure> {
    let unusable = |reason: String| Failure::new(Code::INPUT_MALFORMED, format!("the answer of {instance}: {reason}"));
    let url = Url::parse(&format!("{instance}{MINT_PATH}")).map_err(|error| Failure::usage(error.to_string()))?;
    let body = serde_json::to_vec(request).map_err(|error| unusable(error.to_string()))?;
    let answer = transport.send(Request::post(url, "application/json", body).bearer(secret)).await;
    let answer = answer.map_err(|error| {
        Failure::new(error.code(), error.to_string())
            .hint("start the instance with `waxseal up`, or pass its --instance URL")
    })?;
    let refusal = serde_json::from_slice(&answer.body).map_or_else(|_| answer.excerpt(), |Refused { message }| message);
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map(|Minted { token }| token)
            .map_err(|error| unusable(error.to_string())),
        401 => Err(Failure::usage(format!("{instance} does not accept the owner secret of this data directory"))
            .hint("pass --data-dir with the data directory of this very instance")),
        400 | 413 => Err(Failure::new(Code::TOKEN_CLAIM, refusal)),
        404 => Err(Failure::usage(format!("{instance} has no demo identity provider"))
            .hint("only instances started with `waxseal up` have one")),
        status => Err(unusable(format!("{status} {refusal}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{mint, origin, read_claims};
    use crate::server::idp::claims::{IssuerKind, MintRequest};
    use crate::server::idp::{Idp, secret};
    use serde_json::{Map, json};
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::Secret;
    use waxseal_formats::jwt::Jws;
    use waxseal_io::transport::replay::Replay;
    use waxseal_io::transport::{Http, PlainHttp};

    const INSTANCE: &str = "http://127.0.0.1:7480";
    const MINT: &str = "http://127.0.0.1:7480/idp/mint";

    fn alice() -> MintRequest {
        MintRequest {
            issuer: IssuerKind::Email,
            identity: "alice@corp.example".to_owned(),
            audience: "sigstore".to_owned(),
            claims: Map::new(),
        }
    }

    async fn ask(replay: &Replay) -> Result<String, (Code, u8, String)> {
        let token = mint(replay, INSTANCE, &Secret::new("s3cret".to_owned()), &alice()).await;
        token.map_err(|failure| (failure.code, failure.exit, failure.message))
    }

    #[tokio::test]
    async fn a_token_is_asked_for_with_the_owner_secret() {
        let replay = Replay::new();
        replay.answer("POST", MINT, 200, r#"{"token":"a.b.c"}"#);
        assert_eq!(ask(&replay).await, Ok("a.b.c".to_owned()));
        let asked = &replay.asked()[0];
        assert_eq!(asked.header_value("authorization"), Some("Bearer s3cret"));
        let body: MintRequest = serde_json::from_slice(asked.body()).expect("a request");
        assert_eq!(body.identity, "alice@corp.example");
    }

    #[tokio::test]
    async fn the_demo_provider_grants_it_over_http() {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let instance = format!("http://{}", listener.local_addr().expect("an address"));
        let idp = std::sync::Arc::new(Idp::open(folder.path(), &instance).expect("a provider"));
        tokio::spawn(async move { axum::serve(listener, idp.routes()).await });
        let secret = secret::load(folder.path()).expect("a secret");
        let claims = Map::from_iter([("groups".to_owned(), json!(["a"]))]);
        let request = MintRequest { claims, ..alice() };
        let http = Http::new(PlainHttp::LoopbackOnly);
        let token = mint(&http, &instance, &secret, &request).await.expect("a token");
        let claims = Jws::parse(&token).expect("a token").claims().expect("claims");
        assert_eq!((&claims["sub"], &claims["groups"]), (&json!("alice@corp.example"), &json!(["a"])));
        let wrong = Secret::new("wrong".to_owned());
        assert_eq!(mint(&http, &instance, &wrong, &request).await.expect_err("refused").code, Code::USAGE);
        let taken = MintRequest { claims: Map::from_iter([("exp".to_owned(), json!(0))]), ..alice() };
        let failure = mint(&http, &instance, &secret, &taken).await.expect_err("refused");
        assert_eq!(failure.code, Code::TOKEN_CLAIM);
        assert!(failure.message.contains("`exp`"), "{}", failure.message);
    }

    #[tokio::test]
    async fn every_refusal_says_what_to_do() {
        for (status, body, code, exit) in [
            (400, r#"{"code":"token.claim","message":"the claim `iss` is …"}"#, Code::TOKEN_CLAIM, 1),
            (401, "{}", Code::USAGE, 2),
            (404, "", Code::USAGE, 2),
            (500, "oops", Code::INPUT_MALFORMED, 1),
            (200, "<html>", Code::INPUT_MALFORMED, 1),
        ] {
            let replay = Replay::new();
            replay.answer("POST", MINT, status, body);
            let (found, with, message) = ask(&replay).await.expect_err("refused");
            assert_eq!((found, with), (code, exit), "{status}");
            assert!(!message.contains("s3cret"));
        }
        let (code, exit, _) = ask(&Replay::new()).await.expect_err("down");
        assert_eq!((code, exit), (Code::NETWORK_UNREACHABLE, 20));
    }

    #[test]
    fn an_instance_is_an_origin() {
        assert_eq!(origin("http://127.0.0.1:7480/").expect("an origin"), INSTANCE);
        assert_eq!(origin("https://Sign.corp.example").expect("an origin"), "https://sign.corp.example");
        for text in ["", "127.0.0.1:7480", "http://127.0.0.1:7480/idp", "ftp://x.example"] {
            assert_eq!(origin(text).expect_err("refused").code, Code::USAGE, "{text}");
        }
    }

    #[test]
    fn the_claims_file_is_a_json_object() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("claims.json");
        assert_eq!(read_claims(&path).expect_err("refused").code, Code::INPUT_UNREADABLE, "missing");
        assert_eq!(read_claims(folder.path()).expect_err("refused").code, Code::INPUT_UNREADABLE, "a folder");
        for (content, code) in [
            ("[]", Code::INPUT_MALFORMED),
            ("{", Code::INPUT_MALFORMED),
            (&" ".repeat(100_000), Code::INPUT_UNREADABLE),
        ] {
            std::fs::write(&path, content).expect("written");
            let failure = read_claims(&path).expect_err("refused");
            assert_eq!(failure.code, code);
            assert!(failure.message.contains("claims.json"));
        }
        std::fs::write(&path, r#"{"groups":["a"]}"#).expect("written");
        assert_eq!(read_claims(&path).expect("claims").len(), 1);
    }
}
