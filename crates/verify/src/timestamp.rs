//! RFC 3161 timestamps over a signature, from the authorities of a trusted root.

use crate::chain::{self, ChainError, Usage};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use waxseal_formats::code::Code;
use waxseal_formats::trusted_root::CertificateAuthority;
use waxseal_formats::tsp::TimeStampToken;

/// How far a proven time may lie ahead of our own clock.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A time that a trusted authority vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimestampEvidence {
    /// URI of the authority in the trusted root.
    pub authority: String,
    /// The token's genTime.
    pub time: Timestamp,
}

/// Why a timestamp proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// The token is malformed, or its signature does not verify.
    #[error("the timestamp token is not valid: {0}")]
    Invalid(String),
    /// The token is about another signature.
    #[error("the timestamp token is about another signature")]
    Mismatch,
    /// No authority of the trusted root made the token.
    #[error("the timestamp comes from an authority that is not in the trusted root")]
    Untrusted,
    /// The authority, or one of its certificates, was not valid at the token's time.
    #[error("the timestamp of {time} lies outside the validity of timestamp authority {authority}")]
    Window {
        /// URI of the authority.
        authority: String,
        /// The token's genTime.
        time: Timestamp,
    },
    /// The token's time has not come yet.
    #[error("the timestamp of {time} lies in the future")]
    Future {
        /// The token's genTime.
        time: Timestamp,
    },
}

impl TimestampError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::TIME_TOKEN_INVALID,
            Self::Mismatch => Code::TIME_TOKEN_MISMATCH,
            Self::Untrusted => Code::TIME_AUTHORITY_UNTRUSTED,
            Self::Window { .. } => Code::TIME_AUTHORITY_WINDOW,
            Self::Future { .. } => Code::TIME_FUTURE,
        }
    }
}

