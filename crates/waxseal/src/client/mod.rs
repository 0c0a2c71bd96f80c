//! The client: sign, verify, trust.

pub mod blob;
pub mod sign;
pub mod trust;
pub mod verify;
