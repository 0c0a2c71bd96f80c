//! sigstore-conformance: one folder a case (`bundle-verify/README.md` there gives the layout).

use std::path::{Path, PathBuf};

use crate::{
    Vectors,
    vectors::{read, text},
};

const FOLDER: &str = "sigstore-conformance/bundle-verify";
const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// One case: what to verify, against what, and whether it has to pass.
#[derive(Clone, Debug)]
pub struct ConformanceCase {
    /// The folder's name.
    pub name: String,
    /// Why it should pass or fail; empty for the one case that leaves it to its name.
    pub readme: String,
    /// The bundle as it was written, which may not be JSON at all.
    pub bundle: Vec<u8>,
    /// Where the bundle lies.
    pub bundle_path: PathBuf,
    /// The artifact, or the subject of the attestation.
    pub artifact: Vec<u8>,
    /// Where the artifact lies.
    pub artifact_path: PathBuf,
    /// The expected identity; it means nothing when there is a `key`.
    pub identity: String,
    /// The expected issuer; it means nothing when there is a `key`.
    pub issuer: String,
    /// Verify with this key (text of a PEM file) instead of an identity.
    pub key: Option<String>,
    /// The trusted root; without one it is the public-good instance's.
    pub trusted_root: Option<Vec<u8>>,
    /// Whether verification has to succeed.
    pub positive: bool,
}

impl Vectors {
    /// The cases of sigstore-conformance, by name.
    ///
    /// # Panics
    ///
    /// When one cannot be read.
    #[must_use]
    pub fn conformance(&self) -> Vec<ConformanceCase> {
        let folder = self.path(FOLDER);
        let default_artifact = folder.join("a.txt");
        self.list(FOLDER)
            .into_iter()
            .filter(|name| folder.join(name).is_dir())
            .map(|name| case(&folder.join(&name), name, &default_artifact))
            .collect()
    }
}

fn case(folder: &Path, name: String, default_artifact: &Path) -> ConformanceCase {
    let present = |file: &str| Some(folder.join(file)).filter(|path| path.exists());
    // A final newline would be the editor's, not the identity's.
    let line = |file: &str, default: &str| {
        present(file).map_or_else(|| default.to_owned(), |path| text(&path).trim_end().to_owned())
    };
    let bundle_path = folder.join("bundle.sigstore.json");
    let artifact_path = present("artifact").unwrap_or_else(|| default_artifact.to_owned());
    ConformanceCase {
        readme: present("README").map_or_else(String::new, |path| text(&path)),
        bundle: read(&bundle_path),
        artifact: read(&artifact_path),
        identity: line("identity", IDENTITY),
        issuer: line("issuer", ISSUER),
        key: present("key.pub").map(|path| text(&path)),
        trusted_root: present("trusted_root.json").map(|path| read(&path)),
        positive: !name.ends_with("_fail"),
        name,
        bundle_path,
        artifact_path,
    }
}

#[cfg(test)]
mod tests {
    use crate::vectors;

    #[test]
    fn seventy_cases_are_read_whole() {
        let Some(vectors) = vectors() else { return };
        let cases = vectors.conformance();
        assert_eq!(cases.len(), 70);
        assert_eq!(cases.iter().filter(|case| case.positive).count(), 21);
        assert_eq!(cases.iter().filter(|case| case.trusted_root.is_none()).count(), 32);
        assert!(cases.iter().any(|case| case.key.is_some()));
        assert!(cases.iter().all(|case| !case.bundle.is_empty()));
    }
}
