//! Bytes to types and back, one module per specification.

pub mod crypto;
pub mod code;
pub mod json;
pub mod pattern;
pub mod jwt;
pub mod note;
pub mod checkpoint;
pub mod merkle;
pub mod tile;
pub mod leaf;
pub mod sct;
pub mod x509;
pub mod extension;
pub mod cms;
pub mod tsp;
pub mod envelope;
pub mod statement;
pub mod entry;
pub mod bundle;
pub mod trusted_root;
pub mod signing_config;
pub mod tuf;
