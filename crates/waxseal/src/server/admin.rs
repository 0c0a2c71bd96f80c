//! The operator's way to an instance that runs: a socket in its data directory.
//!
//! ```text
//! DATA/admin.sock      mode 0600, one request and one answer a connection
//! {"shard":{"settle":30}}\n
//! {"done":{"sharded":{"former":{…},"active":{…}}}}\n   or   {"refused":{"code":"log.busy","message":"…"}}\n
//! ```
//!
//! Whoever may use it owns the keys beside it, so it gives no power that the directory does not give. There is no such way over
//! the network.

use crate::server::operate::{Done, Operator, Order};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Permissions};
use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use waxseal_formats::code::Code;

/// Name of the socket in the data directory.
pub const SOCKET: &str = "admin.sock";
/// Longest request, in bytes.
const MAX_REQUEST: u64 = 4096;
/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// How long a request may take to arrive.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How long an order may take beyond what it is told to wait: the disk may be full, or slow.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);
/// Connections at a time; orders are carried out one after the other.
const CONNECTIONS: usize = 4;

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was carried out.
    Done(Done),
    /// It was not.
    Refused {
        /// The reason code.
        code: String,
        /// The reason in a sentence.
        message: String,
    },
}

/// Why an instance that runs gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The socket, or the directory in which it is.
    #[error("{}: {source}", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: Error,
    },
    /// The answer cannot be read.
    #[error("the running instance answered with something else than an answer: {0}")]
    Answer(String),
    /// There is no answer, or none in time.
    #[error("the running instance gave no answer; what it did is in its log")]
    Silent,
}

impl AskError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Socket { .. } => Code::INPUT_UNREADABLE,
            Self::Answer(_) => Code::INPUT_MALFORMED,
            Self::Silent => Code::NETWORK_UNREACHABLE,
        }
    }
}

/// The listening socket; it is gone when this is dropped.
pub struct Admin {
    socket: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = fs::remove_file(&self.socket) {
            tracing::debug!(%error, "the operator's socket was not removed");
        }
    }
}

impl Admin {
    /// Listens for orders. Whoever calls this holds the lock of the data directory: a socket that is there was left behind.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::AlreadyExists`] if the socket's name is that of something else.
    pub fn listen(data_dir: &Path, operator: Arc<Operator>) -> Result<Self, Error> {
        let address = Address::of(data_dir)?;
        match fs::symlink_metadata(&address.path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&address.path)?,
            Ok(_) => return Err(Error::new(ErrorKind::AlreadyExists, format!("{SOCKET} is not a socket"))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(&address.path)?;
        fs::set_permissions(&address.path, Permissions::from_mode(0o600))?;
        let owner = fs::symlink_metadata(&address.path)?.uid();
        let task = tokio::spawn(accept(listener, owner, operator));
        Ok(Self { socket: data_dir.join(SOCKET), task })
    }
}

async fn accept(listener: UnixListener, owner: u32, operator: Arc<Operator>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the operator's socket accepts nobody");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        // Between its making and its mode the socket was open to whoever may enter the directory.
        if !stream.peer_cred().is_ok_and(|peer| [0, owner].contains(&peer.uid())) {
            tracing::warn!("somebody else than the owner came to the operator's socket");
            continue;
        }
        let operator = Arc::clone(&operator);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, operator).await {
                tracing::warn!(%error, "the operator's command is gone");
            }
            drop(permit);
        });
    }
}

async fn converse(mut stream: UnixStream, operator: Arc<Operator>) -> Result<(), Error> {
    let (reader, mut writer) = stream.split();
    let line = tokio::time::timeout(REQUEST_WITHIN, line(reader, MAX_REQUEST)).await;
    let answer = match line.map_err(Error::from).and_then(|line| line) {
        Ok(line) => match serde_json::from_slice::<Order>(&line) {
            Ok(order) => carry_out(order, operator).await,
            Err(error) => Answer::Refused { code: Code::USAGE.to_string(), message: format!("the request: {error}") },
        },
        Err(error) => Answer::Refused { code: Code::USAGE.to_string(), message: format!("the request: {error}") },
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    writer.write_all(&text).await?;
    writer.shutdown().await
}

/// Carries out an order, also if the command that gave it goes away.
async fn carry_out(order: Order, operator: Arc<Operator>) -> Answer {
    tracing::info!(?order, "the operator's order");
    let done = tokio::task::spawn_blocking(move || operator.carry_out(order)).await;
    match done {
        Ok(Ok(done)) => {
            tracing::info!(?done, "the operator's order is carried out");
            Answer::Done(done)
        }
        Ok(Err(error)) => {
            tracing::error!(code = %error.code(), %error, "the operator's order is not carried out");
            Answer::Refused { code: error.code().to_string(), message: error.to_string() }
        }
        Err(error) => Answer::Refused { code: Code::LOG_STORE_FAILED.to_string(), message: error.to_string() },
    }
}

/// One line of at most `max` bytes, without its end.
async fn line(reader: impl tokio::io::AsyncRead + Unpin, max: u64) -> Result<Vec<u8>, Error> {
    let mut line = Vec::new();
    BufReader::new(reader.take(max)).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(Error::new(ErrorKind::InvalidData, format!("not a line of at most {max} bytes")));
    }
    Ok(line)
}

