//! What makes an instance itself: its keys, the certificates of its authorities, and when and for which host it was made.
//!
//! ```text
//! <data-dir>/instance.json                 format, creation time, host, what the logs keep, shards
//! <data-dir>/keys/<name>.pem               PKCS#8, mode 0600
//! <data-dir>/certificates/<name>.pem       one certificate each
//! ```
//!
//! `instance.json` is written last, when the logs, the TUF repository and the demo provider are there as well: a directory that has it is whole, and nothing in it is ever
//! made anew.

mod shards;

pub use shards::{Frozen, MAX_SHARDS, OVERLAP, Shard, valid_for};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shards::ShardRecord;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use waxseal_authority::ca::{self, CaError, CaIssuer, SubordinateKind};
use waxseal_formats::client_config::Privacy;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::KeyKind;
use waxseal_formats::x509::{Certificate, CertificateError, DistinguishedName};
use waxseal_io::file;
use waxseal_io::signer::{KeyFiles, KeyPair, Signer, SignerError};
use waxseal_io::system;

/// Name of the file that says what a data directory is; one that has it is whole.
pub const MANIFEST: &str = "instance.json";
/// The layout of the data directory that this program reads and writes.
const FORMAT: u32 = 3;
/// The format since which records have audit rows: programs that know none of them do not open it.
const AUDIT_SINCE: u32 = 3;
/// The format since which there is a Rekor v1 log, and since which the directory says what its logs keep.
const REKOR_V1_SINCE: u32 = 2;
/// Largest file of those read here, in bytes.
const MAX_FILE_LEN: usize = 64 * 1024;

/// Keys and certificates of an instance.
pub struct Material {
    /// When the instance was made, in whole seconds: its logs and authorities are valid from then on.
    pub created: Timestamp,
    /// The host of its URL: the origin of its Rekor log, so it cannot change.
    pub host: String,
    /// The certificate authority's chain.
    pub ca: CaIssuer,
    /// The key of the issuing certificate.
    pub ca_signer: Arc<KeyPair>,
    /// The timestamp authority's chain, its own certificate first.
    pub tsa_chain: Vec<Certificate>,
    /// The timestamp authority's key.
    pub tsa_signer: Arc<KeyPair>,
    /// The key of the certificate log (P-256).
    pub ct_signer: Arc<KeyPair>,
    /// The shards of the Rekor v2 log in the order of their creation, at least one; the last is the active one.
    pub shards: Vec<Shard>,
    /// Which of the other logs take no more entries.
    pub frozen: Frozen,
    /// The key of the Rekor v1 log (P-256).
    pub rekor_v1_signer: Arc<KeyPair>,
    /// The key (Ed25519) that the key of the names in the audit log follows from.
    pub audit_signer: Arc<KeyPair>,
    /// What its logs keep. It cannot change: what a log did not keep cannot be served, and what it kept does not go away.
    pub privacy: Privacy,
    manifest: PathBuf,
    keys: Arc<KeyFiles>,
    /// The format that the directory had when it was opened; none if it was not whole.
    found: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    created: Timestamp,
    host: String,
    /// Directories of format 1 do not say: they were open.
    #[serde(default = "open")]
    privacy: Privacy,
    /// Empty as long as there is one, and it is not frozen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rekor_shards: Vec<ShardRecord>,
    #[serde(default, skip_serializing_if = "is_default")]
    frozen: Frozen,
}

fn is_default(frozen: &Frozen) -> bool {
    *frozen == Frozen::default()
}

const fn open() -> Privacy {
    Privacy::Open
}

