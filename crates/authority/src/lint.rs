//! The linter: reads what is about to be signed with the parser that verifiers use, and compares it with the profile of
//! Fulcio's leaves (RFC 5280, Fulcio's certificate specification) and with what was granted.
//!
//! It shares no code with the builder, so that a mistake there does not approve itself.

use crate::ca::{CaIssuer, LEAF_LIFETIME};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc6962};
use formats::code::Code;
use formats::crypto::{KeyKind, PublicKey};
use formats::extension::{FulcioExtensions, FulcioOid, SubjectAltName};
use formats::sct::SignedCertificateTimestamp;
use formats::x509::{Certificate, CertificateError, Critical, key_identifier};
use jiff::{SignedDuration, Timestamp};
use waxseal_formats as formats;

/// Fewest bytes of a serial number: 64 random bits (CA/Browser Forum Baseline Requirements §7.1).
const MIN_SERIAL_LEN: usize = 8;
/// By how much the first second of validity may differ from now.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(60);
/// Length of the signature that stands in while linting; the real one is made afterwards.
const NO_SIGNATURE: [u8; 1] = [0];

/// What a leaf is expected to say.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its one name.
    pub name: SubjectAltName,
    /// The extensions of Fulcio's arc.
    pub extensions: FulcioExtensions,
    /// The key.
    pub key: PublicKey,
    /// The time of issuance.
    pub now: Timestamp,
}

/// How a certificate would break its profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LintError {
    /// It is not a certificate at all.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The serial number is short.
    #[error("the serial number has {len} bytes, fewer than {MIN_SERIAL_LEN}")]
    Serial {
        /// Its length.
        len: usize,
    },
    /// The validity does not begin now, has another length, or goes beyond the issuer's.
    #[error("the validity does not begin now, has another length, or goes beyond the issuer's")]
    Validity,
    /// The validity is not written as UTCTime.
    #[error("the validity is not written as UTCTime")]
    TimeEncoding,
    /// The subject is not empty.
    #[error("the subject is not empty")]
    Subject,
    /// The issuer is not the authority's subject.
    #[error("the issuer is not the authority's subject")]
    Issuer,
    /// The signature algorithm is not the one of the authority's key.
    #[error("the signature algorithm is not the authority's")]
    Algorithm,
    /// The key is not the one that was proven.
    #[error("the key is not the one that was proven")]
    Key,
    /// The key is of a kind that gets no certificate.
    #[error("the key is of a kind that gets no certificate: {0}")]
    KeyKind(KeyKind),
    /// Key usage is not digitalSignature alone, or extended key usage not code signing alone.
    #[error("the certificate would be for something else than code signing")]
    Usage,
    /// The certificate would be one of an authority.
    #[error("the certificate would be a CA")]
    Ca,
    /// One of the two key identifiers is not the key's.
    #[error("a key identifier is not the key's")]
    KeyIdentifier,
    /// The subject alternative name is not the one granted.
    #[error("the name is not the one granted")]
    Name,
    /// The extensions of Fulcio's arc are not the ones granted, or lack the issuer.
    #[error("the extensions are not the ones granted")]
    Granted,
    /// The extensions are not the expected ones in the expected order.
    #[error("extension {oid} stands where it does not belong, or with another criticality")]
    Extension {
        /// The first that is out of place.
        oid: ObjectIdentifier,
    },
    /// There are fewer extensions than expected.
    #[error("extension {oid} is missing")]
    Missing {
        /// The first that is missing.
        oid: ObjectIdentifier,
    },
}

impl LintError {
    /// `certificate.usage`, `certificate.identity`, `certificate.expired`, `certificate.chain`, `key.unsupported`, or
    /// `certificate.extension`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Certificate(error) => error.code(),
            Self::Validity | Self::TimeEncoding => Code::CERTIFICATE_EXPIRED,
            Self::Issuer | Self::Algorithm | Self::Serial { .. } => Code::CERTIFICATE_CHAIN,
            Self::Key | Self::KeyKind(_) => Code::KEY_UNSUPPORTED,
            Self::Usage | Self::Ca => Code::CERTIFICATE_USAGE,
            Self::Name | Self::Subject => Code::CERTIFICATE_IDENTITY,
            Self::KeyIdentifier | Self::Granted | Self::Extension { .. } | Self::Missing { .. } => {
                Code::CERTIFICATE_EXTENSION
            }
        }
    }
}

