//! What `up` was asked to do, and the rules file.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use url::Url;
use waxseal_authority::rules::{DEFAULT_AUDIENCE, IssuerType, MAX_RULES_LEN, Rules, RulesError};
use waxseal_formats::client_config::Privacy;
use waxseal_formats::code::Code;

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
    /// The rules file cannot be read.
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
}

impl ConfigError {
    /// `usage`, `input.unreadable` or `policy.malformed`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Option { .. } => Code::USAGE,
            Self::File { .. } => Code::INPUT_UNREADABLE,
            Self::Rules { source, .. } => source.code(),
        }
    }
}

/// The settings of `up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpSettings {
    /// Where keys and logs are.
    pub data_dir: PathBuf,
    /// The address to listen on: loopback.
    pub listen: SocketAddr,
    /// Scheme, host and port under which clients know the instance, if that is not the address it listens on.
    pub public_url: Option<String>,
    /// The rules file, if the default rules are not meant.
    pub rules: Option<PathBuf>,
    /// What the logs keep; none means what the data directory was made for, and [`Privacy::Sealed`] for a new one.
    pub privacy: Option<Privacy>,
}

impl UpSettings {
    /// Checks what was asked.
    ///
    /// # Errors
    /// [`ConfigError::Option`]: an address that others can reach (the demo provider vouches for anybody), a public URL
    /// that is no origin.
    pub fn check(mut self) -> Result<Self, ConfigError> {
        if !self.listen.ip().is_loopback() {
            let reason = format!("{} is not a loopback address; `up` is for this machine only", self.listen);
            return Err(ConfigError::Option { option: "--listen", reason });
        }
        self.public_url = self.public_url.as_deref().map(origin).transpose()?;
        Ok(self)
    }

    /// Scheme, host and port of every URL that the instance hands out; `bound` is the address it really listens on.
    #[must_use]
    pub fn origin(&self, bound: SocketAddr) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{bound}"))
    }
}

/// The origin that a URL is, without a slash at its end.
fn origin(text: &str) -> Result<String, ConfigError> {
    let fault = |reason: &str| ConfigError::Option { option: "--public-url", reason: format!("{text} {reason}") };
    let url = Url::parse(text).map_err(|error| fault(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(fault("is not an http or https URL"));
    }
    if url.path() != "/"
        || url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(fault("has more than scheme, host and port: an instance has an origin to itself"));
    }
    Ok(url.origin().ascii_serialization())
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
    let shown = || path.display().to_string();
    let unreadable = |error: std::io::Error| ConfigError::File { path: shown(), reason: error.to_string() };
    let limit = u64::try_from(MAX_RULES_LEN).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    std::fs::File::open(path).map_err(unreadable)?.take(limit).read_to_string(&mut text).map_err(unreadable)?;
    Rules::from_yaml(&text, known).map_err(|source| ConfigError::Rules { path: shown(), source })
}

/// The default rules as a file would have them.
#[must_use]
pub fn default_rules(known: &[(String, IssuerType)]) -> String {
    let rule = |(issuer, kind): &(String, IssuerType)| {
        format!(
            "  - name: demo-{}\n    issuer: {issuer}\n    audience: {DEFAULT_AUDIENCE}\n    match: {{sub: \"**\"}}\n",
            kind.name()
        )
    };
    format!("rules:\n{}", known.iter().map(rule).collect::<String>())
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
    use super::{ConfigError, DEFAULT_LISTEN, UpSettings, default_data_dir, rules};
    use std::net::SocketAddr;
    use std::path::{Path, PathBuf};
    use waxseal_authority::rules::{IssuerType, MAX_RULES_LEN};
    use waxseal_formats::code::Code;

    fn settings() -> UpSettings {
        UpSettings {
            data_dir: PathBuf::from("/d"),
            listen: DEFAULT_LISTEN.parse().expect("an address"),
            public_url: None,
            rules: None,
            privacy: None,
        }
    }

    #[test]
    fn up_listens_on_loopback_only() {
        for listen in ["127.0.0.1:0", "127.9.9.9:80", "[::1]:7480"] {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert!(UpSettings { listen, ..settings() }.check().is_ok());
        }
        for listen in ["0.0.0.0:7480", "[::]:7480", "192.168.1.1:7480", "[::ffff:127.0.0.1]:1"] {
            let listen: SocketAddr = listen.parse().expect("an address");
            let error = UpSettings { listen, ..settings() }.check().expect_err("refused");
            assert_eq!(error.code(), Code::USAGE);
            assert!(error.to_string().contains("--listen"), "{error}");
        }
    }

    #[test]
    fn the_public_url_is_an_origin() {
        let origin = |url: &str| {
            let settings = UpSettings { public_url: Some(url.to_owned()), ..settings() }.check()?;
            Ok::<_, ConfigError>(settings.origin("127.0.0.1:1".parse().expect("an address")))
        };
        assert_eq!(settings().origin("127.0.0.1:4711".parse().expect("an address")), "http://127.0.0.1:4711");
        assert_eq!(settings().origin("[::1]:4711".parse().expect("an address")), "http://[::1]:4711");
        assert_eq!(origin("https://sign.corp.example").expect("an origin"), "https://sign.corp.example");
        assert_eq!(origin("https://Sign.corp.example:443/").expect("an origin"), "https://sign.corp.example");
        assert_eq!(origin("http://localhost:7480/").expect("an origin"), "http://localhost:7480");
        for url in [
            "",
            "sign.corp.example",
            "https://a.example/x",
            "https://a.example/?x",
            "https://u@a.example",
            "ftp://a.example",
            "https://a.example/#x",
        ] {
            assert_eq!(origin(url).expect_err(url).code(), Code::USAGE, "{url}");
        }
    }

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
