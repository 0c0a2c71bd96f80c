//! What verifies a signature in Rekor v1: PEM of a public key, or of a certificate with or without its chain
//! (rekor `pkg/pki/x509`).

use super::Verifier;
use crate::crypto::PublicKey;
use crate::x509::{Certificate, CertificateError};

/// A chain may have this many certificates.
pub const MAX_VERIFIER_CHAIN: usize = 10;

/// A key or certificate that was read from PEM. Equal if the DER is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PemVerifier {
    /// `PUBLIC KEY`.
    Key(PublicKey),
    /// `CERTIFICATE`, the signer's first: 1 to [`MAX_VERIFIER_CHAIN`].
    Chain(Vec<Certificate>),
}

impl PemVerifier {
    /// Reads PEM; what stands around the blocks is ignored. No certificate of the chain is held against the next one.
    ///
    /// # Errors
    /// If this is no such PEM, or the key (of a chain, its first one) is of an unsupported kind.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let text = std::str::from_utf8(pem).map_err(|_| CertificateError::Pem)?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Ok(Self::Key(PublicKey::from_pem(text)?));
        }
        let chain = Certificate::chain_from_pem(text)?;
        if chain.len() > MAX_VERIFIER_CHAIN {
            return Err(CertificateError::TooLarge);
        }
        let verifier = Self::Chain(chain);
        verifier.public_key()?;
        Ok(verifier)
    }

    /// The canonical PEM: 64 columns, a newline at the end, chains one after another.
    #[must_use]
    pub fn to_pem(&self) -> String {
        match self {
            Self::Key(key) => key.to_pem(),
            Self::Chain(chain) => chain.iter().map(Certificate::to_pem).collect(),
        }
    }

    /// The signer's key.
    ///
    /// # Errors
    /// If the certificate's key is of an unsupported kind; not after [`PemVerifier::from_pem`].
    pub fn public_key(&self) -> Result<&PublicKey, CertificateError> {
        match self {
            Self::Key(key) => Ok(key),
            Self::Chain(chain) => chain.first().ok_or(CertificateError::Pem)?.public_key(),
        }
    }

    /// The signer's certificate, if it is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Key(_) => None,
            Self::Chain(chain) => chain.first(),
        }
    }

    /// The certificates; none for a bare key.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        match self {
            Self::Key(_) => &[],
            Self::Chain(chain) => chain,
        }
    }

    /// The signer alone, as Rekor v2 writes it.
    #[must_use]
    pub fn signer(&self) -> Verifier {
        match (self, self.certificate()) {
            (Self::Key(key), _) => Verifier::PublicKey(key.spki_der().to_vec()),
            (_, certificate) => Verifier::Certificate(certificate.map_or_else(Vec::new, |leaf| leaf.der().to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_VERIFIER_CHAIN, PemVerifier};
    use crate::code::Code;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPZmcO7irmYRcpyu92s9c0pkG8m3j\nmsUIDh/vBN4h6dBU6tzyC0jUzFqLPhqz1Q4o77kYhGZinhxhX06zw6FVEQ==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn pem_is_written_in_one_form_whatever_its_lines_were() {
        for text in [KEY.to_owned(), KEY.trim().to_owned(), format!("\n\n{KEY}\n "), KEY.replace('\n', "\r\n")] {
            assert_eq!(PemVerifier::from_pem(text.as_bytes()).unwrap().to_pem(), KEY, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_key_or_certificate_is_refused() {
        for (pem, code) in [
            (&b""[..], Code::KEY_UNSUPPORTED),
            (b"\xff", Code::CERTIFICATE_MALFORMED),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Code::CERTIFICATE_MALFORMED),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", Code::KEY_UNSUPPORTED),
            (
                b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n",
                Code::KEY_UNSUPPORTED,
            ),
        ] {
            assert_eq!(PemVerifier::from_pem(pem).unwrap_err().code(), code, "{}", String::from_utf8_lossy(pem));
        }
    }

    #[test]
    fn a_long_chain_is_refused() {
        let Some(vectors) = waxseal_testkit::vectors() else { return };
        let mut exchanges = vectors.wire("cosign-2.6.1").into_iter();
        let request = exchanges.find(|exchange| exchange.path == "/api/v1/log/entries").unwrap();
        let content = request.request_json()["spec"]["signature"]["publicKey"]["content"].as_str().unwrap().to_owned();
        let pem = crate::json::decode_base64(&content).unwrap();
        assert_eq!(PemVerifier::from_pem(&pem).unwrap().to_pem().as_bytes(), pem);
        assert_eq!(PemVerifier::from_pem(&pem.repeat(MAX_VERIFIER_CHAIN)).unwrap().chain().len(), MAX_VERIFIER_CHAIN);
        let long = PemVerifier::from_pem(&pem.repeat(MAX_VERIFIER_CHAIN + 1)).unwrap_err();
        assert_eq!(long.code(), Code::INPUT_TOO_LARGE);
    }
}
