//! The refresh of the four top-level roles (§5.3–5.6). Numbers in comments are the specification's.

use super::{Need, TufError, check_fresh, check_threshold, parse, parse_signed};
use jiff::Timestamp as Time;
use waxseal_formats::tuf::{
    FileMeta, MAX_ROOT_LEN, MAX_SNAPSHOT_LEN, MAX_TARGETS_LEN, MAX_TIMESTAMP_LEN, Metadata, Root, Snapshot, Target,
    Targets, Timestamp, TopLevel, metadata_file, role_file,
};

/// Most new root versions that one refresh follows.
pub const MAX_ROOT_ROTATIONS: usize = 256;

/// A refresh under way.
#[derive(Debug)]
pub struct Refresh {
    now: Time,
    root: Metadata<Root>,
    rotations: usize,
    timestamp: Option<Metadata<Timestamp>>,
    snapshot: Option<Metadata<Snapshot>>,
    targets: Option<Metadata<Targets>>,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Root,
    LocalTimestamp,
    Timestamp,
    LocalSnapshot,
    Snapshot,
    LocalTargets,
    Targets,
    Done,
}

impl Refresh {
    /// Starts from the root metadata that is trusted already. It may be expired: only the last one may not (§5.3.10).
    ///
    /// # Errors
    /// [`TufError::Malformed`], [`TufError::Threshold`]: the root must be signed by its own keys.
    pub fn new(root: &[u8], now: Time) -> Result<Self, TufError> {
        let root = parse("root", root)?;
        signed_by_itself(&root)?;
        Ok(Self { now, root, rotations: 0, timestamp: None, snapshot: None, targets: None, step: Step::Root })
    }

    /// What is wanted next.
    #[must_use]
    pub fn need(&self) -> Need {
        let local = |role: TopLevel| Need::Local { file: role_file(role.name()) };
        match self.step {
            // 5.3.3
            Step::Root => self.remote(TopLevel::Root, Some(self.root.version().saturating_add(1)), MAX_ROOT_LEN),
            Step::LocalTimestamp => local(TopLevel::Timestamp),
            // 5.4.1: the timestamp never has its version in its name.
            Step::Timestamp => self.remote(TopLevel::Timestamp, None, MAX_TIMESTAMP_LEN),
            Step::LocalSnapshot => local(TopLevel::Snapshot),
            Step::Snapshot => self.consistent(TopLevel::Snapshot, self.snapshot_meta(), MAX_SNAPSHOT_LEN),
            Step::LocalTargets => local(TopLevel::Targets),
            Step::Targets => self.consistent(TopLevel::Targets, self.targets_meta(), MAX_TARGETS_LEN),
            Step::Done => Need::Done,
        }
    }

    /// Takes what [`Refresh::need`] asked for. If the bytes came from the repository and are trusted now, returns
    /// the name of the file in which to keep them.
    ///
    /// # Errors
    /// [`TufError`]; the refresh is over then. Unusable local files are no error.
    pub fn supply(&mut self, bytes: Option<&[u8]>) -> Result<Option<String>, TufError> {
        match self.step {
            Step::Root => self.next_root(bytes),
            Step::LocalTimestamp => {
                self.timestamp = bytes.and_then(|bytes| self.parse_timestamp(bytes).ok());
                self.step = Step::Timestamp;
                Ok(None)
            }
            Step::Timestamp => self.new_timestamp(bytes),
            Step::LocalSnapshot => self.local_snapshot(bytes),
            Step::Snapshot => self.new_snapshot(bytes),
            Step::LocalTargets => {
                let usable = bytes.and_then(|bytes| self.check_targets(bytes).ok());
                self.step = if usable.is_some() { Step::Done } else { Step::Targets };
                self.targets = usable;
                Ok(None)
            }
            Step::Targets => {
                let bytes = bytes.ok_or_else(|| self.missing())?;
                self.targets = Some(self.check_targets(bytes)?);
                self.step = Step::Done;
                Ok(Some(role_file(TopLevel::Targets.name())))
            }
            Step::Done => Err(TufError::Incomplete),
        }
    }

    /// The result, once [`Refresh::need`] is [`Need::Done`].
    ///
    /// # Errors
    /// [`TufError::Incomplete`].
    pub fn finish(self) -> Result<Trusted, TufError> {
        match (self.timestamp, self.snapshot, self.targets) {
            (Some(timestamp), Some(snapshot), Some(targets)) if self.step == Step::Done => {
                Ok(Trusted { now: self.now, root: self.root, timestamp, snapshot, targets })
            }
            _ => Err(TufError::Incomplete),
        }
    }

