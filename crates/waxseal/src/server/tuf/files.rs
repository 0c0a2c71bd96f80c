//! The repository's files: read at the start, checked as a client before they are published, pruned afterwards.

use super::{Files, TufError};
use axum::body::Bytes;
use jiff::Timestamp as Time;
use std::collections::BTreeSet;
use std::path::Path;
use waxseal_authority::tuf::Current;
use waxseal_formats::tuf::{MAX_TARGETS_LEN, Metadata, Role, Targets, TopLevel, TufError as FormatError};
use waxseal_io::file;
use waxseal_verify::tuf::{Need, Refresh, TufError as VerifyError};

/// How many versions of snapshot and targets stay, for clients in the middle of a refresh.
pub(super) const KEPT_VERSIONS: u64 = 8;
/// Largest target file that is kept, in bytes.
const MAX_TARGET_LEN: usize = 4 * 1024 * 1024;

/// Reads the repository: the newest metadata of each role, and everything that is served.
pub(super) fn load(directory: &Path) -> Result<(Current, Files), TufError> {
    let mut files = Files::new();
    for (below, bound) in [("", MAX_TARGETS_LEN), ("targets", MAX_TARGET_LEN)] {
        let folder = directory.join(below);
        let failed = |source| TufError::File { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_ours = if below.is_empty() { role_of(&name).is_some() } else { !name.ends_with(".new") };
            if !is_ours {
                continue;
            }
            let path = entry.path();
            let bytes = file::read(&path, bound).map_err(|source| TufError::File { path, source })?;
            let name = if below.is_empty() { name } else { format!("{below}/{name}") };
            files.insert(name, Bytes::from(bytes.unwrap_or_default()));
        }
    }
    let mut current = Current::default();
    for role in TopLevel::ALL {
        let newest = files.iter().filter_map(|(name, bytes)| {
            let (found, version) = role_of(name)?;
            (found == role).then_some((version, name, bytes))
        });
        if let Some((_, name, bytes)) = newest.max_by_key(|(version, ..)| *version) {
            note(&mut current, role, bytes)
                .map_err(|source| TufError::Damaged { path: directory.join(name), source })?;
        }
    }
    Ok((current, files))
}

/// The role and version of a metadata file's name; the timestamp has version 0.
fn role_of(name: &str) -> Option<(TopLevel, u64)> {
    if name == "timestamp.json" {
        return Some((TopLevel::Timestamp, 0));
    }
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    let role = TopLevel::ALL.into_iter().find(|known| *known != TopLevel::Timestamp && known.name() == role)?;
    Some((role, version.parse().ok()?))
}

pub(super) fn note(current: &mut Current, role: TopLevel, bytes: &[u8]) -> Result<(), FormatError> {
    fn parse<R: Role>(bytes: &[u8]) -> Result<Option<Metadata<R>>, FormatError> {
        Metadata::from_json(bytes).map(Some)
    }
    match role {
        TopLevel::Root => current.root = parse(bytes)?,
        TopLevel::Timestamp => current.timestamp = parse(bytes)?,
        TopLevel::Snapshot => current.snapshot = parse(bytes)?,
        TopLevel::Targets => current.targets = parse(bytes)?,
    }
    Ok(())
}

/// Reads the repository as a new client does, from its first root to the last target file.
pub(super) fn check(files: &Files, now: Time) -> Result<(), TufError> {
    let first = files.get("1.root.json").ok_or_else(|| VerifyError::Missing("1.root.json".into()))?;
    let mut refresh = Refresh::new(first, now)?;
    let trusted = loop {
        let bytes = match refresh.need() {
            Need::Local { .. } => None,
            Need::Remote { path, .. } => files.get(&path).map(|bytes| &bytes[..]),
            Need::Done => break refresh.finish()?,
        };
        refresh.supply(bytes)?;
    };
    for (path, target) in &trusted.targets().role().targets {
        let file = format!("targets/{}", target.file(path, trusted.root().role().consistent_snapshot));
        let bytes = files.get(&file).ok_or_else(|| VerifyError::Missing(file.clone()))?;
        if !target.matches(bytes) {
            return Err(VerifyError::Hash { file }.into());
        }
    }
    Ok(())
}

/// Takes out old snapshots and targets, and target files that no remaining targets metadata lists; every root stays,
/// since clients follow them one by one. Returns the paths.
pub(super) fn prune(files: &mut Files) -> Vec<String> {
    let mut stale = Vec::new();
    for role in [TopLevel::Snapshot, TopLevel::Targets] {
        let versions = files.keys().filter_map(|name| role_of(name)).filter(|(found, _)| *found == role);
        let newest = versions.map(|(_, version)| version).max().unwrap_or(0);
        let old = |name: &&String| {
            role_of(name)
                .is_some_and(|(found, version)| found == role && version.saturating_add(KEPT_VERSIONS) <= newest)
        };
        stale.extend(files.keys().filter(old).cloned());
    }
    files.retain(|name, _| !stale.contains(name));
    let mut listed = BTreeSet::new();
    for (name, bytes) in &*files {
        if role_of(name).is_some_and(|(role, _)| role == TopLevel::Targets) {
            let Ok(metadata) = Metadata::<Targets>::from_json(bytes) else { return stale };
            let paths =
                metadata.role().targets.iter().map(|(path, target)| format!("targets/{}", target.file(path, true)));
            listed.extend(paths);
        }
    }
    stale.extend(files.keys().filter(|name| name.starts_with("targets/") && !listed.contains(*name)).cloned());
    files.retain(|name, _| !stale.contains(name));
    stale
}
