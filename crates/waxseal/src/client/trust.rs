//! Pinned instances: whom this machine trusts, and what was last verified of them.
//!
//! ```text
//! $XDG_CONFIG_HOME/waxseal/trust/NAME/        (or ~/.config/…)
//!   instance.json        URL, TUF mirror, digest of the root that the user gave
//!   metadata/ROLE.json   TUF metadata, as it was received: what protects from rollbacks
//!   verified.json        trusted root, signing config and client config of the last complete refresh
//! ```
//!
//! Nothing is trusted on first use: an instance is pinned by its root metadata or the digest of it, which the user
//! has from elsewhere. It lies with the configuration, not in a cache, since deleting it loses the protection from
//! rollbacks.
//!
//! Verifying opens no socket: [`TrustStore::pinned`] reads `verified.json`. The root and targets metadata behind it
//! may not be expired, because after that their signers no longer stand for them; an expired timestamp or snapshot
//! (a week) only means that news may have been missed, and is a warning. Signing, which needs the network anyway,
//! refreshes first.

use crate::client::tuf::{Repository, TufError};
use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use url::Url;
use waxseal_formats::client_config::{ClientConfig, ClientConfigError};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::sha256;
use waxseal_formats::signing_config::{SigningConfig, SigningConfigError};
use waxseal_formats::trusted_root::{TrustedRoot, TrustedRootError};
use waxseal_formats::tuf::{MAX_ROOT_LEN, format_time};
use waxseal_io::file;
use waxseal_io::transport::{PlainHttp, Request, Transport, TransportError};
use waxseal_verify::tuf::TufError as VerifyError;

/// Longest name of a pinned instance.
const MAX_NAME_LEN: usize = 64;
/// Largest `instance.json`, in bytes.
const MAX_INSTANCE_LEN: usize = 16 * 1024;
/// Largest `verified.json`, in bytes.
const MAX_VERIFIED_LEN: usize = 32 << 20;

/// Why an instance is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It is not pinned.
    #[error("{instance} is not pinned on this machine")]
    Unpinned {
        /// The URL or name that was asked for.
        instance: String,
    },
    /// Its root is another one.
    #[error("the root at {url} has SHA-256 {found}, expected {expected}")]
    Pin {
        /// Where the root came from.
        url: String,
        /// Its digest, in hexadecimal.
        found: String,
        /// The digest that the user gave.
        expected: String,
    },
    /// Neither an http nor an https URL that could be an instance's.
    #[error("{0:?} is not the URL of an instance")]
    Url(String),
    /// A name that cannot be a directory's.
    #[error("{0:?} cannot be the name of an instance: lower-case letters, digits, `.`, `_` and `-`, at most 64")]
    Name(String),
    /// The name stands for another instance.
    #[error("the name {name} is taken by {url}")]
    NameTaken {
        /// The name.
        name: String,
        /// The instance that has it.
        url: String,
    },
    /// Neither `XDG_CONFIG_HOME` nor `HOME` is set.
    #[error("there is no configuration directory: set XDG_CONFIG_HOME or HOME")]
    NoHome,
    /// The root or targets metadata of the last refresh no longer stands for its signers.
    #[error("what was verified of {name} expired at {}", format_time(*expires))]
    Expired {
        /// The instance.
        name: String,
        /// When.
        expires: Time,
    },
    /// A file of the store is damaged.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The repository cannot be read, or is refused.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// Its trusted root is refused.
    #[error(transparent)]
    TrustedRoot(#[from] TrustedRootError),
    /// Its signing config is refused.
    #[error(transparent)]
    SigningConfig(#[from] SigningConfigError),
    /// Its client config is refused.
    #[error(transparent)]
    ClientConfig(#[from] ClientConfigError),
}

impl TrustError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unpinned { .. } => Code::TRUSTED_ROOT_UNPINNED,
            Self::Pin { .. } => Code::TRUSTED_ROOT_PIN,
            Self::Url(_) | Self::Name(_) | Self::NameTaken { .. } | Self::NoHome => Code::USAGE,
            Self::Expired { .. } => Code::TRUSTED_ROOT_EXPIRED,
            Self::Damaged { .. } => Code::TRUSTED_ROOT_MALFORMED,
            Self::Tuf(error) => error.code(),
            Self::TrustedRoot(error) => error.code(),
            Self::SigningConfig(error) => error.code(),
            Self::ClientConfig(error) => error.code(),
        }
    }

    /// What to do next, if that can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unpinned { instance } if instance.contains("://") => Some(format!(
                "waxseal trust add {instance} --root-sha256 SHA256   (SHA-256 of its 1.root.json, from whoever runs it)"
            )),
            Self::Unpinned { .. } => Some("waxseal trust list   shows the pinned instances".into()),
            Self::NameTaken { .. } => Some("choose another with --name".into()),
            Self::Expired { name, .. } => Some(format!("waxseal trust refresh {name}   asks for newer metadata")),
            Self::Tuf(TufError::Transport(TransportError::PlainHttp { .. })) => {
                Some("use https, or --allow-http if everybody on the way is trusted".into())
            }
            Self::Damaged { .. } => Some("waxseal trust remove, then waxseal trust add, makes it anew".into()),
            _ => None,
        }
    }
}

