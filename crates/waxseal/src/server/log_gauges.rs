//! How the logs are, for `/metrics`: asked when somebody looks, so that nothing is counted where entries are written.

use crate::server::drive::LogHandle;
use crate::server::rekor_v2::RekorV2;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::Arc;

/// The logs of an instance.
pub struct LogGauges {
    /// The certificate log.
    pub ct: LogHandle,
    /// The log of Rekor v1.
    pub rekor_v1: LogHandle,
    /// Of Rekor v2 the active shard is told about.
    pub rekor_v2: Arc<RekorV2>,
}

impl fmt::Debug for LogGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogGauges")
    }
}

impl Collector for LogGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let logs = [("ct", self.ct.clone()), ("rekor-v1", self.rekor_v1.clone()), ("rekor-v2", self.rekor_v2.active())];
        type Measure = fn(&LogHandle) -> u64;
        let gauges: [(&str, &str, Measure); 3] = [
            ("log_entries", "Durable entries of a log", |log| log.head().size),
            ("log_published_entries", "Entries below the published checkpoint of a log", |log| log.published().size),
            ("log_waiting", "Entries that wait to be written into a log", |log| log.waiting()),
        ];
        for (name, help, measure) in gauges {
            let kind = ConstGauge::new(0_u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (label, log) in &logs {
                let gauge = ConstGauge::new(measure(log));
                gauge.encode(family.encode_family(&[("log", *label)])?)?;
            }
        }
        Ok(())
    }
}
