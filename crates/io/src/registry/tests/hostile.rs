//! Registries that lie, flood, lead astray and change their minds.

use super::Pace;
use super::{
    Answer, BASIC, Sent, answer, blob, code, descriptor, error, found, guarded, image, registry, serve, with_password,
};
use formats::code::Code;
use formats::crypto::HashAlgorithm;
use formats::oci::{Descriptor, INDEX, ImageIndex, MANIFEST, MAX_MANIFEST_LEN, Reference};
use std::sync::atomic::{AtomicUsize, Ordering};
use waxseal_formats as formats;

#[tokio::test]
async fn digests_are_computed_and_never_believed() {
    let evil = image("evil");
    let (good, bad) = (descriptor(&image("good")), descriptor(&evil).digest.to_string());
    let told = good.digest.to_string();
    let server = serve(move |seen| {
        // By digest the body is a lie that the header tells the truth about; by tag it is the header that lies.
        let claimed = match seen.target.rsplit('/').next().expect("a name") {
            name if name == told => &told,
            name if name.contains(':') => &bad,
            "odd" => "sha256:00",
            "foreign" => "md5:d41d8cd98f00b204e9800998ecf8427e",
            _ => &told,
        };
        let headers = [("content-type", MANIFEST), ("docker-content-digest", claimed)];
        if seen.method == "PUT" { answer(201, &headers, "") } else { answer(200, &headers, evil.clone()) }
    })
    .await;
    let (registry, repository) = (registry(), server.repository());
    let other = blob(b"other").digest;
    for reference in [
        server.reference("v1"),
        server.reference("odd"),
        server.reference("foreign"),
        repository.with_digest(&good.digest),
        repository.with_digest(&other),
    ] {
        assert_eq!(code(registry.resolve(&reference).await), Code::SIGNATURE_DIGEST_MISMATCH, "{reference}");
    }
    let pushed = registry.push_manifest(&repository, "v1", MANIFEST, image("other")).await;
    assert_eq!(code(pushed), Code::SIGNATURE_DIGEST_MISMATCH);
    let pushed = registry.push_manifest(&repository, &good.digest.to_string(), MANIFEST, image("x")).await;
    assert_eq!(code(pushed), Code::SIGNATURE_DIGEST_MISMATCH);
    assert_eq!(server.count("PUT", "sha256:"), 0, "what has another digest is not sent");
    assert!(registry.push_manifest(&repository, "../x", MANIFEST, image("x")).await.is_err());
    assert_eq!(server.count("PUT", ".."), 0);
}

#[tokio::test]
async fn lengths_are_counted_and_never_believed() {
    let claims = |len: u64, body: &'static str| {
        serve(move |_| {
            let said = answer(200, &[("content-type", MANIFEST)], "");
            Answer { body: Sent::Claiming(len, body.into()), ..said }
        })
    };
    // More than comes, also when what comes would be all of it.
    let more = claims(8, "content").await;
    assert_eq!(code(registry().resolve(&more.reference("v1")).await), Code::NETWORK_UNREACHABLE);
    assert_eq!(code(registry().blob(&more.repository(), &blob(b"content?"), 100).await), Code::NETWORK_UNREACHABLE);
    // Less than comes: what stands behind is never seen.
    let less = claims(6, "content").await;
    assert_eq!(
        code(registry().blob(&less.repository(), &blob(b"content"), 100).await),
        Code::SIGNATURE_DIGEST_MISMATCH
    );
    // So much that it is not waited for.
    let much = claims(u64::MAX >> 1, "").await;
    assert_eq!(code(registry().resolve(&much.reference("v1")).await), Code::INPUT_TOO_LARGE);
}

