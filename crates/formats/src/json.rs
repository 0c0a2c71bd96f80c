//! Protobuf JSON read strictly: one reader for bundles, trusted roots, signing configs and log answers.
//!
//! The protobuf JSON mapping leaves writers much freedom: an `int64` is a string or a number, an enumeration a name
//! or a number, bytes are base64 in either alphabet with or without padding, a field name is `lowerCamel` or
//! `snake_case`, and `null` means absent. Readers here accept all of that and nothing more: a key that stands twice
//! in an object is refused wherever it stands, because two readers may pick different ones.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::{Cell, RefCell};
use std::fmt;

/// Objects and arrays may be nested this deep.
pub const MAX_DEPTH: usize = 64;
/// A document may hold this many values, so that a short text cannot grow into a large tree.
pub const MAX_VALUES: usize = 1_000_000;

/// Either alphabet's base64, padded or not; trailing bits must be zero.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE_LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Why a document or one of its fields cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The document is larger than the reader allows.
    #[error("{len} bytes of JSON, {limit} are allowed")]
    TooLarge {
        /// Length of the document, in bytes.
        len: usize,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The text is not JSON, or nested too deeply, or holds too many values.
    #[error("not acceptable JSON: {0}")]
    Syntax(String),
    /// A key stands twice in one object.
    #[error("duplicate key {0:?}")]
    DuplicateKey(String),
    /// A field that has to be there is not.
    #[error("{path} is missing")]
    Missing {
        /// Where, as `tlogEntries[0].logId`.
        path: String,
    },
    /// A field has another type or a value out of range.
    #[error("{path} is not {expected}")]
    Mismatch {
        /// Where.
        path: String,
        /// What was expected there.
        expected: &'static str,
    },
    /// A field that this message does not have, where such fields are refused.
    #[error("unknown field {path}")]
    UnknownField {
        /// Where.
        path: String,
    },
}

/// Parses a document of at most `limit` bytes.
///
/// # Errors
/// [`JsonError::TooLarge`], [`JsonError::DuplicateKey`] or [`JsonError::Syntax`] (also for text after the document).
pub fn parse(document: &[u8], limit: usize) -> Result<Value, JsonError> {
    if document.len() > limit {
        return Err(JsonError::TooLarge { len: document.len(), limit });
    }
    let state = State { values: Cell::new(0), duplicate: RefCell::new(None) };
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    let parsed = Tree { state: &state, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| {
        state.duplicate.take().map_or_else(|| JsonError::Syntax(error.to_string()), JsonError::DuplicateKey)
    })
}

/// Decodes the base64 of protobuf JSON: either alphabet, padded or not, newlines ignored.
#[must_use]
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { &URL_SAFE_LENIENT } else { &STANDARD_LENIENT };
    if text.contains(['\n', '\r']) {
        let joined: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
        engine.decode(joined).ok()
    } else {
        engine.decode(text).ok()
    }
}