/// Verifies that `token` (a TimeStampResp, or the token alone) stamps `signature` and comes from one of `authorities`.
///
/// The signer has to be the first certificate of an authority's chain, byte for byte: certificates inside the token are
/// never trusted.
///
/// # Errors
/// [`TimestampError`].
pub fn verify(
    token: &[u8],
    signature: &[u8],
    authorities: &[CertificateAuthority],
    now: Timestamp,
) -> Result<TimestampEvidence, TimestampError> {
    let token = TimeStampToken::parse(token).map_err(|error| TimestampError::Invalid(error.to_string()))?;
    let mut reason = TimestampError::Untrusted;
    for authority in authorities {
        let Some((signer, above)) = authority.chain.split_first() else { continue };
        if !token.signer_matches(signer) {
            continue;
        }
        token.verify(signer).map_err(|error| TimestampError::Invalid(error.to_string()))?;
        if *token.imprint() != token.imprint().algorithm().digest(signature) {
            return Err(TimestampError::Mismatch);
        }
        let time = token.gen_time();
        if time > now.checked_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX) {
            return Err(TimestampError::Future { time });
        }
        let window = || TimestampError::Window { authority: authority.uri.clone(), time };
        if !authority.valid_for.contains(time) {
            reason = window();
            continue;
        }
        if !signer.has_time_stamping_eku_only_critical() {
            continue;
        }
        let mut issuing = authority.clone();
        issuing.chain = if above.is_empty() { vec![signer.clone()] } else { above.to_vec() };
        match chain::issuer_of(signer, &[], &[issuing], Usage::TimeStamping, time) {
            Ok(_) => return Ok(TimestampEvidence { authority: authority.uri.clone(), time }),
            Err(ChainError::OutsideLeaf { .. } | ChainError::AuthorityExpired { .. }) => reason = window(),
            Err(_) => {}
        }
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use super::verify;
    use jiff::Timestamp;
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        SigningKey, date_time_ymd,
    };
    use waxseal_formats::cms::{CertificateBag, ToBeSigned};
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::{HashAlgorithm, SignatureAlgorithm};
    use waxseal_formats::trusted_root::{CertificateAuthority, Validity};
    use waxseal_formats::tsp::{ID_CT_TST_INFO, Integer, TstInfo};
    use waxseal_formats::x509::Certificate;

    const TIME: &str = "2026-06-01T00:00:00Z";
    /// DER UTCTime of [`TIME`].
    const SIGNING_TIME: &[u8] = b"\x17\x0d260601000000Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// extKeyUsage with timeStamping alone, critical as RFC 3161 §2.3 wants it: rcgen writes it as not critical.
    fn critical_usage() -> CustomExtension {
        let usage = b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x08".to_vec();
        let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], usage);
        extension.set_criticality(true);
        extension
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params
    }

    struct Authority {
        key: KeyPair,
        signer: Certificate,
        trusted: CertificateAuthority,
    }

    fn authority(usage: impl FnOnce(&mut CertificateParams)) -> Authority {
        let parse = |der: &[u8]| Certificate::from_der(der).expect("a certificate");
        let mut root = params("root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().expect("a key");
        let root_certificate = root.self_signed(&root_key).expect("a root");
        let mut leaf = params("timestamps");
        leaf.serial_number = Some(7.into());
        usage(&mut leaf);
        let key = KeyPair::generate().expect("a key");
        let signer = parse(leaf.signed_by(&key, &Issuer::new(root, root_key)).expect("a signer").der());
        let trusted = CertificateAuthority {
            uri: "https://tsa.example".into(),
            organization: "example".into(),
            common_name: "timestamps".into(),
            chain: vec![signer.clone(), parse(root_certificate.der())],
            valid_for: Validity::from(at("2026-01-01T00:00:00Z")),
            operator: None,
        };
        Authority { key, signer, trusted }
    }

    impl Authority {
        fn stamp(&self, signature: &[u8], time: &str) -> Vec<u8> {
            let info = TstInfo {
                policy: "1.3.6.1.4.1.57264.2".parse().expect("a policy"),
                imprint: HashAlgorithm::Sha256.digest(signature),
                serial: Integer::from_unsigned(&[1]),
                gen_time: at(time),
                accuracy_seconds: None,
                nonce: None,
                tsa: None,
            };
            let content = info.to_der().expect("TSTInfo");
            let algorithm = SignatureAlgorithm::EcdsaSha256;
            let signed = ToBeSigned::new(ID_CT_TST_INFO, content, SIGNING_TIME, &self.signer, algorithm);
            let signed = signed.expect("to be signed");
            let signature = self.key.sign(&signed.message().expect("a message")).expect("a signature");
            signed.finish(&signature, CertificateBag::Empty).expect("a token")
        }

        fn judge(&self, token: &[u8]) -> Result<Timestamp, Code> {
            let found = verify(token, b"signature", std::slice::from_ref(&self.trusted), at("2026-06-02T00:00:00Z"));
            found.map(|evidence| evidence.time).map_err(|error| error.code())
        }
    }

    fn good() -> Authority {
        authority(|leaf| leaf.custom_extensions = vec![critical_usage()])
    }

    #[test]
    fn a_token_of_a_trusted_authority_proves_its_time() {
        let authority = good();
        assert_eq!(authority.judge(&authority.stamp(b"signature", TIME)), Ok(at(TIME)));
        assert_eq!(authority.judge(&authority.stamp(b"another", TIME)), Err(Code::TIME_TOKEN_MISMATCH));
        assert_eq!(
            authority.judge(&authority.stamp(b"signature", "2026-06-02T00:05:01Z")),
            Err(Code::TIME_FUTURE),
            "more than the clocks may differ"
        );
        assert_eq!(authority.judge(b"no token"), Err(Code::TIME_TOKEN_INVALID));
        assert_eq!(
            authority.judge(&good().stamp(b"signature", TIME)),
            Err(Code::TIME_TOKEN_INVALID),
            "names and numbers may be the same: the key tells"
        );
        let nobody = verify(&authority.stamp(b"signature", TIME), b"signature", &[], at(TIME));
        assert_eq!(nobody.map_err(|error| error.code()), Err(Code::TIME_AUTHORITY_UNTRUSTED));
    }

    /// RFC 3161 §2.3: the signer's key is for timestamps and nothing else, and says so to those who do not know it.
    #[test]
    fn a_signer_that_is_not_for_timestamps_alone_is_not_trusted() {
        let usages = |usages: Vec<ExtendedKeyUsagePurpose>| authority(|leaf| leaf.extended_key_usages = usages);
        let (stamps, code) = (ExtendedKeyUsagePurpose::TimeStamping, ExtendedKeyUsagePurpose::CodeSigning);
        for authority in
            [usages(vec![stamps.clone()]), usages(vec![stamps, code.clone()]), usages(vec![code]), usages(vec![])]
        {
            let judged = authority.judge(&authority.stamp(b"signature", TIME));
            assert_eq!(judged, Err(Code::TIME_AUTHORITY_UNTRUSTED));
        }
    }

    #[test]
    fn windows_and_chains_are_those_of_the_authority() {
        let mut authority = good();
        let token = authority.stamp(b"signature", TIME);
        authority.trusted.valid_for.end = Some(at("2026-05-31T23:59:59Z"));
        assert_eq!(authority.judge(&token), Err(Code::TIME_AUTHORITY_WINDOW));
        authority.trusted.valid_for.end = None;
        assert_eq!(
            authority.judge(&authority.stamp(b"signature", "2025-12-31T23:59:59Z")),
            Err(Code::TIME_AUTHORITY_WINDOW)
        );
        // The signer's certificate alone is not enough: its chain has to hold.
        let stranger = good();
        authority.trusted.chain.truncate(1);
        assert_eq!(authority.judge(&token), Err(Code::TIME_AUTHORITY_UNTRUSTED), "no root");
        authority.trusted.chain.extend(stranger.trusted.chain.into_iter().skip(1));
        assert_eq!(authority.judge(&token), Err(Code::TIME_AUTHORITY_UNTRUSTED), "another root");
    }
}
