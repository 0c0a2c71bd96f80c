//! The few pages that people see: forms without script or style.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a page may do: send its own form, which may lead back to a program on this machine.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; \
     form-action 'self' http://localhost:* http://127.0.0.1:*";

/// A page: a title, what it says, and what it asks for.
pub(super) struct Page {
    title: &'static str,
    body: String,
}

impl Page {
    /// Asks who logs in; the client's request goes along.
    pub(super) fn login(action: &str, request: &BTreeMap<String, String>) -> Self {
        Self { title: "Log in", body: form(action, request, &[]) }
    }

    /// Asks who logs in, and for the code that the device shows.
    pub(super) fn device(action: &str, request: &BTreeMap<String, String>) -> Self {
        Self { title: "Log in a device", body: form(action, request, &[("user_code", "Code that the device shows")]) }
    }

    /// Shows a code that a person carries over.
    pub(super) fn code(code: &str) -> Self {
        Self { title: "Logged in", body: format!("<p>Give this code to the program:</p><pre>{}</pre>", escape(code)) }
    }

    /// Says that the device goes on.
    pub(super) fn done() -> Self {
        Self { title: "Logged in", body: "<p>The program goes on. This page can be closed.</p>".to_owned() }
    }
}

fn form(action: &str, request: &BTreeMap<String, String>, asked: &[(&str, &str)]) -> String {
    let mut html = String::from(
        "<p>This provider is for development. It believes whoever knows the owner secret, which is in the file \
         <code>owner-secret</code> of the instance's data directory.</p>",
    );
    let mut field = |text: std::fmt::Arguments<'_>| {
        let _ = html.write_fmt(text);
    };
    field(format_args!("<form method=\"post\" action=\"{}\">", escape(action)));
    let typed =
        |name: &str| name == "login_hint" || name == "owner_secret" || asked.iter().any(|(own, _)| *own == name);
    for (name, value) in request.iter().filter(|(name, _)| !typed(name)) {
        field(format_args!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value)));
    }
    let value = |name: &str| request.get(name).map(|value| escape(value)).unwrap_or_default();
    for (name, label) in asked.iter().chain(&[("login_hint", "Who you are: an e-mail address, or a workflow's URL")]) {
        let value = value(name);
        field(format_args!(
            "<p><label>{label}<br><input name=\"{name}\" value=\"{value}\" size=\"60\" required></label></p>"
        ));
    }
    field(format_args!(
        "<p><label>Owner secret<br><input name=\"owner_secret\" type=\"password\" size=\"60\" required \
         autocomplete=\"off\"></label></p><p><button>Log in</button></p></form>"
    ));
    html
}

/// A page that says why not.
pub(super) fn error(status: StatusCode, problem: &str) -> Response {
    let page = Page { title: "Not logged in", body: format!("<p>{}</p>", escape(problem)) };
    (status, show(&page)).into_response()
}

pub(super) fn show(page: &Page) -> Response {
    let Page { title, body } = page;
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1>{title}</h1>{body}</body></html>"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(html)).into_response()
}

/// Text as it stands in an attribute or between tags.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
