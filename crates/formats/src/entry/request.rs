//! Requests to Rekor v2 (rekor-tiles `CreateEntryRequest`), as clients of any age send them.
//!
//! ```json
//! {"hashedRekordRequestV002":{"digest":"<base64>","signature":{"content":"<base64>",
//!   "verifier":{"x509Certificate":{"rawBytes":"<base64>"},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}}}
//! ```

use super::{EntryError, Verifier, nonempty};
use crate::code::Code;
use crate::crypto::{Digest, KeyDetails};
use crate::envelope::{Envelope, EnvelopeError};
use crate::json::{self, JsonError, Node, encode_base64};
use serde::Serialize;

/// A request may be this long, in bytes.
pub const MAX_REQUEST_LEN: usize = 4 << 20;
/// A DSSE request may have this many signatures, and as many verifiers.
pub const MAX_DSSE_SIGNATURES: usize = 10;
/// The kinds of key that Rekor v2 takes. Pure Ed25519 is not among them: the log never sees the artifact.
pub const KEY_DETAILS: [KeyDetails; 7] = [
    KeyDetails::PkixEcdsaP256Sha256,
    KeyDetails::PkixEcdsaP384Sha384,
    KeyDetails::PkixEcdsaP521Sha512,
    KeyDetails::PkixRsaPkcs1v15_2048Sha256,
    KeyDetails::PkixRsaPkcs1v15_3072Sha256,
    KeyDetails::PkixRsaPkcs1v15_4096Sha256,
    KeyDetails::PkixEd25519Ph,
];

/// What is to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateEntryRequest {
    /// `hashedRekordRequestV002`.
    HashedRekord(HashedRekordRequest),
    /// `dsseRequestV002`, which older clients send.
    Dsse(DsseRequest),
}

/// A signature over something with this digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedRekordRequest {
    /// The digest; its algorithm is the one that `key_details` implies.
    pub digest: Digest,
    /// The signature; never empty.
    pub signature: Vec<u8>,
    /// Kind of key and hash, one of [`KEY_DETAILS`].
    pub key_details: KeyDetails,
    /// What verifies the signature.
    pub verifier: Verifier,
}

/// A DSSE envelope with what verifies its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DsseRequest {
    /// The envelope, with 1 to [`MAX_DSSE_SIGNATURES`] signatures.
    pub envelope: Envelope,
    /// 1 to [`MAX_DSSE_SIGNATURES`] different verifiers, with kinds of key out of [`KEY_DETAILS`].
    pub verifiers: Vec<(KeyDetails, Verifier)>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is no JSON of such a request; an unknown field is named.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It asks for no kind of entry, or for several.
    #[error("exactly one of hashedRekordRequestV002 and dsseRequestV002 is needed")]
    Kind,
    /// A part is missing or has a value that it cannot have.
    #[error("{0}")]
    Entry(EntryError),
    /// The envelope cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The envelope or the list of verifiers has no members, too many, or one twice.
    #[error("1 to {MAX_DSSE_SIGNATURES} {0} are allowed, each once")]
    Count(&'static str),
    /// The kind of key is not accepted.
    #[error("keys of kind {0} cannot be logged")]
    Key(&'static str),
    /// The digest has another length than the kind of key implies.
    #[error("a digest of {len} bytes does not fit {key_details}")]
    DigestLength {
        /// Length of the digest, in bytes.
        len: usize,
        /// The kind of key.
        key_details: &'static str,
    },
}

impl From<EntryError> for RequestError {
    fn from(error: EntryError) -> Self {
        match error {
            EntryError::Json(error) => Self::Json(error),
            other => Self::Entry(other),
        }
    }
}

impl RequestError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Json(JsonError::TooLarge { .. }) => Code::INPUT_TOO_LARGE,
            Self::Json(_) | Self::Entry(_) | Self::Count(_) | Self::DigestLength { .. } => Code::LOG_ENTRY_MALFORMED,
            Self::Kind => Code::LOG_ENTRY_KIND,
            Self::Envelope(error) => error.code(),
            Self::Key(_) => Code::KEY_UNSUPPORTED,
        }
    }
}

