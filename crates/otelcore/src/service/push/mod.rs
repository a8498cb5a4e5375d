//! Pushes the collector's own metrics, log records and spans over OTLP: `periodic` readers, and `processors` of log and traces.
//!
//! Each is a part of the service with a queue and an exporter of its own, in no pipeline, so that the pipelines of the user are not
//! concerned. What waits is bounded: one push of metrics, or the log's bounded buffer. Its own records are not pushed.

pub(crate) mod log_buffer;
mod logs;
mod metrics;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_pdata::build::ResourceWriter;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    Budget, Counter, Cx, Event, ExporterQueueConfig, Extension, Held, LogField, LogScope, Logger, MetricsLevel,
    MonotonicTime, Notifier, Payload, PeriodicCount, QueueConfig, QueuedExporter, RetryConfig, StartError, Telemetry,
    TimerId,
};

use self::log_buffer::{LogBuffer, PUSH_SCOPE_KIND};
use self::metrics::MetricsWriter;
use self::spans::SpanBuffer;
pub(super) use self::spans::TracerPart;
use super::own_metrics::ProcessMetrics;
use super::views::apply_views;
use crate::telemetry::{
    BatchLogProcessorConfig, BatchSpanProcessorConfig, LogProcessorConfig, OtlpPushConfig, PeriodicReaderConfig,
    SpanProcessorConfig, TemporalityPreference, TracesConfig, ViewConfig, duration_or, push_exporter,
};

/// The scope of the metrics and records of the service itself, as in the Go collector.
const SERVICE_SCOPE: &str = "go.opentelemetry.io/collector/service";

/// The next push is due.
const PUSH_TIMER: u64 = QueuedExporter::FIRST_FREE_LOCAL;
/// The time of the last pushes is over.
const CLOSE_TIMER: u64 = PUSH_TIMER + 1;
/// There are records.
const RECORDS: u64 = PUSH_TIMER + 2;

/// The shortest time between two warnings about dropped records.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// What the parts have in common.
pub(super) struct PushContext<'a> {
    pub(super) telemetry: &'a Telemetry,
    pub(super) views: &'a [ViewConfig],
    pub(super) process_metrics: &'a ProcessMetrics,
    pub(super) resource: &'a [(String, String)],
    pub(super) budget: &'a Arc<Budget>,
    pub(super) log: &'a Logger,
}

/// A part that pushes. See the module.
pub(super) struct TelemetryPush {
    signal: Signal,
    source: Source,
    sender: QueuedExporter,
    resource: Vec<(String, String)>,
    /// How long the last pushes may take.
    timeout: Duration,
    timer: Option<TimerId>,
    state: State,
    dropped_items: Counter,
    /// Failed items of the sender that are in `dropped_items`.
    counted_failures: u64,
    log: Logger,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The last pushes are on their way.
    Closing,
    Closed,
}

enum Source {
    Metrics(MetricsSource),
    Records(RecordSource),
}

struct MetricsSource {
    telemetry: Telemetry,
    views: Vec<ViewConfig>,
    process_metrics: ProcessMetrics,
    budget: Arc<Budget>,
    temporality: TemporalityPreference,
    interval: Duration,
    next_push: MonotonicTime,
    /// Made at the start.
    writer: Option<MetricsWriter>,
}

struct RecordSource {
    buffer: RecordBuffer,
    batch_size: usize,
    delay: Duration,
    /// The records that wait have waited long enough.
    is_due: bool,
    drops: PeriodicCount,
}

/// Where log records or spans wait.
enum RecordBuffer {
    Logs(Arc<LogBuffer>),
    Spans(Arc<SpanBuffer>),
}

impl RecordBuffer {
    fn len(&self) -> usize {
        match self {
            Self::Logs(buffer) => buffer.len(),
            Self::Spans(buffer) => buffer.len(),
        }
    }

    fn take_dropped(&self) -> u64 {
        match self {
            Self::Logs(buffer) => buffer.take_dropped(),
            Self::Spans(buffer) => buffer.take_dropped(),
        }
    }

    fn set_notifier(&self, notifier: Arc<dyn Notifier>) {
        match self {
            Self::Logs(buffer) => buffer.set_notifier(notifier),
            Self::Spans(buffer) => buffer.set_notifier(notifier),
        }
    }