/// How the user says which root he trusts.
#[derive(Clone, Debug)]
pub enum RootPin {
    /// The root metadata itself.
    Bytes(Vec<u8>),
    /// SHA-256 of `1.root.json`, which is fetched from the mirror.
    Sha256([u8; 32]),
    /// A root at a URL, and its SHA-256.
    At(Url, [u8; 32]),
}

/// An instance to be pinned.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// Its URL, by which it is looked up.
    pub url: String,
    /// Its TUF repository; `URL/tuf` if it is not said.
    pub mirror: Option<String>,
    /// The name; made from the host if it is not said.
    pub name: Option<String>,
    /// Its root.
    pub root: RootPin,
    /// Whether it may be spoken to over plain http from another machine.
    pub plain_http: PlainHttp,
}

/// Whether the last refresh still stands for the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing is expired.
    Fresh,
    /// The timestamp or snapshot expired at this moment: news may have been missed.
    StaleSince(Time),
}

/// A pinned instance with what was last verified of it.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Its TUF repository.
    pub mirror: String,
    /// SHA-256 of the root that the user gave, in hexadecimal.
    pub root_sha256: String,
    /// Whether it may be spoken to over plain http from another machine.
    pub plain_http: PlainHttp,
    /// When it was last refreshed.
    pub refreshed: Time,
    /// Whether that still stands for the present.
    pub freshness: Freshness,
    /// Whom to trust.
    pub trusted_root: TrustedRoot,
    /// Where to sign; other instances may lack it.
    pub signing_config: Option<SigningConfig>,
    /// How to get a token; other instances lack it.
    pub client: Option<ClientConfig>,
}

/// `instance.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    url: String,
    mirror: String,
    root_sha256: String,
    allow_http: bool,
}

/// `verified.json`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    refreshed: Time,
    /// The earlier of root and targets.
    offline_expires: Time,
    /// The earlier of snapshot and timestamp.
    online_expires: Time,
    trusted_root: Box<RawValue>,
    signing_config: Option<Box<RawValue>>,
    client: Option<Box<RawValue>>,
}

/// The pinned instances of this user.
#[derive(Clone, Debug)]
pub struct TrustStore {
    directory: PathBuf,
}

