//! Plugins: a program `sigstore-kms-SCHEME` on PATH speaks for whatever keeps the key (sigstore `pkg/signature/kms/cliplugin`, `v1`).
//!
//! ```text
//! sigstore-kms-SCHEME v1 '{"initOptions":{"protocolVersion":"v1","keyResourceID":"KEY","hashFunc":5,…},"methodName":"publicKey",…}'
//! stdin: the message   stdout: {"publicKey":{"publicKeyPEM":"BASE64"}} or {"errorMessage":"…"}   the exit status says nothing
//! ```

use super::{Keeper, RemoteKey};
use crate::signer::SignerError;
use formats::crypto::{Digest, HashAlgorithm, PublicKey};
use formats::json::{self, decode_base64, encode_base64};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use waxseal_formats as formats;

const PROTOCOL: &str = "v1";
/// How plugins are called.
pub const PREFIX: &str = "sigstore-kms-";
/// Longest answer, in bytes.
const MAX_ANSWER_LEN: u64 = 1 << 20;
/// How long a plugin may take: it may ask somebody to touch a key.
const PATIENCE: Duration = Duration::from_secs(120);

/// A plugin and a key of its.
#[derive(Clone, Debug)]
pub struct Plugin {
    program: PathBuf,
    key: String,
    reference: String,
    patience: Duration,
}

impl Plugin {
    /// Looks for the plugin of a reference `SCHEME://KEY` in the folders of `path`.
    ///
    /// # Errors
    /// [`SignerError::Key`] if there is none.
    pub fn find(reference: &str, path: &str) -> Result<Self, SignerError> {
        let wrong = |problem: String| SignerError::Key(format!("{reference}: {problem}"));
        let (scheme, key) = reference.split_once("://").ok_or_else(|| wrong("it names no key".to_owned()))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if scheme.is_empty() || !scheme.bytes().all(plain) {
            return Err(wrong(format!("{scheme:?} is no name of a plugin")));
        }
        let name = format!("{PREFIX}{scheme}");
        let program = std::env::split_paths(path).map(|folder| folder.join(&name)).find(|program| program.is_file());
        let program = program.ok_or_else(|| wrong(format!("keys of {scheme} need the program {name} on PATH")))?;
        Ok(Self { program, key: key.to_owned(), reference: reference.to_owned(), patience: PATIENCE })
    }

    /// The key.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn open(self) -> Result<RemoteKey, SignerError> {
        let answer =
            self.call("publicKey", &json!({"publicKeyOptions": {"rpcOptions": {}}}), HashAlgorithm::Sha256, &[])?;
        let public = self.public_key(&answer)?;
        Ok(RemoteKey::new(public, self))
    }

    /// Makes a key of the plugin's own choice, and opens it.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn create(self) -> Result<RemoteKey, SignerError> {
        let chosen = self.call("defaultAlgorithm", &json!({}), HashAlgorithm::Sha256, &[])?;
        let algorithm = chosen.get("defaultAlgorithm").and_then(Value::as_str).unwrap_or_default();
        let made = self.call("createKey", &json!({"algorithm": algorithm}), HashAlgorithm::Sha256, &[])?;
        let public = self.public_key(&made)?;
        Ok(RemoteKey::new(public, self))
    }

    fn public_key(&self, answer: &Value) -> Result<PublicKey, SignerError> {
        let pem = answer.get("publicKeyPEM").and_then(Value::as_str).and_then(decode_base64);
        let pem =
            pem.and_then(|pem| String::from_utf8(pem).ok()).ok_or_else(|| self.failed("its answer holds no key"))?;
        PublicKey::from_pem(&pem).map_err(|error| SignerError::Key(format!("{}: {error}", self.reference)))
    }

    /// Calls a method, and returns the member of the answer that is called like it.
    fn call(&self, method: &str, arguments: &Value, hash: HashAlgorithm, input: &[u8]) -> Result<Value, SignerError> {
        let request = json!({
            "initOptions": {
                "protocolVersion": PROTOCOL, "keyResourceID": self.key, "hashFunc": number(hash), "rpcOptions": {},
            },
            "methodName": method,
            method: arguments,
        });
        let said = self.run(&request.to_string(), input)?;
        let answer = json::parse(&said, said.len()).map_err(|_| self.failed("what it prints is no JSON"))?;
        if let Some(message) = answer.get("errorMessage").and_then(Value::as_str).filter(|message| !message.is_empty())
        {
            let shown: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
            return Err(self.failed(&shown));
        }
        answer.get(method).cloned().ok_or_else(|| self.failed(&format!("its answer says nothing of {method}")))
    }

    /// Runs the program, whose complaints on stderr the user sees.
    fn run(&self, request: &str, input: &[u8]) -> Result<Vec<u8>, SignerError> {
        let broken = |error: std::io::Error| self.failed(&error.to_string());
        let mut command = Command::new(&self.program);
        command.args([PROTOCOL, request]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(broken)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (send, receive) = channel();
        let input = input.to_vec();
        // Threads, since whoever reads nothing blocks a writer; each ends when the program does.
        std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
        std::thread::spawn(move || {
            let mut said = Vec::new();
            let limit = MAX_ANSWER_LEN.saturating_add(1);
            let read = stdout.map_or(Ok(0), |stdout| stdout.take(limit).read_to_end(&mut said));
            let _ = send.send(read.map(|_| said));
        });
        let said = match receive.recv_timeout(self.patience) {
            Ok(Ok(said)) if said.len() as u64 <= MAX_ANSWER_LEN => said,
            Ok(Ok(_)) => return Err(self.ended(child, "it prints without end")),
            Ok(Err(error)) => return Err(self.ended(child, &error.to_string())),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(self.ended(child, &format!("it has not answered within {} s", self.patience.as_secs())));
            }
        };
        // It has closed its output. What its exit status is does not matter, only that it does not stay.
        let _ = child.kill();
        child.wait().map_err(broken)?;
        Ok(said)
    }

    fn ended(&self, mut child: Child, reason: &str) -> SignerError {
        let _ = child.kill();
        let _ = child.wait();
        self.failed(reason)
    }

    fn failed(&self, reason: &str) -> SignerError {
        SignerError::Remote { key: self.reference.clone(), reason: format!("{}: {reason}", self.program.display()) }
    }

    fn signature(&self, options: &Value, hash: HashAlgorithm, input: &[u8]) -> Result<Vec<u8>, SignerError> {
        let arguments = json!({"signOptions": {"rpcOptions": {}, "messageOptions": options}});
        let answer = self.call("signMessage", &arguments, hash, input)?;
        let signature = answer.get("signature").and_then(Value::as_str).and_then(decode_base64);
        signature.ok_or_else(|| self.failed("its answer holds no signature"))
    }
}

