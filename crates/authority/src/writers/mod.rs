//! Who may write to the transparency log: `writes:` of the rules file, decided about what is to verify an entry.
//!
//! ```yaml
//! writes:                 # `own` if it is absent; `any` takes every valid signature
//!   - own                 # certificates of this instance's authority
//!   - ca: |               # certificates that one of these signed itself
//!       -----BEGIN CERTIFICATE-----
//!       …
//!   - key: |              # signatures of this key
//!       -----BEGIN PUBLIC KEY-----
//!       …
//! ```
//!
//! A log that takes every valid signature takes everybody's: its size and its search results are then anybody's to shape
//! (Rekor's public log works like that). The log itself checks the signature of an entry and nothing about the signer, so
//! this is asked before.

mod live;
mod read;

use crate::ca::CaIssuer;
use const_oid::db::rfc6962::CT_PRECERT_POISON;
use formats::code::Code;
use formats::crypto::PublicKey;
use formats::entry::Verifier;
use formats::x509::Certificate;
use jiff::{SignedDuration, Timestamp};
use waxseal_formats as formats;

pub use live::{LiveCertificates, MAX_LIVE};
pub use read::MAX_WRITERS;

/// How long before and after its validity a certificate may write. A signature is timestamped while its certificate is valid
/// and may reach the log later, when a queue or a lost connection held it up; clients then verify it by its timestamp. Bounded,
/// so that a key that leaks long after its ten minutes writes nothing.
pub const GRACE: SignedDuration = SignedDuration::from_hours(1);

/// Whose signatures the log takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Everybody's.
    Any,
    /// Those of one of these; never empty.
    Listed(Vec<Writer>),
}

/// One kind of signers whom the log takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Holders of certificates of this instance's authority.
    Own,
    /// Holders of certificates that this CA certificate signed: a root, or the intermediate that issues.
    Authority(Certificate),
    /// The holder of this key, without a certificate.
    Key(PublicKey),
}

impl Default for Writers {
    /// [`Writer::Own`] alone.
    fn default() -> Self {
        Self::Listed(vec![Writer::Own])
    }
}

/// The log takes no entries of this signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log takes no entries signed by {signer}{problem}: it takes {admitted}; `writes:` in the rules file says so"
)]
pub struct WriterDenied {
    /// `this certificate`, `this key` or `nobody`.
    pub signer: &'static str,
    /// What keeps a certificate out that would be admitted otherwise, with a comma before it; empty if it is not that.
    pub problem: &'static str,
    /// Whose it takes.
    pub admitted: String,
}

impl WriterDenied {
    /// Always `rule.writer`.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::RULE_WRITER
    }
}

impl Writers {
    /// The authorities that are listed beside the own one.
    pub fn authorities(&self) -> impl Iterator<Item = &Certificate> {
        let listed = match self {
            Self::Any => &[],
            Self::Listed(writers) => writers.as_slice(),
        };
        listed.iter().filter_map(|writer| match writer {
            Writer::Authority(authority) => Some(authority),
            Writer::Own | Writer::Key(_) => None,
        })
    }

    /// Decides whether the log takes an entry that all of these verify. Nothing but the signers are looked at: that the
    /// signatures verify is the log's to check.
    ///
    /// A certificate of `own` that is among `live` costs a look-up. One that is not, after a restart, is checked: issued by
    /// this authority with its key, for code signing, its time not over for more than [`GRACE`].
    ///
    /// # Errors
    /// [`WriterDenied`] for the first that is not admitted, or if there is none at all.
    pub fn decide<'a>(
        &self,
        verifiers: impl IntoIterator<Item = &'a Verifier>,
        own: &CaIssuer,
        live: &LiveCertificates,
        now: Timestamp,
    ) -> Result<(), WriterDenied> {
        let Self::Listed(writers) = self else { return Ok(()) };
        let denied = |(signer, problem)| WriterDenied { signer, problem, admitted: self.to_string() };
        let mut verifiers = verifiers.into_iter().peekable();
        if verifiers.peek().is_none() {
            return Err(denied(("nobody", "")));
        }
        verifiers.try_for_each(|verifier| match verifier {
            Verifier::PublicKey(spki) => {
                let listed = |writer: &Writer| matches!(writer, Writer::Key(key) if key.spki_der() == spki);
                if writers.iter().any(listed) { Ok(()) } else { Err(denied(("this key", ""))) }
            }
            Verifier::Certificate(der) if writers.contains(&Writer::Own) && live.contains(der, now) => Ok(()),
            Verifier::Certificate(der) => {
                certificate_writes(writers, der, own, now).map_err(|problem| denied(("this certificate", problem)))
            }
        })
    }
}

/// Checks a certificate that is not known by its fingerprint; the error is what is wrong with one that would be admitted
/// otherwise.
fn certificate_writes(writers: &[Writer], der: &[u8], own: &CaIssuer, now: Timestamp) -> Result<(), &'static str> {
    let leaf = Certificate::from_der(der).map_err(|_| ", which cannot be read")?;
    let issued = writers.iter().any(|writer| match writer {
        Writer::Own => own.chain().first().is_some_and(|issuer| issued_by(&leaf, issuer)),
        Writer::Authority(authority) => issued_by(&leaf, authority),
        Writer::Key(_) => false,
    });
    if issued { signs_code(&leaf, now) } else { Err("") }
}

/// Whether this CA signed the certificate, itself and within its own validity.
fn issued_by(leaf: &Certificate, issuer: &Certificate) -> bool {
    leaf.issuer_der() == issuer.subject_der()
        && issuer.valid_at(leaf.not_before())
        && issuer.public_key().is_ok_and(|key| leaf.verify_signature(key).is_ok())
}

/// What keeps a certificate from signing anything now.
fn signs_code(leaf: &Certificate, now: Timestamp) -> Result<(), &'static str> {
    // A precertificate is a promise to issue: a signature with it verifies nowhere.
    let precertificate = leaf.extension_oids().iter().any(|(oid, _)| *oid == CT_PRECERT_POISON);
    if precertificate || leaf.is_ca() || !leaf.has_code_signing_eku() {
        return Err(", which is not for code signing");
    }
    let age = now.duration_since(leaf.not_after());
    let lead = leaf.not_before().duration_since(now);
    if age > GRACE || lead > GRACE { Err(", which is not valid now") } else { Ok(()) }
}

impl std::fmt::Display for Writers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Listed(writers) = self else { return f.write_str("those of everybody") };
        let count = |kind: fn(&Writer) -> bool| writers.iter().filter(|writer| kind(writer)).count();
        let mut parts = Vec::new();
        if writers.contains(&Writer::Own) {
            parts.push("those signed with certificates of this instance".to_owned());
        }
        match count(|writer| matches!(writer, Writer::Authority(_))) {
            0 => {}
            1 => parts.push("those signed with certificates of a listed CA".to_owned()),
            some => parts.push(format!("those signed with certificates of {some} listed CAs")),
        }
        match count(|writer| matches!(writer, Writer::Key(_))) {
            0 => {}
            1 => parts.push("those of a listed key".to_owned()),
            some => parts.push(format!("those of {some} listed keys")),
        }
        f.write_str(&parts.join(" and "))
    }
}

#[cfg(test)]
mod tests;
