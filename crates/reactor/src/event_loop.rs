//! The loop of the real world.
//!
//! One turn waits until something is ready or the next timer is due, and then delivers the events of sockets, look-ups
//! and timers to the graph. Each delivery settles its acknowledgements and sends what its state machines have to send
//! before it returns. A host program may call [`EventLoop::turn`] itself instead of [`EventLoop::run`].
//!
//! A component works for a few milliseconds on one event at most; longer work continues in the next turn. Sockets,
//! timers and the components that asked for another turn get [`PHASE_TIME`] of a turn each. Sockets and components that
//! got no event in that time are the first of the next turn, so that a turn stays short with any number of busy
//! connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otelcore_pipeline::{
    ChangeError, Event, Graph, GraphChange, Key, LogField, MonotonicTime, StartError, UndeliveredItems, World,
};

use crate::RealWorld;
use crate::output::FINISH_TIMEOUT;
use crate::waker::Waker;

/// The time in a turn for sockets, for timers, and for components that asked for another turn: each of the three.
const PHASE_TIME: Duration = Duration::from_millis(4);

/// Sends requests to a running loop from any thread.
#[derive(Clone, Debug)]
pub struct LoopHandle {
    /// Nanoseconds that a shutdown may take; `u64::MAX` while none is asked for.
    shutdown: Arc<AtomicU64>,
    /// How many flushes have been asked for.
    flushes: Arc<AtomicU64>,
    waker: Arc<Waker>,
}

impl LoopHandle {
    /// Asks the loop to drain and to end within `grace`.
    pub fn shutdown(&self, grace: Duration) {
        let nanos = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX - 1);
        self.shutdown.store(nanos, Ordering::Release);
        // An error is ignored: a loop that has ended needs no waking.
        let _ = self.waker.wake();
    }

    /// Makes the loop take a turn, in which the function that runs at its end sees what has changed.
    pub fn wake(&self) {
        let _ = self.waker.wake();
    }

    /// Asks the loop to flush: components send what they hold back to collect more.
    pub fn flush(&self) {
        self.flushes.fetch_add(1, Ordering::AcqRel);
        let _ = self.waker.wake();
    }
}

/// How a loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// What was not delivered in time.
    pub undelivered: UndeliveredItems,
}

/// A graph in the real world.
#[derive(Debug)]
pub struct EventLoop {
    world: RealWorld,
    graph: Graph,
    handle: LoopHandle,
    /// Sockets that are ready, and keys that got no event in the turn before because its time was over.
    ready: Vec<Key>,
    shutdown_deadline: MonotonicTime,
    applied_flushes: u64,
}

impl EventLoop {
    /// Makes the loop of a started graph.
    #[must_use]
    pub fn new(world: RealWorld, graph: Graph) -> Self {
        let handle = LoopHandle {
            shutdown: Arc::new(AtomicU64::new(u64::MAX)),
            flushes: Arc::default(),
            waker: world.waker.clone(),
        };
        Self { world, graph, handle, ready: Vec::new(), shutdown_deadline: MonotonicTime::NEVER, applied_flushes: 0 }
    }

    /// A handle for other threads.
    #[must_use]
    pub fn handle(&self) -> LoopHandle {
        self.handle.clone()
    }

    /// The graph, for its state between turns.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The world, for its clock.
    #[must_use]
    pub fn world(&self) -> &RealWorld {
        &self.world
    }

    /// Whether another graph could start once this one has ended, as far as that can be tried while it runs: files are
    /// read, and addresses that this graph does not use are bound for a moment.
    ///
    /// # Errors
    /// The first component that could not start.
    pub fn try_start(&mut self, graph: Graph) -> Result<(), StartError> {
        self.world.try_start(graph)
    }

    /// Changes the graph into one that was built from it ([`otelcore_pipeline::GraphBuilder::following`]). Components that end get
    /// `grace` for what they hold.
    ///
    /// # Errors
    /// The first component that can't start; the graph goes on as before.
    pub fn change(&mut self, next: Graph, grace: Duration) -> Result<GraphChange, ChangeError> {
        let deadline = self.world.now() + grace;
        self.graph.change(&mut self.world, next, deadline)
    }

    /// The clock.
    #[must_use]
    pub fn now(&self) -> MonotonicTime {
        self.world.now()
    }

