//! Version 1 of the API, and what both versions decide before there is a certificate.

use super::*;
use axum::http::header;
use waxseal_formats::json::encode_base64;

const V1: &str = "/api/v1/signingCert";

/// Status, content type and body.
async fn ask(served: &Served, request: Request) -> (StatusCode, String, String) {
    let response = served.router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let kind = parts.headers[header::CONTENT_TYPE].to_str().expect("text").to_owned();
    (parts.status, kind, String::from_utf8(body.to_vec()).expect("text"))
}

fn request(token: &str, body: &Value) -> Request {
    let request = Request::post(V1).header("authorization", format!("Bearer {token}"));
    request.body(Body::from(body.to_string())).expect("a request")
}

fn chain(pem: &str) -> Vec<Certificate> {
    const END: &str = "-----END CERTIFICATE-----\n";
    pem.split_inclusive(END).map(|one| Certificate::from_pem(one).expect("a certificate")).collect()
}

fn code(body: &str) -> String {
    let json: Value = serde_json::from_str(body).expect("JSON");
    let message = json["message"].as_str().expect("a message");
    message.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(code, _)| code).to_owned()
}

#[tokio::test]
async fn every_recorded_client_gets_a_pem_chain_and_exactly_201() {
    let served = serve(false);
    let mut seen = 0;
    for client in ["cosign-2.6.1", "gitsign-034927d", "server-probes"] {
        for exchange in of_version(client, "/api/v1/").into_iter().filter(|one| one.method == "POST") {
            let what = format!("{client} line {} ({})", exchange.line, exchange.step);
            let (status, kind, body) = ask(&served, served.again(&exchange, &served.idp)).await;
            assert_eq!(status.as_u16(), exchange.status, "{what}: {body}");
            if exchange.status != 201 {
                continue;
            }
            assert_eq!(kind, "application/pem-certificate-chain", "{what}");
            let ours = chain(&body);
            let theirs = exchange.response_body.as_deref().and_then(|body| std::str::from_utf8(body).ok());
            let theirs = chain(theirs.expect("text"));
            assert_eq!(ours[1..], *served.issuer.chain(), "{what}");
            assert_eq!(ours[0].subject_alt_name(), theirs[0].subject_alt_name(), "{what}");
            assert_eq!(ours[0].extensions(), theirs[0].extensions(), "{what}");
            assert_eq!(ours[0].public_key(), theirs[0].public_key(), "{what}");
            verifies(&ours[0], &served, &what);
            seen += 1;
        }
    }
    assert!(seen > 0 || waxseal_testkit::vectors().is_none());
}

#[tokio::test]
async fn keys_come_as_pem_or_der_and_requests_as_csr() {
    let served = serve(false);
    let token = served.token(&served.idp, &served.claims());
    let leaf = key(KeyKind::EcdsaP256);
    let proof = encode_base64(&leaf.sign(b"alice@corp.example").expect("a signature"));
    let der = encode_base64(leaf.public_key().spki_der());
    let pem = encode_base64(leaf.public_key().to_pem().as_bytes());
    for content in [&der, &pem] {
        let body = json!({"publicKey": {"content": content, "algorithm": "ecdsa"}, "signedEmailAddress": proof, "certificateSigningRequest": null});
        let (status, _, text) = ask(&served, request(&token, &body)).await;
        assert_eq!(status, StatusCode::CREATED, "{text}");
        assert_eq!(chain(&text)[0].public_key().expect("a key"), leaf.public_key());
    }
    let key = json!({"content": der});
    for (body, refused) in [
        (json!({"publicKey": key}), "challenge.failed"),
        (json!({"publicKey": {"content": encode_base64(b"key")}, "signedEmailAddress": proof}), "key.unsupported"),
        (json!({"publicKey": {"content": "%"}, "signedEmailAddress": proof}), "input.malformed"),
        (json!({"publicKey": key, "certificateSigningRequest": "AA=="}), "input.malformed"),
        (json!({"certificateSigningRequest": "AA=="}), "key.unsupported"),
        (json!({}), "key.unsupported"),
    ] {
        let (status, kind, text) = ask(&served, request(&token, &body)).await;
        assert_eq!((status, code(&text).as_str()), (StatusCode::BAD_REQUEST, refused), "{body}");
        assert_eq!(kind, "application/json");
    }
    let (status, kind, roots) =
        ask(&served, Request::get("/api/v1/rootCert").body(Body::empty()).expect("a request")).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/pem-certificate-chain"));
    assert_eq!(chain(&roots), served.issuer.chain());
}

