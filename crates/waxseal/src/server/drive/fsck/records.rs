//! The write-ahead segments of one log, from the first record to the last, and everything that follows from them.

use std::fs::{self, File};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use waxseal_formats::code::Code;
use waxseal_formats::merkle::Hash;
use waxseal_formats::tile::{MAX_LEVEL, TILE_WIDTH, TileId, TileKind};
use waxseal_io::disk::OsDisk;
use waxseal_io::file;
use waxseal_io::index::Check;
use waxseal_io::store::MAX_SEGMENT;
use waxseal_log::audit;
use waxseal_log::dedup::Window;
use waxseal_log::fsck::{Rest, header_padding, prepared, record_padding, rest};
use waxseal_log::profile::{Bodies, Profile};
use waxseal_log::publish::{self, Bundler};
use waxseal_log::rows;
use waxseal_log::scan::{Scan, Scanner, Scope};
use waxseal_log::segment::{MAX_HEADER, SegmentHeader};
use waxseal_log::state::LogState;
use waxseal_log::synced;
use waxseal_log::tail::Tail;
use waxseal_log::wal::{Record, WalError};

use super::super::DriveError;
use super::super::freeze::{MARKER, Marker};
use super::super::lookup::with_batch;
use super::public::{Public, Published};
use super::signatures::{Signatures, beside};
use super::{Instance, LogReport, Progress};

/// Entries after which progress is told.
const STRIDE: u64 = 1 << 16;
/// What a log's directory has besides its segments and published files. What ends in `.new` is a mark that was being replaced.
const FILES: [&str; 9] = [
    "lock",
    "synced",
    "synced.new",
    MARKER,
    "frozen.new",
    INDEX,
    "index.sqlite-wal",
    "index.sqlite-shm",
    "index.sqlite-journal",
];
/// The view in which entries are found, which follows from the records as well.
const INDEX: &str = "index.sqlite";
const FOLDERS: [&str; 2] = ["wal", "public"];

/// Checks one log.
pub(super) fn check_log(
    directory: &Path,
    name: &str,
    instance: &Instance,
    progress: &dyn Fn(Progress<'_>),
) -> LogReport {
    let mut report = LogReport { name: name.to_owned(), ..LogReport::default() };
    let report = &mut report;
    strangers(directory, report);
    let numbers = segments(&directory.join("wal"), report);
    let Some(first) = numbers.first() else {
        if instance.whole {
            report.fault(&directory.join("wal"), None, "the log has no segment");
        }
        return std::mem::take(report);
    };
    if *first != 0 {
        report.fault(&directory.join("wal"), None, "the first segment is missing");
    }
    // Any header says which log it is.
    let headers = numbers.iter().filter_map(|number| Segment::open(directory, *number).ok()?.header().ok());
    let found = headers.map(|(header, _)| header).next();
    let Some(header) = found else {
        report.fault(&segment_path(directory, *first), Some(0), "no segment has a readable header");
        return std::mem::take(report);
    };
    report.origin = Some(header.origin.clone());
    let bodies = instance.bodies.or_else(|| first_bodies(directory, *first)).unwrap_or(Bodies::Sealed);
    let Some(profile) = instance.profile(name, &header, bodies) else {
        let problem = format!("the log {:?} belongs to none of the instance's keys that it may have", header.origin);
        report.fault(&segment_path(directory, header.sequence), Some(0), problem);
        return std::mem::take(report);
    };
    let ((), refused) = beside(&profile, |signatures| {
        let mut walk = Walk::new(directory, &profile, signatures, report);
        let count = numbers.len() as u64;
        for (place, number) in (1..).zip(&numbers) {
            let told = |entries| progress(Progress { log: name, entries, segments: (place, count) });
            walk.segment(*number, place == count, &told);
        }
        walk.finish();
    });
    for refused in refused {
        report.fault(&refused.file, Some(refused.offset), refused.problem);
    }
    std::mem::take(report)
}

/// Reports what does not belong in a log's directory, and counts the bytes of what does.
fn strangers(directory: &Path, report: &mut LogReport) {
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) => return report.unreadable(directory, &error),
    };
    for entry in listed.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        match entry.metadata() {
            Ok(data) if data.is_dir() && FOLDERS.contains(&&*name) => {}
            Ok(data) if data.is_file() && FILES.contains(&&*name) => {
                report.bytes = report.bytes.saturating_add(data.len());
                if name == "lock" && data.len() > 0 {
                    report.fault(&path, Some(0), "the lock file is not empty");
                }
            }
            Ok(_) => report.fault(&path, None, "not a file of the log"),
            Err(error) => report.unreadable(&path, &error),
        }
    }
}

