//! `rfc3161` 0.0.1: a timestamp authority's answer.

use waxseal_formats::crypto::HashAlgorithm;
use waxseal_formats::entry::proposed::ProposedRfc3161;

use super::RekorError;
use super::checked::Checked;

/// Checks that the token is signed by the certificate that it carries. Whose certificate that is, is not the log's question.
pub(super) fn check(entry: &ProposedRfc3161) -> Result<Checked, RekorError> {
    let signer = entry.signer().ok_or(RekorError::TokenSigner)?;
    entry.token.verify(&signer)?;
    let keys = vec![HashAlgorithm::Sha256.digest(&entry.response).to_string()];
    Ok(Checked { body: entry.canonical_body(), keys })
}
