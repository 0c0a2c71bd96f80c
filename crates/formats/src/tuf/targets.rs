//! The targets role and its delegations (§4.5).

use super::key::Key;
use super::metadata::{
    Role, RoleKeys, array, digests_match, field, hashes, keys, length, length_is, object, text, wrong,
};
use super::name::{TopLevel, percent_encode, role_name_is_acceptable, target_path_is_acceptable};
use super::{MAX_TARGETS_LEN, TufError};
use crate::crypto::sha256;
use serde_json::Value;
use std::collections::BTreeMap;

/// Most roles that one targets metadata may delegate to.
pub const MAX_DELEGATED_ROLES: usize = 1024;
/// Most bits of the path digest that succinct delegations may use (TAP 15).
const MAX_SUCCINCT_BITS: u64 = 32;

/// A target file as metadata describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its length in bytes.
    pub length: u64,
    /// Its digests by algorithm name, at least one.
    pub hashes: BTreeMap<String, Vec<u8>>,
    /// What the repository says beside that.
    pub custom: Option<Value>,
}

impl Target {
    fn from_value(value: &Value) -> Result<Self, TufError> {
        Ok(Self { length: length(value)?, hashes: hashes(value)?, custom: value.get("custom").cloned() })
    }

    /// Whether `bytes` has this length and all these digests. A digest of an unknown algorithm matches nothing.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        length_is(Some(self.length), bytes) && digests_match(&self.hashes, bytes)
    }

    /// The URL path of the file below the repository's `targets/`: with consistent snapshots the digest stands
    /// before the last segment (§6.2). Segments are percent-encoded.
    #[must_use]
    pub fn file(&self, path: &str, consistent_snapshot: bool) -> String {
        let (directory, base) = path.rsplit_once('/').map_or((None, path), |(directory, base)| (Some(directory), base));
        let digest = ["sha256", "sha512"].iter().find_map(|name| self.hashes.get(*name));
        let digest = digest.or_else(|| self.hashes.values().next()).filter(|_| consistent_snapshot);
        let mut out = String::new();
        for segment in directory.into_iter().flat_map(|directory| directory.split('/')) {
            out.push_str(&percent_encode(segment));
            out.push('/');
        }
        if let Some(digest) = digest {
            out.push_str(&hex::encode(digest));
            out.push('.');
        }
        out.push_str(&percent_encode(base));
        out
    }
}

/// The targets role, top-level or delegated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Target files by path.
    pub targets: BTreeMap<String, Target>,
    /// Other roles to ask, if any.
    pub delegations: Option<Delegations>,
}

impl Role for Targets {
    const TYPE: TopLevel = TopLevel::Targets;
    const MAX_LEN: usize = MAX_TARGETS_LEN;

    fn from_value(value: &Value) -> Result<Self, TufError> {
        let mut targets = BTreeMap::new();
        for (path, target) in object(value, "targets")? {
            if !target_path_is_acceptable(path) {
                return Err(TufError::Name(path.clone()));
            }
            targets.insert(path.clone(), Target::from_value(target)?);
        }
        let delegations = value.get("delegations").map(Delegations::from_value).transpose()?;
        Ok(Self { targets, delegations })
    }
}

/// Roles that may speak for some target paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegations {
    /// The keys by id.
    pub keys: BTreeMap<String, Key>,
    /// Named roles in the order in which they are asked; unique names, at most [`MAX_DELEGATED_ROLES`].
    pub roles: Vec<DelegatedRole>,
    /// Roles named by the path's digest.
    pub succinct_roles: Option<SuccinctRoles>,
}

/// A role and the target paths that it may speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegatedRole {
    /// Its name.
    pub name: String,
    /// Who signs for it.
    pub keys: RoleKeys,
    /// Whether roles after this one are not asked for the paths that it covers.
    pub terminating: bool,
    paths: Paths,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Paths {
    Patterns(Vec<String>),
    HashPrefixes(Vec<String>),
}

