//! Rules on `cargo metadata`: who may depend on whom, and what is released.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Finding,
    repository::{Package, Repository},
};

/// The crates that decide; they share a clippy.toml.
pub(super) const ENGINES: &[&str] = &["formats", "verify", "policy", "log", "authority"];

/// Which crates of ours each crate of ours may use. Tests may use testkit besides.
const EDGES: &[(&str, &[&str])] = &[
    ("waxseal-formats", &[]),
    ("waxseal-verify", &["waxseal-formats"]),
    ("waxseal-policy", &["waxseal-formats", "waxseal-verify"]),
    // The log engine checks what it records with formats alone; it has no need to verify a bundle.
    ("waxseal-log", &["waxseal-formats"]),
    ("waxseal-authority", &["waxseal-formats", "waxseal-verify"]),
    ("waxseal-io", &["waxseal-formats"]),
    (
        "waxseal",
        &["waxseal-formats", "waxseal-verify", "waxseal-policy", "waxseal-log", "waxseal-authority", "waxseal-io"],
    ),
    // Every crate has testkit as a dev-dependency, so it must stand below all of them.
    ("waxseal-testkit", &[]),
];

/// Packages that no crate uses: they may use any.
const TOPS: &[&str] = &["waxseal-tests", "xtask"];

pub(super) fn crate_edges(repository: &Repository) -> Vec<Finding> {
    let members: Vec<&Package> = repository.metadata.members().collect();
    let names: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in members.iter().filter(|package| !TOPS.contains(&package.name.as_str())) {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            findings
                .push(Finding::new(&package.name, "has no row in the table of crate edges (xtask/src/tidy/graph.rs)"));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let for_tests = dependency.kind.as_deref() == Some("dev") && name == "waxseal-testkit";
            if names.contains(name) && !allowed.contains(&name) && !for_tests {
                findings.push(Finding::new(&package.name, format!("must not depend on {name}")));
            }
        }
    }
    findings
}

/// What can reach a clock, a socket, a file or a thread pool.
const ACTING: &[&str] = &[
    "axum",
    "getrandom",
    "hyper",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "tempfile",
    "tokio",
    "tower",
    "tracing-subscriber",
];

pub(super) fn engine_dependencies(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in repository.metadata.members() {
        let engine = ENGINES.iter().any(|name| package.name == format!("waxseal-{name}"));
        for dependency in package.dependencies.iter().filter(|_| engine) {
            if dependency.kind.as_deref() != Some("dev") && ACTING.contains(&dependency.name.as_str()) {
                findings.push(Finding::new(
                    &package.name,
                    format!("is an engine and must not depend on {}", dependency.name),
                ));
            }
        }
    }
    findings
}

/// A crate that must not be released: at all, or below a version.
struct Ban {
    name: &'static str,
    /// Versions from here on are fine; `None` bans every version.
    below: Option<(u64, u64)>,
    why: &'static str,
}

const fn ban(name: &'static str, below: Option<(u64, u64)>, why: &'static str) -> Ban {
    Ban { name, below, why }
}

const BANS: &[Ban] = &[
    ban("ring", None, "a second crypto provider beside aws-lc-rs"),
    ban("openssl-sys", None, "a second crypto provider beside aws-lc-rs"),
    ban("native-tls", None, "a second TLS stack beside rustls"),
    ban("rsa", None, "RUSTSEC-2023-0071: timing of RSA decryption"),
    ban("serde_yaml", None, "unmaintained; serde-saphyr reads YAML"),
    ban("chrono", None, "a second date type beside jiff"),
    ban("der", Some((0, 8)), "an older generation of the ASN.1 crates"),
    ban("spki", Some((0, 8)), "an older generation of the ASN.1 crates"),
    ban("x509-cert", Some((0, 3)), "an older generation of the ASN.1 crates"),
    ban("const-oid", Some((0, 10)), "an older generation of the ASN.1 crates"),
    ban("reqwest", Some((0, 13)), "an older HTTP client"),
    ban("hyper", Some((1, 0)), "an older HTTP stack"),
    ban("rustls", Some((0, 23)), "an older TLS stack"),
];

pub(super) fn banned_crates(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for krate in &repository.released {
        for ban in BANS.iter().filter(|ban| ban.name == krate.name) {
            if ban.below.is_none_or(|floor| major_minor(&krate.version) < floor) {
                findings.push(Finding::new(format!("{} {}", krate.name, krate.version), ban.why));
            }
        }
    }
    findings
}

