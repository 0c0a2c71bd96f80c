//! Proof of possession: whoever asks for a certificate has the private half of the key in it.
//!
//! Two forms, as Fulcio takes them: a signature over the holder's name (one of [`Grant::challenge_names`]), or a PKCS#10
//! request (RFC 2986) that is signed with its own key and of which nothing but that key is used.

use crate::rules::Grant;
use crate::weak_rsa::{self, Weakness};
use der::asn1::BitStringRef;
use der::{Decode, Reader, SliceReader};
use formats::code::Code;
use formats::crypto::{KeyError, KeyKind, PublicKey, SignatureAlgorithm};
use formats::jwt::JwkMaterial;
use spki::AlgorithmIdentifierRef;
use waxseal_formats as formats;

/// Longest certificate request, in bytes of PEM.
pub const MAX_REQUEST_LEN: usize = 16 * 1024;
/// Longest signature that is looked at: RSA 4096.
pub const MAX_PROOF_LEN: usize = 512;
/// RSA moduli that get certificates, in bits.
const RSA_BITS: [usize; 3] = [2048, 3072, 4096];
/// PEM labels of a certificate request: RFC 7468 §7, and what older tools write.
const REQUEST_LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

/// Why a key gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// The key cannot be read or is of a kind that nobody here signs with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An RSA key whose size is not one of 2048, 3072 and 4096.
    #[error("RSA keys of {bits} bits get no certificate, those of 2048, 3072 and 4096 do")]
    RsaSize {
        /// Its size.
        bits: usize,
    },
    /// An RSA key whose private half is easy to find.
    #[error("the RSA key is weak: {0}")]
    Weak(#[from] Weakness),
    /// Not a certificate request.
    #[error("the certificate request is malformed")]
    Request,
    /// The request is signed with an algorithm that does not go with its key, such as SHA-256 with P-384.
    #[error("a certificate request with a key of {kind} has to be signed with its usual algorithm")]
    RequestAlgorithm {
        /// The kind of its key.
        kind: KeyKind,
    },
    /// The signature does not verify.
    #[error("the proof of possession does not verify: it is no signature with this key over {what}")]
    Failed {
        /// What should have been signed.
        what: &'static str,
    },
}

impl ChallengeError {
    /// `challenge.failed` for a signature that does not verify, else `key.unsupported`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Failed { .. } => Code::CHALLENGE_FAILED,
            Self::Key(_) | Self::RsaSize { .. } | Self::Weak(_) | Self::Request | Self::RequestAlgorithm { .. } => {
                Code::KEY_UNSUPPORTED
            }
        }
    }
}

/// A key whose holder has shown to have the private half. Comes only from this module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenKey(PublicKey);

impl ProvenKey {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.0
    }
}

/// The proof of a `publicKeyRequest`: a signature with `key` over one of the grant's names. ECDSA in ASN.1 DER with the
/// hash that goes with the curve, RSA PKCS#1 v1.5 with SHA-256, pure Ed25519.
///
/// # Errors
/// [`ChallengeError::Failed`], [`ChallengeError::RsaSize`], [`ChallengeError::Weak`].
pub fn verify_public_key_proof(grant: &Grant, key: PublicKey, proof: &[u8]) -> Result<ProvenKey, ChallengeError> {
    check_key(&key)?;
    let algorithm = key.default_algorithm();
    let signed = |name: &String| key.verify(algorithm, name.as_bytes(), proof).is_ok();
    if proof.len() <= MAX_PROOF_LEN && grant.challenge_names().iter().any(signed) {
        Ok(ProvenKey(key))
    } else {
        Err(ChallengeError::Failed { what: "the token's `email` or `sub`" })
    }
}

/// The proof of a `certificateSigningRequest`: a PEM PKCS#10 request, whose self-signature is checked with the algorithm
/// that goes with its key. Its subject and the extensions that it asks for are not looked at: the grant says what the
/// certificate will say.
///
/// # Errors
/// [`ChallengeError`].
pub fn verify_csr(_grant: &Grant, pem: &[u8]) -> Result<ProvenKey, ChallengeError> {
    let malformed = |_| ChallengeError::Request;
    if pem.len() > MAX_REQUEST_LEN {
        return Err(ChallengeError::Request);
    }
    let (label, request) = der::pem::decode_vec(pem.trim_ascii()).map_err(|_| ChallengeError::Request)?;
    if !REQUEST_LABELS.contains(&label) {
        return Err(ChallengeError::Request);
    }
    let (info, algorithm, signature) = request_parts(&request).map_err(malformed)?;
    let key = PublicKey::from_spki_der(request_key(info).map_err(malformed)?)?;
    check_key(&key)?;
    if SignatureAlgorithm::from_oid(&algorithm.oid) != Some(key.default_algorithm()) {
        return Err(ChallengeError::RequestAlgorithm { kind: key.kind() });
    }
    let signature = signature.as_bytes().ok_or(ChallengeError::Request)?;
    key.verify(key.default_algorithm(), info, signature)
        .map_err(|_| ChallengeError::Failed { what: "its certificate request" })?;
    Ok(ProvenKey(key))
}

