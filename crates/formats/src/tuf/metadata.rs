//! Signed metadata and the roles root, timestamp and snapshot (§4.1–4.4).

use super::key::Key;
use super::name::TopLevel;
use super::{MAX_ROOT_LEN, MAX_SNAPSHOT_LEN, MAX_TIMESTAMP_LEN, TufError, canonical};
use crate::crypto::HashAlgorithm;
use jiff::Timestamp as Time;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Most signatures that one metadata file may carry.
pub const MAX_SIGNATURES: usize = 64;
/// Most key ids that one role may have.
pub const MAX_ROLE_KEYS: usize = 64;

/// The typed form of a `signed` value.
pub trait Role: Sized {
    /// The value of `_type`.
    const TYPE: TopLevel;
    /// Largest file, in bytes.
    const MAX_LEN: usize;

    /// Reads the fields that only this role has; the common ones were read already.
    ///
    /// # Errors
    /// [`TufError`] for fields that are missing or wrong.
    fn from_value(value: &Value) -> Result<Self, TufError>;
}

/// One signature over metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The id of the key that is said to have made it.
    pub key_id: String,
    /// The signature; empty when the hexadecimal form was none (such a one never verifies).
    pub signature: Vec<u8>,
}

/// Metadata of one role: parsed, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata<R> {
    version: u64,
    expires: Time,
    role: R,
    signatures: Vec<Signature>,
    payload: Vec<u8>,
}

impl<R: Role> Metadata<R> {
    /// Parses at most [`Role::MAX_LEN`] bytes.
    ///
    /// # Errors
    /// [`TufError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, TufError> {
        let document = canonical::parse(bytes, R::MAX_LEN)?;
        let signed = field(&document, "signed")?;
        let found = text(signed, "_type")?;
        if found != R::TYPE.name() {
            return Err(TufError::Type { expected: R::TYPE.name(), found: found.to_owned() });
        }
        let spec_version = text(signed, "spec_version")?;
        if spec_version.split('.').next() != Some("1") {
            return Err(TufError::SpecVersion(spec_version.to_owned()));
        }
        let expires = text(signed, "expires")?;
        Ok(Self {
            version: version(signed)?,
            expires: parse_time(expires)
                .ok_or_else(|| wrong("expires", format!("is {expires:?}, not YYYY-MM-DDTHH:MM:SSZ")))?,
            role: R::from_value(signed)?,
            signatures: signatures(&document)?,
            payload: canonical::encode(signed)?,
        })
    }

    /// The version number, 1 or more.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// From this moment on the metadata must not be used.
    #[must_use]
    pub const fn expires(&self) -> Time {
        self.expires
    }

    /// Whether it may no longer be used at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Time) -> bool {
        now >= self.expires
    }

    /// What the role says.
    #[must_use]
    pub const fn role(&self) -> &R {
        &self.role
    }

    /// The signatures, with unique key ids.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// What the signatures cover: the canonical form of `signed`, as it was received.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Which keys sign for a role, and how many of them have to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleKeys {
    /// Unique ids, at most [`MAX_ROLE_KEYS`].
    pub key_ids: Vec<String>,
    /// How many distinct keys have to sign, 1 or more.
    pub threshold: u64,
}

impl RoleKeys {
    /// Reads `{"keyids": […], "threshold": N}`.
    pub(super) fn from_value(value: &Value) -> Result<Self, TufError> {
        let listed = array(value, "keyids")?;
        if listed.len() > MAX_ROLE_KEYS {
            return Err(wrong("keyids", format!("has {} members, at most {MAX_ROLE_KEYS} are allowed", listed.len())));
        }
        let mut key_ids = Vec::with_capacity(listed.len());
        for id in listed {
            let id = id.as_str().ok_or_else(|| wrong("keyids", "must be strings"))?.to_owned();
            if key_ids.contains(&id) {
                return Err(TufError::DuplicateKeyId(id));
            }
            key_ids.push(id);
        }
        match field(value, "threshold")?.as_u64() {
            Some(threshold) if threshold > 0 => Ok(Self { key_ids, threshold }),
            _ => Err(wrong("threshold", "must be a number above 0")),
        }
    }
}

/// The root role: who signs for every top-level role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Whether metadata and target files have versions and digests in their names (§6.2).
    pub consistent_snapshot: bool,
    /// The keys by id.
    pub keys: BTreeMap<String, Key>,
    roles: [RoleKeys; 4],
}

