//! Why a registry does not do what it is asked for.

use formats::code::Code;
use formats::crypto::Digest;
use formats::oci::OciError;
use waxseal_formats as formats;

/// Why a registry does not do what it is asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// It cannot be reached, or the connection broke.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// Where the request went.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// It keeps us waiting.
    #[error("{url} takes too long")]
    Slow {
        /// Where the request went.
        url: String,
    },
    /// It does not have that.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// It wants somebody else to ask.
    #[error("{registry} refuses access{}", reason.as_ref().map_or(String::new(), |reason| format!(": {reason}")))]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What it says.
        reason: Option<String>,
    },
    /// It wants the credentials to be sent to somebody else.
    #[error("{registry} wants its credentials to be sent to {realm}, which does not belong to it")]
    ForeignRealm {
        /// The registry.
        registry: String,
        /// Where they would go.
        realm: String,
    },
    /// It refuses.
    #[error("{url} answers {status}: {message}")]
    Refused {
        /// Where the request went.
        url: String,
        /// Its status.
        status: u16,
        /// Its reason.
        message: String,
    },
    /// It answers something else than it should.
    #[error("{url} answers something unusable: {problem}")]
    Answer {
        /// Where the request went.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// It sends what was not asked for.
    #[error("{what} has digest {found}")]
    Digest {
        /// What was asked for, with its digest.
        what: String,
        /// What came.
        found: Digest,
    },
    /// What it sends is too long.
    #[error("{what} is longer than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// How long it may be.
        limit: u64,
    },
    /// It lists too much.
    #[error("{what} lists more than {limit} things")]
    TooMany {
        /// What was asked for.
        what: String,
        /// How many it may list.
        limit: usize,
    },
    /// A manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] OciError),
    /// A file beside it cannot be read or written.
    #[error("{0}")]
    File(String),
    /// A tag was written again and again, and others always wrote over it.
    #[error("{tag} was written {attempts} times and always lost to another writer")]
    Lost {
        /// The tag.
        tag: String,
        /// How often.
        attempts: usize,
    },
}

impl RegistryError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Settings(_) => Code::INPUT_MALFORMED,
            Self::Unreachable { .. } | Self::Slow { .. } => Code::NETWORK_UNREACHABLE,
            Self::NotFound { .. } => Code::ARTIFACT_NOT_FOUND,
            Self::Unauthorized { .. } | Self::ForeignRealm { .. } => Code::REGISTRY_UNAUTHORIZED,
            Self::Refused { .. } | Self::Answer { .. } | Self::Lost { .. } => Code::NETWORK_REFUSED,
            Self::Digest { .. } => Code::SIGNATURE_DIGEST_MISMATCH,
            Self::TooLarge { .. } | Self::TooMany { .. } => Code::INPUT_TOO_LARGE,
            Self::Manifest(error) => error.code(),
            Self::File(_) => Code::INPUT_UNREADABLE,
        }
    }
}
