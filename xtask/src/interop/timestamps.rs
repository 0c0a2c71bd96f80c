//! Our timestamps before `openssl ts`: query, answer, verification, and what it has to refuse.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

use super::{
    command::{Site, Variables, Words},
    http::Http,
    parts::Program,
};

/// A query that OpenSSL makes, and how it verifies the answer.
struct Stamp {
    name: &'static str,
    query: Words,
    verify: Words,
}

/// A certificate in the answer has to be asked for; without it the verifier is given one.
const STAMPS: &[Stamp] = &[
    Stamp {
        name: "openssl ts, SHA-256, nonce, certificate",
        query: "ts -query -data {artifact} -sha256 -cert -out {query}",
        verify: "ts -verify -queryfile {query} -in {answer} -CAfile {tsa_root}",
    },
    Stamp {
        name: "openssl ts, SHA-512, no nonce, certificate",
        query: "ts -query -data {artifact} -sha512 -no_nonce -cert -out {query}",
        verify: "ts -verify -data {artifact} -in {answer} -CAfile {tsa_root}",
    },
    Stamp {
        name: "openssl ts, SHA-384, nonce, no certificate",
        query: "ts -query -data {artifact} -sha384 -out {query}",
        verify: "ts -verify -data {artifact} -in {answer} -CAfile {tsa_root} -untrusted {tsa_chain}",
    },
];

/// Runs every row; returns a line a row, and the reports of what went wrong.
pub(crate) fn run(site: &Site, http: &Http, variables: &Variables) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    let origin = variables.value("origin").context("origin")?;
    let chain = String::from_utf8(http.fetch(&format!("{origin}/api/v1/timestamp/certchain"))?)?;
    let variables = certificates(site.folder(), &chain, variables.clone())?;
    for (at, stamp) in STAMPS.iter().enumerate() {
        let faults = row(site, http, stamp, &file_names(site.folder(), at, variables.clone()))?;
        lines.push(format!("{}: {}", stamp.name, if faults.is_empty() { "ok" } else { "WRONG" }));
        wrong.extend(faults.into_iter().map(|fault| format!("{}: {fault}", stamp.name)));
    }
    Ok((lines, wrong))
}

/// Saves the chain that the instance serves, leaf first: OpenSSL is told which one to trust.
fn certificates(folder: &Path, chain: &str, variables: Variables) -> anyhow::Result<Variables> {
    const END: &str = "-----END CERTIFICATE-----";
    let mut certificates: Vec<&str> = chain.split_inclusive(END).filter(|text| text.contains(END)).collect();
    let root = certificates.pop().context("the chain of the timestamp authority is empty")?;
    ensure!(!certificates.is_empty(), "the chain of the timestamp authority lacks its leaf or its root");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    fs::write(path("tsa-root.pem"), root)?;
    fs::write(path("tsa-chain.pem"), certificates.concat())?;
    Ok(variables.with("tsa_root", path("tsa-root.pem")).with("tsa_chain", path("tsa-chain.pem")))
}

fn file_names(folder: &Path, at: usize, variables: Variables) -> Variables {
    let path = |extension: &str| folder.join(format!("stamp-{at}.{extension}")).to_string_lossy().into_owned();
    variables.with("query", path("tsq")).with("answer", path("tsr"))
}

fn row(site: &Site, http: &Http, stamp: &Stamp, variables: &Variables) -> anyhow::Result<Vec<String>> {
    let openssl = |words, variables: &Variables| site.run(Program::Openssl, words, variables);
    openssl(stamp.query, variables)?.demand()?;
    let query = fs::read(variables.value("query").context("query")?)?;
    let origin = variables.value("origin").context("origin")?;
    let answer = http.post(&format!("{origin}/api/v1/timestamp"), "application/timestamp-query", query)?;
    let path = variables.value("answer").context("answer")?;
    fs::write(path, &answer)?;
    let mut faults = Vec::new();
    let genuine = openssl(stamp.verify, variables)?;
    if !genuine.accepted() {
        faults.push(format!("refused\n{}", genuine.report()));
    }
    // The file is another: the query's digest is about the old one, so only `-data` can tell.
    let other = variables.clone().with("artifact", variables.value("changed").context("changed")?);
    let by_data = stamp.verify.replace("-queryfile {query}", "-data {artifact}");
    let changed = site.run(Program::Openssl, &by_data, &other)?;
    if !changed.refused() {
        faults.push(format!("accepted for another file\n{}", changed.report()));
    }
    let mut flipped = answer;
    *flipped.last_mut().context("the answer is empty")? ^= 1;
    fs::write(path, flipped)?;
    let forged = openssl(stamp.verify, variables)?;
    if !forged.refused() {
        faults.push(format!("accepted with a changed signature\n{}", forged.report()));
    }
    Ok(faults)
}