impl Root {
    /// The keys and threshold of a top-level role.
    #[must_use]
    pub const fn keys_of(&self, role: TopLevel) -> &RoleKeys {
        let [root, timestamp, snapshot, targets] = &self.roles;
        match role {
            TopLevel::Root => root,
            TopLevel::Timestamp => timestamp,
            TopLevel::Snapshot => snapshot,
            TopLevel::Targets => targets,
        }
    }
}

impl Role for Root {
    const TYPE: TopLevel = TopLevel::Root;
    const MAX_LEN: usize = MAX_ROOT_LEN;

    fn from_value(value: &Value) -> Result<Self, TufError> {
        let consistent_snapshot = match value.get("consistent_snapshot") {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => return Err(wrong("consistent_snapshot", "must be true or false")),
        };
        let roles = field(value, "roles")?;
        let of = |role: TopLevel| RoleKeys::from_value(field(roles, role.name())?);
        let [root, timestamp, snapshot, targets] = TopLevel::ALL.map(of);
        Ok(Self { consistent_snapshot, keys: keys(value)?, roles: [root?, timestamp?, snapshot?, targets?] })
    }
}

/// What timestamp and snapshot say about a metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Its version, 1 or more.
    pub version: u64,
    /// Its length in bytes, where it is said.
    pub length: Option<u64>,
    /// Its digests by algorithm name, where they are said; names that we do not know included.
    pub hashes: BTreeMap<String, Vec<u8>>,
}

impl FileMeta {
    fn from_value(value: &Value) -> Result<Self, TufError> {
        let length = value.get("length").map(|_| length(value)).transpose()?;
        let hashes = value.get("hashes").map_or_else(|| Ok(BTreeMap::new()), |_| hashes(value))?;
        Ok(Self { version: version(value)?, length, hashes })
    }

    /// Whether `bytes` has the length and all the digests that are said; with none said, any does.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        length_is(self.length, bytes) && (self.hashes.is_empty() || digests_match(&self.hashes, bytes))
    }
}

/// The timestamp role: which snapshot is the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// The snapshot metadata.
    pub snapshot: FileMeta,
}

impl Role for Timestamp {
    const TYPE: TopLevel = TopLevel::Timestamp;
    const MAX_LEN: usize = MAX_TIMESTAMP_LEN;

    fn from_value(value: &Value) -> Result<Self, TufError> {
        Ok(Self { snapshot: FileMeta::from_value(field(field(value, "meta")?, "snapshot.json")?)? })
    }
}

/// The snapshot role: which versions of all targets metadata belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// By role name with `.json` after it, unencoded.
    pub meta: BTreeMap<String, FileMeta>,
}

impl Role for Snapshot {
    const TYPE: TopLevel = TopLevel::Snapshot;
    const MAX_LEN: usize = MAX_SNAPSHOT_LEN;

