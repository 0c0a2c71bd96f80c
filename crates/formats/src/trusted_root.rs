//! The trusted root (protobuf-specs `sigstore_trustroot.proto`, `TrustedRoot`): whom a verifier trusts, and when.
//!
//! Fields of newer versions are ignored on reading and never written: other clients refuse fields they do not know.

use crate::code::Code;
use crate::crypto::{HashAlgorithm, KeyDetails, KeyError, PublicKey};
use crate::json::{self, JsonError, Node, encode_base64};
use crate::x509::{Certificate, CertificateError};
use const_oid::db::rfc5912::RSA_ENCRYPTION;
use der::Encode as _;
use der::asn1::BitString;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// The only media type that is read and written.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
/// A trusted root may be this long, in bytes.
pub const MAX_TRUSTED_ROOT_LEN: usize = 4 << 20;
/// A trusted root may list this many logs or authorities of each kind.
pub const MAX_MEMBERS: usize = 256;
/// An authority's chain may be this long.
pub const MAX_CHAIN: usize = 16;

/// The logs and authorities that a verifier trusts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedRoot {
    /// Rekor logs.
    pub tlogs: Vec<TransparencyLog>,
    /// Certificate transparency logs.
    pub ctlogs: Vec<TransparencyLog>,
    /// Fulcio: chains from the issuing certificate to the root.
    pub certificate_authorities: Vec<CertificateAuthority>,
    /// Timestamp authorities: chains from the signing certificate to the root.
    pub timestamp_authorities: Vec<CertificateAuthority>,
    /// Logs that were left out because their kind of key is not supported; never written.
    pub unsupported: Vec<UnsupportedLog>,
}

/// A transparency log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransparencyLog {
    /// The log's address. For Rekor v2 the host is the checkpoint's origin.
    pub base_url: String,
    /// The key that signs checkpoints, SETs or SCTs.
    pub public_key: PublicKey,
    /// What kind of key it is.
    pub key_details: KeyDetails,
    /// When the log's statements are to be believed; has a start.
    pub valid_for: Validity,
    /// The log id, as entries and SCTs name it.
    pub log_id: Vec<u8>,
    /// The id in checkpoints, where it differs from `log_id`.
    pub checkpoint_key_id: Option<Vec<u8>>,
    /// Who runs the log.
    pub operator: Option<String>,
}

/// A certificate or timestamp authority's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAuthority {
    /// The authority's address.
    pub uri: String,
    /// Organization in its name.
    pub organization: String,
    /// Common name in its name.
    pub common_name: String,
    /// The certificates as listed; never empty.
    pub chain: Vec<Certificate>,
    /// When the authority is trusted.
    pub valid_for: Validity,
    /// Who runs the authority.
    pub operator: Option<String>,
}

/// A closed interval of time; a bound that is missing is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validity {
    /// The first instant.
    pub start: Option<Timestamp>,
    /// The last instant.
    pub end: Option<Timestamp>,
}

/// A log that cannot be used here, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedLog {
    /// Where it stands: `tlogs[1]`.
    pub path: String,
    /// The kind of key.
    pub key: String,
}

/// Why a trusted root cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedRootError {
    /// It is no trusted root JSON, or a field is missing or has the wrong type.
    #[error("trusted root: {0}")]
    Json(#[from] JsonError),
    /// Its media type is another one.
    #[error("trusted root: media type {found:?} is not supported")]
    MediaType {
        /// The media type found.
        found: String,
    },
    /// A field has a value that cannot be used.
    #[error("trusted root: {path}: {problem}")]
    Field {
        /// Where.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

impl TrustedRootError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::TRUSTED_ROOT_MALFORMED
    }

    fn field(path: &str, problem: impl ToString) -> Self {
        Self::Field { path: path.to_owned(), problem: problem.to_string() }
    }
}

impl Validity {
    /// From `start` on.
    #[must_use]
    pub const fn from(start: Timestamp) -> Self {
        Self { start: Some(start), end: None }
    }

