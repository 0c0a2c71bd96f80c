//! Identity tokens (OpenID Connect Core §3.1.3.7): from text to [`Claims`].
//!
//! ```text
//! text -> UnverifiedToken::parse -> .issuer() picks the Issuer and its keys -> .verify(..) -> Claims
//! ```
//! The algorithm is chosen by us from a short list and has to be one that the issuer's key is meant for; the token only
//! says which of them it used. Every claim that we rely on has to be there: a missing `aud` or `exp` is a refusal.

mod claims;
#[cfg(test)]
pub(crate) mod forge;
mod signature;

use crate::weak_rsa::Weakness;
use formats::code::Code;
use formats::jwt::{JwkSet, Jws, JwtError};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use waxseal_formats as formats;

use claims::required_text;
pub(crate) use claims::scalar_text;
pub use claims::{ClaimError, ClaimProblem, Claims, EmailVerified, MAX_EMAIL_LEN};

/// How far the issuer's clock may be ahead of ours: for `nbf` and `iat`. There is none for `exp`, which a token of an
/// issuer that is behind only meets earlier.
pub const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// Most audiences of one token.
pub const MAX_AUDIENCES: usize = 64;

/// An issuer whose tokens are accepted, and for whom they have to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    url: String,
    aliases: Vec<String>,
    audiences: Vec<String>,
    claims: BTreeMap<String, String>,
}

impl Issuer {
    /// Accepts tokens whose `iss` is exactly `url` (a trailing slash makes another issuer) and whose `aud` has one of
    /// `audiences`.
    #[must_use]
    pub fn new(url: impl Into<String>, audiences: Vec<String>) -> Self {
        Self { url: url.into(), aliases: Vec::new(), audiences, claims: BTreeMap::new() }
    }

    /// The same issuer, which goes by other names as well: an API server under each of its host names. Wherever a token
    /// says one of them, [`Claims::issuer`] is the URL.
    #[must_use]
    pub fn also_called(self, aliases: Vec<String>) -> Self {
        Self { aliases, ..self }
    }

    /// The same issuer, some of whose claims are read from others: name, and the name or JSON Pointer of the claim that
    /// takes its place. The claim of that name itself is never looked at then.
    #[must_use]
    pub fn reading(self, claims: BTreeMap<String, String>) -> Self {
        Self { claims, ..self }
    }

    /// The `iss` of its tokens, and where its discovery document is found.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its other names.
    #[must_use]
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// Which claims are read from which others.
    #[must_use]
    pub const fn claims(&self) -> &BTreeMap<String, String> {
        &self.claims
    }

    /// The audiences of which a token has to have one.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }
}

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] JwtError),
    /// Its algorithm is none that is accepted here: `none`, symmetric ones, ES512 (which our library lacks), unknown ones.
    #[error(
        "the identity token is signed with {}, accepted are RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA",
        Shown(algorithm)
    )]
    Algorithm {
        /// Its `alg`.
        algorithm: String,
    },
    /// The issuer publishes no key with this `kid` for this `alg`.
    #[error("the issuer has no {algorithm} key {}", Shown(key_id.as_deref().unwrap_or("at all")))]
    NoKey {
        /// Its `kid`.
        key_id: Option<String>,
        /// Its `alg`.
        algorithm: String,
    },
    /// The issuer's key is one that others can compute the private half of.
    #[error("the issuer's key is unusable: {0}")]
    WeakKey(Weakness),
    /// The signature does not verify.
    #[error("the identity token's signature does not verify with the keys of its issuer")]
    Signature,
    /// `iss` is not an accepted issuer.
    #[error("tokens of the issuer {} are not accepted here", Shown(issuer))]
    Issuer {
        /// Its `iss`.
        issuer: String,
    },
    /// `aud` has none of the accepted audiences.
    #[error("the identity token is meant for {}, expected is {}", List(audience), List(expected))]
    Audience {
        /// Its `aud`.
        audience: Vec<String>,
        /// One of these is expected.
        expected: Vec<String>,
    },
    /// `exp` has passed.
    #[error("the identity token expired at {at}")]
    Expired {
        /// Its `exp`.
        at: Timestamp,
    },
    /// `nbf` or `iat` lies further ahead than [`LEEWAY`].
    #[error("the identity token's `{claim}` lies in the future: {at}")]
    NotYet {
        /// `nbf` or `iat`.
        claim: &'static str,
        /// Its value.
        at: Timestamp,
    },
    /// A claim is missing or unacceptable.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

