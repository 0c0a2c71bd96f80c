//! What `/readyz` looks at.

use crate::server::clock::Clock;
use crate::server::drive::LogHandle;
use crate::server::rekor_v2::RekorV2;
use crate::server::ui::ReadyCheck;
use std::sync::Arc;
use waxseal_formats::x509::Certificate;
use waxseal_io::system;

/// What a signature takes besides trust metadata. A log of Rekor v1 that was frozen is not missed by clients of v2.
#[must_use]
pub fn checks(
    ca: Vec<Certificate>,
    certificate_log: LogHandle,
    rekor: Arc<RekorV2>,
    clock: Arc<Clock>,
) -> Vec<(&'static str, ReadyCheck)> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    vec![
        (
            "ca",
            Box::new(move || match ca.iter().find(|certificate| !certificate.valid_at(system::now())) {
                None => Ok(()),
                Some(certificate) => Err(format!("a certificate is valid until {} only", certificate.not_after())),
            }),
        ),
        ("certificate log", Box::new(move || certificate_log.ready().map_err(|error| text(&error)))),
        ("rekor", Box::new(move || rekor.active().ready().map_err(|error| text(&error)))),
        ("clock", Box::new(move || clock.now().map(drop).map_err(|error| text(&error)))),
    ]
}
