//! Rules on the documents.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Finding,
    lexer::{self, Kind},
    repository::{File, Repository},
};

fn documents(repository: &Repository) -> impl Iterator<Item = &File> {
    repository.files.iter().filter(|file| file.path.ends_with(".md"))
}

pub(super) fn links(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in documents(repository) {
        for (line, target) in link_targets(&document.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = resolve(&document.path, path);
            let place = format!("{}:{line}", document.path);
            let folder = format!("{path}/");
            match repository.file(&path) {
                None if repository.files.iter().any(|file| file.path.starts_with(&folder)) => {}
                None => findings.push(Finding::new(place, format!("no such file: {target}"))),
                Some(file) if !anchor.is_empty() && !anchors(&file.text).contains(anchor) => {
                    findings.push(Finding::new(place, format!("no such heading: {target}")));
                }
                Some(_) => {}
            }
        }
    }
    findings
}

/// The targets of `[text](target)`, with their lines; code is left out.
fn link_targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (at, line) in prose_lines(text) {
        let mut rest = line.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let (target, after) = after.split_once(')').unwrap_or((after, ""));
            targets.push((at, target.split(' ').next().unwrap_or_default().to_owned()));
            rest = after;
        }
    }
    targets
}

/// The lines outside code fences, code spans blanked, with their numbers from 1.
fn prose_lines(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let spans: Vec<&str> = line.split('`').step_by(2).collect();
            lines.push((at + 1, spans.join("`")));
        }
    }
    lines
}

/// `target` as seen from `document`, relative to the root.
fn resolve(document: &str, target: &str) -> String {
    if target.is_empty() {
        return document.to_owned();
    }
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors that a forge makes of the headings: lower case, spaces to hyphens, other punctuation left out.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if let Some(heading) = line.strip_prefix('#').filter(|_| !fenced) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            anchors.insert(kept.collect::<String>().replace(' ', "-"));
        }
    }
    anchors
}

pub(super) fn places(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in documents(repository) {
        for (at, line) in document.text.lines().enumerate() {
            if let Some(place) = ["/root/", "/home/"].iter().find(|place| line.contains(**place)) {
                findings.push(Finding::new(format!("{}:{}", document.path, at + 1), *place));
            }
        }
    }
    findings
}

const CODES: &str = "crates/formats/src/code.rs";
const CODES_DOCUMENT: &str = "docs/reason-codes.md";

/// Codes whose names are fixed and whose checks come with a door that is not built yet.
const UNBUILT: &[&str] = &["artifact.not-found", "artifact.unsigned", "registry.unauthorized", "trusted-root.window"];

/// A row of the `codes!` table.
struct Code {
    constant: String,
    text: String,
    meaning: String,
}

pub(super) fn reason_codes(repository: &Repository) -> Vec<Finding> {
    let Some(source) = repository.file(CODES) else {
        return vec![Finding::new(CODES, "is absent")];
    };
    let Some(document) = repository.file(CODES_DOCUMENT) else {
        return vec![Finding::new(CODES_DOCUMENT, "is absent")];
    };
    let defined = defined_codes(source);
    let documented = documented_codes(&document.text);
    let used = used_constants(repository);
    let mut findings = Vec::new();
    for Code { constant, text, meaning } in &defined {
        match documented.get(text) {
            None => findings.push(Finding::new(CODES_DOCUMENT, format!("lacks {text}"))),
            Some(found) if found != meaning => {
                findings.push(Finding::new(CODES_DOCUMENT, format!("{text} means: {meaning}")));
            }
            Some(_) => {}
        }
        match (used.contains(constant), UNBUILT.contains(&text.as_str())) {
            (false, false) => findings.push(Finding::new(CODES, format!("no check gives {text}"))),
            (true, true) => findings.push(Finding::new(CODES, format!("{text} is given now: remove its row"))),
            _ => {}
        }
    }
    for text in documented.keys().filter(|text| !defined.iter().any(|code| code.text == **text)) {
        findings.push(Finding::new(CODES_DOCUMENT, format!("has {text}, which the source does not know")));
    }
    findings
}

