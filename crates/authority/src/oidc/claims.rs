//! What a verified token says.

use super::Issuer;
use formats::code::Code;
use jiff::Timestamp;
use serde_json::{Map, Value};
use waxseal_formats as formats;

/// Longest e-mail address (RFC 5321 §4.5.3.1.3 with the angle brackets taken off).
pub const MAX_EMAIL_LEN: usize = 254;

/// What a verified token says. Comes only from [`super::UnverifiedToken::verify`].
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    issuer: String,
    subject: String,
    audience: Vec<String>,
    expires_at: Timestamp,
    client_name: String,
    all: Map<String, Value>,
}

/// What an issuer has to say about an e-mail address before it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EmailVerified {
    /// `email_verified` is `true`.
    #[default]
    Required,
    /// `email_verified` is `true` or the text "true".
    Text,
    /// `email_verified` is `true`, or it is missing and the address is of one of these domains.
    NotRequiredFor(Vec<String>),
}

impl Claims {
    /// The one constructor, called by the one verification.
    pub(super) fn verified(
        issuer: &Issuer,
        subject: String,
        audience: Vec<String>,
        expires_at: Timestamp,
        all: Map<String, Value>,
    ) -> Self {
        let client_name = client_name(&all).unwrap_or(&subject).to_owned();
        let mut claims = Self { issuer: issuer.url().to_owned(), subject, audience, expires_at, client_name, all };
        // It is about the token's own address and says nothing of one that is read from elsewhere.
        let reading = |name: &str| issuer.claims().contains_key(name);
        if reading("email") && !reading("email_verified") && says_verified(claims.claim("email_verified")) {
            claims.all.remove("email_verified");
        }
        let read: Vec<_> = issuer.claims().iter().map(|(name, from)| (name, claims.lookup(from).cloned())).collect();
        for (name, value) in read {
            match value {
                Some(value) => claims.all.insert(name.clone(), value),
                None => claims.all.remove(name),
            };
        }
        claims
    }

    /// The issuer's URL: `iss`, unless that is one of its aliases.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`, never empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `aud`, one text or several.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// `exp`.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The text that clients sign on their own account to prove that they have a key: the token's `email` if that is
    /// verified, else `sub`. They know nothing of claims that are read from others.
    #[must_use]
    pub fn client_name(&self) -> &str {
        &self.client_name
    }

    /// Any claim by its name.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.all.get(name)
    }

    /// A claim by its name, or a value inside one by a JSON Pointer (RFC 6901), which begins with `/`.
    #[must_use]
    pub fn lookup(&self, path: &str) -> Option<&Value> {
        if !path.starts_with('/') {
            return self.claim(path);
        }
        let mut tokens = path.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
        let first = self.claim(&tokens.next()?)?;
        tokens.try_fold(first, |value, token| match value {
            Value::Object(members) => members.get(&token),
            // RFC 6901 §4: no sign, no leading zero.
            Value::Array(items) if token == "0" || !token.starts_with(['0', '+']) => {
                items.get(token.parse::<usize>().ok()?)
            }
            _ => None,
        })
    }

    /// Every claim.
    #[must_use]
    pub const fn all(&self) -> &Map<String, Value> {
        &self.all
    }

    /// A claim, by name or JSON Pointer, as text: a text as it is, numbers and booleans as JSON writes them.
    ///
    /// # Errors
    /// [`ClaimError`] if it is missing, empty or of another type.
    pub fn text(&self, name: &str) -> Result<String, ClaimError> {
        match self.lookup(name) {
            None | Some(Value::Null) => Err(ClaimError::missing(name)),
            Some(Value::String(text)) if text.is_empty() => Err(ClaimError::missing(name)),
            Some(value) => scalar_text(value).ok_or_else(|| ClaimError::not(name, "a text, number or boolean")),
        }
    }

    /// `email`, which has to be an address (ASCII, one `@`) that the issuer has verified, as far as `verified` asks for it.
    /// What it says is not so (`false`) is never taken.
    ///
    /// # Errors
    /// [`ClaimError`] for `email` or `email_verified`.
    pub fn email(&self, verified: &EmailVerified) -> Result<&str, ClaimError> {
        let email = required_text(&self.all, "email")?;
        if !is_email(email) {
            return Err(ClaimError::not("email", "an e-mail address"));
        }
        let of_one = |domains: &[String]| {
            let domain = email.split_once('@').map(|(_, domain)| domain);
            domain.is_some_and(|domain| domains.iter().any(|one| one.eq_ignore_ascii_case(domain)))
        };
        match (self.claim("email_verified"), verified) {
            (Some(Value::Bool(true)), _) => Ok(email),
            (Some(Value::String(text)), EmailVerified::Text) if text == "true" => Ok(email),
            (None, EmailVerified::NotRequiredFor(domains)) if of_one(domains) => Ok(email),
            (None, _) => Err(ClaimError::missing("email_verified")),
            (Some(_), _) => Err(ClaimError::not("email_verified", "true")),
        }
    }
}