    /// 5.3.4–5.3.10.
    fn next_root(&mut self, bytes: Option<&[u8]>) -> Result<Option<String>, TufError> {
        let Some(bytes) = bytes else {
            // 5.3.10: no newer root, so this is the last one and must not be expired.
            check_fresh("root", &self.root, self.now)?;
            self.step = Step::LocalTimestamp;
            return Ok(None);
        };
        // 5.3.4: signed by a threshold of the old root's keys and of its own.
        let current = self.root.role();
        let next: Metadata<Root> = parse_signed("root", bytes, &current.keys, current.keys_of(TopLevel::Root))?;
        signed_by_itself(&next)?;
        // 5.3.5: exactly the next version.
        let expected = self.root.version().saturating_add(1);
        if next.version() != expected {
            return Err(TufError::Version { role: "root".into(), found: next.version(), expected });
        }
        self.rotations = self.rotations.saturating_add(1);
        if self.rotations > MAX_ROOT_ROTATIONS {
            return Err(TufError::Limits { what: "new root versions", bound: MAX_ROOT_ROTATIONS });
        }
        // 5.3.8: the shell keeps it, whatever follows.
        self.root = next;
        Ok(Some(role_file(TopLevel::Root.name())))
    }

    fn parse_timestamp(&self, bytes: &[u8]) -> Result<Metadata<Timestamp>, TufError> {
        let root = self.root.role();
        parse_signed("timestamp", bytes, &root.keys, root.keys_of(TopLevel::Timestamp))
    }

    /// 5.4.2–5.4.5.
    fn new_timestamp(&mut self, bytes: Option<&[u8]>) -> Result<Option<String>, TufError> {
        let offered = self.parse_timestamp(bytes.ok_or_else(|| self.missing())?)?;
        let keep = match &self.timestamp {
            // 5.4.3: the same version is no news, whatever else it says; the one that we have is used.
            Some(trusted) if trusted.version() == offered.version() => false,
            Some(trusted) => {
                not_older("timestamp.json", offered.version(), trusted.version())?;
                let (new, old) = (offered.role().snapshot.version, trusted.role().snapshot.version);
                not_older("snapshot.json", new, old)?;
                true
            }
            None => true,
        };
        // 5.4.4
        let timestamp = if keep { &offered } else { self.timestamp.as_ref().unwrap_or(&offered) };
        check_fresh("timestamp", timestamp, self.now)?;
        self.step = Step::LocalSnapshot;
        if !keep {
            return Ok(None);
        }
        self.timestamp = Some(offered);
        Ok(Some(role_file(TopLevel::Timestamp.name())))
    }

    fn parse_snapshot(&self, bytes: &[u8]) -> Result<Metadata<Snapshot>, TufError> {
        let root = self.root.role();
        parse_signed("snapshot", bytes, &root.keys, root.keys_of(TopLevel::Snapshot))
    }

    /// A local snapshot protects from rollbacks even when it is no longer the newest; if it is, nothing is fetched.
    fn local_snapshot(&mut self, bytes: Option<&[u8]>) -> Result<Option<String>, TufError> {
        self.snapshot = bytes.and_then(|bytes| self.parse_snapshot(bytes).ok());
        let is_newest = self.snapshot.as_ref().zip(bytes).is_some_and(|(snapshot, bytes)| {
            self.snapshot_meta().is_some_and(|meta| meta.version == snapshot.version() && meta.matches(bytes))
                && !snapshot.is_expired(self.now)
        });
        self.step = if is_newest { Step::LocalTargets } else { Step::Snapshot };
        Ok(None)
    }

    /// 5.5.2–5.5.7.
    fn new_snapshot(&mut self, bytes: Option<&[u8]>) -> Result<Option<String>, TufError> {
        let bytes = bytes.ok_or_else(|| self.missing())?;
        let meta = self.snapshot_meta().ok_or(TufError::Incomplete)?;
        if !meta.matches(bytes) {
            return Err(TufError::Hash { file: "snapshot.json".into() });
        }
        let expected = meta.version;
        let offered = self.parse_snapshot(bytes)?;
        if offered.version() != expected {
            return Err(TufError::Version { role: "snapshot".into(), found: offered.version(), expected });
        }
        // 5.5.5: no targets metadata may become older or vanish.
        for (file, old) in self.snapshot.iter().flat_map(|trusted| &trusted.role().meta) {
            let version = offered.role().meta.get(file).map_or(0, |new| new.version);
            not_older(file, version, old.version)?;
        }
        check_fresh("snapshot", &offered, self.now)?;
        self.snapshot = Some(offered);
        self.step = Step::LocalTargets;
        Ok(Some(role_file(TopLevel::Snapshot.name())))
    }

