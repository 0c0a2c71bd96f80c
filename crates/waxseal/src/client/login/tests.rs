//! A provider that plays by the rules or does not, and a person with or without a browser.

use super::{Flow, LoginError, Person, Provider, log_in};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use url::{Url, form_urlencoded};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Secret, sha256};
use waxseal_formats::json::encode_base64url;
use waxseal_formats::jwt::{assemble, signing_input};
use waxseal_io::system;
use waxseal_io::transport::{Pending, Request, Response, Transport};

const ISSUER: &str = "https://idp.example";

/// How the provider, and whoever stands between it and the browser, behave.
#[derive(Clone, Debug, Default)]
struct Behaviour {
    /// Changes what discovery says.
    discovery: Vec<(&'static str, Value)>,
    /// Changes what the ID token claims.
    claims: Vec<(&'static str, Value)>,
    /// Instead of the token endpoint's answer.
    token: Option<(u16, &'static str)>,
    /// Answers of the token endpoint before the last one.
    errors: Vec<&'static str>,
    /// Changes what the browser brings back.
    back: Vec<(&'static str, &'static str)>,
    /// Visits of others before the browser comes back: they bring another state.
    strangers: usize,
    /// There is no browser.
    headless: bool,
    /// What is pasted; a URL's `STATE` is replaced.
    pasted: Option<&'static str>,
}

/// A form, and what stands in the header beside it.
type Form = (Vec<(String, String)>, Option<String>);

/// Provider, browser and person in one.
#[derive(Default)]
struct World {
    behaviour: Behaviour,
    asked: Mutex<Option<Url>>,
    /// Forms that the token endpoint was sent.
    forms: Mutex<Vec<Form>>,
    visits: Mutex<Vec<String>>,
    said: Mutex<Vec<String>>,
}

fn asked(page: &Url, name: &str) -> String {
    page.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

impl World {
    fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, ..Self::default() }
    }

    fn discovery(&self) -> Value {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": format!("{ISSUER}/auth?tenant=1"),
            "token_endpoint": format!("{ISSUER}/token"),
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        for (name, value) in &self.behaviour.discovery {
            document[name] = value.clone();
        }
        document
    }

    fn id_token(&self) -> String {
        let page = self.asked.lock().expect("lock").clone();
        let mut claims = json!({
            "iss": ISSUER, "aud": "sigstore", "sub": "alice", "exp": system::now().as_second() + 60,
            "nonce": page.map(|page| asked(&page, "nonce")),
        });
        for (name, value) in &self.behaviour.claims {
            claims[name] = value.clone();
        }
        assemble(&signing_input("RS256", "k", claims.as_object().expect("an object")), &[7; 64])
    }

    async fn run(&self, flow: Flow, secret: Option<&str>) -> Result<Secret<String>, LoginError> {
        let provider = Provider {
            issuer: ISSUER.to_owned(),
            client_id: "sigstore".to_owned(),
            client_secret: secret.map(|secret| Secret::new(secret.to_owned())),
            redirect: None,
        };
        log_in(self, &provider, flow, self).await
    }

    async fn code(behaviour: Behaviour) -> Code {
        Self::new(behaviour).run(Flow::Normal, None).await.expect_err("refused").code()
    }
}

impl Transport for World {
    fn send(&self, request: Request) -> Pending<'_> {
        let path = request.url().path().to_owned();
        let (status, body) = match path.as_str() {
            "/.well-known/openid-configuration" => (200, self.discovery().to_string()),
            "/device" => (
                200,
                json!({"device_code": "d", "user_code": "BCDF-GHJK", "verification_uri": "https://idp.example/go", "interval": 1})
                    .to_string(),
            ),
            "/token" => {
                let form = form_urlencoded::parse(request.body()).into_owned().collect();
                let header = request.header_value("authorization").map(ToOwned::to_owned);
                let mut forms = self.forms.lock().expect("lock");
                forms.push((form, header));
                match (self.behaviour.errors.get(forms.len() - 1), self.behaviour.token) {
                    (Some(error), _) => (400, json!({"error": error}).to_string()),
                    (None, Some((status, body))) => (status, body.to_owned()),
                    (None, None) => (200, json!({"id_token": self.id_token()}).to_string()),
                }
            }
            other => panic!("{other} is asked for"),
        };
        Box::pin(async move { Ok(Response { status, headers: Vec::new(), body: body.into() }) })
    }
}

impl Person for World {
    fn say(&self, sentence: &str) {
        self.said.lock().expect("lock").push(sentence.to_owned());
    }

