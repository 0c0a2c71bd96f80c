//! The author of an instance's TUF repository (specification 1.0.x): decides which roles have to be signed anew and
//! builds what is to be signed.
//!
//! [`plan`] looks at the current metadata and at `now`; each [`Draft`] of the plan is signed by the shell and becomes
//! a [`File`] again, in the order in which the files must be written: the timestamp last, since it makes the others
//! visible.
//!
//! ```text
//! root       1 year, renewed 30 days before its end       N.root.json
//! targets    1 year, likewise, and when a file changed    N.targets.json
//! snapshot   7 days, renewed daily                        N.snapshot.json
//! timestamp  7 days, renewed daily                        timestamp.json
//! ```

use jiff::{SignedDuration, Timestamp as Time};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{PublicKey, sha256};
use waxseal_formats::tuf::{
    Metadata, Role, Root, Snapshot, Targets, Timestamp, TopLevel, canonical, format_time, key_id, metadata_file,
    target_path_is_acceptable,
};

/// The specification version that our metadata names.
pub const SPEC_VERSION: &str = "1.0.31";
/// How long root and targets are valid.
pub const OFFLINE_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Root and targets are renewed when no more than this is left.
pub const OFFLINE_RENEWAL: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long snapshot and timestamp are valid: as long as someone may replay an old state to a client.
pub const ONLINE_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Snapshot and timestamp are renewed when no more than this is left: a day after they were signed.
pub const ONLINE_RENEWAL: SignedDuration = SignedDuration::from_hours(6 * 24);

/// The public keys of the four roles, all different.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The root key; `None` if it is held elsewhere, so that no root can be signed here.
    pub root: Option<PublicKey>,
    /// The timestamp key.
    pub timestamp: PublicKey,
    /// The snapshot key.
    pub snapshot: PublicKey,
    /// The targets key.
    pub targets: PublicKey,
}

/// What an old client may use a target for (`custom.sigstore.usage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Nothing that it knows: newer clients ask for the file by name.
    Unknown,
    /// Certificates of a certificate authority.
    Fulcio,
    /// The key of a Rekor log.
    Rekor,
    /// The key of a certificate transparency log.
    Ctfe,
    /// Certificates of a timestamp authority.
    Tsa,
}

impl Usage {
    const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Fulcio => "Fulcio",
            Self::Rekor => "Rekor",
            Self::Ctfe => "CTFE",
            Self::Tsa => "TSA",
        }
    }
}

/// A file that clients find through the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFile {
    /// Its path below `targets/`.
    pub name: String,
    /// Its contents.
    pub bytes: Vec<u8>,
    /// What it is for.
    pub usage: Usage,
    /// The URL of the service that it is about.
    pub uri: String,
}

impl TargetFile {
    /// Where it is served below `targets/`: `SHA256.NAME` (§6.2).
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", hex::encode(sha256(&self.bytes)), self.name)
    }

    fn value(&self) -> Value {
        json!({
            "length": self.bytes.len(),
            "hashes": {"sha256": hex::encode(sha256(&self.bytes))},
            "custom": {"sigstore": {"usage": self.usage.name(), "status": "Active", "uri": self.uri}},
        })
    }
}

/// The newest metadata of each role, where there is some.
#[derive(Clone, Debug, Default)]
pub struct Current {
    /// The newest root.
    pub root: Option<Metadata<Root>>,
    /// The timestamp.
    pub timestamp: Option<Metadata<Timestamp>>,
    /// The newest snapshot.
    pub snapshot: Option<Metadata<Snapshot>>,
    /// The newest targets.
    pub targets: Option<Metadata<Targets>>,
}

/// Why no plan can be made, or a draft not become a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorError {
    /// A key that TUF clients do not all understand.
    #[error("the {} key is of kind {}; ECDSA P-256, P-384 and Ed25519 are possible", role.name(), kind)]
    Key {
        /// Whose key.
        role: TopLevel,
        /// Its kind.
        kind: String,
    },
    /// Two roles with the same key: whoever holds one would hold the other.
    #[error("{} and {} have the same key", one.name(), other.name())]
    SharedKey {
        /// One of them.
        one: TopLevel,
        /// The other.
        other: TopLevel,
    },
    /// A root has to be signed and its key is not here, or is not the key of the current root.
    #[error("the root metadata has to be signed anew: {0}")]
    RootNeeded(&'static str),
    /// A target name that clients refuse.
    #[error("{0:?} cannot be the name of a target")]
    Name(String),
    /// The signature over a draft does not verify with the role's key.
    #[error("the signature over the {} metadata does not verify", role.name())]
    Signature {
        /// The role.
        role: TopLevel,
    },
    /// A time out of range, or a value without canonical form.
    #[error("the metadata cannot be built")]
    Build,
}

impl AuthorError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Key { .. } | Self::SharedKey { .. } => Code::KEY_UNSUPPORTED,
            Self::RootNeeded(_) => Code::TRUSTED_ROOT_EXPIRED,
            Self::Signature { .. } => Code::SIGNATURE_INVALID,
            Self::Name(_) | Self::Build => Code::TRUSTED_ROOT_MALFORMED,
        }
    }
}

