//! What a Fulcio certificate says about its owner: subject alternative name and the extensions of arc
//! 1.3.6.1.4.1.57264.1 (Fulcio's `oid-info`).
//!
//! Extensions .1 to .6 hold bare text; those from .8 on hold a DER UTF8String:
//! ```text
//! .1  https://idp.example       68747470733a2f2f6964702e6578616d706c65
//! .8  https://idp.example   0c1368747470733a2f2f6964702e6578616d706c65
//! ```

use crate::code::Code;
use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, ContextSpecific, Ia5StringRef, Utf8StringRef};
use der::{Decode, Encode, Reader, Tag, TagMode, TagNumber, Tagged};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Arc of the extensions: `1.3.6.1.4.1.57264.1`.
pub const ARC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1");
/// Type of the otherName that holds a user name: arc member 7, never an extension of its own.
pub const USERNAME_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");

/// An extension of the arc, by its last number. Ordered as they stand in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FulcioOid {
    /// .1, the token issuer as bare text; deprecated by .8 and still written beside it.
    Issuer = 1,
    /// .2, GitHub's `event_name`; deprecated.
    GithubWorkflowTrigger = 2,
    /// .3, GitHub's `sha`; deprecated.
    GithubWorkflowSha = 3,
    /// .4, GitHub's `workflow`; deprecated.
    GithubWorkflowName = 4,
    /// .5, GitHub's `repository`; deprecated.
    GithubWorkflowRepository = 5,
    /// .6, GitHub's `ref`; deprecated.
    GithubWorkflowRef = 6,
    /// .8, the token issuer.
    IssuerV2 = 8,
    /// .9, what made the signature: the URI of the build instructions.
    BuildSignerUri = 9,
    /// .10, the immutable version of .9.
    BuildSignerDigest = 10,
    /// .11, whose machine it ran on.
    RunnerEnvironment = 11,
    /// .12, the source repository.
    SourceRepositoryUri = 12,
    /// .13, the commit that was built.
    SourceRepositoryDigest = 13,
    /// .14, the ref that was built.
    SourceRepositoryRef = 14,
    /// .15, the immutable identifier of the repository.
    SourceRepositoryIdentifier = 15,
    /// .16, the repository's owner.
    SourceRepositoryOwnerUri = 16,
    /// .17, the immutable identifier of the owner.
    SourceRepositoryOwnerIdentifier = 17,
    /// .18, the top-level build instructions.
    BuildConfigUri = 18,
    /// .19, the immutable version of .18.
    BuildConfigDigest = 19,
    /// .20, what started the build.
    BuildTrigger = 20,
    /// .21, this very run.
    RunInvocationUri = 21,
    /// .22, whether the repository was public when it was signed.
    SourceRepositoryVisibilityAtSigning = 22,
    /// .23, the deployment environment.
    DeploymentEnvironment = 23,
    /// .24, the token's `sub`.
    TokenSubject = 24,
}

/// How an extension's value stands in its extnValue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The octets are the text.
    Raw,
    /// The octets are a DER UTF8String.
    Utf8,
}

struct Row {
    oid: FulcioOid,
    name: &'static str,
    template_key: Option<&'static str>,
    encoding: Encoding,
}

const fn raw(oid: FulcioOid, name: &'static str, template_key: &'static str) -> Row {
    Row { oid, name, template_key: Some(template_key), encoding: Encoding::Raw }
}

const fn utf8(oid: FulcioOid, name: &'static str, template_key: &'static str) -> Row {
    Row { oid, name, template_key: Some(template_key), encoding: Encoding::Utf8 }
}

