//! The library behind the waxseal binary.

pub mod server;
pub mod client;
pub mod cli;
