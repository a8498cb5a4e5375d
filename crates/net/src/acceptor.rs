//! A listening socket and its connections.
//!
//! The acceptor is independent of protocols: it gives each connection a number, returns the connections that must be
//! run, and afterwards carries out what they request ([`PollResult`]): another turn, a timer, a half-close, an end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_http::{CloseReason, PollResult};
use otelcore_pipeline::{
    ConditionReport, ConditionReporter, Counter, Cx, Endpoint, Event, Listener, LogField, Logger, Metadata,
    MetricsLevel, MonotonicTime, StartError, StatusReport, Stream, Telemetry, TimerId,
};
use slab::Slab;

use crate::config::LoadSkewConfig;
use crate::load_skew::{HeavyConnection, LoadSkew};
use crate::tls::{PLAINTEXT_ERROR, TlsError};

/// What the acceptor needs of a protocol machine.
pub trait ProtocolMachine {
    /// The latest time at which its next turn must run, in nanoseconds.
    fn poll_timeout(&self) -> Option<u64>;
    /// Stops taking new requests and finishes those that it has.
    fn drain(&mut self, now: u64);
    /// Has the client connect again, without an error of any request: ends after the requests that the client has sent,
    /// or with its next one. `reason` is a word for the log.
    fn end_connection(&mut self, now: u64, reason: &'static str);
    /// Writes pending output, without reading.
    fn flush(&mut self, now: u64) -> PollResult;
    /// Half-closes the stream below.
    fn shutdown_write(&mut self);
}

impl<P> ProtocolMachine for otelcore_http::grpc::server::GrpcServerConn<Box<dyn Stream>, P> {
    fn poll_timeout(&self) -> Option<u64> {
        Self::poll_timeout(self)
    }

    fn drain(&mut self, now: u64) {
        Self::drain(self, now);
    }

    fn end_connection(&mut self, now: u64, reason: &'static str) {
        self.drain_because(now, reason);
    }

    fn flush(&mut self, now: u64) -> PollResult {
        Self::flush(self, now)
    }

    fn shutdown_write(&mut self) {
        self.io_mut().shutdown_write();
    }
}

/// Connections accepted in one turn, so that very many new connections do not delay the others.
const MAX_ACCEPTS_PER_TURN: usize = 64;

/// The delay after `accept` failed, for example for lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Why a connection ends whose client sends a request in plaintext to a port with TLS.
pub(crate) const PLAINTEXT_TO_TLS: &str = "client sent an HTTP request to an HTTPS server";

/// Logs that connections can't be accepted, and counts the failures.
#[derive(Clone, Debug)]
pub struct AcceptErrorReporter {
    log: Logger,
    failures: Counter,
    episode: ConditionReporter,
    /// What clients of another protocol speak, as far as it is in the log.
    other_protocols: Vec<&'static str>,
}

impl AcceptErrorReporter {
    /// Logs as the component that `log` belongs to.
    #[must_use]
    pub fn new(log: Logger, telemetry: &Telemetry) -> Self {
        let help = "Attempts to take a connection that failed, for want of descriptors for one";
        let failures = telemetry.counter(MetricsLevel::Basic, "otelcore_accept_failures", help, Vec::new());
        Self { log, failures, episode: ConditionReporter::default(), other_protocols: Vec::new() }
    }

    fn record_failure(&mut self, now: MonotonicTime, error: &io::Error) {
        self.failures.add(1);
        if let Some(ConditionReport::Began { count }) = self.episode.observe(now, true, 1) {
            let error = error.to_string();
            let fields = [("error", LogField::Str(&error)), ("failures", LogField::Uint(count))];
            self.log.error("Connections can't be accepted; they wait, and it is tried again.", &fields);
        }
    }

