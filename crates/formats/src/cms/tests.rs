//! Signed data put together by hand, one part of it wrong at a time.

use super::{
    Attribute, CmsError, MAX_ATTRIBUTES, MAX_CERTIFICATES, MAX_LEN, SIGNING_CERTIFICATE, SIGNING_CERTIFICATE_V2,
};
use super::{SignedData, SignerIdentifier};
use crate::asn1::{constructed, primitive, tlv};
use crate::code::Code;
use crate::crypto::digest::sha1_for_identifiers;
use crate::crypto::{HashAlgorithm, SignatureAlgorithm, sha256};
use crate::x509::Certificate;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5911, rfc5912};
use der::{Encode, Tag};

const CONTENT: &[u8] = b"a commit";

/// Everything that goes into a message, to be changed before it is put together.
struct Message {
    key: EcdsaKeyPair,
    certificate: Certificate,
    signer: Vec<u8>,
    digest_algorithm: ObjectIdentifier,
    signature_algorithm: ObjectIdentifier,
    attributes: Vec<Vec<u8>>,
    unsigned: Vec<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
    content: Option<Vec<u8>>,
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(Tag::Sequence, &parts.concat()).expect("DER")
}

fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    oid.to_der().expect("DER")
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    tlv(Tag::OctetString, bytes).expect("DER")
}

fn attribute(name: ObjectIdentifier, values: &[&[u8]]) -> Vec<u8> {
    sequence(&[&oid(name), &tlv(Tag::Set, &values.concat()).expect("DER")])
}

/// SigningCertificate or SigningCertificateV2 with one hash and what follows it.
fn signing_certificate(name: ObjectIdentifier, hash: &[u8], rest: &[u8]) -> Vec<u8> {
    attribute(name, &[&sequence(&[&sequence(&[&sequence(&[&octets(hash), rest])])])])
}

/// A good message, detached. The signer's certificate is the recorded timestamp authority's with another key.
fn good() -> Option<Message> {
    let vectors = waxseal_testkit::vectors()?;
    let chain = Certificate::chain_from_pem(&vectors.text("private-instance/keys/tsa-chain.pem")).expect("chain");
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
    let theirs = hex::encode(chain[0].public_key().expect("a key").raw());
    let der = hex::encode(chain[0].der()).replace(&theirs, &hex::encode(key.public_key().as_ref()));
    let certificate = Certificate::from_der(&hex::decode(der).expect("hex")).expect("a certificate");
    let serial = tlv(Tag::Integer, certificate.serial()).expect("DER");
    Some(Message {
        signer: sequence(&[certificate.issuer_der(), &serial]),
        digest_algorithm: rfc5912::ID_SHA_256,
        signature_algorithm: rfc5912::ECDSA_WITH_SHA_256,
        attributes: vec![
            attribute(rfc5911::ID_CONTENT_TYPE, &[&oid(rfc5911::ID_DATA)]),
            attribute(rfc5911::ID_MESSAGE_DIGEST, &[&octets(&sha256(CONTENT))]),
            signing_certificate(SIGNING_CERTIFICATE_V2, &sha256(certificate.der()), &[]),
        ],
        unsigned: Vec::new(),
        certificates: vec![certificate.der().to_vec()],
        content: None,
        key,
        certificate,
    })
}

impl Message {
    #[expect(clippy::disallowed_methods, reason = "a test signs with a key of its own")]
    fn signer_info(&self) -> Vec<u8> {
        let attributes = self.attributes.concat();
        let signed = tlv(Tag::Set, &attributes).expect("DER");
        let signature = self.key.sign(&SystemRandom::new(), &signed).expect("a signature");
        let unsigned = match self.unsigned.as_slice() {
            [] => Vec::new(),
            list => tlv(constructed(1), &list.concat()).expect("DER"),
        };
        sequence(&[
            &[2, 1, 1],
            &self.signer,
            &sequence(&[&oid(self.digest_algorithm)]),
            &tlv(constructed(0), &attributes).expect("DER"),
            &sequence(&[&oid(self.signature_algorithm)]),
            &octets(signature.as_ref()),
            &unsigned,
        ])
    }

    fn with_signers(&self, signers: &[Vec<u8>]) -> Vec<u8> {
        let content = match &self.content {
            Some(content) => tlv(constructed(0), &octets(content)).expect("DER"),
            None => Vec::new(),
        };
        let signed_data = sequence(&[
            &[2, 1, 1],
            &tlv(Tag::Set, &sequence(&[&oid(self.digest_algorithm)])).expect("DER"),
            &sequence(&[&oid(rfc5911::ID_DATA), &content]),
            &tlv(constructed(0), &self.certificates.concat()).expect("DER"),
            &tlv(Tag::Set, &signers.concat()).expect("DER"),
        ]);
        sequence(&[&oid(rfc5911::ID_SIGNED_DATA), &tlv(constructed(0), &signed_data).expect("DER")])
    }

