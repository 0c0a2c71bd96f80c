//! Signing: token → ephemeral key → certificate → signature → timestamp → log entry → bundle. The bundle is verified as
//! an outsider would before anybody sees it: a signature that does not verify is not a result.

mod fulcio;
pub(super) mod rekor;
mod service;
mod timestamp;

pub use service::{Services, SigningAlgorithm};

use super::verify::{self, VerifyError};
use std::path::PathBuf;
use url::Url;
use waxseal_formats::bundle::{Bundle, Content, LogEntry, MediaType, VerificationMaterial};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{Digest, HashAlgorithm, KeyDetails, KeyKind, PublicKey, Secret};
use waxseal_formats::entry::Verifier;
use waxseal_formats::entry::request::HashedRekordRequest;
use waxseal_formats::envelope::{Envelope, EnvelopeSignature, IN_TOTO, pae};
use waxseal_formats::json::encode_base64;
use waxseal_formats::jwt::JwtError;
use waxseal_formats::pattern::Pattern;
use waxseal_formats::signing_config::SigningConfigError;
use waxseal_formats::statement::{Statement, StatementError};
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_formats::x509::Certificate;
use waxseal_io::signer::{KeyPair, Signer, SignerError};
use waxseal_io::system;
use waxseal_io::transport::{Transport, TransportError};
use waxseal_verify::bundle::{Evidence, Policy, Rejection};
use waxseal_verify::identity::IdentityPolicy;
use waxseal_verify::signature::Artifact;

/// Everything that a signature needs besides signer and artifact.
#[derive(Clone, Copy)]
pub struct Ceremony<'a> {
    /// How services are reached.
    pub transport: &'a dyn Transport,
    /// Which services take part.
    pub services: &'a Services,
    /// What outsiders trust: our own output is verified against it.
    pub root: &'a TrustedRoot,
}

/// Who signs.
#[derive(Clone, Copy)]
pub enum SignWith<'a> {
    /// The holder of an identity token, with a key that lives as long as this signature takes.
    Identity {
        /// The token.
        token: &'a Secret<String>,
        /// What kind of key to make.
        algorithm: SigningAlgorithm,
    },
    /// The holder of a key that verifiers have to know.
    Key(&'a dyn Signer),
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToSign {
    /// A file, of any size.
    Blob(PathBuf),
    /// An in-toto statement, signed byte for byte in a DSSE envelope.
    Statement(Vec<u8>),
    /// Bytes, signed as they are.
    Message(Vec<u8>),
}

/// A signature that verifies.
#[derive(Debug)]
pub struct Signed {
    /// The bundle, v0.3.
    pub bundle: Bundle,
    /// What verifying it proved.
    pub evidence: Evidence,
    /// The certificates above the signer's, as the authority gave them; none for a key.
    pub chain: Vec<Certificate>,
}

/// Why nothing was signed, or what was signed is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The signing config offers no usable service.
    #[error(transparent)]
    Services(#[from] SigningConfigError),
    /// A service's address is no URL.
    #[error("{url:?} is not the address of a service: {problem}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no certificate authority to get a certificate from.
    #[error("no certificate authority is configured")]
    NoCertificateAuthority,
    /// There is no Rekor v1 log, and the signature needs one.
    #[error("no Rekor v1 log is configured, whose signed timestamps the form of cosign 2 needs")]
    NoRekorV1,
    /// The identity token cannot be read.
    #[error(transparent)]
    Jwt(#[from] JwtError),
    /// The identity token lacks what identifies its bearer.
    #[error("the identity token has neither an email nor a sub claim")]
    TokenClaim,
    /// The identity token has expired.
    #[error("the identity token expired at {at}")]
    TokenExpired {
        /// When.
        at: jiff::Timestamp,
    },
    /// The log takes no signatures of this kind of key.
    #[error("signatures by {0} keys cannot be logged: choose ECDSA, or RSA of 2048, 3072 or 4096 bits")]
    KeyUnsupported(String),
    /// The key cannot be made or used.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The artifact cannot be read.
    #[error(transparent)]
    Input(#[from] VerifyError),
    /// The statement is none, or is about nothing that can be verified.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A service cannot be reached.
    #[error("{service}: {source}")]
    Transport {
        /// Which one.
        service: &'static str,
        /// Why.
        source: TransportError,
    },
    /// A service refuses.
    #[error("{service} at {url} answers {status}: {message}")]
    Refused {
        /// Which one.
        service: &'static str,
        /// Where it is.
        url: String,
        /// Its status.
        status: u16,
        /// Its reason.
        message: String,
        /// The reason code, the service's own if it gives one.
        code: Code,
    },
    /// A service answers something else than it should.
    #[error("{service} at {url} answers something unusable: {problem}")]
    Answer {
        /// Which one.
        service: &'static str,
        /// Where it is.
        url: String,
        /// What is wrong with the answer.
        problem: String,
        /// The reason code.
        code: Code,
    },
    /// Our own signature does not verify against the trusted root, so it is thrown away.
    #[error("the new signature does not verify: {0}")]
    OwnOutput(Rejection),
}

impl SignError {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Services(error) => error.code(),
            Self::Url { .. } | Self::NoCertificateAuthority | Self::NoRekorV1 => Code::INPUT_MALFORMED,
            Self::Jwt(error) => error.code(),
            Self::TokenClaim => Code::TOKEN_CLAIM,
            Self::TokenExpired { .. } => Code::TOKEN_EXPIRED,
            Self::KeyUnsupported(_) => Code::KEY_UNSUPPORTED,
            Self::Signer(SignerError::Sign) => Code::INPUT_UNREADABLE,
            Self::Signer(error) => error.code(),
            Self::Input(error) => error.code(),
            Self::Statement(error) => error.code(),
            Self::Transport { source, .. } => source.code(),
            Self::Refused { code, .. } | Self::Answer { code, .. } => *code,
            Self::OwnOutput(rejection) => rejection.code(),
        }
    }
}

/// Which log a signature goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogChoice {
    /// The one that the services name: Rekor v2, or v1 where there is no other.
    Configured,
    /// Rekor v1, whose signed entry timestamp readers of cosign 2's form ask for.
    RekorV1,
}

