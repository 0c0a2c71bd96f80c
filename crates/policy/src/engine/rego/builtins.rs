//! Functions that policies call in place of the library's own: those that would draw randomness, know the time, or build something
//! far larger than what they are given.

use jiff::Timestamp;
use regorus::{Engine, Value};

/// Longest text or list that a function makes.
const MAX_RESULT: usize = 1 << 20;
/// Longest text that is read as a number.
const MAX_NUMBER_LEN: usize = 32;

/// What is not offered, and how many arguments it has.
const REFUSED: [(&str, u8); 6] = [
    ("rand.intn", 2),
    ("regex.replace", 3),
    ("strings.replace_n", 2),
    ("graph.reachable_paths", 2),
    ("units.parse", 1),
    ("units.parse_bytes", 1),
];

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("`{0}` is not offered to policies")]
    Refused(&'static str),
    #[error("`{0}` would make something too large")]
    Large(&'static str),
    #[error("`{0}` cannot be called with this")]
    Argument(&'static str),
}

type Call = fn(&[Value]) -> Result<Value, CallError>;

const BOUNDED: [(&str, u8, Call); 8] = [
    ("numbers.range", 2, |arguments| range(arguments, 1)),
    ("numbers.range_step", 3, |arguments| {
        let step = whole(arguments, 2).filter(|step| *step > 0).ok_or(CallError::Argument("numbers.range_step"))?;
        range(arguments, step)
    }),
    ("array.concat", 2, array_concat),
    ("bits.lsh", 2, shift),
    ("concat", 2, concat),
    ("replace", 3, replace),
    ("to_number", 1, to_number),
    ("time.parse_rfc3339_ns", 1, parse_time),
];

/// Puts them into `engine`.
///
/// # Errors
/// The library's, if it has one of them already.
pub(super) fn install(engine: &mut Engine, now: Timestamp) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    for (name, arguments) in REFUSED {
        let refuse = move |_| Err(CallError::Refused(name).into());
        engine.add_extension(name.to_owned(), arguments, Box::new(refuse)).map_err(|error| failed(&error))?;
    }
    for (name, arguments, call) in BOUNDED {
        let bounded = move |values: Vec<Value>| Ok(call(&values)?);
        engine.add_extension(name.to_owned(), arguments, Box::new(bounded)).map_err(|error| failed(&error))?;
    }
    let told = move |_| Ok(nanoseconds(now).ok_or(CallError::Large("time.now_ns"))?);
    engine.add_extension("time.now_ns".to_owned(), 0, Box::new(told)).map_err(|error| failed(&error))
}

fn nanoseconds(time: Timestamp) -> Option<Value> {
    i64::try_from(time.as_nanosecond()).ok().map(Value::from)
}

fn whole(arguments: &[Value], at: usize) -> Option<i64> {
    arguments.get(at)?.as_i64().ok()
}

fn text(arguments: &[Value], at: usize, name: &'static str) -> Result<String, CallError> {
    let text = arguments.get(at).and_then(|value| value.as_string().ok());
    text.map(|text| text.to_string()).ok_or(CallError::Argument(name))
}

fn range(arguments: &[Value], step: i64) -> Result<Value, CallError> {
    let name = "numbers.range";
    let (from, to) = whole(arguments, 0).zip(whole(arguments, 1)).ok_or(CallError::Argument(name))?;
    let len = from.abs_diff(to) / step.unsigned_abs().max(1);
    if usize::try_from(len).is_ok_and(|len| len < MAX_RESULT) {
        let step = if from <= to { step } else { step.saturating_neg() };
        let next =
            |last: &i64| last.checked_add(step).filter(|next| if from <= to { *next <= to } else { *next >= to });
        let numbers: Vec<Value> = std::iter::successors(Some(from), next).map(Value::from).collect();
        return Ok(Value::from(numbers));
    }
    Err(CallError::Large(name))
}

fn array_concat(arguments: &[Value]) -> Result<Value, CallError> {
    let name = "array.concat";
    let [first, second] = arguments else { return Err(CallError::Argument(name)) };
    let (Ok(first), Ok(second)) = (first.as_array(), second.as_array()) else { return Err(CallError::Argument(name)) };
    if first.len().saturating_add(second.len()) > MAX_RESULT {
        return Err(CallError::Large(name));
    }
    Ok(Value::from(first.iter().chain(second.iter()).cloned().collect::<Vec<_>>()))
}

fn shift(arguments: &[Value]) -> Result<Value, CallError> {
    let (number, by) = whole(arguments, 0).zip(whole(arguments, 1)).ok_or(CallError::Argument("bits.lsh"))?;
    let factor = u32::try_from(by).ok().and_then(|by| 2_i64.checked_pow(by));
    let shifted = factor.and_then(|factor| number.checked_mul(factor));
    shifted.map(Value::from).ok_or(CallError::Large("bits.lsh"))
}

fn concat(arguments: &[Value]) -> Result<Value, CallError> {
    let name = "concat";
    let between = text(arguments, 0, name)?;
    let parts: Vec<&Value> = match arguments.get(1) {
        Some(Value::Array(parts)) => parts.iter().collect(),
        Some(Value::Set(parts)) => parts.iter().collect(),
        _ => return Err(CallError::Argument(name)),
    };
    let mut joined = String::new();
    for (at, part) in parts.into_iter().enumerate() {
        let part = part.as_string().map_err(|_| CallError::Argument(name))?;
        if joined.len().saturating_add(part.len()).saturating_add(between.len()) > MAX_RESULT {
            return Err(CallError::Large(name));
        }
        if at > 0 {
            joined.push_str(&between);
        }
        joined.push_str(part.as_ref());
    }
    Ok(Value::from(joined))
}

fn replace(arguments: &[Value]) -> Result<Value, CallError> {
    let name = "replace";
    let (whole, old, new) = (text(arguments, 0, name)?, text(arguments, 1, name)?, text(arguments, 2, name)?);
    let grown = whole.matches(&old).count().saturating_mul(new.len()).saturating_add(whole.len());
    if grown > MAX_RESULT { Err(CallError::Large(name)) } else { Ok(Value::from(whole.replace(&old, &new))) }
}

/// Numbers as JSON writes them; an exponent of a hundred million would be worked out digit by digit.
fn to_number(arguments: &[Value]) -> Result<Value, CallError> {
    let wrong = CallError::Argument("to_number");
    match arguments {
        [number @ Value::Number(_)] => Ok(number.clone()),
        [Value::Null] => Ok(Value::from(0_i64)),
        [Value::Bool(truth)] => Ok(Value::from(i64::from(*truth))),
        [Value::String(text)] if text.len() <= MAX_NUMBER_LEN => {
            let number: serde_json::Number = serde_json::from_str(text).map_err(|_| wrong)?;
            Ok(Value::from(serde_json::Value::from(number)))
        }
        _ => Err(wrong),
    }
}

fn parse_time(arguments: &[Value]) -> Result<Value, CallError> {
    let name = "time.parse_rfc3339_ns";
    let time: Timestamp = text(arguments, 0, name)?.parse().map_err(|_| CallError::Argument(name))?;
    nanoseconds(time).ok_or(CallError::Large(name))
}
