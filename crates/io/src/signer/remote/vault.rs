//! HashiCorp Vault and OpenBao: the transit secrets engine signs (`hashivault://KEY`, `openbao://KEY`).

use super::{Keeper, RemoteKey};
use crate::signer::SignerError;
use crate::transport::{Request, Response, Transport};
use formats::crypto::{Digest, HashAlgorithm, KeyKind, PublicKey, Secret};
use formats::json::{decode_base64, encode_base64};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use url::Url;
use waxseal_formats as formats;

/// The schemes of references to keys, and how the variables of each begin; the other one's are looked at after them.
pub const SCHEMES: [(&str, [&str; 2]); 2] = [("hashivault", ["VAULT", "BAO"]), ("openbao", ["BAO", "VAULT"])];
/// Longest answer, in bytes.
const MAX_ANSWER_LEN: usize = 1 << 20;
/// The DER of an Ed25519 key before its 32 bytes (RFC 8410 §4).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Where a key is, and as whom it is used.
pub struct Vault {
    transport: Arc<dyn Transport>,
    /// The engine, as a URL that ends with a slash.
    engine: Url,
    key: String,
    reference: String,
    token: Secret<String>,
    namespace: Option<String>,
    authorities: Option<Arc<str>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vault").field(&self.reference).finish()
    }
}

impl Vault {
    /// Reads the variables that Vault's and OpenBao's own programs read: address, token (else the file `~/.vault-token`), namespace and
    /// certificate authority. `reference` is `SCHEME://KEY`.
    ///
    /// # Errors
    /// [`SignerError::Key`] if something is missing or malformed, [`SignerError::File`].
    pub fn new(
        reference: &str,
        variable: &dyn Fn(&str) -> Option<String>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, SignerError> {
        let wrong = |problem: String| SignerError::Key(format!("{reference}: {problem}"));
        let (scheme, key) = reference.split_once("://").ok_or_else(|| wrong("it names no key".to_owned()))?;
        let known = SCHEMES.iter().find(|(known, _)| *known == scheme);
        let (_, prefixes) = known.ok_or_else(|| wrong(format!("{scheme} is not Vault")))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if !key.bytes().all(plain) || !ends(key.as_bytes().first()) || !ends(key.as_bytes().last()) {
            return Err(wrong(format!("{key:?} is no name of a transit key")));
        }
        let set = |name: &str| {
            prefixes.iter().find_map(|prefix| variable(&format!("{prefix}_{name}")).filter(|value| !value.is_empty()))
        };
        let [first, second] = prefixes;
        let address = set("ADDR").ok_or_else(|| wrong(format!("neither {first}_ADDR nor {second}_ADDR is set")))?;
        let engine = variable("TRANSIT_SECRET_ENGINE_PATH").filter(|path| !path.is_empty());
        let engine = engine.unwrap_or_else(|| "transit".to_owned());
        let url = format!("{}/v1/{}/", address.trim_end_matches('/'), engine.trim_matches('/'));
        let engine = Url::parse(&url).map_err(|error| wrong(format!("{address:?}: {error}")))?;
        let token = set("TOKEN").map_or_else(|| token_file(variable), |token| Ok(Some(token)))?;
        let token = token.ok_or_else(|| wrong(format!("neither {first}_TOKEN nor ~/.vault-token holds a token")))?;
        let authorities = set("CACERT").map(|path| {
            std::fs::read_to_string(&path).map(Arc::from).map_err(|source| SignerError::File { path, source })
        });
        Ok(Self {
            transport,
            engine,
            key: key.to_owned(),
            reference: reference.to_owned(),
            token: Secret::new(token),
            namespace: set("NAMESPACE"),
            authorities: authorities.transpose()?,
        })
    }

    /// The key, in its newest version.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn open(self) -> Result<RemoteKey, SignerError> {
        let answer = self.ask(Request::get(self.url(&["keys", &self.key])?))?;
        let data = answer.get("data");
        let version = data.and_then(|data| data.get("latest_version")).and_then(Value::as_u64);
        let version = version.ok_or_else(|| self.failed("its answer names no version"))?;
        let found = data.and_then(|data| data.get("keys")?.get(version.to_string()));
        let text = |name: &str| found.and_then(|key| key.get(name)).and_then(Value::as_str);
        let public = text("public_key").ok_or_else(|| self.failed("its key has no public half: it cannot sign"))?;
        let public = match text("name") {
            Some("ed25519") => {
                let raw = decode_base64(public).filter(|raw| raw.len() == 32);
                let raw = raw.ok_or_else(|| self.failed("its Ed25519 key is none"))?;
                PublicKey::from_spki_der(&[ED25519.as_slice(), &raw].concat())
            }
            _ => PublicKey::from_pem(public),
        };
        let public = public.map_err(|error| SignerError::Key(format!("{}: {error}", self.reference)))?;
        let kind = public.kind();
        Ok(RemoteKey::new(public, Signing { vault: self, version, kind }))
    }

