//! X.509 certificates (RFC 5280) as Sigstore uses them: parsed once, with the original bytes kept.
//!
//! Nothing here decides trust; chains are judged in `waxseal-verify`. What RFC 6962 signs, the
//! TBSCertificate without one extension, is cut out of the original bytes and never encoded anew.

use crate::asn1::{Elements, constructed, primitive, tlv, unsigned};
use crate::code::Code;
use crate::crypto::digest::sha1_for_identifiers;
use crate::crypto::{KeyError, PublicKey, SignatureAlgorithm, SignatureInvalid};
use crate::extension::{ExtensionError, FulcioExtensions, SubjectAltName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc6962};
use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Sequence, Tag, Tagged};
use jiff::Timestamp;
use spki::AlgorithmIdentifierRef;
use std::fmt;
use std::sync::{Arc, OnceLock};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::time::Validity;

mod extensions;
mod name;

pub use name::{DistinguishedName, MAX_NAME_LEN};

use extensions::{ExtensionsFound, RawExtension};

/// Largest certificate that is parsed, in bytes of DER.
pub const MAX_CERTIFICATE_LEN: usize = 64 * 1024;
/// Largest number of extensions of one certificate; Fulcio writes at most 29.
pub const MAX_EXTENSIONS: usize = 64;
/// Largest number of certificates in one PEM file.
pub const MAX_CHAIN_LEN: usize = 16;
/// Longest serial number, in bytes (RFC 5280 §4.1.2.2).
pub const MAX_SERIAL_LEN: usize = 20;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Why a certificate cannot be read, or cannot do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// More bytes or certificates than allowed.
    #[error("the certificate is larger than allowed")]
    TooLarge,
    /// Not one DER Certificate, or with bytes after it.
    #[error("the certificate is malformed: {0}")]
    Malformed(&'static str),
    /// Not PEM of certificates, or none at all.
    #[error("this is not PEM with the label CERTIFICATE")]
    Pem,
    /// The same extension stands twice in the certificate (RFC 5280 §4.2 forbids it).
    #[error("the certificate has extension {oid} twice")]
    DuplicateExtension {
        /// The extension.
        oid: ObjectIdentifier,
    },
    /// An extension that was asked for is not there.
    #[error("the certificate has no extension {oid}")]
    NoExtension {
        /// The extension.
        oid: ObjectIdentifier,
    },
    /// An extension of the Fulcio arc or the subject alternative name is not acceptable.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// The certificate's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl CertificateError {
    /// `input.too-large`, `certificate.extension`, `key.unsupported` or `certificate.malformed`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge => Code::INPUT_TOO_LARGE,
            Self::Malformed(_) | Self::Pem => Code::CERTIFICATE_MALFORMED,
            Self::DuplicateExtension { .. } | Self::NoExtension { .. } => Code::CERTIFICATE_EXTENSION,
            Self::Extension(error) => error.code(),
            Self::Key(error) => error.code(),
        }
    }
}

/// A certificate that was well-formed when it was parsed. Equal if the DER is. Cheap to clone.
#[derive(Clone)]
pub struct Certificate {
    der: Arc<[u8]>,
    signature: Arc<[u8]>,
    signed: Arc<Signed>,
    /// SHA-256 of the key that the signature was found to verify under: a signature that was verified once is so for ever.
    verified: Arc<OnceLock<[u8; 32]>>,
}

/// What the signature is over.
struct Signed {
    tbs: Vec<u8>,
    algorithm: Option<SignatureAlgorithm>,
    serial: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: Result<PublicKey, KeyError>,
    extensions: ExtensionsFound,
}

/// Whether an extension is marked critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Critical {
    /// A reader that does not know the extension has to refuse the certificate.
    Yes,
    /// It may be ignored.
    No,
}

#[derive(Sequence)]
struct RawCertificate<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

struct RawTbs<'a> {
    version: Option<AnyRef<'a>>,
    serial: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    validity: AnyRef<'a>,
    subject: AnyRef<'a>,
    spki: AnyRef<'a>,
    extensions: Option<AnyRef<'a>>,
}