    fn from_value(value: &Value) -> Result<Self, TufError> {
        let meta = object(value, "meta")?;
        let meta = meta
            .iter()
            .map(|(name, file)| Ok((name.clone(), FileMeta::from_value(file)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { meta })
    }
}

/// Parses `YYYY-MM-DDTHH:MM:SSZ`, the only form of a time in TUF (§4.2.1).
#[must_use]
pub fn parse_time(text: &str) -> Option<Time> {
    let time: Time = text.parse().ok()?;
    (format_time(time) == text).then_some(time)
}

/// A time as TUF writes it: `YYYY-MM-DDTHH:MM:SSZ`, fractions of a second dropped.
#[must_use]
pub fn format_time(time: Time) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn signatures(document: &Value) -> Result<Vec<Signature>, TufError> {
    let listed = array(document, "signatures")?;
    if listed.len() > MAX_SIGNATURES {
        return Err(wrong("signatures", format!("has {} members, at most {MAX_SIGNATURES} are allowed", listed.len())));
    }
    let mut seen = BTreeSet::new();
    let mut out = Vec::with_capacity(listed.len());
    for entry in listed {
        let key_id = text(entry, "keyid")?;
        if !seen.insert(key_id) {
            return Err(TufError::DuplicateKeyId(key_id.to_owned()));
        }
        // One unreadable signature must not hinder the others from reaching the threshold.
        let signature = hex::decode(text(entry, "sig")?).unwrap_or_default();
        out.push(Signature { key_id: key_id.to_owned(), signature });
    }
    Ok(out)
}

pub(super) fn keys(value: &Value) -> Result<BTreeMap<String, Key>, TufError> {
    object(value, "keys")?.iter().map(|(id, key)| Ok((id.clone(), Key::from_value(key)?))).collect()
}

pub(super) fn wrong(field: &'static str, problem: impl Into<String>) -> TufError {
    TufError::Field { field, problem: problem.into() }
}

pub(super) fn field<'a>(value: &'a Value, name: &'static str) -> Result<&'a Value, TufError> {
    value.get(name).ok_or_else(|| wrong(name, "is missing"))
}

pub(super) fn text<'a>(value: &'a Value, name: &'static str) -> Result<&'a str, TufError> {
    field(value, name)?.as_str().ok_or_else(|| wrong(name, "must be a string"))
}

pub(super) fn array<'a>(value: &'a Value, name: &'static str) -> Result<&'a [Value], TufError> {
    field(value, name)?.as_array().map(Vec::as_slice).ok_or_else(|| wrong(name, "must be a list"))
}

pub(super) fn object<'a>(value: &'a Value, name: &'static str) -> Result<&'a Map<String, Value>, TufError> {
    field(value, name)?.as_object().ok_or_else(|| wrong(name, "must be an object"))
}

fn version(value: &Value) -> Result<u64, TufError> {
    match field(value, "version")?.as_u64() {
        Some(version) if version > 0 => Ok(version),
        _ => Err(wrong("version", "must be a number above 0")),
    }
}

pub(super) fn length(value: &Value) -> Result<u64, TufError> {
    field(value, "length")?.as_u64().ok_or_else(|| wrong("length", "must be a number"))
}

/// Reads `hashes`: hexadecimal digests by algorithm name, at least one.
pub(super) fn hashes(value: &Value) -> Result<BTreeMap<String, Vec<u8>>, TufError> {
    let listed = object(value, "hashes")?;
    if listed.is_empty() {
        return Err(wrong("hashes", "must not be empty"));
    }
    let digest = |text: &Value| text.as_str().and_then(|text| hex::decode(text).ok());
    listed
        .iter()
        .map(|(name, text)| {
            Ok((name.clone(), digest(text).ok_or_else(|| wrong("hashes", "must be hexadecimal strings"))?))
        })
        .collect()
}

pub(super) fn length_is(length: Option<u64>, bytes: &[u8]) -> bool {
    length.is_none_or(|length| u64::try_from(bytes.len()) == Ok(length))
}

/// Whether every digest is of a known algorithm and the one of `bytes`: an unknown name is not a pass.
pub(super) fn digests_match(hashes: &BTreeMap<String, Vec<u8>>, bytes: &[u8]) -> bool {
    !hashes.is_empty()
        && hashes.iter().all(|(name, digest)| {
            HashAlgorithm::from_name(name).is_some_and(|algorithm| algorithm.digest(bytes).as_bytes() == digest)
        })
}

#[cfg(test)]
mod tests {
    use super::{FileMeta, Metadata, Root, Snapshot, Timestamp, TopLevel, parse_time};
    use crate::code::Code;
    use crate::crypto::sha256;
    use crate::tuf::TufError;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn timestamp() -> Value {
        json!({
            "signatures": [{"keyid": "a", "sig": "00"}],
            "signed": {
                "_type": "timestamp", "spec_version": "1.0.31", "version": 1, "expires": "2026-12-01T00:00:00Z",
                "meta": {"snapshot.json": {"version": 1}}, "x-more": {"b": 1, "a": "\n"},
            },
        })
    }

    fn parse(value: &Value) -> Result<Metadata<Timestamp>, TufError> {
        Metadata::from_json(value.to_string().as_bytes())
    }

    #[test]
    fn the_payload_is_the_received_value_with_its_unknown_fields() {
        let metadata = parse(&timestamp()).expect("metadata");
        let payload = "{\"_type\":\"timestamp\",\"expires\":\"2026-12-01T00:00:00Z\",\"meta\":{\"snapshot.json\":{\"version\":1}},\"spec_version\":\"1.0.31\",\"version\":1,\"x-more\":{\"a\":\"\n\",\"b\":1}}";
        assert_eq!(String::from_utf8_lossy(metadata.payload()), payload);
        assert_eq!(metadata.version(), 1);
        assert!(metadata.is_expired("2026-12-01T00:00:00Z".parse().expect("time")));
        assert!(!metadata.is_expired("2026-11-30T23:59:59Z".parse().expect("time")));
    }

    #[test]
    fn each_impossible_field_is_refused() {
        let edits: [(&str, Value); 14] = [
            ("/signed/_type", json!("snapshot")),
            ("/signed/spec_version", json!("2.0.0")),
            ("/signed/spec_version", json!("10.0")),
            ("/signed/version", json!(0)),
            ("/signed/version", json!(-1)),
            ("/signed/version", json!("1")),
            ("/signed/expires", json!("2026-12-01T00:00:00.5Z")),
            ("/signed/expires", json!("2026-12-01T00:00:00+00:00")),
            ("/signed/expires", json!("2026-13-01T00:00:00Z")),
            ("/signed/meta", json!({})),
            ("/signed/meta/snapshot.json/version", json!(0)),
            ("/signatures", json!([{"keyid": "a", "sig": "00"}, {"keyid": "a", "sig": "01"}])),
            ("/signatures", json!([{"keyid": "a"}])),
            ("/signatures", json!(vec![json!({"keyid": "a", "sig": "00"}); 65])),
        ];
        for (path, value) in edits {
            let mut edited = timestamp();
            *edited.pointer_mut(path).expect(path) = value.clone();
            let error = parse(&edited).expect_err(path);
            assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED, "{path} {value}");
        }
        let long = Metadata::<Timestamp>::from_json(&vec![b' '; 20_000]).expect_err("long");
        assert_eq!(long.code(), Code::INPUT_TOO_LARGE);
        assert_eq!(parse_time("2026-12-01T00:00:00Z").map(|time| time.as_second()), Some(1_796_083_200));
    }

    #[test]
    fn a_threshold_of_zero_and_a_key_counted_twice_are_refused() {
        let role = json!({"keyids": ["a"], "threshold": 1});
        let root = json!({
            "signatures": [],
            "signed": {
                "_type": "root", "spec_version": "1.0", "version": 1, "expires": "2026-12-01T00:00:00Z", "keys": {},
                "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role},
            },
        });
        let parse = |value: &Value| Metadata::<Root>::from_json(value.to_string().as_bytes());
        let good = parse(&root).expect("root");
        assert_eq!(good.role().keys_of(TopLevel::Snapshot).threshold, 1);
        assert!(!good.role().consistent_snapshot);
        for bad in [
            json!({"keyids": ["a"], "threshold": 0}),
            json!({"keyids": ["a", "a"], "threshold": 2}),
            json!({"keyids": "a", "threshold": 1}),
            json!({"keyids": (0..65).map(|n| n.to_string()).collect::<Vec<_>>(), "threshold": 1}),
            Value::Null,
        ] {
            let mut edited = root.clone();
            *edited.pointer_mut("/signed/roles/timestamp").expect("role") = bad.clone();
            assert_eq!(parse(&edited).expect_err("refused").code(), Code::TRUSTED_ROOT_MALFORMED, "{bad}");
        }
    }

    #[test]
    fn a_file_matches_only_with_its_length_and_all_its_digests_known() {
        let digest = sha256(b"file").to_vec();
        let meta = |length, hashes: &[(&str, Vec<u8>)]| FileMeta {
            version: 1,
            length,
            hashes: hashes
                .iter()
                .map(|(name, digest)| ((*name).to_owned(), digest.clone()))
                .collect::<BTreeMap<_, _>>(),
        };
        assert!(meta(None, &[]).matches(b"file"));
        assert!(meta(Some(4), &[("sha256", digest.clone())]).matches(b"file"));
        assert!(!meta(Some(5), &[]).matches(b"file"));
        assert!(!meta(None, &[("sha256", vec![0; 32])]).matches(b"file"));
        assert!(!meta(None, &[("sha256", digest.clone()), ("unknown", digest)]).matches(b"file"));
        assert!(!meta(None, &[("sha256", Vec::new())]).matches(b"file"));
    }

    #[test]
    fn a_snapshot_lists_versions() {
        let snapshot = json!({
            "signatures": [],
            "signed": {
                "_type": "snapshot", "spec_version": "1.0.31", "version": 3, "expires": "2026-12-01T00:00:00Z",
                "meta": {"targets.json": {"version": 2, "length": 5, "hashes": {"sha256": "00"}}},
            },
        });
        let metadata = Metadata::<Snapshot>::from_json(snapshot.to_string().as_bytes()).expect("snapshot");
        assert_eq!(
            metadata.role().meta.get("targets.json").map(|file| (file.version, file.length)),
            Some((2, Some(5)))
        );
    }
}
