//! in-toto statements, v1 and v0.1 (<https://github.com/in-toto/attestation>, "Statement").

use crate::code::Code;
use crate::crypto::Digest;
use crate::json::{self, JsonError, Node};
use serde_json::{Map, Value};

/// `_type` of statements v1.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// `_type` of statements v0.1, which cosign still writes.
pub const STATEMENT_V0_1: &str = "https://in-toto.io/Statement/v0.1";
/// The predicate type of a signature of an image (cosign 3).
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// The predicate type of what has no other, as cosign names it: `{"Data": …, "Timestamp": …}`.
pub const COSIGN_CUSTOM: &str = "https://cosign.sigstore.dev/attestation/v1";
/// cosign's short names for predicate types.
pub const ALIASES: [(&str, &str); 11] = [
    ("custom", COSIGN_CUSTOM),
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("spdx", "https://spdx.dev/Document"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("link", "https://in-toto.io/Link/v1"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
    ("sign", COSIGN_SIGN),
];
/// A statement may be this long, in bytes.
pub const MAX_STATEMENT_LEN: usize = 10 << 20;
/// A statement may have this many subjects.
pub const MAX_SUBJECTS: usize = 1024;
/// A subject may have this many digests.
pub const MAX_DIGESTS: usize = 32;

/// Version of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum StatementVersion {
    /// [`STATEMENT_V0_1`].
    V0_1,
    /// [`STATEMENT_V1`].
    V1,
}

/// An in-toto statement: a predicate about subjects.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Its version.
    pub version: StatementVersion,
    /// What it is about; 1 to [`MAX_SUBJECTS`].
    pub subjects: Vec<Subject>,
    /// What is said, as a URI.
    pub predicate_type: String,
    /// The predicate; null if there is none.
    pub predicate: Value,
}

/// One subject of a statement.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Subject {
    /// Its name; cosign's image signatures have none.
    pub name: Option<String>,
    /// Its digests by algorithms known here; others (`gitCommit`, `sha1`) identify nothing and are left out.
    pub digests: Vec<Digest>,
    /// What else is said of it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
}

/// The predicate type of one of cosign's short names; any other text is one itself.
#[must_use]
pub fn predicate_type_of_alias(text: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == text).map_or(text, |(_, predicate_type)| predicate_type)
}

/// A statement v1 about one subject, as JSON.
#[must_use]
pub fn statement_about(name: &str, digest: &Digest, predicate_type: &str, predicate: &Value) -> Vec<u8> {
    let subject = serde_json::json!({"name": name, "digest": {digest.algorithm().name(): digest.to_hex()}});
    let statement = serde_json::json!({
        "_type": STATEMENT_V1, "subject": [subject], "predicateType": predicate_type, "predicate": predicate,
    });
    statement.to_string().into_bytes()
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It is no statement JSON.
    #[error("statement: {0}")]
    Json(#[from] JsonError),
    /// Its `_type` is unknown.
    #[error("statement type {found:?} is not supported")]
    Type {
        /// The `_type` found.
        found: String,
    },
    /// It has no subject, or too many, or a subject has too many digests or a malformed one.
    #[error("statement subjects: {0}")]
    Subjects(String),
    /// It has no predicate type.
    #[error("the statement has no predicateType")]
    PredicateType,
}

impl StatementError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Json(_) | Self::Type { .. } => Code::SIGNATURE_ENVELOPE,
            Self::Subjects(_) => Code::STATEMENT_SUBJECT,
            Self::PredicateType => Code::STATEMENT_PREDICATE_TYPE,
        }
    }
}

impl Statement {
    /// Parses the payload of an envelope, of at most [`MAX_STATEMENT_LEN`] bytes.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn from_json(payload: &[u8]) -> Result<Self, StatementError> {
        let document = json::parse(payload, MAX_STATEMENT_LEN)?;
        let root = Node::root(&document);
        let version = match root.string_field("_type")? {
            STATEMENT_V1 => StatementVersion::V1,
            STATEMENT_V0_1 => StatementVersion::V0_1,
            other => return Err(StatementError::Type { found: other.to_owned() }),
        };
        let subjects = root.repeated("subject")?;
        if subjects.is_empty() || subjects.len() > MAX_SUBJECTS {
            let message = format!("{} of them, 1 to {MAX_SUBJECTS} are allowed", subjects.len());
            return Err(StatementError::Subjects(message));
        }
        let subjects = subjects.iter().map(Subject::from_node).collect::<Result<_, _>>()?;
        let predicate_type = root.string_field("predicateType")?.to_owned();
        if predicate_type.is_empty() {
            return Err(StatementError::PredicateType);
        }
        let predicate = root.field("predicate")?.map_or(Value::Null, |node| node.value().clone());
        Ok(Self { version, subjects, predicate_type, predicate })
    }

    /// Whether a subject has this digest.
    #[must_use]
    pub fn is_about(&self, digest: &Digest) -> bool {
        self.subjects.iter().any(|subject| subject.digests.contains(digest))
    }
}

