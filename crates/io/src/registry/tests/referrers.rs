//! Referrers with the registry's list, without it, and with several writers.

use super::{Answer, answer, blob, client, code, descriptor, error, image, registry, serve, settings};
use super::{Arc, BTreeMap, Bytes, Duration, HashAlgorithm, Manifest, Mutex, Pace, RegistrySettings, Seen, Server};
use formats::code::Code;
use formats::oci::{Descriptor, INDEX, ImageIndex, ImageManifest, MANIFEST};
use waxseal_formats as formats;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// An honest registry in memory.
#[derive(Default)]
struct Memory {
    /// Whether it lists what refers to a manifest.
    lists: bool,
    /// By tag or digest: type and content.
    manifests: Mutex<BTreeMap<String, (String, Bytes)>>,
}

impl Memory {
    fn answer(&self, seen: &Seen) -> Answer {
        let mut known = self.manifests.lock().expect("no panic");
        let (kind, name) =
            seen.target.strip_prefix("/v2/app/").and_then(|rest| rest.split_once('/')).unwrap_or_default();
        match (seen.method.as_str(), kind) {
            ("GET", "manifests") => match known.get(name) {
                Some((media_type, content)) => answer(200, &[("content-type", media_type)], content.clone()),
                None => error(404, "MANIFEST_UNKNOWN"),
            },
            ("PUT", "manifests") => {
                let stored = (seen.headers["content-type"].clone(), Bytes::from(seen.body.clone()));
                known.insert(HashAlgorithm::Sha256.digest(&seen.body).to_string(), stored.clone());
                known.insert(name.to_owned(), stored);
                answer(201, &[], "")
            }
            ("GET", "referrers") if self.lists => {
                let of_subject = |content: &Bytes| match Manifest::from_json(content, None) {
                    Ok(Manifest::Image(image)) => {
                        image.subject.as_ref().is_some_and(|subject| subject.digest.to_string() == name)
                    }
                    _ => false,
                };
                let listed = known.iter().filter(|(name, (_, content))| name.contains(':') && of_subject(content));
                let listed = listed.map(|(_, (media_type, content))| Descriptor::of(media_type, content)).collect();
                answer(200, &[("content-type", INDEX)], ImageIndex::new(listed).to_json())
            }
            _ => error(404, "UNSUPPORTED"),
        }
    }
}

async fn honest(lists: bool) -> (Arc<Memory>, Server) {
    let memory = Arc::new(Memory { lists, ..Memory::default() });
    let answering = Arc::clone(&memory);
    (memory, serve(move |seen| answering.answer(seen)).await)
}

fn signature(of: &Descriptor, marker: &str) -> ImageManifest {
    let annotations = [("dev.sigstore.bundle.content".to_owned(), "dsse-envelope".to_owned())].into();
    ImageManifest::referrer(BUNDLE, Descriptor::of(BUNDLE, marker.as_bytes()), of.clone(), annotations)
}

fn fallback_tag(of: &Descriptor) -> String {
    of.digest.to_string().replace(':', "-")
}

#[tokio::test]
async fn cosign_4641_what_is_attached_is_found_with_and_without_a_list() {
    for lists in [true, false] {
        let (memory, server) = honest(lists).await;
        let (registry, repository, subject) = (registry(), server.repository(), descriptor(&image("subject")));
        assert_eq!(registry.referrers(&repository, &subject.digest, None).await.expect("none"), []);
        let mut attached = Vec::new();
        for marker in ["a", "b", "a"] {
            attached.push(registry.attach(&repository, &signature(&subject, marker)).await.expect("attached"));
        }
        let found = registry.referrers(&repository, &subject.digest, None).await.expect("listed");
        assert_eq!(found.len(), 2);
        assert!(attached.iter().all(|digest| found.iter().any(|found| found.digest == *digest)));
        let tagged = memory.manifests.lock().expect("no panic").contains_key(&fallback_tag(&subject));
        assert_eq!(tagged, !lists);
        if !lists {
            for listed in found {
                assert_eq!(listed.artifact_type.as_deref(), Some(BUNDLE));
                assert_eq!(listed.annotations["dev.sigstore.bundle.content"], "dsse-envelope");
            }
        }
    }
}

#[tokio::test]
async fn cosign_2432_writers_at_the_same_time_lose_nothing() {
    let (_, server) = honest(false).await;
    let server = Arc::new(server);
    let subject = descriptor(&image("subject"));
    let tasks: Vec<_> = (0..2)
        .map(|number| {
            let (server, subject) = (Arc::clone(&server), subject.clone());
            tokio::spawn(async move {
                // One client each, as if on machines of their own.
                let pace = Pace { settle: Duration::from_millis(50), ..settings().pace };
                let registry = client(RegistrySettings { pace, ..settings() });
                registry.attach(&server.repository(), &signature(&subject, &number.to_string())).await
            })
        })
        .collect();
    let mut attached = Vec::new();
    for task in tasks {
        attached.push(task.await.expect("no panic").expect("attached"));
    }
    let found = registry().referrers(&server.repository(), &subject.digest, None).await.expect("listed");
    for digest in attached {
        assert!(found.iter().any(|found| found.digest == digest), "{digest} is lost");
    }
}

/// Another writer who always comes right after us and has not read what we wrote.
#[tokio::test]
async fn a_writer_who_always_loses_says_so() {
    let (memory, _) = honest(false).await;
    let server = serve(move |seen| {
        let said = memory.answer(seen);
        if seen.method == "PUT" {
            memory.manifests.lock().expect("no panic").retain(|name, _| !name.starts_with("sha256-"));
        }
        said
    })
    .await;
    let attached = registry().attach(&server.repository(), &signature(&descriptor(&image("subject")), "a")).await;
    assert_eq!(code(attached), Code::NETWORK_REFUSED);
    assert!(server.count("PUT", "sha256-") <= 12);
}

#[tokio::test]
async fn an_image_under_the_fallback_tag_is_no_list_and_is_not_written_over() {
    let (memory, server) = honest(false).await;
    let (registry, subject) = (registry(), descriptor(&image("subject")));
    let somebodys = (MANIFEST.to_owned(), image("somebody's"));
    memory.manifests.lock().expect("no panic").insert(fallback_tag(&subject), somebodys.clone());
    assert_eq!(registry.referrers(&server.repository(), &subject.digest, None).await.expect("no list"), []);
    let attached = registry.attach(&server.repository(), &signature(&subject, "a")).await;
    assert_eq!(code(attached), Code::NETWORK_REFUSED);
    assert_eq!(memory.manifests.lock().expect("no panic")[&fallback_tag(&subject)], somebodys);
}

/// What a list says of its entries is not believed either: an entry is asked for by its digest, and hashed.
#[tokio::test]
async fn entries_that_lead_elsewhere_lead_nowhere() {
    let evil = image("evil");
    let server = serve(move |seen| match seen.target.contains("/referrers/") {
        true => {
            let entry = Descriptor { size: u64::MAX >> 1, ..descriptor(&image("good")) };
            answer(200, &[("content-type", INDEX)], ImageIndex::new(vec![entry]).to_json())
        }
        false => answer(200, &[("content-type", MANIFEST)], evil.clone()),
    })
    .await;
    let (registry, repository) = (registry(), server.repository());
    let found = registry.referrers(&repository, &blob(b"subject").digest, None).await.expect("listed");
    let outcome = registry.resolve(&repository.with_digest(&found[0].digest)).await;
    assert_eq!(code(outcome), Code::SIGNATURE_DIGEST_MISMATCH);
}
