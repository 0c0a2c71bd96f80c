//! CI providers as data: which claims a workflow's token has to have, and what becomes of them in the certificate.
//!
//! A provider is a file in this folder and one row in the table below. Templates are text with `{claim}` in it.

use crate::oidc::{ClaimError, Claims};
use formats::extension::{FulcioExtensions, FulcioOid, SubjectAltName};
use formats::pattern::{Pattern, PatternError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;
use waxseal_formats as formats;

/// The files of this folder.
const BUILT_IN: [&str; 1] = [include_str!("github-workflow.yaml")];
/// Longest name or extension that a template may give.
pub const MAX_VALUE_LEN: usize = 2048;

/// A CI provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    name: String,
    url: String,
    issuers: Vec<Pattern>,
    required: Vec<String>,
    subject_alt_name: Template,
    extensions: Vec<(FulcioOid, Template)>,
}

/// Why a provider's file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Not YAML of this form.
    #[error("the provider's description is malformed: {0}")]
    Yaml(String),
    /// A key of `extensions` that is in no certificate.
    #[error("`{0}` is no certificate extension")]
    Extension(String),
    /// A brace without its counterpart, or nothing between them.
    #[error("`{0}` is no template")]
    Template(String),
    /// An issuer's glob.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    name: String,
    url: String,
    issuers: Vec<String>,
    required: Vec<String>,
    subject_alternative_name: String,
    extensions: BTreeMap<String, String>,
}

impl Provider {
    /// The providers that are built in.
    ///
    /// # Errors
    /// None, as long as the tests of this module pass.
    pub fn built_in() -> Result<Vec<Arc<Self>>, ProviderError> {
        BUILT_IN.iter().map(|text| Self::from_yaml(text).map(Arc::new)).collect()
    }

    /// Reads a provider's description.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn from_yaml(text: &str) -> Result<Self, ProviderError> {
        let file: File =
            serde_saphyr::from_str(text).map_err(|error| ProviderError::Yaml(error.without_snippet().to_string()))?;
        let mut extensions = Vec::new();
        for (key, template) in &file.extensions {
            let oid = FulcioOid::from_template_key(key).ok_or_else(|| ProviderError::Extension(key.clone()))?;
            extensions.push((oid, Template::parse(template)?));
        }
        Ok(Self {
            name: file.name,
            url: file.url,
            issuers: file.issuers.iter().map(|issuer| Pattern::glob(issuer)).collect::<Result<_, _>>()?,
            required: file.required,
            subject_alt_name: Template::parse(&file.subject_alternative_name)?,
            extensions,
        })
    }

    /// The name of the issuer type, such as `github-workflow`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The web address that links lead to unless an issuer's configuration has another.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Is this issuer known to be one of this provider?
    #[must_use]
    pub fn recognises(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|pattern| pattern.matches(issuer))
    }

    /// Name and extensions of the workflow that a token stands for; `url` is the web address of its provider.
    ///
    /// # Errors
    /// [`ClaimError`] for a claim that is missing, or that makes something else than a URI of the name.
    pub(crate) fn principal(
        &self,
        claims: &Claims,
        url: &str,
    ) -> Result<(SubjectAltName, FulcioExtensions), ClaimError> {
        for name in &self.required {
            claims.text(name)?;
        }
        let name = self.subject_alt_name.render(claims, url)?;
        // IA5String, and nothing that a reader could take for two names.
        if !name.bytes().all(|b| b.is_ascii_graphic()) || Url::parse(&name).is_err() {
            return Err(ClaimError::not(self.subject_alt_name.last_claim(), "a part of a URI"));
        }
        let mut extensions = FulcioExtensions::default();
        for (oid, template) in &self.extensions {
            if template.claims().all(|name| self.required.contains(name) || claims.claim(name).is_some()) {
                extensions.set(*oid, template.render(claims, url)?);
            }
        }
        Ok((SubjectAltName::Uri(name), extensions))
    }
}

/// Text with claims in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Url,
    Claim(String),
}

impl Template {
    fn parse(text: &str) -> Result<Self, ProviderError> {
        let malformed = || ProviderError::Template(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(malformed)?;
            if before.contains('}') || name.is_empty() || name.contains('{') {
                return Err(malformed());
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(if name == "url" { Part::Url } else { Part::Claim(name.to_owned()) });
            rest = behind;
        }
        if rest.contains('}') {
            return Err(malformed());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    fn claims(&self) -> impl Iterator<Item = &String> {
        self.0.iter().filter_map(|part| match part {
            Part::Claim(name) => Some(name),
            Part::Text(_) | Part::Url => None,
        })
    }

    fn last_claim(&self) -> &str {
        self.claims().last().map_or("", String::as_str)
    }

    fn render(&self, claims: &Claims, url: &str) -> Result<String, ClaimError> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Url => text.push_str(url),
                Part::Claim(name) => {
                    let value = claims.text(name)?;
                    if value.chars().any(char::is_control) {
                        return Err(ClaimError::not(name, "free of control characters"));
                    }
                    text.push_str(&value);
                }
            }
        }
        if text.len() > MAX_VALUE_LEN {
            return Err(ClaimError::not(self.last_claim(), "short enough for a certificate"));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Provider, ProviderError};

    #[test]
    fn the_built_in_providers_can_be_read() {
        let providers = Provider::built_in().expect("providers");
        let github = providers.iter().find(|provider| provider.name() == "github-workflow").expect("GitHub");
        assert!(github.recognises("https://token.actions.githubusercontent.com"));
        assert!(github.recognises("https://token.actions.githubusercontent.com/acme"));
        assert!(!github.recognises("https://token.actions.githubusercontent.com.evil.example"));
        assert_eq!(github.extensions.len(), 20, "2 to 6 and 9 to 23");
    }

    #[test]
    fn malformed_descriptions_are_refused() {
        let file = |template: &str, key: &str| {
            Provider::from_yaml(&format!(
                "name: x\nurl: https://x.example\nissuers: []\nrequired: []\nsubject-alternative-name: \"{template}\"\nextensions: {{{key}: \"{{a}}\"}}\n"
            ))
        };
        assert!(file("{url}/{a}", "build-trigger").is_ok());
        for template in ["{", "}", "{}", "{a", "a}", "{a{b}}", "{a}}"] {
            assert_eq!(file(template, "build-trigger"), Err(ProviderError::Template(template.to_owned())));
        }
        assert_eq!(file("{a}", "color"), Err(ProviderError::Extension("color".to_owned())));
        assert!(matches!(Provider::from_yaml("name: x\ncolor: red\n"), Err(ProviderError::Yaml(_))));
    }
}
