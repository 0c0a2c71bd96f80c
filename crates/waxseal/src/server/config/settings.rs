//! The settings of an instance, whoever starts it.

use super::ConfigError;
use super::network::AddressRange;
use jiff::SignedDuration;
use std::net::SocketAddr;
use std::path::PathBuf;
use url::Url;
use waxseal_formats::client_config::{ClientConfig, Privacy};

/// The OAuth client id of every Sigstore client.
pub const DEFAULT_CLIENT_ID: &str = "sigstore";

/// What an instance is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where keys and logs are.
    pub data_dir: PathBuf,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Scheme, host and port under which clients know the instance, if that is not the address it listens on.
    pub public_url: Option<String>,
    /// The address for health and metrics besides, if they are asked for there.
    pub operations_listen: Option<SocketAddr>,
    /// What the logs keep; none means what the data directory was made for, and [`Privacy::Sealed`] for a new one.
    pub privacy: Option<Privacy>,
    /// The rules file, if the default rules are not meant.
    pub rules: Option<PathBuf>,
    /// Rules that are tried beside those in force.
    pub candidate: Option<PathBuf>,
    /// Who vouches for those who sign.
    pub provider: Provider,
    /// The certificate, if there is one.
    pub tls: Tls,
    /// What the audit log shows.
    pub audit: Audit,
    /// What strangers may use up.
    pub limits: Limits,
    /// How the clock of the timestamp authority is watched.
    pub timestamps: Timestamps,
    /// Whose `X-Forwarded-For` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<AddressRange>,
}

/// Who vouches for those who sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The demo identity provider, in this process.
    Demo,
    /// The issuers that the rules name. Where people log in, if they do.
    Outside(Option<Login>),
}

/// Where people log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The issuer of their tokens.
    pub issuer: String,
    /// The OAuth client id.
    pub client_id: String,
}

impl Login {
    /// At an issuer where every Sigstore client is known as `sigstore`.
    #[must_use]
    pub fn sigstore(issuer: String) -> Self {
        Self { issuer, client_id: DEFAULT_CLIENT_ID.to_owned() }
    }

    /// What clients were told, if they were told of one.
    #[must_use]
    pub fn told(client: &ClientConfig) -> Option<Self> {
        let login = Self { issuer: client.oidc_issuer.clone(), client_id: client.client_id.clone() };
        Some(login).filter(|login| !login.issuer.is_empty())
    }
}

/// Whether the instance speaks TLS itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// It speaks plain HTTP: on loopback, behind a proxy, or because its configuration says so.
    None,
    /// With the certificate of these files.
    Files {
        /// The chain in PEM, the own certificate first.
        certificate: PathBuf,
        /// Its key in PEM.
        key: PathBuf,
    },
}

/// What the audit log shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Identities as they are, not as keyed hashes.
    #[serde(default)]
    pub identities: bool,
}

/// Limits that may be set; what is not set has its default, or is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time.
    pub connections: Option<u32>,
    /// Connections at a time of one address.
    pub connections_per_address: Option<u32>,
    /// Requests of one address in a second; off unless set.
    pub requests_per_second: Option<u32>,
    /// Certificates of one identity in a minute; off unless set.
    pub certificates_per_minute: Option<u32>,
}

impl Limits {
    /// The first limit that would let nobody in.
    #[must_use]
    pub fn zero(&self) -> Option<&'static str> {
        let all = [
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("requests_per_second", self.requests_per_second),
            ("certificates_per_minute", self.certificates_per_minute),
        ];
        all.into_iter().find(|(_, limit)| *limit == Some(0)).map(|(name, _)| name)
    }
}

/// How the clock of the timestamp authority is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// NTP servers to compare with.
    pub ntp: Vec<String>,
    /// How far the clock may be from them.
    pub max_difference: SignedDuration,
}

impl Default for Timestamps {
    fn default() -> Self {
        Self { ntp: Vec::new(), max_difference: SignedDuration::from_secs(1) }
    }
}

impl Settings {
    /// An instance for development, with the demo identity provider and defaults for everything.
    #[must_use]
    pub fn demo(data_dir: PathBuf, listen: SocketAddr) -> Self {
        Self {
            data_dir,
            listen,
            public_url: None,
            operations_listen: None,
            privacy: None,
            rules: None,
            candidate: None,
            provider: Provider::Demo,
            tls: Tls::None,
            audit: Audit::default(),
            limits: Limits::default(),
            timestamps: Timestamps::default(),
            trusted_proxies: Vec::new(),
        }
    }

    /// Scheme, host and port of every URL that the instance hands out; `bound` is the address it really listens on.
    #[must_use]
    pub fn origin(&self, bound: SocketAddr) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{bound}"))
    }

    /// Where people log in, if it is outside.
    #[must_use]
    pub const fn login(&self) -> Option<&Login> {
        match &self.provider {
            Provider::Outside(Some(login)) => Some(login),
            Provider::Outside(None) | Provider::Demo => None,
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
    pub fn check(self) -> Result<Settings, ConfigError> {
        if !self.listen.ip().is_loopback() {
            let reason = format!("{} is not a loopback address; `up` is for this machine only", self.listen);
            return Err(ConfigError::Option { option: "--listen", reason });
        }
        let public_url = self.public_url.as_deref().map(origin).transpose();
        let public_url = public_url.map_err(|reason| ConfigError::Option { option: "--public-url", reason })?;
        let settings = Settings::demo(self.data_dir, self.listen);
        Ok(Settings { public_url, rules: self.rules, privacy: self.privacy, ..settings })
    }
}

/// The origin that a URL is, without a slash at its end; or what is wrong with it.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let fault = |reason: &str| format!("{text} {reason}");
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

#[cfg(test)]
mod tests {
    use super::UpSettings;
    use crate::server::config::{ConfigError, DEFAULT_LISTEN};
    use std::net::SocketAddr;
    use std::path::PathBuf;
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
        assert_eq!(
            settings().check().expect("settings").origin("127.0.0.1:4711".parse().expect("an address")),
            "http://127.0.0.1:4711"
        );
        assert_eq!(
            settings().check().expect("settings").origin("[::1]:4711".parse().expect("an address")),
            "http://[::1]:4711"
        );
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
}
