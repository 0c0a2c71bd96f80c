//! `intoto` 0.0.2: an envelope's digests with its signatures, each beside its own key; and 0.0.1, which is only looked for.

use waxseal_formats::entry::proposed::{ProposedIntoto, ProposedIntoto001};
use waxseal_formats::envelope::pae;

use super::checked::{Checked, Message, signer_key};
use super::{RekorError, search};

/// Checks that every signature is by the key that stands beside it. Upstream is content with one of the other keys, and then
/// logs a signature with a key that did not make it.
pub(super) fn check(entry: &ProposedIntoto) -> Result<Checked, RekorError> {
    let pae = pae(&entry.payload_type, &entry.payload);
    let message = Message::new(&pae);
    let mut keys = Vec::new();
    for (place, signature) in entry.signatures.iter().enumerate() {
        if !message.is_signed_by(signer_key(&signature.verifier)?, &signature.signature) {
            return Err(RekorError::Envelope(place));
        }
        keys.extend(search::verifier(&signature.verifier));
    }
    // Not the envelope's hash: the client states it, and nothing shows that it is true.
    keys.push(entry.payload_hash().to_string());
    keys.extend(search::statement(&entry.payload_type, &entry.payload));
    Ok(Checked { body: entry.canonical_body(), keys })
}

/// Checks that every signature is by the one key.
pub(super) fn check_001(entry: &ProposedIntoto001) -> Result<Checked, RekorError> {
    let pae = entry.envelope.pae();
    let message = Message::new(&pae);
    let key = signer_key(&entry.verifier)?;
    for (place, signature) in entry.envelope.signatures.iter().enumerate() {
        if !message.is_signed_by(key, &signature.sig) {
            return Err(RekorError::Envelope(place));
        }
    }
    Ok(Checked { body: entry.canonical_body(), keys: Vec::new() })
}
