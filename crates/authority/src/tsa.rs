//! The timestamp authority (RFC 3161): which token answers a request, as bytes to be signed.
//!
//! The layout is that of Sigstore's own authority, down to the empty bag of certificates, because its clients were
//! written against that.

use crate::ca::{CaError, check_chain};
use const_oid::ObjectIdentifier;
use der::Encode;
use der::asn1::UtcTime;
use formats::cms::{CertificateBag, CmsError, ToBeSigned};
use formats::code::Code;
use formats::crypto::{KeyKind, PublicKey, SignatureAlgorithm};
use formats::tsp::{CertReq, ID_CT_TST_INFO, Integer, TimeStampReq, TokenError, TstInfo, granted};
use formats::x509::Certificate;
use jiff::Timestamp;
use std::time::Duration;
use waxseal_formats as formats;

/// The one policy that is stated and accepted: that of Sigstore's authorities.
pub const POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.2");
/// By how many seconds the time in a token may be off.
pub const ACCURACY_SECONDS: u64 = 1;

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TsaError {
    /// The authority's own certificates do not make an authority.
    #[error(transparent)]
    Chain(#[from] CaError),
    /// The signer's certificate is not for timestamps alone, or its key not ECDSA, the one kind that sigstore-js takes.
    #[error("the timestamp signer's certificate cannot be used: {0}")]
    Signer(&'static str),
    /// The request wants another policy than [`POLICY`].
    #[error("policy {requested} is not supported, only {POLICY} is")]
    Policy {
        /// The policy that was asked for.
        requested: ObjectIdentifier,
    },
    /// The signer's certificate is not valid now.
    #[error("the timestamp signer's certificate is not valid now")]
    NotValidNow,
    /// A part cannot be encoded.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl TsaError {
    /// `time.request-policy` is the client's fault; the others say that this side is at fault.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Policy { .. } => Code::TIME_REQUEST_POLICY,
            Self::NotValidNow => Code::CERTIFICATE_EXPIRED,
            Self::Signer(_) => Code::CERTIFICATE_USAGE,
            Self::Chain(error) => error.code(),
            Self::Token(error) => error.code(),
        }
    }
}

impl From<CmsError> for TsaError {
    fn from(error: CmsError) -> Self {
        Self::Token(error.into())
    }
}

/// A timestamp signer with its way to the root.
#[derive(Clone, Debug)]
pub struct TimestampAuthority {
    signer: Certificate,
    chain: Vec<Certificate>,
    key: PublicKey,
}

impl TimestampAuthority {
    /// An authority of these certificates: the signer's first, each signed by the next, a self-signed root last.
    ///
    /// # Errors
    /// [`TsaError::Chain`], [`TsaError::Signer`].
    pub fn new(chain: Vec<Certificate>) -> Result<Self, TsaError> {
        check_chain(&chain)?;
        let [signer, _, ..] = chain.as_slice() else {
            return Err(TsaError::Signer("it needs a root above it"));
        };
        if !signer.has_time_stamping_eku_only_critical() {
            return Err(TsaError::Signer("it is not for timestamps alone"));
        }
        if signer.is_ca() || !signer.key_usage().is_some_and(|usage| usage.digital_signature()) {
            return Err(TsaError::Signer("it does not sign"));
        }
        let key = signer.public_key().map_err(CaError::from)?.clone();
        if !matches!(key.kind(), KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521) {
            return Err(TsaError::Signer("its key is not ECDSA"));
        }
        Ok(Self { signer: signer.clone(), chain, key })
    }

