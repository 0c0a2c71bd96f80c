//! Why an instance is not trusted, and what to do then.

use crate::client::tuf::TufError;
use jiff::Timestamp as Time;
use std::path::PathBuf;
use waxseal_formats::client_config::ClientConfigError;
use waxseal_formats::code::Code;
use waxseal_formats::signing_config::SigningConfigError;
use waxseal_formats::trusted_root::TrustedRootError;
use waxseal_formats::tuf::format_time;
use waxseal_io::transport::TransportError;

/// Why an instance is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It is not pinned.
    #[error("{instance} is not pinned on this machine")]
    Unpinned {
        /// The URL or name that was asked for.
        instance: String,
    },
    /// Its root is another one.
    #[error("the root at {url} has SHA-256 {found}, expected {expected}")]
    Pin {
        /// Where the root came from.
        url: String,
        /// Its digest, in hexadecimal.
        found: String,
        /// The digest that the user gave.
        expected: String,
    },
    /// Neither an http nor an https URL that could be an instance's.
    #[error("{0:?} is not the URL of an instance")]
    Url(String),
    /// A name that cannot be a directory's.
    #[error("{0:?} cannot be the name of an instance: lower-case letters, digits, `.`, `_` and `-`, at most 64")]
    Name(String),
    /// The name stands for another instance.
    #[error("the name {name} is taken by {url}")]
    NameTaken {
        /// The name.
        name: String,
        /// The instance that has it.
        url: String,
    },
    /// Neither `XDG_CONFIG_HOME` nor `HOME` is set.
    #[error("there is no configuration directory: set XDG_CONFIG_HOME or HOME")]
    NoHome,
    /// The root or targets metadata of the last refresh no longer stands for its signers.
    #[error("what was verified of {name} expired at {}", format_time(*expires))]
    Expired {
        /// The instance.
        name: String,
        /// When.
        expires: Time,
    },
    /// A file of the store is damaged.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The repository cannot be read, or is refused.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// Its trusted root is refused.
    #[error(transparent)]
    TrustedRoot(#[from] TrustedRootError),
    /// Its signing config is refused.
    #[error(transparent)]
    SigningConfig(#[from] SigningConfigError),
    /// Its client config is refused.
    #[error(transparent)]
    ClientConfig(#[from] ClientConfigError),
}

impl TrustError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unpinned { .. } => Code::TRUSTED_ROOT_UNPINNED,
            Self::Pin { .. } => Code::TRUSTED_ROOT_PIN,
            Self::Url(_) | Self::Name(_) | Self::NameTaken { .. } | Self::NoHome => Code::USAGE,
            Self::Expired { .. } => Code::TRUSTED_ROOT_EXPIRED,
            Self::Damaged { .. } => Code::TRUSTED_ROOT_MALFORMED,
            Self::Tuf(error) => error.code(),
            Self::TrustedRoot(error) => error.code(),
            Self::SigningConfig(error) => error.code(),
            Self::ClientConfig(error) => error.code(),
        }
    }

    /// What to do next, if that can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unpinned { instance } if instance.contains("://") => Some(format!(
                "waxseal trust add {instance} --root-sha256 SHA256   (SHA-256 of its 1.root.json, from whoever runs it)"
            )),
            Self::Unpinned { .. } => Some("waxseal trust list   shows the pinned instances".into()),
            Self::NameTaken { .. } => Some("choose another with --name".into()),
            Self::Expired { name, .. } => Some(format!("waxseal trust refresh {name}   asks for newer metadata")),
            Self::Tuf(TufError::Transport(TransportError::PlainHttp { .. })) => {
                Some("use https, or --allow-http if everybody on the way is trusted".into())
            }
            Self::Damaged { .. } => Some("waxseal trust remove, then waxseal trust add, makes it anew".into()),
            _ => None,
        }
    }
}
