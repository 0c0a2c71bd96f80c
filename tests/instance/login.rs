//! People who log in at a running instance's demo provider with our own client, and sign with the token they get. The
//! browser is a client that follows the page that is shown, and knows the owner secret.

use super::{ALICE, Home, PAUSE, Up, assert_refused, client};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Output, Stdio};

/// What a page is given so that no click is needed.
fn with_secret(page: &str, up: &Up) -> String {
    let secret = std::fs::read_to_string(up.data_dir.join("owner-secret")).expect("a secret");
    format!("{page}&login_hint=alice%40corp.example&owner_secret={}", secret.trim())
}

/// A command that has begun to log somebody in.
struct Waiting {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// What it said.
    told: String,
}

impl Waiting {
    fn start(home: &Home, up: &Up, browser: Option<&str>, more: &[&str]) -> Self {
        let fixed = ["sign-blob", "--instance", &up.url, "--bundle", &home.text("bundle")];
        let mut command = home.command(&[&fixed[..], more, &[&home.text("artifact")]].concat());
        command.envs(browser.map(|browser| ("BROWSER", browser)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        Self { child, stderr, told: String::new() }
    }

    /// The first word that it says which begins so.
    fn says(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).expect("a line") > 0, "it ended: {}", self.told);
            self.told.push_str(&line);
            if let Some(word) = line.split_whitespace().find(|word| word.starts_with(begin)) {
                return word.to_owned();
            }
        }
    }

    fn end(mut self) -> Output {
        let mut stderr = self.told.into_bytes();
        self.stderr.read_to_end(&mut stderr).expect("stderr");
        let mut stdout = Vec::new();
        self.child.stdout.take().expect("stdout").read_to_end(&mut stdout).expect("stdout");
        Output { status: self.child.wait().expect("ended"), stdout, stderr }
    }
}

async fn status(url: &str) -> u16 {
    client().get(url).send().await.expect("an answer").status().as_u16()
}

/// Where a page leads.
async fn location(url: &str) -> String {
    let answer = client().get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 303);
    answer.headers()["location"].to_str().expect("text").to_owned()
}

fn prepared() -> (Home, Up) {
    let home = Home::new();
    let up = Up::start(&home);
    up.pin(&home);
    home.write("artifact", "what is signed\n");
    (home, up)
}

/// It signed as alice, and showed nothing that is worth stealing.
fn assert_signed(home: &Home, up: &Up, output: &Output, secret: &str) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("eyJ") && !said.contains(secret), "{said}");
    let issuer = format!("{}/idp", up.url);
    let words =
        ["verify-blob", "--instance", &up.url, "--bundle", &home.text("bundle"), "--certificate-identity", ALICE];
    let verified = home.run(&[&words[..], &["--certificate-oidc-issuer", &issuer, &home.text("artifact")]].concat());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// A browser that writes down where it is sent.
fn browser(home: &Home, seen: &str) -> String {
    format!("sh {}", home.write("browser.sh", format!("printf %s \"$1\" > {seen}.new && mv {seen}.new {seen}\n")))
}

async fn page(seen: &str) -> String {
    loop {
        if let Ok(page) = std::fs::read_to_string(seen) {
            std::fs::remove_file(seen).expect("removed");
            return page;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_somebody_in() {
    let (home, up) = prepared();
    let seen = home.text("seen");
    let browser = browser(&home, &seen);
    let login = Waiting::start(&home, &up, Some(&browser), &[]);
    let page = page(&seen).await;
    assert!(page.starts_with(&format!("{}/idp/auth?", up.url)), "{page}");
    // Without the secret there is a page to type it in; with a wrong one there is nothing.
    assert_eq!(status(&page).await, 200);
    assert_eq!(status(&format!("{page}&login_hint=alice%40corp.example&owner_secret=x")).await, 401);
    let back = location(&with_secret(&page, &up)).await;
    let (redirect, query) = back.split_once('?').expect("a query");
    assert!(redirect.starts_with("http://localhost:") && redirect.ends_with("/auth/callback"), "{redirect}");
    // Somebody else's answer is not ours, and does not end the login.
    for forged in ["code=x&state=x", "error=access_denied&state=x", "code=x"] {
        assert_eq!(status(&format!("{redirect}?{forged}")).await, 400, "{forged}");
    }
    let code = query.split('&').find_map(|pair| pair.strip_prefix("code=")).expect("a code").to_owned();
    assert_eq!(status(&back).await, 200);
    let output = tokio::task::spawn_blocking(|| login.end()).await.expect("joined");
    assert_signed(&home, &up, &output, &code);
}

/// A code that was made for another login: its challenge is not ours (PKCE).
#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_another_login_is_of_no_use() {
    let (home, up) = prepared();
    let seen = home.text("seen");
    let browser = browser(&home, &seen);
    let login = Waiting::start(&home, &up, Some(&browser), &[]);
    let page = page(&seen).await;
    let (before, challenge) = page.split_once("code_challenge=").expect("a challenge");
    let stolen = format!("{before}code_challenge={}{}", "A".repeat(43), &challenge[43..]);
    assert_eq!(status(&location(&with_secret(&stolen, &up)).await).await, 200);
    let output = tokio::task::spawn_blocking(|| login.end()).await.expect("joined");
    assert_refused(&output, 1, "network.refused");
    assert!(!home.path("bundle").exists(), "nothing was signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_waits_for_somebody() {
    let (home, up) = prepared();
    let mut login = Waiting::start(&home, &up, None, &["--fulcio-auth-flow", "device"]);
    let shown = tokio::task::block_in_place(|| login.says(&format!("{}/idp/device?user_code=", up.url)));
    assert_eq!(status(&shown).await, 200);
    assert_eq!(status(&format!("{shown}&login_hint=alice%40corp.example&owner_secret=x")).await, 401);
    assert_eq!(status(&with_secret(&shown, &up)).await, 200);
    let output = tokio::task::spawn_blocking(|| login.end()).await.expect("joined");
    assert_signed(&home, &up, &output, "owner_secret");
    // Whoever was let in once is not let in again by the same code.
    assert_eq!(status(&with_secret(&shown, &up)).await, 400);
}

#[test]
fn nobody_logs_in_where_nobody_is() {
    let (home, up) = prepared();
    let sign = |more: &[&str]| {
        let fixed = ["sign-blob", "--instance", &up.url, "--bundle", &home.text("bundle")];
        home.run(&[&fixed[..], more, &[&home.text("artifact")]].concat())
    };
    for (more, exit, code) in [
        (&["--fulcio-auth-flow", "token"][..], 2, "usage"),
        (&["--fulcio-auth-flow", "device", "--oidc-issuer", "http://127.0.0.1:9/idp"], 20, "network.unreachable"),
        (&["--fulcio-auth-flow", "device", "--oidc-issuer", &up.url], 1, "network.refused"),
        (&["--fulcio-auth-flow", "device", "--oidc-client-id", "other"], 1, "network.refused"),
        (&["--fulcio-auth-flow", "normal", "--oidc-redirect-url", "http://evil.example/"], 1, "input.unreadable"),
    ] {
        assert_refused(&sign(more), exit, code);
    }
}
