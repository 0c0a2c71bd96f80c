//! The outside world: each trait beside its implementations.

pub mod browser;
pub mod disk;
pub mod file;
pub mod index;
pub mod jwks;
pub mod layout;
pub mod ntp;
pub mod objects;
pub mod registry;
pub mod signer;
pub mod store;
pub mod system;
pub mod terminal;
pub mod token;
pub mod transport;
