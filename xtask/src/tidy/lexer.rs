//! As much of Rust's grammar as the rules need: identifiers with their lines, and the paths that a file names.
//!
//! Comments, strings and characters are dropped, so a rule never fires on prose. Names that a macro builds are not
//! seen; for those there is clippy's `disallowed_methods`.

use std::collections::VecDeque;

/// A token that a rule may ask about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Token {
    /// From 1.
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Ident(String),
    /// A string literal, without its quotes and with its escapes as they stand.
    Text(String),
    /// `::`
    Separator,
    Punct(char),
}

impl Token {
    pub(crate) fn is_ident(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Ident(ident) if ident == name)
    }

    pub(crate) fn is_punct(&self, punct: char) -> bool {
        self.kind == Kind::Punct(punct)
    }
}

/// The tokens of `source`.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source.chars().collect(), line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token() {
        tokens.push(token);
    }
    tokens
}

struct Lexer {
    rest: VecDeque<char>,
    line: usize,
}

impl Lexer {
    fn bump(&mut self) -> Option<char> {
        let next = self.rest.pop_front()?;
        if next == '\n' {
            self.line += 1;
        }
        Some(next)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(ahead).copied()
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(next) = self.peek(0).filter(|next| accept(*next)) {
            taken.push(next);
            self.bump();
        }
        taken
    }

    fn token(&mut self) -> Option<Token> {
        loop {
            let next = self.peek(0)?;
            let line = self.line;
            let found = |kind| Some(Token { line, kind });
            match (next, self.peek(1)) {
                _ if next.is_whitespace() => {
                    self.bump();
                }
                ('/', Some('/')) => {
                    self.take_while(|c| c != '\n');
                }
                ('/', Some('*')) => self.block_comment(),
                (':', Some(':')) => {
                    self.bump();
                    self.bump();
                    return found(Kind::Separator);
                }
                ('"', _) => return found(Kind::Text(self.string())),
                ('\'', _) => self.character_or_lifetime(),
                _ if next.is_alphabetic() || next == '_' => {
                    let ident = self.take_while(|c| c.is_alphanumeric() || c == '_');
                    let prefix = matches!(ident.as_str(), "r" | "b" | "br" | "c" | "cr");
                    match self.peek(0) {
                        Some('"') if prefix && ident.contains('r') => {
                            return found(Kind::Text(self.raw_string()));
                        }
                        Some('"') if prefix => return found(Kind::Text(self.string())),
                        Some('#') if prefix && ident.contains('r') && matches!(self.peek(1), Some('"' | '#')) => {
                            return found(Kind::Text(self.raw_string()));
                        }
                        Some('\'') if ident == "b" => self.character_or_lifetime(),
                        _ => return found(Kind::Ident(ident)),
                    }
                }
                _ if next.is_ascii_digit() => {
                    self.take_while(|c| c.is_alphanumeric() || c == '_');
                }
                _ => {
                    self.bump();
                    return found(Kind::Punct(next));
                }
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(next) = self.bump() {
            match (next, self.peek(0)) {
                ('/', Some('*')) => {
                    self.bump();
                    depth += 1;
                }
                ('*', Some('/')) => {
                    self.bump();
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                _ => {}
            }
        }
    }

    fn string(&mut self) -> String {
        self.bump();
        let mut text = String::new();
        while let Some(next) = self.bump() {
            match next {
                '"' => break,
                '\\' => {
                    text.push(next);
                    text.extend(self.bump());
                }
                _ => text.push(next),
            }
        }
        text
    }

    fn raw_string(&mut self) -> String {
        let hashes = self.take_while(|c| c == '#').len();
        self.bump();
        let mut text = String::new();
        while let Some(next) = self.bump() {
            if next == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.rest.drain(..hashes);
                break;
            }
            text.push(next);
        }
        text
    }

    /// `'x'`, `'\n'` and `'{'` are characters; `'a` without a closing quote is a lifetime.
    fn character_or_lifetime(&mut self) {
        self.bump();
        if self.peek(0) == Some('\\') {
            self.bump();
            self.bump();
            self.take_while(|c| c != '\'');
            self.bump();
        } else if self.peek(1) == Some('\'') {
            self.bump();
            self.bump();
        } else {
            self.take_while(|c| c.is_alphanumeric() || c == '_');
        }
    }
}

/// `tokens` without the items marked `#[cfg(test)]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_cfg_test(&tokens[at..]) {
            at += item_length(&tokens[at..]);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The names of modules declared `#[cfg(test)] mod NAME;`: their files are tests too.
pub(crate) fn test_modules(tokens: &[Token]) -> Vec<String> {
    (0..tokens.len())
        .filter(|at| is_cfg_test(&tokens[*at..]))
        .filter_map(|at| {
            let item = &tokens[at..at + item_length(&tokens[at..])];
            let [.., module, name, end] = item else {
                return None;
            };
            match &name.kind {
                Kind::Ident(name) if module.is_ident("mod") && end.is_punct(';') => Some(name.clone()),
                _ => None,
            }
        })
        .collect()
}

/// `#[cfg(test)]` and `#[cfg(all(test, …))]`.
fn is_cfg_test(tokens: &[Token]) -> bool {
    tokens.len() > 5
        && tokens[0].is_punct('#')
        && tokens[1].is_punct('[')
        && tokens[2].is_ident("cfg")
        && (tokens[4].is_ident("test")
            || (tokens[4].is_ident("all") && tokens[6..].first().is_some_and(|t| t.is_ident("test"))))
}

/// How many tokens the item takes that starts here: up to its `;` or its closing brace.
fn item_length(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Punct('{' | '(' | '[') => depth += 1,
            Kind::Punct('}') if depth <= 1 => return at + 1,
            Kind::Punct('}' | ')' | ']') => depth = depth.saturating_sub(1),
            Kind::Punct(';') if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// A path as the source names it, with `use` groups written out: `use std::{fs, io::Read}` gives `std::fs` and
/// `std::io::Read`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Path {
    pub line: usize,
    pub segments: Vec<String>,
}

impl Path {
    /// Whether it starts with the segments of `prefix`, written as in Rust.
    pub(crate) fn starts_with(&self, prefix: &str) -> bool {
        let prefix: Vec<&str> = prefix.split("::").collect();
        self.segments.len() >= prefix.len() && self.segments.iter().zip(prefix).all(|(ours, theirs)| ours == theirs)
    }

    /// Whether the segments of `part` stand in it side by side.
    pub(crate) fn contains(&self, part: &str) -> bool {
        let part: Vec<&str> = part.split("::").collect();
        self.segments.windows(part.len()).any(|window| window == part)
    }

    pub(crate) fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// The paths in `tokens`.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if matches!(tokens[at].kind, Kind::Ident(_)) {
            at += path(&tokens[at..], &[], &mut paths);
        } else {
            at += 1;
        }
    }
    paths
}