/// The whole table, in the order in which Fulcio writes the extensions.
#[rustfmt::skip]
const TABLE: [Row; 23] = {
    use FulcioOid as O;
    [
        Row { oid: O::Issuer, name: "issuer", template_key: None, encoding: Encoding::Raw },
        raw(O::GithubWorkflowTrigger, "githubWorkflowTrigger", "github-workflow-trigger"),
        raw(O::GithubWorkflowSha, "githubWorkflowSHA", "github-workflow-sha"),
        raw(O::GithubWorkflowName, "githubWorkflowName", "github-workflow-name"),
        raw(O::GithubWorkflowRepository, "githubWorkflowRepository", "github-workflow-repository"),
        raw(O::GithubWorkflowRef, "githubWorkflowRef", "github-workflow-ref"),
        Row { oid: O::IssuerV2, name: "issuerV2", template_key: None, encoding: Encoding::Utf8 },
        utf8(O::BuildSignerUri, "buildSignerURI", "build-signer-uri"),
        utf8(O::BuildSignerDigest, "buildSignerDigest", "build-signer-digest"),
        utf8(O::RunnerEnvironment, "runnerEnvironment", "runner-environment"),
        utf8(O::SourceRepositoryUri, "sourceRepositoryURI", "source-repository-uri"),
        utf8(O::SourceRepositoryDigest, "sourceRepositoryDigest", "source-repository-digest"),
        utf8(O::SourceRepositoryRef, "sourceRepositoryRef", "source-repository-ref"),
        utf8(O::SourceRepositoryIdentifier, "sourceRepositoryIdentifier", "source-repository-identifier"),
        utf8(O::SourceRepositoryOwnerUri, "sourceRepositoryOwnerURI", "source-repository-owner-uri"),
        utf8(O::SourceRepositoryOwnerIdentifier, "sourceRepositoryOwnerIdentifier", "source-repository-owner-identifier"),
        utf8(O::BuildConfigUri, "buildConfigURI", "build-config-uri"),
        utf8(O::BuildConfigDigest, "buildConfigDigest", "build-config-digest"),
        utf8(O::BuildTrigger, "buildTrigger", "build-trigger"),
        utf8(O::RunInvocationUri, "runInvocationURI", "run-invocation-uri"),
        utf8(O::SourceRepositoryVisibilityAtSigning, "sourceRepositoryVisibilityAtSigning", "source-repository-visibility-at-signing"),
        utf8(O::DeploymentEnvironment, "deploymentEnvironment", "deployment-environment"),
        Row { oid: O::TokenSubject, name: "tokenSubject", template_key: None, encoding: Encoding::Utf8 },
    ]
};

impl FulcioOid {
    /// Every extension, in the order in which they stand in a certificate.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.oid)
    }

    /// The last number of the object identifier.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The extension with that last number; there is none for 7.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::all().find(|oid| u32::from(oid.number()) == number)
    }

    /// The object identifier `1.3.6.1.4.1.57264.1.n`.
    #[must_use]
    pub fn object_identifier(self) -> ObjectIdentifier {
        ARC.push_arc(self.number().into()).unwrap_or(ARC)
    }

    /// The extension of that object identifier.
    #[must_use]
    pub fn from_object_identifier(oid: ObjectIdentifier) -> Option<Self> {
        if oid.parent()? != ARC {
            return None;
        }
        Self::from_number(oid.arcs().last()?)
    }

    /// The name under which results and reports show it, such as `buildSignerURI`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    /// The extension of that [`FulcioOid::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.oid)
    }

    /// The key of its template in a CI provider's description, such as `build-signer-uri`. None for those
    /// that are taken from the token's `iss` and `sub`.
    #[must_use]
    pub fn template_key(self) -> Option<&'static str> {
        self.row().and_then(|row| row.template_key)
    }

    /// The extension of that [`FulcioOid::template_key`].
    #[must_use]
    pub fn from_template_key(key: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.template_key == Some(key)).map(|row| row.oid)
    }

    /// How the value is encoded.
    #[must_use]
    pub fn encoding(self) -> Encoding {
        self.row().map_or(Encoding::Utf8, |row| row.encoding)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.oid == self)
    }
}

/// Why an extension cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// The value is not in the encoding of that extension.
    #[error("extension 1.3.6.1.4.1.57264.1.{} is malformed", oid.number())]
    Value {
        /// The extension.
        oid: FulcioOid,
    },
    /// There is no subject alternative name.
    #[error("the certificate has no subject alternative name")]
    NoName,
    /// There are several names where exactly one is allowed.
    #[error("the certificate has {count} subject alternative names instead of one")]
    SeveralNames {
        /// How many there are.
        count: usize,
    },
    /// A name of a kind that no Fulcio writes, or text that its kind cannot hold.
    #[error("the subject alternative name is neither an e-mail address nor a URI nor a user name")]
    NameKind,
    /// Not a DER GeneralNames.
    #[error("the subject alternative name is malformed")]
    NameMalformed,
}

