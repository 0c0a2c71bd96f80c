//! Reading the tree: hashes from the tail in memory, the rest from published tiles.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::PoisonError;

use waxseal_formats::code::Code;
use waxseal_formats::merkle::{Hash, NodeId, ProofError, consistency_proof, inclusion_proof};
use waxseal_formats::tile::{HASH_TILE_LEN, HashTile, MAX_ENTRY, TILE_WIDTH, TileError, TileId, TileKind, locate};
use waxseal_io::index::IndexError;
use waxseal_log::profile::Bodies;
use waxseal_log::publish;

use super::{LogHandle, Shared};

/// Largest file of a tile of entries, in bytes.
const MAX_ENTRIES_FILE: usize = TILE_WIDTH as usize * (MAX_ENTRY + 64 * 1024 + 4096);

/// Why a proof or tile cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A published tile that must be there is not.
    #[error("{0} is missing")]
    Missing(TileId),
    /// A published tile is damaged.
    #[error("{id} is damaged: {error}")]
    Damaged {
        /// Which one.
        id: TileId,
        /// What is wrong with it.
        error: TileError,
    },
    /// A tile cannot be read.
    #[error("{id}: {source}")]
    Io {
        /// Which one.
        id: TileId,
        /// What the system says.
        source: std::io::Error,
    },
    /// The hashes of the published tiles do not lead to the signed root.
    #[error("the stored hashes are damaged: {0}")]
    Proof(ProofError),
    /// The index or size lies outside the tree.
    #[error("{0} is outside the tree")]
    Outside(u64),
    /// The entries are asked for, and the log does not keep them.
    #[error("this instance is sealed: its log keeps no entries, they are in the bundles that it was asked to log")]
    Sealed,
    /// The index does not answer.
    #[error(transparent)]
    Index(IndexError),
    /// The log has no index.
    #[error("this log has no index")]
    Unindexed,
    /// The entry is logged, but was not published in time.
    #[error("entry {0} is not published yet; try again")]
    Unpublished(u64),
    /// The reading task was stopped.
    #[error("the log has stopped")]
    Stopped,
}

impl TreeError {
    /// The stable reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Missing(_) | Self::Damaged { .. } | Self::Proof(_) => Code::LOG_STORE_CORRUPT,
            // More bytes than any such tile has.
            Self::Io { source, .. } if source.kind() == ErrorKind::FileTooLarge => Code::LOG_STORE_CORRUPT,
            Self::Io { .. } | Self::Stopped | Self::Unindexed => Code::LOG_STORE_FAILED,
            Self::Index(error) => error.code(),
            Self::Unpublished(_) => Code::LOG_BUSY,
            Self::Outside(_) => Code::LOG_INDEX,
            Self::Sealed => Code::LOG_SEALED,
        }
    }
}

/// The file of a published tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it is full, and so never changes.
    pub full: bool,
}

impl LogHandle {
    /// The leaf hash of an entry and its audit path in the tree of `size` leaves, which must be committed.
    ///
    /// # Errors
    /// [`TreeError`]. The proof is not checked against a root yet.
    pub async fn inclusion(&self, index: u64, size: u64) -> Result<(Hash, Vec<Hash>), TreeError> {
        self.reading(move |shared| {
            let mut nodes = Nodes::new(shared);
            let leaf = nodes.node(NodeId { level: 0, index })?;
            let proof = inclusion_proof(index, size, |id| nodes.node(id))?;
            Ok((leaf, proof.ok_or(TreeError::Outside(index))?))
        })
        .await
    }

    /// The leaf hashes of entries, whose indices ascend.
    ///
    /// # Errors
    /// [`TreeError`].
    pub async fn leaf_hashes(&self, indices: Vec<u64>) -> Result<Vec<Hash>, TreeError> {
        self.reading(move |shared| {
            let mut nodes = Nodes::new(shared);
            let hash = |index| {
                let hash = nodes.node(NodeId { level: 0, index });
                // One that is left behind is not asked for again.
                if nodes.tiles.len() > 1 {
                    nodes.tiles.clear();
                }
                hash
            };
            indices.into_iter().map(hash).collect()
        })
        .await
    }

