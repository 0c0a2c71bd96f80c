//! Attacks on the client, played by a small repository.

mod repository;

use super::{MAX_DELEGATIONS, TufError};
use jiff::SignedDuration;
use repository::{Client, Files, Repository, after, key, keys, role, sign, target};
use serde_json::{Value, json};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::sha256;
use waxseal_formats::tuf::canonical;
use waxseal_testkit::clock::{EPOCH, at};

#[test]
fn a_refresh_asks_for_the_four_roles_once_and_then_only_for_news() {
    let repository = Repository::new();
    let mut client = Client::new(&repository);
    let trusted = client.refresh(&repository).expect("trusted");
    assert_eq!(client.asked, ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]);
    assert!(trusted.target("trusted_root.json").expect("target").matches(b"root"));
    assert!(trusted.target("other").is_none());
    client.refresh(&repository).expect("again");
    assert_eq!(client.asked, ["2.root.json", "timestamp.json"]);
    assert_eq!(client.local["timestamp.json"], repository.files["timestamp.json"]);
}

#[test]
fn an_unsigned_first_root_is_refused_before_anything_is_asked() {
    let mut repository = Repository::new();
    repository.edit("1.root.json", "/signed/version", json!(7));
    let mut client = Client::new(&repository);
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_THRESHOLD);
    assert!(client.asked.is_empty());
}

#[test]
fn roots_are_followed_one_by_one_and_need_old_and_new_keys() {
    let mut repository = Repository::new();
    let mut client = Client::new(&repository);
    let rotated = json!({"root": role(&[5, 6], 2)});
    repository.root(2, &[1, 5, 6], rotated.clone());
    repository.root(3, &[5, 6], rotated.clone());
    client.refresh(&repository).expect("trusted");
    assert_eq!(client.version("root"), Some(3));

    for (signers, why) in
        [(&[5_u8, 6] as &[u8], "not by the old key"), (&[1, 5], "below the new threshold"), (&[1], "no new key")]
    {
        let mut repository = Repository::new();
        let mut client = Client::new(&repository);
        repository.root(2, signers, rotated.clone());
        assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_THRESHOLD, "{why}");
        assert_eq!(client.version("root"), Some(1));
    }
}

#[test]
fn a_root_under_another_versions_name_is_refused() {
    let mut repository = Repository::new();
    let mut client = Client::new(&repository);
    repository.root(3, &[1], json!({}));
    let skipped = repository.files["3.root.json"].clone();
    repository.files.insert("2.root.json".into(), skipped);
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_VERSION);
    let same = repository.files["1.root.json"].clone();
    repository.files.insert("2.root.json".into(), same);
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_VERSION);
}

#[test]
fn endless_roots_are_not_followed() {
    let mut repository = Repository::new();
    for version in 2..=300 {
        repository.root(version, &[1], json!({}));
    }
    let mut client = Client::new(&repository);
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_LIMITS);
    assert_eq!(client.version("root"), Some(257));
}

#[test]
fn an_expired_root_is_kept_and_stops_the_refresh_unless_a_newer_one_follows() {
    let mut repository = Repository::new();
    let mut client = Client::new(&repository);
    client.refresh(&repository).expect("trusted");
    repository.root(2, &[1], json!({}));
    client.now = at(EPOCH).checked_add(SignedDuration::from_hours(365 * 24)).expect("time");
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_EXPIRED);
    assert_eq!(client.version("root"), Some(2));
    assert_eq!(client.asked, ["2.root.json", "3.root.json"]);
}