    /// Whether `time` lies in the interval, both ends included.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= time) && self.end.is_none_or(|end| time <= end)
    }

    /// Reads a `TimeRange`; without one the interval is open on both sides.
    pub(crate) fn from_field(node: &Node<'_>, name: &str) -> Result<Self, JsonError> {
        let Some(range) = node.field(name)? else { return Ok(Self::default()) };
        let bound = |name: &str| {
            let Some(node) = range.field(name)? else { return Ok(None) };
            let time = node
                .string()?
                .parse()
                .map_err(|_| JsonError::Mismatch { path: node.path().to_owned(), expected: "a time as in RFC 3339" })?;
            Ok::<_, JsonError>(Some(time))
        };
        let validity = Self { start: bound("start")?, end: bound("end")? };
        match (validity.start, validity.end) {
            (Some(start), Some(end)) if end < start => Err(JsonError::Mismatch {
                path: range.path().to_owned(),
                expected: "a period that ends after it starts",
            }),
            _ => Ok(validity),
        }
    }
}

impl Serialize for Validity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct TimeRange {
            #[serde(skip_serializing_if = "Option::is_none")]
            start: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            end: Option<String>,
        }
        TimeRange { start: self.start.map(|time| time.to_string()), end: self.end.map(|time| time.to_string()) }
            .serialize(serializer)
    }
}

impl TrustedRoot {
    /// Parses a trusted root of at most [`MAX_TRUSTED_ROOT_LEN`] bytes.
    ///
    /// # Errors
    /// [`TrustedRootError`]. A log whose kind of key is not supported is no error: it is left out and noted in
    /// [`TrustedRoot::unsupported`].
    pub fn from_json(document: &[u8]) -> Result<Self, TrustedRootError> {
        Self::from_node(&Node::root(&json::parse(document, MAX_TRUSTED_ROOT_LEN)?))
    }

    /// Reads a trusted root inside another document.
    ///
    /// # Errors
    /// As [`TrustedRoot::from_json`].
    pub fn from_node(node: &Node<'_>) -> Result<Self, TrustedRootError> {
        let media_type = node.string_field("mediaType")?;
        if media_type != MEDIA_TYPE {
            return Err(TrustedRootError::MediaType { found: media_type.to_owned() });
        }
        let mut unsupported = Vec::new();
        Ok(Self {
            tlogs: logs(node, "tlogs", &mut unsupported)?,
            ctlogs: logs(node, "ctlogs", &mut unsupported)?,
            certificate_authorities: authorities(node, "certificateAuthorities")?,
            timestamp_authorities: authorities(node, "timestampAuthorities")?,
            unsupported,
        })
    }

    /// Writes the trusted root, indented, without any key that an older client would not know.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn members<'a>(node: &Node<'a>, name: &str) -> Result<Vec<Node<'a>>, TrustedRootError> {
    let members = node.repeated(name)?;
    if members.len() > MAX_MEMBERS {
        let problem = format!("{} of them, {MAX_MEMBERS} are allowed", members.len());
        return Err(TrustedRootError::field(name, problem));
    }
    Ok(members)
}

fn logs(
    node: &Node<'_>,
    name: &str,
    unsupported: &mut Vec<UnsupportedLog>,
) -> Result<Vec<TransparencyLog>, TrustedRootError> {
    let mut logs = Vec::new();
    for node in members(node, name)? {
        match TransparencyLog::from_node(&node)? {
            Ok(log) => logs.push(log),
            Err(key) => unsupported.push(UnsupportedLog { path: node.path().to_owned(), key }),
        }
    }
    Ok(logs)
}

fn authorities(node: &Node<'_>, name: &str) -> Result<Vec<CertificateAuthority>, TrustedRootError> {
    members(node, name)?.iter().map(CertificateAuthority::from_node).collect()
}

fn operator(node: &Node<'_>) -> Result<Option<String>, JsonError> {
    let operator = node.string_field("operator")?;
    Ok((!operator.is_empty()).then(|| operator.to_owned()))
}

