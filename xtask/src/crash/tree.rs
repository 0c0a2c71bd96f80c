//! The leaves of a log: as its records have them, and as its readers get them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, ensure};
use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::merkle::{CompactRange, Hash};
use waxseal_formats::tile::{HashTile, TILE_WIDTH, TileId, TileKind};
use waxseal_log::scan::{Scan, Scanner, Scope};
use waxseal_log::segment::{MAX_HEADER, SegmentHeader};
use waxseal_log::wal::WalError;

use super::acknowledged::{Acknowledged, Log};

/// The leaves in the records of a log below `data_dir`. What is not there yet has none.
///
/// # Errors
///
/// When the records cannot be read.
pub(crate) fn recorded(data_dir: &Path, log: Log) -> anyhow::Result<Vec<Hash>> {
    let wal = data_dir.join("logs").join(log.folder()).join("wal");
    let mut leaves = Vec::new();
    let Ok(entries) = fs::read_dir(&wal) else { return Ok(leaves) };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let is_segment = |path: &&std::path::PathBuf| path.file_name().is_some_and(|name| name.len() == 16);
    let mut segments: Vec<_> = paths.iter().filter(is_segment).collect();
    segments.sort();
    for path in segments {
        let file = File::open(path)?;
        let mut header = vec![0; MAX_HEADER];
        fill(&file, 0, &mut header)?;
        let header = SegmentHeader::parse(&header).with_context(|| path.display().to_string())?;
        ensure!(header.size == leaves.len() as u64, "{} begins with {} leaves", path.display(), header.size);
        let mut scanner = Scanner::new(&header);
        let mut buffer = Vec::new();
        let mut read = |offset: u64, part: &mut [u8]| fill(&file, offset, part).map_err(Unread::Io);
        while let Scan::Record(record) = scanner.next(Scope::Leaves, &mut read, &mut buffer)? {
            leaves.extend_from_slice(record.leaf_hashes);
        }
    }
    Ok(leaves)
}

#[derive(Debug)]
enum Unread {
    Wal(WalError),
    Io(std::io::Error),
}

impl From<WalError> for Unread {
    fn from(error: WalError) -> Self {
        Self::Wal(error)
    }
}

impl std::error::Error for Unread {}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wal(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// Fills `part` from `offset` on, with zeros behind the end.
fn fill(file: &File, offset: u64, part: &mut [u8]) -> std::io::Result<()> {
    let mut at = 0;
    while let Some(rest) = part.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + at as u64)? {
            0 => {
                rest.fill(0);
                break;
            }
            read => at += read,
        }
    }
    Ok(())
}

/// The leaves that a running instance serves, with every tile of the lowest level; they have to be those of its checkpoint,
/// which is noted.
///
/// # Errors
///
/// When they are not, or cannot be had.
pub(crate) async fn served(
    client: &reqwest::Client,
    url: &str,
    log: Log,
    said: &mut Acknowledged,
) -> anyhow::Result<Option<Vec<Hash>>> {
    let Some(prefix) = log.tiles() else { return Ok(None) };
    let note = fetch(client, &format!("{url}{prefix}/checkpoint")).await?;
    let checkpoint = SignedCheckpoint::parse(std::str::from_utf8(&note)?)?.checkpoint;
    let mut leaves = Vec::new();
    let mut edge = CompactRange::new();
    for index in 0..checkpoint.size.div_ceil(TILE_WIDTH) {
        let id = TileId::in_tree(TileKind::Hash(0), index, checkpoint.size).context("a tile")?;
        let tile = HashTile::parse(&id, &fetch(client, &format!("{url}{prefix}/{id}")).await?)?;
        for leaf in tile.hashes() {
            edge.append(*leaf, |_, _| ()).context("a tree")?;
        }
        leaves.extend_from_slice(tile.hashes());
    }
    ensure!(
        edge.size() == checkpoint.size && edge.root() == checkpoint.root,
        "{log:?}: the tiles are not those of the checkpoint of {}",
        checkpoint.size
    );
    said.checkpoint(log, &checkpoint)?;
    Ok(Some(leaves))
}

async fn fetch(client: &reqwest::Client, url: &str) -> anyhow::Result<Vec<u8>> {
    let answer = client.get(url).send().await?.error_for_status()?;
    Ok(answer.bytes().await?.to_vec())
}
