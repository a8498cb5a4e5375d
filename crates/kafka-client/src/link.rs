//! One connection to a broker over a socket: from the look-up of its name to its end.
//!
//! Moves bytes between the socket and the [`Connection`], with a limit for each turn, and watches deadlines. Does not connect by itself.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use otelcore_pipeline::{Cx, JobResult, MonotonicTime, Stream};

use crate::connection::{Connection, ConnectionError, ConnectionEvent};
use crate::messages::RequestBody;
use crate::sasl::{Credentials, ScramDerived};
use crate::versions::{ApiKey, KafkaRelease};

/// Bytes that are read or written in one turn.
const MAX_BYTES_PER_TURN: usize = 512 << 10;
const READ_BUFFER: usize = 16 << 10;

/// What has happened on a connection.
pub(crate) enum LinkPhase {
    Ready,
    Answer { token: u64, version: i16, body: Bytes },
    Written { token: u64 },
}

/// How a connection is after a turn.
pub(crate) enum LinkResult {
    Open,
    /// The address could not be connected to.
    NotReached(String),
    /// It has ended.
    Ended(String),
}

struct OpenLink {
    stream: Box<dyn Stream>,
    connection: Connection,
    /// A byte of the broker has arrived.
    was_reached: bool,
}

/// See the module.
pub(crate) struct Link {
    /// The local key of its events.
    pub(crate) key: u64,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) next_address: usize,
    pub(crate) first_error: Option<String>,
    /// When it must be ready.
    pub(crate) deadline: MonotonicTime,
    /// When the present address must be ready.
    address_deadline: MonotonicTime,
    credentials: Option<Credentials>,
    open: Option<OpenLink>,
    derivation: Option<JobResult<ScramDerived>>,
    /// The requests without an answer, and when each must have one.
    requests: VecDeque<(u64, MonotonicTime)>,
    /// The session must not be used any more from then on.
    session_end: MonotonicTime,
    is_ready: bool,
    pub(crate) last_used: MonotonicTime,
    pub(crate) events: Vec<LinkPhase>,
}

impl Link {
    /// The name of the broker is being looked up.
    pub(crate) fn resolving(key: u64, credentials: Option<Credentials>, deadline: MonotonicTime) -> Self {
        Self {
            key,
            addresses: Vec::new(),
            next_address: 0,
            first_error: None,
            deadline,
            address_deadline: deadline,
            credentials,
            open: None,
            derivation: None,
            requests: VecDeque::new(),
            session_end: MonotonicTime::NEVER,
            is_ready: false,
            last_used: MonotonicTime(0),
            events: Vec::new(),
        }
    }

    /// A connection to an address has begun.
    pub(crate) fn open(
        &mut self,
        mut stream: Box<dyn Stream>,
        client_id: &str,
        pinned: Option<KafkaRelease>,
        (nonce, max_records): (String, usize),
        deadline: MonotonicTime,
    ) {
        let mut connection = Connection::begin(client_id, pinned, self.credentials.clone(), nonce);
        connection.accept_records(max_records);
        self.address_deadline = deadline;
        self.derivation = None;
        stream.set_protocol("Kafka");
        self.open = Some(OpenLink { stream, connection, was_reached: false });
    }

    /// The handshake is done.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// The session that was authenticated must not be used any more.
    pub(crate) fn is_session_over(&self, now: MonotonicTime) -> bool {
        self.session_end <= now
    }

