//! The signing config (protobuf-specs `sigstore_trustroot.proto`, `SigningConfig` v0.2): where to sign; and
//! `ClientTrustConfig`, which joins it with a trusted root.
//!
//! Fields of newer versions are ignored on reading and never written: other clients refuse fields they do not know.

use crate::code::Code;
use crate::json::{self, JsonError, Node};
use crate::trusted_root::{TrustedRoot, TrustedRootError, Validity};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::cmp::Reverse;

/// The only media type of a signing config that is read and written.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
/// The media type of a client trust config.
pub const CLIENT_TRUST_CONFIG: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";
/// A signing config or client trust config may be this long, in bytes.
pub const MAX_CONFIG_LEN: usize = 8 << 20;
/// A signing config may list this many services of each kind.
pub const MAX_SERVICES: usize = 64;

/// The services of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SigningConfig {
    /// Fulcio. Always of major API version 1, although clients speak its `/api/v2`.
    pub ca_urls: Vec<Service>,
    /// OpenID issuers for logging in.
    pub oidc_urls: Vec<Service>,
    /// Rekor logs: version 1 or 2.
    pub rekor_tlog_urls: Vec<Service>,
    /// How many logs to use.
    pub rekor_tlog_config: Selector,
    /// Timestamp authorities: the whole URL that requests go to.
    pub tsa_urls: Vec<Service>,
    /// How many timestamp authorities to use.
    pub tsa_config: Selector,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Where it is.
    pub url: String,
    /// Major version of its API.
    pub major_api_version: u32,
    /// When it may be used.
    pub valid_for: Validity,
    /// Who runs it; of one operator's services one is used.
    pub operator: String,
}

/// How many of the possible services to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selector {
    /// One of them.
    #[default]
    Any,
    /// Each of them.
    All,
    /// So many of them, at least 1.
    Exact(u32),
}

/// Why a signing config cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningConfigError {
    /// It is no signing config JSON, or a field is missing or has the wrong type.
    #[error("signing config: {0}")]
    Json(#[from] JsonError),
    /// Its media type is another one.
    #[error("signing config: media type {found:?} is not supported")]
    MediaType {
        /// The media type found.
        found: String,
    },
    /// A list has too many services.
    #[error("signing config: {path} has {count} services, {MAX_SERVICES} are allowed")]
    TooMany {
        /// Which list.
        path: String,
        /// How many there are.
        count: usize,
    },
    /// There are fewer usable services than are to be used.
    #[error("the signing config offers {found} {what} of a supported version that are valid now, {wanted} are needed")]
    NotEnough {
        /// The kind of service.
        what: &'static str,
        /// How many can be used.
        found: usize,
        /// How many are to be used.
        wanted: usize,
    },
    /// The trusted root of a client trust config cannot be used.
    #[error(transparent)]
    TrustedRoot(#[from] TrustedRootError),
}

impl SigningConfigError {
    /// The reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TrustedRoot(error) => error.code(),
            Self::Json(_) | Self::MediaType { .. } | Self::TooMany { .. } | Self::NotEnough { .. } => {
                Code::INPUT_MALFORMED
            }
        }
    }
}

impl SigningConfig {
    /// Parses a signing config of at most [`MAX_CONFIG_LEN`] bytes.
    ///
    /// # Errors
    /// [`SigningConfigError`].
    pub fn from_json(document: &[u8]) -> Result<Self, SigningConfigError> {
        Self::from_node(&Node::root(&json::parse(document, MAX_CONFIG_LEN)?))
    }

    fn from_node(node: &Node<'_>) -> Result<Self, SigningConfigError> {
        let media_type = node.string_field("mediaType")?;
        if media_type != MEDIA_TYPE {
            return Err(SigningConfigError::MediaType { found: media_type.to_owned() });
        }
        Ok(Self {
            ca_urls: services(node, "caUrls")?,
            oidc_urls: services(node, "oidcUrls")?,
            rekor_tlog_urls: services(node, "rekorTlogUrls")?,
            rekor_tlog_config: selector(node, "rekorTlogConfig")?,
            tsa_urls: services(node, "tsaUrls")?,
            tsa_config: selector(node, "tsaConfig")?,
        })
    }

    /// Writes the signing config, indented, without any key that an older client would not know.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The certificate authority to use now.
    ///
    /// # Errors
    /// [`SigningConfigError::NotEnough`].
    pub fn ca(&self, now: Timestamp) -> Result<&Service, SigningConfigError> {
        one("certificate authorities", &self.ca_urls, now)
    }