impl TrustStore {
    /// The store in the user's configuration directory.
    ///
    /// # Errors
    /// [`TrustError::NoHome`].
    pub fn of_user() -> Result<Self, TrustError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
        Ok(Self::at(config.ok_or(TrustError::NoHome)?.join("waxseal/trust")))
    }

    /// The store in a directory, which need not exist.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Pins an instance and refreshes it. Pinned again with the same root, it is only refreshed; with another root,
    /// what was known of it is replaced once the new root has proven good.
    ///
    /// # Errors
    /// [`TrustError`]; the store is as it was then.
    pub async fn add(&self, transport: &dyn Transport, new: NewInstance, now: Time) -> Result<Pinned, TrustError> {
        let url = normal_url(&new.url)?;
        let mirror = match &new.mirror {
            Some(mirror) => normal_url(mirror)?,
            None => format!("{url}/tuf"),
        };
        let name = match new.name {
            Some(name) => name,
            None => default_name(&url)?,
        };
        check_name(&name)?;
        let root = fetch_root(transport, &mirror, &new.root).await?;
        let record = Record {
            url,
            mirror,
            root_sha256: hex::encode(sha256(&root)),
            allow_http: new.plain_http == PlainHttp::Allowed,
        };
        let _lock = self.lock(&name).await?;
        let directory = self.directory.join(&name);
        match self.record(&name) {
            Ok(known) if known.url != record.url => return Err(TrustError::NameTaken { name, url: known.url }),
            Ok(known) if known.root_sha256 == record.root_sha256 && known.mirror == record.mirror => {
                write_json(&directory.join("instance.json"), &record)?;
                refresh(transport, &directory, &record, now).await?;
                return self.load(&name, now);
            }
            Ok(_) | Err(TrustError::Unpinned { .. } | TrustError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        // Built aside: neither a failed attempt nor a wrong root may touch what is pinned. The dot keeps it off lists.
        let aside = self.directory.join(format!(".new-{name}"));
        remove_directory(&aside)?;
        fs::create_dir_all(aside.join("metadata")).map_err(|source| failed(&aside, source))?;
        write_json(&aside.join("instance.json"), &record)?;
        let path = aside.join("metadata/root.json");
        file::replace(&path, &root).map_err(|source| failed(&path, source))?;
        if let Err(error) = refresh(transport, &aside, &record, now).await {
            remove_directory(&aside)?;
            return Err(error);
        }
        remove_directory(&directory)?;
        fs::rename(&aside, &directory).map_err(|source| failed(&directory, source))?;
        self.load(&name, now)
    }

    /// Refreshes a pinned instance.
    ///
    /// # Errors
    /// [`TrustError`]; what was verified before stays.
    pub async fn refresh(&self, transport: &dyn Transport, instance: &str, now: Time) -> Result<Pinned, TrustError> {
        let name = self.find(instance)?;
        let _lock = self.lock(&name).await?;
        refresh(transport, &self.directory.join(&name), &self.record(&name)?, now).await?;
        self.load(&name, now)
    }

    /// A pinned instance for signing: refreshed, or, where its repository cannot be reached, as it was last verified
    /// if nothing of that is expired.
    ///
    /// # Errors
    /// [`TrustError`].
    pub async fn fresh(&self, transport: &dyn Transport, instance: &str, now: Time) -> Result<Pinned, TrustError> {
        match self.refresh(transport, instance, now).await {
            Err(error) if error.code() == Code::NETWORK_UNREACHABLE => match self.pinned(instance, now) {
                Ok(pinned) if pinned.freshness == Freshness::Fresh => Ok(pinned),
                _ => Err(error),
            },
            refreshed => refreshed,
        }
    }

    /// Forgets a pinned instance; returns its name.
    ///
    /// # Errors
    /// [`TrustError::Unpinned`], [`TrustError::Tuf`] if the files cannot be removed.
    pub fn remove(&self, instance: &str) -> Result<String, TrustError> {
        let name = self.find(instance)?;
        remove_directory(&self.directory.join(&name))?;
        Ok(name)
    }

    /// The names of the pinned instances, in order.
    ///
    /// # Errors
    /// [`TrustError::Tuf`] if the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, TrustError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(&self.directory, source)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| failed(&self.directory, source))?;
            names.extend(
                entry
                    .file_name()
                    .into_string()
                    .ok()
                    .filter(|name| check_name(name).is_ok() && entry.path().join("instance.json").exists()),
            );
        }
        names.sort();
        Ok(names)
    }

    /// A pinned instance by its URL or name, as it was last verified. Opens no socket.
    ///
    /// # Errors
    /// [`TrustError::Unpinned`]; [`TrustError::Expired`] if root or targets expired before `now`.
    pub fn pinned(&self, instance: &str, now: Time) -> Result<Pinned, TrustError> {
        self.load(&self.find(instance)?, now)
    }

    /// Whether a pinned instance may be spoken to over plain http; needed to make the transport that refreshes it.
    ///
    /// # Errors
    /// [`TrustError::Unpinned`].
    pub fn plain_http(&self, instance: &str) -> Result<PlainHttp, TrustError> {
        Ok(plain_http(&self.record(&self.find(instance)?)?))
    }

    fn find(&self, instance: &str) -> Result<String, TrustError> {
        let unpinned = || TrustError::Unpinned { instance: instance.to_owned() };
        if !instance.contains("://") {
            check_name(instance).map_err(|_| unpinned())?;
            self.record(instance)?;
            return Ok(instance.to_owned());
        }
        let url = normal_url(instance)?;
        for name in self.names()? {
            if self.record(&name).is_ok_and(|record| record.url == url) {
                return Ok(name);
            }
        }
        Err(unpinned())
    }

    fn record(&self, name: &str) -> Result<Record, TrustError> {
        let path = self.directory.join(name).join("instance.json");
        read_json(&path, MAX_INSTANCE_LEN)?.ok_or_else(|| TrustError::Unpinned { instance: name.to_owned() })
    }

    fn load(&self, name: &str, now: Time) -> Result<Pinned, TrustError> {
        let record = self.record(name)?;
        let path = self.directory.join(name).join("verified.json");
        let verified: Verified = read_json(&path, MAX_VERIFIED_LEN)?
            .ok_or_else(|| TrustError::Damaged { path, problem: "it is missing".into() })?;
        if verified.offline_expires <= now {
            return Err(TrustError::Expired { name: name.to_owned(), expires: verified.offline_expires });
        }
        let signing_config = verified.signing_config.as_ref().map(|raw| SigningConfig::from_json(raw.get().as_bytes()));
        let client = verified.client.as_ref().map(|raw| ClientConfig::from_json(raw.get().as_bytes()));
        Ok(Pinned {
            name: name.to_owned(),
            plain_http: plain_http(&record),
            url: record.url,
            mirror: record.mirror,
            root_sha256: record.root_sha256,
            refreshed: verified.refreshed,
            freshness: if verified.online_expires <= now {
                Freshness::StaleSince(verified.online_expires)
            } else {
                Freshness::Fresh
            },
            trusted_root: TrustedRoot::from_json(verified.trusted_root.get().as_bytes())?,
            signing_config: signing_config.transpose()?,
            client: client.transpose()?,
        })
    }

    /// Held while an instance's files are written, so that two commands do not write the same ones. Freed on drop.
    async fn lock(&self, name: &str) -> Result<File, TrustError> {
        let path = self.directory.join(format!(".{name}.lock"));
        let directory = self.directory.clone();
        let locking = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&directory)?;
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        });
        let locked = locking.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        locked.map_err(|source| failed(&self.directory, source))
    }
}

