//! TSTInfo (RFC 3161 §2.4.2): what an authority says in a token.

use super::TokenError;
use crate::asn1::{Elements, constructed, primitive, tlv};
use crate::cms;
use crate::crypto::Digest;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::ID_SHA_1;
use der::asn1::{AnyRef, GeneralizedTime, IntRef};
use der::{Encode, Tag, Tagged};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Largest serial number or nonce, in bytes: RFC 3161 §2.4.2 wants 160 bits read, some use more.
pub const MAX_INTEGER_LEN: usize = 64;

/// A serial number or nonce: the contents of a DER INTEGER of either sign, kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integer(Vec<u8>);

impl Integer {
    /// The non-negative integer of these big-endian bytes, of which at most [`MAX_INTEGER_LEN`] are read.
    #[must_use]
    pub fn from_unsigned(bytes: &[u8]) -> Self {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        let significant = bytes.get(start..).unwrap_or_default();
        let mut contents = Vec::with_capacity(significant.len().saturating_add(1));
        if significant.first().is_none_or(|byte| *byte >= 0x80) {
            contents.push(0);
        }
        contents.extend(significant.iter().take(MAX_INTEGER_LEN));
        Self(contents)
    }

    pub(super) fn read(any: AnyRef<'_>) -> Option<Self> {
        let value: IntRef<'_> = any.decode_as().ok()?;
        (value.as_bytes().len() <= MAX_INTEGER_LEN).then(|| Self(any.value().to_vec()))
    }

    pub(super) fn to_der(&self) -> der::Result<Vec<u8>> {
        tlv(Tag::Integer, &self.0)
    }
}

/// What an authority says (RFC 3161 §2.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TstInfo {
    /// Under which rules the time was taken.
    pub policy: ObjectIdentifier,
    /// The digest that was stamped.
    pub imprint: Digest,
    /// The token's number.
    pub serial: Integer,
    /// When it was stamped.
    pub gen_time: Timestamp,
    /// By how many seconds `gen_time` may be off. Finer parts are checked and not kept.
    pub accuracy_seconds: Option<u64>,
    /// The request's nonce.
    pub nonce: Option<Integer>,
    /// The authority's DER Name.
    pub tsa: Option<Vec<u8>>,
}

impl TstInfo {
    /// DER with the imprint's algorithm parameters NULL, `ordering` left out (false) and no extensions.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] if a part does not fit its type: a time with fractions, a too long serial number.
    pub fn to_der(&self) -> Result<Vec<u8>, TokenError> {
        let encode = || -> der::Result<Vec<u8>> {
            let mut out = 1u8.to_der()?;
            out.extend(self.policy.to_der()?);
            out.extend(message_imprint(&self.imprint)?);
            out.extend(self.serial.to_der()?);
            out.extend(generalized_time(self.gen_time)?.to_der()?);
            if let Some(seconds) = self.accuracy_seconds {
                out.extend(tlv(Tag::Sequence, &seconds.to_der()?)?);
            }
            if let Some(nonce) = &self.nonce {
                out.extend(nonce.to_der()?);
            }
            if let Some(tsa) = &self.tsa {
                out.extend(tlv(constructed(0), &tlv(constructed(4), tsa)?)?);
            }
            tlv(Tag::Sequence, &out)
        };
        encode().map_err(|_| TokenError::Malformed("TSTInfo"))
    }

    /// Parses a DER TSTInfo.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn from_der(der: &[u8]) -> Result<Self, TokenError> {
        let raw = RawTstInfo::read(der).ok_or(TokenError::Malformed("TSTInfo"))?;
        if raw.extensions.is_some_and(any_critical) {
            return Err(TokenError::Extension);
        }
        Ok(Self {
            policy: raw.policy,
            imprint: read_imprint(raw.imprint).map_err(|error| match error {
                ImprintError::Hash(oid) => TokenError::Hash(oid),
                ImprintError::Malformed | ImprintError::Length => TokenError::Malformed("messageImprint"),
            })?,
            serial: raw.serial,
            gen_time: raw.gen_time,
            accuracy_seconds: raw.accuracy_seconds,
            nonce: raw.nonce,
            tsa: raw.tsa,
        })
    }
}

struct RawTstInfo<'a> {
    policy: ObjectIdentifier,
    imprint: AnyRef<'a>,
    serial: Integer,
    gen_time: Timestamp,
    accuracy_seconds: Option<u64>,
    nonce: Option<Integer>,
    tsa: Option<Vec<u8>>,
    extensions: Option<&'a [u8]>,
}

