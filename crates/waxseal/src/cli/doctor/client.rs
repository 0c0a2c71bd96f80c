//! What clients meet: the instance's answers, its trust repository, its clock, and a signature made and verified.

use crate::cli::trust as pins;
use crate::cli::{Failure, token};
use crate::client::sign::{Ceremony, Services, SignWith, Signed, SigningAlgorithm, ToSign};
use crate::client::trust::{NewInstance, Pinned, RootPin, TrustStore};
use crate::server::examine::Finding;
use crate::server::idp::claims::{IssuerKind, MintRequest};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use url::Url;
use waxseal_formats::code::Code;
use waxseal_formats::crypto::{HashAlgorithm, Secret};
use waxseal_formats::tsp::{CertReq, Integer, MAX_TOKEN_LEN, TimeStampReq};
use waxseal_io::system;
use waxseal_io::token::{AUDIENCE, TokenError, Wanted, identity_token, process_environment};
use waxseal_io::transport::{Http, PlainHttp, Request, Transport as _};
use waxseal_verify::timestamp;

/// How far the clock of the instance may be from that of this machine.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// What is stamped and signed.
const PROBE: &[u8] = b"waxseal doctor\n";
/// Longest answer about readiness, in bytes.
const MAX_READINESS: usize = 64 * 1024;

/// Where the identity comes from that signs.
pub(super) enum Signer {
    /// A token, or a file with one.
    Given(String),
    /// The demo provider, of whose secret we are an owner.
    Demo(Secret<String>),
    /// The environment, if it has a token.
    Ambient,
}

/// An instance that was reached and whose trust material is verified.
pub(super) struct Reached {
    pinned: Pinned,
    transport: Http,
    findings: Vec<Finding>,
}

/// A pinned instance, from wherever this machine is.
pub(super) async fn pinned(instance: &str, token: Option<String>) -> Result<Vec<Finding>, Failure> {
    let store = TrustStore::of_user().map_err(pins::failure)?;
    let transport = Http::new(store.plain_http(instance).map_err(pins::failure)?);
    let known = store.pinned(instance, system::now());
    let signer = token.map_or(Signer::Ambient, Signer::Given);
    let fresh = store.refresh(&transport, instance, system::now()).await;
    match fresh {
        Ok(pinned) => {
            let mut findings = ready(&transport, &pinned.url).await;
            findings.push(trust_found(&pinned));
            Ok(Reached { pinned, transport, findings }.examine(signer).await)
        }
        Err(error) => {
            let mut findings = match known {
                Ok(known) => ready(&transport, &known.url).await,
                Err(_) => Vec::new(),
            };
            findings.push(Finding::failed("trust", error.code(), error.to_string()).mend(mend_trust(error.code())));
            Ok(findings)
        }
    }
}

fn mend_trust(code: Code) -> &'static str {
    match code {
        Code::NETWORK_UNREACHABLE => {
            "is the instance started, its name known here, and its certificate trusted by this system?"
        }
        Code::TRUSTED_ROOT_EXPIRED => {
            "the instance renews its metadata by itself: look at its log; a root needs its key"
        }
        _ => "compare the root checksum with the one that `waxseal init` printed",
    }
}

fn trust_found(pinned: &Pinned) -> Finding {
    Finding::good("trust", format!("the trust repository verifies from root {} on", pinned.root_sha256))
}

impl Reached {
    /// The instance at `url`, whose root is known.
    pub(super) async fn of(url: &str, root: RootPin) -> Result<Self, Vec<Finding>> {
        let transport = Http::new(PlainHttp::LoopbackOnly);
        let mut findings = ready(&transport, url).await;
        let unusable = |problem: String| vec![Finding::failed("trust", Code::INPUT_UNREADABLE, problem)];
        let directory = TempDir::new().map_err(|error| unusable(format!("no temporary directory: {error}")))?;
        let new = NewInstance {
            url: url.to_owned(),
            mirror: None,
            name: Some("doctor".into()),
            root,
            plain_http: PlainHttp::LoopbackOnly,
        };
        match TrustStore::at(directory.path()).add(&transport, new, system::now()).await {
            Ok(pinned) => {
                findings.push(trust_found(&pinned));
                Ok(Self { pinned, transport, findings })
            }
            Err(error) => {
                let finding = Finding::failed("trust", error.code(), error.to_string());
                findings.push(finding.mend(mend_trust(error.code())));
                Err(findings)
            }
        }
    }

