//! `wire/NAME.jsonl`: HTTP exchanges of unmodified clients and servers, one JSON object a line.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::Vectors;

/// The recorded probes that Fulcio refuses, with the reason code that it keeps to itself and an instance of ours gives.
pub const FULCIO_REFUSALS: [(&str, &str); 18] = [
    ("f2-token-header-lowercase-bearer", "token.malformed"),
    ("f2-no-token", "token.malformed"),
    ("f2-garbage-token", "token.malformed"),
    ("f2-wrong-aud", "token.audience"),
    ("f2-expired", "token.expired"),
    ("f2-email-unverified", "token.claim"),
    ("f2-no-email", "token.claim"),
    ("f2-unknown-issuer", "token.issuer"),
    ("f2-bad-signature", "token.signature"),
    ("f2-alg-none", "token.signature"),
    ("f2-bad-pop", "challenge.failed"),
    ("f2-key-garbage", "key.unsupported"),
    ("f2-key-der-b64", "key.unsupported"),
    ("f2-empty-csr", "input.malformed"),
    ("f2-csr-der", "key.unsupported"),
    ("f2-p384-sha256", "challenge.failed"),
    ("f2-empty-body", "token.malformed"),
    ("f2-not-json", "input.malformed"),
];

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Line number in the file, from 1.
    pub line: usize,
    /// Who asked, with version.
    pub client: String,
    /// Which action of the client it belongs to.
    pub step: String,
    /// Which part of the instance was asked: `fulcio`, `tsa`, `rekor2`, `tuf`, `oidc`…
    pub service: String,
    /// The request's method.
    pub method: String,
    /// The request's path, query included.
    pub path: String,
    /// The request's headers, in order.
    pub request_headers: Vec<(String, String)>,
    /// The request's body.
    pub request_body: Option<Vec<u8>>,
    /// The answer's status.
    pub status: u16,
    /// The answer's headers, in order.
    pub response_headers: Vec<(String, String)>,
    /// The answer's body.
    pub response_body: Option<Vec<u8>>,
}

impl Exchange {
    /// The first request header called `name`, in any case.
    #[must_use]
    pub fn request_header(&self, name: &str) -> Option<&str> {
        header(&self.request_headers, name)
    }

    /// The first answer header called `name`, in any case.
    #[must_use]
    pub fn response_header(&self, name: &str) -> Option<&str> {
        header(&self.response_headers, name)
    }

    /// The request's body as JSON.
    ///
    /// # Panics
    ///
    /// When it is something else.
    #[must_use]
    pub fn request_json(&self) -> Value {
        self.json(self.request_body.as_deref())
    }

    /// The answer's body as JSON.
    ///
    /// # Panics
    ///
    /// When it is something else.
    #[must_use]
    pub fn response_json(&self) -> Value {
        self.json(self.response_body.as_deref())
    }

    fn json(&self, body: Option<&[u8]>) -> Value {
        match serde_json::from_slice(body.unwrap_or_default()) {
            Ok(value) => value,
            Err(error) => panic!("{} line {}: {error}", self.client, self.line),
        }
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

impl Vectors {
    /// The exchanges recorded in `wire/NAME.jsonl`, bodies resolved.
    ///
    /// # Panics
    ///
    /// When a line is not what the README there describes.
    #[must_use]
    pub fn wire(&self, name: &str) -> Vec<Exchange> {
        let file = format!("wire/{name}.jsonl");
        let lines: Vec<Value> = self
            .text(&file)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{file}: {error}")))
            .collect();
        (1..=lines.len()).map(|line| exchange(&lines, line)).collect()
    }
}

fn exchange(lines: &[Value], line: usize) -> Exchange {
    let record = &lines[line - 1];
    let string = |key: &str| record[key].as_str().expect("a text member").to_owned();
    Exchange {
        line,
        client: string("client"),
        step: string("step"),
        service: string("service"),
        method: string("method"),
        path: string("path"),
        request_headers: headers(&record["request_headers"]),
        request_body: body(lines, line, "request_body", "response_body"),
        status: record["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("an HTTP status"),
        response_headers: headers(&record["response_headers"]),
        response_body: body(lines, line, "response_body", "request_body"),
    }
}

fn headers(list: &Value) -> Vec<(String, String)> {
    serde_json::from_value(list.clone()).expect("a list of name and value")
}

/// `same_as_line` may mean either body of that line: the one of the same kind when it stands there in full, or else
/// the other one.
fn body(lines: &[Value], line: usize, kind: &str, other: &str) -> Option<Vec<u8>> {
    let body = &lines[line - 1][kind];
    if let Some(line) = body["same_as_line"].as_u64() {
        let line = usize::try_from(line).expect("a line number");
        let target = &lines[line - 1];
        let in_full = |kind: &str| target[kind]["text"].is_string() || target[kind]["base64"].is_string();
        let (kind, other) = if in_full(kind) { (kind, other) } else { (other, kind) };
        assert!(in_full(kind), "line {line} has no body in full");
        return self::body(lines, line, kind, other);
    }
    match (body["text"].as_str(), body["base64"].as_str()) {
        (Some(text), None) => Some(text.as_bytes().to_vec()),
        (None, Some(base64)) => Some(STANDARD.decode(base64).expect("base64")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn every_recording_is_read_whole() {
        let Some(vectors) = vectors() else { return };
        let mut count = 0;
        for name in vectors.list("wire") {
            if let Some(name) = name.strip_suffix(".jsonl") {
                count += vectors.wire(name).len();
            }
        }
        assert_eq!(count, 713);
    }

    #[test]
    fn a_repeated_body_is_the_one_of_the_line_it_names() {
        let text = |text: &str| serde_json::json!({"text": text});
        let lines = [
            serde_json::json!({"request_body": text("asked"), "response_body": text("answered")}),
            serde_json::json!({"request_body": null, "response_body": {"same_as_line": 1}}),
            serde_json::json!({"request_body": text("asked again"), "response_body": null}),
            serde_json::json!({"request_body": null, "response_body": {"same_as_line": 3}}),
        ];
        let response = |line| body(&lines, line, "response_body", "request_body");
        assert_eq!(response(2).as_deref(), Some(&b"answered"[..]));
        assert_eq!(response(4).as_deref(), Some(&b"asked again"[..]));
        assert_eq!(response(3), None);
    }
}