impl<'a> RawTbs<'a> {
    fn read(tbs: AnyRef<'a>) -> Option<Self> {
        let mut fields = Elements::inside(tbs, Tag::Sequence)?;
        let version = fields.take_if(constructed(0));
        let serial = fields.next()?;
        let algorithm = fields.next()?;
        let issuer = fields.next_of(Tag::Sequence)?;
        let validity = fields.next()?;
        let subject = fields.next_of(Tag::Sequence)?;
        let spki = fields.next_of(Tag::Sequence)?;
        // The unique identifiers of issuer and subject (RFC 5280 §4.1.2.8) mean nothing here.
        fields.take_if(primitive(1));
        fields.take_if(primitive(2));
        let extensions = fields.take_if(constructed(3));
        fields.finish()?;
        Some(Self { version, serial, algorithm, issuer, validity, subject, spki, extensions })
    }
}

impl Certificate {
    /// Parses one DER certificate of at most [`MAX_CERTIFICATE_LEN`] bytes with nothing after it.
    ///
    /// A key of an unsupported kind, and a subject alternative name that no Fulcio writes, do not stop the
    /// parser: [`Certificate::public_key`] and [`Certificate::subject_alt_name`] report them.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_der(bytes: &[u8]) -> Result<Self, CertificateError> {
        use CertificateError::Malformed;
        if bytes.len() > MAX_CERTIFICATE_LEN {
            return Err(CertificateError::TooLarge);
        }
        let raw = RawCertificate::from_der(bytes).map_err(|_| Malformed("not a Certificate"))?;
        let fields = RawTbs::read(raw.tbs).ok_or(Malformed("not a TBSCertificate"))?;
        let inner_algorithm: AlgorithmIdentifierRef<'_> =
            fields.algorithm.decode_as().map_err(|_| Malformed("signature algorithm"))?;
        let validity: Validity = fields.validity.decode_as().map_err(|_| Malformed("validity"))?;
        if raw.algorithm != inner_algorithm {
            return Err(Malformed("two different signature algorithms"));
        }
        match (fields.version.map(AnyRef::value), fields.extensions) {
            (Some([2, 1, 2]), _) | (None | Some([2, 1, 1]), None) => {}
            _ => return Err(Malformed("version")),
        }
        let signature = raw.signature.as_bytes().ok_or(Malformed("signature"))?.into();
        let signed = Signed {
            tbs: encoded(raw.tbs)?,
            algorithm: SignatureAlgorithm::from_oid(&raw.algorithm.oid)
                .filter(|known| owned_identifier(&raw.algorithm) == Some(known.identifier())),
            serial: unsigned(fields.serial, MAX_SERIAL_LEN).ok_or(Malformed("serial number"))?,
            issuer: encoded(fields.issuer)?,
            subject: encoded(fields.subject)?,
            not_before: timestamp(validity.not_before)?,
            not_after: timestamp(validity.not_after)?,
            public_key: PublicKey::from_spki_der(&encoded(fields.spki)?),
            extensions: ExtensionsFound::read(fields.extensions)?,
        };
        Ok(Self { der: bytes.into(), signature, signed: Arc::new(signed), verified: Arc::default() })
    }

    /// Parses text with exactly one PEM block `CERTIFICATE`.
    ///
    /// # Errors
    /// [`CertificateError::Pem`] besides those of [`Certificate::from_der`].
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        match Self::chain_from_pem(text)?.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(CertificateError::Pem),
        }
    }

    /// Parses the PEM blocks `CERTIFICATE` of a text, one to [`MAX_CHAIN_LEN`], in their order. What stands
    /// around them is ignored (RFC 7468 §2), but not blocks of another kind.
    ///
    /// # Errors
    /// As [`Certificate::from_pem`].
    pub fn chain_from_pem(text: &str) -> Result<Vec<Self>, CertificateError> {
        if text.len() > MAX_CHAIN_LEN.saturating_mul(MAX_CERTIFICATE_LEN).saturating_mul(3) / 2 {
            return Err(CertificateError::TooLarge);
        }
        let mut chain = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("-----BEGIN ") {
            if chain.len() == MAX_CHAIN_LEN {
                return Err(CertificateError::TooLarge);
            }
            let block = rest.get(at..).and_then(|block| block.strip_prefix(BEGIN)).ok_or(CertificateError::Pem)?;
            let (body, after) = block.split_once(END).ok_or(CertificateError::Pem)?;
            let body: String = body.split_ascii_whitespace().collect();
            let der = STANDARD.decode(body).map_err(|_| CertificateError::Pem)?;
            chain.push(Self::from_der(&der)?);
            rest = after;
        }
        if chain.is_empty() { Err(CertificateError::Pem) } else { Ok(chain) }
    }

    /// Puts a signature to a TBSCertificate.
    ///
    /// # Errors
    /// As [`Certificate::from_der`], which reads the result.
    pub fn assemble(tbs: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]) -> Result<Self, CertificateError> {
        let der =
            certificate_der(tbs, algorithm, signature).map_err(|_| CertificateError::Malformed("TBSCertificate"))?;
        Self::from_der(&der)
    }

    /// The same certificate with another signature; what is signed is not read again.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`] for a scheme that is not supported, [`CertificateError::TooLarge`].
    pub fn with_signature(&self, signature: &[u8]) -> Result<Self, CertificateError> {
        let algorithm = self.signed.algorithm.ok_or(CertificateError::Malformed("signature algorithm"))?;
        let der = certificate_der(&self.signed.tbs, algorithm, signature)
            .map_err(|_| CertificateError::Malformed("signature"))?;
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(CertificateError::TooLarge);
        }
        // Of this signature nothing is known yet.
        let verified = Arc::default();
        Ok(Self { der: der.into(), signature: signature.into(), signed: Arc::clone(&self.signed), verified })
    }

    /// The bytes that were parsed.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// PEM with 64 columns and a newline at the end.
    #[must_use]
    pub fn to_pem(&self) -> String {
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, self.der()).unwrap_or_default()
    }

    /// The DER TBSCertificate: what the issuer signed.
    #[must_use]
    pub fn tbs_der(&self) -> &[u8] {
        &self.signed.tbs
    }

    /// The serial number as an unsigned big-endian integer without leading zeros, at most 20 bytes.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.signed.serial
    }

    /// The issuer, a DER Name.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        &self.signed.issuer
    }

    /// The subject, a DER Name; `30 00` if it is empty.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.signed.subject
    }

    /// Organization and common name of the subject.
    #[must_use]
    pub fn subject(&self) -> DistinguishedName {
        DistinguishedName::from_der(&self.signed.subject)
    }

    /// The first second of the validity.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.signed.not_before
    }

    /// The last second of the validity.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.signed.not_after
    }

    /// Whether `time` lies in the validity, both ends included (RFC 5280 §4.1.2.5).
    #[must_use]
    pub fn valid_at(&self, time: Timestamp) -> bool {
        self.not_before() <= time && time <= self.not_after()
    }

    /// The subject's key.
    ///
    /// # Errors
    /// What kept the key from being parsed, for keys of an unsupported kind.
    pub fn public_key(&self) -> Result<&PublicKey, CertificateError> {
        self.signed.public_key.as_ref().map_err(|error| CertificateError::Key(error.clone()))
    }

    /// The scheme of the issuer's signature, if it is a supported one.
    #[must_use]
    pub fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        self.signed.algorithm
    }

    /// Verifies the issuer's signature, and nothing else. A certificate and its clones do so once for the first key under which it
    /// verifies: those of a trusted root are asked again with every bundle.
    ///
    /// # Errors
    /// [`SignatureInvalid`], also for a scheme that is not supported.
    pub fn verify_signature(&self, issuer: &PublicKey) -> Result<(), SignatureInvalid> {
        let algorithm = self.signed.algorithm.ok_or(SignatureInvalid)?;
        let key = issuer.spki_sha256();
        if self.verified.get() == Some(&key) {
            return Ok(());
        }
        issuer.verify(algorithm, &self.signed.tbs, &self.signature)?;
        let _ = self.verified.set(key);
        Ok(())
    }

    /// The issuer's signature, as it stands in the certificate.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether issuer and subject are the same, byte for byte, as in a root.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.signed.issuer == self.signed.subject
    }

    /// Whether basicConstraints say CA:TRUE.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.basic_constraints().is_some_and(|constraints| constraints.ca)
    }

    /// The one subject alternative name.
    ///
    /// # Errors
    /// The variants of [`ExtensionError`] about names: none, several, or one that no Fulcio writes.
    pub fn subject_alt_name(&self) -> Result<&SubjectAltName, CertificateError> {
        self.signed.extensions.subject_alt_name.as_ref().map_err(|error| CertificateError::Extension(error.clone()))
    }

    /// Every subject alternative name as text, of whatever kind: what a log is searched by. Names that have no text are
    /// left out.
    #[must_use]
    pub fn subject_alt_names(&self) -> Vec<String> {
        SubjectAltName::texts(&self.signed.extensions.subject_alt_name_der)
    }

    /// The extensions of the Fulcio arc.
    #[must_use]
    pub fn extensions(&self) -> &FulcioExtensions {
        &self.signed.extensions.fulcio
    }

    /// All extensions in their order.
    #[must_use]
    pub fn extension_oids(&self) -> &[(ObjectIdentifier, Critical)] {
        &self.signed.extensions.all
    }

    /// basicConstraints (RFC 5280 §4.2.1.9).
    #[must_use]
    pub fn basic_constraints(&self) -> Option<&BasicConstraints> {
        self.signed.extensions.basic_constraints.as_ref()
    }

    /// keyUsage (RFC 5280 §4.2.1.3).
    #[must_use]
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.signed.extensions.key_usage
    }

    /// extendedKeyUsage (RFC 5280 §4.2.1.12).
    #[must_use]
    pub fn extended_key_usage(&self) -> Option<&[ObjectIdentifier]> {
        self.signed.extensions.extended_key_usage.as_deref()
    }

    /// Whether the extended key usage lists code signing.
    #[must_use]
    pub fn has_code_signing_eku(&self) -> bool {
        self.extended_key_usage().is_some_and(|usages| usages.contains(&rfc5280::ID_KP_CODE_SIGNING))
    }

    /// Whether the extended key usage is critical and time stamping alone, as RFC 3161 §2.3 demands.
    #[must_use]
    pub fn has_time_stamping_eku_only_critical(&self) -> bool {
        self.extended_key_usage() == Some(&[rfc5280::ID_KP_TIME_STAMPING])
            && self.extension_oids().contains(&(rfc5280::ID_CE_EXT_KEY_USAGE, Critical::Yes))
    }

    /// The subjectKeyIdentifier.
    #[must_use]
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        self.signed.extensions.subject_key_identifier.as_deref()
    }

    /// The keyIdentifier of the authorityKeyIdentifier.
    #[must_use]
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.signed.extensions.authority_key_identifier.as_deref()
    }

    /// Whether the certificate may be the issuer of others (RFC 5280 §4.2.1.3, §4.2.1.9): basicConstraints say so, and keyUsage,
    /// if there is one, does not say otherwise.
    #[must_use]
    pub fn may_issue(&self) -> bool {
        self.is_ca() && self.key_usage().is_none_or(|usage| usage.key_cert_sign())
    }

    /// Whether the extended key usage makes it a certificate that signs nothing but precertificates (RFC 6962 §3.1).
    #[must_use]
    pub fn has_precertificate_signing_eku(&self) -> bool {
        self.extended_key_usage().is_some_and(|usages| usages.contains(&rfc6962::CT_PRECERT_SIGNING_CERT))
    }

    /// Whether the poison of a precertificate (RFC 6962 §3.1) stands in it, and how it is marked. Its value was found to be NULL,
    /// and there is no second one.
    #[must_use]
    pub fn poison(&self) -> Option<Critical> {
        let poison = self.extension_oids().iter().find(|(oid, _)| *oid == rfc6962::CT_PRECERT_POISON);
        poison.map(|(_, critical)| *critical)
    }

    /// The TBSCertificate without its poison: what the log signs for a precertificate (RFC 6962 §3.2).
    ///
    /// # Errors
    /// [`CertificateError::NoExtension`] if there is no poison.
    pub fn tbs_without_poison(&self) -> Result<Vec<u8>, CertificateError> {
        tbs_without_extension(&self.signed.tbs, rfc6962::CT_PRECERT_POISON)
    }

    /// The embedded SignedCertificateTimestampList in TLS encoding (RFC 6962 §3.3); see [`crate::sct`].
    #[must_use]
    pub fn sct_list(&self) -> Option<&[u8]> {
        self.signed.extensions.sct_list.as_deref()
    }

    /// The TBSCertificate without its SCT list: what the log signed (RFC 6962 §3.2).
    ///
    /// # Errors
    /// [`CertificateError::NoExtension`] if there is no SCT list.
    pub fn precertificate_tbs(&self) -> Result<Vec<u8>, CertificateError> {
        tbs_without_extension(&self.signed.tbs, rfc6962::CT_PRECERT_SCTS)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate(serial {}, from {})", hex::encode(self.serial()), self.not_before())
    }
}

