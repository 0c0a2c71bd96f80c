//! The linter: reads what is about to be signed with the parser that verifiers use, and compares it with the profile of
//! Fulcio's leaves (RFC 5280, Fulcio's certificate specification) and with what was granted.
//!
//! It shares no code with the builder, so that a mistake there does not approve itself.

use crate::ca::{CaIssuer, LEAF_LIFETIME};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc6962};
use der::flagset::FlagSet;
use formats::code::Code;
use formats::crypto::{KeyKind, PublicKey};
use formats::extension::{FulcioExtensions, FulcioOid, SubjectAltName};
use formats::x509::{Certificate, CertificateError, Critical, key_identifier};
use jiff::{SignedDuration, Timestamp};
use waxseal_formats as formats;
use x509_cert::ext::pkix::KeyUsages;

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

/// Lints the TBSCertificate of a precertificate: the poison stands last and is critical.
///
/// # Errors
/// [`LintError`], the first that is found.
pub fn lint_precertificate(tbs: &[u8], issuer: &CaIssuer, expected: &Subject) -> Result<(), LintError> {
    lint(tbs, issuer, expected, (rfc6962::CT_PRECERT_POISON, Critical::Yes))
}

/// Lints the TBSCertificate of a final certificate: the SCT list stands last and is not critical.
///
/// # Errors
/// [`LintError`], the first that is found.
pub fn lint_certificate(tbs: &[u8], issuer: &CaIssuer, expected: &Subject) -> Result<(), LintError> {
    lint(tbs, issuer, expected, (rfc6962::CT_PRECERT_SCTS, Critical::No))
}

fn lint(
    tbs: &[u8],
    issuer: &CaIssuer,
    expected: &Subject,
    last: (ObjectIdentifier, Critical),
) -> Result<(), LintError> {
    let certificate = Certificate::assemble(tbs, issuer.algorithm(), &NO_SIGNATURE)?;
    lint_basics(&certificate, issuer, expected)?;
    lint_usage(&certificate)?;
    lint_names(&certificate, issuer, expected)?;
    lint_extension_order(&certificate, last)
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
    if !certificate.tbs_der().windows(utc_times.len()).any(|window| window == utc_times.as_bytes()) {
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

fn lint_usage(certificate: &Certificate) -> Result<(), LintError> {
    let only_signs = certificate.key_usage().is_some_and(|usage| usage.0 == FlagSet::from(KeyUsages::DigitalSignature));
    if !only_signs || certificate.extended_key_usage() != Some(&[rfc5280::ID_KP_CODE_SIGNING]) {
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
