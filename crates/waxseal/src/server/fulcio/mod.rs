//! The certificate authority over HTTP, as Fulcio's API version 2: `/api/v2/signingCert`, `/api/v2/trustBundle`,
//! `/api/v2/configuration`; and version 1 beside it.
//!
//! The walk of a request: decode and bound → token → rules → proof of possession → precertificate → linter → signature →
//! certificate log → final certificate → correspondence → signature → answer. What fails before the certificate log leaves
//! nothing behind. Every fault of a token is a 400, as in Fulcio, with the reason that Fulcio keeps to itself.

mod limits;
mod request;
mod tokens;
mod v1;

pub use request::MAX_BODY_LEN;

use super::audit::{Asked, Audit};
use super::gateway::{Refusal, Status, json_answer, method_not_allowed, read_body};
use super::rules::{CurrentRules, Enforced};
use super::signing;
use super::telemetry::Metrics;
use super::writers::Admission;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use limits::{Exceeded, Limits};
use request::SigningRequest;
use serde_json::{Value, json};
use std::fmt;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use tokens::{Spent, SpentError, TokenHash, Verified, spent_name};
use tracing::{debug, error, info};
use waxseal_authority::audit::{Event, Shown};
use waxseal_authority::ca::{CaError, CaIssuer, Issuance};
use waxseal_authority::challenge::ChallengeError;
use waxseal_authority::oidc::{Claims, TokenError, UnverifiedToken};
use waxseal_authority::rules::{Denied, Difference, Grant, compare};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{KeyError, PublicKey};
use waxseal_formats::json::JsonError;
use waxseal_formats::sct::SignedCertificateTimestamp;
use waxseal_formats::x509::Certificate;
use waxseal_io::jwks::{Jwks, JwksError};
use waxseal_io::signer::Signer;
use waxseal_io::system;

/// What its decisions are counted as.
const SERVICE: &str = "fulcio";
/// What is counted of the candidate rules: where they would decide otherwise.
const CANDIDATE: &str = "candidate";

/// A submission under way.
pub type Submission<'a> =
    Pin<Box<dyn Future<Output = Result<SignedCertificateTimestamp, SubmissionError>> + Send + 'a>>;

/// The certificate log to which precertificates go before their certificates are made.
pub trait CertificateLog: Send + Sync {
    /// The log's key, under which its SCTs have to verify.
    fn public_key(&self) -> &PublicKey;

    /// Logs a precertificate and returns the log's promise once the entry is durable: SHA-256 of the issuer's
    /// SubjectPublicKeyInfo, the TBSCertificate without poison, the DER precertificate, the chain above it, and the row of the
    /// audit log that becomes durable with it.
    ///
    /// # Errors
    /// [`SubmissionError`] if there is no promise.
    fn submit_precertificate<'a>(
        &'a self,
        issuer_key_hash: [u8; 32],
        tbs: Vec<u8>,
        precertificate: Vec<u8>,
        chain: &'a [Certificate],
        audit: Vec<u8>,
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
    /// Its certificates as they stand in answers, PEM without the last newline.
    issuer_pem: Vec<String>,
    signer: Arc<dyn Signer>,
    rules: Arc<CurrentRules>,
    jwks: Arc<Jwks>,
    log: Arc<dyn CertificateLog>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
    verified: Verified,
    spent: Spent,
    limits: Limits,
}

/// What an authority works with.
pub struct Parts {
    /// Its certificates.
    pub issuer: CaIssuer,
    /// Its key.
    pub signer: Arc<dyn Signer>,
    /// Whom it gives certificates.
    pub rules: Arc<CurrentRules>,
    /// The keys of those who vouch for them.
    pub jwks: Arc<Jwks>,
    /// Where certificates are logged.
    pub log: Arc<dyn CertificateLog>,
    /// What is told of them.
    pub admission: Arc<Admission>,
    /// Where decisions are counted.
    pub metrics: Arc<Metrics>,
    /// Where they are written down.
    pub audit: Arc<Audit>,
    /// Certificates of one identity in a minute.
    pub per_identity: Option<NonZeroU32>,
}

/// The key is not the one of the issuing certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate authority's key is not the one of its certificate")]
pub struct OtherKey;

