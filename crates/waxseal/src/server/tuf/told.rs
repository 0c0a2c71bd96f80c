//! What clients were last told, read from the files of a repository that nobody need serve.

use super::files::load;
use super::{CLIENT_CONFIG, SIGNING_CONFIG, TRUSTED_ROOT, TufError};
use axum::body::Bytes;
use jiff::Timestamp as Time;
use std::path::Path;
use waxseal_authority::tuf::Current;
use waxseal_formats::client_config::ClientConfig;
use waxseal_formats::signing_config::SigningConfig;
use waxseal_formats::tuf::{Metadata, TopLevel};

/// What clients were last told of the instance whose repository is in the data directory.
pub struct Published {
    /// Its URL.
    pub url: String,
    /// Where to log in and what it keeps.
    pub client: ClientConfig,
    /// The trusted root, as it is served.
    pub trusted_root: Bytes,
}

/// What the clients of an instance were last told. `None` if there is no repository, or one that says nothing.
///
/// # Errors
/// [`TufError`] for a damaged repository.
pub fn published(data_dir: &Path) -> Result<Option<Published>, TufError> {
    let directory = data_dir.join("tuf");
    if !directory.join("targets").exists() {
        return Ok(None);
    }
    let (current, files) = load(&directory)?;
    let Some(targets) = current.targets else { return Ok(None) };
    let target = |wanted: &str| {
        let (name, target) = targets.role().targets.iter().find(|(name, _)| *name == wanted)?;
        files.get(&format!("targets/{}", target.file(name, true)))
    };
    let url = || SigningConfig::from_json(target(SIGNING_CONFIG)?).ok()?.ca_urls.into_iter().next();
    let client = || ClientConfig::from_json(target(CLIENT_CONFIG)?).ok();
    let told = url().zip(client()).zip(target(TRUSTED_ROOT).cloned());
    Ok(told.map(|((authority, client), trusted_root)| Published { url: authority.url, client, trusted_root }))
}

/// When the newest metadata of each role in the data directory expires.
///
/// # Errors
/// [`TufError`] for a damaged repository.
pub fn expiries(data_dir: &Path) -> Result<Vec<(&'static str, Time)>, TufError> {
    let (current, _) = load(&data_dir.join("tuf"))?;
    let Current { root, timestamp, snapshot, targets } = &current;
    let roles = [
        (TopLevel::Root, root.as_ref().map(Metadata::expires)),
        (TopLevel::Targets, targets.as_ref().map(Metadata::expires)),
        (TopLevel::Snapshot, snapshot.as_ref().map(Metadata::expires)),
        (TopLevel::Timestamp, timestamp.as_ref().map(Metadata::expires)),
    ];
    Ok(roles.into_iter().filter_map(|(role, expires)| Some((role.name(), expires?))).collect())
}