    /// The certificates, the signer's first and the root last.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The signer's key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The scheme of its signatures. The digest in the token uses the same hash.
    #[must_use]
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        self.key.default_algorithm()
    }

    /// The token for a request: the time in whole seconds, 20 random bytes as serial number.
    ///
    /// # Errors
    /// [`TsaError::Policy`], [`TsaError::NotValidNow`].
    pub fn stamp(
        &self,
        request: &TimeStampReq,
        now: Timestamp,
        serial: [u8; 20],
    ) -> Result<UnsignedToken<'_>, TsaError> {
        if let Some(requested) = request.policy.filter(|policy| *policy != POLICY) {
            return Err(TsaError::Policy { requested });
        }
        if self.chain.iter().any(|certificate| !certificate.valid_at(now)) {
            return Err(TsaError::NotValidNow);
        }
        let malformed = TokenError::Malformed("genTime");
        let gen_time = Timestamp::from_second(now.as_second()).map_err(|_| malformed.clone())?;
        let info = TstInfo {
            policy: POLICY,
            imprint: request.imprint.clone(),
            serial: Integer::from_unsigned(&serial),
            gen_time,
            accuracy_seconds: Some(ACCURACY_SECONDS),
            nonce: request.nonce.clone(),
            tsa: Some(self.signer.subject_der().to_vec()),
        };
        let signing_time = utc_time(gen_time).ok_or(malformed)?;
        let content = ToBeSigned::new(ID_CT_TST_INFO, info.to_der()?, &signing_time, &self.signer, self.algorithm())?;
        Ok(UnsignedToken { authority: self, message: content.message()?, content, certificates: request.certificates })
    }
}

/// The DER UTCTime of signingTime.
fn utc_time(time: Timestamp) -> Option<Vec<u8>> {
    let seconds = u64::try_from(time.as_second()).ok()?;
    UtcTime::from_unix_duration(Duration::from_secs(seconds)).and_then(|time| time.to_der()).ok()
}

/// A token for which the signature is missing.
#[derive(Debug)]
pub struct UnsignedToken<'a> {
    authority: &'a TimestampAuthority,
    message: Vec<u8>,
    content: ToBeSigned,
    certificates: CertReq,
}

