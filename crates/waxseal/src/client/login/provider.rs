//! What a provider says of itself, and what it gives for a code.

use super::{LoginError, Provider};
use serde_json::Value;
use std::time::Duration;
use url::{Url, form_urlencoded};
use waxseal_formats::crypto::Secret;
use waxseal_formats::json::{self, encode_base64};
use waxseal_formats::jwt::{Jws, MAX_TOKEN_LEN};
use waxseal_io::system;
use waxseal_io::transport::{Request, Response, Transport};

/// Longest discovery document, in bytes.
const MAX_DISCOVERY_LEN: usize = 64 << 10;
/// Longest answer of the token endpoint, in bytes: a few tokens.
const MAX_ANSWER_LEN: usize = 4 * MAX_TOKEN_LEN;
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Where a provider is asked what (OpenID Connect Discovery 1.0 §3).
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The issuer.
    pub issuer: String,
    /// Where a browser goes.
    pub authorization: Option<Url>,
    /// Where tokens are.
    pub token: Url,
    /// Where devices begin.
    pub device: Option<Url>,
    /// Whether answers say who gives them (RFC 9207).
    pub says_issuer: bool,
}

impl Endpoints {
    /// Asks an issuer.
    ///
    /// # Errors
    /// [`LoginError::Transport`] and [`LoginError::Provider`].
    pub async fn discover(transport: &dyn Transport, issuer: &str) -> Result<Self, LoginError> {
        let wrong = |problem: String| LoginError::Provider { issuer: issuer.to_owned(), problem };
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| wrong(format!("it is no URL: {error}")))?;
        let request = Request::get(url).max_body_len(MAX_DISCOVERY_LEN).timeout(TIMEOUT);
        let answer = transport.send(request).await?;
        if answer.status != 200 {
            return Err(wrong(format!("it answers {} when asked about itself", answer.status)));
        }
        let document = json::parse(&answer.body, MAX_DISCOVERY_LEN).map_err(|error| wrong(error.to_string()))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        // Whoever answers for another issuer could have its codes sent to himself (OpenID Connect Discovery 1.0 §4.3).
        if text("issuer").map(|found| found.trim_end_matches('/')) != Some(issuer.trim_end_matches('/')) {
            return Err(wrong(format!("it calls itself {:?}", text("issuer").unwrap_or_default())));
        }
        let endpoint = |name: &str| -> Result<Option<Url>, LoginError> {
            let Some(text) = text(name) else { return Ok(None) };
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            url.map(Some).ok_or_else(|| wrong(format!("its {name} is {text:?}")))
        };
        let methods = document.get("code_challenge_methods_supported").and_then(Value::as_array);
        // Some providers that have it do not say so.
        if methods.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return Err(wrong("it has no PKCE with SHA-256 (S256)".to_owned()));
        }
        let says_issuer = document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true));
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization: endpoint("authorization_endpoint")?,
            token: endpoint("token_endpoint")?.ok_or_else(|| wrong("it has no token endpoint".to_owned()))?,
            device: endpoint("device_authorization_endpoint")?,
            says_issuer,
        })
    }

    /// Sends a form to one of the endpoints. The client says who it is: in the header if it has a secret, else in the form.
    pub(super) async fn post(
        &self,
        transport: &dyn Transport,
        url: &Url,
        provider: &Provider,
        form: &[(&str, &str)],
    ) -> Result<Response, LoginError> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        if provider.client_secret.is_none() {
            body.append_pair("client_id", &provider.client_id);
        }
        let mut request = Request::post(url.clone(), "application/x-www-form-urlencoded", body.finish())
            .header("accept", "application/json")
            .max_body_len(MAX_ANSWER_LEN)
            .timeout(TIMEOUT);
        if let Some(secret) = &provider.client_secret {
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = Secret::new(format!("{}:{}", encoded(&provider.client_id), encoded(secret.expose())));
            request = request.header("authorization", format!("Basic {}", encode_base64(pair.expose().as_bytes())));
        }
        Ok(transport.send(request).await?)
    }

    /// An answer as JSON; what it refuses, by its `error` (RFC 6749 §5.2).
    pub(super) fn read(&self, answer: &Response) -> Result<Result<Value, (String, String)>, LoginError> {
        let document = json::parse(&answer.body, MAX_ANSWER_LEN).ok();
        let text = |name: &str| {
            let found = document.as_ref()?.get(name)?.as_str()?;
            Some(found.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect::<String>())
        };
        match (answer.status, text("error")) {
            (200, None) => document.map(Ok).ok_or_else(|| LoginError::Provider {
                issuer: self.issuer.clone(),
                problem: "its answer is no JSON".to_owned(),
            }),
            (_, Some(error)) => {
                let reason = text("error_description").map_or_else(|| error.clone(), |said| format!("{error}: {said}"));
                Ok(Err((error, reason)))
            }
            (status, None) => {
                Err(LoginError::Refused { issuer: self.issuer.clone(), reason: format!("it answers {status}") })
            }
        }
    }

    /// The ID token in an answer. It came over our own connection to the provider, so that its claims are compared and its signature
    /// is left to whoever it is for (OpenID Connect Core 1.0 §3.1.3.7).
    pub(super) fn id_token(
        &self,
        answer: &Value,
        provider: &Provider,
        nonce: Option<&Secret<String>>,
    ) -> Result<Secret<String>, LoginError> {
        let token = answer.get("id_token").and_then(Value::as_str).unwrap_or_default();
        let token = Secret::new(token.to_owned());
        let malformed = |source| LoginError::Malformed { issuer: self.issuer.clone(), source };
        let claims = Jws::parse(token.expose()).and_then(|jws| jws.claims()).map_err(malformed)?;
        let another = |claim| LoginError::AnotherToken { issuer: self.issuer.clone(), claim };
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss").map(|found| found.trim_end_matches('/')) != Some(self.issuer.trim_end_matches('/')) {
            return Err(another("issuer"));
        }
        let for_us = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(|one| *one == provider.client_id),
            Some(one) => *one == provider.client_id,
            None => false,
        };
        if !for_us {
            return Err(another("audience"));
        }
        if let Some(nonce) = nonce
            && text("nonce") != Some(nonce.expose())
        {
            return Err(another("nonce"));
        }
        if claims.get("exp").and_then(Value::as_i64).is_some_and(|exp| exp <= system::now().as_second()) {
            return Err(another("expiry"));
        }
        Ok(token)
    }
}
