//! `cargo xtask bench issue`: certificates of an instance as users start it, each durably in its log before it is answered.
//!
//! Requests are made beforehand: a token each, as when everybody signs once, and one token for all, as when a job signs a lot.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use waxseal::server::idp::{
    Idp,
    claims::{IssuerKind, MintRequest},
};
use waxseal_formats::{crypto::KeyKind, x509::Certificate};
use waxseal_io::signer::{KeyPair, Signer};

use super::{
    figures::{Ratio, Row, Target, cores},
    loader::{self, Load, cpu_of},
    log::CONNECTIONS,
    primitives::{Primitive, Primitives},
};
use crate::interop::{self, Options};

/// Requests before the clock starts, and those that are timed.
const WARM_UP: usize = 500;
const COUNT: usize = 5000;
/// Keys that take turns.
const KEYS: usize = 16;
const IDENTITY: &str = "alice@corp.example";
const PATH: &str = "/api/v2/signingCert";

/// Whose tokens they are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tokens {
    /// Each request has its own.
    Distinct,
    /// All have the same.
    Repeated,
}

impl Tokens {
    const ALL: [Self; 2] = [Self::Distinct, Self::Repeated];

    const fn name(self) -> &'static str {
        match self {
            Self::Distinct => "a token each",
            Self::Repeated => "one token",
        }
    }

    /// What cannot be left out of one certificate. A token that was verified need not be verified again.
    const fn floor(self) -> &'static [Primitive] {
        const ALWAYS: [Primitive; 4] =
            // Possession of the key; precertificate, its timestamp, certificate.
            [Primitive::P256Verify, Primitive::P256Sign, Primitive::P256Sign, Primitive::P256Sign];
        const WITH_TOKEN: [Primitive; 5] = [Primitive::Rsa2048Verify, ALWAYS[0], ALWAYS[1], ALWAYS[2], ALWAYS[3]];
        match self {
            Self::Distinct => &WITH_TOKEN,
            Self::Repeated => &ALWAYS,
        }
    }
}

/// Both kinds of tokens with each number of connections.
pub(super) fn measure(waxseal: &Path, folder: &Path, primitives: &Primitives) -> anyhow::Result<Vec<Row>> {
    interop::with_instance(waxseal, folder, &Options::default(), |variables| {
        let value = |name: &str| variables.value(name).with_context(|| name.to_owned());
        let origin = value("origin")?;
        let address: SocketAddr = origin.trim_start_matches("http://").parse()?;
        let process: u32 = value("process")?.parse()?;
        let idp = Idp::open(Path::new(value("data")?), origin)?;
        let mut rows = Vec::new();
        for tokens in Tokens::ALL {
            let sum: f64 = tokens.floor().iter().map(|primitive| primitives.cost(*primitive).0).sum();
            for connections in CONNECTIONS {
                let requests = requests(&idp, address, tokens)?;
                let load = Load {
                    address,
                    connections,
                    warm_up: WARM_UP,
                    count: COUNT,
                    request: &|number, into| into.extend_from_slice(requests.get(number).map_or(&[], Vec::as_slice)),
                    status: 200,
                    server_cpu: &|| cpu_of(process),
                };
                let answered = loader::load(&load)?;
                ensure!(!answered.bodies.is_empty(), "no answer was kept");
                answered.bodies.iter().try_for_each(|body| check(body))?;
                let share = answered.rate * sum / 1e6 / cores();
                let ratios = if connections == 1 {
                    Vec::new()
                } else {
                    vec![Ratio::new("of cores / sum of primitives", share, Target::AtLeast(0.55))]
                };
                rows.push(Row { name: format!("certificates, {}, {connections}", tokens.name()), answered, ratios });
            }
        }
        Ok(rows)
    })
}

/// One request each, with some for connections that are not waited for at the end.
fn requests(idp: &Idp, address: SocketAddr, tokens: Tokens) -> anyhow::Result<Vec<Vec<u8>>> {
    let keys = (0..KEYS).map(|_| Ok(KeyPair::generate(KeyKind::EcdsaP256)?));
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    let first = token(idp, 0)?;
    (0..WARM_UP + COUNT + CONNECTIONS[CONNECTIONS.len() - 1])
        .zip(keys.iter().cycle())
        .map(|(number, key)| {
            let token = if tokens == Tokens::Repeated { first.clone() } else { token(idp, number)? };
            let body = json!({
                "credentials": {"oidcIdentityToken": token},
                "publicKeyRequest": {
                    "publicKey": {"algorithm": "ECDSA", "content": key.public_key().to_pem()},
                    "proofOfPossession": STANDARD.encode(key.sign(IDENTITY.as_bytes())?),
                },
            });
            Ok(loader::post(PATH, address, "application/json", body.to_string().as_bytes()))
        })
        .collect()
}

fn token(idp: &Idp, number: usize) -> anyhow::Result<String> {
    let request = MintRequest {
        issuer: IssuerKind::Email,
        identity: IDENTITY.to_owned(),
        audience: "sigstore".to_owned(),
        claims: Map::from_iter([("jti".to_owned(), json!(format!("bench-{number}")))]),
    };
    Ok(idp.mint(&request)?)
}

/// The answer is a certificate with a promise of the log in it.
fn check(answer: &[u8]) -> anyhow::Result<()> {
    let answer: Value = serde_json::from_slice(answer)?;
    let leaf = answer.pointer("/signedCertificateEmbeddedSct/chain/certificates/0").and_then(Value::as_str);
    let leaf = Certificate::from_pem(leaf.context("no certificate")?)?;
    ensure!(leaf.sct_list().is_some(), "no certificate timestamp");
    Ok(())
}