    /// Makes a key, and opens it.
    ///
    /// # Errors
    /// [`SignerError`], also if there is one of that name.
    pub fn create(self, kind: KeyKind) -> Result<RemoteKey, SignerError> {
        let type_name = match kind {
            KeyKind::EcdsaP256 => "ecdsa-p256",
            KeyKind::EcdsaP384 => "ecdsa-p384",
            KeyKind::EcdsaP521 => "ecdsa-p521",
            KeyKind::Ed25519 => "ed25519",
            KeyKind::Rsa { bits: 2048 } => "rsa-2048",
            KeyKind::Rsa { bits: 3072 } => "rsa-3072",
            KeyKind::Rsa { bits: 4096 } => "rsa-4096",
            KeyKind::Rsa { .. } => {
                return Err(SignerError::Key(format!("{}: no {kind} keys are made", self.reference)));
            }
        };
        // Writing to a key that exists changes nothing, and would look as if this one had been made.
        if self.send(Request::get(self.url(&["keys", &self.key])?))?.status == 200 {
            return Err(SignerError::Key(format!("{} exists already", self.reference)));
        }
        self.post(&["keys", &self.key], &json!({"type": type_name}))?;
        self.open()
    }

    fn url(&self, segments: &[&str]) -> Result<Url, SignerError> {
        let mut url = self.engine.clone();
        url.path_segments_mut()
            .map_err(|()| self.failed("its address is no http URL"))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    fn post(&self, segments: &[&str], body: &Value) -> Result<Value, SignerError> {
        self.ask(Request::post(self.url(segments)?, "application/json", body.to_string()))
    }

    fn ask(&self, request: Request) -> Result<Value, SignerError> {
        let answer = self.send(request)?;
        match answer.status {
            200 => formats::json::parse(&answer.body, MAX_ANSWER_LEN).map_err(|_| self.failed("its answer is no JSON")),
            204 => Ok(Value::Null),
            status => Err(self.failed(&format!("it answers {status}: {}", answer.excerpt()))),
        }
    }

    /// Signers may block and are called from wherever that is allowed, so that a request gets a thread and a runtime of its own.
    fn send(&self, request: Request) -> Result<Response, SignerError> {
        let mut request = request.header("x-vault-token", self.token.expose().as_str()).max_body_len(MAX_ANSWER_LEN);
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace.as_str());
        }
        if let Some(authorities) = &self.authorities {
            request = request.trusting(Arc::clone(authorities));
        }
        let sent = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map(|runtime| runtime.block_on(self.transport.send(request)))
            });
            thread.join()
        });
        match sent {
            Ok(Ok(sent)) => sent.map_err(|source| SignerError::Unreachable { key: self.reference.clone(), source }),
            Ok(Err(error)) => Err(self.failed(&error.to_string())),
            Err(_) => Err(self.failed("the request ended early")),
        }
    }

    fn failed(&self, reason: &str) -> SignerError {
        SignerError::Remote { key: self.reference.clone(), reason: reason.to_owned() }
    }
}

/// The token that `vault login` keeps.
fn token_file(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, SignerError> {
    let Some(home) = variable("HOME").filter(|home| !home.is_empty()) else { return Ok(None) };
    let path = Path::new(&home).join(".vault-token");
    let read = crate::file::read(&path, 64 << 10);
    let bytes = read.map_err(|source| SignerError::File { path: path.display().to_string(), source })?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| text.trim().to_owned());
    Ok(text.filter(|text| !text.is_empty()))
}

/// A key's version in use.
struct Signing {
    vault: Vault,
    version: u64,
    kind: KeyKind,
}

