//! hashedrekord 0.0.2: a signature over a digest, with what verifies it (rekor-tiles `pkg/types/hashedrekord`).

use waxseal_formats::crypto::{Digest, KeyDetails, PublicKey};
use waxseal_formats::entry::request::{DsseRequest, HashedRekordRequest};
use waxseal_formats::entry::{Verifier, canonical_hashedrekord_002};

use super::RekorError;

/// Checks that the key is what the request says and made the signature over the digest; returns the canonical entry.
pub fn admit(request: &HashedRekordRequest) -> Result<Vec<u8>, RekorError> {
    let key = verifier_key(request.key_details, &request.verifier)?;
    key.verify_digest(&request.digest, &request.signature)?;
    Ok(request.canonical_body())
}

/// Checks that every signature of the envelope is by one of the verifiers; returns the canonical entry of the first signature,
/// whose digest is that of the pre-authentication encoding.
pub fn admit_dsse(request: &DsseRequest) -> Result<Vec<u8>, RekorError> {
    let pae = request.envelope.pae();
    let mut keys = Vec::with_capacity(request.verifiers.len());
    for (details, verifier) in &request.verifiers {
        let hash = details.hash().ok_or(RekorError::Unsupported(details.name()))?;
        keys.push((verifier_key(*details, verifier)?, hash.digest(&pae), *details, verifier));
    }
    let mut body = None;
    for (place, signature) in request.envelope.signatures.iter().enumerate() {
        let by = keys.iter().find(|(key, digest, ..)| key.verify_digest(digest, &signature.sig).is_ok());
        let (_, digest, details, verifier) = by.ok_or(RekorError::Envelope(place))?;
        body.get_or_insert_with(|| entry(digest, &signature.sig, *details, verifier));
    }
    body.ok_or(RekorError::Envelope(0))
}

fn entry(digest: &Digest, signature: &[u8], details: KeyDetails, verifier: &Verifier) -> Vec<u8> {
    canonical_hashedrekord_002(digest, signature, details, verifier)
}

