//! The key files of an instance: plain, or sealed under one passphrase.
//!
//! ```text
//! -----BEGIN PRIVATE KEY-----                       plain: PKCS#8
//! -----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----    sealed: cosign's format, then the public key, so that a check of what the
//! -----BEGIN PUBLIC KEY-----                        key signed needs no passphrase
//! ```
//!
//! All keys that are sealed together have one salt: the passphrase is stretched once a start, not once a key.

use super::{KeyPair, SignerError};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use waxseal_formats::crypto::sealed_key::{
    Derivation, DerivedKey, MAX_SEALED_KEY_LEN, NONCE_LEN, SALT_LEN, SealedKey, SealedKeyError,
};
use waxseal_formats::crypto::{KeyKind, PublicKey, Secret};
use zeroize::Zeroizing;

/// Most different salts that are remembered: an instance has one, and a second one where a key was brought along.
const MAX_DERIVED: usize = 16;

/// How the keys of an instance are kept in files.
pub struct KeyFiles {
    passphrase: Option<Passphrase>,
}

struct Passphrase {
    text: Secret<String>,
    /// What it was stretched to, the one that seals new keys first.
    derived: Mutex<Vec<Arc<DerivedKey>>>,
}

impl KeyFiles {
    /// Keys that whoever reads the file has.
    #[must_use]
    pub const fn plain() -> Self {
        Self { passphrase: None }
    }

    /// Keys under a passphrase. Plain ones are read as well, new ones are sealed.
    #[must_use]
    pub fn sealed(passphrase: Secret<String>) -> Self {
        Self { passphrase: Some(Passphrase { text: passphrase, derived: Mutex::default() }) }
    }

    /// Whether new keys are sealed.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.passphrase.is_some()
    }

    /// Reads a key file, which only its owner may be able to read.
    ///
    /// # Errors
    /// [`SignerError::File`], [`SignerError::Exposed`], [`SignerError::Sealed`], [`SignerError::Key`]; each names the file.
    pub fn load(&self, path: &Path) -> Result<KeyPair, SignerError> {
        let text = read(path)?;
        let named = |error: SignerError| SignerError::Key(format!("{}: {error}", path.display()));
        if !SealedKey::is_sealed(&text) {
            return KeyPair::from_pkcs8_pem(&text).map_err(named);
        }
        let refused = |source| SignerError::Sealed { path: path.display().to_string(), source };
        let sealed = SealedKey::from_pem(&text).map_err(|source| refused(Some(source)))?;
        let passphrase = self.passphrase.as_ref().ok_or_else(|| refused(None))?;
        let opened = passphrase.stretch(sealed.derivation()).and_then(|key| sealed.open(&key));
        let pair = KeyPair::from_pkcs8_der(&opened.map_err(|source| refused(Some(source)))?).map_err(named)?;
        match beside(&text) {
            Some(public) if public != pair.public => {
                Err(named(SignerError::Key("the public key in the file is that of another one".into())))
            }
            _ => Ok(pair),
        }
    }

    /// Reads a key file, or makes a fresh key of `kind` and stores it if there is none.
    ///
    /// # Errors
    /// As [`KeyFiles::load`]; also if the file holds a key of another kind.
    pub fn load_or_create(&self, path: &Path, kind: KeyKind) -> Result<KeyPair, SignerError> {
        match self.load(path) {
            Ok(pair) if pair.public.kind() == kind => Ok(pair),
            Ok(pair) => {
                let (path, found) = (path.display(), pair.public.kind());
                Err(SignerError::Key(format!("{path}: holds a key of kind {found}, not {kind}")))
            }
            Err(SignerError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let pair = KeyPair::generate(kind)?;
                self.store(&pair, path)?;
                Ok(pair)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a key to a new file as these keys are kept, with mode 0600, whole or not at all, and durably.
    ///
    /// # Errors
    /// [`SignerError::File`], also when the file exists; [`SignerError::Sealed`].
    pub fn store(&self, pair: &KeyPair, path: &Path) -> Result<(), SignerError> {
        let Some(passphrase) = &self.passphrase else { return pair.store(path) };
        let refused = |source| SignerError::Sealed { path: path.display().to_string(), source: Some(source) };
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SignerError::Sign)?;
        let key = passphrase.sealing().map_err(refused)?;
        let sealed = SealedKey::seal(&pair.pkcs8, &key, nonce).to_pem().map_err(refused)?;
        super::file::write_new(path, format!("{sealed}{}", pair.public.to_pem()).as_bytes())
    }
}

impl Passphrase {
    /// The key of a file that is read.
    fn stretch(&self, derivation: &Derivation) -> Result<Arc<DerivedKey>, SealedKeyError> {
        // Held meanwhile: twelve keys that are read at once stretch it once.
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = derived.iter().find(|key| key.derivation() == derivation) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(derivation.derive(&self.text)?);
        if derived.len() < MAX_DERIVED {
            derived.push(Arc::clone(&key));
        }
        Ok(key)
    }

    /// The key for a new file: the one by which another file was opened, or made.
    fn sealing(&self) -> Result<Arc<DerivedKey>, SealedKeyError> {
        if let Some(key) = self.derived.lock().unwrap_or_else(PoisonError::into_inner).first() {
            return Ok(Arc::clone(key));
        }
        let mut salt = [0; SALT_LEN];
        SystemRandom::new().fill(&mut salt).map_err(|_| SealedKeyError::Derivation)?;
        self.stretch(&Derivation::new(salt))
    }
}

impl std::fmt::Debug for KeyFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_sealed() { "KeyFiles(sealed)" } else { "KeyFiles(plain)" })
    }
}

