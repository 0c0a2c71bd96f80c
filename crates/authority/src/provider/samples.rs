//! Every provider's sample token: what becomes of it, and of it without one of its claims.

use super::Provider;
use crate::oidc::forge::Forge;
use formats::code::Code;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use waxseal_formats as formats;

const SAMPLES: [&str; 10] = [
    include_str!("../../testdata/provider/github-workflow.json"),
    include_str!("../../testdata/provider/github-enterprise-server.json"),
    include_str!("../../testdata/provider/gitlab-pipeline.json"),
    include_str!("../../testdata/provider/gitlab-self-managed.json"),
    include_str!("../../testdata/provider/buildkite-job.json"),
    include_str!("../../testdata/provider/circleci-job.json"),
    include_str!("../../testdata/provider/circleci-ssh-rerun.json"),
    include_str!("../../testdata/provider/codefresh-workflow.json"),
    include_str!("../../testdata/provider/codefresh-on-premises.json"),
    include_str!("../../testdata/provider/buddy-pipeline.json"),
];

fn samples() -> Vec<Value> {
    SAMPLES.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

fn provider(sample: &Value) -> std::sync::Arc<Provider> {
    let name = sample["provider"].as_str().expect("a name");
    let found = Provider::built_in().expect("providers").into_iter().find(|provider| provider.name() == name);
    found.expect("a provider")
}

fn text<'a>(sample: &'a Value, key: &str) -> &'a str {
    sample[key].as_str().expect("text")
}

#[test]
fn a_sample_token_of_every_provider_becomes_what_fulcio_makes_of_it() {
    let mut seen = BTreeSet::new();
    for sample in samples() {
        let provider = provider(&sample);
        let url = provider.url_of(text(&sample, "issuer")).expect("an instance");
        assert_eq!(url, text(&sample, "url"));
        let claims = Forge::es256().claims(sample["claims"].clone());
        let (name, extensions) = provider.principal(&claims, &url).expect("a principal");
        assert_eq!(name.as_str(), text(&sample, "name"));
        assert_eq!(serde_json::to_value(&extensions).expect("JSON"), sample["extensions"], "{}", name.as_str());
        seen.insert(provider.name().to_owned());
    }
    let all: BTreeSet<String> =
        Provider::built_in().expect("providers").iter().map(|one| one.name().to_owned()).collect();
    assert_eq!(seen, all, "a provider without a sample");
}

#[test]
fn a_sample_token_without_a_claim_is_refused_or_says_less() {
    for sample in samples() {
        let provider = provider(&sample);
        let mut refused = BTreeSet::new();
        for claim in sample["claims"].as_object().expect("claims").keys().filter(|claim| *claim != "sub") {
            let mut claims = sample["claims"].clone();
            claims.as_object_mut().expect("claims").remove(claim);
            match provider.principal(&Forge::es256().claims(claims), text(&sample, "url")) {
                Err(error) => {
                    assert_eq!((error.code(), &error.claim), (Code::TOKEN_CLAIM, claim));
                    refused.insert(claim.as_str());
                }
                Ok((_, extensions)) => {
                    let fewer = serde_json::to_value(&extensions).expect("JSON");
                    let before = sample["extensions"].as_object().expect("extensions");
                    assert!(fewer.as_object().expect("extensions").keys().all(|key| before.contains_key(key)));
                }
            }
        }
        let required: BTreeSet<&str> = provider.required.iter().map(String::as_str).collect();
        assert_eq!(refused, required, "{}", provider.name());
    }
}

#[test]
fn a_pipeline_of_another_gitlab_is_refused() {
    let samples = samples();
    let sample = samples.iter().find(|one| one["provider"] == "gitlab-pipeline").expect("a sample");
    for uri in [
        "gitlab.corp.example/acme/widgets//.gitlab-ci.yml@refs/heads/main",
        "gitlab.com.evil.example/acme/widgets//.gitlab-ci.yml@refs/heads/main",
        "gitlab.com@evil.example/x",
        "gitlab.com",
    ] {
        let mut claims = sample["claims"].clone();
        claims["ci_config_ref_uri"] = json!(uri);
        let error = provider(sample).principal(&Forge::es256().claims(claims), "https://gitlab.com");
        let error = error.expect_err("refused");
        assert_eq!((error.code(), error.claim.as_str()), (Code::TOKEN_CLAIM, "ci_config_ref_uri"), "{uri}");
    }
}