impl ExtensionError {
    /// Always `certificate.extension`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::CERTIFICATE_EXTENSION
    }
}

/// The values of the arc's extensions. An empty value is the same as none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FulcioExtensions(BTreeMap<FulcioOid, String>);

impl FulcioExtensions {
    /// The value of one extension.
    #[must_use]
    pub fn get(&self, oid: FulcioOid) -> Option<&str> {
        self.0.get(&oid).map(String::as_str)
    }

    /// Sets one extension; an empty value removes it.
    pub fn set(&mut self, oid: FulcioOid, value: impl Into<String>) {
        let value = value.into();
        if value.is_empty() {
            self.0.remove(&oid);
        } else {
            self.0.insert(oid, value);
        }
    }

    /// The extensions that are set, in the order in which they stand in a certificate.
    pub fn iter(&self) -> impl Iterator<Item = (FulcioOid, &str)> {
        self.0.iter().map(|(oid, value)| (*oid, value.as_str()))
    }

    /// The token issuer: .8, else .1.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.get(FulcioOid::IssuerV2).or_else(|| self.get(FulcioOid::Issuer))
    }

    /// Reads the contents of an extnValue.
    ///
    /// # Errors
    /// [`ExtensionError::Value`].
    pub fn decode(&mut self, oid: FulcioOid, extn_value: &[u8]) -> Result<(), ExtensionError> {
        let malformed = ExtensionError::Value { oid };
        let text = match oid.encoding() {
            Encoding::Raw => std::str::from_utf8(extn_value).map_err(|_| malformed)?,
            Encoding::Utf8 => Utf8StringRef::from_der(extn_value).map_err(|_| malformed)?.as_str(),
        };
        self.set(oid, text);
        Ok(())
    }

    /// The contents of an extnValue for one extension.
    ///
    /// # Errors
    /// [`ExtensionError::Value`] for a text that is too long for DER.
    pub fn encode_value(oid: FulcioOid, text: &str) -> Result<Vec<u8>, ExtensionError> {
        match oid.encoding() {
            Encoding::Raw => Ok(text.as_bytes().to_vec()),
            Encoding::Utf8 => {
                Utf8StringRef::new(text).and_then(|utf8| utf8.to_der()).map_err(|_| ExtensionError::Value { oid })
            }
        }
    }
}

impl fmt::Debug for FulcioExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(oid, value)| (oid.name(), value))).finish()
    }
}

/// A map from [`FulcioOid::name`] to the value.
impl Serialize for FulcioExtensions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (oid, value) in self.iter() {
            map.serialize_entry(oid.name(), value)?;
        }
        map.end()
    }
}

/// The one name of a Fulcio certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectAltName {
    /// rfc822Name.
    Email(String),
    /// uniformResourceIdentifier.
    Uri(String),
    /// otherName of type [`USERNAME_TYPE`]: `user!domain`.
    Username(String),
}

