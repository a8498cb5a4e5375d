//! The `batch` processor.
//!
//! Payloads are grouped by concatenation: a batch is a rope of the bodies as they arrived. An ack is settled as soon as
//! the processor has taken custody of the payload, and data in custody is never dropped because a later component is
//! full: the batch is tried again after a pause, and meanwhile new payloads for a shard that has a full batch are
//! refused.
//!
//! In a pipeline that leads to a queue on disk, the processor takes custody of nothing: an ack is settled with the outcome of
//! the batches that its payload is in, the worst of them, and a batch that is refused is not tried again here.
#![forbid(unsafe_code)]

mod config;
mod shard;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use config::{BatchConfig, BatchFactory};
use otelcore_pdata::StepBudget;
use otelcore_pipeline::{
    Ack, Budget, Cx, Downstream, Error, Event, Gauge, Kept, LogField, Logger, Metadata, MetricsLevel, MonotonicTime,
    Outcome, Payload, Processor, Telemetry, TimerId,
};
use shard::{BatchMetrics, Shard, Trigger};

/// Batches that may be in flight at once. When there are so many, shards wait for outcomes.
const MAX_IN_FLIGHT: usize = 16;

/// The pause before a refused batch is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The local key of the timer for refused batches; shards have small numbers.
const RETRY_KEY: u64 = u64::MAX;

/// The local key under which the processor requests the next turn.
const NEXT_TURN_KEY: u64 = u64::MAX - 1;

/// Batches that are sent in one turn at most: later components may settle each at once, so that the next one is sent in
/// the same turn.
const MAX_BATCHES_PER_TURN: u32 = 64;

/// Units of work for each item of a batch, for the later components that may process it in the same turn.
const WORK_PER_ITEM: u64 = 100;

/// A batch that has been passed on and is not settled yet.
#[derive(Debug)]
struct SentBatch {
    payload: Payload,
    trigger: Trigger,
    /// The acks of its payloads, where outcomes are passed on.
    waiters: Vec<Ack>,
}

/// One instance, of one pipeline.
#[derive(Debug)]
pub(crate) struct BatchProcessor {
    config: BatchConfig,
    forwards_outcomes: bool,
    log: Logger,
    metrics: BatchMetrics,
    cardinality: Gauge,
    shards: Vec<Shard>,
    /// Shard by the values of `metadata_keys`.
    by_metadata: BTreeMap<Vec<Vec<String>>, usize>,
    /// Items in shards, in flight and refused.
    held_items: u64,
    /// The charge for the shards: each is kept as long as the processor.
    kept: Kept,
    in_flight: BTreeMap<u64, SentBatch>,
    /// Batches that were refused and wait for another attempt.
    refused: BTreeMap<u64, SentBatch>,
    retry_timer: Option<TimerId>,
    next_batch_id: u64,
    is_draining: bool,
    /// Shards that may have a batch to send, in the order in which they send.
    queue: VecDeque<usize>,
    /// What may still be done in this turn: work, and batches. The next turn is requested when one of them is used up,
    /// and resets both.
    work_left: StepBudget,
    batches_left: u32,
    is_turn_requested: bool,
}

impl BatchProcessor {
    pub(crate) fn new(
        config: BatchConfig,
        processor: &str,
        telemetry: &Telemetry,
        budget: &Arc<Budget>,
        log: Logger,
    ) -> Self {
        let cardinality = telemetry.gauge(
            MetricsLevel::Normal,
            "otelcol_processor_batch_metadata_cardinality",
            "Number of distinct metadata value combinations being processed [Development]",
            vec![("processor", processor.to_owned())],
        );
        let mut new = Self {
            config,
            forwards_outcomes: false,
            log,
            metrics: BatchMetrics::new(telemetry, processor),
            cardinality,
            shards: Vec::new(),
            by_metadata: BTreeMap::new(),
            held_items: 0,
            kept: budget.keep(0),
            in_flight: BTreeMap::new(),
            refused: BTreeMap::new(),
            retry_timer: None,
            next_batch_id: 0,
            is_draining: false,
            queue: VecDeque::new(),
            work_left: StepBudget::for_one_step(),
            batches_left: MAX_BATCHES_PER_TURN,
            is_turn_requested: false,
        };
        if new.config.metadata_keys.is_empty() {
            new.shards.push(Shard::new(None));
            new.cardinality.set(1);
        }
        new
    }

