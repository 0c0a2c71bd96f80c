//! The log on a disk that loses whatever it may lose.
//!
//! A [`World`] is a machine with such a disk and a clock, and what people outside of it were told by the log: an entry's place,
//! a checkpoint. Whatever happens to the machine, that has to stay true.

mod faults;
mod freezing;
mod full;
mod schedules;
mod stops;
mod syncs;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::crypto::KeyKind;
use waxseal_formats::merkle::{CompactRange, Hash, leaf_hash, node_hash, verify_inclusion};
use waxseal_formats::tile::{TileId, TileKind, parse_bundle};
use waxseal_io::disk::Disk;
use waxseal_io::disk::memory::{MemoryDisk, Operation};
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_log::UnixMillis;
use waxseal_log::profile::{Bodies, Face, Profile};
use waxseal_log::publish;
use waxseal_log::sequencer::NewEntry;

use super::open::Assembled;
use super::{AppendError, DriveError, Head, Log, Settings, lock};

/// Where the log is.
const LOG: &str = "/data/logs/log";

/// splitmix64: the same choices for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What people outside were told.
#[derive(Clone, Default)]
struct Told {
    /// Leaf hashes by index.
    entries: BTreeMap<u64, Hash>,
    /// Roots by size.
    checkpoints: BTreeMap<u64, Hash>,
    /// Size and time of the last published checkpoint.
    published: Option<(u64, UnixMillis)>,
}

impl Told {
    fn checkpoint(&mut self, head: &Head) -> Result<(), String> {
        match self.checkpoints.insert(head.size, head.root) {
            Some(root) if root != head.root => Err(format!("two roots of size {}", head.size)),
            _ => Ok(()),
        }
    }
}

/// What a process is doing with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Making = 0,
    Opening = 1,
    Running = 2,
}

/// A kind of sync.
struct Sync {
    phase: Phase,
    operation: Operation,
    /// Whether it is one of this file or directory.
    of: fn(&Path) -> bool,
}

/// A machine, and what its log has said.
struct World {
    disk: MemoryDisk,
    settings: Settings,
    profile: Profile,
    clock: Arc<AtomicU64>,
    /// What the process said when it could not go on.
    failures: Arc<Mutex<Vec<String>>>,
    phase: Arc<AtomicU8>,
    /// The kind of sync that does nothing on this machine.
    ignored: Option<&'static Sync>,
    told: Told,
    entries: u64,
}

fn key() -> Arc<KeyPair> {
    static KEY: OnceLock<Arc<KeyPair>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(KeyPair::generate(KeyKind::Ed25519).expect("key"))).clone()
}

impl World {
    fn new() -> Self {
        Self::on(MemoryDisk::new())
    }

    fn on(disk: MemoryDisk) -> Self {
        let (clock, failures) = (Arc::new(AtomicU64::new(1_000_000)), Arc::new(Mutex::new(Vec::new())));
        let (shown, said) = (clock.clone(), failures.clone());
        let settings = Settings {
            // Small, so that segments are rolled often.
            first_segment: 4 << 10,
            max_segment: 16 << 10,
            space_interval: Duration::ZERO,
            disk: Arc::new(disk.clone()),
            now: Arc::new(move || UnixMillis(shown.load(Ordering::SeqCst))),
            on_failure: Arc::new(move |error| lock(&said).push(error.to_string())),
            ..Settings::default()
        };
        let key = key().public_key().clone();
        let profile = Profile { origin: "log.example".into(), key, face: Face::RekorV2, bodies: Bodies::Kept };
        let phase = Arc::new(AtomicU8::new(Phase::Making as u8));
        Self { disk, settings, profile, clock, failures, phase, ignored: None, told: Told::default(), entries: 0 }
    }

