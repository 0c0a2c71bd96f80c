//! OLPC canonical JSON, over which TUF signs: not RFC 8785 (JCS).
//!
//! Keys sorted by code point, no white space, integers only; in strings only `"` and `\` are escaped, so control
//! characters stand there as they are and the result need not be JSON.

use super::TufError;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Parses at most `max` bytes of JSON strictly: no duplicate key, no number but 64-bit integers, nothing after the
/// value. Nesting is bounded by the parser (128 levels).
///
/// # Errors
/// [`TufError::TooLarge`], [`TufError::Json`].
pub fn parse(bytes: &[u8], max: usize) -> Result<Value, TufError> {
    if bytes.len() > max {
        return Err(TufError::TooLarge { len: bytes.len(), max });
    }
    let malformed = |error: serde_json::Error| TufError::Json(error.to_string());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    Ok(value)
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

/// Builds a [`Value`] as serde_json does, but refuses what has two readings.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with integers and unique keys")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format_args!("{value} is not an integer of 64 bits")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Strict)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(Strict)?;
            if map.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!("the key {key:?} stands there twice")));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::{encode, parse};
    use crate::code::Code;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_by_code_point_and_only_quote_and_backslash_are_escaped() {
        let text = "{ \"b\" : [1, -2, true, null, {}], \"a\\u00e9\": \"x\\n\\\"\\\\\\u0007\", \"\u{10000}\": \"\", \"\u{ffff}\": 0 }";
        let value = parse(text.as_bytes(), 1000).expect("JSON");
        let expected = "{\"a\u{e9}\":\"x\n\\\"\\\\\u{7}\",\"b\":[1,-2,true,null,{}],\"\u{ffff}\":0,\"\u{10000}\":\"\"}";
        assert_eq!(String::from_utf8(encode(&value).expect("canonical")).expect("UTF-8"), expected);
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":{"a":1,"\u0061":2}}"#,
            "1.0",
            "1e3",
            "-0",
            "18446744073709551616",
            "{} {}",
            "",
            "[1,]",
            "\"\\ud800\"",
            "\u{feff}{}",
        ] {
            let error = parse(text.as_bytes(), 1000).expect_err(text);
            assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED, "{text}");
        }
        assert!(encode(&json!({"a": [0.5]})).is_err());
    }

    #[test]
    fn size_and_depth_are_bounded() {
        assert_eq!(parse(b"[0]", 2).expect_err("long").code(), Code::INPUT_TOO_LARGE);
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes(), 1 << 20).expect_err("deep").code(), Code::TRUSTED_ROOT_MALFORMED);
    }
}
