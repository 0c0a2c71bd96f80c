//! Old signatures become bundles of the present version: what they lack is asked of the log that has their entry.

use super::sign::{SignError, rekor};
use url::Url;
use waxseal_formats::bundle::{Bundle, Content, LogEntry, MediaType, VerificationMaterial};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, PublicKey};
use waxseal_formats::entry::Entry;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_formats::x509::Certificate;
use waxseal_io::transport::Transport;

/// Why no present bundle can be made.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The log cannot be asked, or answers something unusable.
    #[error(transparent)]
    Log(#[from] SignError),
    /// Nobody knows where the log is.
    #[error(
        "the entry {index} of log {log} has no inclusion proof, and the trusted root does not say where that log is"
    )]
    UnknownLog {
        /// Its ID in hexadecimal.
        log: String,
        /// The entry.
        index: u64,
    },
    /// The log's address in the trusted root is none.
    #[error("the trusted root says that a log is at {url:?}, which is no URL")]
    Address {
        /// What it says.
        url: String,
    },
    /// The log has another entry there.
    #[error("the log at {url} has another entry at index {index}")]
    AnotherEntry {
        /// Where the log is.
        url: Url,
        /// The entry.
        index: u64,
    },
    /// The log has the entry and gives no proof of it.
    #[error("the log at {url} gives no inclusion proof of entry {index}")]
    NoProof {
        /// Where the log is.
        url: Url,
        /// The entry.
        index: u64,
    },
    /// The log has no entry of the signature.
    #[error("the log at {url} has no entry of this signature")]
    NotLogged {
        /// Where the log is.
        url: Url,
    },
    /// The certificate cannot be read.
    #[error("the certificate: {0}")]
    Certificate(#[from] waxseal_formats::x509::CertificateError),
    /// There is neither certificate nor key.
    #[error("whose signature it is is not said")]
    Nobody,
}

impl UpgradeError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Log(error) => error.code(),
            Self::UnknownLog { .. } => Code::LOG_UNKNOWN,
            Self::Address { .. } => Code::TRUSTED_ROOT_MALFORMED,
            Self::AnotherEntry { .. } => Code::LOG_ENTRY_MISMATCH,
            Self::NoProof { .. } | Self::NotLogged { .. } => Code::LOG_PROOF_MISSING,
            Self::Certificate(error) => error.code(),
            Self::Nobody => Code::SIGNATURE_KEY_MISSING,
        }
    }
}

/// Looks for the log entries of a signature over `digest`, whose bundle has none. Nothing of them is verified.
///
/// # Errors
/// [`UpgradeError`].
pub async fn find_entries(
    transport: &dyn Transport,
    log: &Url,
    bundle: &Bundle,
    digest: &Digest,
    key: Option<&PublicKey>,
) -> Result<Vec<LogEntry>, UpgradeError> {
    let pem = match (&bundle.material, key) {
        (VerificationMaterial::Certificate { leaf, .. }, _) => Certificate::from_der(leaf)?.to_pem(),
        (VerificationMaterial::PublicKey { .. }, Some(key)) => key.to_pem(),
        (VerificationMaterial::PublicKey { .. }, None) => return Err(UpgradeError::Nobody),
    };
    let mut found = rekor::find_v1(transport, log, &bundle.content, digest, &pem).await?;
    // Readers refuse a bundle with two entries of one log about the same; the first one is the oldest.
    found.truncate(1);
    if found.is_empty() { Err(UpgradeError::NotLogged { url: log.clone() }) } else { Ok(found) }
}

/// Makes a bundle of version 0.3. Inclusion proofs that entries lack are asked for at `log`, or where `root` says that their log is.
/// What the result is worth verification says.
///
/// # Errors
/// [`UpgradeError`].
pub async fn upgrade(
    transport: &dyn Transport,
    mut bundle: Bundle,
    log: Option<&Url>,
    root: &TrustedRoot,
) -> Result<Bundle, UpgradeError> {
    for entry in &mut bundle.entries {
        if entry.proof.is_some() {
            continue;
        }
        let (index, url) = (entry.log_index, log.cloned().map_or_else(|| address(root, entry), Ok)?);
        let found = rekor::entry_v1(transport, &url, index).await?;
        let same = found.log_id == entry.log_id
            && found.canonicalized_body == entry.canonicalized_body
            && found.integrated_time == entry.integrated_time;
        match found.proof {
            _ if !same => return Err(UpgradeError::AnotherEntry { url, index }),
            None => return Err(UpgradeError::NoProof { url, index }),
            proof => entry.proof = proof,
        }
    }
    if let Content::MessageSignature { digest: digest @ None, .. } = &mut bundle.content {
        // Some readers take no signature without it, and old bundles say it in their log entry alone.
        *digest = bundle.entries.iter().find_map(logged_digest);
    }
    if let VerificationMaterial::Certificate { chain, .. } = &mut bundle.material {
        // This version has the signer's certificate alone: the others are in trusted roots.
        chain.clear();
    }
    Ok(Bundle { media_type: MediaType::V0_3, ..bundle })
}

