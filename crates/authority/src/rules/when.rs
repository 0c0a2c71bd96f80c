//! `when`: a condition over the claims of a token, in CEL (the Common Expression Language).
//!
//! ```text
//! claims.event_name in ["push", "workflow_dispatch"] && !claims.ref.startsWith("refs/pull/")
//! ```
//! The one variable is `claims`. Whatever is not true is no match: false, an error such as a claim that is missing, a value of
//! another type. What an expression may cost is bounded by its length, by the token's, and by having no loop within a loop.

use crate::oidc::Claims;
use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::{Key, Map};
use cel::{Context, Program};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Longest condition, in bytes.
pub const MAX_CONDITION_LEN: usize = 2048;
/// Deepest brackets, and most signs before a value.
const MAX_BRACKETS: usize = 8;
/// Deepest expression: most terms of a chain such as `a && b && c`.
const MAX_DEPTH: usize = 20;
/// The variable of every condition.
const CLAIMS: &str = "claims";
/// The functions that conditions may call; operators are not spelled with letters.
const FUNCTIONS: [&str; 14] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "type",
    "dyn",
    "has",
];

/// A condition that can be judged.
#[derive(Clone)]
pub(super) struct When {
    text: String,
    program: Arc<Program>,
}

/// Why a condition cannot be used, or cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// Longer than [`MAX_CONDITION_LEN`].
    #[error("the condition is longer than {MAX_CONDITION_LEN} bytes")]
    TooLong,
    /// Brackets within brackets beyond [`MAX_BRACKETS`], or a chain beyond [`MAX_DEPTH`].
    #[error(
        "the condition is too deep: it may have {MAX_BRACKETS} brackets within each other and chains of {MAX_DEPTH} terms; make several rules of it, or use `in [..]`"
    )]
    Deep,
    /// Not CEL.
    #[error("the condition is no CEL expression: {0}")]
    Syntax(String),
    /// A name that means nothing here.
    #[error("`{0}` means nothing here: a condition is about `claims`, as in `claims.ref`")]
    Variable(String),
    /// A function that there is not.
    #[error("there is no function `{0}`")]
    Function(String),
    /// A loop within a loop.
    #[error("`all`, `exists`, `map` or `filter` within another one costs too much")]
    Nested,
    /// It has a value that is not true or false.
    #[error("it gives {0} and not true or false")]
    Type(&'static str),
    /// It cannot be evaluated for this token.
    #[error("it cannot be evaluated: {0}")]
    Evaluation(String),
}

impl When {
    /// Reads a condition.
    ///
    /// # Errors
    /// [`WhenError`], but for the last two.
    pub(super) fn compile(text: &str) -> Result<Self, WhenError> {
        if text.len() > MAX_CONDITION_LEN {
            return Err(WhenError::TooLong);
        }
        if is_deep(text) {
            return Err(WhenError::Deep);
        }
        let program = Program::compile(text).map_err(|error| WhenError::Syntax(first_line(&error.to_string())))?;
        check(program.expression(), &mut Vec::new(), Within { loops: 0, depth: 0 })?;
        Ok(Self { text: text.to_owned(), program: Arc::new(program) })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Judges the claims of a token.
    ///
    /// # Errors
    /// [`WhenError::Evaluation`], [`WhenError::Type`]: neither is a match.
    pub(super) fn holds(&self, claims: &Claims) -> Result<bool, WhenError> {
        let all = claims.all().iter().map(|(name, value)| (Key::from(name.clone()), variable(value)));
        let all: HashMap<Key, cel::Value> = all.collect();
        let mut context = Context::default();
        context.add_variable_from_value(CLAIMS, cel::Value::Map(Map { map: Arc::new(all) }));
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(WhenError::Type(kind(&other))),
            Err(error) => Err(WhenError::Evaluation(first_line(&error.to_string()))),
        }
    }
}

