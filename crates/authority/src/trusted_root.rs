//! What an instance tells its clients: whom to trust (trusted root) and where to sign (signing config).
//!
//! Both are made from one [`Instance`], so that they cannot disagree. Several clients refuse what others do without,
//! so everything that any of them demands is there: `validFor.start` everywhere, subjects, operators, both selectors
//! (`ANY`, the only one that all of them understand), and no key that an older client does not know.

use jiff::Timestamp as Time;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyDetails, KeyKind, PublicKey};
use waxseal_formats::note;
use waxseal_formats::signing_config::{ClientTrustConfig, Selector, Service, SigningConfig};
use waxseal_formats::trusted_root::{CertificateAuthority, TransparencyLog, TrustedRoot, Validity};
use waxseal_formats::x509::Certificate;

/// An instance as its clients see it. Former keys and chains stay in the lists, with an end to their validity:
/// signatures made with them have to verify later on.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The origin, without a path and without a slash at its end.
    pub url: String,
    /// Who runs it, such as `corp.example`.
    pub operator: String,
    /// Issuers at which people log in.
    pub oidc_issuers: Vec<String>,
    /// From when on the services may be used.
    pub start: Time,
    /// The chains of Fulcio, the issuing certificate first, the root last.
    pub certificate_authorities: Vec<Authority>,
    /// The chains of the timestamp authority, its own certificate first, the root last.
    pub timestamp_authorities: Vec<Authority>,
    /// Certificate transparency logs.
    pub ct_logs: Vec<CtLog>,
    /// Rekor logs.
    pub rekor_logs: Vec<RekorLog>,
}

/// A certificate chain and when it issues.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The common name shown to people.
    pub common_name: String,
    /// The chain.
    pub chain: Vec<Certificate>,
    /// When it issues.
    pub valid_for: Validity,
}

/// A certificate transparency log.
#[derive(Clone, Debug)]
pub struct CtLog {
    /// Its URL, without a slash at its end.
    pub url: String,
    /// Its key.
    pub key: PublicKey,
    /// When the key signs.
    pub valid_for: Validity,
}

/// A Rekor log.
#[derive(Clone, Debug)]
pub struct RekorLog {
    /// Its URL for reading and writing, without a slash at its end. Clients compare its host with the origin.
    pub url: String,
    /// The API that it speaks.
    pub version: RekorVersion,
    /// The origin line of its checkpoints.
    pub origin: String,
    /// Its key.
    pub key: PublicKey,
    /// When the key signs; one with an end is not offered for signing. sigstore-js takes the log that started last, so version 2 has to start after version 1.
    pub valid_for: Validity,
}

/// The API of a Rekor log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RekorVersion {
    /// `/api/v1/log/entries`; the log id is SHA-256 of the key.
    V1,
    /// `/api/v2/log/entries`, tiles; the log id is the checkpoint's key ID.
    V2,
}

/// Why an instance cannot be described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustedRootError {
    /// A kind of key that trusted roots have no name for.
    #[error("the key of the log {url} is of kind {kind}, which trusted roots cannot name")]
    Key {
        /// The log.
        url: String,
        /// The kind.
        kind: KeyKind,
    },
    /// A validity without a beginning, which Go clients refuse.
    #[error("the validity of {0} has no start")]
    NoStart(String),
    /// A list that has to have a member is empty.
    #[error("the instance has no {0}")]
    Empty(&'static str),
}

impl TrustedRootError {
    /// `key.unsupported` or `trusted-root.malformed`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Key { .. } => Code::KEY_UNSUPPORTED,
            Self::NoStart(_) | Self::Empty(_) => Code::TRUSTED_ROOT_MALFORMED,
        }
    }
}

impl Instance {
    /// Trusted root and signing config in one; the lists of the root ascend by their start.
    ///
    /// # Errors
    /// [`TrustedRootError`].
    pub fn client_trust_config(&self) -> Result<ClientTrustConfig, TrustedRootError> {
        Ok(ClientTrustConfig { trusted_root: self.trusted_root()?, signing_config: self.signing_config() })
    }

