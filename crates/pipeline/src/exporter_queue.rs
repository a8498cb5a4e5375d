//! Queue and retry in front of an exporter: a state machine without IO, one for each exporter and signal.
//!
//! ```text
//!  offer -> blocked (block_on_overflow) -> queued -> in flight -> released
//!                                            ^           |
//!                                            +- backing off <- a retryable outcome
//! ```
//! A queue takes custody: the ack is settled when a payload is queued, unless `wait_for_result` is set or the queue is
//! off. A payload that pauses between two attempts is *backing off*: it counts in the queue's size but occupies no
//! consumer, so that a few requests that fail do not stop the others; only where the order is kept
//! ([`RetryConfig::keeps_order`]), the others wait for it. A flush ends a pause of each payload early, once,
//! and a shutdown shortens all pauses, but neither makes one shorter than the peer asked for.
//!
//! The time of every call grows with the logarithm of the number of held payloads; work for many payloads at once (the
//! end of their pauses) is done in several steps, with [`MAX_MOVED_PER_STEP`] payloads in each.

mod batch;
mod config;
mod failure_log;
mod metrics;
mod mistakes;
mod trace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use otelcore_pdata::Signal;
use smallvec::SmallVec;

use self::batch::{Batcher, Waiters};
pub use self::config::{
    BatchSizer, ExporterQueueConfig, PartitionConfig, QueueBatchConfig, QueueConfig, RetryConfig, Sizer,
};
use self::failure_log::{Failure, FailureKind, FailureLog};
pub use self::metrics::QueueMetrics;
use self::metrics::{ExporterMetrics, OTHER_ERROR, SizeMetrics, error_type};
use self::trace::{ExporterTraces, ItemTrace};
use crate::attempt::AttemptOutcome;
use crate::own_traces::SpanContext;
use crate::queue_status::{HeldTime, HeldTimes};
use crate::{
    Ack, Error, Labels, Logger, LossReason, MonotonicTime, Outcome, PartialOutcome, Payload, QueueUnit, Telemetry,
};

#[derive(Debug)]
struct QueueItem {
    payload: Payload,
    /// The acks of the senders that wait for the result.
    waiters: Waiters,
    /// Its size in the queue, in units of the sizer.
    size: u64,
    /// Its size in the queue, in bytes.
    bytes: u64,
    /// When the first attempt began.
    first_attempt: Option<MonotonicTime>,
    /// The next pause, before randomization.
    interval: Duration,
    /// Why a part of it was refused, where it is on disk.
    refused_part: Option<Error>,
    /// It has been grouped and is sent as it is.
    is_grouped: bool,
    /// The peer asked for no attempt before this time.
    not_before: MonotonicTime,
    /// A flush has ended one of its pauses early.
    pause_ended_by_flush: bool,
    /// The current attempt began before its pause was over, so that the next pause need not be longer.
    attempted_early: bool,
    trace: ItemTrace,
    /// When the payloads were accepted that end with it.
    held_times: SmallVec<[HeldTime; 1]>,
}

impl Drain {
    /// When an attempt that is planned for `planned` begins: at that time, or shortly before the deadline if that is
    /// earlier.
    fn attempt_time(self, now: MonotonicTime, planned: MonotonicTime) -> MonotonicTime {
        if now < self.last_attempt { planned.min(self.last_attempt) } else { planned }
    }
}

impl QueueItem {
    /// An item without a size in the queue.
    fn new(payload: Payload, waiters: Waiters, interval: Duration) -> Self {
        Self {
            payload,
            waiters,
            size: 0,
            bytes: 0,
            first_attempt: None,
            interval,
            refused_part: None,
            is_grouped: false,
            not_before: MonotonicTime::default(),
            pause_ended_by_flush: false,
            attempted_early: false,
            trace: ItemTrace::default(),
            held_times: SmallVec::new(),
        }
    }
}

impl From<Sizer> for QueueUnit {
    fn from(sizer: Sizer) -> Self {
        match sizer {
            Sizer::Requests => Self::Requests,
            Sizer::Items => Self::Items,
            Sizer::Bytes => Self::Bytes,
        }
    }
}

impl Sizer {
    /// The size of a payload in this unit.
    #[must_use]
    pub fn size_of(self, payload: &Payload) -> u64 {
        match self {
            Self::Requests => 1,
            Self::Items => u64::from(payload.items()),
            Self::Bytes => payload.body.len() as u64,
        }
    }
}

