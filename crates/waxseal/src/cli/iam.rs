//! `waxseal iam test`: what a token would get, and why.

use crate::cli::{Failure, Output};
use crate::server::config::file::FILE;
use crate::server::config::{self, Config, default_data_dir};
use crate::server::idp::{self, Idp};
use crate::server::{issuer_keys, tuf};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use waxseal_authority::oidc::{Claims, TokenError, UnverifiedToken};
use waxseal_authority::rules::{Denied, Grant, Mismatch, MismatchReason, Rules};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::KeyKind;
use waxseal_formats::extension::SubjectAltName;
use waxseal_formats::jwt::{Jwk, JwkMaterial, JwkSet, Jws, MAX_KEY_SET_LEN, MAX_TOKEN_LEN, assemble, signing_input};
use waxseal_formats::pattern::Pattern;
use waxseal_io::jwks::Jwks;
use waxseal_io::signer::{KeyPair, Signer as _};
use waxseal_io::token::process_environment;
use waxseal_io::transport::{Http, PlainHttp};
use waxseal_io::{file, system};

/// Find out who may sign.
#[derive(Debug, Args)]
pub struct IamArgs {
    #[command(subcommand)]
    command: IamCommand,
}

#[derive(Debug, Subcommand)]
enum IamCommand {
    /// Say whether a token would get a certificate: by which rule and for whom, or what the nearest rules did not like.
    Test(Box<TestArgs>),
}

#[derive(Debug, Args)]
struct TestArgs {
    /// A file with the token, or - for standard input.
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// The rules file.
    #[arg(long, value_name = "FILE", group = "which")]
    rules: Option<PathBuf>,
    /// The configuration that names the rules.
    #[arg(long, value_name = "FILE", group = "which")]
    config: Option<PathBuf>,
    /// The data directory of an instance [default: the one of `waxseal up`].
    #[arg(long, value_name = "DIR", group = "which")]
    data_dir: Option<PathBuf>,
    /// The issuer's keys, a JSON Web Key Set, instead of those that it publishes.
    #[arg(long, value_name = "FILE", group = "how")]
    keys: Option<PathBuf>,
    /// Believe the token: its signature is not checked, and nobody is asked.
    #[arg(long, group = "how")]
    unverified: bool,
    /// Judge the token as of this time, such as 2026-01-31T12:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// Runs the command.
///
/// # Errors
/// `rule.denied` or a `token.…` code if there would be no certificate; what keeps the question from being answered.
pub async fn run(args: IamArgs, output: Output) -> Result<(), Failure> {
    let IamCommand::Test(args) = args.command;
    let token = read_token(&args.token)?;
    let Instance { rules, rules_file, own } = instance(&args)?;
    let now = args.at.unwrap_or_else(system::now);
    let claims = verify(&args, &token, &rules, (rules_file.as_deref(), own), now).await?;
    match rules.decide(&claims) {
        Ok(grant) => {
            for line in summary(&grant) {
                output.say(&line);
            }
            output.data("", &admitted(&grant, args.unverified))
        }
        Err(denied) => {
            if output == Output::Text {
                for line in nearest(&denied) {
                    output.say(&line);
                }
            }
            let details = json!({"decision": "denied", "nearest": mismatches(&denied)});
            Err(Failure::new(denied.code(), denied.to_string()).details(details))
        }
    }
}

/// What decides, and the keys of issuers that need not be asked.
struct Instance {
    rules: Rules,
    rules_file: Option<PathBuf>,
    own: Vec<(String, JwkSet)>,
}

fn instance(args: &TestArgs) -> Result<Instance, Failure> {
    let of_file = |path: Option<PathBuf>| -> Result<Instance, Failure> {
        let rules = config::rules(path.as_deref(), &[]);
        let rules = rules.map_err(|error| Failure::new(error.code(), error.to_string()))?;
        Ok(Instance { rules, rules_file: path, own: Vec::new() })
    };
    let of_config = |path: &Path| {
        let config = Config::read(path).map_err(|error| Failure::new(error.code(), error.to_string()))?;
        of_file(config.settings.rules)
    };
    if let Some(path) = &args.rules {
        return of_file(Some(path.clone()));
    }
    if let Some(path) = &args.config {
        return of_config(path);
    }
    let data_dir = match &args.data_dir {
        Some(directory) => directory.clone(),
        None => default_data_dir(process_environment).map_err(|error| Failure::new(error.code(), error.to_string()))?,
    };
    if data_dir.join(FILE).exists() {
        return of_config(&data_dir.join(FILE));
    }
    of_demo(&data_dir)
}

/// The default rules of `up`, and the demo provider's own keys.
fn of_demo(data_dir: &Path) -> Result<Instance, Failure> {
    let failed = |code: Code, error: &dyn std::fmt::Display| Failure::new(code, error.to_string());
    let told = tuf::published(data_dir).map_err(|error| failed(error.code(), &error))?;
    let Some(told) = told else {
        let message = format!("{} holds no instance", data_dir.display());
        return Err(Failure::new(Code::INPUT_UNREADABLE, message)
            .hint("name the rules with --rules, the configuration with --config, or another --data-dir"));
    };
    let known = idp::issuers(&told.url).map_err(|error| failed(error.code(), &error))?;
    let rules = config::rules(None, &known).map_err(|error| failed(error.code(), &error))?;
    let idp = Idp::open(data_dir, &told.url).map_err(|error| failed(error.code(), &error))?;
    Ok(Instance { rules, rules_file: None, own: idp.keys() })
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let limit = MAX_TOKEN_LEN.saturating_add(1024);
    let failed = |error: std::io::Error| Failure::file(path, &error);
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        std::io::stdin().take(limit).read_to_end(&mut bytes).map_err(failed)?;
        bytes
    } else {
        let bytes = file::read(path, limit).map_err(failed)?;
        bytes.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?
    };
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| Failure::new(Code::TOKEN_MALFORMED, format!("{} is no token", path.display())))?;
    Ok(text.trim().to_owned())
}

