//! The verifier against bundles that nobody here wrote.

mod attacks;
mod conformance;
mod mutants;
mod private_instance;

use waxseal_formats::bundle::Bundle;
use waxseal_formats::crypto::{Digest, HashAlgorithm, PublicKey};
use waxseal_formats::pattern::Pattern;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_verify::bundle::{Evidence, Policy, verify};
use waxseal_verify::identity::IdentityPolicy;
use waxseal_verify::signature::Artifact;

/// The verdict of the whole walk from bytes: evidence, or a reason code.
fn judge(
    bundle: &[u8],
    artifact: &Artifact,
    root: &[u8],
    policy: &Policy,
    now: jiff::Timestamp,
) -> Result<Evidence, &'static str> {
    let root = TrustedRoot::from_json(root).map_err(|error| error.code().as_str())?;
    let bundle = Bundle::from_json(bundle).map_err(|error| error.code().as_str())?;
    verify(&bundle, artifact, &root, policy, now).map_err(|rejection| rejection.code().as_str())
}

fn identity(subject: &str, issuer: &str) -> Policy {
    Policy::Identities(vec![IdentityPolicy {
        subject: Pattern::exact(subject),
        issuer: Pattern::exact(issuer),
        extensions: Vec::new(),
    }])
}

fn key(pem: &str) -> Option<Policy> {
    PublicKey::from_pem(pem).ok().map(Policy::Key)
}

fn by_digest(artifact: &[u8]) -> Artifact {
    Artifact::from_digests(vec![HashAlgorithm::Sha256.digest(artifact)])
}

fn parsed_digest(text: &str) -> Artifact {
    Artifact::from_digests(vec![Digest::parse(text).expect("a digest")])
}
