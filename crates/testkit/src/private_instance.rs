//! `private-instance/expected.tsv`: signatures made by real clients, what became of their edited copies, and the
//! verdict on each.

use crate::Vectors;

const FOLDER: &str = "private-instance";
const COLUMNS: [&str; 10] =
    ["file", "artifact", "identity", "issuer", "verdict", "reason", "trusted_root", "agreement", "clients", "note"];

/// One row; paths are relative to the folder of vectors, as [`Vectors::read`] takes them.
#[derive(Clone, Debug)]
pub struct ExpectedCase {
    /// The signature: a bundle when the path within the instance's folder starts with `bundles/`.
    pub file: String,
    /// What was signed.
    pub artifact: Artifact,
    /// Who has to have signed it; `None` where that does not apply (a timestamp).
    pub signer: Option<Signer>,
    /// The verdict.
    pub verdict: ExpectedVerdict,
    /// The reason code that the strictest first check gives; `None` unless refused.
    pub reason: Option<String>,
    /// The trusted root to verify against.
    pub trusted_root: Option<String>,
    /// `all`, `differ` or `unjudged`: whether the real clients agree with the verdict.
    pub agreement: String,
    /// Each client's verdict, `name=verdict` separated by commas.
    pub clients: String,
    /// Remarks; names other reasons that are right too.
    pub note: String,
}

/// What a row's signature is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Artifact {
    /// A file.
    File(String),
    /// `sha256:` and the digest in hexadecimal.
    Digest(String),
    /// The signature carries what it signs.
    Attached,
}

/// Whom a row expects to have signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Signer {
    /// A certificate with this identity and issuer.
    Keyless {
        /// The subject alternative name.
        identity: String,
        /// The token's issuer; `None` when any will do.
        issuer: Option<String>,
    },
    /// The holder of the key in this file.
    Key(String),
}

/// What a verifier has to say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExpectedVerdict {
    /// It verifies.
    Ok,
    /// It is refused.
    Fail,
    /// Only the log could tell: offline it is refused for its missing proof.
    Online,
}

impl Vectors {
    /// The rows of `expected.tsv`, in their order.
    ///
    /// # Panics
    ///
    /// When the table is not what its README describes.
    #[must_use]
    pub fn private_instance(&self) -> Vec<ExpectedCase> {
        parse(&self.text(&format!("{FOLDER}/expected.tsv")))
    }
}

fn parse(table: &str) -> Vec<ExpectedCase> {
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    assert_eq!(header, COLUMNS, "expected.tsv has other columns");
    lines.map(row).collect()
}

fn row(line: &str) -> ExpectedCase {
    let cells: Vec<&str> = line.split('\t').collect();
    assert_eq!(cells.len(), COLUMNS.len(), "expected.tsv: {line}");
    let inside = |path: &str| format!("{FOLDER}/{path}");
    let optional = |cell: &str| Some(cell.to_owned()).filter(|cell| cell != "-");
    ExpectedCase {
        file: inside(cells[0]),
        artifact: match cells[1] {
            "-" => Artifact::Attached,
            digest if digest.starts_with("sha256:") => Artifact::Digest(digest.to_owned()),
            path => Artifact::File(inside(path)),
        },
        signer: match cells[2].strip_prefix("key:") {
            Some(path) => Some(Signer::Key(inside(path))),
            None => optional(cells[2]).map(|identity| Signer::Keyless { identity, issuer: optional(cells[3]) }),
        },
        verdict: match cells[4] {
            "ok" => ExpectedVerdict::Ok,
            "fail" => ExpectedVerdict::Fail,
            "online" => ExpectedVerdict::Online,
            other => panic!("expected.tsv: verdict {other:?}: {line}"),
        },
        reason: optional(cells[5]),
        trusted_root: optional(cells[6]).map(|path| inside(&path)),
        agreement: cells[7].to_owned(),
        clients: cells[8].to_owned(),
        note: optional(cells[9]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn every_row_names_files_that_exist() {
        let Some(vectors) = vectors() else { return };
        let cases = vectors.private_instance();
        assert_eq!(cases.len(), 139);
        let bundles = cases.iter().filter(|case| case.file.contains("/bundles/"));
        assert_eq!(bundles.count(), 99);
        for case in cases {
            assert!(vectors.path(&case.file).exists(), "{case:?}");
            if let Artifact::File(path) = &case.artifact {
                assert!(vectors.path(path).exists(), "{case:?}");
            }
            if let Some(root) = &case.trusted_root {
                assert!(vectors.path(root).exists(), "{case:?}");
            }
            if let Some(Signer::Key(path)) = &case.signer {
                assert!(vectors.path(path).exists(), "{case:?}");
            }
            assert_eq!(
                case.verdict == ExpectedVerdict::Ok,
                case.reason.is_none(),
                "a refusal has a reason, and nothing else has: {case:?}"
            );
        }
    }

    #[test]
    #[should_panic(expected = "other columns")]
    fn a_table_with_other_columns_is_refused() {
        drop(parse("file\tverdict\n"));
    }
}
