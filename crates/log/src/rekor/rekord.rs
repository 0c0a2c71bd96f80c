//! `rekord` 0.0.1: a signature over an artifact that is sent along and logged by its digest.

use waxseal_formats::crypto::SignatureInvalid;
use waxseal_formats::entry::proposed::ProposedRekord;

use super::checked::{Checked, Message, signer_key};
use super::{RekorError, search};

/// Checks that the key made the signature over the artifact.
pub(super) fn check(entry: &ProposedRekord) -> Result<Checked, RekorError> {
    if !Message::new(&entry.artifact).is_signed_by(signer_key(&entry.verifier)?, &entry.signature) {
        return Err(SignatureInvalid.into());
    }
    let mut keys = search::verifier(&entry.verifier);
    keys.push(entry.digest.to_string());
    Ok(Checked { body: entry.canonical_body(), keys })
}
