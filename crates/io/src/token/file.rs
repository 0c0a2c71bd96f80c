//! A file that a machine's operator keeps a token in, where every Sigstore client looks for it.

use super::{AmbientSource, TokenError};
use formats::jwt::MAX_TOKEN_LEN;
use std::path::Path;
use waxseal_formats as formats;

const PATH: &str = "/var/run/sigstore/cosign/oidc-token";

pub(super) const SOURCE: AmbientSource = AmbientSource {
    id: "filesystem",
    name: PATH,
    about: "the file /var/run/sigstore/cosign/oidc-token",
    detect: |_| Path::new(PATH).exists(),
    fetch: |_, _, _| Box::pin(async { read(Path::new(PATH)) }),
};

fn read(path: &Path) -> Result<String, TokenError> {
    let unreadable = |reason: String| TokenError::File { path: path.display().to_string(), reason };
    let bytes =
        crate::file::read(path, MAX_TOKEN_LEN.saturating_add(2)).map_err(|error| unreadable(error.to_string()))?;
    let bytes = bytes.ok_or_else(|| unreadable("it is not there".to_owned()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is no text".to_owned()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::read;
    use formats::code::Code;
    use formats::jwt::MAX_TOKEN_LEN;
    use waxseal_formats as formats;

    #[test]
    fn a_file_is_read_within_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        assert_eq!(read(&path).expect_err("none").code(), Code::INPUT_UNREADABLE);
        std::fs::write(&path, " a.b.c\n").expect("written");
        assert_eq!(read(&path).as_deref(), Ok("a.b.c"));
        std::fs::write(&path, vec![b'a'; MAX_TOKEN_LEN + 3]).expect("written");
        assert_eq!(read(&path).expect_err("too long").code(), Code::INPUT_UNREADABLE);
    }
}
