//! Every operation fails, with each error that a disk has, and in pairs.

use waxseal_io::disk::memory::{Fault, Operation};

use super::stops::cut;
use super::syncs::{is_prepared, is_segment};
use super::{AppendError, World, lock};

const FAULTS: [Fault; 4] = [Fault::Io, Fault::IoAfterwards, Fault::NoSpace, Fault::ShortWrite];
/// How many of the pairs are tried: each place with some others.
const STRIDE: u64 = 9;

/// Entries in batches, whatever is refused. Returns the refusals, and whether the last batch was taken and published.
fn load(world: &mut World) -> Result<(Vec<AppendError>, bool), String> {
    let mut refused = Vec::new();
    let Ok(mut process) = world.restart_or_fail()? else { return Ok((refused, false)) };
    let mut last = false;
    for count in [1, 2, 255, 60, 1] {
        world.tick(7);
        let texts = world.fresh(count);
        let errors = world.append(&mut process, &texts)?;
        last = errors.is_empty();
        refused.extend(errors);
        if world.failures() == 0 {
            world.publish(&mut process)?;
        }
        if world.failures() > 0 {
            // Whoever comes later is told at once.
            let errors = world.append(&mut process, &texts)?;
            assert!(errors.iter().all(|error| matches!(error, AppendError::Stopped)), "{errors:?}");
            return Ok((refused, false));
        }
        // Whatever failed, readers have a whole tree.
        world.tiles(process.0.handle.published().size)?;
    }
    // What failed the last time is tried again.
    world.publish(&mut process)?;
    world.check(&process)?;
    Ok((refused, last))
}

fn operations() -> u64 {
    World::operations_of(|world| load(world).map(|(refused, _)| assert!(refused.is_empty(), "{refused:?}")))
}

#[test]
fn an_operation_that_fails_loses_nothing() {
    let opening = {
        let mut world = World::new();
        drop(world.restart().expect("opened"));
        world.disk.operations()
    };
    let (mut ended, mut went_on) = (0, 0);
    for at in 1..=operations() {
        for fault in FAULTS.into_iter().skip(usize::from(at % 2 == 0)).step_by(2).chain([Fault::NoSpace]) {
            let mut world = World::new();
            world.disk.fail_at(at, fault);
            let (refused, last) = load(&mut world).unwrap_or_else(|error| panic!("{fault:?} at {at}: {error}"));
            let (operation, path) = world.disk.failure().expect("it was to fail");
            let said = lock(&world.failures).clone();
            let what = format!("{fault:?} of {operation:?} {} ({at}): {refused:?}, {said:?}", path.display());
            if at > opening {
                let failures = world.failures();
                let no_space = matches!(fault, Fault::NoSpace | Fault::ShortWrite);
                let can_be_made_again = is_prepared(&path) || path.ends_with("synced.new");
                if is_segment(&path) && operation != Operation::Rename || operation.is_sync() && !can_be_made_again {
                    // What is on the disk is unknown: the process ends, and says so once.
                    assert_eq!(failures, 1, "{what}");
                } else if no_space {
                    // Nothing is lost, and it goes on by itself.
                    assert!(failures == 0 && last, "{what}");
                    assert!(refused.iter().all(|error| matches!(error, AppendError::Full)), "{what}");
                }
                assert!(failures <= 1, "{what}");
                *(if failures > 0 { &mut ended } else { &mut went_on }) += 1;
            }
            let how = if at % 2 == 0 { None } else { Some(3) };
            cut(&world, how, at).recovers(at).unwrap_or_else(|error| panic!("{what}, then {how:?}: {error}"));
            if operation.is_sync() {
                let published = cut(&world, None, at).has_what_it_published(4 * at);
                published.unwrap_or_else(|error| panic!("{what}, opened, then power cut: {error}"));
            }
        }
    }
    assert!(ended > 50 && went_on > 50, "{ended} ended, {went_on} went on");
}

#[test]
fn two_operations_that_fail_lose_nothing() {
    let mut pairs = 0;
    for at in 1..=operations() {
        let mut world = World::new();
        world.disk.fail_at(at, FAULTS[usize::try_from(at).expect("small") % FAULTS.len()]);
        load(&mut world).unwrap_or_else(|error| panic!("at {at}: {error}"));
        let what = world.disk.failure();
        // The second one while the log is taken up again, or soon after.
        for within in (1 + at % STRIDE..40).step_by(usize::try_from(STRIDE).expect("small")) {
            let mut second = cut(&world, (within % 2 == 0).then_some(at), within);
            second.disk.fail_at(within, FAULTS[usize::try_from(at + within).expect("small") % FAULTS.len()]);
            load(&mut second).unwrap_or_else(|error| panic!("{what:?}, then at {within}: {error}"));
            let recovered = cut(&second, (within % 3 > 0).then_some(at), within).recovers(at);
            recovered.unwrap_or_else(|error| panic!("{what:?}, then {:?}: {error}", second.disk.failure()));
            pairs += 1;
        }
    }
    assert!(pairs > 300, "{pairs}");
}
