//! A listening socket and its connections.
//!
//! The acceptor is independent of protocols: it gives each connection a number, returns the connections that must be
//! run, and afterwards carries out what their machines request ([`Turn`]): another turn, a timer, a half-close, an end.

use std::io;
use std::time::Duration;

use otelcore_http::Turn;
use otelcore_pipeline::{
    Counter, Cx, Detail, Endpoint, Episode, EpisodeReport, Event, Field, Listener, Logger, Mono, Stream, Telemetry,
    TimerId,
};
use slab::Slab;

/// What the acceptor needs of a protocol machine.
pub trait Machine {
    /// The latest time at which its next turn must run, in nanoseconds.
    fn poll_timeout(&self) -> Option<u64>;
    /// Stops taking new requests and finishes those that it has.
    fn drain(&mut self, now: u64);
    /// Writes pending output, without reading.
    fn flush(&mut self, now: u64) -> Turn;
    /// Half-closes the stream below.
    fn shut_write(&mut self);
}

impl<P> Machine for otelcore_http::grpc::server::ServerConn<Box<dyn Stream>, P> {
    fn poll_timeout(&self) -> Option<u64> {
        Self::poll_timeout(self)
    }

    fn drain(&mut self, now: u64) {
        Self::drain(self, now);
    }

    fn flush(&mut self, now: u64) -> Turn {
        Self::flush(self, now)
    }

    fn shut_write(&mut self) {
        self.io_mut().shut_write();
    }
}

/// Connections accepted in one turn, so that very many new connections do not delay the others.
const ACCEPTS: usize = 64;

/// The pause after `accept` failed, for example for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Logs that connections can't be accepted, and counts the failures.
#[derive(Clone, Debug)]
pub struct AcceptReport {
    log: Logger,
    failures: Counter,
    episode: Episode,
}

impl AcceptReport {
    /// Logs as the component that `log` belongs to.
    #[must_use]
    pub fn new(log: Logger, telemetry: &Telemetry) -> Self {
        let help = "Attempts to take a connection that failed, for want of descriptors for one";
        let failures = telemetry.counter(Detail::Basic, "otelcore_accept_failures", help, Vec::new());
        Self { log, failures, episode: Episode::default() }
    }

    fn failed(&mut self, now: Mono, error: &io::Error) {
        self.failures.add(1);
        if let Some(EpisodeReport::Begins { count }) = self.episode.observe(now, true, 1) {
            let error = error.to_string();
            let fields = [("error", Field::Str(&error)), ("failures", Field::Uint(count))];
            self.log.error("Connections can't be accepted; they wait, and it is tried again.", &fields);
        }
    }

    fn succeeded(&mut self, now: Mono) {
        if !self.episode.is_active() {
            return;
        }
        if let Some(EpisodeReport::Ends { lasted, count }) = self.episode.observe(now, false, 0) {
            let fields = [("seconds", Field::Float(lasted.as_secs_f64())), ("failures", Field::Uint(count))];
            self.log.info("Connections are accepted again.", &fields);
        }
    }
}

struct Slot<M> {
    machine: M,
    /// Distinguishes this connection from an earlier one in the same slot.
    serial: u64,
    timer: Option<(Mono, TimerId)>,
}

/// A listener and its connections. It uses the component's local keys from `base` on: `base` for the listener,
/// `base + 1 + slot` for connections.
pub struct Acceptor<M> {
    listener: Option<Box<dyn Listener>>,
    base: u64,
    slots: Slab<Slot<M>>,
    next_serial: u64,
    /// Connections that have responses to write.
    dirty: Vec<usize>,
    report: Option<AcceptReport>,
}

impl<M> std::fmt::Debug for Acceptor<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("connections", &self.slots.len()).finish_non_exhaustive()
    }
}

/// Binds a listening socket, for [`Acceptor::new`].
///
/// # Errors
/// The system's error, in Go's form.
pub fn bind(cx: &mut Cx<'_>, base: u64, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
    cx.listen(base, at)
}

impl<M: Machine> Acceptor<M> {
    /// Accepts connections from `listener`, which was bound under `base`.
    #[must_use]
    pub fn new(listener: Box<dyn Listener>, base: u64) -> Self {
        Self { listener: Some(listener), base, slots: Slab::new(), next_serial: 0, dirty: Vec::new(), report: None }
    }

    /// Has failures to accept connections logged and counted.
    #[must_use]
    pub fn reporting(mut self, report: AcceptReport) -> Self {
        self.report = Some(report);
        self
    }

    /// The address that it is bound to.
    #[must_use]
    pub fn local(&self) -> String {
        self.listener.as_ref().map_or_else(String::new, |l| l.local())
    }

