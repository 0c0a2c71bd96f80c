//! The audit log of an instance: who was given a certificate and why, who was refused, and what was changed.
//!
//! An issuance is written in the same durable record as the entry in the certificate log, so there is no certificate without it.
//! Everything else waits for a moment and is written together: strangers who are refused cost neither those who sign a sync each
//! nor the disk more than so much a minute.

use crate::server::drive::{AppendError, LogHandle};
use crate::server::front::{ClientAddress, RequestId};
use axum::extract::Request;
use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use waxseal_authority::audit::{Event, Names, Occasion};
use waxseal_formats::code::Code;
use waxseal_io::system;

/// How long a refusal waits at most until it is written.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often those are counted that are not written one by one.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// Refusals that are written one by one, in a minute.
const DENIALS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).expect("not zero");
/// Rows that wait, as long as the log takes none; refusals beyond it are counted.
const MAX_WAITING: usize = 1024;
/// Places behind those, for what is not a refusal: changed rules, start and stop.
const RESERVED: usize = 64;

/// The audit log.
pub struct Audit {
    log: LogHandle,
    names: Names,
    budget: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    rows: VecDeque<Vec<u8>>,
    /// Refusals beyond the budget, by reason; under none, what the candidate rules would have decided otherwise.
    more: BTreeMap<Option<Code>, u64>,
    /// When those were written last.
    counted: Option<Instant>,
}

/// Who asked for something.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    request: Option<RequestId>,
    address: Option<String>,
}

impl Asked {
    /// Whoever made this request.
    #[must_use]
    pub fn by(request: &Request) -> Self {
        let extensions = request.extensions();
        let address = extensions.get().map(|ClientAddress(address)| address.to_string());
        Self { request: extensions.get().cloned(), address }
    }

    fn occasion(&self) -> Occasion<'_> {
        Occasion {
            time: system::now(),
            request: self.request.as_ref().map(RequestId::as_str),
            address: self.address.as_deref(),
        }
    }
}

impl Audit {
    /// The audit log in the records of the certificate log, with names written so.
    #[must_use]
    pub fn new(log: LogHandle, names: Names) -> Arc<Self> {
        let budget = RateLimiter::direct(Quota::per_minute(DENIALS_PER_MINUTE));
        Arc::new(Self { log, names, budget, waiting: Mutex::default() })
    }

    /// The row of an event that becomes durable with an entry.
    #[must_use]
    pub fn row(&self, event: &Event<'_>, asked: &Asked) -> Vec<u8> {
        event.row(&asked.occasion(), &self.names)
    }

    /// Writes down soon what strangers can cause, a refusal or a difference of the candidate rules, or counts it if there are
    /// too many.
    pub fn denied(&self, event: &Event<'_>, asked: &Asked) {
        let row = self.budget.check().is_ok().then(|| self.row(event, asked));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = row.filter(|_| waiting.rows.len() < MAX_WAITING) {
            waiting.rows.push_back(row);
            return;
        }
        let count = waiting.more.entry(event.refusal()).or_default();
        *count = count.saturating_add(1);
    }

    /// Writes down an event soon.
    pub fn note(&self, event: &Event<'_>) {
        let row = self.row(event, &Asked::default());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.rows.len() < MAX_WAITING + RESERVED {
            waiting.rows.push_back(row);
        } else {
            tracing::error!("the audit log is behind: an event is lost");
        }
    }

