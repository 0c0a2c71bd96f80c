//! Seeded changes to what is covered, on bundles of all kinds and on layouts: every one is refused, for a reason that the changed part can
//! give.

use super::{identity, judge, key, parsed_digest};
use crate::layout::{IMAGE, LayoutCopy};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use waxseal::client::image::Place;
use waxseal::client::image::attached::Wanted;
use waxseal::client::image::verify::{self as image, Demand};
use waxseal_formats::crypto::Digest;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_testkit::mutant::{Draw, Part, mutate};
use waxseal_testkit::{Artifact as Given, ExpectedVerdict, Signer, Vectors, vectors};
use waxseal_verify::bundle::{Policy, Requirements};
use waxseal_verify::signature::Artifact;

const NOW: &str = "2026-11-25T00:00:00Z";
const SEED: u64 = 0x7761_7873_6561_6c00;
/// How often each part of a bundle is changed.
const DRAWS: usize = 2;

/// A bundle that verifies, and what it is about.
struct Good {
    name: String,
    bundle: Value,
    /// Empty where only the digest is known.
    artifact: Vec<u8>,
    digest: Option<String>,
    root: Vec<u8>,
    policy: Policy,
}

impl Good {
    fn verdict(&self, bundle: &Value, artifact: &[u8]) -> Result<(), &'static str> {
        let artifact = self.digest.as_deref().map_or_else(|| Artifact::from_bytes(artifact), parsed_digest);
        let now = NOW.parse().expect("a time");
        judge(bundle.to_string().as_bytes(), &artifact, &self.root, &self.policy, now).map(drop)
    }
}

/// Every recorded bundle that verifies: by cosign, sigstore-python and sigstore-js, over files and images, by certificates and a key,
/// in both logs, with and without timestamps; and the public instance's, which has the older versions too.
fn good(vectors: &Vectors) -> Vec<Good> {
    let instance = vectors
        .private_instance()
        .into_iter()
        .filter(|case| case.file.starts_with("private-instance/bundles/") && case.verdict == ExpectedVerdict::Ok);
    let instance = instance.map(|case| {
        let (artifact, digest) = match &case.artifact {
            Given::File(path) => (vectors.read(path), None),
            Given::Digest(digest) => (Vec::new(), Some(digest.clone())),
            Given::Attached => panic!("{case:?}"),
        };
        let policy = match case.signer.as_ref().expect("a signer") {
            Signer::Keyless { identity: subject, issuer } => identity(subject, issuer.as_deref().unwrap_or_default()),
            Signer::Key(path) => key(&vectors.text(path)).expect("a public key"),
        };
        let root = vectors.read(case.trusted_root.as_deref().expect("a trusted root"));
        let bundle = serde_json::from_slice(&vectors.read(&case.file)).expect("JSON");
        Good { name: case.file, bundle, artifact, digest, root, policy }
    });
    let public = vectors.conformance().into_iter().filter(|case| case.positive).map(|case| Good {
        bundle: serde_json::from_slice(&case.bundle).expect("JSON"),
        artifact: case.artifact,
        digest: None,
        root: case.trusted_root.unwrap_or_else(|| waxseal::client::PUBLIC_GOOD_TRUSTED_ROOT.to_vec()),
        policy: match &case.key {
            None => identity(&case.identity, &case.issuer),
            Some(pem) => key(pem).expect("a public key"),
        },
        name: case.name,
    });
    instance.chain(public).collect()
}

