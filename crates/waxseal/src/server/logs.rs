//! The logs of an instance, opened together: the certificate log, the Rekor v1 log, and the shards of the Rekor v2 log.

use crate::server::drive::{DriveError, FreezeError, Log, Reading, Settings};
use crate::server::material::{Material, Shard};
use std::path::Path;
use std::sync::Arc;
use waxseal_formats::client_config::Privacy;
use waxseal_formats::code::Code;
use waxseal_io::signer::{KeyPair, Signer};
use waxseal_log::profile::{Bodies, Face, Profile, rekor_v1_origin};

/// The running logs of an instance.
pub struct Logs {
    /// The certificate log.
    pub ct: Log,
    /// The Rekor v1 log.
    pub rekor_v1: Log,
    /// The shards of the Rekor v2 log in the order of their creation.
    pub shards: Vec<Log>,
}

/// Why a log of an instance cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name} log: {source}")]
pub struct LogError {
    /// Its directory below `logs/`.
    pub name: String,
    /// What is wrong.
    pub source: LogFailure,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogFailure {
    /// It cannot be opened.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// It cannot be frozen.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
}

impl LogError {
    fn of<E: Into<LogFailure>>(name: &str) -> impl FnOnce(E) -> Self + use<'_, E> {
        move |source| Self { name: name.to_owned(), source: source.into() }
    }

    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match &self.source {
            LogFailure::Drive(error) => error.code(),
            LogFailure::Freeze(error) => error.code(),
        }
    }
}

impl Logs {
    /// Opens every log of an instance, and makes those that a new one does not have yet. All are read before one of them is
    /// changed. What was to be frozen when the process before ended is frozen now.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(data_dir: &Path, material: &Material) -> Result<Self, LogError> {
        let ct = read(data_dir, "ct", ct_profile(material), &material.ct_signer, Missing::of(material.is_new()))?;
        let missing = Missing::of(material.lacks_rekor_v1());
        let rekor_v1 = read(data_dir, "rekor-v1", rekor_v1_profile(material), &material.rekor_v1_signer, missing)?;
        let shard = |shard: &Shard| {
            let name = shard.name();
            let missing = Missing::of(material.is_new());
            Ok((read(data_dir, &name, shard_profile(material, shard), &shard.signer, missing)?, name))
        };
        let shards = material.shards.iter().map(shard).collect::<Result<Vec<_>, LogError>>()?;
        let start = |(log, name): (Reading, String)| log.start().map_err(LogError::of(&name));
        let logs = Self {
            ct: start((ct, "ct".into()))?,
            rekor_v1: start((rekor_v1, "rekor-v1".into()))?,
            shards: shards.into_iter().map(start).collect::<Result<_, _>>()?,
        };
        logs.finish_freezing(material)?;
        Ok(logs)
    }

    /// Freezes what `instance.json` calls frozen and is not yet. Waits for it.
    ///
    /// # Errors
    /// [`LogError`] for the first that cannot be frozen.
    pub fn finish_freezing(&self, material: &Material) -> Result<(), LogError> {
        let others = [("ct", material.frozen.ct, &self.ct), ("rekor-v1", material.frozen.rekor_v1, &self.rekor_v1)];
        let others = others.map(|(name, frozen, log)| (name.to_owned(), frozen, log));
        let shards = material.shards.iter().zip(&self.shards).map(|(shard, log)| (shard.name(), shard.frozen, log));
        for (name, frozen, log) in others.into_iter().chain(shards) {
            if frozen.is_some() && !log.handle().is_frozen() {
                tracing::info!(log = name, "freezing the log");
                log.handle().freeze().map_err(LogError::of(&name))?;
            }
        }
        Ok(())
    }
}

/// Opens the log of a shard that is not listed yet, or makes it.
///
/// # Errors
/// [`LogError`].
pub fn open_next(data_dir: &Path, material: &Material, shard: &Shard) -> Result<Log, LogError> {
    let name = shard.name();
    let profile = shard_profile(material, shard);
    read(data_dir, &name, profile, &shard.signer, Missing::Made)?.start().map_err(LogError::of(&name))
}

/// What becomes of a log that is not there.
#[derive(Clone, Copy)]
enum Missing {
    /// It is made: nothing was ever published of it.
    Made,
    /// It is an error: one that is made anew would be a fork.
    Refused,
}

impl Missing {
    const fn of(made: bool) -> Self {
        if made { Self::Made } else { Self::Refused }
    }
}

fn read(
    data_dir: &Path,
    name: &str,
    profile: Profile,
    signer: &Arc<KeyPair>,
    missing: Missing,
) -> Result<Reading, LogError> {
    let directory = data_dir.join("logs").join(name);
    let settings = Settings::default();
    if matches!(missing, Missing::Made) && !Log::exists(&directory, &settings).map_err(LogError::of(name))? {
        Log::create(&directory, &profile, &settings).map_err(LogError::of(name))?;
    }
    Log::read(&directory, profile, signer.clone(), settings).map_err(LogError::of(name))
}

/// What the logs of an instance keep.
const fn bodies(privacy: Privacy) -> Bodies {
    match privacy {
        Privacy::Sealed => Bodies::Sealed,
        Privacy::Open => Bodies::Kept,
    }
}

fn ct_profile(material: &Material) -> Profile {
    let key = material.ct_signer.public_key().clone();
    let origin = format!("{}/ctlog", material.host);
    Profile { origin, key, face: Face::StaticCt, bodies: bodies(material.privacy) }
}

/// All shards have the host as their origin: clients compare it with that of the shard's URL.
fn shard_profile(material: &Material, shard: &Shard) -> Profile {
    let key = shard.signer.public_key().clone();
    Profile { origin: material.host.clone(), key, face: Face::RekorV2, bodies: bodies(material.privacy) }
}

fn rekor_v1_profile(material: &Material) -> Profile {
    let key = material.rekor_v1_signer.public_key().clone();
    let origin = rekor_v1_origin(&material.host, &key);
    Profile { origin, key, face: Face::RekorV1, bodies: bodies(material.privacy) }
}
