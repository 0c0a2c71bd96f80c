//! CircleCI: its own program gets tokens with an audience of choice (`circleci run oidc get`).

use super::{AmbientSource, TokenError};
use formats::jwt::MAX_TOKEN_LEN;
use serde_json::json;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use waxseal_formats as formats;

const NAME: &str = "CircleCI";
const PROGRAM: &str = "circleci";

pub(super) const SOURCE: AmbientSource = AmbientSource {
    id: "circleci",
    name: NAME,
    about: "a CircleCI job",
    detect: |variables| variables("CIRCLECI").is_some() && program(&variables("PATH").unwrap_or_default()).is_some(),
    fetch: |variables, _, audience| {
        let (path, claims) = (variables("PATH").unwrap_or_default(), json!({"aud": audience}).to_string());
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || ask(&path, &claims)).await;
            asked
                .unwrap_or_else(|error| Err(error.to_string()))
                .map_err(|reason| TokenError::Refused { name: NAME, reason })
        })
    },
};

fn program(path: &str) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

fn ask(path: &str, claims: &str) -> Result<String, String> {
    let program = program(path).ok_or_else(|| format!("there is no program {PROGRAM} on PATH"))?;
    let mut child = Command::new(program)
        .args(["run", "oidc", "get", "--claims", claims])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{PROGRAM} cannot be started: {error}"))?;
    let mut token = String::new();
    let limit = u64::try_from(MAX_TOKEN_LEN).unwrap_or(u64::MAX).saturating_add(2);
    let read = child.stdout.take().map(|stdout| stdout.take(limit).read_to_string(&mut token));
    if token.len() as u64 >= limit {
        // Whoever writes on would wait for a reader.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match read {
        Some(Ok(_)) if status.success() => Ok(token.trim().to_owned()),
        Some(Err(error)) => Err(format!("what {PROGRAM} says cannot be read: {error}")),
        _ => Err(format!("{PROGRAM} ends with {status}")),
    }
}