/// Fetches the root that the user means, and only believes it with the right digest.
async fn fetch_root(transport: &dyn Transport, mirror: &str, pin: &RootPin) -> Result<Vec<u8>, TrustError> {
    let (url, digest) = match pin {
        RootPin::Bytes(bytes) => return Ok(bytes.clone()),
        RootPin::Sha256(digest) => (parse_url(&format!("{mirror}/1.root.json"))?, digest),
        RootPin::At(url, digest) => (url.clone(), digest),
    };
    let request = Request::get(url.clone()).max_body_len(MAX_ROOT_LEN);
    let response = transport.send(request).await.map_err(TufError::from)?;
    if response.status != 200 {
        return Err(TufError::Status { url: url.into(), status: response.status }.into());
    }
    let found = sha256(&response.body);
    if found != *digest {
        return Err(TrustError::Pin { url: url.into(), found: hex::encode(found), expected: hex::encode(digest) });
    }
    Ok(response.body.to_vec())
}

/// Refreshes the metadata in `directory` and, when all of it is good, replaces `verified.json`.
async fn refresh(transport: &dyn Transport, directory: &Path, record: &Record, now: Time) -> Result<(), TrustError> {
    let metadata = parse_url(&format!("{}/", record.mirror))?;
    let repository = Repository {
        transport,
        targets: parse_url(&format!("{metadata}targets/"))?,
        metadata,
        directory: directory.join("metadata"),
        now,
    };
    let trusted = repository.refresh().await?;
    let fetch = async |name: &str| -> Result<Option<Box<RawValue>>, TrustError> {
        let Some(found) = repository.search(&trusted, name).await? else { return Ok(None) };
        let bytes = repository.target(&trusted, name, &found.target).await?;
        let not_json =
            |error: serde_json::Error| TrustError::Damaged { path: PathBuf::from(name), problem: error.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(not_json)
    };
    let trusted_root = fetch("trusted_root.json")
        .await?
        .ok_or_else(|| TufError::Refused(VerifyError::Missing("trusted_root.json".into())))?;
    let verified = Verified {
        refreshed: now,
        offline_expires: trusted.root().expires().min(trusted.targets().expires()),
        online_expires: trusted.timestamp().expires().min(trusted.snapshot().expires()),
        trusted_root,
        signing_config: fetch("signing_config.v0.2.json").await?,
        client: fetch("client.json").await?,
    };
    // Refused now rather than at every later use.
    TrustedRoot::from_json(verified.trusted_root.get().as_bytes())?;
    if let Some(config) = &verified.signing_config {
        SigningConfig::from_json(config.get().as_bytes())?;
    }
    if let Some(config) = &verified.client {
        ClientConfig::from_json(config.get().as_bytes())?;
    }
    write_json(&directory.join("verified.json"), &verified)
}

/// The URL in the one form in which it is compared: no slash at its end, nothing but scheme, host, port and path.
fn normal_url(text: &str) -> Result<String, TrustError> {
    let url = parse_url(text)?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
        return Err(TrustError::Url(text.to_owned()));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn parse_url(text: &str) -> Result<Url, TrustError> {
    Url::parse(text).map_err(|_| TrustError::Url(text.to_owned()))
}

/// `127.0.0.1-7480` of `http://127.0.0.1:7480`.
fn default_name(url: &str) -> Result<String, TrustError> {
    let parsed = parse_url(url)?;
    let host = parsed.host_str().unwrap_or_default().replace(':', "-");
    let host = host.trim_matches(['[', ']', '-']);
    Ok(parsed.port().map_or_else(|| host.to_owned(), |port| format!("{host}-{port}")))
}

fn check_name(name: &str) -> Result<(), TrustError> {
    let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && name.len() <= MAX_NAME_LEN && name.bytes().all(is_known) {
        return Ok(());
    }
    Err(TrustError::Name(name.to_owned()))
}

const fn plain_http(record: &Record) -> PlainHttp {
    if record.allow_http { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly }
}

fn failed(path: &Path, source: std::io::Error) -> TrustError {
    TufError::File { path: path.to_owned(), source }.into()
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path, max: usize) -> Result<Option<T>, TrustError> {
    let Some(bytes) = file::read(path, max).map_err(|source| failed(path, source))? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| TrustError::Damaged { path: path.to_owned(), problem: error.to_string() })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrustError> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| TrustError::Damaged { path: path.to_owned(), problem: error.to_string() })?;
    file::replace(path, &text).map_err(|source| failed(path, source))
}

