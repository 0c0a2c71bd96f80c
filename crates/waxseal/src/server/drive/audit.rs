//! Reading the audit log back from the records of a log, running or not. Nothing is changed and no lock is taken.

use super::open::published_checkpoint;
use super::records::Records;
use super::{DriveError, StoreError};
use std::path::Path;
use waxseal_formats::merkle::Hash;
use waxseal_io::disk::OsDisk;
use waxseal_io::store::segments;
use waxseal_log::audit;
use waxseal_log::scan::{Scan, Scope};

/// A row of the audit log, with where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number of its record.
    pub record: u64,
    /// The entry that it is about.
    pub leaf: Option<Leaf>,
    /// What it says: JSON.
    pub text: Vec<u8>,
}

/// An entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub hash: Hash,
}

/// What is wrong with the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A record's rows cannot be read.
    Malformed {
        /// Number of the record.
        record: u64,
    },
    /// An entry that no row, or more than one, is about.
    Entry {
        /// The entry.
        leaf: Leaf,
        /// How many rows.
        rows: usize,
    },
    /// Entries of the published checkpoint that no intact record has.
    Lost {
        /// Entries of the checkpoint.
        published: u64,
        /// Entries in the records.
        there: u64,
    },
}

/// The end of the chain of records, to be compared later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last record.
    pub record: u64,
    /// Its digest, which covers all before it.
    pub digest: Hash,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Entries from before there was an audit log.
    pub before: u64,
    /// Entries with a row.
    pub entries: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Behind the last intact record stands another one, which is being written, was when the process ended, or was damaged.
    pub unfinished: bool,
    /// The end of the chain.
    pub head: Option<Head>,
}

/// Reads all rows in order. Each record's digest and place in the chain are checked on the way; `record` is told of every record,
/// `row` of every row.
///
/// # Errors
/// [`DriveError`] for a record that is damaged, missing or out of order, or a published checkpoint that is none.
pub fn read(directory: &Path, mut record: impl FnMut(Head), mut row: impl FnMut(Row)) -> Result<Read, DriveError> {
    // Before the records: they have what it covers, even if the log goes on meanwhile.
    let published = published_checkpoint(&OsDisk, directory)?.map_or(0, |checkpoint| checkpoint.size);
    let mut found = Read::default();
    let mut there = 0_u64;
    let mut buffer = Vec::new();
    let mut chain: Option<Head> = None;
    for number in segments(&OsDisk, directory)? {
        let (mut records, header) = Records::open(&OsDisk, directory, number)?;
        let follows = match chain {
            None => header.sequence == 0,
            Some(head) => header.sequence == head.record.saturating_add(1) && header.chain == head.digest,
        };
        if !follows {
            let path = records.segment.path().to_owned();
            return Err(StoreError::Damaged { path, problem: "it does not continue the records before it" }.into());
        }
        loop {
            let taken = match records.next(Scope::Leaves, &mut buffer)? {
                Scan::Record(taken) => taken,
                Scan::End => break,
                // In an earlier segment the next one does not continue what is before it.
                Scan::Torn => {
                    found.unfinished = true;
                    break;
                }
            };
            there = taken.first.saturating_add(taken.leaf_hashes.len() as u64);
            let head = Head { record: taken.sequence, digest: taken.digest };
            chain = Some(head);
            record(head);
            let Some(rows) = audit::decode(taken.audit, taken.leaf_hashes.len()) else {
                found.faults.push(Fault::Malformed { record: taken.sequence });
                continue;
            };
            let started = found.entries > 0 || !rows.is_empty();
            for (leaf, (index, hash)) in (0_u32..).zip((taken.first..).zip(taken.leaf_hashes)) {
                let about = rows.iter().filter(|row| row.leaf == Some(leaf)).count();
                match about {
                    1 => found.entries = found.entries.saturating_add(1),
                    0 if !started => found.before = found.before.saturating_add(1),
                    rows => found.faults.push(Fault::Entry { leaf: Leaf { index, hash: *hash }, rows }),
                }
            }
            for one in rows {
                let leaf = one.leaf.and_then(|leaf| {
                    let hash = *taken.leaf_hashes.get(leaf as usize)?;
                    Some(Leaf { index: taken.first.saturating_add(u64::from(leaf)), hash })
                });
                row(Row { record: taken.sequence, leaf, text: one.text.to_vec() });
            }
        }
    }
    if there < published {
        found.faults.push(Fault::Lost { published, there });
    }
    found.head = chain;
    Ok(found)
}
