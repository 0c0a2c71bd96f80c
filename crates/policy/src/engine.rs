//! The policy languages, and what a policy can come to.

mod cel;
mod rego;

use crate::input::Input;
use jiff::Timestamp;
use std::panic::{AssertUnwindSafe, catch_unwind};
use waxseal_formats::code::Code;

/// A policy may be this long, in bytes.
pub const MAX_SOURCE_LEN: usize = 1 << 20;
/// A denial carries at most this many messages.
pub const MAX_MESSAGES: usize = 64;
/// A message is cut after this many characters.
pub const MAX_MESSAGE_LEN: usize = 1024;

/// A policy language.
#[derive(Debug)]
pub struct Language {
    /// Its name, which is also the extension of its files.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    open: fn(&str) -> Result<Program, PolicyError>,
}

/// Every language that is known, also those that are refused.
pub const LANGUAGES: &[Language] = &[
    Language { name: "cel", about: "one expression that has to be true", open: cel::open },
    Language {
        name: "rego",
        about: "`allow` in package signature, or `isCompliant` in package sigstore",
        open: rego::open,
    },
    Language {
        name: "cue",
        about: "not supported: its unification adds what is missing",
        open: |_| Err(PolicyError::Cue),
    },
];

impl Language {
    /// The language of that name or file extension.
    ///
    /// # Errors
    /// [`PolicyError::Language`].
    pub fn named(name: &str) -> Result<&'static Self, PolicyError> {
        let found = LANGUAGES.iter().find(|language| language.name == name);
        found.ok_or_else(|| PolicyError::Language { found: name.to_owned() })
    }
}

/// Why a policy cannot be used, or cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No policy language has that name.
    #[error("no policy language is called {found:?}: name the file .rego or .cel")]
    Language {
        /// The name.
        found: String,
    },
    /// The policy is in CUE.
    #[error(
        "CUE policies are not supported yet: unification would add to an attestation what it lacks; write it in Rego or CEL"
    )]
    Cue,
    /// It cannot be read, or could cost without bound.
    #[error("the {language} policy cannot be used: {problem}")]
    Malformed {
        /// The language.
        language: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The policy or the statement is too large.
    #[error("{what} has more than {limit} {unit}")]
    TooLarge {
        /// Which of them.
        what: &'static str,
        /// What is counted.
        unit: &'static str,
        /// The bound.
        limit: usize,
    },
    /// What was verified is not the statement that the policy would see.
    #[error("what was verified is not this statement: a policy judges nothing else")]
    Unproven,
}

impl PolicyError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Language { .. } | Self::Cue | Self::Malformed { .. } => Code::POLICY_MALFORMED,
            Self::TooLarge { .. } => Code::INPUT_TOO_LARGE,
            Self::Unproven => Code::POLICY_DENIED,
        }
    }
}

/// What a policy decided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It allows.
    Allowed(Allowance),
    /// It does not.
    Denied(Denial),
}

/// That a policy allowed. Only [`Compiled::evaluate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance(());

/// Why a policy does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    messages: Vec<String>,
}

impl Denial {
    /// At least one message, in the order of the policy or of the alphabet; [`MAX_MESSAGES`] at most.
    #[must_use]
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::POLICY_DENIED
    }
}

impl Verdict {
    const fn allowed() -> Self {
        Self::Allowed(Allowance(()))
    }

    fn denied(messages: impl IntoIterator<Item = String>) -> Self {
        let cut = |text: String| text.chars().take(MAX_MESSAGE_LEN).collect();
        let mut messages: Vec<String> = messages.into_iter().take(MAX_MESSAGES).map(cut).collect();
        if messages.is_empty() {
            messages.push("the policy does not say why".to_owned());
        }
        Self::Denied(Denial { messages })
    }

    fn refused(message: impl Into<String>) -> Self {
        Self::denied([message.into()])
    }
}

/// A policy that can be asked.
#[derive(Clone)]
pub struct Compiled {
    language: &'static Language,
    program: Program,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Compiled").field(&self.language.name).finish()
    }
}

#[derive(Clone)]
enum Program {
    Cel(cel::Expression),
    Rego(Box<rego::Module>),
}

impl Compiled {
    /// Reads a policy of at most [`MAX_SOURCE_LEN`] bytes.
    ///
    /// # Errors
    /// [`PolicyError`], but for `Unproven`.
    pub fn compile(language: &'static Language, source: &str) -> Result<Self, PolicyError> {
        if source.len() > MAX_SOURCE_LEN {
            return Err(PolicyError::TooLarge { what: "the policy", unit: "bytes", limit: MAX_SOURCE_LEN });
        }
        // The libraries are large and not ours: where one gives up, the policy is unusable, and the process goes on.
        let opened = catch_unwind(AssertUnwindSafe(|| (language.open)(source)));
        let program = opened.unwrap_or_else(|_| Err(malformed(language.name, "its reader gave up")))?;
        Ok(Self { language, program })
    }

    /// Its language.
    #[must_use]
    pub const fn language(&self) -> &'static Language {
        self.language
    }

    /// Asks it. Whatever is not a clear yes is a denial: a rule that is undefined or has another value, an error, a budget that is
    /// used up. `now` is what a policy is told when it asks for the time.
    pub fn evaluate(&self, input: &Input, now: Timestamp) -> Verdict {
        let evaluated = catch_unwind(AssertUnwindSafe(|| match &self.program {
            Program::Cel(expression) => expression.evaluate(input),
            Program::Rego(module) => module.evaluate(input, now),
        }));
        evaluated.unwrap_or_else(|_| Verdict::refused("the policy cannot be evaluated: its evaluator gave up"))
    }
}

fn malformed(language: &'static str, problem: impl Into<String>) -> PolicyError {
    PolicyError::Malformed { language, problem: problem.into() }
}

/// The line of a library's message that says what is wrong; the others draw where.
fn gist(message: &str) -> String {
    let error = message.lines().find_map(|line| line.trim().strip_prefix("error: "));
    let place = message.lines().find_map(|line| line.trim().strip_prefix("--> policy.rego:"));
    let text = error.or_else(|| message.lines().find(|line| !line.trim().is_empty())).unwrap_or_default().trim();
    place.map_or_else(|| text.to_owned(), |place| format!("{text} (line {})", place.replacen(':', ", column ", 1)))
}

#[cfg(test)]
mod documentation;
#[cfg(test)]
mod tests;