#[tokio::test]
async fn blobs_are_what_their_descriptors_say() {
    let server = serve(|seen| {
        let short = seen.target.ends_with(&HashAlgorithm::Sha256.digest(b"abc").to_hex());
        answer(200, &[], if short { "ab" } else { "abcd" })
    })
    .await;
    for (announced, expected) in [
        (&b"abc"[..], Code::SIGNATURE_DIGEST_MISMATCH),
        (b"abCD", Code::SIGNATURE_DIGEST_MISMATCH),
        (b"abC", Code::INPUT_TOO_LARGE),
    ] {
        assert_eq!(code(registry().blob(&server.repository(), &blob(announced), 100).await), expected, "{announced:?}");
    }
    let asked = server.seen().len();
    let absurd = Descriptor { size: u64::MAX, ..blob(b"abcd") };
    assert_eq!(code(registry().blob(&server.repository(), &absurd, 1 << 40).await), Code::INPUT_TOO_LARGE);
    assert_eq!(server.seen().len(), asked, "nothing was asked for");
    let endless = serve(|_| Answer { body: Sent::Endless, ..answer(200, &[], "") }).await;
    let announced = blob(&[b' '; 1 << 20]);
    assert_eq!(code(registry().blob(&endless.repository(), &announced, 1 << 20).await), Code::INPUT_TOO_LARGE);
}

