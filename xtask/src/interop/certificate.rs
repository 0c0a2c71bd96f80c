//! A certificate of the instance, for what the harness signs itself.

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::{KeyPair, Signer};

use super::{command::Variables, http::Http};

/// Has the instance certify `key` for the identity of the token.
///
/// # Errors
///
/// When the instance refuses.
pub(crate) fn certificate(key: &KeyPair, variables: &Variables, http: &Http) -> anyhow::Result<Certificate> {
    let value = |name: &str| variables.value(name).with_context(|| name.to_owned());
    let request = json!({
        "credentials": {"oidcIdentityToken": value("token")?},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": key.public_key().to_pem()},
            "proofOfPossession": STANDARD.encode(key.sign(value("identity")?.as_bytes())?),
        },
    });
    let url = format!("{}/api/v2/signingCert", value("origin")?);
    let answer = http.post(&url, "application/json", request.to_string().into_bytes())?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let leaf = answer.pointer("/signedCertificateEmbeddedSct/chain/certificates/0").and_then(Value::as_str);
    Ok(Certificate::from_pem(leaf.context("no certificate")?)?)
}
