use super::tls::Tls;
use super::{Bounds, ClientAddress, Front, RequestId};
use crate::server::config::{AddressRange, Config};
use crate::server::gateway::read_body;
use crate::server::reload::{Part as _, Refused};
use axum::extract::Request;
use axum::routing::{get, post};
use axum::{Extension, Router};
use prometheus_client::metrics::gauge::Gauge;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

struct Served {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

async fn serve(bounds: Bounds, tls: Option<Arc<Tls>>, trusted_proxies: Vec<AddressRange>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let who = |Extension(ClientAddress(address)): Extension<ClientAddress>, Extension(id): Extension<RequestId>| async move {
        format!("{address} {id}")
    };
    let length = |request: Request| async move {
        read_body(request, 1 << 20).await.map_or_else(|refusal| refusal.message, |body| body.len().to_string())
    };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "slow"
    };
    let router = Router::new().route("/who", get(who)).route("/length", post(length)).route("/slow", get(slow));
    let (stop, stopped) = oneshot::channel();
    let front = Front { listener, tls, bounds, trusted_proxies, connections: Gauge::default() };
    let serving = tokio::spawn(async move { front.serve(router, async { drop(stopped.await) }).await });
    Served { address, stop: Some(stop), serving }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        answer(&mut stream).await
    }
}

/// Everything until the other side closes.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end").ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn who(headers: &str) -> String {
    format!("GET /who HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn every_answer_has_a_number_of_its_own() {
    let served = serve(Bounds::default(), None, Vec::new()).await;
    let (first, second) = (served.ask(&who("")).await, served.ask(&who("")).await);
    let id = |answer: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("a number").to_owned();
        assert!(body(answer).ends_with(&format!(" {line}")), "{answer}");
        line
    };
    assert_ne!(id(&first), id(&second));
    assert!(id(&served.ask(&who("x-request-id: mine\r\n")).await) != "mine", "nobody is believed");
}

#[tokio::test]
async fn what_a_proxy_says_is_believed_of_trusted_proxies_alone() {
    let forwarded = "x-forwarded-for: 203.0.113.9, 198.51.100.7, 10.0.0.2\r\nx-request-id: proxy-1\r\n";
    let served = serve(Bounds::default(), None, Vec::new()).await;
    assert!(body(&served.ask(&who(forwarded)).await).starts_with("127.0.0.1 "));
    let trusted = ["127.0.0.0/8", "10.0.0.0/8"].map(|range| range.parse().expect("a range")).to_vec();
    let served = serve(Bounds::default(), None, trusted).await;
    // The client may have written the first one itself.
    assert_eq!(body(&served.ask(&who(forwarded)).await), "198.51.100.7 proxy-1");
    for wrong in ["", "a b", "é", &"x".repeat(65), "a\"b"] {
        let answer = served.ask(&who(&format!("x-request-id: {wrong}\r\n"))).await;
        assert!(!body(&answer).ends_with(&format!(" {wrong}")) || wrong.is_empty(), "{answer}");
    }
    let answer = served.ask(&who("x-forwarded-for: nonsense\r\n")).await;
    assert!(body(&answer).starts_with("127.0.0.1 "), "{answer}");
}

#[tokio::test]
async fn an_address_that_asks_too_often_has_to_wait() {
    let bounds = Bounds { requests_per_second: Some(NonZeroU32::MIN), ..Bounds::default() };
    let served = serve(bounds, None, Vec::new()).await;
    assert!(served.ask(&who("")).await.starts_with("HTTP/1.1 200 "));
    let refused = served.ask(&who("")).await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("\r\nretry-after: "), "{refused}");
    assert!(body(&refused).contains("[network.limited] "), "{refused}");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let served = serve(Bounds::default(), None, Vec::new()).await;
    let long = served.ask(&who(&format!("x-long: {}\r\n", "x".repeat(200_000)))).await;
    // Whoever is still sending may lose the answer with the connection.
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 431 "), "{long}");
    let many: String = (0..101).map(|number| format!("x-{number}: x\r\n")).collect();
    let many = served.ask(&who(&many)).await;
    assert!(many.starts_with("HTTP/1.1 431 "), "{many}");
}