/// Metadata to be signed by its role's key.
#[derive(Clone, Debug)]
pub struct Draft {
    role: TopLevel,
    version: u64,
    signed: Value,
    payload: Vec<u8>,
    key: PublicKey,
    key_id: String,
}

/// A metadata file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its role.
    pub role: TopLevel,
    /// Its version.
    pub version: u64,
    /// Its name in the repository, such as `3.root.json`.
    pub name: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

impl Draft {
    fn new(
        role: TopLevel,
        version: u64,
        lifetime: SignedDuration,
        now: Time,
        key: &PublicKey,
        own: Value,
    ) -> Result<Self, AuthorError> {
        let (key_id, _) = key_value(role, key)?;
        let expires = now.checked_add(lifetime).map_err(|_| AuthorError::Build)?;
        let mut signed = Map::from_iter([
            ("_type".to_owned(), json!(role.name())),
            ("spec_version".to_owned(), json!(SPEC_VERSION)),
            ("version".to_owned(), json!(version)),
            ("expires".to_owned(), json!(format_time(expires))),
        ]);
        if let Value::Object(own) = own {
            signed.extend(own);
        }
        let signed = Value::Object(signed);
        let payload = canonical::encode(&signed).map_err(|_| AuthorError::Build)?;
        Ok(Self { role, version, signed, payload, key: key.clone(), key_id })
    }

    /// Whose key has to sign.
    #[must_use]
    pub const fn role(&self) -> TopLevel {
        self.role
    }

    /// The version that the file will have.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The bytes to be signed, ECDSA with the hash of the curve, or Ed25519.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The file with its signature (ECDSA in ASN.1 DER), which is verified first.
    ///
    /// # Errors
    /// [`AuthorError::Signature`].
    pub fn signed_with(self, signature: &[u8]) -> Result<File, AuthorError> {
        self.key
            .verify(self.key.default_algorithm(), &self.payload, signature)
            .map_err(|_| AuthorError::Signature { role: self.role })?;
        let document = json!({
            "signatures": [{"keyid": self.key_id, "sig": hex::encode(signature)}],
            "signed": self.signed,
        });
        let version = (self.role != TopLevel::Timestamp).then_some(self.version);
        Ok(File {
            role: self.role,
            version: self.version,
            name: metadata_file(self.role.name(), version),
            bytes: document.to_string().into_bytes(),
        })
    }
}

/// Decides which roles have to be signed at `now` so that the repository offers `files`, and nothing else, through
/// valid metadata of `keys`. In the order of writing; empty if all is well.
///
/// # Errors
/// [`AuthorError`].
pub fn plan(current: &Current, keys: &Keys, files: &[TargetFile], now: Time) -> Result<Vec<Draft>, AuthorError> {
    all_different(keys)?;
    let mut drafts = Vec::new();
    drafts.extend(root(current, keys, now)?);

    let targets = targets(current, keys, files, now)?;
    let targets_version = targets.as_ref().map(Draft::version).or_else(|| version(current.targets.as_ref()));
    drafts.extend(targets);

    let listed = current.snapshot.as_ref().and_then(|snapshot| snapshot.role().meta.get("targets.json"));
    let snapshot_is_good = listed.map(|meta| meta.version) == targets_version
        && is_good(current.snapshot.as_ref(), &keys.snapshot, now, ONLINE_RENEWAL);
    let mut snapshot_version = version(current.snapshot.as_ref());
    if !snapshot_is_good {
        let meta = json!({"meta": {"targets.json": {"version": targets_version}}});
        let next = next(snapshot_version)?;
        snapshot_version = Some(next);
        drafts.push(Draft::new(TopLevel::Snapshot, next, ONLINE_LIFETIME, now, &keys.snapshot, meta)?);
    }

    let named = current.timestamp.as_ref().map(|timestamp| timestamp.role().snapshot.version);
    if named != snapshot_version || !is_good(current.timestamp.as_ref(), &keys.timestamp, now, ONLINE_RENEWAL) {
        let meta = json!({"meta": {"snapshot.json": {"version": snapshot_version}}});
        // Never below the snapshot's: if the file was lost, clients still see its version go up.
        let next = next(version(current.timestamp.as_ref()))?.max(snapshot_version.unwrap_or(1));
        drafts.push(Draft::new(TopLevel::Timestamp, next, ONLINE_LIFETIME, now, &keys.timestamp, meta)?);
    }
    Ok(drafts)
}

