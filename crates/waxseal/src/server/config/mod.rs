//! What an instance is started with: the options of `up`, the configuration file of `serve`, and the rules file of both.

pub mod file;
pub mod keys;
pub mod network;
pub mod settings;
pub mod template;

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use waxseal_authority::rules::{DEFAULT_AUDIENCE, IssuerType, MAX_RULES_LEN, Rules, RulesError};
use waxseal_formats::code::Code;
use waxseal_io::signer::{KeyFiles, SignerError};

pub use file::Config;
pub use keys::Keys;
pub use network::AddressRange;
pub use settings::{Login, Provider, Settings, Tls, UpSettings};

/// Where `up` listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7480";

/// Why the instance cannot be started as asked.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An option that means nothing or is not allowed.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The rules file is refused.
    #[error("{path}: {source}")]
    Rules {
        /// The file.
        path: String,
        /// What is wrong.
        source: RulesError,
    },
    /// The configuration file is not YAML, has a key that is unknown or there twice, or a value of the wrong type.
    #[error("{path}, line {line}, column {column}: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// Counted from 1.
        line: u64,
        /// Counted from 1.
        column: u64,
        /// What is wrong.
        reason: String,
    },
    /// The configuration file has a value that cannot be meant.
    #[error("{path}: {setting}: {reason}")]
    Setting {
        /// The file.
        path: String,
        /// The key.
        setting: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The configuration file would serve others without TLS, and does not say so.
    #[error(
        "{path}: without TLS, {listen} would be reached by others: give `tls` a certificate and key, listen on loopback behind a proxy, or write `tls: none`"
    )]
    PlainHttp {
        /// The file.
        path: String,
        /// The address.
        listen: SocketAddr,
    },
    /// The passphrase of the keys.
    #[error(transparent)]
    Passphrase(#[from] SignerError),
    /// The variable with the passphrase is not set.
    #[error("the keys are encrypted, and the variable {name} with their passphrase is not set")]
    Variable {
        /// Its name.
        name: String,
    },
}

impl ConfigError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Option { .. } => Code::USAGE,
            Self::File { .. } => Code::INPUT_UNREADABLE,
            Self::Rules { source, .. } => source.code(),
            Self::Malformed { .. } | Self::Setting { .. } => Code::INPUT_CONFIG,
            Self::PlainHttp { .. } => Code::NETWORK_PLAIN_HTTP,
            Self::Passphrase(error) => error.code(),
            Self::Variable { .. } => Code::KEY_PASSPHRASE,
        }
    }
}

/// The rules of the instance: those of the file, or the default ones, which admit everyone whom the known issuers (those
/// of the demo provider) vouch for and nobody else.
///
/// # Errors
/// [`ConfigError::File`], [`ConfigError::Rules`].
pub fn rules(path: Option<&Path>, known: &[(String, IssuerType)]) -> Result<Rules, ConfigError> {
    let Some(path) = path else {
        return Rules::from_yaml(&default_rules(known), known)
            .map_err(|source| ConfigError::Rules { path: "the default rules".to_owned(), source });
    };
    let text = read_text(path, MAX_RULES_LEN)?;
    Rules::from_yaml(&text, known).map_err(|source| ConfigError::Rules { path: path.display().to_string(), source })
}

