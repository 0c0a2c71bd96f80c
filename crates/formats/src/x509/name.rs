//! Distinguished names of authorities: organization and common name (RFC 5280 §4.1.2.4).

use crate::asn1::{Elements, tlv};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::{COMMON_NAME, ORGANIZATION_NAME};
use der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use der::{Encode, Tag, Tagged};

/// Longest organization or common name that is written, in characters (RFC 5280 §A.1, `ub-common-name`).
pub const MAX_NAME_LEN: usize = 64;

/// The two attributes that the names of Sigstore's authorities have. In a name that was read one is empty if it
/// is not there, or not a UTF8String, PrintableString or IA5String.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinguishedName {
    /// organizationName.
    pub organization: String,
    /// commonName.
    pub common_name: String,
}

impl DistinguishedName {
    /// The DER Name with organization before common name, both UTF8String. None if one is empty (sigstore-python
    /// does not take that) or longer than [`MAX_NAME_LEN`].
    #[must_use]
    pub fn to_der(&self) -> Option<Vec<u8>> {
        let attribute = |oid: ObjectIdentifier, text: &str| -> der::Result<Vec<u8>> {
            let pair = [oid.to_der()?, Utf8StringRef::new(text)?.to_der()?].concat();
            tlv(Tag::Set, &tlv(Tag::Sequence, &pair)?)
        };
        let fits = |text: &str| (1..=MAX_NAME_LEN).contains(&text.chars().count());
        if !fits(&self.organization) || !fits(&self.common_name) {
            return None;
        }
        let organization = attribute(ORGANIZATION_NAME, &self.organization).ok()?;
        let common_name = attribute(COMMON_NAME, &self.common_name).ok()?;
        tlv(Tag::Sequence, &[organization, common_name].concat()).ok()
    }

    /// Reads the first of each of the two attributes in a DER Name.
    #[must_use]
    pub fn from_der(name: &[u8]) -> Self {
        let mut found = Self::default();
        let mut read = || {
            let mut names = Elements::of_sequence(name)?;
            while !names.is_empty() {
                let mut pairs = Elements::inside(names.next()?, Tag::Set)?;
                while !pairs.is_empty() {
                    let mut pair = Elements::inside(pairs.next()?, Tag::Sequence)?;
                    let slot = match pair.next()?.decode_as().ok()? {
                        ORGANIZATION_NAME => &mut found.organization,
                        COMMON_NAME => &mut found.common_name,
                        _ => continue,
                    };
                    if slot.is_empty() {
                        *slot = text(pair.next()?).unwrap_or_default();
                    }
                }
            }
            Some(())
        };
        read();
        found
    }
}

fn text(value: der::asn1::AnyRef<'_>) -> Option<String> {
    let text = match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok()?.as_str(),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str(),
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().ok()?.as_str(),
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::DistinguishedName;
    use crate::x509::Certificate;

    fn name(organization: &str, common_name: &str) -> DistinguishedName {
        DistinguishedName { organization: organization.into(), common_name: common_name.into() }
    }

    #[test]
    fn names_round_trip_and_stay_short() {
        let der = name("corp.example", "Waxseal, ö").to_der().expect("DER");
        assert_eq!(DistinguishedName::from_der(&der), name("corp.example", "Waxseal, ö"));
        assert_eq!(name("", "x").to_der(), None);
        assert_eq!(name("x", "").to_der(), None);
        assert_eq!(name("x", &"y".repeat(65)).to_der(), None);
        assert_eq!(DistinguishedName::from_der(b"\x30\x00"), DistinguishedName::default());
        assert_eq!(DistinguishedName::from_der(b"nonsense"), DistinguishedName::default());
    }

    #[test]
    fn recorded_authorities_have_the_names_that_the_trusted_root_says() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let chain =
            Certificate::chain_from_pem(&vectors.text("private-instance/keys/fulcio-chain.pem")).expect("chain");
        assert_eq!(chain[0].subject(), name("corp.example", "corp.example fulcio"));
        assert_eq!(name("corp.example", "corp.example fulcio").to_der().as_deref(), Some(chain[0].subject_der()));
    }
}