impl Ceremony<'_> {
    /// Signs, timestamps and logs; nothing is sent about the artifact but its digest.
    ///
    /// # Errors
    /// [`SignError`].
    pub async fn sign(&self, with: SignWith<'_>, what: &ToSign) -> Result<Signed, SignError> {
        let signed = self.sign_all(with, &[(what.clone(), LogChoice::Configured)]).await?;
        signed.into_iter().next().ok_or(SignError::Signer(SignerError::Sign))
    }

    /// Signs several things, all with one key and certificate. The results are in the same order.
    ///
    /// # Errors
    /// [`SignError`], and then nothing of it is of use, though some may have been logged.
    pub async fn sign_all(&self, with: SignWith<'_>, what: &[(ToSign, LogChoice)]) -> Result<Vec<Signed>, SignError> {
        // What can fail here fails before anybody is asked for anything.
        let kind = match with {
            SignWith::Identity { algorithm, .. } => algorithm.key_kind(),
            SignWith::Key(signer) => signer.public_key().kind(),
        };
        let (key_details, hash) = loggable(kind)?;
        let mut payloads = Vec::with_capacity(what.len());
        for (what, log) in what {
            payloads.push((Payload::read(what, hash)?, self.logs(*log)?));
        }
        let ephemeral;
        let (signer, material): (&dyn Signer, Material) = match with {
            SignWith::Identity { token, .. } => {
                ephemeral = KeyPair::generate(kind)?;
                let authority = self.services.fulcio.as_ref().ok_or(SignError::NoCertificateAuthority)?;
                let (leaf, above) = fulcio::certificate(self.transport, authority, token, &ephemeral).await?;
                (&ephemeral, Material::Certificate { leaf, above })
            }
            SignWith::Key(signer) => (signer, Material::Key(signer.public_key().clone())),
        };
        let mut signed = Vec::with_capacity(payloads.len());
        for (payload, logs) in payloads {
            // A key that is kept elsewhere makes others wait.
            let sign = || payload.sign(signer);
            let signature = if signer.is_quick() { sign() } else { tokio::task::block_in_place(sign) }?;
            let mut timestamps = Vec::with_capacity(self.services.timestamp_authorities.len());
            for authority in &self.services.timestamp_authorities {
                timestamps.push(timestamp::timestamp(self.transport, authority, &signature).await?);
            }
            let digest = payload.logged_digest(hash);
            let artifact = payload.artifact();
            let content = payload.content(signature.clone());
            let entries = match logs {
                Logs::V1(logs) => self.log_v1(logs, &content, &digest, &material).await?,
                Logs::V2(logs) => {
                    let verifier = material.verifier();
                    self.log_v2(logs, &HashedRekordRequest { digest, signature, key_details, verifier }).await?
                }
            };
            let bundle = bundle(&material, content, entries, timestamps);
            let policy = material.own_policy().map_err(SignError::OwnOutput)?;
            let evidence = waxseal_verify::bundle::verify(&bundle, &artifact, self.root, &policy, system::now())
                .map_err(SignError::OwnOutput)?;
            signed.push(Signed { bundle, evidence, chain: material.above() });
        }
        Ok(signed)
    }

    fn logs(&self, choice: LogChoice) -> Result<Logs<'_>, SignError> {
        match choice {
            LogChoice::Configured if !self.services.logs.is_empty() => Ok(Logs::V2(&self.services.logs)),
            LogChoice::RekorV1 if self.services.rekor_v1.is_empty() => Err(SignError::NoRekorV1),
            LogChoice::Configured | LogChoice::RekorV1 => Ok(Logs::V1(&self.services.rekor_v1)),
        }
    }

    async fn log_v2(&self, logs: &[Url], request: &HashedRekordRequest) -> Result<Vec<LogEntry>, SignError> {
        let mut entries = Vec::with_capacity(logs.len());
        for log in logs {
            entries.push(rekor::log(self.transport, log, request).await?);
        }
        Ok(entries)
    }

    async fn log_v1(
        &self,
        logs: &[Url],
        content: &Content,
        digest: &Digest,
        material: &Material,
    ) -> Result<Vec<LogEntry>, SignError> {
        let pem = material.pem();
        let mut entries = Vec::with_capacity(logs.len());
        for log in logs {
            entries.push(rekor::log_v1(self.transport, log, content, digest, &pem).await?);
        }
        Ok(entries)
    }
}

