//! One HTTP client for everything that is asked of others: bounded in time and size, and never led to another host.
//!
//! Callers build a [`Request`] and read a [`Response`]; the [`Transport`] between them is the network ([`Http`]) or, in
//! tests, recorded answers (`replay`).

mod address;
#[cfg(any(test, feature = "replay"))]
pub mod replay;

use address::{PublicOnly, is_public};
use bytes::{Bytes, BytesMut};
use formats::code::Code;
use formats::crypto::Secret;
use reqwest::redirect::Policy;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use url::{Host, Url};
use waxseal_formats as formats;

/// How long a request may take, connection and body included, unless it says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest body of an answer, in bytes, unless the request says otherwise.
pub const MAX_BODY_LEN: usize = 4 << 20;
/// Most clients with certificate authorities of their own that are kept.
const MAX_PRIVATE_CLIENTS: usize = 64;
/// Most redirects that are followed, all within one origin.
pub const MAX_REDIRECTS: usize = 3;

/// What comes of a request.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Result<Response, TransportError>> + Send + 'a>>;

/// Sends requests.
pub trait Transport: Send + Sync {
    /// Sends one request and reads the whole answer, whatever its status. Nothing is tried again.
    ///
    /// # Errors
    /// [`TransportError`] if no complete answer arrives within the request's bounds.
    fn send(&self, request: Request) -> Pending<'_>;
}

/// Which hosts a request may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Any: its URL was chosen by the user or the operator.
    Anywhere,
    /// Public addresses only: its URL was taken from another server's answer (CVE-2026-49478 and its like). No proxy is
    /// used, because the addresses that a proxy connects to cannot be seen.
    Public,
    /// The metadata service of the cloud that this machine is in, which speaks plain http and is asked without a proxy: its URL is
    /// ours, or the operator's.
    Metadata,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    method: &'static str,
    url: Url,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    max_body_len: usize,
    timeout: Duration,
    reach: Reach,
    authorities: Option<Arc<str>>,
}

impl Request {
    /// A GET request.
    #[must_use]
    pub const fn get(url: Url) -> Self {
        Self {
            method: "GET",
            url,
            headers: Vec::new(),
            body: Bytes::new(),
            max_body_len: MAX_BODY_LEN,
            timeout: TIMEOUT,
            reach: Reach::Anywhere,
            authorities: None,
        }
    }

    /// A POST request.
    #[must_use]
    pub fn post(url: Url, content_type: &str, body: impl Into<Bytes>) -> Self {
        let request = Self { method: "POST", body: body.into(), ..Self::get(url) };
        request.header("content-type", content_type)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, token: &Secret<String>) -> Self {
        self.header("authorization", format!("Bearer {}", token.expose()))
    }

    /// Sets the longest body that is read, in bytes.
    #[must_use]
    pub const fn max_body_len(mut self, len: usize) -> Self {
        self.max_body_len = len;
        self
    }

    /// Sets how long it may take.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets which hosts it may reach.
    #[must_use]
    pub const fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Trusts the certificate authorities of this PEM for TLS instead of the system's. It may not be combined with
    /// [`Reach::Public`]: whoever has a private authority has private addresses.
    #[must_use]
    pub fn trusting(mut self, authorities: Arc<str>) -> Self {
        self.authorities = Some(authorities);
        self
    }

    /// The certificate authorities that it trusts instead of the system's.
    #[must_use]
    pub fn authorities(&self) -> Option<&str> {
        self.authorities.as_deref()
    }

    /// Its method.
    #[must_use]
    pub const fn method(&self) -> &str {
        self.method
    }