/// Roles that share their keys and divide the paths by digest (TAP 15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccinctRoles {
    /// Who signs for all of them.
    pub keys: RoleKeys,
    bit_length: u32,
    name_prefix: String,
}

impl Delegations {
    fn from_value(value: &Value) -> Result<Self, TufError> {
        let mut roles: Vec<DelegatedRole> = Vec::new();
        if value.get("roles").is_some() {
            let listed = array(value, "roles")?;
            if listed.len() > MAX_DELEGATED_ROLES {
                return Err(wrong("roles", format!("has more than {MAX_DELEGATED_ROLES} members")));
            }
            for role in listed {
                let role = DelegatedRole::from_value(role)?;
                if roles.iter().any(|other| other.name == role.name) {
                    return Err(TufError::Name(role.name));
                }
                roles.push(role);
            }
        }
        let succinct_roles = value.get("succinct_roles").map(SuccinctRoles::from_value).transpose()?;
        Ok(Self { keys: keys(value)?, roles, succinct_roles })
    }

    /// The roles that may speak for `path`, in the order in which they are asked, with whether they end the search.
    #[must_use]
    pub fn roles_for(&self, path: &str) -> Vec<(String, bool)> {
        let named =
            self.roles.iter().filter(|role| role.covers(path)).map(|role| (role.name.clone(), role.terminating));
        named.chain(self.succinct_roles.iter().map(|roles| (roles.name_for(path), true))).collect()
    }

    /// The keys and threshold of a role to which is delegated here.
    #[must_use]
    pub fn keys_of(&self, role: &str) -> Option<&RoleKeys> {
        let named = self.roles.iter().find(|delegated| delegated.name == role).map(|delegated| &delegated.keys);
        named.or_else(|| self.succinct_roles.as_ref().filter(|roles| roles.has(role)).map(|roles| &roles.keys))
    }
}

impl DelegatedRole {
    fn from_value(value: &Value) -> Result<Self, TufError> {
        let name = text(value, "name")?;
        if !role_name_is_acceptable(name) {
            return Err(TufError::Name(name.to_owned()));
        }
        let paths = match (value.get("paths"), value.get("path_hash_prefixes")) {
            (Some(_), None) => Paths::Patterns(strings(value, "paths")?),
            (None, Some(_)) => Paths::HashPrefixes(strings(value, "path_hash_prefixes")?),
            _ => return Err(wrong("paths", "must stand there, or else path_hash_prefixes")),
        };
        let terminating = field(value, "terminating")?.as_bool();
        Ok(Self {
            name: name.to_owned(),
            keys: RoleKeys::from_value(value)?,
            terminating: terminating.ok_or_else(|| wrong("terminating", "must be true or false"))?,
            paths,
        })
    }

    /// Whether this role may speak for `path`.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        match &self.paths {
            Paths::Patterns(patterns) => patterns.iter().any(|pattern| path_matches(pattern, path)),
            Paths::HashPrefixes(prefixes) => {
                let digest = hex::encode(sha256(path.as_bytes()));
                prefixes.iter().any(|prefix| digest.starts_with(prefix.as_str()))
            }
        }
    }
}

impl SuccinctRoles {
    fn from_value(value: &Value) -> Result<Self, TufError> {
        let name_prefix = text(value, "name_prefix")?;
        if !role_name_is_acceptable(name_prefix) {
            return Err(TufError::Name(name_prefix.to_owned()));
        }
        let bits = field(value, "bit_length")?.as_u64().filter(|bits| (1..=MAX_SUCCINCT_BITS).contains(bits));
        let bit_length = bits.and_then(|bits| u32::try_from(bits).ok());
        Ok(Self {
            keys: RoleKeys::from_value(value)?,
            bit_length: bit_length.ok_or_else(|| wrong("bit_length", "must be 1 to 32"))?,
            name_prefix: name_prefix.to_owned(),
        })
    }