impl SubjectAltName {
    /// The name without its kind.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email(name) | Self::Uri(name) | Self::Username(name) => name,
        }
    }

    /// Reads the contents of a subjectAltName extension (RFC 5280 §4.2.1.6), which has to hold exactly one name.
    ///
    /// # Errors
    /// The variants of [`ExtensionError`] about names.
    pub fn from_extn_value(extn_value: &[u8]) -> Result<Self, ExtensionError> {
        let names = Vec::<AnyRef<'_>>::from_der(extn_value).map_err(|_| ExtensionError::NameMalformed)?;
        match names.as_slice() {
            [] => Err(ExtensionError::NoName),
            [name] => Self::from_general_name(*name),
            several => Err(ExtensionError::SeveralNames { count: several.len() }),
        }
    }

    /// The texts of all names of a subjectAltName extension: e-mail addresses, DNS names, URIs, IP addresses and user names.
    /// Empty if it is malformed.
    #[must_use]
    pub fn texts(extn_value: &[u8]) -> Vec<String> {
        const DNS: Tag = implicit(2);
        const IP: Tag = implicit(7);
        let names = Vec::<AnyRef<'_>>::from_der(extn_value).unwrap_or_default();
        let text = |name: &AnyRef<'_>| match name.tag() {
            DNS => Ia5StringRef::new(name.value()).ok().map(|text| text.as_str().to_owned()),
            IP => match (<[u8; 4]>::try_from(name.value()), <[u8; 16]>::try_from(name.value())) {
                (Ok(v4), _) => Some(core::net::Ipv4Addr::from(v4).to_string()),
                (_, Ok(v6)) => Some(core::net::Ipv6Addr::from(v6).to_string()),
                _ => None,
            },
            _ => Self::from_general_name(*name).ok().map(|name| name.as_str().to_owned()),
        };
        names.iter().filter_map(text).collect()
    }

    fn from_general_name(name: AnyRef<'_>) -> Result<Self, ExtensionError> {
        const EMAIL: Tag = implicit(1);
        const URI: Tag = implicit(6);
        let text = || Ia5StringRef::new(name.value()).map_err(|_| ExtensionError::NameMalformed);
        match name.tag() {
            EMAIL => Ok(Self::Email(text()?.as_str().to_owned())),
            URI => Ok(Self::Uri(text()?.as_str().to_owned())),
            OTHER_NAME => username(name.value()).map(Self::Username),
            _ => Err(ExtensionError::NameKind),
        }
    }

    /// The contents of a subjectAltName extension with this one name.
    ///
    /// # Errors
    /// [`ExtensionError::NameKind`] if an e-mail address or URI is not ASCII: IA5String cannot hold it.
    pub fn to_extn_value(&self) -> Result<Vec<u8>, ExtensionError> {
        let ia5 = |tag, text: &str| Ia5StringRef::new(text).and_then(|ia5| AnyRef::new(tag, ia5.as_bytes())?.to_der());
        let name = match self {
            Self::Email(text) => ia5(implicit(1), text),
            Self::Uri(text) => ia5(implicit(6), text),
            Self::Username(text) => Utf8StringRef::new(text).and_then(|value| {
                let mut other = USERNAME_TYPE.to_der()?;
                other
                    .extend(ContextSpecific { tag_number: TagNumber(0), tag_mode: TagMode::Explicit, value }.to_der()?);
                AnyRef::new(OTHER_NAME, &other)?.to_der()
            }),
        };
        name.and_then(|name| AnyRef::new(Tag::Sequence, &name)?.to_der()).map_err(|_| ExtensionError::NameKind)
    }
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const OTHER_NAME: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

const fn implicit(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: false, number: TagNumber(number) }
}