    /// Where it goes.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Its body, empty for GET.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The first value of a header, by its name in lower case.
    #[must_use]
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// Headers and body may be credentials.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} bytes)", self.method, self.url, self.body.len())
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status, such as 200.
    pub status: u16,
    /// Its headers, names in lower case; values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// The first value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The beginning of the body as one line of text, for messages about unexpected answers.
    #[must_use]
    pub fn excerpt(&self) -> String {
        const MAX_CHARS: usize = 300;
        let text = String::from_utf8_lossy(&self.body);
        text.chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection, or it broke.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// Where the request went.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// It took too long.
    #[error("{url} did not answer within {} seconds", limit.as_secs())]
    Timeout {
        /// Where the request went.
        url: String,
        /// How long it had.
        limit: Duration,
    },
    /// The body is longer than the request allows.
    #[error("the answer of {url} is longer than {limit} bytes")]
    TooLarge {
        /// Where the request went.
        url: String,
        /// How long it may be.
        limit: usize,
    },
    /// A redirect to another host, port or scheme, or one too many.
    #[error("{url} redirects elsewhere, which is not followed")]
    Redirect {
        /// Where the request went.
        url: String,
    },
    /// Plain http to another machine, and nobody has allowed it.
    #[error("{url} is plain http on another machine")]
    PlainHttp {
        /// Where the request was to go.
        url: String,
    },
    /// Neither http nor https, or an address that is not public where only those may be reached.
    #[error("{url} may not be asked: {reason}")]
    Forbidden {
        /// Where the request was to go.
        url: String,
        /// Why it did not.
        reason: &'static str,
    },
}

impl TransportError {
    /// `network.unreachable`, `input.too-large`, or `usage` for plain http that was not allowed.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::INPUT_TOO_LARGE,
            Self::PlainHttp { .. } => Code::USAGE,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Redirect { .. } | Self::Forbidden { .. } => {
                Code::NETWORK_UNREACHABLE
            }
        }
    }
}

/// Whether plain http may leave this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// To loopback addresses and `localhost` only.
    LoopbackOnly,
    /// To anywhere: the user said so (`--allow-http`).
    Allowed,
}

/// The network: HTTP/1.1 and HTTP/2 over rustls with the system's certificates. Proxies of the environment are used,
/// except towards this machine.
pub struct Http {
    plain_http: PlainHttp,
    general: Client,
    loopback: Client,
    public: Client,
    /// Clients with certificate authorities of their own, by the PEM of these.
    private: Mutex<BTreeMap<Arc<str>, Result<reqwest::Client, String>>>,
}

/// Made when it is first needed: reading the system's certificates takes longer than most requests on this machine.
type Client = OnceLock<Result<reqwest::Client, String>>;

impl Http {
    /// A client.
    #[must_use]
    pub const fn new(plain_http: PlainHttp) -> Self {
        Self {
            plain_http,
            general: OnceLock::new(),
            loopback: OnceLock::new(),
            public: OnceLock::new(),
            private: Mutex::new(BTreeMap::new()),
        }
    }

    fn client(&self, request: &Request) -> Result<reqwest::Client, TransportError> {
        let url = || request.url.to_string();
        let forbidden = |reason| Err(TransportError::Forbidden { url: url(), reason });
        match request.url.scheme() {
            "https" => {}
            "http" if is_loopback(&request.url) || self.plain_http == PlainHttp::Allowed => {}
            "http" if request.reach == Reach::Metadata => {}
            "http" => return Err(TransportError::PlainHttp { url: url() }),
            _ => return forbidden("it is neither http nor https"),
        }
        // Literal addresses never pass through the resolver.
        let literal = match request.url.host() {
            None => return forbidden("it names no host"),
            Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
            Some(Host::Domain(_)) => None,
        };
        let unreachable = |reason: &String| TransportError::Unreachable { url: url(), reason: reason.clone() };
        if let Some(authorities) = &request.authorities {
            return match request.reach {
                Reach::Anywhere => self.private(authorities).map_err(|reason| unreachable(&reason)),
                Reach::Public | Reach::Metadata => forbidden("it has certificate authorities of its own"),
            };
        }
        let client = match request.reach {
            Reach::Metadata => self.loopback.get_or_init(|| build(builder().no_proxy())),
            Reach::Anywhere if is_loopback(&request.url) => self.loopback.get_or_init(|| build(builder().no_proxy())),
            Reach::Anywhere => self.general.get_or_init(|| build(builder())),
            Reach::Public if literal.is_some_and(|address| !is_public(address)) => {
                return forbidden("its address is not public");
            }
            Reach::Public => self.public.get_or_init(|| build(builder().no_proxy().dns_resolver(PublicOnly))),
        };
        client.clone().map_err(|reason| unreachable(&reason))
    }

