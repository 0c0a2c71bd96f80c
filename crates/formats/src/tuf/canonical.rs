//! OLPC canonical JSON, over which TUF signs: not RFC 8785 (JCS).
//!
//! Keys sorted by code point, no white space, integers only; in strings only `"` and `\` are escaped, so control
//! characters stand there as they are and the result need not be JSON.

use super::TufError;
use crate::json::{self, JsonError};
use serde_json::Value;

/// Parses at most `max` bytes of JSON; a duplicate key is refused.
///
/// # Errors
/// [`TufError::TooLarge`], [`TufError::Json`].
pub fn parse(bytes: &[u8], max: usize) -> Result<Value, TufError> {
    json::parse(bytes, max).map_err(|error| match error {
        JsonError::TooLarge { len, limit: max } => TufError::TooLarge { len, max },
        other => TufError::Json(other.to_string()),
    })
}

/// The canonical form of a value.
///
/// # Errors
/// [`TufError::Json`] for a number that is not an integer: it has no canonical form.
pub fn encode(value: &Value) -> Result<Vec<u8>, TufError> {
    let mut out = Vec::new();
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), TufError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_f64() => return Err(TufError::Json(format!("{number} is not an integer"))),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            // UTF-8 sorts as its code points do. Sorted here: the map's own order depends on a feature of serde_json.
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (position, (key, member)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(member, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::{encode, parse};
    use crate::code::Code;

    #[test]
    fn keys_are_sorted_by_code_point_and_only_quote_and_backslash_are_escaped() {
        let text = "{ \"b\" : [1, -2, true, null, {}], \"a\\u00e9\": \"x\\n\\\"\\\\\\u0007\", \"\u{10000}\": \"\", \"\u{ffff}\": 0 }";
        let value = parse(text.as_bytes(), 1000).expect("JSON");
        let expected = "{\"a\u{e9}\":\"x\n\\\"\\\\\u{7}\",\"b\":[1,-2,true,null,{}],\"\u{ffff}\":0,\"\u{10000}\":\"\"}";
        assert_eq!(String::from_utf8(encode(&value).expect("canonical")).expect("UTF-8"), expected);
    }

    #[test]
    fn what_has_two_readings_or_no_canonical_form_is_refused() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":{"a":1,"\u0061":2}}"#, "{} {}", "", "\"\\ud800\"", "\u{feff}{}"] {
            assert_eq!(parse(text.as_bytes(), 1000).expect_err(text).code(), Code::TRUSTED_ROOT_MALFORMED);
        }
        for text in ["1.0", "1e3", "-0", "18446744073709551616", "[0.5]"] {
            let error = parse(text.as_bytes(), 1000).and_then(|value| encode(&value)).expect_err(text);
            assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED);
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        assert_eq!(parse(b"[0]", 2).expect_err("long").code(), Code::INPUT_TOO_LARGE);
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes(), 1 << 20).expect_err("deep").code(), Code::TRUSTED_ROOT_MALFORMED);
    }
}
