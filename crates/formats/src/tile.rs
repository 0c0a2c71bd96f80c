//! Tiles (C2SP tlog-tiles): the tree in immutable files of 256 hashes, and the entries in bundles of 256.
//!
//! ```text
//! tile/0/x001/x234/067        hash tile, level 0, number 1234067, 256 hashes
//! tile/1/000.p/19             hash tile, level 1, number 0, its first 19 hashes
//! tile/entries/000.p/255      entry bundle (Rekor v2)
//! tile/data/001               data tile (static-CT)
//! ```
//!
//! A hash tile of level `l` holds the perfect subtrees of height `8·l`: one tile answers for eight levels of the tree.

use std::fmt;

use crate::code::Code;
use crate::merkle::{Hash, NodeId, node_hash};

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;
/// Levels of the tree that one hash tile covers.
pub const TILE_HEIGHT: u8 = 8;
/// Highest level of a hash tile that a tree of less than 2^64 leaves can have.
pub const MAX_LEVEL: u8 = 7;
/// Largest entry of an entry bundle, in bytes: its length is a u16.
pub const MAX_ENTRY: usize = 65_535;
/// Bytes of a full hash tile.
pub const HASH_TILE_LEN: usize = 8192;

/// Longest path that is parsed, in bytes; the longest possible one has 49.
const MAX_PATH: usize = 64;

/// Which kind of tile, the path element after `tile/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of this tile level, 0 to [`MAX_LEVEL`].
    Hash(u8),
    /// Entry bundle, `tile/entries/…` (C2SP tlog-tiles, "Log entries").
    Entries,
    /// Data tile of a CT log, `tile/data/…` (C2SP static-ct-api, "Log entries").
    Data,
}

/// The address of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// What it holds.
    pub kind: TileKind,
    /// Number within its kind, from the left.
    pub index: u64,
    /// Hashes or entries in it: 1 to 256; 256 is a full tile, which never changes.
    pub width: u16,
}

impl TileId {
    /// The full tile of this kind and number.
    pub fn full(kind: TileKind, index: u64) -> Self {
        Self { kind, index, width: TILE_WIDTH as u16 }
    }

    /// Whether the tile has all its 256 hashes or entries.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// Parses a path such as `tile/0/x001/067.p/9`, in its canonical form only: no leading slash, no spare zeros, widths 1 to
    /// 255 after `.p/`. Nothing else than digits, `x` and these words gets through, so a parsed path cannot leave its directory.
    pub fn parse(path: &str) -> Option<Self> {
        if path.len() > MAX_PATH {
            return None;
        }
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            "data" => TileKind::Data,
            level => TileKind::Hash(canonical_number(level)?.try_into().ok().filter(|l| *l <= MAX_LEVEL)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, canonical_number(width).filter(|w| (1..TILE_WIDTH).contains(w))?),
            None => (rest, TILE_WIDTH),
        };
        let id = Self { kind, index: parse_index(number)?, width: u16::try_from(width).ok()? };
        // Several spellings denote one number (`x000/001`): only the one that we would write is an address.
        (id.to_string() == path).then_some(id)
    }

    /// How many hashes or entries a tree of `size` leaves has in all its tiles of this kind.
    pub fn values(kind: TileKind, size: u64) -> u64 {
        match kind {
            TileKind::Hash(level) => size.checked_shr(u32::from(level).saturating_mul(8)).unwrap_or(0),
            TileKind::Entries | TileKind::Data => size,
        }
    }

    /// The widest form of tile `index` of this kind in a tree of `size` leaves; `None` if that tree has nothing in it.
    pub fn in_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let start = index.checked_mul(TILE_WIDTH)?;
        let width = Self::values(kind, size).checked_sub(start)?.min(TILE_WIDTH);
        (width > 0).then_some(Self { kind, index, width: width as u16 })
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hash(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
            TileKind::Data => f.write_str("tile/data/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (place, group) in groups.iter().enumerate().rev() {
            if place == 0 { write!(f, "{group:03}")? } else { write!(f, "x{group:03}/")? }
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

fn canonical_number(text: &str) -> Option<u64> {
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    canonical.then(|| text.parse().ok()).flatten()
}

fn parse_index(text: &str) -> Option<u64> {
    text.split('/').try_fold(0u64, |number, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let three = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
        let group = three.then(|| digits.parse::<u64>().ok()).flatten()?;
        number.checked_mul(1000)?.checked_add(group)
    })
}

/// Why a tile was refused. Both are `log.proof-invalid`: what it would have proven is not proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// The tile does not have the number of bytes that its width demands.
    #[error("a hash tile of width {width} has {found} bytes")]
    Length {
        /// Hashes that the tile should have.
        width: u16,
        /// Bytes that it has.
        found: usize,
    },
    /// An entry bundle does not have the entries that its width demands, each with its length.
    #[error("an entry bundle of width {width} does not hold {width} entries")]
    Bundle {
        /// Entries that the bundle should have.
        width: u16,
    },
    /// The tile does not cover the node that was asked for.
    #[error("the tile does not cover the node")]
    Node,
}