#[test]
fn one_key_does_not_count_twice_under_two_ids() {
    let mut repository = Repository::new();
    let (_, value, pair) = key(2);
    let signed = json!({
        "_type": "root", "spec_version": "1.0.31", "version": 2, "expires": after(365), "consistent_snapshot": true,
        "keys": {"key-1": key(1).1, "key-3": key(3).1, "key-4": key(4).1, "a": value, "b": value},
        "roles": {"root": role(&[1], 1), "timestamp": {"keyids": ["a", "b"], "threshold": 2}, "snapshot": role(&[3], 1), "targets": role(&[4], 1)},
    });
    repository.put("2.root.json", &sign(&signed, &[1]));
    let document: Value = serde_json::from_slice(&repository.files["timestamp.json"]).expect("JSON");
    let payload = canonical::encode(&document["signed"]).expect("canonical");
    let signature = hex::encode(pair.sign(&payload).as_ref());
    repository.edit(
        "timestamp.json",
        "/signatures",
        json!([{"keyid": "a", "sig": signature}, {"keyid": "b", "sig": signature}]),
    );
    let mut client = Client::new(&repository);
    let error = client.refresh(&repository).expect_err("refused");
    assert_eq!(error, TufError::Threshold { role: "timestamp".into(), found: 1, threshold: 2 });
}

#[test]
fn one_signature_does_not_count_twice() {
    let mut repository = Repository::new();
    repository.root(2, &[1], json!({"snapshot": role(&[3, 5], 2)}));
    let document: Value = serde_json::from_slice(&repository.files["1.snapshot.json"]).expect("JSON");
    let signature = document["signatures"][0].clone();
    repository.edit("1.snapshot.json", "/signatures", json!([signature, signature]));
    let mut client = Client::new(&repository);
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_MALFORMED);
    assert_eq!(client.version("snapshot"), None);
}

#[test]
fn a_bad_signature_beside_enough_good_ones_does_not_hinder() {
    let mut repository = Repository::new();
    repository.root(2, &[1], json!({"timestamp": role(&[2, 5], 1)}));
    let document: Value = serde_json::from_slice(&repository.files["timestamp.json"]).expect("JSON");
    for bad in ["", "00", "zz"] {
        let signatures = json!([{"keyid": "key-5", "sig": bad}, document["signatures"][0]]);
        repository.edit("timestamp.json", "/signatures", signatures);
        Client::new(&repository).refresh(&repository).expect("trusted");
    }
}

#[test]
fn each_role_needs_its_own_keys_and_keeps_what_was_read_before() {
    for (path, kept) in [
        ("timestamp.json", [Some(1), None, None]),
        ("1.snapshot.json", [Some(1), Some(1), None]),
        ("1.targets.json", [Some(1), Some(1), Some(1)]),
    ] {
        let mut repository = Repository::new();
        let document: Value = serde_json::from_slice(&repository.files[path]).expect("JSON");
        // Key 9 is in the root, but in no role.
        repository.put(path, &sign(&document["signed"], &[9]));
        let mut client = Client::new(&repository);
        assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_THRESHOLD, "{path}");
        assert_eq!([client.version("root"), client.version("timestamp"), client.version("snapshot")], kept);
    }
}

#[test]
fn metadata_of_another_type_is_refused_although_its_key_signed_it() {
    let mut repository = Repository::new();
    repository.root(2, &[1], json!({"timestamp": role(&[2, 3], 1)}));
    repository.snapshot(9, json!({"snapshot.json": {"version": 1}}), &[2]);
    let snapshot = repository.files["9.snapshot.json"].clone();
    repository.files.insert("timestamp.json".into(), snapshot);
    assert_eq!(Client::new(&repository).code(&repository), Code::TRUSTED_ROOT_MALFORMED);
}

#[test]
fn a_timestamp_or_snapshot_rolled_back_is_refused() {
    let mut repository = Repository::new();
    repository.publish(5, 5, 5);
    let mut client = Client::new(&repository);
    client.refresh(&repository).expect("trusted");

    for (timestamp, snapshot, targets) in [(4, 5, 5), (6, 4, 5), (6, 6, 4)] {
        repository.publish(timestamp, snapshot, targets);
        let mut client = Client { local: client.local.clone(), asked: Vec::new(), now: client.now };
        assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_ROLLBACK, "{timestamp} {snapshot} {targets}");
        assert_eq!((client.version("snapshot"), client.version("targets")), (Some(5), Some(5)));
    }
}

#[test]
fn a_role_that_vanishes_from_the_snapshot_is_a_rollback() {
    let mut repository = Repository::new();
    repository.snapshot(1, json!({"targets.json": {"version": 1}, "delegated.json": {"version": 1}}), &[3]);
    let mut client = Client::new(&repository);
    client.refresh(&repository).expect("trusted");
    repository.publish(2, 2, 1);
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_ROLLBACK);
}

