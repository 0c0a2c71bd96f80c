//! Google Cloud: a machine's metadata service vouches for its service account, which may speak for another one.

use super::{AmbientSource, TokenError, Variables};
use crate::transport::{Reach, Request, Transport};
use formats::crypto::Secret;
use formats::jwt::MAX_TOKEN_LEN;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use url::Url;
use waxseal_formats as formats;

const NAME: &str = "Google Cloud";
/// The host of the metadata service, if it is not the usual one.
const METADATA_HOST: &str = "GCE_METADATA_HOST";
/// The account to speak for.
const ACCOUNT: &str = "GOOGLE_SERVICE_ACCOUNT_NAME";
/// Who built the machine.
const PRODUCT: &str = "/sys/class/dmi/id/product_name";
/// The token and what stands around it.
const MAX_ANSWER_LEN: usize = 2 * MAX_TOKEN_LEN;
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) const IDENTITY: AmbientSource = AmbientSource {
    id: "google-workload-identity",
    name: NAME,
    about: "a machine or job in Google Cloud",
    detect: is_google,
    fetch: |variables, transport, audience| Box::pin(identity(variables, transport, audience)),
};

pub(super) const IMPERSONATION: AmbientSource = AmbientSource {
    id: "google-impersonation",
    name: NAME,
    about: "the service account GOOGLE_SERVICE_ACCOUNT_NAME, in Google Cloud",
    detect: |variables| variables(ACCOUNT).is_some() && is_google(variables),
    fetch: |variables, transport, audience| Box::pin(impersonated(variables, transport, audience)),
};

#[derive(Deserialize)]
struct Access {
    access_token: String,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
}

fn is_google(variables: Variables<'_>) -> bool {
    let built = || std::fs::read_to_string(PRODUCT).is_ok_and(|name| name.starts_with("Google"));
    variables(METADATA_HOST).is_some() || built()
}

fn refused(reason: impl Into<String>) -> TokenError {
    TokenError::Refused { name: NAME, reason: reason.into() }
}

/// What the metadata service says of the machine's account.
async fn metadata(
    variables: Variables<'_>,
    transport: &dyn Transport,
    what: &str,
    parameters: &[(&str, &str)],
) -> Result<Vec<u8>, TokenError> {
    let host = variables(METADATA_HOST).unwrap_or_else(|| "metadata.google.internal".to_owned());
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/{what}");
    let mut url = Url::parse(&url).map_err(|error| refused(format!("{METADATA_HOST}: {error}")))?;
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    let request = Request::get(url)
        .header("metadata-flavor", "Google")
        .reach(Reach::Metadata)
        .max_body_len(MAX_ANSWER_LEN)
        .timeout(TIMEOUT);
    let answer = transport.send(request).await.map_err(|source| TokenError::Transport { name: NAME, source })?;
    if answer.status != 200 {
        return Err(refused(format!("its metadata service answers {}: {}", answer.status, answer.excerpt())));
    }
    Ok(answer.body.to_vec())
}

async fn identity(variables: Variables<'_>, transport: &dyn Transport, audience: &str) -> Result<String, TokenError> {
    let token = metadata(variables, transport, "identity", &[("audience", audience), ("format", "full")]).await?;
    let token = String::from_utf8(token).map_err(|_| refused("its metadata service answers no text"))?;
    Ok(token.trim().to_owned())
}

async fn impersonated(
    variables: Variables<'_>,
    transport: &dyn Transport,
    audience: &str,
) -> Result<String, TokenError> {
    let account = variables(ACCOUNT).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    if account.contains("..") || account.is_empty() || !account.bytes().all(plain) {
        return Err(refused(format!("{ACCOUNT} is no service account")));
    }
    let access = metadata(variables, transport, "token", &[]).await?;
    let access: Access =
        serde_json::from_slice(&access).map_err(|_| refused("its metadata service answers no access token"))?;
    let url = format!("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateIdToken");
    let url = Url::parse(&url).map_err(|error| refused(error.to_string()))?;
    let body = json!({"audience": audience, "includeEmail": true}).to_string();
    let request = Request::post(url, "application/json", body)
        .bearer(&Secret::new(access.access_token))
        .max_body_len(MAX_ANSWER_LEN);
    let answer = transport.send(request).await.map_err(|source| TokenError::Transport { name: NAME, source })?;
    if answer.status != 200 {
        return Err(refused(format!("{account}: it answers {}: {}", answer.status, answer.excerpt())));
    }
    let answer: Answer =
        serde_json::from_slice(&answer.body).map_err(|_| refused("its answer is not the JSON that holds a token"))?;
    Ok(answer.token)
}
