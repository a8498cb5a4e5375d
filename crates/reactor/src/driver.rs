//! The loop of the real world.
//!
//! One turn waits until something is ready or the next timer is due, and then delivers the events of sockets, look-ups
//! and timers to the graph. Each delivery settles its acknowledgements and sends what its state machines have to send
//! before it returns. A host program may call [`Runner::turn`] itself instead of [`Runner::run`].
//!
//! A component works for a few milliseconds on one event at most; longer work continues in the next turn. Sockets,
//! timers and the components that asked for another turn get [`SHARE`] of a turn each. Sockets and components that got
//! no event in that time are the first of the next turn, so that a turn stays short with any number of busy
//! connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otelcore_pipeline::{Event, Field, Graph, Key, Left, Mono, StartError, World};

use crate::Real;
use crate::output::FINISH;
use crate::waker::Waker;

/// The time in a turn for sockets, for timers, and for components that asked for another turn: each of the three.
const SHARE: Duration = Duration::from_millis(4);

/// Sends requests to a running loop from any thread.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Nanoseconds that a shutdown may take; `u64::MAX` while none is asked for.
    shutdown: Arc<AtomicU64>,
    /// How many flushes have been asked for.
    flushes: Arc<AtomicU64>,
    waker: Arc<Waker>,
}

impl Remote {
    /// Asks the loop to drain and to end within `grace`.
    pub fn shutdown(&self, grace: Duration) {
        let nanos = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX - 1);
        self.shutdown.store(nanos, Ordering::Release);
        // An error is ignored: a loop that has ended needs no waking.
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
pub struct Ending {
    /// What was not delivered in time.
    pub left: Left,
}

/// A graph in the real world.
#[derive(Debug)]
pub struct Runner {
    world: Real,
    graph: Graph,
    remote: Remote,
    /// Sockets that are ready, and keys that got no event in the turn before because its time was over.
    ready: Vec<Key>,
    until: Mono,
    flushed: u64,
}

impl Runner {
    /// Makes the loop of a started graph.
    #[must_use]
    pub fn new(world: Real, graph: Graph) -> Self {
        let remote = Remote {
            shutdown: Arc::new(AtomicU64::new(u64::MAX)),
            flushes: Arc::default(),
            waker: world.waker.clone(),
        };
        Self { world, graph, remote, ready: Vec::new(), until: Mono::NEVER, flushed: 0 }
    }

    /// A handle for other threads.
    #[must_use]
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// The graph, for its state between turns.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The world, for its clock.
    #[must_use]
    pub fn world(&self) -> &Real {
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

    /// The clock.
    #[must_use]
    pub fn now(&self) -> Mono {
        self.world.now()
    }

    /// When the next turn is due even without an event of a socket.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        if !self.ready.is_empty() {
            return Some(Mono::default());
        }
        let until = (self.until != Mono::NEVER).then_some(self.until);
        self.world.deadline().into_iter().chain(until).min()
    }

    /// Begins to drain; the loop ends within `grace`. A later call may shorten that time.
    pub fn close(&mut self, grace: Duration) {
        let until = self.world.now() + grace;
        if self.until == Mono::NEVER {
            self.until = until;
            self.graph.close(&mut self.world, until);
        }
        self.until = self.until.min(until);
    }

    /// Turns until the graph is closed or its time is up. `signal` is called with each signal, and with `None` at the
    /// end of each turn. It may call [`Runner::close`].
    ///
    /// # Errors
    /// When the system can't wait for sockets any more.
    pub fn run(mut self, mut signal: impl FnMut(&mut Self, Option<i32>)) -> io::Result<Ending> {
        let mut signals = Vec::new();
        loop {
            self.turn(Mono::NEVER, &mut signals)?;
            for number in signals.drain(..) {
                signal(&mut self, Some(number));
            }
            signal(&mut self, None);
            if let Some(ending) = self.ending() {
                return Ok(ending);
            }
        }
    }

    /// How the loop ended, once it has.
    pub fn ending(&mut self) -> Option<Ending> {
        let left = if self.graph.is_closed() {
            self.graph.left()
        } else if self.world.now() >= self.until {
            self.graph.abandon(&mut self.world)
        } else {
            return None;
        };
        // What a reader of an output does not take in this time is lost.
        let _ = self.world.outputs.finish(FINISH);
        Some(Ending { left })
    }

    /// One turn, which waits for events until `until` at most.
    ///
    /// # Errors
    /// When the system can't wait for sockets any more.
    pub fn turn(&mut self, until: Mono, signals: &mut Vec<i32>) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.world.wait(until.min(self.until), &mut ready, signals)?;
        // These are read before the notifiers and applied after them: a notification that came before a request of
        // `Remote` is delivered before the request takes effect.
        let flushes = self.remote.flushes.load(Ordering::Acquire);
        let grace = self.remote.shutdown.load(Ordering::Acquire);
        let Self { world, graph, .. } = self;
        let mut taken = 0;
        let begun = world.now();
        for key in &ready {
            graph.event(world, key.owner, key.local, Event::Ready);
            taken += 1;
            if world.now().since(begun) >= SHARE {
                break;
            }
        }
        ready.drain(..taken);
        for key in world.bells.take() {
            graph.event(world, key.owner, key.local, Event::Ready);
        }
        while let Some((key, found)) = world.answer() {
            graph.event(world, key.owner, key.local, Event::Resolved(&found));
        }
        for (path, dropped) in world.outputs.reports() {
            let fields = [
                ("output", Field::Str(&path)),
                ("dropped_records", Field::Uint(dropped.records)),
                ("dropped_bytes", Field::Uint(dropped.bytes)),
            ];
            graph.log().warn("Output was dropped: its reader was too slow, or it could not be written.", &fields);
        }
        let begun = world.now();
        while let Some(key) = world.timers.pop(begun) {
            graph.event(world, key.owner, key.local, Event::Timer);
            if world.now().since(begun) >= SHARE {
                break;
            }
        }
        // Only the components that asked before now; one that asks again meanwhile waits for the next turn.
        let begun = world.now();
        let mut again = std::mem::take(&mut world.again).into_iter();
        for key in again.by_ref() {
            graph.event(world, key.owner, key.local, Event::Ready);
            if world.now().since(begun) >= SHARE {
                break;
            }
        }
        ready.extend(again);
        self.ready = ready;
        if flushes != self.flushed {
            self.flushed = flushes;
            self.graph.flush(&mut self.world);
        }
        if grace != u64::MAX {
            self.close(Duration::from_nanos(grace));
        }
        Ok(())
    }
}