impl TileError {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        Code::LOG_PROOF_INVALID
    }
}

/// The hashes of a tile, 1 to 256, from its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTile {
    hashes: Vec<Hash>,
}

impl HashTile {
    /// Reads the file of tile `id`: exactly 32 bytes for each hash of its width.
    pub fn parse(id: &TileId, file: &[u8]) -> Result<Self, TileError> {
        let (hashes, rest) = file.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != usize::from(id.width) {
            return Err(TileError::Length { width: id.width, found: file.len() });
        }
        Ok(Self { hashes: hashes.to_vec() })
    }

    /// A tile of these hashes; `None` unless they are 1 to 256.
    pub fn new(hashes: Vec<Hash>) -> Option<Self> {
        (1..=TILE_WIDTH as usize).contains(&hashes.len()).then_some(Self { hashes })
    }

    /// The hashes, from the left.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The hash of a perfect subtree that this tile covers, `node` as returned by [`locate`]: hashed together from its part of
    /// the tile.
    pub fn node(&self, place: &TilePlace) -> Result<Hash, TileError> {
        let slice = self.hashes.get(place.first..place.first.saturating_add(place.count)).ok_or(TileError::Node)?;
        perfect_root(slice).ok_or(TileError::Node)
    }
}

/// The root over a power of two of hashes; `None` for another number.
fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied()
}

/// Where a perfect subtree stands in the tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePlace {
    /// Level of the hash tile.
    pub level: u8,
    /// Number of the tile.
    pub index: u64,
    /// Position of its first hash in the tile, 0 to 255.
    pub first: usize,
    /// Number of hashes that it covers: 1, 2, 4, … 128.
    pub count: usize,
}

/// Where the perfect subtree `node` stands; `None` if no tree of less than 2^64 leaves has it.
pub fn locate(node: NodeId) -> Option<TilePlace> {
    if node.level > 63 {
        return None;
    }
    let height = u32::from(node.level % TILE_HEIGHT);
    let first_value = node.index.checked_mul(1u64.checked_shl(height)?)?;
    Some(TilePlace {
        level: node.level / TILE_HEIGHT,
        index: first_value / TILE_WIDTH,
        first: (first_value % TILE_WIDTH) as usize,
        count: 1usize.checked_shl(height)?,
    })
}

/// Writes one entry of an entry bundle: u16 length ‖ entry. `None` if it has more than [`MAX_ENTRY`] bytes.
pub fn encode_bundle_entry(entry: &[u8], bundle: &mut Vec<u8>) -> Option<()> {
    let length = u16::try_from(entry.len()).ok()?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Some(())
}

