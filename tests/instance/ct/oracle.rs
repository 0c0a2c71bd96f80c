//! The tree of a stranger: crate `ct-merkle`, of which only SHA-256 is ours.

use crate::instance::oracles::Sha256;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof};
use waxseal_formats::merkle::Hash;

/// The trees of the first leaves, by size.
pub(super) struct Oracle(Vec<MemoryBackedTree<Sha256, Vec<u8>>>);

impl Oracle {
    pub(super) fn new(leaves: impl Iterator<Item = Vec<u8>>) -> Self {
        let mut trees: Vec<MemoryBackedTree<Sha256, Vec<u8>>> = vec![MemoryBackedTree::new()];
        for leaf in leaves {
            let mut larger = MemoryBackedTree::new();
            for earlier in trees.last().into_iter().flat_map(MemoryBackedTree::items) {
                larger.push(earlier.clone());
            }
            larger.push(leaf);
            trees.push(larger);
        }
        Self(trees)
    }

    fn tree(&self, size: u64) -> &MemoryBackedTree<Sha256, Vec<u8>> {
        &self.0[usize::try_from(size).expect("small")]
    }

    pub(super) fn root(&self, size: u64) -> Hash {
        self.tree(size).root().as_bytes().as_slice().try_into().expect("32 bytes")
    }

    pub(super) fn check_inclusion(&self, index: u64, size: u64, proof: &[Hash]) {
        let tree = self.tree(size);
        let proof: InclusionProof<Sha256> = InclusionProof::try_from_bytes(proof.concat()).expect("a proof");
        let leaf = tree.get(usize::try_from(index).expect("small")).expect("a leaf");
        tree.root().verify_inclusion(leaf, index, &proof).expect("included");
    }

    pub(super) fn check_consistency(&self, first: u64, second: u64, proof: &[Hash]) {
        if first == 0 || first == second {
            assert!(proof.is_empty(), "{first} to {second}");
            return;
        }
        let proof: ConsistencyProof<Sha256> = ConsistencyProof::try_from_bytes(proof.concat()).expect("a proof");
        self.tree(second).root().verify_consistency(&self.tree(first).root(), &proof).expect("consistent");
    }
}
