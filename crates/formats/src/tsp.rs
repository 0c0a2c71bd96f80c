//! The Time-Stamp Protocol (RFC 3161): requests, answers and tokens.
//!
//! A token is signed data over a TSTInfo. Parsing one proves that the TSTInfo is the signed content;
//! [`TimeStampToken::verify`] proves with which certificate it was signed. Whether that certificate is a trusted
//! authority's is judged in `waxseal-verify`.

use crate::asn1::{Elements, tlv};
use crate::cms::{self, CmsError, SignedData, SignerIdentifier};
use crate::code::Code;
use crate::crypto::Digest;
use crate::x509::Certificate;
use const_oid::ObjectIdentifier;
use der::{Encode, Tag, Tagged};
use jiff::Timestamp;

mod info;
mod request;

pub use info::{Integer, MAX_INTEGER_LEN, TstInfo};
pub use request::{CertReq, MAX_DER_LEN, MAX_JSON_LEN, RequestError, TimeStampReq};

/// id-ct-TSTInfo, the content type of tokens.
pub const ID_CT_TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
/// Largest answer or token that is parsed, in bytes.
pub const MAX_TOKEN_LEN: usize = cms::MAX_LEN;

/// Why a token is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The answer's status is not `granted` (0); `grantedWithMods` (1) is not what was asked for.
    #[error("the timestamp authority answered with status {0} instead of granted")]
    NotGranted(u8),
    /// Not DER of the structure named.
    #[error("the timestamp is malformed: {0}")]
    Malformed(&'static str),
    /// The imprint's hash function is SHA-1 or unknown.
    #[error("the timestamp is over a digest by {0}, which is not accepted")]
    Hash(ObjectIdentifier),
    /// An extension of the TSTInfo is critical, and none is known.
    #[error("the timestamp has an unknown critical extension")]
    Extension,
    /// The signed data around it.
    #[error(transparent)]
    Cms(#[from] CmsError),
}

impl TokenError {
    /// `time.token-invalid` or `input.too-large`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Cms(CmsError::TooLarge) => Code::INPUT_TOO_LARGE,
            _ => Code::TIME_TOKEN_INVALID,
        }
    }
}

/// A token that says what its signed content says; not yet verified against a certificate.
#[derive(Clone, Debug)]
pub struct TimeStampToken {
    info: TstInfo,
    signed: SignedData,
}

impl TimeStampToken {
    /// Parses a TimeStampResp with status granted, or a token without the answer around it, of at most
    /// [`MAX_TOKEN_LEN`] bytes, and checks that the signed attributes are about this content.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(der: &[u8]) -> Result<Self, TokenError> {
        if der.len() > MAX_TOKEN_LEN {
            return Err(CmsError::TooLarge.into());
        }
        let malformed = TokenError::Malformed("neither TimeStampResp nor token");
        let first = Elements::of_sequence(der).and_then(|mut parts| parts.next()).ok_or(malformed.clone())?;
        let signed = match first.tag() {
            Tag::ObjectIdentifier => SignedData::from_der(der)?,
            Tag::Sequence => SignedData::from_der(&token_of_response(der)?)?,
            _ => return Err(malformed),
        };
        let content = signed.content().filter(|_| signed.content_type() == ID_CT_TST_INFO);
        let content = content.ok_or(TokenError::Malformed("the content is no TSTInfo"))?;
        signed.check_content(content)?;
        let info = TstInfo::from_der(content)?;
        Ok(Self { info, signed })
    }

    /// What the authority says.
    #[must_use]
    pub const fn info(&self) -> &TstInfo {
        &self.info
    }

    /// When it was stamped.
    #[must_use]
    pub const fn gen_time(&self) -> Timestamp {
        self.info.gen_time
    }

    /// The digest that was stamped.
    #[must_use]
    pub const fn imprint(&self) -> &Digest {
        &self.info.imprint
    }

    /// The request's nonce, if it had one.
    #[must_use]
    pub const fn nonce(&self) -> Option<&Integer> {
        self.info.nonce.as_ref()
    }

    /// The certificates that came with the token, as raw DER. None of them is trusted for being there.
    #[must_use]
    pub fn embedded_certificates(&self) -> &[Vec<u8>] {
        self.signed.certificates()
    }

    /// Which certificate the signer names.
    #[must_use]
    pub const fn signer(&self) -> &SignerIdentifier {
        self.signed.signer()
    }

    /// Whether the signer names `certificate`.
    #[must_use]
    pub fn signer_matches(&self, certificate: &Certificate) -> bool {
        self.signed.signer().matches(certificate)
    }

    /// Verifies that `certificate` made the token: the signer and the signing certificate attribute name it and
    /// its key verifies the signature. Chain, validity and purpose of the certificate are the caller's to check.
    ///
    /// # Errors
    /// [`TokenError::Cms`].
    pub fn verify(&self, certificate: &Certificate) -> Result<(), TokenError> {
        self.signed.verify(certificate)?;
        self.signed.check_signing_certificate(certificate)?;
        Ok(())
    }
}

