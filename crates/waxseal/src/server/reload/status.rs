//! What `/readyz` and `/metrics` say about reloads.

use super::{Outcome, Told};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// How the last reload went, and how many did.
#[derive(Default)]
pub struct Status {
    told: Mutex<Told>,
    reloads: Family<OutcomeLabel, Counter>,
    refused: Gauge,
}

impl Status {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        for outcome in ["done", "refused"] {
            drop(self.reloads.get_or_create(&OutcomeLabel { outcome }));
        }
        registry.register("config_reloads", "Reloads of the configuration by outcome", self.reloads.clone());
        let help = "1 while the newest configuration is refused and an older one is in force";
        registry.register("config_refused", help, self.refused.clone());
    }

    pub(super) fn record(&self, outcome: &Outcome, now: Timestamp) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let label = match outcome {
            Outcome::InForce { restart } => {
                *told = Told { taken_up: Some(now), restart: restart.clone(), refused: None };
                self.refused.set(0);
                "done"
            }
            Outcome::Kept(refused) => {
                let since = told.refused.as_ref().map_or(now, |(since, _)| *since);
                told.refused = Some((since, refused.clone()));
                self.refused.set(1);
                "refused"
            }
        };
        self.reloads.get_or_create(&OutcomeLabel { outcome: label }).inc();
    }

    /// For `/readyz`: an instance with a refused configuration is ready, with the one before.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = told.refused.map(
            |(since, refused)| json!({"since": since.to_string(), "code": refused.code, "message": refused.message}),
        );
        json!({
            "reloaded": told.taken_up.map(|at| at.to_string()),
            "restart_needed": told.restart,
            "refused": refused,
        })
    }
}