/// The queue. Order of calls: any number of [`ExporterQueue::offer`], [`ExporterQueue::handle_outcome`] and
/// [`ExporterQueue::handle_timeout`], then [`ExporterQueue::poll_attempt`] until it returns `None`, then sleep until
/// [`ExporterQueue::poll_timeout`].
#[derive(Debug)]
pub struct ExporterQueue {
    config: ExporterQueueConfig,
    failures: FailureLog,
    metrics: ExporterMetrics,
    /// `None`: it lists nothing, since there is no queue, or it is on disk.
    held_times: Option<Rc<HeldTimes>>,
    traces: ExporterTraces,
    /// The time of the last call that has one, for the ends of spans.
    now: MonotonicTime,
    queued: VecDeque<QueueItem>,
    blocked: VecDeque<(Payload, Ack, ItemTrace)>,
    in_flight: BTreeMap<u64, QueueItem>,
    backing_off: BTreeMap<(MonotonicTime, u64), QueueItem>,
    /// Those of `backing_off` whose pause a flush may still end early.
    flushable_pauses: BTreeSet<(MonotonicTime, u64)>,
    /// Those whose pause a flush is going to end early.
    flushed_pauses: BTreeSet<(MonotonicTime, u64)>,
    batcher: Option<Batcher>,
    size: u64,
    bytes: u64,
    /// Items in `queued`, `in_flight`, `backing_off` and `batcher`.
    items: u64,
    /// Items in `blocked`.
    blocked_items: u64,
    next_number: u64,
    draining: Option<Drain>,
    /// Items given up since the drain began, for the report.
    lost_items: u64,
    /// What it holds is on disk too: it is bounded by the queue on disk, no sender waits, what fails for good is set aside
    /// there, and what a shutdown does not deliver stays.
    is_stored: bool,
}

/// Put in front of errors after which a payload is not sent again.
const PERMANENT: &str = "not retryable error: Permanent error: ";
/// The longest pause between attempts while the collector drains, unless the peer asks for more.
const MAX_DRAIN_PAUSE: Duration = Duration::from_millis(500);
/// Payloads whose pauses end in one step at most.
const MAX_MOVED_PER_STEP: usize = 2048;

/// A shutdown.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// A pause that would end after the deadline ends at this time instead, shortly before the deadline.
    last_attempt: MonotonicTime,
}

impl ExporterQueue {
    /// A queue whose metrics have the name of `exporter`.
    #[must_use]
    pub fn new(
        config: ExporterQueueConfig,
        signal: Signal,
        exporter: &str,
        telemetry: &Telemetry,
        log: Logger,
    ) -> Self {
        Self::with_destination(config, signal, exporter, &Labels::new(), telemetry, log)
    }

    /// The same with labels of where the exporter sends to.
    #[must_use]
    pub(crate) fn with_destination(
        config: ExporterQueueConfig,
        signal: Signal,
        exporter: &str,
        destination: &Labels,
        telemetry: &Telemetry,
        log: Logger,
    ) -> Self {
        let held_times = config.queue.is_on().then(Rc::<HeldTimes>::default);
        let size = match (config.queue.get(), &held_times) {
            (Some(queue), Some(held)) => SizeMetrics::Queue(queue.sizer, queue.size(), held),
            _ => SizeMetrics::None,
        };
        let traces = ExporterTraces::new(telemetry, exporter, signal);
        let metrics = ExporterMetrics::new(telemetry, exporter, signal, size, destination);
        Self { held_times, ..Self::with_metrics(config, metrics, traces, log) }
    }

    /// The part in memory of a queue on disk. Its acks are those of records: `Delivered` when the record can be removed,
    /// `Permanent` when it is to be set aside, `Lost` when it stays.
    #[must_use]
    pub(crate) fn new_stored(
        mut config: ExporterQueueConfig,
        signal: Signal,
        exporter: &str,
        destination: &Labels,
        telemetry: &Telemetry,
        log: Logger,
    ) -> Self {
        if let Some(queue) = config.queue.get_mut() {
            // What is given to it is bounded already.
            (queue.sizer, queue.queue_size, queue.max_bytes) = (Sizer::Requests, i64::MAX, u64::MAX);
            queue.wait_for_result = true;
        }
        if !config.retry.max_elapsed_time_is_written {
            config.retry.max_elapsed_time = Duration::ZERO;
        }
        let metrics = ExporterMetrics::new(telemetry, exporter, signal, SizeMetrics::OnDisk, destination);
        let traces = ExporterTraces::new(telemetry, exporter, signal);
        Self { is_stored: true, ..Self::with_metrics(config, metrics, traces, log) }
    }

