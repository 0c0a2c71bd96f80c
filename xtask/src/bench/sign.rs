//! `cargo xtask bench sign`: what somebody who signs waits for, and what a new instance costs.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::runtime::Runtime;
use waxseal::{
    client::sign::{Ceremony, Services, SignWith, SigningAlgorithm, ToSign},
    server::idp::{
        Idp,
        claims::{IssuerKind, MintRequest},
    },
};
use waxseal_formats::{crypto::Secret, signing_config::ClientTrustConfig};
use waxseal_io::{
    system,
    transport::{Http, PlainHttp},
};

use super::{
    figures::{Ratio, Row, Target, once},
    loader::Answered,
    measure::{Micros, quantile},
    primitives::Primitives,
    rows,
};
use crate::interop;

/// New instances of which the median is taken.
const FRESH: usize = 5;
/// Longer than an instance needs to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// End to end on a warm instance; then new ones, from the start of the process to a signature that verifies.
pub(super) fn measure(waxseal: &Path, folder: &Path, primitives: &Primitives) -> anyhow::Result<Vec<Row>> {
    let warm = folder.join("warm");
    fs::create_dir_all(&warm)?;
    let end_to_end = interop::with_instance(waxseal, &warm, &interop::Options::default(), rows::sign)?;
    let (sum, p50) = (end_to_end.sum(primitives).0, end_to_end.measured);
    let mut figures = vec![Row {
        name: end_to_end.name.to_owned(),
        answered: Answered { rate: 1e6 / p50.0, p50, p99: p50, cpu: Micros(f64::NAN), bodies: Vec::new() },
        ratios: vec![Ratio::new("of 2 fdatasync and the primitives", p50.0 / sum, Target::AtMost(5.0))],
    }];
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for number in 0..FRESH {
        let (took, idle) = fresh(waxseal, &folder.join(format!("fresh-{number}")))?;
        times.push(took);
        memory.push(idle);
    }
    let first = quantile(times, 0.5).into();
    figures.push(once("from start to the first signature", first, Some(Target::AtMost(0.25))));
    memory.sort_by(f64::total_cmp);
    let idle = memory.get(FRESH / 2).copied().context("no memory was looked at")?;
    figures.push(Row {
        ratios: vec![Ratio::new("MB, resident", idle, Target::AtMost(40.0))],
        ..once("idle", Micros(f64::NAN), None)
    });
    Ok(figures)
}

/// A process that is ended with what it is for.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The time from the start of a new instance to a signature that verifies, and the megabytes it holds a second later.
fn fresh(waxseal: &Path, folder: &Path) -> anyhow::Result<(Duration, f64)> {
    fs::create_dir_all(folder)?;
    let artifact = folder.join("artifact");
    fs::write(&artifact, b"artifact")?;
    let (data, runtime) = (folder.join("data"), Runtime::new()?);
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let start = Instant::now();
    let mut up = Up(Command::new(waxseal)
        .args(["up", "--listen", &listen.to_string(), "--data-dir"])
        .arg(&data)
        .env("XDG_STATE_HOME", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?);
    wait(&mut up, listen, start)?;
    let origin = format!("http://{listen}");
    let transport = Http::new(PlainHttp::LoopbackOnly);
    let config = interop::Http::new()?.fetch(&format!("{origin}/trust-config.json"))?;
    let ClientTrustConfig { trusted_root, signing_config } = ClientTrustConfig::from_json(&config)?;
    let services = Services::for_identity(&signing_config, system::now())?;
    let ceremony = Ceremony { transport: &transport, services: &services, root: &trusted_root };
    let request = MintRequest {
        issuer: IssuerKind::Email,
        identity: "alice@corp.example".to_owned(),
        audience: "sigstore".to_owned(),
        claims: serde_json::Map::new(),
    };
    let token = Secret::new(Idp::open(&data, &origin)?.mint(&request)?);
    let with = SignWith::Identity { token: &token, algorithm: SigningAlgorithm::default() };
    runtime.block_on(ceremony.sign(with, &ToSign::Blob(artifact)))?;
    let took = start.elapsed();
    thread::sleep(Duration::from_secs(1));
    Ok((took, resident(up.0.id())?))
}

/// Waits until the listener answers: it is bound when everything behind it is there.
fn wait(up: &mut Up, listen: SocketAddr, start: Instant) -> anyhow::Result<()> {
    while !ready(listen) {
        ensure!(up.0.try_wait()?.is_none() && start.elapsed() < PATIENCE, "waxseal up is not ready");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn ready(listen: SocketAddr) -> bool {
    use std::io::{Read as _, Write as _};
    let asked = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(listen)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b"200"))
    };
    asked().unwrap_or_default()
}

/// Megabytes of a process's resident set.
fn resident(process: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes / 1000.0)
}
