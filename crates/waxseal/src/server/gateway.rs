//! How Fulcio and Rekor v2 answer over HTTP: the conventions of grpc-gateway that their clients know.
//!
//! An error is `{"code":<gRPC code>,"message":"[reason.code] sentence","details":[]}`: clients look at the HTTP status and print
//! the rest. A body is bounded before it is read, and read before it is parsed.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::json;
use waxseal_formats::code::Code;

/// The kinds of failure that these services tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The request is at fault: 400, gRPC INVALID_ARGUMENT.
    InvalidArgument,
    /// The request is too large: 413, gRPC INVALID_ARGUMENT.
    TooLarge,
    /// The request is in order and its sender may not make it: 403, gRPC PERMISSION_DENIED.
    Forbidden,
    /// There is no such path: 404, gRPC NOT_FOUND.
    NotFound,
    /// The path has no such method: 501, gRPC UNIMPLEMENTED.
    Unimplemented,
    /// The log takes no more entries: 405, gRPC UNIMPLEMENTED, as upstream's frozen logs answer.
    Frozen,
    /// Too much is under way or was asked for: 429, gRPC RESOURCE_EXHAUSTED, with Retry-After.
    Exhausted {
        /// Seconds until it is worth another try.
        retry_after: u64,
    },
    /// Nothing can be done at the moment: 503, gRPC UNAVAILABLE, with Retry-After.
    Unavailable,
    /// This side is at fault: 500, gRPC INTERNAL.
    Internal,
}

impl Status {
    /// The HTTP status.
    #[must_use]
    pub const fn http(self) -> StatusCode {
        match self {
            Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Frozen => StatusCode::METHOD_NOT_ALLOWED,
            Self::Exhausted { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn grpc(self) -> u8 {
        match self {
            Self::InvalidArgument | Self::TooLarge => 3,
            Self::NotFound => 5,
            Self::Forbidden => 7,
            Self::Exhausted { .. } => 8,
            Self::Unimplemented | Self::Frozen => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of failure it is.
    pub status: Status,
    /// The reason, if it is one of ours.
    pub code: Option<Code>,
    /// A sentence for the person at the other end.
    pub message: String,
}

impl Refusal {
    /// A request that is at fault for a known reason.
    pub fn invalid(code: Code, message: impl ToString) -> Self {
        Self { status: Status::InvalidArgument, code: Some(code), message: message.to_string() }
    }

    /// A failure without a reason code of its own.
    pub fn plain(status: Status, message: impl ToString) -> Self {
        Self { status, code: None, message: message.to_string() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let message = match self.code {
            Some(code) => format!("[{code}] {}", self.message),
            None => self.message,
        };
        let body = json!({"code": self.status.grpc(), "message": message, "details": []});
        let mut response = (self.status.http(), Json(body)).into_response();
        if let Some(code) = self.code {
            response.extensions_mut().insert(code);
        }
        if self.status == Status::Frozen {
            // RFC 9110 §15.5.6 demands the header; its empty value says that no method is left.
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(""));
        }
        let retry_after = match self.status {
            Status::Exhausted { retry_after } => Some(retry_after),
            Status::Unavailable => Some(1),
            _ => None,
        };
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Reads a body of at most `limit` bytes. A larger one is refused as soon as that is known, by its announced length at best.
///
/// # Errors
/// [`Status::TooLarge`] with `input.too-large`; `input.unreadable` if it breaks off.
pub async fn read_body(request: Request, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal {
        status: Status::TooLarge,
        code: Some(Code::INPUT_TOO_LARGE),
        message: format!("the body is larger than {limit} bytes"),
    };
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(too_large());
    }
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Refusal::invalid(Code::INPUT_UNREADABLE, "the body broke off")),
    }
}

/// The answer to a path that is not there.
pub async fn not_found() -> Refusal {
    Refusal::plain(Status::NotFound, "Not Found")
}

/// The answer to a method that the path does not have.
pub async fn method_not_allowed(method: Method) -> Refusal {
    Refusal::plain(Status::Unimplemented, format!("Method Not Allowed: {method}"))
}

/// A JSON answer with exactly this status: some clients accept no other success than the one they know.
#[must_use]
pub fn json_answer(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::{Refusal, Status, read_body};
    use axum::body::Body;
    use axum::extract::Request;
    use axum::response::IntoResponse;
    use waxseal_formats::code::Code;

    #[tokio::test]
    async fn a_large_body_is_refused_by_its_announced_or_its_real_length() {
        let announced = Request::builder().header("content-length", "11").body(Body::from("x")).expect("request");
        let refusal = read_body(announced, 10).await.expect_err("refused");
        assert_eq!((refusal.status, refusal.code), (Status::TooLarge, Some(Code::INPUT_TOO_LARGE)));
        let silent = Request::builder().body(Body::from("12345678901")).expect("request");
        let refusal = read_body(silent, 10).await.expect_err("refused");
        assert_eq!((refusal.status, refusal.code), (Status::TooLarge, Some(Code::INPUT_TOO_LARGE)));
        let fitting = Request::builder().body(Body::from("1234567890")).expect("request");
        assert_eq!(read_body(fitting, 10).await.expect("read").len(), 10);
    }

    #[tokio::test]
    async fn the_error_has_the_gateways_shape_and_our_code() {
        let response = Refusal::invalid(Code::TOKEN_AUDIENCE, "for someone else").into_response();
        assert_eq!(response.status(), 400);
        let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("body");
        let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({"code": 3, "message": "[token.audience] for someone else", "details": []})
        );
        let response = Refusal::plain(Status::Exhausted { retry_after: 7 }, "later").into_response();
        assert_eq!(response.headers()["retry-after"], "7");
    }
}
