//! Private keys under a passphrase, in the format of cosign's key files.
//!
//! ```text
//! -----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
//! {"kdf":{"name":"scrypt","params":{"N":32768,"r":8,"p":1},"salt":"…"},
//!  "cipher":{"name":"nacl/secretbox","nonce":"…"},"ciphertext":"…"}          base64 of it
//! -----END ENCRYPTED SIGSTORE PRIVATE KEY-----
//! ```
//!
//! The plaintext is a DER PKCS#8 structure. Salt and parameters give a key of 32 bytes (scrypt, RFC 7914), under which
//! XSalsa20-Poly1305 seals it: NaCl's secretbox, the tag of 16 bytes first. Several keys may have one salt, so that a passphrase is
//! stretched once for all of them; each has a nonce of its own.

use super::Secret;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::pem;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The label that is written.
pub const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// The label of earlier versions of cosign, which is read too.
pub const LEGACY_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";
/// Longest key file, in bytes: RSA-8192 needs about 10,000.
pub const MAX_SEALED_KEY_LEN: usize = 32 * 1024;
/// Bytes of a salt.
pub const SALT_LEN: usize = 32;
/// Bytes of a nonce.
pub const NONCE_LEN: usize = 24;
/// Longest salt that is read, in bytes.
const MAX_SALT_LEN: usize = 64;
const TAG_LEN: usize = 16;

/// Why a sealed key cannot be read or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedKeyError {
    /// It is none.
    #[error("not an encrypted private key: {0}")]
    Malformed(&'static str),
    /// Its key derivation or cipher is another one, or has parameters that cost too little or too much.
    #[error("the private key is encrypted in an unsupported way: {0}")]
    Unsupported(String),
    /// The passphrase is another one, or the file was changed.
    #[error("the passphrase is wrong, or the encrypted key is damaged")]
    Passphrase,
    /// The passphrase cannot be stretched.
    #[error("no key can be derived from the passphrase")]
    Derivation,
}

/// How a passphrase becomes a key: the salt and the work that a guess costs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Derivation {
    log_n: u8,
    salt: Vec<u8>,
}

impl Derivation {
    /// The parameters for new keys: N = 32768, r = 8, p = 1 (32 MiB of memory).
    #[must_use]
    pub fn new(salt: [u8; SALT_LEN]) -> Self {
        Self { log_n: 15, salt: salt.to_vec() }
    }

    /// Stretches a passphrase. Takes a tenth of a second and 32 to 128 MiB of memory.
    ///
    /// # Errors
    /// [`SealedKeyError::Derivation`], which no derivation that was read or made gives.
    pub fn derive(&self, passphrase: &Secret<String>) -> Result<DerivedKey, SealedKeyError> {
        let params = scrypt::Params::new(self.log_n, 8, 1).map_err(|_| SealedKeyError::Derivation)?;
        let mut key = Zeroizing::new([0; 32]);
        scrypt::scrypt(passphrase.expose().as_bytes(), &self.salt, &params, &mut *key)
            .map_err(|_| SealedKeyError::Derivation)?;
        Ok(DerivedKey { derivation: self.clone(), key })
    }
}

/// A stretched passphrase.
pub struct DerivedKey {
    derivation: Derivation,
    key: Zeroizing<[u8; 32]>,
}

impl DerivedKey {
    /// From what it was derived.
    #[must_use]
    pub const fn derivation(&self) -> &Derivation {
        &self.derivation
    }
}

impl std::fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DerivedKey(…)")
    }
}

/// An encrypted private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    derivation: Derivation,
    nonce: [u8; NONCE_LEN],
    /// The tag, then the ciphertext.
    sealed: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

const SCRYPT: &str = "scrypt";
const SECRETBOX: &str = "nacl/secretbox";

impl SealedKey {
    /// Seals a private key (DER PKCS#8). A nonce is used once with a key.
    #[must_use]
    pub fn seal(pkcs8: &[u8], key: &DerivedKey, nonce: [u8; NONCE_LEN]) -> Self {
        let (mut cipher, mac) = secretbox(key, &nonce);
        let mut ciphertext = pkcs8.to_vec();
        cipher.apply_keystream(&mut ciphertext);
        let mut sealed = mac.compute_unpadded(&ciphertext).to_vec();
        sealed.append(&mut ciphertext);
        Self { derivation: key.derivation.clone(), nonce, sealed }
    }

    /// The private key (DER PKCS#8).
    ///
    /// # Errors
    /// [`SealedKeyError::Passphrase`] if this is not the key that it was sealed with.
    pub fn open(&self, key: &DerivedKey) -> Result<Zeroizing<Vec<u8>>, SealedKeyError> {
        let (tag, ciphertext) = self.sealed.split_at_checked(TAG_LEN).ok_or(SealedKeyError::Passphrase)?;
        let (mut cipher, mac) = secretbox(key, &self.nonce);
        let expected = mac.compute_unpadded(ciphertext);
        verify_slices_are_equal(&expected, tag).map_err(|_| SealedKeyError::Passphrase)?;
        let mut pkcs8 = Zeroizing::new(ciphertext.to_vec());
        cipher.apply_keystream(&mut pkcs8);
        Ok(pkcs8)
    }

