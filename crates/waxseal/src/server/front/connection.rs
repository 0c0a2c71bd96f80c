//! One connection: HTTP/1.1, watched by one timer.

use super::{Shared, request};
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::Service as _;

/// Serves a connection until either side has enough of it.
pub(super) async fn run(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    // An answer is one write: nothing is gained by waiting for more of it.
    drop(stream.set_nodelay(true));
    match &shared.tls {
        None => exchange(shared, stream, peer).await,
        Some(tls) => match shared.handshake(tls, stream).await {
            Ok(stream) => exchange(shared, stream, peer).await,
            Err(error) => tracing::debug!(%error, "no TLS connection"),
        },
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    shared: &Arc<Shared>,
    stream: S,
    peer: SocketAddr,
) {
    let bounds = shared.bounds;
    let activity = Arc::new(Activity::new());
    let client = request::Connection::new(shared, peer);
    let service = {
        let (activity, router) = (Arc::clone(&activity), shared.router.clone());
        hyper::service::service_fn(move |request: Request<Incoming>| {
            activity.enter(Phase::Answering);
            let mut request = request.map(Body::new);
            let (mut router, activity) = (router.clone(), Arc::clone(&activity));
            let described = client.describe(&mut request);
            async move {
                let response = match described {
                    Ok(id) => router.call(request).await.map(|response| id.into_answer(response)),
                    Err(refused) => Ok(*refused),
                };
                activity.enter(Phase::Between);
                response
            }
        })
    };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        // Heads and silence are watched here: hyper would make a timer for each request.
        .header_read_timeout(None)
        .max_buf_size(bounds.head_len)
        .max_headers(bounds.headers);
    let io = TokioIo::new(Watched { stream, activity: Arc::clone(&activity) });
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut stopping = shared.stopping.clone();
    let mut watch = tokio::time::interval(bounds.head_time.max(Duration::from_millis(20)) / 2);
    let mut draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            _ = stopping.wait_for(|stopping| *stopping), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = watch.tick() => {
                if activity.is_overdue(&bounds) {
                    tracing::debug!("a connection took too long: closed");
                    return;
                }
            }
        }
    }
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte of the next request is there; an answer may still be on its way out.
    Between = 0,
    /// A request's head is coming in.
    Head = 1,
    /// The routes have it: its body may be coming in.
    Answering = 2,
}

/// When something happened on a connection last.
struct Activity {
    opened: Instant,
    phase: AtomicU8,
    /// Since when the phase lasts, in milliseconds since the connection was opened.
    since: AtomicU64,
    /// When bytes went in or out last, likewise.
    moved: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { opened: Instant::now(), phase: AtomicU8::new(0), since: AtomicU64::new(0), moved: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn enter(&self, phase: Phase) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn read(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
        if self.phase.load(Ordering::Relaxed) == Phase::Between as u8 {
            self.enter(Phase::Head);
        }
    }

    fn written(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// Whether the present phase has lasted too long.
    fn is_overdue(&self, bounds: &super::Bounds) -> bool {
        let (now, since) = (self.now(), self.since.load(Ordering::Relaxed));
        let (from, allowed) = match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Head as u8 => (since, bounds.head_time),
            phase if phase == Phase::Answering as u8 => (since, bounds.request_time),
            _ => (since.max(self.moved.load(Ordering::Relaxed)), bounds.idle_time),
        };
        u128::from(now.saturating_sub(from)) > allowed.as_millis()
    }
}

/// A stream that notes when bytes pass.
struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if polled.is_ready() {
            self.activity.written();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if polled.is_ready() {
            self.activity.written();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
