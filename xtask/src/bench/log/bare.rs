//! A server that appends and does nothing else, beside one that throws away: in this process, with the production
//! server's listener, runtime and body reader, without certificates, signatures of entries, and JSON.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    routing::post,
};
use tokio::{net::TcpListener, runtime::Runtime};
use waxseal::server::{
    drive::{AppendError, Log, LogHandle, Settings},
    gateway::{Refusal, read_body},
};
use waxseal_formats::crypto::KeyKind;
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_log::{
    profile::{Bodies, Face, Profile},
    sequencer::NewEntry,
};

use super::{CONNECTIONS, median};
use crate::bench::figures::{Ratio, Row, Target};
use crate::bench::loader::{self, Answered, Load, cpu_beside};

/// Bytes of an entry.
const ENTRY: usize = 1024;
/// Largest request.
const MAX_BODY: usize = 64 << 10;
/// Both are measured so often, by turns, and the median run of each counts.
const ROUNDS: usize = 5;

/// A log in a directory of its own.
pub(super) struct Bare {
    directory: PathBuf,
    key: Arc<KeyPair>,
}

impl Bare {
    pub(super) fn create(directory: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&directory)?;
        let bare = Self { directory, key: Arc::new(KeyPair::generate(KeyKind::Ed25519)?) };
        Log::create(&bare.directory, &bare.profile(), &Settings::default())?;
        Ok(bare)
    }

    fn profile(&self) -> Profile {
        Profile {
            origin: "bench.example".to_owned(),
            key: self.key.public_key().clone(),
            face: Face::RekorV2,
            bodies: Bodies::Kept,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn open(&self) -> anyhow::Result<Log> {
        self.open_at(&self.directory)
    }

    pub(super) fn open_at(&self, directory: &Path) -> anyhow::Result<Log> {
        Ok(Log::open(directory, self.profile(), self.key.clone(), Settings::default())?)
    }
}

/// Serves `/discard`, and `/add/N` for the Nth log.
pub(super) struct Server {
    // Stops the server when dropped.
    _runtime: Runtime,
    address: SocketAddr,
}

impl Server {
    pub(super) fn start(logs: &[LogHandle]) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let mut router = Router::new().route("/discard", post(discard));
        for (at, log) in logs.iter().enumerate() {
            router = router.merge(Router::new().route(&format!("/add/{at}"), post(add)).with_state(log.clone()));
        }
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { _runtime: runtime, address })
    }

    /// `count` requests to `path` after `warm_up` others; `first` makes their entries differ from those of other runs.
    pub(super) fn load(
        &self,
        path: &str,
        connections: usize,
        warm_up: usize,
        count: usize,
        first: usize,
    ) -> anyhow::Result<Answered> {
        let template = loader::post(path, self.address, "application/octet-stream", &[b'.'; ENTRY]);
        let request = |number: usize, into: &mut Vec<u8>| {
            into.extend_from_slice(&template);
            let start = into.len() - ENTRY;
            into[start..start + 16].copy_from_slice(format!("{:016x}", first + number).as_bytes());
        };
        let load = Load {
            address: self.address,
            connections,
            warm_up,
            count,
            request: &request,
            status: 200,
            server_cpu: &cpu_beside,
        };
        loader::load(&load)
    }
}

async fn discard(request: Request) -> Result<StatusCode, Refusal> {
    read_body(request, MAX_BODY).await?;
    Ok(StatusCode::OK)
}

async fn add(State(log): State<LogHandle>, request: Request) -> Result<String, Refusal> {
    let body = read_body(request, MAX_BODY).await?;
    let entry = NewEntry::leaf(body.to_vec()).map_err(|error| Refusal::invalid(error.code(), error))?;
    Ok(log.append(entry).await?.index.to_string())
}

/// Appends the small entries `from..to`, thousands at a time: as fast as the log takes them.
pub(super) async fn fill(log: &LogHandle, from: u64, to: u64) -> anyhow::Result<()> {
    const AT_ONCE: u64 = 4096;
    let mut tasks = tokio::task::JoinSet::new();
    for first in from..to.min(from + AT_ONCE) {
        let log = log.clone();
        tasks.spawn(async move {
            for number in (first..to).step_by(usize::try_from(AT_ONCE).unwrap_or(1)) {
                loop {
                    match log.append(NewEntry::leaf(format!("entry {number}").into_bytes())?).await {
                        Ok(_) => break,
                        Err(AppendError::Busy) => tokio::time::sleep(Duration::from_millis(5)).await,
                        Err(error) => return Err(anyhow::Error::from(error)),
                    }
                }
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Raw appends, as a share of what the same server throws away.
pub(super) fn measure(folder: &Path) -> anyhow::Result<Vec<Row>> {
    let bare = Bare::create(folder.to_owned())?;
    let log = bare.open()?;
    let server = Server::start(&[log.handle()])?;
    let (mut rows, mut first) = (Vec::new(), 0);
    for connections in CONNECTIONS {
        let (warm_up, count) = if connections == 1 { (500, 4000) } else { (10_000, 60_000) };
        let (mut discarded, mut appended, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let discard = server.load("/discard", connections, warm_up, count, 0)?;
            let append = server.load("/add/0", connections, warm_up, count, first)?;
            // The last requests of a run may be unanswered, and logged all the same.
            first += warm_up + count + connections;
            shares.push(append.rate / discard.rate);
            discarded.push(discard);
            appended.push(append);
        }
        shares.sort_by(f64::total_cmp);
        let share = shares.get(ROUNDS / 2).copied().context("no rounds")?;
        let discard = median(discarded, |run| run.rate).context("no rounds")?;
        let append = median(appended, |run| run.rate).context("no rounds")?;
        let mut ratios = vec![Ratio { what: "of the rate of discards", value: share, target: None }];
        if connections == 256 {
            ratios = vec![
                Ratio::new("of the rate of discards", share, Target::AtLeast(0.45)),
                Ratio::new("p50, ms", append.p50.0 / 1e3, Target::AtMost(5.0)),
            ];
        }
        rows.push(Row { name: format!("discard 1 KiB, {connections}"), answered: discard, ratios: Vec::new() });
        rows.push(Row { name: format!("append 1 KiB, {connections}"), answered: append, ratios });
    }
    drop(server);
    log.close();
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_logged_and_what_is_discarded_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let bare = Bare::create(folder.path().join("log")).unwrap();
        let log = bare.open().unwrap();
        let server = Server::start(&[log.handle()]).unwrap();
        server.load("/discard", 3, 10, 100, 0).unwrap();
        assert_eq!(log.handle().head().size, 0);
        let answered = server.load("/add/0", 3, 10, 100, 0).unwrap();
        assert!((110..=113).contains(&log.handle().head().size));
        assert!(answered.bodies.iter().all(|index| std::str::from_utf8(index).unwrap().parse::<u64>().is_ok()));
    }

    #[test]
    fn a_log_is_filled_with_as_many_entries_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let log = Bare::create(folder.path().join("log")).unwrap().open().unwrap();
        Runtime::new().unwrap().block_on(fill(&log.handle(), 0, 5000)).unwrap();
        assert_eq!(log.handle().head().size, 5000);
    }
}