    fn trusted_root(&self) -> Result<TrustedRoot, TrustedRootError> {
        let ca = |authority: &Authority| self.authority(authority, self.url.clone());
        let tsa = |authority: &Authority| self.authority(authority, self.tsa_url());
        let ct_log = |log: &CtLog| tlog(&log.url, &log.key, log.valid_for, note::spki_key_id(log.key.spki_der()));
        let rekor_log = |log: &RekorLog| {
            let log_id = match log.version {
                RekorVersion::V1 => note::spki_key_id(log.key.spki_der()),
                RekorVersion::V2 => note::key_id(&log.origin, &log.key),
            };
            tlog(&log.url, &log.key, log.valid_for, log_id)
        };
        let mut root = TrustedRoot {
            tlogs: all("Rekor log", &self.rekor_logs, rekor_log)?,
            ctlogs: all("certificate transparency log", &self.ct_logs, ct_log)?,
            certificate_authorities: all("certificate authority", &self.certificate_authorities, ca)?,
            timestamp_authorities: all("timestamp authority", &self.timestamp_authorities, tsa)?,
            unsupported: Vec::new(),
        };
        root.tlogs.sort_by_key(|log| log.valid_for.start);
        root.ctlogs.sort_by_key(|log| log.valid_for.start);
        root.certificate_authorities.sort_by_key(|authority| authority.valid_for.start);
        root.timestamp_authorities.sort_by_key(|authority| authority.valid_for.start);
        Ok(root)
    }

    fn signing_config(&self) -> SigningConfig {
        let service = |url: &str| self.service(url, 1, Validity::from(self.start));
        let mut rekor_tlog_urls: Vec<Service> = self
            .rekor_logs
            .iter()
            // One whose key has an end takes no more entries.
            .filter(|log| log.valid_for.end.is_none())
            .map(|log| {
                let version = match log.version {
                    RekorVersion::V1 => 1,
                    RekorVersion::V2 => 2,
                };
                self.service(&log.url, version, log.valid_for)
            })
            .collect();
        rekor_tlog_urls.sort_by_key(|service| std::cmp::Reverse(service.valid_for.start));
        SigningConfig {
            // Version 1, although every client speaks `/api/v2`: with another one they find no authority.
            ca_urls: vec![service(&self.url)],
            oidc_urls: self.oidc_issuers.iter().map(|issuer| service(issuer)).collect(),
            rekor_tlog_urls,
            rekor_tlog_config: Selector::Any,
            tsa_urls: vec![service(&self.tsa_url())],
            tsa_config: Selector::Any,
        }
    }

    /// The whole URL: cosign and sigstore-python send requests to exactly this one.
    fn tsa_url(&self) -> String {
        format!("{}/api/v1/timestamp", self.url)
    }

    fn service(&self, url: &str, major_api_version: u32, valid_for: Validity) -> Service {
        Service { url: url.to_owned(), major_api_version, valid_for, operator: self.operator.clone() }
    }

    fn authority(&self, authority: &Authority, uri: String) -> Result<CertificateAuthority, TrustedRootError> {
        if authority.chain.is_empty() {
            return Err(TrustedRootError::Empty("certificate in a chain"));
        }
        Ok(CertificateAuthority {
            valid_for: started(&authority.common_name, authority.valid_for)?,
            uri,
            organization: self.operator.clone(),
            common_name: authority.common_name.clone(),
            chain: authority.chain.clone(),
            operator: None,
        })
    }
}

fn all<T, U>(
    what: &'static str,
    list: &[T],
    of: impl Fn(&T) -> Result<U, TrustedRootError>,
) -> Result<Vec<U>, TrustedRootError> {
    if list.is_empty() {
        return Err(TrustedRootError::Empty(what));
    }
    list.iter().map(of).collect()
}

fn tlog(
    url: &str,
    key: &PublicKey,
    valid_for: Validity,
    log_id: [u8; 32],
) -> Result<TransparencyLog, TrustedRootError> {
    Ok(TransparencyLog {
        base_url: url.to_owned(),
        key_details: KeyDetails::for_key(key)
            .ok_or_else(|| TrustedRootError::Key { url: url.to_owned(), kind: key.kind() })?,
        public_key: key.clone(),
        valid_for: started(url, valid_for)?,
        log_id: log_id.to_vec(),
        checkpoint_key_id: None,
        operator: None,
    })
}