    /// How its key is derived.
    #[must_use]
    pub const fn derivation(&self) -> &Derivation {
        &self.derivation
    }

    /// Whether a text begins as an encrypted key does.
    #[must_use]
    pub fn is_sealed(text: &str) -> bool {
        let begins = |label: &str| text.trim_start().starts_with(&format!("-----BEGIN {label}-----"));
        begins(LABEL) || begins(LEGACY_LABEL)
    }

    /// Reads the first PEM block of a text of at most [`MAX_SEALED_KEY_LEN`] bytes.
    ///
    /// # Errors
    /// [`SealedKeyError::Malformed`], [`SealedKeyError::Unsupported`].
    pub fn from_pem(text: &str) -> Result<Self, SealedKeyError> {
        use SealedKeyError::{Malformed, Unsupported};
        if text.len() > MAX_SEALED_KEY_LEN {
            return Err(Malformed("it is too long"));
        }
        let text = text.trim_start();
        let end = text.find("-----END ").and_then(|end| Some(end.saturating_add(text.get(end..)?.find('\n')?)));
        let block = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
        let (label, json) = pem::decode_vec(block.trim().as_bytes()).map_err(|_| Malformed("it is no PEM block"))?;
        if label != LABEL && label != LEGACY_LABEL {
            return Err(Malformed("the PEM label is another one"));
        }
        let Document { kdf, cipher, ciphertext } =
            serde_json::from_slice(&json).map_err(|_| Malformed("it holds no such JSON"))?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| Malformed("a field is not base64"));
        if kdf.name != SCRYPT || cipher.name != SECRETBOX {
            return Err(Unsupported(format!("{} with {}", kdf.name, cipher.name)));
        }
        // The strengths that cosign has written. A file must not choose how long we compute.
        let log_n = match (kdf.params.n, kdf.params.r, kdf.params.p) {
            (0x8000, 8, 1) => 15,
            (0x1_0000, 8, 1) => 16,
            (0x2_0000, 8, 1) => 17,
            (n, r, p) => return Err(Unsupported(format!("scrypt with N={n}, r={r}, p={p}"))),
        };
        let salt = decode(&kdf.salt)?;
        if salt.is_empty() || salt.len() > MAX_SALT_LEN {
            return Err(Malformed("the salt is too short or too long"));
        }
        let nonce = decode(&cipher.nonce)?.try_into().map_err(|_| Malformed("the nonce is not of 24 bytes"))?;
        let sealed = decode(&ciphertext)?;
        if sealed.len() < TAG_LEN {
            return Err(Malformed("the ciphertext is too short"));
        }
        Ok(Self { derivation: Derivation { log_n, salt }, nonce, sealed })
    }

    /// The PEM block, with a newline at its end.
    ///
    /// # Errors
    /// [`SealedKeyError::Malformed`] for a key of more than [`MAX_SEALED_KEY_LEN`] bytes.
    pub fn to_pem(&self) -> Result<String, SealedKeyError> {
        let document = Document {
            kdf: Kdf {
                name: SCRYPT.to_owned(),
                params: Params { n: 1 << self.derivation.log_n, r: 8, p: 1 },
                salt: STANDARD.encode(&self.derivation.salt),
            },
            cipher: Cipher { name: SECRETBOX.to_owned(), nonce: STANDARD.encode(self.nonce) },
            ciphertext: STANDARD.encode(&self.sealed),
        };
        let json = serde_json::to_vec(&document).map_err(|_| SealedKeyError::Malformed("it cannot be written"))?;
        pem::encode_string(LABEL, pem::LineEnding::LF, &json)
            .ok()
            .filter(|text| text.len() <= MAX_SEALED_KEY_LEN)
            .ok_or(SealedKeyError::Malformed("it is too long"))
    }
}

