//! Fulcio's API version 1: `/api/v1/signingCert` and `/api/v1/rootCert`, which gitsign and cosign 2 speak.
//!
//! The same walk as in version 2; the certificate comes as PEM, and the success is exactly 201.

use super::super::audit::Asked;
use super::super::gateway::{method_not_allowed, read_body};
use super::request::{MAX_BODY_LEN, SigningRequest};
use super::{Fulcio, bearer_token};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use waxseal_formats::x509::Certificate;

const CHAIN: HeaderValue = HeaderValue::from_static("application/pem-certificate-chain");

pub(super) fn routes() -> Router<Arc<Fulcio>> {
    Router::new()
        .route("/api/v1/signingCert", post(signing_certificate).fallback(method_not_allowed))
        .route("/api/v1/rootCert", get(root_certificate).fallback(method_not_allowed))
}

async fn signing_certificate(State(fulcio): State<Arc<Fulcio>>, request: Request) -> Response {
    let (asked, header_token) = (Asked::by(&request), bearer_token(request.headers()).map(str::to_owned));
    let request = read_body(request, MAX_BODY_LEN).await.and_then(|body| SigningRequest::parse_v1(&body, header_token));
    match fulcio.decide_and_issue(request, &asked).await {
        Ok(certificate) => {
            let chain = [&certificate].into_iter().chain(fulcio.issuer.chain());
            pem_answer(StatusCode::CREATED, chain)
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn root_certificate(State(fulcio): State<Arc<Fulcio>>) -> Response {
    pem_answer(StatusCode::OK, fulcio.issuer.chain())
}

/// The blocks one after another, each ending in a newline.
fn pem_answer<'a>(status: StatusCode, chain: impl IntoIterator<Item = &'a Certificate>) -> Response {
    let text: String = chain.into_iter().map(Certificate::to_pem).collect();
    (status, [(header::CONTENT_TYPE, CHAIN)], text).into_response()
}
