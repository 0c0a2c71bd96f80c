//! What clients were told by the instance, and whether a log still says so.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use waxseal_formats::checkpoint::{Checkpoint, SignedCheckpoint};
use waxseal_formats::merkle::{CompactRange, Hash, verify_inclusion};

/// A log of the instance.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Log {
    RekorV2,
    RekorV1,
    Ct,
}

impl Log {
    pub(crate) const ALL: [Self; 3] = [Self::RekorV2, Self::RekorV1, Self::Ct];

    /// Its directory below `logs`.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::RekorV2 => "rekor",
            Self::RekorV1 => "rekor-v1",
            Self::Ct => "ct",
        }
    }

    /// Where its tiles are served; those of Rekor v1 are not.
    pub(crate) fn tiles(self) -> Option<&'static str> {
        match self {
            Self::RekorV2 => Some(""),
            Self::RekorV1 => None,
            Self::Ct => Some("/ctlog"),
        }
    }
}

/// What was said about one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledgements {
    /// Entries by index: their leaf hashes.
    entries: BTreeMap<u64, Hash>,
    /// Every checkpoint that was seen: sizes and their roots.
    checkpoints: BTreeMap<u64, Hash>,
}

/// What was said by one instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    logs: BTreeMap<Log, Acknowledgements>,
}

impl Acknowledged {
    /// Notes an entry.
    ///
    /// # Errors
    ///
    /// When another entry was given the same index.
    pub(crate) fn entry(&mut self, log: Log, index: u64, leaf: Hash) -> anyhow::Result<()> {
        let before = self.logs.entry(log).or_default().entries.insert(index, leaf);
        ensure!(before.is_none_or(|before| before == leaf), "{log:?}: index {index} was given out twice");
        Ok(())
    }

    /// Notes an entry with its proof, which has to hold.
    ///
    /// # Errors
    ///
    /// When it does not, or contradicts what was said before.
    pub(crate) fn proven(
        &mut self,
        log: Log,
        index: u64,
        leaf: Hash,
        proof: &[Hash],
        note: &str,
    ) -> anyhow::Result<()> {
        let checkpoint = SignedCheckpoint::parse(note)?.checkpoint;
        verify_inclusion(index, checkpoint.size, &leaf, proof, &checkpoint.root)?;
        self.checkpoint(log, &checkpoint)?;
        self.entry(log, index, leaf)
    }

    /// Notes a checkpoint.
    ///
    /// # Errors
    ///
    /// When another one of the same size was seen: the log has forked.
    pub(crate) fn checkpoint(&mut self, log: Log, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let before = self.logs.entry(log).or_default().checkpoints.insert(checkpoint.size, checkpoint.root);
        ensure!(
            before.is_none_or(|before| before == checkpoint.root),
            "{log:?}: two trees of {} leaves: the log has forked",
            checkpoint.size
        );
        Ok(())
    }

    /// Entries of a log.
    pub(crate) fn count(&self, log: Log) -> usize {
        self.logs.get(&log).map_or(0, |said| said.entries.len())
    }

    /// Entries of all logs.
    pub(crate) fn total(&self) -> usize {
        Log::ALL.into_iter().map(|log| self.count(log)).sum()
    }

    /// Holds what was said about a log against its leaves: every entry is where it was, and every tree that was signed is the
    /// beginning of this one.
    ///
    /// # Errors
    ///
    /// What was lost, or how the log has forked.
    pub(crate) fn hold_against(&self, log: Log, leaves: &[Hash]) -> anyhow::Result<()> {
        let Some(said) = self.logs.get(&log) else { return Ok(()) };
        let at = |index: u64| usize::try_from(index).ok().and_then(|index| leaves.get(index));
        let lost: Vec<_> = said.entries.iter().filter(|(index, leaf)| at(**index) != Some(*leaf)).collect();
        if let Some((index, _)) = lost.first() {
            anyhow::bail!(
                "{log:?}: {} of {} acknowledged entries are lost, the first is {index}; the log has {} leaves",
                lost.len(),
                said.entries.len(),
                leaves.len()
            );
        }
        let largest = said.checkpoints.last_key_value().map_or(0, |(size, _)| *size);
        ensure!(
            largest <= leaves.len() as u64,
            "{log:?}: a checkpoint of {largest} was seen, there are {}",
            leaves.len()
        );
        let mut edge = CompactRange::new();
        let mut grown = leaves.iter();
        for (size, root) in &said.checkpoints {
            while edge.size() < *size {
                let leaf = grown.next().context("a leaf")?;
                edge.append(*leaf, |_, _| ()).context("a tree")?;
            }
            ensure!(edge.root() == *root, "{log:?}: the tree of {size} leaves has another root: the log has forked");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Acknowledged, Log};
    use waxseal_formats::checkpoint::Checkpoint;
    use waxseal_formats::merkle::{CompactRange, Hash};

    fn root(leaves: &[Hash]) -> Hash {
        let mut edge = CompactRange::new();
        for leaf in leaves {
            edge.append(*leaf, |_, _| ()).expect("a leaf");
        }
        edge.root()
    }

    #[test]
    fn a_lost_entry_a_changed_one_and_a_fork_are_noticed() {
        let leaves = [[1; 32], [2; 32], [3; 32]];
        let mut said = Acknowledged::default();
        said.entry(Log::Ct, 2, leaves[2]).expect("noted");
        said.checkpoint(Log::Ct, &Checkpoint::new("x", 2, root(&leaves[..2]))).expect("noted");
        said.hold_against(Log::Ct, &leaves).expect("all there");
        said.hold_against(Log::RekorV2, &[]).expect("nothing was said");
        assert!(said.hold_against(Log::Ct, &leaves[..2]).is_err(), "lost");
        assert!(said.hold_against(Log::Ct, &[[1; 32], [2; 32], [4; 32]]).is_err(), "changed");
        assert!(said.hold_against(Log::Ct, &[[1; 32], [4; 32], [3; 32]]).is_err(), "forked");
        assert!(said.entry(Log::Ct, 2, [9; 32]).is_err(), "given out twice");
        assert!(said.checkpoint(Log::Ct, &Checkpoint::new("x", 2, [0; 32])).is_err(), "two of one size");
        assert_eq!((said.count(Log::Ct), said.total()), (1, 1));
    }
}
