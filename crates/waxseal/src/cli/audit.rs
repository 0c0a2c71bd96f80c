//! `waxseal audit`: who was given a certificate and why, who was refused, and whether anything is missing.

use crate::cli::{Failure, Output};
use crate::server::config::keys_of;
use crate::server::drive::audit::{Fault, Head, Leaf, Read, Row, read};
use crate::server::material::Material;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use waxseal_authority::audit::{ISSUED, NAMES_MESSAGE, Names, SUBMITTED, names_key};
use waxseal_formats::code::Code;
use waxseal_io::signer::Signer as _;
use waxseal_io::token::process_environment;

/// Look into the audit log of an instance.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that the chain of records is whole and that every certificate has its row, and every row its certificate.
    Verify(VerifyArgs),
    /// Print the rows, one JSON object a line.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The data directory of the instance, which may be running.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The head that an earlier `audit verify` printed: the log has to lead through it.
    #[arg(long, value_name = "RECORD:DIGEST")]
    through: Option<String>,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The data directory of the instance, which may be running.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Only rows with this name in them, such as an e-mail address. Where names are hashed this needs the instance's keys.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// `log.store-corrupt` if something is changed or missing, `log.store-behind` if the log does not lead through a head that it had;
/// what keeps the log from being read.
pub async fn run(args: AuditArgs, output: Output) -> Result<(), Failure> {
    match args.command {
        AuditCommand::Verify(args) => verify(&args, output),
        AuditCommand::Export(args) => export(&args),
    }
}

/// Reads the audit log, and tells `head` of every record and `row` of every row; returns what is wrong besides.
fn look_through(
    data_dir: &Path,
    head: impl FnMut(Head),
    mut row: impl FnMut(&Row),
) -> Result<(Read, Vec<String>), Failure> {
    let mut wrong = Vec::new();
    let found = read(&data_dir.join("logs/ct"), head, |one| {
        wrong.extend(misplaced(&one));
        row(&one);
    });
    let found = found.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    wrong.extend(found.faults.iter().map(told));
    Ok((found, wrong))
}

fn faultless(wrong: &[String]) -> Result<(), Failure> {
    let Some(first) = wrong.first() else { return Ok(()) };
    let message = format!("the audit log has {} faults, the first: {first}", wrong.len());
    Err(Failure::new(Code::LOG_STORE_CORRUPT, message))
}

fn verify(args: &VerifyArgs, output: Output) -> Result<(), Failure> {
    let through = args.through.as_deref().map(parse_head).transpose()?;
    let (mut met, mut rows) = (through.is_none(), 0_u64);
    let (found, wrong) = look_through(
        &args.data_dir,
        |head| met |= through == Some(head),
        |_| {
            rows = rows.saturating_add(1);
        },
    )?;
    for fault in &wrong {
        output.say(fault);
    }
    if found.unfinished {
        output.say(
            "the last record is not whole: it is being written, was when the process ended, or was damaged. Its rows are not counted",
        );
    }
    let value = summary(&found, rows, &wrong);
    faultless(&wrong).map_err(|failure| failure.details(value.clone()))?;
    if !met {
        let message = format!("the audit log does not lead through {}", args.through.as_deref().unwrap_or_default());
        return Err(Failure::new(Code::LOG_STORE_BEHIND, message)
            .hint("it was cut off, or is an old copy")
            .details(value));
    }
    output.say(&format!("{rows} rows about {} certificates: complete and in order", found.entries));
    if found.before > 0 {
        output.say(&format!("{} certificates are from before there was an audit log", found.before));
    }
    if let Some(head) = &found.head {
        output.say(&format!("keep this head elsewhere, and pass it with --through next time: {}", head_text(head)));
    }
    output.data("", &value)
}