    /// The same processor, which gives senders the outcomes of their payloads instead of taking custody.
    pub(crate) fn forwarding_outcomes(self, forwards_outcomes: bool) -> Self {
        Self { forwards_outcomes, ..self }
    }

    /// The shard for a payload's metadata, or the outcome of the payload when there can be no more shards.
    fn shard_for(&mut self, metadata: Option<&Metadata>) -> Result<usize, Outcome> {
        if self.config.metadata_keys.is_empty() {
            return Ok(0);
        }
        let value = |key: &String| metadata.map_or_else(Vec::new, |m| m.get(key).to_vec());
        let values: Vec<Vec<String>> = self.config.metadata_keys.iter().map(value).collect();
        if let Some(shard) = self.by_metadata.get(&values) {
            return Ok(*shard);
        }
        let limit = self.config.metadata_cardinality_limit as usize;
        if limit > 0 && self.shards.len() >= limit {
            return Err(Outcome::permanent("too many batcher metadata-value combinations"));
        }
        if !self.kept.has_room() {
            return Err(Outcome::Retry { after: None, why: Error::new("data refused due to high memory usage") });
        }
        // The values are stored twice: in the table and in the shard.
        let text_bytes: usize = values.iter().flatten().map(|value| 2 * (value.len() + size_of::<String>())).sum();
        self.kept.grow((size_of::<Shard>() + text_bytes + 256) as u64);
        let mut shard_metadata = Metadata::default();
        for (key, values) in self.config.metadata_keys.iter().zip(&values) {
            values.iter().for_each(|value| shard_metadata.add(key, value));
        }
        self.shards.push(Shard::new(Some(Arc::new(shard_metadata))));
        self.by_metadata.insert(values, self.shards.len() - 1);
        self.cardinality.set(self.shards.len() as u64);
        Ok(self.shards.len() - 1)
    }

    /// Whether batches go out without waiting for more.
    fn sends_immediately(&self) -> bool {
        self.config.timeout.is_zero() || self.config.send_batch_size == 0
    }

    fn is_blocked(&self) -> bool {
        !self.refused.is_empty() || self.in_flight.len() >= MAX_IN_FLIGHT
    }

    /// Sends batches of a shard and of the queued shards, one after another, while later components accept more.
    fn send_batches(&mut self, cx: &mut Cx<'_>, index: usize, trigger: Trigger, downstream: &mut Downstream) {
        let Some(shard) = self.shards.get_mut(index) else { return };
        if trigger == Trigger::Timeout {
            shard.trigger = trigger;
        }
        if !std::mem::replace(&mut shard.is_queued, true) {
            self.queue.push_back(index);
        }
        self.send_queued(cx, downstream);
        if let Some(shard) = self.shards.get_mut(index) {
            shard.update_timer(cx, index as u64, self.config.timeout);
        }
    }

    /// Sends a batch of each queued shard, one after another, until none has one, later components accept no more, or
    /// the limits of this turn are reached.
    fn send_queued(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        while !self.is_blocked()
            && let Some(index) = self.queue.front().copied()
        {
            if !self.has_batch(index) {
                self.queue.pop_front();
                if let Some(shard) = self.shards.get_mut(index) {
                    shard.is_queued = false;
                    shard.trigger = Trigger::Size;
                    shard.update_timer(cx, index as u64, self.config.timeout);
                }
                continue;
            }
            if self.batches_left == 0 || !self.send_batch(index, downstream) {
                if !std::mem::replace(&mut self.is_turn_requested, true) {
                    cx.request_ready(NEXT_TURN_KEY);
                }
                return;
            }
            self.batches_left -= 1;
            self.queue.rotate_left(1);
        }
    }

    fn has_batch(&self, index: usize) -> bool {
        let min_items = if self.sends_immediately() { 1 } else { u64::from(self.config.send_batch_size) };
        self.shards.get(index).is_some_and(|shard| {
            let is_due = self.is_draining || shard.trigger == Trigger::Timeout;
            shard.items() >= if is_due { 1 } else { min_items }
        })
    }

