//! Images in a folder: an OCI image layout (image-spec `image-layout.md`), as `cosign save`, skopeo and `docker buildx` write it.
//!
//! A layout is read as a registry is: names are tags, and whatever names a subject is a referrer of it. Every blob is hashed when it
//! is read.

use formats::code::Code;
use formats::crypto::{Digest, HashAlgorithm};
use formats::oci::{Descriptor, ImageIndex, MAX_MANIFEST_LEN, Manifest, OciError};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use waxseal_formats as formats;

/// The annotation with the name of an entry (image-spec `annotations.md`).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The file that says that a folder is a layout, and what stands in it.
const MARK: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
const INDEX: &str = "index.json";
/// Most entries of a layout's index.
pub const MAX_ENTRIES: usize = 10_000;

/// Why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder is no layout.
    #[error("{} is no OCI image layout: it has no {:?}", path.display(), MARK.0)]
    NoLayout {
        /// The folder.
        path: PathBuf,
    },
    /// A file is larger than its bound.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// A blob is not what its name says.
    #[error("{} has digest {found}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: Digest,
    },
    /// The index or a manifest cannot be used.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: OciError,
    },
    /// There are too many entries.
    #[error("{} lists {found} images and signatures, {MAX_ENTRIES} are allowed", path.display())]
    TooMany {
        /// The index.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
}

impl LayoutError {
    /// `artifact.not-found`, `input.unreadable`, `input.too-large`, `signature.digest-mismatch` or `input.malformed`.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::File { source, .. } if source.kind() == ErrorKind::NotFound => Code::ARTIFACT_NOT_FOUND,
            Self::File { .. } => Code::INPUT_UNREADABLE,
            Self::NoLayout { .. } => Code::INPUT_MALFORMED,
            Self::TooLarge { .. } | Self::TooMany { .. } => Code::INPUT_TOO_LARGE,
            Self::Digest { .. } => Code::SIGNATURE_DIGEST_MISMATCH,
            Self::Manifest { source, .. } => source.code(),
        }
    }
}

/// A layout in a folder.
#[derive(Clone, Debug)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// [`LayoutError::NoLayout`].
    pub fn open(directory: &Path) -> Result<Self, LayoutError> {
        if !directory.join(MARK.0).is_file() {
            return Err(LayoutError::NoLayout { path: directory.to_owned() });
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// Opens a layout, or makes an empty one where there is nothing yet.
    ///
    /// # Errors
    /// [`LayoutError::NoLayout`] if the folder holds something else, [`LayoutError::File`].
    pub fn open_or_create(directory: &Path) -> Result<Self, LayoutError> {
        let failed = |source| LayoutError::File { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        if fs::read_dir(directory).map_err(failed)?.next().is_some() {
            return Self::open(directory);
        }
        let layout = Self { directory: directory.to_owned() };
        layout.write_index(&ImageIndex::new(Vec::new()))?;
        layout.write(&directory.join(MARK.0), MARK.1.as_bytes())?;
        Ok(layout)
    }

    /// The folder.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the layout lists.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn entries(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let path = self.directory.join(INDEX);
        let document = read(&path, MAX_MANIFEST_LEN as u64)?;
        let wrong = |source| LayoutError::Manifest { path: path.clone(), source };
        match Manifest::from_json(&document, None).map_err(wrong)? {
            Manifest::Index(index) if index.manifests.len() > MAX_ENTRIES => {
                Err(LayoutError::TooMany { path, found: index.manifests.len() })
            }
            Manifest::Index(index) => Ok(index.manifests),
            Manifest::Image(_) => Err(LayoutError::NoLayout { path: self.directory.clone() }),
        }
    }

    /// A blob of at most `limit` bytes.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let path = self.path_of(digest);
        let bytes = read(&path, limit)?;
        let found = digest.algorithm().digest(&bytes);
        if found == *digest { Ok(bytes) } else { Err(LayoutError::Digest { path, found }) }
    }

    /// Opens a blob for reading. What is read has to be hashed by whoever reads it.
    ///
    /// # Errors
    /// [`LayoutError::File`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File, LayoutError> {
        let path = self.path_of(digest);
        File::open(&path).map_err(|source| LayoutError::File { path, source })
    }

    /// Whether a blob is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path_of(digest).is_file()
    }

    /// The manifests that name `subject` as theirs: those that the index lists.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, LayoutError> {
        let mut found = Vec::new();
        for mut entry in self.entries()? {
            let document = self.blob(&entry.digest, MAX_MANIFEST_LEN as u64)?;
            let manifest = Manifest::from_json(&document, None)
                .map_err(|source| LayoutError::Manifest { path: self.path_of(&entry.digest), source })?;
            if manifest.subject().is_some_and(|named| named.digest == *subject) {
                entry.artifact_type = manifest.artifact_type().map(ToOwned::to_owned);
                entry.annotations = manifest.annotations().clone();
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// Stores a blob.
    ///
    /// # Errors
    /// [`LayoutError::File`].
    pub fn write_blob(&self, bytes: &[u8]) -> Result<Digest, LayoutError> {
        let digest = HashAlgorithm::Sha256.digest(bytes);
        self.write(&self.path_of(&digest), bytes)?;
        Ok(digest)
    }

    /// A file that becomes the blob `digest` when [`NewBlob::keep`] is called.
    ///
    /// # Errors
    /// [`LayoutError::File`].
    pub fn new_blob(&self, digest: &Digest) -> Result<NewBlob, LayoutError> {
        let path = self.path_of(digest);
        let folder = path.parent().unwrap_or(&self.directory).to_owned();
        let failed = |source| LayoutError::File { path: path.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let file = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
        Ok(NewBlob { path, file })
    }

    /// Lists a manifest, which has to be stored already. One of the same digest and name is replaced.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn list(&self, descriptor: Descriptor) -> Result<(), LayoutError> {
        let mut entries = self.entries()?;
        let name = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
        entries.retain(|entry| (&entry.digest, name(entry)) != (&descriptor.digest, name(&descriptor)));
        entries.push(descriptor);
        if entries.len() > MAX_ENTRIES {
            return Err(LayoutError::TooMany { path: self.directory.join(INDEX), found: entries.len() });
        }
        self.write_index(&ImageIndex::new(entries))
    }

    fn write_index(&self, index: &ImageIndex) -> Result<(), LayoutError> {
        self.write(&self.directory.join(INDEX), index.to_json().as_bytes())
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs").join(digest.algorithm().name()).join(digest.to_hex())
    }

    /// Writes a file whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
        let failed = |source| LayoutError::File { path: path.to_owned(), source };
        let folder = path.parent().unwrap_or(&self.directory);
        fs::create_dir_all(folder).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        persist(file, path).map_err(failed)
    }
}

/// A blob that is being written.
#[derive(Debug)]
pub struct NewBlob {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

impl NewBlob {
    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Gives it its name. Its content was hashed by whoever wrote it.
    ///
    /// # Errors
    /// [`LayoutError::File`].
    pub fn keep(self) -> Result<(), LayoutError> {
        persist(self.file, &self.path).map_err(|source| LayoutError::File { path: self.path, source })
    }
}

/// Temporary files are their owner's only; those of a layout are for others to read as well.
fn persist(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LayoutError> {
    let failed = |source| LayoutError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(LayoutError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}
