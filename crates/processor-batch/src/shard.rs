//! The data that one stream of batches has collected.

use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::{PieceLimit, Signal, StepBudget};
use otelcore_pipeline::{
    Ack, AckPieces, Counter, Cx, Histogram, Metadata, MetricsLevel, Payload, PayloadSplitter, Telemetry, TimerId,
};

/// Why a batch was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trigger {
    Size,
    Timeout,
}

/// The ack of a payload that may end up in several batches: the worst of their outcomes counts.
#[derive(Debug)]
struct Waiter {
    pieces: AckPieces,
    /// That of the batch in which the payload ends.
    last: Ack,
}

/// Bodies that wait until there is enough for a batch.
#[derive(Debug)]
pub(crate) struct Shard {
    signal: Signal,
    body: Option<PayloadSplitter<Option<Waiter>>>,
    metadata: Option<Arc<Metadata>>,
    timer: Option<TimerId>,
    /// Why the next batch is sent.
    pub(crate) trigger: Trigger,
    /// It is in the processor's queue of shards that may have a batch to send.
    pub(crate) is_queued: bool,
}

impl Shard {
    pub(crate) fn new(metadata: Option<Arc<Metadata>>) -> Self {
        Self { signal: Signal::Traces, body: None, metadata, timer: None, trigger: Trigger::Size, is_queued: false }
    }

    pub(crate) fn items(&self) -> u64 {
        self.body.as_ref().map_or(0, PayloadSplitter::items)
    }

    /// Adds a payload, with the ack that its outcome is for.
    pub(crate) fn add(&mut self, payload: Payload, ack: Option<Ack>) {
        // A pipeline has one signal, so it is the same for every payload.
        self.signal = payload.signal;
        let body = self.body.get_or_insert_with(|| PayloadSplitter::new(payload.signal));
        let waiter = ack.map(|ack| {
            let pieces = ack.into_pieces();
            Waiter { last: pieces.piece(), pieces }
        });
        body.push(payload.body, payload.held, waiter);
    }

    /// Takes at most `max_items` items, all of them when it is zero, with the acks that their outcome is for. `None`: the
    /// work of this turn is used up.
    pub(crate) fn take(&mut self, max_items: u32, work: &mut StepBudget) -> Option<(Payload, Vec<Ack>)> {
        let limit = if max_items == 0 { PieceLimit::NONE } else { PieceLimit::items(max_items) };
        let mut waiters = Vec::new();
        let (body, held) = self.body.as_mut()?.take(limit, work, |waiter, is_last| {
            if !is_last {
                waiters.extend(waiter.as_ref().map(|waiter| waiter.pieces.piece()));
            } else if let Some(waiter) = waiter.take() {
                waiters.push(waiter.last);
            }
        })?;
        Some((Payload { signal: self.signal, body, metadata: self.metadata.clone(), held }, waiters))
    }

    /// Sets the timer if data waits, and cancels it if none does.
    pub(crate) fn update_timer(&mut self, cx: &mut Cx<'_>, timer_key: u64, timeout: Duration) {
        if self.items() == 0 {
            if let Some(id) = self.timer.take() {
                cx.cancel_timer(id);
            }
        } else if self.timer.is_none() && !timeout.is_zero() {
            let at = cx.now() + timeout;
            self.timer = Some(cx.set_timer(timer_key, at));
        }
    }

    pub(crate) fn clear_timer(&mut self) {
        self.timer = None;
    }
}

/// The processor's own metrics.
#[derive(Debug)]
pub(crate) struct BatchMetrics {
    size: Histogram,
    bytes: Histogram,
    by_size: Counter,
    by_timeout: Counter,
}

const SIZE_BOUNDS: &[f64] = &[
    10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0, 7000.0, 8000.0,
    9000.0, 10000.0, 20000.0, 30000.0, 50000.0, 100_000.0,
];

const BYTE_BOUNDS: &[f64] = &[
    10.0,
    25.0,
    50.0,
    75.0,
    100.0,
    250.0,
    500.0,
    750.0,
    1000.0,
    2000.0,
    3000.0,
    4000.0,
    5000.0,
    6000.0,
    7000.0,
    8000.0,
    9000.0,
    10_000.0,
    20_000.0,
    30_000.0,
    50_000.0,
    100_000.0,
    200_000.0,
    300_000.0,
    400_000.0,
    500_000.0,
    600_000.0,
    700_000.0,
    800_000.0,
    900_000.0,
    1_000_000.0,
    2_000_000.0,
    3_000_000.0,
    4_000_000.0,
    5_000_000.0,
    6_000_000.0,
    7_000_000.0,
    8_000_000.0,
    9_000_000.0,
];

impl BatchMetrics {
    pub(crate) fn new(telemetry: &Telemetry, processor: &str) -> Self {
        let processor_labels = || vec![("processor", processor.to_owned())];
        Self {
            size: telemetry.histogram(
                MetricsLevel::Normal,
                "otelcol_processor_batch_batch_send_size",
                "Number of units in the batch [Development]",
                processor_labels(),
                SIZE_BOUNDS,
            ),
            bytes: telemetry.histogram(
                MetricsLevel::Detailed,
                "otelcol_processor_batch_batch_send_size_bytes",
                "Number of bytes in batch that was sent. Only available on detailed level. [Development]",
                processor_labels(),
                BYTE_BOUNDS,
            ),
            by_size: telemetry.counter(
                MetricsLevel::Normal,
                "otelcol_processor_batch_batch_size_trigger_send",
                "Number of times the batch was sent due to a size trigger [Development]",
                processor_labels(),
            ),
            by_timeout: telemetry.counter(
                MetricsLevel::Normal,
                "otelcol_processor_batch_timeout_trigger_send",
                "Number of times the batch was sent due to a timeout trigger [Development]",
                processor_labels(),
            ),
        }
    }

    pub(crate) fn record_batch(&self, payload: &Payload, trigger: Trigger) {
        self.size.observe(f64::from(payload.items()));
        self.bytes.observe(payload.body.len() as f64);
        match trigger {
            Trigger::Size => self.by_size.add(1),
            Trigger::Timeout => self.by_timeout.add(1),
        }
    }
}