impl Signing {
    fn signature(&self, segments: &[&str], body: &Value) -> Result<Vec<u8>, SignerError> {
        let answer = self.vault.post(segments, body)?;
        let signature = answer.get("data").and_then(|data| data.get("signature")).and_then(Value::as_str);
        // vault:vN:BASE64
        let encoded = signature.and_then(|signature| signature.rsplit(':').next());
        encoded.and_then(decode_base64).ok_or_else(|| self.vault.failed("its answer holds no signature"))
    }
}

impl Keeper for Signing {
    fn name(&self) -> String {
        self.vault.reference.clone()
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        let hash = match digest.algorithm() {
            HashAlgorithm::Sha256 => "sha2-256",
            HashAlgorithm::Sha384 => "sha2-384",
            HashAlgorithm::Sha512 => "sha2-512",
        };
        let mut body = json!({
            "input": encode_base64(digest.as_bytes()),
            "prehashed": true,
            "key_version": self.version,
        });
        let scheme = match self.kind {
            KeyKind::Rsa { .. } => ("signature_algorithm", "pkcs1v15"),
            _ => ("marshaling_algorithm", "asn1"),
        };
        if let Some(body) = body.as_object_mut() {
            body.insert(scheme.0.to_owned(), json!(scheme.1));
        }
        self.signature(&["sign", &self.vault.key, hash], &body)
    }

    fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let body = json!({"input": encode_base64(message), "key_version": self.version});
        self.signature(&["sign", &self.vault.key], &body)
    }
}

#[cfg(test)]
mod tests {
    use super::Vault;
    use crate::signer::{KeyPair, Signer as _, SignerError};
    use crate::transport::replay::Replay;
    use formats::code::Code;
    use formats::crypto::{HashAlgorithm, KeyKind};
    use formats::json::encode_base64;
    use serde_json::json;
    use std::collections::HashMap;
    use std::sync::Arc;
    use waxseal_formats as formats;

    const KEY: &str = "https://vault.example/v1/transit/keys/release";
    const SIGN: &str = "https://vault.example/v1/transit/sign/release/sha2-256";

    fn vault(reference: &str, variables: &[(&str, &str)], replay: &Arc<Replay>) -> Result<Vault, SignerError> {
        let variables: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let transport: Arc<Replay> = Arc::clone(replay);
        Vault::new(reference, &|name| variables.get(name).cloned(), transport)
    }

    fn answers(key: &KeyPair, signature: &[u8]) -> Arc<Replay> {
        let replay = Arc::new(Replay::new());
        let described = json!({"data": {"latest_version": 2, "keys": {
            "1": {"name": "P-256", "public_key": "old"},
            "2": {"name": "P-256", "public_key": key.public_key().to_pem()},
        }}});
        replay.answer("GET", KEY, 200, described.to_string());
        let signed = json!({"data": {"signature": format!("vault:v2:{}", encode_base64(signature))}});
        replay.answer("POST", SIGN, 200, signed.to_string());
        replay
    }

    const SET: [(&str, &str); 2] = [("BAO_ADDR", "https://vault.example/"), ("BAO_TOKEN", "hvs.secret")];

    #[test]
    fn the_newest_version_signs_and_what_comes_back_is_verified() {
        let key = KeyPair::generate(KeyKind::EcdsaP256).expect("a key");
        let digest = HashAlgorithm::Sha256.digest(b"message");
        let good = answers(&key, &key.sign(b"message").expect("signed"));
        let remote = vault("openbao://release", &SET, &good).expect("named").open().expect("opened");
        assert_eq!(remote.public_key(), key.public_key());
        remote.sign_digest(&digest).expect("signed");
        remote.sign(b"message").expect("signed");
        let asked = good.asked();
        assert_eq!(asked[1].header_value("x-vault-token"), Some("hvs.secret"));
        let body: serde_json::Value = serde_json::from_slice(asked[1].body()).expect("JSON");
        assert_eq!((&body["key_version"], &body["prehashed"]), (&json!(2), &json!(true)));
        assert_eq!(body["marshaling_algorithm"], "asn1");

        let bad = answers(&key, &key.sign(b"other").expect("signed"));
        let remote = vault("hashivault://release", &SET, &bad).expect("named").open().expect("opened");
        let error = remote.sign(b"message").expect_err("refused");
        assert_eq!(error.code(), Code::KEY_UNAVAILABLE);
        assert!(!error.to_string().contains("hvs.secret") && !format!("{remote:?}").contains("hvs.secret"));
    }

