//! The signing rules in force, which a reload exchanges while requests are decided.

use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use waxseal_authority::rules::Rules;

/// Rules that decide, and rules that are tried beside them.
#[derive(Debug)]
pub struct Enforced {
    /// What decides.
    pub rules: Rules,
    /// What would be decided otherwise is told, and changes nothing.
    pub candidate: Option<Rules>,
    /// Another number for each set of rules in force: what was found out under one is not taken over by the next.
    generation: u64,
}

impl Enforced {
    /// These rules, not in force yet.
    #[must_use]
    pub const fn new(rules: Rules, candidate: Option<Rules>) -> Self {
        Self { rules, candidate, generation: 0 }
    }

    /// The number of this set of rules.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}

/// The rules in force.
#[derive(Debug)]
pub struct CurrentRules {
    enforced: ArcSwap<Enforced>,
    next: AtomicU64,
}

impl CurrentRules {
    /// These rules.
    #[must_use]
    pub fn new(rules: Rules, candidate: Option<Rules>) -> Self {
        Self { enforced: ArcSwap::from_pointee(Enforced::new(rules, candidate)), next: AtomicU64::new(1) }
    }

    /// The rules for one request from its beginning to its end.
    #[must_use]
    pub fn load(&self) -> Arc<Enforced> {
        self.enforced.load_full()
    }

    /// Puts other rules in force. Requests under way finish with those that they began with.
    pub fn replace(&self, rules: Rules, candidate: Option<Rules>) {
        let generation = self.next.fetch_add(1, Ordering::Relaxed);
        self.enforced.store(Arc::new(Enforced { rules, candidate, generation }));
    }
}
