//! The signing instance: one process, one origin.

pub mod admin;
pub mod config;
pub mod ct;
pub mod describe;
pub mod drive;
pub mod first_entry;
pub mod fulcio;
pub mod gateway;
pub mod idp;
pub mod instance;
pub mod issuer_keys;
pub mod logs;
pub mod material;
pub mod operate;
pub mod record;
pub mod rekor_v1;
pub mod rekor_v2;
pub mod telemetry;
pub mod tiles;
pub mod tsa;
pub mod tuf;
pub mod ui;
pub mod writers;
