//! Bundle to `Evidence`: a pure verifier.

pub mod chain;
pub mod sct;
pub mod inclusion;
pub mod timestamp;
pub mod signature;
pub mod bundle;
pub mod tuf;
