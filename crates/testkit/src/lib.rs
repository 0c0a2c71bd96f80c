//! What tests share: the vectors that nobody here wrote, and a clock that stands still.
//!
//! Only tests use this crate. It depends on no other crate of the workspace, so that each of them can have it as a
//! dev-dependency without a cycle. A broken vector is a broken test: the readers panic and say which file it was.

#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "only tests use this crate, and a test that cannot read its vectors has failed"
)]

pub mod clock;
mod conformance;
pub mod mutant;
mod private_instance;
mod vectors;
mod wire;

pub use conformance::ConformanceCase;
pub use private_instance::{Artifact, ExpectedCase, ExpectedVerdict, Signer};
pub use vectors::{Vectors, vectors};
pub use wire::{Exchange, FULCIO_REFUSALS};
