//! Signed data of the Cryptographic Message Syntax (RFC 5652), as timestamp tokens and signed commits use it.
//!
//! The reader is strict: DER, exactly one SignerInfo, signed attributes present, no second meaning anywhere.
//! What is signed is the attributes' own bytes with their tag replaced (§5.4); they are not sorted anew.

use crate::asn1::{Elements, constructed, contents, primitive, tlv, unsigned};
use crate::code::Code;
use crate::crypto::digest::sha1_for_identifiers;
use crate::crypto::{Digest, HashAlgorithm, KeyKind, SignatureAlgorithm};
use crate::x509::{Certificate, MAX_SERIAL_LEN};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5911, rfc5912};
use der::asn1::AnyRef;
use der::{Decode, Encode, Tag, Tagged};

mod sign;

pub use sign::{CertificateBag, ToBeSigned};

/// Largest signed data that is parsed, in bytes.
pub const MAX_LEN: usize = 64 * 1024;
/// Largest number of certificates in the bag.
pub const MAX_CERTIFICATES: usize = 16;
/// Largest number of signed or unsigned attributes.
pub const MAX_ATTRIBUTES: usize = 32;

/// signingCertificateV2 (RFC 5035 §3).
pub const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
/// signingCertificate (RFC 2634 §5.4), with SHA-1.
pub const SIGNING_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");

const HASHES: [(HashAlgorithm, ObjectIdentifier); 3] = [
    (HashAlgorithm::Sha256, rfc5912::ID_SHA_256),
    (HashAlgorithm::Sha384, rfc5912::ID_SHA_384),
    (HashAlgorithm::Sha512, rfc5912::ID_SHA_512),
];

/// Why signed data is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmsError {
    /// More bytes, certificates or attributes than allowed.
    #[error("the signed data is larger than allowed")]
    TooLarge,
    /// Not DER of the structure named.
    #[error("the signed data is malformed: {0}")]
    Malformed(&'static str),
    /// Not exactly one SignerInfo: there is no saying which of several is meant.
    #[error("the signed data has {0} signers instead of one")]
    SignerCount(usize),
    /// A digest or signature algorithm that is not supported, or two that do not go together.
    #[error("the signed data uses algorithm {0} in a way that is not supported")]
    Algorithm(ObjectIdentifier),
    /// A signed attribute that has to be there is not, or it is there twice or with several values.
    #[error("the signed data does not have exactly one attribute {0}")]
    Attribute(ObjectIdentifier),
    /// The contentType attribute names another type than the content's.
    #[error("the signed content type is not the content's")]
    ContentType,
    /// The messageDigest attribute is not the content's digest.
    #[error("the signed digest is not the content's")]
    MessageDigest,
    /// The certificate is not the one that the signer identifier names.
    #[error("the signed data was signed with another certificate")]
    OtherSigner,
    /// The signing certificate attribute names another certificate.
    #[error("the signed data names another signing certificate")]
    SigningCertificate,
    /// The signature does not verify, or the certificate's key cannot make such signatures.
    #[error("the signature over the signed data does not verify")]
    Signature,
}

impl CmsError {
    /// `signature.invalid` or `input.too-large`. Timestamp tokens have codes of their own.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge => Code::INPUT_TOO_LARGE,
            _ => Code::SIGNATURE_INVALID,
        }
    }
}

/// Which certificate a signer says it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerIdentifier {
    /// issuerAndSerialNumber.
    IssuerAndSerialNumber {
        /// The DER Name of the issuer.
        issuer: Vec<u8>,
        /// The serial number without leading zeros.
        serial: Vec<u8>,
    },
    /// subjectKeyIdentifier.
    SubjectKeyIdentifier(Vec<u8>),
}

impl SignerIdentifier {
    /// Whether this names `certificate`.
    #[must_use]
    pub fn matches(&self, certificate: &Certificate) -> bool {
        match self {
            Self::IssuerAndSerialNumber { issuer, serial } => {
                certificate.issuer_der() == issuer && certificate.serial() == serial
            }
            Self::SubjectKeyIdentifier(identifier) => {
                certificate.subject_key_identifier() == Some(identifier.as_slice())
            }
        }
    }
}

