//! Objects: immutable files under names of a URL path, read by anyone.

pub mod file;

pub use file::FileObjects;

/// Longest name of an object, in bytes.
pub const MAX_NAME: usize = 255;

/// Whether `name` names an object: parts of lower-case letters, digits, `-`, `_` and `.`, separated by `/`, none of them empty
/// or beginning with a dot. So no name leads out of its directory, and none is that of a temporary file.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(known)
    };
    name.len() <= MAX_NAME && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for name in ["checkpoint", "tile/0/x001/067.p/9", "issuer/00ff", "a-b_c.d"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(256);
        for name in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "a/./b",
            ".new",
            "A",
            "a\0",
            "a b",
            "a\\b",
            "ä",
            &long,
        ] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
