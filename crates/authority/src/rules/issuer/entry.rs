//! One entry of `issuers:`.

use super::{About, AcceptedIssuer, DEFAULT_AUDIENCE, IssuerType};
use crate::oidc::Issuer;
use crate::provider::Provider;
use crate::rules::RulesError;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use url::Url;

/// An issuer as it is described in the rules file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rules) struct IssuerEntry {
    issuer: String,
    #[serde(rename = "type")]
    kind: String,
    url: Option<String>,
}

impl IssuerEntry {
    pub(super) fn name(&self) -> &str {
        &self.issuer
    }
}

pub(super) fn read(
    entries: Vec<IssuerEntry>,
    known: &[(String, IssuerType)],
    rules: &[About<'_>],
) -> Result<BTreeMap<String, AcceptedIssuer>, RulesError> {
    let providers = Provider::built_in()?;
    let mut types: BTreeMap<String, IssuerType> = known.iter().cloned().collect();
    for entry in &entries {
        types.insert(entry.issuer.clone(), described(entry, &providers)?);
    }
    for issuer in rules.iter().filter_map(|rule| rule.issuer.as_exact()) {
        types.entry(issuer.to_owned()).or_insert_with(|| recognised(issuer, &providers));
    }
    types
        .into_iter()
        .map(|(url, kind)| {
            // Those that are known are not asked for their keys.
            if !known.iter().any(|(own, _)| *own == url) {
                check_url(&url)?;
            }
            let own_audiences = vec![DEFAULT_AUDIENCE.to_owned()];
            let about = rules.iter().filter(|rule| rule.issuer.matches(&url));
            let audiences: BTreeSet<&str> = about.map(|rule| rule.audience.unwrap_or(DEFAULT_AUDIENCE)).collect();
            let audiences = if audiences.is_empty() { BTreeSet::from([DEFAULT_AUDIENCE]) } else { audiences };
            let audiences = audiences.into_iter().map(str::to_owned).collect();
            Ok((url.clone(), AcceptedIssuer { issuer: Issuer::new(url, audiences), own_audiences, kind }))
        })
        .collect()
}

fn described(entry: &IssuerEntry, providers: &[Arc<Provider>]) -> Result<IssuerType, RulesError> {
    let fault = |reason: String| RulesError::Issuer { issuer: entry.issuer.clone(), reason };
    if entry.kind == IssuerType::EMAIL {
        return match entry.url {
            None => Ok(IssuerType::Email),
            Some(_) => Err(fault("`url` means nothing for the type `email`".to_owned())),
        };
    }
    let provider = providers.iter().find(|provider| provider.name() == entry.kind).ok_or_else(|| {
        let names: Vec<&str> = providers.iter().map(|provider| provider.name()).collect();
        fault(format!("`{}` is no type of issuer, known are {}, {}", entry.kind, IssuerType::EMAIL, names.join(", ")))
    })?;
    let url = entry.url.as_deref().unwrap_or_else(|| provider.url());
    let web = Url::parse(url).ok().filter(|web| matches!(web.scheme(), "https" | "http") && web.has_host());
    if web.is_none() || url.ends_with('/') {
        return Err(fault(format!("`url: {url}` is no web address without a slash at its end")));
    }
    Ok(IssuerType::Ci { provider: Arc::clone(provider), url: url.to_owned() })
}

fn recognised(issuer: &str, providers: &[Arc<Provider>]) -> IssuerType {
    providers.iter().find(|provider| provider.recognises(issuer)).map_or(IssuerType::Email, |provider| IssuerType::Ci {
        provider: Arc::clone(provider),
        url: provider.url().to_owned(),
    })
}

/// An issuer is compared as text and fetched as a URL: https, or http for one on this machine.
fn check_url(issuer: &str) -> Result<(), RulesError> {
    let fault = |reason: &str| Err(RulesError::Issuer { issuer: issuer.to_owned(), reason: reason.to_owned() });
    let Ok(url) = Url::parse(issuer) else { return fault("not a URL") };
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return fault("a URL with a query, a fragment or a user");
    }
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Ok(()),
        ("http", Some(url::Host::Ipv4(address))) if address.is_loopback() => Ok(()),
        ("http", Some(url::Host::Ipv6(address))) if address.is_loopback() => Ok(()),
        ("http", Some(url::Host::Domain("localhost"))) => Ok(()),
        ("http", _) => fault("plain http is accepted on loopback only"),
        _ => fault("not an https URL"),
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::{IssuerType, Rules, RulesError};
    use formats::code::Code;
    use waxseal_formats as formats;

    fn read(text: &str) -> Result<Rules, RulesError> {
        let rules = Rules::from_yaml(text, &[("http://127.0.0.1:7480/idp".to_owned(), IssuerType::Email)]);
        if let Err(error) = &rules {
            assert_eq!(error.code(), Code::POLICY_MALFORMED);
        }
        rules
    }

    #[test]
    fn issuers_get_their_type_from_the_file_from_their_url_or_are_of_people() {
        let rules = read(
            "issuers:
  - {issuer: https://github.corp.example/_services/token, type: github-workflow, url: https://github.corp.example}
  - {issuer: https://quiet.example, type: email}
rules:
  - {name: a, issuer: https://token.actions.githubusercontent.com, match: {repository: acme/*}}
  - {name: b, issuer: https://idp.example, audience: other, match: {sub: x}}
  - {name: c, issuer: https://idp.example, match: {sub: x}}
",
        )
        .expect("rules");
        let issuer = |url: &str| {
            let accepted = rules.accepted(url).expect("accepted");
            (accepted.kind().name().to_owned(), accepted.issuer().audiences().join(" "))
        };
        let sigstore = || "sigstore".to_owned();
        assert_eq!(issuer("https://github.corp.example/_services/token"), ("github-workflow".to_owned(), sigstore()));
        assert_eq!(issuer("https://token.actions.githubusercontent.com"), ("github-workflow".to_owned(), sigstore()));
        assert_eq!(issuer("https://idp.example"), ("email".to_owned(), "other sigstore".to_owned()));
        assert_eq!(issuer("https://quiet.example"), ("email".to_owned(), sigstore()));
        assert_eq!(issuer("http://127.0.0.1:7480/idp"), ("email".to_owned(), sigstore()));
        assert!(rules.accepted("https://idp.example/").is_none(), "a trailing slash makes another issuer");
    }

    #[test]
    fn issuers_are_urls_to_fetch_keys_from() {
        let rule = |issuer: &str| read(&format!("rules: [{{name: a, issuer: '{issuer}', match: {{sub: x}}}}]"));
        for issuer in [
            "https://a.example",
            "https://a.example:8443/x/",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(rule(issuer).is_ok(), "{issuer}");
        }
        for issuer in [
            "a.example",
            "http://a.example",
            "http://127.0.0.1.evil.example",
            "file:///etc/passwd",
            "https://a.example?x",
            "https://u:p@a.example",
            "https://a.example/#x",
            "http://169.254.169.254",
            "https://",
            "*",
        ] {
            assert!(matches!(rule(issuer), Err(RulesError::Issuer { .. })), "{issuer}");
        }
        for entry in [
            "type: uri",
            "type: email, url: https://x.example",
            "type: github-workflow, url: 'https://x/'",
            "type: github-workflow, url: x",
        ] {
            let text = format!("rules: []\nissuers: [{{issuer: https://a.example, {entry}}}]");
            assert!(matches!(read(&text), Err(RulesError::Issuer { .. })), "{entry}");
        }
    }
}
