//! An entry in a Rekor v2 log (rekor-tiles `rekor_service.proto`).

use super::SignError;
use super::service::{ask, below};
use url::Url;
use waxseal_formats::bundle::LogEntry;
use waxseal_formats::code::Code;
use waxseal_formats::entry::request::HashedRekordRequest;
use waxseal_io::transport::{Request, Transport};

const SERVICE: &str = "the transparency log";

/// Logs a signature. The answer is an entry about exactly this signature; its proof is verified with the bundle.
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
