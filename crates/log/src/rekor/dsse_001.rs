//! `dsse` 0.0.1: the digests of an envelope and of its payload, with its signatures and what verifies each.

use waxseal_formats::entry::proposed::ProposedDsse;

use super::checked::{Checked, Message, signer_key};
use super::{RekorError, search};

/// Checks that every signature of the envelope is by one of the verifiers.
pub(super) fn check(entry: &ProposedDsse) -> Result<Checked, RekorError> {
    let pae = entry.envelope.pae();
    let message = Message::new(&pae);
    let keys = entry.verifiers.iter().map(|verifier| Ok((signer_key(verifier)?, verifier)));
    let keys = keys.collect::<Result<Vec<_>, RekorError>>()?;
    let mut signatures = Vec::with_capacity(entry.envelope.signatures.len());
    for (place, signature) in entry.envelope.signatures.iter().enumerate() {
        let by = keys.iter().find(|(key, _)| message.is_signed_by(key, &signature.sig));
        let (_, verifier) = by.ok_or(RekorError::Envelope(place))?;
        signatures.push((signature, *verifier));
    }
    let mut keys: Vec<String> = signatures.iter().flat_map(|(_, verifier)| search::verifier(verifier)).collect();
    keys.push(entry.payload_hash().to_string());
    keys.push(entry.envelope_hash.to_string());
    keys.extend(search::statement(&entry.envelope.payload_type, &entry.envelope.payload));
    Ok(Checked { body: entry.canonical_body(&signatures), keys })
}
