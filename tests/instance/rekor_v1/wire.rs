//! Recorded requests of clients of Rekor v1, sent to our instance. Their signatures are genuine, so they go in as they are.

use super::super::wire::{replay, same_shape};
use super::*;
use waxseal_testkit::{Exchange, vectors};

const CLIENTS: [&str; 5] =
    ["cosign-3.1.3", "cosign-2.6.1", "gitsign-034927d", "sigstore-python-4.5.1", "sigstore-js-cli-0.10.3"];

/// The entries of an answer, without their IDs: the ID of the tree is another.
fn entries(answer: &Value) -> Vec<Value> {
    match answer {
        Value::Array(list) => list.iter().flat_map(entries).collect(),
        Value::Object(members) => members.values().cloned().collect(),
        id => vec![id.clone()],
    }
}

/// Sends every recorded request to Rekor v1 in its order; compares status, type, shape and bodies.
async fn replayed(log: &Log, expected: impl Fn(&Exchange) -> u16) -> usize {
    let Some(vectors) = vectors() else { return 0 };
    let mut count = 0;
    for name in CLIENTS {
        for exchange in vectors.wire(name).iter().filter(|exchange| exchange.service == "rekor1-standin") {
            let at = format!("{name} {} line {}", exchange.step, exchange.line);
            let answer = replay(&log.up, exchange, None, None).await;
            assert_eq!((answer.status, answer.media_type()), (expected(exchange), "application/json"), "{at}");
            if answer.status != exchange.status {
                continue;
            }
            let (ours, recorded) = (answer.json(), exchange.response_json());
            assert_eq!(entries(&ours).len(), entries(&recorded).len(), "{at}: {ours}");
            for (ours, recorded) in entries(&ours).iter().zip(entries(&recorded)) {
                same_shape(&at, ours, &recorded);
                assert_eq!(ours["body"], recorded["body"], "{at}");
            }
            if exchange.status == 201 {
                let entry = log.checked(&ours);
                assert_eq!(answer.header("etag"), entry.id, "{at}");
                // The leaf is the same as in the recorded log, so both IDs end alike.
                assert!(exchange.response_header("etag").unwrap_or_default().ends_with(&entry.id[16..]), "{at}");
            }
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn every_recorded_exchange_of_rekor_v1_is_answered_alike_by_an_open_log() {
    let log = Log::of_anybody("open").await;
    let count = replayed(&log, |exchange| exchange.status).await;
    assert!(count == 0 || count >= 25, "{count}");
}

/// Signing and looking for an entry that is at hand go on; only gitsign's online verification asks for what is not kept.
#[tokio::test]
async fn a_sealed_log_answers_every_client_but_for_online_verification() {
    let log = Log::of_anybody("sealed").await;
    let kept = |exchange: &Exchange| exchange.method == "GET" || exchange.path == SEARCH;
    let count = replayed(&log, |exchange| if kept(exchange) { 403 } else { exchange.status }).await;
    assert!(count == 0 || count >= 17, "{count}");
}