/// Equal if the text is.
impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// Whether reading it would take too much stack: the library reads brackets, signs and the terms of
/// `&&` and `||` by recursion. What stands in quotes is
/// counted as well.
fn is_deep(text: &str) -> bool {
    let (mut depth, mut signs, mut deepest) = (0_usize, 0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'?' => depth = depth.saturating_add(1),
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        signs = if b"!-".contains(&byte) { signs.saturating_add(1) } else { 0 };
        deepest = deepest.max(depth).max(signs);
    }
    let terms = text.matches("&&").count().max(text.matches("||").count()).saturating_add(1);
    deepest > MAX_BRACKETS || terms > MAX_DEPTH
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Where an expression stands.
#[derive(Clone, Copy)]
struct Within {
    loops: usize,
    depth: usize,
}

impl Within {
    fn deeper(self) -> Result<Self, WhenError> {
        if self.depth > MAX_DEPTH {
            Err(WhenError::Deep)
        } else {
            Ok(Self { depth: self.depth.saturating_add(1), ..self })
        }
    }
}

/// Names, functions and loops of an expression. `bound` are the names that the loops around it give.
fn check<'a>(expression: &'a IdedExpr, bound: &mut Vec<&'a str>, within: Within) -> Result<(), WhenError> {
    let within = within.deeper()?;
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if name == CLAIMS || bound.contains(&name.as_str()) => Ok(()),
        Expr::Ident(name) => Err(WhenError::Variable(name.clone())),
        Expr::Select(select) => check(&select.operand, bound, within),
        Expr::Call(call) => {
            let spelled = call.func_name.starts_with(|first: char| first.is_ascii_alphabetic());
            if spelled && !FUNCTIONS.contains(&call.func_name.as_str()) {
                return Err(WhenError::Function(call.func_name.clone()));
            }
            call.target.iter().try_for_each(|target| check(target, bound, within))?;
            call.args.iter().try_for_each(|argument| check(argument, bound, within))
        }
        Expr::List(list) => list.elements.iter().try_for_each(|element| check(element, bound, within)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                check(&entry.key, bound, within)?;
                check(&entry.value, bound, within)
            }
            EntryExpr::StructField(field) => check(&field.value, bound, within),
        }),
        Expr::Struct(structure) => Err(WhenError::Variable(structure.type_name.clone())),
        Expr::Comprehension(comprehension) => {
            if within.loops > 0 {
                return Err(WhenError::Nested);
            }
            let inside = Within { loops: 1, ..within };
            check(&comprehension.iter_range, bound, inside)?;
            let before = bound.len();
            bound.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
            bound.extend(comprehension.iter_var2.as_deref());
            let parts =
                [&comprehension.accu_init, &comprehension.loop_cond, &comprehension.loop_step, &comprehension.result];
            let checked = parts.into_iter().try_for_each(|part| check(part, bound, inside));
            bound.truncate(before);
            checked
        }
    }
}

/// A claim as CEL has it: whole numbers are `int` as far as they fit.
fn variable(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => cel::Value::Bool(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => cel::Value::Int(number),
            (None, Some(number)) => cel::Value::UInt(number),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(values) => cel::Value::List(Arc::new(values.iter().map(variable).collect())),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (Key::from(name.clone()), variable(value)));
            cel::Value::Map(Map { map: Arc::new(members.collect()) })
        }
    }
}