/// One attribute, its values undecoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The type.
    pub oid: ObjectIdentifier,
    /// The DER of each value.
    pub values: Vec<Vec<u8>>,
}

/// Signed data with one signer, parsed but not yet verified.
#[derive(Clone, Debug)]
pub struct SignedData {
    content_type: ObjectIdentifier,
    content: Option<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
    signer: SignerIdentifier,
    digest_algorithm: HashAlgorithm,
    /// Contents of the SET OF signed attributes, in the order in which they came.
    signed_attributes_der: Vec<u8>,
    signed_attributes: Vec<Attribute>,
    signature_algorithm: AlgorithmName,
    signature: Vec<u8>,
    unsigned_attributes: Vec<Attribute>,
}

/// How a SignerInfo names its signature algorithm.
#[derive(Clone, Copy, Debug)]
enum AlgorithmName {
    Full(SignatureAlgorithm),
    /// `rsaEncryption`: the hash is the one of digestAlgorithm (RFC 3370 §3.2).
    Rsa,
}

impl SignedData {
    /// Parses a DER ContentInfo with SignedData of at most [`MAX_LEN`] bytes.
    ///
    /// # Errors
    /// [`CmsError`] but none of those that need the content or a certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, CmsError> {
        use CmsError::Malformed;
        if der.len() > MAX_LEN {
            return Err(CmsError::TooLarge);
        }
        let raw = RawSignedData::read(der).ok_or(Malformed("not SignedData"))?;
        let certificates = raw.certificates.map_or(Some(Vec::new()), elements).ok_or(Malformed("certificates"))?;
        if certificates.len() > MAX_CERTIFICATES {
            return Err(CmsError::TooLarge);
        }
        let signers = elements(raw.signer_infos).ok_or(Malformed("signerInfos"))?;
        let [signer] = signers.as_slice() else { return Err(CmsError::SignerCount(signers.len())) };
        let signer = RawSignerInfo::read(signer).ok_or(Malformed("SignerInfo"))?;

