//! Keys and certificates: whether each key opens and signs, what it signs verifies, no certificate is about to expire, and clients
//! are told of exactly these.

use super::{Finding, expiry};
use crate::server::describe::describe;
use crate::server::material::{Material, MaterialError};
use crate::server::tuf;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::sync::Arc;
use waxseal_formats::code::Code;
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::{KeyFiles, KeyPair, Signer as _};

/// How early a warning is due for what has to be made anew by people.
pub const EARLY: SignedDuration = SignedDuration::from_hours(60 * 24);
/// What is signed to see whether a key signs.
const PROBE: &[u8] = b"waxseal doctor";

/// Everything about keys and certificates of a data directory.
#[must_use]
pub fn examine(data_dir: &Path, keys: &Arc<KeyFiles>, now: Timestamp) -> Vec<Finding> {
    let material = match Material::read(data_dir, keys) {
        Ok(material) => material,
        Err(error) => return vec![unreadable(&error)],
    };
    let mut findings = vec![signing(&material)];
    let chains = [("certificate authority", material.ca.chain()), ("timestamp authority", &material.tsa_chain[..])];
    findings.extend(chains.map(|(name, chain)| certificates(name, chain, now)));
    findings.extend(told(data_dir, &material, now));
    findings
}

fn unreadable(error: &MaterialError) -> Finding {
    let finding = Finding::failed("keys", error.code(), error.to_string());
    match error.code() {
        Code::KEY_PASSPHRASE => finding.mend("`keys:` in the configuration says where the passphrase comes from"),
        Code::KEY_PERMISSIONS => finding.mend("chmod 600 the file, and ask who read it meanwhile"),
        _ => finding.mend("restore the data directory from a backup: no key can be made anew"),
    }
}

/// Whether each key signs, and what it signs verifies with the public key that others have.
fn signing(material: &Material) -> Finding {
    const SUBJECT: &str = "keys";
    let named = [
        ("ca", &material.ca_signer),
        ("tsa", &material.tsa_signer),
        ("ct", &material.ct_signer),
        ("rekor-v1", &material.rekor_v1_signer),
    ];
    let named = named.map(|(name, key)| (name.to_owned(), key));
    let shards = material.shards.iter().map(|shard| (shard.name(), &shard.signer));
    let mut count = 0_u32;
    for (name, key) in named.into_iter().chain(shards) {
        if let Err(problem) = signs(key) {
            return Finding::failed(SUBJECT, Code::KEY_UNAVAILABLE, format!("keys/{name}.pem: {problem}"));
        }
        count = count.saturating_add(1);
    }
    let sealed = if material.keys().is_sealed() { "encrypted" } else { "not encrypted" };
    Finding::good(SUBJECT, format!("{count} keys sign ({sealed})"))
}

fn signs(key: &KeyPair) -> Result<(), String> {
    let signature = key.sign(PROBE).map_err(|error| error.to_string())?;
    let verified = key.public_key().verify(key.algorithm(), PROBE, &signature);
    verified.map_err(|_| "what it signs does not verify".to_owned())
}

/// A chain, its own certificate first: each certificate is signed by the next, the last by itself; the first to expire.
fn certificates(name: &str, chain: &[Certificate], now: Timestamp) -> Finding {
    let above = chain.iter().skip(1).chain(chain.last());
    for (certificate, issuer) in chain.iter().zip(above) {
        let signed = issuer.public_key().ok().filter(|key| certificate.verify_signature(key).is_ok());
        if signed.is_none() || certificate.issuer_der() != issuer.subject_der() {
            let found = format!("{} is not signed by the certificate above it", certificate.subject().common_name);
            return Finding::failed(name, Code::CERTIFICATE_CHAIN, found).mend("restore certificates/ from a backup");
        }
        if now < certificate.not_before() {
            let found = format!("not valid before {}", certificate.not_before());
            return Finding::failed(name, Code::CERTIFICATE_EXPIRED, found).mend("is the clock of this machine right?");
        }
    }
    let Some(first) = chain.iter().map(Certificate::not_after).min() else {
        return Finding::failed(name, Code::CERTIFICATE_CHAIN, "there is no certificate");
    };
    let finding = expiry(name, Code::CERTIFICATE_EXPIRED, first, EARLY, now);
    if finding.code.is_some() { finding.mend("make a new authority before that day") } else { finding }
}