/// Why the keys and certificates of an instance cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is missing in a directory that was whole once.
    #[error("{} is missing: restore the data directory, nothing in it is made anew", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file is damaged.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The directory was made by a later version.
    #[error("{} has format {found}, this program knows {FORMAT}: use a newer waxseal", path.display())]
    Format {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The instance was made for another host.
    #[error("the data directory belongs to the host {made_for:?}, which its log's checkpoints name, not to {asked:?}")]
    Host {
        /// The host it was made for.
        made_for: String,
        /// The host asked for.
        asked: String,
    },
    /// The logs were made to keep something else.
    #[error(
        "the data directory was made with --privacy {}, and its logs cannot become {}: use another directory, or leave the option out",
        made_for.name(), asked.name()
    )]
    Privacy {
        /// What the logs keep.
        made_for: Privacy,
        /// What was asked for.
        asked: Privacy,
    },
    /// There are too many shards.
    #[error("there are {MAX_SHARDS} shards, and no more are possible")]
    Shards,
    /// A key cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// A certificate cannot be made.
    #[error(transparent)]
    Ca(#[from] CaError),
}

impl MaterialError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::File { .. } => Code::INPUT_UNREADABLE,
            Self::Missing { .. } | Self::Damaged { .. } | Self::Format { .. } => Code::INPUT_MALFORMED,
            Self::Host { .. } | Self::Privacy { .. } | Self::Shards => Code::USAGE,
            Self::Signer(error) => error.code(),
            Self::Ca(_) => Code::KEY_UNSUPPORTED,
        }
    }
}

impl Material {
    /// Reads the material of a data directory, or makes it for `host` if the directory has none. Without a `privacy`, a
    /// directory keeps its own, and a new one is sealed.
    ///
    /// # Errors
    /// [`MaterialError`]; a directory that was whole is not changed then.
    pub fn open(
        data_dir: &Path,
        host: &str,
        privacy: Option<Privacy>,
        keys: &Arc<KeyFiles>,
        now: Timestamp,
    ) -> Result<Self, MaterialError> {
        if let Some(manifest) = read_manifest(&data_dir.join(MANIFEST))? {
            if manifest.host != host {
                return Err(MaterialError::Host { made_for: manifest.host, asked: host.to_owned() });
            }
            if let Some(asked) = privacy.filter(|asked| *asked != manifest.privacy) {
                return Err(MaterialError::Privacy { made_for: manifest.privacy, asked });
            }
            let path = data_dir.join(MANIFEST);
            let problem = || MaterialError::Damaged { path, problem: "its shards do not follow on each other".into() };
            let shards = shards::records(manifest.rekor_shards, manifest.created).ok_or_else(problem)?;
            let folder = Folder { data_dir, keys, found: Some(manifest.format), created: manifest.created };
            return Self::assemble(&folder, host, manifest.privacy, &shards, manifest.frozen);
        }
        let created = Timestamp::from_second(now.as_second()).unwrap_or(now);
        for directory in ["keys", "certificates"] {
            let path = data_dir.join(directory);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(|source| MaterialError::File { path, source })?;
        }
        let folder = Folder { data_dir, keys, found: None, created };
        let shards = shards::records(Vec::new(), created).unwrap_or_default();
        Self::assemble(&folder, host, privacy.unwrap_or(Privacy::Sealed), &shards, Frozen::default())
    }

    /// Reads the material of a directory that is whole, and changes nothing.
    ///
    /// # Errors
    /// [`MaterialError::Missing`] if it is not whole; as [`Material::open`].
    pub fn read(data_dir: &Path, keys: &Arc<KeyFiles>) -> Result<Self, MaterialError> {
        let path = data_dir.join(MANIFEST);
        let Some(manifest) = read_manifest(&path)? else { return Err(MaterialError::Missing { path }) };
        if manifest.format != FORMAT {
            let problem = format!("format {} is taken up at the next start of the instance", manifest.format);
            return Err(MaterialError::Damaged { path, problem });
        }
        Self::open(data_dir, &manifest.host, None, keys, manifest.created)
    }

