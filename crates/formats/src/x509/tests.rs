//! Certificates of the vectors, whole and edited.

use super::{Certificate, CertificateError, Critical, MAX_CERTIFICATE_LEN, tbs_without_extension};
use crate::code::Code;
use crate::crypto::{KeyKind, PublicKey};
use crate::extension::{ExtensionError, FulcioOid, SubjectAltName};
use crate::leaf::SignedEntry;
use crate::sct::SignedCertificateTimestamp;
use const_oid::db::rfc6962;
use serde_json::Value;
use waxseal_testkit::Vectors;

/// Every certificate in the bundles and trusted roots of the vectors.
fn certificates(vectors: &Vectors) -> Vec<Certificate> {
    fn collect(value: &Value, found: &mut Vec<Certificate>) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    let in_certificate = key == "certificate" || key == "certificates";
                    let list = if in_certificate && member.is_object() {
                        vec![member.clone()]
                    } else if in_certificate {
                        member.as_array().cloned().unwrap_or_default()
                    } else {
                        Vec::new()
                    };
                    for item in list {
                        use base64::Engine;
                        let text = item["rawBytes"].as_str().expect("rawBytes");
                        let der = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
                        found.push(Certificate::from_der(&der).expect("certificate"));
                    }
                    collect(member, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for case in vectors.conformance() {
        for json in [Some(&case.bundle), case.trusted_root.as_ref()].into_iter().flatten() {
            if let Ok(value) = serde_json::from_slice(json) {
                collect(&value, &mut found);
            }
        }
    }
    let folder = "private-instance/bundles";
    for name in vectors.list(folder).iter().filter(|name| !name.contains("truncated")) {
        if let Ok(value) = serde_json::from_slice(&vectors.read(&format!("{folder}/{name}"))) {
            collect(&value, &mut found);
        }
    }
    found
}

fn private_leaf(vectors: &Vectors) -> Certificate {
    let bundle: Value =
        serde_json::from_slice(&vectors.read("private-instance/bundles/c3-blob-github.sigstore.json")).expect("json");
    use base64::Engine;
    let text = bundle["verificationMaterial"]["certificate"]["rawBytes"].as_str().expect("certificate");
    Certificate::from_der(&base64::engine::general_purpose::STANDARD.decode(text).expect("base64"))
        .expect("certificate")
}

#[test]
fn every_certificate_of_the_vectors_parses_and_keeps_its_bytes() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let all = certificates(&vectors);
    assert!(all.len() > 250, "{}", all.len());
    let mut kinds = std::collections::BTreeSet::new();
    for certificate in &all {
        kinds.insert(certificate.public_key().expect("key").kind().to_string());
        assert!(certificate.not_before() < certificate.not_after());
        assert!(certificate.serial().len() <= 20);
        assert!(certificate.signature_algorithm().is_some());
        let again = Certificate::from_pem(&certificate.to_pem()).expect("pem");
        assert_eq!(again.der(), certificate.der());
        if certificate.sct_list().is_some() {
            assert!(certificate.has_code_signing_eku());
            certificate.subject_alt_name().expect("name");
            certificate.extensions().issuer().expect("issuer");
        }
    }
    assert!(kinds.contains("ECDSA P-256") && kinds.contains("ECDSA P-384"), "{kinds:?}");
    assert!(kinds.iter().any(|kind| kind.starts_with("RSA")), "{kinds:?}");
}

#[test]
fn scts_verify_over_the_reconstructed_precertificate() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let chain = Certificate::chain_from_pem(&vectors.text("private-instance/keys/fulcio-chain.pem")).expect("chain");
    let log = PublicKey::from_pem(&vectors.text("private-instance/keys/ctfe.pub")).expect("log key");
    let issuer = chain[0].public_key().expect("issuer");
    let mut verified = 0;
    for leaf in certificates(&vectors) {
        let Some(list) = leaf.sct_list() else { continue };
        let [sct] = &SignedCertificateTimestamp::parse_list(list).expect("list")[..] else { panic!("one SCT") };
        if sct.log_id != log.spki_sha256() {
            continue;
        }
        let tbs = leaf.precertificate_tbs().expect("tbs");
        let entry = SignedEntry::Precertificate { issuer_key_hash: issuer.spki_sha256(), tbs };
        sct.verify(&log, &entry).expect("SCT verifies");
        let SignedEntry::Precertificate { issuer_key_hash, mut tbs } = entry else { panic!("precertificate") };
        tbs[40] ^= 1;
        assert!(sct.verify(&log, &SignedEntry::Precertificate { issuer_key_hash, tbs }).is_err());
        verified += 1;
    }
    assert!(verified > 40, "{verified}");
}

