//! Where a browser comes back to: a page on this machine that is there as long as the login takes (RFC 8252 §7.3).

use super::LoginError;
use super::browser::Expected;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use std::net::{Ipv4Addr, Ipv6Addr};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use url::{Host, Url, form_urlencoded};
use waxseal_formats::crypto::Secret;

/// Where Sigstore's clients have browsers come back to.
const PATH: &str = "/auth/callback";
/// Longest query that is looked at, in bytes.
const MAX_QUERY_LEN: usize = 16 << 10;

/// What a browser brings back.
#[derive(Debug, Default)]
pub(super) struct Returned {
    pub(super) code: Option<String>,
    pub(super) state: Option<String>,
    pub(super) issuer: Option<String>,
    /// Why there is no code.
    pub(super) error: Option<String>,
}

impl Returned {
    pub(super) fn of(query: &str) -> Self {
        let mut returned = Self::default();
        let mut description = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match name.as_ref() {
                "code" => &mut returned.code,
                "state" => &mut returned.state,
                "iss" => &mut returned.issuer,
                "error" => &mut returned.error,
                "error_description" => &mut description,
                _ => continue,
            };
            *place = Some(value.into_owned());
        }
        let shown = |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        returned.error = returned.error.map(|error| match description {
            Some(description) => shown(format!("{error}: {description}")),
            None => shown(error),
        });
        returned
    }
}

/// A visit of a browser, and how to tell it what became of it.
type Visit = (Returned, oneshot::Sender<Result<(), String>>);

/// The page. It goes away with this.
pub(super) struct Callback {
    url: String,
    visits: Mutex<mpsc::Receiver<Visit>>,
    servers: Vec<JoinHandle<()>>,
}

impl Callback {
    /// Listens at `redirect`, or at any free port.
    pub(super) async fn listen(redirect: Option<&Url>) -> Result<Self, LoginError> {
        let failed = |error: std::io::Error| LoginError::Listen(error.to_string());
        let (path, port) = match redirect {
            None => (PATH, 0),
            Some(url) => {
                let loopback = match url.host() {
                    Some(Host::Domain(name)) => name == "localhost",
                    Some(Host::Ipv4(address)) => address.is_loopback(),
                    Some(Host::Ipv6(address)) => address.is_loopback(),
                    None => false,
                };
                if url.scheme() != "http" || !loopback {
                    return Err(LoginError::Listen(format!("{url} is not on this machine")));
                }
                (url.path(), url.port_or_known_default().unwrap_or(80))
            }
        };
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let port = first.local_addr().map_err(failed)?.port();
        let url = redirect.map_or_else(|| format!("http://localhost:{port}{PATH}"), ToString::to_string);
        let (send, receive) = mpsc::channel(4);
        let page = Router::new().route(path, get(visit)).with_state(send);
        // `localhost` may mean either.
        let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.ok();
        let serve = |listener: TcpListener| {
            let page = page.clone();
            tokio::spawn(async move {
                let _ = axum::serve(listener, page).await;
            })
        };
        let servers = [Some(first), second].into_iter().flatten().map(serve).collect();
        Ok(Self { url, visits: Mutex::new(receive), servers })
    }

    /// What the provider is told.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The code of the first visit that belongs to this login. Others are turned away: who sends them shall not end it.
    pub(super) async fn answer(&self, expected: &Expected<'_>) -> Result<Secret<String>, LoginError> {
        let mut visits = self.visits.lock().await;
        while let Some((returned, told)) = visits.recv().await {
            let outcome = expected.code(returned);
            let _ = told.send(outcome.as_ref().map(|_| ()).map_err(ToString::to_string));
            if !matches!(outcome, Err(LoginError::Mixed(_))) {
                // The answer to the browser is on its way before the page goes.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                return outcome;
            }
        }
        Err(LoginError::Listen("the page went away".to_owned()))
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

async fn visit(State(visits): State<mpsc::Sender<Visit>>, RawQuery(query): RawQuery) -> Response {
    let query = query.filter(|query| query.len() <= MAX_QUERY_LEN).unwrap_or_default();
    let (told, tell) = oneshot::channel();
    let sent = visits.send((Returned::of(&query), told)).await;
    let outcome = match sent {
        Ok(()) => tell.await.unwrap_or_else(|_| Err("the login is over".to_owned())),
        Err(_) => Err("the login is over".to_owned()),
    };
    // No text of strangers stands on it: the program says why.
    let (status, text) = match outcome {
        Ok(()) => (StatusCode::OK, "Logged in. This page can be closed."),
        Err(_) => (StatusCode::BAD_REQUEST, "Not logged in. The program says why."),
    };
    let html =
        format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>waxseal</title><p>{text}</p></html>");
    let policy =
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    (status, [policy], Html(html)).into_response()
}
