//! What the certificate log refuses: status, reason, and nothing stored.

use super::{API, Authority, PRECERTIFICATE_SIGNING, authority, body, params, precertificate, refusal};
use crate::instance::{Home, Up, ask, client};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose};
use serde_json::json;

#[tokio::test]
async fn chains_that_lead_nowhere_are_not_logged() {
    let home = Home::new();
    let up = Up::start(&home);
    let (own, root, stranger) = (Authority::of(&up, "ca"), Authority::of(&up, "ca-root"), Authority::stranger());
    let own_root = &own.chain[1];
    let good = own.sign(precertificate("leaf"));
    let mut flipped = good.clone();
    let last = flipped[0].len() - 1;
    flipped[0][last] ^= 1;
    let mut altered = good.clone();
    let place = altered[0].windows(4).position(|window| window == b"leaf").expect("its name");
    altered[0][place] ^= 1;
    let foreign = stranger.sign(precertificate("leaf"));
    // An authority of a stranger that calls itself as ours does.
    let subject = waxseal_formats::x509::Certificate::from_der(&own.chain[0]).expect("certificate").subject();
    let impostor = stranger.below(authority(&subject.organization, &subject.common_name)).sign(precertificate("leaf"));
    let no_authority = own.below(params("", "no authority")).sign(precertificate("leaf"));
    let too_deep = own.below(authority("corp", "below path length 0")).sign(precertificate("leaf"));
    let mut signer = authority("corp", "precertificate signer");
    signer.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(PRECERTIFICATE_SIGNING.to_vec())];
    let signer = root.below(signer).sign(precertificate("leaf"));
    let mut loose = precertificate("leaf");
    loose.custom_extensions[0].set_criticality(false);
    let mut value = precertificate("leaf");
    value.custom_extensions = vec![CustomExtension::from_oid_content(super::POISON, vec![4, 0])];
    let long = [good.clone(), vec![own_root.clone(); 8]].concat();

    for (what, path, chain, code) in [
        ("a stranger's chain", "add-pre-chain", foreign.clone(), "certificate.chain"),
        ("without its root", "add-pre-chain", foreign[..1].to_vec(), "certificate.chain"),
        ("with our root", "add-pre-chain", vec![foreign[0].clone(), own_root.clone()], "certificate.chain"),
        ("with our chain", "add-pre-chain", [&foreign[..1], &own.chain[..]].concat(), "certificate.chain"),
        ("an impostor", "add-pre-chain", impostor.clone(), "certificate.chain"),
        (
            "an impostor below our root",
            "add-pre-chain",
            [&impostor[..2], std::slice::from_ref(own_root)].concat(),
            "certificate.chain",
        ),
        ("a bit of the signature", "add-pre-chain", flipped, "certificate.chain"),
        ("a bit of the name", "add-pre-chain", altered, "certificate.chain"),
        ("an issuer missing", "add-pre-chain", vec![good[0].clone(), good[2].clone()], "certificate.chain"),
        ("a leaf alone", "add-pre-chain", good[..1].to_vec(), "certificate.chain"),
        (
            "the wrong order",
            "add-pre-chain",
            vec![good[1].clone(), good[0].clone(), good[2].clone()],
            "certificate.extension",
        ),
        ("an issuer that is none", "add-pre-chain", no_authority, "certificate.usage"),
        ("below path length 0", "add-pre-chain", too_deep, "certificate.usage"),
        ("a precertificate signer", "add-pre-chain", signer, "certificate.usage"),
        ("a precertificate", "add-chain", good.clone(), "certificate.extension"),
        ("a certificate", "add-pre-chain", own.sign(params("", "leaf")), "certificate.extension"),
        ("a poison that may be ignored", "add-pre-chain", own.sign(loose), "certificate.extension"),
        ("a poison that is not NULL", "add-pre-chain", own.sign(value), "certificate.malformed"),
        ("no certificate", "add-chain", vec![b"nonsense".to_vec()], "certificate.malformed"),
        ("a tail", "add-chain", vec![[own_root.clone(), vec![0]].concat()], "certificate.malformed"),
        ("an empty chain", "add-chain", Vec::new(), "input.malformed"),
        ("a long chain", "add-pre-chain", long, "input.too-large"),
    ] {
        let answer = up.add(path, &chain).await;
        assert_eq!(refusal(&answer), (400, code.to_owned()), "{what}: {}", answer.text());
    }
    for (what, text) in [
        ("nothing", ""),
        ("no JSON", "{"),
        ("an array", "[]"),
        ("no list", r#"{"chain": "MA=="}"#),
        ("no text", r#"{"chain": [1]}"#),
        ("no base64", r#"{"chain": ["*"]}"#),
        ("twice", r#"{"chain": [], "chain": []}"#),
    ] {
        let answer = up.post(&format!("{API}/add-chain"), text).await;
        assert_eq!(refusal(&answer), (400, "input.malformed".into()), "{what}: {}", answer.text());
    }
    let large = json!({"chain": [STANDARD.encode(vec![0; 200 << 10])]}).to_string();
    let answer = up.post(&format!("{API}/add-chain"), large).await;
    assert_eq!(refusal(&answer), (413, "input.too-large".into()));

    // Nothing of it is in the log, nor is any of its issuers kept.
    assert_eq!(up.tree_head(0).await.0, 0);
    assert_eq!(std::fs::read_dir(up.data_dir.join("logs/ct/public/issuer")).expect("issuers").count(), 2);
    assert_eq!(up.add("add-pre-chain", &good).await.status, 200);
    assert_eq!(up.tree_head(1).await.0, 1);
}

#[tokio::test]
async fn parameters_outside_the_tree_and_wrong_methods_are_refused() {
    let home = Home::new();
    let up = Up::start_with(&home, "127.0.0.1:0", &["--privacy", "open"]);
    let own = Authority::of(&up, "ca");
    for index in 0..3 {
        assert_eq!(up.add("add-pre-chain", &own.sign(precertificate(&format!("leaf {index}")))).await.status, 200);
    }
    assert_eq!(up.tree_head(3).await.0, 3);
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D";
    let leaf = up.get("/ctlog/tile/0/000.p/3").await.body[64..].to_vec();
    let leaf = super::escaped(&leaf.try_into().expect("32 bytes"));
    for path in [
        "get-sth-consistency",
        "get-sth-consistency?first=1",
        "get-sth-consistency?second=1",
        "get-sth-consistency?first=2&second=1",
        "get-sth-consistency?first=0&second=4",
        "get-sth-consistency?first=-1&second=1",
        "get-sth-consistency?first=+1&second=1",
        "get-sth-consistency?first=1&second=",
        "get-sth-consistency?first=1&second=1&second=2",
        "get-sth-consistency?first=1&second=18446744073709551616",
        "get-proof-by-hash",
        "get-proof-by-hash?tree_size=1",
        &format!("get-proof-by-hash?hash={zeros}"),
        &format!("get-proof-by-hash?hash={zeros}&tree_size=0"),
        &format!("get-proof-by-hash?hash={zeros}&tree_size=4"),
        "get-proof-by-hash?hash=AAAA&tree_size=1",
        "get-proof-by-hash?hash=*&tree_size=1",
        "get-entries",
        "get-entries?start=0",
        "get-entries?start=1&end=0",
        "get-entries?start=3&end=3",
        "get-entries?start=18446744073709551615&end=18446744073709551615",
        "get-entries?start=a&end=b",
        "get-entry-and-proof?leaf_index=0",
        "get-entry-and-proof?leaf_index=1&tree_size=1",
        "get-entry-and-proof?leaf_index=0&tree_size=0",
        "get-entry-and-proof?leaf_index=0&tree_size=4",
        &format!("get-entries?start=0&end=0&x={}", "y".repeat(2000)),
    ] {
        assert_eq!(up.ct_refusal(&format!("{API}/{path}")).await, (400, "input.malformed".into()), "{path}");
    }
    // A hash that no leaf has, or none of that tree.
    for path in [format!("hash={zeros}&tree_size=3"), format!("hash={leaf}&tree_size=2")] {
        let refused = up.ct_refusal(&format!("{API}/get-proof-by-hash?{path}")).await;
        assert_eq!(refused, (404, "log.entry-missing".into()), "{path}");
    }
    assert_eq!(up.ct(&format!("get-proof-by-hash?hash={leaf}&tree_size=3")).await["leaf_index"], 2);
    // What is beyond the end is left out.
    let entries = up.ct("get-entries?start=1&end=18446744073709551615&unknown=x").await;
    assert_eq!(entries["entries"].as_array().map(Vec::len), Some(2));

    for (path, allowed) in [
        ("add-chain", "POST"),
        ("add-pre-chain", "POST"),
        ("get-sth", "GET,HEAD"),
        ("get-sth-consistency", "GET,HEAD"),
        ("get-proof-by-hash", "GET,HEAD"),
        ("get-entries", "GET,HEAD"),
        ("get-entry-and-proof", "GET,HEAD"),
        ("get-roots", "GET,HEAD"),
    ] {
        let url = format!("{}{API}/{path}", up.url);
        let request = if allowed == "POST" { client().get(url) } else { client().post(url).body(body(&[])) };
        let answer = ask(request).await;
        assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{path}");
        assert_eq!(refusal(&answer).1, "", "{path}");
        assert!(answer.text().ends_with("is not a method of this path\n"), "{}", answer.text());
    }
}