/// The segments by the number of their first record, in order. Zeros for the next segment are looked at, other files reported.
fn segments(wal: &Path, report: &mut LogReport) -> Vec<u64> {
    let mut numbers = Vec::new();
    let listed = match fs::read_dir(wal) {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound => return numbers,
        Err(error) => {
            report.unreadable(wal, &error);
            return numbers;
        }
    };
    for entry in listed.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let number = u64::from_str_radix(&name, 16).ok().filter(|number| format!("{number:016x}") == name);
        let is_file = entry.metadata().is_ok_and(|data| data.is_file());
        if let Some(number) = number.filter(|_| is_file) {
            numbers.push(number);
        } else if is_file && name.strip_prefix("prepared-").is_some_and(|number| number.parse::<u32>().is_ok()) {
            let looked = Segment::at(path.clone()).and_then(|segment| {
                report.bytes = report.bytes.saturating_add(segment.length);
                prepared(segment.length, &mut |offset, part: &mut [u8]| segment.read(offset, part))
            });
            match looked {
                Ok(None) => {}
                Ok(at) => report.fault(&path, at, "neither zeros nor the header of the next segment"),
                Err(error) => report.unreadable(&path, &error),
            }
        } else {
            report.fault(&path, None, "not a segment of the write-ahead log");
        }
    }
    numbers.sort_unstable();
    numbers
}

fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join("wal").join(format!("{number:016x}"))
}

/// A segment file that is read.
struct Segment {
    file: File,
    path: Arc<Path>,
    length: u64,
}

impl Segment {
    fn open(directory: &Path, number: u64) -> Result<Self, Error> {
        Self::at(segment_path(directory, number))
    }

    fn at(path: PathBuf) -> Result<Self, Error> {
        let file = File::open(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, path: path.into(), length })
    }

    /// Fills `part`; behind the end of the file there are zeros.
    fn read(&self, offset: u64, part: &mut [u8]) -> Result<(), Error> {
        let there = self.length.saturating_sub(offset).min(part.len() as u64) as usize;
        let (there, behind) = part.split_at_mut(there);
        behind.fill(0);
        self.file.read_exact_at(there, offset)
    }

    /// The header, and the beginning of the file that it stands in.
    fn header(&self) -> Result<(SegmentHeader, Vec<u8>), Trouble> {
        let mut bytes = vec![0; MAX_HEADER];
        self.read(0, &mut bytes)?;
        Ok((SegmentHeader::parse(&bytes)?, bytes))
    }
}

/// Why a segment cannot be read on.
enum Trouble {
    Wal(WalError),
    Io(Error),
}

impl From<WalError> for Trouble {
    fn from(error: WalError) -> Self {
        Self::Wal(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Io(error)
    }
}

/// Whether the first record has its entries: for a directory that does not say what its logs keep.
fn first_bodies(directory: &Path, number: u64) -> Option<Bodies> {
    let segment = Segment::open(directory, number).ok()?;
    let (header, _) = segment.header().ok()?;
    let mut read = |offset: u64, part: &mut [u8]| segment.read(offset, part).map_err(Trouble::from);
    match Scanner::new(&header).next(Scope::Bodies, &mut read, &mut Vec::new()) {
        Ok(Scan::Record(record)) if record.bodies().is_some() => Some(Bodies::Kept),
        _ => None,
    }
}

/// The log as far as it was read. There is none behind a damaged record, until the next segment.
struct Tree {
    state: LogState,
    tail: Tail,
    note: String,
    /// The entries since the last full bundle; none until the next one begins if they are not known, or not kept.
    bundler: Option<Bundler>,
}

/// What has to be met on the way: a size at which the log stood once.
struct Mark {
    size: u64,
    met: bool,
}

impl Mark {
    fn new(size: Option<u64>) -> Self {
        Self { size: size.unwrap_or(0), met: size.is_none_or(|size| size == 0) }
    }

