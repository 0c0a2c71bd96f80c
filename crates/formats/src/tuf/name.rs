//! Names that become file names and URL paths: role names and target paths.

/// Longest role name or target path, in bytes.
pub const MAX_NAME_LEN: usize = 512;

/// The four roles that every repository has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopLevel {
    /// Says which keys sign for the other roles.
    Root,
    /// Says which snapshot is the newest.
    Timestamp,
    /// Says which versions of all targets metadata belong together.
    Snapshot,
    /// Says what the target files are.
    Targets,
}

impl TopLevel {
    /// All of them, in the order in which a client reads them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];

    /// The name in `_type`, in `roles` and in file names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }
}

/// Whether a delegated role may be called so: 1 to [`MAX_NAME_LEN`] bytes, no control characters, not the name of a
/// top-level role. Separators and dots are allowed, since [`role_file`] encodes them.
#[must_use]
pub fn role_name_is_acceptable(name: &str) -> bool {
    is_short_text(name) && TopLevel::ALL.iter().all(|role| role.name() != name)
}

/// Whether a target path may be used: relative, of 1 to [`MAX_NAME_LEN`] bytes, without control characters or
/// backslashes, and none of its segments empty, `.` or `..`.
#[must_use]
pub fn target_path_is_acceptable(path: &str) -> bool {
    is_short_text(path)
        && !path.contains('\\')
        && path.split('/').all(|segment| !segment.is_empty() && segment != "." && segment != "..")
}

fn is_short_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_LEN && !text.chars().any(char::is_control)
}

/// The one file name of a role's metadata, the same on disk and (without a version) in URLs: `NAME.json`, with every
/// byte that is not unreserved (RFC 3986 §2.3) percent-encoded, so that `../a` stays one file.
#[must_use]
pub fn role_file(role: &str) -> String {
    format!("{}.json", percent_encode(role))
}

/// The URL path of a role's metadata below the repository: `VERSION.NAME.json`, or `NAME.json` without a version.
#[must_use]
pub fn metadata_file(role: &str, version: Option<u64>) -> String {
    match version {
        Some(version) => format!("{version}.{}", role_file(role)),
        None => role_file(role),
    }
}

/// Percent-encodes every byte that is not unreserved (RFC 3986 §2.3).
#[must_use]
pub fn percent_encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(HEX.get(usize::from(nibble)).copied().map_or('0', char::from));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAME_LEN, metadata_file, role_file, role_name_is_acceptable, target_path_is_acceptable};

    #[test]
    fn path_traversal_names_are_refused_or_encoded() {
        let long = "a".repeat(4096);
        let target_paths =
            ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "..", "a\0b", "a\nb", &long];
        for path in target_paths {
            assert!(!target_path_is_acceptable(path), "{path:?}");
        }
        for path in ["a", "trusted_root.json", "path/to/a..b", "..a/b", &"a".repeat(MAX_NAME_LEN)] {
            assert!(target_path_is_acceptable(path), "{path:?}");
        }
        for name in ["", "root", "targets", "a\0", &long] {
            assert!(!role_name_is_acceptable(name), "{name:?}");
        }
        for (name, file) in [
            ("../delegatedrole", "..%2Fdelegatedrole.json"),
            ("/delegatedrole", "%2Fdelegatedrole.json"),
            ("?", "%3F.json"),
            ("é", "%C3%A9.json"),
            ("registry.npmjs.org", "registry.npmjs.org.json"),
        ] {
            assert!(role_name_is_acceptable(name), "{name:?}");
            assert_eq!(role_file(name), file);
        }
        assert_eq!(metadata_file("a", Some(3)), "3.a.json");
    }
}
