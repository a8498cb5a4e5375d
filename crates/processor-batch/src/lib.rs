//! The `batch` processor.
//!
//! Payloads are grouped by concatenation: a batch is a rope of the bodies as they arrived. An ack is settled as soon as
//! the processor has taken custody of the payload, and data in custody is never dropped because a later component is
//! full: the batch is tried again after a pause, and meanwhile new payloads for a shard that has a full batch are
//! refused.
#![forbid(unsafe_code)]

mod config;
mod shard;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use config::{Batch, BatchFactory};
use otelcore_pdata::Work;
use otelcore_pipeline::{
    Ack, Budget, Cx, Detail, Error, Event, Field, Gauge, Kept, Logger, Metadata, Mono, Out, Outcome, Payload,
    Processor, Telemetry, TimerId,
};
use shard::{Metrics, Shard, Trigger};

/// Batches that may be in flight at once. When there are so many, shards wait for outcomes.
const MAX_IN_FLIGHT: usize = 16;

/// The pause before a refused batch is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// The local key of the timer for refused batches; shards have small numbers.
const AGAIN: u64 = u64::MAX;

/// The local key under which the processor requests the next turn.
const CONTINUE: u64 = u64::MAX - 1;

/// Batches that are sent in one turn at most: later components may settle each at once, so that the next one is sent in
/// the same turn.
const TURN_BATCHES: u32 = 64;

/// Units of work for each item of a batch, for the later components that may process it in the same turn.
const ITEM_UNITS: u64 = 100;

/// A batch that has been passed on and is not settled yet.
#[derive(Debug)]
struct Job {
    payload: Payload,
    trigger: Trigger,
}

/// One instance, of one pipeline.
#[derive(Debug)]
pub(crate) struct BatchProcessor {
    settings: Batch,
    log: Logger,
    metrics: Metrics,
    cardinality: Gauge,
    shards: Vec<Shard>,
    /// Shard by the values of `metadata_keys`.
    by_metadata: BTreeMap<Vec<Vec<String>>, usize>,
    /// The charge for the shards: each is kept as long as the processor.
    kept: Kept,
    jobs: BTreeMap<u64, Job>,
    /// Jobs that were refused and wait for another attempt.
    refused: BTreeMap<u64, Job>,
    again: Option<TimerId>,
    next_job: u64,
    draining: bool,
    /// Shards that may have a batch to send, in turn.
    queue: VecDeque<usize>,
    /// What may still be done in this turn: work, and batches. The next turn is requested when one of them is used up,
    /// and resets both.
    work: Work,
    batches: u32,
    is_continued: bool,
}

impl BatchProcessor {
    pub(crate) fn new(
        settings: Batch,
        processor: &str,
        telemetry: &Telemetry,
        budget: &Arc<Budget>,
        log: Logger,
    ) -> Self {
        let cardinality = telemetry.gauge(
            Detail::Normal,
            "otelcol_processor_batch_metadata_cardinality",
            "Number of distinct metadata value combinations being processed [Development]",
            vec![("processor", processor.to_owned())],
        );
        let mut new = Self {
            settings,
            log,
            metrics: Metrics::new(telemetry, processor),
            cardinality,
            shards: Vec::new(),
            by_metadata: BTreeMap::new(),
            kept: budget.keep(0),
            jobs: BTreeMap::new(),
            refused: BTreeMap::new(),
            again: None,
            next_job: 0,
            draining: false,
            queue: VecDeque::new(),
            work: Work::step(),
            batches: TURN_BATCHES,
            is_continued: false,
        };
        if new.settings.metadata_keys.is_empty() {
            new.shards.push(Shard::new(None));
            new.cardinality.set(1);
        }
        new
    }

    /// The shard for a payload's metadata, or the outcome of the payload when there can be no more shards.
    fn shard_for(&mut self, meta: Option<&Metadata>) -> Result<usize, Outcome> {
        if self.settings.metadata_keys.is_empty() {
            return Ok(0);
        }
        let value = |key: &String| meta.map_or_else(Vec::new, |m| m.get(key).to_vec());
        let values: Vec<Vec<String>> = self.settings.metadata_keys.iter().map(value).collect();
        if let Some(shard) = self.by_metadata.get(&values) {
            return Ok(*shard);
        }
        let limit = self.settings.metadata_cardinality_limit as usize;
        if limit > 0 && self.shards.len() >= limit {
            return Err(Outcome::permanent("too many batcher metadata-value combinations"));
        }
        if !self.kept.has_room() {
            return Err(Outcome::Retry { after: None, why: Error::new("data refused due to high memory usage") });
        }
        // The values are stored twice: in the table and in the shard.
        let texts: usize = values.iter().flatten().map(|value| 2 * (value.len() + size_of::<String>())).sum();
        self.kept.grow((size_of::<Shard>() + texts + 256) as u64);
        let mut kept = Metadata::default();
        for (key, values) in self.settings.metadata_keys.iter().zip(&values) {
            values.iter().for_each(|value| kept.add(key, value));
        }
        self.shards.push(Shard::new(Some(Arc::new(kept))));
        self.by_metadata.insert(values, self.shards.len() - 1);
        self.cardinality.set(self.shards.len() as u64);
        Ok(self.shards.len() - 1)
    }

    /// Whether batches go out without waiting for more.
    fn immediate(&self) -> bool {
        self.settings.timeout.is_zero() || self.settings.send_batch_size == 0
    }

    fn is_stuck(&self) -> bool {
        !self.refused.is_empty() || self.jobs.len() >= MAX_IN_FLIGHT
    }

