//! Chains made for one fault each.

use super::Kind::{self, Certificate as Final, Precertificate};
use super::{Chain, ChainError, MAX_CHAIN};
use crate::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::digest::sha256;
use waxseal_formats::leaf::{SignedEntry, TileLeaf};
use waxseal_formats::x509::{Certificate, MAX_CERTIFICATE_LEN};

const POISON: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3];
const TIMESTAMPS: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
const PRECERTIFICATE_SIGNING: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 4];

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    // Long over: no log refuses what is expired.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn poison(critical: bool, value: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(POISON, value.to_vec());
    extension.set_criticality(critical);
    extension
}

fn precertificate() -> CertificateParams {
    let mut params = params("leaf");
    params.custom_extensions = vec![poison(true, &[5, 0])];
    params
}

/// An issuer with its own certificate.
struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn root(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().expect("key"));
        let der = params.self_signed(&key).expect("root").der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("key");
        let der = params.signed_by(&key, &self.issuer).expect("signed").der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, params: CertificateParams) -> Vec<u8> {
        params.signed_by(&KeyPair::generate().expect("key"), &self.issuer).expect("signed").der().to_vec()
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.der).expect("certificate")
    }
}

fn refused(kind: Kind, chain: &[Vec<u8>], root: &Authority, expected: ChainError, code: Code) {
    let error = Chain::verify(kind, chain, &[root.certificate()]).expect_err("refused");
    assert_eq!((&error, error.code()), (&expected, code));
}

fn taken(kind: Kind, chain: &[Vec<u8>], root: &Authority) -> Chain {
    Chain::verify(kind, chain, &[root.certificate()]).expect("taken")
}

#[test]
fn a_chain_is_taken_with_and_without_its_root() {
    let root = Authority::root("root");
    let middle = root.below(authority("middle"));
    for (kind, leaf) in [(Final, middle.sign(params("leaf"))), (Precertificate, middle.sign(precertificate()))] {
        let whole = [leaf.clone(), middle.der.clone(), root.der.clone()];
        let chain = taken(kind, &whole, &root);
        assert_eq!(chain.issuers(), [middle.certificate(), root.certificate()]);
        assert_eq!(taken(kind, &whole[..2], &root), chain);
        // The issuers' fingerprints stand in the leaf, the root's too.
        let body = chain.submission().expect("submission").leaf(7, UnixMillis(1)).expect("leaf").body;
        let (stored, _) = TileLeaf::decode(&body).expect("leaf");
        assert_eq!(stored.chain_fingerprints, [sha256(&middle.der), sha256(&root.der)]);
        match (kind, stored.timestamped.entry) {
            (Final, SignedEntry::Certificate { der }) => assert_eq!((der, stored.precertificate), (leaf, None)),
            (Precertificate, SignedEntry::Precertificate { issuer_key_hash, tbs }) => {
                let key = middle.certificate().public_key().expect("key").spki_sha256();
                assert_eq!((issuer_key_hash, stored.precertificate.as_ref()), (key, Some(&leaf)));
                let parsed = Certificate::from_der(&leaf).expect("precertificate");
                assert_eq!(Ok(tbs), parsed.tbs_without_poison());
            }
            (kind, entry) => panic!("{kind:?} became {entry:?}"),
        }
    }
    // Directly below the root, and the root itself.
    assert_eq!(taken(Precertificate, &[root.sign(precertificate())], &root).issuers(), [root.certificate()]);
    assert_eq!(taken(Final, std::slice::from_ref(&root.der), &root).issuers(), []);
    refused(Precertificate, std::slice::from_ref(&root.der), &root, ChainError::NoPoison, Code::CERTIFICATE_EXTENSION);
}

#[test]
fn of_two_roots_with_one_name_the_right_one_is_found() {
    let (old, new) = (Authority::root("root"), Authority::root("root"));
    let leaf = new.sign(params("leaf"));
    let chain = Chain::verify(Final, &[leaf], &[old.certificate(), new.certificate()]).expect("taken");
    assert_eq!(chain.issuers(), [new.certificate()]);
}

