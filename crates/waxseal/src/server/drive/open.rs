//! Making a log and taking it up again: what the records say, through the same transition as live.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, RwLock};

use waxseal_formats::checkpoint::{Checkpoint, SignedCheckpoint};
use waxseal_formats::merkle::EMPTY_ROOT;
use waxseal_formats::note::MAX_NOTE;
use waxseal_formats::tile::TILE_WIDTH;
use waxseal_io::disk::Disk;
use waxseal_io::index::Index;
use waxseal_io::objects::FileObjects;
use waxseal_io::signer::Signer;
use waxseal_io::store::{Behind, DirectoryLock, Extent, StoreError, WalFile, create_directories, segments};
use waxseal_io::system;
use waxseal_log::UnixMillis;
use waxseal_log::dedup::Window;
use waxseal_log::pool::Pool;
use waxseal_log::profile::Profile;
use waxseal_log::recover::{Recovered, Replay, first_segment};
use waxseal_log::scan::{Scan, Scope};
use waxseal_log::segment::SegmentHeader;
use waxseal_log::state::StateError;
use waxseal_log::wal::WalError;

use super::freeze::{Marker, sync_names};
use super::lookup;
use super::publisher::{CHECKPOINT, Publisher, read_synced};
use super::records::{Position, Records};
use super::{Committed, DriveError, Driver, Head, Log, LogHandle, Phase, Published, Queue, Settings, Shared, Space};

/// What a disk writes wholly or not at all, in bytes.
const SECTOR: usize = 512;

impl Log {
    /// Makes an empty log in a directory, which is made as well.
    ///
    /// # Errors
    /// [`DriveError`]; [`StoreError::Exists`] if there is a log in it, which is left alone.
    pub fn create(directory: &Path, profile: &Profile, settings: &Settings) -> Result<(), DriveError> {
        let disk = &settings.disk;
        // Before there is a log: one that is there is never made durable a second time.
        create_directories(&**disk, directory)?;
        let _lock = DirectoryLock::acquire(&**disk, directory)?;
        // Records that were lost are no reason to begin again beside what they once led to.
        if read_synced(&**disk, directory)? > 0 || published_checkpoint(&**disk, directory)?.is_some() {
            return Err(StoreError::Exists { path: directory.to_owned() }.into());
        }
        let length = settings.first_segment;
        let first = SegmentHeader::first(&profile.origin, profile.key_id(), system::random(), length);
        let header = SegmentHeader { time: (settings.now)(), ..first };
        drop(WalFile::create(Arc::clone(disk), directory, &header.encode()?, length)?);
        Ok(())
    }