#[test]
fn the_same_timestamp_version_with_other_contents_is_ignored() {
    let mut repository = Repository::new();
    let mut client = Client::new(&repository);
    client.refresh(&repository).expect("trusted");
    repository.timestamp(1, json!({"version": 100}), &[2]);
    client.refresh(&repository).expect("the old one goes on");
    assert_eq!(client.asked, ["2.root.json", "timestamp.json"]);
}

#[test]
fn new_keys_recover_from_a_fast_forward() {
    let mut repository = Repository::new();
    repository.publish(u64::MAX, u64::MAX, u64::MAX);
    let mut client = Client::new(&repository);
    client.refresh(&repository).expect("trusted");
    repository.root(2, &[1], json!({"timestamp": role(&[5], 1), "snapshot": role(&[6], 1)}));
    repository.publish(2, 2, 2);
    repository.snapshot(2, json!({"targets.json": {"version": 2}}), &[6]);
    repository.timestamp(2, json!({"version": 2}), &[5]);
    client.refresh(&repository).expect("recovered");
    assert_eq!([client.version("timestamp"), client.version("snapshot"), client.version("targets")], [Some(2); 3]);
}

#[test]
fn a_frozen_repository_expires() {
    for path in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let mut repository = Repository::new();
        let mut document: Value = serde_json::from_slice(&repository.files[path]).expect("JSON");
        document["signed"]["expires"] = json!(EPOCH);
        let signer = match path {
            "timestamp.json" => 2,
            "1.snapshot.json" => 3,
            _ => 4,
        };
        repository.put(path, &sign(&document["signed"], &[signer]));
        let mut client = Client::new(&repository);
        assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_EXPIRED, "{path}");
        assert!(!client.local.contains_key(path.trim_start_matches("1.")));
    }
    // A client that has everything must not go on with it either.
    let repository = Repository::new();
    let mut client = Client::new(&repository);
    client.refresh(&repository).expect("trusted");
    client.now = at(EPOCH).checked_add(SignedDuration::from_hours(7 * 24)).expect("time");
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_EXPIRED);
}

#[test]
fn a_file_with_another_length_or_digest_is_refused() {
    let mut repository = Repository::new();
    let snapshot = repository.files["1.snapshot.json"].clone();
    let right = json!({"version": 1, "length": snapshot.len(), "hashes": {"sha256": hex::encode(sha256(&snapshot))}});
    repository.timestamp(1, right, &[2]);
    Client::new(&repository).refresh(&repository).expect("trusted");
    for wrong in [
        json!({"version": 1, "length": snapshot.len() + 1}),
        json!({"version": 1, "hashes": {"sha256": "00"}}),
        json!({"version": 1, "hashes": {"md5": "00"}}),
    ] {
        repository.timestamp(1, wrong.clone(), &[2]);
        assert_eq!(Client::new(&repository).code(&repository), Code::TRUSTED_ROOT_HASH, "{wrong}");
    }
    repository.timestamp(1, json!({"version": 1}), &[2]);
    repository.snapshot(1, json!({"targets.json": {"version": 1, "hashes": {"sha512": "00"}}}), &[3]);
    assert_eq!(Client::new(&repository).code(&repository), Code::TRUSTED_ROOT_HASH);
}

#[test]
fn a_poisoned_cache_is_fetched_anew() {
    let repository = Repository::new();
    let mut client = Client::new(&repository);
    client.refresh(&repository).expect("trusted");
    for file in ["timestamp.json", "snapshot.json", "targets.json"] {
        client.local.insert(file.into(), b"{\"signed\":{}}".to_vec());
    }
    client.refresh(&repository).expect("trusted");
    assert_eq!(client.local["targets.json"], repository.files["1.targets.json"]);
}