impl TransparencyLog {
    /// The inner `Err` names a kind of key that is not supported.
    fn from_node(node: &Node<'_>) -> Result<Result<Self, String>, TrustedRootError> {
        // RFC 6962 knows no other hash.
        let hash = node.enumeration_field("hashAlgorithm", HashAlgorithm::from_protobuf_name, |number| {
            (number == 1).then_some(HashAlgorithm::Sha256)
        })?;
        if hash != Some(HashAlgorithm::Sha256) {
            return Err(TrustedRootError::field(node.path(), "hashAlgorithm is not SHA2_256"));
        }
        let key = node.required("publicKey")?;
        let valid_for = Validity::from_field(&key, "validFor")?;
        if valid_for.start.is_none() {
            return Err(TrustedRootError::field(key.path(), "validFor.start is missing"));
        }
        let log_id = node.required("logId")?.required("keyId")?.bytes()?;
        if log_id.is_empty() {
            return Err(TrustedRootError::field(node.path(), "logId is empty"));
        }
        let checkpoint_key_id = node.field("checkpointKeyId")?.map(|id| id.bytes_field("keyId")).transpose()?;
        let raw = key.required("rawBytes")?.bytes()?;
        let Some(key_details) = key_details(&key.required("keyDetails")?)? else {
            return Ok(Err(key.required("keyDetails")?.value().to_string()));
        };
        let public_key = match public_key(&raw, key_details) {
            Ok(public_key) => public_key,
            Err(KeyError::Unsupported(kind)) => return Ok(Err(kind)),
            Err(error) => return Err(TrustedRootError::field(key.path(), error)),
        };
        if !key_details.fits(public_key.kind()) {
            let problem = format!("keyDetails {} does not fit a key of {}", key_details.name(), public_key.kind());
            return Err(TrustedRootError::field(key.path(), problem));
        }
        Ok(Ok(Self {
            base_url: node.string_field("baseUrl")?.to_owned(),
            public_key,
            key_details,
            valid_for,
            log_id,
            checkpoint_key_id: checkpoint_key_id.filter(|id| !id.is_empty()),
            operator: operator(node)?,
        }))
    }
}

/// `None` for a kind that is not supported.
fn key_details(node: &Node<'_>) -> Result<Option<KeyDetails>, JsonError> {
    match (node.value().as_str(), node.value().as_i64()) {
        (Some(name), _) => Ok(KeyDetails::from_name(name)),
        (None, Some(number)) => Ok(KeyDetails::from_number(number)),
        (None, None) => Err(JsonError::Mismatch { path: node.path().to_owned(), expected: "a kind of key" }),
    }
}

fn public_key(raw: &[u8], details: KeyDetails) -> Result<PublicKey, KeyError> {
    if details != KeyDetails::Pkcs1RsaPkcs1v5 {
        return PublicKey::from_spki_der(raw);
    }
    // The old name means a bare PKCS#1 RSAPublicKey (RFC 8017 A.1.1); X.509 wraps it.
    let spki = SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(der::Any::null()) },
        subject_public_key: BitString::from_bytes(raw).map_err(|_| KeyError::Malformed)?,
    };
    PublicKey::from_spki_der(&spki.to_der().map_err(|_| KeyError::Malformed)?)
}

impl CertificateAuthority {
    fn from_node(node: &Node<'_>) -> Result<Self, TrustedRootError> {
        let chain = node.required("certChain")?;
        let certificates = chain.repeated("certificates")?;
        if certificates.is_empty() || certificates.len() > MAX_CHAIN {
            let problem = format!("{} certificates, 1 to {MAX_CHAIN} are allowed", certificates.len());
            return Err(TrustedRootError::field(chain.path(), problem));
        }
        let chain = certificates
            .iter()
            .map(|node| {
                let der = node.required("rawBytes")?.bytes()?;
                Certificate::from_der(&der)
                    .map_err(|error: CertificateError| TrustedRootError::field(node.path(), error))
            })
            .collect::<Result<_, _>>()?;
        let subject = |name| match node.field("subject")? {
            Some(subject) => subject.string_field(name).map(ToOwned::to_owned),
            None => Ok(String::new()),
        };
        Ok(Self {
            uri: node.string_field("uri")?.to_owned(),
            organization: subject("organization")?,
            common_name: subject("commonName")?,
            chain,
            valid_for: Validity::from_field(node, "validFor")?,
            operator: operator(node)?,
        })
    }
}

