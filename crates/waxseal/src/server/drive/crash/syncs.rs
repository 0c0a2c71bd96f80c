//! Each sync that the code makes is there for a reason: without it, something that was promised can be lost.

use std::path::Path;

use waxseal_io::disk::memory::Operation::{SyncAll, SyncData, SyncDirectory, SyncFileSystem};

use super::stops::{cut, morning};
use super::{LOG, Phase, Sync, World};

/// What becomes of a log that goes without one kind of sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// A promise is broken.
    Broken,
    /// None is: another sync comes before it could matter. Where it is made, the code says what for.
    Kept,
}

fn is_wal(path: &Path) -> bool {
    path == Path::new(LOG).join("wal")
}

pub(super) fn is_prepared(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.contains("/wal/prepared-"))
}

pub(super) fn is_segment(path: &Path) -> bool {
    path.parent().is_some_and(is_wal) && !is_prepared(path)
}

/// Every kind of sync of a log: when it is made, what of, what makes it needed.
#[rustfmt::skip]
static SYNCS: &[(&str, Sync, Without)] = &[
    ("its own name, in the directory above",
        Sync { phase: Phase::Making, operation: SyncDirectory, of: |path| Path::new(LOG).parent() == Some(path) }, Without::Broken),
    ("the names of the directories above it",
        Sync { phase: Phase::Making, operation: SyncDirectory, of: |path| Path::new(LOG).ancestors().skip(2).any(|above| above == path) }, Without::Broken),
    ("the name of the directory of segments",
        Sync { phase: Phase::Making, operation: SyncDirectory, of: |path| path == Path::new(LOG) }, Without::Broken),
    ("the zeros of the first segment: the sync of its header would do",
        Sync { phase: Phase::Making, operation: SyncAll, of: is_prepared }, Without::Kept),
    ("the header of the first segment, before its name",
        Sync { phase: Phase::Making, operation: SyncData, of: is_prepared }, Without::Broken),
    ("the name of the first segment: it is synced again when the log is opened",
        Sync { phase: Phase::Making, operation: SyncDirectory, of: is_wal }, Without::Kept),
    ("the segment that is taken up: its last record may never have been synced",
        Sync { phase: Phase::Opening, operation: SyncAll, of: is_segment }, Without::Broken),
    ("the name of the segment that is taken up: it may never have been synced",
        Sync { phase: Phase::Opening, operation: SyncDirectory, of: is_wal }, Without::Broken),
    ("a record, before anyone is answered",
        Sync { phase: Phase::Running, operation: SyncData, of: is_segment }, Without::Broken),
    ("the zeros of the next segment: the sync of its header would do",
        Sync { phase: Phase::Running, operation: SyncAll, of: is_prepared }, Without::Kept),
    ("the header of the next segment, before its name",
        Sync { phase: Phase::Running, operation: SyncData, of: is_prepared }, Without::Broken),
    ("the name of the next segment, before a record is written to it",
        Sync { phase: Phase::Running, operation: SyncDirectory, of: is_wal }, Without::Broken),
    ("everything that is published, before its size is noted",
        Sync { phase: Phase::Running, operation: SyncFileSystem, of: |_| true }, Without::Broken),
    ("the note of that size, before it has its name",
        Sync { phase: Phase::Running, operation: SyncAll, of: |path| path.ends_with("synced.new") }, Without::Broken),
];

/// Stops the machine everywhere, as long as nothing is found to be wrong.
fn stops_everywhere(sync: &'static Sync, stops: impl Iterator<Item = u64>) -> Result<u64, String> {
    let mut ignored = 0;
    for at in stops {
        let mut world = World::new().ignore(sync);
        world.disk.stop_at(at);
        morning(&mut world)?;
        ignored += world.disk.ignored();
        cut(&world, None, at).has_what_it_published(4 * at)?;
        for how in [None, Some(0), Some(2), Some(3), Some(7)] {
            cut(&world, how, at).recovers(4 * at)?;
        }
    }
    Ok(ignored)
}

#[test]
fn every_sync_is_needed() {
    let operations = World::operations_of(morning);
    for (what, sync, without) in SYNCS {
        match without {
            Without::Broken => {
                assert!(stops_everywhere(sync, 1..=operations).is_err(), "not missed: {what}");
            }
            Without::Kept => {
                let found = stops_everywhere(sync, (1..=operations).step_by(4));
                assert!(found.as_ref().is_ok_and(|ignored| *ignored > 0), "{what}: {found:?}");
            }
        }
    }
}

#[test]
fn every_sync_is_in_the_table() {
    let mut world = World::new();
    morning(&mut world).expect("a good morning");
    drop(world.restart().expect("opened"));
    for (operation, path) in world.disk.syncs() {
        let listed = SYNCS.iter().any(|(_, sync, _)| sync.operation == operation && (sync.of)(&path));
        assert!(listed, "{operation:?} of {}", path.display());
    }
}