    fn open(&self, page: &Url) -> bool {
        *self.asked.lock().expect("lock") = Some(page.clone());
        if self.behaviour.headless {
            return false;
        }
        let back = |state: &str| {
            let mut back = Url::parse(&asked(page, "redirect_uri")).expect("a URL");
            let mut pairs = vec![("code", "c"), ("state", state), ("iss", ISSUER)];
            for (name, value) in &self.behaviour.back {
                pairs.retain(|(known, _)| known != name);
                pairs.extend(Some((*name, *value)).filter(|(_, value)| !value.is_empty()));
            }
            back.query_pairs_mut().extend_pairs(pairs);
            back
        };
        let strangers = (0..self.behaviour.strangers).map(|_| back("another"));
        let all: Vec<Url> = strangers.chain([back(&asked(page, "state"))]).collect();
        let addresses: Vec<(String, String)> = all
            .iter()
            .map(|url| {
                let host = format!("127.0.0.1:{}", url.port().expect("a port"));
                (host, format!("{}?{}", url.path(), url.query().unwrap_or_default()))
            })
            .collect();
        std::thread::spawn(move || {
            for (host, path) in addresses {
                let mut stream = TcpStream::connect(&host).expect("the page is there");
                let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).expect("asked");
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
                assert!(!answer.contains("<script"), "{answer}");
            }
        });
        true
    }