    /// No proxy stands between us and a host that has its certificate from a private authority.
    fn private(&self, authorities: &Arc<str>) -> Result<reqwest::Client, String> {
        let mut clients = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_PRIVATE_CLIENTS && !clients.contains_key(authorities) {
            clients.clear();
        }
        let make = || {
            let certificates = reqwest::Certificate::from_pem_bundle(authorities.as_bytes());
            let certificates = certificates.map_err(|error| cause(&error))?;
            if certificates.is_empty() {
                return Err("there is no certificate authority to trust".to_owned());
            }
            build(builder().no_proxy().tls_certs_only(certificates))
        };
        clients.entry(Arc::clone(authorities)).or_insert_with(make).clone()
    }

    async fn exchange(&self, request: Request) -> Result<Response, TransportError> {
        let client = self.client(&request)?;
        let url = request.url.to_string();
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                TransportError::Timeout { url: url.clone(), limit: request.timeout }
            } else if error.is_redirect() {
                TransportError::Redirect { url: url.clone() }
            } else {
                TransportError::Unreachable { url: url.clone(), reason: cause(&error) }
            }
        };
        let method = if request.method == "POST" { reqwest::Method::POST } else { reqwest::Method::GET };
        let mut outgoing =
            client.request(method, request.url.clone()).timeout(request.timeout).body(request.body.clone());
        for (name, value) in &request.headers {
            outgoing = outgoing.header(*name, value);
        }
        let mut answer = outgoing.send().await.map_err(failed)?;
        let headers = answer
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len().saturating_add(chunk.len()) > request.max_body_len {
                return Err(TransportError::TooLarge { url, limit: request.max_body_len });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status: answer.status().as_u16(), headers, body: body.freeze() })
    }
}

impl Transport for Http {
    fn send(&self, request: Request) -> Pending<'_> {
        Box::pin(self.exchange(request))
    }
}

/// Does the URL name this machine: a loopback address, `localhost` or a name below it (RFC 6761 §6.3)?
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, String> {
    builder.build().map_err(|error| cause(&error))
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("waxseal/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::custom(|attempt| {
            let within = attempt.previous().iter().all(|url| url.origin() == attempt.url().origin());
            if within && attempt.previous().len() <= MAX_REDIRECTS {
                attempt.follow()
            } else {
                attempt.error("redirect")
            }
        }))
}

/// The innermost cause, without the URL that is said anyway.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.source().is_none() { "the request cannot be sent".to_owned() } else { innermost.to_string() }
}

#[cfg(test)]
mod tests {
    use super::{Http, PlainHttp, Reach, Request, Response, Transport, TransportError};
    use formats::code::Code;
    use formats::crypto::Secret;
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use url::Url;
    use waxseal_formats as formats;

