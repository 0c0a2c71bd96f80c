//! `writes:` of the rules file: `any`, `own` or a list, with inline PEM.

use super::{Writer, Writers};
use formats::crypto::PublicKey;
use formats::x509::Certificate;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use waxseal_formats as formats;

/// Most members of the list, and most certificates in it.
pub const MAX_WRITERS: usize = 100;

impl<'de> Deserialize<'de> for Writers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WritersVisitor)
    }
}

struct WritersVisitor;

impl<'de> Visitor<'de> for WritersVisitor {
    type Value = Writers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`any`, `own`, or a list of `own`, `ca:` and `key:`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Writers, E> {
        match text {
            "any" => Ok(Writers::Any),
            "own" => Ok(Writers::default()),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Writers, A::Error> {
        let (mut writers, mut members) = (Vec::new(), 0_usize);
        while let Some(Member(member)) = list.next_element()? {
            members = members.saturating_add(1);
            for writer in member {
                if writers.contains(&writer) {
                    return Err(de::Error::custom(format!("member {members} of `writes` repeats an earlier one")));
                }
                if writers.len() == MAX_WRITERS {
                    return Err(de::Error::custom(format!("there are more than {MAX_WRITERS} writers")));
                }
                writers.push(writer);
            }
        }
        if writers.is_empty() {
            return Err(de::Error::custom(
                "`writes` lists nobody; without it the instance's own certificates may write",
            ));
        }
        Ok(Writers::Listed(writers))
    }
}

/// A member of the list: one writer, or the several certificates of one PEM text.
struct Member(Vec<Writer>);

struct MemberVisitor;

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`own`, `ca:` with a PEM certificate, or `key:` with a PEM public key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Member, E> {
        match text {
            "own" => Ok(Member(vec![Writer::Own])),
            "any" => Err(E::custom("`any` leaves nothing to list: write `writes: any`")),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
        let none = || de::Error::invalid_length(0, &self);
        let member = match map.next_key::<String>()?.ok_or_else(none)?.as_str() {
            "ca" => map.next_value::<Authorities>()?.0.into_iter().map(Writer::Authority).collect(),
            "key" => vec![Writer::Key(map.next_value::<Key>()?.0)],
            other => return Err(de::Error::unknown_field(other, &["ca", "key"])),
        };
        match map.next_key::<String>()? {
            None => Ok(Member(member)),
            Some(more) => Err(de::Error::custom(format!("`{more}` belongs into a member of its own"))),
        }
    }
}

/// The certificates of one PEM text.
struct Authorities(Vec<Certificate>);

impl<'de> Deserialize<'de> for Authorities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let certificates =
            Certificate::chain_from_pem(&String::deserialize(deserializer)?).map_err(de::Error::custom)?;
        for certificate in &certificates {
            certificate.public_key().map_err(de::Error::custom)?;
            if !certificate.is_ca() || !certificate.key_usage().is_some_and(|usage| usage.key_cert_sign()) {
                return Err(de::Error::custom("the certificate is not one of a CA"));
            }
        }
        Ok(Self(certificates))
    }
}

/// The key of a PEM text.
struct Key(PublicKey);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PublicKey::from_pem(&String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}
