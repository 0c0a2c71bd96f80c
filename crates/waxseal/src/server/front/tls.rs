//! The certificate of the listener: read from files, and read again when they have changed.

use crate::server::config::{self, Config};
use crate::server::reload::{Exchange, Part, Refused};
use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto::CryptoProvider};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use waxseal_formats::code::Code;
use waxseal_formats::x509::Certificate;
use waxseal_io::file;

/// Largest certificate or key file.
const MAX_FILE_LEN: usize = 256 * 1024;

/// Why TLS cannot be spoken with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// What stands in a file cannot be used.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl TlsError {
    /// `input.unreadable` or `input.malformed`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::File { .. } => Code::INPUT_UNREADABLE,
            Self::Content { .. } => Code::INPUT_MALFORMED,
        }
    }
}

/// A certificate with its key, for new connections. Those that are open keep the one they began with.
pub struct Tls {
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads a chain, the own certificate first, and its private key (PKCS#8, SEC1 or PKCS#1), both in PEM. TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// [`TlsError`]; a key of another certificate as well.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = Arc::new(Current(ArcSwap::new(read(certificate, key, &provider)?)));
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| content(certificate, &error))?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&current);
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { current, acceptor })
    }

    /// When the certificate expires, if it is one that can be read here.
    #[must_use]
    pub fn expires(&self) -> Option<jiff::Timestamp> {
        let current = self.current.0.load();
        Some(Certificate::from_der(current.cert.first()?).ok()?.not_after())
    }

    pub(super) const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

/// Renewed certificates come in the same files or in others; new connections get them.
impl Part for Arc<Tls> {
    fn prepare(&self, config: &Config) -> Result<Exchange, Refused> {
        let config::Tls::Files { certificate, key } = &config.settings.tls else { return Ok(Box::new(Vec::new)) };
        let read = read(certificate, key, &rustls::crypto::aws_lc_rs::default_provider());
        let read = read.map_err(|error| Refused { code: error.code(), message: error.to_string() })?;
        let current = Arc::clone(&self.current);
        Ok(Box::new(move || {
            current.0.store(read);
            Vec::new()
        }))
    }

    fn files(&self, config: &Config) -> Vec<PathBuf> {
        match &config.settings.tls {
            config::Tls::Files { certificate, key } => vec![certificate.clone(), key.clone()],
            config::Tls::None => Vec::new(),
        }
    }
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = contents(certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = chain.map_err(|error| content(certificate, &error))?;
    if chain.is_empty() {
        return Err(content(certificate, &"there is no PEM certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_slice(&contents(key)?);
    let private = private.map_err(|_| content(key, &"there is no PEM private key in it (PKCS#8, SEC1 or PKCS#1)"))?;
    let pair = CertifiedKey::from_der(chain, private, provider);
    Ok(Arc::new(pair.map_err(|error| content(key, &error))?))
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |reason: String| TlsError::File { path: path.to_owned(), reason };
    let bytes = file::read(path, MAX_FILE_LEN).map_err(|error| failed(error.to_string()))?;
    bytes.ok_or_else(|| failed("there is no such file".to_owned()))
}

fn content(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::Content { path: path.to_owned(), reason: reason.to_string() }
}
