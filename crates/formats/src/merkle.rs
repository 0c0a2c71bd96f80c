//! The Merkle tree of RFC 6962: hashes, proofs, and the right edge that grows it.
//!
//! ```text
//! leaf hash   SHA-256(0x00 ‖ leaf)                 RFC 6962 §2.1
//! node hash   SHA-256(0x01 ‖ left ‖ right)         RFC 6962 §2.1
//! empty tree  SHA-256("")
//! ```
//!
//! A tree of `n` leaves splits at the largest power of two below `n`, so every left subtree is *perfect* (2^k leaves, aligned).
//! A perfect subtree never changes once it is full and is named by [`NodeId`]; tiles store exactly these.

use crate::code::Code;
use crate::crypto::digest::{sha256, sha256_concat};

/// A SHA-256 tree hash, leaf or node.
pub type Hash = [u8; 32];

/// The root of the tree without leaves, SHA-256 of the empty string (RFC 6962 §2.1).
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The hash of a leaf: SHA-256(0x00 ‖ `leaf`) (RFC 6962 §2.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256_concat(&[&[0], leaf])
}

/// The hash of an inner node: SHA-256(0x01 ‖ `left` ‖ `right`) (RFC 6962 §2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [0u8; 65];
    let (prefix, children) = input.split_at_mut(1);
    let (l, r) = children.split_at_mut(32);
    prefix.copy_from_slice(&[1]);
    l.copy_from_slice(left);
    r.copy_from_slice(right);
    sha256(&input)
}

/// A perfect subtree: it covers the leaves `index << level .. (index + 1) << level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// Height above the leaves, 0 to 63.
    pub level: u8,
    /// Position among the nodes of this height, from the left.
    pub index: u64,
}

/// Why a proof was refused. All of these are `log.proof-invalid`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf lies outside the tree, or the tree sizes are in the wrong order.
    #[error("index {index} is not inside a tree of {size} leaves")]
    OutOfRange {
        /// Leaf index, or the smaller tree's size.
        index: u64,
        /// Size of the (larger) tree.
        size: u64,
    },
    /// A proof for this index and size has exactly one possible number of hashes.
    #[error("the proof has {found} hashes where {expected} are needed")]
    Length {
        /// Hashes that the index and size demand.
        expected: usize,
        /// Hashes given.
        found: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof does not lead to the root hash")]
    Root,
}

impl ProofError {
    /// The stable reason code.
    pub fn code(&self) -> Code {
        Code::LOG_PROOF_INVALID
    }
}

/// Recomputes the root of a tree of `size` leaves from the hash of the leaf at `index` and its audit path, lowest hash first
/// (RFC 9162 §2.1.3.2).
///
/// The number of hashes has to be exactly the one that `index` and `size` imply: a surplus hash is refused, not ignored.
pub fn root_from_inclusion_proof(index: u64, size: u64, leaf_hash: &Hash, proof: &[Hash]) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { index, size });
    }
    let (inner, border) = proof_shape(index, size);
    let expected = inner.saturating_add(border);
    let Some((below, above)) = (proof.len() == expected).then(|| proof.split_at(inner)) else {
        return Err(ProofError::Length { expected, found: proof.len() });
    };
    Ok(chain_border(chain_inner(*leaf_hash, below, index), above))
}

/// Checks that the leaf at `index` is in the tree of `size` leaves with the root `root`.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf_hash: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if root_from_inclusion_proof(index, size, leaf_hash, proof)? == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks that the tree of `new_size` leaves extends the one of `old_size` leaves (RFC 9162 §2.1.4.2).
///
/// Equal sizes and an old size of 0 have the empty proof; for the latter `old_root` has to be [`EMPTY_ROOT`].
pub fn verify_consistency(
    old_size: u64,
    new_size: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::OutOfRange { index: old_size, size: new_size });
    }
    if old_size == new_size || old_size == 0 {
        if !proof.is_empty() {
            return Err(ProofError::Length { expected: 0, found: proof.len() });
        }
        let same = if old_size == 0 { *old_root == EMPTY_ROOT } else { old_root == new_root };
        let empty = new_size != 0 || *new_root == EMPTY_ROOT;
        return if same && empty { Ok(()) } else { Err(ProofError::Root) };
    }

    // The proof speaks of the last leaf of the old tree, seen from the largest perfect subtree that ends with it. If that
    // subtree is the whole old tree, its hash is the old root and is not repeated in the proof.
    let shift = old_size.trailing_zeros();
    let last = old_size.saturating_sub(1);
    let (inner, border) = proof_shape(last, new_size);
    let inner = inner.saturating_sub(shift as usize);
    let seed_given = !old_size.is_power_of_two();
    let expected = inner.saturating_add(border).saturating_add(usize::from(seed_given));
    if proof.len() != expected {
        return Err(ProofError::Length { expected, found: proof.len() });
    }
    let (seed, rest) = match proof.split_first() {
        Some((first, rest)) if seed_given => (*first, rest),
        _ => (*old_root, proof),
    };
    let (below, above) = rest.split_at(inner);
    let position = last >> shift;
    let old = chain_border(chain_inner_right(seed, below, position), above);
    let new = chain_border(chain_inner(seed, below, position), above);
    if old == *old_root && new == *new_root { Ok(()) } else { Err(ProofError::Root) }
}

