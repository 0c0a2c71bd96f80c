//! Rules on the sources.

use std::collections::BTreeSet;

use super::{
    Finding,
    graph::ENGINES,
    lexer::{self, Path, Token},
    repository::{File, Repository},
};

pub(super) fn workspace_lints(repository: &Repository) -> Vec<Finding> {
    let manifests =
        repository.files.iter().filter(|file| file.path.ends_with("/Cargo.toml") && file.text.contains("[package]"));
    manifests
        .filter(|file| !file.text.replace(' ', "").contains("[lints]\nworkspace=true"))
        .map(|file| Finding::new(&file.path, "wants [lints] workspace = true"))
        .collect()
}

pub(super) fn engine_clippy(repository: &Repository) -> Vec<Finding> {
    let text = |name: &str| repository.file(&format!("crates/{name}/clippy.toml")).map(|file| &file.text);
    let Some(first) = text(ENGINES[0]) else {
        return vec![Finding::new(format!("crates/{}", ENGINES[0]), "has no clippy.toml")];
    };
    ENGINES
        .iter()
        .filter(|name| text(name) != Some(first))
        .map(|name| {
            Finding::new(
                format!("crates/{name}/clippy.toml"),
                format!("is absent or differs from crates/{}/clippy.toml", ENGINES[0]),
            )
        })
        .collect()
}

/// A module with walls: it may not name these modules of its crate.
struct Wall {
    krate: &'static str,
    module: &'static str,
    blind_to: &'static [&'static str],
}

const WALLS: &[Wall] = &[
    Wall { krate: "waxseal", module: "server", blind_to: &["client", "gate", "cli"] },
    Wall { krate: "waxseal", module: "client", blind_to: &["server", "gate", "cli"] },
    Wall { krate: "waxseal", module: "gate", blind_to: &["server", "client", "cli"] },
    // Digests, keys and signatures know no document.
    Wall {
        krate: "formats",
        module: "crypto",
        blind_to: &[
            "bundle",
            "cms",
            "checkpoint",
            "entry",
            "envelope",
            "extension",
            "json",
            "jwt",
            "leaf",
            "merkle",
            "note",
            "pattern",
            "sct",
            "signing_config",
            "statement",
            "tile",
            "trusted_root",
            "tsp",
            "tuf",
            "x509",
        ],
    },
];

pub(super) fn module_walls(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for wall in WALLS {
        let inside = |file: &&File| {
            let rest = file.path.strip_prefix(&format!("crates/{}/src/{}", wall.krate, wall.module));
            file.is_rust() && rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        for file in repository.files.iter().filter(inside) {
            for path in lexer::paths(&file.tokens()) {
                if let Some(module) = named_module(&path).filter(|module| wall.blind_to.contains(module)) {
                    findings.push(Finding::new(
                        format!("{}:{}", file.path, path.line),
                        format!("{} must not know {module}: {}", wall.module, path.text()),
                    ));
                }
            }
        }
    }
    findings
}

/// The top-level module that a path from `crate` (or from above, with `super`) names.
fn named_module(path: &Path) -> Option<&str> {
    let mut segments = path.segments.iter().map(String::as_str);
    let first = segments.next()?;
    match first {
        "crate" => segments.next(),
        "super" => segments.find(|segment| *segment != "super"),
        _ => None,
    }
}

/// What an engine's sources may not name, with what it has to do instead.
const ACTS: &[(&str, &str)] = &[
    ("std::fs", "take bytes"),
    ("std::env", "take an argument"),
    ("std::process", "leave processes to a shell"),
    ("std::net", "leave sockets to a shell"),
    ("std::os", "leave the system to a shell"),
    ("std::thread", "stay synchronous"),
    ("std::time::SystemTime", "take `now` as an argument"),
    ("std::time::Instant", "take `now` as an argument"),
    ("SystemTime::now", "take `now` as an argument"),
    ("Instant::now", "take `now` as an argument"),
    ("Timestamp::now", "take `now` as an argument"),
    ("Zoned::now", "take `now` as an argument"),
    ("thread::spawn", "stay synchronous"),
    ("aws_lc_rs::rand", "take random bytes as an argument"),
    ("SystemRandom", "take random bytes as an argument"),
    ("EcdsaKeyPair::generate", "take a public key; shells own private ones"),
    ("Ed25519KeyPair::generate", "take a public key; shells own private ones"),
    ("tokio", "stay synchronous"),
    ("reqwest", "return a request to be sent"),
    ("async", "stay synchronous"),
    ("await", "stay synchronous"),
    ("println", "return values"),
    ("eprintln", "return values"),
];

pub(super) fn engine_acts(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for engine in ENGINES {
        let files: Vec<&File> = repository.files.iter().filter(|file| file.is_source_of(engine)).collect();
        let tests = test_files(&files);
        for file in files.iter().filter(|file| !tests.contains(&file.path)) {
            let product = lexer::without_tests(&file.tokens());
            for path in lexer::paths(&product) {
                for (name, instead) in ACTS {
                    if path.starts_with(name) || path.contains(name) {
                        findings.push(Finding::new(
                            format!("{}:{}", file.path, path.line),
                            format!("{}: an engine has to {instead}", path.text()),
                        ));
                        break;
                    }
                }
            }
        }
    }
    findings
}

/// Where the time of day and random bytes come from.
const SYSTEM: &str = "crates/io/src/system.rs";

/// The names by which they are read.
const SYSTEM_CALLS: &[&str] =
    &["SystemTime::now", "Timestamp::now", "Zoned::now", "rand::fill", "rand::generate", "getrandom"];

pub(super) fn one_clock(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    let files: Vec<&File> = repository.rust().filter(|file| file.path.starts_with("crates/")).collect();
    let tests = test_files(&files);
    for file in files.iter().filter(|file| file.path != SYSTEM && !tests.contains(&file.path)) {
        for path in lexer::paths(&lexer::without_tests(&file.tokens())) {
            if SYSTEM_CALLS.iter().any(|call| path.contains(call)) {
                findings.push(Finding::new(
                    format!("{}:{}", file.path, path.line),
                    format!("{}: ask waxseal_io::system", path.text()),
                ));
            }
        }
    }
    findings
}

/// The files that `#[cfg(test)] mod NAME;` brings in.
fn test_files(files: &[&File]) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in files {
        let folder = match file.path.strip_suffix("/mod.rs").or_else(|| file.path.strip_suffix("/lib.rs")) {
            Some(folder) => folder,
            None => file.path.trim_end_matches(".rs"),
        };
        for name in lexer::test_modules(&file.tokens()) {
            tests.insert(format!("{folder}/{name}.rs"));
            tests.insert(format!("{folder}/{name}/mod.rs"));
        }
    }
    tests
}