    /// A connection has ended. If its client spoke another protocol than the port, that is in the log once.
    fn record_end(&mut self, reason: &CloseReason) {
        let name = match reason {
            CloseReason::OtherProtocol(name) => *name,
            CloseReason::Http2Preface => "HTTP/2",
            CloseReason::Protocol(text) if text == PLAINTEXT_TO_TLS => "plaintext",
            CloseReason::Io(PLAINTEXT_ERROR) => "plaintext",
            _ => return,
        };
        if self.other_protocols.contains(&name) {
            return;
        }
        self.other_protocols.push(name);
        match name {
            "HTTP/2" => self.log.warn(
                "A client speaks gRPC to this port of HTTP: it should use the port of gRPC (4317), or send OTLP over HTTP.",
                &[],
            ),
            "plaintext" => self.log.warn(
                "A client does not speak TLS to this port, which does: write `https://` or leave out `insecure` at the client.",
                &[],
            ),
            "TLS" => self.log.warn(
                "A client speaks TLS to this port, which does not: write `tls:` at the receiver, or `insecure` at the client.",
                &[],
            ),
            _ => self.log.warn(
                "A client speaks HTTP/1 to this port of gRPC: it should use the port of HTTP (4318), or send OTLP over gRPC.",
                &[],
            ),
        }
    }

    fn record_success(&mut self, now: MonotonicTime) {
        if !self.episode.is_active() {
            return;
        }
        if let Some(ConditionReport::Ended { duration: lasted, count }) = self.episode.observe(now, false, 0) {
            let fields = [("seconds", LogField::Float(lasted.as_secs_f64())), ("failures", LogField::Uint(count))];
            self.log.info("Connections are accepted again.", &fields);
        }
    }
}

/// Ends connections that carry more than their share (`load_skew`), and reports that.
#[derive(Debug)]
pub(crate) struct LoadSkewPolicy {
    skew: LoadSkew,
    log: Logger,
    ended: Counter,
    is_logged: bool,
}

impl LoadSkewPolicy {
    /// `None` where the section is off.
    pub(crate) fn new(config: &Optional<LoadSkewConfig>, log: &Logger, telemetry: &Telemetry) -> Option<Self> {
        let skew = LoadSkew::new(config.get()?);
        let help = "Connections that ended because they carried more than their share of the load";
        let ended = telemetry.counter(MetricsLevel::Basic, "otelcore_load_skew_ended_connections", help, Vec::new());
        Some(Self { skew, log: log.clone(), ended, is_logged: false })
    }

    fn report(&mut self, heavy: &HeavyConnection, client: Option<&Metadata>) {
        self.ended.add(1);
        let client = client.and_then(Metadata::client_address).map_or_else(String::new, |ip| ip.to_string());
        let fields = [
            ("client", LogField::Str(&client)),
            ("percent_of_load", LogField::Float(heavy.percent)),
            ("connections", LogField::Uint(heavy.connections)),
        ];
        const MESSAGE: &str =
            "A connection carries more than its share of the load (load_skew): its client is told to connect again.";
        if std::mem::replace(&mut self.is_logged, true) {
            self.log.debug(MESSAGE, &fields);
        } else {
            self.log.info(MESSAGE, &fields);
        }
    }
}

struct ConnectionSlot<M> {
    machine: M,
    /// Distinguishes this connection from an earlier one in the same slot.
    serial: u64,
    timer: Option<(MonotonicTime, TimerId)>,
    /// The client's address; `None` where it has none.
    client: Option<Arc<Metadata>>,
}

/// A listener and its connections. It uses the component's local keys from `base` on: `base` for the listener,
/// `base + 1 + slot` for connections.
pub struct Acceptor<M> {
    listener: Option<Box<dyn Listener>>,
    base: u64,
    slots: Slab<ConnectionSlot<M>>,
    next_serial: u64,
    /// How many connections have ended.
    ended: u64,
    /// Connections that have responses to write.
    unflushed: Vec<usize>,
    error_reporter: Option<AcceptErrorReporter>,
    load_skew: Option<LoadSkewPolicy>,
    /// The last attempt to accept a connection has failed.
    has_failed: bool,
}

impl<M> std::fmt::Debug for Acceptor<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("connections", &self.slots.len()).finish_non_exhaustive()
    }
}

/// Why a server can't listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The configuration's fault: its endpoint is not an address; the text says why.
    #[error("{0}")]
    Endpoint(String),
    /// The configuration's fault: its certificates or keys can't be used.
    #[error("{0}")]
    Certificates(TlsError),
    /// The system refuses the address, for example because it is in use; in Go's form.
    #[error("{0}")]
    Bind(#[from] io::Error),
}

impl From<ListenError> for StartError {
    fn from(e: ListenError) -> Self {
        match e {
            ListenError::Endpoint(why) => Self::Config(why),
            ListenError::Certificates(error) => error.into(),
            ListenError::Bind(error) => error.into(),
        }
    }
}

