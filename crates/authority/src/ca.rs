//! The certificate authority: which certificates it makes, as bytes to be signed.
//!
//! Nothing here holds a key. Each certificate is built, comes out as an [`UnsignedCertificate`], is signed elsewhere, and
//! becomes a [`Certificate`] only if the signature verifies. The leaf of an identity takes a longer way: [`Issuance`].

#[cfg(test)]
pub(crate) mod forge;
mod leaf;

use crate::lint::LintError;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::asn1::{AnyRef, OctetString, UintRef};
use der::flagset::FlagSet;
use der::{Decode, Encode, Sequence};
use formats::code::Code;
use formats::crypto::{KeyError, KeyKind, PublicKey, SignatureAlgorithm};
use formats::extension::ExtensionError;
use formats::leaf::LeafError;
use formats::sct::SctError;
use formats::x509::{Certificate, CertificateError, DistinguishedName, key_identifier};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use waxseal_formats as formats;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages};
use x509_cert::time::{Time, Validity};

pub use leaf::{FinalCertificate, Issuance, LEAF_LIFETIME, Precertificate};

/// How long a root is valid: ten years.
pub const ROOT_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// How long an issuing certificate or a timestamp signer is valid: three years.
pub const SUBORDINATE_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 1095);
/// Largest number of certificates from the issuing one to the root.
pub const MAX_CHAIN_LEN: usize = 4;

/// Why a certificate is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// The authority's own certificates do not make an authority.
    #[error("the authority's certificates cannot be used: {0}")]
    Chain(&'static str),
    /// Organization or common name is empty or too long.
    #[error("an authority's name needs an organization and a common name of 1 to 64 characters")]
    Name,
    /// An authority's key is of a kind that clients do not take there.
    #[error("an authority's key has to be ECDSA or RSA, not {0}")]
    AuthorityKey(KeyKind),
    /// A key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The identity does not fit into a certificate.
    #[error("the identity cannot stand in a certificate: {0}")]
    Identity(ExtensionError),
    /// What was built breaks the profile.
    #[error("the certificate would break its profile: {0}")]
    Lint(#[from] LintError),
    /// What was built is not a certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A part cannot be encoded.
    #[error("the certificate cannot be encoded: {0}")]
    Encoding(&'static str),
    /// The signature that was made over it does not verify.
    #[error("the signature over the certificate does not verify")]
    Signature,
    /// The log's SCT is malformed, from another log, or does not verify.
    #[error("the certificate log's answer cannot be used: {0}")]
    Sct(&'static str),
    /// The final certificate is not what was logged.
    #[error("the certificate does not correspond to its precertificate")]
    Correspondence,
}

impl CaError {
    /// `token.claim` for an identity that does not fit; the others say that this side is at fault.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Identity(_) => Code::TOKEN_CLAIM,
            Self::Chain(_) | Self::Name | Self::Signature => Code::CERTIFICATE_CHAIN,
            Self::AuthorityKey(_) => Code::KEY_UNSUPPORTED,
            Self::Key(error) => error.code(),
            Self::Lint(error) => error.code(),
            Self::Certificate(error) => error.code(),
            Self::Encoding(_) => Code::CERTIFICATE_MALFORMED,
            Self::Sct(_) | Self::Correspondence => Code::SCT_INVALID,
        }
    }
}

impl From<SctError> for CaError {
    fn from(_: SctError) -> Self {
        Self::Sct("it cannot be encoded")
    }
}

impl From<LeafError> for CaError {
    fn from(_: LeafError) -> Self {
        Self::Encoding("log entry")
    }
}

/// An issuing certificate with its way to the root: what signs leaves.
#[derive(Clone, Debug)]
pub struct CaIssuer {
    chain: Vec<Certificate>,
    key: PublicKey,
    key_identifier: Vec<u8>,
}

impl CaIssuer {
    /// An authority of these certificates: the issuing one first, each signed by the next, a self-signed root last.
    ///
    /// # Errors
    /// [`CaError::Chain`], [`CaError::Name`], [`CaError::AuthorityKey`].
    pub fn new(chain: Vec<Certificate>) -> Result<Self, CaError> {
        check_chain(&chain)?;
        let issuing = chain.first().ok_or(CaError::Chain("there are none"))?;
        if !issuing.is_ca() || !issuing.key_usage().is_some_and(|usage| usage.key_cert_sign()) {
            return Err(CaError::Chain("the issuing certificate is not a CA"));
        }
        if chain.len() > 1 && !issuing.has_code_signing_eku() {
            return Err(CaError::Chain("the issuing certificate is not for code signing"));
        }
        let key = issuing.public_key()?.clone();
        let key_identifier =
            issuing.subject_key_identifier().ok_or(CaError::Chain("no subject key identifier"))?.to_vec();
        Ok(Self { chain, key, key_identifier })
    }

    /// The certificates, the issuing one first and the root last.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The issuing key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The scheme of its signatures.
    #[must_use]
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        self.key.default_algorithm()
    }

    /// Its subjectKeyIdentifier.
    #[must_use]
    pub fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }

    /// Its DER subject.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        self.chain.first().map_or(&[], |issuing| issuing.subject_der())
    }

    /// The last second at which something it issues may be valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.chain.iter().map(Certificate::not_after).min().unwrap_or(Timestamp::MIN)
    }

    /// The first second at which something it issues may be valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.chain.iter().map(Certificate::not_before).max().unwrap_or(Timestamp::MAX)
    }
}