fn client_name(claims: &Map<String, Value>) -> Option<&str> {
    let verified = says_verified(claims.get("email_verified"));
    claims.get("email").and_then(Value::as_str).filter(|email| verified && !email.is_empty())
}

fn says_verified(claim: Option<&Value>) -> bool {
    claim.is_some_and(|value| *value == Value::Bool(true) || *value == "true")
}

/// The text of a claim that is a text, number or boolean.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A claim that is missing or unacceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the identity token's claim `{claim}` {problem}")]
pub struct ClaimError {
    /// Its name.
    pub claim: String,
    /// What is wrong with it.
    pub problem: ClaimProblem,
}

/// What is wrong with a claim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimProblem {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It is there and not what it has to be.
    #[error("is not {0}")]
    Not(&'static str),
}

impl ClaimError {
    pub(crate) fn missing(claim: &str) -> Self {
        Self { claim: claim.to_owned(), problem: ClaimProblem::Missing }
    }

    pub(crate) fn not(claim: &str, what: &'static str) -> Self {
        Self { claim: claim.to_owned(), problem: ClaimProblem::Not(what) }
    }

    /// Always `token.claim`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::TOKEN_CLAIM
    }
}

pub(super) fn required_text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, ClaimError> {
    match claims.get(name) {
        None => Err(ClaimError::missing(name)),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(ClaimError::not(name, "a text that says something")),
    }
}