    /// The proof that the tree of `new` leaves, which must be committed, extends the one of `old` leaves.
    ///
    /// # Errors
    /// [`TreeError`].
    pub async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, TreeError> {
        self.reading(move |shared| {
            let mut nodes = Nodes::new(shared);
            consistency_proof(old, new, |id| nodes.node(id))?.ok_or(TreeError::Outside(old))
        })
        .await
    }

    /// A tile of the published tree, at any width up to the published one. `None` if the published tree does not have it.
    ///
    /// # Errors
    /// [`TreeError`] if it ought to be there.
    pub async fn tile(&self, id: TileId) -> Result<Option<PublishedTile>, TreeError> {
        let known = match id.kind {
            TileKind::Hash(_) => true,
            entries => entries == self.profile().entries(),
        };
        if self.profile().bodies == Bodies::Sealed && !matches!(id.kind, TileKind::Hash(_)) && known {
            return Err(TreeError::Sealed);
        }
        let size = self.published().size;
        let Some(widest) = TileId::in_tree(id.kind, id.index, size).filter(|widest| known && id.width <= widest.width)
        else {
            return Ok(None);
        };
        self.reading(move |shared| {
            // The widest form may have been replaced by a wider one since its size was read, at last by the full tile.
            let max = if matches!(id.kind, TileKind::Hash(_)) { HASH_TILE_LEN } else { MAX_ENTRIES_FILE };
            let read = |from: &TileId| {
                let file = shared.objects.read(&from.to_string(), max);
                file.map_err(|source| TreeError::Io { id: *from, source })
            };
            let mut from = widest;
            let mut file = read(&from)?;
            if file.is_none() {
                let now = super::lock(&shared.published).head.size;
                from = TileId::in_tree(id.kind, id.index, now).unwrap_or(widest);
                file = read(&from)?;
            }
            let file = file.ok_or(TreeError::Missing(from))?;
            let damaged = TileError::Bundle { width: from.width };
            let part =
                publish::narrow(&from, &file, id.width).ok_or(TreeError::Damaged { id: from, error: damaged })?;
            Ok(Some(PublishedTile { bytes: part.to_vec(), full: id.is_full() }))
        })
        .await
    }

    /// Runs something that may read files where blocking is allowed.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, TreeError> + Send + 'static,
    ) -> Result<T, TreeError> {
        let shared = self.0.clone();
        tokio::task::spawn_blocking(move || read(&shared)).await.map_err(|_| TreeError::Stopped)?
    }
}

/// The nodes of the committed tree, with the tiles that were read for one answer.
pub(super) struct Nodes<'a> {
    shared: &'a Shared,
    tiles: HashMap<TileId, HashTile>,
}

impl<'a> Nodes<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, tiles: HashMap::new() }
    }

    pub(super) fn node(&mut self, id: NodeId) -> Result<Hash, TreeError> {
        let place = locate(id).ok_or(TreeError::Outside(id.index))?;
        let committed = self.shared.committed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = committed.tail.node(id) {
            return Ok(hash);
        }
        drop(committed);
        // What is not in the tail stands in a published full tile.
        let tile = TileId::full(TileKind::Hash(place.level), place.index);
        let hashes = match self.tiles.entry(tile) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let file = self.shared.objects.read(&tile.to_string(), HASH_TILE_LEN);
                let file =
                    file.map_err(|source| TreeError::Io { id: tile, source })?.ok_or(TreeError::Missing(tile))?;
                entry.insert(HashTile::parse(&tile, &file).map_err(|error| TreeError::Damaged { id: tile, error })?)
            }
        };
        hashes.node(&place).map_err(|error| TreeError::Damaged { id: tile, error })
    }
}