    /// Whether the directory was whole when it was opened. If not, [`Material::complete`] is missing.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self.found, Some(FORMAT))
    }

    /// Whether the directory was made before there were Rekor v1 logs, or is being made.
    #[must_use]
    pub fn lacks_rekor_v1(&self) -> bool {
        self.found.is_none_or(|format| format < REKOR_V1_SINCE)
    }

    /// Whether the directory is being made.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.found.is_none()
    }

    /// Checks that the files of other parts are there if the directory is whole.
    ///
    /// # Errors
    /// [`MaterialError::Missing`] for the first that is not.
    pub fn require<'a>(&self, data_dir: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<(), MaterialError> {
        let missing = names.into_iter().map(|name| data_dir.join(name)).find(|path| !self.is_new() && !path.exists());
        missing.map_or(Ok(()), |path| Err(MaterialError::Missing { path }))
    }

    /// Declares the directory whole.
    ///
    /// # Errors
    /// [`MaterialError::File`].
    pub fn complete(&mut self) -> Result<(), MaterialError> {
        self.write_manifest(&self.shards, self.frozen)?;
        self.found = Some(FORMAT);
        Ok(())
    }

    fn write_manifest(&self, shards: &[Shard], frozen: Frozen) -> Result<(), MaterialError> {
        let rekor_shards: Vec<ShardRecord> = match shards {
            [only] if only.frozen.is_none() => Vec::new(),
            shards => shards.iter().map(Shard::record).collect(),
        };
        let manifest = Manifest {
            format: FORMAT,
            created: self.created,
            host: self.host.clone(),
            privacy: self.privacy,
            rekor_shards,
            frozen,
        };
        let failed = |source| MaterialError::File { path: self.manifest.clone(), source };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| failed(error.into()))?;
        file::replace(&self.manifest, &text).map_err(failed)
    }

    /// The way to the key files.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyFiles> {
        Arc::clone(&self.keys)
    }

    fn key_path(&self, name: &str) -> PathBuf {
        self.manifest.with_file_name("keys").join(format!("{name}.pem"))
    }

    fn assemble(
        folder: &Folder<'_>,
        host: &str,
        privacy: Privacy,
        shards: &[ShardRecord],
        frozen: Frozen,
    ) -> Result<Self, MaterialError> {
        let name = |what: &str| DistinguishedName {
            organization: host.chars().take(64).collect(),
            common_name: format!("waxseal {what}"),
        };
        let ca_root_signer = folder.key("ca-root", KeyKind::EcdsaP256)?;
        let ca_signer = folder.key("ca", KeyKind::EcdsaP256)?;
        let tsa_root_signer = folder.key("tsa-root", KeyKind::EcdsaP256)?;
        let tsa_signer = folder.key("tsa", KeyKind::EcdsaP256)?;
        let ca_root = folder.root("ca-root", &name("root"), &ca_root_signer)?;
        let ca = folder.subordinate(
            "ca",
            SubordinateKind::FulcioIntermediate,
            &name("signing"),
            &ca_signer,
            (&ca_root, &ca_root_signer),
        )?;
        let tsa_root = folder.root("tsa-root", &name("timestamp root"), &tsa_root_signer)?;
        let tsa = folder.subordinate(
            "tsa",
            SubordinateKind::TimestampSigner,
            &name("timestamp authority"),
            &tsa_signer,
            (&tsa_root, &tsa_root_signer),
        )?;
        Ok(Self {
            created: folder.created,
            host: host.to_owned(),
            ca: CaIssuer::new(vec![ca, ca_root])?,
            ca_signer: Arc::new(ca_signer),
            tsa_chain: vec![tsa, tsa_root],
            tsa_signer: Arc::new(tsa_signer),
            ct_signer: Arc::new(folder.key("ct", KeyKind::EcdsaP256)?),
            shards: shards.iter().map(|record| folder.shard(*record)).collect::<Result<_, _>>()?,
            frozen,
            rekor_v1_signer: Arc::new(folder.key_since(REKOR_V1_SINCE, "rekor-v1", KeyKind::EcdsaP256)?),
            audit_signer: Arc::new(folder.key_since(AUDIT_SINCE, "audit", KeyKind::Ed25519)?),
            privacy,
            manifest: folder.data_dir.join(MANIFEST),
            keys: Arc::clone(folder.keys),
            found: folder.found,
        })
    }
}