    fn parse(&self) -> Result<SignedData, CmsError> {
        SignedData::from_der(&self.with_signers(&[self.signer_info()]))
    }

    /// What a verifier of the whole says.
    fn verdict(&self) -> Result<(), CmsError> {
        let parsed = self.parse()?;
        parsed.check_content(CONTENT)?;
        parsed.check_signing_certificate(&self.certificate)?;
        parsed.verify(&self.certificate)
    }
}

#[test]
fn a_detached_message_is_about_the_content_it_was_made_for() {
    let Some(message) = good() else { return };
    assert_eq!(message.verdict(), Ok(()));
    let parsed = message.parse().expect("signed data");
    assert_eq!((parsed.content_type(), parsed.content()), (rfc5911::ID_DATA, None));
    assert_eq!(parsed.certificates(), [message.certificate.der()]);
    assert_eq!(parsed.digest_algorithm(), HashAlgorithm::Sha256);
    let error = parsed.check_content(b"another commit").expect_err("another");
    assert_eq!((error.clone(), error.code()), (CmsError::MessageDigest, Code::SIGNATURE_INVALID));
}

#[test]
fn content_that_came_along_is_handed_out_and_unsigned_attributes_are_kept_apart() {
    let Some(mut message) = good() else { return };
    message.content = Some(CONTENT.to_vec());
    let entry = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.3.1");
    message.unsigned = vec![attribute(entry, &[&octets(b"entry")])];
    assert_eq!(message.verdict(), Ok(()));
    let parsed = message.parse().expect("signed data");
    assert_eq!(parsed.content(), Some(CONTENT));
    assert_eq!(parsed.unsigned_attributes(), [Attribute { oid: entry, values: vec![octets(b"entry")] }]);
    assert_eq!(parsed.attribute(entry), Err(CmsError::Attribute(entry)), "nobody signed it");
}

#[test]
fn a_signer_may_be_named_by_its_key_identifier() {
    let Some(mut message) = good() else { return };
    let identifier = message.certificate.subject_key_identifier().expect("an identifier").to_vec();
    message.signer = tlv(primitive(0), &identifier).expect("DER");
    assert_eq!(message.verdict(), Ok(()));
    assert_eq!(message.parse().expect("signed data").signer(), &SignerIdentifier::SubjectKeyIdentifier(identifier));
    message.signer = tlv(primitive(0), &[7; 20]).expect("DER");
    assert_eq!(message.verdict(), Err(CmsError::OtherSigner));
}

#[test]
fn not_exactly_one_signer() {
    let Some(message) = good() else { return };
    for count in [0, 2, 3] {
        let signers = vec![message.signer_info(); count];
        let error = SignedData::from_der(&message.with_signers(&signers)).expect_err("refused");
        assert_eq!((error.clone(), error.code()), (CmsError::SignerCount(count), Code::SIGNATURE_INVALID));
    }
}

#[test]
fn an_attribute_that_is_missing_doubled_or_has_two_values() {
    for (at, name) in [(0, rfc5911::ID_CONTENT_TYPE), (1, rfc5911::ID_MESSAGE_DIGEST), (2, SIGNING_CERTIFICATE_V2)] {
        let Some(mut message) = good() else { return };
        message.attributes.remove(at);
        assert_eq!(message.verdict(), Err(CmsError::Attribute(name)));
        let Some(mut message) = good() else { return };
        message.attributes.push(message.attributes[at].clone());
        assert_eq!(message.verdict(), Err(CmsError::Attribute(name)));
        let Some(mut message) = good() else { return };
        message.attributes[at] = attribute(name, &[&octets(b"one"), &octets(b"two")]);
        assert_eq!(message.verdict(), Err(CmsError::Attribute(name)));
    }
}

#[test]
fn a_content_type_attribute_that_is_not_the_contents() {
    let Some(mut message) = good() else { return };
    message.attributes[0] = attribute(rfc5911::ID_CONTENT_TYPE, &[&oid(crate::tsp::ID_CT_TST_INFO)]);
    assert_eq!(message.verdict(), Err(CmsError::ContentType));
}