impl Fulcio {
    /// The authority of these parts.
    ///
    /// # Errors
    /// [`OtherKey`].
    pub fn new(parts: Parts) -> Result<Self, OtherKey> {
        let Parts { issuer, signer, rules, jwks, log, admission, metrics, audit, per_identity } = parts;
        if signer.public_key() != issuer.key() || signer.algorithm() != issuer.algorithm() {
            return Err(OtherKey);
        }
        let (verified, spent, limits) = (Verified::default(), Spent::default(), Limits::new(per_identity));
        let issuer_pem = issuer.chain().iter().map(pem).collect();
        Ok(Self { issuer, issuer_pem, signer, rules, jwks, log, admission, metrics, audit, verified, spent, limits })
    }

    /// Decides about a request, counts the decision, and writes down a refusal.
    async fn decide_and_issue(
        &self,
        request: Result<SigningRequest, Refusal>,
        asked: &Asked,
    ) -> Result<Certificate, Refusal> {
        let token = request.as_ref().map(|request| tokens::hash(&request.token)).ok();
        let issued = match request {
            Ok(request) => self.issue(request, asked).await,
            Err(refusal) => Err(refusal.into()),
        };
        match issued {
            Ok(certificate) => {
                self.metrics.decided(SERVICE, None);
                Ok(certificate)
            }
            Err(NotIssued { refusal, issuer, denied }) => {
                let code = refusal.code.unwrap_or(Code::INPUT_MALFORMED);
                self.metrics.decided(SERVICE, Some(code));
                // What is no request for a certificate is nobody's refusal.
                if let Some(token) = token {
                    let shown = Shown { token, issuer: issuer.as_deref() };
                    self.audit.denied(&Event::Denied { code, shown, denied: denied.as_ref() }, asked);
                }
                Err(refusal)
            }
        }
    }

