//! The front of an instance: connections in, requests to the routes, whatever strangers do.
//!
//! A connection is bounded in number, in time and in size of its request heads. It has one task and one timer; a request costs
//! neither.

mod connection;
mod limit;
mod request;
pub mod tls;

pub use limit::RequestLimit;
pub use request::{ClientAddress, RequestId};

use crate::server::config::AddressRange;
use axum::Router;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tls::Tls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use waxseal_io::system;

/// How long accepting pauses when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors that connections leave for files, unless there are too few for that: then half of them.
const RESERVED_DESCRIPTORS: usize = 512;

/// What connections may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at a time. Further ones wait to be accepted.
    pub connections: usize,
    /// Connections at a time of one address; further ones are closed. Proxies that are trusted have no such bound.
    pub connections_per_address: Option<usize>,
    /// Requests of one address in a second, with as many at once.
    pub requests_per_second: Option<NonZeroU32>,
    /// Until a request's head is complete, from its first byte; and until a TLS handshake is.
    pub head_time: Duration,
    /// Until a request is answered, from the end of its head.
    pub request_time: Duration,
    /// How long a connection may be silent between requests, or while it takes in an answer.
    pub idle_time: Duration,
    /// Bytes of a request's head that are kept while it is incomplete; it is refused when there are more.
    pub head_len: usize,
    /// Headers of a request.
    pub headers: usize,
    /// How long requests under way may take to finish when the instance stops.
    pub drain_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: None,
            requests_per_second: None,
            head_time: Duration::from_secs(10),
            request_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(75),
            head_len: 64 * 1024,
            headers: 100,
            drain_time: Duration::from_secs(30),
        }
    }
}

/// A listener and what goes before the routes.
pub struct Front {
    /// Where connections come from.
    pub listener: TcpListener,
    /// The certificate, if TLS is spoken here.
    pub tls: Option<Arc<Tls>>,
    /// What connections may use up.
    pub bounds: Bounds,
    /// Whose headers about the client are believed.
    pub trusted_proxies: Vec<AddressRange>,
    /// Is kept at the number of open connections.
    pub connections: Gauge,
}

/// What all connections share.
struct Shared {
    router: Router,
    tls: Option<Arc<Tls>>,
    bounds: Bounds,
    trusted_proxies: Vec<AddressRange>,
    limit: Option<RequestLimit>,
    /// Open connections by address.
    open: Mutex<HashMap<IpAddr, usize>>,
    /// How many they are.
    gauge: Gauge,
    /// Closed when the instance stops.
    stopping: tokio::sync::watch::Receiver<bool>,
}

impl Front {
    /// Answers requests until `shutdown` is done, then takes no more connections and finishes the requests under way.
    /// Nothing that a client does ends it.
    pub async fn serve(self, router: Router, shutdown: impl Future<Output = ()>) {
        let Self { listener, tls, bounds, trusted_proxies, connections: gauge } = self;
        let descriptors = descriptors();
        let reserved = RESERVED_DESCRIPTORS.min(descriptors / 2);
        let connections = bounds.connections.min(descriptors.saturating_sub(reserved)).max(1);
        let slots = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let limit = bounds.requests_per_second.map(RequestLimit::per_second);
        let open = Mutex::default();
        let shared = Arc::new(Shared { router, tls, bounds, trusted_proxies, limit, open, gauge, stopping });
        let mut tasks = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                // Finished ones are taken out, so that the set does not grow.
                Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
                accepted = accept(&listener, &slots) => accepted,
            };
            let (stream, address, slot) = accepted;
            let Some(place) = Place::take(&shared, address.ip()) else {
                tracing::debug!("too many connections of one address: closed");
                continue;
            };
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                connection::run(&shared, stream, address).await;
                drop((place, slot));
            });
        }
        drop(listener);
        let _ = stop.send(true);
        let deadline = Instant::now() + shared.bounds.drain_time;
        while !tasks.is_empty() {
            if tokio::time::timeout_at(deadline, tasks.join_next()).await.is_err() {
                tracing::warn!(connections = tasks.len(), "requests were still under way and were broken off");
                break;
            }
        }
    }
}

/// The next connection, once there is room for one. Errors concern one connection, or pass.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address, slot),
            Err(error) if connection_broke(error.kind()) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted; trying again");
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

const fn connection_broke(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
}

/// How many descriptors the process may have; it asks for as many as it is allowed to.
fn descriptors() -> usize {
    system::raise_descriptor_limit().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// A connection counted for its address.
struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Place {
    fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let address = address.to_canonical();
        let bound = match shared.bounds.connections_per_address {
            Some(bound) if !shared.trusts(address) => bound,
            _ => usize::MAX,
        };
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= bound {
            return None;
        }
        *count = count.saturating_add(1);
        shared.gauge.inc();
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.gauge.dec();
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

impl Shared {
    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|range| range.contains(address))
    }

    /// The TLS handshake, within its time.
    async fn handshake(
        &self,
        tls: &Tls,
        stream: TcpStream,
    ) -> std::io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        let handshake = timeout(self.bounds.head_time, tls.acceptor().accept(stream)).await;
        handshake.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests;