/// How many proof hashes lie below and above the point where the path to `index` meets the right edge of the tree.
fn proof_shape(index: u64, size: u64) -> (usize, usize) {
    let meet = 64u32.saturating_sub((index ^ size.saturating_sub(1)).leading_zeros());
    let border = index.checked_shr(meet).unwrap_or(0).count_ones();
    (meet as usize, border as usize)
}

fn chain_inner(seed: Hash, proof: &[Hash], index: u64) -> Hash {
    let mut index = index;
    proof.iter().fold(seed, |hash, sibling| {
        let right = index & 1 == 1;
        index >>= 1;
        if right { node_hash(sibling, &hash) } else { node_hash(&hash, sibling) }
    })
}

/// As [`chain_inner`], using only the siblings on the left: those that the old tree had already.
fn chain_inner_right(seed: Hash, proof: &[Hash], index: u64) -> Hash {
    let mut index = index;
    proof.iter().fold(seed, |hash, sibling| {
        let right = index & 1 == 1;
        index >>= 1;
        if right { node_hash(sibling, &hash) } else { hash }
    })
}

fn chain_border(seed: Hash, proof: &[Hash]) -> Hash {
    proof.iter().fold(seed, |hash, sibling| node_hash(sibling, &hash))
}

/// The right edge of a tree: the roots of its perfect subtrees, largest first, and nothing else (at most 64 hashes).
///
/// This is all that appending and the root need, whatever the tree's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    peaks: Vec<Hash>,
}

impl CompactRange {
    /// The edge of the tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up the edge of a tree of `size` leaves; `peaks` are its perfect subtrees, largest first. `None` if their number
    /// is not the number of ones in `size`.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// The perfect subtrees whose hashes [`CompactRange::from_peaks`] wants for a tree of `size` leaves, in that order.
    pub fn peak_ids(size: u64) -> Vec<NodeId> {
        LeafRange { start: 0, end: size }.perfect_subtrees().collect()
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Hashes of the perfect subtrees, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf hash and hands every perfect subtree that it completes, the leaf itself first, to `completed`. Returns
    /// the new leaf's index, or `None` if the tree has 2^64 − 1 leaves.
    pub fn append(&mut self, leaf_hash: Hash, mut completed: impl FnMut(NodeId, &Hash)) -> Option<u64> {
        let index = self.size;
        let new_size = index.checked_add(1)?;
        let mut node = NodeId { level: 0, index };
        let mut hash = leaf_hash;
        completed(node, &hash);
        while node.index & 1 == 1 {
            // An odd index has its left sibling as the last peak: `peaks` has one hash for each one bit of the size.
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            node = NodeId { level: node.level.saturating_add(1), index: node.index >> 1 };
            completed(node, &hash);
        }
        self.peaks.push(hash);
        self.size = new_size;
        Some(index)
    }

    /// The root hash of the tree ([`EMPTY_ROOT`] without leaves).
    pub fn root(&self) -> Hash {
        join(&self.peaks)
    }
}

/// The leaves `start..end` of a subtree of the split described above; perfect if their number is a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafRange {
    /// First leaf.
    pub start: u64,
    /// One past the last leaf.
    pub end: u64,
}

impl LeafRange {
    /// The perfect subtrees that the range consists of, largest first. Their hashes, joined from the right, are its hash.
    pub fn perfect_subtrees(self) -> impl Iterator<Item = NodeId> {
        let (mut start, mut rest) = (self.start, self.end.saturating_sub(self.start));
        std::iter::from_fn(move || {
            let level = 63u32.checked_sub(rest.leading_zeros())?;
            let node = NodeId { level: level as u8, index: start >> level };
            start = start.saturating_add(1u64 << level);
            rest ^= 1u64 << level;
            Some(node)
        })
    }