    /// Asks the instance for what its clients ask for.
    pub(super) async fn examine(self, signer: Signer) -> Vec<Finding> {
        let (stamped, signed) = (self.stamp().await, self.sign(signer).await);
        let Self { mut findings, .. } = self;
        findings.extend(stamped);
        findings.push(signed);
        findings
    }

    /// A timestamp, verified, and what it says of the clocks.
    async fn stamp(&self) -> Vec<Finding> {
        const SUBJECT: &str = "timestamp";
        let authority = Url::parse(&format!("{}/api/v1/timestamp", self.pinned.url));
        let query = TimeStampReq {
            imprint: HashAlgorithm::Sha256.digest(PROBE),
            policy: None,
            nonce: Some(Integer::from_unsigned(&system::random::<8>())),
            certificates: CertReq::Without,
        };
        let (Ok(authority), Ok(der)) = (authority, query.to_der()) else {
            return vec![Finding::failed(SUBJECT, Code::INPUT_MALFORMED, "it cannot be asked for")];
        };
        let request = Request::post(authority, "application/timestamp-query", der).max_body_len(MAX_TOKEN_LEN);
        let before = system::now();
        let answer = match self.transport.send(request).await {
            Ok(answer) if matches!(answer.status, 200 | 201) => answer,
            Ok(answer) => {
                let found = format!("the answer is {} {}", answer.status, answer.excerpt());
                return vec![Finding::failed(SUBJECT, Code::NETWORK_REFUSED, found).mend(
                    "the instance refuses while its clock is doubtful: look at its log and at its time service",
                )];
            }
            Err(error) => return vec![Finding::failed(SUBJECT, error.code(), error.to_string())],
        };
        let after = system::now();
        match timestamp::verify(&answer.body, PROBE, &self.pinned.trusted_root.timestamp_authorities, after) {
            Ok(evidence) => vec![
                Finding::good(SUBJECT, "made, and verified against the trusted root"),
                clock(evidence.time, before, after),
            ],
            Err(error) => {
                let finding = Finding::failed(SUBJECT, error.code(), error.to_string());
                vec![finding.mend("clients refuse it too: are the instance's clock and certificates right?")]
            }
        }
    }

    /// A signature, with the identity that there is a token for, and its verification.
    async fn sign(&self, signer: Signer) -> Finding {
        const SUBJECT: &str = "signature";
        let failed = |code, found: String| Finding::failed(SUBJECT, code, found);
        let audience = self.pinned.client.as_ref().map_or(AUDIENCE, |client| client.audience.as_str());
        let token = match signer {
            Signer::Demo(secret) => {
                let request = MintRequest {
                    issuer: IssuerKind::Email,
                    identity: "doctor@waxseal.invalid".to_owned(),
                    audience: audience.to_owned(),
                    claims: serde_json::Map::new(),
                };
                match token::mint(&self.transport, &self.pinned.url, &secret, &request).await {
                    Ok(token) => Secret::new(token),
                    Err(failure) => return failed(failure.code, failure.message),
                }
            }
            Signer::Given(given) => {
                match identity_token(Wanted { given: Some(&given), source: None }, &|_| None, &self.transport, audience)
                    .await
                {
                    Ok(token) => token,
                    Err(error) => return failed(error.code(), error.to_string()),
                }
            }
            Signer::Ambient => {
                match identity_token(Wanted::default(), &process_environment, &self.transport, audience).await {
                    Ok(token) => token,
                    Err(TokenError::None) => {
                        let found = "there is no token to sign with: pass one with --identity-token to have it tried";
                        return Finding::skipped(SUBJECT, found);
                    }
                    Err(error) => return failed(error.code(), error.to_string()),
                }
            }
        };
        match self.ceremony(&token).await {
            Ok(signed) => {
                let entries = signed.bundle.entries.len();
                Finding::good(
                    SUBJECT,
                    format!("made, logged ({entries} entries) and verified against the trusted root"),
                )
            }
            Err((code, message)) => {
                let mend = match code {
                    Code::RULE_DENIED => "the rules do not admit the token's identity: `waxseal iam test` says why",
                    Code::TOKEN_EXPIRED => "get a new token",
                    Code::TOKEN_ISSUER => "the rules do not listen to the token's issuer",
                    _ => "the log of the instance says more",
                };
                failed(code, message).mend(mend)
            }
        }
    }

