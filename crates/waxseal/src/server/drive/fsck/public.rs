//! The published files, held against what follows from the records.
//!
//! Tiles and checkpoint are written without a sync each, and the `synced` mark says how far they survive a power cut. Below the
//! mark everything has to be there, to the byte. Above it, a power cut may take a file or leave sectors of it unwritten; the next
//! start makes it again. A sector with anything else in it than what was written is damage there as well.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::crypto::digest::sha256;
use waxseal_formats::note::MAX_NOTE;
use waxseal_formats::tile::{TILE_WIDTH, TileId, TileKind};
use waxseal_io::file;
use waxseal_log::profile::Profile;
use waxseal_log::publish::narrow;

use super::super::publisher::CHECKPOINT;
use super::LogReport;

/// A disk writes this many bytes or none of them.
const SECTOR: usize = 512;
/// Largest certificate of an issuer, in bytes.
const MAX_ISSUER: usize = 64 << 10;
/// A file that was being written when the process stopped; the next start removes it.
const TEMPORARY: &str = ".new";

/// The checkpoint that readers are given.
pub(super) enum Published {
    /// There is no file.
    Missing,
    /// Sectors of it were not written: a power cut took them.
    Blank,
    /// It cannot be read, or is none of this log: a fault was told.
    Refused,
    /// It is signed by the log.
    Signed {
        /// The file.
        text: String,
        /// What it says.
        signed: SignedCheckpoint,
    },
}

impl Published {
    /// Reads `public/checkpoint`.
    pub(super) fn read(root: &Path, profile: &Profile, report: &mut LogReport) -> Self {
        let path = root.join(CHECKPOINT);
        let bytes = match file::read(&path, MAX_NOTE) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Self::Missing,
            Err(error) => {
                report.unreadable(&path, &error);
                return Self::Refused;
            }
        };
        let unwritten = bytes.chunks(SECTOR).any(|sector| sector.iter().all(|byte| *byte == 0));
        if bytes.is_empty() || unwritten || bytes.len().is_multiple_of(SECTOR) && !bytes.ends_with(b"\n") {
            return Self::Blank;
        }
        let signed = String::from_utf8(bytes).map_err(|_| "not a checkpoint".to_owned()).and_then(|text| {
            let signed = SignedCheckpoint::parse(&text).map_err(|error| error.to_string())?;
            profile.verify(&signed).map_err(|error| error.to_string())?;
            if signed.checkpoint.origin != profile.origin {
                return Err(format!("the checkpoint of another log, {:?}", signed.checkpoint.origin));
            }
            Ok(Self::Signed { text, signed })
        });
        signed.unwrap_or_else(|problem| {
            report.fault(&path, None, problem);
            Self::Refused
        })
    }

    /// Leaves of the tree that it is about.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Signed { signed, .. } => Some(signed.checkpoint.size),
            _ => None,
        }
    }
}

/// How a file compares with what it has to be.
enum Compared {
    Same,
    Missing,
    /// Sectors of it were not written.
    Unwritten,
    /// Another byte stands at this offset.
    Differs(u64),
}

/// The directory of the published files.
pub(super) struct Public {
    root: PathBuf,
    /// Leaves whose files survive a power cut.
    synced: u64,
    /// Leaves of the published tree.
    published: u64,
    /// Whether the checkpoint says so: otherwise it was being replaced, and narrower tiles may be gone with the old one.
    settled: bool,
}

impl Public {
    pub(super) fn new(root: PathBuf, synced: u64, published: Option<u64>) -> Self {
        let settled = published.is_some();
        Self { root, synced, published: published.unwrap_or(synced).max(synced), settled }
    }

    /// Looks at the files of a tile, of which `bytes` are the contents in its widest form.
    pub(super) fn tile(&self, widest: &TileId, bytes: &[u8], report: &mut LogReport) {
        let wanted = TileId::in_tree(widest.kind, widest.index, self.published).filter(|id| id.width <= widest.width);
        let mut found = false;
        for id in self.forms(widest, report) {
            let path = self.root.join(id.to_string());
            let Some(expected) = narrow(widest, bytes, id.width) else { continue };
            // A narrower form that nobody reads any more may have lost its contents before it was removed.
            let durable = self.is_durable(&id) && Some(id) == wanted;
            match compare(&path, expected) {
                Ok(Compared::Same) => found |= Some(id) == wanted,
                Ok(Compared::Missing) => {}
                Ok(Compared::Unwritten) if !durable => {}
                Ok(Compared::Unwritten) => {
                    found |= Some(id) == wanted;
                    report.fault(&path, Some(0), "parts of it are zeros or missing");
                }
                Ok(Compared::Differs(at)) => {
                    found |= Some(id) == wanted;
                    report.fault(&path, Some(at), "it is not what follows from the records");
                }
                Err(error) => {
                    found |= Some(id) == wanted;
                    report.unreadable(&path, &error);
                }
            }
        }
        let Some(wanted) = wanted.filter(|_| !found) else { return };
        // A partial tile that was durable goes when a wider one replaces it, which may not be durable yet.
        if self.is_durable(&wanted) && (wanted.is_full() || self.settled) {
            report.fault(&self.root.join(wanted.to_string()), None, "it is missing");
        } else {
            report.not_durable = report.not_durable.saturating_add(1);
        }
    }

