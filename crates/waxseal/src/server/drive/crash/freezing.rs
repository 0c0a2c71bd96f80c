//! A log that is frozen while the machine stops.

use std::path::Path;

use waxseal_io::disk::memory::Operation::{SyncAll, SyncDirectory};

use super::stops::cut;
use super::{LOG, Phase, Sync, World, lock};
use crate::server::drive::AppendError;

/// A log gets some entries and is frozen. Returns whether anyone was told that it is.
fn freeze(world: &mut World) -> Result<bool, String> {
    let Ok(mut process) = world.restart_or_fail()? else { return Ok(false) };
    for count in [1, 270] {
        let texts = world.fresh(count);
        world.append(&mut process, &texts)?;
        if world.failures() > 0 {
            return Ok(false);
        }
        world.publish(&mut process)?;
    }
    let shared = process.0.handle.0.clone();
    lock(&shared.queue).frozen = true;
    shared.finish_freezing();
    let _ = process.0.publisher.step();
    world.look(&process)?;
    let _ = process.0.publisher.freeze();
    Ok(process.0.handle.is_frozen())
}

/// The log opens, has everything, and is frozen if that was said; and so it is after a power cut.
fn stays(mut world: World, mut frozen: bool, seed: u64) -> Result<(), String> {
    for _ in 0..2 {
        let mut process = world.restart()?;
        world.check(&process)?;
        if frozen && !process.0.handle.is_frozen() {
            return Err("it is frozen no more".into());
        }
        // Whoever asks now is told.
        frozen = process.0.handle.is_frozen();
        let texts = world.fresh(1);
        let refused = world.append(&mut process, &texts)?;
        if frozen != refused.iter().any(|error| matches!(error, AppendError::Frozen)) {
            return Err(format!("frozen: {frozen}, and yet {refused:?}"));
        }
        drop(process);
        world.disk.power_cut(seed);
    }
    Ok(())
}

/// Stops the machine everywhere, with one kind of sync left out or none.
fn stops_everywhere(without: Option<&'static Sync>) -> Result<(), String> {
    let world = || without.map_or_else(World::new, |sync| World::new().ignore(sync));
    let mut whole = world();
    assert!(freeze(&mut whole)?, "it can be frozen");
    // The operations of the log itself are for the other tests; the stop behind the last one is none.
    let operations = whole.disk.operations();
    for at in operations * 2 / 3..=operations + 1 {
        let mut world = world();
        world.disk.stop_at(at);
        let frozen = freeze(&mut world)?;
        for how in [None, Some(0), Some(2), Some(3), Some(7)] {
            let stays = stays(cut(&world, how, at), frozen, 4 * at);
            stays.map_err(|error| format!("stopped at {at} ({:?}), then {how:?}: {error}", world.disk.failure()))?;
        }
    }
    Ok(())
}

#[test]
fn a_log_that_is_frozen_stays_so_wherever_the_machine_stops() {
    stops_everywhere(None).expect("kept");
}

#[test]
fn every_sync_of_freezing_is_needed() {
    static MARKER: Sync = Sync { phase: Phase::Running, operation: SyncAll, of: |path| path.ends_with("frozen.new") };
    static NAMES: Sync = Sync { phase: Phase::Running, operation: SyncDirectory, of: |path| path == Path::new(LOG) };
    static FOUND: Sync = Sync { phase: Phase::Opening, operation: SyncDirectory, of: |path| path == Path::new(LOG) };
    for (what, sync) in [("the marker", &MARKER), ("its name", &NAMES), ("its name, when it is found", &FOUND)] {
        assert!(stops_everywhere(Some(sync)).is_err(), "not missed: {what}");
    }
}
