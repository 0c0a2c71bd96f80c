//! TimeStampReq (RFC 3161 §2.4.1) and the JSON form that Sigstore's timestamp authority takes beside it.

use super::info::{ImprintError, Integer, MAX_INTEGER_LEN, message_imprint, read_imprint};
use crate::asn1::{Elements, constructed, tlv};
use crate::code::Code;
use crate::crypto::{Digest, HashAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use const_oid::ObjectIdentifier;
use der::{Encode, Tag};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Largest DER request that is parsed, in bytes; one with SHA-512 and every field takes under 200.
pub const MAX_DER_LEN: usize = 64 * 1024;
/// Largest JSON request that is parsed, in bytes, as in Sigstore's own authority.
pub const MAX_JSON_LEN: usize = 1024;
/// Longest nonce in a JSON request, in decimal digits: 2^512 has 155.
const MAX_NONCE_DIGITS: usize = 154;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More than [`MAX_DER_LEN`] or [`MAX_JSON_LEN`] bytes.
    #[error("the timestamp request is larger than allowed")]
    TooLarge,
    /// Not DER of a TimeStampReq, or not the JSON form.
    #[error("the timestamp request cannot be read")]
    Malformed,
    /// The digest is by SHA-1.
    #[error("the timestamp request is for a digest by SHA-1, which is too weak")]
    WeakHash,
    /// The digest is by an unknown hash function.
    #[error("the timestamp request's hash algorithm is not supported: {0}")]
    UnknownHash(String),
    /// The digest has not the length that its hash function gives.
    #[error("the timestamp request's digest does not have the length of its hash algorithm")]
    DigestLength,
    /// There are extensions; none is known, and a token could not honour them.
    #[error("the timestamp request has extensions, and none is supported")]
    Extension,
}

impl RequestError {
    /// `input.too-large`, or a code of class `time`: `time.request-malformed`, `…-hash`, `…-extension`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge => Code::INPUT_TOO_LARGE,
            Self::Malformed => Code::TIME_REQUEST_MALFORMED,
            Self::WeakHash | Self::UnknownHash(_) | Self::DigestLength => Code::TIME_REQUEST_HASH,
            Self::Extension => Code::TIME_REQUEST_EXTENSION,
        }
    }
}

/// A request for a timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeStampReq {
    /// The digest to be stamped.
    pub imprint: Digest,
    /// The policy that is asked for.
    pub policy: Option<ObjectIdentifier>,
    /// To be echoed.
    pub nonce: Option<Integer>,
    /// Which certificates the answer shall carry.
    pub certificates: CertReq,
}

/// Whether a request asks for the authority's certificate (`certReq`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertReq {
    /// The token comes without.
    #[default]
    Without,
    /// The token carries the signing certificate.
    SigningCertificate,
}