    #[test]
    fn answers_that_are_of_no_use_are_told_from_each_other() {
        let open = |status: u16, body: &str| {
            let replay = Arc::new(Replay::new());
            replay.answer("GET", KEY, status, body);
            vault("openbao://release", &SET, &replay).expect("named").open().expect_err("refused")
        };
        for (status, body, code) in [
            (403, r#"{"errors":["permission denied"]}"#, Code::KEY_UNAVAILABLE),
            (404, r#"{"errors":[]}"#, Code::KEY_UNAVAILABLE),
            (503, r#"{"errors":["Vault is sealed"]}"#, Code::KEY_UNAVAILABLE),
            (200, "<html>", Code::KEY_UNAVAILABLE),
            (200, r#"{"data":{"latest_version":3,"keys":{"1":{"public_key":"x"}}}}"#, Code::KEY_UNAVAILABLE),
            (200, r#"{"data":{"latest_version":1,"keys":{"1":1700000000}}}"#, Code::KEY_UNAVAILABLE),
            (
                200,
                r#"{"data":{"latest_version":1,"keys":{"1":{"name":"P-256","public_key":"x"}}}}"#,
                Code::KEY_UNSUPPORTED,
            ),
            (
                200,
                r#"{"data":{"latest_version":1,"keys":{"1":{"name":"ed25519","public_key":"AAAA"}}}}"#,
                Code::KEY_UNAVAILABLE,
            ),
        ] {
            let error = open(status, body);
            assert_eq!(error.code(), code, "{status} {body}: {error}");
        }
        assert!(open(503, r#"{"errors":["Vault is sealed"]}"#).to_string().contains("sealed"));
        let nobody = Arc::new(Replay::new());
        let error = vault("openbao://release", &SET, &nobody).expect("named").open().expect_err("down");
        assert_eq!(error.code(), Code::NETWORK_UNREACHABLE);
    }

    #[test]
    fn a_reference_and_its_variables_have_to_be_whole() {
        let replay = Arc::new(Replay::new());
        for reference in
            ["openbao://", "openbao://../x", "openbao://a/b", "openbao://-a", "openbao://a?b", "awskms://a", "a"]
        {
            assert_eq!(vault(reference, &SET, &replay).expect_err(reference).code(), Code::KEY_UNSUPPORTED);
        }
        for variables in [&SET[..1], &SET[1..], &[("BAO_ADDR", "nothing"), SET[1]]] {
            assert_eq!(vault("openbao://a", variables, &replay).expect_err("refused").code(), Code::KEY_UNSUPPORTED);
        }
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join(".vault-token"), "from-file\n").expect("written");
        let home = home.path().to_str().expect("text");
        let found = vault("hashivault://a", &[SET[0], ("HOME", home)], &replay).expect("whole");
        assert_eq!(found.token.expose(), "from-file");
        // Each scheme's own variables come first.
        let both = [SET[0], SET[1], ("VAULT_ADDR", "https://other.example"), ("VAULT_TOKEN", "t")];
        assert!(vault("hashivault://a", &both, &replay).expect("whole").engine.as_str().contains("other.example"));
        assert!(vault("openbao://a", &both, &replay).expect("whole").engine.as_str().contains("vault.example"));
    }

    #[test]
    fn a_key_is_made_once() {
        let key = KeyPair::generate(KeyKind::EcdsaP256).expect("a key");
        let there = answers(&key, &[]);
        let error =
            vault("openbao://release", &SET, &there).expect("named").create(KeyKind::EcdsaP256).expect_err("there");
        assert!(error.to_string().contains("exists"), "{error}");
        let replay = Arc::new(Replay::new());
        replay.answer("GET", KEY, 404, r#"{"errors":[]}"#);
        let described = json!({"data": {"latest_version": 1, "keys": {"1": {"name": "P-256", "public_key": key.public_key().to_pem()}}}});
        replay.answer("GET", KEY, 200, described.to_string());
        replay.answer("POST", KEY, 204, "");
        let made = vault("openbao://release", &SET, &replay).expect("named").create(KeyKind::EcdsaP256).expect("made");
        assert_eq!(made.public_key(), key.public_key());
    }
}
