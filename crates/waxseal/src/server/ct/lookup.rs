//! Finding entries in the log.

use super::CtLog;
use crate::server::drive::TreeError;
use waxseal_formats::merkle::Hash;
use waxseal_formats::tile::{HashTile, TILE_WIDTH, TileId, TileKind};

impl CtLog {
    /// The index of the leaf with this hash, if the log has it.
    pub(super) async fn find_leaf(&self, hash: &Hash) -> Result<Option<u64>, TreeError> {
        Ok(self.log.find_leaf(hash).await?.map(|original| original.index))
    }

    /// Entries as they are stored, from `first` to `last` inclusive, both published; there may be fewer, but not none.
    pub(super) async fn bodies(&self, first: u64, last: u64) -> Result<Vec<Vec<u8>>, TreeError> {
        self.log.entries(first, last).await
    }

    /// Hashes of leaves from `first` on, as far as the tile with that one goes in the published tree.
    pub(super) async fn leaf_hashes(&self, first: u64) -> Result<Vec<Hash>, TreeError> {
        let Some(id) = TileId::in_tree(TileKind::Hash(0), first / TILE_WIDTH, self.log.published().size) else {
            return Ok(Vec::new());
        };
        let Some(file) = self.log.tile(id).await? else { return Ok(Vec::new()) };
        let hashes = HashTile::parse(&id, &file.bytes).map_err(|error| TreeError::Damaged { id, error })?;
        let before = usize::try_from(first % TILE_WIDTH).unwrap_or(usize::MAX);
        Ok(hashes.hashes().iter().skip(before).copied().collect())
    }
}
