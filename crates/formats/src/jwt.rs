//! JSON Web Tokens in compact form (RFC 7515 §7.1, RFC 7519) and the keys that sign them (RFC 7517).
//!
//! ```text
//! eyJhbGciOiJSUzI1NiJ9 . eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIn0 . c2lnbmF0dXJl
//! header                 claims                                    signature
//! ```
//! Size and number of parts are checked before a byte is decoded (a body of dots once cost Fulcio gigabytes,
//! CVE-2025-66506). Nothing here judges a signature or a claim: that is done by the authority.

use crate::code::Code;
use crate::crypto::{KeyError, KeyKind, PublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Longest token, in bytes. GitHub's have less than 2 KiB; group lists of large directories reach 8.
pub const MAX_TOKEN_LEN: usize = 16 * 1024;
/// Longest JSON Web Key Set, in bytes.
pub const MAX_KEY_SET_LEN: usize = 256 * 1024;
/// Most keys in a set that are kept.
pub const MAX_KEYS: usize = 64;
/// Header members that let a token bring or point to its own key, or change how it is to be read.
const FORBIDDEN_HEADERS: [&str; 6] = ["jwk", "jku", "x5c", "x5u", "crit", "b64"];
/// Values of `typ`, in lower case: an identity or access token, and not, say, a logout token of the same issuer.
const TYPES: [&str; 3] = ["jwt", "application/jwt", "at+jwt"];

/// Why a token or key set cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Longer than [`MAX_TOKEN_LEN`].
    #[error("the token is longer than {MAX_TOKEN_LEN} bytes")]
    TooLong,
    /// Not three parts between dots.
    #[error("the token does not have the three parts header.claims.signature")]
    Parts,
    /// A part is not base64url without padding.
    #[error("the token's {0} is not base64url")]
    Base64(&'static str),
    /// A part is not a JSON object, or has a key twice.
    #[error("the token's {part} is not acceptable JSON: {reason}")]
    Json {
        /// `header` or `claims`.
        part: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// A header member that is missing or has a wrong type.
    #[error("the token's header member `{0}` is missing or malformed")]
    Header(&'static str),
    /// A header member that no token here may have.
    #[error("the token's header has `{0}`, which is never honoured here")]
    ForbiddenHeader(&'static str),
    /// The set is too long or is not an object with a list `keys`.
    #[error("the key set is malformed: {0}")]
    KeySet(String),
}

impl JwtError {
    /// Always `token.malformed`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::TOKEN_MALFORMED
    }
}

/// A token taken apart. Nothing in it has been verified.
#[derive(Clone)]
pub struct Jws<'a> {
    algorithm: String,
    key_id: Option<String>,
    signing_input: &'a str,
    payload: Vec<u8>,
    signature: &'a str,
}

impl<'a> Jws<'a> {
    /// Takes a token apart: [`MAX_TOKEN_LEN`], three parts of strict base64url, a header without duplicate keys and
    /// without members that would replace our key or change the rules.
    ///
    /// # Errors
    /// Every [`JwtError`] but the last.
    pub fn parse(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(JwtError::TooLong);
        }
        let mut parts = token.splitn(4, '.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::Parts);
        };
        let signing_input = token.get(..header.len() + 1 + payload.len()).ok_or(JwtError::Parts)?;
        let members = object("header", &base64url("header", header)?)?;
        if let Some(forbidden) = FORBIDDEN_HEADERS.into_iter().find(|name| members.contains_key(*name)) {
            return Err(JwtError::ForbiddenHeader(forbidden));
        }
        let algorithm = members.get("alg").and_then(Value::as_str).ok_or(JwtError::Header("alg"))?.to_owned();
        let key_id = optional_text(&members, "kid")?.map(str::to_owned);
        if optional_text(&members, "typ")?.is_some_and(|typ| !TYPES.contains(&typ.to_ascii_lowercase().as_str())) {
            return Err(JwtError::Header("typ"));
        }
        base64url("signature", signature)?;
        Ok(Self { algorithm, key_id, signing_input, payload: base64url("claims", payload)?, signature })
    }

    /// The header's `alg`, whatever it is.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The header's `kid`.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// What was signed: `header.claims` as it stands in the token.
    #[must_use]
    pub const fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// The signature in base64url, known to be well-formed.
    #[must_use]
    pub const fn signature(&self) -> &'a str {
        self.signature
    }

    /// The claims: one JSON object without duplicate keys at any depth.
    ///
    /// # Errors
    /// [`JwtError::Json`].
    pub fn claims(&self) -> Result<Map<String, Value>, JwtError> {
        object("claims", &self.payload)
    }
}

