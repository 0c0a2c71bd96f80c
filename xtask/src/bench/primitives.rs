//! What nobody can go below: one signature, one verification, one durable write, on this machine and now.

use std::{fs::File, hint::black_box, io::Write, os::unix::fs::FileExt, path::Path};

use anyhow::anyhow;
use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, VerificationAlgorithm,
    },
};

use super::measure::{Micros, each, per_call, quantile};

/// A cost that the rows are compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Primitive {
    P256Sign,
    P256Verify,
    Ed25519Sign,
    Ed25519Verify,
    Rsa2048Verify,
    /// Of 600 bytes: a log entry, a checkpoint.
    Sha256,
    /// Overwriting 4 KiB of a file whose blocks are allocated, then `fdatasync`.
    Fdatasync,
}

impl Primitive {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::P256Sign => "P-256 sign",
            Self::P256Verify => "P-256 verify",
            Self::Ed25519Sign => "Ed25519 sign",
            Self::Ed25519Verify => "Ed25519 verify",
            Self::Rsa2048Verify => "RSA-2048 verify",
            Self::Sha256 => "SHA-256 of 600 B",
            Self::Fdatasync => "4 KiB overwrite, fdatasync",
        }
    }
}

/// What each primitive took.
#[derive(Clone, Debug)]
pub(crate) struct Primitives {
    pub costs: Vec<(Primitive, Micros)>,
    pub fdatasync_p99: Micros,
}

/// As long as what is signed here.
const MESSAGE: [u8; 600] = [7; 600];

impl Primitives {
    /// Measures them; the durable write in `folder`.
    pub(crate) fn measure(folder: &Path) -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let ed25519 = Ed25519KeyPair::generate()?;
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let mut rsa_signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, &MESSAGE, &mut rsa_signature)?;
        let writes = durable_writes(folder)?;
        let costs = vec![
            (Primitive::P256Sign, per_call(|| Ok(p256.sign(&random, &MESSAGE)?))?),
            (
                Primitive::P256Verify,
                verify(&ECDSA_P256_SHA256_ASN1, p256.public_key().as_ref(), p256.sign(&random, &MESSAGE)?.as_ref())?,
            ),
            (Primitive::Ed25519Sign, per_call(|| Ok(ed25519.sign(black_box(&MESSAGE))))?),
            (
                Primitive::Ed25519Verify,
                verify(&ED25519, ed25519.public_key().as_ref(), ed25519.sign(&MESSAGE).as_ref())?,
            ),
            (Primitive::Rsa2048Verify, verify(&RSA_PKCS1_2048_8192_SHA256, rsa.public_key().as_ref(), &rsa_signature)?),
            (Primitive::Sha256, per_call(|| Ok(digest::digest(&digest::SHA256, black_box(&MESSAGE))))?),
            (Primitive::Fdatasync, quantile(writes.clone(), 0.5).into()),
        ];
        Ok(Self { costs, fdatasync_p99: quantile(writes, 0.99).into() })
    }

    pub(crate) fn cost(&self, primitive: Primitive) -> Micros {
        let found = self.costs.iter().find(|(found, _)| *found == primitive);
        found.map_or(Micros(f64::NAN), |(_, cost)| *cost)
    }
}

/// A key parsed once, as a verifier that lives longer than one signature would have it.
fn verify(algorithm: &'static dyn VerificationAlgorithm, key: &[u8], signature: &[u8]) -> anyhow::Result<Micros> {
    let key = ParsedPublicKey::new(algorithm, key).map_err(|error| anyhow!("a key of ours: {error}"))?;
    per_call(|| Ok(key.verify_sig(black_box(&MESSAGE), signature)?))
}

fn durable_writes(folder: &Path) -> anyhow::Result<Vec<std::time::Duration>> {
    const BLOCK: usize = 4096;
    const BLOCKS: usize = 1024;
    let mut file = File::create_new(folder.join("durable-writes"))?;
    file.write_all(&vec![0; BLOCK * BLOCKS])?;
    file.sync_all()?;
    let mut block = 0;
    each(BLOCKS, || {
        file.write_all_at(&[1; BLOCK], u64::try_from(block * BLOCK)?)?;
        block += 1;
        Ok(file.sync_data()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_primitive_takes_time() {
        let folder = tempfile::tempdir().unwrap();
        let measured = Primitives::measure(folder.path()).unwrap();
        for (primitive, cost) in &measured.costs {
            assert!(cost.0 > 0.0, "{}", primitive.name());
        }
        assert!(measured.fdatasync_p99 >= measured.cost(Primitive::Fdatasync));
    }
}