/// Encodes bytes as protobuf JSON writers do: standard alphabet, padded.
#[must_use]
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// base64url without padding (RFC 4648 §5), as OAuth and JOSE write it.
#[must_use]
pub fn encode_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A value together with its place in the document, for messages that name the field.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    /// The root of a parsed document.
    #[must_use]
    pub const fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    /// The value itself.
    #[must_use]
    pub const fn value(&self) -> &'a Value {
        self.value
    }

    /// Where it stands; `the document` for the root.
    #[must_use]
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "the document" } else { &self.path }
    }

    fn mismatch(&self, expected: &'static str) -> JsonError {
        JsonError::Mismatch { path: self.path().to_owned(), expected }
    }

    fn child_path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn object(&self) -> Result<&'a Map<String, Value>, JsonError> {
        self.value.as_object().ok_or_else(|| self.mismatch("an object"))
    }

    /// A field by its `lowerCamel` name or the `snake_case` one; `None` if it is absent or null.
    ///
    /// # Errors
    /// If this is no object, or the field stands in it under both names.
    pub fn field(&self, name: &str) -> Result<Option<Node<'a>>, JsonError> {
        let object = self.object()?;
        let snake = snake_case(name);
        let value = match (object.get(name), object.get(&snake)) {
            (Some(_), Some(_)) if snake != name => return Err(JsonError::DuplicateKey(self.child_path(&snake))),
            (Some(value), _) | (None, Some(value)) => value,
            (None, None) => return Ok(None),
        };
        Ok((!value.is_null()).then(|| Node { value, path: self.child_path(name) }))
    }

    /// A field that has to be there.
    ///
    /// # Errors
    /// As [`Node::field`], and [`JsonError::Missing`].
    pub fn required(&self, name: &str) -> Result<Node<'a>, JsonError> {
        self.field(name)?.ok_or_else(|| JsonError::Missing { path: self.child_path(name) })
    }

    /// The elements of a repeated field; none if it is absent.
    ///
    /// # Errors
    /// If it is no array.
    pub fn repeated(&self, name: &str) -> Result<Vec<Node<'a>>, JsonError> {
        self.field(name)?.map_or_else(|| Ok(Vec::new()), |node| node.elements())
    }

    /// The elements of an array.
    ///
    /// # Errors
    /// If this is no array.
    pub fn elements(&self) -> Result<Vec<Node<'a>>, JsonError> {
        let array = self.value.as_array().ok_or_else(|| self.mismatch("an array"))?;
        Ok(array
            .iter()
            .enumerate()
            .map(|(index, value)| Node { value, path: format!("{}[{index}]", self.path) })
            .collect())
    }

    /// Refuses fields other than `known` (`lowerCamel` names; `snake_case` is accepted as well).
    ///
    /// # Errors
    /// [`JsonError::UnknownField`] naming the first one.
    pub fn only(&self, known: &[&str]) -> Result<(), JsonError> {
        for key in self.object()?.keys() {
            if !known.iter().any(|name| key == name || *key == snake_case(name)) {
                return Err(JsonError::UnknownField { path: self.child_path(key) });
            }
        }
        Ok(())
    }

    /// A string.
    ///
    /// # Errors
    /// If this is something else.
    pub fn string(&self) -> Result<&'a str, JsonError> {
        self.value.as_str().ok_or_else(|| self.mismatch("a string"))
    }

    /// A string field; empty if it is absent.
    ///
    /// # Errors
    /// If it is something else.
    pub fn string_field(&self, name: &str) -> Result<&'a str, JsonError> {
        self.field(name)?.map_or(Ok(""), |node| node.string())
    }

    /// Bytes in base64.
    ///
    /// # Errors
    /// If this is no string or no base64.
    pub fn bytes(&self) -> Result<Vec<u8>, JsonError> {
        self.value.as_str().and_then(decode_base64).ok_or_else(|| self.mismatch("base64"))
    }

    /// A bytes field; empty if it is absent.
    ///
    /// # Errors
    /// If it is no base64.
    pub fn bytes_field(&self, name: &str) -> Result<Vec<u8>, JsonError> {
        self.field(name)?.map_or_else(|| Ok(Vec::new()), |node| node.bytes())
    }

    /// An `int64`, as a decimal string or a number.
    ///
    /// # Errors
    /// If this is neither.
    pub fn int64(&self) -> Result<i64, JsonError> {
        let number = match self.value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) if is_decimal(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.mismatch("a 64-bit integer"))
    }

    /// An `int64` field that must not be negative; 0 if it is absent.
    ///
    /// # Errors
    /// If it is no integer, or negative.
    pub fn index_field(&self, name: &str) -> Result<u64, JsonError> {
        let Some(node) = self.field(name)? else { return Ok(0) };
        u64::try_from(node.int64()?).map_err(|_| node.mismatch("a non-negative integer"))
    }

    /// An enumeration field by name or number; `None` if it is absent, empty or the zero value.
    ///
    /// # Errors
    /// If neither `by_name` nor `by_number` knows it.
    pub fn enumeration_field<T>(
        &self,
        name: &str,
        by_name: impl Fn(&str) -> Option<T>,
        by_number: impl Fn(i64) -> Option<T>,
    ) -> Result<Option<T>, JsonError> {
        let Some(node) = self.field(name)? else { return Ok(None) };
        let value = match node.value {
            Value::String(text) if text.is_empty() || text.ends_with("_UNSPECIFIED") => return Ok(None),
            Value::String(text) => by_name(text),
            Value::Number(number) if number.as_i64() == Some(0) => return Ok(None),
            Value::Number(number) => number.as_i64().and_then(by_number),
            _ => None,
        };
        value.map(Some).ok_or_else(|| node.mismatch("a supported value of its enumeration"))
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The protobuf name of a `lowerCamel` JSON name: `logIndex` is `log_index`.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len().saturating_add(4));
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

struct State {
    values: Cell<usize>,
    duplicate: RefCell<Option<String>>,
}

/// Builds a [`Value`] while counting values and depth and refusing duplicate keys.
#[derive(Clone, Copy)]
struct Tree<'s> {
    state: &'s State,
    depth: usize,
}

