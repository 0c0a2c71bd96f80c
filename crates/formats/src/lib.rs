//! Bytes to types and back, one module per specification.

mod asn1;
pub mod bundle;
pub mod checkpoint;
pub mod client_config;
pub mod cms;
pub mod code;
pub mod crypto;
pub mod entry;
pub mod envelope;
pub mod extension;
pub mod json;
pub mod jwt;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod pattern;
pub mod sct;
pub mod signing_config;
pub mod statement;
pub mod tile;
mod tls;
pub mod trusted_root;
pub mod tsp;
pub mod tuf;
pub mod x509;
