//! Shows payloads: counts their items, makes the dump if it will be written, and writes both.
//!
//! The dump of a large payload ([`LARGE_ITEMS`], [`LARGE_BYTES`]) is made on a helper thread, because it may take more
//! than a second. Payloads are shown one after another, in their order; waiting payloads stay charged.

use std::collections::VecDeque;
use std::io::Write;

use otelcore_pdata::views::{ResourceLogs, ResourceMetrics, ResourceSpans, entries};
use otelcore_pdata::wire::{Fields, Wire};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    Cx, Done, Event, Exporter, Field, JobId, JobResult, Level, Logger, Mono, Outcome, Payload, Scope, StartError,
};

use crate::config::{Debug, Verbosity};
use crate::sampler::{Sampler, fnv32a};
use crate::text::Text;
use crate::{detailed, normal};

/// Shows payloads of any signal.
#[derive(Debug)]
pub(crate) struct DebugExporter {
    verbosity: Verbosity,
    outlet: Outlet,
    /// One for each signal, because each signal counts its own messages.
    samplers: [Sampler; 3],
    /// The buffer for dumps; kept so that its memory is reused.
    dump: Text,
    /// Payloads to be shown, the first of which is on a helper thread.
    waiting: VecDeque<(JobId, Payload)>,
    /// The result for the first payload in `waiting`.
    making: Option<JobResult<Shown>>,
}

/// The key of the job.
const MAKING: u64 = 0;
/// Payloads with more items or bytes than this are handled on a helper thread.
const LARGE_ITEMS: u32 = 500;
const LARGE_BYTES: usize = 64 << 10;

/// The output for a payload.
#[derive(Debug)]
struct Shown {
    summary: Summary,
    dump: Option<Dump>,
}

#[derive(Debug)]
struct Dump {
    text: Vec<u8>,
    hash: u32,
}

impl Shown {
    fn make(payload: &Payload, verbosity: Verbosity, text: &mut Text) -> Self {
        let summary = Summary::of(payload);
        match verbosity {
            Verbosity::Basic => return Self { summary, dump: None },
            Verbosity::Normal => normal::write(text, payload.signal, &payload.body),
            Verbosity::Detailed => detailed::write(text, payload.signal, &payload.body),
        }
        let text = text.take();
        Self { summary, dump: Some(Dump { hash: fnv32a(&text), text }) }
    }
}

/// Where the text goes.
#[derive(Debug)]
enum Outlet {
    /// The collector's own log, by signal.
    Log([Logger; 3]),
    /// Files and standard streams, open once the exporter has started.
    Files { paths: Vec<String>, open: Vec<File>, log: Logger },
}

struct File {
    path: String,
    to: Box<dyn Write>,
    /// The last write failed; the failure was logged.
    failing: bool,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
    }
}

impl DebugExporter {
    pub(crate) fn new(settings: &Debug, log: &Logger) -> Self {
        let outlet = match &settings.output_paths {
            None => Outlet::Log(Signal::ALL.map(|s| log.scoped(Scope { signal: s.name(), ..log.scope().clone() }))),
            Some(paths) => Outlet::Files { paths: paths.clone(), open: Vec::new(), log: log.clone() },
        };
        let sampler = |_| Sampler::new(settings.sampling_initial, settings.sampling_thereafter);
        Self {
            verbosity: settings.verbosity,
            outlet,
            samplers: Signal::ALL.map(sampler),
            dump: Text::default(),
            waiting: VecDeque::new(),
            making: None,
        }
    }

    /// Whether output for this signal may be written.
    fn is_seen(&self, signal: Signal) -> bool {
        let sampler = self.samplers.get(signal as usize);
        sampler.is_some_and(|sampler| !sampler.is_mute()) && self.outlet.wants(signal)
    }

    fn show(&mut self, now: Mono, signal: Signal, shown: Shown) {
        let Some(sampler) = self.samplers.get_mut(signal as usize) else { return };
        if sampler.admits_hash(now, fnv32a(shown.summary.title.as_bytes())) {
            self.outlet.summary(signal, &shown.summary);
        }
        // For the sampler, a dump is a message like any other: it is counted by its text.
        if let Some(dump) = shown.dump
            && sampler.admits_hash(now, dump.hash)
        {
            self.dump.put_back(self.outlet.dump(signal, dump.text));
        }
    }

    /// Starts the job for the next payload.
    fn make(&mut self, cx: &mut Cx<'_>) {
        if let Some((_, payload)) = self.waiting.front() {
            let (payload, verbosity) = (payload.clone(), self.verbosity);
            let make = move || Shown::make(&payload, verbosity, &mut Text::default());
            self.making = Some(cx.run_job(MAKING, make));
        }
    }
}