/// The public key in a key file, without opening what is sealed: for what only checks signatures.
///
/// # Errors
/// [`SignerError::File`]; [`SignerError::Key`] if there is none.
pub fn public_key(path: &Path) -> Result<PublicKey, SignerError> {
    let failed = |source| SignerError::File { path: path.display().to_string(), source };
    let text = read_text(File::open(path).map_err(failed)?).map_err(failed)?;
    if let Some(public) = beside(&text) {
        return Ok(public);
    }
    let pair = KeyPair::from_pkcs8_pem(&text);
    pair.map(|pair| pair.public).map_err(|error| SignerError::Key(format!("{}: {error}", path.display())))
}

/// Reads a file with a secret, which only its owner may be able to read.
///
/// # Errors
/// [`SignerError::File`], [`SignerError::Exposed`].
pub fn read(path: &Path) -> Result<Zeroizing<String>, SignerError> {
    let failed = |source| SignerError::File { path: path.display().to_string(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SignerError::Exposed { path: path.display().to_string(), mode });
    }
    read_text(file).map_err(failed)
}

/// Writes a secret, such as a passphrase, to a new file that only its owner can read, whole or not at all, and durably.
///
/// # Errors
/// [`SignerError::File`], also when the file exists.
pub fn write_secret(path: &Path, secret: &Secret<String>) -> Result<(), SignerError> {
    let line = Zeroizing::new(format!("{}\n", secret.expose()));
    super::file::write_new(path, line.as_bytes())
}

fn read_text(file: File) -> Result<Zeroizing<String>, std::io::Error> {
    let limit = u64::try_from(MAX_SEALED_KEY_LEN).unwrap_or(u64::MAX);
    let mut text = Zeroizing::new(String::new());
    file.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

/// The `PUBLIC KEY` block of a text.
fn beside(text: &str) -> Option<PublicKey> {
    let start = text.find("-----BEGIN PUBLIC KEY-----")?;
    PublicKey::from_pem(text.get(start..)?).ok()
}

#[cfg(test)]
mod tests {
    use super::{KeyFiles, public_key, read};
    use crate::signer::{KeyPair, Signer as _, SignerError};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::sealed_key::SealedKey;
    use waxseal_formats::crypto::{KeyKind, Secret};

    fn sealed(passphrase: &str) -> KeyFiles {
        KeyFiles::sealed(Secret::new(passphrase.to_owned()))
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).expect("a file")
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
    }

    #[test]
    fn keys_under_one_passphrase_have_one_salt_and_open_with_it_alone() {
        let directory = tempfile::tempdir().expect("directory");
        let (first, second) = (directory.path().join("first.pem"), directory.path().join("second.pem"));
        let files = sealed("a passphrase");
        let made = files.load_or_create(&first, KeyKind::EcdsaP256).expect("made");
        files.load_or_create(&second, KeyKind::Ed25519).expect("made");
        assert_eq!((mode(&first), mode(&second)), (0o600, 0o600));
        let derivation = |path| SealedKey::from_pem(&text(path)).expect("sealed").derivation().clone();
        assert_eq!(derivation(&first), derivation(&second));

        let again = sealed("a passphrase");
        assert_eq!(again.load(&first).expect("read").public_key(), made.public_key());
        // A key made after a restart goes under the same salt.
        let third = directory.path().join("third.pem");
        again.load_or_create(&third, KeyKind::EcdsaP256).expect("made");
        assert_eq!(derivation(&third), derivation(&first));
        assert_eq!(&public_key(&first).expect("public"), made.public_key());
        assert!(matches!(again.load_or_create(&first, KeyKind::Ed25519), Err(SignerError::Key(_))));

        for (files, missing) in [(sealed("another"), false), (KeyFiles::plain(), true)] {
            let error = files.load(&first).expect_err("refused");
            assert!(matches!(&error, SignerError::Sealed { source, .. } if source.is_none() == missing), "{error}");
            assert_eq!(error.code(), Code::KEY_PASSPHRASE);
            assert!(error.to_string().contains("first.pem"), "{error}");
            let before = text(&first);
            assert!(files.load_or_create(&first, KeyKind::EcdsaP256).is_err());
            assert_eq!(text(&first), before, "nothing is made in its place");
        }
        assert!(!format!("{again:?}").contains("passphrase"));
    }

    #[test]
    fn a_sealed_key_with_the_public_key_of_another_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("key.pem");
        let files = sealed("p");
        let pair = files.load_or_create(&path, KeyKind::EcdsaP256).expect("made");
        let other = KeyPair::generate(KeyKind::EcdsaP256).expect("made").public_key().to_pem();
        let changed = text(&path).replace(&pair.public_key().to_pem(), &other);
        std::fs::write(&path, changed).expect("written");
        assert!(matches!(files.load(&path), Err(SignerError::Key(_))));
    }

    #[test]
    fn plain_keys_are_read_with_and_without_a_passphrase() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("key.pem");
        let made = KeyFiles::plain().load_or_create(&path, KeyKind::EcdsaP256).expect("made");
        assert!(text(&path).starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(sealed("p").load(&path).expect("read").public_key(), made.public_key());
        assert_eq!(&public_key(&path).expect("public"), made.public_key());
        std::fs::write(&path, made.public_key().to_pem()).expect("written");
        assert_eq!(&public_key(&path).expect("public"), made.public_key());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("key.pem");
        KeyFiles::plain().load_or_create(&path, KeyKind::EcdsaP256).expect("made");
        for open in [0o640, 0o604, 0o644, 0o660, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(open)).expect("set");
            let error = KeyFiles::plain().load(&path).expect_err("refused");
            assert_eq!(error.code(), Code::KEY_PERMISSIONS, "{error}");
            assert!(read(&path).is_err(), "{open:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("set");
        assert!(KeyFiles::plain().load(&path).is_ok());
    }
}