fn started(what: &str, valid_for: Validity) -> Result<Validity, TrustedRootError> {
    match valid_for.start {
        Some(_) => Ok(valid_for),
        None => Err(TrustedRootError::NoStart(what.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Authority, CtLog, Instance, RekorLog, RekorVersion};
    use waxseal_formats::code::Code;
    use waxseal_formats::signing_config::ClientTrustConfig;
    use waxseal_formats::trusted_root::{TrustedRoot, Validity};
    use waxseal_testkit::clock::at;

    /// The instance of the vectors, described anew.
    fn instance(root: &TrustedRoot) -> Instance {
        let start = at("2026-11-01T00:00:00Z");
        let [v1, v2] = &root.tlogs[..] else { panic!("two logs") };
        let rekor = |log: &waxseal_formats::trusted_root::TransparencyLog, version, start: &str| RekorLog {
            url: log.base_url.clone(),
            version,
            origin: "127.0.0.1".into(),
            key: log.public_key.clone(),
            valid_for: Validity::from(at(start)),
        };
        let authority = |authority: &waxseal_formats::trusted_root::CertificateAuthority| Authority {
            common_name: authority.common_name.clone(),
            chain: authority.chain.clone(),
            valid_for: authority.valid_for,
        };
        Instance {
            url: "http://127.0.0.1:7480".into(),
            operator: "corp.example".into(),
            oidc_issuers: vec!["http://127.0.0.1:7480/idp".into()],
            start,
            certificate_authorities: root.certificate_authorities.iter().map(authority).collect(),
            timestamp_authorities: root.timestamp_authorities.iter().map(authority).collect(),
            ct_logs: vec![CtLog {
                url: root.ctlogs[0].base_url.clone(),
                key: root.ctlogs[0].public_key.clone(),
                valid_for: root.ctlogs[0].valid_for,
            }],
            rekor_logs: vec![
                rekor(v1, RekorVersion::V1, "2026-11-01T00:00:00Z"),
                rekor(v2, RekorVersion::V2, "2026-11-01T00:00:00Z"),
            ],
        }
    }

    #[test]
    fn an_instance_is_described_as_its_clients_accepted_it() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let accepted =
            ClientTrustConfig::from_json(&vectors.read("private-instance/trust-config.json")).expect("config");
        let instance = instance(&accepted.trusted_root);
        let made = instance.client_trust_config().expect("config");
        assert_eq!(made.trusted_root, accepted.trusted_root);
        let mut expected = accepted.signing_config.clone();
        // The stand-in had another start in its signing config for version 2; ours says the same in both files.
        expected.rekor_tlog_urls[0].valid_for = accepted.trusted_root.tlogs[1].valid_for;
        expected.rekor_tlog_urls.reverse();
        assert_eq!(made.signing_config, expected);
        let again = ClientTrustConfig::from_json(made.to_json().as_bytes()).expect("read again");
        assert_eq!(again, made);
    }

    #[test]
    fn the_root_ascends_by_start_and_the_config_lists_the_newest_log_first() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let accepted =
            ClientTrustConfig::from_json(&vectors.read("private-instance/trust-config.json")).expect("config");
        let mut instance = instance(&accepted.trusted_root);
        instance.rekor_logs[1].valid_for = Validity::from(at("2026-11-02T00:00:00Z"));
        let made = instance.client_trust_config().expect("config");
        assert_eq!(made.signing_config, accepted.signing_config);
        instance.rekor_logs.reverse();
        assert_eq!(instance.client_trust_config().expect("config"), made);
        instance.rekor_logs[1].valid_for.end = Some(at("2026-11-03T00:00:00Z"));
        let made = instance.client_trust_config().expect("config");
        assert_eq!(made.trusted_root.tlogs[0].valid_for.end, Some(at("2026-11-03T00:00:00Z")));
        // What takes no more entries is not offered.
        let offered: Vec<u32> = made.signing_config.rekor_tlog_urls.iter().map(|log| log.major_api_version).collect();
        assert_eq!(offered, [2]);
    }

    #[test]
    fn what_some_client_would_refuse_is_not_made() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let accepted =
            ClientTrustConfig::from_json(&vectors.read("private-instance/trust-config.json")).expect("config");
        let good = instance(&accepted.trusted_root);
        let edits: [fn(&mut Instance); 6] = [
            |instance| instance.ct_logs.clear(),
            |instance| instance.rekor_logs.clear(),
            |instance| instance.timestamp_authorities.clear(),
            |instance| instance.certificate_authorities[0].chain.clear(),
            |instance| instance.certificate_authorities[0].valid_for.start = None,
            |instance| instance.rekor_logs[0].valid_for.start = None,
        ];
        for edit in edits {
            let mut instance = good.clone();
            edit(&mut instance);
            let error = instance.client_trust_config().expect_err("refused");
            assert_eq!(error.code(), Code::TRUSTED_ROOT_MALFORMED);
        }
    }
}
