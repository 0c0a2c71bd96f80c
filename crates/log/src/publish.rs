//! What is published when the tree grows: hash tiles, entry bundles and last the checkpoint.
//!
//! All of it follows from the records, so it can be written without care and again after a crash: the same size range gives the
//! same files. A reader must never meet a checkpoint whose tiles are not there: the shell writes it last.

use waxseal_formats::leaf::TileLeaf;
use waxseal_formats::tile::{MAX_LEVEL, TILE_WIDTH, TileError, TileId, TileKind, encode_bundle_entry, parse_bundle};

/// The hash tiles that change when a tree grows from `from` to `to` leaves, each in its widest form.
pub fn hash_tiles(from: u64, to: u64) -> Vec<TileId> {
    (0..=MAX_LEVEL).flat_map(|level| changed(TileKind::Hash(level), from, to)).collect()
}

/// The tiles of this kind that change when a tree grows from `from` to `to` leaves, each in its widest form.
pub fn changed(kind: TileKind, from: u64, to: u64) -> impl Iterator<Item = TileId> {
    let (old, new) = (TileId::values(kind, from), TileId::values(kind, to));
    let first = old / TILE_WIDTH;
    let last = if new > old { new.div_ceil(TILE_WIDTH) } else { first };
    (first..last).filter_map(move |index| TileId::in_tree(kind, index, to))
}

/// The partial tiles of a tree of `from` leaves that a wider form replaces in one of `to` leaves.
pub fn replaced(entries: Option<TileKind>, from: u64, to: u64) -> Vec<TileId> {
    let kinds = (0..=MAX_LEVEL).map(TileKind::Hash).chain(entries);
    let mut replaced = Vec::new();
    for kind in kinds {
        let index = TileId::values(kind, from) / TILE_WIDTH;
        let old = TileId::in_tree(kind, index, from);
        if old != TileId::in_tree(kind, index, to) {
            replaced.extend(old);
        }
    }
    replaced
}

/// The part of a tile's file that a narrower form of it has. `None` if the file is not that of the tile `whole`.
pub fn narrow<'a>(whole: &TileId, file: &'a [u8], width: u16) -> Option<&'a [u8]> {
    if width > whole.width {
        return None;
    }
    match whole.kind {
        TileKind::Hash(_) => file.get(..usize::from(width).checked_mul(32)?),
        TileKind::Entries => {
            let entries = parse_bundle(whole, file).ok()?;
            let length = entries.iter().take(usize::from(width)).fold(0usize, |sum, e| sum.saturating_add(e.len() + 2));
            file.get(..length)
        }
        TileKind::Data => {
            let mut rest = file;
            for _ in 0..width {
                rest = TileLeaf::decode(rest).ok()?.1;
            }
            file.get(..file.len().checked_sub(rest.len())?)
        }
    }
}

/// Puts entries together into bundles of 256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundler {
    kind: TileKind,
    size: u64,
    bundle: Vec<u8>,
}

impl Bundler {
    /// Goes on in a tree of `size` leaves; `partial` is the file of its unfinished bundle (empty if all are full).
    pub fn resume(kind: TileKind, size: u64, partial: Vec<u8>) -> Result<Self, TileError> {
        let width = (size % TILE_WIDTH) as u16;
        let id = TileId { kind, index: size / TILE_WIDTH, width };
        let whole = match kind {
            TileKind::Data => narrow(&id, &partial, width).is_some_and(|part| part.len() == partial.len()),
            _ => parse_bundle(&id, &partial).is_ok(),
        };
        if whole { Ok(Self { kind, size, bundle: partial }) } else { Err(TileError::Bundle { width }) }
    }

    /// Adds the next entry; returns the bundle that it completes. `Err` if the entry is too large for a bundle.
    pub fn push(&mut self, entry: &[u8]) -> Result<Option<(TileId, Vec<u8>)>, TileError> {
        match self.kind {
            TileKind::Data => self.bundle.extend_from_slice(entry),
            _ => encode_bundle_entry(entry, &mut self.bundle).ok_or(TileError::Bundle { width: 1 })?,
        }
        self.size = self.size.saturating_add(1);
        if !self.size.is_multiple_of(TILE_WIDTH) {
            return Ok(None);
        }
        let id = TileId::full(self.kind, (self.size / TILE_WIDTH).saturating_sub(1));
        Ok(Some((id, std::mem::take(&mut self.bundle))))
    }

    /// The unfinished bundle, if there is one.
    pub fn partial(&self) -> Option<(TileId, &[u8])> {
        let width = (self.size % TILE_WIDTH) as u16;
        let id = TileId { kind: self.kind, index: self.size / TILE_WIDTH, width };
        (width > 0).then_some((id, self.bundle.as_slice()))
    }