#[test]
fn the_signing_certificate_is_named_by_hash_issuer_and_serial() {
    let Some(mut message) = good() else { return };
    let certificate = message.certificate.clone();
    let named = |issuer: &[u8], serial: &[u8]| {
        let names = sequence(&[&tlv(constructed(4), issuer).expect("DER")]);
        sequence(&[&names, &tlv(Tag::Integer, serial).expect("DER")])
    };
    let right = named(certificate.issuer_der(), certificate.serial());
    let (sha2, sha1) = (sha256(certificate.der()), sha1_for_identifiers(certificate.der()));
    for (attributes, verdict) in [
        (vec![signing_certificate(SIGNING_CERTIFICATE_V2, &sha2, &right)], Ok(())),
        (vec![signing_certificate(SIGNING_CERTIFICATE, &sha1, &right)], Ok(())),
        (vec![signing_certificate(SIGNING_CERTIFICATE_V2, &[0; 32], &right)], Err(CmsError::SigningCertificate)),
        (vec![signing_certificate(SIGNING_CERTIFICATE, &[0; 20], &right)], Err(CmsError::SigningCertificate)),
        (
            vec![signing_certificate(
                SIGNING_CERTIFICATE_V2,
                &sha2,
                &named(certificate.subject_der(), certificate.serial()),
            )],
            Err(CmsError::SigningCertificate),
        ),
        (
            vec![signing_certificate(SIGNING_CERTIFICATE_V2, &sha2, &named(certificate.issuer_der(), &[7]))],
            Err(CmsError::SigningCertificate),
        ),
        // The right one in one version does not make up for a wrong one in the other.
        (
            vec![
                signing_certificate(SIGNING_CERTIFICATE_V2, &sha2, &[]),
                signing_certificate(SIGNING_CERTIFICATE, &[0; 20], &[]),
            ],
            Err(CmsError::SigningCertificate),
        ),
        (vec![signing_certificate(SIGNING_CERTIFICATE_V2, &sha2[..31], &[])], Err(CmsError::Malformed("ESSCertID"))),
    ] {
        message.attributes.truncate(2);
        message.attributes.extend(attributes);
        assert_eq!(message.verdict(), verdict);
    }
}

#[test]
fn algorithms_that_do_not_go_together_or_with_the_key() {
    let md5 = ObjectIdentifier::new_unwrap("1.2.840.113549.2.5");
    for (digest, signature, error) in [
        (md5, rfc5912::ECDSA_WITH_SHA_256, CmsError::Algorithm(md5)),
        (rfc5912::ID_SHA_1, rfc5912::ECDSA_WITH_SHA_256, CmsError::Algorithm(rfc5912::ID_SHA_1)),
        (rfc5912::ID_SHA_256, rfc5912::ECDSA_WITH_SHA_384, CmsError::Algorithm(rfc5912::ECDSA_WITH_SHA_384)),
        (
            rfc5912::ID_SHA_256,
            SignatureAlgorithm::Ed25519.oid(),
            CmsError::Algorithm(SignatureAlgorithm::Ed25519.oid()),
        ),
        (rfc5912::ID_SHA_256, rfc5912::DSA_WITH_SHA_1, CmsError::Algorithm(rfc5912::DSA_WITH_SHA_1)),
        (rfc5912::ID_SHA_256, rfc5912::RSA_ENCRYPTION, CmsError::Signature),
        (rfc5912::ID_SHA_256, rfc5912::SHA_256_WITH_RSA_ENCRYPTION, CmsError::Signature),
    ] {
        let Some(mut message) = good() else { return };
        (message.digest_algorithm, message.signature_algorithm) = (digest, signature);
        assert_eq!(message.verdict(), Err(error));
    }
}

#[test]
fn more_than_is_allowed() {
    let Some(mut message) = good() else { return };
    message.certificates = vec![vec![0x30, 0]; MAX_CERTIFICATES];
    assert_eq!(message.verdict(), Ok(()), "what is in the bag is not looked at");
    message.certificates.push(vec![0x30, 0]);
    let error = message.verdict().expect_err("17 certificates");
    assert_eq!((error.clone(), error.code()), (CmsError::TooLarge, Code::INPUT_TOO_LARGE));
    let Some(mut message) = good() else { return };
    let filler = |number: usize| {
        attribute(ObjectIdentifier::new_unwrap("1.2.3").push_arc(number as u32).expect("an arc"), &[&[5, 0]])
    };
    message.attributes.extend((3..MAX_ATTRIBUTES).map(filler));
    assert_eq!(message.verdict(), Ok(()));
    message.attributes.push(filler(100));
    assert_eq!(message.verdict(), Err(CmsError::TooLarge));
    assert_eq!(SignedData::from_der(&[0x30; MAX_LEN + 1]).expect_err("too large"), CmsError::TooLarge);
}

#[test]
fn attributes_are_verified_in_the_order_in_which_they_came() {
    let Some(mut message) = good() else { return };
    // Not ascending, so not DER of SET OF; the signature is over these very bytes.
    message.attributes.reverse();
    assert_eq!(message.verdict(), Ok(()));
}
