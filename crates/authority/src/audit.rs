//! What the audit log says about a decision, as one JSON object.
//!
//! ```json
//! {"event":"issued","time":"2026-12-01T09:00:00Z","request":"4f…-0","rule":"staff","issuer":"https://idp.example",
//!  "identity":"hmac:9a…","subject":"hmac:77…","matched":[{"claim":"email","value":"hmac:9a…"}],"token":"sha256:…","serial":"5c…"}
//! ```
//!
//! Who it was stands there as a keyed hash, unless the operator wants names: whoever has the key can ask about a name that he
//! knows, and nobody can read names out of it. Tokens stand there by their hash, never themselves.

use crate::rules::{Denied, Difference, Grant};
use formats::code::Code;
use formats::crypto::{hmac_sha256, sha256};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use waxseal_formats as formats;

/// How names are written down.
#[derive(Clone)]
pub enum Names {
    /// As they are.
    Plain,
    /// As HMAC-SHA-256 under this key.
    Hashed([u8; 32]),
}

impl Names {
    /// A name as it stands in the audit log; of a very long one as it is, the beginning.
    #[must_use]
    pub fn write(&self, name: &str) -> String {
        match self {
            Self::Plain => cut(name).to_owned(),
            Self::Hashed(key) => format!("hmac:{}", hex::encode(hmac_sha256(key, name.as_bytes()))),
        }
    }
}

/// Keys do not print.
impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Hashed(_) => "Hashed",
        })
    }
}

/// When something happened, and on whose request.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The time.
    pub time: Timestamp,
    /// The request's number, if it was one.
    pub request: Option<&'a str>,
    /// From where it came.
    pub address: Option<&'a str>,
}

/// A token that was shown, by its hash.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// SHA-256 of the token.
    pub token: [u8; 32],
    /// The `iss` that it has, or claims to have.
    pub issuer: Option<&'a str>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A certificate was issued. The row stands beside its leaf.
    Issued {
        /// Who may have it.
        grant: &'a Grant,
        /// SHA-256 of the token.
        token: [u8; 32],
        /// Its serial number.
        serial: &'a [u8],
    },
    /// Somebody else's certificate was submitted to the certificate log. The row stands beside its leaf.
    Submitted,
    /// Somebody was refused.
    Denied {
        /// The reason.
        code: Code,
        /// What was shown.
        shown: Shown<'a>,
        /// What the rules said, if they were asked.
        denied: Option<&'a Denied>,
    },
    /// More refusals than are written down one by one, or more differences of the candidate rules.
    More {
        /// The reason; none for the candidate rules.
        code: Option<Code>,
        /// How many.
        count: u64,
    },
    /// The candidate rules would have decided otherwise.
    Candidate {
        /// How.
        difference: &'a Difference,
        /// SHA-256 of the token.
        token: [u8; 32],
    },
    /// The instance began to work under these rules.
    Started {
        /// SHA-256 of the rules.
        rules: [u8; 32],
    },
    /// Other rules are in force.
    Rules {
        /// SHA-256 of the rules.
        rules: [u8; 32],
        /// SHA-256 of the candidate rules.
        candidate: Option<[u8; 32]>,
    },
    /// The instance stops in order.
    Stopped,
}