/// The verifier's key, if it is of the stated kind and can check a signature against a digest.
fn verifier_key(details: KeyDetails, verifier: &Verifier) -> Result<PublicKey, RekorError> {
    // The provider has no Ed25519ph; pure Ed25519 needs the artifact, which the log never sees.
    if matches!(details, KeyDetails::PkixEd25519 | KeyDetails::PkixEd25519Ph) {
        return Err(RekorError::Unsupported(details.name()));
    }
    let key = verifier.public_key()?;
    if details.fits(key.kind()) {
        return Ok(key);
    }
    Err(RekorError::KeyDetails { stated: details.name(), found: key.kind().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _};
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::HashAlgorithm;
    use waxseal_formats::envelope::{Envelope, EnvelopeSignature};

    fn key(algorithm: &'static EcdsaSigningAlgorithm) -> (EcdsaKeyPair, Verifier) {
        let key = EcdsaKeyPair::generate(algorithm).unwrap();
        let spki = key.public_key().as_der().unwrap().as_ref().to_vec();
        (key, Verifier::PublicKey(spki))
    }

    fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
        #[expect(clippy::disallowed_methods, reason = "a test key signs")]
        let random = SystemRandom::new();
        key.sign(&random, message).unwrap().as_ref().to_vec()
    }

    const P256: KeyDetails = KeyDetails::PkixEcdsaP256Sha256;
    const P384: KeyDetails = KeyDetails::PkixEcdsaP384Sha384;

    fn refused<T: std::fmt::Debug>(result: Result<T, RekorError>) -> (RekorError, Code) {
        let error = result.unwrap_err();
        let code = error.code();
        (error, code)
    }

    #[test]
    fn signature_of_something_else_or_by_another_key_is_refused() {
        let (pair, verifier) = key(&signature::ECDSA_P256_SHA256_ASN1_SIGNING);
        let request = |message: &[u8], verifier: &Verifier| HashedRekordRequest {
            digest: HashAlgorithm::Sha256.digest(message),
            signature: sign(&pair, b"artifact"),
            key_details: P256,
            verifier: verifier.clone(),
        };
        let genuine = request(b"artifact", &verifier);
        assert_eq!(admit(&genuine).unwrap(), genuine.canonical_body());
        let expected = Code::SIGNATURE_INVALID;
        assert_eq!(refused(admit(&request(b"another", &verifier))).1, expected);
        let (_, other) = key(&signature::ECDSA_P256_SHA256_ASN1_SIGNING);
        assert_eq!(refused(admit(&request(b"artifact", &other))).1, expected);
    }

    #[test]
    fn key_of_another_kind_than_stated_is_refused() {
        let (pair, verifier) = key(&signature::ECDSA_P384_SHA384_ASN1_SIGNING);
        let request = |key_details, hash: HashAlgorithm, verifier: &Verifier| HashedRekordRequest {
            digest: hash.digest(b"artifact"),
            signature: sign(&pair, b"artifact"),
            key_details,
            verifier: verifier.clone(),
        };
        assert!(admit(&request(P384, HashAlgorithm::Sha384, &verifier)).is_ok());
        let stated = KeyDetails::PkixEcdsaP256Sha256.name();
        let error = RekorError::KeyDetails { stated, found: "ECDSA P-384".into() };
        let wrong = request(P256, HashAlgorithm::Sha256, &verifier);
        assert_eq!(refused(admit(&wrong)), (error, Code::KEY_UNSUPPORTED));
        for pure in [KeyDetails::PkixEd25519, KeyDetails::PkixEd25519Ph] {
            let wrong = request(pure, HashAlgorithm::Sha512, &verifier);
            assert_eq!(refused(admit(&wrong)), (RekorError::Unsupported(pure.name()), Code::KEY_UNSUPPORTED));
        }
        let garbage = request(P256, HashAlgorithm::Sha256, &Verifier::PublicKey(b"PEM".to_vec()));
        assert_eq!(refused(admit(&garbage)).1, Code::KEY_UNSUPPORTED);
    }

    #[test]
    fn every_signature_of_an_envelope_has_to_verify() {
        let (one, one_verifier) = key(&signature::ECDSA_P256_SHA256_ASN1_SIGNING);
        let (two, two_verifier) = key(&signature::ECDSA_P384_SHA384_ASN1_SIGNING);
        let envelope = |signers: &[&EcdsaKeyPair]| {
            let mut envelope = Envelope {
                payload_type: "application/vnd.in-toto+json".into(),
                payload: b"{}".to_vec(),
                signatures: Vec::new(),
            };
            let pae = envelope.pae();
            let signature = |key: &&EcdsaKeyPair| EnvelopeSignature { sig: sign(key, &pae), keyid: String::new() };
            envelope.signatures = signers.iter().map(signature).collect();
            envelope
        };
        let verifiers = vec![(P256, one_verifier.clone()), (P384, two_verifier.clone())];
        let request = DsseRequest { envelope: envelope(&[&two, &one]), verifiers };
        let expected = canonical_hashedrekord_002(
            &HashAlgorithm::Sha384.digest(&request.envelope.pae()),
            &request.envelope.signatures[0].sig,
            P384,
            &two_verifier,
        );
        assert_eq!(admit_dsse(&request).unwrap(), expected);
        let lacking = DsseRequest { verifiers: vec![(P384, two_verifier)], ..request };
        assert_eq!(refused(admit_dsse(&lacking)), (RekorError::Envelope(1), Code::SIGNATURE_ENVELOPE));
        let none = DsseRequest { envelope: envelope(&[]), verifiers: vec![(P256, one_verifier)] };
        assert_eq!(refused(admit_dsse(&none)).0, RekorError::Envelope(0));
    }
}
