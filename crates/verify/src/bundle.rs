//! The verification of one bundle, from its bytes to [`Evidence`].
//!
//! The steps follow the Sigstore client specification; their order decides which reason is given when several are true:
//! signature and artifact first, then the log entries, the times, the path, the certificate's log and last the identity.

use crate::chain::{self, ChainError, Usage};
use crate::identity::{self, IdentityError, IdentityPolicy};
use crate::inclusion::{self, InclusionError, LogEvidence, SigningKey};
use crate::sct::{self, SctError, SctEvidence};
use crate::signature::{self, Artifact, ContentEvidence, SignatureError, Signed, SignedContent};
use crate::timestamp::{self, TimestampError, TimestampEvidence};
use jiff::Timestamp;
use serde::Serialize;
use waxseal_formats::bundle::{Bundle, BundleError, Content, VerificationMaterial};
use waxseal_formats::code::Code;
use waxseal_formats::crypto::PublicKey;
use waxseal_formats::extension::{FulcioExtensions, SubjectAltName};
use waxseal_formats::json::decode_base64;
use waxseal_formats::trusted_root::TrustedRoot;
use waxseal_formats::x509::{Certificate, CertificateError};

/// Who has to have signed.
#[derive(Clone, Debug)]
pub enum Policy {
    /// The holder of a certificate with one of these identities.
    Identities(Vec<IdentityPolicy>),
    /// The holder of this key.
    Key(PublicKey),
}

/// Whether something has to be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Proof {
    /// As the trusted root demands it.
    #[default]
    Demanded,
    /// Not at all, because somebody said so.
    Ignored,
}

/// What has to be proven besides the signature and who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Requirements {
    /// That the signature was logged. A trusted root without transparency logs demands no entry: such an instance proves the time of
    /// signing with timestamps alone, as GitHub's does for private repositories.
    pub log: Proof,
    /// That the certificate was logged.
    pub sct: Proof,
}

/// Why a bundle is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Step 0: the bundle itself.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The certificate is malformed or not one that Fulcio issues.
    #[error("the signing certificate is not usable: {0}")]
    Certificate(CertificateError),
    /// The bundle was signed with a bare key, and identities were asked for.
    #[error("the bundle is signed with a key (hint {hint:?}): give that key to verify it")]
    KeyMissing {
        /// The bundle's key hint.
        hint: String,
    },
    /// The bundle names another key than the given one, or a certificate.
    #[error("the bundle was made with {found}, not with the given key")]
    KeyMismatch {
        /// What the bundle names.
        found: String,
    },
    /// Step 5.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Step 1.
    #[error(transparent)]
    Inclusion(#[from] InclusionError),
    /// Step 2: a timestamp.
    #[error(transparent)]
    Timestamp(#[from] TimestampError),
    /// Step 2: no trusted time at all.
    #[error(
        "nothing in the bundle proves when the signature was made: neither a timestamp nor a signed entry timestamp"
    )]
    TimeMissing,
    /// Step 3.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Step 4.
    #[error(transparent)]
    Sct(#[from] SctError),
    /// Step 6.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Rejection {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Bundle(error) => error.code(),
            Self::Certificate(error) => error.code(),
            Self::KeyMissing { .. } => Code::SIGNATURE_KEY_MISSING,
            Self::KeyMismatch { .. } => Code::SIGNATURE_KEY_MISMATCH,
            Self::Signature(error) => error.code(),
            Self::Inclusion(error) => error.code(),
            Self::Timestamp(error) => error.code(),
            Self::TimeMissing => Code::TIME_MISSING,
            Self::Chain(error) => error.code(),
            Self::Sct(error) => error.code(),
            Self::Identity(error) => error.code(),
        }
    }
}

/// What was cryptographically proven about an artifact. Only [`verify`] makes one.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    signer: SignerEvidence,
    content: ContentEvidence,
    log: Vec<LogEvidence>,
    times: Vec<TimestampEvidence>,
}

/// Who signed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignerEvidence {
    /// The holder of a certificate.
    Certificate {
        /// The certificate's one subject alternative name.
        subject: SubjectAltName,
        /// The Fulcio extensions.
        extensions: FulcioExtensions,
        /// The CT logs that promised to include the certificate.
        scts: Vec<SctEvidence>,
    },
    /// The holder of the given key: SHA-256 of its SubjectPublicKeyInfo in hexadecimal.
    Key {
        /// The hash.
        spki_sha256: String,
    },
}

impl Evidence {
    /// Who signed.
    #[must_use]
    pub const fn signer(&self) -> &SignerEvidence {
        &self.signer
    }