async fn verify(
    args: &TestArgs,
    token: &str,
    rules: &Rules,
    (rules_file, own): (Option<&Path>, Vec<(String, JwkSet)>),
    now: Timestamp,
) -> Result<Claims, Failure> {
    let refused = |error: TokenError| {
        let failure = Failure::new(error.code(), error.to_string());
        match error {
            TokenError::Expired { .. } => failure.hint("--at judges it as of another time"),
            TokenError::Signature | TokenError::NoKey { .. } => failure.hint("--unverified believes it"),
            _ => failure,
        }
    };
    let parsed = UnverifiedToken::parse(token).map_err(refused)?;
    let Some(accepted) = rules.accepted(parsed.issuer()) else {
        return Err(refused(TokenError::Issuer { issuer: parsed.issuer().to_owned() }));
    };
    if args.unverified {
        let (signed, keys) = signed_by_ourselves(token)?;
        let believed = UnverifiedToken::parse(&signed).map_err(refused)?;
        return believed.verify(accepted.issuer(), &keys, now).map_err(refused);
    }
    let keys = match &args.keys {
        Some(path) => Arc::new(key_set(path)?),
        None => {
            let jwks = Jwks::new(Arc::new(Http::new(PlainHttp::LoopbackOnly)), own);
            jwks.replace_sources(issuer_keys::sources(rules, rules_file));
            let keys = jwks.keys(accepted.issuer().url(), parsed.key_id()).await;
            keys.map_err(|error| {
                Failure::new(error.code(), error.to_string())
                    .hint("--keys takes them from a file, --unverified needs none")
            })?
        }
    };
    parsed.verify(accepted.issuer(), &keys, now).map_err(refused)
}

/// The same claims under a key that is made for it: what nobody has verified is not turned into verified claims otherwise.
fn signed_by_ourselves(token: &str) -> Result<(String, JwkSet), Failure> {
    let malformed = |error: &dyn std::fmt::Display| Failure::new(Code::TOKEN_MALFORMED, error.to_string());
    let claims = Jws::parse(token).and_then(|jws| jws.claims()).map_err(|error| malformed(&error))?;
    let key = KeyPair::generate(KeyKind::Ed25519).map_err(|error| malformed(&error))?;
    let material = JwkMaterial::of(key.public_key()).map_err(|error| malformed(&error))?;
    let input = signing_input("EdDSA", "believed", &claims);
    let signature = key.sign(input.as_bytes()).map_err(|error| malformed(&error))?;
    let public = Jwk { key_id: Some("believed".to_owned()), algorithm: None, material };
    Ok((assemble(&input, &signature), JwkSet::new(vec![public])))
}