/// The data directory while it is read or filled.
struct Folder<'a> {
    data_dir: &'a Path,
    keys: &'a Arc<KeyFiles>,
    /// The format of what has to be there already; none if nothing has to be.
    found: Option<u32>,
    created: Timestamp,
}

impl Folder<'_> {
    fn key(&self, name: &str, kind: KeyKind) -> Result<KeyPair, MaterialError> {
        self.key_since(0, name, kind)
    }

    fn shard(&self, record: ShardRecord) -> Result<Shard, MaterialError> {
        let signer = Arc::new(self.key(&shards::name(record.number), KeyKind::Ed25519)?);
        Ok(record.with(signer))
    }

    /// Reads a key that directories have since a format; it is made in older ones and new ones.
    fn key_since(&self, format: u32, name: &str, kind: KeyKind) -> Result<KeyPair, MaterialError> {
        let path = self.data_dir.join("keys").join(format!("{name}.pem"));
        if self.found.is_some_and(|found| found >= format) && !path.exists() {
            return Err(MaterialError::Missing { path });
        }
        Ok(self.keys.load_or_create(&path, kind)?)
    }

    fn root(&self, name: &str, subject: &DistinguishedName, key: &KeyPair) -> Result<Certificate, MaterialError> {
        self.certificate(name, key, || {
            let unsigned = ca::root(subject, key.public_key(), system::random(), self.created)?;
            Ok(unsigned.finish(&key.sign(unsigned.message())?)?)
        })
    }

    fn subordinate(
        &self,
        name: &str,
        kind: SubordinateKind,
        subject: &DistinguishedName,
        key: &KeyPair,
        (root, root_key): (&Certificate, &KeyPair),
    ) -> Result<Certificate, MaterialError> {
        self.certificate(name, key, || {
            let unsigned = ca::subordinate(kind, subject, key.public_key(), root, system::random(), self.created)?;
            Ok(unsigned.finish(&root_key.sign(unsigned.message())?)?)
        })
    }

    /// Reads a certificate, which has to be one of `key`, or makes and writes it.
    fn certificate(
        &self,
        name: &str,
        key: &KeyPair,
        make: impl FnOnce() -> Result<Certificate, MaterialError>,
    ) -> Result<Certificate, MaterialError> {
        let path = self.data_dir.join("certificates").join(format!("{name}.pem"));
        let failed = |source| MaterialError::File { path: path.clone(), source };
        let Some(bytes) = file::read(&path, MAX_FILE_LEN).map_err(failed)? else {
            if self.found.is_some() {
                return Err(MaterialError::Missing { path });
            }
            let certificate = make()?;
            file::replace(&path, certificate.to_pem().as_bytes()).map_err(failed)?;
            return Ok(certificate);
        };
        let damaged = |problem: String| MaterialError::Damaged { path: path.clone(), problem };
        let text = String::from_utf8(bytes).map_err(|_| damaged("not a PEM certificate".into()))?;
        let certificate = Certificate::from_pem(&text).map_err(|error: CertificateError| damaged(error.to_string()))?;
        match certificate.public_key() {
            Ok(public) if public == key.public_key() => Ok(certificate),
            _ => Err(damaged(format!("is not the certificate of keys/{name}.pem"))),
        }
    }
}

/// What the logs of a data directory keep; none if it was not made to the end.
///
/// # Errors
/// [`MaterialError`] if its manifest cannot be read.
pub fn privacy_of(data_dir: &Path) -> Result<Option<Privacy>, MaterialError> {
    Ok(read_manifest(&data_dir.join(MANIFEST))?.map(|manifest| manifest.privacy))
}

