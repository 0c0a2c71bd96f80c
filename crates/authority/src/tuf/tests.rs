//! What the author makes is read by the client of `waxseal-verify`.

use super::{AuthorError, Current, File, Keys, TargetFile, Usage, plan};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use jiff::{SignedDuration, Timestamp as Time};
use std::collections::BTreeMap;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::PublicKey;
use waxseal_formats::tuf::{Metadata, TopLevel};
use waxseal_testkit::clock::{EPOCH, at};
use waxseal_verify::tuf::{Need, Refresh, TufError};

/// A repository and the keys that sign for it, by role in the order of [`TopLevel::ALL`].
struct Instance {
    pairs: Vec<EcdsaKeyPair>,
    current: Current,
    files: BTreeMap<String, Vec<u8>>,
    holds_root: bool,
}

impl Instance {
    fn new() -> Self {
        let pairs = (0..4).map(|_| pair()).collect();
        Self { pairs, current: Current::default(), files: BTreeMap::new(), holds_root: true }
    }

    fn keys(&self) -> Keys {
        let [root, timestamp, snapshot, targets] = [0, 1, 2, 3].map(|number| public(&self.pairs[number]));
        Keys { root: Some(root).filter(|_| self.holds_root), timestamp, snapshot, targets }
    }

    /// Signs what the plan says; returns the names of the new files.
    fn renew(&mut self, targets: &[TargetFile], now: Time) -> Result<Vec<String>, AuthorError> {
        let mut names = Vec::new();
        for draft in plan(&self.current, &self.keys(), targets, now)? {
            let pair = &self.pairs[TopLevel::ALL.iter().position(|role| *role == draft.role()).expect("role")];
            let signature = sign(pair, draft.payload());
            let File { role, name, bytes, .. } = draft.signed_with(&signature)?;
            match role {
                TopLevel::Root => self.current.root = Some(Metadata::from_json(&bytes).expect("root")),
                TopLevel::Timestamp => self.current.timestamp = Some(Metadata::from_json(&bytes).expect("timestamp")),
                TopLevel::Snapshot => self.current.snapshot = Some(Metadata::from_json(&bytes).expect("snapshot")),
                TopLevel::Targets => self.current.targets = Some(Metadata::from_json(&bytes).expect("targets")),
            }
            names.push(name.clone());
            self.files.insert(name, bytes);
        }
        Ok(names)
    }

    /// What a client that starts from the first root makes of it.
    fn read(&self, now: Time) -> Result<Vec<String>, TufError> {
        let mut refresh = Refresh::new(&self.files["1.root.json"], now)?;
        loop {
            let bytes = match refresh.need() {
                Need::Local { .. } => None,
                Need::Remote { path, .. } => self.files.get(&path).map(Vec::as_slice),
                Need::Done => return Ok(refresh.finish()?.targets().role().targets.keys().cloned().collect()),
            };
            refresh.supply(bytes)?;
        }
    }
}

fn pair() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("key")
}

#[expect(clippy::disallowed_methods, reason = "the shells sign; here the test is the shell")]
fn sign(pair: &EcdsaKeyPair, payload: &[u8]) -> Vec<u8> {
    pair.sign(&SystemRandom::new(), payload).expect("signature").as_ref().to_vec()
}

fn public(pair: &EcdsaKeyPair) -> PublicKey {
    PublicKey::from_spki_der(AsDer::as_der(pair.public_key()).expect("DER").as_ref()).expect("key")
}

fn file(name: &str, bytes: &[u8]) -> TargetFile {
    TargetFile { name: name.into(), bytes: bytes.into(), usage: Usage::Unknown, uri: "https://sign.corp".into() }
}

fn days(days: i64) -> Time {
    at(EPOCH).checked_add(SignedDuration::from_hours(days * 24)).expect("time")
}