    /// From now on this kind of sync does nothing.
    fn ignore(mut self, sync: &'static Sync) -> Self {
        let phase = self.phase.clone();
        self.disk.ignore(move |operation, path| {
            phase.load(Ordering::SeqCst) == sync.phase as u8 && operation == sync.operation && (sync.of)(path)
        });
        self.ignored = Some(sync);
        self
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// The same machine again, to be treated otherwise.
    fn copy(&self) -> Self {
        let copy = Self::on(self.disk.copy());
        copy.clock.store(self.clock.load(Ordering::SeqCst), Ordering::SeqCst);
        let copy = Self { told: self.told.clone(), entries: self.entries, profile: self.profile.clone(), ..copy };
        match self.ignored {
            Some(sync) => copy.ignore(sync),
            None => copy,
        }
    }

    fn failures(&self) -> usize {
        lock(&self.failures).len()
    }

    fn tick(&self, millis: i64) {
        let now = self.clock.load(Ordering::SeqCst);
        self.clock.store(now.saturating_add_signed(millis), Ordering::SeqCst);
    }

    /// Starts a process: makes the log if there is none, as an instance does until it is whole, and takes it up.
    fn start(&mut self) -> Result<Process, DriveError> {
        let directory = Path::new(LOG);
        self.enter(Phase::Making);
        if !Log::exists(directory, &self.settings)? {
            Log::create(directory, &self.profile, &self.settings)?;
        }
        self.enter(Phase::Opening);
        let process = Process(self.read()?.assemble()?);
        self.enter(Phase::Running);
        lock(&self.failures).clear();
        Ok(process)
    }

    fn read(&self) -> Result<super::Reading, DriveError> {
        Log::read(Path::new(LOG), self.profile.clone(), key(), self.settings.clone())
    }

    /// As [`World::start`], of a log that has to open; what it publishes by that is told.
    fn restart(&mut self) -> Result<Process, String> {
        let process = self.start().map_err(|error| format!("does not open: {error}"))?;
        self.look(&process)?;
        Ok(process)
    }

    /// Commits these entries as one batch. `Err` is a broken promise, a refusal is none.
    fn append(&mut self, process: &mut Process, texts: &[String]) -> Result<Vec<AppendError>, String> {
        let shared = process.0.handle.0.clone();
        let mut refused = Vec::new();
        let mut waiting = Vec::new();
        for text in texts {
            match shared.enqueue(NewEntry::leaf(text.clone().into_bytes()).expect("fits")) {
                Ok(answer) => waiting.push((leaf_hash(text.as_bytes()), answer)),
                Err(error) => refused.push(error),
            }
        }
        let batch = lock(&shared.queue).pool.take();
        if !batch.is_empty() {
            let _ = process.0.driver.step(batch);
        }
        for (leaf, mut answer) in waiting {
            let sequenced = match answer.try_recv() {
                Ok(Ok(sequenced)) => sequenced,
                Ok(Err(error)) => {
                    refused.push(error);
                    continue;
                }
                Err(_) => {
                    refused.push(AppendError::Stopped);
                    continue;
                }
            };
            let (index, head) = (sequenced.index, &sequenced.head);
            if let Some(proof) = sequenced.batch.and_then(|batch| batch.inclusion_proof(index)) {
                verify_inclusion(index, head.size, &leaf, &proof, &head.root)
                    .map_err(|error| format!("entry {index}: {error}"))?;
            }
            let signed = SignedCheckpoint::parse(&head.note).map_err(|error| error.to_string())?;
            if (signed.checkpoint.size, signed.checkpoint.root) != (head.size, head.root) {
                return Err(format!("the checkpoint of {} is another", head.size));
            }
            self.told.checkpoint(head)?;
            if self.told.entries.insert(index, leaf).is_some_and(|known| known != leaf) {
                return Err(format!("two entries at {index}"));
            }
        }
        Ok(refused)
    }

    /// Entries that were never there before.
    fn fresh(&mut self, count: u64) -> Vec<String> {
        let first = self.entries;
        self.entries += count;
        (first..self.entries).map(|n| format!("entry {n} of a log that has to keep it")).collect()
    }

    /// Publishes what there is to be published, and lets people look.
    fn publish(&mut self, process: &mut Process) -> Result<(), String> {
        let _ = process.0.publisher.step();
        self.look(process)
    }

    /// People read the published checkpoint.
    fn look(&mut self, process: &Process) -> Result<(), String> {
        let head = process.0.handle.published();
        if head.note.is_empty() {
            return Ok(());
        }
        let now = (head.size, head.time);
        match self.told.published {
            Some(before) if before == now => {}
            Some((size, time)) if size >= head.size || time >= head.time => {
                return Err(format!("checkpoint {size} of {time:?} is followed by {} of {:?}", head.size, head.time));
            }
            _ => {}
        }
        self.told.published = Some(now);
        self.told.checkpoint(&head)
    }

    /// Whether everything that people were told is still true of a log that was taken up.
    fn check(&self, process: &Process) -> Result<(), String> {
        let head = process.0.handle.published();
        if process.0.handle.head() != head {
            return Err("a log that was taken up has everything published".into());
        }
        let signed = SignedCheckpoint::parse(&head.note).map_err(|error| error.to_string())?;
        self.profile.verify(&signed).map_err(|error| error.to_string())?;
        let leaves = self.tiles(head.size)?;
        for (index, leaf) in &self.told.entries {
            if leaves.get(usize::try_from(*index).expect("small")) != Some(leaf) {
                return Err(format!("entry {index} is lost"));
            }
        }
        let mut edge = CompactRange::new();
        let mut known = self.told.checkpoints.clone();
        known.insert(head.size, head.root);
        let mut agree = |edge: &CompactRange| match known.remove(&edge.size()) {
            Some(root) if root != edge.root() => Err(format!("a fork: another root of size {}", edge.size())),
            _ => Ok(()),
        };
        agree(&edge)?;
        for leaf in leaves {
            edge.append(leaf, |_, _| ());
            agree(&edge)?;
        }
        known.keys().next().map_or(Ok(()), |size| Err(format!("the log has not the size {size} that it once had")))
    }

    /// The leaves that were published, if all files are those that follow from them.
    fn tiles(&self, size: u64) -> Result<Vec<Hash>, String> {
        let read = |id: &TileId| {
            let path = Path::new(LOG).join("public").join(id.to_string());
            let file = self.disk.read(&path, 1 << 20).map_err(|error| format!("{id}: {error}"))?;
            file.ok_or_else(|| format!("{id} is missing"))
        };
        let mut level = Vec::new();
        for id in publish::changed(TileKind::Entries, 0, size) {
            if self.profile.bodies == Bodies::Sealed {
                continue;
            }
            let bundle = read(&id)?;
            level.extend(
                parse_bundle(&id, &bundle).map_err(|error| format!("{id}: {error}"))?.into_iter().map(leaf_hash),
            );
        }
        if self.profile.bodies == Bodies::Sealed {
            for id in publish::changed(TileKind::Hash(0), 0, size) {
                level.extend(read(&id)?.as_chunks::<32>().0);
            }
        }
        let leaves = level.clone();
        for tile_level in 0..=waxseal_formats::tile::MAX_LEVEL {
            for id in publish::changed(TileKind::Hash(tile_level), 0, size) {
                let start = usize::try_from(id.index * 256).expect("small");
                let expected = level.get(start..start + usize::from(id.width)).ok_or("too few hashes")?;
                if read(&id)? != expected.as_flattened() {
                    return Err(format!("{id} is another"));
                }
            }
            level = level.chunks_exact(256).map(root_of).collect();
        }
        Ok(leaves)
    }
}

/// The root of a perfect tree.
fn root_of(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    level[0]
}

/// A process that uses the log, one step at a time. Dropping it is killing it.
struct Process(Assembled);

/// A day in the life of a log: batches of different sizes, repetitions, full tiles, segment rolls, publication late and early,
/// and a clock that is set back. It ends with the process, by a failure or by itself.
fn day(world: &mut World) -> Result<(), String> {
    let Ok(mut process) = world.restart_or_fail()? else { return Ok(()) };
    for (at, count) in [1, 3, 2, 120, 1, 5, 140, 2, 1, 30, 9, 1].into_iter().enumerate() {
        world.tick(if at == 5 { -5000 } else { 7 });
        let mut texts = world.fresh(count);
        // One that was there before, and one twice in a batch.
        texts.push("entry 0 of a log that has to keep it".to_owned());
        texts.extend(texts.first().cloned());
        world.append(&mut process, &texts)?;
        if at % 3 != 1 {
            world.publish(&mut process)?;
        }
        if world.failures() > 0 {
            return Ok(());
        }
    }
    process.0.publisher.finish();
    Ok(())
}

impl World {
    /// As [`World::restart`]; the inner error is that of a disk which was to fail.
    fn restart_or_fail(&mut self) -> Result<Result<Process, DriveError>, String> {
        match self.start() {
            Ok(process) => {
                self.look(&process)?;
                Ok(Ok(process))
            }
            Err(error) if self.disk.failure().is_some() => Ok(Err(error)),
            Err(error) => Err(format!("does not open: {error}")),
        }
    }

    /// How many operations a day has.
    fn operations_of(day: impl Fn(&mut World) -> Result<(), String>) -> u64 {
        let mut world = World::new();
        day(&mut world).expect("a good day");
        assert_eq!(world.failures(), 0);
        assert!(world.told.checkpoints.len() > 3);
        world.disk.operations()
    }

    /// After the process was killed: what the next one finds and publishes is there after a power cut too.
    fn has_what_it_published(mut self, seed: u64) -> Result<(), String> {
        let process = self.restart()?;
        self.check(&process)?;
        drop(process);
        self.disk.power_cut(seed);
        let process = self.restart()?;
        self.check(&process)
    }

    /// After whatever happened: the log is taken up, has everything, goes on, and has that too after a power cut.
    fn recovers(mut self, seed: u64) -> Result<(), String> {
        let mut process = self.restart()?;
        self.check(&process)?;
        let texts = self.fresh(2);
        let refused = self.append(&mut process, &texts)?;
        if !refused.is_empty() || self.failures() > 0 {
            return Err(format!("takes nothing: {refused:?}"));
        }
        self.publish(&mut process)?;
        drop(process);
        self.disk.power_cut(seed);
        let process = self.restart()?;
        self.check(&process)
    }
}