/// Splits the file of entry bundle `id` into its entries: exactly as many as its width says.
pub fn parse_bundle<'a>(id: &TileId, file: &'a [u8]) -> Result<Vec<&'a [u8]>, TileError> {
    let malformed = TileError::Bundle { width: id.width };
    let mut entries = Vec::new();
    let mut rest = file;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, tail) = tail.split_at_checked(length).ok_or_else(|| malformed.clone())?;
        if entries.len() == usize::from(id.width) {
            return Err(malformed);
        }
        entries.push(entry);
        rest = tail;
    }
    if rest.is_empty() && entries.len() == usize::from(id.width) { Ok(entries) } else { Err(malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::SignedCheckpoint;
    use crate::merkle::{self, CompactRange, leaf_hash};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use waxseal_testkit::{Vectors, vectors};

    /// A recorded tile log of `vectors/private-instance`.
    struct Recorded {
        vectors: Vectors,
        log: &'static str,
    }

    impl Recorded {
        fn open(log: &'static str) -> Option<Self> {
            vectors().map(|vectors| Self { vectors, log })
        }

        fn checkpoint(&self) -> SignedCheckpoint {
            SignedCheckpoint::parse(&self.vectors.text(&format!("private-instance/{}/checkpoint", self.log))).unwrap()
        }

        /// Every tile of `kind` in the tree of `size` leaves.
        fn tiles(&self, kind: TileKind, size: u64) -> Vec<(TileId, Vec<u8>)> {
            let read = |id: TileId| self.vectors.read(&format!("private-instance/{}/{id}", self.log));
            (0..).map_while(|index| TileId::in_tree(kind, index, size)).map(|id| (id, read(id))).collect()
        }
    }

    #[test]
    fn paths_are_written_as_the_specification_says() {
        let path = |kind, index, width| TileId { kind, index, width }.to_string();
        assert_eq!(path(TileKind::Hash(0), 0, 256), "tile/0/000");
        assert_eq!(path(TileKind::Hash(7), 1000, 1), "tile/7/x001/000.p/1");
        assert_eq!(path(TileKind::Entries, 1_234_067, 255), "tile/entries/x001/x234/067.p/255");
        assert_eq!(path(TileKind::Data, u64::MAX, 256), "tile/data/x018/x446/x744/x073/x709/x551/615");
    }

    #[test]
    fn traversal_and_every_other_spelling_of_a_path_is_refused() {
        for path in [
            "",
            "tile/",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/0/../000",
            "tile/0/..",
            "tile/0/000/",
            "tile//000",
            "tile/8/000",
            "tile/00/000",
            "tile/+1/000",
            "tile/-1/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/x001",
            "tile/0/001/002",
            "tile/0/x001/x002",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/000.p/1/2",
            "tile/0/000.p/../1",
            "tile/0/000\0",
            "tile/entries/x001/x234/06٧",
            "tile/leaves/000",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(TileId::parse(path), None, "{path:?}");
        }
        assert_eq!(TileId::parse(&format!("tile/0/{}", "x001/".repeat(1000))), None);
    }

    #[test]
    fn tiles_of_a_tree() {
        let in_tree = |kind, index, size| TileId::in_tree(kind, index, size).map(|id| id.width);
        assert_eq!(in_tree(TileKind::Hash(0), 0, 0), None);
        assert_eq!(in_tree(TileKind::Hash(0), 0, 255), Some(255));
        assert_eq!(in_tree(TileKind::Entries, 0, 256), Some(256));
        assert_eq!(in_tree(TileKind::Data, 1, 256), None);
        assert_eq!(in_tree(TileKind::Hash(1), 0, 255), None);
        assert_eq!(in_tree(TileKind::Hash(1), 0, 440), Some(1));
        assert_eq!(in_tree(TileKind::Hash(7), 0, u64::MAX), Some(255));
        assert_eq!(in_tree(TileKind::Hash(0), u64::MAX, u64::MAX), None);
    }

    #[test]
    fn the_recorded_rekor_log_is_consistent_from_entry_to_checkpoint() {
        let Some(log) = Recorded::open("rekor-v2-log") else { return };
        let signed = log.checkpoint();
        let mut edge = CompactRange::new();
        let mut hashes = Vec::new();
        for (id, file) in log.tiles(TileKind::Entries, signed.checkpoint.size) {
            let mut written = Vec::new();
            for entry in parse_bundle(&id, &file).unwrap() {
                encode_bundle_entry(entry, &mut written).unwrap();
                hashes.push(leaf_hash(entry));
                edge.append(leaf_hash(entry), |_, _| ()).unwrap();
            }
            assert_eq!(written, file);
        }
        assert_eq!(edge.root(), signed.checkpoint.root);
        let level0: Vec<_> = log
            .tiles(TileKind::Hash(0), edge.size())
            .iter()
            .flat_map(|(id, file)| HashTile::parse(id, file).unwrap().hashes)
            .collect();
        assert_eq!(level0, hashes);
    }

    #[test]
    fn proofs_from_the_recorded_ct_tiles_lead_to_the_checkpoint() {
        let Some(log) = Recorded::open("ct-log") else { return };
        let signed = log.checkpoint();
        let size = signed.checkpoint.size;
        let mut hash_tiles = BTreeMap::new();
        for level in 0..=MAX_LEVEL {
            for (id, file) in log.tiles(TileKind::Hash(level), size) {
                hash_tiles.insert((level, id.index), HashTile::parse(&id, &file).unwrap());
            }
        }
        let node = |id| {
            let place = locate(id).unwrap();
            hash_tiles[&(place.level, place.index)].node(&place)
        };
        assert_eq!(merkle::root(size, node).unwrap(), signed.checkpoint.root);
        for index in (0..size).step_by(7) {
            let leaf = node(NodeId { level: 0, index }).unwrap();
            let proof = merkle::inclusion_proof(index, size, node).unwrap().unwrap();
            merkle::verify_inclusion(index, size, &leaf, &proof, &signed.checkpoint.root).unwrap();
        }
        for old in (1..=size).step_by(13) {
            let proof = merkle::consistency_proof(old, size, node).unwrap().unwrap();
            let root = merkle::root(old, node).unwrap();
            merkle::verify_consistency(old, size, &proof, &root, &signed.checkpoint.root).unwrap();
        }
    }

    #[test]
    fn tiles_of_another_length_than_their_width_are_refused() {
        let id = TileId { kind: TileKind::Hash(0), index: 0, width: 2 };
        assert_eq!(HashTile::parse(&id, &[7; 64]).unwrap().hashes(), [[7; 32]; 2]);
        for found in [0, 32, 63, 65, 96] {
            let error = HashTile::parse(&id, &vec![7; found]).unwrap_err();
            assert_eq!((&error, error.code()), (&TileError::Length { width: 2, found }, Code::LOG_PROOF_INVALID));
        }
    }

    #[test]
    fn a_partial_tile_does_not_answer_for_nodes_beyond_it() {
        let id = TileId { kind: TileKind::Hash(0), index: 0, width: 3 };
        let tile = HashTile::parse(&id, &[7; 96]).unwrap();
        assert!(tile.node(&locate(NodeId { level: 1, index: 0 }).unwrap()).is_ok());
        let error = tile.node(&locate(NodeId { level: 1, index: 1 }).unwrap()).unwrap_err();
        assert_eq!((&error, error.code()), (&TileError::Node, Code::LOG_PROOF_INVALID));
        assert_eq!(locate(NodeId { level: 64, index: 0 }), None);
        assert_eq!(locate(NodeId { level: 7, index: u64::MAX }), None);
    }

    #[test]
    fn bundles_with_other_entries_than_their_width_are_refused() {
        let id = TileId { kind: TileKind::Entries, index: 0, width: 2 };
        let mut bundle = Vec::new();
        encode_bundle_entry(b"one", &mut bundle).unwrap();
        encode_bundle_entry(b"", &mut bundle).unwrap();
        assert_eq!(parse_bundle(&id, &bundle).unwrap(), [b"one".as_slice(), b""]);
        for bad in [&bundle[..5], &bundle[..bundle.len() - 1], &[bundle.as_slice(), &[0, 0]].concat(), &[255, 255], &[]]
        {
            let error = parse_bundle(&id, bad).unwrap_err();
            assert_eq!((&error, error.code()), (&TileError::Bundle { width: 2 }, Code::LOG_PROOF_INVALID));
        }
        assert_eq!(encode_bundle_entry(&vec![0; MAX_ENTRY + 1], &mut bundle), None);
        assert_eq!(encode_bundle_entry(&vec![0; MAX_ENTRY], &mut bundle), Some(()));
    }

    proptest! {
        #[test]
        fn paths_come_back(index: u64, kind in 0u8..10, width in 1u16..=256) {
            let kind = match kind { 8 => TileKind::Entries, 9 => TileKind::Data, level => TileKind::Hash(level) };
            let id = TileId { kind, index, width };
            prop_assert_eq!(TileId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn what_parses_is_written_alike(path in "tile/([0-9]{1,2}|entries|data)/(x?[0-9]{3}/){0,3}[0-9]{3}(\\.p/[0-9]{1,3})?") {
            if let Some(id) = TileId::parse(&path) {
                prop_assert_eq!(id.to_string(), path);
            }
        }
    }
}