/// Whether each certificate was signed by the next one and the last one by itself, with keys and names that clients take.
pub(crate) fn check_chain(chain: &[Certificate]) -> Result<(), CaError> {
    if chain.is_empty() || chain.len() > MAX_CHAIN_LEN {
        return Err(CaError::Chain("there have to be one to four"));
    }
    let issuers = chain.iter().skip(1).chain(chain.last());
    for (certificate, issuer) in chain.iter().zip(issuers) {
        let key = certificate.public_key()?;
        if matches!(key.kind(), KeyKind::Ed25519) {
            return Err(CaError::AuthorityKey(key.kind()));
        }
        let DistinguishedName { organization, common_name } = certificate.subject();
        if organization.is_empty() || common_name.is_empty() {
            return Err(CaError::Name);
        }
        if certificate.issuer_der() != issuer.subject_der()
            || certificate.verify_signature(issuer.public_key()?).is_err()
        {
            return Err(CaError::Chain("one was not signed by the next, or the last not by itself"));
        }
        if !issuer.is_ca() {
            return Err(CaError::Chain("one was signed by a certificate that is not a CA"));
        }
    }
    Ok(())
}

/// A certificate for which a signature is missing.
#[derive(Clone, Debug)]
pub struct UnsignedCertificate {
    tbs: Vec<u8>,
    issuer_key: PublicKey,
}

impl UnsignedCertificate {
    /// The TBSCertificate: the bytes to be signed with the issuer's key.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.tbs
    }

    /// The certificate with that signature.
    ///
    /// # Errors
    /// [`CaError::Signature`] if it is not one of the issuer's key over [`UnsignedCertificate::message`].
    pub fn finish(&self, signature: &[u8]) -> Result<Certificate, CaError> {
        let certificate = Certificate::assemble(&self.tbs, self.issuer_key.default_algorithm(), signature)?;
        certificate.verify_signature(&self.issuer_key).map_err(|_| CaError::Signature)?;
        Ok(certificate)
    }
}

/// The kinds of certificates that a root signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubordinateKind {
    /// Issues leaves for identities: CA:TRUE with path length 0, for code signing.
    FulcioIntermediate,
    /// Signs timestamps: no CA, key usage digitalSignature, extended key usage timeStamping alone and critical (RFC 3161 §2.3).
    TimestampSigner,
}

/// A self-signed root for [`ROOT_LIFETIME`] from `now`: CA:TRUE, keyCertSign and cRLSign, no extended key usage.
/// `serial` is random; its top bit does not count.
///
/// # Errors
/// [`CaError::Name`], [`CaError::AuthorityKey`].
pub fn root(
    subject: &DistinguishedName,
    key: &PublicKey,
    serial: [u8; 20],
    now: Timestamp,
) -> Result<UnsignedCertificate, CaError> {
    authority_key(key)?;
    let name = subject.to_der().ok_or(CaError::Name)?;
    let constraints = BasicConstraints { ca: true, path_len_constraint: None };
    let extensions = || {
        Ok(vec![
            extension(rfc5280::ID_CE_KEY_USAGE, true, &ca_key_usage())?,
            extension(rfc5280::ID_CE_BASIC_CONSTRAINTS, true, &constraints)?,
            subject_key_identifier(key)?,
        ])
    };
    let parts = TbsParts {
        serial: positive(serial),
        algorithm: key.default_algorithm(),
        issuer: name.clone(),
        not_before: now,
        not_after: lasting(now, ROOT_LIFETIME)?,
        subject: name,
        spki: key.spki_der().to_vec(),
        extensions: extensions().map_err(|_: der::Error| CaError::Encoding("extensions"))?,
    };
    Ok(UnsignedCertificate { tbs: parts.encode(None)?, issuer_key: key.clone() })
}

