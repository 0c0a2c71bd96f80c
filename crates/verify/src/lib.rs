//! Bundle to `Evidence`: a pure verifier.

pub mod bundle;
pub mod chain;
pub mod inclusion;
pub mod sct;
pub mod signature;
pub mod timestamp;
pub mod tuf;
