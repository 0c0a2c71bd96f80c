//! The writers' side of RFC 6962 §4.1–4.2: `add-chain` and `add-pre-chain`.

use super::answer::Refusal;
use super::{CtLog, SubmitError};
use crate::server::audit::Asked;
use crate::server::gateway::{json_answer, read_body};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::Arc;
use waxseal_authority::audit::Event;
use waxseal_formats::json::{self, Node};
use waxseal_log::ct::chain::{Chain, Kind};

/// Largest request, in bytes. The chains of real authorities stay under 16 KiB; the largest certificate that the log takes fits
/// with room for its issuers.
pub const MAX_BODY_LEN: usize = 256 << 10;

pub(super) async fn add_chain(ct: State<CtLog>, request: Request) -> Result<Response, Refusal> {
    add(ct, Kind::Certificate, request).await
}

pub(super) async fn add_pre_chain(ct: State<CtLog>, request: Request) -> Result<Response, Refusal> {
    add(ct, Kind::Precertificate, request).await
}

async fn add(State(ct): State<CtLog>, kind: Kind, request: Request) -> Result<Response, Refusal> {
    let row = ct.audit.row(&Event::Submitted, &Asked::by(&request));
    let body = read_body(request, MAX_BODY_LEN).await?;
    let document = json::parse(&body, MAX_BODY_LEN)?;
    let certificates = Node::root(&document).repeated("chain")?;
    let chain = certificates.iter().map(Node::bytes).collect::<Result<Vec<_>, _>>()?;
    let (roots, issuers) = (Arc::clone(&ct.roots), Arc::clone(&ct.issuers));
    // Signatures are verified and issuers written where blocking is allowed.
    let checked = tokio::task::spawn_blocking(move || -> Result<_, Refusal> {
        let chain = Chain::verify(kind, &chain, &roots)?;
        let submission = chain.submission().map_err(SubmitError::Submission)?;
        // Before the entry that names them, so that no entry ever lacks its issuers.
        issuers.keep(chain.issuers())?;
        Ok(submission)
    });
    let submission = checked.await.map_err(|_| SubmitError::Stopped)??;
    let sct = ct.promise(submission.with_audit(row)).await?;
    Ok(json_answer(StatusCode::OK, sct.to_add_chain_response().map_err(SubmitError::Sct)?))
}