/// Logs of one kind.
enum Logs<'a> {
    V1(&'a [Url]),
    V2(&'a [Url]),
}

fn bundle(material: &Material, content: Content, entries: Vec<LogEntry>, timestamps: Vec<Vec<u8>>) -> Bundle {
    let material = match material {
        Material::Certificate { leaf, .. } => {
            VerificationMaterial::Certificate { leaf: leaf.der().to_vec(), chain: Vec::new() }
        }
        Material::Key(key) => VerificationMaterial::PublicKey { hint: encode_base64(&key.spki_sha256()) },
    };
    Bundle { media_type: MediaType::V0_3, material, content, entries, timestamps }
}

/// What Rekor calls keys of this kind and the hash that goes with them, if it takes their signatures at all: it never
/// sees the artifact, so that the hash has to come before the signature.
fn loggable(kind: KeyKind) -> Result<(KeyDetails, HashAlgorithm), SignError> {
    let details = match kind {
        KeyKind::EcdsaP256 => Some(KeyDetails::PkixEcdsaP256Sha256),
        KeyKind::EcdsaP384 => Some(KeyDetails::PkixEcdsaP384Sha384),
        KeyKind::EcdsaP521 => Some(KeyDetails::PkixEcdsaP521Sha512),
        KeyKind::Rsa { bits: 2048 } => Some(KeyDetails::PkixRsaPkcs1v15_2048Sha256),
        KeyKind::Rsa { bits: 3072 } => Some(KeyDetails::PkixRsaPkcs1v15_3072Sha256),
        KeyKind::Rsa { bits: 4096 } => Some(KeyDetails::PkixRsaPkcs1v15_4096Sha256),
        KeyKind::Rsa { .. } | KeyKind::Ed25519 => None,
    };
    let unsupported = || SignError::KeyUnsupported(kind.to_string());
    let details = details.ok_or_else(unsupported)?;
    Ok((details, details.hash().ok_or_else(unsupported)?))
}

/// What verifiers check the signature with.
enum Material {
    Certificate { leaf: Certificate, above: Vec<Certificate> },
    Key(PublicKey),
}

impl Material {
    fn verifier(&self) -> Verifier {
        match self {
            Self::Certificate { leaf, .. } => Verifier::Certificate(leaf.der().to_vec()),
            Self::Key(key) => Verifier::PublicKey(key.spki_der().to_vec()),
        }
    }

    fn pem(&self) -> String {
        match self {
            Self::Certificate { leaf, .. } => leaf.to_pem(),
            Self::Key(key) => key.to_pem(),
        }
    }

    fn above(&self) -> Vec<Certificate> {
        match self {
            Self::Certificate { above, .. } => above.clone(),
            Self::Key(_) => Vec::new(),
        }
    }

    /// Whoever the certificate says signed: that it is who was meant to sign was the authority's decision.
    fn own_policy(&self) -> Result<Policy, Rejection> {
        match self {
            Self::Certificate { leaf, .. } => {
                let subject = leaf.subject_alt_name().map_err(Rejection::Certificate)?;
                let issuer = leaf.extensions().issuer().unwrap_or_default();
                Ok(Policy::Identities(vec![IdentityPolicy {
                    subject: Pattern::exact(subject.as_str()),
                    issuer: Pattern::exact(issuer),
                    extensions: Vec::new(),
                }]))
            }
            Self::Key(key) => Ok(Policy::Key(key.clone())),
        }
    }
}

/// What is signed, with its digest.
enum Payload<'a> {
    Blob(Digest),
    Message { message: &'a [u8], digest: Digest },
    Statement { payload: &'a [u8], subjects: Vec<Digest> },
}

impl<'a> Payload<'a> {
    fn read(what: &'a ToSign, hash: HashAlgorithm) -> Result<Self, SignError> {
        match what {
            ToSign::Blob(path) => {
                let digest = verify::hash_file(path, &[hash])?.into_iter().next();
                digest.map(Self::Blob).ok_or(SignError::Signer(SignerError::Sign))
            }
            ToSign::Message(message) => Ok(Self::Message { message, digest: hash.digest(message) }),
            ToSign::Statement(payload) => {
                let statement = Statement::from_json(payload)?;
                let subjects: Vec<_> =
                    statement.subjects.into_iter().find(|s| !s.digests.is_empty()).map_or_else(Vec::new, |s| s.digests);
                if subjects.is_empty() {
                    let problem = "none has a digest by SHA-256, SHA-384 or SHA-512".to_owned();
                    return Err(StatementError::Subjects(problem).into());
                }
                Ok(Self::Statement { payload, subjects })
            }
        }
    }

    fn sign(&self, signer: &dyn Signer) -> Result<Vec<u8>, SignerError> {
        match self {
            Self::Blob(digest) => signer.sign_digest(digest),
            Self::Message { message, .. } => signer.sign(message),
            Self::Statement { payload, .. } => signer.sign(&pae(IN_TOTO, payload)),
        }
    }

    fn logged_digest(&self, hash: HashAlgorithm) -> Digest {
        match self {
            Self::Blob(digest) | Self::Message { digest, .. } => digest.clone(),
            Self::Statement { payload, .. } => hash.digest(&pae(IN_TOTO, payload)),
        }
    }

    fn artifact(&self) -> Artifact {
        match self {
            Self::Blob(digest) => Artifact::from_digests(vec![digest.clone()]),
            Self::Message { message, .. } => Artifact::from_bytes(message),
            Self::Statement { subjects, .. } => Artifact::from_digests(subjects.clone()),
        }
    }

    fn content(self, signature: Vec<u8>) -> Content {
        match self {
            Self::Blob(digest) | Self::Message { digest, .. } => {
                Content::MessageSignature { digest: Some(digest), signature }
            }
            Self::Statement { payload, .. } => Content::Envelope(Envelope {
                payload_type: IN_TOTO.to_owned(),
                payload: payload.to_vec(),
                signatures: vec![EnvelopeSignature { sig: signature, keyid: String::new() }],
            }),
        }
    }
}

#[cfg(test)]
mod tests;
