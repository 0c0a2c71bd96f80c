//! A running instance, as users start it, and what it says over HTTP.

mod audit;
mod ct;
mod durable;
mod fsck;
mod issuers;
mod login;
mod matrix;
mod oracles;
mod production;
mod refusals;
mod rekor_v1;
mod rekor_v2;
mod rules;
mod sealed;
mod shard;
mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::crypto::KeyKind;
use waxseal_formats::jwt;
use waxseal_formats::sct::{SignedCertificateTimestamp, leaf_index};
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_io::system;

const ALICE: &str = "alice@corp.example";
/// How often something is looked at before it counts as hanging, [`PAUSE`] apart.
const POLLS: usize = 600;
const PAUSE: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(30);

/// A user's home directory, with nothing of this machine's user in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).expect("written");
        self.text(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waxseal-under-test"));
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.0.path());
        for (name, folder) in [
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_CONFIG_HOME", "config"),
        ] {
            command.env(name, self.path(folder));
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("waxseal runs")
    }
}

/// `waxseal up`, stopped when dropped.
struct Up {
    child: Child,
    url: String,
    root_sha256: String,
    data_dir: PathBuf,
}

impl Drop for Up {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Up {
    /// Starts an instance on a free port, with its data below `home`.
    fn start(home: &Home) -> Self {
        Self::start_with(home, "127.0.0.1:0", &[])
    }