#[test]
fn the_precertificate_and_the_certificate_have_the_same_signed_part() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let tile = vectors.read("private-instance/ct-log/tile/data/000");
    let mut logged = Vec::new();
    let mut rest = &tile[..];
    while !rest.is_empty() {
        let (leaf, after) = crate::leaf::TileLeaf::decode(rest).expect("leaf");
        let SignedEntry::Precertificate { tbs, .. } = leaf.timestamped.entry else { panic!("precertificate") };
        let precertificate = Certificate::from_der(&leaf.precertificate.expect("precertificate")).expect("parses");
        let cut = tbs_without_extension(precertificate.tbs_der(), rfc6962::CT_PRECERT_POISON);
        assert_eq!(cut.as_ref(), Ok(&tbs));
        logged.push(tbs);
        rest = after;
    }
    assert!(logged.contains(&private_leaf(&vectors).precertificate_tbs().expect("tbs")));
}

#[test]
fn fields_are_those_that_openssl_prints() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let leaf = private_leaf(&vectors);
    assert_eq!(hex::encode(leaf.serial()).len(), 40);
    assert_eq!(leaf.subject_der(), [0x30, 0]);
    assert_eq!(leaf.not_after().duration_since(leaf.not_before()).as_secs(), 600);
    assert!(!leaf.is_ca() && leaf.has_code_signing_eku() && !leaf.has_time_stamping_eku_only_critical());
    let Ok(SubjectAltName::Uri(name)) = leaf.subject_alt_name() else { panic!("a URI") };
    assert!(name.contains("/.github/workflows/"), "{name}");
    assert_eq!(leaf.extensions().issuer(), Some("http://127.0.0.1:7480/idp/github"));
    assert!(leaf.extensions().get(FulcioOid::TokenSubject).is_some());
    let order: Vec<String> = leaf.extension_oids().iter().map(|(oid, _)| oid.to_string()).collect();
    assert_eq!(order[..5], ["2.5.29.15", "2.5.29.37", "2.5.29.14", "2.5.29.35", "2.5.29.17"]);
    assert_eq!(leaf.extension_oids().last(), Some(&(rfc6962::CT_PRECERT_SCTS, Critical::No)));

    let chain = Certificate::chain_from_pem(&vectors.text("private-instance/keys/fulcio-chain.pem")).expect("chain");
    let [intermediate, root] = &chain[..] else { panic!("two certificates") };
    assert_eq!(leaf.issuer_der(), intermediate.subject_der());
    assert_eq!(leaf.authority_key_identifier(), intermediate.subject_key_identifier());
    assert!(intermediate.is_ca() && root.is_ca() && root.is_self_issued() && !intermediate.is_self_issued());
    leaf.verify_signature(intermediate.public_key().expect("key")).expect("signed by the intermediate");
    assert!(leaf.verify_signature(root.public_key().expect("key")).is_err());
    assert_eq!(root.subject_alt_name(), Err(CertificateError::Extension(ExtensionError::NoName)));
    let tsa = Certificate::chain_from_pem(&vectors.text("private-instance/keys/tsa-chain.pem")).expect("chain");
    assert!(tsa[0].has_time_stamping_eku_only_critical());
    assert_eq!(tsa[0].public_key().expect("key").kind(), KeyKind::EcdsaP256);
    assert_eq!(tsa[0].precertificate_tbs(), Err(CertificateError::NoExtension { oid: rfc6962::CT_PRECERT_SCTS }));
}

fn refused(der: &[u8]) -> CertificateError {
    let error = Certificate::from_der(der).expect_err("refused");
    assert!(["certificate.malformed", "certificate.extension", "input.too-large"].contains(&error.code().as_str()));
    error
}

