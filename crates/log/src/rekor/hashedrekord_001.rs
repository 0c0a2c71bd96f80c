//! `hashedrekord` 0.0.1: a signature over a digest, with what verifies it.

use waxseal_formats::crypto::{KeyDetails, KeyKind};
use waxseal_formats::entry::proposed::ProposedHashedRekord;

use super::checked::{Checked, signer_key};
use super::{RekorError, search};

/// Whether this combination of key and hash is one that the log takes (rekor `client-signing-algorithms`).
pub(super) fn allowed(entry: &ProposedHashedRekord) -> Result<(), RekorError> {
    let key = entry.verifier.public_key()?;
    let Some(details) = KeyDetails::for_key(key) else { return Err(RekorError::Size(key.kind().to_string())) };
    // The provider has no Ed25519ph; pure Ed25519 needs the artifact, which the log never sees.
    if key.kind() == KeyKind::Ed25519 {
        return Err(RekorError::Unsupported(details.name()));
    }
    if details.hash() != Some(entry.digest.algorithm()) {
        return Err(RekorError::Hash { key: details.name(), digest: entry.digest.algorithm().name() });
    }
    Ok(())
}

/// Checks that the key made the signature over the digest.
pub(super) fn check(entry: &ProposedHashedRekord) -> Result<Checked, RekorError> {
    signer_key(&entry.verifier)?.verify_digest(&entry.digest, &entry.signature)?;
    let mut keys = search::verifier(&entry.verifier);
    keys.push(entry.digest.to_string());
    Ok(Checked { body: entry.canonical_body(), keys })
}