impl CreateEntryRequest {
    /// Parses a request of at most [`MAX_REQUEST_LEN`] bytes. Names may be `snake_case`, enumerations numbers; a
    /// field that the message does not have is refused.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn from_json(document: &[u8]) -> Result<Self, RequestError> {
        let document = json::parse(document, MAX_REQUEST_LEN)?;
        let root = Node::root(&document);
        root.only(&["hashedRekordRequestV002", "dsseRequestV002"])?;
        match (root.field("hashedRekordRequestV002")?, root.field("dsseRequestV002")?) {
            (Some(node), None) => HashedRekordRequest::from_node(&node).map(Self::HashedRekord),
            (None, Some(node)) => DsseRequest::from_node(&node).map(Self::Dsse),
            _ => Err(RequestError::Kind),
        }
    }

    /// What is to verify the entry; never empty.
    pub fn verifiers(&self) -> impl Iterator<Item = &Verifier> {
        let (one, more) = match self {
            Self::HashedRekord(request) => (Some(&request.verifier), &[][..]),
            Self::Dsse(request) => (None, request.verifiers.as_slice()),
        };
        one.into_iter().chain(more.iter().map(|(_, verifier)| verifier))
    }
}

impl HashedRekordRequest {
    fn from_node(node: &Node<'_>) -> Result<Self, RequestError> {
        node.only(&["digest", "signature"])?;
        let signature = node.required("signature")?;
        signature.only(&["content", "verifier"])?;
        let (key_details, verifier) = read_verifier(&signature.required("verifier")?)?;
        let bytes = node.bytes_field("digest")?;
        let digest = key_details.hash().and_then(|algorithm| Digest::new(algorithm, &bytes));
        let digest = digest.ok_or(RequestError::DigestLength { len: bytes.len(), key_details: key_details.name() })?;
        Ok(Self { digest, signature: nonempty(&signature.required("content")?)?, key_details, verifier })
    }

    /// The request as clients send it.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Request<'a> {
            #[serde(rename = "hashedRekordRequestV002")]
            hashed_rekord: HashedRekord<'a>,
        }
        #[derive(Serialize)]
        struct HashedRekord<'a> {
            digest: String,
            signature: WireSignature<'a>,
        }
        let hashed_rekord = HashedRekord {
            digest: encode_base64(self.digest.as_bytes()),
            signature: WireSignature::new(&self.signature, self.key_details, &self.verifier),
        };
        serde_json::to_string(&Request { hashed_rekord }).unwrap_or_default()
    }

    /// The leaf that this request becomes.
    #[must_use]
    pub fn canonical_body(&self) -> Vec<u8> {
        super::canonical_hashedrekord_002(&self.digest, &self.signature, self.key_details, &self.verifier)
    }
}

impl DsseRequest {
    fn from_node(node: &Node<'_>) -> Result<Self, RequestError> {
        node.only(&["envelope", "verifiers"])?;
        let envelope = node.required("envelope")?;
        envelope.only(&["payload", "payloadType", "signatures"])?;
        for signature in envelope.repeated("signatures")? {
            signature.only(&["sig", "keyid"])?;
        }
        let envelope = Envelope::from_node(&envelope)?;
        count("signatures", envelope.signatures.len())?;
        let nodes = node.repeated("verifiers")?;
        count("verifiers", nodes.len())?;
        let mut verifiers = Vec::with_capacity(nodes.len());
        for node in nodes {
            let verifier = read_verifier(&node)?;
            if verifiers.contains(&verifier) {
                return Err(RequestError::Count("verifiers"));
            }
            verifiers.push(verifier);
        }
        Ok(Self { envelope, verifiers })
    }
}

const fn count(what: &'static str, len: usize) -> Result<(), RequestError> {
    if len == 0 || len > MAX_DSSE_SIGNATURES { Err(RequestError::Count(what)) } else { Ok(()) }
}

fn read_verifier(node: &Node<'_>) -> Result<(KeyDetails, Verifier), RequestError> {
    node.only(&["publicKey", "x509Certificate", "keyDetails"])?;
    for arm in [node.field("publicKey")?, node.field("x509Certificate")?].into_iter().flatten() {
        arm.only(&["rawBytes"])?;
    }
    let (details, verifier) = Verifier::from_node(node)?;
    if KEY_DETAILS.contains(&details) { Ok((details, verifier)) } else { Err(RequestError::Key(details.name())) }
}

/// `Signature` of requests and leaves.
#[derive(Serialize)]
struct WireSignature<'a> {
    content: String,
    verifier: WireVerifier<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireVerifier<'a> {
    #[serde(flatten)]
    arm: Arm,
    key_details: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Arm {
    #[serde(rename_all = "camelCase")]
    X509Certificate { raw_bytes: String },
    #[serde(rename_all = "camelCase")]
    PublicKey { raw_bytes: String },
}

