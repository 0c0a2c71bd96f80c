//! What a policy may look like before the library reads it, and before it evaluates it.
//!
//! The library reads nested brackets twice at each level, and evaluates operators, brackets and calls by recursion: a page of text
//! could take hours, or the stack, which nothing catches. So texts are weighed first, by a lexer that knows words, texts and signs.
//! It errs towards refusing.

use regorus::Engine;
use regorus::unstable::{Rule, RuleHead};
use std::collections::{BTreeMap, BTreeSet};

/// Deepest brackets.
const MAX_BRACKETS: usize = 12;
/// What reading all brackets may cost: each costs 2^depth.
const MAX_BRACKET_COST: usize = 1 << 18;
/// Most operators of one statement.
const MAX_OPERATORS: usize = 48;
/// The heaviest path of calls: a rule weighs one, each level of brackets in it one, three operators one.
const MAX_WEIGHT: usize = 64;
/// Most digits of a width in a format.
const MAX_WIDTH_DIGITS: usize = 3;

#[derive(Debug, Clone, PartialEq)]
enum Kind<'a> {
    Word(&'a str),
    Text(&'a str),
    Open,
    Close,
    Operator,
    Line,
    Other(char),
}

#[derive(Debug, Clone, PartialEq)]
struct Token<'a> {
    kind: Kind<'a>,
    at: usize,
}