/// Crates of the release graph with more than one version.
pub(super) fn duplicates(repository: &Repository) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for krate in &repository.released {
        versions.entry(&krate.name).or_default().push(&krate.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

/// The first two numbers of a version: enough to order what [`BANS`] names.
fn major_minor(version: &str) -> (u64, u64) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

pub(super) fn one_test_binary(repository: &Repository) -> Vec<Finding> {
    let mut binaries = Vec::new();
    for package in repository.metadata.members() {
        for target in &package.targets {
            if target.kind.iter().any(|kind| kind == "test") {
                binaries.push((package.name.as_str(), target.name.as_str()));
            }
        }
    }
    if binaries == [("waxseal-tests", "waxseal")] {
        return Vec::new();
    }
    let list: Vec<String> = binaries.iter().map(|(package, name)| format!("{package}/{name}")).collect();
    vec![Finding::new(
        "[[test]]",
        format!("the one test binary is waxseal-tests/waxseal, there are: {}", list.join(", ")),
    )]
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A workspace of one package with one dependency.
    fn depends(package: &str, dependency: &str, kind: Option<&str>) -> Repository {
        Repository::with(json!({
            "packages": [
                {"id": "p", "name": package, "dependencies": [{"name": dependency, "kind": kind}]},
                {"id": "d", "name": dependency},
            ],
            "workspace_members": ["p", "d"],
        }))
    }

    fn test_binaries(names: &[(&str, &str)]) -> Repository {
        let packages: Vec<Value> = names
            .iter()
            .map(|(package, name)| {
                json!({"id": package, "name": package, "targets": [{"name": name, "kind": ["test"]}]})
            })
            .collect();
        let members: Vec<&str> = names.iter().map(|(package, _)| *package).collect();
        Repository::with(json!({"packages": packages, "workspace_members": members}))
    }

    pub(in crate::tidy) fn samples() -> Vec<(&'static str, Vec<Repository>)> {
        vec![
            (
                "crate-edges",
                vec![
                    depends("waxseal-formats", "waxseal-verify", None),
                    depends("waxseal-verify", "waxseal-io", None),
                    depends("waxseal-verify", "waxseal-policy", None),
                    depends("waxseal-policy", "waxseal-authority", None),
                    depends("waxseal-authority", "waxseal-policy", None),
                    depends("waxseal-log", "waxseal-authority", None),
                    depends("waxseal-authority", "waxseal-log", None),
                    depends("waxseal-io", "waxseal-verify", None),
                    depends("waxseal-verify", "waxseal", Some("dev")),
                    depends("waxseal-verify", "waxseal-testkit", None),
                    depends("waxseal-testkit", "waxseal-formats", None),
                    depends("waxseal-newcomer", "waxseal-formats", None),
                ],
            ),
            (
                "engine-dependencies",
                vec![depends("waxseal-log", "tokio", None), depends("waxseal-formats", "rand", None)],
            ),
            (
                "banned-crates",
                vec![
                    Repository::releasing("ring v0.17.14"),
                    Repository::releasing("der v0.7.10"),
                    Repository::releasing("hyper v0.14.32"),
                    Repository::releasing("rustls v0.22.4"),
                ],
            ),
            (
                "one-test-binary",
                vec![test_binaries(&[]), test_binaries(&[("waxseal-tests", "waxseal"), ("waxseal-log", "crash")])],
            ),
        ]
    }

    #[test]
    fn the_drawn_edges_pass() {
        assert!(crate_edges(&depends("waxseal", "waxseal-log", None)).is_empty());
        assert!(crate_edges(&depends("waxseal-authority", "waxseal-verify", None)).is_empty());
        assert!(crate_edges(&depends("waxseal-policy", "waxseal-verify", None)).is_empty());
        assert!(crate_edges(&depends("waxseal-tests", "waxseal", Some("dev"))).is_empty());
        let test_only = depends("waxseal-verify", "waxseal-testkit", Some("dev"));
        assert!(crate_edges(&test_only).is_empty());
        assert!(engine_dependencies(&depends("waxseal-io", "tokio", None)).is_empty());
        assert!(one_test_binary(&test_binaries(&[("waxseal-tests", "waxseal")])).is_empty());
    }

    #[test]
    fn bans_hold_for_what_is_released() {
        assert!(banned_crates(&Repository::releasing("der v0.8.3")).is_empty());
        assert!(banned_crates(&Repository::releasing("der v0.10.0")).is_empty());
        assert!(banned_crates(&Repository::releasing("hyper v1.12.0")).is_empty());
    }
}
