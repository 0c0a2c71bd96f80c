//! PKCS#11: a token that a library of its maker speaks for, named by a URI (RFC 7512).
//!
//! ```text
//! pkcs11:token=NAME;object=LABEL?module-path=/usr/lib/…/libsofthsm2.so&pin-value=…
//! ```

use super::{Keeper, RemoteKey};
use crate::signer::SignerError;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use formats::crypto::{Digest, HashAlgorithm, KeyKind, PublicKey, Secret};
use std::sync::{Mutex, PoisonError};
use waxseal_formats as formats;

/// How a reference to such a key begins.
pub const SCHEME: &str = "pkcs11:";
/// Variables with what a URI may leave out, cosign's.
const PIN: &str = "COSIGN_PKCS11_PIN";
const MODULE: &str = "COSIGN_PKCS11_MODULE_PATH";
/// Longest file with a PIN, in bytes.
const MAX_PIN_LEN: usize = 1024;

/// A parsed URI.
#[derive(Clone, Default)]
pub struct Uri {
    token: Option<String>,
    serial: Option<String>,
    slot: Option<u64>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    module: Option<String>,
    pin: Option<Secret<String>>,
    pin_source: Option<String>,
}

impl std::fmt::Debug for Uri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Uri {
    /// Parses a URI.
    ///
    /// # Errors
    /// [`SignerError::Key`], also for an attribute that is not known here: to leave it out might find another key.
    pub fn parse(text: &str) -> Result<Self, SignerError> {
        let wrong = |problem: &str| SignerError::Key(format!("the PKCS#11 URI: {problem}"));
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with pkcs11:"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self::default();
        for attribute in path.split(';').filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or_else(|| wrong("an attribute has no value"))?;
            let bytes = decoded(value).ok_or_else(|| wrong("an attribute is badly encoded"))?;
            let text = || String::from_utf8(bytes.clone()).map_err(|_| wrong("an attribute is no text"));
            match name {
                "token" => uri.token = Some(text()?),
                "serial" => uri.serial = Some(text()?),
                "object" => uri.object = Some(text()?),
                "slot-id" => uri.slot = Some(text()?.parse().map_err(|_| wrong("slot-id is no number"))?),
                "id" => uri.id = Some(bytes),
                "type" if matches!(bytes.as_slice(), b"private" | b"public" | b"cert") => {}
                "manufacturer"
                | "model"
                | "library-manufacturer"
                | "library-description"
                | "library-version"
                | "slot-manufacturer"
                | "slot-description" => {}
                other => return Err(wrong(&format!("{other} is not known"))),
            }
        }
        for attribute in query.split('&').filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or_else(|| wrong("an attribute has no value"))?;
            let bytes = decoded(value).ok_or_else(|| wrong("an attribute is badly encoded"))?;
            let text = String::from_utf8(bytes).map_err(|_| wrong("an attribute is no text"))?;
            match name {
                "module-path" => uri.module = Some(text),
                "pin-value" => uri.pin = Some(Secret::new(text)),
                "pin-source" => uri.pin_source = Some(text),
                other => return Err(wrong(&format!("{other} is not known"))),
            }
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err(wrong("it names no key: object or id is missing"));
        }
        Ok(uri)
    }

    /// The URI without what is secret.
    fn shown(&self) -> String {
        let object = self.object.clone().or_else(|| self.id.as_ref().map(hex::encode)).unwrap_or_default();
        format!("pkcs11:token={};object={object}", self.token.as_deref().unwrap_or("*"))
    }

    /// Opens the key. What the URI leaves out comes from `variable`; a PIN that stands nowhere is asked for.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn open(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
        ask: impl FnOnce() -> Option<Secret<String>>,
    ) -> Result<RemoteKey, SignerError> {
        let failed = |reason: String| SignerError::Remote { key: self.shown(), reason };
        let refused = |error: Error| failed(error.to_string());
        let module = self.module.clone().or_else(|| variable(MODULE).filter(|module| !module.is_empty()));
        let module = module.ok_or_else(|| {
            SignerError::Key(format!(
                "{}: which library speaks for the token is not said: module-path, or {MODULE}",
                self.shown()
            ))
        })?;
        let context = Pkcs11::new(&module).map_err(|error| failed(format!("{module}: {error}")))?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(refused(error)),
        }
        let slot = self.slot(&context)?;
        let session = context.open_ro_session(slot).map_err(refused)?;
        let pin = self.pin(variable, ask)?;
        let logged_in = session.login(UserType::User, Some(&AuthPin::new(pin.expose().as_str().into())));
        match logged_in {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLocked | RvError::PinLenRange, _)) => {
                return Err(SignerError::Pin { key: self.shown() });
            }
            Err(error) => return Err(refused(error)),
        }
        let private =
            self.find(&session, ObjectClass::PRIVATE_KEY)?.ok_or_else(|| failed("the token has no such key".into()))?;
        let public = self.find(&session, ObjectClass::PUBLIC_KEY)?;
        let public = public_key(&session, public.unwrap_or(private)).map_err(&failed)?;
        let kind = public.kind();
        let keeper = Token { name: self.shown(), kind, session: Mutex::new(session), key: private };
        Ok(RemoteKey::new(public, keeper))
    }

    fn slot(&self, context: &Pkcs11) -> Result<Slot, SignerError> {
        let failed = |reason: String| SignerError::Remote { key: self.shown(), reason };
        let slots = context.get_slots_with_token().map_err(|error| failed(error.to_string()))?;
        let fits = |slot: &Slot| {
            let Ok(info) = context.get_token_info(*slot) else { return false };
            self.slot.is_none_or(|id| slot.id() == id)
                && self.token.as_deref().is_none_or(|name| info.label().trim_end() == name)
                && self.serial.as_deref().is_none_or(|serial| info.serial_number().trim_end() == serial)
        };
        let mut found = slots.into_iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(slot), None) => Ok(slot),
            (None, _) => Err(failed("there is no such token".into())),
            (Some(_), Some(_)) => Err(failed("several tokens fit: name one with token, serial or slot-id".into())),
        }
    }

    fn pin(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
        ask: impl FnOnce() -> Option<Secret<String>>,
    ) -> Result<Secret<String>, SignerError> {
        if let Some(pin) = &self.pin {
            return Ok(pin.clone());
        }
        if let Some(source) = &self.pin_source {
            let path = source.strip_prefix("file://").or_else(|| source.strip_prefix("file:")).unwrap_or(source);
            let read = crate::file::read(std::path::Path::new(path), MAX_PIN_LEN);
            let bytes = read.map_err(|source| SignerError::File { path: path.to_owned(), source })?;
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            return text
                .map(|text| Secret::new(text.trim_end().to_owned()))
                .ok_or_else(|| SignerError::Pin { key: self.shown() });
        }
        let set = variable(PIN).filter(|pin| !pin.is_empty()).map(Secret::new);
        set.or_else(ask).ok_or_else(|| SignerError::Pin { key: self.shown() })
    }

    fn find(&self, session: &Session, class: ObjectClass) -> Result<Option<ObjectHandle>, SignerError> {
        let failed = |reason: String| SignerError::Remote { key: self.shown(), reason };
        let mut template = vec![Attribute::Class(class)];
        template.extend(self.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
        template.extend(self.id.as_ref().map(|id| Attribute::Id(id.clone())));
        let found = session.find_objects(&template).map_err(|error| failed(error.to_string()))?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(failed("several keys fit: name one with object and id".into())),
        }
    }
}