/// step-ca CVE-2025-44005, CVE-2026-30836: no other door skips the authorization.
#[tokio::test]
async fn no_route_issues_without_a_token_or_with_a_foreign_or_expired_one() {
    let served = serve(false);
    let mut expired = served.claims();
    expired.insert("exp".into(), json!(system::now().as_second() - 1));
    let mut elsewhere = served.claims();
    elsewhere.insert("aud".into(), json!("another-service"));
    let stranger = key(KeyKind::Ed25519);
    let leaf = key(KeyKind::EcdsaP256);
    let proof = encode_base64(&leaf.sign(b"alice@corp.example").expect("a signature"));
    let tokens = [
        (None, "token.malformed"),
        (Some(served.token(&stranger, &served.claims())), "token.signature"),
        (Some(served.token(&served.idp, &expired)), "token.expired"),
        (Some(served.token(&served.idp, &elsewhere)), "token.audience"),
    ];
    for (token, refused) in tokens {
        for path in [PATH, V1] {
            let body = if path == V1 {
                json!({"publicKey": {"content": encode_base64(leaf.public_key().spki_der())}, "signedEmailAddress": proof})
            } else {
                json!({"publicKeyRequest": {"publicKey": {"content": leaf.public_key().to_pem()}, "proofOfPossession": proof}})
            };
            let mut request = Request::post(path);
            if let Some(token) = &token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let (status, _, text) = ask(&served, request.body(Body::from(body.to_string())).expect("a request")).await;
            assert_eq!((status, code(&text).as_str()), (StatusCode::BAD_REQUEST, refused), "{path}");
        }
    }
    assert_eq!(served.submissions(), 0);
}

fn rules_of(text: &str) -> Rules {
    Rules::from_yaml(text, &[]).expect("rules")
}

#[tokio::test]
async fn a_single_use_token_is_good_for_one_certificate() {
    let served = serve(false);
    served.rules.replace(
        rules_of(&format!(
            "issuers: [{{issuer: '{EMAIL_ISSUER}', type: email, single_use: true, limits: {{certificates_per_minute: 3}}}}]\nrules: [{{name: people, issuer: '{EMAIL_ISSUER}', match: {{email: '*@corp.example'}}}}]\n"
        )),
        None,
    );
    let good = served.good().to_string();
    // A request that fails for another reason does not use it up.
    let mut wrong = served.good();
    wrong["credentials"] = serde_json::from_str::<Value>(&good).expect("JSON")["credentials"].clone();
    wrong["publicKeyRequest"]["proofOfPossession"] = json!("AA==");
    assert_eq!(served.post(wrong.to_string()).await.code(), "challenge.failed");
    assert_eq!(served.post(good.clone()).await.status, StatusCode::OK);
    // Showing it again uses up nothing of its owner's limit.
    for _ in 0..5 {
        let again = served.post(good.clone()).await;
        assert_eq!((again.status, again.code()), (StatusCode::BAD_REQUEST, "token.used"));
    }
    assert_eq!(served.submissions(), 1);
    // Two tokens of one `jti` are one.
    let mut claims = served.claims();
    claims.insert("jti".into(), json!("one"));
    let mut request = served.good();
    request["credentials"]["oidcIdentityToken"] = json!(served.token(&served.idp, &claims));
    assert_eq!(served.post(request.to_string()).await.status, StatusCode::OK);
    claims.insert("extra".into(), json!(1));
    let mut request = served.good();
    request["credentials"]["oidcIdentityToken"] = json!(served.token(&served.idp, &claims));
    assert_eq!(served.post(request.to_string()).await.code(), "token.used");
}

