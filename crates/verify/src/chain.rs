//! From a certificate to an authority of the trusted root, at a proven time (RFC 5280 §6, Fulcio's hybrid model).
//!
//! Every certificate of the path, the root included, has to be valid at that time, and the authority's window in the trusted
//! root has to cover it. Path building is webpki's; windows and the root's own validity, which webpki anchors do not carry, are
//! checked here. Signatures of certificates are verified by the certificates themselves, which remember: those of a trusted root are
//! the same for every bundle, and a bundle's own certificate has one path at all of its times.

use jiff::Timestamp;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, UnixTime,
};
use std::time::Duration;
use waxseal_formats::code::Code;
use waxseal_formats::trusted_root::CertificateAuthority;
use waxseal_formats::x509::Certificate;
use webpki::{EndEntityCert, Error as PathError, KeyUsage, anchor_from_trusted_cert};

/// id-kp-codeSigning, 1.3.6.1.5.5.7.3.3, without tag and length.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// id-kp-timeStamping, 1.3.6.1.5.5.7.3.8.
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// What a certificate is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Signing artifacts: extended key usage codeSigning.
    CodeSigning,
    /// Signing RFC 3161 tokens: extended key usage timeStamping.
    TimeStamping,
}

/// Why a certificate has no valid path at a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The proven time lies outside the leaf's own validity.
    #[error("signed at {at}, but the certificate was valid from {not_before} to {not_after} only")]
    OutsideLeaf {
        /// The proven time.
        at: Timestamp,
        /// Start of the leaf's validity.
        not_before: Timestamp,
        /// Its end, inclusive.
        not_after: Timestamp,
    },
    /// An intermediate or root was not valid at the proven time.
    #[error("a certificate of the authority was not valid at {at}")]
    AuthorityExpired {
        /// The proven time.
        at: Timestamp,
    },
    /// The path is there and the certificate may not be used so.
    #[error("the certificate is not meant for this use")]
    Usage,
    /// No authority of the trusted root whose window covers the time issued the certificate.
    #[error("no trusted authority that was valid at {at} issued the certificate")]
    NoPath {
        /// The proven time.
        at: Timestamp,
    },
}

impl ChainError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::OutsideLeaf { .. } => Code::TIME_OUTSIDE_CERTIFICATE,
            Self::AuthorityExpired { .. } => Code::CERTIFICATE_EXPIRED,
            Self::Usage => Code::CERTIFICATE_USAGE,
            Self::NoPath { .. } => Code::CERTIFICATE_CHAIN,
        }
    }
}

/// Finds the path of `leaf` to one of `authorities` at `at` and returns the issuer's certificate.
///
/// `intermediates` are untrusted certificates that came with the leaf (bundles before v0.3).
///
/// # Errors
/// The most telling [`ChainError`] over all authorities.
pub fn issuer_of(
    leaf: &Certificate,
    intermediates: &[Certificate],
    authorities: &[CertificateAuthority],
    usage: Usage,
    at: Timestamp,
) -> Result<Certificate, ChainError> {
    if at < leaf.not_before() || at > leaf.not_after() {
        return Err(ChainError::OutsideLeaf { at, not_before: leaf.not_before(), not_after: leaf.not_after() });
    }
    let mut reason = ChainError::NoPath { at };
    for authority in authorities.iter().filter(|authority| authority.valid_for.contains(at)) {
        match path_to(authority, leaf, intermediates, usage, at) {
            Ok(issuer) => return Ok(issuer),
            Err(error @ (ChainError::AuthorityExpired { .. } | ChainError::Usage)) => reason = error,
            Err(_) => {}
        }
    }
    Err(reason)
}

/// One authority: its self-issued certificate is the anchor, or the last one if it lists no root; the others are intermediates.
fn path_to(
    authority: &CertificateAuthority,
    leaf: &Certificate,
    intermediates: &[Certificate],
    usage: Usage,
    at: Timestamp,
) -> Result<Certificate, ChainError> {
    let no_path = || ChainError::NoPath { at };
    let root = authority.chain.iter().find(|certificate| certificate.is_self_issued());
    let anchor = root.or_else(|| authority.chain.last()).ok_or_else(no_path)?;
    let anchor_der = CertificateDer::from(anchor.der());
    let anchors = [anchor_from_trusted_cert(&anchor_der).map_err(|_| no_path())?];
    let candidates: Vec<&Certificate> = authority
        .chain
        .iter()
        .chain(intermediates)
        .filter(|certificate| *certificate != anchor && *certificate != leaf)
        .collect();
    let candidates_der: Vec<_> = candidates.iter().map(|certificate| CertificateDer::from(certificate.der())).collect();
    let leaf_der = CertificateDer::from(leaf.der());
    let end_entity = EndEntityCert::try_from(&leaf_der).map_err(|_| no_path())?;
    let seconds = u64::try_from(at.as_second()).map_err(|_| no_path())?;
    let certificates: Vec<&Certificate> = candidates.iter().copied().chain([leaf, anchor]).collect();
    let remembering: Vec<Remembering<'_>> = webpki::ALL_VERIFICATION_ALGS
        .iter()
        .map(|algorithm| Remembering { algorithm: *algorithm, certificates: &certificates })
        .collect();
    let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
        remembering.iter().map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm).collect();
    let path = end_entity
        .verify_for_usage(
            &algorithms,
            &anchors,
            &candidates_der,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            KeyUsage::required(match usage {
                Usage::CodeSigning => CODE_SIGNING,
                Usage::TimeStamping => TIME_STAMPING,
            }),
            None,
            None,
        )
        .map_err(|error| match error {
            PathError::CertExpired { .. } | PathError::CertNotValidYet { .. } => ChainError::AuthorityExpired { at },
            PathError::RequiredEkuNotFoundContext(_) => ChainError::Usage,
            _ => no_path(),
        })?;
    if at < anchor.not_before() || at > anchor.not_after() {
        return Err(ChainError::AuthorityExpired { at });
    }
    match path.intermediate_certificates().next() {
        None => Ok(anchor.clone()),
        Some(issuer) => {
            let der = issuer.der();
            let found = candidates.iter().find(|certificate| certificate.der() == der.as_ref());
            found.map(|certificate| (*certificate).clone()).ok_or_else(no_path)
        }
    }
}