/// The cipher behind its first 32 bytes, which key the authenticator (NaCl, "Cryptography in NaCl" §9–10).
fn secretbox(key: &DerivedKey, nonce: &[u8; NONCE_LEN]) -> (XSalsa20, poly1305::Poly1305) {
    let mut cipher = XSalsa20::new((&*key.key).into(), nonce.into());
    let mut mac_key = Zeroizing::new([0_u8; 32]);
    cipher.apply_keystream(&mut *mac_key);
    let mac = poly1305::Poly1305::new((&*mac_key).into());
    (cipher, mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Cryptography in NaCl" §10, the secretbox example.
    #[test]
    fn the_box_is_the_one_of_nacl() {
        let hex = |text: &str| hex::decode(text).expect("hex");
        let key: [u8; 32] =
            hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389").try_into().expect("32 bytes");
        let nonce: [u8; 24] = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37").try_into().expect("24 bytes");
        let message = hex("be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc\
             e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31\
             0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde\
             048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864\
             5e0705");
        let boxed = hex("f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce\
             48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972\
             71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae\
             90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3\
             7973f622a43d14a6599b1f654cb45a74e355a5");
        let key = DerivedKey { derivation: Derivation::new([0; SALT_LEN]), key: Zeroizing::new(key) };
        let sealed = SealedKey::seal(&message, &key, nonce);
        assert_eq!(sealed.sealed, boxed);
        assert_eq!(*sealed.open(&key).expect("opened"), message);
    }

    fn passphrase(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    /// What the library of cosign sealed.
    const FOREIGN: &str = include_str!("../../testdata/sealed-key/foreign.pem");

    #[test]
    fn a_key_that_another_program_sealed_is_opened_with_its_passphrase_only() {
        let sealed = SealedKey::from_pem(FOREIGN).expect("read");
        let key = sealed.derivation().derive(&passphrase("correct horse")).expect("derived");
        assert_eq!(&sealed.open(&key).expect("opened")[..], b"what was sealed");
        let wrong = sealed.derivation().derive(&passphrase("correct horse ")).expect("derived");
        assert_eq!(sealed.open(&wrong), Err(SealedKeyError::Passphrase));
        assert_eq!(SealedKey::from_pem(&sealed.to_pem().expect("written")).as_ref(), Ok(&sealed));
        // What stands behind the block is somebody else's.
        assert_eq!(SealedKey::from_pem(&format!("\n{FOREIGN}-----BEGIN X-----\n")), Ok(sealed));
        assert!(SealedKey::is_sealed(FOREIGN) && !SealedKey::is_sealed("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(format!("{key:?}"), "DerivedKey(…)");
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let key = DerivedKey { derivation: Derivation::new([1; SALT_LEN]), key: Zeroizing::new([7; 32]) };
        let sealed = SealedKey::seal(b"a key", &key, [9; NONCE_LEN]);
        for bit in 0..sealed.sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed.sealed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(changed.open(&key), Err(SealedKeyError::Passphrase), "bit {bit}");
        }
        let moved = SealedKey { nonce: [8; NONCE_LEN], ..sealed };
        assert_eq!(moved.open(&key), Err(SealedKeyError::Passphrase));
    }

    #[test]
    fn a_file_cannot_choose_how_long_we_compute() {
        let pem = |json: &str| pem::encode_string(LABEL, pem::LineEnding::LF, json.as_bytes()).expect("PEM");
        let document = |kdf: &str, n: &str, salt: &str, nonce: &str, ciphertext: &str| {
            pem(&format!(
                r#"{{"kdf":{{"name":"{kdf}","params":{{"N":{n},"r":8,"p":1}},"salt":"{salt}"}},
                "cipher":{{"name":"nacl/secretbox","nonce":"{nonce}"}},"ciphertext":"{ciphertext}"}}"#
            ))
        };
        let (salt, nonce, sealed) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 24]), STANDARD.encode([3; 40]));
        for n in ["32768", "65536", "131072"] {
            assert!(SealedKey::from_pem(&document("scrypt", n, &salt, &nonce, &sealed)).is_ok(), "{n}");
        }
        for n in ["0", "1", "16384", "32769", "1073741824", "18446744073709551615"] {
            let error = SealedKey::from_pem(&document("scrypt", n, &salt, &nonce, &sealed)).expect_err(n);
            assert!(matches!(error, SealedKeyError::Unsupported(_)), "{n}: {error}");
        }
        let unknown = SealedKey::from_pem(&document("argon2", "32768", &salt, &nonce, &sealed));
        assert!(matches!(unknown, Err(SealedKeyError::Unsupported(_))));
        for text in [
            document("scrypt", "-1", &salt, &nonce, &sealed),
            document("scrypt", "32768", "", &nonce, &sealed),
            document("scrypt", "32768", &STANDARD.encode([1; 65]), &nonce, &sealed),
            document("scrypt", "32768", &salt, &STANDARD.encode([2; 23]), &sealed),
            document("scrypt", "32768", &salt, &nonce, &STANDARD.encode([3; 15])),
            document("scrypt", "32768", &salt, &nonce, "*"),
            pem("{}"),
            "garbage".to_owned(),
            format!("{FOREIGN}{}", " ".repeat(MAX_SEALED_KEY_LEN)),
            FOREIGN.replace("SIGSTORE", "OTHER"),
        ] {
            assert!(matches!(SealedKey::from_pem(&text), Err(SealedKeyError::Malformed(_))), "{text}");
        }
    }
}
