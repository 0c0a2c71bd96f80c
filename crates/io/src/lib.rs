//! The outside world: each trait beside its implementations.

pub mod signer;
pub mod store;
pub mod objects;
pub mod transport;
pub mod jwks;
pub mod token;
pub mod system;