/// Percent-decoding (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let (digits, behind) = behind.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            rest = behind;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    Some(bytes)
}

/// A key on a token. One thread at a time speaks to it.
struct Token {
    name: String,
    kind: KeyKind,
    session: Mutex<Session>,
    key: ObjectHandle,
}

impl Token {
    fn sign(&self, mechanism: &Mechanism<'_>, data: &[u8]) -> Result<Vec<u8>, SignerError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session
            .sign(mechanism, self.key, data)
            .map_err(|error| SignerError::Remote { key: self.name.clone(), reason: error.to_string() })
    }
}

impl Keeper for Token {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Vec<u8>, SignerError> {
        match self.kind {
            KeyKind::Rsa { .. } => {
                let info = [digest_info(digest.algorithm()), digest.as_bytes()].concat();
                self.sign(&Mechanism::RsaPkcs, &info)
            }
            _ => {
                let raw = self.sign(&Mechanism::Ecdsa, digest.as_bytes())?;
                let wrong = || SignerError::Remote { key: self.name.clone(), reason: "its signature is none".into() };
                let half = raw.len().checked_div(2).filter(|half| *half > 0 && raw.len() % 2 == 0).ok_or_else(wrong)?;
                let (r, s) = raw.split_at(half);
                Ok(tlv(0x30, &[tlv(0x02, &unsigned(r)), tlv(0x02, &unsigned(s))].concat()))
            }
        }
    }

    fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.sign(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), message)
    }
}

