//! What is known of each registry. Whoever waits for something here waits for that registry and for no other: one that takes its time
//! holds up nobody else.

use super::auth::Action;
use super::keychain::Login;
use formats::crypto::Secret;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{OnceCell, Semaphore};
use waxseal_formats as formats;

/// Requests to one registry at the same time.
const PARALLEL: usize = 32;
/// Most registries that are remembered.
const MAX_REGISTRIES: usize = 256;
/// Most of one registry's tokens that are remembered.
const MAX_TOKENS: usize = 1024;

/// What is known of registries, by their names.
#[derive(Default)]
pub(super) struct Homes(Mutex<HashMap<String, Arc<Home>>>);

/// What is known of one.
pub(super) struct Home {
    pub(super) permits: Semaphore,
    /// Whether it does not speak https.
    pub(super) plain: OnceCell<bool>,
    /// Whom to be.
    pub(super) login: OnceCell<Login>,
    /// Held while a token is asked for: those who want one too wait and take it.
    pub(super) tokens: tokio::sync::Mutex<Tokens>,
}

/// What to say in `Authorization` for a repository and an action, and until when.
#[derive(Default)]
pub(super) struct Tokens(HashMap<(String, Action), (Secret<String>, Instant)>);

impl Homes {
    pub(super) fn of(&self, registry: &str) -> Arc<Home> {
        let mut homes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if homes.len() >= MAX_REGISTRIES && !homes.contains_key(registry) {
            homes.clear();
        }
        let home = homes.entry(registry.to_owned()).or_insert_with(|| {
            Arc::new(Home {
                permits: Semaphore::new(PARALLEL),
                plain: OnceCell::new(),
                login: OnceCell::new(),
                tokens: tokio::sync::Mutex::default(),
            })
        });
        Arc::clone(home)
    }
}

impl Tokens {
    pub(super) fn known(&self, repository: &str, action: Action) -> Option<Secret<String>> {
        let (value, until) = self.0.get(&(repository.to_owned(), action))?;
        (Instant::now() < *until).then(|| value.clone())
    }

    pub(super) fn keep(&mut self, repository: &str, action: Action, value: Secret<String>, until: Instant) {
        if self.0.len() >= MAX_TOKENS {
            self.0.clear();
        }
        self.0.insert((repository.to_owned(), action), (value, until));
    }
}