    /// Answers every request by its path, with the raw bytes that `answer` makes of path and own address.
    async fn server(answer: impl Fn(&str, SocketAddr) -> String + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address");
        let answer = std::sync::Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|end| end == b"\r\n\r\n")
                        && stream.read_buf(&mut head).await.is_ok_and(|len| len > 0)
                    {}
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    let text = if path == "/echo" { ok(&head) } else { answer(path, own) };
                    let _ = stream.write_all(text.as_bytes()).await;
                    if path.starts_with("/endless") {
                        while stream.write_all(b"5\r\nhello\r\n").await.is_ok() {}
                    } else if path == "/slow" {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        own
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    fn redirect(to: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    async fn some_server() -> SocketAddr {
        server(|path, own| match path {
            "/x" => ok("here"),
            "/within" => redirect("/x"),
            "/loop" => redirect("/loop"),
            "/other-name" => redirect(&format!("http://localhost:{}/x", own.port())),
            "/other-port" => redirect(&format!("http://127.0.0.1:{}/x", own.port().wrapping_add(1))),
            "/other-scheme" => redirect(&format!("https://127.0.0.1:{}/x", own.port())),
            "/out" => redirect("https://evil.example/x"),
            "/endless" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            "/slow" => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".to_owned(),
            _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nx-a: 1\r\nx-a: 2\r\n\r\nno".to_owned(),
        })
        .await
    }

    fn url(server: SocketAddr, path: &str) -> Url {
        Url::parse(&format!("http://{server}{path}")).expect("a URL")
    }

    async fn send(request: Request) -> Result<Response, TransportError> {
        Http::new(PlainHttp::LoopbackOnly).send(request).await
    }

    #[tokio::test]
    async fn an_answer_comes_with_its_status_headers_and_body() {
        let server = some_server().await;
        let answer = send(Request::get(url(server, "/none"))).await.expect("an answer");
        assert_eq!((answer.status, answer.header("x-a"), &answer.body[..]), (404, Some("1"), &b"no"[..]));
        let token = Secret::new("t0p".to_owned());
        let request = Request::post(url(server, "/echo"), "application/json", "{}").bearer(&token);
        assert!(!format!("{request:?}").contains("t0p"));
        let echo = send(request).await.expect("an answer").excerpt();
        for part in
            ["POST /echo", "user-agent: waxseal/", "content-type: application/json", "authorization: Bearer t0p"]
        {
            assert!(echo.contains(part), "{echo}");
        }
    }

    #[tokio::test]
    async fn cve_2026_49478_redirects_never_lead_to_another_host_port_or_scheme() {
        let server = some_server().await;
        assert_eq!(send(Request::get(url(server, "/within"))).await.expect("an answer").body, "here");
        for path in ["/other-name", "/other-port", "/other-scheme", "/out", "/loop"] {
            let error = send(Request::get(url(server, path))).await.expect_err(path);
            assert!(matches!(error, TransportError::Redirect { .. }), "{path}: {error}");
            assert_eq!(error.code(), Code::NETWORK_UNREACHABLE);
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let server = some_server().await;
        assert!(send(Request::get(url(server, "/x")).max_body_len(4)).await.is_ok());
        for path in ["/x", "/endless"] {
            let error = send(Request::get(url(server, path)).max_body_len(3)).await.expect_err(path);
            assert!(matches!(error, TransportError::TooLarge { limit: 3, .. }), "{error}");
            assert_eq!(error.code(), Code::INPUT_TOO_LARGE);
        }
    }

    #[tokio::test]
    async fn a_slow_answer_is_given_up() {
        let server = some_server().await;
        let start = Instant::now();
        let request = Request::get(url(server, "/slow")).timeout(Duration::from_millis(200));
        let error = send(request).await.expect_err("no answer");
        assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn plain_http_stays_on_this_machine() {
        for target in ["http://waxseal.example/", "http://192.0.2.1/", "http://127.0.0.1.example/"] {
            let error = send(Request::get(Url::parse(target).expect("a URL"))).await.expect_err(target);
            assert!(matches!(error, TransportError::PlainHttp { .. }), "{error}");
            assert_eq!(error.code(), Code::USAGE);
        }
        for target in ["ftp://127.0.0.1/", "file:///etc/passwd", "data:,x"] {
            let error = send(Request::get(Url::parse(target).expect("a URL"))).await.expect_err(target);
            assert!(matches!(error, TransportError::Forbidden { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn what_another_server_named_is_asked_at_public_addresses_only() {
        let server = some_server().await;
        for target in [
            url(server, "/x"),
            Url::parse(&format!("http://localhost:{}/x", server.port())).expect("a URL"),
            Url::parse("https://169.254.169.254/latest/meta-data").expect("a URL"),
            Url::parse("https://[::1]/").expect("a URL"),
            Url::parse("https://[::ffff:10.0.0.1]/").expect("a URL"),
            Url::parse("https://0x7f.1/").expect("a URL"),
        ] {
            let error = send(Request::get(target.clone()).reach(Reach::Public)).await.expect_err(target.as_str());
            assert_eq!(error.code(), Code::NETWORK_UNREACHABLE, "{target}");
            assert!(error.to_string().contains("public"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_named_with_the_cause() {
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let error = send(Request::get(url(closed, "/"))).await.expect_err("closed");
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
