//! Why a log cannot be driven, and why it does not take an entry.

use std::path::PathBuf;
use std::sync::Arc;

use waxseal_formats::code::Code;
use waxseal_formats::tile::TileError;
use waxseal_io::disk::is_full;
use waxseal_io::index::IndexError;
use waxseal_io::signer::SignerError;
use waxseal_io::store::StoreError;
use waxseal_log::ct::CtError;
use waxseal_log::state::StateError;
use waxseal_log::wal::WalError;

use super::TreeError;

/// Why a log cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The directory or the write-ahead file fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A segment of the write-ahead file is damaged.
    #[error("{}: {error}", path.display())]
    Segment {
        /// The segment.
        path: PathBuf,
        /// What is wrong with it.
        error: WalError,
    },
    /// The write-ahead format refuses; said without a file where there is none.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A record or checkpoint contradicts the log.
    #[error(transparent)]
    State(#[from] StateError),
    /// A published file is damaged.
    #[error("{name}: {problem}")]
    Object {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A published entry bundle is damaged.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The index cannot be written, or does not follow the records.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The key does not belong to the log.
    #[error("the signing key is not the key of the log {0}")]
    Key(String),
    /// The key cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl DriveError {
    /// The stable reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Store(error) => error.code(),
            Self::State(error) => error.code(),
            Self::Index(error) => error.code(),
            Self::Segment { .. } | Self::Wal(_) | Self::Object { .. } | Self::Tile(_) | Self::Key(_) => {
                Code::LOG_STORE_CORRUPT
            }
            Self::Io { .. } => Code::LOG_STORE_FAILED,
            Self::Signer(_) => Code::KEY_UNAVAILABLE,
        }
    }

    /// Whether the disk is full: then nothing is lost, and waiting may help.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Store(StoreError::Full { .. }) | Self::Index(IndexError::Full { .. }) => true,
            Self::Io { source, .. } => is_full(source),
            _ => false,
        }
    }
}

/// Why an entry was not logged, or its proof not given.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue is full, or publishing lags too far behind: come again later.
    #[error("the log has too much to do; try again")]
    Busy,
    /// The disk is full: come again later.
    #[error("the log has no space left; try again later")]
    Full,
    /// The log was frozen: it never takes an entry again, the newest log does.
    #[error("this log has been frozen and takes no more entries")]
    Frozen,
    /// The log has stopped, or is being stopped.
    #[error("the log has stopped")]
    Stopped,
    /// A row of the audit log, for a log that has no leaf yet.
    #[error("the log has no entry yet")]
    Empty,
    /// The entry cannot become a leaf.
    #[error(transparent)]
    Entry(#[from] CtError),
    /// The log's key cannot be used at the moment. Nothing was recorded.
    #[error("the log could not sign its checkpoint: {0}")]
    Signer(Arc<SignerError>),
    /// The entry stands in the log, but its proof cannot be made.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl AppendError {
    /// The stable reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Busy | Self::Full | Self::Empty => Code::LOG_BUSY,
            Self::Frozen => Code::LOG_FROZEN,
            Self::Stopped => Code::LOG_STORE_FAILED,
            Self::Signer(_) => Code::KEY_UNAVAILABLE,
            Self::Entry(error) => error.code(),
            Self::Tree(error) => error.code(),
        }
    }
}
