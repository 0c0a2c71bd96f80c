//! What is known of a request before it is read: its number, and from whom it comes.

use super::Shared;
use crate::server::gateway::{Refusal, Status};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use waxseal_formats::code::Code;
use waxseal_io::system;

/// The header that names a request, in answers and from proxies.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Longest name of a request that a proxy may give it.
const MAX_ID_LEN: usize = 64;

/// The name of a request: in the answer's `x-request-id`, in log lines and in the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// As text: letters, digits, `-`, `_` and `.`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made here, or checked when it was taken over.
        self.0.to_str().unwrap_or_default()
    }

    /// The answer with the name on it.
    pub(super) fn into_answer(self, mut answer: Response) -> Response {
        answer.headers_mut().insert(REQUEST_ID, self.0);
        answer
    }

    fn numbered(connection: u64, number: u32) -> Self {
        let text = format!("{connection:016x}-{number:x}");
        Self(HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("-")))
    }

    fn from_proxy(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(REQUEST_ID)?;
        let text = value.to_str().ok()?;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (!text.is_empty() && text.len() <= MAX_ID_LEN && text.bytes().all(known)).then(|| Self(value.clone()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// From whom a request comes: the other end of the connection, or whom a trusted proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The connection that requests come by.
pub(super) struct Connection {
    shared: Arc<Shared>,
    peer: IpAddr,
    trusted: bool,
    number: u64,
    requests: AtomicU32,
}

impl Connection {
    pub(super) fn new(shared: &Arc<Shared>, peer: SocketAddr) -> Self {
        let peer = peer.ip().to_canonical();
        let number = u64::from_be_bytes(system::random());
        Self { shared: Arc::clone(shared), peer, trusted: shared.trusts(peer), number, requests: AtomicU32::new(0) }
    }

    /// Adds [`RequestId`] and [`ClientAddress`] to the request's extensions, and counts it.
    ///
    /// # Errors
    /// The answer, if its address makes too many.
    pub(super) fn describe(&self, request: &mut Request) -> Result<RequestId, Box<Response>> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let given = if self.trusted { RequestId::from_proxy(request.headers()) } else { None };
        let id = given.unwrap_or_else(|| RequestId::numbered(self.number, number));
        let client = if self.trusted { self.behind_proxies(request.headers()) } else { self.peer };
        if let Some(Err(wait)) = self.shared.limit.as_ref().map(|limit| limit.count(client)) {
            let seconds = wait.as_secs().saturating_add(1);
            let message = format!("too many requests from this address; try again in {seconds} s");
            let code = Some(Code::NETWORK_LIMITED);
            let answer = Refusal { status: Status::Exhausted { retry_after: seconds }, code, message }.into_response();
            tracing::debug!(request = %id, "too many requests of one address");
            return Err(Box::new(id.into_answer(answer)));
        }
        request.extensions_mut().insert(ClientAddress(client));
        request.extensions_mut().insert(id.clone());
        Ok(id)
    }

    /// The last address of `X-Forwarded-For` that is no trusted proxy: those before it anybody can write.
    fn behind_proxies(&self, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(FORWARDED_FOR);
        let lines: Vec<&str> = lines.iter().filter_map(|line| line.to_str().ok()).collect();
        let mut client = self.peer;
        for hop in lines.iter().flat_map(|line| line.split(',')).map(str::trim).rev() {
            let address = hop.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()));
            let Ok(address) = address else { break };
            client = address.to_canonical();
            if !self.shared.trusts(client) {
                break;
            }
        }
        client
    }
}