    /// Takes the oldest, `max` at most, as a request; how many they are.
    fn take(&self, max: usize, resource: &[(String, String)], now: u64) -> (Rope, usize) {
        match self {
            Self::Logs(buffer) => {
                let records = buffer.take(max);
                (logs::write_logs(&records, resource, now), records.len())
            }
            Self::Spans(buffer) => {
                let spans = buffer.take(max);
                (spans::write_spans(&spans, resource), spans.len())
            }
        }
    }
}

/// The buffer of a processor of the log.
pub(crate) fn new_log_buffer(config: &LogProcessorConfig) -> Arc<LogBuffer> {
    let BatchLimits { batch_size, queue_size, .. } = BatchLimits::of_logs(config);
    Arc::new(LogBuffer::new(queue_size, batch_size))
}

/// The bounds of a processor of log or traces.
struct BatchLimits {
    batch_size: usize,
    queue_size: usize,
    delay: Duration,
    export_timeout: Duration,
}

impl BatchLimits {
    fn of_logs(config: &LogProcessorConfig) -> Self {
        // `simple` is a batch of what there is, without a delay.
        let simple = BatchLogProcessorConfig::default();
        let batch = config.batch.as_ref().unwrap_or(&simple);
        let delay = config.batch.as_ref().map_or(Duration::ZERO, |batch| duration_or(batch.schedule_delay, 1000));
        Self::of_batch(batch.max_queue_size, batch.max_export_batch_size, batch.export_timeout, delay)
    }

    fn of_spans(config: &SpanProcessorConfig) -> Self {
        let simple = BatchSpanProcessorConfig::default();
        let batch = config.batch.as_ref().unwrap_or(&simple);
        let delay = config.batch.as_ref().map_or(Duration::ZERO, |batch| duration_or(batch.schedule_delay, 5000));
        Self::of_batch(batch.max_queue_size, batch.max_export_batch_size, batch.export_timeout, delay)
    }

    fn of_batch(max_queue_size: i64, max_batch_size: i64, export_timeout: i64, delay: Duration) -> Self {
        let count = |value: i64, default: usize| usize::try_from(value).ok().filter(|n| *n > 0).unwrap_or(default);
        let queue_size = count(max_queue_size, 2048);
        let batch_size = count(max_batch_size, 512).min(queue_size);
        Self { batch_size, queue_size, delay, export_timeout: duration_or(export_timeout, 30_000) }
    }
}

/// The parts of own traces: one for each processor, and the one that makes the tracer, which is started last and ends first.
///
/// # Errors
/// A value that can't be used.
pub(super) fn trace_parts(
    config: &TracesConfig,
    context: &PushContext<'_>,
) -> Result<(Vec<TelemetryPush>, TracerPart), StartError> {
    let (mut pushes, mut buffers) = (Vec::new(), Vec::new());
    for (index, processor) in config.processors.iter().enumerate() {
        let Some(otlp) = processor.otlp() else { continue };
        let limits = BatchLimits::of_spans(processor);
        let buffer = Arc::new(SpanBuffer::new(limits.queue_size, limits.batch_size));
        let id = format!("traces::processors[{index}]");
        let source = Source::Records(RecordSource::new(RecordBuffer::Spans(buffer.clone()), &limits));
        let push = TelemetryPush::new(&id, Signal::Traces, source, otlp, limits.export_timeout, context);
        pushes.push(push.map_err(|e| e.in_context("failed to create tracer provider"))?);
        buffers.push(buffer);
    }
    let tracer = TracerPart::new(context.telemetry.clone(), config.sampler(), config.reads_traceparent(), buffers);
    Ok((pushes, tracer))
}

impl RecordSource {
    fn new(buffer: RecordBuffer, limits: &BatchLimits) -> Self {
        let drops = PeriodicCount::new(WARNING_INTERVAL);
        Self { buffer, batch_size: limits.batch_size, delay: limits.delay, is_due: false, drops }
    }
}

