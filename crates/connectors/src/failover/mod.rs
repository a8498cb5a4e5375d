//! The `failover` connector: passes payloads to the first level of pipelines that accepts them.
//!
//! Keeps each payload until a level has accepted it. Without `sending_queue` the sender waits, and gets the answer of the
//! level that took the payload; with it, the queue takes custody, and tries a payload again that no level accepts.

mod levels;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{DiagnosticKind, GoDuration, PipelineId, Section, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Connector, ConnectorOutput, Cx, Error,
    Event, ExporterQueue, ExporterQueueConfig, HeldItems, LogField, Logger, LossReason, MonotonicTime, Outcome,
    Payload, QueueConfig, RetryConfig, StartError, TimerId,
};

use levels::{Attempt, Levels};

config_struct! {
    /// Passes telemetry to the first of several levels of pipelines that accepts it.
    #[config(check = Self::check)]
    pub struct FailoverConfig {
        /// Payloads wait here until a level accepts them. `enabled: false`: the sender waits instead.
        pub sending_queue: Optional<QueueConfig> = Optional::on(QueueConfig::default()),
        /// The levels, each a list of pipelines. All pipelines of a level must accept a payload; else the next level gets it.
        pub priority_levels: Vec<Vec<PipelineId>>,
        /// How often a payload is tried on the levels above the current one.
        #[config(above(GoDuration::ZERO, "Retry interval must be positive"))]
        pub retry_interval: Duration = Duration::from_mins(10),
        /// The time between two levels that are tried again.
        #[config(no_effect = "all levels above the current one are tried with one payload, as in the Go collector")]
        pub retry_gap: GoDuration = GoDuration::ZERO,
        /// How often a level is tried again.
        #[config(no_effect = "levels are tried again without a limit, as in the Go collector")]
        pub max_retries: i64 = 0,
    }
}

impl FailoverConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.priority_levels.is_empty() {
            s.error("priority_levels", "No pipelines are defined in the priority list");
        }
        if self.sending_queue.get().is_some_and(|queue| !queue.storage.is_empty()) {
            let message = "'storage' is not supported: the queue of `failover` is in memory";
            s.error("sending_queue::storage", message)
                .kind(DiagnosticKind::Unsupported)
                .help("leave it out here, and write `sending_queue: {enabled: false}`: the sender waits for the exporters, each of which may have a queue with `storage`");
        }
    }
}

/// Makes `failover` connectors.
#[derive(Clone, Copy, Debug)]
pub struct FailoverFactory;

impl ComponentType for FailoverFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Connector,
        type_name: "failover",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Alpha",
    };
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = crate::SAME_SIGNAL_PAIRS;
    type Config = FailoverConfig;

    fn create(&self, config: &FailoverConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let number = |id: &PipelineId| {
            let found = context.output_pipelines.iter().position(|fed| fed == id);
            found.ok_or_else(|| StartError::Config(format!("Error registering consumer: missing consumer: \"{id}\"")))
        };
        let mut pipelines: Vec<Vec<usize>> = Vec::new();
        for level in &config.priority_levels {
            if level.is_empty() {
                return Err(StartError::Config("Error registering consumer: missing consumers".to_owned()));
            }
            pipelines.push(level.iter().map(number).collect::<Result<_, _>>()?);
        }
        let queue = config.sending_queue.get().map(|queue| {
            // A sender that waits for the result tries again itself.
            let retry = RetryConfig { enabled: !queue.wait_for_result, ..RetryConfig::default() };
            let config = ExporterQueueConfig { timeout: Duration::ZERO, retry, queue: config.sending_queue.clone() };
            let signal = context.signals.first().copied().unwrap_or(Signal::Traces);
            ExporterQueue::new(config, signal, &context.id.to_string(), context.telemetry, context.log.clone())
        });
        let levels = Levels::new(pipelines.len(), config.retry_interval);
        // An earlier instance may have counted.
        let failed_items = queue.as_ref().map_or((0, 0), ExporterQueue::failed_items);
        Ok(Component::Connector(Box::new(Failover {
            pipelines,
            levels,
            queue,
            log: context.log.clone(),
            tries: BTreeMap::new(),
            next_try: 0,
            queued_items_in_flight: 0,
            sender_items_in_flight: 0,
            failed_items,
            waits_for_result: config.sending_queue.get().is_some_and(|queue| queue.wait_for_result),
            begins_left: 0,
            is_turn_requested: false,
            timers: [Timer::default(); 2],
        })))
    }
}

/// The local keys: a level is tried again, the queue is due, and the queue goes on in the next turn.
const LEVELS_TIMER: u64 = 0;
const QUEUE_TIMER: u64 = 1;
const NEXT_TURN_KEY: u64 = 2;

/// Payloads of the queue that are begun for one event at most.
const MAX_BEGINS: u32 = 32;

/// The error of a payload that no level accepts.
const NO_LEVEL: &str = "All provided pipelines return errors";