    fn name_for(&self, path: &str) -> String {
        let [a, b, c, d, ..] = sha256(path.as_bytes());
        self.name_of(u32::from_be_bytes([a, b, c, d]).checked_shr(32_u32.saturating_sub(self.bit_length)).unwrap_or(0))
    }

    fn name_of(&self, bin: u32) -> String {
        let digits = usize::try_from(self.bit_length.div_ceil(4)).unwrap_or(8);
        format!("{}-{bin:0digits$x}", self.name_prefix)
    }

    fn has(&self, role: &str) -> bool {
        let suffix = role.strip_prefix(&self.name_prefix).and_then(|rest| rest.strip_prefix('-'));
        let bin = suffix.and_then(|suffix| u32::from_str_radix(suffix, 16).ok());
        bin.is_some_and(|bin| bin.checked_shr(self.bit_length).unwrap_or(0) == 0 && self.name_of(bin) == role)
    }
}

fn strings(value: &Value, name: &'static str) -> Result<Vec<String>, TufError> {
    let of = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "must be strings"));
    array(value, name)?.iter().map(of).collect()
}

/// Shell patterns, segment by segment: `*` any run and `?` any one character, never a `/` (§4.5, PATHPATTERN).
fn path_matches(pattern: &str, path: &str) -> bool {
    pattern.split('/').count() == path.split('/').count()
        && pattern.split('/').zip(path.split('/')).all(|(pattern, segment)| segment_matches(pattern, segment))
}