fn root(current: &Current, keys: &Keys, now: Time) -> Result<Option<Draft>, AuthorError> {
    let wanted = match (&keys.root, &current.root) {
        (Some(key), _) => Some(root_value(keys, key)?),
        (None, Some(_)) => None,
        (None, None) => return Err(AuthorError::RootNeeded("its key is not here")),
    };
    let Some(metadata) = &current.root else {
        let key = keys.root.as_ref().ok_or(AuthorError::RootNeeded("its key is not here"))?;
        return Draft::new(TopLevel::Root, 1, OFFLINE_LIFETIME, now, key, wanted.unwrap_or_default()).map(Some);
    };
    let is_current = [
        (TopLevel::Timestamp, &keys.timestamp),
        (TopLevel::Snapshot, &keys.snapshot),
        (TopLevel::Targets, &keys.targets),
    ]
    .into_iter()
    .all(|(role, key)| has_only_key(metadata.role(), role, key));
    match (&keys.root, wanted) {
        (Some(key), Some(wanted)) => {
            if !has_only_key(metadata.role(), TopLevel::Root, key) {
                return Err(AuthorError::RootNeeded("the key here is not the one of the current root"));
            }
            if is_current && is_good(Some(metadata), key, now, OFFLINE_RENEWAL) {
                return Ok(None);
            }
            Draft::new(TopLevel::Root, next(Some(metadata.version()))?, OFFLINE_LIFETIME, now, key, wanted).map(Some)
        }
        _ if !is_current => Err(AuthorError::RootNeeded("another role's key changed, and the root key is not here")),
        _ if metadata.is_expired(now) => Err(AuthorError::RootNeeded("it expired, and its key is not here")),
        _ => Ok(None),
    }
}

fn root_value(keys: &Keys, root: &PublicKey) -> Result<Value, AuthorError> {
    let (mut by_id, mut roles) = (Map::new(), Map::new());
    for (role, key) in [
        (TopLevel::Root, root),
        (TopLevel::Timestamp, &keys.timestamp),
        (TopLevel::Snapshot, &keys.snapshot),
        (TopLevel::Targets, &keys.targets),
    ] {
        let (id, value) = key_value(role, key)?;
        roles.insert(role.name().to_owned(), json!({"keyids": [id], "threshold": 1}));
        by_id.insert(id, value);
    }
    Ok(json!({"consistent_snapshot": true, "keys": by_id, "roles": roles}))
}

fn targets(current: &Current, keys: &Keys, files: &[TargetFile], now: Time) -> Result<Option<Draft>, AuthorError> {
    let mut wanted = BTreeMap::new();
    for file in files {
        if !target_path_is_acceptable(&file.name) || file.name.contains('/') {
            return Err(AuthorError::Name(file.name.clone()));
        }
        wanted.insert(file.name.clone(), file.value());
    }
    let offered = current.targets.as_ref().map(|metadata| {
        metadata.role().targets.iter().map(|(name, target)| {
            let hashes: Map<_, _> =
                target.hashes.iter().map(|(name, digest)| (name.clone(), json!(hex::encode(digest)))).collect();
            (name.clone(), json!({"length": target.length, "hashes": hashes, "custom": target.custom}))
        })
    });
    if offered.is_some_and(|offered| offered.collect::<BTreeMap<_, _>>() == wanted)
        && is_good(current.targets.as_ref(), &keys.targets, now, OFFLINE_RENEWAL)
    {
        return Ok(None);
    }
    let next = next(version(current.targets.as_ref()))?;
    let own = json!({"targets": wanted});
    Draft::new(TopLevel::Targets, next, OFFLINE_LIFETIME, now, &keys.targets, own).map(Some)
}

/// Whether there is metadata that `key` signed and that need not be renewed yet.
fn is_good<R: Role>(metadata: Option<&Metadata<R>>, key: &PublicKey, now: Time, renewal: SignedDuration) -> bool {
    metadata.is_some_and(|metadata| {
        now.duration_until(metadata.expires()) > renewal
            && metadata
                .signatures()
                .iter()
                .any(|signature| key.verify(key.default_algorithm(), metadata.payload(), &signature.signature).is_ok())
    })
}

fn has_only_key(root: &Root, role: TopLevel, key: &PublicKey) -> bool {
    let role_keys = root.keys_of(role);
    match role_keys.key_ids.as_slice() {
        [id] => role_keys.threshold == 1 && root.keys.get(id).and_then(|known| known.public_key()) == Some(key),
        _ => false,
    }
}

fn all_different(keys: &Keys) -> Result<(), AuthorError> {
    let all = [
        (TopLevel::Root, keys.root.as_ref()),
        (TopLevel::Timestamp, Some(&keys.timestamp)),
        (TopLevel::Snapshot, Some(&keys.snapshot)),
        (TopLevel::Targets, Some(&keys.targets)),
    ];
    for (position, (one, key)) in all.iter().enumerate() {
        for (other, again) in all.iter().skip(position.saturating_add(1)) {
            if key.is_some() && key == again {
                return Err(AuthorError::SharedKey { one: *one, other: *other });
            }
        }
    }
    Ok(())
}

fn key_value(role: TopLevel, key: &PublicKey) -> Result<(String, Value), AuthorError> {
    key_id(key).ok_or_else(|| AuthorError::Key { role, kind: key.kind().to_string() })
}

fn version<R: Role>(metadata: Option<&Metadata<R>>) -> Option<u64> {
    metadata.map(Metadata::version)
}

fn next(version: Option<u64>) -> Result<u64, AuthorError> {
    version.unwrap_or(0).checked_add(1).ok_or(AuthorError::Build)
}

#[cfg(test)]
mod tests;
