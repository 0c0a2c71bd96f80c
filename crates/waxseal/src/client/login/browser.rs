//! The authorization code flow: a browser goes to the provider and comes back to this machine, or a person carries the code over.

use super::callback::{Callback, Returned};
use super::{Endpoints, LoginError, Person, Pkce, Provider, device, unguessable};
use std::time::Duration;
use tokio::task::block_in_place;
use url::Url;
use waxseal_formats::crypto::Secret;
use waxseal_io::transport::Transport;

/// How long a browser is waited for.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn log_in(
    transport: &dyn Transport,
    provider: &Provider,
    endpoints: &Endpoints,
    person: &dyn Person,
) -> Result<Secret<String>, LoginError> {
    let missing = || LoginError::Provider {
        issuer: endpoints.issuer.clone(),
        problem: "it has no authorization endpoint".to_owned(),
    };
    let authorization = endpoints.authorization.as_ref().ok_or_else(missing)?;
    let callback = Callback::listen(provider.redirect.as_ref()).await?;
    let (pkce, state, nonce) = (Pkce::new(), unguessable(), unguessable());
    let mut page = authorization.clone();
    page.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", &provider.client_id),
        ("redirect_uri", callback.url()),
        ("scope", "openid email"),
        ("state", state.expose()),
        ("nonce", nonce.expose()),
        ("code_challenge", &pkce.challenge),
        ("code_challenge_method", "S256"),
    ]);
    let expected = Expected { state: &state, endpoints };
    let code = if block_in_place(|| person.open(&page)) {
        person.say(&format!("A browser shows the login of {}; if not, open\n  {page}", endpoints.issuer));
        match tokio::time::timeout(PATIENCE, callback.answer(&expected)).await {
            Ok(code) => code?,
            Err(_) => carried(person, &page, &expected)?.ok_or(LoginError::TimeOut(PATIENCE))?,
        }
    } else if endpoints.device.is_some() {
        return device::log_in(transport, provider, endpoints, person).await;
    } else {
        person.say("No browser can be opened here.");
        carried(person, &page, &expected)?.ok_or(LoginError::NoWay)?
    };
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.expose()),
        ("redirect_uri", callback.url()),
        ("code_verifier", pkce.verifier.expose()),
    ];
    let answer = endpoints.post(transport, &endpoints.token, provider, &form).await?;
    match endpoints.read(&answer)? {
        Ok(answer) => endpoints.id_token(&answer, provider, Some(&nonce)),
        Err((_, reason)) => Err(LoginError::Refused { issuer: endpoints.issuer.clone(), reason }),
    }
}

/// What an answer has to fit.
pub(super) struct Expected<'a> {
    pub(super) state: &'a Secret<String>,
    pub(super) endpoints: &'a Endpoints,
}

impl Expected<'_> {
    /// The code in an answer to our question (RFC 6749 §4.1.2, RFC 9207 §2.4).
    pub(super) fn code(&self, returned: Returned) -> Result<Secret<String>, LoginError> {
        if returned.state.as_deref() != Some(self.state.expose()) {
            return Err(LoginError::Mixed("another state"));
        }
        match &returned.issuer {
            Some(issuer) if issuer.trim_end_matches('/') != self.endpoints.issuer.trim_end_matches('/') => {
                return Err(LoginError::Mixed("another issuer"));
            }
            None if self.endpoints.says_issuer => return Err(LoginError::Mixed("no issuer")),
            _ => {}
        }
        match (returned.error, returned.code) {
            (Some(reason), _) => Err(LoginError::Refused { issuer: self.endpoints.issuer.clone(), reason }),
            (None, Some(code)) => Ok(Secret::new(code)),
            (None, None) => Err(LoginError::Mixed("no code")),
        }
    }
}

/// Asks the person to carry the answer over. A code alone says nothing of its state: its nonce and PKCE tie it to this login.
fn carried(person: &dyn Person, page: &Url, expected: &Expected<'_>) -> Result<Option<Secret<String>>, LoginError> {
    person.say(&format!("Open this page anywhere and log in:\n  {page}"));
    let question = "Then paste the address of the page that you end up at, or the code that it shows: ";
    let Some(pasted) = block_in_place(|| person.ask(question)).filter(|pasted| !pasted.is_empty()) else {
        return Ok(None);
    };
    match Url::parse(&pasted) {
        Ok(url) if url.query().is_some() => expected.code(Returned::of(url.query().unwrap_or_default())).map(Some),
        _ => Ok(Some(Secret::new(pasted))),
    }
}