    fn pass(&mut self, size: u64) -> bool {
        self.met |= size == self.size;
        size == self.size
    }
}

struct Walk<'a> {
    directory: &'a Path,
    profile: &'a Arc<Profile>,
    signatures: &'a mut Signatures,
    report: &'a mut LogReport,
    public: Public,
    published: Published,
    checkpoint: Mark,
    synced: Mark,
    tree: Option<Tree>,
    /// The file of the index, if there is one.
    index: Option<Check>,
    /// Whether records were lost on the way.
    gaps: bool,
    told: u64,
}

impl<'a> Walk<'a> {
    fn new(
        directory: &'a Path,
        profile: &'a Arc<Profile>,
        signatures: &'a mut Signatures,
        report: &'a mut LogReport,
    ) -> Self {
        let root = directory.join("public");
        let synced = read_synced(directory, report);
        let published = Published::read(&root, profile, report);
        Self {
            directory,
            profile,
            signatures,
            public: Public::new(root, synced.unwrap_or(0), published.size()),
            checkpoint: Mark::new(published.size()),
            synced: Mark::new(synced),
            published,
            index: open_index(directory, profile, report),
            report,
            tree: None,
            gaps: false,
            told: 0,
        }
    }

    /// Checks a segment. What follows a damaged record in it is left out.
    fn segment(&mut self, number: u64, last: bool, told: &dyn Fn(u64)) {
        let path = segment_path(self.directory, number);
        let segment = match Segment::open(self.directory, number) {
            Ok(segment) => segment,
            Err(error) => {
                self.report.unreadable(&path, &error);
                return self.lose();
            }
        };
        self.report.segments = self.report.segments.saturating_add(1);
        self.report.bytes = self.report.bytes.saturating_add(segment.length);
        let (header, bytes) = match segment.header() {
            Ok(found) => found,
            Err(trouble) => return self.trouble(&path, 0, trouble),
        };
        if header.sequence != number {
            self.report.fault(&path, Some(0), format!("it is the segment for record {}", header.sequence));
            return self.lose();
        }
        if segment.length != header.length || header.length > MAX_SEGMENT {
            let problem = format!("it has {} bytes where its header says {}", segment.length, header.length);
            self.report.fault(&path, Some(segment.length.min(header.length)), problem);
        }
        if let Some(at) = header_padding(&bytes, &header) {
            self.report.fault(&path, Some(at), "what pads the header is not zero");
        }
        drop(bytes);
        self.enter(&segment.path, &header);
        if self.tree.is_some() {
            self.records(&segment, &header, last, told);
        }
    }

    /// Goes on in a segment: with the state that its header gives if the records before it are lost.
    fn enter(&mut self, path: &Arc<Path>, header: &SegmentHeader) {
        if let Some(tree) = &self.tree {
            if tree.state.segment(header.length, header.salt, &tree.tail, &tree.note) == *header {
                return;
            }
            self.report.fault(path, Some(0), "its header does not continue the records before it");
            self.lose();
        }
        if (header.sequence == 0) != (header.size == 0) {
            self.report.fault(path, Some(0), "only the first segment begins with an empty log");
        }
        let state = match LogState::at_segment(Arc::clone(self.profile), header, Window::new(1, header.size, 0)) {
            Ok(state) => state,
            Err(error) => {
                self.report.fault(path, Some(0), error.to_string());
                return self.lose();
            }
        };
        if header.size > 0 {
            self.signatures.push(path, 0, &header.note);
        }
        let root = state.edge().root();
        self.tree = Some(Tree { state, tail: header.tail.clone(), note: header.note.clone(), bundler: None });
        self.pass(header.size, &root, &header.note);
    }

    fn records(&mut self, segment: &Segment, header: &SegmentHeader, last: bool, told: &dyn Fn(u64)) {
        let path = &segment.path;
        let mut read = |offset: u64, part: &mut [u8]| segment.read(offset, part).map_err(Trouble::from);
        let mut scanner = Scanner::new(header);
        let mut buffer = Vec::new();
        loop {
            let offset = scanner.offset;
            let taken = match scanner.next(Scope::Bodies, &mut read, &mut buffer) {
                Ok(Scan::Record(record)) => self.record(path, offset, &record),
                Ok(Scan::End | Scan::Torn) => break,
                Err(trouble) => return self.trouble(path, offset, trouble),
            };
            if let Err(problem) = taken {
                self.report.fault(path, Some(offset), problem);
                return self.lose();
            }
            if let Some(at) = record_padding(&buffer) {
                self.report.fault(path, Some(offset.saturating_add(at)), "what pads a record is not zero");
            }
            if self.report.entries >= self.told.saturating_add(STRIDE) {
                self.told = self.report.entries;
                told(self.told);
            }
        }
        match rest(&scanner, &mut read) {
            Ok(Rest::Zeros) => {}
            Ok(Rest::Torn) if last => self.report.unfinished = true,
            Ok(Rest::Torn) => {
                self.report.fault(path, Some(scanner.offset), "a damaged record, and the log went on behind it");
                self.lose();
            }
            Ok(Rest::Damaged(at)) => {
                self.report.fault(path, Some(at), "neither zeros nor a record that was cut off");
                self.gaps = true;
            }
            Err(trouble) => self.trouble(path, scanner.offset, trouble),
        }
    }