/// The TimeStampResp with status granted around a token.
///
/// # Errors
/// [`TokenError::Malformed`] if it would be too long for DER.
pub fn granted(token: &[u8]) -> Result<Vec<u8>, TokenError> {
    let encode = || tlv(Tag::Sequence, &[&tlv(Tag::Sequence, &0u8.to_der()?)?, token].concat());
    encode().map_err(|_| TokenError::Malformed("TimeStampResp"))
}

/// The token inside a TimeStampResp.
fn token_of_response(der: &[u8]) -> Result<Vec<u8>, TokenError> {
    let read = || {
        let mut fields = Elements::of_sequence(der)?;
        let mut status_info = Elements::inside(fields.next()?, Tag::Sequence)?;
        let status: u8 = status_info.next()?.decode_as().ok()?;
        let token = if fields.is_empty() { None } else { fields.next_of(Tag::Sequence) };
        fields.finish()?;
        Some((status, token))
    };
    match read().ok_or(TokenError::Malformed("TimeStampResp"))? {
        (0, Some(token)) => token.to_der().map_err(|_| TokenError::Malformed("TimeStampResp")),
        (0, None) => Err(TokenError::Malformed("no token in the answer")),
        (status, _) => Err(TokenError::NotGranted(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::info::tests::{edit, info};
    use super::{ID_CT_TST_INFO, TimeStampReq, TimeStampToken, TokenError, granted};
    use crate::cms::{CertificateBag, CmsError, SIGNING_CERTIFICATE_V2, ToBeSigned};
    use crate::code::Code;
    use crate::crypto::{HashAlgorithm, KeyKind, SignatureAlgorithm};
    use crate::x509::Certificate;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use const_oid::ObjectIdentifier;
    use der::Encode;
    use waxseal_testkit::Vectors;

    fn chain(vectors: &Vectors) -> Vec<Certificate> {
        Certificate::chain_from_pem(&vectors.text("private-instance/keys/tsa-chain.pem")).expect("chain")
    }

    fn recorded(vectors: &Vectors, name: &str) -> Vec<u8> {
        vectors.read(&format!("private-instance/timestamps/{name}"))
    }

    #[test]
    fn recorded_tokens_verify_with_and_without_embedded_certificate() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let chain = chain(&vectors);
        for (name, hash, embedded) in [
            ("cert", HashAlgorithm::Sha256, 1),
            ("nocert", HashAlgorithm::Sha256, 0),
            ("nonce-sha384", HashAlgorithm::Sha384, 1),
            ("nononce-cert", HashAlgorithm::Sha512, 1),
        ] {
            let request = TimeStampReq::from_der(&recorded(&vectors, &format!("{name}.tsq"))).expect("request");
            let token = TimeStampToken::parse(&recorded(&vectors, &format!("{name}.tsr"))).expect("token");
            assert_eq!(token.imprint(), &request.imprint);
            assert_eq!(token.imprint().algorithm(), hash);
            assert_eq!(token.nonce(), request.nonce.as_ref());
            assert_eq!(token.gen_time().to_string(), "2026-11-24T14:43:05Z");
            assert_eq!(token.info().policy.to_string(), "1.3.6.1.4.1.57264.2");
            assert_eq!(token.info().accuracy_seconds, Some(1));
            assert_eq!(token.info().tsa.as_deref(), Some(chain[0].subject_der()));
            assert_eq!(token.embedded_certificates().len(), embedded);
            assert!(token.signer_matches(&chain[0]) && !token.signer_matches(&chain[1]));
            assert_eq!(token.verify(&chain[0]), Ok(()));
            assert_eq!(token.verify(&chain[1]), Err(CmsError::OtherSigner.into()));
        }
    }

    #[test]
    fn edited_tokens_are_refused() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let edited = TimeStampToken::parse(&recorded(&vectors, "cert.gentime-edit.tsr")).expect_err("content edited");
        assert_eq!((edited.clone(), edited.code()), (CmsError::MessageDigest.into(), Code::TIME_TOKEN_INVALID));
        let flipped = TimeStampToken::parse(&recorded(&vectors, "cert.flip.tsr")).expect("parses");
        let error = flipped.verify(&chain(&vectors)[0]).expect_err("signature flipped");
        assert_eq!((error.clone(), error.code()), (CmsError::Signature.into(), Code::TIME_TOKEN_INVALID));
    }

    #[test]
    fn every_flipped_byte_of_a_token_is_noticed_unless_it_is_unsigned() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let signer = &chain(&vectors)[0];
        let good = recorded(&vectors, "nocert.tsr");
        let mut accepted = Vec::new();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            if TimeStampToken::parse(&bad).is_ok_and(|token| token.verify(signer).is_ok()) {
                accepted.push(at);
            }
        }
        // What nobody signs: the version of SignedData, its digest algorithms, the tag of the empty bag, the
        // version of the SignerInfo.
        assert!(accepted.iter().all(|at| (34..50).contains(at) || [250, 262].contains(at)), "{accepted:?}");
    }

    /// Every token in the conformance bundles, with its case's name.
    fn conformance_tokens(vectors: &Vectors) -> Vec<(String, TimeStampToken)> {
        let mut tokens = Vec::new();
        for case in vectors.conformance() {
            let Ok(bundle) = serde_json::from_slice::<serde_json::Value>(&case.bundle) else { continue };
            let list = &bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
            for entry in list.as_array().into_iter().flatten() {
                let text = entry["signedTimestamp"].as_str().expect("text").replace('\n', "");
                let der = STANDARD.decode(text).expect("base64");
                tokens.push((case.name.clone(), TimeStampToken::parse(&der).expect("token")));
            }
        }
        tokens
    }

    #[test]
    fn tokens_of_other_authorities_verify_against_the_certificates_they_carry() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let (mut p384_with_sha256, mut rsa_with_sha512, mut verified) = (0, 0, 0);
        for (case, token) in conformance_tokens(&vectors) {
            let certificates: Vec<Certificate> = token
                .embedded_certificates()
                .iter()
                .map(|der| Certificate::from_der(der).expect("certificate"))
                .collect();
            let Some(signer) = certificates.iter().find(|certificate| token.signer_matches(certificate)) else {
                assert!(certificates.is_empty(), "{case}");
                continue;
            };
            assert_eq!(token.verify(signer), Ok(()), "{case}");
            verified += 1;
            match (signer.public_key().expect("key").kind(), token.signed.digest_algorithm()) {
                (KeyKind::EcdsaP384, HashAlgorithm::Sha256) => p384_with_sha256 += 1,
                (KeyKind::Rsa { .. }, HashAlgorithm::Sha512) => rsa_with_sha512 += 1,
                _ => {}
            }
        }
        assert!(verified > 15 && p384_with_sha256 > 10 && rsa_with_sha512 == 1);
    }

    /// A signer of ours under the recorded authority's name: its certificate with another key.
    struct Signer {
        key: EcdsaKeyPair,
        certificate: Certificate,
    }

    fn signer(vectors: &Vectors) -> Signer {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("key");
        let theirs = &chain(vectors)[0];
        let from = hex::encode(theirs.public_key().expect("key").raw());
        let der = hex::encode(theirs.der()).replace(&from, &hex::encode(key.public_key().as_ref()));
        let certificate = Certificate::from_der(&hex::decode(der).expect("hex")).expect("certificate");
        Signer { key, certificate }
    }

    impl Signer {
        #[expect(clippy::disallowed_methods, reason = "a test signs with a key of its own")]
        fn sign(&self, message: &[u8]) -> Vec<u8> {
            self.key.sign(&SystemRandom::new(), message).expect("signature").as_ref().to_vec()
        }

        fn to_be_signed(&self, content_type: ObjectIdentifier, content: Vec<u8>) -> ToBeSigned {
            let time = der::asn1::UtcTime::from_unix_duration(std::time::Duration::from_secs(1_795_531_070));
            let time = time.and_then(|time| time.to_der()).expect("time");
            let algorithm = SignatureAlgorithm::EcdsaSha256;
            ToBeSigned::new(content_type, content, &time, &self.certificate, algorithm).expect("attributes")
        }

        fn token_with(&self, bag: CertificateBag<'_>) -> Vec<u8> {
            let unsigned = self.to_be_signed(ID_CT_TST_INFO, info().to_der().expect("TSTInfo"));
            unsigned.finish(&self.sign(&unsigned.message().expect("message")), bag).expect("token")
        }

        fn token(&self) -> Vec<u8> {
            self.token_with(CertificateBag::Empty)
        }
    }

    #[test]
    fn a_token_of_ours_round_trips_bare_and_in_an_answer() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let signer = signer(&vectors);
        let token = signer.token();
        for der in [token.clone(), granted(&token).expect("answer")] {
            let parsed = TimeStampToken::parse(&der).expect("token");
            assert_eq!(parsed.info(), &info());
            assert_eq!(parsed.verify(&signer.certificate), Ok(()));
            assert_eq!(parsed.embedded_certificates().len(), 0);
        }
        for len in 0..token.len() {
            assert!(TimeStampToken::parse(&token[..len]).is_err());
        }
        let large = TimeStampToken::parse(&[0x30; super::MAX_TOKEN_LEN + 1]).expect_err("too large");
        assert_eq!(large.code(), Code::INPUT_TOO_LARGE);
    }

    #[test]
    fn tsa_cve_2026_39984_the_place_in_the_bag_means_nothing() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let (ours, forger) = (signer(&vectors), signer(&vectors));
        let both = [forger.certificate.clone(), ours.certificate.clone()];
        let reversed = [ours.certificate.clone(), forger.certificate.clone()];
        for bag in [&both, &reversed] {
            let token = TimeStampToken::parse(&ours.token_with(CertificateBag::Of(bag))).expect("token");
            assert_eq!(token.embedded_certificates().len(), 2);
            assert_eq!(token.verify(&ours.certificate), Ok(()));
            // Same issuer and serial number, another key.
            assert!(token.signer_matches(&forger.certificate));
            assert_eq!(token.verify(&forger.certificate), Err(CmsError::Signature.into()));
        }
    }

    #[test]
    fn altered_signed_attributes_are_refused() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let signer = signer(&vectors);
        let token = signer.token();
        let refused = |der: &[u8]| TimeStampToken::parse(der).and_then(|token| token.verify(&signer.certificate));
        // signingTime 14:37:50 becomes 14:37:51.
        let later = edit(&token, "3236313132343134333735305a", "3236313132343134333735315a");
        assert_eq!(refused(&later), Err(CmsError::Signature.into()));
        // messageDigest under another name: the digest is no longer there.
        let renamed = edit(&token, "2a864886f70d010904", "2a864886f70d01097f");
        let message_digest = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
        assert_eq!(refused(&renamed), Err(CmsError::Attribute(message_digest).into()));
        // signingCertificateV2 under another name.
        let renamed = edit(&token, "2a864886f70d010910022f", "2a864886f70d010910027f");
        let parsed = TimeStampToken::parse(&renamed).expect("parses");
        assert_eq!(parsed.verify(&signer.certificate), Err(CmsError::Signature.into()));
        // A digest algorithm that is not the signature's.
        let text = hex::encode(&token);
        let at = text.rfind("0609608648016503040201").expect("digestAlgorithm");
        let weaker = format!("{}0609608648016503040202{}", &text[..at], &text[at + 22..]);
        let error = refused(&hex::decode(weaker).expect("hex"));
        assert!(matches!(error, Err(TokenError::Cms(CmsError::Algorithm(_)))), "{error:?}");
    }

    #[test]
    fn a_token_that_names_another_signing_certificate_is_refused() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let (ours, other) = (signer(&vectors), signer(&vectors));
        // Signed with our key while the attribute names the other certificate.
        let unsigned = other.to_be_signed(ID_CT_TST_INFO, info().to_der().expect("TSTInfo"));
        let signature = ours.sign(&unsigned.message().expect("message"));
        let token = unsigned.finish(&signature, CertificateBag::Empty).expect("token");
        let token = TimeStampToken::parse(&token).expect("token");
        let error = token.verify(&ours.certificate).expect_err("refused");
        assert_eq!((error.clone(), error.code()), (CmsError::SigningCertificate.into(), Code::TIME_TOKEN_INVALID));
    }

    #[test]
    fn two_signers_are_refused() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let token = signer(&vectors).token();
        // The last element of SignedData is the SET of SignerInfos: double its contents, then fix four lengths.
        let at = hex::encode(&token).find("a000318201").expect("empty bag, then signerInfos") / 2 + 2;
        let infos = &token[at + 4..];
        let twice = super::tlv(der::Tag::Set, &[infos, infos].concat()).expect("set");
        let head = &token[..at];
        // head: ContentInfo header 4, OID 11, [0] header 4, SignedData header 4, fields.
        let fields = [&head[23..], &twice].concat();
        let signed = super::tlv(der::Tag::Sequence, &fields).expect("sequence");
        let explicit = super::tlv(crate::asn1::constructed(0), &signed).expect("explicit");
        let token = super::tlv(der::Tag::Sequence, &[&head[4..15], &explicit].concat()).expect("sequence");
        assert_eq!(TimeStampToken::parse(&token).expect_err("two"), CmsError::SignerCount(2).into());
    }

    #[test]
    fn signed_data_over_something_else_is_no_token() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let signer = signer(&vectors);
        let data = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
        let unsigned = signer.to_be_signed(data, info().to_der().expect("TSTInfo"));
        let token = unsigned.finish(&signer.sign(&unsigned.message().expect("m")), CertificateBag::Empty).expect("cms");
        let error = TimeStampToken::parse(&token).expect_err("data");
        assert_eq!(error, TokenError::Malformed("the content is no TSTInfo"));
        assert!(SIGNING_CERTIFICATE_V2 != data);
    }

    #[test]
    fn only_granted_answers_are_taken() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let mut answer = recorded(&vectors, "nocert.tsr");
        assert_eq!(answer[4..9], [0x30, 3, 2, 1, 0]);
        for status in [1, 2, 5] {
            answer[8] = status;
            let error = TimeStampToken::parse(&answer).expect_err("not granted");
            assert_eq!((error.clone(), error.code()), (TokenError::NotGranted(status), Code::TIME_TOKEN_INVALID));
        }
        let rejection = [0x30, 5, 0x30, 3, 2, 1, 2];
        assert_eq!(TimeStampToken::parse(&rejection).expect_err("rejection"), TokenError::NotGranted(2));
        let empty = [0x30, 5, 0x30, 3, 2, 1, 0];
        assert!(matches!(TimeStampToken::parse(&empty), Err(TokenError::Malformed(_))));
    }
}