impl WireSignature<'_> {
    fn new(signature: &[u8], key_details: KeyDetails, verifier: &Verifier) -> Self {
        let arm = match verifier {
            Verifier::Certificate(der) => Arm::X509Certificate { raw_bytes: encode_base64(der) },
            Verifier::PublicKey(spki) => Arm::PublicKey { raw_bytes: encode_base64(spki) },
        };
        Self { content: encode_base64(signature), verifier: WireVerifier { arm, key_details: key_details.name() } }
    }
}

#[cfg(test)]
mod tests {
    use super::{CreateEntryRequest, MAX_DSSE_SIGNATURES, RequestError};
    use crate::bundle::LogEntry;
    use crate::code::Code;
    use crate::crypto::KeyDetails;
    use crate::json::{JsonError, encode_base64};
    use serde_json::{Value, json};
    use waxseal_testkit::vectors;

    /// Request and answer of every recorded creation of an entry at the real Rekor v2.
    fn recorded() -> Vec<(String, u16, String, String)> {
        let Some(vectors) = vectors() else { return Vec::new() };
        let mut exchanges = Vec::new();
        for file in ["cosign-3.1.3", "cosign-2.6.1", "sigstore-python-4.5.1", "sigstore-js-cli-0.10.3"] {
            for line in vectors.text(&format!("wire/{file}.jsonl")).lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                if line["service"] == "rekor2" && line["method"] == "POST" {
                    let text = |body: &str| line[body]["text"].as_str().unwrap_or_default().to_owned();
                    let status = line["status"].as_u64().unwrap() as u16;
                    let step = format!("{file} {}", line["step"]);
                    exchanges.push((step, status, text("request_body"), text("response_body")));
                }
            }
        }
        exchanges
    }

    #[test]
    fn recorded_requests_become_the_leaves_that_the_real_log_answered() {
        let exchanges = recorded();
        let mut logged = 0;
        for (step, status, request, answer) in &exchanges {
            match CreateEntryRequest::from_json(request.as_bytes()).unwrap_or_else(|e| panic!("{step}: {e}")) {
                CreateEntryRequest::HashedRekord(request) if *status == 201 => {
                    let entry = LogEntry::from_json(answer.as_bytes()).unwrap();
                    assert_eq!(Some(request.canonical_body()), entry.canonicalized_body, "{step}");
                    assert_eq!(entry.to_answer_json(), *answer, "{step}");
                    logged += 1;
                }
                CreateEntryRequest::HashedRekord(_) => {}
                CreateEntryRequest::Dsse(request) => {
                    assert_eq!((request.envelope.signatures.len(), request.verifiers.len()), (1, 1), "{step}");
                }
            }
        }
        assert!(vectors().is_none() || logged > 10, "{logged} of {}", exchanges.len());
    }

    #[test]
    fn requests_are_written_as_cosign_writes_them() {
        let cosign: Vec<_> = recorded().into_iter().filter(|(step, ..)| step.starts_with("cosign-3")).collect();
        for (step, _, text, _) in &cosign {
            let CreateEntryRequest::HashedRekord(request) = CreateEntryRequest::from_json(text.as_bytes()).unwrap()
            else {
                panic!("{step}")
            };
            assert_eq!(request.to_json(), *text, "{step}");
        }
    }

    fn verifier() -> Value {
        json!({"publicKey": {"rawBytes": "AQ=="}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"})
    }

    fn hashed_rekord() -> Value {
        json!({"hashedRekordRequestV002": {
            "digest": encode_base64(&[1; 32]),
            "signature": {"content": "AQ==", "verifier": verifier()},
        }})
    }

    fn dsse(signatures: usize, verifiers: usize) -> Value {
        let verifiers =
            (0..verifiers).map(|i| json!({"publicKey": {"rawBytes": encode_base64(&[i as u8])}, "keyDetails": 5}));
        json!({"dsseRequestV002": {
            "envelope": {"payload": "AQ==", "payloadType": "t", "signatures": vec![json!({"sig": "AQ=="}); signatures]},
            "verifiers": verifiers.collect::<Vec<_>>(),
        }})
    }

    fn parse(value: &Value) -> Result<CreateEntryRequest, RequestError> {
        CreateEntryRequest::from_json(value.to_string().as_bytes())
    }

    fn edited(path: &str, value: Value) -> RequestError {
        let mut request = hashed_rekord();
        *request.pointer_mut(path).unwrap() = value;
        parse(&request).unwrap_err()
    }

    #[test]
    fn snake_case_and_numbers_are_accepted() {
        let request = json!({"hashed_rekord_request_v002": {
            "digest": encode_base64(&[1; 32]),
            "signature": {"content": "AQ", "verifier": {"x509Certificate": null, "public_key": {"raw_bytes": "AQ"}, "key_details": 5}},
        }});
        let CreateEntryRequest::HashedRekord(request) = parse(&request).unwrap() else { panic!() };
        assert_eq!(request.key_details, KeyDetails::PkixEcdsaP256Sha256);
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        for (path, found) in [
            ("", "extra"),
            ("/hashedRekordRequestV002", "hashedRekordRequestV002.extra"),
            ("/hashedRekordRequestV002/signature", "hashedRekordRequestV002.signature.extra"),
            ("/hashedRekordRequestV002/signature/verifier", "hashedRekordRequestV002.signature.verifier.extra"),
            (
                "/hashedRekordRequestV002/signature/verifier/publicKey",
                "hashedRekordRequestV002.signature.verifier.publicKey.extra",
            ),
        ] {
            let mut request = hashed_rekord();
            request.pointer_mut(path).unwrap()["extra"] = json!(1);
            let error = parse(&request).unwrap_err();
            assert_eq!(error, RequestError::Json(JsonError::UnknownField { path: found.into() }));
            assert_eq!(error.code(), Code::LOG_ENTRY_MALFORMED);
        }
        let mut request = dsse(1, 1);
        request["dsseRequestV002"]["envelope"]["signatures"][0]["cert"] = json!("");
        assert!(matches!(parse(&request), Err(RequestError::Json(JsonError::UnknownField { .. }))));
    }

    #[test]
    fn exactly_one_kind_is_asked_for() {
        assert_eq!(parse(&json!({})), Err(RequestError::Kind));
        let mut both = hashed_rekord();
        both["dsseRequestV002"] = dsse(1, 1)["dsseRequestV002"].clone();
        assert_eq!(parse(&both), Err(RequestError::Kind));
        assert_eq!(RequestError::Kind.code(), Code::LOG_ENTRY_KIND);
    }

    #[test]
    fn keys_that_a_log_cannot_check_are_refused() {
        for details in ["PKIX_ED25519", "PKCS1_RSA_PKCS1V5"] {
            let error = edited("/hashedRekordRequestV002/signature/verifier/keyDetails", json!(details));
            assert_eq!(error, RequestError::Key(details));
            assert_eq!(error.code(), Code::KEY_UNSUPPORTED);
        }
    }

    #[test]
    fn digests_signatures_and_verifiers_have_to_fit() {
        let error = edited("/hashedRekordRequestV002/digest", json!(encode_base64(&[1; 48])));
        assert_eq!(error, RequestError::DigestLength { len: 48, key_details: "PKIX_ECDSA_P256_SHA_256" });
        for (path, value) in [
            ("/hashedRekordRequestV002/digest", Value::Null),
            ("/hashedRekordRequestV002/signature", Value::Null),
            ("/hashedRekordRequestV002/signature/content", json!("")),
            ("/hashedRekordRequestV002/signature/verifier/keyDetails", Value::Null),
            ("/hashedRekordRequestV002/signature/verifier/keyDetails", json!("NONE")),
            ("/hashedRekordRequestV002/signature/verifier/publicKey", Value::Null),
        ] {
            assert_eq!(edited(path, value.clone()).code(), Code::LOG_ENTRY_MALFORMED, "{path} {value}");
        }
    }

    #[test]
    fn dsse_requests_are_bounded() {
        assert!(parse(&dsse(1, 1)).is_ok() && parse(&dsse(MAX_DSSE_SIGNATURES, MAX_DSSE_SIGNATURES)).is_ok());
        for (signatures, verifiers) in [(0, 1), (1, 0), (MAX_DSSE_SIGNATURES + 1, 1), (1, MAX_DSSE_SIGNATURES + 1)] {
            let error = parse(&dsse(signatures, verifiers)).unwrap_err();
            assert!(matches!(error, RequestError::Count(_)), "{error}");
            assert_eq!(error.code(), Code::LOG_ENTRY_MALFORMED);
        }
        let mut twice = dsse(1, 2);
        twice["dsseRequestV002"]["verifiers"][1] = twice["dsseRequestV002"]["verifiers"][0].clone();
        assert_eq!(parse(&twice), Err(RequestError::Count("verifiers")));
        let large = CreateEntryRequest::from_json(&vec![b' '; super::MAX_REQUEST_LEN + 1]).unwrap_err();
        assert_eq!(large.code(), Code::INPUT_TOO_LARGE);
    }
}
