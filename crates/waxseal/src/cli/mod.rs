//! The command line: one file per verb, wired together here.

pub mod failure;

pub use failure::{Failure, Output};
