//! Rekor entries: submissions that are checked and brought into canonical form. One file for each kind of entry.

mod checked;
mod dsse_001;
pub mod hashedrekord;
mod hashedrekord_001;
mod intoto;
mod rekord;
mod rfc3161;
pub mod search;
pub mod v1;

use waxseal_formats::code::Code;
use waxseal_formats::crypto::SignatureInvalid;
use waxseal_formats::entry::request::CreateEntryRequest;
use waxseal_formats::tsp::TokenError;
use waxseal_formats::x509::CertificateError;

use crate::sequencer::{EntryTooLarge, NewEntry};

/// Why an entry is not logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RekorError {
    /// The verifier's certificate or key cannot be used.
    #[error("the verifier is refused: {0}")]
    Verifier(#[from] CertificateError),
    /// The key is not of the kind that the request names.
    #[error("the key is {found}, not {stated}")]
    KeyDetails {
        /// The request's `keyDetails`.
        stated: &'static str,
        /// What the key is.
        found: String,
    },
    /// Keys of this kind cannot be checked against a digest.
    #[error("signatures of kind {0} cannot be checked against a digest")]
    Unsupported(&'static str),
    /// RSA keys of this size are not taken.
    #[error("keys of kind {0} are not taken")]
    Size(String),
    /// The key goes with another hash.
    #[error("a key of kind {key} does not go with a {digest} digest")]
    Hash {
        /// The kind of key.
        key: &'static str,
        /// The digest's hash function.
        digest: &'static str,
    },
    /// A certificate of the chain is not issued by the next one.
    #[error("certificate {0} of the chain is not issued by the one after it")]
    Chain(usize),
    /// Entries of this kind can be looked for and not be added.
    #[error("entries of kind {0} are not logged any more: send intoto 0.0.2 or dsse 0.0.1")]
    ReadOnly(&'static str),
    /// The timestamp is not by the certificate that it carries.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The timestamp carries no certificate of its signer.
    #[error("the timestamp does not carry the certificate of its signer")]
    TokenSigner,
    /// The signature does not verify over the digest.
    #[error(transparent)]
    Signature(#[from] SignatureInvalid),
    /// A signature of the envelope is not by any of the verifiers.
    #[error("signature {0} of the envelope is not by any of the verifiers")]
    Envelope(usize),
    /// The canonical entry is too large for a log.
    #[error(transparent)]
    TooLarge(#[from] EntryTooLarge),
}

impl RekorError {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        match self {
            Self::Verifier(error) => error.code(),
            Self::KeyDetails { .. } | Self::Unsupported(_) | Self::Size(_) | Self::Hash { .. } => Code::KEY_UNSUPPORTED,
            Self::Chain(_) => Code::CERTIFICATE_CHAIN,
            Self::ReadOnly(_) => Code::LOG_ENTRY_KIND,
            Self::Token(error) => error.code(),
            Self::TokenSigner => Code::TIME_TOKEN_INVALID,
            Self::Signature(_) => Code::SIGNATURE_INVALID,
            Self::Envelope(_) => Code::SIGNATURE_ENVELOPE,
            Self::TooLarge(error) => error.code(),
        }
    }
}

/// Checks a request to Rekor v2 and makes the entry of it. Both kinds of request end in one kind of entry, hashedrekord 0.0.2:
/// no client verifies another kind of v2 entry any more, and those that still send `dsseRequestV002` take this answer.
///
/// As upstream, the log checks the signature and nothing about the certificate: who may write is decided elsewhere.
pub fn admit(request: &CreateEntryRequest) -> Result<NewEntry, RekorError> {
    let body = match request {
        CreateEntryRequest::HashedRekord(request) => hashedrekord::admit(request)?,
        CreateEntryRequest::Dsse(request) => hashedrekord::admit_dsse(request)?,
    };
    Ok(NewEntry::leaf(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxseal_formats::json::decode_base64;
    use waxseal_testkit::{Exchange, vectors};

    /// Every recorded request to Rekor v2.
    fn recorded() -> Vec<Exchange> {
        let Some(vectors) = vectors() else { return Vec::new() };
        let files =
            ["cosign-3.1.3", "cosign-2.6.1", "sigstore-python-4.5.1", "sigstore-js-cli-0.10.3", "gitsign-034927d"];
        let exchanges = files.iter().chain(&["server-probes"]).flat_map(|file| vectors.wire(file));
        exchanges.filter(|e| e.service == "rekor2" && e.method == "POST" && e.path == "/api/v2/log/entries").collect()
    }

    fn code(exchange: &Exchange) -> Result<NewEntry, Code> {
        let body = exchange.request_body.as_deref().unwrap_or_default();
        CreateEntryRequest::from_json(body).map_err(|e| e.code()).and_then(|r| admit(&r).map_err(|e| e.code()))
    }

    fn body(entry: NewEntry) -> Vec<u8> {
        let NewEntry::Leaf { body, .. } = entry else { panic!("a Rekor entry has a known leaf") };
        body
    }

    #[test]
    fn accepted_requests_become_the_recorded_leaf() {
        let recorded = recorded();
        let accepted: Vec<_> = recorded.iter().filter(|e| e.status == 201).collect();
        assert!(recorded.is_empty() || accepted.len() > 20);
        for exchange in accepted {
            let expected = exchange.response_json()["canonicalizedBody"].as_str().and_then(decode_base64).unwrap();
            let entry = code(exchange).unwrap_or_else(|code| panic!("{}: {code}", exchange.step));
            assert_eq!(String::from_utf8(body(entry)), String::from_utf8(expected), "{}", exchange.step);
        }
    }

    #[test]
    fn dsse_requests_that_upstream_refuses_are_recorded_as_hashedrekord() {
        for exchange in recorded().iter().filter(|e| e.status == 400) {
            let request = exchange.request_body.as_deref().unwrap_or_default();
            if !request.starts_with(b"{\"dsseRequestV002\"") {
                continue;
            }
            let entry = code(exchange).unwrap_or_else(|code| panic!("{}: {code}", exchange.step));
            let Ok(CreateEntryRequest::Dsse(request)) = CreateEntryRequest::from_json(request) else { panic!() };
            let (details, verifier) = &request.verifiers[0];
            let digest = details.hash().unwrap().digest(&request.envelope.pae());
            let signature = &request.envelope.signatures[0].sig;
            let parsed = waxseal_formats::entry::Entry::parse("hashedrekord", "0.0.2", &body(entry)).unwrap();
            let expected = waxseal_formats::entry::Entry::HashedRekord002 {
                digest,
                signature: signature.clone(),
                key_details: *details,
                verifier: verifier.clone(),
            };
            assert_eq!(parsed, expected, "{}", exchange.step);
        }
    }

    #[test]
    fn refused_probes_are_refused_for_their_reason() {
        let expected = |step: &str| match step {
            "r2-unknown-field" | "r2-missing-keydetails" | "r2-short-digest" | "r2-not-json" => {
                Code::LOG_ENTRY_MALFORMED
            }
            "r2-bad-signature" => Code::SIGNATURE_INVALID,
            "r2-wrong-keydetails" => Code::LOG_ENTRY_MALFORMED,
            "r2-ed25519-pure" | "r2-key-pem" => Code::KEY_UNSUPPORTED,
            "r2-empty-object" => Code::LOG_ENTRY_KIND,
            other => panic!("no expectation for {other}"),
        };
        for exchange in
            recorded().iter().filter(|e| e.status == 400 && e.step.starts_with("r2-") && e.step != "r2-dsse")
        {
            assert_eq!(code(exchange).unwrap_err(), expected(&exchange.step), "{}", exchange.step);
        }
    }
}
