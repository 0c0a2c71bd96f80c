//! The signing rules in force, which can be exchanged while requests are decided.
//!
//! A request loads them once and is decided by what it loaded: never by half of one set and half of another.

use arc_swap::ArcSwap;
use std::sync::Arc;
use waxseal_authority::rules::Rules;

/// The rules that decide, and those that are tried beside them.
#[derive(Clone, Debug)]
pub struct Enforced {
    /// They decide.
    pub rules: Rules,
    /// They are tried, and admit nobody.
    pub candidate: Option<Rules>,
}

/// The rules in force.
#[derive(Debug)]
pub struct CurrentRules {
    enforced: ArcSwap<Enforced>,
}

impl CurrentRules {
    /// These are in force until they are replaced.
    #[must_use]
    pub fn new(enforced: Enforced) -> Self {
        Self { enforced: ArcSwap::from_pointee(enforced) }
    }

    /// What is in force now, for the whole of a request.
    #[must_use]
    pub fn load(&self) -> Arc<Enforced> {
        self.enforced.load_full()
    }

    /// From now on these are in force. Requests that loaded the former ones are decided by them.
    pub fn replace(&self, enforced: Enforced) {
        self.enforced.store(Arc::new(enforced));
    }
}