impl TokenError {
    /// The reason code: one of class `token`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed(error) => error.code(),
            Self::Algorithm { .. } | Self::NoKey { .. } | Self::WeakKey(_) | Self::Signature => Code::TOKEN_SIGNATURE,
            Self::Issuer { .. } => Code::TOKEN_ISSUER,
            Self::Audience { .. } => Code::TOKEN_AUDIENCE,
            Self::Expired { .. } | Self::NotYet { .. } => Code::TOKEN_EXPIRED,
            Self::Claim(error) => error.code(),
        }
    }
}

/// A token that can be read; nothing that it says is known to be true.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    jws: Jws<'a>,
    claims: Map<String, Value>,
    issuer: String,
}

impl<'a> UnverifiedToken<'a> {
    /// Reads a token of at most [`formats::jwt::MAX_TOKEN_LEN`] bytes.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], or [`TokenError::Claim`] for an `iss` that is missing or not a text.
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        let jws = Jws::parse(token)?;
        let claims = jws.claims()?;
        let issuer = required_text(&claims, "iss")?.to_owned();
        Ok(Self { jws, claims, issuer })
    }

    /// Who the token says has made it: to choose the issuer whose keys are asked.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key that the token says it is signed with.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.jws.key_id()
    }

    /// Verifies signature, issuer, audience and times.
    ///
    /// # Errors
    /// The first check that fails, in that order.
    pub fn verify(self, issuer: &Issuer, keys: &JwkSet, now: Timestamp) -> Result<Claims, TokenError> {
        if self.issuer != issuer.url && !issuer.aliases.contains(&self.issuer) {
            return Err(TokenError::Issuer { issuer: self.issuer });
        }
        signature::verify_signature(&self.jws, keys)?;
        let audience = audience(&self.claims)?;
        if !audience.iter().any(|one| issuer.audiences.contains(one)) {
            return Err(TokenError::Audience { audience, expected: issuer.audiences.clone() });
        }
        let expires_at = time(&self.claims, "exp")?.ok_or_else(|| ClaimError::missing("exp"))?;
        if now >= expires_at {
            return Err(TokenError::Expired { at: expires_at });
        }
        for claim in ["nbf", "iat"] {
            let ahead = now.saturating_add(LEEWAY).unwrap_or(Timestamp::MAX);
            if let Some(at) = time(&self.claims, claim)?.filter(|at| *at > ahead) {
                return Err(TokenError::NotYet { claim, at });
            }
        }
        let subject = required_text(&self.claims, "sub")?.to_owned();
        Ok(Claims::verified(issuer, subject, audience, expires_at, self.claims))
    }
}

fn audience(claims: &Map<String, Value>) -> Result<Vec<String>, ClaimError> {
    let texts = match claims.get("aud") {
        None => return Err(ClaimError::missing("aud")),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(values)) if values.len() <= MAX_AUDIENCES => {
            values.iter().map(|value| value.as_str().map(str::to_owned)).collect()
        }
        Some(_) => None,
    };
    texts
        .filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.is_empty()))
        .ok_or_else(|| ClaimError::not("aud", "a text or a list of texts"))
}

/// A NumericDate (RFC 7519 §2), which has to be whole seconds.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, ClaimError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let time = value.as_i64().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(Some).ok_or_else(|| ClaimError::not(name, "a time in whole seconds"))
}

/// A text from outside in a message: quoted, escaped, cut off.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_CHARS: usize = 200;
        match self.0.char_indices().nth(MAX_CHARS).and_then(|(end, _)| self.0.get(..end)) {
            Some(start) => write!(f, "{start:?}…"),
            None => write!(f, "{:?}", self.0),
        }
    }
}

struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_SHOWN: usize = 4;
        for (index, text) in self.0.iter().take(MAX_SHOWN).enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            Shown(text).fmt(f)?;
        }
        if self.0.len() > MAX_SHOWN { f.write_str(" …") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::forge::Forge;
    use super::{Issuer, LEEWAY, TokenError, UnverifiedToken};
    use formats::code::Code;
    use formats::jwt::{JwkSet, MAX_TOKEN_LEN};
    use jiff::{SignedDuration, Timestamp};
    use serde_json::{Value, json};
    use waxseal_formats as formats;
    use waxseal_testkit::clock::{EPOCH, at};

    const ISSUER: &str = "https://idp.example";

    fn now() -> Timestamp {
        at(EPOCH)
    }

    fn seconds(offset: i64) -> i64 {
        now().as_second() + offset
    }

    fn good() -> Value {
        json!({ "iss": ISSUER, "sub": "alice", "aud": "sigstore", "iat": seconds(0), "nbf": seconds(0), "exp": seconds(3600) })
    }

    /// The good claims with one replaced, or taken away if it is null.
    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        let members = claims.as_object_mut().expect("an object");
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.to_owned(), value)
        };
        claims
    }

    fn verify(token: &str, keys: &JwkSet) -> Result<super::Claims, TokenError> {
        UnverifiedToken::parse(token)?.verify(
            &Issuer::new(ISSUER, vec!["sigstore".into(), "other".into()]),
            keys,
            now(),
        )
    }

    fn judge(claims: &Value) -> Result<super::Claims, TokenError> {
        let forge = Forge::es256();
        verify(&forge.token(claims), &forge.keys())
    }

    fn refusal(claims: &Value) -> Code {
        judge(claims).expect_err("refused").code()
    }

    #[test]
    fn a_good_token_gives_its_claims() {
        let claims = judge(&with("groups", json!(["a", "b"]))).expect("claims");
        assert_eq!((claims.issuer(), claims.subject()), (ISSUER, "alice"));
        assert_eq!(claims.audience(), ["sigstore"]);
        assert_eq!(claims.expires_at().as_second(), seconds(3600));
        assert_eq!(claims.claim("groups"), Some(&json!(["a", "b"])));
        for algorithm in [Forge::es384(), Forge::ed25519()] {
            assert!(verify(&algorithm.token(&good()), &algorithm.keys()).is_ok());
        }
    }

    #[test]
    fn the_issuer_is_compared_as_it_stands() {
        for issuer in [
            "https://idp.example/",
            "HTTPS://idp.example",
            "https://idp.example.evil",
            "http://idp.example",
            "https://idp.example\n",
        ] {
            assert_eq!(refusal(&with("iss", json!(issuer))), Code::TOKEN_ISSUER, "{issuer:?}");
        }
        assert_eq!(refusal(&with("iss", json!(null))), Code::TOKEN_CLAIM);
        assert_eq!(refusal(&with("iss", json!([ISSUER]))), Code::TOKEN_CLAIM);
    }

    #[test]
    fn an_issuer_goes_by_its_aliases_and_is_one_all_the_same() {
        let forge = Forge::es256();
        let issuer = Issuer::new(ISSUER, vec!["sigstore".into()]).also_called(vec!["https://other.example".into()]);
        let judge = |iss: &str| {
            let token = forge.token(&with("iss", json!(iss)));
            UnverifiedToken::parse(&token)?.verify(&issuer, &forge.keys(), now())
        };
        for iss in [ISSUER, "https://other.example"] {
            let claims = judge(iss).expect("claims");
            assert_eq!((claims.issuer(), claims.claim("iss")), (ISSUER, Some(&json!(iss))));
        }
        for iss in ["https://other.example/", "https://other.example.evil"] {
            assert_eq!(judge(iss).expect_err("refused").code(), Code::TOKEN_ISSUER, "{iss}");
        }
    }

    #[test]
    fn a_claim_that_is_read_from_another_is_never_the_tokens_own() {
        let forge = Forge::es256();
        let reading = [("email", "upn"), ("team", "/org/teams/0"), ("level", "grade")];
        let reading = reading.map(|(name, from)| (name.to_owned(), from.to_owned())).into();
        let issuer = Issuer::new(ISSUER, vec!["sigstore".into()]).reading(reading);
        let mut claims = good();
        claims["upn"] = json!("alice@corp.example");
        claims["email"] = json!("ceo@corp.example");
        claims["level"] = json!("high");
        claims["org"] = json!({ "teams": ["release"] });
        let token = forge.token(&claims);
        let claims = UnverifiedToken::parse(&token).expect("a token").verify(&issuer, &forge.keys(), now());
        let claims = claims.expect("claims");
        assert_eq!(claims.claim("email"), Some(&json!("alice@corp.example")));
        assert_eq!(claims.claim("team"), Some(&json!("release")));
        assert_eq!(claims.claim("level"), None, "its source is missing");
        assert_eq!(claims.claim("upn"), Some(&json!("alice@corp.example")));
    }

    #[test]
    fn the_audience_is_a_text_or_a_list() {
        assert!(judge(&with("aud", json!(["x", "other"]))).is_ok());
        for audience in [json!("x"), json!(["x", "y"]), json!("sigstore "), json!("Sigstore")] {
            assert_eq!(refusal(&with("aud", audience)), Code::TOKEN_AUDIENCE);
        }
        for audience in
            [json!(null), json!([]), json!(""), json!([["sigstore"]]), json!({ "a": 1 }), json!(["sigstore", 7])]
        {
            assert_eq!(refusal(&with("aud", audience)), Code::TOKEN_CLAIM);
        }
        assert_eq!(refusal(&with("aud", json!(vec!["sigstore"; 65]))), Code::TOKEN_CLAIM);
    }

    #[test]
    fn times_are_whole_seconds_around_now() {
        assert!(judge(&with("exp", json!(seconds(1)))).is_ok());
        assert_eq!(refusal(&with("exp", json!(seconds(0)))), Code::TOKEN_EXPIRED);
        assert_eq!(refusal(&with("exp", json!(seconds(-3600)))), Code::TOKEN_EXPIRED);
        for claim in ["nbf", "iat"] {
            assert!(judge(&with(claim, json!(seconds(LEEWAY.as_secs())))).is_ok());
            assert!(judge(&with(claim, json!(null))).is_ok(), "optional");
            assert_eq!(refusal(&with(claim, json!(seconds(LEEWAY.as_secs() + 1)))), Code::TOKEN_EXPIRED);
        }
        for claim in ["exp", "nbf", "iat"] {
            for value in [json!("1795535184"), json!(1e10), json!(u64::MAX), json!(i64::MIN), json!([1]), json!(true)] {
                assert_eq!(refusal(&with(claim, value)), Code::TOKEN_CLAIM, "{claim}");
            }
        }
    }

    /// Row 14 of the classes: PyJWT CVE-2022-29217, Argo CD CVE-2023-22482, ZITADEL CVE-2026-27840 and their like.
    #[test]
    fn a_claim_that_is_missing_or_empty_is_no_claim_that_passes() {
        for claim in ["aud", "exp", "sub"] {
            assert_eq!(refusal(&with(claim, json!(null))), Code::TOKEN_CLAIM, "{claim}");
        }
        assert_eq!(refusal(&with("sub", json!(""))), Code::TOKEN_CLAIM);
        assert_eq!(refusal(&with("sub", json!(7))), Code::TOKEN_CLAIM);
        let forge = Forge::es256();
        let token = forge.token(&good());
        let unsigned = token.rsplit_once('.').expect("a signature").0;
        assert_eq!(verify(unsigned, &forge.keys()).expect_err("no signature").code(), Code::TOKEN_MALFORMED);
        assert_eq!(verify(&format!("{unsigned}."), &forge.keys()), Err(TokenError::Signature));
    }

    /// GHSA-wq26-3j2m-4hvv: the audience in the unsigned header let a token work elsewhere.
    #[test]
    fn a_header_does_not_replace_a_claim() {
        let forge = Forge::es256();
        let token =
            forge.token_with_header(&json!({ "alg": "ES256", "aud": "sigstore" }), &with("aud", json!("elsewhere")));
        assert_eq!(verify(&token, &forge.keys()).expect_err("refused").code(), Code::TOKEN_AUDIENCE);
    }

    #[test]
    fn messages_name_the_cause_and_stay_short() {
        let text = |claims: &Value| judge(claims).expect_err("refused").to_string();
        assert_eq!(
            text(&with("aud", json!("x"))),
            r#"the identity token is meant for "x", expected is "sigstore" or "other""#
        );
        assert_eq!(text(&with("exp", json!(null))), "the identity token's claim `exp` is missing");
        let long = text(&with("iss", json!(format!("https://{}\u{1b}[31m", "x".repeat(9000)))));
        assert!(long.len() < 300 && !long.contains('\u{1b}'));
        assert_eq!(
            UnverifiedToken::parse(&"x".repeat(MAX_TOKEN_LEN + 1)).expect_err("long").code(),
            Code::TOKEN_MALFORMED
        );
        let ages = SignedDuration::from_hours(1);
        assert!(text(&with("exp", json!((now() - ages).as_second()))).contains("expired at 2026-11-24T14:00:00Z"));
    }
}