    fn ask(&self, question: &str) -> Option<String> {
        self.visits.lock().expect("lock").push(question.to_owned());
        let page = self.asked.lock().expect("lock").clone().expect("a page");
        Some(self.behaviour.pasted?.replace("STATE", &asked(&page, "state")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_comes_back_with_the_code() {
    for (secret, header) in [(None, None), (Some("s e"), Some("Basic c2lnc3RvcmU6cytl"))] {
        let world = World::new(Behaviour { strangers: 2, ..Behaviour::default() });
        let token = world.run(Flow::Normal, secret).await.expect("logged in");
        assert_eq!(token.expose(), &world.id_token());
        let page = world.asked.lock().expect("lock").clone().expect("a page");
        assert!(page.as_str().starts_with("https://idp.example/auth?tenant=1&response_type=code"), "{page}");
        assert_eq!(asked(&page, "scope"), "openid email");
        let forms = world.forms.lock().expect("lock");
        let [(form, authorization)] = forms.as_slice() else { panic!("asked once: {forms:?}") };
        let value = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let verifier = value("code_verifier").expect("a verifier");
        assert_eq!(encode_base64url(&sha256(verifier.as_bytes())), asked(&page, "code_challenge"));
        assert_eq!(value("redirect_uri").expect("an address"), asked(&page, "redirect_uri"));
        assert_eq!((authorization.as_deref(), value("client_id").is_none()), (header, secret.is_some()));
        // Nothing of it is said aloud.
        let said = world.said.lock().expect("lock").join("\n");
        assert!(!said.contains(&verifier) && !said.contains(token.expose()));
    }
}

/// Row 17 of the classes: answers that belong to another login, and tokens that belong to another client.
#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_login_is_refused() {
    for (claim, value) in [
        ("iss", json!("https://evil.example")),
        ("aud", json!("other")),
        ("aud", json!(["a", "b"])),
        ("nonce", json!("another")),
        ("nonce", Value::Null),
        ("exp", json!(1)),
    ] {
        let behaviour = Behaviour { claims: vec![(claim, value.clone())], ..Behaviour::default() };
        assert_eq!(World::code(behaviour).await, Code::TOKEN_CLAIM, "{claim}: {value}");
    }
    let headless = || Behaviour { headless: true, ..Behaviour::default() };
    for pasted in [
        "http://localhost:1/auth/callback?code=c&state=another&iss=https://idp.example",
        "http://localhost:1/auth/callback?code=c&iss=https://idp.example",
        "http://localhost:1/auth/callback?code=c&state=STATE&iss=https://evil.example",
        "http://localhost:1/auth/callback?code=c&state=STATE",
        "http://localhost:1/auth/callback?state=STATE&iss=https://idp.example",
    ] {
        let behaviour = Behaviour { pasted: Some(pasted), ..headless() };
        assert_eq!(World::code(behaviour).await, Code::TOKEN_CLAIM, "{pasted}");
    }
    for pasted in ["http://localhost:1/auth/callback?code=c&state=STATE&iss=https://idp.example", "a-code-alone"] {
        let world = World::new(Behaviour { pasted: Some(pasted), ..headless() });
        world.run(Flow::Normal, None).await.expect(pasted);
    }
    assert_eq!(World::code(headless()).await, Code::USAGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_is_quoted() {
    let denied = Behaviour {
        back: vec![("code", ""), ("error", "access_denied"), ("error_description", "no\u{1b}[2Jbody")],
        ..Behaviour::default()
    };
    let error = World::new(denied).run(Flow::Normal, None).await.expect_err("denied");
    assert_eq!(error.code(), Code::NETWORK_REFUSED);
    assert!(error.to_string().contains("access_denied: no [2Jbody"), "{error}");
    for (token, code) in [
        ((400, r#"{"error":"invalid_grant"}"#), Code::NETWORK_REFUSED),
        ((500, "oops"), Code::NETWORK_REFUSED),
        ((200, "oops"), Code::NETWORK_REFUSED),
        ((200, "{}"), Code::TOKEN_MALFORMED),
        ((200, r#"{"id_token":"a.b.c"}"#), Code::TOKEN_MALFORMED),
    ] {
        let behaviour = Behaviour { token: Some(token), ..Behaviour::default() };
        assert_eq!(World::code(behaviour).await, code, "{token:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_has_to_be_the_one_that_was_named() {
    for (name, value) in [
        ("issuer", json!("https://evil.example")),
        ("issuer", json!(7)),
        ("token_endpoint", Value::Null),
        ("token_endpoint", json!("file:///etc/passwd")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("authorization_endpoint", Value::Null),
        ("code_challenge_methods_supported", json!(["plain"])),
    ] {
        let behaviour = Behaviour { discovery: vec![(name, value.clone())], ..Behaviour::default() };
        assert_eq!(World::code(behaviour).await, Code::NETWORK_REFUSED, "{name}: {value}");
    }
    let silent =
        Behaviour { discovery: vec![("code_challenge_methods_supported", Value::Null)], ..Behaviour::default() };
    World::new(silent).run(Flow::Normal, None).await.expect("some do not say that they have it");
}

#[tokio::test(start_paused = true)]
async fn a_device_asks_until_its_person_is_done() {
    let device = || vec![("device_authorization_endpoint", json!(format!("{ISSUER}/device")))];
    let world = World::new(Behaviour {
        discovery: device(),
        errors: vec!["authorization_pending", "slow_down", "authorization_pending"],
        ..Behaviour::default()
    });
    let start = tokio::time::Instant::now();
    world.run(Flow::Device, None).await.expect("logged in");
    assert_eq!(start.elapsed().as_secs(), 1 + 1 + 6 + 6, "less often after slow_down");
    let said = world.said.lock().expect("lock").join("\n");
    assert!(said.contains("BCDF-GHJK") && said.contains("https://idp.example/go"), "{said}");
    assert_eq!(world.forms.lock().expect("lock").len(), 4);

    for (errors, code) in [
        (vec!["access_denied"], Code::NETWORK_REFUSED),
        (vec!["expired_token"], Code::NETWORK_UNREACHABLE),
        (vec!["authorization_pending"; 4000], Code::NETWORK_UNREACHABLE),
    ] {
        let world = World::new(Behaviour { discovery: device(), errors, ..Behaviour::default() });
        assert_eq!(world.run(Flow::Device, None).await.expect_err("refused").code(), code);
    }
    let without = World::new(Behaviour::default()).run(Flow::Device, None).await.expect_err("it has none");
    assert_eq!(without.code(), Code::NETWORK_REFUSED);
}