    /// The OpenID issuer to log in at now.
    ///
    /// # Errors
    /// [`SigningConfigError::NotEnough`].
    pub fn oidc(&self, now: Timestamp) -> Result<&Service, SigningConfigError> {
        one("OpenID issuers", &self.oidc_urls, now)
    }

    /// The Rekor logs to use now, of the highest version among `versions` that is offered.
    ///
    /// # Errors
    /// [`SigningConfigError::NotEnough`].
    pub fn rekor_tlogs(&self, versions: &[u32], now: Timestamp) -> Result<Vec<&Service>, SigningConfigError> {
        select("Rekor logs", &self.rekor_tlog_urls, self.rekor_tlog_config, versions, now)
    }

    /// The timestamp authorities to use now.
    ///
    /// # Errors
    /// [`SigningConfigError::NotEnough`].
    pub fn tsas(&self, now: Timestamp) -> Result<Vec<&Service>, SigningConfigError> {
        select("timestamp authorities", &self.tsa_urls, self.tsa_config, &[1], now)
    }
}

fn one<'a>(what: &'static str, services: &'a [Service], now: Timestamp) -> Result<&'a Service, SigningConfigError> {
    let selected = select(what, services, Selector::Any, &[1], now)?;
    selected.into_iter().next().ok_or(SigningConfigError::NotEnough { what, found: 0, wanted: 1 })
}

/// Chooses as sigstore-go does: the highest supported version that has a valid service, the newest service of each
/// operator, and of these as many as the selector says, newest first.
fn select<'a>(
    what: &'static str,
    services: &'a [Service],
    selector: Selector,
    versions: &[u32],
    now: Timestamp,
) -> Result<Vec<&'a Service>, SigningConfigError> {
    let usable = |service: &&Service| versions.contains(&service.major_api_version) && service.valid_for.contains(now);
    let version = services.iter().filter(usable).map(|service| service.major_api_version).max();
    let mut candidates: Vec<_> =
        services.iter().filter(usable).filter(|service| Some(service.major_api_version) == version).collect();
    candidates.sort_by_key(|service| Reverse(service.valid_for.start));
    let mut selected: Vec<&Service> = Vec::new();
    for service in candidates {
        if !selected.iter().any(|other| other.operator == service.operator) {
            selected.push(service);
        }
    }
    let wanted = match selector {
        Selector::Any => 1,
        Selector::All => selected.len().max(1),
        Selector::Exact(count) => usize::try_from(count).unwrap_or(usize::MAX),
    };
    if selected.len() < wanted {
        return Err(SigningConfigError::NotEnough { what, found: selected.len(), wanted });
    }
    selected.truncate(wanted);
    Ok(selected)
}

fn services(node: &Node<'_>, name: &str) -> Result<Vec<Service>, SigningConfigError> {
    let nodes = node.repeated(name)?;
    if nodes.len() > MAX_SERVICES {
        return Err(SigningConfigError::TooMany { path: name.to_owned(), count: nodes.len() });
    }
    nodes
        .iter()
        .map(|node| {
            let version = node.index_field("majorApiVersion")?;
            Ok(Service {
                url: node.required("url")?.string()?.to_owned(),
                major_api_version: u32::try_from(version).map_err(|_| JsonError::Mismatch {
                    path: format!("{}.majorApiVersion", node.path()),
                    expected: "a 32-bit number",
                })?,
                valid_for: Validity::from_field(node, "validFor")?,
                operator: node.string_field("operator")?.to_owned(),
            })
        })
        .collect()
}

/// `ServiceConfiguration`; absent means `ANY`, which is what clients do that do not crash.
fn selector(node: &Node<'_>, name: &str) -> Result<Selector, JsonError> {
    let Some(config) = node.field(name)? else { return Ok(Selector::Any) };
    let by_name = |name: &str| match name {
        "ALL" => Some(1),
        "ANY" => Some(2),
        "EXACT" => Some(3),
        _ => None,
    };
    let mismatch = |expected| JsonError::Mismatch { path: config.path().to_owned(), expected };
    match config.enumeration_field("selector", by_name, Some)? {
        Some(1) => Ok(Selector::All),
        None | Some(2) => Ok(Selector::Any),
        Some(3) => match u32::try_from(config.index_field("count")?) {
            Ok(count) if count > 0 => Ok(Selector::Exact(count)),
            _ => Err(mismatch("a selector with a count")),
        },
        Some(_) => Err(mismatch("a known selector")),
    }
}