/// What clients are told: TUF metadata that is not expired, and in it the trusted root of these keys.
fn told(data_dir: &Path, material: &Material, now: Timestamp) -> Vec<Finding> {
    const SUBJECT: &str = "trust repository";
    let damaged = |error: tuf::TufError| vec![Finding::failed(SUBJECT, error.code(), error.to_string())];
    let published = match tuf::published(data_dir) {
        Ok(Some(published)) => published,
        Ok(None) => {
            let found = "it names no instance";
            return vec![
                Finding::failed(SUBJECT, Code::TRUSTED_ROOT_MISSING, found).mend("restore tuf/ from a backup"),
            ];
        }
        Err(error) => return damaged(error),
    };
    let roles = match tuf::expiries(data_dir) {
        Ok(roles) => roles,
        Err(error) => return damaged(error),
    };
    let mut findings = Vec::new();
    for (role, expires) in roles {
        let subject = format!("{SUBJECT}: {role}");
        // The others are renewed by the running instance.
        let early = if role == "root" { EARLY } else { SignedDuration::ZERO };
        let finding = expiry(&subject, Code::TRUSTED_ROOT_EXPIRED, expires, early, now);
        findings.push(match (finding.code, role) {
            (None, _) => finding,
            (Some(_), "root") => finding.mend("sign a new root with its key before that day"),
            (Some(_), _) => finding.mend("the running instance renews it: start it, and look at its log"),
        });
    }
    let shards = (&material.shards[..], material.frozen);
    let meant = describe(&published.url, material, shards, &published.client).client_trust_config();
    let same = meant.is_ok_and(|meant| meant.trusted_root.to_json().as_bytes() == published.trusted_root);
    findings.push(if same {
        Finding::good(SUBJECT, format!("clients are told of these keys at {}", published.url))
    } else {
        Finding::warning(SUBJECT, Code::TRUSTED_ROOT_MALFORMED, "clients are told of other keys than these")
            .mend("start the instance: it publishes what it has")
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::examine::State;
    use crate::server::writers::tests::authority;
    use waxseal_io::system;

    #[test]
    fn a_chain_has_to_hold_together_and_to_last() {
        let now = system::now();
        let chain = authority().1.chain().to_vec();
        assert_eq!(certificates("ca", &chain, now).state, State::Good);
        let foreign = [chain[0].clone(), authority().1.chain()[1].clone()];
        assert_eq!(certificates("ca", &foreign, now).code, Some(Code::CERTIFICATE_CHAIN));
        assert_eq!(certificates("ca", &[], now).state, State::Failed);
        let end = chain.iter().map(Certificate::not_after).min().expect("an end");
        let soon = end.checked_sub(SignedDuration::from_hours(24 * 30)).expect("a time");
        assert_eq!(certificates("ca", &chain, soon).state, State::Warning);
        let after = end.checked_add(SignedDuration::from_hours(1)).expect("a time");
        assert_eq!(certificates("ca", &chain, after).code, Some(Code::CERTIFICATE_EXPIRED));
        assert_eq!(certificates("ca", &chain, Timestamp::UNIX_EPOCH).state, State::Failed);
    }

    #[test]
    fn keys_that_do_not_open_are_named_with_a_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = Arc::new(KeyFiles::plain());
        let [finding] = examine(folder.path(), &plain, system::now()).try_into().expect("one finding");
        assert_eq!(finding.state, State::Failed);
        let sealed = Arc::new(KeyFiles::sealed(waxseal_formats::crypto::Secret::new("one".to_owned())));
        let mut made = Material::open(folder.path(), "host", None, &sealed, system::now()).expect("made");
        made.complete().expect("whole");
        let [finding] = examine(folder.path(), &plain, system::now()).try_into().expect("one finding");
        assert_eq!((finding.state, finding.code), (State::Failed, Some(Code::KEY_PASSPHRASE)));
        assert!(finding.mend.is_some());
        let opened = examine(folder.path(), &sealed, system::now());
        assert_eq!(opened[0].state, State::Good, "{opened:?}");
        assert!(opened[0].found.starts_with("5 keys sign"), "{opened:?}");
        assert_eq!(opened.last().and_then(|finding| finding.code), Some(Code::TRUSTED_ROOT_MISSING));
    }
}
