//! What the readers of the certificate log ask of its tree. Every proof is checked against the published checkpoint before it is
//! served: a proof from a damaged or forged tile never leaves the log (security row 9).

use crate::server::drive::{Head, LogHandle, TreeError};
use waxseal_formats::merkle::{
    EMPTY_ROOT, Hash, ProofError, root_from_inclusion_proof, verify_consistency, verify_inclusion,
};

/// The published tree at the beginning of one request.
pub(super) struct Tree<'a> {
    log: &'a LogHandle,
    head: Head,
}

impl<'a> Tree<'a> {
    pub(super) fn published(log: &'a LogHandle) -> Self {
        Self { log, head: log.published() }
    }

    /// Leaves in it.
    pub(super) const fn size(&self) -> u64 {
        self.head.size
    }

    /// Its checkpoint.
    pub(super) fn note(&self) -> &str {
        &self.head.note
    }

    /// The hash of a leaf and its audit path in the tree of `size` leaves, which must be part of this one.
    pub(super) async fn inclusion(&self, index: u64, size: u64) -> Result<(Hash, Vec<Hash>), TreeError> {
        let root = self.root(size).await?;
        let (leaf, proof) = self.log.inclusion(index, size).await?;
        verify_inclusion(index, size, &leaf, &proof, &root).map_err(TreeError::Proof)?;
        Ok((leaf, proof))
    }

    /// The proof that the tree of `second` leaves, which must be part of this one, extends the one of `first` leaves.
    pub(super) async fn consistency(&self, first: u64, second: u64) -> Result<Vec<Hash>, TreeError> {
        if first == 0 {
            return Ok(Vec::new());
        }
        let (old, new) = (self.root(first).await?, self.root(second).await?);
        let proof = self.log.consistency(first, second).await?;
        verify_consistency(first, second, &proof, &old, &new).map_err(TreeError::Proof)?;
        Ok(proof)
    }

    /// The root of the tree of `size` leaves, proven to be part of the published one.
    async fn root(&self, size: u64) -> Result<Hash, TreeError> {
        if size == self.head.size {
            return Ok(self.head.root);
        }
        let Some(last) = size.checked_sub(1) else { return Ok(EMPTY_ROOT) };
        if size > self.head.size {
            return Err(TreeError::Proof(ProofError::OutOfRange { index: size, size: self.head.size }));
        }
        let (leaf, proof) = self.log.inclusion(last, size).await?;
        let root = root_from_inclusion_proof(last, size, &leaf, &proof).map_err(TreeError::Proof)?;
        let extends = self.log.consistency(size, self.head.size).await?;
        verify_consistency(size, self.head.size, &extends, &root, &self.head.root).map_err(TreeError::Proof)?;
        Ok(root)
    }
}
