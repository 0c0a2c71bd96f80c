//! Issuers that many have: an entry of which most is written already.

use super::form::IssuerEntry;
use crate::rules::RulesError;
use formats::pattern::Pattern;
use serde::Deserialize;
use waxseal_formats as formats;

const PRESETS: &str = include_str!("presets.yaml");

/// An issuer of which most is known.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    name: String,
    about: String,
    /// What the URL of an issuer looks like that this preset is for; anything if it is empty.
    #[serde(default)]
    forms: Vec<String>,
    /// A key that only the operator can fill in, and why.
    wants: Option<Wanted>,
    pub(super) entry: IssuerEntry,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    key: String,
    because: String,
}

/// The presets in the order of the documentation.
///
/// # Errors
/// None, as long as the tests of this module pass.
pub fn presets() -> Result<Vec<Preset>, RulesError> {
    let fault = |error: serde_saphyr::Error| RulesError::Issuer {
        issuer: "presets".to_owned(),
        reason: error.without_snippet().to_string(),
    };
    serde_saphyr::from_str(PRESETS).map_err(fault)
}

impl Preset {
    /// What `preset:` says.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for, in a few words.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// An issuer of this URL is what the preset describes, without anything that an operator would have to add.
    pub(super) fn recognises(&self, issuer: &str) -> bool {
        let patterns = self.entry.issuer_pattern.iter().flat_map(|texts| &texts.0);
        self.wants.is_none()
            && (self.entry.issuer.as_deref() == Some(issuer)
                || patterns.filter_map(|text| Pattern::labels(text).ok()).any(|form| form.matches(issuer)))
    }

    /// The entry with what the preset says where it says nothing, or why the preset does not fit.
    pub(super) fn complete(&self, entry: IssuerEntry) -> Result<IssuerEntry, String> {
        let fits = |issuer: &str| {
            self.forms.is_empty()
                || self.forms.iter().filter_map(|text| Pattern::labels(text).ok()).any(|form| form.matches(issuer))
        };
        if let Some(issuer) = entry.issuer.as_deref().filter(|issuer| !fits(issuer)) {
            let forms = self.forms.join(" or ");
            return Err(format!("{issuer:?} is no issuer of the preset `{}`, which look like {forms}", self.name));
        }
        let entry = entry.over(self.entry.clone());
        if entry.issuer.is_none() && entry.issuer_pattern.is_none() {
            let forms =
                if self.forms.is_empty() { String::new() } else { format!(" like {}", self.forms.join(" or ")) };
            return Err(format!("the preset `{}` needs `issuer:`, a URL{forms}", self.name));
        }
        match &self.wants {
            Some(Wanted { key, because }) if key == "email_verified" && entry.email_verified.is_none() => {
                Err(format!("the preset `{}` needs `{key}:`, because {because}", self.name))
            }
            _ => Ok(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::presets;
    use crate::provider::Provider;
    use crate::rules::Rules;
    use crate::rules::issuer::entry::Reader;
    use crate::rules::issuer::form::{EmailVerifiedEntry, IssuerEntry};
    use formats::pattern::Pattern;
    use std::collections::BTreeSet;
    use waxseal_formats as formats;

    /// Each of them gives an issuer when it gets what only an operator can say.
    #[test]
    fn every_preset_can_be_used() {
        let presets = presets().expect("presets");
        let providers = Provider::built_in().expect("providers");
        let reader = Reader { providers: &providers, presets: &presets, known: &[] };
        let mut names = BTreeSet::new();
        for preset in &presets {
            assert!(names.insert(preset.name()), "{} is there twice", preset.name());
            assert!(!preset.about().is_empty());
            for form in &preset.forms {
                Pattern::labels(form).expect("a pattern");
            }
            let own = preset.entry.issuer.is_some() || preset.entry.issuer_pattern.is_some();
            let form = preset.forms.first().map_or("https://idp.corp.example/x", String::as_str);
            let entry = IssuerEntry {
                preset: Some(preset.name().to_owned()),
                issuer: (!own).then(|| form.replace('*', "x")),
                email_verified: preset
                    .wants
                    .as_ref()
                    .map(|_| EmailVerifiedEntry::NotRequiredFor(vec!["corp.example".to_owned()])),
                ..IssuerEntry::default()
            };
            let issuers = reader.read(entry).expect("issuers");
            assert!(!issuers.is_empty(), "{}", preset.name());
        }
        for name in [
            "google",
            "entra",
            "adfs",
            "okta",
            "auth0",
            "keycloak",
            "dex",
            "gke",
            "eks",
            "aks",
            "kubernetes",
            "github",
            "gitlab",
            "buildkite",
            "circleci",
            "codefresh",
            "buddy",
            "chainguard",
        ] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn the_documentation_has_every_preset_and_type() {
        let documentation = include_str!("../../../../../docs/rules.md");
        let presets = presets().expect("presets");
        let providers = Provider::built_in().expect("providers");
        let reader = Reader { providers: &providers, presets: &presets, known: &[] };
        let names = presets.iter().map(|preset| preset.name().to_owned());
        for name in names.chain(reader.types().split(", ").map(str::to_owned)) {
            assert!(documentation.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn the_examples_of_the_documentation_are_rules() {
        let documentation = include_str!("../../../../../docs/rules.md");
        let blocks = documentation.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let examples: Vec<_> =
            blocks.filter(|text| text.starts_with("issuers:") || text.starts_with("providers:")).collect();
        assert_eq!(examples.len(), 2);
        for example in examples {
            let rules = Rules::from_yaml(&format!("{example}rules: []\n"), &[]).expect(example);
            assert!(rules.issuers().count() > 0);
        }
    }
}