    /// The root hash of the range; `node` as for [`inclusion_proof`].
    pub fn hash<E>(self, node: &mut impl FnMut(NodeId) -> Result<Hash, E>) -> Result<Hash, E> {
        let peaks = self.perfect_subtrees().map(node).collect::<Result<Vec<_>, E>>()?;
        Ok(join(&peaks))
    }
}

/// The root over perfect subtrees given largest first.
fn join(peaks: &[Hash]) -> Hash {
    peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT)
}

/// The subtrees whose hashes are the audit path of the leaf at `index` in the tree of `size` leaves, lowest first. `None` if
/// `index` is not below `size`. At most one of them, the one that ends with the tree, is not perfect.
pub fn audit_path(index: u64, size: u64) -> Option<Vec<LeafRange>> {
    if index >= size {
        return None;
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while let Some(middle) = split(start, end) {
        if index < middle {
            path.push(LeafRange { start: middle, end });
            end = middle;
        } else {
            path.push(LeafRange { start, end: middle });
            start = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// The audit path of the leaf at `index` in the tree of `size` leaves, lowest hash first (RFC 6962 §2.1.1).
///
/// `node` delivers the hash of a perfect subtree of that tree, from memory or from a tile; its error is passed on. `Ok(None)`
/// if `index` is not below `size`.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    mut node: impl FnMut(NodeId) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    audit_path(index, size).map(|path| path.into_iter().map(|range| range.hash(&mut node)).collect()).transpose()
}

/// The proof that the tree of `new_size` leaves extends the one of `old_size` leaves (RFC 6962 §2.1.2), lowest hash first.
///
/// `node` as for [`inclusion_proof`]. `Ok(None)` if `old_size` exceeds `new_size`.
pub fn consistency_proof<E>(
    old_size: u64,
    new_size: u64,
    mut node: impl FnMut(NodeId) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if old_size > new_size {
        return Ok(None);
    }
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, new_size);
    while old_size != 0 && end != old_size {
        // `old_size` lies strictly between start and end, so the range has at least two leaves.
        let Some(middle) = split(start, end) else { break };
        if old_size <= middle {
            proof.push(LeafRange { start: middle, end }.hash(&mut node)?);
            end = middle;
        } else {
            proof.push(LeafRange { start, end: middle }.hash(&mut node)?);
            start = middle;
        }
    }
    if start != 0 {
        proof.push(LeafRange { start, end }.hash(&mut node)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// The root of the tree of `size` leaves, from its perfect subtrees; `node` as for [`inclusion_proof`].
pub fn root<E>(size: u64, mut node: impl FnMut(NodeId) -> Result<Hash, E>) -> Result<Hash, E> {
    LeafRange { start: 0, end: size }.hash(&mut node)
}

/// Where the subtree over `start..end` splits: after the largest power of two below its number of leaves. `None` for a leaf.
fn split(start: u64, end: u64) -> Option<u64> {
    let last = end.checked_sub(start)?.checked_sub(1)?;
    let level = 63u32.checked_sub(last.leading_zeros())?;
    start.checked_add(1u64 << level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_merkle::digest::array::Array;
    use ct_merkle::digest::consts::U32;
    use ct_merkle::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Update};
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    /// SHA-256 as ct-merkle wants it; the tree logic is all the oracle's own.
    #[derive(Clone, Default)]
    struct Sha256(Vec<u8>);
    impl HashMarker for Sha256 {}
    impl OutputSizeUser for Sha256 {
        type OutputSize = U32;
    }
    impl Update for Sha256 {
        fn update(&mut self, data: &[u8]) {
            self.0.extend_from_slice(data);
        }
    }
    impl FixedOutput for Sha256 {
        fn finalize_into(self, out: &mut Output<Self>) {
            *out = Array(sha256(&self.0));
        }
    }

    #[derive(Default)]
    struct Tree {
        edge: CompactRange,
        nodes: BTreeMap<NodeId, Hash>,
        roots: Vec<Hash>,
        oracle: MemoryBackedTree<Sha256, Vec<u8>>,
    }

    fn leaf(index: u64) -> Vec<u8> {
        format!("leaf {index}").into_bytes()
    }

    impl Tree {
        fn of(size: u64) -> Self {
            let mut tree = Self { roots: vec![EMPTY_ROOT], ..Self::default() };
            for index in 0..size {
                let nodes = &mut tree.nodes;
                let at =
                    tree.edge.append(leaf_hash(&leaf(index)), |id, hash| assert!(nodes.insert(id, *hash).is_none()));
                assert_eq!(at, Some(index));
                tree.roots.push(tree.edge.root());
                tree.oracle.push(leaf(index));
            }
            tree
        }

        fn node(&self) -> impl FnMut(NodeId) -> Result<Hash, Infallible> + '_ {
            |id| Ok(self.nodes[&id])
        }

        fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
            inclusion_proof(index, size, self.node()).unwrap().unwrap()
        }

        fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
            consistency_proof(old, new, self.node()).unwrap().unwrap()
        }
    }

    fn oracle_root(root: &Hash, size: u64) -> RootHash<Sha256> {
        RootHash::new(Array(*root), size)
    }

    #[test]
    fn hashes_match_published_values() {
        assert_eq!(sha256(b""), EMPTY_ROOT);
        assert_eq!(CompactRange::new().root(), EMPTY_ROOT);
        // server-protocols.md, appendix B.
        let expected = "28a3a18f6cd6406b086e9ffda1f9b8a13dbcf44b0f3f32cb9031a11fd053acf9";
        assert_eq!(hex::encode(leaf_hash(b"{}")), expected);
    }

    #[test]
    fn every_proof_of_small_trees_agrees_with_the_oracle() {
        const SIZE: u64 = 40;
        let tree = Tree::of(SIZE);
        for size in 1..=SIZE {
            let small = Tree::of(size);
            let root = small.edge.root();
            assert_eq!(root.as_slice(), small.oracle.root().as_bytes().as_slice());
            assert_eq!(super::root(size, tree.node()).unwrap(), root);
            for index in 0..size {
                let proof = tree.inclusion(index, size);
                assert_eq!(proof.concat(), small.oracle.prove_inclusion(index as usize).as_bytes());
                verify_inclusion(index, size, &leaf_hash(&leaf(index)), &proof, &root).unwrap();
            }
            for old in 1..=size {
                let proof = tree.consistency(old, size);
                if old < size {
                    assert_eq!(proof.concat(), small.oracle.prove_consistency((size - old) as usize).as_bytes());
                }
                verify_consistency(old, size, &proof, &tree.roots[old as usize], &root).unwrap();
            }
        }
        assert_eq!(tree.consistency(0, SIZE), Vec::<Hash>::new());
        verify_consistency(0, SIZE, &[], &EMPTY_ROOT, &tree.edge.root()).unwrap();
    }

    #[test]
    fn the_right_edge_is_taken_up_from_its_peaks() {
        let tree = Tree::of(300);
        for size in [0, 1, 2, 3, 5, 8, 255, 256, 257, 299] {
            let peaks = CompactRange::peak_ids(size).into_iter().map(|id| tree.nodes[&id]).collect();
            let mut edge = CompactRange::from_peaks(size, peaks).unwrap();
            assert_eq!(edge.root(), tree.roots[size as usize]);
            edge.append(leaf_hash(&leaf(size)), |_, _| ()).unwrap();
            assert_eq!(edge.root(), tree.roots[size as usize + 1]);
        }
        assert_eq!(CompactRange::from_peaks(3, vec![EMPTY_ROOT]), None);
    }

    #[test]
    fn proofs_outside_the_tree_do_not_exist() {
        let tree = Tree::of(7);
        assert_eq!(inclusion_proof(7, 7, tree.node()).unwrap(), None);
        assert_eq!(inclusion_proof(0, 0, tree.node()).unwrap(), None);
        assert_eq!(consistency_proof(8, 7, tree.node()).unwrap(), None);
    }

    #[test]
    fn refused_inclusion_index_outside_the_tree() {
        let hash = leaf_hash(&leaf(0));
        for (index, size) in [(0, 0), (1, 1), (u64::MAX, u64::MAX)] {
            let error = root_from_inclusion_proof(index, size, &hash, &[]).unwrap_err();
            assert_eq!((error.code(), &error), (Code::LOG_PROOF_INVALID, &ProofError::OutOfRange { index, size }));
        }
    }

    #[test]
    fn refused_inclusion_proof_with_stray_or_missing_hashes() {
        let tree = Tree::of(11);
        let hash = leaf_hash(&leaf(4));
        let proof = tree.inclusion(4, 11);
        let mut long = proof.clone();
        long.push(EMPTY_ROOT);
        for bad in [&proof[1..], &proof[..3], &long, &[]] {
            let error = verify_inclusion(4, 11, &hash, bad, &tree.edge.root()).unwrap_err();
            assert_eq!(error, ProofError::Length { expected: proof.len(), found: bad.len() });
            assert_eq!(error.code(), Code::LOG_PROOF_INVALID);
        }
        // A leaf that is the whole tree has no proof.
        let error = root_from_inclusion_proof(0, 1, &hash, &[EMPTY_ROOT]).unwrap_err();
        assert_eq!(error, ProofError::Length { expected: 0, found: 1 });
    }

    #[test]
    fn refused_consistency_with_a_forked_shrunk_or_invented_tree() {
        let tree = Tree::of(11);
        let new = tree.edge.root();
        let proof = tree.consistency(6, 11);
        let code = |result: Result<(), ProofError>| {
            let error = result.unwrap_err();
            assert_eq!(error.code(), Code::LOG_PROOF_INVALID);
            error
        };
        assert_eq!(code(verify_consistency(6, 11, &proof, &tree.roots[5], &new)), ProofError::Root);
        assert_eq!(code(verify_consistency(6, 11, &proof, &tree.roots[6], &tree.roots[10])), ProofError::Root);
        assert_eq!(code(verify_consistency(12, 11, &[], &new, &new)), ProofError::OutOfRange { index: 12, size: 11 });
        for bad in [&proof[1..], &[]] {
            let error = code(verify_consistency(6, 11, bad, &tree.roots[6], &new));
            assert_eq!(error, ProofError::Length { expected: proof.len(), found: bad.len() });
        }
        assert_eq!(code(verify_consistency(11, 11, &[], &tree.roots[10], &new)), ProofError::Root);
        assert_eq!(code(verify_consistency(11, 11, &proof, &new, &new)), ProofError::Length { expected: 0, found: 4 });
        assert_eq!(code(verify_consistency(0, 11, &[], &new, &new)), ProofError::Root);
        assert_eq!(code(verify_consistency(0, 0, &[], &EMPTY_ROOT, &new)), ProofError::Root);
        assert_eq!(
            code(verify_consistency(0, 11, &proof, &EMPTY_ROOT, &new)),
            ProofError::Length { expected: 0, found: 4 }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_change_of_an_inclusion_proof_is_refused(size in 2u64..600, at: prop::sample::Index, flip: prop::sample::Index) {
            let tree = Tree::of(size);
            let index = at.index(size as usize) as u64;
            let (root, hash) = (tree.edge.root(), leaf_hash(&leaf(index)));
            let mut proof = tree.inclusion(index, size);
            verify_inclusion(index, size, &hash, &proof, &root).unwrap();
            let bit = flip.index(proof.len() * 256);
            proof[bit / 256][(bit % 256) / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(verify_inclusion(index, size, &hash, &proof, &root), Err(ProofError::Root));
            let oracle = oracle_root(&root, size);
            let refused = InclusionProof::try_from_bytes(proof.concat()).unwrap();
            prop_assert!(oracle.verify_inclusion(&leaf(index), index, &refused).is_err());
        }

        #[test]
        fn any_change_of_a_consistency_proof_is_refused(new in 3u64..600, at: prop::sample::Index, flip: prop::sample::Index) {
            let tree = Tree::of(new);
            let old = 1 + at.index(new as usize - 1) as u64;
            let (old_root, root) = (tree.roots[old as usize], tree.edge.root());
            let mut proof = tree.consistency(old, new);
            verify_consistency(old, new, &proof, &old_root, &root).unwrap();
            let bit = flip.index(proof.len() * 256);
            proof[bit / 256][(bit % 256) / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(verify_consistency(old, new, &proof, &old_root, &root), Err(ProofError::Root));
            let refused = ConsistencyProof::try_from_bytes(proof.concat()).unwrap();
            prop_assert!(oracle_root(&root, new).verify_consistency(&oracle_root(&old_root, old), &refused).is_err());
        }

        #[test]
        fn arbitrary_proofs_never_panic(index: u64, size: u64, proof in prop::collection::vec(any::<Hash>(), 0..70)) {
            let _ = root_from_inclusion_proof(index, size, &EMPTY_ROOT, &proof);
            let _ = verify_consistency(index, size, &proof, &EMPTY_ROOT, &EMPTY_ROOT);
        }

        #[test]
        fn verification_agrees_with_the_oracle_far_to_the_right(index in 0u64..=u64::MAX / 2, size in 1u64..=u64::MAX / 2) {
            // No tree is this large, but the shape of its proofs is known.
            prop_assume!(index < size);
            let expected = ct_merkle::indices_for_inclusion_proof(size, index).len();
            prop_assert!(root_from_inclusion_proof(index, size, &EMPTY_ROOT, &vec![EMPTY_ROOT; expected]).is_ok());
            prop_assert!(root_from_inclusion_proof(index, size, &EMPTY_ROOT, &vec![EMPTY_ROOT; expected + 1]).is_err());
        }
    }
}