        let digest_oid = algorithm_oid(signer.digest_algorithm).ok_or(Malformed("digestAlgorithm"))?;
        let digest_algorithm = hash_algorithm(digest_oid).ok_or(CmsError::Algorithm(digest_oid))?;
        let signature_oid = algorithm_oid(signer.signature_algorithm).ok_or(Malformed("signatureAlgorithm"))?;
        let signature_algorithm = match (SignatureAlgorithm::from_oid(&signature_oid), signature_oid) {
            (Some(algorithm), _) => AlgorithmName::Full(algorithm),
            (None, rfc5912::RSA_ENCRYPTION) => AlgorithmName::Rsa,
            (None, other) => return Err(CmsError::Algorithm(other)),
        };
        if let AlgorithmName::Full(algorithm) = signature_algorithm
            && algorithm.hash().unwrap_or(HashAlgorithm::Sha512) != digest_algorithm
        {
            // Two hashes would let one reader check what another does not. Ed25519 goes with SHA-512 (RFC 8419 §3.1).
            return Err(CmsError::Algorithm(signature_oid));
        }
        let signed_attributes = attributes(signer.signed_attributes)?;
        for (at, attribute) in signed_attributes.iter().enumerate() {
            if signed_attributes.iter().skip(at).skip(1).any(|other| other.oid == attribute.oid) {
                return Err(CmsError::Attribute(attribute.oid));
            }
        }
        let parsed = Self {
            content_type: raw.content_type,
            content: raw.content.map(<[u8]>::to_vec),
            certificates,
            signer: signer_identifier(signer.identifier).ok_or(Malformed("SignerIdentifier"))?,
            digest_algorithm,
            signed_attributes_der: signer.signed_attributes.to_vec(),
            signed_attributes,
            signature_algorithm,
            signature: signer.signature.to_vec(),
            unsigned_attributes: signer.unsigned_attributes.map_or(Ok(Vec::new()), attributes)?,
        };
        if parsed.attribute(rfc5911::ID_CONTENT_TYPE)? != parsed.content_type.to_der().unwrap_or_default() {
            return Err(CmsError::ContentType);
        }
        Ok(parsed)
    }

    /// The type of the content.
    #[must_use]
    pub const fn content_type(&self) -> ObjectIdentifier {
        self.content_type
    }

    /// The content, unless it is kept elsewhere.
    #[must_use]
    pub fn content(&self) -> Option<&[u8]> {
        self.content.as_deref()
    }

    /// The certificates that came along, undecoded: what they are worth is for the chain to say.
    #[must_use]
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// Which certificate the signer names.
    #[must_use]
    pub const fn signer(&self) -> &SignerIdentifier {
        &self.signer
    }

    /// The hash of messageDigest and signature.
    #[must_use]
    pub const fn digest_algorithm(&self) -> HashAlgorithm {
        self.digest_algorithm
    }

    /// The bytes that are signed: the attributes as SET OF.
    ///
    /// # Errors
    /// [`CmsError::TooLarge`].
    pub fn signed_attributes_der(&self) -> Result<Vec<u8>, CmsError> {
        tlv(Tag::Set, &self.signed_attributes_der).map_err(|_| CmsError::TooLarge)
    }

    /// The attributes that nobody signed.
    #[must_use]
    pub fn unsigned_attributes(&self) -> &[Attribute] {
        &self.unsigned_attributes
    }

    /// The DER of the one value of a signed attribute.
    ///
    /// # Errors
    /// [`CmsError::Attribute`] if it is absent or has several values.
    pub fn attribute(&self, oid: ObjectIdentifier) -> Result<&[u8], CmsError> {
        let attribute = self.signed_attributes.iter().find(|attribute| attribute.oid == oid);
        match attribute.map(|attribute| attribute.values.as_slice()) {
            Some([value]) => Ok(value),
            _ => Err(CmsError::Attribute(oid)),
        }
    }

    /// Whether the messageDigest attribute is the digest of `content`.
    ///
    /// # Errors
    /// [`CmsError::MessageDigest`], [`CmsError::Attribute`].
    pub fn check_content(&self, content: &[u8]) -> Result<(), CmsError> {
        let value = self.attribute(rfc5911::ID_MESSAGE_DIGEST)?;
        let signed = AnyRef::from_der(value).ok().and_then(|any| contents(any, Tag::OctetString));
        if signed == Some(self.digest_algorithm.digest(content).as_bytes()) {
            Ok(())
        } else {
            Err(CmsError::MessageDigest)
        }
    }

    /// Whether the signing certificate attribute (version 2, version 1, or both) names `certificate`: its hash,
    /// and issuer and serial number where they are given.
    ///
    /// # Errors
    /// [`CmsError::SigningCertificate`]; [`CmsError::Attribute`] if there is no such attribute.
    pub fn check_signing_certificate(&self, certificate: &Certificate) -> Result<(), CmsError> {
        let present = |oid| self.signed_attributes.iter().any(|attribute| attribute.oid == oid);
        let versions = [SIGNING_CERTIFICATE_V2, SIGNING_CERTIFICATE].map(|oid| (oid, present(oid)));
        if versions.iter().all(|(_, present)| !present) {
            return Err(CmsError::Attribute(SIGNING_CERTIFICATE_V2));
        }
        for (oid, _) in versions.into_iter().filter(|(_, present)| *present) {
            let named = CertificateName::read(self.attribute(oid)?, oid).ok_or(CmsError::Malformed("ESSCertID"))?;
            if !named.is(certificate) {
                return Err(CmsError::SigningCertificate);
            }
        }
        Ok(())
    }

    /// Verifies the signature over the attributes with the key of `certificate`, which the signer has to name.
    /// The caller also has to check content, chain and purpose.
    ///
    /// # Errors
    /// [`CmsError::OtherSigner`], [`CmsError::Signature`].
    pub fn verify(&self, certificate: &Certificate) -> Result<(), CmsError> {
        if !self.signer.matches(certificate) {
            return Err(CmsError::OtherSigner);
        }
        let key = certificate.public_key().map_err(|_| CmsError::Signature)?;
        let algorithm = match self.signature_algorithm {
            AlgorithmName::Full(algorithm) => algorithm,
            AlgorithmName::Rsa if matches!(key.kind(), KeyKind::Rsa { .. }) => {
                SignatureAlgorithm::of_key(key.kind(), self.digest_algorithm)
            }
            AlgorithmName::Rsa => return Err(CmsError::Signature),
        };
        key.verify(algorithm, &self.signed_attributes_der()?, &self.signature).map_err(|_| CmsError::Signature)
    }
}

