//! The certificate authority over HTTP (Fulcio's API version 2): `/api/v2/signingCert`, `/api/v2/trustBundle`,
//! `/api/v2/configuration`.
//!
//! The walk of a request: decode and bound → token → rules → proof of possession → precertificate → linter → signature →
//! certificate log → final certificate → correspondence → signature → answer. What fails before the certificate log leaves
//! nothing behind. Every fault of a token is a 400, as in Fulcio, with the reason that Fulcio keeps to itself.

use super::gateway::{Refusal, Status, json_answer, method_not_allowed, read_body};
use super::rules::CurrentRules;
use super::writers::Admission;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use tracing::{debug, error, info};
use waxseal_authority::ca::{CaError, CaIssuer, Issuance};
use waxseal_authority::challenge::{ChallengeError, ProvenKey, verify_csr, verify_public_key_proof};
use waxseal_authority::oidc::{Claims, TokenError, UnverifiedToken};
use waxseal_authority::rules::{Denied, Grant, Rules};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyError, PublicKey};
use waxseal_formats::json::{self, JsonError, Node};
use waxseal_formats::sct::SignedCertificateTimestamp;
use waxseal_formats::x509::Certificate;
use waxseal_io::jwks::{Jwks, JwksError};
use waxseal_io::signer::Signer;
use waxseal_io::system;

/// Largest request body, in bytes: a token of 16 KiB, a certificate request of 16 KiB in base64, and room. Requests of
/// real clients stay under 4 KiB; Fulcio itself reads up to 4 MiB.
pub const MAX_BODY_LEN: usize = 64 * 1024;

/// A submission under way.
pub type Submission<'a> =
    Pin<Box<dyn Future<Output = Result<SignedCertificateTimestamp, SubmissionError>> + Send + 'a>>;

/// The certificate log to which precertificates go before their certificates are made.
pub trait CertificateLog: Send + Sync {
    /// The log's key, under which its SCTs have to verify.
    fn public_key(&self) -> &PublicKey;

    /// Logs a precertificate and returns the log's promise once the entry is durable: SHA-256 of the issuer's
    /// SubjectPublicKeyInfo, the TBSCertificate without poison, the DER precertificate, and the chain above it.
    ///
    /// # Errors
    /// [`SubmissionError`] if there is no promise.
    fn submit_precertificate<'a>(
        &'a self,
        issuer_key_hash: [u8; 32],
        tbs: Vec<u8>,
        precertificate: Vec<u8>,
        chain: &'a [Certificate],
    ) -> Submission<'a>;
}

/// Why the certificate log made no promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionError {
    /// The reason.
    pub code: Code,
    /// A sentence about it.
    pub message: String,
}

/// The certificate authority of an instance.
pub struct Fulcio {
    issuer: CaIssuer,
    signer: Arc<dyn Signer>,
    rules: Arc<CurrentRules>,
    jwks: Arc<Jwks>,
    log: Arc<dyn CertificateLog>,
    admission: Arc<Admission>,
}

/// The key is not the one of the issuing certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate authority's key is not the one of its certificate")]
pub struct OtherKey;

impl Fulcio {
    /// An authority that issues with `signer`'s key to whom `rules` admit, logs to `log`, and tells `admission` what it issued.
    ///
    /// # Errors
    /// [`OtherKey`].
    pub fn new(
        issuer: CaIssuer,
        signer: Arc<dyn Signer>,
        rules: Arc<CurrentRules>,
        jwks: Arc<Jwks>,
        log: Arc<dyn CertificateLog>,
        admission: Arc<Admission>,
    ) -> Result<Self, OtherKey> {
        if signer.public_key() != issuer.key() || signer.algorithm() != issuer.algorithm() {
            return Err(OtherKey);
        }
        Ok(Self { issuer, signer, rules, jwks, log, admission })
    }

