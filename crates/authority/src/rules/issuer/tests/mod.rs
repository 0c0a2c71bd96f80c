//! Issuers of every type, by entry, preset, pattern and alias, and what is refused.

mod entries;
mod identities;
mod patterns;

use crate::ca::SubordinateKind;
use crate::ca::forge::authority;
use crate::oidc::forge::Forge;
use crate::oidc::{Claims, UnverifiedToken};
use crate::rules::{CaSource, Denied, Grant, IssuerType, KeySource, Rules, RulesError};
use formats::code::Code;
use formats::crypto::KeyKind;
use formats::extension::{FulcioOid, SubjectAltName};
use serde_json::{Value, json};
use std::path::Path;
use waxseal_formats as formats;
use waxseal_testkit::clock::{EPOCH, at};

const IDP: &str = "https://idp.corp.example";

fn read(text: &str) -> Result<Rules, RulesError> {
    let rules = Rules::from_yaml(text, &[("http://127.0.0.1:7480/idp".to_owned(), IssuerType::Email)]);
    if let Err(error) = &rules {
        assert_eq!(error.code(), Code::POLICY_MALFORMED);
    }
    rules
}

/// Rules with one issuer, described by this entry, of whom everybody is admitted.
fn described(entry: &str) -> Rules {
    read(&text(entry)).expect("rules")
}

fn text(entry: &str) -> String {
    format!("issuers: [{{{entry}}}]\nrules: [{{name: all, issuer: '{IDP}', match: {{sub: '**'}}}}]")
}

fn entry(entry: &str) -> String {
    format!("issuer: '{IDP}', {entry}")
}

/// What a token of this issuer says after verification, as a server does it.
fn claims(rules: &Rules, issuer: &str, members: Value) -> Result<Claims, Code> {
    let forge = Forge::es256();
    let mut all = json!({ "iss": issuer, "sub": "alice", "aud": "sigstore", "exp": at(EPOCH).as_second() + 60 });
    all.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    let token = forge.token(&all);
    let token = UnverifiedToken::parse(&token).expect("a token");
    let accepted = rules.accepted(issuer).ok_or(Code::TOKEN_ISSUER)?;
    token.verify(accepted.issuer(), &forge.keys(), at(EPOCH)).map_err(|error| error.code())
}

fn decide(rules: &Rules, members: Value) -> Result<Grant, Denied> {
    rules.decide(&claims(rules, IDP, members).expect("claims"))
}

fn refused(rules: &Rules, members: Value) -> String {
    match decide(rules, members.clone()) {
        Err(Denied::Claim(error)) => {
            assert_eq!(error.code(), Code::TOKEN_CLAIM);
            error.claim
        }
        other => unreachable!("{members}: {other:?}"),
    }
}

fn reason(text: &str) -> String {
    match read(text).expect_err(text) {
        RulesError::Issuer { reason, .. } => reason,
        other => unreachable!("{text}: {other:?}"),
    }
}

const CLUSTERS: &str = "issuer_pattern: 'https://oidc.eks.*.amazonaws.com/id/*', type: kubernetes";
