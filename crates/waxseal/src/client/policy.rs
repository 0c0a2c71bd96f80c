//! `--policy`: files that say what a verified attestation has to state.

use super::verify::{VerifyError, read_bounded};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use waxseal_formats::code::Code;
use waxseal_policy::engine::MAX_SOURCE_LEN;
use waxseal_policy::{Compiled, Input, Language, PolicyError, Verdict};
use waxseal_verify::bundle::Evidence;

/// Most policy files of one command.
pub const MAX_POLICIES: usize = 64;

/// Policies that all have to allow.
#[derive(Debug)]
pub struct Policies(Vec<(PathBuf, Compiled)>);

/// Why the policies cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    /// There is no policy file.
    #[error("no policy was given: name one with --policy")]
    Missing,
    /// There are more than [`MAX_POLICIES`].
    #[error("{found} policies are given, {MAX_POLICIES} are allowed")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] VerifyError),
    /// A file is no policy.
    #[error("{}: {error}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PolicyError,
    },
}

impl PoliciesError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Missing => Code::POLICY_MISSING,
            Self::TooMany { .. } => Code::INPUT_TOO_LARGE,
            Self::File(error) => error.code(),
            Self::Policy { error, .. } => error.code(),
        }
    }
}

/// That a policy does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", messages.join("; "))]
pub struct PolicyRefusal {
    /// The reason code.
    pub code: Code,
    /// What the policies say, each line with the file that says it.
    pub messages: Vec<String>,
}

impl Policies {
    /// Reads policy files; the language is the file's extension.
    ///
    /// # Errors
    /// [`PoliciesError`]; [`PoliciesError::Missing`] if `paths` is empty, which is not the same as no demand.
    pub fn read(paths: &[PathBuf]) -> Result<Self, PoliciesError> {
        if paths.is_empty() {
            return Err(PoliciesError::Missing);
        }
        if paths.len() > MAX_POLICIES {
            return Err(PoliciesError::TooMany { found: paths.len() });
        }
        paths.iter().map(|path| Ok((path.clone(), read(path)?))).collect::<Result<_, _>>().map(Self)
    }

    /// Asks every policy about a verified attestation. `payload` is the statement as it was signed, `evidence` what was proven with
    /// it, `now` the time that policies are told.
    ///
    /// # Errors
    /// [`PolicyRefusal`], with what all policies say that do not allow.
    pub fn check(&self, payload: &[u8], evidence: &Evidence, now: Timestamp) -> Result<(), PolicyRefusal> {
        let input = Input::attestation(payload, evidence);
        let input = input.map_err(|error| PolicyRefusal { code: error.code(), messages: vec![error.to_string()] })?;
        let mut messages = Vec::new();
        for (path, policy) in &self.0 {
            match policy.evaluate(&input, now) {
                Verdict::Allowed(_) => {}
                Verdict::Denied(denial) => {
                    messages.extend(denial.messages().iter().map(|message| format!("{}: {message}", path.display())));
                }
            }
        }
        if messages.is_empty() { Ok(()) } else { Err(PolicyRefusal { code: Code::POLICY_DENIED, messages }) }
    }
}

fn read(path: &Path) -> Result<Compiled, PoliciesError> {
    let refuse = |error| PoliciesError::Policy { path: path.to_owned(), error };
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let language = Language::named(extension).map_err(refuse)?;
    let bytes = read_bounded(path, MAX_SOURCE_LEN)?;
    let source = std::str::from_utf8(&bytes).map_err(|_| {
        refuse(PolicyError::Malformed { language: language.name, problem: "it is not UTF-8".to_owned() })
    })?;
    Compiled::compile(language, source).map_err(refuse)
}
