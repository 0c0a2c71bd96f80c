//! The readers' side of RFC 6962 §4.3–4.8: tree head, proofs, entries, roots.

use super::CtLog;
use super::answer::Refusal;
use super::issuers::Issuers;
use super::tree::Tree;
use crate::server::drive::TreeError;
use crate::server::gateway;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use url::form_urlencoded;
use waxseal_formats::checkpoint::{CtSignature, SignedCheckpoint};
use waxseal_formats::code::Code;
use waxseal_formats::json::{decode_base64, encode_base64};
use waxseal_formats::leaf::{TileLeaf, extra_data};
use waxseal_formats::merkle::{Hash, ProofError, leaf_hash};
use waxseal_formats::sct::digitally_signed;
use waxseal_formats::x509::Certificate;
use waxseal_log::profile::Bodies;

/// Most entries of one answer (as in the reference implementation).
pub const MAX_ENTRIES: u64 = 1000;
/// Bytes of an answer's entries, in the log's own encoding, after which no more are added.
const MAX_ENTRIES_LEN: usize = 4 << 20;
/// Longest query that is taken apart, in bytes; that of a proof by hash has fewer than 100.
const MAX_QUERY_LEN: usize = 1024;

/// The tree head of the published checkpoint: the log signs the checkpoint as one (C2SP static-ct-api), so this is it.
pub(super) async fn tree_head(State(ct): State<CtLog>) -> Response {
    let tree = Tree::published(&ct.log);
    match tree_head_of(&ct, tree.note()) {
        Some(head) => answer(&head),
        None => Refusal::failed(Code::LOG_STORE_CORRUPT, &"the published checkpoint is no tree head").into_response(),
    }
}

fn tree_head_of(ct: &CtLog, note: &str) -> Option<Value> {
    let profile = ct.log.profile();
    let signed = SignedCheckpoint::parse(note).ok()?;
    let line = signed.note.signature_by(&profile.origin, &profile.key_id()).ok()?;
    let signature = CtSignature::parse(&line.signature)?;
    Some(json!({
        "tree_size": signed.checkpoint.size,
        "timestamp": signature.timestamp_ms,
        "sha256_root_hash": encode_base64(&signed.checkpoint.root),
        "tree_head_signature": encode_base64(&digitally_signed(signature.algorithm, &signature.signature).ok()?),
    }))
}

pub(super) async fn consistency(State(ct): State<CtLog>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let parameters = Parameters::parse(query.as_deref())?;
    let (first, second) = (parameters.number("first")?, parameters.number("second")?);
    let tree = Tree::published(&ct.log);
    if first > second {
        return Err(Refusal::invalid("first is larger than second"));
    }
    within(&tree, "second", second)?;
    let proof = tree.consistency(first, second).await?;
    Ok(answer(&json!({ "consistency": hashes(&proof) })))
}

pub(super) async fn proof_by_hash(State(ct): State<CtLog>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let parameters = Parameters::parse(query.as_deref())?;
    let hash = parameters.hash("hash")?;
    let size = parameters.number("tree_size")?;
    let tree = Tree::published(&ct.log);
    if size == 0 {
        return Err(Refusal::invalid("tree_size is 0: the tree without leaves has no proofs"));
    }
    within(&tree, "tree_size", size)?;
    let unknown = || Refusal::not_found("the tree of that size has no leaf with that hash");
    let index = ct.find_leaf(&hash).await?.filter(|index| *index < size).ok_or_else(unknown)?;
    let (leaf, proof) = tree.inclusion(index, size).await?;
    if leaf != hash {
        return Err(TreeError::Proof(ProofError::Root).into());
    }
    Ok(answer(&json!({ "leaf_index": index, "audit_path": hashes(&proof) })))
}

pub(super) async fn entries(State(ct): State<CtLog>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    kept(&ct)?;
    let parameters = Parameters::parse(query.as_deref())?;
    let (start, end) = (parameters.number("start")?, parameters.number("end")?);
    if start > end {
        return Err(Refusal::invalid("start is larger than end"));
    }
    let size = ct.log.published().size;
    let Some(last) = size.checked_sub(1).filter(|last| start <= *last) else {
        return Err(Refusal::invalid(format!("start lies outside the tree, which has {size} leaves")));
    };
    let last = last.min(end).min(start.saturating_add(MAX_ENTRIES - 1));
    let mut entries = Vec::new();
    let mut length = 0usize;
    let mut next = start;
    while next <= last && length < MAX_ENTRIES_LEN {
        let bodies = ct.bodies(next, last).await?;
        let hashes = ct.leaf_hashes(next).await?;
        if bodies.is_empty() || hashes.len() < bodies.len() {
            return Err(Refusal::failed(Code::LOG_STORE_CORRUPT, &"published entries are missing"));
        }
        next = next.saturating_add(u64::try_from(bodies.len()).unwrap_or(u64::MAX));
        length = bodies.iter().fold(length, |sum, body| sum.saturating_add(body.len()));
        let read = move |issuers: &Issuers| -> Result<Vec<Value>, Refusal> {
            bodies.iter().zip(&hashes).map(|(body, hash)| Ok(Entry::read(body, hash, issuers)?.json())).collect()
        };
        entries.extend(blocking(&ct, read).await?);
    }
    Ok(answer(&json!({ "entries": entries })))
}

