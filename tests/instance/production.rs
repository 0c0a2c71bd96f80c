//! `init` and `serve`: an instance for production, whose signers another provider vouches for.

use super::{ALICE, Answer, Home, PAUSE, POLLS, Up, ask, assert_refused, certificate_request, client, p256};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A directory that `init` made.
struct Made {
    url: String,
    root_sha256: String,
    data_dir: PathBuf,
    config: String,
}

impl Made {
    /// On a free port, with these options besides.
    fn new(home: &Home, more: &[&str]) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        drop(listener);
        let directory = home.text("production");
        let fixed = ["--output", "json", "init", "--data-dir", &directory, "--public-url", &url, "--yes"];
        let output = home.run(&[&fixed[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        assert_eq!(text("url"), url);
        Self { url, root_sha256: text("root_sha256"), data_dir: text("data_dir").into(), config: text("config") }
    }

    /// Adds lines to the configuration.
    fn configure(&self, lines: &str) {
        let text = std::fs::read_to_string(&self.config).expect("a configuration");
        std::fs::write(&self.config, format!("{text}\n{lines}\n")).expect("written");
    }

    fn serve(&self, home: &Home) -> Served {
        let log = std::fs::File::options().create(true).append(true).open(home.path("serve.log")).expect("log file");
        let mut command = home.command(&["--output", "json", "serve", "--config", &self.config]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("serve starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("stdout");
        let served = Served { child };
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("serve failed: {}", std::fs::read_to_string(home.path("serve.log")).expect("log"))
        });
        assert_eq!(
            (ready["url"].as_str(), ready["root_sha256"].as_str()),
            (Some(&*self.url), Some(&*self.root_sha256))
        );
        served
    }

    fn pin(&self, home: &Home) {
        let output = home.run(&["trust", "add", &self.url, "--root-sha256", &self.root_sha256]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// `waxseal serve`, killed when dropped.
struct Served {
    child: Child,
}

impl Served {
    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(told.success());
    }

    fn stop(mut self) {
        self.signal("-TERM");
        assert!(self.child.wait().expect("ended").success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Whom the rules of [`Admitting`] do not admit.
const EVE: &str = "eve@elsewhere.example";

/// An instance that admits everybody at corp.example, and rules to be changed.
struct Admitting {
    made: Made,
    served: Served,
    /// The rules.
    strict: String,
    /// Where they stand.
    file: PathBuf,
    /// Tokens of [`ALICE`] and [`EVE`].
    alice: String,
    eve: String,
    provider: (Up, Home),
}

impl Admitting {
    fn start(home: &Home) -> Self {
        Self::configured(home, "")
    }

    /// With these lines in its configuration.
    fn configured(home: &Home, lines: &str) -> Self {
        let outside = Home::new();
        let provider = Up::start(&outside);
        let rules = rules(home, &provider, "*@corp.example");
        let made = Made::new(home, &["--rules", &rules]);
        made.configure(lines);
        let served = made.serve(home);
        let (strict, file) = (std::fs::read_to_string(&rules).expect("rules"), made.data_dir.join("rules.yaml"));
        let token = |identity: &str| provider.token(&outside, &["--identity", identity]);
        let (alice, eve) = (token(ALICE), token(EVE));
        Self { made, served, strict, file, alice, eve, provider: (provider, outside) }
    }

    /// Asks for a certificate for a new key.
    async fn ask_for(&self, identity: &str, token: &str) -> Answer {
        let request = certificate_request(&p256(), identity, token).to_string();
        let request = client().post(format!("{}/api/v2/signingCert", self.made.url)).body(request);
        ask(request.header("content-type", "application/json")).await
    }

    async fn metrics(&self) -> String {
        ask(client().get(format!("{}/metrics", self.made.url))).await.text()
    }
}

/// Rules that admit these people of a provider.
fn rules(home: &Home, provider: &Up, email: &str) -> String {
    let issuer = format!("{}/idp", provider.url);
    let rule = format!("rules:\n  - {{name: people, issuer: '{issuer}', match: {{email: '{email}'}}}}\n");
    home.write("given-rules.yaml", rule)
}

fn sign(home: &Home, made: &Made, token: &str) -> std::process::Output {
    let (file, bundle) = (home.write("release.txt", "a release\n"), home.text("release.sigstore.json"));
    home.run(&["sign-blob", "--instance", &made.url, "--identity-token", token, "--bundle", &bundle, &file])
}

#[tokio::test]
async fn an_outside_provider_vouches_for_signers_and_serve_has_no_provider_of_its_own() {
    let (home, outside) = (Home::new(), Home::new());
    let provider = Up::start(&outside);
    let issuer = format!("{}/idp", provider.url);
    let rules = rules(&home, &provider, "*@corp.example");
    let made = Made::new(&home, &["--rules", &rules, "--login-issuer", &issuer]);
    let served = made.serve(&home);

    let told = ask(client().get(format!("{}/client.json", made.url))).await.json();
    assert_eq!((told["oidcIssuer"].as_str(), told["privacy"].as_str()), (Some(&*issuer), Some("sealed")));
    for path in ["/idp/.well-known/openid-configuration", "/idp/mint", "/idp/authorize"] {
        assert_eq!(ask(client().get(format!("{}{path}", made.url))).await.status, 404, "{path}");
    }

    made.pin(&home);
    let token = |identity: &str| provider.token(&outside, &["--identity", identity]);
    let signed = sign(&home, &made, &token(ALICE));
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let bundle = home.text("release.sigstore.json");
    let verified = home.run(&[
        "verify-blob",
        "--instance",
        &made.url,
        "--certificate-identity",
        ALICE,
        "--certificate-oidc-issuer",
        &issuer,
        "--bundle",
        &bundle,
        &home.text("release.txt"),
    ]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert_refused(&sign(&home, &made, &token(EVE)), 1, "rule.denied");

    let doctor = home.run(&["doctor", "--config", &made.config, "--identity-token", &token(ALICE), "--output", "json"]);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    let found: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    let state = |subject: &str| {
        let findings = found["findings"].as_array().expect("findings");
        let finding = findings.iter().find(|finding| finding["subject"].as_str() == Some(subject));
        finding.map(|finding| finding["state"].as_str().expect("a state").to_owned())
    };
    for subject in ["keys", "timestamp", "clock", "trust", "signature", &format!("issuer {issuer}")] {
        assert_eq!(state(subject).as_deref(), Some("good"), "{subject}: {found}");
    }
    // As its clients see it, the same token signs.
    let doctor = home.run(&["doctor", "--instance", &made.url, "--identity-token", &token(ALICE)]);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stderr));
    // A denied one is told with the way out, and an issuer that is gone by its name.
    let denied = ["doctor", "--config", &made.config, "--identity-token", &token(EVE)];
    assert_refused(&home.run(&denied), 1, "rule.denied");
    drop(provider);
    let gone = home.run(&["doctor", "--config", &made.config]);
    assert_refused(&gone, 1, "network.unreachable");
    assert!(String::from_utf8_lossy(&gone.stdout).contains(&format!("FAILED   issuer {issuer}")));
    served.stop();
}

#[tokio::test]
async fn changed_rules_are_taken_up_while_it_serves_and_bad_ones_are_not() {
    let home = Home::new();
    let admitting = Admitting::start(&home);
    let Admitting { made, served, strict, file, alice, eve, .. } = &admitting;
    let eve_gets = async |status: u16| {
        for _ in 0..POLLS {
            // Whoever the rules admit before and after is never refused in between.
            assert_eq!(admitting.ask_for(ALICE, alice).await.status, 200);
            if admitting.ask_for(EVE, eve).await.status == status {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("eve never gets {status}");
    };
    let config = async || ask(client().get(format!("{}/readyz", made.url))).await.json()["config"].clone();
    assert_eq!(admitting.ask_for(EVE, eve).await.code(), "rule.denied");

    std::fs::write(file, strict.replace("*@corp.example", "**")).expect("written");
    served.signal("-HUP");
    eve_gets(200).await;
    assert!(config().await["reloaded"].is_string() && config().await["refused"].is_null());

    // Half a rule: the old ones decide, and it says why.
    std::fs::write(file, "rules:\n  - name: people\n").expect("written");
    served.signal("-HUP");
    for _ in 0..POLLS {
        if config().await["refused"].is_object() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let refused = config().await["refused"].clone();
    assert_eq!(refused["code"], "policy.malformed");
    assert!(refused["message"].as_str().expect("text").contains("rules.yaml"), "{refused}");
    assert_eq!(admitting.ask_for(EVE, eve).await.status, 200);
    let metrics = admitting.metrics().await;
    assert!(metrics.contains("waxseal_config_refused 1"), "{metrics}");

    // Without a signal the change is found.
    std::fs::write(file, strict).expect("written");
    eve_gets(400).await;
    assert!(config().await["refused"].is_null());
    admitting.served.stop();
}

#[tokio::test]
async fn a_limit_of_the_configuration_is_for_each_identity_and_the_metrics_follow_the_logs() {
    let home = Home::new();
    let admitting = Admitting::configured(&home, "limits: {certificates_per_minute: 2}");
    let bob = admitting.provider.0.token(&admitting.provider.1, &["--identity", "bob@corp.example"]);
    let before = admitting.metrics().await;
    for _ in 0..2 {
        assert_eq!(admitting.ask_for(ALICE, &admitting.alice).await.status, 200);
    }
    let refused = admitting.ask_for(ALICE, &admitting.alice).await;
    assert_eq!((refused.status, &*refused.code()), (429, "rule.limit"));
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| (1..=60).contains(&seconds)));
    assert_eq!(admitting.ask_for("bob@corp.example", &bob).await.status, 200);
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().parse::<u64>().expect("a number")
    };
    let after = admitting.metrics().await;
    let entries = |text: &str| value(text, r#"waxseal_log_entries{log="ct"}"#);
    assert_eq!(entries(&after), entries(&before) + 3);
    assert!(value(&after, r#"waxseal_log_published_entries{log="ct"}"#) <= entries(&after));
    assert_eq!(value(&after, r#"waxseal_log_waiting{log="ct"}"#), 0);
    for log in ["rekor-v1", "rekor-v2"] {
        assert_eq!(value(&after, &format!("waxseal_log_waiting{{log=\"{log}\"}}")), 0);
    }
    assert!(value(&after, "waxseal_connections") >= 1);
    admitting.served.stop();
}

/// Row 47: every decision is made by one configuration, whatever is exchanged meanwhile.
#[tokio::test]
async fn reloads_under_load_lose_no_request_and_mix_no_rules() {
    let home = Home::new();
    let admitting = Admitting::start(&home);
    let Admitting { served, strict, file, alice, eve, .. } = &admitting;
    let stop = std::cell::Cell::new(false);
    let load = async |identity: &str, token: &str| {
        let mut statuses = BTreeSet::new();
        while !stop.get() {
            let answer = admitting.ask_for(identity, token).await;
            if answer.status != 200 {
                assert_eq!((identity, &*answer.code()), (EVE, "rule.denied"));
            }
            statuses.insert(answer.status);
        }
        statuses
    };
    let reloads = async || {
        let metrics = admitting.metrics().await;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(r#"waxseal_config_reloads_total{outcome="done"} "#));
        line.expect("a counter").parse::<u32>().expect("a number")
    };
    let exchange = async {
        for turn in 0..10 {
            let before = reloads().await;
            let text = if turn % 2 == 0 { strict.replace("*@corp.example", "**") } else { strict.clone() };
            std::fs::write(home.path("next.yaml"), text).expect("written");
            std::fs::rename(home.path("next.yaml"), file).expect("renamed");
            served.signal("-HUP");
            for _ in 0..POLLS {
                if reloads().await > before {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
            assert!(reloads().await > before, "turn {turn}");
        }
        stop.set(true);
    };
    let (first, second, of_eve, ()) = tokio::join!(load(ALICE, alice), load(ALICE, alice), load(EVE, eve), exchange);
    assert_eq!((first, second), (BTreeSet::from([200]), BTreeSet::from([200])));
    assert_eq!(of_eve, BTreeSet::from([200, 400]), "both rules decided");
    admitting.served.stop();
}

#[test]
fn keys_are_sealed_and_the_root_key_is_not_needed() {
    let home = Home::new();
    let made = Made::new(&home, &[]);
    let keys: Vec<_> = std::fs::read_dir(made.data_dir.join("keys")).expect("keys").flatten().collect();
    assert!(keys.len() >= 10, "{keys:?}");
    for key in &keys {
        let text = std::fs::read_to_string(key.path()).expect("a key");
        assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"), "{key:?}");
        assert_ne!(key.file_name(), "tuf-root.pem");
        assert_eq!(key.metadata().expect("metadata").permissions().mode() & 0o777, 0o600);
    }
    std::fs::rename(made.data_dir.join("offline"), home.path("elsewhere")).expect("taken away");
    made.serve(&home).stop();
    // What an operator does with a stopped instance needs the passphrase as well, and finds it.
    let directory = made.data_dir.display().to_string();
    let sharded = home.run(&["log", "shard", "--data-dir", &directory]);
    assert!(sharded.status.success(), "{}", String::from_utf8_lossy(&sharded.stderr));
    let checked = home.run(&["log", "fsck", "--data-dir", &directory]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    made.serve(&home).stop();

    let serve = || home.run(&["serve", "--config", &made.config]);
    let doctor = || home.run(&["doctor", "--config", &made.config]);
    let passphrase = made.data_dir.join("secrets/passphrase");
    let good = std::fs::read_to_string(&passphrase).expect("a passphrase");
    std::fs::write(&passphrase, "another passphrase\n").expect("written");
    assert_refused(&serve(), 1, "key.passphrase");
    assert_refused(&doctor(), 1, "key.passphrase");
    std::fs::write(&passphrase, good).expect("written");
    for path in [passphrase, made.data_dir.join("keys/ca.pem")] {
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        set(0o644);
        assert_refused(&serve(), 1, "key.permissions");
        assert_refused(&doctor(), 1, "key.permissions");
        set(0o600);
    }
    made.serve(&home).stop();
}

#[test]
fn init_that_broke_off_goes_on() {
    let home = Home::new();
    let made = Made::new(&home, &[]);
    let again = |root: &str| {
        let directory = made.data_dir.display().to_string();
        let output = home.run(&["init", "--data-dir", &directory, "--public-url", &made.url, "--yes"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && text.contains(root), "{text}");
    };
    // Until it is whole it has no manifest: what is missing is made, what is there stays.
    std::fs::remove_file(made.data_dir.join("instance.json")).expect("removed");
    again(&made.root_sha256);
    for name in ["tuf", "logs/rekor", "certificates/tsa.pem", "waxseal.yaml"] {
        let path = made.data_dir.join(name);
        std::fs::remove_file(made.data_dir.join("instance.json")).expect("removed");
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.expect("removed");
        again("root checksum");
    }
    let doctor = home.run(&["doctor", "--config", &made.config]);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
}

#[test]
fn passphrases_are_taken_from_where_they_are_said_to_be() {
    let home = Home::new();
    let unset = [
        "init",
        "--data-dir",
        &home.text("a"),
        "--public-url",
        "http://127.0.0.1:1",
        "--yes",
        "--passphrase-env",
        "NONE",
    ];
    assert_refused(&home.run(&unset), 1, "key.passphrase");
    let file = home.write("secret", "correct horse battery\n");
    let exposed = [
        "init",
        "--data-dir",
        &home.text("a"),
        "--public-url",
        "http://127.0.0.1:1",
        "--yes",
        "--passphrase-file",
        &file,
    ];
    assert_refused(&home.run(&exposed), 1, "key.permissions");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    let made = Made::new(&home, &["--passphrase-file", &file, "--root-passphrase-file", &file]);
    assert!(!made.data_dir.join("secrets/passphrase").exists());
    made.serve(&home).stop();

    let plain = Home::new();
    let made = Made::new(&plain, &["--unencrypted-keys"]);
    let key = std::fs::read_to_string(made.data_dir.join("keys/ca.pem")).expect("a key");
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
    made.serve(&plain).stop();
}

#[test]
fn what_is_made_for_development_is_not_served_and_the_other_way_round() {
    let home = Home::new();
    let made = Made::new(&home, &[]);
    let directory = made.data_dir.display().to_string();
    assert_refused(&home.run(&["up", "--data-dir", &directory]), 2, "usage");
    assert!(!made.data_dir.join("owner-secret").exists());
    assert_refused(&home.run(&["init", "--data-dir", &directory, "--public-url", &made.url, "--yes"]), 2, "usage");

    let mut up = Up::start(&home);
    up.kill();
    let config = home.write("up.yaml", format!("public_url: {}\ndata_dir: {}\n", up.url, up.data_dir.display()));
    home.write("rules.yaml", "rules: []\n");
    assert_refused(&home.run(&["serve", "--config", &config]), 1, "input.demo-provider");
    assert_refused(&home.run(&["doctor", "--config", &config]), 1, "input.demo-provider");
    // A secret that is put there later does not make it a demo.
    std::fs::copy(up.data_dir.join("owner-secret"), made.data_dir.join("owner-secret")).expect("copied");
    assert_refused(&home.run(&["serve", "--config", &made.config]), 1, "input.demo-provider");
    let missing = home.write("none.yaml", format!("public_url: http://127.0.0.1:1\ndata_dir: {}\n", home.text("none")));
    assert_refused(&home.run(&["serve", "--config", &missing]), 1, "input.unreadable");
}

#[test]
fn a_faulty_configuration_is_refused_with_its_line() {
    let home = Home::new();
    let made = Made::new(&home, &[]);
    let check = || home.run(&["config", "check", &made.config]);
    assert!(check().status.success());
    let printed = home.run(&["config", "print", &made.config]);
    let printed = String::from_utf8(printed.stdout).expect("text");
    let secret = std::fs::read_to_string(made.data_dir.join("secrets/passphrase")).expect("a passphrase");
    assert!(printed.contains("secrets/passphrase") && !printed.contains(secret.trim()), "{printed}");
    let again = home.write("printed.yaml", &printed);
    assert!(home.run(&["config", "check", &again]).status.success());

    let good = std::fs::read_to_string(&made.config).expect("a configuration");
    made.configure("colour: red");
    let line = good.lines().count() + 2;
    for verb in [["config", "check", &made.config], ["serve", "--config", &made.config]] {
        let output = home.run(&verb);
        assert_refused(&output, 1, "input.config");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(&format!("line {line}")) && text.contains("colour"), "{text}");
    }
    std::fs::write(&made.config, &good).expect("written");
    made.configure("listen: 0.0.0.0:0");
    assert_refused(&check(), 1, "network.plain-http");
    std::fs::write(&made.config, good).expect("written");
    std::fs::write(made.data_dir.join("rules.yaml"), "rules: 5\n").expect("written");
    assert_refused(&check(), 1, "policy.malformed");
    assert_refused(&home.run(&["serve", "--config", &made.config]), 1, "policy.malformed");
}