/// The contents of an otherName: type and explicitly tagged value.
fn username(contents: &[u8]) -> Result<String, ExtensionError> {
    let mut reader = der::SliceReader::new(contents).map_err(|_| ExtensionError::NameMalformed)?;
    let type_id = ObjectIdentifier::decode(&mut reader).map_err(|_| ExtensionError::NameMalformed)?;
    if type_id != USERNAME_TYPE {
        return Err(ExtensionError::NameKind);
    }
    let value = ContextSpecific::<Utf8StringRef<'_>>::decode_explicit(&mut reader, TagNumber(0))
        .ok()
        .flatten()
        .ok_or(ExtensionError::NameMalformed)?;
    reader.finish().map_err(|_| ExtensionError::NameMalformed)?;
    Ok(value.value.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{ExtensionError, FulcioExtensions, FulcioOid, SubjectAltName};
    use crate::code::Code;

    #[test]
    fn the_table_is_the_numbers_1_to_24_without_7() {
        let numbers: Vec<u8> = FulcioOid::all().map(FulcioOid::number).collect();
        assert_eq!(numbers, (1..=24).filter(|n| *n != 7).collect::<Vec<u8>>());
        for oid in FulcioOid::all() {
            assert_eq!(FulcioOid::from_name(oid.name()), Some(oid));
            assert_eq!(FulcioOid::from_object_identifier(oid.object_identifier()), Some(oid));
            if let Some(key) = oid.template_key() {
                assert_eq!(FulcioOid::from_template_key(key), Some(oid));
            }
        }
        assert_eq!(FulcioOid::from_object_identifier(super::USERNAME_TYPE), None);
        assert_eq!(FulcioOid::TokenSubject.object_identifier().to_string(), "1.3.6.1.4.1.57264.1.24");
    }

    #[test]
    fn values_are_encoded_as_fulcio_does() {
        let issuer = "https://idp.example";
        let raw = FulcioExtensions::encode_value(FulcioOid::Issuer, issuer).expect("raw");
        assert_eq!(hex::encode(&raw), "68747470733a2f2f6964702e6578616d706c65");
        let utf8 = FulcioExtensions::encode_value(FulcioOid::IssuerV2, issuer).expect("utf8");
        assert_eq!(hex::encode(&utf8), "0c1368747470733a2f2f6964702e6578616d706c65");

        let mut extensions = FulcioExtensions::default();
        extensions.decode(FulcioOid::Issuer, &raw).expect("raw");
        assert_eq!(extensions.issuer(), Some(issuer));
        extensions.decode(FulcioOid::IssuerV2, b"\x0c\x05other").expect("utf8");
        assert_eq!(extensions.issuer(), Some("other"));
        assert_eq!(
            serde_json::to_string(&extensions).expect("json"),
            r#"{"issuer":"https://idp.example","issuerV2":"other"}"#
        );
        extensions.set(FulcioOid::IssuerV2, "");
        assert_eq!(extensions.iter().collect::<Vec<_>>(), [(FulcioOid::Issuer, issuer)]);
    }

    #[test]
    fn malformed_values_are_refused() {
        let mut extensions = FulcioExtensions::default();
        for value in [&b"bare"[..], b"\x0c\x05othe", b"\x0c\x04otherx", b"\x16\x05other", b"\x0c\x01\xff", b""] {
            let error = extensions.decode(FulcioOid::IssuerV2, value).expect_err("malformed");
            assert_eq!(error, ExtensionError::Value { oid: FulcioOid::IssuerV2 });
            assert_eq!(error.code(), Code::CERTIFICATE_EXTENSION);
        }
        assert!(extensions.decode(FulcioOid::Issuer, b"\xff").is_err());
    }

    #[test]
    fn names_round_trip() {
        let username = SubjectAltName::Username("alice!example.com".into());
        let value = username.to_extn_value().expect("value");
        assert_eq!(hex::encode(&value), "3023a021060a2b0601040183bf300107a0130c11616c696365216578616d706c652e636f6d");
        for name in [
            username,
            SubjectAltName::Email("alice@corp.example".into()),
            SubjectAltName::Uri("https://github.com/o/r/.github/workflows/x.yml@refs/heads/main".into()),
        ] {
            assert_eq!(SubjectAltName::from_extn_value(&name.to_extn_value().expect("value")), Ok(name));
        }
        assert_eq!(SubjectAltName::Email("ä@corp.example".into()).to_extn_value(), Err(ExtensionError::NameKind));
    }

    #[test]
    fn every_name_has_a_text_to_be_found_by() {
        let names =
            b"\x30\x21\x81\x03a@b\x82\x03c.d\x86\x03e:f\x87\x04\x7f\0\0\x01\x87\x03\0\0\0\xa4\x05\x30\x03\x02\x01\0";
        assert_eq!(SubjectAltName::texts(names), ["a@b", "c.d", "e:f", "127.0.0.1"]);
        let username = SubjectAltName::Username("u!d".into());
        assert_eq!(SubjectAltName::texts(&username.to_extn_value().expect("DER")), ["u!d"]);
        assert!(SubjectAltName::texts(b"").is_empty() && SubjectAltName::texts(b"\x30\x01").is_empty());
    }

    #[test]
    fn exactly_one_name_of_a_known_kind() {
        for (value, error) in [
            ("3000", ExtensionError::NoName),
            ("300681016181016200", ExtensionError::NameMalformed),
            ("3006810161810162", ExtensionError::SeveralNames { count: 2 }),
            ("3003820161", ExtensionError::NameKind),
            ("30038101ff", ExtensionError::NameMalformed),
            ("300ba009060255041500a0020c00", ExtensionError::NameMalformed),
            ("300ba00906035504", ExtensionError::NameMalformed),
            ("300ba009060355042aa0020c00", ExtensionError::NameKind),
            ("30", ExtensionError::NameMalformed),
        ] {
            let value = hex::decode(value).expect("hex");
            let found = SubjectAltName::from_extn_value(&value).expect_err("refused");
            assert_eq!(found, error, "{}", hex::encode(value));
            assert_eq!(found.code(), Code::CERTIFICATE_EXTENSION);
        }
    }
}
