//! Entries of Rekor v1: what a proposed entry claims is verified, and its canonical body and search keys are made
//! (rekor `pkg/types`). One file for each kind.

use waxseal_formats::entry::proposed::ProposedEntry;

pub use super::checked::Checked;
use super::{RekorError, dsse_001, hashedrekord_001, intoto, rekord, rfc3161};

/// Verifies what is to be looked for: everything that was ever logged is canonicalised in the same way.
///
/// As upstream, the signatures are verified and nothing about the certificates but that a chain is one.
///
/// # Errors
/// [`RekorError`].
pub fn check(proposed: &ProposedEntry) -> Result<Checked, RekorError> {
    match proposed {
        ProposedEntry::HashedRekord(entry) => hashedrekord_001::check(entry),
        ProposedEntry::Dsse(entry) => dsse_001::check(entry),
        ProposedEntry::Intoto(entry) => intoto::check(entry),
        ProposedEntry::Intoto001(entry) => intoto::check_001(entry),
        ProposedEntry::Rekord(entry) => rekord::check(entry),
        ProposedEntry::Rfc3161(entry) => rfc3161::check(entry),
    }
}

/// Verifies what is to be logged: as [`check`], and kinds and combinations of algorithms that are only read are refused.
///
/// # Errors
/// [`RekorError`].
pub fn admit(proposed: &ProposedEntry) -> Result<Checked, RekorError> {
    match proposed {
        ProposedEntry::Intoto001(_) => return Err(RekorError::ReadOnly("intoto 0.0.1")),
        ProposedEntry::HashedRekord(entry) => hashedrekord_001::allowed(entry)?,
        _ => {}
    }
    check(proposed)
}

#[cfg(test)]
mod tests;
