//! CI providers as data: which claims a workflow's token has to have, and what becomes of them in the certificate.
//!
//! A provider is a file in this folder, a row in the table below and a sample token. Rules files can describe others in the
//! same form.

mod instance;
#[cfg(test)]
mod samples;
mod template;

use crate::oidc::{ClaimError, Claims};
use formats::extension::{FulcioExtensions, FulcioOid, SubjectAltName};
use instance::{Instance, InstanceEntry};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use template::{Choice, ChoiceEntry, Context, Template};
use url::Url;
use waxseal_formats as formats;

/// The files of this folder.
const BUILT_IN: [&str; 6] = [
    include_str!("github-workflow.yaml"),
    include_str!("gitlab-pipeline.yaml"),
    include_str!("buildkite-job.yaml"),
    include_str!("circleci-job.yaml"),
    include_str!("codefresh-workflow.yaml"),
    include_str!("buddy-pipeline.yaml"),
];
/// Longest name or extension that a template may give, and longest template.
pub const MAX_VALUE_LEN: usize = 2048;
/// Most instances, required claims or defaults of one provider.
pub const MAX_ITEMS: usize = 64;

/// A CI provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    name: String,
    instances: Vec<Instance>,
    required: Vec<String>,
    defaults: BTreeMap<String, Template>,
    subject_alt_name: Template,
    subject_within: Option<Template>,
    extensions: Vec<(FulcioOid, Choice)>,
}

/// Why a provider's description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Not YAML of this form.
    #[error("the provider's description is malformed: {0}")]
    Yaml(String),
    /// A key of `extensions` that is in no certificate, or is taken from `iss` and `sub`.
    #[error("`{0}` is no certificate extension that a provider can describe")]
    Extension(String),
    /// A brace without its counterpart, nothing between them, or a name without a claim in it.
    #[error("`{0}` is no template")]
    Template(String),
    /// More of something than [`MAX_ITEMS`].
    #[error("the provider has more {0} than allowed")]
    TooMany(&'static str),
    /// A name that a built-in provider or another one has, or none.
    #[error("`{0}` cannot be the name of a provider: it is taken or says nothing")]
    Name(String),
}