    /// Takes in a record, and looks at the files that it completes.
    fn record(&mut self, path: &Arc<Path>, offset: u64, record: &Record<'_>) -> Result<(), String> {
        let Some(tree) = &mut self.tree else { return Ok(()) };
        tree.state.check_bodies(record).map_err(|error| error.to_string())?;
        let bodies = record.bodies();
        if self.profile.bodies == Bodies::Sealed && (bodies.is_some() || !record.rows.is_empty()) {
            return Err("a record with entries, in a sealed log".to_owned());
        }
        if rows::decode(record.rows, record.leaf_hashes.len()).is_none() {
            return Err("the rows for the index are malformed".to_owned());
        }
        if audit::decode(record.audit, record.leaf_hashes.len()).is_none() {
            return Err("the rows of the audit log are malformed".to_owned());
        }
        let batch = tree.state.apply(record).map_err(|error| error.to_string())?;
        batch.extend(&mut tree.tail);
        for id in publish::hash_tiles(batch.first, batch.size).into_iter().filter(TileId::is_full) {
            if let Some(tile) = tree.tail.tile(&id) {
                self.public.tile(&id, tile.hashes().as_flattened(), self.report);
            }
        }
        tree.tail.trim(batch.size);
        for (index, body) in (batch.first..).zip(bodies.into_iter().flatten()) {
            if index.is_multiple_of(TILE_WIDTH) && tree.bundler.is_none() {
                tree.bundler = Bundler::resume(self.profile.entries(), index, Vec::new()).ok();
            }
            let Some(bundler) = &mut tree.bundler else { continue };
            if let Some((id, bundle)) = bundler.push(body).map_err(|error| error.to_string())? {
                self.public.tile(&id, &bundle, self.report);
            }
        }
        tree.note = batch.note().to_owned();
        if let Some(index) = &mut self.index {
            with_batch(record, |batch| index.push(batch)).map_err(|error| error.to_string())?;
        }
        self.report.records = self.report.records.saturating_add(1);
        self.report.entries = batch.size;
        self.signatures.push(path, offset, record.note);
        self.pass(batch.size, &batch.root, record.note);
        Ok(())
    }

    /// Compares what was published with the log as it was at that size.
    fn pass(&mut self, size: u64, root: &Hash, note: &str) {
        self.synced.pass(size);
        if !self.checkpoint.pass(size) || size == 0 {
            return;
        }
        let Published::Signed { text, signed } = &self.published else { return };
        let path = self.directory.join("public").join(super::super::publisher::CHECKPOINT);
        if signed.checkpoint.root != *root {
            let problem = format!("the records of its {size} entries have another root: the log has forked");
            self.report.fault_of(Code::LOG_STORE_BEHIND, &path, None, problem);
        } else if text != note {
            self.report.fault(&path, None, "it is not the checkpoint of the record that it is made from");
        }
    }

    /// From here on the log is not known, until the next segment.
    fn lose(&mut self) {
        self.tree = None;
        self.gaps = true;
    }

    fn trouble(&mut self, path: &Path, offset: u64, trouble: Trouble) {
        match trouble {
            Trouble::Wal(error) => self.report.fault(path, Some(offset), error.to_string()),
            Trouble::Io(error) => self.report.unreadable(path, &error),
        }
        self.lose();
    }