impl TelemetryPush {
    /// The part of a `periodic` reader. `None` for one that has no exporter, which is an error of the configuration.
    ///
    /// # Errors
    /// A value that can't be used.
    pub(super) fn of_reader(
        index: usize,
        reader: &PeriodicReaderConfig,
        context: &PushContext<'_>,
    ) -> Result<Option<Self>, StartError> {
        let Some(otlp) = &reader.exporter.otlp else { return Ok(None) };
        let source = MetricsSource {
            telemetry: context.telemetry.clone(),
            views: context.views.to_vec(),
            process_metrics: context.process_metrics.clone(),
            budget: context.budget.clone(),
            temporality: otlp.temporality_preference,
            interval: duration_or(reader.interval, 60_000),
            next_push: MonotonicTime::default(),
            writer: None,
        };
        let timeout = duration_or(reader.timeout, 30_000);
        let id = format!("metrics::readers[{index}]");
        let push = Self::new(&id, Signal::Metrics, Source::Metrics(source), &otlp.peer, timeout, context);
        push.map(Some).map_err(|e| e.in_context("failed to create meter provider"))
    }

    /// The part of a processor of the log, whose records are in `buffer`. `None` as above.
    ///
    /// # Errors
    /// A value that can't be used.
    pub(super) fn of_log_processor(
        index: usize,
        config: &LogProcessorConfig,
        buffer: &Arc<LogBuffer>,
        context: &PushContext<'_>,
    ) -> Result<Option<Self>, StartError> {
        let Some(otlp) = config.otlp() else { return Ok(None) };
        let limits = BatchLimits::of_logs(config);
        let source = RecordSource::new(RecordBuffer::Logs(buffer.clone()), &limits);
        let id = format!("logs::processors[{index}]");
        let push = Self::new(&id, Signal::Logs, Source::Records(source), otlp, limits.export_timeout, context);
        push.map(Some).map_err(|e| e.in_context("failed to create logger"))
    }

    fn new(
        id: &str,
        signal: Signal,
        source: Source,
        otlp: &OtlpPushConfig,
        timeout: Duration,
        context: &PushContext<'_>,
    ) -> Result<Self, StartError> {
        let scope =
            LogScope { kind: PUSH_SCOPE_KIND, id: id.to_owned(), signal: signal.name(), pipeline: String::new() };
        let log = context.log.with_scope(scope);
        let exporter = push_exporter(otlp, signal, context.budget, log.clone())?;
        let retry = RetryConfig { max_elapsed_time: timeout, ..RetryConfig::default() };
        // A new payload comes when the one before has ended, and at the end those that are left.
        let queue = QueueConfig { num_consumers: 1, queue_size: i64::MAX, ..QueueConfig::default() };
        let config =
            ExporterQueueConfig { timeout: otlp.request_timeout().min(timeout), retry, queue: Optional::on(queue) };
        let labels = vec![("data_type", signal.name().to_owned())];
        let help = "Data points, log records and spans about the collector itself that could not be pushed";
        Ok(Self {
            signal,
            source,
            sender: QueuedExporter::new(exporter, config, signal, log.clone()),
            resource: context.resource.to_vec(),
            timeout,
            timer: None,
            state: State::Running,
            dropped_items: context.telemetry.counter(
                MetricsLevel::Basic,
                "otelcore_own_telemetry_dropped_items",
                help,
                labels,
            ),
            counted_failures: 0,
            log,
        })
    }

    /// Pushes what is to be pushed now, and sets the timer of what is to be pushed later.
    fn advance(&mut self, cx: &mut Cx<'_>) {
        match &mut self.source {
            Source::Metrics(source) => {
                if self.state == State::Running && cx.now() >= source.next_push {
                    let planned = source.next_push + source.interval;
                    source.next_push = if planned > cx.now() { planned } else { cx.now() + source.interval };
                    // While a push is on its way, the values of the next one can wait for their turn.
                    if self.sender.held_items() == 0 {
                        self.push_metrics(cx);
                    }
                }
            }
            Source::Records(_) => self.push_records(cx),
        }
        self.count_failures();
        if self.state == State::Closing && self.sender.held_items() == 0 {
            self.end(cx);
        }
        if self.state == State::Running {
            self.set_timer(cx);
        }
    }

    fn push_metrics(&mut self, cx: &mut Cx<'_>) {
        let Source::Metrics(source) = &mut self.source else { return };
        source.process_metrics.update(&cx.sample_process(), &source.budget);
        let families = apply_views(&source.views, source.telemetry.collect());
        let now = cx.wall_time().0;
        let body = source.writer.as_mut().and_then(|writer| writer.write(&families, &self.resource, now));
        if let Some(body) = body {
            self.offer(cx, body);
        }
    }