/// What is passed on from one registry to another is hashed on the way: the last part of a wrong blob never goes.
#[tokio::test]
async fn a_blob_that_is_another_is_not_passed_on() {
    let from = serve(|_| answer(200, &[], "evil")).await;
    let to = serve(|seen| match seen.method.as_str() {
        "POST" => answer(202, &[("location", "/v2/app/blobs/uploads/1")], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let registry = registry();
    for announced in [&b"good"[..], b"longer", b"sh"] {
        let announced = blob(announced);
        let stream = registry.blob_stream(&from.repository(), &announced).await.expect("it begins");
        let outcome = registry.push_stream(&to.repository(), &announced, stream).await;
        let expected = if announced.size < 4 { Code::INPUT_TOO_LARGE } else { Code::SIGNATURE_DIGEST_MISMATCH };
        assert_eq!(code(outcome), expected, "{announced:?}");
    }
    assert_eq!(to.count("PUT", ""), 0, "nothing ever came whole");
}

#[tokio::test]
async fn cve_2022_47633_a_tag_that_changes_does_not_change_what_was_resolved() {
    let asked = AtomicUsize::new(0);
    let server = serve(move |_| {
        let marker = if asked.fetch_add(1, Ordering::Relaxed) == 0 { "signed" } else { "evil" };
        answer(200, &[("content-type", MANIFEST)], image(marker))
    })
    .await;
    let resolved = registry().resolve(&server.reference("v1")).await.expect("resolved");
    assert_eq!(resolved.descriptor.digest, HashAlgorithm::Sha256.digest(&image("signed")));
    assert_eq!((server.seen().len(), server.count("HEAD", "")), (1, 0), "asked once, for the bytes themselves");
    let pinned: Reference = server.repository().with_digest(&resolved.descriptor.digest);
    assert_eq!(code(registry().resolve(&pinned).await), Code::SIGNATURE_DIGEST_MISMATCH);
}

#[tokio::test]
async fn ghsa_5j5w_g665_5m35_ambiguous_manifests_are_not_resolved() {
    let both = image("x").strip_suffix(b"}").map(|head| [head, br#","manifests":[]}"#].concat()).expect("an object");
    let (long, other) = (" ".repeat(MAX_MANIFEST_LEN + 1), image("x"));
    let server = serve(move |seen| match seen.target.rsplit('/').next() {
        Some("both") => answer(200, &[("content-type", MANIFEST)], both.clone()),
        Some("type") => answer(200, &[("content-type", INDEX)], other.clone()),
        Some("long") => answer(200, &[("content-type", MANIFEST)], long.clone()),
        Some("endless") => Answer { body: Sent::Endless, ..answer(200, &[("content-type", MANIFEST)], "") },
        _ => answer(200, &[("content-type", "text/html")], "<p>"),
    })
    .await;
    for (tag, expected) in [
        ("both", Code::INPUT_MALFORMED),
        ("type", Code::INPUT_MALFORMED),
        ("page", Code::INPUT_MALFORMED),
        ("long", Code::INPUT_TOO_LARGE),
        ("endless", Code::INPUT_TOO_LARGE),
    ] {
        assert_eq!(code(registry().resolve(&server.reference(tag)).await), expected, "{tag}");
    }
}

fn page(entries: usize, from: usize, next: &str) -> Answer {
    let entry = |number: usize| descriptor(number.to_string().as_bytes());
    let index = ImageIndex::new((from..from + entries).map(entry).collect());
    let link = format!("<{next}>; rel=\"next\"");
    let mut headers = vec![("content-type", INDEX)];
    headers.extend((!next.is_empty()).then_some(("link", link.as_str())));
    answer(200, &headers, index.to_json())
}

#[tokio::test]
async fn cve_2024_29902_referrers_without_end_are_refused() {
    let subject = blob(b"subject").digest;
    let asked = AtomicUsize::new(0);
    let endless = serve(move |seen| page(1, asked.fetch_add(1, Ordering::Relaxed), &format!("{}x", seen.target))).await;
    assert_eq!(code(registry().referrers(&endless.repository(), &subject, None).await), Code::INPUT_TOO_LARGE);
    assert_eq!(endless.seen().len(), crate::registry::pull::MAX_PAGES);

    // 10^5 referrers on pages that are well within the bounds, and as many on one.
    let many = serve(|seen| page(5000, 0, &format!("{}x", seen.target))).await;
    assert_eq!(code(registry().referrers(&many.repository(), &subject, None).await), Code::INPUT_TOO_LARGE);
    assert!(many.seen().len() <= 3);
    let crowded = serve(|_| page(100_000, 0, "")).await;
    assert_eq!(code(registry().referrers(&crowded.repository(), &subject, None).await), Code::INPUT_TOO_LARGE);
    assert_eq!(crowded.seen().len(), 1);

    let two = serve(|seen| if seen.target.contains("last") { page(1, 1, "") } else { page(1, 0, "?last=0") }).await;
    assert_eq!(registry().referrers(&two.repository(), &subject, None).await.expect("two pages").len(), 2);
    let itself = serve(|seen| page(1, 0, &seen.target)).await;
    assert_eq!(code(registry().referrers(&itself.repository(), &subject, None).await), Code::NETWORK_REFUSED);
    // A failure on the way is no end, and no reason to look elsewhere.
    let broken = serve(|seen| if seen.target.contains("last") { error(404, "X") } else { page(1, 0, "?last=0") }).await;
    assert_eq!(code(registry().referrers(&broken.repository(), &subject, None).await), Code::ARTIFACT_NOT_FOUND);
    let another = serve(|seen| if seen.target.contains("last") { found() } else { page(1, 0, "?last=0") }).await;
    assert_eq!(code(registry().referrers(&another.repository(), &subject, None).await), Code::NETWORK_REFUSED);
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    let server = serve(|seen| answer(307, &[("location", &seen.target)], "")).await;
    assert_eq!(code(registry().resolve(&server.reference("v1")).await), Code::NETWORK_REFUSED);
    assert_eq!(server.seen().len(), 6);
    assert_eq!(code(registry().blob(&server.repository(), &blob(b"x"), 100).await), Code::NETWORK_REFUSED);
    for nowhere in ["", "http://", "http://storage.example/x", "gopher://127.0.0.1/", "http://a:b@127.0.0.1:1/"] {
        let server = serve(move |_| match nowhere {
            "" => answer(307, &[], ""),
            to => answer(307, &[("location", to)], ""),
        })
        .await;
        assert_eq!(code(registry().resolve(&server.reference("v1")).await), Code::NETWORK_REFUSED, "{nowhere}");
        let outcome = registry().blob(&server.repository(), &blob(b"x"), 100).await;
        assert_eq!(code(outcome), Code::NETWORK_REFUSED, "{nowhere}");
    }
}

/// The query of an address that a registry sends us to is a credential of its own.
#[tokio::test]
async fn signed_addresses_are_not_told_in_errors() {
    let storage = serve(|_| error(418, "TEAPOT")).await;
    let to = storage.url("bucket?signature=hunter2");
    let server = serve(move |seen| match seen.method.as_str() {
        "POST" => answer(202, &[("location", &to)], ""),
        "HEAD" => error(404, "BLOB_UNKNOWN"),
        _ => answer(307, &[("location", &to)], ""),
    })
    .await;
    assert_eq!(code(registry().resolve(&server.reference("v1")).await), Code::NETWORK_REFUSED);
    assert_eq!(code(registry().push_blob(&server.repository(), "x".into()).await), Code::NETWORK_REFUSED);
    assert_eq!(storage.seen().len(), 2);
}

#[tokio::test]
async fn what_passes_is_tried_again_for_a_while() {
    let failures = AtomicUsize::new(0);
    let server = serve(move |_| match failures.fetch_add(1, Ordering::Relaxed) {
        0 => answer(429, &[("retry-after", "0")], ""),
        1 | 2 => error(503, "UNAVAILABLE"),
        _ => found(),
    })
    .await;
    registry().resolve(&server.reference("v1")).await.expect("at last");
    assert_eq!(server.seen().len(), 4);
    for status in [429, 500, 502, 503, 504] {
        let never = serve(move |_| error(status, "LATER")).await;
        assert_eq!(code(registry().resolve(&never.reference("v1")).await), Code::NETWORK_UNREACHABLE, "{status}");
        assert_eq!(never.seen().len(), Pace::default().attempts as usize, "{status}");
    }
    for wait in ["86400", "18446744073709551615"] {
        let tomorrow = serve(move |_| answer(429, &[("retry-after", wait)], "")).await;
        assert_eq!(code(registry().resolve(&tomorrow.reference("v1")).await), Code::NETWORK_UNREACHABLE);
        assert_eq!(tomorrow.seen().len(), 1, "nobody waits a day");
    }
    // Storage that is busy is asked again as well, by way of the registry: what it signed may hold for one request.
    let busy = AtomicUsize::new(0);
    let storage =
        serve(move |_| if busy.fetch_add(1, Ordering::Relaxed) == 0 { error(503, "") } else { answer(200, &[], "x") })
            .await;
    let to = storage.url("x");
    let server = serve(move |_| answer(307, &[("location", &to)], "")).await;
    registry().blob(&server.repository(), &blob(b"x"), 1).await.expect("at last");
    assert_eq!((server.seen().len(), storage.seen().len()), (2, 2));
}

#[tokio::test]
async fn each_refusal_has_its_code_and_the_registrys_words() {
    for (status, word, expected) in [
        (404, "NAME_UNKNOWN", Code::ARTIFACT_NOT_FOUND),
        (401, "UNAUTHORIZED", Code::REGISTRY_UNAUTHORIZED),
        (403, "DENIED", Code::REGISTRY_UNAUTHORIZED),
        (400, "TAG_INVALID", Code::NETWORK_REFUSED),
        (501, "UNSUPPORTED", Code::NETWORK_UNREACHABLE),
    ] {
        let server = serve(move |_| error(status, word)).await;
        let refused = registry().resolve(&server.reference("v1")).await.expect_err(word);
        assert_eq!(refused.code(), expected, "{refused}");
        let told = refused.to_string().contains(&format!("{word}: told so"));
        assert!(told || status == 404, "{refused}");
        assert_eq!(server.seen().len(), 1, "{word}");
    }
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let nobody = Reference::parse(&format!("{unused}/app:v1")).expect("a reference");
    assert_eq!(code(registry().resolve(&nobody).await), Code::NETWORK_UNREACHABLE);
    // What is said is one line, and not a long one.
    let noisy = serve(|_| answer(400, &[], "a\r\nb\u{1b}[31m".repeat(1000))).await;
    let refused = registry().resolve(&noisy.reference("v1")).await.expect_err("noisy").to_string();
    assert!(refused.len() < 500 && !refused.contains(char::is_control), "{refused:?}");
}

#[tokio::test]
async fn a_token_that_expired_is_replaced_once() {
    let server = serve(|seen| guarded(seen, "Basic realm=\"x\"", BASIC, found)).await;
    let registry = with_password();
    let home = registry.inner.homes.of(server.repository().registry());
    let soon = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let outdated = formats::crypto::Secret::new("Bearer outdated".to_owned());
    home.tokens.lock().await.keep("app", crate::registry::auth::Action::Pull, outdated, soon);
    registry.resolve(&server.reference("v1")).await.expect("with a new one");
    assert_eq!(server.seen().len(), 2);
}
