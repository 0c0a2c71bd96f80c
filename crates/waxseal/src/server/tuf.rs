//! The instance's TUF repository: made at the first start, renewed at every start and in the background, and served
//! from memory.
//!
//! ```text
//! DATA/keys/tuf-{root,targets,snapshot,timestamp}.pem    in production without the root's
//! DATA/tuf/N.root.json  N.targets.json  N.snapshot.json  timestamp.json
//! DATA/tuf/targets/SHA256.NAME
//! ```
//!
//! What is served is a map from path to bytes, so that no request reaches the file system.

mod files;
mod told;

pub use told::{Published, expiries, published};

use crate::server::gateway::{Refusal, Status};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use files::{check, load, note, prune};
use jiff::Timestamp as Time;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use waxseal_authority::tuf::{AuthorError, Current, File, Keys, TargetFile, Usage, plan};
use waxseal_formats::client_config::ClientConfig;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyKind, sha256};
use waxseal_formats::signing_config::ClientTrustConfig;
use waxseal_formats::tuf::{Metadata, TopLevel, TufError as FormatError};
use waxseal_io::signer::{KeyFiles, KeyPair, Signer, SignerError};
use waxseal_io::{file, system};
use waxseal_verify::tuf::TufError as VerifyError;

/// How often the background task looks whether something is due.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// What a data directory that was whole once has to have for it: a repository that began anew would be another one to every
/// client. The root key is missed when a root has to be signed; it may be kept elsewhere.
pub const FILES: [&str; 4] =
    ["tuf/1.root.json", "keys/tuf-timestamp.pem", "keys/tuf-snapshot.pem", "keys/tuf-targets.pem"];

/// Why the repository cannot be opened or renewed.
#[derive(Debug, thiserror::Error)]
pub enum TufError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the repository is damaged.
    #[error("{path}: {source}; restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The metadata cannot be made.
    #[error(transparent)]
    Author(#[from] AuthorError),
    /// Clients would refuse what was made, so it was not published.
    #[error("clients would refuse the new metadata: {0}")]
    Unusable(#[from] VerifyError),
}

impl TufError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::File { .. } => Code::INPUT_UNREADABLE,
            Self::Damaged { source, .. } => source.code(),
            Self::Signer(error) => error.code(),
            Self::Author(error) => error.code(),
            Self::Unusable(error) => error.code(),
        }
    }
}

/// The repository.
pub struct Tuf {
    directory: PathBuf,
    signers: Signers,
    /// Held by the one that renews.
    author: Mutex<Author>,
    served: RwLock<Arc<Served>>,
}

/// Where the root's key is.
pub enum RootKey {
    /// With the others. It is made with a new repository; beside existing metadata it may be missing.
    Beside,
    /// Not here.
    Elsewhere,
    /// Here for this once.
    Given(KeyPair),
}

struct Signers {
    /// `None` beside existing metadata when the root key is kept elsewhere.
    root: Option<KeyPair>,
    timestamp: KeyPair,
    snapshot: KeyPair,
    targets: KeyPair,
}

/// What the next renewal starts from.
struct Author {
    current: Current,
    targets: Vec<TargetFile>,
}

/// Files by path below `/tuf/`.
type Files = BTreeMap<String, Bytes>;

/// What requests see.
#[derive(Default)]
struct Served {
    files: Files,
    newest_root: Bytes,
    /// The current target files by name.
    targets: Files,
    expires: Option<Time>,
}

impl Served {
    fn new(files: Files, author: &Author) -> Self {
        let Current { root, timestamp, snapshot, targets } = &author.current;
        let newest_root = root.as_ref().and_then(|root| files.get(&format!("{}.root.json", root.version())));
        let expiries = [
            root.as_ref().map(Metadata::expires),
            timestamp.as_ref().map(Metadata::expires),
            snapshot.as_ref().map(Metadata::expires),
            targets.as_ref().map(Metadata::expires),
        ];
        Self {
            newest_root: newest_root.cloned().unwrap_or_default(),
            targets: author.targets.iter().map(|file| (file.name.clone(), file.bytes.clone().into())).collect(),
            expires: expiries.into_iter().flatten().min(),
            files,
        }
    }
}