/// The rows `NAME = "code": "meaning";`.
fn defined_codes(source: &File) -> Vec<Code> {
    let product = lexer::without_tests(&source.tokens());
    product
        .windows(5)
        .filter_map(|row| match [&row[0].kind, &row[1].kind, &row[2].kind, &row[3].kind, &row[4].kind] {
            [Kind::Ident(constant), Kind::Punct('='), Kind::Text(text), Kind::Punct(':'), Kind::Text(meaning)] => {
                Some(Code { constant: constant.clone(), text: text.clone(), meaning: meaning.clone() })
            }
            _ => None,
        })
        .collect()
}

/// The rows of tables that open with a code, "| `code` | meaning | …".
fn documented_codes(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(code, rest)| (code.to_owned(), rest.split(" |").next().unwrap_or_default().to_owned()))
        .collect()
}

/// The constants `Code::NAME` that product code outside the table names.
fn used_constants(repository: &Repository) -> BTreeSet<String> {
    let product = |file: &&File| file.path.starts_with("crates/") && file.path != CODES;
    let mut used = BTreeSet::new();
    for file in repository.rust().filter(product) {
        for path in lexer::paths(&lexer::without_tests(&file.tokens())) {
            if let [.., owner, name] = path.segments.as_slice()
                && owner == "Code"
            {
                used.insert(name.clone());
            }
        }
    }
    used
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn codes(source: &str, document: &str, user: &str) -> Repository {
        Repository::of(&[(CODES, source), (CODES_DOCUMENT, document), ("crates/verify/src/sct.rs", user)])
    }

    const SOURCE: &str = "codes! { SCT_MISSING = \"sct.missing\": \"no timestamp\"; }";
    const DOCUMENT: &str = "| code | meaning |\n|---|---|\n| `sct.missing` | no timestamp | ask |\n";
    const USER: &str = "fn code() -> Code { Code::SCT_MISSING }";

    pub(in crate::tidy) fn samples() -> Vec<(&'static str, Vec<Repository>)> {
        vec![
            (
                "document-links",
                vec![
                    Repository::of(&[("README.md", "[a](docs/none.md)")]),
                    Repository::of(&[("docs/a.md", "[a](../b.md)"), ("docs/b.md", "")]),
                    Repository::of(&[("README.md", "# One\n[a](#two)")]),
                ],
            ),
            ("document-places", vec![Repository::of(&[("README.md", "run /root/bin/x")])]),
            (
                "reason-codes",
                vec![
                    codes(SOURCE, "", USER),
                    codes("", DOCUMENT, USER),
                    codes(SOURCE, "| `sct.missing` | something else |", USER),
                    codes(
                        "codes! { TRUSTED_ROOT_WINDOW = \"trusted-root.window\": \"no\"; }",
                        "| `trusted-root.window` | no |",
                        "fn code() -> Code { Code::TRUSTED_ROOT_WINDOW }",
                    ),
                    codes(SOURCE, DOCUMENT, "#[cfg(test)] mod tests { fn f() { Code::SCT_MISSING; } }"),
                    Repository::of(&[(CODES, SOURCE)]),
                ],
            ),
        ]
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let repository = Repository::of(&[
            (
                "README.md",
                "# It's a *Title*: two\n[a](docs/b.md#c-d) [b](https://x/y) [c](#its-a-title-two) `[x](y)`\n```\n[z](z)\n```\n[d](docs)",
            ),
            ("docs/b.md", "## C d\n[up](../README.md)"),
        ]);
        let findings = links(&repository);
        assert!(findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn a_code_defined_documented_and_used_passes() {
        let findings = reason_codes(&codes(SOURCE, DOCUMENT, USER));
        assert!(findings.is_empty(), "{findings:?}");
    }
}
