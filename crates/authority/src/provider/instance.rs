//! From an issuer to the web address of the instance whose tokens it makes.

use super::ProviderError;
use serde::Deserialize;

/// What `{base}` stands for is a whole URL; other names stand for one label.
const BASE: &str = "base";

/// Issuers of one form, and where their instance is on the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    before: String,
    captured: Option<String>,
    after: String,
    url: String,
}

/// An [`Instance`] as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceEntry {
    issuer: String,
    url: String,
}

impl Instance {
    pub(super) fn parse(entry: InstanceEntry) -> Result<Self, ProviderError> {
        let malformed = || ProviderError::Template(entry.issuer.clone());
        let (before, captured, after) = match entry.issuer.split_once('{') {
            None => (entry.issuer.clone(), None, String::new()),
            Some((before, rest)) => {
                let (name, after) = rest.split_once('}').ok_or_else(malformed)?;
                (before.to_owned(), Some(name.to_owned()), after.to_owned())
            }
        };
        let braces = |text: &str| text.contains(['{', '}']);
        let well_placed = match captured.as_deref() {
            Some(BASE) => before.is_empty(),
            Some(name) => !name.is_empty() && before.starts_with("https://"),
            None => !before.is_empty(),
        };
        if !well_placed || braces(&before) || braces(&after) {
            return Err(malformed());
        }
        let placeholder = captured.as_ref().map(|name| format!("{{{name}}}"));
        let rest = placeholder.map_or_else(|| entry.url.clone(), |name| entry.url.replace(&name, ""));
        if braces(&rest) {
            return Err(ProviderError::Template(entry.url));
        }
        Ok(Self { before, captured, after, url: entry.url })
    }

    /// The issuers are those of one operator, so that an issuer of this form needs no description.
    pub(super) const fn is_public(&self) -> bool {
        !self.before.is_empty()
    }

    /// The web address, if it is the same for every issuer of this form.
    pub(super) fn fixed_url(&self) -> Option<&str> {
        (!self.url.contains('{')).then_some(self.url.as_str())
    }

    /// The web address, if the issuer is of this form.
    pub(super) fn url(&self, issuer: &str) -> Option<String> {
        let middle = issuer.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        let Some(name) = &self.captured else { return middle.is_empty().then(|| self.url.clone()) };
        let fits = if name == BASE {
            middle.starts_with("http") && !middle.ends_with('/')
        } else {
            !middle.is_empty() && middle.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        fits.then(|| self.url.replace(&format!("{{{name}}}"), middle))
    }
}

#[cfg(test)]
mod tests {
    use super::{Instance, InstanceEntry};

    fn instance(issuer: &str, url: &str) -> Option<Instance> {
        Instance::parse(InstanceEntry { issuer: issuer.to_owned(), url: url.to_owned() }).ok()
    }

    #[test]
    fn the_web_address_follows_from_the_issuer() {
        let ghes = instance("{base}/_services/token", "{base}").expect("an instance");
        let url = |issuer: &str| ghes.url(issuer);
        assert_eq!(
            url("https://ghe.corp.example:8443/_services/token").as_deref(),
            Some("https://ghe.corp.example:8443")
        );
        assert_eq!(url("https://ghe.corp.example"), None);
        assert_eq!(url("/_services/token"), None);
        let cloud = instance("https://token.actions.{name}.ghe.com", "https://{name}.ghe.com").expect("an instance");
        assert_eq!(cloud.url("https://token.actions.acme.ghe.com").as_deref(), Some("https://acme.ghe.com"));
        for issuer in [
            "https://token.actions.evil.example/.ghe.com",
            "https://token.actions.a.b.ghe.com",
            "https://token.actions..ghe.com",
            "https://token.actions.acme.ghe.com/",
            "https://token.actions.acme.ghe.com.evil.example",
        ] {
            assert_eq!(cloud.url(issuer), None, "{issuer}");
        }
        assert!(cloud.is_public() && !ghes.is_public());
    }

    #[test]
    fn forms_that_say_too_little_are_refused() {
        for (issuer, url) in [
            ("", ""),
            ("{}", "x"),
            ("{name}", "{name}"),
            ("https://x.{base}", "{base}"),
            ("https://{a}.{b}.example", "https://x.example"),
            ("https://{a", "x"),
            ("https://a}", "x"),
            ("https://{a}.example", "https://{b}.example"),
        ] {
            assert!(instance(issuer, url).is_none(), "{issuer} {url}");
        }
    }
}
