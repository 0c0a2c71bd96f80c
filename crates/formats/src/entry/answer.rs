//! What a Rekor v1 log answers when it has an entry (rekor `openapi.yaml`, `LogEntry`).
//!
//! ```json
//! {"<uuid>":{"body":"<base64>","integratedTime":1,"logID":"<hex>","logIndex":2,"verification":{
//!   "inclusionProof":{"checkpoint":"…","hashes":["<hex>"],"logIndex":2,"rootHash":"<hex>","treeSize":3},
//!   "signedEntryTimestamp":"<base64>"}}}
//! ```

use crate::bundle::{InclusionProof, LogEntry, MAX_BUNDLE_LEN, MAX_ENTRIES, MAX_PROOF_HASHES};
use crate::json::{self, JsonError, Node};
use serde_json::Value;

/// Parses the one entry of an answer of at most [`MAX_BUNDLE_LEN`] bytes.
///
/// # Errors
/// [`JsonError`].
pub fn rekor_v1(document: &[u8]) -> Result<LogEntry, JsonError> {
    one(&json::parse(document, MAX_BUNDLE_LEN)?)
}

/// Parses an answer to a search, a list of such objects, of at most [`MAX_BUNDLE_LEN`] bytes and [`MAX_ENTRIES`] entries.
///
/// # Errors
/// [`JsonError`].
pub fn rekor_v1_found(document: &[u8]) -> Result<Vec<LogEntry>, JsonError> {
    let document = json::parse(document, MAX_BUNDLE_LEN)?;
    let list = document.as_array().filter(|list| list.len() <= MAX_ENTRIES);
    let few = JsonError::Mismatch { path: "the document".into(), expected: "a list of at most 32 entries" };
    list.ok_or(few)?.iter().map(one).collect()
}

fn one(document: &Value) -> Result<LogEntry, JsonError> {
    let one = || JsonError::Mismatch { path: "the document".into(), expected: "an object of one entry" };
    let mut entries = document.as_object().ok_or_else(one)?.values();
    let (Some(entry), None) = (entries.next(), entries.next()) else { return Err(one()) };
    // The names are Go's: `logID` and `body` are taken as they are.
    let entry = Node::root(entry);
    let body = entry.required("body")?.bytes()?;
    let parsed = json::parse(&body, MAX_BUNDLE_LEN)?;
    let stated = Node::root(&parsed);
    let verification = entry.required("verification")?;
    let proof = verification.field("inclusionProof")?.map(|proof| inclusion_proof(&proof)).transpose()?;
    let set = verification.bytes_field("signedEntryTimestamp")?;
    let integrated_time = entry.required("integratedTime")?.int64()?;
    Ok(LogEntry {
        log_index: entry.index_field("logIndex")?,
        log_id: hexadecimal(&entry.required("logID")?)?,
        kind: stated.string_field("kind")?.to_owned(),
        version: stated.string_field("apiVersion")?.to_owned(),
        integrated_time: (integrated_time != 0).then_some(integrated_time),
        set: (!set.is_empty()).then_some(set),
        proof,
        canonicalized_body: (!body.is_empty()).then_some(body),
    })
}

fn inclusion_proof(node: &Node<'_>) -> Result<InclusionProof, JsonError> {
    let mismatch = |name: &str, expected| JsonError::Mismatch { path: format!("{}.{name}", node.path()), expected };
    let hashes = node.repeated("hashes")?;
    if hashes.len() > MAX_PROOF_HASHES {
        return Err(mismatch("hashes", "a list of at most 64"));
    }
    let hash =
        |node: &Node<'_>| <[u8; 32]>::try_from(hexadecimal(node)?).map_err(|_| mismatch("hashes", "of 32 bytes each"));
    let checkpoint = node.string_field("checkpoint")?;
    Ok(InclusionProof {
        log_index: node.index_field("logIndex")?,
        root_hash: hexadecimal(&node.required("rootHash")?)?,
        tree_size: node.index_field("treeSize")?,
        hashes: hashes.iter().map(hash).collect::<Result<_, _>>()?,
        checkpoint: (!checkpoint.is_empty()).then(|| checkpoint.to_owned()),
    })
}

fn hexadecimal(node: &Node<'_>) -> Result<Vec<u8>, JsonError> {
    hex::decode(node.string()?)
        .map_err(|_| JsonError::Mismatch { path: node.path().to_owned(), expected: "hexadecimal" })
}

#[cfg(test)]
mod tests {
    use super::rekor_v1;

    #[test]
    fn answers_are_read_and_broken_ones_are_not() {
        let hash = "02".repeat(32);
        let answer = format!(
            concat!(
                r#"{{"1a":{{"body":"eyJraW5kIjoiZHNzZSIsImFwaVZlcnNpb24iOiIwLjAuMSJ9","integratedTime":9,"logID":"0e","logIndex":5,"#,
                r#""verification":{{"inclusionProof":{{"checkpoint":"c\n","hashes":["{hash}"],"logIndex":4,"rootHash":"{hash}","treeSize":6}},"#,
                r#""signedEntryTimestamp":"AQ=="}}}}}}"#
            ),
            hash = hash
        );
        let entry = rekor_v1(answer.as_bytes()).expect("read");
        assert_eq!((entry.kind.as_str(), entry.version.as_str(), entry.log_index), ("dsse", "0.0.1", 5));
        let proof = entry.proof.expect("proof");
        assert_eq!((proof.log_index, proof.tree_size, proof.hashes), (4, 6, vec![[2; 32]]));
        assert_eq!((entry.set, entry.integrated_time, entry.log_id), (Some(vec![1]), Some(9), vec![0x0e]));
        for (from, to) in [
            (r#"{"1a":"#, r#"{"2b":{},"1a":"#),
            ("eyJraW5k", "fyJraW5k"),
            (r#""0e""#, r#""xx""#),
            (hash.as_str(), "02"),
            (r#""integratedTime":9,"#, ""),
            (r#""verification""#, r#""other""#),
        ] {
            assert!(rekor_v1(answer.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
        assert!(rekor_v1(b"{}").is_err() && rekor_v1(b"[]").is_err());
    }
}