    fn with_metrics(
        config: ExporterQueueConfig,
        metrics: ExporterMetrics,
        traces: ExporterTraces,
        log: Logger,
    ) -> Self {
        let batcher = config.queue.get().and_then(|queue| queue.batch.get()).cloned().map(Batcher::new);
        Self {
            batcher,
            config,
            failures: FailureLog::new(log),
            metrics,
            held_times: None,
            traces,
            now: MonotonicTime::default(),
            queued: VecDeque::new(),
            blocked: VecDeque::new(),
            in_flight: BTreeMap::new(),
            backing_off: BTreeMap::new(),
            flushable_pauses: BTreeSet::new(),
            flushed_pauses: BTreeSet::new(),
            size: 0,
            bytes: 0,
            items: 0,
            blocked_items: 0,
            next_number: 0,
            draining: None,
            lost_items: 0,
            is_stored: false,
        }
    }

    /// Accepts a payload, or refuses it through its ack.
    pub fn offer(&mut self, payload: Payload, ack: Ack) {
        self.offer_traced(self.now, payload, ack, None);
    }

    /// The same for a payload that follows from a span of the collector's own.
    pub(crate) fn offer_traced(&mut self, now: MonotonicTime, payload: Payload, ack: Ack, parent: Option<SpanContext>) {
        self.now = now;
        if payload.items() == 0 {
            ack.settle(Outcome::Delivered);
            return;
        }
        let Some(queue) = self.config.queue.get() else {
            self.enqueue(payload, Some(ack), 0, ExporterTraces::unqueued(parent));
            return;
        };
        let size = queue.sizer.size_of(&payload);
        self.metrics.queue.record_offer(u64::from(payload.items()), payload.body.len() as u64);
        if size > queue.size() {
            drop(self.traces.record_offer(parent, now, false));
            self.metrics.queue.enqueue_failed.add(u64::from(payload.items()));
            ack.settle(Outcome::permanent("element size too large"));
        } else if self.blocked.is_empty() && self.has_room(size, bytes_of(&payload)) {
            let trace = self.traces.record_offer(parent, now, true);
            self.accept(payload, ack, size, trace);
        } else if queue.block_on_overflow {
            let trace = self.traces.record_offer(parent, now, true);
            self.blocked_items += u64::from(payload.items());
            self.blocked.push_back((payload, ack, trace));
        } else {
            drop(self.traces.record_offer(parent, now, false));
            self.metrics.queue.enqueue_failed.add(u64::from(payload.items()));
            ack.settle(Outcome::retry("sending queue is full"));
        }
    }

    fn has_room(&self, size: u64, bytes: u64) -> bool {
        let Some(queue) = self.config.queue.get() else { return true };
        // A single payload that is larger than the limit in bytes is accepted while nothing else is held.
        self.size + size <= queue.size() && (self.bytes == 0 || self.bytes + bytes <= queue.max_bytes)
    }

    fn accept(&mut self, payload: Payload, ack: Ack, size: u64, trace: ItemTrace) {
        let kept_ack = if self.config.queue.get().is_some_and(|queue| queue.wait_for_result) {
            Some(ack)
        } else {
            ack.settle(Outcome::Delivered);
            None
        };
        self.enqueue(payload, kept_ack, size, trace);
    }

    fn enqueue(&mut self, payload: Payload, ack: Option<Ack>, size: u64, trace: ItemTrace) {
        self.size += size;
        let bytes = bytes_of(&payload);
        self.bytes += bytes;
        self.items += u64::from(payload.items());
        let interval = self.config.retry.initial_interval;
        let waiters = ack.into_iter().collect();
        let held_times = self.held_times.iter().map(|times| times.add(self.now)).collect();
        let item = QueueItem::new(payload, waiters, interval);
        self.queued.push_back(QueueItem { size, bytes, trace, held_times, ..item });
        self.update_gauges();
    }

