//! A transport that answers from memory and remembers what it was asked.

use super::{Pending, Request, Response, Transport, TransportError};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Answers by method and URL. Several answers to one question are given one after the other, the last one for ever; a
/// question without an answer is a host that cannot be reached.
#[derive(Default)]
pub struct Replay {
    answers: Mutex<HashMap<(String, String), VecDeque<Response>>>,
    asked: Mutex<Vec<Request>>,
}

impl Replay {
    /// Knows no answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an answer.
    pub fn answer(&self, method: &str, url: &str, status: u16, body: impl Into<Vec<u8>>) {
        let response = Response { status, headers: Vec::new(), body: body.into().into() };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.entry((method.to_owned(), url.to_owned())).or_default().push_back(response);
    }

    /// Forgets the answers to a question: the host is down from now on.
    pub fn forget(&self, method: &str, url: &str) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&(method.to_owned(), url.to_owned()));
    }

    /// What was asked, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Transport for Replay {
    fn send(&self, request: Request) -> Pending<'_> {
        let key = (request.method().to_owned(), request.url().to_string());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers
            .get_mut(&key)
            .and_then(|queue| if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() });
        let limit = request.max_body_len;
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        Box::pin(async move {
            // Others that ask at the same time get their turn first, as on a network.
            tokio::task::yield_now().await;
            let unknown =
                || TransportError::Unreachable { url: key.1.clone(), reason: "no answer is known".to_owned() };
            let answer = answer.ok_or_else(unknown)?;
            if answer.body.len() > limit { Err(TransportError::TooLarge { url: key.1, limit }) } else { Ok(answer) }
        })
    }
}