    /// Writes what waits, every second, for as long as the process runs.
    pub async fn keep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.flush(COUNT_INTERVAL).await;
        }
    }

    /// Writes what waits, now.
    pub async fn finish(&self) {
        self.flush(Duration::ZERO).await;
    }

    async fn flush(&self, count_interval: Duration) {
        let rows = self.take(count_interval);
        // All are queued before the first is waited for: they share records, and keep their order.
        let noted: Vec<_> = rows.into_iter().map(|row| (self.log.note(row.clone()), row)).collect();
        let mut again = Vec::new();
        for (outcome, row) in noted {
            match outcome.await {
                Ok(()) => {}
                // They wait for the first certificate, for a place on the disk, or for the key.
                Err(AppendError::Empty | AppendError::Busy | AppendError::Full | AppendError::Signer(_)) => {
                    again.push(row)
                }
                Err(error) => tracing::error!(code = %error.code(), %error, "the audit log cannot be written"),
            }
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        again.into_iter().rev().for_each(|row| waiting.rows.push_front(row));
        waiting.rows.truncate(MAX_WAITING + RESERVED);
    }

    fn take(&self, count_interval: Duration) -> Vec<Vec<u8>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<Vec<u8>> = waiting.rows.drain(..).collect();
        let has_room = rows.len() < MAX_WAITING;
        if has_room
            && !waiting.more.is_empty()
            && waiting.counted.is_none_or(|counted| counted.elapsed() >= count_interval)
        {
            waiting.counted = Some(Instant::now());
            let occasion = Asked::default();
            for (code, count) in std::mem::take(&mut waiting.more) {
                rows.push(self.row(&Event::More { code, count }, &occasion));
            }
        }
        rows
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Asked, Audit, DENIALS_PER_MINUTE, MAX_WAITING, RESERVED};
    use crate::server::drive::audit::{Fault, Row, read};
    use crate::server::drive::{Log, Settings};
    use serde_json::Value;
    use std::sync::Arc;
    use std::time::Duration;
    use waxseal_authority::audit::{Event, Names, Shown};
    use waxseal_authority::rules::Difference;
    use waxseal_formats::code::Code;
    use waxseal_formats::crypto::KeyKind;
    use waxseal_io::signer::{KeyPair, Signer as _};
    use waxseal_log::ct::Submission;
    use waxseal_log::profile::{Bodies, Face, Profile};
    use waxseal_log::sequencer::NewEntry;

    /// A certificate log and its audit log.
    pub(crate) struct Audited {
        pub(crate) audit: Arc<Audit>,
        pub(crate) log: Log,
        key: Arc<KeyPair>,
        profile: Profile,
        directory: tempfile::TempDir,
    }

    impl Audited {
        pub(crate) fn new() -> Self {
            let directory = tempfile::tempdir().expect("directory");
            let key = Arc::new(KeyPair::generate(KeyKind::EcdsaP256).expect("key"));
            let origin = "log.example/ctlog".to_owned();
            let profile =
                Profile { origin, key: key.public_key().clone(), face: Face::StaticCt, bodies: Bodies::Sealed };
            Log::create(directory.path(), &profile, &Settings::default()).expect("created");
            let log = Log::open(directory.path(), profile.clone(), key.clone(), Settings::default()).expect("opened");
            Self { audit: Audit::new(log.handle(), Names::Plain), log, key, profile, directory }
        }

        fn restart(self) -> Self {
            self.log.close();
            let (key, profile) = (self.key, self.profile);
            let log = Log::open(self.directory.path(), profile.clone(), key.clone(), Settings::default());
            let log = log.expect("opened");
            Self { audit: Audit::new(log.handle(), Names::Plain), log, key, profile, directory: self.directory }
        }

        async fn submit(&self, number: u8, row: Option<Vec<u8>>) {
            let submission = Submission::precertificate([1; 32], vec![number; 8], vec![number; 9], vec![[2; 32]]);
            let submission = submission.expect("a submission");
            let submission = match row {
                Some(row) => submission.with_audit(row),
                None => submission,
            };
            self.log.handle().append(NewEntry::Ct(submission)).await.expect("logged");
        }

        fn rows(&self) -> (Vec<(String, Option<u64>)>, Vec<Fault>) {
            let mut rows = Vec::new();
            let read = read(
                self.directory.path(),
                |_| {},
                |Row { leaf, text, .. }| {
                    let value: Value = serde_json::from_slice(&text).expect("JSON");
                    rows.push((value["event"].as_str().expect("an event").to_owned(), leaf.map(|leaf| leaf.index)));
                },
            );
            (rows, read.expect("read").faults)
        }
    }

    fn denial(code: Code) -> Event<'static> {
        Event::Denied { code, shown: Shown { token: [0; 32], issuer: None }, denied: None }
    }

    #[tokio::test]
    async fn what_waits_is_written_when_there_is_a_first_certificate_and_survives() {
        let audited = Audited::new();
        audited.audit.note(&Event::Started { rules: [0; 32] });
        audited.audit.finish().await;
        assert_eq!(audited.rows().0, [], "a log without leaves has no record");
        let row = audited.audit.row(&Event::Submitted, &Asked::default());
        audited.submit(1, Some(row)).await;
        audited.audit.denied(&denial(Code::RULE_DENIED), &Asked::default());
        audited.audit.finish().await;
        let expected = [("submitted".to_owned(), Some(0)), ("started".to_owned(), None), ("denied".to_owned(), None)];
        assert_eq!(audited.rows(), (expected.to_vec(), Vec::new()));
        let audited = audited.restart();
        assert_eq!(audited.rows().0, expected);
        let row = audited.audit.row(&Event::Submitted, &Asked::default());
        audited.submit(2, Some(row)).await;
        let (rows, faults) = audited.restart().rows();
        assert_eq!((rows.last(), faults), (Some(&("submitted".to_owned(), Some(1))), Vec::new()));
    }

    /// A certificate that nobody wrote down is noticed, and one that was written down twice.
    #[tokio::test]
    async fn an_entry_without_its_row_is_a_fault() {
        let audited = Audited::new();
        audited.submit(0, None).await;
        assert_eq!(audited.rows().1, [], "before there was an audit log there was none");
        let row = audited.audit.row(&Event::Submitted, &Asked::default());
        audited.submit(1, Some(row)).await;
        audited.submit(2, None).await;
        let (_, faults) = audited.rows();
        let [Fault::Entry { leaf, rows: 0 }] = &faults[..] else { unreachable!("{faults:?}") };
        assert_eq!(leaf.index, 2);
    }

    /// Nothing follows the last record that could show its damage: what was published does.
    #[tokio::test]
    async fn a_damaged_last_record_is_noticed_by_what_was_published() {
        let audited = Audited::new();
        for number in 0..3 {
            let row = audited.audit.row(&Event::Submitted, &Asked::default());
            audited.submit(number, Some(row)).await;
        }
        audited.log.close();
        let whole = read(audited.directory.path(), |_| {}, |_| {}).expect("read");
        assert_eq!((whole.entries, whole.faults, whole.unfinished), (3, Vec::new(), false));
        let segment = audited.directory.path().join("wal/0000000000000000");
        let mut bytes = std::fs::read(&segment).expect("records");
        let place = bytes.windows(9).rposition(|part| part == b"\"event\":\"").expect("a row");
        bytes[place] ^= 1;
        std::fs::write(&segment, bytes).expect("written");
        let damaged = read(audited.directory.path(), |_| {}, |_| {}).expect("read");
        assert!(damaged.unfinished);
        assert_eq!(damaged.faults, [Fault::Lost { published: 3, there: 2 }]);
    }

    /// Certainly 2026: whoever is refused a lot neither fills the disk nor keeps others waiting.
    #[tokio::test]
    async fn a_flood_of_refusals_is_counted() {
        let audited = Audited::new();
        let row = audited.audit.row(&Event::Submitted, &Asked::default());
        audited.submit(1, Some(row)).await;
        for _ in 0..10_000 {
            audited.audit.denied(&denial(Code::TOKEN_SIGNATURE), &Asked::default());
        }
        audited.audit.flush(Duration::ZERO).await;
        let (rows, _) = audited.rows();
        assert_eq!(rows.last().map(|(name, _)| name.as_str()), Some("more-denied"), "in their order");
        let count = |event: &str| rows.iter().filter(|(name, _)| name == event).count();
        let budget = usize::try_from(DENIALS_PER_MINUTE.get()).expect("fits");
        assert!((budget..budget + 10).contains(&count("denied")), "{}", count("denied"));
        assert_eq!(count("more-denied"), 1);
    }

    /// A log that takes nothing for hours: refusals are counted, and changed rules keep their place.
    #[tokio::test]
    async fn what_waits_is_bounded_and_refusals_give_way() {
        let audited = Audited::new();
        let denial = denial(Code::RULE_DENIED);
        let row = audited.audit.row(&denial, &Asked::default());
        audited.audit.waiting.lock().expect("unlocked").rows.extend(vec![row; MAX_WAITING]);
        audited.audit.denied(&denial, &Asked::default());
        let difference = Difference::Admits { rule: "wider".into() };
        audited.audit.denied(&Event::Candidate { difference: &difference, token: [0; 32] }, &Asked::default());
        audited.audit.note(&Event::Rules { rules: [1; 32], candidate: None });
        audited.audit.flush(Duration::ZERO).await;
        for _ in 0..2 * RESERVED {
            audited.audit.note(&Event::Stopped);
        }
        audited.audit.flush(Duration::ZERO).await;
        assert_eq!(audited.audit.waiting.lock().expect("unlocked").rows.len(), MAX_WAITING + RESERVED);
        let row = audited.audit.row(&Event::Submitted, &Asked::default());
        audited.submit(1, Some(row)).await;
        audited.audit.flush(Duration::ZERO).await;
        audited.audit.flush(Duration::ZERO).await;
        let (rows, _) = audited.rows();
        let count = |event: &str| rows.iter().filter(|(name, _)| name == event).count();
        assert_eq!((count("denied"), count("rules"), count("stopped")), (MAX_WAITING, 1, RESERVED - 1));
        assert_eq!((count("more-denied"), count("more-candidate-differs")), (1, 1), "those that found no place");
    }
}