impl Serialize for TrustedRoot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            media_type: &'static str,
            tlogs: &'a [TransparencyLog],
            certificate_authorities: &'a [CertificateAuthority],
            ctlogs: &'a [TransparencyLog],
            timestamp_authorities: &'a [CertificateAuthority],
        }
        Wire {
            media_type: MEDIA_TYPE,
            tlogs: &self.tlogs,
            certificate_authorities: &self.certificate_authorities,
            ctlogs: &self.ctlogs,
            timestamp_authorities: &self.timestamp_authorities,
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireLogId {
    key_id: String,
}

impl Serialize for TransparencyLog {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            base_url: &'a str,
            hash_algorithm: &'static str,
            public_key: WireKey<'a>,
            log_id: WireLogId,
            #[serde(skip_serializing_if = "Option::is_none")]
            checkpoint_key_id: Option<WireLogId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            operator: Option<&'a str>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct WireKey<'a> {
            raw_bytes: String,
            key_details: &'static str,
            valid_for: &'a Validity,
        }
        let raw = match self.key_details {
            KeyDetails::Pkcs1RsaPkcs1v5 => self.public_key.raw(),
            _ => self.public_key.spki_der(),
        };
        Wire {
            base_url: &self.base_url,
            hash_algorithm: HashAlgorithm::Sha256.protobuf_name(),
            public_key: WireKey {
                raw_bytes: encode_base64(raw),
                key_details: self.key_details.name(),
                valid_for: &self.valid_for,
            },
            log_id: WireLogId { key_id: encode_base64(&self.log_id) },
            checkpoint_key_id: self.checkpoint_key_id.as_deref().map(|id| WireLogId { key_id: encode_base64(id) }),
            operator: self.operator.as_deref(),
        }
        .serialize(serializer)
    }
}