    /// The next payload to send, while a consumer is free.
    pub fn poll_attempt(&mut self, now: MonotonicTime) -> Option<(u64, Payload, MonotonicTime)> {
        if let Some(batcher) = &mut self.batcher {
            while self.queued.front().is_some_and(|item| !item.is_grouped)
                && let Some(item) = self.queued.pop_front()
            {
                batcher.add(now, item);
            }
            batcher.handle_timeout(now, self.draining.is_some());
        }
        if self.config.queue.get().is_some_and(|queue| self.in_flight.len() >= queue.consumers()) {
            return None;
        }
        if self.config.retry.keeps_order && !(self.in_flight.is_empty() && self.backing_off.is_empty()) {
            return None;
        }
        let mut item = self.queued.pop_front().or_else(|| self.batcher.as_mut()?.poll_ready())?;
        item.first_attempt.get_or_insert(now);
        self.now = now;
        self.traces.begin_attempt(&mut item.trace, item.payload.items(), now);
        let deadline = if self.config.timeout.is_zero() { MonotonicTime::NEVER } else { now + self.config.timeout };
        let payload = item.payload.clone();
        let number = self.next_number;
        self.next_number += 1;
        self.in_flight.insert(number, item);
        self.update_gauges();
        Some((number, payload, deadline))
    }

    /// The outcome of an attempt, whole or in pieces; see [`ExporterQueue::handle_outcome`].
    pub(crate) fn handle_attempt(&mut self, now: MonotonicTime, number: u64, outcome: AttemptOutcome, random: u64) {
        match outcome {
            AttemptOutcome::Whole(outcome) => self.handle_outcome(now, number, outcome, random),
            AttemptOutcome::Pieces(partial) => self.handle_partial_outcome(now, number, partial, random),
        }
    }

    /// Handles the outcome of an attempt. `random` is any random number.
    pub fn handle_outcome(&mut self, now: MonotonicTime, number: u64, outcome: Outcome, random: u64) {
        self.now = now;
        // An attempt that is not in flight has been given up; its outcome comes too late.
        let Some(item) = self.in_flight.remove(&number) else { return };
        match outcome {
            Outcome::Delivered => {
                self.metrics.sent.add(u64::from(item.payload.items()));
                self.release_delivered(item);
            }
            Outcome::Retry { after, why } => self.retry(now, item, after, why, random),
            Outcome::Permanent(why) => self.give_up(now, item, PERMANENT, why),
            Outcome::Lost(_) => self.give_up(now, item, "", Error::new("the exporter dropped the request")),
        }
        self.update_gauges();
    }

    /// Handles the outcome of an attempt whose payload was sent in pieces.
    pub(crate) fn handle_partial_outcome(
        &mut self,
        now: MonotonicTime,
        number: u64,
        partial: PartialOutcome,
        random: u64,
    ) {
        self.now = now;
        let Some(mut item) = self.in_flight.remove(&number) else { return };
        self.metrics.sent.add(u64::from(partial.delivered));
        if partial.rejected > 0 {
            self.metrics.send_failed.add(u64::from(partial.rejected), OTHER_ERROR, true);
        }
        self.count_lost(u64::from(partial.rejected));
        if let Some((items, why)) = &partial.refused {
            let (items, why) = (u64::from(*items), why.clone());
            let kind = if self.is_stored { FailureKind::SetAside } else { FailureKind::Dropped };
            let error_type = error_type(&why);
            self.failures.record(now, Failure { kind, prefix: PERMANENT, why, items, pause: Duration::ZERO });
            self.metrics.send_failed.add(items, error_type, true);
            self.count_lost(items);
        }
        if self.is_stored
            && let Some((items, why)) = &partial.refused
        {
            let (of, why) = (item.payload.items(), &why.message);
            item.refused_part.get_or_insert_with(|| Error::new(format!("{items} of {of} items were refused: {why}")));
        }
        match partial.retry {
            Some((body, after, why)) => {
                // Frees the bytes that the item no longer has. An item that shares its size with other pieces may have
                // none to free.
                let left = body.len() as u64 + item.payload.metadata_bytes();
                let less = item.bytes.saturating_sub(left);
                item.bytes -= less;
                self.bytes -= less;
                self.items = self.items.saturating_sub(u64::from(item.payload.items()));
                self.items += u64::from(body.items());
                item.payload.body = body;
                self.retry(now, item, after, why, random);
            }
            None => match partial.refused.filter(|_| partial.delivered == 0 && !self.is_stored) {
                Some((_, why)) => self.release_item(item, Outcome::Permanent(why)),
                None => self.release_delivered(item),
            },
        }
        self.update_gauges();
    }