/// From here on a file needs a reason.
const LONG: usize = 600;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

pub(super) fn file_length(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in repository.rust() {
        let lines = file.text.lines().count();
        let reason = LONG_FILES.iter().find(|(path, _)| *path == file.path);
        if lines > LONG && reason.is_none() {
            findings.push(Finding::new(
                &file.path,
                format!("{lines} lines: name the second concept, or a reason in xtask/src/tidy/source.rs"),
            ));
        }
        if lines <= LONG && reason.is_some() {
            findings.push(Finding::new(&file.path, "is no longer long: remove its row"));
        }
    }
    findings
}

pub(super) fn no_unsafe(repository: &Repository) -> Vec<Finding> {
    on_tokens(repository, |tokens| tokens.first().is_some_and(|token| token.is_ident("unsafe")), "unsafe")
}

pub(super) fn expect_not_allow(repository: &Repository) -> Vec<Finding> {
    let allow = |tokens: &[Token]| {
        let opens = |at: usize, open: char| tokens.get(at).is_some_and(|token| token.is_punct(open));
        let at = if opens(1, '!') { 2 } else { 1 };
        opens(0, '#') && opens(at, '[') && tokens.get(at + 1).is_some_and(|token| token.is_ident("allow"))
    };
    on_tokens(repository, allow, "#[allow(…)]: write #[expect(…, reason = \"…\")]")
}

/// Marks of unfinished work; written in two parts so that this file has none.
const MARKS: &[&str] = &[concat!("TB", "W"), concat!("TO", "DO"), concat!("FIX", "ME")];

pub(super) fn no_placeholders(repository: &Repository) -> Vec<Finding> {
    let panics = |tokens: &[Token]| match tokens {
        [name, bang, ..] => bang.is_punct('!') && (name.is_ident("todo") || name.is_ident("unimplemented")),
        _ => false,
    };
    let mut findings = on_tokens(repository, panics, "an unfinished branch");
    let authored = repository.files.iter().filter(|file| file.is_rust() || file.path.ends_with(".md"));
    for file in authored {
        for (at, line) in file.text.lines().enumerate() {
            let words = || line.split(|c: char| !c.is_alphanumeric());
            if let Some(mark) = MARKS.iter().find(|mark| words().any(|word| word == **mark)) {
                findings.push(Finding::new(format!("{}:{}", file.path, at + 1), *mark));
            }
        }
    }
    findings
}

