//! The logs that an instance had and has: the shards of its Rekor v2 log, and when which log was frozen.
//!
//! One shard after the other takes the entries. They share the origin and differ in their keys, by which clients tell them apart.
//!
//! ```text
//! keys/rekor.pem    logs/rekor      shard 1
//! keys/rekor-2.pem  logs/rekor-2    shard 2, and so on
//! ```

use super::{Material, MaterialError};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use waxseal_formats::crypto::KeyKind;
use waxseal_formats::trusted_root::Validity;
use waxseal_io::signer::KeyPair;

/// How long the validity of a log's key reaches beyond its first and last entry. What a client can prove is the time of its
/// timestamp, and that is taken some time before the entry is logged, or after.
pub const OVERLAP: SignedDuration = SignedDuration::from_mins(10);
/// Largest number of shards.
pub const MAX_SHARDS: u32 = 256;

/// What `instance.json` says of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShardRecord {
    /// Counted from 1.
    pub(super) number: u32,
    /// From when on its key is valid.
    start: Timestamp,
    /// When it was to take no more entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen: Option<Timestamp>,
}

impl ShardRecord {
    pub(super) const fn with(self, signer: Arc<KeyPair>) -> Shard {
        Shard { number: self.number, start: self.start, frozen: self.frozen, signer }
    }
}

/// What `instance.json` says of the logs that are not sharded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frozen {
    /// When the certificate log was to take no more entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ct: Option<Timestamp>,
    /// When the Rekor v1 log was.
    #[serde(default, rename = "rekor-v1", skip_serializing_if = "Option::is_none")]
    pub rekor_v1: Option<Timestamp>,
}

/// A shard of the Rekor v2 log.
#[derive(Clone)]
pub struct Shard {
    /// Counted from 1 in the order of creation.
    pub number: u32,
    /// From when on its key is valid.
    pub start: Timestamp,
    /// When it was to take no more entries; none for the active one.
    pub frozen: Option<Timestamp>,
    /// Its key (Ed25519).
    pub signer: Arc<KeyPair>,
}

impl Shard {
    /// The name of its key file and of its directory below `logs/`.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// When its key signs.
    #[must_use]
    pub fn valid_for(&self) -> Validity {
        valid_for(self.start, self.frozen)
    }

    pub(super) const fn record(&self) -> ShardRecord {
        ShardRecord { number: self.number, start: self.start, frozen: self.frozen }
    }
}

/// The window of a log's key that is valid from `start` on, and was to sign nothing after `frozen`.
#[must_use]
pub fn valid_for(start: Timestamp, frozen: Option<Timestamp>) -> Validity {
    let end = frozen.map(|frozen| frozen.saturating_add(OVERLAP).unwrap_or(Timestamp::MAX));
    Validity { end, ..Validity::from(start) }
}

/// The name of a shard's key file and of its directory below `logs/`.
pub(super) fn name(number: u32) -> String {
    if number == 1 { "rekor".to_owned() } else { format!("rekor-{number}") }
}

/// The shards of a manifest, of one that was never sharded: the first.
pub(super) fn records(listed: Vec<ShardRecord>, created: Timestamp) -> Option<Vec<ShardRecord>> {
    if listed.is_empty() {
        return Some(vec![ShardRecord { number: 1, start: created, frozen: None }]);
    }
    let in_order = (1..=MAX_SHARDS).zip(&listed).all(|(number, shard)| number == shard.number);
    let (last, former) = listed.split_last()?;
    let one_active = former.iter().all(|shard| shard.frozen.is_some() && shard.start <= last.start);
    (in_order && one_active && last.number <= MAX_SHARDS).then_some(listed)
}

impl Material {
    /// The shard that takes the entries, or the last that did.
    ///
    /// # Errors
    /// [`MaterialError::Damaged`] if there is none, which no manifest says.
    pub fn active_shard(&self) -> Result<&Shard, MaterialError> {
        self.shards.last().ok_or_else(|| self.no_shard())
    }

    /// There is no such shard, although every instance has one at least.
    #[must_use]
    pub fn no_shard(&self) -> MaterialError {
        MaterialError::Damaged { path: self.manifest.clone(), problem: "it does not list the shard".into() }
    }

    /// The shard that would follow on the active one, with its key, which is made or, if an earlier try broke off, found. It is
    /// valid from a little before `now` on, but never before the instance was made: for sigstore-js it has to begin after the
    /// Rekor v1 log. Nothing refers to it until it is listed by [`Material::relist`].
    ///
    /// # Errors
    /// [`MaterialError::Signer`]; [`MaterialError::Shards`] if there are too many.
    pub fn next_shard(&self, now: Timestamp) -> Result<Shard, MaterialError> {
        let active = self.active_shard()?;
        let number = active.number.saturating_add(1);
        if number > MAX_SHARDS {
            return Err(MaterialError::Shards);
        }
        let start = now.saturating_sub(OVERLAP).unwrap_or(now).max(active.start);
        let start = Timestamp::from_second(start.as_second()).unwrap_or(start);
        let path = self.key_path(&name(number));
        let signer = self.keys.load_or_create(&path, KeyKind::Ed25519)?;
        Ok(Shard { number, start, frozen: None, signer: Arc::new(signer) })
    }