    /// Items that are lost by a shutdown. What is on disk is not.
    fn count_lost(&mut self, items: u64) {
        if self.draining.is_some() && !self.is_stored {
            self.lost_items += items;
        }
    }

    fn retry(&mut self, now: MonotonicTime, mut item: QueueItem, after: Option<Duration>, why: Error, random: u64) {
        if self.is_stored && self.draining.is_some() {
            // The next start sends it again. What else waits would fail in the same way.
            self.release_item(item, Outcome::Lost(LossReason::Shutdown));
            return self.leave_queued();
        }
        let retry = &self.config.retry;
        if !retry.enabled {
            return match item.waiters.is_empty() || self.is_stored {
                true => self.give_up(now, item, "", why),
                false => self.refuse(now, item, after, why),
            };
        }
        // Uniform in [-1, 1] from 53 random bits.
        let jitter = (random >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        let mut pause = item.interval.mul_f64((1.0 + retry.randomization_factor * jitter).max(0.0));
        if !std::mem::take(&mut item.attempted_early) {
            item.interval = item.interval.mul_f64(retry.multiplier.max(0.0)).min(retry.max_interval);
        }
        if self.draining.is_some() {
            pause = pause.min(MAX_DRAIN_PAUSE);
        }
        item.not_before = now + after.unwrap_or_default();
        pause = pause.max(after.unwrap_or_default());
        let first = item.first_attempt.unwrap_or(now);
        if !retry.max_elapsed_time.is_zero() && now + pause > first + retry.max_elapsed_time {
            return self.give_up(now, item, "no more retries left: ", why);
        }
        let items = u64::from(item.payload.items());
        item.trace.record_retry(now, &why, pause);
        self.failures.record(now, Failure { kind: FailureKind::Retried, prefix: "", why, items, pause });
        let at = self.draining.map_or(now + pause, |drain| drain.attempt_time(now, now + pause));
        self.back_off(at, item);
    }

    fn back_off(&mut self, at: MonotonicTime, item: QueueItem) {
        let key = (at, self.next_number);
        self.next_number += 1;
        if !item.pause_ended_by_flush {
            self.flushable_pauses.insert(key);
        }
        self.backing_off.insert(key, item);
    }

    /// Without retry, a sender that waits gets the retryable outcome itself.
    fn refuse(&mut self, now: MonotonicTime, item: QueueItem, after: Option<Duration>, why: Error) {
        let items = u64::from(item.payload.items());
        let (kind, pause) = (FailureKind::Rejected, Duration::ZERO);
        self.failures.record(now, Failure { kind, prefix: "", why: why.clone(), items, pause });
        self.metrics.send_failed.add(items, error_type(&why), false);
        self.release_item(item, Outcome::Retry { after, why });
    }

    fn give_up(&mut self, now: MonotonicTime, item: QueueItem, prefix: &'static str, why: Error) {
        let items = u64::from(item.payload.items());
        let kind = match item.waiters.is_empty() {
            _ if self.is_stored => FailureKind::SetAside,
            true => FailureKind::Dropped,
            false => FailureKind::Rejected,
        };
        self.failures.record(now, Failure { kind, prefix, why: why.clone(), items, pause: Duration::ZERO });
        self.metrics.send_failed.add(items, error_type(&why), prefix == PERMANENT);
        self.count_lost(items);
        let why = if self.is_stored { Error { message: format!("{prefix}{why}").into(), ..why } } else { why };
        self.release_item(item, Outcome::Permanent(why));
    }

    /// Releases an item of which everything is delivered, apart from parts that were refused before.
    fn release_delivered(&mut self, mut item: QueueItem) {
        let outcome = item.refused_part.take().map_or(Outcome::Delivered, Outcome::Permanent);
        self.release_item(item, outcome);
    }

    /// Releases all items of which no attempt is in flight: they stay on disk.
    fn leave_queued(&mut self) {
        let queued = std::mem::take(&mut self.queued).into_iter();
        let items = queued.chain(std::mem::take(&mut self.backing_off).into_values());
        let waiting: Vec<_> =
            items.map(|item| (item.size, item.bytes, u64::from(item.payload.items()), item.waiters)).collect();
        self.flushable_pauses.clear();
        self.flushed_pauses.clear();
        let grouped = self.batcher.iter_mut().flat_map(Batcher::abort_groups);
        for (size, bytes, items, waiters) in waiting.into_iter().chain(grouped) {
            self.size = self.size.saturating_sub(size);
            self.bytes = self.bytes.saturating_sub(bytes);
            self.items = self.items.saturating_sub(items);
            waiters.into_iter().for_each(|waiter| waiter.settle(Outcome::Lost(LossReason::Shutdown)));
        }
        self.update_gauges();
    }

    /// Releases an item: frees its room, reports the outcome to its senders, and queues payloads that wait for room.
    fn release_item(&mut self, mut item: QueueItem, outcome: Outcome) {
        item.trace.end(self.now, &outcome);
        self.size -= item.size;
        self.bytes -= item.bytes;
        self.items = self.items.saturating_sub(u64::from(item.payload.items()));
        item.waiters.into_iter().for_each(|waiter| waiter.settle(outcome.clone()));
        while let Some((payload, ..)) = self.blocked.front() {
            let size = self.config.queue.get().map_or(0, |queue| queue.sizer.size_of(payload));
            if !self.has_room(size, bytes_of(payload)) {
                break;
            }
            if let Some((payload, ack, trace)) = self.blocked.pop_front() {
                self.blocked_items = self.blocked_items.saturating_sub(u64::from(payload.items()));
                self.accept(payload, ack, size, trace);
            }
        }
        self.update_gauges();
    }

    /// Puts payloads whose pause is over back at the front of the queue. If there are many, it is due again at once.
    pub fn handle_timeout(&mut self, now: MonotonicTime) {
        self.failures.handle_timeout(now);
        self.end_flushed_pauses(now);
        for _ in 0..MAX_MOVED_PER_STEP {
            let Some(paused) = self.backing_off.first_entry().filter(|entry| entry.key().0 <= now) else { break };
            let (key, item) = paused.remove_entry();
            self.flushable_pauses.remove(&key);
            self.flushed_pauses.remove(&key);
            self.queued.push_front(item);
        }
        if let Some(batcher) = &mut self.batcher {
            batcher.handle_timeout(now, self.draining.is_some());
        }
    }

    /// Whether there is more to do in the next turn of the loop: then [`ExporterQueue::begin_turn`] is to be called in
    /// it.
    #[must_use]
    pub fn needs_turn(&self) -> bool {
        self.batcher.as_ref().is_some_and(Batcher::needs_turn)
    }

    /// Begins a new turn of the loop, if [`ExporterQueue::needs_turn`] was true.
    pub fn begin_turn(&mut self) {
        if let Some(batcher) = &mut self.batcher {
            batcher.begin_turn();
        }
    }

    /// When [`ExporterQueue::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        if !self.flushed_pauses.is_empty() {
            return Some(MonotonicTime::default());
        }
        let pause_end = self.backing_off.first_key_value().map(|((at, _), _)| *at);
        let group_end = self.batcher.as_ref().and_then(Batcher::poll_timeout);
        // While payloads pause, the report of failures can wait for the end of a pause.
        let report_at = self.failures.poll_timeout().filter(|_| pause_end.is_none());
        pause_end.into_iter().chain(group_end).chain(report_at).min()
    }

    /// Sends groups as they are. Payloads that back off are tried at once, if the peer has not asked for a pause and no
    /// flush has ended one of their pauses before, since a host program may flush at any rate.
    pub fn flush(&mut self, now: MonotonicTime) {
        self.flush_groups(now);
        if self.flushed_pauses.is_empty() {
            std::mem::swap(&mut self.flushed_pauses, &mut self.flushable_pauses);
        } else {
            self.flushed_pauses.extend(std::mem::take(&mut self.flushable_pauses));
        }
        self.end_flushed_pauses(now);
    }

    /// Begins a shutdown that ends at `deadline`: from now on, pauses are short, and no group waits for more payloads.
    pub fn drain(&mut self, now: MonotonicTime, deadline: MonotonicTime) {
        self.failures.flush(now);
        let margin = (deadline.since(now) / 4).min(Duration::from_secs(1));
        let drain = Drain { last_attempt: deadline - margin };
        self.draining = Some(drain);
        self.flush_groups(now);
        if self.is_stored {
            // They have failed before.
            let failed = std::mem::take(&mut self.backing_off);
            self.flushable_pauses.clear();
            self.flushed_pauses.clear();
            return failed.into_values().for_each(|item| self.release_item(item, Outcome::Lost(LossReason::Shutdown)));
        }
        self.flushable_pauses.clear();
        self.flushed_pauses.clear();
        for (_, mut item) in std::mem::take(&mut self.backing_off) {
            item.attempted_early = true;
            let at = drain.attempt_time(now, item.not_before);
            if at <= now {
                self.requeue(item);
            } else {
                self.back_off(at, item);
            }
        }
    }

    /// Queues an item whose pause has ended early: behind the others, unless the order is kept.
    fn requeue(&mut self, item: QueueItem) {
        if self.config.retry.keeps_order {
            self.queued.push_front(item);
        } else {
            self.queued.push_back(item);
        }
    }

    /// Begins the end of a queue to which a change of the configuration gives no exporter: as [`ExporterQueue::drain`], but what
    /// is on disk too is left there, since the next exporter of that queue on disk waits for it.
    pub(crate) fn retire(&mut self, now: MonotonicTime, deadline: MonotonicTime) {
        self.drain(now, deadline);
        if self.is_stored {
            self.leave_queued();
        }
    }

    fn flush_groups(&mut self, now: MonotonicTime) {
        let Some(batcher) = &mut self.batcher else { return };
        while self.queued.front().is_some_and(|item| !item.is_grouped)
            && let Some(item) = self.queued.pop_front()
        {
            batcher.add(now, item);
        }
        batcher.handle_timeout(now, true);
    }

    /// Ends the pauses of some payloads that a flush has selected.
    fn end_flushed_pauses(&mut self, now: MonotonicTime) {
        for _ in 0..MAX_MOVED_PER_STEP {
            let Some(key) = self.flushed_pauses.pop_first() else { return };
            let Some(mut item) = self.backing_off.remove(&key) else { continue };
            (item.pause_ended_by_flush, item.attempted_early) = (true, true);
            if item.not_before <= now {
                self.requeue(item);
            } else {
                self.backing_off.insert((item.not_before.min(key.0), key.1), item);
            }
        }
    }

    /// Items that are not delivered yet.
    #[must_use]
    pub fn held_items(&self) -> u64 {
        self.items + self.blocked_items
    }

    /// Items that were sent, and those that failed for good.
    pub(crate) fn ended_items(&self) -> u64 {
        self.metrics.sent.get().saturating_add(self.metrics.send_failed.get())
    }

    /// Items that were refused when they were offered, and items that were given up later or whose sender got an error.
    #[must_use]
    pub fn failed_items(&self) -> (u64, u64) {
        (self.metrics.queue.enqueue_failed.get(), self.metrics.send_failed.get())
    }

    /// Items given up since the drain began.
    pub(crate) fn lost_items(&self) -> u64 {
        self.lost_items
    }

    /// Whether what it holds is on disk too.
    pub(crate) fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// Ends now: all data that is still held is lost, and the senders that wait get this outcome. Returns the number of
    /// items.
    pub fn abort(&mut self) -> u64 {
        let undelivered = self.held_items();
        let items = std::mem::take(&mut self.queued).into_iter();
        let items = items.chain(std::mem::take(&mut self.in_flight).into_values());
        let items = items.chain(std::mem::take(&mut self.backing_off).into_values());
        let items = items.map(|item| (u64::from(item.payload.items()), item.waiters));
        for (items, waiters) in items.chain(self.batcher.iter_mut().flat_map(Batcher::abort)) {
            if !self.is_stored {
                self.metrics.send_failed.add(items, "Shutdown", false);
            }
            waiters.into_iter().for_each(|waiter| waiter.settle(Outcome::Lost(LossReason::Shutdown)));
        }
        self.metrics.queue.enqueue_failed.add(self.blocked_items);
        for (_, ack, _) in self.blocked.drain(..) {
            ack.settle(Outcome::Lost(LossReason::Shutdown));
        }
        self.flushable_pauses.clear();
        self.flushed_pauses.clear();
        (self.size, self.bytes, self.items, self.blocked_items) = (0, 0, 0, 0);
        undelivered
    }

    fn update_gauges(&self) {
        self.metrics.queue.size.set(self.size);
        self.metrics.in_flight.set((self.in_flight.len() + self.backing_off.len()) as u64);
    }
}

/// Bytes of a payload that count for `max_bytes`.
fn bytes_of(payload: &Payload) -> u64 {
    payload.body.len() as u64 + payload.metadata_bytes()
}

#[cfg(test)]
mod tests;