/// An address as certificates hold it: a dot-atom, one `@` and a host name (RFC 5321 §4.1.2), ASCII only.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let atom = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= MAX_EMAIL_LEN && local.len() <= 64 && local.split('.').all(atom) && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::EmailVerified;
    use crate::oidc::forge::Forge;
    use formats::code::Code;
    use serde_json::{Value, json};
    use waxseal_formats as formats;

    fn email(claims: Value) -> Result<String, String> {
        email_if(&EmailVerified::Required, claims)
    }

    fn email_if(verified: &EmailVerified, claims: Value) -> Result<String, String> {
        Forge::es256().claims(claims).email(verified).map(str::to_owned).map_err(|error| {
            assert_eq!(error.code(), Code::TOKEN_CLAIM);
            error.claim
        })
    }

    /// Row 15 of the classes: nOAuth.
    #[test]
    fn an_e_mail_address_counts_only_when_its_issuer_has_verified_it() {
        let claims = |verified: Value| json!({ "email": "alice@corp.example", "email_verified": verified });
        assert_eq!(email(claims(json!(true))).as_deref(), Ok("alice@corp.example"));
        for verified in
            [json!(false), json!("true"), json!("false"), json!("True"), json!(1), json!(null), json!([true])]
        {
            assert_eq!(email(claims(verified)), Err("email_verified".to_owned()));
        }
        assert_eq!(email(json!({ "email": "alice@corp.example" })), Err("email_verified".to_owned()));
        assert_eq!(email(json!({ "email_verified": true })), Err("email".to_owned()));
    }

    #[test]
    fn a_verification_in_text_or_none_counts_only_if_the_issuers_entry_says_so() {
        let claims = |verified: Value| json!({ "email": "alice@corp.example", "email_verified": verified });
        for verified in [json!(true), json!("true")] {
            assert!(email_if(&EmailVerified::Text, claims(verified)).is_ok());
        }
        let domains = EmailVerified::NotRequiredFor(vec!["Corp.example".to_owned(), "x.example".to_owned()]);
        assert!(email_if(&domains, json!({ "email": "alice@corp.example" })).is_ok());
        assert!(email_if(&domains, claims(json!(true))).is_ok());
        for address in ["alice@corp.example.evil", "alice@sub.corp.example", "alice@evil-corp.example"] {
            assert_eq!(email_if(&domains, json!({ "email": address })), Err("email_verified".to_owned()), "{address}");
        }
        for verified in [json!(false), json!("false"), json!("TRUE"), json!(1), json!(null)] {
            for terms in [&EmailVerified::Text, &domains] {
                assert_eq!(email_if(terms, claims(verified.clone())), Err("email_verified".to_owned()), "{verified}");
            }
        }
        assert_eq!(email_if(&domains, claims(json!("true"))), Err("email_verified".to_owned()));
        assert_eq!(email_if(&EmailVerified::Text, json!({ "email": "a@b" })), Err("email_verified".to_owned()));
    }

    #[test]
    fn clients_sign_the_verified_address_or_the_subject() {
        let name = |claims: Value| Forge::es256().claims(claims).client_name().to_owned();
        let email = "alice@corp.example";
        assert_eq!(name(json!({ "email": email, "email_verified": true })), email);
        assert_eq!(name(json!({ "email": email, "email_verified": "true" })), email);
        for claims in [
            json!({}),
            json!({ "email": email }),
            json!({ "email": email, "email_verified": false }),
            json!({ "email": "", "email_verified": true }),
            json!({ "email": 7, "email_verified": true }),
        ] {
            assert_eq!(name(claims), "alice");
        }
    }

    #[test]
    fn claims_inside_others_are_found_by_json_pointer() {
        let claims = json!({ "a": { "b/c": [{ "d~": 1 }, 2] }, "x/y": 3, "/z": 4 });
        let claims = Forge::es256().claims(claims);
        for (path, value) in [("/a/b~1c/0/d~0", 1), ("/a/b~1c/1", 2), ("x/y", 3), ("/x~1y", 3), ("/~1z", 4)] {
            assert_eq!(claims.lookup(path), Some(&json!(value)), "{path}");
        }
        for path in ["", "/", "a/b", "/a/b", "/a/b~1c/2", "/a/b~1c/01", "/a/b~1c/+1", "/a/b~1c/-", "/x~1y/z", "/z"] {
            assert_eq!(claims.lookup(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for address in ["a@b", "first.last+tag@sub.corp.example", "x_y@a-b.example"] {
            assert_eq!(email(json!({ "email": address, "email_verified": true })).as_deref(), Ok(address));
        }
        for address in [
            "",
            "alice",
            "@corp.example",
            "alice@",
            "a@b@corp.example",
            "alice@corp..example",
            "alice@.example",
            "a..b@x",
            "alice@corp.example ",
            "alice@corp.example\n",
            "alice@corp.example\0",
            "\"a b\"@corp.example",
            "Alice <a@b>",
            "älice@corp.example",
            "alice@cörp.example",
            "alice@-x.example",
            "alice@corp.example/x",
            "alice@[127.0.0.1]",
        ] {
            assert_eq!(
                email(json!({ "email": address, "email_verified": true })),
                Err("email".to_owned()),
                "{address:?}"
            );
        }
        let long = format!("alice@{}", vec!["a".repeat(60); 5].join("."));
        assert_eq!(email(json!({ "email": long, "email_verified": true })), Err("email".to_owned()));
    }

    #[test]
    fn claims_read_as_text() {
        let claims = Forge::es256().claims(json!({ "a": "x", "b": 7, "c": true, "d": "", "e": null, "f": ["x"] }));
        assert_eq!(claims.text("a").as_deref(), Ok("x"));
        assert_eq!(claims.text("b").as_deref(), Ok("7"));
        assert_eq!(claims.text("c").as_deref(), Ok("true"));
        for name in ["d", "e", "f", "g"] {
            assert!(claims.text(name).is_err(), "{name}");
        }
    }
}