/// Reads one path and its groups; returns how many tokens it took.
fn path(tokens: &[Token], parents: &[String], paths: &mut Vec<Path>) -> usize {
    let mut segments = parents.to_vec();
    let line = tokens.first().map_or(0, |token| token.line);
    let mut at = 0;
    while let Some(Token { kind: Kind::Ident(ident), .. }) = tokens.get(at) {
        segments.push(ident.clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token.kind != Kind::Separator) {
            break;
        }
        at += 1;
        if tokens.get(at).is_some_and(|token| token.is_punct('{')) {
            return at + group(&tokens[at..], &segments, paths);
        }
    }
    paths.push(Path { line, segments });
    at.max(1)
}

fn group(tokens: &[Token], parents: &[String], paths: &mut Vec<Path>) -> usize {
    let mut at = 1;
    while let Some(token) = tokens.get(at) {
        at += match token.kind {
            Kind::Punct('}') => return at + 1,
            Kind::Ident(_) if token.is_ident("as") => 2,
            Kind::Ident(_) => path(&tokens[at..], parents, paths),
            _ => 1,
        };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_texts(source: &str) -> Vec<String> {
        paths(&tokens(source)).iter().map(Path::text).collect()
    }

    #[test]
    fn prose_is_dropped() {
        let source = r##"
            // std::fs
            /* std::env /* nested */ std::net */
            let s = "std::process"; let r = r#"tokio "quoted" "#; let b = b"x"; let c = '"'; let l: &'a str = x;
        "##;
        let idents: Vec<_> = path_texts(source);
        assert_eq!(idents, ["let", "s", "let", "r", "let", "b", "let", "c", "let", "l", "str", "x"]);
        let texts: Vec<_> = tokens(source)
            .into_iter()
            .filter_map(|token| match token.kind {
                Kind::Text(text) => Some(text),
                _ => None,
            })
            .collect();
        assert_eq!(texts, ["std::process", "tokio \"quoted\" ", "x"]);
    }

    #[test]
    fn groups_are_written_out() {
        assert_eq!(
            path_texts("use std::{fs, io::{self, Read}, env as e};"),
            ["use", "std::fs", "std::io::self", "std::io::Read", "std::env"]
        );
        assert_eq!(path_texts("let x = a::b(c::D { y: 1 });"), ["let", "x", "a::b", "c::D", "y"]);
    }

    #[test]
    fn lines_are_counted() {
        let all = tokens("a\n\"\n\"\n/*\n*/ b");
        assert_eq!(all.first().map(|token| token.line), Some(1));
        assert_eq!(all.last().map(|token| token.line), Some(5));
    }

    #[test]
    fn test_items_are_left_out() {
        let source = "fn a() { b }\n#[cfg(test)]\nmod tests { fn c() { d } }\n#[cfg(test)] use e::f; #[cfg(test)] mod g; fn h() {}";
        let kept = paths(&without_tests(&tokens(source)));
        let kept: Vec<_> = kept.iter().map(Path::text).collect();
        assert_eq!(kept, ["fn", "a", "b", "fn", "h"]);
        assert_eq!(test_modules(&tokens(source)), ["g"]);
    }
}