    /// Whether a directory holds a log, damaged or not.
    ///
    /// # Errors
    /// [`DriveError`] if that cannot be told.
    pub fn exists(directory: &Path, settings: &Settings) -> Result<bool, DriveError> {
        match segments(&*settings.disk, directory) {
            Ok(segments) => Ok(!segments.is_empty()),
            Err(StoreError::Damaged { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes up a log: [`Log::read`] and [`Reading::start`].
    ///
    /// # Errors
    /// As those.
    pub fn open(
        directory: &Path,
        profile: Profile,
        signer: Arc<dyn Signer>,
        settings: Settings,
    ) -> Result<Self, DriveError> {
        Self::read(directory, profile, signer, settings)?.start()
    }

    /// Reads a log and replays its records. Nothing is changed, so that several can be read before one of them is.
    ///
    /// # Errors
    /// [`DriveError`].
    pub fn read(
        directory: &Path,
        profile: Profile,
        signer: Arc<dyn Signer>,
        settings: Settings,
    ) -> Result<Reading, DriveError> {
        if signer.public_key() != &profile.key {
            return Err(DriveError::Key(profile.origin));
        }
        if !Self::exists(directory, &settings)? {
            return Err(StoreError::Missing { path: directory.to_owned() }.into());
        }
        let lock = DirectoryLock::acquire(&*settings.disk, directory)?;
        let profile = Arc::new(profile);
        let found = recover(&*settings.disk, directory, &profile, settings.window)?;
        let frozen = Marker::read(&*settings.disk, directory, &profile)?;
        if let Some(marker) = &frozen {
            let edge = found.recovered.state.edge();
            marker.check(edge.size(), edge.root(), directory)?;
        }
        Ok(Reading { directory: directory.to_owned(), profile, signer, settings, lock, found, frozen })
    }
}

/// A log that was read and found whole.
pub struct Reading {
    directory: PathBuf,
    profile: Arc<Profile>,
    signer: Arc<dyn Signer>,
    settings: Settings,
    lock: DirectoryLock,
    found: Found,
    frozen: Option<Marker>,
}

impl Reading {
    /// Publishes what was not published, and starts the log's threads. A frozen log gets none,
    /// and is not written to but for its public checkpoint.
    ///
    /// # Errors
    /// [`DriveError`]; nothing but an unfinished last record is ever dropped.
    pub fn start(self) -> Result<Log, DriveError> {
        let is_frozen = self.frozen.is_some();
        let Assembled { handle, driver, publisher, lock } = self.assemble()?;
        let threads = if is_frozen {
            Vec::new()
        } else {
            vec![spawn("log-driver", move || driver.run())?, spawn("log-publisher", move || publisher.run())?]
        };
        Ok(Log { handle, threads, _lock: lock })
    }

    /// Publishes what was not published, and puts together what the threads will run.
    pub(super) fn assemble(self) -> Result<Assembled, DriveError> {
        let Self { directory, profile, signer, settings, lock, found, frozen } = self;
        if frozen.is_some() {
            // The process that froze it may have been killed just before its marker was durable.
            sync_names(&*settings.disk, &directory)?;
        }
        let public = directory.join("public");
        let objects = FileObjects::open(Arc::clone(&settings.disk), &public)
            .map_err(|source| DriveError::Io { path: public, source })?;
        let Recovered { state, tail, last, note } = found.recovered;
        let Found { header, extent, synced, position, .. } = found;
        // From here on everything that was found in the records is durable, and may be published and answered.
        let disk = Arc::clone(&settings.disk);
        let wal = WalFile::resume(disk, &directory, extent)?;
        let batch = last.map(Arc::new);
        let mut head =
            Head { size: state.edge().size(), root: state.edge().root(), time: state.time(), note: note.into() };
        match &frozen {
            // Its last checkpoint is signed already, also that of a tree without leaves.
            Some(marker) => head.note = marker.note.as_str().into(),
            None if head.size == 0 => head = empty_head(&profile, &*signer, head.time)?,
            None => {}
        }
        let phase = if frozen.is_some() { Phase::Frozen } else { Phase::Running };
        let index = open_index(&directory, &profile, &settings, head.size)?;
        // Whatever was published has to be older than the next batch, even if its checkpoint is not published yet.
        let published = Head { size: synced, root: EMPTY_ROOT, time: head.time, note: "".into() };
        let shared = Arc::new(Shared {
            directory,
            profile,
            objects,
            index,
            queue: Mutex::new(Queue {
                pool: Pool::new(settings.limits),
                open: true,
                frozen: frozen.is_some(),
                idle: false,
            }),
            arrived: Condvar::new(),
            committed_size: AtomicU64::new(head.size),
            published_size: AtomicU64::new(synced),
            published_time: AtomicU64::new(head.time.0),
            committed: RwLock::new(Committed { head, batch, tail }),
            published: Mutex::new(Published { head: published, phase, idle: false }),
            grown: Condvar::new(),
            space: Space::new(),
            prepared: Mutex::new(None),
            wanted: AtomicU64::new(0),
            rolled: AtomicBool::new(false),
            settings,
        });
        let mut publisher = Publisher::new(shared.clone(), position, synced)?;
        // Tiles that a crash prevented or spoiled are there again before anyone can read.
        publisher.publish()?;
        let driver = Driver { shared: shared.clone(), signer, state, wal, salt: header.salt };
        Ok(Assembled { handle: LogHandle(shared), driver, publisher, lock })
    }
}

/// The index with everything that the records of the first `size` leaves say, if the log has one.
fn open_index(
    directory: &Path,
    profile: &Profile,
    settings: &Settings,
    size: u64,
) -> Result<Option<Index>, DriveError> {
    if !profile.indexed() {
        return Ok(None);
    }
    let mut index = Index::open(&directory.join("index.sqlite"), &profile.key_id(), settings.index);
    lookup::catch_up(&mut index, &*settings.disk, directory, size)?;
    Ok(Some(index))
}

/// A log whose parts wait to be run.
pub(super) struct Assembled {
    pub(super) handle: LogHandle,
    pub(super) driver: Driver,
    pub(super) publisher: Publisher,
    pub(super) lock: DirectoryLock,
}

/// The signed tree without leaves, so that a new log has a checkpoint. No record holds it: its time is when the log was made,
/// and so the same whenever it is signed, whatever the clock says by then.
fn empty_head(profile: &Profile, signer: &dyn Signer, time: UnixMillis) -> Result<Head, DriveError> {
    let checkpoint = Checkpoint::new(&profile.origin, 0, EMPTY_ROOT);
    let signature = signer.sign(&profile.to_sign(&checkpoint, time))?;
    let note = profile.note(&checkpoint, time, signature).ok_or_else(|| DriveError::Key(profile.origin.clone()))?;
    Ok(Head { size: 0, root: EMPTY_ROOT, time, note: note.into() })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>, DriveError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|source| DriveError::Io { path: name.into(), source })
}

/// A log as it was found on the disk.
struct Found {
    recovered: Recovered,
    /// Header of the last segment.
    header: SegmentHeader,
    /// Where its records end, and what stands behind them.
    extent: Extent,
    /// Leaves whose tiles are durable.
    synced: u64,
    /// The record with the first entry of the bundle that is unfinished at that size.
    position: Position,
}

fn recover(disk: &dyn Disk, directory: &Path, profile: &Arc<Profile>, window: usize) -> Result<Found, DriveError> {
    let synced = read_synced(disk, directory)?;
    // Bundles are taken up at a full one, so that nothing but the records is needed to go on.
    let bundled = synced.saturating_sub(synced % TILE_WIDTH);
    let published = published_checkpoint(disk, directory)?;
    let numbers = segments(disk, directory)?;
    // The views are made of all records, so none is ever removed.
    if numbers.first().is_some_and(|first| *first != 0) {
        let error = WalError::Segment("the first segment is missing");
        return Err(DriveError::Segment { path: directory.join("wal"), error });
    }
    let mut headers = Vec::with_capacity(numbers.len());
    for number in &numbers {
        headers.push(Records::open(disk, directory, *number)?.1);
    }
    let sizes: Vec<_> = headers.iter().map(|header| header.size).collect();
    let start = first_segment(&sizes, bundled, window as u64);

    let mut replay: Option<Replay> = None;
    let mut position = None;
    let mut last_scanner = None;
    let mut extent = Extent { sequence: 0, last: 0, end: 0, length: 0, behind: Behind::Zeros };
    let mut buffer = Vec::new();
    let last = headers.len().saturating_sub(1);
    for (number, header) in headers.iter().enumerate().skip(start) {
        let replay = match &mut replay {
            Some(replay) => {
                replay.segment(header)?;
                replay
            }
            None => {
                let seed = u64::from_ne_bytes(system::random());
                let window = Window::new(window, header.size, seed);
                replay.insert(Replay::new(profile.clone(), header, window, published.clone())?)
            }
        };
        let (mut records, _) = Records::open(disk, directory, header.sequence)?;
        let end = records.scanner.offset;
        extent = Extent { sequence: header.sequence, last: end, end, length: header.length, behind: Behind::Zeros };
        loop {
            // Entries whose tiles are durable need not be read again.
            let scope = if replay.size() < synced { Scope::Leaves } else { Scope::Bodies };
            let before = (replay.size(), records.scanner.clone());
            match records.next(scope, &mut buffer)? {
                Scan::Record(record) => {
                    replay.record(&record)?;
                    (extent.last, extent.end) = (before.1.offset, records.scanner.offset);
                    if position.is_none() && replay.size() > bundled {
                        position = Some((header.sequence, before.1, before.0));
                    }
                }
                Scan::End => break,
                Scan::Torn if number == last => {
                    tracing::warn!(
                        segment = %records.segment.path().display(),
                        offset = records.scanner.offset,
                        "the last record of the log was never finished: it is dropped, nobody was answered"
                    );
                    extent.behind = Behind::Torn;
                    break;
                }
                Scan::Torn => {
                    let error =
                        WalError::Damaged { offset: records.scanner.offset, sequence: records.scanner.sequence };
                    return Err(DriveError::Segment { path: records.segment.path().to_owned(), error });
                }
            }
        }
        last_scanner = Some(records.scanner);
    }
    let missing = || StoreError::Missing { path: directory.to_owned() };
    let recovered = replay.ok_or_else(missing)?.finish()?;
    let size = recovered.state.edge().size();
    if size < synced {
        return Err(StateError::Behind { size, published: synced }.into());
    }
    let header = headers.pop().ok_or_else(missing)?;
    let (mut records, _) = Records::open(disk, directory, position.as_ref().map_or(header.sequence, |found| found.0))?;
    let skip = match position {
        Some((_, scanner, first)) => {
            records.scanner = scanner;
            bundled.saturating_sub(first)
        }
        // Nothing stands behind the last full bundle yet.
        None => {
            records.scanner = last_scanner.ok_or_else(missing)?;
            0
        }
    };
    let position = Position { records, skip };
    Ok(Found { recovered, header, extent, synced, position })
}

/// The checkpoint that was last published, unless a power cut has torn its file: that is not synced by itself, and the records
/// have whatever it said.
pub(super) fn published_checkpoint(disk: &dyn Disk, directory: &Path) -> Result<Option<Checkpoint>, DriveError> {
    let path = directory.join("public").join(CHECKPOINT);
    let file = disk.read(&path, MAX_NOTE).map_err(|source| DriveError::Io { path: path.clone(), source })?;
    let Some(text) = file.filter(|text| !is_torn(text)) else { return Ok(None) };
    let problem = |problem: String| DriveError::Object { name: path.display().to_string(), problem };
    let text = String::from_utf8(text).map_err(|_| problem("not a checkpoint".into()))?;
    let signed = SignedCheckpoint::parse(&text).map_err(|error| problem(error.to_string()))?;
    Ok(Some(signed.checkpoint))
}

/// Whether a text file is what a power cut may leave of one: some of its sectors are zeros, or missing at its end.
fn is_torn(text: &[u8]) -> bool {
    text.contains(&0) || !text.ends_with(b"\n") && text.len().is_multiple_of(SECTOR)
}