    /// What was signed.
    #[must_use]
    pub const fn content(&self) -> &ContentEvidence {
        &self.content
    }

    /// The log entries that include the signature.
    #[must_use]
    pub fn log(&self) -> &[LogEvidence] {
        &self.log
    }

    /// The verified RFC 3161 timestamps.
    #[must_use]
    pub fn times(&self) -> &[TimestampEvidence] {
        &self.times
    }

    /// Every proven time of signing: timestamps, then integrated times.
    pub fn proven_times(&self) -> impl Iterator<Item = Timestamp> {
        let integrated = self.log.iter().filter_map(|entry| entry.integrated_time);
        self.times.iter().map(|timestamp| timestamp.time).chain(integrated)
    }
}

/// Verifies `bundle` as a signature over `artifact` by the signer that `policy` demands, with the material of `root`.
///
/// # Errors
/// The first [`Rejection`] in the order of the module's description.
pub fn verify(
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    policy: &Policy,
    now: Timestamp,
) -> Result<Evidence, Rejection> {
    verify_with(bundle, artifact, root, policy, Requirements::default(), now)
}

/// As [`verify`], where not all has to be proven.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    policy: &Policy,
    requirements: Requirements,
    now: Timestamp,
) -> Result<Evidence, Rejection> {
    let case = Case { bundle, artifact, root, requirements, now };
    match (&bundle.material, policy) {
        (VerificationMaterial::Certificate { leaf, chain }, Policy::Identities(identities)) => {
            let leaf = Certificate::from_der(leaf).map_err(Rejection::Certificate)?;
            let chain = chain
                .iter()
                .map(|der| Certificate::from_der(der))
                .collect::<Result<Vec<_>, _>>()
                .map_err(Rejection::Certificate)?;
            by_certificate(&case, &leaf, &chain, identities)
        }
        (VerificationMaterial::PublicKey { hint }, Policy::Key(key)) => by_key(&case, hint, key),
        (VerificationMaterial::PublicKey { hint }, Policy::Identities(_)) => {
            Err(Rejection::KeyMissing { hint: hint.clone() })
        }
        (VerificationMaterial::Certificate { .. }, Policy::Key(_)) => {
            Err(Rejection::KeyMismatch { found: "a certificate".into() })
        }
    }
}

/// What is judged, and with what.
struct Case<'a> {
    bundle: &'a Bundle,
    artifact: &'a Artifact,
    root: &'a TrustedRoot,
    requirements: Requirements,
    now: Timestamp,
}

fn by_certificate(
    case: &Case<'_>,
    leaf: &Certificate,
    chain: &[Certificate],
    identities: &[IdentityPolicy],
) -> Result<Evidence, Rejection> {
    let Case { bundle, artifact, root, requirements, now } = *case;
    let key = leaf.public_key().map_err(Rejection::Certificate)?;
    let content = signature::verify(&bundle.content, key, artifact)?;
    let signed = signed(&bundle.content, artifact)?;
    let times = timestamps(bundle, signed, root, now);
    let log = logged(case, signed, SigningKey::Certificate(leaf)).map_err(|error| {
        // A forged certificate is never the logged one either: that nobody trusted issued it is the reason worth telling.
        let time = times.iter().flatten().next().map(|timestamp| timestamp.time);
        let path =
            time.map(|time| chain::issuer_of(leaf, chain, &root.certificate_authorities, Usage::CodeSigning, time));
        match path {
            Some(Err(untrusted @ ChainError::NoPath { .. })) => Rejection::Chain(untrusted),
            _ => Rejection::Inclusion(error),
        }
    })?;
    let times = times?;
    let integrated = log.iter().filter_map(|entry| entry.integrated_time);
    let proven: Vec<Timestamp> = times.iter().map(|timestamp| timestamp.time).chain(integrated).collect();
    key_windows(&log, &proven, root, now)?;
    let mut issuer = None;
    for time in proven {
        issuer = Some(chain::issuer_of(leaf, chain, &root.certificate_authorities, Usage::CodeSigning, time)?);
    }
    let scts = match sct::verify(leaf, &issuer.ok_or(Rejection::TimeMissing)?, &root.ctlogs) {
        Err(_) if requirements.sct == Proof::Ignored => Vec::new(),
        scts => scts?,
    };
    let subject = leaf.subject_alt_name().map_err(Rejection::Certificate)?;
    identity::check(identities, subject, leaf.extensions())?;
    let signer = SignerEvidence::Certificate { subject: subject.clone(), extensions: leaf.extensions().clone(), scts };
    Ok(Evidence { signer, content, log, times })
}