#[test]
fn five_hundred_changes_to_what_is_covered() {
    let Some(vectors) = vectors() else { return };
    let mut draw = Draw::seeded(SEED);
    let (mut refused, mut wrong, mut kinds) = (BTreeMap::<_, BTreeMap<_, usize>>::new(), Vec::new(), BTreeSet::new());
    for good in good(&vectors) {
        assert_eq!(good.verdict(&good.bundle, &good.artifact), Ok(()), "{} unchanged", good.name);
        kinds.insert(kind(&good.bundle));
        for part in Part::ALL {
            for _ in 0..DRAWS {
                let (mut bundle, mut artifact) = (good.bundle.clone(), good.artifact.clone());
                let Some(how) = mutate(&mut bundle, &mut artifact, part, &mut draw) else { continue };
                match good.verdict(&bundle, &artifact) {
                    Err(code) if reasons(part).contains(&code) => {
                        *refused.entry(part).or_default().entry(code).or_default() += 1;
                    }
                    verdict => wrong.push(format!("{} {part:?} {how}: {verdict:?}", good.name)),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let count: usize = refused.values().flat_map(BTreeMap::values).sum();
    assert!(count >= 500, "only {count}");
    assert_eq!(refused.len(), Part::ALL.len(), "each part was changed somewhere");
    for sort in ["0.1 message", "0.2 envelope", "0.2 message", "0.3 envelope", "0.3 message"] {
        assert!(kinds.iter().any(|kind| kind.contains(sort)), "{sort}");
    }
    for entry in ["hashedrekord 0.0.1", "hashedrekord 0.0.2", "dsse 0.0.1", "intoto 0.0.2"] {
        assert!(kinds.iter().any(|kind| kind.ends_with(entry)), "{entry}");
    }
}

/// Version, content, and log of a bundle.
fn kind(bundle: &Value) -> String {
    let text = |pointer: &str| bundle.pointer(pointer).and_then(Value::as_str).unwrap_or("none").to_owned();
    let version: String = text("/mediaType").chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let content = if bundle.get("dsseEnvelope").is_some() { "envelope" } else { "message" };
    let entry = "/verificationMaterial/tlogEntries/0/kindVersion";
    format!("{version} {content} {} {}", text(&format!("{entry}/kind")), text(&format!("{entry}/version")))
}

/// The reasons that a change to a part can give: the check that covers it, and those that come before because they read it.
fn reasons(part: Part) -> &'static [&'static str] {
    match part {
        Part::Artifact => &["signature.digest-mismatch", "statement.subject"],
        Part::Signature | Part::Payload | Part::PayloadType => &["signature.invalid"],
        Part::MessageDigest => &["signature.digest-mismatch"],
        // Unreadable, another key's, another than the logged one, or nobody's.
        Part::Certificate => &[
            "bundle.malformed",
            "certificate.malformed",
            "certificate.chain",
            "certificate.extension",
            "key.unsupported",
            "log.entry-mismatch",
            "signature.invalid",
        ],
        Part::KeyHint => &["signature.key-mismatch"],
        // The body is read and compared before the promise and the proof, which cover what nobody compares.
        Part::Body => {
            &["log.entry-mismatch", "log.entry-kind", "log.entry-malformed", "log.set-invalid", "log.proof-invalid"]
        }
        // A hash of another length is no hash.
        Part::ProofHash => &["log.proof-invalid", "bundle.malformed"],
        Part::RootHash => &["log.checkpoint-root", "bundle.malformed"],
        Part::TreeSize => &["log.checkpoint-root", "log.index", "bundle.malformed"],
        Part::ProofIndex => &["log.index", "log.proof-invalid", "bundle.malformed"],
        // Rekor v1 signs the index, in Rekor v2 it is the proof's.
        Part::LogIndex => &["log.index", "log.set-invalid"],
        Part::LogId => &["log.unknown"],
        Part::Kind => &["log.entry-kind"],
        Part::IntegratedTime | Part::Promise => &["log.set-invalid"],
        // The first line names the log, and with it the kinds of entries that it takes.
        Part::CheckpointText => {
            &["log.checkpoint-signature", "log.checkpoint-malformed", "log.checkpoint-root", "log.entry-kind"]
        }
        Part::CheckpointSignature => &["log.checkpoint-signature", "log.checkpoint-malformed"],
        Part::TimestampInfo | Part::TimestampDigest | Part::TimestampSignature => &["time.token-invalid"],
    }
}

/// The verdict on the image of a layout, in this process.
fn image_verdict(vectors: &Vectors, copy: &LayoutCopy) -> Result<(), &'static str> {
    let root = TrustedRoot::from_json(&vectors.read("private-instance/trusted_root.json")).expect("a trusted root");
    let types = ["https://sigstore.dev/cosign/sign/v1".to_owned()];
    let policy = identity("alice@corp.example", "http://127.0.0.1:7480/idp");
    let demand = Demand {
        wanted: Wanted::Signatures(&types),
        policy: &policy,
        requirements: Requirements::default(),
        policies: None,
        annotations: &[],
        signers: 1,
        root: &root,
        now: NOW.parse().expect("a time"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let place = Place::layout(copy.path()).map_err(|error| error.code().as_str())?;
        let digest = Digest::parse(IMAGE).expect("a digest");
        let image = place.manifest(&digest).await.map_err(|error| error.code().as_str())?;
        image::verify(&place, &image, &demand).await.map(drop).map_err(|refusal| refusal.code().as_str())
    })
}

/// The digests of the image's manifest, of the signature's, and of the blob that the latter has.
fn signed_blobs(copy: &LayoutCopy, suffix: Option<&str>) -> [String; 3] {
    let index = copy.index();
    let manifest = index["manifests"][copy.place(suffix)]["digest"].as_str().expect("a digest").to_owned();
    let parsed: Value = serde_json::from_slice(&copy.blob(&manifest)).expect("JSON");
    let layer = parsed["layers"][0]["digest"].as_str().expect("a digest").to_owned();
    [IMAGE.to_owned(), manifest, layer]
}

/// Whoever stores a layout changes a byte of the image or of its signature.
#[test]
fn changes_to_the_files_of_a_layout() {
    let Some(vectors) = vectors() else { return };
    let mut draw = Draw::seeded(SEED);
    for (layout, suffix) in [("app-referrers", None), ("cosign2-legacy-rekor1", Some(".sig"))] {
        let copy = LayoutCopy::of(&vectors, layout);
        assert_eq!(image_verdict(&vectors, &copy), Ok(()), "{layout}");
        for digest in signed_blobs(&copy, suffix) {
            let was = copy.blob(&digest);
            for _ in 0..5 {
                let mut bytes = was.clone();
                let place = draw.below(bytes.len());
                bytes[place] ^= 1 << draw.below(8);
                std::fs::write(copy.file(&digest), bytes).expect("written");
                let verdict = image_verdict(&vectors, &copy);
                assert_eq!(verdict, Err("signature.digest-mismatch"), "{layout} {digest} at {place}");
            }
            std::fs::write(copy.file(&digest), was).expect("written");
        }
        assert_eq!(image_verdict(&vectors, &copy), Ok(()), "{layout} as it was");
    }
}

/// And adapts every digest, so that it is the bundle itself that has to be found wrong.
#[test]
fn changes_to_the_bundle_of_an_image() {
    let Some(vectors) = vectors() else { return };
    let mut draw = Draw::seeded(SEED);
    let mut count = 0;
    for layout in ["app-referrers", "app-fallback-tag"] {
        for part in Part::ALL {
            let copy = LayoutCopy::of(&vectors, layout);
            let [_, signature, _] = signed_blobs(&copy, None);
            let place = copy.index()["manifests"]
                .as_array()
                .expect("a list")
                .iter()
                .position(|e| e["digest"] == signature.as_str());
            let mut how = None;
            copy.change(place.expect("the signature"), |_, manifest| {
                copy.exchange(&mut manifest["layers"][0], |content| {
                    let mut bundle = serde_json::from_slice(content).expect("JSON");
                    how = mutate(&mut bundle, &mut Vec::new(), part, &mut draw);
                    *content = bundle.to_string().into_bytes();
                });
            });
            let verdict = image_verdict(&vectors, &copy);
            match (&how, verdict) {
                (Some(_), Err(code)) if reasons(part).contains(&code) => count += 1,
                (None, Ok(())) => {}
                _ => panic!("{layout} {part:?} {how:?}: {verdict:?}"),
            }
        }
    }
    assert!(count >= 25, "only {count}");
}