pub(super) async fn entry_and_proof(State(ct): State<CtLog>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    kept(&ct)?;
    let parameters = Parameters::parse(query.as_deref())?;
    let (index, size) = (parameters.number("leaf_index")?, parameters.number("tree_size")?);
    let tree = Tree::published(&ct.log);
    within(&tree, "tree_size", size)?;
    if index >= size {
        return Err(Refusal::invalid("leaf_index lies outside the tree of that size"));
    }
    let (leaf, proof) = tree.inclusion(index, size).await?;
    let body = ct.bodies(index, index).await?.into_iter().next();
    let missing = || Refusal::failed(Code::LOG_STORE_CORRUPT, &"a published entry is missing");
    let body = body.ok_or_else(missing)?;
    let entry = blocking(&ct, move |issuers| Entry::read(&body, &leaf, issuers)).await?;
    Ok(answer(&json!({
        "leaf_input": encode_base64(&entry.leaf_input),
        "extra_data": encode_base64(&entry.extra_data),
        "audit_path": hashes(&proof),
    })))
}

/// The root certificates of the chains that the log takes.
pub(super) async fn roots(State(ct): State<CtLog>) -> Response {
    let roots: Vec<_> = ct.roots.iter().map(|root: &Certificate| encode_base64(root.der())).collect();
    answer(&json!({ "certificates": roots }))
}

/// One entry as RFC 6962 §4.6 shows it.
struct Entry {
    leaf_input: Vec<u8>,
    extra_data: Vec<u8>,
}

impl Entry {
    /// From an entry as the log stores it, whose leaf hash has to be this one.
    fn read(body: &[u8], hash: &Hash, issuers: &Issuers) -> Result<Self, Refusal> {
        let damaged = |error| Refusal::failed(Code::LOG_STORE_CORRUPT, &error);
        let (leaf, _) = TileLeaf::decode(body).map_err(damaged)?;
        let chain = leaf.chain_fingerprints.iter().map(|fingerprint| issuers.named(fingerprint));
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let chain = chain.iter().map(|issuer| issuer.as_ref());
        let leaf_input = leaf.timestamped.merkle_tree_leaf().map_err(damaged)?;
        if leaf_hash(&leaf_input) != *hash {
            return Err(TreeError::Proof(ProofError::Root).into());
        }
        Ok(Self { leaf_input, extra_data: extra_data(leaf.precertificate.as_deref(), chain).map_err(damaged)? })
    }

    fn json(&self) -> Value {
        json!({"leaf_input": encode_base64(&self.leaf_input), "extra_data": encode_base64(&self.extra_data)})
    }
}

/// The parameters of a query, decoded, none of them twice.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let query = query.unwrap_or_default();
        if query.len() > MAX_QUERY_LEN {
            return Err(Refusal::invalid(format!("the query is longer than {MAX_QUERY_LEN} bytes")));
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::invalid("a parameter stands in the query twice"));
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }

    fn text(&self, name: &'static str) -> Result<&str, Refusal> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).ok_or_else(|| Refusal::invalid(format!("{name} is missing")))
    }

    /// A decimal number without a sign.
    fn number(&self, name: &'static str) -> Result<u64, Refusal> {
        let text = self.text(name)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.ok_or_else(|| Refusal::invalid(format!("{name} is not a number")))
    }

    /// 32 bytes in base64.
    fn hash(&self, name: &'static str) -> Result<Hash, Refusal> {
        let hash = decode_base64(self.text(name)?).and_then(|bytes| Hash::try_from(bytes).ok());
        hash.ok_or_else(|| Refusal::invalid(format!("{name} is not the base64 of 32 bytes")))
    }
}

fn answer(document: &Value) -> Response {
    gateway::json_answer(StatusCode::OK, document.to_string())
}

fn hashes(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| encode_base64(hash)).collect()
}

/// Nothing is proven of a tree that is not published yet.
fn within(tree: &Tree<'_>, name: &'static str, size: u64) -> Result<(), Refusal> {
    if size <= tree.size() {
        return Ok(());
    }
    Err(Refusal::invalid(format!("{name} is {size}, and the published tree has {} leaves", tree.size())))
}

/// Whether there are entries to show at all; said before anything about the request.
pub(super) fn kept(ct: &CtLog) -> Result<(), Refusal> {
    match ct.log.profile().bodies {
        Bodies::Kept => Ok(()),
        Bodies::Sealed => Err(TreeError::Sealed.into()),
    }
}

/// Runs something that may read issuers from files where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    ct: &CtLog,
    read: impl FnOnce(&Issuers) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let issuers = Arc::clone(&ct.issuers);
    let task = tokio::task::spawn_blocking(move || read(&issuers)).await;
    task.unwrap_or_else(|error| Err(Refusal::failed(Code::LOG_STORE_FAILED, &error)))
}
