//! Log entries: as they stand in bundles, and as Rekor v2 answers.

use super::{BundleError, MAX_BUNDLE_LEN, bound, wire};
use crate::json::{self, Node};

/// An inclusion proof may hold this many hashes: the height of the tallest tree.
pub const MAX_PROOF_HASHES: usize = 64;

/// A transparency log entry (`TransparencyLogEntry`): in a bundle, and as Rekor v2 answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The entry's index in the log; for Rekor v1 across all its shards.
    pub log_index: u64,
    /// The log's id; the verifier compares it with the trusted root.
    pub log_id: Vec<u8>,
    /// Kind of the entry: `hashedrekord`.
    pub kind: String,
    /// Version of the kind: `0.0.2`.
    pub version: String,
    /// When the log says that it took the entry, in Unix seconds; proven only by `set`. Zero and absent are `None`.
    pub integrated_time: Option<i64>,
    /// The signed entry timestamp (inclusion promise) of Rekor v1; never empty.
    pub set: Option<Vec<u8>>,
    /// The inclusion proof.
    pub proof: Option<InclusionProof>,
    /// The entry's canonical bytes; never empty.
    pub canonicalized_body: Option<Vec<u8>>,
}

/// A Merkle inclusion proof (RFC 6962 §2.1.1) with the checkpoint it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The leaf's index in this tree.
    pub log_index: u64,
    /// The root it leads to, unauthenticated; never empty.
    pub root_hash: Vec<u8>,
    /// Size of the tree, unauthenticated; never 0.
    pub tree_size: u64,
    /// The audit path from the leaf upwards, at most [`MAX_PROOF_HASHES`].
    pub hashes: Vec<[u8; 32]>,
    /// The signed checkpoint; never empty.
    pub checkpoint: Option<String>,
}

impl LogEntry {
    /// Parses a Rekor v2 answer, of at most [`MAX_BUNDLE_LEN`] bytes.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn from_json(document: &[u8]) -> Result<Self, BundleError> {
        Self::from_node(&Node::root(&json::parse(document, MAX_BUNDLE_LEN)?))
    }

    /// The answer of a Rekor v2 server: every default is spelled out, as sigstore-python demands.
    #[must_use]
    pub fn to_answer_json(&self) -> String {
        serde_json::to_string(&wire::Answer::from(self)).unwrap_or_default()
    }

    pub(super) fn from_node(node: &Node<'_>) -> Result<Self, BundleError> {
        let kind = node.required("kindVersion")?;
        let set = node
            .field("inclusionPromise")?
            .map_or_else(|| Ok(Vec::new()), |p| p.bytes_field("signedEntryTimestamp"))?;
        let integrated_time = i64::try_from(node.index_field("integratedTime")?).unwrap_or(i64::MAX);
        let body = node.bytes_field("canonicalizedBody")?;
        Ok(Self {
            log_index: node.index_field("logIndex")?,
            log_id: node.required("logId")?.bytes_field("keyId")?,
            kind: kind.string_field("kind")?.to_owned(),
            version: kind.string_field("version")?.to_owned(),
            integrated_time: (integrated_time != 0).then_some(integrated_time),
            set: (!set.is_empty()).then_some(set),
            proof: node.field("inclusionProof")?.map(|proof| InclusionProof::from_node(&proof)).transpose()?,
            canonicalized_body: (!body.is_empty()).then_some(body),
        })
    }
}

impl InclusionProof {
    fn from_node(node: &Node<'_>) -> Result<Self, BundleError> {
        let field = |name: &str, problem: &str| BundleError::Field {
            path: format!("{}.{name}", node.path()),
            problem: problem.to_owned(),
        };
        let hashes = node.repeated("hashes")?;
        bound("proof hashes", hashes.len(), MAX_PROOF_HASHES)?;
        let hashes = hashes
            .iter()
            .map(|hash| <[u8; 32]>::try_from(hash.bytes()?).map_err(|_| field("hashes", "a hash has not 32 bytes")))
            .collect::<Result<_, _>>()?;
        let root_hash = node.bytes_field("rootHash")?;
        let tree_size = node.index_field("treeSize")?;
        if root_hash.is_empty() {
            return Err(field("rootHash", "missing"));
        }
        if tree_size == 0 {
            return Err(field("treeSize", "missing"));
        }
        let checkpoint = node.field("checkpoint")?.map_or(Ok(""), |checkpoint| checkpoint.string_field("envelope"))?;
        Ok(Self {
            log_index: node.index_field("logIndex")?,
            root_hash,
            tree_size,
            hashes,
            checkpoint: (!checkpoint.is_empty()).then(|| checkpoint.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{InclusionProof, LogEntry};

    #[test]
    fn the_answer_of_a_log_spells_out_its_defaults() {
        let entry = LogEntry {
            log_index: 0,
            log_id: vec![1],
            kind: "hashedrekord".into(),
            version: "0.0.2".into(),
            integrated_time: None,
            set: None,
            proof: Some(InclusionProof {
                log_index: 0,
                root_hash: vec![2; 32],
                tree_size: 1,
                hashes: vec![],
                checkpoint: Some("c\n".into()),
            }),
            canonicalized_body: Some(vec![3]),
        };
        let root = crate::json::encode_base64(&[2; 32]);
        let expected = format!(
            concat!(
                r#"{{"logIndex":"0","logId":{{"keyId":"AQ=="}},"kindVersion":{{"kind":"hashedrekord","version":"0.0.2"}},"#,
                r#""integratedTime":"0","inclusionPromise":null,"inclusionProof":{{"logIndex":"0","rootHash":"{}","treeSize":"1","#,
                r#""hashes":[],"checkpoint":{{"envelope":"c\n"}}}},"canonicalizedBody":"Aw=="}}"#
            ),
            root
        );
        assert_eq!(entry.to_answer_json(), expected);
        assert_eq!(LogEntry::from_json(expected.as_bytes()), Ok(entry));
    }
}