fn read_manifest(path: &Path) -> Result<Option<Manifest>, MaterialError> {
    /// What every format has.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let failed = |source| MaterialError::File { path: path.to_owned(), source };
    let damaged =
        |error: serde_json::Error| MaterialError::Damaged { path: path.to_owned(), problem: error.to_string() };
    let Some(bytes) = file::read(path, MAX_FILE_LEN).map_err(failed)? else { return Ok(None) };
    let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if !(1..=FORMAT).contains(&format) {
        return Err(MaterialError::Format { path: path.to_owned(), found: format });
    }
    Ok(Some(serde_json::from_slice(&bytes).map_err(damaged)?))
}

#[cfg(test)]
mod tests {
    use super::{MANIFEST, Material, MaterialError};
    use jiff::Timestamp;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::sync::Arc;
    use waxseal_formats::client_config::Privacy;
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::Secret;
    use waxseal_io::signer::{KeyFiles, Signer};

    fn plain() -> Arc<KeyFiles> {
        Arc::new(KeyFiles::plain())
    }

    fn open(data_dir: &Path, host: &str) -> Result<Material, MaterialError> {
        let now = "2026-11-24T15:00:00.5Z".parse().expect("a time");
        let mut material = Material::open(data_dir, host, None, &plain(), now)?;
        if !material.is_whole() {
            material.complete()?;
        }
        Ok(material)
    }

    fn refused(data_dir: &Path, host: &str) -> Code {
        open(data_dir, host).map(|_| ()).expect_err("refused").code()
    }

    #[test]
    fn an_instance_stays_itself() {
        let directory = tempfile::tempdir().expect("directory");
        let made = open(directory.path(), "host").expect("made");
        let read = Material::open(directory.path(), "host", None, &plain(), Timestamp::MAX).expect("read");
        assert!(read.is_whole());
        assert_eq!(made.created.to_string(), "2026-11-24T15:00:00Z");
        assert_eq!(made.created, read.created);
        assert_eq!(made.ca.chain(), read.ca.chain());
        assert_eq!(made.tsa_chain, read.tsa_chain);
        for (one, other) in [(&made.ct_signer, &read.ct_signer), (&made.shards[0].signer, &read.shards[0].signer)] {
            assert_eq!(one.public_key(), other.public_key());
        }
    }

    #[test]
    fn creation_that_broke_off_is_finished() {
        let directory = tempfile::tempdir().expect("directory");
        let made = open(directory.path(), "host").expect("made");
        std::fs::remove_file(directory.path().join(MANIFEST)).expect("removed");
        std::fs::remove_file(directory.path().join("keys/rekor.pem")).expect("removed");
        let read = open(directory.path(), "host").expect("finished");
        assert_eq!(made.ca.chain(), read.ca.chain());
        assert_ne!(made.shards[0].signer.public_key(), read.shards[0].signer.public_key());
    }

    #[test]
    fn nothing_of_a_whole_instance_is_made_anew() {
        let directory = tempfile::tempdir().expect("directory");
        drop(open(directory.path(), "host").expect("made"));
        for file in ["keys/rekor.pem", "keys/ca-root.pem", "certificates/ca.pem", "certificates/tsa-root.pem"] {
            let path = directory.path().join(file);
            let content = std::fs::read(&path).expect("read");
            std::fs::remove_file(&path).expect("removed");
            assert_eq!(refused(directory.path(), "host"), Code::INPUT_MALFORMED, "{file}");
            assert!(!path.exists(), "{file} was made anew");
            std::fs::write(&path, "garbage").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
            assert!(open(directory.path(), "host").is_err(), "{file}");
            std::fs::write(&path, content).expect("written");
        }
        assert!(open(directory.path(), "host").is_ok());
    }

