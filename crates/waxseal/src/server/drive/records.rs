//! Reading a log's records back, segment after segment.

use std::path::Path;
use std::sync::Arc;

use waxseal_io::disk::Disk;
use waxseal_io::store::Segment;
use waxseal_log::scan::{Scan, Scanner, Scope};
use waxseal_log::segment::{MAX_HEADER, SegmentHeader};
use waxseal_log::wal::WalError;

use super::DriveError;

/// Reads the records of a log over all its segments.
#[derive(Clone)]
pub(super) struct Records {
    pub(super) segment: Arc<Segment>,
    pub(super) scanner: Scanner,
}

impl Records {
    /// Starts at the beginning of a segment.
    pub(super) fn open(disk: &dyn Disk, directory: &Path, sequence: u64) -> Result<(Self, SegmentHeader), DriveError> {
        let segment = Segment::open(disk, directory, sequence)?;
        let mut bytes = vec![0; MAX_HEADER];
        segment.read(0, &mut bytes)?;
        let damaged = |error| DriveError::Segment { path: segment.path().to_owned(), error };
        let header = SegmentHeader::parse(&bytes).map_err(damaged)?;
        if header.sequence != sequence {
            return Err(damaged(WalError::Segment("its name is that of another record")));
        }
        let scanner = Scanner::new(&header);
        Ok((Self { segment: Arc::new(segment), scanner }, header))
    }

    /// Reads the next record of the segment.
    pub(super) fn next<'b>(&mut self, scope: Scope, buffer: &'b mut Vec<u8>) -> Result<Scan<'b>, DriveError> {
        let segment = &self.segment;
        let mut read = |offset: u64, part: &mut [u8]| segment.read(offset, part).map_err(DriveError::from);
        self.scanner.next(scope, &mut read, buffer).map_err(|error| match error {
            DriveError::Wal(error) => DriveError::Segment { path: segment.path().to_owned(), error },
            other => other,
        })
    }
}

/// Where an entry stands in the records.
#[derive(Clone)]
pub(super) struct Position {
    /// Before its record.
    pub(super) records: Records,
    /// Entries of that record before it.
    pub(super) skip: u64,
}
