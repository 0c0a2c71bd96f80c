//! Buildkite: the agent's access token gets tokens for its job (agent API, `POST jobs/ID/oidc/tokens`).

use super::{AmbientSource, TokenError, Variables};
use crate::transport::{Request, Transport};
use formats::jwt::MAX_TOKEN_LEN;
use serde::Deserialize;
use serde_json::json;
use url::Url;
use waxseal_formats as formats;

const NAME: &str = "Buildkite";
/// The token and what stands around it.
const MAX_ANSWER_LEN: usize = 2 * MAX_TOKEN_LEN;
const ACCESS_TOKEN: &str = "BUILDKITE_AGENT_ACCESS_TOKEN";

pub(super) const SOURCE: AmbientSource = AmbientSource {
    id: "buildkite-agent",
    name: NAME,
    about: "a Buildkite job",
    detect: |variables| variables(ACCESS_TOKEN).is_some(),
    fetch: |variables, transport, audience| Box::pin(fetch(variables, transport, audience)),
};

#[derive(Deserialize)]
struct Answer {
    token: String,
}

async fn fetch(variables: Variables<'_>, transport: &dyn Transport, audience: &str) -> Result<String, TokenError> {
    let refused = |reason: String| TokenError::Refused { name: NAME, reason };
    let variable = |name: &str| variables(name).ok_or_else(|| refused(format!("{name} is not set")));
    let (access, job) = (variable(ACCESS_TOKEN)?, variable("BUILDKITE_JOB_ID")?);
    let endpoint = variables("BUILDKITE_AGENT_ENDPOINT").unwrap_or_else(|| "https://agent.buildkite.com/v3".to_owned());
    let mut url = Url::parse(&endpoint).map_err(|error| refused(format!("BUILDKITE_AGENT_ENDPOINT: {error}")))?;
    url.path_segments_mut()
        .map_err(|()| refused("BUILDKITE_AGENT_ENDPOINT is no http URL".to_owned()))?
        .pop_if_empty()
        .extend(["jobs", &job, "oidc", "tokens"]);
    let request = Request::post(url, "application/json", json!({"audience": audience}).to_string())
        .header("authorization", format!("Token {access}"))
        .max_body_len(MAX_ANSWER_LEN);
    let answer = transport.send(request).await.map_err(|source| TokenError::Transport { name: NAME, source })?;
    if !matches!(answer.status, 200 | 201) {
        return Err(refused(format!("it answers {}: {}", answer.status, answer.excerpt())));
    }
    let answer: Answer = serde_json::from_slice(&answer.body)
        .map_err(|_| refused("its answer is not the JSON that holds a token".to_owned()))?;
    Ok(answer.token)
}
