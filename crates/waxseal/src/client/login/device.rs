//! The device flow: the person logs in wherever there is a browser, and types a code there (RFC 8628).

use super::{Endpoints, LoginError, Person, Pkce, Provider};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use waxseal_formats::crypto::Secret;
use waxseal_io::transport::Transport;

/// How often the provider is asked if it does not say (RFC 8628 §3.2), and how much less often when it says so (§3.5).
const INTERVAL: Duration = Duration::from_secs(5);
/// Bounds of what a provider may say.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);

pub(super) async fn log_in(
    transport: &dyn Transport,
    provider: &Provider,
    endpoints: &Endpoints,
    person: &dyn Person,
) -> Result<Secret<String>, LoginError> {
    let wrong = |problem: &str| LoginError::Provider { issuer: endpoints.issuer.clone(), problem: problem.to_owned() };
    let refused = |reason: String| LoginError::Refused { issuer: endpoints.issuer.clone(), reason };
    let device = endpoints.device.as_ref().ok_or_else(|| wrong("it has no device flow"))?;
    let pkce = Pkce::new();
    let form =
        [("scope", "openid email"), ("code_challenge", pkce.challenge.as_str()), ("code_challenge_method", "S256")];
    let answer = endpoints.post(transport, device, provider, &form).await?;
    let begun = endpoints.read(&answer)?.map_err(|(_, reason)| refused(reason))?;
    let text = |name: &str| begun.get(name).and_then(Value::as_str).filter(|text| !text.contains(char::is_control));
    let seconds = |name: &str| begun.get(name).and_then(Value::as_u64).map(Duration::from_secs);
    let (Some(device_code), Some(user_code), Some(page)) =
        (text("device_code"), text("user_code"), text("verification_uri"))
    else {
        return Err(wrong("its answer to a device lacks a code or a page"));
    };
    let mut interval = seconds("interval").unwrap_or(INTERVAL).clamp(Duration::from_secs(1), MAX_INTERVAL);
    let lifetime = seconds("expires_in").unwrap_or(MAX_LIFETIME).min(MAX_LIFETIME);
    let complete = text("verification_uri_complete").map(|page| format!("\nor open\n  {page}")).unwrap_or_default();
    person.say(&format!("Open this page anywhere and enter the code {user_code}:\n  {page}{complete}"));
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", device_code),
        ("code_verifier", pkce.verifier.expose()),
    ];
    let end = Instant::now() + lifetime;
    loop {
        sleep(interval).await;
        if Instant::now() >= end {
            return Err(LoginError::TimeOut(lifetime));
        }
        let answer = endpoints.post(transport, &endpoints.token, provider, &form).await?;
        match endpoints.read(&answer)? {
            Ok(answer) => return endpoints.id_token(&answer, provider, None),
            Err((error, reason)) => match error.as_str() {
                "authorization_pending" => {}
                "slow_down" => interval = interval.saturating_add(INTERVAL).min(MAX_INTERVAL),
                "expired_token" => return Err(LoginError::TimeOut(lifetime)),
                _ => return Err(refused(reason)),
            },
        }
    }
}
