//! What Rekor v1 says about itself: size, key, consistency.

use super::RekorV1;
use super::failure::Failure;
use crate::server::gateway::json_answer;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use std::sync::Arc;
use waxseal_formats::code::Code;

/// The parameters of a query, each at most once; `None` if one stands there twice.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(raw: Option<&str>) -> Result<Self, Failure> {
        let pairs = url::form_urlencoded::parse(raw.unwrap_or_default().as_bytes());
        let mut query = Self(Vec::new());
        for (name, value) in pairs {
            if query.text(&name).is_some() {
                return Err(Failure::schema(format!("{name} stands in the query twice")));
            }
            query.0.push((name.into_owned(), value.into_owned()));
        }
        Ok(query)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A number of at least `min`.
    fn number(&self, name: &str, min: u64) -> Result<Option<u64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number >= min);
        number.map(Some).ok_or_else(|| Failure::schema(format!("{name} is not a number of at least {min}")))
    }
}

/// The `logIndex` of a query.
pub(super) fn log_index(raw: Option<&str>) -> Result<u64, Failure> {
    Query::parse(raw)?.number("logIndex", 0)?.ok_or_else(|| Failure::schema("logIndex is missing"))
}

impl RekorV1 {
    fn check_tree(&self, query: &Query) -> Result<(), Failure> {
        match query.text("treeID") {
            Some(asked) if asked != self.tree_id.to_string() => {
                Err(Failure::invalid(Code::INPUT_MALFORMED, format!("the tree of this log is {}", self.tree_id)))
            }
            _ => Ok(()),
        }
    }
}

/// `GET /api/v1/log`: the signed tree; with `stable=true` the published one, which may be a moment older.
pub(super) async fn log(State(rekor): State<Arc<RekorV1>>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let stable = Query::parse(query.as_deref())?.text("stable") == Some("true");
    let published = rekor.log.published();
    // Right after a start nothing may be published yet, and the API has no way to say "empty".
    let head = if stable && published.size > 0 { published } else { rekor.log.head() };
    let answer = json!({
        "inactiveShards": [],
        "rootHash": hex::encode(head.root),
        "signedTreeHead": &*head.note,
        "treeID": rekor.tree_id.to_string(),
        "treeSize": head.size,
    });
    Ok(json_answer(StatusCode::OK, answer.to_string()))
}

/// `GET /api/v1/log/publicKey`: the only answer that is not JSON, but PEM.
pub(super) async fn public_key(
    State(rekor): State<Arc<RekorV1>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    rekor.check_tree(&Query::parse(query.as_deref())?)?;
    let pem = rekor.log.profile().key.to_pem();
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-pem-file"))], pem).into_response())
}

/// `GET /api/v1/log/proof`: that the tree of `lastSize` extends the one of `firstSize`.
pub(super) async fn proof(State(rekor): State<Arc<RekorV1>>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let query = Query::parse(query.as_deref())?;
    let first = query.number("firstSize", 1)?.unwrap_or(1);
    let last = query.number("lastSize", 1)?.ok_or_else(|| Failure::schema("lastSize is missing"))?;
    rekor.check_tree(&query)?;
    let head = rekor.log.head();
    if first > last || last > head.size {
        let message = format!("no proof from size {first} to {last}: the tree has {} entries", head.size);
        return Err(Failure::invalid(Code::LOG_INDEX, message));
    }
    let hashes = rekor.log.consistency(first, last).await?;
    let hashes: Vec<String> = hashes.iter().map(hex::encode).collect();
    let answer = json!({"hashes": hashes, "rootHash": hex::encode(head.root)});
    Ok(json_answer(StatusCode::OK, answer.to_string()))
}

/// `GET /api/v1/version`.
pub(super) async fn version() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    let answer = json!({"builddate": "", "commit": "", "treestate": "", "version": format!("waxseal {version}")});
    json_answer(StatusCode::OK, answer.to_string())
}

/// `GET /ping`: the process answers.
pub(super) async fn ping() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], ".").into_response()
}
