//! Verifying a file: reads what the verifier needs, each within its bound, and opens no socket.

use jiff::Timestamp;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use waxseal_formats::bundle::{Bundle, MAX_BUNDLE_LEN, VerificationMaterial};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, HashAlgorithm, KeyKind, PublicKey};
use waxseal_formats::trusted_root::{MAX_TRUSTED_ROOT_LEN, TrustedRoot, TrustedRootError};
use waxseal_formats::x509::Certificate;
use waxseal_io::file;
use waxseal_verify::bundle::{self, Evidence, Policy, Rejection, Requirements};
use waxseal_verify::signature::{Artifact, hashes_needed};

/// Largest artifact that is read into memory, which only Ed25519 signatures need, in bytes.
pub const MAX_MESSAGE_LEN: usize = 256 << 20;
/// Largest public key file, in bytes.
pub const MAX_KEY_FILE_LEN: usize = 64 << 10;

/// Where the signed artifact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSource {
    /// A file.
    Path(PathBuf),
    /// Only its digest is known.
    Digest(Digest),
}

impl ArtifactSource {
    /// Takes `sha256:` and 64 hex digits as a digest unless a file has that very name, anything else as a path.
    #[must_use]
    pub fn from_argument(argument: &str) -> Self {
        match Digest::parse(argument) {
            Some(digest) if !Path::new(argument).exists() => Self::Digest(digest),
            _ => Self::Path(PathBuf::from(argument)),
        }
    }
}

/// Why a file was not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is larger than its bound.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// The trusted root cannot be used.
    #[error(transparent)]
    TrustedRoot(#[from] TrustedRootError),
    /// The key file holds no usable public key.
    #[error("{}: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The verifier refuses.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

impl VerifyError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unreadable { .. } => Code::INPUT_UNREADABLE,
            Self::TooLarge { .. } => Code::INPUT_TOO_LARGE,
            Self::TrustedRoot(error) => error.code(),
            Self::Key { .. } => Code::KEY_UNSUPPORTED,
            Self::Rejected(rejection) => rejection.code(),
        }
    }
}

/// Verifies the bundle in the file `bundle` as a signature over `artifact`.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_blob(
    bundle: &Path,
    artifact: &ArtifactSource,
    root: &TrustedRoot,
    policy: &Policy,
    now: Timestamp,
) -> Result<Evidence, VerifyError> {
    verify_material(&read_bundle(bundle)?, artifact, root, policy, Requirements::default(), now)
}

/// Verifies a bundle as a signature over `artifact`, where not all may have to be proven.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_material(
    bundle: &Bundle,
    artifact: &ArtifactSource,
    root: &TrustedRoot,
    policy: &Policy,
    requirements: Requirements,
    now: Timestamp,
) -> Result<Evidence, VerifyError> {
    let artifact = read_artifact(artifact, bundle, policy)?;
    Ok(bundle::verify_with(bundle, &artifact, root, policy, requirements, now)?)
}

/// Reads and parses a bundle file.
///
/// # Errors
/// [`VerifyError`].
pub fn read_bundle(path: &Path) -> Result<Bundle, VerifyError> {
    let document = read_bounded(path, MAX_BUNDLE_LEN)?;
    Ok(Bundle::from_json(&document).map_err(Rejection::Bundle)?)
}

/// Reads and parses a trusted-root file.
///
/// # Errors
/// [`VerifyError`].
pub fn read_trusted_root(path: &Path) -> Result<TrustedRoot, VerifyError> {
    Ok(TrustedRoot::from_json(&read_bounded(path, MAX_TRUSTED_ROOT_LEN)?)?)
}

/// Reads a PEM public key.
///
/// # Errors
/// [`VerifyError`].
pub fn read_public_key(path: &Path) -> Result<PublicKey, VerifyError> {
    let bytes = read_bounded(path, MAX_KEY_FILE_LEN)?;
    let wrong = |problem: String| VerifyError::Key { path: path.to_owned(), problem };
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not a PEM public key".into()))?;
    PublicKey::from_pem(text).map_err(|error| wrong(error.to_string()))
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// [`VerifyError::Unreadable`] (a directory as well) or [`VerifyError::TooLarge`].
pub fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, VerifyError> {
    match file::read(path, limit) {
        Ok(bytes) => bytes.ok_or_else(|| unreadable(path, ErrorKind::NotFound.into())),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            Err(VerifyError::TooLarge { path: path.to_owned(), limit })
        }
        Err(source) => Err(unreadable(path, source)),
    }
}

