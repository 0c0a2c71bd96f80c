//! The extensions of a certificate (RFC 5280 §4.2): all of them listed, those that matter here decoded.

use super::{CertificateError, Critical, MAX_EXTENSIONS};
use crate::asn1::primitive;
use crate::extension::{ExtensionError, FulcioExtensions, FulcioOid, SubjectAltName};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc6962};
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Sequence, Tagged};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

/// DER of NULL, the only value of the poison extension (RFC 6962 §3.1).
const NULL: [u8; 2] = [5, 0];

/// The extensions that matter here, and the list of all of them in their order.
pub(super) struct ExtensionsFound {
    pub(super) all: Vec<(ObjectIdentifier, Critical)>,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) basic_constraints: Option<BasicConstraints>,
    pub(super) extended_key_usage: Option<Vec<ObjectIdentifier>>,
    pub(super) subject_key_identifier: Option<Vec<u8>>,
    pub(super) authority_key_identifier: Option<Vec<u8>>,
    pub(super) subject_alt_name: Result<SubjectAltName, ExtensionError>,
    pub(super) subject_alt_name_der: Vec<u8>,
    pub(super) fulcio: FulcioExtensions,
    pub(super) sct_list: Option<Vec<u8>>,
}

#[derive(Sequence)]
pub(super) struct RawExtension<'a> {
    pub(super) oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    pub(super) critical: bool,
    pub(super) value: &'a OctetStringRef,
}

impl ExtensionsFound {
    pub(super) fn read(extensions: Option<AnyRef<'_>>) -> Result<Self, CertificateError> {
        use CertificateError::Malformed;
        let mut found = Self {
            all: Vec::new(),
            key_usage: None,
            basic_constraints: None,
            extended_key_usage: None,
            subject_key_identifier: None,
            authority_key_identifier: None,
            subject_alt_name: Err(ExtensionError::NoName),
            subject_alt_name_der: Vec::new(),
            fulcio: FulcioExtensions::default(),
            sct_list: None,
        };
        let Some(extensions) = extensions else { return Ok(found) };
        let list = Vec::<RawExtension<'_>>::from_der(extensions.value()).map_err(|_| Malformed("extensions"))?;
        if list.len() > MAX_EXTENSIONS {
            return Err(CertificateError::TooLarge);
        }
        for RawExtension { oid, critical, value } in list {
            if found.all.iter().any(|(known, _)| *known == oid) {
                return Err(CertificateError::DuplicateExtension { oid });
            }
            found.all.push((oid, if critical { Critical::Yes } else { Critical::No }));
            found.read_one(oid, value.as_bytes())?;
        }
        Ok(found)
    }

    fn read_one(&mut self, oid: ObjectIdentifier, value: &[u8]) -> Result<(), CertificateError> {
        use CertificateError::Malformed;
        match oid {
            rfc5280::ID_CE_KEY_USAGE => {
                self.key_usage = Some(KeyUsage::from_der(value).map_err(|_| Malformed("key usage"))?);
            }
            rfc5280::ID_CE_BASIC_CONSTRAINTS => {
                let constraints = BasicConstraints::from_der(value).map_err(|_| Malformed("basic constraints"))?;
                self.basic_constraints = Some(constraints);
            }
            rfc5280::ID_CE_EXT_KEY_USAGE => {
                let usages = Vec::from_der(value).map_err(|_| Malformed("extended key usage"))?;
                self.extended_key_usage = Some(usages);
            }
            rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER => {
                self.subject_key_identifier = Some(octets(value).ok_or(Malformed("subject key identifier"))?);
            }
            rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER => {
                let parts = Vec::<AnyRef<'_>>::from_der(value).map_err(|_| Malformed("authority key identifier"))?;
                self.authority_key_identifier =
                    parts.iter().find(|part| part.tag() == primitive(0)).map(|part| part.value().to_vec());
            }
            rfc5280::ID_CE_SUBJECT_ALT_NAME => {
                self.subject_alt_name = SubjectAltName::from_extn_value(value);
                self.subject_alt_name_der = value.to_vec();
            }
            rfc6962::CT_PRECERT_SCTS => {
                self.sct_list = Some(octets(value).ok_or(Malformed("SCT list"))?);
            }
            rfc6962::CT_PRECERT_POISON if value != NULL => return Err(Malformed("poison")),
            other => {
                if let Some(fulcio) = FulcioOid::from_object_identifier(other) {
                    self.fulcio.decode(fulcio, value)?;
                }
            }
        }
        Ok(())
    }
}

/// The contents of a DER OCTET STRING.
fn octets(value: &[u8]) -> Option<Vec<u8>> {
    <&OctetStringRef>::from_der(value).ok().map(|octets| octets.as_bytes().to_vec())
}