impl UnsignedToken<'_> {
    /// The bytes to be signed with the signer's key.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The TimeStampResp (status granted) with the token in it; `signature` is that of the signer's key over
    /// [`UnsignedToken::message`], for which whoever holds the key vouches.
    ///
    /// # Errors
    /// [`TsaError::Token`] if it does not fit.
    pub fn finish(&self, signature: &[u8]) -> Result<Vec<u8>, TsaError> {
        let signer = std::slice::from_ref(&self.authority.signer);
        let bag = match self.certificates {
            CertReq::Without => CertificateBag::Empty,
            CertReq::SigningCertificate => CertificateBag::Of(signer),
        };
        Ok(granted(&self.content.finish(signature, bag)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{ACCURACY_SECONDS, POLICY, TimestampAuthority, TsaError};
    use crate::ca::forge::{TestKey, authority, now};
    use crate::ca::{CaError, SubordinateKind};
    use formats::code::Code;
    use formats::crypto::{HashAlgorithm, KeyKind};
    use formats::tsp::{CertReq, Integer, TimeStampReq, TimeStampToken, TstInfo};
    use formats::x509::Certificate;
    use jiff::{SignedDuration, Timestamp};
    use waxseal_formats as formats;

    fn tsa(kind: KeyKind) -> (TestKey, TimestampAuthority) {
        let (key, chain) = authority(kind, SubordinateKind::TimestampSigner);
        (key, TimestampAuthority::new(chain).expect("an authority"))
    }

    fn request() -> TimeStampReq {
        TimeStampReq {
            imprint: HashAlgorithm::Sha256.digest(b"signature"),
            policy: None,
            nonce: None,
            certificates: CertReq::Without,
        }
    }

    #[test]
    fn tokens_say_what_was_asked_for_with_every_curve_and_hash() {
        for (kind, hash) in [
            (KeyKind::EcdsaP256, HashAlgorithm::Sha256),
            (KeyKind::EcdsaP384, HashAlgorithm::Sha384),
            (KeyKind::EcdsaP521, HashAlgorithm::Sha512),
        ] {
            let (key, tsa) = tsa(kind);
            let asked = TimeStampReq {
                imprint: hash.digest(b"signature"),
                policy: Some(POLICY),
                nonce: Some(Integer::from_unsigned(&[0xff; 17])),
                certificates: CertReq::SigningCertificate,
            };
            let time = now() + SignedDuration::from_millis(999);
            let unsigned = tsa.stamp(&asked, time, [0xff; 20]).expect("token");
            let answer = unsigned.finish(&key.sign(unsigned.message())).expect("answer");
            let token = TimeStampToken::parse(&answer).expect("token");
            let info = TstInfo {
                policy: POLICY,
                imprint: asked.imprint,
                serial: Integer::from_unsigned(&[0xff; 20]),
                gen_time: now(),
                accuracy_seconds: Some(ACCURACY_SECONDS),
                nonce: asked.nonce,
                tsa: Some(tsa.chain()[0].subject_der().to_vec()),
            };
            assert_eq!(token.info(), &info);
            assert_eq!(token.embedded_certificates(), [tsa.chain()[0].der()]);
            assert_eq!(token.verify(&tsa.chain()[0]), Ok(()));
        }
    }

    #[test]
    fn the_layout_is_the_recorded_one() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let chain = Certificate::chain_from_pem(&vectors.text("private-instance/keys/tsa-chain.pem")).expect("chain");
        let tsa = TimestampAuthority::new(chain).expect("an authority");
        // For digests by other hash functions the recorded authority names its certificate by that hash, we by SHA-256.
        for name in ["cert", "nocert"] {
            let file = |ending: &str| vectors.read(&format!("private-instance/timestamps/{name}.{ending}"));
            let (request, theirs) = (TimeStampReq::from_der(&file("tsq")).expect("request"), file("tsr"));
            let token = TimeStampToken::parse(&theirs).expect("token");
            // The same serial number, read from the TSTInfo: after version, policy and imprint.
            let at = hex::encode(&theirs).find("180f3230").expect("genTime") / 2;
            let serial: [u8; 20] = theirs[at - 20..at].try_into().expect("20 bytes");
            assert_eq!(token.info().serial, Integer::from_unsigned(&serial));
            let unsigned = tsa.stamp(&request, token.gen_time(), serial).expect("token");
            // Their signature is over our bytes, and around it we write what they wrote.
            let signature = (68..=72)
                .map(|len| &theirs[theirs.len() - len..])
                .find(|tail| tail[0] == 0x30 && usize::from(tail[1]) == tail.len() - 2)
                .expect("the signature stands last");
            assert_eq!(hex::encode(unsigned.finish(signature).expect("answer")), hex::encode(&theirs), "{name}");
        }
    }

    #[test]
    fn another_policy_is_refused() {
        let (_, tsa) = tsa(KeyKind::EcdsaP256);
        let requested = "1.2.3.4".parse().expect("an OID");
        let error =
            tsa.stamp(&TimeStampReq { policy: Some(requested), ..request() }, now(), [1; 20]).expect_err("policy");
        assert_eq!((error.clone(), error.code()), (TsaError::Policy { requested }, Code::TIME_REQUEST_POLICY));
    }

    #[test]
    fn no_time_is_attested_outside_the_certificates_validity() {
        let (_, tsa) = tsa(KeyKind::EcdsaP256);
        for time in [now() - SignedDuration::from_secs(1), tsa.chain()[0].not_after() + SignedDuration::from_secs(1)] {
            let error = tsa.stamp(&request(), time, [1; 20]).expect_err("not valid");
            assert_eq!((error.clone(), error.code()), (TsaError::NotValidNow, Code::CERTIFICATE_EXPIRED));
        }
        assert!(tsa.stamp(&request(), Timestamp::MIN, [1; 20]).is_err());
    }

    #[test]
    fn signers_that_clients_would_not_take_are_refused() {
        let (_, rsa) = authority(KeyKind::Rsa { bits: 2048 }, SubordinateKind::TimestampSigner);
        let error = TimestampAuthority::new(rsa).expect_err("RSA");
        assert_eq!((error.clone(), error.code()), (TsaError::Signer("its key is not ECDSA"), Code::CERTIFICATE_USAGE));
        let (_, fulcio) = authority(KeyKind::EcdsaP256, SubordinateKind::FulcioIntermediate);
        let error = TimestampAuthority::new(fulcio.clone()).expect_err("code signing");
        assert_eq!(error, TsaError::Signer("it is not for timestamps alone"));
        let alone = TimestampAuthority::new(vec![fulcio[1].clone()]).expect_err("a root alone");
        assert_eq!(alone, TsaError::Signer("it needs a root above it"));
        assert!(matches!(TimestampAuthority::new(vec![]), Err(TsaError::Chain(CaError::Chain(_)))));
    }
}