    async fn issue(&self, request: SigningRequest, asked: &Asked) -> Result<Certificate, NotIssued> {
        // One set of rules from the token to the decision.
        let enforced = self.rules.load();
        let token = tokens::hash(&request.token);
        let claims = self.verify_token(&enforced, &request.token, token).await?;
        let spent_name = spent_name(claims.issuer(), claims.text("jti").ok().as_deref(), &request.token);
        let decided = enforced.rules.decide(&claims);
        self.try_candidate(&enforced, &claims, &decided, token);
        let grant = decided.map_err(|denied| NotIssued {
            refusal: denied.clone().into(),
            issuer: Some(claims.issuer().to_owned()),
            denied: Some(denied),
        })?;
        let key = request.key.prove(&grant)?;
        let (now, serial) = (system::now(), system::random());
        // From here on there will be a certificate, unless this side fails.
        let accepted = enforced.rules.accepted(claims.issuer());
        let of_issuer = accepted.as_ref().and_then(|accepted| accepted.limits().certificates_per_minute);
        let identity = (claims.issuer(), grant.subject_alt_name().as_str());
        let once = accepted.is_some_and(|accepted| accepted.single_use()).then_some(spent_name);
        // Asked before it is counted, since whoever got hold of a spent token must not use up its owner's limit; spent after, since
        // one that comes too early is still good.
        once.map_or(Ok(()), |name| self.spent.check(name))?;
        self.limits.count(identity, of_issuer, (grant.rule(), grant.certificates_per_minute()))?;
        once.map_or(Ok(()), |name| self.spent.spend(name, &claims, now))?;
        let issuance = Issuance::new(&self.issuer, &grant, &key, now, serial)?;
        let signature = self.sign(issuance.message()).await?;
        let precertificate = issuance.finish(&signature)?;
        let event = Event::Issued { grant: &grant, token, serial: precertificate.certificate().serial() };
        let submission = self.log.submit_precertificate(
            self.issuer.key().spki_sha256(),
            precertificate.signed_part().to_vec(),
            precertificate.certificate().der().to_vec(),
            self.issuer.chain(),
            self.audit.row(&event, asked),
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

    async fn verify_token(&self, enforced: &Enforced, text: &str, hash: TokenHash) -> Result<Arc<Claims>, Refusal> {
        if let Some(claims) = self.verified.find(enforced.generation(), hash, system::now()) {
            return Ok(claims);
        }
        let token = UnverifiedToken::parse(text)?;
        let Some(accepted) = enforced.rules.accepted(token.issuer()) else {
            return Err(TokenError::Issuer { issuer: token.issuer().to_owned() }.into());
        };
        let keys = self.jwks.keys(accepted.issuer().url(), token.key_id()).await?;
        let claims = Arc::new(token.verify(accepted.issuer(), &keys, system::now())?);
        self.verified.insert(enforced.generation(), hash, Arc::clone(&claims), text.len());
        Ok(claims)
    }

    /// What the candidate rules would have decided otherwise; they decide nothing.
    fn try_candidate(&self, enforced: &Enforced, claims: &Claims, decided: &Result<Grant, Denied>, token: TokenHash) {
        let Some(candidate) = &enforced.candidate else { return };
        let Some(difference) = compare(decided, candidate, claims) else { return };
        // As many as refusals, since strangers can cause them.
        let event = Event::Candidate { difference: &difference, token };
        self.audit.denied(&event, &Asked::default());
        let code = match &difference {
            Difference::Admits { rule } => {
                info!(rule, "the candidate rules would admit what was denied");
                None
            }
            Difference::Denies { rule, code } => {
                info!(rule, %code, "the candidate rules would deny what was admitted");
                Some(*code)
            }
            Difference::Otherwise { enforced, candidate } => {
                info!(rule = enforced, candidate, "the candidate rules would admit otherwise");
                None
            }
        };
        self.metrics.decided(CANDIDATE, code);
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let signed = signing::sign(&self.signer, message.to_vec()).await;
        signed.map_err(|error| internal(Code::KEY_UNAVAILABLE, &error, "the authority's key cannot be used"))
    }

    fn configuration(&self) -> Value {
        json!({ "issuers": self.rules.load().rules.configuration() })
    }
}

/// The routes of the authority. Other paths are left to the router that this one is merged into.
pub fn routes(fulcio: Arc<Fulcio>) -> Router {
    Router::new()
        .route("/api/v2/signingCert", post(signing_certificate).fallback(method_not_allowed))
        .route("/api/v2/trustBundle", get(trust_bundle).fallback(method_not_allowed))
        .route("/api/v2/configuration", get(configuration).fallback(method_not_allowed))
        .merge(v1::routes())
        .with_state(fulcio)
}

async fn signing_certificate(State(fulcio): State<Arc<Fulcio>>, request: Request) -> Response {
    let (asked, header_token) = (Asked::by(&request), bearer_token(request.headers()).map(str::to_owned));
    let request = read_body(request, MAX_BODY_LEN).await.and_then(|body| SigningRequest::parse(&body, header_token));
    match fulcio.decide_and_issue(request, &asked).await {
        Ok(certificate) => {
            let leaf = pem(&certificate);
            let certificates: Vec<&String> = [&leaf].into_iter().chain(&fulcio.issuer_pem).collect();
            let answer = json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": certificates}}});
            // 200 and nothing else: cosign 3 takes no other success.
            json_answer(StatusCode::OK, answer.to_string())
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// PEM without the last newline.
fn pem(certificate: &Certificate) -> String {
    certificate.to_pem().trim_end().to_owned()
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

/// Why there is no certificate, for the one who asked and for the audit log.
struct NotIssued {
    refusal: Refusal,
    /// The issuer of a token that was verified.
    issuer: Option<String>,
    /// What the rules said.
    denied: Option<Denied>,
}

impl<E: Into<Refusal>> From<E> for NotIssued {
    fn from(error: E) -> Self {
        Self { refusal: error.into(), issuer: None, denied: None }
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

impl From<SpentError> for Refusal {
    fn from(error: SpentError) -> Self {
        match error {
            SpentError::Used => Self::invalid(error.code(), error),
            SpentError::Full => {
                Self { status: Status::Unavailable, code: Some(error.code()), message: error.to_string() }
            }
        }
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        let status = Status::Exhausted { retry_after: exceeded.retry_after() };
        Self { status, code: Some(Code::RULE_LIMIT), message: exceeded.to_string() }
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