/// A key signs without a certificate: no path, no certificate log, and no time is needed to judge a validity.
fn by_key(case: &Case<'_>, hint: &str, key: &PublicKey) -> Result<Evidence, Rejection> {
    let Case { bundle, artifact, root, now, .. } = *case;
    if !hint_matches(hint, key) {
        return Err(Rejection::KeyMismatch { found: format!("the key of hint {hint:?}") });
    }
    let content = signature::verify(&bundle.content, key, artifact)?;
    let signed = signed(&bundle.content, artifact)?;
    let log = logged(case, signed, SigningKey::Key(key))?;
    let times = timestamps(bundle, signed, root, now)?;
    let proven: Vec<Timestamp> = times.iter().map(|timestamp| timestamp.time).collect();
    key_windows(&log, &proven, root, now)?;
    let spki_sha256 = hex::encode(key.spki_sha256());
    Ok(Evidence { signer: SignerEvidence::Key { spki_sha256 }, content, log, times })
}

/// A hint is free text (protobuf-specs); where it is a hash of a key, as cosign writes it, it has to be this key's.
fn hint_matches(hint: &str, key: &PublicKey) -> bool {
    match decode_base64(hint) {
        Some(hash) if hash.len() == 32 => hash == key.spki_sha256(),
        _ => true,
    }
}

fn signed<'a>(content: &'a Content, artifact: &'a Artifact) -> Result<Signed<'a>, SignatureError> {
    match content {
        Content::MessageSignature { signature, .. } => {
            Ok(Signed { signature, content: SignedContent::Artifact(artifact) })
        }
        Content::Envelope(envelope) => match envelope.signatures.as_slice() {
            [signature] => Ok(Signed { signature: &signature.sig, content: SignedContent::Envelope(envelope) }),
            several => Err(SignatureError::SignatureCount(several.len())),
        },
    }
}

/// Step 1: every entry of a known log has to verify, and there has to be one, unless nobody demands it. Entries of unknown logs
/// prove nothing.
fn logged(case: &Case<'_>, signed: Signed<'_>, key: SigningKey<'_>) -> Result<Vec<LogEvidence>, InclusionError> {
    let Case { bundle, root, requirements, now, .. } = *case;
    let ignored = requirements.log == Proof::Ignored;
    let mut evidence = Vec::new();
    let mut reason = InclusionError::ProofMissing;
    for entry in &bundle.entries {
        match inclusion::verify(entry, bundle.media_type, signed, key, &root.tlogs, now) {
            Ok(found) => evidence.push(found),
            Err(unknown @ InclusionError::UnknownLog { .. }) => reason = unknown,
            Err(_) if ignored => {}
            Err(error) => return Err(error),
        }
    }
    let demanded = !ignored && !root.tlogs.is_empty();
    if evidence.is_empty() && demanded { Err(reason) } else { Ok(evidence) }
}

/// Step 2: every timestamp of a trusted authority has to verify. If there are only others, that is the reason.
fn timestamps(
    bundle: &Bundle,
    signed: Signed<'_>,
    root: &TrustedRoot,
    now: Timestamp,
) -> Result<Vec<TimestampEvidence>, TimestampError> {
    let mut evidence: Vec<TimestampEvidence> = Vec::new();
    let mut untrusted = None;
    for token in &bundle.timestamps {
        match timestamp::verify(token, signed.signature, &root.timestamp_authorities, now) {
            Ok(found) => evidence.push(found),
            Err(error @ TimestampError::Untrusted) => untrusted = Some(error),
            Err(error) => return Err(error),
        }
    }
    match untrusted {
        Some(error) if evidence.is_empty() => Err(error),
        _ => Ok(evidence),
    }
}

/// The key of a log whose entry has no proven time of its own, as always in Rekor v2, has to be valid at the times that are
/// proven otherwise. Where nothing is, as with a bare key, it has to be valid now: a key that was retired may have leaked since.
fn key_windows(
    log: &[LogEvidence],
    proven: &[Timestamp],
    root: &TrustedRoot,
    now: Timestamp,
) -> Result<(), InclusionError> {
    let times = if proven.is_empty() { std::slice::from_ref(&now) } else { proven };
    for entry in log.iter().filter(|entry| entry.integrated_time.is_none()) {
        let window = root.tlogs.iter().find(|log| hex::encode(&log.log_id) == entry.log_id).map(|log| &log.valid_for);
        for time in times {
            if window.is_some_and(|window| !window.contains(*time)) {
                return Err(InclusionError::KeyWindow { log: entry.log.clone(), time: *time });
            }
        }
    }
    Ok(())
}