impl Keeper for Plugin {
    fn name(&self) -> String {
        self.reference.clone()
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        let hash = digest.algorithm();
        let options = json!({"digest": encode_base64(digest.as_bytes()), "hashFunc": number(hash)});
        self.signature(&options, hash, &[])
    }

    fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.signature(&json!({}), HashAlgorithm::Sha512, message)
    }
}

/// Go's `crypto.Hash`.
const fn number(hash: HashAlgorithm) -> u8 {
    match hash {
        HashAlgorithm::Sha256 => 5,
        HashAlgorithm::Sha384 => 6,
        HashAlgorithm::Sha512 => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::Plugin;
    use crate::signer::{KeyPair, Signer as _};
    use formats::code::Code;
    use formats::crypto::KeyKind;
    use formats::json::encode_base64;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;
    use waxseal_formats as formats;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(body: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let program = folder.path().join("sigstore-kms-test");
            std::fs::write(&program, format!("#!/bin/sh\n{body}\n")).expect("written");
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("set");
            Self(folder)
        }

        fn plugin(&self) -> Plugin {
            let found = Plugin::find("test://my/key?x=1", self.0.path().to_str().expect("text")).expect("found");
            Plugin { patience: Duration::from_millis(500), ..found }
        }
    }

    /// A plugin in a few lines of shell: it answers by method, and keeps what it was told.
    fn answering(public: &str, signature: &[u8]) -> Folder {
        let key = json!({"publicKey": {"publicKeyPEM": encode_base64(public.as_bytes())}});
        let made = json!({"createKey": {"publicKeyPEM": encode_base64(public.as_bytes())}});
        let signed = json!({"signMessage": {"signature": encode_base64(signature)}});
        Folder::new(&format!(
            "test \"$1\" = v1 || exit 9\nprintf '%s\\n' \"$2\" >> \"$(dirname \"$0\")/told\"\ncat > /dev/null\n\
             case \"$2\" in *'\"methodName\":\"publicKey\"'*) echo '{key}';; *'\"methodName\":\"signMessage\"'*) echo '{signed}';; \
             *'\"methodName\":\"createKey\"'*) echo '{made}';; *) echo '{{\"defaultAlgorithm\":{{\"defaultAlgorithm\":\"p256\"}}}}';; esac\nexit 3"
        ))
    }

    #[test]
    fn a_plugin_signs_and_is_not_believed() {
        let key = KeyPair::generate(KeyKind::EcdsaP256).expect("a key");
        let folder = answering(&key.public_key().to_pem(), &key.sign(b"message").expect("signed"));
        let remote = folder.plugin().open().expect("opened");
        assert_eq!(remote.public_key(), key.public_key());
        remote.sign(b"message").expect("signed");
        assert_eq!(folder.plugin().create().expect("made").public_key(), key.public_key());
        let told = std::fs::read_to_string(folder.0.path().join("told")).expect("told");
        assert!(told.contains(r#""keyResourceID":"my/key?x=1""#) && told.contains(r#""hashFunc":5"#), "{told}");
        let error = remote.sign(b"other").expect_err("refused");
        assert_eq!(error.code(), Code::KEY_UNAVAILABLE);
    }

    #[test]
    fn a_hostile_plugin_costs_little_and_is_named() {
        for body in [
            "echo '{\"errorMessage\":\"no such key\"}'",
            "echo hello",
            "echo '{}'",
            "exit 1",
            "yes",
            "sleep 60",
            "echo '{\"publicKey\":{\"publicKeyPEM\":\"!\"}}'",
            "echo '{\"publicKey\":{}}'",
        ] {
            let folder = Folder::new(body);
            let error = folder.plugin().open().expect_err(body);
            assert_eq!(error.code(), Code::KEY_UNAVAILABLE, "{body}: {error}");
            assert!(error.to_string().contains("sigstore-kms-test"), "{error}");
        }
        let folder = answering("no PEM", &[]);
        assert_eq!(folder.plugin().open().expect_err("no key").code(), Code::KEY_UNSUPPORTED);
    }

    #[test]
    fn a_plugin_that_is_missing_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let find = |reference: &str| Plugin::find(reference, folder.path().to_str().expect("text")).expect_err("none");
        assert!(find("awskms:///alias/release").to_string().contains("sigstore-kms-awskms"));
        for reference in ["awskms:///x", "../evil://x", "://x", "plain", "a b://c"] {
            assert_eq!(find(reference).code(), Code::KEY_UNSUPPORTED, "{reference}");
        }
    }
}
