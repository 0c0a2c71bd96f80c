//! Two sequencers on one store, in random schedules.

use waxseal_formats::code::Code;

use super::{Process, Random, World};

const SCHEDULES: u64 = 1000;
const STEPS: u64 = 24;

/// What the two have: at most one of them runs.
type Sequencers = [Option<Process>; 2];

/// One step of a schedule. `Err` is a broken promise.
fn step(world: &mut World, running: &mut Sequencers, random: &mut Random) -> Result<(), String> {
    let at = usize::try_from(random.below(2)).expect("small");
    let other_runs = running[1 - at].is_some();
    match random.below(16) {
        // Both are restarted again and again by those who look after them.
        0..=3 if running[at].is_none() => match world.start() {
            Ok(_) if other_runs => return Err("both are running".into()),
            Ok(process) => {
                world.look(&process)?;
                running[at] = Some(process);
            }
            Err(error) if other_runs && error.code() == Code::LOG_STORE_LOCKED => {}
            Err(error) => return Err(format!("does not open: {error}")),
        },
        0..=8 => {
            if let Some(process) = &mut running[at] {
                let count = 1 + random.below(40);
                let mut texts = world.fresh(count);
                texts.push(format!("entry {} of a log that has to keep it", random.below(world.entries)));
                let refused = world.append(process, &texts)?;
                if !refused.is_empty() {
                    return Err(format!("refused: {refused:?}"));
                }
            }
        }
        // Often enough the publisher does not come to it.
        9..=11 => {
            if let Some(process) = &mut running[at] {
                world.publish(process)?;
                if random.below(3) == 0 {
                    is_durable(world)?;
                }
            }
        }
        12 => {
            let back = random.below(3) == 0;
            let millis = i64::try_from(random.below(100_000)).expect("small");
            world.tick(if back { -millis } else { millis });
        }
        // It is stopped in order.
        13 => {
            if let Some(mut process) = running[at].take() {
                world.publish(&mut process)?;
                process.0.publisher.finish();
            }
        }
        // It is killed, in the middle of something or not.
        14 => {
            if running[at].is_some() {
                stop(world, running, random)?;
                world.disk.kill();
            }
        }
        _ => {
            stop(world, running, random)?;
            world.disk.power_cut(random.next());
        }
    }
    Ok(())
}

/// Whoever runs does a little more, and is gone within it.
fn stop(world: &mut World, running: &mut Sequencers, random: &mut Random) -> Result<(), String> {
    world.disk.stop_at(1 + random.below(12));
    for process in running.iter_mut().filter_map(Option::take) {
        let mut process = process;
        let count = 1 + random.below(200);
        let texts = world.fresh(count);
        world.append(&mut process, &texts)?;
        if world.failures() == 0 {
            world.publish(&mut process)?;
        }
    }
    Ok(())
}

/// Whether a power cut would leave everything that is published and acknowledged now.
fn is_durable(world: &World) -> Result<(), String> {
    let mut after = world.copy();
    after.disk.power_cut(0);
    let process = after.restart()?;
    after.check(&process)
}

#[test]
fn two_sequencers_on_one_store_never_fork() {
    let (mut entries, mut locked_out) = (0, 0);
    for seed in 0..SCHEDULES {
        let mut random = Random(seed);
        let mut world = World::new();
        let mut running: Sequencers = [None, None];
        for at in 0..STEPS {
            let held = running.iter().any(Option::is_some);
            step(&mut world, &mut running, &mut random)
                .unwrap_or_else(|error| panic!("schedule {seed}, step {at}: {error}"));
            locked_out += u64::from(held && world.start().is_err());
        }
        running = [None, None];
        drop(running);
        let process = world.restart().unwrap_or_else(|error| panic!("schedule {seed}: {error}"));
        world.check(&process).unwrap_or_else(|error| panic!("schedule {seed}: {error}"));
        entries += world.told.entries.len();
    }
    assert!(entries > 50_000 && locked_out > 1000, "{entries} entries, {locked_out} times locked out");
}