    /// Pushes a batch if there is one, or what there is if it has waited long enough. While a push is on its way, records stay in
    /// the buffer, whose bound is that of the configuration.
    fn push_records(&mut self, cx: &mut Cx<'_>) {
        let is_closing = self.state == State::Closing;
        let Source::Records(source) = &mut self.source else { return };
        let dropped = source.buffer.take_dropped();
        if dropped > 0 {
            self.dropped_items.add(dropped);
            if let Some(records) = source.drops.add(cx.now(), dropped) {
                let fields = [("records", LogField::Uint(records))];
                match source.buffer {
                    RecordBuffer::Logs(_) => self
                        .log
                        .warn("Own log records were dropped: they come faster than they can be pushed.", &fields),
                    RecordBuffer::Spans(_) => {
                        self.log.warn("Own spans were dropped: they come faster than they can be pushed.", &fields);
                    }
                }
            }
        }
        while is_closing || self.sender.held_items() == 0 {
            let Source::Records(source) = &mut self.source else { return };
            let waiting = source.buffer.len();
            let is_batch = waiting >= source.batch_size;
            if waiting == 0 || !(is_batch || source.is_due || is_closing || source.delay.is_zero()) {
                break;
            }
            let (body, count) = source.buffer.take(source.batch_size, &self.resource, cx.wall_time().0);
            source.is_due &= waiting > count;
            self.offer(cx, body);
        }
    }

    fn offer(&mut self, cx: &mut Cx<'_>, body: Rope) {
        // Without a charge: a flush of a host program must not wait for it, and it is bounded anyway.
        let payload = Payload { signal: self.signal, body, metadata: None, held: Held::default() };
        self.sender.offer(cx, payload);
    }

    fn set_timer(&mut self, cx: &mut Cx<'_>) {
        if self.timer.is_some() {
            return;
        }
        let at = match &self.source {
            Source::Metrics(source) => source.next_push,
            Source::Records(source) if source.buffer.len() > 0 && !source.is_due => cx.now() + source.delay,
            Source::Records(_) => return,
        };
        self.timer = Some(cx.set_timer(PUSH_TIMER, at));
    }

    fn count_failures(&mut self) {
        let failed = self.sender.failed_items();
        self.dropped_items.add(failed.saturating_sub(self.counted_failures));
        self.counted_failures = failed;
    }

    fn end(&mut self, cx: &mut Cx<'_>) {
        self.sender.close(cx);
        self.count_failures();
        self.state = State::Closed;
        if let Some(id) = self.timer.take() {
            cx.cancel_timer(id);
        }
    }
}

impl Extension for TelemetryPush {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.sender.start(cx)?;
        match &mut self.source {
            Source::Metrics(source) => {
                // Counting began with the process, also where this part is a new one after a change of the configuration.
                let uptime = u64::try_from(cx.sample_process().uptime.as_nanos()).unwrap_or(u64::MAX);
                let start_time = cx.wall_time().0.saturating_sub(uptime);
                source.writer = Some(MetricsWriter::new(source.temporality, start_time));
                source.next_push = cx.now() + source.interval;
            }
            Source::Records(source) => source.buffer.set_notifier(cx.notifier(RECORDS)),
        }
        self.advance(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        match local {
            PUSH_TIMER => {
                self.timer = None;
                if let Source::Records(source) = &mut self.source {
                    source.is_due = true;
                }
            }
            CLOSE_TIMER => {
                self.timer = None;
                if self.state == State::Closing {
                    return self.end(cx);
                }
            }
            RECORDS => {}
            _ if self.state == State::Closed => return,
            _ => self.sender.handle_event(cx, local, event),
        }
        if self.state != State::Closed {
            self.advance(cx);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        if self.state != State::Running {
            return;
        }
        if let Some(id) = self.timer.take() {
            cx.cancel_timer(id);
        }
        self.state = State::Closing;
        let deadline = deadline.min(cx.now() + self.timeout);
        self.timer = Some(cx.set_timer(CLOSE_TIMER, deadline));
        if matches!(self.source, Source::Metrics(_)) {
            self.push_metrics(cx);
        } else {
            self.push_records(cx);
        }
        self.sender.drain(cx, deadline);
        self.advance(cx);
    }

    fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

fn write_resource(writer: &mut ResourceWriter<'_>, resource: &[(String, String)]) {
    let mut attributes = writer.attributes();
    for (key, value) in resource {
        attributes.string(key.as_bytes(), value.as_bytes());
    }
}