impl Tuf {
    /// Opens the repository in the data directory, or makes one, so that at `now` it offers exactly `targets`.
    /// Keys that are missing are made, except the root key beside existing metadata: it may be kept elsewhere, and is
    /// missed only when a root has to be signed, as it is for a new repository.
    ///
    /// # Errors
    /// [`TufError`].
    pub fn open(
        data_dir: &Path,
        (files, root): (&KeyFiles, RootKey),
        targets: Vec<TargetFile>,
        now: Time,
    ) -> Result<Self, TufError> {
        let directory = data_dir.join("tuf");
        let keys = data_dir.join("keys");
        for (path, mode) in [(&directory.join("targets"), 0o755), (&keys, 0o700)] {
            let made = DirBuilder::new().recursive(true).mode(mode).create(path);
            made.map_err(|source| TufError::File { path: path.clone(), source })?;
        }
        let (current, served) = load(&directory)?;
        let path = |role: TopLevel| keys.join(format!("tuf-{}.pem", role.name()));
        let signer = |role| files.load_or_create(&path(role), KeyKind::EcdsaP256);
        let beside =
            || match files.load(&path(TopLevel::Root)) {
                Err(SignerError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    if current.root.is_some() { Ok(None) } else { signer(TopLevel::Root).map(Some) }
                }
                loaded => loaded.map(Some),
            };
        let signers = Signers {
            root: match root {
                RootKey::Beside => beside()?,
                RootKey::Elsewhere => None,
                RootKey::Given(key) => Some(key),
            },
            timestamp: signer(TopLevel::Timestamp)?,
            snapshot: signer(TopLevel::Snapshot)?,
            targets: signer(TopLevel::Targets)?,
        };
        let author = Author { current, targets };
        let served = RwLock::new(Arc::new(Served::new(served, &author)));
        let tuf = Self { directory, signers, author: Mutex::new(author), served };
        tuf.renew(now)?;
        Ok(tuf)
    }