impl Event<'_> {
    /// The row.
    #[must_use]
    pub fn row(&self, occasion: &Occasion<'_>, names: &Names) -> Vec<u8> {
        let mut row = Map::new();
        let mut put = |name: &str, value: Value| drop(row.insert(name.to_owned(), value));
        put("event", json!(self.name()));
        put("time", json!(occasion.time.to_string()));
        if let Some(request) = occasion.request {
            put("request", json!(request));
        }
        if let Some(address) = occasion.address {
            put("address", json!(names.write(address)));
        }
        match self {
            Self::Issued { grant, token, serial } => {
                put("rule", json!(grant.rule()));
                put("issuer", json!(cut(grant.issuer())));
                put("identity", json!(names.write(grant.subject_alt_name().as_str())));
                put("subject", json!(names.write(grant.subject())));
                let mut left = MAX_MATCHED_LEN;
                let matched = grant.matched().iter().map_while(|one| {
                    let one = json!({"claim": cut(&one.claim), "value": names.write(cut(&one.value))});
                    left = left.checked_sub(one.to_string().len())?;
                    Some(one)
                });
                put("matched", matched.collect());
                put("token", json!(hash(token)));
                put("serial", json!(names.write(&hex::encode(serial))));
            }
            Self::Submitted | Self::Stopped => {}
            Self::Denied { code, shown, denied } => {
                put("code", json!(code));
                if let Some(issuer) = shown.issuer {
                    // Whoever is refused can write anything there.
                    let known = denied.is_some();
                    put("issuer", json!(if known { cut(issuer).to_owned() } else { names.write(issuer) }));
                }
                put("token", json!(hash(&shown.token)));
                if let Some(Denied::NoRule { subject_alt_name, .. }) = denied {
                    put("identity", json!(names.write(subject_alt_name)));
                    let nearest = denied.map(Denied::nearest).unwrap_or_default();
                    let nearest = nearest.iter().take(3).map(|mismatch| json!(mismatch.rule));
                    put("nearest", nearest.collect());
                }
            }
            Self::More { code, count } => {
                if let Some(code) = code {
                    put("code", json!(code));
                }
                put("count", json!(count));
            }
            Self::Candidate { difference, token } => {
                put("token", json!(hash(token)));
                match difference {
                    Difference::Admits { rule } => put("admits", json!(rule)),
                    Difference::Denies { rule, code } => {
                        put("rule", json!(rule));
                        put("code", json!(code));
                    }
                    Difference::Otherwise { enforced, candidate } => {
                        put("rule", json!(enforced));
                        put("admits", json!(candidate));
                    }
                }
            }
            Self::Started { rules } => put("rules", json!(hash(rules))),
            Self::Rules { rules, candidate } => {
                put("rules", json!(hash(rules)));
                if let Some(candidate) = candidate {
                    put("candidate", json!(hash(candidate)));
                }
            }
        }
        Value::Object(row).to_string().into_bytes()
    }

    /// Why somebody was refused.
    #[must_use]
    pub const fn refusal(&self) -> Option<Code> {
        match self {
            Self::Denied { code, .. } => Some(*code),
            _ => None,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Issued { .. } => ISSUED,
            Self::Submitted => SUBMITTED,
            Self::Denied { .. } => "denied",
            Self::More { code: Some(_), .. } => "more-denied",
            Self::More { code: None, .. } => "more-candidate-differs",
            Self::Candidate { .. } => "candidate-differs",
            Self::Started { .. } => "started",
            Self::Rules { .. } => "rules",
            Self::Stopped => "stopped",
        }
    }
}

/// The `event` of a row about a certificate of this instance.
pub const ISSUED: &str = "issued";
/// The `event` of a row about a certificate of somebody else.
pub const SUBMITTED: &str = "submitted";

fn hash(digest: &[u8; 32]) -> String {
    format!("sha256:{}", hex::encode(digest))
}

/// Length of the claims that are written down, in bytes of JSON: half of what the log takes for a row.
const MAX_MATCHED_LEN: usize = 8 << 10;