/// A token's contents are a credential: only its algorithm and key are shown.
impl fmt::Debug for Jws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws").field("alg", &self.algorithm).field("kid", &self.key_id).finish_non_exhaustive()
    }
}

/// `header.claims` of a token to be signed; [`assemble`] adds the signature.
#[must_use]
pub fn signing_input(algorithm: &str, key_id: &str, claims: &Map<String, Value>) -> String {
    let header = serde_json::json!({ "alg": algorithm, "kid": key_id, "typ": "JWT" });
    let claims = Value::Object(claims.clone());
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// The token of a [`signing_input`] and its signature.
#[must_use]
pub fn assemble(signing_input: &str, signature: &[u8]) -> String {
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A public key of a set (RFC 7517 §4), of a kind that signs tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    /// `kid`.
    pub key_id: Option<String>,
    /// `alg`: the one algorithm that the key is meant for.
    pub algorithm: Option<String>,
    /// The key itself.
    pub material: JwkMaterial,
}

/// The numbers of a key, big-endian (RFC 7518 §6, RFC 8037 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwkMaterial {
    /// `kty` RSA.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Public exponent.
        e: Vec<u8>,
    },
    /// `kty` EC.
    Ec {
        /// `crv`, such as `P-256`.
        curve: String,
        /// Coordinate of full length.
        x: Vec<u8>,
        /// Coordinate of full length.
        y: Vec<u8>,
    },
    /// `kty` OKP with `crv` Ed25519.
    Ed25519 {
        /// The public key.
        x: Vec<u8>,
    },
}

impl JwkMaterial {
    /// The numbers of a public key.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] for RSA numbers that are not those of a PKCS#1 RSAPublicKey (RFC 8017 §A.1.1).
    pub fn of(key: &PublicKey) -> Result<Self, KeyError> {
        let ec = |curve: &str| {
            // An uncompressed point: 4, x, y.
            let numbers = key.raw().get(1..).unwrap_or_default();
            let (x, y) = numbers.split_at_checked(numbers.len() / 2).unwrap_or_default();
            Self::Ec { curve: curve.to_owned(), x: x.to_vec(), y: y.to_vec() }
        };
        Ok(match key.kind() {
            KeyKind::Rsa { .. } => {
                let mut reader = SliceReader::new(key.raw()).map_err(|_| KeyError::Malformed)?;
                let numbers = reader.sequence(|inner: &mut SliceReader<'_>| {
                    Ok::<_, der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?))
                });
                let (n, e) = numbers.map_err(|_| KeyError::Malformed)?;
                Self::Rsa { n: n.as_bytes().to_vec(), e: e.as_bytes().to_vec() }
            }
            KeyKind::EcdsaP256 => ec("P-256"),
            KeyKind::EcdsaP384 => ec("P-384"),
            KeyKind::EcdsaP521 => ec("P-521"),
            KeyKind::Ed25519 => Self::Ed25519 { x: key.raw().to_vec() },
        })
    }
}

/// The keys of an issuer that can verify signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

impl JwkSet {
    /// A set of these keys.
    #[must_use]
    pub const fn new(keys: Vec<Jwk>) -> Self {
        Self { keys }
    }

