//! `cargo xtask bench stamp`: RFC 3161 timestamps of an instance as users start it.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, ensure};
use waxseal_formats::{
    crypto::HashAlgorithm,
    tsp::{CertReq, TimeStampReq, TimeStampToken},
};

use super::{
    figures::{Ratio, Row, Target, cores},
    loader::{self, Load, cpu_of},
    log::CONNECTIONS,
    primitives::{Primitive, Primitives},
};
use crate::interop::{self, Options};

/// Requests before the clock starts, and those that are timed.
const WARM_UP: usize = 500;
const COUNT: usize = 10_000;

/// Each number of connections.
pub(super) fn measure(waxseal: &Path, folder: &Path, primitives: &Primitives) -> anyhow::Result<Vec<Row>> {
    interop::with_instance(waxseal, folder, &Options::default(), |variables| {
        let origin = variables.value("origin").context("origin")?;
        let address: SocketAddr = origin.trim_start_matches("http://").parse()?;
        let process: u32 = variables.value("process").context("process")?.parse()?;
        let requests: anyhow::Result<Vec<Vec<u8>>> = (0..WARM_UP + COUNT)
            .map(|number| {
                let query = query(number)?;
                Ok(loader::post("/api/v1/timestamp", address, "application/timestamp-query", &query))
            })
            .collect();
        let requests = requests?;
        let mut rows = Vec::new();
        for connections in CONNECTIONS {
            let load = Load {
                address,
                connections,
                warm_up: WARM_UP,
                count: COUNT - connections,
                request: &|number, into| into.extend_from_slice(requests.get(number).map_or(&[], Vec::as_slice)),
                status: 200,
                server_cpu: &|| cpu_of(process),
            };
            let answered = loader::load(&load)?;
            ensure!(!answered.bodies.is_empty(), "no answer was kept");
            for body in &answered.bodies {
                TimeStampToken::parse(body)?;
            }
            let ratios = if connections == 1 {
                Vec::new()
            } else {
                let share = answered.rate * primitives.cost(Primitive::P256Sign).0 / 1e6 / cores();
                vec![Ratio::new("of cores / (1 P-256 signature)", share, Target::AtLeast(0.5))]
            };
            rows.push(Row { name: format!("timestamps, {connections}"), answered, ratios });
        }
        Ok(rows)
    })
}

/// What a client asks, each for something else.
fn query(number: usize) -> anyhow::Result<Vec<u8>> {
    let imprint = HashAlgorithm::Sha256.digest(&number.to_be_bytes());
    Ok(TimeStampReq { imprint, policy: None, nonce: None, certificates: CertReq::default() }.to_der()?)
}