/// Refuses what could not be read in bounded time.
pub(super) fn tokens(source: &str) -> Result<(), String> {
    let tokens = lex(source);
    let (mut depth, mut cost) = (0_usize, 0_usize);
    for token in &tokens {
        match token.kind {
            Kind::Open => {
                depth = depth.saturating_add(1);
                if depth > MAX_BRACKETS {
                    return Err(format!("more than {MAX_BRACKETS} brackets within each other"));
                }
                cost = cost.saturating_add(1 << depth.min(MAX_BRACKETS));
            }
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if cost > MAX_BRACKET_COST {
        return Err("it has too many brackets within brackets".to_owned());
    }
    let (_, operators) = heaviest(&tokens);
    if operators > MAX_OPERATORS {
        return Err(format!("a statement has more than {MAX_OPERATORS} operators"));
    }
    calls(&tokens)
}

/// Refuses what hides which function is called or how much it makes.
fn calls(tokens: &[Token<'_>]) -> Result<(), String> {
    let kinds: Vec<&Kind<'_>> = tokens.iter().map(|token| &token.kind).filter(|kind| **kind != Kind::Line).collect();
    for window in kinds.windows(3) {
        match window {
            [Kind::Word("with"), Kind::Word("input" | "data"), _] => {}
            [Kind::Word("with"), Kind::Word(_), _] => {
                return Err("`with` may replace parts of `input` and `data`, and no function".to_owned());
            }
            [Kind::Word("sprintf"), Kind::Open, Kind::Text(format)] if !has_wide_width(format) => {}
            [Kind::Word("sprintf"), Kind::Open, Kind::Text(_)] => {
                return Err(format!("the width in a format has more than {MAX_WIDTH_DIGITS} digits"));
            }
            [Kind::Word("sprintf"), Kind::Open, _] => {
                return Err("the format of `sprintf` has to be written out".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

fn has_wide_width(format: &str) -> bool {
    format.split('%').skip(1).any(|rest| {
        let flags = rest.trim_start_matches(|c: char| "+-# .*[]".contains(c) || c == '\\');
        flags.chars().take_while(char::is_ascii_digit).count() > MAX_WIDTH_DIGITS || rest.starts_with('*')
    })
}

/// The names of the rules of the module that `engine` read from `source`, once no path of calls is too long or comes back.
pub(super) fn rules(engine: &mut Engine, source: &str, package: &str) -> Result<Vec<String>, String> {
    let tokens = lex(source);
    let mut heads: Vec<(usize, String)> = Vec::new();
    for module in engine.get_modules() {
        for rule in &module.policy {
            let name = match rule.as_ref() {
                Rule::Spec { head: RuleHead::Compr { refr, .. }, .. }
                | Rule::Spec { head: RuleHead::Set { refr, .. }, .. }
                | Rule::Spec { head: RuleHead::Func { refr, .. }, .. }
                | Rule::Default { refr, .. } => refr.span(),
            };
            let start = usize::try_from(name.start).map_err(|_| "it is too long".to_owned())?;
            let name = lex(name.text()).into_iter().find_map(|token| match token.kind {
                Kind::Word(word) => Some(word.to_owned()),
                _ => None,
            });
            heads.push((start, name.ok_or("a rule has no name")?));
        }
    }
    heads.sort();
    let names: BTreeSet<&str> = heads.iter().map(|(_, name)| name.as_str()).collect();
    references(&tokens, package, &names)?;
    let mut graph: BTreeMap<&str, Node<'_>> = BTreeMap::new();
    for (at, (start, name)) in heads.iter().enumerate() {
        let end = heads.get(at.saturating_add(1)).map_or(usize::MAX, |(next, _)| *next);
        // The first token is the rule's own name.
        let body: Vec<Token<'_>> = tokens.iter().filter(|token| token.at > *start && token.at < end).cloned().collect();
        let node = graph.entry(name).or_default();
        let (depth, operators) = heaviest(&body);
        node.weight = node.weight.max(1_usize.saturating_add(depth).saturating_add(operators / 3));
        node.calls.extend(body.iter().filter_map(|token| match token.kind {
            Kind::Word(word) => names.get(word).copied(),
            _ => None,
        }));
    }
    weigh(&graph)?;
    Ok(names.into_iter().map(ToOwned::to_owned).collect())
}

#[derive(Default)]
struct Node<'a> {
    weight: usize,
    calls: BTreeSet<&'a str>,
}

/// Takes away rules that call none of those that are left, until there is none: what stays calls itself.
fn weigh(graph: &BTreeMap<&str, Node<'_>>) -> Result<(), String> {
    let mut heaviest: BTreeMap<&str, usize> = BTreeMap::new();
    while heaviest.len() < graph.len() {
        let before = heaviest.len();
        for (name, node) in graph {
            let called: Option<Vec<usize>> = node.calls.iter().map(|called| heaviest.get(called).copied()).collect();
            if let (false, Some(called)) = (heaviest.contains_key(name), called) {
                let weight = called.into_iter().max().unwrap_or_default().saturating_add(node.weight);
                if weight > MAX_WEIGHT {
                    return Err(format!("`{name}` calls rules within rules too deeply"));
                }
                heaviest.insert(name, weight);
            }
        }
        if heaviest.len() == before {
            let circle = graph.keys().find(|name| !heaviest.contains_key(*name)).copied().unwrap_or_default();
            return Err(format!("`{circle}` leads back to itself, or to a rule that does: recursion is not allowed"));
        }
    }
    Ok(())
}

/// `data` has to be followed by a name that is written out: by another one rules could be reached that nobody sees in the text.
fn references(tokens: &[Token<'_>], package: &str, names: &BTreeSet<&str>) -> Result<(), String> {
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at)).map(|token| &token.kind);
        if token.kind != Kind::Word("data") || before == Some(&Kind::Other('.')) {
            continue;
        }
        let rest: Vec<&Kind<'_>> = tokens.iter().skip(at.saturating_add(1)).take(5).map(|token| &token.kind).collect();
        let imported = before == Some(&Kind::Word("import"));
        match rest.as_slice() {
            [Kind::Other('.'), Kind::Word(own), Kind::Other('.'), Kind::Word(name), after, ..] if *own == package => {
                if imported && **after == Kind::Word("as") && names.contains(name) {
                    return Err(format!("`{name}` is imported under another name: call it by its own"));
                }
            }
            [Kind::Other('.'), Kind::Word(own), Kind::Other('.'), Kind::Word(_)] if *own == package => {}
            [Kind::Other('.'), Kind::Word(other), ..] if *other != package => {}
            _ => return Err("`data` has to be followed by the name of a rule, as in `data.signature.allow`".to_owned()),
        }
    }
    Ok(())
}

/// The deepest brackets, and the most operators that are evaluated within each other. A line ends a statement, unless it
/// ends with an operator or the next one begins with one.
fn heaviest(tokens: &[Token<'_>]) -> (usize, usize) {
    let (mut deepest, mut most) = (0, 0);
    let (mut base, mut count) = (Vec::new(), 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => base.push(count),
            Kind::Close => count = count.max(base.pop().unwrap_or_default()),
            Kind::Operator => count = count.saturating_add(1),
            Kind::Line | Kind::Other(';') => {
                let kind = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map(|token| &token.kind);
                let beside = [kind(at.checked_sub(1)), kind(at.checked_add(1))];
                if !beside.contains(&Some(&Kind::Operator)) {
                    count = base.last().copied().unwrap_or_default();
                }
            }
            Kind::Word(_) | Kind::Text(_) | Kind::Other(_) => {}
        }
        deepest = deepest.max(base.len());
        most = most.max(count);
    }
    (deepest, most)
}

/// Words, texts and signs; comments and blanks are left out, and so are empty lines.
fn lex(source: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut rest = source.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let mut end = at.saturating_add(c.len_utf8());
        let kind = match c {
            '#' => {
                while rest.next_if(|(_, c)| *c != '\n').is_some() {}
                continue;
            }
            '\n' if tokens.last().is_none_or(|token| token.kind == Kind::Line) => continue,
            '\n' => Kind::Line,
            c if c.is_whitespace() => continue,
            '"' | '`' => {
                let start = end;
                let mut close = source.len();
                while let Some((at, inner)) = rest.next() {
                    if inner == c {
                        close = at;
                        break;
                    }
                    if inner == '\\' && c == '"' {
                        rest.next();
                    }
                }
                Kind::Text(source.get(start..close).unwrap_or_default())
            }
            c if c.is_alphanumeric() || c == '_' => {
                while let Some((at, c)) = rest.next_if(|(_, c)| c.is_alphanumeric() || *c == '_') {
                    end = at.saturating_add(c.len_utf8());
                }
                match source.get(at..end).unwrap_or_default() {
                    "in" => Kind::Operator,
                    word => Kind::Word(word),
                }
            }
            '(' | '[' | '{' => Kind::Open,
            ')' | ']' | '}' => Kind::Close,
            '=' | '!' | '<' | '>' | '+' | '-' | '*' | '/' | '%' | '&' | '|' => {
                // `==`, `!=`, `<=` and `>=` are one.
                rest.next_if(|(_, next)| *next == '=' && "=!<>".contains(c));
                Kind::Operator
            }
            other => Kind::Other(other),
        };
        tokens.push(Token { kind, at });
    }
    tokens
}