fn open(path: &Path) -> Result<File, VerifyError> {
    File::open(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> VerifyError {
    VerifyError::Unreadable { path: path.to_owned(), source }
}

/// Hashes a file as it streams by; only for an Ed25519 signature over the file itself is it read into memory.
fn read_artifact(source: &ArtifactSource, bundle: &Bundle, policy: &Policy) -> Result<Artifact, VerifyError> {
    let path = match source {
        ArtifactSource::Digest(digest) => return Ok(Artifact::from_digests(vec![digest.clone()])),
        ArtifactSource::Path(path) => path,
    };
    let kind = key_kind(bundle, policy);
    if kind == Some(KeyKind::Ed25519) {
        return Ok(Artifact::from_bytes(&read_bounded(path, MAX_MESSAGE_LEN)?));
    }
    Ok(Artifact::from_digests(hash_file(path, &hashes_needed(&bundle.content, kind))?))
}

fn key_kind(bundle: &Bundle, policy: &Policy) -> Option<KeyKind> {
    match (&bundle.material, policy) {
        (VerificationMaterial::Certificate { leaf, .. }, _) => {
            let certificate = Certificate::from_der(leaf).ok()?;
            certificate.public_key().ok().map(PublicKey::kind)
        }
        (VerificationMaterial::PublicKey { .. }, Policy::Key(key)) => Some(key.kind()),
        (VerificationMaterial::PublicKey { .. }, Policy::Identities(_)) => None,
    }
}

/// The digests of a file by each of `algorithms`, read once.
///
/// # Errors
/// [`VerifyError::Unreadable`].
pub fn hash_file(path: &Path, algorithms: &[HashAlgorithm]) -> Result<Vec<Digest>, VerifyError> {
    let mut hashers: Vec<_> = algorithms.iter().map(|algorithm| algorithm.hasher()).collect();
    let mut file = open(path)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(|source| unreadable(path, source))?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        for hasher in &mut hashers {
            hasher.update(part);
        }
    }
    Ok(hashers.into_iter().map(|hasher| hasher.finish()).collect())
}

#[cfg(test)]
mod tests {
    use super::{ArtifactSource, hash_file, read_bounded, read_public_key};
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::HashAlgorithm;

    #[test]
    fn a_digest_is_one_only_if_no_file_is_called_so() {
        let digest = HashAlgorithm::Sha256.digest(b"abc");
        assert_eq!(ArtifactSource::from_argument(&digest.to_string()), ArtifactSource::Digest(digest));
        for path in ["sha256:abc", "file.txt", "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"] {
            assert_eq!(ArtifactSource::from_argument(path), ArtifactSource::Path(path.into()));
        }
    }

    #[test]
    fn directories_missing_files_and_large_ones_are_named() {
        let directory = tempfile::tempdir().expect("directory");
        let code = |result: Result<Vec<u8>, super::VerifyError>| result.expect_err("refused").code();
        assert_eq!(code(read_bounded(directory.path(), 10)), Code::INPUT_UNREADABLE);
        assert_eq!(code(read_bounded(&directory.path().join("none"), 10)), Code::INPUT_UNREADABLE);
        let file = directory.path().join("file");
        std::fs::write(&file, [0; 11]).expect("write");
        assert_eq!(code(read_bounded(&file, 10)), Code::INPUT_TOO_LARGE);
        assert_eq!(read_bounded(&file, 11).expect("read").len(), 11);
        assert_eq!(read_public_key(&file).expect_err("refused").code(), Code::KEY_UNSUPPORTED);
        let digests = hash_file(&file, &HashAlgorithm::ALL).expect("hashed");
        assert_eq!(digests.first(), Some(&HashAlgorithm::Sha256.digest(&[0; 11])));
    }
}
