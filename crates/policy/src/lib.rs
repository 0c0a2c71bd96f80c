//! Evidence to [`Verdict`]: policies over attestations, in CEL and in Rego.
//!
//! What was proven about an artifact, as [`Input`], and a compiled policy go in; a verdict comes out. Nothing here reads a clock, a
//! file or a socket, and neither can a policy. What is not proven is denied: there is no value that means "no opinion".

pub mod engine;
pub mod input;

pub use engine::{Allowance, Compiled, Denial, Language, PolicyError, Verdict};
pub use input::Input;