fn key_set(path: &Path) -> Result<JwkSet, Failure> {
    let bytes = file::read(path, MAX_KEY_SET_LEN).map_err(|error| Failure::file(path, &error))?;
    let bytes = bytes.ok_or_else(|| Failure::file(path, &std::io::ErrorKind::NotFound.into()))?;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Code::INPUT_MALFORMED, format!("{} is no JSON Web Key Set: {error}", path.display()))
    };
    JwkSet::from_json(&bytes).map_err(|error| failed(&error))
}

fn summary(grant: &Grant) -> Vec<String> {
    let mut lines = vec![
        format!("admitted by the rule `{}`", grant.rule()),
        format!("  identity  {}", grant.subject_alt_name().as_str()),
        format!("  issuer    {}", grant.issuer()),
    ];
    lines.extend(grant.matched().iter().map(|matched| format!("  matched   {}: {}", matched.claim, matched.value)));
    lines.extend(grant.certificates_per_minute().map(|limit| format!("  limit     {limit} certificates a minute")));
    lines
}

fn admitted(grant: &Grant, unverified: bool) -> Value {
    let kind = match grant.subject_alt_name() {
        SubjectAltName::Email(_) => "email",
        SubjectAltName::Uri(_) => "uri",
        SubjectAltName::Username(_) => "otherName",
    };
    let extensions = grant.extensions().iter().map(|(oid, text)| (oid.name().to_owned(), json!(text)));
    let extensions: serde_json::Map<_, _> = extensions.collect();
    let matched: Vec<_> =
        grant.matched().iter().map(|matched| json!({"claim": matched.claim, "value": matched.value})).collect();
    let texts = |patterns: &[Pattern]| patterns.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>();
    let artifacts = grant.artifacts();
    json!({
        "decision": "admitted",
        "signature": if unverified { "not checked" } else { "verified" },
        "rule": grant.rule(),
        "issuer": grant.issuer(),
        "subject": grant.subject(),
        "subjectAlternativeName": {"type": kind, "value": grant.subject_alt_name().as_str()},
        "extensions": extensions,
        "matched": matched,
        "artifacts": {"images": texts(&artifacts.images), "repositories": texts(&artifacts.repositories)},
        "certificatesPerMinute": grant.certificates_per_minute(),
    })
}

/// Everything that the rules about this issuer did not like: whoever asks here may read the rules anyway.
fn nearest(denied: &Denied) -> Vec<String> {
    let mut lines = Vec::new();
    for Mismatch { rule, reasons } in denied.nearest() {
        lines.push(format!("rule `{rule}`:"));
        lines.extend(reasons.iter().map(|reason| match reason {
            MismatchReason::Issuer { wanted } => format!("  issuer: expected {wanted}"),
            MismatchReason::Audience { wanted } => format!("  audience: expected {wanted}"),
            MismatchReason::Claim { claim, actual, wanted } => {
                let wanted: Vec<&str> = wanted.iter().map(Pattern::as_str).collect();
                let actual = actual.as_deref().unwrap_or("nothing");
                format!("  {claim}: expected {}, found {actual}", wanted.join(" or "))
            }
            MismatchReason::Condition { text, error: None } => format!("  when: {text} does not hold"),
            MismatchReason::Condition { text, error: Some(error) } => format!("  when: {text}: {error}"),
        }));
    }
    lines
}

fn mismatches(denied: &Denied) -> Vec<Value> {
    let reason = |reason: &MismatchReason| match reason {
        MismatchReason::Issuer { wanted } => json!({"kind": "issuer", "expected": [wanted]}),
        MismatchReason::Audience { wanted } => json!({"kind": "audience", "expected": [wanted]}),
        MismatchReason::Claim { claim, actual, wanted } => {
            let wanted: Vec<&str> = wanted.iter().map(Pattern::as_str).collect();
            let actual = actual.as_deref().and_then(|actual| serde_json::from_str::<Value>(actual).ok());
            json!({"kind": "claim", "claim": claim, "actual": actual, "expected": wanted})
        }
        MismatchReason::Condition { text, error } => json!({"kind": "when", "condition": text, "error": error}),
    };
    let one = |mismatch: &Mismatch| json!({"rule": mismatch.rule, "reasons": mismatch.reasons.iter().map(reason).collect::<Vec<_>>()});
    denied.nearest().into_iter().map(one).collect()
}
