//! Making signed data: the attributes to be signed, then the message with their signature in it.

use super::{CmsError, SIGNING_CERTIFICATE_V2, hash_oid};
use crate::asn1::{constructed, tlv};
use crate::crypto::{HashAlgorithm, SignatureAlgorithm, sha256};
use crate::x509::Certificate;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911;
use der::asn1::UintRef;
use der::{Encode, Tag};

/// Signed data to be made: the content that stands in it, and what its signer says about it.
#[derive(Clone, Debug)]
pub struct ToBeSigned {
    content_type: ObjectIdentifier,
    content: Vec<u8>,
    algorithm: SignatureAlgorithm,
    hash: HashAlgorithm,
    signer: Certificate,
    attributes: Vec<u8>,
}

/// Which certificates go into signed data.
#[derive(Clone, Copy, Debug)]
pub enum CertificateBag<'a> {
    /// An empty bag, which is written: Sigstore's timestamp authority does so, and clients expect its layout.
    Empty,
    /// These certificates.
    Of(&'a [Certificate]),
}

impl ToBeSigned {
    /// The attributes contentType, signingTime, messageDigest and signingCertificateV2 over `content`, for the
    /// key of `signer` with `algorithm`. `signing_time` is the DER Time.
    ///
    /// # Errors
    /// [`CmsError::Malformed`] if a part cannot be encoded.
    pub fn new(
        content_type: ObjectIdentifier,
        content: Vec<u8>,
        signing_time: &[u8],
        signer: &Certificate,
        algorithm: SignatureAlgorithm,
    ) -> Result<Self, CmsError> {
        // Ed25519 goes with SHA-512 (RFC 8419 §3.1).
        let hash = algorithm.hash().unwrap_or(HashAlgorithm::Sha512);
        let encode = || -> der::Result<Vec<u8>> {
            let digest = tlv(Tag::OctetString, hash.digest(&content).as_bytes())?;
            let mut list = [
                attribute(rfc5911::ID_CONTENT_TYPE, &content_type.to_der()?)?,
                attribute(rfc5911::ID_SIGNING_TIME, signing_time)?,
                attribute(rfc5911::ID_MESSAGE_DIGEST, &digest)?,
                attribute(SIGNING_CERTIFICATE_V2, &signing_certificate_v2(signer)?)?,
            ];
            // DER of SET OF: ascending by encoding (X.690 §11.6). The lengths differ, so no encoding is another's prefix.
            list.sort_unstable();
            Ok(list.concat())
        };
        let attributes = encode().map_err(|_| CmsError::Malformed("attributes"))?;
        Ok(Self { content_type, content, algorithm, hash, signer: signer.clone(), attributes })
    }

    /// The bytes to be signed.
    ///
    /// # Errors
    /// [`CmsError::TooLarge`].
    pub fn message(&self) -> Result<Vec<u8>, CmsError> {
        tlv(Tag::Set, &self.attributes).map_err(|_| CmsError::TooLarge)
    }

    /// The DER ContentInfo with the signature over [`ToBeSigned::message`].
    ///
    /// # Errors
    /// [`CmsError::Malformed`] if a part cannot be encoded.
    pub fn finish(&self, signature: &[u8], bag: CertificateBag<'_>) -> Result<Vec<u8>, CmsError> {
        self.encode(signature, bag).map_err(|_| CmsError::Malformed("SignedData"))
    }

    fn encode(&self, signature: &[u8], bag: CertificateBag<'_>) -> der::Result<Vec<u8>> {
        let sequence = |parts: &[&[u8]]| tlv(Tag::Sequence, &parts.concat());
        let digest_algorithm = sequence(&[&hash_oid(self.hash).to_der()?])?;
        let serial = UintRef::new(self.signer.serial())?.to_der()?;
        let signer_info = sequence(&[
            &1u8.to_der()?,
            &sequence(&[self.signer.issuer_der(), &serial])?,
            &digest_algorithm,
            &tlv(constructed(0), &self.attributes)?,
            &self.algorithm.identifier().to_der()?,
            &tlv(Tag::OctetString, signature)?,
        ])?;
        let content = tlv(constructed(0), &tlv(Tag::OctetString, &self.content)?)?;
        let certificates = match bag {
            CertificateBag::Empty => Vec::new(),
            CertificateBag::Of(certificates) => {
                let mut list: Vec<&[u8]> = certificates.iter().map(Certificate::der).collect();
                list.sort_unstable();
                list.concat()
            }
        };
        let signed_data = sequence(&[
            &3u8.to_der()?,
            &tlv(Tag::Set, &digest_algorithm)?,
            &sequence(&[&self.content_type.to_der()?, &content])?,
            &tlv(constructed(0), &certificates)?,
            &tlv(Tag::Set, &signer_info)?,
        ])?;
        sequence(&[&rfc5911::ID_SIGNED_DATA.to_der()?, &tlv(constructed(0), &signed_data)?])
    }
}

fn attribute(oid: ObjectIdentifier, value: &[u8]) -> der::Result<Vec<u8>> {
    tlv(Tag::Sequence, &[oid.to_der()?, tlv(Tag::Set, value)?].concat())
}

/// SigningCertificateV2 with one ESSCertIDv2: the hash algorithm left out because SHA-256 is the default.
fn signing_certificate_v2(certificate: &Certificate) -> der::Result<Vec<u8>> {
    let serial = UintRef::new(certificate.serial())?.to_der()?;
    let names = tlv(Tag::Sequence, &tlv(constructed(4), certificate.issuer_der())?)?;
    let issuer_serial = tlv(Tag::Sequence, &[names, serial].concat())?;
    let hash = tlv(Tag::OctetString, &sha256(certificate.der()))?;
    let cert_id = tlv(Tag::Sequence, &[hash, issuer_serial].concat())?;
    tlv(Tag::Sequence, &tlv(Tag::Sequence, &cert_id)?)
}