    /// 5.6.2–5.6.5.
    fn check_targets(&self, bytes: &[u8]) -> Result<Metadata<Targets>, TufError> {
        let root = self.root.role();
        let meta = self.targets_meta().ok_or_else(|| TufError::Missing("targets.json in its snapshot".into()))?;
        let role_keys = root.keys_of(TopLevel::Targets);
        check_listed("targets", meta, bytes, self.now, |bytes| parse_signed("targets", bytes, &root.keys, role_keys))
    }

    fn snapshot_meta(&self) -> Option<&FileMeta> {
        self.timestamp.as_ref().map(|timestamp| &timestamp.role().snapshot)
    }

    fn targets_meta(&self) -> Option<&FileMeta> {
        self.snapshot.as_ref().and_then(|snapshot| snapshot.role().meta.get("targets.json"))
    }

    fn remote(&self, role: TopLevel, version: Option<u64>, max_len: usize) -> Need {
        Need::Remote { path: metadata_file(role.name(), version), max_len: max_len.try_into().unwrap_or(u64::MAX) }
    }

    fn consistent(&self, role: TopLevel, meta: Option<&FileMeta>, max_len: usize) -> Need {
        remote(role.name(), self.root.role().consistent_snapshot, meta, max_len)
    }

    fn missing(&self) -> TufError {
        match self.need() {
            Need::Remote { path: file, .. } | Need::Local { file } => TufError::Missing(file),
            Need::Done => TufError::Incomplete,
        }
    }
}

/// The four roles of one repository state, all verified and none expired at the time of the refresh.
#[derive(Debug)]
pub struct Trusted {
    pub(super) now: Time,
    pub(super) root: Metadata<Root>,
    pub(super) timestamp: Metadata<Timestamp>,
    pub(super) snapshot: Metadata<Snapshot>,
    pub(super) targets: Metadata<Targets>,
}

impl Trusted {
    /// The root metadata.
    #[must_use]
    pub const fn root(&self) -> &Metadata<Root> {
        &self.root
    }

    /// The timestamp metadata.
    #[must_use]
    pub const fn timestamp(&self) -> &Metadata<Timestamp> {
        &self.timestamp
    }

    /// The snapshot metadata.
    #[must_use]
    pub const fn snapshot(&self) -> &Metadata<Snapshot> {
        &self.snapshot
    }

    /// The top-level targets metadata.
    #[must_use]
    pub const fn targets(&self) -> &Metadata<Targets> {
        &self.targets
    }

    /// A target of the top-level role. For delegated ones, too, use a [`Search`](super::Search).
    #[must_use]
    pub fn target(&self, path: &str) -> Option<&Target> {
        self.targets.role().targets.get(path)
    }
}

/// Checks a targets metadata, top-level or delegated, against what the snapshot says of it.
pub(super) fn check_listed(
    role: &str,
    meta: &FileMeta,
    bytes: &[u8],
    now: Time,
    parse_signed: impl FnOnce(&[u8]) -> Result<Metadata<Targets>, TufError>,
) -> Result<Metadata<Targets>, TufError> {
    if !meta.matches(bytes) {
        return Err(TufError::Hash { file: role_file(role) });
    }
    let metadata = parse_signed(bytes)?;
    if metadata.version() != meta.version {
        return Err(TufError::Version { role: role.to_owned(), found: metadata.version(), expected: meta.version });
    }
    check_fresh(role, &metadata, now)?;
    Ok(metadata)
}

pub(super) fn remote(role: &str, consistent_snapshot: bool, meta: Option<&FileMeta>, bound: usize) -> Need {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX);
    Need::Remote {
        path: metadata_file(role, meta.map(|meta| meta.version).filter(|_| consistent_snapshot)),
        max_len: meta.and_then(|meta| meta.length).map_or(bound, |length| length.min(bound)),
    }
}

fn signed_by_itself(root: &Metadata<Root>) -> Result<(), TufError> {
    check_threshold("root", root, &root.role().keys, root.role().keys_of(TopLevel::Root))
}

fn not_older(file: &str, offered: u64, trusted: u64) -> Result<(), TufError> {
    if offered < trusted {
        return Err(TufError::Rollback { file: file.to_owned(), offered, trusted });
    }
    Ok(())
}
