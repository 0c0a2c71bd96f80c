//! The configuration file of `serve`: YAML, read whole and checked before anything is done with it.
//!
//! ```yaml
//! public_url: https://sign.corp.example
//! data_dir: .                       # paths are relative to this file
//! rules: rules.yaml
//! tls: {certificate: tls/fullchain.pem, key: tls/key.pem}
//! login: {issuer: https://login.corp.example, client_id: sigstore}
//! keys: {passphrase_file: secrets/passphrase}
//! ```
//!
//! Only `public_url` has to be there. A key that is not known is an error: a misspelt limit would be none.

use super::network::AddressRange;
use super::settings::{Audit, DEFAULT_CLIENT_ID, Limits, Login, Provider, Settings, Timestamps, Tls, origin};
use super::{ConfigError, DEFAULT_LISTEN, Keys, read_text};
use crate::server::telemetry::LogFormat;
use jiff::SignedDuration;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Value, json};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use url::{Host, Url};
use waxseal_formats::client_config::Privacy;

/// Name of the file that `init` writes into a data directory.
pub const FILE: &str = "waxseal.yaml";
/// Name of the rules file that `init` writes beside it.
pub const RULES_FILE: &str = "rules.yaml";
/// Longest configuration file, in bytes.
pub const MAX_CONFIG_LEN: usize = 256 * 1024;

/// What a configuration file says, with everything that it leaves out filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// What the instance is started with.
    pub settings: Settings,
    /// Where the passphrase of the keys comes from.
    pub keys: Keys,
    /// How the process logs.
    pub log: Log,
}

/// How the process logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// The filter, such as `info`.
    pub level: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    public_url: String,
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    operations_listen: Option<SocketAddr>,
    privacy: Option<Privacy>,
    rules: Option<PathBuf>,
    candidate: Option<PathBuf>,
    tls: Option<TlsEntry>,
    login: Option<LoginEntry>,
    #[serde(default)]
    keys: KeysEntry,
    #[serde(default)]
    audit: Audit,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    timestamps: TimestampsEntry,
    #[serde(default)]
    trusted_proxies: Vec<AddressRange>,
    #[serde(default)]
    log: LogEntry,
}

