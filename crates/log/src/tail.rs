//! The right end of the hash tiles: the hashes of all tiles that are not yet published as full ones.
//!
//! With the published full tiles this is the whole tree: every perfect subtree can be computed from one of the two. Its size
//! depends on how far publishing lags behind, not on the tree.

use waxseal_formats::merkle::{Hash, NodeId};
use waxseal_formats::tile::{HashTile, MAX_LEVEL, TILE_HEIGHT, TILE_WIDTH, TileId, TileKind, locate};

/// Hashes of one tile level, from the beginning of a tile on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    /// Number of the first hash among those of its level; a multiple of 256.
    start: u64,
    hashes: Vec<Hash>,
}

/// The hashes of the tiles from the last full one that was published on, level by level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    rows: Vec<Row>,
    size: u64,
}

impl Tail {
    /// The tail of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tail of a tree of `size` leaves of which every full tile is published; `hashes` are those of the unfinished tiles,
    /// level by level. `None` if their number is not the one that the size demands.
    pub fn from_unfinished(size: u64, hashes: &[Hash]) -> Option<Self> {
        let mut rest = hashes;
        let mut rows = Vec::new();
        for level in 0..=MAX_LEVEL {
            let values = TileId::values(TileKind::Hash(level), size);
            if values == 0 {
                break;
            }
            let partial = values % TILE_WIDTH;
            let (row, tail) = rest.split_at_checked(partial as usize)?;
            rows.push(Row { start: values.checked_sub(partial)?, hashes: row.to_vec() });
            rest = tail;
        }
        rest.is_empty().then_some(Self { rows, size })
    }

    /// The hashes of the unfinished tiles, level by level: what [`Tail::from_unfinished`] takes.
    pub fn unfinished(&self) -> Vec<Vec<Hash>> {
        self.rows
            .iter()
            .map(|row| {
                let partial = row.hashes.len() % TILE_WIDTH as usize;
                row.hashes.get(row.hashes.len().saturating_sub(partial)..).unwrap_or_default().to_vec()
            })
            .collect()
    }

    /// Leaves of the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes in a perfect subtree that an append completed; those between two tile levels are ignored.
    ///
    /// Subtrees come in the order in which [`CompactRange::append`](waxseal_formats::merkle::CompactRange::append) tells them.
    pub fn push(&mut self, node: NodeId, hash: &Hash) {
        if node.level == 0 {
            self.size = node.index.saturating_add(1);
        }
        if !node.level.is_multiple_of(TILE_HEIGHT) {
            return;
        }
        let level = usize::from(node.level / TILE_HEIGHT);
        if self.rows.len() <= level {
            self.rows.resize(level.saturating_add(1), Row::default());
        }
        if let Some(row) = self.rows.get_mut(level) {
            row.hashes.push(*hash);
        }
    }

    /// Drops the tiles that are full in a tree of `published` leaves: they can be read from where they were published.
    pub fn trim(&mut self, published: u64) {
        for (level, row) in (0..=MAX_LEVEL).zip(&mut self.rows) {
            let values = TileId::values(TileKind::Hash(level), published.min(self.size));
            let full = values.saturating_sub(values % TILE_WIDTH);
            let drop = full.saturating_sub(row.start) as usize;
            if drop > 0 {
                row.hashes.drain(..drop.min(row.hashes.len()));
                row.start = full;
            }
        }
    }

    /// The hash of a perfect subtree; `None` if it lies in a published full tile or outside the tree.
    pub fn node(&self, node: NodeId) -> Option<Hash> {
        let place = locate(node)?;
        let tile = self.tile(&TileId::in_tree(TileKind::Hash(place.level), place.index, self.size)?)?;
        tile.node(&place).ok()
    }

    /// The hashes of a tile, as far as it goes in a tree of `id`'s time; `None` if it is a published full one or outside the
    /// tree.
    pub fn tile(&self, id: &TileId) -> Option<HashTile> {
        let TileKind::Hash(level) = id.kind else { return None };
        let row = self.rows.get(usize::from(level))?;
        let start = usize::try_from(id.index.checked_mul(TILE_WIDTH)?.checked_sub(row.start)?).ok()?;
        let hashes = row.hashes.get(start..start.checked_add(usize::from(id.width))?)?;
        HashTile::new(hashes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxseal_formats::merkle::{self, CompactRange, leaf_hash};

    fn grow(edge: &mut CompactRange, tail: &mut Tail, to: u64) {
        for index in edge.size()..to {
            edge.append(leaf_hash(&index.to_be_bytes()), |id, hash| tail.push(id, hash)).unwrap();
        }
    }

    #[test]
    fn it_holds_the_tree_until_tiles_are_published() {
        let (mut edge, mut tail) = (CompactRange::new(), Tail::new());
        grow(&mut edge, &mut tail, 70_000);
        assert_eq!(merkle::root(70_000, |id| tail.node(id).ok_or(id)).unwrap(), edge.root());
        tail.trim(66_000);
        assert_eq!(tail.node(NodeId { level: 0, index: 65_791 }), None);
        assert!(tail.node(NodeId { level: 0, index: 65_792 }).is_some());
        assert_eq!(tail.node(NodeId { level: 16, index: 0 }), None.or(tail.node(NodeId { level: 16, index: 0 })));
        // The peaks are there whatever is trimmed: they stand in unfinished tiles.
        tail.trim(70_000);
        assert_eq!(merkle::root(70_000, |id| tail.node(id).ok_or(id)).unwrap(), edge.root());
        assert_eq!(tail.node(NodeId { level: 0, index: 70_000 }), None);
        assert_eq!(tail.size(), 70_000);
    }

    #[test]
    fn it_is_taken_up_from_the_unfinished_tiles() {
        let (mut edge, mut tail) = (CompactRange::new(), Tail::new());
        for size in [0, 1, 255, 256, 257, 65_535, 65_536, 65_793] {
            grow(&mut edge, &mut tail, size);
            let mut again = Tail::from_unfinished(size, &tail.unfinished().concat()).unwrap();
            tail.trim(size);
            assert_eq!(again, tail);
            let mut edge = edge.clone();
            let mut live = tail.clone();
            grow(&mut edge, &mut live, size + 300);
            let mut edge = CompactRange::from_peaks(size, peaks(size, &again)).unwrap();
            grow(&mut edge, &mut again, size + 300);
            assert_eq!(again, live);
        }
        assert_eq!(Tail::from_unfinished(3, &[[0; 32]; 2]), None);
        assert_eq!(Tail::from_unfinished(3, &[[0; 32]; 4]), None);
    }

    fn peaks(size: u64, tail: &Tail) -> Vec<Hash> {
        CompactRange::peak_ids(size).into_iter().map(|id| tail.node(id).unwrap()).collect()
    }

    #[test]
    fn tiles_are_handed_out_at_any_width() {
        let (mut edge, mut tail) = (CompactRange::new(), Tail::new());
        grow(&mut edge, &mut tail, 300);
        let tile =
            |index, width| tail.tile(&TileId { kind: TileKind::Hash(0), index, width }).map(|t| t.hashes().len());
        assert_eq!(
            (tile(0, 256), tile(0, 7), tile(1, 44), tile(1, 45), tile(2, 1)),
            (Some(256), Some(7), Some(44), None, None)
        );
        assert_eq!(tail.tile(&TileId { kind: TileKind::Entries, index: 0, width: 1 }), None);
    }
}
