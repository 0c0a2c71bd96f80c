//! The login endpoints of the demo provider: authorization code with PKCE (RFC 6749 §4.1, RFC 7636) and device flow (RFC 8628).
//!
//! Clients are public and there is one of them. Nobody logs in without the owner secret, wherever the request comes from.

use super::claims::{IssuerKind, MAX_TEXT_LEN, MintRequest};
use super::grants::{Code, Device, Poll, Presented};
use super::pages::{self, Page};
use super::{Idp, MintRefusal, secret};
use crate::server::gateway::read_body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use url::{Host, Url, form_urlencoded};
use waxseal_formats::json::decode_base64;

/// The one client, which has no secret.
const CLIENT: &str = "sigstore";
/// Longest query or form, in bytes.
const MAX_FORM_LEN: usize = 16 * 1024;
/// For clients that no browser can come back to: the page shows the code, and a person carries it over.
const OUT_OF_BAND: &str = "urn:ietf:wg:oauth:2.0:oob";
/// `grant_type` of the device flow.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What discovery says of logins at `issuer`.
pub(super) fn metadata(issuer: &str) -> Map<String, Value> {
    let metadata = json!({
        "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"),
        "device_authorization_endpoint": format!("{issuer}/device/code"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", DEVICE_GRANT],
        "scopes_supported": ["openid", "email"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    metadata.as_object().cloned().unwrap_or_default()
}

/// The endpoints of one issuer.
pub(super) fn routes(kind: IssuerKind) -> Router<Arc<Idp>> {
    let path = |end: &str| format!("{}{end}", kind.path());
    Router::new()
        .route(
            &path("/auth"),
            get(move |State(idp): State<Arc<Idp>>, uri: Uri| async move { authorize(&idp, kind, query(&uri), false) })
                .post(move |State(idp): State<Arc<Idp>>, request: Request| async move {
                    answer(request, |form| authorize(&idp, kind, form, true)).await
                }),
        )
        .route(
            &path("/device"),
            get(move |State(idp): State<Arc<Idp>>, uri: Uri| async move { approve(&idp, kind, query(&uri), false) })
                .post(move |State(idp): State<Arc<Idp>>, request: Request| async move {
                    answer(request, |form| approve(&idp, kind, form, true)).await
                }),
        )
        .route(
            &path("/device/code"),
            post(move |State(idp): State<Arc<Idp>>, request: Request| async move {
                let basic = basic(&request);
                answer(request, |form| device_code(&idp, kind, form, basic)).await
            }),
        )
        .route(
            &path("/token"),
            post(move |State(idp): State<Arc<Idp>>, request: Request| async move {
                let basic = basic(&request);
                answer(request, |form| token(&idp, kind, form, basic)).await
            }),
        )
}

/// Parameters of a request, each of them once (RFC 6749 §3.1).
struct Form(BTreeMap<String, String>);

/// A refusal as RFC 6749 §5.2 has it.
#[derive(Debug)]
struct Refused(StatusCode, &'static str, String);

impl Refused {
    fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, error, description.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, error, description) = self;
        let mut response = (status, Json(json!({"error": error, "error_description": description}))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"idp\""));
        }
        response
    }
}

impl Form {
    fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > MAX_FORM_LEN {
            return Err(Refused::new("invalid_request", format!("more than {MAX_FORM_LEN} bytes")));
        }
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if values.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(Refused::new("invalid_request", format!("{name} is given twice")));
            }
        }
        Ok(Self(values))
    }

    /// A parameter that is there and not empty.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &'static str) -> Result<&str, Refused> {
        self.get(name).ok_or_else(|| Refused::new("invalid_request", format!("{name} is missing")))
    }
}

fn query(uri: &Uri) -> Result<Form, Refused> {
    Form::parse(uri.query().unwrap_or_default().as_bytes())
}

async fn answer(request: Request, act: impl FnOnce(Result<Form, Refused>) -> Response) -> Response {
    match read_body(request, MAX_FORM_LEN).await {
        Ok(body) => act(Form::parse(&body)),
        Err(refusal) => refusal.into_response(),
    }
}

/// Client authentication in a header, if there is any: identifier and secret.
fn basic(request: &Request) -> Option<(String, String)> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = String::from_utf8(decode_base64(value.strip_prefix("Basic ")?)?).ok()?;
    let (id, password) = decoded.split_once(':')?;
    let plain =
        |text: &str| form_urlencoded::parse(format!("x={text}").as_bytes()).next().map(|(_, value)| value.into_owned());
    Some((plain(id)?, plain(password)?))
}

/// RFC 6749 §2.3: the client says who it is, in the header or in the body.
fn client(form: &Form, basic: Option<(String, String)>) -> Result<(), Refused> {
    let (id, secret) = match &basic {
        Some((id, secret)) => (id.as_str(), secret.as_str()),
        None => (form.get("client_id").unwrap_or_default(), form.get("client_secret").unwrap_or_default()),
    };
    if id == CLIENT && secret.is_empty() {
        return Ok(());
    }
    let description = format!("the client is {CLIENT:?} and has no secret");
    Err(Refused(StatusCode::UNAUTHORIZED, "invalid_client", description))
}