    #[test]
    fn sealed_keys_open_the_instance_with_their_passphrase_only() {
        let directory = tempfile::tempdir().expect("directory");
        let sealed = |text: &str| Arc::new(KeyFiles::sealed(Secret::new(text.to_owned())));
        let read = |keys| Material::open(directory.path(), "host", None, &keys, Timestamp::UNIX_EPOCH);
        let mut made = read(sealed("a passphrase")).expect("made");
        made.complete().expect("whole");
        for entry in std::fs::read_dir(directory.path().join("keys")).expect("keys") {
            let text = std::fs::read_to_string(entry.expect("a key").path()).expect("read");
            assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"), "{text}");
        }
        assert_eq!(read(sealed("a passphrase")).expect("read").ca.chain(), made.ca.chain());
        for keys in [plain(), sealed("another")] {
            assert_eq!(read(keys).map(|_| ()).expect_err("refused").code(), Code::KEY_PASSPHRASE);
        }
    }

    #[test]
    fn a_directory_of_format_1_is_open_and_gets_its_rekor_v1_key() {
        let directory = tempfile::tempdir().expect("directory");
        drop(open(directory.path(), "host").expect("made"));
        let manifest = r#"{"format":1,"created":"2026-11-24T15:00:00Z","host":"host"}"#;
        std::fs::write(directory.path().join(MANIFEST), manifest).expect("written");
        std::fs::remove_file(directory.path().join("keys/rekor-v1.pem")).expect("removed");
        let read = open(directory.path(), "host").expect("taken up");
        assert_eq!(read.privacy, Privacy::Open);
        let again =
            Material::open(directory.path(), "host", Some(Privacy::Open), &plain(), Timestamp::MAX).expect("read");
        assert!(again.is_whole() && !again.lacks_rekor_v1());
        assert_eq!(read.rekor_v1_signer.public_key(), again.rekor_v1_signer.public_key());
        // What format 1 had is not made anew.
        std::fs::write(directory.path().join(MANIFEST), manifest).expect("written");
        std::fs::remove_file(directory.path().join("keys/rekor.pem")).expect("removed");
        assert_eq!(refused(directory.path(), "host"), Code::INPUT_MALFORMED);
    }

    #[test]
    fn a_directory_keeps_its_privacy() {
        for (asked, made) in
            [(None, Privacy::Sealed), (Some(Privacy::Sealed), Privacy::Sealed), (Some(Privacy::Open), Privacy::Open)]
        {
            let directory = tempfile::tempdir().expect("directory");
            let read = |privacy| Material::open(directory.path(), "host", privacy, &plain(), Timestamp::UNIX_EPOCH);
            let mut first = read(asked).expect("made");
            first.complete().expect("whole");
            assert_eq!((first.privacy, read(None).expect("read").privacy), (made, made));
            let other = if made == Privacy::Open { Privacy::Sealed } else { Privacy::Open };
            let error = read(Some(other)).map(|_| ()).expect_err("refused");
            assert_eq!(error.code(), Code::USAGE);
            assert!(error.to_string().contains(made.name()) && error.to_string().contains(other.name()), "{error}");
        }
    }

    #[test]
    fn another_host_another_format_and_a_foreign_certificate_are_refused() {
        let directory = tempfile::tempdir().expect("directory");
        drop(open(directory.path(), "host").expect("made"));
        assert_eq!(refused(directory.path(), "other"), Code::USAGE);
        let (ca, root) =
            (directory.path().join("certificates/ca.pem"), directory.path().join("certificates/ca-root.pem"));
        let content = std::fs::read(&ca).expect("read");
        std::fs::copy(&root, &ca).expect("copied");
        assert_eq!(refused(directory.path(), "host"), Code::INPUT_MALFORMED);
        std::fs::write(&ca, content).expect("written");
        for text in [r#"{"format":3}"#, r#"{"format":0}"#, "{}", "garbage"] {
            std::fs::write(directory.path().join(MANIFEST), text).expect("written");
            assert_eq!(refused(directory.path(), "host"), Code::INPUT_MALFORMED, "{text}");
        }
    }
}
