//! Bundle to [`Evidence`](bundle::Evidence): a pure verifier.
//!
//! Bytes, trusted material, a policy and the current time go in; what was cryptographically proven comes out, or a typed
//! rejection with a reason code. Nothing here reads a clock, a file or a socket.

pub mod bundle;
pub mod chain;
pub mod identity;
pub mod image;
pub mod inclusion;
pub mod predicate;
pub mod sct;
pub mod signature;
pub mod timestamp;
pub mod tuf;