    /// Handles an event under one of its keys, and returns the slots whose machines must run now. `make` makes the
    /// machine of a new connection, or returns `None` to close it.
    pub fn event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        mut make: impl FnMut(&mut Cx<'_>, Box<dyn Stream>) -> Option<M>,
    ) -> Vec<usize> {
        let Some(slot) = local.checked_sub(self.base + 1) else { return self.accept(cx, &mut make) };
        let Ok(slot) = usize::try_from(slot) else { return Vec::new() };
        let Some(found) = self.slots.get_mut(slot) else { return Vec::new() };
        if matches!(event, Event::Timer) {
            found.timer = None;
        }
        vec![slot]
    }

    fn accept(
        &mut self,
        cx: &mut Cx<'_>,
        make: &mut impl FnMut(&mut Cx<'_>, Box<dyn Stream>) -> Option<M>,
    ) -> Vec<usize> {
        let mut new = Vec::new();
        let Some(listener) = &mut self.listener else { return new };
        for _ in 0..ACCEPTS {
            let entry = self.slots.vacant_entry();
            match listener.accept(self.base + 1 + entry.key() as u64) {
                Ok(stream) => {
                    let Some(machine) = make(cx, stream) else { continue };
                    new.push(entry.key());
                    entry.insert(Slot { machine, serial: self.next_serial, timer: None });
                    self.next_serial += 1;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(report) = &mut self.report {
                        report.succeeded(cx.now());
                    }
                    return new;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The peer closed the connection before it was accepted; the next one may be waiting.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    if let Some(report) = &mut self.report {
                        report.failed(cx.now(), &e);
                    }
                    // Out of descriptors or memory: the connections stay in the queue, and no new readiness event will
                    // report them.
                    let at = cx.now() + PAUSE;
                    cx.arm(self.base, at);
                    return new;
                }
            }
        }
        cx.again(self.base);
        new
    }

    /// A connection's machine and serial number.
    pub fn get(&mut self, slot: usize) -> Option<(&mut M, u64)> {
        self.slots.get_mut(slot).map(|s| (&mut s.machine, s.serial))
    }

    /// The machine that a response is for, if the slot still holds the connection of that serial number. The next
    /// [`Acceptor::flush`] writes the response.
    pub fn answer(&mut self, slot: usize, serial: u64) -> Option<&mut M> {
        let found = self.slots.get_mut(slot).filter(|s| s.serial == serial)?;
        self.dirty.push(slot);
        Some(&mut found.machine)
    }

    /// Requests an event for this connection in the next turn.
    pub fn again(&self, cx: &mut Cx<'_>, slot: usize) {
        cx.again(self.base + 1 + slot as u64);
    }

    /// Writes the responses since the last call, with one flush for each connection.
    pub fn flush(&mut self, cx: &mut Cx<'_>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for slot in dirty.drain(..) {
            if let Some(found) = self.slots.get_mut(slot) {
                let turn = found.machine.flush(cx.now().0);
                self.after(cx, slot, &turn);
            }
        }
        // Keeps the allocation for the next call.
        self.dirty = dirty;
    }

    /// Carries out what a machine's turn requests. The connection may be removed after this.
    pub fn after(&mut self, cx: &mut Cx<'_>, slot: usize, turn: &Turn) {
        let local = self.base + 1 + slot as u64;
        if turn.closed {
            if let Some(gone) = self.slots.try_remove(slot)
                && let Some((_, id)) = gone.timer
            {
                cx.cancel(id);
            }
            return;
        }
        let Some(found) = self.slots.get_mut(slot) else { return };
        if turn.again {
            cx.again(local);
        }
        if turn.shut_write {
            found.machine.shut_write();
        }
        let due = found.machine.poll_timeout().map(Mono);
        // A timer that fires too early is harmless, and costs less than a new timer with every request.
        let keep = match (due, &found.timer) {
            (None, None) => true,
            (Some(due), Some((at, _))) => *at <= due,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !keep {
            if let Some((_, id)) = found.timer.take() {
                cx.cancel(id);
            }
            found.timer = due.map(|at| (at, cx.arm(local, at)));
        }
    }

    /// Stops listening, and has every connection finish its requests.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.listener = None;
        let now = cx.now().0;
        self.slots.iter_mut().for_each(|(_, s)| s.machine.drain(now));
        self.dirty.extend(self.slots.iter().map(|(slot, _)| slot));
        self.flush(cx);
    }

    /// It has stopped listening, and every connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.listener.is_none() && self.slots.is_empty()
    }
}
