//! Against registries in this process, over sockets: honest ones with and without a list of referrers, and hostile ones.

mod access;
mod hostile;
mod referrers;
mod slow;

use super::{Credentials, Pace, Registry, RegistryError, RegistrySettings};
use bytes::Bytes;
use formats::code::Code;
use formats::crypto::{HashAlgorithm, Secret};
use formats::oci::{CONFIG, Descriptor, ImageManifest, MANIFEST, Manifest, Reference, Repository};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use waxseal_formats as formats;

/// `alice:hunter2`.
const BASIC: &str = "Basic YWxpY2U6aHVudGVyMg==";

/// A request that a server saw.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    /// Path and query.
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Seen {
    fn authorization(&self) -> Option<&str> {
        self.headers.get("authorization").map(String::as_str)
    }
}

/// What a server answers.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Sent,
}

/// What comes after the head.
enum Sent {
    Bytes(Bytes),
    /// These bytes, after having said that there are so many.
    Claiming(u64, Bytes),
    /// Bytes without end, as fast as they are taken.
    Endless,
    /// One byte after the other without end, so long apart.
    Drip(Duration),
    /// Nothing, not even a head.
    Silence,
}

fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Answer { status, headers, body: Sent::Bytes(body.into()) }
}

fn error(status: u16, code: &str) -> Answer {
    answer(status, &[], format!(r#"{{"errors":[{{"code":"{code}","message":"told so"}}]}}"#))
}

fn found() -> Answer {
    answer(200, &[("content-type", MANIFEST)], image("x"))
}

/// Asks for `expected` and answers with `then` who has it.
fn guarded(seen: &Seen, challenge: &str, expected: &str, then: impl FnOnce() -> Answer) -> Answer {
    if seen.authorization() == Some(expected) {
        return then();
    }
    let mut refused = error(401, "UNAUTHORIZED");
    refused.headers.push(("www-authenticate".to_owned(), challenge.to_owned()));
    refused
}

/// A server on this machine.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    fn repository(&self) -> Repository {
        Repository::parse(&format!("{}/app", self.address)).expect("a repository")
    }

    fn reference(&self, tag: &str) -> Reference {
        self.repository().with_tag(tag).expect("a reference")
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.target.contains(part)).count()
    }

    /// Whether nobody ever told it who he is.
    fn learnt_nothing(&self) -> bool {
        self.seen()
            .iter()
            .all(|seen| seen.authorization().is_none() && !String::from_utf8_lossy(&seen.body).contains("hunter2"))
    }
}

/// Answers every request with what `answer` makes of it.
async fn serve(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Server {
    listen(None, answer).await
}

/// As [`serve`], with TLS.
async fn serve_tls(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (Server, RegistrySettings) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let server = listen(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config))), answer).await;
    (server, RegistrySettings { authorities: Some(made.cert.pem()), ..settings() })
}

async fn listen(
    tls: Option<tokio_rustls::TlsAcceptor>,
    answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, log, answer) = (tls.clone(), Arc::clone(&log), Arc::clone(&answer));
            tokio::spawn(async move {
                match tls {
                    None => converse(stream, &log, &*answer).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => converse(stream, &log, &*answer).await,
                        Err(_) => None,
                    },
                }
            });
        }
    });
    Server { address, seen }
}

/// One request and its answer.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<Seen>>,
    answer: &(dyn Fn(&Seen) -> Answer + Send + Sync),
) -> Option<()> {
    let mut read = Vec::new();
    let end = loop {
        match read.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) => break end,
            None if stream.read_buf(&mut read).await.ok()? == 0 => return None,
            None => {}
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ').map(ToOwned::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let len: usize = headers.get("content-length").map_or(0, |len| len.parse().expect("a length"));
    let mut body = read.split_off(end + 4);
    while body.len() < len {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let seen = Seen { method, target, headers, body };
    log.lock().expect("no panic").push(seen.clone());
    let Answer { status, headers, body } = answer(&seen);
    let mut head = format!("HTTP/1.1 {status} Said\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let len = match &body {
        Sent::Bytes(bytes) => Some(bytes.len() as u64),
        Sent::Claiming(len, _) => Some(*len),
        Sent::Endless | Sent::Drip(_) => None,
        Sent::Silence => std::future::pending().await,
    };
    head +=
        &len.map_or("transfer-encoding: chunked\r\n\r\n".to_owned(), |len| format!("content-length: {len}\r\n\r\n"));
    stream.write_all(head.as_bytes()).await.ok()?;
    match body {
        Sent::Bytes(bytes) | Sent::Claiming(_, bytes) if seen.method != "HEAD" => {
            stream.write_all(&bytes).await.ok()?
        }
        Sent::Endless => loop {
            let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
            stream.write_all(&chunk).await.ok()?;
        },
        Sent::Drip(apart) => loop {
            stream.write_all(b"1\r\n \r\n").await.ok()?;
            tokio::time::sleep(apart).await;
        },
        _ => {}
    }
    stream.shutdown().await.ok()
}

/// Fast enough for tests, and never asking the machine's own keychain.
fn settings() -> RegistrySettings {
    let (back_off, settle) = (Duration::from_millis(1), Duration::from_millis(1));
    RegistrySettings {
        credentials: Credentials::Anonymous,
        pace: Pace { back_off, settle, max_wait: Duration::from_secs(1), ..Pace::default() },
        ..RegistrySettings::default()
    }
}

fn password() -> Credentials {
    Credentials::Password { user: "alice".to_owned(), password: Secret::new("hunter2".to_owned()) }
}

fn client(settings: RegistrySettings) -> Registry {
    Registry::new(settings).expect("a client")
}

fn registry() -> Registry {
    client(settings())
}

fn with_password() -> Registry {
    client(RegistrySettings { credentials: password(), ..settings() })
}

/// The reason code of a refusal, which never tells the password.
#[track_caller]
fn code<T>(outcome: Result<T, RegistryError>) -> Code {
    let refused = outcome.err().expect("refused");
    assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused}");
    refused.code()
}

/// An image whose parts need not exist.
fn image(marker: &str) -> Bytes {
    let layer = Descriptor::of("application/vnd.oci.image.layer.v1.tar", marker.as_bytes());
    ImageManifest::of_layers(Descriptor::of(CONFIG, b"{}"), vec![layer]).to_json().into()
}

fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor::of(MANIFEST, content)
}

fn blob(content: &[u8]) -> Descriptor {
    Descriptor::of("a/b", content)
}
