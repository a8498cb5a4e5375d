//! Shows payloads: counts their items, makes the dump if it will be written, and writes both.
//!
//! The dump of a large payload ([`LARGE_ITEMS`], [`LARGE_BYTES`]) is made on a helper thread, because it may take more
//! than a second. Payloads are shown one after another, in their order; waiting payloads stay charged.

use std::collections::VecDeque;
use std::io::Write;

use otelcore_pdata::views::{ResourceLogs, ResourceMetrics, ResourceSpans, resource_entries};
use otelcore_pdata::wire_format::{MessageFields, WireValue};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    AttemptId, Cx, Event, Exporter, JobResult, LogField, LogLevel, LogScope, Logger, MonotonicTime, Outcome, Outcomes,
    Payload, StartError,
};

use crate::config::{DebugConfig, Verbosity};
use crate::sampler::{Sampler, fnv32a};
use crate::text::TextBuffer;
use crate::{detailed, normal};

/// Writes payloads of any signal as text.
#[derive(Debug)]
pub(crate) struct DebugExporter {
    verbosity: Verbosity,
    output: Output,
    /// One for each signal, because each signal counts its own messages.
    samplers: [Sampler; 3],
    /// The buffer for dumps; kept so that its memory is reused.
    dump: TextBuffer,
    /// Payloads to be shown, the first of which is on a helper thread.
    queue: VecDeque<(AttemptId, Payload)>,
    /// The result for the first payload in `queue`.
    rendering: Option<JobResult<RenderedPayload>>,
}

/// The local key of the helper job that renders a payload.
const RENDER_KEY: u64 = 0;
/// Payloads with more items or bytes than this are handled on a helper thread.
const LARGE_ITEMS: u32 = 500;
const LARGE_BYTES: usize = 64 << 10;

/// The text for a payload.
#[derive(Debug)]
struct RenderedPayload {
    summary: Summary,
    dump: Option<RenderedDump>,
}

#[derive(Debug)]
struct RenderedDump {
    text: Vec<u8>,
    hash: u32,
}

impl RenderedPayload {
    fn render(payload: &Payload, verbosity: Verbosity, text: &mut TextBuffer) -> Self {
        let summary = Summary::of(payload);
        match verbosity {
            Verbosity::Basic => return Self { summary, dump: None },
            Verbosity::Normal => normal::write_dump(text, payload.signal, &payload.body),
            Verbosity::Detailed => detailed::write_dump(text, payload.signal, &payload.body),
        }
        let text = text.take_dump();
        Self { summary, dump: Some(RenderedDump { hash: fnv32a(&text), text }) }
    }
}

/// Where the text goes.
#[derive(Debug)]
enum Output {
    /// The collector's own log, by signal.
    Log([Logger; 3]),
    /// Files and standard streams, open once the exporter has started.
    Files { paths: Vec<String>, files: Vec<OutputFile>, log: Logger },
}

struct OutputFile {
    path: String,
    writer: Box<dyn Write>,
    /// The last write failed; the failure was logged.
    has_failed: bool,
}

impl std::fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OutputFile").field(&self.path).finish()
    }
}

impl DebugExporter {
    pub(crate) fn new(config: &DebugConfig, log: &Logger) -> Self {
        let output = match &config.outputs() {
            None => {
                Output::Log(Signal::ALL.map(|s| log.with_scope(LogScope { signal: s.name(), ..log.scope().clone() })))
            }
            Some(paths) => Output::Files { paths: paths.clone(), files: Vec::new(), log: log.clone() },
        };
        let sampler = |_| Sampler::new(config.sampling_initial, config.sampling_thereafter);
        Self {
            verbosity: config.verbosity,
            output,
            samplers: Signal::ALL.map(sampler),
            dump: TextBuffer::default(),
            queue: VecDeque::new(),
            rendering: None,
        }
    }

    /// Whether output for this signal may be written.
    fn is_output_possible(&self, signal: Signal) -> bool {
        let sampler = self.samplers.get(signal as usize);
        sampler.is_some_and(|sampler| !sampler.writes_nothing()) && self.output.is_enabled(signal)
    }

    fn write_payload(&mut self, now: MonotonicTime, signal: Signal, rendered: RenderedPayload) {
        let Some(sampler) = self.samplers.get_mut(signal as usize) else { return };
        if sampler.should_write_hash(now, fnv32a(rendered.summary.title.as_bytes())) {
            self.output.write_summary(signal, &rendered.summary);
        }
        // For the sampler, a dump is a message like any other: it is counted by its text.
        if let Some(dump) = rendered.dump
            && sampler.should_write_hash(now, dump.hash)
        {
            self.dump.reuse(self.output.write_dump(signal, dump.text));
        }
    }

    /// Starts the helper job for the next payload.
    fn start_rendering(&mut self, cx: &mut Cx<'_>) {
        if let Some((_, payload)) = self.queue.front() {
            let (payload, verbosity) = (payload.clone(), self.verbosity);
            let render = move || RenderedPayload::render(&payload, verbosity, &mut TextBuffer::default());
            self.rendering = Some(cx.run_job(RENDER_KEY, render));
        }
    }
}

