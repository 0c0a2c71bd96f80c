//! Who is told the credentials, and who is not.

use super::{
    Answer, BASIC, answer, blob, client, code, error, found, guarded, image, password, registry, serve, serve_tls,
    settings, with_password,
};
use super::{Credentials, RegistrySettings, Sent};
use crate::registry::keychain::Login;
use bytes::Bytes;
use formats::code::Code;
use formats::crypto::Secret;
use formats::oci::{INDEX, ImageIndex, MANIFEST};
use std::sync::atomic::{AtomicUsize, Ordering};
use waxseal_formats as formats;

#[tokio::test]
async fn a_password_is_given_when_the_registry_asks_and_once_if_it_is_wrong() {
    let server = serve(|seen| guarded(seen, "Basic realm=\"x\"", BASIC, found)).await;
    let registry = with_password();
    registry.resolve(&server.reference("v1")).await.expect("with the password");
    registry.resolve(&server.reference("v2")).await.expect("with the password");
    let asked: Vec<_> = server.seen().iter().map(|seen| seen.authorization().is_some()).collect();
    assert_eq!(asked, [false, true, true]);
    assert_eq!(code(super::registry().resolve(&server.reference("v1")).await), Code::REGISTRY_UNAUTHORIZED);
    let wrong = serve(|seen| guarded(seen, "Basic realm=\"x\"", "Basic other", found)).await;
    assert_eq!(code(with_password().resolve(&wrong.reference("v1")).await), Code::REGISTRY_UNAUTHORIZED);
    assert_eq!(wrong.seen().len(), 2);
}

