//! Entries found again: by index, by ID, by the entry itself, by what they are about.

use super::failure::Failure;
use super::{Logged, RekorV1, info};
use crate::server::gateway::{json_answer, read_body};
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use waxseal_formats::code::Code;
use waxseal_formats::entry::PemVerifier;
use waxseal_formats::entry::proposed::{MAX_PROPOSED_LEN, ProposedEntry};
use waxseal_formats::json::{self, JsonError, Node};
use waxseal_formats::merkle::{Hash, leaf_hash};
use waxseal_log::rekor::{search::key_hash, v1};
use waxseal_log::rows::SearchKey;

/// One request may ask for this many entries (rekor `maxSearchQueries`).
const MAX_QUERIES: usize = 10;
/// A search finds this many entries at most: the newest.
const MAX_FOUND: usize = 10_000;
/// Largest request to the index, in bytes: a chain of certificates fits.
const MAX_SEARCH_LEN: usize = 1 << 20;

/// `GET /api/v1/log/entries?logIndex=N`.
pub(super) async fn by_index(
    State(rekor): State<Arc<RekorV1>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let index = info::log_index(query.as_deref())?;
    let found = rekor.at_index(index).await?;
    let logged = found.ok_or_else(|| Failure::missing(format!("the log has no entry {index}")))?;
    Ok(json_answer(StatusCode::OK, rekor.entry(&logged).await?.to_string()))
}

/// `GET /api/v1/log/entries/{id}`.
pub(super) async fn by_id(State(rekor): State<Arc<RekorV1>>, Path(id): Path<String>) -> Result<Response, Failure> {
    let found = rekor.by_hash(rekor.parse_id(&id)?).await?;
    let logged = found.ok_or_else(|| Failure::missing("the log has no entry with this ID"))?;
    Ok(json_answer(StatusCode::OK, rekor.entry(&logged).await?.to_string()))
}

/// `POST /api/v1/log/entries/retrieve`.
pub(super) async fn retrieve(State(rekor): State<Arc<RekorV1>>, request: Request) -> Result<Response, Failure> {
    let body = read_body(request, MAX_PROPOSED_LEN).await?;
    let document =
        json::parse(&body, MAX_PROPOSED_LEN).map_err(|error| Failure::invalid(Code::INPUT_MALFORMED, error))?;
    let root = Node::root(&document);
    let list = |name: &str| root.repeated(name).map_err(Failure::schema);
    let (ids, indices, entries) = (list("entryUUIDs")?, list("logIndexes")?, list("entries")?);
    let queries = ids.len().saturating_add(indices.len()).saturating_add(entries.len());
    if queries > MAX_QUERIES {
        return Err(Failure::schema(format!("{queries} entries are asked for, {MAX_QUERIES} are allowed")));
    }
    let mut found = Vec::with_capacity(queries);
    for id in ids {
        let hash = rekor.parse_id(id.string().map_err(Failure::schema)?)?;
        found.push(rekor.by_hash(hash).await?);
    }
    for index in indices {
        let number = index.int64().map_err(Failure::schema)?;
        let index = u64::try_from(number).map_err(|_| Failure::schema("a log index is negative"))?;
        found.push(rekor.at_index(index).await?);
    }
    for entry in entries {
        found.push(rekor.proposed(&ProposedEntry::from_node(&entry)?).await?);
    }
    let mut answers: Vec<Value> = Vec::with_capacity(found.len());
    for logged in found.into_iter().flatten() {
        answers.push(rekor.entry(&logged).await?);
    }
    Ok(json_answer(StatusCode::OK, Value::from(answers).to_string()))
}

/// `POST /api/v1/index/retrieve`.
pub(super) async fn search(State(rekor): State<Arc<RekorV1>>, request: Request) -> Result<Response, Failure> {
    let body = read_body(request, MAX_SEARCH_LEN).await?;
    let document =
        json::parse(&body, MAX_SEARCH_LEN).map_err(|error| Failure::invalid(Code::INPUT_MALFORMED, error))?;
    let query = SearchQuery::read(&Node::root(&document))?;
    if rekor.sealed() {
        return Err(Failure::sealed("its entries cannot be searched"));
    }
    let ids = rekor.search(&query).await?;
    Ok(json_answer(StatusCode::OK, Value::from(ids).to_string()))
}

/// What the index is asked for.
struct SearchQuery {
    keys: Vec<SearchKey>,
    /// Whether an entry has to be found by every key, not by any.
    every: bool,
}

impl SearchQuery {
    fn read(root: &Node<'_>) -> Result<Self, Failure> {
        let schema = |error: JsonError| Failure::schema(error);
        let text = |name: &str| root.string_field(name).map_err(schema);
        let every = match text("operator")? {
            "" | "or" => false,
            "and" => true,
            other => return Err(Failure::schema(format!("operator {other:?} is neither and nor or"))),
        };
        let mut keys = Vec::new();
        let hash = text("hash")?;
        if !hash.is_empty() {
            let hash = prefixed(hash).ok_or_else(|| Failure::schema("hash is not a digest in hexadecimal"))?;
            keys.push(SearchKey::of(&hash));
        }
        for name in ["email", "subject"] {
            let text = text(name)?;
            if !text.is_empty() {
                keys.push(SearchKey::of(text));
            }
        }
        if let Some(key) = root.field("publicKey").map_err(schema)? {
            keys.push(SearchKey::of(&public_key(&key)?));
        }
        Ok(Self { keys, every })
    }
}

