//! Copies of recorded layouts that are changed consistently, as whoever stores them could: what is changed gets its new digest
//! everywhere.

use serde_json::Value;
use std::path::Path;
use waxseal_formats::crypto::HashAlgorithm;
use waxseal_testkit::Vectors;

/// The image of every recorded layout.
pub(crate) const IMAGE: &str = "sha256:acda8f81fd9734e19664683a6886b03e205813f73ce10745af31b6ea1ac7cbf3";

/// A copy of a layout, gone with its owner.
pub(crate) struct LayoutCopy(tempfile::TempDir);

impl LayoutCopy {
    /// A copy of `private-instance/oci/<name>`.
    pub(crate) fn of(vectors: &Vectors, name: &str) -> Self {
        let from = vectors.path(&format!("private-instance/oci/{name}"));
        let copy = Self(tempfile::tempdir().expect("directory"));
        std::fs::create_dir_all(copy.path().join("blobs/sha256")).expect("directory");
        for name in ["index.json", "oci-layout"] {
            std::fs::write(copy.path().join(name), std::fs::read(from.join(name)).expect("read")).expect("written");
        }
        for blob in std::fs::read_dir(from.join("blobs/sha256")).expect("blobs") {
            let content = std::fs::read(blob.expect("blob").path()).expect("read");
            copy.add(&content);
        }
        copy
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The content of a blob.
    pub(crate) fn blob(&self, digest: &str) -> Vec<u8> {
        std::fs::read(self.file(digest)).expect("a blob")
    }

    /// Where a blob lies.
    pub(crate) fn file(&self, digest: &str) -> std::path::PathBuf {
        self.path().join("blobs/sha256").join(digest.strip_prefix("sha256:").expect("a digest"))
    }

    /// Adds a blob under its digest.
    pub(crate) fn add(&self, content: &[u8]) -> String {
        let digest = HashAlgorithm::Sha256.digest(content).to_string();
        std::fs::write(self.file(&digest), content).expect("written");
        digest
    }

    pub(crate) fn index(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path().join("index.json")).expect("read")).expect("JSON")
    }

    pub(crate) fn set_index(&self, index: &Value) {
        std::fs::write(self.path().join("index.json"), index.to_string()).expect("written");
    }

    /// Changes the entry at `place` of the index and its manifest; digest and size follow.
    pub(crate) fn change(&self, place: usize, edit: impl FnOnce(&mut Value, &mut Value)) {
        let mut index = self.index();
        let entry = &mut index["manifests"][place];
        let digest = entry["digest"].as_str().expect("a digest").to_owned();
        let mut manifest: Value = serde_json::from_slice(&self.blob(&digest)).expect("JSON");
        edit(entry, &mut manifest);
        let content = manifest.to_string();
        entry["digest"] = self.add(content.as_bytes()).into();
        entry["size"] = content.len().into();
        self.set_index(&index);
    }

    /// Exchanges the content of the blob that a descriptor names; digest and size follow.
    pub(crate) fn exchange(&self, descriptor: &mut Value, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut content = self.blob(descriptor["digest"].as_str().expect("a digest"));
        edit(&mut content);
        descriptor["digest"] = self.add(&content).into();
        descriptor["size"] = content.len().into();
    }

    /// The place of the entry whose name ends so, or, without a name, the first that has none.
    pub(crate) fn place(&self, name: Option<&str>) -> usize {
        let index = self.index();
        let names = index["manifests"].as_array().expect("a list").iter();
        let mut names = names.map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].as_str());
        names
            .position(|found| {
                found.is_some() == name.is_some() && found.unwrap_or_default().ends_with(name.unwrap_or_default())
            })
            .expect("an entry")
    }
}
