//! The command line: one file per verb, wired together here.

mod failure;

pub use failure::{Failure, Output};