    /// Reads a key set. As RFC 7517 §5 asks, keys of other kinds and for other uses (symmetric, encryption) are
    /// passed over, and so are malformed ones; of the rest the first [`MAX_KEYS`] are kept.
    ///
    /// # Errors
    /// [`JwtError::KeySet`].
    pub fn from_json(json: &[u8]) -> Result<Self, JwtError> {
        if json.len() > MAX_KEY_SET_LEN {
            return Err(JwtError::KeySet(format!("longer than {MAX_KEY_SET_LEN} bytes")));
        }
        let set: UniqueKeys = serde_json::from_slice(json).map_err(|error| JwtError::KeySet(error.to_string()))?;
        let keys = set.0.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or_else(|| JwtError::KeySet("no list `keys`".to_owned()))?;
        Ok(Self { keys: keys.iter().filter_map(Jwk::from_value).take(MAX_KEYS).collect() })
    }

    /// The keys in their order.
    #[must_use]
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The keys that may have signed a token with this `kid`; without one, all.
    pub fn candidates<'a>(&'a self, key_id: Option<&'a str>) -> impl Iterator<Item = &'a Jwk> {
        self.keys.iter().filter(move |key| key_id.is_none() || key.key_id.as_deref() == key_id)
    }

    /// The set as an issuer publishes it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::json!({ "keys": self.keys.iter().map(Jwk::to_value).collect::<Vec<_>>() })
    }
}

impl Jwk {
    /// Reads one key. None if it is malformed, not public, or not for signatures.
    fn from_value(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let text = |name: &'static str| optional_text(members, name).ok().flatten();
        let number = |name: &'static str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        if let Some(operations) = members.get("key_ops")
            && !operations.as_array()?.iter().any(|operation| operation == "verify")
        {
            return None;
        }
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => JwkMaterial::Rsa { n: number("n")?, e: number("e")? },
            ("EC", Some(curve)) => JwkMaterial::Ec { curve: curve.to_owned(), x: number("x")?, y: number("y")? },
            ("OKP", Some("Ed25519")) => JwkMaterial::Ed25519 { x: number("x")? },
            _ => return None,
        };
        Some(Self { key_id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), material })
    }

    fn to_value(&self) -> Value {
        let mut members = Map::new();
        let mut put = |name: &str, value: String| {
            members.insert(name.to_owned(), value.into());
        };
        put("use", "sig".to_owned());
        if let Some(key_id) = &self.key_id {
            put("kid", key_id.clone());
        }
        if let Some(algorithm) = &self.algorithm {
            put("alg", algorithm.clone());
        }
        match &self.material {
            JwkMaterial::Rsa { n, e } => {
                put("kty", "RSA".to_owned());
                put("n", URL_SAFE_NO_PAD.encode(n));
                put("e", URL_SAFE_NO_PAD.encode(e));
            }
            JwkMaterial::Ec { curve, x, y } => {
                put("kty", "EC".to_owned());
                put("crv", curve.clone());
                put("x", URL_SAFE_NO_PAD.encode(x));
                put("y", URL_SAFE_NO_PAD.encode(y));
            }
            JwkMaterial::Ed25519 { x } => {
                put("kty", "OKP".to_owned());
                put("crv", "Ed25519".to_owned());
                put("x", URL_SAFE_NO_PAD.encode(x));
            }
        }
        Value::Object(members)
    }
}

/// Looks like a token rather than a file name: three base64url parts of which the first is a JSON object.
#[must_use]
pub fn looks_like_token(text: &str) -> bool {
    let base64url = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.len() <= MAX_TOKEN_LEN
        && text.starts_with("eyJ")
        && text.split('.').count() == 3
        && text.split('.').all(base64url)
}

fn base64url(part: &'static str, text: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JwtError::Base64(part))
}

fn object(part: &'static str, json: &[u8]) -> Result<Map<String, Value>, JwtError> {
    let unique: UniqueKeys =
        serde_json::from_slice(json).map_err(|error| JwtError::Json { part, reason: error.to_string() })?;
    match unique.0 {
        Value::Object(members) => Ok(members),
        _ => Err(JwtError::Json { part, reason: "not an object".to_owned() }),
    }
}

fn optional_text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, JwtError> {
    members.get(name).map(|value| value.as_str().ok_or(JwtError::Header(name))).transpose()
}

