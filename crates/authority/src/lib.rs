//! Token to certificate, timestamps and TUF metadata.

pub mod oidc;
pub mod rules;
pub mod challenge;
pub mod provider;
pub mod ca;
pub mod lint;
pub mod tsa;
pub mod tuf;
pub mod trusted_root;