/// Cuts one extension out of a DER TBSCertificate: only the lengths around it change. With the SCT list or
/// the poison it gives what RFC 6962 §3.2 signs.
///
/// # Errors
/// [`CertificateError::NoExtension`] if it is not there, [`CertificateError::Malformed`].
pub fn tbs_without_extension(tbs: &[u8], oid: ObjectIdentifier) -> Result<Vec<u8>, CertificateError> {
    let malformed = |_| CertificateError::Malformed("TBSCertificate");
    let fields = Vec::<AnyRef<'_>>::from_der(tbs).map_err(malformed)?;
    let (extensions, before) = fields.split_last().ok_or(CertificateError::NoExtension { oid })?;
    if extensions.tag() != constructed(3) {
        return Err(CertificateError::NoExtension { oid });
    }
    let all = Vec::<AnyRef<'_>>::from_der(extensions.value()).map_err(malformed)?;
    let mut kept = Vec::with_capacity(tbs.len());
    let mut removed = false;
    for extension in all {
        let parsed: RawExtension<'_> = extension.decode_as().map_err(malformed)?;
        if parsed.oid == oid {
            removed = true;
        } else {
            extension.encode_to_vec(&mut kept).map_err(malformed)?;
        }
    }
    if !removed {
        return Err(CertificateError::NoExtension { oid });
    }
    let mut contents = Vec::with_capacity(tbs.len());
    for field in before {
        field.encode_to_vec(&mut contents).map_err(malformed)?;
    }
    if !kept.is_empty() {
        let list = tlv(Tag::Sequence, &kept).map_err(malformed)?;
        contents.extend(tlv(constructed(3), &list).map_err(malformed)?);
    }
    tlv(Tag::Sequence, &contents).map_err(malformed)
}

