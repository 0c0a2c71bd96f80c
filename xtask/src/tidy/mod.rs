//! `cargo xtask tidy`: the architecture's rules, checked on the sources and the dependency graph.
//!
//! A rule is one row of [`RULES`]; its test below shows it a bad sample that it must refuse.

mod documents;
mod graph;
mod lexer;
mod repository;
mod source;

use std::path::Path;

use anyhow::bail;

use repository::Repository;

/// A rule of the house.
pub(crate) struct Rule {
    /// What a finding is called.
    name: &'static str,
    /// The rule, as a sentence.
    about: &'static str,
    check: fn(&Repository) -> Vec<Finding>,
}

/// A place that breaks a rule.
#[derive(Debug)]
pub(crate) struct Finding {
    /// A file, `FILE:LINE` or a crate.
    place: String,
    /// What is wrong there.
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

/// Each rule; the tests below have a sample of what each refuses.
const RULES: &[Rule] = &[
    Rule {
        name: "crate-edges",
        about: "arrows between crates point down, as in ARCHITECTURE.md",
        check: graph::crate_edges,
    },
    Rule {
        name: "engine-dependencies",
        about: "engines have no dependency that could act",
        check: graph::engine_dependencies,
    },
    Rule {
        name: "banned-crates",
        about: "one crypto provider, one generation of each stack, in what is released",
        check: graph::banned_crates,
    },
    Rule {
        name: "one-test-binary",
        about: "integration tests are one binary: each more would be linked again",
        check: graph::one_test_binary,
    },
    Rule {
        name: "workspace-lints",
        about: "every crate inherits the workspace's lints",
        check: source::workspace_lints,
    },
    Rule { name: "engine-clippy", about: "the engines share one clippy.toml", check: source::engine_clippy },
    Rule { name: "module-walls", about: "modules on one floor do not import each other", check: source::module_walls },
    Rule { name: "engine-acts", about: "engines decide, shells act", check: source::engine_acts },
    Rule {
        name: "one-clock",
        about: "the time of day and random bytes come from waxseal_io::system",
        check: source::one_clock,
    },
    Rule { name: "file-length", about: "a file past 600 lines holds a second concept", check: source::file_length },
    Rule { name: "no-unsafe", about: "no unsafe code", check: source::no_unsafe },
    Rule { name: "no-placeholders", about: "what is in the tree works", check: source::no_placeholders },
    Rule {
        name: "expect-not-allow",
        about: "a lint is set aside with #[expect], which says when it is no longer needed",
        check: source::expect_not_allow,
    },
    Rule { name: "document-links", about: "links within the documents lead somewhere", check: documents::links },
    Rule {
        name: "document-places",
        about: "documents name no place that exists only on one machine",
        check: documents::places,
    },
    Rule {
        name: "reason-codes",
        about: "docs/reason-codes.md lists the codes of waxseal_formats::code, and each is used",
        check: documents::reason_codes,
    },
];

/// Checks every rule on the repository at `root`.
///
/// # Errors
///
/// When a rule is broken; each place has been printed.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let repository = Repository::read(root)?;
    let mut count = 0;
    for rule in RULES {
        let findings = (rule.check)(&repository);
        if findings.is_empty() {
            continue;
        }
        eprintln!("{}: {}", rule.name, rule.about);
        for finding in &findings {
            eprintln!("  {}: {}", finding.place, finding.what);
        }
        count += findings.len();
    }
    for (name, versions) in graph::duplicates(&repository) {
        eprintln!("note: {name} is in the release graph as {}", versions.join(" and "));
    }
    if count > 0 {
        bail!("{count} findings");
    }
    eprintln!("tidy: {} rules, {} files: clean", RULES.len(), repository.files.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each rule with samples that it must refuse.
    fn samples() -> Vec<(&'static str, Vec<Repository>)> {
        let mut samples = graph::tests::samples();
        samples.extend(source::tests::samples());
        samples.extend(documents::tests::samples());
        samples
    }

    #[test]
    fn every_rule_refuses_its_bad_samples() {
        let samples = samples();
        for rule in RULES {
            let (_, bad) = samples
                .iter()
                .find(|(name, _)| *name == rule.name)
                .unwrap_or_else(|| panic!("{} has no bad sample", rule.name));
            for (at, repository) in bad.iter().enumerate() {
                assert!(
                    !(rule.check)(repository).is_empty(),
                    "{} lets its sample {at} pass: {repository:?}",
                    rule.name
                );
            }
        }
    }
}