/// A certificate signed by a root, for [`SUBORDINATE_LIFETIME`] from `now` but not longer than the root is valid.
///
/// # Errors
/// [`CaError::Name`], [`CaError::AuthorityKey`]; [`CaError::Chain`] if the root is no CA or not valid now.
pub fn subordinate(
    kind: SubordinateKind,
    subject: &DistinguishedName,
    key: &PublicKey,
    root: &Certificate,
    serial: [u8; 20],
    now: Timestamp,
) -> Result<UnsignedCertificate, CaError> {
    authority_key(key)?;
    check_chain(std::slice::from_ref(root))?;
    if !root.valid_at(now) {
        return Err(CaError::Chain("the root is not valid now"));
    }
    let root_identifier = root.subject_key_identifier().ok_or(CaError::Chain("no subject key identifier"))?;
    let extensions = || {
        let mut list = match kind {
            SubordinateKind::FulcioIntermediate => vec![
                extension(rfc5280::ID_CE_KEY_USAGE, true, &ca_key_usage())?,
                extended_key_usage(false, rfc5280::ID_KP_CODE_SIGNING)?,
                extension(
                    rfc5280::ID_CE_BASIC_CONSTRAINTS,
                    true,
                    &BasicConstraints { ca: true, path_len_constraint: Some(0) },
                )?,
            ],
            SubordinateKind::TimestampSigner => vec![
                extension(rfc5280::ID_CE_KEY_USAGE, true, &signing_key_usage())?,
                extended_key_usage(true, rfc5280::ID_KP_TIME_STAMPING)?,
            ],
        };
        list.push(subject_key_identifier(key)?);
        list.push(authority_key_identifier(root_identifier)?);
        Ok(list)
    };
    let parts = TbsParts {
        serial: positive(serial),
        algorithm: root.public_key()?.default_algorithm(),
        issuer: root.subject_der().to_vec(),
        not_before: now,
        not_after: lasting(now, SUBORDINATE_LIFETIME)?.min(root.not_after()),
        subject: subject.to_der().ok_or(CaError::Name)?,
        spki: key.spki_der().to_vec(),
        extensions: extensions().map_err(|_: der::Error| CaError::Encoding("extensions"))?,
    };
    Ok(UnsignedCertificate { tbs: parts.encode(None)?, issuer_key: root.public_key()?.clone() })
}

fn authority_key(key: &PublicKey) -> Result<(), CaError> {
    match key.kind() {
        KeyKind::Ed25519 => Err(CaError::AuthorityKey(key.kind())),
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 | KeyKind::Rsa { .. } => Ok(()),
    }
}

/// A serial number from random bytes: the top bit is cleared, so that it is positive in 20 bytes (RFC 5280 §4.1.2.2).
fn positive(mut serial: [u8; 20]) -> [u8; 20] {
    if let Some(first) = serial.first_mut() {
        *first &= 0x7f;
    }
    serial
}

fn lasting(from: Timestamp, lifetime: SignedDuration) -> Result<Timestamp, CaError> {
    from.checked_add(lifetime).map_err(|_| CaError::Encoding("validity"))
}