    /// Signs anew what is due at `now`; returns the names of the new metadata files.
    ///
    /// # Errors
    /// [`TufError`]; what was served goes on being served.
    pub fn renew(&self, now: Time) -> Result<Vec<String>, TufError> {
        self.renew_with(&mut self.author.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Replaces the target files, and signs anew what has to be.
    ///
    /// # Errors
    /// As [`Tuf::renew`]; the new target files are tried again at the next renewal.
    pub fn publish(&self, targets: Vec<TargetFile>, now: Time) -> Result<Vec<String>, TufError> {
        let mut author = self.author.lock().unwrap_or_else(PoisonError::into_inner);
        author.targets = targets;
        self.renew_with(&mut author, now)
    }

    /// Renews every hour what is due, for as long as the process runs. A failure is logged and tried again.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RENEWAL_INTERVAL).await;
            let tuf = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || tuf.renew(system::now())).await {
                Ok(Ok(files)) if files.is_empty() => {}
                Ok(Ok(files)) => tracing::info!(?files, "TUF metadata renewed"),
                Ok(Err(error)) => tracing::error!(code = %error.code(), %error, "TUF metadata cannot be renewed"),
                Err(error) => tracing::error!(%error, "TUF renewal broke off"),
            }
        }
    }

    /// SHA-256 of `1.root.json`, in hexadecimal: what a person compares before trusting the instance.
    #[must_use]
    pub fn root_checksum(&self) -> String {
        hex::encode(sha256(self.served().files.get("1.root.json").map_or(&[], |bytes| &bytes[..])))
    }

    /// The current contents of a target file.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<Bytes> {
        self.served().targets.get(name).cloned()
    }

    /// When each of the four roles expires.
    #[must_use]
    pub fn expiries(&self) -> Vec<(TopLevel, Time)> {
        let author = self.author.lock().unwrap_or_else(PoisonError::into_inner);
        let Current { root, timestamp, snapshot, targets } = &author.current;
        [
            root.as_ref().map(|root| (TopLevel::Root, root.expires())),
            targets.as_ref().map(|targets| (TopLevel::Targets, targets.expires())),
            snapshot.as_ref().map(|snapshot| (TopLevel::Snapshot, snapshot.expires())),
            timestamp.as_ref().map(|timestamp| (TopLevel::Timestamp, timestamp.expires())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether the root is renewed with the others: its key is here.
    #[must_use]
    pub const fn renews_root(&self) -> bool {
        self.signers.root.is_some()
    }

    /// When the first of the four roles expires.
    #[must_use]
    pub fn expires(&self) -> Option<Time> {
        self.served().expires
    }

    fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn renew_with(&self, author: &mut Author, now: Time) -> Result<Vec<String>, TufError> {
        let drafts = plan(&author.current, &self.keys(), &author.targets, now)?;
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let mut current = author.current.clone();
        let mut files = self.served().files.clone();
        let mut written = Vec::new();
        for target in &author.targets {
            let path = format!("targets/{}", target.path());
            if files.insert(path.clone(), Bytes::from(target.bytes.clone())).is_none() {
                written.push((path, Bytes::from(target.bytes.clone())));
            }
        }
        for draft in drafts {
            let signature = self.signer(draft.role())?.sign(draft.payload())?;
            let File { role, name, bytes, .. } = draft.signed_with(&signature)?;
            note(&mut current, role, &bytes)
                .map_err(|source| TufError::Damaged { path: name.clone().into(), source })?;
            let bytes = Bytes::from(bytes);
            files.insert(name.clone(), bytes.clone());
            written.push((name, bytes));
        }
        check(&files, now)?;
        // The timestamp is the last: until it is there, clients see the old state, of which nothing is changed.
        for (name, bytes) in &written {
            let path = self.directory.join(name);
            file::replace(&path, bytes).map_err(|source| TufError::File { path, source })?;
        }
        for stale in prune(&mut files) {
            // It would be served again after a restart, no more.
            if let Err(error) = std::fs::remove_file(self.directory.join(&stale)) {
                tracing::warn!(file = stale, %error, "old TUF file cannot be removed");
            }
        }
        author.current = current;
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Served::new(files, author));
        Ok(written.into_iter().map(|(name, _)| name).filter(|name| !name.starts_with("targets/")).collect())
    }

    fn signer(&self, role: TopLevel) -> Result<&KeyPair, AuthorError> {
        match role {
            TopLevel::Root => self.signers.root.as_ref().ok_or(AuthorError::RootNeeded("its key is not here")),
            TopLevel::Timestamp => Ok(&self.signers.timestamp),
            TopLevel::Snapshot => Ok(&self.signers.snapshot),
            TopLevel::Targets => Ok(&self.signers.targets),
        }
    }

    fn keys(&self) -> Keys {
        Keys {
            root: self.signers.root.as_ref().map(|signer| signer.public_key().clone()),
            timestamp: self.signers.timestamp.public_key().clone(),
            snapshot: self.signers.snapshot.public_key().clone(),
            targets: self.signers.targets.public_key().clone(),
        }
    }
}

/// Name of the target with the trusted root.
pub const TRUSTED_ROOT: &str = "trusted_root.json";
/// Name of the target with the signing config.
pub const SIGNING_CONFIG: &str = "signing_config.v0.2.json";
/// Name of the target with what other clients' files have no place for.
pub const CLIENT_CONFIG: &str = "client.json";

/// The target files of an instance at `url`. The files that old clients looked for (`rekor.pub` and its like) are not
/// among them: no client asks for them while these exist.
#[must_use]
pub fn targets(config: &ClientTrustConfig, client: &ClientConfig, url: &str) -> Vec<TargetFile> {
    [
        (TRUSTED_ROOT, config.trusted_root.to_json()),
        (SIGNING_CONFIG, config.signing_config.to_json()),
        (CLIENT_CONFIG, client.to_json()),
    ]
    .map(|(name, text)| TargetFile {
        name: name.to_owned(),
        bytes: text.into_bytes(),
        usage: Usage::Unknown,
        uri: url.to_owned(),
    })
    .into()
}

/// `/tuf/…`: metadata, `/tuf/root.json` (the newest root), and target files. What is not there is a JSON 404, which
/// ends a client's walk along the roots.
pub fn routes(tuf: Arc<Tuf>) -> Router {
    Router::new().route("/tuf/{*path}", get(serve)).with_state(tuf)
}

async fn serve(State(tuf): State<Arc<Tuf>>, UrlPath(path): UrlPath<String>) -> Response {
    let served = tuf.served();
    let found = if path == "root.json" { Some(&served.newest_root) } else { served.files.get(&path) };
    let Some(bytes) = found.cloned() else {
        let mut response = Refusal::plain(Status::NotFound, format!("the repository has no {path}")).into_response();
        // Tomorrow there may be such a root.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return response;
    };
    let content_type = match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("json") => "application/json",
        Some("pem" | "pub") => "application/x-pem-file",
        _ => "application/octet-stream",
    };
    let changes = matches!(path.as_str(), "timestamp.json" | "root.json");
    let caching = if changes { "no-cache" } else { "public, max-age=31536000, immutable" };
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, caching)];
    (headers, bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::files::KEPT_VERSIONS;
    use super::{RootKey, Tuf, TufError, routes};
    use axum::body::Body;
    use axum::http::{Request, StatusCode, header};
    use axum::response::Response;
    use http_body_util::BodyExt;
    use jiff::{SignedDuration, Timestamp as Time};
    use std::path::Path;
    use std::sync::Arc;
    use tower::ServiceExt;
    use waxseal_authority::tuf::{AuthorError, TargetFile, Usage};
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::{KeyKind, sha256};
    use waxseal_io::signer::{KeyFiles, KeyPair};

    fn at(day: i64) -> Time {
        let start: Time = "2026-11-24T15:00:00Z".parse().expect("time");
        start.checked_add(SignedDuration::from_hours(day * 24)).expect("time")
    }

    fn targets(contents: &str) -> Vec<TargetFile> {
        let file = |name: &str| TargetFile {
            name: name.into(),
            bytes: contents.into(),
            usage: Usage::Unknown,
            uri: "http://127.0.0.1:7480".into(),
        };
        vec![file("trusted_root.json"), file("client.json")]
    }

    fn open(data_dir: &Path, targets: Vec<TargetFile>, now: Time) -> Result<Tuf, TufError> {
        Tuf::open(data_dir, (&KeyFiles::plain(), RootKey::Beside), targets, now)
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .expect("directory")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
            .collect();
        names.sort();
        names
    }

    async fn get(tuf: &Arc<Tuf>, path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).expect("request");
        routes(Arc::clone(tuf)).oneshot(request).await.expect("answer")
    }

    async fn body(response: Response) -> Vec<u8> {
        response.into_body().collect().await.expect("body").to_bytes().to_vec()
    }

    #[test]
    fn a_repository_survives_a_restart_unchanged_and_follows_its_targets() {
        let data = tempfile::tempdir().expect("directory");
        let directory = data.path().join("tuf");
        let first = open(data.path(), targets("1"), at(0)).expect("made");
        let made = ["1.root.json", "1.snapshot.json", "1.targets.json", "targets", "timestamp.json"];
        assert_eq!(names(&directory), made);
        assert_eq!(first.expires(), Some(at(7)));
        let again = open(data.path(), targets("1"), at(0)).expect("opened");
        assert_eq!(again.root_checksum(), first.root_checksum());
        assert_eq!(names(&directory), made);

        let changed = again.publish(targets("2"), at(0)).expect("published");
        assert_eq!(changed, ["2.targets.json", "2.snapshot.json", "timestamp.json"]);
        assert_eq!(again.target("client.json").as_deref(), Some(&b"2"[..]));
        // The files of the targets before stay for clients in the middle of a refresh.
        assert_eq!(names(&directory.join("targets")).len(), 4);
        assert_eq!(names(&data.path().join("keys")).len(), 4);
    }

    #[test]
    fn old_snapshots_targets_and_target_files_are_removed_and_roots_stay() {
        let data = tempfile::tempdir().expect("directory");
        let tuf = open(data.path(), targets("0"), at(0)).expect("made");
        for day in 1..20 {
            tuf.publish(targets(&day.to_string()), at(day)).expect("published");
        }
        let kept = names(&data.path().join("tuf"));
        let count = |role: &str| kept.iter().filter(|name| name.ends_with(role)).count() as u64;
        assert_eq!(
            (count(".root.json"), count(".snapshot.json"), count(".targets.json")),
            (1, KEPT_VERSIONS, KEPT_VERSIONS)
        );
        assert_eq!(names(&data.path().join("tuf/targets")).len() as u64, 2 * KEPT_VERSIONS);
        drop(tuf);
        let opened = open(data.path(), targets("19"), at(19)).expect("opened");
        assert_eq!(opened.renew(at(20)).expect("renewed"), ["21.snapshot.json", "timestamp.json"]);
    }

    #[test]
    fn a_root_key_kept_elsewhere_is_not_made_anew_and_only_missed_when_needed() {
        let data = tempfile::tempdir().expect("directory");
        open(data.path(), targets("1"), at(0)).expect("made");
        let key = data.path().join("keys/tuf-root.pem");
        std::fs::remove_file(&key).expect("removed");
        let tuf = open(data.path(), targets("2"), at(1)).expect("opened");
        assert!(!key.exists());
        // Eleven months go by: the rest renews itself, and nothing that is served ever ends within three days.
        for day in 2..335 {
            tuf.renew(at(day)).expect("renewed");
            for (role, ends) in tuf.expiries() {
                assert!(ends > at(day + 3), "{role:?} on day {day}");
            }
        }
        let error = tuf.renew(at(365)).expect_err("expired");
        assert!(matches!(error, TufError::Author(AuthorError::RootNeeded(_))));
        assert_eq!(error.code(), Code::TRUSTED_ROOT_EXPIRED);
        assert_eq!(tuf.target("client.json").as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn a_root_key_that_was_given_once_is_in_no_file() {
        let data = tempfile::tempdir().expect("directory");
        let opened = |root| Tuf::open(data.path(), (&KeyFiles::plain(), root), targets("1"), at(0));
        let error = opened(RootKey::Elsewhere).err().expect("no root can be signed");
        assert!(matches!(error, TufError::Author(AuthorError::RootNeeded(_))), "{error}");
        let key = KeyPair::generate(KeyKind::EcdsaP256).expect("a key");
        let made = opened(RootKey::Given(key)).expect("made").root_checksum();
        assert_eq!(opened(RootKey::Elsewhere).expect("opened").root_checksum(), made);
        assert!(!data.path().join("keys/tuf-root.pem").exists());
    }

    #[test]
    fn a_damaged_file_stops_the_start_and_half_written_ones_do_not() {
        let data = tempfile::tempdir().expect("directory");
        open(data.path(), targets("1"), at(0)).expect("made");
        let directory = data.path().join("tuf");
        std::fs::write(directory.join("timestamp.json.new"), "{").expect("written");
        std::fs::write(directory.join("targets/half.new"), "{").expect("written");
        // A crash between targets and timestamp: both are signed again, above the one that nobody saw.
        std::fs::remove_file(directory.join("timestamp.json")).expect("removed");
        open(data.path(), targets("1"), at(0)).expect("opened");
        std::fs::write(directory.join("1.root.json"), "{").expect("written");
        let error = open(data.path(), targets("1"), at(0)).err().expect("damaged");
        assert!(matches!(&error, TufError::Damaged { path, .. } if path.ends_with("1.root.json")));
        assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED);
    }

    #[tokio::test]
    async fn clients_find_every_file_and_a_json_404() {
        let data = tempfile::tempdir().expect("directory");
        let tuf = Arc::new(open(data.path(), targets("{}"), at(0)).expect("made"));
        let root = get(&tuf, "/tuf/1.root.json").await;
        assert_eq!(root.headers()[header::CONTENT_TYPE], "application/json");
        assert!(root.headers()[header::CACHE_CONTROL].to_str().expect("text").contains("immutable"));
        let root = body(root).await;
        assert_eq!(hex::encode(sha256(&root)), tuf.root_checksum());
        assert_eq!(body(get(&tuf, "/tuf/root.json").await).await, root);
        let timestamp = get(&tuf, "/tuf/timestamp.json").await;
        assert_eq!(timestamp.headers()[header::CACHE_CONTROL], "no-cache");
        let path = format!("/tuf/targets/{}.trusted_root.json", hex::encode(sha256(b"{}")));
        assert_eq!(body(get(&tuf, &path).await).await, b"{}");

        let missing = get(&tuf, "/tuf/2.root.json").await;
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
        assert_eq!(missing.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(missing.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body(missing).await).expect("JSON")["code"], 5);
    }

    #[tokio::test]
    async fn path_traversal_reaches_no_key() {
        let data = tempfile::tempdir().expect("directory");
        let tuf = Arc::new(open(data.path(), targets("{}"), at(0)).expect("made"));
        for path in [
            "/tuf/../keys/tuf-root.pem",
            "/tuf/%2e%2e/keys/tuf-root.pem",
            "/tuf/..%2fkeys%2ftuf-root.pem",
            "/tuf/targets/%2e%2e/%2e%2e/keys/tuf-root.pem",
            "/tuf//etc/passwd",
            "/tuf/timestamp.json%00",
            "/tuf/targets/",
        ] {
            assert_eq!(get(&tuf, path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
