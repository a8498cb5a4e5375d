//! The data that one stream of batches has collected.

use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::{PieceLimit, Signal, Work};
use otelcore_pipeline::{Counter, Cx, Detail, Histogram, Metadata, Payload, PayloadSplitter, Telemetry, TimerId};

/// Why a batch was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trigger {
    Size,
    Timeout,
}

/// Bodies that wait until there is enough for a batch.
#[derive(Debug)]
pub(crate) struct Shard {
    signal: Signal,
    body: Option<PayloadSplitter>,
    meta: Option<Arc<Metadata>>,
    timer: Option<TimerId>,
    /// Why the next batch is sent.
    pub(crate) trigger: Trigger,
    /// It is in the processor's queue of shards that may have a batch to send.
    pub(crate) is_queued: bool,
}

impl Shard {
    pub(crate) fn new(meta: Option<Arc<Metadata>>) -> Self {
        Self { signal: Signal::Traces, body: None, meta, timer: None, trigger: Trigger::Size, is_queued: false }
    }

    pub(crate) fn items(&self) -> u64 {
        self.body.as_ref().map_or(0, PayloadSplitter::items)
    }

    pub(crate) fn add(&mut self, payload: Payload) {
        // A pipeline has one signal, so it is the same for every payload.
        self.signal = payload.signal;
        let body = self.body.get_or_insert_with(|| PayloadSplitter::new(payload.signal));
        body.push(payload.body, payload.held, ());
    }

    /// Takes at most `max` items, all of them when it is zero. `None`: the work of this turn is used up.
    pub(crate) fn take(&mut self, max: u32, work: &mut Work) -> Option<Payload> {
        let limit = if max == 0 { PieceLimit::NONE } else { PieceLimit::items(max) };
        let (body, held) = self.body.as_mut()?.take(limit, work, |(), _| {})?;
        Some(Payload { signal: self.signal, body, meta: self.meta.clone(), held })
    }

    /// Arms the timer if data waits, and cancels it if none does.
    pub(crate) fn arm(&mut self, cx: &mut Cx<'_>, local: u64, timeout: Duration) {
        if self.items() == 0 {
            if let Some(id) = self.timer.take() {
                cx.cancel(id);
            }
        } else if self.timer.is_none() && !timeout.is_zero() {
            let at = cx.now() + timeout;
            self.timer = Some(cx.arm(local, at));
        }
    }

    pub(crate) fn fired(&mut self) {
        self.timer = None;
    }
}

/// The processor's own metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    size: Histogram,
    bytes: Histogram,
    by_size: Counter,
    by_timeout: Counter,
}

const SIZES: &[f64] = &[
    10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0, 7000.0, 8000.0,
    9000.0, 10000.0, 20000.0, 30000.0, 50000.0, 100_000.0,
];

const BYTES: &[f64] = &[
    128.0,
    256.0,
    512.0,
    1024.0,
    2048.0,
    4096.0,
    8192.0,
    16384.0,
    32768.0,
    65536.0,
    131_072.0,
    262_144.0,
    524_288.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
];

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, processor: &str) -> Self {
        let own = || vec![("processor", processor.to_owned())];
        Self {
            size: telemetry.histogram(
                Detail::Normal,
                "otelcol_processor_batch_batch_send_size",
                "Number of units in the batch [Development]",
                own(),
                SIZES,
            ),
            bytes: telemetry.histogram(
                Detail::Detailed,
                "otelcol_processor_batch_batch_send_size_bytes",
                "Number of bytes in batch that was sent [Development]",
                own(),
                BYTES,
            ),
            by_size: telemetry.counter(
                Detail::Normal,
                "otelcol_processor_batch_batch_size_trigger_send",
                "Number of times the batch was sent due to a size trigger [Development]",
                own(),
            ),
            by_timeout: telemetry.counter(
                Detail::Normal,
                "otelcol_processor_batch_timeout_trigger_send",
                "Number of times the batch was sent due to a timeout trigger [Development]",
                own(),
            ),
        }
    }

    pub(crate) fn sent(&self, payload: &Payload, trigger: Trigger) {
        self.size.observe(f64::from(payload.items()));
        self.bytes.observe(payload.body.len() as f64);
        match trigger {
            Trigger::Size => self.by_size.add(1),
            Trigger::Timeout => self.by_timeout.add(1),
        }
    }
}