/// The metadata of a client; made once for each connection.
fn client_metadata(stream: &dyn Stream) -> Option<Arc<Metadata>> {
    let address: SocketAddr = stream.peer_addr().parse().ok()?;
    Some(Arc::new(Metadata::of_client(Some(address.ip()))))
}

/// Binds a listening socket, for [`Acceptor::new`].
///
/// # Errors
/// The system's error, in Go's form.
pub fn bind(cx: &mut Cx<'_>, base: u64, endpoint: &Endpoint) -> io::Result<Box<dyn Listener>> {
    cx.listen(base, endpoint)
}

impl<M: ProtocolMachine> Acceptor<M> {
    /// Accepts connections from `listener`, which was bound under `base`.
    #[must_use]
    pub fn new(listener: Box<dyn Listener>, base: u64) -> Self {
        Self {
            listener: Some(listener),
            base,
            slots: Slab::new(),
            next_serial: 0,
            ended: 0,
            unflushed: Vec::new(),
            error_reporter: None,
            load_skew: None,
            has_failed: false,
        }
    }

    /// Adds a reporter that logs and counts failures to accept connections.
    #[must_use]
    pub fn with_error_reporter(mut self, reporter: AcceptErrorReporter) -> Self {
        self.error_reporter = Some(reporter);
        self
    }

    /// Adds what ends connections that carry more than their share.
    #[must_use]
    pub(crate) fn with_load_skew(mut self, policy: Option<LoadSkewPolicy>) -> Self {
        self.load_skew = policy;
        self
    }

    /// The address that it is bound to.
    #[must_use]
    pub fn local_addr(&self) -> String {
        self.listener.as_ref().map_or_else(String::new, |l| l.local_addr())
    }

    /// Handles an event under one of its keys, and returns the slots whose machines must run now. `make_machine` makes
    /// the machine of a new connection, or returns `None` to close it.
    pub fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        mut make_machine: impl FnMut(&mut Cx<'_>, Box<dyn Stream>) -> Option<M>,
    ) -> Vec<usize> {
        let Some(slot) = local.checked_sub(self.base + 1) else {
            return self.accept_connections(cx, &mut make_machine);
        };
        let Ok(slot) = usize::try_from(slot) else { return Vec::new() };
        let Some(found) = self.slots.get_mut(slot) else { return Vec::new() };
        if matches!(event, Event::Timer) {
            found.timer = None;
        }
        vec![slot]
    }