/// `none`, or the two files.
enum TlsEntry {
    None,
    Files(TlsFilesEntry),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFilesEntry {
    certificate: PathBuf,
    key: PathBuf,
}

impl<'de> Deserialize<'de> for TlsEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = TlsEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`none`, or `certificate` and `key`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TlsEntry, E> {
                match text {
                    "none" => Ok(TlsEntry::None),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TlsEntry, A::Error> {
                TlsFilesEntry::deserialize(MapAccessDeserializer::new(map)).map(TlsEntry::Files)
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginEntry {
    issuer: String,
    client_id: Option<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysEntry {
    passphrase_file: Option<PathBuf>,
    passphrase_env: Option<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TimestampsEntry {
    #[serde(default)]
    ntp: Vec<String>,
    max_difference: Option<Length>,
}

/// A time, such as `1s` or `500 ms`.
struct Length(SignedDuration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| D::Error::custom(format!("`{text}` is no time such as `1s`")))
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LogEntry {
    format: Option<FormatEntry>,
    level: Option<String>,
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormatEntry {
    Text,
    Json,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError::File`] if it cannot be read, [`ConfigError::Malformed`] with line and column if it is no such file,
    /// [`ConfigError::Setting`] for a value that cannot be meant.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed =
            |error: std::io::Error| ConfigError::File { path: path.display().to_string(), reason: error.to_string() };
        let path = std::path::absolute(path).map_err(failed)?;
        Self::parse(&path, &read_text(&path, MAX_CONFIG_LEN)?)
    }

    /// The configuration that a text at `path` is.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        if text.len() > MAX_CONFIG_LEN {
            let reason = format!("the configuration is longer than {MAX_CONFIG_LEN} bytes");
            return Err(ConfigError::Malformed { path: path.display().to_string(), line: 1, column: 1, reason });
        }
        let file = read_yaml(path, text)?;
        let setting = |setting: &'static str, reason: String| ConfigError::Setting {
            path: path.display().to_string(),
            setting,
            reason,
        };
        let beside = |named: PathBuf| plain(&path.parent().unwrap_or(Path::new("/")).join(named));
        let public_url = origin(&file.public_url).map_err(|reason| setting("public_url", reason))?;
        let keys = match (file.keys.passphrase_file, file.keys.passphrase_env) {
            (None, None) => Keys::Plain,
            (Some(file), None) => Keys::PassphraseFile(beside(file)),
            (None, Some(name)) if !name.is_empty() && !name.contains(['=', '\0']) => Keys::PassphraseEnv(name),
            (None, Some(name)) => {
                return Err(setting("keys.passphrase_env", format!("`{name}` is no name of a variable")));
            }
            (Some(_), Some(_)) => {
                return Err(setting("keys", "either `passphrase_file` or `passphrase_env`, not both".into()));
            }
        };
        let login = file.login.map(|login| {
            let fault = |reason| setting("login.issuer", reason);
            web_address(&login.issuer).map_err(fault)?;
            let client_id = login.client_id.unwrap_or_else(|| DEFAULT_CLIENT_ID.to_owned());
            Ok::<_, ConfigError>(Login { issuer: login.issuer, client_id })
        });
        let meant = file.tls.is_some();
        let tls = match file.tls {
            Some(TlsEntry::Files(files)) => {
                Tls::Files { certificate: beside(files.certificate), key: beside(files.key) }
            }
            Some(TlsEntry::None) | None => Tls::None,
        };
        let listen = file.listen.unwrap_or_else(|| default_listen(&public_url, &tls));
        if !meant && !listen.ip().is_loopback() {
            return Err(ConfigError::PlainHttp { path: path.display().to_string(), listen });
        }
        if let Some(name) = file.limits.zero() {
            return Err(setting("limits", format!("`{name}: 0` lets nobody in; leave it out to set no limit")));
        }
        let timestamps = Timestamps {
            ntp: file.timestamps.ntp,
            max_difference: file
                .timestamps
                .max_difference
                .map_or(Timestamps::default().max_difference, |given| given.0),
        };
        if timestamps.max_difference <= SignedDuration::ZERO {
            return Err(setting("timestamps.max_difference", "no clock is so exact".into()));
        }
        let settings = Settings {
            data_dir: beside(file.data_dir.unwrap_or_default()),
            listen,
            public_url: Some(public_url),
            operations_listen: file.operations_listen,
            privacy: file.privacy,
            rules: Some(beside(file.rules.unwrap_or_else(|| RULES_FILE.into()))),
            candidate: file.candidate.map(beside),
            provider: Provider::Outside(login.transpose()?),
            tls,
            audit: file.audit,
            limits: file.limits,
            timestamps,
            trusted_proxies: file.trusted_proxies,
        };
        let log = Log {
            format: match file.log.format {
                Some(FormatEntry::Json) => LogFormat::Json,
                Some(FormatEntry::Text) | None => LogFormat::Text,
            },
            level: file.log.level.unwrap_or_else(|| "info".to_owned()),
        };
        Ok(Self { path: path.to_owned(), settings, keys, log })
    }

    /// What is in force, for people and programs: every key, none of the secrets.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let settings = &self.settings;
        let (passphrase_file, passphrase_env) = match &self.keys {
            Keys::Plain => (None, None),
            Keys::PassphraseFile(file) => (Some(file), None),
            Keys::PassphraseEnv(name) => (None, Some(name)),
        };
        let tls = match &settings.tls {
            Tls::Files { certificate, key } => json!({"certificate": certificate, "key": key}),
            Tls::None => json!("none"),
        };
        let login = settings.login();
        let proxies: Vec<String> = settings.trusted_proxies.iter().map(ToString::to_string).collect();
        json!({
            "public_url": settings.public_url,
            "data_dir": settings.data_dir,
            "listen": settings.listen,
            "operations_listen": settings.operations_listen,
            "privacy": settings.privacy,
            "rules": settings.rules,
            "candidate": settings.candidate,
            "tls": tls,
            "login": login.map(|login| json!({"issuer": login.issuer, "client_id": login.client_id})),
            "keys": {"passphrase_file": passphrase_file, "passphrase_env": passphrase_env},
            "audit": {"identities": settings.audit.identities},
            "limits": settings.limits,
            "timestamps": {
                "ntp": settings.timestamps.ntp,
                "max_difference": settings.timestamps.max_difference.to_string(),
            },
            "trusted_proxies": proxies,
            "log": {"format": self.log.format.name(), "level": self.log.level},
        })
    }
}

fn read_yaml(path: &Path, text: &str) -> Result<File, ConfigError> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error.location().map_or((0, 0), |location| (location.line(), location.column()));
        let reason = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let reason = reason.trim_end_matches(&format!(" at line {line}, column {column}")).to_owned();
        ConfigError::Malformed { path: path.display().to_string(), line, column, reason }
    })
}

/// A public URL on this machine is listened on as it is; with a certificate everybody is served, without one a proxy is.
fn default_listen(public_url: &str, tls: &Tls) -> SocketAddr {
    let url = Url::parse(public_url).ok();
    let address = url.as_ref().and_then(|url| {
        let ip = match url.host()? {
            Host::Ipv4(ip) => IpAddr::V4(ip),
            Host::Ipv6(ip) => IpAddr::V6(ip),
            Host::Domain("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Domain(_) => return None,
        };
        Some(SocketAddr::new(ip, url.port_or_known_default()?)).filter(|address| address.ip().is_loopback())
    });
    address.unwrap_or_else(|| match tls {
        Tls::Files { .. } => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 443)),
        Tls::None => DEFAULT_LISTEN.parse().unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, 7480))),
    })
}

/// Whether a text is the URL of an issuer at which people log in.
fn web_address(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Ok(()),
        ("http", Some(Host::Ipv4(ip))) if ip.is_loopback() => Ok(()),
        ("http", Some(Host::Ipv6(ip))) if ip.is_loopback() => Ok(()),
        ("http", Some(Host::Domain("localhost"))) => Ok(()),
        _ => Err(format!("`{text}` is not an https URL")),
    }
}

/// A path without `.` in it, as people want to see it.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxseal_formats::code::Code;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("/etc/waxseal/waxseal.yaml"), text)
    }

    fn refused(text: &str) -> (Code, String) {
        let error = parse(text).expect_err(text);
        assert!(error.to_string().starts_with("/etc/waxseal/waxseal.yaml"), "{error}");
        (error.code(), error.to_string())
    }

    #[test]
    fn the_public_url_is_enough() {
        let Config { settings, keys, log, .. } = parse("public_url: https://sign.corp.example\n").expect("good");
        assert_eq!(settings.data_dir, Path::new("/etc/waxseal"));
        assert_eq!(settings.rules.as_deref(), Some(Path::new("/etc/waxseal/rules.yaml")));
        assert_eq!(settings.listen.to_string(), DEFAULT_LISTEN);
        assert_eq!((settings.provider, settings.tls), (Provider::Outside(None), Tls::None));
        assert_eq!((keys, log.level.as_str()), (Keys::Plain, "info"));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "
public_url: https://sign.corp.example
data_dir: /var/lib/waxseal
rules: ./rules/main.yaml
candidate: next.yaml
tls: {certificate: tls/chain.pem, key: /run/key.pem}
keys: {passphrase_file: ../secret}
";
        let Config { settings, keys, .. } = parse(text).expect("good");
        assert_eq!(settings.data_dir, Path::new("/var/lib/waxseal"));
        assert_eq!(settings.rules.as_deref(), Some(Path::new("/etc/waxseal/rules/main.yaml")));
        assert_eq!(settings.candidate.as_deref(), Some(Path::new("/etc/waxseal/next.yaml")));
        let files = Tls::Files { certificate: "/etc/waxseal/tls/chain.pem".into(), key: "/run/key.pem".into() };
        assert_eq!(settings.tls, files);
        assert_eq!(keys, Keys::PassphraseFile("/etc/waxseal/../secret".into()));
    }

    #[test]
    fn a_mistake_is_found_with_its_line() {
        let (code, message) = refused("public_url: https://a.example\nlimits:\n  request_per_second: 5\n");
        assert_eq!(code, Code::INPUT_CONFIG);
        assert!(message.contains("line 3, column 3") && message.contains("request_per_second"), "{message}");
        for (text, named) in [
            ("data_dir: /x\n", "public_url"),
            ("public_url: https://a.example\nprivacy: half\n", "line 2"),
            ("public_url: https://a.example\npublic_url: https://b.example\n", "line 2"),
            ("public_url: https://a.example\nlisten: here\n", "line 2"),
            ("public_url: https://a.example\ntls: off\n", "line 2"),
            ("public_url: https://a.example\ntls: {certificate: a}\n", "key"),
            ("public_url: https://a.example\ntls: {certificate: a, key: b, ca: c}\n", "ca"),
            ("public_url: https://a.example\ntrusted_proxies: [corp]\n", "corp"),
            ("public_url: https://a.example\ntimestamps: {max_difference: soon}\n", "soon"),
            ("public_url: https://a.example\naudit: {identities: 1}\n", "line 2"),
            ("public_url: https://a.example/x\n", "public_url"),
            ("public_url: ftp://a.example\n", "public_url"),
            ("public_url: https://a.example\nkeys: {passphrase_file: a, passphrase_env: b}\n", "not both"),
            ("public_url: https://a.example\nkeys: {passphrase_env: a=b}\n", "passphrase_env"),
            ("public_url: https://a.example\nlogin: {issuer: http://login.example}\n", "login.issuer"),
            ("public_url: https://a.example\nlimits: {connections: 0}\n", "connections"),
            ("public_url: https://a.example\ntimestamps: {max_difference: 0s}\n", "max_difference"),
            ("- a\n", "line 1"),
        ] {
            let (code, message) = refused(text);
            assert_eq!(code, Code::INPUT_CONFIG, "{text}");
            assert!(message.contains(named), "{text}: {message}");
        }
    }

    #[test]
    fn the_address_follows_from_the_url_and_from_tls() {
        let listen = |text: &str| parse(text).expect("good").settings.listen.to_string();
        let tls = "tls: {certificate: a, key: b}\n";
        assert_eq!(listen("public_url: http://127.0.0.1:7500\n"), "127.0.0.1:7500");
        assert_eq!(listen("public_url: http://localhost:7500\n"), "127.0.0.1:7500");
        assert_eq!(listen("public_url: http://[::1]:7500\n"), "[::1]:7500");
        assert_eq!(listen(&format!("public_url: https://localhost:7500\n{tls}")), "127.0.0.1:7500");
        assert_eq!(listen("public_url: https://sign.corp.example\n"), "127.0.0.1:7480");
        assert_eq!(listen(&format!("public_url: https://sign.corp.example\n{tls}")), "0.0.0.0:443");
        assert_eq!(listen(&format!("public_url: https://a.example\n{tls}listen: 10.0.0.1:8443\n")), "10.0.0.1:8443");
    }

    #[test]
    fn others_are_not_served_without_tls_unless_that_is_written() {
        let text = "public_url: https://a.example\nlisten: 0.0.0.0:8080\n";
        let (code, message) = refused(text);
        assert_eq!(code, Code::NETWORK_PLAIN_HTTP);
        assert!(message.contains("0.0.0.0:8080") && message.contains("tls: none"), "{message}");
        let meant = parse(&format!("{text}tls: none\n")).expect("meant");
        assert_eq!(meant.settings.tls, Tls::None);
    }

    #[test]
    fn what_is_printed_is_the_same_configuration() {
        let text = "
public_url: https://sign.corp.example
data_dir: /var/lib/waxseal
privacy: open
operations_listen: 127.0.0.1:9464
tls: {certificate: a.pem, key: b.pem}
login: {issuer: https://login.corp.example}
keys: {passphrase_env: SECRET}
limits: {requests_per_second: 5}
timestamps: {ntp: [ntp.example], max_difference: 500ms}
trusted_proxies: [10.0.0.0/8]
log: {format: json, level: debug}
";
        let config = parse(text).expect("good");
        let printed = serde_saphyr::to_string(&config.to_json()).expect("YAML");
        assert_eq!(parse(&printed).expect(&printed), config);
        let bare = parse("public_url: http://127.0.0.1:1\n").expect("good");
        let printed = serde_saphyr::to_string(&bare.to_json()).expect("YAML");
        assert_eq!(parse(&printed).expect(&printed), bare);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let code = || Config::read(&path).expect_err("refused").code();
        assert_eq!(code(), Code::INPUT_UNREADABLE);
        std::fs::write(&path, [0xff, 0xfe]).expect("written");
        assert_eq!(code(), Code::INPUT_UNREADABLE);
        std::fs::write(&path, format!("public_url: https://a.example\n#{}", "x".repeat(MAX_CONFIG_LEN)))
            .expect("written");
        assert_eq!(code(), Code::INPUT_CONFIG);
    }
}