    /// Makes this the list of shards, and this the state of the other logs: durably, by one exchange of `instance.json`.
    ///
    /// # Errors
    /// [`MaterialError::File`]; nothing is changed then.
    pub fn relist(&mut self, shards: Vec<Shard>, frozen: Frozen) -> Result<(), MaterialError> {
        self.write_manifest(&shards, frozen)?;
        (self.shards, self.frozen) = (shards, frozen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::material::MANIFEST;
    use std::path::Path;
    use waxseal_formats::code::Code;
    use waxseal_io::signer::{KeyFiles, Signer};

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn open(data_dir: &Path) -> Result<Material, MaterialError> {
        let keys = Arc::new(KeyFiles::plain());
        let mut material = Material::open(data_dir, "host", None, &keys, at("2026-11-24T15:00:00Z"))?;
        if !material.is_whole() {
            material.complete()?;
        }
        Ok(material)
    }

    #[test]
    fn shards_are_listed_in_order_and_found_again() {
        let directory = tempfile::tempdir().expect("directory");
        let mut material = open(directory.path()).expect("made");
        assert_eq!((material.shards.len(), material.active_shard().expect("one").name()), (1, "rekor".to_owned()));
        assert_eq!(material.active_shard().expect("one").start, material.created);
        let manifest = std::fs::read(directory.path().join(MANIFEST)).expect("manifest");

        let later = at("2026-12-01T10:00:00.7Z");
        let second = material.next_shard(later).expect("made");
        assert_eq!((second.number, second.name()), (2, "rekor-2".to_owned()));
        assert_eq!(second.start, at("2026-12-01T09:50:00Z"));
        // Until it is listed it is nothing; the next try takes its key up.
        assert_eq!(std::fs::read(directory.path().join(MANIFEST)).expect("manifest"), manifest);
        assert_eq!(open(directory.path()).expect("read").shards.len(), 1);
        let again = material.next_shard(later).expect("found");
        assert_eq!(again.signer.public_key(), second.signer.public_key());
        assert_ne!(again.signer.public_key(), material.active_shard().expect("one").signer.public_key());

        let mut shards = material.shards.clone();
        shards[0].frozen = Some(later);
        shards.push(second);
        let frozen = Frozen { ct: Some(later), rekor_v1: None };
        material.relist(shards, frozen).expect("listed");
        let read = open(directory.path()).expect("read");
        assert_eq!(read.active_shard().expect("one").number, 2);
        assert_eq!(read.frozen, frozen);
        let validity = read.shards[0].valid_for();
        assert_eq!((validity.start, validity.end), (Some(read.created), Some(at("2026-12-01T10:10:00.7Z"))));
        assert_eq!(read.shards[1].valid_for().end, None);
        assert_eq!(read.shards[1].signer.public_key(), material.shards[1].signer.public_key());

        // A listed shard's key is not made anew.
        std::fs::remove_file(directory.path().join("keys/rekor-2.pem")).expect("removed");
        let error = open(directory.path()).map(|_| ()).expect_err("refused");
        assert_eq!(error.code(), Code::INPUT_MALFORMED);
    }

    #[test]
    fn a_young_instance_has_shards_that_begin_with_it() {
        let directory = tempfile::tempdir().expect("directory");
        let material = open(directory.path()).expect("made");
        let second = material.next_shard(at("2026-11-24T15:00:05Z")).expect("made");
        assert_eq!(second.start, material.created);
    }

    #[test]
    fn a_manifest_with_impossible_shards_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        drop(open(directory.path()).expect("made"));
        let shard = |number: u32, start: &str, frozen: &str| {
            let frozen = if frozen.is_empty() { String::new() } else { format!(r#","frozen":"{frozen}""#) };
            format!(r#"{{"number":{number},"start":"{start}"{frozen}}}"#)
        };
        let (early, late) = ("2026-11-24T15:00:00Z", "2026-11-25T15:00:00Z");
        for shards in [
            vec![shard(2, early, "")],
            vec![shard(0, early, "")],
            vec![shard(1, early, late), shard(3, late, "")],
            vec![shard(1, early, ""), shard(2, late, "")],
            vec![shard(1, late, late), shard(2, early, "")],
            vec![shard(1, early, late), shard(1, late, "")],
        ] {
            let list = shards.join(",");
            let text = format!(
                r#"{{"format":2,"created":"{early}","host":"host","privacy":"sealed","rekor_shards":[{list}]}}"#
            );
            std::fs::write(directory.path().join(MANIFEST), &text).expect("written");
            let error = open(directory.path()).map(|_| ()).expect_err("refused");
            assert_eq!(error.code(), Code::INPUT_MALFORMED, "{text}");
        }
    }
}