fn remove_directory(path: &Path) -> Result<(), TrustError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Freshness, NewInstance, RootPin, TrustError, TrustStore};
    use jiff::{SignedDuration, Timestamp as Time};
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use waxseal_authority::tuf::{Current, File, Keys, TargetFile, Usage, plan};
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::{KeyKind, sha256};
    use waxseal_formats::tuf::{Metadata, TopLevel};
    use waxseal_io::signer::{KeyPair, Signer};
    use waxseal_io::transport::{Http, Pending, PlainHttp, Request, Response, Transport, TransportError};

    const URL: &str = "http://127.0.0.1:7480";

    /// An instance whose repository is a map from path to bytes.
    struct Instance {
        keys: Vec<KeyPair>,
        current: Current,
        files: Mutex<BTreeMap<String, Vec<u8>>>,
        asked: Mutex<Vec<String>>,
        is_down: bool,
    }

    impl Instance {
        fn new() -> Self {
            let mut instance = Self {
                keys: (0..4).map(|_| KeyPair::generate(KeyKind::EcdsaP256).expect("key")).collect(),
                current: Current::default(),
                files: Mutex::default(),
                asked: Mutex::default(),
                is_down: false,
            };
            instance.publish("sealed", at(0));
            instance
        }

        fn publish(&mut self, privacy: &str, now: Time) {
            let root = include_bytes!("../../data/public-good-trusted-root.json").to_vec();
            let client = format!(
                r#"{{"oidcIssuer":"{URL}/idp","clientId":"sigstore","audience":"sigstore","privacy":"{privacy}"}}"#
            );
            let target =
                |name: &str, bytes| TargetFile { name: name.into(), bytes, usage: Usage::Unknown, uri: URL.into() };
            let targets = [target("trusted_root.json", root), target("client.json", client.into_bytes())];
            let key = |number: usize| self.keys[number].public_key().clone();
            let keys = Keys { root: Some(key(0)), timestamp: key(1), snapshot: key(2), targets: key(3) };
            let mut files = self.files.lock().expect("files");
            for target in &targets {
                files.insert(format!("targets/{}", target.path()), target.bytes.clone());
            }
            for draft in plan(&self.current, &keys, &targets, now).expect("plan") {
                let number = TopLevel::ALL.iter().position(|role| *role == draft.role()).expect("role");
                let signature = self.keys[number].sign(draft.payload()).expect("signature");
                let File { role, name, bytes, .. } = draft.signed_with(&signature).expect("signed");
                match role {
                    TopLevel::Root => self.current.root = Metadata::from_json(&bytes).ok(),
                    TopLevel::Timestamp => self.current.timestamp = Metadata::from_json(&bytes).ok(),
                    TopLevel::Snapshot => self.current.snapshot = Metadata::from_json(&bytes).ok(),
                    TopLevel::Targets => self.current.targets = Metadata::from_json(&bytes).ok(),
                }
                files.insert(name, bytes);
            }
        }

        fn root(&self) -> Vec<u8> {
            self.files.lock().expect("files")["1.root.json"].clone()
        }

        fn new_instance(&self) -> NewInstance {
            pin(RootPin::Sha256(sha256(&self.root())))
        }

        fn replace(&self, path: &str, bytes: &[u8]) {
            self.files.lock().expect("files").insert(path.into(), bytes.into());
        }
    }

    impl Transport for Instance {
        fn send(&self, request: Request) -> Pending<'_> {
            let url = request.url().to_string();
            self.asked.lock().expect("asked").push(url.clone());
            let path = url.strip_prefix("http://127.0.0.1:7480/tuf/").expect("within the repository");
            let found = self.files.lock().expect("files").get(path).cloned();
            let response = if self.is_down {
                Err(TransportError::Unreachable { url, reason: "down".into() })
            } else {
                let status = if found.is_some() { 200 } else { 404 };
                Ok(Response { status, headers: Vec::new(), body: found.unwrap_or_default().into() })
            };
            Box::pin(async move { response })
        }
    }

    fn pin(root: RootPin) -> NewInstance {
        NewInstance { url: format!("{URL}/"), mirror: None, name: None, root, plain_http: PlainHttp::LoopbackOnly }
    }

    fn at(day: i64) -> Time {
        let start: Time = "2026-11-24T15:00:00Z".parse().expect("time");
        start.checked_add(SignedDuration::from_hours(day * 24)).expect("time")
    }

    fn store() -> (tempfile::TempDir, TrustStore) {
        let directory = tempfile::tempdir().expect("directory");
        let store = TrustStore::at(directory.path().join("trust"));
        (directory, store)
    }

    #[tokio::test]
    async fn a_pinned_instance_is_found_by_url_and_name_without_asking_it() {
        let (_directory, store) = store();
        let instance = Instance::new();
        let added = store.add(&instance, instance.new_instance(), at(0)).await.expect("added");
        assert_eq!((added.name.as_str(), added.url.as_str()), ("127.0.0.1-7480", URL));
        instance.asked.lock().expect("asked").clear();
        for name in [URL, "http://127.0.0.1:7480/", "HTTP://127.0.0.1:7480", "127.0.0.1-7480"] {
            let pinned = store.pinned(name, at(0)).expect(name);
            assert_eq!(pinned.client.as_ref().map(|client| client.client_id.as_str()), Some("sigstore"));
            assert!(pinned.signing_config.is_none());
            assert!(!pinned.trusted_root.tlogs.is_empty());
            assert_eq!(pinned.freshness, Freshness::Fresh);
        }
        assert!(instance.asked.lock().expect("asked").is_empty());
        assert_eq!(store.names().expect("names"), ["127.0.0.1-7480"]);
        assert_eq!(store.remove(URL).expect("removed"), "127.0.0.1-7480");
        assert!(store.names().expect("names").is_empty());
    }

    #[tokio::test]
    async fn nothing_is_trusted_on_first_use_and_the_line_that_pins_is_printed() {
        let (_directory, store) = store();
        let error = store.pinned(URL, at(0)).expect_err("unpinned");
        assert_eq!(error.code(), Code::TRUSTED_ROOT_UNPINNED);
        assert!(error.hint().expect("hint").starts_with("waxseal trust add http://127.0.0.1:7480 --root-sha256 "));
        for instance in ["corp", "../../etc", "", ".new-corp"] {
            assert_eq!(store.pinned(instance, at(0)).expect_err("unpinned").code(), Code::TRUSTED_ROOT_UNPINNED);
        }
    }

    #[tokio::test]
    async fn a_root_with_another_digest_is_refused_and_leaves_nothing() {
        let (directory, store) = store();
        let instance = Instance::new();
        let error = store.add(&instance, pin(RootPin::Sha256([7; 32])), at(0)).await.expect_err("refused");
        assert_eq!(error.code(), Code::TRUSTED_ROOT_PIN);
        assert_eq!(*instance.asked.lock().expect("asked"), ["http://127.0.0.1:7480/tuf/1.root.json"]);
        // The metadata is signed by another root than the one in the file.
        let other = Instance::new();
        let error = store.add(&instance, pin(RootPin::Bytes(other.root())), at(0)).await.expect_err("refused");
        assert_eq!(error.code(), Code::TRUSTED_ROOT_THRESHOLD);
        assert!(store.names().expect("names").is_empty());
        let left: Vec<_> = std::fs::read_dir(directory.path().join("trust")).expect("store").collect();
        assert_eq!(left.len(), 1, "only the lock: {left:?}");
    }

    #[tokio::test]
    async fn a_refresh_follows_the_instance_and_a_failed_one_changes_nothing() {
        let (_directory, store) = store();
        let mut instance = Instance::new();
        store.add(&instance, instance.new_instance(), at(0)).await.expect("added");
        instance.publish("open", at(1));
        let before = store.pinned(URL, at(1)).expect("pinned");
        let after = store.refresh(&instance, URL, at(1)).await.expect("refreshed");
        assert_ne!(before.client, after.client);
        assert_eq!(after.refreshed, at(1));

        instance.publish("sealed", at(2));
        let listed = instance.current.targets.as_ref().expect("targets").role().targets["client.json"].clone();
        instance.replace(&format!("targets/{}", listed.file("client.json", true)), b"{}");
        let error = store.refresh(&instance, URL, at(2)).await.expect_err("refused");
        assert_eq!(error.code(), Code::TRUSTED_ROOT_HASH);
        assert_eq!(store.pinned(URL, at(2)).expect("pinned").client, after.client);
    }

    #[tokio::test]
    async fn pinning_again_keeps_the_protection_from_rollbacks_unless_the_root_is_another() {
        let (_directory, store) = store();
        let mut instance = Instance::new();
        let old = instance.files.lock().expect("files").clone();
        store.add(&instance, instance.new_instance(), at(0)).await.expect("added");
        instance.publish("open", at(1));
        store.refresh(&instance, URL, at(1)).await.expect("refreshed");
        *instance.files.lock().expect("files") = old;
        let error = store.add(&instance, instance.new_instance(), at(1)).await.expect_err("rolled back");
        assert_eq!(error.code(), Code::TRUSTED_ROOT_ROLLBACK);

        let other = Instance::new();
        let added = store.add(&other, other.new_instance(), at(1)).await.expect("the user said so");
        assert_eq!(added.root_sha256, hex::encode(sha256(&other.root())));
        assert_eq!(store.names().expect("names").len(), 1);
    }

    #[tokio::test]
    async fn a_name_stands_for_one_instance_and_stays_within_the_store() {
        let (_directory, store) = store();
        let instance = Instance::new();
        store.add(&instance, instance.new_instance(), at(0)).await.expect("added");
        let named = |name: &str, url: &str| NewInstance {
            name: Some(name.into()),
            url: url.into(),
            mirror: Some(format!("{URL}/tuf")),
            ..instance.new_instance()
        };
        let error = store.add(&instance, named("127.0.0.1-7480", "https://a"), at(0)).await.expect_err("taken");
        assert!(matches!(error, TrustError::NameTaken { .. }));
        for name in ["../a", "a/b", ".a", "", "A", &"a".repeat(65)] {
            let error = store.add(&instance, named(name, "https://a"), at(0)).await.expect_err(name);
            assert_eq!(error.code(), Code::USAGE);
        }
        for url in ["ftp://a", "https://user@a", "https://a?b", "https://a#b", "a", "file:///etc"] {
            let error = store.add(&instance, named("a", url), at(0)).await.expect_err(url);
            assert_eq!(error.code(), Code::USAGE, "{url}");
        }
        store.add(&instance, named("corp", "https://a/"), at(0)).await.expect("added");
        assert_eq!(store.pinned("https://a", at(0)).expect("pinned").name, "corp");
    }

    #[tokio::test]
    async fn expired_news_is_a_warning_and_an_expired_root_a_refusal() {
        let (_directory, store) = store();
        let mut instance = Instance::new();
        store.add(&instance, instance.new_instance(), at(0)).await.expect("added");
        instance.is_down = true;
        assert_eq!(store.fresh(&instance, URL, at(6)).await.expect("not expired").freshness, Freshness::Fresh);
        assert_eq!(store.pinned(URL, at(8)).expect("pinned").freshness, Freshness::StaleSince(at(7)));
        let error = store.fresh(&instance, URL, at(8)).await.expect_err("too old to sign");
        assert_eq!(error.code(), Code::NETWORK_UNREACHABLE);
        let error = store.pinned(URL, at(365)).expect_err("expired");
        assert_eq!(error.code(), Code::TRUSTED_ROOT_EXPIRED);
        assert_eq!(error.hint().as_deref(), Some("waxseal trust refresh 127.0.0.1-7480   asks for newer metadata"));
    }

    #[tokio::test]
    async fn plain_http_to_another_machine_has_to_be_allowed() {
        let (_directory, store) = store();
        let new = NewInstance { url: "http://192.0.2.1".into(), ..pin(RootPin::Sha256([0; 32])) };
        let error = store.add(&Http::new(PlainHttp::LoopbackOnly), new, at(0)).await.expect_err("refused");
        assert_eq!(error.code(), Code::USAGE);
        assert!(error.hint().expect("hint").contains("--allow-http"));
    }

    #[tokio::test]
    async fn a_damaged_file_is_named() {
        let (directory, store) = store();
        let instance = Instance::new();
        store.add(&instance, instance.new_instance(), at(0)).await.expect("added");
        let path = directory.path().join("trust/127.0.0.1-7480/verified.json");
        std::fs::write(&path, "{").expect("written");
        let error = store.pinned(URL, at(0)).expect_err("damaged");
        assert!(matches!(&error, TrustError::Damaged { path: named, .. } if *named == path));
        assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED);
    }
}