impl Serialize for SigningConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            media_type: &'static str,
            ca_urls: &'a [Service],
            oidc_urls: &'a [Service],
            rekor_tlog_urls: &'a [Service],
            tsa_urls: &'a [Service],
            rekor_tlog_config: Selector,
            tsa_config: Selector,
        }
        Wire {
            media_type: MEDIA_TYPE,
            ca_urls: &self.ca_urls,
            oidc_urls: &self.oidc_urls,
            rekor_tlog_urls: &self.rekor_tlog_urls,
            tsa_urls: &self.tsa_urls,
            rekor_tlog_config: self.rekor_tlog_config,
            tsa_config: self.tsa_config,
        }
        .serialize(serializer)
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            url: &'a str,
            major_api_version: u32,
            valid_for: Validity,
            operator: &'a str,
        }
        Wire {
            url: &self.url,
            major_api_version: self.major_api_version,
            valid_for: self.valid_for,
            operator: &self.operator,
        }
        .serialize(serializer)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire {
            selector: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            count: Option<u32>,
        }
        let (selector, count) = match *self {
            Self::Any => ("ANY", None),
            Self::All => ("ALL", None),
            Self::Exact(count) => ("EXACT", Some(count)),
        };
        Wire { selector, count }.serialize(serializer)
    }
}

/// Everything a client needs to sign and verify at an instance, in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTrustConfig {
    /// Whom to trust.
    pub trusted_root: TrustedRoot,
    /// Where to sign.
    pub signing_config: SigningConfig,
}

impl ClientTrustConfig {
    /// Parses a client trust config of at most [`MAX_CONFIG_LEN`] bytes.
    ///
    /// # Errors
    /// [`SigningConfigError`].
    pub fn from_json(document: &[u8]) -> Result<Self, SigningConfigError> {
        let document = json::parse(document, MAX_CONFIG_LEN)?;
        let root = Node::root(&document);
        let media_type = root.string_field("mediaType")?;
        if media_type != CLIENT_TRUST_CONFIG {
            return Err(SigningConfigError::MediaType { found: media_type.to_owned() });
        }
        Ok(Self {
            trusted_root: TrustedRoot::from_node(&root.required("trustedRoot")?)?,
            signing_config: SigningConfig::from_node(&root.required("signingConfig")?)?,
        })
    }