    /// Looks at what the last records leave unfinished, and at everything that has to fit the size of the whole log.
    fn finish(mut self) {
        let size = self.tree.as_ref().map(|tree| tree.state.edge().size());
        if let (Some(size), Some(tree)) = (size, &self.tree) {
            for kind in (0..=MAX_LEVEL).map(TileKind::Hash) {
                let partial = TileId::in_tree(kind, TileId::values(kind, size) / TILE_WIDTH, size);
                if let Some((id, tile)) = partial.and_then(|id| Some((id, tree.tail.tile(&id)?))) {
                    self.public.tile(&id, tile.hashes().as_flattened(), self.report);
                }
            }
            if let Some((id, bundle)) = tree.bundler.as_ref().and_then(Bundler::partial) {
                self.public.tile(&id, bundle, self.report);
            }
        }
        // Behind damage at the end nothing is known about the whole log, and the damage has been told.
        let size = size.filter(|_| !self.gaps);
        let entries = (self.profile.bodies == Bodies::Kept).then(|| self.profile.entries());
        self.public.strangers(size, entries, self.report);
        if let Some(size) = size {
            self.ends(size);
        }
        if let (Some(size), Some(tree)) = (size, &self.tree) {
            let root = tree.state.edge().root();
            let marker = Marker::read(&OsDisk, self.directory, self.profile);
            let found =
                marker.and_then(|marker| marker.map_or(Ok(()), |marker| marker.check(size, root, self.directory)));
            let path = self.directory.join(MARKER);
            match found {
                Ok(()) => {}
                Err(DriveError::Object { problem, .. }) => self.report.fault(&path, Some(0), problem),
                Err(error) => self.report.fault_of(error.code(), &path, None, error.to_string()),
            }
        }
        // Without all records, what the index has to have is not known.
        if let Some(Err(error)) = self.index.take().filter(|_| size.is_some()).map(Check::finish) {
            self.report.fault_of(error.code(), &self.directory.join(INDEX), None, error.to_string());
        }
    }

    fn ends(&mut self, size: u64) {
        let path = self.directory.join("synced");
        if self.synced.size > size {
            let problem = format!("{} entries were published durably, and the records have {size}", self.synced.size);
            self.report.fault_of(Code::LOG_STORE_BEHIND, &path, None, problem);
        } else if !self.synced.met {
            let problem = format!("no record ends with entry {}", self.synced.size);
            self.report.fault(&path, Some(0), problem);
        }
        let path = self.directory.join("public").join(super::super::publisher::CHECKPOINT);
        // What is covered by the mark was published, and the checkpoint with it.
        let durable = size > 0 && self.synced.size == size;
        match &self.published {
            Published::Refused => {}
            Published::Missing if self.synced.size > 0 => self.report.fault(&path, None, "it is missing"),
            Published::Blank if durable => self.report.fault(&path, Some(0), "it is empty"),
            Published::Missing | Published::Blank if size > 0 => {
                self.report.not_durable = self.report.not_durable.saturating_add(1);
            }
            Published::Missing | Published::Blank => {}
            Published::Signed { .. } if self.checkpoint.size > size => {
                let published = self.checkpoint.size;
                let problem = format!("it covers {published} entries, and the records have {size}: some are lost");
                self.report.fault_of(Code::LOG_STORE_BEHIND, &path, None, problem);
            }
            Published::Signed { .. } if self.checkpoint.size < self.synced.size => {
                self.report.fault(&path, None, "it is older than the synced mark");
            }
            Published::Signed { .. } if !self.checkpoint.met => {
                let problem = format!("no record ends with its {} entries", self.checkpoint.size);
                self.report.fault_of(Code::LOG_STORE_BEHIND, &path, None, problem);
            }
            Published::Signed { .. } => {}
        }
    }
}

/// The file of the index. None is no fault, as it is made again from the records; a damaged one is.
fn open_index(directory: &Path, profile: &Profile, report: &mut LogReport) -> Option<Check> {
    if !profile.indexed() {
        return None;
    }
    let path = directory.join(INDEX);
    Check::open(&path, &profile.key_id()).unwrap_or_else(|error| {
        report.fault_of(error.code(), &path, None, error.to_string());
        None
    })
}

/// The `synced` mark: 0 if there is none, nothing if it is damaged.
fn read_synced(directory: &Path, report: &mut LogReport) -> Option<u64> {
    let path = directory.join("synced");
    match file::read(&path, synced::MAX_MARK) {
        Ok(None) => Some(0),
        Ok(Some(mark)) => {
            let size = synced::parse(&mark);
            if size.is_none() {
                report.fault(&path, Some(0), "not a mark of what was synced");
            }
            size
        }
        Err(error) => {
            report.unreadable(&path, &error);
            None
        }
    }
}