    pub(crate) fn was_reached(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.was_reached)
    }

    pub(crate) fn requests_in_flight(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.connection.requests_in_flight())
    }

    /// It was ready, and no request is without an answer.
    pub(crate) fn is_idle_after_use(&self) -> bool {
        self.is_ready && self.requests.is_empty()
    }

    pub(crate) fn version(&self, api: ApiKey) -> Result<i16, ConnectionError> {
        let none = || ConnectionError::Versions("the broker is not connected".to_owned());
        self.open.as_ref().ok_or_else(none)?.connection.version(api)
    }

    pub(crate) fn send(
        &mut self,
        token: u64,
        (api, version): (ApiKey, i16),
        (body, has_answer): (RequestBody, bool),
        deadline: MonotonicTime,
    ) {
        if let Some(open) = &mut self.open {
            open.connection.send(token, api, version, body, has_answer);
            self.requests.push_back((token, deadline));
        }
    }

    /// The requests that will have no answer.
    pub(crate) fn take_tokens(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.requests).into_iter().map(|(token, _)| token).collect()
    }

    /// Reads and writes.
    pub(crate) fn poll(&mut self, cx: &mut Cx<'_>) -> LinkResult {
        if let Some(error) = self.poll_derivation() {
            return LinkResult::Ended(error);
        }
        match self.read(cx) {
            Ok(()) => self.poll_write(cx),
            Err(error) => self.ended(error),
        }
    }

    fn ended(&self, error: String) -> LinkResult {
        if self.was_reached() { LinkResult::Ended(error) } else { LinkResult::NotReached(error) }
    }

    /// The result of the computation for SCRAM.
    fn poll_derivation(&mut self) -> Option<String> {
        let derived = self.derivation.as_ref().filter(|job| job.has_ended())?.take();
        self.derivation = None;
        let Some(derived) = derived else {
            return Some("SASL authentication failed: the proof can't be computed".to_owned());
        };
        self.open.as_mut()?.connection.handle_derived(derived).err().map(|e| e.to_string())
    }

    fn read(&mut self, cx: &mut Cx<'_>) -> Result<(), String> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut buffer = [0; READ_BUFFER];
        let mut left = MAX_BYTES_PER_TURN;
        loop {
            if left == 0 {
                cx.request_ready(self.key);
                break;
            }
            match open.stream.read(&mut buffer) {
                Ok(0) => {
                    self.take_events(cx);
                    return Err("the broker closed the connection".to_owned());
                }
                Ok(n) => {
                    open.was_reached = true;
                    left = left.saturating_sub(n);
                    open.connection.handle_input(buffer.get(..n).unwrap_or_default()).map_err(|e| e.to_string())?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    let text = open.stream.layer_error().unwrap_or_else(|| e.to_string());
                    self.take_events(cx);
                    return Err(text);
                }
            }
        }
        self.take_events(cx);
        Ok(())
    }

    /// Writes what is waiting.
    pub(crate) fn poll_write(&mut self, cx: &mut Cx<'_>) -> LinkResult {
        let Some(open) = &mut self.open else { return LinkResult::Open };
        let mut left = MAX_BYTES_PER_TURN;
        while open.connection.has_output() {
            if left == 0 {
                cx.request_ready(self.key);
                break;
            }
            match open.stream.write_vectored(&open.connection.output()) {
                Ok(0) => return LinkResult::Ended("the socket takes no bytes".to_owned()),
                Ok(n) => {
                    left = left.saturating_sub(n);
                    open.connection.advance_output(n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    let text = open.stream.layer_error().unwrap_or_else(|| e.to_string());
                    return self.ended(text);
                }
            }
        }
        // Ciphertext that waits is written at the next event of the socket.
        if let Err(e) = open.stream.flush()
            && e.kind() != ErrorKind::WouldBlock
        {
            let text = open.stream.layer_error().unwrap_or_else(|| e.to_string());
            return self.ended(text);
        }
        self.take_events(cx);
        LinkResult::Open
    }

    fn take_events(&mut self, cx: &mut Cx<'_>) {
        let Some(open) = &mut self.open else { return };
        while let Some(event) = open.connection.poll_event() {
            match event {
                ConnectionEvent::Ready(lifetime) => {
                    self.is_ready = true;
                    // A session is replaced before the broker ends it.
                    if let Some(lifetime) = lifetime {
                        self.session_end = cx.now() + lifetime * 4 / 5;
                    }
                    self.credentials = None;
                    self.events.push(LinkPhase::Ready);
                }
                ConnectionEvent::Answer { token, version, body } => {
                    self.requests.retain(|(other, _)| *other != token);
                    self.events.push(LinkPhase::Answer { token, version, body });
                }
                ConnectionEvent::Written { token } => {
                    self.requests.retain(|(other, _)| *other != token);
                    self.events.push(LinkPhase::Written { token });
                }
                ConnectionEvent::Derive(proof) => {
                    self.derivation = Some(cx.run_job(self.key, move || proof.derive()));
                }
            }
            self.last_used = cx.now();
        }
    }

    /// When [`Link::check_deadlines`] has something to say.
    pub(crate) fn next_deadline(&self, idle_timeout: Duration) -> MonotonicTime {
        if !self.is_ready {
            return self.address_deadline;
        }
        let idle = (self.last_used + idle_timeout).min(self.session_end);
        // Requests have few different timeouts, and there are few of them.
        self.requests.iter().map(|(_, deadline)| *deadline).min().unwrap_or(idle)
    }

    /// Whether a deadline has passed.
    pub(crate) fn check_deadlines(&self, now: MonotonicTime, idle_timeout: Duration) -> Result<(), String> {
        if self.next_deadline(idle_timeout) > now {
            return Ok(());
        }
        Err(match (self.is_ready, self.requests.is_empty()) {
            (false, _) if self.was_reached() => "the broker does not answer".to_owned(),
            (false, _) => "i/o timeout".to_owned(),
            (true, true) => "it is not used any more".to_owned(),
            (true, false) => "the broker does not answer a request".to_owned(),
        })
    }

    /// Half-closes the socket.
    pub(crate) fn shutdown(&mut self) {
        if let Some(open) = &mut self.open {
            open.stream.shutdown_write();
        }
    }
}
