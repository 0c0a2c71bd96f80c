//! Checking the signatures of all checkpoints on all cores: it is most of the work of a check.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_log::profile::Profile;

/// Checkpoints that go to a thread at once.
const BATCH: usize = 64;
/// Most threads.
const MAX_THREADS: usize = 8;

/// A signed checkpoint, and where it stands.
struct Checkpoint {
    file: Arc<Path>,
    offset: u64,
    note: String,
}

/// A checkpoint whose signature is refused.
pub(super) struct Refused {
    pub(super) file: Arc<Path>,
    pub(super) offset: u64,
    pub(super) problem: String,
}

/// Takes checkpoints to be checked.
pub(super) struct Signatures {
    sender: SyncSender<Vec<Checkpoint>>,
    batch: Vec<Checkpoint>,
}

impl Signatures {
    /// Has the checkpoint at this place checked.
    pub(super) fn push(&mut self, file: &Arc<Path>, offset: u64, note: &str) {
        self.batch.push(Checkpoint { file: Arc::clone(file), offset, note: note.to_owned() });
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        // The threads take whatever comes until this end is gone.
        drop(self.sender.send(std::mem::take(&mut self.batch)));
    }
}

/// Runs `work` beside the threads that check what it pushes. Returns what it returns, and the refused ones.
pub(super) fn beside<T>(profile: &Profile, work: impl FnOnce(&mut Signatures) -> T) -> (T, Vec<Refused>) {
    let threads = thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_THREADS);
    let (sender, receiver) = sync_channel(threads * 4);
    let receiver = Mutex::new(receiver);
    let refused = Mutex::new(Vec::new());
    let done = thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| check(profile, &receiver, &refused));
        }
        let mut signatures = Signatures { sender, batch: Vec::new() };
        let done = work(&mut signatures);
        signatures.flush();
        // The last sender goes here, and with it the threads.
        drop(signatures);
        done
    });
    (done, refused.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn check(profile: &Profile, receiver: &Mutex<Receiver<Vec<Checkpoint>>>, refused: &Mutex<Vec<Refused>>) {
    loop {
        let received = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = received else { return };
        for Checkpoint { file, offset, note } in batch {
            let verified = SignedCheckpoint::parse(&note).and_then(|signed| profile.verify(&signed));
            if let Err(error) = verified {
                let problem = format!("the signed checkpoint is refused: {error}");
                refused.lock().unwrap_or_else(PoisonError::into_inner).push(Refused { file, offset, problem });
            }
        }
    }
}