/// What goes into a TBSCertificate (RFC 5280 §4.1.2).
struct TbsParts {
    serial: [u8; 20],
    algorithm: SignatureAlgorithm,
    issuer: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    subject: Vec<u8>,
    spki: Vec<u8>,
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct TbsCertificate<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: UintRef<'a>,
    signature: spki::AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: AnyRef<'a>,
    subject_public_key_info: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

impl TbsParts {
    /// The DER, with one more extension at the end.
    fn encode(&self, last: Option<Extension>) -> Result<Vec<u8>, CaError> {
        let encode = || -> der::Result<Vec<u8>> {
            TbsCertificate {
                version: 2,
                serial: UintRef::new(&self.serial)?,
                signature: self.algorithm.identifier(),
                issuer: AnyRef::from_der(&self.issuer)?,
                validity: Validity::new(time(self.not_before)?, time(self.not_after)?),
                subject: AnyRef::from_der(&self.subject)?,
                subject_public_key_info: AnyRef::from_der(&self.spki)?,
                extensions: self.extensions.iter().cloned().chain(last).collect(),
            }
            .to_der()
        };
        encode().map_err(|_| CaError::Encoding("TBSCertificate"))
    }
}

/// UTCTime up to 2049, GeneralizedTime after it (RFC 5280 §4.1.2.5); fractions of a second are dropped.
fn time(at: Timestamp) -> der::Result<Time> {
    let seconds = u64::try_from(at.as_second()).map_err(|_| der::ErrorKind::DateTime)?;
    Ok(der::DateTime::from_unix_duration(Duration::from_secs(seconds))?.into())
}

fn extension<T: Encode>(oid: ObjectIdentifier, critical: bool, value: &T) -> der::Result<Extension> {
    raw_extension(oid, critical, value.to_der()?)
}

fn raw_extension(oid: ObjectIdentifier, critical: bool, value: Vec<u8>) -> der::Result<Extension> {
    Ok(Extension { extn_id: oid, critical, extn_value: OctetString::new(value)? })
}

fn ca_key_usage() -> KeyUsage {
    KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign)
}

fn signing_key_usage() -> KeyUsage {
    KeyUsage(FlagSet::from(KeyUsages::DigitalSignature))
}

fn extended_key_usage(critical: bool, usage: ObjectIdentifier) -> der::Result<Extension> {
    extension(rfc5280::ID_CE_EXT_KEY_USAGE, critical, &ExtendedKeyUsage(vec![usage]))
}

fn subject_key_identifier(key: &PublicKey) -> der::Result<Extension> {
    extension(rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER, false, &OctetString::new(key_identifier(key).to_vec())?)
}

fn authority_key_identifier(identifier: &[u8]) -> der::Result<Extension> {
    let value = AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(identifier.to_vec())?),
        authority_cert_issuer: None,
        authority_cert_serial_number: None,
    };
    extension(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, false, &value)
}

#[cfg(test)]
mod tests {
    use super::forge::{TestKey, authority, issuer, name, now};
    use super::{CaError, CaIssuer, ROOT_LIFETIME, SUBORDINATE_LIFETIME, SubordinateKind, root, subordinate};
    use const_oid::db::rfc5280;
    use formats::code::Code;
    use formats::crypto::{KeyKind, SignatureAlgorithm};
    use formats::x509::{Certificate, Critical};
    use jiff::SignedDuration;
    use waxseal_formats as formats;

    fn oids(certificate: &Certificate) -> Vec<(String, Critical)> {
        certificate.extension_oids().iter().map(|(oid, critical)| (oid.to_string(), *critical)).collect()
    }

    fn listed(list: &[(&str, Critical)]) -> Vec<(String, Critical)> {
        list.iter().map(|(oid, critical)| ((*oid).to_owned(), *critical)).collect()
    }

    #[test]
    fn authorities_have_the_profile_of_fulcio_for_every_kind_of_key() {
        for (kind, algorithm) in [
            (KeyKind::EcdsaP256, SignatureAlgorithm::EcdsaSha256),
            (KeyKind::EcdsaP384, SignatureAlgorithm::EcdsaSha384),
            (KeyKind::EcdsaP521, SignatureAlgorithm::EcdsaSha512),
            (KeyKind::Rsa { bits: 2048 }, SignatureAlgorithm::RsaPkcs1Sha256),
        ] {
            let (_, issuer) = issuer(kind);
            let [intermediate, root] = issuer.chain() else { panic!("two certificates") };
            assert_eq!((root.signature_algorithm(), issuer.algorithm()), (Some(algorithm), algorithm));
            assert_eq!(root.not_after().duration_since(root.not_before()), ROOT_LIFETIME);
            assert_eq!(intermediate.not_after().duration_since(intermediate.not_before()), SUBORDINATE_LIFETIME);
            assert_eq!(
                oids(root),
                listed(&[("2.5.29.15", Critical::Yes), ("2.5.29.19", Critical::Yes), ("2.5.29.14", Critical::No)])
            );
            assert_eq!(
                oids(intermediate),
                listed(&[
                    ("2.5.29.15", Critical::Yes),
                    ("2.5.29.37", Critical::No),
                    ("2.5.29.19", Critical::Yes),
                    ("2.5.29.14", Critical::No),
                    ("2.5.29.35", Critical::No),
                ])
            );
            assert_eq!(root.basic_constraints().expect("constraints").path_len_constraint, None);
            assert_eq!(intermediate.basic_constraints().expect("constraints").path_len_constraint, Some(0));
            assert_eq!(intermediate.extended_key_usage(), Some(&[rfc5280::ID_KP_CODE_SIGNING][..]));
            assert_eq!(intermediate.authority_key_identifier(), root.subject_key_identifier());
            assert_eq!(hex::encode(root.serial()), format!("71{}", "f1".repeat(19)));
            assert_eq!(root.subject(), name("root"));
            assert_eq!(issuer.not_after(), intermediate.not_after());
        }
    }

