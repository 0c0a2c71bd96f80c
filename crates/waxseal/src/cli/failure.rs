//! How a command ends: data on stdout, words on stderr, one reason code, one exit status.

use serde::Serialize;
use std::io::Write;
use waxseal_formats::code::Code;

/// Exit status of a refusal or failure.
pub const EXIT_FAILED: u8 = 1;
/// Exit status of a wrong usage.
pub const EXIT_USAGE: u8 = 2;
/// Exit status when a needed service cannot be reached.
pub const EXIT_UNREACHABLE: u8 = 20;

/// Why a command did not do what it was asked: printed as `error[CODE]: message`, then the hint.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The stable reason code.
    pub code: Code,
    /// The fact and the offending value, in one sentence without a final full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The exit status.
    pub exit: u8,
    /// What was found, for JSON: an object whose members are printed beside code and message.
    pub details: Option<serde_json::Value>,
}

impl Failure {
    /// A failure with the exit status that goes with `code`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let exit = match code {
            Code::USAGE => EXIT_USAGE,
            Code::NETWORK_UNREACHABLE => EXIT_UNREACHABLE,
            _ => EXIT_FAILED,
        };
        Self { code, message: message.into(), hint: None, exit, details: None }
    }

    /// A wrong use of the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::USAGE, message)
    }

    /// A file that cannot be read or written.
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Code::INPUT_UNREADABLE, format!("{}: {error}", path.display()))
    }

    /// Adds what was found, for those who read JSON.
    #[must_use]
    pub fn details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Where a command's words and data go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Sentences on stderr, bare data on stdout.
    Text,
    /// One JSON object on stdout; sentences still go to stderr.
    Json,
}

impl Output {
    /// A sentence for the person in front of the terminal.
    pub fn say(self, sentence: &str) {
        let _ = writeln!(std::io::stderr(), "{sentence}");
    }

    /// The command's data: `text` as it is, or `value` as one line of JSON.
    ///
    /// # Errors
    /// `input.unreadable` if stdout is closed.
    pub fn data(self, text: &str, value: &impl Serialize) -> Result<(), Failure> {
        let line = match self {
            Self::Text => text.to_owned(),
            Self::Json => serde_json::to_string(value).map_err(|error| {
                Failure::new(Code::INPUT_UNREADABLE, format!("the answer cannot be written: {error}"))
            })?,
        };
        if line.is_empty() {
            return Ok(());
        }
        writeln!(std::io::stdout(), "{line}")
            .map_err(|error| Failure::new(Code::INPUT_UNREADABLE, format!("standard output: {error}")))
    }

    /// Prints a failure: the last line on stderr is `error[CODE]: sentence`; JSON carries the same code on stdout.
    pub fn fail(self, failure: &Failure) {
        if self == Self::Json {
            let mut object =
                serde_json::json!({"code": failure.code, "message": failure.message, "hint": failure.hint});
            if let (Some(object), Some(serde_json::Value::Object(details))) = (object.as_object_mut(), &failure.details)
            {
                object.extend(details.clone());
            }
            let _ = writeln!(std::io::stdout(), "{object}");
        }
        let mut stderr = std::io::stderr();
        if let Some(hint) = &failure.hint {
            let _ = writeln!(stderr, "hint: {hint}");
        }
        // Libraries' messages may have several lines; what scripts read is the last one.
        let sentence = failure.message.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(stderr, "error[{}]: {sentence}", failure.code);
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Output};
    use waxseal_formats::code::Code;

    #[test]
    fn the_exit_status_follows_the_code() {
        assert_eq!(Failure::usage("x").exit, 2);
        assert_eq!(Failure::new(Code::NETWORK_UNREACHABLE, "x").exit, 20);
        assert_eq!(Failure::new(Code::SIGNATURE_INVALID, "x").exit, 1);
        assert_eq!(Output::Text.data("", &()).map_err(|failure| failure.code), Ok(()));
    }
}