#[test]
fn a_version_that_the_metadata_above_does_not_name_is_refused() {
    for (above, file, version) in [("timestamp.json", "snapshot", 2), ("1.snapshot.json", "targets", 2)] {
        let mut repository = Repository::new();
        let bytes = repository.files[&format!("1.{file}.json")].clone();
        repository.files.insert(format!("{version}.{file}.json"), bytes);
        match above {
            "timestamp.json" => repository.timestamp(1, json!({"version": version}), &[2]),
            _ => repository.snapshot(1, json!({"targets.json": {"version": version}}), &[3]),
        }
        assert_eq!(Client::new(&repository).code(&repository), Code::TRUSTED_ROOT_VERSION, "{file}");
    }
}

#[test]
fn a_missing_file_is_named() {
    for path in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let mut repository = Repository::new();
        repository.files.remove(path);
        let error = Client::new(&repository).refresh(&repository).expect_err("refused");
        assert_eq!(error, TufError::Missing(path.to_owned()));
        assert_eq!(error.code(), Code::TRUSTED_ROOT_MISSING);
    }
    let mut repository = Repository::new();
    repository.snapshot(1, json!({}), &[3]);
    assert_eq!(Client::new(&repository).code(&repository), Code::TRUSTED_ROOT_MISSING);
}

