//! Recorded bundles, and both verdicts on them.

use serde_json::Value;
use sigstore_verify::trust_root::TrustedRoot as TheirRoot;
use sigstore_verify::types::{
    Artifact as TheirArtifact, ArtifactDigest, Bundle as TheirBundle, DerPublicKey, HashAlgorithm as TheirAlgorithm,
};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, Verifier};
use waxseal_formats::bundle::Bundle;
use waxseal_formats::crypto::{Digest, PublicKey};
use waxseal_formats::pattern::Pattern;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_testkit::{Artifact as Given, Signer, Vectors};
use waxseal_verify::bundle::{Policy, verify};
use waxseal_verify::identity::IdentityPolicy;
use waxseal_verify::signature::Artifact;

/// The public-good instance's, as the client has it.
const PUBLIC_GOOD: &[u8] = include_bytes!("../../crates/waxseal/data/public-good-trusted-root.json");

/// A bundle, and what it is to be verified against.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bundle: Vec<u8>,
    pub(crate) artifact: Subject,
    pub(crate) root: Vec<u8>,
    pub(crate) signer: Signer,
    /// The key's text, if a key has to have signed.
    key: Option<String>,
}

/// What was signed.
#[derive(Clone)]
pub(crate) enum Subject {
    Content(Vec<u8>),
    Digest(String),
}

/// Accepted, or why not: our reason code, or the other's sentence.
pub(crate) type Verdict = Result<(), String>;

/// Every recorded bundle with a signer and a readable trusted root, valid or not.
pub(crate) fn all(vectors: &Vectors) -> Vec<Case> {
    let recorded = vectors.private_instance().into_iter().filter(|case| case.file.contains("/bundles/"));
    let instance = recorded.filter_map(|case| {
        let signer = case.signer?;
        let artifact = match &case.artifact {
            Given::File(path) => Subject::Content(vectors.read(path)),
            Given::Digest(digest) => Subject::Digest(digest.clone()),
            Given::Attached => return None,
        };
        let key = if let Signer::Key(path) = &signer { Some(vectors.text(path)) } else { None };
        let root = vectors.read(case.trusted_root.as_deref()?);
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let name = format!("{} by {}", last(&case.file), last(case.trusted_root.as_deref()?));
        Some(Case { name, bundle: vectors.read(&case.file), artifact, root, signer, key })
    });
    let public = vectors.conformance().into_iter().map(|case| Case {
        name: case.name,
        bundle: case.bundle,
        artifact: Subject::Content(case.artifact),
        root: case.trusted_root.unwrap_or_else(|| PUBLIC_GOOD.to_vec()),
        signer: Signer::Keyless { identity: case.identity, issuer: Some(case.issuer) },
        key: case.key,
    });
    instance.chain(public).collect()
}

/// What both verifiers make of a case before any bundle is seen.
pub(crate) struct Prepared {
    root: Result<TrustedRoot, String>,
    policy: Option<Policy>,
    their_verifier: Result<Verifier, String>,
    their_policy: Option<Box<dyn sigstore_verify::Policy>>,
    now: jiff::Timestamp,
}

impl Case {
    pub(crate) fn prepare(&self) -> Prepared {
        let (policy, their_policy): (Option<Policy>, Option<Box<dyn sigstore_verify::Policy>>) =
            match (&self.key, &self.signer) {
                (Some(pem), _) => (
                    PublicKey::from_pem(pem).ok().map(Policy::Key),
                    DerPublicKey::from_pem(pem).ok().map(|key| Box::new(PublicKeyVerificationPolicy::new(key)) as _),
                ),
                (None, Signer::Keyless { identity, issuer }) => {
                    let issuer = issuer.as_deref().unwrap_or_default();
                    let ours = IdentityPolicy {
                        subject: Pattern::exact(identity),
                        issuer: Pattern::exact(issuer),
                        extensions: Vec::new(),
                    };
                    (Some(Policy::Identities(vec![ours])), Some(Box::new(VerificationPolicy::new(identity, issuer))))
                }
                (None, Signer::Key(_)) => (None, None),
            };
        let text = String::from_utf8_lossy(&self.root);
        let their_root = TheirRoot::from_json(&text).map_err(|error| error.to_string());
        Prepared {
            root: TrustedRoot::from_json(&self.root).map_err(|error| error.code().to_string()),
            policy,
            their_verifier: their_root.and_then(|root| Verifier::new(&root).map_err(|error| error.to_string())),
            their_policy,
            now: jiff::Timestamp::now(),
        }
    }

    /// The bundle as JSON, if it is any.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.bundle).ok()
    }
}

impl Prepared {
    /// Our verdict, from the bundle's bytes.
    pub(crate) fn ours(&self, bundle: &[u8], artifact: &Subject) -> Verdict {
        let root = self.root.as_ref().map_err(Clone::clone)?;
        let policy = self.policy.as_ref().ok_or("key.unsupported")?;
        let artifact = match artifact {
            Subject::Content(content) => Artifact::from_bytes(content),
            Subject::Digest(digest) => Artifact::from_digests(Digest::parse(digest).into_iter().collect()),
        };
        let bundle = Bundle::from_json(bundle).map_err(|error| error.code().to_string())?;
        verify(&bundle, &artifact, root, policy, self.now).map(drop).map_err(|rejection| rejection.code().to_string())
    }

    /// The other's verdict, from the bundle's bytes.
    pub(crate) fn theirs(&self, bundle: &[u8], artifact: &Subject) -> Verdict {
        let verifier = self.their_verifier.as_ref().map_err(Clone::clone)?;
        let policy = self.their_policy.as_deref().ok_or("no policy")?;
        let text = std::str::from_utf8(bundle).map_err(|error| error.to_string())?;
        let bundle = TheirBundle::from_json(text).map_err(|error| error.to_string())?;
        let verdict = match artifact {
            Subject::Content(content) => verifier.verify(content, &bundle, policy),
            Subject::Digest(digest) => verifier.verify(their_digest(digest)?, &bundle, policy),
        };
        verdict.map(drop).map_err(|error| error.to_string())
    }
}

fn their_digest(digest: &str) -> Result<TheirArtifact<'static>, String> {
    let digest = Digest::parse(digest).ok_or("no digest")?;
    let digest = ArtifactDigest::new(TheirAlgorithm::Sha2256, digest.as_bytes().to_vec());
    digest.map(TheirArtifact::from_digest).map_err(|error| error.to_string())
}