#[test]
fn what_stands_above_an_accepted_certificate_is_dropped() {
    let (root, stranger) = (Authority::root("root"), Authority::root("stranger"));
    let middle = root.below(authority("middle"));
    let leaf = middle.sign(precertificate());
    let chain = [leaf.clone(), middle.der.clone(), root.der.clone(), stranger.der.clone()];
    assert_eq!(taken(Precertificate, &chain, &root).issuers(), [middle.certificate(), root.certificate()]);
    // The issuing certificate alone is accepted, and its whole chain is sent.
    for length in 1..=4 {
        assert_eq!(taken(Precertificate, &chain[..length], &middle).issuers(), [middle.certificate()]);
    }
}

#[test]
fn a_strangers_own_chain_is_refused() {
    let (root, stranger) = (Authority::root("root"), Authority::root("root"));
    let leaf = stranger.sign(params("leaf"));
    let expected = || ChainError::UnknownRoot;
    for chain in [vec![leaf.clone()], vec![leaf.clone(), stranger.der.clone()], vec![stranger.der.clone()]] {
        refused(Final, &chain, &root, expected(), Code::CERTIFICATE_CHAIN);
    }
    // Our root behind it makes it no better.
    for chain in [vec![leaf.clone(), root.der.clone()], vec![leaf.clone(), root.der.clone(), stranger.der.clone()]] {
        refused(Final, &chain, &root, ChainError::NotSigned(0), Code::CERTIFICATE_CHAIN);
    }
    assert_eq!(Chain::verify(Final, &[leaf], &[]).expect_err("no roots"), expected());
}