impl Serialize for CertificateAuthority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            subject: Subject<'a>,
            #[serde(skip_serializing_if = "str::is_empty")]
            uri: &'a str,
            cert_chain: Chain,
            valid_for: &'a Validity,
            #[serde(skip_serializing_if = "Option::is_none")]
            operator: Option<&'a str>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Subject<'a> {
            organization: &'a str,
            common_name: &'a str,
        }
        #[derive(Serialize)]
        struct Chain {
            certificates: Vec<RawBytes>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct RawBytes {
            raw_bytes: String,
        }
        let certificates = self.chain.iter();
        Wire {
            subject: Subject { organization: &self.organization, common_name: &self.common_name },
            uri: &self.uri,
            cert_chain: Chain {
                certificates: certificates
                    .map(|certificate| RawBytes { raw_bytes: encode_base64(certificate.der()) })
                    .collect(),
            },
            valid_for: &self.valid_for,
            operator: self.operator.as_deref(),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_MEMBERS, TrustedRoot, TrustedRootError, Validity};
    use crate::code::Code;
    use serde_json::{Value, json};
    use waxseal_testkit::vectors;

    fn private_root() -> Option<Value> {
        Some(serde_json::from_slice(&vectors()?.read("private-instance/trusted_root.json")).unwrap())
    }

    fn parse(value: &Value) -> Result<TrustedRoot, TrustedRootError> {
        TrustedRoot::from_json(value.to_string().as_bytes())
    }

    #[test]
    fn every_recorded_root_parses_but_the_one_without_a_start() {
        let Some(vectors) = vectors() else { return };
        for case in vectors.conformance() {
            let Some(root) = case.trusted_root else { continue };
            let found = TrustedRoot::from_json(&root).err().map(|error| error.code());
            let missing = case.name == "trust-root-tlog-missing-validity-start_fail";
            assert_eq!(found, missing.then_some(Code::TRUSTED_ROOT_MALFORMED), "{}", case.name);
        }
        for name in vectors.list("private-instance/trusted-roots") {
            let root = vectors.read(&format!("private-instance/trusted-roots/{name}"));
            assert!(TrustedRoot::from_json(&root).is_ok(), "{name}");
        }
    }

    #[test]
    fn roots_are_written_with_the_same_keys_and_values() {
        let Some(vectors) = vectors() else { return };
        let roots = [
            "private-instance/trusted_root.json",
            "sigstore-conformance/bundle-verify/rekor2-happy-path/trusted_root.json",
        ];
        for file in roots {
            let text = vectors.read(file);
            let root = TrustedRoot::from_json(&text).unwrap();
            assert_eq!(root.unsupported, [], "{file}");
            let (written, original): (Value, Value) =
                (serde_json::from_str(&root.to_json()).unwrap(), serde_json::from_slice(&text).unwrap());
            assert_eq!(written, original, "{file}");
        }
    }

    #[test]
    fn an_old_pkcs1_key_becomes_a_usable_rsa_key() {
        let Some(vectors) = vectors() else { return };
        let text = vectors.read("sigstore-conformance/bundle-verify/rekor2-happy-path/trusted_root.json");
        let root = TrustedRoot::from_json(&text).unwrap();
        let log = root.ctlogs.iter().find(|log| log.key_details.name() == "PKCS1_RSA_PKCS1V5").unwrap();
        // A CT log's id is the hash of its key, so this proves the wrapping.
        assert_eq!(log.public_key.spki_sha256().as_slice(), log.log_id);
    }

    #[test]
    fn the_period_is_closed_on_both_sides() {
        let time = |text: &str| text.parse().unwrap();
        let validity = Validity { start: Some(time("2026-01-01T00:00:00Z")), end: Some(time("2026-01-02T00:00:00Z")) };
        assert!(validity.contains(time("2026-01-01T00:00:00Z")) && validity.contains(time("2026-01-02T00:00:00Z")));
        assert!(!validity.contains(time("2025-12-31T23:59:59Z")) && !validity.contains(time("2026-01-02T00:00:01Z")));
        assert!(Validity::default().contains(time("1970-01-01T00:00:00Z")));
    }

    #[test]
    fn an_unsupported_kind_of_key_leaves_out_only_its_log() {
        let Some(mut root) = private_root() else { return };
        root["ctlogs"][0]["publicKey"]["keyDetails"] = json!("PKIX_ML_DSA_65");
        root["tlogs"][1]["publicKey"]["rawBytes"] =
            json!("MCowBQYDK2VuAyEASNsDFgy/xJWWaDSPcU6p3BaZArGpX+2yqEchEwVx3CI="); // X25519
        let parsed = parse(&root).unwrap();
        assert_eq!((parsed.tlogs.len(), parsed.ctlogs.len()), (1, 0));
        let paths: Vec<_> = parsed.unsupported.iter().map(|log| log.path.as_str()).collect();
        assert_eq!(paths, ["tlogs[1]", "ctlogs[0]"]);
    }

    #[test]
    fn malformed_roots_are_refused() {
        let Some(root) = private_root() else { return };
        let edits: [(&str, Value); 18] = [
            ("/mediaType", json!("application/vnd.dev.sigstore.trustedroot.v0.2+json")),
            ("/mediaType", Value::Null),
            ("/tlogs", json!({})),
            ("/tlogs/0/hashAlgorithm", json!("SHA2_512")),
            ("/tlogs/0/hashAlgorithm", Value::Null),
            ("/tlogs/0/logId", Value::Null),
            ("/tlogs/0/logId/keyId", json!("")),
            ("/tlogs/0/publicKey", Value::Null),
            ("/tlogs/0/publicKey/rawBytes", json!("AQ==")),
            ("/tlogs/0/publicKey/keyDetails", json!("PKIX_ED25519")),
            ("/tlogs/0/publicKey/validFor", Value::Null),
            ("/tlogs/0/publicKey/validFor/start", Value::Null),
            ("/tlogs/0/publicKey/validFor/start", json!("yesterday")),
            ("/ctlogs/0/publicKey/validFor", json!({"end": "2026-01-01T00:00:00Z"})),
            ("/ctlogs/0/publicKey/validFor", json!({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"})),
            ("/certificateAuthorities/0/certChain", Value::Null),
            ("/certificateAuthorities/0/certChain/certificates", json!([])),
            ("/timestampAuthorities/0/certChain/certificates/0/rawBytes", json!("AQ==")),
        ];
        for (path, value) in edits {
            let mut edited = root.clone();
            *edited.pointer_mut(path).unwrap() = value.clone();
            let found = parse(&edited).err().map(|error| error.code());
            assert_eq!(found, Some(Code::TRUSTED_ROOT_MALFORMED), "{path} {value}");
        }
    }

    #[test]
    fn members_are_bounded() {
        let Some(mut root) = private_root() else { return };
        let log = root["tlogs"][0].clone();
        root["tlogs"] = Value::from(vec![log; MAX_MEMBERS + 1]);
        assert!(matches!(parse(&root), Err(TrustedRootError::Field { path, .. }) if path == "tlogs"));
    }

    #[test]
    fn what_clients_tolerate_is_read() {
        let Some(mut root) = private_root() else { return };
        root["certificateAuthorities"][0] =
            json!({"certChain": root["certificateAuthorities"][0]["certChain"], "operator": "corp"});
        root["tlogs"][0]["checkpointKeyId"] = json!({"keyId": "AQIDBA=="});
        root["newer"] = json!({"field": 1});
        let parsed = parse(&root).unwrap();
        assert_eq!(parsed.certificate_authorities[0].valid_for, Validity::default());
        assert_eq!(parsed.certificate_authorities[0].operator.as_deref(), Some("corp"));
        assert_eq!(parsed.tlogs[0].checkpoint_key_id.as_deref(), Some([1, 2, 3, 4].as_slice()));
        assert!(!parsed.to_json().contains("newer"));
    }
}
