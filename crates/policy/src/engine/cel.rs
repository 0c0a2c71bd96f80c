//! Policies in CEL (the Common Expression Language): one expression that has to be true.
//!
//! ```text
//! predicate.builder.id == "https://ci.corp.example" && signer.issuer == "https://token.actions.githubusercontent.com"
//! ```
//! The library has no budget of its own. So an expression has no loop within a loop and builds nothing in one: what it can cost is
//! bounded by its length times the length of the input.

use super::{PolicyError, Program, Verdict, gist, malformed};
use crate::input::Input;
use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::{Key, Map};
use cel::{Context, Value as CelValue};
use serde_json::Value;
use std::sync::Arc;

/// Longest expression, in bytes.
const MAX_EXPRESSION_LEN: usize = 16 << 10;
/// Deepest brackets, and most signs before a value.
const MAX_BRACKETS: usize = 8;
/// Deepest expression: most terms of a chain such as `a && b && c`.
const MAX_DEPTH: usize = 20;
/// Most values of an input.
const MAX_VALUES: usize = 1 << 16;
/// The variables of an expression.
const VARIABLES: [&str; 5] = ["statement", "predicate", "predicateType", "subject", "signer"];
/// The functions that an expression may call; operators are not spelled with letters.
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

#[derive(Clone)]
pub(super) struct Expression(Arc<cel::Program>);

pub(super) fn open(source: &str) -> Result<Program, PolicyError> {
    let refuse = |problem: String| malformed("CEL", problem);
    if source.len() > MAX_EXPRESSION_LEN {
        return Err(refuse(format!("it is longer than {MAX_EXPRESSION_LEN} bytes")));
    }
    if is_deep(source) {
        return Err(refuse(deep()));
    }
    let program = cel::Program::compile(source).map_err(|error| refuse(gist(&error.to_string())))?;
    check(program.expression(), &mut Vec::new(), Within { a_loop: false, depth: 0 }).map_err(refuse)?;
    Ok(Program::Cel(Expression(Arc::new(program))))
}

impl Expression {
    pub(super) fn evaluate(&self, input: &Input) -> Verdict {
        if input.values() > MAX_VALUES {
            return Verdict::refused(format!("the statement has more than {MAX_VALUES} values: judge it with Rego"));
        }
        let document = input.document();
        let field = |name: &str| value(document.get(name).unwrap_or(&Value::Null));
        let mut context = Context::default();
        context.add_variable_from_value("statement", value(document));
        for name in ["predicate", "predicateType", "subject"] {
            context.add_variable_from_value(name, field(name));
        }
        context.add_variable_from_value("signer", value(input.signer()));
        match self.0.execute(&context) {
            Ok(CelValue::Bool(true)) => Verdict::allowed(),
            Ok(CelValue::Bool(false)) => Verdict::refused("the expression is false"),
            Ok(other) => Verdict::refused(format!("the expression gives {:?} and not true or false", other.type_of())),
            Err(error) => Verdict::refused(format!("the expression cannot be evaluated: {}", gist(&error.to_string()))),
        }
    }
}

fn deep() -> String {
    format!(
        "it is too deep: it may have {MAX_BRACKETS} brackets within each other and chains of {MAX_DEPTH} terms; make several policies of it, or use `in [..]`"
    )
}

/// Whether reading it would take too much stack: the library reads brackets, signs and chains by recursion. What stands in quotes
/// is counted as well.
fn is_deep(text: &str) -> bool {
    let (mut depth, mut signs, mut deepest) = (0_usize, 0_usize, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
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

/// Where an expression stands.
#[derive(Clone, Copy)]
struct Within {
    a_loop: bool,
    depth: usize,
}

/// Names, functions and loops of an expression. `bound` are the names that the loop around it gives.
fn check<'a>(expression: &'a IdedExpr, bound: &mut Vec<&'a str>, within: Within) -> Result<(), String> {
    if within.depth > MAX_DEPTH {
        return Err(deep());
    }
    let within = Within { depth: within.depth.saturating_add(1), ..within };
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if VARIABLES.contains(&name.as_str()) || bound.contains(&name.as_str()) => Ok(()),
        Expr::Ident(name) => Err(format!("`{name}` means nothing here: there are {}", VARIABLES.join(", "))),
        Expr::Select(select) => check(&select.operand, bound, within),
        Expr::Call(call) => {
            let spelled = call.func_name.starts_with(|first: char| first.is_ascii_alphabetic());
            if spelled && !FUNCTIONS.contains(&call.func_name.as_str()) {
                return Err(format!("there is no function `{}`", call.func_name));
            }
            // `map`, `filter` and `exists_one` are loops that add as well.
            if within.a_loop && call.func_name == "_+_" {
                return Err("`map`, `filter`, `exists_one` and `+` within a loop cost too much: use `all` or `exists`"
                    .to_owned());
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
        Expr::Struct(structure) => Err(format!("there is no type `{}`", structure.type_name)),
        Expr::Comprehension(comprehension) => {
            if within.a_loop {
                return Err("`all` or `exists` within another one costs too much".to_owned());
            }
            let inside = Within { a_loop: true, ..within };
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

/// JSON as CEL has it: whole numbers are `int` as far as they fit.
fn value(json: &Value) -> CelValue {
    match json {
        Value::Null => CelValue::Null,
        Value::Bool(truth) => CelValue::Bool(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => CelValue::Int(number),
            (None, Some(number)) => CelValue::UInt(number),
            (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(values) => CelValue::List(Arc::new(values.iter().map(value).collect())),
        Value::Object(members) => {
            let members = members.iter().map(|(name, json)| (Key::from(name.clone()), value(json)));
            CelValue::Map(Map { map: Arc::new(members.collect()) })
        }
    }
}
