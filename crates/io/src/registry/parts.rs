//! Blobs on their way: they may take as long as they move, and no longer (CVE-2023-33957, CVE-2024-29902 and their like).

use super::client::unreachable;
use super::reach::shown;
use super::{Pace, RegistryError};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use reqwest::Response;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use url::Url;

/// How much is sent at once, in bytes.
const PART_LEN: usize = 64 << 10;

/// What is sent, part by part.
pub(super) type Outgoing = BoxStream<'static, Result<Bytes, RegistryError>>;

/// An answer's body, part by part. Only waiting is counted: whoever reads may take his time.
pub(super) struct Incoming {
    response: Response,
    pace: Pace,
    came: u64,
    waited: Duration,
}

impl Incoming {
    pub(super) const fn new(response: Response, pace: Pace) -> Self {
        Self { response, pace, came: 0, waited: Duration::ZERO }
    }

    /// The next part; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let Pace { window, min_len, .. } = self.pace;
        let start = Instant::now();
        let part = timeout(window.saturating_sub(self.waited), self.response.chunk()).await;
        let Ok(part) = part else { return Err(slow(self.response.url())) };
        let part = part.map_err(|error| unreachable(&error, self.response.url()))?;
        self.waited = self.waited.saturating_add(start.elapsed());
        self.came = self.came.saturating_add(part.as_ref().map_or(0, |part| part.len() as u64));
        if self.came >= min_len {
            (self.came, self.waited) = (0, Duration::ZERO);
        }
        Ok(part)
    }
}

/// Bytes in parts, so that it is seen whether they move.
pub(super) fn outgoing(bytes: Bytes) -> Outgoing {
    let parts = stream::unfold(bytes, |mut left| async move {
        let part = left.split_to(left.len().min(PART_LEN));
        (!part.is_empty()).then_some((Ok(part), left))
    });
    parts.boxed()
}

/// Waits for an answer for as long as what is sent moves: then the registry has as much time as it has for every part.
pub(super) async fn watch(
    request: reqwest::RequestBuilder,
    body: Outgoing,
    pace: &Pace,
    url: &Url,
) -> Result<Response, RegistryError> {
    let moved = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&moved);
    let counted = body.inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let exchange = super::client::send(request.body(reqwest::Body::wrap_stream(counted)), url);
    tokio::pin!(exchange);
    loop {
        match timeout(pace.window, &mut exchange).await {
            Ok(outcome) => return outcome,
            Err(_) if moved.swap(0, Ordering::Relaxed) == 0 => return Err(slow(url)),
            Err(_) => {}
        }
    }
}

/// Waits for the head of an answer that brings a blob.
pub(super) async fn head(request: reqwest::RequestBuilder, pace: &Pace, url: &Url) -> Result<Response, RegistryError> {
    let answered = timeout(pace.request, super::client::send(request, url)).await;
    answered.unwrap_or_else(|_| Err(slow(url)))
}

pub(super) fn slow(url: &Url) -> RegistryError {
    RegistryError::Slow { url: shown(url) }
}
