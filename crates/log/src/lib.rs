//! A transparency log engine, without input or output.

pub mod pool;
pub mod sequencer;
pub mod wal;
pub mod recover;
pub mod dedup;
pub mod publish;
pub mod ct;
pub mod rekor;
