//! Who may write to the transparency logs of an instance: what its authority issued, and what its rules list.
//!
//! Shared by the authority, which tells what it issues, and by every face of the log, which asks after an entry was read and
//! before its signatures are checked: whoever may not write costs no verification.

use super::gateway::{Refusal, Status};
use arc_swap::ArcSwap;
use std::sync::Arc;
use waxseal_authority::ca::CaIssuer;
use waxseal_authority::writers::{LiveCertificates, WriterDenied, Writers};
use waxseal_formats::entry::Verifier;
use waxseal_formats::x509::Certificate;
use waxseal_io::system;

/// Admission to the logs of an instance.
#[derive(Debug)]
pub struct Admission {
    writers: ArcSwap<Writers>,
    own: CaIssuer,
    live: LiveCertificates,
}

impl Admission {
    /// Admission as the rules say, to the logs of an instance whose authority is `own`.
    #[must_use]
    pub fn new(writers: Writers, own: CaIssuer) -> Self {
        Self { writers: ArcSwap::from_pointee(writers), own, live: LiveCertificates::default() }
    }

    /// From now on these rules say who may write.
    pub fn replace(&self, writers: Writers) {
        self.writers.store(Arc::new(writers));
    }

    /// The authority issued this certificate.
    pub fn issued(&self, certificate: &Certificate) {
        self.live.insert(certificate, system::now());
    }

    /// Whether an entry that all of these verify is taken. Says nothing about its signatures.
    ///
    /// # Errors
    /// [`WriterDenied`], for which both APIs of Rekor answer 403.
    pub fn admit<'a>(&self, verifiers: impl IntoIterator<Item = &'a Verifier>) -> Result<(), WriterDenied> {
        self.writers.load().decide(verifiers, &self.own, &self.live, system::now())
    }
}

impl From<WriterDenied> for Refusal {
    fn from(denied: WriterDenied) -> Self {
        Self { status: Status::Forbidden, code: Some(denied.code()), message: denied.to_string() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Admission;
    use std::sync::Arc;
    use waxseal_authority::ca::{CaIssuer, SubordinateKind, root, subordinate};
    use waxseal_authority::writers::Writers;
    use waxseal_formats::crypto::KeyKind;
    use waxseal_formats::x509::DistinguishedName;
    use waxseal_io::signer::{KeyPair, Signer as _};
    use waxseal_io::system;

    fn key() -> KeyPair {
        KeyPair::generate(KeyKind::EcdsaP256).expect("a key")
    }

    /// A certificate authority with its key.
    pub(crate) fn authority() -> (KeyPair, CaIssuer) {
        let name = |common_name: &str| DistinguishedName {
            organization: "corp.example".into(),
            common_name: common_name.into(),
        };
        let (root_key, issuing, now) = (key(), key(), system::now());
        let unsigned = root(&name("root"), root_key.public_key(), system::random(), now).expect("root");
        let root = unsigned.finish(&root_key.sign(unsigned.message()).expect("signature")).expect("root");
        let kind = SubordinateKind::FulcioIntermediate;
        let unsigned = subordinate(kind, &name("issuing"), issuing.public_key(), &root, system::random(), now)
            .expect("intermediate");
        let intermediate =
            unsigned.finish(&root_key.sign(unsigned.message()).expect("signature")).expect("intermediate");
        (issuing, CaIssuer::new(vec![intermediate, root]).expect("an authority"))
    }

    /// Admission of these writers beside an authority that issues nothing.
    pub(crate) fn admission(writers: Writers) -> Arc<Admission> {
        Arc::new(Admission::new(writers, authority().1))
    }
}
