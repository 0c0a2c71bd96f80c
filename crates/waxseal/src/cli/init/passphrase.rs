//! Which passphrase new keys are put under: one that is given, typed, or made up.

use crate::cli::Failure;
use crate::cli::serve::refused;
use crate::server::config::{Keys, keys::passphrase_file};
use std::path::{Path, PathBuf};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::Secret;
use waxseal_io::signer::{KeyFiles, key_files};
use waxseal_io::system;
use waxseal_io::terminal::Terminal;
use waxseal_io::token::process_environment;

/// The variable that is named in the configuration when a passphrase was typed.
const VARIABLE: &str = "WAXSEAL_PASSPHRASE";
/// Fewest characters of a passphrase that is typed.
const MIN_TYPED: usize = 8;

/// Where a passphrase comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// There is none.
    None,
    /// A file that was named.
    File(PathBuf),
    /// A variable that was named.
    Variable(String),
    /// It is not said: it is typed, or made up and written into this file.
    Open(PathBuf),
    /// It was made up, and is in this file.
    MadeUp(PathBuf),
    /// It was typed, and is nowhere.
    Typed,
}

impl Source {
    /// The file that has the passphrase.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::MadeUp(path) => Some(path),
            Self::None | Self::Variable(_) | Self::Open(_) | Self::Typed => None,
        }
    }

    pub(super) fn sentence(&self) -> String {
        match self {
            Self::None => "not encrypted: whoever reads the files has the keys".to_owned(),
            Self::File(path) => format!("encrypted with the passphrase in {}", path.display()),
            Self::Variable(name) => format!("encrypted with the passphrase in the variable {name}"),
            Self::MadeUp(path) => {
                format!("encrypted with a passphrase that was made up and is in {} (mode 0600)", path.display())
            }
            Self::Typed | Self::Open(_) => "encrypted with the passphrase that you typed".to_owned(),
        }
    }
}

/// A way to key files, and where it comes from.
pub(super) struct Chosen {
    /// The way to the files.
    pub(super) files: KeyFiles,
    /// What the configuration says about it.
    pub(super) keys: Keys,
    /// Where the passphrase is.
    pub(super) source: Source,
}

impl Chosen {
    /// No passphrase.
    pub(super) const fn plain() -> Self {
        Self { files: KeyFiles::plain(), keys: Keys::Plain, source: Source::None }
    }
}

/// The passphrase from where it is said to be; typed where a terminal is, else made up.
pub(super) fn choose(source: Source, whose: &str, terminal: Option<&Terminal>) -> Result<Chosen, Failure> {
    let keys = match (source, terminal) {
        (Source::Open(path), _) if path.exists() => {
            // Left there by a run that broke off.
            let passphrase = passphrase_file(&path).map_err(|error| refused(&error))?;
            return Ok(sealed(passphrase, Keys::PassphraseFile(path.clone()), Source::MadeUp(path)));
        }
        (Source::Open(path), Some(terminal)) => {
            return match typed(terminal, whose)? {
                Some(passphrase) => Ok(sealed(passphrase, Keys::PassphraseEnv(VARIABLE.to_owned()), Source::Typed)),
                None => made_up(path),
            };
        }
        (Source::Open(path), None) => return made_up(path),
        (Source::File(path), _) => Keys::PassphraseFile(path),
        (Source::Variable(name), _) => Keys::PassphraseEnv(name),
        (Source::None | Source::MadeUp(_) | Source::Typed, _) => return Ok(Chosen::plain()),
    };
    let passphrase = keys.passphrase(process_environment).map_err(|error| refused(&error))?;
    let source = match &keys {
        Keys::PassphraseFile(path) => Source::File(path.clone()),
        Keys::PassphraseEnv(name) => Source::Variable(name.clone()),
        Keys::Plain => Source::None,
    };
    Ok(passphrase.map_or_else(Chosen::plain, |passphrase| sealed(passphrase, keys, source)))
}

fn sealed(passphrase: Secret<String>, keys: Keys, source: Source) -> Chosen {
    Chosen { files: KeyFiles::sealed(passphrase), keys, source }
}

fn made_up(path: PathBuf) -> Result<Chosen, Failure> {
    let passphrase = Secret::new(hex::encode(system::random::<24>()));
    let written = key_files::write_secret(&path, &passphrase);
    written.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    Ok(sealed(passphrase, Keys::PassphraseFile(path.clone()), Source::MadeUp(path)))
}

/// A passphrase that was typed twice; none if the person has one made up.
fn typed(terminal: &Terminal, whose: &str) -> Result<Option<Secret<String>>, Failure> {
    let failed = |error| Failure::new(Code::INPUT_UNREADABLE, format!("the terminal: {error}"));
    loop {
        let question = format!("Passphrase for {whose} (empty: one is made up and written to a file): ");
        let first = terminal.ask_secret(&question).map_err(failed)?;
        if first.expose().is_empty() {
            return Ok(None);
        }
        if first.expose().chars().count() < MIN_TYPED {
            terminal.say(&format!("at least {MIN_TYPED} characters")).map_err(failed)?;
            continue;
        }
        let second = terminal.ask_secret("Again: ").map_err(failed)?;
        if first.expose() == second.expose() {
            return Ok(Some(first));
        }
        terminal.say("the two are not the same").map_err(failed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_made_up_once_and_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("passphrase");
        let text = || std::fs::read_to_string(&path).expect("a passphrase");
        let first = choose(Source::Open(path.clone()), "keys", None).expect("made up");
        let made = text();
        assert_eq!(made.trim_end().len(), 48);
        assert_eq!((first.source, first.keys), (Source::MadeUp(path.clone()), Keys::PassphraseFile(path.clone())));
        assert!(first.files.is_sealed());
        let again = choose(Source::Open(path.clone()), "keys", None).expect("found");
        assert_eq!((text(), again.source.file()), (made, Some(path.as_path())));
    }

    #[test]
    fn what_was_named_has_to_be_there() {
        let missing = choose(Source::File("/nonexistent/passphrase".into()), "keys", None);
        assert_eq!(missing.map(|_| ()).expect_err("refused").code, Code::INPUT_UNREADABLE);
        let unset = choose(Source::Variable("WAXSEAL_NO_SUCH_VARIABLE".into()), "keys", None);
        assert_eq!(unset.map(|_| ()).expect_err("refused").code, Code::KEY_PASSPHRASE);
    }
}