#[test]
fn a_new_repository_is_signed_whole_and_then_left_alone() {
    let mut instance = Instance::new();
    let files = [file("trusted_root.json", b"root"), file("signing_config.v0.2.json", b"config")];
    let written = instance.renew(&files, days(0)).expect("renewed");
    assert_eq!(written, ["1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"]);
    assert_eq!(instance.read(days(0)), Ok(vec!["signing_config.v0.2.json".into(), "trusted_root.json".into()]));
    assert_eq!(instance.renew(&files, days(0)), Ok(vec![]));
    let signed = &instance.current.targets.as_ref().expect("targets").role().targets["trusted_root.json"];
    assert!(signed.matches(b"root"));
    let custom = signed.custom.as_ref().expect("custom").to_string();
    assert_eq!(custom, r#"{"sigstore":{"status":"Active","uri":"https://sign.corp","usage":"Unknown"}}"#);
}

#[test]
fn online_roles_are_renewed_daily_and_offline_ones_a_month_before_their_end() {
    let mut instance = Instance::new();
    let files = [file("trusted_root.json", b"root")];
    instance.renew(&files, days(0)).expect("renewed");
    assert_eq!(instance.renew(&files, days(1)).expect("renewed"), ["2.snapshot.json", "timestamp.json"]);
    assert_eq!(instance.renew(&files, days(334)).expect("renewed"), ["3.snapshot.json", "timestamp.json"]);
    let all = ["2.root.json", "2.targets.json", "4.snapshot.json", "timestamp.json"];
    assert_eq!(instance.renew(&files, days(335)).expect("renewed"), all);
    assert_eq!(instance.read(days(341)), Ok(vec!["trusted_root.json".into()]));
    assert_eq!(instance.read(days(342)).expect_err("frozen").code(), Code::TRUSTED_ROOT_EXPIRED);
}

#[test]
fn a_changed_added_or_removed_file_makes_new_targets() {
    let mut instance = Instance::new();
    instance.renew(&[file("a", b"1")], days(0)).expect("renewed");
    for (version, files) in [
        (2, vec![file("a", b"2")]),
        (3, vec![file("a", b"2"), file("b", b"")]),
        (4, vec![file("b", b"")]),
        (5, vec![TargetFile { usage: Usage::Rekor, ..file("b", b"") }]),
    ] {
        let written = instance.renew(&files, days(0)).expect("renewed");
        let [targets, snapshot] = ["targets", "snapshot"].map(|role| format!("{version}.{role}.json"));
        assert_eq!(written, [targets, snapshot, "timestamp.json".into()]);
        instance.read(days(0)).expect("readable");
    }
}

#[test]
fn a_replaced_key_makes_a_new_root_that_clients_follow() {
    for number in [1, 2, 3] {
        let mut instance = Instance::new();
        instance.renew(&[file("a", b"1")], days(0)).expect("renewed");
        instance.pairs[number] = pair();
        let written = instance.renew(&[file("a", b"1")], days(0)).expect("renewed");
        assert_eq!(written.first().map(String::as_str), Some("2.root.json"));
        assert_eq!(instance.read(days(0)), Ok(vec!["a".into()]), "key {number}");
    }
}

#[test]
fn a_root_key_that_is_elsewhere_or_another_is_asked_for_only_when_needed() {
    let mut instance = Instance::new();
    instance.holds_root = false;
    let needed = |result: Result<Vec<String>, AuthorError>| assert!(matches!(result, Err(AuthorError::RootNeeded(_))));
    needed(instance.renew(&[], days(0)));
    instance.holds_root = true;
    instance.renew(&[], days(0)).expect("renewed");
    instance.holds_root = false;
    assert_eq!(instance.renew(&[], days(1)).expect("online roles").len(), 2);
    needed(instance.renew(&[], days(365)));
    instance.pairs[1] = pair();
    needed(instance.renew(&[], days(1)));
    instance.holds_root = true;
    instance.pairs[0] = pair();
    needed(instance.renew(&[], days(1)));
}

#[test]
fn a_lost_timestamp_or_snapshot_goes_on_above_what_clients_saw() {
    let mut instance = Instance::new();
    for day in 0..5 {
        instance.renew(&[], days(day)).expect("renewed");
    }
    instance.current.timestamp = None;
    assert_eq!(instance.renew(&[], days(4)).expect("renewed"), ["timestamp.json"]);
    assert_eq!(instance.current.timestamp.as_ref().map(Metadata::version), Some(5));
}

#[test]
fn keys_that_are_shared_or_that_clients_do_not_understand_are_refused() {
    let mut instance = Instance::new();
    let mut keys = instance.keys();
    keys.timestamp = keys.snapshot.clone();
    let error = plan(&Current::default(), &keys, &[], days(0)).expect_err("shared");
    assert_eq!(error, AuthorError::SharedKey { one: TopLevel::Timestamp, other: TopLevel::Snapshot });
    assert_eq!(error.code(), Code::KEY_UNSUPPORTED);
    let p521 = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P521_SHA512_ASN1_SIGNING).expect("key");
    keys.timestamp = public(&p521);
    assert_eq!(plan(&Current::default(), &keys, &[], days(0)).expect_err("P-521").code(), Code::KEY_UNSUPPORTED);
    for name in ["../a", "", "a/b"] {
        let error = instance.renew(&[file(name, b"")], days(0)).expect_err(name);
        assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED);
    }
}

#[test]
fn a_signature_of_another_key_never_becomes_a_file() {
    let instance = Instance::new();
    let draft = plan(&Current::default(), &instance.keys(), &[], days(0)).expect("plan").remove(0);
    let signature = sign(&instance.pairs[1], draft.payload());
    let error = draft.signed_with(&signature).expect_err("refused");
    assert_eq!(error, AuthorError::Signature { role: TopLevel::Root });
    assert_eq!(error.code(), Code::SIGNATURE_INVALID);
}