/// A text file of at most `max` bytes, or its beginning and one byte more.
fn read_text(path: &Path, max: usize) -> Result<String, ConfigError> {
    let unreadable =
        |error: std::io::Error| ConfigError::File { path: path.display().to_string(), reason: error.to_string() };
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    std::fs::File::open(path).map_err(unreadable)?.take(limit).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// The rules that are tried beside those in force, if there are any.
///
/// # Errors
/// As [`rules`].
pub fn candidate(settings: &Settings, known: &[(String, IssuerType)]) -> Result<Option<Rules>, ConfigError> {
    settings.candidate.as_deref().map(|path| rules(Some(path), known)).transpose()
}

/// The default rules as a file would have them.
#[must_use]
pub fn default_rules(known: &[(String, IssuerType)]) -> String {
    if known.is_empty() {
        return "rules: []\n".to_owned();
    }
    let rule = |(issuer, kind): &(String, IssuerType)| {
        format!(
            "  - name: demo-{}\n    issuer: {issuer}\n    audience: {DEFAULT_AUDIENCE}\n    match: {{sub: \"**\"}}\n",
            kind.name()
        )
    };
    format!("rules:\n{}", known.iter().map(rule).collect::<String>())
}

/// The way to the keys of an instance that does not run: as the configuration file in its data directory says.
///
/// # Errors
/// [`ConfigError`] for the file, and for the passphrase.
pub fn keys_of(data_dir: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<KeyFiles, ConfigError> {
    let path = data_dir.join(file::FILE);
    if path.exists() { Config::read(&path)?.keys.open(variable) } else { Ok(KeyFiles::plain()) }
}

/// The data directory of `up`: `$XDG_DATA_HOME/waxseal/up`, by default below `~/.local/share`.
///
/// # Errors
/// [`ConfigError::Option`] if there is no home directory.
pub fn default_data_dir(variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, ConfigError> {
    below_home(variable, "XDG_DATA_HOME", ".local/share").map(|folder| folder.join("waxseal/up")).ok_or_else(|| {
        ConfigError::Option { option: "--data-dir", reason: "there is no home directory; say which".to_owned() }
    })
}

/// A folder of the XDG base directory specification, which ignores relative paths.
pub(crate) fn below_home(variable: impl Fn(&str) -> Option<String>, name: &str, fallback: &str) -> Option<PathBuf> {
    let absolute = |text: String| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    variable(name).and_then(absolute).or_else(|| Some(variable("HOME").and_then(absolute)?.join(fallback)))
}

#[cfg(test)]
mod tests {
    use super::{default_data_dir, rules};
    use std::path::Path;
    use waxseal_authority::rules::{IssuerType, MAX_RULES_LEN};
    use waxseal_formats::code::Code;

    fn known() -> Vec<(String, IssuerType)> {
        vec![
            ("http://127.0.0.1:7480/idp".to_owned(), IssuerType::Email),
            ("http://127.0.0.1:7480/idp/github".to_owned(), IssuerType::ci("github-workflow").expect("GitHub")),
        ]
    }

    #[test]
    fn the_default_rules_admit_the_known_issuers_only() {
        let rules = rules(None, &known()).expect("rules");
        assert_eq!(
            rules.issuers().map(|accepted| accepted.issuer().url()).collect::<Vec<_>>(),
            ["http://127.0.0.1:7480/idp", "http://127.0.0.1:7480/idp/github"]
        );
        assert!(rules.accepted("https://accounts.google.com").is_none());
    }

    #[test]
    fn a_rules_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rules.yaml");
        let refusal = |path: &Path| {
            let error = rules(Some(path), &known()).expect_err("refused");
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
            (error.code(), error.to_string())
        };
        assert_eq!(refusal(&path).0, Code::INPUT_UNREADABLE, "missing");
        assert_eq!(refusal(folder.path()).0, Code::INPUT_UNREADABLE, "a folder");
        std::fs::write(&path, [0xff, 0xfe]).expect("written");
        assert_eq!(refusal(&path).0, Code::INPUT_UNREADABLE, "not text");
        std::fs::write(&path, "rules:\n  - name: a\n    color: red\n").expect("written");
        let (code, message) = refusal(&path);
        assert_eq!(code, Code::POLICY_MALFORMED);
        assert!(message.contains("line 3, column 5") && message.contains("color"), "{message}");
        std::fs::write(&path, " ".repeat(MAX_RULES_LEN + 1)).expect("written");
        assert_eq!(refusal(&path).0, Code::POLICY_MALFORMED, "too long");
        std::fs::write(&path, "rules: []").expect("written");
        assert_eq!(rules(Some(&path), &known()).expect("rules").issuers().count(), 2);
    }

    #[test]
    fn the_data_directory_follows_xdg() {
        let dir = |data: Option<&str>, home: Option<&str>| {
            default_data_dir(|name| match name {
                "XDG_DATA_HOME" => data.map(str::to_owned),
                "HOME" => home.map(str::to_owned),
                _ => None,
            })
        };
        assert_eq!(dir(Some("/data"), Some("/home/a")).expect("a folder"), Path::new("/data/waxseal/up"));
        assert_eq!(dir(Some("data"), Some("/home/a")).expect("a folder"), Path::new("/home/a/.local/share/waxseal/up"));
        assert_eq!(dir(None, None).expect_err("refused").code(), Code::USAGE);
    }
}