/// Lints the TBSCertificate of a precertificate: the poison stands last and is critical. Returns it as a certificate whose
/// signature is missing.
///
/// # Errors
/// [`LintError`], the first that is found.
pub fn lint_precertificate(tbs: &[u8], issuer: &CaIssuer, expected: &Subject) -> Result<Certificate, LintError> {
    // RFC 6962 §3.1: critical, with NULL in it.
    const POISON: [u8; 21] = [0x30, 19, 6, 10, 0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3, 1, 1, 0xff, 4, 2, 5, 0];
    let certificate = lint(tbs, issuer, expected, (rfc6962::CT_PRECERT_POISON, Critical::Yes))?;
    if tbs.ends_with(&POISON) { Ok(certificate) } else { Err(LintError::Extension { oid: rfc6962::CT_PRECERT_POISON }) }
}

/// Lints the TBSCertificate of a final certificate: the SCT list stands last and is not critical. Returns it as a certificate
/// whose signature is missing.
///
/// # Errors
/// [`LintError`], the first that is found.
pub fn lint_certificate(tbs: &[u8], issuer: &CaIssuer, expected: &Subject) -> Result<Certificate, LintError> {
    let certificate = lint(tbs, issuer, expected, (rfc6962::CT_PRECERT_SCTS, Critical::No))?;
    // sigstore-python takes exactly one.
    match certificate.sct_list().map(SignedCertificateTimestamp::parse_list) {
        Some(Ok(scts)) if scts.len() == 1 => Ok(certificate),
        _ => Err(LintError::Extension { oid: rfc6962::CT_PRECERT_SCTS }),
    }
}

fn lint(
    tbs: &[u8],
    issuer: &CaIssuer,
    expected: &Subject,
    last: (ObjectIdentifier, Critical),
) -> Result<Certificate, LintError> {
    let certificate = Certificate::assemble(tbs, issuer.algorithm(), &NO_SIGNATURE)?;
    lint_basics(&certificate, issuer, expected)?;
    lint_usage(&certificate)?;
    lint_names(&certificate, issuer, expected)?;
    lint_extension_order(&certificate, last)?;
    Ok(certificate)
}

fn lint_basics(certificate: &Certificate, issuer: &CaIssuer, expected: &Subject) -> Result<(), LintError> {
    if certificate.serial().len() < MIN_SERIAL_LEN {
        return Err(LintError::Serial { len: certificate.serial().len() });
    }
    let (from, to) = (certificate.not_before(), certificate.not_after());
    if from.duration_since(expected.now).abs() > MAX_SKEW
        || to.duration_since(from) != LEAF_LIFETIME
        || from < issuer.not_before()
        || to > issuer.not_after()
    {
        return Err(LintError::Validity);
    }
    let utc_times = format!("\x17\x0d{}\x17\x0d{}", utc_time(from), utc_time(to));
    if !contains(certificate.tbs_der(), utc_times.as_bytes()) {
        return Err(LintError::TimeEncoding);
    }
    let key = certificate.public_key()?;
    if *key != expected.key {
        return Err(LintError::Key);
    }
    match key.kind() {
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 | KeyKind::Ed25519 => Ok(()),
        KeyKind::Rsa { bits: 2048 | 3072 | 4096 } => Ok(()),
        kind @ KeyKind::Rsa { .. } => Err(LintError::KeyKind(kind)),
    }
}

/// The contents of a UTCTime: `261124144305Z`.
fn utc_time(time: Timestamp) -> String {
    time.strftime("%y%m%d%H%M%SZ").to_string()
}

fn contains(der: &[u8], part: &[u8]) -> bool {
    der.windows(part.len()).any(|window| window == part)
}

fn lint_usage(certificate: &Certificate) -> Result<(), LintError> {
    // digitalSignature alone, critical, in the one form that DER has for it.
    const KEY_USAGE: [u8; 16] = [0x30, 14, 6, 3, 0x55, 0x1d, 15, 1, 1, 0xff, 4, 4, 3, 2, 7, 0x80];
    if !contains(certificate.tbs_der(), &KEY_USAGE)
        || certificate.extended_key_usage() != Some(&[rfc5280::ID_KP_CODE_SIGNING])
    {
        return Err(LintError::Usage);
    }
    if certificate.is_ca() { Err(LintError::Ca) } else { Ok(()) }
}