/// The hash of a key in the request. A URL is never fetched: it would be fetched from inside the operator's network.
fn public_key(node: &Node<'_>) -> Result<String, Failure> {
    let format = node.string_field("format").map_err(Failure::schema)?;
    if format != "x509" {
        let message = format!("keys of format {format:?} are not in this log: it has x509 alone");
        return Err(Failure::invalid(Code::KEY_UNSUPPORTED, message));
    }
    let pem = node.bytes_field("content").map_err(Failure::schema)?;
    if pem.is_empty() {
        return Err(Failure::schema("publicKey.content is missing; a url is not fetched"));
    }
    let verifier = PemVerifier::from_pem(&pem).map_err(|error| Failure::invalid(error.code(), error))?;
    Ok(key_hash(&verifier))
}

/// A digest with its algorithm, which its length tells if it stands alone.
fn prefixed(text: &str) -> Option<String> {
    let by_length = |digits: &str| match digits.len() {
        40 => Some("sha1"),
        64 => Some("sha256"),
        96 => Some("sha384"),
        128 => Some("sha512"),
        _ => None,
    };
    let (stated, digits) = text.split_once(':').map_or((None, text), |(algorithm, digits)| (Some(algorithm), digits));
    let algorithm = by_length(digits).filter(|known| stated.is_none_or(|stated| stated.eq_ignore_ascii_case(known)))?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| format!("{algorithm}:{digits}"))
}

impl RekorV1 {
    /// The leaf hash in an entry ID, or in a bare UUID; `None` if the ID is of another tree.
    fn parse_id(&self, id: &str) -> Result<Option<Hash>, Failure> {
        let malformed = || Failure::invalid(Code::INPUT_MALFORMED, "an entry ID has 64 or 80 hexadecimal digits");
        let bytes = hex::decode(id).map_err(|_| malformed())?;
        let uuid = match bytes.split_first_chunk::<8>() {
            _ if bytes.len() == 32 => bytes.as_slice(),
            Some((tree, uuid)) if uuid.len() == 32 => {
                if u64::from_be_bytes(*tree) != self.tree_id {
                    return Ok(None);
                }
                uuid
            }
            _ => return Err(malformed()),
        };
        Hash::try_from(uuid).map(Some).map_err(|_| malformed())
    }

    async fn at_index(&self, index: u64) -> Result<Option<Logged>, Failure> {
        if self.sealed() {
            return Err(Failure::sealed("it cannot be asked for entries by index"));
        }
        if index >= self.log.head().size {
            return Ok(None);
        }
        let body = self.log.entries(index, index).await?.into_iter().next();
        let time = self.log.time_of(index).await?;
        Ok(body.zip(time).map(|(body, time)| Logged { index, time, body }))
    }

    async fn by_hash(&self, hash: Option<Hash>) -> Result<Option<Logged>, Failure> {
        if self.sealed() {
            return Err(Failure::sealed("it cannot be asked for entries by ID"));
        }
        let Some(hash) = hash else { return Ok(None) };
        let Some(original) = self.log.find_leaf(&hash).await? else { return Ok(None) };
        self.at_index(original.index).await
    }

    /// The entry that a proposed one would become, if it is in the log. Sealed logs answer this: the body came along.
    async fn proposed(&self, proposed: &ProposedEntry) -> Result<Option<Logged>, Failure> {
        let body = v1::check(proposed)?.body;
        let original = self.log.find_leaf(&leaf_hash(&body)).await?;
        Ok(original.map(|original| Logged { index: original.index, time: original.time, body }))
    }

    /// The IDs of the entries that are found, in their order.
    async fn search(&self, query: &SearchQuery) -> Result<Vec<String>, Failure> {
        let mut found: Option<BTreeSet<u64>> = None;
        for key in &query.keys {
            let indices: BTreeSet<u64> = self.log.search(key).await?.into_iter().collect();
            found = Some(match found {
                None => indices,
                Some(before) if query.every => before.intersection(&indices).copied().collect(),
                Some(before) => before.union(&indices).copied().collect(),
            });
        }
        let found = found.unwrap_or_default();
        let indices: Vec<u64> = found.iter().skip(found.len().saturating_sub(MAX_FOUND)).copied().collect();
        Ok(self.log.leaf_hashes(indices).await?.iter().map(|leaf| self.entry_id(leaf)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::prefixed;

    #[test]
    fn a_digest_is_told_by_its_length() {
        let (short, long) = ("AB".repeat(20), "ab".repeat(32));
        assert_eq!(prefixed(&short), Some(format!("sha1:{short}")));
        assert_eq!(prefixed(&long), Some(format!("sha256:{long}")));
        assert_eq!(prefixed(&format!("SHA256:{long}")), Some(format!("sha256:{long}")));
        for wrong in ["", "ab", "sha1:", &format!("sha1:{long}"), &"zz".repeat(32), &format!("sha256:sha256:{long}")] {
            assert_eq!(prefixed(wrong), None, "{wrong}");
        }
    }
}
