//! `waxseal attest`: something is said about images, signed and put beside them.

use crate::cli::sign::{ImageSignArgs, sign_images};
use crate::cli::{Failure, Output};
use crate::client::image::sign::Say;
use crate::client::verify::read_bounded;
use clap::Args;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;
use waxseal_formats::code::Code;
use waxseal_formats::json;
use waxseal_formats::statement::{COSIGN_CUSTOM, MAX_STATEMENT_LEN, Statement, predicate_type_of_alias};
use waxseal_formats::tuf::format_time;
use waxseal_io::system;

/// Say something about images: a statement with their digest and a predicate is signed and put beside them in the registry.
#[derive(Debug, Args)]
pub struct AttestArgs {
    #[command(flatten)]
    image: ImageSignArgs,
    #[command(flatten)]
    predicate: PredicateArgs,
    /// As --upload=false.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    no_upload: bool,
    /// The images; a digest is safer than a tag.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// What is said.
#[derive(Debug, Clone, Args)]
pub struct PredicateArgs {
    /// The predicate, a JSON file, or `-` for standard input. Of type custom it may be any text.
    #[arg(long, value_name = "FILE", required_unless_present = "statement", conflicts_with = "statement")]
    predicate: Option<String>,
    /// A whole in-toto statement instead. It has to be about what is attested.
    #[arg(long, value_name = "FILE", conflicts_with = "predicate_type")]
    statement: Option<String>,
    /// The type of the predicate: a URI, or slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln,
    /// openvex, custom.
    #[arg(long = "type", id = "predicate_type", value_name = "TYPE", default_value = "custom")]
    predicate_type: String,
}

impl PredicateArgs {
    /// Reads what is said.
    ///
    /// # Errors
    /// `input.*` for the file, `signature.envelope` and `statement.*` for a statement.
    pub fn say(&self) -> Result<Say, Failure> {
        let malformed = |what: &str, problem: &str| Failure::new(Code::INPUT_MALFORMED, format!("{what}: {problem}"));
        if let Some(file) = &self.statement {
            let statement = read(file)?;
            Statement::from_json(&statement).map_err(|error| Failure::new(error.code(), format!("{file}: {error}")))?;
            return Ok(Say::Statement(statement));
        }
        let file = self.predicate.as_deref().unwrap_or("-");
        let document = read(file)?;
        let predicate_type = predicate_type_of_alias(&self.predicate_type).to_owned();
        let predicate: Value = if predicate_type == COSIGN_CUSTOM {
            let text = String::from_utf8(document).map_err(|_| malformed(file, "it is no text"))?;
            json!({"Data": text, "Timestamp": format_time(system::now())})
        } else {
            json::parse(&document, MAX_STATEMENT_LEN).map_err(|error| malformed(file, &error.to_string()))?
        };
        Ok(Say::Predicate { predicate_type, predicate })
    }
}

fn read(file: &str) -> Result<Vec<u8>, Failure> {
    if file != "-" {
        return read_bounded(Path::new(file), MAX_STATEMENT_LEN)
            .map_err(|error| Failure::new(error.code(), error.to_string()));
    }
    let mut document = Vec::new();
    let limit = MAX_STATEMENT_LEN as u64;
    let read = std::io::stdin().take(limit.saturating_add(1)).read_to_end(&mut document);
    read.map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("standard input: {error}")))?;
    if document.len() as u64 > limit {
        return Err(Failure::new(Code::INPUT_TOO_LARGE, format!("standard input is longer than {limit} bytes")));
    }
    Ok(document)
}

/// Runs the command.
///
/// # Errors
/// As `sign`.
pub async fn run(args: AttestArgs, output: Output) -> Result<(), Failure> {
    let say = args.predicate.say()?;
    let upload = args.image.upload && !args.no_upload;
    sign_images(ImageSignArgs { upload, ..args.image }, &args.images, &say, output).await
}