fn logged_digest(entry: &LogEntry) -> Option<Digest> {
    let body = entry.canonicalized_body.as_deref()?;
    match Entry::parse(&entry.kind, &entry.version, body).ok()? {
        Entry::HashedRekord001 { digest, .. } | Entry::HashedRekord002 { digest, .. } => Some(digest),
        Entry::Dsse001 { .. } | Entry::Intoto002 { .. } => None,
    }
}

fn address(root: &TrustedRoot, entry: &LogEntry) -> Result<Url, UpgradeError> {
    let known = root.tlogs.iter().find(|log| log.log_id == entry.log_id);
    let known =
        known.ok_or_else(|| UpgradeError::UnknownLog { log: hex::encode(&entry.log_id), index: entry.log_index })?;
    Url::parse(&known.base_url).map_err(|_| UpgradeError::Address { url: known.base_url.clone() })
}

#[cfg(test)]
mod tests {
    use super::{UpgradeError, upgrade};
    use serde_json::{Value, json};
    use waxseal_formats::bundle::{Bundle, Content, MediaType};
    use waxseal_formats::code::Code;
    use waxseal_formats::json::encode_base64;
    use waxseal_formats::legacy::from_old_bundle;
    use waxseal_formats::trusted_root::TrustedRoot;
    use waxseal_io::transport::replay::Replay;

    /// An old bundle, the root that knows its log, and what that log answers.
    fn old() -> Option<(Bundle, TrustedRoot, Value)> {
        let vectors = waxseal_testkit::vectors()?;
        let bundle = from_old_bundle(&vectors.read("private-instance/legacy/c2-r1-old.bundle")).expect("old");
        let root = TrustedRoot::from_json(&vectors.read("private-instance/trusted_root.json")).expect("root");
        let entry = &bundle.entries[0];
        let answer = json!({"uuid": {
            "body": encode_base64(entry.canonicalized_body.as_deref().expect("a body")),
            "integratedTime": entry.integrated_time,
            "logID": hex::encode(&entry.log_id),
            "logIndex": entry.log_index,
            "verification": {"inclusionProof": {
                "checkpoint": "c", "hashes": [], "logIndex": 0, "rootHash": "00".repeat(32), "treeSize": 1,
            }},
        }});
        Some((bundle, root, answer))
    }

    async fn upgraded(bundle: &Bundle, root: &TrustedRoot, status: u16, answer: &str) -> Result<Bundle, UpgradeError> {
        let replay = Replay::new();
        let url = format!("http://127.0.0.1:7480/api/v1/log/entries?logIndex={}", bundle.entries[0].log_index);
        replay.answer("GET", &url, status, answer);
        upgrade(&replay, bundle.clone(), None, root).await
    }

    #[tokio::test]
    async fn the_log_gives_what_an_old_bundle_lacks() {
        let Some((bundle, root, answer)) = old() else { return };
        let present = upgraded(&bundle, &root, 200, &answer.to_string()).await.expect("upgraded");
        assert_eq!(present.media_type, MediaType::V0_3);
        assert!(present.entries[0].proof.is_some() && present.entries[0].set.is_some());
        assert!(matches!(present.content, Content::MessageSignature { digest: Some(_), .. }));
        // What is present already needs nobody.
        upgrade(&Replay::new(), present, None, &TrustedRoot::default()).await.expect("nothing is asked");
    }

    #[tokio::test]
    async fn a_log_that_has_something_else_there_is_not_believed() {
        let Some((bundle, root, answer)) = old() else { return };
        let with = |path: &str, value: Value| {
            let mut answer = answer.clone();
            *answer["uuid"].pointer_mut(path).expect("there") = value;
            answer.to_string()
        };
        let other = encode_base64(br#"{"kind":"hashedrekord","apiVersion":"0.0.1"}"#);
        for (answer, code) in [
            (with("/body", json!(other)), Code::LOG_ENTRY_MISMATCH),
            (with("/integratedTime", json!(1)), Code::LOG_ENTRY_MISMATCH),
            (with("/logID", json!("00")), Code::LOG_ENTRY_MISMATCH),
            (with("/verification", json!({})), Code::LOG_PROOF_MISSING),
            ("{}".to_owned(), Code::LOG_ENTRY_MALFORMED),
        ] {
            assert_eq!(upgraded(&bundle, &root, 200, &answer).await.expect_err("refused").code(), code, "{answer}");
        }
        let unknown = upgraded(&bundle, &TrustedRoot::default(), 200, "").await.expect_err("nobody to ask");
        assert_eq!(unknown.code(), Code::LOG_UNKNOWN);
    }
}
