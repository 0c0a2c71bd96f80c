//! The shards of the log: the active one at `/`, each of them at `/shard/N`.
//!
//! They have one origin, since that is the host's name, and different keys. What is cached has to be asked for at `/shard/N`: at `/`
//! another tree is served after every change of shards.

use super::{RekorV2, create_entry};
use crate::server::drive::{AppendError, Appended, LogHandle};
use crate::server::first_entry::FirstEntryError;
use crate::server::gateway::{Refusal, Status, method_not_allowed, not_found};
use crate::server::tiles;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use waxseal_formats::code::Code;
use waxseal_log::sequencer::NewEntry;

/// The path below which the shards are, by their numbers.
pub const PATH: &str = "/shard";
/// Kept, and asked for again every time.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// The logs of an instance in the order of their creation.
pub(super) struct Shards {
    /// Those that took the entries before; they are frozen, or are about to be.
    pub(super) former: Vec<LogHandle>,
    /// The one that takes the entries.
    pub(super) active: LogHandle,
}

impl RekorV2 {
    /// Makes `log` the shard that takes the entries, after its first entry: from here on no request goes to the one before but
    /// those under way. That one can be frozen now, and is returned.
    ///
    /// # Errors
    /// [`FirstEntryError`]; then everything is as before.
    pub async fn switch(&self, log: LogHandle) -> Result<LogHandle, FirstEntryError> {
        Self::begin(&log).await?;
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut shards.active, log);
        shards.former.push(before.clone());
        Ok(before)
    }

    /// The shard that takes the entries.
    #[must_use]
    pub fn active(&self) -> LogHandle {
        self.read().active.clone()
    }

    /// Logs an entry in the active shard. Whoever comes to a shard that was frozen in the meantime goes on to the next one.
    pub(super) async fn append(&self, entry: NewEntry) -> Result<(LogHandle, Appended), AppendError> {
        let mut log = self.active();
        loop {
            match log.append(entry.clone()).await {
                Ok(appended) => return Ok((log, appended)),
                Err(AppendError::Frozen) => {
                    let active = self.active();
                    if active.key_id() == log.key_id() {
                        return Err(AppendError::Frozen);
                    }
                    log = active;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A shard by its number, counted from 1.
    fn shard(&self, number: u32) -> Option<LogHandle> {
        let shards = self.read();
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        shards.former.iter().chain([&shards.active]).nth(place).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Shards> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes below `/shard/N`.
pub(super) fn routes() -> Router<Arc<RekorV2>> {
    let routes = Router::new().route("/api/v2/log/entries", post(create).fallback(method_not_allowed));
    let routes = ["", "/api/v2"].into_iter().fold(routes, |routes, below| {
        routes
            .route(&format!("{below}/checkpoint"), get(checkpoint))
            .route(&format!("{below}/tile/{{*path}}"), get(tile))
    });
    Router::new().nest(&format!("{PATH}/{{number}}"), routes)
}

/// A shard's number as it is written in an address: no sign, no zeros in front.
fn numbered(rekor: &RekorV2, number: &str) -> Option<LogHandle> {
    let value: u32 = number.parse().ok()?;
    (value.to_string() == number).then(|| rekor.shard(value))?
}

async fn checkpoint(State(rekor): State<Arc<RekorV2>>, Path(number): Path<String>) -> Response {
    match numbered(&rekor, &number) {
        Some(log) => tiles::checkpoint(&log).await,
        None => not_found().await.into_response(),
    }
}

async fn tile(State(rekor): State<Arc<RekorV2>>, Path((number, path)): Path<(String, String)>) -> Response {
    match numbered(&rekor, &number) {
        Some(log) => tiles::tile(&log, &path).await,
        None => not_found().await.into_response(),
    }
}

/// The tile of the active shard, whose address is another shard's later on.
pub(super) async fn tile_for_now(State(rekor): State<Arc<RekorV2>>, Path(path): Path<String>) -> Response {
    let mut response = tiles::tile(&rekor.active(), &path).await;
    if response.status() == StatusCode::OK {
        response.headers_mut().insert(header::CACHE_CONTROL, NO_CACHE);
    }
    response
}

async fn create(
    State(rekor): State<Arc<RekorV2>>,
    Path(number): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let Some(log) = numbered(&rekor, &number) else { return Err(not_found().await) };
    if log.key_id() == rekor.active().key_id() {
        return create_entry(State(rekor), request).await;
    }
    tracing::info!(code = Code::LOG_FROZEN.as_str(), shard = number, "entry for a frozen shard refused");
    let message = format!(
        "shard {number} of this log has been frozen and takes no more entries; switch to the newest one, at the root of this host"
    );
    Err(Refusal { status: Status::Frozen, code: Some(Code::LOG_FROZEN), message })
}
