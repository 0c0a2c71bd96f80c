//! The certificate of an identity, in the steps of its issuance:
//!
//! ```text
//! Grant + ProvenKey → Issuance ─sign→ Precertificate ─log→ FinalCertificate ─sign→ Certificate
//! ```
//!
//! Each step takes the one before it, so that none can be left out: no certificate without permission and proof, none that
//! was not linted before it was signed, none without the log's promise, none other than the one that was logged.
//!
//! Signatures that are handed in are those of the issuer's key: whoever holds it vouches for them, as does the log for its
//! promise. They are not verified again here, since a certificate a request is what this costs.

use super::{
    CaError, CaIssuer, TbsParts, authority_key_identifier, extended_key_usage, extension, lasting, positive,
    raw_extension, signing_key_usage, subject_key_identifier,
};
use crate::challenge::ProvenKey;
use crate::lint::{Subject, lint_certificate, lint_precertificate};
use crate::rules::Grant;
use const_oid::db::{rfc5280, rfc6962};
use der::asn1::Null;
use formats::crypto::PublicKey;
use formats::extension::FulcioExtensions;
use formats::leaf::SignedEntry;
use formats::sct::SignedCertificateTimestamp;
use formats::x509::{Certificate, tbs_without_extension};
use jiff::{SignedDuration, Timestamp};
use waxseal_formats as formats;
use x509_cert::ext::Extension;

/// How long a leaf is valid: ten minutes from its issuance.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// A DER Name without attributes.
const EMPTY_NAME: [u8; 2] = [0x30, 0];

/// A precertificate that passed the linter and waits for its signature.
pub struct Issuance<'a> {
    issuer: &'a CaIssuer,
    parts: TbsParts,
    expected: Subject,
    /// The signature is missing.
    linted: Certificate,
}

impl<'a> Issuance<'a> {
    /// Builds the precertificate for what `grant` allows and the key that was proven, valid from `now` for
    /// [`LEAF_LIFETIME`]. `serial` is random; its top bit does not count.
    ///
    /// # Errors
    /// [`CaError::Identity`] if the identity does not fit into a certificate, [`CaError::Lint`] if the profile is broken.
    pub fn new(
        issuer: &'a CaIssuer,
        grant: &Grant,
        key: &ProvenKey,
        now: Timestamp,
        serial: [u8; 20],
    ) -> Result<Self, CaError> {
        let not_before = Timestamp::from_second(now.as_second()).map_err(|_| CaError::Encoding("validity"))?;
        let parts = TbsParts {
            serial: positive(serial),
            algorithm: issuer.algorithm(),
            issuer: issuer.subject_der().to_vec(),
            not_before,
            not_after: lasting(not_before, LEAF_LIFETIME)?,
            subject: EMPTY_NAME.to_vec(),
            spki: key.key().spki_der().to_vec(),
            extensions: extensions(issuer, grant, key.key())?,
        };
        let expected = Subject {
            name: grant.subject_alt_name().clone(),
            extensions: grant.extensions().clone(),
            key: key.key().clone(),
            now,
        };
        let poison = extension(rfc6962::CT_PRECERT_POISON, true, &Null).map_err(|_| CaError::Encoding("poison"))?;
        let tbs = parts.encode(Some(poison))?;
        let linted = lint_precertificate(&tbs, issuer, &expected)?;
        Ok(Self { issuer, parts, expected, linted })
    }

    /// The bytes to be signed.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.linted.tbs_der()
    }

    /// The signed precertificate; `signature` is the issuer's over [`Issuance::message`].
    ///
    /// # Errors
    /// [`CaError::Certificate`] if it cannot be encoded.
    pub fn finish(self, signature: &[u8]) -> Result<Precertificate<'a>, CaError> {
        let certificate = self.linted.with_signature(signature)?;
        let signed_part = tbs_without_extension(certificate.tbs_der(), rfc6962::CT_PRECERT_POISON)?;
        Ok(Precertificate { issuer: self.issuer, parts: self.parts, expected: self.expected, certificate, signed_part })
    }
}

/// A signed precertificate: to be submitted to the certificate log.
pub struct Precertificate<'a> {
    issuer: &'a CaIssuer,
    parts: TbsParts,
    expected: Subject,
    certificate: Certificate,
    signed_part: Vec<u8>,
}