    /// Sends batches of a shard and of the queued shards, in turn, while later components accept more.
    fn emit(&mut self, cx: &mut Cx<'_>, index: usize, trigger: Trigger, out: &mut Out) {
        let Some(shard) = self.shards.get_mut(index) else { return };
        if trigger == Trigger::Timeout {
            shard.trigger = trigger;
        }
        if !std::mem::replace(&mut shard.is_queued, true) {
            self.queue.push_back(index);
        }
        self.send_queued(cx, out);
        if let Some(shard) = self.shards.get_mut(index) {
            shard.arm(cx, index as u64, self.settings.timeout);
        }
    }

    /// Sends a batch of each queued shard in turn, until none has one, later components accept no more, or the limits
    /// of this turn are reached.
    fn send_queued(&mut self, cx: &mut Cx<'_>, out: &mut Out) {
        while !self.is_stuck()
            && let Some(index) = self.queue.front().copied()
        {
            if !self.has_batch(index) {
                self.queue.pop_front();
                if let Some(shard) = self.shards.get_mut(index) {
                    shard.is_queued = false;
                    shard.trigger = Trigger::Size;
                    shard.arm(cx, index as u64, self.settings.timeout);
                }
                continue;
            }
            if self.batches == 0 || !self.send_batch(index, out) {
                if !std::mem::replace(&mut self.is_continued, true) {
                    cx.again(CONTINUE);
                }
                return;
            }
            self.batches -= 1;
            self.queue.rotate_left(1);
        }
    }

    fn has_batch(&self, index: usize) -> bool {
        let enough = if self.immediate() { 1 } else { u64::from(self.settings.send_batch_size) };
        self.shards.get(index).is_some_and(|shard| {
            let due = self.draining || shard.trigger == Trigger::Timeout;
            shard.items() >= if due { 1 } else { enough }
        })
    }

    /// Returns false when the work of this turn is used up.
    fn send_batch(&mut self, index: usize, out: &mut Out) -> bool {
        let max = self.settings.send_batch_max_size;
        let Some(shard) = self.shards.get_mut(index) else { return true };
        let Some(payload) = shard.take(max, &mut self.work) else { return false };
        self.work.charge(u64::from(payload.items()) * ITEM_UNITS);
        // A timeout sends one batch; what is left in the shard is sent by size.
        let trigger = std::mem::replace(&mut shard.trigger, Trigger::Size);
        let job = self.next_job;
        self.next_job += 1;
        out.send(payload.clone(), out.ack(job));
        self.jobs.insert(job, Job { payload, trigger });
        true
    }
}

impl Processor for BatchProcessor {
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, out: &mut Out) {
        let index = match self.shard_for(payload.meta.as_deref()) {
            Ok(index) => index,
            Err(outcome) => return ack.settle(outcome),
        };
        let stuck = self.is_stuck();
        let Some(shard) = self.shards.get_mut(index) else { return };
        if stuck && shard.items() >= u64::from(self.settings.send_batch_size) {
            return ack.settle(Outcome::Retry { after: Some(PAUSE), why: Error::new("sending queue is full") });
        }
        shard.add(payload);
        ack.settle(Outcome::Delivered);
        self.emit(cx, index, Trigger::Size, out);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, out: &mut Out) {
        if local == AGAIN {
            self.again = None;
            for (number, job) in std::mem::take(&mut self.refused) {
                out.send(job.payload.clone(), out.ack(number));
                self.jobs.insert(number, job);
            }
        } else if local == CONTINUE {
            self.work = Work::step();
            self.batches = TURN_BATCHES;
            self.is_continued = false;
            self.send_queued(cx, out);
        } else if let Ok(index) = usize::try_from(local)
            && let Some(shard) = self.shards.get_mut(index)
        {
            shard.fired();
            self.emit(cx, index, Trigger::Timeout, out);
        }
    }

    fn settled(&mut self, cx: &mut Cx<'_>, number: u64, outcome: Outcome, out: &mut Out) {
        let Some(job) = self.jobs.remove(&number) else { return };
        match outcome {
            Outcome::Delivered => {
                self.metrics.sent(&job.payload, job.trigger);
                drop(job);
            }
            Outcome::Retry { after, .. } => {
                self.refused.insert(number, job);
                if self.again.is_none() {
                    let at: Mono = cx.now() + after.unwrap_or_default().max(PAUSE);
                    self.again = Some(cx.arm(AGAIN, at));
                }
            }
            Outcome::Permanent(why) => {
                let fields = [
                    ("error", Field::Str(&why.message)),
                    ("dropped_items", Field::Uint(u64::from(job.payload.items()))),
                ];
                self.log.warn("Sender failed", &fields);
            }
            Outcome::Lost(_) => {
                let fields = [("dropped_items", Field::Uint(u64::from(job.payload.items())))];
                self.log.warn("Sender failed", &fields);
            }
        }
        self.send_queued(cx, out);
    }

    fn flush(&mut self, cx: &mut Cx<'_>, out: &mut Out) {
        for index in 0..self.shards.len() {
            self.emit(cx, index, Trigger::Timeout, out);
        }
    }

    fn drain(&mut self, cx: &mut Cx<'_>, out: &mut Out) {
        self.draining = true;
        for index in 0..self.shards.len() {
            self.emit(cx, index, Trigger::Timeout, out);
        }
    }

    fn holds(&self) -> u64 {
        let jobs = self.jobs.values().chain(self.refused.values());
        let shards = self.shards.iter().map(Shard::items);
        jobs.map(|job| u64::from(job.payload.items())).sum::<u64>() + shards.sum::<u64>()
    }
}

#[cfg(test)]
mod tests;