impl TimeStampReq {
    /// Parses a DER TimeStampReq.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_DER_LEN {
            return Err(RequestError::TooLarge);
        }
        let (imprint, policy, nonce, certificates, extensions) = read(der).ok_or(RequestError::Malformed)?;
        if let Extensions::Present = extensions {
            return Err(RequestError::Extension);
        }
        let imprint = imprint.map_err(|error| match error {
            ImprintError::Malformed => RequestError::Malformed,
            ImprintError::Hash(ImprintError::WEAK) => RequestError::WeakHash,
            ImprintError::Hash(oid) => RequestError::UnknownHash(oid.to_string()),
            ImprintError::Length => RequestError::DigestLength,
        })?;
        Ok(Self { imprint, policy, nonce, certificates })
    }

    /// The DER TimeStampReq.
    ///
    /// # Errors
    /// [`RequestError::TooLarge`] if a part is too long for DER.
    pub fn to_der(&self) -> Result<Vec<u8>, RequestError> {
        let encode = || -> der::Result<Vec<u8>> {
            let mut out = 1u8.to_der()?;
            out.extend(message_imprint(&self.imprint)?);
            if let Some(policy) = self.policy {
                out.extend(policy.to_der()?);
            }
            if let Some(nonce) = &self.nonce {
                out.extend(nonce.to_der()?);
            }
            if self.certificates == CertReq::SigningCertificate {
                out.extend(true.to_der()?);
            }
            tlv(Tag::Sequence, &out)
        };
        encode().map_err(|_| RequestError::TooLarge)
    }

    /// Parses the JSON form: `artifactHash` (base64 of the digest), `hashAlgorithm` (`sha256`, `sha384`,
    /// `sha512`), `certificates`, `nonce` (an integer of any size up to 64 bytes), `tsaPolicyOID` (dotted).
    /// Other members are ignored.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn from_json(json: &[u8]) -> Result<Self, RequestError> {
        if json.len() > MAX_JSON_LEN {
            return Err(RequestError::TooLarge);
        }
        let form: JsonForm = serde_json::from_slice(json).map_err(|_| RequestError::Malformed)?;
        let algorithm = match form.hash_algorithm.to_ascii_lowercase().as_str() {
            "sha1" => return Err(RequestError::WeakHash),
            name => HashAlgorithm::from_name(name).ok_or(RequestError::UnknownHash(form.hash_algorithm))?,
        };
        let digest = STANDARD.decode(form.artifact_hash).map_err(|_| RequestError::Malformed)?;
        let policy = match form.policy.as_deref() {
            None | Some("") => None,
            Some(dotted) => Some(ObjectIdentifier::new(dotted).map_err(|_| RequestError::Malformed)?),
        };
        Ok(Self {
            imprint: Digest::new(algorithm, &digest).ok_or(RequestError::DigestLength)?,
            policy,
            nonce: form.nonce.map(|number| decimal(number.get()).ok_or(RequestError::Malformed)).transpose()?,
            certificates: if form.certificates { CertReq::SigningCertificate } else { CertReq::Without },
        })
    }
}

enum Extensions {
    Absent,
    Present,
}

type Fields = (Result<Digest, ImprintError>, Option<ObjectIdentifier>, Option<Integer>, CertReq, Extensions);

fn read(der: &[u8]) -> Option<Fields> {
    let mut fields = Elements::of_sequence(der)?;
    if fields.next()?.decode_as::<u8>().ok()? != 1 {
        return None;
    }
    let imprint = read_imprint(fields.next()?);
    let policy = match fields.take_if(Tag::ObjectIdentifier) {
        Some(policy) => Some(policy.decode_as().ok()?),
        None => None,
    };
    let nonce = match fields.take_if(Tag::Integer) {
        Some(nonce) => Some(Integer::read(nonce)?),
        None => None,
    };
    let certificates = match fields.take_if(Tag::Boolean) {
        Some(flag) if flag.decode_as::<bool>().ok()? => CertReq::SigningCertificate,
        _ => CertReq::Without,
    };
    let extensions = fields.take_if(constructed(0)).map_or(Extensions::Absent, |_| Extensions::Present);
    fields.finish()?;
    Some((imprint, policy, nonce, certificates, extensions))
}

#[derive(Deserialize)]
struct JsonForm {
    #[serde(rename = "artifactHash")]
    artifact_hash: String,
    #[serde(rename = "hashAlgorithm")]
    hash_algorithm: String,
    #[serde(default)]
    certificates: bool,
    /// A number of any size, so its digits are kept.
    nonce: Option<Box<RawValue>>,
    #[serde(rename = "tsaPolicyOID")]
    policy: Option<String>,
}