/// A provider as it is written, in a file of this folder or under `providers:` in a rules file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderEntry {
    name: String,
    #[serde(default)]
    instances: Vec<InstanceEntry>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    subject_alternative_name: String,
    subject_within: Option<String>,
    #[serde(default)]
    extensions: BTreeMap<String, ChoiceEntry>,
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
        let entry: ProviderEntry =
            serde_saphyr::from_str(text).map_err(|error| ProviderError::Yaml(error.without_snippet().to_string()))?;
        Self::new(entry)
    }

    /// The built-in providers and those of a rules file.
    pub(crate) fn all(described: Vec<ProviderEntry>) -> Result<Vec<Arc<Self>>, ProviderError> {
        let mut providers = Self::built_in()?;
        for entry in described {
            let provider = Self::new(entry)?;
            if provider.name.is_empty() || providers.iter().any(|known| known.name == provider.name) {
                return Err(ProviderError::Name(provider.name));
            }
            providers.push(Arc::new(provider));
        }
        Ok(providers)
    }

    fn new(entry: ProviderEntry) -> Result<Self, ProviderError> {
        for (what, count) in [
            ("instances", entry.instances.len()),
            ("required claims", entry.required.len()),
            ("defaults", entry.defaults.len()),
        ] {
            if count > MAX_ITEMS {
                return Err(ProviderError::TooMany(what));
            }
        }
        let mut extensions = Vec::new();
        for (key, choice) in &entry.extensions {
            let oid = FulcioOid::from_template_key(key).ok_or_else(|| ProviderError::Extension(key.clone()))?;
            extensions.push((oid, Choice::parse(choice)?));
        }
        let mut defaults = BTreeMap::new();
        for (claim, text) in &entry.defaults {
            let template = Template::parse(text)?;
            // A default of a default could go round in circles.
            if template.claims().next().is_some() {
                return Err(ProviderError::Template(text.clone()));
            }
            defaults.insert(claim.clone(), template);
        }
        let subject_alt_name = Template::parse(&entry.subject_alternative_name)?;
        // One name for everybody is nobody's.
        if subject_alt_name.claims().next().is_none() {
            return Err(ProviderError::Template(entry.subject_alternative_name));
        }
        Ok(Self {
            name: entry.name,
            instances: entry.instances.into_iter().map(Instance::parse).collect::<Result<_, _>>()?,
            required: entry.required,
            defaults,
            subject_alt_name,
            subject_within: entry.subject_within.as_deref().map(Template::parse).transpose()?,
            extensions,
        })
    }

    /// The name of the issuer type, such as `github-workflow`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The web address of the provider's public instance; empty if it has none.
    #[must_use]
    pub fn public_url(&self) -> String {
        let public = self.instances.iter().find(|instance| instance.is_public());
        public.and_then(Instance::fixed_url).unwrap_or_default().to_owned()
    }

    /// The web address of the instance whose tokens this issuer makes, if that follows from the issuer.
    #[must_use]
    pub fn url_of(&self, issuer: &str) -> Option<String> {
        self.instances.iter().find_map(|instance| instance.url(issuer))
    }

    /// Is this issuer known to be the provider's own, so that nobody has to say so?
    #[must_use]
    pub fn recognises(&self, issuer: &str) -> bool {
        self.instances.iter().any(|instance| instance.is_public() && instance.url(issuer).is_some())
    }

    /// The claims that tokens of this provider have, as far as its description knows them.
    #[must_use]
    pub fn claims(&self) -> BTreeSet<&str> {
        let extensions = self.extensions.iter().flat_map(|(_, choice)| choice.claims());
        self.required.iter().map(String::as_str).chain(self.subject_alt_name.claims()).chain(extensions).collect()
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
        let context = Context { claims, url, defaults: &self.defaults };
        for name in &self.required {
            context.value(name)?;
        }
        let name = self.subject_alt_name.render(&context)?;
        // IA5String, and nothing that a reader could take for two names.
        if !name.bytes().all(|b| b.is_ascii_graphic()) || Url::parse(&name).is_err() {
            return Err(ClaimError::not(self.subject_alt_name.last_claim(), "a part of a URI"));
        }
        if let Some(within) = &self.subject_within
            && !name.starts_with(&within.render(&context)?)
        {
            return Err(ClaimError::not(self.subject_alt_name.last_claim(), "one of the issuer's own instance"));
        }
        let mut extensions = FulcioExtensions::default();
        for (oid, choice) in &self.extensions {
            if let Some(text) = choice.render(&context)? {
                extensions.set(*oid, text);
            }
        }
        Ok((SubjectAltName::Uri(name), extensions))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_ITEMS, Provider, ProviderError};
    use crate::oidc::forge::Forge;
    use formats::code::Code;
    use formats::extension::FulcioOid;
    use serde_json::json;
    use waxseal_formats as formats;

    #[test]
    fn the_built_in_providers_can_be_read() {
        let providers = Provider::built_in().expect("providers");
        let github = providers.iter().find(|provider| provider.name() == "github-workflow").expect("GitHub");
        assert!(github.recognises("https://token.actions.githubusercontent.com"));
        assert!(github.recognises("https://token.actions.githubusercontent.com/acme"));
        for stranger in [
            "https://token.actions.githubusercontent.com.evil.example",
            "https://token.actions.githubusercontent.com/acme/evil",
            "https://token.actions.githubusercontent.com/",
            "https://evil.example/_services/token",
        ] {
            assert!(!github.recognises(stranger), "{stranger}");
        }
        assert_eq!(github.extensions.len(), 20, "2 to 6 and 9 to 23");
        assert!(github.claims().contains("environment"));
        assert_eq!(github.public_url(), "https://github.com");
    }

    fn file(more: &str) -> Result<Provider, ProviderError> {
        Provider::from_yaml(&format!("name: x\n{more}\n"))
    }

    #[test]
    fn malformed_descriptions_are_refused() {
        let described = |template: &str, key: &str| {
            file(&format!("subject_alternative_name: \"{template}\"\nextensions: {{{key}: \"{{a}}\"}}"))
        };
        assert!(described("{url}/{a}", "build-trigger").is_ok());
        for template in ["{", "}", "{}", "{a", "a}", "{a{b}}", "{a}}", "", "https://x.example", "{url}/{host}"] {
            assert_eq!(described(template, "build-trigger"), Err(ProviderError::Template(template.to_owned())));
        }
        for key in ["color", "issuer", "subject", "token-subject"] {
            assert_eq!(described("{a}", key), Err(ProviderError::Extension(key.to_owned())));
        }
        for (more, error) in [
            ("defaults: {b: '{c}'}", ProviderError::Template("{c}".to_owned())),
            ("extensions: {build-trigger: []}", ProviderError::Template("[]".to_owned())),
            ("instances: [{issuer: '{x}', url: x}]", ProviderError::Template("{x}".to_owned())),
        ] {
            assert_eq!(file(&format!("subject_alternative_name: '{{a}}'\n{more}")), Err(error));
        }
        for more in ["color: red", "subject_alternative_name: [x]", "extensions: {build-trigger: {a: b}}", ""] {
            assert!(matches!(file(more), Err(ProviderError::Yaml(_))), "{more}");
        }
        let many = vec!["a"; MAX_ITEMS + 1].join(",");
        assert!(matches!(
            file(&format!("subject_alternative_name: '{{a}}'\nrequired: [{many}]")),
            Err(ProviderError::TooMany("required claims"))
        ));
        let many = vec!["{value: '{a}'}"; 17].join(",");
        assert!(matches!(
            file(&format!("subject_alternative_name: '{{a}}'\nextensions: {{build-trigger: [{many}]}}")),
            Err(ProviderError::TooMany("alternatives"))
        ));
    }

    #[test]
    fn what_a_token_says_goes_before_a_default_and_never_before_the_operator() {
        let provider = file(
            "defaults: {place: '{url}'}
subject_alternative_name: '{url}/{/deep/er}'
extensions:
  build-trigger: '{place}'
  source-repository-ref:
    - {when: {kind: branch}, value: 'heads/{ref}'}
    - {when: {kind: tag, signed: 'true'}, value: 'tags/{ref}'}",
        )
        .expect("a provider");
        let said = |claims| {
            let claims = Forge::es256().claims(claims);
            let (name, extensions) = provider.principal(&claims, "https://ci.example").expect("a principal");
            let get = |oid| extensions.get(oid).map(str::to_owned);
            (name.as_str().to_owned(), get(FulcioOid::BuildTrigger), get(FulcioOid::SourceRepositoryRef))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            said(json!({"deep": {"er": "x"}, "url": "https://evil.example", "kind": "branch", "ref": "main"})),
            ("https://ci.example/x".to_owned(), text("https://ci.example"), text("heads/main"))
        );
        assert_eq!(
            said(json!({"deep": {"er": 7}, "place": "here", "kind": "tag", "ref": "v1", "signed": true})),
            ("https://ci.example/7".to_owned(), text("here"), text("tags/v1"))
        );
        // No alternative holds, or the one that does has a claim that is missing: nothing is said.
        assert_eq!(said(json!({"deep": {"er": "x"}, "kind": "tag", "ref": "v1"})).2, None);
        assert_eq!(said(json!({"deep": {"er": "x"}, "kind": "branch", "ref": ""})).2, None);
    }

    #[test]
    fn a_name_that_is_no_uri_is_refused() {
        let provider = file("subject_alternative_name: '{url}/{a}'").expect("a provider");
        for value in [json!("a b"), json!("a\n"), json!("\u{430}"), json!(""), json!(null), json!(["a"]), json!({})] {
            let claims = Forge::es256().claims(json!({ "a": value }));
            let error = provider.principal(&claims, "https://ci.example").expect_err("refused");
            assert_eq!((error.code(), error.claim.as_str()), (Code::TOKEN_CLAIM, "a"), "{value}");
        }
        let long = Forge::es256().claims(json!({ "a": "x".repeat(super::MAX_VALUE_LEN) }));
        assert_eq!(provider.principal(&long, "https://ci.example").expect_err("long").code(), Code::TOKEN_CLAIM);
    }
}