    #[test]
    fn a_timestamp_signer_stamps_and_does_nothing_else() {
        let (_, chain) = authority(KeyKind::EcdsaP256, SubordinateKind::TimestampSigner);
        assert!(chain[0].has_time_stamping_eku_only_critical() && !chain[0].is_ca());
        assert!(chain[0].key_usage().is_some_and(|usage| usage.digital_signature() && !usage.key_cert_sign()));
        let error = CaIssuer::new(chain).expect_err("no CA");
        assert_eq!(
            (error.clone(), error.code()),
            (CaError::Chain("the issuing certificate is not a CA"), Code::CERTIFICATE_CHAIN)
        );
    }

    #[test]
    fn a_subordinate_does_not_outlive_its_root() {
        let (root_key, key) = (TestKey::generate(KeyKind::EcdsaP256), TestKey::generate(KeyKind::EcdsaP256));
        let unsigned = root(&name("root"), &root_key.public, [1; 20], now()).expect("root");
        let root = unsigned.finish(&root_key.sign(unsigned.message())).expect("root");
        let kind = SubordinateKind::FulcioIntermediate;
        let late = now() + (ROOT_LIFETIME - SignedDuration::from_hours(24));
        let unsigned = subordinate(kind, &name("issuing"), &key.public, &root, [2; 20], late).expect("intermediate");
        let certificate = unsigned.finish(&root_key.sign(unsigned.message())).expect("intermediate");
        assert_eq!(certificate.not_after(), root.not_after());
        let too_late = late + SignedDuration::from_hours(48);
        let error = subordinate(kind, &name("issuing"), &key.public, &root, [2; 20], too_late).expect_err("too late");
        assert_eq!(error, CaError::Chain("the root is not valid now"));
    }

    #[test]
    fn a_foreign_or_broken_signature_makes_no_certificate() {
        let (key, other) = (TestKey::generate(KeyKind::EcdsaP256), TestKey::generate(KeyKind::EcdsaP256));
        let unsigned = root(&name("root"), &key.public, [1; 20], now()).expect("root");
        for signature in [other.sign(unsigned.message()), key.sign(b"something else"), Vec::new()] {
            let error = unsigned.finish(&signature).expect_err("refused");
            assert_eq!((error.clone(), error.code()), (CaError::Signature, Code::CERTIFICATE_CHAIN));
        }
    }

    #[test]
    fn authorities_that_clients_would_not_take_are_refused() {
        let ed25519 = TestKey::generate(KeyKind::Ed25519);
        let error = root(&name("root"), &ed25519.public, [1; 20], now()).expect_err("Ed25519");
        assert_eq!((error.clone(), error.code()), (CaError::AuthorityKey(KeyKind::Ed25519), Code::KEY_UNSUPPORTED));
        let key = TestKey::generate(KeyKind::EcdsaP256);
        assert_eq!(root(&name(""), &key.public, [1; 20], now()).expect_err("no name"), CaError::Name);

        let (_, issuer) = issuer(KeyKind::EcdsaP256);
        let [intermediate, root] = issuer.chain() else { panic!("two certificates") };
        for chain in [vec![], vec![intermediate.clone()], vec![root.clone(), intermediate.clone()]] {
            assert!(matches!(CaIssuer::new(chain), Err(CaError::Chain(_))));
        }
        let alone = CaIssuer::new(vec![root.clone()]).expect("a root may issue");
        assert_eq!(alone.chain().len(), 1);
    }

    #[test]
    fn the_recorded_authority_is_one() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let chain =
            Certificate::chain_from_pem(&vectors.text("private-instance/keys/fulcio-chain.pem")).expect("chain");
        let issuer = CaIssuer::new(chain).expect("an authority");
        assert_eq!(hex::encode_upper(issuer.key_identifier()), "AAA7FB4B250A3BFA7370593B37A6FCA298523459");
    }
}
