//! Token to certificate, timestamps and TUF metadata.

pub mod audit;
pub mod ca;
pub mod challenge;
pub mod clock;
pub mod lint;
pub mod oidc;
pub mod provider;
#[cfg(test)]
mod recorded;
pub mod rules;
pub mod trusted_root;
pub mod tsa;
pub mod tuf;
mod weak_rsa;
pub mod writers;