/// A row that stands beside an entry and is about none, or the other way round.
fn misplaced(row: &Row) -> Option<String> {
    let event = event(row);
    let about_entry = matches!(event.as_deref(), Some(ISSUED | SUBMITTED));
    match (event, about_entry == row.leaf.is_some()) {
        (None, _) => Some(format!("record {} has a row that is no JSON object with an `event`", row.record)),
        (Some(event), false) if about_entry => {
            Some(format!("record {} has a row `{event}` without an entry", row.record))
        }
        (Some(event), false) => Some(format!("record {} has a row `{event}` beside an entry", row.record)),
        (Some(_), true) => None,
    }
}

fn event(row: &Row) -> Option<String> {
    let value: Value = serde_json::from_slice(&row.text).ok()?;
    Some(value.get("event")?.as_str()?.to_owned())
}

fn told(fault: &Fault) -> String {
    match fault {
        Fault::Malformed { record } => format!("the rows of record {record} cannot be read"),
        Fault::Entry { leaf: Leaf { index, hash }, rows: 0 } => {
            format!(
                "nobody wrote down why there is the certificate with index {index} and leaf hash {}",
                hex::encode(hash)
            )
        }
        Fault::Entry { leaf: Leaf { index, .. }, rows } => {
            format!("{rows} rows are about the certificate with index {index}")
        }
        Fault::Lost { published, there } => {
            format!("the published checkpoint covers {published} certificates, and the intact records have {there}")
        }
    }
}

fn summary(found: &Read, rows: u64, faults: &[String]) -> Value {
    let head = found.head.as_ref().map(|head| json!({"record": head.record, "digest": hex::encode(head.digest)}));
    json!({"rows": rows, "certificates": found.entries, "before": found.before, "faults": faults, "unfinished": found.unfinished,
        "head": head})
}

fn head_text(head: &Head) -> String {
    format!("{}:{}", head.record, hex::encode(head.digest))
}

fn parse_head(text: &str) -> Result<Head, Failure> {
    let parsed = || {
        let (record, digest) = text.split_once(':')?;
        let digest = hex::decode(digest).ok()?.try_into().ok()?;
        Some(Head { record: record.parse().ok()?, digest })
    };
    parsed().ok_or_else(|| Failure::usage(format!("`{text}` is no head such as `audit verify` prints")))
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let wanted = match &args.name {
        None => Vec::new(),
        Some(name) => vec![Value::String(name.clone()), Value::String(names(&args.data_dir)?.write(name))],
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut outcome = Ok(());
    let (_, wrong) = look_through(
        &args.data_dir,
        |_| {},
        |row| {
            let Ok(Value::Object(mut object)) = serde_json::from_slice(&row.text) else { return };
            if !wanted.is_empty() && !object.values().any(|value| contains(value, &wanted)) {
                return;
            }
            object.insert("record".to_owned(), json!(row.record));
            if let Some(Leaf { index, hash }) = &row.leaf {
                object.insert("leaf".to_owned(), json!({"index": index, "hash": hex::encode(hash)}));
            }
            if outcome.is_ok() {
                outcome = writeln!(out, "{}", Value::Object(object));
            }
        },
    )?;
    outcome.and_then(|()| out.flush()).map_err(|error| Failure::file(Path::new("standard output"), &error))?;
    faultless(&wrong)
}

fn contains(value: &Value, wanted: &[Value]) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| contains(value, wanted)),
        Value::Object(members) => members.values().any(|value| contains(value, wanted)),
        value => wanted.contains(value),
    }
}

/// How names are hashed here.
fn names(data_dir: &Path) -> Result<Names, Failure> {
    let failed = |code: Code, error: &dyn std::fmt::Display| Failure::new(code, error.to_string());
    let keys = keys_of(data_dir, process_environment).map_err(|error| failed(error.code(), &error))?;
    let material = Material::read(data_dir, &Arc::new(keys)).map_err(|error| failed(error.code(), &error))?;
    let signature = material.audit_signer.sign(NAMES_MESSAGE).map_err(|error| failed(Code::KEY_UNAVAILABLE, &error))?;
    Ok(Names::Hashed(names_key(&signature)))
}
