//! The first hops of "token to certificate" on requests that were recorded with Fulcio 1.8.8: what it granted is granted,
//! what it refused is refused, here with the reason. The recordings' signatures were taken off their tokens, so the
//! claims are signed again.

use crate::challenge::{verify_csr, verify_public_key_proof};
use crate::oidc::UnverifiedToken;
use crate::oidc::forge::Forge;
use crate::rules::Rules;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formats::code::Code;
use formats::crypto::PublicKey;
use formats::jwt::Jws;
use jiff::Timestamp;
use serde_json::Value;
use waxseal_formats as formats;
use waxseal_testkit::Exchange;

/// When the probes were sent: `iat` of their tokens.
const RECORDED_AT: i64 = 1_795_531_584;
const RULES: &str = "
issuers:
  - {issuer: http://127.0.0.1:7480/idp, type: email, email_verified: text}
  - {issuer: http://127.0.0.1:7480/idp/github, type: github-workflow}
rules:
  - {name: people, issuer: http://127.0.0.1:7480/idp, match: {sub: '**'}}
  - {name: workflows, issuer: http://127.0.0.1:7480/idp/github, match: {repository: acme/*}}
";

fn walk(probe: &Exchange) -> Result<(), Code> {
    let request = probe.request_json();
    let header = probe.request_header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let token = request["credentials"]["oidcIdentityToken"].as_str().or(header).ok_or(Code::TOKEN_MALFORMED)?;
    let claims = Jws::parse(token).and_then(|jws| jws.claims()).map_err(|error| error.code())?;

    let forge = Forge::es256();
    let rules = Rules::from_yaml(RULES, &[]).expect("rules");
    let token = forge.token(&Value::Object(claims));
    let token = UnverifiedToken::parse(&token).map_err(|error| error.code())?;
    let accepted = rules.accepted(token.issuer()).ok_or(Code::TOKEN_ISSUER)?;
    let now = Timestamp::from_second(RECORDED_AT).expect("a time");
    let claims = token.verify(accepted.issuer(), &forge.keys(), now).map_err(|error| error.code())?;
    let grant = rules.decide(&claims).map_err(|denied| denied.code())?;

    let bytes = |value: &Value| value.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let proven = match request.get("publicKeyRequest") {
        Some(request) => {
            let key = request["publicKey"]["content"].as_str().unwrap_or_default();
            let key = PublicKey::from_pem(key).map_err(|error| error.code())?;
            verify_public_key_proof(&grant, key, &bytes(&request["proofOfPossession"]))
        }
        None => verify_csr(&grant, &bytes(&request["certificateSigningRequest"])),
    };
    proven.map(drop).map_err(|error| error.code())
}

#[test]
fn recorded_requests_are_granted_and_refused_as_fulcio_did() {
    let Some(vectors) = waxseal_testkit::vectors() else { return };
    let probes = vectors.wire("server-probes");
    for (step, verdict) in [
        ("f2-ok", Ok(())),
        ("f2-aud-list", Ok(())),
        ("f2-email-verified-string", Ok(())),
        ("f2-token-in-header", Ok(())),
        ("f2-ed25519", Ok(())),
        ("f2-rsa2048", Ok(())),
        ("f2-p384-sha384", Ok(())),
        ("f2-csr-pem", Ok(())),
        ("f2-pop-over-sub-github", Ok(())),
        ("f2-no-token", Err(Code::TOKEN_MALFORMED)),
        ("f2-garbage-token", Err(Code::TOKEN_MALFORMED)),
        ("f2-unknown-issuer", Err(Code::TOKEN_ISSUER)),
        ("f2-wrong-aud", Err(Code::TOKEN_AUDIENCE)),
        ("f2-expired", Err(Code::TOKEN_EXPIRED)),
        ("f2-no-email", Err(Code::TOKEN_CLAIM)),
        ("f2-email-unverified", Err(Code::TOKEN_CLAIM)),
        ("f2-bad-pop", Err(Code::CHALLENGE_FAILED)),
        ("f2-p384-sha256", Err(Code::CHALLENGE_FAILED)),
        ("f2-key-garbage", Err(Code::KEY_UNSUPPORTED)),
        ("f2-key-der-b64", Err(Code::KEY_UNSUPPORTED)),
        ("f2-csr-der", Err(Code::KEY_UNSUPPORTED)),
    ] {
        let probe = probes.iter().find(|probe| probe.step == step).expect(step);
        assert_eq!(walk(probe), verdict, "{step}");
        assert_eq!(probe.status == 200, verdict.is_ok(), "{step}: Fulcio answered {}", probe.status);
    }
}