/// One of webpki's algorithms, which has certificates that are known verify their own signatures.
#[derive(Debug)]
struct Remembering<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    certificates: &'a [&'a Certificate],
}

impl SignatureVerificationAlgorithm for Remembering<'_> {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let signed = self.certificates.iter().find(|one| one.tbs_der() == message && one.signature() == signature);
        let key = self.certificates.iter().filter_map(|one| one.public_key().ok()).find(|key| key.raw() == public_key);
        // A certificate's scheme is the one that webpki has chosen this algorithm for.
        if let (Some(signed), Some(key)) = (signed, key)
            && signed.verify_signature(key).is_ok()
        {
            return Ok(());
        }
        self.algorithm.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

#[cfg(test)]
mod tests {
    use super::{Usage, issuer_of};
    use jiff::{Timestamp, ToSpan};
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        date_time_ymd,
    };
    use waxseal_formats::code::Code;
    use waxseal_formats::trusted_root::{CertificateAuthority, Validity};
    use waxseal_formats::x509::Certificate;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// A certificate of `name`, valid from the start of one year to the start of another.
    fn params(name: &str, years: (i32, i32), purposes: &[ExtendedKeyUsagePurpose], ca: bool) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        params.extended_key_usages = purposes.to_vec();
        params.use_authority_key_identifier_extension = true;
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }
        params
    }

    struct Hierarchy {
        leaf: Certificate,
        authority: CertificateAuthority,
    }

    fn hierarchy(root: (i32, i32), intermediate: (i32, i32), leaf: &[ExtendedKeyUsagePurpose]) -> Hierarchy {
        let parse = |der: &[u8]| Certificate::from_der(der).expect("certificate");
        let root_key = KeyPair::generate().expect("key");
        let root_params = params("root", root, &[], true);
        let root_certificate = root_params.self_signed(&root_key).expect("root");
        let root_issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate().expect("key");
        let middle = params("intermediate", intermediate, &[ExtendedKeyUsagePurpose::CodeSigning], true);
        let middle_certificate = middle.signed_by(&key, &root_issuer).expect("intermediate");
        let middle_issuer = Issuer::new(middle, key);
        let leaf_key = KeyPair::generate().expect("key");
        let leaf_certificate =
            params("leaf", (2026, 2027), leaf, false).signed_by(&leaf_key, &middle_issuer).expect("leaf");
        Hierarchy {
            leaf: parse(leaf_certificate.der()),
            authority: CertificateAuthority {
                uri: "https://ca.example".into(),
                organization: "example".into(),
                common_name: "root".into(),
                chain: vec![parse(middle_certificate.der()), parse(root_certificate.der())],
                valid_for: Validity::from(at("2020-01-01T00:00:00Z")),
                operator: None,
            },
        }
    }

    fn judge(hierarchy: &Hierarchy, time: &str) -> Result<Certificate, Code> {
        issuer_of(&hierarchy.leaf, &[], std::slice::from_ref(&hierarchy.authority), Usage::CodeSigning, at(time))
            .map_err(|error| error.code())
    }

    /// What is remembered of a certificate is not said of another one with the same contents.
    #[test]
    fn a_certificate_with_another_signature_has_to_be_verified_itself() {
        let hierarchy = hierarchy(YEARS, YEARS, &[ExtendedKeyUsagePurpose::CodeSigning]);
        for _ in 0..2 {
            judge(&hierarchy, "2026-06-01T00:00:00Z").expect("verified, and remembered");
        }
        let mut signature = hierarchy.leaf.signature().to_vec();
        *signature.last_mut().expect("a byte") ^= 1;
        let leaf = hierarchy.leaf.with_signature(&signature).expect("a certificate");
        let forged = Hierarchy { leaf, authority: hierarchy.authority.clone() };
        assert_eq!(judge(&forged, "2026-06-01T00:00:00Z"), Err(Code::CERTIFICATE_CHAIN));
        let other = self::hierarchy(YEARS, YEARS, &[ExtendedKeyUsagePurpose::CodeSigning]);
        let elsewhere = Hierarchy { leaf: hierarchy.leaf.clone(), authority: other.authority };
        assert_eq!(judge(&elsewhere, "2026-06-01T00:00:00Z"), Err(Code::CERTIFICATE_CHAIN));
    }

    const YEARS: (i32, i32) = (2020, 2036);
    const TIME: &str = "2026-06-01T00:00:00Z";

    #[test]
    fn the_issuer_is_found_in_any_order_of_the_chain() {
        let mut hierarchy = hierarchy(YEARS, YEARS, &[ExtendedKeyUsagePurpose::CodeSigning]);
        let intermediate = hierarchy.authority.chain.first().cloned().expect("intermediate");
        assert_eq!(judge(&hierarchy, TIME), Ok(intermediate.clone()));
        hierarchy.authority.chain.reverse();
        assert_eq!(judge(&hierarchy, TIME), Ok(intermediate));
    }

    #[test]
    fn the_leaf_has_to_be_valid_at_the_proven_time() {
        let hierarchy = hierarchy(YEARS, YEARS, &[ExtendedKeyUsagePurpose::CodeSigning]);
        for time in ["2025-12-31T23:59:59Z", "2027-01-01T00:00:01Z"] {
            assert_eq!(judge(&hierarchy, time), Err(Code::TIME_OUTSIDE_CERTIFICATE));
        }
    }

    /// CVE-2026-24122: an expired intermediate or root was accepted.
    #[test]
    fn cve_2026_24122_every_certificate_of_the_path_has_to_be_valid() {
        let purposes = [ExtendedKeyUsagePurpose::CodeSigning];
        for other in [(2020, 2026), (2027, 2036)] {
            assert_eq!(judge(&hierarchy(YEARS, other, &purposes), TIME), Err(Code::CERTIFICATE_EXPIRED));
            assert_eq!(judge(&hierarchy(other, YEARS, &purposes), TIME), Err(Code::CERTIFICATE_EXPIRED));
        }
    }

    #[test]
    fn a_certificate_for_another_use_or_for_any_is_refused() {
        let hierarchy = |leaf| judge(&hierarchy(YEARS, YEARS, leaf), TIME);
        assert_eq!(hierarchy(&[ExtendedKeyUsagePurpose::ServerAuth]), Err(Code::CERTIFICATE_USAGE));
        assert_eq!(hierarchy(&[]), Err(Code::CERTIFICATE_USAGE));
    }

    #[test]
    fn windows_and_strangers_leave_no_path() {
        let mut hierarchy = hierarchy(YEARS, YEARS, &[ExtendedKeyUsagePurpose::CodeSigning]);
        hierarchy.authority.valid_for.end = Some(at(TIME));
        assert!(judge(&hierarchy, TIME).is_ok(), "the interval is closed");
        hierarchy.authority.valid_for.end = at(TIME).checked_sub(1.second()).ok();
        assert_eq!(judge(&hierarchy, TIME), Err(Code::CERTIFICATE_CHAIN));
        let stranger = self::hierarchy(YEARS, YEARS, &[ExtendedKeyUsagePurpose::CodeSigning]);
        let found = issuer_of(&hierarchy.leaf, &[], &[stranger.authority], Usage::CodeSigning, at(TIME));
        assert_eq!(found.map_err(|error| error.code()), Err(Code::CERTIFICATE_CHAIN));
        let found = issuer_of(&hierarchy.leaf, &[], &[], Usage::CodeSigning, at(TIME));
        assert_eq!(found.map_err(|error| error.code()), Err(Code::CERTIFICATE_CHAIN));
    }

    #[test]
    fn certificates_of_the_bundle_help_to_find_the_way_but_are_not_trusted() {
        let mut hierarchy = hierarchy(YEARS, YEARS, &[ExtendedKeyUsagePurpose::CodeSigning]);
        let intermediate = hierarchy.authority.chain.remove(0);
        let find = |intermediates: &[Certificate], authorities: &[CertificateAuthority]| {
            issuer_of(&hierarchy.leaf, intermediates, authorities, Usage::CodeSigning, at(TIME))
                .map_err(|error| error.code())
        };
        let trusted = [hierarchy.authority.clone()];
        assert_eq!(find(&[], &trusted), Err(Code::CERTIFICATE_CHAIN));
        assert_eq!(find(std::slice::from_ref(&intermediate), &trusted), Ok(intermediate.clone()));
        let stranger = self::hierarchy(YEARS, YEARS, &[ExtendedKeyUsagePurpose::CodeSigning]);
        let whole = [intermediate, hierarchy.authority.chain[0].clone()];
        assert_eq!(find(&whole, &[stranger.authority]), Err(Code::CERTIFICATE_CHAIN));
    }
}
