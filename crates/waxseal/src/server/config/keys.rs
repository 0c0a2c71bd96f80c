//! Where the passphrase of an instance's keys comes from.

use super::ConfigError;
use std::path::{Path, PathBuf};
use waxseal_formats::crypto::Secret;
use waxseal_io::signer::{KeyFiles, key_files};

/// How the keys of an instance are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// They are not encrypted.
    Plain,
    /// Under the passphrase on the first line of a file, which only its owner may be able to read.
    PassphraseFile(PathBuf),
    /// Under the passphrase in a variable of the environment.
    PassphraseEnv(String),
}

impl Keys {
    /// The passphrase, if the keys are encrypted.
    ///
    /// # Errors
    /// [`ConfigError::Passphrase`] for the file, [`ConfigError::Variable`] if the variable is not set.
    pub fn passphrase(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Secret<String>>, ConfigError> {
        match self {
            Self::Plain => Ok(None),
            Self::PassphraseFile(path) => passphrase_file(path).map(Some),
            Self::PassphraseEnv(name) => match variable(name).filter(|text| !text.is_empty()) {
                Some(text) => Ok(Some(Secret::new(text))),
                None => Err(ConfigError::Variable { name: name.clone() }),
            },
        }
    }

    /// The way to the key files.
    ///
    /// # Errors
    /// As [`Keys::passphrase`].
    pub fn open(&self, variable: impl Fn(&str) -> Option<String>) -> Result<KeyFiles, ConfigError> {
        Ok(self.passphrase(variable)?.map_or_else(KeyFiles::plain, KeyFiles::sealed))
    }
}

/// The first line of a file that only its owner can read.
///
/// # Errors
/// [`ConfigError::Passphrase`]; [`ConfigError::File`] if the line is empty.
pub fn passphrase_file(path: &Path) -> Result<Secret<String>, ConfigError> {
    let text = key_files::read(path)?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line.to_owned())),
        _ => Err(ConfigError::File {
            path: path.display().to_string(),
            reason: "its first line, the passphrase, is empty".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use waxseal_formats::code::Code;

    #[test]
    fn a_passphrase_comes_from_a_file_of_its_owner_or_from_the_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("passphrase");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        };
        let file = Keys::PassphraseFile(path.clone());
        let code = |keys: &Keys| keys.passphrase(|_| None).map(|_| ()).expect_err("refused").code();
        assert_eq!(code(&file), Code::INPUT_UNREADABLE);
        write("correct horse battery\nand a remark\n", 0o600);
        let text = file.passphrase(|_| None).expect("read").expect("one");
        assert_eq!(text.expose(), "correct horse battery");
        assert!(file.open(|_| None).expect("open").is_sealed());
        write("\nsecond", 0o600);
        assert_eq!(code(&file), Code::INPUT_UNREADABLE);
        write("open", 0o640);
        assert_eq!(code(&file), Code::KEY_PERMISSIONS);

        let variable = Keys::PassphraseEnv("PASS".into());
        let set = variable.passphrase(|name| (name == "PASS").then(|| "p".to_owned())).expect("read").expect("one");
        assert_eq!(set.expose(), "p");
        assert_eq!(code(&variable), Code::KEY_PASSPHRASE);
        let empty = variable.passphrase(|_| Some(String::new())).map(|_| ()).expect_err("refused");
        assert!(empty.to_string().contains("PASS"), "{empty}");
        assert!(!Keys::Plain.open(|_| None).expect("open").is_sealed());
    }
}