/// What a signing certificate attribute says first: RFC 5035 §3 gives meaning to the first certificate alone.
struct CertificateName<'a> {
    hash: CertificateHash<'a>,
    issuer_and_serial: Option<(&'a [u8], Vec<u8>)>,
}

enum CertificateHash<'a> {
    Sha1(&'a [u8]),
    Sha2(Digest),
}

impl<'a> CertificateName<'a> {
    fn read(value: &'a [u8], version: ObjectIdentifier) -> Option<Self> {
        let certificates = Elements::of_sequence(value)?.next_of(Tag::Sequence)?;
        let first = Elements::of(certificates.value())?.next_of(Tag::Sequence)?;
        let mut fields = Elements::of(first.value())?;
        let algorithm = if version == SIGNING_CERTIFICATE { None } else { fields.take_if(Tag::Sequence) };
        let hash = fields.next_of(Tag::OctetString)?.value();
        let hash = if version == SIGNING_CERTIFICATE {
            CertificateHash::Sha1(hash)
        } else {
            let algorithm = algorithm.map_or(Some(HashAlgorithm::Sha256), |any| hash_algorithm(algorithm_oid(any)?))?;
            CertificateHash::Sha2(Digest::new(algorithm, hash)?)
        };
        let issuer_and_serial = match fields.take_if(Tag::Sequence) {
            None => None,
            Some(issuer_serial) => {
                let mut parts = Elements::of(issuer_serial.value())?;
                let mut names = Elements::inside(parts.next()?, Tag::Sequence)?;
                let issuer = names.next_of(constructed(4))?.value();
                names.finish()?;
                let serial = unsigned(parts.next()?, MAX_SERIAL_LEN)?;
                parts.finish()?;
                Some((issuer, serial))
            }
        };
        fields.finish()?;
        Some(Self { hash, issuer_and_serial })
    }

    fn is(&self, certificate: &Certificate) -> bool {
        let same_hash = match &self.hash {
            CertificateHash::Sha1(hash) => sha1_for_identifiers(certificate.der()) == **hash,
            CertificateHash::Sha2(digest) => digest.algorithm().digest(certificate.der()) == *digest,
        };
        let same_name = self
            .issuer_and_serial
            .as_ref()
            .is_none_or(|(issuer, serial)| certificate.issuer_der() == *issuer && certificate.serial() == serial);
        same_hash && same_name
    }
}

struct RawSignedData<'a> {
    content_type: ObjectIdentifier,
    content: Option<&'a [u8]>,
    certificates: Option<AnyRef<'a>>,
    signer_infos: AnyRef<'a>,
}

impl<'a> RawSignedData<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut info = Elements::of_sequence(der)?;
        if info.next()?.decode_as::<ObjectIdentifier>().ok()? != rfc5911::ID_SIGNED_DATA {
            return None;
        }
        let mut explicit = Elements::inside(info.next()?, constructed(0))?;
        info.finish()?;
        let mut fields = Elements::inside(explicit.next()?, Tag::Sequence)?;
        explicit.finish()?;
        fields.next_of(Tag::Integer)?;
        fields.next_of(Tag::Set)?;
        let mut encapsulated = Elements::inside(fields.next()?, Tag::Sequence)?;
        let content_type = encapsulated.next()?.decode_as().ok()?;
        let content = match encapsulated.take_if(constructed(0)) {
            None => None,
            Some(explicit) => {
                let mut inner = Elements::of(explicit.value())?;
                let content = inner.next_of(Tag::OctetString)?;
                inner.finish()?;
                Some(content.value())
            }
        };
        encapsulated.finish()?;
        let certificates = fields.take_if(constructed(0));
        fields.take_if(constructed(1)); // revocation lists
        let signer_infos = fields.next_of(Tag::Set)?;
        fields.finish()?;
        Some(Self { content_type, content, certificates, signer_infos })
    }
}

