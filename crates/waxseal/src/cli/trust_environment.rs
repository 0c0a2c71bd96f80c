//! Trust material from cosign's variables. Each file takes the place of its part of the trusted root; whatever has a flag for a
//! trusted root does not look at them.

use crate::cli::Failure;
use crate::cli::trusted_root::malformed;
use crate::client::verify::{MAX_KEY_FILE_LEN, read_bounded, read_public_key};
use jiff::Timestamp;
use std::path::Path;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::KeyDetails;
use waxseal_formats::note;
use waxseal_formats::trusted_root::{CertificateAuthority, TransparencyLog, TrustedRoot, Validity};
use waxseal_formats::x509::Certificate;

/// The TUF repository of a pinned instance.
pub const MIRROR: &str = "TUF_MIRROR";
const AUTHORITIES: &str = "SIGSTORE_ROOT_FILE";
const LOG: &str = "SIGSTORE_REKOR_PUBLIC_KEY";
const CERTIFICATE_LOG: &str = "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE";
const TIMESTAMPS: &str = "SIGSTORE_TSA_CERTIFICATE_FILE";

/// A trusted root whose parts are replaced by the files that the variables name, and which variables those are.
///
/// # Errors
/// `input.*`, `key.unsupported` for the files.
pub fn replaced(
    mut root: TrustedRoot,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(TrustedRoot, Vec<&'static str>), Failure> {
    let mut used = Vec::new();
    let mut file = |name: &'static str| {
        let path = variable(name).filter(|path| !path.is_empty())?;
        used.push(name);
        Some(path)
    };
    if let Some(path) = file(AUTHORITIES) {
        root.certificate_authorities = authorities(Path::new(&path))?;
    }
    if let Some(path) = file(TIMESTAMPS) {
        root.timestamp_authorities = authorities(Path::new(&path))?;
    }
    if let Some(path) = file(LOG) {
        root.tlogs = vec![log(Path::new(&path))?];
    }
    if let Some(path) = file(CERTIFICATE_LOG) {
        root.ctlogs = vec![log(Path::new(&path))?];
    }
    Ok((root, used))
}

/// An authority for each root in the file; the other certificates may stand below any of them.
fn authorities(path: &Path) -> Result<Vec<CertificateAuthority>, Failure> {
    let bytes = read_bounded(path, MAX_KEY_FILE_LEN).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| malformed(path, "it is no PEM"))?;
    let all = Certificate::chain_from_pem(&text).map_err(|error| malformed(path, &error.to_string()))?;
    let (roots, below): (Vec<_>, Vec<_>) = all.into_iter().partition(Certificate::is_self_issued);
    if roots.is_empty() {
        return Err(malformed(path, "it holds no root certificate"));
    }
    let authority = |root: Certificate| {
        let name = root.subject();
        CertificateAuthority {
            uri: String::new(),
            organization: name.organization,
            common_name: name.common_name,
            valid_for: Validity { start: Some(root.not_before()), end: None },
            operator: None,
            chain: below.iter().cloned().chain([root]).collect(),
        }
    };
    Ok(roots.into_iter().map(authority).collect())
}

/// A log of this key: of Rekor v1, or of certificates.
fn log(path: &Path) -> Result<TransparencyLog, Failure> {
    let public_key = read_public_key(path).map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let key_details = KeyDetails::for_key(&public_key).ok_or_else(|| {
        let message = format!("{}: a log cannot have a key of {}", path.display(), public_key.kind());
        Failure::new(Code::KEY_UNSUPPORTED, message)
    })?;
    Ok(TransparencyLog {
        base_url: String::new(),
        key_details,
        valid_for: Validity { start: Some(Timestamp::UNIX_EPOCH), end: None },
        log_id: note::spki_key_id(public_key.spki_der()).to_vec(),
        public_key,
        checkpoint_key_id: None,
        operator: None,
    })
}

#[cfg(test)]
mod tests {
    use super::{AUTHORITIES, CERTIFICATE_LOG, LOG, TIMESTAMPS, replaced};
    use std::collections::HashMap;
    use waxseal_formats::code::Code;
    use waxseal_formats::trusted_root::TrustedRoot;
    use waxseal_formats::x509::Certificate;

    #[test]
    fn each_variable_replaces_its_part() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let root = TrustedRoot::from_json(&vectors.read("private-instance/trusted_root.json")).expect("root");
        let directory = tempfile::tempdir().expect("directory");
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let pem = |chain: &[Certificate]| chain.iter().map(Certificate::to_pem).collect::<String>();
        let v1 = root.tlogs.iter().find(|log| log.log_id.len() == 32).expect("a log");
        let set: HashMap<&str, String> = HashMap::from([
            (AUTHORITIES, file("ca", pem(&root.certificate_authorities[0].chain))),
            (TIMESTAMPS, file("tsa", pem(&root.timestamp_authorities[0].chain))),
            (LOG, file("log", v1.public_key.to_pem())),
            (CERTIFICATE_LOG, file("ct", root.ctlogs[0].public_key.to_pem())),
        ]);
        let public = || TrustedRoot::from_json(crate::client::PUBLIC_GOOD_TRUSTED_ROOT).expect("root");
        let (made, used) = replaced(public(), |name| set.get(name).cloned()).expect("replaced");
        assert_eq!(used.len(), 4);
        assert_eq!(made.certificate_authorities[0].chain, root.certificate_authorities[0].chain);
        assert_eq!(made.timestamp_authorities[0].chain, root.timestamp_authorities[0].chain);
        assert_eq!((made.tlogs.len(), &made.tlogs[0].public_key), (1, &v1.public_key));
        assert_eq!(made.ctlogs[0].log_id, root.ctlogs[0].log_id);

        let (untouched, used) = replaced(public(), |_| Some(String::new())).expect("nothing is set");
        assert_eq!((untouched, used.len()), (public(), 0));
        let one = |name: &'static str, path: &str| {
            let path = path.to_owned();
            replaced(public(), move |asked| (asked == name).then(|| path.clone())).expect_err("refused").code
        };
        assert_eq!(one(AUTHORITIES, "/nowhere"), Code::INPUT_UNREADABLE);
        assert_eq!(one(AUTHORITIES, &set[LOG]), Code::INPUT_MALFORMED);
        assert_eq!(one(LOG, &set[TIMESTAMPS]), Code::KEY_UNSUPPORTED);
        let leaf_alone = file("below", pem(&root.certificate_authorities[0].chain[..1]));
        if root.certificate_authorities[0].chain.len() > 1 {
            assert_eq!(one(TIMESTAMPS, &leaf_alone), Code::INPUT_MALFORMED);
        }
    }
}