#[test]
fn every_flipped_bit_of_a_precertificate_is_refused() {
    let root = Authority::root("root");
    let leaf = root.sign(precertificate());
    let chain = |der: Vec<u8>| Chain::verify(Precertificate, &[der, root.der.clone()], &[root.certificate()]);
    assert!(chain(leaf.clone()).is_ok());
    for bit in 0..leaf.len() * 8 {
        let mut flipped = leaf.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(chain(flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn certificates_in_the_wrong_order_or_missing_are_refused() {
    let root = Authority::root("root");
    let (upper, lower) = (root.below(authority("upper")), root.below(authority("other")));
    let leaf = upper.sign(params("leaf"));
    let other = [leaf.clone(), lower.der.clone(), root.der.clone()];
    refused(Final, &other, &root, ChainError::NotSigned(0), Code::CERTIFICATE_CHAIN);
    refused(Final, &[leaf.clone(), root.der.clone()], &root, ChainError::NotSigned(0), Code::CERTIFICATE_CHAIN);
    refused(Final, &[leaf], &root, ChainError::UnknownRoot, Code::CERTIFICATE_CHAIN);
    refused(Final, &[], &root, ChainError::Empty, Code::INPUT_MALFORMED);
}

#[test]
fn an_issuer_that_may_not_issue_is_refused() {
    let root = Authority::root("root");
    let mut no_signing = authority("middle");
    no_signing.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let mut explicit = params("middle");
    explicit.is_ca = IsCa::ExplicitNoCa;
    for faulty in [no_signing, explicit, params("middle")] {
        let middle = root.below(faulty);
        let chain = [middle.sign(params("leaf")), middle.der.clone(), root.der.clone()];
        refused(Final, &chain, &root, ChainError::NotAuthority(1), Code::CERTIFICATE_USAGE);
    }
    let mut narrow = authority("narrow");
    narrow.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let narrow = root.below(narrow);
    assert!(Chain::verify(Final, &[narrow.sign(params("leaf")), narrow.der.clone()], &[root.certificate()]).is_ok());
    let below = narrow.below(authority("below"));
    let chain = [below.sign(params("leaf")), below.der.clone(), narrow.der.clone(), root.der.clone()];
    refused(Final, &chain, &root, ChainError::NotAuthority(2), Code::CERTIFICATE_USAGE);
}

#[test]
fn poison_is_for_precertificates_alone_and_critical_and_null() {
    let root = Authority::root("root");
    let sign = |extensions: Vec<CustomExtension>| {
        let mut params = params("leaf");
        params.custom_extensions = extensions;
        [root.sign(params)]
    };
    let extension = Code::CERTIFICATE_EXTENSION;
    refused(Final, &sign(vec![poison(true, &[5, 0])]), &root, ChainError::Poison(0), extension);
    refused(Precertificate, &sign(Vec::new()), &root, ChainError::NoPoison, extension);
    refused(Precertificate, &sign(vec![poison(false, &[5, 0])]), &root, ChainError::NoPoison, extension);
    let timestamps = CustomExtension::from_oid_content(TIMESTAMPS, vec![4, 2, 0, 0]);
    let both = sign(vec![poison(true, &[5, 0]), timestamps]);
    refused(Precertificate, &both, &root, ChainError::Timestamps, extension);
    let twice = sign(vec![poison(true, &[5, 0]), poison(true, &[5, 0])]);
    let error = Chain::verify(Precertificate, &twice, &[root.certificate()]).expect_err("twice");
    assert!(matches!(error, ChainError::Certificate { position: 0, .. }), "{error:?}");
    assert_eq!(error.code(), extension);
    for value in [&[][..], &[5], &[4, 0], &[5, 0, 0]] {
        let chain = sign(vec![poison(true, value)]);
        let error = Chain::verify(Precertificate, &chain, &[root.certificate()]).expect_err("not NULL");
        assert_eq!(error.code(), Code::CERTIFICATE_MALFORMED);
    }
    let mut poisoned = authority("middle");
    poisoned.custom_extensions = vec![poison(true, &[5, 0])];
    let poisoned = root.below(poisoned);
    let chain = [poisoned.sign(params("leaf")), poisoned.der.clone()];
    refused(Final, &chain, &root, ChainError::Poison(1), extension);
}

#[test]
fn a_precertificate_signing_certificate_is_refused() {
    let root = Authority::root("root");
    let mut signer = authority("middle");
    signer.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(PRECERTIFICATE_SIGNING.to_vec())];
    let signer = root.below(signer);
    let chain = [signer.sign(precertificate()), signer.der.clone()];
    refused(Precertificate, &chain, &root, ChainError::PrecertificateSigner(1), Code::CERTIFICATE_USAGE);
}

#[test]
fn chains_are_bounded() {
    let root = Authority::root("root");
    let mut authorities = vec![root];
    while authorities.len() < MAX_CHAIN + 1 {
        let name = format!("authority {}", authorities.len());
        let below = authorities[authorities.len() - 1].below(authority(&name));
        authorities.push(below);
    }
    let chain = |above: usize| -> Vec<Vec<u8>> {
        let leaf = authorities[above].sign(params("leaf"));
        let issuers = authorities[1..=above].iter().rev().map(|authority| authority.der.clone());
        [leaf].into_iter().chain(issuers).collect()
    };
    let longest = chain(MAX_CHAIN - 1);
    assert_eq!(longest.len(), MAX_CHAIN);
    assert!(taken(Final, &longest, &authorities[0]).submission().is_ok());
    let long = chain(MAX_CHAIN);
    refused(Final, &long, &authorities[0], ChainError::TooLong(MAX_CHAIN + 1), Code::INPUT_TOO_LARGE);
    let large = [vec![0; MAX_CERTIFICATE_LEN + 1]];
    let error = Chain::verify(Final, &large, &[authorities[0].certificate()]).expect_err("large");
    assert_eq!(error.code(), Code::INPUT_TOO_LARGE);
    let error = Chain::verify(Final, &[b"x".to_vec()], &[]).expect_err("unreadable");
    assert_eq!(error.code(), Code::CERTIFICATE_MALFORMED);
}