#[tokio::test]
async fn rules_are_exchanged_between_requests_and_nothing_verified_before_is_kept() {
    let served = serve(false);
    let good = served.good().to_string();
    assert_eq!(served.post(good.clone()).await.status, StatusCode::OK);
    assert_eq!(served.post(good.clone()).await.status, StatusCode::OK, "tokens may be used again");
    let rule = |audience: &str| {
        rules_of(&format!(
            "rules: [{{name: people, issuer: '{EMAIL_ISSUER}', audience: {audience}, match: {{email: '*@corp.example'}}}}]\n"
        ))
    };
    served.rules.replace(rule("another"), Some(rule("sigstore")));
    assert_eq!(served.post(good.clone()).await.code(), "token.audience");
    served.rules.replace(rules_of("rules: []"), None);
    assert_eq!(served.post(good).await.code(), "token.issuer");
}

#[tokio::test]
async fn an_identity_that_has_had_its_certificates_waits() {
    let served = serve(false);
    served.rules.replace(
        rules_of(&format!(
            "issuers: [{{issuer: '{EMAIL_ISSUER}', type: email, limits: {{certificates_per_minute: 1}}}}]\nrules: [{{name: people, issuer: '{EMAIL_ISSUER}', match: {{email: '*@corp.example'}}}}]\n"
        )),
        None,
    );
    assert_eq!(served.post(served.good().to_string()).await.status, StatusCode::OK);
    let answer = served.post(served.good().to_string()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::TOO_MANY_REQUESTS, "rule.limit"));
    let retry_after: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((2..=60).contains(&retry_after), "{retry_after}");
    assert_eq!(served.submissions(), 1);
}

/// Limits of a rule are shared by all whom it admits, and another rule has its own.
#[tokio::test]
async fn a_rule_that_has_given_its_certificates_waits_whoever_asks() {
    let served = serve(false);
    served.rules.replace(
        rules_of(&format!(
            "rules:\n- {{name: people, issuer: '{EMAIL_ISSUER}', match: {{email: '*@corp.example'}}, limits: {{certificates_per_minute: 1}}}}\n- {{name: guests, issuer: '{EMAIL_ISSUER}', match: {{email: '*@guest.example'}}}}\n"
        )),
        None,
    );
    let request = |email: &str| {
        let mut claims = served.claims();
        claims.insert("email".into(), json!(email));
        let leaf = key(KeyKind::EcdsaP256);
        let proof = encode_base64(&leaf.sign(email.as_bytes()).expect("a signature"));
        let key = json!({"publicKey": {"content": leaf.public_key().to_pem()}, "proofOfPossession": proof});
        let token = served.token(&served.idp, &claims);
        json!({"credentials": {"oidcIdentityToken": token}, "publicKeyRequest": key}).to_string()
    };
    assert_eq!(served.post(request("alice@corp.example")).await.status, StatusCode::OK);
    let answer = served.post(request("bob@corp.example")).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::TOO_MANY_REQUESTS, "rule.limit"));
    assert!(answer.json["message"].as_str().is_some_and(|text| text.contains("rule `people`")), "{}", answer.json);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(served.post(request("eve@guest.example")).await.status, StatusCode::OK, "another rule");
    assert_eq!(served.submissions(), 2);
}

#[tokio::test]
async fn candidate_rules_decide_nothing() {
    let served = serve(false);
    let rule = |pattern: &str| {
        rules_of(&format!("rules: [{{name: people, issuer: '{EMAIL_ISSUER}', match: {{email: '{pattern}'}}}}]\n"))
    };
    served.rules.replace(rule("*@corp.example"), Some(rule("bob@corp.example")));
    assert_eq!(served.post(served.good().to_string()).await.status, StatusCode::OK);
    served.rules.replace(rule("bob@corp.example"), Some(rule("*@corp.example")));
    assert_eq!(served.post(served.good().to_string()).await.code(), "rule.denied");
    let counted = served.metrics.text();
    assert!(counted.contains(r#"decisions_total{service="candidate",code="rule.denied"} 1"#), "{counted}");
    assert!(counted.contains(r#"decisions_total{service="candidate",code="ok"} 1"#), "{counted}");
    assert!(counted.contains(r#"decisions_total{service="fulcio",code="ok"} 1"#), "{counted}");
    assert!(counted.contains(r#"decisions_total{service="fulcio",code="rule.denied"} 1"#), "{counted}");
}
