//! An exporter behind its queue, for telemetry that an extension makes itself and that goes through no pipeline.
//!
//! Owns the exporter, the queue of one signal, and the timer of the queue. Makes no payloads, and has no metrics of its own.

use otelcore_pdata::Signal;

use crate::{
    Ack, AttemptId, Cx, Event, Exporter, ExporterQueue, ExporterQueueConfig, Logger, MetricsLevel, MonotonicTime,
    Outcomes, Payload, StartError, Telemetry, TimerId,
};

/// The local number of the timer of the queue. Exporters use lower ones.
const QUEUE_TIMER: u64 = 3 << 62;

/// An exporter with queue and retry. The extension that owns it passes on its events, apart from those under its own local
/// numbers, which are at least [`QueuedExporter::FIRST_FREE_LOCAL`].
pub struct QueuedExporter {
    exporter: Box<dyn Exporter>,
    queue: ExporterQueue,
    signal: Signal,
    timer: Option<(MonotonicTime, TimerId)>,
}

impl std::fmt::Debug for QueuedExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuedExporter").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl QueuedExporter {
    /// Local numbers from here on are not used by it.
    pub const FIRST_FREE_LOCAL: u64 = QUEUE_TIMER + 1;

    /// Not started yet. `log` is that of the queue: failures are logged as those of every exporter.
    #[must_use]
    pub fn new(exporter: Box<dyn Exporter>, config: ExporterQueueConfig, signal: Signal, log: Logger) -> Self {
        let queue = ExporterQueue::new(config, signal, "", &Telemetry::new(MetricsLevel::None), log);
        Self { exporter, queue, signal, timer: None }
    }

    /// Starts the exporter. A peer that can't be reached is no error.
    ///
    /// # Errors
    /// The reason why it can't start.
    pub fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.exporter.start(cx)
    }

    /// Queues a payload of its signal, or drops it if the queue is full.
    pub fn offer(&mut self, cx: &mut Cx<'_>, payload: Payload) {
        self.queue.offer(payload, Ack::detached());
        self.advance(cx);
    }

    /// Passes on an event.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        if local == QUEUE_TIMER {
            self.timer = None;
            self.queue.handle_timeout(cx.now());
        } else {
            let mut outcomes = Outcomes::default();
            self.exporter.handle_event(cx, local, event, &mut outcomes);
            self.handle_outcomes(cx, &mut outcomes);
        }
        self.advance(cx);
    }

    /// Begins a shutdown that ends at `deadline`: pauses between attempts are short from now on.
    pub fn drain(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        self.queue.drain(cx.now(), deadline);
        self.advance(cx);
    }

    /// Gives up what is held, and closes the exporter.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.queue.abort();
        self.exporter.close(cx);
        if let Some((_, id)) = self.timer.take() {
            cx.cancel_timer(id);
        }
    }

    /// Items that are not delivered yet.
    #[must_use]
    pub fn held_items(&self) -> u64 {
        self.queue.held_items()
    }

    /// Items that were given up, since it was made.
    #[must_use]
    pub fn failed_items(&self) -> u64 {
        let (_, given_up) = self.queue.failed_items();
        given_up
    }

    /// Starts attempts while there are any, then sets the timer.
    fn advance(&mut self, cx: &mut Cx<'_>) {
        while let Some((number, payload, deadline)) = self.queue.poll_attempt(cx.now()) {
            let mut outcomes = Outcomes::default();
            let attempt = AttemptId { signal: self.signal as u8, number };
            self.exporter.send(cx, attempt, &payload, deadline, &mut outcomes);
            self.handle_outcomes(cx, &mut outcomes);
        }
        let due = self.queue.poll_timeout();
        if due != self.timer.map(|(at, _)| at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel_timer(id);
            }
            self.timer = due.map(|at| (at, cx.set_timer(QUEUE_TIMER, at)));
        }
    }

    fn handle_outcomes(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        for (attempt, outcome) in outcomes.drain() {
            self.queue.handle_attempt(cx.now(), attempt.number, outcome, cx.random());
        }
    }
}
