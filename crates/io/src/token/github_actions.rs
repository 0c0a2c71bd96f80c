//! GitHub Actions: a job with `permissions: id-token: write` may ask its runner for tokens.

use super::{AmbientSource, TokenError, Variables};
use crate::transport::{Request, Transport};
use formats::crypto::Secret;
use formats::jwt::MAX_TOKEN_LEN;
use serde::Deserialize;
use url::Url;
use waxseal_formats as formats;

const NAME: &str = "GitHub Actions";
/// The token and what stands around it.
const MAX_ANSWER_LEN: usize = 2 * MAX_TOKEN_LEN;

/// A job that was not given the permission is one too, so that it can be told.
pub(super) const SOURCE: AmbientSource = AmbientSource {
    id: "github-actions",
    name: NAME,
    about: "a GitHub Actions job with the permission `id-token: write`",
    detect: |variables| variables("ACTIONS_ID_TOKEN_REQUEST_URL").or_else(|| variables("GITHUB_ACTIONS")).is_some(),
    fetch: |variables, transport, audience| Box::pin(fetch(variables, transport, audience)),
};

#[derive(Deserialize)]
struct Answer {
    value: String,
}

async fn fetch(variables: Variables<'_>, transport: &dyn Transport, audience: &str) -> Result<String, TokenError> {
    let refused = |reason: String| TokenError::Refused { name: NAME, reason };
    let (Some(url), Some(request_token)) =
        (variables("ACTIONS_ID_TOKEN_REQUEST_URL"), variables("ACTIONS_ID_TOKEN_REQUEST_TOKEN"))
    else {
        return Err(refused("the job lacks `permissions: id-token: write`".to_owned()));
    };
    let mut url = Url::parse(&url).map_err(|error| refused(format!("ACTIONS_ID_TOKEN_REQUEST_URL: {error}")))?;
    url.query_pairs_mut().append_pair("audience", audience);
    let request = Request::get(url).bearer(&Secret::new(request_token)).max_body_len(MAX_ANSWER_LEN);
    let answer = transport.send(request).await.map_err(|source| TokenError::Transport { name: NAME, source })?;
    if answer.status != 200 {
        return Err(refused(format!("it answers {}: {}", answer.status, answer.excerpt())));
    }
    let answer: Answer = serde_json::from_slice(&answer.body)
        .map_err(|_| refused("its answer is not the JSON that holds a token".to_owned()))?;
    Ok(answer.value)
}
