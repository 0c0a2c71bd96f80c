//! What a person, a client's set-up and a supervisor ask an instance: `/`, `/client.json`, `/trust-config.json`,
//! `/healthz` and `/readyz`.

use crate::server::gateway::{self, Refusal, Status};
use crate::server::tuf::{CLIENT_CONFIG, SIGNING_CONFIG, TRUSTED_ROOT, Tuf};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use waxseal_formats::signing_config::CLIENT_TRUST_CONFIG;
use waxseal_io::system;

/// Asks one part of the instance whether it can work; the error says why not.
pub type ReadyCheck = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Says something about one part of the instance that may need somebody, and does not keep it from working.
pub type Detail = Box<dyn Fn() -> Value + Send + Sync>;

/// What the pages are made from.
pub struct Ui {
    /// The origin, without a slash at its end.
    pub url: String,
    /// Who runs the instance.
    pub operator: String,
    /// Where the root, the trust files and the client config come from.
    pub tuf: Arc<Tuf>,
    /// The parts that `/readyz` asks, by name, besides the TUF metadata.
    pub ready: Vec<(&'static str, ReadyCheck)>,
    /// What `/readyz` says besides, by name.
    pub details: Vec<(&'static str, Detail)>,
}

/// The routes of supervisors alone.
pub fn health(ui: Arc<Ui>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(ui)
}

/// The routes.
pub fn routes(ui: Arc<Ui>) -> Router {
    Router::new()
        .route("/", get(landing_page))
        .route("/client.json", get(client_config))
        .route("/trust-config.json", get(trust_config))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(ui)
}

async fn client_config(State(ui): State<Arc<Ui>>) -> Response {
    match ui.text(CLIENT_CONFIG) {
        Some(text) => gateway::json_answer(StatusCode::OK, text),
        None => gateway::not_found().await.into_response(),
    }
}

/// `ClientTrustConfig` (sigstore-python's `--trust-config`) from the two targets, so that it cannot differ from them.
async fn trust_config(State(ui): State<Arc<Ui>>) -> Response {
    let (Some(root), Some(config)) = (ui.text(TRUSTED_ROOT), ui.text(SIGNING_CONFIG)) else {
        return gateway::not_found().await.into_response();
    };
    let media_type = json!(CLIENT_TRUST_CONFIG);
    let body = format!("{{\"mediaType\": {media_type},\n\"trustedRoot\": {root},\n\"signingConfig\": {config}}}\n");
    gateway::json_answer(StatusCode::OK, body)
}

/// The process answers.
async fn healthz() -> Response {
    gateway::json_answer(StatusCode::OK, json!({"status": "ok"}).to_string())
}

/// The instance can sign: every part says so, and no client would refuse its metadata as expired.
async fn readyz(State(ui): State<Arc<Ui>>) -> Response {
    let mut failed = Map::new();
    if ui.tuf.expires().is_none_or(|expires| expires <= system::now()) {
        failed.insert("tuf".to_owned(), json!("the metadata expired"));
    }
    for (name, check) in &ui.ready {
        if let Err(reason) = check() {
            failed.insert((*name).to_owned(), json!(reason));
        }
    }
    let mut body = json!({"status": if failed.is_empty() { "ok" } else { "unavailable" }});
    let status = if failed.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if let Some(body) = body.as_object_mut() {
        if !failed.is_empty() {
            body.insert("failed".to_owned(), Value::Object(failed));
        }
        body.extend(ui.details.iter().map(|(name, detail)| ((*name).to_owned(), detail())));
    }
    gateway::json_answer(status, body.to_string())
}

async fn landing_page(State(ui): State<Arc<Ui>>) -> Response {
    match ui.landing_page() {
        Ok(page) => {
            let headers = [
                (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::REFERRER_POLICY, "no-referrer"),
            ];
            (headers, Html(page)).into_response()
        }
        Err(std::fmt::Error) => Refusal::plain(Status::Internal, "the page cannot be written").into_response(),
    }
}

impl Ui {
    fn text(&self, target: &str) -> Option<String> {
        String::from_utf8(self.tuf.target(target)?.to_vec()).ok()
    }

    fn landing_page(&self) -> Result<String, std::fmt::Error> {
        let (url, operator) = (escape(&self.url), escape(&self.operator));
        let checksum = self.tuf.root_checksum();
        let mut page = String::new();
        write!(
            page,
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>waxseal at {operator}</title>\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}}\
             pre{{overflow-x:auto;padding:.75rem;background:#8882}}code{{font-size:.9rem}}</style>\n\
             <h1>waxseal</h1>\n\
             <p>A private Sigstore instance, run by <b>{operator}</b>. It turns identity tokens into short-lived \
             certificates, keeps transparency logs of certificates and signatures, and stamps the time.</p>\n\
             <h2>Trust it</h2>\n\
             <p>SHA-256 of <a href=\"/tuf/1.root.json\"><code>1.root.json</code></a>:</p>\n\
             <pre id=\"root-checksum\">{checksum}</pre>\n\
             <p>Compare it with what the operator told you in another way, then:</p>\n"
        )?;
        for (title, commands) in self.commands(&checksum) {
            write!(page, "<h3>{}</h3>\n<pre><code>{}</code></pre>\n", escape(title), escape(&commands))?;
        }
        write!(
            page,
            "<h2>Files</h2>\n<ul>\n\
             <li><a href=\"/trust-config.json\"><code>{url}/trust-config.json</code></a>: trusted root and signing config</li>\n\
             <li><a href=\"/client.json\"><code>{url}/client.json</code></a>: where to log in, and with which client id</li>\n\
             <li><a href=\"/tuf/timestamp.json\"><code>{url}/tuf/</code></a>: TUF repository</li>\n</ul>\n</html>\n"
        )?;
        Ok(page)
    }

    fn commands(&self, checksum: &str) -> [(&'static str, String); 4] {
        let url = &self.url;
        [
            (
                "waxseal",
                format!(
                    "waxseal trust add {url} --root-sha256 {checksum}\n\
                     waxseal sign-blob --instance {url} --bundle FILE.sigstore.json FILE"
                ),
            ),
            (
                "cosign",
                format!("cosign initialize --mirror {url}/tuf --root {url}/tuf/1.root.json --root-checksum {checksum}"),
            ),
            (
                "sigstore-python",
                format!(
                    "curl -fsS -o 1.root.json {url}/tuf/1.root.json\n\
                     echo '{checksum}  1.root.json' | sha256sum --check\n\
                     sigstore --instance {url}/tuf trust-instance 1.root.json"
                ),
            ),
            ("Whole examples", format!("waxseal client-setup cosign --instance {url}")),
        ]
    }
}

/// Escapes text for HTML, in elements and in quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{ReadyCheck, Ui, routes};
    use crate::server::tuf::{RootKey, Tuf};
    use axum::body::Body;
    use axum::http::{Request, StatusCode, header};
    use http_body_util::BodyExt;
    use serde_json::Value;
    use std::sync::Arc;
    use tower::ServiceExt;
    use waxseal_authority::tuf::{TargetFile, Usage};
    use waxseal_io::signer::KeyFiles;
    use waxseal_io::system;

    fn ui(data: &tempfile::TempDir, ready: Vec<(&'static str, ReadyCheck)>) -> Arc<Ui> {
        let target = |name: &str, text: &str| TargetFile {
            name: name.into(),
            bytes: text.into(),
            usage: Usage::Unknown,
            uri: String::new(),
        };
        let targets = vec![
            target("trusted_root.json", "{\"a\": 1}"),
            target("signing_config.v0.2.json", "{\"b\": 2}"),
            target("client.json", "{\"clientId\": \"sigstore\"}"),
        ];
        let tuf = Arc::new(
            Tuf::open(data.path(), (&KeyFiles::plain(), RootKey::Beside), targets, system::now()).expect("opened"),
        );
        Arc::new(Ui {
            url: "http://127.0.0.1:7480".into(),
            operator: "<b>Corp & Sons".into(),
            tuf,
            ready,
            details: Vec::new(),
        })
    }

    async fn get(ui: &Arc<Ui>, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).expect("request");
        let response = routes(Arc::clone(ui)).oneshot(request).await.expect("answer");
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let status = response.status();
        let body = response.into_body().collect().await.expect("body").to_bytes();
        (status, content_type, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn the_landing_page_names_the_root_and_the_set_up_commands_and_is_escaped() {
        let data = tempfile::tempdir().expect("directory");
        let ui = ui(&data, Vec::new());
        let (status, content_type, page) = get(&ui, "/").await;
        assert_eq!((status, content_type.as_str()), (StatusCode::OK, "text/html; charset=utf-8"));
        let checksum = ui.tuf.root_checksum();
        for text in [
            &format!("waxseal trust add http://127.0.0.1:7480 --root-sha256 {checksum}"),
            &format!(
                "cosign initialize --mirror http://127.0.0.1:7480/tuf --root http://127.0.0.1:7480/tuf/1.root.json --root-checksum {checksum}"
            ),
            "&lt;b&gt;Corp &amp; Sons",
        ] {
            assert!(page.contains(text), "{text}\n{page}");
        }
        assert!(!page.contains("<b>Corp"));
    }

    #[tokio::test]
    async fn the_trust_config_has_three_keys_and_no_other() {
        let data = tempfile::tempdir().expect("directory");
        let ui = ui(&data, Vec::new());
        let (status, content_type, body) = get(&ui, "/trust-config.json").await;
        assert_eq!((status, content_type.as_str()), (StatusCode::OK, "application/json"));
        let config: Value = serde_json::from_str(&body).expect("JSON");
        let expected = serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {"a": 1}, "signingConfig": {"b": 2},
        });
        assert_eq!(config, expected);
        let (_, content_type, body) = get(&ui, "/client.json").await;
        assert_eq!((content_type.as_str(), body.as_str()), ("application/json", "{\"clientId\": \"sigstore\"}"));
    }

    #[tokio::test]
    async fn readiness_names_the_part_that_cannot_work() {
        let data = tempfile::tempdir().expect("directory");
        let good = ui(&data, vec![("log", Box::new(|| Ok(())))]);
        assert_eq!(get(&good, "/readyz").await.0, StatusCode::OK);
        let bad = ui(&data, vec![("log", Box::new(|| Err("the disk is full".into()))), ("ca", Box::new(|| Ok(())))]);
        let (status, _, body) = get(&bad, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, r#"{"failed":{"log":"the disk is full"},"status":"unavailable"}"#);
        assert_eq!(get(&bad, "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn expired_metadata_is_not_ready() {
        let data = tempfile::tempdir().expect("directory");
        let long_ago = system::now().checked_sub(jiff::SignedDuration::from_hours(8 * 24)).expect("time");
        let tuf = Arc::new(
            Tuf::open(data.path(), (&KeyFiles::plain(), RootKey::Beside), Vec::new(), long_ago).expect("opened"),
        );
        let ui =
            Arc::new(Ui { url: String::new(), operator: String::new(), tuf, ready: Vec::new(), details: Vec::new() });
        let (status, _, body) = get(&ui, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("\"tuf\""), "{body}");
        assert_eq!(get(&ui, "/client.json").await.0, StatusCode::NOT_FOUND);
    }
}