/// Matches in time bounded by the product of the lengths: on a mismatch only the last `*` takes one character more.
fn segment_matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star = None;
    loop {
        let here = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = here;
                last_star = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                let Some((after_star, taken)) = &mut last_star else { return false };
                if taken.next().is_none() {
                    return false;
                }
                pattern = after_star.clone();
                text = taken.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Targets, path_matches};
    use crate::code::Code;
    use crate::crypto::sha256;
    use crate::tuf::{Metadata, TufError};
    use serde_json::{Value, json};

    fn parse(targets: &Value, delegations: Option<Value>) -> Result<Metadata<Targets>, TufError> {
        let mut document = json!({
            "signatures": [],
            "signed": {
                "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": "2026-12-01T00:00:00Z",
                "targets": targets,
            },
        });
        if let (Some(delegations), Some(signed)) = (delegations, document["signed"].as_object_mut()) {
            signed.insert("delegations".into(), delegations);
        }
        Metadata::from_json(document.to_string().as_bytes())
    }

    #[test]
    fn a_target_is_known_by_length_and_digest_and_lies_under_its_digest() {
        let digest = hex::encode(sha256(b"root"));
        let listed = json!({"a b/trusted_root.json": {"length": 4, "hashes": {"sha256": digest}, "custom": {"x": 1}}});
        let metadata = parse(&listed, None).expect("targets");
        let target = &metadata.role().targets["a b/trusted_root.json"];
        assert!(target.matches(b"root"));
        assert!(!target.matches(b"r00t"));
        assert!(!target.matches(b"root "));
        assert_eq!(target.file("a b/trusted_root.json", true), format!("a%20b/{digest}.trusted_root.json"));
        assert_eq!(target.file("trusted_root.json", false), "trusted_root.json");
    }

    #[test]
    fn a_target_path_that_leaves_the_directory_is_refused() {
        for path in ["../../.ssh/authorized_keys", "/etc/passwd", "a/../../b", "a\0b", &"n".repeat(4096)] {
            let error = parse(&json!({path: {"length": 0, "hashes": {"sha256": "00"}}}), None).expect_err(path);
            assert_eq!(error, TufError::Name(path.to_owned()));
            assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED);
        }
        for target in [json!({"length": 0}), json!({"length": 0, "hashes": {}}), json!({"hashes": {"sha256": "00"}})] {
            assert!(parse(&json!({"a": target}), None).is_err(), "{target}");
        }
    }

    #[test]
    fn delegations_select_roles_by_path_in_order() {
        let role = |name: &str, terminating: bool, paths: Value| {
            let mut role = json!({"name": name, "keyids": ["k"], "threshold": 1, "terminating": terminating});
            role.as_object_mut().expect("object").extend(paths.as_object().expect("object").clone());
            role
        };
        let prefix = &hex::encode(sha256(b"a/b.txt"))[..3];
        let roles = json!([
            role("one", false, json!({"paths": ["x/*", "a/*.txt"]})),
            role("two", true, json!({"path_hash_prefixes": [prefix]})),
            role("three", false, json!({"paths": ["*"]})),
        ]);
        let delegations = json!({"keys": {}, "roles": roles});
        let metadata = parse(&json!({}), Some(delegations)).expect("targets");
        let delegations = metadata.role().delegations.as_ref().expect("delegations");
        assert_eq!(delegations.roles_for("a/b.txt"), [("one".to_owned(), false), ("two".to_owned(), true)]);
        assert_eq!(delegations.roles_for("c"), [("three".to_owned(), false)]);
        assert_eq!(delegations.keys_of("two").map(|keys| keys.threshold), Some(1));
        assert!(delegations.keys_of("four").is_none());
    }

    #[test]
    fn succinct_roles_are_named_by_the_digest() {
        let delegations = json!({"keys": {}, "succinct_roles": {"keyids": [], "threshold": 1, "bit_length": 5, "name_prefix": "bin"}});
        let metadata = parse(&json!({}), Some(delegations)).expect("targets");
        let delegations = metadata.role().delegations.as_ref().expect("delegations");
        let name = format!("bin-{:02x}", sha256(b"a")[0] >> 3);
        assert_eq!(delegations.roles_for("a"), [(name.clone(), true)]);
        assert!(delegations.keys_of(&name).is_some());
        for other in ["bin-20", "bin-1", "bin-0g", "bin-001", "bin", "bin-"] {
            assert!(delegations.keys_of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn impossible_delegations_are_refused() {
        let role = json!({"name": "a", "keyids": [], "threshold": 1, "terminating": false, "paths": []});
        let with = |key: &str, value: Value| {
            let mut role = role.clone();
            role[key] = value;
            json!({"keys": {}, "roles": [role]})
        };
        for bad in [
            with("name", json!("root")),
            with("name", json!("a\0")),
            with("threshold", json!(0)),
            with("path_hash_prefixes", json!([])),
            with("terminating", Value::Null),
            json!({"keys": {}, "roles": [role, role]}),
            json!({"keys": {}, "roles": vec![role.clone(); 1025]}),
            json!({"roles": []}),
            json!({"keys": {}, "succinct_roles": {"keyids": [], "threshold": 1, "bit_length": 33, "name_prefix": "b"}}),
        ] {
            let error = parse(&json!({}), Some(bad.clone())).expect_err("refused");
            assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED, "{bad}");
        }
    }

    #[test]
    fn patterns_stay_within_segments_and_take_bounded_time() {
        for (pattern, path, expected) in [
            ("*.md", "README.md", true),
            ("*.md", "README.MD", false),
            ("*.md", "a/README.md", false),
            ("foo-?.tgz", "foo-1.tgz", true),
            ("foo-?.tgz", "foo-10.tgz", false),
            ("releases/*/*", "releases/x/y", true),
            ("releases/*/*", "releases/x", false),
            ("*a*b", "xaab", true),
            ("*a*b", "xaac", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("", "a", false),
            ("**", "", true),
            ("?", "é", true),
        ] {
            assert_eq!(path_matches(pattern, path), expected, "{pattern} {path}");
        }
        assert!(!path_matches(&"*a".repeat(200), &format!("{}b", "a".repeat(500))));
    }
}