/// A way to an instance that runs.
pub struct Connection {
    stream: UnixStream,
    socket: PathBuf,
}

impl Connection {
    /// Connects to the instance that runs on a data directory; `None` if none listens there.
    ///
    /// # Errors
    /// [`AskError::Socket`].
    pub async fn to(data_dir: &Path) -> Result<Option<Self>, AskError> {
        let address = Address::of(data_dir).map_err(|source| AskError::Socket { path: data_dir.to_owned(), source })?;
        let socket = data_dir.join(SOCKET);
        match UnixStream::connect(&address.path).await {
            Ok(stream) => Ok(Some(Self { stream, socket })),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(source) => Err(AskError::Socket { path: socket, source }),
        }
    }

    /// Gives an order, and waits until it is carried out.
    ///
    /// # Errors
    /// [`AskError`]; the order may have been carried out all the same.
    pub async fn give(self, order: Order) -> Result<Answer, AskError> {
        let Self { mut stream, socket } = self;
        let failed = |source| AskError::Socket { path: socket, source };
        let mut text = serde_json::to_vec(&order).unwrap_or_default();
        text.push(b'\n');
        stream.write_all(&text).await.map_err(failed)?;
        let wait = match order {
            Order::Freeze { .. } => ANSWER_WITHIN,
            Order::Shard { settle } => ANSWER_WITHIN.saturating_add(Duration::from_secs(settle)),
        };
        let answer = match tokio::time::timeout(wait, line(stream, MAX_ANSWER)).await {
            Ok(Ok(line)) => line,
            Ok(Err(_)) | Err(_) => return Err(AskError::Silent),
        };
        serde_json::from_slice(&answer).map_err(|error| AskError::Answer(error.to_string()))
    }
}

/// The socket's path, short enough for any directory: an address has room for 107 bytes.
struct Address {
    path: PathBuf,
    _directory: File,
}

impl Address {
    fn of(data_dir: &Path) -> Result<Self, Error> {
        let directory = File::open(data_dir)?;
        let by_number = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        // Where there is no /proc, the path has to be short enough as it is.
        let folder = if by_number.exists() { by_number } else { data_dir.to_owned() };
        Ok(Self { path: folder.join(SOCKET), _directory: directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_are_one_line_and_nothing_unknown_is_an_order() {
        let text = |order| serde_json::to_string(&order).expect("JSON");
        assert_eq!(text(Order::Shard { settle: 30 }), r#"{"shard":{"settle":30}}"#);
        let freeze = Order::Freeze { log: crate::server::operate::Name::RekorV1 };
        assert_eq!(text(freeze), r#"{"freeze":{"log":"rekor-v1"}}"#);
        for wrong in [
            "",
            "{}",
            r#"{"thaw":{}}"#,
            r#"{"shard":{}}"#,
            r#"{"shard":{"settle":1,"x":2}}"#,
            r#"{"freeze":{"log":"tuf"}}"#,
        ] {
            assert!(serde_json::from_str::<Order>(wrong).is_err(), "{wrong}");
        }
        let refused = Answer::Refused { code: "log.busy".into(), message: "two\nlines".into() };
        let line = serde_json::to_string(&refused).expect("JSON");
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Answer>(&line).expect("read"), refused);
    }

    #[tokio::test]
    async fn a_line_is_bounded_and_has_an_end() {
        assert_eq!(line(&b"{}\nmore"[..], 10).await.expect("a line"), b"{}");
        for wrong in [&b""[..], b"no end", b"0123456789 too long\n"] {
            assert_eq!(line(wrong, 10).await.expect_err("refused").kind(), ErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn a_socket_is_reached_however_long_its_path_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("d".repeat(200));
        assert!(matches!(Connection::to(&deep).await, Err(AskError::Socket { .. })), "no directory");
        fs::create_dir(&deep).expect("made");
        assert!(Connection::to(&deep).await.expect("nobody").is_none());
        let address = Address::of(&deep).expect("an address");
        let listener = UnixListener::bind(&address.path).expect("bound");
        assert!(fs::symlink_metadata(deep.join(SOCKET)).expect("there").file_type().is_socket());
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody");
            let mut request = [0; 23];
            stream.read_exact(&mut request).await.expect("a request");
            stream.write_all(b"{\"refused\":{\"code\":\"log.busy\",\"message\":\"later\"}}\n").await.expect("answered");
            String::from_utf8(request.to_vec()).expect("text")
        });
        let connection = Connection::to(&deep).await.expect("reached").expect("listening");
        let answer = connection.give(Order::Shard { settle: 0 }).await.expect("an answer");
        assert_eq!(answer, Answer::Refused { code: "log.busy".into(), message: "later".into() });
        assert_eq!(answering.await.expect("task"), "{\"shard\":{\"settle\":0}}\n"[..23].to_owned());
        // Left behind by a process that died: nobody listens.
        assert!(deep.join(SOCKET).exists());
        assert!(Connection::to(&deep).await.expect("nobody").is_none());
    }
}
