//! What a policy is asked about.

use crate::engine::PolicyError;
use serde_json::{Value, json};
use waxseal_formats::json;
use waxseal_formats::statement::{MAX_STATEMENT_LEN, Statement};
use waxseal_verify::bundle::{Evidence, SignerEvidence};
use waxseal_verify::signature::ContentEvidence;

/// An input may have this many values, counted through all its lists and objects.
pub const MAX_VALUES: usize = 1 << 20;

/// Verified facts, as the JSON that policies see.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    document: Value,
    signer: Value,
    values: usize,
}

impl Input {
    /// A verified attestation: `payload` is the statement as it was signed, `evidence` what was proven with it.
    ///
    /// # Errors
    /// [`PolicyError::Unproven`] if `evidence` is not about this statement, [`PolicyError::TooLarge`].
    pub fn attestation(payload: &[u8], evidence: &Evidence) -> Result<Self, PolicyError> {
        let ContentEvidence::Statement(proven) = evidence.content() else {
            return Err(PolicyError::Unproven);
        };
        let stated = Statement::from_json(payload).map_err(|_| PolicyError::Unproven)?;
        if stated != *proven {
            return Err(PolicyError::Unproven);
        }
        let document = json::parse(payload, MAX_STATEMENT_LEN).map_err(|_| PolicyError::Unproven)?;
        Self::facts(document, signer(evidence.signer()))
    }

    /// Facts that a caller put together from what it verified: the document, and who signed (null if several did, or nobody).
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`].
    pub fn facts(document: Value, signer: Value) -> Result<Self, PolicyError> {
        let values = count(&document).saturating_add(count(&signer));
        if values > MAX_VALUES {
            return Err(PolicyError::TooLarge { what: "the statement", unit: "values", limit: MAX_VALUES });
        }
        Ok(Self { document, signer, values })
    }

    /// The document: `input` in Rego, `statement` in CEL.
    #[must_use]
    pub const fn document(&self) -> &Value {
        &self.document
    }

    /// Who signed: `data.waxseal.signer` in Rego, `signer` in CEL.
    #[must_use]
    pub const fn signer(&self) -> &Value {
        &self.signer
    }

    /// How many values there are.
    pub(crate) const fn values(&self) -> usize {
        self.values
    }
}

/// A key has neither identity nor issuer: what a certificate beside it says is not proven.
fn signer(evidence: &SignerEvidence) -> Value {
    match evidence {
        SignerEvidence::Certificate { subject, extensions, .. } => {
            let named: serde_json::Map<String, Value> =
                extensions.iter().map(|(oid, value)| (oid.name().to_owned(), json!(value))).collect();
            json!({ "identity": subject.as_str(), "issuer": extensions.issuer(), "extensions": named })
        }
        SignerEvidence::Key { spki_sha256 } => json!({ "key": spki_sha256 }),
    }
}

/// By a list of what is still to be counted: the depth is the caller's.
fn count(value: &Value) -> usize {
    let (mut values, mut rest) = (0_usize, vec![value]);
    while let Some(value) = rest.pop() {
        values = values.saturating_add(1);
        match value {
            Value::Array(elements) => rest.extend(elements),
            Value::Object(members) => rest.extend(members.values()),
            _ => {}
        }
    }
    values
}
