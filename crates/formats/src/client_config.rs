//! What a client of an instance has to know and what has no place in trusted root and signing config, where an extra
//! key makes cosign and sigstore-python refuse the file. Served as `/client.json` and, signed, as a TUF target.
//!
//! ```json
//! {"oidcIssuer": "https://sign.corp/idp", "clientId": "sigstore", "audience": "sigstore", "privacy": "sealed"}
//! ```

use crate::code::Code;
use crate::json::{self, JsonError, Node};
use serde::{Deserialize, Serialize};

/// Largest document, in bytes.
pub const MAX_CLIENT_CONFIG_LEN: usize = 16 * 1024;

/// What an instance publishes about a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privacy {
    /// Log entries are proven but not published: nobody reads identities from the log.
    Sealed,
    /// Log entries can be read by everyone who reaches the instance.
    Open,
}

impl Privacy {
    /// Its name in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Open => "open",
        }
    }
}

/// How to get a token that the instance accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    /// The issuer at which a person logs in; empty if there is none.
    pub oidc_issuer: String,
    /// The OAuth client id to log in with.
    pub client_id: String,
    /// The audience that tokens must have.
    pub audience: String,
    /// What the instance publishes.
    pub privacy: Privacy,
}

/// Why a client config cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client config: {0}")]
pub struct ClientConfigError(#[from] JsonError);

impl ClientConfigError {
    /// Always `trusted-root.malformed`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::TRUSTED_ROOT_MALFORMED
    }
}

impl ClientConfig {
    /// Reads a document; keys that we do not know are ignored.
    ///
    /// # Errors
    /// [`ClientConfigError`].
    pub fn from_json(document: &[u8]) -> Result<Self, ClientConfigError> {
        let value = json::parse(document, MAX_CLIENT_CONFIG_LEN)?;
        let node = Node::root(&value);
        let text = |name: &str| node.required(name)?.string().map(ToOwned::to_owned);
        let privacy = match node.required("privacy")?.string()? {
            "sealed" => Privacy::Sealed,
            "open" => Privacy::Open,
            _ => return Err(JsonError::Mismatch { path: "privacy".into(), expected: "sealed or open" }.into()),
        };
        Ok(Self {
            oidc_issuer: text("oidcIssuer")?,
            client_id: text("clientId")?,
            audience: text("audience")?,
            privacy,
        })
    }

    /// Writes the document, indented.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientConfig, Privacy};
    use crate::code::Code;

    #[test]
    fn what_is_written_is_read_again_with_keys_of_later_versions() {
        let config = ClientConfig {
            oidc_issuer: "http://127.0.0.1:7480/idp".into(),
            client_id: "sigstore".into(),
            audience: "sigstore".into(),
            privacy: Privacy::Sealed,
        };
        let text = config.to_json();
        assert!(text.contains("\"oidcIssuer\": \"http://127.0.0.1:7480/idp\""));
        assert_eq!(ClientConfig::from_json(text.as_bytes()), Ok(config.clone()));
        let later = text.replacen('{', "{\"more\": [1.5],", 1);
        assert_eq!(ClientConfig::from_json(later.as_bytes()), Ok(config));
    }

    #[test]
    fn a_missing_or_unknown_value_is_refused() {
        for text in [
            "{}",
            "[]",
            r#"{"oidcIssuer":"a","clientId":"b","audience":"c","privacy":"half"}"#,
            r#"{"oidcIssuer":"a","clientId":"b","audience":1,"privacy":"open"}"#,
            r#"{"oidcIssuer":"a","oidcIssuer":"e","clientId":"b","audience":"c","privacy":"open"}"#,
        ] {
            let error = ClientConfig::from_json(text.as_bytes()).expect_err(text);
            assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED, "{text}");
        }
    }
}
