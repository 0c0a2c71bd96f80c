//! A load of HTTP/1.1 requests from one thread: connections that stay open, requests made beforehand, one request on
//! each connection at a time.
//!
//! The loop is closed: a connection asks again when it was answered. So a server that stands still is asked less, and
//! the slow requests that would have come meanwhile are missing from the quantiles (coordinated omission). They say how
//! long an answer takes at saturation. [`paced`] is for the other question: it asks by the clock and counts from when it
//! ought to have asked.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::{
    event::epoll,
    time::{ClockId, clock_gettime},
};

use super::measure::{Micros, quantile};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// One answer in so many is kept, so that it can be checked.
const KEPT: usize = 512;
/// Largest answer.
const MAX_ANSWER: usize = 1 << 20;

/// What is asked.
pub(crate) struct Load<'a> {
    pub address: SocketAddr,
    pub connections: usize,
    /// Requests before the clock starts.
    pub warm_up: usize,
    /// Requests that are timed.
    pub count: usize,
    /// Appends the bytes of a request, which has this number.
    pub request: &'a dyn Fn(usize, &mut Vec<u8>),
    /// The status that every answer has to have.
    pub status: u16,
    /// CPU time of the server up to now.
    pub server_cpu: &'a dyn Fn() -> anyhow::Result<Duration>,
}

/// How it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// Answers a second.
    pub rate: f64,
    pub p50: Micros,
    pub p99: Micros,
    /// CPU time of the server for each answer.
    pub cpu: Micros,
    /// Some of the answers' bodies.
    pub bodies: Vec<Vec<u8>>,
}

/// CPU time of this process without this thread: of a server in it, when this thread is the loader.
pub(crate) fn cpu_beside() -> anyhow::Result<Duration> {
    let time = |clock| -> anyhow::Result<Duration> { Ok(Duration::try_from(clock_gettime(clock))?) };
    Ok(time(ClockId::ProcessCPUTime)?.saturating_sub(time(ClockId::ThreadCPUTime)?))
}

/// CPU time of another process.
pub(crate) fn cpu_of(process: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may have spaces in it (proc_pid_stat(5)).
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// Asks until `count` requests were answered.
///
/// # Errors
///
/// When the server answers with another status, or not at all.
pub(crate) fn load(load: &Load<'_>) -> anyhow::Result<Answered> {
    let mut timing = Timing::new(load)?;
    if load.connections == 1 {
        let mut connection = Connection::open(load.address)?;
        while !timing.is_done() {
            connection.ask(timing.next(), load.request)?;
            while !connection.read()? {}
            timing.answered(&mut connection)?;
        }
        return timing.finish();
    }
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(load.connections);
    for token in 0..load.connections {
        let mut connection = Connection::open(load.address)?;
        epoll::add(&poll, &connection.stream, epoll::EventData::new_u64(token as u64), epoll::EventFlags::IN)?;
        connection.ask(timing.next(), load.request)?;
        connections.push(connection);
    }
    let patience = rustix::event::Timespec::try_from(PATIENCE)?;
    let mut events = Vec::with_capacity(load.connections);
    while !timing.is_done() {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&patience))?;
        ensure!(!events.is_empty(), "no answer within {} s", PATIENCE.as_secs());
        for event in &events {
            let token = usize::try_from(event.data.u64())?;
            let connection = connections.get_mut(token).context("an event of no connection")?;
            // One read an event: what is missing makes the next event.
            if connection.read()? && !timing.is_done() {
                timing.answered(connection)?;
                connection.ask(timing.next(), load.request)?;
            }
        }
    }
    timing.finish()
}

/// Asks `count` times on one connection, `pause` apart, and returns how long each answer took.
///
/// # Errors
///
/// As [`load`].
pub(crate) fn paced(load: &Load<'_>, pause: Duration) -> anyhow::Result<Answered> {
    let mut timing = Timing::new(load)?;
    let mut connection = Connection::open(load.address)?;
    let mut due = Instant::now();
    while !timing.is_done() {
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        connection.ask(timing.next(), load.request)?;
        connection.asked = due;
        while !connection.read()? {}
        timing.answered(&mut connection)?;
    }
    timing.finish()
}

/// What was asked and answered so far.
struct Timing<'a> {
    load: &'a Load<'a>,
    asked: usize,
    answered: usize,
    start: (Instant, Duration),
    end: (Instant, Duration),
    times: Vec<Duration>,
    bodies: Vec<Vec<u8>>,
}

impl<'a> Timing<'a> {
    fn new(load: &'a Load<'a>) -> anyhow::Result<Self> {
        let now = (Instant::now(), (load.server_cpu)()?);
        let times = Vec::with_capacity(load.count);
        Ok(Self { load, asked: 0, answered: 0, start: now, end: now, times, bodies: Vec::new() })
    }

    /// The number of the next request. The last ones may stay unanswered: every connection is to be busy to the end.
    const fn next(&mut self) -> usize {
        let next = self.asked;
        self.asked += 1;
        next
    }

    fn is_done(&self) -> bool {
        self.times.len() >= self.load.count
    }

