//! The machine stops at every single operation, at those of recovery too, and in pairs.

use waxseal_log::profile::Bodies;

use super::{World, day};

/// What is done to a machine that stopped: the process alone is killed, or the power is cut, with these choices of what is left.
const CUTS: [Option<u64>; 5] = [None, Some(0), Some(1), Some(2), Some(3)];

/// A shorter day, for the pairs.
pub(super) fn morning(world: &mut World) -> Result<(), String> {
    let Ok(mut process) = world.restart_or_fail()? else { return Ok(()) };
    for count in [1, 2, 255, 3] {
        world.tick(7);
        let texts = world.fresh(count);
        world.append(&mut process, &texts)?;
        world.publish(&mut process)?;
        if world.failures() > 0 {
            return Ok(());
        }
    }
    process.0.publisher.finish();
    Ok(())
}

pub(super) fn cut(world: &World, cut: Option<u64>, at: u64) -> World {
    let world = world.copy();
    match cut {
        Some(seed) => world.disk.power_cut(seed.wrapping_add(4 * at)),
        None => world.disk.kill(),
    }
    world
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_machine_stops() {
    let operations = World::operations_of(day);
    assert!(operations > 150, "{operations}");
    for at in 1..=operations {
        let mut world = World::new();
        world.disk.stop_at(at);
        day(&mut world).expect("no promise is broken while it runs");
        let last = world.disk.failure();
        for how in [None, Some(0), CUTS[usize::try_from(at).expect("small") % CUTS.len()]] {
            let recovered = cut(&world, how, at).recovers(at);
            recovered.unwrap_or_else(|error| panic!("stopped at {at} ({last:?}), then {how:?}: {error}"));
        }
        let published = cut(&world, None, at).has_what_it_published(at);
        published.unwrap_or_else(|error| panic!("killed at {at} ({last:?}), opened, then power cut: {error}"));
    }
}

#[test]
fn a_sealed_log_loses_nothing_either() {
    let sealed = || {
        let mut world = World::new();
        world.profile.bodies = Bodies::Sealed;
        world
    };
    let mut whole = sealed();
    morning(&mut whole).expect("a good morning");
    for at in 1..=whole.disk.operations() {
        let mut world = sealed();
        world.disk.stop_at(at);
        morning(&mut world).expect("no promise is broken while it runs");
        for how in [None, Some(3)] {
            let recovered = cut(&world, how, at).recovers(at);
            recovered.unwrap_or_else(|error| panic!("stopped at {at} ({:?}), {how:?}: {error}", world.disk.failure()));
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_wherever_recovery_stops_too() {
    let operations = World::operations_of(morning);
    let mut pairs = 0;
    for at in 1..=operations {
        let mut world = World::new();
        world.disk.stop_at(at);
        morning(&mut world).expect("no promise is broken while it runs");
        let last = world.disk.failure();
        // Each place with one way to stop, and all ways over all places.
        let how = CUTS[usize::try_from(at).expect("small") % CUTS.len()];
        for within in (1 + at % 2..).step_by(2) {
            let mut second = cut(&world, how, at);
            second.disk.stop_at(within);
            let opened = second.restart_or_fail().expect("no promise is broken while it is taken up").is_ok();
            if opened && second.disk.failure().is_none() {
                break;
            }
            let then = CUTS[usize::try_from(within).expect("small") % CUTS.len()];
            let recovered = cut(&second, then, within).recovers(within);
            let second = second.disk.failure();
            recovered.unwrap_or_else(|error| {
                panic!("stopped at {at} ({last:?}), {how:?}, again at {within} ({second:?}), {then:?}: {error}")
            });
            pairs += 1;
        }
    }
    assert!(pairs > 200, "{pairs}");
}