impl<'a> RawTstInfo<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut fields = Elements::of_sequence(der)?;
        if fields.next()?.decode_as::<u8>().ok()? != 1 {
            return None;
        }
        let policy = fields.next()?.decode_as().ok()?;
        let imprint = fields.next()?;
        let serial = Integer::read(fields.next()?)?;
        let gen_time = read_generalized_time(fields.next_of(Tag::GeneralizedTime)?.value())?;
        let accuracy_seconds = match fields.take_if(Tag::Sequence) {
            Some(accuracy) => read_accuracy(accuracy.value())?,
            None => None,
        };
        if let Some(ordering) = fields.take_if(Tag::Boolean) {
            ordering.decode_as::<bool>().ok()?;
        }
        let nonce = match fields.take_if(Tag::Integer) {
            Some(nonce) => Some(Integer::read(nonce)?),
            None => None,
        };
        let tsa = match fields.take_if(constructed(0)) {
            Some(name) => read_directory_name(name.value())?,
            None => None,
        };
        let extensions = fields.take_if(constructed(1)).map(AnyRef::value);
        fields.finish()?;
        Some(Self { policy, imprint, serial, gen_time, accuracy_seconds, nonce, tsa, extensions })
    }
}

/// Accuracy (RFC 3161 §2.4.2): seconds, and thousandths and millionths from 1 to 999.
fn read_accuracy(contents: &[u8]) -> Option<Option<u64>> {
    let mut fields = Elements::of(contents)?;
    let seconds = match fields.take_if(Tag::Integer) {
        Some(seconds) => Some(seconds.decode_as().ok()?),
        None => None,
    };
    for number in [0, 1] {
        if let Some(fraction) = fields.take_if(primitive(number)) {
            let fraction: u16 = AnyRef::new(Tag::Integer, fraction.value()).ok()?.decode_as().ok()?;
            (1..=999).contains(&fraction).then_some(())?;
        }
    }
    fields.finish()?;
    Some(seconds)
}

/// The Name of a directoryName; names of other kinds are passed over.
fn read_directory_name(contents: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut names = Elements::of(contents)?;
    let name = names.next()?;
    names.finish()?;
    Some((name.tag() == constructed(4)).then(|| name.value().to_vec()))
}

/// Whether an extension in these contents of an Extensions element is critical, or cannot be read.
fn any_critical(contents: &[u8]) -> bool {
    let read = || {
        let mut list = Elements::of(contents)?;
        let mut critical = false;
        while !list.is_empty() {
            let mut fields = Elements::inside(list.next()?, Tag::Sequence)?;
            fields.next_of(Tag::ObjectIdentifier)?;
            critical |= fields.take_if(Tag::Boolean).is_some_and(|flag| flag.value() != [0]);
        }
        Some(critical)
    };
    read().unwrap_or(true)
}

pub(super) enum ImprintError {
    Malformed,
    Hash(ObjectIdentifier),
    Length,
}

impl ImprintError {
    pub(super) const WEAK: ObjectIdentifier = ID_SHA_1;
}

/// MessageImprint (RFC 3161 §2.4.1); the algorithm's parameters are NULL or absent.
pub(super) fn read_imprint(any: AnyRef<'_>) -> Result<Digest, ImprintError> {
    let read = || {
        let mut fields = Elements::inside(any, Tag::Sequence)?;
        let oid = cms::algorithm_oid(fields.next()?)?;
        let digest = fields.next_of(Tag::OctetString)?.value();
        fields.finish()?;
        Some((oid, digest))
    };
    let (oid, digest) = read().ok_or(ImprintError::Malformed)?;
    let algorithm = cms::hash_algorithm(oid).ok_or(ImprintError::Hash(oid))?;
    Digest::new(algorithm, digest).ok_or(ImprintError::Length)
}

pub(super) fn message_imprint(digest: &Digest) -> der::Result<Vec<u8>> {
    let algorithm = [cms::hash_oid(digest.algorithm()).to_der()?, AnyRef::NULL.to_der()?].concat();
    let parts = [tlv(Tag::Sequence, &algorithm)?, tlv(Tag::OctetString, digest.as_bytes())?];
    tlv(Tag::Sequence, &parts.concat())
}

/// `20261124144305Z`, with a fraction of a second where the authority writes one (RFC 3161 §2.4.2).
fn read_generalized_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (seconds, fraction) = match text.split_once('.') {
        Some((seconds, fraction)) => (seconds, Some(fraction)),
        None => (text, None),
    };
    let whole = DateTime::strptime("%Y%m%d%H%M%S", seconds)
        .ok()
        .filter(|_| seconds.len() == 14 && seconds.bytes().all(|byte| byte.is_ascii_digit()))?;
    let nanos = match fraction {
        None => 0,
        Some(digits) => {
            let shape = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            (shape && !digits.ends_with('0')).then_some(())?;
            format!("{digits:0<9}").parse().ok()?
        }
    };
    let time = whole.with().subsec_nanosecond(nanos).build().ok()?;
    Some(TimeZone::UTC.to_zoned(time).ok()?.timestamp())
}

