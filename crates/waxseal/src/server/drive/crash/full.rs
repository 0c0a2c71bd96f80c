//! A disk that fills up, and is emptied again.

use std::path::Path;

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;
use waxseal_formats::code::Code;
use waxseal_io::disk::{Disk, Open};

use super::{AppendError, Process, World};
use crate::server::gateway::Refusal;

const RESERVE: u64 = 64 << 10;

/// A log on a disk that has this much space besides the reserve.
fn world(space: u64) -> (World, Process) {
    let mut world = World::new();
    world.settings.reserve = RESERVE;
    let mut process = world.restart().expect("opened");
    let texts = world.fresh(3);
    assert!(world.append(&mut process, &texts).expect("kept").is_empty());
    world.publish(&mut process).expect("kept");
    leave(&world, RESERVE + space);
    (world, process)
}

/// Makes the disk just so large that this much is free.
fn leave(world: &World, free: u64) {
    world.disk.set_capacity(Some(1 << 40));
    let used = (1 << 40) - world.disk.free_space(Path::new("/")).expect("told");
    world.disk.set_capacity(Some(used + free));
}

fn append(world: &mut World, process: &mut Process, count: u64) -> Vec<AppendError> {
    let texts = world.fresh(count);
    world.append(process, &texts).expect("kept")
}

fn all_full(refused: &[AppendError], count: usize) -> bool {
    refused.len() == count && refused.iter().all(|error| matches!(error, AppendError::Full))
}

#[test]
fn a_log_stops_accepting_at_the_reserve_and_resumes_by_itself() {
    let (mut world, mut process) = world(512);
    assert!(append(&mut world, &mut process, 2).is_empty());
    // Something else takes the rest, and a little of the reserve.
    let other = Path::new("/data/other");
    world.disk.open(other, Open::New).and_then(|file| file.write_at(&[1; 1024], 0)).expect("written");
    let operations = world.disk.operations();
    let refused = append(&mut world, &mut process, 4);
    assert!(all_full(&refused, 4), "{refused:?}");
    assert_eq!(refused[0].code(), Code::LOG_BUSY);
    assert_eq!(world.disk.operations(), operations, "nothing is written");
    // The reserve is there for what was accepted before: that is published, and read.
    world.publish(&mut process).expect("kept");
    assert_eq!(process.0.handle.published().size, 5);
    world.check(&process).expect("whole");
    world.disk.remove(other).expect("removed");
    assert!(append(&mut world, &mut process, 4).is_empty());
    assert_eq!((process.0.handle.head().size, world.failures()), (9, 0));
}

#[test]
fn a_segment_is_not_prepared_from_the_reserve() {
    let (mut world, mut process) = world(2048);
    // Until there is no room in the segment.
    let mut refused = Vec::new();
    for _ in 0..100 {
        refused = append(&mut world, &mut process, 2);
        world.publish(&mut process).expect("kept");
        if !refused.is_empty() {
            break;
        }
        leave(&world, RESERVE + 2048);
    }
    assert!(all_full(&refused, 2), "{refused:?}");
    let size = process.0.handle.head().size;
    assert!(size > 3);
    world.check(&process).expect("whole");
    // What was refused is not there, and what was there before is answered.
    let known = "entry 0 of a log that has to keep it".to_owned();
    assert!(world.append(&mut process, &[known]).expect("kept").is_empty());
    assert_eq!(process.0.handle.head().size, size);
    world.disk.set_capacity(None);
    assert!(append(&mut world, &mut process, 2).is_empty());
    world.publish(&mut process).expect("kept");
    world.check(&process).expect("whole");
    assert_eq!((process.0.handle.head().size, world.failures()), (size + 2, 0));
}

#[test]
fn what_cannot_be_published_for_lack_of_space_is_published_later() {
    let (mut world, mut process) = world(0);
    for free in [0, 512, 1024, 1536] {
        // The record has its place already.
        leave(&world, RESERVE);
        assert!(append(&mut world, &mut process, 1).is_empty());
        leave(&world, free);
        world.publish(&mut process).expect("kept");
        world.tiles(process.0.handle.published().size).expect("whole");
        assert!(all_full(&append(&mut world, &mut process, 1), 1));
    }
    assert_eq!(process.0.handle.head().size, 7);
    world.disk.set_capacity(None);
    world.publish(&mut process).expect("kept");
    world.check(&process).expect("whole");
    drop(process);
    world.disk.kill();
    world.recovers(0).expect("recovered");
}

#[test]
fn a_full_disk_is_answered_with_503_and_when_to_come_again() {
    let answer = Refusal::from(AppendError::Full).into_response();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(RETRY_AFTER));
}