    /// When the next turn is due even without an event of a socket.
    #[must_use]
    pub fn deadline(&self) -> Option<MonotonicTime> {
        if !self.ready.is_empty() {
            return Some(MonotonicTime::default());
        }
        let shutdown_deadline = (self.shutdown_deadline != MonotonicTime::NEVER).then_some(self.shutdown_deadline);
        self.world.deadline().into_iter().chain(shutdown_deadline).min()
    }

    /// Begins to drain; the loop ends within `grace`. A later call may shorten that time.
    pub fn close(&mut self, grace: Duration) {
        let deadline = self.world.now() + grace;
        if self.shutdown_deadline == MonotonicTime::NEVER {
            self.shutdown_deadline = deadline;
            self.graph.close(&mut self.world, deadline);
        }
        self.shutdown_deadline = self.shutdown_deadline.min(deadline);
    }

    /// Turns until the graph is closed or its time is up. `on_signal` is called with each signal, and with `None` at
    /// the end of each turn. It may call [`EventLoop::close`].
    ///
    /// # Errors
    /// When the system can't wait for sockets any more.
    pub fn run(mut self, mut on_signal: impl FnMut(&mut Self, Option<i32>)) -> io::Result<ShutdownReport> {
        let mut signals = Vec::new();
        loop {
            self.turn(MonotonicTime::NEVER, &mut signals)?;
            for number in signals.drain(..) {
                on_signal(&mut self, Some(number));
            }
            on_signal(&mut self, None);
            if let Some(report) = self.shutdown_report() {
                return Ok(report);
            }
        }
    }

    /// How the loop ended, once it has.
    pub fn shutdown_report(&mut self) -> Option<ShutdownReport> {
        let undelivered = if self.graph.is_closed() {
            self.graph.undelivered()
        } else if self.world.now() >= self.shutdown_deadline {
            self.graph.abort(&mut self.world)
        } else {
            return None;
        };
        // What a reader of an output does not take in this time is lost.
        let _ = self.world.outputs.finish(FINISH_TIMEOUT);
        Some(ShutdownReport { undelivered })
    }

    /// One turn, which waits for events until `until` at most.
    ///
    /// # Errors
    /// When the system can't wait for sockets any more.
    pub fn turn(&mut self, deadline: MonotonicTime, signals: &mut Vec<i32>) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.world.wait(deadline.min(self.shutdown_deadline), &mut ready, signals)?;
        // These are read before the notifiers and applied after them: a notification that came before a request of
        // `LoopHandle` is delivered before the request takes effect.
        let flushes = self.handle.flushes.load(Ordering::Acquire);
        let grace = self.handle.shutdown.load(Ordering::Acquire);
        let Self { world, graph, .. } = self;
        let mut delivered = 0;
        let start = world.now();
        for key in &ready {
            graph.handle_event(world, key.owner, key.local, Event::Ready);
            delivered += 1;
            if world.now().since(start) >= PHASE_TIME {
                break;
            }
        }
        ready.drain(..delivered);
        for key in world.notifiers.take() {
            graph.handle_event(world, key.owner, key.local, Event::Ready);
        }
        while let Some((key, addresses)) = world.next_lookup() {
            graph.handle_event(world, key.owner, key.local, Event::Resolved(&addresses));
        }
        for (path, dropped) in world.outputs.take_reports() {
            let fields = [
                ("output", LogField::Str(&path)),
                ("dropped_records", LogField::Uint(dropped.count)),
                ("dropped_bytes", LogField::Uint(dropped.bytes)),
            ];
            graph.log().warn("Output was dropped: its reader was too slow, or it could not be written.", &fields);
        }
        let start = world.now();
        while let Some(key) = world.timers.pop_due(start) {
            graph.handle_event(world, key.owner, key.local, Event::Timer);
            if world.now().since(start) >= PHASE_TIME {
                break;
            }
        }
        // Only the components that asked before now; one that asks again meanwhile waits for the next turn.
        let start = world.now();
        let mut requested = std::mem::take(&mut world.ready_requests).into_iter();
        for key in requested.by_ref() {
            graph.handle_event(world, key.owner, key.local, Event::Ready);
            if world.now().since(start) >= PHASE_TIME {
                break;
            }
        }
        ready.extend(requested);
        self.ready = ready;
        if flushes != self.applied_flushes {
            self.applied_flushes = flushes;
            self.graph.flush(&mut self.world);
        }
        if grace != u64::MAX {
            self.close(Duration::from_nanos(grace));
        }
        Ok(())
    }
}
