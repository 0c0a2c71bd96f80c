//! An instance that is honest, lies, or is down.

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
        let root = include_bytes!("../../../data/public-good-trusted-root.json").to_vec();
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
