//! A certificate from Fulcio v2 for an identity token and a fresh key (fulcio `fulcio.proto`).

use super::SignError;
use super::service::{ask, below};
use serde_json::{Map, Value, json};
use url::Url;
use waxseal_formats::bundle::MAX_CHAIN;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyKind, Secret};
use waxseal_formats::json::{self, Node, encode_base64};
use waxseal_formats::jwt::Jws;
use waxseal_formats::x509::{Certificate, CertificateError};
use waxseal_io::signer::{KeyPair, Signer as _};
use waxseal_io::system;
use waxseal_io::transport::{Request, Transport};

const SERVICE: &str = "the certificate authority";
/// Longest answer, in bytes.
const MAX_ANSWER_LEN: usize = 256 << 10;

/// Proves that `key` is ours and returns the certificate for it, and those above it.
pub(super) async fn certificate(
    transport: &dyn Transport,
    authority: &Url,
    token: &Secret<String>,
    key: &KeyPair,
) -> Result<(Certificate, Vec<Certificate>), SignError> {
    let url = below(authority, "/api/v2/signingCert")?;
    let proof = key.sign(subject(token)?.as_bytes())?;
    let body = json!({"publicKeyRequest": {
        "publicKey": {"algorithm": algorithm(key.public_key().kind()), "content": key.public_key().to_pem()},
        "proofOfPossession": encode_base64(&proof),
    }});
    let request =
        Request::post(url.clone(), "application/json", body.to_string()).bearer(token).max_body_len(MAX_ANSWER_LEN);
    let response = ask(transport, SERVICE, request).await?;
    let unusable = |problem: String, code| SignError::Answer { service: SERVICE, url: url.to_string(), problem, code };
    let (certificate, above) = chain(&response.body).map_err(|(problem, code)| unusable(problem, code))?;
    let certified = certificate.public_key().map_err(|error| unusable(error.to_string(), error.code()))?;
    if certified != key.public_key() {
        return Err(unusable("a certificate for another key".into(), Code::SIGNATURE_KEY_MISMATCH));
    }
    Ok((certificate, above))
}

/// The first certificate of a chain that comes with an SCT in it, and the others.
fn chain(body: &[u8]) -> Result<(Certificate, Vec<Certificate>), (String, Code)> {
    let malformed = |error: json::JsonError| (error.to_string(), Code::CERTIFICATE_MALFORMED);
    let document = json::parse(body, MAX_ANSWER_LEN).map_err(malformed)?;
    let root = Node::root(&document);
    let Some(answer) = root.field("signedCertificateEmbeddedSct").map_err(malformed)? else {
        return Err(("a certificate without an embedded SCT, which a bundle cannot carry".into(), Code::SCT_MISSING));
    };
    let chain = answer.required("chain").and_then(|chain| chain.repeated("certificates")).map_err(malformed)?;
    let mut certificates = Vec::new();
    for pem in chain.iter().take(MAX_CHAIN) {
        let read = Certificate::from_pem(pem.string().map_err(malformed)?);
        certificates.push(read.map_err(|error: CertificateError| (error.to_string(), error.code()))?);
    }
    let mut certificates = certificates.into_iter();
    let first = certificates.next().ok_or_else(|| ("no certificate".into(), Code::CERTIFICATE_MALFORMED))?;
    Ok((first, certificates.collect()))
}

/// Fulcio ignores it and looks at the key.
const fn algorithm(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => "ECDSA",
        KeyKind::Rsa { .. } => "RSA_PSS",
        KeyKind::Ed25519 => "ED25519",
    }
}

/// What the proof of possession has to be a signature over: the email claim if there is one, else the subject, as every
/// client decides it. The token's signature is the authority's to check, its expiry is not worth a round trip.
fn subject(token: &Secret<String>) -> Result<String, SignError> {
    let claims = Jws::parse(token.expose())?.claims()?;
    if let Some(at) = expiry(&claims).filter(|at| *at < system::now()) {
        return Err(SignError::TokenExpired { at });
    }
    let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("email").or_else(|| text("sub")).map(ToOwned::to_owned).ok_or(SignError::TokenClaim)
}

fn expiry(claims: &Map<String, Value>) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}
