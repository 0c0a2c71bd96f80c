//! The keys of token issuers: discovery (OpenID Connect Discovery 1.0 §4), fetched once for many tokens.
//!
//! Whoever sends a token can make us ask its issuer, so asking is bounded: an issuer is asked by one task at a time, not
//! again within [`MIN_INTERVAL`] however many unknown key ids arrive, and what it answers is bounded and leads nowhere
//! else. While an issuer is down its last keys serve for [`MAX_STALE`].
//!
//! An issuer that cannot be used is a fault of that issuer's tokens and of nothing else; [`Jwks::health`] tells of it.

mod discovery;
mod source;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls;

use crate::transport::{Transport, TransportError};
use formats::code::Code;
use formats::jwt::JwkSet;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use waxseal_formats as formats;

pub use source::{Discovery, Source, Sources};

/// How long keys serve before their issuer is asked again.
pub const TTL: Duration = Duration::from_secs(10 * 60);
/// Shortest time between two requests to one issuer, whether for unknown keys or after a failure.
pub const MIN_INTERVAL: Duration = Duration::from_secs(10);
/// How long keys serve while their issuer cannot be asked.
pub const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long one request to an issuer may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest discovery document, in bytes.
pub const MAX_DISCOVERY_LEN: usize = 64 * 1024;
/// Longest bearer token for an issuer, in bytes.
pub const MAX_BEARER_LEN: usize = 16 * 1024;
/// Most issuers whose keys are kept although no entry names them, but a pattern at best.
pub const MAX_UNNAMED: usize = 1024;
/// Most issuers that are asked at the same time by [`Jwks::ask_all`].
const MAX_ASKED: usize = 16;

/// Why an issuer's keys are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It cannot be asked.
    #[error("the keys of the issuer {issuer} cannot be fetched: {source}")]
    Transport {
        /// The issuer.
        issuer: String,
        /// Why not.
        source: TransportError,
    },
    /// It answers with an error.
    #[error("the issuer {issuer} answers {status} for {url}")]
    Status {
        /// The issuer.
        issuer: String,
        /// What was asked for.
        url: String,
        /// Its answer.
        status: u16,
    },
    /// Its discovery document or key set is malformed, or is that of another issuer.
    #[error("the issuer {issuer} cannot be used: {reason}")]
    Malformed {
        /// The issuer.
        issuer: String,
        /// What is wrong.
        reason: String,
    },
    /// Its discovery document leads to where keys are not fetched from.
    #[error("the issuer {issuer} keeps its keys at {jwks_uri}: {reason}")]
    KeyUrl {
        /// The issuer.
        issuer: String,
        /// Its `jwks_uri`.
        jwks_uri: String,
        /// Why they are not fetched from there.
        reason: &'static str,
    },
    /// What its entry names cannot be used: a file that is missing, a certificate authority that is none.
    #[error("the issuer {issuer} cannot be used: {reason}")]
    Unusable {
        /// The issuer.
        issuer: String,
        /// What is wrong.
        reason: String,
    },
}

impl JwksError {
    /// `network.unreachable` if it may pass by itself, else `token.issuer`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Transport { .. } | Self::Status { .. } => Code::NETWORK_UNREACHABLE,
            Self::Malformed { .. } | Self::KeyUrl { .. } | Self::Unusable { .. } => Code::TOKEN_ISSUER,
        }
    }
}

/// The keys of every issuer that was asked, and those that are known without asking.
pub struct Jwks {
    transport: Arc<dyn Transport>,
    own: HashMap<String, Arc<JwkSet>>,
    issuers: Mutex<Issuers>,
}

#[derive(Default)]
struct Issuers {
    sources: Sources,
    slots: HashMap<String, Arc<Slot>>,
}

/// What is known of one issuer.
struct Slot {
    source: Source,
    /// Held while the issuer is asked, so that a thousand tokens ask once.
    asking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    keys: Option<(Arc<JwkSet>, Instant)>,
    asked: Option<Instant>,
    used: Option<Instant>,
    failure: Option<JwksError>,
}

/// How an issuer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerHealth {
    /// Its URL.
    pub issuer: String,
    /// How many keys there are.
    pub keys: usize,
    /// How long ago they were fetched; None for keys that are not fetched, and before they are.
    pub fetched: Option<Duration>,
    /// Why they could not be fetched when they last should have been.
    pub failure: Option<String>,
}

