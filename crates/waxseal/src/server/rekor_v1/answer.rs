//! What is answered about an entry: `LogEntryAnon` of Rekor v1.

use super::failure::Failure;
use super::{Logged, RekorV1};
use crate::server::drive::{Head, TreeError};
use serde_json::{Value, json};
use waxseal_formats::json::encode_base64;
use waxseal_formats::merkle::{Hash, leaf_hash, verify_inclusion};
use waxseal_io::signer::Signer as _;

impl RekorV1 {
    /// The entry with its signed time, its proof to `head` and the checkpoint.
    ///
    /// # Errors
    /// If the log's key cannot be used.
    pub(super) fn answer(&self, logged: &Logged, proof: &[Hash], head: &Head) -> Result<Value, Failure> {
        let log_id = hex::encode(self.log.profile().log_id());
        // Seconds: the time of the batch, rounded down, so that it is never later than the entry.
        let (body, seconds) = (encode_base64(&logged.body), logged.time.0 / 1000);
        // RFC 8785: these four keys in this order, no white space; base64 and hexadecimal digits need no escapes.
        let promise =
            format!(r#"{{"body":"{body}","integratedTime":{seconds},"logID":"{log_id}","logIndex":{}}}"#, logged.index);
        let signature = self.signer.sign(promise.as_bytes())?;
        let hashes: Vec<String> = proof.iter().map(hex::encode).collect();
        Ok(json!({
            "body": body,
            "integratedTime": seconds,
            "logID": log_id,
            "logIndex": logged.index,
            "verification": {
                "inclusionProof": {
                    "checkpoint": &*head.note,
                    "hashes": hashes,
                    "logIndex": logged.index,
                    "rootHash": hex::encode(head.root),
                    "treeSize": head.size,
                },
                "signedEntryTimestamp": encode_base64(&signature),
            },
        }))
    }

    /// An entry that was logged before, as the one-key object under its ID, proven against the present tree.
    ///
    /// # Errors
    /// If the log cannot be read, or holds something else at that index.
    pub(super) async fn entry(&self, logged: &Logged) -> Result<Value, Failure> {
        let head = self.log.head();
        let (_, proof) = self.log.inclusion(logged.index, head.size).await?;
        // The proof is about the body that is answered, not about whatever stands at its index.
        let leaf = leaf_hash(&logged.body);
        verify_inclusion(logged.index, head.size, &leaf, &proof, &head.root).map_err(TreeError::Proof)?;
        Ok(json!({ self.entry_id(&leaf): self.answer(logged, &proof, &head)? }))
    }
}