/// Who waits for the outcome of a payload.
enum Origin {
    Sender(Ack),
    /// The queue, by the number of its attempt.
    Queue(u64),
}

/// A payload that is with a level.
struct Try {
    payload: Payload,
    origin: Origin,
    attempt: Attempt,
    /// A level has refused it in a way that may pass.
    may_succeed_later: bool,
}

#[derive(Clone, Copy, Default)]
struct Timer {
    at: Option<MonotonicTime>,
    id: Option<TimerId>,
}

impl Timer {
    fn set(&mut self, cx: &mut Cx<'_>, key: u64, at: Option<MonotonicTime>) {
        if at == self.at {
            return;
        }
        if let Some(id) = self.id.take() {
            cx.cancel_timer(id);
        }
        *self = Self { at, id: at.map(|at| cx.set_timer(key, at)) };
    }
}

struct Failover {
    /// The pipelines of each level, by their numbers among those that the connector feeds.
    pipelines: Vec<Vec<usize>>,
    levels: Levels,
    queue: Option<ExporterQueue>,
    log: Logger,
    /// By the ids of their acks.
    tries: BTreeMap<u64, Try>,
    next_try: u64,
    /// Items of `tries` that the queue counts as well.
    queued_items_in_flight: u64,
    /// Items of `tries` whose sender waits.
    sender_items_in_flight: u64,
    /// What the queue had refused and given up after the last call.
    failed_items: (u64, u64),
    /// What the queue gives up is refused: its sender gets the error.
    waits_for_result: bool,
    /// Payloads of the queue that may still be begun for this event.
    begins_left: u32,
    is_turn_requested: bool,
    timers: [Timer; 2],
}

impl Failover {
    /// Begins payloads of the queue, and sets timers.
    fn run(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        while let Some(queue) = &mut self.queue {
            if self.begins_left == 0 || queue.needs_turn() {
                if !std::mem::replace(&mut self.is_turn_requested, true) {
                    cx.request_ready(NEXT_TURN_KEY);
                }
                break;
            }
            let Some((number, payload, _)) = queue.poll_attempt(cx.now()) else { break };
            self.begins_left -= 1;
            self.begin(cx, payload, Origin::Queue(number), output);
        }
        let [levels, queue] = &mut self.timers;
        levels.set(cx, LEVELS_TIMER, self.levels.poll_timeout());
        queue.set(cx, QUEUE_TIMER, self.queue.as_ref().and_then(ExporterQueue::poll_timeout));
        self.report_failed(output);
    }

