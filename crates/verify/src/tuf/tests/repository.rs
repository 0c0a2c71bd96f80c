//! A small repository that signs with seeded keys, and a client that keeps its files in a map.

use crate::tuf::{Need, Refresh, Search, Trusted, TufError};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jiff::{SignedDuration, Timestamp as Time};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::sha256;
use waxseal_formats::tuf::{canonical, format_time};
use waxseal_testkit::clock::{EPOCH, at};

/// A key named by its number.
pub(super) fn key(number: u8) -> (String, Value, Ed25519KeyPair) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("seed");
    let public = hex::encode(pair.public_key().as_ref());
    (format!("key-{number}"), json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}}), pair)
}

pub(super) fn sign(signed: &Value, keys: &[u8]) -> Value {
    let payload = canonical::encode(signed).expect("canonical");
    let signatures: Vec<Value> = keys
        .iter()
        .map(|number| {
            let (id, _, pair) = key(*number);
            json!({"keyid": id, "sig": hex::encode(pair.sign(&payload).as_ref())})
        })
        .collect();
    json!({"signatures": signatures, "signed": signed})
}

pub(super) fn role(keys: &[u8], threshold: u64) -> Value {
    json!({"keyids": keys.iter().map(|number| key(*number).0).collect::<Vec<_>>(), "threshold": threshold})
}

pub(super) fn keys(numbers: impl IntoIterator<Item = u8>) -> Value {
    Value::Object(numbers.into_iter().map(|number| (key(number).0, key(number).1)).collect())
}

pub(super) fn after(days: i64) -> String {
    format_time(at(EPOCH).checked_add(SignedDuration::from_hours(days * 24)).expect("time"))
}

/// What the repository serves, by path; tests edit it.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A repository whose roles root, timestamp, snapshot and targets are signed by keys 1 to 4.
pub(super) struct Repository {
    pub(super) files: Files,
}

impl Repository {
    pub(super) fn new() -> Self {
        let mut repository = Self { files: Files::new() };
        repository.root(1, &[1], json!({}));
        repository.publish(1, 1, 1);
        repository
    }

    pub(super) fn put(&mut self, path: &str, document: &Value) {
        self.files.insert(path.to_owned(), document.to_string().into_bytes());
    }

    /// Root with keys 1 to 9, signed by `signers`; `roles` overrides whole roles.
    pub(super) fn root(&mut self, version: u64, signers: &[u8], roles: Value) {
        let mut all = json!({"root": role(&[1], 1), "timestamp": role(&[2], 1), "snapshot": role(&[3], 1), "targets": role(&[4], 1)});
        all.as_object_mut().expect("object").extend(roles.as_object().expect("object").clone());
        let signed = json!({
            "_type": "root", "spec_version": "1.0.31", "version": version, "expires": after(365),
            "consistent_snapshot": true, "keys": keys(1..=9), "roles": all,
        });
        self.put(&format!("{version}.root.json"), &sign(&signed, signers));
    }

    pub(super) fn timestamp(&mut self, version: u64, meta: Value, signers: &[u8]) {
        let signed = json!({
            "_type": "timestamp", "spec_version": "1.0.31", "version": version, "expires": after(7),
            "meta": {"snapshot.json": meta},
        });
        self.put("timestamp.json", &sign(&signed, signers));
    }

    pub(super) fn snapshot(&mut self, version: u64, meta: Value, signers: &[u8]) {
        let signed = json!({
            "_type": "snapshot", "spec_version": "1.0.31", "version": version, "expires": after(7), "meta": meta,
        });
        self.put(&format!("{version}.snapshot.json"), &sign(&signed, signers));
    }

    pub(super) fn targets(&mut self, name: &str, version: u64, more: Value, signers: &[u8]) {
        let mut signed = json!({
            "_type": "targets", "spec_version": "1.0.31", "version": version, "expires": after(365), "targets": {},
        });
        signed.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        self.put(&format!("{version}.{name}.json"), &sign(&signed, signers));
    }

    pub(super) fn publish(&mut self, timestamp: u64, snapshot: u64, targets: u64) {
        self.targets("targets", targets, json!({"targets": {"trusted_root.json": target(b"root")}}), &[4]);
        self.snapshot(snapshot, json!({"targets.json": {"version": targets}}), &[3]);
        self.timestamp(timestamp, json!({"version": snapshot}), &[2]);
    }

    /// Changes one field of a file without signing it anew.
    pub(super) fn edit(&mut self, path: &str, pointer: &str, value: Value) {
        let mut document: Value = serde_json::from_slice(&self.files[path]).expect("JSON");
        *document.pointer_mut(pointer).expect("field") = value;
        self.put(path, &document);
    }
}

pub(super) fn target(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "hashes": {"sha256": hex::encode(sha256(bytes))}})
}

/// A client's directory, and what it asked the repository for.
pub(super) struct Client {
    pub(super) local: Files,
    pub(super) asked: Vec<String>,
    pub(super) now: Time,
}

impl Client {
    pub(super) fn new(repository: &Repository) -> Self {
        let local = Files::from([("root.json".to_owned(), repository.files["1.root.json"].clone())]);
        Self { local, asked: Vec::new(), now: at(EPOCH) }
    }

    pub(super) fn refresh(&mut self, repository: &Repository) -> Result<Trusted, TufError> {
        self.asked.clear();
        let mut refresh = Refresh::new(&self.local["root.json"], self.now)?;
        loop {
            let need = refresh.need();
            if need == Need::Done {
                return refresh.finish();
            }
            self.step(repository, need, |bytes| refresh.supply(bytes))?;
        }
    }

    pub(super) fn search(
        &mut self,
        repository: &Repository,
        trusted: &Trusted,
        path: &str,
    ) -> Result<Option<String>, TufError> {
        self.asked.clear();
        let mut search = Search::new(trusted, path)?;
        loop {
            let need = search.need();
            if need == Need::Done {
                return search.finish().map(|found| found.map(|found| found.role));
            }
            self.step(repository, need, |bytes| search.supply(bytes))?;
        }
    }

    pub(super) fn step(
        &mut self,
        repository: &Repository,
        need: Need,
        supply: impl FnOnce(Option<&[u8]>) -> Result<Option<String>, TufError>,
    ) -> Result<(), TufError> {
        match need {
            Need::Local { file } => supply(self.local.get(&file).map(Vec::as_slice)).map(|_| ()),
            Need::Remote { path, max_len } => {
                self.asked.push(path.clone());
                let bytes = repository.files.get(&path);
                assert!(bytes.is_none_or(|bytes| bytes.len() as u64 <= max_len));
                if let Some(file) = supply(bytes.map(Vec::as_slice))? {
                    self.local.insert(file, bytes.expect("kept").clone());
                }
                Ok(())
            }
            Need::Done => unreachable!(),
        }
    }

    pub(super) fn code(&mut self, repository: &Repository) -> Code {
        self.refresh(repository).expect_err("refused").code()
    }

    pub(super) fn version(&self, role: &str) -> Option<u64> {
        let bytes = self.local.get(&format!("{role}.json"))?;
        serde_json::from_slice::<Value>(bytes).expect("JSON").pointer("/signed/version")?.as_u64()
    }
}