    /// The files of a tile that there are: the full one, and narrower ones that a crash left or that are the widest so far.
    fn forms(&self, widest: &TileId, report: &mut LogReport) -> Vec<TileId> {
        let full = TileId::full(widest.kind, widest.index);
        let mut forms = Vec::new();
        if widest.is_full() {
            forms.push(full);
        }
        let directory = self.root.join(format!("{full}.p"));
        match fs::read_dir(&directory) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    let name = entry.file_name();
                    let id = name.to_str().and_then(|width| TileId::parse(&format!("{full}.p/{width}")));
                    forms.extend(id.filter(|id| id.width <= widest.width));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => report.unreadable(&directory, &error),
        }
        forms
    }

    fn is_durable(&self, id: &TileId) -> bool {
        let end = id.index.saturating_mul(TILE_WIDTH).saturating_add(u64::from(id.width));
        end <= TileId::values(id.kind, self.synced)
    }

    /// Looks for files that are none of a tree of `size` leaves; `None` if the size could not be told. Counts all others.
    pub(super) fn strangers(&self, size: Option<u64>, entries: Option<TileKind>, report: &mut LogReport) {
        let mut folders = vec![(self.root.clone(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            let listed = match fs::read_dir(&folder) {
                Ok(listed) => listed,
                Err(error) if error.kind() == ErrorKind::NotFound && prefix.is_empty() => return,
                Err(error) => {
                    report.unreadable(&folder, &error);
                    continue;
                }
            };
            for entry in listed.flatten() {
                let path = entry.path();
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                match entry.metadata() {
                    Ok(data) if data.is_dir() => folders.push((path, format!("{name}/"))),
                    Ok(data) if data.is_file() => {
                        report.bytes = report.bytes.saturating_add(data.len());
                        if let Err(problem) = known(&path, &name, size, entries, report) {
                            report.fault(&path, None, problem);
                        }
                    }
                    Ok(_) => report.fault(&path, None, "neither a file nor a directory"),
                    Err(error) => report.unreadable(&path, &error),
                }
            }
        }
    }
}

/// Counts a file that belongs to the log, or says why it does not.
fn known(
    path: &Path,
    name: &str,
    size: Option<u64>,
    entries: Option<TileKind>,
    report: &mut LogReport,
) -> Result<(), &'static str> {
    if name == CHECKPOINT || name == TEMPORARY {
        return Ok(());
    }
    if let Some(digest) = name.strip_prefix("issuer/") {
        // As the other temporary file: the next start removes it.
        if digest.ends_with(TEMPORARY) {
            return Ok(());
        }
        let intact =
            file::read(path, MAX_ISSUER).ok().flatten().is_some_and(|file| hex::encode(sha256(&file)) == digest);
        return if intact { Ok(()) } else { Err("it does not have the digest that it is called by") };
    }
    let id = TileId::parse(name).ok_or("not a file of the log")?;
    let count = match id.kind {
        TileKind::Hash(_) => &mut report.tiles,
        kind if Some(kind) == entries => &mut report.bundles,
        _ if entries.is_none() => return Err("entries, in a sealed log"),
        _ => return Err("not a file of a log of this kind"),
    };
    *count = count.saturating_add(1);
    let end = id.index.saturating_mul(TILE_WIDTH).saturating_add(u64::from(id.width));
    if size.is_some_and(|size| end > TileId::values(id.kind, size)) {
        return Err("a tile of more entries than the records have");
    }
    Ok(())
}

fn compare(path: &Path, expected: &[u8]) -> Result<Compared, Error> {
    let found = match file::read(path, expected.len()) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Compared::Missing),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => return Ok(Compared::Differs(expected.len() as u64)),
        Err(error) => return Err(error),
    };
    if found == expected {
        return Ok(Compared::Same);
    }
    for (number, (one, other)) in found.chunks(SECTOR).zip(expected.chunks(SECTOR)).enumerate() {
        let written = one.iter().any(|byte| *byte != 0);
        if let Some(at) = one.iter().zip(other).position(|(a, b)| a != b).filter(|_| written) {
            return Ok(Compared::Differs(number.saturating_mul(SECTOR).saturating_add(at) as u64));
        }
    }
    Ok(Compared::Unwritten)
}