/// A finding wherever `found` holds for the tokens from there on, in any Rust file.
fn on_tokens(repository: &Repository, found: impl Fn(&[Token]) -> bool, what: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in repository.rust() {
        let tokens = file.tokens();
        for (at, token) in tokens.iter().enumerate() {
            if found(&tokens[at..]) {
                findings.push(Finding::new(format!("{}:{}", file.path, token.line), what));
            }
        }
    }
    findings
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> Repository {
        Repository::of(&[(path, text)])
    }

    pub(in crate::tidy) fn samples() -> Vec<(&'static str, Vec<Repository>)> {
        let engine = |text| one("crates/verify/src/chain.rs", text);
        vec![
            ("workspace-lints", vec![one("crates/log/Cargo.toml", "[package]\nname = \"waxseal-log\"\n")]),
            (
                "engine-clippy",
                vec![
                    one("crates/formats/clippy.toml", "a"),
                    Repository::of(&[
                        ("crates/formats/clippy.toml", "a"),
                        ("crates/verify/clippy.toml", "a"),
                        ("crates/log/clippy.toml", "b"),
                        ("crates/authority/clippy.toml", "a"),
                    ]),
                ],
            ),
            (
                "module-walls",
                vec![
                    one("crates/waxseal/src/server/fulcio.rs", "use crate::client::sign;"),
                    one("crates/waxseal/src/server.rs", "use crate::cli;"),
                    one("crates/waxseal/src/client/sign.rs", "use crate::{server::tsa, other};"),
                    one("crates/waxseal/src/gate/commit.rs", "fn f() { super::super::client::f() }"),
                    one("crates/formats/src/crypto/key.rs", "use crate::x509::Certificate;"),
                ],
            ),
            (
                "engine-acts",
                vec![
                    engine("use std::{fs, io};"),
                    engine("use std::time::SystemTime;"),
                    engine("fn f() { jiff::Timestamp::now(); }"),
                    engine("fn f() { std::env::var(\"X\"); }"),
                    engine("fn f() { std::thread::spawn(|| ()); }"),
                    engine("use std::process::Command;"),
                    engine("use std::net::TcpStream;"),
                    engine("async fn f() {}"),
                    engine("use tokio::sync::mpsc;"),
                    engine("use aws_lc_rs::rand::SystemRandom;"),
                    engine("#[cfg(test)] mod tests { }\nfn f() { std::fs::read(p); }"),
                ],
            ),
            (
                "one-clock",
                vec![
                    one("crates/waxseal/src/server/tsa.rs", "fn f() { jiff::Timestamp::now(); }"),
                    one("crates/io/src/jwks.rs", "fn f() { aws_lc_rs::rand::fill(b); }"),
                ],
            ),
            ("file-length", vec![one("crates/log/src/wal.rs", &"\n".repeat(601))]),
            ("no-unsafe", vec![one("tests/main.rs", "fn f() { unsafe { g() } }")]),
            (
                "no-placeholders",
                vec![
                    one("crates/log/src/wal.rs", &format!("//! {}\n", MARKS[0])),
                    one("docs/sign.md", &format!("{}: write this\n", MARKS[1])),
                    one("crates/log/src/wal.rs", "fn f() { todo!() }"),
                    one("crates/log/src/wal.rs", "fn f() { unimplemented!(\"later\") }"),
                ],
            ),
            (
                "expect-not-allow",
                vec![
                    one("xtask/src/main.rs", "#[allow(dead_code)] fn f() {}"),
                    one("xtask/src/main.rs", "#![allow(clippy::panic)]"),
                ],
            ),
        ]
    }

    #[test]
    fn what_an_engine_may_say() {
        let fine = "
            //! Never calls std::fs::read.
            use std::{collections::BTreeMap, time::Duration};
            fn f(now: jiff::Timestamp) -> &'static str { \"std::env::var\" }
            #[cfg(test)]
            mod tests { fn f() { std::fs::read(\"x\"); } }
        ";
        assert!(engine_acts(&one("crates/verify/src/chain.rs", fine)).is_empty());
        assert!(engine_acts(&one("crates/io/src/system.rs", "use std::fs;")).is_empty());
    }

    #[test]
    fn the_system_and_tests_may_read_the_clock() {
        let read = "fn now() { Timestamp::now() }";
        assert!(one_clock(&one(SYSTEM, read)).is_empty());
        assert!(
            one_clock(&one(
                "crates/io/src/jwks.rs",
                "use std::time::Instant; #[cfg(test)] mod t { fn f() { Timestamp::now() } }"
            ))
            .is_empty()
        );
        assert!(one_clock(&one("xtask/src/main.rs", read)).is_empty());
    }

    #[test]
    fn a_file_of_tests_may_act() {
        let repository = Repository::of(&[
            ("crates/verify/src/bundle.rs", "#[cfg(test)]\nmod tests;"),
            ("crates/verify/src/bundle/tests.rs", "use std::fs;"),
        ]);
        assert!(engine_acts(&repository).is_empty());
    }

    #[test]
    fn a_module_may_name_itself_and_what_is_below() {
        let fine = "use crate::server::drive; use waxseal_io::client; use super::client_setup;";
        assert!(module_walls(&one("crates/waxseal/src/server/fulcio.rs", fine)).is_empty());
        assert!(module_walls(&one("crates/waxseal/src/cli/up.rs", "use crate::{server, client};")).is_empty());
        assert!(module_walls(&one("crates/formats/src/crypto/key.rs", "use crate::code::Code;")).is_empty());
    }

    #[test]
    fn words_that_only_look_like_marks_pass() {
        assert!(no_placeholders(&one("docs/sign.md", "XXXL, a todo list, xTODOx")).is_empty());
        assert!(no_unsafe(&one("a.rs", "#![forbid(unsafe_code)] // unsafe")).is_empty());
        assert!(expect_not_allow(&one("a.rs", "#[expect(dead_code)] fn allow() {}")).is_empty());
    }
}