struct RawSignerInfo<'a> {
    identifier: AnyRef<'a>,
    digest_algorithm: AnyRef<'a>,
    signed_attributes: &'a [u8],
    signature_algorithm: AnyRef<'a>,
    signature: &'a [u8],
    unsigned_attributes: Option<&'a [u8]>,
}

impl<'a> RawSignerInfo<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut fields = Elements::of_sequence(der)?;
        fields.next_of(Tag::Integer)?;
        let identifier = fields.next()?;
        let digest_algorithm = fields.next_of(Tag::Sequence)?;
        let signed_attributes = fields.next_of(constructed(0))?.value();
        let signature_algorithm = fields.next_of(Tag::Sequence)?;
        let signature = fields.next_of(Tag::OctetString)?.value();
        let unsigned_attributes = fields.take_if(constructed(1)).map(AnyRef::value);
        fields.finish()?;
        Some(Self {
            identifier,
            digest_algorithm,
            signed_attributes,
            signature_algorithm,
            signature,
            unsigned_attributes,
        })
    }
}

fn signer_identifier(any: AnyRef<'_>) -> Option<SignerIdentifier> {
    if any.tag() == primitive(0) {
        return Some(SignerIdentifier::SubjectKeyIdentifier(any.value().to_vec()));
    }
    let mut fields = Elements::inside(any, Tag::Sequence)?;
    let issuer = fields.next_of(Tag::Sequence)?.to_der().ok()?;
    let serial = unsigned(fields.next()?, MAX_SERIAL_LEN)?;
    fields.finish()?;
    Some(SignerIdentifier::IssuerAndSerialNumber { issuer, serial })
}

/// The DER of each element inside `any`.
fn elements(any: AnyRef<'_>) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut elements = Elements::of(any.value())?;
    while !elements.is_empty() {
        found.push(elements.next()?.to_der().ok()?);
    }
    Some(found)
}

fn attributes(contents: &[u8]) -> Result<Vec<Attribute>, CmsError> {
    let read = |any: AnyRef<'_>| {
        let mut fields = Elements::inside(any, Tag::Sequence)?;
        let oid = fields.next()?.decode_as().ok()?;
        let values = elements(fields.next_of(Tag::Set)?)?;
        fields.finish()?;
        Some(Attribute { oid, values })
    };
    let malformed = CmsError::Malformed("attributes");
    let mut list = Elements::of(contents).ok_or(malformed.clone())?;
    let mut found = Vec::new();
    while !list.is_empty() {
        if found.len() == MAX_ATTRIBUTES {
            return Err(CmsError::TooLarge);
        }
        found.push(list.next().and_then(read).ok_or(malformed.clone())?);
    }
    Ok(found)
}

/// The algorithm of an AlgorithmIdentifier whose parameters are absent or NULL.
pub(crate) fn algorithm_oid(identifier: AnyRef<'_>) -> Option<ObjectIdentifier> {
    let mut fields = Elements::inside(identifier, Tag::Sequence)?;
    let oid = fields.next()?.decode_as().ok()?;
    fields.take_if(Tag::Null);
    fields.finish()?;
    Some(oid)
}

/// The hash function of an object identifier.
pub(crate) fn hash_algorithm(oid: ObjectIdentifier) -> Option<HashAlgorithm> {
    HASHES.iter().find(|(_, known)| *known == oid).map(|(algorithm, _)| *algorithm)
}

/// The object identifier of a hash function.
pub(crate) fn hash_oid(algorithm: HashAlgorithm) -> ObjectIdentifier {
    HASHES.iter().find(|(known, _)| *known == algorithm).map_or(rfc5912::ID_SHA_256, |(_, oid)| *oid)
}

#[cfg(test)]
mod tests;