    /// Reports what the queue has refused and given up since the last call.
    fn report_failed(&mut self, output: &mut ConnectorOutput) {
        let Some(queue) = &self.queue else { return };
        let (refused, given_up) = queue.failed_items();
        let before = std::mem::replace(&mut self.failed_items, (refused, given_up));
        output.record_refused(refused.saturating_sub(before.0));
        let given_up = given_up.saturating_sub(before.1);
        if self.waits_for_result {
            output.record_refused(given_up);
        } else {
            output.record_dropped("send_failed", given_up);
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_>, payload: Payload, origin: Origin, output: &mut ConnectorOutput) {
        let Some(attempt) = self.levels.begin() else {
            self.count_try(&origin, &payload, true);
            return self.finish(cx, &payload, origin, Outcome::retry(NO_LEVEL), output);
        };
        self.count_try(&origin, &payload, true);
        let id = self.next_try;
        self.next_try += 1;
        self.send(id, Try { payload, origin, attempt, may_succeed_later: false }, output);
    }

    /// Passes a payload to all pipelines of its level, of which all must accept it.
    fn send(&mut self, id: u64, what: Try, output: &mut ConnectorOutput) {
        let all = output.new_ack(id).into_pieces();
        for pipeline in self.pipelines.get(what.attempt.level).into_iter().flatten() {
            output.send_to(*pipeline, what.payload.clone(), all.piece());
        }
        self.tries.insert(id, what);
    }

    /// Counts a payload that comes to the levels, or that has left them.
    fn count_try(&mut self, origin: &Origin, payload: &Payload, is_begun: bool) {
        let items = u64::from(payload.items());
        let in_flight = match origin {
            Origin::Sender(_) => &mut self.sender_items_in_flight,
            Origin::Queue(_) => &mut self.queued_items_in_flight,
        };
        *in_flight = if is_begun { *in_flight + items } else { in_flight.saturating_sub(items) };
    }

    fn finish(
        &mut self,
        cx: &mut Cx<'_>,
        payload: &Payload,
        origin: Origin,
        outcome: Outcome,
        output: &mut ConnectorOutput,
    ) {
        self.count_try(&origin, payload, false);
        match origin {
            Origin::Sender(ack) if outcome == Outcome::Delivered => ack.settle(outcome),
            Origin::Sender(ack) => output.refuse(ack, payload.items(), outcome),
            Origin::Queue(number) => {
                let random = cx.random();
                if let Some(queue) = &mut self.queue {
                    queue.handle_outcome(cx.now(), number, outcome, random);
                }
            }
        }
    }

    fn handle_refusal(&mut self, cx: &mut Cx<'_>, id: u64, mut what: Try, why: &Error, output: &mut ConnectorOutput) {
        let before = self.levels.current();
        let next = self.levels.handle_failure(cx.now(), what.attempt);
        if self.levels.current() != before {
            self.report(what.attempt.level, Some(why));
        }
        if let Some(attempt) = next {
            what.attempt = attempt;
            return self.send(id, what, output);
        }
        let why = Error { code: why.code, message: format!("{NO_LEVEL}: {why}").into() };
        let outcome =
            if what.may_succeed_later { Outcome::Retry { after: None, why } } else { Outcome::Permanent(why) };
        self.finish(cx, &what.payload, what.origin, outcome, output);
    }

    /// Logs that a level has failed, or that it accepts payloads again.
    fn report(&self, level: usize, error: Option<&Error>) {
        let level = LogField::Uint(level as u64);
        match error {
            Some(error) => {
                let text = error.to_string();
                let fields = [("level", level), ("error", LogField::Str(&text))];
                self.log.warn("a level has failed; payloads go to the next one", &fields);
            }
            None => self.log.info("A level accepts payloads again.", &[("level", level)]),
        }
    }
}

impl Connector for Failover {
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        self.begins_left = MAX_BEGINS;
        match &mut self.queue {
            Some(queue) => queue.offer(payload, ack),
            None => self.begin(cx, payload, Origin::Sender(ack), output),
        }
        self.run(cx, output);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, output: &mut ConnectorOutput) {
        self.begins_left = MAX_BEGINS;
        let now = cx.now();
        let [levels, queue] = &mut self.timers;
        match local {
            LEVELS_TIMER => {
                *levels = Timer::default();
                self.levels.handle_timeout(now);
            }
            QUEUE_TIMER => {
                *queue = Timer::default();
                self.queue.iter_mut().for_each(|queue| queue.handle_timeout(now));
            }
            _ => {
                self.is_turn_requested = false;
                self.queue.iter_mut().for_each(ExporterQueue::begin_turn);
            }
        }
        self.run(cx, output);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, ack_id: u64, outcome: Outcome, output: &mut ConnectorOutput) {
        let Some(mut what) = self.tries.remove(&ack_id) else { return };
        match outcome {
            Outcome::Delivered => {
                let before = self.levels.current();
                self.levels.handle_success(what.attempt);
                if self.levels.current() != before {
                    self.report(what.attempt.level, None);
                }
                let copies = self.pipelines.get(what.attempt.level).map_or(0, |level| level.len().saturating_sub(1));
                output.record_created("copied", u64::from(what.payload.items()).saturating_mul(copies as u64));
                self.finish(cx, &what.payload, what.origin, Outcome::Delivered, output);
            }
            Outcome::Retry { why, .. } => {
                what.may_succeed_later = true;
                self.handle_refusal(cx, ack_id, what, &why, output);
            }
            Outcome::Permanent(why) => self.handle_refusal(cx, ack_id, what, &why, output),
            // What the end of the process loses is lost at every level.
            Outcome::Lost(LossReason::Shutdown) => {
                self.finish(cx, &what.payload, what.origin, outcome, output);
            }
            Outcome::Lost(_) => {
                what.may_succeed_later = true;
                let why = Error::new("a component of the level has lost the payload");
                self.handle_refusal(cx, ack_id, what, &why, output);
            }
        }
        self.run(cx, output);
    }

    fn flush(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        self.begins_left = MAX_BEGINS;
        let now = cx.now();
        self.queue.iter_mut().for_each(|queue| queue.flush(now));
        self.run(cx, output);
    }

    fn drain(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        self.begins_left = MAX_BEGINS;
        let now = cx.now();
        // The graph ends at its deadline, whatever is left.
        self.queue.iter_mut().for_each(|queue| queue.drain(now, MonotonicTime::NEVER));
        self.run(cx, output);
    }

    fn abort(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.abort();
        }
        (self.queued_items_in_flight, self.sender_items_in_flight) = (0, 0);
        for what in std::mem::take(&mut self.tries).into_values() {
            if let Origin::Sender(ack) = what.origin {
                ack.settle(Outcome::Lost(LossReason::Shutdown));
            }
        }
    }

    /// What is with a level is counted there.
    fn held_items(&self) -> u64 {
        let held = self.queue.as_ref().map_or(0, ExporterQueue::held_items);
        held.saturating_sub(self.queued_items_in_flight)
    }

    fn items(&self) -> HeldItems {
        let queued = self.queue.as_ref().map_or(0, ExporterQueue::held_items);
        HeldItems { input: queued + self.sender_items_in_flight, output: 0 }
    }
}
