//! Fetches what the TUF client asks for and keeps what it trusts, in one directory with one file a role.

use jiff::Timestamp as Time;
use std::path::PathBuf;
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::tuf::{MAX_TARGETS_LEN, Target};
use waxseal_io::file;
use waxseal_io::transport::{Request, Transport, TransportError};
use waxseal_verify::tuf::{Found, Need, Refresh, Search, Trusted, TufError as VerifyError};

/// Largest target file that is fetched, in bytes.
pub const MAX_TARGET_LEN: usize = 16 * 1024 * 1024;

/// Why the repository's files are not there.
#[derive(Debug, thiserror::Error)]
pub enum TufError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// An answer that is neither the file nor "there is none".
    #[error("{url} answered with status {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// The metadata is refused.
    #[error(transparent)]
    Refused(#[from] VerifyError),
}

impl TufError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::File { .. } => Code::INPUT_UNREADABLE,
            Self::Transport(error) => error.code(),
            Self::Status { .. } => Code::NETWORK_UNREACHABLE,
            Self::Refused(error) => error.code(),
        }
    }
}

/// A repository, and the directory in which its metadata is kept.
///
/// `root.json` in that directory is what is trusted: whoever can write it decides. The other files are hints that are
/// verified again. One process at a time.
pub struct Repository<'a> {
    /// How to reach it.
    pub transport: &'a dyn Transport,
    /// Where the metadata is; ends with a slash.
    pub metadata: Url,
    /// Where the target files are; ends with a slash.
    pub targets: Url,
    /// Where the metadata is kept.
    pub directory: PathBuf,
    /// The time of this refresh.
    pub now: Time,
}

impl Repository<'_> {
    /// Refreshes the four top-level roles. What is trusted is kept at once, even if a later step fails.
    ///
    /// # Errors
    /// [`TufError`].
    pub async fn refresh(&self) -> Result<Trusted, TufError> {
        let root = self.kept("root.json")?.ok_or_else(|| VerifyError::Missing("root.json".into()))?;
        let mut refresh = Refresh::new(&root, self.now)?;
        loop {
            let need = refresh.need();
            if need == Need::Done {
                return Ok(refresh.finish()?);
            }
            let bytes = self.bytes(&need).await?;
            self.keep(refresh.supply(bytes.as_deref())?, bytes.as_deref())?;
        }
    }

    /// Looks for a target, through delegated roles where need be.
    ///
    /// # Errors
    /// [`TufError`].
    pub async fn search(&self, trusted: &Trusted, path: &str) -> Result<Option<Found>, TufError> {
        let mut search = Search::new(trusted, path)?;
        loop {
            let need = search.need();
            if need == Need::Done {
                return Ok(search.finish()?);
            }
            let bytes = self.bytes(&need).await?;
            self.keep(search.supply(bytes.as_deref())?, bytes.as_deref())?;
        }
    }

    /// Fetches a target file and checks it.
    ///
    /// # Errors
    /// [`TufError`].
    pub async fn target(&self, trusted: &Trusted, path: &str, target: &Target) -> Result<Vec<u8>, TufError> {
        let file = target.file(path, trusted.root().role().consistent_snapshot);
        let bound = usize::try_from(target.length).unwrap_or(usize::MAX).min(MAX_TARGET_LEN);
        let bytes = self.get(&self.targets, &file, bound).await?.ok_or_else(|| VerifyError::Missing(file.clone()))?;
        if !target.matches(&bytes) {
            return Err(VerifyError::Hash { file }.into());
        }
        Ok(bytes)
    }

    async fn bytes(&self, need: &Need) -> Result<Option<Vec<u8>>, TufError> {
        match need {
            Need::Local { file } => self.kept(file),
            Need::Remote { path, max_len } => {
                self.get(&self.metadata, path, usize::try_from(*max_len).unwrap_or(usize::MAX)).await
            }
            Need::Done => Ok(None),
        }
    }

    async fn get(&self, base: &Url, path: &str, bound: usize) -> Result<Option<Vec<u8>>, TufError> {
        // The path is one of percent-encoded segments, none of them `..`, so it stays below `base`.
        let url = base.join(path).map_err(|_| VerifyError::Missing(path.to_owned()))?;
        let response = self.transport.send(Request::get(url.clone()).max_body_len(bound)).await?;
        match response.status {
            200 => Ok(Some(response.body.to_vec())),
            404 => Ok(None),
            status => Err(TufError::Status { url: url.into(), status }),
        }
    }

    fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, TufError> {
        let path = self.directory.join(name);
        file::read(&path, MAX_TARGETS_LEN).map_err(|source| TufError::File { path, source })
    }

    fn keep(&self, name: Option<String>, bytes: Option<&[u8]>) -> Result<(), TufError> {
        let (Some(name), Some(bytes)) = (name, bytes) else { return Ok(()) };
        let path = self.directory.join(name);
        file::replace(&path, bytes).map_err(|source| TufError::File { path, source })
    }
}