impl<'a> Precertificate<'a> {
    /// The precertificate itself.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The TBSCertificate without the poison: what the log signs.
    #[must_use]
    pub fn signed_part(&self) -> &[u8] {
        &self.signed_part
    }

    /// What the log logs.
    #[must_use]
    pub fn entry(&self) -> SignedEntry {
        SignedEntry::Precertificate { issuer_key_hash: self.issuer.key().spki_sha256(), tbs: self.signed_part.clone() }
    }

    /// Builds the final certificate with the log's SCT in it: what the log with `log_key` made for [`Precertificate::entry`].
    ///
    /// # Errors
    /// [`CaError::Sct`] if the SCT is of another log, [`CaError::Correspondence`] if the final certificate is not the
    /// precertificate but for poison and SCT, [`CaError::Lint`].
    pub fn embed(self, sct: &SignedCertificateTimestamp, log_key: &PublicKey) -> Result<FinalCertificate, CaError> {
        if sct.log_id != log_key.spki_sha256() {
            return Err(CaError::Sct("it is from another log"));
        }
        let list = SignedCertificateTimestamp::to_list_extension(std::slice::from_ref(sct))?;
        let list = raw_extension(rfc6962::CT_PRECERT_SCTS, false, list).map_err(|_| CaError::Encoding("SCT list"))?;
        let tbs = self.parts.encode(Some(list))?;
        let linted = lint_certificate(&tbs, self.issuer, &self.expected)?;
        if tbs_without_extension(&tbs, rfc6962::CT_PRECERT_SCTS)? != self.signed_part {
            return Err(CaError::Correspondence);
        }
        Ok(FinalCertificate(linted))
    }
}

/// The final certificate, which corresponds to its logged precertificate and waits for its signature.
pub struct FinalCertificate(Certificate);

impl FinalCertificate {
    /// The bytes to be signed.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.0.tbs_der()
    }

    /// The certificate; `signature` is the issuer's over [`FinalCertificate::message`].
    ///
    /// # Errors
    /// [`CaError::Certificate`] if it cannot be encoded.
    pub fn finish(&self, signature: &[u8]) -> Result<Certificate, CaError> {
        Ok(self.0.with_signature(signature)?)
    }
}