/// Any JSON whose objects have each key once: two readers of a token must never see two different issuers.
struct UniqueKeys(Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeysVisitor).map(Self)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(UniqueKeys(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((key, UniqueKeys(value))) = map.next_entry::<String, UniqueKeys>()? {
            if members.contains_key(&key) {
                return Err(de::Error::custom("an object has a key twice"));
            }
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Jwk, JwkMaterial, JwkSet, Jws, JwtError, MAX_KEY_SET_LEN, MAX_KEYS, MAX_TOKEN_LEN, assemble, looks_like_token,
        signing_input,
    };
    use crate::code::Code;
    use crate::crypto::PublicKey;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Map, Value, json};

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn refusal(token: &str) -> JwtError {
        let error = match Jws::parse(token) {
            Err(error) => error,
            Ok(jws) => jws.claims().expect_err("refused"),
        };
        assert_eq!(error.code(), Code::TOKEN_MALFORMED);
        error
    }

    fn claims(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            other => unreachable!("{other}"),
        }
    }

    #[test]
    fn a_token_round_trips() {
        let claims = claims(json!({ "iss": "https://idp.example", "groups": ["a", 1, null, true, {"b": 1.5}] }));
        let input = signing_input("RS256", "r1", &claims);
        let token = assemble(&input, b"sig");
        let jws = Jws::parse(&token).expect("a token");
        assert_eq!((jws.algorithm(), jws.key_id()), ("RS256", Some("r1")));
        assert_eq!((jws.signing_input(), jws.signature()), (input.as_str(), "c2ln"));
        assert_eq!(jws.claims(), Ok(claims));
        assert!(looks_like_token(&token));
        assert!(!format!("{jws:?}").contains("idp.example"));
    }

    #[test]
    fn cve_2025_66506_ten_megabytes_of_dots_are_refused_unread() {
        assert_eq!(refusal(&".".repeat(10_000_000)), JwtError::TooLong);
        assert_eq!(refusal(&".".repeat(MAX_TOKEN_LEN)), JwtError::Parts);
        assert_eq!(refusal(&"a".repeat(MAX_TOKEN_LEN + 1)), JwtError::TooLong);
    }

    #[test]
    fn parts_that_are_missing_too_many_or_not_base64url_are_refused() {
        let whole = token(r#"{"alg":"RS256"}"#, "{}");
        for parts in ["", "x", "x.y", "a.b.c.d", &format!("{whole}."), &format!("{whole}.e30.e30")] {
            assert_eq!(refusal(parts), JwtError::Parts, "{parts}");
        }
        assert_eq!(refusal("x.y.z"), JwtError::Base64("header"));
        assert_eq!(refusal(&format!("{whole}=")), JwtError::Base64("signature"));
        assert_eq!(refusal(&whole.replace(".e30.", ".e31.")), JwtError::Base64("claims"), "stray bits");
        assert_eq!(refusal(&whole.replace(".e30.", ".e3 0.")), JwtError::Base64("claims"));
        assert_eq!(refusal(&format!(" {whole}")), JwtError::Base64("header"));
    }

    #[test]
    fn headers_that_bring_their_own_key_or_rules_are_refused() {
        for name in ["jwk", "jku", "x5c", "x5u", "crit", "b64"] {
            let header = json!({ "alg": "RS256", name: {} }).to_string();
            assert_eq!(refusal(&token(&header, "{}")), JwtError::ForbiddenHeader(name));
        }
        assert_eq!(refusal(&token("{}", "{}")), JwtError::Header("alg"));
        assert_eq!(refusal(&token(r#"{"alg":["RS256"]}"#, "{}")), JwtError::Header("alg"));
        assert_eq!(refusal(&token(r#"{"alg":"RS256","kid":7}"#, "{}")), JwtError::Header("kid"));
        assert_eq!(refusal(&token(r#"{"alg":"RS256","typ":"logout+jwt"}"#, "{}")), JwtError::Header("typ"));
        assert!(Jws::parse(&token(r#"{"alg":"RS256","typ":"at+JWT"}"#, "{}")).is_ok(), "RFC 9068");
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        let header = r#"{"alg":"RS256"}"#;
        for (header, claims, part) in [
            (r#"{"alg":"RS256","alg":"none"}"#, "{}", "header"),
            (header, r#"{"iss":"a","iss":"b"}"#, "claims"),
            (header, r#"{"a":[{"iss":"a","iss":"b"}]}"#, "claims"),
            (header, r#"{"iss":"a","\u0069ss":"b"}"#, "claims"),
            (header, "[]", "claims"),
            (header, "{} {}", "claims"),
            (header, "", "claims"),
            ("7", "{}", "header"),
        ] {
            assert!(matches!(refusal(&token(header, claims)), JwtError::Json { part: p, .. } if p == part), "{claims}");
        }
        let deep = format!("{}{}", r#"{"a":"#.repeat(1000), "}".repeat(1000));
        assert!(matches!(refusal(&token(header, &deep)), JwtError::Json { .. }));
    }

    #[test]
    fn a_key_set_keeps_what_can_verify_signatures() {
        let set = json!({ "keys": [
            { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "r1", "n": "AQAB", "e": "AQAB" },
            { "kty": "EC", "kid": "e1", "crv": "P-256", "x": "AQ", "y": "Ag" },
            { "kty": "OKP", "crv": "Ed25519", "x": "AQ", "key_ops": ["verify"] },
            { "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "key_ops": ["encrypt"], "n": "AQAB", "e": "AQAB" },
            { "kty": "oct", "k": "AQAB" },
            { "kty": "OKP", "crv": "X25519", "x": "AQ" },
            { "kty": "RSA", "n": "AQAB=", "e": "AQAB" },
            { "kty": "ML-DSA" },
            7,
        ] });
        let set = JwkSet::from_json(set.to_string().as_bytes()).expect("a set");
        assert_eq!(set.keys().len(), 3);
        assert_eq!(set.candidates(None).count(), 3);
        assert_eq!(set.candidates(Some("e1")).map(|key| &key.key_id).collect::<Vec<_>>(), [&Some("e1".to_owned())]);
        assert_eq!(set.candidates(Some("gone")).count(), 0);
        assert_eq!(JwkSet::from_json(set.to_json().to_string().as_bytes()), Ok(set));
    }

    #[test]
    fn public_keys_give_their_numbers() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPZmcO7irmYRcpyu92s9c0pkG8m3j\nmsUIDh/vBN4h6dBU6tzyC0jUzFqLPhqz1Q4o77kYhGZinhxhX06zw6FVEQ==\n-----END PUBLIC KEY-----\n";
        let material = JwkMaterial::of(&PublicKey::from_pem(pem).expect("a key")).expect("numbers");
        let key = Jwk { key_id: None, algorithm: None, material };
        assert_eq!(
            JwkSet::new(vec![key]).to_json()["keys"][0],
            json!({
                "kty": "EC", "use": "sig", "crv": "P-256",
                "x": "PZmcO7irmYRcpyu92s9c0pkG8m3jmsUIDh_vBN4h6dA",
                "y": "VOrc8gtI1Mxaiz4as9UOKO-5GIRmYp4cYV9Os8OhVRE",
            })
        );
    }

    #[test]
    fn key_sets_are_bounded() {
        let key = Jwk { key_id: None, algorithm: None, material: JwkMaterial::Ed25519 { x: vec![1; 32] } };
        let many = JwkSet::new(vec![key; MAX_KEYS + 1]).to_json().to_string();
        assert_eq!(JwkSet::from_json(many.as_bytes()).map(|set| set.keys().len()), Ok(MAX_KEYS));
        for bad in
            [&vec![b' '; MAX_KEY_SET_LEN + 1][..], b"[]", b"{}", br#"{"keys":{}}"#, b"", br#"{"keys":[],"keys":[]}"#]
        {
            assert!(matches!(JwkSet::from_json(bad), Err(JwtError::KeySet(_))));
        }
    }

    #[test]
    fn a_file_name_is_no_token() {
        for name in ["token.txt", "a.b.c", "eyJ", "eyJhbGciOi.J9", "./eyJh.e30.c2ln", "eyJh.e30.c2ln.txt"] {
            assert!(!looks_like_token(name), "{name}");
        }
        assert!(looks_like_token("eyJh.e30.c2ln"));
    }
}