#[tokio::test]
async fn tokens_are_fetched_once_for_each_scope() {
    let realm = serve(|_| answer(200, &[], r#"{"token":"t1","expires_in":300}"#)).await;
    let challenge = format!("Bearer realm=\"{}\",service=\"s 1\",scope=\"repository:evil:*\"", realm.url("token"));
    let server = serve(move |seen| guarded(seen, &challenge, "Bearer t1", found)).await;
    let registry = with_password();
    for tag in ["a", "b", "c"] {
        registry.resolve(&server.reference(tag)).await.expect("with a token");
    }
    let asked = realm.seen();
    assert_eq!((asked.len(), asked[0].authorization()), (1, Some(BASIC)));
    // We ask for what we need, not for what the registry says.
    assert_eq!(asked[0].target, "/token?service=s+1&scope=repository%3Aapp%3Apull");
    assert!(
        server.seen().iter().all(|seen| seen.authorization() != Some(BASIC)),
        "the password goes to the realm only"
    );
    let _ = registry.push_manifest(&server.repository(), "x", MANIFEST, image("x")).await;
    assert!(realm.seen()[1].target.ends_with("scope=repository%3Aapp%3Apull%2Cpush"));
}

#[tokio::test]
async fn identity_tokens_are_exchanged_at_the_realm_and_nowhere_else() {
    let realm = serve(|_| answer(200, &[], r#"{"access_token":"t2"}"#)).await;
    let challenge = format!("Bearer realm=\"{}\",service=\"s\"", realm.url("token"));
    let server = serve(move |seen| guarded(seen, &challenge, "Bearer t2", found)).await;
    // As docker's configuration has them; there is no setting for it.
    let registry = registry();
    let home = registry.inner.homes.of(server.repository().registry());
    home.login.set(Login::Refresh(Secret::new("hunter2+1".to_owned()))).expect("new");
    registry.resolve(&server.reference("v1")).await.expect("with a token");
    let asked = realm.seen();
    assert_eq!((asked[0].method.as_str(), asked[0].authorization()), ("POST", None));
    assert_eq!(
        String::from_utf8_lossy(&asked[0].body),
        "grant_type=refresh_token&service=s&client_id=waxseal&scope=repository%3Aapp%3Apull&refresh_token=hunter2%2B1"
    );
    assert!(server.seen().iter().all(|seen| !format!("{seen:?}").contains("hunter2")));
}

#[tokio::test]
async fn a_registry_token_goes_to_the_registry_only() {
    let realm = serve(|_| answer(200, &[], r#"{"token":"other"}"#)).await;
    let challenge = format!("Bearer realm=\"{}\"", realm.url("token"));
    let server = serve(move |seen| guarded(seen, &challenge, "Bearer given", found)).await;
    let credentials = Credentials::Token(Secret::new("given".to_owned()));
    let registry = client(RegistrySettings { credentials, ..settings() });
    registry.resolve(&server.reference("v1")).await.expect("with the token");
    assert!(realm.seen().is_empty());
}

#[tokio::test]
async fn cve_2025_27403_a_foreign_realm_does_not_get_the_password() {
    let foreign = serve(|_| answer(200, &[], r#"{"token":"t"}"#)).await;
    // Another host to us: the registry is 127.0.0.1.
    let challenge = format!("Bearer realm=\"http://localhost:{}/token\"", foreign.address.port());
    let server = serve(move |seen| guarded(seen, &challenge, "Bearer t", found)).await;
    assert_eq!(code(with_password().resolve(&server.reference("v1")).await), Code::REGISTRY_UNAUTHORIZED);
    assert!(foreign.seen().is_empty());
    assert!(server.learnt_nothing(), "nor does the registry");
    // Who has nothing to lose may ask, and the operator may trust it.
    registry().resolve(&server.reference("v1")).await.expect("anonymously");
    assert!(foreign.learnt_nothing());
    let trusting =
        RegistrySettings { credentials: password(), token_hosts: vec!["LocalHost".to_owned()], ..settings() };
    client(trusting).resolve(&server.reference("v1")).await.expect("trusted");
    assert_eq!(foreign.seen()[1].authorization(), Some(BASIC));
}

#[tokio::test]
async fn realms_that_nobody_should_ask_are_not_asked() {
    let other = serve(|_| answer(200, &[], r#"{"token":"t"}"#)).await;
    let with_user = other.url("token").replace("//", "//a:b@");
    for realm in ["http://storage.example/token", &with_user, "file:///etc/passwd", "x", "http://"] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let server = serve(move |seen| guarded(seen, &challenge, "Bearer t", found)).await;
        for registry in [registry(), with_password()] {
            assert_eq!(code(registry.resolve(&server.reference("v1")).await), Code::REGISTRY_UNAUTHORIZED, "{realm}");
        }
        assert!(server.learnt_nothing(), "{realm}");
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn challenges_that_mean_nothing_end_the_matter() {
    for garbage in [
        "",
        "Bearer",
        "Bearer realm=\"",
        "Negotiate",
        "Digest realm=x",
        "=",
        ",,,",
        "Bearer =,\"",
        "Bearer realm=\"\\\"",
    ] {
        let server = serve(move |seen| guarded(seen, garbage, "never", found)).await;
        assert_eq!(
            code(with_password().resolve(&server.reference("v1")).await),
            Code::REGISTRY_UNAUTHORIZED,
            "{garbage}"
        );
        assert!(server.seen().len() <= 2 && server.learnt_nothing(), "{garbage}");
    }
    let long = format!("Bearer realm=\"{}\"", "x".repeat(10_000));
    let server = serve(move |seen| guarded(seen, &long, "never", found)).await;
    assert_eq!(code(with_password().resolve(&server.reference("v1")).await), Code::REGISTRY_UNAUTHORIZED);
}

#[tokio::test]
async fn answers_that_are_no_tokens() {
    let big = format!(r#"{{"token":"{}"}}"#, "t".repeat(crate::registry::auth::MAX_ANSWER_LEN));
    let cases: Vec<(u16, Bytes, Code)> = vec![
        (200, "{}".into(), Code::NETWORK_REFUSED),
        (200, "".into(), Code::NETWORK_REFUSED),
        (200, "<html>".into(), Code::NETWORK_REFUSED),
        (200, r#"{"token":""}"#.into(), Code::NETWORK_REFUSED),
        (200, r#"{"token":7}"#.into(), Code::NETWORK_REFUSED),
        (200, r#"{"token":"a\nx-evil: b"}"#.into(), Code::REGISTRY_UNAUTHORIZED),
        (200, big.into(), Code::INPUT_TOO_LARGE),
        (401, "{}".into(), Code::REGISTRY_UNAUTHORIZED),
        (403, "{}".into(), Code::REGISTRY_UNAUTHORIZED),
        (302, "".into(), Code::NETWORK_REFUSED),
        (500, "{}".into(), Code::NETWORK_REFUSED),
    ];
    for (status, body, expected) in cases {
        let told = format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(40)]));
        let realm = serve(move |_| answer(status, &[("location", "http://127.0.0.1:1/")], body.clone())).await;
        let challenge = format!("Bearer realm=\"{}\"", realm.url("token"));
        let server = serve(move |seen| guarded(seen, &challenge, "never", found)).await;
        assert_eq!(code(with_password().resolve(&server.reference("v1")).await), expected, "{told}");
        assert!(server.learnt_nothing(), "{told}");
    }
    let endless = serve(|_| Answer { body: Sent::Endless, ..answer(200, &[], "") }).await;
    let challenge = format!("Bearer realm=\"{}\"", endless.url("token"));
    let server = serve(move |seen| guarded(seen, &challenge, "never", found)).await;
    assert_eq!(code(registry().resolve(&server.reference("v1")).await), Code::INPUT_TOO_LARGE);
}

#[tokio::test]
async fn a_registry_that_is_never_content_is_left() {
    let made = AtomicUsize::new(0);
    let realm =
        serve(move |_| answer(200, &[], format!(r#"{{"token":"t{}"}}"#, made.fetch_add(1, Ordering::Relaxed)))).await;
    let challenge = format!("Bearer realm=\"{}\"", realm.url("token"));
    let server = serve(move |seen| guarded(seen, &challenge, "never", found)).await;
    assert_eq!(code(with_password().resolve(&server.reference("v1")).await), Code::REGISTRY_UNAUTHORIZED);
    assert_eq!((server.seen().len(), realm.seen().len()), (3, 2));
}

#[tokio::test]
async fn a_registry_that_takes_its_time_holds_up_nobody_else() {
    let silent = serve(|_| Answer { body: Sent::Silence, ..answer(200, &[], "") }).await;
    let challenge = format!("Bearer realm=\"{}\"", silent.url("token"));
    let slow = serve(move |seen| guarded(seen, &challenge, "never", found)).await;
    let server = serve(|seen| guarded(seen, "Basic realm=\"x\"", BASIC, found)).await;
    let registry = with_password();
    let waiting = {
        let (registry, reference) = (registry.clone(), slow.reference("v1"));
        tokio::spawn(async move { registry.resolve(&reference).await.map(drop) })
    };
    while silent.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    registry.resolve(&server.reference("v1")).await.expect("meanwhile");
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn cve_2026_48978_credentials_do_not_follow_redirects() {
    let storage = serve(|_| answer(200, &[], "content")).await;
    let to = storage.url("bucket?signature=1");
    let server =
        serve(move |seen| guarded(seen, "Basic realm=\"x\"", BASIC, || answer(307, &[("location", &to)], ""))).await;
    let content = with_password().blob(&server.repository(), &blob(b"content"), 100).await.expect("from the storage");
    assert_eq!(content, "content");
    assert!(storage.learnt_nothing() && storage.seen().len() == 1);
    // A manifest may be kept elsewhere as well.
    let storage = serve(|_| found()).await;
    let to = storage.url("manifest");
    let server =
        serve(move |seen| guarded(seen, "Basic realm=\"x\"", BASIC, || answer(302, &[("location", &to)], ""))).await;
    with_password().resolve(&server.reference("v1")).await.expect("from the storage");
    assert!(storage.learnt_nothing());
    // Storage that asks for credentials itself gets none, nor does one that sends us back to the registry.
    let asking = serve(|seen| guarded(seen, "Basic realm=\"x\"", BASIC, || answer(200, &[], "content"))).await;
    let to = asking.url("bucket");
    let server = serve(move |_| answer(302, &[("location", &to)], "")).await;
    let refused = with_password().blob(&server.repository(), &blob(b"content"), 100).await;
    assert_eq!(code(refused), Code::REGISTRY_UNAUTHORIZED);
    assert!(asking.learnt_nothing());
    let address = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let back = {
        let address = std::sync::Arc::clone(&address);
        serve(move |_| answer(302, &[("location", &format!("{}secret", address.get().expect("set")))], "")).await
    };
    let to = back.url("there");
    let server = serve(move |seen| {
        guarded(seen, "Basic realm=\"x\"", BASIC, || match seen.target.as_str() {
            "/secret" => answer(200, &[], "content"),
            _ => answer(302, &[("location", &to)], ""),
        })
    })
    .await;
    address.set(server.url("")).expect("once");
    let refused = with_password().blob(&server.repository(), &blob(b"content"), 100).await;
    assert_eq!(code(refused), Code::REGISTRY_UNAUTHORIZED);
    assert!(server.seen().iter().filter(|seen| seen.target == "/secret").all(|seen| seen.authorization().is_none()));
}

#[tokio::test]
async fn cve_2026_50151_credentials_do_not_follow_upload_locations() {
    let other = serve(|_| answer(201, &[], "")).await;
    let to = other.url("upload?state=1");
    let server = serve(move |seen| {
        guarded(seen, "Basic realm=\"x\"", BASIC, || match seen.method.as_str() {
            "POST" => answer(202, &[("location", &to)], ""),
            _ => error(404, "BLOB_UNKNOWN"),
        })
    })
    .await;
    with_password().push_blob(&server.repository(), "content".into()).await.expect("uploaded elsewhere");
    let seen = other.seen();
    assert_eq!((seen.len(), seen[0].body.as_slice()), (1, b"content".as_slice()));
    assert!(other.learnt_nothing() && seen[0].target.starts_with("/upload?state=1&digest=sha256%3A"));
    // Somebody else who wants credentials is refused, and is not told them.
    let asking = serve(|seen| guarded(seen, "Basic realm=\"x\"", BASIC, || answer(201, &[], ""))).await;
    let to = asking.url("upload");
    let server = serve(move |seen| match seen.method.as_str() {
        "POST" => answer(202, &[("location", &to)], ""),
        _ => error(404, "BLOB_UNKNOWN"),
    })
    .await;
    let refused = with_password().push_blob(&server.repository(), "content".into()).await;
    assert_eq!(code(refused), Code::REGISTRY_UNAUTHORIZED);
    assert!(asking.learnt_nothing());
    for location in ["http://storage.example/x", "ftp://127.0.0.1/x", "http://a:b@127.0.0.1:1/x"] {
        let server = serve(move |seen| match seen.method.as_str() {
            "POST" => answer(202, &[("location", location)], ""),
            _ => error(404, "BLOB_UNKNOWN"),
        })
        .await;
        let refused = registry().push_blob(&server.repository(), "content".into()).await;
        assert_eq!(code(refused), Code::NETWORK_REFUSED, "{location}");
    }
}

#[tokio::test]
async fn pages_do_not_lead_to_other_hosts() {
    let other = serve(|_| error(404, "")).await;
    let link = format!("<{}>; rel=\"next\"", other.url("v2/app/referrers/x"));
    let server = serve(move |seen| {
        guarded(seen, "Basic realm=\"x\"", BASIC, || {
            answer(200, &[("content-type", INDEX), ("link", &link)], ImageIndex::new(Vec::new()).to_json())
        })
    })
    .await;
    let refused = with_password().referrers(&server.repository(), &blob(b"x").digest, None).await;
    assert_eq!(code(refused), Code::NETWORK_REFUSED);
    assert!(other.seen().is_empty());
}

/// What began with TLS goes on with it, even where plain http is allowed.
#[tokio::test]
async fn tls_is_not_given_up_on_the_way() {
    let plain = serve(|seen| if seen.method == "GET" { found() } else { answer(201, &[], "") }).await;
    let to = plain.url("x");
    let (server, trusting) = serve_tls(move |seen| match seen.method.as_str() {
        "HEAD" => error(404, "BLOB_UNKNOWN"),
        "POST" => answer(202, &[("location", &to)], ""),
        _ => answer(307, &[("location", &to)], ""),
    })
    .await;
    let registry = client(RegistrySettings { plain_http: true, credentials: password(), ..trusting });
    let repository = server.repository();
    assert_eq!(code(registry.resolve(&server.reference("v1")).await), Code::NETWORK_REFUSED);
    assert_eq!(code(registry.blob(&repository, &blob(b"x"), 100).await), Code::NETWORK_REFUSED);
    assert_eq!(code(registry.push_blob(&repository, "x".into()).await), Code::NETWORK_REFUSED);
    let challenge = format!("Bearer realm=\"{}\"", plain.url("token"));
    let (server, trusting) = serve_tls(move |seen| guarded(seen, &challenge, "never", found)).await;
    for credentials in [password(), Credentials::Anonymous] {
        let registry = client(RegistrySettings { plain_http: true, credentials, ..trusting.clone() });
        assert_eq!(code(registry.resolve(&server.reference("v1")).await), Code::REGISTRY_UNAUTHORIZED);
    }
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn private_authorities_are_believed_and_strangers_are_not() {
    let (server, trusting) = serve_tls(|_| found()).await;
    client(trusting.clone()).resolve(&server.reference("v1")).await.expect("trusted");
    client(RegistrySettings { any_certificate: true, ..settings() })
        .resolve(&server.reference("v1"))
        .await
        .expect("unchecked");
    let (stranger, _) = serve_tls(|_| found()).await;
    assert_eq!(code(client(trusting).resolve(&stranger.reference("v1")).await), Code::NETWORK_UNREACHABLE);
    assert!(stranger.seen().is_empty());
    let broken = RegistrySettings { authorities: Some("x".to_owned()), ..settings() };
    let broken = super::Registry::new(RegistrySettings {
        client: Some(("x".to_owned(), Secret::new("hunter2".to_owned()))),
        ..broken
    });
    assert_eq!(code(broken), Code::INPUT_MALFORMED);
}