    /// Writes the client trust config, indented.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            media_type: &'static str,
            trusted_root: &'a TrustedRoot,
            signing_config: &'a SigningConfig,
        }
        let wire = Wire {
            media_type: CLIENT_TRUST_CONFIG,
            trusted_root: &self.trusted_root,
            signing_config: &self.signing_config,
        };
        serde_json::to_string_pretty(&wire).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientTrustConfig, MAX_SERVICES, Selector, Service, SigningConfig, SigningConfigError};
    use crate::code::Code;
    use crate::trusted_root::Validity;
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use waxseal_testkit::vectors;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn service(url: &str, version: u32, start: &str, operator: &str) -> Service {
        Service {
            url: url.into(),
            major_api_version: version,
            valid_for: Validity::from(time(start)),
            operator: operator.into(),
        }
    }

    fn rekor(services: Vec<Service>, selector: Selector) -> SigningConfig {
        SigningConfig { rekor_tlog_urls: services, rekor_tlog_config: selector, ..SigningConfig::default() }
    }

    fn urls(config: &SigningConfig, versions: &[u32]) -> Result<Vec<String>, SigningConfigError> {
        let selected = config.rekor_tlogs(versions, time("2026-06-01T00:00:00Z"))?;
        Ok(selected.into_iter().map(|service| service.url.clone()).collect())
    }

    const OLD: &str = "2026-01-01T00:00:00Z";
    const NEW: &str = "2026-02-01T00:00:00Z";
    const FUTURE: &str = "2027-01-01T00:00:00Z";

    #[test]
    fn recorded_configs_are_written_with_the_same_keys_and_values() {
        let Some(vectors) = vectors() else { return };
        let text = vectors.read("private-instance/signing_config.v0.2.json");
        let config = SigningConfig::from_json(&text).unwrap();
        let original: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&config.to_json()).unwrap(), original);
        assert_eq!(config.ca(time("2026-11-24T00:00:00Z")).unwrap().url, "http://127.0.0.1:7480");
        let text = vectors.read("private-instance/trust-config.json");
        let both = ClientTrustConfig::from_json(&text).unwrap();
        assert_eq!(both.signing_config, config);
        assert_eq!(
            serde_json::from_str::<Value>(&both.to_json()).unwrap(),
            serde_json::from_slice::<Value>(&text).unwrap()
        );
    }

    #[test]
    fn the_highest_supported_version_wins_whenever_it_started() {
        let config = rekor(
            vec![service("v1", 1, NEW, "a"), service("v2", 2, OLD, "a"), service("v3", 3, OLD, "a")],
            Selector::Any,
        );
        assert_eq!(urls(&config, &[1, 2]).unwrap(), ["v2"]);
        assert_eq!(urls(&config, &[1]).unwrap(), ["v1"]);
    }

    #[test]
    fn of_one_operator_the_newest_valid_service_is_used() {
        let services =
            vec![service("old", 2, OLD, "a"), service("new", 2, NEW, "a"), service("future", 2, FUTURE, "a")];
        assert_eq!(urls(&rekor(services.clone(), Selector::Any), &[2]).unwrap(), ["new"]);
        assert_eq!(urls(&rekor(services.clone(), Selector::All), &[2]).unwrap(), ["new"]);
        let error = urls(&rekor(services, Selector::Exact(2)), &[2]).unwrap_err();
        assert_eq!(error, SigningConfigError::NotEnough { what: "Rekor logs", found: 1, wanted: 2 });
        assert_eq!(error.code(), Code::INPUT_MALFORMED);
    }

    #[test]
    fn selectors_count_operators() {
        let services = vec![service("a", 2, OLD, "a"), service("b", 2, NEW, "b"), service("c", 1, NEW, "c")];
        assert_eq!(urls(&rekor(services.clone(), Selector::All), &[1, 2]).unwrap(), ["b", "a"]);
        assert_eq!(urls(&rekor(services.clone(), Selector::Exact(2)), &[1, 2]).unwrap(), ["b", "a"]);
        assert_eq!(urls(&rekor(services, Selector::Any), &[1, 2]).unwrap(), ["b"]);
        assert!(urls(&rekor(vec![], Selector::All), &[2]).is_err());
        assert!(urls(&rekor(vec![service("future", 2, FUTURE, "a")], Selector::Any), &[2]).is_err());
    }

    #[test]
    fn what_clients_tolerate_is_read() {
        let text = json!({"mediaType": super::MEDIA_TYPE, "caUrls": [{"url": "u", "majorApiVersion": 1}], "tsaConfig": {"selector": 3, "count": 2}, "newer": 1});
        let config = SigningConfig::from_json(text.to_string().as_bytes()).unwrap();
        assert_eq!((config.rekor_tlog_config, config.tsa_config), (Selector::Any, Selector::Exact(2)));
        assert_eq!(config.ca(time(OLD)).unwrap().operator, "");
        assert!(config.tsas(time(OLD)).is_err() && config.oidc(time(OLD)).is_err());
    }

    #[test]
    fn malformed_configs_are_refused() {
        let config = |edit: Value| {
            let mut config = json!({"mediaType": super::MEDIA_TYPE});
            config.as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
            SigningConfig::from_json(config.to_string().as_bytes()).err().map(|error| error.code())
        };
        for edit in [
            json!({"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.1+json"}),
            json!({"mediaType": null}),
            json!({"caUrls": [{"majorApiVersion": 1}]}),
            json!({"caUrls": [{"url": "u", "majorApiVersion": -1}]}),
            json!({"caUrls": [{"url": "u", "validFor": {"start": "x"}}]}),
            json!({"caUrls": vec![json!({"url": "u"}); MAX_SERVICES + 1]}),
            json!({"tsaConfig": {"selector": "SOME"}}),
            json!({"tsaConfig": {"selector": 4}}),
            json!({"tsaConfig": {"selector": "EXACT"}}),
        ] {
            assert_eq!(config(edit.clone()), Some(Code::INPUT_MALFORMED), "{edit}");
        }
        assert_eq!(config(json!({})), None);
        let no_root = json!({"mediaType": super::CLIENT_TRUST_CONFIG, "trustedRoot": {}, "signingConfig": {}});
        let error = ClientTrustConfig::from_json(no_root.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED);
    }
}