/// A non-negative decimal integer of any size up to [`MAX_NONCE_DIGITS`] digits.
fn decimal(digits: &str) -> Option<Integer> {
    if digits.is_empty() || digits.len() > MAX_NONCE_DIGITS {
        return None;
    }
    let mut number = [0u8; MAX_INTEGER_LEN];
    for digit in digits.chars() {
        let mut carry = digit.to_digit(10)?;
        for byte in number.iter_mut().rev() {
            let value = u32::from(*byte).wrapping_mul(10).wrapping_add(carry);
            let [.., high, low] = value.to_be_bytes();
            *byte = low;
            carry = u32::from(high);
        }
    }
    Some(Integer::from_unsigned(&number))
}

#[cfg(test)]
mod tests {
    use super::{CertReq, MAX_DER_LEN, RequestError, TimeStampReq};
    use crate::code::Code;
    use crate::crypto::HashAlgorithm;
    use crate::tsp::Integer;

    fn hello() -> TimeStampReq {
        TimeStampReq {
            imprint: HashAlgorithm::Sha256.digest(b"hello"),
            policy: None,
            nonce: Some(Integer::from_unsigned(&[0, 0xa5, 1])),
            certificates: CertReq::SigningCertificate,
        }
    }

    #[test]
    fn recorded_requests_round_trip() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let mut count = 0;
        for client in ["openssl-ts-3.0.19", "cosign-3.1.3", "cosign-2.6.1", "sigstore-python-4.5.1"] {
            let requests = vectors.wire(client).into_iter().filter(|exchange| {
                exchange.service == "tsa"
                    && exchange.status == 200
                    && exchange.request_header("content-type") == Some("application/timestamp-query")
            });
            for exchange in requests {
                let der = exchange.request_body.expect("a body");
                let request = TimeStampReq::from_der(&der).expect("a request");
                assert_eq!(request.to_der().expect("DER"), der, "{client} line {}", exchange.line);
                count += 1;
            }
        }
        assert!(count > 40, "{count}");
    }

    #[test]
    fn digests_without_algorithm_parameters_are_taken_as_gitsign_sends_them() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let recorded = vectors.wire("gitsign-034927d");
        let exchange = recorded.iter().find(|exchange| exchange.service == "tsa").expect("a request");
        let request = TimeStampReq::from_der(exchange.request_body.as_deref().expect("a body")).expect("a request");
        assert_eq!(request.imprint.algorithm(), HashAlgorithm::Sha256);
        assert_eq!(request.certificates, CertReq::SigningCertificate);
    }

    #[test]
    fn refused_requests_say_why() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let recorded = |step: &str| {
            let found = vectors.wire("openssl-ts-3.0.19").into_iter().find(|exchange| exchange.step == step);
            found.expect("recorded").request_body.expect("a body")
        };
        let sha1 = TimeStampReq::from_der(&recorded("sha1")).expect_err("SHA-1");
        assert_eq!((sha1.clone(), sha1.code()), (RequestError::WeakHash, Code::TIME_REQUEST_HASH));
        let garbage = TimeStampReq::from_der(&recorded("garbage")).expect_err("garbage");
        assert_eq!((garbage.clone(), garbage.code()), (RequestError::Malformed, Code::TIME_REQUEST_MALFORMED));
        let policy = TimeStampReq::from_der(&recorded("policy")).expect("a request").policy;
        assert_eq!(policy.expect("policy").to_string(), "1.2.3.4");
    }

    #[test]
    fn every_truncation_and_edit_is_refused_or_harmless() {
        let der = hello().to_der().expect("DER");
        for len in 0..der.len() {
            assert_eq!(TimeStampReq::from_der(&der[..len]), Err(RequestError::Malformed));
        }
        let mut longer = der.clone();
        longer.push(0);
        assert_eq!(TimeStampReq::from_der(&longer), Err(RequestError::Malformed));
        let too_large = TimeStampReq::from_der(&vec![0x30; MAX_DER_LEN + 1]).expect_err("too large");
        assert_eq!((too_large.clone(), too_large.code()), (RequestError::TooLarge, Code::INPUT_TOO_LARGE));
        let edited = |from: &str, to: &str| {
            let text = hex::encode(&der);
            assert_eq!(text.matches(from).count(), 1, "{from}");
            TimeStampReq::from_der(&hex::decode(text.replace(from, to)).expect("hex"))
        };
        // SHA-256 renamed to SHA-384 keeps 32 bytes; then to an unknown hash (SHA-224).
        assert_eq!(edited("60864801650304020105", "60864801650304020205"), Err(RequestError::DigestLength));
        let unknown = RequestError::UnknownHash("2.16.840.1.101.3.4.2.4".into());
        assert_eq!(edited("60864801650304020105", "60864801650304020405"), Err(unknown));
        // Version 2.
        assert_eq!(edited("020101", "020102"), Err(RequestError::Malformed));
    }

    #[test]
    fn extensions_are_refused() {
        let der = hello().to_der().expect("DER");
        // An extension 1.2.3 that is not critical.
        let mut with = der[..].to_vec();
        with.extend(hex::decode("a00a300806022a03040205 00".replace(' ', "")).expect("hex"));
        with[1] += 12;
        let error = TimeStampReq::from_der(&with).expect_err("extension");
        assert_eq!((error.clone(), error.code()), (RequestError::Extension, Code::TIME_REQUEST_EXTENSION));
    }

    #[test]
    fn the_json_form_is_the_one_of_sigstore() {
        let parse = |json: &str| TimeStampReq::from_json(json.as_bytes());
        let hash = r#""artifactHash":"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=""#;
        let plain = parse(&format!(r#"{{{hash},"hashAlgorithm":"sha256"}}"#)).expect("request");
        assert_eq!(plain, TimeStampReq { nonce: None, certificates: CertReq::Without, ..hello() });
        let full = parse(&format!(
            r#"{{{hash},"hashAlgorithm":"sha256","nonce":12345678901234567890,"certificates":true,"tsaPolicyOID":"1.2.3","x":1}}"#
        ))
        .expect("request");
        assert_eq!(full.nonce, Some(Integer::from_unsigned(&12_345_678_901_234_567_890_u64.to_be_bytes())));
        assert_eq!(full.certificates, CertReq::SigningCertificate);
        assert_eq!(full.policy.expect("policy").to_string(), "1.2.3");
        let zero = parse(&format!(r#"{{{hash},"hashAlgorithm":"sha256","nonce":0}}"#)).expect("request");
        assert_eq!(zero.nonce, Some(Integer::from_unsigned(&[])));

        let big = "9".repeat(155);
        for (json, error) in [
            (format!(r#"{{{hash},"hashAlgorithm":"sha1"}}"#), RequestError::WeakHash),
            (format!(r#"{{{hash},"hashAlgorithm":"md5"}}"#), RequestError::UnknownHash("md5".into())),
            (format!(r#"{{{hash},"hashAlgorithm":"sha512"}}"#), RequestError::DigestLength),
            (r#"{"artifactHash":"?","hashAlgorithm":"sha256"}"#.into(), RequestError::Malformed),
            (format!(r#"{{{hash},"hashAlgorithm":"sha256","nonce":-1}}"#), RequestError::Malformed),
            (format!(r#"{{{hash},"hashAlgorithm":"sha256","nonce":1.5}}"#), RequestError::Malformed),
            (format!(r#"{{{hash},"hashAlgorithm":"sha256","nonce":{big}}}"#), RequestError::Malformed),
            (format!(r#"{{{hash},"hashAlgorithm":"sha256","tsaPolicyOID":"x"}}"#), RequestError::Malformed),
            ("{}".into(), RequestError::Malformed),
            ("hello".into(), RequestError::Malformed),
            (format!(r#"{{{hash},"hashAlgorithm":"sha256"}}{}"#, " ".repeat(1000)), RequestError::TooLarge),
        ] {
            assert_eq!(parse(&json), Err(error), "{json}");
        }
    }
}