/// A challenge of RFC 7636: the SHA-256 of a verifier in base64url.
fn challenge(form: &Form) -> Result<Option<String>, Refused> {
    let Some(challenge) = form.get("code_challenge") else { return Ok(None) };
    if form.get("code_challenge_method") != Some("S256") {
        return Err(Refused::new("invalid_request", "code_challenge_method has to be S256"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if challenge.len() != 43 || !challenge.bytes().all(plain) {
        return Err(Refused::new("invalid_request", "code_challenge is no SHA-256 in base64url"));
    }
    Ok(Some(challenge.to_owned()))
}

/// Where a login may lead back to: to this machine, where only its own programs listen.
fn redirect(form: &Form) -> Result<Option<Url>, Refused> {
    let text = form.required("redirect_uri")?;
    if text == OUT_OF_BAND {
        return Ok(None);
    }
    let loopback = |url: &Url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let plain = |url: &Url| url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    match Url::parse(text) {
        Ok(url) if url.scheme() == "http" && loopback(&url) && plain(&url) => Ok(Some(url)),
        _ => Err(Refused::new("invalid_request", "redirect_uri has to be http on localhost")),
    }
}

/// The page of the authorization endpoint, or the way back to the client.
fn authorize(idp: &Idp, kind: IssuerKind, form: Result<Form, Refused>, posted: bool) -> Response {
    // Until it is known that client and address belong together nobody is sent anywhere (RFC 6749 §4.1.2.1).
    let known = form.and_then(|form| {
        if form.get("client_id") != Some(CLIENT) {
            return Err(Refused::new("unauthorized_client", format!("client_id has to be {CLIENT}")));
        }
        let back = redirect(&form)?;
        Ok((form, back))
    });
    let (form, back) = match known {
        Ok(known) => known,
        Err(refused) => return pages::error(StatusCode::BAD_REQUEST, &refused.2),
    };
    let state = form.get("state").unwrap_or_default().to_owned();
    let challenge = match asked(&form) {
        Ok(challenge) => challenge,
        Err(Refused(status, error, description)) => {
            let parameters = [("error", error), ("error_description", description.as_str())];
            return match &back {
                Some(back) => sent_back(idp, kind, back, &state, &parameters),
                None => pages::error(status, &description),
            };
        }
    };
    let Some((hint, given)) = login(&form, posted) else {
        return pages::show(&Page::login(&form_action(kind, "/auth"), &form.0));
    };
    if !secret::is(&idp.secret, given) {
        tracing::warn!("login refused: the owner secret is wrong");
        return pages::error(StatusCode::UNAUTHORIZED, "the owner secret is wrong");
    }
    let code = Code {
        kind,
        identity: hint.to_owned(),
        redirect: form.get("redirect_uri").unwrap_or_default().to_owned(),
        challenge,
        nonce: form.get("nonce").map(ToOwned::to_owned),
    };
    let Some(code) = idp.grants.issue(code) else {
        return pages::error(StatusCode::SERVICE_UNAVAILABLE, "too many logins are under way; try again in a minute");
    };
    match &back {
        Some(back) => sent_back(idp, kind, back, &state, &[("code", code.expose())]),
        None => pages::show(&Page::code(code.expose())),
    }
}

fn asked(form: &Form) -> Result<String, Refused> {
    if form.get("response_type") != Some("code") {
        return Err(Refused::new("unsupported_response_type", "response_type has to be code"));
    }
    if form.get("nonce").is_some_and(|nonce| nonce.len() > MAX_TEXT_LEN) {
        return Err(Refused::new("invalid_request", "the nonce is too long"));
    }
    challenge(form)?.ok_or_else(|| Refused::new("invalid_request", "code_challenge is missing"))
}

/// Who logs in, and what he gives as the owner secret; nothing if the page has to ask for it.
fn login(form: &Form, posted: bool) -> Option<(&str, &str)> {
    let given = form.get("owner_secret");
    if posted {
        return Some((form.get("login_hint").unwrap_or_default(), given.unwrap_or_default()));
    }
    Some((form.get("login_hint")?, given?))
}

fn form_action(kind: IssuerKind, end: &str) -> String {
    format!("{}{end}", kind.path())
}

/// Back to the client; it is told who answers (RFC 9207).
fn sent_back(idp: &Idp, kind: IssuerKind, to: &Url, state: &str, parameters: &[(&str, &str)]) -> Response {
    let mut to = to.clone();
    let mut pairs = to.query_pairs_mut();
    pairs.extend_pairs(parameters);
    if !state.is_empty() {
        pairs.append_pair("state", state);
    }
    pairs.append_pair("iss", &idp.issuer(kind));
    drop(pairs);
    match HeaderValue::from_str(to.as_str()) {
        Ok(to) => (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response(),
        Err(_) => pages::error(StatusCode::BAD_REQUEST, "the redirect_uri cannot be used"),
    }
}

/// RFC 8628 §3.1 and §3.2.
fn device_code(idp: &Idp, kind: IssuerKind, form: Result<Form, Refused>, basic: Option<(String, String)>) -> Response {
    let begun = form.and_then(|form| {
        client(&form, basic)?;
        let challenge = challenge(&form)?;
        let device = Device::new(kind, challenge, form.get("nonce").map(ToOwned::to_owned));
        idp.grants.begin(device).ok_or_else(|| {
            Refused(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "too many logins are under way".into())
        })
    });
    match begun {
        Ok(begun) => {
            let page = format!("{}/device", idp.issuer(kind));
            Json(json!({
                "device_code": begun.device_code.expose(),
                "user_code": begun.user_code,
                "verification_uri": page,
                "verification_uri_complete": format!("{page}?user_code={}", begun.user_code),
                "expires_in": begun.lifetime.as_secs(),
                "interval": begun.interval.as_secs(),
            }))
            .into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

/// The page on which a person approves what a device shows (RFC 8628 §3.3).
fn approve(idp: &Idp, kind: IssuerKind, form: Result<Form, Refused>, posted: bool) -> Response {
    let form = match form {
        Ok(form) => form,
        Err(refused) => return pages::error(StatusCode::BAD_REQUEST, &refused.2),
    };
    let Some((hint, given)) = login(&form, posted) else {
        return pages::show(&Page::device(&form_action(kind, "/device"), &form.0));
    };
    if !secret::is(&idp.secret, given) {
        tracing::warn!("login refused: the owner secret is wrong");
        return pages::error(StatusCode::UNAUTHORIZED, "the owner secret is wrong");
    }
    if idp.grants.approve(kind, form.get("user_code").unwrap_or_default(), hint) {
        pages::show(&Page::done())
    } else {
        pages::error(StatusCode::BAD_REQUEST, "no login with that code is under way: it may have expired")
    }
}

/// The token endpoint (RFC 6749 §4.1.3, RFC 8628 §3.4).
fn token(idp: &Idp, kind: IssuerKind, form: Result<Form, Refused>, basic: Option<(String, String)>) -> Response {
    let granted = form.and_then(|form| {
        client(&form, basic)?;
        let verifier = form.get("code_verifier").map(ToOwned::to_owned);
        match form.required("grant_type")? {
            "authorization_code" => {
                let redirect = form.required("redirect_uri")?.to_owned();
                let presented = Presented { kind, redirect, verifier };
                let code = idp.grants.redeem(form.required("code")?, &presented);
                let wrong =
                    || Refused::new("invalid_grant", "the code was used, has expired, or is not for this request");
                code.map(|code| (code.identity, code.nonce)).ok_or_else(wrong)
            }
            DEVICE_GRANT => match idp.grants.poll(kind, form.required("device_code")?, verifier.as_deref()) {
                Poll::Approved { identity, nonce } => Ok((identity, nonce)),
                Poll::Pending => Err(Refused::new("authorization_pending", "nobody has approved it yet")),
                Poll::TooFast => Err(Refused::new("slow_down", "ask less often")),
                Poll::Expired => Err(Refused::new("expired_token", "the login has expired")),
                Poll::Wrong => Err(Refused::new("invalid_grant", "code_verifier does not fit the code_challenge")),
            },
            other => Err(Refused::new("unsupported_grant_type", format!("{other} is not supported"))),
        }
    });
    match granted.and_then(|(identity, nonce)| tokens(idp, kind, identity, nonce)) {
        Ok(tokens) => Json(tokens).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// sigstore-python takes the access token for what others take the ID token for, so that both are the same kind of thing.
fn tokens(idp: &Idp, kind: IssuerKind, identity: String, nonce: Option<String>) -> Result<Value, Refused> {
    let mint = |claims: Map<String, Value>| {
        let request = MintRequest { issuer: kind, identity: identity.clone(), audience: CLIENT.to_owned(), claims };
        idp.mint(&request).map_err(|error| match error {
            MintRefusal::Request(error) => Refused::new("invalid_grant", error.to_string()),
            MintRefusal::Signer(error) => {
                tracing::error!(%error, "token not signed");
                Refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the token cannot be signed".to_owned())
            }
        })
    };
    let with_nonce = nonce.map(|nonce| ("nonce".to_owned(), Value::String(nonce))).into_iter().collect();
    Ok(json!({
        "access_token": mint(Map::new())?,
        "id_token": mint(with_nonce)?,
        "token_type": "Bearer",
        "expires_in": super::claims::LIFETIME,
        "scope": "openid email",
    }))
}

#[cfg(test)]
mod tests;