    fn start_with(home: &Home, listen: &str, more: &[&str]) -> Self {
        match Self::try_start(home, listen, more) {
            Ok(up) => up,
            Err(output) => panic!("up failed: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Starts an instance with these lines about its writers in its rules, which else admit whom the default ones admit.
    fn start_writing(home: &Home, writes: &str, more: &[&str]) -> Self {
        // The rules name the issuers by their URLs, so the address is chosen first.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("address").to_string();
        drop(listener);
        let rule = |name: &str, path: &str| {
            format!("  - {{name: {name}, issuer: 'http://{address}{path}', match: {{sub: \"**\"}}}}\n")
        };
        let rules = format!("rules:\n{}{}{writes}\n", rule("people", "/idp"), rule("workflows", "/idp/github"));
        let rules = home.write("rules.yaml", rules);
        Self::start_with(home, &address, &[&["--rules", &rules], more].concat())
    }

    /// Starts an instance and waits until it is ready; how it ended if it does not get so far.
    fn try_start(home: &Home, listen: &str, more: &[&str]) -> Result<Self, Output> {
        let data_dir = home.path("instance");
        let directory = data_dir.display().to_string();
        let arguments = [&["--output", "json", "up", "--data-dir", &directory, "--listen", listen], more].concat();
        let log = std::fs::File::options().create(true).append(true).open(home.path("up.log")).expect("log file");
        let start = usize::try_from(log.metadata().expect("log file").len()).expect("length");
        let mut command = home.command(&arguments);
        // A line for each request: what must not be written down is looked for in all of them.
        command.env("WAXSEAL_LOG", "waxseal=debug");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("up starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("stdout");
        match serde_json::from_str::<Value>(&line) {
            Ok(ready) if ready.get("root_sha256").is_some() => {
                let text = |name: &str| ready[name].as_str().expect("text").to_owned();
                Ok(Self { child, url: text("url"), root_sha256: text("root_sha256"), data_dir })
            }
            _ => {
                let status = child.wait().expect("ended");
                let log = std::fs::read(home.path("up.log")).expect("log file");
                Err(Output { status, stdout: line.into_bytes(), stderr: log.into_iter().skip(start).collect() })
            }
        }
    }

    /// The address to start the same instance on again.
    fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// SIGTERM, and until it has ended: what is under way is finished.
    fn stop(&mut self) {
        let process = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &process]).status().expect("kill runs");
        assert!(told.success() && self.child.wait().expect("ended").success());
    }

    /// A token minted by `waxseal token`.
    fn token(&self, home: &Home, arguments: &[&str]) -> String {
        let directory = self.data_dir.display().to_string();
        let fixed = ["token", "--instance", &self.url, "--data-dir", &directory];
        let output = home.run(&[&fixed[..], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// The claims of a good token of the provider for people.
    fn claims(&self, email: &str) -> Map<String, Value> {
        let now = system::now().as_second();
        object(json!({
            "iss": format!("{}/idp", self.url), "sub": email, "aud": "sigstore", "email": email, "email_verified": true,
            "iat": now, "nbf": now, "exp": now + 600,
        }))
    }

    fn provider_key(&self) -> KeyPair {
        KeyPair::load(&self.data_dir.join("keys/idp.pem")).expect("the provider's key")
    }

    fn provider_key_id(&self) -> String {
        hex::encode(self.provider_key().public_key().spki_sha256()).chars().take(16).collect()
    }

    /// Any claims at all under the provider's genuine signature.
    fn signed(&self, claims: &Map<String, Value>) -> String {
        let input = jwt::signing_input("RS256", &self.provider_key_id(), claims);
        jwt::assemble(&input, &self.provider_key().sign(input.as_bytes()).expect("signature"))
    }

    async fn get(&self, path: &str) -> Answer {
        ask(client().get(format!("{}{path}", self.url))).await
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = client().post(format!("{}{path}", self.url)).header("content-type", "application/json");
        ask(request.body(body)).await
    }

    /// The checkpoint of a log: `""` for Rekor's, `/ctlog` for the certificates'.
    async fn checkpoint(&self, log: &str) -> SignedCheckpoint {
        let answer = self.get(&format!("{log}/checkpoint")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        SignedCheckpoint::parse(&answer.text()).expect("a checkpoint")
    }

    /// Leaves in the published tree of a log; an empty one has no checkpoint.
    async fn size(&self, log: &str) -> u64 {
        match self.get(&format!("{log}/checkpoint")).await.status {
            404 => 0,
            _ => self.checkpoint(log).await.checkpoint.size,
        }
    }

    /// The size of the published tree, which follows the answers: waited for until it is at least `expected`.
    async fn size_reaching(&self, log: &str, expected: u64) -> u64 {
        for _ in 0..POLLS {
            let size = self.size(log).await;
            if size >= expected {
                return size;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{log} never reaches {expected} leaves");
    }

    /// Signs as alice and logs something, and returns where that went: what stood in the certificate log and in the Rekor
    /// log before. Indices are given out when something is stored, so nothing can be hidden from this.
    async fn mark(&self) -> (u64, u64) {
        let key = p256();
        let leaf = self.certificate(&key).await;
        let scts = SignedCertificateTimestamp::parse_list(leaf.sct_list().expect("SCTs")).expect("SCTs");
        let index = scts.first().and_then(|sct| leaf_index(&sct.extensions).ok()).expect("an index");
        let entry = self.post("/api/v2/log/entries", certified_entry(&key, &leaf, leaf.der()).to_string()).await;
        (index, entry.json()["logIndex"].as_str().and_then(|index| index.parse().ok()).expect("an index"))
    }

    /// Alice's certificate for a key.
    async fn certificate(&self, key: &KeyPair) -> Certificate {
        let request = certificate_request(key, ALICE, &self.signed(&self.claims(ALICE)));
        certificates(&self.post("/api/v2/signingCert", request.to_string()).await).remove(0)
    }

    /// Pins the instance by the checksum of its root.
    fn pin(&self, home: &Home) {
        let output = home.run(&["trust", "add", &self.url, "--root-sha256", &self.root_sha256]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// An HTTP answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The media type without parameters.
    fn media_type(&self) -> &str {
        media_type(self.header("content-type"))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?} {}", self.text()))
    }

    /// The reason code at the start of the message of a refusal.
    fn code(&self) -> String {
        let message = self.json()["message"].as_str().unwrap_or_default().to_owned();
        let code = message.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        code.map_or_else(String::new, |(code, _)| code.to_owned())
    }
}

fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// One connection a request: what one answer leaves behind is no part of the next one.
fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE).pool_max_idle_per_host(0);
        client.redirect(reqwest::redirect::Policy::none()).build().expect("client")
    })
}

async fn ask(request: reqwest::RequestBuilder) -> Answer {
    try_ask(request).await.expect("an answer")
}

async fn try_ask(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
}

/// Sends bytes as they are and reads what comes back until the other side closes.
fn raw(address: &str, request: &[u8]) -> Answer {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    // The other side may answer and close before it has seen everything.
    stream.write_all(request).ok();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok();
    let text = String::from_utf8_lossy(&bytes);
    let (head, _) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, headers: reqwest::header::HeaderMap::new(), body: bytes.split_off(head.len() + 4) }
}

/// The chain in the answer to a certificate request.
fn certificates(answer: &Answer) -> Vec<Certificate> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    certificates_in(&answer.json())
}

fn certificates_in(answer: &Value) -> Vec<Certificate> {
    let list = answer["signedCertificateEmbeddedSct"]["chain"]["certificates"].as_array().expect("a list");
    list.iter().map(|pem| Certificate::from_pem(pem.as_str().expect("text")).expect("PEM")).collect()
}

/// A key and a request for its certificate: `proof` is what it signs.
fn certificate_request(key: &KeyPair, proof: &str, token: &str) -> Value {
    let proof = key.sign(proof.as_bytes()).expect("signature");
    json!({
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": key.public_key().to_pem()},
            "proofOfPossession": STANDARD.encode(proof),
        },
    })
}

/// A genuine signature over `message` with a certificate's key, to be logged.
fn certified_entry(key: &KeyPair, certificate: &Certificate, message: &[u8]) -> Value {
    let mut request = entry_request(key, message);
    let verifier = &mut request["hashedRekordRequestV002"]["signature"]["verifier"];
    *verifier = json!({
        "x509Certificate": {"rawBytes": STANDARD.encode(certificate.der())},
        "keyDetails": verifier["keyDetails"],
    });
    request
}

/// A genuine signature over `message` with a key that has no certificate, which the log does not take unless told to.
fn entry_request(key: &KeyPair, message: &[u8]) -> Value {
    let digest = waxseal_formats::crypto::sha256(message);
    json!({"hashedRekordRequestV002": {
        "digest": STANDARD.encode(digest),
        "signature": {
            "content": STANDARD.encode(key.sign(message).expect("signature")),
            "verifier": {
                "publicKey": {"rawBytes": STANDARD.encode(key.public_key().spki_der())},
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    }})
}

fn p256() -> KeyPair {
    KeyPair::generate(KeyKind::EcdsaP256).expect("key")
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

/// Asserts the exit status and the reason code on the last line.
fn assert_refused(output: &Output, exit: i32, code: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(exit), "{text}");
    assert!(line.starts_with(&format!("error[{code}]: ")), "{text}");
}

/// Every file below a directory with its content, locks and sockets left out, and what an instance that runs takes
/// away meanwhile.
fn files(directory: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && !path.to_string_lossy().to_lowercase().ends_with("lock") {
                match std::fs::read(&path) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    content => drop(found.insert(path, content.expect("readable"))),
                }
            }
        }
    }
    found
}
