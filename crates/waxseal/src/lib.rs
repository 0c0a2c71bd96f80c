//! The library behind the waxseal binary.

pub mod cli;
pub mod client;
pub mod server;