    async fn ceremony(&self, token: &Secret<String>) -> Result<Signed, (Code, String)> {
        let config = self.pinned.signing_config.as_ref();
        let config = config.ok_or((Code::INPUT_MALFORMED, "the instance publishes no signing config".to_owned()))?;
        let services =
            Services::for_identity(config, system::now()).map_err(|error| (error.code(), error.to_string()))?;
        let unreadable = |error: std::io::Error| (Code::INPUT_UNREADABLE, format!("no temporary file: {error}"));
        let probe = tempfile::NamedTempFile::new().map_err(unreadable)?;
        std::fs::write(probe.path(), PROBE).map_err(unreadable)?;
        let ceremony = Ceremony { transport: &self.transport, services: &services, root: &self.pinned.trusted_root };
        let with = SignWith::Identity { token, algorithm: SigningAlgorithm::default() };
        let signed = ceremony.sign(with, &ToSign::Blob(probe.path().to_owned())).await;
        signed.map_err(|error| (error.code(), error.to_string()))
    }
}

/// Whether the instance says that it is ready.
async fn ready(transport: &Http, url: &str) -> Vec<Finding> {
    const SUBJECT: &str = "readiness";
    let Ok(address) = Url::parse(&format!("{url}/readyz")) else {
        return vec![Finding::failed(SUBJECT, Code::INPUT_MALFORMED, format!("{url} is not a URL"))];
    };
    match transport.send(Request::get(address).max_body_len(MAX_READINESS)).await {
        Ok(answer) if answer.status == 200 => vec![Finding::good(SUBJECT, format!("{url} is ready"))],
        Ok(answer) => {
            let found = format!("{url} answers {}: {}", answer.status, answer.excerpt());
            vec![Finding::failed(SUBJECT, Code::NETWORK_REFUSED, found).mend("the log of the instance says more")]
        }
        Err(error) => {
            let found = format!("{url} cannot be reached: {error}");
            vec![Finding::failed(SUBJECT, error.code(), found).mend(mend_trust(Code::NETWORK_UNREACHABLE))]
        }
    }
}

/// Compares the time in a timestamp with when this machine asked for it and got it.
fn clock(stamped: Timestamp, before: Timestamp, after: Timestamp) -> Finding {
    const SUBJECT: &str = "clock";
    let early = before.duration_since(stamped);
    let late = stamped.duration_since(after);
    let off = early.max(late);
    // A token may leave out the fraction of the second.
    if off <= CLOCK_TOLERANCE {
        return Finding::good(SUBJECT, "that of the instance agrees with that of this machine");
    }
    let way = if early > late { "behind" } else { "ahead" };
    let found = format!("that of the instance is {} seconds {way} of this machine's", off.as_secs());
    Finding::failed(SUBJECT, Code::TIME_FUTURE, found)
        .mend("set the clock of the one that is wrong: is its time service running?")
}

#[cfg(test)]
mod tests {
    use super::clock;
    use crate::server::examine::State;
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn clocks_that_disagree_are_found() {
        let at = |seconds| Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(seconds)).expect("a time");
        let state = |stamped| clock(at(stamped), at(1000), at(1001)).state;
        assert_eq!([995, 1000, 1001, 1006].map(state), [State::Good; 4]);
        assert_eq!([994, 1007, 0].map(state), [State::Failed; 3]);
        assert!(clock(at(0), at(1000), at(1001)).found.contains("1000 seconds behind"));
    }
}
