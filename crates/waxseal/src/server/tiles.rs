//! The readers' side of any log: its public checkpoint and its tiles (C2SP tlog-tiles).

use crate::server::drive::{LogHandle, TreeError};
use crate::server::gateway::{self, Refusal, Status};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use waxseal_formats::tile::TileId;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// A checkpoint is news.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// A full tile never changes; neither does a partial one, which is named by its width.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=604800, immutable");

/// The published checkpoint; a log without leaves has none.
pub async fn checkpoint(log: &LogHandle) -> Response {
    let note = log.published().note;
    if note.is_empty() {
        return gateway::not_found().await.into_response();
    }
    ([(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, NO_STORE)], note.as_bytes().to_vec()).into_response()
}

/// The tile at `path`, the part of the URL after `tile/`.
pub async fn tile(log: &LogHandle, path: &str) -> Response {
    let Some(id) = TileId::parse(&format!("tile/{path}")) else { return gateway::not_found().await.into_response() };
    match log.tile(id).await {
        Ok(Some(tile)) => {
            ([(header::CONTENT_TYPE, BYTES), (header::CACHE_CONTROL, IMMUTABLE)], tile.bytes).into_response()
        }
        Ok(None) => gateway::not_found().await.into_response(),
        Err(error @ TreeError::Sealed) => {
            let (code, message) = (Some(error.code()), error.to_string());
            Refusal { status: Status::Forbidden, code, message }.into_response()
        }
        Err(error) => {
            tracing::error!(code = %error.code(), %error, "tile cannot be read");
            Refusal { status: Status::Internal, code: Some(error.code()), message: "the tile cannot be read".into() }
                .into_response()
        }
    }
}
