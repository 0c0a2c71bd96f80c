//! Private keys in every PEM that signers bring along: PKCS#8, SEC1 (EC), PKCS#1 (RSA), and cosign's under a passphrase.

use super::{KeyPair, SignerError};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::KeyPair as RsaKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
};
use der::pem;
use formats::crypto::Secret;
use formats::crypto::sealed_key::{Derivation, NONCE_LEN, SALT_LEN, SealedKey, SealedKeyError};
use waxseal_formats as formats;
use zeroize::Zeroizing;

/// Longest PEM of a private key, in bytes.
pub const MAX_PRIVATE_PEM_LEN: usize = 64 << 10;

/// Reads a private key from PEM. `passphrase` is asked for only if the key is encrypted.
///
/// # Errors
/// [`SignerError::Sealed`] if there is no passphrase or a wrong one, naming `origin`; [`SignerError::Key`].
pub fn parse(
    text: &str,
    origin: &str,
    passphrase: impl FnOnce() -> Option<Secret<String>>,
) -> Result<KeyPair, SignerError> {
    let named = |error: SignerError| match error {
        SignerError::Key(problem) => SignerError::Key(format!("{origin}: {problem}")),
        other => other,
    };
    if !SealedKey::is_sealed(text) {
        return plain(text).map_err(named);
    }
    let refused = |source| SignerError::Sealed { path: origin.to_owned(), source };
    let sealed = SealedKey::from_pem(text).map_err(|error| refused(Some(error)))?;
    let passphrase = passphrase().ok_or_else(|| refused(None))?;
    let opened = sealed.derivation().derive(&passphrase).and_then(|key| sealed.open(&key));
    KeyPair::from_pkcs8_der(&opened.map_err(|error| refused(Some(error)))?).map_err(named)
}

fn plain(text: &str) -> Result<KeyPair, SignerError> {
    const KNOWN: [&str; 3] = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"];
    let unknown = || SignerError::Key(format!("not a PEM private key: one of {} is expected", KNOWN.join(", ")));
    // OpenSSL puts the curve's parameters before a key.
    let (label, block) =
        KNOWN.iter().find_map(|label| block(text, label).map(|block| (*label, block))).ok_or_else(unknown)?;
    let (_, der) = pem::decode_vec(block.as_bytes()).map_err(|_| unknown())?;
    let der = Zeroizing::new(der);
    match label {
        "PRIVATE KEY" => KeyPair::from_pkcs8_der(&der),
        "EC PRIVATE KEY" => {
            let curves =
                [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];
            let key = curves.into_iter().find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, &der).ok());
            let pkcs8 = key.and_then(|key| key.to_pkcs8v1().ok());
            let wrong = || SignerError::Key("not an EC key of P-256, P-384 or P-521 with its curve".to_owned());
            KeyPair::from_pkcs8_der(pkcs8.ok_or_else(wrong)?.as_ref())
        }
        _ => {
            let wrong = |_| SignerError::Key("not an RSA key of 2048 to 8192 bits".to_owned());
            let key = RsaKey::from_der(&der).map_err(wrong)?;
            let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key)
                .map_err(|_| SignerError::Key("the RSA key cannot be encoded".to_owned()))?;
            KeyPair::from_pkcs8_der(pkcs8.as_ref())
        }
    }
}

/// The PEM block of that label.
fn block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let end = format!("-----END {label}-----");
    let start = text.find(&format!("-----BEGIN {label}-----"))?;
    let rest = text.get(start..)?;
    rest.get(..rest.find(&end)?.checked_add(end.len())?)
}

/// A key as cosign keeps it: PKCS#8 under a passphrase, which may be empty.
///
/// # Errors
/// [`SignerError::Sealed`].
pub fn seal(pair: &KeyPair, passphrase: &Secret<String>) -> Result<String, SignerError> {
    let refused = |source| SignerError::Sealed { path: "the new key".to_owned(), source: Some(source) };
    let (mut salt, mut nonce) = ([0; SALT_LEN], [0; NONCE_LEN]);
    let random = SystemRandom::new();
    random.fill(&mut salt).and_then(|()| random.fill(&mut nonce)).map_err(|_| refused(SealedKeyError::Derivation))?;
    let key = Derivation::new(salt).derive(passphrase).map_err(refused)?;
    SealedKey::seal(&pair.pkcs8, &key, nonce).to_pem().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::{parse, seal};
    use crate::signer::{KeyPair, Signer as _};
    use formats::code::Code;
    use formats::crypto::{KeyKind, Secret};
    use waxseal_formats as formats;

    /// Made with OpenSSL: `openssl ecparam -genkey -name prime256v1`, `openssl genrsa -traditional 2048`.
    const SEC1: &str = include_str!("../../testdata/keys/sec1-p256.pem");
    const PKCS1: &str = include_str!("../../testdata/keys/pkcs1-rsa2048.pem");

    fn code(text: &str, passphrase: Option<&str>) -> Code {
        let given = passphrase.map(|text| Secret::new(text.to_owned()));
        parse(text, "k", || given).map(|_| ()).expect_err("refused").code()
    }

    #[test]
    fn keys_of_openssl_are_read() {
        let kind = |text: &str| parse(text, "k", || None).expect("read").public_key().kind();
        assert_eq!((kind(SEC1), kind(PKCS1)), (KeyKind::EcdsaP256, KeyKind::Rsa { bits: 2048 }));
        let pair = KeyPair::generate(KeyKind::Ed25519).expect("made");
        assert_eq!(kind(pair.to_pkcs8_pem().expect("PEM").expose()), KeyKind::Ed25519);
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_only() {
        let pair = KeyPair::generate(KeyKind::EcdsaP256).expect("made");
        for passphrase in ["correct horse", ""] {
            let sealed = seal(&pair, &Secret::new(passphrase.to_owned())).expect("sealed");
            assert!(sealed.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"));
            let opened = parse(&sealed, "k", || Some(Secret::new(passphrase.to_owned()))).expect("opened");
            assert_eq!(opened.public_key(), pair.public_key());
            assert_eq!(code(&sealed, Some("wrong")), Code::KEY_PASSPHRASE);
            assert_eq!(code(&sealed, None), Code::KEY_PASSPHRASE);
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused_and_named() {
        let public = KeyPair::generate(KeyKind::EcdsaP256).expect("made").public_key().to_pem();
        let cut = &SEC1[..SEC1.len() / 2];
        let broken = PKCS1.replacen("MI", "AA", 1);
        for text in ["", "hello", &public, cut, &broken] {
            assert_eq!(code(text, None), Code::KEY_UNSUPPORTED, "{text}");
        }
        let error = parse("", "cosign.key", || None).map(|_| ()).expect_err("refused");
        assert!(error.to_string().contains("cosign.key"), "{error}");
    }
}