    fn accept_connections(
        &mut self,
        cx: &mut Cx<'_>,
        make_machine: &mut impl FnMut(&mut Cx<'_>, Box<dyn Stream>) -> Option<M>,
    ) -> Vec<usize> {
        let mut accepted = Vec::new();
        let Some(listener) = &mut self.listener else { return accepted };
        for _ in 0..MAX_ACCEPTS_PER_TURN {
            let entry = self.slots.vacant_entry();
            match listener.accept(self.base + 1 + entry.key() as u64) {
                Ok(stream) => {
                    let client = client_metadata(&*stream);
                    let Some(machine) = make_machine(cx, stream) else { continue };
                    accepted.push(entry.key());
                    if let Some(policy) = &mut self.load_skew {
                        policy.skew.open(entry.key(), cx.now().0);
                    }
                    entry.insert(ConnectionSlot { machine, serial: self.next_serial, timer: None, client });
                    self.next_serial += 1;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(report) = &mut self.error_reporter {
                        report.record_success(cx.now());
                    }
                    if std::mem::take(&mut self.has_failed) {
                        cx.report_status(self.base, StatusReport::Ok);
                    }
                    return accepted;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The peer closed the connection before it was accepted; the next one may be waiting.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    if let Some(report) = &mut self.error_reporter {
                        report.record_failure(cx.now(), &e);
                    }
                    self.has_failed = true;
                    let text = format!("connections can't be accepted: {e}");
                    cx.report_status(self.base, StatusReport::RecoverableError(&text));
                    // Out of descriptors or memory: the connections stay in the queue, and no new readiness event will
                    // report them.
                    let retry_at = cx.now() + ACCEPT_RETRY_DELAY;
                    cx.set_timer(self.base, retry_at);
                    return accepted;
                }
            }
        }
        cx.request_ready(self.base);
        accepted
    }

    /// A connection's machine and serial number.
    pub fn get(&mut self, slot: usize) -> Option<(&mut M, u64)> {
        self.slots.get_mut(slot).map(|s| (&mut s.machine, s.serial))
    }

    /// The metadata of requests of this connection without their headers: the address of the client.
    #[must_use]
    pub fn client(&self, slot: usize) -> Option<&Arc<Metadata>> {
        self.slots.get(slot)?.client.as_ref()
    }

    /// The machine that a response is for, if the slot still holds the connection of that serial number. The next
    /// [`Acceptor::flush`] writes the response.
    pub fn get_for_response(&mut self, slot: usize, serial: u64) -> Option<&mut M> {
        let found = self.slots.get_mut(slot).filter(|s| s.serial == serial)?;
        self.unflushed.push(slot);
        Some(&mut found.machine)
    }

    /// Records requests of this many bytes together. With `load_skew`, the connection that carries too much is told to
    /// end, if it is time to compare them; the next [`Acceptor::flush`] writes that.
    pub(crate) fn record_requests(&mut self, slot: usize, (requests, bytes): (u64, u64), now: u64) {
        let Some(policy) = &mut self.load_skew else { return };
        if requests > 0
            && let Some(heavy) = policy.skew.record(slot, requests, bytes, now)
            && let Some(found) = self.slots.get_mut(heavy.slot)
        {
            policy.report(&heavy, found.client.as_deref());
            found.machine.end_connection(now, "load_skew");
            self.unflushed.push(heavy.slot);
        }
    }

    /// How many connections have ended.
    pub(crate) fn ended_connections(&self) -> u64 {
        self.ended
    }

    /// Requests an event for this connection in the next turn.
    pub fn request_ready(&self, cx: &mut Cx<'_>, slot: usize) {
        cx.request_ready(self.base + 1 + slot as u64);
    }

    /// Writes the responses since the last call, with one flush for each connection.
    pub fn flush(&mut self, cx: &mut Cx<'_>) {
        let mut unflushed = std::mem::take(&mut self.unflushed);
        unflushed.sort_unstable();
        unflushed.dedup();
        for slot in unflushed.drain(..) {
            if let Some(found) = self.slots.get_mut(slot) {
                let result = found.machine.flush(cx.now().0);
                self.apply_poll_result(cx, slot, &result);
            }
        }
        // Keeps the allocation for the next call.
        self.unflushed = unflushed;
    }

    /// Carries out what a machine requests in `result`. The connection may be removed after this.
    pub fn apply_poll_result(&mut self, cx: &mut Cx<'_>, slot: usize, result: &PollResult) {
        let local = self.base + 1 + slot as u64;
        if let (Some(reporter), Some(reason)) = (&mut self.error_reporter, &result.close_reason) {
            reporter.record_end(reason);
        }
        if result.closed {
            self.ended += 1;
            if let Some(policy) = &mut self.load_skew {
                policy.skew.remove(slot);
            }
            if let Some(removed) = self.slots.try_remove(slot)
                && let Some((_, id)) = removed.timer
            {
                cx.cancel_timer(id);
            }
            return;
        }
        let Some(found) = self.slots.get_mut(slot) else { return };
        if result.poll_again {
            cx.request_ready(local);
        }
        if result.shutdown_write {
            found.machine.shutdown_write();
        }
        let deadline = found.machine.poll_timeout().map(MonotonicTime);
        // A timer that fires too early is harmless, and costs less than a new timer with every request.
        let keep_timer = match (deadline, &found.timer) {
            (None, None) => true,
            (Some(due), Some((at, _))) => *at <= due,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !keep_timer {
            if let Some((_, id)) = found.timer.take() {
                cx.cancel_timer(id);
            }
            found.timer = deadline.map(|at| (at, cx.set_timer(local, at)));
        }
    }

    /// Stops listening. Every connection finishes its requests and then ends.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.listener = None;
        let now = cx.now().0;
        self.slots.iter_mut().for_each(|(_, s)| s.machine.drain(now));
        self.unflushed.extend(self.slots.iter().map(|(slot, _)| slot));
        self.flush(cx);
    }

    /// It has stopped listening, and every connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.listener.is_none() && self.slots.is_empty()
    }
}
