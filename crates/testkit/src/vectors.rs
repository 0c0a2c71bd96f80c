//! Where the vectors are, and reading a file of theirs.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
};

/// The folder of test vectors; its README gives origin and licence of each part.
#[derive(Clone, Debug)]
pub struct Vectors {
    root: PathBuf,
}

/// The vectors: the folder that `WAXSEAL_VECTORS` names, or `../shared/vectors` beside the repository.
///
/// Without them a test has nothing to do: this says in one line (past the test harness's capture) which test was
/// skipped, and returns `None`. With `CI=true`, or when `WAXSEAL_VECTORS` names a folder that does not exist, it
/// panics: there a skipped test would be a test that cannot fail.
///
/// # Panics
///
/// As said above.
#[must_use]
pub fn vectors() -> Option<Vectors> {
    let named = env::var_os("WAXSEAL_VECTORS").map(PathBuf::from);
    let beside = repository().join("../shared/vectors");
    let ci = env::var_os("CI").is_some_and(|value| value == "true");
    match locate(named, beside, ci) {
        Found::At(root) => Some(Vectors { root }),
        Found::Skip(why) => {
            let test = thread::current().name().unwrap_or("a test").to_owned();
            // Not `eprintln!`: the harness would swallow it, and the skip would go unseen.
            drop(writeln!(io::stderr(), "skipped {test}: {why}"));
            None
        }
        Found::Fail(why) => panic!("{why}"),
    }
}

/// The folder with the lock file, above the package whose test runs. Asked when the test runs: two checkouts may share a
/// target directory, and then this crate may have been compiled in the other one.
fn repository() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    package.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(&package).to_owned()
}

enum Found {
    At(PathBuf),
    Skip(String),
    Fail(String),
}

fn locate(named: Option<PathBuf>, beside: PathBuf, ci: bool) -> Found {
    let given = named.is_some();
    let root = named.unwrap_or(beside);
    // The README tells this folder from any other of the same name.
    if root.join("README.md").is_file() {
        return Found::At(root);
    }
    let why = format!("no test vectors in {} (WAXSEAL_VECTORS names their folder)", root.display());
    if ci || given { Found::Fail(why) } else { Found::Skip(why) }
}

impl Vectors {
    /// The path of `file`, which is relative to the folder.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// The bytes of `file`.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    #[must_use]
    pub fn read(&self, file: &str) -> Vec<u8> {
        read(&self.path(file))
    }

    /// The text of `file`.
    ///
    /// # Panics
    ///
    /// When it cannot be read or is not UTF-8.
    #[must_use]
    pub fn text(&self, file: &str) -> String {
        text(&self.path(file))
    }

    /// The names in `folder`, sorted.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    #[must_use]
    pub fn list(&self, folder: &str) -> Vec<String> {
        let path = self.path(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let mut names: Vec<String> = entries
            .map(|entry| match entry {
                Ok(entry) => entry.file_name().to_string_lossy().into_owned(),
                Err(error) => panic!("{}: {error}", path.display()),
            })
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

pub(crate) fn text(path: &Path) -> String {
    match String::from_utf8(read(path)) {
        Ok(text) => text,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with_readme() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("README.md"), "").unwrap();
        folder
    }

    #[test]
    fn the_named_folder_wins() {
        let (named, beside) = (folder_with_readme(), folder_with_readme());
        let found = locate(Some(named.path().into()), beside.path().into(), true);
        assert!(matches!(found, Found::At(root) if root == named.path()));
        let found = locate(None, beside.path().into(), true);
        assert!(matches!(found, Found::At(root) if root == beside.path()));
    }

    #[test]
    fn absent_vectors_are_skipped_only_at_home() {
        assert!(matches!(locate(None, "/nowhere".into(), false), Found::Skip(why) if why.contains("/nowhere")));
        assert!(matches!(locate(None, "/nowhere".into(), true), Found::Fail(why) if why.contains("/nowhere")));
    }

    #[test]
    fn a_named_folder_that_is_absent_is_a_failure() {
        let beside = folder_with_readme();
        let found = locate(Some("/nowhere".into()), beside.path().into(), false);
        assert!(matches!(found, Found::Fail(why) if why.contains("/nowhere")));
    }
}
