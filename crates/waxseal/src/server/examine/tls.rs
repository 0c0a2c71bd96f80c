//! The TLS certificate: whether it and its key are a pair, it names the instance's host, and is not about to expire.

use super::{Finding, expiry};
use jiff::{SignedDuration, Timestamp};
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use waxseal_formats::code::Code;
use waxseal_formats::x509::Certificate;
use waxseal_io::file;
use zeroize::Zeroizing;

/// How early a warning is due: what renews certificates by itself has done so before.
const EARLY: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Longest certificate file, in bytes.
const MAX_LEN: usize = 1 << 20;
const SUBJECT: &str = "tls certificate";

/// Everything about the certificate of an instance whose clients ask for `host`.
#[must_use]
pub fn examine(certificate: &Path, key: &Path, host: &str, now: Timestamp) -> Vec<Finding> {
    let chain = match chain(certificate) {
        Ok(chain) => chain,
        Err(finding) => return vec![*finding],
    };
    let mut findings = Vec::new();
    findings.extend(exposed(key));
    findings.extend(pair(&chain, key, certificate).err().map(|finding| *finding));
    findings.extend(chain.first().and_then(|own| named(own, host)));
    let ends = chain.iter().map(|certificate| end(certificate)).collect::<Option<Vec<_>>>();
    findings.push(match ends.and_then(|ends| ends.into_iter().min()) {
        Some(end) => {
            let finding = expiry(SUBJECT, Code::CERTIFICATE_EXPIRED, end, EARLY, now);
            if finding.code.is_some() {
                finding.mend("put a new one into its place: it is read by itself")
            } else {
                finding
            }
        }
        None => failed(Code::CERTIFICATE_MALFORMED, format!("{} cannot be read", certificate.display())),
    });
    findings
}

fn failed(code: Code, found: String) -> Finding {
    Finding::failed(SUBJECT, code, found)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Box<Finding>> {
    let shown = path.display();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(Box::new(failed(Code::CERTIFICATE_MALFORMED, format!("{shown} holds no certificate in PEM")))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Box<Finding>> {
    let unreadable =
        |error: std::io::Error| Box::new(failed(Code::INPUT_UNREADABLE, format!("{}: {error}", path.display())));
    let bytes = file::read(path, MAX_LEN).map_err(unreadable)?;
    bytes.ok_or_else(|| unreadable(std::io::ErrorKind::NotFound.into()))
}

/// Some mount such keys readable by all, so that it is no failure.
fn exposed(key: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(key).ok()?.permissions().mode() & 0o077;
    (mode & 0o044 != 0).then(|| {
        let found = format!("{} can be read by others", key.display());
        Finding::warning("tls key", Code::KEY_PERMISSIONS, found).mend(format!("chmod 600 {}", key.display()))
    })
}

/// The key has to be that of the first certificate.
fn pair(chain: &[CertificateDer<'static>], key: &Path, certificate: &Path) -> Result<(), Box<Finding>> {
    let fault = |code, found: String| Box::new(Finding::failed("tls key", code, found));
    let text = Zeroizing::new(read(key)?);
    let unusable = |_| fault(Code::KEY_UNSUPPORTED, format!("{} holds no key that can be used", key.display()));
    let parsed = PrivateKeyDer::from_pem_slice(&text).map_err(unusable)?;
    let signing = any_supported_type(&parsed)
        .map_err(|_| fault(Code::KEY_UNSUPPORTED, format!("{} holds a key of an unsupported kind", key.display())))?;
    CertifiedKey::new(chain.to_vec(), signing).keys_match().map_err(|_| {
        let found = format!("{} is not the key of {}", key.display(), certificate.display());
        Box::new(
            fault(Code::SIGNATURE_KEY_MISMATCH, found).mend("the first certificate of the chain is the instance's own"),
        )
    })
}

/// What is wrong with the names in a certificate, if anything is.
fn named(certificate: &CertificateDer<'_>, host: &str) -> Option<Finding> {
    let name = ServerName::try_from(host).ok();
    let parsed = ParsedCertificate::try_from(certificate).ok();
    let good = name.zip(parsed).is_some_and(|(name, parsed)| verify_server_name(&parsed, &name).is_ok());
    (!good).then(|| {
        failed(Code::CERTIFICATE_IDENTITY, format!("it does not name {host}"))
            .mend("get a certificate for the host of public_url")
    })
}

/// When a certificate expires.
fn end(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    Certificate::from_der(certificate).ok().map(|certificate| certificate.not_after())
}

#[cfg(test)]
mod tests {
    use super::examine;
    use crate::server::examine::{Finding, State};
    use jiff::{SignedDuration, Timestamp};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use waxseal_formats::code::Code;
    use waxseal_io::system;

    fn write(folder: &Path, names: &[&str]) -> Timestamp {
        let end = system::now().checked_add(SignedDuration::from_hours(24 * 30)).expect("a time");
        let mut parameters =
            rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("names");
        let (year, month, day) = end
            .strftime("%Y-%m-%d")
            .to_string()
            .split_once('-')
            .map(|(year, rest)| {
                let (month, day) = rest.split_once('-').expect("a date");
                (year.parse().expect("a year"), month.parse().expect("a month"), day.parse().expect("a day"))
            })
            .expect("a date");
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("signed");
        std::fs::write(folder.join("chain.pem"), certificate.pem()).expect("written");
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("written");
        std::fs::set_permissions(folder.join("key.pem"), std::fs::Permissions::from_mode(0o600)).expect("set");
        end
    }

    fn look(folder: &Path, host: &str, now: Timestamp) -> Vec<Finding> {
        examine(&folder.join("chain.pem"), &folder.join("key.pem"), host, now)
    }

    #[test]
    fn a_certificate_has_to_be_of_its_key_name_the_host_and_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let now = system::now();
        assert_eq!(look(folder, "a.example", now)[0].code, Some(Code::INPUT_UNREADABLE));
        let end = write(folder, &["a.example", "127.0.0.1"]);
        for host in ["a.example", "127.0.0.1"] {
            let good = look(folder, host, now);
            assert!(good.iter().all(|finding| finding.state == State::Good), "{good:?}");
        }
        assert_eq!(look(folder, "b.example", now)[0].code, Some(Code::CERTIFICATE_IDENTITY));
        let late = end.checked_sub(SignedDuration::from_hours(24 * 3)).expect("a time");
        assert_eq!(look(folder, "a.example", late)[0].state, State::Warning);
        let after = end.checked_add(SignedDuration::from_hours(24)).expect("a time");
        assert_eq!(look(folder, "a.example", after)[0].code, Some(Code::CERTIFICATE_EXPIRED));

        let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        std::fs::write(folder.join("key.pem"), other).expect("written");
        assert_eq!(look(folder, "a.example", now)[0].code, Some(Code::SIGNATURE_KEY_MISMATCH));
        std::fs::set_permissions(folder.join("key.pem"), std::fs::Permissions::from_mode(0o644)).expect("set");
        let exposed = look(folder, "a.example", now).remove(0);
        assert_eq!((exposed.state, exposed.code), (State::Warning, Some(Code::KEY_PERMISSIONS)));
        std::fs::write(folder.join("chain.pem"), "garbage").expect("written");
        assert_eq!(look(folder, "a.example", now)[0].code, Some(Code::CERTIFICATE_MALFORMED));
    }
}
