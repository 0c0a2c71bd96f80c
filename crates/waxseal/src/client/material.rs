//! What stands for the signature of a file: a bundle, an old one of cosign, or the parts that cosign 2 wrote to files.

use super::verify::{VerifyError, read_bounded};
use std::path::{Path, PathBuf};
use waxseal_formats::bundle::{Bundle, MAX_BUNDLE_LEN, VerificationMaterial};
use waxseal_formats::code::Code;
use waxseal_formats::json;
use waxseal_formats::legacy::{self, LegacyError, LegacySignature, MAX_LEGACY_LEN};
use waxseal_verify::bundle::Rejection;

/// Where the parts are. There is a bundle, or a signature.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// A bundle, or an old one.
    pub bundle: Option<PathBuf>,
    /// A signature or an envelope: a file, or base64.
    pub signature: Option<String>,
    /// The signer's certificate, PEM or base64 of it.
    pub certificate: Option<PathBuf>,
    /// The certificates above it, PEM. Roots among them are not trusted.
    pub chain: Option<PathBuf>,
    /// An RFC 3161 timestamp, as cosign 2 wrote it.
    pub timestamp: Option<PathBuf>,
}

/// Why the parts are of no use.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// A file cannot be read, or the bundle in it is refused.
    #[error(transparent)]
    File(#[from] VerifyError),
    /// A file of cosign 2 is refused.
    #[error("{origin}: {source}")]
    Legacy {
        /// Where it was read.
        origin: String,
        /// What is wrong with it.
        source: LegacyError,
    },
    /// Something was given that the bundle has itself.
    #[error("{} is a bundle, which has its {what} itself", path.display())]
    Superfluous {
        /// The bundle.
        path: PathBuf,
        /// What was given.
        what: &'static str,
    },
    /// Neither bundle nor signature was given.
    #[error("there is neither a bundle nor a signature")]
    Missing,
}

impl MaterialError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::File(error) => error.code(),
            Self::Legacy { source, .. } => source.code(),
            Self::Superfluous { .. } | Self::Missing => Code::USAGE,
        }
    }
}

impl Material {
    /// Reads the parts and puts them together. Nothing is verified.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub fn read(&self) -> Result<Bundle, MaterialError> {
        match (&self.bundle, &self.signature) {
            (Some(path), _) => {
                let document = read_bounded(path, MAX_BUNDLE_LEN)?;
                if legacy::is_old_bundle(&document) {
                    let bundle = legacy::from_old_bundle(&document);
                    return self.complete(bundle.map_err(|source| refused(&path.display(), source))?);
                }
                for (what, given) in
                    [("certificate", &self.certificate), ("chain", &self.chain), ("timestamp", &self.timestamp)]
                {
                    if given.is_some() {
                        return Err(MaterialError::Superfluous { path: path.clone(), what });
                    }
                }
                Ok(Bundle::from_json(&document).map_err(|error| VerifyError::from(Rejection::Bundle(error)))?)
            }
            (None, Some(signature)) => {
                let found = if Path::new(signature).exists() {
                    read_bounded(Path::new(signature), MAX_LEGACY_LEN)?
                } else {
                    signature.clone().into_bytes()
                };
                let bytes = plain(found);
                let parts = LegacySignature::default();
                let bundle = if bytes.first() == Some(&b'{') {
                    parts.into_attestation(&bytes)
                } else {
                    LegacySignature { signature: bytes, ..parts }.into_signature()
                };
                self.complete(bundle.map_err(|source| refused(signature, source))?)
            }
            (None, None) => Err(MaterialError::Missing),
        }
    }

    /// Adds what stands in files of its own.
    fn complete(&self, mut bundle: Bundle) -> Result<Bundle, MaterialError> {
        if let Some(path) = &self.certificate {
            let leaf = legacy::certificate("the certificate", &text(path)?);
            let leaf = leaf.map_err(|source| refused(&path.display(), source))?;
            bundle.material = VerificationMaterial::Certificate { leaf, chain: Vec::new() };
        }
        if let (Some(path), VerificationMaterial::Certificate { chain, .. }) = (&self.chain, &mut bundle.material) {
            let above = legacy::intermediates_of(&text(path)?);
            *chain = above.map_err(|source| refused(&path.display(), source))?;
        }
        if let Some(path) = &self.timestamp {
            let document = read_bounded(path, MAX_LEGACY_LEN)?;
            let timestamp = legacy::timestamp(&document).map_err(|source| refused(&path.display(), source))?;
            bundle.timestamps.extend(timestamp);
        }
        Ok(bundle)
    }
}

/// A signature file holds base64, or the signature itself.
fn plain(bytes: Vec<u8>) -> Vec<u8> {
    let decoded = std::str::from_utf8(&bytes).ok().and_then(|text| json::decode_base64(text.trim()));
    decoded.filter(|decoded| !decoded.is_empty()).unwrap_or(bytes)
}

fn text(path: &Path) -> Result<String, MaterialError> {
    let bytes = read_bounded(path, MAX_LEGACY_LEN)?;
    String::from_utf8(bytes).map_err(|_| refused(&path.display(), LegacyError::Base64 { what: "the certificate" }))
}

fn refused(origin: &dyn std::fmt::Display, source: LegacyError) -> MaterialError {
    let origin: String = origin.to_string().chars().take(200).collect();
    MaterialError::Legacy { origin, source }
}

#[cfg(test)]
mod tests {
    use super::Material;
    use waxseal_formats::bundle::{Content, VerificationMaterial};
    use waxseal_formats::code::Code;

    #[test]
    fn a_signature_is_a_file_or_base64_or_raw() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("sig");
        for (content, signature) in [(&b"AQID\n"[..], &[1, 2, 3][..]), (&[0x30, 1, 0xff], &[0x30, 1, 0xff])] {
            std::fs::write(&file, content).expect("written");
            let material = Material { signature: Some(file.display().to_string()), ..Material::default() };
            let bundle = material.read().expect("read");
            assert_eq!(bundle.content.signature(), signature);
            assert_eq!(bundle.material, VerificationMaterial::PublicKey { hint: String::new() });
        }
        let given = Material { signature: Some("AQID".into()), ..Material::default() }.read().expect("read");
        assert!(matches!(&given.content, Content::MessageSignature { signature, .. } if *signature == [1, 2, 3]));
        let none = Material { signature: Some(String::new()), ..Material::default() }.read().expect_err("refused");
        assert_eq!(none.code(), Code::BUNDLE_MISSING_MATERIAL);
        assert_eq!(Material::default().read().expect_err("refused").code(), Code::USAGE);
    }

    #[test]
    fn a_bundle_has_its_parts_itself() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("b.json");
        let bundle = vectors.read("private-instance/bundles/c3-blob-files.sigstore.json");
        std::fs::write(&path, bundle).expect("written");
        let material = Material { bundle: Some(path.clone()), ..Material::default() };
        material.read().expect("a bundle");
        let more = Material { timestamp: Some(path), ..material };
        assert_eq!(more.read().expect_err("refused").code(), Code::USAGE);
    }
}