/// The beginning of a text of which a stranger decides the length.
fn cut(text: &str) -> &str {
    const MAX_CHARS: usize = 256;
    text.char_indices().nth(MAX_CHARS).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// The key for names that follows from a signature which only the instance can make, and always makes alike (Ed25519).
#[must_use]
pub fn names_key(signature: &[u8]) -> [u8; 32] {
    sha256(signature)
}

/// What is signed for [`names_key`].
pub const NAMES_MESSAGE: &[u8] = b"waxseal: key of the names in the audit log, version 1";

#[cfg(test)]
mod tests {
    use super::{Event, Names, Occasion, Shown};
    use crate::oidc::forge::Forge;
    use crate::rules::Rules;
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use waxseal_formats::code::Code;

    const OCCASION: Occasion<'_> =
        Occasion { time: Timestamp::UNIX_EPOCH, request: Some("r-1"), address: Some("192.0.2.7") };

    fn row(event: &Event<'_>, names: &Names) -> Value {
        serde_json::from_slice(&event.row(&OCCASION, names)).expect("JSON")
    }

    fn rules() -> Rules {
        let rules =
            "rules: [{name: staff, issuer: https://idp.example, match: {email: '*@corp.example', groups: dev}}]";
        Rules::from_yaml(rules, &[]).expect("rules")
    }

    fn claims(email: &str) -> crate::oidc::Claims {
        Forge::es256().claims(json!({"sub": "4711", "email": email, "email_verified": true, "groups": ["dev"]}))
    }

    #[test]
    fn an_issuance_says_who_and_why_and_never_the_name_unless_wanted() {
        let grant = rules().decide(&claims("alice@corp.example")).expect("admitted");
        let event = Event::Issued { grant: &grant, token: [1; 32], serial: &[5, 6] };
        let hashed = row(&event, &Names::Hashed([7; 32]));
        let text = hashed.to_string();
        for secret in ["alice", "4711", "192.0.2.7"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(
            (&hashed["event"], &hashed["rule"], &hashed["serial"]),
            (&json!("issued"), &json!("staff"), &json!(Names::Hashed([7; 32]).write("0506")))
        );
        assert_eq!(hashed["identity"], Names::Hashed([7; 32]).write("alice@corp.example"));
        assert_ne!(hashed["identity"], Names::Hashed([8; 32]).write("alice@corp.example"), "the key matters");
        assert_eq!(hashed["token"], format!("sha256:{}", "01".repeat(32)));
        let plain = row(&event, &Names::Plain);
        assert_eq!((&plain["identity"], &plain["subject"]), (&json!("alice@corp.example"), &json!("4711")));
        assert_eq!(
            plain["matched"],
            json!([{"claim": "email", "value": "alice@corp.example"}, {"claim": "groups", "value": "dev"}])
        );
        assert_eq!((&plain["address"], &plain["request"]), (&json!("192.0.2.7"), &json!("r-1")));
    }

    #[test]
    fn a_denial_names_the_nearest_rules_and_hashes_what_a_stranger_wrote() {
        let denied = rules().decide(&claims("mallory@evil.example")).expect_err("denied");
        let shown = Shown { token: [2; 32], issuer: Some("https://idp.example") };
        let event = Event::Denied { code: denied.code(), shown, denied: Some(&denied) };
        let told = row(&event, &Names::Hashed([7; 32]));
        assert_eq!((&told["code"], &told["nearest"]), (&json!("rule.denied"), &json!(["staff"])));
        assert!(!told.to_string().contains("mallory"));
        let shown = Shown { token: [2; 32], issuer: Some("https://mallory.example/") };
        let told = row(&Event::Denied { code: Code::TOKEN_ISSUER, shown, denied: None }, &Names::Hashed([7; 32]));
        assert!(!told.to_string().contains("mallory"), "{told}");
    }

    #[test]
    fn every_row_fits_into_the_log() {
        let long = format!("{}@corp.example", "a".repeat(64));
        let denied = rules().decide(&claims(&long)).expect("admitted");
        let rows = [
            Event::Issued { grant: &denied, token: [0; 32], serial: &[0; 20] },
            Event::More { code: Some(Code::RULE_DENIED), count: u64::MAX },
            Event::Started { rules: [0; 32] },
            Event::Rules { rules: [0; 32], candidate: Some([0; 32]) },
            Event::Submitted,
            Event::Stopped,
        ];
        for event in rows {
            assert!(event.row(&OCCASION, &Names::Plain).len() < 4096, "{event:?}");
        }
    }

    /// A row that the log would cut is no JSON any more.
    #[test]
    fn a_row_about_many_long_claims_fits_as_well_and_is_json() {
        const MAX_ROW: usize = 16 << 10;
        let name = |number: usize| format!("claim{number:02}");
        let claims: serde_json::Map<_, _> = (0..24).map(|number| (name(number), json!("\"".repeat(180)))).collect();
        let mut claims = Value::Object(claims);
        claims["email"] = json!("alice@corp.example");
        claims["email_verified"] = json!(true);
        // Each by its name and by its pointer.
        let wanted = (0..24).map(|number| format!("{0}: '**', /{0}: '**'", name(number)));
        let wanted = wanted.collect::<Vec<_>>().join(", ");
        let rules = format!(
            "rules: [{{name: all, issuer: https://idp.example, match: {{email: alice@corp.example, {wanted}}}}}]"
        );
        let grant = Rules::from_yaml(&rules, &[]).expect("rules").decide(&Forge::es256().claims(claims));
        let grant = grant.expect("admitted");
        for names in [Names::Plain, Names::Hashed([7; 32])] {
            let event = Event::Issued { grant: &grant, token: [1; 32], serial: &[0xff; 20] };
            let row = event.row(&OCCASION, &names);
            assert!(row.len() <= MAX_ROW, "{}", row.len());
            let row: Value = serde_json::from_slice(&row).expect("JSON");
            let matched = row["matched"].as_array().expect("claims").len();
            assert!(matched >= 20, "{matched}");
        }
    }
}
