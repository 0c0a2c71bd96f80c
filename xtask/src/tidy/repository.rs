//! What the rules look at: the repository's text files and `cargo metadata`.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::lexer::{self, Token};

/// A text file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: String,
}

/// A snapshot of the repository.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    pub files: Vec<File>,
    pub metadata: Metadata,
    pub released: Vec<Released>,
}

/// A crate of the release graph: what the waxseal package is made from on any platform.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Released {
    pub name: String,
    pub version: String,
}

/// The part of `cargo metadata --format-version 1` that the rules use.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Metadata {
    pub packages: Vec<Package>,
    pub workspace_members: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    #[serde(default)]
    pub targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub name: String,
    /// `None` is a normal dependency; otherwise `dev` or `build`.
    pub kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub name: String,
    pub kind: Vec<String>,
}

impl Metadata {
    /// The workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

impl File {
    pub(crate) fn tokens(&self) -> Vec<Token> {
        lexer::tokens(&self.text)
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it belongs to the crate in `crates/NAME/src`.
    pub(crate) fn is_source_of(&self, name: &str) -> bool {
        self.is_rust() && self.path.starts_with(&format!("crates/{name}/src/"))
    }
}

impl Repository {
    /// Reads the repository at `root`: its text files outside `target` and hidden folders (`.ci` and `.cargo` are
    /// read), and the metadata of its lock file as it stands.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        read_folder(root, root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let metadata = cargo(root, &["metadata", "--format-version", "1", "--locked"])?;
        let metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
        // `cargo metadata` unites the features of dev-dependencies with the rest; `cargo tree` keeps them apart.
        let tree = ["tree", "--package", "waxseal", "--edges", "normal,build", "--target", "all", "--locked"];
        let tree = cargo(root, &[&tree[..], &["--prefix", "none", "--format", "{p}"]].concat())?;
        Ok(Self { files, metadata, released: released(&tree) })
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root).output().context("cargo")?;
    ensure!(output.status.success(), "cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The lines of `cargo tree`: `name v1.2.3`, with a source or a mark after it.
fn released(tree: &str) -> Vec<Released> {
    let mut released: Vec<Released> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(Released { name: words.next()?.to_owned(), version: words.next()?.strip_prefix('v')?.to_owned() })
        })
        .collect();
    released.sort();
    released.dedup();
    released
}

fn read_folder(root: &Path, folder: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if !hidden && name != "target" {
                read_folder(root, &path, files)?;
            }
        } else if let Ok(text) = String::from_utf8(fs::read(&path).with_context(|| path.display().to_string())?) {
            files.push(File { path: path.strip_prefix(root)?.to_string_lossy().replace('\\', "/"), text });
        }
    }
    Ok(())
}

#[cfg(test)]
impl Repository {
    /// A repository of these files.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        Self { files: files.iter().map(file).collect(), ..Self::default() }
    }

    /// A repository with this metadata.
    pub(crate) fn with(metadata: serde_json::Value) -> Self {
        Self { metadata: serde_json::from_value(metadata).unwrap(), ..Self::default() }
    }

    /// A repository whose `cargo tree` reads like this.
    pub(crate) fn releasing(tree: &str) -> Self {
        Self { released: released(tree), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_read_line_by_line() {
        let tree =
            "waxseal v0.1.0 (/src/crates/waxseal)\nsyn v3.0.10\nserde_derive v1.0.2 (proc-macro)\nsyn v3.0.10 (*)\n\n";
        let names: Vec<_> = released(tree).into_iter().map(|krate| (krate.name, krate.version)).collect();
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(names, [pair("serde_derive", "1.0.2"), pair("syn", "3.0.10"), pair("waxseal", "0.1.0")]);
    }
}
