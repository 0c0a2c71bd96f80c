//! How a certificate log answers over HTTP (RFC 6962 §4): JSON, or one line of text that says why not.

use super::SubmitError;
use super::issuers::IssuersError;
use crate::server::drive::{AppendError, TreeError};
use crate::server::gateway;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fmt;
use waxseal_formats::code::Code;
use waxseal_formats::json::JsonError;
use waxseal_log::ct::chain::ChainError;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Seconds after which a refused submission may be tried again: it was refused because of what stood in the queue.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A request that is refused: `[reason.code] sentence` as plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: Option<Code>,
    pub(super) message: String,
}

impl Refusal {
    /// A parameter or body that is at fault.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: Some(Code::INPUT_MALFORMED), message: message.into() }
    }

    /// Something that the log does not have.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: Some(Code::LOG_ENTRY_MISSING), message: message.into() }
    }

    fn coded(status: StatusCode, code: Code, message: impl fmt::Display) -> Self {
        Self { status, code: Some(code), message: message.to_string() }
    }

    /// The log cannot answer: the details go into the server's log, not into the answer.
    pub(super) fn failed(code: Code, error: &dyn fmt::Display) -> Self {
        match code {
            Code::LOG_BUSY => Self::coded(StatusCode::TOO_MANY_REQUESTS, code, error),
            Code::LOG_SEALED | Code::LOG_FROZEN => Self::coded(StatusCode::FORBIDDEN, code, error),
            Code::LOG_STORE_FAILED | Code::KEY_UNAVAILABLE => {
                tracing::error!(%code, %error, "the certificate log cannot answer");
                Self::coded(StatusCode::SERVICE_UNAVAILABLE, code, "the log cannot answer at the moment")
            }
            _ => {
                tracing::error!(%code, %error, "the certificate log cannot answer");
                Self::coded(StatusCode::INTERNAL_SERVER_ERROR, code, "the log cannot answer")
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = match self.code {
            Some(code) => format!("[{code}] {}\n", self.message),
            None => format!("{}\n", self.message),
        };
        let mut response = (self.status, [(header::CONTENT_TYPE, TEXT)], body).into_response();
        if let Some(code) = self.code {
            response.extensions_mut().insert(code);
        }
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// What the body of a request is refused for.
impl From<gateway::Refusal> for Refusal {
    fn from(refusal: gateway::Refusal) -> Self {
        let status = match refusal.status {
            gateway::Status::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, code: refusal.code, message: refusal.message }
    }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<ChainError> for Refusal {
    fn from(error: ChainError) -> Self {
        Self::coded(StatusCode::BAD_REQUEST, error.code(), error)
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Submission(_) | SubmitError::Append(AppendError::Entry(_)) => {
                Self::coded(StatusCode::BAD_REQUEST, error.code(), error)
            }
            _ => Self::failed(error.code(), &error),
        }
    }
}

impl From<TreeError> for Refusal {
    fn from(error: TreeError) -> Self {
        Self::failed(error.code(), &error)
    }
}

impl From<IssuersError> for Refusal {
    fn from(error: IssuersError) -> Self {
        Self::failed(error.code(), &error)
    }
}

/// The answer to a method that the path does not have; the router adds which it has.
pub(super) async fn wrong_method(method: Method) -> Refusal {
    let message = format!("{method} is not a method of this path");
    Refusal { status: StatusCode::METHOD_NOT_ALLOWED, code: None, message }
}

/// Security row 46: a cache that ignores queries mixes proofs up. What has a query, what is refused and what does not say
/// otherwise is stored by nobody: that leaves tiles and issuers, which are named by their contents.
pub(super) async fn no_store(request: Request, next: Next) -> Response {
    let queried = request.uri().query().is_some();
    let mut response = next.run(request).await;
    if queried || !response.status().is_success() || !response.headers().contains_key(header::CACHE_CONTROL) {
        response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    }
    response
}