impl Exporter for DebugExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let Output::Files { paths, files: open, .. } = &mut self.output else { return Ok(()) };
        for path in paths.iter() {
            let writer = cx
                .open_output(path)
                .map_err(|e| StartError::from(e).in_context(format_args!("couldn't open sink {path:?}")))?;
            open.push(OutputFile { path: path.clone(), writer, has_failed: false });
        }
        Ok(())
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        _: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        if !self.is_output_possible(payload.signal) {
            return outcomes.push(attempt, Outcome::Delivered);
        }
        let is_large = payload.items() > LARGE_ITEMS || payload.body.len() > LARGE_BYTES;
        if is_large || !self.queue.is_empty() {
            self.queue.push_back((attempt, payload.clone()));
            if self.queue.len() == 1 {
                self.start_rendering(cx);
            }
            return;
        }
        let rendered = RenderedPayload::render(payload, self.verbosity, &mut self.dump);
        self.write_payload(cx.now(), payload.signal, rendered);
        outcomes.push(attempt, Outcome::Delivered);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, outcomes: &mut Outcomes) {
        if local != RENDER_KEY || self.rendering.is_none() {
            return;
        }
        let rendered = self.rendering.take().and_then(|result| result.take());
        let Some((attempt, payload)) = self.queue.pop_front() else { return };
        if let Some(rendered) = rendered {
            self.write_payload(cx.now(), payload.signal, rendered);
        }
        outcomes.push(attempt, Outcome::Delivered);
        self.start_rendering(cx);
    }

    fn close(&mut self, _: &mut Cx<'_>) {
        if let Output::Files { files: open, .. } = &mut self.output {
            open.clear();
        }
    }
}

impl Output {
    /// Whether output for this signal will be written; if not, none needs to be made.
    fn is_enabled(&self, signal: Signal) -> bool {
        match self {
            Self::Log(loggers) => loggers.get(signal as usize).is_some_and(|log| log.enabled(LogLevel::Info)),
            Self::Files { files: open, .. } => !open.is_empty(),
        }
    }

    fn write_summary(&mut self, signal: Signal, summary: &Summary) {
        match self {
            Self::Log(loggers) => {
                if let Some(log) = loggers.get(signal as usize) {
                    let fields = summary.counts.map(|(label, count)| (label, LogField::Uint(count)));
                    log.info(summary.title, fields.get(..summary.len).unwrap_or_default());
                }
            }
            Self::Files { files: open, log, .. } => write_to_files(open, log, summary.line().as_bytes()),
        }
    }

    /// Writes a dump, and returns its buffer.
    fn write_dump(&mut self, signal: Signal, mut dump: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Log(loggers) => {
                if let Some(log) = loggers.get(signal as usize) {
                    log.info(&String::from_utf8_lossy(&dump), &[]);
                }
            }
            // Files get the original bytes, and one more line end after the last line, which ends the message. It is
            // written as one record, which an output accepts or drops as a whole.
            Self::Files { files: open, log, .. } => {
                dump.push(b'\n');
                write_to_files(open, log, &dump);
            }
        }
        dump
    }
}

/// Writes to every file. After a failure, writing is tried again with the next payload; repeated failures are logged
/// once.
fn write_to_files(files: &mut [OutputFile], log: &Logger, record: &[u8]) {
    for file in files {
        let written = file.writer.write_all(record);
        if let Err(error) = &written
            && !file.has_failed
        {
            let error = error.to_string();
            log.error(
                "cannot write debug output",
                &[("path", LogField::Str(&file.path)), ("error", LogField::Str(&error))],
            );
        }
        file.has_failed = written.is_err();
    }
}

/// The line with the counts.
#[derive(Debug)]
struct Summary {
    title: &'static str,
    counts: [(&'static str, u64); 3],
    /// How many entries of `counts` are used.
    len: usize,
}

impl Summary {
    fn of(payload: &Payload) -> Self {
        let items = u64::from(payload.items());
        let body = &payload.body;
        let (title, counts, len) = match payload.signal {
            Signal::Traces => {
                let resources = count_items(resource_entries::<ResourceSpans<'_>>(body));
                ("Traces", [("resource spans", resources), ("spans", items), ("", 0)], 2)
            }
            Signal::Metrics => {
                let resources = count_items(resource_entries::<ResourceMetrics<'_>>(body));
                let counts =
                    [("resource metrics", resources), ("metrics", count_metrics(body)), ("data points", items)];
                ("Metrics", counts, 3)
            }
            Signal::Logs => {
                let resources = count_items(resource_entries::<ResourceLogs<'_>>(body));
                ("Logs", [("resource logs", resources), ("log records", items), ("", 0)], 2)
            }
        };
        Self { title, counts, len }
    }

    /// The line as zap's console encoding writes it.
    fn line(&self) -> String {
        let fields: Vec<_> = self.counts.iter().take(self.len).map(|(label, n)| format!("\"{label}\": {n}")).collect();
        format!("{}\t{{{}}}\n", self.title, fields.join(", "))
    }
}

fn count_items<T>(all: impl Iterator<Item = T>) -> u64 {
    // A body of 2^64 entries does not fit into memory.
    all.fold(0, |n, _| n + 1)
}

/// How many metrics there are, without decoding them: `scope_metrics` and `metrics` are both field 2.
fn count_metrics(body: &Rope) -> u64 {
    let field_two =
        |raw| MessageFields::new(raw).filter_map(|f| if let (2, WireValue::Len(raw)) = f { Some(raw) } else { None });
    count_items(
        resource_entries::<ResourceMetrics<'_>>(body).flat_map(|entry| field_two(entry.raw)).flat_map(field_two),
    )
}