/// slowloris: a head that comes byte by byte, and a body that does.
#[tokio::test]
async fn requests_that_drip_in_are_cut_off() {
    let short = Duration::from_millis(200);
    let bounds = Bounds { head_time: short, request_time: short, ..Bounds::default() };
    let served = serve(bounds, None, Vec::new()).await;
    for begin in
        ["GET /who HTTP/1.1\r\nhost: a\r\nx-a: ", "POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 9999\r\n\r\n"]
    {
        let mut stream = served.connect().await;
        stream.write_all(begin.as_bytes()).await.expect("sent");
        let cut_off = async {
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, cut_off).await.expect("cut off");
    }
    assert!(served.ask(&who("")).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn silent_connections_are_closed_after_their_time_and_not_before() {
    let bounds =
        Bounds { head_time: Duration::from_millis(100), idle_time: Duration::from_millis(600), ..Bounds::default() };
    let served = serve(bounds, None, Vec::new()).await;
    let mut stream = served.connect().await;
    let request = "GET /who HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut buffer = [0; 1024];
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.expect("sent");
        assert!(stream.read(&mut buffer).await.expect("an answer") > 0);
        // Longer than a head may take: between requests there is none.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let end = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("closed");
    assert_eq!(end.unwrap_or_default(), 0);
}

#[tokio::test]
async fn thousands_of_idle_connections_do_not_keep_others_out() {
    let served = serve(Bounds::default(), None, Vec::new()).await;
    let mut idle = Vec::new();
    for _ in 0..3000 {
        idle.push(served.connect().await);
    }
    for _ in 0..10 {
        assert!(served.ask(&who("")).await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn an_address_has_as_many_connections_as_it_may_and_gets_room_again() {
    let bounds = Bounds { connections_per_address: Some(2), ..Bounds::default() };
    let served = serve(bounds, None, Vec::new()).await;
    let keep = "GET /who HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut buffer = [0; 1024];
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(keep.as_bytes()).await.expect("sent");
        assert!(stream.read(&mut buffer).await.expect("an answer") > 0);
        held.push(stream);
    }
    assert_eq!(served.ask(&who("")).await, "", "the third is closed");
    held.clear();
    let again = async {
        while served.ask(&who("")).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("room again");
    // A proxy speaks for many.
    let trusted = vec!["127.0.0.1".parse().expect("a range")];
    let served = serve(Bounds { connections_per_address: Some(1), ..Bounds::default() }, None, trusted).await;
    let _held = served.connect().await;
    assert!(served.ask(&who("")).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn when_there_is_no_room_connections_wait_for_it() {
    let served = serve(Bounds { connections: 1, ..Bounds::default() }, None, Vec::new()).await;
    let mut first = served.connect().await;
    first.write_all(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    assert!(first.read(&mut [0; 1024]).await.expect("an answer") > 0);
    let second = tokio::spawn({
        let address = served.address;
        async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(who("").as_bytes()).await.expect("sent");
            answer(&mut stream).await
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!second.is_finished());
    drop(first);
    assert!(timeout(PATIENCE, second).await.expect("answered").expect("no panic").starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn requests_under_way_are_finished_when_the_instance_stops() {
    let mut served = serve(Bounds::default(), None, Vec::new()).await;
    let mut busy = served.connect().await;
    let mut idle = served.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(served.stop.take());
    assert!(answer(&mut busy).await.ends_with("slow"));
    assert_eq!(answer(&mut idle).await, "");
    timeout(PATIENCE, served.serving).await.expect("stopped").expect("no panic");
    assert!(TcpStream::connect(served.address).await.is_err(), "no more connections");
}

#[tokio::test]
async fn requests_that_take_too_long_do_not_keep_the_instance_from_stopping() {
    let bounds = Bounds { drain_time: Duration::from_millis(50), ..Bounds::default() };
    let mut served = serve(bounds, None, Vec::new()).await;
    let mut busy = served.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(served.stop.take());
    timeout(PATIENCE, served.serving).await.expect("stopped").expect("no panic");
    assert_eq!(answer(&mut busy).await, "");
}

fn certificate(folder: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    std::fs::write(folder.join("tls.pem"), made.cert.pem()).expect("written");
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).expect("written");
    made.cert.der().clone()
}

async fn ask_over_tls(served: &Served, root: CertificateDer<'static>, name: &'static str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from(name).expect("a name"), served.connect().await).await?;
    stream.write_all(who("").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn reload(tls: &Arc<Tls>, folder: &Path) -> Result<(), Refused> {
    let (certificate, key) = (folder.join("tls.pem"), folder.join("tls.key"));
    let text = format!(
        "public_url: https://first.example\ndata_dir: .\nlisten: 127.0.0.1:1\nrules: rules.yaml\ntls: {{certificate: {}, key: {}}}\n",
        certificate.display(),
        key.display()
    );
    let config = folder.join("waxseal.yaml");
    std::fs::write(&config, text).expect("written");
    let config = Config::read(&config).expect("a configuration");
    assert_eq!(tls.files(&config), [certificate, key]);
    tls.prepare(&config).map(|exchange| drop(exchange()))
}

#[tokio::test]
async fn the_certificate_is_exchanged_without_a_restart_and_a_bad_one_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate_file, key_file) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    let first = certificate(folder.path(), "first.example");
    let tls = Arc::new(Tls::open(&certificate_file, &key_file).expect("TLS"));
    let served = serve(Bounds::default(), Some(Arc::clone(&tls)), Vec::new()).await;
    let answer = ask_over_tls(&served, first.clone(), "first.example").await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let second = certificate(folder.path(), "second.example");
    reload(&tls, folder.path()).expect("reloaded");
    assert!(ask_over_tls(&served, second.clone(), "second.example").await.is_ok());
    assert!(ask_over_tls(&served, first, "first.example").await.is_err(), "the former one");

    let key = std::fs::read(&key_file).expect("read");
    certificate(folder.path(), "third.example");
    std::fs::write(&key_file, &key).expect("written");
    assert_eq!(reload(&tls, folder.path()).expect_err("another key").code.as_str(), "input.malformed");
    std::fs::write(&key_file, "").expect("written");
    assert_eq!(reload(&tls, folder.path()).expect_err("no key").code.as_str(), "input.malformed");
    std::fs::remove_file(&key_file).expect("removed");
    assert_eq!(reload(&tls, folder.path()).expect_err("no file").code.as_str(), "input.unreadable");
    assert!(ask_over_tls(&served, second, "second.example").await.is_ok(), "the one before stays");
    // Somebody who speaks no TLS disturbs nobody.
    assert!(!served.ask(&who("")).await.contains("200 OK"));
}
