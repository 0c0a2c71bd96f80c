//! A transparency log engine, without input or output.
//!
//! One engine stands under CT and Rekor. An entry walks through it in this order; each hop is one module:
//!
//! ```text
//! ct, rekor     check a submission and make it an entry
//! pool          wait in a bounded queue
//! sequencer     a batch of entries and `now` become a Plan: indices, leaf hashes, checkpoint to be signed
//! wal           the signed Plan becomes one record, written with one fdatasync by the shell
//! state         the record extends the tree; recovery applies the same records in the same way
//! publish       tiles, entry bundles and the public checkpoint follow from the records
//! fsck          what recovery need not look at, and a check of the whole store must
//! ```
//!
//! Nothing here reads a clock, a file or a random number: the shell (`server::drive`) passes them in and carries out what the
//! engine decides.

pub mod audit;
pub mod ct;
pub mod dedup;
pub mod fsck;
pub mod pool;
pub mod profile;
pub mod publish;
pub mod recover;
pub mod rekor;
pub mod rows;
pub mod scan;
pub mod segment;
pub mod sequencer;
pub mod state;
pub mod synced;
pub mod tail;
pub mod wal;

#[cfg(test)]
mod fixture;

use waxseal_formats::merkle::Hash;

/// Milliseconds since 1970, UTC, without leap seconds (RFC 6962 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl From<jiff::Timestamp> for UnixMillis {
    /// Times before 1970 become 0.
    fn from(time: jiff::Timestamp) -> Self {
        Self(u64::try_from(time.as_millisecond()).unwrap_or(0))
    }
}

/// What tells two submissions of the same thing: the leaf hash, or for CT a hash without time and index.
pub type Identity = Hash;