    fn answered(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        let status = connection.status()?;
        if status != self.load.status {
            bail!("answered {status}: {}", String::from_utf8_lossy(connection.body()));
        }
        if self.answered >= self.load.warm_up {
            self.times.push(connection.asked.elapsed());
            if self.times.len().is_multiple_of(KEPT) || self.bodies.is_empty() {
                self.bodies.push(connection.body().to_vec());
            }
        }
        self.answered += 1;
        if self.answered == self.load.warm_up {
            self.start = (Instant::now(), (self.load.server_cpu)()?);
        }
        if self.is_done() {
            self.end = (Instant::now(), (self.load.server_cpu)()?);
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<Answered> {
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let count = self.times.len() as f64;
        let span = self.end.0.duration_since(self.start.0).as_secs_f64();
        let cpu = Micros::from(self.end.1.saturating_sub(self.start.1));
        Ok(Answered {
            rate: count / span,
            p50: quantile(self.times.clone(), 0.5).into(),
            p99: quantile(self.times, 0.99).into(),
            cpu: Micros(cpu.0 / count),
            bodies: self.bodies,
        })
    }
}

/// A connection with at most one request under way.
struct Connection {
    stream: TcpStream,
    asked: Instant,
    request: Vec<u8>,
    answer: Vec<u8>,
    filled: usize,
    /// Where the answer's body begins and ends, once its head is there.
    body: Option<(usize, usize)>,
}

impl Connection {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, asked: Instant::now(), request: Vec::new(), answer: vec![0; 8192], filled: 0, body: None })
    }

    fn ask(&mut self, number: usize, request: &dyn Fn(usize, &mut Vec<u8>)) -> anyhow::Result<()> {
        self.request.clear();
        request(number, &mut self.request);
        (self.filled, self.body) = (0, None);
        self.asked = Instant::now();
        Ok(self.stream.write_all(&self.request)?)
    }

    /// Reads once; `true` when the answer is whole.
    fn read(&mut self) -> anyhow::Result<bool> {
        if self.filled == self.answer.len() {
            ensure!(self.answer.len() < MAX_ANSWER, "an answer of more than {MAX_ANSWER} bytes");
            self.answer.resize(self.answer.len() * 2, 0);
        }
        let read = self.stream.read(&mut self.answer[self.filled..])?;
        ensure!(read > 0, "the server closed the connection: {}", String::from_utf8_lossy(&self.answer[..self.filled]));
        self.filled += read;
        if self.body.is_none() {
            let Some(head) = self.answer[..self.filled].windows(4).position(|end| end == b"\r\n\r\n") else {
                return Ok(false);
            };
            let length = content_length(&self.answer[..head]).context("an answer without a length")?;
            self.body = Some((head + 4, head + 4 + length));
        }
        Ok(self.body.is_some_and(|(_, end)| self.filled >= end))
    }

    /// The status in `HTTP/1.1 200 OK`.
    fn status(&self) -> anyhow::Result<u16> {
        let digits = self.answer.get(9..12).context("an answer without a status")?;
        Ok(std::str::from_utf8(digits)?.parse()?)
    }

    fn body(&self) -> &[u8] {
        self.body.and_then(|(start, end)| self.answer.get(start..end)).unwrap_or_default()
    }
}

/// The value of `content-length` in the head of an answer.
fn content_length(head: &[u8]) -> Option<usize> {
    let name = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))?;
    std::str::from_utf8(line.get(name.len()..)?).ok()?.trim().parse().ok()
}

/// The bytes of a POST request.
pub(crate) fn post(path: &str, address: SocketAddr, media_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener};

    use super::*;

    /// A server that answers each request with its body, in two pieces.
    fn echo(answers: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    for _ in 0..answers {
                        let read = stream.read(&mut buffer).unwrap_or_default();
                        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                        let Some((_, body)) = text.split_once("\r\n\r\n") else { return };
                        let head = format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n", body.len());
                        stream.write_all(head.as_bytes()).unwrap();
                        stream.write_all(body.as_bytes()).unwrap();
                    }
                });
            }
        });
        address
    }

    fn ask(connections: usize, status: u16, answers: usize) -> anyhow::Result<Answered> {
        let address = echo(answers);
        let request = move |number: usize, into: &mut Vec<u8>| {
            into.extend(post("/x", address, "text/plain", format!("number {number}").as_bytes()));
        };
        let cpu = || Ok(Duration::ZERO);
        load(&Load { address, connections, warm_up: 10, count: 1200, request: &request, status, server_cpu: &cpu })
    }

    #[test]
    fn every_answer_is_read_whole() {
        for connections in [1, 7] {
            let answered = ask(connections, 201, usize::MAX).unwrap();
            assert!(answered.rate > 0.0 && answered.p50.0 > 0.0 && answered.p99 >= answered.p50);
            assert!(answered.bodies.len() == 3);
            assert!(answered.bodies.iter().all(|body| body.starts_with(b"number ")), "{answered:?}");
        }
    }

    #[test]
    fn another_status_or_a_closed_connection_ends_the_run() {
        assert!(ask(7, 200, usize::MAX).unwrap_err().to_string().starts_with("answered 201: number"));
        assert!(ask(7, 201, 5).is_err());
    }

    #[test]
    fn paced_requests_are_timed_from_when_they_were_due() {
        let address = echo(usize::MAX);
        let request = move |_: usize, into: &mut Vec<u8>| into.extend(post("/x", address, "text/plain", b"x"));
        let cpu = || Ok(Duration::ZERO);
        let load =
            Load { address, connections: 1, warm_up: 0, count: 5, request: &request, status: 201, server_cpu: &cpu };
        let start = Instant::now();
        let answered = paced(&load, Duration::from_millis(5)).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(25));
        assert!(answered.rate < 210.0);
    }

    #[test]
    fn the_length_is_found_in_any_case() {
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nx: y"), Some(12));
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\ncontent-length:7"), Some(7));
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\n"), None);
    }

    #[test]
    fn cpu_time_is_counted() {
        assert!(cpu_of(std::process::id()).is_ok());
        cpu_beside().unwrap();
    }
}