    /// Returns false when the work of this turn is used up.
    fn send_batch(&mut self, index: usize, downstream: &mut Downstream) -> bool {
        let max_items = self.config.send_batch_max_size;
        let Some(shard) = self.shards.get_mut(index) else { return true };
        let Some((payload, waiters)) = shard.take(max_items, &mut self.work_left) else { return false };
        self.work_left.charge(u64::from(payload.items()) * WORK_PER_ITEM);
        // A timeout sends one batch; what is left in the shard is sent by size.
        let trigger = std::mem::replace(&mut shard.trigger, Trigger::Size);
        let batch_id = self.next_batch_id;
        self.next_batch_id += 1;
        downstream.send(payload.clone(), downstream.new_ack(batch_id));
        self.in_flight.insert(batch_id, SentBatch { payload, trigger, waiters });
        true
    }
}

impl Processor for BatchProcessor {
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        let index = match self.shard_for(payload.metadata.as_deref()) {
            Ok(index) => index,
            Err(outcome) => return downstream.refuse(ack, payload.items(), outcome),
        };
        let is_blocked = self.is_blocked();
        let Some(shard) = self.shards.get_mut(index) else { return };
        if is_blocked && shard.items() >= u64::from(self.config.send_batch_size) {
            let outcome = Outcome::Retry { after: Some(RETRY_PAUSE), why: Error::new("sending queue is full") };
            return downstream.refuse(ack, payload.items(), outcome);
        }
        let waiter = if self.forwards_outcomes {
            Some(ack)
        } else {
            ack.settle(Outcome::Delivered);
            None
        };
        self.held_items += u64::from(payload.items());
        shard.add(payload, waiter);
        self.send_batches(cx, index, Trigger::Size, downstream);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, downstream: &mut Downstream) {
        if local == RETRY_KEY {
            self.retry_timer = None;
            for (batch_id, batch) in std::mem::take(&mut self.refused) {
                downstream.send(batch.payload.clone(), downstream.new_ack(batch_id));
                self.in_flight.insert(batch_id, batch);
            }
        } else if local == NEXT_TURN_KEY {
            self.work_left = StepBudget::for_one_step();
            self.batches_left = MAX_BATCHES_PER_TURN;
            self.is_turn_requested = false;
            self.send_queued(cx, downstream);
        } else if let Ok(index) = usize::try_from(local)
            && let Some(shard) = self.shards.get_mut(index)
        {
            shard.clear_timer();
            self.send_batches(cx, index, Trigger::Timeout, downstream);
        }
    }

    fn settled(&mut self, cx: &mut Cx<'_>, batch_id: u64, outcome: Outcome, downstream: &mut Downstream) {
        let Some(mut batch) = self.in_flight.remove(&batch_id) else { return };
        let (has_waiters, items) = (!batch.waiters.is_empty(), u64::from(batch.payload.items()));
        if has_waiters || !matches!(outcome, Outcome::Retry { .. }) {
            self.held_items -= items;
        }
        batch.waiters.drain(..).for_each(|waiter| waiter.settle(outcome.clone()));
        match outcome {
            Outcome::Delivered => {
                self.metrics.record_batch(&batch.payload, batch.trigger);
                drop(batch);
            }
            // Its senders know, and may try again.
            Outcome::Retry { .. } | Outcome::Permanent(_) | Outcome::Lost(_) if has_waiters => {
                downstream.record_refused(items);
            }
            Outcome::Retry { after, .. } => {
                self.refused.insert(batch_id, batch);
                if self.retry_timer.is_none() {
                    let at: MonotonicTime = cx.now() + after.unwrap_or_default().max(RETRY_PAUSE);
                    self.retry_timer = Some(cx.set_timer(RETRY_KEY, at));
                }
            }
            Outcome::Permanent(why) => {
                let fields = [("error", LogField::Str(&why.message)), ("dropped_items", LogField::Uint(items))];
                self.log.warn("Sender failed", &fields);
                downstream.record_dropped("refused_downstream", items);
            }
            Outcome::Lost(_) => {
                self.log.warn("Sender failed", &[("dropped_items", LogField::Uint(items))]);
                downstream.record_dropped("refused_downstream", items);
            }
        }
        self.send_queued(cx, downstream);
    }

    fn flush(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        for index in 0..self.shards.len() {
            self.send_batches(cx, index, Trigger::Timeout, downstream);
        }
    }

    fn drain(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        self.is_draining = true;
        for index in 0..self.shards.len() {
            self.send_batches(cx, index, Trigger::Timeout, downstream);
        }
    }

    fn held_items(&self) -> u64 {
        self.held_items
    }
}

#[cfg(test)]
mod tests;