#[test]
fn every_truncation_and_trailing_byte_is_refused() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let leaf = private_leaf(&vectors);
    for len in 0..leaf.der().len() {
        refused(&leaf.der()[..len]);
    }
    assert!(matches!(refused(&[leaf.der(), &[0]].concat()), CertificateError::Malformed(_)));
    let large = vec![0x30; MAX_CERTIFICATE_LEN + 1];
    assert_eq!(refused(&large), CertificateError::TooLarge);
    assert_eq!(CertificateError::TooLarge.code(), Code::INPUT_TOO_LARGE);
}

#[test]
fn a_flipped_byte_never_panics() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let mut der = private_leaf(&vectors).der().to_vec();
    for at in 0..der.len() {
        for bit in [0x01, 0x20, 0x80] {
            der[at] ^= bit;
            if let Ok(certificate) = Certificate::from_der(&der) {
                drop(certificate.precertificate_tbs());
                drop(certificate.subject_alt_name());
            }
            der[at] ^= bit;
        }
    }
}

/// Replaces `from` by `to`, of the same length, at its only occurrence.
fn edit(der: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = hex::encode(der);
    assert_eq!(text.matches(from).count(), 1, "{from}");
    hex::decode(text.replace(from, to)).expect("hex")
}

#[test]
fn a_duplicate_extension_is_refused() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    // The token's subject becomes a second issuer.
    let der = edit(private_leaf(&vectors).der(), "2b0601040183bf300118", "2b0601040183bf300108");
    let oid = FulcioOid::IssuerV2.object_identifier();
    assert_eq!(refused(&der), CertificateError::DuplicateExtension { oid });
}

#[test]
fn another_inner_signature_algorithm_is_refused() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let leaf = private_leaf(&vectors);
    let text = hex::encode(leaf.der());
    let der = hex::decode(text.replacen("2a8648ce3d040302", "2a8648ce3d040303", 1)).expect("hex");
    assert_eq!(refused(&der), CertificateError::Malformed("two different signature algorithms"));
}

#[test]
fn negative_and_long_serials_are_refused() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let leaf = private_leaf(&vectors);
    let serial = format!("0214{}", hex::encode(leaf.serial()));
    let negative = edit(leaf.der(), &serial, &format!("0214ff{}", &serial[6..]));
    assert_eq!(refused(&negative), CertificateError::Malformed("serial number"));
}

#[test]
fn a_key_of_an_unsupported_kind_is_reported_by_the_key_alone() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    // The leaf's P-256 becomes a curve that nobody has.
    let der = edit(private_leaf(&vectors).der(), "06082a8648ce3d030107", "06082a8648ce3d03017f");
    let certificate = Certificate::from_der(&der).expect("parses");
    let error = certificate.public_key().expect_err("unsupported");
    assert_eq!(error.code(), Code::KEY_UNSUPPORTED);
}

#[test]
fn pem_of_other_things_is_refused() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let pem = vectors.text("private-instance/keys/fulcio-chain.pem");
    assert_eq!(Certificate::from_pem(&pem), Err(CertificateError::Pem), "two certificates");
    assert_eq!(Certificate::chain_from_pem(""), Err(CertificateError::Pem));
    assert_eq!(Certificate::chain_from_pem(&pem.replace("CERTIFICATE", "PRIVATE KEY")), Err(CertificateError::Pem));
    assert_eq!(Certificate::chain_from_pem(&pem[..pem.len() - 5]), Err(CertificateError::Pem));
    assert_eq!(Certificate::chain_from_pem(&pem.repeat(9)), Err(CertificateError::TooLarge));
    let commented = format!("the issuer\n{}", pem.replace('\n', "\r\n"));
    assert_eq!(Certificate::chain_from_pem(&commented).expect("chain").len(), 2);
    assert_eq!(CertificateError::Pem.code(), Code::CERTIFICATE_MALFORMED);
}

#[test]
fn another_signature_changes_nothing_else() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let certificate = private_leaf(&vectors);
    let other = certificate.with_signature(b"another one").expect("assembled");
    assert_ne!(other, certificate);
    assert_eq!(other.tbs_der(), certificate.tbs_der());
    let read = Certificate::from_der(other.der()).expect("a certificate");
    assert_eq!((&read.signature[..], read.extension_oids()), (&b"another one"[..], other.extension_oids()));
    assert_eq!(read.with_signature(&certificate.signature).expect("assembled"), certificate);
    let large = vec![0; MAX_CERTIFICATE_LEN];
    assert_eq!(certificate.with_signature(&large), Err(CertificateError::TooLarge));
}
