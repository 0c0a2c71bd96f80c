//! Policies in Rego, after cosign and policy-controller.
//!
//! | package | rule | allows if |
//! |---|---|---|
//! | `signature` | `allow`, `deny` | `allow` is true, and `deny` is absent, false or empty |
//! | `sigstore` | `isCompliant` | it is true, or a list or set of `{result, error, warning}` that are all true and warn of nothing |
//!
//! cosign does not ask for `deny`, and takes one true result among others for an answer. Here what is written down and not met denies.

mod builtins;
mod guard;

use super::{PolicyError, Program, Verdict, gist, malformed};
use crate::input::Input;
use jiff::Timestamp;
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, PolicyLengthConfig, Value};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// An evaluation may take this long. The library measures it; too late is a denial, so that time can only take an allowance away.
const TIME_LIMIT: Duration = Duration::from_secs(1);
/// Steps between two looks at the time.
const STEPS: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);
/// Bounds of the library's reader: columns, bytes and lines.
const LENGTHS: PolicyLengthConfig = PolicyLengthConfig {
    max_col: NonZeroU32::MIN.saturating_add(4095),
    max_file_bytes: NonZeroUsize::MIN.saturating_add(super::MAX_SOURCE_LEN),
    max_lines: NonZeroUsize::MIN.saturating_add(20_000),
};

/// Where the answer stands.
#[derive(Clone, Copy)]
enum Convention {
    /// cosign's.
    Signature { has_deny: bool },
    /// policy-controller's.
    Sigstore,
}

#[derive(Clone)]
pub(super) struct Module {
    engine: Engine,
    convention: Convention,
}

pub(super) fn open(source: &str) -> Result<Program, PolicyError> {
    let refuse = |problem: String| malformed("Rego", problem);
    guard::tokens(source).map_err(refuse)?;
    let (mut engine, package) = match read(source, false) {
        Ok(read) => read,
        Err(newer) => read(source, true)
            .map_err(|older| refuse(format!("{newer}; read as Rego v0, which has no `if`: {older}")))?,
    };
    let rules = guard::rules(&mut engine, source, package.strip_prefix("data.").unwrap_or(&package)).map_err(refuse)?;
    let has = |rule: &str| rules.iter().any(|name| name == rule);
    let convention = match package.as_str() {
        "data.signature" if has("allow") => Convention::Signature { has_deny: has("deny") },
        "data.sigstore" if has("isCompliant") => Convention::Sigstore,
        "data.signature" => return Err(refuse("package signature has no rule `allow`".to_owned())),
        "data.sigstore" => return Err(refuse("package sigstore has no rule `isCompliant`".to_owned())),
        other => {
            let found = other.trim_start_matches("data.");
            return Err(refuse(format!(
                "its package is {found}: it has to be signature, with a rule `allow`, or sigstore, with `isCompliant`"
            )));
        }
    };
    Ok(Program::Rego(Box::new(Module { engine, convention })))
}

fn read(source: &str, v0: bool) -> Result<(Engine, String), String> {
    let mut engine = Engine::new();
    engine.set_rego_v0(v0);
    engine.set_policy_length_config(LENGTHS);
    engine.set_execution_timer_config(ExecutionTimerConfig { limit: TIME_LIMIT, check_interval: STEPS });
    engine.set_strict_builtin_errors(true);
    // Else what a policy prints would go to the standard error of the process.
    engine.set_gather_prints(true);
    let package = engine.add_policy("policy.rego".to_owned(), source.to_owned());
    let package = package.map_err(|error| gist(&error.to_string()))?;
    Ok((engine, package))
}

impl Module {
    pub(super) fn evaluate(&self, input: &Input, now: Timestamp) -> Verdict {
        let mut engine = self.engine.clone();
        let data = serde_json::json!({ "waxseal": { "signer": input.signer() } });
        let ready = builtins::install(&mut engine, now)
            .and_then(|()| engine.add_data(Value::from(data)).map_err(|error| error.to_string()));
        if let Err(problem) = ready {
            return Verdict::refused(format!("the policy cannot be evaluated: {problem}"));
        }
        engine.set_input(Value::from(input.document().clone()));
        match self.convention {
            Convention::Signature { has_deny } => signature(&mut engine, has_deny),
            Convention::Sigstore => sigstore(&mut engine),
        }
    }
}

