//! A timestamp over a signature (RFC 3161 §3.4).

use super::SignError;
use super::service::ask;
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::HashAlgorithm;
use waxseal_formats::tsp::{CertReq, Integer, MAX_TOKEN_LEN, TimeStampReq, TimeStampToken};
use waxseal_io::system;
use waxseal_io::transport::{Request, Transport};

const SERVICE: &str = "the timestamp authority";

/// The authority's answer, DER, once it is known to be about this signature and to be fresh.
pub(super) async fn timestamp(
    transport: &dyn Transport,
    authority: &Url,
    signature: &[u8],
) -> Result<Vec<u8>, SignError> {
    let query = TimeStampReq {
        imprint: HashAlgorithm::Sha256.digest(signature),
        policy: None,
        nonce: Some(Integer::from_unsigned(&system::random::<8>())),
        certificates: CertReq::Without,
    };
    let unusable =
        |problem: String, code: Code| SignError::Answer { service: SERVICE, url: authority.to_string(), problem, code };
    let der = query.to_der().map_err(|error| unusable(error.to_string(), error.code()))?;
    let request = Request::post(authority.clone(), "application/timestamp-query", der).max_body_len(MAX_TOKEN_LEN);
    let response = ask(transport, SERVICE, request).await?;
    let token = TimeStampToken::parse(&response.body).map_err(|error| unusable(error.to_string(), error.code()))?;
    if *token.imprint() != query.imprint || token.nonce() != query.nonce.as_ref() {
        return Err(unusable("a timestamp of something else".into(), Code::TIME_TOKEN_MISMATCH));
    }
    Ok(response.body.to_vec())
}