const fn kind(value: &cel::Value) -> &'static str {
    match value {
        cel::Value::List(_) => "a list",
        cel::Value::Map(_) => "a map",
        cel::Value::Int(_) | cel::Value::UInt(_) | cel::Value::Float(_) => "a number",
        cel::Value::String(_) => "a text",
        cel::Value::Null => "null",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BRACKETS, MAX_CONDITION_LEN, MAX_DEPTH, When, WhenError};
    use crate::oidc::forge::Forge;
    use serde_json::json;

    fn judge(text: &str) -> Result<bool, WhenError> {
        let claims = Forge::es256().claims(json!({
            "event_name": "push", "ref": "refs/tags/v1", "level": 3, "big": 18_446_744_073_709_551_615_u64, "half": 0.5,
            "admin": true, "groups": ["dev", "ops"], "kubernetes.io": {"namespace": "prod"}, "nothing": null,
        }));
        When::compile(text)?.holds(&claims)
    }

    #[test]
    fn conditions_are_about_claims() {
        for text in [
            "claims.event_name in [\"push\", \"workflow_dispatch\"]",
            "claims.ref.startsWith('refs/tags/') && claims.ref.endsWith('v1') && claims.ref.contains('tags')",
            "claims.ref.matches('^refs/tags/v[0-9]+$')",
            "claims.level == 3 && claims.level > 2 && claims.level < 4",
            "claims.big > 5u",
            "claims.half == 0.5",
            "claims.admin",
            "'ops' in claims.groups && claims.groups.exists(g, g == 'dev') && size(claims.groups) == 2",
            "claims['kubernetes.io'].namespace == 'prod'",
            "has(claims.event_name) && !has(claims.missing)",
            "claims.nothing == null",
            "claims.groups.exists(g, g == 'dev') && claims.groups.all(g, g != 'root')",
        ] {
            assert_eq!(judge(text), Ok(true), "{text}");
        }
        for text in
            ["claims.event_name == 'pull_request'", "!claims.admin", "claims.level == 4", "'root' in claims.groups"]
        {
            assert_eq!(judge(text), Ok(false), "{text}");
        }
    }

    #[test]
    fn an_error_is_no_match() {
        for text in ["claims.missing == 'x'", "claims.level.startsWith('3')", "claims.groups[7] == 'x'", "1 / 0 == 1"] {
            assert!(matches!(judge(text), Err(WhenError::Evaluation(_))), "{text}: {:?}", judge(text));
        }
        for text in ["claims.ref", "claims.level", "claims.groups", "claims", "claims.nothing"] {
            assert!(matches!(judge(text), Err(WhenError::Type(_))), "{text}: {:?}", judge(text));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_when_it_is_read() {
        for text in ["claims.ref ==", "(", "claims.ref = 'x'", "'a' +", ""] {
            assert!(matches!(judge(text), Err(WhenError::Syntax(_))), "{text}: {:?}", judge(text));
        }
        for text in ["event_name == 'push'", "claim.ref == 'x'", "claims.groups.exists(g, h == 'x')", "token == 1"] {
            assert!(matches!(judge(text), Err(WhenError::Variable(_))), "{text}: {:?}", judge(text));
        }
        for text in ["claims.ref.lowerAscii() == 'x'", "now() > 1", "claims.ref.startswith('x')"] {
            assert!(matches!(judge(text), Err(WhenError::Function(_))), "{text}: {:?}", judge(text));
        }
        let nested = "claims.groups.all(a, claims.groups.exists(b, a == b))";
        assert_eq!(judge(nested), Err(WhenError::Nested));
        assert_eq!(judge("claims.groups.filter(a, a != 'x').exists(b, b == 'dev')"), Err(WhenError::Nested));
        let long = format!("claims.ref == '{}'", "x".repeat(MAX_CONDITION_LEN));
        assert_eq!(judge(&long), Err(WhenError::TooLong));
        // Both the library's reading and its evaluation take stack for each level: what is allowed fits into a test's thread.
        let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(judge(&nested(MAX_BRACKETS)), Ok(true));
        assert_eq!(judge(&("!".repeat(MAX_BRACKETS) + "true")), Ok(true));
        assert_eq!(judge(&vec!["true"; MAX_DEPTH].join("&&")), Ok(true));
        assert_eq!(judge(&vec!["false&&true"; MAX_DEPTH - 1].join("||")), Ok(false));
        for deep in [
            nested(MAX_BRACKETS + 1),
            nested(500),
            "!".repeat(MAX_BRACKETS + 1) + "true",
            "-".repeat(2000),
            "[".repeat(2000),
            vec!["true"; MAX_DEPTH + 1].join("&&"),
            vec!["true"; MAX_DEPTH + 1].join("||"),
            vec!["true"; 340].join("&&"),
            vec!["1"; 1000].join("+"),
            vec!["claims"; 250].join("."),
            "true?true:".repeat(200) + "true",
        ] {
            assert_eq!(judge(&deep), Err(WhenError::Deep), "{deep}");
        }
    }
}
