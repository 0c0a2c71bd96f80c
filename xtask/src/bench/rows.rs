//! What we do, against an instance of our own: one keyless signature from end to end, and one verification.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use tokio::runtime::Runtime;
use waxseal::client::sign::{Ceremony, Services, SignWith, SigningAlgorithm, ToSign};
use waxseal_formats::{
    bundle::Bundle, crypto::Secret, pattern::Pattern, signing_config::SigningConfig, trusted_root::TrustedRoot,
};
use waxseal_io::{
    system,
    transport::{Http, PlainHttp},
};
use waxseal_verify::{
    bundle::{Policy, verify},
    identity::IdentityPolicy,
    signature::Artifact,
};

use super::{
    Row,
    measure::{per_call, quantile},
    primitives::Primitive,
};
use crate::interop::Variables;

/// Signatures of which the median is taken.
const SIGNATURES: usize = 200;
/// Signatures before those: connections, caches and keys are warm then.
const WARM_UP: usize = 20;

/// What an offline verifier of one bundle of ours cannot leave out.
const VERIFY: &[(Primitive, u32, &str)] = &[
    (Primitive::P256Verify, 1, "artifact"),
    (Primitive::P256Verify, 2, "certificate, intermediate"),
    (Primitive::P256Verify, 1, "certificate timestamp"),
    (Primitive::P256Verify, 2, "timestamp token, its certificate"),
    (Primitive::Ed25519Verify, 1, "checkpoint"),
];

/// What client and instance together cannot leave out of one keyless signature.
const SIGN: &[(Primitive, u32, &str)] = &[
    (Primitive::Rsa2048Verify, 1, "identity token"),
    (Primitive::P256Sign, 2, "proof of possession, artifact"),
    (Primitive::P256Verify, 2, "proof of possession, log entry"),
    (Primitive::P256Sign, 4, "precertificate, its timestamp, certificate, timestamp token"),
    (Primitive::Ed25519Sign, 1, "checkpoint"),
    (Primitive::P256Sign, 1, "checkpoint of the CT log"),
    (Primitive::Fdatasync, 2, "CT log, transparency log"),
    (Primitive::P256Verify, 6, "the new bundle, as an outsider would"),
    (Primitive::Ed25519Verify, 1, "its checkpoint"),
];

/// Measures both at the instance that `variables` name.
pub(super) fn measure(variables: &Variables) -> anyhow::Result<Vec<Row>> {
    let (signed, bundle) = sign_often(variables)?;
    Ok(vec![verified(variables, &bundle)?, signed])
}

/// One keyless signature after another, each from its token to a bundle that verifies.
pub(super) fn sign(variables: &Variables) -> anyhow::Result<Row> {
    Ok(sign_often(variables)?.0)
}

/// What a signature takes, and the last one's bundle.
fn sign_often(variables: &Variables) -> anyhow::Result<(Row, String)> {
    let value = |name: &str| variables.value(name).with_context(|| name.to_owned());
    let root = TrustedRoot::from_json(&fs::read(value("trusted_root")?)?)?;
    let config = SigningConfig::from_json(&fs::read(value("signing_config")?)?)?;
    let services = Services::for_identity(&config, system::now())?;
    let transport = Http::new(PlainHttp::LoopbackOnly);
    let ceremony = Ceremony { transport: &transport, services: &services, root: &root };
    let token = Secret::new(value("token")?.to_owned());
    let with = SignWith::Identity { token: &token, algorithm: SigningAlgorithm::default() };
    let artifact = ToSign::Blob(value("artifact")?.into());

    let runtime = Runtime::new()?;
    let (mut times, mut bundle) = (Vec::<Duration>::new(), None);
    for at in 0..WARM_UP + SIGNATURES {
        let start = std::time::Instant::now();
        let signed = runtime.block_on(ceremony.sign(with, &artifact))?;
        if at >= WARM_UP {
            times.push(start.elapsed());
        }
        bundle = Some(signed.bundle.to_json());
    }
    ensure!(!times.is_empty(), "nothing was timed");
    let row = Row { name: "sign one file keyless, end to end", floor: SIGN, measured: quantile(times, 0.5).into() };
    Ok((row, bundle.context("nothing was signed")?))
}

/// What verifying a bundle takes.
fn verified(variables: &Variables, bundle: &str) -> anyhow::Result<Row> {
    let value = |name: &str| variables.value(name).with_context(|| name.to_owned());
    let root = TrustedRoot::from_json(&fs::read(value("trusted_root")?)?)?;
    let message = Artifact::from_bytes(&fs::read(value("artifact")?)?);
    let policy = Policy::Identities(vec![IdentityPolicy {
        subject: Pattern::exact(value("identity")?),
        issuer: Pattern::exact(value("issuer")?),
        extensions: Vec::new(),
    }]);
    let measured = per_call(|| {
        let bundle = Bundle::from_json(bundle.as_bytes())?;
        Ok(verify(&bundle, &message, &root, &policy, system::now())?)
    })?;
    Ok(Row { name: "verify one bundle, offline", floor: VERIFY, measured })
}