/// The extensions but for the last, in the order in which Fulcio writes them.
fn extensions(issuer: &CaIssuer, grant: &Grant, key: &PublicKey) -> Result<Vec<Extension>, CaError> {
    let name = grant.subject_alt_name().to_extn_value().map_err(CaError::Identity)?;
    let standard = || -> der::Result<Vec<Extension>> {
        Ok(vec![
            extension(rfc5280::ID_CE_KEY_USAGE, true, &signing_key_usage())?,
            // sigstore-python refuses a critical one here.
            extended_key_usage(false, rfc5280::ID_KP_CODE_SIGNING)?,
            subject_key_identifier(key)?,
            authority_key_identifier(issuer.key_identifier())?,
            // Critical because the subject is empty (RFC 5280 §4.2.1.6).
            raw_extension(rfc5280::ID_CE_SUBJECT_ALT_NAME, true, name)?,
        ])
    };
    let mut list = standard().map_err(|_| CaError::Encoding("extensions"))?;
    for (oid, text) in grant.extensions().iter() {
        let value = FulcioExtensions::encode_value(oid, text).map_err(CaError::Identity)?;
        let extension = raw_extension(oid.object_identifier(), false, value);
        list.push(extension.map_err(|_| CaError::Encoding("extensions"))?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::{Issuance, LEAF_LIFETIME};
    use crate::ca::forge::{TestKey, alice, grant, issuer, now, precertificate, proven, sct};
    use crate::ca::{CaError, CaIssuer};
    use crate::challenge::verify_public_key_proof;
    use crate::oidc::forge::Forge;
    use crate::rules::Rules;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use const_oid::db::{rfc5280, rfc6962};
    use formats::code::Code;
    use formats::crypto::{KeyKind, PublicKey};
    use formats::extension::{FulcioOid, SubjectAltName};
    use formats::sct::SignedCertificateTimestamp;
    use formats::x509::{Certificate, Critical, tbs_without_extension};
    use jiff::SignedDuration;
    use rustls_pki_types::{CertificateDer, UnixTime};
    use serde_json::{Value, json};
    use waxseal_formats as formats;

    #[test]
    fn every_kind_of_key_gets_a_certificate_from_every_kind_of_authority() {
        let log = TestKey::generate(KeyKind::EcdsaP256);
        let rsa = KeyKind::Rsa { bits: 2048 };
        for authority in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::EcdsaP521, rsa] {
            let (ca, issuer) = issuer(authority);
            for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::EcdsaP521, KeyKind::Ed25519, rsa] {
                let precertificate = precertificate(&ca, &issuer, kind);
                let poisoned = precertificate.certificate().extension_oids().last();
                assert_eq!(poisoned, Some(&(rfc6962::CT_PRECERT_POISON, Critical::Yes)));
                let (promise, signed_part) = (sct(&log, &precertificate), precertificate.signed_part().to_vec());
                let unsigned = precertificate.embed(&promise, &log.public).expect("final");
                let leaf = unsigned.finish(&ca.sign(unsigned.message())).expect("certificate");
                assert_eq!(leaf.precertificate_tbs().expect("SCT"), signed_part);
                assert_eq!(leaf.public_key().expect("key").kind(), kind);
                assert_eq!(leaf.serial(), [&[0x7f][..], &[0xff; 19]].concat());
                assert_eq!((leaf.not_before(), leaf.not_after()), (now(), now() + LEAF_LIFETIME));
                let scts = SignedCertificateTimestamp::parse_list(leaf.sct_list().expect("list")).expect("SCTs");
                assert_eq!(scts, [promise]);
                verifies_as_a_verifier_does(&leaf, &issuer);
            }
        }
    }

    /// rustls-webpki, which shares no code with us, builds the path for code signing.
    fn verifies_as_a_verifier_does(leaf: &Certificate, issuer: &CaIssuer) {
        let [intermediate, root] = issuer.chain() else { panic!("two certificates") };
        let (leaf, root) = (CertificateDer::from(leaf.der()), CertificateDer::from(root.der()));
        let anchor = webpki::anchor_from_trusted_cert(&root).expect("anchor");
        let intermediates = [CertificateDer::from(intermediate.der())];
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(now().as_second()).expect("after 1970"),
        ));
        let code_signing = webpki::KeyUsage::required(&[43, 6, 1, 5, 5, 7, 3, 3]);
        webpki::EndEntityCert::try_from(&leaf)
            .expect("end entity")
            .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &intermediates, time, code_signing, None, None)
            .expect("a path");
    }

    /// One of the recorded requests to Fulcio: the claims of its token, key and proof, and the answer's certificate.
    fn recorded(step: &str) -> Option<(Value, PublicKey, Vec<u8>, Certificate)> {
        let probes = waxseal_testkit::vectors()?.wire("server-probes");
        let probe = probes.into_iter().find(|probe| probe.step == step).expect("the probe");
        let (request, response) = (probe.request_json(), probe.response_json());
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let token = text(&request["credentials"]["oidcIdentityToken"]);
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("three parts")).expect("base64");
        let request = &request["publicKeyRequest"];
        let key = PublicKey::from_pem(&text(&request["publicKey"]["content"])).expect("key");
        let proof = STANDARD.decode(text(&request["proofOfPossession"])).expect("base64");
        let pem = text(&response["signedCertificateEmbeddedSct"]["chain"]["certificates"][0]);
        let claims = serde_json::from_slice(&claims).expect("claims");
        Some((claims, key, proof, Certificate::from_pem(&pem).expect("certificate")))
    }

    #[test]
    fn fulcio_signs_the_same_bytes_for_the_recorded_requests() {
        for step in ["f2-ok", "f2-pop-over-sub-github", "f2-ed25519", "f2-rsa2048", "f2-p384-sha384"] {
            let Some((claims, key, proof, theirs)) = recorded(step) else { return };
            let vectors = waxseal_testkit::vectors().expect("vectors");
            let chain =
                Certificate::chain_from_pem(&vectors.text("private-instance/keys/fulcio-chain.pem")).expect("chain");
            let issuer = CaIssuer::new(chain).expect("authority");
            let grant = grant(claims);
            let proven = verify_public_key_proof(&grant, key, &proof).expect("proof");
            let mut serial = [0; 20];
            serial[20 - theirs.serial().len()..].copy_from_slice(theirs.serial());
            let ours = Issuance::new(&issuer, &grant, &proven, theirs.not_before(), serial).expect("issuance");
            let ours = tbs_without_extension(ours.message(), rfc6962::CT_PRECERT_POISON).expect("poison");
            assert_eq!(hex::encode(ours), hex::encode(theirs.precertificate_tbs().expect("SCT")), "{step}");
        }
    }

    #[test]
    fn the_extensions_say_what_the_grant_says_and_no_more() {
        let (ca, issuer) = issuer(KeyKind::EcdsaP256);
        let precertificate = precertificate(&ca, &issuer, KeyKind::EcdsaP256);
        let certificate = precertificate.certificate();
        assert_eq!(certificate.subject_alt_name(), Ok(alice().subject_alt_name()));
        assert_eq!(certificate.extensions(), alice().extensions());
        assert_eq!(certificate.extensions().get(FulcioOid::Issuer), Some("https://idp.example"));
        assert_eq!(certificate.extension_oids()[0], (rfc5280::ID_CE_KEY_USAGE, Critical::Yes));
        assert_eq!(certificate.extension_oids().len(), 9);
    }

    #[test]
    fn a_user_name_is_an_other_name() {
        let (ca, issuer) = issuer(KeyKind::EcdsaP256);
        let claims = Forge::es256().claims(json!({"sub": "\u{c4}lice"}));
        let rules = "issuers: [{issuer: https://idp.example, type: username, subject_domain: login.idp.example}]
rules: [{name: all, issuer: https://idp.example, match: {sub: '**'}}]";
        let grant = Rules::from_yaml(rules, &[]).expect("rules").decide(&claims).expect("admitted");
        let key = TestKey::generate(KeyKind::EcdsaP256);
        let proof = proven(&grant, &key);
        let issuance = Issuance::new(&issuer, &grant, &proof, now(), [1; 20]).expect("issuance");
        let signature = ca.sign(issuance.message());
        let precertificate = issuance.finish(&signature).expect("precertificate");
        let name = SubjectAltName::Username("\u{c4}lice!login.idp.example".to_owned());
        assert_eq!(precertificate.certificate().subject_alt_name(), Ok(&name));
        let of = |oid| precertificate.certificate().extension_oids().iter().find(|(one, _)| *one == oid).copied();
        assert_eq!(of(rfc5280::ID_CE_SUBJECT_ALT_NAME), Some((rfc5280::ID_CE_SUBJECT_ALT_NAME, Critical::Yes)));
    }

    #[test]
    fn an_identity_that_x509_cannot_hold_is_refused() {
        let (_, issuer) = issuer(KeyKind::EcdsaP256);
        let claims = json!({"email": "älice@corp.example", "email_verified": true});
        let claims = Forge::es256().claims(claims);
        let rules = Rules::from_yaml("rules: [{name: all, issuer: https://idp.example, match: {sub: '**'}}]", &[]);
        let Ok(grant) = rules.expect("rules").decide(&claims) else { return };
        let proven = proven(&grant, &TestKey::generate(KeyKind::EcdsaP256));
        let error = Issuance::new(&issuer, &grant, &proven, now(), [1; 20]).err().expect("refused");
        assert!(matches!(error, CaError::Identity(_)));
        assert_eq!(error.code(), Code::TOKEN_CLAIM);
    }

    #[test]
    fn nothing_is_issued_beyond_the_authoritys_validity() {
        let (_, issuer) = issuer(KeyKind::EcdsaP256);
        let grant = alice();
        let proven = proven(&grant, &TestKey::generate(KeyKind::EcdsaP256));
        let last = issuer.not_after() - LEAF_LIFETIME;
        assert!(Issuance::new(&issuer, &grant, &proven, last, [1; 20]).is_ok());
        for time in [last + SignedDuration::from_secs(1), now() - SignedDuration::from_secs(1)] {
            let error = Issuance::new(&issuer, &grant, &proven, time, [1; 20]).err().expect("refused");
            assert_eq!(error, CaError::Lint(crate::lint::LintError::Validity));
        }
    }

    #[test]
    fn an_sct_of_another_log_is_refused() {
        let (ca, issuer) = issuer(KeyKind::EcdsaP256);
        let (log, other) = (TestKey::generate(KeyKind::EcdsaP256), TestKey::generate(KeyKind::EcdsaP256));
        let mine = || precertificate(&ca, &issuer, KeyKind::EcdsaP256);
        let refused = |sct: &SignedCertificateTimestamp| {
            let error = mine().embed(sct, &log.public).err().expect("refused");
            assert_eq!(error.code(), Code::SCT_INVALID);
            error
        };
        assert_eq!(refused(&sct(&other, &mine())), CaError::Sct("it is from another log"));
    }
}