#[test]
fn without_consistent_snapshots_names_carry_no_version() {
    let mut repository = Repository::new();
    let mut document: Value = serde_json::from_slice(&repository.files["1.root.json"]).expect("JSON");
    document["signed"]["consistent_snapshot"] = json!(false);
    repository.put("1.root.json", &sign(&document["signed"], &[1]));
    for role in ["snapshot", "targets"] {
        let bytes = repository.files.remove(&format!("1.{role}.json")).expect("file");
        repository.files.insert(format!("{role}.json"), bytes);
    }
    let mut client = Client::new(&repository);
    client.refresh(&repository).expect("trusted");
    assert_eq!(client.asked, ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"]);
}

/// targets → a (`x/*`), then b (`*/*`, terminating), then c (`*/*`); a → d (`x/*`); keys 5, 6, 7, 8.
fn delegating() -> Repository {
    let delegated = |name: &str, number: u8, path: &str, terminating: bool| {
        let mut value = role(&[number], 1);
        value.as_object_mut().expect("object").extend([
            ("name".to_owned(), json!(name)),
            ("terminating".to_owned(), json!(terminating)),
            ("paths".to_owned(), json!([path])),
        ]);
        value
    };
    let mut repository = Repository::new();
    let roles =
        json!([delegated("a", 5, "x/*", false), delegated("b", 6, "*/*", true), delegated("c", 7, "*/*", false)]);
    repository.targets("targets", 1, json!({"delegations": {"keys": keys(5..=7), "roles": roles}}), &[4]);
    let roles = json!([delegated("d", 8, "x/*", false), delegated("a", 5, "x/*", false)]);
    repository.targets("a", 1, json!({"delegations": {"keys": keys([5, 8]), "roles": roles}}), &[5]);
    repository.targets("b", 1, json!({"targets": {"x/b": target(b"b")}}), &[6]);
    repository.targets("c", 1, json!({"targets": {"x/c": target(b"c")}}), &[7]);
    repository.targets("d", 1, json!({"targets": {"x/d": target(b"d"), "y/d": target(b"d")}}), &[8]);
    let meta = ["targets", "a", "b", "c", "d"].map(|name| (format!("{name}.json"), json!({"version": 1})));
    repository.snapshot(1, Value::Object(meta.into_iter().collect()), &[3]);
    repository
}

#[test]
fn delegations_are_walked_in_order_without_going_round_and_stop_at_a_terminating_role() {
    let repository = delegating();
    let mut client = Client::new(&repository);
    let trusted = client.refresh(&repository).expect("trusted");
    assert_eq!(client.search(&repository, &trusted, "x/d"), Ok(Some("d".into())));
    assert_eq!(client.asked, ["1.a.json", "1.d.json"]);
    // Kept roles are not fetched again, and c stands behind a terminating role.
    assert_eq!(client.search(&repository, &trusted, "x/c"), Ok(None));
    assert_eq!(client.asked, ["1.b.json"]);
    // d lists it, but was not delegated to for it.
    assert_eq!(client.search(&repository, &trusted, "y/d"), Ok(None));
}

#[test]
fn a_delegated_role_is_checked_with_the_keys_of_the_role_that_led_to_it() {
    let mut repository = delegating();
    let mut client = Client::new(&repository);
    let trusted = client.refresh(&repository).expect("trusted");
    // Key 4 signs for the top-level role only.
    repository.targets("a", 1, json!({"targets": {"x/a": target(b"a")}}), &[4]);
    let error = client.search(&repository, &trusted, "x/a").expect_err("refused");
    assert_eq!(error.code(), Code::TRUSTED_ROOT_THRESHOLD);
    // A kept copy is no more believed than a fetched one.
    client.local.insert("a.json".into(), repository.files["1.a.json"].clone());
    let error = client.search(&repository, &trusted, "x/a").expect_err("refused");
    assert_eq!(error.code(), Code::TRUSTED_ROOT_THRESHOLD);
}

#[test]
fn a_delegated_role_that_the_snapshot_does_not_list_is_not_even_fetched() {
    let mut repository = delegating();
    repository.snapshot(1, json!({"targets.json": {"version": 1}}), &[3]);
    let mut client = Client::new(&repository);
    let trusted = client.refresh(&repository).expect("trusted");
    let error = client.search(&repository, &trusted, "x/a").expect_err("refused");
    assert_eq!(error.code(), Code::TRUSTED_ROOT_MISSING);
    assert!(client.asked.is_empty());
}

#[test]
fn a_chain_of_delegations_without_end_is_given_up() {
    let mut repository = Repository::new();
    let mut meta = vec![("targets.json".to_owned(), json!({"version": 1}))];
    for number in 0..=MAX_DELEGATIONS {
        let name = if number == 0 { "targets".to_owned() } else { format!("r{number}") };
        let mut next = role(&[4], 1);
        next.as_object_mut().expect("object").extend([
            ("name".to_owned(), json!(format!("r{}", number + 1))),
            ("terminating".to_owned(), json!(false)),
            ("paths".to_owned(), json!(["*"])),
        ]);
        repository.targets(&name, 1, json!({"delegations": {"keys": keys([4]), "roles": [next]}}), &[4]);
        meta.push((format!("r{}.json", number + 1), json!({"version": 1})));
    }
    repository.snapshot(1, Value::Object(meta.into_iter().collect()), &[3]);
    let mut client = Client::new(&repository);
    let trusted = client.refresh(&repository).expect("trusted");
    let error = client.search(&repository, &trusted, "x").expect_err("given up");
    assert_eq!(error.code(), Code::TRUSTED_ROOT_LIMITS);
    assert_eq!(client.asked.len(), MAX_DELEGATIONS);
}

/// A repository that cosign, sigstore-python, sigstore-js and gitsign accepted.
#[test]
fn a_private_instances_repository_is_accepted() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let file = |name: &str| vectors.read(&format!("private-instance/tuf/{name}"));
    let mut files = Files::new();
    for name in ["1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        files.insert(name.into(), file(name));
    }
    let repository = Repository { files };
    let mut client = Client::new(&repository);
    let trusted = client.refresh(&repository).expect("trusted");
    let target = trusted.target("trusted_root.json").expect("target");
    assert!(target.matches(&file(&format!("targets/{}", target.file("trusted_root.json", true)))));
    client.now = at("2036-11-21T15:11:57Z");
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_EXPIRED);
}

#[test]
fn the_public_instances_roots_follow_each_other() {
    let files = Files::from([
        ("1.root.json".to_owned(), include_bytes!("../../testdata/sigstore-root-signing/10.root.json").to_vec()),
        ("11.root.json".to_owned(), include_bytes!("../../testdata/sigstore-root-signing/11.root.json").to_vec()),
        ("12.root.json".to_owned(), include_bytes!("../../testdata/sigstore-root-signing/12.root.json").to_vec()),
    ]);
    let repository = Repository { files };
    let mut client = Client::new(&repository);
    client.now = at("2025-08-01T00:00:00Z");
    assert_eq!(client.code(&repository), Code::TRUSTED_ROOT_MISSING);
    assert_eq!(client.asked, ["11.root.json", "12.root.json", "13.root.json", "timestamp.json"]);
    assert_eq!(client.version("root"), Some(12));
}