impl Subject {
    fn from_node(node: &Node<'_>) -> Result<Self, StatementError> {
        let digests = node.required("digest")?;
        let Some(object) = digests.value().as_object() else {
            return Err(StatementError::Subjects(format!("{} is not an object", digests.path())));
        };
        if object.len() > MAX_DIGESTS {
            let message = format!("{} has {} digests, {MAX_DIGESTS} are allowed", node.path(), object.len());
            return Err(StatementError::Subjects(message));
        }
        let mut known = Vec::new();
        for (algorithm, value) in object {
            let Some(value) = value.as_str() else {
                return Err(StatementError::Subjects(format!("{}.{algorithm} is not a string", digests.path())));
            };
            if crate::crypto::HashAlgorithm::from_name(algorithm).is_some() {
                let digest = Digest::parse(&format!("{algorithm}:{value}")).ok_or_else(|| {
                    StatementError::Subjects(format!("{}.{algorithm} is not a digest in hexadecimal", digests.path()))
                })?;
                known.push(digest);
            }
        }
        let name = node.field("name")?.map(|name| name.string().map(ToOwned::to_owned)).transpose()?;
        let annotations = match node.field("annotations")? {
            None => Map::new(),
            Some(node) => node
                .value()
                .as_object()
                .cloned()
                .ok_or_else(|| StatementError::Subjects(format!("{} is not an object", node.path())))?,
        };
        Ok(Self { name, digests: known, annotations })
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_DIGESTS, MAX_SUBJECTS, Statement, StatementVersion};
    use crate::code::Code;
    use crate::crypto::{Digest, HashAlgorithm};

    fn statement(subject: &str) -> String {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{subject}],"predicateType":"p","predicate":{{"a":1}}}}"#
        )
    }

    fn code(text: &str) -> Code {
        Statement::from_json(text.as_bytes()).unwrap_err().code()
    }

    #[test]
    fn a_statement_is_about_the_digests_of_its_subjects() {
        let digest = HashAlgorithm::Sha256.digest(b"a");
        let text = statement(&format!(r#"{{"digest":{{"gitCommit":"00","sha256":"{}"}}}}"#, digest.to_hex()));
        let parsed = Statement::from_json(text.as_bytes()).unwrap();
        assert_eq!((parsed.version, parsed.predicate_type.as_str()), (StatementVersion::V1, "p"));
        assert_eq!(parsed.predicate, serde_json::json!({"a": 1}));
        assert!(parsed.is_about(&digest));
        assert!(!parsed.is_about(&HashAlgorithm::Sha256.digest(b"b")));
        let old = text.replace("/v1", "/v0.1");
        assert_eq!(Statement::from_json(old.as_bytes()).unwrap().version, StatementVersion::V0_1);
    }

    #[test]
    fn a_digest_counts_only_under_its_own_algorithm() {
        let digest = HashAlgorithm::Sha256.digest(b"a");
        let text = statement(&format!(r#"{{"digest":{{"dirHash":"{0}","sha1":"{0}"}}}}"#, digest.to_hex()));
        assert!(!Statement::from_json(text.as_bytes()).unwrap().is_about(&digest));
        assert_eq!(Digest::parse(&format!("sha512:{}", digest.to_hex())), None);
    }

    #[test]
    fn subjects_and_digests_are_bounded() {
        let subject = r#"{"digest":{}}"#;
        let subjects = |n: usize| statement(&vec![subject; n].join(","));
        assert!(Statement::from_json(subjects(MAX_SUBJECTS).as_bytes()).is_ok());
        assert_eq!(code(&subjects(MAX_SUBJECTS + 1)), Code::STATEMENT_SUBJECT);
        assert_eq!(code(&subjects(0)), Code::STATEMENT_SUBJECT);
        let digests = |n: usize| {
            statement(&format!(
                r#"{{"digest":{{{}}}}}"#,
                (0..n).map(|i| format!(r#""a{i}":"""#)).collect::<Vec<_>>().join(",")
            ))
        };
        assert!(Statement::from_json(digests(MAX_DIGESTS).as_bytes()).is_ok());
        assert_eq!(code(&digests(MAX_DIGESTS + 1)), Code::STATEMENT_SUBJECT);
    }

    #[test]
    fn malformed_statements_are_refused() {
        assert_eq!(code("{}"), Code::SIGNATURE_ENVELOPE);
        assert_eq!(code("not json"), Code::SIGNATURE_ENVELOPE);
        assert_eq!(
            code(&statement(r#"{"digest":{}}"#).replace("Statement/v1", "Statement/v2")),
            Code::SIGNATURE_ENVELOPE
        );
        assert_eq!(code(&statement(r#"{"digest":{}}"#).replace(r#""p""#, r#""""#)), Code::STATEMENT_PREDICATE_TYPE);
        assert_eq!(code(&statement(r#"{"digest":{"sha256":"00"}}"#)), Code::STATEMENT_SUBJECT);
        assert_eq!(code(&statement(r#"{"digest":{"sha256":1}}"#)), Code::STATEMENT_SUBJECT);
        assert_eq!(code(&statement(r#"{"digest":{}},{"name":"x"}"#)), Code::SIGNATURE_ENVELOPE);
    }
}