impl Tree<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(Self { depth: self.depth.saturating_add(1), ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let values = self.state.values.get().saturating_add(1);
        if values > MAX_VALUES {
            return Err(D::Error::custom(format_args!("more than {MAX_VALUES} values")));
        }
        self.state.values.set(values);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(inner)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if object.contains_key(&key) {
                let error = A::Error::custom("duplicate key");
                self.state.duplicate.replace(Some(key));
                return Err(error);
            }
            let value = access.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::{JsonError, MAX_DEPTH, Node, decode_base64, encode_base64, parse};

    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth() {
        let error = parse(br#"{"a":[{"b":1,"c":{"d":1,"d":2}}]}"#, 100).unwrap_err();
        assert_eq!(error, JsonError::DuplicateKey("d".into()));
        // A reader that unescapes keys sees the same key.
        assert_eq!(parse(br#"{"a":1,"\u0061":2}"#, 100), Err(JsonError::DuplicateKey("a".into())));
        let value = parse(br#"{"logIndex":"1","log_index":"2"}"#, 100).unwrap();
        assert!(matches!(Node::root(&value).field("logIndex"), Err(JsonError::DuplicateKey(_))));
    }

    #[test]
    fn size_depth_and_trailing_text_are_bounded() {
        assert_eq!(parse(b"[1]  ", 4), Err(JsonError::TooLarge { len: 5, limit: 4 }));
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(deep(MAX_DEPTH).as_bytes(), 1000).is_ok());
        assert!(matches!(parse(deep(MAX_DEPTH + 1).as_bytes(), 1000), Err(JsonError::Syntax(_))));
        assert!(matches!(parse(b"{} {}", 100), Err(JsonError::Syntax(_))));
        assert!(matches!(parse(b"{\"a\":", 100), Err(JsonError::Syntax(_))));
        assert!(matches!(parse(b"\"\xff\"", 100), Err(JsonError::Syntax(_))));
    }

    #[test]
    fn a_short_text_cannot_grow_into_a_huge_tree() {
        let text = format!("[{}0]", "0,".repeat(super::MAX_VALUES));
        assert!(matches!(parse(text.as_bytes(), usize::MAX), Err(JsonError::Syntax(_))));
    }

    #[test]
    fn base64_in_either_alphabet_padded_or_not_with_newlines() {
        for text in ["+/+/AQ==", "-_-_AQ==", "+/+/AQ", "-_-_AQ", "+/+/\nAQ==\n", "+/\r\n+/AQ"] {
            assert_eq!(decode_base64(text).unwrap(), [0xfb, 0xff, 0xbf, 1], "{text:?}");
        }
        for text in ["+_AQ", "INVALID!!!", "A", "AR==", "AQ== "] {
            assert_eq!(decode_base64(text), None, "{text:?}");
        }
        assert_eq!(encode_base64(&[0xfb, 0xff, 0xbf, 1]), "+/+/AQ==");
        assert_eq!(decode_base64(""), Some(vec![]));
    }

    #[test]
    fn integers_enumerations_and_null_follow_the_protobuf_mapping() {
        let value = parse(br#"{"a":"12","b":12,"c":-1,"d":null,"e":"+1","f":1.5,"log_index":"7","g":"TWO","h":2,"i":"X_UNSPECIFIED"}"#, 1000).unwrap();
        let node = Node::root(&value);
        assert_eq!(node.index_field("a"), Ok(12));
        assert_eq!(node.index_field("b"), Ok(12));
        assert_eq!(node.index_field("d"), Ok(0));
        assert_eq!(node.index_field("absent"), Ok(0));
        assert_eq!(node.index_field("logIndex"), Ok(7));
        for bad in ["c", "e", "f"] {
            assert!(matches!(node.index_field(bad), Err(JsonError::Mismatch { path, .. }) if path == bad), "{bad}");
        }
        let two = |name: &str| node.enumeration_field(name, |n| (n == "TWO").then_some(2), |n| (n == 2).then_some(2));
        assert_eq!((two("g"), two("h"), two("i"), two("d")), (Ok(Some(2)), Ok(Some(2)), Ok(None), Ok(None)));
        assert!(two("a").is_err());
    }

    #[test]
    fn unknown_fields_are_named_where_they_are_refused() {
        let value = parse(br#"{"logIndex":1,"key_id":2,"extra":{}}"#, 100).unwrap();
        let error = Node::root(&value).only(&["logIndex", "keyId"]).unwrap_err();
        assert_eq!(error, JsonError::UnknownField { path: "extra".into() });
    }
}