fn lint_names(certificate: &Certificate, issuer: &CaIssuer, expected: &Subject) -> Result<(), LintError> {
    if certificate.subject_der() != [0x30, 0] {
        return Err(LintError::Subject);
    }
    if certificate.issuer_der() != issuer.subject_der() {
        return Err(LintError::Issuer);
    }
    if certificate.signature_algorithm() != Some(issuer.algorithm()) {
        return Err(LintError::Algorithm);
    }
    if certificate.authority_key_identifier() != Some(issuer.key_identifier())
        || certificate.subject_key_identifier() != Some(&key_identifier(&expected.key))
    {
        return Err(LintError::KeyIdentifier);
    }
    if *certificate.subject_alt_name()? != expected.name {
        return Err(LintError::Name);
    }
    let found = certificate.extensions();
    let issuer_twice =
        found.get(FulcioOid::Issuer).is_some() && found.get(FulcioOid::Issuer) == found.get(FulcioOid::IssuerV2);
    if *found != expected.extensions || !issuer_twice {
        return Err(LintError::Granted);
    }
    Ok(())
}

/// The extensions have to be exactly these, in this order: the five standard ones, those of Fulcio's arc by number, `last`.
fn lint_extension_order(certificate: &Certificate, last: (ObjectIdentifier, Critical)) -> Result<(), LintError> {
    const STANDARD: [(ObjectIdentifier, Critical); 5] = [
        (rfc5280::ID_CE_KEY_USAGE, Critical::Yes),
        (rfc5280::ID_CE_EXT_KEY_USAGE, Critical::No),
        (rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER, Critical::No),
        (rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, Critical::No),
        (rfc5280::ID_CE_SUBJECT_ALT_NAME, Critical::Yes),
    ];
    let fulcio = certificate.extensions().iter().map(|(oid, _)| (oid.object_identifier(), Critical::No));
    let wanted = STANDARD.into_iter().chain(fulcio).chain([last]);
    let mut found = certificate.extension_oids().iter();
    for wanted in wanted {
        match found.next() {
            Some(extension) if *extension == wanted => {}
            Some((oid, _)) => return Err(LintError::Extension { oid: *oid }),
            None => return Err(LintError::Missing { oid: wanted.0 }),
        }
    }
    match found.next() {
        Some((oid, _)) => Err(LintError::Extension { oid: *oid }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{LintError, Subject, lint_certificate, lint_precertificate};
    use crate::ca::CaIssuer;
    use crate::ca::forge::{TestKey, alice, issuer, now, proven};
    use crate::ca::{Issuance, LEAF_LIFETIME};
    use const_oid::db::{rfc5280, rfc6962};
    use der::asn1::AnyRef;
    use der::{Decode, Encode, Tag, Tagged};
    use formats::code::Code;
    use formats::crypto::KeyKind;
    use formats::extension::{FulcioOid, SubjectAltName};
    use formats::x509::CertificateError;
    use jiff::SignedDuration;
    use waxseal_formats as formats;

    /// A precertificate's TBSCertificate that is as it should be, and what is expected of it.
    struct Good {
        issuer: CaIssuer,
        tbs: Vec<u8>,
        expected: Subject,
    }

    fn good() -> Good {
        let (_, issuer) = issuer(KeyKind::EcdsaP256);
        let grant = alice();
        let key = proven(&grant, &TestKey::generate(KeyKind::EcdsaP256));
        let tbs = Issuance::new(&issuer, &grant, &key, now(), [7; 20]).expect("issuance").message().to_vec();
        let expected = Subject {
            name: grant.subject_alt_name().clone(),
            extensions: grant.extensions().clone(),
            key: key.key().clone(),
            now: now(),
        };
        Good { issuer, tbs, expected }
    }

    fn tlv(tag: Tag, contents: &[u8]) -> Vec<u8> {
        AnyRef::new(tag, contents).and_then(|any| any.to_der()).expect("DER")
    }

    fn parts(contents: &[u8]) -> Vec<Vec<u8>> {
        Vec::<AnyRef<'_>>::from_der(contents)
            .expect("a SEQUENCE")
            .iter()
            .map(|part| part.to_der().expect("DER"))
            .collect()
    }

    /// The fields of the TBSCertificate: version, serial, algorithm, issuer, validity, subject, key, extensions.
    const SERIAL: usize = 1;
    const ISSUER: usize = 3;
    const VALIDITY: usize = 4;
    const SUBJECT: usize = 5;
    const EXTENSIONS: usize = 7;

    impl Good {
        fn lint(&self, tbs: &[u8]) -> Result<(), LintError> {
            lint_precertificate(tbs, &self.issuer, &self.expected).map(drop)
        }

        fn with_field(&self, at: usize, field: Vec<u8>) -> Result<(), LintError> {
            let mut fields = parts(&self.tbs);
            fields[at] = field;
            self.lint(&tlv(Tag::Sequence, &fields.concat()))
        }

        fn with_extensions(&self, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Result<(), LintError> {
            let field = parts(&self.tbs)[EXTENSIONS].clone();
            let explicit = AnyRef::from_der(&field).expect("[3]");
            let mut list = parts(explicit.value());
            edit(&mut list);
            self.with_field(EXTENSIONS, tlv(explicit.tag(), &tlv(Tag::Sequence, &list.concat())))
        }

        /// `from` becomes `to`, of the same length, in hexadecimal, at its only occurrence.
        fn with_bytes(&self, from: &str, to: &str) -> Result<(), LintError> {
            let text = hex::encode(&self.tbs);
            assert_eq!((text.matches(from).count(), from.len()), (1, to.len()), "{from}");
            self.lint(&hex::decode(text.replace(from, to)).expect("hex"))
        }
    }

    fn extension(hex_oid: &str, value: &str) -> Vec<u8> {
        let contents = hex::decode(format!("{hex_oid}{value}")).expect("hex");
        tlv(Tag::Sequence, &contents)
    }

    #[test]
    fn what_the_builder_makes_passes() {
        let good = good();
        assert_eq!(good.lint(&good.tbs), Ok(()));
        let error = lint_certificate(&good.tbs, &good.issuer, &good.expected).expect_err("still poisoned");
        assert_eq!(error, LintError::Extension { oid: rfc6962::CT_PRECERT_POISON });
        assert_eq!(error.code(), Code::CERTIFICATE_EXTENSION);
    }

    #[test]
    fn short_and_negative_serials() {
        let good = good();
        let error = good.with_field(SERIAL, vec![2, 7, 1, 2, 3, 4, 5, 6, 7]).expect_err("56 bits");
        assert_eq!((error.clone(), error.code()), (LintError::Serial { len: 7 }, Code::CERTIFICATE_CHAIN));
        let negative = good.with_field(SERIAL, [&[2, 20][..], &[0xff; 20]].concat()).expect_err("negative");
        assert_eq!(negative, CertificateError::Malformed("serial number").into());
        let long = good.with_field(SERIAL, [&[2, 21][..], &[0x7f; 21]].concat()).expect_err("21 bytes");
        assert_eq!(long, CertificateError::Malformed("serial number").into());
    }

    #[test]
    fn another_validity() {
        let mut good = good();
        // 15:10:00 becomes 15:10:01.
        let error = good.with_bytes("3236313132343135313030305a", "3236313132343135313030315a").expect_err("601 s");
        assert_eq!((error.clone(), error.code()), (LintError::Validity, Code::CERTIFICATE_EXPIRED));
        for offset in [61, -61] {
            good.expected.now = now() + SignedDuration::from_secs(offset);
            assert_eq!(good.lint(&good.tbs), Err(LintError::Validity));
        }
        good.expected.now = now();
        let general =
            |time: jiff::Timestamp| tlv(Tag::GeneralizedTime, time.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes());
        let validity = tlv(Tag::Sequence, &[general(now()), general(now() + LEAF_LIFETIME)].concat());
        assert_eq!(good.with_field(VALIDITY, validity), Err(LintError::TimeEncoding));
    }

    #[test]
    fn another_subject_or_issuer() {
        let good = good();
        let name = good.issuer.subject_der().to_vec();
        let error = good.with_field(SUBJECT, name).expect_err("a subject");
        assert_eq!((error.clone(), error.code()), (LintError::Subject, Code::CERTIFICATE_IDENTITY));
        let error = good.with_field(ISSUER, vec![0x30, 0]).expect_err("no issuer");
        assert_eq!((error.clone(), error.code()), (LintError::Issuer, Code::CERTIFICATE_CHAIN));
    }

    #[test]
    fn another_signature_algorithm() {
        let good = good();
        // ecdsa-with-SHA256 becomes ecdsa-with-SHA384, which the certificate around it does not say.
        let error = good.with_bytes("2a8648ce3d040302", "2a8648ce3d040303").expect_err("SHA-384");
        assert_eq!(error, CertificateError::Malformed("two different signature algorithms").into());
    }

    #[test]
    fn another_key() {
        let mut good = good();
        good.expected.key = TestKey::generate(KeyKind::EcdsaP256).public;
        let error = good.lint(&good.tbs).expect_err("another key");
        assert_eq!((error.clone(), error.code()), (LintError::Key, Code::KEY_UNSUPPORTED));
    }

    #[test]
    fn another_usage() {
        let good = good();
        // digitalSignature becomes keyCertSign.
        let error = good.with_bytes("0603551d0f0101ff040403020780", "0603551d0f0101ff040403020204").expect_err("usage");
        assert_eq!((error.clone(), error.code()), (LintError::Usage, Code::CERTIFICATE_USAGE));
        // codeSigning becomes serverAuth, or is joined by it.
        assert_eq!(good.with_bytes("06082b06010505070303", "06082b06010505070301"), Err(LintError::Usage));
        let both = extension("0603551d25", "0416301406082b0601050507030306082b06010505070301");
        assert_eq!(good.with_extensions(|list| list[1] = both), Err(LintError::Usage));
        let ca = extension("0603551d13", "040530030101ff");
        assert_eq!(good.with_extensions(|list| list.push(ca)), Err(LintError::Ca));
    }

    #[test]
    fn another_key_identifier() {
        let good = good();
        let identifier = hex::encode(good.issuer.key_identifier());
        let error = good.with_bytes(&identifier, &"00".repeat(20)).expect_err("identifier");
        assert_eq!((error.clone(), error.code()), (LintError::KeyIdentifier, Code::CERTIFICATE_EXTENSION));
        let own = hex::encode(formats::x509::key_identifier(&good.expected.key));
        assert_eq!(good.with_bytes(&own, &"00".repeat(20)), Err(LintError::KeyIdentifier));
    }

    #[test]
    fn another_or_a_second_name() {
        let mut good = good();
        let two = "3017810961406578616d706c65810a61406578616d706c652e";
        let two = extension("0603551d110101ff", &format!("0419{two}"));
        let error = good.with_extensions(|list| list[4] = two).expect_err("two names");
        assert!(matches!(error, LintError::Certificate(CertificateError::Extension(_))), "{error:?}");
        assert_eq!(error.code(), Code::CERTIFICATE_EXTENSION);
        good.expected.name = SubjectAltName::Email("bob@corp.example".into());
        let error = good.lint(&good.tbs).expect_err("bob");
        assert_eq!((error.clone(), error.code()), (LintError::Name, Code::CERTIFICATE_IDENTITY));
    }

    #[test]
    fn extensions_that_were_not_granted_or_stand_elsewhere() {
        let mut good = good();
        assert_eq!(good.with_extensions(|list| drop(list.remove(5))), Err(LintError::Granted), "no .1");
        assert_eq!(good.with_extensions(|list| drop(list.remove(7))), Err(LintError::Granted), "no .24");
        let trigger = extension("060a2b0601040183bf300114", "04060c0470757368");
        assert_eq!(good.with_extensions(|list| list.insert(7, trigger)), Err(LintError::Granted), "a trigger");
        let oid = FulcioOid::IssuerV2.object_identifier();
        assert_eq!(good.with_extensions(|list| list.swap(5, 6)), Err(LintError::Extension { oid }));
        let oid = rfc5280::ID_CE_EXT_KEY_USAGE;
        assert_eq!(good.with_extensions(|list| list.swap(0, 1)), Err(LintError::Extension { oid }));
        let critical = extension("0603551d250101ff", "040c300a06082b06010505070303");
        assert_eq!(good.with_extensions(|list| list[1] = critical), Err(LintError::Extension { oid }));
        let policies = extension("0603551d20", "04023000");
        let oid = rfc5280::ID_CE_CERTIFICATE_POLICIES;
        assert_eq!(good.with_extensions(|list| list.push(policies)), Err(LintError::Extension { oid }));
        let missing = good.with_extensions(|list| drop(list.pop())).expect_err("no poison");
        assert_eq!(missing, LintError::Missing { oid: rfc6962::CT_PRECERT_POISON });
        let mut other = good.expected.extensions.clone();
        other.set(FulcioOid::Issuer, "https://elsewhere.example");
        good.expected.extensions = other;
        assert_eq!(good.lint(&good.tbs), Err(LintError::Granted));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = good();
        let mut tbs = good.tbs.clone();
        // Only the serial number is free.
        let serial = 11..31;
        for at in (0..tbs.len()).filter(|at| !serial.contains(at)) {
            tbs[at] ^= 1;
            assert!(good.lint(&tbs).is_err(), "byte {at}");
            tbs[at] ^= 1;
        }
    }
}