/// The outer sequence: what is signed, byte for byte, and the signature (RFC 2986 §4.2).
fn request_parts(request: &[u8]) -> der::Result<(&[u8], AlgorithmIdentifierRef<'_>, BitStringRef<'_>)> {
    let mut reader = SliceReader::new(request)?;
    let parts = reader.sequence(|inner: &mut SliceReader<'_>| {
        Ok::<_, der::Error>((inner.tlv_bytes()?, AlgorithmIdentifierRef::decode(inner)?, BitStringRef::decode(inner)?))
    })?;
    reader.finish()?;
    Ok(parts)
}

/// The SubjectPublicKeyInfo of a CertificationRequestInfo (RFC 2986 §4.1).
fn request_key(info: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(info)?;
    let key = reader.sequence(|inner: &mut SliceReader<'_>| {
        let version = u8::decode(inner)?;
        if version != 0 {
            return Err(der::Tag::Integer.value_error().into());
        }
        inner.tlv_bytes()?;
        let key = inner.tlv_bytes()?;
        inner.tlv_bytes()?;
        Ok::<_, der::Error>(key)
    })?;
    reader.finish()?;
    Ok(key)
}

/// The kinds of Fulcio's default list; of RSA keys only sound ones.
fn check_key(key: &PublicKey) -> Result<(), ChallengeError> {
    match key.kind() {
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 | KeyKind::Ed25519 => Ok(()),
        KeyKind::Rsa { bits } if !RSA_BITS.contains(&bits) => Err(ChallengeError::RsaSize { bits }),
        KeyKind::Rsa { .. } => match JwkMaterial::of(key)? {
            JwkMaterial::Rsa { n, e } => Ok(weak_rsa::check(&n, &e)?),
            JwkMaterial::Ec { .. } | JwkMaterial::Ed25519 { .. } => Err(KeyError::Malformed.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{
        ChallengeError, MAX_REQUEST_LEN, ProvenKey, request_key, request_parts, verify_csr, verify_public_key_proof,
    };
    use crate::oidc::forge::Forge;
    use crate::rules::{Grant, Rules};
    use crate::weak_rsa::Weakness;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use formats::code::Code;
    use formats::crypto::{KeyError, KeyKind, PublicKey};
    use serde_json::{Value, json};
    use waxseal_formats as formats;
    use waxseal_testkit::Exchange;

    const NAME: &str = "alice@corp.example";

    fn grant(claims: Value) -> Grant {
        let claims = Forge::es256().claims(claims);
        let rules = format!("rules: [{{name: a, issuer: '{}', match: {{sub: '**'}}}}]", claims.issuer());
        Rules::from_yaml(&rules, &[]).expect("rules").decide(&claims).expect("admitted")
    }

    fn alice() -> Grant {
        grant(json!({ "email": NAME, "email_verified": true }))
    }

    /// Recorded requests to Fulcio 1.8.8, all of alice's tokens.
    fn probe(step: &str) -> Option<Exchange> {
        let probes = waxseal_testkit::vectors()?.wire("server-probes");
        Some(probes.into_iter().find(|probe| probe.step == step).expect("the probe"))
    }

    fn recorded_proof(step: &str) -> Option<(PublicKey, Vec<u8>)> {
        let request = probe(step)?.request_json();
        let request = &request["publicKeyRequest"];
        let key = request["publicKey"]["content"].as_str().expect("a key");
        let proof = STANDARD.decode(request["proofOfPossession"].as_str().expect("a proof")).expect("base64");
        Some((PublicKey::from_pem(key).expect("a key"), proof))
    }

    fn code(verdict: Result<ProvenKey, ChallengeError>) -> Code {
        verdict.expect_err("refused").code()
    }

    #[test]
    fn recorded_proofs_verify() {
        for (step, kind) in [
            ("f2-ok", KeyKind::EcdsaP256),
            ("f2-p384-sha384", KeyKind::EcdsaP384),
            ("f2-rsa2048", KeyKind::Rsa { bits: 2048 }),
            ("f2-ed25519", KeyKind::Ed25519),
        ] {
            let Some((key, proof)) = recorded_proof(step) else { return };
            let proven = verify_public_key_proof(&alice(), key.clone(), &proof).expect(step);
            assert_eq!((proven.key(), key.kind()), (&key, kind));
            // The same proof of somebody else's request.
            let bob = grant(json!({ "email": "bob@corp.example", "email_verified": true }));
            assert_eq!(code(verify_public_key_proof(&bob, key, &proof)), Code::CHALLENGE_FAILED, "{step}");
        }
        for step in ["f2-bad-pop", "f2-p384-sha256"] {
            let Some((key, proof)) = recorded_proof(step) else { return };
            assert_eq!(code(verify_public_key_proof(&alice(), key, &proof)), Code::CHALLENGE_FAILED, "{step}");
        }
        let key = PublicKey::from_pem(include_str!("../testdata/proof/p521.pub.pem")).expect("a key");
        let proof = STANDARD.decode(include_str!("../testdata/proof/p521.proof.b64")).expect("base64");
        assert!(verify_public_key_proof(&alice(), key, &proof).is_ok());
    }

    #[test]
    fn a_proof_over_anything_but_the_name_is_refused() {
        let Some((key, proof)) = recorded_proof("f2-ok") else { return };
        let verify = |proof: &[u8]| code(verify_public_key_proof(&alice(), key.clone(), proof));
        let mut changed = proof.clone();
        changed[20] ^= 1;
        for proof in [&changed[..], &proof[..proof.len() - 1], &[proof.as_slice(), &[0]].concat(), &[], &[0; 10_000]] {
            assert_eq!(verify(proof), Code::CHALLENGE_FAILED);
        }
        // Signed is alice's address, and neither the `sub` nor the `email` of these says so.
        for claims in [
            json!({ "email": "alice@corp.example.evil", "email_verified": true }),
            json!({ "email": "Alice@corp.example", "email_verified": true }),
        ] {
            assert_eq!(code(verify_public_key_proof(&grant(claims), key.clone(), &proof)), Code::CHALLENGE_FAILED);
        }
    }

    #[test]
    fn a_workflow_may_prove_by_sub_or_by_the_verified_address_of_its_token() {
        let Some(exchange) = probe("f2-pop-over-sub-github") else { return };
        let token = exchange.request_json();
        let token = token["credentials"]["oidcIdentityToken"].as_str().expect("a token");
        let mut claims: Value =
            Value::Object(formats::jwt::Jws::parse(token).expect("a token").claims().expect("claims"));
        claims["iss"] = json!("https://token.actions.githubusercontent.com");
        claims["iat"] = json!(0);
        claims["nbf"] = json!(0);
        let (key, proof) = recorded_proof("f2-pop-over-sub-github").expect("recorded");
        assert!(verify_public_key_proof(&grant(claims.clone()), key, &proof).is_ok());
        let (key, proof) = recorded_proof("f2-ok").expect("recorded");
        assert_eq!(code(verify_public_key_proof(&grant(claims.clone()), key.clone(), &proof)), Code::CHALLENGE_FAILED);
        claims["email"] = json!(NAME);
        claims["email_verified"] = json!(true);
        assert!(verify_public_key_proof(&grant(claims), key, &proof).is_ok());
    }

    macro_rules! request {
        ($name:literal) => {
            verify_csr(&alice(), include_bytes!(concat!("../testdata/pkcs10/", $name, ".pem")))
        };
    }

    #[test]
    fn certificate_requests_give_their_key() {
        let kind = |verdict: Result<ProvenKey, ChallengeError>| verdict.expect("proven").key().kind();
        assert_eq!(kind(request!("p256")), KeyKind::EcdsaP256);
        assert_eq!(kind(request!("p256-newhdr")), KeyKind::EcdsaP256);
        assert_eq!(kind(request!("p384")), KeyKind::EcdsaP384);
        assert_eq!(kind(request!("p521")), KeyKind::EcdsaP521);
        assert_eq!(kind(request!("ed25519")), KeyKind::Ed25519);
        assert_eq!(kind(request!("rsa2048")), KeyKind::Rsa { bits: 2048 });
        assert_eq!(kind(request!("rsa3072")), KeyKind::Rsa { bits: 3072 });
        assert_eq!(kind(request!("rsa4096")), KeyKind::Rsa { bits: 4096 });
        let Some(exchange) = probe("f2-csr-pem") else { return };
        let pem = exchange.request_json()["certificateSigningRequest"].as_str().map(|text| STANDARD.decode(text));
        assert_eq!(kind(verify_csr(&alice(), &pem.expect("a request").expect("base64"))), KeyKind::EcdsaP256);
    }

    #[test]
    fn algorithms_that_do_not_go_with_the_key_are_refused() {
        let algorithm = |verdict| {
            assert!(matches!(verdict, Err(ChallengeError::RequestAlgorithm { .. })), "{verdict:?}");
            assert_eq!(code(verdict), Code::KEY_UNSUPPORTED);
        };
        algorithm(request!("p384-sha256"));
        algorithm(request!("rsa2048-sha1"));
        algorithm(request!("rsa2048-sha512"));
    }

    #[test]
    fn weak_and_foreign_keys_are_refused() {
        assert_eq!(request!("rsa2560"), Err(ChallengeError::RsaSize { bits: 2560 }));
        assert_eq!(request!("rsa2048e3"), Err(ChallengeError::Weak(Weakness::Exponent)));
        for verdict in [request!("rsa1024"), request!("secp256k1")] {
            assert!(matches!(verdict, Err(ChallengeError::Key(KeyError::Unsupported(_)))), "{verdict:?}");
            assert_eq!(code(verdict), Code::KEY_UNSUPPORTED);
        }
        assert_eq!(code(request!("rsa2560")), Code::KEY_UNSUPPORTED);
        assert_eq!(code(request!("rsa2048e3")), Code::KEY_UNSUPPORTED);
        // The same keys without a request: no proof is looked at.
        for (pem, refusal) in [
            (include_str!("../testdata/pkcs10/rsa2560.pem"), ChallengeError::RsaSize { bits: 2560 }),
            (include_str!("../testdata/pkcs10/rsa2048e3.pem"), ChallengeError::Weak(Weakness::Exponent)),
        ] {
            let (_, request) = der::pem::decode_vec(pem.as_bytes()).expect("PEM");
            let (info, ..) = request_parts(&request).expect("a request");
            let key = PublicKey::from_spki_der(request_key(info).expect("a key")).expect("a key");
            assert_eq!(verify_public_key_proof(&alice(), key, b"proof"), Err(refusal));
        }
    }

    /// RFC 2986 §4.1 has one version, 0, and nothing behind the attributes.
    #[test]
    fn a_request_of_another_version_or_with_something_behind_it_is_refused() {
        let (_, request) = der::pem::decode_vec(include_bytes!("../testdata/pkcs10/p256.pem")).expect("PEM");
        let (info, ..) = request_parts(&request).expect("a request");
        assert!(request_key(info).is_ok());
        let version = info.windows(3).position(|bytes| bytes == [2, 1, 0]).expect("version 0");
        let mut changed = info.to_vec();
        changed[version + 2] = 1;
        assert!(request_key(&changed).is_err());
        assert!(request_key(&[info, &[5, 0]].concat()).is_err());
    }

    #[test]
    fn malformed_certificate_requests_are_refused() {
        let pem = include_str!("../testdata/pkcs10/p256.pem");
        let (_, der) = der::pem::decode_vec(pem.as_bytes()).expect("PEM");
        let encode = |label, der: &[u8]| der::pem::encode_string(label, der::pem::LineEnding::LF, der).expect("PEM");
        let request = |der: &[u8]| verify_csr(&alice(), encode("CERTIFICATE REQUEST", der).as_bytes());
        assert!(request(&der).is_ok());
        assert_eq!(request(&[der.as_slice(), &[0]].concat()), Err(ChallengeError::Request), "trailing byte");
        for len in [0, 1, 10, der.len() / 2, der.len() - 1] {
            assert_eq!(code(request(&der[..len])), Code::KEY_UNSUPPORTED, "{len}");
        }
        for text in ["", "hello", &encode("CERTIFICATE", &der), &encode("PUBLIC KEY", &der), &format!("{pem}{pem}")] {
            assert_eq!(verify_csr(&alice(), text.as_bytes()), Err(ChallengeError::Request), "{text}");
        }
        assert_eq!(verify_csr(&alice(), &der), Err(ChallengeError::Request), "DER");
        let padded = |len: usize| format!("{pem}{}", "\n".repeat(len - pem.len()));
        assert!(verify_csr(&alice(), padded(MAX_REQUEST_LEN).as_bytes()).is_ok());
        assert_eq!(verify_csr(&alice(), padded(MAX_REQUEST_LEN + 1).as_bytes()), Err(ChallengeError::Request));
    }

    /// Every single changed bit of what is signed, of the key and of the signature.
    #[test]
    fn a_changed_certificate_request_proves_nothing() {
        let (_, der) = der::pem::decode_vec(include_bytes!("../testdata/pkcs10/p256.pem")).expect("PEM");
        for index in 0..der.len() {
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[index] ^= 1 << bit;
                let pem =
                    der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, &changed).expect("PEM");
                assert!(verify_csr(&alice_once(), pem.as_bytes()).is_err(), "bit {bit} of byte {index}");
            }
        }
    }

    /// One grant for thousands of requests.
    fn alice_once() -> Grant {
        static ALICE: std::sync::OnceLock<Grant> = std::sync::OnceLock::new();
        ALICE.get_or_init(alice).clone()
    }
}