fn ask(engine: &mut Engine, rule: &str) -> Result<Value, Verdict> {
    engine
        .eval_rule(format!("data.{rule}"))
        .map_err(|error| Verdict::refused(format!("{rule} cannot be evaluated: {}", gist(&error.to_string()))))
}

fn signature(engine: &mut Engine, has_deny: bool) -> Verdict {
    let answers = ask(engine, "signature.allow").and_then(|allow| {
        let deny = if has_deny { ask(engine, "signature.deny")? } else { Value::Undefined };
        Ok((allow, deny))
    });
    let (allow, deny) = match answers {
        Ok(answers) => answers,
        Err(denied) => return denied,
    };
    match (allow, objections(&deny)) {
        (_, Some(messages)) => Verdict::denied(messages),
        (Value::Bool(true), None) => Verdict::allowed(),
        (Value::Undefined, None) => Verdict::refused("signature.allow is undefined"),
        (other, None) => Verdict::refused(format!("signature.allow is {} and not true", kind(&other))),
    }
}

/// What `deny` says; none if it is undefined, false or empty.
fn objections(deny: &Value) -> Option<Vec<String>> {
    let texts = |values: &mut dyn Iterator<Item = &Value>| {
        let texts: Vec<String> = values.map(message).collect();
        (!texts.is_empty()).then_some(texts)
    };
    match deny {
        Value::Undefined | Value::Bool(false) => None,
        Value::Bool(true) => Some(vec!["signature.deny is true".to_owned()]),
        Value::Set(values) => texts(&mut values.iter()),
        Value::Array(values) => texts(&mut values.iter()),
        Value::Object(members) => texts(&mut members.values()),
        other => Some(vec![message(other)]),
    }
}

fn sigstore(engine: &mut Engine) -> Verdict {
    let answer = match ask(engine, "sigstore.isCompliant") {
        Ok(answer) => answer,
        Err(denied) => return denied,
    };
    let results: Vec<&Value> = match &answer {
        Value::Bool(true) => return Verdict::allowed(),
        Value::Undefined => return Verdict::refused("sigstore.isCompliant is undefined"),
        Value::Set(results) if !results.is_empty() => results.iter().collect(),
        Value::Array(results) if !results.is_empty() => results.iter().collect(),
        other => return Verdict::refused(format!("sigstore.isCompliant is {} and not true", kind(other))),
    };
    let objections: Vec<String> = results.into_iter().filter_map(objection).collect();
    if objections.is_empty() { Verdict::allowed() } else { Verdict::denied(objections) }
}

/// What one `{result, error, warning}` has against the statement. A warning of a result that is true denies as in
/// policy-controller.
fn objection(result: &Value) -> Option<String> {
    let Value::Object(members) = result else {
        return Some(format!("a result of sigstore.isCompliant is {} and no object", kind(result)));
    };
    let member = |name: &str| members.get(&Value::from(name));
    let said = |name: &str| member(name).map(message).filter(|text| !text.is_empty());
    match member("result") {
        Some(Value::Bool(true)) => said("warning").map(|warning| format!("warning: {warning}")),
        Some(Value::Bool(false)) | None => {
            Some(said("error").or_else(|| said("warning")).unwrap_or_else(|| "a result is not true".to_owned()))
        }
        Some(other) => Some(format!("a result is {} and not true or false", kind(other))),
    }
}

/// Texts as they are, anything else as JSON.
fn message(value: &Value) -> String {
    value.as_string().map_or_else(|_| value.to_string(), |text| text.to_string())
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Set(_) => "a set",
        Value::Object(_) => "an object",
        Value::Undefined => "undefined",
    }
}