impl Exporter for DebugExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let Outlet::Files { paths, open, .. } = &mut self.outlet else { return Ok(()) };
        for path in paths.iter() {
            let to = cx.output(path).map_err(|e| StartError(format!("couldn't open sink {path:?}: {e}")))?;
            open.push(File { path: path.clone(), to, failing: false });
        }
        Ok(())
    }

    fn send(&mut self, cx: &mut Cx<'_>, job: JobId, payload: &Payload, _: Mono, done: &mut Done) {
        if !self.is_seen(payload.signal) {
            return done.push(job, Outcome::Delivered);
        }
        let large = payload.items() > LARGE_ITEMS || payload.body.len() > LARGE_BYTES;
        if large || !self.waiting.is_empty() {
            self.waiting.push_back((job, payload.clone()));
            if self.waiting.len() == 1 {
                self.make(cx);
            }
            return;
        }
        let shown = Shown::make(payload, self.verbosity, &mut self.dump);
        self.show(cx.now(), payload.signal, shown);
        done.push(job, Outcome::Delivered);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, done: &mut Done) {
        if local != MAKING || self.making.is_none() {
            return;
        }
        let shown = self.making.take().and_then(|result| result.take());
        let Some((job, payload)) = self.waiting.pop_front() else { return };
        if let Some(shown) = shown {
            self.show(cx.now(), payload.signal, shown);
        }
        done.push(job, Outcome::Delivered);
        self.make(cx);
    }

    fn close(&mut self, _: &mut Cx<'_>) {
        if let Outlet::Files { open, .. } = &mut self.outlet {
            open.clear();
        }
    }
}

impl Outlet {
    /// Whether output for this signal will be written; if not, none needs to be made.
    fn wants(&self, signal: Signal) -> bool {
        match self {
            Self::Log(loggers) => loggers.get(signal as usize).is_some_and(|log| log.enabled(Level::Info)),
            Self::Files { open, .. } => !open.is_empty(),
        }
    }

    fn summary(&mut self, signal: Signal, summary: &Summary) {
        match self {
            Self::Log(loggers) => {
                if let Some(log) = loggers.get(signal as usize) {
                    let fields = summary.counts.map(|(label, count)| (label, Field::Uint(count)));
                    log.info(summary.title, fields.get(..summary.len).unwrap_or_default());
                }
            }
            Self::Files { open, log, .. } => write(open, log, summary.line().as_bytes()),
        }
    }

    /// Writes a dump, and returns its buffer.
    fn dump(&mut self, signal: Signal, mut dump: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Log(loggers) => {
                if let Some(log) = loggers.get(signal as usize) {
                    log.info(&String::from_utf8_lossy(&dump), &[]);
                }
            }
            // Files get the original bytes, and one more line end after the last line, which ends the message. It is
            // written as one record, which an output accepts or drops as a whole.
            Self::Files { open, log, .. } => {
                dump.push(b'\n');
                write(open, log, &dump);
            }
        }
        dump
    }
}

/// Writes to every file. After a failure, writing is tried again with the next payload; repeated failures are logged
/// once.
fn write(files: &mut [File], log: &Logger, record: &[u8]) {
    for file in files {
        let written = file.to.write_all(record);
        if let Err(error) = &written
            && !file.failing
        {
            let error = error.to_string();
            log.error("cannot write debug output", &[("path", Field::Str(&file.path)), ("error", Field::Str(&error))]);
        }
        file.failing = written.is_err();
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
                let resources = count(entries::<ResourceSpans<'_>>(body));
                ("Traces", [("resource spans", resources), ("spans", items), ("", 0)], 2)
            }
            Signal::Metrics => {
                let resources = count(entries::<ResourceMetrics<'_>>(body));
                let counts = [("resource metrics", resources), ("metrics", metrics(body)), ("data points", items)];
                ("Metrics", counts, 3)
            }
            Signal::Logs => {
                let resources = count(entries::<ResourceLogs<'_>>(body));
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

fn count<T>(all: impl Iterator<Item = T>) -> u64 {
    // A body of 2^64 entries does not fit into memory.
    all.fold(0, |n, _| n + 1)
}

/// How many metrics there are, without decoding them: `scope_metrics` and `metrics` are both field 2.
fn metrics(body: &Rope) -> u64 {
    let second = |raw| Fields::new(raw).filter_map(|f| if let (2, Wire::Len(raw)) = f { Some(raw) } else { None });
    count(entries::<ResourceMetrics<'_>>(body).flat_map(|entry| second(entry.raw)).flat_map(second))
}
