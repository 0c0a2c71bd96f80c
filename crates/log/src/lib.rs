//! A transparency log engine, without input or output.

pub mod ct;
pub mod dedup;
pub mod pool;
pub mod publish;
pub mod recover;
pub mod rekor;
pub mod sequencer;
pub mod wal;
