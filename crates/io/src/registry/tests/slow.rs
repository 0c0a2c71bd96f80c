//! What drips, stalls and never ends, and what only takes long.

use super::{Answer, Sent, answer, blob, client, code, error, found, guarded, serve, settings};
use super::{Pace, Registry, RegistrySettings};
use crate::registry::client::Body;
use formats::code::Code;
use formats::oci::{Descriptor, MANIFEST};
use futures_util::stream::{self, StreamExt as _};
use std::time::Duration;
use waxseal_formats as formats;

const BRIEF: Duration = Duration::from_millis(300);

fn hurried() -> Registry {
    let pace = Pace { request: BRIEF, window: BRIEF, ..settings().pace };
    client(RegistrySettings { pace, ..settings() })
}

fn dripping() -> Answer {
    let drip = Sent::Drip(Duration::from_millis(10));
    Answer { body: drip, ..answer(200, &[("content-type", MANIFEST)], "") }
}

fn silent() -> Answer {
    Answer { body: Sent::Silence, ..answer(200, &[], "") }
}

#[tokio::test]
async fn cve_2023_33957_what_drips_is_given_up() {
    let huge = Descriptor { size: 1 << 40, ..blob(b"x") };
    for bad in [dripping, silent] {
        let server = serve(move |_| bad()).await;
        let repository = server.repository();
        let registry = hurried();
        assert_eq!(code(registry.resolve(&server.reference("v1")).await), Code::NETWORK_UNREACHABLE);
        assert_eq!(server.seen().len(), 1, "who is slow once is not asked again");
        let (referrers, blob, exists) = tokio::join!(
            registry.referrers(&repository, &huge.digest, None),
            registry.blob(&repository, &huge, 1 << 40),
            registry.blob_exists(&repository, &huge.digest),
        );
        assert_eq!(code(referrers), Code::NETWORK_UNREACHABLE);
        assert_eq!(code(blob), Code::NETWORK_UNREACHABLE);
        assert_eq!(exists.is_ok(), matches!(bad().body, Sent::Drip(_)), "a head is enough to know");
    }
}

#[tokio::test]
async fn realms_and_storage_that_drip_are_given_up() {
    for bad in [dripping, silent] {
        let other = serve(move |_| bad()).await;
        let challenge = format!("Bearer realm=\"{}\"", other.url("token"));
        let server = serve(move |seen| guarded(seen, &challenge, "never", found)).await;
        assert_eq!(code(hurried().resolve(&server.reference("v1")).await), Code::NETWORK_UNREACHABLE);
        let to = other.url("x");
        let server = serve(move |_| answer(307, &[("location", &to)], "")).await;
        let huge = Descriptor { size: 1 << 40, ..blob(b"x") };
        assert_eq!(code(hurried().blob(&server.repository(), &huge, 1 << 40).await), Code::NETWORK_UNREACHABLE);
    }
}

#[tokio::test]
async fn uploads_that_nobody_answers_are_given_up() {
    let silent_elsewhere = serve(|_| silent()).await;
    for to in ["/v2/app/blobs/uploads/1".to_owned(), silent_elsewhere.url("x")] {
        let server = serve(move |seen| match seen.method.as_str() {
            "POST" => answer(202, &[("location", &to)], ""),
            "HEAD" => error(404, "BLOB_UNKNOWN"),
            _ => silent(),
        })
        .await;
        assert_eq!(code(hurried().push_blob(&server.repository(), "content".into()).await), Code::NETWORK_UNREACHABLE);
    }
}

/// An upload that takes longer than a request may, and moves.
#[tokio::test]
async fn what_moves_may_take_its_time() {
    let content = vec![7_u8; 5 * (64 << 10)];
    let from = {
        let content = content.clone();
        serve(move |_| answer(200, &[], content.clone())).await
    };
    let to = serve(|seen| match seen.method.as_str() {
        "POST" => answer(202, &[("location", "/v2/app/blobs/uploads/1")], ""),
        "HEAD" => error(404, "BLOB_UNKNOWN"),
        _ => answer(201, &[], ""),
    })
    .await;
    let announced = blob(&content);
    let pace = Pace { window: BRIEF, ..settings().pace };
    let registry = client(RegistrySettings { pace, ..settings() });
    let mut stream = registry.blob_stream(&from.repository(), &announced).await.expect("it begins");
    let mut read = Vec::new();
    while let Some(part) = stream.next().await.expect("it moves") {
        // Whoever reads may take his time: only waiting for the registry counts.
        if read.is_empty() {
            tokio::time::sleep(BRIEF * 2).await;
        }
        read.extend_from_slice(&part);
    }
    assert_eq!(read, content);
    let parts: Vec<_> = content.chunks(64 << 10).map(<[u8]>::to_vec).collect();
    let slowly = stream::unfold(parts, |mut left| async {
        tokio::time::sleep(BRIEF / 3).await;
        let part = left.pop()?;
        Some((Ok(part.into()), left))
    });
    let (len, body) = (content.len() as u64, Body::Stream(slowly.boxed()));
    registry.upload(&to.repository(), &announced.digest, len, body).await.expect("it moves");
    assert_eq!(to.seen().last().expect("the upload").body.len(), content.len());
}
