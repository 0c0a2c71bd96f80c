//! How Rekor v1 refuses: `{"code":<HTTP status>,"message":"[reason.code] sentence"}`, which Go's client prints word for word.

use crate::server::drive::{AppendError, TreeError};
use crate::server::gateway::{Refusal, json_answer};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use waxseal_authority::writers::WriterDenied;
use waxseal_formats::code::Code;
use waxseal_formats::entry::proposed::ProposedError;
use waxseal_formats::json::JsonError;
use waxseal_io::signer::SignerError;
use waxseal_log::rekor::RekorError;

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: Option<Code>,
    message: String,
    location: Option<String>,
}

impl Failure {
    fn new(status: StatusCode, code: Code, message: impl ToString) -> Self {
        Self { status, code: Some(code), message: message.to_string(), location: None }
    }

    /// The request is at fault: 400.
    pub(super) fn invalid(code: Code, message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The request is not what the API's schema describes: 422.
    pub(super) fn schema(message: impl ToString) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::INPUT_MALFORMED, message)
    }

    /// The log has no such entry: 404.
    pub(super) fn missing(message: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::LOG_ENTRY_MISSING, message)
    }

    /// The entry is in the log already: 409. Clients take the ID from the end of the message or of the header.
    pub(super) fn exists(id: &str, location: String) -> Self {
        let message = format!("an equivalent entry already exists in the transparency log with UUID {id}");
        Self { location: Some(location), ..Self::new(StatusCode::CONFLICT, Code::LOG_ENTRY_EXISTS, message) }
    }

    /// The log does not keep its entries: 403.
    pub(super) fn sealed(what: &str) -> Self {
        let message = format!(
            "this instance is sealed: {what}, because its log keeps no entries. An entry is proven by its bundle, \
             or by retrieving it with the entry itself (`entries`); an instance made with `--privacy open` answers this"
        );
        Self::new(StatusCode::FORBIDDEN, Code::LOG_SEALED, message)
    }

    /// Writes down what was refused and why. The message stays in the answer: it may repeat words of the request.
    pub(super) fn log(&self) {
        let code = self.code.map_or("", Code::as_str);
        if self.status.is_server_error() {
            tracing::error!(code, reason = self.message, "entry not logged");
        } else {
            tracing::info!(code, "entry refused");
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let message = match self.code {
            Some(code) => format!("[{code}] {}", self.message),
            None => self.message,
        };
        let mut response =
            json_answer(self.status, json!({"code": self.status.as_u16(), "message": message}).to_string());
        if let Some(code) = self.code {
            response.extensions_mut().insert(code);
        }
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.code == Some(Code::LOG_FROZEN) {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status.http(), code: refusal.code, message: refusal.message, location: None }
    }
}

impl From<WriterDenied> for Failure {
    fn from(error: WriterDenied) -> Self {
        Refusal::from(error).into()
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<ProposedError> for Failure {
    fn from(error: ProposedError) -> Self {
        let status = match &error {
            ProposedError::Schema(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ProposedError::Json(JsonError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), format!("error processing entry: {error}"))
    }
}

impl From<RekorError> for Failure {
    fn from(error: RekorError) -> Self {
        Self::invalid(error.code(), format!("error processing entry: {error}"))
    }
}

impl From<SignerError> for Failure {
    fn from(error: SignerError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::KEY_UNAVAILABLE, error)
    }
}

impl From<TreeError> for Failure {
    fn from(error: TreeError) -> Self {
        if matches!(error, TreeError::Sealed) {
            return Self::sealed("it cannot be asked for entries");
        }
        if matches!(error, TreeError::Unpublished(_)) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), error);
        }
        tracing::error!(code = %error.code(), %error, "the log cannot be read");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.code(), "the log cannot be read")
    }
}

/// The answer to a path that the API does not have.
pub(super) async fn not_found() -> Failure {
    Failure { status: StatusCode::NOT_FOUND, code: None, message: "path not found".into(), location: None }
}

/// The answer to a method that the path does not have.
pub(super) async fn method_not_allowed(method: Method) -> Failure {
    let message = format!("method {method} is not allowed");
    Failure { status: StatusCode::METHOD_NOT_ALLOWED, code: None, message, location: None }
}
