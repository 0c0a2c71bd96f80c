//! Which statements count: what is attested is part of who may say it.

use waxseal_formats::code::Code;
use waxseal_formats::statement::Statement;

/// A statement of another type than those that count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the statement is of type {found:?}, and {} counts", accepted.join(" or "))]
pub struct PredicateTypeError {
    /// Its type.
    pub found: String,
    /// What counts.
    pub accepted: Vec<String>,
}

impl PredicateTypeError {
    /// `statement.predicate-type`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::STATEMENT_PREDICATE_TYPE
    }
}

/// Whether a verified statement is of one of the `accepted` predicate types.
///
/// # Errors
/// [`PredicateTypeError`].
pub fn check(statement: &Statement, accepted: &[String]) -> Result<(), PredicateTypeError> {
    if accepted.contains(&statement.predicate_type) {
        return Ok(());
    }
    Err(PredicateTypeError { found: statement.predicate_type.clone(), accepted: accepted.to_vec() })
}