    async fn issue(&self, request: SigningRequest) -> Result<Certificate, Refusal> {
        let enforced = self.rules.load();
        let claims = self.verify_token(&enforced.rules, &request.token).await?;
        let grant = enforced.rules.decide(&claims)?;
        let key = request.key.prove(&grant)?;
        let issuance = Issuance::new(&self.issuer, &grant, &key, system::now(), system::random())?;
        let signature = self.sign(issuance.message()).await?;
        let precertificate = issuance.finish(&signature)?;
        let submission = self.log.submit_precertificate(
            self.issuer.key().spki_sha256(),
            precertificate.signed_part().to_vec(),
            precertificate.certificate().der().to_vec(),
            self.issuer.chain(),
        );
        let sct = submission.await?;
        let certificate = precertificate.embed(&sct, self.log.public_key())?;
        let signature = self.sign(certificate.message()).await?;
        let certificate = certificate.finish(&signature)?;
        self.admission.issued(&certificate);
        // Neither who it is nor which certificate it became: a sealed instance writes down neither, its own log included.
        info!("certificate issued");
        debug!(rule = grant.rule(), "admitted");
        Ok(certificate)
    }

    async fn verify_token(&self, rules: &Rules, token: &str) -> Result<Claims, Refusal> {
        let token = UnverifiedToken::parse(token)?;
        let Some(accepted) = rules.accepted(token.issuer()) else {
            return Err(TokenError::Issuer { issuer: token.issuer().to_owned() }.into());
        };
        let keys = self.jwks.keys(accepted.issuer().url(), token.key_id()).await?;
        Ok(token.verify(accepted.issuer(), &keys, system::now())?)
    }

    /// Signs where blocking is allowed: the signer may be a device or a service.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (signer, message) = (Arc::clone(&self.signer), message.to_vec());
        let signed = tokio::task::spawn_blocking(move || signer.sign(&message)).await;
        match signed {
            Ok(Ok(signature)) => Ok(signature),
            Ok(Err(error)) => Err(internal(Code::KEY_UNAVAILABLE, &error, "the authority's key cannot be used")),
            Err(error) => Err(internal(Code::KEY_UNAVAILABLE, &error, "the authority's key cannot be used")),
        }
    }

    fn configuration(&self) -> Value {
        let mut issuers = Vec::new();
        for accepted in self.rules.load().rules.issuers() {
            for audience in accepted.issuer().audiences() {
                issuers.push(json!({
                    "issuerUrl": accepted.issuer().url(),
                    "audience": audience,
                    "challengeClaim": accepted.kind().challenge_claim(),
                    "spiffeTrustDomain": "",
                    "issuerType": accepted.kind().name(),
                    "subjectDomain": "",
                    "skipEmailVerification": false,
                }));
            }
        }
        json!({ "issuers": issuers })
    }
}

/// The routes of the authority. Other paths are left to the router that this one is merged into.
pub fn routes(fulcio: Arc<Fulcio>) -> Router {
    Router::new()
        .route("/api/v2/signingCert", post(signing_certificate).fallback(method_not_allowed))
        .route("/api/v2/trustBundle", get(trust_bundle).fallback(method_not_allowed))
        .route("/api/v2/configuration", get(configuration).fallback(method_not_allowed))
        .with_state(fulcio)
}