impl Jwks {
    /// Asks issuers through `transport`. `own` are the keys of issuers in this very process, which are never asked. Any other
    /// is asked at its URL until [`Jwks::replace_sources`] says otherwise.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, own: impl IntoIterator<Item = (String, JwkSet)>) -> Self {
        let own = own.into_iter().map(|(issuer, keys)| (issuer, Arc::new(keys))).collect();
        Self { transport, own, issuers: Mutex::default() }
    }

    /// Where keys come from, from now on. What is known of an issuer whose source stays the same is kept.
    pub fn replace_sources(&self, sources: Sources) {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        issuers.slots.retain(|issuer, slot| sources.find(issuer).is_none_or(|source| source == slot.source));
        issuers.sources = sources;
    }

    /// The keys of an issuer, which the caller has checked to be one that is accepted. An unknown `key_id` makes it be
    /// asked again, because issuers rotate their keys; it is no error if it stays unknown.
    ///
    /// # Errors
    /// [`JwksError`] if there are no keys, not even stale ones.
    pub async fn keys(&self, issuer: &str, key_id: Option<&str>) -> Result<Arc<JwkSet>, JwksError> {
        if let Some(keys) = self.own.get(issuer) {
            return Ok(Arc::clone(keys));
        }
        let slot = self.slot(issuer);
        let discovery = match &slot.source {
            Source::Static(keys) => return Ok(Arc::clone(keys)),
            Source::Unusable(reason) => {
                return Err(JwksError::Unusable { issuer: issuer.to_owned(), reason: reason.clone() });
            }
            Source::Discovery(discovery) => discovery,
        };
        if let Some(answer) = slot.answer(key_id) {
            return answer;
        }
        // Held across the request on purpose: the others wait for its outcome instead of asking too. A caller that goes
        // away lets go of it, and the next one asks.
        let _asking = slot.asking.lock().await;
        if let Some(answer) = slot.answer(key_id) {
            return answer;
        }
        let outcome = discovery.fetch(issuer, self.transport.as_ref()).await;
        if let Err(error) = &outcome {
            tracing::warn!(issuer, error = %error, "issuer keys not refreshed");
        }
        slot.record(outcome)
    }

    /// Asks every issuer that an entry names and whose keys are not there yet, so that faults are known before somebody
    /// signs. What comes of it is in [`Jwks::health`].
    pub async fn ask_all(self: &Arc<Self>) {
        let named: Vec<String> = {
            let issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
            issuers.sources.named().map(|(issuer, _)| issuer.to_owned()).collect()
        };
        let mut asked = JoinSet::new();
        for issuer in named {
            if asked.len() >= MAX_ASKED {
                asked.join_next().await;
            }
            let jwks = Arc::clone(self);
            asked.spawn(async move { jwks.keys(&issuer, None).await.is_ok() });
        }
        asked.join_all().await;
    }

    /// How every issuer is doing that an entry names or that has been asked, in the order of their URLs.
    #[must_use]
    pub fn health(&self) -> Vec<IssuerHealth> {
        let issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |issuer: &str, slot: &Slot| {
            let State { keys, failure, .. } = slot.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let (count, fetched) = match (&slot.source, keys) {
                (Source::Static(keys), _) => (keys.keys().len(), None),
                (_, Some((keys, fetched))) => (keys.keys().len(), Some(fetched.elapsed())),
                (_, None) => (0, None),
            };
            let failure = match &slot.source {
                Source::Unusable(reason) => Some(reason.clone()),
                _ => failure.map(|error| error.to_string()),
            };
            IssuerHealth { issuer: issuer.to_owned(), keys: count, fetched, failure }
        };
        let mut all: Vec<IssuerHealth> = issuers.slots.iter().map(|(issuer, slot)| of(issuer, slot)).collect();
        let unasked = issuers.sources.named().filter(|(issuer, _)| !issuers.slots.contains_key(*issuer));
        all.extend(unasked.map(|(issuer, source)| of(issuer, &Slot::new(source.clone()))));
        all.sort_by(|one, other| one.issuer.cmp(&other.issuer));
        all
    }

    fn slot(&self, issuer: &str) -> Arc<Slot> {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if !issuers.slots.contains_key(issuer) {
            issuers.make_room();
            let source = issuers.sources.find(issuer).unwrap_or_default();
            issuers.slots.insert(issuer.to_owned(), Arc::new(Slot::new(source)));
        }
        let slot = Arc::clone(issuers.slots.entry(issuer.to_owned()).or_default());
        slot.state.lock().unwrap_or_else(PoisonError::into_inner).used = Some(Instant::now());
        slot
    }
}

impl Issuers {
    /// Anybody can be an issuer of a pattern, so those that were used longest ago make room for others.
    fn make_room(&mut self) {
        let Self { sources, slots } = self;
        let unnamed = || slots.iter().filter(|(issuer, _)| !sources.names(issuer));
        if unnamed().count() < MAX_UNNAMED {
            return;
        }
        let used = |slot: &Slot| slot.state.lock().unwrap_or_else(PoisonError::into_inner).used;
        let oldest = unnamed().min_by_key(|(_, slot)| used(slot)).map(|(issuer, _)| issuer.clone());
        if let Some(issuer) = oldest {
            slots.remove(&issuer);
        }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new(Source::default())
    }
}

impl Slot {
    fn new(source: Source) -> Self {
        Self { source, asking: tokio::sync::Mutex::default(), state: Mutex::default() }
    }

    /// What can be said without asking.
    fn answer(&self, key_id: Option<&str>) -> Option<Result<Arc<JwkSet>, JwksError>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked_lately = state.asked.is_some_and(|asked| asked.elapsed() < MIN_INTERVAL);
        match (state.keys, state.failure) {
            (Some((keys, fetched)), failure) => {
                let known = key_id.is_none() || keys.candidates(key_id).next().is_some();
                let fresh = fetched.elapsed() < TTL && known;
                let stale = asked_lately && (failure.is_none() || fetched.elapsed() < MAX_STALE);
                (fresh || stale).then_some(Ok(keys))
            }
            (None, Some(failure)) if asked_lately => Some(Err(failure)),
            (None, _) => None,
        }
    }

    fn record(&self, outcome: Result<JwkSet, JwksError>) -> Result<Arc<JwkSet>, JwksError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.asked = Some(now);
        match outcome {
            Ok(keys) => {
                let keys = Arc::new(keys);
                state.keys = Some((Arc::clone(&keys), now));
                state.failure = None;
                Ok(keys)
            }
            Err(error) => {
                state.keys = state.keys.take().filter(|(_, fetched)| fetched.elapsed() < MAX_STALE);
                state.failure = Some(error.clone());
                state.keys.as_ref().map(|(keys, _)| Arc::clone(keys)).ok_or(error)
            }
        }
    }
}