/// The key identifier of RFC 5280 §4.2.1.2 (1): SHA-1 of the subjectPublicKey bit string.
#[must_use]
pub fn key_identifier(key: &PublicKey) -> [u8; 20] {
    sha1_for_identifiers(key.raw())
}

fn certificate_der(tbs: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]) -> der::Result<Vec<u8>> {
    let identifier = algorithm.identifier().to_der()?;
    RawCertificate {
        tbs: AnyRef::from_der(tbs)?,
        algorithm: AlgorithmIdentifierRef::from_der(&identifier)?,
        signature: BitStringRef::from_bytes(signature)?,
    }
    .to_der()
}

fn owned_identifier(identifier: &AlgorithmIdentifierRef<'_>) -> Option<spki::AlgorithmIdentifierOwned> {
    spki::AlgorithmIdentifierOwned::from_der(&identifier.to_der().ok()?).ok()
}

fn encoded(any: AnyRef<'_>) -> Result<Vec<u8>, CertificateError> {
    any.to_der().map_err(|_| CertificateError::Malformed("length"))
}

fn timestamp(time: x509_cert::time::Time) -> Result<Timestamp, CertificateError> {
    i64::try_from(time.to_unix_duration().as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or(CertificateError::Malformed("validity"))
}

#[cfg(test)]
mod tests;