async fn signing_certificate(State(fulcio): State<Arc<Fulcio>>, request: Request) -> Response {
    let header_token = bearer_token(request.headers()).map(str::to_owned);
    let issued = async {
        let body = read_body(request, MAX_BODY_LEN).await?;
        fulcio.issue(SigningRequest::parse(&body, header_token)?).await
    };
    match issued.await {
        Ok(certificate) => {
            let chain = [&certificate].into_iter().chain(fulcio.issuer.chain());
            let certificates: Vec<String> = chain.map(|one| one.to_pem().trim_end().to_owned()).collect();
            let answer = json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": certificates}}});
            // 200 and nothing else: cosign 3 takes no other success.
            json_answer(StatusCode::OK, answer.to_string())
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn trust_bundle(State(fulcio): State<Arc<Fulcio>>) -> Response {
    let certificates: Vec<String> = fulcio.issuer.chain().iter().map(Certificate::to_pem).collect();
    json_answer(StatusCode::OK, json!({"chains": [{"certificates": certificates}]}).to_string())
}

async fn configuration(State(fulcio): State<Arc<Fulcio>>) -> Response {
    json_answer(StatusCode::OK, fulcio.configuration().to_string())
}

/// The token of `Authorization: Bearer …`. The scheme is taken in this case only, as Fulcio does.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// A decoded request.
struct SigningRequest {
    token: String,
    key: KeyRequest,
}

/// Which key shall be certified, and the proof that its holder asks.
enum KeyRequest {
    /// `publicKeyRequest`: a PEM key and a signature over the identity's name.
    PublicKey { pem: String, proof: Vec<u8> },
    /// `certificateSigningRequest`: a PEM PKCS#10 request.
    Csr(Vec<u8>),
    /// Neither.
    Missing,
}

impl SigningRequest {
    /// Decodes a body; an empty one is the empty message. Unknown fields are ignored, as is the key's `algorithm`, in
    /// which clients write what the enumeration does not have. The body's token wins over the header's.
    fn parse(body: &[u8], header_token: Option<String>) -> Result<Self, Refusal> {
        let document = if body.is_empty() { json!({}) } else { json::parse(body, MAX_BODY_LEN)? };
        let root = Node::root(&document);
        let body_token = match root.field("credentials")? {
            Some(credentials) => credentials.string_field("oidcIdentityToken")?,
            None => "",
        };
        let token = Some(body_token.to_owned()).filter(|token| !token.is_empty()).or(header_token);
        let Some(token) = token else {
            return Err(Refusal::invalid(Code::TOKEN_MALFORMED, "the request has no identity token"));
        };
        let key = match (root.field("publicKeyRequest")?, root.field("certificateSigningRequest")?) {
            (Some(_), Some(_)) => {
                let both = "publicKeyRequest and certificateSigningRequest are both set";
                return Err(Refusal::invalid(Code::INPUT_MALFORMED, both));
            }
            (Some(request), None) => KeyRequest::PublicKey {
                pem: match request.field("publicKey")? {
                    Some(key) => key.string_field("content")?.to_owned(),
                    None => String::new(),
                },
                proof: request.bytes_field("proofOfPossession")?,
            },
            (None, Some(request)) => KeyRequest::Csr(request.bytes()?),
            (None, None) => KeyRequest::Missing,
        };
        Ok(Self { token, key })
    }
}

impl KeyRequest {
    fn prove(self, grant: &Grant) -> Result<ProvenKey, Refusal> {
        match self {
            Self::PublicKey { pem, proof } => Ok(verify_public_key_proof(grant, PublicKey::from_pem(&pem)?, &proof)?),
            Self::Csr(pem) => Ok(verify_csr(grant, &pem)?),
            Self::Missing => {
                Err(Refusal::invalid(Code::KEY_UNSUPPORTED, "the request has no key and no certificate request"))
            }
        }
    }
}

/// This side is at fault: the details go into the log, not into the answer.
fn internal(code: Code, error: &dyn fmt::Display, message: &str) -> Refusal {
    error!(%code, %error, "no certificate was issued");
    Refusal { status: Status::Internal, code: Some(code), message: message.to_owned() }
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        Self::invalid(Code::INPUT_MALFORMED, error)
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::invalid(error.code(), error)
    }
}

/// A 400 as well, if the issuer is down: to a 503 cosign 3 shows no message at all.
impl From<JwksError> for Refusal {
    fn from(error: JwksError) -> Self {
        Self::invalid(error.code(), error)
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::invalid(denied.code(), denied)
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        Self::invalid(error.code(), error)
    }
}

impl From<ChallengeError> for Refusal {
    fn from(error: ChallengeError) -> Self {
        Self::invalid(error.code(), error)
    }
}

impl From<CaError> for Refusal {
    fn from(error: CaError) -> Self {
        match error {
            CaError::Identity(_) => Self::invalid(error.code(), error),
            _ => internal(error.code(), &error, "the certificate authority failed"),
        }
    }
}

impl From<SubmissionError> for Refusal {
    fn from(error: SubmissionError) -> Self {
        let told = if error.code == Code::LOG_FROZEN {
            "the certificate log has been frozen, so no certificates are issued any more"
        } else {
            "the certificate could not be entered into the certificate log"
        };
        internal(error.code, &error.message, told)
    }
}

#[cfg(test)]
mod tests;
