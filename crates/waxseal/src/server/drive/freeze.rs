//! Freezing a log: what is queued is finished and published, then a marker says that nothing ever follows.
//!
//! ```text
//! DIRECTORY/frozen      the last checkpoint, as it was published
//! ```
//!
//! The marker is written last. A crash before leaves a log that runs on when it is opened, and has to be frozen again; a crash
//! after leaves one that is frozen. A frozen log has no threads: it serves what it published and signs nothing.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use waxseal_formats::checkpoint::SignedCheckpoint;
use waxseal_formats::code::Code;
use waxseal_formats::merkle::Hash;
use waxseal_formats::note::MAX_NOTE;
use waxseal_io::disk::Disk;
use waxseal_io::file;
use waxseal_io::store::StoreError;
use waxseal_log::profile::Profile;

use super::publisher::Publisher;
use super::{DriveError, Head, LogHandle, Phase, Shared, lock};

/// Name of the marker.
pub(super) const MARKER: &str = "frozen";

/// Why a log was not frozen. It takes no entries until it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreezeError {
    /// It was stopped in the middle.
    #[error("the log was stopped before it was frozen")]
    Stopped,
    /// It cannot go on; its failure was told where it happened.
    #[error("the log failed before it was frozen")]
    Failed,
}

impl FreezeError {
    /// The stable reason code.
    #[must_use]
    pub const fn code(self) -> Code {
        Code::LOG_STORE_FAILED
    }
}

impl LogHandle {
    /// Freezes the log: no entry is taken any more, those that wait are finished, the tree is published, and a durable marker
    /// keeps it so. Waits until that is done, as long as the disk is full if it is; not for a thread that may not block.
    /// Returns the last tree. A frozen log stays as it is.
    ///
    /// # Errors
    /// [`FreezeError`].
    pub fn freeze(&self) -> Result<Head, FreezeError> {
        let shared = &self.0;
        lock(&shared.queue).frozen = true;
        shared.arrived.notify_all();
        let mut published = lock(&shared.published);
        loop {
            match published.phase {
                Phase::Frozen => return Ok(published.head.clone()),
                Phase::Stopping => return Err(FreezeError::Stopped),
                Phase::Failed => return Err(FreezeError::Failed),
                Phase::Running | Phase::Freezing => {}
            }
            published = shared.grown.wait(published).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the log is frozen for good.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        lock(&self.0.published).phase == Phase::Frozen
    }
}

impl Shared {
    /// The driver has nothing left to do: if that is because the log is being frozen, the publisher has the last word.
    pub(super) fn finish_freezing(&self) {
        if lock(&self.queue).frozen {
            self.enter(Phase::Freezing);
        }
    }

    /// Goes on to another phase; nothing follows on being frozen or on a failure.
    pub(super) fn enter(&self, phase: Phase) {
        let mut published = lock(&self.published);
        if !matches!(published.phase, Phase::Frozen | Phase::Failed) {
            published.phase = phase;
        }
        drop(published);
        self.grown.notify_all();
    }
}

impl Publisher {
    /// Freezes a log that no driver writes to any more, or says that it cannot go on. It goes on as long as there is no space.
    pub(super) fn freeze(&mut self) -> ControlFlow<()> {
        match self.mark_frozen() {
            Ok(flow) => flow,
            Err(error) if error.is_full() => {
                tracing::error!(%error, "no space left to freeze the log: trying again");
                ControlFlow::Continue(())
            }
            Err(error) => {
                self.shared.fail(&error);
                ControlFlow::Break(())
            }
        }
    }

    fn mark_frozen(&mut self) -> Result<ControlFlow<()>, DriveError> {
        let head = lock(&self.shared.published).head.clone();
        if head.size != self.shared.committed_size.load(Ordering::Acquire) {
            // Publishing was put off.
            return Ok(ControlFlow::Continue(()));
        }
        // First what the marker promises, then the marker.
        self.sync()?;
        let (disk, directory) = (&*self.shared.settings.disk, &self.shared.directory);
        let path = directory.join(MARKER);
        let written = file::exchange(disk, &path, head.note.as_bytes());
        written.map_err(|source| DriveError::Io { path, source })?;
        // Whoever asked is told that it is so for good: the name has to last as well.
        sync_names(disk, directory)?;
        self.shared.enter(Phase::Frozen);
        Ok(ControlFlow::Break(()))
    }
}

/// Makes the names in the log's directory durable. A sync that failed is not tried again: the log cannot go on.
pub(super) fn sync_names(disk: &dyn Disk, directory: &Path) -> Result<(), DriveError> {
    let path = directory.to_owned();
    Ok(disk.sync_directory(directory).map_err(|source| StoreError::NotDurable { path, source })?)
}

/// The last tree of a log that is frozen; `None` if it is not.
pub(super) struct Marker {
    /// Leaves.
    pub(super) size: u64,
    /// Root hash.
    pub(super) root: Hash,
    /// The checkpoint.
    pub(super) note: String,
}

impl Marker {
    /// Reads the marker of a log, whose key has to have signed it.
    pub(super) fn read(disk: &dyn Disk, directory: &Path, profile: &Profile) -> Result<Option<Self>, DriveError> {
        let path = directory.join(MARKER);
        let file = disk.read(&path, MAX_NOTE).map_err(|source| DriveError::Io { path: path.clone(), source })?;
        let Some(bytes) = file else { return Ok(None) };
        let damaged = |problem: String| DriveError::Object { name: path.display().to_string(), problem };
        let note = String::from_utf8(bytes).map_err(|_| damaged("not a checkpoint".into()))?;
        let signed = SignedCheckpoint::parse(&note).map_err(|error| damaged(error.to_string()))?;
        profile.verify(&signed).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(Self { size: signed.checkpoint.size, root: signed.checkpoint.root, note }))
    }

    /// Holds the marker against what the records say.
    pub(super) fn check(&self, size: u64, root: Hash, directory: &Path) -> Result<(), DriveError> {
        if (self.size, self.root) == (size, root) {
            return Ok(());
        }
        let name = directory.join(MARKER).display().to_string();
        let problem =
            format!("the log was frozen with {} entries, and its records have {size}, or other ones", self.size);
        Err(DriveError::Object { name, problem })
    }
}