    /// Entries so far.
    pub fn size(&self) -> u64 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use waxseal_formats::code::Code;
    use waxseal_testkit::vectors;

    fn paths(ids: impl IntoIterator<Item = TileId>) -> Vec<String> {
        ids.into_iter().map(|id| id.to_string()).collect()
    }

    #[test]
    fn tiles_of_a_growing_tree() {
        assert_eq!(paths(hash_tiles(0, 1)), ["tile/0/000.p/1"]);
        assert_eq!(paths(hash_tiles(5, 5)), [""; 0]);
        assert_eq!(paths(hash_tiles(200, 256)), ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(paths(hash_tiles(256, 300)), ["tile/0/001.p/44"]);
        assert_eq!(paths(hash_tiles(65_500, 65_537)), ["tile/0/255", "tile/0/256.p/1", "tile/1/000", "tile/2/000.p/1"]);
        assert_eq!(
            paths(changed(TileKind::Entries, 250, 513)),
            ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/1"]
        );
        assert_eq!(paths(replaced(Some(TileKind::Data), 200, 256)), ["tile/0/000.p/200", "tile/data/000.p/200"]);
        assert_eq!(paths(replaced(None, 256, 300)), [""; 0]);
        assert_eq!(paths(replaced(None, 300, 600)), ["tile/0/001.p/44", "tile/1/000.p/1"]);
        assert_eq!(paths(replaced(None, 300, 300)), [""; 0]);
    }

    #[test]
    fn the_same_files_whatever_the_steps() {
        let in_steps = |steps: &[u64]| {
            let mut files = BTreeMap::new();
            let mut bundler = Bundler::resume(TileKind::Entries, 0, Vec::new()).unwrap();
            let mut at = 0;
            for to in steps {
                for n in at..*to {
                    files.extend(bundler.push(format!("entry {n}").as_bytes()).unwrap());
                }
                let partial = bundler.partial().map(|(id, file)| (id, file.to_vec()));
                // As after a restart.
                let file = partial.as_ref().map(|(_, file)| file.clone()).unwrap_or_default();
                assert_eq!(Bundler::resume(TileKind::Entries, *to, file).unwrap(), bundler);
                files.extend(partial);
                for id in replaced(Some(TileKind::Entries), at, *to) {
                    files.remove(&id);
                }
                at = *to;
            }
            files
        };
        let whole = in_steps(&[700]);
        assert_eq!(paths(whole.keys().copied()), ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/188"]);
        assert_eq!(in_steps(&[1, 3, 255, 256, 257, 512, 699, 700]), whole);
    }

    #[test]
    fn a_bundle_that_does_not_fit_its_tree_is_not_resumed() {
        let mut bundler = Bundler::resume(TileKind::Entries, 0, Vec::new()).unwrap();
        bundler.push(b"one").unwrap();
        let file = bundler.partial().unwrap().1.to_vec();
        for (size, file) in
            [(0, file.clone()), (2, file.clone()), (1, Vec::new()), (257, [file.as_slice(), b"\0"].concat())]
        {
            let error = Bundler::resume(TileKind::Entries, size, file).unwrap_err();
            assert_eq!(
                (&error, error.code()),
                (&TileError::Bundle { width: (size % 256) as u16 }, Code::LOG_PROOF_INVALID)
            );
        }
        assert_eq!(bundler.push(&[0; 65_536]), Err(TileError::Bundle { width: 1 }));
    }

    #[test]
    fn narrow_forms_of_the_recorded_tiles() {
        let Some(vectors) = vectors() else { return };
        let check = |path: &str, file: &str| {
            let id = TileId::parse(path).unwrap();
            let whole = vectors.read(file);
            assert_eq!(narrow(&id, &whole, id.width).unwrap(), whole);
            let one = narrow(&id, &whole, 1).unwrap();
            assert_eq!(
                Bundler::resume(id.kind, id.index * 256 + 1, one.to_vec()).is_ok(),
                id.kind != TileKind::Hash(0)
            );
            assert!(narrow(&id, &whole, 100).unwrap().starts_with(one));
            assert_eq!(narrow(&TileId { width: 100, ..id }, &whole, 101), None);
        };
        let log = "private-instance/rekor-v2-log/";
        check("tile/entries/000.p/255", &format!("{log}tile/entries/000.p/255"));
        let log = "private-instance/ct-log/";
        check("tile/data/000", &format!("{log}tile/data/000"));
        check("tile/data/001.p/184", &format!("{log}tile/data/001.p/184"));
    }
}
