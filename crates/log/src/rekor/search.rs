//! What entries are found by (rekor `IndexKeys`). Upstream writes the hash of a key with its algorithm for some kinds and
//! without it for others, so that half of the questions find nothing; here both forms are written for all of them.

use waxseal_formats::crypto::HashAlgorithm;
use waxseal_formats::entry::PemVerifier;
use waxseal_formats::envelope::IN_TOTO;
use waxseal_formats::json::{self, Node};
use waxseal_formats::statement::MAX_STATEMENT_LEN;

/// The hash of a key or certificate as it is looked for: SHA-256 of its canonical PEM.
#[must_use]
pub fn key_hash(verifier: &PemVerifier) -> String {
    HashAlgorithm::Sha256.digest(verifier.to_pem().as_bytes()).to_hex()
}

/// The hash of the verifier, with and without its algorithm, and its names.
pub(super) fn verifier(verifier: &PemVerifier) -> Vec<String> {
    let hash = key_hash(verifier);
    let mut keys = vec![format!("sha256:{hash}"), hash];
    keys.extend(verifier.certificate().into_iter().flat_map(|certificate| certificate.subject_alt_names()));
    keys
}

/// The digests of an in-toto statement's subjects and of the materials in its predicate. A payload that is something else has
/// none, and is no error: it was signed all the same.
pub(super) fn statement(payload_type: &str, payload: &[u8]) -> Vec<String> {
    if payload_type != IN_TOTO {
        return Vec::new();
    }
    let Ok(document) = json::parse(payload, MAX_STATEMENT_LEN) else { return Vec::new() };
    let root = Node::root(&document);
    let mut keys = digests(&root, "subject");
    if let Ok(Some(predicate)) = root.field("predicate") {
        keys.extend(digests(&predicate, "materials"));
    }
    keys
}

/// `[{"digest":{"sha256":"…"}}]` under `name`.
fn digests(node: &Node<'_>, name: &str) -> Vec<String> {
    let elements = node.repeated(name).unwrap_or_default();
    let digests = elements.iter().filter_map(|element| element.field("digest").ok().flatten());
    let members = digests.filter_map(|digest| digest.value().as_object()).flatten();
    members.filter_map(|(algorithm, value)| Some(format!("{algorithm}:{}", value.as_str()?))).collect()
}
