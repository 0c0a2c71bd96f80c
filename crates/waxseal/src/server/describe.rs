//! What clients are told of an instance: its logs with their addresses and windows, its authorities, where to log in.

use crate::server::material::{Frozen, Material, Shard, valid_for};
use crate::server::rekor_v2::SHARD_PATH;
use jiff::SignedDuration;
use waxseal_authority::trusted_root as description;
use waxseal_formats::client_config::ClientConfig;
use waxseal_formats::trusted_root::Validity;
use waxseal_io::signer::Signer;
use waxseal_log::profile::rekor_v1_origin;

/// The address of a shard: the last one is at the origin, whether it still takes entries or not.
#[must_use]
pub fn shard_url(url: &str, shards: &[Shard], shard: &Shard) -> String {
    if shards.last().is_some_and(|last| last.number == shard.number) {
        url.to_owned()
    } else {
        format!("{url}{SHARD_PATH}/{}", shard.number)
    }
}

/// The instance at `url` with these shards and frozen logs, which may be about to be those of `material`. All of it is valid since it was
/// made, but for later shards. Of the Rekor logs the one that began last is taken by sigstore-js, so the v1 log began a second
/// before the first shard.
#[must_use]
pub fn describe(
    url: &str,
    material: &Material,
    (shards, frozen): (&[Shard], Frozen),
    client: &ClientConfig,
) -> description::Instance {
    let since_made = Validity::from(material.created);
    let authority = |common_name: &str, chain: Vec<_>| description::Authority {
        common_name: common_name.to_owned(),
        chain,
        valid_for: since_made,
    };
    let before = material.created.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(material.created);
    let rekor_v1 = description::RekorLog {
        url: url.to_owned(),
        version: description::RekorVersion::V1,
        origin: rekor_v1_origin(&material.host, material.rekor_v1_signer.public_key()),
        key: material.rekor_v1_signer.public_key().clone(),
        valid_for: valid_for(before, frozen.rekor_v1),
    };
    let shard = |shard: &Shard| description::RekorLog {
        url: shard_url(url, shards, shard),
        version: description::RekorVersion::V2,
        origin: material.host.clone(),
        key: shard.signer.public_key().clone(),
        valid_for: shard.valid_for(),
    };
    description::Instance {
        url: url.to_owned(),
        operator: material.host.clone(),
        oidc_issuers: Some(client.oidc_issuer.clone()).into_iter().filter(|issuer| !issuer.is_empty()).collect(),
        start: material.created,
        certificate_authorities: vec![authority("waxseal signing", material.ca.chain().to_vec())],
        timestamp_authorities: vec![authority("waxseal timestamp authority", material.tsa_chain.clone())],
        ct_logs: vec![description::CtLog {
            url: format!("{url}/ctlog"),
            key: material.ct_signer.public_key().clone(),
            valid_for: valid_for(material.created, frozen.ct),
        }],
        rekor_logs: [rekor_v1].into_iter().chain(shards.iter().map(shard)).collect(),
    }
}