/// The SubjectPublicKeyInfo of a key object.
fn public_key(session: &Session, key: ObjectHandle) -> Result<PublicKey, String> {
    const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const RSA: [u8; 13] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
    let wanted = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let (mut kind, mut params, mut point, mut modulus, mut exponent) = (None, None, None, None, None);
    for attribute in session.get_attributes(key, &wanted).map_err(|error| error.to_string())? {
        match attribute {
            Attribute::KeyType(found) => kind = Some(found),
            Attribute::EcParams(bytes) => params = Some(bytes),
            Attribute::EcPoint(bytes) => point = Some(bytes),
            Attribute::Modulus(bytes) => modulus = Some(bytes),
            Attribute::PublicExponent(bytes) => exponent = Some(bytes),
            _ => {}
        }
    }
    let bits = |bytes: &[u8]| tlv(0x03, &[&[0], bytes].concat());
    let spki = match (kind, params, point, modulus, exponent) {
        (Some(KeyType::EC), Some(params), Some(point), ..) => {
            let algorithm = tlv(0x30, &[EC_PUBLIC_KEY.as_slice(), &params].concat());
            tlv(0x30, &[algorithm, bits(inner(&point))].concat())
        }
        (Some(KeyType::EC_EDWARDS), _, Some(point), ..) => {
            tlv(0x30, &[tlv(0x30, &ED25519), bits(inner(&point))].concat())
        }
        (Some(KeyType::RSA), _, _, Some(modulus), Some(exponent)) => {
            let key = tlv(0x30, &[tlv(0x02, &unsigned(&modulus)), tlv(0x02, &unsigned(&exponent))].concat());
            tlv(0x30, &[tlv(0x30, &RSA), bits(&key)].concat())
        }
        _ => return Err("the token does not tell the public half of the key".to_owned()),
    };
    PublicKey::from_spki_der(&spki).map_err(|error| error.to_string())
}

/// The point within an OCTET STRING; some tokens leave that away.
fn inner(point: &[u8]) -> &[u8] {
    match point {
        [0x04, len, rest @ ..] if usize::from(*len) == rest.len() && *len < 0x80 => rest,
        [0x04, 0x81, len, rest @ ..] if usize::from(*len) == rest.len() => rest,
        whole => whole,
    }
}

/// A DER element.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut element = vec![tag];
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => element.push(short),
        _ => {
            let bytes: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            element.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
            element.extend(bytes);
        }
    }
    element.extend_from_slice(content);
    element
}

/// The contents of a DER INTEGER that is not negative.
fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let short: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    match short.first() {
        None => vec![0],
        Some(first) if *first >= 0x80 => [&[0], short.as_slice()].concat(),
        Some(_) => short,
    }
}

/// What stands before a digest in a signature of RSA PKCS#1 v1.5 (RFC 8017 §9.2).
const fn digest_info(hash: HashAlgorithm) -> &'static [u8] {
    match hash {
        HashAlgorithm::Sha256 => &[
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
            0x20,
        ],
        HashAlgorithm::Sha384 => &[
            0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04,
            0x30,
        ],
        HashAlgorithm::Sha512 => &[
            0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04,
            0x40,
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{Uri, inner, tlv, unsigned};
    use formats::code::Code;
    use waxseal_formats as formats;

    #[test]
    fn a_uri_is_understood_whole_or_refused() {
        let uri =
            Uri::parse("pkcs11:token=My%20token;slot-id=7;id=%01%ff;object=release?module-path=/m.so&pin-value=1234")
                .expect("parsed");
        assert_eq!(
            (uri.token.as_deref(), uri.slot, uri.object.as_deref()),
            (Some("My token"), Some(7), Some("release"))
        );
        assert_eq!((uri.id.as_deref(), uri.module.as_deref()), (Some(&[1, 0xff][..]), Some("/m.so")));
        assert!(!format!("{uri:?}").contains("1234"));
        for wrong in [
            "pkcs11:",
            "pkcs11:token=a",
            "pkcs11:object",
            "pkcs11:object=%zz",
            "pkcs11:object=%f",
            "pkcs11:object=a;slot-id=x",
            "pkcs11:object=a;wing=left",
            "pkcs11:object=a?wing=left",
            "pkcs12:object=a",
        ] {
            assert_eq!(Uri::parse(wrong).expect_err(wrong).code(), Code::KEY_UNSUPPORTED);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = |_: &str| None;
        let open = |text: &str| Uri::parse(text).expect("parsed").open(&none, || None).expect_err("refused");
        assert!(open("pkcs11:object=a").to_string().contains("COSIGN_PKCS11_MODULE_PATH"));
        let error = open("pkcs11:object=a?module-path=/nowhere.so&pin-value=1234");
        assert_eq!(error.code(), Code::KEY_UNAVAILABLE);
        assert!(!error.to_string().contains("1234"), "{error}");
    }

    #[test]
    fn elements_are_der() {
        assert_eq!(tlv(4, &[1]), [4, 1, 1]);
        assert_eq!(tlv(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(tlv(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!((unsigned(&[0, 0, 1]), unsigned(&[0x80]), unsigned(&[0])), (vec![1], vec![0, 0x80], vec![0]));
        assert_eq!((inner(&[4, 2, 9, 9]), inner(&[4, 9, 9])), (&[9, 9][..], &[4, 9, 9][..]));
    }
}