fn generalized_time(time: Timestamp) -> der::Result<GeneralizedTime> {
    let seconds = u64::try_from(time.as_second()).map_err(|_| der::ErrorKind::DateTime)?;
    if time.subsec_nanosecond() != 0 {
        return Err(der::ErrorKind::DateTime.into());
    }
    GeneralizedTime::from_unix_duration(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::TokenError;
    use super::{Integer, TstInfo};
    use crate::asn1::{constructed, tlv};
    use crate::crypto::HashAlgorithm;
    use const_oid::ObjectIdentifier;
    use der::asn1::AnyRef;
    use der::{Decode, Tag};

    pub(crate) fn info() -> TstInfo {
        TstInfo {
            policy: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.2"),
            imprint: HashAlgorithm::Sha256.digest(b"hello"),
            serial: Integer::from_unsigned(&[0xff; 20]),
            gen_time: "2026-11-24T15:00:00Z".parse().expect("time"),
            accuracy_seconds: Some(1),
            nonce: Some(Integer::from_unsigned(&[0x80])),
            tsa: None,
        }
    }

    /// The DER with `from` replaced by `to` of the same length at its only occurrence.
    pub(crate) fn edit(token: &[u8], from: &str, to: &str) -> Vec<u8> {
        let text = hex::encode(token);
        assert_eq!(text.matches(from).count(), 1, "{from}");
        hex::decode(text.replace(from, to)).expect("hex")
    }

    #[test]
    fn times_have_fractions_in_their_shortest_form_or_none() {
        let parse = |text: &str| super::read_generalized_time(text.as_bytes()).map(|time| time.to_string());
        assert_eq!(parse("20261124144305Z").as_deref(), Some("2026-11-24T14:43:05Z"));
        assert_eq!(parse("20261124144305.25Z").as_deref(), Some("2026-11-24T14:43:05.25Z"));
        for wrong in [
            "20261124144305",
            "20261124144305.Z",
            "20261124144305.250Z",
            "20261124144305.0Z",
            "202611241443Z",
            "20261324144305Z",
            "20261124144305+0100",
            "20261124144305.1234567891Z",
            "+2026112414430Z",
            "",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn infos_are_strict() {
        let der = info().to_der().expect("TSTInfo");
        assert_eq!(TstInfo::from_der(&der), Ok(info()));
        let edited = |from: &str, to: &str| TstInfo::from_der(&edit(&der, from, to)).expect_err("refused");
        // SHA-1 in place of SHA-256 (a digest of the wrong length does not matter any more).
        assert!(matches!(edited("0609608648016503040201", "0609608648016503040204"), TokenError::Hash(_)));
        assert_eq!(edited("020101060", "020102060"), TokenError::Malformed("TSTInfo"), "version 2");
        // An accuracy of 1000 milliseconds is a second, so it has to be written as one.
        let mut millis = info();
        millis.accuracy_seconds = None;
        let plain = millis.to_der().expect("TSTInfo");
        for (accuracy, fine) in [("30048002 03e8", false), ("3003800100", false), ("3003800101", true), ("3000", true)]
        {
            let accuracy = hex::decode(accuracy.replace(' ', "")).expect("hex");
            let nonce = 4; // 02 02 00 80 stands last
            let mut der = plain.clone();
            let at = der.len() - nonce;
            der.splice(at..at, accuracy.iter().copied());
            der[1] += u8::try_from(accuracy.len()).expect("short");
            assert_eq!(TstInfo::from_der(&der).is_ok(), fine, "{}", hex::encode(accuracy));
        }
        let mut fraction = info();
        fraction.gen_time = "2026-11-24T15:00:00.5Z".parse().expect("time");
        assert_eq!(fraction.to_der(), Err(TokenError::Malformed("TSTInfo")));
    }

    #[test]
    fn an_unknown_critical_extension_is_refused() {
        let plain = info().to_der().expect("TSTInfo");
        for (critical, result) in [("", Ok(info())), ("0101ff", Err(TokenError::Extension))] {
            let extension = hex::decode(format!("06022a03{critical}04020500")).expect("hex");
            let extension = tlv(Tag::Sequence, &extension).expect("extension");
            let extensions = tlv(constructed(1), &extension).expect("extensions");
            let contents = AnyRef::from_der(&plain).expect("DER").value();
            let der = tlv(Tag::Sequence, &[contents, &extensions].concat()).expect("TSTInfo");
            assert_eq!(TstInfo::from_der(&der), result);
        }
    }
}
