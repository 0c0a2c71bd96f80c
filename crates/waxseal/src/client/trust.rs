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

mod error;

pub use error::TrustError;

use crate::client::tuf::{Repository, TufError};
use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use url::Url;
use waxseal_formats::client_config::ClientConfig;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::sha256;
use waxseal_formats::signing_config::SigningConfig;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_formats::tuf::MAX_ROOT_LEN;
use waxseal_io::file;
use waxseal_io::transport::{PlainHttp, Request, Transport};
use waxseal_verify::tuf::TufError as VerifyError;

/// Longest name of a pinned instance.
const MAX_NAME_LEN: usize = 64;
/// Largest `instance.json`, in bytes.
const MAX_INSTANCE_LEN: usize = 16 * 1024;
/// Largest `verified.json`, in bytes.
const MAX_VERIFIED_LEN: usize = 32 << 20;

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
            if self.record(&name).is_ok_and(|record| record.url == url || record.mirror == url) {
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
mod tests;
