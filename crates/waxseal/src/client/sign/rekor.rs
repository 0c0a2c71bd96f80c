//! An entry in a Rekor log: of the second kind (rekor-tiles `rekor_service.proto`), or of the first (rekor `openapi.yaml`).

use super::SignError;
use super::service::{ask, below};
use serde_json::{Value, json};
use url::Url;
use waxseal_formats::bundle::{Content, LogEntry};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Digest;
use waxseal_formats::entry::answer;
use waxseal_formats::entry::request::HashedRekordRequest;
use waxseal_formats::json::{JsonError, encode_base64};
use waxseal_io::transport::{Request, Transport};

const SERVICE: &str = "the transparency log";

/// Logs a signature in a Rekor v1 log. That the answer is about this signature is found out when the bundle is verified.
pub(super) async fn log_v1(
    transport: &dyn Transport,
    log: &Url,
    content: &Content,
    digest: &Digest,
    verifier_pem: &str,
) -> Result<LogEntry, SignError> {
    let url = below(log, "/api/v1/log/entries")?;
    let proposed = proposed(content, digest, verifier_pem);
    let post = Request::post(url.clone(), "application/json", proposed.to_string());
    let response = ask(transport, SERVICE, post).await?;
    answer::rekor_v1(&response.body).map_err(|error| unreadable(&url, &error))
}

/// The entry with this index of a Rekor v1 log. Nothing of it is verified.
pub(in crate::client) async fn entry_v1(
    transport: &dyn Transport,
    log: &Url,
    index: u64,
) -> Result<LogEntry, SignError> {
    let mut url = below(log, "/api/v1/log/entries")?;
    url.query_pairs_mut().append_pair("logIndex", &index.to_string());
    let response = ask(transport, SERVICE, Request::get(url.clone())).await?;
    answer::rekor_v1(&response.body).map_err(|error| unreadable(&url, &error))
}

/// The entries of a signature in a Rekor v1 log. Nothing of them is verified.
pub(in crate::client) async fn find_v1(
    transport: &dyn Transport,
    log: &Url,
    content: &Content,
    digest: &Digest,
    verifier_pem: &str,
) -> Result<Vec<LogEntry>, SignError> {
    let url = below(log, "/api/v1/log/entries/retrieve")?;
    let search = json!({"entries": [proposed(content, digest, verifier_pem)]});
    let post = Request::post(url.clone(), "application/json", search.to_string());
    let response = ask(transport, SERVICE, post).await?;
    answer::rekor_v1_found(&response.body).map_err(|error| unreadable(&url, &error))
}

/// What is asked to be logged.
fn proposed(content: &Content, digest: &Digest, verifier_pem: &str) -> Value {
    let pem = encode_base64(verifier_pem.as_bytes());
    match content {
        Content::MessageSignature { signature, .. } => json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": {"hash": {"algorithm": digest.algorithm().name(), "value": digest.to_hex()}},
            "signature": {"content": encode_base64(signature), "publicKey": {"content": pem}},
        }}),
        Content::Envelope(envelope) => json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
            "proposedContent": {"envelope": json!(envelope).to_string(), "verifiers": [pem]},
        }}),
    }
}

fn unreadable(url: &Url, error: &JsonError) -> SignError {
    let (url, problem) = (url.to_string(), error.to_string());
    SignError::Answer { service: SERVICE, url, problem, code: Code::LOG_ENTRY_MALFORMED }
}

/// Logs a signature in a Rekor v2 log. The answer is an entry about exactly this signature; its proof is verified with the bundle.
pub(super) async fn log(
    transport: &dyn Transport,
    log: &Url,
    request: &HashedRekordRequest,
) -> Result<LogEntry, SignError> {
    let url = below(log, "/api/v2/log/entries")?;
    let unusable =
        |problem: String, code: Code| SignError::Answer { service: SERVICE, url: url.to_string(), problem, code };
    let post = Request::post(url.clone(), "application/json", request.to_json());
    let response = ask(transport, SERVICE, post).await?;
    let entry = LogEntry::from_json(&response.body).map_err(|error| unusable(error.to_string(), error.code()))?;
    if entry.canonicalized_body.as_deref() != Some(request.canonical_body().as_slice()) {
        return Err(unusable("an entry about something else".into(), Code::LOG_ENTRY_MISMATCH));
    }
    Ok(entry)
}
